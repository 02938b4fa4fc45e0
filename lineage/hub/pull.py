"""Models of the Hub into the registry: one with its relatives, or a list of any length. Written in
batches, each with how far it has come, so that a pull that was cut off goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lineage.errors import InvalidValue, LineageError
from lineage.hub.client import Hub, HubUnavailable, NoAccess
from lineage.hub.rows import VOLATILE, Read, is_repo, named_parents, read, time_of
from lineage.organism import utc
from lineage.registering import Registered, register
from lineage.store import Act, Store, micros

BATCH = 5000
"""Models written in one transaction."""
PAGE = 1000
"""Models a page: the most that the Hub gives."""
KEPT = 100
"""How many of the things set aside are kept in a report and in the history."""
EXPAND = (
    "cardData", "createdAt", "downloads", "evalResults", "gated", "gguf", "lastModified",
    "library_name", "safetensors", "sha", "tags",
)  # fmt: skip
"""What a list is asked for. Lists refuse `baseModels`: parents come from tags and cards."""
LAST = "last"

Progress = Callable[[int], object]


@dataclass(slots=True)
class Pulled:
    """What a pull did: models seen; organisms new, that gained something, and known in full; how
    much was set aside, and the first of it as (repository, reason); repositories that are named and
    that the Hub does not show, which stay ghosts; old names and new ones of renamed repositories.
    """

    seen: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    set_aside: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    resumed: bool = False

    def aside(self, repo: str, reason: str) -> None:
        self.set_aside += 1
        if len(self.first) < KEPT:
            self.first.append((repo, reason))


def pull_models(
    store: Store,
    repos: Sequence[str],
    *,
    ancestors: bool = False,
    descendants: bool = False,
    depth: int | None = None,
    endpoint: str | None = None,
    progress: Progress | None = None,
) -> Pulled:
    """Bring models in, each `org/name` or `org/name@revision`, with the digests of their weights;
    with their ancestors and descendants, at most `depth` links away. One request a model, and one
    for the children of each. Raises NoAccess where the Hub does not show one that was asked for,
    once the others are in, and HubUnavailable."""
    asked = [_asked(one) for one in repos]
    pull = _Pull(store, Hub(endpoint), progress)
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    for one in asked:
        try:
            rows.append(pull.fetch(*one))
        except NoAccess as error:
            refused.append(str(error))
    if refused and not rows:
        raise NoAccess(" ".join(refused))
    if ancestors:
        pull.write_rows(reversed(list(pull.ancestors(rows, depth))))
    pull.write_rows(rows)
    if descendants:
        pull.descendants([row["id"] for row in rows], depth)
    pull.close({"models": list(repos)})
    if refused:
        raise NoAccess(" ".join([*refused, "What else was asked for is in."]))
    return pull.report


def pull_list(
    store: Store,
    *,
    author: str | None = None,
    filters: Sequence[str] = (),
    since: datetime | str | None = None,
    digests: bool = False,
    endpoint: str | None = None,
    progress: Progress | None = None,
) -> Pulled:
    """Bring in all models of a list of the Hub, those changed last first: of an `author`, with all
    `filters` (tags, like `base_model:org/name`), or all there are. `since`: only those changed
    since then, or since the `last` whole pull of this list. `digests` costs a request a model.

    A pull that was cut off goes on from its last batch. Raises HubUnavailable, and InvalidValue
    where there was no last pull."""
    pull = _Pull(store, Hub(endpoint), progress)
    asked = _known(author=author, filter=list(filters))
    source = f"{pull.hub.endpoint}/api/models {json.dumps(asked, sort_keys=True)}"
    crawl = _Crawl(store, source, since)
    params = asked | {"limit": str(PAGE), "sort": "lastModified", "direction": "-1",
                      "expand": list(EXPAND)}  # fmt: skip
    pull.report.resumed = crawl.cursor is not None
    held: list[Read] = []
    for page, following in pull.pages(params, crawl):
        wanted = list(crawl.wanted(page))
        finished = following is None or len(wanted) < len(page)
        held += pull.reads(pull.with_digests(wanted) if digests else wanted)
        if finished or digests or len(held) >= BATCH:  # a page with digests is PAGE requests
            pull.write(held, crawl, None if finished else following)
            held = []
        if finished:
            break
    pull.close({"list": asked, "since": crawl.asked})
    return pull.report


def _asked(ref: str) -> tuple[str, str | None]:
    repo, _, revision = ref.removeprefix("hf:").partition("@")
    if not is_repo(repo):
        raise InvalidValue(f"{ref!r} is no model of the Hub. Write org/name, or org/name@revision.")
    return repo, revision or None


def _known(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


class _Pull:
    """A pull that is under way."""

    def __init__(self, store: Store, hub: Hub, progress: Progress | None) -> None:
        self.store = store
        self.hub = hub
        self.progress = progress
        self.report = Pulled()

    # asking

    def fetch(self, repo: str, revision: str | None = None) -> dict[str, Any]:
        """One model; if it is called otherwise now, that is noted."""
        row = self.hub.model(repo, revision)
        now = row.get("id")
        if isinstance(now, str) and now != repo and is_repo(now):
            self.report.renamed[repo] = now
        return row

    def ancestors(
        self, rows: Sequence[Mapping[str, Any]], depth: int | None
    ) -> Iterator[dict[str, Any]]:
        """The models that these descend from, nearest first. What is not shown stays a ghost."""
        seen = {str(row["id"]) for row in rows}
        level: Sequence[Mapping[str, Any]] = rows
        while level and depth != 0:
            above = []
            for repo in _bases(level):
                if repo in seen or not is_repo(repo):
                    continue
                seen.add(repo)
                try:
                    row = self.fetch(repo)
                except NoAccess as error:
                    self.report.missing[repo] = _why(error, repo)
                    continue
                if row["id"] == repo or row["id"] not in seen:
                    seen.add(row["id"])
                    above.append(row)
            yield from above
            level = above
            depth = None if depth is None else depth - 1

    def descendants(self, repos: Sequence[str], depth: int | None) -> None:
        """Write the models that descend from these, level by level, as lists tell of them."""
        seen, level = set(repos), list(repos)
        while level and depth != 0:
            below: list[str] = []
            for repo in level:
                params = {"filter": f"base_model:{repo}", "limit": str(PAGE),
                          "expand": list(EXPAND)}  # fmt: skip
                for page, _ in self.hub.pages(params):
                    new = [row for row in page if row.get("id") not in seen]
                    seen.update(str(row.get("id")) for row in new)
                    below += [str(row["id"]) for row in new if is_repo(row.get("id"))]
                    self.write_rows(new)
            level = below
            depth = None if depth is None else depth - 1

    def pages(
        self, params: Mapping[str, Any], crawl: _Crawl
    ) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
        """The pages of a crawl. A cursor that the Hub does not know any more starts it anew."""
        if crawl.cursor is not None:
            pages = self.hub.pages(params, crawl.cursor)
            try:
                first = next(pages)
            except HubUnavailable as error:
                if error.status != 400:
                    raise
                crawl.begin()
                self.report.resumed = False
            else:
                yield first
                yield from pages
                return
        yield from self.hub.pages(params)

    def with_digests(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Each model of a list with the LFS pointers of its files."""
        for row in rows:
            try:
                known = self.hub.model(str(row.get("id")), row.get("sha"))
                yield {**row, "siblings": known.get("siblings")}
            except NoAccess as error:
                self.report.aside(str(row.get("id")), _why(error, str(row.get("id"))))
                yield row
            self.tell()

    # writing

    def reads(self, rows: Iterable[Mapping[str, Any]]) -> list[Read]:
        found = list(read_all(rows, self.report))
        self.tell()
        return found

    def write_rows(self, rows: Iterable[Mapping[str, Any]]) -> None:
        reads = self.reads(rows)
        for start in range(0, len(reads), BATCH):
            self.write(reads[start : start + BATCH])

    def write(
        self, reads: Sequence[Read], crawl: _Crawl | None = None, following: str | None = None
    ) -> None:
        """Register a batch and note how far the crawl has come, in one transaction."""
        also = None if crawl is None else lambda act: crawl.note(act, following)
        write(self.store, self.report, reads, also)

    def tell(self) -> None:
        if self.progress is not None:
            self.progress(self.report.seen)

    def close(self, what: Mapping[str, Any]) -> None:
        """Note the pull in the history."""
        note(self.store, self.report, {key: value for key, value in what.items() if value})


