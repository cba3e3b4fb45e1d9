"""The loss of all stages: nats per scored token, for causal and encoder-decoder models.

`Averaging` says how the losses of tokens become the loss of a dataset or of a step.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from untrac_exp.data.encoding import IGNORED, Encoded
from untrac_exp.runtime import processes


@dataclass(frozen=True)
class Losses:
    """A model's loss on each example of a dataset.

    Attributes:
        nll: (N,) float64, negative log-likelihood summed over the scored tokens, in nats.
        tokens: (N,) int64, number of scored tokens. With the mean of batches (`Averaging`), 1 for
            each example, and nll its share of its batch's loss per token.
        token_nll: (M,) float64, what each scored token adds to nll, in the order of the examples;
            empty unless asked for.
    """

    nll: Tensor
    tokens: Tensor
    token_nll: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    @property
    def mean(self) -> float:
        """Loss in nats per token over the whole dataset; examples are weighted by their tokens."""
        return float(self.nll.sum() / self.tokens.sum())


@dataclass(frozen=True)
class Averaging:
    """How losses of tokens are averaged; the `loss` group.

    Args:
        evaluation: the loss of a dataset is the mean over its examples of the loss per token of
            the batch of so many consecutive examples that an example is in. None: each token of
            the dataset has the same weight.
        micro_batch: the loss of an optimizer step is the mean of the losses per token of its
            micro-batches, which have this size whatever `trainer.max_tokens` is. None: each token
            of the batch has the same weight.

    Raises:
        ValueError: a size is below 1.
    """

    evaluation: int | None = None
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("evaluation", "micro_batch"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"loss.{name}={size} must be at least 1, or null")

    def of(self, losses: Losses) -> Losses:
        """Return the losses of a dataset's examples (N,), whose mean is the dataset's loss."""
        if self.evaluation is None:
            return losses
        batch = torch.arange(len(losses.tokens)) // self.evaluation
        tokens_per_example = torch.bincount(batch, losses.tokens.double()) / torch.bincount(batch)
        size, of_tokens = tokens_per_example[batch], losses.token_nll
        if len(of_tokens):
            of_tokens = of_tokens / size.repeat_interleave(losses.tokens)
        return Losses(losses.nll / size, torch.ones_like(losses.tokens), of_tokens)


TOKENS = Averaging()
"""Each token has the same weight."""


def vocab_size(model: PreTrainedModel) -> int:
    """Return the size of the vocabulary that a model's text is predicted in."""
    return int(model.config.get_text_config(decoder=True).vocab_size)


def logits_and_labels(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return logits (B, T, V) and the labels they predict (B, T), `IGNORED` if not scored."""
    device = model.device
    batch = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    labels, mask = batch["labels"], batch["attention_mask"]
    inputs: dict[str, Tensor | bool] = {"input_ids": batch["input_ids"], "use_cache": False}
    if not bool(mask.all()):  # without a mask, attention takes its faster causal path
        inputs["attention_mask"] = mask
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = _decoder_inputs(model, labels)
        return model(**inputs).logits, labels
    # Shift the labels: shifting the logits would copy B x T x V numbers
    return model(**inputs).logits, F.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _decoder_inputs(model: PreTrainedModel, labels: Tensor) -> Tensor:
    """Shift labels (B, T) right, by the model's own method if it has one and a pad token."""
    config, prepare = model.config, getattr(model, "prepare_decoder_input_ids_from_labels", None)
    if prepare is not None and config.pad_token_id is not None:
        return prepare(labels=labels)
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        raise ValueError(
            f"{type(model).__name__}: its configuration has no decoder_start_token_id; set it in "
            "config.json"
        )
    shifted = labels.roll(1, dims=1).clamp(min=0)  # no scored token attends to an ignored one
    shifted[:, 0] = start
    return shifted


def token_nll(model: PreTrainedModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the loss of each token (B, T) in nats, 0 if not scored, and scored tokens (B,)."""
    logits, labels = logits_and_labels(model, batch)
    nll = F.cross_entropy(
        logits.float().flatten(0, 1) if logits.dtype != torch.float64 else logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    return nll.view(labels.shape), (labels != IGNORED).sum(1)


def mean_loss(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the loss of a batch in nats per scored token, a scalar."""
    nll, tokens = token_nll(model, batch)
    return nll.sum() / tokens.sum()


def example_nll(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    """Return the loss of each example of a batch, (B,) float64 on the CPU, in nats."""
    # to the CPU first: Apple's MPS has no float64
    return token_nll(model, batch)[0].sum(1).cpu().double()


@torch.no_grad()
def example_losses(
    model: PreTrainedModel, data: Encoded, max_tokens: int, by_token: bool = False
) -> Losses:
    """Compute the loss of each example of `data`, sharded over processes.

    Args:
        model: the model, in evaluation mode.
        data: N examples.
        max_tokens: maximum number of tokens per batch, including padding.
        by_token: whether to return the losses of tokens too.

    Returns:
        The losses of all N examples, on every process.
    """
    nll = torch.zeros(len(data), dtype=torch.float64)
    of_tokens = torch.zeros(int(data.scored.sum()) if by_token else 0, dtype=torch.float64)
    starts = data.scored.cumsum(0) - data.scored
    for indices, batch in processes.shard(data.batches(max_tokens)):
        values = token_nll(model, batch)[0]
        nll[indices] = values.sum(1).cpu().double()
        if by_token:
            is_scored = batch["labels"] != IGNORED
            if not data.seq2seq:  # the loss of a token is at the one before it
                is_scored = F.pad(is_scored[:, 1:], (0, 1))
            places = starts[indices, None] + is_scored.cumsum(1) - 1
            of_tokens[places[is_scored]] = values.cpu().double()[is_scored]
    if by_token:
        of_tokens = processes.all_reduce(of_tokens)
    return Losses(processes.all_reduce(nll), data.scored, of_tokens)
