"""The family as a picture for paper: one SVG file with tree, table, scale bar and legend, which
loads nothing, is the same bytes for the same family, and is dark where its reader's screen is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lineage.shown import shown
from lineage.trees import words
from lineage.trees.axis import Axis, axis, nearest
from lineage.trees.colours import DARK, LIGHT, STEPS, Theme, font, theme
from lineage.trees.family import Family, Member
from lineage.trees.heat import Heat, heat
from lineage.trees.layout import Layout, Row, arrange
from lineage.trees.lettering import BOLD, cut, width
from lineage.trees.markup import xml

ROW, PAD, HEAD = 18.0, 28.0, 112.0  # px: a row, the margin, what is above the first row
TEXT, SMALL, TINY, TITLE = 12.0, 11.0, 10.0, 19.0  # px, sizes of letters
EACH, TREE_LEAST, TREE_MOST = 68.0, 220.0, 460.0  # px: a tick of the axis, the tree
NAME_MOST, NICHE, BAR, MARKS = 270.0, 60.0, 46.0, 30.0  # px, widths in the table
NICHES = 4
RADIUS, BEND = 4.9, 5.0
SHAPES = {"quantized": "square", "prune": "square", "convert": "square", "merge": "diamond",
          "adapter": "triangle"}  # fmt: skip
"""What is not a dot: as on the page (viz/page/plate.js)."""


def render(family: Family, *, title: str, along: str = "generation") -> str:
    """The picture as SVG, to be written in UTF-8. `along` is the axis, of `axis.LABELS`.

    No font is asked for its widths and none comes along: letters have the room of the widest of the
    common fonts. O(organisms and links). Raises InvalidValue where the axis is not known of any."""
    if not family.members:
        return _nobody()
    sheet = _sheet(family, along)
    body = [
        *_heading(sheet, shown(title)),
        *_grid(sheet),
        *_branches(sheet),
        *_further(sheet),
        *(part for at, row in enumerate(sheet.layout.rows) for part in _row(sheet, at, row)),
        *_scale_bar(sheet),
    ]
    legend, bottom = _legend(sheet)
    wide, high = _n(sheet.right + PAD), _n(bottom)
    return "\n".join([
        f'<svg class="lineage-tree" xmlns="http://www.w3.org/2000/svg" width="{wide}" '
        f'height="{high}" viewBox="0 0 {wide} {high}" role="img">',
        f"<title>{_x(title)}</title>",
        f"<style>{_style(sheet)}</style>",
        f'<rect class="paper" width="{wide}" height="{high}"/>',
        *body,
        *legend,
        "</svg>",
        "",
    ])  # fmt: skip


def _nobody() -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="60" role="img">'
        '<text x="20" y="34" font-family="sans-serif" font-size="13">'
        "There is no organism to draw.</text></svg>\n"
    )


# ---- what is where ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sheet:
    """The family with where everything lies, in pixels. `tree` is the right end of the tree,
    `name`, `relation`, `marks`, `niches` and `power` the left ends of columns, None for those that
    are not there; `right` that of the table. `place` gives the row by organism, `most` the largest
    serving cost in joules."""

    family: Family
    layout: Layout
    axis: Axis
    heats: tuple[Heat, ...]
    joules: Mapping[str, words.Joules]
    most: float
    place: Mapping[int, int]
    tree: float
    name: float
    name_room: float
    relation: float
    relation_room: float
    marks: float | None
    niches: float
    power: float | None
    right: float

    def x(self, row: int) -> float:
        return self.across(self.axis.at[row])

    def across(self, value: float) -> float:
        low, high = self.axis.ends
        left, right = PAD + 8, self.tree - 20
        return left + (value - low) / (high - low) * (right - left)

    @property
    def bottom(self) -> float:
        return HEAD + ROW * len(self.layout.rows)

    def origin(self, own: int) -> str:
        return words.origin(self.family.members[own].organism, self.layout.main.get(own))


def _y(row: int) -> float:
    return HEAD + ROW * (row + 0.5)


def _sheet(family: Family, along: str) -> Sheet:
    layout = arrange(family)
    members = family.members.values()
    chosen = family.shown_niche()
    niches = [chosen] if chosen is not None else []
    niches += [niche for niche in family.niches() if niche != chosen][: NICHES - len(niches)]
    joules = words.joules_per(member.serving for member in members)
    placed = axis(family, layout, along, most=15 if along == "generation" else 6)
    drawn = layout.generations if along == "generation" else 8
    tree = PAD + min(TREE_MOST, max(TREE_LEAST, EACH * drawn))
    names = max(width(_called(family, row), TEXT) for row in layout.rows)
    room = min(NAME_MOST, max(names, width("organism", BOLD * TEXT)) + 2)
    origins = [words.origin(one.organism, layout.main.get(own)) for own, one in
               family.members.items()]  # fmt: skip
    relations = max(width(origin, SMALL) for origin in origins)
    x = tree + room + 14
    relation, x = x, x + relations + 14
    marked = any(one.organism.protected or one.load_bearing for one in members)
    marks, x = (x, x + MARKS) if marked else (None, x)
    cells, x = x, x + NICHE * len(niches)
    figures = [width(_joules_said(joules, one) or "", SMALL) for one in members]
    beside = BAR + 22 if len(joules) == 1 else 12
    head = max((width(scale.unit, SMALL) + 12 for scale in joules.values()), default=0.0)
    power, x = (x, x + max(beside + max(figures), head)) if joules else (None, x)
    x = max(x, PAD + width(_counted(family, layout), TEXT) + 1)
    return Sheet(
        family, layout, placed, tuple(heat(family, niche) for niche in niches), joules,
        max((one.serving.joules or 0.0 for one in members if one.serving), default=0.0),
        {row.id: at for at, row in enumerate(layout.rows) if not row.more},
        tree, tree, room, relation, relations, marks, cells, power, x,
    )  # fmt: skip


def _called(family: Family, row: Row) -> str:
    return f"… {row.more:,} more" if row.more else shown(str(family.members[row.id].organism))


def _joules_said(joules: Mapping[str, words.Joules], member: Member) -> str | None:
    """`~6.4`, with its unit where the family has several."""
    cost = member.serving
    if cost is None or cost.joules is None:
        return None
    scale = joules[cost.per]
    about = "~" if cost.source == "estimated" else ""
    unit = f" {scale.unit}" if len(joules) > 1 else ""
    return f"{about}{scale.figures.write(cost.joules * scale.factor)}{unit}"


# ---- strokes ------------------------------------------------------------------------------------


def _n(value: float) -> str:
    """A coordinate: two digits at most, and one way to write zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _x(text: str) -> str:
    return xml(shown(text))


