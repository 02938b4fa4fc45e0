"""A Hugging Face Hub of our own on the loopback: what the real client asks of the real one,
answered from memory. `python tests/hub_server.py COUNT` serves a seeded Hub that large."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

REFUSED_IN_LISTS = {"baseModels", "childrenModelCount", "usedStorage"}
TOKEN = "hf_of_the_tests"
_MODEL = re.compile(r"/api/models/([^/]+/[^/]+?|[^/]+)(?:/(revision|preupload|commit)/([^/]+))?")


@dataclass
class World:
    """What the server knows, and what it was asked: `models` by id, newest change first."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    cards: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)  # status codes of the next answers; 0: none
    commits: list[dict[str, Any]] = field(default_factory=list)
    tokens_elsewhere: list[str] = field(default_factory=list)
    link_host: str | None = None
    broken_after: int | None = None  # so many pages of lists are given, then the line is cut
    url: str = ""

    def add(self, repo: str, *bases: str, relation: str | None = None, **more: Any) -> None:
        """A model as the Hub lists it: its tags say each parent twice."""
        at = f"2025-01-{len(self.models) % 28 + 1:02}T00:00:00.000Z"
        row: dict[str, Any] = {
            "_id": hashlib.md5(repo.encode()).hexdigest()[:24],
            "id": repo,
            "modelId": repo,
            "sha": hashlib.sha1(repo.encode()).hexdigest(),
            "createdAt": at,
            "lastModified": at,
            "downloads": 7,
            "likes": 1,
            "gated": False,
            "private": False,
            "tags": ["transformers", "license:mit", "region:us"],
        }
        for base in bases:
            row["tags"].append(f"base_model:{base}")
            if relation:
                row["tags"].append(f"base_model:{relation}:{base}")
        row.update(more)
        self.models[repo] = row


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet: else 40 ms a call
    server: Server

    def log_message(self, *_: object) -> None: ...

    @property
    def world(self) -> World:
        return self.server.world

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, held in headers.items():
            self.send_header(name.replace("_", "-"), held)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status: int, code: str, message: str) -> None:
        self.answer({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        world = self.world
        world.asked.append(self.path)
        if self.headers["Host"].startswith("localhost") and self.headers["Authorization"]:
            world.tokens_elsewhere.append(self.path)
        if world.refusals and (status := world.refusals.pop(0)) != 200:
            if not status:
                self.close_connection = True
                return
            self.answer({"error": "slow down"}, status, RateLimit='"api";r=0;t=0')
            return
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        path = unquote(parts.path)
        if path == "/api/models":
            self.list(query)
        elif path.startswith("/cdn/"):
            self.answer(world.cards[path.removeprefix("/cdn/")].encode())
        elif match := re.fullmatch(r"/(.+)/resolve/([^/]+)/(.+)", path):
            self.resolve(match[1], match[3])
        elif match := _MODEL.fullmatch(path):
            self.model(match[1], query)
        else:
            self.fail(404, "", "not found")

    def list(self, query: dict[str, list[str]]) -> None:
        world = self.world
        refused = REFUSED_IN_LISTS & set(query.get("expand", ()))
        if refused:
            self.answer({"error": f"expand {refused} is not allowed in lists"}, 400)
            return
        cursor = query.get("cursor", ["0"])[0]
        if not cursor.isdigit():
            self.answer({"error": "Invalid cursor"}, 400)
            return
        if world.broken_after is not None:
            if world.broken_after == 0:
                self.answer({"error": "cut off"}, 403)
                return
            world.broken_after -= 1
        rows = self.server.listed(query.get("author"), tuple(query.get("filter", ())))
        start = int(cursor)
        limit = min(int(query.get("limit", ["1000"])[0]), self.server.page)
        headers = {}
        if start + limit < len(rows):
            following = urlencode({**query, "cursor": [str(start + limit)]}, doseq=True)
            host = world.link_host or self.headers["Host"]
            headers["Link"] = f'<http://{host}/api/models?{following}>; rel="next"'
        self.answer(rows[start : start + limit], **headers)

    def resolve(self, repo: str, file: str) -> None:
        world = self.world
        if not self.visible(repo):
            return
        if file != "README.md" or repo not in world.cards:
            self.fail(404, "EntryNotFound", "Entry not found")
            return
        port = self.server.server_address[1]
        self.answer(b"", 302, Location=f"http://localhost:{port}/cdn/{repo}",
                    X_Repo_Commit="a" * 40, ETag='"1"')  # fmt: skip

    def visible(self, repo: str) -> bool:
        if repo in self.world.gated:
            self.fail(403, "GatedRepo", "Access to model is restricted")
            return False
        if repo not in self.world.models:
            self.fail(401, "RepoNotFound", "Repository not found")
            return False
        return True

    def model(self, repo: str, query: dict[str, list[str]]) -> None:
        world = self.world
        if repo in world.renamed:
            self.answer(b"", 307, Location=f"/api/models/{world.renamed[repo]}?"
                        f"{urlencode(query, doseq=True)}")  # fmt: skip
            return
        if self.visible(repo):
            row = dict(world.models[repo])
            if "blobs" not in query:
                row.pop("siblings", None)
            if query.get("expand") != ["evalResults"]:
                row.pop("evalResults", None)
            self.answer(row)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.world.asked.append(self.path)
        parts = urlsplit(self.path)
        match = _MODEL.fullmatch(unquote(parts.path))
        if parts.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif match and match[2] == "preupload":
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": one["path"], "uploadMode": "regular",
                                    "shouldIgnore": False} for one in files]})  # fmt: skip
        elif match and match[2] == "commit":
            lines = [json.loads(line) for line in body.decode().splitlines()]
            files = {line["value"]["path"]: base64.b64decode(line["value"]["content"]).decode()
                     for line in lines if line["key"] == "file"}  # fmt: skip
            request = "create_pr=1" in parts.query
            self.world.commits.append({"repo": match[1], "files": files, "pull_request": request})
            found = {"success": True, "commitOid": "b" * 40,
                     "commitUrl": f"{self.world.url}/{match[1]}/commit/{'b' * 40}"}  # fmt: skip
            if request:
                found["pullRequestUrl"] = f"{self.world.url}/{match[1]}/discussions/1"
            self.answer(found)
        else:
            self.fail(404, "", "not found")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, world: World, page: int = 1000) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.world = world
        self.page = page
        world.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._lists: dict[Any, list[dict[str, Any]]] = {}

    def listed(self, author: list[str] | None, tags: tuple[str, ...]) -> list[dict[str, Any]]:
        key = (tuple(author or ()), tags, len(self.world.models))
        if key not in self._lists:
            rows = [
                {name: held for name, held in row.items() if name != "siblings"}
                for row in self.world.models.values()
                if (not author or row["id"].startswith(f"{author[0]}/"))
                and all(tag in row["tags"] for tag in tags)
            ]
            self._lists[key] = sorted(rows, key=lambda row: row["lastModified"], reverse=True)
        return self._lists[key]


