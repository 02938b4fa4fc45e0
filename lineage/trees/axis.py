"""What runs from left to right in a picture on paper: generations, time, training steps, joules or
weights that changed; the same figures as on the page (viz/page/forest.js)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lineage.errors import InvalidValue
from lineage.shown import counted, si
from lineage.trees.family import Family
from lineage.trees.folding import Line, generations
from lineage.trees.layout import Layout

LABELS = {
    "generation": "generation",
    "time": "time",
    "step": "training step",
    "joules": "joules of training",
    "weights": "share of weights changed",
}
DAY = 86_400
HAIR = 1e-6
"""By so much of a step a tick may lie beside an end: 0.6 / 0.2 is less than 3."""
SPANS = (
    (1, "1 second"), (10, "10 seconds"), (60, "1 minute"), (600, "10 minutes"), (3600, "1 hour"),
    (21_600, "6 hours"), (DAY, "1 day"), (7 * DAY, "1 week"), (14 * DAY, "2 weeks"),
    (30 * DAY, "30 days"), (90 * DAY, "90 days"), (365 * DAY, "365 days"),
    (3650 * DAY, "3,650 days"),
)  # fmt: skip
"""Steps of the axis of time, in seconds."""


@dataclass(frozen=True, slots=True)
class Axis:
    """`at` has a figure for each organism that is drawn, `sure` those of which it is known: what is
    not lies where its main parent does. `ends` are the least and the largest figure, never the
    same; `ticks` are round figures with their text, `bar` is the length of the scale bar with its
    text."""

    label: str
    at: Mapping[int, float]
    sure: frozenset[int]
    ends: tuple[float, float]
    ticks: tuple[tuple[float, str], ...]
    bar: tuple[float, str]


def axis(
    family: Family, layout: Layout, lines: Sequence[Line], kind: str = "generation", most: int = 8
) -> Axis:
    """The axis `kind`, of LABELS, for what is drawn in `lines`, with about `most` ticks.

    Generations are those drawn: a fold of many steps is one. Time is when an organism was made,
    else registered, in seconds since 1970. Steps go on from where the main parent stands; a
    `continue` counts from where its run began. Joules are those of its own training and its main
    ancestors'. Weights add up along main parents too, by 1 less the part of an organism's tensors,
    by bytes, that a scan found to be its parent's. Raises InvalidValue where none of it is
    known."""
    at, sure = _drawn(family, layout, lines) if kind == "generation" else _placed(
        family, layout, kind)  # fmt: skip
    drawn = [own for line in lines if not line.more for own in line.ids]
    low, high = min(at[own] for own in drawn), max(at[own] for own in drawn)
    if kind == "generation":  # what is left out may hang on the last
        high = float(max(generations(family, layout, lines)))
    if not sure:
        raise InvalidValue(
            f"no organism here has a known {LABELS[kind]}, so nothing can be drawn along it. "
            "Choose another --axis."
        )
    step, said = _step(kind, (high - low) / most)
    ticks = [
        number * step
        for number in range(math.ceil(low / step - HAIR), math.floor(high / step + HAIR) + 1)
    ] or [low]
    said_ticks = tuple((tick, _said(kind, tick, step)) for tick in ticks)
    label = LABELS[kind]
    if kind == "generation" and any(line.folds and line.step for line in lines):
        label += ", folded steps as one"
    ends = (low, high if high > low else low + 1)
    return Axis(label, at, sure, ends, said_ticks, (step, said))


def _drawn(
    family: Family, layout: Layout, lines: Sequence[Line]
) -> tuple[dict[int, float], frozenset[int]]:
    """Generations as they are drawn; folded steps are spread over the one that they take."""
    born = generations(family, layout, lines)
    at: dict[int, float] = {}
    for line, own in zip(lines, born, strict=True):
        spread = line.step and line.folds
        for number, id_ in enumerate(() if line.more else line.ids, 1):
            at[id_] = own - 1 + number / len(line.ids) if spread else float(own)
    return at, frozenset(at)


def _placed(family: Family, layout: Layout, kind: str) -> tuple[dict[int, float], frozenset[int]]:
    rows = [row for row in layout.rows if not row.more]
    known = {row.id: _known(family, layout, kind, row.id) for row in rows}
    figures = [one for one in known.values() if one is not None]
    start = min(figures, default=0.0) if kind == "time" else 0.0
    at: dict[int, float] = {}
    base: dict[int, float] = {}
    for row in rows:
        own = known[row.id]
        above = start if row.parent is None else at[row.parent]
        here = above if own is None else own
        if kind in ("joules", "weights") and own is not None:
            here = above + own
        if kind == "step" and own is not None:
            main = layout.main.get(row.id)
            goes_on = main is not None and main.relation == "continue"
            base[row.id] = base.get(main.parent, 0.0) if main and goes_on else above
            here = base[row.id] + own
        at[row.id] = here
    return at, frozenset(own for own, one in known.items() if one is not None)


def _known(family: Family, layout: Layout, kind: str, own: int) -> float | None:
    member = family.members[own]
    if kind == "weights":
        main = layout.main.get(own)
        return None if main is None or main.shared is None else 1 - main.shared
    if kind == "time":
        born = member.organism.created or member.organism.registered
        return None if born is None else float(int(born.timestamp()))
    if kind == "step":
        return None if member.organism.step is None else float(member.organism.step)
    return None if member.training is None else member.training.joules


def _round(raw: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from `raw` up."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(one * power for one in (1, 2, 5, 10) if one * power >= raw * (1 - 1e-9))


def _step(kind: str, raw: float) -> tuple[float, str]:
    """The round step from `raw` up, and how a scale bar says it."""
    if kind == "time":
        length, said = next((one for one in SPANS if one[0] >= raw), SPANS[-1])
        return float(length), said
    step = _round(raw) if raw > 0 else 1.0
    if kind == "generation":
        step = max(1.0, step)
        return step, counted(int(step), "generation")
    if kind == "weights":
        return step, f"{100 * step:.3g} % of the bytes of its tensors"
    return step, si(step, "J") if kind == "joules" else f"{step:,.10g} steps"


def _said(kind: str, value: float, step: float) -> str:
    if kind == "time":
        shape = "%Y-%m-%d" if step >= DAY else "%H:%M" if step >= 60 else "%H:%M:%S"
        return datetime.fromtimestamp(value, UTC).strftime(shape)
    if kind == "joules":
        return si(value, "J")
    if kind == "weights":
        return f"{100 * value:.3g} %"
    return f"{value:,.10g}" if kind == "step" else f"{value:.0f}"


def nearest(ticks: Sequence[tuple[float, str]], room: float) -> list[tuple[float, str]]:
    """Those of `ticks`, placed in pixels, that have `room` to the one before."""
    kept: list[tuple[float, str]] = []
    for x, text in ticks:
        if not kept or x - kept[-1][0] >= room:
            kept.append((x, text))
    return kept
