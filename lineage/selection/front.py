"""Who is on the front of each niche, who is obsolete, and by whom: all standings are read from the
database in one pass, and judged group by group (`dominance`, sections 1 to 3 of docs/selection.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lineage import costs, standings, store
from lineage.database import Connection
from lineage.organism import Niche
from lineage.selection.policy import FRONTIER, Policy

if TYPE_CHECKING:
    from lineage.selection.dominance import Flags, Floats, Ints, Verdicts

ROWS = 20_000
"""How many rows are read from the database at once."""

PERS = (*costs.RATES, "byte")
SOURCES = standings.SOURCES

_MARKED = f"CASE f.state WHEN {standings.SELECTED_AGAINST} THEN 1 ELSE 0 END"

_COSTED = f"""
SELECT f.organism, f.niche, f.per, f.here, {_MARKED}, f.joules, f.source, f.meter, f.value,
  f.stderr, f.n
FROM standing f WHERE f.joules IS NOT NULL"""

# What a genome takes on a disk is its own: a base that is needed is not stored twice.
_STORED = f"""
SELECT f.organism, f.niche, {PERS.index("byte")}, f.here, {_MARKED}, o.bytes, 0, 0, f.value,
  f.stderr, f.n
FROM standing f CROSS JOIN organism o
WHERE f.also = 0 AND o.id = f.organism AND o.bytes IS NOT NULL"""

_UNCULLED = f" AND f.state <= {standings.SELECTED_AGAINST}"

_AROUND = f""" AND (f.state <= {standings.SELECTED_AGAINST}
  OR (f.organism = ? AND f.state = {standings.CULLED}))
  AND f.niche IN (SELECT m.niche FROM fitness m WHERE m.organism = ? AND m.current = 1)"""


def everything(policy: Policy = FRONTIER) -> str:
    """The statement that reads all standings of who is not culled."""
    return _all(policy) + _UNCULLED


def _all(policy: Policy) -> str:
    return _STORED if policy.cost == "bytes" else _COSTED


# Which of some have a mark that begins otherwise than those of a policy.
UNLIKE = """
SELECT DISTINCT i.id FROM {ids} AS i CROSS JOIN event e WHERE e.organism = i.id
  AND e.kind = 'selected_against' AND substr(e.body, 1, ?) <> ?"""

DOMINATED = "dominated"


@dataclass(frozen=True, slots=True)
class Standing:
    """An organism in a niche: `fit` (turned so that higher is better), how far below and above it
    the truth may lie, its cost per `per` (joules; of `byte`, bytes), how the cost is known, and
    whether the files are here. `exact`: no error of the value is known."""

    organism: int
    niche: int
    per: str
    here: bool
    joules: float
    source: str
    fit: float
    down: float
    up: float
    stderr: float | None
    n: int | None

    @property
    def exact(self) -> bool:
        return not (self.down or self.up)


@dataclass(frozen=True, slots=True)
class Judged:
    """A standing with its verdict (`front`, `contested`, `obsolete`), and its dominator when it is
    obsolete."""

    standing: Standing
    verdict: str
    by: Standing | None = None


VERDICTS = ("front", "contested", "obsolete")


@dataclass(frozen=True, slots=True)
class Owners:
    """The organisms with standings, ascending: who is `marked`, who is on a front (`fronted`), and
    who is obsolete in all of its standings (`beaten`)."""

    ids: Ints
    marked: Flags
    fronted: Flags
    beaten: Flags

    def take(self, rows: Flags) -> Owners:
        return Owners(self.ids[rows], self.marked[rows], self.fronted[rows], self.beaten[rows])


class Sweep:
    """All standings that were read, and the verdicts on them. Rows are sorted by group (niche,
    unit, kind of cost), within a group by organism."""

    def __init__(
        self, columns: dict[str, Any], directions: dict[int, str], metrics: dict[int, str],
        kinds: dict[int, int], policy: Policy,
    ) -> None:  # fmt: skip
        import numpy as np

        self.policy = policy
        self.columns = columns
        self.about: Ints | None = None
        """Whom `owners` and what follows from them are about; None for all."""
        self._kinds(kinds)
        self._reaches(directions, metrics)
        self._groups()
        self.verdict = np.zeros(len(self), np.int8)
        self.groups: list[tuple[int, Verdicts]] = []
        self._held: tuple[Ints, Ints, Owners] | None = None
        self._judge()

    def __len__(self) -> int:
        return len(self.columns["organism"])

    def _kinds(self, kinds: dict[int, int]) -> None:
        """The kind of each cost: 0 for what was given, else that of the estimate's meter."""
        import numpy as np

        c = self.columns
        kind = np.zeros(len(self), np.int32)
        if not self.policy.mix_estimates:
            estimated = c["source"] == 2
            meters, inverse = np.unique(c["meter"][estimated], return_inverse=True)
            of = np.array([kinds.get(int(one), int(one)) for one in meters], np.int32)
            kind[estimated] = of[inverse] if len(of) else 0
            # a sum of several kinds is like nothing else
            alone = estimated & (c["meter"] == costs.SEVERAL_METERS)
            kind[alone] = -10 - np.arange(np.count_nonzero(alone))
        c["kind"] = kind

    def _reaches(self, directions: dict[int, str], metrics: dict[int, str]) -> None:
        """Fitness turned so that higher is better, and how far the truth may lie from it."""
        import numpy as np

        from lineage.selection import dominance

        c = self.columns
        found, of, count = np.unique(c["niche"], return_inverse=True, return_counts=True)
        turned = np.array([directions[int(one)] == "lower" for one in found], bool)
        highest = np.full(len(found), -np.inf)
        np.maximum.at(highest, of, c["value"])
        scale = np.array([
            (100.0 if top > 1 else 1.0) if dominance.is_share(metrics[int(one)]) else np.nan
            for one, top in zip(found, highest, strict=True)
        ])  # fmt: skip
        scale[highest > 100] = np.nan
        comparisons = (count - 1) if self.policy.correct_comparisons else np.ones(len(found))
        z = np.array([
            dominance.quantile(self.policy.confidence, int(many)) for many in comparisons
        ])  # fmt: skip
        lower = turned[of] if len(found) else np.zeros(0, bool)
        c["fit"] = np.where(lower, -c["value"], c["value"])
        if np.isnan(c["stderr"]).all() and np.isnan(c["n"]).all():
            c["down"] = c["up"] = np.zeros(len(self))
        else:
            c["down"], c["up"] = dominance.reach(
                c["value"], c["stderr"], c["n"], z[of], scale[of], lower
            )

    def _groups(self) -> None:
        import numpy as np

        c = self.columns
        order = np.lexsort((c["organism"], c["kind"], c["per"], c["niche"]))
        for name in c:
            c[name] = c[name][order]
        if not len(self):
            self.starts: Ints = np.zeros(1, np.int64)
            return
        new = np.zeros(len(self), bool)
        for name in ("niche", "per", "kind"):
            new[1:] |= c[name][1:] != c[name][:-1]
        self.starts = np.r_[0, np.flatnonzero(new), len(self)]

    def _judge(self) -> None:
        from lineage.selection import dominance

        c, policy = self.columns, self.policy
        rule = dominance.Rule(policy.delta, policy.cost_margin, policy.duplicates)
        for start, end in zip(self.starts[:-1], self.starts[1:], strict=True):
            group = dominance.Standings(*(
                c[name][start:end] for name in ("organism", "fit", "down", "up", "joules", "here")
            ))  # fmt: skip
            judged = dominance.Verdicts(group, rule, policy.allow_remote)
            self.verdict[start:end] = judged.verdict
            self.groups.append((int(start), judged))

    # what it tells

    def _by_owner(self) -> tuple[Ints, Ints, Owners]:
        """The rows in the order of their organisms, where the rows of each begin, and who they are.
        """
        import numpy as np

        if self._held is None:
            order = np.argsort(self.columns["organism"], kind="stable")
            ids = self.columns["organism"][order]
            starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else order
            verdict, marked = self.verdict[order], self.columns["marked"][order]
            best = np.minimum.reduceat(verdict, starts) if len(ids) else verdict
            owners = Owners(ids[starts], marked[starts], best == 0, best == 2)
            self._held = order, starts, owners
        return self._held

    def owners(self) -> Owners:
        """The organisms with a standing; where the sweep is about some, these alone."""
        import numpy as np

        owners = self._by_owner()[2]
        return owners if self.about is None else owners.take(np.isin(owners.ids, self.about))

    def obsolete(self) -> tuple[Ints, Ints]:
        """The organisms all of whose standings are obsolete: those alive, and those marked."""
        found = self.owners()
        return found.ids[found.beaten & ~found.marked], found.ids[found.beaten & found.marked]

    def standing(self, row: int) -> Standing:
        c = self.columns
        stderr, n = float(c["stderr"][row]), float(c["n"][row])
        return Standing(
            organism=int(c["organism"][row]),
            niche=int(c["niche"][row]),
            per=PERS[int(c["per"][row])],
            here=bool(c["here"][row]),
            joules=float(c["joules"][row]),
            source=SOURCES[int(c["source"][row])],
            fit=float(c["fit"][row]),
            down=float(c["down"][row]),
            up=float(c["up"][row]),
            stderr=None if stderr != stderr else stderr,
            n=None if n != n else int(n),
        )

    def dominators(self, rows: Ints) -> Ints:
        """For each row, given in their order, the row of who dominates it, -1 where nobody on the
        front does."""
        import numpy as np

        found = np.full(len(rows), -1, np.int64)
        at = np.searchsorted(self.starts, rows, "right") - 1
        heads = np.flatnonzero(np.r_[True, at[1:] != at[:-1]]) if len(at) else at
        for first, last in pairwise([*heads.tolist(), len(at)]):
            start, judged = self.groups[at[first]]
            by = judged.dominators(rows[first:last] - start)
            found[first:last] = np.where(by >= 0, by + start, -1)
        return found

    def judged(self, organisms: Sequence[int]) -> dict[int, list[Judged]]:
        """All standings of these organisms, by niche and unit."""
        rows = self._rows_of(organisms)
        by = self.dominators(rows)
        found: dict[int, list[Judged]] = {}
        for row, other in zip(rows.tolist(), by.tolist(), strict=True):
            rival = self.standing(other) if other >= 0 else None
            one = Judged(self.standing(row), VERDICTS[self.verdict[row]], rival)
            found.setdefault(one.standing.organism, []).append(one)
        return found

    def _rows_of(self, organisms: Sequence[int]) -> Ints:
        """The rows of these organisms, each given once; ascending."""
        import numpy as np

        order, starts, owners = self._by_owner()
        wanted = np.asarray(organisms, np.int64)
        at = np.searchsorted(owners.ids, wanted)
        there = at < len(owners.ids)
        at = at[there][owners.ids[at[there]] == wanted[there]]
        first = starts[at]
        many = np.r_[starts, len(order)][at + 1] - first
        at = np.repeat(first - np.r_[0, np.cumsum(many)[:-1]], many) + np.arange(many.sum())
        return np.sort(order[at])

    def closest(self, organism: int) -> dict[tuple[int, str], tuple[Standing, float]]:
        """For each standing of an organism on a front: who that costs no more comes closest to
        dominating it, and the bound L of that one."""
        import numpy as np

        from lineage.selection import dominance

        found = {}
        c = self.columns
        own = self._rows_of([organism])
        for row in own[self.verdict[own] == 0].tolist():
            number = int(np.searchsorted(self.starts, row, "right")) - 1
            rows = np.arange(self.starts[number], self.starts[number + 1])
            rows = rows[(c["joules"][rows] <= c["joules"][row]) & (rows != row)]
            if c["here"][row] and not self.policy.allow_remote:
                rows = rows[c["here"][rows]]
            rows = rows[~c["marked"][rows]]
            if len(rows):
                bound = dominance.bounds(
                    c["fit"][rows], c["down"][rows], c["fit"][row], c["up"][row]
                )
                best = int(np.lexsort((c["joules"][rows], -bound))[0])
                key = (int(c["niche"][row]), PERS[int(c["per"][row])])
                found[key] = (self.standing(int(rows[best])), float(bound[best]))
        return found

    def fronts(self) -> Iterator[Standing]:
        """All standings on a front of organisms that are alive."""
        import numpy as np

        for row in np.flatnonzero((self.verdict == 0) & ~self.columns["marked"]).tolist():
            yield self.standing(row)

    def living(self) -> Ints:
        """All living organisms with a standing."""
        found = self.owners()
        return found.ids[~found.marked]

    def fit(self) -> Ints:
        """The living that are on a front."""
        found = self.owners()
        return found.ids[~found.marked & found.fronted]

    def marked_no_more(self) -> list[int]:
        """The marked that are not obsolete any more."""
        found = self.owners()
        ids: list[int] = found.ids[found.marked & ~found.beaten].tolist()
        return ids

    def contested(self) -> Ints:
        """The living that are on no front and still not obsolete."""
        found = self.owners()
        return found.ids[~found.marked & ~found.fronted & ~found.beaten]

    def ranks(self) -> dict[int, float]:
        """The fitness of each organism as a rank, 0 for the worst and 1 for the best, in the niche
        where it ranks best."""
        import numpy as np

        c = self.columns
        best = np.zeros(len(self))
        order = np.lexsort((c["fit"], c["niche"]))
        niche, fit = c["niche"][order], c["fit"][order]
        at = np.arange(len(self))
        new = np.r_[True, niche[1:] != niche[:-1]] if len(self) else np.zeros(0, bool)
        start = np.maximum.accumulate(np.where(new, at, 0)) if len(self) else at
        size = np.bincount(np.cumsum(new))[np.cumsum(new)] if len(self) else at
        # who ties has the rank of the first of them
        first = np.r_[True, (fit[1:] != fit[:-1]) | new[1:]] if len(self) else new
        tied = np.maximum.accumulate(np.where(first, at, 0)) if len(self) else at
        best[order] = (tied - start) / np.maximum(1, size - 1)
        found: dict[int, float] = {}
        for own, rank in zip(c["organism"].tolist(), best.tolist(), strict=True):
            found[own] = max(found.get(own, 0.0), rank)
        return found

    def leaning_on(self, organisms: Sequence[int]) -> set[int]:
        """Who has one of these organisms for a dominator."""
        import numpy as np

        rows = np.flatnonzero(self.verdict == 2)
        by = self.columns["organism"][self.dominators(rows)]
        leaning = np.isin(by, np.asarray(organisms, np.int64))
        return set(self.columns["organism"][rows[leaning]].tolist())

    def exact(self, organisms: Sequence[int]) -> int:
        """How many of these organisms have a score without a known error."""
        import numpy as np

        rows = self._rows_of(organisms)
        c = self.columns
        ids = np.sort(c["organism"][rows[(c["down"][rows] == 0) & (c["up"][rows] == 0)]])
        return int(np.count_nonzero(ids[1:] != ids[:-1])) + bool(len(ids))


