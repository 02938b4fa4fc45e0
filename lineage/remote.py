"""Files behind a URI (`s3://`, `gs://`, `ftp://`, ...), read through fsspec, which whatever program
knows the scheme plugs into. Nothing here writes, and nothing is asked that nobody named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from lineage.errors import GenomeError

URI = re.compile(r"^[a-z][a-z0-9+.-]*://")
BLOCK = 8 << 20
"""Bytes that one request for the next part of a file brings."""
_MODIFIED = ("mtime", "LastModified", "last_modified", "modified", "modify", "updated")
"""What file systems call the time of the last modification."""


def is_remote(path: str) -> bool:
    """Whether this is a URI whose files only fsspec can read; `file://` is a path."""
    return URI.match(path) is not None and not path.startswith("file://")


def absolute(path: str) -> str:
    """A path made absolute, links left as they are; a URI as it is, without a slash at its end."""
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path.removeprefix("file://"))


def file_system(uri: str) -> tuple[Any, str]:
    """fsspec's file system of a URI, and the path in it. GenomeError where there is none."""
    _refuse(uri)
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:  # fsspec says which package knows the scheme
        raise GenomeError(f"{uri!r} cannot be read here: {error}.") from None
    except Exception as error:
        raise unreadable(uri, error) from error
    return system, path.rstrip("/")


def _refuse(uri: str) -> None:
    if uri.startswith("hf://"):
        raise GenomeError(
            f"{uri!r} is a repository of the Hub: `lineage hub pull` tells what is there."
        )
    if "::" in uri:
        raise GenomeError(f"{uri!r} is a chain of URIs. Name the folder itself.")
    try:
        secret = urlsplit(uri).password
    except ValueError as error:
        raise GenomeError(f"{uri!r} is no URI: {error}.") from None
    if secret is not None:
        raise GenomeError(
            "a URI with a password in it would be recorded. Give fsspec the password: "
            "filesystem-spec.readthedocs.io, Configuration."
        )


def listing(uri: str) -> dict[str, tuple[int, int | None]]:
    """All files below a URI: path within it → bytes, and nanoseconds since 1970 when it was
    modified, None where the file system does not tell. GenomeError where that is no folder."""
    system, root = file_system(uri)
    try:
        system.invalidate_cache()
        found = system.find(root, detail=True)
    except Exception as error:
        raise unreadable(uri, error) from error
    inside = f"{root}/"
    files = {
        path.removeprefix(inside): (int(known["size"] or 0), modified(known))
        for path, known in found.items()
        if path.startswith(inside) and not path.endswith("/")  # an object that marks a folder
    }
    if not files:
        raise GenomeError(f"{uri!r} is no folder with files in it. Name a folder.")
    return files


def modified(known: dict[str, Any]) -> int | None:
    """When a file was modified, in nanoseconds since 1970, of what fsspec knows of it."""
    said = next((known[key] for key in _MODIFIED if known.get(key) is not None), None)
    if isinstance(said, (int, float)):
        return int(said * 1_000_000_000)
    if isinstance(said, str):
        said = _moment(said)
    if not isinstance(said, datetime):
        return None
    at = said if said.tzinfo else said.replace(tzinfo=UTC)
    return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1000


def _moment(said: str) -> datetime | None:
    """ISO 8601, or the digits of FTP (RFC 3659, section 2.3: YYYYMMDDHHMMSS.sss, in UTC)."""
    try:
        if said[:14].isdigit():
            return datetime.strptime(said[:14], "%Y%m%d%H%M%S")
        return datetime.fromisoformat(said)
    except ValueError:
        return None


class Opened:
    """A file behind a URI while it is read. `look` is for a few bytes here and there, `stream` for
    all of them in order; `stamp` changes when the file does."""

    def __init__(self, system: Any, path: str) -> None:
        self._system, self._path = system, path
        system.invalidate_cache()  # a listing tells of a file in other words than the file does
        known = system.info(path)
        self.size, self.modified = int(known["size"] or 0), modified(known)
        self.stamp = system.ukey(path)

    def content(self) -> bytes:
        return bytes(self._system.cat_file(self._path))

    def look(self) -> BinaryIO:
        opened: BinaryIO = self._system.open(self._path, "rb", cache_type="none")
        return opened

    def stream(self) -> BinaryIO:
        opened: BinaryIO = self._system.open(
            self._path, "rb", block_size=BLOCK, cache_type="readahead"
        )
        return opened

    def changed(self) -> bool:
        """Whether there is another file now."""
        self._system.invalidate_cache()
        return bool(self._system.ukey(self._path) != self.stamp)


@contextmanager
def opened(uri: str) -> Iterator[Opened]:
    """The file at a URI. Whatever its file system raises becomes a GenomeError."""
    system, path = file_system(uri)
    try:
        yield Opened(system, path)
    except GenomeError:
        raise
    except Exception as error:
        raise unreadable(uri, error) from error


def unreadable(uri: str, error: Exception) -> GenomeError:
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return GenomeError(f"{uri!r} cannot be read: {said}. Check the address, and who may read it.")
