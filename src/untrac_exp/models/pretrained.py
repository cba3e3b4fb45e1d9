"""A pretrained checkpoint, causal or encoder-decoder, from a folder or the hub."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from untrac_exp.data.base import Corpus
from untrac_exp.data.remedies import answers, remedy_of
from untrac_exp.models.checks import LONGEST, check_block_size, check_causal, context
from untrac_exp.models.source import ModelSource, attention_argument
from untrac_exp.store import Store

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json")
_BUFFERS = re.compile(r"(inv_freq|position_ids|masked_bias|\.(attn|attention)\.bias)$")
"""Names of tensors that older versions saved and that hold no weights."""

_FAMILIES = {
    False: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    True: MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
}
"""Families of models that transformers has, by `seq2seq`."""
_OTHER = "give a decoder, such as GPT-2, or an encoder-decoder, such as T5"
_NOT_FOUND = "not found; give a folder, or the id of a model on the hub"
_NO_TOKENIZER = "it has no tokenizer; save the model's tokenizer there with save_pretrained"
_OFFLINE = "the hub cannot be reached; connect, or give a folder with the checkpoint"
_REMEDIES = {
    ("JSONDecodeError", "AttributeError", "KeyError", "TypeError"): "one of its files is not what "
    "was saved ({text}); copy or save them again",
    ("ignore_mismatched_sizes",): "its weights have other shapes than its config.json says; give "
    "both of the same checkpoint",
    ("attn_implementation", "FlashAttention"): "{text}; set model.attention=sdpa or eager",
    ("GatedRepoError", "gated repo"): "it is gated; accept its terms at "
    "https://huggingface.co/{path} and set HF_TOKEN",
    ("RepositoryNotFoundError", "not a local folder"): _NOT_FOUND,
    ("safetensors",): "it has no safetensors; convert it, or allow .bin files, which are read "
    "without running code, by model.safetensors_only=false",
    ("trust_remote_code",): "it needs its own code; read it, then allow it: "
    "model.trust_remote_code=true",
    ("SafetensorError",): "its weights cannot be read ({text}); copy or save them again",
    ("backend tokenizer",): _NO_TOKENIZER,
    ("connect", "Connect"): _OFFLINE,
}
"""What is wrong and its remedy, by names of an error's classes or words of its text."""


