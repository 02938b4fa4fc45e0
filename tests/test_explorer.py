"""The explorer: a real server on the loopback, asked by scripts and by the real page in a browser.
Nobody is answered without the token, from another page, or by another name; it writes nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import jsonschema
import pytest

import lineage
from lineage import server
from lineage.organism import Parent
from lineage.trees import gather
from tests.conftest import ROOT, axe_violations, heard, listen
from tests.test_trees import HOSTILE

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECONDS = 240
"""Only so that a fault here does not hang for ever."""


@dataclass(frozen=True, slots=True)
class Explorer:
    """A running `lineage view`: its address with the token, its process, its registry."""

    url: str
    process: subprocess.Popen[str]
    registry: str

    @property
    def token(self) -> str:
        return urlsplit(self.url).path.strip("/")

    def ask(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        """The answer to a request below the address; with a leading slash, from the host's root."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=SECONDS)
        whole = path if path.startswith("/") else f"/{self.token}/{path}"
        connection.request(method, whole, headers=headers)
        return connection.getresponse()

    def get(self, path: str) -> Any:
        answer = self.ask(path)
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())


def start(db: str, *arguments: str) -> Explorer:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "view", "--no-browser", "--db", db, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    line = process.stdout.readline().strip()
    assert line.startswith("http://"), process.communicate()[1]
    return Explorer(line, process, db)


def end(explorer: Explorer) -> str:
    """What it said on stderr until Ctrl-C."""
    if explorer.process.poll() is not None:
        return ""  # a test has ended it
    explorer.process.send_signal(signal.SIGINT)
    said = explorer.process.communicate(timeout=SECONDS)[1]
    assert explorer.process.returncode == 0
    return str(said)


def grown(db: str) -> None:
    with lineage.open(db) as registry:
        registry.register(name="base", fitness={"math/acc": 0.5})
        registry.register(name="sft", parents=Parent("base", "finetune"), fitness={"math/acc": 0.6})
        registry.register(name="loner")


@pytest.fixture
def explorer(registry_url: str) -> Iterator[Explorer]:
    grown(registry_url)
    running = start(registry_url)
    yield running
    assert end(running) == ""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Explorer]:
    """On SQLite: where the database is not the question."""
    grown(str(tmp_path / "registry.db"))
    running = start(str(tmp_path / "registry.db"))
    yield running
    assert end(running) == ""


# ---- for scripts


def test_the_api_answers_as_the_commands_do(explorer: Explorer) -> None:
    family = explorer.get("api/family?ref=base")
    assert [one["name"] for one in family["members"]] == ["base", "sft"]
    assert family["links"][0]["relation"] == "finetune"
    assert len(explorer.get("api/family?limit=1")["members"]) == 1
    record = explorer.get("api/organism?ref=sft")
    assert record["organism"]["ref"] == "sft@v1"
    assert record["parents"][0]["parent"]["name"] == "base"


def test_search_finds_references_beginnings_and_parts(explorer: Explorer) -> None:
    def found(text: str) -> list[str]:
        return [one["ref"] for one in explorer.get(f"api/search?q={quote(text)}")["organisms"]]

    with lineage.open(explorer.registry) as registry:
        registry.register(name="a-base")
        registry.alias("sft", "best")
    assert found("base") == ["base@v1", "a-base@v1"]
    assert found("sft@best") == ["sft@v1"]
    assert found("one") == ["loner@v1"]
    assert found("%") == found("") == []
    assert len(explorer.get("api/search?q=e&limit=1")["organisms"]) == 1


def test_what_cannot_be_answered_is_a_sentence(small: Explorer) -> None:
    for path, status, said in (
        ("api/organism?ref=sfd", 404, "no organism is called 'sfd'"),
        ("api/organism", 400, "say which organism"),
        ("api/family?limit=0", 400, "limit '0' is not a whole number from 1 on."),
        ("api/family?niche=nonsense", 400, "nonsense"),
        ("api/window/details?version=1", 410, "has changed since"),
    ):
        answer = small.ask(path)
        assert answer.status == status
        assert said in json.loads(answer.read())["error"]


