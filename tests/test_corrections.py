"""What corrections promise: what is wrong is struck out with a reason and counts nowhere, nothing
is erased, and what was done can be taken back, once, by an act that leaves an event of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sound
from click.testing import CliRunner, Result
from test_doctor import checks

import lineage
from lineage import PowerCost
from lineage.cli import main
from lineage.errors import InvalidValue, NotFound
from lineage.formats import jsonl
from lineage.references import this_host
from lineage.registry import Registry

NICHE = "gsm8k/acc"


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        opened.register(
            name="base", digest="aa" * 32, fitness={NICHE: 0.4}, parameters=10**9,
            step=0,
        )
        opened.register(
            name="sft",
            digest="bb" * 32,
            parents="base",
            fitness={NICHE: 0.6},
            power=PowerCost(3e6, uuid="12345678-1234-5678-1234-567812345678"),
        )
        opened.register(name="child", parents="sft", relation="adapter")
        yield opened
        sound.check(opened)
        assert opened.doctor().sound


def score(registry: Registry, ref: str) -> float | None:
    (summary,) = registry.summaries([registry.get(ref)])
    return summary.scores[0].value if summary.scores else None


def best(registry: Registry) -> str:
    return str(registry.best(NICHE).standings[0].organism)


# ---- Retracting


def test_a_retracted_score_counts_nowhere_and_the_one_before_counts_again(
    registry: Registry,
) -> None:
    registry.score("base", NICHE, 0.9)
    assert best(registry) == "base"
    event = registry.retract("base", "the test set had leaked", niche=NICHE)
    assert (event.kind, event.body["value"], event.body["reason"]) == (
        "retracted", 0.9, "the test set had leaked",
    )  # fmt: skip
    assert score(registry, "base") == 0.4
    assert best(registry) == "sft"
    assert [str(one) for one in registry.find(niche=NICHE, sort="fitness")] == ["sft", "base"]
    kept = registry.record("base").scores
    assert [(one.value, one.retracted) for one in kept] == [
        (0.4, None), (0.9, "the test set had leaked"),
    ]  # fmt: skip
    registry.retract("base", "that too", niche=NICHE)
    assert score(registry, "base") is None
    assert [one.score.value for one in registry.clade("base").best] == [0.6]
    with pytest.raises(NotFound, match="no score that counts"):
        registry.retract("base", "again", niche=NICHE)


def test_a_script_does_not_bring_a_retracted_score_back_and_a_person_does(
    registry: Registry,
) -> None:
    registry.retract("sft", "wrong", niche=NICHE)
    registry.register(name="sft", digest="bb" * 32, fitness={NICHE: 0.6})
    assert score(registry, "sft") is None
    registry.score("sft", NICHE, 0.6)
    assert score(registry, "sft") == 0.6


def test_a_retracted_cost_is_in_no_sum(registry: Registry) -> None:
    registry.meter("sft", PowerCost(1e6))
    assert registry.clade("base").joules == 4e6
    with pytest.raises(InvalidValue, match="2 intervals of training"):
        registry.retract("sft", "twice", cost="training")
    kept = "12345678-1234-5678-1234-567812345678"
    registry.retract("sft", "the meter ran twice", cost="training", uuid=kept.replace("-", ""))
    assert registry.clade("base").joules == 1e6
    assert registry.impact("sft").joules == 1e6
    assert registry.diff("base", "sft").training[1] == PowerCost(1e6, source="declared")
    registry.refresh_snapshot()
    assert registry.clade("base").joules == 1e6
    registry.register(
        name="sft", digest="bb" * 32, power=PowerCost(3e6, uuid=kept)
    )  # the same interval again
    assert registry.clade("base").joules == 1e6
    registry.meter("sft", PowerCost(0.3, "serving", "token"))
    registry.meter("sft", PowerCost(0.5, "serving", "token"))
    registry.retract("sft", "too high", cost="serving", per="token")
    (summary,) = registry.summaries([registry.get("sft")])
    assert [one.joules for one in summary.serving] == [0.3]


def test_a_retracted_link_is_no_descent_and_its_evidence_is_kept(registry: Registry) -> None:
    event = registry.retract("sft", "trained from scratch", parent="base")
    assert registry.ancestors("child") == [registry.get("sft")]
    assert registry.get("sft").generation == 0
    assert event.body["was"][0]["evidence"] == "declared"
    registry.undo(event.id)
    assert [str(one) for one in registry.ancestors("child")] == ["sft", "base"]


def test_a_retracted_registration_is_a_ghost_until_it_is_registered_again(
    registry: Registry,
) -> None:
    registry.retract("sft", "another checkpoint")
    organism = registry.get("sft")
    assert (organism.ghost, organism.retracted) == (True, "another checkpoint")
    assert [str(one) for one in registry.ancestors("child")] == ["sft", "base"]
    assert [str(one) for one in registry.find()] == ["child", "base"]
    assert best(registry) == "base"
    with pytest.raises(NotFound, match="was retracted: another checkpoint"):
        registry.where("sft")
    clade = registry.clade("base")
    assert (clade.count, clade.ghosts, clade.joules) == (2, 1, None)
    assert "registered" in [event.kind for event in registry.history("sft")]
    with pytest.raises(InvalidValue, match="ghost"):
        registry.retract("sft", "again")
    again = registry.register(
        name="sft",
        digest="bb" * 32,
        fitness={NICHE: 0.6},
        power=PowerCost(3e6, uuid="12345678-1234-5678-1234-567812345678"),
    )
    assert (again.id, again.ghost, again.retracted) == (organism.id, False, None)
    assert score(registry, "sft") == 0.6
    assert registry.clade("base").joules == 3e6


def test_nothing_is_retracted_without_a_reason_or_two_things_at_once(registry: Registry) -> None:
    for reason in ("", "  "):
        with pytest.raises(InvalidValue, match="why"):
            registry.retract("sft", reason, niche=NICHE)
    with pytest.raises(InvalidValue, match="one thing"):
        registry.retract("sft", "x", niche=NICHE, parent="base")
    with pytest.raises(NotFound, match="no such link"):
        registry.retract("base", "x", parent="sft")
    with pytest.raises(InvalidValue, match="UUID"):
        registry.retract("sft", "x", cost="training", uuid="nonsense")
    assert score(registry, "sft") == 0.6


def test_an_export_keeps_what_was_retracted_as_such(registry: Registry, tmp_path: Path) -> None:
    registry.score("base", NICHE, 0.9)
    registry.retract("base", "leaked", niche=NICHE)
    registry.retract("sft", "twice", cost="training")
    registry.retract("child", "never was")
    with registry.database.read() as connection:
        lines = list(jsonl.export(connection))
    with lineage.open(tmp_path / "copy.db") as copy:
        assert jsonl.import_lines(copy.store, lines).set_aside == 0
        with copy.database.read() as connection:
            assert list(jsonl.export(connection)) == lines
        assert score(copy, "base") == 0.4
        assert copy.clade("base").joules is None
        assert copy.get("child").retracted == "never was"
        assert jsonl.import_lines(copy.store, lines).updated == 0
        sound.check(copy)
    assert any('"retracted":"leaked"' in line for line in lines)


# ---- Undoing

ACTS: dict[str, Callable[[Registry], object]] = {
    "link": lambda r: r.link("child", "base"),
    "evidence": lambda r: r.link("child", "sft@v1", "merge", evidence="hashed"),
    "unlink": lambda r: r.unlink("child", "sft@v1"),
    "alias": lambda r: r.alias("sft@v1", "best"),
    "alias moved": lambda r: r.alias("sft@v2", "production"),
    "tag": lambda r: r.tag("base", team="x", old=None, new="y"),
    "protect": lambda r: r.protect("sft@v1"),
    "unprotect": lambda r: r.unprotect("base"),
    "rename": lambda r: r.rename("sft@v1", "better"),
    "score": lambda r: r.score("sft@v1", NICHE, 0.7, stderr=0.01, n=100),
    "meter": lambda r: r.meter("sft@v1", PowerCost(5.0, meter="wall")),
    "rate": lambda r: r.meter("sft@v1", PowerCost(5.0, "serving", "token")),
    "retract score": lambda r: r.retract("sft@v1", "x", niche=NICHE),
    "retract cost": lambda r: r.retract("sft@v1", "x", cost="training"),
    "retract link": lambda r: r.retract("child", "x", parent="sft@v1"),
    "retract registration": lambda r: r.retract("sft@v1", "x"),
    "select": lambda r: r.select(apply=True),
    "revive": lambda r: r.revive("dull"),
}


@pytest.fixture
def rich(registry: Registry) -> Registry:
    registry.register(name="sft", digest="cc" * 32, tags={"a": "b"})
    registry.alias("sft@v1", "production")
    registry.tag("base", team="z", old="o")
    registry.protect("base")
    for name, value, size in (("dull", 0.1, 10**10), ("keen", 0.8, 10**8)):
        registry.register(name=name, fitness={NICHE: value}, parameters=size)
    registry.select(apply=True)
    registry.register(name="slow", fitness={NICHE: 0.2}, parameters=10**10)
    return registry


def state(registry: Registry) -> dict[str, Any]:
    """All that counts, as people see it."""
    found: dict[str, Any] = {}
    everyone = registry.find(ghosts=True)
    for summary in registry.summaries(everyone):
        record = registry.record(summary.organism)
        found[record.organism.ref] = (
            record.organism,
            record.parents,
            summary.scores,
            [one for one in record.power if one.retracted is None],
            record.tags,
            record.aliases,
            record.names,
        )
    return found


@pytest.mark.parametrize("act", ACTS)
def test_what_was_done_is_undone_once_and_leaves_an_event(rich: Registry, act: str) -> None:
    before = state(rich)
    last = rich.head()[0]
    ACTS[act](rich)
    assert state(rich) != before
    new = [event for event in rich.events() if event.id > last]
    (number,) = [event.id for event in new if event.kind != "selected"]  # which only says so
    undone = rich.undo(number)
    assert state(rich) == before
    assert undone.body["undoes"] == number
    assert undone.id > number
    with pytest.raises(InvalidValue, match=f"undone already, by event {new[0].id + 1}"):
        rich.undo(number)
    assert state(rich) == before


def test_a_registration_that_is_reinstated_is_what_it_was(registry: Registry) -> None:
    before = registry.record("base")
    undone = registry.undo(registry.retract("base", "by mistake").id)
    assert undone.kind == "reinstated"
    after = registry.record("base")
    assert (after.organism, after.scores) == (before.organism, before.scores)
    assert after.organism.step == 0  # which is a step, and not an unknown one


def test_an_undoing_can_be_undone(registry: Registry) -> None:
    registry.alias("sft", "best")
    undone = registry.undo(registry.head()[0])
    assert registry.record("sft").aliases == ()
    registry.undo(undone.id)
    assert registry.record("sft").aliases == ("best",)


def test_what_was_changed_again_since_is_not_undone(registry: Registry) -> None:
    registry.tag("base", team="x")
    tagged = registry.head()[0]
    registry.tag("base", team="y")
    registry.alias("base", "best")
    aliased = registry.head()[0]
    registry.register(name="base", digest="dd" * 32)
    registry.alias("base@v2", "best")
    registry.score("sft", NICHE, 0.7)
    scored = registry.head()[0]
    registry.retract("sft", "x", niche=NICHE)
    for number in (tagged, aliased, scored):
        with pytest.raises(InvalidValue, match="since"):
            registry.undo(number)
    assert registry.record("base@v2").aliases == ("best",)


def test_what_cannot_be_undone_says_what_to_do_instead(registry: Registry) -> None:
    with pytest.raises(InvalidValue, match=r"cannot be undone. `lineage retract"):
        registry.undo(1)
    with pytest.raises(NotFound, match="no event 999"):
        registry.undo(999)


# ---- Names


def test_a_name_is_changed_and_aliases_come_along(registry: Registry) -> None:
    registry.alias("sft", "best")
    registry.register(name="better", digest="ee" * 32)
    event = registry.rename("sft", "better")
    assert event.body == {"name": "better", "version": 2, "from": "sft", "from_version": 1}
    assert registry.get("better@best") == registry.get("better@v2") == registry.get("bb" * 32)
    with pytest.raises(NotFound):
        registry.get("sft")
    registry.alias("better@v1", "production")
    registry.alias("base", "production")
    with pytest.raises(InvalidValue, match="better@production"):
        registry.rename("base", "better")
    with pytest.raises(InvalidValue, match="already"):
        registry.rename("base", "base")
    assert str(registry.get("aa" * 32)) == "base"


def test_a_number_that_was_given_up_is_no_other_organisms(registry: Registry) -> None:
    registry.register(name="m", digest="e1" * 32)
    registry.register(name="m", digest="e2" * 32)
    event = registry.rename("m@v2", "good")
    assert registry.get("m").version == 1
    registry.register(name="m", digest="e3" * 32)
    assert registry.get("m").version == 3
    with pytest.raises(NotFound):
        registry.get("m@v2")
    registry.rename("m@v1", "other")
    registry.rename("m@v3", "m-old")
    registry.rename("base", "m")
    assert registry.get("aa" * 32).version == 4
    registry.undo(event.id)
    assert str(registry.get("e2" * 32)) == "m@v2"
    registry.register(name="good", digest="e4" * 32)
    assert registry.get("good").version == 2


def test_what_has_no_name_gets_one(registry: Registry) -> None:
    registry.register(digest="ff" * 32)
    registry.rename("ff" * 32, "found")
    assert registry.get("found").digest == "ff" * 32


# ---- Places


def save(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(content)
    return folder


@pytest.fixture
def disk(registry_url: str, tmp_path: Path) -> Iterator[tuple[Registry, Path, Path]]:
    old, new = tmp_path / "old", tmp_path / "new"
    with lineage.open(registry_url) as registry:
        for name in "abc":
            registry.register(save(old / "runs" / name, name.encode() * 100), name=name)
        registry.register(save(tmp_path / "old-too", b"y"), name="beside")
        yield registry, old, new
        sound.check(registry)


def places(registry: Registry) -> dict[str, list[str]]:
    return {
        str(one): [p.uri for p in registry.record(one).places if p.gone_at is None]
        for one in registry.find()
    }


def test_a_folder_that_moved_is_followed_once_its_files_are_found(
    disk: tuple[Registry, Path, Path],
) -> None:
    registry, old, new = disk
    before = places(registry)
    old.rename(new)
    with pytest.raises(NotFound):
        registry.where("b")
    plan = registry.relocate(old, new)
    assert (plan.places, plan.unmatched, plan.event) == (3, 0, None)
    assert plan.hashed == 3
    assert places(registry) == before
    done = registry.relocate(f"{old}/", new, apply=True)
    assert done.event is not None
    assert places(registry) == {
        one: [f"{new}/runs/{one}"] if len(one) == 1 else before[one] for one in before
    }
    assert registry.where("b") == f"{new}/runs/b"
    assert [event.kind for event in registry.history("a")] == ["registered", "moved"]
    with pytest.raises(InvalidValue, match="not back"):
        registry.undo(done.event)
    new.rename(old)
    registry.undo(done.event)
    assert places(registry) == before
    with pytest.raises(InvalidValue, match="undone already"):
        registry.undo(done.event)


def test_what_does_not_match_stays_and_is_named(disk: tuple[Registry, Path, Path]) -> None:
    registry, old, new = disk
    old.rename(new)
    (new / "runs/a/model.bin").write_bytes(b"short")
    (new / "runs/b/model.bin").write_bytes(b"x" * 100)
    found = registry.relocate(old, new, apply=True)
    assert (found.places, found.unmatched) == (1, 2)
    assert [one.place for one in found.examples] == [f"{old}/runs/a", f"{old}/runs/b"]
    assert "5 bytes" in found.examples[0].why
    assert "other bytes" in found.examples[1].why
    assert places(registry)["c"] == [f"{new}/runs/c"]
    assert places(registry)["a"] == [f"{old}/runs/a"]
    with pytest.raises(NotFound, match="no place on this host"):
        registry.relocate("/nowhere/at/all", new)
    with pytest.raises(InvalidValue, match="same"):
        registry.relocate(new, f"{new}/")
    with pytest.raises(InvalidValue, match="path on this machine"):
        registry.relocate("hf:org/name", new)


def test_places_on_other_hosts_are_left_alone(disk: tuple[Registry, Path, Path]) -> None:
    registry, old, new = disk
    with registry.database.write() as connection:
        other = f"not-{this_host()}"
        connection.execute("UPDATE place SET host = ? WHERE uri LIKE '%/a'", (other,))
    old.rename(new)
    found = registry.relocate(old, new, apply=True)
    assert (found.places, found.elsewhere) == (2, 1)
    assert places(registry)["a"] == [f"{old}/runs/a"]


def test_one_that_was_registered_at_the_other_end_already_keeps_one_place(
    disk: tuple[Registry, Path, Path],
) -> None:
    registry, old, new = disk
    old.rename(new)
    registry.register(new / "runs/a", name="a")
    assert registry.relocate(old, new, apply=True).places == 3
    assert places(registry)["a"] == [f"{new}/runs/a"]


# ---- In the terminal


def test_corrections_in_the_terminal(tmp_path: Path) -> None:
    db = str(tmp_path / "r.db")

    def tell(*args: str) -> Result:
        return CliRunner().invoke(main, [*args, "--db", db])

    with lineage.open(db) as registry:
        registry.register(name="a <b>", fitness={NICHE: 0.5})
    said = tell("retract", "a <b>", "--niche", NICHE, "--reason", "it's \x1b[31mwrong\n")
    assert said.exit_code == 0, said.output
    assert "\x1b" not in said.output
    assert "lineage undo 2" in said.output
    assert tell("retract", "a <b>", "--niche", NICHE).exit_code == 2
    assert json.loads(tell("ls", "--niche", NICHE, "--json").output) == []
    assert tell("undo", "2").output.startswith("a <b>: reinstated the score gsm8k/acc 0.5")
    assert tell("undo", "2").exit_code == 2
    assert tell("undo", "77").exit_code == 1
    assert tell("rename", "a <b>", "c").exit_code == 0
    logged = tell("log", "--all").output.splitlines()
    assert [line.split("\t")[2] for line in logged] == [
        "registered", "retracted", "reinstated", "renamed",
    ]  # fmt: skip
    assert [line.split("\t")[-1] for line in logged] == ["1", "2", "3", "4"]
    paged = json.loads(tell("log", "--all", "--before", "4", "--limit", "2", "--json").output)
    assert [event["id"] for event in paged] == [2, 3]
    assert paged[0]["ref"] == "c"
    assert tell("log", "--all", "--since", "1h").output.splitlines() == logged
    assert tell("log", "--all", "--since", "2999-01-01").output == ""
    assert tell("log", "c", "--since", "1h").exit_code == 2
    assert tell("relocate", "/nowhere", "/else").exit_code == 1


def test_the_doctor_finds_what_counts_though_it_was_retracted(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="a", fitness={NICHE: 0.5}, power=PowerCost(5.0))
        registry.retract("a", "x", niche=NICHE)
        registry.retract("a", "x", cost="training")
        with registry.database.write() as connection:
            connection.execute("UPDATE fitness SET current = 1")
            connection.execute("UPDATE power SET current = 1")
        found = registry.doctor()
        assert checks(found) == ["current", "standings"]
        registry.repair(found)
        assert registry.doctor().sound
        sound.check(registry)
