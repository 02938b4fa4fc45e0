"""The spool of a registry: a folder on the local disk where training runs leave one small file for
each thing that is to be recorded, whatever state the registry is in. `arrivals` brings them in."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url

from lineage.database import Address
from lineage.errors import InvalidValue

FORMAT = 1
"""Of a record, in its key `lineage`. One of a later format waits for a later lineage."""

SET_ASIDE = "set-aside"
LOCK = ".lock"
STALE_SECONDS = 3600
"""After that, what was half written belongs to nobody who still runs."""


def folder_of(address: Address) -> Path:
    """The one spool of a registry: a folder named by the SHA-256 of its address, without user and
    password, in LINEAGE_SPOOL or in the user's state folder."""
    if address.file is not None:
        known_by = os.path.realpath(address.file)
    else:
        url = make_url(str(address))
        known_by = str(URL.create(url.drivername, None, None, url.host, url.port or 5432,
                                  url.database, url.query))  # fmt: skip
    given = os.environ.get("LINEAGE_SPOOL")
    if given:
        above = Path(given).expanduser().absolute()
    else:
        import platformdirs

        above = Path(platformdirs.user_state_dir("lineage", appauthor=False)) / "spool"
    return above / hashlib.sha256(known_by.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def prepare(folder: Path, address: Address) -> None:
    """Make the folder, for its user alone, with a note of whose spool it is. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    note = folder / "registry.txt"
    if not note.exists():
        told = f"Waits for the registry {address}: `lineage sync` brings it in.\n"
        note.write_text(told, "utf-8", "backslashreplace")


def write(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write a record whole: when this returns, it survives a kill and a power loss. Names sort by
    time, which is the order they come in. Raises OSError."""
    return _write_whole(folder / f"{time.time_ns():020d}-{record['uuid']}.json", record)


def rewrite(file: Path, record: Mapping[str, Any]) -> None:
    """Put a record in the place of what it was. Raises OSError."""
    _write_whole(file, record)


def _write_whole(file: Path, record: Mapping[str, Any]) -> Path:
    half = file.with_name(f".{file.name}.{os.getpid()}.half")
    try:
        with open(half, "w", encoding="ascii", opener=_private) as out:
            json.dump(record, out, allow_nan=False)
            out.flush()
            os.fsync(out.fileno())
        os.rename(half, file)
    except BaseException:
        with suppress(OSError):
            half.unlink()
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return file


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def waiting(folder: Path) -> list[Path]:
    """The records of a spool, oldest first. None where there is no such folder, or not for us."""
    with suppress(OSError):
        return sorted(one for one in folder.iterdir() if _is_record(one.name))
    return []


def set_aside(folder: Path) -> list[tuple[Path, str]]:
    """The records that can never be accepted, each with the reason."""
    found = []
    for file in waiting(folder / SET_ASIDE):
        reason = "no reason is kept"
        with suppress(OSError):
            reason = file.with_suffix(".txt").read_text("utf-8", "replace").strip()
        found.append((file, reason))
    return found


def _is_record(name: str) -> bool:
    return name.endswith(".json") and not name.startswith(".")


def read(file: Path) -> dict[str, Any]:
    """A record. What is none is an InvalidValue; raises OSError too."""
    try:
        record = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidValue("the file is not JSON: it was not written by lineage.") from None
    if not isinstance(record, dict) or not isinstance(record.get("lineage"), int):
        raise InvalidValue("the file is no record of lineage.")
    return record


def put_aside(file: Path, reason: str) -> Path:
    """Move a record to the folder of those that can never be accepted, with the reason beside it.
    `lineage sync` with that folder tries them again. Raises OSError."""
    aside = file.parent / SET_ASIDE
    if file.parent.name == SET_ASIDE:  # it was tried again
        aside = file.parent
    aside.mkdir(mode=0o700, exist_ok=True)
    kept = aside / file.name
    kept.with_suffix(".txt").write_text(f"{reason}\n", "utf-8", "backslashreplace")
    os.rename(file, kept)
    return kept


def remove(file: Path) -> None:
    """Take away a record that came in. Where that fails it comes in again, and is known."""
    with suppress(OSError):
        file.unlink()
        file.with_suffix(".txt").unlink()


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """One at a time brings a spool in, so that nothing is hashed twice. Waits its turn; a folder
    that cannot be written, or is not there, is not locked: what comes in is known by its UUID."""
    try:
        held = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX)
        _sweep(folder)
        yield
    finally:
        os.close(held)


def _sweep(folder: Path) -> None:
    """Remove what was half written by those who were killed."""
    for half in folder.glob(".*.half"):
        with suppress(OSError):
            if time.time() - half.stat().st_mtime > STALE_SECONDS:
                half.unlink()
