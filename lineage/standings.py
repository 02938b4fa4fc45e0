"""Standings: each score that counts, side by side with what serving its organism costs, whether it
lives and whether its files are here, in the order of niches and values. The table is derived:
`settle` makes the rows of organisms anew whenever anything that they rest on has changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lineage import costs
from lineage.database import Connection
from lineage.energy import ASSUMED_PRECISION, JOULES_PER_OPERATION
from lineage.organism import PowerCost

ALIVE, SELECTED_AGAINST, CULLED, ABSENT = range(4)
"""The `state` of an organism, where tables hold it in numbers. ABSENT: of a ghost."""

STATES = {"alive": ALIVE, "selected_against": SELECTED_AGAINST, "culled": CULLED}

SOURCES = ("measured", "declared", "estimated")
"""By `source`, how a cost is known; the later, the less surely."""

UNCOSTED = -1
"""The `per` of a standing whose cost is not known; else it is the place of the unit in
costs.RATES. `also` is 1 in the rows of all units of an organism but the first."""

COLUMNS = (
    "niche", "value", "organism", "per", "also", "joules", "source", "meter", "stderr", "n",
    "state", "here",
)  # fmt: skip
_LISTED = ", ".join(COLUMNS)
INSERT = f"INSERT INTO standing ({_LISTED}) VALUES ({', '.join('?' * len(COLUMNS))})"


def _code(column: str, values: Sequence[str]) -> str:
    known = " ".join(f"WHEN '{value}' THEN {code}" for code, value in enumerate(values))
    return f"CASE {column} {known} END"


def _said(column: str, values: Sequence[str]) -> str:
    known = " ".join(f"WHEN {code} THEN '{value}'" for code, value in enumerate(values))
    return f"CASE {column} {known} END"


PER, SOURCE = _said("f.per", costs.RATES), _said("f.source", SOURCES)
"""The unit and the source of a standing `f`, in words."""

_PER = _code("c.per", costs.RATES)
STATE = f"""CASE WHEN o.ghost = 1 OR o.same_as IS NOT NULL THEN {ABSENT}
  WHEN o.status = 'alive' THEN {ALIVE} WHEN o.status = 'culled' THEN {CULLED}
  ELSE {SELECTED_AGAINST} END"""
"""The state of an organism `o`."""


def _tables(scope: str = "") -> str:
    """The common table expressions that `_rows` rests on, for WITH RECURSIVE."""
    return f"""{costs.known(scope)},
priced(organism, per, joules, source, meter) AS (
  SELECT c.organism, {_PER}, c.joules, {_code("c.source", SOURCES)}, c.meter FROM cost c),
first(organism, per) AS (SELECT organism, min(per) FROM priced GROUP BY organism)"""


def _rows(scope: str = "") -> str:
    """The standings of all, or of those in a table `scope` with a column `id`, in the order of
    COLUMNS."""
    of = f"{scope} AS t CROSS JOIN organism o" if scope else "organism o"
    within = "o.id = t.id AND" if scope else ""
    return f"""SELECT f.niche, f.value, f.organism, coalesce(p.per, {UNCOSTED}),
  CASE WHEN p.per > q.per THEN 1 ELSE 0 END, p.joules, p.source, p.meter, f.stderr, f.n,
  {STATE}, o.here
FROM {of} CROSS JOIN fitness f LEFT JOIN priced p ON p.organism = o.id
LEFT JOIN first q ON q.organism = o.id
WHERE {within} f.organism = o.id AND f.current = 1"""


_BELOW = """WITH RECURSIVE below(id, needed) AS (
  SELECT i.id, 1 FROM {ids} AS i
  UNION
  SELECT e.child, below.needed FROM below CROSS JOIN edge e
  WHERE e.parent = below.id AND e.needed = below.needed)
