"""Pretraining against a bare PyTorch loop, and a killed run against an undisturbed one."""

import os
import shutil
import signal
import tempfile
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import opt
from untrac_exp.data.encoding import pad
from untrac_exp.data.order import batches
from untrac_exp.models.loss import Averaging, mean_loss
from untrac_exp.stages.pretraining import (
    CHECKPOINTS,
    PretrainingSettings,
    pretrain,
)
from untrac_exp.stages.schedule import Schedule
from untrac_exp.stages.trainer import TrainerSettings, quiet

TRAINER = TrainerSettings(accelerator="cpu")


def tiny_opt(dropout=0.0):
    return opt(hidden=8, vocab_size=20, max_position_embeddings=16, dropout=dropout).train()


@pytest.fixture
def data():
    quiet()
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, 20, (24, 12), generator=generator).tolist()
    rows = [row[: 6 + i % 7] for i, row in enumerate(rows)]
    return pad(rows, rows, False)


def train(data, out, model=None, trainer=TRAINER, keep=None, **changes):
    settings = {
        "steps": 12, "batch_size": 4, "optimizer": partial(torch.optim.Adam, lr=0.01), "clip": 1.0,
        "checkpoint_every": 5, **changes,
    }  # fmt: skip
    model = tiny_opt() if model is None else model
    pretrain(model, data, PretrainingSettings(**settings), trainer, out, seed=3, keep=keep)


def weights(out) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def assert_same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **(tolerance or {"rtol": 0, "atol": 0}))


WSD = Schedule(warmup_steps=4, decay_steps=4, final=0.1)
RATES = [0.25, 0.5, 0.75, *[1.0] * 6, 0.775, 0.55, 0.325]
"""Of the twelve steps under `WSD`, worked out by hand."""


@pytest.mark.parametrize(
    ("schedule", "rates"), [(Schedule(), [1.0] * 12), (WSD, RATES)], ids=["constant", "wsd"]
)
def test_it_is_the_bare_loop(data, tmp_path, schedule, rates):
    train(data, tmp_path, schedule=schedule)
    model = tiny_opt()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for rate, indices in zip(rates, batches(len(data), 4, seed=3), strict=False):
        optimizer.param_groups[0]["lr"] = 0.01 * rate
        batch = data.batch(indices)
        batch["labels"][batch["attention_mask"] == 0] = -100
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    recorded = pd.read_csv(tmp_path / "loss.csv")["loss"]
    torch.testing.assert_close(torch.tensor(recorded.to_numpy()).float(), torch.tensor(losses))
    ours = weights(tmp_path)
    theirs = {name: tensor for name, tensor in model.state_dict().items() if name in ours}
    assert_same(ours, theirs, rtol=1e-4, atol=1e-6)


def test_bfloat16_is_near_float32_with_the_presets_optimizer(data, tmp_path):
    mixed = TrainerSettings(accelerator="cpu", precision="bf16-mixed")
    adam = partial(torch.optim.Adam, lr=0.01, fused=True)
    losses = {}
    for name, trainer in (("float32", TRAINER), ("bfloat16", mixed)):
        train(data, tmp_path / name, trainer=trainer, optimizer=adam, clip=0.1)
        losses[name] = pd.read_csv(tmp_path / name / "loss.csv")["loss"].to_numpy()
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)
    assert (losses["bfloat16"] != losses["float32"]).any()


def test_accumulated_micro_batches_give_the_steps_of_the_whole_batch(data, tmp_path):
    # SGD, since Adam blows up the rounding noise of gradients that are zero but for it
    sgd = partial(torch.optim.SGD, lr=0.1)
    for name, max_tokens in (("a", 6 * 12), ("b", 2 * 12)):
        trainer = replace(TRAINER, max_tokens=max_tokens)
        train(data, tmp_path / name, trainer=trainer, batch_size=6, optimizer=sgd, schedule=WSD)
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"), rtol=1e-4, atol=1e-6)


def test_with_the_mean_of_batches_micro_batches_weigh_the_same(data, tmp_path):
    """Against a bare loop; `max_tokens` does not matter."""
    sgd = partial(torch.optim.SGD, lr=0.1)
    for name, max_tokens in (("a", 9999), ("b", 12)):
        trainer = replace(TRAINER, max_tokens=max_tokens, loss=Averaging(micro_batch=2))
        train(data, tmp_path / name, trainer=trainer, batch_size=6, optimizer=sgd, clip=0.0)
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    model, losses = tiny_opt(), []
    optimizer = sgd(model.parameters())
    for indices in islice(batches(len(data), 6, seed=3), 12):
        parts = [mean_loss(model, data.batch(part)) for part in indices.split(2)]
        loss = torch.stack(parts).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    recorded = pd.read_csv(tmp_path / "a" / "loss.csv")["loss"].to_numpy()
    np.testing.assert_allclose(recorded, losses, rtol=1e-5)
    train(data, tmp_path / "tokens", batch_size=6, optimizer=sgd, clip=0.0)
    other = pd.read_csv(tmp_path / "tokens" / "loss.csv")["loss"].to_numpy()
    assert abs(other - losses).max() > 1e-3


class Killed(Exception):
    pass


def killed(optimizer):
    raise Killed


def adam(at, act):
    """An Adam that does this before step `at`, of all its instances together."""
    calls = count(1)

    class Acting(torch.optim.Adam):
        def step(self, closure=None):
            if next(calls) == at:
                act(self)
            return super().step(closure)

    return partial(Acting, lr=0.01)


