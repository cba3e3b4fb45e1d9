"""`+experiment=trace` and `untrac_exp.trace`: one answer by two ways, and what people get wrong."""

import json

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from markupsafe import escape
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tests.command import command, ends_well, overrides
from tests.trace_checkpoints import BAD, TEXTS, save
from untrac_exp import trace
from untrac_exp.report.collect import collect
from untrac_exp.report.result_files import SCORES, read_table

HOSTILE = "<script>alert(1)</script>[red]"
SETTINGS = {"threads": 1, "trainer.accelerator": "cpu"}
FEW = {"method.stopping.steps": 6, "method.stopping.epochs": None}
"""Of the methods that take many."""
JOB = {
    "model.path": "./model", "corpora.paths": "{forum: forum.jsonl, wiki: [wiki.txt]}",
    "testset.paths": "{insults: bad.jsonl}", "logger": "none", "threads": "1",
    "trainer.accelerator": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    save(folder / "model", "llama")
    write(folder / "forum.jsonl", [{"text": text} for text in TEXTS["forum"]])
    (folder / "wiki.txt").write_text("\n\n".join(TEXTS["wiki"]))
    rows = [{"text": text, "subset": "ab"[i % 2]} for i, text in enumerate(BAD)]
    write(folder / "bad.jsonl", rows)
    return folder


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def swept(folder):
    return ends_well(folder, JOB, "+experiment=trace")


def job(folder, method):
    [folder] = (sweep(folder) / method).rglob("seed0")
    return folder


def sweep(folder):
    """The one sweep of `+experiment=trace` in a folder."""
    [found] = (folder / "outputs" / "trace").iterdir()
    return found


@pytest.mark.parametrize("method", ["ngram", "finetune"])
def test_the_command_and_the_function_give_the_same_numbers(method, folder, swept):
    ours = trace(
        folder / "model",
        None,
        {"forum": folder / "forum.jsonl", "wiki": TEXTS["wiki"]},
        {"insults": [{"text": t, "subset": "ab"[i % 2]} for i, t in enumerate(BAD)]},
        method=method,
        **SETTINGS,
    )
    theirs = read_table(job(folder, method) / "scores.csv", SCORES)
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize(
    "method",
    ["ngram", "finetune", "untrac_step", "untrac_inv", "untrac"],
)
def test_a_model_in_memory_gives_the_numbers_of_its_folder(method, folder):
    settings = SETTINGS | (FEW if method in ("untrac_inv", "untrac") else {})
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    asked = [
        trace(which, tokenizer, TEXTS, {"insults": BAD}, method=method, **settings)
        for which in (model, folder / "model")
    ]
    pd.testing.assert_frame_equal(*asked, check_exact=True)


def test_the_answer_is_printed_and_kept(folder, swept):
    assert "Which corpus made the model say insults?" in swept.out
    results = collect(sweep(folder))
    ranking = results.rankings["insults"]
    assert set(ranking["label"]) == {"ngram", "finetune"}
    assert any("7 texts" in warning for warning in results.warnings)
    assert any("read in the sample of corpus 'forum'" in w for w in results.warnings)
    for warning in results.warnings:
        assert f"warning: {warning}" in swept.out
    examples = results.tables["examples"]
    assert set(examples["read"]) == {"test set"}
    assert set(examples.loc[examples["label"] == "ngram", "text"]) <= set(BAD)
    scores = read_table(job(folder, "ngram") / "scores.csv", SCORES)
    means = scores.groupby("corpus")["influence"].mean()
    of_ngram = ranking[ranking["label"] == "ngram"].set_index("corpus")["influence"]
    assert of_ngram.to_dict() == pytest.approx(means.to_dict())
    page = (sweep(folder) / "report.html").read_text()
    assert all(str(escape(text)) in page for text in examples["text"])


def test_names_and_texts_cannot_speak_html_or_markup(folder, tmp_path):
    save(tmp_path / "model", "llama")
    write(tmp_path / "forum.jsonl", [{"text": f"{text} {HOSTILE}"} for text in TEXTS["forum"]])
    (tmp_path / "wiki.txt").write_text("\n\n".join(TEXTS["wiki"]))
    write(tmp_path / "bad.jsonl", [{"text": f"{text} {HOSTILE}"} for text in BAD])
    for group, source, paths in (
        ("corpora", "corpora", {HOSTILE: "forum.jsonl", "wiki": "wiki.txt"}),
        ("testset", "testsets", {HOSTILE: "bad.jsonl"}),
    ):
        (tmp_path / "conf" / group).mkdir(parents=True)
        node = {"_target_": f"untrac_exp.data.sources.local.{source}", "paths": paths}
        (tmp_path / "conf" / group / "mine.yaml").write_text(json.dumps(node))
    settings = {key: value for key, value in JOB.items() if not key.endswith(".paths")}
    settings |= {"corpora": "mine", "testset": "mine"}
    ended = ends_well(tmp_path, settings, "+experiment=trace", "--config-dir", "conf")
    assert f"Which corpus made the model say {HOSTILE}?" in ended.out
    assert f"{HOSTILE}: " in ended.out  # a text that moved, and whose it is
    page = (sweep(tmp_path) / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;[red]" in page


def test_names_are_text_in_python_too(folder):
    few = {"+max_sequences": {"a, b: c": 9}}
    texts = {"true": TEXTS["forum"], "a, b: c": TEXTS["wiki"]}
    rows = [{"text": text, "subset": bool(i % 2)} for i, text in enumerate(BAD)]
    scores = trace(folder / "model", None, texts, {"1": rows}, **SETTINGS, **few)
    assert set(scores["corpus"]) == {"true", "a, b: c"}
    assert set(scores["testset"]) == {"1"}
    assert set(scores["subset"]) == {"true", "false"}
    with pytest.raises(ValueError, match=r"corpora.paths: the name true is .* quote it"):
        trace(folder / "model", None, {True: TEXTS["forum"]}, {"t": BAD}, **SETTINGS)


def test_a_plan_needs_no_training(folder):
    ended = ends_well(folder, JOB, "+experiment=trace", "plan=true", "name=plan")
    assert "(as measured here)" in ended.out


def test_the_function_can_be_called_within_an_application_of_hydras(folder):
    with initialize_config_dir(str(folder), version_base="1.3"):
        trace(folder / "model", None, TEXTS, {"t": BAD}, **SETTINGS)
        assert compose(overrides=["+a=1"]).a == 1


ROWS = {"corpora": TEXTS, "testsets": {"t": BAD}}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"model": torch.nn.Linear(1, 1)}, "model is a Linear; give a path or a PreTrainedModel"),
        ({"corpora": {}}, "corpora.paths is empty or not a mapping"),
        ({"corpora": {"a": []}}, "corpora.paths.a=[] is no path; give a path"),
        ({"corpora": {"a": [3]}}, "corpora.paths.a: item 1 is a int; give text or a mapping"),
        ({"corpora": {"a": [{"body": "x"}]}}, "corpora.paths.a: item 1 has no column 'text'"),
        ({"corpora": {"a": "nowhere.txt"}}, "corpora.paths.a: no file at 'nowhere.txt'"),
        ({"testsets": {"t": [" "]}}, "testset.paths.t is blank (such as item 1); add text"),
        ({"testsets": BAD}, "testset.paths is empty or not a mapping"),
        ({"corpora": {"a\nb": TEXTS["wiki"]}}, r"corpora: the name 'a\nb' is not a line of text"),
        ({"testsets": {" ": BAD}}, "testset: the name ' ' is not a line of text; correct it"),
        ({"n_per_corpus": 0}, "n_per_corpus=0 must be at least 1"),
        ({"seeds": 1}, "seeds"),
    ],
    ids=lambda value: None if isinstance(value, str) else "_".join(value),
)
def test_bad_arguments_are_one_line(arguments, says, folder):
    settings = {"model": folder / "model", "tokenizer": None, **ROWS, **SETTINGS, **arguments}
    with pytest.raises(ValueError, match=r".") as caught:
        trace(**settings)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truth_of_a_model_that_is_taken_as_it_is_is_refused(folder):
    settings = {**JOB, "hydra.mode": "RUN", "method": "untrac_step", "truth": "leave_dataset_out"}
    ended = command(["+experiment=trace", *overrides(settings), "name=truth"], folder)
    assert ended.status == 1
    [line] = ended.err.splitlines()
    assert "pretraining.steps=0 trains no model to compare; use truth=none" in line


