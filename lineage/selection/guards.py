"""Who is never selected, whatever the numbers say: section 4.4 of docs/selection.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lineage import ledger
from lineage.database import Connection
from lineage.organism import Organism
from lineage.selection.policy import Policy
from lineage.store import micros, now

FOUNDER, YOUNG, LOAD, LEASED, ALIASED, PROTECTED = (
    "founder", "young", "load-bearing", "leased", "aliased", "protected",
)  # fmt: skip


def guarded(
    connection: Connection,
    policy: Policy,
    at: int | None = None,
    among: Sequence[int] | None = None,
) -> dict[int, str]:
    """By organism what guards it, but for founders (`lone`); of several the strongest. `at` is now,
    in microseconds. Where some are given (`among`), the registry is asked about these, and others
    may be left out."""
    at = now() if at is None else at
    found: dict[int, str] = {}
    rows, params = "FROM organism o WHERE", list[Any]()
    if among is not None:
        rows = f"FROM {connection.ids} AS i CROSS JOIN organism o WHERE o.id = i.id AND"
        params = [connection.pack(among)]
    if policy.grace:
        since = at - int(policy.grace * 1e6)
        sql = f"SELECT o.id {rows} o.registered > ?"
        found.update((own, YOUNG) for (own,) in connection.rows(sql, (*params, since)))
    found.update(dict.fromkeys(ledger.load_bearing(connection, among), LOAD))
    sql = "SELECT organism FROM lease WHERE until > ?"
    found.update((own, LEASED) for (own,) in connection.rows(sql, (at,)))
    sql = f"SELECT a.organism FROM {connection.texts} AS i JOIN alias a ON a.alias = i.id"
    aliased = connection.rows(sql, (connection.pack(policy.aliases),))
    found.update((own, ALIASED) for (own,) in aliased)
    protected = connection.rows(f"SELECT o.id {rows} o.protected = 1", params)
    found.update((own, PROTECTED) for (own,) in protected)
    return found


def lone(connection: Connection) -> dict[int, int]:
    """By living organism the founder that it descends from; who descends from several, or is one,
    is left out. Linear in the registry."""
    of: dict[int, int] = {}  # the only founder, or 0 where there are several
    rows = connection.execute(
        """SELECT o.id, e.parent, o.status = 'alive' AND o.ghost = 0 FROM organism o
           LEFT JOIN edge e ON e.child = o.id WHERE o.same_as IS NULL ORDER BY o.generation, o.id"""
    )
    alive: dict[int, bool] = {}
    for own, parent, living in rows.fetchall():
        if parent is None:
            of[own] = own
        else:
            above = of.get(parent, 0)
            of[own] = above if of.get(own, above) == above else 0
            alive[own] = bool(living)
    return {own: of[own] for own, living in alive.items() if living and of[own]}


def of_one(connection: Connection, organism: Organism, policy: Policy) -> tuple[str, ...]:
    """All that guards one organism, in words."""
    held = ledger.aliases(connection, [organism.id]).get(organism.id, ())
    guards = ["protected"] if organism.protected else []
    guards += [f"alias {alias}" for alias in held if alias in policy.aliases]
    guards += ["load-bearing"] if ledger.load_bearing(connection, [organism.id]) else []
    for holder, until in connection.rows(
        "SELECT holder, until FROM lease WHERE organism = ? AND until > ? ORDER BY until, holder",
        (organism.id, now()),
    ):
        moment = ledger.moment(until)
        guards.append(f"leased by {holder} until {moment:%Y-%m-%d %H:%M} UTC")
    if organism.registered and micros(organism.registered) > now() - policy.grace * 1e6:
        guards.append("young")
    if policy.keep_founders and organism.generation == 0:
        guards += ["founder"] if organism.id in lone(connection).values() else []
    return tuple(guards)
