r"""Leave-dataset-out, the paper's ground truth: retrain without each corpus.

.. math:: I(Z', Z) = L(Z'; \theta_{-Z}) - L(Z'; \theta_0)

`budget` sets how long a counterfactual model trains: for as many *steps* as θ0 (the paper's choice)
or for as many *epochs*, which favours large corpora. Several train seeds give the noise ceiling.

Source: Isonuma and Titov, ACL 2024, sections 2 and 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from untrac_exp.truth.models import Truth


@dataclass(frozen=True)
class LeaveDatasetOut(Truth):
    """One model per corpus and train seed, trained without that corpus."""

    def left_out(self, corpora: Sequence[str]) -> list[tuple[str, ...]]:
        return [(name,) for name in corpora]

    def influences(self, changes: pd.DataFrame, corpora: Sequence[str]) -> pd.DataFrame:
        influences = changes.assign(corpus=[name for (name,) in changes["without"]])
        return influences[["train_seed", "corpus", "testset", "subset", "influence"]]

    def compared(
        self, scores: pd.DataFrame, changes: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        return scores, self.influences(changes, [])
