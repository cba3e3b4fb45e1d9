"""W&B: a run per job, open while it runs, and one per sweep (`logger=wandb`).

Offline unless asked otherwise. An error in W&B causes one warning and never affects results.
Undefined numbers are omitted.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd
from lightning.pytorch import loggers as lightning_loggers

from untrac_exp.report.collect import collect
from untrac_exp.report.loggers import Logger
from untrac_exp.report.result_files import SCORES, plain, read_table
from untrac_exp.report.results import COSTS, KINDS, Sweep
from untrac_exp.runtime.cost import Meter
from untrac_exp.store import fingerprint

log = logging.getLogger(__name__)

_POINTS = 1000
"""Maximum number of points of a pretraining curve that comes from the store."""


@dataclass
class WandbLogger(Logger):
    """Logs jobs and sweeps to W&B.

    Attributes:
        outputs: W&B's files are written to ``<outputs>/wandb``.
        mode: ``online``, ``offline``, ``disabled`` or ``auto``, which is ``WANDB_MODE`` if set and
            offline otherwise, even when logged in to W&B.
        project: W&B project.
    """

    outputs: Path | str
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "untrac_exp"

    def __post_init__(self) -> None:
        is_auto = self.mode == "auto"
        self.where: Any = (os.environ.get("WANDB_MODE") or "offline") if is_auto else self.mode
        self.run: Any = None
        self.first_step = math.inf  # of pretraining that `theta0_logger` has logged
        self.waiting = pd.DataFrame()  # trajectories of test sets of which subsets are missing

    @contextmanager
    def job(self, about: Mapping[str, Any], outdir: Path) -> Iterator[Self]:
        """Log one job within the context; a job that fails is a failed run with its curves."""
        overrides = ",".join(
            f"{key.rpartition('.')[2]}={value}" for key, value in about["overrides"].items()
        )
        name = "/".join(filter(None, (about["method"], overrides, f"seed{about['seed']}")))
        config = {**about["config"], "job": {key: about[key] for key in about if key != "config"}}
        self._open(about["experiment"], about["method"], name, config)
        self._safely(_define_axes)
        self._safely(lambda run: setattr(self, "theta0_logger", _Theta0Logger(self)))
        try:
            yield self
        except BaseException:
            self._close(exit_code=1)
            raise
        if (outdir / "metrics.json").exists():
            self._safely(lambda run: _log_results(run, collect(outdir)))
        self._close()

    def log(self, fields: Mapping[str, Any]) -> None:
        """Log the values of some fields."""
        self._safely(lambda run: run.log(dict(fields)))

    def artifact(self, kind: str, folders: Sequence[Path], is_input: bool = False) -> None:
        """Note artifacts of the store by reference, named by their key; nothing is uploaded."""
        if not folders:
            return
        names = sorted(folder.name for folder in folders)
        key = names[0] if len(names) == 1 else fingerprint(names)[:16]

        def note(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(f"{kind}-{key}", kind)
            for folder in folders:
                name = f"{folder.parent.name}/{folder.name}"
                artifact.add_reference(folder.as_uri(), name, checksum=False)
            # W&B has no inputs offline
            use = run.use_artifact if is_input and not run.offline else run.log_artifact
            use(artifact)

        self._safely(note)

    def theta0(self, folder: Path) -> None:
        """Log the loss of θ0 from its folder in the store, as far as it was not logged live."""
        curve = read_table(folder / "loss.csv", ["step", "loss"])
        if self.run is None or curve is None or curve.empty:
            return
        steps = len(curve)
        seconds_per_step = Meter.load(folder / "cost.json").wall_s / steps
        curve = curve[curve["step"] < self.first_step].iloc[:: math.ceil(steps / _POINTS)]
        for step, loss in curve.itertuples(index=False):
            fields = {"step": step, "loss": loss, "seconds": step * seconds_per_step}
            self.log({f"pretraining/{name}": value for name, value in fields.items()})

    def curves(
        self,
        unlearned: str,
        own_loss: pd.DataFrame,
        trajectory: pd.DataFrame,
        subsets: Mapping[str, int],
    ) -> None:
        """Log one unlearning run.

        An influence is the mean over the subsets of a test set, so it is logged when the runs have
        given that of all subsets.
        """
        known = pd.concat([self.waiting, trajectory], ignore_index=True)
        n = known.groupby(["testset", "corpus"])["subset"].transform("nunique")
        is_complete = n == known["testset"].map(subsets)
        known, self.waiting = known[is_complete], known[~is_complete]
        fields = "influence/" + known["testset"] + "/" + known["corpus"]
        influence = known.assign(field=fields).pivot_table(
            index="step", columns="field", values="influence"
        )
        names = {x: f"unlearning/{x}" for x in ("seconds", "flops")} | {"loss": f"loss/{unlearned}"}
        table = own_loss.set_index("step").rename(columns=names).join(influence, how="outer")
        for step, row in table.iterrows():
            self.log({"unlearning/step": step, **row.dropna()})

    def sweep(self, sweep: Sweep, page: Path) -> None:
        """Log a sweep's summary.csv, the agreement of its methods, and its page."""
        config = {"jobs": [job["name"] for job in sweep.metrics]}
        self._open(sweep.experiment, "sweep", f"{sweep.experiment}/{sweep.scale}", config)
        self._safely(lambda run: _log_sweep(run, sweep, page))
        self._close()

    def _open(self, group: str, job_type: str, name: str, config: Mapping[str, Any]) -> None:
        if self.where == "disabled":
            return
        if self.where == "offline":  # otherwise W&B sends telemetry even for an offline run
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            # Imported lazily: the import takes about a second.
            import wandb

            logging.getLogger("wandb").setLevel(logging.WARNING)  # keep INFO out of run.log
            Path(self.outputs).mkdir(parents=True, exist_ok=True)
            self.run = wandb.init(
                project=self.project, group=group, job_type=job_type, name=name,
                config=plain(config), tags=(config.get("job") or {}).get("tags"),
                dir=str(self.outputs), mode=self.where, reinit="create_new",
                settings=wandb.Settings(
                    console="off", silent=True, init_timeout=30, save_code=False,
                    disable_git=True, disable_code=True, disable_job_creation=True,
                    x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
                ),
            )  # fmt: skip
        except Exception as error:
            self._give_up(error)

    def _safely(self, act: Callable[[Any], object]) -> None:
        """Act on the run; after an error, which becomes a warning, nothing more is logged."""
        if self.run is not None:
            try:
                act(self.run)
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.run = None
        reason = next(iter(str(error).splitlines()), "")
        log.warning(
            "logging to W&B ends (%s: %s); results are unaffected", type(error).__name__, reason
        )

    def _close(self, exit_code: int = 0) -> None:
        self._safely(lambda run: run.finish(exit_code=exit_code))
        self.run, self.theta0_logger = None, False


