"""Measured FLOP/s of this machine, for plans and estimates of time.

The rate is that of a model's forward and backward pass, counting 2 N FLOPs per token forward and
4 N backward for N parameters, as plans do. It is below the hardware's peak, and far below it for a
small model.
"""

import time
from collections.abc import Callable

import torch
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from untrac_exp.methods.base import Method, Subject, Tokens, Work
from untrac_exp.models.loss import mean_loss
from untrac_exp.models.pretrained import Pretrained, context
from untrac_exp.models.source import ModelSource
from untrac_exp.runtime.progress import duration
from untrac_exp.stages.trainer import TrainerSettings

LONG_S = 600
"""Seconds after which a run counts as long."""

SHORTER = (
    "fewer texts (n_tokens_per_corpus, n_per_corpus), shorter ones (model.block_size) or another "
    "method take less"
)
"""Advice in warnings about long runs."""

_ABSENT_DEVICE = 5e13
"""FLOP/s assumed for a device that is not present."""
_MIN_PASS_S = 0.4
"""Shortest pass, in seconds, that counts as a measurement."""
_MIN_FIRST_PASS_S = 1.5
"""The same for the first pass, which includes warm-up."""
_MAX_TOKENS = 2048
"""Maximum number of tokens of a timed pass."""
_WIDTH = 32
"""Tokens of a sequence, if the model's context allows."""
_MAX_PARAMETERS = 600_000_000
"""Number of parameters above which a plan times matrix products instead of the model."""

SLOWEST = 1e9
"""FLOP/s that every machine reaches; work that is short at this rate needs no measurement."""

_known: dict[str, float] = {}


def flops(tokens: Tokens, parameters: int) -> float:
    """Return 2 N FLOPs per token forward and 4 N per token backward, for N parameters."""
    return 2.0 * parameters * tokens.forward + 4.0 * parameters * tokens.backward


def work_of(subject: Subject) -> Work:
    """Return the sizes of a subject's data."""
    return Work(subject.corpora, subject.subsets, len(subject.checkpoints), subject.seed)


def forecast(method: Method, subject: Subject) -> str | None:
    """Return a warning if a method is expected to take over ten minutes, else None.

    The estimate includes parts that are in the store already.
    """
    tokens = method.tokens(work_of(subject))
    if tokens is None:
        return None
    cost = flops(tokens, subject.model.num_parameters())
    if cost / SLOWEST < LONG_S or cost / (rate := measure_model(subject.model)) < LONG_S:
        return None
    return f"about {duration(cost / rate)} at {rate:.2g} FLOP/s, measured here; {SHORTER}"


def measure_model(model: PreTrainedModel) -> float:
    """Measure a model's FLOP/s on its device, in about a second, once per process.

    Weights are unchanged; gradients are cleared.
    """
    key = f"{model.config.to_json_string()} {model.device} {model.dtype} {torch.get_num_threads()}"
    if key not in _known:
        _known[key] = _measured(model)
    return _known[key]


def plan_rate(
    cfg: DictConfig,
    source: ModelSource,
    tokenizer: PreTrainedTokenizerBase | None,
    parameters: int | None,
) -> tuple[float, bool]:
    """Return the FLOP/s that a plan assumes, and whether they were measured.

    They are measured without loading the model's weights. parameters: number of the model's
    parameters, None if unknown.
    """
    if cfg.plan_flops_per_s is not None:
        return cfg.plan_flops_per_s, False
    settings: TrainerSettings = instantiate(cfg.trainer)
    try:
        device = settings.device
    except MisconfigurationException:  # the device is not present
        return _ABSENT_DEVICE, False
    if parameters is None:
        return _ABSENT_DEVICE, False
    if parameters <= _MAX_PARAMETERS and (model := _skeleton(source, tokenizer)) is not None:
        model = model.to_empty(device=device)
        with torch.no_grad():  # uninitialised memory may hold subnormals, which are slow
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.zero_()
        return measure_model(model), True
    key = f"products on {device}"
    if key not in _known:
        _known[key] = _products(device)
    return _known[key], True


def _skeleton(
    source: ModelSource, tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedModel | None:
    """Build the model on the meta device; None if that needs a download."""
    if isinstance(source, Pretrained):
        return source.skeleton()
    with torch.device("meta"):
        return None if tokenizer is None else source.build(tokenizer, 0)


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
    """Time `work`, with four times as many tokens until it takes `_MIN_PASS_S`.

    The first call is a warm-up, unless it takes `_MIN_FIRST_PASS_S`. Returns (seconds, tokens).
    """
    enough = _MIN_FIRST_PASS_S
    while True:
        start = time.monotonic()
        work(tokens)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.monotonic() - start
        if seconds >= enough or tokens >= _MAX_TOKENS:
            return max(seconds, 1e-9), tokens
        tokens, enough = tokens if enough == _MIN_FIRST_PASS_S else 4 * tokens, _MIN_PASS_S
