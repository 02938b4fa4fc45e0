"""A registry as JSON Lines: one organism a line, with everything that is recorded of it. What one
registry exports, another one imports; and lists made by other programs come in the same way.

A line is an object in UTF-8. Only `name` or `digest` is required (of a place alone, `places`); what
is unknown is left out, or null. Times are ISO 8601 in UTC, units SI (J, W, s). The keys:

    name, version   the name it goes by; a bare name means what it means to `register`
    names           further names: [{name, version}]
    digest          of the genome: 64 hex digits
    kind            `epigenetic`; left out of a genomic organism
    ghost           true of one that was named as a parent and never registered
    retracted       of a ghost: why its registration was struck out
    places          [{uri, host, gone, files: [{path, bytes, sha256, genome, modified, culled}]}],
                    or plain URIs; `gone` is when its files were there no more, `culled` {folder,
                    at, emptied} tells of a quarantine, `modified` is in nanoseconds
                    since 1970
    parents         [{ref, relation, weight, evidence, confidence, needed}], one for each evidence,
                    or plain references
    fitness         [{task, metric, split, value, direction, stderr, n, at, retracted}], all ever;
                    `retracted` is why it was struck out and counts no more
    power           [{phase, per, joules, watts, seconds, cost, currency, gco2e, source, meter,
                    uuid, at, retracted}], all ever; `uuid` tells the intervals of a total apart
    parameters, bytes, architecture, precision, licence, created, run, step
    status, protected, registered
    tags            {key: text}
    configuration   {model: {...}, training: {...}}: a config.json, the arguments of a run
    aliases         `alias` of all its names, `name@alias` of one
    leases          [{holder, until}]: in use until then
    events          [{kind, at, user, host, pid, command, body}], oldest first
    rejected        why an import set the line aside; ignored, so that it can come again

A `ref` is any reference but a number (`#12`). With `name` and `version`, or `place`, beside it, it
means exactly the organism known by these; an export gives the digest, else an `hf:` place with a
revision, else these. An export writes parents before their children, so that the import of a whole
registry never waits for anything. Which organism a line means: that of its digest, else of its name
and version, else of its URI; a path on a disk, which may be any disk, makes nothing the same.

Nothing that a registry holds is overwritten by an import: it adds. An alias that another organism
holds there stays where it is, and is reported."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from importlib.resources import files as resources
from typing import Any, BinaryIO

from lineage import configurations
from lineage.corrections import vacate
from lineage.database import Connection
from lineage.errors import InvalidValue, LineageError, RegistryUnavailable
from lineage.organism import (
    DIRECTIONS,
    KINDS,
    STATUSES,
    File,
    Niche,
    Parent,
    PowerCost,
    Score,
    one_of,
    text,
    utc,
    whole,
)
from lineage.references import (
    HEX,
    NUMBER,
    VERSION,
    Ghost,
    digest_bytes,
    not_found,
    place_uri,
    search,
)
from lineage.registering import Registered, register, uncollected
from lineage.registration import FACTS, Registration, as_facts
from lineage.shown import UNSAFE
from lineage.store import (
    EPOCH,
    Act,
    Store,
    check_alias,
    is_needed,
    link_body,
    micros,
    relation_of,
)

BATCH = 1000
"""Organisms read at once by an export, and written in one transaction by an import."""
BATCH_BYTES = 1 << 24
LONGEST = 64 << 20
"""Bytes of a line; a longer one is set aside unread."""
MOST_VERSIONS = 10**9

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode



def schema() -> str:
    """The JSON Schema of a line, the text of `organism.schema.json` beside this module."""
    return resources("lineage.formats").joinpath("organism.schema.json").read_text("utf-8")


# ---- export


def export(connection: Connection) -> Iterator[str]:
    """The registry, one line an organism, without line ends: by generation, and then in the order
    of their registration. Reads in batches, inside the transaction of `connection`: memory does not
    grow with the registry, but for eight bytes an organism that is sorted."""
    shared = _Shared(connection)
    ids = "SELECT id FROM organism WHERE same_as IS NULL ORDER BY generation, id"
    for rows in connection.stream(ids, size=BATCH):
        for line in _lines(connection, [row[0] for row in rows], shared):
            # no character in it breaks a line or steers a terminal
            yield line if line.isprintable() else UNSAFE.sub(_escaped, line)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


class _Shared:
    """What many organisms refer to: few rows, read once."""

    def __init__(self, connection: Connection) -> None:
        niches = connection.rows(
            "SELECT id, task, metric, split, direction FROM niche ORDER BY task, metric, split"
        )
        self.niches = {
            own: (rank, _known(task=task, metric=metric, split=split or None), direction)
            for rank, (own, task, metric, split, direction) in enumerate(
                sorted(niches, key=lambda row: row[1:4])
            )
        }
        self.meters = dict(connection.rows("SELECT id, name FROM meter"))
        self.actors = {
            own: _encode({"user": user, "host": host, "pid": pid, "command": command})[1:]
            for own, user, host, pid, command in connection.rows(
                'SELECT id, "user", host, pid, command FROM actor'
            )
        }
        self.same: defaultdict[int, list[int]] = defaultdict(list)
        for rows in connection.stream(
            "SELECT same_as, id FROM organism WHERE same_as IS NOT NULL ORDER BY id"
        ):
            for keep, own in rows:
                self.same[keep].append(own)


Found = dict[int, list[Any]]


def _lines(connection: Connection, ids: list[int], shared: _Shared) -> Iterator[str]:
    packed = connection.pack(ids)
    names = _names(connection, packed)
    places = _places(connection, packed)
    parents = _parents(connection, packed)
    fitness = _fitness(connection, packed, shared)
    power = _power(connection, packed, shared)
    tags = _by_organism(connection, packed, "t.key, t.value", "tag")
    configuration = configurations.read(connection, ids)
    aliases = _aliases(connection, packed, names)
    leases = _by_organism(connection, packed, "t.holder, t.until", "lease", "t.holder")
    events = _events(connection, ids, shared)
    rows = connection.rows(
        f"""SELECT o.id, o.digest, o.status, o.ghost, o.epigenetic, o.protected, o.registered,
              o.retracted, {", ".join(f"o.{fact}" for fact in FACTS)}
            FROM {connection.ids} AS i JOIN organism o ON o.id = i.id""",
        (packed,),
    )
    by_id = {row[0]: row for row in rows}
    for own in ids:
        _, digest, status, ghost, epigenetic, protected, registered, retracted, *values = by_id[own]
        facts = dict(zip(FACTS, values, strict=True))
        called = names.get(own, ())
        line = {
            "name": called[0]["name"] if called else None,
            "version": called[0]["version"] if called else None,
            "names": called[1:],
            "digest": None if digest is None else bytes(digest).hex(),
            "kind": "epigenetic" if epigenetic else None,
            "ghost": bool(ghost) or None,
            "retracted": retracted,
            "places": places.get(own),
            "parents": parents.get(own),
            "fitness": fitness.get(own),
            "power": power.get(own),
            **facts,
            "created": _iso(facts["created"]),
            "status": status,
            "protected": bool(protected) or None,
            "registered": _iso(registered),
            "tags": dict(sorted(tags.get(own, ()))),
            "configuration": configuration.get(own),
            "aliases": aliases.get(own),
            "leases": [{"holder": who, "until": _iso(until)} for who, until in leases.get(own, ())],
        }
        written = _encode({key: value for key, value in line.items() if value or value == 0})
        told = events.get(own)
        yield f'{written[:-1]},"events":[{",".join(told)}]}}' if told else written


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _iso(at: int | None) -> str | None:
    if at is None:
        return None
    return (EPOCH + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


def _by_organism(
    connection: Connection, packed: Any, columns: str, table: str, order: str = ""
) -> Found:
    """Rows of `table` (as `t`) by organism."""
    found: Found = defaultdict(list)
    for own, *rest in connection.rows(
        f"""SELECT t.organism, {columns} FROM {connection.ids} AS i CROSS JOIN {table} t
            WHERE t.organism = i.id {order and f"ORDER BY {order}"}""",
        (packed,),
    ):
        found[own].append(rest)
    return found


def _names(connection: Connection, packed: Any) -> Found:
    rows = _by_organism(connection, packed, "t.name, t.version", "name", "t.rank")
    return {
        own: [{"name": name, "version": version} for name, version in known]
        for own, known in rows.items()
    }


def _places(connection: Connection, packed: Any) -> Found:
    files: Found = defaultdict(list)
    culled = {
        (place, path): _known(folder=folder, at=_iso(at), emptied=_iso(emptied))
        for place, path, folder, at, emptied in connection.rows(
            f"""SELECT q.place, q.path, q.folder, q.at, q.emptied_at
                FROM {connection.ids} AS i CROSS JOIN place p CROSS JOIN quarantine q
                WHERE p.organism = i.id AND q.place = p.id""",
            (packed,),
        )
    }
    for place, path, size, sha256, genome, modified in connection.rows(
        f"""SELECT f.place, f.path, f.bytes, f.sha256, f.genome, f.modified
            FROM {connection.ids} AS i CROSS JOIN place p CROSS JOIN file f
            WHERE p.organism = i.id AND f.place = p.id""",
        (packed,),
    ):
        files[place].append(
            _known(
                path=path, bytes=size, sha256=bytes(sha256).hex(), genome=bool(genome),
                modified=modified, culled=culled.get((place, path)),
            )
        )
    rows = _by_organism(connection, packed, "t.id, t.uri, t.host, t.gone_at", "place", "t.id")
    return {
        own: [
            _known(
                uri=uri,
                host=host,
                gone=_iso(gone_at),
                files=sorted(files[place], key=lambda f: (not f["genome"], f["path"]))
                if place in files
                else None,
            )
            for place, uri, host, gone_at in known
        ]
        for own, known in rows.items()
    }


def _parents(connection: Connection, packed: Any) -> Found:
    rows = connection.rows(
        f"""SELECT e.child, e.parent, e.needed, c.epigenetic, v.relation, v.weight, v.evidence,
              v.confidence
            FROM {connection.ids} AS i CROSS JOIN organism c CROSS JOIN edge e
            CROSS JOIN evidence v
            WHERE c.id = i.id AND e.child = i.id AND v.child = i.id AND v.parent = e.parent""",
        (packed,),
    )
    refs = _refs(connection, sorted({row[1] for row in rows}))
    found: Found = defaultdict(list)
    for child, parent, needed, epigenetic, relation, weight, evidence, confidence in rows:
        how = Parent("", relation)
        same = bool(needed) == is_needed(how, relation, bool(epigenetic))
        found[child].append(
            _known(
                **refs[parent],
                relation=relation,
                weight=weight,
                evidence=evidence,
                confidence=confidence,
                needed=None if same else bool(needed),
            )
        )
    for known in found.values():  # in an order that does not depend on ids
        known.sort(key=lambda one: (one["ref"], one["relation"], one["evidence"]))
    return found


def _refs(connection: Connection, ids: list[int]) -> dict[int, dict[str, Any]]:
    """How an export refers to organisms, so that it is understood wherever it is read."""
    rows = connection.rows(
        f"""SELECT o.id, o.digest, n.name, n.version FROM {connection.ids} AS i
            CROSS JOIN organism o LEFT JOIN name n ON n.organism = o.id AND n.rank = 0
            WHERE o.id = i.id""",
        (connection.pack(ids),),
    )
    unseen = connection.pack(own for own, digest, *_ in rows if digest is None)
    # the first place, and whether others are there too: an import must give it back as the first
    first = {
        own: (uri, shared or gone_at is not None)
        for own, uri, gone_at, shared in connection.rows(
            f"""SELECT p.organism, p.uri, p.gone_at, EXISTS (SELECT 1 FROM place s
                  WHERE s.hash = p.hash AND s.uri = p.uri AND s.organism <> p.organism)
                FROM {connection.ids} AS i CROSS JOIN place p WHERE p.organism = i.id
                  AND p.id = (SELECT min(q.id) FROM place q WHERE q.organism = i.id)""",
            (unseen,),
        )
    }
    refs: dict[int, dict[str, Any]] = {}
    for own, digest, name, version in rows:
        uri, unclear = first.get(own, ("", True))
        if digest is not None:
            refs[own] = {"ref": bytes(digest).hex()}
        elif uri.startswith("hf:") and "@" in uri and not unclear:
            refs[own] = {"ref": uri}
        elif name is not None:
            refs[own] = {"ref": f"{name}@v{version}", "name": name, "version": version}
        else:
            refs[own] = {"ref": uri, "place": uri}
    return refs


def _fitness(connection: Connection, packed: Any, shared: _Shared) -> Found:
    rows = _by_organism(
        connection, packed, "t.niche, t.at, t.id, t.value, t.stderr, t.n, t.retracted", "fitness"
    )
    found: Found = {}
    for own, known in rows.items():
        known.sort(key=lambda row: (shared.niches[row[0]][0], row[1], row[2]))
        scores = {}  # what two organisms that became one scored alike is one score
        for niche, at, _, value, stderr, n, retracted in known:
            _, named, direction = shared.niches[niche]
            scores[niche, at, value, stderr, n, retracted] = named | _known(
                value=value, direction=direction, stderr=stderr, n=n, at=_iso(at),
                retracted=retracted,
            )  # fmt: skip
        found[own] = list(scores.values())
    return found


_NUMBERS = ("phase", "per", "joules", "watts", "seconds", "cost", "currency", "gco2e", "source")


def _power(connection: Connection, packed: Any, shared: _Shared) -> Found:
    rows = _by_organism(
        connection,
        packed,
        f"{', '.join(f't.{key}' for key in _NUMBERS)}, t.meter, t.uuid, t.at, t.retracted",
        "power",
        "t.phase, t.per, t.at, t.id",
    )
    found: Found = {}
    for own, known in rows.items():
        costs = {}
        for *numbers, meter, key, at, retracted in known:
            cost = _known(**dict(zip(_NUMBERS, numbers, strict=True)))
            costs[(*numbers, meter, key, at, retracted)] = cost | _known(
                meter=shared.meters.get(meter),
                uuid=None if key is None else str(uuid.UUID(bytes=bytes(key))),
                at=_iso(at),
                retracted=retracted,
            )
        found[own] = list(costs.values())
    return found


def _aliases(connection: Connection, packed: Any, names: Found) -> Found:
    """`alias` where an organism holds it for all its names, `name@alias` where for one."""
    rows = _by_organism(connection, packed, "t.alias, t.name", "alias")
    found: Found = {}
    for own, known in rows.items():
        called = {one["name"] for one in names.get(own, ())}
        held: defaultdict[str, set[str]] = defaultdict(set)
        for alias, name in known:
            held[alias].add(name)
        found[own] = sorted(
            one
            for alias, of in held.items()
            for one in ([alias] if of == called else [f"{name}@{alias}" for name in of])
        )
    return found


def _events(connection: Connection, ids: list[int], shared: _Shared) -> Found:
    """The history of organisms, each event as JSON already."""
    keeper = {own: own for own in ids}
    for own in ids:
        keeper.update(dict.fromkeys(shared.same.get(own, ()), own))
    found: Found = defaultdict(list)
    for organism, kind, at, actor, body in connection.rows(
        f"""SELECT e.organism, e.kind, e.at, e.actor, e.body FROM {connection.ids} AS i
            CROSS JOIN event e WHERE e.organism = i.id ORDER BY e.at, e.id""",
        (connection.pack(keeper),),
    ):
        more = "" if body == "{}" else f',"body":{body}'  # it was written as JSON by the store
        start = f'{{"kind":{_encode(kind)},"at":"{_iso(at)}",'
        found[keeper[organism]].append(f"{start}{shared.actors[actor][:-1]}{more}}}")
    return found


# ---- import


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
        return UNSAFE.sub(_escaped, written)


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


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file. Of one longer than `LONGEST` only the beginning, a byte too long, so
    that none is ever held whole."""
    while line := file.readline(LONGEST + 1):
        yield line
        while len(line) > LONGEST and not line.endswith(b"\n"):
            line = file.readline(LONGEST + 1) or b"\n"


