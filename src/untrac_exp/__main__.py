"""Entry point of `python -m untrac_exp`: runs Hydra and prints errors as one line."""

import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from untrac_exp.config.errors import one_line
from untrac_exp.config.schema import config_dir, shrink
from untrac_exp.report.callback import report
from untrac_exp.runtime import workers

log = logging.getLogger(__name__)

_FULL = "HYDRA_FULL_ERROR"
_DEBUG = ("name=debug", "logger=none", "hydra.mode=RUN")
_MULTIRUN = {"--multirun", "-m"}
_PLAN = {f"plan={value}" for value in ("true", "1", "yes", "on", "y")}


def job(cfg: DictConfig) -> float | None:
    """Run one job; at module level so that launchers can pickle it.

    Returns:
        Its mean agreement as a share of the attainable, for sweepers that optimise it; None without
        a truth.
    """
    _start_workers(cfg)
    # slow imports, which --help does not need
    from untrac_exp.config.checks import check
    from untrac_exp.job import run

    try:
        if cfg.plan:
            raise ValueError(
                "plan: write plan=true on the command line, with overrides and no other options"
            )
        if cfg.debug:
            shrink(cfg)
        check(cfg, HydraConfig.get().overrides.task)
        return run(cfg)
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # the other jobs go on
            log.error("failed: %s", one_line(error))
        raise


def _start_workers(cfg: DictConfig) -> None:
    """Start the server of worker processes early, so that its imports run in parallel to ours.

    The configuration has not been validated yet.
    """
    finished = Path(HydraConfig.get().runtime.output_dir) / "metrics.json"
    trainer, threads = (OmegaConf.select(cfg, key) for key in ("trainer", "threads"))
    if not isinstance(trainer, DictConfig) or not isinstance(threads, int | None):
        return
    if OmegaConf.select(cfg, "budget") is not None:  # one process uses all cores
        return
    if workers.number(trainer, threads) > 1 and not finished.exists():
        workers.context("untrac_exp.job")


def main() -> None:
    """Run Hydra; print an error as one line on stderr and exit with status 1.

    HYDRA_FULL_ERROR=1 keeps the traceback. If jobs of a sweep fail, the others are run and
    reported, and the line is that of the first failure.
    """
    sys.argv[1:] = _arguments(sys.argv[1:])
    if os.environ.get(_FULL) == "1":
        _hydra()
        return
    os.environ[_FULL] = "1"  # Hydra raises errors instead of printing them
    try:
        with redirect_stderr(cast(TextIO, _FilteredStderr())):
            _hydra()
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns KeyboardInterrupt into sys.exit(1)
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        with suppress(ValueError):  # nothing has finished
            report(stopped=True)
        _exit("stopped; the same command goes on from here", 130)
    except Exception as error:
        with suppress(ValueError):  # nothing has finished
            report()
        _exit(f"error: {one_line(error)}", 1)


def _arguments(arguments: Sequence[str]) -> list[str]:
    """Return the command line as Hydra can read it.

    An override may stand on several lines; Hydra's grammar has no line breaks. `debug=true` is one
    job of an experiment, in a folder of its own.
    """
    lines = [re.sub(r"\s*\n\s*", " ", argument) for argument in arguments]
    return [*lines, *_DEBUG] if "debug=true" in lines else lines


def _hydra() -> None:
    flags = {one for one in sys.argv[1:] if one.startswith("-")}
    overrides = [one for one in sys.argv[1:] if one not in flags]
    if flags <= {*_MULTIRUN, "--run", "-r"} and _PLAN & {one.lower() for one in overrides}:
        from untrac_exp.report.plan_jobs import plan

        plan(overrides, bool(flags & _MULTIRUN))
        return
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()


def _exit(line: str, status: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(status)


class _FilteredStderr:
    """stderr without the list of overrides that Hydra prints above an error."""

    def __init__(self) -> None:
        self.stderr = sys.stderr

    def write(self, text: str) -> int:
        if not text.startswith("Error executing job with overrides:"):
            self.stderr.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stderr, name)


if __name__ == "__main__":
    # by its name, so that launchers can pickle the job
    from untrac_exp.__main__ import main as run_main

    run_main()
