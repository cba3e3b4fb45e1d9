"""Interface of model sources: a tokenizer and initial weights."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from untrac_exp.data.base import Corpus
from untrac_exp.models.adapter import add_lora
from untrac_exp.store import Store

log = logging.getLogger(__name__)


def attention_argument(attention: str) -> str | None:
    """Return the `attn_implementation` to ask for.

    For the default kernel it is None, with which transformers takes eager attention for models
    that have no other.
    """
    return None if attention == "sdpa" else attention


class ModelSource(ABC):
    """A model before training on the corpora: an architecture or a checkpoint."""

    block_size: int
    """Maximum length of a sequence in tokens."""
    seq2seq: bool
    """Whether it is an encoder-decoder, which encodes the input and is scored on the target."""

    end_of_input: bool = True
    """Whether an encoder's input ends with the end-of-text token."""

    attention: str
    """`attn_implementation` of transformers."""
    trust_remote_code: bool = False
    """Whether the model's own code may run, which `save_pretrained` copies beside the weights.
    Without it transformers may use its own class for the same `model_type`."""

    adapter: Literal["lora"] | None = None
    """`lora` trains only the weights of an adapter (needs peft)."""
    lora: Mapping[str, Any] | None = None
    """Arguments of `peft.LoraConfig`."""

    n_parameters: int | None = None
    """Parameter count that `plan=true` uses if the model is not on this machine."""

    @property
    def auto(self) -> Any:
        """The class of transformers that creates and loads the model."""
        return AutoModelForSeq2SeqLM if self.seq2seq else AutoModelForCausalLM

    @abstractmethod
    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        """Return the tokenizer; train it on `corpora` if the model has none."""

    @abstractmethod
    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        """Return the model with its initial weights, in evaluation mode.

        `seed` is used for random initialisation.
        """

    def load(
        self, folder: Path, attention: str, dtype: torch.dtype = torch.float32
    ) -> PreTrainedModel:
        """Load a model of this architecture that `save_pretrained` wrote, in evaluation mode.

        Args:
            folder: the saved model.
            attention: `attn_implementation` of transformers.
            dtype: dtype of the weights.
        """
        return self.auto.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation=attention_argument(attention),
            trust_remote_code=self.trust_remote_code,
        ).eval()

    def log_attention(self, model: PreTrainedModel) -> None:
        """Log if a model has another attention kernel than was asked for."""
        used = model.config._attn_implementation
        if used is not None and used != self.attention:
            log.info(
                "%s has no %s attention: %s is used", type(model).__name__, self.attention, used
            )

    def for_unlearning(self, model: PreTrainedModel) -> PreTrainedModel:
        """Prepare the model at θ0 for gradient steps."""
        if self.adapter is not None:
            add_lora(model, self.lora or {})
        return model

    @abstractmethod
    def key(self) -> dict[str, object]:
        """Return the part of the store key that determines the weights of `build`."""

    def skeleton(self, vocab_size: int | None) -> PreTrainedModel | None:
        """Build the model on the meta device; None if that needs a download.

        vocab_size: the tokenizer's; None if it has not been trained yet.
        """
        return None

    def parameters(self, vocab_size: int | None) -> int | None:
        """Return the number of parameters; None if unknown. vocab_size: as in `skeleton`."""
        if self.n_parameters is not None:
            return self.n_parameters
        model = self.skeleton(vocab_size)
        return None if model is None else int(model.num_parameters())
