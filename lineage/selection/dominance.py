"""Dominance between standings in a niche, with noise: sections 2 and 3 of docs/selection.md, in
numpy and without SQL. A group is what can be compared: one niche, one unit, one kind of cost.

Two facts keep it fast. Whoever costs no more, is no less fit and no less surely measured than y
dominates all that y does, so only the few that are not outdone so (`strongest`) need be asked; and
most of the rest are decided by bounds that need no pair at all (`dominated`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FRONT, CONTESTED, OBSOLETE = 0, 1, 2

CELLS = 1 << 20
"""Pairs that are computed at once: 8 MB an array."""

# Metrics that are the share of examples of which something holds, so that n tells their error.
_SHARES = re.compile(
    r"^(eval_|test_|val_|validation_)?"
    r"(acc|accuracy|acc_norm|acc@\d+|exact_match|em|pass@1|maj@\d+|mc1|recall@\d+|win_rate|"
    r"error|error_rate)$"
)


def is_share(metric: str) -> bool:
    """Whether a value of `metric` is a share of examples: a proportion."""
    return bool(_SHARES.match(metric.lower()))


def quantile(confidence: float, comparisons: int = 1) -> float:
    """z of the normal distribution, one-sided, at `confidence` for all of `comparisons` together
    (Bonferroni)."""
    return -NormalDist().inv_cdf((1 - confidence) / max(1, comparisons))


def wilson(share: Floats, n: Floats, z: Floats) -> tuple[Floats, Floats]:
    """How far below and above a share of `n` examples the ends of its score interval lie (E. B.
    Wilson, Probable inference, the law of succession, and statistical inference, 1927). Nothing
    lies below 0 nor above 1, not even by the last digit."""
    square = z * z / n
    middle = (share + square / 2) / (1 + square)
    half = z / (1 + square) * np.sqrt(share * (1 - share) / n + square / (4 * n))
    below = np.where(share > 0, np.maximum(share - (middle - half), 0.0), 0.0)
    return below, np.where(share < 1, np.maximum(middle + half - share, 0.0), 0.0)


def reach(
    value: Floats, stderr: Floats, n: Floats, z: Floats, scale: Floats, lower: Flags
) -> tuple[Floats, Floats]:
    """How far the true fitness may lie below and above each value, turned so that higher is better
    where `lower` is. `stderr` and `n` are NaN where they are unknown; `scale` is 1 for a share, 100
    for one in percent, NaN for what is no share."""
    below = np.where(np.isnan(stderr), 0.0, z * np.nan_to_num(stderr))
    above = below.copy()
    known = ~np.isnan(n) & ~np.isnan(scale)
    share = np.where(known, value / scale, np.nan)
    known &= (share >= 0) & (share <= 1)
    if known.any():
        down, up = wilson(share[known], n[known], z[known])
        below[known] = np.maximum(below[known], down * scale[known])
        above[known] = np.maximum(above[known], up * scale[known])
    return np.where(lower, above, below), np.where(lower, below, above)


@dataclass(frozen=True, slots=True)
class Rule:
    """What a policy may set about a pair: see section 3."""

    delta: float = 0.0
    margin: float = 0.0
    duplicates: str = "keep"


@dataclass(frozen=True, slots=True)
class Standings:
    """The standings of a group in arrays of one length: the organism, its fitness (higher is
    better), how far below and above it the truth may lie, its cost, whether its files are here."""

    organism: Ints
    fit: Floats
    down: Floats
    up: Floats
    cost: Floats
    here: Flags

    def __len__(self) -> int:
        return len(self.organism)

    def take(self, rows: Ints | Flags) -> Standings:
        return Standings(
            self.organism[rows], self.fit[rows], self.down[rows], self.up[rows], self.cost[rows],
            self.here[rows],
        )  # fmt: skip


def strongest(group: Standings, rows: Ints) -> Ints:
    """Those of `rows` that are outdone by none of them in cost, fitness and sureness together,
    by cost and then by organism. Of equals the one registered first."""
    rows = _thinned(group, rows)
    order = rows[np.lexsort((
        group.organism[rows], group.down[rows], -group.fit[rows], group.cost[rows]
    ))]  # fmt: skip
    kept: list[Ints] = []
    sure, best = np.empty(0), np.empty(0)  # by `down`, the fittest up to there
    start, size = 0, 64
    while start < len(order):
        block = _beyond(group, order[start : start + size], sure, best)
        for part in range(0, len(block), BLOCK):
            piece = block[part : part + BLOCK]
            piece = _apart(group, _beyond(group, piece, sure, best) if part else piece)
            kept.append(piece)
            down = np.concatenate([sure, group.down[piece]])
            by_down = np.argsort(down, kind="stable")
            sure = down[by_down]
            best = np.maximum.accumulate(np.concatenate([best, group.fit[piece]])[by_down])
        start, size = start + size, size * 2
    found = np.concatenate(kept) if kept else rows
    return found[np.lexsort((group.organism[found], group.cost[found]))]


BLOCK = 512
"""So many rows are compared pair by pair."""


def _beyond(group: Standings, block: Ints, sure: Floats, best: Floats) -> Ints:
    """Those of a block that nobody before it outdoes."""
    if not len(sure):
        return block
    at = np.searchsorted(sure, group.down[block], "right") - 1
    return block[np.where(at >= 0, best[at], -np.inf) < group.fit[block]]


MANY, SAMPLE, PIVOTS = 4096, 1024, 32
"""From so many rows on, the strongest of a sample, at most so many, thin them out beforehand."""


def _thinned(group: Standings, rows: Ints) -> Ints:
    """The rows without most of those that are outdone: sorting is what takes long, and few need
    be sorted. Equals stay."""
    if len(rows) < MANY:
        return rows
    for y in strongest(group, rows[:: len(rows) // SAMPLE])[:PIVOTS]:
        cost, fit, down = group.cost[rows], group.fit[rows], group.down[rows]
        outdone = (cost >= group.cost[y]) & (fit <= group.fit[y]) & (down >= group.down[y])
        outdone &= (cost > group.cost[y]) | (fit < group.fit[y]) | (down > group.down[y])
        rows = rows[~outdone]
    return rows


def _apart(group: Standings, block: Ints) -> Ints:
    """Of a few rows in the order of `strongest`, those that no earlier one outdoes."""
    if len(block) < 2:
        return block
    fit, down = group.fit[block], group.down[block]
    outdone = (fit[:, None] <= fit[None, :]) & (down[:, None] >= down[None, :])
    return block[~np.tril(outdone, -1).any(axis=1)]


class Dominators:
    """Standings that others are held against, and the questions to them."""

    def __init__(self, group: Standings, rows: Ints, rule: Rule) -> None:
        self.rows = strongest(group, rows)
        self.group, self.rule = group, rule
        self.fit, self.down = group.fit[self.rows], group.down[self.rows]
        self.cost = group.cost[self.rows]
        self.exact = not self.down.any()
        self.surely = np.maximum.accumulate(self.fit - self.down)
        self.at_most = np.maximum.accumulate(self.fit)

    def dominates(self, x: Ints) -> Flags:
        """For each row of the group: whether one of these dominates it."""
        if not len(self.rows):
            return np.zeros(len(x), bool)
        fit, up = self.group.fit[x], self.group.up[x]
        cheaper, level = self._ranks(x)
        ahead = _upto(self.surely, cheaper) - (fit + up)
        even = _upto(self.surely, level) - (fit + up)
        limit = -self.rule.delta
        if self.exact and not up.any():
            return (ahead >= limit) | (even > 0)
        # what is decided by bounds must not hang on the last digit: the exact form does
        digits = 1e-12 * (np.abs(fit) + up + np.abs(self.at_most[-1]) + self.rule.delta)
        found: Flags = (ahead > limit + digits) | (even > digits)
        open_ = ~found & (_upto(self.at_most, level) - (fit + up) >= limit - digits)
        rest = np.flatnonzero(open_)
        found[rest] = self.best(x[rest]) >= 0
        return found

    def best(self, x: Ints) -> Ints:
        """For each row of the group the row that dominates it with the highest bound L, of these
        the cheapest, of these the organism registered first; -1 where none does."""
        found = np.full(len(x), -1, np.int64)
        if not len(self.rows):
            return found
        if self.exact and not self.group.up[x].any():
            return self._best_exact(x)
        step = max(1, CELLS // len(self.rows))
        for start in range(0, len(x), step):
            part = x[start : start + step]
            fit, up = self.group.fit[part, None], self.group.up[part, None]
            cost = self.group.cost[part, None]
            bound = bounds(self.fit, self.down, fit, up)
            no = ~_holds(bound, self.cost, cost, self.rule)
            bound[no] = -np.inf
            at = np.argmax(bound, axis=1)
            there = np.take_along_axis(~no, at[:, None], 1)[:, 0]
            found[start : start + step] = np.where(there, self.rows[at], -1)
        return found

    def _best_exact(self, x: Ints) -> Ints:
        """Without errors the fittest of those that cost no more has the highest bound."""
        first = np.maximum.accumulate(  # where each highest fitness was reached first
            np.where(self.fit > np.concatenate([[-np.inf], self.at_most[:-1]]),
                     np.arange(len(self.rows)), 0)
        )  # fmt: skip
        cheaper, level = self._ranks(x)
        fit = self.group.fit[x]
        found = np.full(len(x), -1, np.int64)
        ahead = _upto(self.at_most, cheaper) - fit >= -self.rule.delta
        found[ahead] = self.rows[first[cheaper[ahead] - 1]]
        even = _upto(self.at_most, level) - fit > 0
        found[even] = self.rows[first[level[even] - 1]]
        return found

    def _ranks(self, x: Ints) -> tuple[Ints, Ints]:
        """How many of these are cheaper by more than the margin, and how many cost no more."""
        cost = self.group.cost[x]
        cheaper = np.searchsorted(self.cost, (1 - self.rule.margin) * cost, "left")
        return cheaper, np.searchsorted(self.cost, cost, "right")


def _upto(running: Floats, count: Ints) -> Floats:
    """The running maximum of the first `count`, minus infinity of none."""
    found: Floats = np.where(count > 0, running[count - 1], -np.inf)
    return found


def bounds(y_fit: Floats, y_down: Floats, x_fit: Floats, x_up: Floats) -> Floats:
    """L(y, x), the lower confidence bound of f(y) - f(x): R. G. Newcombe, Interval estimation for
    the difference between independent proportions, 1998, method 10; for other pairs G. Y. Zou and
    A. Donner, 2008."""
    found: Floats = y_fit - x_fit - np.sqrt(y_down * y_down + x_up * x_up)
    return found


def _holds(bound: Floats, y_cost: Floats, x_cost: Floats, rule: Rule) -> Flags:
    """Whether y dominates x, given L(y, x)."""
    found: Flags = ((bound >= -rule.delta) & (y_cost < (1 - rule.margin) * x_cost)) | (
        (bound > 0) & (y_cost <= x_cost)
    )
    return found


class Verdicts:
    """The verdict on each standing of a group, and who dominates it. A standing whose files are
    here is held against such alone, unless `remote`."""

    def __init__(self, group: Standings, rule: Rule, remote: bool = False) -> None:
        self.group = group
        self.here = group.here & (not remote)
        everyone = np.arange(len(group))
        beaten = self._dominated(everyone, everyone, rule)
        self.verdict = np.where(beaten, CONTESTED, FRONT).astype(np.int8)
        self.front = np.flatnonzero(~beaten)
        self.kept = self._duplicates(rule)
        members = self.front[self.kept[self.front] < 0]
        self.over = {
            flag: Dominators(group, members[group.here[members]] if flag else members, rule)
            for flag in (False, True)
        }
        rest = np.flatnonzero(beaten)
        for flag in (False, True):
            part = rest[self.here[rest] == flag]
            self.verdict[part[self.over[flag].dominates(part)]] = OBSOLETE
        self.verdict[self.kept >= 0] = OBSOLETE

    def _dominated(self, rows: Ints, by: Ints, rule: Rule) -> Flags:
        found = np.zeros(len(rows), bool)
        for flag in (False, True):
            part = np.flatnonzero(self.here[rows] == flag)
            if len(part):
                rivals = by[self.group.here[by]] if flag else by
                found[part] = Dominators(self.group, rivals, rule).dominates(rows[part])
        return found

    def _duplicates(self, rule: Rule) -> Ints:
        """For each row the duplicate on the front that is kept instead of it, else -1."""
        kept = np.full(len(self.group), -1, np.int64)
        if rule.duplicates == "keep" or len(self.front) < 2:
            return kept
        g = self.group.take(self.front)
        age = g.organism if rule.duplicates == "oldest" else -g.organism
        # files that are here come first: who is here gives way to such alone
        order = np.lexsort((age, ~self.here[self.front], g.up, g.down, g.fit, g.cost))
        same = np.ones(len(order) - 1, bool)
        for numbers in (g.cost, g.fit, g.down, g.up):
            same &= numbers[order][1:] == numbers[order][:-1]
        head = np.maximum.accumulate(np.where(np.r_[True, ~same], np.arange(len(order)), 0))
        others = head != np.arange(len(order))
        kept[self.front[order[others]]] = self.front[order[head[others]]]
        return kept

    def dominators(self, rows: Ints) -> Ints:
        """For each row the row of the front that dominates it, -1 where none does."""
        found = np.full(len(rows), -1, np.int64)
        for flag in (False, True):
            part = np.flatnonzero(self.here[rows] == flag)
            found[part] = self.over[flag].best(rows[part])
        return np.where(self.kept[rows] >= 0, self.kept[rows], found)
