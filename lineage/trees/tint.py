"""What the shapes of a picture are coloured by: fitness in the niche that is shown, power,
relation, status, licence, age or a tag. A column or a sign says the same without the colour."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lineage.errors import InvalidValue
from lineage.shown import shown
from lineage.trees import words
from lineage.trees.colours import STEPS
from lineage.trees.family import Family, Member
from lineage.trees.heat import Heat
from lineage.trees.layout import Layout
from lineage.trees.paint import KINDS

TINTS = ("fitness", "power", "relation", "status", "licence", "age")
"""And `tag:KEY`."""


@dataclass(frozen=True, slots=True)
class Tint:
    """`kind` has the class of a shape (`n0` worst to `n23` best, or `k0` ...) by organism, and
    nobody who is not coloured. `said` are the words of a column of its own headed `head`, where no
    other column says them. The legend: `ends`, what the scale goes from and to; or `kinds`, each
    class with its word."""

    by: str
    kind: Mapping[int, str]
    head: str = ""
    said: Mapping[int, str] = field(default_factory=dict)
    ends: tuple[str, str] | None = None
    kinds: tuple[tuple[str, str], ...] = ()

    def of(self, ids: Sequence[int]) -> str | None:
        """The class of several: the highest on the scale, or the most common."""
        found = [self.kind[own] for own in ids if own in self.kind]
        if not found:
            return None
        if self.ends is not None or self.by == "fitness":
            return max(found, key=lambda one: int(one[1:]))
        return Counter(found).most_common(1)[0][0]

    def words(self, ids: Sequence[int]) -> str:
        """What the column says of several."""
        found = list(dict.fromkeys(self.said[own] for own in ids if own in self.said))
        return found[0] if len(found) == 1 else f"{len(found)} of them" if found else ""


def tint(family: Family, layout: Layout, heats: Sequence[Heat], by: str) -> Tint:
    """The colours `by` one of TINTS, or a tag. Raises InvalidValue where nothing of it is known."""
    if by == "fitness":
        return Tint(by, _fitness(family, heats[0]) if heats else {})
    if by == "power":
        return _power(family)
    if by == "age":
        return _age(family)
    word = {own: _word(member, layout, by) for own, member in family.members.items()}
    known = {own: shown(one) for own, one in word.items() if one is not None}
    if not known:
        raise _unknown(by)
    return _kinds(family, by, known)


def _fitness(family: Family, one: Heat) -> dict[int, str]:
    found = {}
    for own, member in family.members.items():
        score = member.score_in(one.niche)
        if score is not None and words.status(member.organism) == "alive":
            good = one.good(score.value)
            if good is not None:
                found[own] = _step(good)
    return found


def _step(part: float) -> str:
    return f"n{int(part * (STEPS - 1) + 0.5)}"


def _power(family: Family) -> Tint:
    """On a logarithmic scale, of the unit that most are known in."""
    costs = {own: member.serving for own, member in family.members.items()}
    units = Counter(cost.per for cost in costs.values() if cost and cost.joules)
    if not units:
        raise _unknown("power")
    per = units.most_common(1)[0][0]
    known = {
        own: math.log(cost.joules) for own, cost in costs.items()
        if cost is not None and cost.per == per and cost.joules
    }  # fmt: skip
    return Tint("power", _scaled(family, known), ends=("less power", "more"))


def _age(family: Family) -> Tint:
    """When each was made, else registered; what is all of one day by the clock."""
    times = {own: _born(member) for own, member in family.members.items()}
    known = {own: at for own, at in times.items() if at is not None}
    if not known:
        raise _unknown("age")
    one_day = len({at.date() for at in known.values()}) == 1
    said = {own: f"{at:%H:%M:%S}" if one_day else f"{at:%Y-%m-%d}" for own, at in known.items()}
    ends = (f"older {min(said.values())}", f"{max(said.values())} newer")
    scaled = _scaled(family, {own: at.timestamp() for own, at in known.items()})
    return Tint("age", scaled, "made", said, ends)


def _born(member: Member) -> datetime | None:
    return member.organism.created or member.organism.registered


def _scaled(family: Family, known: Mapping[int, float]) -> dict[int, str]:
    low, high = min(known.values()), max(known.values())
    return {
        own: _step((one - low) / (high - low) if high > low else 1.0)
        for own, one in known.items()
        if _coloured(family.members[own])
    }


def _coloured(member: Member) -> bool:
    """Who is selected against keeps its cross, which no colour may cover."""
    return words.status(member.organism) != "selected against"


def _word(member: Member, layout: Layout, by: str) -> str | None:
    if by == "relation":
        return words.origin(member.organism, layout.main.get(member.organism.id))
    if by == "status":
        return words.status(member.organism)
    if by == "licence":
        return member.organism.licence
    return dict(member.tags).get(by.removeprefix("tag:"))


def _kinds(family: Family, by: str, known: Mapping[int, str]) -> Tint:
    """The commonest have a colour of their own, and the others one together."""
    coloured = {own for own in known if _coloured(family.members[own])}
    counts = Counter(known[own] for own in coloured)
    common = sorted(counts, key=lambda one: (-counts[one], one))
    last = len(KINDS) - 1
    place = {one: min(at, last) for at, one in enumerate(common)}
    legend = [(f"k{place[one]}", one) for one in common[:last]]
    if len(common) > last:
        legend.append((f"k{last}", "other"))
    kind = {own: f"k{place[known[own]]}" for own in sorted(coloured)}
    elsewhere = by in ("relation", "status")  # a column, a sign
    head = "" if elsewhere else shown(by.removeprefix("tag:"))
    return Tint(by, kind, head, {} if elsewhere else known, kinds=tuple(legend))


def _unknown(by: str) -> InvalidValue:
    what = f"tag {by.removeprefix('tag:')!r}" if by.startswith("tag:") else f"known {by}"
    return InvalidValue(
        f"no organism here has a {what}, so nothing can be coloured by it. Choose another --colour."
    )
