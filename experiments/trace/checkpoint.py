"""Train a small checkpoint for the trace example on text that is installed with the package.

    python -m experiments.trace.checkpoint [folder]

Trains the 0.3 M-parameter model of `+experiment=docstrings` on the docstrings of eight libraries
and writes to `folder` (outputs/trace_example): `checkpoint/` as transformers saves it, the corpora
as `corpora/<library>.jsonl`, and held-out docstrings of two libraries as `suspicious.jsonl`.
"""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from untrac_exp.config.schema import config_dir
from untrac_exp.data.base import Corpus, TestSet
from untrac_exp.job import prepare_process
from untrac_exp.stages.inputs import encode_inputs
from untrac_exp.store import Store

SUSPICIOUS = ("networkx", "sympy")
"""Libraries whose held-out docstrings the example asks about."""


def configuration(overrides: Sequence[str] = ()):  # type: ignore[no-untyped-def]
    """That of one job of `+experiment=docstrings`."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("config", ["+experiment=docstrings", "hydra.mode=RUN", *overrides])


def train(
    corpora: Sequence[Corpus],
    testsets: Sequence[TestSet],
    folder: Path,
    store: Path,
    overrides: Sequence[str] = (),
) -> Path:
    """Train the docstrings model on `corpora` and save it to `folder`, which is returned.

    A model in the store is reused; an interrupted training resumes.
    """
    cfg = configuration(overrides)
    prepare_process(cfg.threads)
    data = encode_inputs(cfg, corpora, testsets, instantiate(cfg.model), Store(store))
    trained = data.training.model_spec(cfg.train_seed)
    model = trained.load("sdpa")
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    data.training.tokenizer.save_pretrained(folder)
    return folder


def write(path: Path, texts: Sequence[str]) -> None:
    """One text a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def main() -> None:
    """Make the example."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/trace_example")
    cfg = configuration()
    corpora, testsets = instantiate(cfg.corpora), instantiate(cfg.testset)
    train(corpora, testsets, folder / "checkpoint", folder / "store")
    for corpus in corpora:
        write(folder / "corpora" / f"{corpus.name}.jsonl", [row.target for row in corpus.rows])
    rows = [
        {"text": row.target, "subset": library}
        for library in SUSPICIOUS
        for row in testsets[0].subsets[library]
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "suspicious.jsonl").write_text(lines)
    print(f"{folder}: checkpoint, {len(corpora)} corpora, {len(rows)} texts to explain")


if __name__ == "__main__":
    main()
