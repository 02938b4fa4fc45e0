"""The acts of a cull: files into quarantine, back, or away for good. Files move first, and are
looked at where they arrived; then one transaction judges again and records, and what it refuses
goes back.

A process may be killed between any two steps. Until the transaction ends, the manifest in the
quarantine folder is all that tells of it, and the next `cull` or `restore` puts the files back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar

from lineage import ledger
from lineage.answers import Answer
from lineage.culling import plan as plans
from lineage.culling import quarantine
from lineage.culling.plan import CullFile, CullPlan, Proposal, Spot, Survey, Whole, why_not
from lineage.culling.quarantine import Left, Tell
from lineage.database import Connection, Database
from lineage.errors import CullError, RegistryUnavailable
from lineage.genome import kind_of
from lineage.organism import File, Organism
from lineage.references import candidates, is_local, place_hash, resolve, this_host
from lineage.store import EPOCH, Act, Store, micros


@dataclass(frozen=True, slots=True)
class Stored(Answer):
    """Files of an organism in one quarantine folder: of which place, since when. Where `restore` or
    `empty` acted, `files` are those that went back, or away; `left` are those that stay in
    quarantine, and `reason` says why all of them do."""

    _brief: ClassVar[tuple[str, ...]] = ("organism", "place", "folder", "at", "bytes", "reason")

    organism: Organism
    place: str
    folder: str
    at: datetime
    files: tuple[CullFile, ...]
    left: tuple[Left, ...] = ()
    reason: str = ""

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class Moves(Answer):
    """What `restore` put back, or `empty` deleted (`applied`) or would delete: one entry for each
    place and quarantine folder. `recovered` are the folders of culls that were interrupted, whose
    files went back."""

    _rows: ClassVar[str] = "stored"

    stored: tuple[Stored, ...]
    applied: bool
    recovered: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        return sum(len(one.files) for one in self.stored)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.stored)


# ---- Into quarantine


def cull(
    store: Store,
    refs: Sequence[Any] = (),
    *,
    only: str | None = None,
    apply: bool = False,
    tell: Tell | None = None,
) -> CullPlan:
    """What the files of organisms selected against come to, or of those named in `refs`; with
    `apply` they go into quarantine. `only` is a kind of `plan.KINDS`. `tell` is told how many more
    bytes were read.

    Raises CullError for a reference to one that is not selected against; whatever stands in the way
    of a single file, place or organism is in the plan, with its reason, and the rest goes on."""
    recovered: tuple[str, ...] = ()
    with store.database.read() as connection:
        found = plans.survey(connection, refs)
    if apply:
        uris = {place.uri for places in found.places.values() for place in places}
        recovered = tuple(_recover(store.database, uris))
    whole = Whole(store.database.read, apply, tell)
    plan = plans.plan(found, only, whole)
    if not apply:
        return plan
    known = {place.id: place for places in found.places.values() for place in places}
    done = []
    for one in plan.proposals:
        spots = tuple(
            _cull(store, found, one, spot, known[spot.id].files, tell or _nobody)
            if spot.files and not one.reason
            else replace(spot, files=())
            for spot in one.spots
        )
        done.append(replace(one, spots=spots))
    return CullPlan(tuple(done), only, applied=True, recovered=recovered)


def _nobody(_count: int) -> None:
    return


def _cull(
    store: Store, found: Survey, one: Proposal, spot: Spot, listed: Sequence[File], tell: Tell
) -> Spot:
    """Move the files of one place; what became of it."""
    wanted = {file.path for file in spot.files}
    files = [file for file in listed if file.path in wanted]
    try:
        with (
            quarantine.opened(spot.place) as site,
            quarantine.claimed(site.beside, site.parent) as root,
        ):
            manifest = _manifest(store, one.organism, site, files)
            with quarantine.new_box(site, root, manifest) as box:
                left = quarantine.take(site, box, files, tell)
                stay = {each.path for each in left}
                moved = [file for file in files if file.path not in stay]
                if moved:
                    _settle(store, found, one, spot, moved, site, box)
            quarantine.tidy(site, manifest["folders"])
    except (CullError, OSError) as error:
        return replace(spot, files=(), reason=why_not(error))
    gone = {file.path for file in moved}
    return replace(
        spot,
        files=tuple(file for file in spot.files if file.path in gone),
        left=(*spot.left, *left),
        folder=box.path if moved else None,
    )


def _manifest(
    store: Store, organism: Organism, site: quarantine.Site, files: Sequence[File]
) -> dict[str, Any]:
    return {
        "registry": str(store.database.address),
        "organism": organism.ref,
        "digest": organism.digest,
        "place": site.uri,
        "single": site.single,
        "host": this_host(),
        "pid": os.getpid(),
        "at": datetime.now(UTC).isoformat(),
        "folders": site.modes(file.path for file in files),
        "files": [
            {"path": file.path, "bytes": file.bytes, "sha256": file.sha256, "genome": file.genome}
            for file in files
        ],
    }


def _settle(
    store: Store,
    found: Survey,
    one: Proposal,
    spot: Spot,
    moved: Sequence[File],
    site: quarantine.Site,
    box: quarantine.Box,
) -> None:
    """Judge once more, now that nobody else writes, and record what was moved. Where that fails all
    goes back."""
    try:
        with store.act() as act:
            _judge(act.connection, found, one, spot, moved, site)
            if late := next((f.path for f in moved if quarantine.touched(box, f.path)), None):
                raise CullError(f"{late} was written to, or linked, a moment ago")
            _record(act, one, spot, moved, box.path)
    except BaseException:
        known = True
        with suppress(RegistryUnavailable):
            known = _is_recorded(store.database, box.path)
        if not known:  # else it was committed, or nobody can tell: the next cull or restore can
            for file in moved:
                quarantine.put_back(site, box, file.path)
        raise


def _is_recorded(database: Database, folder: str) -> bool:
    with database.read() as connection:
        sql = "SELECT 1 FROM quarantine WHERE folder = ?"
        return connection.value(sql, (folder,)) is not None


def _judge(
    connection: Connection,
    found: Survey,
    one: Proposal,
    spot: Spot,
    moved: Sequence[File],
    site: quarantine.Site,
) -> None:
    """CullError where the files of an organism are not to be culled any more."""
    own = one.organism.id
    if why := plans.guards(connection, [own]).get(own):
        raise CullError(f"{why}, since a moment ago")
    there = connection.value("SELECT gone_at IS NULL FROM place WHERE id = ?", (spot.id,))
    if not there:
        raise CullError("it was registered anew, or culled by another process, a moment ago")
    dominators, wrong = plans.dominating(connection, [own])
    if own in wrong or {other.ref for other in dominators[own]} - set(one.dominators):
        raise CullError(wrong.get(own) or "its mark rests on others, since a moment ago")
    places = {own: [place for place in found.places[own] if place.id == spot.id]}
    shared = plans.sharing(connection, [own], places, found.event)
    for file in moved:
        if holder := shared.by(own, site.real(file.path)):
            raise CullError(f"{holder} lists {file.path} too, since a moment ago")


def _record(act: Act, one: Proposal, spot: Spot, moved: Sequence[File], folder: str) -> None:
    connection = act.connection
    connection.many(
        """INSERT INTO quarantine (place, path, folder, at) VALUES (?, ?, ?, ?)
           ON CONFLICT (place, path) DO UPDATE
           SET folder = excluded.folder, at = excluded.at, emptied_at = NULL""",
        [(spot.id, file.path, folder, act.at) for file in moved],
    )
    weights = any(file.genome for file in moved)
    if weights:
        connection.execute("UPDATE place SET gone_at = ? WHERE id = ?", (act.at, spot.id))
        act.set_places_here([one.organism.id])
    where = {"place": spot.place, "folder": folder}
    sums = {"files": len(moved), "bytes": sum(file.bytes for file in moved)}
    more = {"weights": weights, "dominators": list(one.dominators)}
    act.event(one.organism.id, "quarantined", where | sums | more)


def _told(stored: Stored, files: Sequence[CullFile]) -> dict[str, Any]:
    """What the event of a restore or an emptying says."""
    where = {"place": stored.place, "folder": stored.folder}
    return where | {"files": len(files), "bytes": sum(file.bytes for file in files)}


# ---- After a kill


def _recover(database: Database, uris: Iterable[str]) -> Iterator[str]:
    """Put back what an interrupted cull of this registry left in quarantine folders beside these
    places, and yield the folders."""
    for folder, manifest in interrupted(database, uris):
        if _roll_back(database, folder, manifest):
            yield folder


def interrupted(
    database: Database, uris: Iterable[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The quarantine folders, with their manifests, of culls of these places that this registry
    knows nothing of: interrupted, or at work right now."""
    wanted = {uri for uri in uris if is_local(uri)}
    for parent in sorted({os.path.dirname(uri.rstrip("/")) for uri in wanted}):
        for folder in quarantine.boxes(parent):
            try:
                with quarantine.looked_into(folder) as box:
                    manifest = box.manifest
            except (CullError, OSError):
                continue
            if (
                manifest["registry"] == str(database.address)
                and manifest["host"] == this_host()
                and manifest["place"] in wanted
                and not _is_recorded(database, folder)
            ):
                yield folder, manifest


