"""Questions with an answer to act on: who is best and for what it costs, what it means when one
goes, and where the files really are. Each answer against a plain one, on both databases."""

from __future__ import annotations

import io
import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
from lineage import best as ranking
from lineage.cli import acting, main
from lineage.database import Connection
from lineage.errors import InvalidValue, NotFound
from lineage.organism import Niche, PowerCost, Score

NICHE = "gsm8k/acc"
EVIL = 'x"; rm -rf /\n\x1b[31m<b>\u202e{0}'


def command(*args: str, db: str = "r.db") -> Result:
    return CliRunner().invoke(main, ["--db", db, *args])


@pytest.fixture
def registry(registry_url: str) -> Iterator[lineage.Registry]:
    with lineage.open(registry_url) as registry:
        yield registry


@pytest.fixture
def local() -> Iterator[lineage.Registry]:
    with lineage.open("r.db") as registry:
        yield registry


def grown(registry: lineage.Registry, rows: list[dict[str, Any]]) -> list[lineage.Organism]:
    """Organisms with a digest each, and a score in NICHE where `value` gives one."""
    made = []
    for index, row in enumerate(rows):
        known = dict(row)
        value, stderr = known.pop("value", None), known.pop("stderr", None)
        joules = known.pop("joules", None)
        fitness = [] if value is None else [Score(NICHE, value, stderr)]
        power = [] if joules is None else [
            PowerCost(joules, "serving", "token", "measured")
        ]  # fmt: skip
        known.setdefault("name", f"o{index}")
        made.append(
            registry.register(
                digest=f"{index + 1:064x}", fitness=fitness, power=power, **known
            )
        )
    return made


def names(found: ranking.Ranking) -> list[str | None]:
    return [one.organism.name for one in found.standings]


# ---- Best


def test_the_fittest_first_of_equals_the_first_registered(registry: lineage.Registry) -> None:
    grown(registry, [{"value": v} for v in (0.5, 0.9, 0.7, 0.9, None)])
    found = registry.best(NICHE)
    assert names(found) == ["o1", "o3", "o2", "o0"]
    assert [one.tied for one in found.standings] == [True, True, False, False]
    assert (found.direction, found.scored, found.better_gone) == ("higher", 4, 0)
    assert names(registry.best(NICHE, limit=2)) == ["o1", "o3"]
    for name, value in (("o0", 2.5), ("o1", 3.5)):
        registry.score(name, "wiki/loss", value)
    assert names(registry.best("wiki/loss")) == ["o0", "o1"]


def test_the_latest_score_counts(registry: lineage.Registry) -> None:
    grown(registry, [{"value": 0.5}, {"value": 0.6}])
    registry.score("o1", NICHE, 0.4)
    assert names(registry.best(NICHE)) == ["o0", "o1"]


def test_a_tie_is_a_difference_within_its_standard_error(local: lineage.Registry) -> None:
    grown(local, [
        {"value": 0.60, "stderr": 0.03}, {"value": 0.56, "stderr": 0.03},
        {"value": 0.55, "stderr": 0.03}, {"value": 0.58},
    ])  # fmt: skip
    tied = {one.organism.name: one.tied for one in local.best(NICHE).standings}
    assert tied == {"o0": True, "o1": True, "o2": False, "o3": True}


def test_ghosts_and_who_is_no_longer_alive_are_left_out_and_counted(
    registry: lineage.Registry,
) -> None:
    grown(registry, [
        {"value": 0.9, "joules": 2.0}, {"value": 0.8, "joules": 1.0},
        {"value": 0.95, "joules": 2.5}, {"value": 0.7, "joules": 1.5, "parents": "nobody"},
    ])  # fmt: skip
    registry.score("nobody", NICHE, 0.99)
    with registry.store.act() as act:
        lineage.store.mark(act, "selected_against", "selected_against", [
            (registry.get(name).id, {}) for name in ("o2", "o3")
        ])  # fmt: skip
    found = registry.best(NICHE)
    assert names(found) == ["o0", "o1"]
    assert (found.scored, found.better_gone) == (5, 1)


def test_where_the_better_way_is_not_known_nobody_is_best(local: lineage.Registry) -> None:
    local.register(name="a", digest="ab" * 32, fitness={"task/vibes": 3.0})
    with pytest.raises(InvalidValue, match="--direction"):
        local.best("task/vibes")
    with pytest.raises(NotFound, match=r"The niches are: task/vibes\."):
        local.best("task/vibe")
    with pytest.raises(InvalidValue, match="joule, dollar, byte, parameter"):
        local.best("task/vibes", per="watt")
    assert acting.PERS == ranking.PERS


