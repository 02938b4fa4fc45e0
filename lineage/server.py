"""The explorer: the tree page over a small read-only API, for the user's own browser. Whoever asks
must know a random token, name this machine as it is called, and come from the page itself."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from lineage import __version__
from lineage.cli.common import plain
from lineage.errors import (
    Ambiguous,
    InvalidValue,
    LineageError,
    NotFound,
    RegistryUnavailable,
)
from lineage.organism import Niche, Organism
from lineage.shown import shown
from lineage.trees import as_json, columns, html

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from lineage.registry import Registry
    from lineage.trees.family import Family
    from lineage.trees.window import Along, Window

T = TypeVar("T")

LIMIT, MOST = 5_000, 20_000
"""Organisms that are drawn in one piece, and the most that may be asked for."""

ROWS, MOST_ROWS = 1_500, 5_000
"""Rows of a window on a larger family, and the most that may be asked for."""

COMPETE, MOST_COMPETE = 300, 5_000
"""Competitors of a niche beside the whole front, and the most that may be asked for."""

KEPT = 16
"""Answers that are kept packed: at most about 1 MB each at LIMIT."""

NICHES = 4
"""Niches whose scores are kept by position, 16 bytes a score, and whose competition is."""

THREADS = 2
"""Questions to the registry at a time; each thread holds a connection of its own."""

MAPPED = 64 << 20
"""Bytes of an SQLite file that each of them maps."""

EVERY = 1.0
"""Seconds between two looks at the last event, while a page listens."""

LISTENERS = 64
"""Pages that may listen at a time."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")

