"""How fast this machine computes, measured: what plans and forecasts of time reckon with.

A rate is in FLOP/s of a model's forward and backward pass, where N parameters count 2 N a token
forward and 4 N a token backward, as in plans. A pass takes more than matrix products, so it is
below the hardware's figure, and of a small model far below.
"""

import time
from collections.abc import Callable

import torch
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from untrac_exp.methods.base import Method, Subject, Tokens, Work
from untrac_exp.models.loss import mean_loss
from untrac_exp.models.pretrained import Pretrained, context
from untrac_exp.models.source import ModelSource
from untrac_exp.progress import duration
from untrac_exp.report.plan import LONG_S
from untrac_exp.stages.trainer import TrainerSettings

SHORTER = (
    "fewer texts (n_tokens_per_corpus, n_per_corpus), shorter ones (model.block_size) or another "
    "method take less"
)
"""What makes a run take less time."""

_ELSEWHERE = 5e13
"""FLOP/s of a device that is not here."""
_ENOUGH_S = 0.4
"""A pass that takes as long is timed."""
_LONG_S = 1.5
"""A first pass that takes as long is timed, too."""
_MOST_TOKENS = 2048
_WIDTH = 32
"""Tokens of a sequence, where the model can read as many."""
_LARGEST = 600_000_000
"""Parameters beyond which a plan times matrix products and not the model."""

SLOWEST = 1e9
"""FLOP/s that any machine has: what is short at this rate is not worth a measurement."""

_known: dict[str, float] = {}


def flops(tokens: Tokens, parameters: int) -> float:
    """2 N a token forward and 4 N a token backward."""
    return 2.0 * parameters * tokens.forward + 4.0 * parameters * tokens.backward


def work_of(subject: Subject) -> Work:
    """The sizes of what a method is given."""
    return Work(subject.corpora, subject.subsets, len(subject.checkpoints), subject.seed)


def forecast(method: Method, subject: Subject) -> str | None:
    """That a method will take over ten minutes, and what would shorten it; None where it will not.

    Parts that the store has are counted too.
    """
    tokens = method.tokens(work_of(subject))
    if tokens is None:
        return None
    cost = flops(tokens, subject.model.num_parameters())
    if cost / SLOWEST < LONG_S or cost / (rate := of_model(subject.model)) < LONG_S:
        return None
    return f"about {duration(cost / rate)} at {rate:.2g} FLOP/s, measured here; {SHORTER}"


def of_model(model: PreTrainedModel) -> float:
    """FLOP/s of this model where it is, measured in about a second, once a process.

    The weights are left as they are; gradients are gone.
    """
    key = f"{model.config.to_json_string()} {model.device} {model.dtype} {torch.get_num_threads()}"
    if key not in _known:
        _known[key] = _measured(model)
    return _known[key]


def of_source(
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase | None,
    parameters: int | None,
    device: torch.device,
) -> float | None:
    """FLOP/s of the model that `source` gives, on `device`, with no weights read or downloaded.

    parameters: of the model. None where the size is not known.
    """
    if parameters is None:
        return None
    if parameters <= _LARGEST and (model := _skeleton(source, tokenizer)) is not None:
        model = model.to_empty(device=device)
        with torch.no_grad():  # what was not written may hold numbers that are slow to multiply
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.zero_()
        return of_model(model)
    key = f"products on {device}"
    if key not in _known:
        _known[key] = _products(device)
    return _known[key]


def reckoned(
    cfg: DictConfig,
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase | None,
    parameters: int | None,
) -> tuple[float, bool]:
    """FLOP/s that a plan reckons with, and whether they were measured."""
    if cfg.plan_flops_per_s is not None:
        return cfg.plan_flops_per_s, False
    settings: TrainerSettings = instantiate(cfg.trainer)
    try:
        device = settings.device
    except MisconfigurationException:  # it is not here
        return _ELSEWHERE, False
    rate = of_source(source, tokenizer, parameters, device)
    return (_ELSEWHERE, False) if rate is None else (rate, True)


def _skeleton(
    source: ModelSource, tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedModel | None:
    """The model without its weights; None where its configuration is not on this machine."""
    with torch.device("meta"):
        if not isinstance(source, Pretrained):
            return None if tokenizer is None else source.build(tokenizer, 0)
        auto = AutoModelForSeq2SeqLM if source.seq2seq else AutoModelForCausalLM
        try:
            config = AutoConfig.from_pretrained(
                source.path,
                local_files_only=True,
                revision=source.revision,
                trust_remote_code=source.trust_remote_code,
            )
        except (OSError, ValueError):
            return None
        return auto.from_config(config, dtype=getattr(torch, source.dtype)).eval()


def _measured(model: PreTrainedModel) -> float:
    size = model.get_input_embeddings().num_embeddings
    width = context(model.config, _WIDTH)

    def passes(tokens: int) -> None:
        ids = torch.arange(tokens).view(-1, width) % size
        inputs = {"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)}
        mean_loss(model, inputs).backward()
        model.zero_grad(set_to_none=True)

    with torch.enable_grad():
        seconds, tokens = _timed(passes, width, model.device)
    return 6 * model.num_parameters() * tokens / seconds


def _products(device: torch.device) -> float:
    weights = torch.zeros(2048, 2048, device=device)

    def multiply(tokens: int) -> None:
        for _ in range(3):
            torch.zeros(tokens, 2048, device=device) @ weights

    seconds, tokens = _timed(multiply, _WIDTH, device)
    return 3 * 2 * weights.numel() * tokens / seconds


def _timed(work: Callable[[int], None], tokens: int, device: torch.device) -> tuple[float, int]:
    """Seconds of `work` on so many tokens, four times as many until it takes long enough.

    The first time, which sets things up, counts only where it takes long all the same.
    """
    enough = _LONG_S
    while True:
        start = time.monotonic()
        work(tokens)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.monotonic() - start
        if seconds >= enough or tokens >= _MOST_TOKENS:
            return max(seconds, 1e-9), tokens
        tokens, enough = tokens if enough == _LONG_S else 4 * tokens, _ENOUGH_S
