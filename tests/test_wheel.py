"""The wheel: what is in it, and that it finds its configuration."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONF = sorted((ROOT / "conf").rglob("*.yaml"))


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
    code = (
        "import untrac_exp.config.schema as c; assert 'installed' in str(c.config_dir())\n"
        "from untrac_exp.__main__ import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, "--cfg", "job", "+experiment=toxicity"],
        cwd=tmp_path, env={"PYTHONPATH": "installed"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "name: toxicity" in ended.stdout
