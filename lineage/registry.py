"""The desk: the Registry that users hold. One thin method for each question or act; the rooms below
do the work."""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack, overload

from lineage import (
    best,
    chain,
    clades,
    configurations,
    corrections,
    costs,
    database,
    impact,
    ledger,
    pedigree,
    regression,
    relocation,
    snapshots,
    store,
    undoing,
    whereabouts,
)
from lineage.answers import Answer
from lineage.best import Place, Ranking
from lineage.clades import Clade
from lineage.database import Connection
from lineage.errors import InvalidValue, LineageError
from lineage.impact import Impact
from lineage.organism import (
    CONFIGURATIONS,
    Event,
    File,
    Link,
    Niche,
    Organism,
    Parent,
    PowerCost,
    Record,
    Score,
    utc,
)
from lineage.references import resolve
from lineage.registering import Registered, register, uncollected
from lineage.registration import Registration, registration
from lineage.regression import Bisection, Evaluate
from lineage.relocation import Relocation
from lineage.selection import news, niches, planfile
from lineage.selection import plan as selection
from lineage.selection.niches import MOST, Competition, Limit, Population
from lineage.selection.plan import Decision, Explanation, Plan
from lineage.selection.policy import FRONTIER, Policy, load
from lineage.store import Store
from lineage.trees import window as windows
from lineage.trees.family import Family
from lineage.trees.gather import gather
from lineage.trees.window import Along, Extent, Window
from lineage.whereabouts import Whereabouts

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lineage.arrivals import Brought
    from lineage.arrivals import Progress as SyncProgress
    from lineage.backup import Backup
    from lineage.culling.act import Moves
    from lineage.culling.plan import CullPlan
    from lineage.doctor.findings import Checkup
    from lineage.doctor.findings import Progress as CheckupProgress
    from lineage.genome import Genome
    from lineage.hub.pull import Progress as HubProgress
    from lineage.hub.pull import Pulled
    from lineage.hub.push import Push
    from lineage.scan import Scan

TOGETHER = 5000
"""How many organisms or events are read at once, where they are asked for one by one."""

MANY = 100_000
"""So many new organisms at once are worth a new interval snapshot, which takes seconds."""


def open(
    db: str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    durable: bool = True,
    allow_network_fs: bool = False,
    command: str | None = None,
) -> Registry:
    """Open a registry: `db` is a path or a URL; by default LINEAGE_DB, else `.lineage/registry.db`
    in this folder or above, else the user's data directory. Where there is none it is made, unless
    `create` is false.

    `durable=False` lets the last writes before a power loss be lost, for speed; never a kill.
    `command` is what the history names as the doer. Raises RegistryUnavailable, and SchemaMismatch
    for a registry of an older or newer lineage."""
    found = database.connect(
        db, create=create, durable=durable, allow_network_fs=allow_network_fs
    )
    return Registry(found, command)


@dataclass(frozen=True, slots=True)
class Outcome(Answer):
    """What `register_many` did: organisms that are new, that gained something, that were known in
    full; and what was set aside, as (index of the entry, reason)."""

    created: int
    updated: int
    unchanged: int
    set_aside: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Summary(Answer):
    """What a list tells of an organism: the links to its parents, the scores that count, and what
    serving it costs with what it needs to run, one a unit."""

    organism: Organism
    parents: tuple[Link, ...]
    scores: tuple[Score, ...]
    serving: tuple[PowerCost, ...]


@dataclass(frozen=True, slots=True)
class NicheDifference:
    """What two organisms scored in one niche; None where one was not scored."""

    niche: Niche
    a: Score | None
    b: Score | None

    @property
    def delta(self) -> float | None:
        """b - a, in units of the metric."""
        return None if self.a is None or self.b is None else self.b.value - self.a.value

    @property
    def stderr(self) -> float | None:
        """One standard error of the difference, of independent scores (errors add in squares); None
        where that of one is not known."""
        if self.a is None or self.b is None or self.a.stderr is None or self.b.stderr is None:
            return None
        return math.hypot(self.a.stderr, self.b.stderr)


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A file that only one of two organisms has, or that has other bytes: as recorded of each."""

    path: str
    a: File | None
    b: File | None


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A key of a configuration (`model` or `training`) that differs: its dotted path, and the value
    of each as JSON, None where there is no such key."""

    kind: str
    key: str
    a: str | None
    b: str | None


@dataclass(frozen=True, slots=True)
class Difference(Answer):
    """Two organisms since their most recent common ancestors: the links from one of these (`since`)
    down each branch, niche by niche what they scored, and what they are and cost. `files` and
    `configuration` hold what differs, where both are known; `data_sets` are those of each."""

    _rows: ClassVar[str] = "niches"

    a: Organism
    b: Organism
    common: tuple[Organism, ...]
    since: Organism | None
    branch_a: tuple[Link, ...]
    branch_b: tuple[Link, ...]
    niches: tuple[NicheDifference, ...]
    serving: tuple[tuple[PowerCost, ...], tuple[PowerCost, ...]]
    training: tuple[PowerCost | None, PowerCost | None]
    files: tuple[FileDifference, ...] = ()
    configuration: tuple[KeyDifference, ...] = ()
    data_sets: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())


