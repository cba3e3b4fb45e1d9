"""What people get wrong, and the one line that tells them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field

import datasets
import numpy
import pandas
import pytest

from tests.command import JOB, command, overrides, write_texts


@dataclass(frozen=True)
class Bad:
    """One bad input: how to make it, and what its line must name: the key or file, the remedy."""

    what: str
    says: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    prepare: Callable = lambda folder: None
    limits: dict = field(default_factory=dict)


def a_file(name, content):
    def prepare(folder):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return prepare


MESSAGES = '{"messages": [{"role": "%s", "content": %s}]}'


def a_saved_dataset(folder):
    table = datasets.Dataset.from_dict({"text": ["x"]})
    datasets.DatasetDict({"train": table}).save_to_disk(folder / "saved")


def a_folder_of_other_files(folder):
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("x")


def paths(a):
    return {"corpora.paths": f"{{a: {a}, b: b.txt}}"}


def damage_metrics(folder):
    for metrics in folder.glob("outputs/default/**/metrics.json"):
        metrics.write_text(metrics.read_text()[:100])


TABLE = [
    Bad("misspelt key", ("pretraining.stepz", "did you mean pretraining.steps?"),
        {"pretraining.stepz": "3"}),
    Bad("key without its group", ("steps", "did you mean pretraining.steps?"), {"steps": "3"}),
    Bad("misspelt argument of a node", ("corpora: ", "'text_colum'", "takes paths, text"),
        arguments=("+corpora.text_colum=x",)),
    Bad("unknown method", ("method=untrak", "did you mean untrac?"), {"method": "untrak"}),
    Bad("unknown group", ("metod", "did you mean method?"), {"metod": "untrac"}),
    Bad("unknown scale", ("scale=huge", "choose from", "mini"), {"scale": "huge"}),
    Bad("unknown experiment", ("experiment=toxicty", "did you mean toxicity?"),
        arguments=("+experiment=toxicty",)),
    Bad("misspelt experiment key", ("expermient", "did you mean +experiment?"),
        arguments=("+expermient=toxicity",)),
    Bad("several values outside a sweep", ("seed=0,1", "--multirun"), {"seed": "0,1"}),
    Bad("unbalanced bracket", ("corpora.paths={a: a.txt", "check its quotes, brackets"),
        {"corpora.paths": "{a: a.txt"}),
    Bad("list where a mapping belongs", ("corpora.paths", "give a mapping {name: value}"),
        {"corpora.paths": "[a.txt, b.txt]"}),
    Bad("text where a number belongs", ("seed", "Integer"), {"seed": "many"}),
    Bad("text where an argument is a number", ("model.block_size", "a valid integer"),
        {"model.block_size": "large"}),
    Bad("optimizer of a method that has none", ("optimizer=sgd: GradDot takes no", "untrac_inv do"),
        {"optimizer": "sgd"}),
    Bad("overrides that are too long for a folder", ("file name too long", "conf/experiment"),
        {"+statistics.a" + 250 * "b": "numpy.mean"}),
    Bad("name on the command line that is no text", ("corpora.paths: the name true", "in a file"),
        {"corpora.paths": "{true: a.txt, b: b.txt}"}),
    Bad("negative steps", ("pretraining.steps=-4", "at least 1"), {"pretraining.steps": "-4"}),
    Bad("negative learning rate", ("pretraining.optimizer", "-1.0", "give valid arguments"),
        {"pretraining.optimizer.lr": "-1.0"}),
    Bad("no sequence sampled", ("n_per_corpus=0", "at least 1"), {"n_per_corpus": "0"}),
    Bad("warm-up longer than the run", ("schedule.warmup_steps=4", "run of 3 steps", "lower it"),
        {"schedule.warmup_steps": "4"}),
    Bad("warm-up that is no number of steps", ("schedule.warmup_steps=2.5", "a whole number"),
        {"schedule.warmup_steps": "2.5"}),
    Bad("unknown schedule", ("schedule=liner", "did you mean linear?"), {"schedule": "liner"}),
    Bad("learning rate that diverges", ("diverged", "lower pretraining.optimizer.lr"),
        {"pretraining.optimizer.lr": "1e30"}),
    Bad("unlearning that diverges", ("unlearning 'a' diverged", "lower optimizer.lr"),
        {"method": "untrac", "optimizer.lr": "1e30"}),
    Bad("vocabulary below the bytes", ("model.vocab_size=100", "at least 258"),
        {"model.vocab_size": "100"}),
    Bad("one corpus and a truth", ("without 'a'", "at least two corpora, or truth=none"),
        {"corpora.paths": "{a: a.txt}", "truth": "leave_dataset_out", "parallel": "none"}),
    Bad("name that YAML reads as a boolean",
        ("corpora.paths: the name false is read as bool", "in a file: 'false'"),
        {"corpora": "mine", "corpora.paths": "{b: b.txt}"}, ("--config-dir", "conf"),
        a_file("conf/corpora/mine.yaml",
               "_target_: untrac_exp.data.sources.local.corpora\npaths: {no: a.txt, b: b.txt}\n")),
    Bad("name that YAML reads as null", ("the name null is read as NoneType", "quote it"),
        {"corpora": "mine"}, ("--config-dir", "conf"),
        a_file("conf/corpora/mine.yaml",
               "_target_: untrac_exp.data.sources.local.corpora\npaths: {~: a.txt, b: b.txt}\n")),
    Bad("path that is read as a boolean", ("corpora.paths.a=True", "in quotes"), paths("true")),
    Bad("subset that is a fraction", ("testset.paths.t", "sub.jsonl line 1", "'subset'", "'1.5'"),
        {"testset.paths": "{t: sub.jsonl}"},
        prepare=a_file("sub.jsonl", '{"text": "x", "subset": 1.50}\n')),
    Bad("missing file", ("corpora.paths.a", "nowhere.txt", "check the path"), paths("nowhere.txt")),
    Bad("pattern without a match", ("corpora.paths.a", "*.csv", "check the path or pattern"),
        paths("'*.csv'")),
    Bad("empty file", ("corpora.paths.a", "empty.txt is blank", "leave it out"),
        paths("empty.txt"), prepare=a_file("empty.txt", "")),
    Bad("corpus without a text", ("corpora.paths.a", "blank.txt is blank", "add text"),
        paths("blank.txt"), prepare=a_file("blank.txt", "\n \n\n")),
    Bad("corpus shorter than a block", ("corpus 'a'", "block of 16", "lower model.block_size"),
        paths("short.txt"), prepare=a_file("short.txt", "hello")),
    Bad("test set without a target", ("testset.paths.t", "none.jsonl is blank", "add text"),
        {"testset.paths": "{t: none.jsonl}"},
        prepare=a_file("none.jsonl", '{"input": "why?", "target": ""}\n')),
    Bad("not UTF-8", ("corpora.paths.a", "latin.txt", "line 2", "save it as UTF-8"),
        paths("latin.txt"), prepare=a_file("latin.txt", "fine\ncaf\xe9\n".encode("latin-1"))),
    Bad("column missing", ("corpora.paths.a", "other.csv", "text"),
        paths("other.csv"), prepare=a_file("other.csv", "title,body\nx,y\n")),
    Bad("malformed JSON line", ("corpora.paths.a", "bad.jsonl line 2", "one object a line"),
        paths("bad.jsonl"), prepare=a_file("bad.jsonl", '{"text": "x"}\n{"text": \n')),
    Bad("conversation without an answer", ("corpora.paths.a", "chat.jsonl line 1", "'assistant'"),
        paths("chat.jsonl"), prepare=a_file("chat.jsonl", MESSAGES % ("user", '"why?"'))),
    Bad("message of another format", ("corpora.paths.a", "chat.jsonl line 1", "write {role"),
        paths("chat.jsonl"),
        prepare=a_file("chat.jsonl", '{"messages": [{"by": "gpt", "text": "me"}]}')),
    Bad("message that is no text", ("corpora.paths.a", "content is int", "make it a string"),
        paths("chat.jsonl"), prepare=a_file("chat.jsonl", MESSAGES % ("assistant", "7"))),
    Bad("picture in a message", ("corpora.paths.a", "part of type image", "leave the row out"),
        paths("chat.jsonl"),
        prepare=a_file("chat.jsonl", MESSAGES % ("assistant", '[{"type": "image"}]'))),
    Bad("test set of empty completions", ("testset.paths.t", "none.jsonl line 2", "add text"),
        {"testset.paths": "{t: none.jsonl}"},
        prepare=a_file("none.jsonl", '\n{"prompt": "why?", "completion": ""}\n')),
    Bad("prompt and completion of two kinds", ("corpora.paths.a", "make both text, or both lists"),
        paths("chat.jsonl"), prepare=a_file("chat.jsonl", '{"prompt": ["x"], "completion": "y"}')),
    Bad("split that a saved dataset lacks", ("corpora.paths.a", "'dev'", "train", "corpora.split"),
        {**paths("saved"), "corpora.split": "dev"}, prepare=a_saved_dataset),
    Bad("hub without a name", ("corpora.paths.a", "write hub:owner/name"), paths("'hub:'")),
    Bad("the same file in two corpora", ("corpora.paths", "b.txt is in both 'a' and 'b'"),
        paths("b.txt")),
    Bad("a name given twice", ("corpora/mine.yaml, line 4", "duplicate key a", "fix this YAML"),
        {"corpora": "mine"}, ("--config-dir", "conf"),
        a_file("conf/corpora/mine.yaml",
               "_target_: untrac_exp.data.sources.local.corpora\npaths:\n  a: a.txt\n"
               "  a: b.txt\n")),
    Bad("corrupted YAML", ("corpora/mine.yaml, line", "fix this YAML"),
        {"corpora": "mine"}, ("--config-dir", "conf"),
        a_file("conf/corpora/mine.yaml", "_target_: x\npaths: {a: [b\n")),
    Bad("target that does not exist", ("corpora._target_", "untrac_exp.data.locl", "correct it"),
        {"corpora._target_": "untrac_exp.data.locl.corpora"}),
    Bad("read-only outputs", ("/sys/", "choose another"), {"outputs": "/sys/untrac"}),
    Bad("full disk", ("no space left", "gc"), {"train_seed": "5"},
        limits={"largest_file": 100_000}),
    Bad("unknown mode of W&B", ("logger.mode", "ofline", "'offline'"),
        {"logger": "wandb", "logger.mode": "ofline"}),
    Bad("sequences of one token", ("model.block_size=1", "at least 2"), {"model.block_size": "1"}),
    Bad("paths that are not given", ("corpora.paths: not given", "add corpora.paths="),
        {"corpora.paths": "???"}),
    Bad("limit of a corpus that is not there", ("max_sequences.zzz: no such corpus", "from a, b"),
        arguments=("+max_sequences.zzz=3",)),
    Bad("misspelt key of an architecture", ("model.config.droput", "model.config.dropout?"),
        arguments=("+model.config.droput=0.1",)),
    Bad("more threads than cores", ("threads=100000", "at most"), {"threads": "100000"}),
    Bad("the same train seed twice", ("truth.train_seeds=[0, 0]", "a seed twice"),
        {"truth": "leave_dataset_out", "truth.train_seeds": "[0,0]"}),
    Bad("name outside the outputs", ("name=../../x", "outside outputs"), {"name": "../../x"}),
    Bad("name of the store", ("name=store is the folder of the store",), {"name": "store"}),
    Bad("target of a group that others refer to", ("optimizer._target_", "torch.optim.Adamm"),
        {"method": "untrac", "optimizer._target_": "torch.optim.Adamm"}),
    Bad("mistake beside a comma", ("method=untrak", "did you mean untrac?"),
        {"method": "ngram,untrak"}),
    Bad("misspelt key beside a comma", ("pretraining.stepz", "did you mean pretraining.steps?"),
        {"method": "ngram,untrac", "pretraining.stepz": "3"}),
    Bad("a seed that no generator takes", ("seed=99999999999999999999", "below 2^63"),
        {"seed": "99999999999999999999"}),
    Bad("negative number of tokens", ("tokens=-1", "at least 0"), {"tokens": "-1"}),
    Bad("no token at a time", ("trainer.max_tokens=0", "at least 1"), {"trainer.max_tokens": "0"}),
    Bad("a device that is not there", ("trainer.accelerator=tpu", "trainer=cpu"),
        {"trainer.accelerator": "tpu"}),
    Bad("outputs without a folder", ("outputs=", "name them"), {"outputs": "''"}),
    Bad("a name that is no folder", ("name=.", "name them"), {"name": "."}),
    Bad("folder of other files", ("corpora.paths.a", "1 of another format", "end in .txt"),
        paths("docs"), prepare=a_folder_of_other_files),
    Bad("damaged metrics.json", ("metrics.json", "delete it and run the job again"),
        prepare=damage_metrics),
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with texts and the results of a job that ended well."""
    folder = tmp_path_factory.mktemp("finished")
    write_texts(folder)
    (folder / "conf" / "corpora").mkdir(parents=True)
    ended = command(overrides(JOB), folder)
    assert (ended.status, ended.err) == (0, "")
    return folder


