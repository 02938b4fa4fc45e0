"""The small graph (`--format pyvis`) in a real browser: it asks nobody for anything, shows text as
text, and answers to mouse and keyboard. A script error or a broken policy fails the test."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import lineage
from lineage.cli import drawing, main
from lineage.organism import Niche, PowerCost, Score
from lineage.trees import colours, network, niche
from lineage.trees.family import Branch, Family, Member
from tests.test_trees import HOSTILE, grow, organism, scored, small_family

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., "Page"]


@pytest.fixture
def show(page: Page, asked: list[str], tmp_path: Path) -> Any:
    """Opens the page of a family from disk, and fails on any request or complaint of it."""
    def opened(family: Family, title: str = "test family") -> Page:
        path = tmp_path / "tree.html"
        path.write_text(network.render(family, title=title), encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield opened
    own = [url for url in asked if url.startswith(("file:", "data:"))]
    assert asked == own, "a request left the page"


def names(page: Page) -> list[str]:
    return page.locator("#rows td.name bdi").all_inner_texts()


def chosen(page: Page) -> str:
    return page.locator("#panel h2").inner_text()


def pixel(page: Page, x: float, y: float) -> list[int]:
    """The colour that the canvas shows at CSS pixels of it."""
    found: list[int] = page.evaluate(
        """async ([x, y]) => {
            const frame = () => new Promise((done) => requestAnimationFrame(done));
            await frame(); await frame();
            const canvas = document.querySelector("#network canvas");
            const scale = canvas.width / canvas.clientWidth;
            const copy = new OffscreenCanvas(1, 1).getContext("2d");
            copy.drawImage(canvas, -x * scale, -y * scale);
            return [...copy.getImageData(0, 0, 1, 1).data];
        }""",
        [x, y],
    )
    return found


def test_tree_and_table_share_rows_and_say_everything_in_words(show: Open) -> None:
    page = show(small_family())
    assert names(page) == [
        "base", "base-2", "bad", "sft", "blend", "sft-int8", "teacher", "pupil"
    ]  # fmt: skip
    rows = page.locator("#rows tr").all_inner_texts()
    assert "culled" in rows[0]
    assert "◆ protected" in rows[1]
    assert "✕ selected against" in rows[2]
    assert "load-bearing" in rows[3]
    assert "~2.30" in rows[5], "an estimate is marked"
    assert "ghost" in rows[6]
    legend = page.locator(".legend").inner_text()
    for word in ("trained", "merge", "selected against", "culled, or a ghost", "estimated",
                 "further parent", "on the front", "worse", "better"):  # fmt: skip
        assert word in legend
    assert "adapter" not in legend, "only what is drawn is explained"
    assert "7 organisms · 4 generations · 1 merge" in page.locator(".counts").inner_text()


def test_all_pages_have_one_palette() -> None:
    """The tree page has it; the small graph, plans and niches take it from there."""
    for start in (colours.LIGHT, colours.DARK):
        named = colours.theme(start).named
        for one in (network.render(small_family(), title="x"), niche.style()):
            assert f"--soft:{named['soft']};" in one
            assert f"--alive:{named['alive']};" in one


def test_clicking_an_organism_on_the_tree_tells_all_about_it(show: Open) -> None:
    page = show(small_family())
    row = page.locator("#rows tr").nth(3).bounding_box()
    tree = page.locator("#network canvas").bounding_box()
    assert row
    assert tree
    page.mouse.click(tree["x"] + 60, row["y"] + row["height"] / 2)
    assert chosen(page) == "sft"
    panel = page.locator("#panel").inner_text()
    for part in (
        "finetune of base-2", "production", "load-bearing", "1.939 ± 0.016", "1 / 3",
        "serving a million tokens", "6.40 J", "measured", "blend merge (70 %)",
    ):  # fmt: skip
        assert part in panel
    page.get_by_role("button", name="blend").click()
    assert chosen(page) == "blend"
    assert "merge of sft 70 %, bad 30 %" in page.locator("#panel").inner_text()


def test_selected_against_is_struck_and_says_why(show: Open) -> None:
    family = small_family()
    bad = family.members[4]
    why = "sft-int8 is fitter in xml/bpb, 1.952 against 2.306, at less power."
    members = dict(family.members) | {
        4: Member(bad.organism, bad.scores, bad.serving, reason=why),
    }
    page = show(Family(members, family.branches))
    line = page.locator("#rows tr").nth(2)
    struck = line.locator("td.name").evaluate("cell => getComputedStyle(cell).textDecorationLine")
    assert struck == "line-through"
    line.click()
    assert why in page.locator("#panel").inner_text()


def test_keys_walk_the_tree(show: Open) -> None:
    page = show(small_family())
    for key, expected in (
        ("ArrowDown", "base"), ("ArrowRight", "base-2"), ("ArrowRight", "bad"),
        ("ArrowDown", "sft"), ("ArrowLeft", "base-2"), ("End", "pupil"), ("Home", "base"),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert chosen(page) == expected
        focused = page.evaluate("document.activeElement.querySelector('bdi').textContent")
        assert focused == expected, "focus goes along"
    page.keyboard.press("Escape")
    assert chosen(page) == "test family"


def test_search_finds_by_name_alias_and_digest(show: Open) -> None:
    family = small_family()
    hashed = Member(organism(8, "pupil", digest="deadbeef" * 8, generation=1))
    page = show(Family(dict(family.members) | {8: hashed}, family.branches))
    for sought, found in (("SFT", "sft"), ("production", "sft"), ("deadbe", "pupil")):
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.type(sought)
        assert "found" in page.locator("#found").inner_text()
        page.keyboard.press("Enter")
        assert chosen(page) == found
        page.keyboard.press("Escape")
    assert page.locator("#search").input_value() == ""
    page.keyboard.press("/")
    page.keyboard.type("nobody is called this")
    assert page.locator("#found").inner_text() == "0 found"
    assert page.locator("#rows tr:not(.lost)").count() == 0


def test_names_from_outside_are_text(show: Open) -> None:
    wicked = (
        *HOSTILE, "</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>",
        "{{ 7 * 7 }}", "&amp;\u2028<!--",
    )  # fmt: skip
    family = grow({"root": []} | {name: [("root", "adapter", None)] for name in wicked})
    members = {
        id_: Member(
            member.organism,
            (Score(Niche(f"<i>{id_}</i>", "acc"), 0.5),),
            PowerCost(joules=1, phase="serving", per="token", meter="<u>meter</u>"),
            aliases=(str(member.organism)[:50],),
            reason="<b>because</b>",
        )
        for id_, member in family.members.items()
    }
    page = show(Family(members, family.branches), title="<script>title</script>")
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    assert page.locator("#rows tr").count() == len(wicked) + 1
    assert "<b>bold</b>" in names(page)
    assert "</script><script>alert(1)</script>" in names(page)
    assert "two\\nlines\\ttab" in names(page)
    assert "\\u202egnp.exe" in names(page)
    for i in range(len(wicked) + 1):
        page.locator("#rows tr").nth(i).click()
        assert page.locator("#panel :is(b b, i, u, img, script)").count() == 0
    assert page.title() == "<script>title</script> · lineage"
    assert dialogs == []


def test_dark_and_light_are_both_drawn(show: Open) -> None:
    page = show(small_family())
    drawn = """() => {
        const cell = document.querySelectorAll("#rows tr")[3].querySelector("td.heat span");
        return [getComputedStyle(document.body).backgroundColor,
                getComputedStyle(cell).backgroundColor,
                document.querySelector("#network canvas").toDataURL()];
    }"""
    page.emulate_media(color_scheme="light")
    light = page.evaluate(drawn)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"was => ({drawn})().every((one, at) => one !== was[at])", arg=light)


def test_the_niche_chosen_colours_the_tree(show: Open) -> None:
    family = grow({"A": [], "B": [("A", "finetune", None)]})
    scores = {1: (0.9, 0.1), 2: (0.2, 0.8)}
    members = {
        id_: Member(
            member.organism,
            (Score("math/acc", scores[id_][0]), Score("code/acc", scores[id_][1])),
        )
        for id_, member in family.members.items()
    }
    page = show(Family(members, family.branches, niche=Niche("math", "acc")))
    assert page.locator("th.chosen").inner_text().split() == ["math", "acc"]
    x, y = page.evaluate(
        """() => {
            const line = document.querySelector("#rows tr").getBoundingClientRect();
            const tree = document.querySelector("#network canvas").getBoundingClientRect();
            return [28, line.top + line.height / 2 - tree.top];
        }"""
    )
    best = pixel(page, x, y)
    page.locator("#niche").select_option(label="code/acc")
    assert page.locator("th.chosen").inner_text().split() == ["code", "acc"]
    assert sum(pixel(page, x, y)[:3]) > sum(best[:3]) + 100, "worse is lighter on paper"


def test_unknown_directions_and_costs_are_said_as_unknown(show: Open) -> None:
    family = grow({"A": []})
    odd = Member(family.members[1].organism, (Score("vibes/feeling", 7.0),))
    page = show(Family({1: odd}, ()))
    assert "which way is better in vibes/feeling is not known" in page.inner_text(".legend")
    page.keyboard.press("ArrowDown")
    assert "What serving it costs is not known" in page.locator("#panel").inner_text()


def test_figures_are_those_of_the_other_pictures_and_none_is_cut(show: Open) -> None:
    family = grow({"A": [], "B": [], "C": [], "D": []})
    costs = {1: ("image", 0.00028), 2: ("image", 1.7), 3: ("image", 0.045), 4: ("request", 2.0)}
    members = {
        id_: Member(member.organism, (Score("a-long-name-of-a-benchmark/acc", 0.5),),
                    PowerCost(joules=costs[id_][1], phase="serving", per=costs[id_][0]))
        for id_, member in family.members.items()
    }  # fmt: skip
    page = show(Family(members, family.branches))
    cells = page.locator("#rows td.power")
    assert cells.all_inner_texts() == [
        "0.00028 J/image", "1.70 J/image", "0.045 J/image", "2.00 J/request"
    ]  # fmt: skip
    assert cells.evaluate_all("all => all.every(a => a.scrollWidth <= a.clientWidth)")
    shown = page.locator("th.heat bdi").evaluate("a => getComputedStyle(a).textOverflow")
    assert shown == "ellipsis", "a head that is cut says so"


def test_an_empty_family_says_what_to_do(show: Open) -> None:
    page = show(Family({}, ()))
    assert "There is no organism to draw" in page.locator("#plate").inner_text()


def large_family() -> Family:
    """1,000 organisms, and two bundles of others."""
    parents = {i: i // 3 + 1 for i in range(2, 1001)}
    members = {i: Member(organism(i, f"run/checkpoint-{i}", generation=1)) for i in range(1, 1001)}
    branches = tuple(Branch(child, parent, "finetune", None) for child, parent in parents.items())
    return Family(members, branches, folded={1: 240, 5: 1100}, hidden=1340)


def test_a_thousand_and_the_rest_in_bundles(show: Open) -> None:
    page = show(large_family())
    said = page.locator(".notice").inner_text()
    assert said == "1,340 more not drawn"
    assert page.locator("#rows tr").count() == 1002
    bundles = page.locator("#rows tr.more td.name").all_text_contents()
    assert sorted(bundles) == ["… 1,100 more", "… 240 more"]
    page.keyboard.press("End")
    last = page.locator("#rows tr.chosen").bounding_box()
    assert last
    assert last["y"] + last["height"] <= 900, "the row chosen is scrolled into view"
    below = page.evaluate(
        """() => {
            const row = document.querySelector("#rows tr.more").previousElementSibling;
            row.click();
            return row.nextElementSibling.nextElementSibling.querySelector("bdi").textContent;
        }"""
    )
    page.keyboard.press("ArrowDown")
    assert chosen(page) == below, "a bundle is passed over"


def folded_family() -> Family:
    """A run of nine; of its last seven finetunes, five wicked adapters and two copies."""
    links: dict[str, Any] = {"s0": []}
    links |= {f"s{i}": [(f"s{i - 1}", "continue", None)] for i in range(1, 9)}
    links |= {f"tune-{i}": [("s8", "finetune", None)] for i in range(7)}
    links |= {f"<b>{i}</b>": [("s8", "adapter", None)] for i in range(5)}
    links |= {f"s8-int{i}": [("s8", "quantized", None)] for i in (8, 4)}
    struck = {"status": "selected_against"}
    return grow(links, s3=struck | scored(2.75, 4e-6), s5=scored(2.25, 2e-6),
                tune_1={"status": "culled"}, tune_2=scored(2.0, 1e-6),
                tune_6={"aliases": ("best",)})  # fmt: skip


def test_what_is_alike_shares_a_row_and_the_panel_tells_of_each(show: Open) -> None:
    page = show(folded_family())
    assert names(page) == [
        "s0", "s1 … s7", "s8", "tune-0 … tune-5", "tune-6", "<b>0</b> … <b>4</b>",
        "s8-int8, s8-int4",
    ]  # fmt: skip
    assert page.locator(".notice").inner_text() == "20 folded"
    assert page.locator("#axis .what").inner_text() == "Generation, folded steps as one"
    steps = page.locator("#rows tr").nth(1)
    cells = [
        steps.locator(f"td.{kind}").inner_text() for kind in ("origin", "status", "heat", "power")
    ]
    assert cells == ["7 steps", "1 selected against", "2.25–2.75", "2.00–4.00"]
    legend = page.locator(".legend").inner_text()
    assert "steps of a run, folded" in legend
    assert "several alike" in legend
    steps.click()
    panel = page.locator("#panel")
    assert chosen(page) == "s1 … s7"
    assert "7 steps of s0." in panel.inner_text()
    assert "1 child: s8 continue." in panel.inner_text()
    lines = panel.locator("table").first.locator("tr")
    assert lines.count() == 7
    assert "2.750" in lines.nth(2).inner_text()
    assert "✕ selected against" in lines.nth(2).inner_text()
    panel.get_by_role("button", name="s5", exact=True).click()
    assert chosen(page) == "s5"
    assert "continue of s4, generation 5" in panel.inner_text()
    assert "s6 continue." in panel.inner_text()
    assert "1 / 2" not in panel.inner_text(), "tune-2 is better"
    panel.get_by_role("button", name="s4", exact=True).first.click()
    assert chosen(page) == "s4"
    page.keyboard.press("ArrowDown")
    assert chosen(page) == "s8"
    assert "continue of s7" in panel.inner_text(), "not of all that share its row"
    assert "14 children" in panel.inner_text()


def test_search_finds_what_is_folded_and_names_it_first(show: Open) -> None:
    page = show(folded_family())
    page.keyboard.press("/")
    page.keyboard.type("<b>3")
    assert page.locator("#found").inner_text() == "1 found"
    page.keyboard.press("Enter")
    assert chosen(page) == "<b>0</b> … <b>4</b>"
    assert page.locator("#panel td.who").first.inner_text() == "<b>3</b>"
    assert page.locator("#panel b b, #rows b").count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("finetune")
    assert page.locator("#found").inner_text() == "7 found"
    assert page.locator("#rows tr:not(.lost)").count() == 2


def test_a_fold_takes_the_colour_of_the_best_and_ticks_its_steps(show: Open) -> None:
    page = show(folded_family())
    tree = page.locator("#network canvas").bounding_box()
    assert tree
    place: list[float] = page.evaluate(
        """() => [...document.querySelectorAll("#rows tr")].map((row) => {
            const box = row.getBoundingClientRect();
            return box.top + box.height / 2;
        })"""
    )
    step = page.evaluate("parseFloat(document.querySelectorAll('#axis span')[2].style.left)") - 28
    lies = {"steps": (1, 1), "tunes": (3, 3), "adapters": (5, 3)}  # row, generation
    at = {what: (28 + step * x, place[row] - tree["y"]) for what, (row, x) in lies.items()}
    shades = {name: pixel(page, *where) for name, where in at.items()}
    assert len(set(map(tuple, shades.values()))) == 3, "better, best, and unknown"
    x, y = at["steps"]
    line = [tuple(pixel(page, x - away / 2, y - 3)) for away in range(24, 60)]
    assert len(set(line)) > 1, "ticks above the line"


def test_all_folds_nothing_and_a_limit_counts_lines() -> None:
    family = folded_family()
    whole = network.render(family, title="x", all=True)
    assert "folded" not in re.sub(
        r"<script.*?</script>|<style.*?</style>", "", whole.split("<footer")[0]
    )
    assert "7 folded · 15 more not drawn" in network.render(family, title="x", most=2)


def test_the_command_draws_a_thousand_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, out = str(tmp_path / "r.db"), tmp_path / "tree.html"
    with lineage.open(url, durable=False) as registry:
        registry.register(name="base")
        for number in range(6):
            registry.register(name=f"tune-{number}", parents="base", relation="finetune")
        registry.register(name="lora", parents="base", relation="adapter")
    monkeypatch.setattr(drawing, "NETWORK", 2)
    for extra, notice in ((), "6 folded · 1 more not drawn"), (("--all",), "6 more not drawn"):
        words = ["tree", "--format", "pyvis", "--output", str(out), "--db", url, *extra]
        assert CliRunner().invoke(main, words).exit_code == 0
        assert f'<span class="notice">{notice}</span>' in out.read_text("utf-8")


def test_tree_and_table_stay_aligned_while_scrolling(show: Open) -> None:
    page = show(large_family())
    for key in ("End", "Home"):
        page.keyboard.press(key)
        row = page.locator("#rows tr.chosen").bounding_box()
        tree = page.locator("#network canvas").bounding_box()
        assert row
        assert tree
        inside = row["y"] - tree["y"]
        edges = [pixel(page, tree["width"] - 2, inside + dy) for dy in (2, row["height"] - 2)]
        beyond = pixel(
            page, tree["width"] - 2, inside + row["height"] + 4 * (1 if key == "Home" else -6)
        )
        assert edges[0] == edges[1] != beyond, "the band of the row chosen runs through the tree"


def test_forty_organisms_fit_the_window(show: Open) -> None:
    links: dict[str, Any] = {"A": []} | {
        f"A{i}": [("A" if i < 9 else f"A{i - 8}", "finetune", None)] for i in range(1, 40)
    }
    page = show(grow(links))
    fits = page.evaluate(
        "() => { const p = document.getElementById('plate');"
        " return p.scrollHeight <= p.clientHeight && p.scrollWidth <= p.clientWidth; }"
    )
    assert fits


def test_a_narrow_screen_keeps_name_and_one_niche(show: Open) -> None:
    page = show(small_family())
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator("#rows td.name").first.is_visible()
    assert page.locator("#rows td.heat.chosen").first.is_visible()
    assert not page.locator("#rows td.origin").first.is_visible()
    assert not page.locator("#panel").is_visible()
    page.locator("#rows tr").nth(3).click()
    assert page.locator("#panel").is_visible()


def test_no_script_but_ours_can_run_and_nothing_vendored_is_changed() -> None:
    page = network.render(small_family(), title="x")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-inline" not in policy[1].split("style-src")[0]
    assert page.count("<script") == 3, "the data, vis-network and our own"
    assert "sourceMappingURL" not in page
    vendored = files("lineage.viz").joinpath("vendor")
    note = vendored.joinpath("README.md").read_text("utf-8")
    import hashlib

    digest = hashlib.sha256(vendored.joinpath("vis-network.min.js").read_bytes()).hexdigest()
    assert digest in note


def test_the_same_family_gives_the_same_page() -> None:
    assert network.render(small_family(), title="x") == network.render(small_family(), title="x")
