"""The schema has one description and a history, and both lead to the same tables. An upgrade keeps
what is there, keeps a copy, and arrives whole or not at all."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from conftest import ROOT, missing
from disks import fill_up, small_disk
from sqlalchemy import inspect

import lineage
from lineage import database, schema
from lineage.errors import RegistryUnavailable, SchemaMismatch
from lineage.upgrade import configuration, downgrade, keep_copy, migrating, upgrade

OLDEST, NEWEST = schema.REVISIONS[0], schema.REVISIONS[-1]
LATER = {
    *("setting", "label", "stripe", "graft", "label_score", "label_niche"),
    *("document", "configuration", "tensor", "arrival", "lease", "quarantine", "crawl"),
}
"""Tables that the oldest schema does not have."""


def fill(url: str) -> None:
    """A family with a bit of everything in it."""
    with lineage.open(url) as registry:
        base = registry.register(name="base", digest="ab" * 32, parameters=10**9, place="/w/base")
        one = registry.register(
            name="one",
            parents=[base, lineage.Parent("ghost", "merge", weight=0.5, confidence=0.9)],
            fitness={"gsm8k/acc": 0.5},
            power=lineage.PowerCost(joules=3e6, uuid="12345678123456781234567812345678"),
            tags={"team": "prose"},
            aliases="best",
        )
        registry.protect(one, "the paper")
    with migrating(url) as connection:
        connection.exec_driver_sql("INSERT INTO setting (key, value) VALUES ('snapshot', 1)")
        connection.exec_driver_sql(
            "INSERT INTO label (snapshot, pre, last, organism, state, generation) "
            "VALUES (1, 1, 2, 1, 0, 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO lease (organism, holder, until) VALUES (1, 'me', 9)"
        )


def contents(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that there is."""
    with migrating(url) as connection:
        there = set(inspect(connection).get_table_names())
        return {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for table in schema.metadata.sorted_tables
            if table.name in there
        }


def described(url: str) -> dict[str, Any]:
    """The schema as the database itself describes it: tables, indexes, constraints, triggers."""
    with migrating(url) as connection:
        if connection.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(
                "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
            )
            return {f"{kind} {name}": re.sub(r"\s+", " ", sql) for kind, name, sql in rows}
        found: dict[str, Any] = {}
        for kind, sql in _CATALOGUE.items():
            for name, *what in connection.exec_driver_sql(sql):
                found[f"{kind} {name}"] = [re.sub(r"\s+", " ", str(one)) for one in what]
        return found


_HERE = "current_schema()::regnamespace"
_CATALOGUE = {
    "column": f"""SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod),
          a.attnotnull, a.attnum, pg_get_expr(d.adbin, d.adrelid)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = {_HERE} AND c.relkind IN ('r', 'S') AND a.attnum > 0""",
    "index": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    "constraint": f"""SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = {_HERE}""",
    "trigger": """SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal""",
    "function": f"SELECT proname, prosrc FROM pg_proc WHERE pronamespace = {_HERE}",
}


@pytest.fixture
def made_by_migrations(registry_url: str) -> str:
    with lineage.open(registry_url):
        pass
    downgrade(registry_url, "base")
    upgrade_from_nothing(registry_url)
    return registry_url


def upgrade_from_nothing(url: str) -> None:
    with migrating(url) as connection:
        command.upgrade(configuration(connection), "head")