def _text(x: float, y: float, text: str, kind: str, size: float = TEXT, anchor: str = "") -> str:
    """Text with its middle at `y`."""
    held = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y + 0.36 * size)}"{held}>{xml(text)}</text>'


def _path(kind: str, d: str, more: str = "") -> str:
    return f'<path class="{kind}" d="{d}"{more}/>'


def _heading(sheet: Sheet, title: str) -> Iterator[str]:
    room = sheet.right - PAD
    yield _text(PAD, 34, cut(title, room, BOLD * TITLE), "title", TITLE)
    yield _text(PAD, 58, cut(_counted(sheet.family, sheet.layout), room, TEXT), "soft", TEXT)
    yield _text(PAD, HEAD - 26, sheet.axis.label, "head", SMALL)
    yield _text(sheet.name, HEAD - 12, "organism", "head", SMALL)
    for number, one in enumerate(sheet.heats):
        x = sheet.niches + NICHE * (number + 0.5)
        task, metric = (shown(part) for part in (one.niche.task, one.niche.metric))
        yield f"<g><title>{_x(str(one.niche))}</title>"
        yield _text(x, HEAD - 26, cut(task, NICHE - 2, BOLD * SMALL), "head", SMALL, "middle")
        yield _text(x, HEAD - 12, cut(metric, NICHE - 4, TINY), "faint tiny", TINY, "middle")
        yield "</g>"
    if sheet.heats:  # the niche that colours the tree
        yield _path("rule", f"M{_n(sheet.niches + 3)} {_n(HEAD - 3)}h{_n(NICHE - 6)}")
    if sheet.power is not None:
        yield _text(sheet.power + 10, HEAD - 26, "serving", "head", SMALL)
        if len(sheet.joules) == 1:
            (scale,) = sheet.joules.values()
            yield _text(sheet.power + 10, HEAD - 12, scale.unit, "faint tiny", TINY)


