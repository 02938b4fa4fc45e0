"""The tree page in a real browser: it asks nobody for anything, shows text as text, answers to
mouse and keyboard, and keeps its promises at 20,000. A script error fails the test."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lineage.organism import Niche, PowerCost, Score
from lineage.trees import columns, html, newick
from lineage.trees.family import Branch, Family, Happening, Member, Rival
from tests.conftest import ROOT, axe_violations
from tests.test_pictures import swapped_parents
from tests.test_trees import HOSTILE, grow, organism, small_family

if TYPE_CHECKING:
    from playwright.sync_api import Page

Show = Callable[..., "Page"]


@pytest.fixture
def show(page: Page, asked: list[str], tmp_path: Path) -> Any:
    """Opens the page of a family from disk, and fails on any request or complaint of it."""
    def opened(family: Family, title: str = "test family", at: str = "") -> Page:
        path = tmp_path / "tree.html"
        path.write_text(html.render(family, title=title), encoding="utf-8")
        page.goto(path.as_uri() + at)
        page.wait_for_selector("[data-ready]", state="attached")
        return page

    yield opened
    own = [url for url in asked if url.startswith(("file:", "data:", "blob:file:", "blob:null"))]
    assert asked == own, "a request left the page"


def rows(page: Page) -> list[str]:
    """What a screen reader is told of the rows, once the page has drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return page.locator("#outline [role=treeitem]").all_text_contents()


def names(page: Page) -> list[str]:
    return [row.partition(",")[0] for row in rows(page)]


def chosen(page: Page) -> str:
    return page.locator("#panel h2").inner_text()


def until(page: Page, sentence: str, value: str = "") -> None:
    """Waits until a condition in JavaScript holds; `value` is its argument."""
    page.wait_for_function(sentence, arg=value)


def told(page: Page, name: str) -> None:
    """Waits until the panel tells about `name`."""
    until(page, "name => document.querySelector('#panel h2')?.textContent === name", name)


def found(page: Page, count: str) -> None:
    until(page, "count => document.getElementById('found').value === `${count} found`", count)


def middle(page: Page, row: int) -> tuple[float, float]:
    """A point on a row, in the name column."""
    box = page.locator("#canvas").bounding_box()
    head = page.locator(".head.name").bounding_box()
    count = len(rows(page))
    assert box
    assert head
    high = min(26.0, box["height"] / count)
    return head["x"] + 20, box["y"] + (row + 0.5) * high


def click(page: Page, row: int) -> None:
    name = names(page)[row]
    page.mouse.click(*middle(page, row))
    told(page, name)


def picture(page: Page) -> bytes:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    return page.locator("#canvas").screenshot()


def changes(page: Page, before: bytes) -> None:
    """Waits until the picture is another one."""
    for _ in range(500):
        if picture(page) != before:
            return
    pytest.fail("the picture stays as it was")


def detailed() -> Family:
    """The small family with history, tags, times and rivals."""
    family = small_family()
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    members = {}
    for id_, member in family.members.items():
        own = replace(
            member.organism, created=begin + timedelta(days=30 * id_), step=100 * id_,
            digest=f"{id_:02x}" * 32, parameters=10**6 * id_, bytes=10**6, licence="mit",
        )  # fmt: skip
        members[id_] = replace(
            member,
            organism=own,
            training=PowerCost(joules=1000.0 * id_, source="measured"),
            tags=(("team", "blue" if id_ % 2 else "red"),),
            history=(Happening("registered", begin, "ada@lab", "train.py"),),
        )
    bad = members[4]
    members[4] = replace(
        bad,
        reason="Beaten in xml/bpb by sft-int8.",
        rivals=(Rival("xml/bpb", "sft-int8", 1.952, 2.3e-6, "token"),),
    )
    members[2] = replace(
        members[2], rivals=(Rival("xml/bpb", "sft-int8", 1.952, 2.3e-6, "token"),)
    )
    return replace(family, members=members, proposed={3: "", 2: "protected"})


def wide(children: int = 7, steps: int = 6) -> Family:
    """A founder, a run of `steps`, and so many like leaves below its end; more than the page folds
    from on."""
    links: dict[str, Any] = {"base": []}
    last = "base"
    for step in range(steps):
        links[f"run-{step}"] = [(last, "continue", None)]
        last = f"run-{step}"
    links |= {f"leaf-{i}": [(last, "adapter", None)] for i in range(children)}
    links |= {f"single-{i}": [] for i in range(160)}
    return grow(links)


# ---- the plate


