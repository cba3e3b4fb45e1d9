"""What the framework asks of a model: a tokenizer, and weights to start from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

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
    """A model before training on the corpora: an architecture, or someone's checkpoint."""

    block_size: int
    """Longest sequence the model is given, in tokens."""
    seq2seq: bool
    """Encoder-decoder models read the input and are scored on the target."""

    attention: str
    """`attn_implementation` of transformers."""

    @abstractmethod
    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        """The model's tokenizer; trained on `corpora` if the model brings none."""

    @abstractmethod
    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        """The model with its first weights, in evaluation mode. `seed` sets random ones."""

    def load(
        self, folder: Path, attention: str, dtype: torch.dtype = torch.float32
    ) -> PreTrainedModel:
        """A model of this architecture that `save_pretrained` left, in evaluation mode.

        attention: `attn_implementation` of transformers. dtype: of its weights.
        """
        auto = AutoModelForSeq2SeqLM if self.seq2seq else AutoModelForCausalLM
        return auto.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()

    def for_unlearning(self, model: PreTrainedModel) -> PreTrainedModel:
        """θ0 made ready for gradient steps: which of its weights train, and at what memory."""
        return model

    @abstractmethod
    def key(self) -> dict[str, object]:
        """What determines the weights `build` gives, for the store."""

    def parameters(self, vocab_size: int | None) -> int | None:
        """How many there are, without making or downloading any; None where that is unknown.

        vocab_size: of the tokenizer, None while there is none.
        """
        return None
