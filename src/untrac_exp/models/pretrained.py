"""A pretrained checkpoint, causal or encoder-decoder, from a folder or the hub."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from untrac_exp.data.base import Corpus
from untrac_exp.models.adapter import add_lora, checkpoint_activations
from untrac_exp.models.source import ModelSource
from untrac_exp.store import Store

LONGEST = 512
"""Default length of a sequence in tokens, unless the model's context is shorter."""

_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")


_NO_TOKENIZER = "it has no tokenizer; save the model's tokenizer there with save_pretrained"


@dataclass(frozen=True)
class Pretrained(ModelSource):
    """Weights, configuration and tokenizer of `path`, at `revision` if it is a hub id.

    block_size: None is the checkpoint's context, but at most 512 tokens. seq2seq: None is the
    checkpoint's type. If its configuration cannot be read, they are 512 tokens and a causal model,
    and loading the tokenizer or weights raises the error. end_of_input: end an encoder's input with
    the end-of-text token. safetensors_only: reject other formats;
    if false, .bin files are read with `weights_only`, so no code in them runs. trust_remote_code:
    run the model's own code. adapter: "lora" trains only an adapter's weights (needs peft); lora:
    arguments of `peft.LoraConfig`. gradient_checkpointing: recompute activations in the backward
    pass. n_parameters: parameter count that `plan=true` uses if the checkpoint is not on this
    machine.
    """

    path: str
    block_size: int | None = None  # type: ignore[assignment]
    seq2seq: bool | None = False  # type: ignore[assignment]
    revision: str = "main"
    attention: str = "sdpa"
    dtype: str = "float32"
    safetensors_only: bool = True
    trust_remote_code: bool = False
    adapter: Literal["lora"] | None = None
    lora: Mapping[str, Any] | None = None
    gradient_checkpointing: bool = False
    n_parameters: int | None = None
    end_of_input: bool = True

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "float16", "float64"):
            raise ValueError(f"model.dtype='{self.dtype}' is unknown; use float32 or bfloat16")
        if self.block_size is None or self.seq2seq is None:
            defaults = {"block_size": LONGEST, "seq2seq": False}
            with suppress(Exception):
                config = AutoConfig.from_pretrained(self.path, **self._where)
                defaults = {"block_size": context(config), "seq2seq": config.is_encoder_decoder}
            for name, value in defaults.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)

    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        self._check()
        with self._explained():
            tokenizer = AutoTokenizer.from_pretrained(self.path, **self._where)
        words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
        if len(words) < 2:  # transformers creates an empty one if there are no tokenizer files
            raise ValueError(f"model.path='{self.path}': {_NO_TOKENIZER}")
        return tokenizer

    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        self._check()
        with self._explained():
            model, info = self.auto.from_pretrained(
                self.path,
                dtype=getattr(torch, self.dtype),
                attn_implementation=self.attention,
                use_safetensors=True if self.safetensors_only else None,
                output_loading_info=True,
                **self._where,
            )
        if missing := sorted(info["missing_keys"]):
            raise ValueError(
                f"model.path='{self.path}': {len(missing)} weights of a language model are "
                f"missing, such as {missing[0]}; give a checkpoint saved with its output layer"
            )
        check_block_size(model, self)
        return model.eval()

    def for_unlearning(self, model: PreTrainedModel) -> PreTrainedModel:
        if self.gradient_checkpointing:
            checkpoint_activations(model)
        if self.adapter is not None:
            add_lora(model, self.lora or {})
        return model

    def key(self) -> dict[str, object]:
        folder = Path(self.path)
        if folder.is_dir():
            files = sorted(f for glob in ("config.json", *_WEIGHTS) for f in folder.glob(glob))
            weights = _content(tuple((f.absolute(), f.stat().st_mtime_ns) for f in files))
        else:
            with self._explained():
                commit = AutoConfig.from_pretrained(self.path, **self._where)._commit_hash
            weights = f"{self.path}@{commit or self.revision}"
        return {"weights": weights, "seq2seq": self.seq2seq, "dtype": self.dtype}

    def skeleton(self, vocab_size: int | None) -> PreTrainedModel | None:
        try:
            config = AutoConfig.from_pretrained(self.path, local_files_only=True, **self._where)
        except (OSError, ValueError):
            return None
        with torch.device("meta"):
            model = self.auto.from_config(config, dtype=getattr(torch, self.dtype)).eval()
        # transformers 5 ties the output layer of a T5 1.1 that is built from its configuration
        saved, _ = PreTrainedConfig.get_config_dict(self.path, local_files_only=True, **self._where)
        if saved.get("tie_word_embeddings") is False:
            head = model.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
        return model

    @property
    def _where(self) -> dict[str, object]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def _check(self) -> None:
        """Raise `ValueError` if `path` is not a complete checkpoint."""
        folder = Path(self.path)
        fault = None
        if folder.suffix == ".gguf" or (folder.is_dir() and any(folder.glob("*.gguf"))):
            if not (folder / "config.json").exists():
                fault = (
                    "it is a GGUF file, which is for inference only; give the checkpoint it was "
                    "converted from, in safetensors"
                )
        elif folder.is_file():
            fault = "it is a file; give the folder that contains it and config.json"
        elif (folder / "adapter_config.json").exists() and not _has_weights(folder):
            fault = (
                "it is a PEFT adapter without its base; load both, merge_and_unload(), "
                "save_pretrained, and give that folder"
            )
        elif not folder.is_dir() and not _HUB_ID.fullmatch(self.path):
            fault = "not found; give a folder, or the id of a model on the hub"
        elif folder.is_dir() and not (folder / "config.json").exists():
            fault = "it has no config.json; give a folder written by save_pretrained"
        if fault is not None:
            raise ValueError(f"model.path='{self.path}': {fault}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of transformers into a one-line `ValueError` that names the key."""
        try:
            yield
        except (OSError, ValueError, SafetensorError) as error:
            text = " ".join(str(error).split())
            if isinstance(error.__cause__, GatedRepoError) or "gated repo" in text:
                remedy = (
                    f"it is gated; accept its terms at https://huggingface.co/{self.path} and set "
                    "HF_TOKEN"
                )
            elif (
                isinstance(error.__cause__, RepositoryNotFoundError) or "not a local folder" in text
            ):
                remedy = "not found; give a folder, or the id of a model on the hub"
            elif "safetensors" in text:
                remedy = (
                    "it has no safetensors; convert it, or allow .bin files, which are read "
                    "without running code, by model.safetensors_only=false"
                )
            elif "trust_remote_code" in text:
                remedy = (
                    "it needs its own code; read it, then allow it: model.trust_remote_code=true"
                )
            elif isinstance(error, SafetensorError):
                remedy = f"its weights cannot be read ({text}); copy or save them again"
            elif "backend tokenizer" in text:
                remedy = _NO_TOKENIZER
            elif "connect" in text.lower():
                remedy = "the hub cannot be reached; connect, or give a folder with the checkpoint"
            elif "Unrecognized configuration class" in text:
                kind = "an encoder-decoder" if self.seq2seq else "a causal language"
                remedy = f"it is not {kind} model; set model.seq2seq={not self.seq2seq}".lower()
            else:
                remedy = text
            raise ValueError(f"model.path='{self.path}': {remedy}") from error


def context(config: PreTrainedConfig, most: int = LONGEST) -> int:
    """Return the model's context length in tokens by its configuration, at most `most`."""
    config = config.get_text_config()
    lengths = [getattr(config, name, None) for name in _CONTEXT]
    return min([most, *(n for n in lengths if isinstance(n, int) and n > 1)])


def check_block_size(model: PreTrainedModel, source: ModelSource) -> None:
    """Raise `ValueError` if `block_size` exceeds the model's learned position embeddings."""
    block_size = source.block_size
    learned = any(
        isinstance(module, torch.nn.Embedding) and re.search(r"position|wpe$", name)
        for name, module in model.named_modules()
    )
    if learned and block_size > (limit := context(model.config, block_size)):
        raise ValueError(
            f"model.block_size={block_size} is more than the {limit} positions that the model has "
            f"learned; set model.block_size={limit}, or null"
        )


def _has_weights(folder: Path) -> bool:
    """Return whether a folder has a model's weights, other than an adapter's."""
    return (folder / "config.json").exists() and any(
        not file.name.startswith("adapter_")
        for pattern in _WEIGHTS
        for file in folder.glob(pattern)
    )


@cache
def _content(files: tuple[tuple[Path, int], ...]) -> str:
    """Return the sha256 of files and their names, cached by (path, mtime_ns)."""
    digest = hashlib.sha256()
    for file, _ in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
