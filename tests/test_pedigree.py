"""Every question about descent, answered as networkx answers it, on thousands of random families,
written in random order, with late links, ghosts and links taken away again."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import sound
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage import ledger, links, pedigree, references
from lineage.database import Connection
from lineage.errors import CycleError, InvalidValue, NotFound
from lineage.registry import Registry

SLOW = bool(os.environ.get("LINEAGE_SLOW"))
FAMILIES = 20_000 if SLOW else 1_500
LONG = 100_000 if SLOW else 5_000

many = settings(max_examples=2_000 if SLOW else 120)
fresh = map("f{}".format, itertools.count())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One registry for many families, each with names of its own."""
    with lineage.open(tmp_path_factory.mktemp("pedigree") / "r.db", durable=False) as opened:
        yield opened


def same_answers(connection: Connection, graph: nx.DiGraph, pairs: int = 1000) -> None:
    """Every question about the organisms of a family, and about that many pairs of them, answered
    as networkx answers it. The graph goes from parents to children, its links know their relation.
    """
    above = {own: nx.ancestors(graph, own) for own in graph}
    far = {own: nx.single_source_shortest_path_length(graph, own) for own in graph}
    for own in graph:
        about_one(connection, graph, own, above)
    both = list(itertools.product(graph, repeat=2))
    for a, b in random.Random(len(graph)).sample(both, min(pairs, len(both))):
        about_two(connection, graph, a, b, above, far)


def about_one(connection: Connection, graph: nx.DiGraph, own: int, above: dict[int, Any]) -> None:
    once(pedigree.ancestors(connection, own), above[own])
    once(pedigree.descendants(connection, own), nx.descendants(graph, own))
    back = graph.reverse(copy=False)
    for depth in (0, 1, 2):
        near = nx.single_source_shortest_path_length(back, own, depth).keys() - {own}
        once(pedigree.ancestors(connection, own, depth=depth), near)
        near = nx.single_source_shortest_path_length(graph, own, depth).keys() - {own}
        once(pedigree.descendants(connection, own, depth=depth), near)
    along = nx.DiGraph()
    along.add_nodes_from(graph)
    along.add_edges_from(e for e in graph.edges if graph.edges[e]["relation"] == "merge")
    once(pedigree.ancestors(connection, own, "merge"), nx.ancestors(along, own))
    once(pedigree.descendants(connection, own, "merge"), nx.descendants(along, own))
    near = nx.single_source_shortest_path_length(along, own, 2).keys() - {own}
    once(pedigree.descendants(connection, own, "merge", 2), near)


def once(answer: list[int], expected: Any) -> None:
    assert len(answer) == len(set(answer)), "an organism came twice"
    assert set(answer) == set(expected)


def about_two(
    connection: Connection, graph: nx.DiGraph, a: int, b: int, above: dict[int, Any], far: Any
) -> None:
    assert pedigree.is_ancestor(connection, a, b) == (a in above[b])
    common = (above[a] | {a}) & (above[b] | {b})
    closest = {one for one in common if not any(one in above[other] for other in common)}
    once(pedigree.mrca(connection, a, b), closest)
    up, down = pedigree.path(connection, a, b)
    if a == b or not common:
        assert (up, down) == ([], [])
        return
    assert len(up) + len(down) == min(far[one][a] + far[one][b] for one in common)
    assert all(graph.has_edge(parent, child) for child, parent in up + down)
    walked = [a]
    for child, parent in up:
        assert walked[-1] == child
        walked.append(parent)
    for child, parent in down:
        assert walked[-1] == parent
        walked.append(child)
    assert walked[-1] == b


# ---- Thousands of random families, brought in by the batch


def random_family(rng: random.Random) -> list[tuple[int, int, str]]:
    """Links (child, parent, relation) of a random DAG: a chain, a tree, sparse or dense."""
    size = rng.randint(1, 11)
    most = rng.choice((1, 1, 2, 3))
    found = []
    for child in range(1, size):
        reach = range(max(0, child - rng.choice((1, 2, 20))), child)
        for parent in rng.sample(reach, min(len(reach), rng.randint(0 if most > 1 else 1, most))):
            found.append((child, parent, rng.choice(("finetune", "merge", "quantized"))))
    relabel = rng.sample(range(size), size)  # so that the order of the names says nothing
    return [(relabel[child], relabel[parent], relation) for child, parent, relation in found]


