"""Where along a lineage did a score fall, or rise: the link that most likely changed it, or, where
scores are missing, the organism to evaluate next so that few evaluations are needed.

The model is one step: up to some link all organisms score alike, from there on all score alike
again, and every link is as likely beforehand. A score errs by its standard error; where none is
known, by what the scores scatter around the two levels. The scores known so far make some links
likelier (Bayes), and the next organism to evaluate is the one on whose score these disagree most:
without noise that is plain bisection, with noise a probabilistic one (compare M. Horstein, IEEE
Transactions on Information Theory 9, 1963, where both levels are known)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from lineage import ledger, pedigree
from lineage.answers import Answer
from lineage.database import Connection
from lineage.errors import InvalidValue, NotFound
from lineage.organism import Niche, Organism, Score, known_direction
from lineage.references import resolve
from lineage.store import Store
from lineage.store import score as record

CONFIDENT = 0.95
"""The search ends when this much of the probability is on links whose ends are both measured."""

EXACT = 1e-6
"""Errors are taken to be no smaller than this part of the range of the scores, and no smaller than
a thousandth of the worst: no score is exact, and no single one outweighs all others."""

HOPELESS = 0.003
"""The search ends too when the best evaluation would tell less than this many bits: then the scores
can't tell the link from chance, as when only one organism lies behind it."""

Value = tuple[float, float | None]
"""A score and its standard error, if that is known."""


@dataclass(frozen=True, slots=True)
class Step:
    """An organism on the way, with its score or None; `verdict` is `before` or `after` for the ends
    of the link that changed it, `evaluate` for the one to evaluate next, else empty."""

    organism: Organism
    score: Score | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Bisection(Answer):
    """`chain` runs from the older organism to the younger, each with its score or None; all that
    follows are indices into it.

    When the answer is there, the score changed most between `before` and `after`: parent and child,
    unless those between them could not be evaluated. `change` is the difference and `stderr`
    its error, None where a score has none; `probability` says how sure that is under the model.
    `one_step` is False where the errors are too small for a single step to explain the scores:
    they change elsewhere too. `steepest` is the child of the single link across which the score
    changes most, in standard errors where they are known.

    Else `evaluate` is the organism to evaluate next, and `left` how many evaluations are still to
    be expected. All are None where A and B score exactly alike. `direction` says what is better,
    None when unknown."""

    _rows: ClassVar[str] = "steps"

    niche: Niche
    direction: str | None
    chain: tuple[Organism, ...]
    scores: tuple[Score | None, ...]
    before: int | None
    after: int | None
    change: float | None
    stderr: float | None
    probability: float | None
    one_step: bool
    steepest: int | None
    evaluate: int | None
    left: int

    @property
    def steps(self) -> tuple[Step, ...]:
        """The chain as rows."""
        told = {self.evaluate: "evaluate", self.before: "before", self.after: "after"}
        return tuple(
            Step(organism, score, told.get(index, ""))
            for index, (organism, score) in enumerate(zip(self.chain, self.scores, strict=True))
        )


def bisect(
    connection: Connection, ids: Sequence[int], niche: Niche, skip: Collection[int] = ()
) -> Bisection:
    """Where the score changed most along a chain of organisms. Those whose ids are in `skip`,
    ghosts and culled ones are never to be evaluated. Linear in the chain."""
    organisms = ledger.organisms(connection, ids)
    known = ledger.scores(connection, ids)
    scores = [next((one for one in known.get(own, ()) if one.niche == niche), None) for own in ids]
    values = [None if score is None else (score.value, score.stderr) for score in scores]
    out = {
        index
        for index, one in enumerate(organisms)
        if one.id in skip or one.ghost or one.status == "culled"
    }
    found = locate(values, out)
    direction = next((score.direction for score in scores if score), known_direction(niche.metric))
    change, stderr = _change(values, found.before, found.after)
    return Bisection(
        niche=niche,
        direction=direction,
        chain=tuple(organisms),
        scores=tuple(scores),
        before=found.before,
        after=found.after,
        change=change,
        stderr=stderr,
        probability=found.probability,
        one_step=found.one_step,
        steepest=_steepest(values),
        evaluate=found.evaluate,
        left=found.left,
    )


Evaluate = Callable[[Organism, int], float | tuple[float, float | None] | None]
"""Called with an organism and how many evaluations are still to be expected; gives its score, with
its standard error if that is known, or None where it cannot be evaluated."""


