"""The health of a registry: what is damaged, contradicts itself, or is not on disk any more, what
it means and what mends it. Looking changes nothing; `repair` rebuilds what is derived."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sqlite3
import stat
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from lineage import chain, links, schema, snapshots, spool, standings
from lineage import database as ground
from lineage.answers import Answer
from lineage.clades import MANY
from lineage.culling.check import wrong as wrong_in_quarantine
from lineage.database import Connection, Database
from lineage.references import candidates, place_hash, this_host
from lineage.store import EVIDENCE_RANK, Act, Store

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.int64]]

Progress = Callable[[str, int, int], object]
"""Told what is looked at, and how much of how much is done: checks, files, or bytes hashed."""

EXAMPLES = 20
"""How many examples a finding holds."""

PLACES = 1_000
"""Places whose files are looked at between two short reads of the registry."""

BLOCK = 1 << 20
"""Bytes hashed at a time."""

REPAIR = "`lineage doctor --repair --apply`"
RESTORE = "`lineage db restore FILE` brings a backup back"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: which `check` found it, how many, what it means in a sentence, examples, and
    the command that mends it. `derived`: `repair` rebuilds it from what is recorded."""

    check: str
    count: int
    meaning: str
    examples: tuple[str, ...]
    mend: str
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Checkup(Answer):
    """What an examination found. `skipped` are checks that make no sense before what was found is
    mended. `counts` tells what was looked at: organisms, ghosts, links, scores, costs, events; and
    places, files, hashed bytes, and the places on other hosts, which nobody can look at from here;
    `waiting` are records of training runs that have not come in.
    `snapshot` is `fresh`, `stale` (or missing in a registry that is large) or `none`: no fault,
    since a question then takes the long way.
    `seconds` is how long it took."""

    _rows: ClassVar[str] = "findings"

    registry: str
    schema: str
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]
    counts: Mapping[str, int]
    snapshot: str
    seconds: float

    @property
    def sound(self) -> bool:
        return not self.findings


def examine(
    database: Database,
    *,
    files: bool = False,
    deep: bool = False,
    head: bytes | None = None,
    progress: Progress | None = None,
) -> Checkup:
    """Look at all of a registry, in one consistent view, while others write. Time is linear in the
    registry, and memory a few numbers for each organism and link.

    `files` looks at the files of all places on this host too: whether they are there, of their
    size, and readable. `deep` reads every byte of them, and on SQLite every index. `head` is a head
    of the event chain that was kept elsewhere: whether the history still leads through it."""
    begun = time.monotonic()
    tell: Progress = progress or (lambda *_: None)
    with _careful(database):
        findings, skipped, counts, state = _in_database(database, deep, head, tell)
    spooled, counted = _in_spool(database)
    findings, counts = findings + spooled, {**counts, **counted}
    if (files or deep) and not skipped:
        found, looked_at = _on_disk(database, deep, tell)
        findings += found
        counts |= looked_at
    return Checkup(
        registry=str(database.address),
        schema=schema.REVISIONS[-1],
        findings=tuple(findings),
        skipped=skipped,
        counts=counts,
        snapshot=state,
        seconds=time.monotonic() - begun,
    )


def _in_spool(database: Database) -> tuple[list[Finding], dict[str, int]]:
    """What training runs left that never can come in, and how much waits: no fault, while one
    runs."""
    folder = spool.folder_of(database.address)
    aside = spool.set_aside(folder)
    examples = (f"{file}: {reason}" for file, reason in aside)
    found = _finding("set_aside", len(aside), examples, [str(folder / spool.SET_ASIDE)])
    return found, {"waiting": len(spool.waiting(folder))}


@contextmanager
def _careful(database: Database) -> Iterator[None]:
    """Read SQLite's file without mapping it into memory: there, a page that a failing disk cannot
    give kills the process (https://www.sqlite.org/mmap.html)."""
    if database.postgresql:
        yield
        return
    connection = database.connection
    mapped = connection.value("PRAGMA mmap_size")
    connection.execute("PRAGMA mmap_size=0")
    try:
        yield
    finally:
        database.connection.execute(f"PRAGMA mmap_size={mapped}")


def _in_database(
    database: Database, deep: bool, head: bytes | None, tell: Progress
) -> tuple[list[Finding], tuple[str, ...], dict[str, int], str]:
    """What the checks of the database find, those that have to wait, what was looked at, and the
    state of the snapshot."""
    tell("damaged", 0, len(CHECKS))
    findings = _damaged(database, deep)
    if findings:  # not even a transaction may be ended then
        return findings, (*CHECKS, "chain"), {}, "none"
    with database.read() as connection:
        for done, (name, check) in enumerate(CHECKS.items()):
            tell(name, done, len(CHECKS))
            findings += check(connection)
            if findings and name in BLOCKING:
                return findings, (*tuple(CHECKS)[done + 1 :], "chain"), {}, "none"
        tell("chain", len(CHECKS), len(CHECKS) + 1)
        findings += _chain(connection, head)
        return findings, (), _counts(connection), _snapshot_state(connection)


