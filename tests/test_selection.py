"""Selection marks what another one surely beats everywhere, nothing else, and says why in true
numbers. Compared with the rule of docs/selection.md written out in Python, pair by pair, on
families drawn at random."""

from __future__ import annotations

import math
import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage import Parent, PowerCost, Score, database, energy, store
from lineage.registry import Registry
from lineage.selection import front, guards
from lineage.selection.policy import FRONTIER, Policy

NICHES = {"a/acc": 1, "b/loss": -1, "c/odd": 0}
"""Which way is better; of the last it is not known."""

JOULES = (2.0**-40, 2.0**-38, 2.0**-36)
"""Near what is estimated of PARAMETERS, and sums of them are exact."""

PARAMETERS = (1, 4)


@dataclass
class Checkpoint:
    """One organism of a random family. `needs` and `others` are positions of parents."""

    scores: dict[str, float] = field(default_factory=dict)
    stderr: dict[str, float] = field(default_factory=dict)
    n: dict[str, int] = field(default_factory=dict)
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
        scores={niche: draw((0.25, 0.5, 1.0)) for niche in NICHES if chance(0.7)},
        stderr={niche: draw((0.01, 0.1)) for niche in NICHES if chance(0.25)},
        n={niche: draw((10, 500)) for niche in NICHES if chance(0.25)},
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

Cost = tuple[float, str, str]
"""Joules, how they are known, and by what kind of meter."""


def own_costs(one: Checkpoint) -> dict[str, Cost]:
    if one.costs:
        return {per: (joules, one.source, "none") for per, joules in one.costs.items()}
    if one.parameters is None:
        return {}
    estimate = energy.serving_estimate(parameters=one.parameters)
    assert estimate.joules is not None
    return {"token": (estimate.joules, "estimated", "by parameters")}


def all_needs(family: Family, position: int) -> set[int]:
    needs: set[int] = set()
    queue = list(family[position].needs)
    while queue:
        base = queue.pop()
        if base not in needs:
            needs.add(base)
            queue += family[base].needs
    return needs


SURE = ("measured", "declared", "estimated")


def costs(family: Family, position: int) -> dict[str, Cost]:
    """By unit: what it costs with all that is needed to run."""
    total = {}
    bases = [own_costs(family[base]) for base in sorted(all_needs(family, position))]
    for per, own in own_costs(family[position]).items():
        if all(per in base for base in bases):
            parts = [own, *(base[per] for base in bases)]
            meters = {meter for _, _, meter in parts}
            total[per] = (
                sum(joules for joules, _, _ in parts),
                max((source for _, source, _ in parts), key=SURE.index),
                meters.pop() if len(meters) == 1 else f"several, of {position}",
            )
    return total


Key = tuple[str, str]
"""A niche and a unit of cost."""


@dataclass(frozen=True)
class Standing:
    fit: float
    down: float
    up: float
    joules: float
    kind: str
    here: bool


def reach(value: float, stderr: float | None, n: int | None, z: float) -> tuple[float, float]:
    """How far the truth may lie below and above: the wider of the normal interval and Wilson's,
    whose ends solve (p - value)² = z² p (1 - p) / n."""
    down = up = z * (stderr or 0.0)
    if n is not None:
        a, b, c = 1 + z * z / n, -2 * value - z * z / n, value * value
        root = math.sqrt(max(0.0, b * b - 4 * a * c))
        highest = min(1.0, (-b + root) / (2 * a))  # of 1.0 it is 1.0, and rounding must not pass it
        down, up = max(down, value - (-b - root) / (2 * a)), max(up, highest - value)
    return down, up


def standings(
    family: Family, position: int, policy: Policy = FRONTIER
) -> dict[Key, Standing]:
    z = NormalDist().inv_cdf(policy.confidence)
    one, found = family[position], {}
    for niche, value in one.scores.items():
        if not NICHES[niche]:
            continue
        n = one.n.get(niche) if niche == "a/acc" else None  # a loss is no share of examples
        down, up = reach(value, one.stderr.get(niche), n, z)
        if NICHES[niche] < 0:
            down, up = up, down
        for per, (joules, source, meter) in costs(family, position).items():
            kind = meter if source == "estimated" and not policy.mix_estimates else "given"
            found[niche, per] = Standing(NICHES[niche] * value, down, up, joules, kind, one.here)
    return found


