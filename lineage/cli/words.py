"""How the commands say things: scores and costs, times, how an organism came to be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from lineage.organism import Link, Organism, PowerCost, Score
from lineage.shown import joules, per, si


def number(value: float) -> str:
    """A figure to four digits, whole where it is larger: `0.61`, `2.31`, `12346`."""
    from lineage.trees.words import figures

    written = figures([value]).write(value)
    return written.rstrip("0").rstrip(".") if "." in written and "e" not in written else written


def score_text(score: Score) -> str:
    """`2.310 ± 0.016`, as `words.scored` has it; `2.31` where no error is known."""
    from lineage.trees.words import scored

    return scored(score.value, score.stderr) if score.stderr else number(score.value)


def power_text(cost: PowerCost) -> str:
    """What a cost is in figures: joules, with kWh where they are many, watts, time, money, CO2e."""
    parts = []
    if cost.joules is not None:
        rate = cost.per != "total"
        parts.append(per(cost.joules, cost.per) if rate else energy_text(cost.joules))
    elif cost.watts is not None:
        parts.append(f"{number(cost.watts)} W")
    if cost.seconds is not None:
        parts.append(duration(cost.seconds))
    if cost.cost is not None:
        parts.append(f"{number(cost.cost)} {cost.currency}")
    if cost.gco2e is not None:
        parts.append(f"{number(cost.gco2e)} gCO2e")
    return ", ".join(parts)


def energy_text(energy: float) -> str:
    """`3.1 MJ (0.861 kWh)`."""
    kwh = energy / 3.6e6
    return joules(energy) + (f" ({number(kwh)} kWh)" if kwh >= 0.01 else "")


def duration(seconds: float) -> str:
    """`1.5 h`, `20 min`, `3.2 s`, `390 µs`."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{number(float(f'{seconds / unit:.3g}'))} {name}"
    return si(seconds, "s")


def age(at: datetime | None, now: datetime) -> str:
    """How long ago, in the largest whole unit: `3d`, `12m`."""
    if at is None:
        return ""
    seconds = max(0.0, (now - at).total_seconds())
    for unit, name in ((31557600, "y"), (86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}"
    return f"{int(seconds)}s"


def when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def status_text(organism: Organism) -> str:
    """`alive`, `◆ protected`, `✕ selected against`, `✕ culled`, `ghost`."""
    if organism.ghost:
        return "ghost"
    if organism.status != "alive":
        return f"✕ {organism.status.replace('_', ' ')}"
    return "◆ protected" if organism.protected else "alive"


def relation_text(organism: Organism, links: Sequence[Link]) -> str:
    """How an organism came to be, in a word or two: `finetune`, `merge`, `founder`, `ghost`."""
    if links:
        return " + ".join(dict.fromkeys(link.relation for link in links))
    return "ghost" if organism.ghost else "founder"


PHRASES = {
    "quantized": "quantized from",
    "continue": "continues",
    "distill": "distilled from",
    "prune": "pruned from",
    "convert": "converted from",
}


def phrase(relation: str) -> str:
    """A relation before the name of the parent: `finetune of`, `pruned from`."""
    return PHRASES.get(relation, f"{relation} of")


def descent(organism: Organism, links: Sequence[Link]) -> str:
    """How an organism came to be, in a phrase: `merge of a 70 %, b 30 %`, `a founder`."""
    from lineage.trees.family import Branch
    from lineage.trees.words import shares

    if not links:
        if organism.retracted is not None:
            return "a ghost: its registration was retracted"
        return "a ghost: named as a parent, not registered yet" if organism.ghost else "a founder"
    phrases = []
    for relation in dict.fromkeys(link.relation for link in links):
        alike = [link for link in links if link.relation == relation]
        parts = shares([Branch(x.child.id, x.parent.id, relation, x.weight) for x in alike])
        named = [f"{x.parent} {part}".rstrip() for x, part in zip(alike, parts, strict=True)]
        phrases.append(f"{phrase(relation)} {', '.join(named)}")
    return "; ".join(phrases)
