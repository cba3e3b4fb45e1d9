"""The code that an artifact depends on, as a hash for its key.

A module and the project's modules that it imports, transitively, are found by reading their import
statements; nothing is imported. Each is hashed as a syntax tree without docstrings, so that
comments, formatting and prose make no difference. A module is read once a process, as it is
imported once: what is edited later does not run before the next process.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

_PACKAGE = __name__.partition(".")[0]

_NO_NUMBERS = {
    f"{_PACKAGE}{module}"
    for module in (
        *("", ".agreement", ".bootstrap", ".config", ".cost", ".errors", ".plan", ".progress"),
        *(".ranking", ".report", ".result_files", ".schema", ".store", ".workers"),
        # make the tokens, whose content is in every key
        *(".data.base", ".data.fingerprint", ".data.prepare", ".data.rows", ".data.tokenizing"),
    )
}
"""Imported by what computes artifacts, and read only where it is itself what is asked for."""

_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_SITE = {"site-packages", "dist-packages"}


def code_fingerprint(names: Iterable[str]) -> str:
    """SHA-256 in hex of the code behind modules, or behind what they define (`_target_`s).

    names: dotted. Those of installed libraries count for nothing.
    """
    wanted: list[str] = []
    for name in names:
        *packages, module = _modules(name) or ("",)
        wanted += [*filter(_counts, packages), *filter(None, [module])]
    found: dict[str, str] = {}
    while wanted:
        module = wanted.pop()
        if module not in found:
            found[module], imported = _read(module)
            wanted += filter(_counts, imported)
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` at or below a node of the configuration, in plain values."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for item in node.values():
            yield from targets(item)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from targets(item)


def _counts(module: str) -> bool:
    return module not in _NO_NUMBERS and not module.startswith(f"{_PACKAGE}.report.")


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module, and the project's modules that it imports."""
    spec = _spec(module)
    assert spec is not None
    if spec.origin is None or not Path(spec.origin).is_file():
        return "", ()  # a folder without __init__.py
    content = Path(spec.origin).read_bytes()
    if not spec.origin.endswith(".py"):
        return hashlib.sha256(content).hexdigest(), ()
    tree = ast.parse(content)
    imported = tuple(dict.fromkeys(_imported(tree, module, spec)))
    shown = ast.dump(_WithoutProse().visit(tree))
    return hashlib.sha256(shown.encode()).hexdigest(), imported


class _WithoutProse(ast.NodeTransformer):
    """Drops docstrings: statements that are nothing but a string."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        value = node.value
        return None if isinstance(value, ast.Constant) and isinstance(value.value, str) else node


def _imported(tree: ast.Module, module: str, spec: ModuleSpec) -> Iterator[str]:
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                above = above[: len(above) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield from _modules(f"{base}.{alias.name}")


@cache
def _modules(name: str) -> tuple[str, ...]:
    """The modules of a dotted name, the outermost package first; none for a library's."""
    found: list[str] = []
    for part in name.split("."):
        module = ".".join([*found[-1:], part])
        spec = _spec(module)
        if spec is None or _is_library(module, spec):
            break
        found.append(module)
    return tuple(found)


@cache
def _spec(module: str) -> ModuleSpec | None:
    """As `importlib.util.find_spec`, which would import the packages around it."""
    parent = module.rpartition(".")[0]
    above = _spec(parent) if parent else None
    if parent and (above is None or above.submodule_search_locations is None):
        return None
    path = None if above is None else above.submodule_search_locations
    for finder in sys.meta_path:
        if spec := finder.find_spec(module, path):
            return spec
    return None


def _is_library(module: str, spec: ModuleSpec) -> bool:
    if module.partition(".")[0] == _PACKAGE:
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    place = Path(next(filter(None, places), "")).resolve()
    built_in = spec.origin in ("built-in", "frozen")
    return built_in or bool(_SITE & {*place.parts}) or any(map(place.is_relative_to, _LIBRARIES))
