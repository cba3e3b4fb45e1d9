"""What the command line prints, and what is left when jobs of a sweep fail."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import JOB, command, ends_well, overrides
from untrac_exp.config.errors import one_line

ROOT = Path(__file__).parents[1]


def test_help_lists_the_groups_and_examples(tmp_path):
    ended = ends_well(tmp_path, {}, "--help")
    assert ended.out.count("python -m untrac_exp ") == 3
    for words in ("experiment: ", "toxicity", "method: ", "untrac_inv", "--cfg job", "Groups"):
        assert words in ended.out


def test_an_override_may_stand_on_several_lines(folder):
    paths = "corpora.paths={a: a.jsonl,\n    b: b.jsonl}"
    ended = ends_well(folder, {}, "--cfg", "job", "corpora=local", paths)
    assert "  paths:\n    a: a.jsonl\n    b: b.jsonl\n" in ended.out


NOWHERE = ["+experiment=trace", "model.path=.", "corpora.paths={a: nowhere.txt}"]


@pytest.mark.parametrize(
    ("asked", "says"), [(["--help"], ""), (["--cfg", "job"], ""), (NOWHERE, "no file at 'nowhere")]
)
def test_questions_and_paths_that_are_not_there_need_no_torch(tmp_path, asked, says):
    code = (
        "import sys; from untrac_exp.__main__ import main\n"
        "try: main()\n"
        "finally: assert not {'torch', 'pandas', 'transformers'} & set(sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *asked], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == bool(says)
    assert says in ended.stderr
    assert ended.stderr.count("\n") == bool(says)


def test_a_terminated_command_ends_with_143_and_a_line(tmp_path):
    """Whatever it is doing; training has a test of its own."""
    code = (
        "import os, time; from untrac_exp import __main__ as program\n"
        "program._hydra = lambda: (os.kill(os.getpid(), 15), time.sleep(20))\n"
        "program.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    line = "terminated; the same command goes on from here\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", line)


def test_a_job_says_what_it_does_and_nothing_else(folder):
    """No progress bars, tips or warnings of libraries."""
    ended = ends_well(folder, JOB)
    lines = ended.out.splitlines()
    *read, wrote = [line for line in lines if line.startswith("[")]
    assert len(read) == 2
    assert all(" corpus '" in line and " rows, " in line for line in read)
    assert " wrote " in wrote
    assert lines.index("Which corpus made the model say t?") > lines.index(wrote)
    assert (folder / "outputs/default/mini/graddot/seed0/scores.csv").exists()


def test_a_failed_job_leaves_the_others_and_their_report(folder):
    sweep = {**JOB, "pretraining.steps": "3,-4", "hydra.mode": "MULTIRUN"}
    ended = command(overrides(sweep), folder)
    assert ended.status == 1
    [line] = ended.err.splitlines()
    assert line == f"error: {line[7:]}"
    assert "pretraining.steps=-4 must be" in line
    assert [text for text in ended.out.splitlines() if text.endswith(f"failed: {line[7:]}")]
    [finished] = folder.glob("outputs/default/mini/graddot/*/seed0/metrics.json")
    assert finished.parts[-3] == "pretraining.steps=3"
    assert (finished.parents[3] / "summary.csv").exists()
    assert "Report: " in ended.out


@pytest.mark.slow
def test_the_error_of_a_worker_is_one_line_too(folder):
    settings = {"truth": "leave_dataset_out", "parallel": "local", "parallel.workers": "2"}
    ended = command(overrides({**JOB, **settings, "pretraining.optimizer.lr": "1e30"}), folder)
    assert ended.status == 1
    [line] = ended.err.splitlines()
    assert line.startswith("error: pretraining diverged")
    assert "Traceback" not in ended.err + ended.out


def test_results_of_other_settings_stay(folder):
    """Paths are in no folder's name; edited texts at the same paths are run again."""
    ends_well(folder, JOB)
    [scores] = folder.glob("outputs/default/mini/graddot/seed0/scores.csv")
    before = scores.read_bytes()
    other = overrides({**JOB, "corpora.paths": "{a: b.txt, b: a.txt}"})
    ended = command(other, folder)
    assert ended.status == 1
    assert ended.err.endswith(
        "graddot/seed0 has results of other settings (corpora); keep them with another name=…, "
        "or overwrite them with force=true\n"
    )
    assert scores.read_bytes() == before
    (folder / "b.txt").write_text("another wind came over other hills\n\n" * 20)
    assert " wrote " in ends_well(folder, JOB).out
    edited = scores.read_bytes()
    assert edited != before
    ends_well(folder, {}, *other, "force=true")
    assert scores.read_bytes() != edited


def test_debug_runs_one_tiny_job_of_an_experiment_and_logs_nothing(folder):
    ends_well(folder, {}, "+experiment=toxicity", "debug=true", "parallel=none")
    [metrics] = folder.rglob("metrics.json")
    assert metrics.parent == folder / "outputs" / "debug" / "mini" / "untrac" / "seed0"
    assert json.loads(metrics.read_text())["config"]["pretraining"]["steps"] == 3
    assert not (folder / "outputs" / "wandb").exists()


def test_what_nobody_expected_names_its_type():
    assert one_line(RuntimeError("two\nlines")).startswith("RuntimeError: two lines (")
    assert one_line(ValueError("steps=0 must be\n positive")) == "steps=0 must be positive"
    missing = FileNotFoundError(2, "No such file or directory", "x/y")
    assert one_line(missing) == "x/y: no such file or directory; check the path"