def _counts(connection: Connection) -> dict[str, int]:
    ghosts = connection.value("SELECT count(*) FROM organism WHERE ghost = 1")
    absorbed = connection.value("SELECT count(*) FROM organism WHERE same_as IS NOT NULL")
    counted = {
        table: int(connection.value(f"SELECT count(*) FROM {table}"))
        for table in ("organism", "edge", "fitness", "power", "event")
    }
    return {
        "organisms": counted["organism"] - ghosts - absorbed,
        "ghosts": ghosts,
        "links": counted["edge"],
        "scores": counted["fitness"],
        "costs": counted["power"],
        "events": counted["event"],
    }


WORDS = {
    "damaged": (
        "The file of the registry is damaged: SQLite cannot read all of it, and answers may be "
        "wrong.",
        f"{RESTORE}; `lineage export --output FILE` saves what can still be read",
    ),
    "schema": ("Parts of the schema are not there: what they held is lost.", RESTORE),
    "indexes": (
        "Indexes are not there: questions take long, and what must be unique is not guarded.",
        REPAIR,
    ),
    "triggers": (
        "Guards are not there: nothing stops a circle of links, or a change of the history.",
        REPAIR,
    ),
    "references": (
        "Rows point to rows that are not there: what they tell belongs to nobody.",
        RESTORE,
    ),
    "circles": (
        "Organisms descend from themselves: in and below the circle there is no order of "
        "generations.",
        "`lineage unlink {} {}`, or another link of the circle that is wrong",
    ),
    "ranks": (
        "Generations or jumps do not follow from the links: ancestry is answered wrongly, and a "
        "circle of links may not be refused.",
        REPAIR,
    ),
    "evidence": (
        "Links have no evidence: nobody says how they are known.",
        "`lineage link {} {}` declares one; where the link is wrong, `lineage unlink` then takes "
        "it away",
    ),
    "relations": (
        "Links have another relation or weight than their strongest evidence says.",
        REPAIR,
    ),
    "current": (
        "Of several scores or rates, others than the latest are said to count, or what was "
        "retracted: lists, selection "
        "and clades take wrong numbers.",
        REPAIR,
    ),
    "standings": (
        "Standings are not what scores, costs and links make of them: who is best for what it "
        "costs is answered wrongly, and selection judges by wrong numbers.",
        REPAIR,
    ),
    "here": (
        "Organisms are said to have files on a disk, and no place of theirs is on one; or the "
        "other way round.",
        REPAIR,
    ),
    "hashes": (
        "Places are not under the hash of their URI: nobody finds who is there.",
        REPAIR,
    ),
    "names": (
        "Organisms have names, and none of them first: they are shown without a name.",
        "`lineage rename {} NAME`",
    ),
    "aliases": (
        "Aliases of a name lead to organisms that do not bear it.",
        "`lineage alias REF {}` gives it to a version of {}",
    ),
    "absorbed": (
        "Organisms that became one with another hold something of their own, which nobody sees.",
        f"{RESTORE}. This should not happen: please report it",
    ),
    "unknown": (
        "Organisms have neither a name nor a digest nor a place: nothing can be said of them.",
        RESTORE,
    ),
    "events": (
        "Events hold no JSON object: the history of their organisms cannot be shown.",
        RESTORE,
    ),
    "chain": (
        "The history was changed behind lineage's back: events do not follow from those before "
        "them. What it tells from there on is not what was written.",
        f"{RESTORE}, from before it was changed; nothing mends a history",
    ),
    "head": (
        "The history does not lead through the head that was kept: it was cut, or written anew, "
        "since that was kept. Or it is the head of another registry.",
        f"{RESTORE}, from the time when the head was kept",
    ),
    "snapshot": (
        "The interval snapshot does not hold who was there when it was made: large clades are "
        "counted wrongly.",
        REPAIR,
    ),
    "set_aside": (
        "What training runs recorded could not be accepted, each record for its own reason.",
        "`lineage sync {}` tries again, once the reason is gone; a record that nobody wants can be "
        "deleted",
    ),
    "places": (
        "Checkpoints are not where they were registered on this host: moved, deleted, or on a disk "
        "that is not mounted.",
        "`lineage relocate OLD NEW` where they were moved; else mount the disk, or copy them back",
    ),
    "missing": (
        "Files are missing from checkpoints that are there: these are not whole.",
        "copy them back from another place; `lineage show REF` names the places",
    ),
    "changed": (
        "Files are not what was registered: overwritten, cut short, or damaged.",
        "copy the registered bytes back from another place; where the new ones are meant, "
        "`lineage register PATH` records them",
    ),
    "quarantine": (
        "Quarantine folders do not hold what `cull` put there, or a cull was interrupted.",
        "`lineage restore` puts back what is there; mount the disk where a folder is missing",
    ),
    "touched": (
        "Files have the size that was registered, and were written at another time: copied, or "
        "overwritten with other bytes.",
        "`lineage doctor --deep` reads them and tells; where they are right, `lineage register "
        "PATH` records the new time",
    ),
    "unreadable": (
        "Files cannot be read, so nobody knows what is in them.",
        "check the permissions and the disk: `ls -ld PATH`",
    ),
}
"""By check: what its finding means, and what mends it."""