def _roll_back(database: Database, folder: str, manifest: Mapping[str, Any]) -> bool:
    """Put back what lies in the box of an interrupted cull; whether all of it is back. Not while
    another process is at work there."""
    try:
        with _opened(folder) as box:
            if _is_recorded(database, folder):
                return False
            with quarantine.opened(
                manifest["place"], single=manifest["single"], make=manifest["folders"]
            ) as site:
                inside = [one.path for one in box.files if box.status(one.path) is not None]
                _, left = quarantine.back(site, box, inside)
            return box.remove() and not left
    except (CullError, OSError):
        return False


@contextmanager
def _opened(folder: str) -> Iterator[quarantine.Box]:
    """A quarantine folder that is there, while nobody else moves files in or out beside it."""
    parent = os.path.dirname(os.path.dirname(folder))
    beside = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with (
            quarantine.claimed(beside, parent, make=False) as root,
            quarantine.old_box(folder, root) as box,
        ):
            yield box
    finally:
        os.close(beside)


def _expect_own(box: quarantine.Box, stored: Stored) -> None:
    """CullError where a folder holds files of another organism: an import may say anything."""
    if box.manifest["digest"] != stored.organism.digest:
        raise CullError(f"{stored.folder} holds files of another organism, by its manifest")


# ---- What is in quarantine


