"""Pictures on paper: one SVG that loads nothing, is the same bytes each time and on both databases,
and shows names of any kind as text; the PNG is drawn from it by the real resvg.

To see what changed in the pictures of a small family, look at tests/golden/tree*.svg; they are
written anew by `LINEAGE_GOLDEN=write pytest tests/test_pictures.py`."""

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
from hypothesis import example, given, settings
from hypothesis import strategies as st

import lineage
from lineage import store
from lineage.cli import main
from lineage.errors import InvalidValue
from lineage.organism import Parent, PowerCost
from lineage.trees import backbone, colours, lettering, png, svg
from lineage.trees.axis import axis
from lineage.trees.family import Branch, Family, Member
from lineage.trees.folding import fold
from lineage.trees.layout import arrange
from lineage.trees.sheet import LAYOUTS, sheet, sizes
from lineage.trees.stems import stems
from tests.test_trees import families, grow, organism, scored, small_family

if TYPE_CHECKING:
    from playwright.sync_api import Page

GOLDEN = Path(__file__).parent / "golden"
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '<script>alert("x")</script>', "it's \"quoted\" & more", "two\nlines\x1b[2J", "\u202eevil",
    "שלום עולם", "مرحبا", "🦙" * 40, "x" * 10_000, "e\u0301" * 300, "]]>", "", "\ud800 alone",
)  # fmt: skip


def texts(drawn: str) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


@pytest.mark.parametrize(("layout", "file"), [("rows", "tree.svg"), ("spread", "tree-spread.svg")])
def test_the_picture_of_a_small_family_is_the_golden_one(layout: str, file: str) -> None:
    drawn = svg.render(small_family(), title="base", layout=layout)
    if os.environ.get("LINEAGE_GOLDEN") == "write":
        (GOLDEN / file).write_text(drawn, "utf-8")
    assert drawn == (GOLDEN / file).read_text("utf-8")
    assert svg.render(small_family(), title="base", layout=layout) == drawn


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


