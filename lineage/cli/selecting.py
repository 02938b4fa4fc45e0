"""Selecting: which organisms no longer justify their power bill, why, and how to take it back."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lineage.cli.common import (
    emit,
    json_option,
    open_registry,
    per,
    registry_options,
    styled,
    table,
)
from lineage.cli.reading import score_text
from lineage.shown import fit, pad, shown, size, width

if TYPE_CHECKING:
    from lineage.organism import Organism
    from lineage.selection.plan import Explanation, Plan, Proposal, Reason

SHOWN = 40
"""How many proposals a terminal shows, unless --limit says otherwise."""

GUARDS = {
    "protected": "protected",
    "aliased": "holding the alias production",
    "leased": "leased",
    "load-bearing": "needed by others to run",
    "young": "too young to judge",
    "founder": "the only founder of a living clade",
}
MISSING = {"score": "no score in a niche with a known direction", "cost": "no cost of serving"}


@click.command()
@click.option("--apply", is_flag=True, help="Mark them. Without it nothing is changed.")
@click.option("--limit", type=click.IntRange(min=0), help=f"Spell out so many; by default {SHOWN}.")
@json_option
@registry_options
def select(apply: bool, limit: int | None, as_json: bool) -> None:
    """Propose organisms that no longer justify their power bill.

    In a niche, an organism is dominated when another one is surely at least as fit, at 99.9 %
    confidence where errors are known, and costs less to serve; or is surely fitter and costs no
    more. Proposed is who is dominated in every niche where it has a score by organisms that
    themselves stay, unless it is protected, leased, holds the alias production, or others need it
    to run. No file is touched, and `lineage revive` takes a mark back.
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
        table((), _rows(plan.proposals))


def say(plan: Plan) -> None:
    click.echo(_headline(plan))
    if plan.proposals:
        click.echo()
        _proposed(plan.proposals)
        if plan.proposed > len(plan.proposals):
            click.echo(f"… and {plan.proposed - len(plan.proposals):,} more: --limit shows them.")
    lines = [*_frees(plan), *_kept(plan), *_unknown(plan), *_revivals(plan), _next(plan)]
    click.echo()
    for line in filter(None, lines):
        click.echo(wrapped(line))


def _proposed(proposals: Sequence[Proposal]) -> None:
    """A heading an organism, as people know it: its name is never cut. Below it a line a niche."""
    blocks = [(one, [[shown(cell) for cell in row[1:]] for row in _rows([one])])
              for one in proposals]  # fmt: skip
    every = [row for _, rows in blocks for row in rows]
    widths = [max((width(row[at]) for row in every), default=0) for at in range(4)]
    room = shutil.get_terminal_size().columns
    spare = room - 2 - sum(widths) - 2 * 3 - len("beaten by ")
    for at in (0, 2):  # the names of niches and of dominators give way
        cut = max(0, min(-spare, widths[at] - 12))
        widths[at], spare = widths[at] - cut, spare + cut
    for one, rows in blocks:
        name, about = shown(str(one.organism)), _about(one)
        click.echo(f"{styled(name, bold=True)}{styled(fit(about, room - width(name)), dim=True)}")
        for niche, own, by, its, _ in rows:
            cells = (
                pad(fit(niche, widths[0]), widths[0]), pad(own, widths[1], right=True),
                f"beaten by {pad(fit(by, widths[2]), widths[2])}", pad(its, widths[3], right=True),
            )  # fmt: skip
            click.echo(f"  {'  '.join(cells)}".rstrip())


def _about(one: Proposal) -> str:
    """What people know an organism by, besides its name."""
    organism = one.organism
    told = [
        size(organism.bytes) if organism.bytes is not None else "",
        _saves(one),
        f"run {organism.run}" if organism.run else "",
        f"step {organism.step}" if organism.step is not None else "",
        f"{one.children} living {'child' if one.children == 1 else 'children'}"
        if one.children
        else "",
        one.place or "",
    ]
    known = [shown(part) for part in told if part]
    return f"  {', '.join(known)}" if known else ""


def _saves(one: Proposal) -> str:
    """What serving is cheaper by with any of those that dominate it, in its first unit."""
    reasons = [reason for reason in one.reasons if reason.by_joules is not None]
    if not reasons or reasons[0].per == "byte":
        return ""
    unit = reasons[0].per
    saved = min(r.joules - (r.by_joules or 0.0) for r in reasons if r.per == unit)
    return f"saves {per(saved, unit)}" if saved else ""


def wrapped(line: str) -> str:
    """A sentence in lines that fit the terminal; into a pipe as it is."""
    if not sys.stdout.isatty():
        return line
    return click.wrap_text(line, shutil.get_terminal_size().columns)


def _headline(plan: Plan) -> str:
    if not plan.living:
        return "There is no living organism to judge. `lineage register` adds one."
    if not plan.proposed:
        fit = plan.living - plan.kept_count - plan.unscored - plan.uncosted - plan.contested
        return f"Nothing to mark: {fit:,} of {plan.living:,} living organisms {_justify(fit)}."
    verb = _justify(plan.proposed)
    return f"{plan.proposed:,} of {plan.living:,} living organisms no longer {verb}."


def _justify(count: int) -> str:
    return "justifies its power bill" if count == 1 else "justify their power bill"


def _rows(proposals: Iterable[Proposal]) -> Iterator[tuple[Any, ...]]:
    for one in proposals:
        for reason in one.reasons:
            assert reason.by is not None  # it is proposed because it is beaten everywhere
            assert reason.by_joules is not None
            yield (
                str(one.organism),
                str(reason.niche),
                value(reason.value, reason.stderr, reason.n),
                str(reason.by),
                value(reason.by_value, reason.by_stderr, reason.by_n),
                per(saved, reason.per) if (saved := reason.joules - reason.by_joules) else "",
            )


