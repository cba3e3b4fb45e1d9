"""Anytime attribution within a time budget: rounds on growing samples.

A round runs the method on about T tokens of every corpus and test subset. Blocks have at most T / 8
tokens: 128 from T = 1,024, 256 from 4,096, and the model's own block size from 16,384. Each round
doubles T and includes the texts of the round before; the last one reads the whole sample. The
parts of every round are kept in the store, so an interrupted command resumes.

The duration of the first round is estimated from the model's measured FLOP/s, that of the others
from the rounds before. A round starts if it is expected to fit the remaining time and is stopped at
the deadline. The result is that of the last completed round.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from untrac_exp.data.encoding import Encoded
from untrac_exp.data.portions import portion
from untrac_exp.methods.base import Influences, Method, Subject, Subset
from untrac_exp.methods.common.deadline import OutOfTimeError, until
from untrac_exp.methods.common.rate import SLOWEST, flops, measure_model, work_of
from untrac_exp.runtime import processes
from untrac_exp.runtime.cost import Meter
from untrac_exp.runtime.progress import duration

_SMALLEST = 128
_TEXTS, _SHORTEST = 8, 16
"""Texts of each dataset in a small round, and the smallest block size in tokens."""
_BLOCKS = ((4096, 128), (16384, 256))
"""(tokens of a round, largest block size below that)."""
_FIRST = 1 / 8
"""Share of the remaining time that the first round may take."""
_HOPELESS = 3
"""If there is no answer yet, a round is tried even if it is expected to take up to this many times
the remaining time, since its parts are kept."""
_GRACE = 0.04
"""Share of the budget by which a round may exceed its deadline."""
_PROBED, _ENOUGH = 8, 4096
"""For `Probing` methods: tokens of a test subset per token that the model reads, and the largest
number that the model reads."""
_PROBED_FIRST = (256, 512)
"""For `Probing` methods: range of the tokens that the model reads in the first round."""


@runtime_checkable
class Probing(Protocol):
    """A method that needs only the model's loss on a sample of each test subset."""

    def probing(self, tokens: int) -> Method:
        """Return the method with this many tokens of each test subset read by the model."""


class TooLittleTimeError(Exception):
    """The smallest round does not fit the budget."""


@dataclass(frozen=True)
class Round:
    """One run of a method on a sample.

    Attributes:
        tokens: per dataset.
        width: block size in tokens.
        whole: whether the whole sample is read.
        places: indices (n,) of the examples read, by dataset; empty if `whole`.
        size: quantity that the duration is assumed to be linear in.
        flops: of the model's passes.
        reads: description for the log.
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
    """A completed round. seconds: its duration, including parts computed by earlier commands."""

    round: Round
    answer: Influences
    seconds: float


class Board:
    """Callbacks for each round, which do nothing here; `report.live` has displays.

    Times are in seconds; left_s is the remaining time.
    """

    def on_round_start(self, one: Round, expected_s: float, left_s: float) -> None:
        """Called before a round."""

    def on_round_end(self, done: Sequence[Done], next_s: float | None, left_s: float) -> None:
        """Called after a round; next_s: expected duration of the next, None if there is none."""


@dataclass
class Refined:
    """The result of the largest completed round.

    rounds: the entry of metrics.json; None without a budget. interrupted: by the user.
    """

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
    """Run rounds of growing samples until the deadline and return the last completed one.

    Args:
        method: the attribution method.
        subject: the trained model and the whole samples. `subject.meter` adds up all rounds.
        budget: seconds for the whole command.
        end: deadline of this method, in seconds since the epoch.
        board: callbacks for each round.
        must: run the smallest round even if it is not expected to fit.

    Raises:
        TooLittleTimeError: no round fits.
        KeyboardInterrupt: interrupted before a round was complete.
    """
    tokens = _sizes(method, subject)
    rate = SLOWEST  # not measured if the whole sample is cheap even at this rate
    if _round(method, subject, tokens, tokens).flops > _FIRST * (end - time.time()) * rate:
        rate = measure_model(subject.model)
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
            board.on_round_start(current, expected, end - time.time())
            with until(end + _GRACE * budget if done or not must else None):
                done.append(_run(current, subject.meter))
            if not current.whole:
                following = _round(method, subject, 2 * current.tokens, tokens)
                expected = _expected(done, following)
            left = end - time.time()
            board.on_round_end(done, None if following is None else expected, left)
            if following is not None and processes.broadcast(expected > left):
                break
    except OutOfTimeError:
        if not done:
            raise TooLittleTimeError("the time ran out during the first round") from None
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
        said = f"{how}: the scores are from {best.round.reads}{more}"
        answer = replace(answer, warnings=[*answer.warnings, said])
    return Refined(answer, best.round.places, rounds, stopped)


def _sizes(method: Method, subject: Subject) -> int:
    """Return the number of tokens at which a round reads the whole sample."""
    tests = max(data.read for data in subject.subsets.values())
    if isinstance(method, Probing):
        return max(min(tests, _ENOUGH), -(-tests // _PROBED))
    return max(tests, *(data.read for data in subject.corpora.values()))


def _first(method: Method, subject: Subject, all_tokens: int, most: float) -> Round:
    """Return the largest round of at most `most` FLOPs, or the smallest round if none fits."""
    probed = isinstance(method, Probing)
    found = _round(method, subject, _PROBED_FIRST[0] if probed else _SMALLEST, all_tokens)
    while not found.whole:
        larger = _round(method, subject, 2 * found.tokens, all_tokens)
        if larger.flops > most or (probed and larger.tokens > _PROBED_FIRST[1]):
            break
        found = larger
    return found


def _round(method: Method, subject: Subject, tokens: int, all_tokens: int) -> Round:
    """Build the round with this many tokens of each dataset."""
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
    answer = replace(one.method.influences(subject), relative_error=one.method.relative_error)
    if not one.whole:
        answer = replace(answer, partial=True)
    meter.stop()
    total.add(meter)
    return Done(one, answer, meter.wall_s)


def _expected(done: Sequence[Done], following: Round) -> float:
    """Extrapolate the seconds of a round linearly from the last two.

    The estimate is at most proportional to `Round.size` and at least half of that.
    """
    last = done[-1]
    most = last.seconds * following.size / last.round.size
    if len(done) < 2:
        return most
    more = last.round.size - done[-2].round.size
    slope = (last.seconds - done[-2].seconds) / more if more else 0.0
    line = last.seconds + slope * (following.size - last.round.size)
    return min(max(line, most / 2), most)
