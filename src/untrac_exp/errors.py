"""Error messages in one line that names the key or file and the remedy."""

import errno
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    KeyValidationError,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError, YAMLError

_GRAMMAR = "hydra.cc/docs/1.3/advanced/override_grammar/basic"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_LAUNCHERS = {"joblib": "joblib", "ray": "ray", "submitit_slurm": "slurm"}
"""Launchers that an extra of the package installs: Hydra's name -> the extra."""

_NOT_IN_DEFAULTS = re.compile(r"Could not override '.*'\. No match in the defaults list.* (\+(.*))")
"""The only message of Hydra that is matched; tests/test_errors.py lists the tested versions."""


def one_line(error: BaseException) -> str:
    """Return the line to print after "error: ".

    The message of a `ValueError` is returned as it is. Errors of Hydra, OmegaConf, YAML and the
    operating system are reworded; unexpected errors are given with their type.
    """
    for layer in _layers(error):
        if (line := _message_of(layer)) is not None:
            return line
    text = _flat(error)
    if isinstance(error, ValueError) and text:
        return text
    return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"


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
    read = {None: "null", True: "true", False: "false"}.get(name, name)
    return f"the name {read!s} is read as {type(name).__name__}, not as text; quote it: '{read!s}'"


def _layers(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that Hydra wraps, from the outermost inwards."""
    seen: BaseException | None = error
    while seen is not None:
        if not isinstance(seen, HydraException) or isinstance(seen, MissingConfigException):
            yield seen
            return
        if seen.__cause__ is None:
            yield seen
        seen = seen.__cause__


def _message_of(error: BaseException) -> str | None:
    """Return the message for an error of a library, or None if there is no special one."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_option(error)
    if isinstance(error, OmegaConfBaseException):
        return _config(error)
    if isinstance(error, HydraException):
        return _hydra(error)
    if isinstance(error, YAMLError):
        return _yaml(error)
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, ValueError):
        return _flat(error)
    return None


def _no_such_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    if not group:
        return _flat(error)
    if group == "hydra/launcher" and (extra := _LAUNCHERS.get(option)):
        return f"hydra/launcher={option} needs an extra: pip install 'untrac_exp[{extra}]'"
    return f"{group}={option}: there is no such {group}{did_you_mean(option, error.options or ())}"


def _config(error: OmegaConfBaseException) -> str:
    key, node = error.full_key or str(error.key), error.parent_node
    if isinstance(error, ConfigKeyError | ConfigAttributeError):
        return f"{key}: there is no such key{_nearest_key(key, node)}"
    if isinstance(error, KeyValidationError):
        return f"{key}: {not_text(error.key)}"
    if isinstance(error, ConfigTypeError) and error.key is None:  # merge of a list and a mapping
        if isinstance(node, DictConfig):
            return f"{key}: a list where a mapping belongs; write {key}='{{name: value}}'"
        return f"{key}: a mapping where a list belongs; write {key}='[a, b]'"
    said = str(error.msg or error).splitlines()[0]
    if isinstance(error, ValidationError):
        if str(error.value) == "None":  # null, or a node that contains it
            return f"{key} may not be null; give it a value"
        return f"{key}: {said[0].lower()}{said[1:]}; give it a value of that kind"
    return f"{key}: {said}; fix it in the command or its YAML file"


def _nearest_key(key: str, parent: Any) -> str:
    """Suggest the same key elsewhere in the configuration, else a similar one next to it."""
    if not isinstance(parent, DictConfig):
        return ""
    above, _, word = key.rpartition(".")
    root = parent._get_root()
    paths = _paths(root) if isinstance(root, DictConfig) else ()
    if elsewhere := [path for path in paths if path.rpartition(".")[2] == word]:
        return f"; did you mean {' or '.join(elsewhere[:3])}?"
    return did_you_mean(word, map(str, parent), f"{above}." if above else "")


def _paths(node: DictConfig, above: str = "") -> Iterator[str]:
    for name in node:
        path = above + str(name)
        yield path
        child = node._get_node(name)
        if name == "hydra" or not isinstance(child, DictConfig):
            continue
        if not (child._is_interpolation() or child._is_none() or child._is_missing()):
            yield from _paths(child, f"{path}.")


def _hydra(error: HydraException) -> str:
    if isinstance(error, OverrideParseException):
        return f"cannot read '{error.override}': check its quotes, brackets and commas ({_GRAMMAR})"
    text = _flat(error)
    found = _NOT_IN_DEFAULTS.match(text)
    return found.expand(r"\2: write \1") if found else text


def _yaml(error: YAMLError) -> str:
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return f"unreadable YAML: {_flat(error)}; fix the file"
    mark = error.problem_mark
    return f"{mark.name}, line {mark.line + 1}: {error.problem}; fix this YAML file"


def _system(error: OSError) -> str | None:
    if error.filename is None or error.strerror is None:
        return None
    said = error.strerror.lower()
    if error.errno in _FULL_DISK:
        return f"{error.filename}: {said}; free some space, or choose another disk with outputs=…"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename}: {said}; get access to it, or choose another path"
    return f"{error.filename}: {said}; check the path"


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
