"""The strokes that a picture on paper is made of: elements of SVG, text from outside escaped, each
with the class that gives it a colour. Used by `svg` and `legend`."""

from __future__ import annotations

from lineage.shown import shown
from lineage.trees.markup import xml

TEXT, SMALL, TINY, TITLE = 12.0, 11.0, 10.0, 19.0  # px, sizes of letters
RADIUS, BEND = 4.9, 5.0
SHAPES = {"quantized": "square", "prune": "square", "convert": "square", "merge": "diamond",
          "adapter": "triangle"}  # fmt: skip
"""What is not a dot: as on the page (viz/page/plate.js)."""


def n(value: float) -> str:
    """A coordinate: two digits at most, and one way to write zero."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def x(text: str) -> str:
    """Text from outside, for the inside of an element."""
    return xml(shown(text))


def text(
    x: float, y: float, said: str, kind: str, size: float = TEXT, anchor: str = "", bold: str = ""
) -> str:
    """Text with its middle at `y`, `bold` before it."""
    held = f' text-anchor="{anchor}"' if anchor else ""
    start = f'<tspan class="strong">{xml(bold)}</tspan>' if bold else ""
    at = f'x="{n(x)}" y="{n(y + 0.36 * size)}"'
    return f'<text class="{kind}" {at}{held}>{start}{xml(said)}</text>'


def path(kind: str, d: str, more: str = "") -> str:
    return f'<path class="{kind}" d="{d}"{more}/>'


def rect(kind: str, x: float, y: float, wide: float, high: float, rx: float = 0) -> str:
    """A rectangle from its upper left corner."""
    round_ = f' rx="{n(rx)}"' if rx else ""
    return (
        f'<rect class="{kind}" x="{n(x)}" y="{n(y)}" width="{n(wide)}" height="{n(high)}"{round_}/>'
    )


def shape(which: str, kind: str, x: float, y: float, r: float = RADIUS) -> str:
    if which == "dot":
        return f'<circle class="{kind}" cx="{n(x)}" cy="{n(y)}" r="{n(r)}"/>'
    corners = {
        "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
    }[which]
    return path(kind, "M" + "L".join(f"{n(x + a * r)} {n(y + b * r)}" for a, b in corners) + "Z")


def stack(which: str, kind: str, x: float, y: float, r: float = RADIUS) -> str:
    """Several alike: one shape before two others."""
    behind = (shape(which, "node", x + away * r / RADIUS, y, r) for away in (6.4, 3.2))
    return "".join((*behind, shape(which, kind, x, y, r)))


def cross(x: float, y: float, r: float = RADIUS) -> str:
    arm = r * 0.5
    a, b = n(2 * arm), n(-2 * arm)
    return path("cross", f"M{n(x - arm)} {n(y - arm)}l{a} {a}m{b} 0l{a} {b}")


def pillar(x: float, y: float) -> str:
    """A beam on its post: others rest on it."""
    return path("pillar", f"M{n(x - 4.5)} {n(y - 3.6)}h9M{n(x)} {n(y - 3.6)}v7.6")


def state(what: str, x: float, y: float) -> str:
    """The sign of a mark, or of what is counted among the folded (`folding.WITHIN`)."""
    if what == "protected":
        return shape("diamond", "mark", x, y, 3.8)
    if what == "selected against":
        return shape("dot", "node", x, y, 4.2) + cross(x, y, 4.2)
    return pillar(x, y) if what == "load-bearing" else shape("dot", "node hollow", x, y, 4.2)


def ticks(x: list[float], y: float, room: float = 3.0) -> str:
    """Ticks across a line at `y`, of those that are closer than `room` only the first."""
    drawn: list[float] = []
    for one in sorted(x):
        if not drawn or one - drawn[-1] >= room:
            drawn.append(one)
    return "".join(f"M{n(one)} {n(y - 3)}v6" for one in drawn)
