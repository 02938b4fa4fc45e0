"""Who is best in a niche, and who is best for what it costs: the front, where nobody is beaten by
one that is at least as fit and costs at most as much. Standings lie in the order of niches and
values: they answer the first, and for joules the second, without looking at any organism."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from lineage import costs, ledger, standings
from lineage.answers import Answer
from lineage.clades import members
from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.organism import Niche, Organism, Score, one_of

PERS = ("joule", "dollar", "byte", "parameter")
"""What fitness is weighed against: joules of serving (given, else estimated), the price of serving
in any currency, bytes of the genome, parameters. What needs another organism to run costs both."""

SERVED = f"per IN ({', '.join(repr(per) for per in costs.RATES)})"

# What an organism costs by itself, in the columns of costs.OWN: of those in `scope`.
_OWN = {
    "dollar": f"""SELECT p.organism, p.currency || '/' || p.per, p.cost, p.source, 0
        FROM scope s JOIN power p ON p.organism = s.id
        WHERE p.phase = 'serving' AND p.current = 1 AND p.cost IS NOT NULL AND p.{SERVED}""",
    "byte": """SELECT o.id, 'byte', o.bytes, 'measured', 0
        FROM scope s JOIN organism o ON o.id = s.id WHERE o.bytes IS NOT NULL""",
    "parameter": """SELECT o.id, 'parameter', o.parameters, 'measured', 0
        FROM scope s JOIN organism o ON o.id = s.id WHERE o.parameters IS NOT NULL""",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """An organism with its score in the niche. `tied`: it scores like the fittest, exactly or
    within the standard error of the difference, as far as errors are known. Where fitness is
    weighed against a cost: the `cost` in joules or money per `unit` (`token`; `USD/token`), bytes
    or parameters, and how it is known; `ratio` is fitness divided by cost, None where that has no
    meaning (see Ranking)."""

    organism: Organism
    score: Score
    tied: bool
    cost: float | None = None
    unit: str | None = None
    source: str | None = None
    ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The place that a score would have, or has, among the `of` living ones in its niche, from 1;
    equals share it."""

    niche: Niche
    place: int
    of: int


@dataclass(frozen=True, slots=True)
class Ranking(Answer):
    """Who is best in a niche among the living. Without `per`: the fittest first, of equals the one
    registered first. With `per`: for each unit of cost the front, from the cheapest to the fittest;
    costs in different units are never compared. A lower score can be worth any saving or none, so
    the front is the answer. The ratio of fitness to cost is only given where it means something:
    higher is better, and all scores are positive. Even there it knows nothing of what a score of
    chance is, and tends to favour the smallest.

    `scored` counts all that were scored in the niche, whatever became of them; `better_gone` those
    that score better than the best living one, and are selected against or culled. With `per`:
    `beaten` counts living ones that are not on the front, `uncosted` those whose cost is unknown;
    these are in no front."""

    _rows: ClassVar[str] = "standings"

    niche: Niche
    direction: str
    per: str | None
    standings: tuple[Standing, ...]
    scored: int
    better_gone: int
    beaten: int = 0
    uncosted: int = 0


def best(
    connection: Connection,
    niche: Niche,
    per: str | None = None,
    clade: int | None = None,
    limit: int | None = 10,
) -> Ranking:
    """The best in `niche`, of an organism and its descendants where `clade` names it: at most
    `limit`, with `per` the fittest so many of each front. InvalidValue where it is not known which
    way the metric is better."""
    if per is not None:
        one_of(per, PERS, "what fitness is weighed against,")
    asked = _Question(connection, niche, clade)
    return asked.fittest(limit) if per is None else asked.front(per, limit)


def places(connection: Connection, own: int) -> list[Place]:
    """The place of an organism in each niche where it is scored and it is known which way is
    better. Linear in the scores of these niches."""
    alive = f"s.niche = f.niche AND s.state = {standings.ALIVE} AND s.also = 0"
    return [
        Place(Niche(task, metric, split), better + 1, of)
        for task, metric, split, better, of in connection.rows(
            f"""SELECT n.task, n.metric, n.split,
                  (SELECT count(*) FROM standing s WHERE {alive}
                     AND s.value > CASE n.direction WHEN 'lower' THEN ? ELSE f.value END
                     AND s.value < CASE n.direction WHEN 'lower' THEN f.value ELSE ? END),
                  (SELECT count(*) FROM standing s WHERE {alive})
                FROM fitness f JOIN niche n ON n.id = f.niche
                WHERE f.organism = ? AND f.current = 1 AND n.direction IS NOT NULL
                ORDER BY n.id""",
            (-math.inf, math.inf, own),
        )
    ]


