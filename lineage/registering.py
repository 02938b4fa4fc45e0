"""Bringing organisms in, one or a hundred thousand: what is known of each is united with what the
registry knows already. A batch is read in a few statements, decided in memory, written in a few.

Where several organisms turn out to be the same, the others are absorbed. Nothing that is recorded
is overwritten."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from lineage import chain, configurations, links, standings
from lineage.errors import LineageError
from lineage.identity import Identities, Known, at_hub
from lineage.organism import Organism, Parent, PowerCost, Score
from lineage.references import Ghost, is_local, place_hash
from lineage.registration import FACTS, Registration
from lineage.store import (
    INSERT_EVIDENCE,
    Act,
    is_needed,
    link_body,
    power_body,
    relation_of,
    score_body,
    set_alias,
    with_uuid,
)


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


class _Batch(Identities):
    """The state of one batch: who is who, what is noted of entries as they are taken, and rows to
    write."""

    def __init__(self, act: Act, wanted: Sequence[Registration]) -> None:
        super().__init__(act, wanted)
        self.next_organism = act.next_id("organism")
        self.next_place = act.next_id("place") if self.place_use(wanted) else 0
        self.fresh: set[int] = set()

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

    @staticmethod
    def place_use(wanted: Sequence[Registration]) -> bool:
        return any(o.places or any(not isinstance(p.ref, Organism) for p in o.parents)
                   for o in wanted)  # fmt: skip

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

    def _new_id(self) -> int:
        own, self.next_organism = self.next_organism, self.next_organism + 1
        self.fresh.add(own)
        return own

    def _ghost(self, ghost: Ghost, ref: Any, new: Registration) -> int:
        own = self._new_id()
        self.ranks[own] = (0, own)
        hub = bool(ghost.place and ghost.place.startswith("hf:"))
        self.known[own] = Known(ghost.digest, True, False, False, "alive", set(), hub)
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
        self.known[own] = Known(
            new.digest, new.ghost, new.epigenetic, new.protected, new.status, set(new.facts),
            new.digest is None and at_hub(new), new.retracted is not None,
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
        self.known[own] = Known(
            known.digest or new.digest, known.ghost and new.ghost, known.epigenetic or epigenetic,
            known.protected or protected, status or known.status, known.facts | facts.keys(),
            not (known.digest or new.digest) and (known.hub or at_hub(new)),
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
