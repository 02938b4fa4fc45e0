"""A niche as a picture: fitness against cost, the front drawn as the line of the best that each
cost buys, the selected against in grey. SVG, and a page around it that asks no host for
anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html import escape
from itertools import pairwise

from lineage.selection.niches import Competition, Member
from lineage.shown import per as as_per
from lineage.shown import rate, shown
from lineage.trees import colours

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 30, 52
LETTER = 7.2
"""Pixels a letter of a label takes at most, at 12 px."""

STYLE = """
svg.niche, .niche-page { --grey:#b3b1a9; --obsolete:#c98a4b; }
@media screen and (prefers-color-scheme: dark) { svg.niche, .niche-page { --grey:#59636b; } }
svg.niche { background:var(--paper); font:12px system-ui,sans-serif;
  font-variant-numeric:tabular-nums; }
svg.niche text { fill:var(--soft); } svg.niche text.name { fill:var(--ink);
  paint-order:stroke; stroke:var(--paper); stroke-width:3px; }
svg.niche text.title { fill:var(--ink); font-size:14px; font-weight:600; }
svg.niche .grid { stroke:var(--hair); } svg.niche .front { fill:none; stroke:var(--alive); }
svg.niche .error { stroke:var(--alive); } svg.niche .lead { stroke:var(--hair); }
svg.niche circle { stroke:var(--paper); stroke-width:.8; }
svg.niche circle.front { fill:var(--alive); stroke:var(--paper); }
svg.niche circle.contested { fill:none; stroke:var(--alive); }
svg.niche circle.obsolete { fill:var(--obsolete); }
svg.niche circle.marked { fill:var(--grey); }
"""


@cache
def style() -> str:
    """The colours of the tree page, and what the picture does with them."""
    return f"{colours.palette('svg.niche, .niche-page')}{STYLE}"


def svg(found: Competition, per: str | None = None) -> str:
    """The picture of one unit of cost: the one asked for, else the most common."""
    members = of_unit(found, per)
    scale = _Scale(members)
    parts = [
        f'<svg class="niche" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{_text(str(found.niche))}: fitness against cost</title>",
        f"<style>{style()}</style>",
        f'<text class="title" x="{LEFT}" y="18">{_text(str(found.niche))}</text>',
        *_axes(found, members, scale),
    ]
    corners = _corners(found, members, scale)
    for state in ("marked", "obsolete", "contested", "front"):
        if state == "front":
            parts += _line(corners)
        parts += [_dot(one, scale) for one in members if one.state == state]
    parts += _labels([one for one in members if one.state == "front"], corners, scale)
    return "\n".join([*parts, "</svg>"])


def of_unit(found: Competition, per: str | None = None) -> list[Member]:
    """The members in one unit of cost: that asked for, else the most common."""
    if per is None:
        units = [one.per for one in found.members]
        per = max(sorted(set(units)), key=units.count, default=None)
    return [one for one in found.members if one.per == per]


def _text(written: str) -> str:
    return escape(shown(written))


class _Scale:
    """Where a member lies, in pixels: costs by their logarithm where all are above zero."""

    def __init__(self, members: Sequence[Member]) -> None:
        costs = [one.joules for one in members]
        self.log = bool(costs) and min(costs) > 0
        self.across: Callable[[float], float] = math.log10 if self.log else float
        self.low, self.high = _padded([self.across(one) for one in costs])
        ends = [one.value + sign * (one.stderr or 0.0) for one in members for sign in (-1, 1)]
        self.bottom, self.top = _padded(ends)

    def x(self, cost: float) -> float:
        share = (self.across(cost) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _axes(found: Competition, members: Sequence[Member], scale: _Scale) -> Iterator[str]:
    for value in _ticks(scale.bottom, scale.top):
        y = scale.y(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'
    per = members[0].per if members else "token"
    for cost in (_powers if scale.log else _ticks)(scale.low, scale.high):
        x = scale.x(cost)
        if cost >= 0 and x < WIDTH - RIGHT - 30:  # a label that would be cut is left out
            yield (
                f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                f"{_text(as_per(cost, per))}</text>"
            )
    better = "higher" if found.direction == "higher" else "lower"
    counted = ", ".join(f"{many:,} {state}" for state, many in found.counts.items() if many)
    yield (
        f'<text x="{LEFT}" y="{HEIGHT - 10}">cost of serving; {better} is better; '
        f"{_text(counted)}</text>"
    )


def _ticks(low: float, high: float) -> list[float]:
    """About six round numbers between two."""
    step = 10 ** math.floor(math.log10((high - low) / 6))
    step *= min((1, 2, 5, 10), key=lambda one: abs((high - low) / (one * step) - 6))
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Up to eight round numbers between two powers of ten: 1, 2 and 5 of each, or 1, or every
    second 1 ..."""
    first, last = math.floor(low), math.ceil(high)
    fine = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    whole = [10.0**power for power in range(first, last + 1)]
    found: list[float] = []
    for step in range(1, last - first + 2):
        for among in (fine, whole) if step == 1 else (whole[::step],):
            found = [one for one in among if low <= math.log10(one) <= high]
            if len(found) <= 8:
                return found
    return found


Corner = tuple[float, float]


def _corners(found: Competition, members: Sequence[Member], scale: _Scale) -> list[Corner]:
    """What each cost buys at best: a step wherever a dearer one is fitter."""
    sign = -1.0 if found.direction == "lower" else 1.0
    best: list[Member] = []
    for one in sorted(members, key=lambda one: (one.joules, -sign * one.value)):
        if one.state == "front" and (not best or sign * one.value > sign * best[-1].value):
            best.append(one)
    return [(scale.x(one.joules), scale.y(one.value)) for one in best]


def _line(corners: Sequence[Corner]) -> Iterator[str]:
    path = ""
    for x, y in corners:
        path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
    if path:
        yield f'<path class="front" d="{path}H{WIDTH - RIGHT}"/>'


def _dot(one: Member, scale: _Scale) -> str:
    x, y = scale.x(one.joules), scale.y(one.value)
    error = ""
    if one.stderr and one.state == "front":
        up, down = scale.y(one.value + one.stderr), scale.y(one.value - one.stderr)
        error = f'<line class="error" x1="{x:.1f}" x2="{x:.1f}" y1="{up:.1f}" y2="{down:.1f}"/>'
    radius = 4 if one.state == "front" else 2.6
    told = f"{one.organism}: {one.value:.6g} at {as_per(one.joules, one.per)}, {one.state}"
    return (
        f'{error}<circle class="{one.state}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
        f"<title>{_text(told)}</title></circle>"
    )


Box = tuple[float, float, float, float]


def _labels(
    front: Sequence[Member], corners: Sequence[Corner], scale: _Scale
) -> Iterator[str]:
    """Names beside their dots, where there is room for them: none lies on another, nor on a dot of
    the front, nor beyond the edge, and on the line only where there is no other room. Who finds
    none has its name in the table, and when pointed at."""
    ends = [*(x for x, _ in corners[1:]), WIDTH - RIGHT]
    line: list[Box] = [(x, y, end, y) for (x, y), end in zip(corners, ends, strict=False)]
    line += [(x, min(y, old), x, max(y, old)) for (_, old), (x, y) in pairwise(corners)]
    taken: list[Box] = [_around(scale.x(one.joules), scale.y(one.value), 4) for one in front]
    for one in front:
        name = shown(str(one.organism))
        x, y, wide = scale.x(one.joules), scale.y(one.value), LETTER * len(name)
        own = _around(x, y, 4)
        free: list[tuple[bool, float, float, Box]] = []
        for left, base in (
            (x + 8, y + 4), (x - 8 - wide, y + 4), (x - wide / 2, y - 9), (x - wide / 2, y + 18),
            (x + 8, y - 10), (x + 8, y + 18), (x - 8 - wide, y - 10), (x - 8 - wide, y + 18),
        ):  # fmt: skip
            box = (left, base - 11, left + wide, base + 3)
            inside = box[0] > LEFT and box[2] < WIDTH - 4 and box[1] > TOP - 8
            if inside and box[3] < HEIGHT - BOTTOM and not any(
                _meet(box, other) for other in taken if other != own
            ):
                free.append((any(_meet(box, part) for part in line), left, base, box))
        if free:
            _, left, base, box = min(free, key=lambda one: one[0])
            taken.append(box)
            yield f'<text class="name" x="{left:.1f}" y="{base:.1f}">{escape(name)}</text>'


def _around(x: float, y: float, room: float) -> Box:
    return x - room, y - room, x + room, y + room


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title>
<style>{style}
body {{ margin:0; padding:24px; background:var(--paper); color:var(--ink);
  font:13px/1.45 system-ui,sans-serif; font-variant-numeric:tabular-nums; }}
svg {{ max-width:100%; height:auto; }} table {{ border-collapse:collapse; margin-top:16px; }}
th {{ text-align:left; font-weight:400; color:var(--soft); }} td,th {{ padding:2px 18px 2px 0;
  border-bottom:1px solid var(--hair); }} td.figure {{ text-align:right; }}
td {{ overflow-wrap:anywhere; max-width:34em; }}
</style></head><body class="niche-page">
{pictures}
<table><thead><tr><th>organism</th><th>value</th><th>cost</th><th>how it stands</th></tr></thead>
<tbody>
{rows}
</tbody></table></body></html>
"""

ROWS = 500
"""Organisms in the table of a page: the front first."""


def page(found: Competition) -> str:
    """A page with a picture for each unit of cost, and a table."""
    units: list[str | None] = [*sorted({one.per for one in found.members})] or [None]
    listed = sorted(found.members, key=lambda one: one.state != "front")[:ROWS]
    rows = [
        f"<tr><td>{_text(str(one.organism))}</td>"
        f'<td class="figure">{one.value:.6g}{f" ± {one.stderr:.2g}" if one.stderr else ""}</td>'
        f'<td class="figure">{_text(rate(one.joules, one.per, one.source))}</td>'
        f"<td>{STATES[one.state]}</td></tr>"
        for one in listed
    ]
    return PAGE.format(
        title=_text(str(found.niche)),
        style=style(),
        pictures="\n".join(svg(found, per) for per in units),
        rows="\n".join(rows),
    )


STATES = {
    "front": "on the front",
    "contested": "contested",
    "obsolete": "obsolete",
    "marked": "selected against",
}
