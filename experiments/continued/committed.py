"""The committed truth of `+experiment=continued`, for a method that is run later or elsewhere:

python -m untrac_exp +experiment=continued model.path=... method=untrac_inv train_seed=0
    truth._target_=experiments.continued.committed.Committed
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subset
from untrac_exp.stages.training import Training
from untrac_exp.truth.leave_dataset_out import LeaveDatasetOut

TRUTH = Path(__file__).with_name("truth.csv")


@dataclass(frozen=True)
class Committed(LeaveDatasetOut):
    """The influences of `TRUTH`, of other trainings with the same settings and texts."""

    def models(self, corpora: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
        return []

    def changes(self, training: Training, subsets: Mapping[Subset, Encoded]) -> pd.DataFrame:
        truth = pd.read_csv(TRUTH)
        without = [(corpus,) for corpus in truth.pop("corpus")]
        return truth.assign(without=pd.Series(without, truth.index, dtype=object))
