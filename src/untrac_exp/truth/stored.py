"""A truth that was computed before and ships with the package: nothing is trained for it.

`texts/<world>_truth.csv` beside `untrac_exp.data.natural` is the truth.csv of a run with
`truth=leave_dataset_out`. Its first line says of which corpora and training it is, and it is taken
for no others. The README of `texts` names the commands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.natural import TEXTS
from untrac_exp.methods.base import Subset
from untrac_exp.store import fingerprint
from untrac_exp.training import Training
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut
from untrac_exp.truth.models import Job, Truth

_MARK = "# training "


@dataclass(frozen=True)
class Stored(Truth):
    """The truth of a world of `data.natural`. train_seeds: those of it that are asked for."""

    world: str = "natural"

    def left_out(self, corpora: Sequence[str]) -> list[tuple[str, ...]]:
        return []

    def jobs(self, training: Training, subsets: Mapping[Subset, Encoded]) -> list[Job]:
        return []

    def changes(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        path = TEXTS / f"{self.world}_truth.csv"
        if not path.exists():
            raise ValueError(f"truth.world='{self.world}' has no stored truth; use natural")
        with path.open() as lines:
            of = lines.readline().strip().removeprefix(_MARK)
            truth = pd.read_csv(lines)
        if of != training_fingerprint(training):
            raise ValueError(
                f"truth: the stored truth of '{self.world}' is of other corpora, or of a model "
                "trained otherwise; use truth=leave_dataset_out"
            )
        wanted = {name: set(values) for name, values in self._wanted(subsets).items()}
        for name, values in wanted.items():
            if missing := values - set(truth[name]):
                raise ValueError(
                    f"truth: the stored truth has no {name} {sorted(missing)[0]}; "
                    "use truth=leave_dataset_out"
                )
            truth = truth[truth[name].isin(values)]
        without = pd.Series(
            [(corpus,) for corpus in truth.pop("corpus")], truth.index, dtype=object
        )
        return truth.assign(without=without)

    def influences(self, changes: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
        return LeaveDatasetOut(self.train_seeds).influences(changes, corpora)

    def compared(
        self, scores: pd.DataFrame, changes: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        return LeaveDatasetOut(self.train_seeds).compared(scores, changes)

    def _wanted(self, subsets: Mapping[Subset, Encoded]) -> dict[str, list[Any]]:
        return {
            "train_seed": list(self.train_seeds),
            "testset": [subset.testset for subset in subsets],
            "subset": [subset.subset for subset in subsets],
        }


def training_fingerprint(training: Training) -> str:
    """A hash of the corpora's tokens, the model and its training; not of the code."""
    settings = {k: v for k, v in training.settings_key.items() if k != "checkpoint_every"}
    return fingerprint(
        {
            "corpora": {name: data.fingerprint for name, data in training.data.items()},
            "model": training.source.key(),
            "pretraining": settings,
        }
    )[:16]
