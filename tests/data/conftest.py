import datasets
import pytest
import yaml


@pytest.fixture(scope="session")
def repository():
    """Writes tables, by (config, split), the way the hub lays them out: a card that names configs
    and parquet files. Returns the folder.
    """

    def write(folder, tables):
        configs = {}
        for (config, split), table in tables.items():
            file = f"{config}/{split}-00000-of-00001.parquet"
            (folder / config).mkdir(parents=True, exist_ok=True)
            table.to_parquet(folder / file)
            configs.setdefault(config, []).append({"split": split, "path": file})
        card = {
            "configs": [{"config_name": c, "data_files": files} for c, files in configs.items()]
        }
        (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card)}---\n")
        return str(folder)

    return write


@pytest.fixture(autouse=True, scope="session")
def quick(tmp_path_factory):
    """No shared cache, and none of the seconds that datasets sleeps after each stream."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield
