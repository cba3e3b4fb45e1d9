"""Compiled passes: the answers of eager ones, few shapes, and one compilation for a job's runs.

Compiled by a backend that runs what torch traces as it is, and counts; no C++ compiler is needed.
"""

import copy
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from tests import dense
from tests.conftest import CPU, opt, sequences, subsets, t5
from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Subset
from untrac_exp.methods.tracin import TracIn
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.methods.untrac_step import UnTracStep
from untrac_exp.models.loss import mean_loss
from untrac_exp.objectives.ascent import Ascent, negative_loss
from untrac_exp.objectives.kl import KL
from untrac_exp.stages import compiling
from untrac_exp.stages.compiling import compiled
from untrac_exp.stages.gradient import mean_gradient
from untrac_exp.stages.unlearning import Stopping, unlearn

COMPILED = replace(CPU, compile=True)
SGD = partial(torch.optim.SGD, lr=0.05)


class Counting:
    """A backend of `torch.compile`: how many graphs it was given, and how often they ran."""

    def __init__(self):
        self.graphs = self.runs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1

        def run(*args):
            self.runs += 1
            return graph(*args)

        return run


@pytest.fixture
def backend(monkeypatch):
    torch._dynamo.reset()
    compiling._compiled_logits.cache_clear()
    counters.clear()
    found = Counting()
    monkeypatch.setattr(compiling, "_options", lambda device: {"backend": found})
    yield found
    assert not counters["graph_break"]
    compiling._compiled_logits.cache_clear()


@pytest.mark.parametrize("build", [opt, t5])
def test_gradients_are_those_of_eager_passes(backend, build):
    seq2seq = build is t5
    model = build(torch.float64)
    for data in list(subsets(seq2seq).values())[:2]:
        expected = dense.gradient(model, data)
        found = mean_gradient(model, data, 40, compile=True)
        assert float((found - expected).norm() / expected.norm()) < 1e-6
    assert backend.runs >= 2
    assert all(p.grad is None for p in model.parameters())


def ragged(lengths):
    """An example of each length, all tokens scored."""
    width = max(lengths)
    ids = torch.randint(2, 12, (len(lengths), width), dtype=torch.int32)
    there = torch.arange(width) < torch.tensor(lengths)[:, None]
    return Encoded(ids, ids.where(there, -100), torch.tensor(lengths, dtype=torch.int32))


