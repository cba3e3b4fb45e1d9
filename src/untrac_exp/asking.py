"""Run an attribution method on the trained model θ0, within a time budget if there is one."""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from transformers import PreTrainedModel

from untrac_exp import processes
from untrac_exp.anytime import Refined, refine
from untrac_exp.cost import Meter, reset_peaks
from untrac_exp.data.encoding import Encoded
from untrac_exp.deadline import budget_s
from untrac_exp.inputs import Data, part_key
from untrac_exp.methods.base import Checkpoint, Influences, Method, Subject
from untrac_exp.models.weights import ALL, select_weights
from untrac_exp.progress import duration
from untrac_exp.rate import forecast
from untrac_exp.report.live import board
from untrac_exp.training import ModelSpec, Training

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 1024
"""Largest micro-batch in tokens on a CPU with a budget, so that a pass can be interrupted soon."""
_REPORT_S = 20.0
"""Seconds of the budget reserved for the report."""


def influences(method: Method, cfg: DictConfig, data: Data, meter: Meter) -> Influences:
    """Compute the influences of one method without a time budget."""
    subject = make_subject(cfg, data, data.training.model_spec(cfg.train_seed), meter)
    if (said := forecast(method, subject)) is not None:
        log.warning("%s: %s", data.training.store.method, said)
    answer = method.influences(subject)
    meter.stop()
    return replace(answer, relative_error=method.relative_error)


def run_method(
    method: Method,
    cfg: DictConfig,
    data: Data,
    meter: Meter,
    began: float | None = None,
    job: int = 0,
    of: int = 1,
) -> Refined:
    """Compute the influences of one method within `cfg.budget`, if it is set.

    Args:
        method: the attribution method.
        cfg: the job's configuration.
        data: its corpora and test subsets, as tokens.
        meter: adds up the cost.
        began: start of the command in seconds since the epoch, if a report follows; None for now.
        job: index of this job among those that share the budget. Each gets an equal part of what
            the jobs before it have left.
        of: number of those jobs.
    """
    started = time.time()
    device = data.training.trainer.device
    if (budget := budget_s(cfg.budget, device)) is None:
        return Refined(influences(method, cfg, data, meter))
    subject = make_subject(cfg, data, data.training.model_spec(cfg.train_seed), meter)
    if device.type == "cpu":  # a signal is handled only between passes
        subject = replace(subject, max_tokens=min(subject.max_tokens, _MOST_AT_ONCE))
    reserve = 0.0 if began is None else min(_REPORT_S, 0.08 * budget)
    left = processes.broadcast((began or started) + budget - reserve - time.time())
    share = duration(max(0.0, left / (of - job)))
    name = data.training.store.method
    log.info("%s: the weights are loaded; it has %s of the budget", name, share)
    with board(name, budget) as told:
        end = time.time() + left / (of - job)
        return refine(method, subject, budget, end, told, must=job == 0)


def make_subject(cfg: DictConfig, data: Data, theta0: ModelSpec, meter: Meter) -> Subject:
    """Load θ0 onto its device and sample each corpus with `cfg.seed`."""
    training = data.training
    checkpoints = theta0.checkpoints()
    reset_peaks()
    model = training.source.for_unlearning(theta0.load(training.source.attention))
    select_weights(model, cfg.method.get("weights", ALL))
    _check_vocabulary(model, [*data.subsets.values(), *training.data.values()])
    return Subject(
        model=model.to(training.trainer.device),
        corpora={
            name: tokens.sample(cfg.n_per_corpus, cfg.seed)
            for name, tokens in training.data.items()
        },
        subsets=data.subsets,
        checkpoints=[Checkpoint(path, _rate(cfg, training, path)) for path in checkpoints],
        trainer=training.trainer,
        store=training.store,
        key=part_key(cfg, training, theta0),
        further=partial(data.further, cfg.n_per_corpus, cfg.seed),
        seed=cfg.seed,
        max_tokens=training.trainer.max_tokens,
        meter=meter,
        trained_on=training.data,
    )


def _rate(cfg: DictConfig, training: Training, checkpoint: Path) -> float:
    """Return the learning rate of the step before a checkpoint, whose file is named by its step."""
    settings = training.settings
    return cfg.pretraining.optimizer.lr * settings.schedule(
        int(checkpoint.stem) - 1, settings.steps
    )


def _check_vocabulary(model: PreTrainedModel, datasets: Sequence[Encoded]) -> None:
    size = model.get_input_embeddings().num_embeddings
    largest = max(int(max(one.input_ids.max(), one.labels.max())) for one in datasets)
    if largest >= size:
        raise ValueError(
            f"the tokenizer gives token {largest} and the model knows {size} tokens; use the "
            "tokenizer that the model was trained with"
        )
