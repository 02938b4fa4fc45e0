"""What a picture on paper is painted with: its style sheet, each class in the colours of the page,
light and dark. Kinds take the colours of Okabe and Ito (2008, "Color universal design"), which
colour-blind people tell apart; a shape, a word or a figure always says the same."""

from __future__ import annotations

from lineage.trees.colours import DARK, LIGHT, Theme, font, theme
from lineage.trees.strokes import SMALL, TEXT, TINY, TITLE, n

KINDS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a12f", "#7f7f7f")
"""The last one is for all others; as on the page (viz/page/colours.js)."""

# Class by class what is drawn in which of the page's colours.
PAINT = {
    "paper": "fill:{paper}", "title": "fill:{ink}", "head": "fill:{faint}", "soft": "fill:{soft}",
    "faint": "fill:{faint}", "struck": "fill:{faint}", "quiet": "fill:{faint}",
    "grid": "stroke:{hair}", "rule": "stroke:{ink}", "branch": "stroke:{branch}",
    "further": "stroke:{accent}", "bar": "stroke:{soft}", "leader": "stroke:{hair}",
    "node": "fill:{paper};stroke:{faint}", "cross": "stroke:{soft}", "mark": "fill:{soft}",
    "pillar": "stroke:{soft}", "more": "fill:{soft}", "mute": "fill:{mute}",
    "power": "fill:{bar}", "spent": "fill:{hair}", "tick": "stroke:{soft}",
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
    ".lineage-tree .many{{stroke-opacity:.55}}"
)


def style() -> str:
    """Every rule names the class of the picture: in a notebook it stands among other people's."""
    sizes = {"text": n(TEXT), "small": n(SMALL), "tiny": n(TINY), "title": n(TITLE)}
    shaped = SHAPED.format(font=font(), **sizes)
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
    rules += [
        f".lineage-tree .k{at}{{fill:{kind};stroke:{colours.named['faint']}}}"
        for at, kind in enumerate(KINDS)
    ]
    return "".join(rules)
