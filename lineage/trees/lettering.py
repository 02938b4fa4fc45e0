"""How wide text is when no font can be asked: estimates a little above the common sans-serif fonts,
so that what is placed by them does not run into its neighbour. Used by the pictures on paper."""

from __future__ import annotations

import unicodedata

# Advance widths of Helvetica in thousandths of its size, from the space to the tilde (Adobe Core 14
# AFM files, 1990).
_WIDTHS = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)  # fmt: skip
_WIDER = 1.15
"""DejaVu Sans and Verdana, the widest that `sans-serif` commonly stands for, to Helvetica."""
BOLD = 1.2
"""Bold letters against plain ones, at most: what to multiply the size with."""
TAIL = 0.35
"""The part of its room that the end of a squeezed text may take."""
LONGEST = 400
"""Characters of a text that are looked at; no column holds more."""


def width(text: str, size: float) -> float:
    """An estimate from above of the pixels that `text` takes at `size` pixels."""
    return sum(map(_advance, text)) * size


def cut(text: str, room: float, size: float) -> str:
    """`text`, or as much of its beginning as fits `room` pixels with an ellipsis."""
    if len(text) <= LONGEST and width(text, size) <= room:
        return text
    kept, taken = 0, _advance("…") * size
    for character in text[:LONGEST]:
        taken += _advance(character) * size
        if taken > room:
            break
        kept += 1
    while kept and unicodedata.combining(text[kept]):  # not between a letter and its accent
        kept -= 1
    return text[:kept].rstrip(" \u200d") + "…"


def squeeze(text: str, room: float, size: float) -> str:
    """`text`, or its beginning and its end with an ellipsis between: names often differ in both."""
    if len(text) <= LONGEST and width(text, size) <= room:
        return text
    end = text[-LONGEST:]
    kept, taken = len(end), 0.0
    while kept and taken + _advance(end[kept - 1]) * size <= room * TAIL:
        kept -= 1
        taken += _advance(end[kept]) * size
    while kept < len(end) and _joins(end[kept]):
        kept += 1
    end = end[kept:].lstrip()
    before = room - width(end, size)
    return cut(text, before, size) + end if before >= width("…", size) else cut(text, room, size)


def _joins(character: str) -> bool:
    """Whether it belongs to the one before it: an accent, a joiner."""
    return bool(unicodedata.combining(character)) or unicodedata.category(character) == "Cf"


def _advance(character: str) -> float:
    code = ord(character)
    if 32 <= code < 127:
        return _WIDTHS[code - 32] * _WIDER / 1000
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    return 1.3 if unicodedata.east_asian_width(character) in "WF" else 0.85