def _counted(family: Family, layout: Layout) -> str:
    counted = words.census(family, layout)
    if family.hidden:
        counted.append(f"{family.hidden:,} more not drawn")
    return " · ".join(counted)


def _grid(sheet: Sheet) -> Iterator[str]:
    ticks = nearest(
        [(sheet.across(value), text) for value, text in sheet.axis.ticks],
        26 if sheet.axis.label == "generation" else 58,
    )
    lines = "".join(f"M{_n(x)} {_n(HEAD - 4)}V{_n(sheet.bottom + 4)}" for x, _ in ticks)
    yield _path("grid", lines)
    for x, text in ticks:
        yield _text(x, sheet.bottom + 14, text, "faint tiny", TINY, "middle")
        yield _text(x, HEAD - 11, text, "faint tiny", TINY, "middle")


def _branches(sheet: Sheet) -> Iterator[str]:
    """Elbows to the main parents; dashed below a ghost, and where the axis is not known."""
    plain: list[str] = []
    dashed: list[str] = []
    last: dict[int, int] = {}  # by parent the row of the lowest child
    for at, row in enumerate(sheet.layout.rows):
        if row.parent is None:
            continue
        last[row.parent] = at
        ghost = sheet.family.members[row.parent].organism.ghost
        from_x, x, y = sheet.x(sheet.place[row.parent]), sheet.x(at), _y(at)
        bend = min(BEND, max(0.0, (x - from_x) / 2))
        arm = (
            f"M{_n(from_x)} {_n(y - BEND)}Q{_n(from_x)} {_n(y)} {_n(from_x + bend)} {_n(y)}H{_n(x)}"
        )
        (dashed if ghost or not sheet.axis.sure[at] else plain).append(arm)
    trunks = [
        f"M{_n(sheet.x(sheet.place[own]))} {_n(_y(sheet.place[own]))}V{_n(_y(at) - BEND)}"
        for own, at in last.items()
    ]
    if trunks or plain:
        yield _path("branch", "".join(trunks + plain))
    if dashed:
        yield _path("branch dashed", "".join(dashed))


def _further(sheet: Sheet) -> Iterator[str]:
    """Curves from further parents, as wide as their share."""
    for link in sheet.layout.further:
        from_row, to_row = sheet.place[link.parent], sheet.place[link.child]
        x, y, from_x, from_y = sheet.x(to_row), _y(to_row), sheet.x(from_row), _y(from_row)
        reach = max(16.0, abs(x - from_x) * 0.55)
        share = 0.5 if link.weight is None else min(1.0, abs(link.weight))
        points = (from_x + reach, from_y, x - reach, y, x, y)
        yield _path(
            "further",
            f"M{_n(from_x)} {_n(from_y)}C{' '.join(map(_n, points))}",
            f' stroke-width="{_n(0.9 + 1.8 * share)}"',
        )


def _scale_bar(sheet: Sheet) -> Iterator[str]:
    length, text = sheet.axis.bar
    low, _ = sheet.axis.ends
    x, y = PAD + 8, sheet.bottom + 36
    end = x + sheet.across(low + length) - sheet.across(low)
    yield _path("bar", f"M{_n(x)} {_n(y - 4)}v8M{_n(x)} {_n(y)}H{_n(end)}M{_n(end)} {_n(y - 4)}v8")
    yield _text(end + 8, y, text, "soft small", SMALL)


# ---- rows ---------------------------------------------------------------------------------------


