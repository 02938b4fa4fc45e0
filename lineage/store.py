"""Every write to the registry: each act is one short transaction, and leaves an event that says
who, when and what, with the numbers. Derived columns are kept true in the same transaction."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from operator import attrgetter
from typing import Any

from lineage import chain, links, standings
from lineage.database import Connection, Database
from lineage.errors import CycleError, InvalidValue, NotFound
from lineage.organism import (
    NEEDED_AT_RUN_TIME,
    STATUSES,
    Niche,
    Parent,
    PowerCost,
    Score,
    one_of,
    text,
)
from lineage.references import (
    LOCAL,
    candidates,
    ghost_of,
    place_hash,
    resolve,
    search,
    this_host,
    this_user,
)

POWER_NAMESPACE = uuid.UUID("8f1c3f5e-6d55-5d0f-9f36-0d3a4c8e2b11")
_NAMESPACE = POWER_NAMESPACE.bytes
POWER_KEYS = (
    "phase", "per", "joules", "watts", "seconds", "cost", "currency", "gco2e", "source", "meter",
    "uuid",
)  # fmt: skip
_POWER_FIELDS = tuple(PowerCost.__dataclass_fields__)
_told, _values = attrgetter(*POWER_KEYS), attrgetter(*_POWER_FIELDS)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EVIDENCE_RANK = (
    "CASE evidence WHEN 'declared' THEN 0 WHEN 'configured' THEN 1 WHEN 'hashed' THEN 2 "
    "WHEN 'weighed' THEN 3 ELSE 4 END"
)
"""From the strongest evidence to the weakest: which relation a pair of organisms is known by."""


def now() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


def micros(at: datetime) -> int:
    """An aware datetime as microseconds since 1970."""
    return int((at - EPOCH) / timedelta(microseconds=1))


def iso(at: int) -> str:
    """Microseconds since 1970 as ISO 8601, exactly."""
    return (EPOCH + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def body_text(body: Mapping[str, Any]) -> str:
    return _encode(body)


def relation_of(parent: Parent, siblings: int, default: str | None) -> str:
    """The relation of a link that does not name one: the default, else `merge` where there are
    several parents, else `finetune`, which is what the Hub infers too."""
    return parent.relation or default or ("merge" if siblings > 1 else "finetune")


def is_needed(parent: Parent, relation: str, epigenetic: bool) -> bool:
    if parent.needed is not None:
        return parent.needed
    return epigenetic or relation in NEEDED_AT_RUN_TIME


def score_body(score: Score) -> dict[str, Any]:
    """A score as events and exports write it; what is unknown is left out."""
    niche = score.niche if isinstance(score.niche, Niche) else Niche.parse(score.niche)
    body: dict[str, Any] = {"task": niche.task, "metric": niche.metric}
    if niche.split:
        body["split"] = niche.split
    body["value"] = score.value
    for key in ("direction", "stderr", "n"):
        value = getattr(score, key)
        if value is not None:
            body[key] = value
    return body


def power_body(cost: PowerCost) -> dict[str, Any]:
    """A power cost as events and exports write it; what is unknown is left out."""
    told = zip(POWER_KEYS, _told(cost), strict=True)
    return {key: value for key, value in told if value is not None}


class Store:
    """Writes to one registry. `command` is what the events name as the doer's command."""

    def __init__(self, database: Database, command: str | None = None) -> None:
        self.database = database
        self.command = command or _command()
        # What is never changed or deleted once it is there: safe to remember after a commit.
        self.niches: dict[Niche, tuple[int, str | None]] = {}
        self.meters: dict[str, int] = {}
        self.actors: dict[chain.Who, int] = {}

    @contextmanager
    def act(self) -> Any:
        """One write transaction, as an Act that knows who writes."""
        with self.database.write() as connection:
            act = Act(self, connection)
            yield act
            act.settle_standings()
        self.niches.update(act.niches)
        self.meters.update(act.meters)
        self.actors.update(act.actors)


def _command() -> str:
    """The running program, without its arguments: they may hold secrets."""
    return os.path.basename(sys.argv[0] or "") or "python"


