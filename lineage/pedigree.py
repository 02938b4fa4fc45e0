"""Questions about descent: ancestors, descendants, paths, common ancestors. Each is one statement
(a path takes two), and gives ids; the desk turns them into organisms."""

from __future__ import annotations

from collections import defaultdict

from lineage.database import Connection
from lineage.organism import RELATIONS, one_of, whole

# A family is a DAG: UNION keeps each organism once. The recursive steps hold no condition on the
# joined table: on SQLite 3.40 one makes it build a Bloom filter over all organisms (measured: 200
# times slower). CROSS JOIN keeps the order of the join.
ANCESTORS = """
WITH RECURSIVE up(id) AS (
  SELECT e.parent FROM edge e WHERE e.child = ?
  UNION
  SELECT e.parent FROM up CROSS JOIN edge e WHERE e.child = up.id
)
SELECT id FROM up"""

DESCENDANTS = """
WITH RECURSIVE down(id) AS (
  SELECT e.child FROM edge e WHERE e.parent = ?
  UNION
  SELECT e.child FROM down CROSS JOIN edge e WHERE e.parent = down.id
)
SELECT id FROM down"""

# With a limit of depth, or along one relation only: which is carried along, so that what the step
# asks of a link is a matter of both tables, and no Bloom filter.
BOUNDED = """
WITH RECURSIVE walk(id, depth, relation) AS (
  SELECT CAST(? AS bigint), 0, CAST(? AS text)
  UNION
  SELECT e.{to}, walk.depth + 1, walk.relation FROM walk CROSS JOIN edge e
  WHERE e.{of} = walk.id AND walk.depth < ? {along}
)
SELECT id FROM walk WHERE depth > 0 GROUP BY id ORDER BY min(depth), id"""

ALONG = """
WITH RECURSIVE walk(id, relation) AS (
  SELECT e.{to}, e.relation FROM edge e WHERE e.{of} = ? AND e.relation = ?
  UNION
  SELECT e.{to}, e.relation FROM walk CROSS JOIN edge e
  WHERE e.{of} = walk.id AND e.relation = walk.relation
)
SELECT id FROM walk"""


def ancestors(
    connection: Connection, own: int, relation: str | None = None, depth: int | None = None
) -> list[int]:
    """The ids of all organisms that `own` descends from, each once. Only links of `relation` are
    followed, at most `depth` of them."""
    if relation is None and depth is None:
        return [row[0] for row in connection.execute(ANCESTORS, (own,))]
    return _bounded(connection, own, "child", "parent", relation, depth)


def descendants(
    connection: Connection, own: int, relation: str | None = None, depth: int | None = None
) -> list[int]:
    """The ids of all organisms that descend from `own`, each once."""
    if relation is None and depth is None:
        return [row[0] for row in connection.execute(DESCENDANTS, (own,))]
    return _bounded(connection, own, "parent", "child", relation, depth)


def _bounded(
    connection: Connection, own: int, of: str, to: str, relation: str | None, depth: int | None
) -> list[int]:
    if relation is not None:
        one_of(relation, RELATIONS, "relation")
    if depth is None:
        sql, params = ALONG.format(of=of, to=to), (own, relation)
        return [row[0] for row in connection.execute(sql, params)]
    along = "AND e.relation = walk.relation" if relation else ""
    sql, bounds = BOUNDED.format(of=of, to=to, along=along), (own, relation, whole(depth, "depth"))
    return [row[0] for row in connection.execute(sql, bounds)]


# Where a pedigree is a chain (jump is not NULL), an ancestor at a given generation is found in
# about 2 log2(n) steps: jump when the jump does not lead past it, else step to the only parent.
# Each step reads rows by their key. Myers (1983), see links.rank_below.
LIFT = """
WITH RECURSIVE lift(id, generation) AS (
  SELECT id, generation FROM organism WHERE id = ?
  UNION ALL
  SELECT n.id, n.generation
  FROM lift CROSS JOIN organism o CROSS JOIN organism j CROSS JOIN organism n
  WHERE lift.generation > ? AND o.id = lift.id AND j.id = o.jump
    AND n.id = CASE WHEN j.generation >= ? THEN o.jump
      ELSE (SELECT e.parent FROM edge e WHERE e.child = o.id) END
)
SELECT id FROM lift WHERE generation = ?"""

MEET = """
WITH RECURSIVE meet(a, b, generation) AS (
  SELECT x.id, y.id, x.generation FROM organism x CROSS JOIN organism y WHERE x.id = ? AND y.id = ?
  UNION ALL
  SELECT n.id, CASE WHEN x.jump <> y.jump OR j.generation = x.generation - 1 THEN y.jump
      ELSE (SELECT e.parent FROM edge e WHERE e.child = y.id) END, n.generation
  FROM meet CROSS JOIN organism x CROSS JOIN organism y CROSS JOIN organism j CROSS JOIN organism n
  WHERE meet.a <> meet.b AND meet.generation > 0 AND x.id = meet.a AND y.id = meet.b
    AND j.id = x.jump
    AND n.id = CASE WHEN x.jump <> y.jump OR j.generation = x.generation - 1 THEN x.jump
      ELSE (SELECT e.parent FROM edge e WHERE e.child = x.id) END
)
SELECT a FROM meet WHERE a = b"""
# A jump is as long as the generation says, so that both lead to one generation. Where it leads to
# the parent, the link need not be read.

