"""Trees: every organism lies on one row, deep chains are drawn, and text from outside stays text.

The pictures are compared with golden text; the layout and Newick with random families."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import InvalidValue
from lineage.organism import RELATIONS, Niche, Organism, PowerCost, Score
from lineage.shown import width
from lineage.trees import as_json, newick, text, words
from lineage.trees.family import Branch, Family, Member
from lineage.trees.folding import fold, generations, places
from lineage.trees.layout import arrange

Links = Sequence[tuple[str, str, float | None]]  # (parent, relation, weight)


def organism(id_: int, name: str | None, **facts: Any) -> Organism:
    """An organism of which nothing is known but `facts`."""
    unknown: dict[str, Any] = dict.fromkeys(Organism.__slots__)
    known = {"version": 1, "status": "alive", "ghost": False, "kind": "genomic", "generation": 0}
    return Organism(
        **{**unknown, **known, "protected": False, "here": True, "latest": True, **facts}
        | {"id": id_, "name": name}
    )


def grow(links: Mapping[str, Links], **members: dict[str, Any]) -> Family:
    """A family by names. What is given for a name belongs to its Member, or to its Organism."""
    ids = {name: i for i, name in enumerate(links, start=1)}
    born: dict[str, int] = {}
    for name, parents in links.items():
        born[name] = max((born[parent] + 1 for parent, *_ in parents), default=0)
    grown = {}
    for name, id_ in ids.items():
        facts = members.get(name.replace("-", "_"), {})
        own = {key: value for key, value in facts.items() if key not in Member.__slots__}
        of_member = {key: value for key, value in facts.items() if key in Member.__slots__}
        grown[id_] = Member(organism(id_, name, **{"generation": born[name], **own}), **of_member)
    branches = [
        Branch(ids[name], ids[parent], relation, weight)
        for name, parents in links.items()
        for parent, relation, weight in parents
    ]
    return Family(grown, tuple(branches))


def scored(value: float, joules: float | None = None, source: str = "measured") -> dict[str, Any]:
    serving = None
    if joules is not None:
        serving = PowerCost(joules=joules, phase="serving", per="token", source=source)
    return {"scores": (Score("xml/bpb", value, stderr=0.016),), "serving": serving}


def small_family() -> Family:
    """A bit of everything that a line can say."""
    return grow(
        {
            "base": [],
            "base-2": [("base", "continue", None)],
            "sft": [("base-2", "finetune", None)],
            "bad": [("base-2", "finetune", None)],
            "blend": [("bad", "merge", 0.3), ("sft", "merge", 0.7)],
            "sft-int8": [("sft", "quantized", None)],
            "teacher": [],
            "pupil": [("teacher", "distill", None)],
        },
        base={"status": "culled", **scored(2.875, 6.4e-6)},
        base_2={"protected": True, **scored(2.31, 6.4e-6)},
        sft={"aliases": ("production",), "load_bearing": True, **scored(1.9391, 6.4e-6)},
        bad={"status": "selected_against", **scored(2.306, 6.4e-6)},
        sft_int8={"front": ("xml/bpb",), **scored(1.952, 2.3e-6, "estimated")},
        teacher={"ghost": True},
    )


# ---- layout -----------------------------------------------------------------------------------


@st.composite
def families(draw: st.DrawFn, most: int = 24) -> Family:
    """A random acyclic family, its ids in no order of birth, with bundles here and there."""
    count = draw(st.integers(1, most))
    ids = draw(st.permutations(range(1, count + 1)))
    weights = st.none() | st.floats(-2, 2)
    branches = []
    for i, child in enumerate(ids):
        parents = draw(st.lists(st.sampled_from(ids[:i]), max_size=3, unique=True)) if i else []
        for parent in parents:
            relation = draw(st.sampled_from(RELATIONS))
            branches.append(Branch(child, parent, relation, draw(weights)))
    names = {id_: draw(st.text(max_size=8)) + f"~{id_}" for id_ in ids}
    members = {id_: Member(organism(id_, names[id_])) for id_ in draw(st.permutations(ids))}
    folded = draw(st.dictionaries(st.sampled_from(ids), st.integers(1, 999), max_size=2))
    return Family(members, tuple(branches), folded=folded, hidden=sum(folded.values()))


@given(families())
def test_every_organism_has_one_row_and_clades_are_whole(family: Family) -> None:
    rows = arrange(family).rows
    assert sorted(row.id for row in rows if not row.more) == sorted(family.members)
    assert {row.id: row.more for row in rows if row.more} == family.folded
    place = {row.id: i for i, row in enumerate(rows) if not row.more}
    for i, row in enumerate(rows):
        clade = rows[i : i + row.size]
        assert all(other.depth > row.depth for other in clade[1:])
        assert i + row.size == len(rows) or rows[i + row.size].depth <= row.depth
        if row.parent is not None:
            above = place[row.parent]
            assert above < i < above + rows[above].size
            assert row.depth == rows[above].depth + 1
            assert row.generation > rows[above].generation


@given(families())
def test_the_main_parent_weighs_most_and_generations_are_longest_ways(family: Family) -> None:
    layout = arrange(family)
    born = {row.id: row.generation for row in layout.rows if not row.more}
    for id_ in family.members:
        links = [link for link in family.branches if link.child == id_]
        assert born[id_] == max((born[link.parent] + 1 for link in links), default=0)
        known = [link for link in links if link.weight is not None]
        if known:
            assert layout.main[id_].weight == max(link.weight for link in known)
        elif links:
            assert layout.main[id_] == links[0]
    assert len(layout.main) + len(layout.further) == len(family.branches)


@given(families(), st.randoms(use_true_random=False))
def test_the_same_family_gives_the_same_rows(family: Family, random: Any) -> None:
    shuffled = list(family.members.items())
    random.shuffle(shuffled)
    again = Family(dict(shuffled), family.branches, folded=family.folded, hidden=family.hidden)
    assert arrange(again).rows == arrange(family).rows


def test_smaller_clades_come_first_and_the_root_asked_for_before_all() -> None:
    family = grow(
        {
            "other": [],
            "root": [],
            "wide": [("root", "finetune", None)],
            "leaf": [("root", "finetune", None)],
            "tip": [("wide", "finetune", None)],
        }
    )
    asked = Family(family.members, family.branches, root=2)
    names = [str(family.members[row.id].organism) for row in arrange(asked).rows]
    assert names == ["root", "leaf", "wide", "tip", "other"]


def test_a_cycle_is_said_and_not_drawn() -> None:
    family = grow({"A": [], "B": [("A", "finetune", None)]})
    looped = Family(family.members, (*family.branches, Branch(1, 2, "finetune", None)))
    with pytest.raises(InvalidValue, match="close a cycle"):
        arrange(looped)


def chain(steps: int, relation: str) -> Family:
    members = {i: Member(organism(i, f"s{i}", generation=i)) for i in range(steps)}
    return Family(members, tuple(Branch(i, i - 1, relation, None) for i in range(1, steps)))


def test_a_chain_of_100_000_is_laid_out_and_written() -> None:
    many = 100_000
    family = chain(many, "continue")
    assert arrange(family).generations == many
    assert newick.render(family).count("(") == many - 1
    assert len(text.render(family, width=80, color=False).splitlines()) < 10


def test_a_deep_tree_stays_in_the_terminal() -> None:
    lines = text.render(chain(5_000, "finetune"), width=80, color=False).splitlines()
    assert max(map(width, lines)) <= 80
    assert all(f"s{i} " in line for i, line in enumerate(lines[:5_000])), "no name is cut"


# ---- text -------------------------------------------------------------------------------------


def test_a_family_as_text_at_80_columns() -> None:
    assert (
        text.render(small_family(), width=80, color=False)
        == """\
