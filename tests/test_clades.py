"""What a clade amounts to: the same by the snapshot, link by link, and counted by networkx, however
the family grew, and whatever happened since the snapshot or to a build of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

import lineage
from lineage import clades, snapshots, store
from lineage.clades import Figures, aggregate, by_snapshot, figures, members
from lineage.errors import LineageError
from lineage.registry import Registry

NICHES = ("a/acc", "b/loss", "c/odd")  # the direction of the last is not known
NAMES = [f"n{index}" for index in range(10)]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with lineage.open(tmp_path / "registry.db", durable=False) as registry:
        yield registry


# What happens to a registry, as plain data

names = st.sampled_from(NAMES)
numbers = st.integers(0, 3)
scores = st.dictionaries(st.sampled_from(NICHES), numbers, max_size=2)
parents = st.lists(names, max_size=3, unique=True)
register = st.tuples(st.just("register"), names, parents, scores)
# a name that is new each time: a newcomer, whoever was there before
newcomer = st.tuples(st.just("newcomer"), parents, scores, st.booleans())
score = st.tuples(st.just("score"), names, st.sampled_from(NICHES), numbers)
directed = st.tuples(st.just("directed"), names, numbers)
meter = st.tuples(st.just("meter"), names, numbers)
mark = st.tuples(st.just("mark"), names, st.booleans())
tag = st.tuples(st.just("tag"), names)
link = st.tuples(st.just("link"), names, names)
unlink = st.tuples(st.just("unlink"), names, names)
unite = st.tuples(st.just("unite"), names, names)
gentle = st.one_of(newcomer, newcomer, score, directed, meter, mark, tag)
wild = st.one_of(register, register, gentle, link, unlink, unite)


def do(registry: Registry, number: int, act: tuple[Any, ...]) -> None:
    """One act; those that make no sense (a cycle, an unknown name) are refused as they should."""
    try:
        _do(registry, number, *act)
    except LineageError as error:
        note(f"{act}: {error}")


def _do(registry: Registry, number: int, kind: str, *args: Any) -> None:
    if kind == "register":
        name, parents, fitness = args
        registry.register(name=name, parents=parents, fitness=fitness)
    elif kind == "newcomer":
        parents, fitness, late = args
        known = [name for name in parents if registry.find(name, ghosts=True)]
        own = registry.register(name=f"new{number}", parents=[] if late else known, fitness=fitness)
        for parent in known if late else ():
            registry.link(own, parent)
        if late:
            registry.register(name=f"newer{number}", parents=[own, f"ghost{number}"])
    elif kind == "score":
        registry.score(*args)
    elif kind == "directed":
        registry.score(args[0], NICHES[-1], args[1], direction="lower")
    elif kind == "meter":
        registry.meter(args[0], lineage.PowerCost(joules=args[1]))
    elif kind == "mark":
        own, off = registry.get(args[0]).id, args[1]
        status, how = ("selected_against",) * 2 if off else ("alive", "revived")
        with registry.store.act() as act:
            store.mark(act, status, how, [(own, {})])
    elif kind == "tag":
        registry.tag(args[0], note="any")
    elif kind == "link":
        registry.link(*args)
    elif kind == "unlink":
        registry.unlink(*args)
    elif kind == "unite":
        name, other = args
        digest = f"{number:064x}"
        registry.register(name=name, digest=digest)
        registry.register(name=other, digest=digest)


# The same, counted by networkx from the rows


def model(registry: Registry) -> dict[int, Figures]:
    with registry.database.read() as connection:
        state = {
            own: (status == "alive" and not ghost, ghost)
            for own, status, ghost in connection.rows(
                "SELECT id, status, ghost FROM organism WHERE same_as IS NULL"
            )
        }
        graph = nx.DiGraph()
        graph.add_nodes_from(state)
        graph.add_edges_from(connection.rows("SELECT parent, child FROM edge"))
        power = connection.rows("SELECT organism, joules FROM power WHERE phase = 'training'")
        scored = connection.rows(
            """SELECT f.organism, f.niche, f.value, n.direction FROM fitness f
               JOIN niche n ON n.id = f.niche WHERE f.current = 1 AND n.direction IS NOT NULL"""
        )  # fmt: skip
    counted = {}
    for own in state:
        clade = {own} | nx.descendants(graph, own)
        best: dict[int, tuple[float, int]] = {}
        for holder, niche, value, direction in sorted(scored):
            fit = value if direction == "higher" else -value
            if holder in clade and state[holder][0] and fit > best.get(niche, (-99, 0))[0]:
                best[niche] = (fit, holder)
        spent = [(holder, joules) for holder, joules in power if holder in clade]
        counted[own] = Figures(
            len(clade), sum(state[one][1] for one in clade), sum(state[one][0] for one in clade),
            len(dict(spent)), sum(joules for _, joules in spent), best,
        )  # fmt: skip
    return counted


def check(registry: Registry) -> int:
    """Compare all ways of counting for every organism; for how many the snapshot answered."""
    answered = 0
    expected = model(registry)
    with registry.database.read() as connection:
        for own, counted in expected.items():
            assert figures(connection, members(connection, own)) == counted
            short = by_snapshot(connection, own)
            assert short in (None, counted)
            answered += short is not None
    return answered


def grow(registry: Registry, before: list[Any], after: list[Any]) -> None:
    for number, act in enumerate(before):
        do(registry, number, act)
    assert snapshots.build(registry.database)
    assert check(registry) == len(model(registry))
    for number, act in enumerate(after, len(before)):
        do(registry, number, act)


def in_a_registry(test: Callable[[Registry], None]) -> None:
    """A property runs in a fresh registry for each example."""
    with (
        tempfile.TemporaryDirectory() as folder,
        lineage.open(Path(folder) / "registry.db", durable=False) as registry,
    ):
        test(registry)


@settings(max_examples=40)
@given(before=st.lists(wild, max_size=25), after=st.lists(gentle, max_size=10))
def test_a_snapshot_answers_exactly_after_what_changes_no_old_link(
    before: list[Any], after: list[Any]
) -> None:
    def test(registry: Registry) -> None:
        grow(registry, before, after)
        assert check(registry) == len(model(registry))

    in_a_registry(test)


@settings(max_examples=40)
@given(before=st.lists(wild, max_size=25), after=st.lists(wild, min_size=1, max_size=10))
def test_whatever_happened_since_a_snapshot_it_is_exact_or_silent(
    before: list[Any], after: list[Any]
) -> None:
    def test(registry: Registry) -> None:
        grow(registry, before, after)
        check(registry)
        snapshots.build(registry.database)
        assert check(registry) == len(model(registry))

    in_a_registry(test)


def family(registry: Registry) -> None:
    """Two founders, a merge below both, a ghost with a child, and one without parents."""
    registry.register(name="a", fitness={"t/acc": 0.5})
    registry.register(name="b", parents="a", fitness={"t/acc": 0.7})
    registry.register(name="c", parents=["a"])
    registry.register(name="d", parents=["b", "c"], fitness={"t/acc": 0.7, "t/odd": 1})
    registry.register(name="e", parents="ghost")
    registry.register(name="f")


def silent(registry: Registry) -> bool:
    with registry.database.read() as connection:
        return by_snapshot(connection, registry.get("a").id) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.link("f", "d"),
        lambda r: r.link("a", "nobody has registered this"),
        lambda r: r.unlink("d", "c"),
        lambda r: r.register(name="ghost", parents="a"),
        lambda r: r.register(name="f", digest="1" * 64) and r.register(name="e", digest="1" * 64),
    ],
)
def test_a_changed_link_among_the_old_makes_a_snapshot_silent(
    registry: Registry, change: Callable[[Registry], Any]
) -> None:
    family(registry)
    snapshots.build(registry.database)
    assert not silent(registry)
    change(registry)
    assert silent(registry)
    check(registry)
    snapshots.build(registry.database)
    assert not silent(registry)
    check(registry)


def test_an_old_one_that_a_newcomer_absorbs_makes_a_snapshot_silent(registry: Registry) -> None:
    registry.register(name="waits", place="hf:org/name@main")
    registry.register(name="child", parents="hf:org/name@main")
    registry.register(name="a")
    snapshots.build(registry.database)
    registry.register(name="new", digest="2" * 64, parents="a")
    registry.register(name="waits", digest="2" * 64, place="hf:org/name@main")
    assert silent(registry)
    assert registry.is_ancestor("a", "child")
    check(registry)


def test_what_links_newcomers_leaves_a_snapshot_as_it_is(registry: Registry) -> None:
    family(registry)
    snapshots.build(registry.database)
    registry.register(name="new", parents="ghost")
    registry.link("new", "d")
    registry.unlink("new", "ghost")
    registry.register(name="newer", parents=["another ghost", "new"])
    registry.register(name="another ghost", parents=["b"])
    assert not silent(registry)
    check(registry)


def test_a_ghost_that_becomes_real_without_parents_counts_anew(registry: Registry) -> None:
    family(registry)
    snapshots.build(registry.database)
    registry.register(name="ghost", fitness={"t/acc": 0.9})
    assert not silent(registry)
    check(registry)


def test_a_link_made_while_a_build_runs_makes_it_silent(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(registry)
    tables = snapshots._tables

    def then_linked(*args: Any) -> Any:
        """The view is taken; the link comes in through another connection."""
        found = tables(*args)
        with lineage.open(registry.database.address.file) as other:
            other.link("f", "d")
        return found

    monkeypatch.setattr(snapshots, "_tables", then_linked)
    assert snapshots.build(registry.database)
    assert silent(registry)
    check(registry)


def test_a_direction_that_becomes_known_counts_for_old_scores(registry: Registry) -> None:
    family(registry)
    snapshots.build(registry.database)
    registry.score("f", "t/odd", 2, direction="higher")
    with registry.database.read() as connection:
        found = by_snapshot(connection, registry.get("a").id)
    assert found
    assert {holder for _, holder in found.best.values()} == {
        registry.get("b").id,
        registry.get("d").id,
    }
    check(registry)


def test_a_clade_says_what_it_counts(registry: Registry) -> None:
    family(registry)
    registry.meter("c", lineage.PowerCost(joules=5.0))
    registry.meter("c", lineage.PowerCost(joules=7.0))
    registry.meter("c", lineage.PowerCost(joules=2.0, phase="serving", per="token"))
    with registry.store.act() as act:
        store.mark(act, "selected_against", "selected_against", [(registry.get("c").id, {})])
    with registry.database.read() as connection:
        whole = aggregate(connection, registry.get("a").id)
        ghost = aggregate(connection, registry.find("ghost", ghosts=True)[0].id)
    assert (whole.organism.name, whole.count, whole.ghosts, whole.living) == ("a", 4, 0, 3)
    (best,) = whole.best  # the direction of t/odd is unknown, and of equals the first counts
    assert (best.organism.name, best.score.value, str(best.score.niche)) == ("b", 0.7, "t/acc")
    assert (whole.joules, whole.metered, whole.from_snapshot) == (12.0, 1, False)
    assert (ghost.count, ghost.ghosts, ghost.living) == (1, 1, 1)
    assert ghost.joules is None


def test_a_large_clade_is_counted_by_the_snapshot_until_too_much_is_new(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register(name="top")
    registry.register_many({"name": f"m{n}", "parents": "top"} for n in range(clades.FEW))
    top = registry.get("top").id

    def now() -> tuple[int, bool]:
        with registry.database.read() as connection:
            clade = aggregate(connection, top)
        return clade.count, clade.from_snapshot

    assert now() == (clades.FEW + 1, False)
    snapshots.build(registry.database)
    assert now() == (clades.FEW + 1, True)
    registry.register(name="another", parents="m7")
    assert now() == (clades.FEW + 2, True)
    monkeypatch.setattr(clades, "MANY", 0)
    assert now() == (clades.FEW + 2, False)


def test_a_chain_of_100_000_with_a_graft_at_every_fifth(registry: Registry) -> None:
    length = 100_000
    with registry.database.write() as connection:
        connection.many("INSERT INTO organism (id, generation) VALUES (?, ?)",
                        [(n + 1, n) for n in range(length)])  # fmt: skip
        links = [(n, n - 1) for n in range(2, length + 1)]
        links += [(n, n - 3) for n in range(5, length + 1, 5)]
        connection.many("INSERT INTO edge (child, parent, relation) VALUES (?, ?, 'continue')",
                        sorted(links))  # fmt: skip
    snapshots.build(registry.database)
    with registry.database.read() as connection:
        for own in (1, 40_000, length):
            found = by_snapshot(connection, own)
            assert found
            assert found.total == length + 1 - own
        assert aggregate(connection, 1).from_snapshot


def test_a_way_down_through_too_many_grafts_is_walked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    family(registry)
    snapshots.build(registry.database)
    monkeypatch.setattr(clades, "ROUNDS", 1)
    with registry.database.read() as connection:
        assert by_snapshot(connection, registry.get("c").id) is None
        assert by_snapshot(connection, registry.get("f").id) == Figures(1, 0, 1)


HALF = """
import os, signal, sys
from lineage import database, snapshots
snapshots.CHUNK = 2
insert, left = snapshots._insert, int(sys.argv[2])
def die(*args):
    global left
    insert(*args)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