def test_every_path_is_described(small: Explorer) -> None:
    document = small.get("api/openapi.json")
    assert document["openapi"].startswith("3.1")
    assert {path for path in server.ANSWERS if path != "/"} == set(document["paths"])
    page = (ROOT / "docs" / "explorer.md").read_text("utf-8")
    for path, methods in document["paths"].items():
        assert list(methods) == ["get"]
        assert f"`{path.removeprefix('/')}" in page
        for parameter in methods["get"]["parameters"]:
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])
            assert parameter["name"] in page


def test_changes_are_told_as_they_come(explorer: Explorer) -> None:
    answer = explorer.ask("api/changes")
    assert answer.headers["content-type"].startswith("text/event-stream")

    def next_change() -> int:
        while True:
            line = answer.fp.readline().decode()
            assert line, "the stream ended"
            if line.startswith("data: "):
                return int(line.removeprefix("data: "))

    first = next_change()
    with lineage.open(explorer.registry) as registry:
        assert registry.head()[0] == first
        registry.tag("sft", team="blue")
        assert next_change() == registry.head()[0] > first


def test_one_look_serves_all_listeners_and_none_looks_for_nobody(tmp_path: Path) -> None:
    import asyncio

    with lineage.open(tmp_path / "registry.db") as registry:
        registry.register(name="base")
        desk = server.Desk(registry)
        looks = 0
        plain_look = desk.last_event

        def counted() -> int:
            nonlocal looks
            looks += 1
            return plain_look()

        desk.last_event = counted  # type: ignore[method-assign]

        async def listened() -> None:
            watch = server.Watch(desk, lambda: False)
            streams = [watch.events() for _ in range(5)]
            first = await asyncio.gather(*(anext(stream) for stream in streams))
            assert len(set(first)) == 1
            assert "event: change" in first[0]
            for stream in streams:
                await stream.aclose()  # type: ignore[attr-defined]
            assert watch.listeners == 0
            assert watch.task is not None
            await asyncio.wait_for(watch.task, SECONDS)

        with ThreadPoolExecutor() as pool:  # a browser's loop may run in this thread
            pool.submit(asyncio.run, listened()).result()
        desk.close()
        assert looks == 1


# ---- who may ask


def test_without_the_token_nobody_is_answered(small: Explorer) -> None:
    for path in ("/", "/api/family", f"/{small.token[:-1]}/", "/x/api/family", "//", "/%00/",
                 f"/x/{small.token}/", f"/{small.token.swapcase()}/api/family"):  # fmt: skip
        answer = small.ask(path)
        assert answer.status == 403, path
        assert b"base" not in answer.read()
    assert len(small.token) >= 32
    other = start(small.registry)
    assert other.token != small.token
    assert end(other) == ""


def test_a_name_that_was_rebound_is_refused(small: Explorer) -> None:
    port = urlsplit(small.url).port
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "10.0.0.1",
                 "127.0.0.1.nip.io", "", "[", "127.0.0.1@evil.example"):  # fmt: skip
        assert small.ask("", Host=host).status in (400, 403), host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "localhost:9"):
        assert small.ask("", Host=host).status == 200, host


def test_another_page_is_refused(small: Explorer) -> None:
    own = f"http://{urlsplit(small.url).netloc}"
    for origin in ("http://evil.example", "null", own.replace("http:", "https:"), f"{own}0"):
        answer = small.ask("api/family", Origin=origin)
        assert answer.status == 403, origin
        assert "access-control-allow-origin" not in answer.headers
    answer = small.ask("api/family", Origin=own)
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


def test_it_only_reads(small: Explorer) -> None:
    before = Path(small.registry).read_bytes()
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
        answer = small.ask("api/family", method)
        assert answer.status == 405, method
        assert answer.headers["allow"] == "GET"
    small.get("api/family")
    small.get("api/search?q=base")
    assert Path(small.registry).read_bytes() == before


def test_headers_keep_the_page_to_itself(small: Explorer) -> None:
    answer = small.ask("")
    page = answer.read().decode()
    for header in server.HEADERS:
        assert answer.headers[header[0]] == header[1]
    assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    parts = policy[1].replace("&#39;", "'").split("; ")
    assert "default-src 'none'" in parts
    assert "connect-src 'self'" in parts
    assert "unsafe" not in policy[1]
    assert "base" not in re.findall(r"<title>(.*?)</title>", page)