SELECT id FROM below"""


def with_dependents(connection: Connection, organisms: Iterable[int]) -> list[int]:
    """These, and whoever needs one of them to run, through any chain: it costs what they cost."""
    rows = connection.rows(_BELOW.format(ids=connection.ids), (connection.pack(organisms),))
    return [row[0] for row in rows]


def niches(connection: Connection, organisms: Iterable[int]) -> list[int]:
    """The niches where these organisms have, or ever had, a score."""
    rows = connection.rows(
        f"""SELECT DISTINCT f.niche FROM {connection.ids} AS i CROSS JOIN fitness f
            WHERE f.organism = i.id ORDER BY f.niche""",
        (connection.pack(organisms),),
    )
    return [row[0] for row in rows]


def settle(connection: Connection, organisms: Iterable[int], costs_too: bool) -> None:
    """Make the standings of organisms what they should be; where what serving them costs may have
    changed (`costs_too`), also of all that need them to run."""
    packed = connection.pack(with_dependents(connection, organisms) if costs_too else organisms)
    forget(connection, packed)
    connection.execute(
        f"""INSERT INTO standing ({_LISTED}) WITH RECURSIVE
            touched(id) AS (SELECT i.id FROM {connection.ids} AS i), {_tables("touched")}
            {_rows("touched")}""",
        (packed,),
    )


def forget(connection: Connection, packed: Any) -> None:
    """Take away the standings of organisms. All that an organism ever scored is in `fitness`, so
    that its rows are found without an index of their own."""
    connection.execute(
        f"""DELETE FROM standing WHERE (niche, value, organism) IN (
              SELECT f.niche, f.value, f.organism FROM {connection.ids} AS i
              CROSS JOIN fitness f WHERE f.organism = i.id)""",
        (packed,),
    )


def rebuild(connection: Connection) -> None:
    """Make the whole table anew."""
    connection.execute("DELETE FROM standing")
    connection.execute(
        f"INSERT INTO standing ({_LISTED}) WITH RECURSIVE {_tables()} {_rows()} ORDER BY 1, 2, 3, 4"
    )


# A sum of joules hangs on its order in the last digits, which are left out of account.
_UNLIKE = " OR ".join(
    ["abs(coalesce(s.joules, -9) - coalesce(w.joules, -9)) > 1e-9 * coalesce(w.joules, 0)"]
    + [f"coalesce(s.{one}, -9) <> coalesce(w.{one}, -9)" for one in COLUMNS[4:] if one != "joules"]
)
_KEY = ", ".join(COLUMNS[:4])


def wrong(connection: Connection) -> list[int]:
    """The organisms whose standings are not what they should be, one for each such row."""
    wanted = f"WITH RECURSIVE {_tables()}, wanted({_LISTED}) AS ({_rows()})"
    on = " AND ".join(f"s.{one} = w.{one}" for one in COLUMNS[:4])
    sql = f"""{wanted} SELECT w.organism, CASE WHEN s.niche IS NULL OR {_UNLIKE} THEN 1 ELSE 0 END
        FROM wanted w LEFT JOIN standing s ON {on}"""
    found, there = [], 0
    for rows in connection.stream(sql, (), 50_000):
        found += [own for own, unlike in rows if unlike]
        there += len(rows)
    if not found and connection.value("SELECT count(*) FROM standing") != there:
        sql = f"""{wanted} SELECT organism FROM (SELECT {_KEY} FROM standing
            EXCEPT SELECT {_KEY} FROM wanted) AS more"""
        found = [row[0] for row in connection.rows(sql)]
    return found


def of_new(
    own: int,
    scores: Sequence[tuple[int, Any]],
    power: Sequence[tuple[PowerCost, int | None]],
    parameters: int | None,
    precision: str | None,
    state: int,
    here: int,
) -> list[tuple[Any, ...]] | None:
    """The standings of an organism that needs no other to run, from values at hand: its scores as
    (niche, Score) and its costs as (PowerCost, meter). None where that is for `settle` to say,
    since several scores of a niche or rates of a unit are given, or some are retracted."""
    known: dict[str, tuple[PowerCost, int | None]] = {}
    for cost, meter in power:
        if cost.phase == "serving" and cost.per in costs.RATES:
            if cost.per in known or cost.retracted is not None:
                return None
            known[cost.per] = cost, meter
    if len({niche for niche, _ in scores}) < len(scores):
        return None
    if any(score.retracted is not None for _, score in scores):
        return None
    priced: list[tuple[Any, ...]] = [
        (code, float(cost.joules), SOURCES.index(cost.source),
         costs.NO_METER if meter is None else meter)
        for code, per in enumerate(costs.RATES) if per in known
        for cost, meter in [known[per]] if cost.joules is not None
    ]  # fmt: skip
    if not priced and parameters is not None:
        each = JOULES_PER_OPERATION.get(precision or "", JOULES_PER_OPERATION[ASSUMED_PRECISION])
        priced = [(0, 2.0 * parameters * each, 2, costs.BY_PARAMETERS)]
    return [
        (niche, score.value, own, per, int(at > 0), *cost, score.stderr, score.n, state, here)
        for niche, score in scores
        for at, (per, *cost) in enumerate(priced or [(UNCOSTED, None, None, None)])
    ]
