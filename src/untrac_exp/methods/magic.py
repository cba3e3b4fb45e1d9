r"""MAGIC: the exact derivative of the trained model's loss by each corpus' weight in training.

.. math:: I(Z', Z) = - \frac{d L(Z'; \theta_T(w))}{d w_Z} \Big|_{w = 1}

where :math:`\theta_T(w)` is trained as θ0 is, from the same initial weights and in the same order,
with the losses of Z weighted by :math:`w_Z` and all weights renormalised; see
`stages.metagradient`. L is in nats per token. It is leave-dataset-out to first order in the weight:
what differs from the truth of the same train seed is of higher order. Where the training is rough,
as with Adam where weights have nearly no gradient, derivatives explode; a warning says so. It
needs the training itself, so not a checkpoint from elsewhere, and costs about 5 trainings plus 3
for each test subset.

Source: Ilyas and Engstrom, "MAGIC: Near-Optimal Data Attribution for Deep Learning", 2025
(arXiv 2504.16430), whose weights are of single sequences.
"""

from dataclasses import dataclass

import torch

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Influences, Method, Subject, score_table
from untrac_exp.methods.common.products import gradient
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.stages.metagradient import Replay

_LARGEST = 3.0
"""Influence, in nats per token, from which derivatives are said to have exploded."""


@dataclass(frozen=True)
class Magic(Method):
    """Derivatives through the whole training of θ0; no hyperparameters."""

    def influences(self, subject: Subject) -> Influences:
        if not subject.trained:
            raise ValueError(
                "method=magic goes back through θ0's own training and there is none; set "
                "pretraining.steps, or use method=graddot for a model trained elsewhere"
            )
        derivatives = subject.part("derivatives", lambda: self._derivatives(subject), draws=False)
        scores = score_table(subject, -derivatives["by_weight"].T)
        largest = scores["influence"].abs().max()
        rough = (
            f"the derivatives reach {largest:.3g} nats per token, more than leaving out a corpus "
            "can change: the training is too rough for them; raise Adam's eps or lower its rate"
        )
        return Influences(scores, warnings=[] if largest < _LARGEST else [rough])

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        tokens = (5 + 3 * len(sizes.subsets)) * sizes.trained
        return tokens, tokens

    def _derivatives(self, subject: Subject) -> Arrays:
        """Compute by_weight (subsets, corpora), nats per token."""
        training = subject.training
        assert training is not None
        data = Encoded.concatenate(list(subject.trained_on.values()))
        sizes = torch.tensor([len(of) for of in subject.trained_on.values()])
        corpus = torch.arange(len(sizes)).repeat_interleave(sizes)
        with subject.leaving_theta0() as model:
            dtype, device = model.dtype, model.device
            initial = training.source.build(training.tokenizer, subject.train_seed)
            model.load_state_dict(initial.to(dtype).state_dict())
            replay = Replay(
                model, data, corpus, training.settings, training.trainer, subject.train_seed
            )
            by_weight = replay.derivatives(
                lambda _: [gradient(subject, data).to(device) for data in subject.subsets.values()]
            )
        subject.meter.backward((5 + 3 * len(subject.subsets)) * subject.trained)
        return {"by_weight": by_weight.cpu().double().numpy()}