def test_the_migrations_lead_to_the_schema_that_is_described(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    created = described(registry_url)
    assert {"event", "organism", "alembic_version"} <= {
        name.split(" ")[-1].split(".")[0] for name in created
    }
    assert sum(kind.startswith("trigger") for kind in created) == 3
    downgrade(registry_url, "base")
    upgrade_from_nothing(registry_url)
    assert described(registry_url) == created


def test_alembic_itself_sees_no_difference(made_by_migrations: str) -> None:
    with migrating(made_by_migrations) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []


def test_the_revisions_are_those_of_the_files() -> None:
    script = ScriptDirectory.from_config(configuration(None))
    known = tuple(one.revision for one in reversed(list(script.walk_revisions())))
    assert known == schema.REVISIONS


def test_a_registry_made_by_the_migrations_works(made_by_migrations: str) -> None:
    with lineage.open(made_by_migrations) as registry:
        base = registry.register(name="base")
        child = registry.register(name="child", parents=base, fitness={"gsm8k/acc": 0.5})
        assert registry.is_ancestor(base, child)
        assert [event.kind for event in registry.history(child)] == ["registered"]


def test_down_and_up_again_keeps_what_the_older_schema_can_hold(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    fill(registry_url)
    before = contents(registry_url)
    assert before["setting"] == [("snapshot", 1)]
    downgrade(registry_url, OLDEST)
    smaller = contents(registry_url)
    assert smaller.keys() == before.keys() - LATER
    done = upgrade(registry_url)
    assert (done.before, done.after, done.changed) == (OLDEST, NEWEST, True)
    after = contents(registry_url)
    for table in before.keys() - LATER:
        assert after[table] == before[table], table
        if table != "alembic_version":
            assert smaller[table] == before[table], table
    assert all(after[table] == [] for table in LATER)
    with lineage.open(registry_url, create=False) as registry:
        assert registry.get("one@best").protected
        assert len(registry.record("one").parents) == 2


def test_all_the_way_down_leaves_nothing_behind(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    fill(registry_url)
    downgrade(registry_url, "base")
    assert contents(registry_url) == {"alembic_version": []}
    left = {name for name in described(registry_url) if "alembic_version" not in name}
    assert left == set()


def test_the_guards_hold_after_an_upgrade(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    fill(registry_url)
    downgrade(registry_url, OLDEST)
    upgrade(registry_url)
    for forbidden in (
        "UPDATE event SET kind = 'x'",
        "DELETE FROM event",
        "INSERT INTO edge (child, parent, relation) VALUES (1, 2, 'merge')",
    ):
        with (
            pytest.raises(Exception, match=r"append-only|later generation"),
            migrating(registry_url) as connection,
        ):
            connection.exec_driver_sql(forbidden)


def test_an_older_schema_is_said_and_left_alone(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    downgrade(registry_url, OLDEST)
    before = described(registry_url)
    with pytest.raises(SchemaMismatch, match=rf"schema {OLDEST}.*{NEWEST}.*lineage db upgrade"):
        lineage.open(registry_url)
    assert described(registry_url) == before


def test_a_newer_schema_is_refused(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    with migrating(registry_url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for open_ in (lineage.open, upgrade):
        with pytest.raises(SchemaMismatch, match=r"newer lineage \(schema 9999"):
            open_(registry_url)


def test_there_is_nothing_to_do_for_the_newest(registry_url: str, tmp_path: Path) -> None:
    with lineage.open(registry_url):
        pass
    before = set(tmp_path.iterdir())
    done = upgrade(registry_url)
    assert (done.changed, done.after, done.copy) == (False, NEWEST, None)
    assert set(tmp_path.iterdir()) == before


def test_no_registry_is_made_by_an_upgrade(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="there is no registry"):
        upgrade(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


# ---- The copy of an SQLite file


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A registry of the oldest schema, with something in it."""
    file = tmp_path / "home" / "registry.db"
    with lineage.open(file):
        pass
    fill(str(file))
    downgrade(file, OLDEST)
    return file


def test_a_copy_is_kept_as_it_was(old: Path) -> None:
    before = contents(str(old))
    done = upgrade(old)
    assert done.copy is not None
    assert done.copy.parent == old.parent
    assert done.copy.name.startswith(f"registry.{OLDEST}.")
    assert stat.S_IMODE(done.copy.stat().st_mode) == 0o600
    assert contents(str(done.copy)) == before
    with pytest.raises(SchemaMismatch, match="lineage db upgrade"):
        lineage.open(done.copy)
    assert upgrade(done.copy).changed  # the copy is a registry like any other


def test_what_is_written_through_the_log_is_in_the_copy(old: Path) -> None:
    """The copy is SQLite's own: what still lies in the write-ahead log beside the file counts."""
    held = sqlite3.connect(old)
    held.execute("PRAGMA wal_autocheckpoint=0")
    held.execute("UPDATE organism SET licence = 'in the log'")
    held.commit()
    copy = keep_copy(old, OLDEST)
    kept = sqlite3.connect(copy)
    assert kept.execute("SELECT DISTINCT licence FROM organism").fetchall() == [("in the log",)]
    kept.close()
    held.close()


def test_without_room_for_a_copy_nothing_is_touched(tmp_path: Path) -> None:
    """On a real file system that is full."""
    with small_disk(tmp_path / "small", "1M") as small:
        file = small / "registry.db"
        with lineage.open(file) as registry:
            registry.register(name="base")
        downgrade(file, OLDEST)
        with sqlite3.connect(file) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.close()
        before = contents(str(file))
        ballast = fill_up(small, leave=8 * os.statvfs(small).f_frsize)
        with pytest.raises(RegistryUnavailable, match=r"no copy of .* nothing was changed"):
            upgrade(file)
        ballast.unlink()
        assert sorted(one.suffix for one in small.iterdir() if one.suffix == ".db") == [".db"]
        assert contents(str(file)) == before
        assert upgrade(file).changed


def test_an_upgrade_that_fails_half_way_changes_nothing(
    registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(registry_url):
        pass
    fill(registry_url)
    downgrade(registry_url, OLDEST)
    with migrating(registry_url) as connection:  # in the way of the last table
        connection.exec_driver_sql("CREATE TABLE label_score (mine INTEGER)")
    before = described(registry_url)
    with pytest.raises(Exception, match="label_score"):
        upgrade(registry_url)
    assert described(registry_url) == before
    with migrating(registry_url) as connection:
        connection.exec_driver_sql("DROP TABLE label_score")
    assert upgrade(registry_url).changed


def test_two_who_upgrade_at_once_upgrade_once(registry_url: str) -> None:
    with lineage.open(registry_url):
        pass
    fill(registry_url)
    downgrade(registry_url, OLDEST)
    script = "import sys; from lineage.upgrade import upgrade; print(upgrade(sys.argv[1]).changed)"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, registry_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=240)[0].strip() for one in running]
    assert [one.returncode for one in running] == [0, 0]
    assert sorted(said) in (["False", "True"],)


def test_a_developer_runs_alembic_from_the_checkout(tmp_path: Path) -> None:
    ini = ROOT / "db" / "migrations" / "alembic.ini"
    if not ini.exists():
        missing("No checkout: alembic.ini is not in a wheel.")
    alembic = [sys.executable, "-m", "alembic", "-c", str(ini)]
    scratch = ["-x", f"db={tmp_path / 'scratch.db'}"]
    done = subprocess.run([*alembic, *scratch, "upgrade", "head"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with lineage.open(tmp_path / "scratch.db", create=False) as registry:
        assert registry.find() == []
    check = subprocess.run([*alembic, *scratch, "check"], capture_output=True, text=True)
    assert "No new upgrade operations detected" in check.stdout, check.stderr
    nameless = subprocess.run([*alembic, "upgrade", "head"], capture_output=True, text=True)
    assert nameless.returncode == 1
    assert "-x db=" in nameless.stderr


def test_an_open_registry_of_the_newest_schema_is_what_the_code_reads(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "registry.db") as registry:
        assert database.revision(registry.database) == NEWEST
