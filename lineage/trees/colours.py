"""The colours of the pictures on paper: those of the page, read from its style sheet. The scale of
fitness rises evenly in OKLab lightness, so that its order survives grey print and red-green
blindness (Ottosson 2020, "A perceptual color space for image processing")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

STEPS = 24
"""Shades of the scale, as many as on the page (viz/page/colours.js)."""
LIGHT, DARK = ":root {", ':root[data-theme="dark"] {'
COMMON = 'Helvetica, Arial, "Liberation Sans", "Noto Sans", "DejaVu Sans", sans-serif'
DARK_LETTERS, LIGHT_LETTERS = "#000000", "#ffffff"
"""One of them has a contrast of 4.58 or more on any ground: the root of 21, that of both."""


@dataclass(frozen=True, slots=True)
class Theme:
    """`named` has the colours by the names that the page gives them, as `#rrggbb`; `scale` the
    shades of fitness from worst to best, `letters` what is read on each of them."""

    named: Mapping[str, str]
    scale: tuple[str, ...]
    letters: tuple[str, ...]

    def outline(self, step: int) -> str:
        """What a shape in that shade is outlined with: a pale one needs more than itself."""
        shade = self.scale[step]
        return shade if contrast(shade, self.named["paper"]) > 1.9 else self.named["faint"]


@cache
def theme(start: str) -> Theme:
    """The theme whose block begins with `start`, LIGHT or DARK."""
    found = _named(start)
    swatches = found.pop("scale").split()
    scale = tuple(_mixed(swatches, i / (STEPS - 1)) for i in range(STEPS))
    letters = tuple(
        max((DARK_LETTERS, LIGHT_LETTERS), key=lambda one: contrast(one, shade)) for shade in scale
    )
    return Theme(found, scale, letters)


def _named(start: str) -> dict[str, str]:
    sheet = files("lineage.viz").joinpath("page.css").read_text("utf-8")
    block = sheet[sheet.index(start) :].partition("}")[0]
    return dict(re.findall(r"--(\w+): ([^;]+);", block))


def palette(of: str = ":root") -> str:
    """The colours and the font of the page, as CSS for another one, or `of` a part of one: dark
    where the screen is."""
    light, dark = (
        "".join(f"--{name}:{value};" for name, value in _named(start).items())
        for start in (LIGHT, DARK)
    )
    return (
        f"{of} {{ {light} --font:{font()}; color-scheme:light dark; }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ {of} {{ {dark} }} }}"
    )


@cache
def font() -> str:
    """The fonts of the page, as CSS lists them, then what desktops and servers commonly have: a
    renderer that is no browser knows families by their names only."""
    sheet = files("lineage.viz").joinpath("page.css").read_text("utf-8")
    (found,) = re.findall(r"color: var\(--ink\); font: [^ ]+ ([^;]+);", sheet)
    return str(found).removesuffix("sans-serif") + COMMON


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2.2, contrast ratio)."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [channel / 255 for channel in _channels(colour)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _mixed(swatches: Sequence[str], part: float) -> str:
    at = part * (len(swatches) - 1)
    first = min(len(swatches) - 2, int(at))
    pair = zip(_channels(swatches[first]), _channels(swatches[first + 1]), strict=True)
    return "#" + "".join(
        f"{int(low + (high - low) * (at - first) + 0.5):02x}" for low, high in pair
    )
