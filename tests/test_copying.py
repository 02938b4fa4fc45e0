"""`lineage db copy`: a registry moves between SQLite and PostgreSQL complete, in every direction,
and lives on there."""

from __future__ import annotations

import json
import shlex
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import lineage
from lineage import PowerCost, copying, database, dumps, schema
from lineage.cli import main
from lineage.errors import InvalidValue, RegistryUnavailable


def grow(url: str) -> None:
    """A registry with something in most tables, and all that is hard to copy."""
    with lineage.open(url) as registry:
        base = registry.register(
            name="ünï\t\\N \"b'ase\\\n", digest="ab" * 32, parameters=2**62, tags={"k\\t": "v\n"},
            fitness={"a/acc": 0.1 + 0.2, "b/loss": 1e-300},
            power=PowerCost(1.0 / 3, per="token", phase="serving", meter="m"),
        )  # fmt: skip
        registry.register(name="late", parents="hf:org/ghost@1", digest="cd" * 32)
        registry.register(name="known", place="hf:org/x@2")
        registry.register(digest="ef" * 32, place="hf:org/x@2", name="known")  # two become one
        registry.register(
            name="child", digest="01" * 32, relation="merge", parents={base.ref: 0.3, "late": -1.5}
        )
        registry.alias("child", "best")
        registry.protect("child", "why")
        registry.refresh_snapshot()


def contents(url: str) -> dict[str, list[str]]:
    with lineage.open(url, create=False) as registry, registry.database.read() as connection:
        return {
            table.name: sorted(
                repr(tuple(row)) for row in connection.rows(f'SELECT * FROM "{table.name}"')
            )
            for table in schema.metadata.sorted_tables
        }


def test_there_and_back_again(registry_url: str, postgres: str, tmp_path: Path) -> None:
    """SQLite to PostgreSQL, PostgreSQL to PostgreSQL, and back to SQLite."""
    grow(registry_url)
    end = str(tmp_path / "end.db")
    # `postgres` is the same database as `registry_url` where that is PostgreSQL: one hop less
    middle = postgres if postgres != registry_url else str(tmp_path / "middle.db")
    done = copying.copy(registry_url, middle)
    assert done.organisms == len(contents(registry_url)["organism"])
    copying.copy(middle, end)
    assert contents(registry_url) == contents(middle) == contents(end)
    for url in (middle, end):
        with lineage.open(url) as registry:
            assert registry.doctor().sound
            registry.register(name="next", parents="child", fitness={"new/acc": 1.0})
            registry.meter("next", PowerCost(5.0))
            assert registry.doctor().sound


def test_a_target_that_holds_something_is_refused(registry_url: str, tmp_path: Path) -> None:
    source = str(tmp_path / "source.db")
    grow(source)
    with lineage.open(registry_url) as registry:
        registry.register(name="there")
    before = contents(registry_url)
    with pytest.raises(InvalidValue, match="is not empty"):
        copying.copy(source, registry_url)
    assert contents(registry_url) == before


