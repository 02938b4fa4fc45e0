"""A scan from end to end: walk, pass over what is known and unchanged, read the rest, relate, and
register in batches, parents first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, ClassVar

from lineage import configurations
from lineage.answers import Answer
from lineage.database import Connection
from lineage.errors import LineageError
from lineage.readers.said import Said
from lineage.references import is_local, place_hash, this_host
from lineage.registering import Registered, register
from lineage.registration import Registration, registration
from lineage.scan.read import Found, attempt, attempt_all
from lineage.scan.relate import BY_TIMES, MOST, Proposed, Related, Relating, Relations
from lineage.scan.walk import Candidate, Stamp, storable, walk
from lineage.store import Act, Store

BATCH = 500
"""Checkpoints in one transaction: what is in stays in, when a scan is interrupted."""
LARGE = 8_000_000
"""Bytes from which on a checkpoint is worth a thread of its own."""
TOGETHER = 64
"""The most small checkpoints that one job of an executor reads."""

Progress = Callable[[int, int], object]
"""Told how many checkpoints were read, and how many there are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that a scan read: `known` where an organism with its digest is registered
    already; `kinds` is what its files show it to be."""

    name: str
    place: str
    digest: str
    bytes: int
    known: bool
    kinds: tuple[str, ...]
    step: int | None
    scores: int


@dataclass(frozen=True, slots=True)
class Scan(Answer):
    """What a scan found: checkpoints that were read, links between them by evidence, pairs that
    share tensors and where nothing tells who descends from whom, what was set aside as (path,
    reason), by path, and how many checkpoints were unchanged and not opened. `registered` counts
    the new organisms, None of a dry run."""

    _rows: ClassVar[str] = "seen"

    seen: tuple[Seen, ...]
    links: tuple[Proposed, ...]
    related: tuple[Related, ...]
    set_aside: tuple[tuple[str, str], ...]
    unchanged: int
    files: int
    registered: int | None = None


def scan(
    store: Store,
    roots: Sequence[str | os.PathLike[str]],
    *,
    apply: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> Scan:
    """Scan folders; with `apply` register what was found. Files are read by threads, or by the
    jobs of an `executor`, in processes that see the same paths. Raises LineageError for a root that
    is no folder; whatever else is wrong is set aside, and the rest goes in."""
    walked = walk(roots)
    names = [one.place for one in walked.candidates if storable(one)]
    with store.database.read() as connection:
        known = _recorded(connection, names)
    new, unchanged = [], {}
    for one in walked.candidates:
        record = known.get(one.place)
        if record is not None and record[1] == one.files and one.dated:
            unchanged[one.place] = record[0]
        else:
            new.append(one)
    set_aside = list(walked.set_aside)
    found = _read_all(new, set_aside, progress, executor)
    with store.database.read() as connection:
        relations = Relating(found, unchanged, walked.main, connection).relate()
        there = _registered(connection, {one.genome.digest for one in found})
    set_aside += ((one.candidate.place, note) for one in found for note in one.said.notes)
    set_aside += relations.set_aside
    created = None
    if apply:
        went_in = _write(store, found, relations, set_aside)
        created = len({one.genome.digest for one in went_in} - there)
    return Scan(
        seen=tuple(_seen(one, one.genome.digest in there) for one in found),
        links=tuple(link for one in found for link in relations.links.get(one.candidate.place, ())),
        related=tuple(relations.related),
        set_aside=tuple(sorted(set_aside, key=lambda one: one[0])),
        unchanged=len(unchanged),
        files=walked.seen,
        registered=created,
    )


def _seen(one: Found, known: bool) -> Seen:
    return Seen(
        one.name, one.candidate.place, one.genome.digest, one.genome.bytes, known,
        tuple(dict.fromkeys(one.said.kinds)), one.said.facts.get("step"), len(one.said.scores),
    )  # fmt: skip


# what is known already


def _recorded(
    connection: Connection, places: Sequence[str]
) -> dict[str, tuple[str, dict[str, Stamp]]]:
    """What is recorded of places on this host, and of URIs: the digest, and each file as the walk
    sees it."""
    found: dict[str, tuple[str, dict[str, Stamp]]] = {}
    for start in range(0, len(places), MOST):
        asked = set(places[start : start + MOST])
        packed = connection.pack(map(place_hash, asked))
        for uri, host, digest, path, size, modified in connection.rows(
            f"""SELECT p.uri, p.host, o.digest, f.path, f.bytes, f.modified
                FROM {connection.ids} AS i CROSS JOIN place p CROSS JOIN organism o
                CROSS JOIN file f WHERE p.hash = i.id AND p.gone_at IS NULL
                  AND o.id = p.organism AND o.digest IS NOT NULL AND f.place = p.id""",
            (packed,),
        ):
            if uri not in asked or host != (this_host() if is_local(uri) else None):
                continue
            if uri in found:
                found[uri][1][path] = (size, modified)
            else:
                found[uri] = bytes(digest).hex(), {path: (size, modified)}
    return found


def _registered(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Those of the digests that an organism has, which is no ghost."""
    asked = [bytes.fromhex(one) for one in digests]
    found: set[str] = set()
    for start in range(0, len(asked), MOST):
        where, values = connection.one_of("digest", asked[start : start + MOST])
        found |= {
            bytes(digest).hex()
            for (digest,) in connection.rows(
                f"SELECT digest FROM organism WHERE ghost = 0 AND {where}", values
            )
        }
    return found


