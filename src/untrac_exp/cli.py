"""The command line: Hydra, and errors as one line."""

import os
import sys

import hydra
from omegaconf import DictConfig

from untrac_exp.config import config_dir

_FULL = "HYDRA_FULL_ERROR"


def job(cfg: DictConfig) -> None:
    """Hydra's task function, importable so that any launcher can send it to its workers."""
    from untrac_exp.experiment import run  # slow to import, and --help needs none of it

    run(cfg)


def main() -> None:
    """Run Hydra; an error becomes one line on stderr and exit status 1.

    With HYDRA_FULL_ERROR=1 in the environment it keeps its traceback.
    """
    if os.environ.get(_FULL) == "1":
        _hydra()
        return
    os.environ[_FULL] = "1"  # Hydra is to hand errors over, not to print them its way
    try:
        _hydra()
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
    except Exception as error:
        sys.exit(f"error: {one_line(error)} ({_FULL}=1 shows where)")


def _hydra() -> None:
    hydra.main(version_base="1.3", config_path=str(config_dir()), config_name="config")(job)()


def one_line(error: BaseException) -> str:
    """What went wrong in a line: the innermost cause says it best where Hydra wraps it."""
    while error.__cause__ is not None and type(error).__module__.startswith("hydra"):
        error = error.__cause__
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"
