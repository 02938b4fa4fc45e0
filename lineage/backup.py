"""Keeping copies of a registry, and bringing one back. A copy is there under its name only once it
is whole and verified; what a restored copy replaces is kept beside it."""

from __future__ import annotations

import fcntl
import os
import shlex
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lineage import copying, dumps, schema
from lineage.answers import Answer
from lineage.database import (
    Address,
    Connection,
    Database,
    check,
    connect,
    expect_known,
    locate,
    revision,
)
from lineage.errors import InvalidValue, LineageError, RegistryUnavailable

Progress = Callable[[int, int], object]
"""Told how many pages of how many are copied."""

PAGES = 2_000
"""Pages copied between two words of progress: 8 MB."""

WAIT_SECONDS = 5.0
"""How long a restore waits for others to let go of the registry."""

SIDES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file while it is in use (https://www.sqlite.org/tempfiles.html). Left
beside another file, they would be taken for a part of it."""


GRANTS = """
SELECT format('GRANT %s ON %s%I TO %s', a.privilege_type,
              CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END, c.relname,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
  FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
 WHERE c.relnamespace = ?::regnamespace AND a.grantee <> current_user::regrole
UNION ALL
SELECT format('GRANT %s (%I) ON %I TO %s', a.privilege_type, t.attname, c.relname,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
  FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid
       CROSS JOIN LATERAL aclexplode(t.attacl) a
 WHERE c.relnamespace = ?::regnamespace AND a.grantee <> current_user::regrole"""
"""Statements that give others the rights to the tables here that they have to those kept in a
schema."""

DAMAGED = ("malformed", "not a database", "disk I/O error")
"""What SQLite says of a file that nobody can use any more."""


@dataclass(frozen=True, slots=True)
class Backup(Answer):
    """A copy that was made: of which registry, the file, its size in bytes, the organisms in it
    (ghosts too), and the command that brings it back."""

    registry: str
    file: str
    bytes: int
    organisms: int
    restore: str


@dataclass(frozen=True, slots=True)
class Restored:
    """A copy that was brought back: into which registry, from which file, how many organisms
    (ghosts too), its schema, and where the registry that it replaced is kept."""

    registry: str
    file: str
    organisms: int
    schema: str
    kept: str | None

    @property
    def outdated(self) -> bool:
        """Whether `lineage db upgrade` comes next."""
        return self.schema != schema.REVISIONS[-1]


def backup(
    database: Database,
    file: str | os.PathLike[str],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Backup:
    """Copy a registry to `file`, readable by the user alone, while others read and write: all of it
    as of one moment. SQLite by its online backup (https://www.sqlite.org/backup.html), verified
    page by page and by the rows of each table; PostgreSQL by its own `pg_dump`, and where that is
    not on the PATH, or older than the server, as an SQLite file, verified row by row.

    A file that is there is replaced with `force`, once the new one is whole. Raises InvalidValue
    where it is not, and RegistryUnavailable where no copy could be made; nothing is left then."""
    target = Path(os.path.realpath(Path(file).expanduser()))
    _check_target(database, target, force)
    with _writing(target), _arriving(target) as partial:
        if not database.postgresql:
            organisms = _copy_of_now(database, partial, progress)
        elif dumps.possible(database):
            organisms = dumps.write(database, partial)
        else:
            organisms = _as_sqlite(database, partial)
    to = " --db URL" if database.postgresql else ""
    restore = f"lineage{to} db restore {shlex.quote(str(target))}"
    return Backup(str(database.address), str(target), target.stat().st_size, organisms, restore)


def restore(
    file: str | os.PathLike[str],
    db: str | os.PathLike[str] | None = None,
    *,
    allow_network_fs: bool = False,
    progress: Progress | None = None,
) -> Restored:
    """Put a copy in the place of the registry `db`, once it is known to be a registry, whole and of
    a schema that this lineage knows. What was there is kept beside it, as
    `registry.replaced.TIME.db`. An older schema stays as it is: `upgrade` comes next. PostgreSQL
    takes SQLite files, and what pg_dump wrote, of the newest schema, in one transaction: compared
    row by row, or by the chain of events. What was there is kept in a schema of its own,
    `lineage_replaced_TIME`, and who may do what stays as it was.

    Nobody else may have the registry open: what others remember of it would not be true any more,
    and what they write would go to the kept file. Raises InvalidValue for a file that cannot be
    restored, SchemaMismatch for one of a newer lineage, RegistryUnavailable where the registry is
    in use or cannot be written; nothing was changed then."""
    address = locate(db)
    source = Path(file).expanduser().absolute()
    if address.file is None:
        return _into_postgresql(source, address, allow_network_fs, progress)
    if dumps.is_dump(source):
        raise InvalidValue(
            f"{source} is a dump of PostgreSQL, and {address} an SQLite file. Name a database of "
            "PostgreSQL with --db; `lineage db copy` makes an SQLite file of it then."
        )
    found = _schema_of(source)
    database = Database(address, durable=True, allow_network_fs=allow_network_fs)
    if database.refusal:
        raise RegistryUnavailable(database.refusal)
    registry = Path(os.path.realpath(address.file))  # a link to a registry stays one
    if registry.exists() and os.path.samefile(source, registry):
        raise InvalidValue(f"{source} is the registry itself. Name a backup of it.")
    with _writing(registry), _alone(registry) as lock:
        registry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _arriving(registry) as partial:
            with _opened(source) as copied:
                journal = "DELETE" if database.network else "WAL"
                organisms = _copy(copied, partial, journal, progress)
            kept = _set_aside(registry, lock)
    return Restored(
        str(address), str(source), organisms, found, None if kept is None else str(kept)
    )


# What may be written, and what may be read


def _check_target(database: Database, target: Path, force: bool) -> None:
    registry = database.address.file
    if registry is not None:
        own = Path(os.path.realpath(registry))
        if target in (own, *(_beside(own, side) for side in SIDES)):
            raise InvalidValue(f"{target} is the registry itself. Name another file.")
    if target.exists() and not target.is_file():
        raise InvalidValue(f"{target} is no file. Name a file, like {target / 'lineage.backup'}.")
    if target.exists() and not force:
        raise InvalidValue(f"{target} is there already. Name another file, or give --force.")


def _schema_of(source: Path) -> str:
    """The schema of the registry in a file that can be restored."""
    if not source.is_file():
        raise InvalidValue(f"there is no file {source}. Check the spelling.")
    try:
        with _opened(source) as connection:
            named = "SELECT name FROM sqlite_master WHERE name IN ('alembic_version', 'organism')"
            row = None
            if len(connection.execute(named).fetchall()) == 2:
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            _expect_whole(connection, str(source))
    except sqlite3.DatabaseError as error:
        raise InvalidValue(
            f"{source} is not a backup of a lineage registry that can be read ({error}). "
            "`lineage import` reads JSON Lines, and `psql` a dump of PostgreSQL that is SQL."
        ) from error
    if row is None:
        raise InvalidValue(f"{source} is an SQLite file of something else. Name a backup.")
    expect_known(row[0], source)
    return str(row[0])


@contextmanager
def _opened(source: Path) -> Iterator[sqlite3.Connection]:
    """An SQLite file for reading, as of one moment; what lies in a -wal beside it is part of it."""
    uri = f"{source.as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        yield connection


# Files that are there once they are whole


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Faults of the disk and of the file as sentences."""
    try:
        yield
    except LineageError:
        raise
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RegistryUnavailable(
            f"{target} could not be written: {why}. Nothing was changed. Check the folder, its "
            "permissions and the room on its disk, and try again."
        ) from error


@contextmanager
def _arriving(target: Path) -> Iterator[Path]:
    """A private file beside `target`, which takes its place when the block ends well, and is gone
    when it does not. What is killed leaves a `.partial`, which the next one takes over."""
    partial = _beside(target, ".partial")
    held = _claim(partial)
    try:
        try:
            yield partial
            os.fsync(held)
            os.replace(partial, target)
        except BaseException:
            for side in ("", *SIDES):
                _beside(partial, side).unlink(missing_ok=True)
            raise
        _sync(target.parent)
    finally:
        os.close(held)


def _claim(partial: Path) -> int:
    """The partial file, empty and locked: a file descriptor that holds the lock until it is closed,
    or until this process ends, however it does."""
    while True:
        held = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            raise InvalidValue(
                f"{partial} is being written by another process. Wait for it, or name another file."
            ) from None
        with suppress(FileNotFoundError):
            if os.path.sameopenfile(held, found := os.open(partial, os.O_RDONLY)):
                os.close(found)
                for side in SIDES:  # of one that was killed
                    _beside(partial, side).unlink(missing_ok=True)
                os.ftruncate(held, 0)
                os.fchmod(held, 0o600)
                return held
            os.close(found)
        os.close(held)  # it was put in its place meanwhile: this is not the partial file any more


def _beside(file: Path, end: str) -> Path:
    return file.with_name(file.name + end)


def _sync(folder: Path) -> None:
    """Make a change of names survive a power loss."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


# SQLite


def _copy_of_now(database: Database, partial: Path, progress: Progress | None) -> int:
    # Inside one read transaction the copy is of one moment: it never starts again, whoever writes.
    with database.read() as connection:
        connection.value("SELECT count(*) FROM alembic_version")
        return _copy(connection.raw, partial, "DELETE", progress)


def _copy(
    source: sqlite3.Connection, partial: Path, journal: str, progress: Progress | None
) -> int:
    """Copy all pages, and look whether they arrived; how many organisms they hold. `journal` DELETE
    makes one file that can be read from anywhere, a disk that is read-only too."""

    def tell(_status: int, left: int, pages: int) -> None:
        if progress is not None:
            progress(pages - left, pages)

    with closing(sqlite3.connect(partial, isolation_level=None)) as target:
        source.backup(target, pages=PAGES, progress=tell)
    with closing(sqlite3.connect(partial, isolation_level=None)) as copied:
        copied.execute(f"PRAGMA journal_mode={journal}")
        try:
            _expect_whole(copied, "the copy")
        except sqlite3.DatabaseError as error:
            raise RegistryUnavailable(
                f"what was copied is damaged ({error}): the copy is not kept. `lineage doctor` "
                "looks at a registry; a disk that fails damages every copy."
            ) from error
        before, after = _rows(source), _rows(copied)
        if before != after:
            raise RegistryUnavailable(
                f"the copy does not hold what was copied ({after} instead of {before} rows): it is "
                "not kept. Try again, and check the disk."
            )
        return after["organism"]


def _expect_whole(connection: sqlite3.Connection, what: str) -> None:
    """DatabaseError where SQLite's own check finds pages that are damaged."""
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise sqlite3.DatabaseError(f"{what} is damaged: {' '.join(said.split())}")


def _rows(connection: sqlite3.Connection) -> dict[str, int]:
    """How many rows each table has."""
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return {
        name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
        for (name,) in tables
    }


@contextmanager
def _alone(registry: Path) -> Iterator[sqlite3.Connection | None]:
    """The registry, locked against all others, who wait or are refused; None where it cannot be
    locked because it is not there, or is damaged so that nobody can use it."""
    if not registry.exists():
        yield None
        return
    with closing(
        sqlite3.connect(registry, timeout=WAIT_SECONDS, isolation_level=None)
    ) as connection:
        lock: sqlite3.Connection | None = connection
        try:
            # Set before the first look, it is refused while another process has the file open
            # (https://www.sqlite.org/wal.html, section 8), and holds on after the commit.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise RegistryUnavailable(
                    f"{registry} is in use by another process, which would go on with what it "
                    "remembers. End it and try again; "
                    f"`lsof {shlex.quote(str(registry))}` names it."
                ) from error
            if not any(sign in str(error) for sign in DAMAGED):
                raise
            lock = None
        yield lock


def _set_aside(registry: Path, lock: sqlite3.Connection | None) -> Path | None:
    """Keep what is in the place of the registry under another name; None where nothing is. It stays
    in its place too, until the copy arrives."""
    if lock is not None:
        # All in one file then; and who waited for the lock meanwhile cannot write to it unnoticed,
        # since SQLite looks whether a file was moved where it keeps no write-ahead log. A journal
        # on disk would stay as long as the lock.
        with suppress(sqlite3.DatabaseError):
            lock.execute("PRAGMA journal_mode=MEMORY")
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    kept = registry.with_name(f"{registry.stem}.replaced.{at}{registry.suffix}")
    there = registry.exists()
    if there:
        try:
            os.link(registry, kept)
        except OSError:  # a file system without links
            os.rename(registry, kept)
    for side in SIDES:
        with suppress(FileNotFoundError):
            os.rename(_beside(registry, side), _beside(kept, side))
    return kept if there else None


# PostgreSQL


def _into_postgresql(
    source: Path, address: Address, allow_network_fs: bool, progress: Progress | None
) -> Restored:
    tell: Progress = progress or (lambda *_: None)
    if dumps.is_dump(source):
        dump = dumps.opened(source)
        with _emptied(address) as (target, kept):
            organisms = dumps.into(dump, target, tell)
    else:
        _schema_of(source)
        with (
            closing(connect(source, create=False, allow_network_fs=allow_network_fs)) as old,
            _emptied(address) as (target, kept),
        ):
            organisms = copying.into(old, target, lambda _, *far: tell(*far)).organisms
    return Restored(str(address), str(source), organisms, schema.REVISIONS[-1], kept)


@contextmanager
def _emptied(address: Address) -> Iterator[tuple[Database, str | None]]:
    """An empty registry in PostgreSQL, and the schema in which what was there is kept: all in one
    transaction with what is done to it."""
    with (
        closing(Database(address, durable=True, allow_network_fs=False)) as target,
        target.write() as connection,
    ):
        kept = None
        if revision(target) is not None:
            _expect_alone(connection, str(address))
            kept = _put_away(connection)
        check(target, create=True)
        for (grant,) in connection.rows(GRANTS, (kept, kept)) if kept else ():
            connection.cursor.execute(grant)
        yield target, kept


def _expect_alone(connection: Connection, where: str) -> None:
    others = connection.value(
        """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
    )
    if others:
        raise RegistryUnavailable(
            f"{where} is in use: {others} more connected, who would go on with what they remember. "
            "End them and try again; `SELECT * FROM pg_stat_activity` names them."
        )


def _put_away(connection: Connection) -> str:
    """Move the tables of the registry, with all that belongs to them, into a new schema; its name.
    """
    space = connection.value("SELECT quote_ident(current_schema())")
    kept = f"{dumps.KEPT}{datetime.now(UTC).strftime('%Y%m%dt%H%M%S%fz')}"
    connection.execute(f"CREATE SCHEMA {kept}")
    for table in schema.metadata.tables:
        connection.execute(f'ALTER TABLE IF EXISTS {space}."{table}" SET SCHEMA {kept}')
    functions = connection.rows(
        """SELECT quote_ident(p.proname) FROM pg_proc p JOIN pg_namespace n
             ON n.oid = p.pronamespace
           WHERE n.nspname = current_schema() AND p.proname LIKE 'lineage!_%' ESCAPE '!'"""
    )
    for (function,) in functions:
        connection.execute(f"ALTER FUNCTION {space}.{function}() SET SCHEMA {kept}")
    return kept


def _as_sqlite(database: Database, partial: Path) -> int:
    """Copy PostgreSQL into an SQLite file, and compare; how many organisms are in it."""
    with closing(connect(partial)) as target:
        copied = copying.into(database, target)
        target.connection.execute("PRAGMA journal_mode=DELETE")  # all in one file
    return copied.organisms