# reading


def _read_all(
    candidates: Sequence[Candidate],
    set_aside: list[tuple[str, str]],
    progress: Progress | None,
    executor: Executor | None,
) -> list[Found]:
    """Read all candidates; what cannot be read is set aside."""
    found: list[Found] = []
    read = _read_here(candidates) if executor is None else _read_by(executor, candidates)
    for result in read:
        if isinstance(result, Found):
            found.append(result)
        else:
            set_aside.append(result)
        if progress is not None:
            progress(len(found), len(candidates))
    found.sort(key=lambda one: one.candidate.place)
    return found


def _read_here(candidates: Sequence[Candidate]) -> Iterator[Found | tuple[str, str]]:
    """Small ones one after the other, large ones on all cores."""
    beside: dict[str, Said] = {}
    small = [one for one in candidates if one.bytes < LARGE]
    large = [one for one in candidates if one.bytes >= LARGE]
    workers = 1 if len(large) > 1 else None
    yield from (attempt(one, beside, workers) for one in small)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from pool.map(lambda one: attempt(one, beside, workers), large)


def _read_by(
    executor: Executor, candidates: Sequence[Candidate]
) -> Iterator[Found | tuple[str, str]]:
    """By jobs of an executor, as they are done. What a job was lost with is set aside; that the
    executor itself is lost is an error."""
    jobs = {executor.submit(attempt_all, group): group for group in _groups(candidates)}
    try:
        for job in as_completed(jobs):
            try:
                yield from job.result()
            except CancelledError:
                raise LineageError(
                    "what read the files is gone, and nothing was registered. Scan again: what is "
                    "registered already is not read again."
                ) from None
            except Exception as error:  # of the executor: a job gives its own as results
                said = " ".join(str(error).split())[:300] or type(error).__name__
                reason = f"was lost with the process that read it: {said}"
                yield from ((one.place, reason) for one in jobs[job])
    finally:
        for job in jobs:
            job.cancel()


def _groups(candidates: Sequence[Candidate]) -> Iterator[list[Candidate]]:
    """Large checkpoints each by itself and first, small ones together."""
    ordered = sorted(candidates, key=lambda one: -one.bytes)
    group: list[Candidate] = []
    held = 0
    for one in ordered:
        if group and (held + one.bytes > LARGE or len(group) == TOGETHER):
            yield group
            group, held = [], 0
        group.append(one)
        held += one.bytes
    if group:
        yield group


# writing