# ---- the command


def test_it_listens_on_the_loopback_unless_told(tmp_path: Path) -> None:
    db = str(tmp_path / "registry.db")
    grown(db)
    running = start(db)
    assert urlsplit(running.url).hostname == "127.0.0.1"
    assert end(running) == ""
    wide = start(db, "--host", "0.0.0.0", "sft")
    port = urlsplit(wide.url).port
    assert urlsplit(wide.url).query == "ref=sft%40v1"
    connection = HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    for host, status in ((socket.gethostname(), 200), ("192.0.2.7", 200), ("evil.example", 403)):
        connection.request("GET", urlsplit(wide.url).path, headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status, host
    assert "warning: whoever reaches 0.0.0.0" in end(wide)


def test_what_stands_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), "view", "--no-browser", *arguments],
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    db = str(tmp_path / "registry.db")
    code, sentence = said("--db", db)
    assert (code, "there is no registry at" in sentence) == (3, True)
    assert not Path(db).exists()
    grown(db)
    code, sentence = said("--db", db, "nobody")
    assert (code, "no organism is called 'nobody'" in sentence) == (1, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, sentence = said("--db", db, "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "Choose another --port" in sentence
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvicorn.py").write_text("raise ImportError('no', name='uvicorn')")
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "view", "--no-browser", "--db", db],
        capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(hidden)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'checkpoint-lineage[view]'" in done.stderr


def test_ctrl_c_ends_it_while_pages_listen(small: Explorer) -> None:
    answer = small.ask("api/changes")
    assert b"change" in answer.read1()
    assert end(small) == ""  # the stream is still open


# ---- registries too large to be walked


def test_what_is_not_drawn_is_counted_by_the_snapshot(
    registry_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="root")
        for branch in range(3):
            registry.register(name=f"b{branch}", parents="root")
            for leaf in range(4):
                registry.register(name=f"b{branch}-{leaf}", parents=f"b{branch}")
        walked = registry.family("root", limit=4)
        assert walked.counted
        assert walked.hidden == 12
        assert walked.within == {}
        monkeypatch.setattr(gather, "MOST_WALKED", 3)
        children = registry.family("root", limit=2)
        assert (children.counted, children.hidden) == (False, 2 + 4)
        registry.refresh_snapshot()
        labelled = registry.family("root", limit=4)
        assert labelled.folded == walked.folded
        assert labelled.hidden == 12
        forest = registry.family(limit=2)
        assert (forest.counted, forest.hidden) == (True, 14)
        assert sum(forest.folded.values()) == 14


# ---- the page


@pytest.fixture
def watched(page: Page, asked: list[str]) -> Iterator[Page]:
    """A page whose every request is to the explorer itself, and that complains of nothing."""
    yield page
    strangers = {
        url for url in asked
        if not url.startswith(("data:", "blob:")) and urlsplit(url).hostname != "127.0.0.1"
    }  # fmt: skip
    assert asked
    assert not strangers, "a request left the machine"


def opened(page: Page, url: str) -> list[str]:
    page.goto(url)
    page.wait_for_selector("[data-ready]", state="attached")
    return names(page)


def names(page: Page) -> list[str]:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    rows = page.locator("#outline [role=treeitem]").all_text_contents()
    return [row.partition(",")[0] for row in rows]


def appears(page: Page, name: str) -> None:
    page.wait_for_function(
        "name => [...document.querySelectorAll('#outline [role=treeitem]')]"
        ".some(one => one.textContent.startsWith(name))", arg=name,
    )  # fmt: skip


def test_the_page_draws_and_grows_while_another_process_registers(
    small: Explorer, watched: Page
) -> None:
    page = watched
    assert opened(page, f"{small.url}?ref=base") == ["base", "sft"]
    assert page.title() == "base · lineage"
    listen(page)
    page.keyboard.press("End")
    page.wait_for_function("() => document.querySelector('#panel h2')?.textContent === 'sft'")
    page.locator("#search").fill("sft")
    subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "register", "--db", small.registry,
         "--name", "late", "--parent", "base", "--relation", "finetune"],
        check=True, capture_output=True,
    )  # fmt: skip
    appears(page, "late")
    assert sorted(names(page)) == ["base", "late", "sft"]
    assert page.locator("#panel h2").inner_text() == "sft", "who was chosen still is"
    assert page.locator("#search").input_value() == "sft", "what was typed still is"
    heard(page, "1 row more: the registry has changed.")
    with lineage.open(small.registry) as registry:  # a niche that was not there
        registry.score("late", "code/acc", 0.9)
    page.locator(".head.niche", has_text="code").wait_for()


