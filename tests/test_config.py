"""Every configuration file, found by looking: what it names exists and takes what it is given."""

import inspect
import pkgutil
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

import untrac_exp.methods
import untrac_exp.objectives
from experiments.published import BEGIN, END, fill
from tests.claims import OLDER, parts, wrong
from untrac_exp.config.checks import check, fits
from untrac_exp.config.schema import config_dir, job_dir, share_axes, sweep_dir, variant
from untrac_exp.methods.base import Method
from untrac_exp.objectives.base import Objective

CONF = config_dir()
SCALES = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    path.relative_to(CONF).with_suffix("").as_posix()
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("scale", "experiment")
)
UNSET = {"corpora.paths": "{a: a.txt}", "testset.paths": "{t: t.txt}"}
"""What only the user can say, where a file leaves it open."""


def composed(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides, "hydra.mode=RUN"], return_hydra_config=False)


def filled(cfg):
    for key, value in UNSET.items():
        group, name = key.split(".")
        if cfg[group] is not None and OmegaConf.is_missing(cfg[group], name):
            OmegaConf.update(cfg, key, OmegaConf.create(value))
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


def test_a_header_that_its_table_no_longer_says_is_wrong(tmp_path):
    """Numbers, the verdict and the preset, after the script has written the table anew."""
    (tmp_path / "experiments" / "x").mkdir(parents=True)
    readme = tmp_path / "experiments" / "x" / "README.md"
    text = f"0.81 is prose\n{BEGIN}\n\n| a | −0.123 ± 0.008 | 1,009 | 5e-6 |\n\n{OLDER}\n\n{END}\n"
    readme.write_text(text)
    head = (
        "# @package _global_\n# Paper's claim: x.\n"
        "# Result here: holds: −0.123 at 5e-6, 1,009 tokens\n"
        "#              (experiments/x/README.md, schedule=constant).\n# Command: c\n# Cost: 1\n"
    )
    assert wrong(head, tmp_path) == []
    assert wrong(head.replace("holds: ", "see "), tmp_path) != []
    assert wrong(head.replace("holds: ", ""), tmp_path) != []
    assert wrong(head.replace("Result here", "Expected"), tmp_path) != []
    assert wrong(head.replace("−0.123 at 5e-6, 1,009", "no"), tmp_path) != []
    assert wrong(head.replace("−0.123", "0.123"), tmp_path) == [
        "not in experiments/x/README.md: 0.123"
    ]
    assert wrong(head.replace("1,009", "0.81"), tmp_path) == [
        "not in experiments/x/README.md: 0.81"
    ]
    assert wrong(head.replace("x/README", "y/README"), tmp_path) != []
    fill(readme, "| a | −0.2 | 1,009 | 5e-6 |")
    assert wrong(head, tmp_path) == [
        "not in experiments/x/README.md: -0.123",
        "the header and the file say different presets",
    ]


@pytest.mark.parametrize("corpora", ["equal_mini", "unequal_mini", "tasks_a", "tasks_b"])
def test_one_key_makes_another_world_of_corpora_and_test_sets(corpora):
    for testset in (corpora,) if "tasks" in corpora else ("toxicity_mini", "harms_mini"):
        cfg = composed(f"corpora={corpora}", f"testset={testset}", "world_seed=3")
        assert cfg.corpora.seed == cfg.testset.seed == 3


@pytest.mark.parametrize(
    "experiment",
    ["bias", "truthfulness", "harms", "harms_unequal", "docstrings", "tasks_a"],
)
def test_the_spread_of_a_headline_covers_samples_and_trained_models(experiment):
    params = OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    assert params.seed == params.train_seed == "0,1"


def test_the_demo_has_two_trained_models_and_one_sample_of_each():
    """It has to end within minutes; the spread over train seeds is the larger one."""
    params = OmegaConf.load(CONF / "experiment" / "toxicity.yaml").hydra.sweeper.params
    assert (params.seed, params.train_seed) == (0, "0,1")