def test_only_of_a_clade(registry: lineage.Registry) -> None:
    grown(registry, [
        {"value": 0.9}, {"value": 0.5}, {"value": 0.7, "parents": "o1"},
        {"value": 0.6, "parents": "o2"},
    ])  # fmt: skip
    found = registry.best(NICHE, clade="o1")
    assert names(found) == ["o2", "o3", "o1"]
    assert found.scored == 3
    sized = registry.best(NICHE, clade="o1", per="byte")
    assert (sized.standings, sized.uncosted) == ((), 3)
    assert registry.best(NICHE, clade="o0").standings[0].organism.name == "o0"


FIT = st.sampled_from([0.1, 0.2, 0.5, 0.9])
COST = st.none() | st.sampled_from([1.0, 2.0, 3.0])


@given(rows=st.lists(st.tuples(FIT, COST), min_size=1, max_size=12), lower=st.booleans())
@settings(max_examples=40)
def test_the_front_is_who_is_beaten_by_nobody(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float | None]], lower: bool
) -> None:
    niche = "wiki/loss" if lower else NICHE
    with lineage.open(tmp_path_factory.mktemp("front") / "r.db", durable=False) as registry:
        for index, (value, cost) in enumerate(rows):
            power = [] if cost is None else [PowerCost(cost, "serving", "token", "measured")]
            registry.register(
                name=str(index), digest=f"{index + 1:064x}", fitness={niche: value}, power=power
            )
        found = registry.best(niche, per="joule", limit=None)
    sign = -1 if lower else 1
    costed = [(sign * v, c, str(i)) for i, (v, c) in enumerate(rows) if c is not None]
    front = [
        (fit, cost, name)
        for fit, cost, name in costed
        if not any(f >= fit and c <= cost and (f, c) != (fit, cost) for f, c, _ in costed)
    ]
    assert names(found) == [name for *_, name in sorted(front, key=lambda x: (x[1], int(x[2])))]
    assert found.beaten == len(costed) - len(front)
    assert found.uncosted == len(rows) - len(costed)
    ratios = [one.ratio for one in found.standings]
    if lower:
        assert set(ratios) <= {None}
    else:
        assert ratios == [one.score.value / one.cost for one in found.standings if one.cost]


def test_an_adapter_costs_what_its_base_costs_too(registry: lineage.Registry) -> None:
    base = {"bytes": 1000, "parameters": 500, "value": 0.5}
    more = {"bytes": 10, "parameters": 5, "value": 0.6}
    grown(registry, [base, {**more, "parents": "o0", "relation": "adapter"}, {"value": 0.9}])
    for name, joules in (("o0", 2.0), ("o1", 0.5)):
        price = PowerCost(joules, "serving", "token", "measured", cost=2e-6, currency="EUR")
        registry.meter(name, price)
    registry.meter("o2", PowerCost(cost=1e-6, currency="USD", phase="serving", per="token"))
    costs = {
        per: [(x.organism.name, x.cost, x.unit) for x in registry.best(NICHE, per=per).standings]
        for per in ranking.PERS
    }
    assert costs["joule"] == [("o0", 2.0, "token"), ("o1", 2.5, "token")]
    assert costs["byte"] == [("o0", 1000, "byte"), ("o1", 1010, "byte")]
    assert costs["parameter"] == [("o0", 500, "parameter"), ("o1", 505, "parameter")]
    assert costs["dollar"] == [
        ("o0", 2e-6, "EUR/token"), ("o1", 4e-6, "EUR/token"), ("o2", 1e-6, "USD/token"),
    ]  # fmt: skip
    unknown = registry.best(NICHE, per="byte")
    assert (unknown.uncosted, unknown.beaten) == (1, 0)


def test_units_are_never_compared_and_estimates_are_labelled(local: lineage.Registry) -> None:
    grown(local, [{"value": 0.5}, {"value": 0.6, "parameters": 10**9}])
    local.meter("o0", PowerCost(1.0, "serving", "request", "measured"))
    found = local.best(NICHE, per="joule")
    assert [(x.organism.name, x.unit, x.source, x.tied) for x in found.standings] == [
        ("o1", "token", "estimated", True),
        ("o0", "request", "measured", True),
    ]


def test_the_limit_keeps_the_fittest_of_the_front(local: lineage.Registry) -> None:
    grown(local, [{"value": v, "joules": v} for v in (0.1, 0.2, 0.3, 0.4)])
    assert names(local.best(NICHE, per="joule", limit=2)) == ["o2", "o3"]


