"""Selecting: which organisms no longer justify their power bill, why, and how to take it back."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lineage.cli.common import (
    emit,
    json_option,
    note,
    open_registry,
    paragraph,
    registry_options,
    styled,
    table,
    wrapped,
)
from lineage.cli.words import energy_text
from lineage.errors import InvalidValue
from lineage.shown import fit, pad, per, rate, shown, size, width

if TYPE_CHECKING:
    from lineage.organism import Organism
    from lineage.registry import Registry
    from lineage.selection.plan import Explanation, Plan, Proposal, Reason
    from lineage.selection.policy import Policy

SHOWN = 40
"""How many proposals a terminal shows, unless --limit says otherwise."""
MOST = 1000
"""How many a page does."""


@click.command()
@click.option("--apply", is_flag=True, help="Mark them. Without it nothing is changed.")
@click.option(
    "--policy",
    default="frontier",
    metavar="NAME|FILE[:NAME]",
    help="frontier (the default), best-per-niche, storage, trainer-rotation; or a TOML file.",
)
@click.option(
    "--new", is_flag=True, help="Judge only niches with news since the policy was applied last."
)
@click.option("--describe", is_flag=True, help="Say what the policy does, and do nothing.")
@click.option(
    "--simulate",
    multiple=True,
    metavar="NAME=VALUE",
    help='What another setting would change: "price=0.40 EUR/kWh". May be repeated.',
)
@click.option("--write-plan", metavar="FILE", type=click.Path(), help="Keep the plan in a file.")
@click.option(
    "--from-plan",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Take the plan of a file, exactly; refused when what it rests on has changed.",
)
@click.option(
    "--output", "-o", metavar="FILE.html", type=click.Path(dir_okay=False),
    help="The plan as a page.",
)
@click.option("--limit", type=click.IntRange(min=0), help=f"Spell out so many; by default {SHOWN}.")
@json_option
@registry_options
def select(
    apply: bool,
    policy: str,
    new: bool,
    describe: bool,
    simulate: Sequence[str],
    write_plan: str | None,
    from_plan: str | None,
    output: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Propose organisms that no longer justify their power bill.

    In a niche, an organism is dominated when another one is surely at least as fit, at 99.9 %
    confidence where errors are known, and costs less to serve; or is surely fitter and costs no
    more. Proposed is who is dominated in every niche where it has a score by organisms that
    themselves stay, unless it is protected, leased, holds the alias production, or others need it
    to run. A policy may say otherwise. No file is touched, and `lineage revive` takes a mark back.
    """
    from lineage.selection import policy as policies

    chosen = policies.load(policy)
    if describe:
        _describe(chosen, as_json)
        return
    if (simulate or write_plan) and apply:
        raise click.UsageError("--apply acts; --simulate and --write-plan only look. Choose one.")
    if new and (simulate or from_plan):
        raise click.UsageError("--new judges anew; --simulate and --from-plan do not. Choose one.")
    given = click.get_current_context().get_parameter_source("policy")
    if from_plan and (simulate or given is not ParameterSource.DEFAULT):
        raise click.UsageError(
            "--from-plan takes a plan as it stands, with its policy; --policy and --simulate judge "
            "anew. Choose one."
        )
    if output is not None and (simulate or not output.lower().endswith((".html", ".htm"))):
        raise click.UsageError("--output draws a plan as a page, FILE.html; --simulate has none.")
    registry = open_registry()
    if simulate:
        _simulate(registry, chosen, simulate, as_json)
        return
    if limit is None and not as_json and (output or sys.stdout.isatty()):
        limit = MOST if output else SHOWN
    plan = registry.select(
        chosen, apply=apply, new=new, details=limit, write_plan=write_plan, from_plan=from_plan
    )
    asked = _asked(policy, from_plan) + " --new" * new
    spoken = sys.stdout.isatty() and output is None
    if plan.marked is not None and not (spoken or as_json) and (line := _next(plan, asked)):
        note(line)  # before anything that can fail: it has happened
    drawn = None if output is None else _draw(registry, plan, chosen, from_plan, output, asked)
    if as_json:
        emit(plan)
    elif drawn is not None:
        click.echo(drawn)
    elif spoken:
        say(plan, asked)
    else:
        table((), _rows(plan.proposals))
    if not (spoken or as_json):
        for line in _about_policy(plan):
            note(line)
    if write_plan and not as_json:
        note(
            f"the plan is in {write_plan}. `lineage select --from-plan {shlex.quote(write_plan)} "
            "--apply` marks exactly these."
        )


