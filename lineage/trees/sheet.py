"""Where everything lies in a picture on paper, in pixels: the tree, the columns of the table, and
which line is where. Nothing is drawn here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lineage.errors import InvalidValue
from lineage.organism import Niche
from lineage.shown import shown
from lineage.trees import words
from lineage.trees.axis import Axis, axis
from lineage.trees.backbone import NOBODY, spread
from lineage.trees.family import Branch, Family, Member
from lineage.trees.folding import Line, apart, fold, made, places
from lineage.trees.heat import Heat, heat
from lineage.trees.layout import Layout, arrange
from lineage.trees.lettering import BOLD, cut, squeeze, width
from lineage.trees.strokes import RADIUS, SMALL, TEXT, TINY
from lineage.trees.tint import Tint, tint

LAYOUTS = ("rows", "spread")
"""One organism a row, beside it the table; or one leaf a row, parents in the middle of their
children with their names at their branches, and the table for the leaves."""
ROW, PAD, HEAD = 18.0, 28.0, 112.0  # px: a row, the margin, what is above the first row
SPREAD = 30.0  # px: a row of leaves, with room for words above and below a branch
EACH, TREE_LEAST, TREE_MOST = 68.0, 190.0, 460.0  # px: a tick of the axis, the tree
SPREAD_MOST, STEM_MOST = 1200.0, 130.0  # px: the tree where leaves are spread, a name in it
FOUNDER_MOST = 200.0  # px: the name of a founder, before the tree
FIGURE, RANGE = 54.0, 80.0  # px: what colours beside how it was made, of one and of several
BESIDE = RADIUS + 2.5  # px: between the words at a branch and what stands at its ends
NAME_MOST, TINT_MOST, BAR, MARKS = 300.0, 120.0, 46.0, 30.0  # px, widths in the table
NICHE, NICHE_MOST = 60.0, 92.0  # px, the column of a niche
SIGN = 15.0  # px: a sign before its count
EDGE, END = 8.0, 20.0  # px: from the edges of the tree to the least and the largest of the axis
NICHES = 4
NESTED, SPECK = 0.6, 1.6  # a shape on another, against that one; px, the least radius


@dataclass(frozen=True, slots=True)
class Sheet:
    """The family with where everything lies, in pixels. `rows` has the row of each line, with parts
    of one where leaves are `spread`; `row` is how high one is, and `tall` how many there are.
    `left` and `tree` are the ends of the tree, `name`, `relation`, `said`, `marks`, `niches` and
    `power` the left ends of columns, None for those that are not there; `niche` is how wide the
    column of one is; `right` the right end of the table. `place` gives the line by organism, `most`
    the largest serving cost in joules."""

    family: Family
    layout: Layout
    lines: tuple[Line, ...]
    axis: Axis
    tint: Tint
    heats: tuple[Heat, ...]
    joules: Mapping[str, words.Joules]
    most: float
    place: Mapping[int, int]
    spread: bool
    rows: Sequence[float]
    row: float
    tall: int
    left: float
    tree: float
    name: float
    name_room: float
    relation: float
    said: float | None
    marks: float | None
    niches: float
    niche: float
    power: float | None
    right: float

    def x(self, own: int) -> float:
        """Where an organism lies."""
        return self.across(self.axis.at[own])

    def end(self, at: int) -> float:
        """Where a line of the tree ends."""
        line = self.lines[at]
        if not line.more:
            return max(self.x(own) for own in line.ids)
        if line.above is None:
            return self.across(self.axis.ends[0])
        apart = self.across(self.axis.ends[0] + 1) - self.across(self.axis.ends[0])
        further = apart if self.axis.label.startswith("generation") else 16.0
        return min(self.end(line.above) + further, self.tree - 16)

    def sure(self, at: int) -> bool:
        """Whether where a line lies is known of all that it speaks for."""
        line = self.lines[at]
        return not line.more and self.axis.sure.issuperset(line.ids)

    def curves(self) -> list[tuple[int, int, Branch]]:
        """The links from further parents as (parent's line, child's, link); one of each pair."""
        found: dict[tuple[int, int], Branch] = {}
        for link in self.layout.further:
            parent, child = self.place.get(link.parent), self.place.get(link.child)
            if parent is not None and child is not None:
                found.setdefault((parent, child), link)
        return [(parent, child, link) for (parent, child), link in found.items()]

    def across(self, value: float) -> float:
        low, high = self.axis.ends
        return self.left + (value - low) / (high - low) * (self.tree - END - self.left)

    def y(self, at: int) -> float:
        """The middle of a line."""
        return HEAD + self.row * (self.rows[at] + 0.5)

    def stands(self, at: int) -> bool:
        """Whether the words of a line stand at its branch, and not in the table."""
        return self.spread and self.lines[at].leads

    @property
    def bottom(self) -> float:
        return HEAD + self.row * self.tall

    def members(self, line: Line) -> list[Member]:
        return [self.family.members[own] for own in line.ids]

    def origin(self, own: int) -> str:
        return words.origin(self.family.members[own].organism, self.layout.main.get(own))

    def called(self, line: Line) -> str:
        """The name of a line, cut to its column; of several the first and the last."""
        if line.more:
            return cut(words.more(line.more, line.within), self.right - self.name, TEXT)
        return named(self.family, line, self.name_room)


def sheet(
    family: Family,
    along: str,
    by: str,
    *,
    form: str = "rows",
    everything: bool = False,
    most: int | None = None,
) -> Sheet:
    """Everything in its place. `along` is the axis, `by` the colours, `form` one of LAYOUTS;
    `everything` folds nothing, and `most` is how many lines there may be."""
    if form not in LAYOUTS:
        raise InvalidValue(f"layout {form!r} is not known; there are {' and '.join(LAYOUTS)}.")
    layout = arrange(family)
    lines = fold(family, layout, everything=everything, most=most)
    heats = tuple(heat(family, niche) for niche in _niches(family))
    joules = words.joules_per(member.serving for member in family.members.values())
    placed = axis(family, layout, lines, along, most=15 if along == "generation" else 6)
    tinted = tint(family, layout, heats, by)
    spreads = form == "spread"
    rows = _spread(lines) if spreads else range(len(lines))
    coloured = bool(tinted.said) or by == "power" or (by == "fitness" and bool(heats))
    wanted = _wanted(family, layout, lines, coloured) if spreads else {}
    left, tree = _tree(lines, placed, wanted)
    own = [line for line in lines if not line.more and not (spreads and line.leads)]
    names = [width("organism", BOLD * SMALL), *(width(named(family, line), TEXT) for line in own)]
    room = min(NAME_MOST, 2 + max(names))
    x = tree + room + 14
    relation, x = x, x + 14 + max((_origin_width(family, layout, line) for line in own), default=0)
    said, x = _room(x, [*tinted.said.values(), *([tinted.head] if tinted.said else [])])
    marked = any(marks_of(family.members[line.ids[0]]) for line in own if not line.folds)
    marks, x = (x, x + MARKS) if marked else (None, x)
    tasks = [width(shown(one.niche.task), BOLD * SMALL) + 6 for one in heats]
    niche = min(NICHE_MOST, max(NICHE, *tasks)) if tasks else NICHE
    niches, x = x, x + niche * len(heats)
    power, x = (x, x + _power_width(family, own, joules)) if joules else (None, x)
    left_out = [words.more(line.more, line.within) for line in lines if line.more]
    right = max(
        x,
        PAD + width(tally(family, layout, lines), TEXT) + 1,
        *(tree + width(one, TEXT) + 1 for one in left_out),
    )
    costs = [one.serving.joules or 0.0 for one in family.members.values() if one.serving]
    return Sheet(
        family, layout, lines, placed, tinted, heats, joules, max(costs, default=0.0),
        places(lines), spreads, rows, SPREAD if spreads else ROW, 1 + int(rows[-1]), left, tree,
        tree, room, relation, said, marks, niches, niche, power, right,
    )  # fmt: skip


def _spread(lines: Sequence[Line]) -> list[float]:
    return spread([NOBODY if line.above is None else line.above for line in lines])


def _tree(lines: Sequence[Line], placed: Axis, wanted: Mapping[int, float]) -> tuple[float, float]:
    """The ends of the tree: as wide as what is `wanted` at its branches, in pixels by line, and the
    founders have theirs before it."""
    low, high = placed.ends
    drawn = 1 + high if placed.label.startswith("generation") else 8
    least = max(TREE_LEAST, width(placed.label, BOLD * SMALL))
    left, wide = PAD + EDGE, max(least, min(TREE_MOST, EACH * drawn)) - EDGE
    ends = {at: max(placed.at[own] for own in lines[at].ids) for at in wanted}
    for at, room in wanted.items():
        above = lines[at].above
        if above is None:
            left = max(left, PAD + room + BESIDE)
        elif (length := ends[at] - ends[above]) > 0:
            wide = max(wide, min(SPREAD_MOST, (room + 2 * BESIDE) * (high - low) / length + END))
    return left, left + wide


def _wanted(
    family: Family, layout: Layout, lines: Sequence[Line], coloured: bool
) -> dict[int, float]:
    """What the words at branches ask for, in pixels by line: a name with its signs above, below it
    how it was made, and before that what it is `coloured` by."""
    found = {}
    for at, line in enumerate(lines):
        if line.leads:
            most = FOUNDER_MOST if line.above is None else STEM_MOST
            name = width(named(family, line, most, SMALL), SMALL)
            facts = width(made(family, layout, line), TINY)
            facts += (RANGE if line.folds else FIGURE) * coloured
            found[at] = 1 + max(name + signs_width(signs(family, line)), facts)
    return found


def sizes(sheet: Sheet) -> list[float]:
    """The radius of the shape of each line: smaller where it would hide the one it hangs on."""
    radii: list[float] = []
    for at, line in enumerate(sheet.lines):
        radius, above = RADIUS, line.above
        if above is not None:
            away = sheet.end(at) - sheet.end(above), sheet.y(at) - sheet.y(above)
            if math.hypot(*away) < radius + radii[above]:
                radius = max(SPECK, NESTED * radii[above])
        radii.append(radius)
    return radii


def signs(family: Family, line: Line) -> Mapping[str, int]:
    """What stands beside a name, by sign; of several with how many there are."""
    return line.within if line.folds else dict.fromkeys(marks_of(family.members[line.ids[0]]), 0)


def signs_width(found: Mapping[str, int]) -> float:
    return sum(SIGN + (width(f"{many:,}", SMALL) + 8 if many else 0) for many in found.values())


def marks_of(member: Member) -> list[str]:
    """The marks of an organism: `protected`, `load-bearing`."""
    said = {"protected": member.organism.protected, "load-bearing": member.load_bearing}
    return [mark for mark, known in said.items() if known]


def _niches(family: Family) -> list[Niche]:
    """The niches of the table, the one that is shown first."""
    chosen = family.shown_niche()
    others = [niche for niche in family.niches() if niche != chosen]
    return ([chosen] if chosen is not None else []) + others[: NICHES - (chosen is not None)]


def _room(x: float, texts: Sequence[str]) -> tuple[float | None, float]:
    """A column of these texts from `x` on, if there are any, and where the next one begins."""
    if not texts:
        return None, x
    return x, x + 14 + min(TINT_MOST, max(width(one, BOLD * SMALL) for one in texts))


def named(family: Family, line: Line, room: float = NAME_MOST, size: float = TEXT) -> str:
    """The name of a line that fits; where two are too long for it, each gets a part."""
    names = [shown(str(family.members[own].organism)) for own in line.ids]
    whole = words.named(names)
    if len(names) == 1 or width(whole, size) <= room:
        return squeeze(whole, room, size)
    between = " … " if len(names) > 2 else ", "
    part = room - width(between, size)
    last = squeeze(names[-1], max(part / 2, part - width(names[0], size)), size)
    return squeeze(names[0], part - width(last, size), size) + between + last


def _origin_width(family: Family, layout: Layout, line: Line) -> float:
    return width(made(family, layout, line), SMALL) + signs_width(line.within)


def _power_width(
    family: Family, lines: Sequence[Line], joules: Mapping[str, words.Joules]
) -> float:
    members = [[family.members[own] for own in line.ids] for line in lines]
    said = [words.joules_said(joules, of_line) or "" for of_line in members]
    beside = BAR + 22 if len(joules) == 1 else 12
    head = max(width(scale.unit, SMALL) + 12 for scale in joules.values())
    return max(beside + max((width(one, SMALL) for one in said), default=0), head)


def scores_said(one: Heat, values: Sequence[float]) -> str:
    """`0.4512`, of several the range."""
    return one.figures.write(values[0]) if len(values) == 1 else words.score_range(values)


def tally(family: Family, layout: Layout, lines: Sequence[Line]) -> str:
    """What is drawn, in one line of text."""
    return " · ".join([*words.census(family, layout), *apart(family, lines)])
