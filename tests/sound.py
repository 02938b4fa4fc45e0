"""What is true of every registry at every moment, recomputed from scratch from what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict

import networkx as nx
import pytest

from lineage.database import Connection
from lineage.energy import JOULES_PER_OPERATION
from lineage.references import place_hash
from lineage.registry import Registry
from lineage.store import EVIDENCE_RANK

Rank = tuple[int, int | None]

EXAMPLES = 2000 if os.environ.get("LINEAGE_SLOW") else 60
"""Of a property of the whole registry; LINEAGE_SLOW=1 looks for longer."""


def ranks_of(graph: nx.DiGraph) -> dict[int, Rank]:
    """Generation (the longest distance from a founder) and jump pointer of every node of a graph
    of parent -> child, by their definitions."""
    found: dict[int, Rank] = {}
    for own in nx.topological_sort(graph):
        parents = list(graph.predecessors(own))
        generation = 1 + max((found[one][0] for one in parents), default=-1)
        merged = len(parents) > 1 or any(found[one][1] is None for one in parents)
        if not parents:
            found[own] = (0, own)
        elif merged:
            found[own] = (generation, None)
        else:
            (parent,) = parents
            jump = found[parent][1]
            further = found[jump][1]
            same = found[parent][0] - found[jump][0] == found[jump][0] - found[further][0]
            found[own] = (generation, further if same else parent)
    return found


def family(connection: Connection) -> nx.DiGraph:
    """The whole family graph, parent -> child, as it is written down."""
    graph = nx.DiGraph()
    graph.add_nodes_from(row[0] for row in connection.rows("SELECT id FROM organism"))
    graph.add_edges_from(connection.rows("SELECT parent, child FROM edge"))
    return graph


def check(registry: Registry) -> nx.DiGraph:
    """Assert that the registry is sound, and return its family."""
    with registry.database.read() as connection:
        graph = family(connection)
        assert nx.is_directed_acyclic_graph(graph)
        _check_ranks(connection, graph)
        _check_links(connection)
        _check_absorbed(connection)
        _check_names(connection)
        _check_current(connection)
        check_standings(connection)
        _check_here(connection)
        _check_places(connection)
        _check_chain(connection)
        if not connection.postgresql:
            assert connection.rows("PRAGMA foreign_key_check") == []
            assert connection.value("PRAGMA integrity_check") == "ok"
    return graph


def _check_ranks(connection: Connection, graph: nx.DiGraph) -> None:
    stored = {
        own: (generation, jump)
        for own, generation, jump in connection.rows("SELECT id, generation, jump FROM organism")
    }
    assert stored == ranks_of(graph)
    for own, (_, jump) in stored.items():
        above = [own, *nx.ancestors(graph, own)] if len(graph) < 500 else [own]
        if len(graph) < 500:
            assert (jump is None) == any(graph.in_degree(one) > 1 for one in above)


def _check_links(connection: Connection) -> None:
    strongest = {}
    for child, parent, relation, weight in connection.rows(
        f"""SELECT child, parent, relation, weight FROM evidence
            ORDER BY child, parent, {EVIDENCE_RANK}, confidence IS NULL, confidence DESC, relation
        """
    ):
        strongest.setdefault((child, parent), (relation, weight))
    edges = {
        (child, parent): (relation, weight)
        for child, parent, relation, weight in connection.rows(
            "SELECT child, parent, relation, weight FROM edge"
        )
    }
    assert edges == strongest


def _check_absorbed(connection: Connection) -> None:
    absorbed = connection.rows(
        "SELECT o.id, o.digest, k.same_as FROM organism o JOIN organism k ON k.id = o.same_as"
    )
    for own, digest, further in absorbed:
        assert digest is None, f"#{own} was absorbed and keeps a digest"
        assert further is None, f"#{own} points to an organism that was absorbed itself"
        for table in ("name", "alias", "tag", "fitness", "power"):
            left = connection.value(f"SELECT count(*) FROM {table} WHERE organism = ?", (own,))
            assert left == 0, f"#{own} was absorbed and keeps a {table}"
        left = connection.value(
            "SELECT count(*) FROM edge WHERE child = ? OR parent = ?", (own, own)
        )
        assert left == 0, f"#{own} was absorbed and keeps a link"


def _check_names(connection: Connection) -> None:
    ranks = defaultdict(list)
    for own, rank in connection.rows("SELECT organism, rank FROM name"):
        ranks[own].append(rank)
    for own, given in ranks.items():
        assert sorted(given) == list(range(len(given))), f"the names of #{own}: {given}"
    astray = connection.rows(
        """SELECT a.name, a.alias FROM alias a WHERE NOT EXISTS
             (SELECT 1 FROM name n WHERE n.name = a.name AND n.organism = a.organism)"""
    )
    assert astray == [], "aliases of a name that their organism does not bear"
    unknown = connection.rows(
        """SELECT o.id FROM organism o WHERE o.same_as IS NULL AND o.digest IS NULL
             AND NOT EXISTS (SELECT 1 FROM name n WHERE n.organism = o.id)
             AND NOT EXISTS (SELECT 1 FROM place p WHERE p.organism = o.id)"""
    )
    assert unknown == [], "organisms that nothing is known by"


def _check_current(connection: Connection) -> None:
    for table, key, rates in (
        ("fitness", "niche", ""),
        ("power", "phase, per", "AND per <> 'total'"),
    ):
        marked, latest = set(), {}
        for own, current, _at, *what in connection.rows(
            f"""SELECT id, current, at, organism, {key} FROM {table}
                WHERE retracted IS NULL {rates} ORDER BY at, id"""
        ):
            latest[tuple(what)] = own
            if current:
                marked.add(own)
        assert marked == set(latest.values()), f"current rows of {table}"
        struck = f"SELECT count(*) FROM {table} WHERE retracted IS NOT NULL AND current <> 0"
        assert connection.value(struck) == 0, f"retracted rows of {table} that count"
    idle = connection.value(
        "SELECT count(*) FROM power WHERE per = 'total' AND current <> 1 AND retracted IS NULL"
    )
    assert idle == 0


def check_standings(connection: Connection) -> None:
    """What serving costs beside each score that counts, computed one by one."""
    units = ("token", "character", "request", "image")
    sure = ("measured", "declared", "estimated")
    own: dict[int, dict[int, tuple[float, int, int]]] = defaultdict(dict)
    for who, per, joules, source, meter in connection.rows(
        """SELECT organism, per, joules, source, meter FROM power
           WHERE phase = 'serving' AND current = 1 AND joules IS NOT NULL"""
    ):
        if per in units:
            meter = -3 if meter is None else meter
            own[who][units.index(per)] = (joules, sure.index(source), meter)
    state = {}
    for who, status, gone, here, parameters, precision in connection.rows(
        """SELECT id, status, CASE WHEN ghost = 1 OR same_as IS NOT NULL THEN 1 ELSE 0 END, here,
             parameters, precision FROM organism"""
    ):
        state[who] = (3 if gone else ("alive", "selected_against", "culled").index(status), here)
        if who not in own and parameters is not None:
            each = JOULES_PER_OPERATION.get(precision, JOULES_PER_OPERATION["BF16"])
            own[who][0] = (2 * parameters * each, 2, -1)
    above = nx.DiGraph(connection.rows("SELECT child, parent FROM edge WHERE needed = 1"))
    wanted = []
    for niche, value, who, stderr, n in connection.rows(
        "SELECT niche, value, organism, stderr, n FROM fitness WHERE current = 1"
    ):
        parts = [own[one] for one in ({who} | nx.descendants(above, who)
                                      if who in above else {who})]  # fmt: skip
        shared = sorted(set.intersection(*(set(one) for one in parts)))
        rows = [
            (
                per, int(at > 0), sum(one[per][0] for one in parts),
                max(one[per][1] for one in parts),
                parts[0][per][2] if len({one[per][2] for one in parts}) == 1 else -2,
            )
            for at, per in enumerate(shared)
        ]  # fmt: skip
        for row in rows or [(-1, 0, None, None, None)]:
            wanted.append((niche, value, who, *row, stderr, n, *state[who]))
    found = connection.rows(
        """SELECT niche, value, organism, per, also, joules, source, meter, stderr, n, state, here
           FROM standing ORDER BY niche, value, organism, per"""
    )
    wanted.sort(key=lambda row: row[:4])
    exact = [(*row[:5], *row[6:]) for row in wanted]
    assert [(*row[:5], *row[6:]) for row in found] == exact, "standings"
    for one, other in zip(found, wanted, strict=True):
        assert one[5] == other[5] or one[5] == pytest.approx(other[5], rel=1e-12)


def _check_chain(connection: Connection) -> None:
    before = bytes(32)
    for own, organism, kind, at, user, host, pid, command, body, chained in connection.rows(
        """SELECT e.id, e.organism, e.kind, e.at, a."user", a.host, a.pid, a.command, e.body,
             e.chain FROM event e JOIN actor a ON a.id = e.actor ORDER BY e.id"""
    ):
        start = json.dumps(
            [organism, at, [user, host, pid, command], kind],
            ensure_ascii=False,
            separators=(",", ":"),
        )
        before = hashlib.sha256(before + f"{start[:-1]},{body}]".encode()).digest()
        assert bytes(chained) == before, f"event {own} does not follow from the one before"


def _check_places(connection: Connection) -> None:
    rows = connection.rows("SELECT organism, uri, hash FROM place")
    assert len({row[:2] for row in rows}) == len(rows), "an organism that is at a place twice"
    assert [row for row in rows if place_hash(row[1]) != row[2]] == []


def _check_here(connection: Connection) -> None:
    wrong = connection.rows(
        """SELECT o.id, o.here FROM organism o WHERE o.here <> CASE WHEN o.ghost = 0 AND EXISTS
             (SELECT 1 FROM place p WHERE p.organism = o.id AND p.gone_at IS NULL
              AND p.uri LIKE '/%') THEN 1 ELSE 0 END"""
    )
    assert wrong == [], "organisms that are said to be here and are not, or the other way round"