class Act:
    """One write transaction: the statements that several writes share."""

    def __init__(self, store: Store, connection: Connection) -> None:
        self.store = store
        self.connection = connection
        self.at = now()
        self.who: chain.Who = (this_user(), this_host(), os.getpid(), store.command)
        self.niches: dict[Niche, tuple[int, str | None]] = {}
        self.meters: dict[str, int] = {}
        self.actors: dict[chain.Who, int] = {}
        self.touched: dict[int, bool] = {}

    # who, when, what

    def actor_of(self, who: chain.Who) -> int:
        own = self.store.actors.get(who) or self.actors.get(who)
        if own is None:
            own = self.interned(
                'SELECT id FROM actor WHERE "user" = ? AND host = ? AND pid = ? AND command = ?',
                'INSERT INTO actor ("user", host, pid, command) VALUES (?, ?, ?, ?) RETURNING id',
                who,
            )
            self.actors[who] = own
        return own

    def interned(self, select: str, insert: str, params: Sequence[Any]) -> int:
        """The id of a row that is written once and then only read."""
        found = self.connection.value(select, params)
        return int(found if found is not None else self.connection.value(insert, params))

    def event(self, organism: int | None, kind: str, body: Mapping[str, Any]) -> None:
        self.events([(organism, kind, body)])

    def events(self, events: Iterable[tuple[int | None, str, Mapping[str, Any]]]) -> None:
        who = self.who
        actor = self.actor_of(who)
        chain.append(
            self.connection,
            ((own, kind, self.at, actor, who, body_text(body)) for own, kind, body in events),
        )

    # scores and power

    def niche(self, niche: Niche, direction: str | None) -> int:
        """The id of a niche. The first direction known of it stays; another is an InvalidValue."""
        own, known = self.niches.get(niche) or self.store.niches.get(niche) or (None, None)
        if own is None or (direction and direction != known):
            key = (niche.task, niche.metric, niche.split)
            found = self.connection.row(
                "SELECT id, direction FROM niche WHERE task = ? AND metric = ? AND split = ?", key
            )
            if found is None:
                own = self.connection.value(
                    "INSERT INTO niche (task, metric, split, direction) VALUES (?, ?, ?, ?) "
                    "RETURNING id",
                    (*key, direction),
                )
                known = direction
            else:
                own, known = found
            if direction and known is None:
                self.connection.execute(
                    "UPDATE niche SET direction = ? WHERE id = ?", (direction, own)
                )
                known = direction
            elif direction and known != direction:
                raise InvalidValue(
                    f"in {niche}, {known} is better, as was said before; this score says "
                    f"{direction}. Leave the direction out, or score another niche."
                )
            self.niches[niche] = (int(own), known)
        return int(own)

    def meter(self, name: str | None) -> int | None:
        if name is None:
            return None
        own = self.store.meters.get(name) or self.meters.get(name)
        if own is None:
            own = self.interned(
                "SELECT id FROM meter WHERE name = ?",
                "INSERT INTO meter (name) VALUES (?) RETURNING id",
                (name,),
            )
            self.meters[name] = own
        return own

    def add_scores(
        self,
        wanted: Sequence[tuple[int, Score]],
        fresh: set[int] | None = None,
        *,
        anew: bool = False,
    ) -> list[tuple[int, Score]]:
        """Add scores to organisms; those that are there already are passed over. What was added.

        One that was retracted stays so when a script says it again, but not when a person does
        (`anew`); retracted with its registration, it counts again once it is registered again."""
        fresh = fresh or set()
        old = {own for own, _ in wanted} - fresh
        known: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
        struck: dict[tuple[int, int], list[Struck]] = {}
        if old:
            for own, niche, row, retracted, *rest in self.connection.rows(
                f"""SELECT f.organism, f.niche, f.id, f.retracted, f.value, f.stderr, f.n, f.at
                    FROM {self.connection.ids} AS i JOIN fitness f ON f.organism = i.id
                    ORDER BY f.id""",
                (self.connection.pack(old),),
            ):
                if retracted is None:
                    known.setdefault((own, niche), []).append(tuple(rest))
                else:
                    struck.setdefault((own, niche), []).append((row, retracted, tuple(rest)))
        rows = []
        added = []
        back: dict[int, int] = {}
        for own, score in wanted:
            assert isinstance(score.niche, Niche)
            niche = self.niche(score.niche, score.direction)
            at = micros(score.at) if score.at else None
            seen = known.setdefault((own, niche), [])
            numbers = (score.value, score.stderr, score.n)
            if _known_already(seen, numbers, at):
                continue
            out = None if anew else _struck_out(struck.get((own, niche), ()), numbers, at)
            if out is not None:
                if out[1].startswith(REGISTRATION):
                    back[out[0]] = own
                    added.append((own, score))
                continue
            if score.retracted is None:
                seen.append((*numbers, at or self.at))
            current = int(score.retracted is None)
            rows.append((own, niche, *numbers, at or self.at, current, score.retracted))
            added.append((own, score))
        self.touch(own for own, _ in added if own not in fresh)
        self.connection.many(
            "INSERT INTO fitness (organism, niche, value, stderr, n, at, current, retracted) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        counts: dict[tuple[int, int], int] = {}
        for own, niche, *_, current, _ in rows:
            counts[own, niche] = counts.get((own, niche), 0) + current
        again = {key[0] for key, count in counts.items() if count > 1 or len(known[key]) > count}
        if back:
            self.unstrike("fitness", back)
        if again:
            self.settle("fitness", again)
        return added

    def touch(self, organisms: Iterable[int], costs_too: bool = False) -> None:
        """Note that the standings of organisms, and with `costs_too` what serving them costs, may
        be others at the end of this act."""
        for own in organisms:
            self.touched[own] = costs_too or self.touched.get(own, False)

    def settle_standings(self) -> None:
        for costs_too in (True, False):
            some = [own for own, one in self.touched.items() if one == costs_too]
            if some:
                standings.settle(self.connection, some, costs_too)
        self.touched.clear()

    def strike(self, table: str, rows: Mapping[int, int], reason: str) -> None:
        """Strike rows (id: organism) of scores or costs out: they stay, and count no more."""
        self.connection.many(
            f"UPDATE {table} SET retracted = ?, current = 0 WHERE id = ?",
            [(reason, row) for row in rows],
        )
        self.settle(table, set(rows.values()))

    def unstrike(self, table: str, rows: Mapping[int, int]) -> None:
        """Let rows (id: organism) that were struck out count again."""
        current = "CASE per WHEN 'total' THEN 1 ELSE 0 END" if table == "power" else "0"
        self.connection.many(
            f"UPDATE {table} SET retracted = NULL, current = {current} WHERE id = ?",
            [(row,) for row in rows],
        )
        self.settle(table, set(rows.values()))

    def add_power(
        self,
        wanted: Sequence[tuple[int, PowerCost]],
        fresh: set[int] | None = None,
        *,
        anew: bool = False,
    ) -> list[tuple[int, PowerCost]]:
        """Add power costs; an interval whose UUID is known, or a rate that is known, is passed
        over. What was added. For what was retracted, see `add_scores`; an interval stays so."""
        fresh = fresh or set()
        uuids = [_uuid_bytes(cost.uuid) for _, cost in wanted if cost.uuid]
        seen_uuids: set[bytes] = set()
        back: dict[int, int] = {}
        again_counted: set[bytes] = set()
        if uuids:
            seen_uuids = self.known_uuids(uuids)
        if seen_uuids:
            again_counted, back = self._retracted_with_registration(uuids)
        rates = {own for own, cost in wanted if cost.per != "total"} - fresh
        known: dict[tuple[int, str, str], list[tuple[Any, ...]]] = {}
        struck: dict[tuple[int, str, str], list[Struck]] = {}
        if rates:
            for own, phase, per, *rest in self.connection.rows(
                f"""SELECT p.organism, p.phase, p.per, p.joules, p.watts, p.seconds, p.cost,
                      p.currency, p.gco2e, p.source, p.meter, p.at, p.id, p.retracted
                    FROM {self.connection.ids} AS i JOIN power p ON p.organism = i.id
                    WHERE p.per <> 'total' ORDER BY p.id""",
                (self.connection.pack(rates),),
            ):
                *told, row, retracted = rest
                if retracted is None:
                    known.setdefault((own, phase, per), []).append(tuple(told))
                else:
                    struck.setdefault((own, phase, per), []).append(
                        (row, retracted, tuple(told))
                    )
        rows, added, again = [], [], set()
        for own, cost in wanted:
            at = micros(cost.at) if cost.at else None
            numbers: tuple[Any, ...] = (
                cost.joules, cost.watts, cost.seconds, cost.cost, cost.currency, cost.gco2e,
                cost.source, self.meter(cost.meter),
            )  # fmt: skip
            key = _uuid_bytes(cost.uuid) if cost.uuid else None
            if key is not None:
                if key in seen_uuids:
                    if key in again_counted:
                        added.append((own, cost))
                    continue
                seen_uuids.add(key)
            if cost.per != "total":
                seen = known.setdefault((own, cost.phase, cost.per), [])
                if _known_already(seen, numbers, at):
                    continue
                alike = struck.get((own, cost.phase, cost.per), ())
                out = None if anew else _struck_out(alike, numbers, at)
                if out is not None:
                    if out[1].startswith(REGISTRATION):
                        back[out[0]] = own
                        added.append((own, cost))
                    continue
                if seen:
                    again.add(own)
                if cost.retracted is None:
                    seen.append((*numbers, at or self.at))
            current = int(cost.retracted is None)
            rows.append((
                own, cost.phase, cost.per, *numbers, key, at or self.at, current, cost.retracted,
            ))  # fmt: skip
            added.append((own, cost))
        self.touch((own for own, one in added if one.phase == "serving" and own not in fresh), True)
        self.connection.many(
            "INSERT INTO power (organism, phase, per, joules, watts, seconds, cost, currency, "
            "gco2e, source, meter, uuid, at, current, retracted) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        if back:
            self.unstrike("power", back)
        if again:
            self.settle("power", again)
        return added

    def _retracted_with_registration(
        self, uuids: Sequence[bytes]
    ) -> tuple[set[bytes], dict[int, int]]:
        """Those of these intervals that count again when they are registered again: their UUIDs,
        and their rows as (id: organism)."""
        where, params = self.connection.one_of("uuid", uuids)
        rows = self.connection.rows(
            f"SELECT uuid, id, organism FROM power WHERE {where} AND retracted LIKE ?",
            (*params, f"{REGISTRATION}%"),
        )
        return {bytes(row[0]) for row in rows}, {row[1]: row[2] for row in rows}

    def known_uuids(self, uuids: Sequence[bytes]) -> set[bytes]:
        where, params = self.connection.one_of("uuid", uuids)
        rows = self.connection.rows(f"SELECT uuid FROM power WHERE {where}", params)
        return {bytes(row[0]) for row in rows}

    def settle(self, table: str, organisms: Iterable[int]) -> None:
        """Mark the latest score of each organism and niche, or rate of each phase and `per`, as the
        current one. Totals of power are all current: they add up."""
        organisms = set(organisms)
        self.touch(organisms, costs_too=table == "power")
        same = " AND ".join(f"l.{part} = {table}.{part}" for part in KEYS[table])
        rates = "AND per <> 'total'" if table == "power" else ""
        self.connection.execute(
            f"""UPDATE {table} SET current = CASE WHEN id =
                  (SELECT l.id FROM {table} l WHERE l.organism = {table}.organism AND {same}
                     AND l.retracted IS NULL ORDER BY l.at DESC, l.id DESC LIMIT 1)
                  THEN 1 ELSE 0 END
                WHERE organism IN (SELECT id FROM {self.connection.ids} AS i) {rates}""",
            (self.connection.pack(organisms),),
        )

    # links

    def add_links(
        self, wanted: Sequence[tuple[int, int, str, Parent, bool]]
    ) -> tuple[list[tuple[int, int, str, Parent]], list[links.Refused]]:
        """Add links (child, parent, relation, how it is known, needed) with their evidence. What
        was new, and what would have closed a cycle."""
        refused = [links.Refused(c, p, (c,)) for c, p, *_ in wanted if c == p]
        wanted = [one for one in wanted if one[0] != one[1]]
        known = {
            (child, parent)
            for child, parent in self.connection.rows(
                f"""SELECT e.child, e.parent FROM {self.connection.ids} AS i
                    JOIN edge e ON e.child = i.id""",
                (self.connection.pack({child for child, *_ in wanted}),),
            )
        }
        new: dict[tuple[int, int], tuple[int, int, str, float | None, int]] = {}
        for child, parent, relation, how, needed in wanted:
            if (child, parent) not in known:
                new.setdefault(
                    (child, parent), (child, parent, relation, how.weight, int(needed))
                )
        refused += links.add(self.connection, list(new.values()))
        self.touch((one[0] for one in new.values() if one[4]), True)
        left_out = {(one.child, one.parent) for one in refused}
        kept = [one for one in wanted if one[:2] not in left_out]
        added = self.add_evidence(kept)
        told = Counter((child, parent) for child, parent, *_ in added)
        self.settle_links(pair for pair, count in told.items() if pair in known or count > 1)
        return added, refused

    def remove_link(self, child: int, parent: int) -> None:
        """Remove a link with its evidence."""
        links.remove(self.connection, child, parent)
        self.touch([child], costs_too=True)

    def add_evidence(
        self, wanted: Sequence[tuple[int, int, str, Parent, bool]]
    ) -> list[tuple[int, int, str, Parent]]:
        known = {
            tuple(row)
            for row in self.connection.rows(
                f"""SELECT v.child, v.parent, v.relation, v.evidence
                    FROM {self.connection.ids} AS i JOIN evidence v ON v.child = i.id""",
                (self.connection.pack({child for child, *_ in wanted}),),
            )
        }
        rows, added = [], []
        for child, parent, relation, how, _ in wanted:
            key = (child, parent, relation, how.evidence)
            if key not in known:
                known.add(key)
                rows.append((*key, how.confidence, how.weight))
                added.append((child, parent, relation, how))
        self.connection.many(INSERT_EVIDENCE, rows)
        return added

    def settle_links(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Give each pair the relation and weight of its strongest evidence."""
        best = f"""(SELECT v.{{}} FROM evidence v WHERE v.child = edge.child
            AND v.parent = edge.parent ORDER BY {EVIDENCE_RANK.replace("evidence", "v.evidence")},
            v.confidence IS NULL, v.confidence DESC, v.relation LIMIT 1)"""
        self.connection.many(
            f"""UPDATE edge SET relation = {best.format("relation")},
                  weight = {best.format("weight")} WHERE child = ? AND parent = ?""",
            list(pairs),
        )

    # finding what is meant

    def parent_id(self, ref: Any) -> int:
        """The organism a reference to a parent fits; where none does, a new ghost."""
        found = search(self.connection, ref)
        if len(found) == 1:
            return found[0]
        if found:
            return resolve(self.connection, ref)  # says that it is ambiguous
        return self.add_ghost(ref)

    def is_but_a_name(self, own: int, ref: Any) -> bool:
        """Whether all that is known of an organism is the bare name that `ref` is."""
        return bool(
            self.connection.value(
                """SELECT 1 FROM organism o JOIN name n ON n.organism = o.id
                   WHERE o.id = ? AND o.ghost = 1 AND o.digest IS NULL AND n.name = ?""",
                (own, str(ref)),
            )
        )

    def add_ghost(self, ref: Any) -> int:
        ghost = ghost_of(ref)
        own = self.next_id("organism")
        self.connection.execute(
            "INSERT INTO organism (id, digest, ghost, generation, jump) VALUES (?, ?, 1, 0, ?)",
            (own, ghost.digest, own),
        )
        if ghost.name is not None:
            if ghost.version is None and "@" in ghost.name:
                stem = ghost.name.rpartition("@")[0]
                if self.connection.value("SELECT 1 FROM name WHERE name = ?", (stem,)):
                    resolve(self.connection, ref)  # says which aliases there are
            self.connection.execute(
                "INSERT INTO name (name, version, organism, rank) VALUES (?, ?, ?, 0)",
                (ghost.name, ghost.version or 1, own),
            )
        if ghost.place is not None:
            self.connection.execute(
                "INSERT INTO place (id, organism, hash, uri) VALUES (?, ?, ?, ?)",
                (self.next_id("place"), own, place_hash(ghost.place), ghost.place),
            )
        self.event(own, "ghost", {"ref": os.fspath(ref)})
        return own

    def next_id(self, table: str) -> int:
        """The next free id. Safe, since writers queue."""
        return int(self.connection.value(f"SELECT coalesce(max(id), 0) + 1 FROM {table}"))

    def label(self, own: int) -> str:
        """A reference to an organism, for messages and events."""
        return candidates(self.connection, [own])[0]

    def cycle(self, one: links.Refused) -> CycleError:
        names = candidates(self.connection, list(one.path))
        by_id = dict(zip(sorted(set(one.path)), names, strict=True))
        path = [by_id[own] for own in one.path]
        if len(path) == 1:
            return CycleError(f"{path[0]} cannot be its own parent.", path)
        return CycleError(
            f"{path[-1]} cannot be a parent of {path[0]}: it descends from it "
            f"({' → '.join(path)}). Unlink one of these first.",
            path,
        )

    def set_places_here(self, organisms: Iterable[int]) -> None:
        """Recompute which organisms have files on a disk."""
        organisms = set(organisms)
        self.touch(organisms)
        self.connection.execute(
            f"""UPDATE organism SET here = CASE WHEN EXISTS (SELECT 1 FROM place p
                  WHERE p.organism = organism.id AND p.gone_at IS NULL AND {LOCAL})
                  AND ghost = 0 THEN 1 ELSE 0 END
                WHERE id IN (SELECT id FROM {self.connection.ids} AS i)""",
            (self.connection.pack(organisms),),
        )


def _uuid_bytes(known: str) -> bytes:
    """A UUID as `with_uuid` writes it, as 16 bytes; parsing any form takes twenty times as long."""
    return bytes.fromhex(known.replace("-", ""))


INSERT_EVIDENCE = (
    "INSERT INTO evidence (child, parent, relation, evidence, confidence, weight) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)


Struck = tuple[int, str, tuple[Any, ...]]
"""A row that was retracted: its id, why, and (*numbers, at)."""

REGISTRATION = "with its registration: "
"""How the reason of what was retracted with a whole registration begins."""

KEYS = {"fitness": ("niche",), "power": ("phase", "per")}
"""What tells rows of an organism apart, of which the latest counts."""


def _struck_out(
    struck: Sequence[Struck], numbers: tuple[Any, ...], at: int | None
) -> Struck | None:
    """The retracted row that a score or a rate is: the same numbers, and the same time if given."""
    return next(
        (one for one in struck if one[2][:-1] == numbers and at in (None, one[2][-1])), None
    )


def _known_already(
    seen: Sequence[tuple[Any, ...]], numbers: tuple[Any, ...], at: int | None
) -> bool:
    """Whether a score or a rate is known, given those that are, (*numbers, at) in the order they
    came: the same numbers at the same time; or, without a time, as the one that counts."""
    if at is not None:
        return (*numbers, at) in seen
    latest = max(enumerate(seen), key=lambda one: (one[1][-1], one[0]), default=(0, ()))[1]
    return tuple(latest[:-1]) == numbers


# The acts on one organism that people ask for by name.


def score(store: Store, ref: Any, new: Score) -> int:
    with store.act() as act:
        own = resolve(act.connection, ref)
        if act.add_scores([(own, new)], anew=True):
            act.event(own, "scored", score_body(new))
    return own


def meter(store: Store, ref: Any, costs: Sequence[PowerCost]) -> int:
    with store.act() as act:
        own = resolve(act.connection, ref)
        for one in costs:
            if not isinstance(one, PowerCost):
                raise InvalidValue(
                    f"{one!r} is not a power cost. Give lineage.PowerCost(joules=...)."
                )
        added = act.add_power([(own, with_uuid(cost, None)) for cost in costs], anew=True)
        act.events((own, "metered", power_body(cost)) for _, cost in added)
    return own


def with_uuid(cost: PowerCost, made_from: str | None) -> PowerCost:
    """A total with a UUID: its own, else one made from `made_from` and its numbers (so that a
    script that runs twice counts once), else a random one. Rates need none."""
    if cost.per != "total":
        return cost
    if cost.uuid is None:
        numbers = body_text(power_body(cost))
        key = _uuid5(made_from + numbers) if made_from else str(uuid.uuid4())
    else:
        try:
            key = str(uuid.UUID(cost.uuid))
        except ValueError:
            raise InvalidValue(
                f"uuid {cost.uuid!r} is not a UUID. Leave it out, or make one with uuid.uuid4()."
            ) from None
    with_key = object.__new__(PowerCost)  # all else was checked when `cost` was made
    set_ = object.__setattr__
    for field, value in zip(_POWER_FIELDS, _values(cost), strict=True):
        set_(with_key, field, value)
    set_(with_key, "uuid", key)
    return with_key


def _uuid5(name: str) -> str:
    """What `uuid.uuid5(POWER_NAMESPACE, name)` says (RFC 9562, section 5.5), five times as fast."""
    made = bytearray(sha1(_NAMESPACE + name.encode(), usedforsecurity=False).digest()[:16])
    made[6] = made[6] & 0x0F | 0x50  # version 5
    made[8] = made[8] & 0x3F | 0x80  # the variant of RFC 9562
    digits = made.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def link(store: Store, child: Any, parent: Parent, relation: str | None = None) -> int:
    """Add a link, or evidence to one. The child must be there; the parent may become a ghost."""
    with store.act() as act:
        own = resolve(act.connection, child)
        epigenetic = bool(
            act.connection.value("SELECT epigenetic FROM organism WHERE id = ?", (own,))
        )
        other = act.parent_id(parent.ref)
        if relation is None and parent.relation is None:  # what the pair is linked by already
            relation = act.connection.value(
                "SELECT relation FROM edge WHERE child = ? AND parent = ?", (own, other)
            )
        relation = relation_of(parent, 1, relation)
        if parent.evidence == "declared" and act.is_but_a_name(other, parent.ref):
            parent = replace(parent, evidence="named")
        needed = is_needed(parent, relation, epigenetic)
        added, refused = act.add_links([(own, other, relation, parent, needed)])
        if refused:
            raise act.cycle(refused[0])
        if added:
            act.event(own, "linked", link_body(act.label(other), relation, parent))
    return own


def link_body(ref: str, relation: str, how: Parent) -> dict[str, Any]:
    body = {"ref": ref, "relation": relation, "weight": how.weight, "evidence": how.evidence}
    body |= {"confidence": how.confidence}
    return {key: value for key, value in body.items() if value is not None}


EVIDENCE_KEYS = ("relation", "evidence", "confidence", "weight")


def known_link(act: Act, own: int, other: int) -> tuple[list[dict[str, Any]], bool]:
    """Every evidence of a link, and whether the child needs the parent to run."""
    rows = act.connection.rows(
        f"""SELECT e.needed, {", ".join(f"v.{key}" for key in EVIDENCE_KEYS)} FROM edge e
            JOIN evidence v ON v.child = e.child AND v.parent = e.parent
            WHERE e.child = ? AND e.parent = ? ORDER BY v.relation, v.evidence""",
        (own, other),
    )
    if not rows:
        raise NotFound(
            f"{act.label(other)} is not a parent of {act.label(own)}: there is no such link."
        )
    was = [dict(zip(EVIDENCE_KEYS, values, strict=True)) for _, *values in rows]
    return was, bool(rows[0][0])


def unlink(store: Store, child: Any, parent: Any) -> int:
    """Remove the link between two organisms; the event keeps what was known of it."""
    with store.act() as act:
        own, other = resolve(act.connection, child), resolve(act.connection, parent)
        was, needed = known_link(act, own, other)
        act.remove_link(own, other)
        act.event(own, "unlinked", {"ref": act.label(other), "was": was, "needed": needed})
    return own


ALIAS = re.compile(r"^[^\s@/]{1,200}$")


def alias(store: Store, ref: Any, new: str) -> int:
    """Let `name@new` mean this organism, for each of its names; it moves from who had it."""
    with store.act() as act:
        own = resolve(act.connection, ref)
        set_alias(act, own, new)
    return own


def set_alias(act: Act, own: int, new: str, names: Sequence[str] = ()) -> None:
    """Let `name@new` mean an organism, for these of its names or for all."""
    new = check_alias(new)
    names = names or [row[0] for row in act.connection.rows(
        "SELECT DISTINCT name FROM name WHERE organism = ? ORDER BY name", (own,))]
    if not names:
        raise InvalidValue(
            f"{act.label(own)} has no name, and an alias belongs to a name. Register it under a "
            "name first."
        )  # fmt: skip
    for name in names:
        had = act.connection.value(
            "SELECT organism FROM alias WHERE name = ? AND alias = ?", (name, new)
        )
        if had == own:
            continue
        act.connection.execute(
            "INSERT INTO alias (name, alias, organism) VALUES (?, ?, ?) "
            "ON CONFLICT (name, alias) DO UPDATE SET organism = excluded.organism",
            (name, new, own),
        )
        body = {"alias": new, "name": name}
        if had is not None:
            body["from"] = act.label(had)
        act.event(own, "aliased", body)


def check_alias(new: str) -> str:
    text(new, "alias")
    if not ALIAS.match(new) or re.match(r"^v\d+$", new) or new == "latest":
        raise InvalidValue(
            f"alias {new!r} cannot be used: no blanks, @ or /, and neither `latest` nor v and a "
            "number, which mean versions."
        )
    return new


def tag(store: Store, ref: Any, tags: Mapping[str, Any]) -> int:
    """Set tags; the value None takes one away."""
    wanted = {text(key, "tag"): None if value is None else str(value)
              for key, value in tags.items()}  # fmt: skip
    for value in wanted.values():
        if value:
            text(value, "the value of a tag")
    with store.act() as act:
        own = resolve(act.connection, ref)
        known = dict(act.connection.rows("SELECT key, value FROM tag WHERE organism = ?", (own,)))
        changed = {key: value for key, value in wanted.items() if known.get(key) != value}
        for key, value in changed.items():
            if value is None:
                act.connection.execute(
                    "DELETE FROM tag WHERE organism = ? AND key = ?", (own, key)
                )
            else:
                act.connection.execute(
                    "INSERT INTO tag (organism, key, value) VALUES (?, ?, ?) "
                    "ON CONFLICT (organism, key) DO UPDATE SET value = excluded.value",
                    (own, key, value),
                )
        if changed:
            before = {key: known[key] for key in changed if key in known}
            act.event(own, "tagged", {"tags": changed, "was": before})
    return own


def protect(store: Store, ref: Any, on: bool, reason: str = "") -> int:
    with store.act() as act:
        own = resolve(act.connection, ref)
        changed = act.connection.execute(
            "UPDATE organism SET protected = ? WHERE id = ? AND protected <> ?",
            (int(on), own, int(on)),
        ).rowcount
        if changed:
            body = {"reason": reason} if reason else {}
            act.event(own, "protected" if on else "unprotected", body)
    return own


def mark(
    act: Act, status: str, kind: str, marks: Iterable[tuple[int, Mapping[str, Any]]]
) -> int:
    """Give organisms a vital status, each with an event of this kind and body. How many changed:
    those that have it already, or are culled or no more there, are passed over."""
    one_of(status, STATUSES, "status")
    marks = list(marks)
    free = {row[0] for row in act.connection.rows(
        f"""SELECT o.id FROM {act.connection.ids} AS i JOIN organism o ON o.id = i.id
            WHERE o.status <> ? AND o.status <> 'culled' AND o.same_as IS NULL""",
        (act.connection.pack(own for own, _ in marks), status),
    )}  # fmt: skip
    changed = [(own, body) for own, body in marks if own in free]
    act.connection.many(
        "UPDATE organism SET status = ? WHERE id = ?", [(status, own) for own, _ in changed]
    )
    act.touch(own for own, _ in changed)
    act.events((own, kind, body) for own, body in changed)
    return len(changed)


def revive(store: Store, ref: Any, reason: str = "") -> int:
    """Take a mark back. Reviving what is alive does nothing; what is culled has no files left, and
    is revived when they were registered again."""
    with store.act() as act:
        own = resolve(act.connection, ref)
        status, here = act.connection.row("SELECT status, here FROM organism WHERE id = ?", (own,))
        if status == "culled":
            if not here:
                raise InvalidValue(
                    f"{act.label(own)} is culled: its files are gone for good. `lineage register` "
                    "them from a copy, and revive it then."
                )
            act.connection.execute(
                "UPDATE organism SET status = 'selected_against' WHERE id = ?", (own,)
            )
        mark(act, "alive", "revived", [(own, {"reason": reason} if reason else {})])
    return own


def lease(store: Store, ref: Any, until: datetime, holder: str) -> int:
    """Lease an organism to `holder` until a time, instead of any lease that it holds already."""
    holder, end = text(holder, "the holder of a lease"), micros(until)
    with store.act() as act:
        own = resolve(act.connection, ref)
        if end <= act.at:
            raise InvalidValue(f"a lease until {until:%Y-%m-%d %H:%M} UTC is over already.")
        had = act.connection.value(
            "SELECT until FROM lease WHERE organism = ? AND holder = ?", (own, holder)
        )
        if had != end:
            act.connection.execute(
                "INSERT INTO lease (organism, holder, until) VALUES (?, ?, ?) "
                "ON CONFLICT (organism, holder) DO UPDATE SET until = excluded.until",
                (own, holder, end),
            )
            act.event(own, "leased", {"holder": holder, "until": until.isoformat()})
    return own


def release(store: Store, ref: Any, holder: str) -> int:
    """End a lease. NotFound where `holder` has none, with those who do."""
    with store.act() as act:
        own = resolve(act.connection, ref)
        gone = act.connection.execute(
            "DELETE FROM lease WHERE organism = ? AND holder = ?", (own, holder)
        ).rowcount
        if not gone:
            held = [row[0] for row in act.connection.rows(
                "SELECT holder FROM lease WHERE organism = ? ORDER BY holder", (own,))]  # fmt: skip
            who = f"It is leased by {', '.join(held)}." if held else "Nobody does."
            raise NotFound(f"{holder!r} holds no lease of {act.label(own)}. {who}")
        act.event(own, "released", {"holder": holder})
    return own