@pytest.mark.parametrize("suite", ["a", "b"])
def test_another_seed_of_the_tasks_is_another_sample(suite):
    cfg = composed(f"+experiment=tasks_{suite}")
    assert cfg.n_per_corpus < cfg.corpora.n_per_corpus


def concrete(package, parent):
    """The classes of a package that can be configured: the leaves below `parent`."""
    for module in pkgutil.iter_modules(package.__path__):
        for found in vars(import_module(f"{package.__name__}.{module.name}")).values():
            if (
                inspect.isclass(found)
                and issubclass(found, parent)
                and found.__module__ == f"{package.__name__}.{module.name}"
                and not inspect.isabstract(found)
            ):
                yield f"{found.__module__}.{found.__qualname__}"


@pytest.mark.parametrize(
    ("group", "package", "parent"),
    [
        ("method", untrac_exp.methods, Method),
        ("objective", untrac_exp.objectives, Objective),
    ],
    ids=["methods", "objectives"],
)
def test_each_can_be_chosen_on_the_command_line(group, package, parent):
    files = (CONF / group).glob("*.yaml")
    named = {OmegaConf.load(file).get("_target_") for file in files}
    classes = set(concrete(package, parent))
    assert classes
    assert classes - named == set()


def test_configuration_is_read_from_the_checkout():
    assert Path(__file__).parents[1] / "conf" == CONF


COMMON = ["method=untrac", "seed=1", "+experiment=x", "scale=mini", "outputs=/a/b", "~logger"]
SWEPT = {"method": "untrac,graddot", "optimizer": "sgd,adam", "seed": "0,1"}


def test_what_varies_names_the_job_and_what_is_constant_the_sweep():
    assert variant(COMMON, {}) == ""
    assert variant([*COMMON, "logger.mode=offline", "threads=4", "parallel.workers=2"], {}) == ""
    for params, named, folder in ((SWEPT, "optimizer=sgd", "mini"), ({}, "", "mini-dcc6a8c7")):
        job = [*COMMON, "optimizer=sgd"]
        assert variant(job, params) == named
        assert sweep_dir("mini", job, params) == folder
    assert job_dir("untrac", [*COMMON, "optimizer=sgd"], SWEPT, 3) == "untrac,optimizer=sgd/seed3"
    assert sweep_dir("mini", ["optimizer=sgd,adam", "seed=0"], {}) == "mini"  # the sweep itself


def test_a_sweep_and_its_jobs_have_one_folder_however_it_is_written():
    sweep = sweep_dir("mini", ["b=1e-3", "+a=[x, y]", "optimizer=sgd,adam"], {})
    assert sweep == sweep_dir("mini", ["a=[x,y]", "b=0.001", "optimizer=adam"], SWEPT)
    assert sweep != sweep_dir("mini", ["a=[x,y]", "b=0.002", "optimizer=adam"], SWEPT)
    assert sweep.startswith("mini-")


def test_what_an_experiment_holds_constant_itself_names_nothing():
    assert sweep_dir("mini", ["truth.budget=steps"], {"truth.budget": "steps"}) == "mini"
    assert sweep_dir("mini", ["truth.budget=epochs"], {"truth.budget": "steps"}) != "mini"
    assert variant(["truth.budget=steps"], {"truth.budget": "steps"}) == ""


def test_a_variant_does_not_depend_on_the_order_of_overrides():
    axes = {"a": "1,2", "b": "1,2"}
    assert variant(["b=1", "+a=2"], axes) == variant(["+a=2", "b=1"], axes) == "a=2,b=1"


def test_a_variant_names_a_folder():
    axes = {f"group{i}.some_key": "1,2" for i in range(40)} | {"p": "1,2"}
    long = [f"group{i}.some_key={i}" for i in range(40)]
    other = [*long[:-1], "group39.some_key=40"]
    for name in (variant(one, axes) for one in (long, other, ["p={a: 'x/y.txt'}"])):
        assert "/" not in name
        assert len(name) < 160
    assert variant(long, axes) != variant(other, axes)
    assert variant(["p={a: x}"], axes) != variant(["p={a: y}"], axes)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[numpy,torch]", "numpy\\+torch"), ("5e-6", "5e-06"), ("true", "true"), ("null", "null"),
        ("{forum: f.txt, wiki: w.txt}", "forum\\+wiki-[0-9a-f]{8}"),
        ("data/a.txt", "data_a.txt-[0-9a-f]{8}"), ("'日本'", "-[0-9a-f]{8}"),
        (f"[{','.join(['library'] * 30)}]", "[a-z+]{40}-[0-9a-f]{8}"),
    ],
)  # fmt: skip
def test_values_in_a_variant_are_readable(written, shown):
    name = variant([f"some.key={written}"], {"some.key": "1,2"})
    assert re.fullmatch(rf"some\.key={shown}", name), name


