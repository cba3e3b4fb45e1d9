"""What a new user tries with a checkpoint and files of their own, from the command line."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import JOB as TRAINED
from tests.command import command, ends_well, overrides, write_texts
from tests.trace_checkpoints import BAD, TEXTS, save
from untrac_exp import trace

JOB = {
    "model.path": "./model", "corpora.paths": "{forum: forum.jsonl, wiki: wiki.txt}",
    "testset.paths": "{insults: bad.jsonl}", "threads": "1", "trainer.accelerator": "cpu",
    "method": "ngram",
}  # fmt: skip
SETTINGS = {"threads": 1, "trainer.accelerator": "cpu"}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    save(folder / "model", "llama")
    write(folder / "forum.jsonl", [{"text": text} for text in TEXTS["forum"]])
    (folder / "wiki.txt").write_text("\n\n".join(TEXTS["wiki"]))
    (folder / "support.txt").write_text("\n\n".join(TEXTS["support"][:9]))
    write(folder / "bad.jsonl", [{"text": text} for text in BAD])
    return folder


@pytest.fixture
def folder(given, tmp_path):
    return Path(shutil.copytree(given, tmp_path / "work"))


def run(folder, *arguments, env=None, status=0, **changed):
    settings = {**JOB, **{key.replace("__", "."): value for key, value in changed.items()}}
    ended = command(["+experiment=trace", *overrides(settings), *arguments], folder, env=env)
    assert ended.status == status, (ended.out, ended.err)
    assert "Traceback" not in ended.out + ended.err
    return ended


def outdir(folder, method="ngram"):
    [metrics] = (folder / "outputs" / "trace").glob(f"**/{method}/**/metrics.json")
    return metrics.parent


def metrics(folder, method="ngram"):
    return json.loads((outdir(folder, method) / "metrics.json").read_text())


def scores(folder, method="ngram"):
    with (outdir(folder, method) / "scores.csv").open() as file:
        return {(row["corpus"], row["subset"]): row for row in csv.DictReader(file)}


# ------------------------------------------------------------------------------- the command
def test_paths_may_begin_with_the_home_folder_and_m_stand_anywhere(folder):
    run(folder)
    expected = scores(folder)
    shutil.move(folder / "outputs", folder / "before")
    run(
        folder, "-m", "seed=0", env={"HOME": str(folder)}, model__path="~/model",
        corpora__paths="{forum: [~/forum.jsonl], wiki:~/wiki.txt}",
    )  # fmt: skip
    assert scores(folder) == expected


def test_the_order_of_corpora_changes_no_model_that_is_trained(tmp_path):
    write_texts(tmp_path)
    for name, paths in {"one": "{a: a.txt, b: b.txt}", "other": "{b: b.txt, a: a.txt}"}.items():
        ends_well(tmp_path, {**TRAINED, "name": name, "corpora.paths": paths})
    assert len(list(tmp_path.glob("outputs/store/model/*/manifest.json"))) == 1
    tables = [path.read_bytes() for path in tmp_path.glob("outputs/*/**/scores.csv")]
    assert len(tables) == 2
    assert tables[0] == tables[1]


# ------------------------------------------------------------------------------- what is said
@pytest.mark.parametrize(
    ("corpora", "tests", "says"),
    [
        ({"few": TEXTS["wiki"][:3]}, BAD, "corpus 'few' has 42 tokens against"),
        ({"same": None}, BAD, "corpora 'many', 'same' are identical: nothing can tell"),
        ({"wiki": TEXTS["wiki"]}, ["lol noob"] * 40, "40 texts, only 1 of them different"),
    ],
    ids=["three_rows", "identical", "copies"],
)
def test_data_that_cannot_answer_are_warned_of(given, corpora, tests, says):
    many = [f"{text} {i}" for i in range(125) for text in TEXTS["forum"]]
    data = {"many": many, **{name: many if of is None else of for name, of in corpora.items()}}
    found = trace(given / "model", None, data, {"t": tests}, **SETTINGS).attrs["warnings"]
    assert len([warning for warning in found if says in warning]) == 1


def test_what_the_model_knows_stands_beside_a_guess_everywhere(folder):
    """In metrics.json, in the terminal and on the page."""
    ended = run(folder)
    [loss] = metrics(folder)["theta0_loss"].values()
    said = f"loss of θ0: {loss['loss']:.2f} nats per token (a uniform guess: {loss['uniform']:.2f})"
    assert said in ended.out
    page = (folder / "outputs/trace/mini/report.html").read_text()
    assert said.replace("loss", "Loss", 1) in page
    assert "not clearly below" in ended.out, "its weights are random"


def test_seeds_that_draw_nothing_are_said_to_once(folder):
    said = "ngram: its seeds give equal influences: all texts were read"
    assert run(folder, seed="0,1,2").out.count(said) == 1
    assert said not in run(folder, seed="0,1,2", name="few", n_per_corpus="9").out


def test_what_was_read_stands_in_the_results(folder):
    (folder / "d").mkdir()
    shutil.copy(folder / "forum.jsonl", folder / "d" / "a.jsonl")
    write(folder / "d" / "b.jsonl", [{"text": " "}, {"text": "lol " * 400}])
    (folder / "d" / "readme.md").write_text("x")
    run(folder, corpora__paths="{forum: d, wiki: wiki.txt}")
    characters = sum(map(len, TEXTS["forum"])) + 1600
    assert metrics(folder)["reading"]["forum"] == {
        "files": 2, "rows": 25, "characters": characters, "skipped": 1, "sampled": 37, "cut": 12,
        "ignored": {"of another format": ["d/readme.md"]},
    }  # fmt: skip
    assert metrics(folder)["reading"]["wiki"]["files"] == 1


# ------------------------------------------------------------------------------- what is kept
def test_a_result_that_was_changed_is_computed_again(folder):
    run(folder)
    there = "the results are already there"
    table = outdir(folder) / "scores.csv"
    content = table.read_bytes()
    assert there in run(folder).out
    table.unlink()
    assert there not in run(folder).out
    assert table.read_bytes() == content
    table.write_bytes(content[:-9])
    assert there not in run(folder).out
    assert table.read_bytes() == content
    (outdir(folder) / "metrics.json").unlink()  # as in a rewrite that was killed
    assert there not in run(folder).out


def test_jobs_of_other_data_are_not_compared_without_a_word(folder):
    run(folder)
    write(folder / "bad.jsonl", [{"text": text} for text in BAD[:4]])
    said = run(folder, method="finetune").out
    assert "ngram, seed 0: computed from other corpora, test sets or weights" in said
    assert "computed from other" not in run(folder).out


def test_without_git_a_job_ends_well(folder):
    run(folder, env={"PATH": ""})
    assert metrics(folder)["git_commit"] is None


def test_a_full_tmpdir_makes_no_difference(tmp_path):
    """There is nothing to write in it: what is temporary lies beside its target."""
    write_texts(tmp_path)
    truth = {"truth": "leave_dataset_out", "truth.train_seeds": "[0]"}
    ends_well(tmp_path, TRAINED | truth, env={"TMPDIR": "/proc/nothing/is/written/here"})


def test_a_report_that_cannot_be_written_is_an_error(folder):
    (folder / "outputs" / "trace" / "mini" / "summary.csv").mkdir(parents=True)
    ended = run(folder, status=1)
    assert "no report: cannot write" in ended.out
    assert "summary.csv" in ended.out


def test_a_terminal_of_ascii_shows_the_ranking(folder):
    ended = subprocess.run(
        [sys.executable, "-m", "untrac_exp", "+experiment=trace", *overrides(JOB)],
        cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "Which corpus made the model say insults?" in ended.stdout
    assert "\\u03b80's loss is" in ended.stdout
    assert "no report" not in ended.stdout
