"""References to organisms: a name, `name@v2`, `name@alias`, a digest prefix, `hf:org/name@revision`
or a path on disk. One question finds the organism that a reference fits, or says why none does."""

from __future__ import annotations

import difflib
import getpass
import os
import re
import socket
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from lineage.database import Connection
from lineage.errors import Ambiguous, InvalidValue, NotFound
from lineage.organism import Organism, text
from lineage.remote import URI

HEX = re.compile(r"^(?:sha256:)?([0-9a-f]{8,64})$", re.IGNORECASE)
VERSION = re.compile(r"^v([1-9][0-9]{0,8})$")
NUMBER = re.compile(r"^#([0-9]{1,18})$")


@cache
def this_host() -> str:
    return socket.gethostname()


@cache
def this_user() -> str:
    """The name of who runs this, or their number: a container's user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def is_local(uri: str) -> bool:
    """Whether a place is a path on a disk, not a URI of somewhere else."""
    return uri.startswith("/") or bool(re.match(r"^[A-Za-z]:[\\/]", uri))


LOCAL = "(p.uri LIKE '/%' OR p.uri LIKE '_:\\%' OR p.uri LIKE '_:/%')"
"""`is_local` of a place `p`, in SQL."""


def place_uri(ref: str | os.PathLike[str]) -> str:
    """How a place is written down: a path made absolute (links kept), any URI as it is."""
    written = text(os.fspath(ref), "place")
    if written.startswith("file://"):
        written = written[len("file://") :]
    if written.startswith("hf:") or URI.match(written):
        return written
    return os.path.abspath(os.path.expanduser(written))


def place_hash(uri: str) -> int:
    """What a place is found by: 64 bits of SHA-256, signed. Of `hf:org/name@revision` the first 32
    are those of `hf:org/name`, so that all revisions lie together. URIs may share one: who looks
    for a URI compares it too."""
    repository, at, _ = uri.partition("@")
    first, known = (  # a path of a disk need not be UTF-8
        sha256(one.encode("utf-8", "surrogatepass")).digest()
        for one in (repository if at and uri.startswith("hf:") else uri, uri)
    )
    return int.from_bytes(first[:4] + known[4:8], "big", signed=True)


def looks_like_path(ref: str) -> bool:
    """Whether an unknown reference means a place on disk: written as one, or there."""
    return ref.startswith(("/", "./", "../", "~", "file://")) or ref in (".", "..") or (
        "/" in ref and os.path.exists(ref)
    )  # fmt: skip


def digest_bytes(digest: str) -> bytes:
    """64 hex digits as 32 bytes; anything else is an InvalidValue."""
    match = HEX.match(digest)
    if not match or len(match[1]) != 64:
        raise InvalidValue(f"digest {digest!r} is not a SHA-256: 64 hex digits are needed.")
    return bytes.fromhex(match[1])


@dataclass(frozen=True, slots=True)
class Ghost:
    """What an unregistered parent waits for: exactly one of a digest, a place or a name."""

    digest: bytes | None = None
    place: str | None = None
    name: str | None = None
    version: int | None = None


def ghost_of(ref: Any) -> Ghost:
    """What a reference that fits nothing yet should wait for. An alias cannot wait: NotFound."""
    if isinstance(ref, os.PathLike):
        return Ghost(place=place_uri(ref))
    ref = text(ref, "a reference to a parent")
    match = HEX.match(ref)
    if match and len(match[1]) == 64:
        return Ghost(digest=bytes.fromhex(match[1]))
    if ref.startswith("hf:") or URI.match(ref) or looks_like_path(ref):
        return Ghost(place=place_uri(ref))
    stem, at, end = ref.rpartition("@")
    if at and stem and VERSION.match(end):
        return Ghost(name=stem, version=int(end[1:]))
    return Ghost(name=ref)


def search(connection: Connection, ref: Any) -> list[int]:
    """The ids of all organisms that a reference fits: none, one, or several."""
    if isinstance(ref, Organism):
        found = connection.row("SELECT id, same_as FROM organism WHERE id = ?", (ref.id,))
        return [] if found is None else [found[1] or found[0]]
    if isinstance(ref, os.PathLike):
        return at_place(connection, place_uri(ref))
    if not isinstance(ref, str):
        raise InvalidValue(f"{ref!r} is not a reference. Give a name, digest, place or Organism.")
    if not ref.strip() or "\x00" in ref or any("\ud800" <= c <= "\udfff" for c in ref):
        return []
    if ref.startswith("hf:"):
        # such a name is no sensible one, but an import may bring it
        return at_place(connection, ref) or _by_name(connection, ref)
    found = _by_name(connection, ref) + _by_digest(connection, ref)
    if not found and (number := NUMBER.match(ref)):
        found = [
            same or own
            for own, same in connection.rows(
                "SELECT id, same_as FROM organism WHERE id = ?", (int(number[1]),)
            )
        ]
    return sorted(set(found)) or at_place(connection, place_uri(ref))


def _by_name(connection: Connection, ref: str) -> list[int]:
    """An exact name means its latest version; else the part behind the last @ is a version or an
    alias of the name before it."""
    latest = "SELECT organism FROM name WHERE name = ? ORDER BY version DESC LIMIT 1"
    found = connection.value(latest, (ref,))
    if found is not None:
        return [found]
    stem, at, end = ref.rpartition("@")
    if not at or not stem:
        return []
    if end == "latest":
        found = connection.value(latest, (stem,))
    if found is None and (version := VERSION.match(end)):
        found = connection.value(
            "SELECT organism FROM name WHERE name = ? AND version = ?", (stem, int(version[1]))
        )
    if found is None:
        found = connection.value(
            "SELECT organism FROM alias WHERE name = ? AND alias = ?", (stem, end)
        )
    return [] if found is None else [found]


def _by_digest(connection: Connection, ref: str) -> list[int]:
    match = HEX.match(ref)
    if not match:
        return []
    digits = match[1]
    low = bytes.fromhex(digits.ljust(64, "0"))
    high = bytes.fromhex(digits.ljust(64, "f"))
    rows = connection.rows(
        "SELECT id FROM organism WHERE digest >= ? AND digest <= ? ORDER BY id LIMIT 20",
        (low, high),
    )
    return [row[0] for row in rows]


def at_place(connection: Connection, uri: str) -> list[int]:
    """The organisms at a place; `hf:org/name` without a revision fits all its revisions. Where all
    are gone, those that were there last count."""
    first = last = place_hash(uri)
    if uri.startswith("hf:") and "@" not in uri:
        first, last = first >> 32 << 32, first | 0xFFFFFFFF
    rows = connection.rows(
        """SELECT organism, gone_at IS NULL, id FROM place
           WHERE hash >= ? AND hash <= ? AND (uri = ? OR substr(uri, 1, ?) = ?)
           ORDER BY id DESC LIMIT 20""",
        (first, last, uri, len(uri) + 1, f"{uri}@"),
    )
    living = sorted({row[0] for row in rows if row[1]})
    return living or [row[0] for row in rows[:1]]


def resolve(connection: Connection, ref: Any) -> int:
    """The id of the one organism that a reference fits. NotFound proposes the nearest names;
    Ambiguous lists the candidates."""
    found = search(connection, ref)
    if len(found) == 1:
        return found[0]
    if not found:
        raise not_found(connection, ref)
    listed = candidates(connection, found)
    raise Ambiguous(
        f"{str(ref)!r} fits {len(found)} organisms: {', '.join(listed)}. Use one of these.", listed
    )


def candidates(connection: Connection, ids: list[int]) -> list[str]:
    rows = connection.rows(
        f"""SELECT o.id, o.digest, n.name, n.version FROM {connection.ids} AS i
            JOIN organism o ON o.id = i.id LEFT JOIN name n ON n.organism = o.id AND n.rank = 0
            ORDER BY o.id""",
        (connection.pack(ids),),
    )
    return [
        f"{name}@v{version}" if name else (bytes(digest).hex() if digest else f"#{own}")
        for own, digest, name, version in rows
    ]


def not_found(connection: Connection, ref: Any) -> NotFound:
    """The error for a reference that fits nothing, with the nearest names in it."""
    written = os.fspath(ref) if isinstance(ref, os.PathLike) else str(ref)
    stem, at, end = written.rpartition("@")
    if at and connection.value("SELECT 1 FROM name WHERE name = ?", (stem,)):
        known = [f"v{v}" for (v,) in connection.rows(
            "SELECT version FROM name WHERE name = ? ORDER BY version DESC LIMIT 5", (stem,))]
        known += [a for (a,) in connection.rows(
            "SELECT alias FROM alias WHERE name = ? ORDER BY alias LIMIT 5", (stem,))]
        listed = [f"{stem}@{one}" for one in known]
        return NotFound(
            f"{stem!r} has no version or alias {end!r}. It has: {', '.join(listed)}.", listed
        )  # fmt: skip
    near = nearest(connection, written)
    hint = f"Nearest: {', '.join(near)}." if near else "`lineage ls` shows what is there."
    if os.path.exists(written):
        hint = "It is a path, where nothing is registered: `lineage register PATH` does that."
    elif written.startswith("hf:"):
        hint = "`lineage hub pull ORG/NAME` brings models of the Hub in."
    return NotFound(f"no organism is called {written!r}. {hint}", near)


def nearest(connection: Connection, ref: str, count: int = 3) -> list[str]:
    """Registered names that look like `ref`: among at most 2,000 that share its beginning or sort
    next to it, so that a registry of millions answers at once."""
    seen: dict[str, None] = {}
    for sql, params in (
        ("SELECT name FROM name WHERE name >= ? ORDER BY name LIMIT 500", (ref[:3],)),
        ("SELECT name FROM name WHERE name >= ? ORDER BY name LIMIT 500", (ref[:1],)),
        ("SELECT name FROM name WHERE name < ? ORDER BY name DESC LIMIT 500", (ref,)),
        ("SELECT name FROM name WHERE name >= ? ORDER BY name LIMIT 500", (ref,)),
        ("SELECT name FROM name ORDER BY name LIMIT 500", ()),
    ):
        seen.update((row[0], None) for row in connection.rows(sql, params))
    folded: dict[str, str] = {}
    for name in seen:
        folded.setdefault(name.casefold(), name)
    close = difflib.get_close_matches(ref.casefold(), folded, count, 0.6)
    return [folded[name] for name in close]
