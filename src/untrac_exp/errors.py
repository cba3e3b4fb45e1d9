"""What went wrong, in one line that names the key or the file and what to do about it."""

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
"""Those that an extra of the package brings."""

_NOT_IN_DEFAULTS = re.compile(r"Could not override '.*'\. No match in the defaults list.* (\+(.*))")
"""Hydra's only wording that is matched; tests/test_errors.py says with which versions."""


def one_line(error: BaseException) -> str:
    """The line to print after "error: ".

    A `ValueError` of ours is one already. What Hydra, OmegaConf, YAML and the operating system say
    is put into our words; the type of anything else is named, since nobody expected it.
    """
    for layer in _layers(error):
        if (line := _said_by(layer)) is not None:
            return line
    text = _flat(error)
    if isinstance(error, ValueError) and text:
        return text
    return f"{type(error).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"


def did_you_mean(word: str, known: Iterable[str], above: str = "") -> str:
    """`; did you mean steps?`, or what there is to choose from if nothing known is near.

    above: what stands before the key that is meant, as in "pretraining.".
    """
    choices = list(dict.fromkeys(known))
    if near := get_close_matches(word, choices, n=1, cutoff=0.6):
        return f"; did you mean {above}{near[0]}?"
    return f"; choose from {', '.join(choices)}" if choices else ""


def not_text(name: Any) -> str:
    """Why a name is refused that YAML or Python takes for something else than text."""
    read = {None: "null", True: "true", False: "false"}.get(name, name)
    return f"the name {read!s} is read as {type(name).__name__}, not as text; quote it: '{read!s}'"


def _layers(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, from what Hydra wraps inwards."""
    seen: BaseException | None = error
    while seen is not None:
        if not isinstance(seen, HydraException) or isinstance(seen, MissingConfigException):
            yield seen
            return
        if seen.__cause__ is None:
            yield seen
        seen = seen.__cause__


def _said_by(error: BaseException) -> str | None:
    """Our words for the errors of libraries; None for what speaks for itself."""
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
    if isinstance(error, ConfigTypeError) and error.key is None:  # a merge of two kinds
        if isinstance(node, DictConfig):
            return f"{key}: a list where a mapping belongs; write {key}='{{name: value}}'"
        return f"{key}: a mapping where a list belongs; write {key}='[a, b]'"
    said = str(error.msg or error).splitlines()[0]
    if isinstance(error, ValidationError):
        if str(error.value) == "None":  # null itself, or a node that holds it
            return f"{key} may not be null; give it a value"
        return f"{key}: {said[0].lower()}{said[1:]}; give it a value of that kind"
    return f"{key}: {said}; mend it in the command or its YAML file"


def _nearest_key(key: str, parent: Any) -> str:
    """The same key elsewhere in the configuration, else a similar one of the same mapping."""
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
        return f"unreadable YAML: {_flat(error)}; mend the file"
    mark = error.problem_mark
    return f"{mark.name}, line {mark.line + 1}: {error.problem}; mend this YAML file"


def _system(error: OSError) -> str | None:
    if error.filename is None or error.strerror is None:
        return None
    said = error.strerror.lower()
    if error.errno in _FULL_DISK:
        return f"{error.filename}: {said}; free some space, or choose another disk with outputs=…"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename}: {said}; give yourself access to it, or choose another path"
    return f"{error.filename}: {said}; check the path"


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())
