"""Plans: what selection proposes, keeps and cannot judge, each with its reason in numbers; and the
explanation of any single organism."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar, TypeVar

from lineage import ledger, store
from lineage.answers import Answer
from lineage.database import Connection
from lineage.errors import InvalidValue, NotFound
from lineage.organism import Event, Niche, Organism
from lineage.selection import budget as budgets
from lineage.selection import front as fronts
from lineage.selection import guards, keepers, news
from lineage.selection.front import DOMINATED, Judged, Sweep
from lineage.selection.news import News
from lineage.selection.policy import FRONTIER, KWH, Policy
from lineage.store import Act

CHUNK = 5000


def _scored(connection: Connection, policy: Policy) -> tuple[str, list[Any]]:
    """That an organism `o` has a score which the policy counts, in SQL, and its parameters."""
    within, params = "", list[Any]()
    if policy.niches or policy.leave_out:
        known = fronts.niches(connection).items()
        counted = [own for own, (niche, _) in known if fronts.counts(policy, niche)]
        within = f"AND f.niche IN (SELECT c.id FROM {connection.ids} AS c)"
        params = [connection.pack(counted)]
    sql = f"""EXISTS (SELECT 1 FROM fitness f JOIN niche n ON n.id = f.niche
      WHERE f.organism = o.id AND f.current = 1 AND n.direction IS NOT NULL {within})"""
    return sql, params


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
class Freed:
    """What would be free: bytes of genomes; and a month, where traffic is known, joules (less those
    of the dominator that serves instead), money and grams of CO2e, where prices are. None is
    unknown."""

    bytes: int | None = None
    joules: float | None = None
    money: float | None = None
    currency: str | None = None
    gco2e: float | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """How the living stand to a budget, in bytes (`B`), joules (`J`) or money a month: its limit,
    what they use now, what is left of that by the plan; `unknown` counts those whose use is not
    known, and `met` says whether the limit is kept."""

    limit: float
    unit: str
    before: float
    after: float
    unknown: int
    met: bool


@dataclass(frozen=True, slots=True)
class Proposal(Answer):
    """An organism that no longer justifies its power bill: by which rule (`dominated`, `unkept`:
    nothing keeps it, or `budget`), with one reason a niche and unit, where its first files are, how
    many living children descend from it, and what goes with it."""

    _rows: ClassVar[str] = "reasons"

    organism: Organism
    reasons: tuple[Reason, ...]
    rule: str = DOMINATED
    place: str | None = None
    children: int = 0
    frees: Freed = Freed()


@dataclass(frozen=True, slots=True)
class Kept:
    """An organism that stays though it is obsolete. It is `protected`, `listed` in the policy,
    `aliased`, `leased`, `load-bearing`, `young`, an only `founder`; or a keeper keeps it: it is the
    `best`, the `last`, one in `every` so many, or made `within` a time."""

    organism: Organism
    guard: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """A living organism that cannot be judged: `missing` is `score` or `cost`."""

    organism: Organism
    missing: str


@dataclass(frozen=True, slots=True)
class Plan(Answer):
    """What selection found by a policy that compares `cost`, joules or bytes. `proposed` counts all
    proposals; `proposals`, `kept`, `unknown`, `disputed` and `revivals` hold the first of each, as
    many as were asked for. `living` counts the organisms that are alive; `front` those on a front;
    `contested` those that stay since only the dominated dominate them (`disputed` are the first of
    them); `unscored` and `uncosted` those that cannot be judged, where that matters; `exact` the
    proposals that rest on values without errors. `revivable` counts the marked that are obsolete no
    more. `marked` and `revived`: how many were when the plan was applied, None for a dry run; `run`
    names that application. `frees` is what all proposals free together; `idle` what the policy
    names that nothing fits. Of a plan of what is new: `since` when, and in which `niches`; then its
    counts are of who stands in these."""

    _rows: ClassVar[str] = "proposals"

    policy: str
    cost: str
    living: int
    proposed: int
    proposals: tuple[Proposal, ...]
    kept_count: int
    kept: tuple[Kept, ...]
    unscored: int
    uncosted: int
    unknown: tuple[Unknown, ...]
    front: int
    contested: int
    exact: int
    frees: Freed
    revivable: int
    revivals: tuple[Organism, ...]
    disputed: tuple[Organism, ...] = ()
    budget: Spent | None = None
    idle: tuple[str, ...] = ()
    since: datetime | None = None
    niches: tuple[Niche, ...] = ()
    marked: int | None = None
    revived: int | None = None
    run: str | None = None


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
    source: str
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
    """All that was decided, as ids: whom to propose and by which rule, who is kept and by what,
    whom to revive, how the budget stands, the sweep it rests on, and the news that it is about,
    None for all."""

    proposed: Mapping[int, str]
    kept: Sequence[tuple[int, str]]
    revive: Sequence[int]
    spent: Spent | None
    sweep: Sweep
    policy: Policy
    news: News | None = None


def decide(connection: Connection, policy: Policy = FRONTIER, new: bool = False) -> Decision:
    """Section 4 of docs/selection.md, in its order. With `new`, of those alone that stand in a
    niche where something happened since the policy was applied last (section 6)."""
    at = store.now()
    if new and (policy.budget or policy.retire == "all"):
        why = "has a budget" if policy.budget else "retires all that nothing keeps"
        raise InvalidValue(
            f"policy {policy.name} {why}, so that it is about more than some niches. Leave --new "
            "out."
        )
    told = news.since_applied(connection, policy) if new else None
    sweep = fronts.sweep(connection, policy, told.niches if told else None)
    found = {"dominated": lambda: sweep.obsolete()[0], "scored": sweep.living}.get(policy.retire)
    wanted = found().tolist() if found else _living(connection)
    scope = keepers.in_scope(connection, policy, at)
    candidates = [own for own in wanted if scope is None or own in scope]
    kept = keepers.kept(connection, policy, at)
    for fit in keepers.listed(connection, policy).values():
        kept.update(dict.fromkeys(fit, "listed"))
    guarded = guards.guarded(connection, policy, at, None if told is None else candidates)
    rule = DOMINATED if policy.retire == "dominated" else UNKEPT
    revive = sweep.marked_no_more() if policy.retire == "dominated" else []
    retire = _budgeted(connection, policy, sweep, scope, revive) if policy.budget else None
    lone = guards.lone(connection) if policy.keep_founders else {}
    founders = set(lone.values())
    while True:  # a founder is guarded no more once its clade goes
        spared = {**kept, **dict.fromkeys(founders, guards.FOUNDER), **guarded}
        proposed = {own: rule for own in candidates if own not in spared}
        spent, gone = retire(proposed, spared) if retire else (None, set[int]())
        left = founders.intersection(lone[own] for own in lone.keys() - proposed.keys())
        if left == founders:
            break
        founders = left
    return Decision(
        proposed=dict(sorted(proposed.items())),
        kept=[(own, spared[own]) for own in candidates if own in spared],
        revive=[own for own in revive if own not in gone],
        spent=spent,
        sweep=sweep,
        policy=policy,
        news=told,
    )


UNKEPT, BUDGET = "unkept", "budget"


def _living(connection: Connection) -> list[int]:
    sql = f"SELECT o.id FROM organism o WHERE {keepers.LIVING} ORDER BY o.id"
    return [row[0] for row in connection.rows(sql)]


def _budgeted(
    connection: Connection,
    policy: Policy,
    sweep: Sweep,
    scope: set[int] | None,
    revive: Collection[int],
) -> Callable[[dict[int, str], Collection[int]], tuple[Spent, set[int]]]:
    """What adds to those proposed who of the living goes for the budget, given who is spared, and
    says who goes, of those to `revive` too: there must be room for them. What leans on one that
    goes is proposed for the budget too."""
    budget = policy.budget
    assert budget is not None
    living = _living(connection)
    of = budgets.measure(budget.unit)
    back = set(revive)
    everybody = [*living, *revive]
    used = {own: of(use) for own, use in budgets.uses(connection, policy, everybody).items()}
    known = {own: float(one) for own, one in used.items() if one is not None}
    mine = [own for own in living if own in known]
    ours = set(living) if scope is None else scope
    ranks, above = sweep.ranks(), keepers.backbone(connection)

    def retire(
        proposed: dict[int, str], spared: Collection[int]
    ) -> tuple[Spent, set[int]]:
        stay = [own for own in everybody if own not in proposed]
        free = [own for own in stay if own not in spared and (own in ours or own in back)]
        using = {own: known[own] for own in stay if own in known}
        gone, left = budgets.retire(budget.amount, using, free, ranks, above, stay)
        leaning = sweep.leaning_on(gone) if gone else set()
        proposed.update(dict.fromkeys(proposed.keys() & leaning, BUDGET))
        proposed.update(dict.fromkeys(set(gone) - back, BUDGET))
        spent = Spent(
            limit=budget.amount,
            unit=budget.unit,
            before=sum(known[own] for own in mine),
            after=left,
            unknown=len(living) - len(mine),
            met=left <= budget.amount,
        )
        return spent, set(gone)

    return retire


def told(connection: Connection, decision: Decision, details: int | None = None) -> Plan:
    """A decision as a plan. `details` limits how many proposals, kept, unknown and revivals are
    spelled out."""
    sweep, ids, kept = decision.sweep, list(decision.proposed), decision.kept
    judged = set(sweep.living().tolist())
    living, unscored, uncosted, unknown = _unjudged(connection, judged, decision, details)
    spelled = [own for own, _ in (*kept[:details], *unknown[:details])]
    if decision.policy.retire == "all":
        unscored, uncosted, unknown = 0, 0, []  # no score is needed to be kept by nothing
    contested = sweep.contested()
    disputed = contested[:details].tolist()
    named = _named(connection, [*spelled, *disputed, *decision.revive[:details]])
    return Plan(
        policy=decision.policy.name,
        cost=decision.policy.cost,
        living=living,
        proposed=len(ids),
        proposals=tuple(proposals(connection, ids[:details], decision)),
        kept_count=len(kept),
        kept=tuple(Kept(named[own], guard) for own, guard in kept[:details]),
        unscored=unscored,
        uncosted=uncosted,
        unknown=tuple(Unknown(named[own], what) for own, what in unknown[:details]),
        front=len(sweep.fit()),
        contested=len(contested),
        exact=sweep.exact([own for own, rule in decision.proposed.items() if rule == DOMINATED]),
        frees=_frees(connection, decision),
        revivable=len(decision.revive),
        revivals=tuple(named[own] for own in decision.revive[:details]),
        disputed=tuple(named[own] for own in disputed),
        budget=decision.spent,
        idle=tuple(keepers.idle(connection, decision.policy)),
        since=decision.news.at if decision.news else None,
        niches=_niches(connection, decision.news.niches) if decision.news else (),
    )


def _niches(connection: Connection, ids: Sequence[int]) -> tuple[Niche, ...]:
    known = fronts.niches(connection)
    return tuple(known[own][0] for own in ids)


def _unjudged(
    connection: Connection, judged: set[int], decision: Decision, details: int | None
) -> tuple[int, int, int, list[tuple[int, str]]]:
    """How many live, how many of them have no score and how many a score and no cost; and the first
    of those, with what is missing. Of news: of those judged, and those that events tell of."""
    told = decision.news
    rows, params = "FROM organism o WHERE", list[Any]()
    if told is not None:
        rows = f"FROM {connection.ids} AS i CROSS JOIN organism o WHERE o.id = i.id AND"
        params = [connection.pack(told.organisms)]
    living = connection.value(f"SELECT count(*) {rows} {keepers.LIVING}", params)
    scored, counted = _scored(connection, decision.policy)
    params += counted
    unscored = f"{rows} {keepers.LIVING} AND NOT {scored}"
    count = connection.value(f"SELECT count(*) {unscored}", params)
    unknown = [(own, "score") for (own,) in connection.rows(
        f"SELECT o.id {unscored} ORDER BY o.id {_limit(details)}", params)]  # fmt: skip
    within = judged if told is None else judged & set(told.organisms)
    uncosted = max(0, living - count - len(within))
    if uncosted and (details is None or len(unknown) < details):
        sql = f"SELECT o.id {rows} {keepers.LIVING} AND {scored} ORDER BY o.id"
        found = ((own, "cost") for (own,) in connection.rows(sql, params) if own not in judged)
        unknown += islice(found, details)
    return len(judged) + count + uncosted, count, uncosted, unknown


def _frees(connection: Connection, decision: Decision) -> Freed:
    """What all proposals free together, as far as that is known."""
    ids, policy = list(decision.proposed), decision.policy
    has = "SELECT 1 FROM tag WHERE key = 'traffic' LIMIT 1"
    if not policy.traffic and not policy.storage_price and connection.value(has) is None:
        sql = f"""SELECT sum(o.bytes) FROM {connection.ids} AS i
            CROSS JOIN organism o WHERE o.id = i.id"""
        size = connection.value(sql, (connection.pack(ids),))
        return Freed(bytes=None if size is None else int(size))
    parts = [one.frees for one in proposals(connection, ids, decision)]
    return Freed(
        bytes=_sum(one.bytes for one in parts),
        joules=_sum(one.joules for one in parts),
        money=_sum(one.money for one in parts),
        currency=next((one.currency for one in parts if one.currency), None),
        gco2e=_sum(one.gco2e for one in parts),
    )


N = TypeVar("N", int, float)


def _sum(values: Iterable[N | None]) -> N | None:
    known = [one for one in values if one is not None]
    return sum(known[1:], known[0]) if known else None


def _freed(policy: Policy, use: budgets.Use, rule: str, reasons: Sequence[Reason]) -> Freed:
    """What one frees: of its joules, what its dominators would not use for the same traffic; all,
    where it does not go for their sake."""
    joules = use.joules
    if joules is not None and rule == DOMINATED:
        shares = [r.by_joules / r.joules for r in reasons if r.by_joules is not None and r.joules]
        joules *= 1 - max(shares, default=0.0)
    money = None
    if policy.price and joules is not None:
        money = joules / KWH * policy.price.amount
    if policy.storage_price and use.bytes is not None:
        money = (money or 0.0) + use.bytes / 1e9 * policy.storage_price.amount
    price = policy.price or policy.storage_price
    grams = None
    if policy.carbon is not None and joules is not None:
        grams = joules / KWH * policy.carbon
    return Freed(use.bytes, joules, money, price.currency if price and money else None, grams)


def _limit(details: int | None) -> str:
    return "" if details is None else f"LIMIT {int(details)}"


def _named(connection: Connection, ids: Sequence[int]) -> dict[int, Organism]:
    return {one.id: one for one in ledger.organisms(connection, ids)}


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
        used = budgets.uses(connection, decision.policy, chunk)
        for own in chunk:
            reasons = tuple(_reason(one, niches, named) for one in judged.get(own, ()))
            yield Proposal(
                named[own],
                reasons,
                decision.proposed[own],
                places.get(own),
                children.get(own, 0),
                _freed(decision.policy, used[own], decision.proposed[own], reasons),
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
            "by": named[y.organism],
            "by_value": fronts.value_of(y, direction),
            "by_joules": y.joules,
            "by_source": y.source,
            "by_stderr": y.stderr,
            "by_n": y.n,
        }
    return Reason(
        niche=niche,
        direction=str(direction),
        value=fronts.value_of(x, direction),
        per=x.per,
        joules=x.joules,
        source=x.source,
        stderr=x.stderr,
        n=x.n,
        verdict=judged.verdict,
        exact=x.exact and (y is None or y.exact),
        **known,
    )


def apply(act: Act, decision: Decision, run: str) -> tuple[int, int]:
    """Mark what is proposed and revive what is obsolete no more, each with an event that holds its
    reasons and the name of this `run`. How many of both."""
    marked = 0
    ids, policy = list(decision.proposed), decision.policy
    for start in range(0, len(ids), CHUNK):
        chunk = proposals(act.connection, ids[start : start + CHUNK], decision)
        marks = [
            (one.organism.id, {
                "rule": one.rule,
                "policy": policy.name,
                "run": run,
                "confidence": policy.confidence,
                "delta": policy.delta,
                "cost_margin": policy.cost_margin,
                "reasons": [reason.body() for reason in one.reasons],
            })
            for one in chunk
        ]  # fmt: skip
        marked += store.mark(act, "selected_against", "selected_against", marks)
    reason = {"reason": "obsolete no more", "policy": policy.name, "run": run}
    revived = store.mark(act, "alive", "revived", [(own, reason) for own in decision.revive])
    return marked, revived


def new_run() -> str:
    """A name for one application of a plan."""
    return secrets.token_hex(4)


def revive_run(act: Act, run: str, reason: str) -> int:
    """Take back every mark of a run that still stands. NotFound where no mark is of that run."""
    pattern = json.dumps({"run": run}, separators=(",", ":"))[1:-1]
    for sign in "!%_":
        pattern = pattern.replace(sign, f"!{sign}")
    told = act.connection.rows(
        """SELECT DISTINCT o.id FROM organism o CROSS JOIN event e
           WHERE o.status = 'selected_against' AND e.organism = o.id
             AND e.kind = 'selected_against' AND e.body LIKE ? ESCAPE '!'""",
        (f"%{pattern}%",),
    )
    last = fronts.marks(act.connection, [row[0] for row in told])
    ids = [own for own, body in last.items() if body.get("run") == run]
    if not ids:
        raise NotFound(
            f"no mark that stands is of run {run!r}. `lineage log NAME` has the run of a mark."
        )
    body = {"reason": reason, "run": run} if reason else {"run": run}
    return store.mark(act, "alive", "revived", [(own, body) for own in ids])


def explain(connection: Connection, own: int, policy: Policy = FRONTIER) -> Explanation:
    """Why an organism lives, or what speaks against it, judged now as if it were alive."""
    sweep = fronts.around(connection, own, policy)
    mine = sweep.judged([own]).get(own, [])
    close = sweep.closest(own)
    rivals = {one.by.organism for one in mine if one.by} | {y.organism for y, _ in close.values()}
    named = _named(connection, [own, *sorted(rivals - {own})])
    niches = fronts.niches(connection)
    scored, params = _scored(connection, policy)
    sql = f"SELECT 1 FROM organism o WHERE o.id = ? AND {scored}"
    unscored = connection.value(sql, [own, *params]) is None
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
                niches[niche][0], per, named[y.organism],
                fronts.value_of(y, niches[niche][1]), y.stderr, y.n, y.joules, y.source, bound,
            )
            for (niche, per), (y, bound) in close.items()
        ),
    )  # fmt: skip


MARKS = ("selected_against", "culled")
