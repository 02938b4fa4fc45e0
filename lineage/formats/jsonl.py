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

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files as resources
from typing import Any, BinaryIO

from lineage import configurations
from lineage.database import Connection
from lineage.formats.importing import BATCH, LONGEST, Import, Rejected, Report
from lineage.formats.line import NUMBERS, encode, escaped
from lineage.organism import Parent
from lineage.registration import FACTS
from lineage.shown import UNSAFE
from lineage.store import Store, is_needed, iso


def schema() -> str:
    """The JSON Schema of a line, the text of `organism.schema.json` beside this module."""
    return resources("lineage.formats").joinpath("organism.schema.json").read_text("utf-8")


def export(connection: Connection) -> Iterator[str]:
    """The registry, one line an organism, without line ends: by generation, and then in the order
    of their registration. Reads in batches, inside the transaction of `connection`: memory does not
    grow with the registry, but for eight bytes an organism that is sorted."""
    shared = _Shared(connection)
    ids = "SELECT id FROM organism WHERE same_as IS NULL ORDER BY generation, id"
    for rows in connection.stream(ids, size=BATCH):
        for line in _lines(connection, [row[0] for row in rows], shared):
            # no character in it breaks a line or steers a terminal
            yield line if line.isprintable() else UNSAFE.sub(escaped, line)


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
            own: encode({"user": user, "host": host, "pid": pid, "command": command})[1:]
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
        written = encode({key: value for key, value in line.items() if value or value == 0})
        told = events.get(own)
        yield f'{written[:-1]},"events":[{",".join(told)}]}}' if told else written


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _iso(at: int | None) -> str | None:
    return None if at is None else iso(at)


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


def _power(connection: Connection, packed: Any, shared: _Shared) -> Found:
    rows = _by_organism(
        connection,
        packed,
        f"{', '.join(f't.{key}' for key in NUMBERS)}, t.meter, t.uuid, t.at, t.retracted",
        "power",
        "t.phase, t.per, t.at, t.id",
    )
    found: Found = {}
    for own, known in rows.items():
        costs = {}
        for *numbers, meter, key, at, retracted in known:
            cost = _known(**dict(zip(NUMBERS, numbers, strict=True)))
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
        start = f'{{"kind":{encode(kind)},"at":"{_iso(at)}",'
        found[keeper[organism]].append(f"{start}{shared.actors[actor][:-1]}{more}}}")
    return found


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
    return Import(store, rejects).run(lines, batch)
