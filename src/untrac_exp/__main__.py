"""Entry point of `python -m untrac_exp`: runs Hydra and prints errors as one line."""

import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from io import TextIOWrapper
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TextIO, cast

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from untrac_exp.config.errors import one_line
from untrac_exp.config.schema import config_dir, parse_overrides, shrink
from untrac_exp.report.callback import Report, report

log = logging.getLogger(__name__)

_FULL = "HYDRA_FULL_ERROR"
_DEBUG = ("name=debug", "logger=none", "hydra.mode=RUN")
_PLAN = {f"plan={value}" for value in ("true", "1", "yes", "on", "y")}
_NO_FILES = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none")
_MULTIRUN = ("-m", "--multirun")
_HOME = re.compile(r"(?<=[=:,\[\s])~(?=/|$)")
"""The home folder at the beginning of a path."""
_OF_LAUNCHER = ("hydra/launcher=", "hydra.launcher.")


def job(cfg: DictConfig) -> float | None:
    """Run one job; at module level so that launchers can pickle it.

    Returns:
        Its mean agreement as a share of the attainable, for sweepers that optimise it; None without
        a truth.
    """
    # slow imports, which --help does not need
    from untrac_exp.config.checks import check
    from untrac_exp.job import run

    try:
        if cfg.plan:
            raise ValueError("plan: write plan=true on the command line")
        if cfg.debug:
            shrink(cfg)
        check(cfg, HydraConfig.get().overrides.task)
        return run(cfg)
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # the other jobs go on
            log.error("failed: %s", one_line(error))
        raise


def main() -> None:
    """Run Hydra; print an error as one line on stderr and exit with status 1.

    HYDRA_FULL_ERROR=1 keeps the traceback. If jobs of a sweep fail, the others are run and
    reported, and the line is that of the first failure.
    """
    signal.signal(signal.SIGTERM, _terminated)
    if isinstance(sys.stdout, TextIOWrapper):  # of ASCII, names and signs have other characters
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.argv[1:] = _arguments(sys.argv[1:])
    if os.environ.get(_FULL) == "1":
        _hydra()
        return
    os.environ[_FULL] = "1"  # Hydra raises errors instead of printing them
    try:
        with redirect_stderr(cast(TextIO, _FilteredStderr())):
            _hydra()
        if Report.failed:
            sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning turns KeyboardInterrupt into sys.exit(1)
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        with suppress(ValueError):  # nothing has finished
            report(stopped=True)
        _exit("stopped; the same command goes on from here", 130)
    except Exception as error:
        with suppress(Exception):  # such as that nothing has finished
            report()
        _exit(f"error: {one_line(_first_fault(error))}", 1)


def _first_fault(error: Exception) -> Exception:
    """Return what is wrong with a job of a sweep, if Hydra only complains of its commas.

    It composes an experiment's commas as those of a single job if the experiment has a mistake.
    """
    if "Ambiguous value" not in str(error):
        return error
    overrides = [argument for argument in sys.argv[1:] if "=" in argument]
    GlobalHydra.instance().clear()
    try:
        jobs = BasicSweeper.split_arguments(parse_overrides(overrides), None)
        with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
            for overrides in jobs[0]:
                hydra.compose("config", list(overrides), return_hydra_config=True)
    except Exception as fault:
        return fault
    return error


def _arguments(arguments: Sequence[str]) -> list[str]:
    """Return the command line as Hydra can read it.

    An override may stand on several lines, its paths may begin with `~`, and `-m` may stand between
    overrides, none of which Hydra's grammar has. `debug=true` is one job of an experiment, in a
    folder of its own.
    """
    home = os.path.expanduser("~")
    lines = [re.sub(r"\s*\n\s*", " ", argument) for argument in arguments]
    lines = [_HOME.sub(lambda _: home, line) for line in lines]
    lines.sort(key=_MULTIRUN.__contains__)  # last; the others keep their order
    return _insert(_DEBUG, "debug=true", lines) if "debug=true" in lines else lines


def _insert(overrides: Sequence[str], place: str, arguments: Sequence[str]) -> list[str]:
    """Insert overrides after another, as flags must not stand between overrides."""
    after = arguments.index(place) + 1
    return [*arguments[:after], *overrides, *arguments[after:]]


def _hydra() -> None:
    decorate = hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")
    asked = [argument for argument in sys.argv[1:] if argument.lower() in _PLAN]
    if not asked:
        decorate(job)()
        return
    plans: list[tuple[DictConfig, dict[str, Any]]] = []
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith(_OF_LAUNCHER)]
    with TemporaryDirectory(prefix="untrac-plan-") as folder:
        # Hydra and the store write there
        sys.argv[1:] = _insert([f"hydra.sweep.dir={folder}", *_NO_FILES], asked[0], arguments)
        decorate(lambda cfg: plans.append((cfg, _plan(cfg, folder))))()
    if plans:  # not --help
        from untrac_exp.report.plan import write_plan

        write_plan(plans[0][0], [plan for _, plan in plans])


def _plan(cfg: DictConfig, folder: str) -> dict[str, Any]:
    """Plan one job of the command; folder: for what is tokenized."""
    from untrac_exp.config.checks import check
    from untrac_exp.config.downloads import downloads
    from untrac_exp.config.schema import plain
    from untrac_exp.job import load, prepare_process
    from untrac_exp.report.job_files import is_finished, job_key
    from untrac_exp.report.plan import plan_job, sweep_dir
    from untrac_exp.store import ReadOnlyStore, fingerprint

    if cfg.debug:
        shrink(cfg)
    check(cfg, HydraConfig.get().overrides.task)
    prepare_process(cfg.threads)
    name = os.path.normpath(HydraConfig.get().sweep.subdir)
    inputs, finished, fetched = None, False, downloads(plain(cfg))
    if not fetched:
        inputs = load(cfg, ReadOnlyStore(cfg.store, cfg.force, folder))
        key = fingerprint(job_key(cfg, inputs))
        finished = not cfg.force and is_finished(sweep_dir(cfg) / name, key)
    return plan_job(cfg, name, fetched, inputs, finished)


def _terminated(*_: object) -> NoReturn:
    """End at once, as after a kill, but with a line."""
    print("terminated; the same command goes on from here", file=sys.stderr, flush=True)
    os._exit(128 + signal.SIGTERM)


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
