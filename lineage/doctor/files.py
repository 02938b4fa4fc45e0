"""Whether the files of all places on this host are there, and are what was registered."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from threading import Lock

from lineage.culling.check import wrong as wrong_in_quarantine
from lineage.database import Database
from lineage.doctor.findings import EXAMPLES, Finding, Progress, finding
from lineage.references import LOCAL, this_host

PLACES = 1_000
"""Places whose files are looked at between two short reads of the registry."""

BLOCK = 1 << 20
"""Bytes hashed at a time."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that should be on this host: its path, size in bytes, SHA-256, and when it was last
    modified, in nanoseconds since 1970, where that was recorded."""

    path: str
    size: int
    sha256: bytes
    modified: int | None
    culled: bool = False  # it may be there or not


@dataclass(slots=True)
class _Disk:
    """What was looked at on disk, and by check what is wrong with it: how many, and examples."""

    tell: Callable[[int], object]  # how many bytes are hashed
    places: int = 0
    files: int = 0
    hashed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lock: Lock = field(default_factory=Lock)
    stopped: bool = False

    def note(self, check: str, what: str) -> None:
        self.counts[check] += 1
        if len(self.examples[check]) < EXAMPLES:
            self.examples[check].append(what)

    def sha256(self, path: str) -> bytes | OSError:
        """The digest of a file, or why it cannot be read. For several threads at a time."""
        digest = hashlib.sha256()
        try:
            with open(path, "rb", buffering=0) as file:
                while not self.stopped and (block := file.read(BLOCK)):
                    digest.update(block)
                    with self.lock:
                        self.hashed += len(block)
                        self.tell(self.hashed)
        except OSError as error:
            return error
        return digest.digest()


ON_DISK = ("places", "missing", "changed", "touched", "unreadable", "quarantine")
"""The checks of files."""


def on_disk(
    database: Database, deep: bool, tell: Progress
) -> tuple[list[Finding], dict[str, int]]:
    """What is wrong with the files of places on this host, and how many were looked at."""
    places, size, elsewhere = _extent(database)
    disk = _Disk(lambda done: tell("hashing", done, size))
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for batch in _batches(database):
            right: list[_Wanted] = []
            for uri, wanted in batch:
                disk.places += 1
                right += _of_right_size(disk, uri, wanted, deep)
                tell("files", disk.places, places)
            if deep:
                _compare(pool, disk, right)
    finally:
        disk.stopped = True
        pool.shutdown(wait=False, cancel_futures=True)
    for line in wrong_in_quarantine(database, deep):
        disk.note("quarantine", line)
    findings = [
        one
        for check in ON_DISK
        for one in finding(check, disk.counts[check], disk.examples[check])
    ]
    counts = {"places": disk.places, "files": disk.files, "elsewhere": elsewhere}
    return findings, counts | ({"hashed": disk.hashed} if deep else {})


def _extent(database: Database) -> tuple[int, int, int]:
    """The places on this host, the bytes of their files, and the places on other hosts."""
    of = "FROM place p {} WHERE p.gone_at IS NULL AND {} p.host = ?"
    other = f"{LOCAL} AND (p.host IS NULL OR p.host <> ?)"
    with database.read() as connection:
        host = (this_host(),)
        places = connection.value(f"SELECT count(*) {of.format('', '')}", host)
        with_files = of.format("JOIN file f ON f.place = p.id", "")
        size = connection.value(f"SELECT coalesce(sum(f.bytes), 0) {with_files}", host)
        elsewhere = connection.value(
            f"SELECT count(*) FROM place p WHERE p.gone_at IS NULL AND {other}", host
        )
    return int(places), int(size), int(elsewhere)


def _batches(database: Database) -> Iterator[list[tuple[str, list[_Wanted]]]]:
    """The places on this host with their files, many at a time: no view of the registry is held
    while a disk is read."""
    last = 0
    while True:
        with database.read() as connection:
            rows = connection.rows(
                f"""SELECT p.id, p.uri, f.path, f.bytes, f.sha256, f.modified,
                      q.path IS NOT NULL FROM
                      (SELECT id, uri FROM place WHERE id > ? AND gone_at IS NULL AND host = ?
                       ORDER BY id LIMIT {PLACES}) p
                    LEFT JOIN file f ON f.place = p.id
                    LEFT JOIN quarantine q ON q.place = f.place AND q.path = f.path
                    ORDER BY p.id, f.path""",
                (last, this_host()),
            )
        if not rows:
            return
        last = rows[-1][0]
        yield [
            (
                uri,
                [
                    _Wanted(path, size, bytes(sha), modified, bool(culled))
                    for _, _, path, size, sha, modified, culled in files
                    if path
                ],
            )
            for (_, uri), files in groupby(rows, key=lambda row: (row[0], row[1]))
        ]


def _of_right_size(
    disk: _Disk, uri: str, wanted: Sequence[_Wanted], deep: bool
) -> list[_Wanted]:
    """Those files of a place that are there, of their size and readable; the rest is noted. Where
    bytes are compared (`deep`), times tell nothing more."""
    try:
        is_folder = stat.S_ISDIR(os.stat(uri).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        disk.note("places", uri)
        return []
    except OSError as error:
        disk.note("unreadable", f"{uri}: {error.strerror}")
        return []
    folder = uri if is_folder else os.path.dirname(uri)
    right = []
    for file in wanted:
        disk.files += 1
        file = replace(file, path=os.path.join(folder, file.path))
        check, why = _wrong_with(file)
        if check == "missing" and file.culled:
            continue
        if check and not (check == "touched" and deep):
            disk.note(check, f"{file.path}{why}")
        else:
            right.append(file)
    return right


def _wrong_with(file: _Wanted) -> tuple[str, str]:
    """The check that a file fails, and why; empty for one that is there as it should be."""
    try:
        status = os.stat(file.path)
        if not stat.S_ISREG(status.st_mode):
            return "changed", ": no file any more"
        if status.st_size != file.size:
            return "changed", f": {status.st_size:,} bytes instead of {file.size:,}"
        os.close(os.open(file.path, os.O_RDONLY))
    except (FileNotFoundError, NotADirectoryError):
        return "missing", ""
    except OSError as error:
        return "unreadable", f": {error.strerror}"
    if file.modified not in (None, status.st_mtime_ns):
        return "touched", ""
    return "", ""


def _compare(pool: ThreadPoolExecutor, disk: _Disk, files: Sequence[_Wanted]) -> None:
    """Read every byte of these files, several at a time, and note those that differ."""
    for file, found in zip(files, pool.map(disk.sha256, (f.path for f in files)), strict=True):
        if isinstance(found, OSError):
            disk.note("unreadable", f"{file.path}: {found.strerror}")
        elif found != file.sha256:
            disk.note("changed", f"{file.path}: other bytes of the same size")