@dataclass(frozen=True)
class Pretrained(ModelSource):
    """Weights, configuration and tokenizer of `path`, at `revision` if it is a hub id.

    block_size: None is the checkpoint's context, but at most 512 tokens. seq2seq: None is the
    checkpoint's type. If its configuration cannot be read, they are 512 tokens and a causal model,
    and loading the tokenizer or weights raises the error. end_of_input: end an encoder's input with
    the end-of-text token. safetensors_only: reject other formats;
    if false, .bin files are read with `weights_only`, so no code in them runs. trust_remote_code:
    run the model's own code. adapter: "lora" trains only an adapter's weights (needs peft); lora:
    arguments of `peft.LoraConfig`. n_parameters: parameter count that `plan=true` uses if the
    checkpoint is not on this machine.
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
    n_parameters: int | None = None
    end_of_input: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.path.expanduser(self.path))
        if self.dtype not in ("float32", "bfloat16", "float16", "float64"):
            raise ValueError(f"model.dtype='{self.dtype}' is unknown; use float32 or bfloat16")
        if self.block_size is None or self.seq2seq is None:
            defaults = {"block_size": LONGEST, "seq2seq": False}
            with suppress(Exception), self._explained():
                config = AutoConfig.from_pretrained(self.path, **self._where)
                defaults = {"block_size": context(config), "seq2seq": config.is_encoder_decoder}
            for name, value in defaults.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)

    def tokenizer(self, corpora: Sequence[Corpus], store: Store) -> PreTrainedTokenizerBase:
        with self._explained():
            tokenizer = AutoTokenizer.from_pretrained(self.path, **self._where)
        words = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
        if len(words) < 2:  # transformers creates an empty one if there are no tokenizer files
            raise ValueError(f"model.path='{self.path}': {_NO_TOKENIZER}")
        return tokenizer

    def build(self, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
        with self._explained():
            model, info = self.auto.from_pretrained(
                self.path,
                dtype=getattr(torch, self.dtype),
                attn_implementation=attention_argument(self.attention),
                use_safetensors=True if self.safetensors_only else None,
                output_loading_info=True,
                **self._where,
            )
            check_causal(model.eval())
        unexpected = [key for key in info["unexpected_keys"] if not _BUFFERS.search(key)]
        for keys, fault in ((info["missing_keys"], "missing"), (unexpected, "not its own")):
            if keys:
                raise self._error(
                    f"{len(keys)} weights of a language model are {fault}, such as {min(keys)}; "
                    "give a checkpoint saved with its output layer, and its own config.json"
                )
        check_block_size(model, self)
        self.log_attention(model)
        return model

    def key(self) -> dict[str, object]:
        folder = Path(self.path)
        if folder.is_dir():
            own_code = ["*.py"] if self.trust_remote_code else []
            globs = ("config.json", *_WEIGHTS, *own_code)
            files = sorted(file for glob in globs for file in folder.glob(glob))
            weights = _content(tuple((f.absolute(), f.stat().st_mtime_ns) for f in files))
        else:
            with self._explained():
                commit = AutoConfig.from_pretrained(self.path, **self._where)._commit_hash
            weights = f"{self.path}@{commit or self.revision}"
        trust = {"trust_remote_code": True} if self.trust_remote_code else {}
        return {"weights": weights, "seq2seq": self.seq2seq, "dtype": self.dtype, **trust}

    def skeleton(self, vocab_size: int | None) -> PreTrainedModel | None:
        try:
            config = AutoConfig.from_pretrained(self.path, local_files_only=True, **self._where)
        except (OSError, ValueError):
            return None
        with torch.device("meta"):
            model = self.auto.from_config(config, dtype=getattr(torch, self.dtype)).eval()
        # transformers 5 ties the output layer of a T5 1.1 that is built from its configuration, and
        # saves that it is tied
        saved, _ = PreTrainedConfig.get_config_dict(self.path, local_files_only=True, **self._where)
        if not (
            saved.get("tie_word_embeddings", True) and saved.get("scale_decoder_outputs", True)
        ):
            head = model.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
        return model

    @property
    def _where(self) -> dict[str, object]:
        return {"revision": self.revision, "trust_remote_code": self.trust_remote_code}

    def _fault(self) -> str | None:
        """Return why `path` is no checkpoint of a model that can be changed; None if it may be."""
        folder = Path(self.path)
        config = folder / "config.json"
        if not config.exists() and (folder.suffix == ".gguf" or any(folder.glob("*.gguf"))):
            return (
                "it is a GGUF file, which is for inference only; give the checkpoint it was "
                "converted from, in safetensors"
            )
        if folder.is_file():
            return "it is a file; give the folder that contains it and config.json"
        if not folder.is_dir():
            if not _HUB_ID.fullmatch(self.path):
                return _NOT_FOUND
            if try_to_load_from_cache(self.path, "config.json") is None and not answers(self.path):
                return _OFFLINE
        elif (folder / "adapter_config.json").exists() and not config.exists():
            return (
                "it is a PEFT adapter without its base; load both, merge_and_unload(), "
                "save_pretrained, and give that folder"
            )
        elif not config.exists():
            return "it has no config.json; give a folder written by save_pretrained"
        for index in folder.glob("*.index.json"):
            files = set(json.loads(index.read_bytes())["weight_map"].values())
            if missing := sorted(file for file in files if not (folder / file).exists()):
                return f"{missing[0]} is missing, one of {len(files)} files of weights; copy it"
        saved, _ = PreTrainedConfig.get_config_dict(self.path, revision=self.revision)
        if quantised := saved.get("quantization_config"):
            return (
                f"it is quantised ({quantised.get('quant_method', 'to few bits')}), so its weights "
                "cannot be changed; give the checkpoint it was made from"
            )
        family = saved.get("model_type")
        kinds = [kind for kind, names in _FAMILIES.items() if family in names]
        is_known = family in CONFIG_MAPPING_NAMES and "auto_map" not in saved  # of own code
        if is_known and self.seq2seq not in (None, *kinds):
            kind = "an encoder-decoder" if self.seq2seq else "a causal language"
            other = f"set model.seq2seq={str(kinds[0]).lower()}" if kinds else _OTHER
            return f"{family} is not {kind} model; {other}"
        return None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of transformers into a one-line `ValueError` that names the key."""
        try:
            fault = self._fault()
            if fault is None:
                yield
        except Exception as error:  # also of transformers' own code, which trusts the files
            remedy = remedy_of(error, _REMEDIES, path=self.path)
            raise self._error(remedy or " ".join(str(error).split())) from error
        if fault is not None:
            raise self._error(fault)

    def _error(self, fault: str) -> ValueError:
        return ValueError(f"model.path='{self.path}': {fault}")


@cache
def _content(files: tuple[tuple[Path, int], ...]) -> str:
    """Return the sha256 of files and their names, cached by (path, mtime_ns)."""
    digest = hashlib.sha256()
    for file, _ in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
