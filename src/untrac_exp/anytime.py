"""An answer within a time, better the more there is: rounds of growing samples.

A round is an ordinary run of the method on about as many tokens of every corpus and of every test
subset, in blocks of at most an eighth of them: of 128 tokens from 1,024 on, 256 from 4,096 and the
model's own from 16,384. Each round has twice the tokens of the last, whose texts are among its own,
and the last one reads all. The parts of every round are in the store, so a killed command goes on.

How long the first round takes is reckoned from the model's measured rate, and the others from the
round before. A round is begun if it fits the time that is left, and given up if it does not end by
then; the answer is that of the last whole round.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from untrac_exp import processes
from untrac_exp.cost import Meter
from untrac_exp.data.encoding import Encoded
from untrac_exp.data.portions import portion
from untrac_exp.deadline import OutOfTimeError, until
from untrac_exp.methods.base import Influences, Method, Subject, Subset
from untrac_exp.progress import duration
from untrac_exp.ranking import widen
from untrac_exp.rate import SLOWEST, flops, of_model, work_of

_SMALLEST = 128
_TEXTS, _SHORTEST = 8, 16
"""Of a small round: texts of each dataset, whose blocks have no fewer tokens."""
_BLOCKS = ((4096, 128), (16384, 256))
"""Tokens below which blocks are cut to so many."""
_FIRST = 1 / 8
"""Of the time, what the first round may take."""
_HOPELESS = 3
"""Times the time that is left, what a round may be expected to take and is tried all the same where
there would be no answer: its parts are kept."""
_GRACE = 0.04
"""Of the budget, how much longer than planned a round may take before it is given up."""
_PROBED, _ENOUGH = 8, 4096
"""Of a method that takes of the model its loss alone: tokens of a test subset for each that the
model reads, and how many of these suffice."""
_PROBED_FIRST = (256, 512)
"""Such tokens of the first round: no fewer, for they set the strength of the answer, and no more,
for what the method does beside the model is not reckoned."""


@runtime_checkable
class Probing(Protocol):
    """A method that takes of the model its loss alone, for which a probe of the texts will do."""

    def probing(self, tokens: int) -> Method:
        """The method that reads so many tokens of each test subset."""


class TooLittleTimeError(Exception):
    """Not even the smallest round fits."""


@dataclass(frozen=True)
class Round:
    """One run. tokens: of each dataset. places: which examples of each were read, where not all.

    size: what its cost grows with. flops: of the model. reads: in words.
    """

    method: Method
    subject: Subject
    tokens: int
    width: int
    whole: bool
    places: Mapping[Subset | str, Tensor]
    size: float
    flops: float
    reads: str

    def as_dict(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "block_size": self.width, "whole": self.whole}


@dataclass(frozen=True)
class Done:
    """A round and its answer. seconds: what it took, on whatever run."""

    round: Round
    answer: Influences
    seconds: float


class Board:
    """Is told of every round; shows nothing. `untrac_exp.report.live` has one that does."""

    def begins(self, one: Round, expected_s: float, left_s: float) -> None:
        """Before a round."""

    def ended(self, done: Sequence[Done], next_s: float | None, left_s: float) -> None:
        """After it; next_s: what the next is expected to take, None if there is none."""


@dataclass
class Refined:
    """The best answer. rounds: as in metrics.json. interrupted: by a person."""

    answer: Influences
    places: Mapping[Subset | str, Tensor] = field(default_factory=dict)
    rounds: dict[str, Any] | None = None
    interrupted: bool = False


def refine(
    method: Method,
    subject: Subject,
    budget: float,
    end: float,
    board: Board,
    must: bool = True,
) -> Refined:
    """The answer of the largest round that fits.

    budget: seconds of the whole command; end: when this method is to be done, as `time.time`. must:
    whether the smallest round is run even if it does not fit. `subject.meter` is given what all
    rounds cost.

    Raises `TooLittleTimeError` if no round fits, and `KeyboardInterrupt` before there is an answer.
    """
    tokens = _sizes(method, subject)
    rate = SLOWEST  # of a model so small that all of it is read at once there is nothing to measure
    if _round(method, subject, tokens, tokens).flops > _FIRST * (end - time.time()) * rate:
        rate = of_model(subject.model)
    current = _first(method, subject, tokens, _FIRST * (end - time.time()) * rate)
    done: list[Done] = []
    interrupted = False
    following: Round | None = current
    expected = current.flops / rate
    if not must and expected > _HOPELESS * (end - time.time()):
        raise TooLittleTimeError(
            f"the smallest round takes about {duration(expected)}, more than is left"
        )
    try:
        while following is not None:
            current, following = following, None
            board.begins(current, expected, end - time.time())
            with until(end + _GRACE * budget if done or not must else None):
                done.append(_run(current, subject.meter))
            if not current.whole:
                following = _round(method, subject, 2 * current.tokens, tokens)
                expected = _expected(done, following)
            left = end - time.time()
            board.ended(done, None if following is None else expected, left)
            if following is not None and processes.broadcast(expected > left):
                break
    except OutOfTimeError:
        if not done:
            raise TooLittleTimeError("the time was over before its first round was") from None
        following = current
    except (KeyboardInterrupt, SystemExit) as end_of_it:
        # Lightning answers Ctrl-C by sys.exit(1)
        pressed = isinstance(end_of_it.__context__, KeyboardInterrupt)
        if not done or not (isinstance(end_of_it, KeyboardInterrupt) or pressed):
            raise
        interrupted, following = True, current
    return _best(done, following, expected, budget, interrupted)


def _best(
    done: Sequence[Done], following: Round | None, expected: float, budget: float, stopped: bool
) -> Refined:
    best = done[-1]
    unread = None if best.round.whole else following
    rounds = {
        "budget_s": budget,
        "answer": len(done),
        "done": [{**one.round.as_dict(), "seconds": one.seconds} for one in done],
        "next": None if unread is None else {**unread.as_dict(), "seconds": expected},
        "ended": "interrupt" if stopped else "whole" if best.round.whole else "budget",
    }
    answer = best.answer
    if not best.round.whole:
        how = "stopped by hand" if stopped else f"within budget={duration(budget)}"
        more = f"; the next round takes about {duration(expected)} more" if unread else ""
        said = f"{how}: the answer is from {best.round.reads}{more}"
        answer = replace(answer, warnings=[*answer.warnings, said])
    return Refined(answer, best.round.places, rounds, stopped)


def _sizes(method: Method, subject: Subject) -> int:
    """Tokens of a round that reads all."""
    tests = max(data.read for data in subject.subsets.values())
    if isinstance(method, Probing):
        return max(min(tests, _ENOUGH), -(-tests // _PROBED))
    return max(tests, *(data.read for data in subject.corpora.values()))


def _first(method: Method, subject: Subject, all_tokens: int, most: float) -> Round:
    """The largest round of at most so many FLOPs; the smallest if none is as small."""
    probed = isinstance(method, Probing)
    found = _round(method, subject, _PROBED_FIRST[0] if probed else _SMALLEST, all_tokens)
    while not found.whole:
        larger = _round(method, subject, 2 * found.tokens, all_tokens)
        if larger.flops > most or (probed and larger.tokens > _PROBED_FIRST[1]):
            break
        found = larger
    return found


def _round(method: Method, subject: Subject, tokens: int, all_tokens: int) -> Round:
    """The round of so many tokens of each dataset."""
    longest = max(
        max(data.input_ids.shape[1], data.labels.shape[1])
        for data in (*subject.corpora.values(), *subject.subsets.values())
    )
    limits = [width for below, width in _BLOCKS if tokens < below]
    probed = isinstance(method, Probing)
    width = longest
    if not probed:
        width = min(longest, *limits, max(_SHORTEST, tokens // _TEXTS))
    whole = tokens >= all_tokens
    reads = f"about {tokens:,} tokens of each corpus and test subset, in blocks of {width}"
    part = subject
    places: dict[Subset | str, Tensor] = {}
    if whole:
        width, reads = longest, "all of the sample"
    else:
        corpora, places = _portions(subject.corpora, tokens, width, subject.seed)
        most = _PROBED * tokens if probed else tokens
        subsets, of_tests = _portions(subject.subsets, most, width, subject.seed)
        part = replace(subject, corpora=corpora, subsets=subsets)
        places |= of_tests
    if isinstance(method, Probing):
        method = method.probing(min(tokens, _ENOUGH))
        if not whole:
            reads = (
                f"the sample of each corpus and about {_PROBED * tokens:,} tokens of each test "
                f"subset, {min(tokens, _ENOUGH):,} of which the model reads"
            )
    sizes = work_of(part)
    read = method.tokens(sizes)
    parameters = subject.model.num_parameters()
    cost = 6.0 * parameters * sizes.once if read is None else flops(read, parameters)
    size = float(min(tokens, all_tokens)) if probed else cost
    return Round(method, part, tokens, width, whole, places, size, cost, reads)


def _portions(
    datasets: Mapping[Any, Encoded], tokens: int, width: int, seed: int
) -> tuple[dict[Any, Encoded], dict[Subset | str, Tensor]]:
    found = {name: portion(data, tokens, width, seed) for name, data in datasets.items()}
    return {name: data for name, (data, _) in found.items()}, {
        name: rows for name, (_, rows) in found.items()
    }


def _run(one: Round, total: Meter) -> Done:
    meter = Meter()
    subject = replace(one.subject, meter=meter, references={})
    answer = replace(one.method.influences(subject), missed=one.method.missed)
    if not one.whole:
        answer = replace(answer, scores=widen(answer.scores, answer.missed), partial=True)
    meter.stop()
    total.add(meter)
    return Done(one, answer, meter.wall_s)


def _expected(done: Sequence[Done], following: Round) -> float:
    """Seconds of a round by those of the last two: at most in proportion, at least half of that."""
    last = done[-1]
    most = last.seconds * following.size / last.round.size
    if len(done) < 2:
        return most
    more = last.round.size - done[-2].round.size
    slope = (last.seconds - done[-2].seconds) / more if more else 0.0
    line = last.seconds + slope * (following.size - last.round.size)
    return min(max(line, most / 2), most)
