"""Roles of a registry on PostgreSQL: each may do what it is for, and what it may not is told with
the name of the role that may."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hub_server import World, serving
from sqlalchemy.engine import make_url
from training import OneJoule, save

import lineage
from lineage import schema, spool
from lineage.backup import restore
from lineage.cli import main
from lineage.errors import NotAllowed
from lineage.formats import jsonl
from lineage.integrations import recorder as recording
from lineage.roles import INDEX, RECORDED, ROLES, UPDATED, quoted, roles
from lineage.store import mark
from lineage.upgrade import upgrade

PREFIX = 'team "é; x'
"""A prefix that is no identifier unless it is quoted."""


@pytest.fixture
def people(postgres: str) -> Iterator[dict[str, str]]:
    """URLs of the registry for a person of each role, for one of none, and for who made it."""
    import psycopg

    with lineage.open(postgres) as registry:
        base = registry.register(name="base", digest="0" * 64, fitness={"gsm8k/acc": 0.5})
        registry.register(name="old", digest="1" * 64, parents=base)
    done = roles(postgres, prefix=PREFIX, apply=True)
    url = make_url(postgres)
    names = {role: f"person_{role}_{url.database}" for role in (*ROLES, "nobody")}
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        for role, name in names.items():
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
            if role in done.names:
                connection.execute(f"GRANT {quoted(done.names[role])} TO {name}")
        try:
            yield {"maker": postgres} | {
                role: url.set(username=name, password="secret").render_as_string(
                    hide_password=False
                )
                for role, name in names.items()
            }
        finally:
            everybody = [*names.values(), *done.names.values()]
            connection.execute(f"DROP OWNED BY {', '.join(map(quoted, everybody))}")
            for name in everybody:
                connection.execute(f"DROP ROLE {quoted(name)}")


@contextmanager
def refused(role: str) -> Iterator[None]:
    """What is refused, with a sentence that names this role."""
    with pytest.raises(NotAllowed) as told:
        yield
    assert f"{PREFIX}_{role}" in str(told.value)
    assert "secret" not in str(told.value)


READS: dict[str, Callable[[Any], Any]] = {
    "find": lambda r: r.find(),
    "get": lambda r: r.get("old"),
    "ancestors": lambda r: r.ancestors("old"),
    "mrca": lambda r: r.mrca("old", "base"),
    "history": lambda r: r.history("old"),
    "clade": lambda r: r.clade("base"),
    "doctor": lambda r: r.doctor(),
    "select": lambda r: r.select(),
    "explain": lambda r: r.explain("old"),
    "family": lambda r: r.family("base"),
}
RECORDS: dict[str, Callable[[Any], Any]] = {
    "register": lambda r: r.register(
        name="new", digest="2" * 64, parents=["base", "waits"], fitness={"gsm8k/acc": 0.6},
        power=lineage.PowerCost(joules=1.0), tags={"a": "b"}, aliases="best",
        configuration={"training": {"lr": 1e-3}}, place="hf:a/b@main", licence="mit",
    ),
    "ghost": lambda r: (
        r.register(name="child", digest="3" * 64, parents="waits"),
        r.register(name="waits", digest="4" * 64, parents="base"),
    ),
    "again": lambda r: r.register(name="old", digest="1" * 64, parameters=7, place="/a/b"),
    "many": lambda r: r.register_many({"name": f"m{n}", "digest": f"{n:064x}"} for n in range(99)),
    "score": lambda r: (r.score("old", "gsm8k/acc", 0.7), r.score("old", "new/thing", 1.0)),
    "direction": lambda r: r.score("old", "new/thing", 1.0, direction="lower"),
    "meter": lambda r: r.meter("old", lineage.PowerCost(joules=2.0, per="token", phase="serving")),
    "link": lambda r: r.link("old", "late"),
    "alias": lambda r: (r.alias("old", "best"), r.register(name="old", digest="5" * 64),
                        r.alias("old@v2", "best")),
    "tag": lambda r: (r.tag("old", {"a": "1"}), r.tag("old", {"a": "2"})),
    "snapshot": lambda r: r.refresh_snapshot(),
}  # fmt: skip
CORRECTS: dict[str, Callable[[Any], Any]] = {
    "retract": lambda r: r.retract("old", "was a mistake"),
    "retract a score": lambda r: r.retract("base", "wrong", niche="gsm8k/acc"),
    "unlink": lambda r: r.unlink("old@v1", "base"),
    "rename": lambda r: r.rename("old", "other"),
    "protect": lambda r: r.protect("old"),
    "untag": lambda r: r.tag("old", {"a": None}),
}


def test_a_reader_reads(people: dict[str, str]) -> None:
    with lineage.open(people["reader"]) as registry:
        for read in READS.values():
            read(registry)
        for act in RECORDS.values():
            with refused("writer"):
                act(registry)
        assert {one.name for one in registry.find()} == {"base", "old"}


def test_a_writer_imports_and_a_reader_is_refused_once(
    people: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with lineage.open(tmp_path / "other.db") as other:
        other.register_many({"name": f"m{n}", "digest": f"{n:064x}"} for n in range(2, 9))
        other.rename("m3", "called otherwise")
        with other.database.read() as connection:
            lines = list(jsonl.export(connection))
    for person in ("reader", "nobody"):
        with pytest.raises(NotAllowed), lineage.open(people[person]) as registry:
            jsonl.import_lines(registry.store, lines)
    assert capfd.readouterr().err == ""
    with lineage.open(people["writer"]) as registry:
        done = jsonl.import_lines(registry.store, lines)
        assert (done.created, done.set_aside) == (7, 0)
        again = registry.register(name="m3", digest="e" * 64)
        assert again.version == 2  # the first one was given up


def test_a_writer_records_and_corrects_nothing(people: dict[str, str]) -> None:
    with lineage.open(people["writer"]) as registry:
        for act in (*READS.values(), *RECORDS.values()):
            act(registry)
        for what, act in CORRECTS.items():
            with refused("owner"):
                act(registry)
                pytest.fail(what)
        assert registry.doctor().sound
    with lineage.open(people["owner"]) as registry:
        for act in CORRECTS.values():
            act(registry)
        assert registry.doctor().sound


def test_what_a_run_leaves_in_its_spool_comes_in(
    people: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rotation included, which says that files are gone; and for who may not write, it waits."""
    monkeypatch.setattr(recording.Recorder, "_start_background", lambda self: None)
    url = people["writer"]
    with lineage.track("runs/sft", db=url, meter=OneJoule(), parents="base") as run:
        for step in (1, 2):
            place = save(Path(f"runs/sft/checkpoint-{step}"), bytes([step] * 16))
            if step == 2:
                shutil.rmtree("runs/sft/checkpoint-1")
            run.checkpoint(place, step=step, fitness={"toy/acc": 0.1}, best=True)
    with lineage.open(url) as registry:
        left = spool.folder_of(registry.database.address)
        with lineage.open(people["reader"]) as other:
            waits = other.sync(left)
        assert waits.arrived == 0
        assert waits.set_aside == ()
        assert f"{PREFIX}_writer" in waits.waiting[0][1]
        done = registry.sync()
        assert (done.waiting, done.set_aside) == ((), ())
        assert [one.step for one in registry.find("sft*")] == [2, 1]
        assert registry.get("sft/checkpoint-1").status == "culled"
        assert registry.doctor().sound