def _finding(
    check: str, count: int, examples: Iterable[str], names: Sequence[str] = ()
) -> list[Finding]:
    """The finding of a check, where there is something to find; `names` go into what mends it."""
    if not count:
        return []
    meaning, mend = WORDS[check]
    some = tuple(islice(examples, EXAMPLES))
    written = mend.format(*map(shlex.quote, names))
    return [Finding(check, count, meaning, some, written, mend == REPAIR)]


# ---- What a check has to work with


def _label(connection: Connection, own: int) -> str:
    """A reference to an organism, which may not be there."""
    found = candidates(connection, [own])
    return found[0] if found else f"#{own}"


def _links(connection: Connection, check: str, pairs: Sequence[tuple[int, int]]) -> list[Finding]:
    """The finding of links that are wrong, as (child, parent)."""
    known = [tuple(_label(connection, own) for own in pair) for pair in pairs[:EXAMPLES]]
    examples = (f"{child} from {parent}" for child, parent in known)
    return _finding(check, len(pairs), examples, known[0] if known else ())


def _organisms(connection: Connection, check: str, wrong: str) -> list[Finding]:
    """The finding of a query whose rows are the organisms that are wrong, some more than once."""
    ids = [row[0] for row in connection.rows(wrong)]
    examples = [_label(connection, own) for own in islice(dict.fromkeys(ids), EXAMPLES)]
    return _finding(check, len(ids), examples, examples[:1])


def _arrays(connection: Connection, sql: str, columns: int) -> Array:
    """The columns of a query of integers, one array each."""
    import numpy as np

    parts = [np.array(rows, np.int64) for rows in connection.stream(sql, (), 50_000)]
    return np.concatenate(parts).T if parts else np.empty((columns, 0), np.int64)


# ---- The file and the schema


def _damaged(database: Database, deep: bool) -> list[Finding]:
    """What SQLite's own check says. `deep` compares every index with its table, which takes twice
    as long. PostgreSQL keeps its pages itself."""
    if database.postgresql:
        return []
    check = "integrity_check" if deep else "quick_check"
    connection = database.connection
    with database.faults():
        try:
            said = [row[0] for row in connection.rows(f"PRAGMA {check}({EXAMPLES})")]
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise
            said = _damaged_tables(connection, check) or [str(error)]
    lines = [line for one in said for line in one.splitlines() if line != "ok"]
    return _finding("damaged", len(lines), lines)


def _damaged_tables(connection: Connection, check: str) -> list[str]:
    """What the check says table by table, where it gave up on the whole."""
    said = []
    for table in schema.metadata.sorted_tables:
        try:
            found = connection.rows(f"PRAGMA {check}('{table.name}')")
            said += [row[0] for row in found if row[0] != "ok"]
        except sqlite3.DatabaseError as error:
            said.append(f"table {table.name}: {error}")
    return said


_MADE = re.compile(r'\s*CREATE (?:UNIQUE )?(INDEX|TRIGGER|FUNCTION) "?(\w+)"?')


def _made(dialect: str) -> dict[tuple[str, str], str]:
    """(kind, name) of each index, trigger and function of the schema, and what creates it."""
    found = {}
    for statement in ground.creation(dialect):
        if match := _MADE.match(statement):
            found[match[1].lower(), match[2]] = statement
    return found


def _there(connection: Connection) -> set[tuple[str, str]]:
    """(kind, name) of all that the database itself says is there; a column is `table.column`."""
    if not connection.postgresql:
        sql = """SELECT type, name FROM sqlite_master
            UNION ALL SELECT 'column', m.name || '.' || c.name
            FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'"""
    else:
        sql = """SELECT 'column', table_name || '.' || column_name FROM information_schema.columns
              WHERE table_schema = current_schema()
            UNION ALL SELECT 'table', table_name FROM information_schema.tables
              WHERE table_schema = current_schema()
            UNION ALL SELECT 'index', indexname FROM pg_indexes WHERE schemaname = current_schema()
            UNION ALL SELECT 'function', proname FROM pg_proc
              WHERE pronamespace = current_schema()::regnamespace
            UNION ALL SELECT 'trigger', tgname FROM pg_trigger t
              JOIN pg_class c ON c.oid = t.tgrelid
              WHERE c.relnamespace = current_schema()::regnamespace AND t.tgenabled <> 'D'"""
    return {(kind, name) for kind, name in connection.rows(sql)}


def _missing(connection: Connection, kinds: Sequence[str]) -> list[tuple[str, str]]:
    made = _made("postgresql" if connection.postgresql else "sqlite")
    there = _there(connection)
    return [key for key in made if key[0] in kinds and key not in there]


def _schema(connection: Connection) -> list[Finding]:
    expected = [("table", table.name) for table in schema.metadata.sorted_tables] + [
        ("column", f"{table.name}.{column.name}")
        for table in schema.metadata.sorted_tables
        for column in table.columns
    ]
    there = _there(connection)
    missing = [key for key in expected if key not in there]
    gone = {name for kind, name in missing if kind == "table"}
    missing = [key for key in missing if key[0] == "table" or key[1].partition(".")[0] not in gone]
    return _parts("schema", missing)


