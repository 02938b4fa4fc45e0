"""The family as a picture for paper: one SVG file with tree, table, scale bar and legend, which
loads nothing, is the same bytes for the same family, and is dark where its reader's screen is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lineage.shown import shown
from lineage.trees import strokes, words
from lineage.trees.axis import nearest
from lineage.trees.colours import STEPS
from lineage.trees.family import Family, Member
from lineage.trees.folding import Line, made
from lineage.trees.heat import Heat
from lineage.trees.legend import legend
from lineage.trees.lettering import BOLD, cut, width
from lineage.trees.paint import style
from lineage.trees.sheet import (
    BAR,
    EDGE,
    HEAD,
    PAD,
    ROW,
    SIGN,
    Sheet,
    marks_of,
    scores_said,
    sizes,
    tally,
)
from lineage.trees.sheet import sheet as sheet_of
from lineage.trees.stems import Stem, stems, written
from lineage.trees.strokes import BEND, SHAPES, SMALL, TEXT, TINY, TITLE, n, path, rect, text

CROWD = 30
"""With more curves than this they are paler, so that what they cross can be read."""
STUB = 14.0
"""How far a line leads to a founder of which it is not known where it lies, in pixels."""
LAST = 3.4
"""The radius of the shape at the end of folded steps, in pixels."""
TOLD = 20
"""So many of the folded are named where a pointer rests."""


def render(
    family: Family,
    *,
    title: str,
    along: str = "generation",
    by: str = "fitness",
    all: bool = False,
    most: int | None = None,
    layout: str = "rows",
) -> str:
    """The picture as SVG, to be written in UTF-8. `along` is the axis, of `axis.LABELS`; `by` what
    the shapes are coloured by, of `tint.TINTS` or `tag:KEY`; `all` folds nothing; `most` is how
    many lines there may be, beside those that count what is left out; `layout` is of
    `sheet.LAYOUTS`.

    No font is asked for its widths and none comes along: letters have the room of the widest of the
    common fonts. O(organisms and links). Raises InvalidValue where the axis or the colour is not
    known of any."""
    if not family.members:
        return _nobody()
    sheet = sheet_of(family, along, by, form=layout, everything=all, most=most)
    beside, radii = stems(sheet), sizes(sheet)
    body = [
        *_heading(sheet, shown(title)),
        *_grid(sheet),
        *_branches(sheet),
        *_further(sheet),
        *(
            part
            for at in range(len(sheet.lines))
            for part in _line(sheet, at, radii[at], beside.get(at))
        ),
        *_scale_bar(sheet),
    ]
    explained, bottom = legend(sheet, beside.values())
    return _plate(sheet.right + PAD, bottom, title, [*body, *explained])


def _plate(wide: float, high: float, title: str, body: Sequence[str]) -> str:
    size = f'width="{n(wide)}" height="{n(high)}"'
    return "\n".join([
        f'<svg class="lineage-tree" xmlns="http://www.w3.org/2000/svg" {size} '
        f'viewBox="0 0 {n(wide)} {n(high)}" role="img">',
        f"<title>{strokes.x(title)}</title>",
        f"<style>{style()}</style>",
        f'<rect class="paper" {size}/>',
        *body,
        "</svg>",
        "",
    ])  # fmt: skip


def _nobody() -> str:
    """Where there is nothing to draw, how to begin."""
    said = [one.replace("`", "") for one in words.NOBODY]
    lines = [text(PAD, 34, "No family yet", "title", TITLE)]
    lines += [text(PAD, 64 + 20 * at, one, "soft", TEXT) for at, one in enumerate(said)]
    wide = PAD * 2 + max(width(one, TEXT) for one in said)
    return _plate(wide, 130, "No family yet", lines)


# ---- around the tree ----------------------------------------------------------------------------


def _heading(sheet: Sheet, title: str) -> Iterator[str]:
    room = sheet.right - PAD
    counts = tally(sheet.family, sheet.layout, sheet.lines)
    yield text(PAD, 34, cut(title, room, BOLD * TITLE), "title", TITLE)
    yield text(PAD, 58, cut(counts, room, TEXT), "soft", TEXT)
    yield text(sheet.left - EDGE, HEAD - 26, sheet.axis.label, "head", SMALL)
    yield text(sheet.name, HEAD - 12, "organism", "head", SMALL)
    if sheet.said is not None:
        head = cut(sheet.tint.head, (sheet.marks or sheet.niches) - sheet.said - 12, BOLD * SMALL)
        yield text(sheet.said, HEAD - 12, head, "head", SMALL)
    for number, one in enumerate(sheet.heats):
        x = sheet.niches + sheet.niche * (number + 0.5)
        task, metric = (shown(part) for part in (one.niche.task, one.niche.metric))
        yield f"<g><title>{strokes.x(str(one.niche))}</title>"
        yield text(x, HEAD - 26, cut(task, sheet.niche - 2, BOLD * SMALL), "head", SMALL, "middle")
        yield text(x, HEAD - 12, cut(metric, sheet.niche - 4, TINY), "faint tiny", TINY, "middle")
        yield "</g>"
    if sheet.heats and sheet.tint.by == "fitness":  # the niche that colours the tree
        yield path("rule", f"M{n(sheet.niches + 3)} {n(HEAD - 3)}h{n(sheet.niche - 6)}")
    if sheet.power is not None:
        yield text(sheet.power + 10, HEAD - 26, "serving", "head", SMALL)
        if len(sheet.joules) == 1:
            (scale,) = sheet.joules.values()
            yield text(sheet.power + 10, HEAD - 12, scale.unit, "faint tiny", TINY)


def _grid(sheet: Sheet) -> Iterator[str]:
    ticks = nearest(
        [(sheet.across(value), said) for value, said in sheet.axis.ticks],
        26 if sheet.axis.label.startswith("generation") else 58,
    )
    lines = "".join(f"M{n(x)} {n(HEAD - 4)}V{n(sheet.bottom + 4)}" for x, _ in ticks)
    yield path("grid", lines)
    for x, said in ticks:
        yield text(x, sheet.bottom + 14, said, "faint tiny", TINY, "middle")
        yield text(x, HEAD - 11, said, "faint tiny", TINY, "middle")


def _scale_bar(sheet: Sheet) -> Iterator[str]:
    length, said = sheet.axis.bar
    low, _ = sheet.axis.ends
    x, at = sheet.left, sheet.bottom + 36
    end = x + sheet.across(low + length) - sheet.across(low)
    yield path("bar", f"M{n(x)} {n(at - 4)}v8M{n(x)} {n(at)}H{n(end)}M{n(end)} {n(at - 4)}v8")
    yield text(end + 8, at, said, "soft small", SMALL)


# ---- branches -----------------------------------------------------------------------------------


def _branches(sheet: Sheet) -> Iterator[str]:
    """Elbows to the main parents; dashed below a ghost, and where the axis is not known: there a
    founder has a stub."""
    plain: list[str] = []
    dashed: list[str] = []
    hung: dict[int, tuple[int, int]] = {}  # by line the highest and the lowest that hang on it
    for at, line in enumerate(sheet.lines):
        if line.above is not None:
            hung[line.above] = (hung.get(line.above, (at, at))[0], at)
            sure = sheet.sure(at) and not _ghost(sheet, line.above)
            (plain if sure else dashed).append(_arm(sheet, at))
        elif not line.more and not sheet.sure(at):
            dashed.append(f"M{n(sheet.end(at) - STUB)} {n(sheet.y(at))}H{n(sheet.end(at))}")
        if line.above is None and line.folds:
            plain.append(f"M{n(min(map(sheet.x, line.ids)))} {n(sheet.y(at))}H{n(sheet.end(at))}")
    for above, (highest, lowest) in hung.items():
        own, ends = sheet.y(above), (sheet.y(highest), sheet.y(lowest))
        top, bottom = (end + _bend(own, end) for end in ends)
        if min(own, top) < bottom:
            trunk = f"M{n(sheet.end(above))} {n(min(own, top))}V{n(bottom)}"
            (dashed if _ghost(sheet, above) else plain).append(trunk)
    if plain:
        yield path("branch", "".join(plain))
    if dashed:
        yield path("branch dashed", "".join(dashed))
    ticks = [
        strokes.ticks([sheet.x(own) for own in line.ids], sheet.y(at))
        for at, line in enumerate(sheet.lines)
        if line.folds and len(set(map(sheet.x, line.ids))) > 1
    ]
    if ticks:
        yield path("tick", "".join(ticks))


def _arm(sheet: Sheet, at: int) -> str:
    """From the trunk at the end of a line to one that hangs on it."""
    above = sheet.lines[at].above
    assert above is not None
    from_x, x, to = sheet.end(above), sheet.end(at), sheet.y(at)
    up = _bend(sheet.y(above), to)
    if not up:
        return f"M{n(from_x)} {n(to)}H{n(x)}"
    bend = min(BEND, max(0.0, (x - from_x) / 2))
    return f"M{n(from_x)} {n(to + up)}Q{n(from_x)} {n(to)} {n(from_x + bend)} {n(to)}H{n(x)}"


def _bend(trunk: float, to: float) -> float:
    """How far from the height `to` of a branch it bends off its trunk, which comes from `trunk`."""
    return max(-BEND, min(BEND, trunk - to))


def _ghost(sheet: Sheet, at: int) -> bool:
    return sheet.family.members[sheet.lines[at].ids[-1]].organism.ghost


def _further(sheet: Sheet) -> Iterator[str]:
    """Curves from further parents, as wide as their share; one for all that share a line."""
    curves = sheet.curves()
    kind = "further many" if len(curves) > CROWD else "further"
    for parent, child, link in curves:
        x, to = sheet.end(child), sheet.y(child)
        from_x, from_y = sheet.x(link.parent), sheet.y(parent)
        reach = max(16.0, abs(x - from_x) * 0.55)
        share = 0.5 if link.weight is None else min(1.0, abs(link.weight))
        out, back = min(from_x + reach, sheet.tree), max(x - reach, PAD / 2)  # no curve leaves them
        points = (out, from_y, back, to, x, to)
        yield path(
            kind,
            f"M{n(from_x)} {n(from_y)}C{' '.join(map(n, points))}",
            f' stroke-width="{n(0.9 + 1.8 * share)}"',
        )


# ---- lines --------------------------------------------------------------------------------------


def _line(sheet: Sheet, at: int, radius: float, stem: Stem | None) -> Iterator[str]:
    """A line with its words: at its branch, where it has a `stem`, else in the table."""
    line, x, to = sheet.lines[at], sheet.end(at), sheet.y(at)
    if line.more:
        yield "".join(
            f'<circle class="more" cx="{n(x + dx)}" cy="{n(to)}" r="1.5"/>' for dx in (4, 9, 14)
        )
        yield text(sheet.name, to, sheet.called(line), "quiet", TEXT)
        return
    members = sheet.members(line)
    yield f"<g><title>{strokes.x(_told(sheet, line))}</title>"
    if stem is not None:
        yield from _node(sheet, line, members, (x, to), radius)
        yield from written(stem, to, _lettering(members))
        yield "</g>"
        return
    if x + 12 < sheet.tree - 8:
        away = 17 if line.folds and not line.step else 11
        yield path("leader", f"M{n(x + away)} {n(to)}H{n(sheet.tree - 7)}")
    yield from _node(sheet, line, members, (x, to), radius)
    yield text(sheet.name, to, sheet.called(line), _lettering(members), TEXT)
    yield from _origin(sheet, line, to)
    if sheet.said is not None:
        room = (sheet.marks or sheet.niches) - sheet.said - 12
        said = cut(sheet.tint.words(line.ids), room, SMALL)
        yield text(sheet.said, to, said, "soft small", SMALL)
    if sheet.marks is not None and not line.folds:
        yield from _marks(members[0], sheet.marks, to)
    for number, one in enumerate(sheet.heats):
        yield from _cell(sheet, members, one, sheet.niches + sheet.niche * number, to)
    if sheet.power is not None:
        yield from _power(sheet, members, sheet.power, to)
    yield "</g>"


def _told(sheet: Sheet, line: Line) -> str:
    """What is shown where a pointer rests, and what a screen reader says."""
    members = sheet.members(line)
    names = [shown(str(member.organism)) for member in members[:TOLD]]
    rest = f" and {len(members) - TOLD:,} more" if len(members) > TOLD else ""
    status = words.held(line.within) if line.folds else words.status(members[0].organism)
    said = [", ".join(names) + rest, made(sheet.family, sheet.layout, line), status]
    return ", ".join(dict.fromkeys(one for one in said if one))


def _lettering(members: Sequence[Member]) -> str:
    """Struck, in italics or faint where all of a line are."""
    found = {words.status(member.organism) for member in members}
    if len(found) > 1:
        return ""
    return {"alive": "", "selected against": "struck", "ghost": "quiet"}.get(found.pop(), "faint")


def _node(
    sheet: Sheet, line: Line, members: Sequence[Member], at: tuple[float, float], radius: float
) -> Iterator[str]:
    found = {words.status(member.organism) for member in members}
    status = found.pop() if len(found) == 1 else "alive"
    hollow = " hollow" if status in ("culled", "ghost") else ""
    tinted = sheet.tint.of(line.ids)
    kind = f"node{hollow}" + (f" {tinted}" if tinted and not hollow else "")
    which = SHAPES.get(sheet.origin(line.ids[0]), "dot")
    if line.folds and line.step:
        radius = min(LAST, radius)
    draw = strokes.stack if line.folds and not line.step else strokes.shape
    yield draw(which, kind, *at, radius)
    if status == "selected against":
        yield strokes.cross(*at, radius)


def _origin(sheet: Sheet, line: Line, to: float) -> Iterator[str]:
    """How it was made; of several also what is among them, each sign with its count."""
    said = made(sheet.family, sheet.layout, line)
    yield text(sheet.relation, to, said, "soft small", SMALL)
    x = sheet.relation + width(said, SMALL) + 8
    for what, count in line.within.items():
        yield strokes.state(what, x + 5, to)
        yield text(x + SIGN, to, f"{count:,}", "soft small", SMALL)
        x += SIGN + 8 + width(f"{count:,}", SMALL)


def _marks(member: Member, x: float, to: float) -> Iterator[str]:
    for number, mark in enumerate(marks_of(member)):
        yield strokes.state(mark, x + 5 + 11 * number, to)


# ---- the table ----------------------------------------------------------------------------------


def _shade(member: Member, one: Heat) -> int | None:
    """The step on the scale of a living organism in a niche."""
    score = member.score_in(one.niche)
    if score is None or words.status(member.organism) != "alive":
        return None
    good = one.good(score.value)
    return None if good is None else int(good * (STEPS - 1) + 0.5)


def _cell(sheet: Sheet, members: Sequence[Member], one: Heat, x: float, to: float) -> Iterator[str]:
    scored = [(member, score) for member in members if (score := member.score_in(one.niche))]
    if not scored:
        return
    if len(members) > 1:
        steps = [_shade(member, one) for member, _ in scored]
        on_front = all(str(one.niche) in member.front for member in members)
        values = [score.value for _, score in scored]
        yield from _range(one, values, steps, on_front, (x, to, sheet.niche))
        return
    ((member, score),) = scored
    step = _shade(member, one)
    kind = "mute" if step is None else f"s{step}"
    yield rect(kind, x + 1.5, to - ROW / 2 + 1, sheet.niche - 3, ROW - 2, 2)
    on_front = words.status(member.organism) == "alive" and str(one.niche) in member.front
    letters = "soft" if step is None else f"t{step}"
    letters += " small strong" if on_front else " small"
    yield text(x + sheet.niche / 2, to, one.figures.write(score.value), letters, SMALL, "middle")


def _range(
    one: Heat,
    values: Sequence[float],
    steps: Sequence[int | None],
    on_front: bool,
    cell: tuple[float, float, float],
) -> Iterator[str]:
    """From the least to the largest, above a band with the share of each shade. `cell` is where it
    begins, its middle, and how wide it is."""
    x, to, wide = cell
    letters = "soft tiny strong" if on_front else "soft tiny"
    yield text(x + wide / 2, to - 2, scores_said(one, values), letters, TINY, "middle")
    each = (wide - 3) / len(steps)
    shades = sorted(-1 if step is None else step for step in steps)
    at = 0
    for shade in dict.fromkeys(shades):
        many = shades.count(shade)
        kind = "mute" if shade < 0 else f"s{shade}"
        yield rect(kind, x + 1.5 + each * at, to + ROW / 2 - 4.5, each * many, 3.5)
        at += many


def _power(sheet: Sheet, members: Sequence[Member], x: float, to: float) -> Iterator[str]:
    said = words.joules_said(sheet.joules, members)
    if said is None:
        return
    left = x + 10
    if len(sheet.joules) == 1:
        costs = [one.serving.joules or 0.0 for one in members if one.serving]
        alive = any(words.status(one.organism) == "alive" for one in members)
        ends = [max(costs), min(costs)] if alive and min(costs) < max(costs) else [max(costs)]
        for at, cost in enumerate(ends):  # of several the least lies on the most
            kind = "power" if alive and at == len(ends) - 1 else "spent"
            wide = max(2.0, BAR * cost / sheet.most if sheet.most else 0.0)
            yield rect(kind, left, to - 2.5, wide, 5, 2.5)
        left += BAR + 6
    yield text(left, to, said, "soft small", SMALL)