def dominates(y: Standing, x: Standing, policy: Policy) -> bool:
    if y.kind != x.kind or (x.here and not y.here and not policy.allow_remote):
        return False
    bound = y.fit - x.fit - math.sqrt(y.down**2 + x.up**2)
    cheaper = y.joules < (1 - policy.cost_margin) * x.joules
    return (bound >= -policy.delta and cheaper) or (bound > 0 and y.joules <= x.joules)


def compared(family: Family, also: int | None = None) -> list[int]:
    """Positions of those that count: alive, or marked by this rule."""
    return [n for n, one in enumerate(family) if one.status != "culled" or n == also]


def rivals(
    family: Family, position: int, policy: Policy = FRONTIER
) -> dict[Key, tuple[set[int], bool]]:
    """Who of the front dominates one, in each of its niches and units, and whether anybody does."""
    people = {n: standings(family, n, policy) for n in compared(family, position)}
    found: dict[Key, tuple[set[int], bool]] = {}
    for key, x in people[position].items():
        mine = {n: known[key] for n, known in people.items() if key in known}
        front = {
            n for n, y in mine.items()
            if not any(dominates(z, y, policy) for m, z in mine.items() if m != n)
        }  # fmt: skip
        over = {n for n, y in mine.items() if n != position and dominates(y, x, policy)}
        found[key] = over & front, bool(over)
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


def is_obsolete(family: Family, position: int, policy: Policy = FRONTIER) -> bool:
    found = rivals(family, position, policy)
    return bool(found) and all(by for by, _ in found.values())


def verdict(family: Family, policy: Policy = FRONTIER) -> dict[int, str]:
    """Who of the living is obsolete, with its guard."""
    return {
        n: guard(family, n)
        for n, one in enumerate(family)
        if one.status == "alive" and is_obsolete(family, n, policy)
    }


def revivable(family: Family, policy: Policy = FRONTIER) -> set[int]:
    return {
        n for n, one in enumerate(family)
        if one.status == "selected_against"
        and standings(family, n, policy)
        and not is_obsolete(family, n, policy)
    }  # fmt: skip


# The same family in a registry


