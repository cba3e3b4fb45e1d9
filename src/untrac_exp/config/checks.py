"""Validate the configuration against the signatures of its `_target_`s before anything runs."""

import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import SchemaError

from untrac_exp.config.errors import did_you_mean, not_text
from untrac_exp.config.schema import Config, config_dir, parse_overrides
from untrac_exp.runtime.progress import parse_duration

_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
_OF_METHODS = ("optimizer", "objective")
"""Groups that a method takes only if its YAML names them."""
_REFERENCED = ("schedule", "optimizer", "objective", "loss", "trainer")
"""Groups that others refer to."""
_THREADS = 8
"""Most threads of a process per CPU core."""
_WORDS = {
    "string_type": "text in quotes",
    "dict_type": "a mapping {name: value}",
    "sequence_str": "a list [a, b]",
}
"""Our words for some of pydantic's types of errors."""


def check(cfg: DictConfig, overrides: Iterable[str] = ()) -> None:
    """Validate a job's configuration.

    Args:
        cfg: the configuration.
        overrides: those that the user or the sweep gave.

    Raises:
        ValueError: a key is unknown or unused, or a value has the wrong type or range.
    """
    known = [field.name for field in fields(Config)]
    choices = [*known, "+experiment"]
    for name in map(str, cfg):
        if name not in known:
            raise ValueError(f"{name}: there is no such key{did_you_mean(name, choices)}")
    for name in ("n_per_corpus", "n_tokens_per_corpus", "threads"):
        if cfg[name] is not None and cfg[name] < 1:
            raise ValueError(f"{name}={cfg[name]} must be at least 1, or null")
    for name in ("seed", "train_seed", "world_seed"):
        if abs(cfg[name]) >= 2**63:
            raise ValueError(f"{name}={cfg[name]} must be below 2^63")
    if cfg.tokens < 0:
        raise ValueError(f"tokens={cfg.tokens} must be at least 0")
    if cfg.threads is not None and cfg.threads > (most := _THREADS * (os.cpu_count() or 1)):
        raise ValueError(f"threads={cfg.threads} must be at most {most} on this machine, or null")
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{', '.join(missing)}: not given; add {missing[0]}=… to the command")
    if cfg.budget is not None:
        if cfg.budget != "auto":
            parse_duration("budget", cfg.budget)
        if cfg.pretraining.steps:
            raise ValueError(
                f"budget={cfg.budget}: only for models that are not trained here "
                "(pretraining.steps=0), as in +experiment=trace; use budget=null"
            )
    if not (isinstance(cfg.force, bool) or cfg.force == "all"):
        raise ValueError(f"force={cfg.force} is unknown; use true, false or all")
    nodes: Any = OmegaConf.to_container(cfg, resolve=True)
    for group in _REFERENCED:  # first, so that an error names the group and not a copy of it
        check_nodes(nodes[group], group)
    check_nodes(nodes, "")
    if cfg.pretraining.steps == 0 and cfg.truth and get_object(cfg.truth._target_).trains:
        raise ValueError(
            "truth: pretraining.steps=0 trains no model to compare; use truth=none, or "
            "truth=checkpoints for models that others have trained"
        )
    _check_used(cfg.method, overrides)


def _check_used(method: DictConfig, overrides: Iterable[str]) -> None:
    """Refuse an override of a group that the method does not take and would ignore."""
    taken = OmegaConf.to_yaml(method)
    for override in parse_overrides(overrides):
        group = override.key_or_group.partition(".")[0]
        reference = f"${{{group}}}"
        if group in _OF_METHODS and reference not in taken:
            files = sorted(config_dir().glob("method/*.yaml"))
            takers = [path.stem for path in files if reference in path.read_text()]
            raise ValueError(
                f"{override.input_line}: {method._target_.rpartition('.')[2]} takes no {group} "
                f"from the configuration; method={', '.join(takers)} do"
            )


def check_nodes(value: Any, path: str) -> None:
    """Check every mapping at or below `path`: keys are text, and it fits its `_target_`."""
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"{path}: {not_text(name)}")
        for name, item in value.items():
            check_nodes(item, f"{path}.{name}".lstrip("."))
        if "_target_" in value:
            _check_node(value, path)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            check_nodes(item, f"{path}[{i}]")


def _check_node(node: Mapping[str, Any], path: str) -> None:
    target = str(node["_target_"])
    try:
        function = get_object(target)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise ValueError(f"{path}._target_: cannot load {target} ({reason}); correct it") from error
    signature = inspect.signature(function)
    given = {name: item for name, item in node.items() if name not in _HYDRA_KEYS}
    try:
        (signature.bind_partial if node.get("_partial_") else signature.bind)(**given)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise ValueError(f"{path}: {target}: {error}; it takes {takes}") from error
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except (NameError, TypeError):  # a library's annotations that only type checkers can resolve
        hints = {}
    for name, item in given.items():
        check_value(item, hints.get(name, Any), f"{path}.{name}")
    if inspect.isclass(function) and issubclass(function, torch.optim.Optimizer):
        try:  # optimizers check their values only in the constructor, hours later
            instantiate(node)([torch.nn.Parameter(torch.zeros(1))])
        except ValueError as error:
            raise ValueError(f"{path}: {error}; give valid arguments of {target}") from error


def check_value(value: Any, hint: Any, path: str) -> None:
    """Check a value from YAML against the annotation of its parameter.

    A node with a `_target_` stands for the object that it makes, and a list for a tuple.

    Raises:
        ValueError: it has another type.
    """
    if isinstance(value, Mapping) and "_target_" in value:
        return
    try:
        # a list, since pydantic takes no `config` for a dataclass itself
        adapter = TypeAdapter(list[hint], config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, SchemaError):  # an annotation that only type checkers can resolve
        return
    try:
        adapter.validate_python([value], strict=True)
    except ValidationError as error:
        wrong = [fault for fault in error.errors() if fault["type"] != "tuple_type"]
        if not wrong:
            return
        item = wrong[0]["input"]
        if isinstance(value, Mapping) and item is not value:
            path = f"{path}.{wrong[0]['loc'][1]}"
        expected = (
            _WORDS.get(fault["type"], fault["msg"].removeprefix("Input should be "))
            for fault in wrong
            if fault["input"] is item
        )
        raise ValueError(
            f"{path}={item!r} has the wrong type; give {' or '.join(expected)}"
        ) from error
