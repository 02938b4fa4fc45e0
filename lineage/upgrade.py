"""Bringing a registry of an older schema up to date, by the migrations in `lineage.migrations`. An
SQLite file is copied first; the whole way up is one transaction, so it arrives or nothing moves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from lineage import schema
from lineage.database import SCHEMA_LOCK, Address, Database, check, locate, revision
from lineage.errors import RegistryUnavailable, SchemaMismatch


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What `upgrade` did: the registry, its schema before and after (the same when there was
    nothing to do), and the copy that was kept of an SQLite file."""

    registry: str
    before: str
    after: str
    copy: Path | None

    @property
    def changed(self) -> bool:
        return self.before != self.after


def upgrade(
    db: str | os.PathLike[str] | None = None, *, allow_network_fs: bool = False
) -> Upgraded:
    """Bring a registry to the newest schema. An SQLite file is copied first, beside itself, as
    `registry.SCHEMA.TIME.db`; for PostgreSQL a copy is its administrator's to make.

    Raises SchemaMismatch for a registry of a newer lineage, and RegistryUnavailable where there is
    none, or where no copy can be kept; nothing was changed then."""
    address = locate(db)
    newest = schema.REVISIONS[-1]
    before = _schema_of(address, allow_network_fs)
    if before == newest:
        return Upgraded(str(address), newest, newest, None)
    copy = None
    with migrating(address, allow_network_fs) as connection:
        # Read again, now that nobody else can write: another upgrade may have been faster.
        before = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
        if before != newest:
            copy = keep_copy(address.file, before) if address.file else None
            command.upgrade(configuration(connection), newest)
    return Upgraded(str(address), before, newest, copy)


def downgrade(db: str | os.PathLike[str], to: str) -> None:
    """Go back to schema `to` (`base`: to nothing), losing what it cannot hold. For the tests."""
    with migrating(locate(db)) as connection:
        command.downgrade(configuration(connection), to)


def _schema_of(address: Address, allow_network_fs: bool) -> str:
    """The schema of an existing registry that this lineage knows."""
    database = Database(address, durable=True, allow_network_fs=allow_network_fs)
    try:
        if database.refusal:
            raise RegistryUnavailable(database.refusal)
        try:
            check(database, create=False)
        except SchemaMismatch:
            found = revision(database)
            if found not in schema.REVISIONS:
                raise
            return found
        return schema.REVISIONS[-1]
    finally:
        database.close()


def configuration(connection: Connection | None) -> Config:
    """What Alembic is told: where the migrations are, and the connection to use."""
    config = Config()
    config.set_main_option("script_location", str(files("lineage.migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def migrating(
    db: str | os.PathLike[str] | Address | None, allow_network_fs: bool = False
) -> Iterator[Connection]:
    """A connection for Alembic, in one transaction that no other writer can come into."""
    address = db if isinstance(db, Address) else locate(db)
    database = Database(address, durable=True, allow_network_fs=allow_network_fs)
    if database.refusal:
        raise RegistryUnavailable(database.refusal)
    try:
        with database.faults(), database.engine.connect() as connection:
            if database.postgresql:
                connection = connection.execution_options(isolation_level="READ COMMITTED")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
            else:
                # A table is rebuilt without its references in the way, which are looked at before
                # the commit (https://www.sqlite.org/lang_altertable.html, section 7).
                connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            if not database.postgresql:
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
                if broken:
                    raise RegistryUnavailable(
                        f"{address} holds references that lead nowhere ({len(broken)}, the first "
                        f"in {broken[0][0]}): nothing was changed. Restore a backup."
                    )
            connection.commit()
    finally:
        database.close()


def keep_copy(file: Path, found: str) -> Path:
    """A copy of an SQLite registry beside it, readable by the user alone, by SQLite's online
    backup: whole, whoever writes meanwhile. RegistryUnavailable when it cannot be kept."""
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    copy = file.with_name(f"{file.stem}.{found}.{at}{file.suffix}")
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _backup(file, copy)
        except BaseException:
            copy.unlink()
            raise
    except (OSError, sqlite3.Error) as error:
        raise RegistryUnavailable(
            f"no copy of {file} could be kept at {copy} ({error}): nothing was changed. Make room, "
            "or see to the permissions of the folder, and try again."
        ) from error
    return copy


def _backup(file: Path, copy: Path) -> None:
    source, target = sqlite3.connect(file), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