def niches(connection: Connection) -> dict[int, tuple[Niche, str | None]]:
    """All niches with their directions."""
    rows = connection.rows("SELECT id, task, metric, split, direction FROM niche")
    return {own: (Niche(task, metric, split), way) for own, task, metric, split, way in rows}


def counts(policy: Policy, niche: Niche) -> bool:
    """Whether a policy counts a niche."""
    if any(fits(niche, one) for one in policy.leave_out):
        return False
    return not policy.niches or any(fits(niche, one) for one in policy.niches)


def fits(niche: Niche, pattern: str) -> bool:
    """Whether a pattern with * and ? fits `task/metric` of a niche."""
    return fnmatchcase(f"{niche.task}/{niche.metric}", pattern)


def _kinds_of_meters(connection: Connection) -> dict[int, int]:
    """By meter the least id of those of its kind: alike but for what stands in parentheses, which
    is where an estimate names the precision it assumed."""
    first: dict[str, int] = {}
    kinds = {}
    for own, name in connection.rows("SELECT id, name FROM meter ORDER BY id"):
        kinds[own] = first.setdefault(re.sub(r" *\([^)]*\)", "", name), own)
    return kinds


def _other_marks(connection: Connection, policy: Policy, marked: Sequence[int]) -> list[int]:
    """Of the marked, those whose last mark came by another rule than dominance, or by another
    policy. Their marks begin otherwise."""
    own = store.body_text({"rule": DOMINATED, "policy": policy.name})[:-1]
    unlike = connection.rows(
        UNLIKE.format(ids=connection.ids), (connection.pack(marked), len(own), own)
    )
    last = marks(connection, [row[0] for row in unlike])
    return [one for one, told in last.items() if not _ours(told, policy)]


