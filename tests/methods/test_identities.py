"""What ties the methods together, on a model small enough for float64 and dense derivatives."""

from functools import partial

import pytest
import torch

from tests import dense
from tests.dense import error, scores
from untrac_exp.methods.graddot import GradDot
from untrac_exp.methods.untrac import UnTrac
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.stages.unlearning import Stopping

FULL = 10**6


def one_step(kind, lr):
    return kind(partial(torch.optim.SGD, lr=lr), Ascent(), Stopping(steps=1, evaluations=1), FULL)


def times(factor, values):
    return {key: factor * value for key, value in values.items()}


def falls_in_proportion(errors):
    """With the learning rates 1e-4, 1e-5 and 1e-6."""
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.1)


@pytest.mark.parametrize("kind", [UnTrac, UnTracInv])
def test_one_step_over_one_full_batch_is_graddot_to_first_order(kind, fresh_subject):
    products = scores(GradDot().influences(fresh_subject()))
    falls_in_proportion([
        error(scores(one_step(kind, lr).influences(fresh_subject())), times(lr, products))
        for lr in (1e-4, 1e-5, 1e-6)
    ])  # fmt: skip


def test_they_differ_by_their_curvatures_in_the_second_order(fresh_subject):
    """UnTrac − UnTrac-Inv = lr²/2 (g'H'g − g''Hg') + O(lr³), g and H of the corpus, g' and H' of
    the test set: a number that neither method computes.
    """
    lr, subject = 1e-5, fresh_subject()
    forth = scores(one_step(UnTrac, lr).influences(fresh_subject()))
    back = scores(one_step(UnTracInv, lr).influences(fresh_subject()))

    def derivatives(data):
        return dense.gradient(subject.model, data), dense.hessian(subject.model, data)

    of_corpora = {name: derivatives(data) for name, data in subject.corpora.items()}
    of_subsets = {tuple(name): derivatives(data) for name, data in subject.subsets.items()}
    found, expected = {}, {}
    for corpus, (g, h) in of_corpora.items():
        for subset, (g_, h_) in of_subsets.items():
            key = (corpus, *subset)
            found[key] = (forth[key] - back[key]) / lr**2
            expected[key] = float(g @ h_ @ g - g_ @ h @ g_) / 2
    assert error(found, expected) < 1e-2


def test_accumulated_shares_give_the_answer_of_the_full_batch(fresh_subject):
    """For several steps of an optimizer that does not care for the gradient's scale."""
    method = UnTracInv(
        partial(torch.optim.Adam, lr=1e-3), Ascent(), Stopping(steps=5, evaluations=2), FULL
    )
    whole = scores(method.influences(fresh_subject(max_tokens=FULL)))
    for max_tokens in (8, 16, 40):
        assert error(scores(method.influences(fresh_subject(max_tokens=max_tokens))), whole) < 1e-5


# ------------------ The loss of what is unlearned: where it is known, and when a run is warned of
METHODS = pytest.mark.parametrize(
    ("kind", "batch_size"), [(UnTrac, 1), (UnTracInv, 256)], ids=["untrac", "untrac_inv"]
)


def method(kind, batch_size, lr=3e-3, **stopping):
    adam = partial(torch.optim.Adam, lr=lr)
    return kind(adam, Ascent(), Stopping(**{"steps": 40, **stopping}), batch_size)


@pytest.mark.parametrize("probe", [2, 10**6])
def test_the_own_loss_is_that_of_a_probe_of_the_size_asked_for(probe, fresh_subject):
    subject = fresh_subject()
    answer = method(UnTrac, 1, steps=1, evaluations=1, probe=probe).influences(subject)
    start = answer.own_loss[answer.own_loss["step"] == 0].set_index("unlearned")["loss"]
    for name, data in subject.corpora.items():
        assert len(data) > 2
        drawn = data.sample(2, seed=0) if probe == 2 else data
        assert start[name] == pytest.approx(subject.losses(drawn).mean, rel=1e-6)


@METHODS
def test_a_collapse_is_flagged(kind, batch_size, fresh_subject):
    answer = method(kind, batch_size, lr=0.1, steps=30).influences(fresh_subject())
    assert any("collapsed the model" in warning for warning in answer.warnings)


@METHODS
def test_the_own_loss_is_known_wherever_the_influence_is(kind, batch_size, fresh_subject):
    answer = method(kind, batch_size).influences(fresh_subject())
    for key, rows in answer.trajectory.groupby(["corpus", "testset", "subset"]):
        name = key[0] if kind is UnTrac else "/".join(key[1:])
        own = answer.own_loss[answer.own_loss["unlearned"] == name]
        assert set(rows["step"]) <= set(own["step"])
        assert own["step"].iloc[0] == 0
        assert own["step"].is_monotonic_increasing


# ----------------------------- Mixed precision: gradients in bfloat16, losses in the weights' own
class WithoutFloat64(torch.Tensor):
    """As Apple's MPS has them: float64 only once they are on the CPU."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        given = (*args, *(kwargs or {}).values())
        if function is torch.Tensor.double or any(value is torch.float64 for value in given):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        found = super().__torch_function__(function, types, args, kwargs or {})
        return found.as_subclass(torch.Tensor) if function is torch.Tensor.cpu else found


def test_losses_are_read_from_devices_without_float64(single, monkeypatch):
    subject = single()
    plain = {name: subject.losses(data).nll for name, data in subject.corpora.items()}
    forward = subject.model.forward

    def on_device(**inputs):
        found = forward(**inputs)
        found.logits = found.logits.as_subclass(WithoutFloat64)
        return found

    monkeypatch.setattr(subject.model, "forward", on_device)
    for name, data in subject.corpora.items():
        assert torch.equal(subject.losses(data).nll, plain[name])


MIXED = TrainerSettings(accelerator="cpu", precision="bf16-mixed")


@pytest.fixture
def single(fresh_subject):
    """Subjects whose weights are float32; those of other tests are float64."""

    def make(**other):
        subject = fresh_subject(**other)
        subject.model.float()
        return subject

    return make


def test_losses_are_read_as_in_float32(single):
    """An influence is a difference of losses, less than bfloat16 can tell apart."""
    exact, mixed = single(), single(trainer=MIXED)
    for data in exact.corpora.values():
        assert torch.equal(mixed.losses(data).nll, exact.losses(data).nll)


def test_the_influences_are_nearly_those_of_float32(single):
    method = UnTracInv(partial(torch.optim.Adam, lr=1e-3), Ascent(), Stopping(steps=3), 256)
    exact = scores(method.influences(single()))
    mixed = scores(method.influences(single(trainer=MIXED)))
    largest = max(map(abs, exact.values()))
    assert mixed == pytest.approx(exact, abs=0.02 * largest)
    assert mixed != exact


def test_untrac_and_its_inverse_agree_to_first_order(fresh_subject):
    errors = []
    for lr in (1e-4, 1e-5, 1e-6):
        forth = scores(one_step(UnTrac, lr).influences(fresh_subject()))
        back = scores(one_step(UnTracInv, lr).influences(fresh_subject()))
        errors.append(error(back, forth))
    assert errors[0] < 0.05
    assert errors[1] == pytest.approx(errors[0] / 10, rel=0.1)
    assert errors[2] == pytest.approx(errors[1] / 10, rel=0.1)


@pytest.mark.parametrize("kind", [UnTrac, UnTracInv])
def test_the_weights_come_back_bit_by_bit(kind, subject):
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    kind(partial(torch.optim.Adam, lr=0.1), Ascent(), Stopping(steps=9), 2).influences(subject)
    after = subject.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in subject.model.parameters())
