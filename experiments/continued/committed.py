"""The committed truth of `+experiment=continued`, for a method that is run later or elsewhere:

python -m untrac_exp +experiment=continued model.path=... method=untrac_inv train_seed=0
    truth._target_=experiments.continued.committed.Committed
    testset._target_=experiments.continued.committed.usable

The last line leaves out the test sets that are too noisy to count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.worlds.agreement import LOWEST_CEILING
from untrac_exp.data.base import TestSet
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.sources import worlds
from untrac_exp.methods.base import Subset
from untrac_exp.stages.training import Training
from untrac_exp.statistics.agreement import ceilings
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut

TRUTH = Path(__file__).with_name("truth.csv")


@dataclass(frozen=True)
class Committed(LeaveDatasetOut):
    """The influences of `TRUTH`, of other trainings with the same settings and texts."""

    def models(self, corpora: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        return []

    def changes(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        truth = pd.read_csv(TRUTH)
        truth = truth[pd.MultiIndex.from_frame(truth[["testset", "subset"]]).isin(list(subsets))]
        without = [(corpus,) for corpus in truth.pop("corpus")]
        return truth.assign(without=pd.Series(without, truth.index, dtype=object))


def usable(world: int) -> list[TestSet]:
    """Return the world's test sets with an attainable ceiling of at least `LOWEST_CEILING`."""
    attainable = ceilings(pd.read_csv(TRUTH), lambda _: None)["attainable"]
    return [of for of in worlds.testsets(world) if (attainable[of.name] or 0) >= LOWEST_CEILING]