COMMON = """
WITH RECURSIVE
  a(id) AS (SELECT CAST(? AS bigint) UNION
            SELECT e.parent FROM a CROSS JOIN edge e WHERE e.child = a.id),
  b(id) AS (SELECT CAST(? AS bigint) UNION
            SELECT e.parent FROM b CROSS JOIN edge e WHERE e.child = b.id),
  common(id) AS (SELECT id FROM a INTERSECT SELECT id FROM b)
SELECT c.id FROM common c
WHERE c.id NOT IN (SELECT e.parent FROM common d CROSS JOIN edge e WHERE e.child = d.id)
ORDER BY c.id"""
# What is common to both is closed under ancestors, so a common ancestor is a closest one just when
# none of its children is common.


def _chain(connection: Connection, ids: tuple[int, ...]) -> dict[int, tuple[int, bool]]:
    """Generation of each organism, and whether its pedigree is a chain."""
    rows = connection.rows(
        f"SELECT id, generation, jump IS NOT NULL FROM organism WHERE id IN ({marks(ids)})", ids
    )
    return {own: (generation, bool(chain)) for own, generation, chain in rows}


def marks(values: tuple[object, ...]) -> str:
    return ", ".join("?" * len(values))


def lift(connection: Connection, own: int, generation: int) -> int | None:
    """The ancestor of a chain's end at a generation."""
    found = connection.value(LIFT, (own, generation, generation, generation))
    return None if found is None else int(found)


def is_ancestor(connection: Connection, ancestor: int, own: int) -> bool:
    """Whether `own` descends from `ancestor`. Nobody descends from itself. Logarithmic in the
    length of a chain; where there are merges, linear in the pedigree above the ancestor."""
    known = _chain(connection, (ancestor, own))
    generation, _ = known[ancestor]
    if ancestor == own or generation >= known[own][0]:
        return False
    if known[own][1]:
        return lift(connection, own, generation) == ancestor
    return any(row[0] == ancestor for row in connection.execute(ANCESTORS, (own,)))


def mrca(connection: Connection, a: int, b: int) -> list[int]:
    """The most recent common ancestors: all common ancestors that are not ancestors of another.
    Each organism counts as its own ancestor. None, one, or (in a DAG) several."""
    if a == b:
        return [a]
    known = _chain(connection, (a, b))
    (a_generation, a_chain), (b_generation, b_chain) = known[a], known[b]
    if not (a_chain and b_chain):
        return [row[0] for row in connection.execute(COMMON, (a, b))]
    if a_generation > b_generation:
        a = lift(connection, a, b_generation) or a
    elif b_generation > a_generation:
        b = lift(connection, b, a_generation) or b
    found = connection.value(MEET, (a, b))
    return [] if found is None else [int(found)]


PEDIGREE_LINKS = """
WITH RECURSIVE up(id) AS (
  SELECT CAST(? AS bigint)
  UNION
  SELECT e.parent FROM up CROSS JOIN edge e WHERE e.child = up.id
)
SELECT e.child, e.parent FROM up CROSS JOIN edge e WHERE e.child = up.id
ORDER BY e.child, e.parent"""


Pairs = list[tuple[int, int]]


def path(connection: Connection, a: int, b: int) -> tuple[Pairs, Pairs]:
    """The shortest chain of links from `a` to `b`: those up to a common ancestor, and those down
    from it, as (child, parent) pairs in walking order. Both are empty when `a` is `b` or when they
    are not related: `mrca` tells these apart."""
    up_a, up_b = _distances(connection, a), _distances(connection, b)
    common = up_a.keys() & up_b.keys()
    if not common:
        return [], []
    top = min(common, key=lambda own: (up_a[own][0] + up_b[own][0], own))
    return _climb(up_a, top)[::-1], _climb(up_b, top)


def _distances(connection: Connection, own: int) -> dict[int, tuple[int, int]]:
    """For each ancestor of `own`, and itself: links to it, and the child that leads there."""
    parents: defaultdict[int, list[int]] = defaultdict(list)
    for child, parent in connection.execute(PEDIGREE_LINKS, (own,)):
        parents[child].append(parent)
    found = {own: (0, own)}
    queue = [own]
    for child in queue:  # grows while it is read
        for parent in parents.get(child, ()):
            if parent not in found:
                found[parent] = (found[child][0] + 1, child)
                queue.append(parent)
    return found


def _climb(distances: dict[int, tuple[int, int]], top: int) -> Pairs:
    """The links from `top` down to where the distances are from."""
    chain = []
    while distances[top][0]:
        child = distances[top][1]
        chain.append((child, top))
        top = child
    return chain