def import_lines(
    store: Store,
    lines: Iterable[bytes | str],
    rejects: Callable[[Rejected], object] | None = None,
    batch: int = BATCH,
) -> Report:
    """Bring organisms in from JSON Lines, `batch` of them in one transaction; the same lines again
    change nothing. A line that is no organism, a link that would close a cycle, and an alias that
    is taken are set aside, and given to `rejects`; the rest goes in.

    A reference by alias, path, part of a digest, or to a repository without its revision, is looked
    up when all lines are in; every other one may come before the organism that it means. Raises
    RegistryUnavailable; the batches before that are in, and the import can be run again."""
    return _Import(store, rejects).run(lines, batch)


@dataclass(slots=True)
class _Line:
    """One line, read: what it registers, and the links that wait for the end of the import."""

    number: int
    object: dict[str, Any]
    new: Registration
    later: list[Any]


class _Import:
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

    def _chunks(self, lines: Iterable[bytes | str], batch: int) -> Iterator[list[_Line]]:
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
    ) -> tuple[list[_Line], bool]:
        """The next lines, and whether there may be more."""
        chunk: list[_Line] = []
        size = 0
        for number, raw in numbered:
            line = self._read(number, raw)
            if line is not None:
                chunk.append(line)
            size += len(raw)
            if len(chunk) >= batch or size >= BATCH_BYTES:
                return chunk, True
        return chunk, False

    def _read(self, number: int, raw: bytes | str) -> _Line | None:
        if len(raw) > LONGEST:
            start = raw[:200].decode("utf-8", "replace") if isinstance(raw, bytes) else raw[:200]
            reason = f"the line is longer than {LONGEST >> 20} MB."
            self._set_aside(Rejected(number, reason, {"text": f"{start}…"}))
            return None
        written: Any = None
        try:
            written = _parsed(raw, first=number == 1)
            if written is None:
                return None
            new, later = _registration(written)
            return _Line(number, written, new, later)
        except (LineageError, RecursionError) as error:
            if not isinstance(written, dict):
                written = {"text": _as_text(raw).rstrip("\r\n")}
            reason = "it is nested too deep." if isinstance(error, RecursionError) else str(error)
            self._set_aside(Rejected(number, reason, written))
            return None

    def _take(self, chunk: Sequence[_Line]) -> None:
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
            if not _of_the_data(error):
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

    def _count(self, line: _Line, done: Registered) -> None:
        if done.created or (done.told and done.changed):  # it may have been a ghost
            self.report.created += 1
        elif done.changed:
            self.report.updated += 1
        else:
            self.report.unchanged += 1
        for parent, relation in line.later:
            changed = done.created or done.changed
            late = [line.number, done.id, changed, _identity(line.object), parent, relation]
            self.waiting.write(json.dumps(late).encode() + b"\n")

    def _left_out(self, act: Act, line: _Line, done: Registered) -> Iterator[Rejected]:
        """The links and aliases of a line that did not go in."""
        here = [one for one in _list(line.object, "parents") if not _waits(one)]
        for refused in done.refused:
            parents = [
                one for one, own in zip(here, done.parents, strict=True) if own == refused.parent
            ]
            yield Rejected(
                line.number, str(act.cycle(refused)), _identity(line.object) | {"parents": parents}
            )
        for name, alias in done.held:
            reason = (
                f"another organism holds the alias {name}@{alias}, and keeps it. `lineage alias` "
                "moves it."
            )
            left = _identity(line.object) | {"aliases": [f"{name}@{alias}"]}
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
        how = _parent(written)
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


