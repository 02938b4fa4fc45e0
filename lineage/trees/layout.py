"""Where every organism lies: one row each in pre-order, x by generation, smaller clades first.
All pictures share this one layout; it is linear in organisms and links, and never recurses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lineage.errors import InvalidValue
from lineage.trees.family import Branch, Family


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the picture. `parent` is the main parent and `depth` the number of main parents
    above; `generation` is the longest distance from a founder of this family, through any parent;
    `size` counts the rows of the clade below the main parents, this one included.

    Where `more` is not 0 the row is a bundle: so many organisms below `id` are not drawn, and
    `parent` is `id` itself."""

    id: int
    parent: int | None
    generation: int
    depth: int
    size: int
    more: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows from top to bottom; `main` gives the branch to the main parent by child, `children` the
    organisms below each as drawn, `further` all branches to other parents (the reticulations)."""

    rows: tuple[Row, ...]
    main: Mapping[int, Branch]
    children: Mapping[int, tuple[int, ...]]
    further: tuple[Branch, ...]

    @property
    def generations(self) -> int:
        """How many generations are drawn."""
        return 1 + max((row.generation for row in self.rows if not row.more), default=-1)


def arrange(family: Family) -> Layout:
    """The layout of `family`: backbone, rows, generations.

    The main parent of an organism is the one with the largest weight, else the first. Siblings are
    ordered by the size of their clade, then by id; founders by id, the root asked for first. The
    same family gives the same picture. O(organisms + links), apart from sorting siblings.
    Raises InvalidValue where the links close a cycle."""
    parents: dict[int, list[Branch]] = {id_: [] for id_ in family.members}
    for branch in family.branches:
        parents[branch.child].append(branch)
    main = {child: _main_parent(links) for child, links in parents.items() if links}
    further = tuple(link for link in family.branches if main[link.child] is not link)

    generation, order = _generations(family)
    sizes = {id_: 1 + (id_ in family.folded) for id_ in family.members}
    below: dict[int, list[int]] = {id_: [] for id_ in family.members}
    for id_ in reversed(order):
        if id_ in main:
            sizes[main[id_].parent] += sizes[id_]
            below[main[id_].parent].append(id_)
    children = {
        id_: tuple(sorted(ids, key=lambda child: (sizes[child], child)))
        for id_, ids in below.items()
    }
    founders = sorted(
        (id_ for id_ in family.members if id_ not in main),
        key=lambda id_: (id_ != family.root, id_),
    )
    rows = _rows(founders, children, generation, sizes, family.folded)
    return Layout(rows, main, children, further)


def _main_parent(links: list[Branch]) -> Branch:
    return max(links, key=lambda link: -math.inf if link.weight is None else link.weight)


def _generations(family: Family) -> tuple[dict[int, int], list[int]]:
    """The longest distance from a founder, and an order with parents before children (Kahn 1962,
    "Topological sorting of large networks")."""
    below: dict[int, list[int]] = {id_: [] for id_ in family.members}
    waiting = dict.fromkeys(family.members, 0)
    for branch in family.branches:
        below[branch.parent].append(branch.child)
        waiting[branch.child] += 1
    generation = dict.fromkeys(family.members, 0)
    order = [id_ for id_, count in waiting.items() if not count]
    for id_ in order:  # grows while it is read
        for child in below[id_]:
            generation[child] = max(generation[child], generation[id_] + 1)
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    if len(order) < len(waiting):
        stuck = next(str(family.members[id_].organism) for id_, n in waiting.items() if n)
        raise InvalidValue(
            f"the links around {stuck!r} close a cycle, so no tree can be drawn. "
            "Find the wrong one with `lineage show` and take it out with `lineage unlink`."
        )
    return generation, order


def _rows(
    founders: list[int],
    children: Mapping[int, tuple[int, ...]],
    generation: Mapping[int, int],
    sizes: Mapping[int, int],
    folded: Mapping[int, int],
) -> tuple[Row, ...]:
    """Pre-order with a stack of our own: a chain may be longer than Python's recursion allows."""
    rows = []
    stack = [Row(id_, None, generation[id_], 0, sizes[id_]) for id_ in reversed(founders)]
    while stack:
        row = stack.pop()
        rows.append(row)
        if row.more:
            continue
        depth = row.depth + 1
        if row.id in folded:
            beyond = generation[row.id] + 1
            stack.append(Row(row.id, row.id, beyond, depth, 1, folded[row.id]))
        stack.extend(
            Row(child, row.id, generation[child], depth, sizes[child])
            for child in reversed(children[row.id])
        )
    return tuple(rows)
