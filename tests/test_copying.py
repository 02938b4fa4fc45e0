"""`lineage db copy`: a registry moves between SQLite and PostgreSQL complete, in every direction,
and lives on there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import lineage
from lineage import PowerCost, copying, schema
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
