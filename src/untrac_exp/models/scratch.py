"""A transformers architecture with random weights and, by default, a newly trained tokenizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from untrac_exp.config.errors import did_you_mean
from untrac_exp.data.base import Corpus
from untrac_exp.data.fingerprint import corpus_fingerprint
from untrac_exp.models.source import ModelSource, attention_argument
from untrac_exp.store import Store
from untrac_exp.store.code import code_fingerprint

PAD, END = "<pad>", "</s>"


@dataclass(frozen=True)
class Scratch(ModelSource):
    """`architecture` (a `model_type` of transformers, such as "opt") with random weights.

    Args:
        architecture: the `model_type`.
        block_size: maximum length of a sequence in tokens, at least 2.
        vocab_size: vocabulary of a byte-level BPE tokenizer trained on the corpora, at least 258.
        pretrained_tokenizer: folder or hub id of a tokenizer to use instead.
        seq2seq: whether the architecture is an encoder-decoder.
        attention: `attn_implementation` of transformers.
        config: further arguments of the architecture's configuration.
    """

    architecture: str
    block_size: int
    vocab_size: int | None = None
    pretrained_tokenizer: str | None = None
    seq2seq: bool = False
    attention: str = "sdpa"
    config: Mapping[str, Any] = field(default_factory=dict)

    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        if self.pretrained_tokenizer is not None:
            return AutoTokenizer.from_pretrained(self.pretrained_tokenizer)
        if self.vocab_size is None or self.vocab_size < 258:
            raise ValueError(
                f"model.vocab_size={self.vocab_size} is too small: byte-level BPE needs at least "
                "258 (256 bytes, padding, end of text)"
            )
        key = {
            "vocab_size": self.vocab_size,
            "corpora": {corpus.name: corpus_fingerprint(corpus) for corpus in corpora},
            "code": code_fingerprint([__name__]),
        }
        return AutoTokenizer.from_pretrained(
            store.get("tokenizer", key, lambda out: self._train(corpora, out))
        )

    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        end = tokenizer.eos_token_id
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
        torch.manual_seed(seed)
        model = self._model(len(tokenizer), pad, end).eval()
        self.log_attention(model)
        return model

    def skeleton(self, vocab_size: int | None) -> PreTrainedModel | None:
        with torch.device("meta"):
            return self._model(vocab_size or self.vocab_size or 0, 0, 1).eval()

    def _model(self, vocab_size: int, pad: int, end: int) -> PreTrainedModel:
        special: dict[str, Any] = {"pad_token_id": pad, "bos_token_id": end, "eos_token_id": end}
        if self.seq2seq:
            special["decoder_start_token_id"] = pad
        config = AutoConfig.for_model(
            self.architecture, **{"vocab_size": vocab_size, **special, **self.config}
        )
        known = type(config)()
        for name in self.config:
            if not hasattr(known, name):
                near = did_you_mean(name, known.to_dict(), "model.config.")
                raise ValueError(f"model.config.{name}: {self.architecture} has no such key{near}")
        attention = attention_argument(self.attention)
        return self.auto.from_config(config, dtype=torch.float32, attn_implementation=attention)

    def key(self) -> dict[str, object]:
        return {
            "architecture": self.architecture,
            "config": dict(self.config),
            "seq2seq": self.seq2seq,
        }

    def _train(self, corpora: Sequence[Corpus], out: Path) -> None:
        assert self.vocab_size is not None
        bpe = ByteLevelBPETokenizer()
        texts = (row.input + row.target for corpus in corpora for row in corpus.rows)
        bpe.train_from_iterator(
            texts,
            vocab_size=self.vocab_size,
            min_frequency=0,
            special_tokens=[PAD, END],
            show_progress=False,
        )
        tokenizer = Tokenizer.from_str(bpe.to_str())
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=END
        ).save_pretrained(out)
