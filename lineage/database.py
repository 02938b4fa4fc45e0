"""Reaching a registry: where it is, the engine, pragmas and transactions, and the schema check.
Statements are written once, with `?`, and sent straight to the driver of SQLite or PostgreSQL."""

from __future__ import annotations

import json
import logging
import os
import re
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from lineage import schema
from lineage.errors import InvalidValue, NotAllowed, RegistryUnavailable, SchemaMismatch

FOLDER = ".lineage"
FILE = "registry.db"
BUSY_SECONDS = 30
MAPPED = 1 << 28
"""Bytes of an SQLite file that a connection maps: they count as its memory. What lies beyond is
read into the cache, and no question was seen to take longer for it."""
SCHEMA_LOCK = 0x6C696E65  # "line": one advisory lock of PostgreSQL for all who write
BEGIN_TO_WRITE = f"BEGIN; SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"  # one round trip

MANY = 50
"""Rows from which COPY is faster than INSERT."""

NO_PRIVILEGE = "42501"
TOO_LARGE = "54000"
"""Codes of PostgreSQL for what a user has no right to, and for what is larger than it can keep: a
text in an index, for one (its manual, appendix A)."""

_LEVEL = """CASE WHEN has_table_privilege({who}'edge', 'DELETE') THEN 3
  WHEN has_table_privilege({who}'event', 'INSERT') THEN 2
  WHEN has_table_privilege({who}'organism', 'SELECT') THEN 1 ELSE 0 END"""
WHO_MAY = f"SELECT current_user, {_LEVEL.format(who='')}"
ROLES_THAT_MAY = f"""SELECT {_LEVEL.format(who="oid, ")}, min(rolname) FROM pg_roles
  WHERE NOT rolcanlogin AND NOT rolsuper AND rolname !~ '^pg_' GROUP BY 1"""
"""What a role may do: 1 read, 2 record, 3 correct and cull; and a group role for each."""

MAKERS_ALONE = ("must be owner", "denied for schema", "denied for database")
"""What PostgreSQL says, to who may read, of what is for who made the registry and for no role."""

NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs", "nfs4", "nfs3", "cifs", "smb", "smb2", "smb3", "smbfs", "lustre", "gpfs",
        "beegfs", "ceph", "fuse.ceph", "afs", "afpfs", "9p", "webdav", "glusterfs",
        "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone",
        "fuse.juicefs", "orangefs", "pvfs2", "ocfs2", "gfs2", "panfs", "wekafs",
    ]
)  # fmt: skip
"""Where SQLite's write-ahead log corrupts: it needs memory shared by all writers, on one host
(https://www.sqlite.org/wal.html, section 1)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a registry is: a URL, its file when it is SQLite, and what was passed over."""

    url: URL
    file: Path | None
    ignored: tuple[Path, ...] = ()

    def __str__(self) -> str:
        if self.file:
            return str(self.file)
        return self.url.difference_update_query(_secret(self.url)).render_as_string()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is never to be shown."""
        found = (self.url.password, *(self.url.query[key] for key in _secret(self.url)))
        return tuple(str(one) for one in found if one)


def _secret(url: URL) -> list[str]:
    """The parameters of a URL that hold a password (libpq takes one there too)."""
    return [key for key in url.query if "password" in key]


def locate(db: str | os.PathLike[str] | None = None) -> Address:
    """The registry to use: `db` (a path or a URL), else LINEAGE_DB, else `.lineage/registry.db` in
    this folder or one above it, else the user's data directory.

    A folder found upwards that belongs to another user is passed over, and named in `ignored`:
    whoever can write there could otherwise choose what we read."""
    asked = os.fspath(db) if db is not None else os.environ.get("LINEAGE_DB")
    if asked:
        return _address(asked)
    ignored: list[Path] = []
    for folder in (Path.cwd(), *Path.cwd().parents):
        found = folder / FOLDER / FILE
        if os.path.isfile(found):
            if found.stat().st_uid == os.geteuid():
                return Address(_file_url(found), found, tuple(ignored))
            ignored.append(found)
    import platformdirs

    home = Path(platformdirs.user_data_dir("lineage", appauthor=False)) / FILE
    return Address(_file_url(home), home, tuple(ignored))


def _address(asked: str) -> Address:
    if "://" not in asked:
        path = Path(asked).expanduser().absolute()
        path = path / FILE if os.path.isdir(path) else path
        return Address(_file_url(path), path)
    try:
        url = make_url(asked)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        # it cannot be told where the password ends: all that may be one is left out
        safe = re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"://.*@", "://***@", asked))
        raise RegistryUnavailable(f"{safe!r} is not a database URL. {_URL_HELP}") from None
    if backend == "sqlite" and url.database:
        path = Path(url.database).expanduser().absolute()
        return Address(_file_url(path), path)
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return Address(url.set(drivername="postgresql+psycopg"), None)
    raise RegistryUnavailable(f"lineage does not speak {url.drivername!r}. {_URL_HELP}")


_URL_HELP = "Give a file, sqlite:///FILE or postgresql://USER@HOST/DATABASE."


def _file_url(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def file_system(path: Path, mounts: Iterable[tuple[str, str]] | None = None) -> str:
    """The type of the file system that holds `path` (`ext4`, `nfs4`, ...), empty when unknown.
    `mounts` gives (mount point, type) pairs; by default this machine's mount table."""
    path = Path(os.path.realpath(path))
    best = ("", "")
    for point, kind in _mounts() if mounts is None else mounts:
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best[0]):
            best = (point, kind)
    return best[1]