def test_what_arrives_otherwise_is_not_kept(
    registry_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(tmp_path / "source.db")
    grow(source)
    real = copying._written

    def damaged(table, columns, read, new):  # type: ignore[no-untyped-def]
        for batch in real(table, columns, read, new):
            if table.name == "tag":
                new_value = "UPDATE tag SET value = 'other'"
                if not new.postgresql:
                    new.execute(new_value)
                else:
                    batch = [(*row[:-1], "other") for row in batch]
            yield batch

    monkeypatch.setattr(copying, "_written", damaged)
    with pytest.raises(RegistryUnavailable, match="nothing of the copy is kept"):
        copying.copy(source, registry_url)
    assert not contents(registry_url)["organism"]


def test_the_command(registry_url: str, tmp_path: Path) -> None:
    grow(registry_url)
    end = str(tmp_path / "end.db")
    done = CliRunner().invoke(main, ["db", "copy", registry_url, end, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"]["alias"] == 1
    again = CliRunner().invoke(main, ["db", "copy", registry_url, end])
    assert again.exit_code == 2
    assert "is not empty" in again.stderr
    itself = CliRunner().invoke(main, ["db", "copy", end, end])
    assert "cannot be copied to itself" in itself.stderr
    missing = CliRunner().invoke(main, ["db", "copy", str(tmp_path / "no.db"), end])
    assert missing.exit_code == 3


def test_a_backup_of_postgresql_without_its_programs(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an SQLite file then, which is a registry of its own, and comes back."""
    monkeypatch.setenv("PATH", str(tmp_path))
    source = str(tmp_path / "source.db")
    grow(source)
    copying.copy(source, postgres)
    before = contents(postgres)
    file = tmp_path / "kept"
    done = CliRunner().invoke(main, ["--db", postgres, "db", "backup", str(file), "--json"])
    assert done.exit_code == 0, done.output
    assert contents(str(file)) == before
    with lineage.open(postgres) as registry:
        registry.register(name="later", digest="e" * 64)
        later = contents(postgres)
        refused = CliRunner().invoke(main, ["--db", postgres, "db", "restore", str(file)])
        assert refused.exit_code == 3
        assert "1 more connected" in refused.stderr
    assert contents(postgres) == later
    for _ in range(2):
        back = CliRunner().invoke(main, ["--db", postgres, "db", "restore", str(file), "--json"])
        assert back.exit_code == 0, back.output
        assert contents(postgres) == before
        kept = json.loads(back.stdout)["kept"]
        assert contents(f"{postgres}&options=-csearch_path%3D{kept}") == later
        with lineage.open(postgres) as registry:
            assert registry.register(name="after").version == 1
            assert registry.doctor().sound
            later = contents(postgres)


def test_a_pg_dump_older_than_the_server_is_not_asked(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("pg_dump", "pg_restore"):
        (tmp_path / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) 9.6.1'\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    grow(postgres)
    with lineage.open(postgres) as registry:
        registry.backup(tmp_path / "kept")
    assert contents(str(tmp_path / "kept")) == contents(postgres)


# What pg_dump wrote


def restored(postgres: str, file: Path) -> Result:
    return CliRunner().invoke(main, ["--db", postgres, "db", "restore", str(file), "--json"])


@pytest.fixture
def dump(postgres: str, postgres_programs: None, tmp_path: Path) -> Path:
    """A dump of a registry that has gone on since."""
    grow(postgres)
    file = tmp_path / "team's.dump"
    with lineage.open(postgres) as registry:
        done = registry.backup(file)
        assert done.restore == f"lineage --db URL db restore {shlex.quote(str(file))}"
        registry.register(name="later", digest="e" * 64)
    assert file.read_bytes().startswith(b"PGDMP")
    return file


def test_a_dump_comes_back(postgres: str, dump: Path) -> None:
    """All rows, and what was there is kept; rights of others stay."""
    later = contents(postgres)
    with lineage.open(postgres) as registry:
        run = registry.database.connection.execute
        run("DROP ROLE IF EXISTS lineage_test_reader")
        run("CREATE ROLE lineage_test_reader")
        try:
            run("GRANT SELECT ON organism TO lineage_test_reader")
            run("GRANT UPDATE (value) ON tag TO lineage_test_reader")
            refused = restored(postgres, dump)
            assert refused.exit_code == 3
            assert "1 more connected" in refused.stderr
            registry.close()
            back = restored(postgres, dump)
            assert back.exit_code == 0, back.output
            rights = """SELECT has_table_privilege('lineage_test_reader', 'organism', 'SELECT'),
                has_column_privilege('lineage_test_reader', 'tag', 'value', 'UPDATE'),
                has_table_privilege('lineage_test_reader', 'tag', 'UPDATE')"""
            run = registry.database.connection.execute
            assert run(rights).fetchone() == (True, True, False)
        finally:
            run("DROP OWNED BY lineage_test_reader")
            run("DROP ROLE lineage_test_reader")
    told = json.loads(back.stdout)
    kept = f"{postgres}&options=-csearch_path%3D{told['kept']}"
    assert contents(kept) == later
    before = contents(postgres)
    assert told["organisms"] == len(before["organism"]) == len(later["organism"]) - 1
    assert set(before["event"]) < set(later["event"])
    with lineage.open(postgres) as registry:
        assert registry.doctor().sound
        registry.register(name="after", parents="child", fitness={"new/acc": 1.0})
        assert registry.doctor().sound
        registry.backup(dump, force=True)  # the schema that is kept is no part of it
        again = contents(postgres)
    assert restored(postgres, dump).exit_code == 0
    assert contents(postgres) == again


def test_a_dump_goes_into_an_empty_database_and_another_schema(postgres: str, dump: Path) -> None:
    with lineage.open(postgres) as registry:
        registry.database.connection.execute('CREATE SCHEMA "an Other"')
    other = f"{postgres}&options=-csearch_path%3D%22an%5C%20Other%22"
    with lineage.open(postgres) as registry:
        registry.backup(dump, force=True)
    done = restored(other, dump)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kept"] is None
    assert contents(other) == contents(postgres)
    with lineage.open(other) as registry:  # and back, from a schema whose name needs quotes
        registry.backup(dump, force=True)
    assert restored(postgres, dump).exit_code == 0
    assert contents(other) == contents(postgres)


@pytest.mark.parametrize(
    ("damage", "said", "code"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "db upgrade", 3),
        ("UPDATE alembic_version SET version_num = '0999'", "a newer lineage", 3),
        ("ALTER TABLE tag ADD COLUMN more text", "does not hold the table tag", 2),
        ("DROP TABLE tag", "no registry of lineage", 2),
        ("ALTER TABLE event DISABLE TRIGGER USER; UPDATE event SET body = '{}' WHERE id = 3",
         "event 3 is not what was written", 2),
        ("ALTER TABLE organism DROP CONSTRAINT organism_status; UPDATE organism SET status = 'x'",
         "its table organism", 2),
    ],
)  # fmt: skip
def test_a_dump_that_is_no_registry_changes_nothing(
    postgres: str, dump: Path, damage: str, said: str, code: int
) -> None:
    with closing(database.connect(postgres)) as there:
        for statement in damage.split("; "):
            there.connection.execute(statement)
        dumps.write(there, dump) if "DROP TABLE" not in damage else by_hand(there, dump)
        before = shape(there)
    done = restored(postgres, dump)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    with closing(database.Database(database.locate(postgres), durable=True,
                                   allow_network_fs=False)) as there:  # fmt: skip
        assert shape(there) == before


def shape(there: database.Database) -> list[object]:
    """Every table, in every schema, and the history."""
    return [
        there.connection.rows(
            """SELECT table_schema, table_name FROM information_schema.tables
               WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2"""
        ),
        there.connection.rows("SELECT * FROM event ORDER BY id"),
    ]


def by_hand(there: database.Database, dump: Path) -> None:
    address, _ = dumps._for_libpq(there.address.url)
    subprocess.run(["pg_dump", "--format=custom", f"--file={dump}", address], check=True)


def test_a_dump_that_is_cut_off_changes_nothing(postgres: str, dump: Path) -> None:
    with closing(database.connect(postgres)) as there:
        before = shape(there)
        whole = dump.read_bytes()
        for part in (0.3, 0.6, 0.9, 0.99):
            dump.write_bytes(whole[: int(len(whole) * part)])
            done = restored(postgres, dump)
            assert done.exit_code in (2, 3), done.output
            assert shape(there) == before


def test_a_dump_without_a_pg_restore_that_can_read_it(
    postgres: str, dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    none = restored(postgres, dump)
    assert none.exit_code == 3
    assert "no pg_restore on the PATH" in none.stderr
    old = tmp_path / "bin" / "pg_restore"
    old.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo 'pg_restore (PostgreSQL) 9.6.1' && exit\n"
        "echo 'unsupported version (1.16) in file header' >&2\nexit 1\n"
    )
    old.chmod(0o755)
    older = restored(postgres, dump)
    assert older.exit_code == 3
    assert "pg_restore (PostgreSQL) 9.6.1 cannot read" in older.stderr
    assert "or of a later one" in older.stderr


def test_a_dump_is_not_for_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "a.dump"
    file.write_bytes(b"PGDMP\x01\x10")
    done = restored(str(tmp_path / "registry.db"), file)
    assert done.exit_code == 2
    assert "Name a database of PostgreSQL" in done.stderr
