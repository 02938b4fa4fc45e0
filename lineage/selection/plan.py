"""Plans: what selection proposes, keeps and cannot judge, each with its reason in numbers; and the
explanation of any single organism."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

from lineage import ledger, store
from lineage.answers import Answer
from lineage.database import Connection
from lineage.organism import Event, Niche, Organism
from lineage.selection import front as fronts
from lineage.selection.front import Front, Standing
from lineage.store import Act

CHUNK = 5000

UNSCORED = """
FROM organism o WHERE o.status = 'alive' AND o.ghost = 0 AND o.same_as IS NULL AND NOT EXISTS (
  SELECT 1 FROM fitness f JOIN niche n ON n.id = f.niche
  WHERE f.organism = o.id AND f.current = 1 AND n.direction IS NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Reason:
    """An organism in one niche: its value and joules per `per`, how that cost is known, and, when
    it is beaten, by whom, with the same numbers."""

    niche: Niche
    direction: str
    value: float
    per: str
    joules: float
    source: str
    by: Organism | None = None
    by_value: float | None = None
    by_joules: float | None = None
    by_source: str | None = None

    def body(self) -> dict[str, Any]:
        """What the event of a mark keeps of it."""
        body: dict[str, Any] = {
            "niche": f"{self.niche.task}/{self.niche.metric}",
            "split": self.niche.split,
            "value": self.value,
            "per": self.per,
            "joules": self.joules,
            "source": self.source,
        }
        if self.by is not None:
            body |= {"by": self.by.ref, "by_value": self.by_value, "by_joules": self.by_joules}
            body["by_source"] = self.by_source
        return {key: value for key, value in body.items() if value != ""}


@dataclass(frozen=True, slots=True)
class Proposal(Answer):
    """An organism that no longer justifies its power bill, with one reason a niche and unit."""

    _rows: ClassVar[str] = "reasons"

    organism: Organism
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """An organism that stays though it is beaten everywhere: `protected`, `aliased` or
    `load-bearing`."""

    organism: Organism
    guard: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A living organism that cannot be judged: `missing` is `score` or `cost`."""

    organism: Organism
    missing: str


@dataclass(frozen=True, slots=True)
class Plan(Answer):
    """What selection found. `proposed` counts all proposals; `proposals`, `kept` and `unknown` hold
    the first of each, as many as were asked for. `living` counts the organisms that are alive;
    `marked` how many were marked when the plan was applied, None for a dry run."""

    _rows: ClassVar[str] = "proposals"

    living: int
    proposed: int
    proposals: tuple[Proposal, ...]
    kept_count: int
    kept: tuple[Kept, ...]
    unscored: int
    uncosted: int
    unknown: tuple[Unknown, ...]
    marked: int | None = None


@dataclass(frozen=True, slots=True)
class Explanation(Answer):
    """Why an organism lives or not. `standings`: its reasons, niche by niche; where `by` is None it
    is on the front. `guards` is what keeps it whatever the numbers; `missing` what is needed to
    judge it (`score`, `cost`, empty for nothing); `mark` the event that marked it, if it is."""

    _rows: ClassVar[str] = "standings"

    organism: Organism
    standings: tuple[Reason, ...]
    guards: tuple[str, ...]
    missing: str
    mark: Event | None

    @property
    def beaten(self) -> bool:
        """Whether it is beaten in every niche where it can be judged."""
        return bool(self.standings) and all(one.by is not None for one in self.standings)


def plan(
    connection: Connection, details: int | None = None
) -> tuple[Plan, list[int], Front]:
    """The plan, the ids of all that it proposes, and the fronts it rests on. `details` limits how
    many proposals, kept and unknown are spelled out."""
    front, beaten = fronts.sweep(connection)
    proposed = [own for own, guard in beaten if not guard]
    kept = [(own, guard) for own, guard in beaten if guard]
    unscored = connection.value(f"SELECT count(*) {UNSCORED}")
    living = connection.value(
        "SELECT count(*) FROM organism WHERE status = 'alive' AND ghost = 0 AND same_as IS NULL"
    )
    on_front = {one.organism for rows in front.rows.values() for one in rows}
    uncosted = living - unscored - len(beaten) - len(on_front)
    unknown = [(own, "score") for (own,) in connection.rows(
        f"SELECT o.id {UNSCORED} ORDER BY o.id {_limit(details)}")]  # fmt: skip
    if uncosted and (details is None or len(unknown) < details):
        known = on_front.union(own for own, _ in beaten)
        unknown += islice(_uncosted(connection, known), details)
    named = _named(connection, [own for own, _ in (*kept[:details], *unknown[:details])])
    result = Plan(
        living=living,
        proposed=len(proposed),
        proposals=tuple(proposals(connection, proposed[:details], front)),
        kept_count=len(kept),
        kept=tuple(Kept(named[own], guard) for own, guard in kept[:details]),
        unscored=unscored,
        uncosted=uncosted,
        unknown=tuple(Unknown(named[own], what) for own, what in unknown[:details]),
    )
    return result, proposed, front


def _limit(details: int | None) -> str:
    return "" if details is None else f"LIMIT {int(details)}"


def _named(connection: Connection, ids: Sequence[int]) -> dict[int, Organism]:
    return {one.id: one for one in ledger.organisms(connection, ids)}


def _uncosted(connection: Connection, known: set[int]) -> Iterator[tuple[int, str]]:
    """Living organisms that have a score and are not judged: their cost is not known."""
    for (own,) in connection.rows(
        """SELECT DISTINCT o.id FROM organism o JOIN fitness f ON f.organism = o.id
           JOIN niche n ON n.id = f.niche WHERE o.status = 'alive' AND o.ghost = 0
           AND o.same_as IS NULL AND f.current = 1 AND n.direction IS NOT NULL ORDER BY o.id"""
    ):
        if own not in known:
            yield own, "cost"


def proposals(connection: Connection, ids: Sequence[int], front: Front) -> Iterator[Proposal]:
    """The organisms with their reasons, a chunk of them at a time in a few statements."""
    directions = _niches(connection)
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        rows = fronts.standings(connection, chunk)
        pairs = {own: [(one, front.beats(one)) for one in rows.get(own, ())] for own in chunk}
        rivals = {y.organism for known in pairs.values() for _, y in known if y is not None}
        named = _named(connection, [*chunk, *sorted(rivals - set(chunk))])
        for own in chunk:
            reasons = tuple(_reason(one, y, directions, named) for one, y in pairs[own])
            yield Proposal(named[own], reasons)


def _niches(connection: Connection) -> dict[int, tuple[Niche, str]]:
    rows = connection.rows(
        "SELECT id, task, metric, split, direction FROM niche WHERE direction IS NOT NULL"
    )
    return {own: (Niche(task, metric, split), way) for own, task, metric, split, way in rows}


def _reason(
    x: Standing,
    y: Standing | None,
    niches: Mapping[int, tuple[Niche, str]],
    named: Mapping[int, Organism],
) -> Reason:
    niche, direction = niches[x.niche]
    sign = -1.0 if direction == "lower" else 1.0
    reason = Reason(niche, direction, sign * x.fit, x.per, x.joules, x.source)
    if y is None:
        return reason
    return replace(
        reason,
        by=named[y.organism],
        by_value=sign * y.fit,
        by_joules=y.joules,
        by_source=y.source,
    )


def mark(act: Act, ids: Sequence[int], front: Front) -> int:
    """Mark organisms as selected against, each with an event that holds its reasons. How many."""
    marked = 0
    for start in range(0, len(ids), CHUNK):
        chunk = proposals(act.connection, ids[start : start + CHUNK], front)
        marks = [
            (one.organism.id, {"reasons": [reason.body() for reason in one.reasons]})
            for one in chunk
        ]
        marked += store.mark(act, "selected_against", "selected_against", marks)
    return marked


def explain(connection: Connection, own: int) -> Explanation:
    """Why an organism lives, or what speaks against it, judged now as if it were alive."""
    front, mine = fronts.around(connection, own)
    pairs = [(one, front.beats(one) if beaten else None) for one, beaten in mine]
    named = _named(connection, [own, *{y.organism for _, y in pairs if y is not None}])
    niches = _niches(connection)
    unscored = connection.value(
        """SELECT 1 FROM fitness f JOIN niche n ON n.id = f.niche
           WHERE f.organism = ? AND f.current = 1 AND n.direction IS NOT NULL""",
        (own,),
    ) is None  # fmt: skip
    marks = [event for event in ledger.history(connection, own) if event.kind in MARKS]
    organism = named[own]
    return Explanation(
        organism=organism,
        standings=tuple(_reason(one, y, niches, named) for one, y in pairs),
        guards=_guards(connection, organism),
        missing="score" if unscored else "" if mine else "cost",
        mark=marks[-1] if marks and organism.status != "alive" else None,
    )


MARKS = ("selected_against", "culled")


def _guards(connection: Connection, organism: Organism) -> tuple[str, ...]:
    held = ledger.aliases(connection, [organism.id]).get(organism.id, ())
    guards = ["protected"] if organism.protected else []
    guards += [f"alias {alias}" for alias in held if alias in fronts.GUARDING_ALIASES]
    guards += ["load-bearing"] if ledger.load_bearing(connection, [organism.id]) else []
    return tuple(guards)
