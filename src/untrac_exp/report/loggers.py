"""Loggers: what a job and a sweep log besides their result files, while they run.

`conf/logger/` has a file for each. `docs/wandb.md` lists the fields of W&B, which are stable, and a
test compares the list with the runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd

from untrac_exp.report.results import Sweep


class Logger:
    """Logs nothing (`logger=none`)."""

    theta0_logger: Any = False
    """Logger for the Lightning trainer that trains θ0; False for none."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a logger of nothing in another process: this one logs what it returns."""
        return Logger, ()

    @contextmanager
    def job(self, about: Mapping[str, Any], outdir: Path) -> Iterator[Self]:
        """Log one job within the context.

        Args:
            about: what its metrics.json says from the start: method, seeds, overrides, config, ...
            outdir: folder of its result files, which are complete at the end.
        """
        yield self

    def artifact(self, kind: str, folders: Sequence[Path], is_input: bool = False) -> None:
        """Note artifacts of the store as an input or an output of the job."""

    def theta0(self, folder: Path) -> None:
        """Log the loss of θ0 from its folder in the store, as far as it was not logged live."""

    def curves(
        self,
        unlearned: str,
        own_loss: pd.DataFrame,
        trajectory: pd.DataFrame,
        subsets: Mapping[str, int],
    ) -> None:
        """Log one unlearning run.

        Args:
            unlearned: name of the forget set.
            own_loss: columns step, loss (of the forget set), seconds, flops (since the start).
            trajectory: columns corpus, testset, subset, step, influence.
            subsets: number of subsets of each test set.
        """

    def sweep(self, sweep: Sweep, page: Path) -> None:
        """Log the report of a sweep."""
