"""A registry copied whole into another database: SQLite to PostgreSQL, back, or to its own kind.
All rows with their ids, the history with its chain; read as of one moment, written in one
transaction, and read back and compared before that ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table

from lineage import database as ground
from lineage import schema
from lineage.database import Connection, Database
from lineage.errors import InvalidValue, RegistryUnavailable

Progress = Callable[[str, int, int], object]
"""Told which table is copied, and how many rows of how many."""

BATCH = 10_000
"""Rows read and written at a time."""

SUM = 1 << 128


@dataclass(frozen=True, slots=True)
class Copied:
    """A registry that was copied: from where, to where, and by table how many rows, each of which
    was read back and compared."""

    source: str
    target: str
    rows: dict[str, int]

    @property
    def organisms(self) -> int:
        """Ghosts too."""
        return self.rows["organism"]


def copy(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
) -> Copied:
    """Copy the registry `source` to `target`, which is made where it is not there. Others may go on
    writing to the source: the copy is of one moment, and leaves no event in it.

    Raises InvalidValue where the target holds anything, RegistryUnavailable where one cannot be
    reached or the copy is not the same as its source; the target is empty then."""
    if ground.locate(source).url == ground.locate(target).url:
        raise InvalidValue(f"{ground.locate(source)} cannot be copied to itself.")
    with (
        closing(ground.connect(source, create=False)) as one,
        closing(ground.connect(target)) as other,
    ):
        return into(one, other, progress)


def into(source: Database, target: Database, progress: Progress | None = None) -> Copied:
    """As `copy`, between databases that are open."""
    tell: Progress = progress or (lambda *_: None)
    with source.read() as old, target.write() as new:
        _expect_empty(target, new)
        if not new.postgresql:  # an organism may point to a later one that it is the same as
            new.execute("PRAGMA defer_foreign_keys=ON")
        rows = {}
        for table in tables():
            rows[table.name] = _copy(table, old, new, tell)
            _expect_same(table, new, rows[table.name], target)
        if new.postgresql:
            set_sequences(new)
    if target.postgresql:
        target.connection.execute("ANALYZE")
    return Copied(
        str(source.address), str(target.address), {name: count for name, (count, _) in rows.items()}
    )


def tables() -> list[Table]:
    """All tables that hold something, each after those that it refers to."""
    return [one for one in schema.metadata.sorted_tables if one is not schema.version]


def _expect_empty(target: Database, connection: Connection) -> None:
    for table in tables():
        if connection.value(f'SELECT 1 FROM "{table.name}" LIMIT 1') is not None:
            raise InvalidValue(
                f"{target.address} is not empty: its table {table.name} has rows. A copy goes into "
                "an empty database or a new file; `lineage import` adds one registry to another."
            )


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


Sum = tuple[int, int]
"""How many rows, and the sum of their digests: the same for the same rows in any order, since the
two databases sort texts differently."""


def _added(known: Sum, rows: Sequence[Sequence[Any]]) -> Sum:
    count, total = known
    for row in rows:
        written = repr([bytes(x) if isinstance(x, memoryview) else x for x in row]).encode()
        total += int.from_bytes(hashlib.blake2b(written, digest_size=16).digest())
    return count + len(rows), total % SUM


def _copy(table: Table, old: Connection, new: Connection, tell: Progress) -> Sum:
    """Copy the rows of a table; their sum."""
    size = int(old.value(f'SELECT count(*) FROM "{table.name}"'))
    tell(table.name, 0, size)
    known: Sum = (0, 0)
    columns = _columns(table)
    read = old.stream(f'SELECT {columns} FROM "{table.name}"', (), BATCH)
    for batch in _written(table, columns, read, new):
        known = _added(known, batch)
        tell(table.name, known[0], size)
    return known


def _written(
    table: Table, columns: str, read: Iterator[list[Any]], new: Connection
) -> Iterator[list[Any]]:
    """Write batches of rows, and yield each once it is written: with COPY where there is one."""
    if not new.postgresql:
        marks = ", ".join("?" * len(table.columns))
        for batch in read:
            new.many(f'INSERT INTO "{table.name}" ({columns}) VALUES ({marks})', batch)
            yield batch
        return
    with new.cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as stream:
        for batch in read:
            for row in batch:
                stream.write_row(row)
            yield batch


def _expect_same(table: Table, new: Connection, known: Sum, target: Database) -> None:
    """Read a table back, inside the transaction that wrote it."""
    found: Sum = (0, 0)
    for batch in new.stream(f'SELECT {_columns(table)} FROM "{table.name}"', (), BATCH):
        found = _added(found, batch)
    if found != known:
        raise RegistryUnavailable(
            f"what arrived in the table {table.name} of {target.address} is not what was sent "
            f"({found[0]:,} rows of {known[0]:,}, or others): nothing of the copy is kept."
        )


def set_sequences(new: Connection) -> None:
    """Let the next ids follow those that were copied."""
    for table in tables():
        sequence = new.value(
            """SELECT pg_get_serial_sequence(?, 'id') FROM information_schema.columns
               WHERE table_schema = current_schema() AND table_name = ? AND column_name = 'id'""",
            (table.name, table.name),
        )
        if sequence is not None:
            new.execute(
                f'SELECT setval(?::regclass, coalesce(max(id), 0) + 1, false) FROM "{table.name}"',
                (sequence,),
            )