@pytest.mark.parametrize("schedule", [Schedule(), WSD], ids=["constant", "wsd"])
@pytest.mark.parametrize("at", [3, 7, 11])
def test_a_killed_run_ends_as_an_undisturbed_one(data, tmp_path, at, schedule):
    """With dropout, and a random state of its own whenever it begins.

    It is taken up in the warm-up, on the plateau and in the decay of `WSD`.
    """

    def begin(seed, out, **changes):
        model = tiny_opt(0.2)
        torch.manual_seed(seed)
        train(data, out, model, checkpoint_every=2, schedule=schedule, **changes)

    begin(1, tmp_path / "whole")
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        begin(2, out, optimizer=adam(at + 1, killed))
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == at // 2 * 2
    begin(3, out)
    assert_same(weights(tmp_path / "whole"), weights(out))
    assert (out / "loss.csv").read_text() == (tmp_path / "whole" / "loss.csv").read_text()
    names = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert names == sorted(p.name for p in (tmp_path / "whole").rglob("*") if p.is_file())


def test_sigterm_ends_it_with_143_and_a_line_and_it_goes_on(data, tmp_path, capsys):
    train(data, tmp_path / "whole")
    out = tmp_path / "terminated"
    with pytest.raises(SystemExit) as ended:
        train(data, out, optimizer=adam(7, lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    assert ended.value.code == 143
    assert capsys.readouterr().err == "terminated; the same command goes on from here\n"
    train(data, out)
    assert_same(weights(tmp_path / "whole"), weights(out))


@pytest.fixture
def dead(data, tmp_path):
    """The folder of a run that was killed after its checkpoint of step 5."""
    with pytest.raises(Killed):
        train(data, tmp_path / "killed", optimizer=adam(8, killed))
    return tmp_path / "killed"


def test_a_checkpoint_is_replaced_when_the_next_one_is_whole(data, dead, tmp_path, monkeypatch):
    """Whatever TMPDIR is, and if the disk is full."""
    before = (dead / "last.ckpt").read_bytes()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))

    def full(checkpoint, file):
        Path(file).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            train(data, dead)
    assert (dead / "last.ckpt").read_bytes() == before
    train(data, dead)
    train(data, tmp_path / "whole")
    assert_same(weights(tmp_path / "whole"), weights(dead))
    assert not list(dead.glob("last.*"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_checkpoint_is_put_aside_and_training_begins_again(
    data, dead, tmp_path, caplog, damage
):
    file = dead / "last.ckpt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes({"cut": content[:-99], "flipped": content, "empty": b""}[damage])
    train(data, dead)
    [warning] = [text for text in caplog.messages if "is damaged" in text]
    assert warning.startswith(f"{file} is damaged (")
    assert warning.endswith("): training begins again")
    train(data, tmp_path / "whole")
    assert_same(weights(tmp_path / "whole"), weights(dead))
    assert not list(dead.glob("last.*"))


def test_divergence_in_the_last_step_is_noticed_and_not_stored(data, tmp_path):
    class Diverging(torch.optim.Adam):
        def step(self, closure=None):
            found = super().step(closure)
            if next(steps) == 12:
                self.param_groups[0]["params"][0].data.fill_(torch.nan)
            return found

    steps = count(1)
    with pytest.raises(ValueError, match=r"diverged: the loss is nan at step 12; lower pretrain"):
        train(data, tmp_path, optimizer=partial(Diverging, lr=0.01))
    assert not (tmp_path / "model").exists()


def test_at_one_step_dropout_is_the_same_for_a_counterfactual_model(tmp_path, monkeypatch):
    """Though their batches differ, and other numbers were drawn before."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(1, 20, (24, 12), generator=generator).tolist()
    masks: list[torch.Tensor] = []
    dropout = torch.nn.functional.dropout

    def recorded(x, p=0.5, training=True, inplace=False):
        if not training:
            return x
        mask = dropout(torch.ones_like(x), p, training)
        masks.append((mask > 0).flatten())  # OPT merges two dimensions of some
        return x * mask

    monkeypatch.setattr(torch.nn.functional, "dropout", recorded)
    found = {}
    for name, keep in {"theta0": None, "without": torch.arange(24) < 16}.items():
        model = tiny_opt(0.2)
        torch.manual_seed(len(found))
        trainer = replace(TRAINER, max_tokens=2 * 12)
        train(pad(rows, rows, False), tmp_path / name, model, trainer, keep, steps=4)
        found[name] = torch.stack(masks)
        masks.clear()
    theta0, without = found.values()
    assert torch.equal(theta0, without)
    assert 0.75 < theta0.float().mean() < 0.85
    assert len(theta0.unique(dim=0)) == len(theta0) >= 4 * 2  # a draw of its own each


def test_checkpoints_are_the_weights_of_their_steps(data, tmp_path):
    train(data, tmp_path / "long", steps=10)
    train(data, tmp_path / "short", steps=5)
    saved = sorted((tmp_path / "long" / CHECKPOINTS).iterdir())
    assert [path.stem for path in saved] == ["00000005", "00000010"]
    assert_same(load_file(saved[0]), load_file(tmp_path / "short" / CHECKPOINTS / saved[0].name))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_it_takes_the_same_steps(data, tmp_path):
    train(data, tmp_path / "eager")
    train(data, tmp_path / "compiled", trainer=replace(TRAINER, compile=True))
    # not the weights: Adam makes steps of the noise where a gradient is 0, as the key bias' is
    losses = [pd.read_csv(tmp_path / name / "loss.csv")["loss"] for name in ("eager", "compiled")]
    np.testing.assert_allclose(*losses, rtol=1e-5)
