"""Which organism a registration means, and which one a reference to a parent. What the registry
knows of those is read in a few statements for a batch, and kept true as its entries are taken.

A registration means, in this order: the organism with its digest; one without a digest that was
waiting for it, at its place or under its name; else a new one."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lineage import links
from lineage.errors import Ambiguous, InvalidValue
from lineage.organism import Organism
from lineage.references import (
    HEX,
    VERSION,
    Ghost,
    ghost_of,
    is_local,
    place_hash,
    place_uri,
    resolve,
    search,
)
from lineage.registration import FACTS, Registration
from lineage.remote import URI
from lineage.store import Act

MOST_PARAMETERS = 10_000
"""Of one statement; SQLite takes 32,766."""


def at_hub(new: Registration) -> bool:
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
class Known:
    """What the registry holds of an organism that a batch may mean."""

    digest: bytes | None
    ghost: bool
    epigenetic: bool
    protected: bool
    status: str
    facts: set[str]
    hub: bool = False  # without a digest, it is known by an hf: place
    retracted: bool = False


class Identities:
    """Who is who: what was read, and what became of it in the batch so far."""

    def __init__(self, act: Act, wanted: Sequence[Registration]) -> None:
        self.act = act
        self.connection = act.connection
        self.digests: dict[bytes, int] = {}
        self.latest: dict[str, tuple[int, int]] = {}  # name: (version, organism)
        self.versions: dict[tuple[str, int], int] = {}
        self.highest: dict[str, int] = {}  # of all that ever were
        self.at_place: defaultdict[str, list[int]] = defaultdict(list)  # who is there now
        self.ever_at: defaultdict[str, list[int]] = defaultdict(list)  # who is or was there
        self.known: dict[int, Known] = {}
        self.in_hand: dict[int, int] = {}  # parents given as organisms, and what each is by now
        self.names_of: defaultdict[int, set[str]] = defaultdict(set)
        self.name_counts: defaultdict[int, int] = defaultdict(int)
        self.place_ids: dict[tuple[int, str], int] = {}
        self.ranks = links.Ranks(act.connection)
        self.redirect: dict[int, int] = {}
        self.aliases: list[tuple[int, str]] = []  # those that this batch gives
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
            self.known[own] = Known(
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

    # who is meant

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
                if not (at_hub(new) and self.known[named].hub):
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

    def _now(self, own: int) -> int:
        """The organism that `own` has become, where this batch found it to be the same as another.
        """
        return self.redirect.get(own, own)
