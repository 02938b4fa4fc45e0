"""What questions about descent cost, against bare recursive queries on a raw connection."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import generate, raw
from bench.timing import Figure, Sides, against, figure, in_turn, seconds
from bench.timing import raw as raw_of
from lineage import clades, database, pedigree, snapshots

BARE_ANCESTORS = """
WITH RECURSIVE up(id) AS (
  SELECT parent FROM edge WHERE child = ?
  UNION
  SELECT e.parent FROM up JOIN edge e ON e.child = up.id
)
SELECT id FROM up"""

BARE_IS_ANCESTOR = BARE_ANCESTORS.replace(
    "SELECT id FROM up", "SELECT EXISTS (SELECT 1 FROM up WHERE id = ?)"
)

BARE_MRCA = """
WITH RECURSIVE
  a(id) AS (SELECT ? UNION SELECT e.parent FROM a JOIN edge e ON e.child = a.id),
  b(id) AS (SELECT ? UNION SELECT e.parent FROM b JOIN edge e ON e.child = b.id)
SELECT o.id FROM (SELECT id FROM a INTERSECT SELECT id FROM b) AS c
JOIN organism o ON o.id = c.id ORDER BY o.generation DESC LIMIT 1"""
"""Right on a chain, where the deepest common ancestor is the only closest one."""

BARE_AGGREGATE = """
WITH RECURSIVE clade(id) AS (
  SELECT ? UNION SELECT e.child FROM clade JOIN edge e ON e.parent = clade.id
)
SELECT NULL, count(*), sum(o.status = 'alive' AND o.ghost = 0) FROM clade
  JOIN organism o ON o.id = clade.id
UNION ALL
SELECT NULL, count(DISTINCT p.organism), sum(p.joules) FROM clade JOIN power p
  ON p.organism = clade.id AND p.phase = 'training' AND p.per = 'total'
