"""Text and numbers as people see them: text from outside made safe for a terminal, its width in
cells, and figures with SI prefixes.

A name, a card or a path may hold escape codes, newlines or characters that turn the reading
direction. Whatever prints one sends it through `shown` first."""

from __future__ import annotations

import math
import re
import unicodedata

# What moves the cursor, starts an escape code, breaks a line, turns the direction of reading, or
# cannot be encoded: C0 and C1 controls, line separators, Unicode's invisible format characters
# (bidirectional controls: UAX #9, section 2; tags: U+E0000..), lone surrogates. The two joiners
# U+200C and U+200D stay: Persian, Indic scripts and emoji are spelt with them.
UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: str) -> str:
    """`text` on one line and safe to print: `\\n`, `\\x1b`, `\\u202e` are written out.

    A display, not an encoding: a backslash stays as it is."""
    return text if text.isprintable() else UNSAFE.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 256:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def width(text: str) -> int:
    """How many terminal cells `text` takes: wide East Asian characters and emoji two, combining
    marks and joiners none (UAX #11)."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, cells: int) -> str:
    """`text` cut to at most `cells` terminal cells, the cut shown by an ellipsis."""
    if width(text) <= cells:
        return text
    taken, kept = 1, []  # one cell is the ellipsis
    for character in text:
        taken += _cells(character)
        if taken > cells:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…" if cells > 0 else ""


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """`text` filled with spaces to `cells` terminal cells, on its left when `right`."""
    blank = " " * (cells - width(text))
    return blank + text if right else text + blank


_SI = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"),
       (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))  # fmt: skip


def si(value: float, unit: str) -> str:
    """`value` in `unit` to three digits with the SI prefix that fits: `3.1 MJ`, `640 nJ`."""
    value = _three_digits(value)
    if not value or not math.isfinite(value):
        return f"{value:g} {unit}"
    scale, prefix = next((pair for pair in _SI if abs(value) >= pair[0]), _SI[-1])
    return f"{_plain_number(value / scale)} {prefix}{unit}"


def joules(value: float) -> str:
    """Joules with their prefix: `3.1 MJ`, `6.4 µJ`."""
    return si(value, "J")


def size(count: float) -> str:
    """A number of bytes with a decimal prefix, as disks are sold: `0 B`, `876 kB`, `1.24 GB`."""
    return si(count, "B")


_LARGE = {"token": (1e6, "Mtok"), "character": (1e6, "Mchar")}


def per(amount: float, unit: str) -> str:
    """Joules per `unit`, of tokens and characters a million: `6.4 J/Mtok`. Of `byte`, bytes."""
    many, short = _LARGE.get(unit, (1.0, unit))
    if unit == "byte":
        return size(amount)
    return f"{joules(amount * many)}/{short}"


def rate(amount: float, unit: str, source: str | None) -> str:
    """Joules per `unit`, with a tilde where they are an estimate: `~6.4 J/Mtok`."""
    return ("~" if source == "estimated" else "") + per(amount, unit)


def count(number: float) -> str:
    """A number of parameters, tokens or the like as trainers say it: `950`, `125M`, `7.24B`."""
    number = _three_digits(number)
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= scale:
            return f"{_plain_number(number / scale)}{letter}"
    return _plain_number(number)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 child`, `1,200 children`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _three_digits(value: float) -> float:
    """Rounded before the prefix is chosen, so that 999,960 J are 1 MJ and not 1,000 kJ."""
    return float(f"{value:.3g}") if math.isfinite(value) else value


def _plain_number(value: float) -> str:
    """Three digits without an exponent: `1.24`, `12.4`, `124`, `5`."""
    if not math.isfinite(value):
        return str(value)
    digits = 2 - (math.floor(math.log10(abs(value))) if value else 0)
    written = f"{value:.{max(digits, 0)}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
