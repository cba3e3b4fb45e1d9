"""The one definition of a loss: nats per scored token, of any causal or seq2seq model."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp import processes
from untrac_exp.data.encoding import IGNORED, Encoded


@dataclass(frozen=True)
class Losses:
    """What a model pays for each example of a dataset.

    nll: (N,) float64, summed negative log-likelihood of the scored tokens, in nats.
    tokens: (N,) int64, how many tokens were scored.
    """

    nll: Tensor
    tokens: Tensor

    @property
    def mean(self) -> float:
        """Nats per token over the whole dataset; long texts weigh more than short ones."""
        return float(self.nll.sum() / self.tokens.sum())


def logits_and_labels(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (B, T, V) and the labels they predict (B, T), `IGNORED` where nothing is scored."""
    device = model.device
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    labels, mask = batch["labels"], batch["attention_mask"]
    inputs: dict[str, Tensor | bool] = {"input_ids": batch["input_ids"], "use_cache": False}
    if not bool(mask.all()):  # without a mask, attention takes its faster causal path
        inputs["attention_mask"] = mask
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = _decoder_inputs(model, labels)
        return model(**inputs).logits, labels
    # the labels move, for the logits, a vocabulary wide, would have to be copied
    return model(**inputs).logits, F.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _decoder_inputs(model: PreTrainedModel, labels: Tensor) -> Tensor:
    """The labels one position later; as the model's own code does it, which needs a pad token."""
    if model.config.pad_token_id is not None:
        return model.prepare_decoder_input_ids_from_labels(labels=labels)
    shifted = labels.roll(1, dims=1).clamp(min=0)  # what is not scored is read by nothing scored
    shifted[:, 0] = model.config.decoder_start_token_id
    return shifted


def token_nll(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood (B, T) of every token, 0 where unscored, and how many count (B,)."""
    logits, labels = logits_and_labels(model, batch)
    nll = F.cross_entropy(
        logits.float().flatten(0, 1) if logits.dtype != torch.float64 else logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return nll.view(labels.shape), (labels != IGNORED).sum(1)


def mean_loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Nats per scored token of one batch: summed over its tokens, divided by their number."""
    nll, tokens = token_nll(model, batch)
    return nll.sum() / tokens.sum()


@torch.no_grad()
def example_losses(model: PreTrainedModel, data: Encoded, max_tokens: int) -> Losses:
    """What `model` pays for every example of `data`, read in batches of `max_tokens` tokens."""
    nll = torch.zeros(len(data), dtype=torch.float64)
    for indices, batch in processes.shard(data.batches(max_tokens)):
        # to the CPU first: Apple's MPS has no float64
        nll[indices] = token_nll(model, batch)[0].sum(1).cpu().double()
    return Losses(processes.all_reduce(nll), data.scored)
