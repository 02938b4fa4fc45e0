"""Whether the database itself is whole: its file, the tables, indexes and guards of the schema, and
rows that point to others."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from lineage import database as ground
from lineage import schema
from lineage.database import Connection, Database
from lineage.doctor.findings import EXAMPLES, Finding, finding


def check_damaged(database: Database, deep: bool) -> list[Finding]:
    """What SQLite's own check says. `deep` compares every index with its table, which takes twice
    as long. PostgreSQL keeps its pages itself."""
    if database.postgresql:
        return []
    check = "integrity_check" if deep else "quick_check"
    connection = database.connection
    with database.faults():
        try:
            said = [row[0] for row in connection.rows(f"PRAGMA {check}({EXAMPLES})")]
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise
            said = _damaged_tables(connection, check) or [str(error)]
    lines = [line for one in said for line in one.splitlines() if line != "ok"]
    return finding("damaged", len(lines), lines)


def _damaged_tables(connection: Connection, check: str) -> list[str]:
    """What the check says table by table, where it gave up on the whole."""
    said = []
    for table in schema.metadata.sorted_tables:
        try:
            found = connection.rows(f"PRAGMA {check}('{table.name}')")
            said += [row[0] for row in found if row[0] != "ok"]
        except sqlite3.DatabaseError as error:
            said.append(f"table {table.name}: {error}")
    return said


_MADE = re.compile(r'\s*CREATE (?:UNIQUE )?(INDEX|TRIGGER|FUNCTION) "?(\w+)"?')


def parts_made(dialect: str) -> dict[tuple[str, str], str]:
    """(kind, name) of each index, trigger and function of the schema, and what creates it."""
    found = {}
    for statement in ground.creation(dialect):
        if match := _MADE.match(statement):
            found[match[1].lower(), match[2]] = statement
    return found


def parts_there(connection: Connection) -> set[tuple[str, str]]:
    """(kind, name) of all that the database itself says is there; a column is `table.column`."""
    if not connection.postgresql:
        sql = """SELECT type, name FROM sqlite_master
            UNION ALL SELECT 'column', m.name || '.' || c.name
            FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"""
    else:
        sql = """SELECT 'column', table_name || '.' || column_name FROM information_schema.columns
              WHERE table_schema = current_schema()
            UNION ALL SELECT 'table', table_name FROM information_schema.tables
              WHERE table_schema = current_schema()
            UNION ALL SELECT 'index', indexname FROM pg_indexes WHERE schemaname = current_schema()
            UNION ALL SELECT 'function', proname FROM pg_proc
              WHERE pronamespace = current_schema()::regnamespace
            UNION ALL SELECT 'trigger', tgname FROM pg_trigger t
              JOIN pg_class c ON c.oid = t.tgrelid
              WHERE c.relnamespace = current_schema()::regnamespace AND t.tgenabled <> 'D'"""
    return {(kind, name) for kind, name in connection.rows(sql)}


def parts_missing(connection: Connection, kinds: Sequence[str]) -> list[tuple[str, str]]:
    made = parts_made("postgresql" if connection.postgresql else "sqlite")
    there = parts_there(connection)
    return [key for key in made if key[0] in kinds and key not in there]


def check_schema(connection: Connection) -> list[Finding]:
    expected = [("table", table.name) for table in schema.metadata.sorted_tables] + [
        ("column", f"{table.name}.{column.name}")
        for table in schema.metadata.sorted_tables
        for column in table.columns
    ]
    there = parts_there(connection)
    missing = [key for key in expected if key not in there]
    gone = {name for kind, name in missing if kind == "table"}
    missing = [key for key in missing if key[0] == "table" or key[1].partition(".")[0] not in gone]
    return _parts("schema", missing)


def check_indexes(connection: Connection) -> list[Finding]:
    return _parts("indexes", parts_missing(connection, ("index",)))


def check_triggers(connection: Connection) -> list[Finding]:
    return _parts("triggers", parts_missing(connection, ("function", "trigger")))


def _parts(check: str, missing: list[tuple[str, str]]) -> list[Finding]:
    return finding(check, len(missing), (f"{kind} {name}" for kind, name in missing))


def check_references(connection: Connection) -> list[Finding]:
    """Foreign keys that lead nowhere. One question for each, since SQLite's foreign_key_check does
    not tell a row of a table without row ids, and PostgreSQL has none."""
    count, examples = 0, []
    for table in schema.metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            pairs = [(one.parent.name, one.column.name) for one in key.elements]
            on = " AND ".join(f"p.{theirs} = c.{ours}" for ours, theirs in pairs)
            ours, theirs = pairs[0]
            shown = ", ".join(f"c.{one}" for one, _ in pairs)
            dangling = f"""FROM {table.name} c LEFT JOIN {key.referred_table.name} p ON {on}
                WHERE c.{ours} IS NOT NULL AND p.{theirs} IS NULL"""
            found = int(connection.value(f"SELECT count(*) {dangling}"))
            if found:
                count += found
                columns = "+".join(one for one, _ in pairs)
                examples += [
                    f"{table.name}.{columns} {' '.join(f'#{value}' for value in row)}"
                    for row in connection.rows(f"SELECT DISTINCT {shown} {dangling} LIMIT 5")
                ]
    return finding("references", count, examples)