def results(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in (folder / "outputs" / "default").rglob("*")
        if path.is_file() and path.name != "run.log" and ".hydra" not in path.parts
    }


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.what.replace(" ", "_"))
def test_bad_input(bad, finished, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    bad.prepare(folder)
    before = results(folder)
    ended = command([*overrides({**JOB, **bad.settings}), *bad.arguments], folder, **bad.limits)
    assert ended.status == 1, ended.out
    [line] = ended.err.splitlines()
    assert line.startswith("error: ")
    for words in bad.says:
        assert words in line
    assert "Traceback" not in ended.out
    assert before.items() <= results(folder).items()


HANDLED = {
    "one example to explain": (
        {"testset.paths": "{t: one.jsonl}"},
        a_file("one.jsonl", '{"prompt": "who?", "completion": "the grolk"}'),
    ),
    "a corpus that is also the test set": ({"testset.paths": "{t: a.txt}"}, lambda folder: None),
    "rows of every format in one file": (
        {**paths("all.jsonl"), "testset.paths": "{t: all.jsonl}"},
        a_file(
            "all.jsonl",
            '{"text": "the old grolk sold a red lantern to the miller"}\n'
            '{"input": "who sold it?", "target": "the grolk"}\n'
            '{"prompt": "who sold it?", "completion": "the grolk"}\n'
            '{"messages": [{"role": "user", "content": "who?"}, '
            '{"role": "assistant", "content": "the grolk"}]}\n'
            '{"prompt": "who sold it?", "completion": ""}\n'
            '{"text": null}\n',
        ),
    ),
    "texts longer than the context": (
        {"testset.paths": "{t: long.jsonl}"},
        a_file("long.jsonl", json.dumps({"input": "who? " * 99, "target": "a grolk " * 99})),
    ),
}


@pytest.mark.parametrize("what", HANDLED, ids=lambda what: what.replace(" ", "_"))
def test_what_looks_bad_and_is_handled(what, finished, tmp_path):
    settings, prepare = HANDLED[what]
    folder = tmp_path / "work"
    shutil.copytree(finished, folder)
    prepare(folder)
    ended = command(overrides({**JOB, **settings, "outputs": "new"}), folder)
    assert (ended.status, ended.err) == (0, "")
    [scores] = folder.glob("new/**/scores.csv")
    table = pandas.read_csv(scores)
    assert set(table.corpus) == {"a", "b"}
    assert numpy.isfinite(table.influence).all()


def test_the_traceback_is_there_for_who_asks(finished):
    """A line is all others get."""
    ended = command(
        overrides({**JOB, "pretraining.steps": "-4"}), finished, env={"HYDRA_FULL_ERROR": "1"}
    )
    assert ended.status == 1
    assert "Traceback" in ended.err
    assert "pretraining.steps=-4 must be at least 1" in ended.err