class Conditions(TypedDict, total=False):
    """What `find` and `count` take, see there."""

    tag: str | tuple[str, str] | None
    tags: Iterable[str | tuple[str, str]] | None
    niche: str | Niche | None
    min: float | None
    max: float | None
    max_joules: float | None
    parent: Any
    relation: str | None
    alias: str | None
    status: str | None
    kind: str | None
    licence: str | None
    architecture: str | None
    precision: str | None
    run: str | None
    protected: bool | None
    here: bool | None
    since: Any
    until: Any
    ghosts: bool | None


class Registry:
    """A registry of organisms. A context manager; threads may share it, and a forked child gets a
    connection of its own. References are what DESIGN calls references: a name, `name@v2`,
    `name@alias`, a digest prefix, `hf:org/name@revision`, a path, or an Organism."""

    def __init__(self, found: database.Database, command: str | None = None) -> None:
        self.database = found
        self.store = Store(found, command)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def __repr__(self) -> str:
        return f"<lineage.Registry {self.database.address}>"

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self.database.read() as connection:
            yield connection

    # record

    def register(
        self,
        path: str | os.PathLike[str] | Genome | None = None,
        *,
        name: str | None = None,
        digest: str | None = None,
        parents: Any = None,
        relation: str | None = None,
        fitness: Any = None,
        power: PowerCost | Iterable[PowerCost] | None = None,
        tags: Mapping[str, Any] | None = None,
        aliases: str | Iterable[str] | None = None,
        place: Any = None,
        kind: str = "genomic",
        configuration: Mapping[str, Any] | None = None,
        progress: Any = None,
        **facts: Any,
    ) -> Organism:
        """Register a checkpoint, once it is saved; what returns is durable.

        `path` is a file or a folder: it is hashed, never loaded; or the Genome that
        `lineage.genome.read` found there. Without one, the organism is known by `digest`, `place`
        (`hf:org/name@revision`, a URI) or `name`. A name that other weights bear already gets a
        further version. The same weights are the same organism: what is new is added to it, and
        nothing is overwritten.

        `parents`: a reference, a Parent, or several; what nobody has registered yet becomes a
        ghost. `relation`: of all parents that do not say their own. `fitness`: {"task/metric":
        value}, or Scores. `power`: one PowerCost or several. `configuration`: {"training": the
        arguments of the run}, and "model", which is the config.json of the folder. Facts:
        parameters, bytes, architecture, precision, licence, created, run, step.

        Raises InvalidValue, GenomeError, Ambiguous, CycleError or RegistryUnavailable; nothing is
        written then."""
        values = dict(
            name=name, digest=digest, parents=parents, relation=relation, fitness=fitness,
            power=power, tags=tags, aliases=aliases, place=place, kind=kind,
            configuration=configuration, **facts,
        )  # fmt: skip
        new = registration(**(values if path is None else _read_genome(path, values, progress)))
        with self.store.act() as act:
            (done,) = register(act, [new])
            assert done is not None
            if done.refused:
                raise act.cycle(done.refused[0])
            return ledger.organisms(act.connection, [done.id])[0]

    def register_many(
        self, organisms: Iterable[Mapping[str, Any] | Registration], batch: int = 5000
    ) -> Outcome:
        """Register many, from any iterable of the keyword arguments of `register` (`path` too) as
        mappings; `batch` of them in one transaction. An entry that cannot be registered, or a link
        that would close a cycle, is set aside, and the rest goes in."""
        entries = enumerate(organisms)
        totals = {"created": 0, "updated": 0, "unchanged": 0}
        set_aside: list[tuple[int, str]] = []
        while chunk := list(islice(entries, batch)):
            for index, done, reason in self._register_chunk(chunk):
                if reason:
                    set_aside.append((index, reason))
                if done is not None:
                    kind = "created" if done.created else "updated" if done.changed else "unchanged"
                    totals[kind] += 1
        if totals["created"] >= MANY:
            self.refresh_snapshot()
        return Outcome(**totals, set_aside=tuple(set_aside))

    def _register_chunk(
        self, chunk: Sequence[tuple[int, Mapping[str, Any] | Registration]]
    ) -> Iterator[tuple[int, Registered | None, str]]:
        """Register a chunk in one transaction: for each entry its index, what became of it, and
        why something was set aside."""
        ready: list[tuple[int, Registration]] = []
        failed: list[tuple[int, str]] = []
        with uncollected():
            for index, entry in chunk:
                try:
                    ready.append((index, _registration_of(entry)))
                except (LineageError, TypeError) as error:
                    failed.append((index, str(error)))
        with self.store.act() as act:
            errors: dict[int, LineageError] = {}
            done = register(act, [new for _, new in ready], errors.__setitem__)
            reasons = [
                " ".join(str(act.cycle(one)) for one in registered.refused) if registered else ""
                for registered in done
            ]
        yield from ((index, None, reason) for index, reason in failed)
        for position, (index, _) in enumerate(ready):
            reason = str(errors[position]) if position in errors else reasons[position]
            yield index, done[position], reason

    def scan(
        self,
        *folders: str | os.PathLike[str] | Iterable[str],
        apply: bool = False,
        progress: Callable[[int, int], object] | None = None,
        executor: Executor | None = None,
    ) -> Scan:
        """Find the checkpoints below folders, or URIs that fsspec can read, and what tells of their
        parents; with `apply`, register them, parents first, a batch in a transaction. What is
        registered and unchanged, by size and time, is not opened. `progress` is told how many were
        read, of how many. An `executor` reads the files, in processes or on machines that see the
        same paths: `dask.distributed.Client(...).get_executor(pure=False)`, for one."""
        from lineage.scan import scan

        roots = [
            one
            for given in folders
            for one in ([given] if isinstance(given, (str, os.PathLike)) else given)
        ]
        return scan(self.store, roots, apply=apply, progress=progress, executor=executor)

    def link(
        self,
        child: Any,
        parent: Any,
        relation: str | None = None,
        *,
        weight: float | None = None,
        evidence: str = "declared",
        confidence: float | None = None,
        needed: bool | None = None,
    ) -> Organism:
        """Add a parent to an organism, or a further evidence for one; the child. A link that would
        close a cycle is a CycleError that holds the path."""
        how = parent if isinstance(parent, Parent) else Parent(
            parent, relation, weight, evidence, confidence, needed
        )  # fmt: skip
        return self._organism(store.link(self.store, child, how, relation))

    def unlink(self, child: Any, parent: Any) -> Organism:
        """Take a parent away; the history keeps what was known of the link."""
        return self._organism(store.unlink(self.store, child, parent))

    def score(
        self,
        ref: Any,
        niche: str | Niche,
        value: float,
        *,
        stderr: float | None = None,
        n: int | None = None,
        direction: str | None = None,
        split: str = "",
        at: datetime | None = None,
    ) -> Organism:
        """Add a score. The latest in a niche counts; all are kept."""
        new = Score(niche, value, stderr, n, direction, split, at)
        return self._organism(store.score(self.store, ref, new))

    def meter(self, ref: Any, *power: PowerCost) -> Organism:
        """Add power costs: intervals (`per="total"`, each counted once by its UUID), or rates, of
        which the latest counts."""
        return self._organism(store.meter(self.store, ref, power))

    def alias(self, ref: Any, alias: str) -> Organism:
        """Let `name@alias` mean this organism; the alias moves from who had it."""
        return self._organism(store.alias(self.store, ref, alias))

    def tag(self, ref: Any, tags: Mapping[str, Any] | None = None, **more: Any) -> Organism:
        """Set tags; a value of None takes a tag away."""
        return self._organism(store.tag(self.store, ref, {**(tags or {}), **more}))

    def protect(self, ref: Any, reason: str = "") -> Organism:
        """Never propose this organism for selection."""
        return self._organism(store.protect(self.store, ref, True, reason))

    def unprotect(self, ref: Any, reason: str = "") -> Organism:
        return self._organism(store.protect(self.store, ref, False, reason))

    # the Hub

    def hub_pull(
        self,
        *repos: str,
        ancestors: bool = False,
        descendants: bool = False,
        depth: int | None = None,
        endpoint: str | None = None,
        progress: HubProgress | None = None,
    ) -> Pulled:
        """Bring models of the Hub in, each `org/name` or `org/name@revision`, with the digests of
        their weights, and with relatives at most `depth` links away. Nothing is downloaded but what
        the Hub says of them."""
        from lineage.hub import pull

        return self._pulled(
            pull.pull_models(
                self.store, repos, ancestors=ancestors, descendants=descendants, depth=depth,
                endpoint=endpoint, progress=progress,
            )
        )  # fmt: skip

    def hub_pull_list(
        self,
        *,
        author: str | None = None,
        filters: Sequence[str] = (),
        since: datetime | str | None = None,
        digests: bool = False,
        endpoint: str | None = None,
        progress: HubProgress | None = None,
    ) -> Pulled:
        """Bring in the models of a list of the Hub: of an author, with all filters, or all there
        are; a pull that was cut off goes on. `since` a time, or the `last` whole pull."""
        from lineage.hub import pull

        return self._pulled(
            pull.pull_list(
                self.store, author=author, filters=filters, since=since, digests=digests,
                endpoint=endpoint, progress=progress,
            )
        )  # fmt: skip

    def hub_dump(
        self, file: str | os.PathLike[str], progress: HubProgress | None = None
    ) -> Pulled:
        """Bring in a Parquet dump of the Hub, a row a model. Needs the extra `tables`."""
        from lineage.hub import dump

        return self._pulled(dump.dump(self.store, file, progress))

    def _pulled(self, pulled: Pulled) -> Pulled:
        if pulled.created >= MANY:
            self.refresh_snapshot()
        return pulled

    def hub_push_plan(
        self, ref: Any, *, to: str | None = None, endpoint: str | None = None
    ) -> Push:
        """What a push would change on an organism's card on the Hub; nothing is written."""
        from lineage.hub import push

        return push.plan(self.database, ref, to=to, endpoint=endpoint)

    def hub_push(
        self, ref: Any, *, to: str | None = None, direct: bool = False, endpoint: str | None = None
    ) -> Push:
        """Put what is known of an organism onto its card on the Hub: as a pull request, or with
        `direct` as a commit."""
        from lineage.hub import push

        return push.apply(self.store, ref, to=to, direct=direct, endpoint=endpoint)

    # correct

    def retract(
        self,
        ref: Any,
        reason: str,
        *,
        niche: str | Niche | None = None,
        cost: str | None = None,
        per: str = "total",
        uuid: str | None = None,
        parent: Any = None,
    ) -> Event:
        """Strike something out that is wrong, for a reason; nothing counts it any more, and nothing
        is erased. Of an organism: the score that counts in `niche`; the `cost` of a phase, by `per`
        and for intervals by `uuid`; the link to `parent`; or else its registration, which makes it
        a ghost until it is registered again. The event that this leaves, for `undo`."""
        asked = [one is not None for one in (niche, cost, parent)]
        if sum(asked) > 1:
            raise InvalidValue("retract one thing at a time: a niche, a cost or a parent.")
        if niche is not None:
            done = corrections.retract_score(self.store, ref, _niche(niche), reason)
        elif cost is not None:
            done = corrections.retract_cost(self.store, ref, cost, per, uuid, reason)
        elif parent is not None:
            done = corrections.retract_link(self.store, ref, parent, reason)
        else:
            done = corrections.retract_registration(self.store, ref, reason)
        return self._event(done)

    def rename(self, ref: Any, name: str) -> Event:
        """Give an organism another name in place of the one it goes by, as its next version; its
        aliases come along, and other versions of the old name keep it. The event."""
        return self._event(corrections.rename(self.store, ref, name))

    def relocate(
        self,
        old: str | os.PathLike[str],
        new: str | os.PathLike[str],
        *,
        apply: bool = False,
        progress: CheckupProgress | None = None,
    ) -> Relocation:
        """Rewrite all places on this host that are `old` or below it to `new`, once the files are
        found there: all sizes, and the bytes of a sample. A plan, unless `apply`."""
        return relocation.relocate(self.store, old, new, apply=apply, progress=progress)

    def undo(self, event: int) -> Event:
        """Take an event back by the opposite act; the event that this leaves. InvalidValue says why
        that cannot be, and what to do instead."""
        with self._read() as connection:
            kind = undoing.find(connection, event).kind
        undo = relocation.undo if kind == "relocated" else undoing.undo
        return self._event(undo(self.store, event))

    def _event(self, number: int) -> Event:
        with self._read() as connection:
            return ledger.event(connection, number)

    # read

    def _organism(self, own: int) -> Organism:
        with self._read() as connection:
            return ledger.organisms(connection, [own])[0]

    def get(self, ref: Any) -> Organism:
        """The organism that a reference fits. Raises NotFound, with the nearest names, or
        Ambiguous, with the candidates."""
        with self._read() as connection:
            return ledger.organisms(connection, [resolve(connection, ref)])[0]

    def organisms(self, ids: Iterable[int]) -> list[Organism]:
        """The organisms with these ids, in their order: those that events name, for one."""
        with self._read() as connection:
            return ledger.organisms(connection, ids)

    def record(self, ref: Any) -> Record:
        """Everything known of one organism."""
        with self._read() as connection:
            return ledger.record(connection, resolve(connection, ref))

    def history(self, ref: Any) -> list[Event]:
        """What happened to an organism, oldest first."""
        with self._read() as connection:
            return ledger.history(connection, resolve(connection, ref))

    def events(
        self, *, since: Any = None, before: int | None = None, limit: int | None = 1000
    ) -> list[Event]:
        """What happened in the whole registry, the latest first: since a time, before the event of
        a number (the last of a page asks for the next one), at most `limit`."""
        at = None if since is None else utc(since, "since")
        with self._read() as connection:
            size = 1000 if limit is None else limit
            pages = ledger.events(connection, at, before, size) if size else iter(())
            return next(pages, []) if limit is not None else [one for page in pages for one in page]

    def each_event(self, *, since: Any = None, before: int | None = None) -> Iterator[Event]:
        """The events of `events` without a limit, one by one and the oldest first, for histories
        too long to hold: 5,000 are read when it is their turn."""
        at = None if since is None else utc(since, "since")
        after = 0
        while True:
            with self._read() as connection:
                page = ledger.events_after(connection, after, at, before, TOGETHER)
            yield from page
            if len(page) < TOGETHER:
                return
            after = page[-1].id

    def find(
        self,
        name: str | None = None,
        *,
        sort: str = "registered",
        limit: int | None = None,
        **conditions: Unpack[Conditions],
    ) -> list[Organism]:
        """The organisms that meet all conditions; those that are None are no conditions.

        `name` (* and ? fit anything); `tag` (a key, or a (key, value)) or several `tags`; scored in
        `niche`, at least `min`, at most `max`; `max_joules` of serving, per token or whichever unit
        is known first; a `parent`, the `relation` to it; `alias`, `status`, `kind`, `licence`,
        `architecture`, `precision`, `run`, `protected`, `here` (files on a disk); registered in
        [`since`, `until`); with `ghosts`, those too. Newest first, or by `sort`: registered,
        created, name, fitness (the best in `niche` first), power (the cheapest to serve first),
        generation or bytes."""
        with self._read() as connection:
            wanted = _wanted(connection, conditions)
            ids = ledger.find(connection, name, sort=sort, limit=limit, **wanted)
            return ledger.organisms(connection, ids)

    def each(
        self,
        name: str | None = None,
        *,
        sort: str = "registered",
        limit: int | None = None,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Organism]:
        """The organisms of `find`, one by one, for lists too long to hold. The first 5,000 are
        found at once; then the numbers of all others, and 5,000 of these are read when it is their
        turn. No view of the registry is held."""

        def found(most: int | None) -> array[int]:
            with self._read() as connection:
                wanted = _wanted(connection, conditions)
                return array("q", ledger.find(connection, name, sort=sort, limit=most, **wanted))

        first = found(TOGETHER if limit is None else min(limit, TOGETHER))

        def each() -> Iterator[Organism]:
            yield from Listed(self, first)
            if len(first) == TOGETHER != limit:
                known = set(first)
                rest = array("q", (one for one in found(limit) if one not in known))
                yield from Listed(self, rest if limit is None else rest[: limit - TOGETHER])

        return each()

    def count(
        self,
        name: str | None = None,
        *,
        at_most: int | None = None,
        **conditions: Unpack[Conditions],
    ) -> int:
        """How many organisms meet all conditions, which are those of `find`; counting ends at
        `at_most`."""
        with self._read() as connection:
            wanted = _wanted(connection, conditions)
            return ledger.count(connection, name, at_most=at_most, **wanted)

    def summaries(self, organisms: Iterable[Organism]) -> list[Summary]:
        """What a list tells of each of these organisms, in their order. Four statements."""
        organisms = list(organisms)
        ids = [one.id for one in organisms]
        with self._read() as connection:
            parents: dict[int, list[Link]] = {}
            for link in ledger.links(connection, ids):
                parents.setdefault(link.child.id, []).append(link)
            scores, serving = ledger.scores(connection, ids), costs.serving(connection, ids)
        return [
            Summary(
                one,
                tuple(parents.get(one.id, ())),
                tuple(scores.get(one.id, ())),
                tuple(serving.get(one.id, ())),
            )
            for one in organisms
        ]

    # ask

    def ancestors(
        self,
        ref: Any,
        *,
        relation: str | None = None,
        depth: int | None = None,
        status: str | None = None,
    ) -> list[Organism]:
        """All organisms that this one descends from, each once: along links of `relation` only, at
        most `depth` links away, of a vital status. The latest generation first."""
        with self._read() as connection:
            found = pedigree.ancestors(connection, resolve(connection, ref), relation, depth)
            ids = ledger.in_order(connection, found, status, latest_first=True)
            return ledger.organisms(connection, ids)

    def descendants(
        self,
        ref: Any,
        *,
        relation: str | None = None,
        depth: int | None = None,
        status: str | None = None,
    ) -> list[Organism]:
        """All organisms that descend from this one, each once; the earliest generation first."""
        with self._read() as connection:
            found = pedigree.descendants(connection, resolve(connection, ref), relation, depth)
            return ledger.organisms(connection, ledger.in_order(connection, found, status))

    def each_descendant(
        self,
        ref: Any,
        *,
        relation: str | None = None,
        depth: int | None = None,
        status: str | None = None,
    ) -> Listed:
        """The organisms of `descendants`, for lists too long to hold: 5,000 are read when it is
        their turn. No view of the registry is held."""
        with self._read() as connection:
            found = pedigree.descendants(connection, resolve(connection, ref), relation, depth)
            return Listed(self, array("q", ledger.in_order(connection, found, status)))

    def parents(self, ref: Any) -> list[Link]:
        """The links to the parents of an organism, with all evidence."""
        with self._read() as connection:
            return ledger.links(connection, [resolve(connection, ref)])

    def children(self, ref: Any) -> list[Link]:
        """The links to the children of an organism."""
        with self._read() as connection:
            return ledger.links(connection, [resolve(connection, ref)], "parent")

    def is_ancestor(self, ancestor: Any, ref: Any) -> bool:
        """Whether an organism descends from another. Nobody descends from itself."""
        with self._read() as connection:
            return pedigree.is_ancestor(
                connection, resolve(connection, ancestor), resolve(connection, ref)
            )

    def generation(self, ref: Any) -> int:
        """The longest distance from a founder, in links."""
        return self.get(ref).generation

    def mrca(self, a: Any, b: Any) -> list[Organism]:
        """The most recent common ancestors: all common ancestors that are not ancestors of another
        one. Each organism counts as its own ancestor."""
        with self._read() as connection:
            found = pedigree.mrca(connection, resolve(connection, a), resolve(connection, b))
            return ledger.organisms(connection, found)

    def path(self, a: Any, b: Any) -> list[Link]:
        """The shortest chain of links from `a` to `b`, through a common ancestor if need be, in
        walking order; empty when they are one or not related."""
        with self._read() as connection:
            up, down = _path(connection, resolve(connection, a), resolve(connection, b))
            return up + down

    def clade(self, ref: Any) -> Clade:
        """What an organism and all its descendants amount to: how many, how many living, the best
        in every niche, the joules of training."""
        with self._read() as connection:
            return clades.aggregate(connection, resolve(connection, ref))

    def refresh_snapshot(self) -> bool:
        """Build the interval snapshot anew, which answers `clade` for large clades; whether it was,
        or another build began meanwhile. Linear in the registry; writers go on."""
        return snapshots.build(self.database)

    def diff(self, a: Any, b: Any) -> Difference:
        """What happened since the most recent common ancestor, on each branch."""
        with self._read() as connection:
            return _difference(connection, resolve(connection, a), resolve(connection, b))

    def family(
        self,
        ref: Any = None,
        *,
        niche: str | Niche | None = None,
        limit: int | None = 1000,
        details: bool = False,
        order: str = "size",
    ) -> Family:
        """An organism with its descendants, or the whole forest, as the trees draw it: at most
        `limit` organisms, the nearest first, the rest counted where they branch off; `details`
        adds tags, history, and who beats whom; siblings follow each other by `order`: `size` of
        their clades, `time` or `fitness`."""
        with self._read() as connection:
            root = None if ref is None else resolve(connection, ref)
            return gather(connection, root, as_niche(niche), limit, details, order)

    def extent(self, ref: Any = None) -> Extent | None:
        """The positions of a family, or of the forest, in the interval snapshot: how large it is,
        in constant time. None where no current snapshot knows it."""
        with self._read() as connection:
            root = None if ref is None else resolve(connection, ref)
            return windows.extent(connection, root)

    def window(
        self,
        ref: Any = None,
        *,
        start: int | None = None,
        end: int | None = None,
        at: Any = None,
        rows: int = 1500,
        details: bool = False,
    ) -> Window | None:
        """A part of a family, or of the forest, that is too large to be drawn: the positions
        `start` to `end` of the interval snapshot, by default all, in about `rows` rows, each an
        organism or a stripe of many; or the `rows` organisms around `at`. None where no current
        snapshot knows `ref` and `at`. Work is linear in `rows`, however large the family is."""
        with self._read() as connection:
            root = None if ref is None else resolve(connection, ref)
            whole = windows.extent(connection, root)
            if whole is None:
                return None
            if at is not None:
                middle = windows.position(connection, whole, resolve(connection, at))
                if middle is None:
                    return None
                start, end = middle - rows // 2, middle - rows // 2 + rows - 1
            start = whole.first if start is None else start
            end = whole.last if end is None else end
            return windows.look(connection, whole, start, end, rows, details)

    def along(self, niche: str | Niche) -> Along | None:
        """The scores of the living in a niche by their positions in the interval snapshot:
        `Along.best` says the best of each row of a window. None without a current snapshot."""
        with self._read() as connection:
            return windows.along(connection, _niche(niche))

    def places(self, ref: Any) -> list[Place]:
        """The place of an organism among the living in each niche where it is scored."""
        with self._read() as connection:
            return best.places(connection, resolve(connection, ref))

    def best(
        self,
        niche: str | Niche,
        *,
        per: str | None = None,
        clade: Any = None,
        limit: int | None = 10,
    ) -> Ranking:
        """Who is best in a niche among the living; with `per` (joule, dollar, byte, parameter) who
        is best for what it costs, see `lineage.best.Ranking`. Only of an organism and its
        descendants where `clade` names one."""
        with self._read() as connection:
            root = None if clade is None else resolve(connection, clade)
            return best.best(connection, _niche(niche), per, root, limit)

    def bisect(
        self, a: Any, b: Any, niche: str | Niche, *, evaluate: Evaluate | None = None
    ) -> Bisection:
        """Where the score changed most on the way from `a` down to its descendant `b`, or whom to
        evaluate next to find out. With `evaluate` the search goes on until it is found: it is
        called with an organism and how many evaluations are still to be expected, and gives a
        score, or (score, standard error), each of which is recorded; or None."""
        if evaluate is not None:
            return regression.search(self.store, a, b, _niche(niche), evaluate)
        with self._read() as connection:
            ids = regression.chain(connection, resolve(connection, a), resolve(connection, b))
            found = regression.bisect(connection, ids, _niche(niche))
            if not any(found.scores):
                ledger.niche_id(connection, found.niche)  # says which niches there are
            return found

    def impact(self, ref: Any, *, limit: int | None = 20) -> Impact:
        """What it would mean if an organism went: what breaks, what is affected, what would be
        freed. At most `limit` of those that break are spelled out."""
        with self._read() as connection:
            return impact.impact(connection, resolve(connection, ref), limit)

    def where(self, ref: Any, *, hash: bool = False) -> str:
        """A path that exists now and holds the files of an organism with their recorded sizes; with
        `hash`, the very weights. NotFound says what is wrong with each place."""
        return self.whereabouts(ref, hash=hash).found

    def whereabouts(self, ref: Any, *, hash: bool = False, progress: Any = None) -> Whereabouts:
        """All places of an organism, as they are found now. With `hash` its genome is read again,
        and `progress` told how many more bytes were."""
        with self._read() as connection:
            known = whereabouts.recorded(connection, resolve(connection, ref))
        return whereabouts.look(known, hash=hash, progress=progress)

    # keep

    def head(self) -> tuple[int, str]:
        """The number of the last event and the head of the event chain, 64 hex digits: kept
        elsewhere, it lets `doctor` tell whether the history up to here was changed since."""
        with self._read() as connection:
            event, chained = chain.head(connection)
            return event, chained.hex()

    def sync(
        self, folder: str | os.PathLike[str] | None = None, *, progress: SyncProgress | None = None
    ) -> Brought:
        """Bring in what training runs left in a spool: the registry's own, or that of another
        machine in `folder`. Each record comes in once, in any order; what never can is set aside.
        """
        from lineage import arrivals, spool

        where = spool.folder_of(self.database.address) if folder is None else Path(folder)
        return arrivals.bring_in(self.store, where, progress)

    def doctor(
        self,
        *,
        files: bool = False,
        deep: bool = False,
        head: str | None = None,
        progress: CheckupProgress | None = None,
    ) -> Checkup:
        """Look whether the registry is sound: the file, the schema, and all that it says against
        each other. `files` looks at the files of the places on this host too, and `deep` reads
        every byte of them. `head` is one that `head()` gave before: whether the history still leads
        through it. Nothing is changed."""
        from lineage.doctor.examine import examine

        kept = None if head is None else chain.parse(head)
        return examine(self.database, files=files, deep=deep, head=kept, progress=progress)

    def repair(self, found: Checkup) -> dict[str, int]:
        """Rebuild what is derived, where a checkup found it wrong, in one transaction that leaves
        an event. Nothing that was recorded is touched. By check, how many were mended."""
        from lineage.doctor.repair import repair

        return repair(self.store, found)

    def backup(
        self,
        file: str | os.PathLike[str],
        *,
        force: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Backup:
        """Copy the registry to a file, verified, while others write. A file that is there is
        replaced with `force` only. `lineage.backup.restore` brings it back."""
        from lineage.backup import backup

        return backup(self.database, file, force=force, progress=progress)

    # select

    def select(
        self,
        policy: Policy | str = FRONTIER,
        *,
        apply: bool = False,
        new: bool = False,
        details: int | None = None,
        write_plan: str | os.PathLike[str] | None = None,
        from_plan: str | os.PathLike[str] | None = None,
    ) -> Plan:
        """What no longer justifies its power bill by a policy (docs/selection.md has the rule), and
        what was marked and does again. A dry run, unless `apply` marks and revives. `policy` is a
        Policy, or what `lineage.selection.policy.load` takes. `details` limits how many organisms
        the plan spells out.

        `new` judges those alone that stand in a niche where something happened since the policy was
        applied last, and all where it never was; InvalidValue for a policy with a budget.

        `write_plan` keeps the plan in a new file. `from_plan` takes the plan of a file, exactly,
        with its policy; an Outdated error says what changed since that matters."""
        if isinstance(policy, str):
            policy = load(policy)

        def decide(connection: Connection) -> Decision:
            if from_plan is not None:
                return planfile.decide(connection, from_plan)
            return selection.decide(connection, policy, new)

        if not apply:
            with self._read() as connection:
                decision = decide(connection)
                if write_plan is not None:
                    planfile.write(connection, decision, write_plan)
                return selection.told(connection, decision, details)
        with self.store.act() as act:
            decision = decide(act.connection)
            plan = selection.told(act.connection, decision, details)
            run = selection.new_run()
            marked, revived = selection.apply(act, decision, run)
            if from_plan is None:
                news.applied(act, decision.policy, run, marked, revived)
            return replace(plan, marked=marked, revived=revived, run=run)

    def niches(
        self, policy: Policy = FRONTIER, *, below: Limit | None = None
    ) -> list[Population]:
        """How many compete in each niche, and who is its champion: of all, or of those that cost
        no more than `below`."""
        with self._read() as connection:
            return niches.populations(connection, policy, below)

    def niche(
        self, niche: str | Niche, policy: Policy = FRONTIER, *, most: int | None = MOST
    ) -> Competition:
        """Who competes in a niche: the front, and of the others at most so many that it makes
        `most`."""
        with self._read() as connection:
            return niches.competition(connection, _niche(niche), policy, most)

    def explain(self, ref: Any, policy: Policy = FRONTIER) -> Explanation:
        """Why an organism lives, or what speaks against it: niche by niche, with the numbers."""
        with self._read() as connection:
            return selection.explain(connection, resolve(connection, ref), policy)

    def revive(self, ref: Any, reason: str = "") -> Organism:
        """Take a mark back."""
        return self._organism(store.revive(self.store, ref, reason))

    def revive_run(self, run: str, reason: str = "") -> int:
        """Take back all marks of one application of a plan; how many."""
        with self.store.act() as act:
            return selection.revive_run(act, run, reason)

    def lease(self, ref: Any, until: datetime, holder: str) -> Organism:
        """Say that `holder` uses an organism until a time: it is not selected before. A holder's
        new lease replaces the old one."""
        return self._organism(store.lease(self.store, ref, utc(until, "until"), holder))

    def release(self, ref: Any, holder: str) -> Organism:
        """End a lease before its time."""
        return self._organism(store.release(self.store, ref, holder))

    def cull(
        self, *refs: Any, only: str | None = None, apply: bool = False, progress: Any = None
    ) -> CullPlan:
        """The files of organisms selected against, of all or of those named: what would go into
        quarantine, and what stays and why. A dry run, unless `apply` moves them. `only="optimizer"`
        takes what only resuming needs. `progress` is told how many more bytes were read."""
        from lineage.culling import act

        return act.cull(self.store, refs, only=only, apply=apply, tell=progress)

    def restore(self, *refs: Any) -> Moves:
        """Put files back from quarantine, of these organisms or of all. Nothing is overwritten."""
        from lineage.culling import act

        return act.restore(self.store, refs)

    def empty_quarantine(
        self, before: datetime, *, apply: bool = False, progress: Any = None
    ) -> Moves:
        """What went into quarantine before a moment; with `apply` it is deleted for good, which
        nothing else ever does."""
        from lineage.culling import act

        return act.empty(self.store, utc(before, "before"), apply=apply, tell=progress)


def _niche(niche: str | Niche) -> Niche:
    return Niche.parse(niche) if isinstance(niche, str) else niche


def as_niche(niche: str | Niche | None) -> Niche | None:
    return None if niche is None else _niche(niche)


def _wanted(connection: Connection, conditions: Conditions) -> ledger.Conditions:
    """The conditions of `find` and `count`, as the ledger takes them."""
    given: dict[str, Any] = {key: value for key, value in conditions.items() if value is not None}
    unknown = given.keys() - Conditions.__annotations__
    if unknown:
        raise TypeError(f"no condition is called {min(unknown)!r}.")
    tags = [*([given.pop("tag")] if "tag" in given else []), *given.pop("tags", ())]
    if tags:
        given["tags"] = [(one, None) if isinstance(one, str) else one for one in tags]
    if "niche" in given:
        given["niche"] = _niche(given["niche"])
    elif "min" in given or "max" in given:
        raise InvalidValue("a least or highest score is of a niche: give one, like gsm8k/acc.")
    if "parent" in given:
        given["parent"] = resolve(connection, given["parent"])
    for key in ("since", "until"):
        if key in given:
            given[key] = utc(given[key], key)
    return given  # type: ignore[return-value]


class Listed(Sequence[Organism]):
    """Organisms that are read when it is their turn. How many there are is known before."""

    def __init__(self, registry: Registry, ids: array[int]) -> None:
        self._registry, self._ids = registry, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, at: int) -> Organism: ...
    @overload
    def __getitem__(self, at: slice) -> list[Organism]: ...
    def __getitem__(self, at: int | slice) -> Organism | list[Organism]:
        if isinstance(at, slice):
            return self._registry.organisms(self._ids[at])
        return self._registry.organisms([self._ids[at]])[0]

    def __iter__(self) -> Iterator[Organism]:
        for start in range(0, len(self), TOGETHER):
            yield from self[start : start + TOGETHER]


