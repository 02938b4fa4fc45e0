"""Windows on a family too large to be drawn: whatever is asked for, the rows hold everybody once
and say what networkx says; the work does not grow with the family; the page moves through it."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import networkx as nx
import pytest

import lineage
from bench import generate
from lineage import database, snapshots, store
from lineage.errors import InvalidValue
from lineage.organism import PowerCost
from lineage.registry import Registry
from lineage.trees import window
from lineage.trees.window import Window
from tests.conftest import axe_violations, heard, listen
from tests.test_explorer import Explorer, end, start

if TYPE_CHECKING:
    from playwright.sync_api import Page

COUNT = 700


def grown(address: str) -> Registry:
    """A forest with a long run, a wide family and merges; some selected against, some culled."""
    chance = random.Random(7)
    registry = lineage.open(address, durable=False)
    entries: list[dict[str, Any]] = []
    for own in range(COUNT):
        if own % 7 == 0 and own:
            parents = [f"n{own - 7}"]
        elif own % 3 == 0 or own < 5:
            parents = []
        else:
            parents = [f"n{chance.choice([1, 1, 1, chance.randrange(own)])}"]
            if chance.random() < 0.1:
                parents.append(f"n{chance.randrange(own)}")
        entries.append({"name": f"n{own}", "parents": sorted(set(parents))})
        if own % 4 == 0:
            entries[-1] |= {
                "fitness": {"t/acc": own * 37 % 101 / 100},
                "power": [PowerCost(joules=1.0 + own % 13, per="token", phase="serving",
                                    source="measured")],
            }  # fmt: skip
    registry.register_many(entries)
    with registry.store.act() as act:
        ids = [one.id for one in registry.find(limit=None)]
        store.mark(act, "selected_against", "selected_against", [(own, {}) for own in ids[::9]])
        store.mark(act, "culled", "culled", [(own, {}) for own in ids[::11]])
    registry.refresh_snapshot()
    return registry


class Model:
    """The same, by networkx: each organism under its deepest parent."""

    def __init__(self, registry: Registry) -> None:
        with registry.database.read() as connection:
            rows = connection.rows("SELECT id, generation, status FROM organism")
            edges = connection.rows("SELECT child, parent FROM edge ORDER BY child, parent")
            self.position = dict(connection.rows("SELECT organism, pre FROM label"))
        self.generation = {own: born for own, born, _ in rows}
        self.status = {own: status for own, _, status in rows}
        self.tree = nx.DiGraph()
        self.tree.add_nodes_from(self.generation)
        for child in {child for child, _ in edges}:
            parents = [parent for one, parent in edges if one == child]
            self.tree.add_edge(max(parents, key=self.generation.__getitem__), child)

    def check(self, seen: Window) -> None:
        named = [own for own, _ in sorted(self.position.items(), key=lambda one: one[1])]
        rows = seen.stripes[seen.above :]
        at = seen.start
        for row in rows:
            assert row.position == at, "the rows follow one another without a gap"
            held = named[at : at + row.count]
            at += row.count
            states = [self.status[own] for own in held]
            counts = [states.count(one) for one in ("alive", "selected_against", "culled")]
            assert [row.alive, row.against, row.culled] == counts
            born = [self.generation[own] for own in held]
            assert (row.low, row.high) == (min(born), max(born))
            largest = max(1 + len(nx.descendants(self.tree, own)) for own in held)
            assert (row.id is not None) == (largest >= row.count)
            if row.id is not None:
                assert row.id in held
                assert row.clade == 1 + len(nx.descendants(self.tree, row.id)) == largest
                assert row.generation == self.generation[row.id]
        assert at == seen.end + 1
        for row in seen.stripes:
            if row.parent < 0:
                continue
            above = seen.stripes[row.parent].id
            below = row.id or named[row.position]
            assert above in nx.ancestors(self.tree, below)
            if row.id is not None:
                assert row.direct == self.tree.has_edge(above, row.id)
        for row in seen.stripes[: seen.above]:
            assert row.position < seen.start < row.position + row.clade


def test_a_window_holds_everybody_once_and_says_what_is_so(registry_url: str) -> None:
    with grown(registry_url) as registry:
        model = Model(registry)
        chance = random.Random(3)
        places = [(0, COUNT), (0, 40), (640, COUNT)]
        places += [sorted(chance.choices(range(COUNT), k=2)) for _ in range(12)]
        for first, last in places:
            for rows in (1, 5, 30, 200, COUNT):
                seen = registry.window(start=first, end=last, rows=rows)
                assert seen
                assert seen.total == COUNT
                assert len(seen.stripes) - seen.above <= rows + 2
                model.check(seen)
        largest = max(registry.find(limit=40), key=lambda one: registry.clade(one).count)
        whole = registry.window(largest, rows=20)
        assert whole
        assert whole.total == whole.stripes[0].clade
        assert sum(row.count for row in whole.stripes) == whole.total
        model.check(whole)
        beside = registry.window(at="n350", rows=9)
        assert beside
        assert registry.get("n350").id in [row.id for row in beside.stripes]


def test_each_row_knows_the_best_of_those_it_stands_for(registry_url: str) -> None:
    with grown(registry_url) as registry:
        along = registry.along("t/acc")
        assert along
        position = Model(registry).position
        living = [one for one in registry.find(limit=None, status="alive")
                  if int(str(one.name)[1:]) % 4 == 0]  # fmt: skip
        values = {position[one.id]: int(str(one.name)[1:]) * 37 % 101 / 100 for one in living}
        chance = random.Random(5)
        for each in (1, 4, 64, 1024):
            start, end = sorted(chance.choices(range(COUNT), k=2))
            start = start // each * each
            best, scores = along.best(start, end, each)
            rows = [
                [values[at] for at in range(first, min(first + each, end + 1)) if at in values]
                for first in range(start, end + 1, each)
            ]
            assert scores == [len(row) for row in rows]
            assert best == [max(row, default=None) for row in rows]
        own = values[position[living[7].id]]
        [place] = registry.places(living[7])
        assert place.of == len(values)
        assert place.place == 1 + sum(value > own for value in values.values())


def test_who_came_since_hangs_below_its_parent_or_comes_last(registry_url: str) -> None:
    with grown(registry_url) as registry:
        registry.register(name="new", parents="n1")
        registry.register(name="newer", parents="new")
        registry.register(name="stranger")
        seen = registry.window(at="newer", rows=50)
        assert seen
        assert seen.new == 3
        ids = [row.id for row in seen.stripes]
        one, new, newer = (ids.index(registry.get(name).id) for name in ("n1", "new", "newer"))
        assert (new, newer) == (one + 1, one + 2)
        assert [seen.stripes[at].parent for at in (new, newer)] == [one, new]
        assert all(seen.stripes[at].direct for at in (new, newer))
        last = registry.window(start=COUNT - 10, rows=50)
        assert last
        assert last.stripes[-1].id == registry.get("stranger").id
        assert last.stripes[-1].parent == -1


def test_without_a_fresh_snapshot_there_is_no_window(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "registry.db") as registry:
        assert registry.window() is None
        registry.register(name="a")
        registry.register(name="b")
        registry.refresh_snapshot()
        assert registry.window("a")
        with pytest.raises(InvalidValue, match="the family has 0 to 1"):
            registry.window(start=7)
        registry.link("a", "b")
        assert registry.window() is None
        assert registry.extent() is None


def test_the_work_does_not_grow_with_the_family(tmp_path: Path) -> None:
    """Counted in instructions of SQLite's machine, ten times as many organisms."""
    steps = []
    for count in (2_000, 20_000):
        path = tmp_path / f"{count}.db"
        generate.write(path, generate.organisms(count))
        found = database.connect(path, create=False)
        snapshots.build(found)
        used = 0

        def step() -> int:
            nonlocal used
            used += 1
            return 0

        with found.read() as connection:
            assert isinstance(connection.raw, sqlite3.Connection)
            whole = window.extent(connection, None)
            assert whole
            connection.raw.set_progress_handler(step, 100)
            for first, last in ((0, count), (count // 2, count // 2 + 30), (0, count // 3)):
                window.look(connection, whole, first, last, 60)
            connection.raw.set_progress_handler(None, 0)
        found.close()
        steps.append(used)
    assert steps[1] < 4 * steps[0]


# ---- the page


@pytest.fixture
def explorer(tmp_path: Path) -> Iterator[Explorer]:
    db = str(tmp_path / "registry.db")
    grown(db).close()
    running = start(db)
    yield running
    assert end(running) == ""


def rows(page: Page) -> list[str]:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return page.locator("#outline [role=treeitem]").all_text_contents()


def appears(page: Page, name: str) -> None:
    page.wait_for_function(
        "name => [...document.querySelectorAll('#outline [role=treeitem]')]"
        ".some(one => one.textContent.startsWith(`${name},`))", arg=name,
    )  # fmt: skip


def told(page: Page, name: str) -> None:
    page.wait_for_function(
        "name => document.querySelector('#panel h2')?.textContent === name", arg=name
    )


def says(page: Page, selector: str, words: str) -> None:
    """Waits until it is there: what a window shows comes when the server has answered."""
    page.wait_for_function(
        "([selector, words]) => document.querySelector(selector).textContent.includes(words)",
        arg=[selector, words],
    )


def test_one_moves_through_a_family_of_any_size(explorer: Explorer, page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.set_viewport_size({"width": 1000, "height": 300})  # so few rows that there are stripes
    page.goto(f"{explorer.url}?limit=20")
    page.wait_for_selector("[data-ready]", state="attached")
    assert "700 organisms" in page.locator(".counts").inner_text()
    says(page, "#panel", "A row stands for")
    assert not page.locator("#plan").is_visible(), "what needs everybody is not offered"
    page.keyboard.press("p")
    says(page, "#said", "The selection plan, growth with time")  # and said
    assert "best acc" in page.locator(".head.niche").inner_text()
    says(page, "#scale", "best of a row")
    says(page, "#panel", "The whole front, and")
    page.get_by_role("button", name="Filter").click()
    page.locator("#of-status").select_option("culled")
    assert page.locator("#narrowed").inner_text() == "64 culled of 700"
    page.locator("#everything").click()
    assert page.get_by_role("link", name="draw all 700 in one piece").is_visible()
    page.locator("#search").fill("n350")
    page.get_by_role("option", name="n350").click()
    told(page, "n350")
    appears(page, "n350")
    says(page, "#panel", "n343")  # its parent
    page.locator("#search").fill("n8")
    page.locator("#search").press("Enter")
    told(page, "n8")
    says(page, "#panel", "Beaten in t/acc by")  # judged by the server
    says(page, "#panel .rank", " of ")
    page.locator("#search").fill("n350")
    page.locator("#search").press("Enter")
    told(page, "n350")
    listen(page)
    with lineage.open(explorer.registry) as registry:
        registry.register(name="late", parents="n350")
    appears(page, "late")
    assert page.locator("#panel h2").inner_text() == "n350", "who was chosen still is"
    heard(page, "1 more since: the registry has changed.")
    page.wait_for_function("() => location.hash.includes('at=n350')")
    page.reload()
    page.wait_for_selector("[data-ready]", state="attached")
    told(page, "n350")
    page.keyboard.press("0")  # all
    says(page, "#panel", "stands")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")  # into the largest clade
    page.wait_for_function(
        "() => Number(new URLSearchParams(location.hash.slice(1)).get('span')) < 690"
    )
    for _ in range(1000):  # it goes no nearer than its rows until others have come
        if "stands" not in str(page.locator("#panel").text_content()):
            break
        page.keyboard.press("+")
        page.wait_for_timeout(60)
    assert "stands" not in str(page.locator("#panel").text_content())
    before = rows(page)
    map_ = page.locator("#map").bounding_box()
    assert map_
    page.mouse.click(map_["x"] + 8, map_["y"] + map_["height"] - 3)
    page.wait_for_function("before => document.querySelector('#outline').textContent !== before",
                           arg="".join(before))  # fmt: skip
    # where the registry went on between a window and its details, the page asks again
    assert [one for one in said if "410 (Gone)" not in one] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(explorer: Explorer, page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{explorer.url}?limit=20")
    page.wait_for_selector("[data-ready]", state="attached")
    assert axe_violations(page) == []


def test_a_program_asks_for_rows(explorer: Explorer) -> None:
    found = explorer.get("api/rows?rows=10")
    assert (found["first"], found["last"], found["each"]) == (0, COUNT - 1, 256)
    assert sum(row["count"] for row in found["rows"]) == COUNT
    near = explorer.get("api/rows?at=n350&rows=9")
    assert "n350" in [row["name"] for row in near["rows"]]
    whole = explorer.get("api/fitness?niche=t/acc&each=256")
    assert [len(whole["best"]), whole["direction"]] == [3, "higher"]
    assert max(one for one in whole["best"] if one is not None) <= 1
    judged = explorer.get("api/explain?ref=n8")
    assert judged["standings"][0]["verdict"] == "obsolete"
    assert judged["places"][0]["of"] == sum(whole["scores"])
    competition = explorer.get("api/niche?niche=t/acc&most=5")
    assert competition["counts"]["front"] == sum(
        one["state"] == "front" for one in competition["members"]
    )
    answer = explorer.ask("api/rows?start=9999")
    assert answer.status == 400
    assert b"the family has 0 to 699" in answer.read()


def test_on_a_narrow_screen_who_is_jumped_to_is_seen_above_the_panel(
    explorer: Explorer, page: Page
) -> None:
    [position] = [
        row["position"] for row in explorer.get("api/rows?at=n350&rows=9")["rows"]
        if row["name"] == "n350"
    ]  # fmt: skip
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{explorer.url}?limit=20#from=0&span=30")  # where it is not drawn
    page.wait_for_selector("[data-ready]", state="attached")
    page.locator("#search").fill("n350")
    page.locator("#search").press("Enter")
    told(page, "n350")
    page.wait_for_function("() => location.hash.includes('at=n350')")
    at = parse_qs(urlsplit(page.url).fragment)
    stage, panel = (page.locator(one).bounding_box() for one in ("#stage", "#panel"))
    assert stage
    assert panel
    part = (position + 0.5 - int(at["from"][0])) / int(at["span"][0])
    assert stage["y"] < stage["y"] + part * stage["height"] < panel["y"]
