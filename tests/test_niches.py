"""Niches tell who competes, who is on the front and where nobody is cheap enough; the picture shows
it, with names that do not lie on each other and are text whatever they say."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

import lineage
from lineage import PowerCost, Score
from lineage.cli import main, niching
from lineage.errors import InvalidValue, NotFound
from lineage.selection.niches import Limit, limit_of
from lineage.trees import niche as picture

SVG = "{http://www.w3.org/2000/svg}"


def grow(registry, **organisms: tuple[float, float]) -> None:
    for name, (value, joules) in organisms.items():
        register(registry, name, value, joules)


def register(registry, name: str, value: float, joules: float, **more) -> None:
    power = PowerCost(joules=joules, phase="serving", per="image")
    registry.register(name=name, fitness=Score("x/acc", value, **more), power=power)


def test_a_niche_has_a_front_and_a_champion(registry_url):
    with lineage.open(registry_url) as registry:
        grow(registry, a=(0.5, 1.0), b=(0.9, 3.0), c=(0.4, 2.0), d=(0.3, 4.0))
        registry.score("a", "y/loss", 0.2)
        registry.select(apply=True)  # c and d go
        x, y = registry.niches()
        assert (str(x.niche), x.living, x.front, x.obsolete, x.marked) == ("x/acc", 2, 2, 0, 2)
        assert (str(x.champion), x.value, x.joules) == ("b", 0.9, 3.0)
        assert (str(y.niche), str(y.champion), y.value) == ("y/loss", "a", 0.2)
        found = registry.niche("x/acc")
        assert [(str(one.organism), one.state) for one in found.members] == [
            ("a", "front"), ("c", "marked"), ("b", "front"), ("d", "marked"),
        ]  # fmt: skip
        assert found.counts == {"front": 2, "contested": 0, "obsolete": 0, "marked": 2}


def test_coverage_names_the_niches_without_a_champion_below_a_cost(registry_url):
    with lineage.open(registry_url) as registry:
        grow(registry, a=(0.5, 1.0), b=(0.9, 3.0))
        cheap, cheaper = (
            registry.niches(below=Limit(joules, "image"))[0].champion for joules in (2.0, 0.5)
        )
        assert str(cheap) == "a"
        assert cheaper is None
        assert registry.niches(below=Limit(2.0, "token")) == []


@pytest.mark.parametrize(
    ("written", "joules", "per"),
    [("50 mJ/image", 0.05, "image"), ("6.4 J/Mtok", 6.4e-6, "token"), ("1e3J/request", 1e3,
     "request"), ("2 µJ/character", 2e-6, "character")],
)  # fmt: skip
def test_costs_as_people_write_them(written, joules, per):
    assert limit_of(written) == Limit(pytest.approx(joules), per)


@pytest.mark.parametrize("written", ["", "5", "5 W", "5 J", "x J/image", "5 J/cup", "1.2.3 J/tok"])
def test_what_is_no_cost_is_said(written):
    with pytest.raises(InvalidValue, match="mJ/image"):
        limit_of(written)


def test_a_niche_that_cannot_be_judged_is_said(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        with pytest.raises(NotFound, match="nobody was scored"):
            registry.niche("x/acc")
        registry.register(name="a", fitness={"x/oddity": 1.0})
        with pytest.raises(InvalidValue, match="--direction"):
            registry.niche("x/oddity")
        registry.register(name="b", fitness={"x/acc": 1.0})  # no cost: nobody competes
        assert registry.niche("x/acc").members == ()
        assert ElementTree.fromstring(picture.svg(registry.niche("x/acc"))) is not None


EVIL = 'x"><script>alert(1)</script>\n\x1b[31m&'


def test_the_picture_is_well_formed_and_names_are_text(tmp_path):
    with lineage.open(tmp_path / "r.db") as registry:
        register(registry, EVIL, 0.5, 1.0, stderr=0.01)
        grow(registry, b=(0.9, 3.0), c=(0.1, 2.0))
        found = registry.niche("x/acc")
    tree = ElementTree.fromstring(picture.svg(found))
    assert not list(tree.iter(f"{SVG}script"))
    labels = [one.text for one in tree.iter(f"{SVG}text") if one.get("class") == "name"]
    assert any("<script>" in str(label) for label in labels)
    assert "\x1b" not in picture.page(found)
    assert "<script" not in picture.page(found)
    states = [one.get("class") for one in tree.iter(f"{SVG}circle")]
    assert sorted(states) == ["front", "front", "obsolete"]


def test_labels_lie_on_nothing_and_the_page_asks_nobody(tmp_path, page):
    with lineage.open(tmp_path / "r.db") as registry:
        for n in range(40):  # all on the front, close to each other
            register(registry, f"checkpoint-{1000 * n}", 0.5 + n / 100, 1.0 + n / 50)
        found = registry.niche("x/acc")
    (tmp_path / "niche.html").write_text(picture.page(found), "utf-8")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "niche.html").as_uri())
    assert len(asked) == 1
    boxes = page.evaluate(
        """() => [...document.querySelectorAll('svg text.name')].map(t => {
             const b = t.getBBox(); return [b.x, b.y, b.x + b.width, b.y + b.height]; })"""
    )
    assert len(boxes) >= 5
    for i, a in enumerate(boxes):
        assert a[0] >= 0
        assert a[2] <= picture.WIDTH
        for b in boxes[:i]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] + 4 or b[3] <= a[1] + 4


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_labels_lie_beside_the_line_where_there_is_room(tmp_path, page, direction):
    with lineage.open(tmp_path / "r.db") as registry:
        for n in range(6):
            value = 0.1 + n / 10 if direction == "higher" else 0.9 - n / 10
            register(registry, f"checkpoint-{n}", value, 10.0**n, direction=direction)
        page.set_content(picture.svg(registry.niche("x/acc")))
    crossed = page.evaluate(
        """() => { const line = document.querySelector('path.front'), points = [];
             const all = line.getTotalLength();
             for (let at = 0; at < all; at++) points.push(line.getPointAtLength(at));
             return [...document.querySelectorAll('text.name')].map(t => { const b = t.getBBox();
               return points.some(p => p.x > b.x && p.x < b.x + b.width
                 && p.y > b.y + 2 && p.y < b.y + b.height - 2); }); }"""
    )
    assert crossed == [False] * 6


def run(capsys, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main.main(args=list(args))
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


def test_the_commands(tmp_path, capsys, monkeypatch):
    db = str(tmp_path / "r.db")
    with lineage.open(db) as registry:
        grow(registry, a=(0.5, 1.0), b=(0.9, 3.0), c=(0.4, 2.0))
    code, out, _ = run(capsys, "--db", db, "niche", "ls")
    assert (code, out) == (0, "x/acc\t3\t2\t0\tb\t0.9\t3 J/image\n")
    code, out, _ = run(capsys, "--db", db, "niche", "ls", "--below", "10 mJ/image", "--json")
    assert json.loads(out)[0]["champion"] is None
    code, out, _ = run(capsys, "--db", db, "niche", "show", "x/acc", "-o", "x.svg", "--json")
    assert (code, json.loads(out)["counts"]["front"]) == (0, 2)
    assert ElementTree.parse("x.svg").getroot().tag == f"{SVG}svg"
    code, _, err = run(capsys, "--db", db, "niche", "show", "x/acc", "-o", "x.png")
    assert (code, "FILE.svg" in err) == (2, True)
    code, _, err = run(capsys, "--db", db, "niche", "show", "y/acc")
    assert (code, "The niches are: x/acc" in err) == (1, True)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("short", ["niche  living  front  marked  champion  value      power",
                   "x/acc       2      1       0  short       0.9  1 J/image"]),
        ("long" * 20, ["niche  living  front  marked", "x/acc       2      1       0",
                       f"    {'long' * 20}, 0.9 at 1 J/image"]),
    ],
)  # fmt: skip
def test_a_narrow_terminal_cuts_no_name_of_a_champion(tmp_path, monkeypatch, capsys, name, lines):
    with lineage.open(tmp_path / "r.db") as registry:
        grow(registry, **{name: (0.9, 1.0), "other": (0.5, 2.0)})
        monkeypatch.setenv("COLUMNS", "80")
        niching._list([niching._row(one) for one in registry.niches()])
    assert capsys.readouterr().out.splitlines() == lines


def test_the_commands_of_selection(tmp_path, capsys):
    db, plan = str(tmp_path / "r.db"), str(tmp_path / "plan.json")
    with lineage.open(db) as registry:
        grow(registry, a=(0.5, 1.0), b=(0.9, 3.0), c=(0.4, 2.0))
    assert "Propose an organism when" in run(capsys, "select", "--describe")[1]
    code, _, err = run(capsys, "--db", db, "select", "--policy", "nothing")
    assert (code, "best-per-niche" in err) == (2, True)
    code, out, err = run(capsys, "--db", db, "select", "--write-plan", plan)
    assert (code, out.split("\t")[0], "--from-plan" in err) == (0, "c", True)
    code, out, _ = run(capsys, "--db", db, "select", "--simulate", "delta=0.5")
    assert "b" in out.split("Proposed then, not now:")[1].split(".")[0]
    code, _, err = run(capsys, "--db", db, "select", "--simulate", "detla=0.5")
    assert (code, "Is 'delta' meant?" in err) == (2, True)
    assert run(capsys, "--db", db, "lease", "c", "--until", "7d", "--holder", "me")[0] == 0
    code, _, err = run(capsys, "--db", db, "select", "--from-plan", plan, "--apply")
    assert (code, "c@v1 would not be proposed any more" in err) == (1, True)
    assert run(capsys, "--db", db, "release", "c", "--holder", "me")[0] == 0
    code, out, _ = run(capsys, "--db", db, "select", "--from-plan", plan, "--apply", "--json")
    told = json.loads(out)
    assert (told["marked"], len(told["run"])) == (1, 8)
    code, out, _ = run(capsys, "--db", db, "revive", "--run", told["run"])
    assert (code, out) == (0, "1 is alive again.\n")
    assert run(capsys, "--db", db, "revive")[0] == 2
    assert "leased" in run(capsys, "--db", db, "log", "c")[1]
    code, _, err = run(capsys, "--db", db, "lease", "c", "--until", "soon")
    assert (code, "30d" in err) == (2, True)
