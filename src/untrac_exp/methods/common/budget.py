"""Influences within a time budget: rounds on growing samples.

The first round reads about 512 tokens of every corpus and test subset, each further one two, four
or eight times as many, which include those before: as many as the time that is left allows, going
by that of the round before. If twice as many do not fit, there is no further round. The last one
reads the whole sample. The parts of each round are kept in the store, so an interrupted command
resumes.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from untrac_exp.methods.base import Influences, Method, Subject
from untrac_exp.methods.common.candidates import candidate_influences
from untrac_exp.methods.common.theta0 import by_testset, losses_at_theta0, weak
from untrac_exp.runtime import processes
from untrac_exp.runtime.cost import Meter
from untrac_exp.runtime.progress import duration, parse_duration

log = logging.getLogger(__name__)

_AUTO_S = 600.0
"""Seconds of `budget=auto` on a CPU."""
_FIRST = 512
"""Tokens of each dataset in the first round."""
_GROWTH = (8, 4, 2)
"""How many times as much a round may read as the one before."""


@dataclass(frozen=True)
class Round:
    """Influences that a method computed from a sample.

    Attributes:
        influences: with a warning that says how much was read, unless all was.
        cost: of this round and those before.
        rows: indices (n,) of the examples read, by dataset; empty if all were.
        is_last: whether no round follows.
        rounds: tokens of each dataset and seconds of this round and those before, which include
            parts that the store had; empty without a budget.
        theta0: θ0's loss and that of a uniform guess on each test set, nats per token.
        candidates: influences of the candidates; None if there are none.
    """

    influences: Influences
    cost: Meter
    rows: Mapping[Any, Tensor] = field(default_factory=dict)
    is_last: bool = True
    rounds: Sequence[Mapping[str, float]] = ()
    theta0: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    candidates: Influences | None = None


def budget_s(value: Any, device: torch.device) -> float | None:
    """Return the key `budget` in seconds, for a model on `device`; None for no limit."""
    if value == "auto":
        return _AUTO_S if device.type == "cpu" else None
    return None if value is None else parse_duration("budget", value)


def attribute(
    method: Method, subject: Subject, budget: float | None = None, end: float = 0.0
) -> Iterator[Round]:
    """Yield the influences of the whole sample, or of growing samples within a budget.

    Args:
        method: the attribution method.
        subject: the trained model and the whole samples. Its meter adds up the cost of all rounds.
        budget: in seconds; None for a single round.
        end: when the time is over, in seconds since the epoch. The first round always runs.
    """
    all_tokens = max(data.read for data in (*subject.corpora.values(), *subject.subsets.values()))
    tokens = all_tokens if budget is None else min(_FIRST, all_tokens)
    rounds: list[Mapping[str, float]] = []
    is_last = False
    while not is_last:
        whole = tokens == all_tokens
        rows = {} if whole else _draw(subject, tokens)
        meter = Meter()
        selected = replace(_select(subject, rows), meter=meter)
        # not a cost of the method
        theta0 = by_testset(losses_at_theta0(replace(selected, meter=Meter())), selected)
        influences = method.influences(selected)
        candidates = candidate_influences(method, selected)
        meter.stop()
        subject.meter.add(meter)
        warnings = [*weak(theta0), *influences.warnings]
        influences = replace(influences, warnings=warnings)
        left = end - time.time()
        fits = [times for times in _GROWTH if times * meter.wall_s <= left]
        times = processes.broadcast(fits[0] if fits else 1)
        is_last = whole or times == 1
        next_s = max(2, times) * meter.wall_s
        if budget is not None:
            rounds.append({"tokens": tokens, "seconds": meter.wall_s})
        if budget is not None and not whole:
            text = (
                f"within budget={duration(budget)}: the scores are from about {tokens:,} tokens of "
                f"each corpus and test subset; the next round takes about {duration(next_s)} more"
            )
            influences = replace(influences, partial=True, warnings=[*warnings, text])
        yield Round(influences, subject.meter, rows, is_last, tuple(rounds), theta0, candidates)
        tokens = min(times * tokens, all_tokens)


def _draw(subject: Subject, tokens: int) -> dict[Any, Tensor]:
    candidates = {name: of.sample for name, of in subject.candidates.items()}
    datasets: dict[Any, Any] = {**subject.corpora, **subject.subsets, **candidates}
    return {name: data.token_sample(tokens, subject.seed) for name, data in datasets.items()}


def _select(subject: Subject, rows: Mapping[Any, Tensor]) -> Subject:
    """Return the subject with these rows of its datasets; all if there are none."""
    if not rows:
        return subject
    return replace(
        subject,
        corpora={name: data.select(rows[name]) for name, data in subject.corpora.items()},
        subsets={name: data.select(rows[name]) for name, data in subject.subsets.items()},
        candidates={
            name: of._replace(sample=of.sample.select(rows[name]))
            for name, of in subject.candidates.items()
        },
    )


def log_round(method: str, attributed: Round) -> None:
    """Log a round and its ranking, a line per test set."""
    last = attributed.rounds[-1]
    log.info(
        "%s: round %d, about %s tokens of each corpus and test subset, took %s%s",
        method, len(attributed.rounds), f"{last['tokens']:,}", duration(last["seconds"]),
        "" if attributed.is_last else "; a larger one follows, Ctrl-C keeps this ranking",
    )  # fmt: skip
    for testset, scores in attributed.influences.scores.groupby("testset", sort=False):
        means = scores.groupby("corpus")["influence"].mean().sort_values(ascending=False)
        ranking = (f"{corpus} {influence:+.4f}" for corpus, influence in means.items())
        log.info("  %s: %s", testset, ", ".join(ranking))
