"""Bringing a spool in: what training runs left there is hashed and registered, each record once,
in any order. What cannot come in yet waits; what never can is set aside, and blocks nothing."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from lineage import configurations, spool
from lineage.answers import Answer
from lineage.corrections import next_version
from lineage.errors import (
    GenomeError,
    InvalidValue,
    LineageError,
    NotAllowed,
    RegistryUnavailable,
)
from lineage.organism import File, Niche, Parent, PowerCost, Score, text
from lineage.references import place_hash, search, this_host
from lineage.registering import register
from lineage.registration import Registration, registration
from lineage.store import EPOCH, Act, Store, mark, power_body, set_alias, with_uuid

Stamp = dict[str, list[int]]
"""By path within a checkpoint: bytes, and nanoseconds of the last modification."""
Progress = Callable[[str, int, int], object]
"""Told what is done, and how much of how much."""


@dataclass(frozen=True, slots=True)
class Brought(Answer):
    """What became of the records of a spool: how many came in, how many had come in before, and as
    (file, reason) those that still wait and those that were set aside."""

    arrived: int
    known: int
    waiting: tuple[tuple[str, str], ...]
    set_aside: tuple[tuple[str, str], ...]


class _NotYet(Exception):
    """A record that cannot come in now, and may later."""


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """The weight files at `path`, a file or a folder, by size and time: enough to see later that
    others lie there now. A few system calls; nothing is opened. Raises OSError."""
    from lineage import genome

    place = os.fspath(path)
    status = os.stat(place)
    if not os.path.isdir(place):
        return {os.path.basename(place): [status.st_size, status.st_mtime_ns]}
    found: Stamp = {}
    for folder, folders, names in os.walk(place):
        folders[:] = [one for one in folders if not one.startswith(".")]
        for name in names:
            full = os.path.join(folder, name)
            with suppress(FileNotFoundError):  # a file of a process that still runs
                status = os.stat(full)
                relative = os.path.relpath(full, place).replace(os.sep, "/")
                found[relative] = [status.st_size, status.st_mtime_ns]
    weights = genome.weights(found)
    return {name: found[name] for name in sorted(weights)}


def bring_in(
    store: Store | None, folder: Path, progress: Progress | None = None
) -> Brought:
    """Hash what the records of a spool name, and register it: one transaction a record, in which
    its UUID is stored. Without a store they are hashed only, while their files are there.

    Raises RegistryUnavailable; the records then wait, and keep what was hashed."""
    tell: Progress = progress or (lambda *_: None)
    arrived = known = 0
    waits: list[tuple[str, str]] = []
    aside: list[tuple[str, str]] = []
    with spool.lock(folder):
        files = spool.waiting(folder)
        for number, file in enumerate(files):
            tell("hashed", number, len(files))
            with suppress(Exception):  # told below, where it is to come in
                _with_genome(file, spool.read(file))
        for number, file in enumerate(files if store is not None else ()):
            tell("brought in", number, len(files))
            assert store is not None
            try:
                came = _accept(store, file)
            except RegistryUnavailable:
                raise
            except (_NotYet, NotAllowed, OSError, MemoryError) as error:
                if file.exists():  # else another sync took it
                    waits.append((str(file), str(error)))
            except Exception as error:
                reason = str(error) if isinstance(error, LineageError) else f"{error!r}"
                aside.append((_put_aside(file, reason), reason))
            else:
                arrived, known = arrived + came, known + (not came)
                spool.remove(file)
    return Brought(arrived, known, tuple(waits), tuple(aside))


def _put_aside(file: Path, reason: str) -> str:
    with suppress(OSError):  # a folder that cannot be written: it is told of again next time
        return str(spool.put_aside(file, reason))
    return str(file)


# ---- Weights


def _with_genome(file: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record with what its weight files are, or `lost` with the reason; kept in the spool, so
    that nothing is hashed twice."""
    one = record.get("checkpoint")
    if record["lineage"] != spool.FORMAT or not isinstance(one, dict):
        return record
    if "genome" in one or "lost" in one:
        return record
    found = _look(one, record["by"]["host"])
    if found is None:
        return record
    record = record | {"checkpoint": one | found}
    with suppress(OSError):  # a full disk: it is hashed again
        spool.rewrite(file, record)
    return record


def _look(one: Mapping[str, Any], host: str) -> dict[str, Any] | None:
    """What lies at the path of a checkpoint, where it is still what was saved."""
    from lineage import genome

    path = text(one["path"], "the path of a checkpoint")
    if not os.path.exists(path):
        if host != this_host():
            raise _NotYet(
                f"{path} is not on this host, and was not hashed yet on {host}: sync it there"
            )
        return {"lost": "rotation"}
    if stamp(path) != one["stamp"]:
        return {"lost": "overwriting"}
    try:
        read = genome.read(path, workers=1)
    except GenomeError:
        if not os.path.exists(path) or stamp(path) != one["stamp"]:  # it went meanwhile
            return {"lost": "rotation"}
        raise
    return {"genome": asdict(read)} if stamp(path) == one["stamp"] else {"lost": "overwriting"}


