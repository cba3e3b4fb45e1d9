"""Every configuration file, found by looking: what it names exists and takes what it is given."""

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from tests.claims import parts, wrong
from untrac_exp.config.checks import check, check_value
from untrac_exp.config.errors import one_line
from untrac_exp.config.schema import config_dir, job_overrides, plain, shown, shrink
from untrac_exp.objectives.base import Objective
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
    assert wrong(head) == []
    command = parts(head)["Command"]
    script = re.match(r"python -m (experiments\.\w+\.\w+)", command)
    if script:
        assert find_spec(script[1])
    else:
        assert command.startswith(f"python -m untrac_exp +experiment={experiment}")


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


@pytest.mark.parametrize("name", ["false", "True", "null", "1", "1.50", "1e3"])
def test_a_name_on_the_command_line_that_is_no_text_is_refused(name):
    with pytest.raises((ValueError, HydraException)) as caught:
        check(composed("corpora=local", f"corpora.paths={{{name}: a.txt, b: b.txt}}"))
    assert re.match(
        r"corpora\.paths: the name .* not as text; quote it in a file", one_line(caught.value)
    )


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


def test_each_takes_the_settings_of_its_experiment():
    """A recipe is named by its experiment and the method or scale that it is for."""
    for path in (CONF / "recipe").glob("*.yaml"):
        experiment, _, choice = path.stem.partition("_")
        if experiment == "tasks":
            cfg = composed("+experiment=tasks_b", f"scale={choice}")
        else:
            cfg = composed(f"+experiment={experiment}", f"method={choice}")
            instantiate(cfg.method)
        for key, value in leaves(OmegaConf.load(path)):
            assert OmegaConf.select(cfg, key) == value
    assert composed("+experiment=tasks_a", "scale=paper", "method=hif_arnoldi").method.keep == 25


def leaves(node, above=""):
    for key, value in node.items():
        if OmegaConf.is_dict(value):
            yield from leaves(value, f"{above}{key}.")
        elif key != "defaults":
            yield above + key, value


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
    cfg = composed("+experiment=trace", "method=untrac_inv", "debug=true")
    shrink(cfg)
    assert (cfg.pretraining.steps, cfg.n_per_corpus, cfg.method.stopping.steps) == (0, 4, 2)
    cfg = composed("pretraining.steps=2", "debug=true")
    shrink(cfg)
    assert (cfg.pretraining.steps, cfg.pretraining.batch_size, cfg.method.batch_size) == (2, 2, 1)


def test_a_size_that_depends_on_the_scale_stands_in_the_methods_own_file():
    config = {"scale": "paper", "method": {"samples": "${by_scale:{mini:4,paper:64}}"}}
    cfg = OmegaConf.create(config)
    assert cfg.method.samples == 64
    cfg.scale = "mini"
    assert cfg.method.samples == 4
    cfg.scale = "mine"
    with pytest.raises(InterpolationResolutionError, match="there is mini or paper"):
        _ = cfg.method.samples


def test_environment_variables_are_shown_unresolved(monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    cfg = OmegaConf.create({"a": {"b": "${oc.env:SECRET}"}, "c": "x ${a.b}", "d": "${oc.env:NO,1}"})
    text = {"a": {"b": "${oc.env:SECRET}"}, "c": "x ${oc.env:SECRET}", "d": "${oc.env:NO,1}"}
    assert shown(cfg) == text
    assert plain(cfg) == {"a": {"b": "hunter2"}, "c": "x hunter2", "d": "1"}
