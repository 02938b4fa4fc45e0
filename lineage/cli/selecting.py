"""Selecting: which organisms no longer justify their power bill, why, and how to take it back."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from lineage.cli.common import (
    emit,
    json_option,
    open_registry,
    registry_options,
    styled,
    table,
)
from lineage.shown import joules, shown, size

if TYPE_CHECKING:
    from lineage.organism import Organism
    from lineage.selection.plan import Explanation, Plan, Proposal, Reason

SHOWN = 40
"""How many proposals a terminal shows, unless --limit says otherwise."""

GUARDS = {
    "protected": "protected",
    "aliased": "holding the alias production",
    "load-bearing": "needed by others to run",
}
MISSING = {"score": "no score in a niche with a known direction", "cost": "no cost of serving"}


@click.command()
@click.option("--apply", is_flag=True, help="Mark them. Without it nothing is changed.")
@click.option("--limit", type=click.IntRange(min=0), help=f"Spell out so many; by default {SHOWN}.")
@json_option
@registry_options
def select(apply: bool, limit: int | None, as_json: bool) -> None:
    """Propose organisms that no longer justify their power bill.

    In a niche, an organism is dominated when another living one is at least as fit, costs at most
    as much to serve, and is better in one of the two. Proposed is who is dominated in every niche
    where it has a score, unless it is protected, holds the alias production, or others need it to
    run. No file is touched, and `lineage revive` takes a mark back.
    """
    registry = open_registry()
    if limit is None and not as_json and sys.stdout.isatty():
        limit = SHOWN
    plan = registry.select(apply=apply, details=limit)
    if as_json:
        emit(plan)
    elif sys.stdout.isatty():
        say(plan)
    else:
        table((), _rows(plan.proposals, repeat=True))


def say(plan: Plan) -> None:
    click.echo(_headline(plan))
    if plan.proposals:
        click.echo()
        columns = ("organism", "niche", ">its own", "beaten by", ">its", ">saves", ">files")
        table(columns, _rows(plan.proposals))
        if plan.proposed > len(plan.proposals):
            click.echo(f"… and {plan.proposed - len(plan.proposals):,} more: --limit shows them.")
    lines = [*_kept(plan), *_unknown(plan), _next(plan)]
    click.echo()
    for line in filter(None, lines):
        click.echo(wrapped(line))


def wrapped(line: str) -> str:
    """A sentence in lines that fit the terminal; into a pipe as it is."""
    if not sys.stdout.isatty():
        return line
    return click.wrap_text(line, shutil.get_terminal_size().columns)


def _headline(plan: Plan) -> str:
    if not plan.living:
        return "There is no living organism to judge. `lineage register` adds one."
    if not plan.proposed:
        fit = plan.living - plan.kept_count - plan.unscored - plan.uncosted
        return f"Nothing to mark: {fit:,} of {plan.living:,} living organisms {_justify(fit)}."
    verb = _justify(plan.proposed)
    return f"{plan.proposed:,} of {plan.living:,} living organisms no longer {verb}."


def _justify(count: int) -> str:
    return "justifies its power bill" if count == 1 else "justify their power bill"


def _rows(proposals: Iterable[Proposal], repeat: bool = False) -> Iterator[tuple[Any, ...]]:
    for one in proposals:
        for index, reason in enumerate(one.reasons):
            first = repeat or not index
            assert reason.by is not None  # it is proposed because it is beaten everywhere
            assert reason.by_joules is not None
            yield (
                str(one.organism) if first else "",
                str(reason.niche),
                f"{reason.value:.4g}",
                str(reason.by),
                f"{reason.by_value:.4g}",
                per(reason.joules - reason.by_joules, reason.per),
                size(one.organism.bytes) if first and one.organism.bytes is not None else "",
            )


LARGE = {"token": (1e6, "Mtok"), "character": (1e6, "Mchar")}


def per(amount: float, unit: str) -> str:
    """Joules per `unit`, of tokens and characters a million: `6.4 J/Mtok`."""
    many, short = LARGE.get(unit, (1.0, unit))
    return f"{joules(amount * many)}/{short}"


def _kept(plan: Plan) -> Iterator[str]:
    by_guard: dict[str, list[Organism]] = {}
    for one in plan.kept:
        by_guard.setdefault(one.guard, []).append(one.organism)
    if by_guard:
        parts = [f"{_listed(known)} ({GUARDS[guard]})" for guard, known in by_guard.items()]
        more = plan.kept_count - len(plan.kept)
        yield f"Kept though beaten: {'; '.join(parts)}{f'; and {more:,} more' if more else ''}."


def _unknown(plan: Plan) -> Iterator[str]:
    counts = {"score": plan.unscored, "cost": plan.uncosted}
    parts = []
    for what, count in counts.items():
        if count:
            named = [one.organism for one in plan.unknown if one.missing == what]
            parts.append(f"{count:,} with {MISSING[what]} ({_listed(named, count)})")
    if parts:
        yield f"Cannot be judged, so never marked: {'; '.join(parts)}."


def _listed(known: list[Organism], count: int | None = None, most: int = 5) -> str:
    names = [shown(str(one)) for one in known[:most]]
    return ", ".join(names) + (", …" if (count or len(known)) > len(names) else "")


def _next(plan: Plan) -> str:
    if plan.marked is not None:
        return f"Marked {plan.marked:,} as selected against. `lineage revive NAME` takes one back."
    if not plan.proposed:
        return ""
    name = shown(str(plan.proposals[0].organism)) if plan.proposals else "NAME"
    return (
        "Nothing is changed. `lineage select --apply` marks them; "
        f"`lineage explain {name}` tells more."
    )


@click.command()
@click.argument("ref")
@json_option
@registry_options
def explain(ref: str, as_json: bool) -> None:
    """Say why an organism lives, or is selected against, niche by niche."""
    found = open_registry().explain(ref)
    if as_json:
        emit(found)
        return
    click.echo(styled(_verdict(found), bold=True))
    if found.standings:
        rows = [_standing(one) for one in found.standings]
        if sys.stdout.isatty():
            table(("", "niche", ">value", ">power", ""), [("", *row) for row in rows])
        else:
            table((), rows)
    for line in _remarks(found):
        click.echo(wrapped(line))


def _verdict(found: Explanation) -> str:
    name = shown(str(found.organism))
    if found.organism.ghost:
        return f"{name} is a ghost: it was named as a parent, and never registered."
    if found.organism.status == "culled":
        return f"{name} is culled: its files are gone, the record stays."
    if found.missing:
        state = found.organism.status.replace("_", " ")
        return f"{name} is {state}, and cannot be judged: {MISSING[found.missing]}."
    fronts = [shown(str(one.niche)) for one in found.standings if one.by is None]
    where = f"it is on the front of {', '.join(fronts)}" if fronts else "beaten in every niche"
    if found.organism.status == "selected_against":
        again = f" Today {where}: `lineage revive {name}`." if fronts else ""
        return f"{name} is selected against.{again}"
    if fronts:
        return f"{name} is alive: {where}."
    if found.guards:
        return f"{name} is alive though {where}: it is {', '.join(found.guards)}."
    return f"{name} is alive, but {where}: `lineage select` proposes it."


def _standing(one: Reason) -> tuple[str, ...]:
    mine = (str(one.niche), f"{one.value:.4g}", known(one.joules, one.per, one.source))
    if one.by is None:
        return (*mine, "on the front")
    assert one.by_joules is not None
    power = known(one.by_joules, one.per, one.by_source)
    return (*mine, f"beaten by {one.by}: {one.by_value:.4g} at {power}")


def known(amount: float, unit: str, source: str | None) -> str:
    """Joules per `unit`, with a tilde where they are an estimate."""
    return ("~" if source == "estimated" else "") + per(amount, unit)


def _remarks(found: Explanation) -> Iterator[str]:
    legend = [
        f"{way} is better in {', '.join(niches)}"
        for way in ("higher", "lower")
        if (niches := sorted({shown(str(o.niche)) for o in found.standings if o.direction == way}))
    ]
    if any("estimated" in (one.source, one.by_source) for one in found.standings):
        legend.append("~ estimated")
    if legend:
        yield styled(f"{'; '.join(legend)}.", dim=True)
    if found.guards and not found.beaten:
        yield f"It would be kept in any case: {', '.join(found.guards)}."
    if found.mark is not None:
        who = f"{found.mark.user}@{found.mark.host}"
        yield (
            f"Marked {found.mark.at:%Y-%m-%d %H:%M} UTC by {shown(who)} "
            f"with `{shown(found.mark.command)}`. `lineage log {shown(str(found.organism))}` has "
            "the numbers of that day."
        )


@click.command()
@click.argument("ref")
@click.option("--reason", default="", help="Why; kept in the history.")
@registry_options
def revive(ref: str, reason: str) -> None:
    """Take a mark of selection back."""
    registry = open_registry()
    before = registry.get(ref)
    after = registry.revive(before, reason)
    state = "was alive already" if before.status == "alive" else "is alive again"
    click.echo(f"{shown(str(after))} {state}.")
