"""What holds the project together: its configuration files, its pins, its wheel."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONF = sorted((ROOT / "conf").rglob("*.yaml"))


def names_of(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): number for name, number in pairs}


def test_every_direct_dependency_is_pinned():
    extras = PROJECT["optional-dependencies"].values()
    stated = PROJECT["dependencies"] + [line for extra in extras for line in extra]
    assert names_of(stated) - set(pins()) == set()


def test_what_is_installed_is_what_is_pinned():
    """Else CI would test other versions than it says."""
    names = names_of(PROJECT["dependencies"])
    installed = {name: version(name).split("+")[0] for name in names}
    assert installed == {name: pins()[name] for name in names}


def test_the_wheel_carries_the_package_its_data_and_every_configuration_file(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("untrac_exp-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    files = (file for file in (ROOT / "src").rglob("*") if file.is_file())
    sources = [file for file in files if file.suffix != ".pyc"]
    expected = {f.relative_to(ROOT / "src").as_posix() for f in sources}
    expected |= {f"untrac_exp/{f.relative_to(ROOT).as_posix()}" for f in CONF}
    assert CONF
    assert expected - names == set()
    assert not [n for n in names if not n.startswith("untrac_exp")]  # no tests, no outputs
    ended = subprocess.run(
        [sys.executable, "-m", "untrac_exp", "--cfg", "job", "+experiment=toxicity"],
        cwd=tmp_path, env={"PYTHONPATH": "installed"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "name: toxicity" in ended.stdout