# ---- one line


def _as_text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw


def _parsed(raw: bytes | str, first: bool) -> Any:
    """The object of a line, None of an empty one. InvalidValue where it is none."""
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8-sig" if first else "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidValue(
                f"it is not UTF-8: byte {error.start + 1} is {raw[error.start]:#04x}."
            ) from None
    if not raw or raw.isspace():
        return None
    try:
        written = _decode(raw)
    except InvalidValue:
        raise
    except ValueError as error:
        raise InvalidValue(f"it is not JSON: {error}.") from None
    if not isinstance(written, dict):
        raise InvalidValue("it is not a JSON object: write one organism a line, in braces.")
    return written


def _no_constant(constant: str) -> Any:
    raise InvalidValue(
        f"{constant} is not JSON, and cannot be compared. Leave it out if it is unknown."
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidValue(f"the key {twice!r} is there twice. Which one is meant?")
    return made


_decode = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant).decode

NAME = dict.fromkeys(["name", "version"])
PLACE = dict.fromkeys(["uri", "host", "gone", "files"])
FILE = dict.fromkeys(["path", "bytes", "sha256", "genome", "modified", "culled"])
CULLED = dict.fromkeys(["folder", "at", "emptied"])
PARENT = dict.fromkeys(
    ["ref", *NAME, "place", "relation", "weight", "evidence", "confidence", "needed"]
)
SCORE = dict.fromkeys(
    ["task", "metric", "split", "value", "direction", "stderr", "n", "at", "retracted"]
)
POWER = dict.fromkeys([*_NUMBERS, "meter", "uuid", "at", "retracted"])
LEASE = dict.fromkeys(["holder", "until"])
EVENT = dict.fromkeys(["kind", "at", "user", "host", "pid", "command", "body"])
ORGANISM = dict.fromkeys(
    [*NAME, "names", "digest", "kind", "ghost", "retracted", "places", "parents", "fitness",
     "power", *FACTS, "status", "protected", "registered", "tags", "configuration", "aliases",
     "leases", "events", "rejected"]
)  # fmt: skip
_TEXTS = ("architecture", "precision", "licence", "run")


