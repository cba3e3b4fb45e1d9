"""What a second run of a job computes again, and what it finds."""

import csv
import json
from pathlib import Path

import pytest

from tests.command import JOB, ends_well, overrides, write_texts
from untrac_exp.methods import graddot

TRUTH = {"truth": "leave_dataset_out", "truth.train_seeds": "[0]", "parallel": "none"}
SWEEP = {**JOB, "method": "untrac,graddot", "hydra.mode": "MULTIRUN"}


def run(folder, job=JOB, **changes):
    return ends_well(folder, {**job, **changes}).out


def store(folder, kind="*"):
    """When each artifact was built, by its folder."""
    found = {}
    for file in (folder / "outputs" / "store").glob(f"{kind}/*/manifest.json"):
        found[file.parent] = json.loads(file.read_text())["created"]
    return found


def methods(folder, parts):
    """How many of these parts each method has; "θ0" for those that methods share."""
    found = {}
    for part in parts:
        method = json.loads((part / "manifest.json").read_text())["key"]["method"]
        name = method.get("_target_", "θ0").rpartition(".")[2]
        found[name] = found.get(name, 0) + 1
    return found


def rebuilt(before, after):
    return {path for path in after if before.get(path) != after[path]}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """θ0's loss, and its losses of test texts; UnTrac's two corpora; GradDot's products."""
    folder = tmp_path_factory.mktemp("swept")
    write_texts(folder)
    run(folder, SWEEP)
    assert methods(folder, store(folder, "part")) == {"θ0": 2, "UnTrac": 2, "GradDot": 1}
    return folder


def test_a_truth_added_to_a_sweep_computes_no_part(swept):
    before = store(swept)
    out = run(swept, SWEEP, **TRUTH)
    assert out.count(" wrote ") == 2, "the agreement is new"
    after = store(swept)
    assert {path.parent.name for path in rebuilt(before, after)} == {"model", "losses"}
    assert len(rebuilt(before, after)) == 2 + 3  # a model without each corpus; three models' losses


@pytest.mark.parametrize(
    "change", [{"trainer.max_tokens": "2048"}, {"name": "other"}, {"world_seed": "3"}]
)
def test_what_does_not_matter_changes_no_artifact(swept, change):
    before = store(swept)
    assert " wrote " in run(swept, **change)
    assert store(swept) == before


def test_precision_and_seed_make_parts_of_their_own(swept):
    before = store(swept, "part")
    run(swept, method="untrac", seed="1")
    other_seed = store(swept, "part")
    assert methods(swept, rebuilt(before, other_seed)) == {"θ0": 1, "UnTrac": 2}
    run(swept, **{"trainer.precision": "bf16-mixed"})
    assert methods(swept, rebuilt(other_seed, store(swept, "part"))) == {"θ0": 1, "GradDot": 1}


def test_checkpoints_kept_more_often_leave_the_parts(swept):
    """θ0 is trained again, to the same weights; a counterfactual model has no checkpoints."""
    run(swept, **TRUTH)
    before = store(swept)
    run(swept, **TRUTH, **{"pretraining.checkpoint_every": "1"})
    [theta0] = rebuilt(before, store(swept))
    assert theta0.parent.name == "model"
    assert len(list((theta0 / "checkpoints").iterdir())) == 3


def test_a_second_testset_leaves_the_first_ones_part(swept):
    before = store(swept, "part")
    (swept / "u.txt").write_text("the ships stayed over the hills\n")
    run(swept, name="second", **{"testset.paths": "{t: t.txt, u: u.txt}"})
    after = store(swept, "part")
    assert methods(swept, rebuilt(before, after)) == {"θ0": 1, "GradDot": 1}


def test_force_computes_the_methods_parts_and_says_what_it_keeps(swept):
    run(swept, **TRUTH)
    before = store(swept)
    assert "the results are already there (force=true runs it again)" in run(swept, **TRUTH)
    out = run(swept, **TRUTH, force="true")
    [line] = [line for line in out.splitlines() if "force=true" in line]
    assert "θ0 and truth are kept (force=all rebuilds them)" in line
    assert methods(swept, rebuilt(before, store(swept))) == {"θ0": 1, "GradDot": 1}


def test_force_all_makes_everything_once(swept):
    before = store(swept)
    run(swept, SWEEP, **TRUTH, force="all")
    after = store(swept)
    kinds = sorted(path.parent.name for path in rebuilt(before, after))
    expected = {"tokenizer": 1, "tokens": 3, "model": 3, "losses": 3, "part": 5}
    assert kinds == sorted(kind for kind, n in expected.items() for _ in range(n))
    models, parts = ([after[path] for path in store(swept, kind)] for kind in ("model", "part"))
    assert max(models) < min(made for made in parts if made > max(before.values()))
    assert not list(swept.glob("outputs/store/*/*.*/manifest.json"))


def influences(folder, **changes):
    """Of the GradDot job that was started by exactly these overrides."""
    named = ",".join(overrides(changes))
    file = folder / "outputs" / "default" / "mini" / "graddot" / named / "seed0" / "scores.csv"
    return [float(row["influence"]) for row in csv.DictReader(file.open())]


def test_an_edited_formula_is_a_new_answer_and_prose_is_not(swept):
    source = Path(graddot.__file__).read_text()
    theirs = swept / "theirs.py"
    mine = {"method._target_": "theirs.GradDot"}
    theirs.write_text(source)
    run(swept)
    run(swept, **mine)
    first, before = influences(swept, **mine), store(swept)
    assert first == influences(swept)

    theirs.write_text(
        source.replace("GradDot:", "The dot product:").replace("import", "import ", 1)
    )
    assert "already there" in run(swept, **mine)

    formula = "values = products("
    assert formula in source
    twice = source.replace(
        'products(subject, "products", dot, draws=False)',
        'products(subject, "products", lambda a, b: 2 * dot(a, b), draws=False)',
    )
    assert twice != source
    theirs.write_text(twice)
    assert "already there" not in run(swept, **mine)
    assert influences(swept, **mine) == pytest.approx([2 * x for x in first], rel=1e-12)
    assert methods(swept, rebuilt(before, store(swept))) == {"GradDot": 1}
    assert "already there" in run(swept)


def test_the_clock_of_a_method_leaves_out_the_training_of_theta0(folder):
    run(folder, method="graddot", **{"pretraining.steps": "150"})
    (cost,) = (folder / "outputs" / "store" / "model").glob("*/cost.json")
    (metrics,) = (folder / "outputs").rglob("metrics.json")
    spent = json.loads(metrics.read_text())["cost"]["wall_s"]
    assert spent < json.loads(cost.read_text())["wall_s"]
