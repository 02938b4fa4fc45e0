"""The shape of every picture: each organism under one main parent, one row each in pre-order. Plain
lists of numbers in and out, linear in organisms and links, so that two million are laid out too."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Backbone:
    """Organisms are numbered from 0 in the order they were given.

    `main` has by organism the number of the link to its main parent, and `parent` that parent, -1
    where there is none; `generation` is the longest distance from a founder through any parent;
    `depth` counts the main parents above; `size` the rows of the clade, itself and bundles in it
    included; `row` is its place from the top; `order` has parents before their children. Those it
    is the main parent of are, as drawn, `child` and from there on one `sibling` after the other,
    until -1: numbers alone, for millions of small lists would keep the garbage collector busy."""

    main: list[int]
    parent: list[int]
    generation: list[int]
    depth: list[int]
    size: list[int]
    row: list[int]
    order: list[int]
    child: list[int]
    sibling: list[int]

    def children(self, own: int) -> Iterator[int]:
        """Those `own` is the main parent of, from top to bottom."""
        at = self.child[own]
        while at >= 0:
            yield at
            at = self.sibling[at]


class Cycle(Exception):
    """The links around the organism `number` close a cycle."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def lay(
    count: int,
    links: Sequence[tuple[int, int]],
    weights: Sequence[float | None],
    bundles: Sequence[int] = (),
    first: int = NOBODY,
    ranks: Sequence[int] | None = None,
) -> Backbone:
    """Lay out `count` organisms with `links` of (child, parent); `weights` has one for each link.

    The main parent is the one with the largest weight, else the first. Siblings go by the size of
    their clade, then by number; founders by number, `first` before all. Where there are `ranks`,
    one each, siblings and founders go by these. Each organism in `bundles`
    gets a further row below its children. O(count + links), but for sorting the sizes. Raises
    Cycle."""
    main = _main(count, links, weights)
    generation, order = _generations(count, links)
    parent = [NOBODY if link < 0 else links[link][1] for link in main]
    size = [1] * count
    for own in bundles:
        size[own] += 1
    for own in reversed(order):
        above = parent[own]
        if above >= 0:
            size[above] += size[own]
    child, sibling = [NOBODY] * count, [NOBODY] * count
    # the last sibling first: the largest, of equals the one with the highest number
    by = size if ranks is None else ranks
    for own in sorted(range(count - 1, -1, -1), key=by.__getitem__, reverse=True):
        above = parent[own]
        if above >= 0:
            sibling[own] = child[above]
            child[above] = own
    row, depth = [0] * count, [0] * count
    at = 0
    founders = [own for own in range(count) if parent[own] < 0]
    if ranks is not None:
        founders.sort(key=ranks.__getitem__)
    for own in sorted(founders, key=lambda i: i != first):
        row[own] = at
        at += size[own]
    for own in order:
        at, deeper = row[own] + 1, depth[own] + 1
        below = child[own]
        while below >= 0:
            row[below], depth[below] = at, deeper
            at += size[below]
            below = sibling[below]
    return Backbone(main, parent, generation, depth, size, row, order, child, sibling)


def spread(above: Sequence[int]) -> list[float]:
    """Rows by number, where those that nothing hangs on take one row each, evenly and in their
    order, and every other stands in the middle of the first and the last that hang on it. `above`
    says what each hangs on, -1 for nothing; they are given in pre-order. O(count)."""
    first, last = [NOBODY] * len(above), [NOBODY] * len(above)
    for own, at in enumerate(above):
        if at >= 0:
            first[at] = own if first[at] < 0 else first[at]
            last[at] = own
    row = [0.0] * len(above)
    free = first.count(NOBODY)
    for own in range(len(above) - 1, -1, -1):
        if first[own] < 0:
            free -= 1
            row[own] = float(free)
        else:
            row[own] = (row[first[own]] + row[last[own]]) / 2
    return row


def _main(
    count: int, links: Sequence[tuple[int, int]], weights: Sequence[float | None]
) -> list[int]:
    main = [NOBODY] * count
    heaviest = [-math.inf] * count
    for number, ((child, _), weight) in enumerate(zip(links, weights, strict=True)):
        if main[child] < 0:
            main[child] = number
            heaviest[child] = -math.inf if weight is None else weight
        elif weight is not None and weight > heaviest[child]:
            main[child], heaviest[child] = number, weight
    return main


def _generations(count: int, links: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The longest distance from a founder, and an order with parents before children (Kahn 1962,
    "Topological sorting of large networks")."""
    first, following = [NOBODY] * count, [NOBODY] * len(links)  # links by parent
    waiting = [0] * count
    for number, (child, parent) in enumerate(links):
        following[number] = first[parent]
        first[parent] = number
        waiting[child] += 1
    generation = [0] * count
    order = [own for own in range(count) if not waiting[own]]
    for own in order:  # grows while it is read
        born = generation[own] + 1
        number = first[own]
        while number >= 0:
            child = links[number][0]
            number = following[number]
            if generation[child] < born:
                generation[child] = born
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    if len(order) < count:
        raise Cycle(next(own for own in range(count) if waiting[own]))
    return generation, order