def search(store: Store, a: Any, b: Any, niche: Niche, evaluate: Evaluate) -> Bisection:
    """Bisect, evaluate what is asked for, record the score, and so on until the answer is there.
    Each score is recorded as soon as it is known, so that an interrupted search goes on from there.
    """
    skip: set[int] = set()
    with store.database.read() as connection:
        ids = chain(connection, resolve(connection, a), resolve(connection, b))
    while True:
        with store.database.read() as connection:  # whatever others have recorded meanwhile
            found = bisect(connection, ids, niche, skip)
        if found.evaluate is None:
            return found
        organism = found.chain[found.evaluate]
        skip.add(organism.id)  # nobody is evaluated twice
        result = evaluate(organism, found.left)
        if result is not None:
            value, stderr = result if isinstance(result, tuple) else (result, None)
            record(store, organism, Score(niche, value, stderr))


def chain(connection: Connection, a: int, b: int) -> list[int]:
    """The ids from `a` down to its descendant `b`, along the shortest chain of links. NotFound when
    `b` does not descend from `a`. Linear in the pedigrees of both."""
    _, down = pedigree.path(connection, a, b)
    if down and down[0][1] == a:
        return [a, *(child for child, _ in down)]
    one, other = ledger.organisms(connection, [a, b])
    if a == b:
        raise InvalidValue(f"{one.ref} is one organism: give an ancestor, and a descendant of it.")
    if pedigree.is_ancestor(connection, b, a):
        raise NotFound(
            f"{other.ref} does not descend from {one.ref}, but the other way round: give "
            f"{other.ref} first."
        )
    raise NotFound(
        f"{other.ref} does not descend from {one.ref}, so there is no lineage between them. "
        "`lineage path` shows whether they are related."
    )


def _change(
    values: Sequence[Value | None], before: int | None, after: int | None
) -> tuple[float | None, float | None]:
    """The difference between two scores and its standard error."""
    if before is None or after is None:
        return None, None
    one, other = values[before], values[after]
    if one is None or other is None:
        return None, None
    known = one[1] is not None and other[1] is not None
    return other[0] - one[0], math.hypot(one[1] or 0.0, other[1] or 0.0) if known else None


def _steepest(values: Sequence[Value | None]) -> int | None:
    """The child of the link with the largest change among those with both ends measured."""
    best, child = 0.0, None
    for index in range(1, len(values)):
        change, error = _change(values, index - 1, index)
        if change is not None and abs(change) / (error or 1.0) > best:
            best, child = abs(change) / (error or 1.0), index
    return child


# ---- What the values of a chain tell


@dataclass(frozen=True, slots=True)
class Found:
    """What the values of a chain tell: see Bisection."""

    before: int | None = None
    after: int | None = None
    probability: float | None = None
    one_step: bool = True
    evaluate: int | None = None
    left: int = 0


@dataclass(slots=True)
class _Stretch:
    """The links between two measured organisms that have none measured between them; `free` of
    those could be. The model tells these links apart by nothing, so they are judged together."""

    start: int
    end: int
    free: int
    probability: float = 0.0
    low: float = 0.0  # where the step is in here: the level before it, and
    high: float = 0.0  # the level after it

    @property
    def links(self) -> int:
        return self.end - self.start


def locate(values: Sequence[Value | None], skip: Collection[int] = ()) -> Found:
    """Where a chain of (value, standard error) steps, None where it was not measured; indices in
    `skip` never will be. The ends are asked for first: without them there is no step to look for.
    Linear in the length of the chain."""
    able = [i for i, value in enumerate(values) if value is not None or i not in skip]
    if len(able) < 2:
        return Found()
    unmeasured = [end for end in (able[0], able[-1]) if values[end] is None]
    if unmeasured:
        halvings = math.ceil(math.log2(len(able) - 1))
        return Found(evaluate=unmeasured[0], left=len(unmeasured) + halvings)
    points = [(i, value[0], value[1]) for i, value in enumerate(values) if value is not None]
    if len({value for _, value, _ in points}) < 2:
        return Found()
    stretches = [
        _Stretch(start, end, sum(i not in skip for i in range(start + 1, end)))
        for (start, *_), (end, *_) in pairwise(points)
    ]
    one_step, error = _judge(stretches, points)
    if sum(one.probability for one in stretches if one.free) > 1 - CONFIDENT:
        ask, variance = _telling(stretches, skip)
        # what is told by a normal variable that errs by another; without noise, a yes or a no
        bits = min(1.0, math.log2(1 + variance / error) / 2) if error else 1.0
        if bits > HOPELESS:
            spread = -sum(
                one.probability * math.log2(one.probability / one.links)
                for one in stretches
                if one.probability
            )
            left = max(1, math.ceil(spread / bits - 1e-4))
            return Found(one_step=one_step, evaluate=ask, left=min(left, len(able) - len(points)))
    return _settled(stretches, values, one_step)