base                 founder    2.875 ± 0.016   6.40 J/Mtok  culled
↓ base-2 ◆           continue   2.310 ± 0.016   6.40
├─ bad               finetune   2.306 ± 0.016   6.40         ✕ selected against
└─ sft (production)  finetune   1.939 ± 0.016   6.40         load-bearing
   ├─ blend          merge
   │                 of sft 70 %, bad 30 %
   └─ sft-int8       quantized  1.952 ± 0.016  ~2.30         on the front
teacher              ghost                                   not registered
└╌ pupil             distill
xml/bpb, lower is better. ◆ protected, ~ estimated. 7 organisms, 4 generations,
1 merge, 1 founder, 1 ghost, 1 selected against.
"""
    )


def test_a_wide_terminal_says_a_merge_on_its_line() -> None:
    lines = text.render(small_family(), width=120, color=False).splitlines()
    assert "   ├─ blend          merge of sft 70 %, bad 30 %" in lines


def test_long_chains_and_leaves_alike_fold_and_all_shows_them() -> None:
    links: dict[str, Links] = {"s0": []}
    for i in range(1, 7):
        links[f"s{i}"] = [(f"s{i - 1}", "continue", None)]
    for i in range(5):
        links[f"q{i}"] = [("s6", "quantized", None)]
    struck = {"status": "selected_against"}
    family = grow(links, s2=struck, s3={"status": "culled"}, s5=struck)
    within = {7: {"selected against": 12, "load-bearing": 1}}
    folded = replace(family, folded={7: 240}, hidden=240, within=within)
    assert (
        text.render(folded, width=80, color=False)
        == """\
