"""W&B logging: one run per job, created from the job's files after it has finished.

The fields are stable, so dashboards may rely on them. `docs/wandb.md` lists all of them, and a test
compares the list with the runs. `untrac_exp.report.dashboard` builds a workspace from them.

Undefined numbers are omitted. An error in W&B causes a warning and never affects results.
"""

import io
import logging
import os
from pathlib import Path
from typing import Any

import pandas as pd

from untrac_exp.report.collect import JOB, KINDS, Sweep, collect
from untrac_exp.report.figures import heatmap_png
from untrac_exp.report.result_files import OWN_LOSS, SCORES, read_table, table_text, write_text
from untrac_exp.statistics.agreement import noise_key

log = logging.getLogger(__name__)

STEP = "unlearning/step"
PRETRAINING_STEP = "pretraining/step"
_POINTS = 500
"""Maximum number of points of the pretraining loss; longer curves are averaged in bins."""
MODES = ("auto", "online", "offline", "disabled")


def log_job(
    outdir: Path, outputs: Path | str, mode: str = "auto", project: str = "untrac_exp"
) -> None:
    """Log a finished job to W&B.

    Args:
        outdir: folder of the job.
        outputs: W&B's files are written to ``<outputs>/wandb``.
        mode: ``online``, ``offline``, ``disabled`` or ``auto``, which is ``WANDB_MODE`` if set and
            offline otherwise, even when logged in to W&B.
        project: W&B project.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"logger.mode={mode}: choose one of {', '.join(MODES)}")
    if mode == "disabled":
        return
    try:
        _log(collect(Path(outdir)), Path(outputs), mode, project)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        log.warning(
            "nothing logged to W&B (%s: %s); results are unaffected", type(error).__name__, reason
        )


def write_history(outdir: Path) -> None:
    """Write the history fields of W&B as ``history.csv``, one column per field."""
    table = history(collect(Path(outdir)))
    if len(table):
        write_text(Path(outdir) / "history.csv", table_text(table))


def no_logging(outdir: Path) -> None:
    """Log nothing beyond the job's files (``logger=none``)."""


def history(sweep: Sweep) -> pd.DataFrame:
    """Return the history fields of one job, one row per step; NaN if a field has no value."""
    rows = sweep.trajectory
    names = "influence/" + rows["testset"] + "/" + rows["corpus"]
    columns = [rows.assign(field=names, value=rows["influence"])]
    own_loss = read_table(sweep.directory / "own_loss.csv", OWN_LOSS)
    if own_loss is not None:
        names = "loss/" + own_loss["unlearned"]
        columns.append(own_loss.assign(field=names, value=own_loss["loss"]))
    long = pd.concat([part[["step", "field", "value"]] for part in columns], ignore_index=True)
    if not len(long):
        return pd.DataFrame(columns=[STEP])
    wide = long.pivot_table(index="step", columns="field", values="value", sort=False)
    return wide.sort_index().rename_axis(index=STEP, columns=None).reset_index()


def pretraining(sweep: Sweep) -> pd.DataFrame:
    """Return the training loss of θ0: columns pretraining/step and pretraining/loss.

    Empty if metrics.json does not name θ0's folder (`theta0`) or the folder has no loss curve, as
    for an external checkpoint.
    """
    folder = sweep.metrics[0].get("theta0")
    curve = read_table(Path(folder) / "loss.csv", ["step", "loss"]) if folder else None
    if curve is None or curve.empty:
        return pd.DataFrame(columns=[PRETRAINING_STEP, "pretraining/loss"])
    stretch = pd.Series(range(len(curve))) * min(_POINTS, len(curve)) // len(curve)
    means = curve.groupby(stretch).agg({"step": "last", "loss": "mean"})
    return means.rename(columns={"step": PRETRAINING_STEP, "loss": "pretraining/loss"})


def summary(sweep: Sweep) -> dict[str, float]:
    """Return the defined summary fields of one job."""
    job = sweep.metrics[0]
    fields: dict[str, Any] = {"warnings": len(sweep.warnings)}
    for testset, values in (job.get("agreement") or {}).items():
        for statistic in sweep.statistics:
            fields[f"agreement/{testset}/{statistic}"] = (values or {}).get(statistic)
    for kind in KINDS:
        for statistic in sweep.statistics:
            for testset, value in (job.get(noise_key(kind, statistic)) or {}).items():
                fields[f"{kind}/{testset}/{statistic}"] = value
    fields |= {f"cost/{name}": value for name, value in (job.get("cost") or {}).items()}
    return {name: value for name, value in fields.items() if value is not None}


def _log(sweep: Sweep, outputs: Path, mode: str, project: str) -> None:
    where = _mode(mode)
    if where == "offline":  # otherwise W&B sends telemetry even for an offline run
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # Imported lazily: the import takes about a second.
    import wandb

    logging.getLogger("wandb").setLevel(logging.WARNING)  # keep INFO messages out of run.log
    job = sweep.metrics[0]
    outputs.mkdir(parents=True, exist_ok=True)
    about = {name: job.get(name) for name in JOB}
    about |= {name: job.get(name) for name in ("scale", "git_commit")}
    config = job.get("config") or {}
    trained = f"train_seed{job['train_seed']}" if job["train_seed"] else ""
    run = wandb.init(
        project=project,
        group=sweep.experiment,
        job_type=str(job["method"]),
        tags=job.get("tags"),
        name="/".join(filter(None, (job["method"], job["variant"], trained, f"seed{job['seed']}"))),
        # W&B appends "wandb". Job keys are below "job", since the config also has a "method".
        dir=str(outputs),
        config={**config, "job": {**about, "versions": job.get("versions")}},
        mode=where,
        reinit="create_new",
        settings=wandb.Settings(
            # The job has finished, so there is no console output or machine to monitor.
            console="off", silent=True, init_timeout=30, save_code=False,
            disable_git=True, disable_code=True, disable_job_creation=True,
            x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True,
        ),
    )  # fmt: skip
    try:
        run.define_metric(PRETRAINING_STEP, hidden=True)
        run.define_metric("pretraining/*", step_metric=PRETRAINING_STEP)
        for row in pretraining(sweep).to_dict("records"):
            run.log({str(field): value for field, value in row.items()})
        run.define_metric(STEP, hidden=True)
        run.define_metric("influence/*", step_metric=STEP)
        run.define_metric("loss/*", step_metric=STEP)
        for row in history(sweep).to_dict("records"):
            run.log({str(field): value for field, value in row.items() if value == value})
        run.log(_media(sweep))
        run.summary.update(summary(sweep))
    finally:
        run.finish()


def _media(sweep: Sweep) -> dict[str, Any]:
    import wandb
    from PIL import Image

    scores = sweep.scores[SCORES].astype(object).values.tolist()
    media: dict[str, Any] = {"scores": wandb.Table(columns=SCORES, data=scores)}
    for testset in sweep.testsets:
        with Image.open(io.BytesIO(heatmap_png(sweep, testset))) as image:
            media[f"heatmap/{testset}"] = wandb.Image(image)
    return media


def _mode(mode: str) -> Any:
    return (os.environ.get("WANDB_MODE") or "offline") if mode == "auto" else mode
