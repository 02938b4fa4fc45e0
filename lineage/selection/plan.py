"""Plans: what selection proposes, keeps and cannot judge, each with its reason in numbers; and the
explanation of any single organism."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from lineage import ledger, store
from lineage.answers import Answer
from lineage.database import Connection
from lineage.organism import Event, Niche, Organism
from lineage.selection import front as fronts
from lineage.selection import guards
from lineage.selection.front import DOMINATED, Judged, Standing, Sweep
from lineage.selection.policy import FRONTIER, Policy
from lineage.store import Act

CHUNK = 5000

UNSCORED = """
FROM organism o WHERE o.status = 'alive' AND o.ghost = 0 AND o.same_as IS NULL AND NOT EXISTS (
  SELECT 1 FROM fitness f JOIN niche n ON n.id = f.niche
  WHERE f.organism = o.id AND f.current = 1 AND n.direction IS NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Reason:
    """An organism in one niche: its value with what is known of its error (one standard error, the
    number of examples), its joules per `per` (of `byte`, bytes), how that cost is known; its
    `verdict` (front, contested, obsolete), and, when it is obsolete, by whom, with the same
    numbers. `exact`: no error of either value is known."""

    niche: Niche
    direction: str
    value: float
    per: str
    joules: float
    source: str
    stderr: float | None = None
    n: int | None = None
    verdict: str = "front"
    by: Organism | None = None
    by_value: float | None = None
    by_joules: float | None = None
    by_source: str | None = None
    by_stderr: float | None = None
    by_n: int | None = None
    exact: bool = False

    def body(self) -> dict[str, Any]:
        """What the event of a mark keeps of it."""
        body: dict[str, Any] = {
            "niche": f"{self.niche.task}/{self.niche.metric}",
            "split": self.niche.split,
            "value": self.value,
            "stderr": self.stderr,
            "n": self.n,
            "per": self.per,
            "joules": self.joules,
            "source": self.source,
        }
        if self.by is not None:
            body |= {"by": self.by.ref, "by_value": self.by_value, "by_stderr": self.by_stderr}
            body |= {"by_n": self.by_n, "by_joules": self.by_joules, "by_source": self.by_source}
        return {key: value for key, value in body.items() if value is not None and value != ""}


@dataclass(frozen=True, slots=True)
class Proposal(Answer):
    """An organism that no longer justifies its power bill: by which rule, with one reason a niche
    and unit, where its first files are, and how many living children descend from it."""

    _rows: ClassVar[str] = "reasons"

    organism: Organism
    reasons: tuple[Reason, ...]
    rule: str = DOMINATED
    place: str | None = None
    children: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """An organism that stays though it is obsolete: `protected`, `aliased`, `leased`,
    `load-bearing`, `young` or `founder`."""

    organism: Organism
    guard: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A living organism that cannot be judged: `missing` is `score` or `cost`."""

    organism: Organism
    missing: str


@dataclass(frozen=True, slots=True)
class Plan(Answer):
    """What selection found. `proposed` counts all proposals; `proposals`, `kept`, `unknown` and
    `revivals` hold the first of each, as many as were asked for. `living` counts the organisms that
    are alive; `contested` those that stay since only the dominated dominate them; `exact` the
    proposals that rest on values without errors. `revivable` counts the marked that are obsolete no
    more. `marked` and `revived`: how many were when the plan was applied, None for a dry run."""

    _rows: ClassVar[str] = "proposals"

    policy: str
    living: int
    proposed: int
    proposals: tuple[Proposal, ...]
    kept_count: int
    kept: tuple[Kept, ...]
    unscored: int
    uncosted: int
    unknown: tuple[Unknown, ...]
    contested: int
    exact: int
    bytes: int
    revivable: int
    revivals: tuple[Organism, ...]
    marked: int | None = None
    revived: int | None = None


@dataclass(frozen=True, slots=True)
class Rival:
    """Who comes closest to dominating an organism on a front: its value, and how much is missing to
    the lower confidence bound of the difference."""

    niche: Niche
    per: str
    organism: Organism
    value: float
    stderr: float | None
    n: int | None
    joules: float
    bound: float


@dataclass(frozen=True, slots=True)
class Explanation(Answer):
    """Why an organism lives or not. `standings`: its reasons, niche by niche, with the verdict in
    each. `guards` is what keeps it whatever the numbers; `missing` what is needed to judge it
    (`score`, `cost`, empty for nothing); `mark` the event that marked it, if it is; `closest` who
    that costs no more comes closest to dominating it, on each front."""

    _rows: ClassVar[str] = "standings"

    organism: Organism
    standings: tuple[Reason, ...]
    guards: tuple[str, ...]
    missing: str
    mark: Event | None
    closest: tuple[Rival, ...] = ()

    @property
    def beaten(self) -> bool:
        """Whether it is obsolete in every niche where it can be judged."""
        return bool(self.standings) and all(one.by is not None for one in self.standings)


@dataclass(frozen=True, slots=True)
class Decision:
    """All that was decided, as ids: whom to propose and by which rule, whom to revive, and the
    sweep it rests on."""

    proposed: Mapping[int, str]
    revive: Sequence[int]
    sweep: Sweep
    policy: Policy


def plan(
    connection: Connection, policy: Policy = FRONTIER, details: int | None = None
) -> tuple[Plan, Decision]:
    """The plan and the decision it tells. `details` limits how many proposals, kept, unknown and
    revivals are spelled out."""
    sweep = fronts.sweep(connection, policy)
    obsolete = sweep.obsolete()[0].tolist()
    guarded = guards.guarded(connection, policy)
    kept = [(own, guarded[own]) for own in obsolete if own in guarded]
    proposed = {own: DOMINATED for own in obsolete if own not in guarded}
    revive = sweep.marked_no_more()
    decision = Decision(proposed, revive, sweep, policy)
    return _told(connection, decision, kept, details), decision


def _told(
    connection: Connection,
    decision: Decision,
    kept: Sequence[tuple[int, str]],
    details: int | None,
) -> Plan:
    sweep, ids = decision.sweep, list(decision.proposed)
    unscored = connection.value(f"SELECT count(*) {UNSCORED}")
    living = connection.value(
        "SELECT count(*) FROM organism WHERE status = 'alive' AND ghost = 0 AND same_as IS NULL"
    )
    judged = set(sweep.living().tolist())
    uncosted = living - unscored - len(judged)
    unknown = [(own, "score") for (own,) in connection.rows(
        f"SELECT o.id {UNSCORED} ORDER BY o.id {_limit(details)}")]  # fmt: skip
    if uncosted and (details is None or len(unknown) < details):
        unknown += islice(_uncosted(connection, judged), details)
    spelled = [own for own, _ in (*kept[:details], *unknown[:details])]
    named = _named(connection, [*spelled, *decision.revive[:details]])
    return Plan(
        policy=decision.policy.name,
        living=living,
        proposed=len(ids),
        proposals=tuple(proposals(connection, ids[:details], decision)),
        kept_count=len(kept),
        kept=tuple(Kept(named[own], guard) for own, guard in kept[:details]),
        unscored=unscored,
        uncosted=uncosted,
        unknown=tuple(Unknown(named[own], what) for own, what in unknown[:details]),
        contested=sweep.contested(),
        exact=sweep.exact(ids),
        bytes=_bytes(connection, ids),
        revivable=len(decision.revive),
        revivals=tuple(named[own] for own in decision.revive[:details]),
    )


def _bytes(connection: Connection, ids: Sequence[int]) -> int:
    """What the genomes of these take, as far as that is known."""
    sql = f"""SELECT coalesce(sum(o.bytes), 0) FROM {connection.ids} AS i
        CROSS JOIN organism o WHERE o.id = i.id"""
    return int(connection.value(sql, (connection.pack(ids),)))


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


def proposals(
    connection: Connection, ids: Sequence[int], decision: Decision
) -> Iterator[Proposal]:
    """The organisms with their reasons, a chunk of them at a time in a few statements."""
    niches = fronts.niches(connection)
    for start in range(0, len(ids), CHUNK):
        chunk = ids[start : start + CHUNK]
        judged = decision.sweep.judged(chunk)
        rivals = {one.by.organism for own in chunk for one in judged.get(own, ()) if one.by}
        named = _named(connection, [*chunk, *sorted(rivals - set(chunk))])
        places = _places(connection, chunk)
        children = _children(connection, chunk)
        for own in chunk:
            yield Proposal(
                named[own],
                tuple(_reason(one, niches, named) for one in judged.get(own, ())),
                decision.proposed[own],
                places.get(own),
                children.get(own, 0),
            )


def _places(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """The first place of each where its files are."""
    rows = connection.rows(
        f"""SELECT p.organism, p.uri FROM {connection.ids} AS i CROSS JOIN place p
            WHERE p.organism = i.id AND p.gone_at IS NULL ORDER BY p.id DESC""",
        (connection.pack(ids),),
    )
    return dict(rows)


def _children(connection: Connection, ids: Sequence[int]) -> dict[int, int]:
    """How many living children each has."""
    return dict(connection.rows(
        f"""SELECT e.parent, count(*) FROM {connection.ids} AS i CROSS JOIN edge e
            JOIN organism o ON o.id = e.child WHERE e.parent = i.id AND o.status = 'alive'
              AND o.ghost = 0 GROUP BY e.parent""",
        (connection.pack(ids),),
    ))  # fmt: skip


def _reason(
    judged: Judged,
    niches: Mapping[int, tuple[Niche, str | None]],
    named: Mapping[int, Organism],
) -> Reason:
    x, y = judged.standing, judged.by
    niche, direction = niches[x.niche]
    known: dict[str, Any] = {}
    if y is not None:
        known = {
            "by": named[y.organism], "by_value": _value(y, direction), "by_joules": y.joules,
            "by_source": y.source, "by_stderr": y.stderr, "by_n": y.n,
        }  # fmt: skip
    return Reason(
        niche=niche,
        direction=str(direction),
        value=_value(x, direction),
        per=x.per,
        joules=x.joules,
        source=x.source,
        stderr=x.stderr,
        n=x.n,
        verdict=judged.verdict,
        exact=x.exact and (y is None or y.exact),
        **known,
    )


def _value(one: Standing, direction: str | None) -> float:
    return 0.0 - one.fit if direction == "lower" else one.fit


def apply(act: Act, decision: Decision) -> tuple[int, int]:
    """Mark what is proposed and revive what leans on nobody, each with an event that holds its
    reasons. How many of both."""
    marked = 0
    ids, policy = list(decision.proposed), decision.policy
    for start in range(0, len(ids), CHUNK):
        chunk = proposals(act.connection, ids[start : start + CHUNK], decision)
        marks = [
            (one.organism.id, {
                "rule": one.rule,
                "policy": policy.name,
                "confidence": policy.confidence,
                "reasons": [reason.body() for reason in one.reasons],
            })
            for one in chunk
        ]  # fmt: skip
        marked += store.mark(act, "selected_against", "selected_against", marks)
    reason = {"reason": "obsolete no more", "policy": policy.name}
    revived = store.mark(act, "alive", "revived", [(own, reason) for own in decision.revive])
    return marked, revived


def explain(connection: Connection, own: int, policy: Policy = FRONTIER) -> Explanation:
    """Why an organism lives, or what speaks against it, judged now as if it were alive."""
    sweep = fronts.around(connection, own, policy)
    mine = sweep.judged([own]).get(own, [])
    close = sweep.closest(own)
    rivals = {one.by.organism for one in mine if one.by} | {y.organism for y, _ in close.values()}
    named = _named(connection, [own, *sorted(rivals - {own})])
    niches = fronts.niches(connection)
    unscored = connection.value(
        """SELECT 1 FROM fitness f JOIN niche n ON n.id = f.niche
           WHERE f.organism = ? AND f.current = 1 AND n.direction IS NOT NULL""",
        (own,),
    ) is None  # fmt: skip
    marks = [event for event in ledger.history(connection, own) if event.kind in MARKS]
    organism = named[own]
    return Explanation(
        organism=organism,
        standings=tuple(_reason(one, niches, named) for one in mine),
        guards=guards.of_one(connection, organism, policy),
        missing="score" if unscored else "" if mine else "cost",
        mark=marks[-1] if marks and organism.status != "alive" else None,
        closest=tuple(
            Rival(
                niches[niche][0], per, named[y.organism], _value(y, niches[niche][1]), y.stderr,
                y.n, y.joules, bound,
            )
            for (niche, per), (y, bound) in close.items()
        ),
    )  # fmt: skip


MARKS = ("selected_against", "culled")