def value(known: float | None, stderr: float | None, n: int | None) -> str:
    """A score with what is known of its error: `2.310 ± 0.016`, `0.9 of 1,000`."""
    from lineage.organism import Score

    assert known is not None
    if stderr:
        return score_text(Score("a/b", known, stderr))
    return f"{known:.4g}" + (f" of {n:,}" if n else "")


def _kept(plan: Plan) -> Iterator[str]:
    by_guard: dict[str, list[Organism]] = {}
    for one in plan.kept:
        by_guard.setdefault(one.guard, []).append(one.organism)
    if by_guard:
        parts = [f"{_listed(known)} ({GUARDS[guard]})" for guard, known in by_guard.items()]
        more = plan.kept_count - len(plan.kept)
        yield f"Kept though beaten: {'; '.join(parts)}{f'; and {more:,} more' if more else ''}."
    if plan.contested:
        yield (
            f"Contested, and kept: {plan.contested:,} whom only organisms dominate that are "
            "dominated themselves."
        )


def _frees(plan: Plan) -> Iterator[str]:
    """What the plan rests on, and what it would free."""
    if not plan.proposed:
        return
    if plan.exact:
        whom = "they are" if plan.exact == plan.proposed else f"{plan.exact:,} of them are"
        yield (
            f"No error of a score is known where {whom} concerned: the value is taken as exact. "
            "`lineage score` takes --stderr or --n."
        )
    if plan.bytes:
        yield f"Their genomes take {size(plan.bytes)}."


def _revivals(plan: Plan) -> Iterator[str]:
    if plan.revivable and plan.revived is None:
        verb = "is" if plan.revivable == 1 else "are"
        yield (
            f"Selected against, and obsolete no more: {_listed(list(plan.revivals))}. "
            f"{plan.revivable:,} {verb} to be revived with --apply."
        )


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
        back = f", revived {plan.revived:,}" if plan.revived else ""
        return (
            f"Marked {plan.marked:,} as selected against{back}. "
            "`lineage revive NAME` takes one back."
        )
    if not plan.proposed:
        return ""
    name = shown(str(plan.proposals[0].organism)) if plan.proposals else "NAME"
    return (
        "Nothing is changed, and no file is touched. `lineage select --apply` marks them; "
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
            _standings(rows)
        else:
            table((), rows)
    for line in _remarks(found):
        click.echo(wrapped(line))


def _standings(rows: list[tuple[str, ...]]) -> None:
    """A line a niche; a verdict that would not fit goes to a line of its own."""
    cells = [[shown(cell) for cell in row] for row in rows]
    widths = [max(width(row[at]) for row in cells) for at in range(3)]
    room = shutil.get_terminal_size().columns
    for niche, own, power, verdict in cells:
        line = "  ".join(
            ("", pad(niche, widths[0]), pad(own, widths[1], right=True),
             pad(power, widths[2], right=True), "")
        )  # fmt: skip
        if width(line) + width(verdict) <= room:
            click.echo(line + verdict)
        else:
            click.echo(f"{line.rstrip()}\n      {verdict}")


def _verdict(found: Explanation) -> str:
    name = shown(str(found.organism))
    if found.organism.ghost:
        return f"{name} is a ghost: it was named as a parent, and never registered."
    if found.organism.status == "culled":
        return f"{name} is culled: its files are gone, the record stays."
    if found.missing:
        state = found.organism.status.replace("_", " ")
        return f"{name} is {state}, and cannot be judged: {MISSING[found.missing]}."
    fronts = _niches_of(found, "front")
    contested = _niches_of(found, "contested")
    where = f"it is on the front of {', '.join(fronts)}" if fronts else "dominated in every niche"
    if not fronts and contested:
        where = f"contested in {', '.join(contested)}: only the dominated dominate it there"
    if found.organism.status == "selected_against":
        again = f" Today {where}: `lineage revive {name}`." if not found.beaten else ""
        return f"{name} is selected against.{again}"
    if fronts or contested:
        return f"{name} is alive: {where}."
    if found.guards:
        return f"{name} is alive though {where}: it is {shown(', '.join(found.guards))}."
    return f"{name} is alive, but {where}: `lineage select` proposes it."


def _niches_of(found: Explanation, verdict: str) -> list[str]:
    return list(dict.fromkeys(
        shown(str(one.niche)) for one in found.standings if one.verdict == verdict
    ))  # fmt: skip


def _standing(one: Reason) -> tuple[str, ...]:
    written = value(one.value, one.stderr, one.n)
    mine = (str(one.niche), written, known(one.joules, one.per, one.source))
    if one.by is None:
        return (*mine, "on the front" if one.verdict == "front" else one.verdict)
    assert one.by_joules is not None
    power = known(one.by_joules, one.per, one.by_source)
    by = value(one.by_value, one.by_stderr, one.by_n)
    return (*mine, f"dominated by {one.by}, {by} at {power}")


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
    for rival in found.closest:
        written = value(rival.value, rival.stderr, rival.n)
        power = known(rival.joules, rival.per, None)
        yield (
            f"Closest to it in {shown(str(rival.niche))}: {shown(str(rival.organism))}, {written} "
            f"at {power}, whose lead is surely no more than {rival.bound:.3g}."
            if rival.bound > 0
            else f"Closest to it in {shown(str(rival.niche))}: {shown(str(rival.organism))}, "
            f"{written} at {power}; {-rival.bound:.3g} short of being surely as fit."
        )
    if found.guards and not found.beaten:
        yield f"It would be kept in any case: {shown(', '.join(found.guards))}."
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
