"""Texts of the site that are read off the code, the configuration and the experiments."""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import griffe
import yaml
from latex2mathml.converter import convert

_MARK = re.compile(r"^<!-- docstring: ([\w.]+) -->$", re.MULTILINE)


def methods(root: Path, page: str) -> str:
    """Put the docstring of a module where the page has ``<!-- docstring: module -->``."""
    package = _package(root)

    def docstring(found: re.Match[str]) -> str:
        text = package[found[1].removeprefix("untrac_exp.")].docstring
        assert text is not None, found[1]
        return markdown(text.value)

    return _MARK.sub(docstring, page)


def markdown(docstring: str) -> str:
    """A docstring of reStructuredText with its equations as MathML, as Markdown."""
    text = re.sub(
        r"^\.\. math::[ ]?(.*(?:\n(?:[ \t]+.*|[ \t]*$))*)",
        lambda found: _equation(" ".join(found[1].split())) + "\n",
        docstring,
        flags=re.MULTILINE,
    )
    text = re.sub(r":math:`([^`]+)`", lambda found: _inline(found[1]), text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _equation(latex: str) -> str:
    """Equations on lines of their own, one for each part between wide spaces."""
    lines = [part.strip().rstrip(",") for part in re.split(r"\\qquad", latex)]
    return "\n".join(f"\n{_mathml(line, 'block')}\n" for line in lines)


def _inline(latex: str) -> str:
    # Markdown would make a paragraph of a <math> that begins a line.
    return f"<span>{_mathml(' '.join(latex.split()), 'inline')}</span>"


def _mathml(latex: str, display: str) -> str:
    return convert(latex.replace("\\!", ""), display=display)


def configuration(root: Path) -> str:
    """Every key and option of conf/, with types and defaults from the signatures they call."""
    package = _package(root)
    lines = [
        "# Configuration",
        "Generated from `conf/` and the signatures of what it calls. Any key is set on the command "
        "line as `key=value`, any option of a group as `group=option`; comma-separated values make "
        "a sweep. `python -m untrac_exp --cfg job` prints the configuration of a command.",
        "## Shared keys",
        _table(_shared(package), ("key", "type = default", "says")),
    ]
    groups = [path for path in sorted((root / "conf").iterdir()) if path.is_dir()]
    for group in groups:
        if group.name in ("hydra", "experiment"):
            continue
        lines.append(f"## {group.name}")
        for path in sorted(group.glob("*.yaml")):
            lines += [f"### {group.name}={path.stem} {{ #{group.name}-{path.stem} }}"]
            lines += _option(package, path)
    lines += ["## experiment", "Each sets what differs from the defaults: `+experiment=<name>`."]
    for path in sorted((root / "conf" / "experiment").glob("*.yaml")):
        lines += [f"### {path.stem} {{ #experiment-{path.stem} }}", _header(path.read_text(), True)]
    return "\n\n".join(filter(None, lines)) + "\n"


def _option(package: griffe.Object, path: Path) -> list[str]:
    text = path.read_text()
    node = yaml.safe_load(text) or {}
    if isinstance(own := node.get(path.parent.name), dict):  # the file sets other groups too
        node = {**own, **{key: node[key] for key in node if key != path.parent.name}}
    target = str(node.get("_target_", ""))
    called = f"Calls `{target}`." if target else ""
    taken = [_choice(one) for one in node.get("defaults", []) if one != "_self_"]
    if taken:
        called += f" Takes {', '.join(taken)}."
    rows = list(_rows(node, ""))
    known = {row["key"].strip("`") for row in rows}
    types = _signature(package, target)
    for row in rows:
        row["type"] = _code(types.get(row["key"].strip("`"), ("", ""))[0])
    rows += [
        {"key": _code(name), "default": _code(default), "type": _code(hint)}
        for name, (hint, default) in types.items()
        if name not in known and default not in ("", "None", "MISSING")
    ]
    columns = [name for name in ("key", "type", "default") if any(row.get(name) for row in rows)]
    return [_header(text), called.strip(), _table(rows, columns) if rows else ""]


def _choice(default: Any) -> str:
    """An entry of a defaults list, as it would be written on a command line."""
    if isinstance(default, str):
        return f"`{default}`"
    [(group, option)] = default.items()
    return f"`{group.removeprefix('override ').lstrip('/').partition('@')[0]}={option}`"


def _rows(node: Mapping[str, Any], prefix: str) -> Iterator[dict[str, str]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if key in ("_target_", "_partial_", "defaults"):
            continue
        if isinstance(value, dict) and value:
            yield from _rows(value, f"{name}.")
        else:
            yield {"key": _code(name), "default": _code(json.dumps(value, ensure_ascii=False))}


def _signature(package: griffe.Object, target: str) -> dict[str, tuple[str, str]]:
    """Parameter -> (type, default) of what a node calls; {} of other packages."""
    if not target.startswith("untrac_exp."):
        return {}
    called = package[target.removeprefix("untrac_exp.")]
    if not isinstance(called, griffe.Class | griffe.Function):
        return {}
    return {
        one.name: (str(one.annotation or ""), str(one.default if one.default is not None else ""))
        for one in called.parameters
        if one.name != "self"
    }


def _shared(package: griffe.Object) -> Iterator[dict[str, str]]:
    for name, one in package["config.schema.Config"].attributes.items():
        says = one.docstring.value if one.docstring else ""
        hint, default = str(one.annotation or ""), str(one.value or "")
        shown = "" if default == "MISSING" or "field(" in default else default
        parts = [part for part in ("" if hint == "Any" else hint, shown) if part]
        yield {
            "key": _code(name),
            "type = default": _code(" = ".join(parts)),
            "says": " ".join(says.split()),
        }


def _header(text: str, parts: bool = False) -> str:
    """The comment that opens a file; of an experiment its parts, one a paragraph."""
    lines = []
    for line in text.splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    said = "\n".join(lines)
    if not parts:
        return _escaped(said)
    paragraphs = re.split(r"\n(?=[A-Z][\w' ]+: )", said)
    return "\n\n".join(_part(paragraph) for paragraph in paragraphs)


def _part(paragraph: str) -> str:
    name, _, text = paragraph.partition(": ")
    if name == "Command":
        return f"```sh\n{textwrap.dedent(text)}\n```"
    return f"**{name}.** {_escaped(' '.join(text.split()))}"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _table(rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> str:
    lines = [[*columns], ["---"] * len(columns)]
    lines += [[row.get(column, "") for column in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def experiments(root: Path) -> str:
    """A list of the experiments' pages, by the title of each."""
    lines = ["# Experiments", "The evidence: claim, what came out here, command and cost of each."]
    found = []
    for path in sorted((root / "experiments").glob("*/README.md")):
        title = path.read_text().splitlines()[0].removeprefix("# ")
        found.append(f"- [{title}]({path.parent.name}/README.md)")
    return "\n\n".join([*lines, "\n".join(found)]) + "\n"


def notebook(path: Path) -> str:
    """A notebook with its outputs as Markdown; pictures are in it, as data."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(
                    f"![figure](data:image/png;base64,{''.join(data['image/png'].split())})"
                )
            else:
                text = "".join(data.get("text/plain", output.get("text", "")))
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def _package(root: Path) -> griffe.Object:
    package = griffe.load("untrac_exp", search_paths=[str(root / "src")])
    assert isinstance(package, griffe.Object)
    return package