@dataclass(frozen=True, slots=True)
class Held:
    """Files in one quarantine folder, as the registry has it."""

    place: int
    host: str | None
    genome: frozenset[str]
    stored: Stored


def held(
    connection: Connection, ids: Sequence[int] | None = None, before: datetime | None = None
) -> list[Held]:
    """What lies in quarantine, one for each place and folder, oldest first: of these organisms, or
    of all; put there before a moment, or ever."""
    where: str = "q.emptied_at IS NULL"
    params: list[Any] = []
    if ids is not None:
        where += f" AND p.organism IN (SELECT id FROM {connection.ids} AS i)"
        params.append(connection.pack(ids))
    if before is not None:
        where += " AND q.at <= ?"
        params.append(micros(before))
    rows = connection.rows(
        f"""SELECT p.organism, p.id, p.uri, p.host, q.folder, q.at, q.path, f.bytes, f.genome
            FROM quarantine q JOIN place p ON p.id = q.place
            JOIN file f ON f.place = q.place AND f.path = q.path
            WHERE {where} ORDER BY q.at, p.id, q.folder, q.path""",
        params,
    )
    known = {one.id: one for one in ledger.organisms(connection, {row[0] for row in rows})}
    found = []
    for key, group in groupby(rows, key=lambda row: tuple(row[:6])):
        own, place, uri, host, folder, at = key
        files = [(path, size, bool(weights)) for *_, path, size, weights in group]
        kinds = (CullFile(path, size, kind_of(path, genome)) for path, size, genome in files)
        stored = Stored(known[own], uri, folder, EPOCH + timedelta(microseconds=at), tuple(kinds))
        weights = frozenset(path for path, _, genome in files if genome)
        found.append(Held(place, host, weights, stored))
    return found