def in_some_order(
    rng: random.Random, family: str, wanted: list[tuple[int, int, str]]
) -> list[dict[str, Any]]:
    """Registrations that bring a family in: children before or after their parents, some links at
    once and some late, some parents never registered at all (ghosts)."""
    nodes = {one for link in wanted for one in link[:2]} or {0}
    late, entries = [], {}
    for own in nodes:
        if rng.random() < 0.9 or not any(parent == own for _, parent, _ in wanted):
            entries[own] = {"name": f"{family}.{own}", "parents": []}
    for child, parent, relation in rng.sample(wanted, len(wanted)):
        link = lineage.Parent(f"{family}.{parent}", relation)
        if child in entries and rng.random() < 0.7:
            entries[child]["parents"].append(link)
        else:
            late.append({"name": f"{family}.{child}", "parents": [link]})
    first = list(entries.values())
    rng.shuffle(first)
    return first + late


def test_every_answer_is_that_of_networkx(registry: Registry) -> None:
    rng = random.Random(3)
    done = 0
    while done < FAMILIES:
        batch, wanted = [], {}
        for _ in range(100):
            name = next(fresh)
            wanted[name] = random_family(rng)
            batch.append(in_some_order(rng, name, wanted[name]))
        # interleaved, so that a family is spread over transactions
        entries = [one for layer in itertools.zip_longest(*batch) for one in layer if one]
        outcome = registry.register_many(entries, batch=rng.choice((1, 7, 100, 5000)))
        assert outcome.set_aside == ()
        with registry.database.read() as connection:
            ids = dict(connection.rows("SELECT name, organism FROM name"))
            for name, links_ in wanted.items():
                graph = nx.DiGraph()
                graph.add_nodes_from({0} if not links_ else ())
                graph.add_edges_from((p, c, {"relation": r}) for c, p, r in links_)
                graph = nx.relabel_nodes(graph, {own: ids[f"{name}.{own}"] for own in graph})
                same_answers(connection, graph, pairs=25)
        done += len(wanted)
    sound.check(registry)


def test_a_link_between_strangers_is_found_by_nobody(registry: Registry) -> None:
    registry.register_many([{"name": "stranger"}, {"name": "other", "parents": ["far"]}])
    assert registry.mrca("stranger", "other") == []
    assert registry.path("stranger", "other") == []
    assert not registry.is_ancestor("stranger", "other")


# ---- Step by step, through the desk: register, link, unlink, in any order


steps = st.lists(
    st.tuples(
        st.sampled_from(["register", "link", "link", "unlink"]),
        st.integers(0, 6),
        st.lists(st.integers(0, 6), max_size=3),
        st.sampled_from(["finetune", "merge"]),
    ),
    max_size=14,
)


def play(registry: Registry, name: str, script: list[Any]) -> nx.DiGraph:
    """Do what a script says, to the registry and to a graph alike."""
    graph = nx.DiGraph()
    for act, own, others, relation in script:
        if act == "register":
            register(registry, graph, name, own, others, relation)
        elif own in graph and others:
            (link if act == "link" else unlink)(registry, graph, name, own, others[0], relation)
    return graph


def closes_a_cycle(graph: nx.DiGraph, child: int, parent: int) -> bool:
    return child == parent or (
        child in graph and parent in graph and nx.has_path(graph, child, parent)
    )


def register(
    registry: Registry, graph: nx.DiGraph, name: str, own: int, parents: list[int], relation: str
) -> None:
    after = graph.copy()
    after.add_node(own, registered=True)
    for parent in dict.fromkeys(parents):
        if not closes_a_cycle(after, own, parent):
            add(after, own, parent, relation)
            continue
        with pytest.raises(CycleError) as refused:
            registry.register(
                name=f"{name}.{own}", parents=[f"{name}.{one}" for one in parents],
                relation=relation,
            )  # fmt: skip
        named = int(refused.value.path[-1].removeprefix(f"{name}.").removesuffix("@v1"))
        assert named in parents  # one of those that would close a cycle
        real_path(graph, name, refused.value, own, named)
        return  # nothing of it was written
    registry.register(
        name=f"{name}.{own}", parents=[f"{name}.{one}" for one in parents], relation=relation
    )
    graph.update(after)