def _checked(written: Any, keys: Mapping[str, None], what: str) -> dict[str, Any]:
    """An object without what is null; a key that is none of `keys` is an InvalidValue that proposes
    the nearest."""
    if not isinstance(written, dict):
        raise InvalidValue(f"{what} must be an object, not {_short(written)}.")
    if not keys.keys() >= written.keys():
        import difflib

        unknown = next(key for key in written if key not in keys)
        near = difflib.get_close_matches(unknown, keys, 1, 0.5)
        hint = f"Is {near[0]!r} meant?" if near else f"There are: {', '.join(keys)}."
        raise InvalidValue(f"{what} has no key {_short(unknown)}. {hint}")
    if None in written.values():
        return {key: value for key, value in written.items() if value is not None}
    return written


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _list(written: Mapping[str, Any], key: str) -> list[Any]:
    found = written.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise InvalidValue(f"{key} must be a list, not {_short(found)}.")
    return found


_LARGEST = sys.float_info.max


def _number(value: Any, what: str) -> float:
    """A JSON number; whether it is finite, its type checks."""
    if type(value) is not float and type(value) is not int:
        raise InvalidValue(f"{what} must be a number, not {_short(value)}.")
    if abs(value) > _LARGEST:
        raise InvalidValue(f"{what} is too large a number: {_short(value)}.")
    return value