def _indexes(connection: Connection) -> list[Finding]:
    return _parts("indexes", _missing(connection, ("index",)))


def _triggers(connection: Connection) -> list[Finding]:
    return _parts("triggers", _missing(connection, ("function", "trigger")))


def _parts(check: str, missing: list[tuple[str, str]]) -> list[Finding]:
    return _finding(check, len(missing), (f"{kind} {name}" for kind, name in missing))


def _references(connection: Connection) -> list[Finding]:
    """Foreign keys that lead nowhere. One question for each, since SQLite's foreign_key_check does
    not tell a row of a table without row ids, and PostgreSQL has none."""
    count, examples = 0, []
    for table in schema.metadata.sorted_tables:
        for key in table.foreign_key_constraints:
            pairs = [(one.parent.name, one.column.name) for one in key.elements]
            on = " AND ".join(f"p.{theirs} = c.{ours}" for ours, theirs in pairs)
            ours, theirs = pairs[0]
            shown = ", ".join(f"c.{one}" for one, _ in pairs)
            dangling = f"""FROM {table.name} c LEFT JOIN {key.referred_table.name} p ON {on}
                WHERE c.{ours} IS NOT NULL AND p.{theirs} IS NULL"""
            found = int(connection.value(f"SELECT count(*) {dangling}"))
            if found:
                count += found
                columns = "+".join(one for one, _ in pairs)
                examples += [
                    f"{table.name}.{columns} {' '.join(f'#{value}' for value in row)}"
                    for row in connection.rows(f"SELECT DISTINCT {shown} {dangling} LIMIT 5")
                ]
    return _finding("references", count, examples)


# ---- Generations, jumps, circles


@dataclass(slots=True)
class Ranks:
    """Ranks that are wrong, as (generation, jump, organism) of what they should be; and circles of
    links, each as organisms from child to parent."""

    wrong: list[tuple[int, int | None, int]] = field(default_factory=list)
    circles: list[list[int]] = field(default_factory=list)


class _Stored(dict[int, links.Rank]):
    """Ranks by position: those computed again, else those stored."""

    def __init__(self, generation: Array, jump: Array) -> None:
        super().__init__()
        self.generation, self.jump = generation, jump

    def __missing__(self, own: int) -> links.Rank:
        jump = int(self.jump[own])
        return int(self.generation[own]), None if jump == NO_JUMP else jump


NO_JUMP, NOWHERE = -1, -2


def wrong_ranks(connection: Connection) -> Ranks:
    """Ranks that do not follow from the links, and circles of links.

    Each stored rank is compared with what its parents' stored ranks make of it, for all at once.
    Where none differs every generation is larger than its parents', so there is no circle; and by
    induction over generations all are right. Only what differs, with all below it, is ranked anew,
    one by one."""
    import numpy as np

    ids, generation, jump = _arrays(
        connection, "SELECT id, generation, coalesce(jump, -1) FROM organism ORDER BY id", 3
    )
    child, parent = _arrays(connection, "SELECT child, parent FROM edge", 2)
    child, parent = _positions(ids, child), _positions(ids, parent)
    known = (child >= 0) & (parent >= 0)
    child, parent = child[known], parent[known]
    jump = np.where(jump < 0, NO_JUMP, _positions(ids, jump))
    should, leap = _expected(generation, jump, child, parent)
    wrong = np.flatnonzero((generation != should) | (jump != leap))
    if not len(wrong):
        return Ranks()
    found = _ranked_anew(_Stored(generation, jump), child, parent, wrong)
    at = ids.tolist()
    return Ranks(
        [(g, None if j is None else at[j], at[own]) for g, j, own in found.wrong],
        [[at[own] for own in circle] for circle in found.circles],
    )


def _positions(ids: Array, wanted: Array) -> Array:
    """Where each of `wanted` is in the ascending `ids`; NOWHERE for what is not in it."""
    import numpy as np

    at = np.searchsorted(ids, wanted)
    at[at == len(ids)] = 0
    return np.where(ids[at] == wanted, at, NOWHERE) if len(ids) else np.full_like(at, NOWHERE)


def _expected(
    generation: Array, jump: Array, child: Array, parent: Array
) -> tuple[Array, Array]:
    """Generation and jump of all, from those of their parents: `links.rank_below`, for arrays."""
    import numpy as np

    count = len(generation)
    should = np.zeros(count, np.int64)
    np.maximum.at(should, child, generation[parent] + 1)
    parents = np.bincount(child, minlength=count)
    leap = np.where(parents == 0, np.arange(count), NO_JUMP)
    only = parents[child] == 1
    child, parent = child[only], parent[only]
    first = jump[parent]
    second = np.where(first >= 0, jump[first], NO_JUMP)
    same = (second >= 0) & (
        generation[parent] - generation[first] == generation[first] - generation[second]
    )
    leap[child] = np.where(first == NO_JUMP, NO_JUMP, np.where(same, second, parent))
    return should, leap


