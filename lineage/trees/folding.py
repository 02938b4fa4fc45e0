"""Which lines a picture has: one for each organism, or one for several that are alike. All pictures
that fold do it by these rules, and say of each fold how many it holds and what is among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lineage.trees import words
from lineage.trees.family import Branch, Family
from lineage.trees.layout import Layout

CHAIN, LEAVES, COPIES, LONERS = 3, 5, 2, 25
"""So many steps of a chain, leaves alike of one parent, copies of one parent in another precision,
or founders without a child, fold into one line."""
MOST = 400
"""Lines that a picture has at most; what is further from the founders is counted where it hangs."""
KEPT = 24
"""Levels that `Line.later` remembers."""
COPIED = ("quantized", "convert")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `ids` are the organisms it speaks for; `above` is the number of the line with their
    main parent. A `step` is the only child of an organism and goes on with its run. `more` counts
    organisms that have no line of their own: they hang on the organism `ids`, or are further
    founders where that is empty. `within` counts what is among the folded by what it is.

    `depth` counts the levels that a line is indented, which steps are not; `later` says, from the
    outermost that is remembered inwards, whether siblings still follow; `leads` whether lines hang
    on this one."""

    ids: tuple[int, ...]
    above: int | None = None
    step: bool = False
    more: int = 0
    within: Mapping[str, int] = field(default_factory=dict)
    depth: int = 0
    later: tuple[bool, ...] = ()
    leads: bool = False

    @property
    def folds(self) -> bool:
        """Whether it speaks for several organisms that have been gathered."""
        return len(self.ids) > 1 and not self.more


def fold(
    family: Family, layout: Layout, *, everything: bool = False, most: int | None = None
) -> tuple[Line, ...]:
    """The lines from top to bottom, parents before their children; at most `most`, beside those
    that count what is left out. `everything` folds nothing. O(organisms and links)."""
    lines = _Folder(family, layout, everything).lines()
    kept = range(len(lines)) if most is None else _nearest(lines, most)
    return tuple(_ordered(family, lines, set(kept)))


class _Folder:
    """Which organisms share a line. What is remarkable never does: what is protected, has an alias,
    is on a front, or has others below it that are drawn; nor in a chain what is merged."""

    def __init__(self, family: Family, layout: Layout, everything: bool) -> None:
        self.family, self.layout, self.everything = family, layout, everything
        self.given = {link.parent for link in layout.further}
        self.others: dict[int, list[tuple[int, str]]] = {}
        for link in layout.further:
            self.others.setdefault(link.child, []).append((link.parent, link.relation))

    def lines(self) -> list[Line]:
        """Lines that know what they speak for and what they hang on, with a stack of our own:
        chains may be 100,000 long."""
        lines: list[Line] = []
        roots = [row.id for row in self.layout.rows if row.parent is None]
        stack = [Line(ids) for ids in reversed(self._together(roots))]
        while stack:
            line = stack.pop()
            stack.extend(
                replace(below, above=len(lines)) for below in reversed(self._below(line.ids[-1]))
            )
            lines.append(line)
        return lines

    def _below(self, own: int) -> list[Line]:
        step = self._next(own)
        if step is not None:
            return [Line(self._chain(step), step=True)]
        return [Line(ids) for ids in self._together(self.layout.children[own])]

    def _next(self, own: int) -> int | None:
        """The only child of `own`, when it continues the same run."""
        children = self.layout.children[own]
        if len(children) != 1 or own in self.family.folded:
            return None
        return children[0] if self.layout.main[children[0]].relation == "continue" else None

    def _chain(self, first: int) -> tuple[int, ...]:
        """`first` and the steps after it, when they are enough to fold; never the last one."""
        run: list[int] = []
        own = first
        while not self.everything and (step := self._next(own)) is not None:
            if not self._plain(own) or own in self.others:
                break
            run.append(own)
            own = step
        return tuple(run) if len(run) >= CHAIN else (first,)

    def _together(self, siblings: Sequence[int]) -> list[tuple[int, ...]]:
        """`siblings` one by one, leaves alike together when they are enough to fold."""
        if self.everything:
            return [(own,) for own in siblings]
        kinds: dict[tuple[int, tuple[object, ...]], list[int]] = {}
        for own in siblings:
            if not self.layout.children[own] and (kind := self._kind(own)) is not None:
                kinds.setdefault(kind, []).append(own)
        groups = {ids[0]: tuple(ids) for (enough, _), ids in kinds.items() if len(ids) >= enough}
        inside = {own for ids in groups.values() for own in ids[1:]}
        return [groups.get(own, (own,)) for own in siblings if own not in inside]

    def _kind(self, own: int) -> tuple[int, tuple[object, ...]] | None:
        """From how many on leaves of this kind fold, and what else is equal of them; None for what
        never folds. Copies in another precision may lie on the same fronts."""
        member, main = self.family.members[own], self.layout.main.get(own)
        copied = main is not None and main.relation in COPIED
        if not self._plain(own, fronts=copied):
            return None
        if main is None:
            return LONERS, (words.origin(member.organism, None),)
        others = tuple(sorted(self.others.get(own, ())))
        if copied and not others:
            return COPIES, (main.relation, words.status(member.organism), member.front)
        return LEAVES, (main.relation, others)

    def _plain(self, own: int, fronts: bool = False) -> bool:
        """Whether nothing would be missed when `own` had no line of its own."""
        member = self.family.members[own]
        remarkable = member.organism.protected or member.aliases or own == self.family.root
        remarkable = remarkable or (member.front and not fronts)
        return not remarkable and own not in self.given and own not in self.family.folded