def _why(error: NoAccess, repo: str) -> str:
    """Why a repository is not shown, without its name."""
    return str(error).removeprefix(f"{repo}: ")


def read_all(rows: Iterable[Mapping[str, Any]], report: Pulled) -> Iterator[Read]:
    """Rows as registrations, counted in `report`; a row that cannot be read is set aside there."""
    for row in rows:
        report.seen += 1
        try:
            yield read(row, report.renamed)
        except (LineageError, TypeError, AttributeError, ValueError, OverflowError) as error:
            report.aside(str(row.get("id") if isinstance(row, Mapping) else row)[:200], str(error))


def _bases(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for row in rows:
        card = row.get("cardData")
        named, _ = named_parents(row, card if isinstance(card, dict) else {}, row.get("tags") or ())
        yield from named


def note(store: Store, report: Pulled, what: Mapping[str, Any]) -> None:
    """Note in the history what was pulled, with its numbers, and what was set aside of it."""
    with store.act() as act:
        counts = {key: getattr(report, key) for key in ("seen", "created", "updated", "set_aside")}
        reasons = [f"{repo}: {reason}" for repo, reason in report.first]
        act.event(None, "pulled", {**what, **counts, "reasons": reasons, "missing": report.missing})


def write(
    store: Store,
    report: Pulled,
    reads: Sequence[Read],
    also: Callable[[Act], object] | None = None,
) -> None:
    """Register models in one transaction, in which `also` writes too, and count what came of it."""
    errors: dict[int, LineageError] = {}
    with store.act() as act:
        done = register(act, [one.new for one in reads], errors.__setitem__)
        _bring_up_to_date(act, reads, done)
        refused = {
            at: " ".join(str(act.cycle(link)) for link in one.refused)
            for at, one in enumerate(done)
            if one is not None and one.refused
        }
        if also is not None:
            also(act)
    for at, (one, became) in enumerate(zip(reads, done, strict=True)):
        if became is None:
            report.aside(one.repo, str(errors[at]))
        elif became.created or (became.told and became.changed):  # it may have been a ghost
            report.created += 1
        elif became.changed:
            report.updated += 1
        else:
            report.unchanged += 1
        for reason in one.set_aside:
            report.aside(one.repo, reason)
        if at in refused:
            report.aside(one.repo, refused[at])


def _bring_up_to_date(act: Act, reads: Sequence[Read], done: Sequence[Registered | None]) -> None:
    """Let tags that tell of the Hub today say what it says now; elsewhere a tag keeps its value."""
    wanted = {
        (became.id, key): value
        for one, became in zip(reads, done, strict=True)
        if became is not None and not became.created
        for key, value in one.new.tags.items()
        if key in VOLATILE
    }
    if not wanted:
        return
    known = {
        (own, key): value
        for own, key, value in act.connection.rows(
            f"""SELECT t.organism, t.key, t.value FROM {act.connection.ids} AS i
                JOIN tag t ON t.organism = i.id""",
            (act.connection.pack({own for own, _ in wanted}),),
        )
    }
    changed = {key: value for key, value in wanted.items() if known.get(key) != value}
    act.connection.many(
        "UPDATE tag SET value = ? WHERE organism = ? AND key = ?",
        [(value, *key) for key, value in changed.items()],
    )
    gained: dict[int, dict[str, str]] = {}
    for (own, key), value in changed.items():
        gained.setdefault(own, {})[key] = value
    act.events((own, "tagged", {"tags": tags}) for own, tags in gained.items())
    for became in done:
        if became is not None and became.id in gained:
            became.changed = True


class _Crawl:
    """How far the pull of a list has come, as the table `crawl` keeps it. `until` is the time, in
    microseconds since 1970, at which a list that runs back in time has gone far enough."""

    def __init__(self, store: Store, source: str, since: datetime | str | None) -> None:
        self.source = source
        with store.database.read() as connection:
            found = connection.row(
                "SELECT cursor, watermark FROM crawl WHERE source = ?", (source,)
            )
        cursor: str | None
        self.watermark: int | None
        cursor, self.watermark = found or (None, None)
        self.asked = since if since is None or since == LAST else utc(since).isoformat()
        held = json.loads(cursor) if cursor else {}
        resumes = held.get("since") == self.asked
        self.cursor: str | None = held.get("next") if resumes else None
        self.until: int | None = None
        self.newest: int | None = None
        if self.cursor is not None:
            self.until, self.newest = held["until"], held["newest"]
        elif since == LAST:
            if self.watermark is None:
                raise InvalidValue("--since last: no pull of this list has come to its end yet.")
            self.until = self.watermark
        elif since is not None:
            self.until = micros(utc(since))

    def begin(self) -> None:
        """Start anew."""
        self.cursor = self.newest = None

    def wanted(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The models of a page, up to the first that has not changed since."""
        for row in rows:
            at = None
            if isinstance(row, dict) and (self.newest is None or self.until is not None):
                at = time_of(row.get("lastModified"))
            if at is not None:
                self.newest = at if self.newest is None else self.newest
                if self.until is not None and at < self.until:
                    return
            yield row

    def note(self, act: Act, following: str | None) -> None:
        """Remember where to go on; None at the end, where the watermark moves."""
        cursor = None
        if following is None:
            self.watermark = max(filter(None, (self.watermark, self.newest)), default=None)
        else:
            cursor = json.dumps({"next": following, "since": self.asked, "until": self.until,
                                 "newest": self.newest})  # fmt: skip
        act.connection.execute(
            """INSERT INTO crawl (source, cursor, watermark, at) VALUES (?, ?, ?, ?)
               ON CONFLICT (source) DO UPDATE SET cursor = excluded.cursor,
                 watermark = excluded.watermark, at = excluded.at""",
            (self.source, cursor, self.watermark, act.at),
        )
