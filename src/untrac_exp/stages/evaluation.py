"""Evaluation: the loss of each example of datasets, at fixed weights."""

from collections.abc import Sequence

import lightning
import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import Losses, example_nll
from untrac_exp.runtime import processes
from untrac_exp.stages.trainer import TrainerSettings, discard


class Evaluation(lightning.LightningModule):
    """Evaluates the model; a batch is what `Encoded.batches` yields."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def predict_step(
        self, batch: tuple[Tensor, dict[str, Tensor]], batch_idx: int, dataloader_idx: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return indices (B,) of examples and their losses (B,) in nats, on the CPU."""
        indices, inputs = batch
        return indices.cpu(), example_nll(self.model, inputs)


def evaluate(
    model: PreTrainedModel, datasets: Sequence[Encoded], max_tokens: int, trainer: TrainerSettings
) -> list[Losses]:
    """Compute the loss of each example of each dataset with a trainer, sharded over processes.

    In the weights' dtype, without autocast. The same numbers as `models.loss.example_losses`, which
    is for models in the middle of a run: Lightning does not nest loops, and each run of a trainer
    moves the model to its device and back.

    Args:
        model: the model, in evaluation mode.
        datasets: the datasets.
        max_tokens: maximum number of tokens per batch, including padding.
        trainer: device.

    Returns:
        The losses of all examples by dataset, on every process.
    """
    device = model.device
    loaders = [processes.shard(data.batches(max_tokens)) for data in datasets]
    predictor = trainer.build(barebones=True, precision="32-true")
    predictions = predictor.predict(Evaluation(model), dataloaders=loaders)
    discard(predictor)
    model.to(device)
    assert predictions is not None
    if len(datasets) == 1:  # then the trainer returns a list of batches, not of datasets
        predictions = [predictions]
    losses = []
    for data, batches in zip(datasets, predictions, strict=True):
        nll = torch.zeros(len(data), dtype=torch.float64)
        for indices, batch_nll in batches:
            nll[indices] = batch_nll
        losses.append(Losses(processes.all_reduce(nll), data.scored))
    return losses
