"""Pages of the site that are made of other files of the repository, and links between them all.

A link is written as in the repository, so that it works there; here it leads to the page that is
made of the file, or, where there is none, becomes plain text.
"""

import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # MkDocs loads this file by its path

from docs.generated import configuration, experiments, methods, notebook  # noqa: E402

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
_BADGE = re.compile(r"^.*img\.shields\.io.*\n", re.MULTILINE)  # no page needs a network
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/trace.ipynb": "notebook.md",
    "experiments": "experiments/index.md",
    "conf/experiment": "configuration.md",
}
"""Files and folders of the repository -> their page."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures that docs/ does not hold."""
    made = {
        "index.md": _BADGE.sub("", (ROOT / "README.md").read_text()),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "configuration.md": configuration(ROOT),
        "experiments/index.md": experiments(ROOT),
        "notebook.md": notebook(ROOT / "examples" / "trace.ipynb"),
    }
    for path in sorted((ROOT / "experiments").glob("*/*")):
        if path.suffix in (".md", ".png"):
            name = path.relative_to(ROOT).as_posix()
            content = path.read_text() if path.suffix == ".md" else path.read_bytes()
            files.append(File.generated(config, name, content=content))
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the methods' docstrings, and turn the links, outside of code."""
    source = page.file.src_uri
    if source == "methods.md":
        markdown = methods(ROOT, markdown)
    known = {file.src_uri for file in files}
    parts = _FENCE.split(markdown)
    turned = [_LINK.sub(lambda found: _turn(found, source, known), part) for part in parts[::2]]
    parts[::2] = turned
    return "".join(parts)


def _turn(found: re.Match[str], source: str, known: set[str]) -> str:
    image, text, link = found.groups()
    if link.startswith(("http", "#", "mailto:", "data:")):
        return found[0]
    path, hash_, anchor = link.partition("#")
    here = {page: name for name, page in _PAGES.items()}.get(source)
    if here is None:
        here = source if source.startswith("experiments/") else f"docs/{source}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    page = _PAGES.get(target, target.removeprefix("docs/"))
    if page not in known:
        return found[0] if image else text
    relative = posixpath.relpath(page, posixpath.dirname(source) or ".")
    return f"{image}[{text}]({relative}{hash_}{anchor})"
