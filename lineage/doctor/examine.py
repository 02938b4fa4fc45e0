"""An examination of a registry: all checks in their order, in one consistent view. It changes
nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lineage import schema, snapshots, spool
from lineage.clades import MANY
from lineage.database import Connection, Database
from lineage.doctor.files import on_disk
from lineage.doctor.findings import Checkup, Finding, Progress, finding
from lineage.doctor.ranks import check_ranks
from lineage.doctor.records import (
    check_absorbed,
    check_aliases,
    check_chain,
    check_current,
    check_events,
    check_evidence,
    check_hashes,
    check_here,
    check_names,
    check_relations,
    check_snapshot,
    check_standings,
    check_unknown,
)
from lineage.doctor.structure import (
    check_damaged,
    check_indexes,
    check_references,
    check_schema,
    check_triggers,
)


def examine(
    database: Database,
    *,
    files: bool = False,
    deep: bool = False,
    head: bytes | None = None,
    progress: Progress | None = None,
) -> Checkup:
    """Look at all of a registry, in one consistent view, while others write. Time is linear in the
    registry, and memory a few numbers for each organism and link.

    `files` looks at the files of all places on this host too: whether they are there, of their
    size, and readable. `deep` reads every byte of them, and on SQLite every index. `head` is a head
    of the event chain that was kept elsewhere: whether the history still leads through it."""
    begun = time.monotonic()
    tell: Progress = progress or (lambda *_: None)
    with _careful(database):
        findings, skipped, counts, state = _in_database(database, deep, head, tell)
    spooled, counted = _in_spool(database)
    findings, counts = findings + spooled, {**counts, **counted}
    if (files or deep) and not skipped:
        found, looked_at = on_disk(database, deep, tell)
        findings += found
        counts |= looked_at
    return Checkup(
        registry=str(database.address),
        schema=schema.REVISIONS[-1],
        findings=tuple(findings),
        skipped=skipped,
        counts=counts,
        snapshot=state,
        seconds=time.monotonic() - begun,
    )


def _in_spool(database: Database) -> tuple[list[Finding], dict[str, int]]:
    """What training runs left that never can come in, and how much waits: no fault, while one
    runs."""
    folder = spool.folder_of(database.address)
    aside = spool.set_aside(folder)
    examples = (f"{file}: {reason}" for file, reason in aside)
    found = finding("set_aside", len(aside), examples, [str(folder / spool.SET_ASIDE)])
    return found, {"waiting": len(spool.waiting(folder))}


@contextmanager
def _careful(database: Database) -> Iterator[None]:
    """Read SQLite's file without mapping it into memory: there, a page that a failing disk cannot
    give kills the process (https://www.sqlite.org/mmap.html)."""
    if database.postgresql:
        yield
        return
    connection = database.connection
    mapped = connection.value("PRAGMA mmap_size")
    connection.execute("PRAGMA mmap_size=0")
    try:
        yield
    finally:
        database.connection.execute(f"PRAGMA mmap_size={mapped}")


def _in_database(
    database: Database, deep: bool, head: bytes | None, tell: Progress
) -> tuple[list[Finding], tuple[str, ...], dict[str, int], str]:
    """What the checks of the database find, those that have to wait, what was looked at, and the
    state of the snapshot."""
    tell("damaged", 0, len(CHECKS))
    findings = check_damaged(database, deep)
    if findings:  # not even a transaction may be ended then
        return findings, (*CHECKS, "chain"), {}, "none"
    with database.read() as connection:
        for done, (name, check) in enumerate(CHECKS.items()):
            tell(name, done, len(CHECKS))
            findings += check(connection)
            if findings and name in BLOCKING:
                return findings, (*tuple(CHECKS)[done + 1 :], "chain"), {}, "none"
        tell("chain", len(CHECKS), len(CHECKS) + 1)
        findings += check_chain(connection, head)
        return findings, (), _counts(connection), _snapshot_state(connection)


def _counts(connection: Connection) -> dict[str, int]:
    ghosts = connection.value("SELECT count(*) FROM organism WHERE ghost = 1")
    absorbed = connection.value("SELECT count(*) FROM organism WHERE same_as IS NOT NULL")
    counted = {
        table: int(connection.value(f"SELECT count(*) FROM {table}"))
        for table in ("organism", "edge", "fitness", "power", "event")
    }
    return {
        "organisms": counted["organism"] - ghosts - absorbed,
        "ghosts": ghosts,
        "links": counted["edge"],
        "scores": counted["fitness"],
        "costs": counted["power"],
        "events": counted["event"],
    }


def _snapshot_state(connection: Connection) -> str:
    if snapshots.current(connection) is not None:
        return "fresh"
    made = connection.value("SELECT 1 FROM setting WHERE key = 'snapshot'")
    many = connection.value(
        f"SELECT count(*) FROM (SELECT 1 FROM organism LIMIT {MANY + 1}) AS counted"
    )
    return "stale" if made or many > MANY else "none"


CHECKS: dict[str, Callable[[Connection], list[Finding]]] = {
    "schema": check_schema,
    "indexes": check_indexes,
    "triggers": check_triggers,
    "references": check_references,
    "ranks": check_ranks,
    "evidence": check_evidence,
    "relations": check_relations,
    "current": check_current,
    "here": check_here,
    "hashes": check_hashes,
    "standings": check_standings,
    "names": check_names,
    "aliases": check_aliases,
    "absorbed": check_absorbed,
    "unknown": check_unknown,
    "events": check_events,
    "snapshot": check_snapshot,
}
BLOCKING = ("schema", "indexes")
"""Checks without which the others would fail, or take forever."""
