"""Someone's checkpoint: a folder or a hub id, causal or encoder-decoder."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from untrac_exp.data.base import Corpus
from untrac_exp.models.source import ModelSource
from untrac_exp.store import Store


@dataclass(frozen=True)
class Pretrained(ModelSource):
    """Weights, configuration and tokenizer of `path`, at `revision` if it is a hub id.

    safetensors_only: read no other format; with false, weights that are there as .bin alone are
    read as data (`weights_only`), never as code. trust_remote_code: run the model's own code.
    n_parameters: what `plan=true` reckons with while the checkpoint is not on this machine.
    """

    path: str
    block_size: int
    seq2seq: bool = False
    revision: str = "main"
    attention: str = "sdpa"
    dtype: str = "float32"
    safetensors_only: bool = True
    trust_remote_code: bool = False
    n_parameters: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "float16", "float64"):
            raise ValueError(f"model.dtype='{self.dtype}' is unknown; use float32 or bfloat16")

    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        with self._explained():
            return AutoTokenizer.from_pretrained(self.path, **self._where)

    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        auto = AutoModelForSeq2SeqLM if self.seq2seq else AutoModelForCausalLM
        torch.manual_seed(seed)  # of weights that the checkpoint lacks
        with self._explained():
            model = auto.from_pretrained(
                self.path,
                dtype=getattr(torch, self.dtype),
                attn_implementation=self.attention,
                use_safetensors=True if self.safetensors_only else None,
                **self._where,
            )
        return model.eval()

    def key(self) -> dict[str, object]:
        folder = Path(self.path)
        if folder.is_dir():
            weights = _content(folder.absolute())
        else:
            with self._explained():
                commit = AutoConfig.from_pretrained(self.path, **self._where)._commit_hash
            weights = f"{self.path}@{commit or self.revision}"
        return {"weights": weights, "seq2seq": self.seq2seq, "dtype": self.dtype}

    def parameters(self, vocab_size: int | None) -> int | None:
        if self.n_parameters is not None:
            return self.n_parameters
        auto = AutoModelForSeq2SeqLM if self.seq2seq else AutoModelForCausalLM
        try:
            config = AutoConfig.from_pretrained(self.path, local_files_only=True, **self._where)
        except (OSError, ValueError):
            return None
        with torch.device("meta"):
            return int(auto.from_config(config).num_parameters())

    @property
    def _where(self) -> dict[str, object]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What transformers says of a checkpoint, as one line that names the key."""
        try:
            yield
        except (OSError, ValueError) as error:
            text = " ".join(str(error).split())
            if isinstance(error.__cause__, GatedRepoError) or "gated repo" in text:
                remedy = (
                    f"it is gated: accept its terms at https://huggingface.co/{self.path} and set "
                    "HF_TOKEN"
                )
            elif (
                isinstance(error.__cause__, RepositoryNotFoundError) or "not a local folder" in text
            ):
                remedy = "there is none: give a folder, or the id of a model on the hub"
            elif "safetensors" in text:
                remedy = (
                    "it has no safetensors; convert it, or allow .bin files, read as data alone, "
                    "by model.safetensors_only=false"
                )
            elif "trust_remote_code" in text:
                remedy = (
                    "it needs its own code; read it, then allow it: model.trust_remote_code=true"
                )
            elif "connect" in text.lower():
                remedy = "the hub cannot be reached; connect, or give a folder with the checkpoint"
            elif "Unrecognized configuration class" in text:
                kind = "encoder-decoder" if self.seq2seq else "causal language"
                remedy = f"it is no {kind} model; set model.seq2seq={not self.seq2seq}".lower()
            else:
                remedy = text
            raise ValueError(f"model.path='{self.path}': {remedy}") from error


@cache
def _content(folder: Path) -> str:
    """sha256 of a checkpoint's configuration and weights."""
    digest = hashlib.sha256()
    for file in sorted(
        [*folder.glob("config.json"), *folder.glob("*.safetensors"), *folder.glob("*.bin")]
    ):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
