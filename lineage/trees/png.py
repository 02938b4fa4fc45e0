"""The family as a PNG: the SVG of `trees.svg`, drawn by resvg, which comes with the extra
`pictures`. Its letters are those of the fonts installed here."""

from __future__ import annotations

from typing import Any

from lineage.errors import LineageError
from lineage.trees import colours, svg
from lineage.trees.family import Family

SCALE = 2
"""Pixels of the PNG for one of the SVG, so that it is sharp on a dense screen."""


def render(family: Family, *, title: str, **how: Any) -> bytes:
    """The bytes of a PNG in the light colours; `how` is what `svg.render` takes. Raises
    what that raises, and LineageError where there is no resvg, or no font for it."""
    try:
        import resvg_py
    except ImportError:
        raise LineageError(
            "PNG needs resvg: pip install 'checkpoint-lineage[pictures]'. "
            "Without it, --format svg draws the same picture."
        ) from None
    if not _writes(resvg_py):
        raise LineageError(
            "no common sans-serif font is installed here, and a PNG would have no letters. "
            "Install one (Debian: fonts-dejavu-core), or use --format svg."
        )
    drawn = svg.render(family, title=title, **how)
    return bytes(resvg_py.svg_to_bytes(svg_string=drawn, zoom=SCALE))


def _writes(resvg: Any) -> bool:
    """Whether it finds a font: without one it leaves all text out and says nothing."""
    written, blank = (
        bytes(resvg.svg_to_bytes(svg_string=(
            '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">'
            f"<text y=\"16\" style='font-family:{colours.font()}'>{text}</text></svg>"
        )))
        for text in ("M", "")
    )  # fmt: skip
    return written != blank