def _asked(policy: str, from_plan: str | None) -> str:
    """The options that make the same plan again."""
    if from_plan is not None:
        return f" --from-plan {shown(shlex.quote(from_plan))}"
    return "" if policy == "frontier" else f" --policy {shown(shlex.quote(policy))}"


def _draw(
    registry: Registry, plan: Plan, policy: Policy, from_plan: str | None, output: str, asked: str
) -> str:
    """Write the plan as a page; its path."""
    from lineage.cli.drawing import write
    from lineage.selection import planfile
    from lineage.selection import policy as policies
    from lineage.trees import plan as page

    if from_plan is not None:
        policy, _ = planfile.read(from_plan)
    drawn = page.render(
        plan,
        sentences=policies.describe(policy),
        fronts=[registry.niche(niche, policy) for niche in page.pictured(plan)],
        registry=str(registry.database.address),
        made=datetime.now(UTC),
        asked=asked,
    )
    return write(output, drawn)


def _describe(policy: Policy, as_json: bool) -> None:
    from lineage.selection import policy as policies

    told = policies.describe(policy)
    if as_json:
        emit({"policy": policy, "sentences": told})
        return
    click.echo(styled(shown(policy.name), bold=True))
    for sentence in told:
        click.echo(paragraph(shown(sentence)))


def _simulate(
    registry: Registry, policy: Policy, settings: Sequence[str], as_json: bool
) -> None:
    """What would be proposed with other settings, and is not now; and the other way round."""
    from lineage.selection.policy import changed

    other = policy
    for setting in settings:
        other = changed(other, setting)
    plans = [registry.select(one) for one in (policy, other)]
    now, then = ({one.organism.id: one.organism for one in plan.proposals} for plan in plans)
    more = [one for own, one in then.items() if own not in now]
    less = [one for own, one in now.items() if own not in then]
    if as_json:
        emit({"now": plans[0].frees, "then": plans[1].frees, "more": more, "less": less,
              "budget": plans[1].budget})  # fmt: skip
        return
    lines = [f"With {', '.join(settings)}: {len(then):,} would be proposed; now {len(now):,}."]
    lines += [f"Proposed then, not now: {_listed(more, most=20)}."] if more else []
    lines += [f"Proposed now, not then: {_listed(less, most=20)}."] if less else []
    for word, plan in (("Now", plans[0]), ("Then", plans[1])):
        if freed := _freed(plan):
            lines.append(f"{word} they would free {freed}.")
        lines += [f"{word}: {line[0].lower()}{line[1:]}" for line in _budget(plan)]
    if (other.price or other.carbon is not None) and plans[1].frees.joules is None:
        lines.append(
            "A price or a carbon intensity counts where traffic is known: "
            '--simulate "traffic=2e9 tokens/month", or a tag `traffic`.'
        )
    for line in lines:
        click.echo(paragraph(shown(line)))


def say(plan: Plan, asked: str = "") -> None:
    """Tell a plan to people. `asked` are the options that it was made with, ` --policy storage`."""
    from lineage.trees.plan import headline

    click.echo(headline(plan))
    if plan.proposals:
        click.echo()
        _proposed(plan.proposals)
        if plan.proposed > len(plan.proposals):
            click.echo(f"… and {plan.proposed - len(plan.proposals):,} more: --limit shows them.")
    parts = (_about_policy, _frees, _budget, _kept, _unknown, _revivals)
    lines = [*(line for part in parts for line in part(plan)), _next(plan, asked)]
    if any(lines):
        click.echo()
    for line in filter(None, lines):
        click.echo(paragraph(line))


def _proposed(proposals: Sequence[Proposal]) -> None:
    """A heading an organism, as people know it: its name is never cut. Below it a line a niche, or
    two where one is too narrow for the names."""
    blocks = [(one, [[shown(cell) for cell in row[1:5]] for row in _rows([one])])
              for one in proposals if one.reasons]  # fmt: skip
    every = [row for _, rows in blocks for row in rows]
    widths = [max((width(row[at]) for row in every), default=0) for at in range(4)]
    room = shutil.get_terminal_size().columns
    narrow = sum(widths) + len("  ") * 4 + len("beaten by ") > room
    for one in proposals:
        name, about = shown(str(one.organism)), _about(one)
        click.echo(f"{styled(name, bold=True)}{styled(fit(about, room - width(name)), dim=True)}")
        for row in _rows([one]) if one.reasons else ():
            niche, own, by, its = (shown(cell) for cell in row[1:5])
            line = f"  {pad(niche, widths[0])}  {pad(own, widths[1], right=True)}"
            if by and narrow:
                line += f"\n    beaten by {by}  {its}"
            elif by:
                line += f"  beaten by {pad(by, widths[2])}  {pad(its, widths[3], right=True)}"
            click.echo(line)


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
    rules = {"unkept": "kept by nothing", "budget": "for the budget"}
    told.insert(0, rules.get(one.rule, ""))
    known = [shown(part) for part in told if part]
    return f"  {', '.join(known)}" if known else ""


