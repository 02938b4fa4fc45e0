"""Bringing organisms in, one or a hundred thousand: what is known of each is united with what the
registry knows already. A batch is read in a few statements, decided in memory, written in a few.

Which organism a registration means, in this order: the one with its digest; one without a digest
that was waiting for it, at its place or under its name; else a new one. Where several turn out to
be the same, the others are absorbed. Nothing that is recorded is overwritten."""

from __future__ import annotations

import gc
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from lineage import chain, configurations, links, standings
from lineage.errors import Ambiguous, InvalidValue, LineageError
from lineage.organism import KINDS as ORGANISM_KINDS
from lineage.organism import (
    RELATIONS,
    File,
    Organism,
    Parent,
    PowerCost,
    Score,
    finite,
    one_of,
    text,
    utc,
    whole,
)
from lineage.references import (
    HEX,
    VERSION,
    Ghost,
    digest_bytes,
    ghost_of,
    is_local,
    place_hash,
    place_uri,
    resolve,
    search,
    this_host,
)
from lineage.remote import URI
from lineage.store import (
    INSERT_EVIDENCE,
    Act,
    check_alias,
    is_needed,
    link_body,
    micros,
    power_body,
    relation_of,
    score_body,
    set_alias,
    with_uuid,
)

FACTS = (
    "parameters",
    "bytes",
    "architecture",
    "precision",
    "licence",
    "run",
    "step",
    "created",
)
WHOLE_FACTS = ("parameters", "bytes", "step")
MOST_PARAMETERS = 10_000
"""Of one statement; SQLite takes 32,766."""