HEADERS = (
    ("cache-control", "no-store"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)

STATUS = {NotFound: 404, Ambiguous: 409, InvalidValue: 400, RegistryUnavailable: 503}


class Outdated(LineageError):
    """The registry went on since the window was drawn whose details are asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page asks for: a family in one piece of at most `limit` organisms, or a window on it.
    `at` is an organism to look around."""

    ref: str | None
    niche: str | None
    limit: int
    rows: int
    start: int | None = None
    end: int | None = None
    at: str | None = None


class Desk:
    """Questions to the registry on behalf of all pages, a few at a time, outside of the event loop;
    and the last answers, packed, so that several pages of a family are one piece of work."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.pool = ThreadPoolExecutor(THREADS, "explorer", self._spare)
        self.judges = ThreadPoolExecutor(1, "judge", self._spare)
        self.kept: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self.scored: OrderedDict[tuple[Niche, int], Along] = OrderedDict()
        self.competed: OrderedDict[tuple[Niche, int, int], str] = OrderedDict()

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.pool, question, *arguments)

    async def judge(self, question: Callable[[], T]) -> T:
        """What takes seconds in a crowded niche waits for its like, and windows wait for none."""
        return await asyncio.get_running_loop().run_in_executor(self.judges, question)

    def _spare(self) -> None:
        """What a thread maps of the file is counted as memory of the server."""
        with suppress(LineageError), self.registry.database.read() as connection:
            if not connection.postgresql:
                connection.execute(f"PRAGMA mmap_size={MAPPED}")

    def last_event(self) -> int:
        return self.registry.head()[0]

    def family(self, asked: Asked) -> Family:
        return self.registry.family(asked.ref, niche=asked.niche, limit=asked.limit, details=True)

    def window(self, asked: Asked, details: bool = False) -> Window | None:
        """A window, where the family is too large for one piece and a snapshot knows it."""
        whole = self.registry.extent(asked.ref)
        if whole is None or whole.total <= asked.limit:
            return None
        window = self.registry.window(
            asked.ref, start=asked.start, end=asked.end, at=asked.at, rows=asked.rows,
            details=details,
        )  # fmt: skip
        if window is None and asked.at is not None:
            raise NotFound(f"{asked.at!r} is not in this family.")
        if window is None or asked.niche is None:
            return window
        shown_one = Niche.parse(asked.niche)
        return replace(window, family=replace(window.family, niche=shown_one))

    def block(self, asked: Asked, details: bool, version: int | None = None) -> bytes:
        """What is drawn, or its details, of `version` or of now, as `columns` packs it. Outdated
        where that version is not there any more."""
        now = self.last_event() if version is None else version
        kept = self.kept.get((asked, details, now))
        if kept is not None:
            return kept
        window = self.window(asked, details)
        if window is not None:
            title = self.title(asked.ref, window.family)
            made = {details: columns.pack_window(window, title, now, details)}
        else:
            family = self.family(asked)
            drawn, more = columns.pack(family, self.title(asked.ref, family), now)
            made = {False: drawn, True: more}
        if version is not None and self.last_event() != version:
            raise Outdated("the registry has changed since: ask for the window again.")
        _keep(self.kept, {(asked, part, now): block for part, block in made.items()}, KEPT)
        return made[details]

    def best(self, niche: Niche, asked: Asked, each: int) -> dict[str, Any]:
        """The best score in each row of a window. Scores are read once for a snapshot."""
        whole = self.registry.extent(asked.ref)
        if whole is None:
            raise NotFound(NO_SNAPSHOT)
        along = self.scored.get((niche, whole.snapshot.number))
        if along is None:
            along = self.registry.along(niche)
            if along is None:
                raise NotFound(NO_SNAPSHOT)
            _keep(self.scored, {(niche, along.snapshot): along}, NICHES)
        start = whole.first if asked.start is None else max(asked.start, whole.first)
        end = whole.last if asked.end is None else min(asked.end, whole.last)
        if (end - start) // each >= MOST_ROWS:
            raise InvalidValue(f"positions {start} to {end} are more than {MOST_ROWS} rows.")
        best, scores = along.best(start, end, each) if start <= end else ([], [])
        return {
            "snapshot": along.snapshot, "direction": along.direction, "start": start, "end": end,
            "each": each, "best": best, "scores": scores,
        }  # fmt: skip

    def competition(self, niche: Niche, most: int) -> str:
        """Who competes in a niche, as JSON; of a snapshot, where there is one, asked once."""
        whole = self.registry.extent()
        key = niche, most, whole.snapshot.number if whole else self.last_event()
        found = self.competed.get(key)
        if found is None:
            found = _json(self.registry.niche(niche, most=most))
            _keep(self.competed, {key: found}, NICHES)
        return found

    def explanation(self, ref: str) -> dict[str, Any]:
        """Why an organism lives, judged now, and its place among the living in each niche."""
        places = self.registry.places(ref)
        return {**plain(self.registry.explain(ref)), "places": plain(places)}

    def title(self, ref: str | None, family: Family) -> str:
        """What is drawn. A window may lie far from the root of its family."""
        if ref is None or family.root is None:
            return "the forest"
        root = family.members.get(family.root)
        return str(self.registry.get(ref) if root is None else root.organism)

    def search(self, text: str, limit: int) -> list[Organism]:
        """Those that `text` refers to, then names that begin with it, then names that hold it."""
        found: dict[int, Organism] = {}
        for organisms in self._searched(text, limit):
            for one in organisms:
                found.setdefault(one.id, one)
            if len(found) >= limit:
                break
        return list(found.values())[:limit]

    def _searched(self, text: str, limit: int) -> Iterator[list[Organism]]:
        try:
            yield [self.registry.get(text)]
        except Ambiguous as several:
            yield [self.registry.get(one) for one in several.candidates[:limit]]
        except NotFound:
            pass
        sought = text.replace("*", "?")
        yield self.registry.find(f"{sought}*", sort="name", limit=limit, ghosts=True)
        yield self.registry.find(f"*{sought}*", sort="name", limit=limit, ghosts=True)

    def close(self) -> None:
        for pool in (self.pool, self.judges):
            pool.shutdown(wait=False, cancel_futures=True)


NO_SNAPSHOT = (
    "there is no fresh interval snapshot that knows it, which rows are found by: "
    "`lineage doctor --repair --apply` builds one."
)


def _keep(kept: OrderedDict[Any, T], more: dict[Any, T], most: int) -> None:
    """Add what was made, and let go of the oldest."""
    kept.update(more)
    while len(kept) > most:
        with suppress(KeyError):  # the other thread was faster
            kept.popitem(last=False)


class Watch:
    """Looks for the last event every second while somebody listens: one look for all pages."""

    def __init__(self, desk: Desk, stopping: Callable[[], bool]) -> None:
        self.desk, self.stopping = desk, stopping
        self.listeners = 0
        self.last = 0
        self.looked = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None

    async def look(self) -> None:
        while self.listeners and not self.stopping():
            with suppress(LineageError):  # away for a moment: the next look tells
                self.last = await self.desk.ask(self.desk.last_event)
            async with self.looked:
                self.looked.notify_all()
            await asyncio.sleep(EVERY)
        self.task = None
        async with self.looked:
            self.looked.notify_all()

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events, `change` with the number of the last event: one at once, then one
        after each change. A comment every look tells that the connection is alive."""
        self.listeners += 1
        if self.task is None:
            self.task = asyncio.create_task(self.look())
        seen = -1
        try:
            while not self.stopping():
                async with self.looked:
                    await self.looked.wait()
                if self.last != seen:
                    seen = self.last
                    yield f"event: change\ndata: {seen}\n\n"
                else:
                    yield ":\n\n"
        finally:
            self.listeners -= 1


class Guard:
    """What stands before every answer: GET only, a Host that is this machine, an Origin that is
    this page or none, and the token, compared in constant time."""

    def __init__(self, app: ASGIApp, token: str, names: frozenset[str]) -> None:
        self.app, self.token, self.names = app, token, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websocket: uvicorn refuses it
        refused = self.refusal(scope)
        if refused is None:
            root = f"/{self.token}"
            scope = {**scope, "root_path": root}
            await self.app(scope, receive, _with_headers(send))
            return
        status, why = refused
        await _error(status, why)(scope, receive, _with_headers(send))

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the sentence of a refusal; None for those who may ask."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self.is_ours(hosts[0]):
            return 403, "this explorer does not go by that host name (--host names another)."
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            return 403, "another page asked: only the explorer's own may."
        if scope["method"] != "GET":
            return 405, "the explorer only reads: GET."
        given = scope["path"].encode().removeprefix(b"/").partition(b"/")[0]
        if not secrets.compare_digest(given, self.token.encode()):
            return 403, "the address lacks the token: use the one that `lineage view` printed."
        return None

    def is_ours(self, host: str) -> bool:
        """Whether a Host header may be answered. A web site that has its own name resolved to this
        machine sends that name (DNS rebinding); an address cannot be rebound."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        if self.names <= frozenset(LOOPBACK):
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _with_headers(send: Send) -> Send:
    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return sent


def _error(status: int, why: str) -> Response:
    from starlette.responses import JSONResponse

    allow = {"allow": "GET"} if status == 405 else None
    return JSONResponse({"error": shown(why)}, status, headers=allow)


def application(
    registry: Registry,
    token: str,
    names: frozenset[str] = frozenset(LOOPBACK),
    stopping: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """The explorer as an ASGI application, below `/<token>/`. `names` are the hosts that it goes
    by; where they are more than the loopback's, any address is one too. It ends its streams once
    `stopping` says so."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    desk = Desk(registry)
    watch = Watch(desk, stopping)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()

    routes = [
        Route(path, _answering(answer, desk, watch), methods=["GET"])
        for path, answer in ANSWERS.items()
    ]
    return Guard(Starlette(routes=routes, lifespan=lifespan), token, names)


Answerer = Callable[["Request", Desk, Watch], Awaitable["Response"]]


def _answering(
    answer: Answerer, desk: Desk, watch: Watch
) -> Callable[[Request], Awaitable[Response]]:
    async def answered(request: Request) -> Response:
        try:
            return await answer(request, desk, watch)
        except Outdated as error:
            return _error(410, str(error))
        except LineageError as error:
            status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 400)
            return _error(status, str(error))

    return answered


