"""How the pictures say things: names, shares, counts, joules, in words and units.
What it returns still is text from outside; each picture escapes it in its own way."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lineage.organism import Organism, PowerCost
from lineage.shown import counted
from lineage.trees.family import Branch, Family, Member
from lineage.trees.layout import Layout

_PER = {
    "token": (1e6, "Mtok", "a million tokens"),
    "character": (1e6, "Mchar", "a million characters"),
    "request": (1.0, "request", "a request"),
    "image": (1.0, "image", "an image"),
    "hour": (1.0, "h", "an hour"),
    "total": (1.0, "", "in total"),
}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


NOBODY = (
    "There is no organism to draw: this registry is empty.",
    "`lineage register PATH` records a checkpoint, `lineage scan FOLDER` finds those of a folder,",
    "`lineage import FILE` reads a table, and `lineage demo` grows a family to look at.",
)
"""What a picture says where there is nothing in it."""


def status(organism: Organism) -> str:
    """`alive`, `selected against`, `culled` or `ghost`."""
    return "ghost" if organism.ghost else organism.status.replace("_", " ")


def origin(organism: Organism, main: Branch | None) -> str:
    """How it was made: the relation to its main parent; `founder`; or the generation, where the
    parents are outside the picture."""
    if main is not None:
        return main.relation
    if organism.ghost:
        return "ghost"
    return "founder" if organism.generation == 0 else f"generation {organism.generation}"


def held(within: Mapping[str, int]) -> str:
    """What is among the folded: `3 selected against, 1 ghost`."""
    return ", ".join(f"{count:,} {what}" for what, count in within.items())


def more(count: int, within: Mapping[str, int]) -> str:
    """`… 3 more (1 selected against)`"""
    return f"… {count:,} more" + (f" ({held(within)})" if within else "")


def named(names: Sequence[str]) -> str:
    """One or two names, of more the first and the last: `A-int8, A-int4`, or `s1 … s9`."""
    return ", ".join(names) if len(names) <= 2 else f"{names[0]} … {names[-1]}"


def shares(links: Sequence[Branch]) -> list[str]:
    """The weight of each parent, as `70 %` where the weights are parts of one whole, else as a
    factor, `× -0.5` (task arithmetic subtracts), or '' where it is not known."""
    weights = [link.weight for link in links if link.weight is not None]
    whole = all(weight >= 0 for weight in weights) and abs(sum(weights) - 1) < 0.005
    return [
        "" if link.weight is None
        else f"{100 * link.weight:.0f} %" if whole
        else f"× {link.weight:.3g}"
        for link in links
    ]  # fmt: skip


def shares_of(links: Iterable[Branch]) -> dict[tuple[int, int], str]:
    """By child and parent, the share of a link among all of that child."""
    of: dict[int, list[Branch]] = {}
    for link in links:
        of.setdefault(link.child, []).append(link)
    return {
        (link.child, link.parent): share
        for alike in of.values()
        for link, share in zip(alike, shares(alike), strict=True)
    }


HUGE = 1e15
"""From here on a figure is written with its exponent."""


@dataclass(frozen=True, slots=True)
class Figures:
    """How a column of figures is written: so many digits after the point, so wide. What is left
    with fewer than `least` figures that count gets two."""

    digits: int
    width: int
    least: int = 0

    def write(self, value: float) -> str:
        """A figure that is not zero is never written as zero, and none with all of its zeros."""
        if abs(value) >= HUGE:
            return f"{value:.4g}"
        least = 10.0 ** (self.least - 1 - self.digits)
        text = f"{value:.{self.digits}f}"
        return f"{value:.2g}" if value and (not float(text) or abs(value) < least) else text

    def align(self, value: float) -> str:
        return self.write(value).rjust(self.width)

    def range(self, values: Collection[float]) -> str:
        """`2.252 to 2.288`"""
        low, high = self.write(min(values)), self.write(max(values))
        return low if low == high else f"{low} to {high}"


def figures(values: Collection[float], significant: int = 4, least: int = 0) -> Figures:
    """One way to write all of `values`, that gives the largest `significant` figures, and a share
    below 1 as many behind the point as one above it."""
    largest = max((abs(value) for value in values), default=0.0)
    power = math.floor(math.log10(largest)) if largest else 0
    digits = min(9, max(0, significant - 1 - (power if power >= 0 else power + 1)))
    one = Figures(digits, 0, least)
    return Figures(digits, max((len(one.write(value)) for value in values), default=0), least)


@dataclass(frozen=True, slots=True)
class Joules:
    """A scale for costs with one `per`: `joules * factor` is a figure in `unit`."""

    factor: float
    unit: str
    words: str
    figures: Figures


def joules_per(costs: Iterable[PowerCost | None]) -> dict[str, Joules]:
    """One scale for each `per` among `costs`, so that the largest figure has at most three digits
    before the point: J a token become J, kJ, ... a million tokens."""
    found: dict[str, list[float]] = {}
    for cost in costs:
        if cost is not None and cost.joules is not None:
            found.setdefault(cost.per, []).append(cost.joules)
    scales = {}
    for per, joules in found.items():
        amount, short, spoken = _PER[per]
        largest = max(joules) * amount
        size, prefix = next((step for step in _PREFIXES if largest >= step[0]), (1.0, ""))
        factor, unit = amount / size, f"{prefix}J/{short}" if short else f"{prefix}J"
        written = figures([value * factor for value in joules], significant=3, least=2)
        scales[per] = Joules(factor, unit, f"{prefix}J {spoken}", written)
    return scales


def joules_said(
    joules: Mapping[str, Joules], members: Sequence[Member], whole: bool = False
) -> str | None:
    """`~6.4`, with its unit where the family has several, or it shall be `whole`; of several
    organisms the range. None where it is not known, or not of one kind."""
    costs = [one.serving for one in members if one.serving and one.serving.joules is not None]
    if not costs or len({cost.per for cost in costs}) > 1:
        return None
    scale = joules[costs[0].per]
    about = "~" if any(cost.source == "estimated" for cost in costs) else ""
    unit = f" {scale.unit}" if whole or len(joules) > 1 else ""
    amounts = [cost.joules * scale.factor for cost in costs if cost.joules is not None]
    return about + scale.figures.range(amounts).replace(" to ", "–") + unit


def score_range(values: Collection[float]) -> str:
    """`2.25–2.29`"""
    return figures(values, significant=3).range(values).replace(" to ", "–")


def scored(value: float | None, stderr: float | None = None, n: int | None = None) -> str:
    """A score with what is known of its error: `2.310 ± 0.016`, `0.9 (n = 1,000)`. The standard
    error to two digits (one, where it has no more), and the value to as many places."""
    assert value is not None
    if not stderr:
        return f"{value:.4g}" + (f" (n = {n:,})" if n else "")
    if max(abs(value), stderr) >= HUGE:
        return f"{value:.4g} ± {stderr:.2g}"
    digits = 1 if float(f"{stderr:.0e}") == stderr else 2
    places = max(0, digits - 1 - int(f"{stderr:.{digits - 1}e}".partition("e")[2]))
    return f"{value:.{places}f} ± {stderr:.{places}f}"


def census(family: Family, layout: Layout) -> list[str]:
    """What is drawn, counted: organisms, generations, merges, founders, selected against."""
    organisms = [member.organism for member in family.members.values()]
    merges = {link.child for link in family.branches if link.relation == "merge"}
    founders = sum(o.generation == 0 and not o.ghost for o in organisms)
    ghosts = sum(o.ghost for o in organisms)
    against = sum(o.status == "selected_against" for o in organisms)
    parts = [
        counted(len(organisms) - ghosts, "organism"),
        counted(layout.generations, "generation"),
        counted(len(merges), "merge") if merges else "",
        counted(founders, "founder") if founders else "",
        counted(ghosts, "ghost") if ghosts else "",
        f"{against:,} selected against" if against else "",
    ]
    return [part for part in parts if part]
