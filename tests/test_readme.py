"""The examples of the README and of every page of the guide do what the page says: commands
succeed, Python runs, in the order they stand; and where a page shows what comes, that comes."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pages
import pytest
from conftest import ROOT

import lineage

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_EXAMPLES = [page for page in PAGES if any(True for _ in pages.EXAMPLE.finditer(
    page.read_text("utf-8")))]  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family of `lineage demo`, grown once."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [Path(sys.executable).with_name("lineage"), "demo"],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "power bill" in done.stdout
    return folder / "demo-family"


@pytest.fixture
def furnish(request: pytest.FixtureRequest) -> Callable[[str, Path], None]:
    def furnished(kind: str, folder: Path) -> None:
        if kind == "demo":
            pages.demo(request.getfixturevalue("demo"), folder)
        elif kind == "zoo":
            pages.zoo(folder)
        else:
            assert kind in ("checkpoints", "training"), f"tests/pages.py knows no {kind}"
            pages.checkpoints(folder)

    return furnished


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_the_examples_of_a_page_do_what_it_says(
    page: Path, tmp_path: Path, furnish: Callable[[str, Path], None]
) -> None:
    pages.run_page(page, tmp_path, furnish)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_calls_is_there_after_import_lineage(page: Path) -> None:
    for name in set(re.findall(r"(?<![\w./])lineage\.([\w.]+)\(", page.read_text("utf-8"))):
        assert name in lineage.__all__, name


def test_an_example_that_does_not_do_what_the_page_says_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    head = "<!-- here: empty -->\n"
    good = "```console\n$ echo a\n…\n$ false # exit code 1\n$ export X=1\n$ echo $X\n…1\n```\n"
    for written, wrong in (
        (good, ""),
        ("```console\n$ echo a\nb\n```\n", "shows something else"),
        ("```console\n$ false\n```\n", "exit code 1"),
        ("```python\nraise SystemExit(3)\n```\n", "line 2"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Expected"),
    ):
        page.write_text(head + written)
        act = lambda: pages.run_page(page, tmp_path / "x", lambda *_: None)  # noqa: E731
        if wrong:
            with pytest.raises(AssertionError, match=wrong):
                act()
        else:
            act()
    page.write_text(good)
    with pytest.raises(AssertionError, match="say where it runs"):
        pages.run_page(page, tmp_path, lambda *_: None)