def _unreachable(one: Held) -> str:
    """Why a quarantine folder cannot be reached from here; empty where it can."""
    if one.host != this_host():
        return f"it is on another host, {one.host}: give the command there"
    folder = one.stored.folder
    if not os.path.isdir(folder):
        return f"{folder} is not there: is its disk mounted?"
    return ""


def _kept(one: Held, reason: str) -> Stored:
    left = tuple(Left(file.path, reason) for file in one.stored.files)
    return replace(one.stored, files=(), left=left, reason=reason)


# ---- Back


def restore(store: Store, refs: Sequence[Any] = ()) -> Moves:
    """Put all files of these organisms back from quarantine, or of all that are there. Nothing is
    overwritten: a file whose place is taken stays in quarantine, and is in the result with its
    reason. The organisms are what they were before."""
    with store.database.read() as connection:
        ids = [resolve(connection, ref) for ref in refs] if refs else None
        stored = held(connection, ids)
        uris = on_this_host(connection, ids)
    recovered = tuple(_recover(store.database, uris))
    back = []
    for one in stored:
        try:
            back.append(_restore(store, one))
        except (CullError, OSError) as error:
            back.append(_kept(one, why_not(error)))
    return Moves(tuple(back), True, recovered)


def on_this_host(connection: Connection, ids: Sequence[int] | None) -> list[str]:
    """The places on this host, of these organisms or of all."""
    of = "" if ids is None else f"AND organism IN (SELECT id FROM {connection.ids} AS i)"
    params = [this_host()] if ids is None else [this_host(), connection.pack(ids)]
    sql = f"SELECT uri FROM place WHERE gone_at IS NULL AND host = ? {of}"
    return [row[0] for row in connection.rows(sql, params)]


def _restore(store: Store, one: Held) -> Stored:
    stored = one.stored
    if why := _unreachable(one) or _taken(store.database, one):
        return _kept(one, why)
    with _opened(stored.folder) as box:
        _expect_own(box, stored)
        manifest = box.manifest
        with quarantine.opened(
            stored.place, single=manifest["single"], make=manifest["folders"]
        ) as site:
            done, left = quarantine.back(site, box, [file.path for file in stored.files])
        back = frozenset(done)
        files = tuple(file for file in stored.files if file.path in back)
        if files:
            with store.act() as act:
                _record_restored(act, one, files)
        box.remove()
    return replace(stored, files=files, left=tuple(left))


def _taken(database: Database, one: Held) -> str:
    """Who else is registered at the place of these files meanwhile, as a reason."""
    with database.read() as connection:
        others = [row[0] for row in connection.rows(
            """SELECT organism FROM place
               WHERE hash = ? AND uri = ? AND gone_at IS NULL AND organism <> ?""",
            (place_hash(one.stored.place), one.stored.place, one.stored.organism.id),
        )]  # fmt: skip
        if not others:
            return ""
        return f"{candidates(connection, others)[0]} is registered at its place now"


def _record_restored(act: Act, one: Held, files: Sequence[CullFile]) -> None:
    act.connection.many(
        "DELETE FROM quarantine WHERE place = ? AND path = ?",
        [(one.place, file.path) for file in files],
    )
    if one.genome and one.genome <= {file.path for file in files}:
        act.connection.execute("UPDATE place SET gone_at = NULL WHERE id = ?", (one.place,))
        act.set_places_here([one.stored.organism.id])
    act.event(one.stored.organism.id, "restored", _told(one.stored, files))


# ---- Away for good


