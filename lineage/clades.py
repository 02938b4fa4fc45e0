"""What a clade amounts to: how many organisms, how many living, the best in every niche, the joules
of their training. Counted link by link, or for large clades by the interval snapshot."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lineage import ledger, snapshots, standings
from lineage.answers import Answer
from lineage.database import Connection
from lineage.organism import Niche, Organism, Score
from lineage.snapshots import Snapshot

FEW = 1_000
"""A clade up to this size is counted at once: no slower than looking at the snapshot."""

MANY = 10_000
"""New organisms, or events since the snapshot, beyond which it is stale."""

ROUNDS = 100
"""Links outside the backbone that may follow one another on a way down. Each is a query; a family
with longer ways is walked."""

Interval = tuple[int, int]
"""First and last position in pre-order, both within."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best score that counts in a niche among the living, and the organism that holds it: of
    equals, the one registered first."""

    score: Score
    organism: Organism


@dataclass(frozen=True, slots=True)
class Clade(Answer):
    """An organism and all its descendants, each once, in numbers.

    `count` is of registered organisms of any vital status, itself too; `ghosts`, that were only
    named, are apart. `living` are alive, and no ghosts. `best` has one entry for each niche whose
    direction is known and in which a living one is scored, by niche. `joules` is what is known of
    the training of all, living or not, and None where nothing is; it is known of `metered`
    organisms. `from_snapshot` tells how it was counted; the numbers are the same, but for the last
    digits of `joules`."""

    _rows: ClassVar[str] = "best"

    organism: Organism
    count: int
    ghosts: int
    living: int
    best: tuple[Best, ...]
    joules: float | None
    metered: int
    from_snapshot: bool


@dataclass(slots=True)
class Figures:
    """Numbers of some organisms. `best` has by niche id (value, where higher is better; holder)."""

    total: int = 0
    ghosts: int = 0
    living: int = 0
    metered: int = 0
    joules: float = 0.0
    best: dict[int, tuple[float, int]] = field(default_factory=dict)

    def __add__(self, other: Figures) -> Figures:
        best = dict(self.best)
        for niche, (fit, holder) in other.best.items():
            known = best.get(niche)
            if known is None or (-fit, holder) < (-known[0], known[1]):
                best[niche] = (fit, holder)
        return Figures(
            self.total + other.total,
            self.ghosts + other.ghosts,
            self.living + other.living,
            self.metered + other.metered,
            self.joules + other.joules,
            best,
        )


def aggregate(connection: Connection, own: int) -> Clade:
    """The numbers of the clade of `own`. Exact on a DAG: nobody counts twice. The snapshot answers
    where there is one that is not stale and the clade is large, in time linear in the clade and in
    what changed since; else a recursive query does."""
    few = members(connection, own, FEW + 1)
    found = by_snapshot(connection, own) if len(few) > FEW else figures(connection, few)
    from_snapshot = len(few) > FEW and found is not None
    if found is None:
        found = figures(connection, members(connection, own))
    return _clade(connection, own, found, from_snapshot)


def _clade(connection: Connection, own: int, found: Figures, from_snapshot: bool) -> Clade:
    holders = sorted({holder for _, holder in found.best.values()})
    known = {one.id: one for one in ledger.organisms(connection, [own, *holders])}
    scores = ledger.scores(connection, holders)
    niches = {
        niche: Niche(*names)
        for niche, *names in connection.rows("SELECT id, task, metric, split FROM niche")
    }
    best = [
        Best(score, known[holder])
        for niche, (_, holder) in found.best.items()
        for score in scores[holder]
        if score.niche == niches[niche]
    ]
    return Clade(
        organism=known[own],
        count=found.total - found.ghosts,
        ghosts=found.ghosts,
        living=found.living,
        best=tuple(sorted(best, key=lambda one: str(one.score.niche))),
        joules=found.joules if found.metered else None,
        metered=found.metered,
        from_snapshot=from_snapshot,
    )


# Counted link by link

MEMBERS = """
WITH RECURSIVE clade(id) AS (
  SELECT CAST(? AS bigint)
  UNION
  SELECT e.child FROM clade CROSS JOIN edge e WHERE e.parent = clade.id
)
SELECT id FROM clade"""


def members(connection: Connection, own: int, limit: int | None = None) -> list[int]:
    """The ids of `own` and its descendants; no more than `limit`."""
    if limit is None:
        return [row[0] for row in connection.execute(MEMBERS, (own,))]
    return [row[0] for row in connection.execute(f"{MEMBERS} LIMIT ?", (own, limit))]


def figures(connection: Connection, ids: Sequence[int]) -> Figures:
    """The numbers of these organisms, as recorded now."""
    packed = connection.pack(ids)
    alive = "o.status = 'alive' AND o.ghost = 0"
    total, ghosts, living = connection.row(
        f"""SELECT count(*), count(*) FILTER (WHERE o.ghost = 1), count(*) FILTER (WHERE {alive})
            FROM {connection.ids} AS i CROSS JOIN organism o WHERE o.id = i.id""",
        (packed,),
    )
    metered, joules = connection.row(
        f"""SELECT count(DISTINCT p.organism), sum(p.joules)
            FROM {connection.ids} AS i CROSS JOIN power p
            WHERE p.organism = i.id AND p.phase = 'training' AND p.per = 'total'
              AND p.current = 1 AND p.joules IS NOT NULL""",
        (packed,),
    )
    signs = _signs(connection)
    scored = connection.execute(
        f"""SELECT f.niche, f.value, f.organism
            FROM {connection.ids} AS i CROSS JOIN organism o CROSS JOIN fitness f
            WHERE o.id = i.id AND {alive} AND f.organism = o.id AND f.current = 1""",
        (packed,),
    )
    tops = _tops(scored, signs)
    best = {niche: (fit, min(holders)) for niche, (fit, holders) in tops.items()}
    return Figures(total, ghosts, living, metered, joules or 0.0, best)


def _signs(connection: Connection) -> dict[int, int]:
    """By niche id 1 where higher is better, -1 where lower is; absent where it is not known."""
    rows = connection.rows("SELECT id, direction FROM niche WHERE direction IS NOT NULL")
    return {own: 1 if direction == "higher" else -1 for own, direction in rows}


def _tops(
    scored: Iterable[tuple[int, float, int]], signs: dict[int, int]
) -> dict[int, tuple[float, list[int]]]:
    """Of rows (niche, value, holder), by niche the best value times its sign, and all who hold it.

    Here and not in SQL: SQLite groups by sorting all rows, which takes twice as long."""
    tops: dict[int, tuple[float, list[int]]] = {}
    for niche, value, holder in scored:
        if niche not in signs:
            continue
        fit = signs[niche] * value
        top = tops.get(niche)
        if top is None or fit > top[0]:
            tops[niche] = (fit, [holder])
        elif fit == top[0]:
            top[1].append(holder)
    return tops


# Counted by the snapshot


def by_snapshot(connection: Connection, own: int) -> Figures | None:
    """The numbers of a clade: what the snapshot holds of those that did not change since, and what
    is recorded now of those that did or that came since. None where the snapshot cannot tell."""
    snapshot = snapshots.current(connection)
    if snapshot is None:
        return None
    touched = _touched(connection, snapshot)
    if touched is None:
        return None
    covered = _covered(connection, snapshot, own)
    if covered is None:
        return None
    now = _newcomers(connection, snapshot, own, covered)
    changed = [
        (position, organism)
        for position, organism in connection.rows(
            f"""SELECT l.pre, l.organism FROM {connection.ids} AS i CROSS JOIN label l
                WHERE l.snapshot = ? AND l.organism = i.id""",
            (connection.pack(touched), snapshot.number),
        )
        if _within(covered, position)
    ]
    now += [organism for _, organism in changed]
    kept = _without(covered, sorted(position for position, _ in changed))
    return _held(connection, snapshot, kept) + figures(connection, now)


def _touched(connection: Connection, snapshot: Snapshot) -> set[int] | None:
    """The organisms in the snapshot that anything happened to since; None where too much did."""
    newest = connection.value("SELECT max(id) FROM event") or 0
    last = connection.value("SELECT max(id) FROM organism") or 0
    if newest - snapshot.event > MANY or last - snapshot.organism > MANY:
        return None
    happened = connection.execute("SELECT organism FROM event WHERE id > ?", (snapshot.event,))
    return {own for (own,) in happened if own is not None and own <= snapshot.organism}


GRAFTS = """
SELECT DISTINCT g.child, l.last FROM {intervals} AS p CROSS JOIN graft g CROSS JOIN label l
WHERE g.snapshot = ? AND g.parent BETWEEN p.first AND p.last
  AND l.snapshot = ? AND l.pre = g.child"""


def _covered(connection: Connection, snapshot: Snapshot, own: int) -> list[Interval] | None:
    """The intervals of all in the snapshot that are `own` or descend from it, in order, disjoint.
    None where a way down leads through too many grafts."""
    if own > snapshot.organism:
        return []
    found = connection.row(
        "SELECT pre, last FROM label WHERE snapshot = ? AND organism = ?", (snapshot.number, own)
    )
    if found is None:
        return None
    covered: list[Interval] = []
    reached: list[Interval] = [tuple(found)]
    for _ in range(ROUNDS):
        covered = _outermost([*covered, *reached])
        below = connection.rows(
            GRAFTS.format(intervals=_intervals(connection)),
            (_pack(connection, _outermost(reached)), snapshot.number, snapshot.number),
        )
        reached = [(first, last) for first, last in below if not _within(covered, first)]
        if not reached:
            return covered
    return None


def _intervals(connection: Connection) -> str:
    """SQL of a table `(first, last)` over one parameter made by `_pack`."""
    return f"(SELECT i.id >> 32 AS first, i.id & 4294967295 AS last FROM {connection.ids} AS i)"


def _pack(connection: Connection, intervals: Iterable[Interval]) -> object:
    return connection.pack(first << 32 | last for first, last in intervals)


def _outermost(intervals: Iterable[Interval]) -> list[Interval]:
    """Those that lie in no other, in order. Clades of a tree are nested or disjoint."""
    outermost: list[Interval] = []
    for first, last in sorted(intervals, key=lambda one: (one[0], -one[1])):
        if not outermost or first > outermost[-1][1]:
            outermost.append((first, last))
    return outermost


def _within(intervals: Sequence[Interval], position: int) -> bool:
    """Whether a position lies in one of these intervals, in order and disjoint."""
    index = bisect_right(intervals, position, key=lambda one: one[0]) - 1
    return index >= 0 and position <= intervals[index][1]


def _without(intervals: Iterable[Interval], positions: Iterable[int]) -> list[Interval]:
    """The intervals without these positions, all of which lie within; both in order."""
    left: list[Interval] = []
    holes = iter(positions)
    hole = next(holes, None)
    for first, last in intervals:
        while hole is not None and hole <= last:
            if first < hole:
                left.append((first, hole - 1))
            first = hole + 1
            hole = next(holes, None)
        if first <= last:
            left.append((first, last))
    return left


def _newcomers(
    connection: Connection, snapshot: Snapshot, own: int, covered: Sequence[Interval]
) -> list[int]:
    """Those who came after the snapshot and are `own` or descend from it: below one that is
    covered, or below another of them."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    found = {own} if own > snapshot.organism else set()
    for child, parent, position in connection.execute(
        """SELECT e.child, e.parent, l.pre FROM edge e
           LEFT JOIN label l ON l.snapshot = ? AND l.organism = e.parent WHERE e.child > ?""",
        (snapshot.number, snapshot.organism),
    ):
        children[parent].append(child)
        if position is not None and _within(covered, position):
            found.add(child)
    queue = list(found)
    for parent in queue:  # grows while it is read
        for child in children.get(parent, ()):
            if child not in found:
                found.add(child)
                queue.append(child)
    return queue


