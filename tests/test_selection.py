"""Selection marks what another one beats everywhere, nothing else, and says why in true numbers.
Compared with the rule written out in Python, pair by pair, on families drawn at random."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lineage
from lineage import Parent, PowerCost, Score, database, energy, store
from lineage.registry import Registry
from lineage.selection import front

NICHES = {"a/acc": 1, "b/loss": -1, "c/odd": 0}
"""Which way is better; of the last it is not known."""

JOULES = (2.0**-40, 2.0**-38, 2.0**-36)
"""Near what is estimated of PARAMETERS, and sums of them are exact."""

PARAMETERS = (1, 4)


@dataclass
class Checkpoint:
    """One organism of a random family. `needs` and `others` are positions of parents."""

    scores: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    source: str = "declared"
    parameters: int | None = None
    needs: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    here: bool = False
    protected: bool = False
    alias: str | None = None
    status: str = "alive"


Family = list[Checkpoint]


def member(draw: Any, position: int, chance: Any) -> Checkpoint:
    """A checkpoint whose every value `draw(options)` picks; few values, so that ties are common."""
    earlier = range(position)
    pick = [one for one in earlier if chance(0.25)]
    return Checkpoint(
        scores={niche: draw((0.0, 1.0, 2.0)) for niche in NICHES if chance(0.7)},
        costs={per: draw(JOULES) for per in ("token", "character") if chance(0.6)},
        source=draw(("measured", "declared", "estimated")),
        parameters=draw((None, *PARAMETERS)),
        needs=tuple(pick[:2]) if chance(0.5) else (),
        others=tuple(pick[2:]),
        here=chance(0.5),
        protected=chance(0.1),
        alias=draw(("production", "best")) if chance(0.2) else None,
        status=draw(("selected_against", "culled")) if chance(0.15) else "alive",
    )


@st.composite
def families(draw: Any) -> Family:
    def chance(share: float) -> bool:
        return draw(st.integers(0, 19)) < share * 20

    size = draw(st.integers(1, 8))
    return [member(lambda o: draw(st.sampled_from(o)), n, chance) for n in range(size)]


def seeded(seed: int, size: int) -> Family:
    chance = random.Random(seed)
    return [member(chance.choice, n, lambda share: chance.random() < share) for n in range(size)]


# The rule, written out


def own_costs(one: Checkpoint) -> dict[str, tuple[float, str]]:
    if one.costs:
        return {per: (joules, one.source) for per, joules in one.costs.items()}
    if one.parameters is None:
        return {}
    estimate = energy.serving_estimate(parameters=one.parameters)
    assert estimate.joules is not None
    return {"token": (estimate.joules, "estimated")}


def all_needs(family: Family, position: int) -> set[int]:
    needs: set[int] = set()
    queue = list(family[position].needs)
    while queue:
        base = queue.pop()
        if base not in needs:
            needs.add(base)
            queue += family[base].needs
    return needs


def costs(family: Family, position: int) -> dict[str, tuple[float, str]]:
    """By unit: joules with all that is needed to run, and how that is known."""
    total = {}
    bases = [own_costs(family[base]) for base in sorted(all_needs(family, position))]
    for per, (joules, source) in own_costs(family[position]).items():
        if not bases:
            total[per] = (joules, source)
        elif all(per in base for base in bases):
            sources = {source, *(base[per][1] for base in bases)}
            joules += sum(base[per][0] for base in bases)
            total[per] = (joules, "measured" if sources == {"measured"} else "estimated")
    return total


Key = tuple[str, str]
"""A niche and a unit of cost."""


def standings(family: Family, position: int) -> dict[Key, tuple[float, float]]:
    """Fit, higher being better, and joules."""
    return {
        (niche, per): (NICHES[niche] * value, joules)
        for niche, value in family[position].scores.items()
        if NICHES[niche]
        for per, (joules, _) in costs(family, position).items()
    }


def rivals(family: Family, position: int) -> dict[Key, set[int]]:
    """Who of the living beats one, in each of its niches and units."""
    found: dict[Key, set[int]] = {}
    for key, (fit, joules) in standings(family, position).items():
        found[key] = set()
        for other, one in enumerate(family):
            theirs = standings(family, other).get(key)
            if other == position or theirs is None or one.status != "alive":
                continue
            if family[position].here and not one.here:
                continue
            if theirs[0] >= fit and theirs[1] <= joules and theirs != (fit, joules):
                found[key].add(other)
    return found


def load_bearing(family: Family, position: int) -> bool:
    return any(
        position in all_needs(family, other)
        for other, one in enumerate(family)
        if one.status != "culled"
    )


def guard(family: Family, position: int) -> str:
    one = family[position]
    if one.protected:
        return "protected"
    if one.alias == "production":
        return "aliased"
    return "load-bearing" if load_bearing(family, position) else ""


def verdict(family: Family) -> dict[int, str]:
    """Who is beaten wherever it can be judged, with its guard."""
    beaten = {}
    for position, one in enumerate(family):
        found = rivals(family, position)
        if one.status == "alive" and found and all(found.values()):
            beaten[position] = guard(family, position)
    return beaten


# The same family in a registry


def grow(registry: Registry, family: Family, mark: str = "") -> None:
    """Register the family: `0`, `1`, ... with `mark` before each name and each task."""
    registry.register_many(
        {
            "name": f"{mark}{position}",
            "fitness": {mark + niche: value for niche, value in one.scores.items()},
            "power": [
                PowerCost(joules=joules, phase="serving", per=per, source=one.source)
                for per, joules in one.costs.items()
            ],
            "parameters": one.parameters,
            "parents": [
                *(Parent(f"{mark}{base}", "adapter") for base in one.needs),
                *(Parent(f"{mark}{base}", "finetune") for base in one.others),
            ],
            "place": f"/models/{mark}{position}" if one.here else None,
            "aliases": one.alias,
        }
        for position, one in enumerate(family)
    )
    for position, one in enumerate(family):
        if one.protected:
            registry.protect(f"{mark}{position}")
        if one.status != "alive":
            own = registry.get(f"{mark}{position}").id
            with registry.store.act() as act:
                store.mark(act, one.status, one.status, [(own, {})])


def sweep(registry: Registry, family: Family, mark: str = "") -> dict[int, str]:
    """What the sweep says of the family, by position."""
    position = {registry.get(f"{mark}{n}").id: n for n in range(len(family))}
    with registry.database.read() as connection:
        return {position[own]: why for own, why in front.sweep(connection)[1] if own in position}


def open_in(folder: str) -> Registry:
    return lineage.open(Path(folder) / "registry.db", durable=False)


relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(relaxed, max_examples=80)
@given(families())
def test_the_sweep_finds_who_is_beaten_everywhere_and_what_guards_it(family):
    with tempfile.TemporaryDirectory() as folder, open_in(folder) as registry:
        grow(registry, family)
        assert sweep(registry, family) == verdict(family)


def test_the_sweep_of_large_families_is_exact_on_both_databases(registry_url):
    marked = {f"family-{seed}-": seeded(seed, 40) for seed in range(3)}
    with lineage.open(registry_url) as registry:
        for mark, family in marked.items():
            grow(registry, family, mark)
        for mark, family in marked.items():
            assert sweep(registry, family, mark) == verdict(family)


@settings(relaxed, max_examples=40)
@given(families())
def test_explain_agrees_with_the_sweep_and_names_a_true_rival(family):
    with tempfile.TemporaryDirectory() as folder, open_in(folder) as registry:
        grow(registry, family)
        for position, one in enumerate(family):
            told = registry.explain(str(position))
            found = rivals(family, position)
            assert told.beaten == (bool(found) and all(found.values()))
            judged = {(f"{r.niche.task}/{r.niche.metric}", r.per) for r in told.standings}
            assert judged == set(found)
            for reason in told.standings:
                check_reason(family, position, reason, found)
            assert told.missing == missing(family, position)
            assert ("protected" in told.guards) == one.protected
            assert ("alias production" in told.guards) == (one.alias == "production")
            assert ("load-bearing" in told.guards) == load_bearing(family, position)


def check_reason(family: Family, position: int, reason: Any, found: dict[Key, set[int]]) -> None:
    """That a reason tells the numbers of both, and names one that beats."""
    niche = f"{reason.niche.task}/{reason.niche.metric}"
    joules, source = costs(family, position)[reason.per]
    assert reason.value == family[position].scores[niche]
    assert (reason.joules, reason.source) == (pytest.approx(joules, rel=1e-12), source)
    if reason.by is None:
        assert not found[niche, reason.per]
        return
    by = int(reason.by.name)
    assert by in found[niche, reason.per]
    joules, source = costs(family, by)[reason.per]
    assert reason.by_value == family[by].scores[niche]
    assert (reason.by_joules, reason.by_source) == (pytest.approx(joules, rel=1e-12), source)


def missing(family: Family, position: int) -> str:
    if not any(NICHES[niche] for niche in family[position].scores):
        return "score"
    return "" if standings(family, position) else "cost"


@settings(relaxed, max_examples=40)
@given(families())
def test_apply_marks_what_was_proposed_once_with_its_reasons_and_revive_undoes(family):
    with tempfile.TemporaryDirectory() as folder, open_in(folder) as registry:
        grow(registry, family)
        expected = verdict(family)
        proposed = {n for n, why in expected.items() if not why}
        dry = registry.select()
        assert {int(one.organism.name) for one in dry.proposals} == proposed
        assert {(int(one.organism.name), one.guard) for one in dry.kept} == {
            (n, why) for n, why in expected.items() if why
        }
        assert {(int(one.organism.name), one.missing) for one in dry.unknown} == {
            (n, missing(family, n))
            for n, one in enumerate(family)
            if one.status == "alive" and missing(family, n)
        }
        assert all(registry.get(str(n)).status == "alive" for n in proposed)

        assert registry.select(apply=True).marked == len(proposed)
        again = registry.select(apply=True)
        assert (again.proposed, again.marked) == (0, 0)
        reasons = {int(one.organism.name): one.reasons for one in dry.proposals}
        for n in proposed:
            assert registry.get(str(n)).status == "selected_against"
            event = registry.history(str(n))[-1]
            assert event.kind == "selected_against"
            assert event.body["reasons"] == [reason.body() for reason in reasons[n]]
            assert all("by" in reason for reason in event.body["reasons"])
            assert registry.explain(str(n)).mark == event

        for n in proposed:
            assert registry.revive(str(n), "needed after all").status == "alive"
            assert registry.history(str(n))[-1].body == {"reason": "needed after all"}
        assert sweep(registry, family) == expected


def family_of(registry: Registry, **scores_and_joules: tuple[float, float]) -> None:
    """Organisms by name, each with (accuracy, joules a token)."""
    for name, (value, joules) in scores_and_joules.items():
        power = PowerCost(joules=joules, phase="serving", per="token")
        registry.register(name=name, fitness={"x/acc": value}, power=power)


def proposed(registry: Registry) -> list[str]:
    return sorted(str(one.organism.name) for one in registry.select().proposals)


def test_the_latest_score_and_the_latest_cost_count(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        family_of(registry, good=(0.9, 1.0), bad=(0.1, 2.0))
        assert proposed(registry) == ["bad"]
        registry.score("bad", "x/acc", 0.95)
        assert proposed(registry) == []
        registry.meter("good", PowerCost(joules=3.0, phase="serving", per="token"))
        assert proposed(registry) == ["good"]


def test_only_serving_is_a_cost_and_only_like_units_are_compared(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        family_of(registry, good=(0.9, 1.0))
        for name, cost in {
            "trained": PowerCost(joules=1e9, phase="training"),
            "by-the-hour": PowerCost(joules=1e9, phase="serving", per="hour"),
            "in-all": PowerCost(joules=1e9, phase="serving"),
            "in-money": PowerCost(cost=1e9, currency="EUR", phase="serving", per="token"),
            "by-the-image": PowerCost(joules=1e9, phase="serving", per="image"),
        }.items():
            registry.register(name=name, fitness={"x/acc": 0.1}, power=cost)
        plan = registry.select()
    assert plan.proposed == 0
    unknown = {one.organism.name: one.missing for one in plan.unknown}
    assert unknown == dict.fromkeys(("trained", "by-the-hour", "in-all", "in-money"), "cost")


def test_an_adapter_on_an_unknown_base_has_no_cost(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        family_of(registry, good=(0.9, 1.0), adapter=(0.1, 5.0))
        registry.link("adapter", "nobody-knows", "adapter")
        plan = registry.select()
    assert plan.proposed == 0
    assert [(one.organism.name, one.missing) for one in plan.unknown] == [("adapter", "cost")]


def test_a_direction_that_is_declared_makes_a_metric_count(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        for name, value in {"slow": 9.0, "quick": 1.0}.items():
            power = PowerCost(joules=1.0, phase="serving", per="token")
            registry.register(name=name, fitness={"x/oddity": value}, power=power)
        assert proposed(registry) == []
        registry.score("slow", "x/oddity", 9.5, direction="lower")
        assert proposed(registry) == ["slow"]


def test_splits_of_a_task_are_niches_of_their_own(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        for name, value, split in (("a", 0.9, "test"), ("b", 0.1, "dev")):
            score = Score("x/acc", value, split=split)
            power = PowerCost(joules=1.0, phase="serving", per="token")
            registry.register(name=name, fitness=score, power=power)
        assert proposed(registry) == []


def test_what_is_culled_is_not_marked_and_not_revived(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        family_of(registry, good=(0.9, 1.0), gone=(0.1, 2.0))
        with registry.store.act() as act:
            store.mark(act, "culled", "culled", [(registry.get("gone").id, {})])
        assert proposed(registry) == []
        with pytest.raises(lineage.LineageError, match="culled"):
            registry.revive("gone", "")


def test_the_sweep_reads_each_table_in_order_and_sorts_the_standings_once(tmp_path):
    """Speed rests on this plan: a scan of the organisms, look-ups by key, one sort."""
    found = database.connect(tmp_path / "r.db")
    with found.read() as connection:
        plan = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {front.SWEEP}")]
    assert [step for step in plan if step.startswith("SCAN o")] == ["SCAN o"]
    assert not any("BLOOM" in step or "MATERIALIZE cost" in step for step in plan)
    assert any(step.startswith("SEARCH f USING INDEX fitness_organism") for step in plan)
    assert sum("ORDER BY" in step for step in plan) == 1