def _asked(request: Request) -> Asked:
    given = request.query_params

    def position(name: str) -> int | None:
        return None if name not in given else _whole(request, name, 0, 2**62, least=0)

    return Asked(
        given.get("ref"), given.get("niche"), _whole(request, "limit", LIMIT, MOST),
        _whole(request, "rows", ROWS, MOST_ROWS), position("start"), position("end"),
        given.get("at"),
    )  # fmt: skip


def _whole(request: Request, name: str, default: int, most: int, least: int = 1) -> int:
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) < 19 and int(given) >= least):
        raise InvalidValue(f"{name} {given[:40]!r} is not a whole number from {least} on.")
    return min(int(given), most)


def _ref(request: Request) -> str:
    ref = request.query_params.get("ref")
    if ref is None:
        raise InvalidValue("say which organism: ?ref=NAME.")
    return ref


async def _page(_request: Request, _desk: Desk, _watch: Watch) -> Response:
    from starlette.responses import HTMLResponse

    return HTMLResponse(html.explorer(""), headers={"content-security-policy": _FRAMES})


_FRAMES = "frame-ancestors 'none'"  # the one part of the policy that a page cannot hold itself


async def _block(request: Request, desk: Desk, details: bool, version: int | None) -> Response:
    from starlette.responses import Response

    block = await desk.ask(desk.block, _asked(request), details, version)
    return Response(block, media_type="application/octet-stream")


