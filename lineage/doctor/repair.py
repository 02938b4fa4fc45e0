"""What an examination found, mended: what is derived is made anew from what is recorded."""

from __future__ import annotations

import re
from collections.abc import Callable

from lineage import snapshots, standings
from lineage.doctor.findings import Checkup
from lineage.doctor.ranks import wrong_ranks
from lineage.doctor.records import MISCOUNTED, MISPLACED, TOTALS, UNSETTLED, misfiled
from lineage.doctor.structure import parts_made, parts_missing
from lineage.store import Act, Store


def repair(store: Store, found: Checkup) -> dict[str, int]:
    """Rebuild what is derived, where `found` says that it is wrong: indexes and triggers, ranks,
    relations, flags; and a snapshot that is stale or wrong. Found again and mended in one
    transaction, which leaves an event; nothing that was recorded is touched. How many of each."""
    wanted = {finding.check for finding in found.findings if finding.derived}
    mended: dict[str, int] = {}
    if wanted - {"snapshot"}:
        with store.act() as act:
            for check, mend in MENDS.items():
                if check in wanted:
                    mended[check] = mend(act)
            if any(mended.values()):
                act.event(None, "repaired", mended)
    if "snapshot" in wanted or found.snapshot == "stale":
        mended["snapshot"] = int(snapshots.build(store.database))
    return mended


def _mend_schema(act: Act, *kinds: str) -> int:
    """Create what is missing. What cannot be, because rows are there twice, stays missing."""
    connection = act.connection
    made = parts_made("postgresql" if connection.postgresql else "sqlite")
    count = 0
    for key in parts_missing(connection, kinds):
        connection.execute("SAVEPOINT mending")
        try:
            for statement in _anew(key, made[key]) if connection.postgresql else (made[key],):
                connection.execute(statement)
            count += 1
        except connection.raw.IntegrityError:  # both drivers have it there
            connection.execute("ROLLBACK TO mending")
        connection.execute("RELEASE mending")
    return count


def _anew(key: tuple[str, str], statement: str) -> tuple[str, ...]:
    """What creates a part of PostgreSQL's schema, where a trigger may be there, but disabled."""
    kind, name = key
    if kind != "trigger":
        return (statement,)
    table = re.search(r"\bON (\w+)", statement)
    assert table is not None  # a trigger is of a table
    return f"DROP TRIGGER IF EXISTS {name} ON {table[1]}", statement


def _mend_ranks(act: Act) -> int:
    wrong = wrong_ranks(act.connection).wrong
    act.connection.many("UPDATE organism SET generation = ?, jump = ? WHERE id = ?", wrong)
    return len(wrong)


def _mend_relations(act: Act) -> int:
    pairs = act.connection.rows(UNSETTLED)
    act.settle_links(pairs)
    return len(pairs)


def _mend_current(act: Act) -> int:
    count = 0
    for table, sql in MISCOUNTED.items():
        wrong = [row[0] for row in act.connection.rows(sql)]
        act.settle(table, set(wrong))
        count += len(wrong)
    totals = act.connection.execute(
        f"UPDATE power SET current = CASE WHEN retracted IS NULL THEN 1 ELSE 0 END WHERE {TOTALS}"
    )
    return count + int(totals.rowcount)


def _mend_here(act: Act) -> int:
    wrong = [row[0] for row in act.connection.rows(MISPLACED)]
    act.set_places_here(wrong)
    return len(wrong)


def _mend_hashes(act: Act) -> int:
    wrong = misfiled(act.connection)
    act.connection.many("UPDATE place SET hash = ? WHERE id = ?", [row[1:] for row in wrong])
    return len(wrong)


def _mend_standings(act: Act) -> int:
    wrong = standings.wrong(act.connection)
    standings.rebuild(act.connection)
    return len(wrong)


MENDS: dict[str, Callable[[Act], int]] = {
    "indexes": lambda act: _mend_schema(act, "index"),
    "triggers": lambda act: _mend_schema(act, "function", "trigger"),
    "ranks": _mend_ranks,
    "relations": _mend_relations,
    "current": _mend_current,
    "here": _mend_here,
    "hashes": _mend_hashes,
    "standings": _mend_standings,
}