@given(families(), st.sampled_from(LAYOUTS))
def test_any_family_is_drawn_whole_inside_its_frame(family: Family, layout: str) -> None:
    folded = ElementTree.fromstring(svg.render(family, title="any", most=8, layout=layout))
    root = ElementTree.fromstring(svg.render(family, title="any", all=True, layout=layout))
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_of_any_kind_are_text_and_cut_to_their_column(layout: str) -> None:
    grown = {i: Member(organism(i, name)) for i, name in enumerate(HOSTILE, start=1)}
    links = (Branch(i, i // 2, "finetune", None) for i in range(2, len(grown) + 1))
    family = Family(grown, tuple(links))
    for title in HOSTILE:
        drawn = svg.render(family, title=title, layout=layout)
        root = ElementTree.fromstring(drawn.encode())
        kinds = {one.tag.removeprefix(SVG) for one in root.iter()}
        assert kinds == {"svg", "title", "style", "rect", "text", "path", "g", "circle"}
    assert max(map(len, texts(drawn))) < 200
    assert "x" * 10_000 in drawn  # the full name, where a pointer rests
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", drawn)


@given(st.text(), st.floats(0, 400))
@example("0i", 9.0)
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
    chain = tuple(Branch(i, i - 1, "finetune", None) for i in range(2, len(grown) + 1))
    long = [svg.render(Family(grown, ()), title="W" * 300), svg.render(small_family(), title="x"),
            svg.render(Family(grown, chain), title="x", layout="spread")]  # fmt: skip
    for drawn in long:
        (tmp_path / "tree.svg").write_text(drawn, "utf-8")
        page.goto((tmp_path / "tree.svg").as_uri())
        ends = page.evaluate(
            "[...document.querySelectorAll('text')].map(one => one.getBBox())"
            ".flatMap(box => [box.x, box.x + box.width])"
        )
        assert min(ends) >= 0
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


def test_the_legend_explains_what_is_drawn_and_nothing_else() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    links: dict[str, Any] = {"a": [], "d": [("b", "merge", None), ("c", "merge", None)]}
    links |= {one: [("a", "finetune", None)] for one in "bc"}
    links = {one: links[one] for one in "abcd"}
    far = {"protected": True, "load_bearing": True, "front": ("xml/bpb",), "status": "culled"}
    family = grow(links, a={"created": start} | scored(2.0), b={"created": start}, d=far | scored(
        1.0, 1e-6, "estimated"))  # fmt: skip
    explained = {
        "merge", "further parent, width = share", "culled", "protected", "load-bearing",
        "bold: on the front of its niche", "~ estimated",
    }  # fmt: skip
    for layout in LAYOUTS:
        assert explained <= set(texts(svg.render(family, title="a", layout=layout)))
        said = set(texts(svg.render(family, title="a", most=3, layout=layout)))
        assert not explained & said, "d is not drawn"
        assert "… not drawn" in said
        assert "time not known" in texts(svg.render(family, title="a", along="time", layout=layout))
        assert "time not known" not in said


def test_a_founder_of_which_it_is_not_known_where_it_lies_is_not_drawn_at_zero() -> None:
    cost = PowerCost(joules=2e6, phase="training", source="measured")
    links: dict[str, Any] = {"a": [], "b": [("a", "finetune", None)], "c": []}
    family = grow(links, b={"training": cost}, c={"training": cost})
    for layout in LAYOUTS:
        drawn = svg.render(family, title="a", along="joules", layout=layout)
        dashed = re.findall(r'class="branch dashed" d="([^"]+)"', drawn)
        assert len(dashed) == 2, "before a, and in the legend"
        assert dashed[0].count("M") == 1
        assert "joules of training not known" in texts(drawn)


def test_a_tick_at_the_end_of_the_axis_is_drawn() -> None:
    family = grow({"a": [], "b": [("a", "adapter", None)]})
    known = replace(family, branches=(replace(family.branches[0], shared=0.4),))
    layout = arrange(known)
    ticks = axis(known, layout, fold(known, layout), "weights", most=3).ticks
    assert [said for _, said in ticks] == ["0 %", "20 %", "40 %", "60 %"]


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


# ---- leaves evenly spread, parents in the middle ------------------------------------------------


@st.composite
def dated(draw: st.DrawFn) -> Family:
    """A random family in which children may be older than their parents."""
    family = draw(families())
    start = datetime(2026, 1, 1, tzinfo=UTC)
    members = {}
    for own, member in family.members.items():
        hours = draw(st.none() | st.integers(0, 3000))
        made = None if hours is None else start + timedelta(hours=hours)
        marked = replace(member.organism, created=made, protected=draw(st.booleans()))
        members[own] = replace(member, organism=marked)
    first = next(iter(members))
    known = replace(members[first].organism, created=start)
    return replace(family, members=members | {first: replace(members[first], organism=known)})


def swapped_parents() -> Family:
    """A merge that is older than both its parents, and one that is younger than one of them."""
    made = {"one": 300, "two": 280, "merge": 0, "late": 150}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    both = [("one", "merge", 0.6), ("two", "merge", 0.4)]
    return grow(
        {"one": [], "two": [], "merge": both, "late": both},
        **{one: {"created": start + timedelta(days=at)} for one, at in made.items()},
    )


@settings(max_examples=50)
@given(families(), st.integers(1, 8))
def test_leaves_are_evenly_spread_and_parents_in_the_middle(family: Family, most: int) -> None:
    for how in ({"everything": True}, {"most": most}):
        spread = sheet(family, "generation", "fitness", form="spread", **how)  # type: ignore[arg-type]
        below: dict[int, list[float]] = {}
        for at, line in enumerate(spread.lines):
            if line.above is not None:
                below.setdefault(line.above, []).append(spread.rows[at])
        leaves = [spread.rows[at] for at in range(len(spread.lines)) if at not in below]
        assert leaves == list(range(len(leaves)))
        assert len(leaves) == spread.tall
        for at, rows in below.items():
            assert spread.rows[at] == (rows[0] + rows[-1]) / 2
            assert rows == sorted(set(rows)), "siblings keep their order"
        in_rows = sheet(family, "generation", "fitness", **how)  # type: ignore[arg-type]
        assert spread.lines == in_rows.lines


@settings(max_examples=50)
@given(dated(), st.sampled_from(LAYOUTS))
@example(swapped_parents(), "rows")
def test_curves_between_parents_in_disorder_stay_inside_the_tree(
    family: Family, layout: str
) -> None:
    root = ElementTree.fromstring(
        svg.render(family, title="any", along="time", all=True, layout=layout)
    )
    placed = sheet(family, "time", "fitness", form=layout, everything=True)
    for one in root.iter(f"{SVG}path"):
        if one.get("class", "").startswith("further") and "C" in one.attrib["d"]:
            across = [float(x) for x in re.findall(r"-?[\d.]+", one.attrib["d"])[::2]]
            assert min(across) >= 0
            assert max(across) <= placed.tree + 0.01, "to two digits"


Box = tuple[float, float, float, float]  # left, top, right, bottom


def older_child() -> Family:
    """`p` is older than its parent `g`, whose trunk then passes left of `x`."""
    days = {"g": 100, "s": 120, "p": 50, "x" * 40: 105, "y": 140, "w": 130, "v": 140, "u": 140}
    above = dict(zip(days, [None, "g", "g", "p", "x" * 40, "p", "w", "w"], strict=True))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made: dict[str, Any] = {
        one: {"created": start + timedelta(days=at)} for one, at in days.items()
    }
    return grow({one: [(up, "finetune", None)] if up else [] for one, up in above.items()}, **made)


def twins() -> Family:
    """Two parents one row apart, with words below the one and above the other."""
    above = {"base": "", "one": "base", "two": "base", "son": "one", "daughter": "two"}
    return grow({one: [(up, "finetune", None)] if up else [] for one, up in above.items()})


@settings(max_examples=50)
@given(dated(), st.sampled_from(("generation", "time")))
@example(older_child(), "time")
@example(twins(), "generation")
def test_words_at_branches_touch_no_line_no_shape_and_no_other_words(
    family: Family, along: str
) -> None:
    drawn = svg.render(family, title="any", along=along, all=True, layout="spread")
    root = ElementTree.fromstring(drawn)
    placed = sheet(family, along, "fitness", form="spread", everything=True)
    boxes: list[Box] = []
    for at, stem in stems(placed).items():
        y = placed.y(at)
        for said, middle, size in (
            (stem.name, y - stem.above, 11),
            (" · ".join(stem.facts), y + stem.below, 10),
        ):
            if said:
                base = middle + 0.36 * size
                left = stem.right - lettering.width(said, size)
                boxes.append((left, base - 0.75 * size, stem.right, base + 0.2 * size))
    assert all(box[0] >= 0 for box in boxes)
    solid = [box for one in root.iter(f"{SVG}path") for box in strokes_of(one)]
    for at, radius in enumerate(sizes(placed)):
        if not placed.lines[at].more:
            x, y = placed.end(at), placed.y(at)
            solid.append((x - radius, y - radius, x + radius, y + radius))
    for number, box in enumerate(boxes):
        assert not [one for one in (*solid, *boxes[:number]) if meet(box, one)]


def strokes_of(path: ElementTree.Element) -> list[Box]:
    """The straight parts of the branches, and each bend as the corner it lies in."""
    found: list[Box] = []
    x = y = 0.0
    if not path.get("class", "").startswith("branch"):
        return []
    for command, held in re.findall(r"([MHVQ])([^MHVQ]*)", path.attrib["d"]):
        *_, one, other = [x, y, *map(float, held.split())]
        to_x, to_y = {"H": (other, y), "V": (x, other)}.get(command, (one, other))
        if command != "M":
            found.append((min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y)))
        x, y = to_x, to_y
    return found


def meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_what_stands_at_a_branch() -> None:
    links: dict[str, Any] = {"s0": []}
    links |= {f"s{i}": [(f"s{i - 1}", "continue", None)] for i in range(1, 9)}
    links |= {"tuned": [("s8", "finetune", None)], "tuned-int8": [("tuned", "quantized", None)]}
    links |= {"lora": [("s8", "adapter", None)]}
    family = grow(links, s3={"status": "selected_against"}, s8={"protected": True, **scored(2.5)},
                  s5=scored(2.75), s6=scored(2.25), lora={"licence": "mit", **scored(2.5)},
                  tuned={"front": ("xml/bpb",), "licence": "mit", **scored(2.0, 1e-6)})  # fmt: skip
    drawn = svg.render(family, title="s0", layout="spread")
    said = texts(drawn)
    assert {"s1 … s7", "7 steps · 2.25–2.75", "1", "s8", "2.500 · continue"} <= set(said)
    assert {"tuned-int8", "quantized", "lora", "2.500"} <= set(said), "leaves are in the table"
    assert '<tspan class="strong">2.000</tspan> · finetune</text>' in drawn, "it is on the front"
    assert "below a branch: xml/bpb · how it was made" in said
    assert len(re.findall('class="mark"', drawn)) == 2, "protected, and in the legend"
    assert "7 steps, 1 selected against" in drawn, "where a pointer rests"
    assert "mit · finetune" in texts(svg.render(family, title="s0", layout="spread", by="licence"))
    power = texts(svg.render(family, title="s0", layout="spread", by="power"))
    assert "1.00 J/Mtok · finetune" in power
    assert {"below a branch: serving · how it was made", "shapes: less power"} <= set(power)
    with pytest.raises(
        InvalidValue, match="layout 'radial' is not known; there are rows and spread"
    ):
        svg.render(family, title="s0", layout="radial")


def test_what_has_no_room_at_a_branch_is_counted_and_no_shape_hides_another() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made: dict[str, Any] = {
        name: {"created": start + timedelta(seconds=at)}
        for name, at in {"base": 0, "one-second-later": 1, "leaf": 90_000, "other": 90_000}.items()
    }
    links = {
        "base": [],
        "one-second-later": [("base", "finetune", None)],
        "leaf": [("one-second-later", "finetune", None)],
        "other": [("base", "prune", None)],
    }
    family = grow(links, **{name.replace("-", "_"): facts for name, facts in made.items()})  # type: ignore[arg-type]
    drawn = svg.render(family, title="base", along="time", layout="spread")
    assert "1 name has no room at a branch" in texts(drawn)
    assert "one-second-later" in drawn, "where a pointer rests"
    close = sheet(replace(family, branches=family.branches[:2]), "time", "fitness", form="spread")
    radii = dict(zip((line.ids[0] for line in close.lines), sizes(close), strict=True))
    assert radii[2] < radii[1] == radii[3]
    assert "small on its parent: no way between them" in texts(
        svg.render(
            replace(family, branches=family.branches[:2]), title="", along="time", layout="spread"
        )
    )


def test_spreading_is_linear_and_never_recurses() -> None:
    def lines_run(above: list[int]) -> int:
        ran, before = 0, sys.gettrace()

        def trace(frame: Any, event: str, _: Any) -> Any:
            nonlocal ran
            ran += event == "line" and frame.f_code is backbone.spread.__code__
            return trace

        sys.settrace(trace)
        try:
            backbone.spread(above)
        finally:
            sys.settrace(before)
        return ran

    shapes = {
        "chain": lambda many: list(range(-1, many - 1)),
        "star": lambda many: [-1] + [0] * (many - 1),
        "comb": lambda many: [-1] + [at // 2 * 2 for at in range(many - 1)],
        "founders": lambda many: [-1] * many,
    }
    for shape, above in shapes.items():
        few, many = lines_run(above(1000)), lines_run(above(4000))
        assert many <= 4 * few, shape
    assert backbone.spread(shapes["chain"](100_000)) == [0.0] * 100_000


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
    lineage.open(url).register(name="tuned", parents="base", relation="finetune")
    rows, spread = (run("--format", "svg", "--layout", layout) for layout in LAYOUTS)
    assert "below a branch: how it was made" in set(texts(spread)) - set(texts(rows))
    for name, start in (("t.svg", b"<svg"), ("t.png", b"\x89PNG")):
        run("--output", str(tmp_path / name))
        assert (tmp_path / name).read_bytes().startswith(start)
    for option, value in (("--axis", "time"), ("--layout", "spread")):
        done = runner.invoke(main, ["tree", option, value, "--db", url])
        assert done.exit_code == 2
        assert f"{option} is for svg and png" in done.output
    done = runner.invoke(main, ["tree", "--colour", "mood", "--format", "svg", "--db", url])
    assert done.exit_code == 2
    assert "'mood' is not of fitness" in done.output