async def _drawn(request: Request, desk: Desk, _watch: Watch) -> Response:
    return await _block(request, desk, False, None)


async def _details(request: Request, desk: Desk, _watch: Watch) -> Response:
    given = request.query_params.get("version")
    version = None if given is None else _whole(request, "version", 0, 2**63)
    return await _block(request, desk, True, version)


async def _family(request: Request, desk: Desk, _watch: Watch) -> Response:
    def document() -> str:
        return _json(as_json.document(desk.family(_asked(request))))

    return _written(await desk.ask(document))


async def _rows(request: Request, desk: Desk, _watch: Watch) -> Response:
    asked = _asked(request)

    def document() -> str:
        window = desk.registry.window(
            asked.ref, start=asked.start, end=asked.end, at=asked.at, rows=asked.rows
        )
        if window is None:
            raise NotFound(NO_SNAPSHOT)
        return _json(_told(window))

    return _written(await desk.ask(document))


def _told(window: Window) -> dict[str, Any]:
    """A window for programs: its numbers, and its rows with the name of who stands for each."""
    named: dict[int | None, str | None] = {
        own: str(one.organism) for own, one in window.family.members.items()
    }
    named[None] = None
    numbers = ("snapshot", "first", "last", "start", "end", "each", "above", "new")
    return {name: getattr(window, name) for name in numbers} | {
        "rows": [{**asdict(one), "name": named[one.id]} for one in window.stripes]
    }


async def _organism(request: Request, desk: Desk, _watch: Watch) -> Response:
    ref = _ref(request)
    return _written(await desk.ask(lambda: _json(desk.registry.record(ref))))


async def _explain(request: Request, desk: Desk, _watch: Watch) -> Response:
    ref = _ref(request)
    return _written(await desk.judge(lambda: _json(desk.explanation(ref))))


def _of_niche(request: Request) -> Niche:
    given = request.query_params
    if "niche" not in given:
        raise InvalidValue("say in which niche: ?niche=TASK/METRIC.")
    return Niche.parse(given["niche"], given.get("split", ""))


async def _competition(request: Request, desk: Desk, _watch: Watch) -> Response:
    niche, most = _of_niche(request), _whole(request, "most", COMPETE, MOST_COMPETE)
    return _written(await desk.judge(lambda: desk.competition(niche, most)))


async def _fitness(request: Request, desk: Desk, _watch: Watch) -> Response:
    niche, asked = _of_niche(request), _asked(request)
    each = _whole(request, "each", 1, 2**62)
    return _written(await desk.judge(lambda: _json(desk.best(niche, asked, each))))


async def _search(request: Request, desk: Desk, _watch: Watch) -> Response:
    text, limit = request.query_params.get("q", ""), _whole(request, "limit", 20, 100)

    def found() -> str:
        organisms = desk.search(text, limit) if text.strip() else []
        return _json({"organisms": [{"label": shown(str(one)), **plain(one)} for one in organisms]})

    return _written(await desk.ask(found))


async def _changes(_request: Request, _desk: Desk, watch: Watch) -> Response:
    from starlette.responses import StreamingResponse

    if watch.listeners >= LISTENERS:
        return _error(503, f"{LISTENERS} pages listen already: close one.")
    return StreamingResponse(watch.events(), media_type="text/event-stream")


async def _openapi(_request: Request, _desk: Desk, _watch: Watch) -> Response:
    return _written(_json(openapi()))


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _written(text: str) -> Response:
    from starlette.responses import Response

    return Response(text, media_type="application/json")


ANSWERS: dict[str, Answerer] = {
    "/": _page,
    "/api/window/drawn": _drawn,
    "/api/window/details": _details,
    "/api/family": _family,
    "/api/rows": _rows,
    "/api/organism": _organism,
    "/api/explain": _explain,
    "/api/niche": _competition,
    "/api/fitness": _fitness,
    "/api/search": _search,
    "/api/changes": _changes,
    "/api/openapi.json": _openapi,
}


