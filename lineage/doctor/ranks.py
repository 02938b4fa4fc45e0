"""Whether generations and jumps follow from the links, and whether links make a circle: for all
organisms at once, in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lineage import links
from lineage.database import Connection
from lineage.doctor.findings import EXAMPLES, Finding, finding, label

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.int64]]


def _arrays(connection: Connection, sql: str, columns: int) -> Array:
    """The columns of a query of integers, one array each."""
    import numpy as np

    parts = [np.array(rows, np.int64) for rows in connection.stream(sql, (), 50_000)]
    return np.concatenate(parts).T if parts else np.empty((columns, 0), np.int64)


@dataclass(slots=True)
class Ranks:
    """Ranks that are wrong, as (generation, jump, organism) of what they should be; and circles of
    links, each as organisms from child to parent."""

    wrong: list[tuple[int, int | None, int]] = field(default_factory=list)
    circles: list[list[int]] = field(default_factory=list)


class _Stored(dict[int, links.Rank]):
    """Ranks by position: those computed again, else those stored."""

    def __init__(self, generation: Array, jump: Array) -> None:
        super().__init__()
        self.generation, self.jump = generation, jump

    def __missing__(self, own: int) -> links.Rank:
        jump = int(self.jump[own])
        return int(self.generation[own]), None if jump == NO_JUMP else jump


NO_JUMP, NOWHERE = -1, -2


def wrong_ranks(connection: Connection) -> Ranks:
    """Ranks that do not follow from the links, and circles of links.

    Each stored rank is compared with what its parents' stored ranks make of it, for all at once.
    Where none differs every generation is larger than its parents', so there is no circle; and by
    induction over generations all are right. Only what differs, with all below it, is ranked anew,
    one by one."""
    import numpy as np

    ids, generation, jump = _arrays(
        connection, "SELECT id, generation, coalesce(jump, -1) FROM organism ORDER BY id", 3
    )
    child, parent = _arrays(connection, "SELECT child, parent FROM edge", 2)
    child, parent = _positions(ids, child), _positions(ids, parent)
    known = (child >= 0) & (parent >= 0)
    child, parent = child[known], parent[known]
    jump = np.where(jump < 0, NO_JUMP, _positions(ids, jump))
    should, leap = _expected(generation, jump, child, parent)
    wrong = np.flatnonzero((generation != should) | (jump != leap))
    if not len(wrong):
        return Ranks()
    found = _ranked_anew(_Stored(generation, jump), child, parent, wrong)
    at = ids.tolist()
    return Ranks(
        [(g, None if j is None else at[j], at[own]) for g, j, own in found.wrong],
        [[at[own] for own in circle] for circle in found.circles],
    )


def _positions(ids: Array, wanted: Array) -> Array:
    """Where each of `wanted` is in the ascending `ids`; NOWHERE for what is not in it."""
    import numpy as np

    at = np.searchsorted(ids, wanted)
    at[at == len(ids)] = 0
    return np.where(ids[at] == wanted, at, NOWHERE) if len(ids) else np.full_like(at, NOWHERE)


def _expected(
    generation: Array, jump: Array, child: Array, parent: Array
) -> tuple[Array, Array]:
    """Generation and jump of all, from those of their parents: `links.rank_below`, for arrays."""
    import numpy as np

    count = len(generation)
    should = np.zeros(count, np.int64)
    np.maximum.at(should, child, generation[parent] + 1)
    parents = np.bincount(child, minlength=count)
    leap = np.where(parents == 0, np.arange(count), NO_JUMP)
    only = parents[child] == 1
    child, parent = child[only], parent[only]
    first = jump[parent]
    second = np.where(first >= 0, jump[first], NO_JUMP)
    same = (second >= 0) & (
        generation[parent] - generation[first] == generation[first] - generation[second]
    )
    leap[child] = np.where(first == NO_JUMP, NO_JUMP, np.where(same, second, parent))
    return should, leap


def _ranked_anew(stored: _Stored, child: Array, parent: Array, wrong: Array) -> Ranks:
    """Rank these and all below them again, by positions."""
    import numpy as np

    by_parent = np.argsort(parent, kind="stable")
    kids, starts = child[by_parent], np.searchsorted(
        parent[by_parent], np.arange(len(stored.generation) + 1)
    )  # fmt: skip
    region = wrong.tolist()
    seen = set(region)
    for own in region:  # grows while it is read
        fresh = [kid for kid in kids[starts[own] : starts[own + 1]].tolist() if kid not in seen]
        seen.update(fresh)
        region += fresh
    parents: dict[int, list[int]] = {own: [] for own in region}
    inside = np.zeros(len(stored.generation), bool)
    inside[region] = True
    inside = inside[child]
    for own, above in zip(child[inside].tolist(), parent[inside].tolist(), strict=True):
        parents[own].append(above)
    order, stuck = links._topological(parents)
    found = Ranks(circles=_circles(parents, stuck))
    for own in order:
        had = stored[own]
        stored[own] = rank = links.rank_below(parents[own], own, stored)
        if rank != had:
            found.wrong.append((*rank, own))
    return found


def _circles(parents: Mapping[int, Sequence[int]], stuck: set[int]) -> list[list[int]]:
    """One circle, from child to parent, of each knot of organisms that descend from each other."""
    if not stuck:
        return []
    import networkx as nx

    graph = nx.DiGraph(
        (own, above) for own in sorted(stuck) for above in parents[own] if above in stuck
    )
    knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
    return [[own for own, _ in nx.find_cycle(graph.subgraph(knot))] for knot in knots]


def check_ranks(connection: Connection) -> list[Finding]:
    found = wrong_ranks(connection)
    circles = [[label(connection, own) for own in one] for one in found.circles[:EXAMPLES]]
    wrong = (label(connection, own) for *_, own in found.wrong)
    return [
        *finding(
            "circles",
            len(found.circles),
            (" from ".join([*circle, circle[0]]) for circle in circles),
            circles[0][:2] if circles else (),
        ),
        *finding("ranks", len(found.wrong), wrong),
    ]