def _write(
    store: Store,
    found: Sequence[Found],
    relations: Relations,
    set_aside: list[tuple[str, str]],
) -> list[Found]:
    """Register all, parents first, a batch in a transaction; what went in. What is refused with all
    that its files say is registered without it."""
    went_in: list[Found] = []
    ordered = list(_parents_first(found, relations.links))
    for start in range(0, len(ordered), BATCH):
        batch = ordered[start : start + BATCH]
        full = [(one, _values(one, relations.links.get(one.candidate.place, ()))) for one in batch]
        with store.act() as act:
            done, refused = _register(act, full, set_aside)
            if refused:
                done += _register(act, [(one, _bare(one)) for one in refused], set_aside)[0]
            _keep_tensors(act.connection, done)
        went_in += (one for one, _ in done)
    return went_in


def _parents_first(
    found: Sequence[Found], links: Mapping[str, Sequence[Proposed]]
) -> Iterator[Found]:
    """Every checkpoint after its parents, as far as there is no circle: then the registry refuses
    the link that closes it."""
    by_digest: dict[str, list[Found]] = {}
    for one in found:
        by_digest.setdefault(one.genome.digest, []).append(one)
    done: set[int] = set()
    for top in found:
        path = [(top, False)]
        while path:
            one, ready = path.pop()
            if ready:
                yield one
            elif id(one) not in done:
                done.add(id(one))
                path.append((one, True))
                for link in links.get(one.candidate.place, ()):
                    path += ((parent, False) for parent in by_digest.get(str(link.how.ref), ()))


def _bare(one: Found) -> dict[str, Any]:
    """What is registered of a checkpoint whatever its files say."""
    known = one.genome
    config = {"model": known.configuration} if known.configuration is not None else {}
    return {
        "configuration": config if configurations.kept(config) else None,
        "name": one.name,
        "digest": known.digest,
        "files": known.files,
        "place": [known.path, *([one.candidate.hub] if one.candidate.hub else [])],
        "bytes": known.bytes,
        "parameters": known.parameters,
        "precision": known.precision,
        "architecture": known.architecture,
    }


def _values(one: Found, links: Sequence[Proposed]) -> dict[str, Any]:
    """What is registered of a checkpoint, with what its files say where the genome is silent."""
    said = one.said
    bare = _bare(one)
    facts = {key: value for key, value in said.facts.items() if bare.get(key) is None}
    tags = dict(said.tags) | ({"history": said.history} if said.history else {})
    if any(link.source == BY_TIMES for link in links):
        tags["direction"] = "file-times"
    return bare | facts | {
        "parents": [link.how for link in links],
        "fitness": said.scores,
        "power": said.power,
        "tags": tags,
    }


def _register(
    act: Act, entries: Sequence[tuple[Found, Mapping[str, Any]]], set_aside: list[tuple[str, str]]
) -> tuple[list[tuple[Found, Registered]], list[Found]]:
    """Register entries: what went in, and what was refused, with the reason set aside."""
    ready: list[tuple[Found, Registration]] = []
    refused: list[Found] = []

    def refuse(one: Found, error: LineageError) -> None:
        refused.append(one)
        set_aside.append((one.candidate.place, f"not all that its files say went in: {error}"))

    for one, values in entries:
        try:
            ready.append((one, registration(**values)))
        except LineageError as error:
            refuse(one, error)
    done = register(
        act, [new for _, new in ready], lambda index, error: refuse(ready[index][0], error)
    )
    went_in = [(one, own) for (one, _), own in zip(ready, done, strict=True) if own is not None]
    for one, own in went_in:
        set_aside += ((one.candidate.place, str(act.cycle(each))) for each in own.refused)
    return went_in, refused


def _keep_tensors(
    connection: Connection, done: Sequence[tuple[Found, Registered]]
) -> None:
    """Keep which tensors an organism holds, for later scans: an index of its files, which reading
    them again would make anew."""
    rows = [
        (tensor, own.id, count)
        for one, own in done
        for tensor, count in one.tensors.items()
    ]
    connection.many(
        "INSERT INTO tensor (digest, organism, bytes) VALUES (?, ?, ?) "
        "ON CONFLICT (digest, organism) DO NOTHING",
        rows,
    )