def _saves(one: Proposal) -> str:
    """What serving is cheaper by with any of those that dominate it, in its first unit."""
    reasons = [reason for reason in one.reasons if reason.by_joules is not None]
    if not reasons or one.rule != "dominated" or reasons[0].per == "byte":
        return ""
    unit = reasons[0].per
    least = min(
        (r for r in reasons if r.per == unit), key=lambda r: r.joules - (r.by_joules or 0.0)
    )
    saved = least.joules - (least.by_joules or 0.0)
    how = "estimated" if "estimated" in (least.source, least.by_source) else None
    return f"saves {rate(saved, unit, how)}" if saved else ""


def _rows(proposals: Iterable[Proposal]) -> Iterator[tuple[Any, ...]]:
    from lineage.trees.words import scored

    for one in proposals:
        for reason in one.reasons:
            own = scored(reason.value, reason.stderr, reason.n)
            mine = (str(one.organism), str(reason.niche), own)
            if one.rule != "dominated" or reason.by is None or reason.by_joules is None:
                yield (*mine, "", "", "")
                continue
            yield (
                *mine,
                str(reason.by),
                scored(reason.by_value, reason.by_stderr, reason.by_n),
                per(saved, reason.per) if (saved := reason.joules - reason.by_joules) else "",
            )
        if not one.reasons:
            yield (str(one.organism), "", "", "", "", "")


def _kept(plan: Plan) -> Iterator[str]:
    from lineage.trees.plan import GUARDS, unkept

    by_guard: dict[str, list[Organism]] = {}
    for one in plan.kept:
        by_guard.setdefault(one.guard, []).append(one.organism)
    if by_guard:
        parts = [f"{_listed(known)} ({GUARDS[guard]})" for guard, known in by_guard.items()]
        more = plan.kept_count - len(plan.kept)
        kept = "Kept" if unkept(plan) else "Kept though beaten"
        yield f"{kept}: {'; '.join(parts)}{f'; and {more:,} more' if more else ''}."
    if plan.contested:
        yield (
            f"Contested, and kept: {plan.contested:,} whom only organisms dominate that are "
            "dominated themselves."
        )


def _about_policy(plan: Plan) -> Iterator[str]:
    from lineage.trees.plan import idle, news

    yield from filter(None, (news(plan), shown(idle(plan))))


def _frees(plan: Plan) -> Iterator[str]:
    """What the plan rests on, and what it would free."""
    if not plan.proposed:
        return
    if plan.exact:
        whom = "all" if plan.exact == plan.proposed else f"{plan.exact:,}"
        yield (
            f"Of {whom} of them a score has no known error, and its value is taken as exact: "
            "`lineage score` takes --stderr or --n."
        )
    from lineage.trees.plan import estimated

    if estimates := estimated(plan):
        whom = "all" if estimates == len(plan.proposals) else f"{estimates:,}"
        listed = "" if len(plan.proposals) == plan.proposed else " that are listed"
        yield (
            f"Costs of serving are estimates for {whom} of those{listed}; `lineage meter` records "
            "what was measured."
        )
    if freed := _freed(plan):
        yield f"They would free {freed}."


def _freed(plan: Plan) -> str:
    """What a plan frees, in words; empty where nothing is known."""
    from lineage.trees.plan import money

    freed = plan.frees
    parts = [
        f"{size(freed.bytes)} of genomes" if freed.bytes else "",
        f"{energy_text(freed.joules)} a month" if freed.joules else "",
        f"{money(freed.money, freed.currency)} a month" if freed.money else "",
        f"{freed.gco2e / 1000:,.3g} kg of CO2e a month" if freed.gco2e else "",
    ]
    return ", ".join(filter(None, parts))