def _held(connection: Connection, snapshot: Snapshot, intervals: Sequence[Interval]) -> Figures:
    """The numbers that the snapshot holds of these intervals."""
    params = (_pack(connection, intervals), snapshot.number)
    table = _intervals(connection)
    total, ghosts, living, metered, joules = connection.row(
        f"""SELECT count(*), count(*) FILTER (WHERE l.state = {standings.ABSENT}),
              count(*) FILTER (WHERE l.state = {standings.ALIVE}), count(l.joules), sum(l.joules)
            FROM {table} AS p CROSS JOIN label l
            WHERE l.snapshot = ? AND l.pre BETWEEN p.first AND p.last""",
        params,
    )
    signs = _signs(connection)
    scored = connection.execute(
        f"""SELECT s.niche, s.value, s.pre FROM {table} AS p CROSS JOIN label_score s
            WHERE s.snapshot = ? AND s.pre BETWEEN p.first AND p.last""",
        params,
    )
    tops = _tops(scored, signs)
    at = connection.pack({position for _, holders in tops.values() for position in holders})
    organism = dict(
        connection.rows(
            f"""SELECT l.pre, l.organism FROM {connection.ids} AS i CROSS JOIN label l
                WHERE l.snapshot = ? AND l.pre = i.id""",
            (at, snapshot.number),
        )
    )
    best = {
        niche: (fit, min(organism[position] for position in holders))
        for niche, (fit, holders) in tops.items()
    }
    return Figures(total, ghosts, living, metered, joules or 0.0, best)
