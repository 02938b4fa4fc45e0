"""What the registry holds, read: organisms and everything recorded of them, found by any of it.
Each question takes a few statements, however many organisms it is asked for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict, Unpack

from lineage import costs
from lineage.database import Connection
from lineage.errors import InvalidValue, NotFound
from lineage.organism import (
    KINDS,
    RELATIONS,
    STATUSES,
    Event,
    File,
    Link,
    Niche,
    Organism,
    Parent,
    Place,
    PowerCost,
    Record,
    Score,
    finite,
    one_of,
)
from lineage.store import EPOCH, micros

COLUMNS = """o.id, n.name, n.version, o.digest, o.status, o.ghost, o.epigenetic, o.generation,
  o.protected, o.here, o.parameters, o.bytes, o.architecture, o.precision, o.licence, o.run, o.step,
  o.created, o.registered,
  NOT EXISTS (SELECT 1 FROM name later WHERE later.name = n.name AND later.version > n.version),
  o.retracted, CASE WHEN n.name IS NULL AND o.digest IS NULL THEN
    (SELECT p.uri FROM place p WHERE p.organism = o.id ORDER BY p.id LIMIT 1) END"""

SORTS = ("registered", "created", "name", "fitness", "power", "generation", "bytes")


def moment(micros: int | None) -> datetime | None:
    """Microseconds since 1970 as an aware UTC datetime, exactly."""
    return None if micros is None else EPOCH + timedelta(microseconds=micros)




def organism_of(row: Sequence[Any]) -> Organism:
    (own, name, version, digest, status, ghost, epigenetic, generation, protected, here,
     parameters, size, architecture, precision, licence, run, step, created,
     registered, latest, retracted, place) = row  # fmt: skip
    return Organism(
        id=own,
        name=name,
        version=version,
        digest=None if digest is None else bytes(digest).hex(),
        status=status,
        ghost=bool(ghost),
        kind="epigenetic" if epigenetic else "genomic",
        generation=generation,
        protected=bool(protected),
        here=bool(here),
        parameters=parameters,
        bytes=size,
        architecture=architecture,
        precision=precision,
        licence=licence,
        run=run,
        step=step,
        created=moment(created),
        registered=moment(registered),
        latest=bool(latest),
        retracted=retracted,
        place=place,
    )


def organisms(connection: Connection, ids: Iterable[int]) -> list[Organism]:
    """The organisms with these ids, in their order."""
    ids = list(ids)
    if not ids:
        return []
    rows = connection.rows(
        f"SELECT {COLUMNS} FROM {connection.ids} AS i CROSS JOIN organism o "
        "LEFT JOIN name n ON n.organism = o.id AND n.rank = 0 WHERE o.id = i.id",
        (connection.pack(ids),),
    )
    by_id = {row[0]: organism_of(row) for row in rows}
    return [by_id[own] for own in ids]


def in_order(
    connection: Connection,
    ids: Iterable[int],
    status: str | None = None,
    *,
    latest_first: bool = False,
) -> list[int]:
    """The ids of those of these organisms that have this status, the earliest generation first, or
    the latest."""
    alike, params = "", [connection.pack(ids)]
    if status is not None:
        alike, params = "AND o.status = ?", [*params, one_of(status, STATUSES, "status")]
    return [
        row[0]
        for row in connection.execute(
            f"""SELECT o.id FROM {connection.ids} AS i CROSS JOIN organism o
                WHERE o.id = i.id {alike}
                ORDER BY o.generation {"DESC" if latest_first else "ASC"}, o.id""",
            params,
        )
    ]


class Conditions(TypedDict, total=False):
    """What organisms are found by, all of it at once. Of scores in `niche` those that count: at
    least `min`, at most `max`. `max_joules` is of serving with what it needs to run, given or
    estimated, in whichever of the units of costs.RATES is known of an organism first. `parent` is
    an organism's id, `relation` how it is linked (to `parent`, where that is given). `since` and
    `until` are of the registration. `ghosts` finds these too."""

    tags: Sequence[tuple[str, str | None]]
    niche: Niche
    min: float
    max: float
    max_joules: float
    parent: int
    relation: str
    alias: str
    status: str
    kind: str
    licence: str
    architecture: str
    precision: str
    run: str
    protected: bool
    here: bool
    since: datetime
    until: datetime
    ghosts: bool


_RANKED = f"""ranked(organism, joules, unit) AS (SELECT organism, joules, CASE per
  {" ".join(f"WHEN '{per}' THEN {rank}" for rank, per in enumerate(costs.RATES))} END FROM cost),