# ---- Into the registry


def _accept(store: Store, file: Path) -> bool:
    """Bring a record in, in one transaction; whether it was not in before."""
    record = spool.read(file)
    if record["lineage"] != spool.FORMAT:
        raise _NotYet(
            f"it was written by a newer lineage (format {record['lineage']}): sync it with that"
        )
    try:
        known_by = uuid.UUID(record["uuid"]).bytes
        who = tuple(record["by"][key] for key in ("user", "host", "pid", "command"))
        if _has_arrived(store, known_by):
            return False
        record = _with_genome(file, record)
        with store.act() as act:
            if _arrival(act, known_by) is not None:
                return False
            act.who = (str(who[0]), str(who[1]), int(who[2]), str(who[3]))
            own = _bring(act, record, file)
            act.connection.execute(
                "INSERT INTO arrival (uuid, at, organism) VALUES (?, ?, ?)",
                (known_by, act.at, own),
            )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidValue(f"the record is not whole: {error!r}.") from error
    return True


def _has_arrived(store: Store, known_by: bytes) -> bool:
    with store.database.read() as connection:
        found = connection.value("SELECT 1 FROM arrival WHERE uuid = ?", (known_by,))
    return found is not None


def _arrival(act: Act, known_by: bytes) -> tuple[int | None] | None:
    """(the organism that a record brought,), or None where it has not come in."""
    found = act.connection.row(
        """SELECT coalesce(o.same_as, o.id) FROM arrival a
           LEFT JOIN organism o ON o.id = a.organism WHERE a.uuid = ?""",
        (known_by,),
    )
    return None if found is None else (found[0],)


def _brought_by(act: Act, one: str | None) -> int | None:
    found = _arrival(act, uuid.UUID(one).bytes) if one else None
    return found[0] if found else None


def _bring(act: Act, record: Mapping[str, Any], file: Path) -> int | None:
    """Register what a record holds; the organism that it is about."""
    at, host = _time(record), record["by"]["host"]
    own: int | None = None
    if record.get("checkpoint"):
        own = _register(act, record["checkpoint"], at, host)
    elif record.get("of"):
        own = _brought_by(act, record["of"])
        if own is None:
            raise _later(record["of"], file)
        power = [with_uuid(PowerCost(**cost), None) for cost in record.get("power", ())]
        for _, cost in act.add_power([(own, cost) for cost in power]):
            act.event(own, "metered", power_body(cost))
    for one in record.get("gone", ()):
        _gone(act, one, host)
    return own


def _time(record: Mapping[str, Any]) -> int:
    """When a record was written, or a score was measured, in microseconds since 1970."""
    at = record["at"]
    if not isinstance(at, int) or not 0 <= at < 2**62:
        raise InvalidValue(f"the time of the record is {at!r}, which is none.")
    return at


def _later(wanted: str, file: Path) -> Exception:
    """The record that another one is about has not come in."""
    folder = file.parent.parent if file.parent.name == spool.SET_ASIDE else file.parent
    if any(wanted in one.name for one, _ in spool.set_aside(folder)):
        return InvalidValue(f"the record {wanted} that it is about was set aside.")
    return _NotYet(f"the record {wanted} that it is about has not come in")


def _register(act: Act, one: Mapping[str, Any], at: int, host: str) -> int:
    new = _registration(act, one, at, host)
    (done,) = register(act, [new])
    assert done is not None
    own = done.id
    closed = [link for link in done.refused if len(link.path) > 1]  # equal weights are no news
    for link in closed:
        path = [act.label(each) for each in link.path]
        act.event(own, "link_set_aside", {"would_close": path})
    if new.lost:
        _mark_gone(act, own, one["path"], one["lost"])
    elif not done.created:
        _come_back(act, own, one["path"])
    if one.get("name"):
        _also_called(act, own, text(one["name"], "the name of a run"))
        if one.get("best"):
            _best(act, own, one["name"], at)
    return own


def _registration(act: Act, one: Mapping[str, Any], at: int, host: str) -> Registration:
    from lineage import genome

    path = text(one["path"], "the path of a checkpoint")
    read = one.get("genome", {})
    facts = {key: read.get(key) for key in ("parameters", "bytes", "precision", "architecture")}
    new = registration(
        name=genome.default_name(path),
        digest=read.get("digest"),
        place=path,
        files=[File(**each) for each in read.get("files", ())],
        parents=[_parent(act, each, host) for each in one.get("parents", ())],
        fitness=[_score(act, each) for each in one.get("fitness", ())],
        power=[PowerCost(**cost) for cost in one.get("power", ())],
        tags=one.get("tags"),
        run=one.get("run"),
        step=one.get("step"),
        **facts,
    )
    new.configuration = configurations.kept(
        {"model": read.get("configuration"), "training": one.get("configuration")}
    )
    new.facts["created"] = at
    new.places = ((path, host),)
    new.lost = "lost" in one
    return new


