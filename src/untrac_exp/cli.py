"""The command line: Hydra, and errors as one line."""

import io
import logging
import os
import re
import sys
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from untrac_exp import workers
from untrac_exp.callbacks import report
from untrac_exp.config import config_dir
from untrac_exp.errors import one_line

log = logging.getLogger(__name__)

_FULL = "HYDRA_FULL_ERROR"


def job(cfg: DictConfig) -> None:
    """Hydra's task function, importable so that any launcher can send it to its workers."""
    _start_workers(cfg)
    # slow to import, and --help needs none of it
    from untrac_exp.experiment import run
    from untrac_exp.schema import check

    try:
        if cfg.plan:
            raise ValueError("plan: goes on the command line; write plan=true there")
        check(cfg)
        run(cfg)
    except Exception as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # the other jobs go on
            log.error("failed: %s", one_line(error))
        raise


def _start_workers(cfg: DictConfig) -> None:
    """Have the job's further processes import while this one does, if it may need them.

    Before the configuration is checked, so it may hold anything.
    """
    finished = Path(HydraConfig.get().runtime.output_dir) / "metrics.json"
    trainer, threads = (OmegaConf.select(cfg, key) for key in ("trainer", "threads"))
    if not isinstance(trainer, DictConfig) or not isinstance(threads, int | None):
        return
    if OmegaConf.select(cfg, "budget") is not None:  # a process on all cores
        return
    if workers.number(trainer, threads) > 1 and not finished.exists():
        workers.context("untrac_exp.experiment")


def main() -> None:
    """Run Hydra; an error becomes one line on stderr and exit status 1.

    With HYDRA_FULL_ERROR=1 in the environment it keeps its traceback. When jobs of a sweep fail,
    the others are run and reported, and the line is the first one's.
    """
    # An override may stand on several lines; Hydra's grammar has no line breaks.
    sys.argv[1:] = [re.sub(r"\s*\n\s*", " ", argument) for argument in sys.argv[1:]]
    if os.environ.get(_FULL) == "1":
        _hydra()
        return
    os.environ[_FULL] = "1"  # Hydra is to hand errors over, not to print them its way
    try:
        with redirect_stderr(_Heard()):
            _hydra()
    except (KeyboardInterrupt, SystemExit) as end:
        # Lightning answers Ctrl-C by sys.exit(1)
        if isinstance(end, SystemExit) and not isinstance(end.__context__, KeyboardInterrupt):
            raise
        with suppress(ValueError):  # nothing has finished
            report(stopped=True)
        _exit("stopped; the same command goes on from here", 130)
    except Exception as error:
        with suppress(ValueError):  # nothing has finished
            report()
        _exit(f"error: {one_line(error)}", 1)


def _hydra() -> None:
    args = get_args_parser().parse_args()
    only_shown = (args.help, args.hydra_help, args.cfg, args.info, args.shell_completion)
    if not any(only_shown) and "plan=true" in map(str.lower, args.overrides):
        from untrac_exp.plan import plan

        plan(args.overrides, args.multirun)
        return
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()


def _exit(line: str, status: int) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(status)


class _Heard(io.TextIOBase):
    """stderr without the list of overrides that Hydra prints above an error."""

    def __init__(self) -> None:
        self.stderr = sys.stderr

    def write(self, text: str) -> int:
        if not text.startswith("Error executing job with overrides:"):
            self.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        self.stderr.flush()

    def fileno(self) -> int:
        return self.stderr.fileno()

    def isatty(self) -> bool:
        return self.stderr.isatty()