class _Question:
    """Who is asked for, as SQL: those scored in a niche, in a clade."""

    def __init__(self, connection: Connection, niche: Niche, clade: int | None) -> None:
        self.connection = connection
        self.niche = niche
        own, direction = ledger.niche_id(connection, niche)
        if direction is None:
            raise InvalidValue(
                f"it is not known whether a higher or a lower {niche} is better, so nobody is "
                "best. `lineage score` with --direction says it, once."
            )
        self.direction: str = direction
        self.sign = -1 if direction == "lower" else 1
        self.ahead = "<" if direction == "lower" else ">"
        self.order = f"f.value {'ASC' if direction == 'lower' else 'DESC'}, f.organism"
        self.own, self.clade, people = own, clade, "standing f WHERE f.niche = ?"
        self.params: tuple[Any, ...] = (own,)
        if clade is not None:
            self.params = (connection.pack(members(connection, clade)), own)
            people = f"""{connection.ids} AS c CROSS JOIN fitness g CROSS JOIN standing f
                WHERE g.organism = c.id AND g.niche = ? AND g.current = 1 AND f.niche = g.niche
                  AND f.value = g.value AND f.organism = g.organism"""
        self.everyone = f"FROM {people}"
        self.scored = f"FROM {people} AND f.also = 0"
        self.registered = f"{self.scored} AND f.state <> {standings.ABSENT}"
        self.living = f"{self.scored} AND f.state = {standings.ALIVE}"

    def count(self, what: str, *params: Any) -> int:
        sql = f"SELECT count(*) {what}"
        return int(self.connection.value(sql, (*self.params, *params)))

    def fittest(self, limit: int | None) -> Ranking:
        sql = f"SELECT f.organism {self.living} ORDER BY {self.order}"
        most = () if limit is None else (limit,)
        rows = self.connection.rows(sql + " LIMIT ?" * len(most), (*self.params, *most))
        return self.ranking(None, [(row[0], None) for row in rows])

    def front(self, per: str, limit: int | None) -> Ranking:
        """The rows come by unit and cost, at equal cost the fittest first: who is no fitter than
        one before is beaten, but for exact ties."""
        if per == "joule" and self.clade is None:
            return self.cheapest(limit)
        rows = self.connection.execute(*self._priced(per))
        costed: set[int] = set()
        fronts: list[tuple[int, Any]] = []
        unbeaten: set[int] = set()
        for unit, group in groupby(rows, key=lambda row: row[2]):
            kept, positive = self._sweep(group, costed)
            unbeaten.update(own for own, *_ in kept)
            fronts += self._told(kept, unit, positive, limit)
        fronts.sort(key=lambda one: _rank(one[1][1]))  # stable: within a unit the order stays
        return self.ranking(
            per,
            fronts,
            beaten=len(costed) - len(unbeaten),
            uncosted=self.count(self.living) - len(costed),
        )

    def _priced(self, per: str) -> tuple[str, tuple[Any, ...]]:
        """The statement of the costed in the order of `front`, with its parameters."""
        if per == "joule":
            sql = f"""SELECT f.organism, f.value, {standings.PER}, f.joules, {standings.SOURCE}
                {self.everyone}
                AND f.state = {standings.ALIVE} AND f.joules IS NOT NULL
                ORDER BY f.per, f.joules, {self.order}"""
            return sql, self.params
        return (
            f"""WITH RECURSIVE wanted(id) AS (SELECT f.organism {self.living}), {_costs(per)}
                SELECT f.organism, f.value, c.per, c.joules, c.source
                FROM cost c CROSS JOIN fitness f
                WHERE c.organism IN (SELECT id FROM wanted)
                  AND f.organism = c.organism AND f.niche = ? AND f.current = 1
                ORDER BY c.per, c.joules, {self.order}""",
            (*self.params, self.own),
        )

    def cheapest(self, limit: int | None) -> Ranking:
        """The fronts in joules of a whole niche. From the fittest on, whoever is cheaper than all
        before is on the front, and nobody else: one way along the niche finds them."""
        units = ", ".join(
            f"count(CASE WHEN f.per = {code} THEN 1 END)" for code in range(len(costs.RATES))
        )
        living, costed, *many = self.connection.row(
            f"""SELECT count(CASE WHEN f.also = 0 THEN 1 END),
                  count(CASE WHEN f.also = 0 AND f.per >= 0 THEN 1 END), {units}
                {self.everyone} AND f.state = {standings.ALIVE}""",
            self.params,
        )
        fronts: list[tuple[int, Any]] = []
        unbeaten: set[int] = set()
        for code, unit in enumerate(costs.RATES):
            if not many[code]:
                continue
            kept, positive = self._walked(code)
            unbeaten.update(own for own, *_ in kept)
            fronts += self._told(kept, unit, positive, limit)
        return self.ranking(
            "joule", fronts, beaten=costed - len(unbeaten), uncosted=living - costed
        )

    def _walked(self, code: int) -> tuple[list[tuple[int, float, float, str]], bool]:
        """The front in one unit, from the cheapest, and whether all its scores are positive."""
        of = f"""{self.everyone} AND f.state = {standings.ALIVE} AND f.per = {code}"""
        least = self.connection.value(f"SELECT f.value {of} ORDER BY f.value LIMIT 1", self.params)
        found: list[tuple[int, float, float, str]] = []
        beyond, params = "", self.params
        while True:
            value = self.connection.value(
                f"SELECT f.value {of} {beyond} ORDER BY {self.order} LIMIT 1", params
            )
            if value is None:
                return found[::-1], bool(least > 0)
            rows = self.connection.rows(
                f"""SELECT f.organism, f.joules, f.source {of} AND f.value = ?
                    ORDER BY f.joules, f.organism DESC""",
                (*self.params, value),
            )
            cost = rows[0][1]
            found += [
                (own, value, float(joules), standings.SOURCES[source])
                for own, joules, source in rows if joules == cost
            ]  # fmt: skip
            behind = ">" if self.direction == "lower" else "<"
            beyond = f"AND f.joules < ? AND f.value {behind} ?"
            params = (*self.params, cost, value)

    def _told(
        self, kept: list[tuple[int, float, float, str]], unit: str, positive: bool,
        limit: int | None,
    ) -> list[tuple[int, Any]]:  # fmt: skip
        """The fittest so many of a front, as `ranking` takes them."""
        ratios = positive and self.sign > 0
        return [
            (own, (cost, unit, source, value / cost if ratios and cost else None))
            for own, value, cost, source in (kept[-limit:] if limit else kept)
        ]

    def _sweep(
        self, group: Iterable[Any], costed: set[int]
    ) -> tuple[list[tuple[int, float, float, str]], bool]:
        """Who is unbeaten among rows in order, and whether all scores are positive."""
        kept: list[tuple[int, float, float, str]] = []
        positive = True
        for own, value, _, cost, source in group:
            costed.add(own)
            positive = positive and value > 0
            fitter = not kept or self.sign * value > self.sign * kept[-1][1]
            if fitter or kept[-1][1:3] == (value, cost):
                kept.append((own, value, float(cost), source))
        return kept, positive

    def _fit(self, score: Score) -> float:
        return self.sign * score.value

    def ranking(self, per: str | None, found: list[tuple[int, Any]], **counts: int) -> Ranking:
        ids = list(dict.fromkeys(own for own, _ in found))
        known = {one.id: one for one in ledger.organisms(self.connection, ids)}
        scores = {
            own: next(score for score in held if score.niche == self.niche)
            for own, held in ledger.scores(self.connection, ids).items()
        }
        tops: dict[str | None, Score] = {}  # the fittest of each unit
        for own, cost in found:
            tops[cost and cost[1]] = max(
                tops.get(cost and cost[1], scores[own]), scores[own], key=self._fit
            )
        gone = f"{self.registered} AND f.state <> {standings.ALIVE}"
        if tops:
            gone += f" AND f.value {self.ahead} ?"
        best = [max(tops.values(), key=self._fit).value] if tops else []
        return Ranking(
            niche=self.niche,
            direction=self.direction,
            per=per,
            standings=tuple(
                Standing(known[own], scores[own], _tied(scores[own], tops[cost and cost[1]]),
                         *(cost or ()))
                for own, cost in found
            ),
            scored=self.count(self.scored),
            better_gone=self.count(gone, *best),
            **counts,
        )  # fmt: skip


def _costs(per: str) -> str:
    """The common table expressions that end in `cost(organism, per, joules, source, meter)`,
    whatever the cost is, of those in `wanted` with what they need to run."""
    if per == "joule":
        return costs.known("wanted")
    needed = "wanted w JOIN edge e ON e.child = w.id"
    return f"""needs(id, base) AS ({costs.NEEDS.format(edge=needed)}),
scope(id) AS (SELECT id FROM wanted UNION SELECT base FROM needs),
own(organism, per, joules, source, meter) AS ({_OWN[per]}),
cost(organism, per, joules, source, meter) AS ({costs.SUMMED})"""


def _rank(unit: str) -> tuple[str, int]:
    """Units in the order of costs.RATES, currencies by name."""
    currency, _, per = unit.rpartition("/")
    return currency, costs.RATES.index(per) if per in costs.RATES else 0


def _tied(score: Score, top: Score) -> bool:
    error = math.hypot(score.stderr or 0.0, top.stderr or 0.0)
    return abs(score.value - top.value) <= error
