"""The interval snapshot: pre-order positions over the family, so that a clade is a few intervals.
It is disposable: built aside from one view of the registry, swapped in, and told what it covers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from lineage import standings
from lineage.database import Connection, Database

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

CHUNK = 10_000
"""Rows of one write transaction: about 30 ms on SQLite, which other writers wait."""

LEVELS = range(3, 16)
"""Stripes hold 4 to the power of so many positions: from 64, below which they are quickly added up,
to 1 billion. All together are a fiftieth of the organisms."""

COLUMNS = {
    "label": ("snapshot", "pre", "last", "organism", "state", "generation", "joules"),
    "stripe": ("snapshot", "level", "pre", "head", "low", "high", "alive", "against", "culled"),
    "graft": ("snapshot", "parent", "child"),
    "label_score": ("snapshot", "pre", "niche", "value"),
    "label_niche": ("snapshot", "niche", "scores", "least", "low", "high", "most"),
}
"""The tables of a snapshot. The second column of each orders it; rows are swept by ranges of it."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot: its number, the highest organism and event when it was begun, and how often links
    had changed then."""

    number: int
    organism: int
    event: int
    structure: int


def current(connection: Connection) -> Snapshot | None:
    """The snapshot to read; None where none was built, or where links among the organisms that it
    holds have changed since: links.rerank counts that."""
    known = dict(connection.rows("SELECT key, value FROM setting"))
    if known.get("snapshot_structure") != known.get("structure") or "snapshot" not in known:
        return None
    return Snapshot(
        known["snapshot"],
        known["snapshot_organism"],
        known["snapshot_event"],
        known["snapshot_structure"],
    )


def build(database: Database) -> bool:
    """Build a snapshot aside and swap it in; whether it was. Of two builds at the same time the
    later wins, and the earlier gives up. Linear in the registry, in time and memory; writers go on
    meanwhile, since it is written in many short transactions."""
    with database.write() as connection:
        begun = _begin(connection)
    with database.read() as connection:
        tables = _tables(connection, begun)
    for table, rows in tables.items():
        while chunk := list(islice(rows, CHUNK)):
            with database.write() as connection:
                if not _is_ours(connection, begun.number):
                    return False
                _insert(connection, table, chunk)
    if database.postgresql:  # a planner that takes a full table for an empty one reads all of it
        with database.transaction("BEGIN") as connection:
            connection.execute(f"ANALYZE {', '.join(COLUMNS)}")
    with database.write() as connection:
        if not _is_ours(connection, begun.number):
            return False
        _set(connection, "snapshot", begun.number)
        _set(connection, "snapshot_organism", begun.organism)
        _set(connection, "snapshot_event", begun.event)
        _set(connection, "snapshot_structure", begun.structure)
    _sweep(database, begun.number)
    return True


def _begin(connection: Connection) -> Snapshot:
    """A snapshot of all who are there now, under a number that none had. From now on an earlier
    build that still runs gives up, and changes of their links are counted."""
    known = dict(connection.rows("SELECT key, value FROM setting"))
    begun = Snapshot(
        known.get("snapshot_building", 0) + 1,
        connection.value("SELECT max(id) FROM organism") or 0,
        connection.value("SELECT max(id) FROM event") or 0,
        known.get("structure", 0),
    )
    _set(connection, "snapshot_building", begun.number)
    _set(connection, "watched", begun.organism)
    _set(connection, "structure", begun.structure)
    return begun


def _is_ours(connection: Connection, number: int) -> bool:
    building = connection.value("SELECT value FROM setting WHERE key = 'snapshot_building'")
    return bool(building == number)


def _set(connection: Connection, key: str, value: int) -> None:
    connection.execute(
        "INSERT INTO setting (key, value) VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def _sweep(database: Database, number: int) -> None:
    """Delete the rows of all snapshots before `number`: the one that was current, and what builds
    left that were killed or gave up."""
    for table, (_, position, *_rest) in COLUMNS.items():
        first = f"SELECT snapshot, {position} FROM {table} ORDER BY snapshot, {position} LIMIT 1"
        while True:
            with database.write() as connection:
                found = connection.row(first)
                if found is None or found[0] >= number:
                    break
                connection.execute(
                    f"DELETE FROM {table} WHERE snapshot = ? AND {position} < ?",
                    (found[0], found[1] + CHUNK),
                )


def _insert(connection: Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    columns = COLUMNS[table]
    marks = ", ".join("?" * len(columns))
    connection.many(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


# What is read and computed. Arrays are indexed by rank: the place of an organism in order of ids.

# A link to a newcomer is left out: it was made since, and counted, so that nobody will ask.

ORGANISMS = f"""SELECT o.id, o.generation, {standings.STATE} FROM organism o
  WHERE o.id <= ? AND o.same_as IS NULL ORDER BY o.id"""
EDGES = "SELECT child, parent FROM edge WHERE child <= ? AND parent <= ?"
JOULES = """SELECT organism, sum(joules) FROM power WHERE phase = 'training' AND per = 'total'
  AND current = 1 AND joules IS NOT NULL AND organism <= ? GROUP BY organism"""
SCORES = "SELECT organism, niche, value FROM fitness WHERE current = 1 AND organism <= ?"


def _tables(connection: Connection, begun: Snapshot) -> dict[str, Iterator[tuple[Any, ...]]]:
    """The rows of each table of a snapshot, in the order of their keys."""
    import numpy as np

    number, newest = begun.number, (begun.organism,)
    ids, generation, state = _read(connection, ORGANISMS, newest, "iib")
    ends = _read(connection, EDGES, newest * 2, "ii")
    child, parent = (np.searchsorted(ids, end) for end in ends)
    order = np.lexsort((parent, -generation[parent], child))
    child, parent = child[order], parent[order]
    main = np.ones(len(child), bool)  # the deepest parent, so that chains of merges stay whole
    main[1:] = child[1:] != child[:-1]
    pre, last = _preorder(generation, child[main], parent[main])
    at = np.argsort(pre)  # rank by position
    joules = np.full(len(ids), np.nan)
    owner, spent = _read(connection, JOULES, newest, "id")
    joules[np.searchsorted(ids, owner)] = spent
    grafts = np.column_stack((pre[parent[~main]], pre[child[~main]]))
    grafts = grafts[np.lexsort((grafts[:, 1], grafts[:, 0]))]
    scored, niche, value = _read(connection, SCORES, newest, "iid")
    scored = np.searchsorted(ids, scored)
    counts = state[scored] == standings.ALIVE
    scored, niche, value = pre[scored[counts]], niche[counts], value[counts]
    spread = _spread(number, niche, value)
    order = np.lexsort((niche, scored))
    return {
        "label": _rows(number, pre, last, ids, state, generation, joules, order=at),
        "stripe": _stripes(number, last[at], state[at], generation[at]),
        "graft": _rows(number, grafts[:, 0], grafts[:, 1]),
        "label_score": _rows(number, scored, niche, value, order=order),
        "label_niche": spread,
    }


def _stripes(
    number: int, last: Array, state: Array, generation: Array
) -> Iterator[tuple[Any, ...]]:
    """The stripes of all levels, by position; the last of each level may be shorter."""
    import numpy as np

    count = len(last)
    for level in LEVELS:
        starts = np.arange(0, count, 4**level)
        size = last - np.arange(count)
        head = np.array([
            start + int(np.argmax(size[start : start + 4**level])) for start in starts
        ], np.int64)  # fmt: skip
        low, high = (
            (np.minimum if at == 0 else np.maximum).reduceat(generation, starts)
            if count else starts for at in (0, 1)
        )  # fmt: skip
        counts = [
            np.add.reduceat(state == one, starts, dtype=np.int64) if count else starts
            for one in (standings.ALIVE, standings.SELECTED_AGAINST, standings.CULLED)
        ]
        yield from _rows(number, np.full(len(starts), level), starts, head, low, high, *counts)
        if len(starts) < 2:
            break


def _spread(number: int, niche: Array, value: Array) -> Iterator[tuple[Any, ...]]:
    """How the values of each niche are spread."""
    import numpy as np

    order = np.lexsort((value, niche))
    known, first, counts = np.unique(niche[order], return_index=True, return_counts=True)
    value = value[order]
    within = [first + ((counts - 1) * share).astype(np.int64) for share in (0, 0.05, 0.95, 1)]
    return _rows(number, known, counts, *(value[one] for one in within))


def _read(connection: Connection, sql: str, params: Sequence[int], kinds: str) -> list[Array]:
    """The columns of a query as arrays: `i` int64, `b` int8, `d` float64."""
    import numpy as np

    kind = np.dtype([(f"f{n}", {"i": "i8", "b": "i1", "d": "f8"}[k]) for n, k in enumerate(kinds)])
    parts = [np.array(rows, kind) for rows in connection.stream(sql, params, 50_000)]
    whole = np.concatenate(parts) if parts else np.empty(0, kind)
    return [np.ascontiguousarray(whole[name]) for name in kind.names or ()]


def _preorder(generation: Array, child: Array, parent: Array) -> tuple[Array, Array]:
    """Pre-order position of each rank in the forest of these links, and by rank the last position
    in its clade. Of founders the one with the largest clade comes first, of siblings the last, as
    trees.backbone lays them; of equals the lower rank. `child` ascends and holds each at most once.
    """
    import numpy as np

    count = len(generation)
    above = np.full(count, -1)
    above[child] = parent
    sizes = np.ones(count, np.int64)
    up, size = above.data, sizes.data  # numbers one by one, and no list of them
    children = np.argsort(generation, kind="stable")
    children = children[above[children] >= 0]
    for own in children[::-1].copy().data:
        size[up[own]] += size[own]
    founders = np.flatnonzero(above < 0)
    founders = founders[np.argsort(-sizes[founders], kind="stable")]
    pre = np.empty(count, np.int64)
    pre[founders] = np.cumsum(sizes[founders]) - sizes[founders]
    order = np.lexsort((child, sizes[child], parent))
    child, parent = child[order], parent[order]
    before = np.cumsum(sizes[child]) - sizes[child]  # of all siblings, less that of the first
    first = np.ones(len(child), bool)
    first[1:] = parent[1:] != parent[:-1]
    before -= np.maximum.accumulate(np.where(first, before, 0))
    offset = np.zeros(count, np.int64)
    offset[child] = before + 1
    places, offsets = pre.data, offset.data
    for own in children.data:  # parents before their children
        places[own] = places[up[own]] + offsets[own]
    return pre, pre + sizes - 1


def _rows(
    number: int, *columns: Array, order: Array | None = None
) -> Iterator[tuple[Any, ...]]:
    """Rows of a table, in this order of them, chunk by chunk as plain numbers; NaN as None."""
    for start in range(0, len(columns[0]), CHUNK):
        chunk = slice(start, start + CHUNK)
        plain: list[Iterable[Any]] = []
        for column in columns:
            values = column[chunk if order is None else order[chunk]].tolist()
            if column.dtype == float:
                values = [None if value != value else value for value in values]
            plain.append(values)
        for row in zip(*plain, strict=True):
            yield number, *row
