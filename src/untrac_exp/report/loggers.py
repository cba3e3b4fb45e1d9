"""Loggers: what a job and a sweep log besides their result files, while they run.

`conf/logger/` has a file for each. `docs/wandb.md` lists the fields of W&B, which are stable, and a
test compares the list with the runs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pandas as pd
from safetensors import safe_open

from untrac_exp.report.result_files import read_table, table_text, write_text
from untrac_exp.report.results import Sweep
from untrac_exp.runtime.cost import Meter

_POINTS = 1000
"""Maximum number of points of a pretraining curve that comes from the store."""


class Logger:
    """Logs nothing (`logger=none`). Subclasses override `log`, and `job` if they have an end."""

    theta0_logger: Any = False
    """Logger for the Lightning trainer that trains θ0; False for none."""
    first_step: int = 2**63
    """First pretraining step that `theta0_logger` has logged, if it has."""
    _waiting = pd.DataFrame()
    """Trajectories of test sets of which subsets are missing."""

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

    def log(self, fields: Mapping[str, Any]) -> None:
        """Log the values of some fields."""

    def artifact(self, kind: str, folders: Sequence[Path], is_input: bool = False) -> None:
        """Note artifacts of the store as an input or an output of the job."""

    def sweep(self, sweep: Sweep, page: Path) -> None:
        """Log the report of a sweep."""

    def theta0(self, folder: Path) -> None:
        """Log the loss of θ0 from its folder in the store, as far as it was not logged live."""
        curve = read_table(folder / "loss.csv", ["step", "loss"])
        if curve is None or curve.empty:
            return
        cost, steps = Meter.load(folder / "cost.json"), len(curve)
        flops = 6.0 * _parameters(folder / "model") * cost.backward_tokens
        curve = curve[curve["step"] < self.first_step].iloc[:: math.ceil(steps / _POINTS)]
        for step, loss in curve.itertuples(index=False):
            part = step / steps
            spent = {"pretraining/seconds": part * cost.wall_s, "pretraining/flops": part * flops}
            self.log({"pretraining/step": step, "pretraining/loss": loss, **spent})

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
            subsets: number of subsets of each test set; an influence is logged when the runs have
                given that of all subsets, over which it is the mean.
        """
        known = pd.concat([self._waiting, trajectory], ignore_index=True)
        n = known.groupby(["testset", "corpus"])["subset"].transform("nunique")
        is_complete = n == known["testset"].map(subsets)
        known, self._waiting = known[is_complete], known[~is_complete]
        fields = "influence/" + known["testset"] + "/" + known["corpus"]
        influence = known.assign(field=fields).pivot_table(
            index="step", columns="field", values="influence"
        )
        names = {
            "loss": f"loss/{unlearned}",
            **{x: f"unlearning/{x}" for x in ("seconds", "flops")},
        }
        table = own_loss.set_index("step").rename(columns=names).join(influence, how="outer")
        for step, row in table.iterrows():
            self.log({"unlearning/step": step, **row.dropna()})


class CsvLogger(Logger):
    """Writes the curves that W&B would plot to ``history.csv``, one column per field."""

    @contextmanager
    def job(self, about: Mapping[str, Any], outdir: Path) -> Iterator[Self]:
        """Log one job within the context."""
        self.rows: list[Mapping[str, Any]] = []
        with super().job(about, outdir):
            yield self
        if self.rows:
            write_text(outdir / "history.csv", table_text(pd.DataFrame(self.rows)))

    def log(self, fields: Mapping[str, Any]) -> None:
        """Keep a row for the file."""
        self.rows.append(dict(fields))


def _parameters(model: Path) -> int:
    """Return the number of weights in a folder of safetensors files."""
    n = 0
    for path in model.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names = file.keys()
            n += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    return n
