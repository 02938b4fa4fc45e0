"""Dominance: who is beaten in a niche, and by whom. All niches are judged by one statement inside
the database; only the fronts, which are short, and the ids of the beaten come out.

In a niche, y dominates x when y is at least as fit, costs at most as much to serve, and is better
in one of the two. Costs are joules, compared with the same unit (`per`) only. An organism whose
files are here is dominated only by one whose files are here too. Exact ties dominate nobody."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from lineage import costs
from lineage.database import Connection
from lineage.ledger import LOAD_BEARING

CHUNK = 5000
"""Organisms that one statement is asked for."""

GUARDING_ALIASES = ("production",)
"""Who holds one of these aliases is never selected."""

# Fitness is turned so that higher is better. Without a score or a known cost there is no row: what
# is unknown neither beats nor is beaten. SQLite reads the organisms in order, and CROSS JOIN keeps
# it at that: their costs and scores then lie side by side.
_CANDIDATES = """
  SELECT c.organism, f.niche, c.per, o.here, c.joules, c.source,
    CASE n.direction WHEN 'lower' THEN -f.value ELSE f.value END AS fit
  FROM cost c CROSS JOIN organism o CROSS JOIN fitness f CROSS JOIN niche n
  WHERE o.id = c.organism AND f.organism = o.id AND n.id = f.niche AND f.current = 1
    AND n.direction IS NOT NULL AND o.ghost = 0 AND o.same_as IS NULL {who}"""

# In the order of (joules, fit descending) whoever beats x comes before x, and whoever is as fit and
# comes before it beats it, but for exact ties: these are one group of the window.
_JUDGED = """
  SELECT {columns},
    CASE here WHEN 1 THEN max(fit) FILTER (WHERE here = 1) OVER better
              ELSE max(fit) OVER better END >= fit AS beaten
  FROM candidate
  WINDOW better AS (PARTITION BY niche, per ORDER BY joules, fit DESC
    GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)"""

_STANDING = "organism, niche, per, here, joules, source, fit"

SWEEP = f"""
WITH RECURSIVE {costs.known()},
candidate AS ({_CANDIDATES.format(who="AND o.status = 'alive'")}),
judged AS ({_JUDGED.format(columns="organism, niche, per")})
SELECT organism, CASE WHEN beaten THEN NULL ELSE niche END,
  CASE WHEN beaten THEN NULL ELSE per END FROM judged"""
"""A row for each standing, without a niche where it is beaten. Slender: all of it is sorted."""

GUARDED = {
    "load-bearing": f"SELECT id FROM ({LOAD_BEARING.format(scope='')}) AS borne",
    "aliased": "SELECT organism FROM alias "
    f"WHERE alias IN ({', '.join(repr(one) for one in GUARDING_ALIASES)})",
    "protected": "SELECT id FROM organism WHERE protected = 1",
}
"""By what guards an organism, who is guarded so. Of several the last is told."""

AROUND = f"""
WITH RECURSIVE rivals(id) AS (
  SELECT f.organism FROM fitness m JOIN fitness f ON f.niche = m.niche AND f.current = 1
  WHERE m.organism = ? AND m.current = 1),
{costs.known("rivals")},
candidate AS ({_CANDIDATES.format(
    who="AND (o.status = 'alive' OR o.id = ?) AND f.niche IN "
        "(SELECT m.niche FROM fitness m WHERE m.organism = ? AND m.current = 1)")}),
