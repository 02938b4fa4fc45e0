"""Corrections of what was recorded: a wrong score, cost, link or registration is struck out with a
reason, a name is changed. Nothing is erased: each correction leaves an event that `undoing` can
take back."""

from __future__ import annotations

import uuid as uuids
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lineage import chain
from lineage.database import Connection
from lineage.errors import InvalidValue, NotFound
from lineage.organism import PERS, PHASES, Niche, PowerCost, Score, one_of, text
from lineage.references import resolve
from lineage.registration import FACTS
from lineage.store import (
    POWER_KEYS,
    REGISTRATION,
    Act,
    Store,
    iso,
    known_link,
    power_body,
    score_body,
)


def why(reason: str, what: str) -> str:
    if not isinstance(reason, str) or not reason.strip():
        raise InvalidValue(f"say why {what} is retracted: the reason is kept with it.")
    return text(reason, "the reason")


# ---- Scores


def retract_score(store: Store, ref: Any, niche: Niche, reason: str) -> int:
    """Strike out the score that counts in a niche: the one before it counts again. The event."""
    reason = why(reason, f"the score in {niche}")
    with store.act() as act:
        own = resolve(act.connection, ref)
        row = act.connection.row(
            """SELECT f.id, f.value, f.stderr, f.n, f.at, n.direction
               FROM niche n JOIN fitness f ON f.niche = n.id
               WHERE n.task = ? AND n.metric = ? AND n.split = ? AND f.organism = ?
                 AND f.current = 1""",
            (niche.task, niche.metric, niche.split, own),
        )
        if row is None:
            raise NotFound(f"{act.label(own)} has no score that counts in {niche}.")
        number, value, stderr, n, at, direction = row
        act.strike("fitness", {number: own}, reason)
        body = score_body(Score(niche, value, stderr, n, direction))
        told = {"what": "score", **body, "at": iso(at), "reason": reason}
        act.event(own, "retracted", told)
        return chain.head(act.connection)[0]


# ---- Costs

COST = f"""SELECT p.id, {", ".join(f"p.{key}" for key in POWER_KEYS[:-2])}, m.name, p.uuid, p.at
  FROM power p LEFT JOIN meter m ON m.id = p.meter WHERE p.organism = ?"""


def cost_of(row: Sequence[Any]) -> tuple[int, PowerCost, int]:
    """A row of COST: its id, the cost, and when, in microseconds."""
    number, *values, key, at = row
    written = dict(zip(POWER_KEYS[:-1], values, strict=True))
    written["uuid"] = None if key is None else str(uuids.UUID(bytes=bytes(key)))
    return number, PowerCost(**written), at


def retract_cost(
    store: Store, ref: Any, phase: str, per: str, uuid: str | None, reason: str
) -> int:
    """Strike out the rate that counts of a phase, or one interval (`per` total) of it: the only
    one, or that of a UUID. The event."""
    one_of(phase, PHASES, "phase")
    one_of(per, PERS, "per")
    reason = why(reason, f"the cost of {phase}")
    with store.act() as act:
        own = resolve(act.connection, ref)
        rows = act.connection.rows(
            f"{COST} AND p.phase = ? AND p.per = ? AND p.current = 1 ORDER BY p.at, p.id",
            (own, phase, per),
        )
        found = [cost_of(row) for row in rows]
        if uuid is not None:
            found = [one for one in found if one[1].uuid == _uuid(uuid)]
        if not found:
            of = f" with the UUID {uuid}" if uuid else ""
            raise NotFound(f"{act.label(own)} has no cost of {phase} per {per}{of} that counts.")
        if len(found) > 1:
            listed = "; ".join(f"{one.uuid} ({iso(at)})" for _, one, at in found[:12])
            raise InvalidValue(
                f"{act.label(own)} has {len(found)} intervals of {phase}. Say which by its UUID: "
                f"{listed}."
            )
        number, cost, at = found[0]
        act.strike("power", {number: own}, reason)
        told = {"what": "cost", **power_body(cost), "at": iso(at), "reason": reason}
        act.event(own, "retracted", told)
        return chain.head(act.connection)[0]


def _uuid(written: str) -> str:
    try:
        return str(uuids.UUID(written))
    except ValueError:
        raise InvalidValue(f"uuid {written!r} is not a UUID: `lineage show` lists them.") from None


# ---- Links


def retract_link(store: Store, child: Any, parent: Any, reason: str) -> int:
    """Strike out the link between two organisms; the event keeps all evidence there was."""
    reason = why(reason, "the link")
    with store.act() as act:
        own, other = resolve(act.connection, child), resolve(act.connection, parent)
        was, needed = known_link(act, own, other)
        act.remove_link(own, other)
        told = {"what": "link", "ref": act.label(other), "was": was, "needed": needed}
        act.event(own, "retracted", {**told, "reason": reason})
        return chain.head(act.connection)[0]


# ---- Registrations

DESCRIBED = (*FACTS, "registered", "epigenetic")