def _budget(plan: Plan) -> Iterator[str]:
    if plan.budget is None:
        return
    from lineage.selection.policy import Budget, amount

    spent = plan.budget
    limit, before, after = (
        amount(Budget(one, spent.unit)) for one in (spent.limit, spent.before, spent.after)
    )
    yield f"Of a budget of {limit}, the living use {before}; {after} would be left."
    if not spent.met:
        yield "The budget cannot be met without what is guarded, kept or out of scope."
    if spent.unknown:
        yield f"What {spent.unknown:,} of them use is not known: they count as nothing."


def _revivals(plan: Plan) -> Iterator[str]:
    if plan.revivable and plan.revived is None:
        verb = "is" if plan.revivable == 1 else "are"
        yield (
            f"Selected against, and obsolete no more: {_listed(list(plan.revivals))}. "
            f"{plan.revivable:,} {verb} to be revived with --apply."
        )


def _unknown(plan: Plan) -> Iterator[str]:
    from lineage.trees.plan import missing

    counts = {"score": plan.unscored, "cost": plan.uncosted}
    parts = []
    for what, count in counts.items():
        if count:
            named = [one.organism for one in plan.unknown if one.missing == what]
            parts.append(f"{count:,} with {missing(what, plan.cost)} ({_listed(named, count)})")
    if parts:
        yield f"Cannot be judged, so never marked: {'; '.join(parts)}."


def _listed(known: list[Organism], count: int | None = None, most: int = 5) -> str:
    names = [shown(str(one)) for one in known[:most]]
    return ", ".join(names) + (", …" if (count or len(known)) > len(names) else "")


def _next(plan: Plan, asked: str) -> str:
    if plan.marked is not None:
        back = f"Revived {plan.revived:,}." if plan.revived else ""
        if not plan.marked:
            return back
        return (
            f"Marked {plan.marked:,} as selected against. {back}{' ' * bool(back)}"
            f"`lineage revive NAME` takes one back, `lineage revive --run {plan.run}` all of them."
        )
    if not plan.proposed:
        return ""
    name = shown(str(plan.proposals[0].organism)) if plan.proposals else "NAME"
    return (
        f"Nothing is changed, and no file is touched. `lineage select{asked} --apply` marks them; "
        f"`lineage explain {name}{asked * asked.startswith(' --policy')}` tells more."
    )


@click.command()
@click.argument("ref")
@click.option(
    "--policy", default="frontier", metavar="NAME|FILE[:NAME]", help="Judged by this policy."
)
@json_option
@registry_options
def explain(ref: str, policy: str, as_json: bool) -> None:
    """Say why an organism lives, or is selected against, niche by niche."""
    from lineage.selection.policy import load

    chosen = load(policy)
    found = open_registry().explain(ref, chosen)
    if as_json:
        emit(found)
        return
    asked = _asked(policy, None)
    by_fronts = _by_fronts(chosen)
    told = _verdict(found, asked if by_fronts else None, chosen.cost)
    click.echo(styled(paragraph(told), bold=True))
    if found.standings:
        rows = [_standing(one) for one in found.standings]
        if sys.stdout.isatty():
            _standings(rows)
        else:
            table((), rows)
    for line in _remarks(found):
        click.echo(paragraph(line))
    if not by_fronts:
        click.echo(paragraph(
            f"This policy goes by more than fronts: `lineage select{asked}` has whom it proposes."
        ))  # fmt: skip


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
            lines = wrapped(verdict, room - 6)
            click.echo("\n      ".join([line.rstrip(), *lines]))


def _by_fronts(policy: Policy) -> bool:
    """Whether fronts and guards alone decide whom a policy proposes."""
    more = (
        policy.keep_best, policy.keep_last, policy.keep_every, policy.keep_within,
        policy.keep_founders, policy.budget, policy.protect, *astuple(policy.scope),
    )  # fmt: skip
    return policy.retire == "dominated" and not any(more)


def _verdict(found: Explanation, asked: str | None, cost: str) -> str:
    from lineage.trees.plan import missing

    name = shown(str(found.organism))
    if found.organism.ghost:
        return f"{name} is a ghost: it was named as a parent, and never registered."
    if found.organism.status == "culled":
        return f"{name} is culled: its files are gone, the record stays."
    if found.missing:
        state = found.organism.status.replace("_", " ")
        return f"{name} is {state}, and cannot be judged: {missing(found.missing, cost)}."
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
    proposed = "" if asked is None else f": `lineage select{asked}` proposes it"
    return f"{name} is alive, but {where}{proposed}."


def _niches_of(found: Explanation, verdict: str) -> list[str]:
    return list(dict.fromkeys(
        shown(str(one.niche)) for one in found.standings if one.verdict == verdict
    ))  # fmt: skip


