"""The history as a chain: each event holds a SHA-256 over the one before and itself. Who edits,
cuts or reorders the history behind the registry's back breaks it; who writes all of it anew changes
its head, which can be kept elsewhere.

The canonical form of an event is this text in UTF-8, without blanks:

    [ORGANISM,AT,[USER,HOST,PID,COMMAND],KIND,BODY]

ORGANISM is the id or `null`, AT microseconds since 1970; USER, HOST, COMMAND and KIND are JSON
strings in which only what JSON demands is escaped; BODY is the JSON object as it is stored, byte
for byte. The chain of an event is SHA-256(chain of the event before, 32 bytes, + canonical form).
Before the first event there are 32 zero bytes. The order is that of the ids, which are not hashed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from lineage.database import Connection
from lineage.errors import InvalidValue

START = bytes(32)
"""What the first event is chained to."""

KEPT = 200
"""Breaks that are looked at closely, to tell what was moved from what was changed."""

Who = tuple[str, str, int, str]
"""User, host, process id, command."""

INSERT = "INSERT INTO event (organism, kind, at, actor, body, chain) VALUES (?, ?, ?, ?, ?, ?)"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(maxsize=4096)
def _who(who: Who) -> str:
    return _encode(who)


@lru_cache(maxsize=4096)
def _kind(kind: str) -> str:
    return _encode(kind)


def canonical(organism: int | None, at: int, who: Who, kind: str, body: bytes) -> bytes:
    """An event as it is hashed; `body` is the stored text in UTF-8."""
    own = "null" if organism is None else organism
    return b"%b%b]" % (f"[{own},{at},{_who(who)},{_kind(kind)},".encode(), body)


def link(before: bytes, event: bytes) -> bytes:
    """The chain of an event in its canonical form, after the chain `before`."""
    return hashlib.sha256(before + event).digest()


def head(connection: Connection) -> tuple[int, bytes]:
    """The id and the chain of the last event; (0, START) where nothing has happened."""
    found = connection.row("SELECT id, chain FROM event ORDER BY id DESC LIMIT 1")
    return (0, START) if found is None else (int(found[0]), bytes(found[1]))


def parse(head: str) -> bytes:
    """A kept head, 64 hex digits, as bytes; anything else is an InvalidValue."""
    try:
        kept = bytes.fromhex(head.strip())
    except ValueError:
        kept = b""
    if len(kept) != len(START):
        raise InvalidValue(
            f"{head!r} is no head of a history: 64 hex digits, as `lineage log --head` prints them."
        )
    return kept


def append(
    connection: Connection, events: Iterable[tuple[int | None, str, int, int, Who, str]]
) -> None:
    """Write events (organism, kind, at, actor, who that is, body as text) at the end of the chain.
    The only way that an event is written. Inside a write transaction: writers queue, so nobody else
    can have chained to the same head."""
    events = list(events)
    if not events:
        return
    chain = head(connection)[1]
    rows = []
    for organism, kind, at, actor, who, body in events:
        chain = link(chain, canonical(organism, at, who, kind, body.encode()))
        rows.append((organism, kind, at, actor, body, chain))
    connection.many(INSERT, rows)


@dataclass(frozen=True, slots=True)
class Break:
    """An event that does not continue the chain: `id`, the id of the event before it (0 for none),
    and whether it once came after another one, which still is there."""

    id: int
    after: int
    moved: bool = False

    def __str__(self) -> str:
        if self.moved:
            return f"event {self.id} once came after another one than event {self.after}"
        if self.id - self.after > 1:
            first, last = self.after + 1, self.id - 1
            gone = f"event {first} is" if first == last else f"events {first} to {last} are"
            return f"{gone} gone"
        return f"event {self.id} is not what was written, or what came before it is gone"


@dataclass(frozen=True, slots=True)
class Verified:
    """How many events there are; where the chain is broken: how often, and the first `KEPT` breaks;
    and of the kept heads that were asked for, those that are in it."""

    events: int
    broken: int
    breaks: tuple[Break, ...]
    found: frozenset[bytes]


def verify(connection: Connection, wanted: Sequence[bytes] = ()) -> Verified:
    """Walk the chain from its first event, each after the one stored before it, so that one change
    is one break. One pass, in batches: memory does not grow with the history, but with the actors.

    A break is a move where its event fits behind another event at which the chain breaks, or ends.
    """
    who = dict(_actors(connection))
    nobody: Who = ("", "", 0, "")
    kept: list[tuple[Break, bytes, bytes]] = []
    before, last, events, broken = START, 0, 0, 0
    ends = {START}
    asked, found = frozenset(wanted), set()
    for own, organism, kind, at, actor, body, chain in _events(connection):
        events += 1
        event = canonical(organism, at, who.get(actor, nobody), kind, body)
        if hashlib.sha256(before + event).digest() != chain:
            broken += 1
            if len(kept) < KEPT:
                kept.append((Break(own, last), event, chain))
                ends.add(before)
        if chain in asked:
            found.add(chain)
        before, last = chain, own
    ends.add(before)
    breaks = [
        Break(one.id, one.after, any(link(end, event) == chain for end in ends))
        for one, event, chain in kept
    ]
    return Verified(events, broken, tuple(breaks), frozenset(found))


def _actors(connection: Connection) -> Iterator[tuple[int, Who]]:
    for rows in connection.stream('SELECT id, "user", host, pid, command FROM actor'):
        for own, user, host, pid, command in rows:
            yield own, (user, host, pid, command)


def _events(
    connection: Connection,
) -> Iterator[tuple[int, int | None, str, int, int, bytes, bytes]]:
    """All events in order. SQLite gives the bytes of a body, whatever somebody put there."""
    body = "body" if connection.postgresql else "CAST(body AS BLOB)"
    sql = f"SELECT id, organism, kind, at, actor, {body}, chain FROM event ORDER BY id"
    for rows in connection.stream(sql, size=5000):
        for own, organism, kind, at, actor, told, chain in rows:
            told = told.encode() if isinstance(told, str) else told
            yield own, organism, kind, at, actor, told, bytes(chain)