def _read_genome(
    path: str | os.PathLike[str] | Genome, values: dict[str, Any], progress: Any
) -> dict[str, Any]:
    """The values of a registration, with what the files at `path` tell where they are silent."""
    from lineage import genome

    read = path if isinstance(path, genome.Genome) else genome.read(path, progress=progress)
    if values["digest"] is not None and values["digest"] != read.digest:
        raise InvalidValue(
            f"{read.path} has the digest {read.digest}, not {values['digest']}. Leave digest out "
            "to register what is there."
        )
    place = values["place"]
    more = list(place) if isinstance(place, (list, tuple)) else [place] if place else []
    known = {
        "name": genome.default_name(read.path),
        "parameters": read.parameters,
        "bytes": read.bytes,
        "precision": read.precision,
        "architecture": read.architecture,
    }
    silent = {key: value for key, value in known.items() if values.get(key) is None}
    return values | silent | {
        "configuration": _with_model(values.get("configuration"), read.configuration),
        "digest": read.digest,
        "files": read.files,
        "place": [read.path, *more],
    }


def _with_model(
    given: Mapping[str, Any] | None, found: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """A configuration with the config.json that lies with the files, where it is silent. One that
    cannot be kept stops no registration."""
    given = given or {}
    if not isinstance(given, Mapping) or "model" in given:
        return given
    return {**({"model": found} if configurations.kept({"model": found}) else {}), **given}


def _registration_of(entry: Mapping[str, Any] | Registration) -> Registration:
    if isinstance(entry, Registration):
        return entry
    values = dict(entry)
    path = values.pop("path", None)
    if path is not None:
        blank = dict.fromkeys(("name", "digest", "place"))
        values = _read_genome(path, blank | values, None)
    return registration(**values)


def _path(connection: Connection, a: int, b: int) -> tuple[list[Link], list[Link]]:
    """The shortest chain of links from `a` to `b`: up, and down."""
    up, down = pedigree.path(connection, a, b)
    known = {
        (link.child.id, link.parent.id): link
        for link in ledger.links(connection, sorted({child for child, _ in up + down}))
    }
    return [known[pair] for pair in up], [known[pair] for pair in down]


def _difference(connection: Connection, a: int, b: int) -> Difference:
    up, down = _path(connection, a, b)
    common = ledger.organisms(connection, pedigree.mrca(connection, a, b))
    one, other = ledger.organisms(connection, [a, b])
    ends = [up[-1].parent] if up else [down[0].parent] if down else common
    scores = ledger.scores(connection, list({a, b}))
    by_niche = [{s.niche: s for s in scores.get(own, ())} for own in (a, b)]
    serving = costs.serving(connection, [a, b])
    training = ledger.training(connection, list({a, b}))
    return Difference(
        a=one,
        b=other,
        common=tuple(common),
        since=ends[0] if ends else None,
        branch_a=tuple(reversed(up)),
        branch_b=tuple(down),
        niches=tuple(
            NicheDifference(niche, by_niche[0].get(niche), by_niche[1].get(niche))
            for niche in dict.fromkeys([*by_niche[0], *by_niche[1]])
            if isinstance(niche, Niche)
        ),
        serving=(tuple(serving.get(a, ())), tuple(serving.get(b, ()))),
        training=(training.get(a), training.get(b)),
        files=_files_that_differ(connection, a, b),
        **_set_up(connection, a, b),
    )


def _files_that_differ(connection: Connection, a: int, b: int) -> tuple[FileDifference, ...]:
    """Added, removed and changed files; none where those of one are not recorded."""
    left, right = ({f.path: f for f in ledger.files(connection, own)} for own in (a, b))
    if not left or not right:
        return ()
    return tuple(
        FileDifference(path, left.get(path), right.get(path))
        for path in sorted(left.keys() | right.keys())
        if path not in left or path not in right or left[path].sha256 != right[path].sha256
    )


def _set_up(connection: Connection, a: int, b: int) -> dict[str, Any]:
    """How the configurations of two differ, and the data sets of each."""
    known = configurations.read(connection, {a, b})
    one, other = known.get(a, {}), known.get(b, {})
    tags = dict(
        connection.rows(
            f"""SELECT t.organism, t.value FROM {connection.ids} AS i
                JOIN tag t ON t.organism = i.id WHERE t.key = 'datasets'""",
            (connection.pack({a, b}),),
        )
    )
    return {
        "configuration": tuple(
            KeyDifference(kind, *change)
            for kind in CONFIGURATIONS
            if kind in one and kind in other
            for change in configurations.changed(one[kind], other[kind])
        ),
        "data_sets": tuple(
            configurations.data_sets(held.get("training"), tags.get(own))
            for own, held in ((a, one), (b, other))
        ),
    }
