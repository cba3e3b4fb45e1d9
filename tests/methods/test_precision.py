"""Mixed precision: gradients in bfloat16, losses in the weights' own."""

from functools import partial

import pytest
import torch

from tests.dense import scores
from untrac_exp.methods.untrac_inv import UnTracInv
from untrac_exp.objectives.ascent import Ascent
from untrac_exp.stages.trainer import TrainerSettings
from untrac_exp.stages.unlearning import Stopping


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