def _row(sheet: Sheet, at: int, row: Row) -> Iterator[str]:
    x, y = sheet.x(at), _y(at)
    name = _called(sheet.family, row)
    if row.more:
        yield "".join(
            f'<circle class="more" cx="{_n(x + dx)}" cy="{_n(y)}" r="1.5"/>' for dx in (-5, 0, 5)
        )
        yield _text(sheet.name, y, cut(name, sheet.name_room, TEXT), "quiet", TEXT)
        return
    member = sheet.family.members[row.id]
    yield f"<g><title>{xml(_told(sheet, row.id, name))}</title>"
    if x + 12 < sheet.tree - 8:
        yield _path("leader", f"M{_n(x + 11)} {_n(y)}H{_n(sheet.tree - 7)}")
    yield from _node(sheet, member, x, y)
    kind = {"alive": "", "selected against": "struck", "ghost": "quiet"}.get(
        words.status(member.organism), "faint"
    )
    yield _text(sheet.name, y, cut(name, sheet.name_room, TEXT), kind, TEXT)
    yield _text(sheet.relation, y, sheet.origin(row.id), "soft small", SMALL)
    if sheet.marks is not None:
        yield from _marks(member, sheet.marks, y)
    for number, one in enumerate(sheet.heats):
        yield from _cell(member, one, sheet.niches + NICHE * number, y)
    if sheet.power is not None:
        yield from _power(sheet, member, sheet.power, y)
    yield "</g>"


def _told(sheet: Sheet, own: int, name: str) -> str:
    """What is shown where a pointer rests, and what a screen reader says."""
    status = words.status(sheet.family.members[own].organism)
    return ", ".join(dict.fromkeys([name, sheet.origin(own), status]))


def _good(member: Member, one: Heat) -> int | None:
    """The shade of a living organism in a niche."""
    score = member.score_in(one.niche)
    if score is None or words.status(member.organism) != "alive":
        return None
    good = one.good(score.value)
    return None if good is None else int(good * (STEPS - 1) + 0.5)


def _node(sheet: Sheet, member: Member, x: float, y: float) -> Iterator[str]:
    status = words.status(member.organism)
    step = _good(member, sheet.heats[0]) if sheet.heats else None
    hollow = " hollow" if status in ("culled", "ghost") else ""
    kind = f"node{hollow}" if step is None else f"node n{step}"
    shape = SHAPES.get(sheet.origin(member.organism.id), "dot")
    yield _shape(shape, kind, x, y, RADIUS)
    if status == "selected against":
        yield _cross(x, y)


def _cross(x: float, y: float) -> str:
    arm = RADIUS * 0.5
    a, b = _n(2 * arm), _n(-2 * arm)
    return _path("cross", f"M{_n(x - arm)} {_n(y - arm)}l{a} {a}m{b} 0l{a} {b}")


def _shape(shape: str, kind: str, x: float, y: float, r: float) -> str:
    if shape == "dot":
        return f'<circle class="{kind}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(r)}"/>'
    corners = {
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
    }[shape]
    return _path(kind, "M" + "L".join(f"{_n(x + a * r)} {_n(y + b * r)}" for a, b in corners) + "Z")


def _marks(member: Member, x: float, y: float) -> Iterator[str]:
    if member.organism.protected:
        yield _shape("diamond", "mark", x + 5, y, 3.8)
    if member.load_bearing:
        yield _pillar(x + (16 if member.organism.protected else 5), y)


def _pillar(x: float, y: float) -> str:
    """A beam on its post: others rest on it."""
    return _path("pillar", f"M{_n(x - 4.5)} {_n(y - 3.6)}h9M{_n(x)} {_n(y - 3.6)}v7.6")


def _cell(member: Member, one: Heat, x: float, y: float) -> Iterator[str]:
    score = member.score_in(one.niche)
    if score is None:
        return
    step = _good(member, one)
    kind = "mute" if step is None else f"s{step}"
    yield (
        f'<rect class="{kind}" x="{_n(x + 1.5)}" y="{_n(y - ROW / 2 + 1)}" '
        f'width="{_n(NICHE - 3)}" height="{_n(ROW - 2)}" rx="2"/>'
    )
    on_front = words.status(member.organism) == "alive" and str(one.niche) in member.front
    letters = "faint" if step is None else f"t{step}"
    letters += " small strong" if on_front else " small"
    yield _text(x + NICHE / 2, y, one.figures.write(score.value), letters, SMALL, "middle")


