"""Error messages in one line that names the key or file and the remedy."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import singledispatch
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    KeyValidationError,
    OmegaConfBaseException,
)
from yaml import MarkedYAMLError, YAMLError

_GRAMMAR = "hydra.cc/docs/1.3/advanced/override_grammar/basic"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_LAUNCHERS = {"joblib": "joblib", "ray": "ray", "submitit_slurm": "slurm"}
"""Launchers that an extra of the package installs: Hydra's name -> the extra."""

_NOT_IN_DEFAULTS = re.compile(r"Could not override '.*'\. No match in the defaults list.* (\+(.*))")
"""The only message of Hydra that is matched; tests/test_errors.py lists the tested versions."""


def one_line(error: BaseException) -> str:
    """Return the line to print after "error: ".

    The message of a `ValueError` is returned as it is. Errors of Hydra, OmegaConf, YAML and the
    operating system are reworded; unexpected errors are given with their type.
    """
    cause = error
    while isinstance(cause, HydraException) and cause.__cause__ is not None:
        if isinstance(cause, MissingConfigException):
            break
        cause = cause.__cause__
    if any(os.strerror(number) in str(cause) for number in _FULL):  # whatever library wrote
        where = " ".join(["no space left", *getattr(cause, "__notes__", ())])
        return (
            f"{where} ({_flat(cause)}): free some (a folder of a store may be deleted; it is built "
            "again), or choose another disk with outputs=…"
        )
    return (
        _message_of(cause)
        or f"{type(error).__name__}: {_flat(error)} (HYDRA_FULL_ERROR=1 shows where)"
    )


def did_you_mean(word: str, known: Iterable[str], above: str = "") -> str:
    """Return "; did you mean steps?", or the list of choices if no known word is similar.

    above: prefix of the suggested key, such as "pretraining.".
    """
    choices = list(dict.fromkeys(known))
    if near := get_close_matches(word, choices, n=1, cutoff=0.6):
        return f"; did you mean {above}{near[0]}?"
    return f"; choose from {', '.join(choices)}" if choices else ""


def not_text(name: Any) -> str:
    """Return the message for a name that YAML or Python does not read as text."""
    read = "null" if name is None else str(name).lower() if isinstance(name, bool) else str(name)
    kind = type(name).__name__
    return f"the name {read} is read as {kind}, not as text; quote it in a file: '{read}'"


@singledispatch
def _message_of(error: BaseException) -> str | None:
    """Return the message for an error of a library, or None if there is no special one."""
    return _flat(error) if isinstance(error, ValueError) else None


@_message_of.register
def _no_such_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file or "").rpartition("/")
    if not group:
        return _flat(error)
    if group == "hydra/launcher" and (extra := _LAUNCHERS.get(option)):
        return f"hydra/launcher={option} needs an extra: pip install 'untrac_exp[{extra}]'"
    return f"{group}={option}: there is no such {group}{did_you_mean(option, error.options or ())}"


@_message_of.register
def _config(error: OmegaConfBaseException) -> str:
    key, node = error.full_key or str(error.key), error.parent_node
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return f"{key}: there is no such key{_nearest_key(key, node)}"
    if isinstance(error, KeyValidationError):
        return f"{key}: {not_text(error.key)}"
    message = str(error.msg or error).splitlines()[0]
    return f"{key}: {message[0].lower()}{message[1:]}; fix it in the command or its YAML file"


def _nearest_key(key: str, parent: Any) -> str:
    """Suggest the same key elsewhere in the configuration, else a similar one next to it."""
    if not isinstance(parent, DictConfig):
        return ""
    above, _, word = key.rpartition(".")
    paths = _paths(OmegaConf.to_container(parent._get_root()))
    if elsewhere := [path for path in paths if path.rpartition(".")[2] == word]:
        return f"; did you mean {' or '.join(elsewhere[:3])}?"
    return did_you_mean(word, map(str, parent), f"{above}." if above else "")


def _paths(node: Any, above: str = "") -> Iterator[str]:
    for name, child in node.items() if isinstance(node, dict) else ():
        yield above + str(name)
        if name != "hydra":
            yield from _paths(child, f"{above}{name}.")


@_message_of.register
def _hydra(error: HydraException) -> str:
    if isinstance(error, OverrideParseException):
        return f"cannot read '{error.override}': check its quotes, brackets and commas ({_GRAMMAR})"
    text = _flat(error)
    match = _NOT_IN_DEFAULTS.match(text)
    return match.expand(r"\2: write \1") if match else text


@_message_of.register
def _yaml(error: YAMLError) -> str:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f"unreadable YAML: {_flat(error)}; fix the file"
    mark = error.problem_mark
    return f"{mark.name}, line {mark.line + 1}: {error.problem}; fix this YAML file"


@_message_of.register
def _system(error: OSError) -> str | None:
    if error.filename is None or error.strerror is None:
        return None
    remedy = "check the path"
    if error.errno == errno.ENAMETOOLONG:
        remedy = "put some overrides into a YAML file of conf/experiment, or set hydra.run.dir"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "get access to it, or choose another path"
    return f"{error.filename}: {error.strerror.lower()}; {remedy}"


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