UNION ALL
SELECT f.niche, CASE n.direction WHEN 'lower' THEN min(f.value) ELSE max(f.value) END, f.organism
  FROM clade JOIN organism o ON o.id = clade.id AND o.status = 'alive' AND o.ghost = 0
  JOIN fitness f ON f.organism = clade.id AND f.current = 1 JOIN niche n ON n.id = f.niche
  GROUP BY f.niche"""


def ancestors(small: Path, large: Path, sizes: tuple[int, int], rounds: int) -> list[Figure]:
    """p50 over organisms that have parents, drawn from the whole registry."""
    lineage_small, lineage_large = (_asked(path, rounds) for path in (small, large))
    bare = raw.connect(large)
    sides = in_turn(
        rounds, lineage_large, lambda n: bare.execute(BARE_ANCESTORS, (DRAWN[large][n],)).fetchall()
    )
    grown = in_turn(rounds, lineage_large, lineage_small)
    few, many = (f"{size:,}" for size in sizes)
    note = f"{rounds} organisms in turn, each in a read transaction of its own; in fifths "
    return [
        Figure(
            f"ancestors (ids), p50, {many} organisms, against the bare recursive query",
            "≤ 3x",
            f"{figure(sides.ratio)}x ({against(sides)})",
            sides.ratio <= 3,
            raw_of(sides),
            note + f"{sides.spread}x.",
        ),
        Figure(
            f"ancestors: growth from {few} to {many}",
            "≤ 3x",
            f"{figure(grown.ratio)}x ({against(grown, many, few)})",
            grown.ratio <= 3,
            raw_of(grown),
            note + f"{grown.spread}x.",
        ),
    ]


DRAWN: dict[Path, list[int]] = {}
"""The organisms that are asked for in each registry, so that both sides ask for the same."""


def _asked(path: Path, rounds: int) -> Callable[[int], object]:
    found = database.connect(path, create=False)
    chance = random.Random(5)
    with found.read() as connection:
        last = connection.value("SELECT max(child) FROM edge")
        DRAWN[path] = []
        while len(DRAWN[path]) <= rounds:
            DRAWN[path].append(
                connection.value(
                    "SELECT child FROM edge WHERE child >= ? LIMIT 1", (chance.randint(1, last),)
                )
            )

    def ask(number: int) -> object:
        with found.read() as connection:
            return pedigree.ancestors(connection, DRAWN[path][number])

    return ask


def chains(folder: Path, lengths: tuple[int, ...], rounds: int) -> list[Figure]:
    """is_ancestor and mrca on chains with a second arm that leaves half way: the tip against
    organisms all along the chain, and against those all along the other arm."""
    kept: dict[str, list[tuple[int, Sides]]] = {"is_ancestor": [], "mrca": []}
    for length in lengths:
        path = folder / f"chain-{length}.db"
        generate.write(path, generate.chain(length, length // 2))
        ours, bare = database.connect(path, create=False), raw.connect(path)
        chance = random.Random(7)
        above = [chance.randint(1, length - 1) for _ in range(rounds + 1)]
        beside = [chance.randint(length + 1, 2 * length - length // 2) for _ in range(rounds + 1)]

        def is_ancestor(n: int, ours=ours, above=above, length=length) -> object:
            with ours.read() as connection:
                return pedigree.is_ancestor(connection, above[n], length)

        def mrca(n: int, ours=ours, beside=beside, length=length) -> object:
            with ours.read() as connection:
                return pedigree.mrca(connection, length, beside[n])

        def bare_is(n: int, bare=bare, above=above, length=length) -> object:
            return bool(bare.execute(BARE_IS_ANCESTOR, (length, above[n])).fetchone()[0])

        def bare_mrca(n: int, bare=bare, beside=beside, length=length) -> object:
            return [bare.execute(BARE_MRCA, (length, beside[n])).fetchone()[0]]

        assert is_ancestor(0) is bare_is(0) is True
        assert mrca(0) == bare_mrca(0) == [length // 2]
        kept["is_ancestor"].append((length, in_turn(rounds, is_ancestor, bare_is)))
        kept["mrca"].append((length, in_turn(rounds, mrca, bare_mrca)))
        bare.close()
        ours.close()
    return [_chain_figure(what, measured, rounds) for what, measured in kept.items()]


def _chain_figure(what: str, measured: list[tuple[int, Sides]], rounds: int) -> Figure:
    length, last = measured[-1]
    along = "; ".join(f"{n:,}: {against(sides)}" for n, sides in measured)
    growth = median(last.ours) / median(measured[0][1].ours)
    ratio = 1 / last.ratio
    return Figure(
        f"{what} on a chain of {length:,}, against the recursive query",
        "≥ 300x faster, logarithmic",
        f"{figure(ratio)}x ({against(last)})",
        ratio >= 300,
        {str(n): raw_of(sides) for n, sides in measured},
        f"{rounds} rounds in turn. By length: {along}. {length // measured[0][0]} times the chain "
        f"takes {figure(growth)} times as long.",
    )


def clade(path: Path, size: int, rounds: int) -> Figure:
    """The aggregate of the largest clade: count, living, joules, best per niche."""
    ours, bare = database.connect(path, create=False), raw.connect(path)
    own, held = largest(bare)
    timer = in_turn(1, lambda n: n and snapshots.build(ours), lambda n: None)

    def aggregate(_: int) -> clades.Clade:
        with ours.read() as connection:
            return clades.aggregate(connection, own)

    def bare_aggregate(_: int) -> list[tuple[object, ...]]:
        return bare.execute(BARE_AGGREGATE, (own,)).fetchall()

    told, rows = aggregate(0), bare_aggregate(0)
    assert (told.count, told.living) == rows[0][1:] == (held, held)
    assert sorted(one.score.value for one in told.best) == sorted(row[1] for row in rows[2:])
    sides = in_turn(rounds, aggregate, bare_aggregate)
    ratio = 1 / sides.ratio
    bare.close()
    ours.close()
    return Figure(
        f"aggregate over the largest clade ({held:,} of {size:,} organisms), exact on the DAG, "
        "against the recursive query",
        "≥ 5x faster",
        f"{figure(ratio)}x ({against(sides)})",
        ratio >= 5,
        raw_of(sides) | {"clade": held, "snapshot_s": timer.ours[0]},
        f"{rounds} rounds in turn; in fifths {sides.turned().spread}x. Count, living, joules and "
        f"the best in {len(told.best)} niches; both answers were compared. "
        f"{'From' if told.from_snapshot else 'Without'} the snapshot, which took "
        f"{seconds(timer.ours[0])} to build.",
    )


def largest(connection: sqlite3.Connection) -> tuple[int, int]:
    """The founder with the largest clade, and how many that holds."""
    sized = []
    for own in generate.largest_clades(connection):
        rows = connection.execute(pedigree.DESCENDANTS, (own,))
        sized.append((1 + sum(1 for _ in rows), own))
    held, own = max(sized)
    return own, held
