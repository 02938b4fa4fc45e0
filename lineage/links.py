"""Parent links and what is derived from them: generations, jump pointers, and the promise that the
family graph has no cycle. Every way to add or remove a link goes through here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lineage.database import Connection

Rank = tuple[int, int | None]
"""(generation, jump): the longest distance from a founder, and Myers' jump pointer."""

UP_THE_JUMPS = """
WITH RECURSIVE up(id, generation, jump) AS (
  SELECT o.id, o.generation, o.jump FROM {ids} AS i CROSS JOIN organism o WHERE o.id = i.id
  UNION
  SELECT o.id, o.generation, o.jump FROM up CROSS JOIN organism o WHERE o.id = up.jump
)
SELECT id, generation, jump FROM up"""

TWO_JUMPS = """
SELECT o.id, o.same_as, o.generation, o.jump, j.generation, j.jump, k.generation, k.jump
FROM {ids} AS i CROSS JOIN organism o LEFT JOIN organism j ON j.id = o.jump
LEFT JOIN organism k ON k.id = j.jump WHERE o.id = i.id"""

CLADES = """
WITH RECURSIVE clade(id) AS (
  SELECT i.id FROM {ids} AS i
  UNION
  SELECT e.child FROM clade CROSS JOIN edge e WHERE e.parent = clade.id
)
SELECT {what} FROM clade {join}"""


@dataclass(frozen=True, slots=True)
class Refused:
    """A link that would close a cycle: `path` runs from the child down to the parent."""

    child: int
    parent: int
    path: tuple[int, ...]


def load_ranks(connection: Connection, ids: Iterable[int]) -> dict[int, Rank]:
    """Generation and jump of `ids` and of all that can be reached from them by jumps."""
    rows = connection.rows(UP_THE_JUMPS.format(ids=connection.ids), (connection.pack(ids),))
    return {own: (generation, jump) for own, generation, jump in rows}