def grow(registry: Registry, family: Family, mark: str = "") -> None:
    """Register the family: `0`, `1`, ... with `mark` before each name and each task."""
    registry.register_many(
        {
            "name": f"{mark}{position}",
            "fitness": [
                Score(mark + niche, value, one.stderr.get(niche), one.n.get(niche))
                for niche, value in one.scores.items()
            ],
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


def sweep(
    registry: Registry, family: Family, mark: str = "", policy: Policy = FRONTIER
) -> tuple[dict[int, str], set[int]]:
    """What the sweep says of the family, by position: who of the living is obsolete, with its
    guard; who of the marked is not any more."""
    position = {registry.get(f"{mark}{n}").id: n for n in range(len(family))}
    with registry.database.read() as connection:
        found = front.sweep(connection, policy)
        why = guards.guarded(connection, policy)
    obsolete = found.obsolete()[0].tolist()
    return (
        {position[own]: why.get(own, "") for own in obsolete if own in position},
        {position[own] for own in found.marked_no_more() if own in position},
    )


def open_in(folder: str) -> Registry:
    return lineage.open(Path(folder) / "registry.db", durable=False)


policies = st.builds(
    Policy,
    confidence=st.sampled_from((0.9, 0.999)),
    delta=st.sampled_from((0.0, 0.3)),
    cost_margin=st.sampled_from((0.0, 0.5)),
    mix_estimates=st.booleans(),
    allow_remote=st.booleans(),
)


@settings(max_examples=80)
@given(families(), policies)
def test_the_sweep_finds_who_is_obsolete_and_what_guards_it(family, policy):
    with tempfile.TemporaryDirectory() as folder, open_in(folder) as registry:
        grow(registry, family)
        expected = verdict(family, policy), revivable(family, policy)
        assert sweep(registry, family, policy=policy) == expected


def test_the_sweep_of_large_families_is_exact_on_both_databases(registry_url):
    marked = {f"family-{seed}-": seeded(seed, 40) for seed in range(3)}
    with lineage.open(registry_url) as registry:
        for mark, family in marked.items():
            grow(registry, family, mark)
        for mark, family in marked.items():
            assert sweep(registry, family, mark) == (verdict(family), revivable(family))


@settings(max_examples=40)
@given(families())
def test_explain_agrees_with_the_sweep_and_names_a_true_rival(family):
    with tempfile.TemporaryDirectory() as folder, open_in(folder) as registry:
        grow(registry, family)
        for position, one in enumerate(family):
            told = registry.explain(str(position))
            found = rivals(family, position)
            assert told.beaten == is_obsolete(family, position)
            judged = {(f"{r.niche.task}/{r.niche.metric}", r.per) for r in told.standings}
            assert judged == set(found)
            for reason in told.standings:
                check_reason(family, position, reason, found)
            assert told.missing == missing(family, position)
            assert ("protected" in told.guards) == one.protected
            assert ("alias production" in told.guards) == (one.alias == "production")
            assert ("load-bearing" in told.guards) == load_bearing(family, position)


def check_reason(family: Family, position: int, reason: Any, found: Any) -> None:
    """That a reason tells the numbers of both, and names one that dominates."""
    niche = f"{reason.niche.task}/{reason.niche.metric}"
    joules, source, _ = costs(family, position)[reason.per]
    assert reason.value == family[position].scores[niche]
    assert reason.stderr == family[position].stderr.get(niche)
    assert (reason.joules, reason.source) == (pytest.approx(joules, rel=1e-12), source)
    over, beaten = found[niche, reason.per]
    assert reason.verdict == ("obsolete" if over else "contested" if beaten else "front")
    if reason.by is None:
        assert not over
        return
    by = int(reason.by.name)
    assert by in over
    joules, source, _ = costs(family, by)[reason.per]
    assert reason.by_value == family[by].scores[niche]
    assert reason.by_stderr == family[by].stderr.get(niche)
    assert (reason.by_joules, reason.by_source) == (pytest.approx(joules, rel=1e-12), source)


def missing(family: Family, position: int) -> str:
    if not any(NICHES[niche] for niche in family[position].scores):
        return "score"
    return "" if standings(family, position) else "cost"


@settings(max_examples=40)
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

        back = revivable(family)
        assert {int(one.name) for one in dry.revivals} == back
        done = registry.select(apply=True)
        assert (done.marked, done.revived) == (len(proposed), len(back))
        again = registry.select(apply=True)
        assert (again.proposed, again.marked, again.revived) == (0, 0, 0)
        reasons = {int(one.organism.name): one.reasons for one in dry.proposals}
        for n in proposed:
            assert registry.get(str(n)).status == "selected_against"
            event = registry.history(str(n))[-1]
            assert event.kind == "selected_against"
            assert event.body["reasons"] == [reason.body() for reason in reasons[n]]
            assert all("by" in reason for reason in event.body["reasons"])
            assert registry.explain(str(n)).mark == event

            for reason in event.body["reasons"]:  # what it leans on stays
                assert registry.get(reason["by"]).status == "alive"

        for n in proposed:
            assert registry.revive(str(n), "needed after all").status == "alive"
            assert registry.history(str(n))[-1].body == {"reason": "needed after all"}
        assert sweep(registry, family)[0].keys() >= expected.keys()


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


def test_the_sweep_reads_one_table_in_its_order(tmp_path):
    """Speed rests on this plan: a scan of the standings, no look-ups, nothing sorted."""
    found = database.connect(tmp_path / "r.db")
    with found.read() as connection:
        plan = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {front.everything()}")]
        unlike = front.UNLIKE.format(ids=connection.ids)
        marks = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {unlike}", ("[1]", 1, ""))]
    assert plan == ["SCAN f"]
    # and no other event is read
    assert marks[1] == "SEARCH e USING INDEX event_mark (kind=? AND organism=?)"


# Noise


def test_a_bad_measurement_never_wins(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        for name, value, n, joules in (("lucky", 0.6, 10, 50.0), ("good", 0.9, 10_000, 100.0)):
            power = PowerCost(joules=joules, phase="serving", per="token")
            registry.register(name=name, fitness=Score("x/acc", value, n=n), power=power)
        assert proposed(registry) == []
        registry.score("good", "x/acc", 0.55, n=10)  # neither shows that it is better
        assert proposed(registry) == []
        registry.score("lucky", "x/acc", 0.6, n=10_000)
        registry.score("good", "x/acc", 0.55, n=10_000)
        assert proposed(registry) == ["good"]


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("ties", [20, 10**6])
def test_a_crowded_niche_is_judged_as_pair_by_pair(noise, ties):
    """All pairs of 6,000, written out: large enough for every short cut, with and without ties."""
    import numpy as np

    from lineage.selection import dominance

    chance, size = np.random.default_rng(ties), 6000
    cost = chance.integers(1, ties, size) / ties
    fit = np.round(cost * 0.3 + chance.normal(0, 0.1, size), 2 if ties < 100 else 9)
    down, up = noise * chance.integers(1, 4, (2, size))
    here = chance.random(size) < 0.5
    organism = chance.permutation(size)
    group = dominance.Standings(organism, fit, down, up, cost, here)
    found = dominance.Verdicts(group, dominance.Rule(delta=0.03, margin=0.1))

    def over(x: int, rivals: Any) -> Any:
        bound = fit[rivals] - fit[x] - np.sqrt(down[rivals] ** 2 + up[x] ** 2)
        better = ((bound >= -0.03) & (cost[rivals] < 0.9 * cost[x])) | (
            (bound > 0) & (cost[rivals] <= cost[x])
        )
        better &= ~here[x] | here[rivals]
        return rivals[better], bound[better]

    everyone = np.arange(size)
    beaten = np.array([len(over(x, everyone)[0]) > 0 for x in everyone])
    front = everyone[~beaten]
    by = found.dominators(everyone)
    for x in everyone:
        rivals, bound = over(x, front)
        assert found.verdict[x] == (0 if not beaten[x] else 2 if len(rivals) else 1)
        if len(rivals):
            best = np.lexsort((organism[rivals], cost[rivals], -bound))[0]
            assert by[x] == rivals[best]


def test_newcombes_published_intervals():
    """R. G. Newcombe 1998, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10, at 95 %, two-sided;
    limits as published to four digits."""
    from numpy import array, nan

    from lineage.selection import dominance

    z = dominance.quantile(0.975)
    for (a, m), (b, n), lower, upper in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
    ):
        value, size = array([a / m, b / n]), array([float(m), float(n)])
        below, above = dominance.reach(
            value, value * nan, size, array([z, z]), array([1.0, 1.0]), array([False, False])
        )
        theta = a / m - b / n
        assert theta - math.hypot(below[0], above[1]) == pytest.approx(lower, abs=5e-5)
        assert theta + math.hypot(above[0], below[1]) == pytest.approx(upper, abs=5e-5)


def test_nothing_lies_beyond_the_ends_of_the_scale():
    from numpy import arange, ones_like

    from lineage.selection import dominance

    n = arange(1.0, 5000.0)
    below, above = dominance.wilson(0 * n, n, 3.09 * ones_like(n))
    assert not below.any()
    assert above.all()
    below, above = dominance.wilson(ones_like(n), n, 3.09 * ones_like(n))
    assert not above.any()
    assert below.all()


def test_what_only_the_dominated_dominate_is_contested_and_stays(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        family_of(registry, cheap=(0.8, 1.0), middle=(0.9, 2.0), dear=(1.0, 3.0))
        plan = registry.select(Policy(delta=0.15))  # each is worth the one before, not two before
        assert [str(one.organism) for one in plan.proposals] == ["middle"]
        assert plan.contested == 1
        (reason,) = registry.explain("dear", Policy(delta=0.15)).standings
        assert reason.verdict == "contested"


@pytest.mark.parametrize(("which", "gone"), [("keep", []), ("oldest", ["b"]), ("newest", ["a"])])
def test_of_duplicates_the_policy_may_keep_the_oldest_or_newest(tmp_path, which, gone):
    with lineage.open(tmp_path / "r.db") as registry:
        family_of(registry, a=(0.5, 1.0), b=(0.5, 1.0), better=(0.9, 2.0))
        plan = registry.select(Policy(duplicates=which))
    assert [str(one.organism) for one in plan.proposals] == gone


def test_the_order_of_registration_changes_no_verdict(tmp_path):
    family = seeded(5, 30)
    told = []
    for seed in range(3):
        order = list(range(len(family)))
        random.Random(seed).shuffle(order)
        with lineage.open(tmp_path / f"{seed}.db") as registry:
            for n in order:
                one = family[n]
                registry.register(
                    name=str(n), fitness=[Score(k, v, one.stderr.get(k), one.n.get(k))
                                          for k, v in one.scores.items()],
                    power=[PowerCost(joules=j, phase="serving", per=per, source=one.source)
                           for per, j in one.costs.items()],
                )  # fmt: skip
            told.append({str(o.organism): [r.by_value for r in o.reasons]
                         for o in registry.select().proposals})  # fmt: skip
    assert told[0] == told[1] == told[2]
    assert told[0]


@st.composite
def groups(draw: Any) -> Any:
    """The standings of a group, with many ties, in any order."""
    import numpy as np

    from lineage.selection.dominance import Standings

    few = st.sampled_from((0.0, 0.25, 0.5, 1.0))
    rows = draw(st.lists(st.tuples(few, few, few, few, st.booleans()), min_size=1, max_size=20))
    organisms = draw(st.permutations(range(len(rows))))
    *numbers, here = (np.array(column) for column in zip(*rows, strict=True))
    return Standings(np.array(organisms), *numbers, here)


@settings(max_examples=300)
@given(groups(), policies, st.sampled_from(("keep", "oldest", "newest")), st.randoms())
def test_the_order_of_rows_changes_no_verdict_and_no_dominator(group, policy, duplicates, chance):
    import numpy as np

    from lineage.selection import dominance

    rule = dominance.Rule(policy.delta, policy.cost_margin, duplicates)
    other = list(range(len(group)))
    chance.shuffle(other)
    told = []
    for order in (list(range(len(group))), other):
        rows = group.take(np.array(order))
        found = dominance.Verdicts(rows, rule, policy.allow_remote)
        by = found.dominators(np.flatnonzero(found.verdict == dominance.OBSOLETE))
        told.append((
            dict(zip(rows.organism.tolist(), found.verdict.tolist(), strict=True)),
            dict(zip(rows.organism[found.verdict == dominance.OBSOLETE].tolist(),
                     rows.organism[by].tolist(), strict=True)),
        ))  # fmt: skip
    assert told[0] == told[1]


@settings(max_examples=30)
@given(families(), policies)
def test_a_run_marks_nobody_who_is_guarded_and_is_undone_exactly(family, policy):
    for one in family:
        one.status = "alive" if one.status == "selected_against" else one.status
    with tempfile.TemporaryDirectory() as folder, open_in(folder) as registry:
        grow(registry, family)
        before = {str(n): registry.get(str(n)) for n in range(len(family))}
        done = registry.select(policy, apply=True)
        assert done.revived == 0
        for n in range(len(family)):
            if registry.get(str(n)).status == "selected_against":
                assert guard(family, n) == ""
                (mark,) = [e for e in registry.history(str(n)) if e.kind == "selected_against"]
                for reason in mark.body["reasons"]:
                    assert registry.get(reason["by"]).status == "alive"
        again = registry.select(policy, apply=True)
        assert (again.marked, again.revived) == (0, 0)
        if done.marked:
            assert registry.revive_run(str(done.run)) == done.marked
        assert {str(n): registry.get(str(n)) for n in range(len(family))} == before