def test_only_an_owner_culls(people: dict[str, str]) -> None:
    place = save(Path("runs/loser"), b"l" * 16)
    reason = {"niche": "a/acc", "value": 0.1, "per": "token", "joules": 2.0}
    reason |= {"by": "champion@v1", "by_value": 0.9, "by_joules": 1.0}
    with lineage.open(people["owner"]) as registry:
        registry.register(save(Path("runs/champion"), b"c" * 16), name="champion")
        loser = registry.register(place, name="loser")
        with registry.store.act() as act:
            mark(act, "selected_against", "selected_against", [(loser.id, {"reasons": [reason]})])
    for role in ("reader", "writer"):
        with lineage.open(people[role]) as registry:
            assert registry.cull("loser").files
            with refused("owner"):
                registry.cull("loser", apply=True)
        assert [one.name for one in place.iterdir()] == ["model.safetensors"]
    with lineage.open(people["owner"]) as registry:
        registry.cull("loser", apply=True)
        assert not (place / "model.safetensors").exists()
        with lineage.open(people["writer"]) as other, refused("owner"):
            other.restore("loser")
        registry.restore("loser")
        assert (place / "model.safetensors").exists()


def test_a_push_that_the_history_cannot_have_says_what_was_made(people: dict[str, str]) -> None:
    world = World()
    world.add("me/old")
    with (
        serving(world),
        lineage.open(people["reader"]) as registry,
        pytest.raises(NotAllowed, match=r"/discussions/1 is made, and the history"),
    ):
        registry.hub_push("old", to="me/old", endpoint=world.url)
    assert len(world.commits) == 1


