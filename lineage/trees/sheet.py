"""Where everything lies in a picture on paper, in pixels: the tree, the columns of the table, and
which line is where. Nothing is drawn here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lineage.organism import Niche
from lineage.shown import shown
from lineage.trees import words
from lineage.trees.axis import Axis, axis
from lineage.trees.family import Family, Member
from lineage.trees.folding import Line, fold, generations, made, places
from lineage.trees.heat import Heat, heat
from lineage.trees.layout import Layout, arrange
from lineage.trees.lettering import BOLD, cut, squeeze, width
from lineage.trees.strokes import SMALL, TEXT
from lineage.trees.tint import Tint, tint

ROW, PAD, HEAD = 18.0, 28.0, 112.0  # px: a row, the margin, what is above the first row
EACH, TREE_LEAST, TREE_MOST = 68.0, 190.0, 460.0  # px: a tick of the axis, the tree
NAME_MOST, TINT_MOST, BAR, MARKS = 300.0, 120.0, 46.0, 30.0  # px, widths in the table
NICHE, NICHE_MOST = 60.0, 92.0  # px, the column of a niche
SIGN = 15.0  # px: a sign before its count
NICHES = 4


@dataclass(frozen=True, slots=True)
class Sheet:
    """The family with where everything lies, in pixels. `tree` is the right end of the tree,
    `name`, `relation`, `said`, `marks`, `niches` and `power` the left ends of columns, None for
    those that are not there; `niche` is how wide the column of one is; `right` the right end of
    the table. `place` gives the line by organism, `most` the largest serving cost in joules."""

    family: Family
    layout: Layout
    lines: tuple[Line, ...]
    axis: Axis
    tint: Tint
    heats: tuple[Heat, ...]
    joules: Mapping[str, words.Joules]
    most: float
    place: Mapping[int, int]
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

    def across(self, value: float) -> float:
        low, high = self.axis.ends
        left, right = PAD + 8, self.tree - 20
        return left + (value - low) / (high - low) * (right - left)

    @property
    def bottom(self) -> float:
        return HEAD + ROW * len(self.lines)

    def members(self, line: Line) -> list[Member]:
        return [self.family.members[own] for own in line.ids]

    def origin(self, own: int) -> str:
        return words.origin(self.family.members[own].organism, self.layout.main.get(own))

    def called(self, line: Line) -> str:
        """The name of a line, cut to its column; of several the first and the last."""
        if line.more:
            return cut(words.more(line.more, line.within), self.right - self.name, TEXT)
        return named(self.family, line, self.name_room)


def y(row: int) -> float:
    return HEAD + ROW * (row + 0.5)


def sheet(
    family: Family, along: str, by: str, *, everything: bool = False, most: int | None = None
) -> Sheet:
    """Everything in its place. `along` is the axis, `by` the colours; `everything` folds nothing,
    and `most` is how many lines there may be."""
    layout = arrange(family)
    lines = fold(family, layout, everything=everything, most=most)
    heats = tuple(heat(family, niche) for niche in _niches(family))
    joules = words.joules_per(member.serving for member in family.members.values())
    placed = axis(family, layout, lines, along, most=15 if along == "generation" else 6)
    tinted = tint(family, layout, heats, by)
    drawn = 1 + max(generations(family, layout, lines)) if along == "generation" else 8
    least = max(TREE_LEAST, width(placed.label, BOLD * SMALL))
    tree = PAD + max(least, min(TREE_MOST, EACH * drawn))
    own = [line for line in lines if not line.more]
    room = 2 + max(width("organism", BOLD * SMALL), *(width(named(family, line), TEXT)
                                                        for line in own))  # fmt: skip
    room = min(NAME_MOST, room)
    x = tree + room + 14
    relation, x = x, x + 14 + max(_origin_width(family, layout, line) for line in own)
    said, x = _room(x, [*tinted.said.values(), *([tinted.head] if tinted.said else [])])
    marked = any(one.organism.protected or one.load_bearing for one in family.members.values())
    marks, x = (x, x + MARKS) if marked else (None, x)
    tasks = [width(shown(one.niche.task), BOLD * SMALL) + 6 for one in heats]
    niche = min(NICHE_MOST, max(NICHE, *tasks)) if tasks else NICHE
    niches, x = x, x + niche * len(heats)
    power, x = (x, x + _power_width(family, lines, joules)) if joules else (None, x)
    left_out = [words.more(line.more, line.within) for line in lines if line.more]
    right = max(
        x,
        PAD + width(counted(family, layout, lines), TEXT) + 1,
        *(tree + width(one, TEXT) + 1 for one in left_out),
    )
    costs = [one.serving.joules or 0.0 for one in family.members.values() if one.serving]
    return Sheet(
        family, layout, lines, placed, tinted, heats, joules, max(costs, default=0.0),
        places(lines), tree, tree, room, relation, said, marks, niches, niche, power, right,
    )  # fmt: skip


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


def named(family: Family, line: Line, room: float = NAME_MOST) -> str:
    """The name of a line that fits; where two are too long for it, each gets a part."""
    names = [shown(str(family.members[own].organism)) for own in line.ids]
    whole = words.named(names)
    if len(names) == 1 or width(whole, TEXT) <= room:
        return squeeze(whole, room, TEXT)
    between = " … " if len(names) > 2 else ", "
    part = room - width(between, TEXT)
    last = squeeze(names[-1], max(part / 2, part - width(names[0], TEXT)), TEXT)
    return squeeze(names[0], part - width(last, TEXT), TEXT) + between + last


def _origin_width(family: Family, layout: Layout, line: Line) -> float:
    signs = sum(SIGN + 8 + width(f"{count:,}", SMALL) for count in line.within.values())
    return width(made(family, layout, line), SMALL) + signs


def _power_width(
    family: Family, lines: Sequence[Line], joules: Mapping[str, words.Joules]
) -> float:
    said = [joules_said(joules, [family.members[own] for own in line.ids]) or "" for line in lines]
    beside = BAR + 22 if len(joules) == 1 else 12
    head = max(width(scale.unit, SMALL) + 12 for scale in joules.values())
    return max(beside + max(width(one, SMALL) for one in said), head)


def joules_said(joules: Mapping[str, words.Joules], members: Sequence[Member]) -> str | None:
    """`~6.4`, with its unit where the family has several; of several organisms the range. None
    where it is not known, or not of one kind."""
    costs = [one.serving for one in members if one.serving and one.serving.joules is not None]
    if not costs or len({cost.per for cost in costs}) > 1:
        return None
    scale = joules[costs[0].per]
    about = "~" if any(cost.source == "estimated" for cost in costs) else ""
    unit = f" {scale.unit}" if len(joules) > 1 else ""
    amounts = [cost.joules * scale.factor for cost in costs if cost.joules is not None]
    return about + scale.figures.range(amounts).replace(" to ", "–") + unit


def counted(family: Family, layout: Layout, lines: Sequence[Line]) -> str:
    """What is drawn, in one line of text."""
    counts = words.census(family, layout)
    folded = sum(len(line.ids) for line in lines if line.folds)
    left = sum(line.more for line in lines) or family.hidden
    if folded:
        counts.append(f"{folded:,} folded")
    if left:
        counts.append(f"{left:,} more not drawn")
    return " · ".join(counts)