def empty(
    store: Store, before: datetime, *, apply: bool = False, tell: Tell | None = None
) -> Moves:
    """What has lain in quarantine since before a moment; with `apply` it is deleted, the only thing
    that ever is. What was protected, revived, or is needed meanwhile stays, and so does a file that
    changed in quarantine, and all whose dominators are not here and whole any more. An organism is
    culled when the last of its weights on a disk are gone."""
    if apply:
        _sweep_up(store.database)
    with store.database.read() as connection:
        stored = held(connection, before=before)
        ids = list(dict.fromkeys(one.stored.organism.id for one in stored))
        kept = plans.guards(connection, ids, EMPTIED)
        dominators, wrong = plans.dominating(connection, ids)
    kept = wrong | kept
    whole = Whole(store.database.read, apply, tell)
    done = []
    for one in stored:
        own = one.stored.organism.id
        why = _unreachable(one) or kept.get(own) or whole.missing(dominators.get(own, ()))
        if why or not apply:
            done.append(_kept(one, why) if why else one.stored)
            continue
        try:
            done.append(_empty(store, one, dominators[own], tell or _nobody))
        except (CullError, OSError) as error:
            done.append(_kept(one, why_not(error)))
    return Moves(tuple(done), apply)


EMPTIED = ("selected_against", "culled")
"""Whose quarantine may be emptied: of a culled organism, its optimizer's state may be left."""


def _empty(
    store: Store, one: Held, dominators: Sequence[Organism], tell: Tell
) -> Stored:
    """Delete the files in one quarantine folder. The registry says first that they are gone: from
    then on nothing is restored, and what a kill leaves lying is swept up later."""
    stored = one.stored
    with _opened(stored.folder) as box:
        _expect_own(box, stored)
        looked_at = [(file, quarantine.altered(box, file.path, tell)) for file in stored.files]
        files = tuple(file for file, why in looked_at if not why)
        left = [Left(file.path, why) for file, why in looked_at if why]
        if files:
            with store.act() as act:
                _judge_again(act.connection, one, dominators)
                _record_emptied(act, one, files)
            _, more = quarantine.delete(box, [file.path for file in files], tell)
            left += more
        box.remove()
    stay = {one.path for one in left}
    return replace(
        stored, files=tuple(f for f in files if f.path not in stay), left=tuple(left)
    )


def _judge_again(connection: Connection, one: Held, dominators: Sequence[Organism]) -> None:
    own = one.stored.organism.id
    if why := plans.guards(connection, [own], EMPTIED).get(own):
        raise CullError(f"{why}, since a moment ago")
    found, wrong = plans.dominating(connection, [own])
    if own in wrong or {one.id for one in found[own]} - {one.id for one in dominators}:
        raise CullError(wrong.get(own) or "its mark rests on others, since a moment ago")
    still = connection.value(
        "SELECT 1 FROM quarantine WHERE place = ? AND folder = ? AND emptied_at IS NULL",
        (one.place, one.stored.folder),
    )
    if still is None:
        raise CullError("it was restored a moment ago")


def _record_emptied(act: Act, one: Held, files: Sequence[CullFile]) -> None:
    connection, own = act.connection, one.stored.organism.id
    connection.many(
        "UPDATE quarantine SET emptied_at = ? WHERE place = ? AND path = ?",
        [(act.at, one.place, file.path) for file in files],
    )
    culled = connection.execute(
        """UPDATE organism SET status = 'culled'
           WHERE id = ? AND status = 'selected_against' AND here = 0 AND NOT EXISTS (
             SELECT 1 FROM place p JOIN quarantine q ON q.place = p.id
             JOIN file f ON f.place = q.place AND f.path = q.path
             WHERE p.organism = organism.id AND f.genome = 1 AND q.emptied_at IS NULL)""",
        (own,),
    ).rowcount
    act.touch([own])
    act.event(own, "culled" if culled else "emptied", _told(one.stored, files))


def _sweep_up(database: Database) -> None:
    """Delete what a process that was killed, or a disk that refused, left of emptied folders."""
    with database.read() as connection:
        rows = connection.rows(
            """SELECT q.folder, q.path FROM quarantine q JOIN place p ON p.id = q.place
               WHERE q.emptied_at IS NOT NULL AND p.host = ? ORDER BY q.folder""",
            (this_host(),),
        )
    for folder, group in groupby(rows, key=lambda row: row[0]):
        if os.path.isdir(folder):
            with suppress(CullError, OSError), _opened(folder) as box:
                quarantine.delete(box, [path for _, path in group], _nobody)
                box.remove()