def _whole(value: Any, what: str, *, least: int = 0, below: int = 2**63) -> int:
    number = whole(_number(value, what), what, least=least)
    if number >= below:
        raise InvalidValue(f"{what} must be below {below}, not {number}.")
    return number


def _flag(written: Mapping[str, Any], key: str) -> bool:
    value = written.get(key, False)
    if not isinstance(value, bool):
        raise InvalidValue(f"{key} must be true or false, not {_short(value)}.")
    return value


def _time(value: Any, what: str) -> int:
    if not isinstance(value, str):
        _number(value, what)
    return micros(utc(value, what))


def _registration(written: dict[str, Any]) -> tuple[Registration, list[Any]]:
    """What a line registers, and the links that have to wait for the end of the import."""
    if "text" in written and "rejected" in written:
        raise InvalidValue("it was set aside before. Mend its text, and let only that stay.")
    one = _checked(written, ORGANISM, "an organism")
    name, version = _name(one)
    parents = _list(one, "parents")
    new = Registration(
        name=name,
        version=version,
        digest=_digest(one["digest"], "digest") if "digest" in one else None,
        scores=tuple(_score(each) for each in _list(one, "fitness")),
        power=tuple(_cost(each) for each in _list(one, "power")),
        epigenetic=one_of(one.get("kind", KINDS[0]), KINDS, "kind") == "epigenetic",
        facts=_facts(one),
        ghost=_flag(one, "ghost"),
        imported=True,
        status=one_of(one.get("status", STATUSES[0]), STATUSES, "status"),
        protected=_flag(one, "protected"),
        registered=_time(one["registered"], "registered") if "registered" in one else None,
        retracted=text(one["retracted"], "retracted") if "retracted" in one else None,
        configuration=configurations.documents(one.get("configuration")),
        more_names=tuple(_more_name(each) for each in _list(one, "names")),
        leases=tuple(_lease(each) for each in _list(one, "leases")),
        events=tuple(_event(each) for each in _list(one, "events")),
    )
    if new.retracted is not None and not new.ghost:
        raise InvalidValue("retracted is of a ghost: a registration that was struck out is one.")
    if "tags" in one:
        new.tags = _tags(one["tags"])
    if "places" in one:
        _add_places(new, one)
    if "aliases" in one:
        new.aliases = _checked_aliases(new, one)
    if new.name is None and new.digest is None and not new.places:
        raise InvalidValue("an organism needs a name or a digest to be known by.")
    if new.name is None and new.more_names:
        raise InvalidValue("names holds further names: give the first one as name.")
    later = []
    if parents:
        new.parents = tuple(_parent(each) for each in parents if not _waits(each))
        siblings = len(parents)
        new.relation = relation_of(Parent(""), siblings, None)
        later = [
            (each, relation_of(_parent(each), siblings, None)) for each in parents if _waits(each)
        ]
    return new, later


