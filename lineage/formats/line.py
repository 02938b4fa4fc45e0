"""One line of JSON Lines (`jsonl` has the form), read as what it registers. A value that is
wrong is an InvalidValue that names it."""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lineage import configurations
from lineage.errors import InvalidValue
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
from lineage.references import HEX, NUMBER, VERSION, Ghost, digest_bytes, place_uri
from lineage.registration import FACTS, Registration, as_facts
from lineage.store import check_alias, micros, relation_of

MOST_VERSIONS = 10**9

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


NUMBERS = ("phase", "per", "joules", "watts", "seconds", "cost", "currency", "gco2e", "source")


def as_text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw


def parsed(raw: bytes | str, first: bool) -> Any:
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
        said = str(error).partition(";")[0]  # of a number too long: what else Python could do
        raise InvalidValue(f"it is not JSON: {said}.") from None
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
POWER = dict.fromkeys([*NUMBERS, "meter", "uuid", "at", "retracted"])
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


def list_of(written: Mapping[str, Any], key: str) -> list[Any]:
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


def registration_of(written: dict[str, Any]) -> tuple[Registration, list[Any]]:
    """What a line registers, and the links that have to wait for the end of the import."""
    if "text" in written and "rejected" in written:
        raise InvalidValue("it was set aside before. Mend its text, and let only that stay.")
    one = _checked(written, ORGANISM, "an organism")
    name, version = _name(one)
    parents = list_of(one, "parents")
    new = Registration(
        name=name,
        version=version,
        digest=_digest(one["digest"], "digest") if "digest" in one else None,
        scores=tuple(_score(each) for each in list_of(one, "fitness")),
        power=tuple(_cost(each) for each in list_of(one, "power")),
        epigenetic=one_of(one.get("kind", KINDS[0]), KINDS, "kind") == "epigenetic",
        facts=_facts(one),
        ghost=_flag(one, "ghost"),
        imported=True,
        status=one_of(one.get("status", STATUSES[0]), STATUSES, "status"),
        protected=_flag(one, "protected"),
        registered=_time(one["registered"], "registered") if "registered" in one else None,
        retracted=text(one["retracted"], "retracted") if "retracted" in one else None,
        configuration=configurations.documents(one.get("configuration")),
        more_names=tuple(_more_name(each) for each in list_of(one, "names")),
        leases=tuple(_lease(each) for each in list_of(one, "leases")),
        events=tuple(_event(each) for each in list_of(one, "events")),
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
        new.parents = tuple(parent_of(each) for each in parents if not waits(each))
        siblings = len(parents)
        new.relation = relation_of(Parent(""), siblings, None)
        later = [
            (each, relation_of(parent_of(each), siblings, None)) for each in parents if waits(each)
        ]
    return new, later


def identity_of(written: Mapping[str, Any]) -> dict[str, Any]:
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
    for each in list_of(written, "places"):
        one = {"uri": each} if isinstance(each, str) else _checked(each, PLACE, "a place")
        uri = place_uri(text(one.get("uri"), "the uri of a place"))
        places[uri] = text(one["host"], "host") if "host" in one else None
        if "gone" in one:
            gone[uri] = _time(one["gone"], "gone")
        if "files" in one:
            files[uri] = tuple(_file(each) for each in list_of(one, "files"))
            for each in list_of(one, "files"):
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
    for each in list_of(written, "aliases"):
        name, at, alias = text(each, "alias").rpartition("@")
        check_alias(alias)
        if new.name is None or (at and name not in names):
            raise InvalidValue(f"the alias {_short(each)} belongs to a name that the line has not.")
        found.append(each)
    return tuple(found)


def waits(written: Any) -> bool:
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


def parent_of(written: Any) -> Parent:
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
        told = encode(body)
        told.encode()
    except UnicodeEncodeError:
        raise InvalidValue("the body of an event holds half a character.") from None
    except ValueError:
        raise InvalidValue("the body of an event holds a number that is not finite.") from None
    return text(one["kind"], "the kind of an event"), _time(one["at"], "at"), who, told


def _said(value: Any, what: str) -> str:
    """Text that may be empty: a container may know no user."""
    return "" if value == "" else text(value, what)
