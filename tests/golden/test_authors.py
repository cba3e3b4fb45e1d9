"""The losses of the authors' code on tiny models, found by what a job at paper scale runs.

The order of the examples is that of the authors' runs; all else is `scale=paper`.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.test_config import composed
from untrac_exp.config.schema import plain
from untrac_exp.data.base import Row
from untrac_exp.data.encoding import pad
from untrac_exp.data.prepare import encode
from untrac_exp.methods.base import Subject, Subset
from untrac_exp.models.pretrained import Pretrained
from untrac_exp.stages import pretraining, unlearning
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.training import Training
from untrac_exp.store import Store
from untrac_exp.truth.models import Job

AUTHORS = Path(__file__).parent / "authors"
KEYS = ["model", "run", "trained_on"]
LOSSES = pd.read_csv(AUTHORS / "losses.csv").groupby(KEYS, sort=False)
ORDERS = dict(list(pd.read_csv(AUTHORS / "orders.csv").groupby(KEYS, sort=False)))
RUNS = [pytest.param(*key, table, id="-".join(map(str, key))) for key, table in LOSSES]
TOLERANCE = 2e-5
MICRO_BATCH = {"opt": 8, "t5": 2}
OPTIMIZERS = {"adamw_torch": "adam", "adafactor": "adafactor"}


@pytest.fixture(autouse=True)
def one_thread():
    quiet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def configured(model, run, table, *overrides):
    """The configuration of a job at paper scale with the settings of a run."""
    settings = table.iloc[0]
    optimizer = f"optimizer={OPTIMIZERS[settings.optimizer]}"
    method = "method=untrac_inv" if run == "untrac_inv" else "method=untrac"
    return composed(
        "scale=paper", "trainer=cpu", optimizer, method, f"optimizer.lr={settings.lr}",
        f"loss.micro_batch={MICRO_BATCH[model]}", *overrides,
    )  # fmt: skip


def word_tokenizer():
    """The word w<i> is token i."""
    words = {"</s>": 0, "<pad>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, 256)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def source_of(model, folder, end_of_input=None):
    config = json.loads((AUTHORS / f"{model}_config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": model}))
    shutil.copy(AUTHORS / f"{model}.safetensors", folder / "model.safetensors")
    if end_of_input is None:
        end_of_input = composed("model=t5_paper").model.end_of_input
    return Pretrained(str(folder), 48, seq2seq=model == "t5", end_of_input=end_of_input)


def datasets_of(model, source):
    """(corpora, test sets) as tokens, by name."""
    if model == "opt":
        given = json.loads((AUTHORS / "opt_tokens.json").read_text())
        return [
            {name: pad(rows, rows, False) for name, rows in given[kind].items()}
            for kind in ("corpora", "testsets")
        ]
    given = json.loads((AUTHORS / "t5_rows.json").read_text())

    def tokens(rows):
        texts = [Row(row["targets_pretokenized"], row["inputs_pretokenized"]) for row in rows]
        return encode(texts, word_tokenizer(), 48, True, "rows", end_of_input=source.end_of_input)

    corpora = {name: tokens(rows) for name, rows in given["corpora"].items()}
    return corpora, {"test": tokens(given["testset"])}


def inject(monkeypatch, stage, order, corpora, batch_size):
    """Let the stage read the rows of a run in its order, whatever the seed."""
    starts = dict(zip(corpora, range(0, 24 * len(corpora), 24), strict=True))
    names = order["dataset"].map(starts) if len(corpora) > 1 else 0
    rows = (order["row"] + names).tolist()
    given = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    monkeypatch.setattr(stage, "batches", lambda *_: map(torch.tensor, given))


def check(found, table):
    for row in table.itertuples():
        assert found[row.step, row.evaluated] == pytest.approx(row.loss, abs=TOLERANCE, rel=0), row


@pytest.mark.parametrize(
    ("model", "run", "trained_on", "table"), [run for run in RUNS if "untrac" in str(run.id)]
)
def test_unlearning(model, run, trained_on, table, tmp_path, monkeypatch):
    source = source_of(model, tmp_path)
    corpora, testsets = datasets_of(model, source)
    inverse = run == "untrac_inv"
    forget_sets = testsets if inverse else corpora
    forget_set = {trained_on: forget_sets[trained_on]}
    every, batch_size = table[table["step"] > 0]["step"].min(), int(table["batch"].iloc[0])
    cfg = configured(
        model, run, table, f"method.stopping.every={every}", f"method.batch_size={batch_size}"
    )
    inject(monkeypatch, unlearning, ORDERS[model, run, trained_on], forget_set, batch_size)
    loaded = source.build(word_tokenizer(), 0)
    trainer = instantiate(cfg.trainer)
    subject = Subject(
        load=lambda: loaded,
        corpora=corpora if inverse else forget_set,
        subsets={
            Subset("t", name): data for name, data in (forget_set if inverse else testsets).items()
        },
        checkpoints=[],
        trainer=trainer,
        store=Store(tmp_path / "store"),
        key={},
        max_tokens=trainer.max_tokens,
    )
    influences = instantiate(cfg.method).influences(subject)
    read = "corpus" if inverse else "subset"
    before = {change.of if inverse else change.of.subset: change.before.mean
              for change in influences.changes}  # fmt: skip
    found = {(0, name): loss for name, loss in before.items()}
    for row in influences.trajectory.itertuples():
        name = getattr(row, read)
        found[row.step, name] = before[name] + row.influence
    assert sorted(found) == sorted(zip(table["step"], table["evaluated"], strict=True))
    check(found, table)


@pytest.mark.parametrize(
    ("model", "run", "trained_on", "table"), [run for run in RUNS if "untrac" not in str(run.id)]
)
def test_training(model, run, trained_on, table, tmp_path, monkeypatch):
    """θ0, and a model that is trained for one epoch of what is left."""
    source = source_of(model, tmp_path)
    corpora, testsets = datasets_of(model, source)
    for name, data in corpora.items():
        (tmp_path / name).mkdir()
        data.save(tmp_path / name)
    batch_size = int(table["batch"].iloc[0])
    inject(monkeypatch, pretraining, ORDERS[model, run, trained_on], corpora, batch_size)
    without = () if trained_on == "all" else (trained_on,)
    store, found = Store(tmp_path / "store"), {}
    for step in sorted(set(table["step"])):
        # as many epochs of all corpora as the steps are of what is left
        steps = step * 96 // 72 if without else step
        cfg = configured(
            model, run, table, f"pretraining.steps={steps}", f"pretraining.batch_size={batch_size}",
            f"pretraining.clip={table['clip'].iloc[0]}",
            "pretraining.optimizer=${optimizer}",
        )  # fmt: skip
        training = Training(
            source, word_tokenizer(), {name: tmp_path / name for name in corpora},
            instantiate(cfg.pretraining), plain(cfg.pretraining), instantiate(cfg.trainer), store,
        )  # fmt: skip
        subsets = {Subset("t", name): data for name, data in testsets.items()}
        left_out = without if step else ()
        spec = training.model_spec(0, left_out, "epochs")
        job = Job(training, subsets, 0, left_out, spec, "")
        [(_, path)] = store.get_all(job.artifacts)
        found |= {(step, subset.subset): loss for subset, loss in job.read(0, path).items()}
    check(found, table)


def test_the_head_of_their_t5_is_not_tied(tmp_path):
    """As that of the paper's T5-XL; a T5 that is built from its configuration has a tied one."""
    model = source_of("t5", tmp_path).build(word_tokenizer(), 0)
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    weights = load_file(AUTHORS / "t5.safetensors")
    assert (model.lm_head.weight == weights["lm_head.weight"]).all()
