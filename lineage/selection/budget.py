"""What the living use of a budget, and who goes next while they use too much: section 5 of
docs/selection.md. The loss of phylogenetic diversity is Faith's (1992), counted in links."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lineage import costs
from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.selection.policy import KWH, Policy, traffic


@dataclass(frozen=True, slots=True)
class Use:
    """What one organism uses a month: joules, where cost and traffic are known; bytes, where its
    size is; and money for both, where prices are. None is unknown."""

    joules: float | None
    bytes: int | None
    money: float | None


def uses(connection: Connection, policy: Policy, ids: Sequence[int]) -> dict[int, Use]:
    """What these organisms use a month. Three statements."""
    packed = connection.pack(ids)
    sizes = dict(connection.rows(
        f"SELECT o.id, o.bytes FROM {connection.ids} AS i CROSS JOIN organism o WHERE o.id = i.id",
        (packed,),
    ))  # fmt: skip
    own_traffic = {}
    for own, written in connection.rows(
        f"""SELECT t.organism, t.value FROM {connection.ids} AS i CROSS JOIN tag t
            WHERE t.organism = i.id AND t.key = 'traffic'""",
        (packed,),
    ):
        own_traffic[own] = _traffic_tag(written)
    joules: dict[int, float] = {}
    if policy.traffic or own_traffic:
        for own, per, cost in _rates(connection, packed):
            many = own_traffic.get(own, policy.traffic).get(per)
            if many is not None:
                joules[own] = joules.get(own, 0.0) + many * cost
    return {own: _use(policy, joules.get(own), sizes.get(own)) for own in ids}


def _traffic_tag(written: str) -> Mapping[str, float]:
    try:
        return traffic(json.loads(written) if written.startswith("[") else written)
    except (InvalidValue, ValueError):
        return {}  # no traffic that can be read is none that is known


def _rates(connection: Connection, packed: object) -> list[tuple[int, str, float]]:
    sql = f"""WITH RECURSIVE wanted(id) AS (SELECT i.id FROM {connection.ids} AS i),
        {costs.known("wanted")}
        SELECT organism, per, joules FROM cost
        UNION ALL
        SELECT p.organism, p.per, p.joules FROM wanted w CROSS JOIN power p
        WHERE p.organism = w.id AND p.phase = 'serving' AND p.per = 'hour' AND p.current = 1
          AND p.joules IS NOT NULL"""
    return connection.rows(sql, (packed,))


def _use(policy: Policy, joules: float | None, size: int | None) -> Use:
    parts = []
    if policy.price and joules is not None:
        parts.append(joules / KWH * policy.price.amount)
    if policy.storage_price and size is not None:
        parts.append(size / 1e9 * policy.storage_price.amount)
    return Use(joules, size, sum(parts) if parts else None)


def measure(unit: str) -> Callable[[Use], float | None]:
    """What of a use counts for a budget in `unit`: `B`, `J`, or a currency."""
    if unit == "B":
        return lambda use: use.bytes
    if unit == "J":
        return lambda use: use.joules
    return lambda use: use.money


def retire(
    limit: float,
    used: Mapping[int, float],
    free: Iterable[int],
    fitness: Mapping[int, float],
    above: Mapping[int, int],
    survivors: Iterable[int],
) -> tuple[list[int], float]:
    """Who goes, in order, until the sum of `used` is at most `limit`, and what is left of it.
    `free` may go; `fitness` is the best rank of each (0 to 1, 0 where there is none); `above` the
    parent of each in the tree; `survivors` who lives now.

    The loss of diversity with one only grows as others go, so a queue of losses that may be too
    small is enough: who comes first with its true loss is the next."""
    tree = _Tree(above, survivors)
    total = sum(used.values())

    def index(own: int) -> float:
        return (fitness.get(own, 0.0) + tree.loss(own) / tree.height) / used[own]

    queue = [(index(own), own) for own in free if used.get(own)]
    heapq.heapify(queue)
    gone: list[int] = []
    while total > limit and queue:
        known, own = heapq.heappop(queue)
        true = index(own)
        if true > known:
            heapq.heappush(queue, (true, own))
            continue
        gone.append(own)
        total -= used[own]
        tree.remove(own)
    return gone, total


class _Tree:
    """What of the tree leads to survivors. `branches` of an organism: itself, if it survives, and
    the children that lead to one. Each organism is walked over once as it comes and as it goes."""

    def __init__(self, above: Mapping[int, int], survivors: Iterable[int]) -> None:
        self.above = above
        self.branches: dict[int, int] = {}
        depths: dict[int, int] = {}
        self.height = 1
        for own in survivors:
            at, new = own, not self.branches.get(own)
            self.branches[own] = self.branches.get(own, 0) + 1
            while new and at in above:
                at = above[at]
                new = not self.branches.get(at)
                self.branches[at] = self.branches.get(at, 0) + 1
        for own in self.branches:
            chain, at = [], own
            while at in above and at not in depths:
                chain.append(at)
                at = above[at]
            depth = depths.setdefault(at, 0)
            for one in reversed(chain):
                depth += 1
                depths[one] = depth
            self.height = max(self.height, depth)

    def loss(self, own: int) -> int:
        """The links that lead to this survivor alone."""
        links, at = 0, own
        while self.branches[at] == 1 and at in self.above:
            links, at = links + 1, self.above[at]
        return links

    def remove(self, own: int) -> None:
        at = own
        self.branches[at] -= 1
        while not self.branches[at] and at in self.above:
            at = self.above[at]
            self.branches[at] -= 1