def _identity(written: Mapping[str, Any]) -> dict[str, Any]:
    """What tells which organism a line means."""
    found = {key: written[key] for key in ("name", "version", "digest", "kind") if key in written}
    if "name" not in found and "digest" not in found:
        found["places"] = written.get("places")
    return found


def _name(written: Mapping[str, Any]) -> tuple[str | None, int | None]:
    name, version = written.get("name"), written.get("version")
    if name is None:
        if version is not None:
            raise InvalidValue(f"version {version} is of no name: give the name too.")
        return None, None
    if version is not None:
        version = _whole(version, "version", least=1, below=MOST_VERSIONS)
    return text(name, "name"), version


def _more_name(written: Any) -> tuple[str, int]:
    name, version = _name(_checked(written, NAME, "a name"))
    if name is None or version is None:
        raise InvalidValue(f"{_short(written)} needs both a name and a version.")
    return name, version


def _digest(value: Any, what: str) -> bytes:
    return digest_bytes(text(value, what))


def _facts(written: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: written[key] for key in FACTS if key in written}
    for key, value in found.items():
        if key == "created":
            found[key] = utc(value if isinstance(value, str) else _number(value, key), key)
        elif key not in _TEXTS:
            found[key] = _whole(value, key)
    return as_facts(found)


def _tags(written: Any) -> dict[str, str]:
    if not isinstance(written, dict):
        raise InvalidValue(f"tags must be an object, not {_short(written)}.")
    tags = {}
    for key, value in written.items():
        if isinstance(value, (dict, list)) or value is None:
            raise InvalidValue(f"the tag {_short(key)} must be text, not {_short(value)}.")
        value = value if isinstance(value, str) else json.dumps(value)
        tags[text(key, "tag")] = text(value, f"the value of the tag {_short(key)}")
    return tags


