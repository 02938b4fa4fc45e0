"""The page of a selection plan: whole, true, and nothing but a file."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page

import lineage
from lineage.cli import main
from lineage.selection import policy as policies
from lineage.trees import plan as page_of_plan
from tests.conftest import ROOT

EVIL = '<b onclick="x">&\n\x1b[31m</b>'
POLICY = """
[nightly]
traffic = "1e9 tokens/month"
price = "0.40 EUR/kWh"
protect = ["spared", "best"]
budget = "0.5 kWh/month"
"""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """`best` beats EVIL and `spared`; `unknown` has no cost."""
    path = tmp_path / "registry.db"
    with lineage.open(path) as registry:
        for name, score, joules in (
            ("best", 0.9, 0.001),
            (EVIL, 0.5, 0.002),
            ("spared", 0.4, 0.003),
        ):
            registry.register(
                name=name, run="r<i>", step=5000, bytes=2_000_000,
                fitness={"x/acc": lineage.Score("x/acc", score, 0.01)},
                power=lineage.PowerCost(joules=joules, phase="serving", per="token",
                                        source="measured"),
            )  # fmt: skip
        registry.register(name="child", parents=EVIL)
        registry.register(name="unknown", fitness={"x/acc": 0.2})
    return path


def draw(family: Path, *options: str) -> Path:
    written = family.parent / "policy.toml"
    written.write_text(POLICY)
    page = family.parent / "plan.html"
    args = ["--db", str(family), "select", "--policy", str(written), "--output", str(page)]
    done = CliRunner().invoke(main, [*args, *options])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(page)
    return page


def test_the_page_tells_the_plan(family: Path, page: Page) -> None:
    drawn = draw(family)
    asked: list[str] = []
    blocked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: blocked.append(message.text))
    page.goto(drawn.as_uri())
    assert len(asked) == 1
    assert not blocked
    assert "1 of 5 living organisms no longer justifies" in page.inner_text("h1")
    (who,) = page.locator(".who").all_inner_texts()
    for told in ("<b onclick", "\\x1b[31m", "run r<i>", "step 5,000", "1 living child", "2 MB"):
        assert told in who
    (row,) = page.locator(".proposed tbody tr:not(.who)").all_inner_texts()
    for told in ("0.50 ± 0.01", "2 kJ/Mtok", "best", "0.90 ± 0.01", "1 kJ/Mtok"):
        assert told in row
    kept, missing = page.locator(".apart section").all_inner_texts()
    assert "spared" in kept
    assert "Protected by the policy" in kept
    assert "unknown" in missing
    assert "cannot be met" in page.inner_text(".budget")
    assert page.locator("svg.niche circle.front").count() == 1
    assert page.locator("b[onclick], i, script").count() == 0
    command = f"lineage select --policy {family.parent / 'policy.toml'} --apply"
    assert command in page.inner_text("footer")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.who .name')).fontWeight") == "650"
    )


@pytest.mark.parametrize(("width", "colours"), [(1400, "light"), (390, "dark")])
def test_nothing_of_it_is_cut_or_faint(family: Path, page: Page, width: int, colours: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=colours)  # type: ignore[arg-type]
    page.goto(draw(family).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    paper, ink = (
        page.evaluate(f"getComputedStyle(document.body).{name}")
        for name in ("backgroundColor", "color")
    )
    light = sum(int(part) for part in paper[4:-1].split(",")) > 3 * 128
    assert light == (colours == "light")
    assert paper != ink


def test_an_empty_plan_is_a_page(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "registry.db") as registry:
        drawn = page_of_plan.render(
            registry.select(), sentences=policies.describe(policies.FRONTIER), fronts=[],
            registry="r", made=datetime.now(UTC),
        )  # fmt: skip
    assert "There is no living organism to judge" in drawn


def test_the_name_of_a_policy_is_text(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "registry.db") as registry:
        drawn = page_of_plan.render(
            registry.select(policies.Policy(EVIL)), sentences=[], fronts=[], registry="r",
            made=datetime.now(UTC),
        )  # fmt: skip
    assert "\\x1b[31m" in drawn
    assert "\x1b" not in drawn
    assert "<b onclick" not in drawn


def test_a_page_is_of_a_plan_and_html(family: Path) -> None:
    for options in (("--output", "plan.pdf"), ("-o", "p.html", "--simulate", "delta=0.1")):
        done = CliRunner().invoke(main, ["--db", str(family), "select", *options])
        assert done.exit_code == 2
        assert "FILE.html" in done.stderr


@pytest.mark.parametrize("width", [900, 390])
def test_names_of_the_length_of_a_zoo_stay_on_one_line(page: Page, width: int) -> None:
    for name in ("torchvision_zoo.csv", "torchvision_zoo.toml"):
        shutil.copy(ROOT / "examples" / name, name)
    run = CliRunner().invoke
    assert not run(main, ["import", "torchvision_zoo.csv", "--map", "torchvision_zoo.toml",
                          "--db", "zoo.db"]).exit_code  # fmt: skip
    assert not run(main, ["select", "--output", "plan.html", "--db", "zoo.db"]).exit_code
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(Path("plan.html").absolute().as_uri())
    cells = page.locator(".proposed tr:nth-child(2) :is(td.niche, td.by)")
    tallest = cells.evaluate_all("all => Math.max(...all.slice(0, 8).map(a => a.clientHeight))")
    assert tallest < 30
