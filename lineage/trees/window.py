"""A window on a family too large to be drawn: so many rows of it, in the order of the interval
snapshot, each an organism or a stripe of many. Found by ranges of positions; no table is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lineage import ledger, snapshots
from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.organism import Niche
from lineage.standings import ALIVE, CULLED, SELECTED_AGAINST
from lineage.trees.family import Branch, Family
from lineage.trees.gather import members
from lineage.trees.layout import Layout, Row

if TYPE_CHECKING:
    import numpy as np

MOST_ABOVE = 24
"""Organisms above a window that are shown in it, because their clades reach into it."""

MOST_NEW = 500
"""Organisms registered since the snapshot that a window shows below those in it."""

ROUNDS = 50
"""Generations of these; each is a query."""


@dataclass(frozen=True, slots=True)
class Stripe:
    """A row of a window: the `count` organisms from `position` on. `id` is the organism that stands
    for them, whose backbone clade of `clade` begins here and is at least that large; None where
    only smaller ones begin here. `parent` is the row that it hangs on, -1 for none, and `direct`
    says whether that is the main parent itself, and no ancestor further up. `generation` is that of
    the organism; `low` and `high` are the least and the largest in the row. The vital statuses are
    counted; those that are neither alive nor selected against nor culled are ghosts."""

    position: int
    id: int | None
    count: int
    clade: int
    parent: int
    direct: bool
    generation: int
    low: int
    high: int
    alive: int
    against: int
    culled: int


@dataclass(frozen=True, slots=True)
class Spread:
    """A niche, how many of the living are scored in it, and how: the least and the most, and the
    values that 5 % lie below and above."""

    niche: Niche
    direction: str | None
    scores: int
    least: float
    low: float
    high: float
    most: float


@dataclass(frozen=True, slots=True)
class Window:
    """Rows of the positions `start` to `end` of a family that has `first` to `last`, both within;
    a row stands for `each`. The first `above` rows are ancestors further up, the nearest last. What
    the stripes count is as of the snapshot; organisms themselves are as of now, and the newest,
    `new` since the snapshot in the whole registry, are where `each` is 1. `family` holds those that
    rows stand for."""

    snapshot: int
    root: int | None
    first: int
    last: int
    start: int
    end: int
    each: int
    above: int
    new: int
    stripes: tuple[Stripe, ...]
    family: Family
    spreads: tuple[Spread, ...]
    alive: int | None

    @property
    def total(self) -> int:
        """How many positions the family has."""
        return self.last - self.first + 1

    def layout(self) -> Layout:
        """The rows for a picture. A stripe without organism is a bundle below what it hangs on."""
        ids = [0 if one.id is None else one.id for one in self.stripes]
        rows: list[Row] = []
        for one in self.stripes:
            up = one.parent
            parent = ids[up] if up >= 0 else None
            depth = rows[up].depth + 1 if up >= 0 else 0
            more = one.count if one.id is None else 0
            rows.append(Row(one.id or parent or 0, parent, one.generation, depth, 1, more))
        links = defaultdict(list)
        for link in self.family.branches:
            links[link.child].append(link)
        main = {
            one.id: next(
                (link for link in known if one.direct and link.parent == ids[one.parent]), known[0]
            )
            for one in self.stripes
            if one.id is not None and (known := links.get(one.id))
        }
        there = set(ids)
        further = tuple(
            link for link in self.family.branches
            if link.parent in there and main[link.child] is not link
        )  # fmt: skip
        return Layout(tuple(rows), main, {}, further)


@dataclass(slots=True)
class _Cell:
    """A row before it is known what it hangs on."""

    position: int
    count: int
    head: tuple[int, int, int, int]  # position, last of its clade, organism, generation
    low: int
    high: int
    alive: int
    against: int
    culled: int
    new: bool = False

    @property
    def clade(self) -> int:
        return self.head[1] - self.head[0] + 1


@dataclass(frozen=True, slots=True)
class Extent:
    """The positions of a family in the current snapshot, both within."""

    snapshot: snapshots.Snapshot
    root: int | None
    first: int
    last: int

    @property
    def total(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Along:
    """The scores of the living in a niche, as of now: ascending positions in a snapshot, and
    values. Those registered since the snapshot have none."""

    snapshot: int
    direction: str
    positions: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]

    def best(self, start: int, end: int, each: int) -> tuple[list[float | None], list[int]]:
        """Of each row of `each` positions from `start` to `end` the best score, None where nobody
        is scored; and how many are. Rows begin where those of a window do, at multiples of
        `each`."""
        import numpy as np

        first, last = np.searchsorted(self.positions, (start, end + 1))
        row = self.positions[first:last] // each - start // each
        count = end // each - start // each + 1
        best: list[float | None] = [None] * count
        if len(row):
            begins = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
            better = np.minimum if self.direction == "lower" else np.maximum
            found = better.reduceat(self.values[first:last], begins)
            for one, value in zip(row[begins].tolist(), found.tolist(), strict=True):
                best[one] = value
        return best, np.bincount(row, minlength=count).tolist()


def along(connection: Connection, niche: Niche) -> Along | None:
    """The scores in a niche by position; None without a current snapshot. Linear in the scores of
    the niche, whatever the size of the registry. InvalidValue where it is not known which way is
    better."""
    import numpy as np

    snapshot = snapshots.current(connection)
    own, direction = ledger.niche_id(connection, niche)
    if snapshot is None:
        return None
    if direction is None:
        raise InvalidValue(f"it is not known whether a higher or a lower {niche} is better.")
    parts = [np.array(rows, np.float64) for rows in connection.stream(
        f"""SELECT l.pre, s.value FROM standing s CROSS JOIN label l
            WHERE s.niche = ? AND s.state = {ALIVE} AND s.also = 0
              AND l.snapshot = ? AND l.organism = s.organism""",
        (own, snapshot.number), 50_000,
    )]  # fmt: skip
    found = np.concatenate(parts) if parts else np.empty((0, 2))
    found = found[np.argsort(found[:, 0], kind="stable")]
    return Along(snapshot.number, direction, found[:, 0].astype(np.int64), found[:, 1].copy())


def extent(connection: Connection, root: int | None) -> Extent | None:
    """Where the family of `root`, or the forest, is in the snapshot; None where none is current or
    it does not know `root`."""
    snapshot = snapshots.current(connection)
    if snapshot is None:
        return None
    if root is None:
        last = _last(connection, snapshot.number)
        return None if last is None else Extent(snapshot, None, 0, last)
    found = connection.row(
        "SELECT pre, last FROM label WHERE snapshot = ? AND organism = ?", (snapshot.number, root)
    )
    return None if found is None else Extent(snapshot, root, *found)


def position(connection: Connection, whole: Extent, own: int) -> int | None:
    """The position of an organism in that snapshot. One registered since has that of its nearest
    ancestor that is in it; None where there is none."""
    for _ in range(ROUNDS):
        found = connection.value(
            "SELECT pre FROM label WHERE snapshot = ? AND organism = ?",
            (whole.snapshot.number, own),
        )
        if found is not None:
            return int(found) if whole.first <= found <= whole.last else None
        own = connection.value("SELECT min(parent) FROM edge WHERE child = ?", (own,))
        if own is None:
            return None
    return None


def look(
    connection: Connection, whole: Extent, start: int, end: int, rows: int, details: bool = False
) -> Window:
    """The positions `start` to `end` in at most about `rows` rows. Work is linear in `rows`.
    InvalidValue where there are no such positions."""
    start, end = max(start, whole.first), min(end, whole.last)
    if start > end:
        raise InvalidValue(
            f"there is nothing at positions {start} to {end}: the family has {whole.first} to "
            f"{whole.last}."
        )
    level = 0
    while (end - start + 1) / 4**level > rows:
        level += 1
    number, each = whole.snapshot.number, 4**level
    start, end = start // each * each, min((end // each + 1) * each - 1, whole.last)
    start = max(start, whole.first)
    cells = _cells(connection, whole, level, start, end)
    above = _above(connection, whole, start)
    if level == 0:
        cells = _with_new(connection, whole.snapshot, cells, end == whole.last)
    stripes = _hung([*above, *cells])
    ids = sorted({one.id for one in stripes if one.id is not None})
    spreads = _spreads(connection, number)
    family = Family(
        members=members(connection, ids, None, details),
        branches=tuple(_branches(connection, ids)),
        root=whole.root,
        niche=spreads[0].niche if spreads else None,
    )
    return Window(
        number, whole.root, whole.first, whole.last, start, end, each, len(above),
        _new(connection, whole.snapshot), stripes, family, spreads, _alive(connection, whole),
    )  # fmt: skip


# Rows


def _cells(connection: Connection, whole: Extent, level: int, start: int, end: int) -> list[_Cell]:
    """The cells of `start` to `end`, of 4 to the power of `level` positions: ready-made ones; small
    ones, and what an end of the family cuts, from the labels."""
    each, number = 4**level, whole.snapshot.number
    if level < snapshots.LEVELS[0]:
        return _added_up(connection, number, each, start, end)
    inner = -(-start // each) * each
    outer = (end + 1) // each * each
    if end == _last(connection, number):
        outer = end + 1
    if inner >= outer:
        return _added_up(connection, number, each, start, end)
    ready = connection.rows(
        """SELECT s.pre, s.low, s.high, s.alive, s.against, s.culled, l.pre, l.last, l.organism,
             l.generation FROM stripe s CROSS JOIN label l
           WHERE s.snapshot = ? AND s.level = ? AND s.pre BETWEEN ? AND ?
             AND l.snapshot = s.snapshot AND l.pre = s.head ORDER BY s.pre""",
        (number, level, inner, outer - 1),
    )
    cells = [
        _Cell(pre, min(each, outer - pre), tuple(head), low, high, alive, against, culled)
        for pre, low, high, alive, against, culled, *head in ready
    ]
    return [
        *_added_up(connection, number, each, start, inner - 1),
        *cells,
        *_added_up(connection, number, each, outer, end),
    ]


def _last(connection: Connection, number: int) -> int | None:
    """The last position of the whole snapshot; None where it is empty."""
    found: int | None = connection.value("SELECT max(pre) FROM label WHERE snapshot = ?", (number,))
    return found


def _added_up(connection: Connection, number: int, each: int, start: int, end: int) -> list[_Cell]:
    cells: dict[int, _Cell] = {}
    labels = connection.execute(
        """SELECT pre, last, organism, generation, state FROM label
           WHERE snapshot = ? AND pre BETWEEN ? AND ? ORDER BY pre""",
        (number, start, end),
    )
    for pre, last, own, born, state in labels:
        cell = cells.get(pre // each)
        if cell is None:
            cell = cells[pre // each] = _Cell(pre, 0, (pre, last, own, born), born, born, 0, 0, 0)
        elif last - pre > cell.head[1] - cell.head[0]:
            cell.head = pre, last, own, born
        cell.count += 1
        cell.low, cell.high = min(cell.low, born), max(cell.high, born)
        cell.alive += state == ALIVE
        cell.against += state == SELECTED_AGAINST
        cell.culled += state == CULLED
    return list(cells.values())


def _above(connection: Connection, whole: Extent, start: int) -> list[_Cell]:
    """Organisms before `start` whose clade reaches it, the nearest last: all of the 64 positions
    before, and of each level of stripes those that stand for the three before, and for all of the
    highest. So the great ones are there, and the work does not grow with a chain."""
    number, found = whole.snapshot.number, {}
    highest = connection.value("SELECT max(level) FROM stripe WHERE snapshot = ?", (number,))
    for pre, last, own, born, state in connection.rows(
        """SELECT pre, last, organism, generation, state FROM label
           WHERE snapshot = ? AND pre BETWEEN ? AND ? AND last >= ?""",
        (number, max(whole.first, start - 64), start - 1, start),
    ):
        found[pre] = (pre, last, own, born, state)
    for level in range(snapshots.LEVELS[0], (highest or 0) + 1):
        from_ = 0 if level == highest else start // 4 ** (level + 1) * 4 ** (level + 1)
        for row in connection.rows(
            """SELECT l.pre, l.last, l.organism, l.generation, l.state
               FROM stripe s CROSS JOIN label l
               WHERE s.snapshot = ? AND s.level = ? AND s.pre BETWEEN ? AND ?
                 AND l.snapshot = s.snapshot AND l.pre = s.head""",
            (number, level, from_, start),
        ):
            if whole.first <= row[0] < start <= row[1]:
                found[row[0]] = tuple(row)
    if whole.first < start and whole.root is not None:
        row = connection.row(
            """SELECT pre, last, organism, generation, state FROM label
               WHERE snapshot = ? AND pre = ?""",
            (number, whole.first),
        )
        found[row[0]] = tuple(row)
    ordered = [found[pre] for pre in sorted(found)]
    if len(ordered) > MOST_ABOVE:
        ordered = [*ordered[: MOST_ABOVE // 2], *ordered[-MOST_ABOVE // 2 :]]
    states = (ALIVE, SELECTED_AGAINST, CULLED)
    return [
        _Cell(pre, 1, (pre, last, own, born), born, born, *(state == one for one in states))
        for pre, last, own, born, state in ordered
    ]


def _with_new(
    connection: Connection, snapshot: snapshots.Snapshot, cells: Sequence[_Cell], at_end: bool
) -> list[_Cell]:
    """The same with those that were registered since the snapshot below them, each below its first
    parent here; new founders come last in the forest."""
    below: defaultdict[int, list[int]] = defaultdict(list)
    seen = {cell.head[2] for cell in cells}
    frontier, count = list(seen), 0
    for _ in range(ROUNDS):
        if not frontier or count >= MOST_NEW:
            break
        found = connection.rows(
            f"""SELECT min(e.parent), e.child FROM {connection.ids} AS i CROSS JOIN edge e
                WHERE e.parent = i.id AND e.child > ? GROUP BY e.child ORDER BY e.child""",
            (connection.pack(frontier), snapshot.organism),
        )
        frontier = []
        for parent, child in found:
            if child not in seen and count < MOST_NEW:
                seen.add(child)
                below[parent].append(child)
                frontier.append(child)
                count += 1
    founders = [] if not at_end else [row[0] for row in connection.rows(
        """SELECT id FROM organism WHERE id > ? AND generation = 0 AND same_as IS NULL
           ORDER BY id LIMIT ?""",
        (snapshot.organism, MOST_NEW),
    )]  # fmt: skip
    return list(_placed(cells, below, founders))


def _placed(
    cells: Sequence[_Cell], below: dict[int, list[int]], founders: Sequence[int]
) -> Iterable[_Cell]:
    def new(position: int, own: int, born: int) -> _Cell:
        return _Cell(position, 1, (position, position, own, born), born, born, 1, 0, 0, new=True)

    last = cells[-1].position if cells else 0
    for cell in cells:
        yield cell
        stack = [(child, cell.low + 1) for child in reversed(below.get(cell.head[2], ()))]
        while stack:
            own, born = stack.pop()
            yield new(cell.position, own, born)
            stack += [(child, born + 1) for child in reversed(below.get(own, ()))]
    for own in founders:
        yield new(last, own, 0)


def _hung(cells: Sequence[_Cell]) -> tuple[Stripe, ...]:
    """Each row below the nearest row before it whose clade holds it."""
    stripes: list[Stripe] = []
    older: list[tuple[int, int, int]] = []  # last position, generation, row
    newer: list[tuple[int, int, int]] = []  # the same of those that came since, below the last one
    for cell in cells:
        at, last, own, born = cell.head
        speaks = cell.clade >= cell.count
        if cell.new:
            while newer and newer[-1][1] >= born:
                newer.pop()
            above = newer if born else []
        else:
            start = at if speaks else cell.position
            while older and older[-1][0] < start:
                older.pop()
            above = older
        _, near, parent = above[-1] if above else (0, 0, -1)
        direct = parent >= 0 and speaks and near == born - 1
        here = last, born, len(stripes)
        if cell.new:
            newer.append(here)
        elif speaks:
            older.append(here)
            newer = [here]
        stripes.append(
            Stripe(
                cell.position, own if speaks else None, cell.count, cell.clade if speaks else 0,
                parent, direct, born if speaks else cell.low, cell.low, cell.high,
                cell.alive, cell.against, cell.culled,
            )
        )  # fmt: skip
    return tuple(stripes)


def _branches(connection: Connection, ids: Sequence[int]) -> Iterable[Branch]:
    """All parent links of these, also to parents that are not among them."""
    for row in connection.rows(
        f"""SELECT e.child, e.parent, e.relation, e.weight FROM {connection.ids} AS i
            CROSS JOIN edge e WHERE e.child = i.id ORDER BY e.child, e.parent""",
        (connection.pack(ids),),
    ):
        yield Branch(*row)


# The whole


def _spreads(connection: Connection, number: int) -> tuple[Spread, ...]:
    return tuple(
        Spread(Niche(task, metric, split), *rest)
        for task, metric, split, *rest in connection.rows(
            """SELECT n.task, n.metric, n.split, n.direction, s.scores, s.least, s.low, s.high,
                 s.most
               FROM label_niche s JOIN niche n ON n.id = s.niche
               WHERE s.snapshot = ? ORDER BY s.scores DESC, n.id""",
            (number,),
        )
    )


def _new(connection: Connection, snapshot: snapshots.Snapshot) -> int:
    found: int = connection.value(
        "SELECT count(*) FROM organism WHERE id > ? AND same_as IS NULL", (snapshot.organism,)
    )
    return found


def _alive(connection: Connection, whole: Extent) -> int | None:
    """How many of the forest lived when the snapshot was made; None of a family within it."""
    if whole.root is not None:
        return None
    found: int | None = connection.value(
        """SELECT sum(alive) FROM stripe WHERE snapshot = ? AND level =
             (SELECT max(level) FROM stripe WHERE snapshot = ?)""",
        (whole.snapshot.number,) * 2,
    )
    return found