s0          founder
↓ s1 … s5   5 steps      2 selected against, 1 culled
↓ s6        continue
├─ q0 … q4  5 quantized
└─ … 240 more (12 selected against, 1 load-bearing)  --all shows them
12 organisms, 8 generations, 1 founder, 2 selected against. 10 of them are
folded; --all shows each. 240 more are not drawn; --all draws them.
"""
    )
    shown = text.render(folded, width=80, color=False, all=True).splitlines()
    assert [line.split()[1] for line in shown[:12]] == [
        "founder", "s1", "s2", "s3", "s4", "s5", "s6", "q0", "q1", "q2", "q3", "q4"
    ]  # fmt: skip


def test_what_is_remarkable_never_folds() -> None:
    links: dict[str, Links] = {"s0": []} | {
        f"s{i}": [(f"s{i - 1}", "continue", None)] for i in range(1, 9)
    }
    lines = text.render(grow(links, s4={"aliases": ("best",)}), width=80, color=False).splitlines()
    assert [line.split("  ")[0] for line in lines[:5]] == [
        "s0", "↓ s1 … s3", "↓ s4 (best)", "↓ s5 … s7", "↓ s8"
    ]  # fmt: skip


@given(families(most=40), st.none() | st.integers(1, 12), st.booleans())
def test_a_fold_hides_nobody_and_counts_all(
    family: Family, most: int | None, everything: bool
) -> None:
    layout = arrange(family)
    lines = fold(family, layout, everything=everything, most=most)
    drawn = [own for line in lines if not line.more for own in line.ids]
    assert len(drawn) == len(set(drawn))
    missing = len(family.members) - len(drawn) + family.hidden
    assert sum(line.more for line in lines) == missing
    assert sum(not line.more for line in lines) <= (most or len(family.members))
    if everything:
        assert all(not line.folds for line in lines)
    place, born = places(lines), generations(family, layout, lines)
    for at, line in enumerate(lines):
        assert line.above is None or line.above < at
        assert line.leads == any(other.above == at for other in lines)
        main = layout.main.get(line.ids[0]) if line.ids and not line.more else None
        assert line.above == (place[main.parent] if main else line.above)
        assert line.above is None or born[line.above] < born[at]


def test_copies_fold_from_two_on_and_merges_alike_from_five() -> None:
    merged: list[tuple[str, str, float | None]] = [("a", "merge", 0.7), ("b", "merge", 0.3)]
    links: dict[str, Links] = {"a": [], "b": [("a", "finetune", None)]}
    links |= {f"a-int{bits}": [("a", "quantized", None)] for bits in (8, 4)}
    links |= {f"m{i}": merged for i in range(5)}
    on_front = {"front": ("xml/bpb",)}
    family = grow(links, a_int8=on_front | scored(2.252), a_int4=on_front | scored(2.288))
    assert (
        text.render(family, width=80, color=False)
        == """\
