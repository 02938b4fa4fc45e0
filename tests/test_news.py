"""A plan of what is new: the plan of a whole run, of those alone that stand in a niche where
something happened since the policy was applied last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sound
from hypothesis import given, settings
from test_cli import ask, see
from test_standings import NICHES, OPERATIONS, act, serving

import lineage
from lineage.errors import InvalidValue, LineageError
from lineage.registry import Registry
from lineage.selection import front, news, plan
from lineage.selection.policy import FRONTIER, READY, Policy


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        yield opened


def grow(registry: Registry) -> None:
    """Two niches, with one of two beaten in each; `both` is beaten in both."""
    for niche, names in zip(NICHES, (("a", "b"), ("c", "d")), strict=True):
        for name, joules in zip(names, (1.0, 2.0), strict=True):
            score = 0.9 if niche == "a/acc" else 0.1
            registry.register(name=name, fitness={niche: score}, power=serving(joules))
    registry.register(name="both", fitness={"a/acc": 0.5, "b/loss": 0.5}, power=serving(3.0))


def verdicts(sweep: front.Sweep) -> dict[tuple[int, int, int], int]:
    c = sweep.columns
    keys = zip(c["organism"].tolist(), c["niche"].tolist(), c["per"].tolist(), strict=True)
    return dict(zip(keys, sweep.verdict.tolist(), strict=True))


@settings(max_examples=sound.EXAMPLES // 2)
@given(before=OPERATIONS, after=OPERATIONS)
def test_whatever_happens_what_is_new_is_found(
    tmp_path_factory: pytest.TempPathFactory, before: list, after: list
) -> None:
    path = tmp_path_factory.mktemp("news") / "r.db"
    with lineage.open(path, durable=False) as registry:
        for operation in before:
            try:
                act(registry, *operation)
            except LineageError:
                continue
        registry.select(apply=True)
        with registry.database.read() as connection:
            was = verdicts(front.sweep(connection))
            kept = {own for own, _ in plan.decide(connection).kept}
        for operation in after:
            try:
                if operation[0] != 10:  # an application is what news are counted from
                    act(registry, *operation)
            except LineageError:
                continue
        with registry.database.read() as connection:
            told = news.since_applied(connection, FRONTIER)
            assert told is not None
            everything, found = plan.decide(connection), plan.decide(connection, new=True)
        # where there is no news, every verdict is what it was
        now = verdicts(everything.sweep)
        unlike = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
        assert {niche for _, niche, _ in unlike} <= set(told.niches)
        # and where there is, the plan is that of a whole run
        assert found.proposed.items() <= everything.proposed.items()
        assert set(found.kept) <= set(everything.kept)
        assert found.revive == everything.revive
        # but for those whom nothing guards any more, without a word in their niches
        assert everything.proposed.keys() - found.proposed.keys() <= kept
        assert registry.select(new=True, apply=True).marked == len(found.proposed)
        quiet = registry.select(new=True)
        assert (quiet.living, quiet.proposed, quiet.revivable) == (0, 0, 0)


def test_only_niches_with_news_are_read(registry: Registry) -> None:
    grow(registry)
    assert registry.select(new=True, apply=True).marked == 3  # never applied: all of it is new
    registry.score("d", "b/loss", 0.05)
    with registry.database.read() as connection:
        found = plan.decide(connection, new=True)
    named = {one.id: one.name for one in registry.find()}
    assert [niche.task for niche in registry.select(new=True).niches] == ["b"]
    read = {named[own] for own in found.sweep.columns["organism"].tolist()}
    assert read == {"c", "d", "both"}
    told = registry.select(new=True)
    assert [str(one) for one in told.revivals] == ["d"]
    assert told.living == 1  # `c`: the others are marked


def test_who_is_beaten_where_there_is_news_is_judged_in_its_other_niches_too(registry) -> None:
    grow(registry)
    registry.register(name="best of loss", fitness={"b/loss": 0.01}, power=serving(9.0))
    registry.score("both", "b/loss", 0.001)
    registry.select(apply=True)
    assert registry.get("both").status == "alive"
    registry.register(name="e", fitness={"a/acc": 0.95}, power=serving(0.5))
    found = registry.select(new=True)
    assert found.proposed == 1  # `a`, and not `both`, which leads the other niche
    assert [str(one.organism) for one in found.proposals] == ["a"]


def test_what_cannot_be_judged_is_told_of_what_is_new(registry: Registry) -> None:
    grow(registry)
    registry.register(name="old", fitness={"a/acc": 0.5})
    registry.select(apply=True)
    registry.register(name="unscored")
    registry.register(name="uncosted", fitness={"a/acc": 0.5})
    found = registry.select(new=True)
    assert (found.unscored, found.uncosted) == (1, 1)
    assert [str(one.organism) for one in found.unknown] == ["unscored", "uncosted"]


def test_other_settings_are_another_policy_and_judge_all(registry: Registry) -> None:
    grow(registry)
    registry.select(apply=True)
    other = Policy("frontier", delta=0.01)
    assert registry.select(other, new=True).since is None
    assert registry.select(new=True).living == 0


def test_where_nothing_happened_nothing_is_noted(registry: Registry) -> None:
    grow(registry)
    kinds = lambda: [one.kind for one in registry.events() if one.organism is None]  # noqa: E731
    registry.select(apply=True)
    registry.select(apply=True)
    registry.select(new=True, apply=True)
    assert kinds() == ["selected"]
    registry.tag("a", {"colour": "blue"})
    registry.select(new=True, apply=True)
    assert kinds() == ["selected", "selected"]


def test_a_plan_of_a_file_says_nothing_of_what_came_since(
    registry: Registry, tmp_path: Path
) -> None:
    grow(registry)
    registry.select(write_plan=tmp_path / "plan.json")
    registry.register(name="worse", fitness={"a/acc": 0.1}, power=serving(9.0))
    registry.select(from_plan=tmp_path / "plan.json", apply=True)
    assert [str(one.organism) for one in registry.select(new=True).proposals] == ["worse"]


@pytest.mark.parametrize("policy", [READY["trainer-rotation"], Policy("p", budget=1.0)])
def test_what_is_about_all_is_refused(registry: Registry, policy: Policy) -> None:
    with pytest.raises(InvalidValue, match=r"more than some niches. Leave --new out"):
        registry.select(policy, new=True)


def test_an_import_makes_all_of_it_new(registry: Registry) -> None:
    grow(registry)
    registry.select(apply=True)
    with registry.store.act() as act_:
        act_.event(None, "imported", {"created": 0, "updated": 0, "set_aside": 0})
    assert registry.select(new=True).since is None


def test_a_terminal_says_what_was_judged() -> None:
    with lineage.open("r.db") as registry:
        grow(registry)
        registry.select(apply=True)
        registry.register(name="worse", fitness={"a/acc": 0.1}, power=serving(9.0))
        at = registry.select(new=True).since
    said = see("--db", "r.db", "select", "--new")
    assert said.lines[0] == "1 of 2 living organisms no longer justifies its power bill."
    assert f"Judged: 1 niche with news since {at:%Y-%m-%d %H:%M} UTC" in " ".join(said.lines)
    assert "`lineage select --new --apply`" in " ".join(said.lines)
    assert see("--db", "r.db", "select", "--new", "--apply").code == 0
    assert see("--db", "r.db", "select", "--new").lines[0].startswith("Nothing is new since ")
    assert "by frontier: 1 marked, run " in see("--db", "r.db", "log", "--all").out
    assert ask("--db", "r.db", "select", "--new", "--simulate", "delta=1").code == 2