def _power(sheet: Sheet, member: Member, x: float, y: float) -> Iterator[str]:
    said = _joules_said(sheet.joules, member)
    if said is None or member.serving is None:
        return
    left = x + 10
    if len(sheet.joules) == 1:
        part = (member.serving.joules or 0.0) / sheet.most if sheet.most else 0.0
        kind = "power" if words.status(member.organism) == "alive" else "spent"
        yield (
            f'<rect class="{kind}" x="{_n(left)}" y="{_n(y - 2.5)}" '
            f'width="{_n(max(2.0, BAR * part))}" height="5" rx="2.5"/>'
        )
        left += BAR + 6
    yield _text(left, y, said, "soft small", SMALL)


# ---- what it all means --------------------------------------------------------------------------

Drawing = Callable[[float, float], str]


def _legend(sheet: Sheet) -> tuple[list[str], float]:
    """Only what is drawn is explained, in as many lines as it takes; and where the picture ends."""
    y = sheet.bottom + 64
    out = [_path("grid", f"M{_n(PAD)} {_n(y - 12)}H{_n(sheet.right)}")]
    y += 8
    scale = _colours(sheet, y)
    out += scale
    if scale:
        y += 22
    x = PAD
    for drawing, wide, text in _signs(sheet):
        room = wide + width(text, SMALL) + 20
        if x > PAD and x + room - 20 > sheet.right:
            x, y = PAD, y + 20
        out.append(drawing(x + wide / 2 - 3, y))
        out.append(_text(x + wide, y, cut(text, sheet.right - PAD - wide, SMALL), "soft small",
                         SMALL))  # fmt: skip
        x += room
    return out, y + 26


def _colours(sheet: Sheet, y: float) -> list[str]:
    """The scale of fitness, from worse to better."""
    if not sheet.heats:
        return []
    one = sheet.heats[0]
    name = cut(shown(str(one.niche)), 240, SMALL)
    if one.direction is None or one.best is None or one.worst is None:
        said = f"{name}: which way is better is not known" if one.direction is None else (
            f"{name}: nothing alive is scored")  # fmt: skip
        return [_text(PAD, y, said, "soft small", SMALL)]
    worse = f"{name}: worse {one.figures.write(one.worst)}"
    x = PAD + width(worse, SMALL) + 8
    parts = [_text(PAD, y, worse, "soft small", SMALL)]
    each = 4.0
    parts += [
        f'<rect class="s{step}" x="{_n(x + each * step)}" y="{_n(y - 5)}" width="{_n(each + 0.5)}" '
        'height="10"/>'
        for step in range(STEPS)
    ]
    better = f"{one.figures.write(one.best)} better ({one.direction})"
    parts.append(_text(x + each * STEPS + 8, y, better, "soft small", SMALL))
    return parts


def _signs(sheet: Sheet) -> Iterator[tuple[Drawing, float, str]]:
    members = list(sheet.family.members.values())
    shapes = {SHAPES.get(sheet.origin(one.organism.id), "dot") for one in members}
    states = {words.status(one.organism) for one in members}

    def shape(which: str, kind: str = "node") -> Drawing:
        return lambda x, y: _shape(which, kind, x, y, RADIUS)

    said = {"dot": "trained", "square": "quantized, pruned, converted", "diamond": "merge",
            "triangle": "adapter"}  # fmt: skip
    yield from ((shape(which), 18, text) for which, text in said.items() if which in shapes)
    if sheet.layout.further:
        yield (lambda x, y: _path("further", f"M{_n(x - 12)} {_n(y)}h24", ' stroke-width="1.8"'),
               34, "further parent, width = share")  # fmt: skip
    if "selected against" in states:
        yield (lambda x, y: shape("dot")(x, y) + _cross(x, y)), 18, "struck: selected against"
    if states & {"culled", "ghost"}:
        named = {"culled": "culled", "ghost": "ghost (in italics): not registered"}
        said_of = [named[one] for one in named if one in states]
        yield shape("dot", "node hollow"), 18, ", or ".join(said_of)
    if any(one.organism.protected for one in members):
        yield (lambda x, y: _shape("diamond", "mark", x, y, 3.8)), 18, "protected"
    if any(one.load_bearing for one in members):
        yield _pillar, 18, "load-bearing"
    nothing: Drawing = lambda x, y: ""  # noqa: E731
    if any(one.front for one in members):
        yield nothing, 0, "bold: on the front of its niche"
    if any("~" in (_joules_said(sheet.joules, one) or "") for one in members):
        yield nothing, 0, "~ estimated"
    if sheet.family.folded:
        yield nothing, 0, "… not drawn"