def marks(connection: Connection, organisms: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What the last mark of each of these organisms tells: its `rule`, `policy`, `run`."""
    rows = connection.execute(
        f"""SELECT e.organism, e.body FROM {connection.ids} AS i CROSS JOIN event e
            WHERE e.organism = i.id AND e.kind = 'selected_against' ORDER BY e.id""",
        (connection.pack(organisms),),
    )
    return {own: json.loads(body) for own, body in dict(rows).items()}


def _ours(told: dict[str, Any], policy: Policy) -> bool:
    rule, name = told.get("rule", DOMINATED), told.get("policy", FRONTIER.name)
    return bool(rule == DOMINATED and name == policy.name)


def sweep(
    connection: Connection, policy: Policy = FRONTIER, niches: Sequence[int] | None = None
) -> Sweep:
    """The verdicts on all standings in the niches that a policy counts; about those alone that
    stand in some `niches`, where such are given: then these are read, and the other niches of who
    lives and is obsolete in all of them. Linear in what is read, and about 100 bytes of memory a
    standing. Nothing is written."""
    if niches is None:
        return _swept(connection, policy, everything(policy), ())
    found = _within(connection, policy, niches)
    # who is marked was obsolete in the others too, or it would have been revived
    wanted = {*niches, *standings.niches(connection, found.obsolete()[0].tolist())}
    if len(wanted) > len(niches):
        about = found.owners().ids
        found = _within(connection, policy, sorted(wanted))
        found.about = about
    return found


def around(connection: Connection, own: int, policy: Policy = FRONTIER) -> Sweep:
    """The verdicts in the niches of one organism, judged as if it were alive."""
    return _swept(connection, policy, _all(policy) + _AROUND, (own, own), own)


def within(connection: Connection, niche: int, policy: Policy = FRONTIER) -> Sweep:
    """The verdicts in one niche."""
    return _within(connection, policy, [niche])


def _within(connection: Connection, policy: Policy, niches: Sequence[int]) -> Sweep:
    sql = f"{everything(policy)} AND f.niche IN (SELECT i.id FROM {connection.ids} AS i)"
    return _swept(connection, policy, sql, (connection.pack(niches),))


def value_of(one: Standing, direction: str | None) -> float:
    """The score as it was recorded: fitness turned back."""
    return 0.0 - one.fit if direction == "lower" else one.fit


def _swept(
    connection: Connection, policy: Policy, sql: str, params: Sequence[Any], own: int = -1
) -> Sweep:
    import numpy as np

    known = niches(connection)
    counted = [key for key, (niche, way) in known.items() if way and counts(policy, niche)]
    columns = _columns(connection, sql, params)
    keep = np.isin(columns["niche"], np.asarray(counted, np.int32))
    marked = set(columns["organism"][columns["marked"]].tolist())
    aside = [one for one in _other_marks(connection, policy, sorted(marked)) if one != own]
    if aside:
        keep &= ~np.isin(columns["organism"], np.asarray(aside, np.int64))
    if not keep.all():
        columns = {name: column[keep] for name, column in columns.items()}
    return Sweep(
        columns,
        {key: str(way) for key, (_, way) in known.items()},
        {key: niche.metric for key, (niche, _) in known.items()},
        _kinds_of_meters(connection),
        policy,
    )


_COLUMNS = {
    "organism": "int64", "niche": "int32", "per": "int8", "here": "bool", "marked": "bool",
    "joules": "float64", "source": "int8", "meter": "int32", "value": "float64",
    "stderr": "float64", "n": "float64",
}  # fmt: skip


def _columns(connection: Connection, sql: str, params: Sequence[Any]) -> dict[str, Floats | Ints]:
    """The rows of a statement as arrays, one a column; NaN where nothing is known."""
    import numpy as np

    parts: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for rows in connection.stream(sql, params, ROWS):
        block = np.array(rows, np.float64)
        for at, (name, kind) in enumerate(_COLUMNS.items()):
            parts[name].append(block[:, at].astype(kind))
    return {
        name: np.concatenate(held) if held else np.empty(0, _COLUMNS[name])
        for name, held in parts.items()
    }