def _settled(
    stretches: Sequence[_Stretch], values: Sequence[Value | None], one_step: bool
) -> Found:
    """The likeliest stretch. Where all links are measured and one step does not explain the scores,
    the model has nothing to say, and the largest single change is the answer."""
    closed = [one for one in stretches if not one.free] or stretches
    best = max(closed, key=lambda one: one.probability)
    if len(stretches) == len(values) - 1:
        errors_known = any(value is not None and value[1] for value in values)
        steepest = _steepest(values)
        doubtful = best.probability < CONFIDENT and not errors_known
        if steepest is not None and (doubtful or not one_step):
            return Found(steepest - 1, steepest, None, one_step)
    return Found(best.start, best.end, best.probability, one_step)


def _telling(stretches: Sequence[_Stretch], skip: Collection[int]) -> tuple[int, float]:
    """The organism whose score the links disagree on most: the variance of what they predict, each
    weighted by its probability; and that variance. In a stretch, with the share t of its links up
    to an organism, the first and second moments of the prediction are linear in t, and the variance
    is a parabola."""
    best, ask = -1.0, -1
    first = sum(one.probability * one.low for one in stretches)
    second = sum(one.probability * one.low**2 for one in stretches)
    for one in stretches:
        step, p = one.high - one.low, one.probability
        if one.free:
            t = ((one.low + one.high) / 2 - first) / (p * step) if p * step else 0.5
            target = one.start + min(max(t, 0.0), 1.0) * one.links
            inside = (i for i in range(one.start + 1, one.end) if i not in skip)
            index = min(inside, key=lambda i: (abs(i - target), i))
            t = (index - one.start) / one.links
            variance = second + t * p * (one.high**2 - one.low**2) - (first + t * p * step) ** 2
            if variance > best:
                best, ask = variance, index
        first += p * step
        second += p * (one.high**2 - one.low**2)
    return ask, best


def _judge(
    stretches: Sequence[_Stretch], points: Sequence[tuple[int, float, float | None]]
) -> tuple[bool, float]:
    """Set the probability that the step lies in each stretch: by its links, and by the likelihood
    of what was measured before and after it, each side around its own mean. Whether one step
    explains the scores, as far as their errors tell; and the variance that a score errs by."""
    scale = max(abs(value) for _, value, _ in points)
    values = [value / scale for _, value, _ in points]
    least = EXACT * (max(values) - min(values))
    # beyond any scale of the scores, an error says that nothing is known
    errors = [None if error is None else min(error / scale, 1e50) for _, _, error in points]
    worst = max((error for error in errors if error), default=None)
    if worst is not None:
        # a score without an error is taken to err like the worst
        floor = max(least, worst / 1000)
        known = [max(floor, worst if error is None else error) for error in errors]
    else:
        known = [1.0] * len(points)
    freedom = len(points) - 2  # two of the scores are spent on the levels
    misfits = []
    for one, split in zip(stretches, _splits(values, [1 / e**2 for e in known]), strict=True):
        misfit, one.low, one.high = split
        misfits.append(misfit)
    if worst is not None:
        logs = [-misfit / 2 for misfit in misfits]
        one_step, error = min(misfits) <= _too_much(freedom), max(floor, worst) ** 2
    else:
        # the errors are one unknown number, integrated out (Jeffreys' prior)
        logs = [-freedom / 2 * math.log(max(misfit, least**2)) for misfit in misfits]
        one_step, error = True, min(misfits) / freedom if freedom else 0.0
    top = max(logs)
    for one, log in zip(stretches, logs, strict=True):
        one.probability = one.links * math.exp(log - top)
    whole = sum(one.probability for one in stretches)
    for one in stretches:
        one.probability /= whole
    return one_step, error


def _splits(
    values: Sequence[float], weights: Sequence[float]
) -> Iterator[tuple[float, float, float]]:
    """For each split of a sequence in two: the weighted squares of all around the mean of their
    side, and the two means. All by the differences to the first value, so that no digits are lost.
    """
    shifted = [value - values[0] for value in values]
    weight = sum(weights)
    first = sum(w * x for w, x in zip(weights, shifted, strict=True))
    second = sum(w * x * x for w, x in zip(weights, shifted, strict=True))
    w_before = x_before = 0.0
    for x, w in zip(shifted[:-1], weights, strict=False):
        w_before += w
        x_before += w * x
        low, high = x_before / w_before, (first - x_before) / (weight - w_before)
        explained = w_before * low**2 + (weight - w_before) * high**2
        yield max(0.0, second - explained), low, high


def _too_much(freedom: int) -> float:
    """The 99.9th percentile of chi-squared, after E. B. Wilson and M. M. Hilferty, Proceedings of
    the National Academy of Sciences 17 (1931)."""
    if freedom < 1:
        return math.inf
    ninth = 2 / (9 * freedom)
    return float(freedom * (1 - ninth + 3.0902 * math.sqrt(ninth)) ** 3)