a                  founder
├─ b               finetune
├─ a-int8, a-int4  2 quantized       2.252 to 2.288  on the front
└─ m0 … m4         5 merges of a, b
xml/bpb, lower is better. 9 organisms, 3 generations, 5 merges, 1 founder. 7 of
them are folded; --all shows each.
"""
    )
    named = {**family.members, 3: replace(family.members[3], front=())}
    assert len(fold(replace(family, members=named), arrange(family))) == 5


def test_what_is_left_out_is_counted_where_it_hangs() -> None:
    links: dict[str, Links] = {"a": [], "b": [("a", "finetune", None)]}
    links |= {f"c{i}": [("b", RELATIONS[i], None)] for i in range(4)}
    struck = {"status": "selected_against"}
    family = grow(links, c1=struck, c2={"load_bearing": True})
    drawn = text.render(family, width=80, color=False, most=3)
    assert "   └─ … 3 more (1 selected against, 1 load-bearing)  --all shows them" in drawn


def test_siblings_follow_by_size_time_or_fitness() -> None:
    links: dict[str, Links] = {name: [("a", "finetune", None)] for name in "bcd"}
    links = {"a": [], **links, "e": [("b", "finetune", None)]}
    days = {name: {"created": datetime(2026, 1, day, tzinfo=UTC)} for name, day in
            (("b", 2), ("c", 3), ("d", 1))}  # fmt: skip
    family = grow(links, b=days["b"] | scored(1.5), c=days["c"] | scored(1.2), d=days["d"])
    said = {}
    for order in ("size", "time", "fitness"):
        rows = arrange(replace(family, order=order)).rows
        said[order] = "".join(str(family.members[row.id].organism) for row in rows)
    assert said == {"size": "acdbe", "time": "adbec", "fitness": "acbed"}
    with pytest.raises(InvalidValue, match="'name' is not known; there are size, time, fitness"):
        arrange(replace(family, order="name"))


def test_a_merge_that_subtracts_gives_factors() -> None:
    links = [Branch(9, 1, "merge", 1.0), Branch(9, 2, "merge", -0.5), Branch(9, 3, "merge", None)]
    assert words.shares(links) == ["× 1", "× -0.5", ""]


def test_colour_is_a_second_cue_and_never_in_plain_text() -> None:
    plain = text.render(small_family(), width=80, color=False)
    painted = text.render(small_family(), width=80, color=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == plain
    assert "\x1b[2;9mbad\x1b[0m" in painted, "selected against is dim and struck"


HOSTILE = (
    "<b>bold</b>",
    "'quoted' \"twice\"",
    "two\nlines\ttab",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "🦙 llama",
    "שלום עולם",
    "模型" * 30,
    "x" * 10_000,
    "[a]{b}(c):d;e,f",
)


@pytest.mark.parametrize("cells", [20, 40, 80, 200])
def test_names_from_outside_break_no_line(cells: int) -> None:
    links: dict[str, Links] = {"root": []}
    links |= {name: [("root", "adapter", None)] for name in HOSTILE}
    family = grow(links)
    lines = text.render(family, width=cells, color=False, all=True).splitlines()
    names = lines[1 : len(HOSTILE) + 1]
    assert all(line[0] in "├└" for line in names), "one line each"
    assert max(map(width, lines)) <= max(40, cells)
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", "".join(lines))


@given(families(), st.integers(40, 120), st.booleans())
def test_no_line_is_wider_than_the_terminal(family: Family, cells: int, everything: bool) -> None:
    lines = text.render(family, width=cells, color=False, all=everything).splitlines()
    assert max(map(width, lines)) <= cells


def test_an_empty_family_is_said() -> None:
    said = text.render(Family({}, ()), width=80, color=False)
    assert said.startswith("There is no organism to draw: this registry is empty. `lineage")
    assert max(map(len, said.splitlines())) <= 80
    assert newick.render(Family({}, ())) == ""
    assert as_json.document(Family({}, ()))["members"] == []


def test_a_unit_that_fits_and_no_figure_written_as_zero() -> None:
    costs = [PowerCost(joules=j, phase="serving", per="token") for j in (0.14, 0.0123, 1e-9)]
    scale = words.joules_per(costs)["token"]
    assert scale.unit == "kJ/Mtok"
    written = [scale.figures.write(cost.joules * scale.factor) for cost in costs if cost.joules]
    assert written == ["140", "12", "1e-06"]


# ---- for other programs -----------------------------------------------------------------------


def parse_newick(line: str) -> tuple[dict[str, str | None], dict[str, int]]:
    """(parent by label, branch length by label) of one tree, read by the grammar alone."""
    tokens: Iterator[str] = iter(re.findall(r"'(?:[^']|'')*'|\[[^]]*\]|[(),;]|:\d+", line))
    parents: dict[str, str | None] = {}
    lengths: dict[str, int] = {}
    groups: list[list[str]] = [[]]
    closed: list[str] = []
    label = ""
    for token in tokens:
        if token == "(":
            groups.append([])
            closed = []
        elif token[0] == "'":
            label = token[1:-1].replace("''", "'")
            parents[label] = None
            parents.update(dict.fromkeys(closed, label))
            groups[-1].append(label)
        elif token[0] == ":":
            lengths[label] = int(token[1:])
        elif token == ")":
            closed = groups.pop()
        elif token in ",;":
            closed = []
    assert len(groups) == 1
    return parents, lengths


@given(families())
def test_newick_reads_back_as_the_backbone(family: Family) -> None:
    layout = arrange(family)
    if family.folded:
        family = Family(family.members, family.branches)
    names = {
        id_: re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", str(member.organism))
        for id_, member in family.members.items()
    }
    parents: dict[str, str | None] = {}
    lengths: dict[str, int] = {}
    for line in newick.render(family).splitlines():
        some_parents, some_lengths = parse_newick(line)
        parents |= some_parents
        lengths |= some_lengths
    born = {row.id: row.generation for row in layout.rows if not row.more}
    for id_, name in names.items():
        main = layout.main.get(id_)
        assert parents[name] == (names[main.parent] if main else None)
        if main:
            assert lengths[name] == born[id_] - born[main.parent]
    assert len(parents) == len(names)


def test_newick_quotes_and_names_further_parents() -> None:
    family = grow({"it's": [], "[x]": [], "m": [("it's", "merge", 0.7), ("[x]", "merge", 0.3)]})
    assert newick.render(family) == "('m'[also of (x) 30 %]:1)'it''s';\n'[x]';\n"


def test_the_json_shape() -> None:
    family = small_family()
    read = json.loads(as_json.render(family))
    assert list(read) == ["root", "niche", "hidden", "counted", "members", "links", "rows"]
    assert read["niche"] == "xml/bpb"
    sft = next(member for member in read["members"] if member["name"] == "sft")
    assert {"id", "digest", "status", "ghost", "scores", "serving", "aliases", "front"} <= set(sft)
    assert sft["scores"][0] == {
        "task": "xml", "metric": "bpb", "split": "", "value": 1.9391, "stderr": 0.016,
        "n": None, "direction": "lower", "at": None, "retracted": None,
    }  # fmt: skip
    blend = [link for link in read["links"] if link["child"] == 5]
    assert [(link["parent"], link["weight"], link["main"]) for link in blend] == [
        (4, 0.3, False),
        (3, 0.7, True),
    ]
    assert [row["id"] for row in read["rows"]] == [1, 2, 4, 3, 5, 6, 7, 8]
    assert read["rows"][0] == {
        "id": 1, "parent": None, "generation": 0, "depth": 0, "size": 6, "more": 0
    }  # fmt: skip


def test_the_niche_asked_for_is_the_niche_shown() -> None:
    family = small_family()
    other = Family(family.members, family.branches, niche=Niche("prose", "bpb"))
    assert "prose/bpb" in text.render(other, width=80, color=False)