@contextmanager
def serving(world: World, page: int = 1000) -> Iterator[World]:
    server = Server(world, page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def weights(*contents: str, suffix: str = "safetensors") -> list[dict[str, Any]]:
    """Siblings: a card, and a weight file of each content, as LFS pointers."""
    found: list[dict[str, Any]] = [{"rfilename": "README.md", "size": 10, "blobId": "c" * 40}]
    for at, content in enumerate(contents, 1):
        name = "model" if len(contents) == 1 else f"model-{at:05}-of-{len(contents):05}"
        digest = hashlib.sha256(content.encode()).hexdigest()
        found.append({"rfilename": f"{name}.{suffix}", "size": 1000, "blobId": "d" * 40,
                      "lfs": {"sha256": digest, "size": 1000, "pointerSize": 134}})  # fmt: skip
    return found


def hub_like(count: int, seed: int = 7) -> World:
    """A Hub of the published shape: 72 % say nothing of a parent; of the rest 42.6 % are adapters,
    35.9 % fine-tunes, 19.2 % quantized, 2.3 % merges (2,161,698 models in October 2025)."""
    world, random_ = World(), random.Random(seed)
    for row in rows(count, random_):
        world.models[row["id"]] = row
    return world


def rows(count: int, random_: random.Random) -> Iterator[dict[str, Any]]:
    kinds, weights_ = ("adapter", "finetune", "quantized", "merge"), (42.6, 35.9, 19.2, 2.3)
    for at in range(count):
        repo = f"user-{at % 9973}/model-{at}-{random_.choice(('7b', 'lora', 'base', 'gguf'))}"
        tags = ["transformers", "safetensors", "license:apache-2.0", "region:us"]
        card: dict[str, Any] = {"license": "apache-2.0", "library_name": "transformers"}
        if at and random_.random() < 0.2809:
            kind = random_.choices(kinds, weights_)[0]
            bases = {f"user-{(b := int(at * random_.random() ** 3)) % 9973}/model-{b}-7b"
                     for _ in range(2 if kind == "merge" else 1)}  # fmt: skip
            tags += [tag for b in sorted(bases)
                     for tag in (f"base_model:{b}", f"base_model:{kind}:{b}")]  # fmt: skip
            card["base_model"] = sorted(bases)
        changed = f"2025-12-{at % 28 + 1:02}" if at % 10 < 4 else None
        day = f"{2022 + at * 4 // max(count, 1)}-{at % 12 + 1:02}-{at % 28 + 1:02}"
        row = {
            "_id": f"{at:024x}", "id": repo, "modelId": repo,
            "sha": f"{random_.getrandbits(160):040x}",
            "createdAt": f"{day}T0{at % 10}:00:00.000Z",
            "lastModified": f"{changed or day}T1{at % 10}:00:00.000Z",
            "downloads": int(random_.paretovariate(0.6)) - 1, "likes": 0, "tags": tags,
            "cardData": card, "gated": False, "library_name": "transformers",
        }  # fmt: skip
        if random_.random() < 0.234:
            row["safetensors"] = {"parameters": {"BF16": 7_000_000_000}, "total": 7_000_000_000}
        yield row


if __name__ == "__main__":
    with serving(hub_like(int(sys.argv[1]))) as here:
        print(here.url, flush=True)
        sys.stdin.read()
