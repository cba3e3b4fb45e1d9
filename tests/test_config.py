"""Every configuration file, found by looking: what it names exists and takes what it is given."""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from tests.claims import ROOT, numbers, parts, reported
from untrac_exp.config.checks import check, check_value
from untrac_exp.config.schema import config_dir, job_overrides, plain, shown, shrink
from untrac_exp.objectives.base import Objective
from untrac_exp.report.callback import count_jobs
from untrac_exp.stages.unlearning import Stopping

CONF = config_dir()
SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    path.relative_to(CONF).with_suffix("").as_posix()
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("scale", "experiment", "recipe")  # recipe: see below
)
UNSET: dict[str, object] = {
    "corpora.paths": {"a": "a.txt"},
    "testset.paths": {"t": "t.txt"},
    "model.path": "checkpoint",
    "truth.checkpoints": [{"path": "all"}, {"path": "no_a", "without": ["a"]}],
}
"""What only the user can say, where a file leaves it open."""


def composed(*overrides, hydra=False):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides, "hydra.mode=RUN"], return_hydra_config=hydra)


def filled(cfg):
    for key, value in UNSET.items():
        group, name = key.split(".")
        if cfg[group] is not None and OmegaConf.is_missing(cfg[group], name):
            OmegaConf.update(cfg, key, value)
    return cfg


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_names_what_exists_and_takes_its_keys(option):
    scale = next((scale for scale in SCALES if option.endswith(f"_{scale}")), "mini")
    check(filled(composed(option.replace("/", "=", 1), f"scale={scale}")))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_at_every_scale(experiment, scale):
    cfg = composed(f"+experiment={experiment}", f"scale={scale}")
    check(filled(cfg))
    assert cfg.name == experiment
    assert cfg.scale == scale


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_opens_with_what_to_know(experiment):
    """A claim or a question, and a result whose numbers are those of the file it names."""
    head = (CONF / "experiment" / f"{experiment}.yaml").read_text().split("\ndefaults")[0]
    said = parts(head)
    kind, *rest = said
    assert kind in ("Paper's claim", "Question")
    assert rest == ["Result here", "Command", "Cost"]
    [source] = re.findall(r"[\w/]+\.md", said["Result here"])
    if not said["Result here"].startswith("see "):  # a table
        told = numbers(said["Result here"])
        assert told
        assert told - numbers(reported((ROOT / source).read_text())) == set()
    command = said["Command"]
    script = re.match(r"python -m (experiments\.\w+\.\w+)", command)
    if script:
        assert find_spec(script[1])
    else:
        assert command.startswith(f"python -m untrac_exp +experiment={experiment}")


@pytest.mark.parametrize("corpora", ["equal_mini", "unequal_mini", "tasks_a", "tasks_b"])
def test_one_key_makes_another_world_of_corpora_and_test_sets(corpora):
    testset = corpora if "tasks" in corpora else "harms_mini"
    cfg = composed(f"corpora={corpora}", f"testset={testset}", "world_seed=3")
    assert cfg.corpora.seed == cfg.testset.seed == 3


def test_the_jobs_of_a_sweep_are_counted_whatever_gives_its_values():
    command = ["+experiment=toxicity", "method=untrac", "optimizer.lr=1e-5,2e-5,3e-5"]
    assert count_jobs(["seed=0", "train_seed=0,1", *command]) == 3 * 2


def test_a_folder_is_named_by_experiment_scale_method_overrides_and_seed():
    cfg = composed(
        "+experiment=toxicity", "method=untrac", "seed=3", "train_seed=1", "optimizer.lr=1e-5",
        "outputs=/a", "logger=none", "force=true", "threads=2", "tags=[x]",
        hydra=True,
    ).hydra  # fmt: skip
    assert cfg.sweep.dir == "/a/toxicity/mini"
    assert cfg.sweep.subdir == "untrac/optimizer.lr=1e-5,train_seed=1/seed3"
    assert cfg.run.dir == f"{cfg.sweep.dir}/{cfg.sweep.subdir}"
    assert job_overrides(cfg) == {"train_seed": "1", "optimizer.lr": "1e-05"}
    assert Path(composed(hydra=True).hydra.run.dir) == Path("outputs/default/mini/untrac/seed0")


def test_own_files_are_in_no_folders_name():
    own = ["corpora=local", "corpora.paths={a: a/b.txt}", "model=hf", "model.path=../x"]
    cfg = composed(*own, hydra=True).hydra
    assert cfg.sweep.subdir == "untrac/corpora=local,model=hf/seed0"


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, None), (1, float, None), (1.5, int, "integer"), (True, int, "integer"),
        (None, int, "integer"), (None, int | None, None), ("a", str | None, None),
        ("a", float | None, "number"), ("steps", Literal["steps", "epochs"], None),
        ("step", Literal["steps", "epochs"], "'steps' or 'epochs'"), ([1, 2], list[int], None),
        ([1, "a"], list[int], "integer"), ("ab", Sequence[str], r"a list \[a, b\]"),
        ([1, 2], tuple[float, float], None), ({"a": 1}, dict[str, int], None),
        ({"a": "x"}, dict[str, int], "integer"), ([1], dict[str, int], "a mapping {name: value}"),
        ({"a": True}, Mapping[str, str], "text in quotes"), ("kl", Objective, "Objective"),
        ({"_target_": "x"}, Objective, None), (3, Stopping, "Stopping"),
    ],
)  # fmt: skip
def test_values_fit_annotations(value, hint, expected):
    if expected is None:
        check_value(value, hint, "key")
    else:
        with pytest.raises(ValueError, match=rf"^key(\.a)?=.* has the wrong type; .*{expected}"):
            check_value(value, hint, "key")


@pytest.mark.parametrize(
    ("method", "override", "takers"),
    [
        ("graddot", "optimizer=sgd", "finetune, untrac, untrac_inv"),
        ("ngram", "optimizer.lr=1e-4", "finetune, untrac, untrac_inv"),
        ("finetune", "objective=npo", "untrac, untrac_inv"),
    ],
)
def test_a_group_that_the_method_does_not_take_is_refused(method, override, takers):
    cfg = composed(f"method={method}", override)
    check(cfg)  # a default, such as an experiment's, is ignored
    with pytest.raises(ValueError, match=f"^{override}: .* takes no .*; method={takers} do$"):
        check(cfg, [f"method={method}", override])
    check(composed("method=untrac", override), ["method=untrac", override])


def test_debug_limits_sizes_and_raises_none():
    cfg = composed("pretraining.steps=2", "debug=true")
    shrink(cfg)
    assert (cfg.pretraining.steps, cfg.pretraining.batch_size, cfg.method.batch_size) == (2, 2, 1)


def test_environment_variables_are_shown_unresolved(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    cfg = OmegaConf.create({"a": {"b": "${oc.env:SECRET}"}, "c": "x ${a.b}", "d": "${oc.env:NO,1}"})
    text = {"a": {"b": "${oc.env:SECRET}"}, "c": "x ${oc.env:SECRET}", "d": "${oc.env:NO,1}"}
    assert shown(cfg) == text
    assert plain(cfg) == {"a": {"b": "hunter2"}, "c": "x hunter2", "d": "1"}
