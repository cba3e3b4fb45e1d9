"""Estimators tried beyond the methods: other checkpoints, directions and normalizations.

    python -m experiments.natural.frontier [--readme]

For θ0 of train seed 0 and its own checkpoints: one step of UnTrac-Inv (`untrac_step`), and the dot
product of the gradients: plain, preconditioned by the diagonal of the empirical Fisher matrix, and
with the sign of the corpora's gradient (the direction of UnTrac's first step with Adam). Each is
reported as it is, divided by the norm of the corpus' gradient, and "in place of the rest": times
p / (1 - p) and minus the mean, where p is the share of a corpus in the training data, since in the
truth the other corpora get the steps of the one left out. Pearson over the attainable ceiling, mean
over the test sets; no value was chosen on `natural`.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.torch import load_model

from experiments.published import fill
from experiments.tables import markdown
from untrac_exp.config.schema import config_dir
from untrac_exp.job import load, make_subject, prepare_process
from untrac_exp.methods.base import Subject, Subset
from untrac_exp.methods.common.products import gradient
from untrac_exp.methods.untrac_step import UnTracStep
from untrac_exp.runtime.cost import Meter
from untrac_exp.statistics.agreement import ceilings, truth_mean
from untrac_exp.store import Store

WORLDS = ("tuning", "natural")
DAMPING = 1e-3
"""Of the Fisher diagonal, a share of its mean."""
Matrix = dict[Subset, np.ndarray]
"""Influences (Z,) of the corpora, in their order, on every test subset."""


def asked(world: str) -> tuple[Subject, pd.DataFrame, Mapping[str, float]]:
    """θ0 and its data, the mean truth, and the attainable ceilings by test set."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        chosen = [f"+experiment={world}", "hydra.mode=RUN", "method=untrac_step", "train_seed=0"]
        cfg = compose("config", chosen)
    prepare_process(cfg.threads)
    data = load(cfg, Store(cfg.store))
    truth = instantiate(cfg.truth)
    changes = truth.changes(data.training, data.subsets)
    actual = truth.influences(changes, list(data.training.corpora))
    attainable = {name: float(c or np.nan) for name, c in ceilings(actual)["attainable"].items()}
    theta0 = data.training.model_spec(cfg.train_seed)
    return make_subject(cfg, data, theta0, Meter()), truth_mean(actual), attainable


def tried(subject: Subject) -> tuple[dict[str, Matrix], np.ndarray]:
    """Estimator -> influences, with the model's present weights; and the corpora's lengths (Z,)."""
    found: dict[str, Matrix] = {}
    scores = UnTracStep(rise=0.5).influences(subject).scores
    found["one step"] = {
        Subset(str(testset), str(subset)): rows.set_index("corpus")["influence"][
            list(subject.corpora)
        ].to_numpy()
        for (testset, subset), rows in scores.groupby(["testset", "subset"])
    }

    def compute() -> dict[str, np.ndarray]:
        corpora = [gradient(subject, data) for data in subject.corpora.values()]
        fisher = torch.zeros_like(corpora[0])
        for data in subject.corpora.values():
            for part in torch.arange(len(data)).split(4):
                fisher += gradient(subject, data.select(part)) ** 2
        fisher = fisher / fisher.mean() + DAMPING
        rows: dict[str, list[list[float]]] = {"dot": [], "Fisher dot": [], "dot with the sign": []}
        for data in subject.subsets.values():
            g = gradient(subject, data)
            rows["dot"].append([float(g @ z) for z in corpora])
            rows["Fisher dot"].append([float((g / fisher) @ z) for z in corpora])
            rows["dot with the sign"].append([float(g @ z.sign()) for z in corpora])
        return {
            **{name: np.array(values) for name, values in rows.items()},
            "lengths": np.array([float(z.norm()) for z in corpora]),
        }

    products = subject.part("frontier", compute, draws=False)
    for name in ("dot", "Fisher dot", "dot with the sign"):
        found[name] = dict(zip(subject.subsets, products[name], strict=True))
    return found, products["lengths"]


def readings(lengths: np.ndarray, shares: np.ndarray) -> dict[str, Callable]:
    """Name -> what is made of the influences (Z,) of one test subset."""
    odds = shares / (1 - shares)
    return {
        "as it is": lambda x: x,
        "÷ length": lambda x: x / lengths,
        "in place of the rest": lambda x: odds * (x - shares @ x),
    }


def relative(matrix: Matrix, truth: pd.DataFrame, attainable: Mapping[str, float]) -> float:
    """Pearson over the attainable ceiling, mean over test subsets."""
    found = []
    for subset, ours in matrix.items():
        rows = truth[(truth["testset"] == subset.testset) & (truth["subset"] == subset.subset)]
        r = np.corrcoef(ours, rows["influence"].to_numpy())[0, 1]
        found.append(r / attainable[subset.testset])
    return float(np.mean(found))


def table(world: str) -> str:
    """A row for every estimator and reading, a column for every checkpoint and their mean."""
    subject, truth, attainable = asked(world)
    truth = truth.sort_values(
        "corpus", key=lambda names: names.map({name: i for i, name in enumerate(subject.corpora)})
    )
    sizes = np.array([int(data.lengths.sum()) for data in subject.trained_on.values()], float)
    cells: dict[tuple[str, str], dict[str, float]] = {}
    sums: dict[tuple[str, str], list[Matrix]] = {}
    for path, _ in subject.checkpoints:
        with subject.leaving_theta0() as model:
            load_model(model, path)
            there = replace(subject, key={**subject.key, "checkpoint": path.stem})
            found, lengths = tried(there)
        for name, matrix in found.items():
            for reading, made in readings(lengths, sizes / sizes.sum()).items():
                read = {subset: made(x) for subset, x in matrix.items()}
                at = cells.setdefault((name, reading), {})
                at[f"step {int(path.stem)}"] = relative(read, truth, attainable)
                scaled = {subset: x / x.std() for subset, x in read.items()}
                sums.setdefault((name, reading), []).append(scaled)
    rows = []
    for (name, reading), at in cells.items():
        later = sums[name, reading][len(subject.checkpoints) // 2 - 1 :]
        mean = {subset: np.sum([one[subset] for one in later], axis=0) for subset in later[0]}
        at[f"mean of the last {len(later)}"] = relative(mean, truth, attainable)
        shown = {head: f"{value:.2f}".replace("-", "−") for head, value in at.items()}
        rows.append({"estimator": name, "read": reading, **shown})
    return markdown(pd.DataFrame(rows).set_index("estimator"))


def main() -> None:
    """Print a table for each world."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="write them into frontier.md")
    given = parser.parse_args()
    text = "\n\n".join(f"`{world}`:\n\n{table(world)}" for world in WORLDS)
    print(text)
    if given.readme:
        fill(Path(__file__).parent / "frontier.md", text)


if __name__ == "__main__":
    main()