def _nearest(lines: Sequence[Line], most: int) -> Iterable[int]:
    """The numbers of the `most` lines with the fewest lines above them."""
    level: list[int] = []
    for line in lines:
        level.append(0 if line.above is None else level[line.above] + 1)
    return sorted(range(len(lines)), key=level.__getitem__)[:most]


def _ordered(family: Family, lines: Sequence[Line], kept: set[int]) -> list[Line]:
    """The lines that are kept, with what each leaves out counted below it, numbered anew."""
    more, within = _left_out(family, lines, kept)
    below: dict[int | None, list[int]] = {}
    for number, line in enumerate(lines):
        if number in kept:
            below.setdefault(line.above, []).append(number)
    out: list[Line] = []
    # (number in `lines`, None for what is left out; of which line it hangs, there and in `out`)
    stack: list[tuple[int | None, int | None, int | None, int, tuple[bool, ...]]] = []

    def hang(above: int | None, placed: int | None, depth: int, later: tuple[bool, ...]) -> bool:
        found: list[int | None] = list(below.get(above, ()))
        if more.get(above):
            found.append(None)
        step = len(found) == 1 and found[0] is not None and lines[found[0]].step
        deeper = depth if step or above is None else depth + 1
        for i in reversed(range(len(found))):
            guides = later if step or above is None else (*later, i < len(found) - 1)[-KEPT:]
            stack.append((found[i], above, placed, deeper, guides))
        return bool(found)

    hang(None, None, 0, ())
    while stack:
        at, above, placed, depth, later = stack.pop()
        if at is None:
            ids = () if above is None else (lines[above].ids[-1],)
            out.append(Line(ids, placed, False, more[above], within[above], depth, later))
            continue
        line = lines[at]
        held = among(family, line.ids) if line.folds else {}
        leads = hang(at, len(out), depth, later)
        out.append(replace(line, above=placed, within=held, depth=depth, later=later, leads=leads))
    return out