def openapi() -> dict[str, Any]:
    """The API as an OpenAPI 3.1 document. Paths are below the address with the token."""

    def parameter(name: str, kind: str, said: str, required: bool = False) -> dict[str, Any]:
        return {
            "name": name, "in": "query", "required": required, "description": said,
            "schema": {"type": kind} | ({"minimum": 0} if kind == "integer" else {}),
        }  # fmt: skip

    ref = parameter("ref", "string", "A reference to the organism: a name, `name@v2`, a digest, …")
    of = {**ref, "description": "Whose family; without it, the forest."}
    family = [
        of,
        parameter("niche", "string", "The niche to show, `task/metric`."),
        parameter("limit", "integer", f"Organisms at most: {LIMIT}, up to {MOST}; the nearest."),
    ]
    rows = [
        parameter("start", "integer", "The first position of a window; by default that of all."),
        parameter("end", "integer", "The last position of a window, itself within."),
        parameter("at", "string", "A reference to an organism to look around, instead of both."),
        parameter("rows", "integer", f"Rows at most, about: {ROWS}, up to {MOST_ROWS}."),
    ]
    window = [*family, *rows]
    niche = [
        parameter("niche", "string", "The niche, `task/metric`.", True),
        parameter("split", "string", "Its split, where it has one."),
    ]
    version = parameter("version", "integer", "Of which window; 410 when it is gone.")
    block, object_ = "application/octet-stream", "application/json"
    paths = {
        "/api/family": ("A family as `lineage tree --json` gives it.", family, object_),
        "/api/rows": (
            "A window on a family of any size, by the interval snapshot: rows that are organisms "
            "or stripes of many, with counts.", [of, *rows], object_,
        ),
        "/api/organism": (
            "Everything known of one organism, as `lineage show --json` gives it.",
            [{**ref, "required": True}], object_,
        ),
        "/api/explain": (
            "Why an organism lives, as `lineage explain --json` gives it, and its `places`.",
            [{**ref, "required": True}], object_,
        ),
        "/api/niche": (
            "Who competes in a niche, as `lineage niche show --json` gives it.",
            [*niche, parameter("most", "integer", f"At most: {COMPETE}, up to {MOST_COMPETE}, "
                               "and the whole front.")], object_,
        ),
        "/api/fitness": (
            "The best score among the living in each row of a window.",
            [*niche, of, *rows[:2],
             parameter("each", "integer", "How many positions a row stands for: 1.")], object_,
        ),
        "/api/search": (
            "Organisms that a text refers to, or whose names begin with it or hold it.",
            [parameter("q", "string", "The text."),
             parameter("limit", "integer", "Organisms at most: 20, up to 100.")], object_,
        ),
        "/api/changes": (
            "Server-sent events: `change` with the number of the last event, at once and after "
            "each change.", [], "text/event-stream",
        ),
        "/api/window/drawn": (
            "What the page draws, packed: a family of at most `limit`, else a window.",
            window, block,
        ),
        "/api/window/details": ("The details of a window, packed.", [*window, version], block),
        "/api/openapi.json": ("This document.", [], object_),
    }  # fmt: skip
    error = {
        "description": 'A sentence, as `{"error": …}`.',
        "content": {object_: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "lineage explorer", "version": __version__},
        "paths": {
            path: {"get": {
                "summary": said,
                "parameters": parameters,
                "responses": {
                    "200": {"description": "It.", "content": {kind: {}}}, "default": error,
                },
            }}
            for path, (said, parameters, kind) in paths.items()
        },
        "components": {"schemas": {"Error": {
            "type": "object", "required": ["error"],
            "properties": {"error": {"type": "string"}},
        }}},
    }  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """A socket on `host`, port 0 for any that is free. LineageError where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family[0], socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(family[4])
        bound.listen(128)  # who asks before the server is up waits for it
    except OSError as error:
        raise LineageError(
            f"the explorer cannot listen on {host} port {port}: {error.strerror or error}. Choose "
            "another --port, or none for any that is free."
        ) from error
    return bound


def serve(registry: Registry, bound: socket.socket, token: str, names: frozenset[str]) -> None:
    """Answer on `bound` until a signal ends it. KeyboardInterrupt is raised again, once all is
    closed."""
    import uvicorn

    app = application(registry, token, names, lambda: server.should_exit)
    server = uvicorn.Server(uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        timeout_graceful_shutdown=3, limit_concurrency=4 * LISTENERS, ws="none", lifespan="on",
    ))  # fmt: skip
    server.run(sockets=[bound])