def retract_registration(store: Store, ref: Any, reason: str) -> int:
    """Strike out a registration: the organism is a ghost again, so that what descends from it keeps
    its parents; its facts, scores and costs count no more. Registered again, it is real again."""
    reason = why(reason, "the registration")
    with store.act() as act:
        own = resolve(act.connection, ref)
        ghost, *values = act.connection.row(
            f"SELECT ghost, {', '.join(DESCRIBED)} FROM organism WHERE id = ?", (own,)
        )
        if ghost:
            raise InvalidValue(f"{act.label(own)} is a ghost: there is no registration to retract.")
        facts = zip(DESCRIBED, values, strict=True)
        was = {key: value for key, value in facts if value is not None}
        act.connection.execute(
            f"""UPDATE organism SET ghost = 1, here = 0, epigenetic = 0, registered = NULL,
                  retracted = ?, {", ".join(f"{fact} = NULL" for fact in FACTS)} WHERE id = ?""",
            (reason, own),
        )
        act.touch([own], costs_too=True)
        counts = {}
        for table, what in (("fitness", "scores"), ("power", "costs")):
            rows = act.connection.rows(
                f"SELECT id FROM {table} WHERE organism = ? AND retracted IS NULL", (own,)
            )
            act.strike(table, {row[0]: own for row in rows}, REGISTRATION + reason)
            counts[what] = len(rows)
        told = {"what": "registration", "was": was, **counts, "reason": reason}
        act.event(own, "retracted", told)
        return chain.head(act.connection)[0]


def reinstate_registration(act: Act, own: int, body: Mapping[str, Any]) -> None:
    """Make a retracted registration what it was."""
    was = {key: value for key, value in body["was"].items() if key in DESCRIBED}
    columns = "".join(f", {key} = ?" for key in was)
    act.connection.execute(
        f"UPDATE organism SET ghost = 0, retracted = NULL{columns} WHERE id = ?",
        (*was.values(), own),
    )
    act.set_places_here([own])
    act.touch([own], costs_too=True)
    for table in ("fitness", "power"):
        rows = act.connection.rows(
            f"SELECT id FROM {table} WHERE organism = ? AND retracted = ?",
            (own, REGISTRATION + body["reason"]),
        )
        act.unstrike(table, {row[0]: own for row in rows})


# ---- Names


def rename(store: Store, ref: Any, new: str) -> int:
    """Give an organism another name in place of the one it goes by, as the next version of the new
    one; its aliases come along. Other versions of the old name keep it. The event."""
    new = text(new, "name")
    with store.act() as act:
        own = resolve(act.connection, ref)
        had = act.connection.row(
            "SELECT name, version, rank FROM name WHERE organism = ? ORDER BY rank LIMIT 1", (own,)
        )
        bears = act.connection.value(
            "SELECT version FROM name WHERE organism = ? AND name = ?", (own, new)
        )
        if bears is not None and not (had[0] == new and had[2]):
            raise InvalidValue(f"{act.label(own)} bears the name {new}@v{bears} already.")
        told = give_name(act, own, had, (new, bears or next_version(act.connection, new)))
        act.event(own, "renamed", told)
        return chain.head(act.connection)[0]


def next_version(connection: Connection, name: str) -> int:
    """The number after the highest that anything was ever called `name` by."""
    top = connection.value(
        """SELECT max(version) FROM (SELECT version FROM name WHERE name = ?
             UNION ALL SELECT version FROM vacated WHERE name = ?) AS given""",
        (name, name),
    )
    return (top or 0) + 1


def vacate(connection: Connection, names: Iterable[tuple[str, int]]) -> None:
    """Note names (name, version) that were given up: no other organism gets them."""
    connection.many(
        """INSERT INTO vacated (name, version) VALUES (?, ?) ON CONFLICT (name) DO UPDATE
           SET version = excluded.version WHERE excluded.version > vacated.version""",
        list(names),
    )


def give_name(
    act: Act, own: int, had: tuple[str, int, int] | None, to: tuple[str, int]
) -> dict[str, Any]:
    """Put a name (name, version) in the place of the one that an organism goes by (name, version,
    rank), with its aliases; what the event tells of it."""
    name, version = to
    if had is None:
        act.connection.execute(
            "INSERT INTO name (name, version, organism, rank) VALUES (?, ?, ?, 0)", (*to, own)
        )
        return {"name": name, "version": version}
    act.connection.execute(
        "UPDATE name SET name = ?, version = ?, rank = 0 WHERE name = ? AND version = ?",
        (*to, *had[:2]),
    )
    vacate(act.connection, [had[:2]])
    taken = act.connection.row(
        """SELECT o.alias, o.organism FROM alias a JOIN alias o ON o.name = ? AND o.alias = a.alias
           WHERE a.name = ? AND a.organism = ? AND o.organism <> a.organism LIMIT 1""",
        (name, had[0], own),
    )
    if taken is not None:
        raise InvalidValue(
            f"{name}@{taken[0]} is {act.label(taken[1])}, and both cannot be. Give one of them "
            "another alias first."
        )
    act.connection.execute(
        "UPDATE alias SET name = ? WHERE name = ? AND organism = ?", (name, had[0], own)
    )
    return {"name": name, "version": version, "from": had[0], "from_version": had[1]}
