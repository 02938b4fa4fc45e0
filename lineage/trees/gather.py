"""Gathering a Family from the registry: an organism and its descendants, or the forest; the nearest
so many, with the rest counted where they branch off. A fixed number of statements; a registry too
large to be walked is counted by the interval snapshot."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lineage import costs, ledger, snapshots
from lineage.database import Connection
from lineage.organism import Niche, PowerCost
from lineage.selection import front as fronts
from lineage.selection import guards
from lineage.selection.front import Sweep
from lineage.trees.family import Branch, Happening, Member, Rival
from lineage.trees.notebook import FamilyTree

MOST_SCORES = 200_000
"""With more scores than this in the registry, a picture does not work out who is on the fronts."""

MOST_WALKED = 200_000
"""With more links than this in the registry, what is not drawn is not walked to be counted."""

# Breadth first: both databases work a recursive query level by level, and stop at the limit.
NEAREST = """
WITH RECURSIVE down(id) AS (
  {seed}
  UNION
  SELECT e.child FROM down CROSS JOIN edge e WHERE e.parent = down.id
)
SELECT id FROM down {limit}"""

FOUNDERS = """SELECT o.id FROM organism o WHERE o.generation = 0 AND o.same_as IS NULL"""
# Founders with children first: a forest of loners says little.
FOREST = f"""SELECT id FROM ({FOUNDERS} ORDER BY
  CASE WHEN EXISTS (SELECT 1 FROM edge e WHERE e.parent = o.id) THEN 0 ELSE 1 END, o.id {{limit}})
  AS founders"""


def gather(
    connection: Connection,
    root: int | None = None,
    niche: Niche | None = None,
    limit: int | None = None,
    details: bool = False,
    order: str = "size",
) -> FamilyTree:
    """The family of `root`, or of all founders: at most `limit` organisms, nearest first. `niche`
    is the one to show; it must have been scored. `details` adds tags, history and rivals. `order`
    is of family.ORDERS."""
    if niche is not None:
        ledger.niche_id(connection, niche)
    cut = "" if limit is None else f"LIMIT {int(limit)}"
    seed = "SELECT CAST(? AS bigint)" if root is not None else FOREST.format(limit=cut)
    params = () if root is None else (root,)
    drawn = [row[0] for row in connection.execute(NEAREST.format(seed=seed, limit=cut), params)]
    left = _left_out(connection, root, drawn) if len(drawn) == limit else _Left({}, 0)
    everyone = sorted(drawn)
    sweep = _judged(connection)
    return FamilyTree(
        members=members(connection, everyone, sweep, details),
        branches=tuple(_branches(connection, drawn)),
        root=root,
        niche=niche,
        folded=left.folded,
        hidden=left.hidden,
        counted=left.counted,
        order=order,
        within=left.within,
        proposed=_proposed(connection, sweep, set(everyone)),
    )


def _branches(connection: Connection, drawn: Sequence[int]) -> Iterable[Branch]:
    there = set(drawn)
    packed = connection.pack(drawn)
    # of a merge it is the part of the parent's that is the child's
    shared = {
        (child, parent): part
        for child, parent, part in connection.rows(
            f"""SELECT v.child, v.parent, v.confidence FROM {connection.ids} AS i
                CROSS JOIN evidence v WHERE v.child = i.id AND v.evidence = 'hashed'
                  AND v.relation <> 'merge'""",
            (packed,),
        )
    }
    for child, parent, relation, weight in connection.rows(
        f"""SELECT e.child, e.parent, e.relation, e.weight FROM {connection.ids} AS i
            CROSS JOIN edge e WHERE e.child = i.id ORDER BY e.child, e.parent""",
        (packed,),
    ):
        if parent in there:
            yield Branch(child, parent, relation, weight, shared.get((child, parent)))


@dataclass(frozen=True, slots=True)
class _Left:
    """How many organisms are left out, at the drawn one each hangs on; how many in all; what they
    are; and whether that is all, or at least so many."""

    folded: dict[int, int]
    hidden: int
    counted: bool = True
    within: Mapping[int, Mapping[str, int]] = field(default_factory=dict)


def _left_out(connection: Connection, root: int | None, drawn: Sequence[int]) -> _Left:

    links = connection.value(
        f"SELECT count(*) FROM (SELECT 1 FROM edge LIMIT {MOST_WALKED + 1}) AS counted"
    )
    if links <= MOST_WALKED:
        return _folded(connection, root, set(drawn))
    snapshot = snapshots.current(connection)
    folded = (
        _undrawn_children(connection, drawn)
        if snapshot is None
        else _by_labels(connection, snapshot.number, drawn)
    )
    if root is not None:
        return _Left(folded, sum(folded.values()), counted=False)
    count = connection.value("SELECT count(*) FROM organism WHERE same_as IS NULL")
    return _Left(folded, count - len(drawn), counted=snapshot is not None)


def _by_labels(connection: Connection, number: int, drawn: Sequence[int]) -> dict[int, int]:
    """By drawn organism how many of its backbone clade are left out, and hang on no drawn one
    further down: the lengths of intervals, less those of drawn ones within."""
    labels = connection.rows(
        f"""SELECT l.pre, l.last, l.organism FROM {connection.ids} AS i
            CROSS JOIN label l WHERE l.snapshot = ? AND l.organism = i.id""",
        (connection.pack(drawn), number),
    )
    left: dict[int, int] = {}
    above: list[tuple[int, int]] = []  # (last, organism) of the drawn ones that hold this position
    for pre, last, own in sorted(labels):
        while above and above[-1][0] < pre:
            above.pop()
        left[own] = last - pre
        if above:
            left[above[-1][1]] -= last - pre + 1
        above.append((last, own))
    return {own: count for own, count in left.items() if count > 0}


def _undrawn_children(connection: Connection, drawn: Sequence[int]) -> dict[int, int]:
    """By drawn organism how many of its children are left out, and are of no other drawn one."""
    packed = connection.pack(drawn)
    return dict(connection.rows(
        f"""SELECT parent, count(*) FROM (
              SELECT e.child, min(e.parent) AS parent FROM {connection.ids} AS i
              CROSS JOIN edge e WHERE e.parent = i.id
                AND e.child NOT IN (SELECT d.id FROM {connection.ids} AS d)
              GROUP BY e.child) AS undrawn GROUP BY parent""",
        (packed, packed),
    ))  # fmt: skip


def _folded(connection: Connection, root: int | None, drawn: set[int]) -> _Left:
    """Each that is left out is counted once, at the drawn one that leads to it first."""
    everyone = (
        NEAREST.format(seed="SELECT CAST(? AS bigint)", limit="")
        if root is not None
        else "SELECT id FROM organism WHERE same_as IS NULL"
    )
    links = connection.rows(
        f"""SELECT e.parent, e.child, e.needed FROM edge e
            WHERE e.child IN ({everyone}) ORDER BY e.child, e.parent""",
        () if root is None else (root,),
    )
    children: defaultdict[int, list[int]] = defaultdict(list)
    needed = set()
    for parent, child, needs in links:
        children[parent].append(child)
        if needs and parent not in drawn:
            needed.add(parent)
    led_by = {own: own for own in drawn}
    queue = sorted(drawn)
    folded: dict[int, int] = {}
    for own in queue:  # grows while it is read
        for child in children.get(own, ()):
            if child not in led_by:
                led_by[child] = led_by[own]
                folded[led_by[own]] = folded.get(led_by[own], 0) + 1
                queue.append(child)
    hidden = len(led_by) - len(drawn)
    if root is None:
        count = connection.value("SELECT count(*) FROM organism WHERE same_as IS NULL")
        hidden = count - len(drawn)
    within: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for own, what in _states(connection, [own for own in led_by if own not in drawn], needed):
        within[led_by[own]][what] += 1
    return _Left(folded, hidden, within=within)


def _states(
    connection: Connection, ids: Sequence[int], needed: set[int]
) -> Iterable[tuple[int, str]]:
    """What is remarkable of those of `ids` that are not simply alive; `needed` may be
    load-bearing."""
    for own, status, ghost in connection.rows(
        f"""SELECT o.id, o.status, o.ghost FROM {connection.ids} AS i
            CROSS JOIN organism o WHERE o.id = i.id AND (o.status <> 'alive' OR o.ghost = 1)""",
        (connection.pack(ids),),
    ):
        yield own, "ghost" if ghost else status.replace("_", " ")
    for own in ledger.load_bearing(connection, sorted(needed.intersection(ids))):
        yield own, "load-bearing"


def members(
    connection: Connection, ids: Sequence[int], sweep: Sweep | None, details: bool
) -> dict[int, Member]:
    scores = ledger.scores(connection, ids)
    serving = costs.serving(connection, list(ids))
    training = ledger.training(connection, ids)
    borne = ledger.load_bearing(connection, ids)
    aliases = ledger.aliases(connection, ids)
    reasons = _reasons(connection, ids)
    on_front = _on_front(connection, sweep)
    rivals = _rivals(connection, ids, sweep) if details else {}
    tags = ledger.tags(connection, ids) if details else {}
    history = _history(connection, ids) if details else {}
    return {
        one.id: Member(
            organism=one,
            scores=tuple(scores.get(one.id, ())),
            serving=_first(serving.get(one.id, ())),
            training=training.get(one.id),
            load_bearing=one.id in borne,
            aliases=aliases.get(one.id, ()),
            reason=reasons.get(one.id) if one.status == "selected_against" else None,
            front=on_front.get(one.id, ()),
            rivals=tuple(rivals.get(one.id, ())),
            tags=tags.get(one.id, ()),
            history=tuple(history.get(one.id, ())),
        )
        for one in ledger.organisms(connection, ids)
    }


def _first(known: Sequence[PowerCost]) -> PowerCost | None:
    """The serving cost that a picture shows: of the first unit in the order of costs.RATES."""
    by_unit = {cost.per: cost for cost in known}
    return next((by_unit[per] for per in costs.RATES if per in by_unit), None)


def _judged(connection: Connection) -> Sweep | None:
    """The verdicts on all standings; None where that would take too long for a picture."""
    many = connection.value(
        f"SELECT count(*) FROM (SELECT 1 FROM fitness LIMIT {MOST_SCORES + 1}) AS counted"
    )
    return None if many > MOST_SCORES else fronts.sweep(connection)


def _proposed(connection: Connection, sweep: Sweep | None, there: set[int]) -> dict[int, str]:
    """Who is obsolete of those that are drawn, and what guards it."""
    if sweep is None:
        return {}
    obsolete = there.intersection(sweep.obsolete()[0].tolist())
    guarded = guards.guarded(connection, sweep.policy) if obsolete else {}
    return {own: guarded.get(own, "") for own in sorted(obsolete)}


def _on_front(connection: Connection, sweep: Sweep | None) -> dict[int, tuple[str, ...]]:
    """The niches on whose front each organism lies."""
    if sweep is None:
        return {}
    niches = fronts.niches(connection)
    found: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for one in sweep.fronts():
        found[one.organism][str(niches[one.niche][0])] = None
    return {own: tuple(names) for own, names in found.items()}


def _rivals(
    connection: Connection, ids: Sequence[int], sweep: Sweep | None
) -> dict[int, list[Rival]]:
    """Who on the front of a niche beats each organism there."""
    if sweep is None or not len(sweep):
        return {}
    niches = fronts.niches(connection)
    pairs = [
        (own, one.by)
        for own, known in sweep.judged(ids).items()
        for one in known
        if one.by is not None
    ]
    called = {
        one.id: str(one)
        for one in ledger.organisms(connection, sorted({by.organism for _, by in pairs}))
    }
    found: defaultdict[int, list[Rival]] = defaultdict(list)
    for own, by in pairs:
        niche, way = niches[by.niche]
        value = 0.0 - by.fit if way == "lower" else by.fit
        found[own].append(Rival(str(niche), called[by.organism], value, by.joules, by.per))
    return found


def _history(connection: Connection, ids: Sequence[int]) -> dict[int, list[Happening]]:
    """What happened to each organism, oldest first."""
    found: defaultdict[int, list[Happening]] = defaultdict(list)
    for own, kind, at, user, host, command in connection.rows(
        f"""SELECT e.organism, e.kind, e.at, a."user", a.host, a.command
            FROM {connection.ids} AS i CROSS JOIN event e JOIN actor a ON a.id = e.actor
            WHERE e.organism = i.id ORDER BY e.at, e.id""",
        (connection.pack(ids),),
    ):
        when = ledger.moment(at)
        assert when is not None
        found[own].append(Happening(kind, when, f"{user}@{host}", command))
    return found


def _reasons(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Why each organism was last selected against, in one sentence."""
    rows = connection.rows(
        f"""SELECT e.organism, e.body FROM {connection.ids} AS i JOIN event e ON e.organism = i.id
            WHERE e.kind = 'selected_against' ORDER BY e.id""",
        (connection.pack(ids),),
    )
    return {own: _sentence(json.loads(body)) for own, body in rows}


def _sentence(body: dict[str, object]) -> str:
    if body.get("rule") in ("budget", "unkept"):
        why = "for the budget" if body["rule"] == "budget" else "kept by nothing in it"
        return f"Selected against by policy {body.get('policy')}, {why}."
    reasons = body.get("reasons")
    if not isinstance(reasons, list) or not reasons:
        return "Selected against."
    parts = [
        f"in {one['niche']} by {str(one['by']).removesuffix('@v1')} "
        f"({one['by_value']:.4g} against {one['value']:.4g})"
        for one in reasons
        if isinstance(one, dict) and "by" in one
    ]
    return f"Beaten {', '.join(parts)}, at no more power." if parts else "Selected against."
