"""Validate the configuration against the signatures of its `_target_`s before anything runs."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from untrac_exp.config.errors import did_you_mean, not_text
from untrac_exp.config.schema import Config
from untrac_exp.runtime.progress import parse_duration

_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    NoneType: "null",
}


def check(cfg: DictConfig) -> None:
    """Validate a job's configuration.

    Raises:
        ValueError: a key is unknown, or a value has the wrong type or range.
    """
    known = [field.name for field in fields(Config)]
    choices = [*known, "+experiment"]
    for name in map(str, cfg):
        if name not in known:
            raise ValueError(f"{name}: there is no such key{did_you_mean(name, choices)}")
    for name in ("n_per_corpus", "n_tokens_per_corpus", "threads"):
        if cfg[name] is not None and cfg[name] < 1:
            raise ValueError(f"{name}={cfg[name]} must be at least 1, or null")
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
    check_nodes(OmegaConf.to_container(cfg, resolve=True), "")


def check_nodes(value: Any, path: str) -> None:
    """Check every mapping at or below `path`: keys are text, and it fits its `_target_`."""
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"{path}: {not_text(name)}")
        if "_target_" in value:
            _check_node(value, path)
        for name, item in value.items():
            check_nodes(item, f"{path}.{name}".lstrip("."))
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
    parameters = inspect.signature(function).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [name for name, p in parameters.items() if p.kind in kinds]
    anything = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
    given = [name for name in node if name not in _HYDRA_KEYS]
    for name in given:
        if name not in names and not anything:
            raise ValueError(
                f"{path}.{name}: {target} has no such argument{did_you_mean(name, names)}"
            )
    for name in names if not node.get("_partial_") else ():
        if name not in given and parameters[name].default is inspect.Parameter.empty:
            raise ValueError(f"{path}.{name} is missing; {target} needs it")
    try:
        hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except (NameError, TypeError):  # a library's annotations that only type checkers can resolve
        hints = {}
    for name in given:
        _check_value(node[name], hints.get(name, Any), f"{path}.{name}")
    if inspect.isclass(function) and issubclass(function, torch.optim.Optimizer):
        try:  # optimizers check their values only in the constructor, hours later
            instantiate(node)([torch.nn.Parameter(torch.zeros(1))])
        except ValueError as error:
            raise ValueError(f"{path}: {error}; give valid arguments of {target}") from error


def _check_value(value: Any, hint: Any, path: str) -> None:
    if not fits(value, hint):
        if isinstance(value, list) and "a mapping" in kind(hint):
            raise ValueError(
                f"{path}: a list where a mapping belongs; write {path}='{{name: value}}'"
            )
        if isinstance(value, Mapping) and len(args := get_args(hint)) == 2:
            for name, item in value.items():
                _check_value(item, args[1], f"{path}.{name}")
        quotes = ", in quotes" if fits("", hint) and not fits(value, hint) else ""
        raise ValueError(f"{path}={value!r} has the wrong type; give {kind(hint)}{quotes}")


def fits(value: Any, hint: Any) -> bool:
    """Return whether a value from YAML is valid for a parameter annotated with `hint`."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        if isinstance(value, bool):
            return hint is bool
        return isinstance(value, int | float if hint is float else hint)
    if origin in (Union, UnionType):
        return any(fits(value, option) for option in args)
    if origin is Literal:
        return value in args
    if _is(origin or hint, Mapping):
        item = args[1] if len(args) == 2 else Any
        return isinstance(value, Mapping) and all(fits(v, item) for v in value.values())
    if _is(origin or hint, Sequence):
        item = args[0] if len(args) == 1 or args[1:] == (...,) else Any
        return isinstance(value, list) and all(fits(v, item) for v in value)
    # an object: a nested node with its own `_target_`
    return hint is Any or not inspect.isclass(origin or hint) or isinstance(value, Mapping)


def kind(hint: Any) -> str:
    """Describe an annotation in words."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in _KINDS:
        return _KINDS[hint]
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(kind(option) for option in args))
    if origin is Literal:
        return " or ".join(map(str, args))
    if _is(origin or hint, Mapping):
        return "a mapping"
    if _is(origin or hint, Sequence):
        return f"a list of {kind(args[0])}" if args and args[0] in _KINDS else "a list"
    return "a group or a mapping with a _target_"


def _is(hint: Any, parent: type) -> bool:
    return inspect.isclass(hint) and issubclass(hint, parent)
