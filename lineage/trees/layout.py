"""Where every organism lies: one row each in pre-order, x by generation, siblings in one order.
All pictures share this one layout; it is linear in organisms and links, and never recurses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lineage.errors import InvalidValue
from lineage.trees.backbone import NOBODY, Backbone, Cycle, lay
from lineage.trees.family import ORDERS, Branch, Family, Member


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
    """The layout of `family`: backbone, rows, generations, by the rules of `backbone.lay`; siblings
    by its `order`, and where that says nothing by id; the root asked for first. The same family
    gives the same picture. Raises InvalidValue where the links close a cycle."""
    ids = sorted(family.members)
    number = {id_: i for i, id_ in enumerate(ids)}
    laid = _laid(family, ids, number)
    rows: list[Row | None] = [None] * (len(ids) + len(family.folded))
    for i, id_ in enumerate(ids):
        above = laid.parent[i]
        parent = None if above < 0 else ids[above]
        at, born, depth, size = laid.row[i], laid.generation[i], laid.depth[i], laid.size[i]
        rows[at] = Row(id_, parent, born, depth, size)
        if id_ in family.folded:
            rows[at + size - 1] = Row(id_, id_, born + 1, depth + 1, 1, family.folded[id_])
    branches = family.branches
    return Layout(
        rows=tuple(row for row in rows if row is not None),
        main={id_: branches[laid.main[i]] for i, id_ in enumerate(ids) if laid.main[i] >= 0},
        children={
            id_: tuple(ids[child] for child in laid.children(i)) for i, id_ in enumerate(ids)
        },
        further=tuple(
            link for at, link in enumerate(branches) if laid.main[number[link.child]] != at
        ),
    )


def _laid(family: Family, ids: list[int], number: Mapping[int, int]) -> Backbone:
    try:
        return lay(
            len(ids),
            [(number[link.child], number[link.parent]) for link in family.branches],
            [link.weight for link in family.branches],
            bundles=[number[id_] for id_ in family.folded],
            first=NOBODY if family.root is None else number[family.root],
            ranks=_ranks(family, ids),
        )
    except Cycle as cycle:
        stuck = str(family.members[ids[cycle.number]].organism)
        raise InvalidValue(
            f"the links around {stuck!r} close a cycle, so no tree can be drawn. "
            "Find the wrong one with `lineage show` and take it out with `lineage unlink`."
        ) from None


def _ranks(family: Family, ids: list[int]) -> list[int] | None:
    """By number the place among all, by time (when it was made, else registered) or by fitness in
    the niche that is shown; what is not known comes last. None where clades go by their size."""
    if family.order == "size":
        return None
    if family.order not in ORDERS:
        raise InvalidValue(f"order {family.order!r} is not known; there are {', '.join(ORDERS)}.")
    figure = _born if family.order == "time" else _fitness(family)
    known = [figure(family.members[id_]) for id_ in ids]
    ranks = [0] * len(ids)
    for rank, i in enumerate(sorted(range(len(ids)), key=lambda i: _last_if_none(known[i]))):
        ranks[i] = rank
    return ranks


def _last_if_none(figure: float | None) -> tuple[bool, float]:
    return figure is None, 0.0 if figure is None else figure


def _born(member: Member) -> float | None:
    at = member.organism.created or member.organism.registered
    return None if at is None else at.timestamp()


def _fitness(family: Family) -> Callable[[Member], float | None]:
    niche = family.shown_niche()
    scores = [member.score_in(niche) for member in family.members.values()]
    ways = {score.direction for score in scores if score is not None}
    sign = {"higher": -1, "lower": 1}.get(ways.pop() or "") if len(ways) == 1 else None

    def beaten(member: Member) -> float | None:
        score = member.score_in(niche)
        return None if score is None or sign is None else sign * score.value

    return beaten
