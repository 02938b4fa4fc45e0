"""Dumps of PostgreSQL: pg_dump writes one, pg_restore reads it. What is read goes as data into
tables of our own making, so that nothing that stands in a dump is ever executed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import IO

from sqlalchemy import Table
from sqlalchemy.engine import URL

from lineage import chain, copying, schema
from lineage.database import Connection, Database, expect_known
from lineage.errors import InvalidValue, RegistryUnavailable, SchemaMismatch

Progress = Callable[[int, int], object]
"""Told how many tables of how many are read."""

BATCH = 1_000
"""Rows sent at a time."""

KEPT = "lineage_replaced_"
"""How the schema begins in which a restore keeps what was there."""

_NAME = r'"(?:[^"]|"")+"|[^\s",.()]+'
_COPY = re.compile(rf"COPY (?:{_NAME})\.(?:{_NAME}) \((.*)\) FROM stdin;\n")
_ENCODING = re.compile(r"SET client_encoding = '(\w+)';\n")


@dataclass(frozen=True, slots=True)
class Dump:
    """A dump of a registry that can be restored: its file, and the schema of PostgreSQL in it."""

    file: Path
    space: str

    @property
    def by_hand(self) -> str:
        """The command that restores it as pg_restore does."""
        return f"pg_restore --no-owner --dbname=URL {shlex.quote(str(self.file))}"


def is_dump(file: Path) -> bool:
    """Whether a file was written by pg_dump, by its first bytes."""
    try:
        with file.open("rb") as opened:
            return opened.read(5) == b"PGDMP"
    except OSError:
        return False


# Writing


def possible(database: Database) -> bool:
    """Whether there are a pg_dump and a pg_restore that know this server: not older than it."""
    dump = shutil.which("pg_dump")
    if dump is None or shutil.which("pg_restore") is None:
        return False
    with database.faults():
        server = int(database.connection.value("SHOW server_version_num")) // 10_000
    told = re.search(r"\(PostgreSQL\) (\d+)", _run([dump, "--version"], {}))
    return told is not None and int(told[1]) >= server


def write(database: Database, file: Path) -> int:
    """Let pg_dump write a dump, and pg_restore look whether all tables are in it; how many
    organisms there are at least."""
    connection = database.connection
    with database.faults():
        organisms = int(connection.value("SELECT count(*) FROM organism"))
        space = str(connection.value("SELECT current_schema()"))
    address, secret = _for_libpq(database.address.url)
    _run(
        ["pg_dump", "--format=custom", f"--schema={_pattern(space)}", f"--file={file}",
         f"--dbname={address}"],
        secret,
    )  # fmt: skip
    missing = _missing(_run(["pg_restore", "--list", str(file)], {}), space)
    if missing:
        raise RegistryUnavailable(
            f"pg_dump left out {', '.join(missing)}: the dump is not kept. `lineage doctor` looks "
            "at the registry."
        )
    return organisms


def _missing(listed: str, space: str) -> list[str]:
    """The tables of a registry that a list of what is in a dump does not name."""
    there = [name for name in schema.metadata.tables if f" TABLE DATA {space} {name} " in listed]
    return sorted(schema.metadata.tables.keys() - set(there))


def _pattern(name: str) -> str:
    """A name as pg_dump takes it: quoted, it is no pattern."""
    return '"' + name.replace('"', '""') + '"'


def _for_libpq(url: URL) -> tuple[str, dict[str, str]]:
    """A URL without its password, and the password as a variable: in the arguments every user of
    the machine could read it."""
    query = {key: value for key, value in url.query.items() if key != "password"}
    plain = URL.create(
        "postgresql", url.username, None, url.host, url.port, url.database, query
    )
    password = url.password or url.query.get("password")
    return plain.render_as_string(), {"PGPASSWORD": str(password)} if password else {}


def _run(arguments: list[str], more: dict[str, str]) -> str:
    """What a program says; RegistryUnavailable with its complaint where it fails."""
    done = subprocess.run(
        arguments, capture_output=True, text=True, errors="replace", env={**os.environ, **more}
    )
    if done.returncode:
        raise RegistryUnavailable(
            f"{Path(arguments[0]).name} failed: {' '.join(done.stderr.split())}. "
            "`lineage export --output FILE` writes JSON Lines instead."
        )
    return done.stdout


# Reading


def opened(file: Path) -> Dump:
    """A dump, once pg_restore can read it, and it holds a registry of the newest schema.

    Raises RegistryUnavailable where pg_restore is not there or cannot read it, InvalidValue where
    it holds something else, SchemaMismatch for another schema."""
    if shutil.which("pg_restore") is None:
        raise RegistryUnavailable(
            f"{file} is a dump of PostgreSQL, and there is no pg_restore on the PATH to read it. "
            "Install the client programs of PostgreSQL (`apt install postgresql-client`, "
            "`brew install libpq`)."
        )
    with _reading(["--list", str(file)], file) as lines:
        listed = b"".join(lines).decode("utf-8", "replace")
    spaces = [
        space
        for space in re.findall(r" TABLE DATA (.+) alembic_version ", listed)
        if not space.startswith(KEPT) and not _missing(listed, space)
    ]
    if len(spaces) != 1:
        what = f"several registries ({', '.join(spaces)})" if spaces else "no registry of lineage"
        raise InvalidValue(
            f"{file} is a dump of PostgreSQL with {what} in it. `lineage db backup` makes one with "
            "one registry; pg_restore restores any, in parts too."
        )
    dump = Dump(file, spaces[0])
    with _rows(dump, schema.version) as (_, _, rows):
        found = b"".join(rows).decode().strip()
    expect_known(found, file)
    if found != schema.REVISIONS[-1]:
        raise SchemaMismatch(
            f"{file} has schema {found}, and this lineage restores {schema.REVISIONS[-1]}. Bring "
            f"it into an empty database with `{dump.by_hand}`, then `lineage --db URL db upgrade`."
        )
    return dump


def into(dump: Dump, target: Database, tell: Progress) -> int:
    """Read a dump into an empty registry, inside the transaction of the caller, and follow the
    chain of its events; how many organisms came."""
    import psycopg

    tables = copying.tables()
    with target.write() as connection:
        for number, table in enumerate(tables):
            tell(number, len(tables))
            try:
                _read(dump, table, connection)
            except (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.RaiseException) as e:
                raise InvalidValue(
                    f"{dump.file} holds what no registry holds, in its table {table.name} "
                    f"({' '.join(str(e).split())}): nothing was changed. Take another backup."
                ) from e
        told = chain.verify(connection)
        if told.broken:
            raise InvalidValue(
                f"the history in {dump.file} is broken ({told.breaks[0]}): nothing was changed. "
                f"Take another backup; `{dump.by_hand}` brings it into an empty database as it is."
            )
        copying.set_sequences(connection)
        organisms = int(connection.value("SELECT count(*) FROM organism"))
        connection.execute("ANALYZE")
    tell(len(tables), len(tables))
    return organisms


def _read(dump: Dump, table: Table, connection: Connection) -> None:
    with _rows(dump, table) as (columns, encoding, rows):
        copy = f"""COPY "{table.name}" ({columns}) FROM STDIN (ENCODING '{encoding}')"""
        with connection.cursor.copy(copy) as stream:
            while batch := b"".join(islice(rows, BATCH)):
                stream.write(batch)


@contextmanager
def _rows(dump: Dump, table: Table) -> Iterator[tuple[str, str, Iterator[bytes]]]:
    """The columns of a table in a dump, the encoding, and its rows as COPY writes them."""
    asked = ["--data-only", f"--schema={dump.space}", f"--table={table.name}", "--file=-"]
    with _reading([*asked, str(dump.file)], dump.file) as lines:
        encoding, named = "UTF8", None
        for line in lines:
            said = line.decode("utf-8", "replace")
            if found := _ENCODING.fullmatch(said):
                encoding = found[1]
            elif found := _COPY.fullmatch(said):
                named = [one.strip('"') for one in re.findall(_NAME, found[1])]
                break
        if sorted(named or ()) != sorted(column.name for column in table.columns):
            raise InvalidValue(
                f"{dump.file} does not hold the table {table.name} as `lineage db backup` has it "
                f"written. `{dump.by_hand}` brings it into an empty database."
            )
        columns = ", ".join(f'"{one}"' for one in named or ())
        yield columns, encoding, takewhile(lambda line: line != b"\\.\n", lines)


@contextmanager
def _reading(arguments: list[str], file: Path) -> Iterator[Iterator[bytes]]:
    """The lines that pg_restore writes; RegistryUnavailable with its complaint where it fails."""
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(
            ["pg_restore", *arguments], stdout=subprocess.PIPE, stderr=said
        ) as reading:
            try:
                yield iter(_stdout(reading))
                for _ in _stdout(reading):  # it ends by itself
                    pass
            except BaseException:
                reading.kill()
                raise
        if reading.returncode:
            said.seek(0)
            why = " ".join(said.read().decode("utf-8", "replace").split())
            version = _run(["pg_restore", "--version"], {}).strip()
            raise RegistryUnavailable(
                f"{version} cannot read {file} ({why}): nothing was changed. Where it is older "
                "than the pg_dump that wrote the file, install the client programs of that "
                "PostgreSQL, or of a later one; else the file is damaged."
            )


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None
    return process.stdout
