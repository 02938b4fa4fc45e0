"""What the exchange formats write: every organism of a registry with what is known of it, parents
before their children, in batches, so that memory does not grow with the registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lineage import ledger
from lineage.database import Connection
from lineage.organism import Link, Organism, PowerCost, Score

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """An organism, the links to its parents, the scores that count, its power costs, and places."""

    organism: Organism
    parents: tuple[Link, ...]
    scores: tuple[Score, ...]
    power: tuple[PowerCost, ...]
    places: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def status(self) -> str:
        """The vital status; `ghost` of one that is not registered."""
        return "ghost" if self.organism.ghost else self.organism.status


def entries(connection: Connection) -> Iterator[Entry]:
    """All organisms by generation, then in the order of registration; seven statements a batch."""
    ids = "SELECT id FROM organism WHERE same_as IS NULL ORDER BY generation, id"
    for rows in connection.stream(ids, size=BATCH):
        yield from _batch(connection, [row[0] for row in rows])


def _batch(connection: Connection, ids: list[int]) -> Iterator[Entry]:
    parents: dict[int, list[Link]] = {}
    for link in ledger.links(connection, ids):
        parents.setdefault(link.child.id, []).append(link)
    scores = ledger.scores(connection, ids)
    power = ledger.power(connection, ids)
    places: dict[int, list[str]] = {}
    tags: dict[int, dict[str, str]] = {}
    packed = connection.pack(ids)
    for own, uri in connection.rows(
        f"""SELECT p.organism, p.uri FROM {connection.ids} AS i JOIN place p ON p.organism = i.id
            WHERE p.gone_at IS NULL ORDER BY p.id""",
        (packed,),
    ):
        places.setdefault(own, []).append(uri)
    for own, key, value in connection.rows(
        f"""SELECT t.organism, t.key, t.value FROM {connection.ids} AS i
            JOIN tag t ON t.organism = i.id ORDER BY t.key""",
        (packed,),
    ):
        tags.setdefault(own, {})[key] = value
    for one in ledger.organisms(connection, ids):
        yield Entry(
            one,
            tuple(parents.get(one.id, ())),
            tuple(scores.get(one.id, ())),
            tuple(power.get(one.id, ())),
            tuple(places.get(one.id, ())),
            tags.get(one.id, {}),
        )


def training_joules(entry: Entry) -> float | None:
    """The joules of all training intervals, None where none is known."""
    known = [c.joules for c in entry.power
             if c.phase == "training" and c.per == "total" and c.joules is not None]  # fmt: skip
    return sum(known) if known else None


def version_of(known: Mapping[str, str]) -> int | None:
    """The `version` that a file of text tells of an organism, where it is one of ours."""
    version = known.get("version", "")
    return int(version) if version.isdecimal() and len(version) < 10 else None


def compact(value: object) -> str:
    """JSON on one line, in which no character steers a terminal or breaks a line."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if written.isprintable():
        return written
    return re.sub(r"[^\x20-\x7e]", lambda found: json.dumps(found[0])[1:-1], written)


def listed(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of JSON with commas between."""
    for at, piece in enumerate(pieces):
        yield f",\n{piece}" if at else piece