def _add_places(new: Registration, written: Mapping[str, Any]) -> None:
    places: dict[str, str | None] = {}
    files: dict[str, tuple[File, ...]] = {}
    gone: dict[str, int] = {}
    for each in _list(written, "places"):
        one = {"uri": each} if isinstance(each, str) else _checked(each, PLACE, "a place")
        uri = place_uri(text(one.get("uri"), "the uri of a place"))
        places[uri] = text(one["host"], "host") if "host" in one else None
        if "gone" in one:
            gone[uri] = _time(one["gone"], "gone")
        if "files" in one:
            files[uri] = tuple(_file(each) for each in _list(one, "files"))
            for each in _list(one, "files"):
                if each.get("culled") is not None:
                    new.culled = {**new.culled, (uri, each["path"]): _culled(each["culled"])}
    new.places, new.files, new.gone = tuple(places.items()), files, gone


def _culled(written: Any) -> tuple[str, int, int | None]:
    """The quarantine folder of a file, when it went there, and when it was deleted from it."""
    one = _checked(written, CULLED, "what was culled")
    emptied = _time(one["emptied"], "emptied") if "emptied" in one else None
    folder = text(one.get("folder"), "the folder of a quarantine")
    return folder, _time(one.get("at"), "at"), emptied


def _file(written: Any) -> File:
    one = _checked(written, FILE, "a file")
    missing = [key for key in FILE if key not in one and key not in ("modified", "culled")]
    if missing:
        raise InvalidValue(f"a file needs {', '.join(missing)}: {_short(written)}.")
    sha256 = _digest(one["sha256"], "sha256").hex()
    path = text(one["path"], "the path of a file")
    size = _whole(one["bytes"], "the bytes of a file")
    modified = _whole(one["modified"], "modified", least=-(2**63)) if "modified" in one else None
    return File(path, size, sha256, _flag(one, "genome"), modified)


def _checked_aliases(new: Registration, written: Mapping[str, Any]) -> tuple[str, ...]:
    names = {new.name, *(name for name, _ in new.more_names)}
    found = []
    for each in _list(written, "aliases"):
        name, at, alias = text(each, "alias").rpartition("@")
        check_alias(alias)
        if new.name is None or (at and name not in names):
            raise InvalidValue(f"the alias {_short(each)} belongs to a name that the line has not.")
        found.append(each)
    return tuple(found)


def _waits(written: Any) -> bool:
    """Whether a parent can only be looked up when all organisms are in: its reference is an alias,
    part of a digest, a repository without a revision, or a path."""
    if isinstance(written, dict):
        if "name" in written or "place" in written:
            return False
        written = written.get("ref")
    if not isinstance(written, str):
        return False
    if written.startswith("hf:"):
        return "@" not in written
    if match := HEX.match(written):
        return len(match[1]) < 64
    if written.startswith(("/", "./", "../", "~", "file://")):
        return True
    if "://" in written:
        return False
    stem, at, end = written.rpartition("@")
    return bool(at and stem and not VERSION.match(end))