def add(graph: nx.DiGraph, child: int, parent: int, relation: str) -> None:
    """Add a link, or evidence to one. It is known by a bare name alone while the parent is a ghost;
    what is declared later counts more; of two as strong, the first in the alphabet is shown."""
    graph.add_node(parent)
    said = ("declared" if "registered" in graph.nodes[parent] else "named", relation)
    known = graph.edges[parent, child]["known"] if graph.has_edge(parent, child) else said
    known = min(known, said)
    graph.add_edge(parent, child, known=known, relation=known[1])


def link(
    registry: Registry, graph: nx.DiGraph, name: str, child: int, parent: int, relation: str
) -> None:
    act = (f"{name}.{child}", f"{name}.{parent}", relation)
    if closes_a_cycle(graph, child, parent):
        with pytest.raises(CycleError) as refused:
            registry.link(*act)
        real_path(graph, name, refused.value, child, parent)
    else:
        registry.link(*act)
        add(graph, child, parent, relation)


def real_path(graph: nx.DiGraph, name: str, error: CycleError, child: int, parent: int) -> None:
    """The path of a refusal goes down real links, from the child to the parent."""
    path = [int(one.removeprefix(f"{name}.").removesuffix("@v1")) for one in error.path]
    assert (path[0], path[-1]) == (child, parent)
    assert all(graph.has_edge(*pair) for pair in itertools.pairwise(path))
    assert all(one in str(error) for one in error.path)


def unlink(
    registry: Registry, graph: nx.DiGraph, name: str, child: int, parent: int, _: str
) -> None:
    if graph.has_edge(parent, child):
        registry.unlink(f"{name}.{child}", f"{name}.{parent}")
        graph.remove_edge(parent, child)
    else:
        with pytest.raises(NotFound):
            registry.unlink(f"{name}.{child}", f"{name}.{parent}")


@many
@given(steps)
def test_registered_linked_and_unlinked_in_any_order(registry: Registry, script: Any) -> None:
    name = next(fresh)
    graph = play(registry, name, script)
    with registry.database.read() as connection:
        ids = {own: references.resolve(connection, f"{name}.{own}") for own in graph}
        named = nx.relabel_nodes(graph, ids)
        same_answers(connection, named)
        stored = links.load_ranks_of(connection, ids.values())
        assert stored == sound.ranks_of(named)


@settings(max_examples=200 if SLOW else 25)
@given(script=steps)
def test_postgresql_answers_the_same(registry_on_postgresql: Registry, script: Any) -> None:
    name = next(fresh)
    graph = play(registry_on_postgresql, name, script)
    with registry_on_postgresql.database.read() as connection:
        ids = {own: references.resolve(connection, f"{name}.{own}") for own in graph}
        same_answers(connection, nx.relabel_nodes(graph, ids))
    sound.check(registry_on_postgresql)


@pytest.fixture
def registry_on_postgresql(postgres: str) -> Iterator[Registry]:
    with lineage.open(postgres) as opened:
        yield opened


entries = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.integers(0, 5), max_size=3)), max_size=12
)


@many
@given(entries, st.integers(1, 13))
def test_of_links_that_close_a_cycle_the_first_stay(
    registry: Registry, wanted: Any, batch: int
) -> None:
    """Whatever is imported, in one transaction or many: the links before the one that would close
    a cycle are there, that one is set aside, and nothing else is lost."""
    name = next(fresh)
    graph = nx.DiGraph()
    refused = set()
    for index, (own, parents) in enumerate(wanted):
        graph.add_node(own)
        for parent in dict.fromkeys(parents):
            if closes_a_cycle(graph, own, parent):
                refused.add(index)
            else:
                graph.add_edge(parent, own, relation="merge")
    outcome = registry.register_many(
        [
            {"name": f"{name}.{own}", "parents": [f"{name}.{one}" for one in parents],
             "relation": "merge"}
            for own, parents in wanted
        ],
        batch=batch,
    )  # fmt: skip
    assert {index for index, _ in outcome.set_aside} == refused
    assert all("parent" in reason for _, reason in outcome.set_aside)
    with registry.database.read() as connection:
        ids = {own: references.resolve(connection, f"{name}.{own}") for own in graph}
        named = nx.relabel_nodes(graph, ids)
        same_answers(connection, named)
        assert links.load_ranks_of(connection, ids.values()) == sound.ranks_of(named)