def _left_out(
    family: Family, lines: Sequence[Line], kept: set[int]
) -> tuple[dict[int | None, int], dict[int | None, Counter[str]]]:
    """By number of the line on which they hang how many organisms are left out, and what is among
    them: those that were never gathered, and those of lines that are not kept."""
    more: Counter[int | None] = Counter()
    within: dict[int | None, Counter[str]] = {}
    home: list[int | None] = []
    for number, line in enumerate(lines):
        home.append(number if number in kept else None if line.above is None else home[line.above])
        if number not in kept:
            more[home[number]] += len(line.ids)
            within.setdefault(home[number], Counter()).update(among(family, line.ids))
        for own in line.ids:
            if own in family.folded:
                more[home[number]] += family.folded[own]
                held = family.within.get(own, {})
                within.setdefault(home[number], Counter()).update(held)
    return dict(more), {number: within.get(number, Counter()) for number in more}


def made(family: Family, layout: Layout, line: Line) -> str:
    """How those of a line were made: `finetune`; `4 steps`; `7 quantized`; `30 founders`."""
    main = layout.main.get(line.ids[0])
    origin = words.origin(family.members[line.ids[0]].organism, main)
    if not line.folds:
        return origin
    many = "steps" if line.step else origin + "s" * (origin in NOUNS)
    return f"{len(line.ids):,} {many}"


NOUNS = ("adapter", "finetune", "founder", "ghost", "merge")


def among(family: Family, ids: Iterable[int]) -> dict[str, int]:
    """How many of `ids` are selected against, culled, ghosts or load-bearing; nothing is zero."""
    members = [family.members[own] for own in ids]
    found = Counter(words.status(member.organism) for member in members)
    found["load-bearing"] = sum(member.load_bearing for member in members)
    return {what: found[what] for what in WITHIN if found[what]}


WITHIN = ("selected against", "culled", "ghost", "load-bearing")
"""What is counted of what is folded, in this order."""


def places(lines: Sequence[Line]) -> dict[int, int]:
    """By organism the number of the line that speaks for it."""
    return {own: at for at, line in enumerate(lines) if not line.more for own in line.ids}


def links(family: Family, lines: Sequence[Line]) -> list[tuple[int, int, Branch]]:
    """The links between lines as (parent's, child's, one of its links); none within a line."""
    place = places(lines)
    found: dict[tuple[int, int], Branch] = {}
    for link in family.branches:
        parent, child = place.get(link.parent), place.get(link.child)
        if parent is not None and child is not None and parent != child:
            found.setdefault((parent, child), link)
    return [(parent, child, link) for (parent, child), link in found.items()]


def called(family: Family, layout: Layout, line: Line) -> str:
    """A line as a label: the name; `s1 … s9: 9 steps, 2 selected against`; `240 more`."""
    if line.more:
        return words.more(line.more, line.within).removeprefix("… ")
    name = words.named([str(family.members[own].organism) for own in line.ids])
    if not line.folds:
        return name
    held = words.held(line.within)
    return f"{name}: {made(family, layout, line)}" + (f", {held}" if held else "")


def apart(family: Family, lines: Sequence[Line]) -> list[str]:
    """What has no line of its own, in words: `12 folded`, `240 more not drawn`."""
    folded = sum(len(line.ids) for line in lines if line.folds)
    left = sum(line.more for line in lines) or family.hidden
    said = [f"{folded:,} folded" if folded else "", f"{left:,} more not drawn" if left else ""]
    return [one for one in said if one]


def generations(family: Family, layout: Layout, lines: Sequence[Line]) -> list[int]:
    """By line the longest way from a founder, counted in lines: a fold is one step of it."""
    place = places(lines)
    parents: dict[int, list[int]] = {}
    for link in family.branches:
        if link.child in place and link.parent in place:
            parents.setdefault(link.child, []).append(place[link.parent])
    born = [0] * len(lines)
    rows = sorted((row for row in layout.rows if not row.more), key=lambda row: row.generation)
    for row in rows:
        at = place.get(row.id)
        for above in parents.get(row.id, ()):
            if at is not None and above != at:
                born[at] = max(born[at], born[above] + 1)
    for at, line in enumerate(lines):
        if line.more and line.above is not None:
            born[at] = born[line.above] + 1
    return born