def test_tree_and_table_share_rows_and_say_everything_in_words(show: Show) -> None:
    page = show(small_family())
    assert names(page) == [
        "base", "base-2", "bad", "sft", "blend", "sft-int8", "teacher", "pupil"
    ]  # fmt: skip
    said = rows(page)
    assert "culled" in said[0]
    assert "protected" in said[1]
    assert "selected against" in said[2]
    assert "load-bearing" in said[3]
    assert "ghost" in said[6]
    legend = page.locator(".legend").inner_text()
    for word in ("trained", "merge", "selected against", "culled, or a ghost", "estimated",
                 "further parent", "on the front", "worse", "better"):  # fmt: skip
        assert word in legend
    assert "adapter" not in legend, "only what is drawn is explained"
    assert "7 organisms · 4 generations · 1 merge" in page.locator(".counts").inner_text()


def test_clicking_an_organism_tells_all_about_it(show: Show) -> None:
    page = show(detailed())
    click(page, 3)
    told(page, "sft")
    panel = page.locator("#panel").inner_text()
    for part in (
        "finetune of base-2", "production", "load-bearing", "1.939 ± 0.016", "1 of 3", "6.40 J",
        "3.00M parameters", "1 MB", "mit", "team blue", "registered", "ada@lab", "train.py",
        "A selection would mark it", "3 kJ", "measured", "merge 70 %", "0303030303",
    ):  # fmt: skip
        assert part in panel.replace("3 M parameters", "3.00M parameters"), part
    page.get_by_role("link", name="blend").click()
    told(page, "blend")
    assert "merge of sft 70 %, bad 30 %" in page.locator("#panel").inner_text()


def test_selected_against_says_why_and_who_beats_it(show: Show) -> None:
    page = show(detailed())
    click(page, 2)
    panel = page.locator("#panel").inner_text()
    assert panel.count("Beaten in xml/bpb by sft-int8") == 1, "it is said once"
    assert "1.952 against 2.306, at 2.30 J/Mtok" in panel
    line = page.locator("#panel h2").evaluate("h => getComputedStyle(h).textDecorationLine")
    assert line == "line-through"
    click(page, 1)
    assert "kept all the same: it is protected" in page.locator("#panel").inner_text()


def test_the_niche_chosen_colours_the_tree(show: Show) -> None:
    family = grow({"A": [], "B": [("A", "finetune", None)]})
    scores = {1: (0.9, 0.1), 2: (0.2, 0.8)}
    members = {
        id_: replace(member, scores=(Score("math/acc", scores[id_][0]),
                                     Score("code/acc", scores[id_][1])))
        for id_, member in family.members.items()
    }  # fmt: skip
    page = show(Family(members, family.branches, niche=Niche("math", "acc")))
    pressed = page.locator(".head[aria-pressed=true]")
    assert pressed.inner_text().split() == ["math", "acc"]
    before = picture(page)
    page.locator(".head.niche", has_text="code").click()
    assert pressed.inner_text().split() == ["code", "acc"]
    assert picture(page) != before
    assert "code/acc" in page.locator("#scale").inner_text()


def test_columns_are_chosen_by_the_user(show: Show) -> None:
    page = show(small_family())
    assert page.locator(".head").all_inner_texts()[1] == "Relation"
    page.get_by_role("button", name="View").click()
    page.get_by_label("relation", exact=True).uncheck()
    page.get_by_role("checkbox", name="xml/bpb").uncheck()
    heads = page.locator(".head").all_inner_texts()
    assert heads == ["Organism", "Status", "J/Mtok"]
    page.keyboard.press("Escape")
    assert not page.locator("#view-menu").is_visible()


def test_an_unknown_direction_and_cost_are_said(show: Show) -> None:
    family = grow({"A": []})
    odd = Member(family.members[1].organism, (Score("vibes/feeling", 7.0),))
    page = show(Family({1: odd}, ()))
    assert "which way is better in vibes/feeling is not known" in page.inner_text(".legend")
    page.keyboard.press("ArrowDown")
    told(page, "A")
    assert "What serving it costs is not known" in page.locator("#panel").inner_text()
    assert "cannot be judged" in page.locator("#panel").inner_text()


def test_an_empty_family_says_what_to_do(show: Show) -> None:
    page = show(Family({}, ()))
    assert "There is no organism to draw" in page.locator("#stage").inner_text()
    assert not page.locator("#search").is_visible()


# ---- keys, search, links