def _ranked_anew(stored: _Stored, child: Array, parent: Array, wrong: Array) -> Ranks:
    """Rank these and all below them again, by positions."""
    import numpy as np

    by_parent = np.argsort(parent, kind="stable")
    kids, starts = child[by_parent], np.searchsorted(
        parent[by_parent], np.arange(len(stored.generation) + 1)
    )  # fmt: skip
    region = wrong.tolist()
    seen = set(region)
    for own in region:  # grows while it is read
        fresh = [kid for kid in kids[starts[own] : starts[own + 1]].tolist() if kid not in seen]
        seen.update(fresh)
        region += fresh
    parents: dict[int, list[int]] = {own: [] for own in region}
    inside = np.zeros(len(stored.generation), bool)
    inside[region] = True
    inside = inside[child]
    for own, above in zip(child[inside].tolist(), parent[inside].tolist(), strict=True):
        parents[own].append(above)
    order, stuck = links._topological(parents)
    found = Ranks(circles=_circles(parents, stuck))
    for own in order:
        had = stored[own]
        stored[own] = rank = links.rank_below(parents[own], own, stored)
        if rank != had:
            found.wrong.append((*rank, own))
    return found


def _circles(parents: Mapping[int, Sequence[int]], stuck: set[int]) -> list[list[int]]:
    """One circle, from child to parent, of each knot of organisms that descend from each other."""
    if not stuck:
        return []
    import networkx as nx

    graph = nx.DiGraph(
        (own, above) for own in sorted(stuck) for above in parents[own] if above in stuck
    )
    knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
    return [[own for own, _ in nx.find_cycle(graph.subgraph(knot))] for knot in knots]


def _ranks(connection: Connection) -> list[Finding]:
    found = wrong_ranks(connection)
    circles = [[_label(connection, own) for own in one] for one in found.circles[:EXAMPLES]]
    wrong = (_label(connection, own) for *_, own in found.wrong)
    return [
        *_finding(
            "circles",
            len(found.circles),
            (" from ".join([*circle, circle[0]]) for circle in circles),
            circles[0][:2] if circles else (),
        ),
        *_finding("ranks", len(found.wrong), wrong),
    ]


# ---- Links and their evidence

UNEVIDENT = """SELECT e.child, e.parent FROM edge e WHERE NOT EXISTS
  (SELECT 1 FROM evidence v WHERE v.child = e.child AND v.parent = e.parent)"""

# `IS DISTINCT FROM`, which SQLite speaks from 3.39 on
_STRONGEST = f"""(SELECT v.{{0}} FROM evidence v WHERE v.child = e.child AND v.parent = e.parent
  ORDER BY {EVIDENCE_RANK.replace("evidence", "v.evidence")}, v.confidence IS NULL,
  v.confidence DESC, v.relation LIMIT 1)"""
UNSETTLED = f"""SELECT x.child, x.parent FROM (
    SELECT e.child, e.parent, e.relation, e.weight, {_STRONGEST.format("relation")} AS best,
      {_STRONGEST.format("weight")} AS share FROM edge e) x
  WHERE x.relation <> x.best OR (x.best IS NOT NULL
    AND (x.weight <> x.share OR (x.weight IS NULL) <> (x.share IS NULL)))"""


def _evidence(connection: Connection) -> list[Finding]:
    return _links(connection, "evidence", connection.rows(UNEVIDENT))


def _relations(connection: Connection) -> list[Finding]:
    return _links(connection, "relations", connection.rows(UNSETTLED))


# ---- Flags

_LATER = """SELECT x.organism FROM {table} x WHERE {rates} x.current <> CASE
  WHEN x.retracted IS NOT NULL OR EXISTS (
    SELECT 1 FROM {table} l WHERE l.organism = x.organism AND {same}
    AND l.retracted IS NULL AND (l.at > x.at OR (l.at = x.at AND l.id > x.id))) THEN 0 ELSE 1 END"""
MISCOUNTED = {
    "fitness": _LATER.format(table="fitness", rates="", same="l.niche = x.niche"),
    "power": _LATER.format(
        table="power", rates="x.per <> 'total' AND", same="l.phase = x.phase AND l.per = x.per"
    ),
}
"""By table, the organism of each row whose `current` is not what it should be: 1 for the latest of
an organism and niche, or phase and `per`."""
_TOTALS = "per = 'total' AND current <> CASE WHEN retracted IS NULL THEN 1 ELSE 0 END"
UNCOUNTED = f"SELECT organism FROM power WHERE {_TOTALS}"

_LOCAL = "(p.uri LIKE '/%' OR p.uri LIKE '_:\\%' OR p.uri LIKE '_:/%')"  # as the store has it
MISPLACED = f"""SELECT o.id FROM organism o LEFT JOIN
    (SELECT DISTINCT p.organism FROM place p WHERE p.gone_at IS NULL AND {_LOCAL}) h
    ON h.organism = o.id
  WHERE o.here <> CASE WHEN o.ghost = 0 AND h.organism IS NOT NULL THEN 1 ELSE 0 END"""


def _current(connection: Connection) -> list[Finding]:
    wrong = " UNION ALL ".join((*MISCOUNTED.values(), UNCOUNTED))
    return _organisms(connection, "current", wrong)


def _here(connection: Connection) -> list[Finding]:
    return _organisms(connection, "here", MISPLACED)


