r"""Leave-one-corpus-out fine-tuning: train θ0 a little further with and without each corpus.

.. math::
    I(Z', Z) = L(Z'; \theta_{-Z}) - L(Z'; \theta_{+}),

where both models start from θ0 and take T steps with a rate that decays linearly to 0,
:math:`\theta_{+}` on samples of all corpora and :math:`\theta_{-Z}` on those of all corpora but Z,
in the same order. L is in nats per token. This is leave-dataset-out for the last T steps of a
longer training: what the model knows of Z alone is forgotten where it is not trained on. For small
T or a small rate it ranks corpora by products of gradients, as GradDot does, with the optimizer's
preconditioning.

Source: fine-tuning on the retain set as a way to forget is the baseline "FT" of Golatkar et al.,
"Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks", CVPR 2020. That both
models are trained, in the same order, so that only the corpus differs, is this project's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.methods.base import Arrays, Change, Influences, Method, Part, Subject
from untrac_exp.methods.common.scores import EvaluationSet, scored
from untrac_exp.methods.common.sizes import Sizes
from untrac_exp.models.loss import mean_loss
from untrac_exp.stages.micro_batches import MicroBatch
from untrac_exp.stages.pretraining import OptimizerFactory
from untrac_exp.stages.schedule import Schedule
from untrac_exp.stages.unlearning import Unlearning, unlearn

_ALL = "all corpora"
_DECAY = Schedule(decay_steps=None)


def _loss(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    return mean_loss(model, batch.inputs) * batch.weight


@dataclass(frozen=True)
class FineTune(Method):
    """Fine-tunes once with all corpora and once without each.

    Args:
        optimizer: creates the optimizer of a run.
        batch_size: sequences per step.
        epochs: passes over the samples of all corpora; every run takes as many steps.

    Raises:
        ValueError: `batch_size` or `epochs` is not positive, or there is only one corpus.
    """

    optimizer: OptimizerFactory
    batch_size: int = 8
    epochs: float = 1.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs"):
            if getattr(self, name) <= 0:
                raise ValueError(f"method.{name}={getattr(self, name)} must be positive")

    def influences(self, subject: Subject) -> Influences:
        if len(subject.corpora) < 2:
            raise ValueError("method=finetune leaves out one corpus; give at least two corpora")
        evaluated = EvaluationSet(subject.subsets)
        names = subject.corpora if subject.only is None else [subject.only]
        runs = {name: self._run(subject, name, evaluated) for name in (_ALL, *names)}
        losses = {
            name: evaluated.losses(subject, seen)
            for name, seen in subject.parts(runs, "finetune: models").items()
        }
        together = losses.pop(_ALL)
        changes = [
            Change(corpus, subset, subset, together[subset], without[subset])
            for corpus, without in losses.items()
            for subset in subject.subsets
        ]
        return scored(changes, subject.subsets)

    def tokens(self, sizes: Sizes) -> tuple[int, int]:
        runs = 1 + len(sizes.corpora)
        trained = runs * round(self.epochs * sizes.corpus_tokens)
        return trained + runs * sizes.subset_tokens, trained

    def _run(self, subject: Subject, without: str, evaluated: EvaluationSet) -> Part:
        """Compute nll (N,), nats of each evaluated example after the steps without a corpus."""

        def compute() -> Arrays:
            data = Encoded.concatenate(list(subject.corpora.values()))
            keep = torch.cat(
                [torch.full((len(of),), name != without) for name, of in subject.corpora.items()]
            )
            steps = max(1, round(self.epochs * len(data) / self.batch_size))
            with subject.leaving_theta0() as model:
                unlearn(
                    Unlearning(
                        model, data, _loss, self.optimizer, min(self.batch_size, int(keep.sum())),
                        subject.seed, subject.trainer.loss, keep=keep, schedule=_DECAY,
                    ),
                    steps=steps, max_tokens=subject.max_tokens, trainer=subject.trainer,
                )  # fmt: skip
                subject.meter.backward(steps * self.batch_size * data.read // len(data))
                return evaluated.evaluate(subject)

        reads = {
            "trained on": subject.corpora.values(),
            "left out": [subject.corpora[without]] if without != _ALL else [],
            "evaluated": evaluated.datasets.values(),
        }
        return Part("finetuned", compute, reads)
