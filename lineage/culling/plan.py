"""What a cull would move, and what it leaves and why: the registry's word first, then a look at the
disk. Nothing is changed here, and nothing is read but the weights of those that dominate."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from lineage import genome, ledger, whereabouts
from lineage.answers import Answer
from lineage.culling import quarantine
from lineage.culling.quarantine import Left, Tell
from lineage.database import Connection
from lineage.errors import CullError, LineageError
from lineage.organism import File, Organism
from lineage.references import candidates, is_local, place_hash, resolve, this_host
from lineage.store import now

KINDS = ("optimizer", "weights", "other")
"""What files are for, in the order in which they are to go: see `genome.kind_of`."""

GUARDING_ALIASES = ("production",)
"""Who holds one of these aliases keeps its files, even where a policy allowed it to be marked."""


@dataclass(frozen=True, slots=True)
class CullFile:
    """A file that goes: its path within the place, its size in bytes, and what it is for."""

    path: str
    bytes: int
    kind: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A place on this host. `files` go, or went into `folder`, the quarantine; `left` stay, each
    with its reason; `unlisted` were never registered, so nothing is known of them and they stay.
    `reason` says why nothing of the place goes."""

    id: int
    place: str
    files: tuple[CullFile, ...] = ()
    left: tuple[Left, ...] = ()
    unlisted: tuple[str, ...] = ()
    reason: str = ""
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A place that is not ours to touch: why, and the command that frees it, where there is one."""

    place: str
    reason: str
    command: str


@dataclass(frozen=True, slots=True)
class Proposal(Answer):
    """An organism that is selected against. `reason` says why all of it stays; empty when it goes.
    `dominators` are references to those living ones that its mark rests on."""

    _brief: ClassVar[tuple[str, ...]] = ("organism", "spots", "reason")

    organism: Organism
    spots: tuple[Spot, ...]
    elsewhere: tuple[Elsewhere, ...] = ()
    reason: str = ""
    dominators: tuple[str, ...] = ()

    @property
    def files(self) -> Iterator[tuple[Spot, CullFile]]:
        """The files that go, those that only resuming needs first."""
        if not self.reason:
            for kind in KINDS:
                for spot in self.spots:
                    yield from ((spot, file) for file in spot.files if file.kind == kind)


@dataclass(frozen=True, slots=True)
class CullPlan(Answer):
    """What a cull would move (`applied`: what it moved): one proposal an organism, files and bytes
    in all and by kind. `only` is the kind of files that was asked for. `recovered` are the
    quarantine folders of culls that were interrupted, whose files went back first."""

    _rows: ClassVar[str] = "proposals"

    proposals: tuple[Proposal, ...]
    only: str | None = None
    applied: bool = False
    recovered: tuple[str, ...] = ()

    @property
    def kinds(self) -> dict[str, tuple[int, int]]:
        """By kind, how many files and bytes go."""
        found = dict.fromkeys(KINDS, (0, 0))
        for one in self.proposals:
            for _, file in one.files:
                count, size = found[file.kind]
                found[file.kind] = (count + 1, size + file.bytes)
        return {kind: sums for kind, sums in found.items() if sums[0]}

    @property
    def files(self) -> int:
        return sum(count for count, _ in self.kinds.values())

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.kinds.values())


@dataclass(slots=True)
class Listed:
    """A place as the registry has it."""

    id: int
    uri: str
    host: str | None
    files: list[File] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    """Files that are in quarantine already."""


@dataclass(slots=True)
class Survey:
    """What the registry says of organisms that may be culled, at one moment: the organisms, their
    places, why each is kept, whom its mark rests on, who else holds which file (by its real path,
    and by device and inode), and the last event of that moment."""

    organisms: list[Organism]
    places: dict[int, list[Listed]]
    kept: dict[int, str]
    dominators: dict[int, tuple[Organism, ...]]
    shared: Shared
    event: int


# ---- What the registry says


def survey(connection: Connection, refs: Sequence[Any] = ()) -> Survey:
    """What the registry says of those selected against; of these organisms only, if any are named.
    Raises CullError for one that is not selected against."""
    ids = _marked(connection, refs)
    organisms = ledger.organisms(connection, ids)
    kept = guards(connection, ids)
    places = listed(connection, ids)
    dominators, wrong = dominating(connection, [own for own in ids if own not in kept])
    for own in (one.id for one in organisms if one.digest is None):
        kept.setdefault(own, "its weights were never seen, so nothing can be compared with them")
    return Survey(
        organisms=organisms,
        places=places,
        kept=wrong | kept,
        dominators=dominators,
        shared=sharing(connection, ids, places),
        event=int(connection.value("SELECT coalesce(max(id), 0) FROM event")),
    )


def _marked(connection: Connection, refs: Sequence[Any]) -> list[int]:
    if refs:
        ids = list(dict.fromkeys(resolve(connection, ref) for ref in refs))
        for one in ledger.organisms(connection, ids):
            if one.status != "selected_against":
                status = "a ghost" if one.ghost else one.status
                raise CullError(
                    f"{one.ref} is {status}, not selected against, so its files stay. "
                    f"`lineage explain {one.ref}` tells more."
                )
        return ids
    return [row[0] for row in connection.rows(
        """SELECT id FROM organism
           WHERE status = 'selected_against' AND same_as IS NULL ORDER BY id""")]  # fmt: skip


def guards(
    connection: Connection, ids: Sequence[int], allowed: Sequence[str] = ("selected_against",)
) -> dict[int, str]:
    """Why the files of these organisms stay, whatever else: by organism, those that are guarded.
    `allowed` are the vital statuses whose files may go."""
    packed = connection.pack(ids)
    among = f"FROM {connection.ids} AS i JOIN"
    aliases = ", ".join(repr(one) for one in GUARDING_ALIASES)
    found: dict[int, str] = {}
    for own, status in connection.rows(
        f"SELECT o.id, o.status {among} organism o ON o.id = i.id", (packed,)
    ):
        if status not in allowed:
            found[own] = f"it is {status.replace('_', ' ')}, not selected against"
    for own, holder in connection.rows(
        f"SELECT l.organism, l.holder {among} lease l ON l.organism = i.id WHERE l.until > ?",
        (packed, now()),
    ):
        found[own] = f"{holder} uses it (a lease)"
    for own, alias in connection.rows(
        f"""SELECT a.organism, a.alias {among} alias a ON a.organism = i.id
            WHERE a.alias IN ({aliases})""",
        (packed,),
    ):
        found[own] = f"it holds the alias {alias}"
    for own in ledger.load_bearing(connection, ids):
        found[own] = "something that is not culled needs it to run"
    for (own,) in connection.rows(
        f"SELECT o.id {among} organism o ON o.id = i.id WHERE o.protected = 1", (packed,)
    ):
        found[own] = "it is protected"
    return found


def listed(connection: Connection, ids: Sequence[int]) -> dict[int, list[Listed]]:
    """The places of organisms where they are now, with the files recorded there."""
    packed = connection.pack(ids)
    of = f"FROM {connection.ids} AS i CROSS JOIN place p"
    found: dict[int, list[Listed]] = {own: [] for own in ids}
    by_id: dict[int, Listed] = {}
    for own, place, uri, host in connection.rows(
        f"""SELECT p.organism, p.id, p.uri, p.host {of}
            WHERE p.organism = i.id AND p.gone_at IS NULL ORDER BY p.id""",
        (packed,),
    ):
        by_id[place] = Listed(place, uri, host)
        found[own].append(by_id[place])
    for place, path, size, sha256, is_genome in connection.rows(
        f"""SELECT f.place, f.path, f.bytes, f.sha256, f.genome {of} CROSS JOIN file f
            WHERE p.organism = i.id AND p.gone_at IS NULL AND f.place = p.id
            ORDER BY f.place, f.genome, f.path""",
        (packed,),
    ):
        by_id[place].files.append(File(path, size, bytes(sha256).hex(), bool(is_genome)))
    for place, path in connection.rows(
        f"""SELECT q.place, q.path {of} CROSS JOIN quarantine q
            WHERE p.organism = i.id AND q.place = p.id AND q.emptied_at IS NULL""",
        (packed,),
    ):
        if place in by_id:
            by_id[place].away.add(path)
    return found


# ---- Whom a mark rests on

LATEST_MARKS = """SELECT e.organism, e.body FROM {ids} AS i CROSS JOIN event e
  WHERE e.organism = i.id AND e.kind = 'selected_against' ORDER BY e.id"""


def dominating(
    connection: Connection, ids: Sequence[int]
) -> tuple[dict[int, tuple[Organism, ...]], dict[int, str]]:
    """By organism, the living ones that its mark rests on; and for those whose mark rests on nobody
    living any more, why. A dominator that was marked itself hands on to its own dominators."""
    refs: dict[int, tuple[str, ...]] = {}
    meant: dict[str, Organism | str] = {}
    todo = list(ids)
    while todo:
        rows = connection.rows(LATEST_MARKS.format(ids=connection.ids), (connection.pack(todo),))
        refs.update(dict.fromkeys(todo, ()))
        refs.update({own: tuple(dict.fromkeys(_named_in(json.loads(b)))) for own, b in rows})
        fresh = {ref for own in todo for ref in refs[own]} - meant.keys()
        meant.update((ref, _meant(connection, ref)) for ref in sorted(fresh))
        todo = sorted(
            {
                one.id
                for ref in fresh
                if isinstance(one := meant[ref], Organism)
                and one.status != "alive"
                and one.id not in refs
            }
        )
    found: dict[int, tuple[Organism, ...]] = {}
    wrong: dict[int, str] = {}
    for own in ids:
        try:
            found[own] = tuple(_ends(own, refs, meant))
        except CullError as error:
            wrong[own] = str(error)
    return found, wrong


def _named_in(body: Any) -> Iterator[str]:
    """The references to dominators in what the event of a mark holds."""
    for reason in body.get("reasons", ()) if isinstance(body, dict) else ():
        if isinstance(reason, dict) and isinstance(reason.get("by"), str):
            yield reason["by"]


def _meant(connection: Connection, ref: str) -> Organism | str:
    try:
        return ledger.organisms(connection, [resolve(connection, ref)])[0]
    except LineageError as error:
        return str(error).rstrip(".")


def _ends(
    own: int, refs: Mapping[int, tuple[str, ...]], meant: Mapping[str, Organism | str]
) -> Iterator[Organism]:
    """The living organisms that a mark rests on in the end. CullError where there is none."""
    seen = {own}
    todo = list(refs[own])
    told: set[int] = set()
    while todo:
        ref = todo.pop(0)
        one = meant[ref]
        if isinstance(one, str):
            raise CullError(f"its mark rests on {ref}, and {one}")
        if one.status == "alive" and not one.ghost:
            if one.id not in told:
                told.add(one.id)
                yield one
        elif one.id in seen:
            continue
        elif not refs.get(one.id):
            raise CullError(
                f"its mark rests on {ref}, which is {one.status.replace('_', ' ')} itself, and "
                "not for another one's sake: `lineage revive` it, and let `select` judge anew"
            )
        else:
            seen.add(one.id)
            todo += refs[one.id]
    if refs[own] and not told:
        raise CullError("its mark rests on nobody that is alive: `lineage select` judges anew")


class Whole:
    """Whether organisms have their files here, and whole: each is looked at once. With `deep` the
    weights are read, and compared with their digest."""

    def __init__(self, connect: Any, deep: bool, tell: Tell | None) -> None:
        self.connect = connect
        self.deep = deep
        self.tell = tell
        self.known: dict[int, str] = {}

    def missing(self, organisms: Iterable[Organism]) -> str:
        """Why one of these is not here and whole; empty when all are."""
        for one in organisms:
            if one.id not in self.known:
                with self.connect() as connection:
                    recorded = whereabouts.recorded(connection, one.id)
                seen = whereabouts.look(recorded, hash=self.deep, progress=self.tell)
                with_files = [spot for spot in seen.seen if spot.listed and not spot.wrong]
                self.known[one.id] = "" if with_files else seen.wrong or (
                    f"no files of {one.ref} are recorded"
                )  # fmt: skip
            if why := self.known[one.id]:
                return f"its mark rests on {one.ref}, and {why.removesuffix('.')}"
        return ""


# ---- Who else holds a file


@dataclass(frozen=True, slots=True)
class Shared:
    """Files that organisms which are not culled hold: by real path, and by device and inode, whose
    they are."""

    paths: Mapping[str, set[int]]
    inodes: Mapping[tuple[int, int], set[int]]
    names: Mapping[int, str]

    def by(self, own: int, full: str) -> str:
        """Who else holds a file at a real path, by name; empty for nobody."""
        holders = set(self.paths.get(full, ()))
        try:
            status = os.stat(full)
            holders |= self.inodes.get((status.st_dev, status.st_ino), set())
        except OSError:
            pass
        others = sorted(holders - {own})
        return self.names.get(others[0], f"#{others[0]}") if others else ""


def sharing(
    connection: Connection,
    ids: Sequence[int],
    places: Mapping[int, Sequence[Listed]],
    since: int | None = None,
) -> Shared:
    """Who, of all that are not culled, lists a file that these organisms list: one with the same
    bytes, wherever a link may lead, or one at the same path. With `since`, of the former only those
    that something happened to after that event."""
    holders: defaultdict[str, set[int]] = defaultdict(set)
    for own, uri, path in _of_same_bytes(connection, ids, since):
        holders[os.path.join(whereabouts.folder_of(uri), path)].add(own)
    for own, full in _of_same_path(connection, places):
        holders[full].add(own)
    paths: defaultdict[str, set[int]] = defaultdict(set)
    inodes: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for full, owners in holders.items():
        paths[os.path.realpath(full)] |= owners
        try:
            status = os.stat(full)
            inodes[status.st_dev, status.st_ino] |= owners
        except OSError:
            continue
    everybody = sorted(set().union(*holders.values()) if holders else set())
    named = dict(zip(everybody, candidates(connection, everybody), strict=True))
    return Shared(paths, inodes, named)


def _of_same_bytes(
    connection: Connection, ids: Sequence[int], since: int | None
) -> Iterator[tuple[int, str, str]]:
    """(organism, uri, path) of all files here with the same SHA-256. One pass over the files."""
    recent, params = "", (connection.pack(ids),)
    if since is not None:
        recent = "AND p.organism IN (SELECT e.organism FROM event e WHERE e.id > ?)"
        params = (*params, since)  # type: ignore[assignment]
    for own, uri, path in connection.rows(
        f"""SELECT p.organism, p.uri, f.path
            FROM file f JOIN place p ON p.id = f.place JOIN organism o ON o.id = p.organism
            WHERE f.sha256 IN (SELECT g.sha256 FROM {connection.ids} AS i
                JOIN place q ON q.organism = i.id JOIN file g ON g.place = q.id)
              AND p.gone_at IS NULL AND o.status <> 'culled' {recent}""",
        params,
    ):
        if is_local(uri):
            yield own, uri, path


def _of_same_path(
    connection: Connection, places: Mapping[int, Sequence[Listed]]
) -> Iterator[tuple[int, str]]:
    """(organism, path) of files that are listed at one of these paths: at a place that is the file
    itself, or a folder above it."""
    wanted: set[str] = set()
    above: set[str] = set()
    for known in places.values():
        for one in known:
            if is_local(one.uri):
                folder = whereabouts.folder_of(one.uri)
                wanted.update(os.path.join(folder, file.path) for file in one.files)
    for full in wanted:
        while full not in above:
            above.add(full)
            full = os.path.dirname(full)
    for own, uri, path in connection.rows(
        f"""SELECT p.organism, p.uri, f.path FROM {connection.ids} AS i CROSS JOIN place p
            CROSS JOIN organism o CROSS JOIN file f
            WHERE p.hash = i.id AND p.gone_at IS NULL AND o.id = p.organism
              AND o.status <> 'culled' AND f.place = p.id""",
        (connection.pack(set(map(place_hash, above))),),
    ):
        full = os.path.join(whereabouts.folder_of(uri), path)
        if uri in above and full in wanted:
            yield own, full


# ---- What the disk says


def plan(found: Survey, only: str | None, whole: Whole) -> CullPlan:
    """What would be moved, as far as a look at the disk tells."""
    return CullPlan(tuple(_proposal(found, one, only, whole) for one in found.organisms), only)


def _proposal(found: Survey, one: Organism, only: str | None, whole: Whole) -> Proposal:
    spots: list[Spot] = []
    elsewhere: list[Elsewhere] = []
    for place in found.places[one.id]:
        if why := not_ours(place):
            elsewhere.append(why)
        else:
            spots.append(_spot(found, one, place, only))
    dominators = found.dominators.get(one.id, ())
    reason = found.kept.get(one.id, "")
    if not reason and any(spot.files for spot in spots):
        reason = whole.missing(dominators)
    return Proposal(
        one, tuple(spots), tuple(elsewhere), reason, tuple(other.ref for other in dominators)
    )


_TOOLS = (
    (re.compile(r"^s3a?://"), "aws s3 rm --recursive {}"),
    (re.compile(r"^gs://"), "gcloud storage rm --recursive {}"),
    (re.compile(r"^(?:az|abfss?|wasbs?)://"), "az storage fs directory delete --name {}"),
    (re.compile(r"^hdfs://"), "hdfs dfs -rm -r {}"),
)


def not_ours(place: Listed) -> Elsewhere | None:
    """Why the files at a place are left to others, and the command that frees them."""
    import shlex

    uri = place.uri
    if uri.startswith("hf:"):
        return Elsewhere(uri, "it is on the Hub", "")
    if not is_local(uri):
        tool = next((command for pattern, command in _TOOLS if pattern.match(uri)), "")
        return Elsewhere(uri, "it is on no disk of this host", tool.format(shlex.quote(uri)))
    if quarantine.in_hub_cache(uri):
        return Elsewhere(uri, "it is in a Hugging Face cache", _cache_command(uri))
    if place.host != this_host():
        host = f"on another host, {place.host}" if place.host else "on a host that is not known"
        return Elsewhere(
            uri, f"it was registered {host}", f"lineage register {shlex.quote(uri)}"
        )  # fmt: skip
    return None


def _cache_command(uri: str) -> str:
    """What frees a repository in the cache of huggingface_hub: the snapshot alone, where the path
    names one."""
    import shlex

    found = re.search(r"(?:^|/)models--([^/]+)(?:/snapshots/([0-9a-f]{8,40}))?", uri)
    found = found or re.search(r"/models--([^/]+)()", os.path.realpath(uri))
    if found is None:
        return "hf cache rm"
    target = found[2] or f"model/{found[1].replace('--', '/')}"
    return f"hf cache rm {shlex.quote(target)}"


def _spot(found: Survey, one: Organism, place: Listed, only: str | None) -> Spot:
    kinds = {file.path: genome.kind_of(file.path, file.genome) for file in place.files}
    wanted = [file for file in place.files if only is None or kinds[file.path] == only]
    spot = Spot(place.id, place.uri)
    if not place.files:
        return replace(
            spot, reason="no files were recorded of it: `lineage register` it, and it can be culled"
        )
    try:
        with quarantine.opened(place.uri) as site:
            unlisted = quarantine.unlisted(site, kinds) if only is None else []
            left = {
                file.path: why
                for file in wanted
                if (why := _wrong(found, one, place, site, file))
            }
    except FileNotFoundError:
        return replace(spot, reason="nothing is there")
    except (CullError, OSError) as error:
        return replace(spot, reason=why_not(error))
    spoilt = next((file.path for file in wanted if file.genome and file.path in left), None)
    if spoilt is not None:
        return replace(
            spot,
            reason=f"its weight file {spoilt} stays ({left[spoilt]}), and so all stays with it",
            unlisted=tuple(unlisted),
        )
    files = [CullFile(f.path, f.bytes, kinds[f.path]) for f in wanted if f.path not in left]
    return replace(
        spot,
        files=tuple(sorted(files, key=lambda file: (KINDS.index(file.kind), file.path))),
        left=tuple(Left(path, why) for path, why in left.items()),
        unlisted=tuple(unlisted),
    )


def _wrong(
    found: Survey, one: Organism, place: Listed, site: quarantine.Site, file: File
) -> str:
    """Why a file stays, as far as can be told without reading it."""
    why = quarantine.unfit(site, file)
    if file.path in place.away:
        return "it is in quarantine already" if why == quarantine.MISSING else (
            "an earlier copy of it is in quarantine: `lineage cull --empty-quarantine` comes first"
        )
    if why:
        return why
    if holder := found.shared.by(one.id, site.real(file.path)):
        return f"{holder} lists the same file"
    return ""


def why_not(error: Exception) -> str:
    """A fault as the reason for which something stays."""
    if isinstance(error, OSError) and not isinstance(error, LineageError):
        where = f" ({error.filename})" if isinstance(error.filename, str) else ""
        return f"the disk says: {error.strerror or error}{where}"
    return str(error).rstrip(".")
