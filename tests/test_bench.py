"""The benchmarks run, and compare like with like: what is written by hand for comparison are the
very rows that lineage writes. No clock is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

import lineage
from bench import (
    asking,
    attack,
    crowd,
    drawing,
    exploring,
    generate,
    hub,
    importing,
    keeping,
    peers,
    questions,
    raw,
    scale,
    selecting,
    space,
    starting,
    team,
    timing,
    training,
    writing,
)
from lineage import database, links

UNLIKE = ("at", "registered", "uuid", "actor", "body", "chain")
"""Columns that hold a time, a UUID or a process."""


@pytest.fixture(scope="module")
def sizes() -> tuple[int, int]:
    return 500, 6000


@pytest.fixture(scope="module")
def registries(sizes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("registries")
    paths = [folder / f"{size}.db" for size in sizes]
    for path, size in zip(paths, sizes, strict=True):
        assert generate.write(path, generate.organisms(size)) == size
    return paths


def test_the_generator_writes_what_registering_writes(tmp_path):
    """Row by row, event bodies too, but for times and who wrote."""
    entries = list(generate.organisms(400, merges=0.2))
    generate.write(tmp_path / "generated.db", iter(entries))
    with lineage.open(tmp_path / "registered.db") as registry:
        done = registry.register_many(entry.arguments() for entry in entries)
    assert done.created == 400
    assert done.set_aside == ()
    generated, registered = (
        raw.contents(raw.connect(tmp_path / f"{kind}.db"), ("at", "registered", "actor", "chain"))
        for kind in ("generated", "registered")
    )
    for table in raw.TABLES:
        assert generated[table] == registered[table], table


def test_what_is_written_by_hand_is_what_register_writes(tmp_path):
    base = writing.step(1, ())
    entries = [base, *(writing.step(own, ((1, base.name),)) for own in range(2, 12))]
    connection = raw.create(tmp_path / "hand.db")
    by_hand = raw.Writer(connection, {})
    with lineage.open(tmp_path / "registered.db") as registry:
        for entry in entries:
            by_hand.register(entry)
            registry.register(**entry.arguments())
    ours = raw.contents(raw.connect(tmp_path / "registered.db"), UNLIKE)
    assert raw.contents(connection, UNLIKE) == ours


def test_a_generated_registry_has_the_shape_that_it_promises(registries, sizes):
    connection = raw.connect(registries[1])
    size = sizes[1]
    one = lambda sql: connection.execute(sql).fetchone()[0]  # noqa: E731
    founders = one("SELECT count(*) FROM organism WHERE generation = 0")
    several = one("SELECT count(*) FROM (SELECT 1 FROM edge GROUP BY child HAVING count(*) > 1)")
    assert 0.2 < founders / size < 0.4
    assert 0.01 < several / (size - founders) < 0.05
    assert one("SELECT max(generation) FROM organism") >= size // generate.CHAIN - 1
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_generated_ranks_are_those_that_lineage_computes(tmp_path):
    generate.write(tmp_path / "a.db", generate.organisms(300, merges=0.1))
    found = database.connect(tmp_path / "a.db", create=False)
    ranks = "SELECT id, generation, jump FROM organism ORDER BY id"
    with found.write() as connection:
        before = connection.rows(ranks)
        connection.execute("UPDATE organism SET generation = 0, jump = NULL")
        assert links.rerank(connection, range(1, 301)) == []
        assert connection.rows(ranks) == before


def test_writing(registries, sizes, tmp_path):
    done = [writing.one(tmp_path, 5), writing.bulk(tmp_path, 100, 2, batch=40)]
    done.append(writing.growth(*registries, sizes, 5))
    done.append(writing.chained(tmp_path, 5))
    assert all(one.raw["ratio"] > 0 for one in done)


def test_a_table_by_hand_is_the_table_that_is_imported(tmp_path):
    importing.write(tmp_path / "t.csv", 2500)
    found = []
    for act in (importing.by_hand, importing.through_map):
        act(tmp_path / "t.csv", tmp_path / f"{act.__name__}.db")
        connection = raw.connect(tmp_path / f"{act.__name__}.db")
        found.append(raw.contents(connection, UNLIKE))
    by_hand, imported = found
    assert imported["event"].pop(0) == (None, "imported")
    assert imported == by_hand
    assert importing.table(tmp_path, 300, 2).raw["ratio"] > 0


def test_asking(registries, sizes, tmp_path):
    """The answers on both sides are compared where they are timed."""
    done = asking.ancestors(*registries, sizes, 20)
    done += asking.chains(tmp_path, (20, 400), 3)
    done.append(asking.clade(registries[1], sizes[1], 2))
    assert len(done) == 5


def test_selecting(registries, sizes):
    (against_bare,) = selecting.selection(registries[1], sizes[1], 2)
    assert against_bare.raw["beaten"] > sizes[1] / 2


def test_few_are_wrongly_retired_under_noise():
    (told,) = selecting.noise(30)
    assert told.met
    assert told.raw["1000@0.0"][0] > 100 * told.raw["1000@0.999"][0]


def test_three_objectives(tmp_path):
    assert "lineage" in selecting.three_objectives(tmp_path, 2_000, 1, with_peers=False).measured


def test_keeping(registries, sizes, tmp_path):
    """The registry is examined, so this comes before what writes to it by hand."""
    assert len(keeping.questions(registries[1], sizes[1], 2)) == 5
    assert keeping.impact(registries[1], sizes[1], 1).raw["clade"] > 100
    assert keeping.health(registries[1], sizes[1]).raw["bytes"] > 1e6
    told = keeping.bisection(tmp_path, 60, 2)
    assert max(told.raw["exact"]) <= 7
    assert told.raw["right"]["0.0"] == 2


def test_space(tmp_path):
    generate.write(tmp_path / "a.db", generate.organisms(9000))  # empty tables take pages too
    apart, whole = space.bytes_each(tmp_path / "a.db", 9000, tmp_path)
    assert float(apart.measured) < float(whole.measured)
    assert apart.met
    assert whole.met


def test_the_hub(tmp_path):
    pulled = hub.pull(tmp_path, 300, 1)
    assert pulled.raw["ratio"] > 0
    time, memory, apart, _ = hub.dump(tmp_path, 400)
    assert time.raw["ratio"] > 0
    assert memory.met
    assert apart.what.startswith("bytes an organism")


def test_a_registry_has_the_proportions_of_the_hub():
    entries = list(generate.hub(20_000))
    naming = [one for one in entries if one.parents]
    share = {name: sum(one.relation == name for one in naming) / len(naming)
             for name, _ in generate.RELATIONS}  # fmt: skip
    assert abs(len(naming) / len(entries) - 0.2809) < 0.02
    for name, wanted in (("adapter", 0.426), ("finetune", 0.359), ("quantized", 0.192)):
        assert abs(share[name] - wanted) < 0.03
    assert 0.01 < share["merge"] < 0.04
    assert all(len(one.parents) == 1 for one in naming if one.relation != "merge")


def test_growth(tmp_path):
    told = scale.growth(tmp_path, (400, 4000), 20)
    assert [one.met is None for one in told] == [False, False, True, True, True, True]
    with pytest.raises(SystemExit, match="Set TMPDIR"):
        scale.told(10**12, tmp_path)


def test_the_same_questions_get_the_same_answers(tmp_path):
    (told,) = questions.questions(tmp_path, 60, with_peers=False)
    assert set(told.raw) == {"lineage", "networkx, loaded"}
    assert not any(one["wrong"] for one in told.raw.values())


def test_of_a_crowd_with_killed_members_nothing_acknowledged_is_lost(tmp_path):
    told = crowd.crowd(tmp_path, processes=4, each=6, killed=2)
    assert told.met
    assert told.raw["acknowledged"] >= 2 * 6


def test_drawing(tmp_path, browser, monkeypatch):
    monkeypatch.setattr(drawing, "_sigma", lambda folder, family: "skipped: not in a test")
    done = drawing.drawing(browser, tmp_path, (60, 90, 120), (100, 200, 300))
    told = {one.what: one for one in done}
    assert told["with all its details"].met
    assert "near" in told["a frame while panning 120"].measured
    assert told["the same against sigma.js 3"].met is None


def test_exploring(registries, sizes, browser):
    told = list(exploring.exploring(browser, registries[1], sizes[1], 1))
    assert told[1].raw["rows stand for"][-1] == 1
    assert told[2].met


def test_help_loads_nothing_heavy():
    assert starting.start(1).met


def test_the_cost_of_a_training_run_is_told(tmp_path):
    found = training.hooks(tmp_path, 3, 1)
    assert found.raw["saved"] >= 1
    assert found.raw["lost"] == 0
    assert found.raw["hooks"] > 0
    assert found.raw["beside"] > 0


def test_mlflow_that_cannot_be_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "ENVIRONMENT", tmp_path / "none")
    monkeypatch.setattr(peers.sys, "executable", str(tmp_path / "no-python"))
    told = peers.mlflow(tmp_path, 1)
    assert told.met is None
    assert told.measured.startswith("skipped: MLflow could not be installed")


def test_the_table_says_what_is_not_met():
    table = timing.table([timing.Figure("a", "≤ 1", "2", False), timing.Figure("b", "", "1", None)])
    assert "| a | ≤ 1 | 2 | **not met** |" in table
    assert "| b |  | 1 | - |" in table


def test_cull_under_attack_is_a_row(tmp_path):
    figure = attack.under_attack(tmp_path, 12)
    assert figure.met
    assert figure.measured == "0 wrong files moved"


def test_of_a_team_on_postgresql_nothing_is_lost(postgres_url):
    told = team.team(clients=2, each=3, rounds=1)
    assert (told.raw["lost"], told.raw["deadlocks"], told.raw["failed"]) == (0, 0, 0)