def _hashes(connection: Connection) -> list[Finding]:
    wrong = _misfiled(connection)
    return _finding("hashes", len(wrong), (uri for uri, *_ in wrong))


def _misfiled(connection: Connection) -> list[tuple[str, int, int]]:
    """Places whose hash is not that of their URI: the URI, the right hash, the id."""
    return [
        (uri, right, own)
        for rows in connection.stream("SELECT id, hash, uri FROM place", (), 10_000)
        for own, found, uri in rows
        if (right := place_hash(uri)) != found
    ]


def _standings(connection: Connection) -> list[Finding]:
    wrong = standings.wrong(connection)
    examples = [_label(connection, own) for own in islice(dict.fromkeys(wrong), EXAMPLES)]
    return _finding("standings", len(wrong), examples)


# ---- Names, aliases, those that became one with another


def _names(connection: Connection) -> list[Finding]:
    return _organisms(
        connection, "names", "SELECT organism FROM name GROUP BY organism HAVING min(rank) <> 0"
    )


def _aliases(connection: Connection) -> list[Finding]:
    rows = connection.rows(
        """SELECT a.name, a.alias, a.organism FROM alias a WHERE NOT EXISTS
             (SELECT 1 FROM name n WHERE n.name = a.name AND n.organism = a.organism)
           ORDER BY a.name, a.alias"""
    )
    examples = (f"{name}@{alias} is {_label(connection, own)}" for name, alias, own in rows)
    names = [(alias, name) for name, alias, _ in rows]
    return _finding("aliases", len(rows), examples, names[0] if names else ())


_HOLDS = " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} x WHERE x.{column} = o.id)"
    for table, column in (
        ("name", "organism"),
        ("place", "organism"),
        ("fitness", "organism"),
        ("power", "organism"),
        ("tag", "organism"),
        ("alias", "organism"),
        ("configuration", "organism"),
        ("edge", "child"),
        ("edge", "parent"),
    )
)


def _absorbed(connection: Connection) -> list[Finding]:
    return _organisms(
        connection,
        "absorbed",
        f"""SELECT o.id FROM organism o WHERE o.same_as IS NOT NULL AND (o.digest IS NOT NULL
              OR EXISTS (SELECT 1 FROM organism k WHERE k.id = o.same_as AND k.same_as IS NOT NULL)
              OR {_HOLDS})""",
    )


def _unknown(connection: Connection) -> list[Finding]:
    return _organisms(
        connection,
        "unknown",
        """SELECT o.id FROM organism o WHERE o.same_as IS NULL AND o.digest IS NULL
             AND NOT EXISTS (SELECT 1 FROM name n WHERE n.organism = o.id)
             AND NOT EXISTS (SELECT 1 FROM place p WHERE p.organism = o.id)""",
    )


# ---- History and snapshot


def _events(connection: Connection) -> list[Finding]:
    wrong = _unreadable_events(connection)
    return _finding("events", len(wrong), (f"event {own}" for own in wrong))


def _unreadable_events(connection: Connection) -> list[int]:
    """Events whose body is no JSON object. SQLite looks five times as fast as Python; PostgreSQL
    learns it in version 16."""
    if not connection.postgresql:
        return [
            row[0]
            for row in connection.rows(
                """SELECT id FROM event WHERE CASE WHEN json_valid(body)
                   THEN json_type(body) <> 'object' ELSE 1 END ORDER BY id"""
            )
        ]
    return [
        own
        for rows in connection.stream("SELECT id, body FROM event ORDER BY id")
        for own, body in rows
        if not _is_object(body)
    ]


def _is_object(body: str) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _chain(connection: Connection, head: bytes | None) -> list[Finding]:
    """Whether each event follows from the one before, and whether a kept head is among them."""
    found = chain.verify(connection, [] if head is None else [head])
    lost = head is not None and head != chain.START and head not in found.found
    return [
        *_finding("chain", found.broken, map(str, found.breaks)),
        *(_finding("head", 1, [head.hex()]) if head is not None and lost else ()),
    ]


def _snapshot(connection: Connection) -> list[Finding]:
    """A snapshot that answers must hold all who were there when it was begun."""
    found = snapshots.current(connection)
    if found is None:
        return []
    held = connection.value("SELECT count(*) FROM label WHERE snapshot = ?", (found.number,))
    there = connection.value(
        "SELECT count(*) FROM organism WHERE id <= ? AND same_as IS NULL", (found.organism,)
    )
    return _finding("snapshot", abs(held - there), [f"{held:,} held, {there:,} there"])


def _snapshot_state(connection: Connection) -> str:
    if snapshots.current(connection) is not None:
        return "fresh"
    made = connection.value("SELECT 1 FROM setting WHERE key = 'snapshot'")
    many = connection.value(
        f"SELECT count(*) FROM (SELECT 1 FROM organism LIMIT {MANY + 1}) AS counted"
    )
    return "stale" if made or many > MANY else "none"


CHECKS: dict[str, Callable[[Connection], list[Finding]]] = {
    "schema": _schema,
    "indexes": _indexes,
    "triggers": _triggers,
    "references": _references,
    "ranks": _ranks,
    "evidence": _evidence,
    "relations": _relations,
    "current": _current,
    "here": _here,
    "hashes": _hashes,
    "standings": _standings,
    "names": _names,
    "aliases": _aliases,
    "absorbed": _absorbed,
    "unknown": _unknown,
    "events": _events,
    "snapshot": _snapshot,
}
BLOCKING = ("schema", "indexes")
"""Checks without which the others would fail, or take forever."""


