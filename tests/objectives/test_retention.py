"""How much of the other corpora is left after a long ascent: the reason for anchors and bounds."""

from functools import partial

import pytest
import torch

from tests.conftest import CPU, opt, sequences
from tests.objectives.test_objectives import OBJECTIVES
from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import example_losses, mean_loss
from untrac_exp.objectives.base import ObjectiveInputs
from untrac_exp.stages.trainer import quiet
from untrac_exp.stages.unlearning import Unlearning, unlearn

STEPS = 20 * 32
"""Twenty epochs of batches of one, where one is the default."""


@pytest.fixture(scope="module")
def learned():
    """A model that knows three corpora, and the corpora."""
    torch.manual_seed(0)
    corpora = {f"steps of {k}": sequences(k, k, 32) for k in (1, 3, 5)}
    model = opt(hidden=16)
    data = Encoded.concatenate(list(corpora.values()))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        mean_loss(model, data.batch(slice(None))).backward()
        optimizer.step()
    return model, corpora


def rises(learned, objective, steps=STEPS):
    """How far the loss of what is unlearned rises, and that of new sequences like the others."""
    quiet()
    model, corpora = learned
    name, *others = corpora
    kept = {other: sequences(100 + i, (3, 5)[i], 32) for i, other in enumerate(others)}
    theta0 = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    watched = [corpora[name], Encoded.concatenate(list(kept.values()))]
    before = [example_losses(model, data, 4096).mean for data in watched]
    loss = objective.prepare(
        ObjectiveInputs(model, corpora[name], {other: corpora[other] for other in others}, 4096, 0)
    )
    adam = partial(torch.optim.Adam, lr=2e-3)
    unlearn(
        Unlearning(model, corpora[name], loss, adam, batch_size=1, seed=0),
        max_tokens=4096, steps=steps, trainer=CPU,
    )  # fmt: skip
    after = [example_losses(model, data, 4096).mean for data in watched]
    model.load_state_dict(theta0)
    return [b - a for a, b in zip(before, after, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "ascent"])
def test_the_others_stay_within_two_nats_where_ascent_collapses(learned, name):
    own, others = rises(learned, OBJECTIVES[name])
    assert own > 0
    assert others < 2.0


@pytest.mark.slow
def test_ascent_collapses(learned):
    """Past the uniform distribution, whose loss is 2.5 nats here."""
    own, others = rises(learned, OBJECTIVES["ascent"], STEPS // 4)
    assert min(own, others) > 20