def test_every_job_of_a_sweep_knows_what_varies():
    """Also what its command line sweeps, which a launcher does not tell it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        task = ["+experiment=toxicity", "seed=3", "optimizer.lr=1e-5,2e-5", "n_per_corpus=4"]
        master = hydra.compose_config("config", task, RunMode.MULTIRUN, False)
        share_axes(master)
        job = ["seed=3", "optimizer.lr=1e-5", "n_per_corpus=4", "method=untrac"]
        HydraConfig.instance().set_config(master)
        directory = master.hydra.sweep.dir
        cfg = hydra.config_loader.load_sweep_config(master, ["+experiment=toxicity", *job])
        HydraConfig.instance().set_config(cfg)
        assert cfg.hydra.sweep.dir == directory
        assert re.fullmatch(r"outputs/toxicity/mini-[0-9a-f]{8}", directory)
        assert cfg.hydra.sweep.subdir == "untrac,optimizer.lr=1e-05/seed3"


@pytest.mark.parametrize(
    "name",
    ["false", "True", "no", "null", "NULL", "1", "1.50", "1e3", "1_000", "007", "nan", "a b"],
)
def test_a_name_on_the_command_line_is_the_text_that_was_written(name):
    cfg = composed(
        "corpora=local", f"corpora.paths={{{name} : a.txt, b: b.txt}}", "testset=local",
        f"testset.paths={{{name}: t.txt}}", f"+max_sequences={{{name}: 5}}",
    )  # fmt: skip
    check(cfg)
    assert list(cfg.corpora.paths) == [name, "b"]
    assert list(cfg.testset.paths) == list(cfg.max_sequences) == [name]


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (1, int, True), (1, float, True), (1.5, int, False), (True, int, False), (None, int, False),
        (None, int | None, True), ("a", str | None, True), ("a", float | None, False),
        ("steps", Literal["steps", "epochs"], True), ("step", Literal["steps", "epochs"], False),
        ([1, 2], list[int], True), ([1, "a"], list[int], False), ("ab", list[str], False),
        ({"a": 1}, dict[str, int], True), ({"a": "x"}, dict[str, int], False),
        ([1], dict[str, int], False),
    ],
)  # fmt: skip
def test_values_fit_annotations(value, hint, right):
    assert fits(value, hint) is right


def test_every_method_has_the_learning_rate_that_was_chosen_for_it():
    rates = composed("method=graddot").unlearning.rates
    for method in ("untrac", "untrac_inv"):
        assert composed(f"method={method}").method.optimizer.lr == rates[method]
    for method in ("graddot", "untrac_calibrated"):
        assert composed(f"method={method}").optimizer.lr == rates.default
    assert composed("method=untrac", "unlearning.lr=0.5").method.optimizer.lr == 0.5
    assert composed("method=untrac", "optimizer.lr=0.25").method.optimizer.lr == 0.25
    assert composed("method=untrac", "scale=paper").method.optimizer.lr == 5e-5


def test_a_size_that_depends_on_the_scale_stands_in_the_methods_own_file():
    config = {"scale": "paper", "method": {"samples": "${by_scale:{mini:4,paper:64}}"}}
    cfg = OmegaConf.create(config)
    assert cfg.method.samples == 64
    cfg.scale = "mini"
    assert cfg.method.samples == 4
    cfg.scale = "mine"
    with pytest.raises(InterpolationResolutionError, match="there is mini or paper"):
        _ = cfg.method.samples