# ---- colours ------------------------------------------------------------------------------------

# Class by class what is drawn in which of the page's colours.
PAINT = {
    "paper": "fill:{paper}", "title": "fill:{ink}", "head": "fill:{faint}", "soft": "fill:{soft}",
    "faint": "fill:{faint}", "struck": "fill:{faint}", "quiet": "fill:{faint}",
    "grid": "stroke:{hair}", "rule": "stroke:{ink}", "branch": "stroke:{branch}",
    "further": "stroke:{accent}", "bar": "stroke:{soft}", "leader": "stroke:{hair}",
    "node": "fill:{paper};stroke:{faint}", "cross": "stroke:{soft}", "mark": "fill:{soft}",
    "pillar": "stroke:{soft}", "more": "fill:{soft}", "mute": "fill:{mute}",
    "power": "fill:{bar}", "spent": "fill:{hair}",
}  # fmt: skip
SHAPED = (
    ".lineage-tree text{{font-family:{font};font-size:{text}px;font-variant-numeric:tabular-nums}}"
    ".lineage-tree .title{{font-size:{title}px;font-weight:600;letter-spacing:-.01em}}"
    ".lineage-tree .head{{font-size:{small}px;font-weight:600;letter-spacing:.02em}}"
    ".lineage-tree .small{{font-size:{small}px}}.lineage-tree .tiny{{font-size:{tiny}px}}"
    ".lineage-tree .strong{{font-weight:700}}.lineage-tree .quiet{{font-style:italic}}"
    ".lineage-tree .struck{{text-decoration:line-through}}"
    ".lineage-tree path{{fill:none}}"
    ".lineage-tree .branch,.lineage-tree .node,.lineage-tree .cross{{stroke-width:1.1}}"
    ".lineage-tree .rule,.lineage-tree .pillar{{stroke-width:1.6}}"
    ".lineage-tree .dashed{{stroke-dasharray:3 3}}.lineage-tree .hollow{{stroke-dasharray:2 1.8}}"
    ".lineage-tree .leader{{stroke-dasharray:1 3}}"
    ".lineage-tree .further{{stroke-dasharray:.1 3.6;stroke-linecap:round}}"
)


def _style(sheet: Sheet) -> str:
    """Every rule names the class of the picture: in a notebook it stands among other people's."""
    shaped = SHAPED.format(
        text=_n(TEXT), small=_n(SMALL), tiny=_n(TINY), title=_n(TITLE), font=font()
    )
    light, dark = (_painted(theme(start)) for start in (LIGHT, DARK))
    return f"{shaped}{light}@media (prefers-color-scheme: dark){{{dark}}}"


def _painted(colours: Theme) -> str:
    rules = [f".lineage-tree text{{fill:{colours.named['ink']}}}"]
    rules += [
        f".lineage-tree .{name}{{{paint.format(**colours.named)}}}" for name, paint in PAINT.items()
    ]
    for step, (shade, letters) in enumerate(zip(colours.scale, colours.letters, strict=True)):
        rules.append(
            f".lineage-tree .s{step}{{fill:{shade}}}.lineage-tree .t{step}{{fill:{letters}}}"
            f".lineage-tree .n{step}{{fill:{shade};stroke:{colours.outline(step)}}}"
        )
    return "".join(rules)
