"""The import of organisms, line by line, whatever they were written in: what goes in goes in by one
batch after the other, and what cannot is set aside with its reason."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lineage.corrections import vacate
from lineage.errors import LineageError, RegistryUnavailable
from lineage.formats.line import (
    as_text,
    escaped,
    identity_of,
    list_of,
    parent_of,
    parsed,
    registration_of,
    waits,
)
from lineage.references import not_found, search
from lineage.registering import Registered, register, uncollected
from lineage.registration import Registration
from lineage.shown import UNSAFE
from lineage.store import Act, Store, is_needed, link_body

BATCH = 1000
"""Organisms read at once by an export, and written in one transaction by an import."""
BATCH_BYTES = 1 << 24
LONGEST = 64 << 20
"""Bytes of a line; a longer one is set aside unread."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """What an import set aside: the number of the line, counted from 1, why, and the JSON object to
    mend and import again: the whole line, or the organism with the links or aliases left out."""

    line: int
    reason: str
    object: Mapping[str, Any]

    def __str__(self) -> str:
        """The object as a line that tells why it was set aside, and can be imported again."""
        told = {**self.object, "rejected": {"line": self.line, "reason": self.reason}}
        written = json.dumps(told, ensure_ascii=False)
        return UNSAFE.sub(escaped, written)


@dataclass(slots=True)
class Report:
    """What an import did: organisms that are new, that gained something, and that were known in
    full; how much was set aside, and the first hundred of it."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    set_aside: int = 0
    first: list[Rejected] = field(default_factory=list)

    @property
    def organisms(self) -> int:
        return self.created + self.updated + self.unchanged


@dataclass(slots=True)
class Line:
    """One line, read: what it registers, and the links that wait for the end of the import."""

    number: int
    object: dict[str, Any]
    new: Registration
    later: list[Any]