def test_keys_walk_the_tree(show: Show) -> None:
    page = show(small_family())
    for key, expected in (
        ("ArrowDown", "base"), ("ArrowRight", "base-2"), ("ArrowRight", "bad"),
        ("ArrowDown", "sft"), ("ArrowLeft", "base-2"), ("End", "pupil"), ("Home", "base"),
    ):  # fmt: skip
        page.keyboard.press(key)
        told(page, expected)
        active = page.locator("#plate").get_attribute("aria-activedescendant")
        item = page.locator(f"#{active}")
        assert item.text_content().startswith(expected)
        assert item.get_attribute("aria-selected") == "true"
    page.keyboard.press("Escape")
    told(page, "test family")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_search_finds_by_name_alias_tag_and_digest(show: Show) -> None:
    page = show(detailed())
    for sought, expected in (("SFT", "sft"), ("production", "sft"), ("080808", "pupil"),
                             ("team red", "base-2"), ("base-2", "base-2"), ("base", "base")):
        page.keyboard.press("/")
        page.keyboard.type(sought)
        until(page, "() => /^[1-9].* found/.test(document.getElementById('found').value)")
        page.keyboard.press("Enter")
        told(page, expected)
        page.keyboard.press("Escape")
    assert page.locator("#search").input_value() == ""
    page.keyboard.press("/")
    page.keyboard.type("nobody is called this")
    found(page, "0")


def test_suggestions_are_taken_with_keys_and_with_the_mouse(show: Show) -> None:
    page = show(detailed())
    page.locator("#search").fill("base")
    options = page.locator("#suggested [role=option]")
    options.first.wait_for()
    assert [text.split("\n")[0] for text in options.all_inner_texts()] == ["base", "base-2"]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert options.nth(1).get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    told(page, "base-2")
    page.locator("#search").fill("pup")
    options.first.click()
    told(page, "pupil")


def test_a_link_shows_the_same_view(show: Show) -> None:
    page = show(detailed())
    click(page, 3)
    page.locator("#axis-joules").click()
    page.keyboard.press("Escape")
    click(page, 3)
    until(page, "() => /at=sft/.test(location.hash) && /joules/.test(location.hash)")
    link = page.evaluate("location.hash")
    page.goto("about:blank")
    again = show(detailed(), at=link)
    told(again, "sft")
    assert again.locator("#axis-joules").get_attribute("aria-pressed") == "true"
    again.goto("about:blank")
    again = show(detailed(), at="#colour=tag+team&shown=status&column=xml/bpb")
    assert "blue" in again.locator("#scale").inner_text()
    heads = again.locator(".head").all_inner_texts()
    assert heads == ["Organism", "Status", "xml\nbpb"], "columns are kept, too"


# ---- pruning the view


def test_clades_fold_and_open(show: Show) -> None:
    page = show(small_family())
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert names(page) == ["base", "base-2 + 4", "teacher", "pupil"]
    page.keyboard.press("ArrowRight")
    assert len(names(page)) == 8
    page.get_by_role("button", name="fold", exact=True).click()
    assert len(names(page)) == 4


def test_the_focus_stays_where_it_is_when_the_panel_is_written_anew(show: Show) -> None:
    page = show(detailed())
    click(page, 1)
    page.keyboard.press("Tab")
    page.get_by_role("button", name="root here").focus()
    page.keyboard.press("Enter")
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "whole tree"
    page.keyboard.press("Enter")
    assert page.evaluate(focused) == "root here"
    page.get_by_role("link", name="base", exact=True).first.focus()
    page.keyboard.press("Enter")
    told(page, "base")
    assert page.evaluate("document.activeElement.id") == "panel", "one reads on there"


