"""Interface of model sources: a tokenizer and initial weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from untrac_exp.data.base import Corpus
from untrac_exp.store import Store


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
            attn_implementation=attention,
            trust_remote_code=self.trust_remote_code,
        ).eval()

    def for_unlearning(self, model: PreTrainedModel) -> PreTrainedModel:
        """Prepare the model at θ0 for gradient steps: adapter and activation checkpointing."""
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
