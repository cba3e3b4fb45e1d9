"""What people get wrong, and the line that tells them: it names the key or file, and a remedy.

Files that are not what they should be are in data/test_local.py, checkpoints in test_trace.py.
"""

import json
import shlex
import shutil

import numpy
import pandas
import pytest

from tests.command import JOB, command, ends_well, overrides, write_texts

LOCAL = "_target_: untrac_exp.data.sources.local.corpora\n"
FILES = {
    "short.txt": "hello",
    "sub.jsonl": '{"text": "x", "subset": 1.50}\n',
    "conf/corpora/boolean.yaml": f"{LOCAL}paths: {{no: a.txt, b: b.txt}}\n",
    "conf/corpora/nothing.yaml": f"{LOCAL}paths: {{~: a.txt, b: b.txt}}\n",
    "conf/corpora/twice.yaml": f"{LOCAL}paths:\n  a: a.txt\n  a: b.txt\n",
    "conf/corpora/open.yaml": "_target_: x\npaths: {a: [b\n",
}
MINE = "--config-dir=conf corpora="
"""Of the files above, whose paths they have."""
TABLE = [
    ("pretraining.stepz=3", "pretraining.stepz", "did you mean pretraining.steps?"),
    ("steps=3", "steps", "did you mean pretraining.steps?"),
    ("+corpora.text_colum=x", "corpora: ", "'text_colum'", "takes paths, text"),
    ("method=untrak", "method=untrak", "did you mean untrac?"),
    ("metod=untrac", "metod", "did you mean method?"),
    ("scale=huge", "scale=huge", "choose from", "mini"),
    ("schedule=liner", "schedule=liner", "did you mean linear?"),
    ("+experiment=toxicty", "experiment=toxicty", "did you mean toxicity?"),
    ("+expermient=toxicity", "expermient", "did you mean +experiment?"),
    ("seed=0,1", "seed=0,1", "--multirun"),
    ("'corpora.paths={a: a.txt'", "corpora.paths={a: a.txt", "check its quotes, brackets"),
    ("'corpora.paths=[a.txt, b.txt]'", "corpora.paths", "give a mapping {name: value}"),
    ("'corpora.paths={true: a.txt, b: b.txt}'", "corpora.paths: the name true", "in a file"),
    ("'corpora.paths={1.5: a.txt, b: b.txt}'", "corpora.paths: the name 1.5", "in a file"),
    ("seed='${no}'", "interpolation key 'no' not found; fix it in the command"),
    ("seed=many", "seed", "Integer"),
    ("seed=99999999999999999999", "seed=99999999999999999999", "below 2^63"),
    ("force=yess", "force=yess is unknown; use true, false or all"),
    ("model.block_size=large", "model.block_size", "a valid integer"),
    ("model.block_size=1", "model.block_size=1", "at least 2"),
    ("+model.config.droput=0.1", "model.config.droput", "model.config.dropout?"),
    ("model.vocab_size=100", "model.vocab_size=100", "at least 258"),
    (f"+statistics.a{250 * 'b'}=numpy.mean", "file name too long", "conf/experiment"),
    ("pretraining.steps=-4", "pretraining.steps=-4", "at least 1"),
    ("pretraining.optimizer.lr=-1.0", "pretraining.optimizer", "-1.0", "give valid arguments"),
    ("pretraining.optimizer.lr=1e30", "diverged", "lower pretraining.optimizer.lr"),
    ("method=untrac optimizer.lr=1e30", "unlearning 'a' diverged", "lower optimizer.lr"),
    ("method=untrac optimizer._target_=torch.optim.Adamm", "optimizer._target_", "optim.Adamm"),
    ("n_per_corpus=0", "n_per_corpus=0", "at least 1"),
    ("tokens=-1", "tokens=-1", "at least 0"),
    ("threads=100000", "threads=100000", "at most"),
    ("trainer.max_tokens=0", "trainer.max_tokens=0", "at least 1"),
    ("trainer.accelerator=tpu", "trainer.accelerator=tpu", "trainer=cpu"),
    ("+max_sequences.zzz=3", "max_sequences.zzz: no such corpus", "from a, b"),
    ("truth=leave_dataset_out 'corpora.paths={a: a.txt}'", "without 'a'", "or truth=none"),
    ("truth=leave_dataset_out truth.train_seeds=[0,0]", "truth.train_seeds=[0, 0]", "a seed twice"),
    (f"{MINE}boolean 'corpora.paths={{b: b.txt}}'", "the name false is read as bool", ": 'false'"),
    (f"{MINE}nothing", "the name null is read as NoneType", "quote it"),
    (f"{MINE}twice", "corpora/twice.yaml, line 4", "duplicate key a", "fix this YAML"),
    (f"{MINE}open", "corpora/open.yaml, line", "fix this YAML"),
    ("corpora._target_=untrac_exp.data.locl.corpora", "corpora._target_", "data.locl", "correct"),
    ("corpora.paths=???", "corpora.paths: not given", "add corpora.paths="),
    ("'corpora.paths={a: true, b: b.txt}'", "corpora.paths.a=True", "in quotes"),
    ("'corpora.paths={a: no.txt, b: b.txt}'", "corpora.paths.a", "no.txt", "check the path"),
    ("'corpora.paths={a: short.txt, b: b.txt}'", "'a'", "block of 16", "lower model.block_size"),
    ("'testset.paths={t: sub.jsonl}'", "testset.paths.t", "sub.jsonl line 1", "'subset'", "'1.5'"),
    ("outputs=/sys/untrac", "/sys/", "choose another"),
    ("outputs=\"''\"", "outputs=", "name them"),
    ("name=../../x", "name=../../x", "outside outputs"),
    ("name=store", "name=store is the folder of the store"),
    ("name=.", "name=.", "name them"),
    ("logger=wandb logger.mode=ofline", "logger.mode", "ofline", "'offline'"),
    ("method=ngram,untrak", "method=untrak", "did you mean untrac?"),
    ("method=ngram,untrac pretraining.stepz=3", "pretraining.stepz", "did you mean"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with texts and the results of a job that ended well."""
    folder = tmp_path_factory.mktemp("finished")
    write_texts(folder)
    (folder / "conf" / "corpora").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    ends_well(folder, JOB)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "work")


def results(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in (folder / "outputs" / "default").rglob("*")
        if path.is_file() and path.name != "run.log" and ".hydra" not in path.parts
    }


def fails(folder, given, *says, **limits):
    """With one line that says so, and without a change to the results that are there."""
    before, job, others = results(folder), dict(JOB), []
    for word in shlex.split(given):
        key, _, value = word.partition("=")
        if key[0].isalpha():
            job[key] = value
        else:
            others.append(word)
    ended = command([*overrides(job), *others], folder, **limits)
    assert ended.status == 1, ended.out
    [line] = ended.err.splitlines()
    assert line.startswith("error: ")
    for words in says:
        assert words in line
    assert "Traceback" not in ended.out
    assert before.items() <= results(folder).items()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0][:50])
def test_bad_input(row, folder):
    fails(folder, *row)


def test_an_experiment_without_its_plus(folder):
    ended = command(["experiment=toxicity"], folder)
    assert ended.err == "error: experiment=toxicity: write +experiment=toxicity\n"


def test_a_full_disk(folder):
    fails(
        folder, "train_seed=5", "no space left in", "store/model", "deleted", largest_file=100_000
    )


def test_damaged_metrics(folder):
    for metrics in folder.glob("outputs/default/**/metrics.json"):
        metrics.write_text(metrics.read_text()[:100])
    fails(folder, "", "metrics.json", "delete it and run the job again")


HANDLED = {
    "one.jsonl": '{"prompt": "who?", "completion": "the grolk"}',
    "a.txt": None,
    "long.jsonl": json.dumps({"input": "who? " * 99, "target": "a grolk " * 99}),
}


@pytest.mark.parametrize("name", HANDLED)
def test_what_looks_bad_and_is_handled(name, folder):
    """One example to explain, a corpus that is the test set, texts longer than the context."""
    if HANDLED[name]:
        (folder / name).write_text(HANDLED[name])
    ends_well(folder, {**JOB, "testset.paths": f"{{t: {name}}}", "outputs": "new"})
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
