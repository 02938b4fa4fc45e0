"""What is written on the command line, read: a time, a tag, a score."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from lineage.errors import InvalidValue
from lineage.organism import Score, utc

SPAN = re.compile(r"^(\d{1,6}) ?(min|h|d|w)$")


def since_when(value: str, what: str = "since") -> datetime:
    """`30d` (or `12h`, `45min`, `2w`) as the time that long ago; else a date."""
    match = SPAN.match(value)
    try:
        if not match:
            return utc(value, what)
        unit = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
        return datetime.now(UTC) - timedelta(**{unit: int(match[1])})
    except (InvalidValue, OverflowError):
        raise InvalidValue(
            f"--{what} {value!r} is no time. Write 45min, 12h, 30d or 2w, or a date like "
            "2026-11-24."
        ) from None


def key_value(pair: str) -> tuple[str, str]:
    """`key=value`, both with something in them."""
    key, equals, value = pair.partition("=")
    if not (key.strip() and equals and value):
        raise InvalidValue(f"{pair!r} is not a tag. Write key=value, like team=vision.")
    return key, value


SCORE = re.compile(r"^(.+)=\s*([^=±]+?)\s*(?:(?:±|\+-|\+/-)\s*(\S+)\s*)?$")


def score_of(written: str) -> Score:
    """`gsm8k/acc=0.61±0.004` as a Score; `+-` is `±` where a keyboard has none."""
    match = SCORE.match(written)
    if not match:
        raise InvalidValue(f"{written!r} is not a score. Write task/metric=0.61, or 0.61±0.004.")
    niche, value, stderr = match.groups()
    return Score(niche, value, stderr)  # type: ignore[arg-type]
