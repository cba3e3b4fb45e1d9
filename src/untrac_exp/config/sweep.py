"""The jobs of a sweep, as Hydra's sweeper makes them."""

from collections.abc import Iterator, Mapping, Sequence

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig


def overrides_of_jobs(
    arguments: Sequence[str], params: Mapping[str, str] | None
) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in Hydra's order.

    Args:
        arguments: overrides of the command line.
        params: `hydra.sweeper.params`, which they replace.
    """
    axes = [f"{key}={values}" for key, values in (params or {}).items()]
    overrides = OverridesParser.create().parse_overrides([*axes, *arguments])
    [jobs] = BasicSweeper.split_arguments(overrides, None)
    return jobs


def compose_jobs(arguments: Sequence[str], multirun: bool) -> Iterator[DictConfig]:
    """Yield the configuration of the job, or of each job of a sweep, with its `hydra` node.

    Hydra's configuration directory must be initialised.

    Args:
        arguments: overrides of the command line.
        multirun: whether the command has Hydra's `-m`.
    """
    parsed = OverridesParser.create().parse_overrides([*arguments])
    single = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    hydra = compose("config", single, return_hydra_config=True).hydra
    if not (multirun or hydra.mode == RunMode.MULTIRUN):
        yield compose("config", [*arguments], return_hydra_config=True)
        return
    for overrides in overrides_of_jobs(arguments, hydra.sweeper.params):
        yield compose("config", overrides, return_hydra_config=True)