priced(organism, joules, unit) AS (SELECT r.organism, r.joules, r.unit FROM ranked r
  JOIN (SELECT organism, min(unit) AS unit FROM ranked GROUP BY organism) AS first
  ON first.organism = r.organism AND first.unit = r.unit)"""
"""What serving costs, a row an organism: in the first unit of costs.RATES that is known of it."""


def find(
    connection: Connection,
    name: str | None = None,
    *,
    sort: str = "registered",
    limit: int | None = None,
    **wanted: Unpack[Conditions],
) -> list[int]:
    """The ids of organisms that meet all conditions; `name` may hold * and ?. Newest first, or by
    `sort`: the fittest (in `niche`), the cheapest to serve, the largest, the latest generation
    first. What is unknown comes last. One statement."""
    one_of(sort, SORTS, "sort")
    meeting = _meeting(connection, name, wanted)
    lower = meeting.direction == "lower"
    cost, unit = ("f", "f.per") if meeting.scored else ("s", "s.unit")
    order = {
        "registered": "o.id DESC",
        "created": "o.created IS NULL, o.created DESC, o.id DESC",
        "name": "n.name IS NULL, n.name, n.version",
        "fitness": f"f.value {'ASC' if lower else 'DESC'}, o.id",
        "power": f"{cost}.joules IS NULL, {unit}, {cost}.joules, o.id DESC",
        "generation": "o.generation DESC, o.id DESC",
        "bytes": "o.bytes IS NULL, o.bytes DESC, o.id DESC",
    }
    if sort == "fitness" and "niche" not in wanted:
        raise InvalidValue("sorting by fitness needs a niche: give one, like gsm8k/acc.")
    sql, params = meeting.statement("o.id", priced=sort == "power", named=sort == "name")
    sql += f" ORDER BY {order[sort]}"
    if limit is not None:
        sql += " LIMIT ?"
        params = (*params, limit)
    return [row[0] for row in connection.execute(sql, params)]


def count(
    connection: Connection,
    name: str | None = None,
    *,
    at_most: int | None = None,
    **wanted: Unpack[Conditions],
) -> int:
    """How many organisms meet all conditions, which are those of `find`. Counting ends at
    `at_most`."""
    sql, params = _meeting(connection, name, wanted).statement("1")
    if at_most is not None:
        sql, params = f"{sql} LIMIT ?", (*params, at_most)
    counted = f"SELECT count(*) FROM ({sql}) AS found"
    return int(connection.value(counted, params))


@dataclass(slots=True)
class _Meeting:
    """Conditions as SQL on `organism o` (and `standing f` where a niche is asked for), with their
    parameters, and the direction of the niche."""

    where: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    scored: bool = False
    direction: str | None = None
    max_joules: float | None = None

    def add(self, condition: str, *params: Any) -> None:
        self.where.append(condition)
        self.params += params

    def statement(
        self, what: str, *, priced: bool = False, named: bool = False
    ) -> tuple[str, tuple[Any, ...]]:
        """`what` of those that meet the conditions, with names as `n`, and costs of serving as `s`
        where no niche is asked for: standings hold them.

        CROSS JOIN makes SQLite go along the scores of a niche, in the order of their values."""
        of = "standing f CROSS JOIN organism o" if self.scored else "organism o"
        where = " AND ".join(self.where)
        named_by = "LEFT JOIN name n ON n.organism = o.id AND n.rank = 0" if named else ""
        if self.scored or (not priced and self.max_joules is None):
            return f"SELECT {what} FROM {of} {named_by} WHERE {where}", tuple(self.params)
        wanted = f"WITH RECURSIVE wanted(id) AS (SELECT o.id FROM {of} WHERE {where})"
        params = (*self.params, *self.params)
        join = "LEFT JOIN"
        if self.max_joules is not None:
            join, where, params = "JOIN", f"{where} AND s.joules <= ?", (*params, self.max_joules)
        return (
            f"""{wanted}, {costs.known("wanted")}, {_RANKED} SELECT {what} FROM {of}
                {join} priced s ON s.organism = o.id {named_by} WHERE {where}""",
            params,
        )


_PLAIN = ("licence", "architecture", "precision", "run")
_FLAGS = ("protected", "here")


def _meeting(connection: Connection, name: str | None, wanted: Conditions) -> _Meeting:
    """What few meet is asked as a set, so that its index leads; what many may meet, of each."""
    found = _Meeting(["o.same_as IS NULL"])
    if not wanted.get("ghosts"):
        found.add("o.ghost = 0")
    if "niche" in wanted:
        _meeting_scores(connection, found, wanted)
    if name is not None:
        glob, pattern = name_like(connection, name)
        found.add(f"o.id IN (SELECT m.organism FROM name m WHERE m.name {glob})", pattern)
    for key, value in wanted.get("tags", ()):
        more, params = ("", (key,)) if value is None else (" AND t.value = ?", (key, value))
        found.add(f"o.id IN (SELECT t.organism FROM tag t WHERE t.key = ?{more})", *params)
    if "alias" in wanted:
        found.add("o.id IN (SELECT a.organism FROM alias a WHERE a.alias = ?)", wanted["alias"])
    _meeting_links(found, wanted)
    if "status" in wanted:
        status = one_of(wanted["status"], STATUSES, "status")
        # which tells SQLite that its partial index holds them all
        indexed = "" if status == "alive" else " AND o.status <> 'alive'"
        found.add(f"o.status = ?{indexed}", status)
    if "kind" in wanted:
        one_of(wanted["kind"], KINDS, "kind")
        found.add("o.epigenetic = ?", int(wanted["kind"] == "epigenetic"))
    values: Mapping[str, Any] = wanted
    for key in _PLAIN:
        if key in values:
            found.add(f"o.{key} = ?", values[key])
    for key in _FLAGS:
        if key in values:
            found.add(f"o.{key} = ?", int(values[key]))
    for key, sign in (("since", ">="), ("until", "<")):
        if key in values:
            found.add(f"o.registered {sign} ?", micros(values[key]))
    if "max_joules" in wanted:
        most = finite(wanted["max_joules"], "the most joules", least=0)
        if found.scored:
            found.add("f.joules <= ?", most)
        else:
            found.max_joules = most
    return found


def _meeting_scores(connection: Connection, found: _Meeting, wanted: Conditions) -> None:
    own, found.direction = niche_id(connection, wanted["niche"])
    found.scored = True
    found.add("f.niche = ? AND f.also = 0 AND o.id = f.organism", own)
    if "min" in wanted:
        found.add("f.value >= ?", finite(wanted["min"], "the least score"))
    if "max" in wanted:
        found.add("f.value <= ?", finite(wanted["max"], "the highest score"))


def _meeting_links(found: _Meeting, wanted: Conditions) -> None:
    relation = one_of(wanted["relation"], RELATIONS, "relation") if "relation" in wanted else None
    by = "" if relation is None else " AND e.relation = ?"
    params = () if relation is None else (relation,)
    if "parent" in wanted:
        own = wanted["parent"]
        found.add(f"o.id IN (SELECT e.child FROM edge e WHERE e.parent = ?{by})", own, *params)
    elif relation is not None:
        found.add(f"EXISTS (SELECT 1 FROM edge e WHERE e.child = o.id{by})", *params)


def name_like(connection: Connection, pattern: str) -> tuple[str, str]:
    """A condition on a name with * and ? in it, and its parameter."""
    if not connection.postgresql:
        return "GLOB ?", pattern.replace("[", "[[]")
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return "LIKE ?", escaped.replace("*", "%").replace("?", "_")


def niche_id(connection: Connection, niche: Niche) -> tuple[int, str | None]:
    """The id and direction of a niche. NotFound for one that nobody was scored in; it lists
    those there are."""
    found = connection.row(
        "SELECT id, direction FROM niche WHERE task = ? AND metric = ? AND split = ?",
        (niche.task, niche.metric, niche.split),
    )
    if found is None:
        there = ", ".join(str(one) for one in niches(connection)[:12])
        known = f"The niches are: {there}." if there else "There is no score yet."
        raise NotFound(f"nobody was scored in {niche}. {known}")
    return int(found[0]), found[1]


def niches(connection: Connection) -> list[Niche]:
    """All niches, the one most scored first (of the first 100,000 scores)."""
    rows = connection.rows(
        """SELECT n.task, n.metric, n.split FROM niche n LEFT JOIN
             (SELECT niche, count(*) AS c FROM (SELECT niche FROM fitness LIMIT 100000) AS s
              GROUP BY niche) AS s ON s.niche = n.id
           ORDER BY coalesce(s.c, 0) DESC, n.task, n.metric, n.split"""
    )
    return [Niche(*row) for row in rows]


def scores(
    connection: Connection, ids: Sequence[int], every: bool = False
) -> dict[int, list[Score]]:
    """The scores that count of each organism, or all ever (retracted ones too), by niche and time.
    """
    found: defaultdict[int, list[Score]] = defaultdict(list)
    current = "" if every else "AND f.current = 1"
    for own, task, metric, split, direction, value, stderr, n, at, retracted in connection.rows(
        f"""SELECT f.organism, c.task, c.metric, c.split, c.direction, f.value, f.stderr, f.n, f.at,
              f.retracted FROM {connection.ids} AS i CROSS JOIN fitness f
            JOIN niche c ON c.id = f.niche WHERE f.organism = i.id {current}
            ORDER BY c.task, c.metric, c.split, f.at, f.id""",
        (connection.pack(ids),),
    ):
        niche = Niche(task, metric, split)
        found[own].append(
            Score(niche, value, stderr, n, direction, at=moment(at), retracted=retracted)
        )
    return dict(found)


def power(connection: Connection, ids: Sequence[int]) -> dict[int, list[PowerCost]]:
    """All power costs recorded of each organism, oldest first; also those that were retracted."""
    import uuid

    found: defaultdict[int, list[PowerCost]] = defaultdict(list)
    for (
        own, joules, phase, per, source, watts, seconds, cost, currency, gco2e, meter, key, at,
        retracted,
    ) in (
        connection.rows(
            f"""SELECT p.organism, p.joules, p.phase, p.per, p.source, p.watts, p.seconds, p.cost,
                  p.currency, p.gco2e, m.name, p.uuid, p.at, p.retracted
                FROM {connection.ids} AS i CROSS JOIN power p
                LEFT JOIN meter m ON m.id = p.meter WHERE p.organism = i.id ORDER BY p.at, p.id""",
            (connection.pack(ids),),
        )
    ):
        found[own].append(
            PowerCost(
                joules, phase, per, source, watts, seconds, cost, currency, gco2e, meter,
                None if key is None else str(uuid.UUID(bytes=bytes(key))), moment(at), retracted,
            )
        )  # fmt: skip
    return dict(found)


def training(connection: Connection, ids: Sequence[int]) -> dict[int, PowerCost]:
    """The joules of all training intervals of each organism, added up; absent where none is known.
    A sum is as well known as its least known part: estimated, else declared, else measured."""
    rows = connection.rows(
        f"""SELECT p.organism, sum(p.joules), max(CASE p.source WHEN 'estimated' THEN 2
              WHEN 'declared' THEN 1 ELSE 0 END) FROM {connection.ids} AS i
            CROSS JOIN power p WHERE p.organism = i.id
              AND p.phase = 'training' AND p.per = 'total' AND p.current = 1
              AND p.joules IS NOT NULL
            GROUP BY p.organism""",
        (connection.pack(ids),),
    )
    return {
        own: PowerCost(joules, source=("measured", "declared", "estimated")[least])
        for own, joules, least in rows
    }


def links(connection: Connection, ids: Sequence[int], of: str = "child") -> list[Link]:
    """The links of these organisms to their parents (`of="parent"`: to their children), with all
    evidence."""
    rows = connection.rows(
        f"""SELECT e.child, e.parent, e.relation, e.weight, e.needed, v.relation, v.weight,
              v.evidence, v.confidence
            FROM {connection.ids} AS i CROSS JOIN edge e
            JOIN evidence v ON v.child = e.child AND v.parent = e.parent WHERE e.{of} = i.id
            ORDER BY e.child, e.parent, v.relation, v.evidence""",
        (connection.pack(ids),),
    )
    involved = {own for row in rows for own in row[:2]}
    known = {one.id: one for one in organisms(connection, sorted(involved))}
    evidence: defaultdict[tuple[Any, ...], list[Parent]] = defaultdict(list)
    for child, parent, relation, weight, needed, v_relation, v_weight, how, confidence in rows:
        evidence[child, parent, relation, weight, needed].append(
            Parent(known[parent].ref, v_relation, v_weight, how, confidence, bool(needed))
        )
    return [
        Link(known[child], known[parent], relation, weight, bool(needed), tuple(how))
        for (child, parent, relation, weight, needed), how in evidence.items()
    ]


def aliases(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for own, one in connection.rows(
        f"""SELECT DISTINCT a.organism, a.alias FROM {connection.ids} AS i
            JOIN alias a ON a.organism = i.id ORDER BY a.organism, a.alias""",
        (connection.pack(ids),),
    ):
        found[own].append(one)
    return {own: tuple(known) for own, known in found.items()}


def tags(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[tuple[str, str], ...]]:
    found: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for own, key, value in connection.rows(
        f"""SELECT t.organism, t.key, t.value FROM {connection.ids} AS i
            CROSS JOIN tag t WHERE t.organism = i.id ORDER BY t.organism, t.key""",
        (connection.pack(ids),),
    ):
        found[own].append((key, value))
    return {own: tuple(known) for own, known in found.items()}


# Whatever something that is not culled needs at run time, through any chain.
_LOAD_BEARING = """
WITH RECURSIVE borne(id) AS (
  SELECT e.parent FROM edge e JOIN organism o ON o.id = e.child
  WHERE e.needed = 1 AND o.status <> 'culled'
  UNION
  SELECT e.parent FROM borne CROSS JOIN edge e WHERE e.child = borne.id AND e.needed = 1
)
SELECT id FROM borne"""


def load_bearing(connection: Connection, ids: Sequence[int] | None = None) -> set[int]:
    """What something not culled needs at run time: all of it, or those of a few organisms. Most of
    these are by a child, and the first such child is enough: an organism may have hundreds of
    thousands."""
    if ids is None:
        return {row[0] for row in connection.rows(_LOAD_BEARING)}
    borne = {
        row[0]
        for row in connection.rows(
            f"""SELECT i.id FROM {connection.ids} AS i WHERE EXISTS (
                  SELECT 1 FROM edge e CROSS JOIN organism o WHERE e.parent = i.id
                    AND e.needed = 1 AND o.id = e.child AND o.status <> 'culled')""",
            (connection.pack(ids),),
        )
    }
    return borne | {
        row[0]
        for row in connection.rows(
            f"""WITH RECURSIVE below(top, id, needed) AS (
                  SELECT i.id, i.id, 1 FROM {connection.ids} AS i
                  UNION
                  SELECT below.top, e.child, 1 FROM below CROSS JOIN edge e
                  WHERE e.parent = below.id AND e.needed = below.needed)
                SELECT DISTINCT b.top FROM below b WHERE b.id <> b.top AND
                  (SELECT o.status FROM organism o WHERE o.id = b.id) <> 'culled'""",
            (connection.pack(own for own in ids if own not in borne),),
        )
    }


def history(connection: Connection, own: int) -> list[Event]:
    """What happened to an organism, and to those that were found to be the same, oldest first."""
    rows = connection.rows(
        f"""{EVENTS}
           WHERE e.organism = ? OR e.organism IN (SELECT id FROM organism WHERE same_as = ?)
           ORDER BY e.at, e.id""",
        (own, own),
    )
    return [event_of(row) for row in rows]


EVENTS = """SELECT e.id, e.organism, e.kind, e.at, a."user", a.host, a.pid, a.command, e.body
  FROM event e JOIN actor a ON a.id = e.actor"""


def event(connection: Connection, number: int) -> Event:
    """The event of a number that there is."""
    return event_of(connection.row(f"{EVENTS} WHERE e.id = ?", (number,)))


def events(
    connection: Connection,
    since: datetime | None = None,
    before: int | None = None,
    size: int = 1000,
) -> Iterator[list[Event]]:
    """What happened in the whole registry, the latest first, in lists of at most `size`, each read
    by itself: since a time, before the event of a number. Events are in the order in which they
    came to be known: what an import tells of the past comes with the import."""
    while True:
        page = _page_of_events(connection, since, before, None, size)
        if page:
            yield page
        if len(page) < size:
            return
        before = page[-1].id


def events_after(
    connection: Connection, after: int, since: datetime | None, before: int | None, size: int
) -> list[Event]:
    """The first `size` events after that of a number, the oldest first; otherwise as `events`."""
    return _page_of_events(connection, since, before, after, size)


def _page_of_events(
    connection: Connection,
    since: datetime | None,
    before: int | None,
    after: int | None,
    size: int,
) -> list[Event]:
    """At most `size` events between two: those next to `after`, where it is given."""
    conditions, params = [], []
    for condition, value in (
        ("e.id > ?", after),
        ("e.id < ?", before),
        ("e.at >= ?", None if since is None else micros(since)),
    ):
        if value is not None:
            conditions.append(condition)
            params.append(value)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = "DESC" if after is None else "ASC"
    rows = connection.rows(f"{EVENTS} {where} ORDER BY e.id {order} LIMIT ?", (*params, size))
    return [event_of(row) for row in rows]


def event_of(row: Sequence[Any]) -> Event:
    own, organism, kind, at, user, host, pid, command, body = row
    when = moment(at)
    assert when is not None
    return Event(own, organism, kind, when, user, host, pid, command, json.loads(body))


QUARANTINE = """(SELECT max(q.folder) FROM quarantine q
  JOIN file g ON g.place = q.place AND g.path = q.path
  WHERE q.place = p.id AND q.emptied_at IS NULL AND g.genome = 1)"""
"""The folder into which the weights of place `p` were culled, NULL where they were not."""


def files(connection: Connection, own: int) -> tuple[File, ...]:
    """The files of an organism at the place where they were recorded last."""
    rows = connection.rows(
        """SELECT f.path, f.bytes, f.sha256, f.genome, f.modified
           FROM place p JOIN file f ON f.place = p.id
           WHERE p.organism = ? AND p.id = (SELECT q.id FROM place q JOIN file g ON g.place = q.id
             WHERE q.organism = ? ORDER BY q.gone_at IS NOT NULL, q.id DESC LIMIT 1)
           ORDER BY f.genome DESC, f.path""",
        (own, own),
    )
    return tuple(File(path, size, bytes(sha).hex(), bool(genome), modified)
                    for path, size, sha, genome, modified in rows)


def record(connection: Connection, own: int) -> Record:
    """Everything known of one organism."""
    (known,) = organisms(connection, [own])
    names = connection.rows(
        "SELECT name, version FROM name WHERE organism = ? ORDER BY rank", (own,)
    )
    places = connection.rows(
        f"""SELECT p.uri, p.host, p.gone_at, {QUARANTINE} FROM place p
            WHERE p.organism = ? ORDER BY p.id""",
        (own,),
    )
    tags = connection.rows("SELECT key, value FROM tag WHERE organism = ? ORDER BY key", (own,))
    return Record(
        organism=known,
        names=tuple(names),
        places=tuple(Place(uri, host, moment(gone), folder)
                     for uri, host, gone, folder in places),
        files=files(connection, own),
        parents=tuple(links(connection, [own])),
        children=connection.value("SELECT count(*) FROM edge WHERE parent = ?", (own,)),
        scores=tuple(scores(connection, [own], every=True).get(own, ())),
        power=tuple(power(connection, [own]).get(own, ())),
        tags=dict(tags),
        aliases=aliases(connection, [own]).get(own, ()),
        load_bearing=bool(load_bearing(connection, [own])),
        events=tuple(history(connection, own)),
    )  # fmt: skip
