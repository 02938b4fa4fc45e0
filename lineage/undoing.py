"""Taking an event back: the opposite act, which leaves an event of its own that names the one that
it undoes. What cannot be taken back says why, and what to do instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lineage import chain
from lineage.corrections import COST, cost_of, give_name, reinstate_registration
from lineage.database import Connection
from lineage.errors import InvalidValue, LineageError, NotFound
from lineage.organism import Parent
from lineage.references import resolve
from lineage.store import POWER_KEYS, Act, Store, is_needed, iso, known_link, link_body, power_body


@dataclass(frozen=True, slots=True)
class Undone:
    """An event to be undone, of the organism `own` (0 where it is of the whole registry)."""

    id: int
    own: int
    kind: str
    body: Mapping[str, Any]


def find(connection: Connection, event: int) -> Undone:
    """The event of a number, if it can be undone at all and was not yet."""
    row = connection.row(
        """SELECT e.organism, coalesce(o.same_as, e.organism), e.kind, e.body
           FROM event e LEFT JOIN organism o ON o.id = e.organism WHERE e.id = ?""",
        (event,),
    )
    if row is None:
        raise NotFound(f"there is no event {event}. `lineage log` shows events with their numbers.")
    organism, own, kind, body = row
    whose = "organism IS NULL" if organism is None else "organism IN (?, ?)"
    later = connection.rows(
        f"SELECT id, body FROM event WHERE {whose} AND id > ? AND body LIKE ? ORDER BY id",
        (*(() if organism is None else (organism, own)), event, '%"undoes":%'),
    )
    for undoing, told in later:
        if json.loads(told).get("undoes") == event:
            raise InvalidValue(
                f"event {event} was undone already, by event {undoing}. `lineage undo {undoing}` "
                "takes that back."
            )
    if kind not in OPPOSITES and kind != "relocated":
        instead = INSTEAD.get(kind, "Record what is right: the latest counts.")
        raise InvalidValue(f"event {event} ({kind.replace('_', ' ')}) cannot be undone. {instead}")
    return Undone(event, own or 0, kind, json.loads(body))


def undo(store: Store, event: int) -> int:
    """Take an event back by the opposite act; the number of the event that this leaves. Raises
    NotFound for a number that there is not, and InvalidValue for what cannot be undone, was undone
    before, or was changed again since."""
    with store.act() as act:
        what = find(act.connection, event)
        for own, kind, body in OPPOSITES[what.kind](act, what):
            act.event(own, kind, {**body, "undoes": event})
        return chain.head(act.connection)[0]


def _changed(what: Undone, now: str) -> LineageError:
    return InvalidValue(f"event {what.id} cannot be undone: {now} since.")


Left = list[tuple[int, str, Mapping[str, Any]]]
"""The events that an opposite act leaves, as (organism, kind, body)."""


# ---- Links


def _linked(act: Act, what: Undone) -> Left:
    other = resolve(act.connection, what.body["ref"])
    was, _ = known_link(act, what.own, other)
    mine = [
        one
        for one in was
        if one["relation"] == what.body["relation"]
        and one["evidence"] == what.body.get("evidence", "declared")
    ]
    if not mine:
        raise _changed(what, "the link is known otherwise")
    if len(was) == 1:
        act.remove_link(what.own, other)
    else:
        act.connection.execute(
            """DELETE FROM evidence WHERE child = ? AND parent = ? AND relation = ?
               AND evidence = ?""",
            (what.own, other, mine[0]["relation"], mine[0]["evidence"]),
        )
        act.settle_links([(what.own, other)])
    return [(what.own, "unlinked", {"ref": act.label(other), "was": mine})]


def _unlinked(act: Act, what: Undone) -> Left:
    other = resolve(act.connection, what.body["ref"])
    epigenetic = act.connection.value("SELECT epigenetic FROM organism WHERE id = ?", (what.own,))
    wanted = []
    for one in what.body["was"]:
        how = Parent(
            "", one["relation"], one.get("weight"), one["evidence"], one.get("confidence"),
            what.body.get("needed"),
        )  # fmt: skip
        needed = is_needed(how, one["relation"], bool(epigenetic))
        wanted.append((what.own, other, one["relation"], how, needed))
    added, refused = act.add_links(wanted)
    if refused:
        raise act.cycle(refused[0])
    if not added:
        raise _changed(what, "it was linked again")
    label = act.label(other)
    return [(what.own, "linked", link_body(label, relation, how)) for *_, relation, how in added]


# ---- Aliases, tags, protection, names


def _aliased(act: Act, what: Undone) -> Left:
    name, alias = what.body["name"], what.body["alias"]
    holder = act.connection.value(
        "SELECT organism FROM alias WHERE name = ? AND alias = ?", (name, alias)
    )
    if holder != what.own:
        raise _changed(what, f"{name}@{alias} was given away")
    if "from" not in what.body:
        act.connection.execute("DELETE FROM alias WHERE name = ? AND alias = ?", (name, alias))
        return [(what.own, "unaliased", {"alias": alias, "name": name})]
    other = resolve(act.connection, what.body["from"])
    act.connection.execute(
        "UPDATE alias SET organism = ? WHERE name = ? AND alias = ?", (other, name, alias)
    )
    told = {"alias": alias, "name": name}
    gave = (other, "aliased", {**told, "from": act.label(what.own)})
    return [(what.own, "unaliased", {**told, "to": act.label(other)}), gave]


def _unaliased(act: Act, what: Undone) -> Left:
    name, alias = what.body["name"], what.body["alias"]
    holder = act.connection.value(
        "SELECT organism FROM alias WHERE name = ? AND alias = ?", (name, alias)
    )
    expected = resolve(act.connection, what.body["to"]) if "to" in what.body else None
    if holder != expected:
        raise _changed(what, f"{name}@{alias} was given away")
    act.connection.execute(
        "INSERT INTO alias (name, alias, organism) VALUES (?, ?, ?) "
        "ON CONFLICT (name, alias) DO UPDATE SET organism = excluded.organism",
        (name, alias, what.own),
    )
    before = {} if holder is None else {"from": act.label(holder)}
    return [(what.own, "aliased", {"alias": alias, "name": name, **before})]


def _tagged(act: Act, what: Undone) -> Left:
    tags, was = what.body["tags"], what.body.get("was", {})
    known = dict(
        act.connection.rows("SELECT key, value FROM tag WHERE organism = ?", (what.own,))
    )
    for key, value in tags.items():
        if known.get(key) != value:
            raise _changed(what, f"the tag {key} was changed")
    act.connection.many(
        "DELETE FROM tag WHERE organism = ? AND key = ?", [(what.own, key) for key in tags]
    )
    act.connection.many(
        "INSERT INTO tag (organism, key, value) VALUES (?, ?, ?)",
        [(what.own, key, value) for key, value in was.items()],
    )
    back = {key: was.get(key) for key in tags}
    before = {key: value for key, value in tags.items() if value is not None}
    return [(what.own, "tagged", {"tags": back, "was": before})]


def _protection(on: bool) -> Callable[[Act, Undone], Left]:
    def opposite(act: Act, what: Undone) -> Left:
        changed = act.connection.execute(
            "UPDATE organism SET protected = ? WHERE id = ? AND protected <> ?",
            (int(on), what.own, int(on)),
        ).rowcount
        if not changed:
            raise _changed(what, "its protection was changed")
        return [(what.own, "protected" if on else "unprotected", {})]

    return opposite


def _renamed(act: Act, what: Undone) -> Left:
    now = (what.body["name"], what.body["version"])
    row = act.connection.row(
        "SELECT organism, rank FROM name WHERE name = ? AND version = ?", now
    )
    if row is None or row[0] != what.own:
        raise _changed(what, "it was renamed")
    if "from" not in what.body:
        raise InvalidValue(f"event {what.id} cannot be undone: it had no name before.")
    before = (what.body["from"], what.body["from_version"])
    if act.connection.value("SELECT 1 FROM name WHERE name = ? AND version = ?", before):
        raise _changed(what, f"another organism became {before[0]}@v{before[1]}")
    return [(what.own, "renamed", give_name(act, what.own, (*now, row[1]), before))]


# ---- Marks


def _marked(act: Act, what: Undone, status: str, to: str) -> None:
    changed = act.connection.execute(
        "UPDATE organism SET status = ? WHERE id = ? AND status = ?", (to, what.own, status)
    ).rowcount
    if not changed:
        raise _changed(what, "its vital status was changed")
    act.touch([what.own])


def _selected(act: Act, what: Undone) -> Left:
    _marked(act, what, "selected_against", "alive")
    return [(what.own, "revived", {})]


def _revived(act: Act, what: Undone) -> Left:
    _marked(act, what, "alive", "selected_against")
    body = act.connection.value(
        """SELECT body FROM event WHERE organism = ? AND kind = 'selected_against' AND id < ?
           ORDER BY id DESC LIMIT 1""",
        (what.own, what.id),
    )
    if body is None:
        raise InvalidValue(
            f"event {what.id} cannot be undone: it was culled before, and its files are back."
        )
    return [(what.own, "selected_against", json.loads(body))]


# ---- Scores and costs

NUMBERS = """SELECT f.id, f.retracted, f.at, n.task, n.metric, n.split, f.value, f.stderr, f.n
  FROM fitness f JOIN niche n ON n.id = f.niche WHERE f.organism = ? ORDER BY f.id DESC"""


def _score_row(act: Act, what: Undone) -> tuple[int, str | None, int]:
    """The row of a score that an event tells of: its id, why it was retracted, and when it was."""
    body = what.body
    wanted = (
        body["task"], body["metric"], body.get("split", ""), body["value"], body.get("stderr"),
        body.get("n"),
    )  # fmt: skip
    for number, retracted, at, *told in act.connection.rows(NUMBERS, (what.own,)):
        same = tuple(told) == wanted and body.get("at") in (None, iso(at))
        if same and (retracted == body["reason"] if what.kind == "retracted" else not retracted):
            return number, retracted, at
    raise _changed(what, "that score was retracted or reinstated")


def _cost_row(act: Act, what: Undone) -> tuple[int, int]:
    """The row of a cost that an event tells of: its id, and when it was."""
    wanted = {key: value for key, value in what.body.items() if key in POWER_KEYS}
    struck = what.kind == "retracted"
    condition = "p.retracted = ?" if struck else "p.retracted IS NULL"
    rows = act.connection.rows(
        f"{COST} AND {condition} ORDER BY p.id DESC",
        (what.own, *([what.body["reason"]] if struck else [])),
    )
    for number, cost, at in map(cost_of, rows):
        if power_body(cost) == wanted and what.body.get("at") in (None, iso(at)):
            return number, at
    raise _changed(what, "that cost was retracted or reinstated")


def _scored(act: Act, what: Undone) -> Left:
    number, _, at = _score_row(act, what)
    return _struck(act, what, "score", "fitness", number, at)


def _metered(act: Act, what: Undone) -> Left:
    return _struck(act, what, "cost", "power", *_cost_row(act, what))


def _struck(act: Act, what: Undone, part: str, table: str, number: int, at: int) -> Left:
    reason = f"event {what.id} was undone"
    act.strike(table, {number: what.own}, reason)
    told = {"what": part, **what.body, "at": iso(at), "reason": reason}
    told.pop("undoes", None)
    return [(what.own, "retracted", told)]


def _retracted(act: Act, what: Undone) -> Left:
    kind, body = what.body["what"], dict(what.body)
    body.pop("undoes", None)
    if kind == "link":
        return _unlinked(act, what)
    if kind == "score":
        act.unstrike("fitness", {_score_row(act, what)[0]: what.own})
    elif kind == "cost":
        act.unstrike("power", {_cost_row(act, what)[0]: what.own})
    else:
        retracted = act.connection.value(
            "SELECT retracted FROM organism WHERE id = ? AND ghost = 1", (what.own,)
        )
        if retracted != body["reason"]:
            raise _changed(what, "it was registered again, or retracted for another reason")
        reinstate_registration(act, what.own, body)
    return [(what.own, "reinstated", body)]


OPPOSITES: dict[str, Callable[[Act, Undone], Left]] = {
    "linked": _linked,
    "unlinked": _unlinked,
    "aliased": _aliased,
    "unaliased": _unaliased,
    "tagged": _tagged,
    "protected": _protection(False),
    "unprotected": _protection(True),
    "renamed": _renamed,
    "selected_against": _selected,
    "revived": _revived,
    "scored": _scored,
    "metered": _metered,
    "retracted": _retracted,
}
"""By kind of event: the act that takes it back, and the events it leaves."""

INSTEAD = {
    "registered": "`lineage retract REF --reason WHY` strikes a registration out.",
    "ghost": "A ghost is there because something names it as its parent: `lineage unlink` that.",
    "named": "`lineage rename REF NAME` gives it another name.",
    "placed": "`lineage relocate OLD NEW` moves a place.",
    "gone": "Registering the path again brings the place back.",
    "moved": "`lineage undo` the relocation that moved it, which `lineage log --all` shows.",
    "identified": "`lineage retract REF --reason WHY` strikes the registration out.",
    "described": "`lineage retract REF --reason WHY` strikes the registration out.",
    "united": "Two that turned out to be the same stay one.",
    "imported": "`lineage db restore FILE` brings back a backup from before the import.",
    "selected": "`lineage revive --run ID` takes its marks back.",
    "repaired": "What is derived is what it has to be.",
    "reinstated": "`lineage retract REF --reason WHY` strikes it out again.",
    "link_set_aside": "Nothing was changed: the link would have closed a circle.",
    "culled": "`lineage restore REF` brings its files back, as long as they are in quarantine.",
}
"""Why other kinds cannot be undone, as what to do instead."""