@dataclass(slots=True)
class Registration:
    """What is to be registered, checked: see `registration`, which makes one from plain values."""

    name: str | None = None
    version: int | None = None
    digest: bytes | None = None
    places: tuple[tuple[str, str | None], ...] = ()
    files: Mapping[str, Sequence[File]] = field(default_factory=dict)  # by place
    parents: tuple[Parent, ...] = ()
    relation: str | None = None
    scores: tuple[Score, ...] = ()
    power: tuple[PowerCost, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    epigenetic: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    configuration: configurations.Documents = field(default_factory=dict)
    ghost: bool = False
    lost: bool = False  # its files went before anybody read them: no other organism is this one
    exact: bool = False  # the names of its parents are exact, as on the Hub: no evidence `named`
    # What only an import brings. It tells of another registry: there, a name has the version that
    # it has, a path is on some other disk, and its own events say what happened.
    imported: bool = False
    status: str = "alive"
    protected: bool = False
    registered: int | None = None
    retracted: str | None = None
    gone: Mapping[str, int] = field(default_factory=dict)
    culled: Mapping[tuple[str, str], tuple[str, int, int | None]] = field(default_factory=dict)
    more_names: tuple[tuple[str, int], ...] = ()
    leases: tuple[tuple[str, int], ...] = ()
    events: tuple[tuple[str, int, tuple[str, str, int, str], str], ...] = ()


@dataclass(slots=True)
class Registered:
    """What became of a registration: the organism, whether it is new, whether anything changed; its
    parents in their order; the links that were set aside because they would have closed a cycle,
    and the aliases of an import (name, alias) that another organism holds. `told`: that one event
    tells all of it."""

    id: int
    created: bool
    changed: bool = True
    told: bool = True
    parents: list[int] = field(default_factory=list)
    refused: list[links.Refused] = field(default_factory=list)
    held: list[tuple[str, str]] = field(default_factory=list)


def registration(
    *,
    name: str | None = None,
    digest: str | None = None,
    place: Any = None,
    files: Sequence[File] = (),
    parents: Any = None,
    relation: str | None = None,
    fitness: Any = None,
    power: Any = None,
    tags: Mapping[str, Any] | None = None,
    aliases: str | Iterable[str] | None = None,
    kind: str = "genomic",
    configuration: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Registration:
    """A Registration from the plain values that `Registry.register` takes. Every bad value is an
    InvalidValue that names it; nothing is written."""
    if relation is not None:
        one_of(relation, RELATIONS, "relation")
    unknown = facts.keys() - FACTS
    if unknown:
        raise InvalidValue(
            f"{', '.join(sorted(unknown))}: register knows no such thing. It knows: "
            f"{', '.join(FACTS)}; anything else can be a tag."
        )
    new = Registration(
        name=None if name is None else text(name, "name"),
        digest=None if digest is None else digest_bytes(digest),
        parents=as_parents(parents),
        relation=relation,
        scores=as_scores(fitness),
        power=as_power(power),
        aliases=tuple(map(check_alias, _several(aliases))),
        epigenetic=one_of(kind, ORGANISM_KINDS, "kind") == "epigenetic",
        facts=as_facts(facts),
        configuration=configurations.documents(configuration),
    )
    new.tags = {text(k, "tag"): text(str(v), "the value of a tag") for k, v in (tags or {}).items()}
    new.places = tuple((uri, this_host() if is_local(uri) else None)
                       for uri in map(place_uri, _several(place)))  # fmt: skip
    if files:
        new.files = {new.places[0][0]: files}
    if new.name is None and new.digest is None and not new.places:
        raise InvalidValue("an organism needs a path, a name, a digest or a place to be known by.")
    if new.aliases and new.name is None:
        raise InvalidValue("an alias belongs to a name: give the name too.")
    return new


def as_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in facts.items():
        if value is None:
            continue
        if key in WHOLE_FACTS:
            known[key] = whole(value, key)
        elif key == "created":
            known[key] = micros(utc(value, key))
        else:
            known[key] = text(value, key)
    return known


def _several(value: Any) -> Iterable[Any]:
    """One value, several, or none, as several."""
    if value is None:
        return ()
    return value if isinstance(value, (list, tuple, set, frozenset)) else (value,)


def as_parents(parents: Any) -> tuple[Parent, ...]:
    if isinstance(parents, Mapping):  # {reference: weight}
        return tuple(Parent(ref, weight=finite(w, f"the weight of {ref!r}"))
                     for ref, w in parents.items())  # fmt: skip
    found = tuple(one if isinstance(one, Parent) else Parent(one) for one in _several(parents))
    for one in found:
        if isinstance(one.ref, str):
            text(one.ref, "a reference to a parent")
        elif not isinstance(one.ref, (Organism, os.PathLike)):
            raise InvalidValue(
                f"{one.ref!r} is no reference to a parent. Give a name, digest, place or Organism."
            )
    return found


def as_power(power: Any) -> tuple[PowerCost, ...]:
    costs = tuple(power) if isinstance(power, (list, tuple)) else tuple(_several(power))
    for one in costs:
        if not isinstance(one, PowerCost):
            raise InvalidValue(
                f"{one!r} is not a power cost. Give lineage.PowerCost(joules=...), or several."
            )
    return costs


def as_scores(fitness: Any) -> tuple[Score, ...]:
    if not fitness:
        return ()
    if isinstance(fitness, Score):
        return (fitness,)
    if isinstance(fitness, Mapping):
        scores = []
        for niche, value in fitness.items():
            if isinstance(value, Score) and str(value.niche) != str(niche):
                raise InvalidValue(f"the score of {value.niche} was given under {niche}.")
            scores.append(value if isinstance(value, Score) else Score(niche, value))
        return tuple(scores)
    scores = list(fitness)
    for one in scores:
        if not isinstance(one, Score):
            raise InvalidValue(
                f"{one!r} is not a score. Give fitness={{'task/metric': 0.61}}, or a list of "
                "lineage.Score."
            )
    return tuple(scores)


def register(
    act: Act,
    wanted: Sequence[Registration],
    on_error: Callable[[int, LineageError], None] | None = None,
) -> list[Registered | None]:
    """Register a batch in the transaction of `act`. An entry that cannot be registered raises, or
    goes to `on_error(index, error)` and is None in the result, while the rest goes in."""
    result: list[Registered | None] = []
    with uncollected():
        batch = _Batch(act, wanted)
        for index, one in enumerate(wanted):
            try:
                result.append(batch.take(one))
            except LineageError as error:
                if on_error is None:
                    raise
                on_error(index, error)
                result.append(None)
        with act.connection.sending(len(wanted)):
            batch.write()
    return result


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection meanwhile. A batch makes a hundred thousand objects, none of them
    in circles; to look through them again and again was half of the time of its registration."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _at_hub(new: Registration) -> bool:
    return any(uri.startswith("hf:") for uri, _ in new.places)


def _is_place(ref: str) -> bool:
    """Whether a reference is written as a place."""
    return ref.startswith(("hf:", "/", "./", "../", "~")) or bool(URI.match(ref))


def _also(uri: str) -> tuple[str, ...]:
    """The places at which what is at `uri` may be waited for: `hf:org/name@revision` is what a
    reference to `hf:org/name` means too."""
    repository, at, _ = uri.rpartition("@")
    return (uri, repository) if at and uri.startswith("hf:") else (uri,)


@dataclass(slots=True)
class _Known:
    """What the registry holds of an organism that a batch may mean."""

    digest: bytes | None
    ghost: bool
    epigenetic: bool
    protected: bool
    status: str
    facts: set[str]
    hub: bool = False  # without a digest, it is known by an hf: place
    retracted: bool = False


class _Batch:
    """The state of one batch: what was read, kept true as entries are taken, and rows to write."""

    def __init__(self, act: Act, wanted: Sequence[Registration]) -> None:
        self.act = act
        self.connection = act.connection
        self.digests: dict[bytes, int] = {}
        self.latest: dict[str, tuple[int, int]] = {}  # name: (version, organism)
        self.versions: dict[tuple[str, int], int] = {}
        self.highest: dict[str, int] = {}  # of all that ever were
        self.at_place: defaultdict[str, list[int]] = defaultdict(list)  # who is there now
        self.ever_at: defaultdict[str, list[int]] = defaultdict(list)  # who is or was there
        self.known: dict[int, _Known] = {}
        self.in_hand: dict[int, int] = {}  # parents given as organisms, and what each is by now
        self.names_of: defaultdict[int, set[str]] = defaultdict(set)
        self.name_counts: defaultdict[int, int] = defaultdict(int)
        self.place_ids: dict[tuple[int, str], int] = {}
        self.fresh: set[int] = set()
        self.ranks = links.Ranks(act.connection)
        self.redirect: dict[int, int] = {}

        self.organisms: list[list[Any]] = []
        self.rows_of: dict[int, list[Any]] = {}
        self.updates: list[tuple[Any, ...]] = []
        self.names: list[tuple[Any, ...]] = []
        self.places: list[tuple[Any, ...]] = []
        self.files: list[tuple[Any, ...]] = []
        self.edges: list[tuple[int, int, str, float | None, int]] = []
        self.evidence: list[tuple[Any, ...]] = []
        self.told_files: list[tuple[Any, ...]] = []
        self.told_places: list[tuple[Any, ...]] = []
        # late links, and organisms to be made one as (keep, other), in the order they were found
        self.late: list[tuple[int, int, str, Parent, bool] | tuple[int, int]] = []
        self.scores: list[tuple[int, Score]] = []
        self.power: list[tuple[int, PowerCost]] = []
        self.whose: dict[tuple[int, int], Registered] = {}  # (organism, id of a late part)
        self.tags: list[tuple[Registered, str, str]] = []
        self.aliases: list[tuple[int, str]] = []
        self.told_aliases: list[tuple[Registered, str, str]] = []
        self.leases: list[tuple[Registered, str, int]] = []
        self.configurations: list[tuple[Registered, configurations.Documents]] = []
        self.told_culled: list[tuple[Any, ...]] = []
        self.gone: list[tuple[int, str]] = []
        self.retracted: list[tuple[str | None, int]] = []
        self.protected: list[tuple[int]] = []
        self.back: list[tuple[int]] = []
        self.hosts: list[tuple[str | None, int, str | None]] = []
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.settle: set[tuple[int, int]] = set()  # pairs with more than one evidence
        self.here: set[int] = set()  # organisms whose `here` is to be looked at again
        self.old_events: list[tuple[Registered, str, int, tuple[str, str, int, str], str]] = []
        self.results: dict[int, list[Registered]] = defaultdict(list)
        self._read(wanted)

    # reading what a batch may mean

    def _read(self, wanted: Sequence[Registration]) -> None:
        digests = {one.digest for one in wanted if one.digest}
        names = {one.name for one in wanted if one.name}
        pairs = {(o.name, o.version) for o in wanted if o.name and o.version}
        places = {each for one in wanted for uri, _ in one.places for each in _also(uri)}
        for one in wanted:
            pairs.update(one.more_names)
            for parent in one.parents:
                if isinstance(parent.ref, Organism):
                    self.in_hand[parent.ref.id] = parent.ref.id
                else:
                    self._read_ref(parent.ref, digests, names, pairs, places)
        self._read_digests(list(digests))
        self._read_names({*names, *(name for name, _ in pairs)}, pairs)
        self._read_places(places)
        self._read_known()
        if self.in_hand:
            self.in_hand = self.ranks.load_parents(self.in_hand)
        self.next_organism = self.act.next_id("organism")
        self.next_place = self.act.next_id("place") if self.place_use(wanted) else 0

    @staticmethod
    def place_use(wanted: Sequence[Registration]) -> bool:
        return any(o.places or any(not isinstance(p.ref, Organism) for p in o.parents)
                   for o in wanted)  # fmt: skip

    def _read_ref(
        self,
        ref: Any,
        digests: set[bytes],
        names: set[str],
        pairs: set[tuple[str, int]],
        places: set[str],
    ) -> None:
        """Note what is to be read for a reference to a parent."""
        if isinstance(ref, Ghost):
            if ref.digest:
                digests.add(ref.digest)
            elif ref.place:
                places.add(ref.place)
            elif ref.name and ref.version:
                pairs.add((ref.name, ref.version))
        elif isinstance(ref, str) and ref not in names:
            names.add(ref)
            stem, _, end = ref.rpartition("@")
            if stem and (version := VERSION.match(end)):
                pairs.add((stem, int(version[1])))
            elif stem:
                names.add(stem)
            if (match := HEX.match(ref)) and len(match[1]) == 64:
                digests.add(bytes.fromhex(match[1]))
            elif _is_place(ref):
                places.add(place_uri(ref))

    def _read_digests(self, digests: list[bytes]) -> None:
        for start in range(0, len(digests), MOST_PARAMETERS):
            where, params = self.connection.one_of(
                "digest", digests[start : start + MOST_PARAMETERS]
            )
            for own, digest in self.connection.rows(
                f"SELECT id, digest FROM organism WHERE {where}", params
            ):
                self.digests[bytes(digest)] = own

    def _read_names(self, names: set[str], pairs: set[tuple[str, int]]) -> None:
        if names:
            for name, version, own, vacated in self.connection.rows(
                f"""SELECT i.id, n.version, n.organism, v.version
                    FROM {self.connection.texts} AS i
                    LEFT JOIN name n ON n.name = i.id AND n.version =
                      (SELECT max(m.version) FROM name m WHERE m.name = i.id)
                    LEFT JOIN vacated v ON v.name = i.id""",
                (self.connection.pack(names),),
            ):
                if version is not None:
                    self.latest[name] = (version, own)
                self.highest[name] = max(version or 0, vacated or 0)
        for name, version in sorted(pairs):
            top = self.latest.get(name)
            if top is None or version > top[0]:
                continue
            if version == top[0]:
                self.versions[name, version] = top[1]
            elif own := self.connection.value(
                "SELECT organism FROM name WHERE name = ? AND version = ?", (name, version)
            ):
                self.versions[name, version] = own

    def _read_places(self, places: set[str]) -> None:
        if places:
            for own, uri, place, gone_at in self.connection.rows(
                f"""SELECT p.organism, p.uri, p.id, p.gone_at FROM {self.connection.ids} AS i
                    JOIN place p ON p.hash = i.id ORDER BY p.id""",
                (self.connection.pack(set(map(place_hash, places))),),
            ):
                if uri not in places:
                    continue
                if gone_at is None:
                    self.at_place[uri].append(own)
                self.ever_at[uri].append(own)
                self.place_ids[own, uri] = place

    def _read_known(self) -> None:
        ids = {*self.digests.values(), *(own for _, own in self.latest.values())}
        ids |= {*self.versions.values(), *(o for at in self.ever_at.values() for o in at)}
        if not ids:
            return
        packed = self.connection.pack(ids)
        for own, digest, status, *rest in self.connection.rows(
            f"""SELECT o.id, o.digest, o.status, o.ghost, o.epigenetic, o.protected,
                  CASE WHEN o.digest IS NULL AND EXISTS (SELECT 1 FROM place p
                    WHERE p.organism = o.id AND p.uri LIKE 'hf:%') THEN 1 ELSE 0 END,
                  CASE WHEN o.retracted IS NULL THEN 0 ELSE 1 END,
                  {", ".join(f"o.{fact}" for fact in FACTS)}
                FROM {self.connection.ids} AS i JOIN organism o ON o.id = i.id""",
            (packed,),
        ):
            digest = None if digest is None else bytes(digest)
            known = {fact for fact, value in zip(FACTS, rest[5:], strict=True) if value is not None}
            ghost, epigenetic, protected, hub, retracted = map(bool, rest[:5])
            self.known[own] = _Known(
                digest, ghost, epigenetic, protected, status, known, hub, retracted
            )
        for own, name in self.connection.rows(
            f"""SELECT n.organism, n.name FROM {self.connection.ids} AS i
                JOIN name n ON n.organism = i.id""",
            (packed,),
        ):
            self.names_of[own].add(name)
            self.name_counts[own] += 1
        self.ranks.update(links.load_ranks(self.connection, ids))

    # deciding, entry by entry

    def take(self, new: Registration) -> Registered:
        """Decide what a registration means and note what is to be written."""
        # what may raise comes first: nothing is noted of an entry that is refused
        for score in new.scores:
            self.act.niche(score.niche, score.direction)  # type: ignore[arg-type]
        known_by = new.digest.hex() if new.digest else new.name or new.places[0][0]
        power = [with_uuid(cost, f"{known_by}/") for cost in new.power]
        meant = [self._parent(parent.ref, new.exact) for parent in new.parents]
        target, others = self._target(new)
        linked: list[tuple[int, str, Parent, bool]] = []
        parents: list[int | None] = []
        for parent, how in zip(meant, new.parents, strict=True):
            if self._is_self(parent, how.ref, new, target):
                parents.append(None)
            else:
                linked.append(self._link(parent, how, new))
                parents.append(linked[-1][0])
        if target is None:
            target = self._create(new, linked)
            done = Registered(target, True)
            if not new.events:
                kind = "ghost" if new.ghost else "registered"
                self.events.append((target, kind, self._body(new)))
        else:
            done = self._unite(target, new, linked)
        done.parents = [target if parent is None else parent for parent in parents]
        done.refused = [links.Refused(target, target, (target,)) for p in parents if p is None]
        for other in others:
            self.late.append((target, other))
            self.fresh.discard(target)  # it has what the other one had
            self.names_of[target] |= self.names_of[other]
            self.known[target].hub |= self._waits(target) and self.known[other].hub
            for own, became in self.redirect.items():
                if became == other:
                    self.redirect[own] = target
            self.redirect[other] = target
            done.changed = True
        self._name(done, new)
        self._place(done, new)
        self.scores += [(target, score) for score in new.scores]
        self.power += [(target, cost) for cost in power]
        self.tags += [(done, key, value) for key, value in new.tags.items()]
        self.leases += [(done, holder, until) for holder, until in new.leases]
        if new.configuration:
            self.configurations.append((done, new.configuration))
        if not done.created:
            late: Iterable[Any] = (*new.scores, *power, *(how for *_, how, _ in linked))
            self.whose.update(((target, id(one)), done) for one in late)
        if new.imported:
            self.old_events += [(done, *event) for event in new.events]
            self._tell_aliases(done, new)
        else:
            self.aliases += [(target, one) for one in new.aliases]
        self.results[target].append(done)
        return done

    @staticmethod
    def _is_self(meant: int | Ghost, ref: Any, new: Registration, target: int | None) -> bool:
        """Whether a parent is the very organism that is being registered."""
        if isinstance(meant, int):
            return meant == target
        if meant.digest:
            return meant.digest == new.digest
        if meant.place:
            known_else = isinstance(ref, Ghost) and (new.name or new.digest)
            return not known_else and meant.place in dict(new.places)
        return meant.name == new.name and meant.version in (None, new.version)

    def _link(
        self, meant: int | Ghost, how: Parent, new: Registration
    ) -> tuple[int, str, Parent, bool]:
        """A link to be made: parent, relation, how it is known, whether it is needed to run."""
        if isinstance(meant, Ghost):  # the parent before may have been the same
            meant = self._parent(how.ref, new.exact)
        parent = meant if isinstance(meant, int) else self._ghost(meant, how.ref, new)
        relation = relation_of(how, len(new.parents), new.relation)
        needed = is_needed(how, relation, new.epigenetic)
        # one import is one document, which says itself how it knows
        bare = not (new.imported or new.exact) and self._by_bare_name(parent, how.ref)
        if how.evidence == "declared" and bare:
            how = replace(how, evidence="named")
        return parent, relation, how, needed

    def _by_bare_name(self, parent: int, ref: Any) -> bool:
        """Whether all that is known of a parent is the name that this reference gives."""
        known = self.known.get(parent)
        return bool(known and known.ghost and ref in self.names_of[parent])

    def _target(self, new: Registration) -> tuple[int | None, list[int]]:
        """The organism that a registration means, None for a new one; and others that turn out to
        be the same."""
        waiting = [own for uri, _ in new.places for own in self._waiting_at(uri, new)]
        if new.lost:
            waiting = list(dict.fromkeys(own for own in waiting if self.known[own].ghost))
            return (waiting[0] if waiting else None), waiting[1:]
        if not new.imported:  # that is a document, which says itself who is the same
            waiting += [own for uri, _ in new.places for own in self._waiting_for_any(uri)]
        named = self._named(new)
        if new.digest is not None:
            target = self.digests.get(new.digest)
            if named is not None and self._waits(named):
                waiting.append(named)
        else:
            elsewhere = [uri for uri, _ in new.places if not is_local(uri)]
            here = [self._now(own) for uri in elsewhere for own in self.at_place.get(uri, ())]
            target = min(here, key=self._seen_by_nobody, default=None)
            if target is None and named is not None:
                if not (_at_hub(new) and self.known[named].hub):
                    target = named
            elif target is None and new.imported and new.name is None:
                only = (self._known_by_place(uri) for uri, _ in new.places)
                target = next((own for own in only if own is not None), None)
        waiting = [own for own in dict.fromkeys(waiting) if own != target]
        if target is None and waiting:
            target, *waiting = waiting
        return target, waiting

    def _waiting_at(self, uri: str, new: Registration) -> list[int]:
        """The organisms without a digest at a place of a registration. A path that an import names
        may be on any disk: it makes nothing the same."""
        if uri in new.gone or (new.imported and is_local(uri)):
            return []
        # What was named without files is known by its name: other files may come to its path.
        return [
            own
            for own in map(self._now, self.at_place[uri])
            if self._seen_by_nobody(own)
            and (
                not is_local(uri)
                or (self._waits(own) and (self.known[own].ghost or not self.names_of[own]))
            )
        ]

    def _waiting_for_any(self, uri: str) -> list[int]:
        """The ghosts that wait for a repository of the Hub whatever its revision."""
        return [
            own
            for stem in _also(uri)[1:]
            for own in map(self._now, self.at_place.get(stem, ()))
            if self._waits(own) and self.known[own].ghost
        ]

    def _known_by_place(self, uri: str) -> int | None:
        """The organism of which nothing but this place is known."""
        return next((own for own in map(self._now, self.ever_at[uri])
                     if self._seen_by_nobody(own) and not self.names_of[own]),
                    None)  # fmt: skip

    def _seen_by_nobody(self, own: int) -> bool:
        """Whether no files of it were ever seen: it has no digest."""
        return self.known[own].digest is None

    def _waits(self, own: int) -> bool:
        """Whether a digest may still come to be known. Files that are gone have none any more: what
        comes under their name or to their path is something else."""
        return self._seen_by_nobody(own) and self.known[own].status != "culled"

    def _named(self, new: Registration) -> int | None:
        if new.name is None:
            return None
        if new.version is not None:
            own = self.versions.get((new.name, new.version))
            return None if own is None else self._now(own)
        top = self.latest.get(new.name)
        return None if top is None else self._now(top[1])

    def _parent(self, ref: Any, exact: bool = False) -> int | Ghost:
        """The organism that a reference to a parent fits, seen as of this entry, or the ghost that
        it makes. Ambiguous references and unknown aliases raise. A Ghost fits exactly what it says,
        and where names are exact, a name is nothing else.
        """
        if isinstance(ref, Organism):
            own = self.in_hand.get(ref.id)
            return resolve(self.connection, ref) if own is None else self._now(own)
        if isinstance(ref, Ghost):
            return self._exactly(ref)
        if exact:
            top = self.latest.get(ref)  # all names of the batch were read
            return Ghost(name=ref) if top is None else self._now(top[1])
        if isinstance(ref, str):
            own = self._parent_at_hand(ref)
            if own is not None:
                return own
            if (match := HEX.match(ref)) and len(match[1]) == 64:
                return ghost_of(ref)
        found = {self._now(own) for own in search(self.connection, ref)}
        found = self._with_batch(ref, found)
        if len(found) == 1:
            return found.pop()
        if found:
            raise Ambiguous(
                f"{str(ref)!r} fits {len(found)} organisms. Give a name, a version or a digest."
            )
        ghost = ghost_of(ref)
        if ghost.name in self.latest and ghost.version is None:
            return self._now(self.latest[ghost.name][1])
        if ghost.name and ghost.version is None and "@" in ghost.name:
            stem, _, end = ghost.name.rpartition("@")
            for own, alias in self.aliases:
                if alias == end and stem in self.names_of[own]:
                    return own
            if stem in self.latest:
                raise InvalidValue(f"{stem!r} has no version or alias {end!r} yet.")
        return ghost

    def _with_batch(self, ref: str | os.PathLike[str], found: set[int]) -> set[int]:
        """The organisms that a reference fits, given those that it fits in the registry as it was
        before this batch: places change hands in a batch, and digests come in."""
        match = HEX.match(ref) if isinstance(ref, str) else None
        if match:
            low, high = (bytes.fromhex(match[1].ljust(64, end)) for end in "0f")
            return found | {
                self._now(own) for digest, own in self.digests.items() if low <= digest <= high
            }
        if found and isinstance(ref, str) and not _is_place(ref):
            return found  # by an alias, which comes before a place
        uri = place_uri(ref)
        if uri.startswith("hf:") and "@" not in uri:
            revisions = [one for one in self.ever_at if one == uri or one.startswith(f"{uri}@")]
        else:
            revisions = [uri] if uri in self.ever_at else []
        if not revisions:
            return found
        at = [self._now(own) for one in revisions for own in self.at_place.get(one, ())]
        if not at and not found:
            at = [self._now(self.ever_at[one][-1]) for one in revisions[-1:]]
        if uri in self.ever_at:  # all of this place was read
            return set(at)
        return found | set(at)

    def _exactly(self, ghost: Ghost) -> int | Ghost:
        own: int | None
        if ghost.digest:
            own = self.digests.get(ghost.digest)
        elif ghost.place:
            own = self._known_by_place(ghost.place)
        else:
            assert ghost.name is not None
            assert ghost.version is not None
            own = self.versions.get((ghost.name, ghost.version))
        return ghost if own is None else self._now(own)

    def _parent_at_hand(self, ref: str) -> int | None:
        """The organism that a reference fits, where what was read for the batch tells."""
        if ref.startswith("hf:"):
            at = self.at_place.get(ref, ()) if "@" in ref else ()
            return self._now(at[0]) if len(at) == 1 else None
        by_name = None
        if ref in self.latest:
            by_name = self.latest[ref][1]
        else:
            stem, _, end = ref.rpartition("@")
            if stem and (version := VERSION.match(end)):
                by_name = self.versions.get((stem, int(version[1])))
        match = HEX.match(ref)
        by_digest = None
        if match:
            if len(match[1]) == 64:
                by_digest = self.digests.get(bytes.fromhex(match[1]))
            elif by_name is not None:
                return None  # let the full search say whether it is ambiguous
        found = by_digest if by_name is None else by_name
        if by_name is not None and by_digest not in (None, by_name):
            return None
        return None if found is None else self._now(found)

    def _new_id(self) -> int:
        own, self.next_organism = self.next_organism, self.next_organism + 1
        self.fresh.add(own)
        return own

    def _ghost(self, ghost: Ghost, ref: Any, new: Registration) -> int:
        own = self._new_id()
        self.ranks[own] = (0, own)
        hub = bool(ghost.place and ghost.place.startswith("hf:"))
        self.known[own] = _Known(ghost.digest, True, False, False, "alive", set(), hub)
        self._row([own, ghost.digest, "alive", 1, 0, 0, 0, 0, own, *(None,) * (len(FACTS) + 1)])
        if ghost.digest:
            self.digests[ghost.digest] = own
        if ghost.name:
            self._give_name(own, ghost.name, ghost.version or 1)
        if ghost.place:
            self._give_place(own, ghost.place, None, None)
        if not new.imported:  # there, a line may follow that tells what happened to it
            self.events.append((own, "ghost", {"ref": str(ref)}))
        return own

    def _row(self, row: list[Any]) -> None:
        self.organisms.append(row)
        self.rows_of[row[0]] = row

    def _create(
        self, new: Registration, linked: Sequence[tuple[int, str, Parent, bool]]
    ) -> int:
        own = self._new_id()
        parents = list(dict.fromkeys(parent for parent, *_ in linked))
        rank = links.rank_below(parents, own, self.ranks)
        self.ranks[own] = rank
        self.known[own] = _Known(
            new.digest, new.ghost, new.epigenetic, new.protected, new.status, set(new.facts),
            new.digest is None and _at_hub(new), new.retracted is not None,
        )  # fmt: skip
        self._row(
            [
                own, new.digest, new.status, int(new.ghost), int(new.epigenetic),
                int(new.protected), 0, *rank, *map(new.facts.get, FACTS),
                self._registered(new),
            ]
        )  # fmt: skip
        if new.retracted is not None:
            self.retracted.append((new.retracted, own))
        if new.digest:
            self.digests[new.digest] = own
        seen: set[int] = set()
        keys: set[tuple[int, str, str]] = set()
        for parent, relation, how, needed in linked:
            if parent not in seen:
                seen.add(parent)
                self.edges.append((own, parent, relation, how.weight, int(needed)))
            if (parent, relation, how.evidence) not in keys:
                keys.add((parent, relation, how.evidence))
                self.evidence.append(
                    (own, parent, relation, how.evidence, how.confidence, how.weight)
                )
        if len(keys) > len(seen):
            self.settle |= {(own, parent) for parent in seen}
        return own

    def _unite(
        self, own: int, new: Registration, linked: Sequence[tuple[int, str, Parent, bool]]
    ) -> Registered:
        """Add what is new of an organism that is known."""
        known = self.known[own]
        became = known.ghost and not new.ghost
        identified = new.digest is not None and known.digest is None
        facts = {fact: value for fact, value in new.facts.items() if fact not in known.facts}
        protected = new.protected and not known.protected
        epigenetic = new.epigenetic and not known.epigenetic
        status = new.status if known.ghost and new.status != known.status else None
        done = Registered(own, False, False, became or (known.ghost and bool(new.events)))
        if protected:
            self.protected.append((own,))
        if became or identified or facts or epigenetic or status:
            done.changed = True
            self.updates.append(
                (
                    new.digest, int(known.ghost and new.ghost),
                    *map(new.facts.get, FACTS),
                    self._registered(new), status, int(new.epigenetic), own,
                )
            )  # fmt: skip
        self.late += [(own, *rest) for rest in linked]
        if became and known.retracted:
            self.retracted.append((None, own))
        if became and not new.events:
            self.events.append((own, "registered", self._body(new) | {"was": "ghost"}))
        if new.digest is not None and identified:
            self.digests[new.digest] = own
            self._note(done, "identified", {"digest": new.digest.hex()})
        if facts:
            self._note(done, "described", facts)
        if protected:
            self._note(done, "protected", {})
        self.known[own] = _Known(
            known.digest or new.digest, known.ghost and new.ghost, known.epigenetic or epigenetic,
            known.protected or protected, status or known.status, known.facts | facts.keys(),
            not (known.digest or new.digest) and (known.hub or _at_hub(new)),
            known.retracted and not became,
        )  # fmt: skip
        return done

    def _registered(self, new: Registration) -> int | None:
        if new.ghost:
            return None
        return self.act.at if new.registered is None else new.registered

    def _note(self, done: Registered, kind: str, body: dict[str, Any]) -> None:
        """Note a change, with an event where no other one tells of it."""
        done.changed = True
        if not done.told:
            self.events.append((done.id, kind, body))

    def _body(self, new: Registration) -> dict[str, Any]:
        """What the event of a registration tells: all that was given, with the numbers."""
        body: dict[str, Any] = {}
        if new.name:
            body["name"] = new.name
        if new.digest:
            body["digest"] = new.digest.hex()
        if new.places:
            body["places"] = [uri for uri, _ in new.places]
        if new.parents:
            body["parents"] = [
                link_body(
                    p.ref.ref if isinstance(p.ref, Organism) else str(p.ref),
                    relation_of(p, len(new.parents), new.relation),
                    p,
                )
                for p in new.parents
            ]
        if new.scores:
            body["fitness"] = [score_body(score) for score in new.scores]
        if new.power:
            body["power"] = [power_body(cost) for cost in new.power]
        return body

    def _name(self, done: Registered, new: Registration) -> None:
        """Give an organism its names. One that bears a name already gets no other version of it,
        unless it is new and an import says so."""
        own = done.id
        names = [(new.name, new.version)] if new.name else []
        for name, version in (*names, *new.more_names):
            holder = self.versions.get((name, version)) if version else None
            if holder is not None and self._now(holder) == own:
                continue
            free = version is not None and holder is None
            if name in self.names_of[own] and not (free and done.told):
                continue
            if version is None or not free:
                version = self.highest.get(name, 0) + 1
            self._give_name(own, name, version)
            self._note(done, "named", {"name": name, "version": version})

    def _give_name(self, own: int, name: str, version: int) -> None:
        rank = self.name_counts[own]
        self.name_counts[own] = rank + 1
        self.names.append((name, version, own, rank))
        self.names_of[own].add(name)
        self.versions[name, version] = own
        self.highest[name] = max(self.highest.get(name, 0), version)
        if name not in self.latest or self.latest[name][0] < version:
            self.latest[name] = (version, own)

    def _place(self, done: Registered, new: Registration) -> None:
        own = done.id
        for uri, host in new.places:
            gone_at = new.gone.get(uri)
            living = gone_at is None
            local = is_local(uri)
            read = local or (uri in new.files and not uri.startswith("hf:"))
            if living and read and new.digest is not None and not new.imported:
                # other bytes are there now
                self.gone += [(o, uri) for o in self.at_place[uri] if self._now(o) != own]
                self.at_place[uri] = [o for o in self.at_place[uri] if self._now(o) == own]
            place = self.place_ids.get((own, uri))
            if place is None:
                place = self._give_place(own, uri, host, gone_at)
                self._note(done, "placed", {"place": uri})
            elif new.imported:
                gone_at = gone_at if done.told else None
                self.told_places.append((host, gone_at, place))
                if gone_at is not None:
                    self.at_place[uri] = [o for o in self.at_place[uri] if o != own]
            elif living and own not in self.at_place[uri]:
                self.back.append((place,))
                self.at_place[uri].append(own)
                self._note(done, "placed", {"place": uri})
            elif local and uri in new.files:  # it was seen from this host
                self.hosts.append((host, place, host))
            files = self.told_files if new.imported else self.files
            files += [
                (place, f.path, f.bytes, bytes.fromhex(f.sha256), int(f.genome), f.modified)
                for f in new.files.get(uri, ())
            ]
            self.told_culled += [
                (place, path, *how) for (at, path), how in new.culled.items() if at == uri
            ]
            if living and local and not self.known[own].ghost:
                if own in self.rows_of:
                    self.rows_of[own][6] = 1
                else:
                    self.here.add(own)

    def _give_place(self, own: int, uri: str, host: str | None, gone_at: int | None) -> int:
        place, self.next_place = self.next_place, self.next_place + 1
        self.places.append((place, own, place_hash(uri), uri, host, gone_at))
        self.place_ids[own, uri] = place
        self.ever_at[uri].append(own)
        if gone_at is None:
            self.at_place[uri].append(own)
        return place

    def _tell_aliases(self, done: Registered, new: Registration) -> None:
        """Note the aliases of an import: `alias` for all its names, `name@alias` for one."""
        for one in new.aliases:
            name, at, alias = one.rpartition("@")
            names = [name] if at else sorted(self.names_of[done.id])
            self.told_aliases += [(done, each, alias) for each in names]

    def _now(self, own: int) -> int:
        """The organism that `own` has become, where this batch found it to be the same as another.
        """
        return self.redirect.get(own, own)

    # writing

    def write(self) -> None:
        many = self.connection.many
        many(INSERT_ORGANISM, self.organisms)
        many(UPDATE_ORGANISM, self.updates)
        self.act.touch((one[-1] for one in self.updates), costs_too=True)
        many("UPDATE organism SET retracted = ? WHERE id = ?", self.retracted)
        many("UPDATE organism SET protected = 1 WHERE id = ?", self.protected)
        many("INSERT INTO name (name, version, organism, rank) VALUES (?, ?, ?, ?)", self.names)
        many(
            "INSERT INTO place (id, organism, hash, uri, host, gone_at) VALUES (?, ?, ?, ?, ?, ?)",
            self.places,
        )
        many("UPDATE place SET gone_at = NULL WHERE id = ?", self.back)
        many(
            "UPDATE place SET host = ? WHERE id = ? AND (host IS NULL OR host <> ?)", self.hosts
        )
        many(
            "UPDATE place SET host = coalesce(host, ?), gone_at = coalesce(gone_at, ?) "
            "WHERE id = ?",
            self.told_places,
        )
        many(UPSERT_FILE, self.files)
        many(INSERT_FILE, self.told_files)
        many(
            "INSERT INTO quarantine (place, path, folder, at, emptied_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (place, path) DO NOTHING",
            self.told_culled,
        )
        many(
            "INSERT INTO edge (child, parent, relation, weight, needed) VALUES (?, ?, ?, ?, ?)",
            self.edges,
        )
        many(INSERT_EVIDENCE, self.evidence)
        self._write_late()
        self._write_gone()
        scores = [(self._now(own), score) for own, score in self.scores]
        for own, score in self.act.add_scores(scores, self.fresh) if scores else ():
            if done := self.whose.get((own, id(score))):
                self._note(done, "scored", score_body(score))
        power = [(self._now(own), cost) for own, cost in self.power]
        for own, cost in self.act.add_power(power, self.fresh) if power else ():
            if done := self.whose.get((own, id(cost))):
                self._note(done, "metered", power_body(cost))
        self._write_standings(scores, power)
        self._write_tags()
        self._write_configurations()
        self._write_told_aliases()
        self._write_leases()
        self._write_old_events()
        if self.here:
            self.act.set_places_here(self.here)
        if self.events:
            self.act.events(self.events)
        for own, alias in self.aliases:  # after the event that says that it was registered
            set_alias(self.act, self._now(own), alias)

    def _write_late(self) -> None:
        """Add late links and make organisms one, in the order they were found: which link closes a
        cycle depends on it."""
        self.act.settle_links(self.settle)
        wanted: list[tuple[int, int, str, Parent, bool]] = []
        for one in self.late:
            if len(one) == 2:
                self._add_links(wanted)
                wanted = []
                self._absorb(*one)
            else:
                wanted.append(one)
        self._add_links(wanted)

    def _add_links(self, wanted: list[tuple[int, int, str, Parent, bool]]) -> None:
        if not wanted:
            return
        added, refused = self.act.add_links(wanted)
        for child, parent, relation, how in added:
            if done := self.whose.get((child, id(how))):
                body = {} if done.told else link_body(self.act.label(parent), relation, how)
                self._note(done, "linked", body)
        for one in refused:
            self.refuse(one)

    def refuse(self, one: links.Refused) -> None:
        """Tell the registrations that gave a link that it was set aside."""
        known = self.results[one.child]
        gave = [done for done in known if one.parent in done.parents]
        for done in gave or known[-1:]:
            done.refused.append(one)

    def _write_gone(self) -> None:
        if self.gone:
            gone = [(self._now(own), uri) for own, uri in self.gone]
            self.connection.many(
                "UPDATE place SET gone_at = ? WHERE organism = ? AND uri = ?",
                [(self.act.at, own, uri) for own, uri in gone],
            )
            self.act.set_places_here(own for own, _ in gone)
            self.events += [(own, "gone", {"place": uri}) for own, uri in gone]

    def _write_standings(
        self, scores: Sequence[tuple[int, Score]], power: Sequence[tuple[int, PowerCost]]
    ) -> None:
        """The standings of what is new and needs no other to run are told here; the rest is for
        the end of the act."""
        scored: dict[int, list[tuple[int, Score]]] = {}
        for own, score in scores:
            if own in self.fresh:
                niche = self.act.niche(score.niche, score.direction)  # type: ignore[arg-type]
                scored.setdefault(own, []).append((niche, score))
        if not scored:
            return
        needing = {child for child, *_, needed in self.edges if needed}
        costs: dict[int, list[tuple[PowerCost, int | None]]] = {own: [] for own in scored}
        for own, cost in power:
            if own in costs:
                costs[own].append((cost, self.act.meter(cost.meter)))
        at, precision = (9 + FACTS.index(one) for one in ("parameters", "precision"))
        told: list[tuple[Any, ...]] = []
        for own, held in scored.items():
            row = self.rows_of[own]
            state = standings.ABSENT if row[3] else standings.STATES[row[2]]
            rows = None
            if own not in needing and own not in self.act.touched:
                rows = standings.of_new(
                    own, held, costs[own], row[at], row[precision], state, row[6]
                )
            if rows is None:
                self.act.touch([own], costs_too=True)
            else:
                told += rows
        self.connection.many(standings.INSERT, told)

    def _write_tags(self) -> None:
        """Add tags; a key that an organism has already keeps its value."""
        wanted: dict[tuple[int, str], tuple[Registered, str]] = {}
        for done, key, value in self.tags:
            wanted.setdefault((self._now(done.id), key), (done, value))
        old = {own for own, _ in wanted} - self.fresh
        if old:
            for known in self.connection.rows(
                f"""SELECT t.organism, t.key FROM {self.connection.ids} AS i
                    JOIN tag t ON t.organism = i.id""",
                (self.connection.pack(old),),
            ):
                wanted.pop(tuple(known), None)
        self.connection.many(
            "INSERT INTO tag (organism, key, value) VALUES (?, ?, ?)",
            [(*key, value) for key, (_, value) in wanted.items()],
        )
        gained: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for (own, key), (done, value) in wanted.items():
            done.changed = True
            if not done.told:
                gained[own][key] = value
        self.events += [(own, "tagged", {"tags": tags}) for own, tags in gained.items()]

    def _write_leases(self) -> None:
        """Add the leases of an import; of two of one holder the longer stays."""
        self.connection.many(
            "INSERT INTO lease (organism, holder, until) VALUES (?, ?, ?) "
            "ON CONFLICT (organism, holder) DO UPDATE SET until = "
            "CASE WHEN lease.until < excluded.until THEN excluded.until ELSE lease.until END",
            [(self._now(done.id), holder, until) for done, holder, until in self.leases],
        )

    def _write_configurations(self) -> None:
        if not self.configurations:
            return
        by_organism = {self._now(done.id): done for done, _ in reversed(self.configurations)}
        wanted = [(self._now(done.id), known) for done, known in self.configurations]
        for own, kind, digest in configurations.add(self.connection, wanted, self.fresh):
            self._note(by_organism[own], "configured", {"kind": kind, "sha256": digest.hex()})

    def _write_told_aliases(self) -> None:
        """Set the aliases of an import. One that another organism holds stays where it is."""
        for done, name, alias in self.told_aliases:
            own = self._now(done.id)
            holder = self.connection.value(
                "SELECT organism FROM alias WHERE name = ? AND alias = ?", (name, alias)
            )
            if holder is None:
                self.connection.execute(
                    "INSERT INTO alias (name, alias, organism) VALUES (?, ?, ?)",
                    (name, alias, own),
                )
                self._note(done, "aliased", {"alias": alias, "name": name})
            elif holder != own:
                done.held.append((name, alias))

    def _write_old_events(self) -> None:
        """Write what an import tells of the past, once."""
        old = {self._now(done.id) for done, *_ in self.old_events} - self.fresh
        seen: set[tuple[Any, ...]] = set()
        if old:
            packed = self.connection.pack(old)
            for of in ("e.organism = o.id", "o.same_as IS NOT NULL AND e.organism = o.id"):
                which = "o.id" if "same_as" not in of else "o.same_as"
                seen |= {
                    tuple(row)
                    for row in self.connection.rows(
                        f"""SELECT {which}, e.kind, e.at, e.body FROM {self.connection.ids} AS i
                            JOIN organism o ON {which} = i.id JOIN event e ON {of}""",
                        (packed,),
                    )
                }
        rows = []
        for done, kind, at, who, body in self.old_events:
            own = self._now(done.id)
            if (own, kind, at, body) not in seen:
                rows.append((own, kind, at, self.act.actor_of(who), who, body))
                done.changed = True
        chain.append(self.connection, rows)

    def _absorb(self, keep: int, other: int) -> None:
        """Make two organisms one: all that is recorded of `other` becomes `keep`'s; its row stays,
        and points there."""
        connection = self.connection
        both = connection.rows(
            """SELECT v.child, v.parent, v.relation, v.evidence, v.confidence, v.weight, e.needed
               FROM edge e JOIN evidence v ON v.child = e.child AND v.parent = e.parent
               WHERE e.child = ? OR e.parent = ? ORDER BY v.child, v.parent""",
            (other, other),
        )
        connection.execute("DELETE FROM edge WHERE child = ? OR parent = ?", (other, other))
        links.rerank(connection, {other, *(row[0] for row in both)})
        standings.forget(connection, connection.pack([other]))
        for statement in ABSORB:
            connection.execute(statement.format(keep=keep, other=other))
        moved = [
            (
                keep if child == other else child,
                keep if parent == other else parent,
                relation,
                Parent("", relation, weight, evidence, confidence),
                bool(needed),
            )
            for child, parent, relation, evidence, confidence, weight, needed in both
        ]
        for one in self.act.add_links(moved)[1]:
            path = [self.act.label(own) for own in one.path]
            self.events.append((one.child, "link_set_aside", {"would_close": path}))
        self.act.touch([keep, *(row[0] for row in both if row[0] != other)], costs_too=True)
        self.act.settle("fitness", [keep])
        self.act.settle("power", [keep])
        self.here.add(keep)
        self.events.append((keep, "united", {"with": other}))


_FILE = (
    "INSERT INTO file (place, path, bytes, sha256, genome, modified) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (place, path) DO "
)
INSERT_FILE = f"{_FILE} NOTHING"
UPSERT_FILE = (
    f"{_FILE} UPDATE SET bytes = excluded.bytes, sha256 = excluded.sha256, "
    "genome = excluded.genome, modified = excluded.modified"
)

INSERT_ORGANISM = f"""INSERT INTO organism
  (id, digest, status, ghost, epigenetic, protected, here, generation, jump, {", ".join(FACTS)},
   registered) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {", ".join("?" * len(FACTS))}, ?)"""

UPDATE_ORGANISM = f"""UPDATE organism SET digest = coalesce(digest, ?), ghost = ?,
  {", ".join(f"{fact} = coalesce({fact}, ?)" for fact in FACTS)},
  registered = coalesce(registered, ?), status = coalesce(?, status),
  epigenetic = CASE WHEN epigenetic = 1 THEN 1 ELSE ? END WHERE id = ?"""

ABSORB = (
    """UPDATE name SET organism = {keep}, rank = rank + 1 + (SELECT coalesce(max(n.rank), -1)
       FROM name n WHERE n.organism = {keep}) WHERE organism = {other}""",
    """UPDATE place SET organism = {keep} WHERE organism = {other}
       AND uri NOT IN (SELECT p.uri FROM place p WHERE p.organism = {keep})""",
    "DELETE FROM quarantine WHERE place IN (SELECT id FROM place WHERE organism = {other})",
    "DELETE FROM file WHERE place IN (SELECT id FROM place WHERE organism = {other})",
    "DELETE FROM place WHERE organism = {other}",
    "UPDATE fitness SET organism = {keep} WHERE organism = {other}",
    "UPDATE power SET organism = {keep} WHERE organism = {other}",
    "UPDATE alias SET organism = {keep} WHERE organism = {other}",
    """INSERT INTO tag (organism, key, value) SELECT {keep}, t.key, t.value FROM tag t
       WHERE t.organism = {other} ON CONFLICT (organism, key) DO NOTHING""",
    "DELETE FROM tag WHERE organism = {other}",
    """INSERT INTO lease (organism, holder, until) SELECT {keep}, l.holder, l.until FROM lease l
       WHERE l.organism = {other} ON CONFLICT (organism, holder) DO NOTHING""",
    "DELETE FROM lease WHERE organism = {other}",
    """INSERT INTO configuration (organism, kind, document)
       SELECT {keep}, c.kind, c.document FROM configuration c WHERE c.organism = {other}
       ON CONFLICT (organism, kind) DO NOTHING""",
    "DELETE FROM configuration WHERE organism = {other}",
    f"""UPDATE organism SET {", ".join(
        f"{one} = coalesce({one}, (SELECT o.{one} FROM organism o WHERE o.id = {{other}}))"
        for one in (*FACTS, "registered"))} WHERE id = {{keep}}""",
    """UPDATE organism SET protected = 1 WHERE id = {keep}
       AND EXISTS (SELECT 1 FROM organism o WHERE o.id = {other} AND o.protected = 1)""",
    "UPDATE organism SET same_as = {keep} WHERE id = {other} OR same_as = {other}",
    "UPDATE organism SET here = 0 WHERE id = {other}",
)
