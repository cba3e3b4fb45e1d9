"""Store the truth of a finished run for `truth=natural` or `truth=natural_tuning`.

    python -m untrac_exp hydra.mode=RUN +experiment=natural method=graddot
        truth=leave_dataset_out truth.train_seeds=[0,1,2] ...

    python -m experiments.natural.store_truth FOLDER natural

FOLDER is the output folder printed by the run.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from untrac_exp.data.sources.embedded import TEXTS
from untrac_exp.job import load
from untrac_exp.store import Store
from untrac_exp.truth.stored import training_fingerprint


def main(folder: Path, world: str) -> None:
    """Write `texts/<world>_truth.csv` with a line that describes its origin."""
    cfg = OmegaConf.create((folder / ".hydra" / "config.yaml").read_text())
    assert isinstance(cfg, DictConfig)
    data = load(cfg, Store(cfg.store))
    mark = f"# training {training_fingerprint(data.training)}\n"
    (TEXTS / f"{world}_truth.csv").write_text(mark + (folder / "truth.csv").read_text())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