@pytest.mark.parametrize("role", ROLES)
def test_only_who_made_a_registry_restores_over_it(
    people: dict[str, str], role: str, tmp_path: Path
) -> None:
    with lineage.open(tmp_path / "kept.db") as kept:
        kept.register(name="kept", digest="9" * 64)
    with pytest.raises(NotAllowed, match=r"denied for database.* Ask who made the registry"):
        restore(tmp_path / "kept.db", people[role])
    with lineage.open(people["maker"]) as registry:
        assert registry.get("base").name == "base"


@pytest.mark.parametrize("role", ROLES)
def test_only_who_made_a_registry_upgrades_it(people: dict[str, str], role: str) -> None:
    with lineage.open(people["maker"]) as registry:
        registry.database.connection.execute("UPDATE alembic_version SET version_num = '0002'")
    with pytest.raises(NotAllowed, match=r"denied for schema.* Ask who made the registry"):
        upgrade(people[role])


def test_every_table_is_somebodys() -> None:
    there = set(schema.metadata.tables) - {"alembic_version", "quarantine"}
    assert there == {*RECORDED, *INDEX}
    for table, columns in UPDATED.items():
        assert set(columns) <= set(schema.metadata.tables[table].columns.keys())


def test_who_has_no_role_is_told_so(people: dict[str, str]) -> None:
    with refused("reader"), lineage.open(people["nobody"]):
        pass
    done = CliRunner().invoke(main, ["ls", "--db", people["nobody"]])
    assert done.exit_code == 1
    assert "Traceback" not in done.output


def test_the_command(people: dict[str, str], tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["db", "roles", *arguments])

    shown = json.loads(run("--db", people["maker"], "--json").stdout)
    assert not shown["applied"]
    assert shown["there"] == []
    assert any(one.startswith("CREATE ROLE") for one in shown["sql"])
    again = json.loads(run("--db", people["maker"], "--prefix", PREFIX, "--json").stdout)
    assert len(again["there"]) == 3
    assert not any(one.startswith("CREATE ROLE") for one in again["sql"])
    assert run("--db", people["maker"], "--prefix", PREFIX, "--apply").exit_code == 0
    told = run("--db", people["owner"], "--prefix", "mine", "--apply")
    assert told.exit_code == 1
    assert "administrator" in told.output
    assert run("--db", people["maker"], "--prefix", "x" * 60).exit_code == 2
    with lineage.open(tmp_path / "registry.db"):
        pass
    told = run("--db", str(tmp_path / "registry.db"))
    assert told.exit_code == 2
    assert "permissions of the file" in told.output