class Import:
    def __init__(self, store: Store, rejects: Callable[[Rejected], object] | None) -> None:
        self.store = store
        self.rejects = rejects
        self.report = Report()
        self.gained = 0  # the last line that was changed by a late link alone

    def run(self, lines: Iterable[bytes | str], batch: int) -> Report:
        with self.store.database.read() as connection:
            last = connection.value("SELECT coalesce(max(id), 0) FROM organism")
        with tempfile.SpooledTemporaryFile(max_size=BATCH_BYTES) as waiting:
            self.waiting = waiting
            for chunk in self._chunks(lines, batch):
                self._take(chunk)
            waiting.seek(0)
            for late in _groups((json.loads(line) for line in waiting), batch):
                with self.store.act() as act:
                    for one in late:
                        self._link(act, *one)
        if self.report.created or self.report.updated:
            self._close(last)
        return self.report

    def _chunks(self, lines: Iterable[bytes | str], batch: int) -> Iterator[list[Line]]:
        """The lines that are organisms, in lists that fit a transaction and the memory."""
        numbered = enumerate(lines, 1)
        more = True
        while more:
            with uncollected():
                chunk, more = self._chunk(numbered, batch)
            if chunk:
                yield chunk

    def _chunk(
        self, numbered: Iterator[tuple[int, bytes | str]], batch: int
    ) -> tuple[list[Line], bool]:
        """The next lines, and whether there may be more."""
        chunk: list[Line] = []
        size = 0
        for number, raw in numbered:
            line = self._read(number, raw)
            if line is not None:
                chunk.append(line)
            size += len(raw)
            if len(chunk) >= batch or size >= BATCH_BYTES:
                return chunk, True
        return chunk, False

    def _read(self, number: int, raw: bytes | str) -> Line | None:
        if len(raw) > LONGEST:
            start = raw[:200].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:200]
            reason = f"the line is longer than {LONGEST >> 20} MB."
            self._set_aside(Rejected(number, reason, {"text": f"{start}…"}))
            return None
        written: Any = None
        try:
            written = parsed(raw, first=number == 1)
            if written is None:
                return None
            new, later = registration_of(written)
            return Line(number, written, new, later)
        except (LineageError, RecursionError) as error:
            if not isinstance(written, dict):
                written = {"text": as_text(raw).rstrip("\r\n")}
            reason = "it is nested too deep." if isinstance(error, RecursionError) else str(error)
            self._set_aside(Rejected(number, reason, written))
            return None

    def _take(self, chunk: Sequence[Line]) -> None:
        """Register a chunk. Where the database refuses it, the halves are tried, down to the line
        that is at fault."""
        errors: dict[int, LineageError] = {}
        try:
            with self.store.act() as act:
                registered = register(act, [line.new for line in chunk], errors.__setitem__)
                vacate(act.connection, _given_up(chunk))
                told = [
                    list(self._left_out(act, line, done))
                    for line, done in zip(chunk, registered, strict=True)
                    if done is not None
                ]
        except RegistryUnavailable:
            raise
        except Exception as error:
            if not _of_the_data(error) or not self.store.database.may_record():
                raise
            if len(chunk) == 1:
                said = str(error) if isinstance(error, LineageError) else " ".join(
                    f"the database refuses it: {error}".split())  # fmt: skip
                self._set_aside(Rejected(chunk[0].number, said, chunk[0].object))
                return
            self._take(chunk[: len(chunk) // 2])
            self._take(chunk[len(chunk) // 2 :])
            return
        # counted once they are in
        for index, line in enumerate(chunk):
            done = registered[index]
            if done is None:
                self._set_aside(Rejected(line.number, str(errors[index]), line.object))
            else:
                self._count(line, done)
        for rejected in (one for each in told for one in each):
            self._set_aside(rejected)

    def _count(self, line: Line, done: Registered) -> None:
        if done.created or (done.told and done.changed):  # it may have been a ghost
            self.report.created += 1
        elif done.changed:
            self.report.updated += 1
        else:
            self.report.unchanged += 1
        for parent, relation in line.later:
            changed = done.created or done.changed
            late = [line.number, done.id, changed, identity_of(line.object), parent, relation]
            self.waiting.write(json.dumps(late).encode() + b"\n")

    def _left_out(self, act: Act, line: Line, done: Registered) -> Iterator[Rejected]:
        """The links and aliases of a line that did not go in."""
        here = [one for one in list_of(line.object, "parents") if not waits(one)]
        for refused in done.refused:
            parents = [
                one for one, own in zip(here, done.parents, strict=True) if own == refused.parent
            ]
            yield Rejected(
                line.number,
                str(act.cycle(refused)),
                identity_of(line.object) | {"parents": parents},
            )
        for name, alias in done.held:
            reason = (
                f"another organism holds the alias {name}@{alias}, and keeps it. `lineage alias` "
                "moves it."
            )
            left = identity_of(line.object) | {"aliases": [f"{name}@{alias}"]}
            yield Rejected(line.number, reason, left)

    def _link(
        self,
        act: Act,
        number: int,
        own: int,
        changed: bool,
        identity: dict[str, Any],
        written: Any,
        relation: str,
    ) -> None:
        """Make a link that waited for the end; `changed` by the line is the organism already."""
        how = parent_of(written)
        try:
            own, epigenetic = act.connection.row(
                "SELECT coalesce(same_as, id), epigenetic FROM organism WHERE id = ?", (own,)
            )
            if "@" in how.ref and not search(act.connection, how.ref):
                raise not_found(act.connection, how.ref)
            parent = act.parent_id(how.ref)
            needed = is_needed(how, relation, bool(epigenetic))
            added, refused = act.add_links([(own, parent, relation, how, needed)])
            if refused:
                raise act.cycle(refused[0])
            if added:
                act.event(own, "linked", link_body(act.label(parent), relation, how))
                if not changed and self.gained != number:
                    self.gained = number
                    self.report.unchanged -= 1
                    self.report.updated += 1
        except RegistryUnavailable:
            raise
        except LineageError as error:
            self._set_aside(Rejected(number, str(error), identity | {"parents": [written]}))

    def _close(self, last: int) -> None:
        """Note the import in the history, and what it left without a history: ghosts that were
        named as parents, and had no line of their own."""
        report = self.report
        with self.store.act() as act:
            silent = act.connection.rows(
                """SELECT o.id, o.digest, n.name, n.version,
                     (SELECT min(p.uri) FROM place p WHERE p.organism = o.id)
                   FROM organism o LEFT JOIN name n ON n.organism = o.id AND n.rank = 0
                   WHERE o.id > ? AND o.ghost = 1 AND o.same_as IS NULL
                     AND NOT EXISTS (SELECT 1 FROM event e WHERE e.organism = o.id)""",
                (last,),
            )
            act.events(
                (own, "ghost", {"ref": bytes(digest).hex() if digest else
                                f"{name}@v{version}" if name else uri})
                for own, digest, name, version, uri in silent
            )  # fmt: skip
            counts = {"created": report.created, "updated": report.updated}
            act.event(None, "imported", counts | {"set_aside": report.set_aside})

    def _set_aside(self, rejected: Rejected) -> None:
        self.report.set_aside += 1
        if len(self.report.first) < 100:
            self.report.first.append(rejected)
        if self.rejects is not None:
            self.rejects(rejected)


def _groups(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    group: list[Any] = []
    for one in items:
        group.append(one)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _of_the_data(error: Exception) -> bool:
    """Whether a failure may be due to one line: what a database cannot hold."""
    kind = type(error)
    return isinstance(error, (LineageError, OverflowError, UnicodeError)) or kind.__module__.split(
        "."
    )[0] in ("sqlite3", "psycopg")


def _given_up(lines: Iterable[Line]) -> Iterator[tuple[str, int]]:
    """The names that renames in the histories of lines gave up."""
    for line in lines:
        for kind, _, _, body in line.new.events:
            told = json.loads(body) if kind == "renamed" else {}
            name, version = told.get("from"), told.get("from_version")
            if isinstance(name, str) and isinstance(version, int):
                yield name, version