def _parent(act: Act, one: Mapping[str, Any], host: str) -> Parent:
    """A parent as its child's run knew it: what another record brought, a reference, or a path on
    the host of the run."""
    how = Parent("", one.get("relation"), evidence=one.get("evidence", "declared"))
    own = _brought_by(act, one.get("record"))
    ref, place = one.get("ref"), one.get("place")
    if own is None and ref and (place is None or search(act.connection, ref)):
        return replace(how, ref=ref)
    if own is None and place:
        own = _at(act, place, host)
    if own is None:
        return replace(how, ref=Path(text(place, "the path of a parent")))
    return replace(how, ref=act.label(own))


def _at(act: Act, place: str, host: str) -> int | None:
    """The organism at a path of a host: there now rather than before, there rather than on another
    host, and of several the last one."""
    found: int | None = act.connection.value(
        """SELECT coalesce(o.same_as, o.id) FROM place p JOIN organism o ON o.id = p.organism
           WHERE p.hash = ? AND p.uri = ?
           ORDER BY CASE WHEN p.host = ? THEN 0 ELSE 1 END,
             CASE WHEN p.gone_at IS NULL THEN 0 ELSE 1 END, p.id DESC LIMIT 1""",
        (place_hash(place), place, host),
    )
    return found


def _score(act: Act, one: Mapping[str, Any]) -> Score:
    """A score. Where the registry knows that the other direction is better in its niche, what was
    said first stays: the value is the same."""
    niche = Niche(
        text(one["task"], "a task"), text(one["metric"], "a metric"), one.get("split") or ""
    )
    value = float(one["value"])
    if not math.isfinite(value):
        raise InvalidValue(f"the score in {niche} is {value}.")
    known = act.connection.value(
        "SELECT direction FROM niche WHERE task = ? AND metric = ? AND split = ?",
        (niche.task, niche.metric, niche.split),
    )
    return Score(
        niche, value, one.get("stderr"), one.get("n"), known or one.get("direction"),
        at=EPOCH + timedelta(microseconds=_time(one)),
    )  # fmt: skip


def _gone(act: Act, one: Mapping[str, Any], host: str) -> None:
    """Note that rotation deleted a checkpoint, unless there is one at its path again."""
    place = text(one["place"], "a place")
    if host == this_host() and os.path.exists(place):
        return
    own = _brought_by(act, one.get("record"))
    if own is not None:
        _mark_gone(act, own, place, "rotation")
        return
    there = act.connection.rows(
        """SELECT organism FROM place
           WHERE hash = ? AND uri = ? AND host = ? AND gone_at IS NULL""",
        (place_hash(place), place, host),
    )
    for (each,) in there:
        _mark_gone(act, each, place, "rotation")


def _mark_gone(act: Act, own: int, place: str, by: str) -> None:
    """The files of an organism are no more at a place; where that was the last one it is culled,
    by whatever took them, which is not selection."""
    went = act.connection.execute(
        "UPDATE place SET gone_at = ? WHERE organism = ? AND uri = ? AND gone_at IS NULL",
        (act.at, own, place),
    ).rowcount
    if not went:
        return
    act.set_places_here([own])
    act.event(own, "gone", {"place": place, "by": by})
    left = act.connection.value(
        "SELECT 1 FROM place WHERE organism = ? AND gone_at IS NULL", (own,)
    )
    if left is None:
        mark(act, "culled", "culled", [(own, {"by": by})])


def _come_back(act: Act, own: int, place: str) -> None:
    """The same weights were saved again: what was culled has files again."""
    back = act.connection.execute(
        "UPDATE organism SET status = 'alive' WHERE id = ? AND status = 'culled'", (own,)
    ).rowcount
    if back:
        act.touch([own])
        act.event(own, "revived", {"reason": f"the same weights were saved again, at {place}"})


def _also_called(act: Act, own: int, name: str) -> None:
    """Let the checkpoints of a run be versions of its name."""
    connection = act.connection
    if connection.value("SELECT 1 FROM name WHERE organism = ? AND name = ?", (own, name)):
        return
    version = next_version(connection, name)
    rank = connection.value(
        "SELECT coalesce(max(rank), -1) + 1 FROM name WHERE organism = ?", (own,)
    )
    connection.execute(
        "INSERT INTO name (name, version, organism, rank) VALUES (?, ?, ?, ?)",
        (name, version, own, rank),
    )
    act.event(own, "named", {"name": name, "version": version})


def _best(act: Act, own: int, name: str, at: int) -> None:
    """Let `name@best` mean an organism, unless a later one of the run holds it: records come in in
    any order."""
    later = act.connection.value(
        """SELECT 1 FROM alias a JOIN organism o ON o.id = a.organism
           JOIN organism n ON n.id = ?
           WHERE a.name = ? AND a.alias = 'best' AND o.created > ? AND o.run = n.run""",
        (own, name, at),
    )
    if later is None:
        set_alias(act, own, "best", [name])

