"""The guide builds, asks no other host for anything, tells of every command and every method, and
reads well on a wide and on a narrow screen; completion works in the shells that it names."""

from __future__ import annotations

import functools
import http.server
import inspect
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, missing

from lineage.cli import COMMANDS
from lineage.registry import Registry

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SIZES = [(1400, 900), (390, 844)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="install the extra `docs`")
    out = tmp_path_factory.mktemp("guide") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", out],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def served(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_reference_has_every_command_and_every_method(site: Path) -> None:
    commands = (site / "commands.html").read_text("utf-8")
    for name in COMMANDS:
        assert f">{name}</h3>" in commands
    assert "--guess" in commands
    python = (site / "python.html").read_text("utf-8")
    methods = [name for name, _ in inspect.getmembers(Registry, inspect.isfunction)]
    for name in methods:
        assert name.startswith("_") or f">{name}</h3>" in python
    assert "object at 0x" not in python


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_page_asks_another_host_or_runs_off_the_screen(
    site: Path, served: str, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme  # type: ignore[arg-type]
    )
    page = context.new_page()
    asked: list[str] = []
    errors: list[object] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.on("response", lambda answer: errors.append(answer.url) if answer.status > 399 else None)
    for file in sorted(site.glob("*.html")):
        page.goto(f"{served}/{file.name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, file.name
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 24, 27)"}[scheme]
    context.close()
    assert {re.match(r"\w+://[^/]*", url)[0] for url in asked} == {served}  # type: ignore[index]
    assert not errors


def test_the_guide_can_be_searched(served: str, page: Page) -> None:
    page.goto(f"{served}/questions.html")
    page.locator("[type=search]").press_sequentially("keypoint detectors")
    for _ in range(100):  # the index may still be loading: each key looks again
        page.press("[type=search]", "End")
        page.wait_for_timeout(200)
        if page.locator("#mkdocs-search-results a").count():
            break
    assert "selection makes of the zoo" in page.inner_text("#mkdocs-search-results")


def test_the_pages_open_from_a_disk(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    assert not page.is_visible("[type=search]")  # its index can be read over HTTP only
    page.click("nav.side >> text=Questions")
    assert page.inner_text("h1") == "Questions"


# ---- completion


def shell(*command: str, tmp_path: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash_completes(tmp_path: Path) -> None:
    script = """eval "$(lineage completion bash)"
complete_() { COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lineage_completion lineage; echo "${COMPREPLY[@]}"; }
complete_ lineage anc
complete_ lineage import --gu
complete_ lineage tree --format newi
"""  # noqa: E501
    assert shell("bash", "-c", script, tmp_path=tmp_path).split() == [
        "ancestors", "--guess", "newick",
    ]  # fmt: skip


def test_zsh_completes(tmp_path: Path) -> None:
    if not shutil.which("zsh"):
        missing("no zsh: apt install zsh.")
    script = """autoload -Uz compinit; compinit -u -D
eval "$(lineage completion zsh)"
print ${_comps[lineage]}
compadd() { print -- "$@"; }; _describe() { print -- ${(P)3}; }
words=(lineage anc); CURRENT=2; _lineage_completion
"""
    told = shell("zsh", "-f", "-c", script, tmp_path=tmp_path)
    assert told.splitlines()[0] == "_lineage_completion"
    assert "ancestors" in told


def test_fish_completes(tmp_path: Path) -> None:
    if not shutil.which("fish"):
        missing("no fish: apt install fish.")
    script = "lineage completion fish | source; complete -C 'lineage anc'"
    assert shell("fish", "--no-config", "-c", script, tmp_path=tmp_path).split("\t")[0] == (
        "ancestors"
    )