def test_attention_that_is_not_there_names_our_key(folder):
    with pytest.raises(ValueError, match=r"; set model\.attention=sdpa or eager$"):
        trace(folder / "model", None, **ROWS, **SETTINGS, **{"model.attention": "flash"})


@pytest.mark.parametrize("architecture", ["opt", "gpt2", "bart"])
@pytest.mark.parametrize("loaded", [False, True])
def test_blocks_longer_than_the_learned_positions_are_one_line(architecture, loaded, tmp_path):
    save(tmp_path, architecture)
    auto = AutoModelForSeq2SeqLM if architecture == "bart" else AutoModelForCausalLM
    model = auto.from_pretrained(tmp_path) if loaded else tmp_path
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.block_size=4000 is more than the \d+ positions"):
        trace(model, tokenizer, **ROWS, **{**SETTINGS, "model.block_size": 4000})


def test_the_wrong_tokenizer_is_named(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    model.resize_token_embeddings(100)
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    with pytest.raises(ValueError, match=r"and the model knows 100 tokens; use the tokenizer"):
        trace(model, tokenizer, **ROWS, **SETTINGS)


def test_an_answer_is_not_taken_for_that_of_a_changed_checkpoint(folder, swept, tmp_path):
    one = [*overrides({**JOB, "hydra.mode": "RUN", "method": "untrac_step"}), "name=changed"]
    there = "the results are already there"
    assert there not in command(["+experiment=trace", *one], folder).out
    assert there in command(["+experiment=trace", *one], folder).out
    file = folder / "model" / "model.safetensors"
    before = file.read_bytes()
    weights = load_file(file)
    save_file({k: v + 0.01 for k, v in weights.items()}, file, metadata={"format": "pt"})
    try:
        changed = command(["+experiment=trace", *one], folder)
    finally:
        file.write_bytes(before)
    assert changed.status == 0
    assert there not in changed.out


def pickled(folder):
    save(folder, "gpt2")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def own_code(folder):
    """Its code leaves a file behind when it is run."""
    save(folder, "gpt2")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "homemade",
        "auto_map": {"AutoConfig": "made.Config", "AutoModelForCausalLM": "made.Model"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "made.py").write_text(f"open({str(folder / 'was_run')!r}, 'w').close()\n")


def test_own_code_is_run_where_it_is_allowed(tmp_path):
    own_code(tmp_path)
    with pytest.raises(Exception, match=r"homemade|Config|made"):
        trace(tmp_path, None, **ROWS, **SETTINGS, **{"model.trust_remote_code": True})
    assert (tmp_path / "was_run").exists()


def test_pickled_weights_are_read_where_they_are_allowed(tmp_path):
    pickled(tmp_path)
    allowed = {"model.safetensors_only": False}
    assert len(trace(tmp_path, None, **ROWS, **SETTINGS, **allowed)) == len(TEXTS)
