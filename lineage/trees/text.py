"""The family as lines of text, for a terminal or a pipe: guides, name, relation, score, power, and
words for everything that colour says too. Long chains and many leaves alike are one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.style import Style

from lineage.organism import Niche, Organism
from lineage.shown import fit, shown
from lineage.shown import width as cells_of
from lineage.trees import words
from lineage.trees.family import Branch, Family, Member
from lineage.trees.folding import Line, fold, made
from lineage.trees.layout import Layout, arrange

NARROWEST = 40  # cells; what is narrower is wrapped by the terminal
GAP = 2  # cells between columns
NAME_LEAST, NAME_MOST = 14, 44  # cells for guides and name
NOTES = 18  # cells for `✕ selected against`, the longest of the common notes

QUIET, STRONG, STRUCK = Style(dim=True), Style(bold=True), Style(dim=True, strike=True)
PLAIN, GHOSTLY = Style(), Style(dim=True, italic=True)


@dataclass(frozen=True, slots=True)
class Cells:
    """What a line shows: columns, and `hang`, the guide of a further line below it. `tail` goes on
    from `origin` (`merge` `of A 70 %, B 30 %`). A `wide` name may take the room of the columns
    behind it, which are empty."""

    guide: str
    hang: str
    name: str
    style: Style
    aliases: str = ""
    origin: str = ""
    tail: str = ""
    score: str = ""
    strong: bool = False
    power: str = ""
    notes: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """The family with what all its lines share."""

    family: Family
    layout: Layout
    niche: Niche | None
    links: Mapping[int, Sequence[Branch]]
    fitness: words.Figures
    joules: Mapping[str, words.Joules]


def render(
    family: Family, *, width: int, color: bool, all: bool = False, most: int | None = None
) -> str:
    """The family as lines no wider than `width` cells (at least 40), ending in one that says the
    niche, the direction and the counts. `color` adds terminal styles; `all` folds nothing; `most`
    is how many lines there may be, beside those that count what is left out.

    What does not fit a line is continued below its relation; a name too long is cut with `…`."""
    if not family.members:
        return "\n".join(_wrapped(" ".join(words.NOBODY), max(NARROWEST, width))) + "\n"
    width = max(NARROWEST, width)
    sheet = _sheet(family)
    lines = fold(family, sheet.layout, everything=all, most=most)
    strokes = _strokes(lines, width)
    table = [_cells(sheet, line, *_guides(sheet, line, strokes)) for line in lines]
    table = _unit_once(sheet, table)
    out = list(_columns(table, width, color))
    out += _wrapped(_last_line(sheet, table, lines), width)
    return "\n".join(out) + "\n"


def _sheet(family: Family) -> Sheet:
    links: dict[int, list[Branch]] = {}
    for link in family.branches:
        links.setdefault(link.child, []).append(link)
    niche = family.shown_niche()
    scores = [member.score_in(niche) for member in family.members.values()]
    fitness = words.figures([score.value for score in scores if score is not None])
    joules = words.joules_per(member.serving for member in family.members.values())
    return Sheet(family, arrange(family), niche, links, fitness, joules)


# ---- guides -----------------------------------------------------------------------------------


def _strokes(lines: Sequence[Line], width: int) -> tuple[int, int]:
    """Cells a level, and how many levels are drawn: a deep tree indents less, then elides."""
    room, deepest = width // 5, max(line.depth for line in lines)
    return (3, deepest) if 3 * deepest <= room else (2, max(2, (room - 6) // 2))


def _guides(sheet: Sheet, line: Line, strokes: tuple[int, int]) -> tuple[str, str]:
    """The guide of a line, and of what hangs below it."""
    wide, levels = strokes
    kept = line.later[-levels:] if levels else ()
    elided = f"⋯{line.depth - len(kept)} " if line.depth > len(kept) else ""
    bars = ["│".ljust(wide) if later else " " * wide for later in kept]
    hang = " " * len(elided) + "".join(bars) + ("│" if line.leads else "")
    if line.step:
        return elided + "".join(bars) + "↓ ", hang
    if not kept:
        return elided, hang
    main = None if line.more else sheet.layout.main[line.ids[0]]
    ghost = main is not None and sheet.family.members[main.parent].organism.ghost
    dash = ("╌" if ghost else "─") * (wide - 2)
    mark = ("├" if kept[-1] else "└") + dash + " "
    return elided + "".join(bars[:-1]) + mark, hang


# ---- what a line says -------------------------------------------------------------------------


def _cells(sheet: Sheet, line: Line, guide: str, hang: str) -> Cells:
    if line.more:
        name = words.more(line.more, line.within)
        return Cells(guide, hang, name, QUIET, notes="--all shows them", wide=True)
    members = [sheet.family.members[id_] for id_ in line.ids]
    organism = members[0].organism
    origin, tail = _origin(sheet, line)
    score, power = _score(sheet, members), _power(sheet, members)
    front = all(str(sheet.niche) in member.front for member in members)
    if line.folds:
        name = words.named([_called(member.organism) for member in members])
        alike = {member.organism.status for member in members} == {organism.status}
        style = _style(organism) if alike else PLAIN
        notes = [words.held(line.within), "on the front" if front else ""]
        said = ", ".join(note for note in notes if note)
        return Cells(guide, hang, name, style, "", origin, tail, score, front, power, said)
    name = _called(organism) + (" ◆" if organism.protected else "")
    aliases = ", ".join(shown(alias) for alias in members[0].aliases)
    aliases = f"({aliases})" if aliases else ""
    said = _notes(members[0], front, origin)
    style = _style(organism)
    return Cells(guide, hang, name, style, aliases, origin, tail, score, front, power, said)


def _called(organism: Organism) -> str:
    return shown(str(organism))


def _origin(sheet: Sheet, line: Line) -> tuple[str, str]:
    """`finetune`; `merge` and `of A2 70 %, A1 30 %`; `4 steps`; `7 quantized`."""
    first = line.ids[0]
    main = sheet.layout.main.get(first)
    links = sorted(sheet.links.get(first, ()), key=lambda link: -(link.weight or 0))
    origin = made(sheet.family, sheet.layout, line)
    if len(links) < 2 or main is None:
        return origin, ""
    if line.folds:
        parents = (_called(sheet.family.members[link.parent].organism) for link in links)
        return origin, "of " + ", ".join(sorted(parents))
    parts = []
    for link, share in zip(links, words.shares(links), strict=True):
        name = _called(sheet.family.members[link.parent].organism)
        other = f"({link.relation})" if link.relation != main.relation else ""
        parts.append(" ".join(part for part in (name, share, other) if part))
    return origin, "of " + ", ".join(parts)


def _score(sheet: Sheet, members: Sequence[Member]) -> str:
    scores = [score for member in members if (score := member.score_in(sheet.niche)) is not None]
    if not scores:
        return ""
    if len(members) > 1:
        return sheet.fitness.range([score.value for score in scores])
    stderr = scores[0].stderr
    doubt = "" if stderr is None else f" ± {sheet.fitness.write(stderr)}"
    return sheet.fitness.align(scores[0].value) + doubt


def _power(sheet: Sheet, members: Sequence[Member]) -> str:
    """The serving cost, `~` before an estimate; the range where folded organisms are counted
    alike. With its unit where the family has several."""
    costs = [m.serving for m in members if m.serving and m.serving.joules is not None]
    if not costs or len({cost.per for cost in costs}) > 1:
        return ""
    scale = sheet.joules[costs[0].per]
    amounts = [cost.joules * scale.factor for cost in costs if cost.joules is not None]
    about = "~" if any(cost.source == "estimated" for cost in costs) else ""
    amount = about + scale.figures.range(amounts)
    if " to " not in amount:
        amount = amount.rjust(scale.figures.width + 1)
    return amount + (f" {scale.unit}" if len(sheet.joules) > 1 else "")


def _unit_once(sheet: Sheet, table: list[Cells]) -> list[Cells]:
    """The unit of power on the first figure, where all share it."""
    first = next((i for i, cells in enumerate(table) if cells.power), None)
    if first is not None and len(sheet.joules) == 1:
        (scale,) = sheet.joules.values()
        table[first] = replace(table[first], power=f"{table[first].power} {scale.unit}")
    return table


def _notes(member: Member, front: bool, origin: str) -> str:
    organism = member.organism
    notes = [
        "✕ selected against" if organism.status == "selected_against" else "",
        "culled" if organism.status == "culled" else "",
        ("not registered" if origin == "ghost" else "ghost") if organism.ghost else "",
        "load-bearing" if member.load_bearing else "",
        "on the front" if front else "",
    ]
    return ", ".join(note for note in notes if note)


def _style(organism: Organism) -> Style:
    if organism.ghost:
        return GHOSTLY
    return {"selected_against": STRUCK, "culled": QUIET}.get(organism.status, PLAIN)


def _last_line(sheet: Sheet, table: Sequence[Cells], lines: Sequence[Line]) -> str:
    """The niche, its direction, the signs used, the counts, and what is not drawn."""
    said = []
    if sheet.niche is not None:
        scores = [member.score_in(sheet.niche) for member in sheet.family.members.values()]
        ways = {score.direction for score in scores if score is not None}
        way = next(iter(ways)) if len(ways) == 1 else None
        better = f"{way} is better" if way else "which way is better is not known"
        said.append(f"{shown(str(sheet.niche))}, {better}.")
    signs = {"◆ protected": any(m.organism.protected for m in sheet.family.members.values())}
    signs["~ estimated"] = any("~" in cells.power for cells in table)
    if any(signs.values()):
        said.append(", ".join(sign for sign, used in signs.items() if used) + ".")
    said.append(", ".join(words.census(sheet.family, sheet.layout)) + ".")
    folded = sum(len(line.ids) for line in lines if line.folds)
    if folded:
        said.append(f"{folded:,} of them are folded; --all shows each.")
    cut = len(sheet.family.members) - sum(len(line.ids) for line in lines if not line.more)
    if sheet.family.hidden or cut:
        said.append(f"{sheet.family.hidden + cut:,} more are not drawn; --all draws them.")
    return " ".join(said)


# ---- columns ----------------------------------------------------------------------------------


def _columns(table: Sequence[Cells], width: int, color: bool) -> Iterator[str]:
    """Aligned lines. Where there is room, all that is said of an organism is on one line; where
    there is not, the tail of its origin and its notes hang below it."""
    score, power = (max(len(getattr(c, key)) for c in table) for key in ("score", "power"))
    short = max(len(cells.origin) for cells in table)
    long = max(cells_of(f"{cells.origin} {cells.tail}".rstrip()) for cells in table)
    notes = max(len(cells.notes) for cells in table)
    names = [cells_of(cells.guide + _label(cells)) for cells in table if not cells.wide]
    name = min(NAME_MOST, max(names, default=NAME_LEAST))

    def left(origin: int) -> int:
        return width - sum(GAP + column for column in (origin, score, power) if column)

    origin = long if name + GAP + notes <= left(long) else short
    name = min(name, max(NAME_LEAST, left(origin) - GAP - min(notes, NOTES)))
    sizes = (name, origin, score, power, left(origin) - name - GAP)
    for cells in table:
        yield from _print(cells, sizes, width, color)


def _print(cells: Cells, sizes: Sequence[int], width: int, color: bool) -> Iterator[str]:
    """The line of `cells`, and what hangs below it, guides drawn through."""
    name, origin, score, power, notes = sizes
    made, hanging = f"{cells.origin} {cells.tail}".rstrip(), []
    if cells_of(made) > origin:
        made, hanging = cells.origin, [cells.tail]
    beside = cells.notes if len(cells.notes) <= notes else ""
    if not beside:
        hanging.append(cells.notes)
    guide = cells.guide[: name - 2]
    label = _label(cells)
    if cells.wide:
        yield from _spread(cells, guide, label, name, width, color)
        return
    if cells.aliases and cells_of(label) > name - len(guide):
        label, hanging = cells.name, [cells.aliases, *hanging]
    label = fit(label, name - len(guide))
    columns = (
        (made, origin, QUIET),
        (cells.score, score, STRONG if cells.strong else PLAIN),
        (cells.power, power, PLAIN),
        (beside, len(beside), QUIET),
    )
    line = _paint(guide, QUIET, color) + _paint(label, cells.style, color)
    blanks = name - len(guide) - cells_of(label)
    for text, size, style in columns:
        if size:
            line += " " * (blanks + GAP) + _paint(text, style, color)
            blanks = size - cells_of(text)
    yield line.rstrip()
    for text in hanging:
        for piece in _wrapped(text, width - name - GAP):
            yield _paint(cells.hang[:name].ljust(name + GAP) + piece, QUIET, color)


def _spread(
    cells: Cells, guide: str, label: str, name: int, width: int, color: bool
) -> Iterator[str]:
    """A line without columns: its name, as long as it is, and its notes where they fit."""
    label = fit(label, width - len(guide))
    taken = max(name, len(guide) + cells_of(label)) + GAP
    notes = " " * (taken - len(guide) - cells_of(label)) + cells.notes
    beside = taken + len(cells.notes) <= width
    yield _paint(guide, QUIET, color) + _paint(label + notes * beside, cells.style, color)


def _wrapped(text: str, room: int) -> Iterator[str]:
    """Lines of at most `room` cells, broken at blanks; a word too long is cut with `…`."""
    line = ""
    for word in text.split():
        if line and cells_of(line) + 1 + cells_of(word) > room:
            yield line
            line = ""
        line = f"{line} {fit(word, room)}" if line else fit(word, room)
    if line:
        yield line


def _label(cells: Cells) -> str:
    return f"{cells.name} {cells.aliases}".rstrip()


def _paint(text: str, style: Style, color: bool) -> str:
    return style.render(text) if color and text.strip() else text