def test_what_is_alike_folds_and_is_opened_by_choosing_it(show: Show) -> None:
    page = show(wide())
    said = names(page)
    assert said[:3] == ["base", "run-5", "7 adapter"]
    assert "6 steps" in rows(page)[1]
    page.keyboard.press("/")
    page.keyboard.type("leaf-3")
    found(page, "1")
    page.keyboard.press("Enter")
    told(page, "leaf-3")
    assert "leaf-6" in names(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    assert "run-3" in names(page)


def test_a_clade_alone_its_ancestors_alone_and_the_whole(show: Show) -> None:
    page = show(small_family())
    click(page, 3)
    page.keyboard.press("r")
    assert names(page) == ["sft", "blend", "sft-int8"]
    assert "3 rows of 8" in page.locator("#narrowed").inner_text()
    page.keyboard.press("r")
    page.keyboard.press("a")
    assert names(page) == ["base", "base-2", "sft"]
    page.keyboard.press("a")
    assert len(names(page)) == 8


def test_ancestors_through_every_parent(show: Show) -> None:
    page = show(small_family())
    click(page, 4)
    page.get_by_role("button", name="ancestors only").click()
    assert names(page) == ["base", "base-2", "bad", "sft", "blend"]


def test_two_are_compared(show: Show) -> None:
    page = show(small_family())
    click(page, 2)
    page.keyboard.press("c")
    page.mouse.click(*middle(page, 5))
    told(page, "bad and sft-int8")
    panel = page.locator("#panel").inner_text()
    assert "Most recent common ancestor: base-2." in panel
    assert "finetune → sft" in panel
    assert "quantized → sft-int8" in panel
    assert page.locator("#panel td b").all_inner_texts() == ["1.952"], "the better one is bold"
    assert "2.30 J/Mtok" in panel
    page.keyboard.press("ArrowDown")  # keys go on to others
    told(page, "bad and teacher")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    told(page, "bad and sft")


def test_filters_keep_what_leads_there(show: Show) -> None:
    page = show(small_family())
    page.get_by_role("button", name="Filter").click()
    page.locator("#of-relation").select_option("quantized")
    assert names(page) == ["base", "base-2", "sft", "sft-int8"]
    assert page.locator("#narrowed").inner_text() == "4 rows of 8"
    head = page.locator(".narrowed").bounding_box()
    assert head
    assert head["width"] > 60, "whatever else the head says"
    page.locator("#of-relation").select_option("")
    page.locator("#of-status").select_option("ghost")
    assert names(page) == ["teacher"]
    page.get_by_role("button", name="show all").first.click()
    assert len(names(page)) == 8
    assert not page.locator("#everything").is_visible()


def test_the_tree_grows_with_time(show: Show) -> None:
    page = show(detailed())
    page.get_by_role("button", name="Grow").click()
    slider = page.locator("#time")
    assert slider.get_attribute("aria-valuetext") == "2026-10-27"
    slider.focus()
    page.keyboard.press("Home")
    assert names(page) == ["base"]
    assert "4" in page.locator("#axis").inner_text().split(), "the axis stands still meanwhile"
    page.keyboard.press("End")
    assert len(names(page)) == 8


@pytest.mark.parametrize("colour", ["power", "relation", "status", "age", "licence", "tag team"])
def test_colour_by(show: Show, colour: str) -> None:
    page = show(detailed())
    page.locator("#colour").focus()
    page.wait_for_selector("#tag-colours", state="attached")
    page.locator("#colour").select_option(colour)
    said = {"power": "less power", "relation": "finetune", "status": "alive", "age": "older",
            "licence": "mit", "tag team": "blue"}[colour]  # fmt: skip
    page.wait_for_function("word => document.getElementById('scale').textContent.includes(word)",
                           arg=said)  # fmt: skip


def test_every_axis_has_a_labelled_scale(show: Show) -> None:
    page = show(detailed())
    for axis, label, tick in (("time", "Time", "2026-07-01"), ("step", "Step", "k"),
                              ("joules", "Joules", "kJ"), ("generation", "Generation", "3")):
        page.locator(f"#axis-{axis}").click()
        said = page.locator("#axis").inner_text()
        assert label.lower() in said.lower()
        assert tick in said


# ---- the plot, the plan


def test_brushing_the_plot_selects_in_the_tree(show: Show) -> None:
    page = show(small_family())
    box = page.locator("#panel canvas").bounding_box()
    assert box
    before = picture(page)
    page.mouse.move(box["x"] + 45, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 150, steps=4)
    page.mouse.up()
    assert page.get_by_role("button", name="clear the 1 selected").is_visible()
    assert picture(page) != before
    page.get_by_role("button", name="clear the 1 selected").click()
    assert picture(page) == before
    page.locator("#panel canvas").focus()
    page.keyboard.press("ArrowRight")
    told(page, "sft-int8")


def test_the_plan_says_what_would_go_and_why_before_and_after(show: Show) -> None:
    page = show(detailed())
    page.get_by_role("button", name="Plan").click()
    panel = page.locator("#panel")
    panel.get_by_text("Selection plan").wait_for()
    assert "1 of 5 living organisms no longer justifies its power bill" in panel.inner_text()
    assert "it is protected" in panel.inner_text()
    assert len(names(page)) == 8
    page.get_by_role("button", name="after").click()
    assert "bad" not in names(page)
    page.keyboard.press("p")
    told(page, "test family")
    assert len(names(page)) == 8


# ---- taking it out


def test_what_is_seen_is_saved_as_svg_and_png(show: Show, tmp_path: Path) -> None:
    family = small_family()
    named = grow({"<b>&\"'": [], "\U0001f33f": [("<b>&\"'", "finetune", None)]})
    for one in (family, named):
        page = show(one)
        for kind, magic in (("svg", b"<svg"), ("png", b"\x89PNG")):
            page.get_by_role("button", name="Save").click()
            with page.expect_download() as downloading:
                page.locator(f"#save-{kind}").click()
            path = tmp_path / f"saved.{kind}"
            downloading.value.save_as(path)
            assert path.read_bytes().startswith(magic)
        texts = [text.text for text in ET.parse(tmp_path / "saved.svg").iter() if text.text]
        for member in one.members.values():
            assert str(member.organism) in texts
        page.goto("about:blank")


def further_curves(page: Page) -> list[list[float]]:
    """The points of the curves to further parents, x and y in turn, as they are saved."""
    page.get_by_role("button", name="Save").click()
    with page.expect_download() as downloading:
        page.locator("#save-svg").click()
    paths = [one.get("d", "") for one in ET.parse(downloading.value.path()).iter()
             if one.get("stroke") == "#b4502d"]  # fmt: skip
    return [[float(n) for n in re.findall(r"-?[\d.]+", path)] for path in paths if "C" in path]


def test_what_reaches_far_out_of_the_window_is_drawn_where_it_is_seen(show: Show) -> None:
    """A dotted curve over 20,000 rows has 100,000 dots: they took 60 ms of a frame and more."""
    links: dict[str, Any] = {f"single-{i}": [] for i in range(400)}
    links["merge"] = [("single-0", "merge", 0.6), ("single-399", "merge", 0.4)]
    page = show(grow(links))
    page.keyboard.press("1")
    curves = further_curves(page)
    assert curves
    for curve in curves:
        assert max(curve[1::2]) < 1000, "up to a little below the window"


def test_what_is_cut_keeps_its_end_where_versions_differ(show: Show) -> None:
    """Names, and heads of niches: cut behind, all rows and columns of a zoo are called alike."""
    long = "MobileNet_V3_Large_QuantizedWeights.IMAGENET1K_QNNPACK_wider_than_any_column_V"
    family = grow({f"{long}1": [], f"{long}2": [(f"{long}1", "finetune", None)]})
    tasks = [f"benchmark-of-some-length-00{number}" for number in range(4)]
    members = {
        id_: replace(member, scores=tuple(Score(Niche(task, "acc"), 0.5) for task in tasks))
        for id_, member in family.members.items()
    }
    page = show(Family(members, family.branches))
    heads = page.locator(".head.niche")
    assert [head.partition("\n")[0][-4:] for head in heads.all_inner_texts()] == [
        "…000", "…001", "…002", "…003"
    ]  # fmt: skip
    fit = "all => all.every(a => a.scrollWidth <= a.clientWidth)"
    assert heads.locator("bdi").evaluate_all(fit)
    page.get_by_role("button", name="Save").click()
    with page.expect_download() as downloading:
        page.locator("#save-svg").click()
    said = [one.text or "" for one in ET.parse(downloading.value.path()).iter()]
    names = [one for one in said if one.startswith("MobileNet")]
    assert len(names) == 2
    for name, end in zip(names, ("_V1", "_V2"), strict=True):
        assert "…" in name
        assert name.endswith(end)


def test_curves_between_parents_in_disorder_stay_inside_the_tree(show: Show) -> None:
    page = show(swapped_parents(), at="#axis=time")
    first = page.locator("#axis .at").first.bounding_box()
    assert first
    assert first["x"] >= 0, "the date at the edge is whole"
    curves = further_curves(page)
    assert len(curves) == 2
    tree = page.locator(".head.name").bounding_box()
    stage = page.locator("#stage").bounding_box()
    assert tree
    assert stage
    for curve in curves:
        assert min(curve[::2]) >= 0
        assert max(curve[::2]) <= tree["x"] - stage["x"]


def test_newick_is_that_of_the_command(show: Show) -> None:
    page = show(small_family())
    page.evaluate(
        "() => { navigator.clipboard.writeText = async (text) => { window.kept = text; }; }"
    )
    page.get_by_role("button", name="Save").click()
    page.locator("#copy-newick").click()
    page.get_by_text("The Newick text is on the clipboard.").wait_for()
    plain = re.sub(r" 30 %|(?<=;)\n", "", newick.render(small_family()))
    assert page.evaluate("window.kept").replace("\n", "") == plain


def test_it_prints_without_its_controls(show: Show) -> None:
    page = show(small_family())
    page.emulate_media(color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert not page.locator("#search").is_visible()
    paper = page.locator("#paper svg")
    box = paper.bounding_box()
    assert box
    assert box["width"] > 300
    assert box["height"] > 200, "the tree is on paper, not a strip of it"
    said = paper.locator("text").all_text_contents()
    assert {"sft", "xml", "merge", "struck: selected against"} <= set(said)
    assert paper.locator("rect").first.get_attribute("fill") == "#fbfaf7", "paper is light"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not paper.count()
    assert "sft" in names(page)


# ---- hostile names


def test_names_from_outside_are_text(show: Show) -> None:
    wicked = (
        *HOSTILE, "</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>",
        "{{ 7 * 7 }}", "&amp;\u2028<!--", "שלום עולם", "\U0001f33f fern", "n" * 10_000,
    )  # fmt: skip
    wicked = tuple(dict.fromkeys(wicked))
    family = grow({"root": []} | {name: [("root", "adapter", None)] for name in wicked})
    members = {
        id_: Member(
            member.organism,
            (Score(Niche(f"<i>{id_}</i>", "acc"), 0.5),),
            PowerCost(joules=1, phase="serving", per="token", meter="<u>meter</u>"),
            aliases=(str(member.organism)[:50],),
            reason="<b>because</b>",
            tags=(("<s>", "<u>"),),
            history=(Happening("<b>", datetime(2026, 1, 1, tzinfo=UTC), "<i>", "<script>"),),
        )
        for id_, member in family.members.items()
    }
    page = show(Family(members, family.branches), title="<script>title</script>")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    said = "\n".join(rows(page))
    for name in ("<b>bold</b>", "</script><script>alert(1)</script>", "two\\nlines\\ttab",
                 "\\u202egnp.exe", "שלום עולם", "\U0001f33f fern"):  # fmt: skip
        assert name in said
    for line in range(len(wicked) + 1):
        page.keyboard.press("ArrowDown")
        until(page, "line => document.getElementById('plate')"
                    ".getAttribute('aria-activedescendant') === line", f"line-{line}")  # fmt: skip
        assert page.locator("#panel :is(b b, i, u, s, img, script)").count() == 0
    assert page.title() == "<script>title</script> · lineage"
    assert dialogs == []
    long = page.locator("#panel").evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    assert long


# ---- many


def many(count: int) -> Family:
    parents = {i: i // 3 + 1 for i in range(2, count + 1)}
    members = {
        i: Member(
            organism(i, f"run/checkpoint-{i}", generation=1),
            (Score("math/acc", i % 97 / 97),) if i % 3 else (),
        )
        for i in range(1, count + 1)
    }
    branches = tuple(
        Branch(child, parent, ("finetune", "adapter", "quantized")[child % 3], None)
        for child, parent in parents.items()
    )
    return Family(members, branches, folded={1: 240, 5: 1100}, hidden=1340)


def test_twenty_thousand_are_drawn_from_afar_and_from_near(show: Show) -> None:
    page = show(many(20_000))
    assert "1,340 more organisms are not in this page" in page.locator("#panel").inner_text()
    page.locator("#map").wait_for(state="hidden")
    far = picture(page)
    page.keyboard.press("1")
    page.locator("#map").wait_for(state="visible")
    assert picture(page) != far
    page.keyboard.press("/")
    page.keyboard.type("checkpoint-19999")
    found(page, "1")
    page.keyboard.press("Enter")
    told(page, "run/checkpoint-19999")
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    page.locator("#map").wait_for(state="hidden")


DRAWN = """
const clear = CanvasRenderingContext2D.prototype.clearRect;
window.drawn = 0;
CanvasRenderingContext2D.prototype.clearRect = function (...box) {
  if (this.canvas.id === "canvas") window.drawn += 1;
  clear.apply(this, box);
};"""


@pytest.mark.parametrize("width", [1400, 390])
def test_the_first_picture_is_drawn_once(show: Show, page: Page, width: int) -> None:
    """What is written around the plate takes its room beforehand."""
    page.set_viewport_size({"width": width, "height": 844})
    page.add_init_script(DRAWN)
    show(many(4000))
    rows(page)
    assert page.evaluate("window.drawn") == 1


def test_the_longest_of_many_names_is_not_cut(show: Show) -> None:
    family = many(4000)
    member, name = family.members[3999], "run/checkpoint-3999-the-longest"
    long = replace(member, organism=replace(member.organism, name=name))
    page = show(replace(family, members={**family.members, 3999: long}))
    room, wide = page.evaluate("""name => {
      const pen = new OffscreenCanvas(1, 1).getContext("2d");
      pen.font = `13px ${getComputedStyle(document.body).fontFamily}`;
      const { width } = document.querySelector(".head.name").style;
      return [parseFloat(width), pen.measureText(name).width];
    }""", name)  # fmt: skip
    assert room >= wide + 10


def test_wheel_drag_pinch_and_map_move_the_window(show: Show) -> None:
    page = show(many(1000))
    first = names(page)
    canvas = page.locator("#canvas").bounding_box()
    assert canvas
    page.mouse.move(canvas["x"] + 300, canvas["y"] + 300)
    page.mouse.wheel(0, 5000)
    page.wait_for_function("() => document.getElementById('map').ariaValueNow > 10 || "
                           "document.getElementById('map').getAttribute('aria-valuenow') > 10")
    at = picture(page)
    page.mouse.down()
    page.mouse.move(canvas["x"] + 300, canvas["y"] + 200, steps=3)
    page.mouse.up()
    changes(page, at)
    assert chosen(page) == "test family", "a drag chooses nobody"
    at = picture(page)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    changes(page, at)
    page.keyboard.up("Control")
    box = page.locator("#map").bounding_box()
    assert box
    page.mouse.click(box["x"] + 5, box["y"] + 5)
    page.keyboard.press("Home")
    assert names(page)[0] == first[0]


def test_organisms_not_drawn_are_counted_where_they_branch_off(show: Show) -> None:
    family = replace(small_family(), folded={3: 240}, hidden=240)
    page = show(family)
    assert "+ 240 more" in " ".join(rows(page))
    page.keyboard.press("End")
    page.keyboard.press("ArrowUp")
    assert chosen(page) != "", "a row that counts is passed over"


def test_sixty_bytes_draw_an_organism_and_four_hundred_tell_all(tmp_path: Path) -> None:
    """The generator of the benchmarks: names, digests, scores, costs, events."""
    import lineage
    from bench import generate

    sizes = {}
    for count in (1000, 4000):
        generate.write(tmp_path / f"{count}.db", generate.organisms(count))
        with lineage.open(tmp_path / f"{count}.db", create=False) as registry:
            family = registry.family(limit=None, details=True)
        sizes[count] = [4 / 3 * len(block) for block in columns.pack(family, "x")]
    more = 3000
    drawn, details = ((b - a) / more for a, b in zip(sizes[1000], sizes[4000], strict=True))
    assert drawn <= 60
    assert drawn + details <= 400


# ---- light, dark, narrow, still


def test_dark_and_light_by_the_system_and_by_the_switch(show: Show) -> None:
    page = show(small_family())
    shades = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        shades.append((page.evaluate("getComputedStyle(document.body).backgroundColor"),
                       picture(page)))  # fmt: skip
    light, dark = shades
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.emulate_media(color_scheme="light")
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark[0]
    assert "dark" in str(page.locator("#theme").get_attribute("aria-label"))


def test_a_narrow_screen_keeps_name_one_niche_and_power(show: Show) -> None:
    page = show(small_family())
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("() => document.querySelectorAll('.head').length === 3")
    heads = [text.split("\n")[0] for text in page.locator(".head").all_inner_texts()]
    assert heads == ["Organism", "xml", "J/Mtok"]
    assert not page.locator("#panel").is_visible()
    for box in page.locator(".top > :visible").all():
        seen = box.bounding_box()
        assert seen
        assert seen["x"] >= 0
        assert seen["x"] + seen["width"] <= 390
    page.keyboard.press("ArrowDown")
    page.wait_for_selector("#panel", state="visible")
    sheet = page.locator("#panel").bounding_box()
    assert sheet
    assert sheet["y"] > 844 * 0.4


def test_on_a_narrow_screen_the_panel_about_the_family_is_a_touch_away(show: Show) -> None:
    page = show(detailed())
    button = page.get_by_role("button", name="About the family")
    assert not button.is_visible(), "on a wide screen it is there"
    page.set_viewport_size({"width": 390, "height": 844})
    zoom, panel = page.locator(".zoom").bounding_box(), page.locator("#panel")
    for box in [one.bounding_box() for one in page.locator(".buttons > :visible").all()]:
        assert zoom
        assert box
        assert box["x"] + box["width"] <= zoom["x"], "beside the zoom, on one row with it"
        assert abs(box["y"] + box["height"] / 2 - zoom["y"] - zoom["height"] / 2) < 3
    button.click()
    panel.wait_for(state="visible")
    assert chosen(page) == "test family"
    assert button.get_attribute("aria-expanded") == "true"
    assert axe_violations(page) == []
    panel.get_by_role("link", name="sft", exact=True).click()
    told(page, "sft")
    button.click()
    told(page, "test family")
    page.keyboard.press("Escape")
    panel.wait_for(state="hidden")
    assert button.get_attribute("aria-expanded") == "false"
    button.click()
    panel.wait_for(state="visible")
    button.click()
    panel.wait_for(state="hidden")


def test_on_a_narrow_screen_the_last_row_is_seen_above_the_panel(show: Show) -> None:
    page = show(grow({f"founder-{number}": [] for number in range(36)}))
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("() => document.querySelectorAll('.head').length === 2")
    page.keyboard.press("1")  # from now on the address says where one is
    page.keyboard.press("End")
    page.wait_for_selector("#panel", state="visible")
    until(page, "name => location.hash.includes(name)", chosen(page))
    at = parse_qs(urlsplit(page.url).fragment)
    stage, panel = (page.locator(one).bounding_box() for one in ("#stage", "#panel"))
    assert stage
    assert panel
    end = (36 - float(at["y"][0])) * float(at["h"][0])
    assert stage["y"] + end <= 0.45 * 844 + 1
    assert panel["y"] >= 0.45 * 844 - 1
    page.keyboard.press("Escape")
    until(page, "() => !location.hash.includes('at=')")
    at = parse_qs(urlsplit(page.url).fragment)
    assert float(at["y"][0]) == pytest.approx(max(0, 36 - stage["height"] / float(at["h"][0])), 0.1)


def test_a_screen_of_high_density_is_drawn_crisp(show: Show, browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "tree.html"
    path.write_text(html.render(small_family(), title="x"), encoding="utf-8")
    context = browser.new_context(device_scale_factor=2, viewport={"width": 900, "height": 600})
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("[data-ready]", state="attached")
    twice = page.evaluate("() => document.getElementById('canvas').width / "
                          "document.getElementById('canvas').clientWidth")  # fmt: skip
    context.close()
    assert twice == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_no_violation(show: Show, scheme: str, width: int) -> None:
    page = show(detailed())
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)
    assert axe_violations(page) == []
    page.keyboard.press("ArrowDown")
    told(page, "base")
    assert axe_violations(page) == []
    page.keyboard.press("p")
    page.locator("#panel").get_by_text("Selection plan").wait_for()
    assert axe_violations(page) == []
    page.get_by_role("button", name="View").click()
    page.locator("#view-menu").wait_for()
    assert axe_violations(page) == []


# ---- golden pictures

UNLIKE = """async ([one, other]) => {
  const read = async (text) => {
    const bytes = await (await fetch(`data:image/png;base64,${text}`)).blob();
    const image = await createImageBitmap(bytes);
    const pen = new OffscreenCanvas(image.width, image.height).getContext("2d");
    pen.drawImage(image, 0, 0);
    return pen.getImageData(0, 0, image.width, image.height);
  };
  const [a, b] = [await read(one), await read(other)];
  if (a.width !== b.width || a.height !== b.height) return 1;
  let unlike = 0;
  const apart = (i) => Math.max(...[0, 1, 2].map((k) => Math.abs(a.data[i + k] - b.data[i + k])));
  for (let i = 0; i < a.data.length; i += 4) if (apart(i) > 48) unlike += 1;
  return unlike / (a.data.length / 4);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tree_looks_as_it_did(show: Show, browser: Any, scheme: str) -> None:
    """The phylogram, which has no text in it: fonts are those of the machine. A golden picture that
    is not there is made, and the test fails once."""
    page = show(detailed())
    page.emulate_media(color_scheme=scheme)
    page.keyboard.press("End")
    told(page, "pupil")
    picture(page)
    box = page.locator("#canvas").bounding_box()
    assert box
    clip = {"x": box["x"], "y": box["y"], "width": 300, "height": 210}
    seen = page.screenshot(clip=clip)
    golden = ROOT / "tests" / "golden" / f"tree-{scheme}.png"
    if not golden.exists():
        golden.parent.mkdir(exist_ok=True)
        golden.write_bytes(seen)
        pytest.fail(f"{golden} was made: look at it, and run again")
    blank = browser.new_page()
    pair = [base64.b64encode(one).decode() for one in (seen, golden.read_bytes())]
    unlike = blank.evaluate(UNLIKE, pair)
    blank.close()
    assert unlike < 0.01


# ---- the file


def test_no_script_but_ours_can_run() -> None:
    page = html.render(small_family(), title="x")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert len(re.findall(r"<script\b[^>]*>", page)) == 3, "two blocks of data and our own"
    assert not re.search(r"\b(?:src|href)=\"(?!data:)", page)


def test_every_name_that_a_module_imports_is_exported() -> None:
    sources = {
        one.name.removesuffix(".js"): one.read_text("utf-8")
        for one in files("lineage.viz").joinpath("page").iterdir()
    }
    for name, text in sources.items():
        lines = re.findall(r"^import .*$", text, re.M)
        assert len(lines) == len(html.IMPORT.findall(text)), f"{name}: one line an import"
        for wanted, source in html.IMPORT.findall(text):
            given = {a or b for a, b in html.EXPORT.findall(sources[source])}
            asked = {part.split(" as ")[0].strip() for part in wanted.strip("{} ").split(",")}
            assert asked <= given, (name, source)


def test_the_same_family_gives_the_same_page_in_every_process() -> None:
    """The order of a set is another in each."""
    code = "from lineage.trees import html; print(html.explorer('x'))"
    said = [
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True,
                       env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in "123"
    ]  # fmt: skip
    assert said[0] == said[1] == said[2]
    assert html.render(detailed(), title="x") == html.render(detailed(), title="x")