def _standing(one: Reason) -> tuple[str, ...]:
    from lineage.trees.words import scored

    written = scored(one.value, one.stderr, one.n)
    mine = (str(one.niche), written, rate(one.joules, one.per, one.source))
    if one.by is None:
        return (*mine, "on the front" if one.verdict == "front" else one.verdict)
    assert one.by_joules is not None
    power = rate(one.by_joules, one.per, one.by_source)
    by = scored(one.by_value, one.by_stderr, one.by_n)
    return (*mine, f"dominated by {one.by}, {by} at {power}")


def _remarks(found: Explanation) -> Iterator[str]:
    from lineage.trees.plan import RULES
    from lineage.trees.words import scored

    legend = [
        f"{way} is better in {', '.join(niches)}"
        for way in ("higher", "lower")
        if (niches := sorted({shown(str(o.niche)) for o in found.standings if o.direction == way}))
    ]
    if any("estimated" in (one.source, one.by_source) for one in found.standings):
        legend.append("~ estimated")
    if legend:
        yield f"{'; '.join(legend)}."
    for rival in found.closest:
        written = scored(rival.value, rival.stderr, rival.n)
        power = rate(rival.joules, rival.per, rival.source)
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
        verb = "Culled" if found.mark.kind == "culled" else "Marked"
        policy, rule = (str(found.mark.body.get(key, "")) for key in ("policy", "rule"))
        why = f", by policy {shown(policy)}" if policy not in ("", "frontier") else ""
        why += f", {RULES[rule]}" if rule in RULES else ""
        yield (
            f"{verb} {found.mark.at:%Y-%m-%d %H:%M} UTC by {shown(who)} "
            f"with `{shown(found.mark.command)}`{why}. "
            f"`lineage log {shown(str(found.organism))}` has the numbers of that day."
        )


@click.command()
@click.argument("ref", required=False)
@click.option("--run", metavar="ID", help="All marks of one `select --apply`, as it told.")
@click.option("--reason", default="", help="Why; kept in the history.")
@registry_options
def revive(ref: str | None, run: str | None, reason: str) -> None:
    """Take a mark of selection back, or all marks of one run."""
    if (ref is None) == (run is None):
        raise click.UsageError("which marks? Give an organism, or --run with an id, one of them.")
    registry = open_registry()
    if run is not None:
        count = registry.revive_run(run, reason)
        click.echo(f"{count:,} {'is' if count == 1 else 'are'} alive again.")
        return
    before = registry.get(ref)
    after = registry.revive(before, reason)
    state = "was alive already" if before.status == "alive" else "is alive again"
    click.echo(f"{shown(str(after))} {state}.")
    if any(one.place.quarantine for one in registry.whereabouts(after).seen):
        note(f"its files are in quarantine: `lineage restore {after}` puts them back.")


@click.command()
@click.argument("ref")
@click.option(
    "--until", required=True, metavar="TIME", help="7d (or 12h, 45min, 2w) from now, or a date."
)
@click.option("--holder", metavar="NAME", help="Who uses it. By default you.")
@registry_options
def lease(ref: str, until: str, holder: str | None) -> None:
    """Say that an organism is in use until a time: it is not selected before.

    A holder's new lease replaces the old one.
    """
    from lineage.references import this_user

    end = _end(until)
    registry = open_registry()
    who = holder or this_user()
    organism = registry.lease(ref, end, who)
    click.echo(f"{shown(str(organism))} is leased to {shown(who)} until {end:%Y-%m-%d %H:%M} UTC.")


@click.command()
@click.argument("ref")
@click.option("--holder", metavar="NAME", help="Who used it. By default you.")
@registry_options
def release(ref: str, holder: str | None) -> None:
    """End a lease before its time."""
    from lineage.references import this_user

    who = holder or this_user()
    organism = open_registry().release(ref, who)
    click.echo(f"{shown(str(organism))} is not leased to {shown(who)} any more.")


def _end(until: str) -> datetime:
    """A time from now, or a date."""
    from lineage.organism import utc
    from lineage.selection.policy import seconds

    try:
        return datetime.now(UTC) + timedelta(seconds=seconds(until))
    except InvalidValue:
        pass
    except OverflowError:
        raise InvalidValue(f"--until {until!r} is too far away.") from None
    try:
        return utc(until)
    except InvalidValue:
        raise InvalidValue(
            f"--until {until!r} is no time. Write 45min, 12h, 30d or 2w, or a date like 2026-12-24."
        ) from None
