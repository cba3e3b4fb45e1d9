"""Hash of the code that an artifact depends on, for its key.

The hash covers a module and, transitively, the project's modules that it imports, except those of
the rooms `_UNCOUNTED_ROOMS`. Import statements are parsed; nothing is imported. Each module is
hashed as a syntax tree without docstrings, so comments, formatting and docstrings do not count.
Like an import, a module is read once per process; later edits take effect in the next process.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

_PACKAGE = __name__.partition(".")[0]

_UNCOUNTED_ROOMS = {"", "runtime", "store", "config", "report"}
"""Rooms of the package whose code does not affect numbers; "" is the package itself."""

_SITE = {"site-packages", "dist-packages"}


def code_fingerprint(names: Iterable[str]) -> str:
    """Return the SHA-256 (hex) of the code of modules or of what they define (`_target_`s).

    names: dotted names; those of installed libraries are ignored.
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


@cache
def package_fingerprint() -> str:
    """Return the SHA-256 (hex) of the package's files when this process first asked for it."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def targets(node: Any) -> Iterator[str]:
    """Yield every `_target_` at or below a configuration node (plain values)."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for item in node.values():
            yield from targets(item)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from targets(item)


def _counts(module: str) -> bool:
    """Return whether an edit of the module may change numbers."""
    package, _, inside = module.partition(".")
    return package != _PACKAGE or inside.partition(".")[0] not in _UNCOUNTED_ROOMS


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """Return the hash of a module, and the project's modules that it imports."""
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
    """Removes docstrings, that is, statements that consist of a string."""

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
            base = "." * node.level + (node.module or "")
            base = resolve_name(base, package) if node.level else base
            for alias in node.names:
                yield from _modules(f"{base}.{alias.name}")


@cache
def _modules(name: str) -> tuple[str, ...]:
    """Return the modules of a dotted name, outermost package first; none for a library."""
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
    """Find a module like `importlib.util.find_spec`, but without importing its parent packages."""
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
    top = module.partition(".")[0]
    if top == _PACKAGE:
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    place = Path(next(filter(None, places), "")).resolve()
    return top in sys.stdlib_module_names or bool(_SITE & {*place.parts})