def test_an_empty_registry_fills_while_one_looks(tmp_path: Path, page: Page) -> None:
    db = str(tmp_path / "registry.db")
    lineage.open(db).close()
    running = start(db)
    page.goto(running.url)
    page.locator("#empty").wait_for()
    with lineage.open(db) as registry:
        registry.register(name="first")
    appears(page, "first")
    assert end(running) == ""


def test_search_and_links_lead_on_from_what_is_drawn(small: Explorer, watched: Page) -> None:
    page = watched
    with lineage.open(small.registry) as registry:
        registry.register(name="tuned", parents=Parent("sft", "finetune"))
    assert opened(page, f"{small.url}?ref=sft") == ["sft", "tuned"]
    page.keyboard.press("Home")
    page.get_by_role("link", name="↑ base").click()
    appears(page, "base")
    assert names(page) == ["base", "sft", "tuned"]
    page.locator("#search").fill("lon")
    page.get_by_role("option", name="loner").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    appears(page, "loner")
    assert names(page) == ["loner"]
    page.get_by_role("link", name="the whole forest").click()
    appears(page, "sft")
    assert sorted(names(page)) == ["base", "loner", "sft", "tuned"]
    opened(page, f"{small.url}?limit=2")
    assert "2 more organisms are not in this page" in page.locator("#panel").inner_text()
    page.keyboard.press("Home")
    page.get_by_role("link", name="draw its family").click()
    page.wait_for_function("() => document.title === 'base · lineage'")
    assert "ref=%23" in page.url


def test_hostile_names_are_text(tmp_path: Path, watched: Page) -> None:
    page, db = watched, str(tmp_path / "registry.db")
    with lineage.open(db) as registry:
        registry.register(name="base")
        for name in HOSTILE:
            registry.register(name=name, parents=Parent("base", "finetune"))
    running = start(db)
    found = opened(page, running.url)
    assert len(found) == 1 + len(HOSTILE)
    page.evaluate("window.untouched = true")
    for _ in range(len(found)):
        page.keyboard.press("ArrowDown")
    page.locator("#search").fill("<")
    page.locator("#suggested [role=option]").first.wait_for()
    assert page.evaluate("window.untouched && document.querySelectorAll('script').length === 1")
    assert page.locator("#panel b b, #panel img, #suggested img, #panel script").count() == 0
    assert end(running) == ""


def test_who_is_not_there_is_said(small: Explorer, page: Page) -> None:
    page.goto(f"{small.url}?ref={quote('<b>nobody')}")
    page.locator("#empty").wait_for()
    assert "no organism is called '<b>nobody'" in page.locator("#empty").inner_text()


def test_axe_finds_no_violation(small: Explorer, watched: Page) -> None:
    page = watched
    opened(page, f"{small.url}?ref=sft")
    page.keyboard.press("Home")
    page.get_by_role("link", name="↑ base").wait_for()
    page.locator("#search").fill("lon")
    page.get_by_role("option", name="loner").wait_for()
    assert axe_violations(page) == []


def test_a_second_reader_of_the_file_is_not_kept_waiting(small: Explorer) -> None:
    answer = small.ask("api/changes")
    assert answer.readline()
    over = threading.Event()

    def write() -> None:
        writer = sqlite3.connect(small.registry, timeout=0)
        while not over.wait(0.05):
            writer.execute("BEGIN IMMEDIATE")
            writer.rollback()
        writer.close()

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(write)
        looks = 0
        while looks < 3:
            line = answer.readline()
            assert line, "the stream ended"
            looks += line == b":\n"
        over.set()
        writing.result()
