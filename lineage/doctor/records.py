"""Whether what is recorded agrees with itself: links and their evidence, what is said to count and
to be here, names, the history, the snapshot."""

from __future__ import annotations

import json
from itertools import islice

from lineage import chain, snapshots, standings
from lineage.database import Connection
from lineage.doctor.findings import EXAMPLES, Finding, about_links, about_organisms, finding, label
from lineage.references import LOCAL, place_hash
from lineage.store import EVIDENCE_RANK

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


def check_evidence(connection: Connection) -> list[Finding]:
    return about_links(connection, "evidence", connection.rows(UNEVIDENT))


def check_relations(connection: Connection) -> list[Finding]:
    return about_links(connection, "relations", connection.rows(UNSETTLED))


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
TOTALS = "per = 'total' AND current <> CASE WHEN retracted IS NULL THEN 1 ELSE 0 END"
UNCOUNTED = f"SELECT organism FROM power WHERE {TOTALS}"

MISPLACED = f"""SELECT o.id FROM organism o LEFT JOIN
    (SELECT DISTINCT p.organism FROM place p WHERE p.gone_at IS NULL AND {LOCAL}) h
    ON h.organism = o.id
  WHERE o.here <> CASE WHEN o.ghost = 0 AND h.organism IS NOT NULL THEN 1 ELSE 0 END"""


def check_current(connection: Connection) -> list[Finding]:
    wrong = " UNION ALL ".join((*MISCOUNTED.values(), UNCOUNTED))
    return about_organisms(connection, "current", wrong)


def check_here(connection: Connection) -> list[Finding]:
    return about_organisms(connection, "here", MISPLACED)


def check_hashes(connection: Connection) -> list[Finding]:
    wrong = misfiled(connection)
    return finding("hashes", len(wrong), (uri for uri, *_ in wrong))


def misfiled(connection: Connection) -> list[tuple[str, int, int]]:
    """Places whose hash is not that of their URI: the URI, the right hash, the id."""
    return [
        (uri, right, own)
        for rows in connection.stream("SELECT id, hash, uri FROM place", (), 10_000)
        for own, found, uri in rows
        if (right := place_hash(uri)) != found
    ]


def check_standings(connection: Connection) -> list[Finding]:
    wrong = standings.wrong(connection)
    examples = [label(connection, own) for own in islice(dict.fromkeys(wrong), EXAMPLES)]
    return finding("standings", len(wrong), examples)


# ---- Names, aliases, those that became one with another


def check_names(connection: Connection) -> list[Finding]:
    return about_organisms(
        connection, "names", "SELECT organism FROM name GROUP BY organism HAVING min(rank) <> 0"
    )


def check_aliases(connection: Connection) -> list[Finding]:
    rows = connection.rows(
        """SELECT a.name, a.alias, a.organism FROM alias a WHERE NOT EXISTS
             (SELECT 1 FROM name n WHERE n.name = a.name AND n.organism = a.organism)
           ORDER BY a.name, a.alias"""
    )
    examples = (f"{name}@{alias} is {label(connection, own)}" for name, alias, own in rows)
    names = [(alias, name) for name, alias, _ in rows]
    return finding("aliases", len(rows), examples, names[0] if names else ())


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


def check_absorbed(connection: Connection) -> list[Finding]:
    return about_organisms(
        connection,
        "absorbed",
        f"""SELECT o.id FROM organism o WHERE o.same_as IS NOT NULL AND (o.digest IS NOT NULL
              OR EXISTS (SELECT 1 FROM organism k WHERE k.id = o.same_as AND k.same_as IS NOT NULL)
              OR {_HOLDS})""",
    )


def check_unknown(connection: Connection) -> list[Finding]:
    return about_organisms(
        connection,
        "unknown",
        """SELECT o.id FROM organism o WHERE o.same_as IS NULL AND o.digest IS NULL
             AND NOT EXISTS (SELECT 1 FROM name n WHERE n.organism = o.id)
             AND NOT EXISTS (SELECT 1 FROM place p WHERE p.organism = o.id)""",
    )


# ---- History and snapshot


def check_events(connection: Connection) -> list[Finding]:
    wrong = _unreadable_events(connection)
    return finding("events", len(wrong), (f"event {own}" for own in wrong))


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


def check_chain(connection: Connection, head: bytes | None) -> list[Finding]:
    """Whether each event follows from the one before, and whether a kept head is among them."""
    found = chain.verify(connection, [] if head is None else [head])
    lost = head is not None and head != chain.START and head not in found.found
    return [
        *finding("chain", found.broken, map(str, found.breaks)),
        *(finding("head", 1, [head.hex()]) if head is not None and lost else ()),
    ]


def check_snapshot(connection: Connection) -> list[Finding]:
    """A snapshot that answers must hold all who were there when it was begun."""
    found = snapshots.current(connection)
    if found is None:
        return []
    held = connection.value("SELECT count(*) FROM label WHERE snapshot = ?", (found.number,))
    there = connection.value(
        "SELECT count(*) FROM organism WHERE id <= ? AND same_as IS NULL", (found.organism,)
    )
    return finding("snapshot", abs(held - there), [f"{held:,} held, {there:,} there"])
