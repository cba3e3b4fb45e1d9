"""Evaluation: what a model pays for every example of named datasets, one dataloader for each."""

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import lightning
import torch
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp import processes
from untrac_exp.data.encoding import Encoded
from untrac_exp.models.loss import Losses, token_nll
from untrac_exp.stages.trainer import Stream, TrainerSettings

Name = TypeVar("Name", bound=Hashable)


class Evaluation(lightning.LightningModule):
    """Collects the loss of every example, dataset by dataset."""

    def __init__(self, model: PreTrainedModel, datasets: Mapping[Any, Encoded]) -> None:
        super().__init__()
        self.model = model
        self.nll = [torch.zeros(len(data), dtype=torch.float64) for data in datasets.values()]

    def validation_step(
        self, batch: tuple[Tensor, dict[str, Tensor]], index: int, dataloader_idx: int = 0
    ) -> None:
        indices, inputs = batch
        nll = token_nll(self.model, inputs)[0].sum(1)
        self.nll[dataloader_idx][indices.cpu()] = nll.cpu().double()  # MPS has no float64


def evaluate(
    model: PreTrainedModel,
    datasets: Mapping[Name, Encoded],
    max_tokens: int,
    trainer: TrainerSettings,
) -> dict[Name, Losses]:
    """The losses of `model` on each dataset, read in batches of at most `max_tokens` tokens.

    In the weights' own precision, as `Subject.losses`.
    """
    device = model.device
    precision = "32-true" if trainer.precision.endswith("-mixed") else trainer.precision
    module = Evaluation(model.eval(), datasets)
    loaders = [Stream(processes.shard(data.batches(max_tokens))) for data in datasets.values()]
    trainer.build(barebones=True, precision=precision).validate(module, loaders, verbose=False)
    model.to(device)
    return {
        name: Losses(processes.all_reduce(nll), data.scored)
        for (name, data), nll in zip(datasets.items(), module.nll, strict=True)
    }
