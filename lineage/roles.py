"""Who may do what to a registry on PostgreSQL: a reader, a writer who records and corrects nothing,
an owner who may mark, correct and cull. Roles are granted to people by their administrator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from lineage import database as ground
from lineage import schema
from lineage.database import Connection, Database
from lineage.errors import InvalidValue, NotAllowed

ROLES = ("reader", "writer", "owner")
"""Each may do what the one before may, and more."""

RECORDED = (
    "organism", "name", "vacated", "place", "file", "edge", "evidence", "niche", "fitness", "meter",
    "power", "tag", "alias", "actor", "event", "document", "configuration", "tensor", "arrival",
    "lease", "crawl",
)  # fmt: skip
"""Where a writer adds rows: everywhere but in the quarantine."""

INDEX = ("setting", "label", "graft", "label_score", "label_niche", "stripe", "standing")
"""The interval snapshot and standings, which are made from the rest: a writer may do anything to
them."""

UPDATED = {
    # what becomes known of an organism that was a ghost or had no files; what is derived; and the
    # status, since a training run tells what its rotation deleted
    "organism": (
        "digest", "ghost", "epigenetic", "here", "generation", "jump", "status", "registered",
        "parameters", "bytes", "architecture", "precision", "licence", "run", "step", "created",
    ),
    "place": ("host", "gone_at"),
    "file": ("bytes", "sha256", "genome", "modified"),  # saved again over itself
    "edge": ("relation", "weight"),  # those of the strongest evidence
    "niche": ("direction",),  # once it is known
    "fitness": ("current",),
    "power": ("current",),
    "tag": ("value",),
    "alias": ("organism",),
    "vacated": ("version",),  # what an import tells of renames
    "lease": ("until",),
    "crawl": ("cursor", "watermark", "at"),
}  # fmt: skip
"""The columns that a writer may change: those that a registration, a score or a tag must."""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles of a registry: its address; their names, by what they may do; those that are there
    already; and the SQL that makes them and gives them their rights. `applied`: that it was run."""

    registry: str
    names: dict[str, str]
    there: tuple[str, ...]
    sql: tuple[str, ...]
    applied: bool


def roles(
    db: str | os.PathLike[str] | None = None, *, prefix: str | None = None, apply: bool = False
) -> Roles:
    """The roles of the registry `db` on PostgreSQL, called `prefix`_reader, _writer and _owner (by
    default after its database), and the statements that make them or set their rights anew; with
    `apply`, run in one transaction. Running it twice changes nothing.

    InvalidValue for SQLite, where the permissions of the file decide; NotAllowed where the user may
    not make roles."""
    address = ground.locate(db)
    if address.file is not None:
        raise InvalidValue(
            f"{address} is an SQLite file, which has no roles: the permissions of the file and its "
            "folder say who may read and write. Roles are for a registry on PostgreSQL."
        )
    with closing(ground.connect(db, create=False)) as database:
        with database.read() as connection:
            names, there, sql = _plan(connection, prefix)
        if apply:
            _apply(database, sql)
    return Roles(str(database.address), names, there, sql, apply)


def _plan(
    connection: Connection, prefix: str | None
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    base, space = connection.row("SELECT current_database(), current_schema()")
    names = {role: f"{prefix or base}_{role}" for role in ROLES}
    if too_long := [name for name in names.values() if len(name.encode()) > 63]:
        raise InvalidValue(
            f"{too_long[0]!r} is longer than the 63 bytes that PostgreSQL gives a name. Give a "
            "shorter --prefix."
        )
    if "\x00" in "".join(names.values()):
        raise InvalidValue(f"the prefix {prefix!r} holds a character that PostgreSQL cannot keep.")
    which = "SELECT rolname FROM pg_roles WHERE rolname = ANY(?)"
    there = {row[0] for row in connection.rows(which, (list(names.values()),))}
    sequences = [row[0] for row in connection.rows(
        """SELECT s.relname FROM pg_class s JOIN pg_depend d ON d.objid = s.oid
             AND d.refclassid = 'pg_class'::regclass
           JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace n ON n.oid = t.relnamespace
           WHERE s.relkind = 'S' AND n.nspname = ? AND t.relname = ANY(?) ORDER BY s.relname""",
        (space, list(schema.metadata.tables)))]  # fmt: skip
    sql = tuple(_statements(base, space, names, there, sequences))
    return names, tuple(name for name in names.values() if name in there), sql


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _statements(
    base: str, space: str, names: dict[str, str], there: set[str], sequences: list[str]
) -> Iterator[str]:
    reader, writer, owner = (quoted(names[role]) for role in ROLES)
    everybody = f"{reader}, {writer}, {owner}"

    def tables(which: tuple[str, ...]) -> str:
        return ", ".join(f"{quoted(space)}.{quoted(one)}" for one in which)

    for name in names.values():
        if name not in there:
            yield f"CREATE ROLE {quoted(name)} NOLOGIN"
    yield f"GRANT {reader} TO {writer}"
    yield f"GRANT {writer} TO {owner}"
    every = tuple(schema.metadata.tables)
    yield f"REVOKE ALL ON {tables(every)} FROM {everybody}"
    yield f"GRANT CONNECT ON DATABASE {quoted(base)} TO {reader}"
    yield f"GRANT USAGE ON SCHEMA {quoted(space)} TO {reader}"
    yield f"GRANT SELECT ON {tables(every)} TO {reader}"
    yield f"GRANT INSERT ON {tables(RECORDED)} TO {writer}"
    for table, columns in UPDATED.items():
        listed = ", ".join(map(quoted, columns))
        yield f"GRANT UPDATE ({listed}) ON {tables((table,))} TO {writer}"
    yield f"GRANT INSERT, UPDATE, DELETE ON {tables(INDEX)} TO {writer}"
    yield (
        "GRANT USAGE ON SEQUENCE "
        f"{', '.join(f'{quoted(space)}.{quoted(one)}' for one in sequences)} TO {writer}"
    )
    changed = (*(one for one in RECORDED if one != "event"), "quarantine")
    yield f"GRANT INSERT, UPDATE, DELETE ON {tables(changed)} TO {owner}"


def _apply(database: Database, sql: tuple[str, ...]) -> None:
    try:
        with database.write() as connection:
            for statement in sql:
                connection.cursor.execute(statement)
    except NotAllowed as error:
        raise NotAllowed(
            f"the roles of {database.address} are made by who made the registry, with CREATEROLE, "
            "or by an administrator, who can run what `lineage db roles` shows "
            f"({str(error.__cause__).splitlines()[0]})."
        ) from error