# ---- Long chains


@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_a_long_chain_has_the_same_ranks_in_whatever_order_it_came(
    tmp_path: Path, order: str
) -> None:
    chain = [{"name": f"s{i}", "parents": [f"s{i - 1}"] if i else []} for i in range(LONG)]
    if order == "backwards":
        chain.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(chain)
    with lineage.open(tmp_path / "registry.db", durable=False) as registry:
        assert registry.register_many(chain, batch=LONG // 5).created in range(1, LONG + 1)
        graph = sound.check(registry)
        assert graph.number_of_edges() == LONG - 1
        with registry.database.read() as connection:
            ids = dict(connection.rows("SELECT name, organism FROM name"))
            spot = [ids[f"s{i}"] for i in (0, 1, 2, LONG // 3, LONG // 2, LONG - 2, LONG - 1)]
            for (i, a), (j, b) in itertools.product(enumerate(spot), repeat=2):
                assert pedigree.is_ancestor(connection, a, b) == (i < j)
                assert pedigree.mrca(connection, a, b) == [min((i, a), (j, b))[1]]
            assert len(pedigree.ancestors(connection, spot[-1])) == LONG - 1
            assert len(pedigree.path(connection, spot[0], spot[-1])[1]) == LONG - 1


def test_unlinking_in_the_middle_makes_two_chains(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "registry.db", durable=False) as registry:
        registry.register_many(
            {"name": f"s{i}", "parents": [f"s{i - 1}"] if i else []} for i in range(200)
        )
        registry.unlink("s100", "s99")
        assert registry.generation("s199") == 99
        assert not registry.is_ancestor("s0", "s199")
        sound.check(registry)
        registry.link("s100", "s99")
        assert registry.generation("s199") == 199
        sound.check(registry)


# ---- The desk gives organisms and links, in an order that can be told


def test_answers_of_the_desk(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="base")
        registry.register(name="prose", parents="base")
        registry.register(name="code", parents="base")
        registry.register(name="both", parents=["prose", "code"], relation="merge")
        registry.register(name="small", parents="both", relation="quantized")
        names = lambda found: [one.name for one in found]  # noqa: E731
        assert names(registry.ancestors("small")) == ["both", "prose", "code", "base"]
        assert names(registry.descendants("base")) == ["prose", "code", "both", "small"]
        assert names(registry.ancestors("small", depth=1)) == ["both"]
        assert names(registry.ancestors("small", relation="quantized")) == ["both"]
        assert names(registry.descendants("base", relation="merge")) == []
        assert names(registry.descendants("base", status="culled")) == []
        assert [link.parent.name for link in registry.parents("both")] == ["prose", "code"]
        assert [link.child.name for link in registry.children("base")] == ["prose", "code"]
        assert names(registry.mrca("prose", "code")) == ["base"]
        assert names(registry.mrca("prose", "small")) == ["prose"]
        assert names(registry.mrca("both", "both")) == ["both"]
        assert registry.is_ancestor("base", "small")
        assert not registry.is_ancestor("small", "base")
        assert not registry.is_ancestor("base", "base")
        walked = registry.path("prose", "code")
        assert [(one.child.name, one.parent.name) for one in walked] == [
            ("prose", "base"),
            ("code", "base"),
        ]
        assert registry.path("small", "small") == []
        assert registry.generation("small") == 3
        with pytest.raises(InvalidValue, match="relation 'sibling' is unknown"):
            registry.ancestors("small", relation="sibling")
        with pytest.raises(InvalidValue, match="depth"):
            registry.ancestors("small", depth=-1)
        with pytest.raises(NotFound, match="Nearest: small"):
            registry.mrca("smal", "base")


# ---- Plans: nothing reads all organisms to answer about one


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that is large enough for the planner to think about it."""
    with lineage.open(tmp_path_factory.mktemp("plans") / "r.db", durable=False) as opened:
        opened.register_many(
            {"name": f"n{i}", "digest": f"{i:064x}", "place": f"/w/{i}",
             "parents": [f"n{i // 2}"] if i else []}
            for i in range(3000)
        )  # fmt: skip
        yield opened


QUESTIONS = {
    "ancestors": lambda c: pedigree.ancestors(c, 2000),
    "descendants": lambda c: pedigree.descendants(c, 2),
    "ancestors, bounded": lambda c: pedigree.ancestors(c, 2000, depth=3),
    "descendants, bounded": lambda c: pedigree.descendants(c, 2, depth=3),
    "ancestors, along": lambda c: pedigree.ancestors(c, 2000, "finetune"),
    "descendants, along": lambda c: pedigree.descendants(c, 2, "finetune"),
    "lift": lambda c: pedigree.is_ancestor(c, 2, 2000),
    "meet": lambda c: pedigree.mrca(c, 1999, 2000),
    "common": lambda c: c.rows(pedigree.COMMON, (1999, 2000)),
    "path": lambda c: pedigree.path(c, 1999, 2000),
    "name": lambda c: references.resolve(c, "n77"),
    "version": lambda c: references.resolve(c, "n77@v1"),
    "digest": lambda c: references.resolve(c, f"{77:064x}"),
    "digest prefix": lambda c: references.search(c, "0" * 20),
    "place": lambda c: references.resolve(c, "/w/77"),
    "hub": lambda c: references.search(c, "hf:org/name"),
    "found by alias": lambda c: ledger.find(c, alias="best", limit=50),
    "found by tag": lambda c: ledger.find(c, tags=[("team", "x")], limit=50),
    "found by parent": lambda c: ledger.find(c, parent=2, relation="adapter", limit=50),
    "found by status": lambda c: ledger.find(c, status="culled", limit=50),
    "found by run": lambda c: ledger.find(c, run="r", limit=50),
    "load-bearing": lambda c: ledger.load_bearing(c, [2]),
    "links": lambda c: ledger.links(c, [2000]),
    "ranks": lambda c: links.load_ranks(c, [2000]),
    "clade": lambda c: links.rerank(c, [2000]),
}


@pytest.mark.parametrize("analysed", [False, True], ids=["fresh", "analysed"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_go_by_the_index(planned: Registry, question: str, analysed: bool) -> None:
    asked: list[str] = []
    with planned.database.read() as connection:
        raw = connection.raw
        connection.execute("ANALYZE" if analysed else "SELECT 1")
        raw.set_trace_callback(asked.append)
        QUESTIONS[question](connection)
        raw.set_trace_callback(None)
        assert asked
        for sql in asked:
            for *_, step in raw.execute(f"EXPLAIN QUERY PLAN {sql}"):
                assert not re.match(r"SCAN (organism|edge|name|place|[eonpjxy])\b", step), step
                assert "BLOOM" not in step, step
        if analysed:
            connection.execute("DROP TABLE sqlite_stat1")


# ---- Statements: as many for a thousand as for one


def statements(registry: Registry, act: Any) -> int:
    counted: list[str] = []
    raw = registry.database.connection.raw
    raw.set_trace_callback(counted.append)
    try:
        act()
    finally:
        raw.set_trace_callback(None)
    # a statement run for many rows is traced once a row: written once, it counts once
    value = re.compile(r"'(?:[^']|'')*'|-?\b[0-9.]+\b|x'[0-9a-f]*'|NULL")
    return len({value.sub("?", one) for one in counted})


@pytest.mark.parametrize("what", ["register_many", "ancestors", "descendants", "children"])
def test_a_thousand_take_the_statements_of_one(tmp_path: Path, what: str) -> None:
    def registry_of(count: int) -> Registry:
        registry = lineage.open(tmp_path / f"{what}{count}.db", durable=False)
        registry.register(name="base")
        registry.register_many(
            {"name": f"n{i}", "parents": [f"n{i - 1}", "base"] if i else "base"}
            for i in range(count)
        )
        return registry

    acts = {
        "register_many": lambda registry, count: registry.register_many(
            {"name": f"more{i}", "digest": f"{i + 1:064x}", "parents": "base",
             "fitness": {"gsm8k/acc": i / 7}, "tags": {"batch": "x"}, "place": f"/w/{i}"}
            for i in range(count)
        ),
        "ancestors": lambda registry, count: registry.ancestors(f"n{count - 1}"),
        "descendants": lambda registry, _: registry.descendants("base"),
        "children": lambda registry, _: registry.children("base"),
    }  # fmt: skip
    taken = []
    for count in (1, 1000):
        with registry_of(count) as registry:
            taken.append(statements(registry, lambda r=registry, c=count: acts[what](r, c)))
    assert taken[0] == taken[1] <= 25
