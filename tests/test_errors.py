"""What Hydra, OmegaConf and YAML raise by themselves, and the line made of it.

The lines follow the classes and attributes of the errors; one wording of Hydra's is matched. All
were seen with the versions of `CHECKED`, of which pyproject.toml allows no later minor.
"""

import tomllib
from pathlib import Path

import hydra
import omegaconf
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from packaging.requirements import Requirement
from yaml import YAMLError

from untrac_exp.config.errors import not_text, one_line

CHECKED = {"hydra-core": ("1.3.2", "1.3.8"), "omegaconf": ("2.3.0", "2.3.1")}
"""The first and the last release that were tried."""

FILES = {
    "config.yaml": "defaults: [_self_, corpora: mine]\nseed: 0\nmodel: {layers: 2, sizes: [1]}\n",
    "corpora/mine.yaml": "paths: {a: a.txt}\n",
    "experiment/toxicity.yaml": "# @package _global_\nseed: 1\n",
    "corpora/twice.yaml": "paths:\n  a: a.txt\n  a: b.txt\n",
    "corpora/open.yaml": "paths: {a: [b\n",
}
LINES = {
    "seedd=1": "seedd: there is no such key; did you mean seed?",
    "layers=1": "layers: there is no such key; did you mean model.layers?",
    "experiment=toxicity": "experiment=toxicity: write +experiment=toxicity",
    "corpora=mime": "corpora=mime: there is no such corpora; did you mean mine?",
    "seed=[1": "cannot read 'seed=[1': check its quotes, brackets and commas (hydra.cc/docs/1.3/"
    "advanced/override_grammar/basic)",
    "model=[1]": "model: cannot merge DictConfig with ListConfig; fix it in the command or its "
    "YAML file",
    "seed=${no}": "seed: interpolation key 'no' not found; fix it in the command or its YAML file",
    "corpora=twice": "{}/corpora/twice.yaml, line 3: found duplicate key a; fix this YAML file",
    "corpora=open": "{}/corpora/open.yaml, line 2: expected ',' or ']', but got '<stream end>'; "
    "fix this YAML file",
}  # fmt: skip


@pytest.fixture
def composed(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)

    def composed(override):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(tmp_path), version_base="1.3"):
            return OmegaConf.to_container(compose("config", [override]), resolve=True)

    return composed


@pytest.mark.parametrize("override", LINES)
def test_an_override_that_is_wrong(composed, tmp_path, override):
    with pytest.raises((HydraException, OmegaConfBaseException, YAMLError)) as caught:
        composed(override)
    assert one_line(caught.value) == LINES[override].replace("{}", str(tmp_path))


@pytest.mark.parametrize("override", ["+seed=1", "~sed", "seed=0,1"])
def test_what_hydra_says_well_is_left_as_it_is(composed, override):
    with pytest.raises(HydraException) as caught:
        composed(override)
    assert one_line(caught.value) == " ".join(str(caught.value).split())


def typed(key, value):
    return lambda: OmegaConf.merge(OmegaConf.structured(hydra.conf.HydraConf), {key: value})


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (typed("job", None), "job: "),
        (typed("output_subdir", [1]), "output_subdir: "),
        (typed("job", {"num": "x"}), "job.num: value 'x' of type 'str' could not be converted to "
         "Integer; fix it in the command or its YAML file"),
        (typed("job", {"nun": 1}), "job.nun: there is no such key; did you mean "),
        (lambda: OmegaConf.create({(1, 2): 3}), "quote it"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind(wrong, line):
    with pytest.raises(OmegaConfBaseException) as caught:
        wrong()
    assert line in one_line(caught.value)


@pytest.mark.parametrize(
    ("name", "read"),
    [(None, "null is read as NoneType"), (False, "false is read as bool"), (1, "1 is read as int")],
)
def test_a_name_that_is_no_text_is_shown_as_it_was_written(name, read):
    assert (
        not_text(name) == f"the name {read}, not as text; quote it in a file: '{read.split()[0]}'"
    )


def test_the_versions_are_those_that_were_checked():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    allowed = {found.name: found.specifier for found in map(Requirement, project["dependencies"])}
    for name, versions in CHECKED.items():
        major, minor, _ = versions[1].split(".")
        assert all(version in allowed[name] for version in versions)
        assert f"{major}.{int(minor) + 1}.0" not in allowed[name]
    assert hydra.__version__ in allowed["hydra-core"]
    assert omegaconf.__version__ in allowed["omegaconf"]
