"""A precomputed truth that ships with the package.

`texts/<name>_truth.csv` beside `untrac_exp.data.sources.embedded` has the rows of a truth.csv.
Its first line identifies the corpora, the training and the texts of each test subset, which must
match. `experiments/truth.py` writes such a file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.sources.embedded import TEXTS
from untrac_exp.methods.base import Subset
from untrac_exp.stages.training import Training
from untrac_exp.store import fingerprint
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut

MARK = "# "
"""Before the first line, which is JSON."""


@dataclass(frozen=True)
class Stored(LeaveDatasetOut):
    """The precomputed truth `name`; train_seeds: the seeds to use."""

    name: str = "natural"

    def models(self, corpora: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        return []

    def changes(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        of, truth = self._read()
        if of["training"] != training_fingerprint(training):
            raise ValueError(
                f"truth: the stored truth of '{self.name}' is for other corpora, or a model "
                "trained differently; use truth=leave_dataset_out"
            )
        if missing := set(self.train_seeds) - set(truth["train_seed"]):
            raise ValueError(
                f"truth.train_seeds: the stored truth of '{self.name}' has no train seed "
                f"{min(missing)}; choose from {sorted(set(truth['train_seed']))}"
            )
        for subset, data in subsets.items():
            shown = f"test set '{subset.testset}', subset '{subset.subset}'"
            texts = of["texts"].get("/".join(subset))
            if texts is None:
                raise ValueError(
                    f"truth: the stored truth of '{self.name}' has no {shown}; "
                    "use truth=leave_dataset_out"
                )
            if texts != data.fingerprint[:16]:
                raise ValueError(
                    f"truth: the stored truth of '{self.name}' is for other texts than those of "
                    f"{shown}; use the test sets of its world, or truth=leave_dataset_out"
                )
        wanted = pd.MultiIndex.from_frame(truth[["testset", "subset"]]).isin(list(subsets))
        truth = truth[truth["train_seed"].isin(self.train_seeds) & wanted]
        without = [(corpus,) for corpus in truth.pop("corpus")]
        return truth.assign(without=pd.Series(without, truth.index, dtype=object))

    def _read(self) -> tuple[dict[str, Any], pd.DataFrame]:
        """Return what the truth is of, and its rows."""
        path = TEXTS / f"{self.name}_truth.csv"
        if not path.exists():
            raise ValueError(
                f"truth.name='{self.name}' has no stored truth; use truth=leave_dataset_out"
            )
        with path.open() as lines:
            return json.loads(lines.readline().removeprefix(MARK)), pd.read_csv(lines)


def training_fingerprint(training: Training) -> str:
    """Return a hash of the corpora's tokens, the model and its training, without the code."""
    ignored = ("checkpoint_every", "_target_")  # the second names the class of the settings
    settings = {key: value for key, value in training.settings_key.items() if key not in ignored}
    return fingerprint(
        {
            "corpora": {name: data.fingerprint for name, data in training.data.items()},
            "model": training.source.key(),
            "pretraining": settings,
        }
    )[:16]