# ---- Files


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file that should be on this host: its path, size in bytes, SHA-256, and when it was last
    modified, in nanoseconds since 1970, where that was recorded."""

    path: str
    size: int
    sha256: bytes
    modified: int | None
    culled: bool = False  # it may be there or not


@dataclass(slots=True)
class _Disk:
    """What was looked at on disk, and by check what is wrong with it: how many, and examples."""

    tell: Callable[[int], object]  # how many bytes are hashed
    places: int = 0
    files: int = 0
    hashed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    lock: Lock = field(default_factory=Lock)
    stopped: bool = False

    def note(self, check: str, what: str) -> None:
        self.counts[check] += 1
        if len(self.examples[check]) < EXAMPLES:
            self.examples[check].append(what)

    def sha256(self, path: str) -> bytes | OSError:
        """The digest of a file, or why it cannot be read. For several threads at a time."""
        digest = hashlib.sha256()
        try:
            with open(path, "rb", buffering=0) as file:
                while not self.stopped and (block := file.read(BLOCK)):
                    digest.update(block)
                    with self.lock:
                        self.hashed += len(block)
                        self.tell(self.hashed)
        except OSError as error:
            return error
        return digest.digest()


ON_DISK = ("places", "missing", "changed", "touched", "unreadable", "quarantine")
"""The checks of files."""


def _on_disk(
    database: Database, deep: bool, tell: Progress
) -> tuple[list[Finding], dict[str, int]]:
    """What is wrong with the files of places on this host, and how many were looked at."""
    places, size, elsewhere = _extent(database)
    disk = _Disk(lambda done: tell("hashing", done, size))
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        for batch in _batches(database):
            right: list[_Wanted] = []
            for uri, wanted in batch:
                disk.places += 1
                right += _of_right_size(disk, uri, wanted, deep)
                tell("files", disk.places, places)
            if deep:
                _compare(pool, disk, right)
    finally:
        disk.stopped = True
        pool.shutdown(wait=False, cancel_futures=True)
    for line in wrong_in_quarantine(database, deep):
        disk.note("quarantine", line)
    findings = [
        one
        for check in ON_DISK
        for one in _finding(check, disk.counts[check], disk.examples[check])
    ]
    counts = {"places": disk.places, "files": disk.files, "elsewhere": elsewhere}
    return findings, counts | ({"hashed": disk.hashed} if deep else {})


def _extent(database: Database) -> tuple[int, int, int]:
    """The places on this host, the bytes of their files, and the places on other hosts."""
    of = "FROM place p {} WHERE p.gone_at IS NULL AND {} p.host = ?"
    other = f"{_LOCAL} AND (p.host IS NULL OR p.host <> ?)"
    with database.read() as connection:
        host = (this_host(),)
        places = connection.value(f"SELECT count(*) {of.format('', '')}", host)
        with_files = of.format("JOIN file f ON f.place = p.id", "")
        size = connection.value(f"SELECT coalesce(sum(f.bytes), 0) {with_files}", host)
        elsewhere = connection.value(
            f"SELECT count(*) FROM place p WHERE p.gone_at IS NULL AND {other}", host
        )
    return int(places), int(size), int(elsewhere)


def _batches(database: Database) -> Iterator[list[tuple[str, list[_Wanted]]]]:
    """The places on this host with their files, many at a time: no view of the registry is held
    while a disk is read."""
    last = 0
    while True:
        with database.read() as connection:
            rows = connection.rows(
                f"""SELECT p.id, p.uri, f.path, f.bytes, f.sha256, f.modified,
                      q.path IS NOT NULL FROM
                      (SELECT id, uri FROM place WHERE id > ? AND gone_at IS NULL AND host = ?
                       ORDER BY id LIMIT {PLACES}) p
                    LEFT JOIN file f ON f.place = p.id
                    LEFT JOIN quarantine q ON q.place = f.place AND q.path = f.path
                    ORDER BY p.id, f.path""",
                (last, this_host()),
            )
        if not rows:
            return
        last = rows[-1][0]
        yield [
            (
                uri,
                [
                    _Wanted(path, size, bytes(sha), modified, bool(culled))
                    for _, _, path, size, sha, modified, culled in files
                    if path
                ],
            )
            for (_, uri), files in groupby(rows, key=lambda row: (row[0], row[1]))
        ]


def _of_right_size(
    disk: _Disk, uri: str, wanted: Sequence[_Wanted], deep: bool
) -> list[_Wanted]:
    """Those files of a place that are there, of their size and readable; the rest is noted. Where
    bytes are compared (`deep`), times tell nothing more."""
    try:
        is_folder = stat.S_ISDIR(os.stat(uri).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        disk.note("places", uri)
        return []
    except OSError as error:
        disk.note("unreadable", f"{uri}: {error.strerror}")
        return []
    folder = uri if is_folder else os.path.dirname(uri)
    right = []
    for file in wanted:
        disk.files += 1
        file = replace(file, path=os.path.join(folder, file.path))
        check, why = _wrong_with(file)
        if check == "missing" and file.culled:
            continue
        if check and not (check == "touched" and deep):
            disk.note(check, f"{file.path}{why}")
        else:
            right.append(file)
    return right


def _wrong_with(file: _Wanted) -> tuple[str, str]:
    """The check that a file fails, and why; empty for one that is there as it should be."""
    try:
        status = os.stat(file.path)
        if not stat.S_ISREG(status.st_mode):
            return "changed", ": no file any more"
        if status.st_size != file.size:
            return "changed", f": {status.st_size:,} bytes instead of {file.size:,}"
        os.close(os.open(file.path, os.O_RDONLY))
    except (FileNotFoundError, NotADirectoryError):
        return "missing", ""
    except OSError as error:
        return "unreadable", f": {error.strerror}"
    if file.modified not in (None, status.st_mtime_ns):
        return "touched", ""
    return "", ""


def _compare(pool: ThreadPoolExecutor, disk: _Disk, files: Sequence[_Wanted]) -> None:
    """Read every byte of these files, several at a time, and note those that differ."""
    for file, found in zip(files, pool.map(disk.sha256, (f.path for f in files)), strict=True):
        if isinstance(found, OSError):
            disk.note("unreadable", f"{file.path}: {found.strerror}")
        elif found != file.sha256:
            disk.note("changed", f"{file.path}: other bytes of the same size")


# ---- Mending


def repair(store: Store, found: Checkup) -> dict[str, int]:
    """Rebuild what is derived, where `found` says that it is wrong: indexes and triggers, ranks,
    relations, flags; and a snapshot that is stale or wrong. Found again and mended in one
    transaction, which leaves an event; nothing that was recorded is touched. How many of each."""
    wanted = {finding.check for finding in found.findings if finding.derived}
    mended: dict[str, int] = {}
    if wanted - {"snapshot"}:
        with store.act() as act:
            for check, mend in MENDS.items():
                if check in wanted:
                    mended[check] = mend(act)
            if any(mended.values()):
                act.event(None, "repaired", mended)
    if "snapshot" in wanted or found.snapshot == "stale":
        mended["snapshot"] = int(snapshots.build(store.database))
    return mended


def _mend_schema(act: Act, *kinds: str) -> int:
    """Create what is missing. What cannot be, because rows are there twice, stays missing."""
    connection = act.connection
    made = _made("postgresql" if connection.postgresql else "sqlite")
    count = 0
    for key in _missing(connection, kinds):
        connection.execute("SAVEPOINT mending")
        try:
            for statement in _anew(key, made[key]) if connection.postgresql else (made[key],):
                connection.execute(statement)
            count += 1
        except connection.raw.IntegrityError:  # both drivers have it there
            connection.execute("ROLLBACK TO mending")
        connection.execute("RELEASE mending")
    return count


def _anew(key: tuple[str, str], statement: str) -> tuple[str, ...]:
    """What creates a part of PostgreSQL's schema, where a trigger may be there, but disabled."""
    kind, name = key
    if kind != "trigger":
        return (statement,)
    table = re.search(r"\bON (\w+)", statement)
    assert table is not None  # a trigger is of a table
    return f"DROP TRIGGER IF EXISTS {name} ON {table[1]}", statement


