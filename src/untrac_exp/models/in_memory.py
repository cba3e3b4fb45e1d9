"""Use a model that the caller has loaded, and restore its state on exit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrac_exp.data.base import Corpus
from untrac_exp.models.checks import check_block_size, check_causal, context
from untrac_exp.models.source import ModelSource
from untrac_exp.store import Store


@dataclass(frozen=True, eq=False)
class InMemory(ModelSource):
    """A loaded model as a source; `undo` collects the functions that restore it."""

    model: PreTrainedModel
    given_tokenizer: PreTrainedTokenizerBase
    block_size: int
    seq2seq: bool
    adapter: Literal["lora"] | None
    lora: Mapping[str, Any]
    attention: str = "sdpa"
    undo: list[Any] = field(default_factory=list)
    mark: str = field(default_factory=lambda: uuid4().hex)

    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        return self.given_tokenizer

    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        return self.model.eval()

    def for_unlearning(self, model: PreTrainedModel) -> PreTrainedModel:
        return super().for_unlearning(model.requires_grad_(True))

    def key(self) -> dict[str, object]:
        """Return a random key, valid until the model is released; weights are not hashed."""
        return {"weights": self.mark}


@contextmanager
def borrowed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Any]
) -> Iterator[InMemory]:
    """Use `model` as a source, with the keys of conf/model/hf.yaml in `settings`.

    On exit, the device, the training mode of each module and `requires_grad` of each parameter are
    restored. Gradients are not.

    Raises:
        ValueError: `block_size` exceeds the model's learned positions.
    """
    block_size, seq2seq = settings["block_size"], settings["seq2seq"]
    source = InMemory(
        model,
        tokenizer,
        context(model.config) if block_size is None else block_size,
        bool(model.config.is_encoder_decoder) if seq2seq is None else seq2seq,
        settings["adapter"],
        settings["lora"],
    )
    check_block_size(model, source)
    device = model.device
    training = [(module, module.training) for module in model.modules()]
    trains = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        check_causal(model.eval())
        yield source
    finally:
        for undo in reversed(source.undo):
            undo()
        for module, was in training:
            module.training = was
        for parameter, did in trains:
            parameter.requires_grad_(did)
        model.to(device)