snapshots._insert = die
snapshots.build(database.connect(sys.argv[1]))
"""


@pytest.mark.parametrize("chunks", [2, 5])
def test_a_build_that_is_killed_harms_nothing(
    registry: Registry, tmp_path: Path, chunks: int
) -> None:
    family(registry)
    snapshots.build(registry.database)
    registry.register(name="g", parents="d")
    command = [sys.executable, "-c", HALF, str(tmp_path / "registry.db"), str(chunks)]
    killed = subprocess.run(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == -signal.SIGKILL
    assert len(numbers_of(registry)) == 2  # what it wrote is there, and nobody reads it
    assert check(registry) == len(model(registry))
    snapshots.build(registry.database)
    assert len(numbers_of(registry)) == 1
    assert check(registry) == len(model(registry))


def numbers_of(registry: Registry) -> set[int]:
    """The snapshots that have rows."""
    with registry.database.read() as connection:
        return {row[0] for table in snapshots.COLUMNS
                for row in connection.rows(f"SELECT DISTINCT snapshot FROM {table}")}  # fmt: skip


def test_of_two_builds_the_later_wins(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    family(registry)
    monkeypatch.setattr(snapshots, "CHUNK", 2)
    is_ours, asked = snapshots._is_ours, []

    def meanwhile(connection: Any, number: int) -> bool:
        """At its third chunk another build begins."""
        asked.append(number)
        if len(asked) == 3:
            snapshots._begin(connection)
        return is_ours(connection, number)

    monkeypatch.setattr(snapshots, "_is_ours", meanwhile)
    assert not snapshots.build(registry.database)
    assert silent(registry)
    assert snapshots.build(registry.database)
    assert len(numbers_of(registry)) == 1
    assert check(registry) == len(model(registry))


def test_an_empty_registry_has_an_empty_snapshot(registry: Registry) -> None:
    assert snapshots.build(registry.database)
    registry.register(name="a", parents="b")
    assert check(registry) == 2


def test_no_question_reads_a_whole_table(registry: Registry) -> None:
    """Every statement finds its rows by an index; only niches and settings are read whole."""
    family(registry)
    snapshots.build(registry.database)
    registry.register(name="g", parents="d", fitness={"t/acc": 0.9})
    registry.score("b", "t/acc", 0.1)
    asked: list[str] = []
    with registry.database.read() as connection:
        connection.raw.set_trace_callback(asked.append)
        assert by_snapshot(connection, registry.get("a").id)
        figures(connection, members(connection, registry.get("a").id))
        connection.raw.set_trace_callback(None)
        plans = [row[3] for sql in asked if re.match(r"\s*(SELECT|WITH)", sql)
                 for row in connection.rows(f"EXPLAIN QUERY PLAN {sql}")]  # fmt: skip
    scans = [line for line in plans if line.startswith("SCAN")]
    allowed = re.compile(r"SCAN (i|niche|setting|clade|json_each|CONSTANT ROW)\b")
    assert [line for line in scans if not allowed.match(line)] == []
    assert any("SEARCH l USING PRIMARY KEY (snapshot=? AND pre>? AND pre<?)" in p for p in plans)


def test_postgresql_answers_the_same(postgres: str) -> None:
    with lineage.open(postgres) as registry:
        family(registry)
        registry.register_many(
            {"name": f"m{n}", "parents": ["b", f"m{n - 1}"] if n % 9 == 0 else f"m{n // 2}",
             "fitness": {"t/acc": n % 7}, "power": lineage.PowerCost(joules=n)}
            for n in range(1, 100)
        )  # fmt: skip
        assert snapshots.build(registry.database)
        registry.register(name="new", parents=["m7", "c"], fitness={"t/acc": 9})
        registry.score("m40", "t/acc", 8)
        assert check(registry) == len(model(registry))
        registry.unlink("d", "c")
        assert check(registry) == 0
        assert snapshots.build(registry.database)
        assert check(registry) == len(model(registry))
