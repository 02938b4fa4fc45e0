"""Words at the branches of a picture whose leaves are spread: above a branch whom it leads to,
below it what colours that one and how it was made. They lie where no line of the tree can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lineage.trees import strokes, words
from lineage.trees.folding import Line, made
from lineage.trees.lettering import BOLD, cut, width
from lineage.trees.sheet import (
    BESIDE,
    PAD,
    SIGN,
    TINT_MOST,
    Sheet,
    named,
    scores_said,
    signs,
    signs_width,
)
from lineage.trees.strokes import SMALL, TINY, rect, text

ABOVE, BELOW = 10.0, 8.8  # px: from a branch to the middle of its words
CLOSER = 2.6  # px: by so much where nothing leads to a founder
LETTERS = 4
"""With fewer letters than this a name that is cut says nothing."""


@dataclass(frozen=True, slots=True)
class Stem:
    """Words that end at `right`, and lie so far `above` and `below` a branch, all in pixels. `name`
    is '' where it has no room, and of `facts` and `signs` are only those that have; the first of
    the facts is `strong` on the front."""

    right: float
    above: float
    below: float
    name: str
    facts: tuple[str, ...]
    strong: bool
    signs: Mapping[str, int]


def stems(sheet: Sheet) -> dict[int, Stem]:
    """The words at branches, by number of the line that a branch leads to. O(lines)."""
    return {at: _stem(sheet, at, left, right) for at, (left, right) in _rooms(sheet).items()}


def _rooms(sheet: Sheet) -> dict[int, tuple[float, float]]:
    """From where to where words may go: right of all that a line descends from, and left of all
    that descends from it. Nothing of the tree is there, for other clades have rows of their own."""
    ends = [sheet.end(at) for at in range(len(sheet.lines))]
    left, right = [PAD - BESIDE] * len(ends), list(ends)
    for at, line in enumerate(sheet.lines):
        if line.above is not None:
            left[at] = max(left[line.above], ends[line.above])
    for at, line in reversed(list(enumerate(sheet.lines))):
        if line.above is not None:
            right[line.above] = min(right[line.above], right[at])
    inner = (at for at in range(len(ends)) if sheet.stands(at))
    return {at: (left[at] + BESIDE, right[at] - BESIDE) for at in inner}


def _stem(sheet: Sheet, at: int, left: float, right: float) -> Stem:
    line, room = sheet.lines[at], right - left
    found = signs(sheet.family, line)
    beside = signs_width(found)
    if beside > room:
        found, beside = {}, 0.0
    name = named(sheet.family, line, room - beside, SMALL)
    if "…" in name and len(name.replace("…", "").strip()) < LETTERS:
        name = ""
    facts = _facts(sheet, line)
    strong = _on_front(sheet, line)
    while facts and _wide(facts, strong) > room:
        facts = facts[:-1]
    closer = CLOSER if line.above is None and sheet.sure(at) else 0.0
    return Stem(right, ABOVE - closer, BELOW - closer, name, facts, strong, found)


def _on_front(sheet: Sheet, line: Line) -> bool:
    """Whether a single one is on the front of the niche that colours."""
    member, *others = sheet.members(line)
    if others or not sheet.heats or sheet.tint.by != "fitness":
        return False
    alive = words.status(member.organism) == "alive"
    return alive and str(sheet.heats[0].niche) in member.front


def _facts(sheet: Sheet, line: Line) -> tuple[str, ...]:
    """What colours it and how it was made, of several the other way round."""
    members, by = sheet.members(line), sheet.tint.by
    if by == "fitness":
        one = sheet.heats[0] if sheet.heats else None
        found = [score.value for member in members if one and (score := member.score_in(one.niche))]
        colour = scores_said(one, found) if one and found else None
    elif by == "power":
        colour = words.joules_said(sheet.joules, members, whole=True)
    else:
        colour = cut(sheet.tint.words(line.ids), TINT_MOST, TINY)
    said = [colour, made(sheet.family, sheet.layout, line)]
    return tuple(one for one in (reversed(said) if line.folds else said) if one)


def written(stem: Stem, y: float, lettering: str) -> Iterator[str]:
    """The words at a branch that lies at `y`, on paper of their own: curves go beneath them."""
    x, above = stem.right, y - stem.above
    name = width(stem.name, SMALL)
    wide = name + signs_width(stem.signs)
    if wide:
        yield rect("paper", x - wide, above - SMALL / 2, wide, SMALL)
    if stem.name:
        yield text(x, above, stem.name, f"{lettering} small".strip(), SMALL, "end")
        x -= name
    for what, many in reversed(list(stem.signs.items())):
        if many:
            x -= 8
            yield text(x, above, f"{many:,}", "soft small", SMALL, "end")
            x -= width(f"{many:,}", SMALL)
        x -= SIGN
        yield strokes.state(what, x + 5, above)
    if stem.facts:
        bold = stem.facts[0] if stem.strong else ""
        said, below = " · ".join(stem.facts).removeprefix(bold), y + stem.below
        wide = _wide(stem.facts, stem.strong)
        yield rect("paper", stem.right - wide, below - TINY / 2, wide, TINY)
        yield text(stem.right, below, said, "faint tiny", TINY, "end", bold)


def _wide(facts: Sequence[str], strong: bool) -> float:
    first, *others = facts
    rest = "".join(f" · {one}" for one in others)
    return width(first, TINY * (BOLD if strong else 1)) + width(rest, TINY)
