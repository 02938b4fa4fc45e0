"""A folder or a whole disk that moved: all places below it are rewritten, in one transaction, once
the files were found at the other end: all sizes, and the bytes of a sample."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from lineage import chain
from lineage.answers import Answer
from lineage.database import Connection
from lineage.errors import InvalidValue, NotFound
from lineage.references import is_local, place_hash, place_uri, this_host
from lineage.store import Act, Store
from lineage.undoing import find

BATCH = 1_000
"""Places read, or rewritten, at once."""
SAMPLE = 20
"""Files whose bytes are read, spread over all places: of each the smallest that holds weights."""
NAMED = 100
"""How many places that do not match a plan names."""
BLOCK = 1 << 20

Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A place that cannot be rewritten, and why."""

    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Relocation(Answer):
    """What is, or was, rewritten: `places` with `files` whose sizes are right at the other end, and
    `hashed` of them with the very bytes. `unmatched` counts the places that stay as they are, and
    `examples` names the first. `elsewhere` are places below the old path on other hosts, which are
    left alone. `event` is the number to undo it by, None for a plan."""

    old: str
    new: str
    places: int
    files: int
    hashed: int
    unmatched: int
    examples: tuple[Unmatched, ...]
    elsewhere: int
    event: int | None = None


def relocate(
    store: Store,
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    apply: bool = False,
    progress: Progress | None = None,
) -> Relocation:
    """Rewrite all places on this host that are `old` or below it (component by component: /runs/a
    is not below /runs/ab) to `new`. A plan, unless `apply`. A place whose files are not at the
    other end, with their recorded sizes, stays as it is. NotFound where nothing is below `old`."""
    moved = _Move(place_uri(old), place_uri(new))
    with store.database.read() as connection:
        places, elsewhere = moved.places(connection)
    if not places:
        raise NotFound(
            f"no place on this host is {moved.old} or below it. `lineage ls --here` and `lineage "
            "show REF` name places."
        )
    total = len(places)
    looked = _Looked(max(1, total // SAMPLE), total, progress or (lambda *_: None))
    for start in range(0, total, BATCH):
        with store.database.read() as connection:  # none is held while a disk is read
            batch = _with_files(connection, places[start : start + BATCH])
        looked.at(batch, moved)
    plan = Relocation(
        moved.old,
        moved.new,
        len(looked.right),
        looked.files,
        looked.hashed,
        looked.unmatched,
        tuple(looked.examples),
        elsewhere,
    )
    if not apply or not looked.right:
        return plan
    with store.act() as act:
        first = chain.head(act.connection)[0]
        for start in range(0, len(looked.right), BATCH):
            _rewrite(act, [*looked.right[start : start + BATCH]], moved.rewritten)
        told = {"old": moved.old, "new": moved.new, "places": plan.places, "after": first}
        act.event(None, "relocated", told)
        return replace(plan, event=chain.head(act.connection)[0])


def undo(store: Store, event: int) -> int:
    """Rewrite back what a relocation rewrote, and only that, where the files are back: otherwise
    InvalidValue names a place that is not. The number of the event that this leaves."""
    with store.act() as act:
        what = find(act.connection, event)
        old, new = what.body["old"], what.body["new"]
        back = _Move(new, old)
        first = chain.head(act.connection)[0]
        moved = 0
        for ids in _moved(act.connection, what.body["after"], event):
            looked = _Looked(1, len(ids), lambda *_: None)
            looked.at(_with_files(act.connection, ids), back)
            if looked.examples:
                one = looked.examples[0]
                raise InvalidValue(
                    f"event {event} cannot be undone: {one.place} is not back at {old}: {one.why}."
                )
            _rewrite(act, [*looked.right], back.rewritten)
            moved += len(looked.right)
        told = {"old": new, "new": old, "places": moved, "after": first, "undoes": event}
        act.event(None, "relocated", told)
        return chain.head(act.connection)[0]


def _moved(connection: Connection, after: int, before: int) -> Iterator[list[int]]:
    """The places that the events between two moved, where they are still there."""
    while True:
        rows = connection.rows(
            f"""SELECT e.id, coalesce(o.same_as, o.id), e.body FROM event e
                JOIN organism o ON o.id = e.organism
                WHERE e.id > ? AND e.id < ? AND e.kind = 'moved' ORDER BY e.id LIMIT {BATCH}""",
            (after, before),
        )
        if not rows:
            return
        after = rows[-1][0]
        came = {(own, json.loads(body)["to"]) for _, own, body in rows}
        yield [
            number
            for number, own, uri in connection.rows(
                f"""SELECT p.id, p.organism, p.uri FROM {connection.ids} AS i
                    JOIN place p ON p.hash = i.id WHERE p.gone_at IS NULL""",
                (connection.pack({place_hash(uri) for _, uri in came}),),
            )
            if (own, uri) in came
        ]


# ---- Which places


@dataclass(frozen=True, slots=True)
class _Place:
    id: int
    organism: int
    uri: str
    files: tuple[tuple[str, int, bytes, bool], ...]
    """(path, bytes, sha256, whether it holds weights)"""


class _Move:
    """From where to where, and which places that means."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old.rstrip("/") or "/", new.rstrip("/") or "/"
        for one in (self.old, self.new):
            if not is_local(one):
                raise InvalidValue(f"{one!r} is not a path on this machine: nothing moves there.")
        if self.old == self.new:
            raise InvalidValue(f"{self.old} is where it was: old and new are the same.")
        self.inside = self.old if self.old == "/" else f"{self.old}/"

    def rewritten(self, uri: str) -> str:
        rest = uri[len(self.inside) :]
        return os.path.join(self.new, rest) if rest else self.new

    def places(self, connection: Connection) -> tuple[array[int], int]:
        """The ids of the places that are `old` or below it on this host, and how many are so on
        other hosts. One pass over all places: no index holds their text."""
        here, elsewhere = array("q"), 0
        for rows in connection.stream(
            """SELECT p.id, p.host IS NULL OR p.host = ? FROM place p WHERE p.gone_at IS NULL
               AND (p.uri = ? OR substr(p.uri, 1, ?) = ?) ORDER BY p.id""",
            (this_host(), self.old, len(self.inside), self.inside),
        ):
            here.extend(number for number, ours in rows if ours)
            elsewhere += sum(not ours for _, ours in rows)
        return here, elsewhere


def _with_files(connection: Connection, ids: Iterable[int]) -> list[_Place]:
    rows = connection.rows(
        f"""SELECT p.id, p.organism, p.uri, f.path, f.bytes, f.sha256, f.genome
            FROM {connection.ids} AS i CROSS JOIN place p LEFT JOIN file f ON f.place = p.id
            WHERE p.id = i.id ORDER BY p.uri, p.id, f.path""",
        (connection.pack(ids),),
    )
    return [
        _Place(own, organism, uri, tuple(
            (path, size, bytes(sha), bool(genome))
            for *_, path, size, sha, genome in files if path is not None
        ))
        for (own, organism, uri), files in groupby(rows, key=lambda row: row[:3])
    ]  # fmt: skip


# ---- Looking at the other end


@dataclass(slots=True)
class _Looked:
    """What was looked at: the ids of the places whose files are there, and who is not."""

    stride: int
    total: int
    tell: Progress
    right: array[int] = field(default_factory=lambda: array("q"))
    files: int = 0
    hashed: int = 0
    unmatched: int = 0
    seen: int = 0
    examples: list[Unmatched] = field(default_factory=list)

    def at(self, places: list[_Place], move: _Move) -> None:
        for one in places:
            wrong = self._wrong(one, move.rewritten(one.uri))
            self.seen += 1
            self.tell("looked at", self.seen, self.total)
            if not wrong:
                self.right.append(one.id)
                continue
            self.unmatched += 1
            if len(self.examples) < NAMED:
                self.examples.append(Unmatched(one.uri, wrong))

    def _wrong(self, place: _Place, target: str) -> str:
        """Why a place is not at `target`, empty where it is."""
        try:
            folder = target if os.path.isdir(target) else os.path.dirname(target)
            os.stat(target)
            for path, size, _, _ in place.files:
                there = os.stat(os.path.join(folder, path)).st_size
                if there != size:
                    return f"{path} has {there:,} bytes at {target}, not {size:,}"
            if self.seen % self.stride == 0 and place.files:
                path, size, sha256, _ = min(place.files, key=lambda one: (not one[3], one[1]))
                self.hashed += 1
                if _sha256(os.path.join(folder, path)) != sha256:
                    return f"{path} holds other bytes of the same size at {target}"
        except OSError as error:
            return f"{error.filename or target}: {(error.strerror or str(error)).lower()}"
        self.files += len(place.files)
        return ""


def _sha256(path: str) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.digest()


# ---- Rewriting


def _rewrite(act: Act, ids: list[int], rewritten: Callable[[str], str]) -> None:
    """Rewrite some places. Where an organism is known at the other end already, the old place is
    gone, and the new one stays."""
    rows = act.connection.rows(
        f"""SELECT p.id, p.organism, p.uri FROM {act.connection.ids} AS i CROSS JOIN place p
            WHERE p.id = i.id AND p.gone_at IS NULL""",
        (act.connection.pack(ids),),
    )
    targets = {number: rewritten(uri) for number, _, uri in rows}
    there = {
        (own, uri): number
        for number, own, uri in act.connection.rows(
            f"""SELECT p.id, p.organism, p.uri FROM {act.connection.ids} AS i
                JOIN place p ON p.hash = i.id""",
            (act.connection.pack(set(map(place_hash, targets.values()))),),
        )
    }
    known = [row for row in rows if (row[1], targets[row[0]]) in there]
    act.connection.many(
        "UPDATE place SET gone_at = ? WHERE id = ?", [(act.at, number) for number, *_ in known]
    )
    act.connection.many(
        "UPDATE place SET gone_at = NULL WHERE id = ?",
        [(there[own, targets[number]],) for number, own, _ in known],
    )
    act.connection.many(
        "UPDATE place SET hash = ?, uri = ? WHERE id = ?",
        [
            (place_hash(targets[row[0]]), targets[row[0]], row[0])
            for row in rows
            if row not in known
        ],
    )
    moved: list[tuple[int | None, str, dict[str, Any]]] = [
        (own, "moved", {"from": uri, "to": targets[number]}) for number, own, uri in rows
    ]
    act.events(moved)