def _parent(written: Any) -> Parent:
    if isinstance(written, str):
        return Parent(_ref(written))
    one = _checked(written, PARENT, "a parent")
    if "ref" in one:  # whatever it is, beside a name or a place it is not looked up
        _ref(one["ref"])
    if "name" in one:
        text(one["name"], "the name of a parent")
    ref: Any
    if "place" in one:
        ref = Ghost(place=text(one["place"], "the place of a parent"))
    elif "name" in one:
        name, version = _more_name({key: one.get(key) for key in NAME})
        ref = Ghost(name=name, version=version)
    elif "ref" in one:
        ref = _ref(one["ref"])
    else:
        raise InvalidValue(f"the parent {_short(written)} needs a ref.")
    for key in ("weight", "confidence"):
        if key in one:
            _number(one[key], key)
    return Parent(
        ref,
        one.get("relation"),
        one.get("weight"),
        one.get("evidence", "declared"),
        one.get("confidence"),
        _flag(one, "needed") if "needed" in one else None,
    )


def _ref(written: Any) -> Any:
    """A reference to a parent; by its whole digest, exactly that."""
    ref = text(written, "the ref of a parent")
    if NUMBER.match(ref):
        raise InvalidValue(f"{ref!r} is a number of one registry, and means nothing in another.")
    match = HEX.match(ref)
    return Ghost(digest=bytes.fromhex(match[1])) if match and len(match[1]) == 64 else ref


def _score(written: Any) -> Score:
    one = _checked(written, SCORE, "a score")
    for key in ("task", "metric", "value"):
        if key not in one:
            raise InvalidValue(f"a score needs a {key}: {_short(written)}.")
    names = (one["task"], one["metric"], one.get("split", ""))
    for name in names:
        if not isinstance(name, str):
            raise InvalidValue(f"task, metric and split must be text, not {_short(name)}.")
    niche = _niche(*names)
    if "direction" in one:
        one_of(one["direction"], DIRECTIONS, "direction")
    return Score(
        niche,
        _number(one["value"], f"the score in {niche}"),
        None if "stderr" not in one else _number(one["stderr"], "stderr"),
        None if "n" not in one else _whole(one["n"], "n", least=1),
        one.get("direction"),
        at=utc(one["at"], "at") if "at" in one else None,
        retracted=text(one["retracted"], "retracted") if "retracted" in one else None,
    )


@lru_cache(maxsize=4096)
def _niche(task: str, metric: str, split: str) -> Niche:
    """Few niches are named again and again."""
    return Niche(text(task, "task"), text(metric, "metric"), split and text(split, "split"))


def _cost(written: Any) -> PowerCost:
    one = _checked(written, POWER, "a power cost")
    for key in ("joules", "watts", "seconds", "cost", "gco2e"):
        if key in one:
            _number(one[key], key)
    for key in ("meter", "currency", "uuid", "retracted"):
        if key in one:
            text(one[key], key)
    if "uuid" in one:
        try:
            uuid.UUID(one["uuid"])
        except ValueError:
            raise InvalidValue(f"uuid {_short(one['uuid'])} is not a UUID.") from None
    return PowerCost(**one)


def _lease(written: Any) -> tuple[str, int]:
    one = _checked(written, LEASE, "a lease")
    if missing := LEASE.keys() - one.keys():
        raise InvalidValue(f"a lease needs {', '.join(sorted(missing))}: {_short(written)}.")
    return text(one["holder"], "the holder of a lease"), _time(one["until"], "until")


def _given_up(lines: Iterable[_Line]) -> Iterator[tuple[str, int]]:
    """The names that renames in the histories of lines gave up."""
    for line in lines:
        for kind, _, _, body in line.new.events:
            told = json.loads(body) if kind == "renamed" else {}
            name, version = told.get("from"), told.get("from_version")
            if isinstance(name, str) and isinstance(version, int):
                yield name, version


def _event(written: Any) -> tuple[str, int, tuple[str, str, int, str], str]:
    one = _checked(written, EVENT, "an event")
    missing = [key for key in ("kind", "at", "user", "host", "pid", "command") if key not in one]
    if missing:
        raise InvalidValue(f"an event needs {', '.join(missing)}: {_short(written)}.")
    body = one.get("body", {})
    if not isinstance(body, dict):
        raise InvalidValue(f"the body of an event must be an object, not {_short(body)}.")
    user, host, command = (_said(one[key], key) for key in ("user", "host", "command"))
    who = (user, host, _whole(one["pid"], "pid", below=2**31), command)
    try:
        told = _encode(body)
        told.encode()
    except UnicodeEncodeError:
        raise InvalidValue("the body of an event holds half a character.") from None
    except ValueError:
        raise InvalidValue("the body of an event holds a number that is not finite.") from None
    return text(one["kind"], "the kind of an event"), _time(one["at"], "at"), who, told


def _said(value: Any, what: str) -> str:
    """Text that may be empty: a container may know no user."""
    return "" if value == "" else text(value, what)
