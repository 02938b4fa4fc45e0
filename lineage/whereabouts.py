"""Where the files of an organism really are: whether the files that are listed at a place are there
now, with their recorded sizes or even the very bytes, and else what is wrong with it."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lineage import ledger
from lineage.answers import Answer
from lineage.database import Connection
from lineage.errors import GenomeError, NotFound
from lineage.organism import Organism, Place
from lineage.references import is_local, this_host

NAMED = 3
"""How many files a sentence names."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A place as it was found: `wrong` says what is wrong with it, empty when nothing is. `listed`
    is how many files are recorded there; where none are, only that it exists was looked at."""

    place: Place
    wrong: str
    listed: int


@dataclass(frozen=True, slots=True)
class Whereabouts(Answer):
    """The places of an organism, the latest recorded first, as they were found."""

    _rows: ClassVar[str] = "seen"

    organism: Organism
    seen: tuple[Seen, ...]

    @property
    def path(self) -> str | None:
        """A path that holds the right files; one with listed files is preferred."""
        if self.organism.retracted is not None:
            return None
        right = sorted((one for one in self.seen if not one.wrong), key=lambda one: not one.listed)
        return right[0].place.uri if right else None

    @property
    def wrong(self) -> str:
        """A sentence that says why there is no such path, empty where there is one."""
        ref = self.organism.ref
        if self.path is not None:
            return ""
        if self.organism.retracted is not None:
            return f"the registration of {ref} was retracted: {self.organism.retracted}."
        if self.organism.ghost:
            return (
                f"{ref} is a ghost: it was named as a parent and never registered, so nobody knows "
                "where it is. `lineage register PATH` tells."
            )
        if not self.seen:
            return f"no place is recorded of {ref}. `lineage register PATH` adds one."
        each = "; ".join(f"{one.place.uri}: {one.wrong}" for one in self.seen)
        where = "here" if len(self.seen) == 1 else f"in any of {len(self.seen)} places"
        return f"{ref} is not {where} as it was registered. {each}."

    @property
    def found(self) -> str:
        """The path, or NotFound that says what is wrong with each place."""
        if self.path is None:
            raise NotFound(self.wrong)
        return self.path


@dataclass(frozen=True, slots=True)
class Recorded:
    """The places of an organism with the files recorded at each, as (path, bytes): those where it
    is before those where it was, the latest first. A file that was culled may be there or not: of
    it `away` has the place's URI and the path."""

    organism: Organism
    places: tuple[tuple[Place, tuple[tuple[str, int], ...]], ...]
    away: frozenset[tuple[str, str]] = frozenset()


def recorded(connection: Connection, own: int) -> Recorded:
    """What the registry says of where an organism is. Nothing is looked at yet."""
    (organism,) = ledger.organisms(connection, [own])
    files: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for place, path, size in connection.rows(
        """SELECT f.place, f.path, f.bytes FROM place p JOIN file f ON f.place = p.id
           WHERE p.organism = ? ORDER BY f.genome DESC, f.path""",
        (own,),
    ):
        files[place].append((path, size))
    places = connection.rows(
        f"""SELECT p.id, p.uri, p.host, p.gone_at, {ledger.QUARANTINE} FROM place p
            WHERE p.organism = ? ORDER BY p.gone_at IS NOT NULL, p.id DESC""",
        (own,),
    )
    away = connection.rows(
        """SELECT p.uri, q.path FROM place p JOIN quarantine q ON q.place = p.id
           WHERE p.organism = ?""",
        (own,),
    )
    return Recorded(
        organism,
        tuple(
            (Place(uri, host, ledger.moment(gone), folder), tuple(files[number]))
            for number, uri, host, gone, folder in places
        ),
        frozenset((uri, path) for uri, path in away),
    )


def look(
    known: Recorded, *, hash: bool = False, progress: Callable[[int], object] | None = None
) -> Whereabouts:
    """Look at all places of an organism. With `hash` the genome is read again, place by place until
    one has the digest; `progress` is told how many more bytes were."""
    seen: list[Seen] = []
    for place, listed in known.places:
        there = [
            (path, size)
            for path, size in listed
            if (place.uri, path) not in known.away or _is_there(place, path)
        ]
        wrong = _wrong(place, there)
        if hash and not wrong and all(one.wrong for one in seen):
            wrong = _other_bytes(place.uri, known.organism.digest, progress)
        seen.append(Seen(place, wrong, len(listed)))
    return Whereabouts(known.organism, tuple(seen))


def _is_there(place: Place, path: str) -> bool:
    return is_local(place.uri) and os.path.lexists(os.path.join(folder_of(place.uri), path))


def folder_of(uri: str) -> str:
    """The folder that the paths of the files at a place are relative to."""
    return uri if os.path.isdir(uri) else os.path.dirname(uri)


def _wrong(place: Place, listed: Sequence[tuple[str, int]]) -> str:
    """What is wrong with a place, empty when nothing is."""
    uri = place.uri
    if not is_local(uri):
        return "not a path on a disk"
    if place.gone_at is not None and place.quarantine is not None:
        return (
            f"it is in quarantine since {place.gone_at:%Y-%m-%d %H:%M} UTC, in {place.quarantine}; "
            f"`lineage restore` puts it back"
        )
    if place.gone_at is not None:
        return f"it is there no more since {place.gone_at:%Y-%m-%d %H:%M} UTC"
    try:
        os.stat(uri)
    except FileNotFoundError:
        if place.host and place.host != this_host():
            return f"it is on another host, {place.host}"
        return "nothing is there"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return _differing(folder_of(uri), listed)


def _differing(folder: str, listed: Sequence[tuple[str, int]]) -> str:
    """What is missing or of another size in a folder."""
    missing, changed = [], []
    for path, size in listed:
        try:
            status = os.stat(os.path.join(folder, path))
        except OSError:
            missing.append(path)
            continue
        if not stat.S_ISREG(status.st_mode):
            missing.append(path)
        elif status.st_size != size:
            changed.append(f"{path} has {status.st_size:,} bytes, not {size:,}")
    said = []
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        said.append(f"{_some(missing)} {verb} missing")
    if changed:
        said.append(_some(changed))
    return ", and ".join(said)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _other_bytes(uri: str, digest: str | None, progress: Callable[[int], object] | None) -> str:
    if digest is None:
        return "its digest is not known, so there is nothing to compare with"
    from lineage import genome  # only needed here

    try:
        read = genome.read(uri, progress=progress)
    except GenomeError as error:
        return str(error).rstrip(".")
    return "" if read.digest == digest else f"it holds other weights now, {read.digest[:12]}"
