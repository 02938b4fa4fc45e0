"""In a notebook and in code: answers show themselves as HTML that is text and loads nothing, and go
on to pandas and networkx."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
import pytest
from IPython.core.formatters import DisplayFormatter

import lineage
from lineage.errors import InvalidValue, LineageError
from lineage.registry import Registry
from lineage.selection import policy as selection_policy
from lineage.trees import notebook

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVIL = '<script>document.title="caught"</script><img src=http://example.org/x>\x1b[2J\n&"'


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with lineage.open(tmp_path / "r.db", durable=False) as opened:
        base = opened.register(
            name="base", digest="ab" * 32, fitness={"gsm8k/acc": 0.4, "wiki/ppl": 9.5},
            parameters=1_300_000_000, precision="BF16",
            power=lineage.PowerCost(joules=3.1e6, source="measured"),
        )  # fmt: skip
        opened.register(name="worse", parents=base, relation="finetune",
                        parameters=1_300_000_000,
                        fitness={"gsm8k/acc": 0.3, "wiki/ppl": 11})  # fmt: skip
        opened.register(name=EVIL, parents=["base", "worse"], relation="merge",
                        fitness={"gsm8k/acc": 0.6}, tags={EVIL: EVIL})  # fmt: skip
        yield opened


def answers(registry: Registry) -> dict[str, Any]:
    return {
        "organism": registry.get(EVIL),
        "record": registry.record(EVIL),
        "clade": registry.clade("base"),
        "best": registry.best("gsm8k/acc"),
        "per joule": registry.best("gsm8k/acc", per="joule"),
        "bisect": registry.bisect("base", EVIL, "gsm8k/acc"),
        "impact": registry.impact("base"),
        "diff": registry.diff("base", EVIL),
        "select": registry.select(),
        "explain": registry.explain("worse"),
        "family": registry.family("base"),
        "whereabouts": registry.whereabouts("base"),
        "doctor": registry.doctor(),
        "policy": selection_policy.READY["trainer-rotation"],
        "cull": registry.cull(),
        "moves": registry.restore(),
        "sync": registry.sync(),
        "summary": registry.summaries(registry.find())[0],
        "link": registry.parents(EVIL)[0],
        "event": registry.history("base")[0],
    }


def test_every_answer_shows_itself(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, answer in answers(registry).items():
        shown, _ = DisplayFormatter().format(answer)
        assert shown["text/html"].startswith('<div class="lineage-answer">'), asked
        assert "<script" not in shown["text/html"], asked
        assert "\x1b" not in shown["text/html"], asked
        assert "object at 0x" not in shown["text/html"], asked
    assert "worse" in registry.select()._repr_html_()
    assert "1.3B" in registry.get("base")._repr_html_()
    # a family shows its picture; a large one its table
    assert '<svg class="lineage-tree"' in registry.family("base")._repr_html_()
    monkeypatch.setattr(notebook, "DRAWN", 5)
    for number in range(5):
        registry.register(name=f"step-{number}", parents="base", relation="continue")
    assert "5 continue" in registry.family("base")._repr_html_()
    monkeypatch.setattr(notebook, "DRAWN", 3)
    assert "<svg" not in registry.family("base")._repr_html_()
    assert "<table" in registry.family("base")._repr_html_()
    # what is unknown is not there, and is no zero
    assert "bytes" not in registry.get("base")._repr_html_()


def test_in_a_browser_nothing_runs_and_nothing_is_loaded(
    registry: Registry, page: Page, tmp_path: Path
) -> None:
    body = "".join(one._repr_html_() for one in answers(registry).values())
    head = "<!doctype html><meta charset=utf-8><title>calm</title>"
    (tmp_path / "p.html").write_text(head + body)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "p.html").as_uri())
    assert page.title() == "calm"
    assert asked == [(tmp_path / "p.html").as_uri()]
    # in the colours of the notebook: text stays readable on a dark page
    page.add_style_tag(content="body{background:#111;color:#eee}")
    colour = "getComputedStyle(document.querySelector('.lineage-answer td')).color"
    assert page.evaluate(colour) == "rgb(238, 238, 238)"


def test_a_long_table_is_cut_and_says_so(registry: Registry) -> None:
    registry.register_many({"name": f"n{n}", "fitness": {"long/acc": n}} for n in range(60))
    told = registry.best("long/acc", limit=None)._repr_html_()
    assert told.count("<tr>") == 51
    assert "… and 10 more" in told


# ---- pandas


def test_a_list_of_organisms_is_a_frame(registry: Registry) -> None:
    frame = lineage.to_pandas(registry.find(sort="name"))
    assert list(frame["ref"])[1:] == ["base@v1", "worse@v1"]
    assert frame.set_index("ref").loc["base@v1", "parameters"] == 1_300_000_000
    assert frame["bytes"].isna().all()
    assert lineage.to_pandas([]).empty


def test_scores_have_a_column_for_each_niche(registry: Registry) -> None:
    frame = lineage.to_pandas(registry.summaries(registry.find())).set_index("ref")
    assert frame.loc["base@v1", "gsm8k/acc"] == 0.4
    assert frame.loc["worse@v1", "wiki/ppl"] == 11
    assert frame["wiki/ppl"].isna().sum() == 1  # unknown is no zero
    assert frame.loc["worse@v1", "parents"] == ["base@v1"]
    family = lineage.to_pandas(registry.family("base")).set_index("ref")
    assert list(family["gsm8k/acc"]) == [0.4, 0.3, 0.6]


def test_answers_are_the_frame_of_their_rows(registry: Registry) -> None:
    ranking = lineage.to_pandas(registry.best("gsm8k/acc"))
    assert list(ranking["value"]) == [0.6, 0.4, 0.3]
    plan = lineage.to_pandas(registry.select())
    assert set(plan["ref"]) == {"worse@v1"}
    assert list(plan["niche"]) == ["gsm8k/acc", "wiki/ppl"]
    assert set(plan["by"]) == {"base@v1"}
    bisection = lineage.to_pandas(registry.bisect("base", EVIL, "gsm8k/acc"))
    assert list(bisection["verdict"]) == ["before", "after"]
    difference = lineage.to_pandas(registry.diff("base", "worse"))
    assert list(difference["b_value"]) == [0.3, 11]
    links = lineage.to_pandas(registry.parents(EVIL))
    assert list(links["parent"]) == ["base@v1", "worse@v1"]
    assert lineage.to_pandas(registry.history("base"))["kind"][0] == "registered"


def test_what_is_no_answer_is_said() -> None:
    with pytest.raises(InvalidValue, match="no answer"):
        lineage.to_pandas([7])


def test_without_pandas_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-c", "import lineage; lineage.to_pandas([])"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{LineageError.__name__}: to_pandas needs pandas" in done.stderr
    assert "pip install pandas" in done.stderr


# ---- networkx


def test_a_family_is_a_graph(registry: Registry) -> None:
    graph = lineage.to_networkx(registry.family("base"))
    assert nx.is_directed_acyclic_graph(graph)
    evil = registry.get(EVIL).ref
    assert set(graph.edges) == {("base@v1", "worse@v1"), ("base@v1", evil), ("worse@v1", evil)}
    assert graph.edges["base@v1", "worse@v1"] == {"relation": "finetune"}
    assert graph.nodes["base@v1"]["gsm8k/acc"] == 0.4
    assert "bytes" not in graph.nodes["base@v1"]  # unknown is left out


def test_links_are_a_graph(registry: Registry) -> None:
    graph = lineage.to_networkx(registry.path("worse", "base"))
    assert list(graph.edges) == [("base@v1", "worse@v1")]
    assert lineage.to_networkx(registry.parents("base")).size() == 0
    with pytest.raises(InvalidValue, match="made of a family or of links"):
        lineage.to_networkx(registry.find())
