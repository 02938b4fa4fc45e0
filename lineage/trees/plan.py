"""A selection plan as a page: who is proposed, by which rule, beaten by whom, with both numbers and
their errors, what that frees, who stays and who cannot be judged. One file that asks no host for
anything and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from lineage.organism import Niche, Organism
from lineage.selection.front import DOMINATED
from lineage.selection.niches import Competition
from lineage.selection.plan import UNKEPT, Plan, Proposal, Reason
from lineage.selection.policy import Budget, amount
from lineage.shown import counted, joules, rate, shown, si, size
from lineage.trees import colours, niche
from lineage.trees.pages import digest, fill
from lineage.trees.words import scored

PICTURES = 6
STRIP = 150, 18
"""Pixels of the small picture of two scores."""

GUARDS = {
    "protected": "protected",
    "aliased": "holding an alias that the policy spares",
    "leased": "leased",
    "load-bearing": "needed by others to run",
    "young": "too young to judge",
    "founder": "the only founder of a living clade",
    "listed": "protected by the policy",
    "best": "among the best",
    "last": "among the last of a run",
    "every": "one of the steps that are kept",
    "within": "made lately",
}
MISSING = "no score that counts, in a niche with a known direction"
COSTS = {"joules": "no cost of serving", "bytes": "no known size"}
RULES = {"unkept": "kept by nothing", "budget": "for the budget"}
VERDICTS = {"front": "on the front", "contested": "contested"}


def headline(plan: Plan) -> str:
    """What a plan comes to, in a sentence."""
    if plan.since and not plan.living:
        return f"Nothing is new since {plan.since:%Y-%m-%d %H:%M} UTC."
    if not plan.living:
        return "There is no living organism to judge. `lineage register` adds one."
    if not plan.proposed:
        among = f"{plan.living:,} living organism{'s' * (plan.living != 1)}"
        if not plan.front:
            return f"Nothing to mark among {among}."
        return f"Nothing to mark: {plan.front:,} of {among} {_justify(plan.front, plan.cost)}."
    if unkept(plan):
        verb = "is" if plan.proposed == 1 else "are"
        return f"{plan.proposed:,} of {plan.living:,} living organisms {verb} kept by nothing."
    verb = _justify(plan.proposed, plan.cost)
    return f"{plan.proposed:,} of {plan.living:,} living organisms no longer {verb}."


def missing(what: str, cost: str) -> str:
    """What is missing to judge an organism, of `Unknown.missing`, in words."""
    return COSTS[cost] if what == "cost" else MISSING


def idle(plan: Plan) -> str:
    """What the policy names that nothing fits, as a sentence; else empty."""
    return f"Nothing here fits what the policy says: {', '.join(plan.idle)}." if plan.idle else ""


def news(plan: Plan) -> str:
    """Of a plan of what is new: what it was about; else empty."""
    if not plan.since or not plan.living:
        return ""
    return (
        f"Judged: {counted(len(plan.niches), 'niche')} with news since "
        f"{plan.since:%Y-%m-%d %H:%M} UTC, when the policy was applied last."
    )


def unkept(plan: Plan) -> bool:
    """Whether a plan is of a policy that proposes whatever it does not keep."""
    return any(one.rule == UNKEPT for one in plan.proposals)


def estimated(plan: Plan) -> int:
    """How many proposals that are listed rest on costs that are estimates."""
    return sum(
        one.rule == DOMINATED and any("estimated" in (r.source, r.by_source) for r in one.reasons)
        for one in plan.proposals
    )


def _justify(count: int, cost: str) -> str:
    if cost == "bytes":
        return "justifies the room it takes" if count == 1 else "justify the room they take"
    return "justifies its power bill" if count == 1 else "justify their power bill"


def pictured(plan: Plan) -> list[Niche]:
    """The niches to draw: those in which most of the proposed were judged."""
    among = [reason.niche for one in plan.proposals for reason in one.reasons]
    return sorted(dict.fromkeys(among), key=lambda one: -among.count(one))[:PICTURES]


def render(
    plan: Plan,
    *,
    sentences: Sequence[str],
    fronts: Sequence[Competition],
    registry: str,
    made: datetime,
    asked: str = "",
) -> str:
    """The page, as text to be written in UTF-8. `sentences` say what the policy does; `fronts` are
    drawn; `asked` are the options that the plan was made with, ` --policy storage`."""
    style = f"{colours.palette()}\n{files('lineage.viz').joinpath('plan.css').read_text('utf-8')}"
    return fill(
        "plan.html",
        title="Selection plan",
        policy=f"default-src 'none'; style-src {digest(style)} {digest(niche.style())}; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        style=style,
        plan=plan,
        name=shown(plan.policy),
        headline=headline(plan),
        state=_state(plan),
        registry=shown(registry),
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        tiles=list(_tiles(plan)),
        budget=_budget(plan),
        notes=list(_notes(plan)),
        sentences=[shown(one) for one in sentences],
        proposed=list(_proposed(plan)),
        pictures=[Markup(niche.svg(one)) for one in fronts],
        lists=list(_lists(plan)),
        next=_next(plan, asked),
    )


# ---- Sums


def _state(plan: Plan) -> str:
    if plan.marked is None:
        return "A proposal: nothing is changed, and no file is touched."
    back = f", {plan.revived:,} revived" if plan.revived else ""
    return f"Applied: {plan.marked:,} marked as selected against{back}; no file is touched."


def _tiles(plan: Plan) -> Iterator[tuple[str, str]]:
    """The sums that are known, each with what it is of."""
    freed = plan.frees
    if freed.bytes is not None:
        yield size(freed.bytes), "of genomes"
    if freed.joules is not None:
        yield energy(freed.joules), "of serving a month"
    if freed.money is not None:
        yield money(freed.money, freed.currency), "a month"
    if freed.gco2e is not None:
        yield si(freed.gco2e, "g"), "of CO2e a month"


def energy(amount: float) -> str:
    """Joules of a month: in kWh, as bills have them, where they are many."""
    kwh = amount / 3.6e6
    return f"{kwh:,.3g} kWh" if 0.01 <= kwh < 1000 else joules(amount)


def money(amount: float, currency: str | None) -> str:
    """`22.61 EUR`; what is not zero is never written as zero."""
    written = f"{amount:,.2f}" if amount >= 0.005 or not amount else f"{amount:.2g}"
    return f"{written} {currency or ''}".rstrip()


def _budget(plan: Plan) -> dict[str, Any] | None:
    if plan.budget is None:
        return None
    spent = plan.budget
    limit, before, after = (
        amount(Budget(one, spent.unit)) for one in (spent.limit, spent.before, spent.after)
    )
    met = "" if spent.met else ", which cannot be met without what is guarded, kept or out of scope"
    whole = max(spent.limit, spent.before) or 1.0
    return {
        "told": f"Of a budget of {limit}{met}, the living use {before}; {after} would be left.",
        "limit": round(99.65 * spent.limit / whole, 2),
        "before": round(100 * spent.before / whole, 2),
        "after": round(100 * spent.after / whole, 2),
    }


def _notes(plan: Plan) -> Iterator[str]:
    """What the plan rests on."""
    yield from filter(None, (news(plan), idle(plan)))
    if not plan.proposed:
        return
    if plan.frees.joules is None:
        yield (
            "Joules and money a month are not known: neither the policy nor a tag states traffic."
        )
    if plan.exact:
        whom = "all" if plan.exact == plan.proposed else f"{plan.exact:,}"
        yield f"Of {whom} of them a score has no known error, and its value is taken as exact."
    if estimates := estimated(plan):
        whom = "all" if estimates == len(plan.proposals) else f"{estimates:,}"
        yield f"Costs of serving are estimates (~) for {whom} of those that are listed."
    if plan.budget and plan.budget.unknown:
        yield f"What {plan.budget.unknown:,} of the living use is not known: they count as nothing."


# ---- Who goes


def _proposed(plan: Plan) -> Iterator[dict[str, Any]]:
    scales = _scales(plan.proposals)
    for one in plan.proposals:
        yield {
            "name": shown(str(one.organism)),
            "rule": RULES.get(one.rule, ""),
            "about": [shown(part) for part in _about(one)],
            "frees": _frees(one),
            "reasons": [_told(reason, scales[reason.niche]) for reason in one.reasons],
        }


def _about(one: Proposal) -> Iterator[str]:
    organism = one.organism
    if organism.run:
        yield f"run {organism.run}"
    if organism.step is not None:
        yield f"step {organism.step:,}"
    if one.children:
        yield counted(one.children, "living child", "living children")
    if one.place:
        yield one.place


def _frees(one: Proposal) -> str:
    freed = one.frees
    parts = [
        size(freed.bytes) if freed.bytes is not None else "",
        f"{energy(freed.joules)} a month" if freed.joules else "",
        f"{money(freed.money, freed.currency)} a month" if freed.money else "",
    ]
    known = ", ".join(filter(None, parts))
    return f"frees {known}" if known else ""


def _told(reason: Reason, scale: tuple[float, float]) -> dict[str, Any]:
    told = {
        "niche": shown(str(reason.niche)),
        "direction": reason.direction,
        "value": scored(reason.value, reason.stderr, reason.n),
        "cost": rate(reason.joules, reason.per, reason.source),
        "strip": _strip(reason, scale),
        "by": "",
        "verdict": VERDICTS.get(reason.verdict, reason.verdict),
    }
    if reason.by is not None and reason.by_value is not None and reason.by_joules is not None:
        told |= {
            "by": shown(str(reason.by)),
            "by_value": scored(reason.by_value, reason.by_stderr, reason.by_n),
            "by_cost": rate(reason.by_joules, reason.per, reason.by_source),
        }
    return told


def _points(reason: Reason) -> list[tuple[str, float, float]]:
    found = [("own", reason.value, reason.stderr or 0.0)]
    if reason.by_value is not None:
        found.append(("by", reason.by_value, reason.by_stderr or 0.0))
    return found


def _scales(proposals: Sequence[Proposal]) -> dict[Niche, tuple[float, float]]:
    """The lowest and the highest end of a bar in each niche: all strips of a niche compare."""
    found: dict[Niche, tuple[float, float]] = {}
    for reason in (reason for one in proposals for reason in one.reasons):
        ends = [value + sign * error for _, value, error in _points(reason) for sign in (-1, 1)]
        low, high = found.get(reason.niche, (ends[0], ends[0]))
        found[reason.niche] = min(low, *ends), max(high, *ends)
    return found


def _strip(reason: Reason, scale: tuple[float, float]) -> Markup:
    """Both scores on a line, the better to the right."""
    wide, high = STRIP
    middle = high / 2
    low, top = scale if reason.direction == "higher" else (scale[1], scale[0])

    def x(value: float) -> float:
        return 6 + (wide - 12) * ((value - low) / (top - low) if top != low else 0.5)

    drawn = [f'<line x1="0" x2="{wide}" y1="{middle}" y2="{middle}"/>']
    for kind, value, error in _points(reason):
        if error:
            drawn.append(
                f'<line class="{kind}" x1="{x(value - error):.1f}" x2="{x(value + error):.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
        drawn.append(f'<circle class="{kind}" cx="{x(value):.1f}" cy="{middle}" r="4"/>')
    return Markup(
        f'<svg viewBox="0 0 {wide} {high}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(drawn)}</svg>"
    )


# ---- Who stays


Group = tuple[str, int, list[str]]
"""Why, how many, and the names of the first of them."""


def _lists(plan: Plan) -> Iterator[tuple[str, int, list[Group]]]:
    """Those that are not proposed, apart: what they are called, how many they are, and in groups
    why, and who."""
    if plan.kept:
        yield "Kept" if unkept(plan) else "Kept though beaten", plan.kept_count, list(_kept(plan))
    if plan.contested:
        why = "Only organisms dominate them that are dominated themselves."
        yield "Contested, and kept", plan.contested, [(why, plan.contested, _names(plan.disputed))]
    unknown = [
        (f"There is {missing(what, plan.cost)}.", count,
         _names([one.organism for one in plan.unknown if one.missing == what]))
        for what, count in (("score", plan.unscored), ("cost", plan.uncosted)) if count
    ]  # fmt: skip
    if unknown:
        yield "Cannot be judged, and kept", plan.unscored + plan.uncosted, unknown
    if plan.revivable and plan.revived is None:
        why = "They are selected against, and obsolete no more."
        yield "To be revived", plan.revivable, [(why, plan.revivable, _names(plan.revivals))]


def _kept(plan: Plan) -> Iterator[Group]:
    by_guard: dict[str, list[Organism]] = {}
    for one in plan.kept:
        by_guard.setdefault(one.guard, []).append(one.organism)
    for guard, known in by_guard.items():
        yield f"{GUARDS[guard].capitalize()}.", len(known), _names(known)
    if more := plan.kept_count - len(plan.kept):
        yield f"And {more:,} more, for these reasons or others.", 0, []


def _names(known: Sequence[Organism]) -> list[str]:
    return [shown(str(one)) for one in known]


def _next(plan: Plan, asked: str) -> str:
    if plan.marked is not None:
        return f"lineage revive --run {plan.run} takes all of it back; lineage revive NAME, one."
    if not plan.proposed:
        return ""
    return (
        f"lineage select{asked} --apply marks them; lineage explain NAME tells more of one. Files "
        "move only with lineage cull, later."
    )