class _Theta0Logger(lightning_loggers.WandbLogger):
    """Lightning's logger for the training of θ0, into the run of the job."""

    def __init__(self, logger: WandbLogger) -> None:
        super().__init__(experiment=logger.run)
        self.logger, self.started = logger, time.monotonic()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of a step, with the seconds since the first."""
        assert step is not None
        self.logger.first_step = min(step, self.logger.first_step)
        spent = {"step": step, "seconds": time.monotonic() - self.started}
        self.logger.log({f"pretraining/{name}": x for name, x in {**spent, **metrics}.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        """Become False in another process, which has no run."""
        return bool, ()


def _define_axes(run: Any) -> None:
    for stage, fields in {
        "pretraining": ["pretraining"],
        "unlearning": ["influence", "loss"],
    }.items():
        for axis in ("step", "seconds", "flops"):
            run.define_metric(f"{stage}/{axis}", hidden=True)
        for field in fields:
            run.define_metric(f"{field}/*", step_metric=f"{stage}/step")


def _log_results(run: Any, sweep: Sweep) -> None:
    """Log the scores, and the agreement and cost in the summary, of one job."""
    import wandb

    run.log({"scores": wandb.Table(dataframe=sweep.scores[SCORES])})
    fields: dict[str, Any] = {"warnings": len(sweep.warnings)}
    for row in sweep.agreement.to_dict("records"):
        fields |= {f"cost/{name}": row[name] for name in COSTS}
        for name in sweep.statistics:
            fields[f"agreement/{row['testset']}/{name}"] = row[name]
            for kind in KINDS:
                fields[f"{kind}/{row['testset']}/{name}"] = row[f"{kind}_{name}"]
    _summarise(run, fields)


def _log_sweep(run: Any, sweep: Sweep, page: Path) -> None:
    import wandb

    table = wandb.Table(dataframe=sweep.summary.drop(columns="label"))
    run.log({"summary": table, "report": wandb.Html(str(page), inject=False)})
    names = [f"{name}_{end}" for name in sweep.statistics for end in ("mean", "std")]
    names += ["pearson_low", "pearson_high", "relative"]
    for row in sweep.summary.to_dict("records"):
        _summarise(run, {f"{row['label']}/{row['testset']}/{name}": row[name] for name in names})


def _summarise(run: Any, fields: Mapping[str, Any]) -> None:
    """Update the summary; undefined numbers are left out."""
    run.summary.update({name: float(x) for name, x in fields.items() if pd.notna(x)})