def _mend_ranks(act: Act) -> int:
    wrong = wrong_ranks(act.connection).wrong
    act.connection.many("UPDATE organism SET generation = ?, jump = ? WHERE id = ?", wrong)
    return len(wrong)


def _mend_relations(act: Act) -> int:
    pairs = act.connection.rows(UNSETTLED)
    act.settle_links(pairs)
    return len(pairs)


def _mend_current(act: Act) -> int:
    count = 0
    for table, sql in MISCOUNTED.items():
        wrong = [row[0] for row in act.connection.rows(sql)]
        act.settle(table, set(wrong))
        count += len(wrong)
    totals = act.connection.execute(
        f"UPDATE power SET current = CASE WHEN retracted IS NULL THEN 1 ELSE 0 END WHERE {_TOTALS}"
    )
    return count + int(totals.rowcount)


def _mend_here(act: Act) -> int:
    wrong = [row[0] for row in act.connection.rows(MISPLACED)]
    act.set_places_here(wrong)
    return len(wrong)


def _mend_hashes(act: Act) -> int:
    wrong = _misfiled(act.connection)
    act.connection.many("UPDATE place SET hash = ? WHERE id = ?", [row[1:] for row in wrong])
    return len(wrong)


def _mend_standings(act: Act) -> int:
    wrong = standings.wrong(act.connection)
    standings.rebuild(act.connection)
    return len(wrong)


MENDS: dict[str, Callable[[Act], int]] = {
    "indexes": lambda act: _mend_schema(act, "index"),
    "triggers": lambda act: _mend_schema(act, "function", "trigger"),
    "ranks": _mend_ranks,
    "relations": _mend_relations,
    "current": _mend_current,
    "here": _mend_here,
    "hashes": _mend_hashes,
    "standings": _mend_standings,
}
