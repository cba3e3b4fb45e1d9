r"""Random subsets: train on random subsets of the corpora and compare predicted losses (LDS).

.. math::
    \mathrm{LDS}(Z') = \rho_s\Big( \big(L(Z'; \theta_{-G_j}) - L(Z'; \theta_0)\big)_j, \;
    \big(\textstyle\sum_{Z \in G_j} I(Z', Z)\big)_j \Big)

over `subsets` models j, each trained without the corpora :math:`G_j`; :math:`\rho_s` is Spearman's
correlation. It is the linear datamodeling score (LDS) of a method's influences I.

`fraction` of the corpora is kept, drawn by `seed`, so that every corpus is left out about equally
often. Each model is compared with θ0 of the same train seed.

The influence of a single corpus is its weight in the linear datamodel of these models: the least
squares fit of the loss changes by the corpora left out (minimum norm if not unique).

Source: Park et al., "TRAK: Attributing Model Behavior at Scale", ICML 2023; Ilyas et al.,
"Datamodels: Predicting Predictions from Training Data", ICML 2022.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from random import Random

import numpy as np
import pandas as pd

from untrac_exp.truth.models import Truth

_TRIES = 1000


@dataclass(frozen=True)
class RandomSubsets(Truth):
    """Models trained on random subsets of the corpora.

    subsets: models per train seed, besides θ0. fraction: share of the corpora that each is trained
    on. seed: of the draw, which is the same for every train seed.
    """

    subsets: int = 16
    fraction: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subsets < 2:
            raise ValueError(f"truth.subsets={self.subsets} must be at least 2")
        if not 0 < self.fraction < 1:
            raise ValueError(f"truth.fraction={self.fraction} must lie between 0 and 1")

    @property
    def over(self) -> str:
        return "models of random subsets (Spearman: LDS)"

    def left_out(self, corpora: Sequence[str]) -> list[tuple[str, ...]]:
        if len(corpora) < 2:
            raise ValueError("truth=random_subsets needs at least two corpora; add some")
        n = len(corpora) - min(max(1, round(self.fraction * len(corpora))), len(corpora) - 1)
        if comb(len(corpora), n) < self.subsets:
            raise ValueError(
                f"truth.subsets={self.subsets}: {len(corpora)} corpora have only "
                f"{comb(len(corpora), n)} subsets without {n}; lower it"
            )
        for attempt in range(_TRIES):
            random = Random(f"subsets/{self.seed}/{attempt}").random
            subsets = _balanced(len(corpora), n, self.subsets, random)
            if subsets is not None:
                return [tuple(corpora[i] for i in subset) for subset in subsets]
        raise ValueError(
            f"truth.subsets={self.subsets}: no {self.subsets} different subsets leave out every "
            f"one of {len(corpora)} corpora equally often; lower it"
        )

    def influences(self, changes: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
        rows = []
        groups = changes.groupby(["train_seed", "testset", "subset"], sort=False)
        for (seed, testset, subset), group in groups:
            absent = [[float(name in without) for name in corpora] for without in group["without"]]
            weights = np.linalg.lstsq(np.array(absent), group["influence"].to_numpy(), rcond=None)[
                0
            ]
            rows += [
                (seed, name, testset, subset, float(weight))
                for name, weight in zip(corpora, weights, strict=True)
            ]
        columns = ["train_seed", "corpus", "testset", "subset", "influence"]
        influences = pd.DataFrame(rows, columns=columns)
        order = {name: i for i, name in enumerate(corpora)}
        return influences.sort_values(
            ["train_seed", "corpus"], kind="stable", ignore_index=True,
            key=lambda column: column.map(order) if column.name == "corpus" else column,
        )  # fmt: skip

    def compared(
        self, scores: pd.DataFrame, changes: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        actual = changes.assign(corpus=changes["without"].map(" + ".join))
        parts = []
        for without in changes["without"].unique():
            rows = scores[scores["corpus"].isin(without)]
            cells = rows.groupby(["testset", "subset"], sort=False)["influence"]
            sums = cells.agg(lambda column: column.sum(skipna=False)).reset_index()
            parts.append(sums.assign(corpus=" + ".join(without)))
        return pd.concat(parts, ignore_index=True), actual.drop(columns="without")


def _balanced(
    corpora: int, n: int, subsets: int, random: Callable[[], float]
) -> list[tuple[int, ...]] | None:
    """Draw `subsets` distinct sets of n corpora; corpora occur equally often, up to 1.

    Returns None if a set was drawn twice.
    """
    counts = [0] * corpora
    sets: list[tuple[int, ...]] = []
    for _ in range(subsets):
        order = sorted(range(corpora), key=lambda i: (counts[i], random()))
        chosen = tuple(sorted(order[:n]))
        if chosen in sets:
            return None
        sets.append(chosen)
        for i in chosen:
            counts[i] += 1
    return sets