class Ranks(dict[int, Rank]):
    """Ranks by id. What is not there yet is read when it is asked for, with all that its jumps
    reach; what is known to be needed had better be read before, all at once."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def __missing__(self, own: int) -> Rank:
        self.update(load_ranks(self.connection, [own]))
        return self[own]

    def load_parents(self, ids: Iterable[int]) -> dict[int, int]:
        """Read what ranks of children take. Which of `ids` are there, each with the organism that
        it is by now: one may have become another."""
        rows = self.connection.rows(
            TWO_JUMPS.format(ids=self.connection.ids), (self.connection.pack(ids),)
        )
        for own, _, generation, j, j_generation, k, k_generation, further in rows:
            self[own] = (generation, j)
            if j is not None:
                self[j] = (j_generation, k)
                if k is not None:
                    self[k] = (k_generation, further)
        return {own: same or own for own, same, *_ in rows}


def rank_below(parents: Sequence[int], own: int, ranks: dict[int, Rank]) -> Rank:
    """The rank of organism `own` under `parents`, whose jump closure is in `ranks`.

    The jump pointer is that of E. W. Myers, "An applicative random-access stack", Information
    Processing Letters 17 (1983): with parent p and j = jump(p), jump = jump(j) where
    generation(p) - generation(j) = generation(j) - generation(jump(j)), else p. A founder jumps to
    itself. None where the organism or an ancestor has several parents: no chain, no jumps."""
    if not parents:
        return 0, own
    generation = 1 + max(ranks[parent][0] for parent in parents)
    if len(parents) > 1:
        return generation, None
    parent = parents[0]
    p_generation, j = ranks[parent]
    if j is None:
        return generation, None
    j_generation, jj = ranks[j]
    if jj is not None and p_generation - j_generation == j_generation - ranks[jj][0]:
        return generation, jj
    return generation, parent


def add(
    connection: Connection, links: Sequence[tuple[int, int, str, float | None, int]]
) -> list[Refused]:
    """Add links (child, parent, relation, weight, needed), none of which is there yet, and re-rank
    the clades below. Those that would close a cycle are left out and returned: of links that close
    one together, the first given stay."""
    pairs = [(child, parent) for child, parent, *_ in links]
    refused = rerank(connection, {child for child, _ in pairs}, pairs)
    left_out = {(one.child, one.parent) for one in refused}
    connection.many(
        "INSERT INTO edge (child, parent, relation, weight, needed) VALUES (?, ?, ?, ?, ?)",
        [link for link in links if (link[0], link[1]) not in left_out],
    )
    return refused


def remove(connection: Connection, child: int, parent: int) -> None:
    """Remove a link with its evidence, and re-rank the clade below."""
    connection.execute("DELETE FROM edge WHERE child = ? AND parent = ?", (child, parent))
    rerank(connection, {child})


def rerank(
    connection: Connection, seeds: Iterable[int], added: Sequence[tuple[int, int]] = ()
) -> list[Refused]:
    """Recompute generation and jump of `seeds` and all below them, as if the links `added` (child,
    parent), whose children are among the seeds, were there. What changed is written; links of
    `added` that would close a cycle are not counted, and returned."""
    seeds = set(seeds)
    _count_change(connection, seeds)
    packed = connection.pack(seeds)
    clades = CLADES.format(ids=connection.ids, what="{what}", join="{join}")
    region = {row[0] for row in connection.rows(clades.format(what="id", join=""), (packed,))}
    parents: dict[int, list[int]] = {own: [] for own in region}
    for child, parent in connection.rows(
        clades.format(
            what="e.child, e.parent", join="CROSS JOIN edge e WHERE e.child = clade.id"
        ),
        (packed,),
    ):
        parents[child].append(parent)
    existing = {own: tuple(known) for own, known in parents.items()}
    for child, parent in added:
        parents[child].append(parent)
    order, stuck = _topological(parents)
    refused: list[Refused] = []
    if stuck:
        refused = _refuse(existing, added, stuck)
        for one in refused:
            parents[one.child].remove(one.parent)
        order, stuck = _topological(parents)
        assert not stuck, "links that were refused must leave no cycle"
    outside = {parent for known in parents.values() for parent in known} - region
    ranks = load_ranks(connection, outside)
    before = load_ranks_of(connection, region)
    for own in order:
        ranks[own] = rank_below(parents[own], own, ranks)
    connection.many(
        "UPDATE organism SET generation = ?, jump = ? WHERE id = ?",
        [(*ranks[own], own) for own in order if ranks[own] != before[own]],
    )
    return refused


def _count_change(connection: Connection, children: set[int]) -> None:
    """Count that links changed among organisms that a snapshot may hold: it is stale then."""
    if children:
        connection.execute(
            "UPDATE setting SET value = value + 1 WHERE key = 'structure' "
            "AND (SELECT w.value FROM setting w WHERE w.key = 'watched') >= ?",
            (min(children),),
        )


def load_ranks_of(connection: Connection, ids: Iterable[int]) -> dict[int, Rank]:
    rows = connection.rows(
        f"""SELECT o.id, o.generation, o.jump FROM {connection.ids} AS i
            JOIN organism o ON o.id = i.id""",
        (connection.pack(ids),),
    )
    return {own: (generation, jump) for own, generation, jump in rows}


def _topological(parents: dict[int, list[int]]) -> tuple[list[int], set[int]]:
    """Kahn's order of the keys, parents first, and the keys that lie on or behind a cycle."""
    waiting = {own: sum(p in parents for p in known) for own, known in parents.items()}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for own, known in parents.items():
        for parent in known:
            children[parent].append(own)
    order = [own for own, count in waiting.items() if not count]
    for own in order:  # grows while it is read
        for child in children.get(own, ()):
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    return order, parents.keys() - set(order)


def _refuse(
    existing: dict[int, tuple[int, ...]], added: Sequence[tuple[int, int]], stuck: set[int]
) -> list[Refused]:
    """The links of `added` that close a cycle when all are added one by one, in their order."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for own in stuck:
        for parent in existing[own]:
            if parent in stuck:
                children[parent].append(own)
    refused = []
    for child, parent in added:
        if child in stuck and parent in stuck:
            path = _way_down(children, child, parent)
            if path:
                refused.append(Refused(child, parent, path))
            else:
                children[parent].append(child)
    return refused


def _way_down(children: dict[int, list[int]], top: int, bottom: int) -> tuple[int, ...]:
    """The shortest chain of links from `top` down to `bottom`, empty when there is none."""
    came = {top: top}
    queue = [top]
    for own in queue:  # grows while it is read
        if own == bottom:
            path = [own]
            while path[-1] != top:
                path.append(came[path[-1]])
            return tuple(reversed(path))
        for child in children.get(own, ()):
            if child not in came:
                came[child] = own
                queue.append(child)
    return ()