def test_a_ratio_needs_a_true_zero(local: lineage.Registry) -> None:
    rows = [("a", 0.5, 1.0), ("b", 0.0, 2.0)]
    for name, value, cost in rows:
        power = PowerCost(cost, "serving", "token")
        local.register(name=name, digest=f"{ord(name):064x}", fitness={NICHE: value}, power=power)
    assert [one.ratio for one in local.best(NICHE, per="joule").standings] == [None]
    free = PowerCost(0.0, "serving", "token")
    local.register(name="c", digest="c" * 64, fitness={"q/acc": 0.5}, power=free)
    assert [one.ratio for one in local.best("q/acc", per="joule").standings] == [None]


def test_an_index_answers_who_is_best(
    local: lineage.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown(local, [{"value": 0.5}, {"value": 0.6}])
    plans: list[str] = []
    run = Connection.execute

    def execute(self: Connection, sql: str, params: Any = ()) -> Any:
        if "standing" in sql and "json_each" not in sql:
            rows = self.raw.execute("EXPLAIN QUERY PLAN " + sql, params).fetchall()
            plans.append("\n".join(row[3] for row in rows))
        return run(self, sql, params)

    monkeypatch.setattr(Connection, "execute", execute)
    local.best(NICHE)
    assert len(plans) == 3
    for plan in plans:
        assert "SEARCH f USING PRIMARY KEY (niche=?" in plan
        assert "SCAN" not in plan
    # of equals the first registered: only these are sorted
    assert "USE TEMP B-TREE FOR ORDER BY" not in plans[0]


def test_best_in_the_terminal(local: lineage.Registry) -> None:
    local.register(name=EVIL, digest="ab" * 32, fitness={NICHE: 0.25}, bytes=7)
    plain = command("best", NICHE)
    assert plain.exit_code == 0
    assert "\x1b" not in plain.output
    assert "\u202e" not in plain.output
    (line,) = plain.stdout.splitlines()
    assert line.split("\t")[1:] == ["0.25", "", "tied", "", "", ""]
    sized = json.loads(command("best", NICHE, "--per", "byte", "--json").stdout)
    assert sized["per"] == "byte"
    assert sized["standings"][0]["organism"]["name"] == EVIL
    assert sized["standings"][0]["ratio"] == 0.25 / 7
    assert command("best", "gsm8k").exit_code == 2
    wrong = command("best", "gsm9k/acc")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "The niches are: gsm8k/acc." in wrong.stderr
    assert command("best", NICHE, "--clade", "nobody").exit_code == 1
    local.score(EVIL, Niche("gsm8k", "acc", "test"), 0.1)
    split = json.loads(command("best", NICHE, "--split", "test", "--json").stdout)
    assert split["standings"][0]["score"]["value"] == 0.1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def seen_by_people(*args: str) -> str:
    """What a command prints on a terminal of 80 columns, without styles."""
    said = Terminal()
    with pytest.MonkeyPatch.context() as world:
        world.setenv("COLUMNS", "80")
        world.setenv("NO_COLOR", "1")
        world.setattr("sys.stdout", said)
        with pytest.raises(SystemExit):
            main(["--db", "r.db", *args])
    assert max(map(len, said.getvalue().splitlines())) <= 80
    assert "\x1b" not in said.getvalue()
    return said.getvalue()


def test_best_says_what_to_make_of_it(local: lineage.Registry) -> None:
    grown(local, [
        {"name": "big", "value": 0.62, "stderr": 0.02, "joules": 8e-6},
        {"name": "mid", "value": 0.61, "stderr": 0.02, "joules": 2e-6},
        {"name": "tiny", "value": 0.30, "stderr": 0.02, "joules": 1e-7},
        {"name": "bad", "value": 0.10, "stderr": 0.02, "joules": 1e-5},
        {"name": "dark", "value": 0.70, "stderr": 0.02},
    ])  # fmt: skip
    said = " ".join(seen_by_people("best", NICHE).split())
    assert said.startswith("dark is best in gsm8k/acc: 0.70 ± 0.02.")
    said = " ".join(seen_by_people("best", NICHE, "--per", "joule").split())
    assert "big is the fittest in gsm8k/acc: 0.62 ± 0.02 for 8 J/Mtok." in said
    assert "mid cannot be told from it and costs 2 J/Mtok, 25 % of that." in said
    assert "Most fitness per joule: tiny." in said
    assert "1 beaten by one at least as fit and as cheap. 1 has no known cost" in said


# ---- Impact


def folder(name: str, weights: bytes = b"weights") -> Path:
    made = Path(name).absolute()
    made.mkdir(parents=True)
    (made / "weights.bin").write_bytes(weights)
    (made / "config.json").write_text("{}")
    return made


def test_who_needs_it_through_any_chain(registry: lineage.Registry) -> None:
    grown(registry, [
        {"name": "base"},
        {"name": "lora", "parents": "base", "relation": "adapter"},
        {"name": "prompt", "parents": "lora", "kind": "epigenetic"},
        {"name": "sft", "parents": "base", "relation": "finetune"},
        {"name": "on-sft", "parents": "sft", "relation": "adapter"},
        {"name": "gone", "parents": "base", "relation": "adapter"},
    ])  # fmt: skip
    with registry.store.act() as act:
        lineage.store.mark(act, "culled", "culled", [(registry.get("gone").id, {})])
    found = registry.impact("base")
    assert [one.name for one in found.dependents] == ["lora", "prompt"]
    assert found.broken == 2
    assert found.children == {"adapter": 2, "finetune": 1}
    assert (found.descendants, found.clade.living) == (5, 5)
    assert registry.impact("base", limit=1).dependents == found.dependents[:1]
    assert registry.impact("base", limit=1).broken == 2
    assert registry.impact("on-sft").broken == 0


@given(data=st.data())
@settings(max_examples=25)
def test_what_breaks_against_a_plain_walk(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    import networkx as nx

    size = data.draw(st.integers(1, 9))
    graph = nx.DiGraph()
    graph.add_nodes_from(range(size))
    culled = data.draw(st.frozensets(st.integers(0, size - 1)))
    with lineage.open(tmp_path_factory.mktemp("impact") / "r.db", durable=False) as registry:
        for own in range(size):
            chosen = data.draw(st.sets(st.integers(0, own - 1), max_size=2)) if own else set()
            parents = []
            for parent in sorted(chosen):
                needed = data.draw(st.booleans())
                graph.add_edge(parent, own, needed=needed)
                parents.append(lineage.Parent(f"o{parent}", "finetune", needed=needed))
            registry.register(name=f"o{own}", digest=f"{own + 1:064x}", parents=parents or None)
        with registry.store.act() as act:
            marks = [(registry.get(f"o{own}").id, {}) for own in culled]
            lineage.store.mark(act, "culled", "culled", marks)
        runs = nx.subgraph_view(graph, filter_edge=lambda a, b: graph.edges[a, b]["needed"])
        for own in range(size):
            found = registry.impact(f"o{own}")
            broken = nx.descendants(runs, own) - culled
            assert {one.name for one in found.dependents} == {f"o{one}" for one in broken}
            assert found.descendants == len(nx.descendants(graph, own))


def test_what_would_be_freed_is_what_is_there(local: lineage.Registry) -> None:
    one, two = folder("one"), folder("two")
    local.register(one, name="twice", place="hf:org/twice@main")
    organism = local.register(two, name="twice")
    found = local.impact(organism)
    assert (found.files, found.bytes) == (4, 2 * (7 + 2))
    (two / "weights.bin").unlink()
    os.link(one / "weights.bin", two / "weights.bin")  # one file under two names
    assert (local.impact(organism).files, local.impact(organism).bytes) == (3, 7 + 2 + 2)
    shutil.rmtree(one)
    assert (local.impact(organism).files, local.impact(organism).bytes) == (2, 7 + 2)


def test_impact_in_the_terminal(local: lineage.Registry) -> None:
    local.register(
        folder("base"), name="base", power=PowerCost(3.6e6, "training", source="measured")
    )
    local.register(name=EVIL, digest="cd" * 32, parents="base", relation="adapter")
    local.alias("base", "production")
    local.protect("base")
    plain = command("impact", "base")
    figures = dict(line.split("\t") for line in plain.stdout.splitlines())
    assert figures["broken"] == "1"
    assert figures["files"] == "2"
    assert figures["protected"] == "1"
    assert figures["training joules"] == "3600000.0"
    told = json.loads(command("impact", "base", "--json").stdout)
    assert told["dependents"][0]["name"] == EVIL
    assert told["aliases"] == ["base@production"]
    assert told["places"][0]["wrong"] == ""
    said = " ".join(seen_by_people("impact", "base").split())
    assert "cannot run without base. Also it is protected and it is base@production." in said
    assert "frees 2 files, 9 B on this machine" in said
    said = " ".join(seen_by_people("impact", "cdcdcdcd").split())
    assert said.startswith("Nothing breaks when x")
    assert "nobody needs it to run." in said
    assert command("impact", "bse").exit_code == 1
    assert "Nearest: base" in command("impact", "bse").stderr


# ---- Where


def test_where_prints_the_path_alone(local: lineage.Registry) -> None:
    place = folder("a folder with \u00e9 and 'quotes'")
    local.register(place, name="sft")
    local.alias("sft", "best")
    result = command("where", "sft@best")
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{place}\n", "")
    assert local.where("sft") == str(place)
    file = folder("other", b"others") / "weights.bin"
    local.register(file, name="file")
    assert command("where", "file").stdout == f"{file}\n"
    assert command("where", "--hash", "file").stdout == f"{file}\n"


def test_what_is_wrong_with_each_place(local: lineage.Registry) -> None:
    place = folder("sft")
    local.register(place, name="sft", place="hf:org/sft@main")
    (place / "weights.bin").write_bytes(b"shorter")
    assert local.where("sft") == str(place)  # the size is right
    with pytest.raises(NotFound, match="holds other weights now, "):
        local.where("sft", hash=True)
    (place / "weights.bin").write_bytes(b"longer than before")
    (place / "config.json").unlink()
    result = command("where", "sft")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "in any of 2 places" in result.stderr
    assert "config.json is missing, and weights.bin has 18 bytes, not 7" in result.stderr
    assert "hf:org/sft@main: not a path on a disk" in result.stderr
    shutil.rmtree(place)
    assert f"{place}: nothing is there" in command("where", "sft").stderr
    told = command("where", "sft", "--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["path"] is None
    assert {one["wrong"] for one in json.loads(told.stdout)["places"]} == {
        "nothing is there", "not a path on a disk",
    }  # fmt: skip


def test_the_place_that_holds_the_files_is_found(registry: lineage.Registry) -> None:
    one, two = folder("one"), folder("two")
    registry.register(one, name="sft")
    registry.register(two, name="sft")
    assert registry.where("sft") == str(two)  # the latest
    (two / "config.json").unlink()
    assert registry.where("sft") == str(one)
    shutil.rmtree(one)
    with pytest.raises(NotFound, match="in any of 2 places"):
        registry.where("sft")


def test_other_weights_at_the_same_place_are_not_it(local: lineage.Registry) -> None:
    place = folder("run/last", b"epoch 1")
    first = local.register(place, name="epoch")
    (place / "weights.bin").write_bytes(b"epoch 2")
    second = local.register(place, name="epoch")
    assert local.where(second) == str(place)
    with pytest.raises(NotFound, match="it is there no more since"):
        local.where(first)


def test_where_nothing_can_be_known_it_says_so(local: lineage.Registry) -> None:
    local.register(name="child", digest="ab" * 32, parents="ghost")
    assert "no place is recorded of child@v1" in command("where", "child").stderr
    assert "is a ghost" in command("where", "ghost").stderr
    assert "Nearest: child" in command("where", "chld").stderr
    for ref in ("child", "ghost", "chld"):
        assert command("where", ref).exit_code == 1
    away = Path("away").absolute()
    local.register(name="away", digest="cd" * 32, place=str(away))
    with local.database.write() as connection:
        connection.execute("UPDATE place SET host = 'gpu-07'")
    assert "it is on another host, gpu-07" in command("where", "away").stderr
    away.mkdir()
    result = command("where", "away")
    assert result.stdout == f"{away}\n"
    assert "no files are recorded" in result.stderr


def test_an_empty_registry_answers_in_sentences() -> None:
    lineage.open("r.db").close()
    for words in (["best", NICHE], ["impact", "x"], ["where", "x"],
                  ["bisect", "x", "y", "--niche", NICHE]):  # fmt: skip
        result = command(*words)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1
    assert "no score yet" in command("best", NICHE).stderr


def test_a_large_random_family_is_ranked_right(local: lineage.Registry) -> None:
    chance = random.Random(5)
    rows = [
        {"name": f"o{i}", "digest": f"{i + 1:064x}", "fitness": {NICHE: chance.randrange(50) / 50}}
        for i in range(2000)
    ]
    local.register_many(rows)
    expected = sorted(rows, key=lambda row: -row["fitness"][NICHE])
    assert names(local.best(NICHE, limit=None)) == [row["name"] for row in expected]
    assert math.isclose(local.best(NICHE).standings[0].score.value, 0.98)
