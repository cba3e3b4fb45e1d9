"""A precomputed truth that ships with the package.

`texts/<world>_truth.csv` beside `untrac_exp.data.sources.embedded` is the truth.csv of a run with
`truth=leave_dataset_out`. Its first line has the fingerprint of the corpora and the training, which
must match. The README of `texts` has the commands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.prepare import encode
from untrac_exp.data.sources.embedded import TEXTS
from untrac_exp.data.sources.natural import testsets
from untrac_exp.methods.base import Subset
from untrac_exp.stages.training import Training
from untrac_exp.store import fingerprint
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut

_MARK = "# training "


@dataclass(frozen=True)
class Stored(LeaveDatasetOut):
    """The precomputed truth of a world of `data.natural`; train_seeds: the seeds to use."""

    world: str = "natural"

    def models(self, corpora: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
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
                f"truth: the stored truth of '{self.world}' is for other corpora, or a model "
                "trained differently; use truth=leave_dataset_out"
            )
        if missing := set(self.train_seeds) - set(truth["train_seed"]):
            raise ValueError(
                f"truth.train_seeds: the stored truth of '{self.world}' has no train seed "
                f"{min(missing)}; choose from {sorted(set(truth['train_seed']))}"
            )
        truth = truth[truth["train_seed"].isin(self.train_seeds)]
        pairs = pd.MultiIndex.from_frame(truth[["testset", "subset"]])
        if unknown := set(subsets) - set(pairs):
            raise ValueError(
                f"truth: the stored truth of '{self.world}' has no {_shown(*min(unknown))}; "
                "use truth=leave_dataset_out"
            )
        self._check_texts(training, subsets)
        truth = truth[pairs.isin(list(subsets))]
        without = pd.Series(
            [(corpus,) for corpus in truth.pop("corpus")], truth.index, dtype=object
        )
        return truth.assign(without=without)

    def _check_texts(self, training: Training, subsets: Mapping[Subset, Encoded]) -> None:
        """Raise `ValueError` for a test subset with other texts than the world's of that name."""
        source = training.source
        names = list(dict.fromkeys(subset.testset for subset in subsets))
        known = {testset.name: testset.subsets for testset in testsets(self.world, names)}
        for (testset, subset), data in subsets.items():
            shown = _shown(testset, subset)
            rows = known[testset][subset]
            of = encode(rows, training.tokenizer, source.block_size, source.seq2seq, shown)
            if of.fingerprint != data.fingerprint:
                raise ValueError(
                    f"truth: the stored truth of '{self.world}' is for other texts than those of "
                    f"{shown}; use the test sets of its world, or truth=leave_dataset_out"
                )


def _shown(testset: str, subset: str) -> str:
    return f"test set '{testset}', subset '{subset}'"


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