def test_many_lengths_and_numbers_of_rows_are_few_shapes(backend):
    """Within the tokens that may be read at once, padding counted."""
    model = opt(max_position_embeddings=128)
    shapes = set()
    forward = compiling._logits

    def look(model, inputs):
        shapes.add(tuple(inputs["input_ids"].shape))
        return forward(model, inputs)

    data = ragged(list(range(2, 101)))
    twin = compiled(model, True)
    twin._logits = look
    seen = []
    for indices, batch in compiling.batches(twin, data, 256):
        seen += indices.tolist()
        alone = torch.cat(
            [model(**data.batch(indices[[i]])).logits[0] for i in range(len(indices))]
        )
        mine = twin(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        assert mine.shape[:2] == batch["input_ids"].shape
        kept = mine[batch["attention_mask"].bool()]
        torch.testing.assert_close(kept, alone, rtol=1e-4, atol=1e-6)
    assert sorted(seen) == list(range(len(data)))
    assert shapes == {(8, 32), (4, 64), (2, 128), (1, 128)} - ({(1, 128)} if 36 % 2 == 0 else set())


def test_lengths_end_at_the_context_and_rows_fill_the_budget():
    model = opt(max_position_embeddings=100)
    assert [compiling._length(n, model.config) for n in (1, 32, 33, 65, 100)] == [
        32, 32, 64, 100, 100,
    ]  # fmt: skip
    assert [compiling._rows(n) for n in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]
    data = ragged([40, 50])
    assert compiling.fitting(compiled(model, True), data, 99, 64 * 7) == 4
    assert compiling.fitting(compiled(model, True), data, 3, 64 * 7) == 3
    assert compiling.fitting(model, data, 99, 64 * 7) == 8


def weights_after(model, data, trainer, **settings):
    model = copy.deepcopy(model)
    unlearn(
        model, data, negative_loss, seed=3, trainer=trainer, observe=lambda step: False,
        **{
            "optimizer": SGD, "batch_size": 3, "max_tokens": 16,
            "stopping": Stopping(steps=4, evaluations=1), **settings,
        },
    )  # fmt: skip
    return dense.flat(model)


def test_unlearning_takes_the_steps_of_an_eager_run(backend):
    model, data = opt(torch.float64), sequences(1, 3, 5, ragged=True)
    eager = weights_after(model, data, CPU)
    found = weights_after(model, data, COMPILED)
    assert backend.runs == 8  # micro-batches of two and of one, at each of four steps
    torch.testing.assert_close(found, eager, rtol=1e-6, atol=1e-8)  # losses divide in float32
    assert not torch.equal(eager, dense.flat(model))


def test_float32_stays_within_its_rounding(backend):
    model, data = opt(), sequences(1, 3, 5, ragged=True)
    eager = weights_after(model, data, CPU)
    found = weights_after(model, data, COMPILED)
    torch.testing.assert_close(found, eager, rtol=1e-4, atol=1e-6)


METHODS = {
    "untrac": UnTrac(SGD, Ascent(), Stopping(epochs=0.5, evaluations=1), 1),
    "untrac_inv": UnTracInv(SGD, Ascent(), Stopping(steps=2, evaluations=1), 99),
    "calibrated": UnTrac(SGD, Ascent(), Stopping(steps=9, own_loss_rise=0.05, evaluations=1), 1),
    "kl": UnTrac(SGD, KL(examples=2, batch_size=2, top_k=4), Stopping(steps=2, evaluations=1), 1),
    "untrac_step": UnTracStep(rise=0.1),
    "tracin": TracIn(),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_say_the_same_and_compile_in_their_first_run_alone(name, backend, fresh_subject):
    """Packed corpora of one length; the subsets are cut to that, so that there is one shape."""
    subject = fresh_subject(max_tokens=64)
    whole = {name: data for name, data in subject.subsets.items() if len(data) == 8}
    subject.subsets = {**whole, Subset("copies", "too"): sequences(5, 5)}
    expected = dense.scores(METHODS[name].influences(subject))
    assert backend.graphs == backend.runs == 0
    compiles = replace(
        subject, trainer=COMPILED, key={"job": "compiled"}, references={}, model=subject.model
    )
    found = dense.scores(METHODS[name].influences(compiles))
    assert dense.error(found, expected) < 1e-5
    # KL reads what is unlearned in batches of one, and two of what is held
    assert backend.graphs == (2 if name == "kl" else 1)
    assert backend.runs >= 2


def test_a_gradient_is_kept_where_a_graph_would_overwrite_it(monkeypatch):
    """As on CUDA, where gradients lie in the memory of the graph that computed them."""
    model = opt()
    mean_loss(model, sequences(1, 3).batch(slice(None))).backward()
    before = [p.grad for p in model.parameters()]
    compiling.keep_gradients(compiled(model, True))
    compiling.keep_gradients(model)
    assert all(p.grad is g for p, g in zip(model.parameters(), before, strict=True))
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    compiling.keep_gradients(compiling._Compiled(model))
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        assert parameter.grad is not gradient
        assert torch.equal(parameter.grad, gradient)


def test_on_cuda_the_kernels_are_replayed_as_graphs():
    assert compiling._options("cuda") == {"mode": "reduce-overhead"}
    assert compiling._options("cpu") == {}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_with_inductor_it_takes_the_same_steps():
    torch._dynamo.reset()
    compiling._compiled_logits.cache_clear()
    model, data = opt(), sequences(1, 3, 5, ragged=True)
    for _ in range(2):
        eager = weights_after(model, data, CPU)
        found = weights_after(model, data, COMPILED)
        torch.testing.assert_close(found, eager, rtol=1e-4, atol=1e-6)
    expected = dense.gradient(model, data)
    gradient = mean_gradient(model, data, 40, compile=True)
    assert float((gradient - expected).norm() / expected.norm()) < 1e-4