judged AS ({_JUDGED.format(columns=_STANDING)})
SELECT {_STANDING}, beaten FROM judged
WHERE organism = ? OR beaten IS NULL OR NOT beaten"""
"""The fronts of all niches of one organism, and its own rows, as if it were alive."""

OWN_ROWS = f"""
WITH RECURSIVE wanted(id) AS (SELECT i.id FROM {{ids}} AS i),
{costs.known("wanted")},
candidate AS ({_CANDIDATES.format(who="")})
SELECT {_STANDING} FROM candidate ORDER BY organism, niche, per"""


@dataclass(frozen=True, slots=True)
class Standing:
    """An organism in a niche: `fit` (turned so that higher is better), J per `per`, how the cost is
    known, whether its files are here."""

    organism: int
    niche: int
    per: str
    here: bool
    joules: float
    source: str
    fit: float


@dataclass(slots=True)
class Front:
    """Who is beaten by nobody, in each niche and unit of cost."""

    rows: dict[tuple[int, str], list[Standing]] = field(default_factory=lambda: defaultdict(list))
    _best: dict[tuple[int, str, bool], tuple[list[float], list[Standing]]] = field(
        default_factory=dict
    )

    def beats(self, x: Standing) -> Standing | None:
        """The one on the front that dominates x: the fittest of those that cost no more, of these
        the cheapest; None when x is dominated by nobody.

        A front's member is not dominated itself, so it is not selected in this niche: the fittest
        among those that cost no more than x cannot be beaten by anyone cheaper or equal."""
        keys, best = self._sorted(x.niche, x.per, x.here)
        position = bisect_right(keys, x.joules)
        if not position:
            return None
        y = best[position - 1]
        better = y.fit > x.fit or (y.fit == x.fit and y.joules < x.joules)
        return y if better and y.organism != x.organism else None

    def _sorted(self, niche: int, per: str, here: bool) -> tuple[list[float], list[Standing]]:
        """Costs in ascending order, and the best for each: the fittest up to there."""
        key = (niche, per, here)
        if key not in self._best:
            rows = [one for one in self.rows[niche, per] if one.here or not here]
            rows.sort(key=lambda one: (one.joules, -one.fit, one.organism))
            best: list[Standing] = []
            for one in rows:
                best.append(best[-1] if best and best[-1].fit >= one.fit else one)
            self._best[key] = ([one.joules for one in rows], best)
        return self._best[key]


def standing(row: Sequence[object]) -> Standing:
    organism, niche, per, here, joules, source, fit = row[:7]
    return Standing(organism, niche, per, bool(here), joules, source, fit)  # type: ignore[arg-type]


def sweep(connection: Connection) -> tuple[Front, list[tuple[int, str]]]:
    """The fronts of all niches, and (organism, what guards it, empty for nothing) for all that are
    beaten wherever they have a score. Nothing is written."""
    beaten: set[int] = set()
    unbeaten: defaultdict[int, set[tuple[int, str]]] = defaultdict(set)
    for own, niche, per in connection.execute(SWEEP):
        if niche is None:
            beaten.add(own)
        else:
            unbeaten[own].add((niche, per))
    front = Front()
    ids = sorted(unbeaten)
    for start in range(0, len(ids), CHUNK):
        for own, known in standings(connection, ids[start : start + CHUNK]).items():
            for one in known:
                if (one.niche, one.per) in unbeaten[own]:
                    front.rows[one.niche, one.per].append(one)
    guards = {own: guard for guard, sql in GUARDED.items() for (own,) in connection.execute(sql)}
    return front, [(own, guards.get(own, "")) for own in sorted(beaten - unbeaten.keys())]


def around(connection: Connection, own: int) -> tuple[Front, list[tuple[Standing, bool]]]:
    """The fronts of the niches of one organism, and its own standings with whether each is beaten,
    as if it were alive."""
    front = Front()
    mine: list[tuple[Standing, bool]] = []
    for row in connection.execute(AROUND, (own, own, own, own)):
        one = standing(row)
        if not row[7]:
            front.rows[one.niche, one.per].append(one)
        if one.organism == own:
            mine.append((one, bool(row[7])))
    return front, sorted(mine, key=lambda pair: (pair[0].niche, pair[0].per))


def standings(connection: Connection, ids: Sequence[int]) -> dict[int, list[Standing]]:
    """The standings of a few organisms in all their niches."""
    found: defaultdict[int, list[Standing]] = defaultdict(list)
    for row in connection.rows(OWN_ROWS.format(ids=connection.ids), (connection.pack(ids),)):
        found[row[0]].append(standing(row))
    return dict(found)