def _mounts() -> list[tuple[str, str]]:
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
        fields = [line.split() for line in lines]
        return [(_unescape(f[1]), f[2]) for f in fields if len(f) > 2]
    except OSError:
        pass
    try:  # macOS: `/dev/disk1s1 on / (apfs, local, journaled)`
        out = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [(m[1], m[2]) for m in re.finditer(r" on (.+) \((\w+)", out)]


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), field)


@lru_cache(maxsize=1024)
def _percent(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


_PLAIN_INSERT = re.compile(r"\s*INSERT INTO (\w+)\s*\(([^()]*)\)\s*VALUES \([?, ]*\)\s*")


@lru_cache(maxsize=1024)
def _copy_of(sql: str) -> str | None:
    """The COPY that does what a plain INSERT of many rows does."""
    plain = _PLAIN_INSERT.fullmatch(sql)
    return plain and f"COPY {plain[1]} ({plain[2]}) FROM STDIN"


class Connection:
    """One driver connection. Statements use `?`; rows are tuples."""

    __slots__ = ("cursor", "depth", "postgresql", "raw", "spoilt")

    def __init__(self, raw: Any, postgresql: bool) -> None:
        self.raw = raw
        self.postgresql = postgresql
        self.cursor = raw.cursor()
        self.depth = 0
        self.spoilt = False

    def execute(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """Run one statement; the cursor."""
        if not self.postgresql:
            return self.cursor.execute(sql, params)
        # within `sending`, what came of earlier statements of a cursor may still be under way to it
        cursor = self.raw.cursor() if self._sends else self.cursor
        return cursor.execute(_percent(sql), params)

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        if not rows:
            return
        if not self.postgresql:
            self.cursor.executemany(sql, rows)
        elif len(rows) == 1:  # executemany would wait for the server once more
            self.cursor.execute(_percent(sql), rows[0])
        elif len(rows) >= MANY and not self._sends and (copy := _copy_of(sql)):
            with self.cursor.copy(copy) as stream:
                for row in rows:
                    stream.write_row(row)
        else:
            self.cursor.executemany(_percent(sql), rows)

    @property
    def _sends(self) -> bool:
        """Whether this is within `sending`, where PostgreSQL takes no COPY."""
        return bool(self.raw.pgconn.pipeline_status)

    def sending(self, rows: int) -> AbstractContextManager[Any]:
        """Within it, PostgreSQL is not waited for after each statement that gives nothing back;
        what fails raises later, at the end of the block at the latest. Not where so many organisms
        are written that their rows had better go by COPY."""
        if not self.postgresql or rows >= MANY:
            return nullcontext()
        import psycopg

        return self._pipeline() if psycopg.Pipeline.is_supported() else nullcontext()

    @contextmanager
    def _pipeline(self) -> Iterator[None]:
        try:
            with self.raw.pipeline():
                yield
        except BaseException:
            self.spoilt = True  # psycopg takes for prepared what the server has never seen
            raise

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        result: list[Any] = self.execute(sql, params).fetchall()
        return result

    def row(self, sql: str, params: Sequence[Any] = ()) -> Any:
        return self.execute(sql, params).fetchone()

    def value(self, sql: str, params: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        row = self.execute(sql, params).fetchone()
        return None if row is None else row[0]

    def stream(self, sql: str, params: Sequence[Any] = (), size: int = 1000) -> Iterator[list[Any]]:
        """Rows in lists of `size`, without holding them all."""
        if self.postgresql:  # a plain psycopg cursor would fetch everything at once
            cursor = self.raw.cursor(name="lineage_stream")
            cursor.execute(_percent(sql), params)
        else:
            cursor = self.raw.cursor()
            cursor.execute(sql, params)
        try:
            while rows := cursor.fetchmany(size):
                yield rows
        finally:
            cursor.close()

    # A list of values as one parameter, so that a thousand ids are one statement.
    @property
    def ids(self) -> str:
        """SQL of a table `(id)` over one parameter made by `pack`, of integers."""
        if self.postgresql:
            return "(SELECT unnest(CAST(? AS bigint[])) AS id)"
        return "(SELECT value AS id FROM json_each(?))"

    @property
    def texts(self) -> str:
        """SQL of a table `(id)` over one parameter made by `pack`, of texts."""
        if self.postgresql:
            return "(SELECT unnest(CAST(? AS text[])) AS id)"
        return "(SELECT value AS id FROM json_each(?))"

    def one_of(self, column: str, values: Sequence[bytes]) -> tuple[str, Sequence[Any]]:
        """A condition that `column` is one of these byte strings, and its parameters."""
        if self.postgresql:
            return f"{column} = ANY(?)", (list(values),)
        return f"{column} IN ({','.join('?' * len(values))})", values

    def pack(self, values: Iterable[Any]) -> Any:
        values = list(values)
        if self.postgresql:
            return values
        if len(values) == 1:  # the json module takes as long as the statement, for a list
            return f"[{values[0] if isinstance(values[0], int) else json.dumps(values[0])}]"
        return json.dumps(values)


class Database:
    """A registry's database: one connection a thread and process, transactions, errors in words."""

    def __init__(self, address: Address, *, durable: bool, allow_network_fs: bool) -> None:
        self.address = address
        self.made = False  # by this one, where none was
        self.postgresql = address.file is None
        self.kind = "" if self.postgresql else file_system(address.file or Path())
        self.network = self.kind in NETWORK_FILE_SYSTEMS
        self.refusal = ""
        if self.network and not allow_network_fs:
            self.refusal = (
                f"{address} is on a network file system ({self.kind}), where SQLite's write-ahead "
                "log corrupts. Use a path on a local disk, PostgreSQL, or --allow-network-fs "
                "(slower: a rollback journal)."
            )
        self.durable = durable
        self._local = threading.local()
        self._forked: list[Any] = []  # connections of the parent process: never closed here
        self.engine = self._engine()

    def may_record(self) -> bool:
        """Whether this user may record anything at all: on PostgreSQL it takes a role."""
        return not self.postgresql or bool(self.connection.row(WHO_MAY)[1] > 1)

    def _engine(self) -> Engine:
        if self.postgresql:
            logging.getLogger("psycopg").addFilter(_is_news)
            try:
                return sqlalchemy.create_engine(
                    self.address.url,
                    isolation_level="AUTOCOMMIT",  # transactions are begun by hand, below
                    pool_pre_ping=True,
                    connect_args={"connect_timeout": 10},
                )
            except ImportError:
                raise RegistryUnavailable(
                    f"{self.address} needs a driver for PostgreSQL, which is not installed: "
                    "`pip install 'checkpoint-lineage[postgres]'`."
                ) from None
        # isolation_level None: the driver begins nothing by itself
        connect = {"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
        engine = sqlalchemy.create_engine(self.address.url, connect_args=connect)
        event.listen(engine, "connect", self._prepare_sqlite)
        return engine

    def _prepare_sqlite(self, raw: Any, _record: Any) -> None:
        cursor = raw.cursor()
        for pragma in (
            "foreign_keys=ON",
            f"synchronous={'FULL' if self.durable else 'NORMAL'}",
            "cache_size=-65536",
            f"mmap_size={0 if self.network else MAPPED}",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        if self.network and not self.refusal:  # made elsewhere, perhaps, with a log
            cursor.execute("PRAGMA journal_mode=DELETE")
        cursor.close()

    @property
    def connection(self) -> Connection:
        """This thread's connection. After a fork the child gets its own."""
        held = getattr(self._local, "held", None)
        pid = os.getpid()
        if held is not None and held[0] == pid:
            connection: Connection = held[1]
            return connection
        if held is not None:
            self._forked.append(held)
            self.engine.dispose(close=False)
        with self.faults():
            fairy = self.engine.raw_connection()
        connection = Connection(fairy.driver_connection, self.postgresql)
        self._local.held = (pid, connection, fairy)
        return connection

    def read(self) -> AbstractContextManager[Connection]:
        """One consistent view for any number of statements."""
        return self.transaction(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if self.postgresql else "BEGIN"
        )

    def write(self) -> AbstractContextManager[Connection]:
        """One short transaction. Writers queue: SQLite by BEGIN IMMEDIATE, PostgreSQL by one
        advisory lock, so what is read inside cannot change before the commit."""
        if self.refusal:
            raise RegistryUnavailable(self.refusal)
        return self.transaction(BEGIN_TO_WRITE if self.postgresql else "BEGIN IMMEDIATE")

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Connection]:
        connection = self.connection
        if connection.depth:  # inside another: the outer one commits
            connection.depth += 1
            try:
                yield connection
            finally:
                connection.depth -= 1
            return
        try:
            try:
                connection.cursor.execute(begin)
            except Exception:
                self.discard()
                raise
            connection.depth = 1
            try:
                yield connection
                connection.cursor.execute("COMMIT")
            except BaseException:
                self._rollback(connection)
                raise
            finally:
                connection.depth = 0
        except Exception as error:
            self._tell(error)
            raise

    def _rollback(self, connection: Connection) -> None:
        try:
            connection.execute("ROLLBACK")
        except Exception:  # the connection is lost, and with it the transaction
            connection.spoilt = True
        if connection.spoilt:
            self.discard()

    def discard(self) -> None:
        """Give up this thread's connection; the next use opens another."""
        held = getattr(self._local, "held", None)
        self._local.held = None
        if held is not None and held[0] == os.getpid():
            held[2].invalidate()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Faults of the database as RegistryUnavailable, without a password in them."""
        try:
            yield
        except Exception as error:
            self._tell(error)
            raise

    def _tell(self, error: Exception) -> None:
        """Raise a fault of the database as RegistryUnavailable, what it does not allow as
        NotAllowed, what it cannot keep as InvalidValue; do nothing for any other."""
        if isinstance(error, DBAPIError) and isinstance(error.orig, Exception):
            error = error.orig  # what the driver raised
        if isinstance(error, sqlite3.DatabaseError):
            if not isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
                raise RegistryUnavailable(self._why(error)) from error
        elif getattr(error, "sqlstate", None) == NO_PRIVILEGE:
            raise NotAllowed(self._role_needed(error)) from error
        elif getattr(error, "sqlstate", None) == TOO_LARGE:
            raise InvalidValue(
                "a text that is in an index, like a name, a tag or a run, is too long for "
                f"PostgreSQL ({str(error).splitlines()[0]}): shorten it to 2,000 characters."
            ) from error
        elif type(error).__module__.startswith("psycopg") and "OperationalError" in {
            kind.__name__ for kind in type(error).__mro__
        }:
            raise RegistryUnavailable(self._why(error)) from error

    def _role_needed(self, error: Exception) -> str:
        """What the user may not do, and which roles may: the next one up, and an owner."""
        said = str(error).splitlines()[0]
        try:
            user, level = self.connection.row(WHO_MAY)
            has = dict(self.connection.rows(ROLES_THAT_MAY))
        except Exception:  # the connection is lost: the first sentence is true all the same
            user, level, has = self.address.url.username or "this user", 0, {}
        enough = (2, 3) if level else (1,)
        needed = [has[one] for one in enough if one > level and one in has]
        if needed and not (level and any(sign in said for sign in MAKERS_ALONE)):
            way = f"It takes the role {' or '.join(needed)}: ask who administers the database."
        else:
            way = "Ask who made the registry; `lineage db roles` shows which roles it can have."
        return f"{user} may not do this in {self.address} ({said}). {way}"

    def _why(self, error: BaseException | None) -> str:
        said = " ".join(str(error).split())
        for secret in self.address.secrets:
            said = said.replace(secret, "***")
        for marker, sentence in _FAULTS:
            if marker in said:
                return f"the registry {self.address} {sentence} ({said})"
        return f"the registry {self.address} could not be reached: {said}"

    def close(self) -> None:
        held = getattr(self._local, "held", None)
        if held is not None and held[0] == os.getpid():
            self._local.held = None
            held[2].close()
        self.engine.dispose(close=held is None or held[0] == os.getpid())


def _is_news(record: logging.LogRecord) -> bool:
    """Whether psycopg says more than the exception that it raises: not of what was still on its way
    to the server when a statement failed."""
    return not str(record.msg).startswith("error ignored")


_FAULTS = (
    ("database is locked", "is held by another writer; try again, or end what holds it"),
    ("readonly database", "is read-only: check the permissions of the file and its folder"),
    ("unable to open", "cannot be opened: check that the folder exists and is yours"),
    ("disk is full", "could not grow: the disk is full. Nothing of this write was kept"),
    ("No space left", "could not grow: the disk is full. Nothing of this write was kept"),
    ("not a database", "is not a lineage registry: another kind of file. Choose another --db"),
    ("disk I/O error", "met a disk error. Nothing of this write was kept"),
    ("malformed", "is damaged; restore a backup"),
)


def connect(
    db: str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    durable: bool = True,
    allow_network_fs: bool = False,
) -> Database:
    """A checked database. `create` makes a registry where there is none; without it that is a
    RegistryUnavailable. A registry of another schema is a SchemaMismatch.

    `durable` is `synchronous=FULL`: a write that returned survives a power loss."""
    address = locate(db)
    database = Database(address, durable=durable, allow_network_fs=allow_network_fs)
    try:
        check(database, create)
    except BaseException:
        database.close()
        raise
    return database


def _is_there(file: Path) -> bool:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RegistryUnavailable(
            f"the registry {file} cannot be reached: {error.strerror or error}. Check the "
            "permissions of its folder, or name another with --db or LINEAGE_DB."
        ) from None
    return True


def check(database: Database, create: bool) -> None:
    """Make sure that there is a registry of the newest schema: see `connect`."""
    file = database.address.file
    if file is not None and not _is_there(file):
        if not create:
            raise RegistryUnavailable(
                f"there is no registry at {file}. `lineage init` makes one; --db or LINEAGE_DB "
                "names another."
            )
        if database.refusal:
            raise RegistryUnavailable(database.refusal)
        _private_file(file)
    found = revision(database)
    if found is None:
        if not create:
            raise RegistryUnavailable(
                f"{database.address} holds no registry. `lineage init` makes one there."
            )
        _create(database)
        return
    expect_known(found, database.address)
    if found != schema.REVISIONS[-1]:
        raise SchemaMismatch(
            f"{database.address} has schema {found}, and this lineage needs "
            f"{schema.REVISIONS[-1]}. `lineage db upgrade` brings it up to date, keeping a copy."
        )


def expect_known(found: str, where: object) -> None:
    """SchemaMismatch where the schema that was found somewhere is of a newer lineage."""
    if found not in schema.REVISIONS:
        raise SchemaMismatch(
            f"{where} was written by a newer lineage (schema {found}; this one knows up to "
            f"{schema.REVISIONS[-1]}). Install a newer checkpoint-lineage."
        )


def revision(database: Database) -> str | None:
    """The schema revision found in the database, None when it is empty."""
    connection = database.connection
    if database.postgresql:
        there = "SELECT to_regclass(quote_ident(current_schema()) || '.alembic_version')"
    else:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    with database.faults():
        if connection.value(there) is None:
            return None
        found = connection.value("SELECT version_num FROM alembic_version")
    return None if found is None else str(found)


def _private_file(file: Path) -> None:
    """An empty file that only the user can read, in a folder likewise when we make it."""
    try:
        missing = [f for f in (file.parent, *file.parent.parents) if not f.exists()]
        for folder in reversed(missing):
            folder.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise RegistryUnavailable(
            f"the registry {file} cannot be created: {error.strerror}. Choose another place with "
            "--db or LINEAGE_DB."
        ) from error


def _create(database: Database) -> None:
    _check_vacant(database)
    if not database.postgresql and not database.network:
        with database.faults():
            _write_ahead(database.connection)
    with database.write() as connection:
        if revision(database) is not None:  # another process was faster
            return
        _check_vacant(database)
        for statement in creation(database.engine.dialect.name):
            connection.execute(statement)
    database.made = True


def _write_ahead(connection: Connection) -> None:
    """Switch to the write-ahead log. SQLite does not wait for its turn here, as it does elsewhere,
    where another process switches at the same moment."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _check_vacant(database: Database) -> None:
    """Make sure that nothing else lives where a registry is to be made."""
    if database.postgresql:  # among other tables there is room for ours
        there = """SELECT table_name FROM information_schema.tables
            WHERE table_schema = current_schema()"""
    else:
        there = "SELECT name FROM sqlite_master"
    with database.faults():
        found = {row[0] for row in database.connection.rows(there)}
    taken = found & schema.metadata.tables.keys() if database.postgresql else found
    if taken and revision(database) is None:
        raise RegistryUnavailable(
            f"{database.address} holds the tables of something else ({min(taken)}, for one). "
            "Choose another --db."
        )


@cache
def creation(dialect: str) -> tuple[str, ...]:
    """The statements that create the newest schema in an empty database, always in one order:
    between two indexes that cost alike SQLite takes the younger."""
    drivers = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite"}
    compiler = make_url(f"{drivers[dialect]}://").get_dialect()()
    clauses: list[ExecutableDDLElement] = []
    for table in schema.metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        clauses += [CreateTable(table), *map(CreateIndex, indexes)]
    statements = [str(clause.compile(dialect=compiler)) for clause in clauses]
    stamp = f"INSERT INTO alembic_version (version_num) VALUES ('{schema.REVISIONS[-1]}')"
    return (*statements, *schema.TRIGGERS[dialect], stamp)


