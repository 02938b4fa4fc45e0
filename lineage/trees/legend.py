"""The legend of a picture on paper: what is drawn is explained, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain

from lineage.shown import counted, shown
from lineage.trees import strokes, words
from lineage.trees.colours import STEPS
from lineage.trees.heat import Heat
from lineage.trees.lettering import cut, width
from lineage.trees.sheet import NESTED, PAD, Sheet, marks_of, sizes
from lineage.trees.stems import Stem
from lineage.trees.strokes import RADIUS, SHAPES, SMALL

Sign = Callable[[float, float], str]
LINE = 20.0  # px


def legend(sheet: Sheet, stems: Collection[Stem]) -> tuple[list[str], float]:
    """As many lines as it takes, and where the picture ends; `stems` are the words at branches."""
    y = sheet.bottom + 64
    out = [strokes.path("grid", f"M{strokes.n(PAD)} {strokes.n(y - 12)}H{strokes.n(sheet.right)}")]
    y += 8
    for line in (_fitness(sheet, y), _tint(sheet, y + 22 * bool(sheet.heats))):
        out += line
        y += 22 * bool(line)
    for signs in (_kinds(sheet), chain(_signs(sheet), _stems(sheet, stems))):
        drawn, end = _flowing(sheet, signs, y)
        out += drawn
        y = end + LINE * bool(drawn)
    return out, y + 26 - LINE


def _flowing(
    sheet: Sheet, signs: Iterable[tuple[Sign, float, str]], y: float
) -> tuple[list[str], float]:
    """Signs with their words, line after line, and where the last line is."""
    out: list[str] = []
    x = PAD
    for sign, wide, text in signs:
        room = wide + width(text, SMALL) + 20
        if x > PAD and x + room - 20 > sheet.right:
            x, y = PAD, y + LINE
        out.append(sign(x + wide / 2 - 3, y))
        fits = cut(text, sheet.right - PAD - wide, SMALL)
        out.append(strokes.text(x + wide, y, fits, "soft small", SMALL))
        x += room
    return out, y


def _fitness(sheet: Sheet, y: float) -> list[str]:
    """The scale of fitness, from worse to better."""
    if not sheet.heats:
        return []
    one = sheet.heats[0]
    name = cut(shown(str(one.niche)), 240, SMALL)
    if one.direction is None or one.best is None or one.worst is None:
        return [strokes.text(PAD, y, f"{name}: {_unscaled(one)}", "soft small", SMALL)]
    better = f"{one.figures.write(one.best)} better ({one.direction})"
    return _scale(f"{name}: worse {one.figures.write(one.worst)}", better, y)


def _unscaled(one: Heat) -> str:
    unknown = one.direction is None
    return "which way is better is not known" if unknown else "nothing alive is scored"


def _scale(low: str, high: str, y: float) -> list[str]:
    x, each = PAD + width(low, SMALL) + 8, 4.0
    steps = [
        strokes.rect(f"s{step}", x + each * step, y - 5, each + 0.5, 10) for step in range(STEPS)
    ]
    end = strokes.text(x + each * STEPS + 8, y, high, "soft small", SMALL)
    return [strokes.text(PAD, y, low, "soft small", SMALL), *steps, end]


def _tint(sheet: Sheet, y: float) -> list[str]:
    """The scale of the shapes, where it is not that of fitness."""
    ends = sheet.tint.ends
    return [] if ends is None else _scale(f"shapes: {ends[0]}", ends[1], y)


def _kinds(sheet: Sheet) -> Iterator[tuple[Sign, float, str]]:
    if sheet.tint.kinds:
        yield _nothing, 0, f"shapes by {shown(sheet.tint.by.removeprefix('tag:'))}:"
    for kind, word in sheet.tint.kinds:
        yield _drawn("dot", f"node {kind}"), 18, cut(word, 200, SMALL)


def _drawn(which: str, kind: str = "node") -> Sign:
    return lambda x, y: strokes.shape(which, kind, x, y)


def _signs(sheet: Sheet) -> Iterator[tuple[Sign, float, str]]:
    drawn = [line for line in sheet.lines if not line.more]
    single = [sheet.members(line)[0] for line in drawn if not line.folds]
    shapes = {SHAPES.get(sheet.origin(line.ids[0]), "dot") for line in drawn}
    states = {words.status(one.organism) for one in single}
    states |= {what for line in drawn for what in line.within}
    states |= {mark for one in single for mark in marks_of(one)}
    said = {"dot": "trained", "square": "quantized, pruned, converted", "diamond": "merge",
            "triangle": "adapter"}  # fmt: skip
    yield from ((_drawn(which), 18, text) for which, text in said.items() if which in shapes)
    if sheet.curves():
        yield _dotted, 34, "further parent, width = share"
    if "selected against" in states:
        yield (lambda x, y: strokes.state("selected against", x, y)), 18, "struck: selected against"
    if states & {"culled", "ghost"}:
        named = {"culled": "culled", "ghost": "ghost (in italics): not registered"}
        yield (_drawn("dot", "node hollow"), 18,
               ", or ".join(named[one] for one in named if one in states))  # fmt: skip
    if "protected" in states:
        yield (lambda x, y: strokes.state("protected", x, y)), 18, "protected"
    if "load-bearing" in states:
        yield strokes.pillar, 18, "load-bearing"
    if any(not line.more and not sheet.sure(at) for at, line in enumerate(sheet.lines)):
        yield _dashed, 34, f"{sheet.axis.label} not known"
    yield from _folds(sheet)
    yield from _words(sheet)


def _dotted(x: float, y: float) -> str:
    line = f"M{strokes.n(x - 12)} {strokes.n(y)}h24"
    return strokes.path("further", line, ' stroke-width="1.8"')


def _dashed(x: float, y: float) -> str:
    return strokes.path("branch dashed", f"M{strokes.n(x - 12)} {strokes.n(y)}H{strokes.n(x + 12)}")


def _folds(sheet: Sheet) -> Iterator[tuple[Sign, float, str]]:
    if any(line.folds and line.step for line in sheet.lines):
        yield _steps, 34, "steps of a run, folded"
    if any(line.folds and not line.step for line in sheet.lines):
        best = ", in the colour of the best" if sheet.tint.by == "fitness" and sheet.heats else ""
        yield (lambda x, y: strokes.stack("dot", "node", x - 3, y)), 26, f"several alike{best}"


def _steps(x: float, y: float) -> str:
    line = strokes.path("branch", f"M{strokes.n(x - 12)} {strokes.n(y)}h24")
    return line + strokes.path("tick", strokes.ticks([x - 8, x - 3, x + 2, x + 7], y))


def _words(sheet: Sheet) -> Iterator[tuple[Sign, float, str]]:
    members = [one for line in sheet.lines if not line.more for one in sheet.members(line)]
    if any(one.front for one in members):
        yield _nothing, 0, "bold: on the front of its niche"
    if any("~" in (words.joules_said(sheet.joules, [one]) or "") for one in members):
        yield _nothing, 0, "~ estimated"
    if any(line.more for line in sheet.lines):
        yield _nothing, 0, "… not drawn"


def _stems(sheet: Sheet, stems: Collection[Stem]) -> Iterator[tuple[Sign, float, str]]:
    """What is below a branch, and how many names have no room above theirs."""
    if any(radius < RADIUS for radius in sizes(sheet)):
        yield _nested, 18, "small on its parent: no way between them"
    if any(stem.facts for stem in stems):
        niche = cut(shown(str(sheet.heats[0].niche)), 240, SMALL) if sheet.heats else ""
        colour = {"fitness": niche, "power": "serving"}.get(sheet.tint.by, sheet.tint.head)
        yield _nothing, 0, f"below a branch: {colour}{' · ' * bool(colour)}how it was made"
    unnamed = sum(not stem.name for stem in stems)
    if unnamed:
        said = counted(unnamed, "name has", "names have")
        yield _nothing, 0, f"{said} no room at a branch"


def _nested(x: float, y: float) -> str:
    both = RADIUS, RADIUS * NESTED
    return "".join(strokes.shape("dot", "node", x, y, radius) for radius in both)


def _nothing(x: float, y: float) -> str:
    return ""
