"""How organisms are set up: the config.json of a model, the arguments of the run that trained it.
Documents that many share are written once, found by the SHA-256 of their canonical JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.organism import CONFIGURATIONS, one_of

MOST = 1 << 20
"""Bytes of a configuration in its canonical form."""

SHOWN = 200
"""Characters of a value that a comparison tells."""

Documents = Mapping[str, str]
"""By kind, `model` or `training`: the canonical JSON of an object."""

_encode = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode


def canonical(kind: str, value: Any) -> str:
    """A configuration as one text: JSON with its keys sorted and without blanks. InvalidValue for
    what is no object, holds what JSON has not, or is longer than a megabyte."""
    one_of(kind, CONFIGURATIONS, "the kind of configuration")
    if not isinstance(value, Mapping):
        what = type(value).__name__
        raise InvalidValue(f"the {kind} configuration must be an object, not {what}.")
    try:
        written = _encode(dict(value))
        size = len(written.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidValue(f"the {kind} configuration is not JSON: {error}.") from None
    if "\\u0000" in written:
        raise InvalidValue(f"the {kind} configuration holds a NUL, which no database keeps.")
    if size > MOST:
        raise InvalidValue(f"the {kind} configuration has {size:,} bytes; {MOST:,} are the most.")
    return written


def documents(configuration: Mapping[str, Any] | None) -> dict[str, str]:
    """{kind: object} as Documents; kinds without an object, or with an empty one, are left out."""
    given = configuration or {}
    if not isinstance(given, Mapping):
        raise InvalidValue("configuration is {'model': {...}, 'training': {...}}, or one of these.")
    return {kind: canonical(kind, value) for kind, value in given.items() if value}


def kept(configuration: Mapping[str, Any]) -> dict[str, str]:
    """{kind: object} as Documents, without what cannot be kept: what was found beside weights, or
    left by a run, stops no registration."""
    found: dict[str, str] = {}
    for kind, value in configuration.items():
        with suppress(InvalidValue):
            found |= documents({kind: value})
    return found


def add(
    connection: Connection, wanted: Sequence[tuple[int, Documents]], fresh: set[int]
) -> list[tuple[int, str, bytes]]:
    """Write the configurations of organisms; a kind that one has already stays as it is. What was
    added, as (organism, kind, SHA-256). In as many statements for a thousand as for one."""
    rows: dict[tuple[int, str], bytes] = {}
    texts: dict[bytes, str] = {}
    for own, known in wanted:
        for kind, body in known.items():
            digest = hashlib.sha256(body.encode()).digest()
            texts[digest] = body
            rows.setdefault((own, kind), digest)
    old = {own for own, _ in rows} - fresh
    if old:
        for own, kind in connection.rows(
            f"""SELECT c.organism, c.kind FROM {connection.ids} AS i
                JOIN configuration c ON c.organism = i.id""",
            (connection.pack(old),),
        ):
            rows.pop((own, kind), None)
    if not rows:
        return []
    there = _ids(connection, texts)
    connection.many(
        "INSERT INTO document (sha256, body) VALUES (?, ?)",
        [(digest, body) for digest, body in texts.items() if digest not in there],
    )
    there = _ids(connection, texts)
    connection.many(
        "INSERT INTO configuration (organism, kind, document) VALUES (?, ?, ?)",
        [(*key, there[digest]) for key, digest in rows.items()],
    )
    return [(*key, digest) for key, digest in rows.items()]


def _ids(connection: Connection, digests: Iterable[bytes]) -> dict[bytes, int]:
    known = list(digests)
    found: dict[bytes, int] = {}
    for start in range(0, len(known), 10_000):
        where, params = connection.one_of("sha256", known[start : start + 10_000])
        rows = connection.rows(f"SELECT sha256, id FROM document WHERE {where}", params)
        found.update((bytes(sha256), own) for sha256, own in rows)
    return found


def read(connection: Connection, ids: Iterable[int]) -> dict[int, dict[str, dict[str, Any]]]:
    """The configurations of organisms: {organism: {kind: object}}."""
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for own, kind, body in connection.rows(
        f"""SELECT c.organism, c.kind, d.body FROM {connection.ids} AS i
            CROSS JOIN configuration c JOIN document d ON d.id = c.document
            WHERE c.organism = i.id ORDER BY c.organism, c.kind""",
        (connection.pack(ids),),
    ):
        found.setdefault(own, {})[kind] = json.loads(body)
    return found


def flat(value: Any, at: str = "") -> dict[str, str]:
    """A configuration by the dotted path of each value, as JSON; lists are values."""
    if isinstance(value, Mapping) and (value or not at):
        found: dict[str, str] = {}
        for key, held in value.items():
            found |= flat(held, f"{at}.{key}" if at else str(key))
        return found
    written = _encode(value)
    return {at: written if len(written) <= SHOWN else f"{written[: SHOWN - 1]}…"}


def changed(
    a: Mapping[str, Any], b: Mapping[str, Any]
) -> list[tuple[str, str | None, str | None]]:
    """The keys of two configurations whose values differ, as (dotted path, of a, of b), values as
    JSON; None where there is no such key."""
    left, right = flat(a), flat(b)
    return [
        (key, left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def data_sets(training: Mapping[str, Any] | None, tag: str | None) -> tuple[str, ...]:
    """The data sets that something was trained on: `datasets` of its training configuration (a
    text, texts, or objects with a `name`), and the tag of that name, separated by commas."""
    written = (training or {}).get("datasets")
    given = written if isinstance(written, list) else [written] if written else []
    names = [str(one.get("name") if isinstance(one, Mapping) else one) for one in given]
    names += [one.strip() for one in (tag or "").split(",")]
    return tuple(dict.fromkeys(one for one in names if one and one != "None"))
