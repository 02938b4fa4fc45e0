"""Pictures on paper: one SVG that loads nothing, is the same bytes each time and on both databases,
and shows names of any kind as text; the PNG is drawn from it by the real resvg.

To see what changed in the picture of a small family, look at tests/golden/tree.svg; it is written
anew by `LINEAGE_GOLDEN=write pytest tests/test_pictures.py`."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import lineage
from lineage import store
from lineage.cli import main
from lineage.errors import InvalidValue
from lineage.organism import Parent, PowerCost
from lineage.trees import colours, lettering, png, svg
from lineage.trees.axis import axis
from lineage.trees.family import Branch, Family, Member
from lineage.trees.folding import fold
from lineage.trees.layout import arrange
from tests.test_trees import families, grow, organism, scored, small_family

if TYPE_CHECKING:
    from playwright.sync_api import Page

GOLDEN = Path(__file__).parent / "golden" / "tree.svg"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '<script>alert("x")</script>', "it's \"quoted\" & more", "two\nlines\x1b[2J", "\u202eevil",
    "שלום עולם", "مرحبا", "🦙" * 40, "x" * 10_000, "e\u0301" * 300, "]]>", "", "\ud800 alone",
)  # fmt: skip


def texts(drawn: str) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def test_the_picture_of_a_small_family_is_the_golden_one() -> None:
    drawn = svg.render(small_family(), title="base")
    if os.environ.get("LINEAGE_GOLDEN") == "write":
        GOLDEN.write_text(drawn, "utf-8")
    assert drawn == GOLDEN.read_text("utf-8")
    assert svg.render(small_family(), title="base") == drawn


def test_the_bytes_are_the_same_on_both_databases_and_whatever_the_ids(
    tmp_path: Path, registry_url: str
) -> None:
    drawn = []
    for url, before in ((registry_url, 0), (str(tmp_path / "other.db"), 3)):
        with lineage.open(url, durable=False) as registry:
            for number in range(before):  # so that ids differ
                registry.register(name=f"unrelated-{number}")
            cost = PowerCost(joules=2e-6, phase="serving", per="token", source="measured")
            base = registry.register(name="base", fitness={"gsm8k/acc": 0.4}, power=cost)
            tuned = registry.register(
                name="tuned", parents=base, relation="finetune", fitness={"gsm8k/acc": 0.5}
            )
            registry.register(
                name="blend", parents={base: 0.3, tuned: 0.7}, relation="merge",
                fitness={"gsm8k/acc": 0.45})  # fmt: skip
            drawn.append(svg.render(registry.family("base"), title="base"))
    assert drawn[0] == drawn[1]


def test_the_registry_tells_what_is_left_out_and_what_is_shared(registry_url: str) -> None:
    with lineage.open(registry_url, durable=False) as registry:
        base = registry.register(name="base")
        half = Parent(base, "finetune", evidence="hashed", confidence=0.75)
        tuned = registry.register(name="tuned", parents=half)
        for number in range(3):
            registry.register(name=f"lora-{number}", parents=tuned, relation="adapter")
        registry.register(name="on-lora", parents="lora-0", relation="adapter")
        with registry.store.act() as act:
            marked = [(registry.get("lora-2").id, {})]
            store.mark(act, "selected_against", "selected_against", marked)
        (link,) = (one for one in registry.family().branches if one.child == tuned.id)
        assert link.shared == 0.75
        left = registry.family("base", limit=2)
        assert left.folded == {tuned.id: 4}
        assert left.within == {tuned.id: {"selected against": 1, "load-bearing": 1}}
        said = texts(svg.render(left, title="base"))
        assert "… 4 more (1 selected against, 1 load-bearing)" in said


@given(families())
def test_any_family_is_drawn_whole_inside_its_frame(family: Family) -> None:
    folded = ElementTree.fromstring(svg.render(family, title="any", most=8))
    root = ElementTree.fromstring(svg.render(family, title="any", all=True))
    shapes = [one for one in root.iter() if "node" in one.get("class", "").split()]
    groups = [one for one in root.iter(f"{SVG}g") if one.find(f"{SVG}title") is not None]
    assert len(groups) == len(family.members) <= len(shapes)
    for drawn in (root, folded):  # a fold has a longer name than any one in it: a wider frame
        for one in drawn.iter():
            for key, side in (("x", "width"), ("cx", "width"), ("y", "height"), ("cy", "height")):
                assert 0 <= float(one.get(key, 0)) <= float(drawn.attrib[side])
    further = [one for one in root.iter() if one.get("class") == "further"]
    links = len(arrange(family).further)
    assert len(further) == links + bool(links)  # and one in the legend


def test_names_of_any_kind_are_text_and_cut_to_their_column() -> None:
    grown = {i: Member(organism(i, name)) for i, name in enumerate(HOSTILE, start=1)}
    family = Family(grown, tuple(Branch(i, 1, "finetune", None) for i in range(2, len(grown) + 1)))
    for title in HOSTILE:
        drawn = svg.render(family, title=title)
        root = ElementTree.fromstring(drawn.encode())
        kinds = {one.tag.removeprefix(SVG) for one in root.iter()}
        assert kinds == {"svg", "title", "style", "rect", "text", "path", "g", "circle"}
    assert max(map(len, texts(drawn))) < 200
    assert "x" * 10_000 in drawn  # the full name, where a pointer rests
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", drawn)


@given(st.text(), st.floats(0, 400))
def test_squeezed_text_fits_its_room_and_keeps_its_end(text: str, room: float) -> None:
    squeezed = lettering.squeeze(text, room, 12)
    assert squeezed in (text, "…") or "…" in squeezed
    assert squeezed == "…" or lettering.width(squeezed, 12) <= room + 1e-6
    long = "ResNet50_Weights.IMAGENET1K_V2"
    assert lettering.squeeze(long, 150, 12).endswith("_V2")


@given(st.text(), st.floats(0, 400))
def test_cut_text_fits_its_room(text: str, room: float) -> None:
    cut = lettering.cut(text, room, 12)
    assert cut == text or cut.endswith("…")
    assert cut == "…" or lettering.width(cut, 12) <= room + 1e-6


def test_estimated_widths_hold_in_a_browser(page: Page) -> None:
    said = ["meta-llama/Llama-3.1-8B-Instruct", "fern-mini-prose-int8", "WWWW", "0.4512", "日本語"]
    page.set_content(f"<body style='font-family:{colours.font()}'>")
    measured = page.evaluate(
        """said => said.map(one => { const pen = document.createElement("canvas").getContext("2d");
        pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
        return pen.measureText(one).width; })""",
        said,
    )
    for text, wide in zip(said, measured, strict=True):
        assert wide <= lettering.width(text, 12) * 1.03 <= 3 * wide, text


def test_all_letters_lie_inside_the_frame(page: Page, tmp_path: Path) -> None:
    grown = {i: Member(organism(i, name)) for i, name in enumerate(HOSTILE, start=1)}
    long = [svg.render(Family(grown, ()), title="W" * 300), svg.render(small_family(), title="x")]
    for drawn in long:
        (tmp_path / "tree.svg").write_text(drawn, "utf-8")
        page.goto((tmp_path / "tree.svg").as_uri())
        ends = page.evaluate(
            "[...document.querySelectorAll('text')].map(one => one.getBBox())"
            ".map(box => box.x + box.width)"
        )
        assert max(ends) <= float(ElementTree.fromstring(drawn).attrib["width"])


def test_a_browser_loads_nothing_for_it_and_follows_light_and_dark(
    page: Page, tmp_path: Path
) -> None:
    file = tmp_path / "tree.svg"
    file.write_text(svg.render(small_family(), title="base"), "utf-8")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    seen = {}
    for scheme, start in (("light", colours.LIGHT), ("dark", colours.DARK)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(file.as_uri())
        seen[scheme] = page.evaluate(
            "getComputedStyle(document.querySelector('.paper')).fill.match(/\\d+/g).map(Number)"
        )
        paper = colours.theme(start).named["paper"]
        assert seen[scheme] == [int(paper[at : at + 2], 16) for at in (1, 3, 5)]
    assert set(asked) == {file.as_uri()}


def test_the_shades_and_letters_are_those_of_the_page() -> None:
    for start in (colours.LIGHT, colours.DARK):
        theme = colours.theme(start)
        assert len(set(theme.scale)) == colours.STEPS
        for shade, letters in zip(theme.scale, theme.letters, strict=True):
            assert colours.contrast(shade, letters) >= 4.5
        ground, named = theme.named["paper"], theme.named
        for letters in ("ink", "soft", "faint"):
            assert colours.contrast(named[letters], ground) >= 4.5, letters
        assert colours.contrast(named["soft"], named["mute"]) >= 4.5, "a score that is not alive"


def test_along_other_axes() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    family = grow(
        {"a": [], "b": [("a", "continue", None)], "c": [("b", "finetune", None)], "d": []},
        a={"step": 100, "created": start}, b={"step": 300, "created": start + timedelta(days=40)},
        c={"step": 50, "training": PowerCost(joules=2e6, phase="training", source="measured")},
    )  # fmt: skip
    layout = arrange(family)
    steps = axis(family, layout, fold(family, layout), "step")
    assert [steps.at[own] for own in family.members] == [100, 300, 350, 0]
    assert steps.sure == {1, 2, 3}
    drawn = svg.render(family, title="a", along="time")
    assert {"2026-01-08", "1 week"} <= set(texts(drawn))
    assert "dashed" in drawn  # c has no known time
    assert "1 MJ" in texts(svg.render(family, title="a", along="joules"))
    with pytest.raises(InvalidValue, match=r"known training step.*--axis"):
        svg.render(small_family(), title="base", along="step")


def test_what_is_folded_is_drawn_counted_and_told() -> None:
    links: dict[str, Any] = {"s0": []}
    links |= {f"s{i}": [(f"s{i - 1}", "continue", None)] for i in range(1, 9)}
    links |= {f"f{i}": [("s8", "finetune", None)] for i in range(5)}
    struck = {"status": "selected_against"}
    family = grow(links, s3=struck, s4=struck, f2={"status": "culled", **scored(2.5)},
                  f3=scored(2.0), f4=scored(2.25))  # fmt: skip
    left = replace(family, folded={9: 240}, hidden=240, within={9: {"selected against": 12}})
    drawn = svg.render(left, title="s0")
    said = texts(drawn)
    assert {"s1 … s7", "7 steps", "f0 … f4", "5 finetunes", "2.00–2.50"} <= set(said)
    assert {"steps of a run, folded", "several alike, in the colour of the best"} <= set(said)
    assert "… 240 more (12 selected against)" in said
    assert "14 organisms · 10 generations" in said[1]
    assert "12 folded · 240 more not drawn" in said[1]
    assert "generation, folded steps as one" in said
    assert "7 steps, 2 selected against" in drawn  # where a pointer rests
    root = ElementTree.fromstring(drawn)
    (ticks, _) = (one.get("d", "") for one in root.iter() if one.get("class") == "tick")
    assert ticks.count("v6") == 7
    assert len([one for one in root.iter() if one.get("class") == "cross"]) == 2  # and its legend
    assert "7 steps" not in texts(svg.render(left, title="s0", all=True))


def test_weights_that_changed_are_an_axis_where_a_scan_found_them() -> None:
    family = grow({"a": [], "b": [("a", "adapter", None)], "c": [("b", "finetune", None)]})
    shared = {(2, 1): 0.75, (3, 2): 0.5}
    links = tuple(replace(one, shared=shared[one.child, one.parent]) for one in family.branches)
    known = replace(family, branches=links)
    layout = arrange(known)
    assert list(axis(known, layout, fold(known, layout), "weights").at.values()) == [0, 0.25, 0.75]
    assert "20 % of the bytes of its tensors" in texts(
        svg.render(known, title="a", along="weights")
    )
    with pytest.raises(InvalidValue, match="known share of weights changed"):
        svg.render(family, title="a", along="weights")


def test_colours_say_what_is_asked_and_words_say_it_too() -> None:
    facts: dict[str, Any] = {"created": datetime(2026, 3, 1, tzinfo=UTC), "licence": "mit"}
    family = grow(
        {"a": [], "b": [("a", "adapter", None)], "c": [("b", "finetune", None)]},
        a=facts | scored(2.0, 1e-6) | {"tags": (("team", "<b>x</b>"),)},
        b={
            "created": facts["created"] + timedelta(days=1),
            "licence": "apache-2.0",
            **scored(2.5, 2e-6),
        },
        c={"status": "selected_against"},
    )
    for by, word in (("licence", "apache-2.0"), ("tag:team", "<b>x</b>"), ("age", "2026-03-01"),
                     ("power", "shapes: less power"), ("relation", "adapter"),
                     ("status", "alive")):  # fmt: skip
        drawn = svg.render(family, title="a", by=by)
        assert word in texts(drawn), by
        assert 'class="node' in drawn
    assert "node k0" in svg.render(family, title="a", by="licence")
    with pytest.raises(InvalidValue, match=r"no organism here has a tag 'x'.*--colour"):
        svg.render(family, title="a", by="tag:x")


def test_an_empty_registry_says_how_to_begin() -> None:
    drawn = svg.render(Family({}, ()), title="the forest")
    assert "lineage register" in drawn
    assert ElementTree.fromstring(drawn).get("class") == "lineage-tree"


def test_png_is_the_picture_twice_as_large() -> None:
    drawn = png.render(small_family(), title="base")
    root = ElementTree.fromstring(svg.render(small_family(), title="base"))
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    wide, high = struct.unpack(">II", drawn[16:24])
    assert (wide, high) == pytest.approx(
        (2 * float(root.attrib["width"]), 2 * float(root.attrib["height"])), abs=1
    )
    other = replace(small_family(), folded={1: 7}, hidden=7)
    assert png.render(other, title="base") != drawn


def test_without_resvg_a_sentence_says_what_to_install(tmp_path: Path) -> None:
    url = str(tmp_path / "r.db")
    lineage.open(url).register(name="base")
    code = (
        "import sys; sys.modules['resvg_py'] = None\n"
        f"from lineage.cli import main; main(['tree', '--format', 'png', '--db', {url!r}])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 1
    assert "pip install 'checkpoint-lineage[pictures]'" in ran.stderr
    assert not list(tmp_path.glob("*.png"))


def test_commands(tmp_path: Path) -> None:
    url = str(tmp_path / "r.db")
    lineage.open(url).register(name="base")
    runner = CliRunner()

    def run(*words: str) -> str:
        done = runner.invoke(main, ["tree", *words, "--db", url])
        assert done.exit_code == 0, done.output
        return done.output

    assert run("base", "--format", "svg").startswith("<svg")
    for name, start in (("t.svg", b"<svg"), ("t.png", b"\x89PNG")):
        run("--output", str(tmp_path / name))
        assert (tmp_path / name).read_bytes().startswith(start)
    done = runner.invoke(main, ["tree", "--axis", "time", "--db", url])
    assert done.exit_code == 2
    assert "--axis is for svg and png" in done.output
    done = runner.invoke(main, ["tree", "--colour", "mood", "--format", "svg", "--db", url])
    assert done.exit_code == 2
    assert "'mood' is not of fitness" in done.output
