"""What it costs to serve an organism, as one piece of SQL that the ledger and the selection share:
the serving joules that are given, else an estimate; and what needs another to run costs both."""

from __future__ import annotations

from lineage.database import Connection
from lineage.energy import ASSUMED_PRECISION, JOULES_PER_OPERATION
from lineage.organism import PERS, PowerCost

RATES = ("token", "character", "request", "image")
"""The units that serving costs are compared in, each only with itself."""

_OTHERS = tuple(per for per in PERS if per not in RATES)
_PRECISIONS = " ".join(
    f"WHEN '{precision}' THEN {joules!r}" for precision, joules in JOULES_PER_OPERATION.items()
)

BY_PARAMETERS, SEVERAL_METERS, NO_METER = -1, -2, -3
"""In the place of a meter's id: two operations a parameter; parts have several; none is named."""

# NOT IN, since with IN SQLite would look into its index once for each of the units.
OWN = f"""
SELECT o.id, coalesce(p.per, 'token'),
  coalesce(p.joules, 2.0 * o.parameters * CASE o.precision {_PRECISIONS}
    ELSE {JOULES_PER_OPERATION[ASSUMED_PRECISION]!r} END),
  coalesce(p.source, 'estimated'),
  CASE WHEN p.organism IS NULL THEN {BY_PARAMETERS} ELSE coalesce(p.meter, {NO_METER}) END
FROM organism o LEFT JOIN power p ON p.organism = o.id AND p.phase = 'serving' AND p.current = 1
  AND p.joules IS NOT NULL AND p.per NOT IN ({", ".join(repr(per) for per in _OTHERS)})
WHERE p.organism IS NOT NULL OR o.parameters IS NOT NULL"""
"""(organism, per, joules, source, meter): what an organism costs by itself. Where nothing is given,
two operations a parameter and token (see energy.serving_estimate), labelled estimated."""

NEEDS = """
SELECT e.child AS id, e.parent AS base FROM {edge} WHERE e.needed = 1
UNION
SELECT needs.id, e.parent FROM needs CROSS JOIN edge e
WHERE e.child = needs.base AND e.needed = 1"""
"""(id, base): all that an organism needs at run time, through any chain. A recursive step: to be
named `needs`."""

_BASES = """
SELECT n.id, base.per, sum(base.joules) AS joules, min(base.meter) AS low, max(base.meter) AS high,
  max(CASE base.source WHEN 'estimated' THEN 2 WHEN 'declared' THEN 1 ELSE 0 END) AS least
FROM needs n CROSS JOIN own base
JOIN (SELECT id, count(*) AS size FROM needs GROUP BY id) whole ON whole.id = n.id
WHERE base.organism = n.base
GROUP BY n.id, base.per, whole.size HAVING count(*) = whole.size"""

_SUMMED = f"""
SELECT own.organism, own.per, own.joules, own.source, own.meter FROM own
WHERE own.organism NOT IN (SELECT id FROM needs) {{within}}
UNION ALL
SELECT bases.id, bases.per, mine.joules + bases.joules,
  CASE WHEN mine.source = 'estimated' OR bases.least = 2 THEN 'estimated'
    WHEN mine.source = 'declared' OR bases.least = 1 THEN 'declared' ELSE 'measured' END,
  CASE WHEN bases.low = mine.meter AND bases.high = mine.meter THEN mine.meter
    ELSE {SEVERAL_METERS} END
FROM ({_BASES}) AS bases CROSS JOIN own mine
WHERE mine.organism = bases.id AND mine.per = bases.per"""
SUMMED = _SUMMED.format(within="")
"""(organism, per, joules, source, meter) with what it needs to run; unknown where a part is. A sum
is as well known as its least known part."""


def known(scope: str = "") -> str:
    """The common table expressions that end in `cost(organism, per, joules, source, meter)`: of
    all organisms, or of those in a table `scope` with a column `id`. They are recursive.

    The hint keeps SQLite from writing both tables out before the first row is read: selection over
    two million organisms then takes as long as the bare window query, without it a third more."""
    edge, within = "edge e", ""
    if scope:
        edge = f"(SELECT * FROM edge WHERE child IN (SELECT id FROM {scope})) AS e"
        within = f"AND own.organism IN (SELECT id FROM {scope})"
    return f"""needs(id, base) AS ({NEEDS.format(edge=edge)}),
own(organism, per, joules, source, meter) AS NOT MATERIALIZED ({OWN}),
cost(organism, per, joules, source, meter) AS NOT MATERIALIZED ({_SUMMED.format(within=within)})"""


def serving(connection: Connection, ids: list[int]) -> dict[int, list[PowerCost]]:
    """The serving costs of a few organisms in joules, with what they need to run, one a unit."""
    if not ids:
        return {}
    sql = f"""
    WITH RECURSIVE wanted(id) AS (SELECT i.id FROM {connection.ids} AS i), {known("wanted")}
    SELECT organism, per, joules, source FROM cost ORDER BY organism, per"""
    found: dict[int, list[PowerCost]] = {}
    for own, per, joules, source in connection.rows(sql, (connection.pack(ids),)):
        cost = PowerCost(joules=joules, phase="serving", per=per, source=source)
        found.setdefault(own, []).append(cost)
    return found
