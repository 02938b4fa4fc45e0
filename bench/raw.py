"""The baseline of every write: a program of sqlite3 calls, written by hand for this schema, that
leaves the very rows that lineage leaves. It keeps ids, ranks and niches in memory and looks nothing
up, so it is what writing costs at least."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sqlite3
import time
import uuid
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lineage import chain
from lineage.costs import NO_METER
from lineage.database import creation
from lineage.links import Rank, rank_below
from lineage.standings import SOURCES, UNCOSTED

PRAGMAS = (
    "foreign_keys=ON",
    "cache_size=-65536",
    "mmap_size=1073741824",
    "temp_store=MEMORY",
)
"""Those of lineage.database, so that both sides run alike."""

TABLES = {
    "organism": (
        "id", "digest", "generation", "jump", "parameters", "bytes", "precision", "registered",
    ),
    "name": ("name", "version", "organism", "rank"),
    "edge": ("child", "parent", "relation", "weight", "needed"),
    "evidence": ("child", "parent", "relation", "evidence", "confidence", "weight"),
    "fitness": ("organism", "niche", "value", "at", "current"),
    "standing": (
        "niche", "value", "organism", "per", "also", "joules", "source", "meter", "state", "here",
    ),
    "power": ("organism", "phase", "per", "joules", "source", "uuid", "at", "current"),
    "event": ("organism", "kind", "at", "actor", "body", "chain"),
}  # fmt: skip
INSERTS = {
    table: f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    for table, columns in TABLES.items()
}


@dataclass(frozen=True, slots=True)
class Scored:
    """A score: task, metric, value, and the direction that the metric is known to have."""

    task: str
    metric: str
    value: float
    direction: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One organism to be written, as plain values. `parents` are (id, name) of organisms written
    before; `power` is (phase, per, joules, source)."""

    id: int
    name: str
    digest: bytes
    parents: tuple[tuple[int, str], ...]
    relation: str
    scores: tuple[Scored, ...]
    power: tuple[str, str, float, str]
    parameters: int | None = None
    bytes: int | None = None
    precision: str | None = None

    def arguments(self) -> dict[str, Any]:
        """The same as keyword arguments of `Registry.register`."""
        from lineage import PowerCost

        phase, per, joules, source = self.power
        return {
            "name": self.name,
            "digest": self.digest.hex(),
            "parents": [name for _, name in self.parents],
            "relation": self.relation,
            "fitness": {f"{one.task}/{one.metric}": one.value for one in self.scores},
            "power": PowerCost(joules=joules, phase=phase, per=per, source=source),
            "parameters": self.parameters,
            "bytes": self.bytes,
            "precision": self.precision,
        }


def connect(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    """A bare connection with the pragmas that lineage sets."""
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in (*PRAGMAS, f"synchronous={synchronous}"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def create(path: Path, synchronous: str = "FULL") -> sqlite3.Connection:
    """A new registry, made by lineage's own creation statements."""
    connection = connect(path, synchronous)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN")
    for statement in creation("sqlite"):
        connection.execute(statement)
    connection.execute("COMMIT")
    return connection


class Ranks:
    """(generation, jump) by id from 1 on, 16 bytes each, so that many millions fit into memory."""

    def __init__(self) -> None:
        self._generations, self._jumps = array("q", [0]), array("q", [-1])

    def append(self, rank: Rank) -> None:
        generation, jump = rank
        self._generations.append(generation)
        self._jumps.append(-1 if jump is None else jump)

    def __getitem__(self, own: int) -> Rank:
        jump = self._jumps[own]
        return self._generations[own], None if jump < 0 else jump

    def __len__(self) -> int:
        return len(self._generations)


class Writer:
    """Writes entries through a bare connection. `ranks` holds (generation, jump) by id: Ranks, or
    a dict. Without `events` no history is written, which no question about descent reads."""

    def __init__(self, connection: sqlite3.Connection, ranks: Any, events: bool = True) -> None:
        self.connection = connection
        self.ranks = ranks
        self.events = events
        self.niches: dict[tuple[str, str], int] = {
            (task, metric): own
            for own, task, metric in connection.execute("SELECT id, task, metric FROM niche")
        }
        self.who = (getpass.getuser(), socket.gethostname(), os.getpid(), "bench")
        self.actor = connection.execute(
            'INSERT INTO actor ("user", host, pid, command) VALUES (?, ?, ?, ?) RETURNING id',
            self.who,
        ).fetchone()[0]
        self.head = chain.START
        self.served: dict[int, float] = {}

    def niche(self, one: Scored) -> int:
        own = self.niches.get((one.task, one.metric))
        if own is None:
            own = self.connection.execute(
                "INSERT INTO niche (task, metric, direction) VALUES (?, ?, ?) RETURNING id",
                (one.task, one.metric, one.direction),
            ).fetchone()[0]
            self.niches[one.task, one.metric] = own
        return own

    def register(self, one: Entry) -> None:
        """One durable registration: seven tables, one transaction."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        for table, row in self.rows(one):
            connection.execute(INSERTS[table], row)
        connection.execute("COMMIT")

    def register_many(self, entries: Iterable[Entry]) -> None:
        """A batch in one transaction."""
        self.write(self.sorted_rows(entries))

    def sorted_rows(self, entries: Iterable[Entry]) -> dict[str, list[tuple[Any, ...]]]:
        batch: dict[str, list[tuple[Any, ...]]] = {table: [] for table in TABLES}
        for one in entries:
            for table, row in self.rows(one):
                batch[table].append(row)
        return batch

    def write(self, batch: dict[str, list[tuple[Any, ...]]]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        for table, rows in batch.items():
            self.connection.executemany(INSERTS[table], rows)
        self.connection.execute("COMMIT")

    def rows(self, one: Entry) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """The rows of an entry, (table, row) each."""
        at = time.time_ns() // 1000
        own, relation = one.id, one.relation
        rank = rank_below([parent for parent, _ in one.parents], own, self.ranks)
        self.know(own, rank)
        yield "organism", (
            own, one.digest, *rank, one.parameters, one.bytes, one.precision, at,
        )  # fmt: skip
        yield "name", (one.name, 1, own, 0)
        for parent, _ in one.parents:
            yield "edge", (own, parent, relation, None, int(relation == "adapter"))
            yield "evidence", (own, parent, relation, "declared", None, None)
        phase, per, joules, source = one.power
        served: tuple[Any, ...] = (UNCOSTED, 0, None, None, None)
        if phase == "serving":
            needed = one.parents if relation == "adapter" else ()
            total = joules + sum(self.served[parent] for parent, _ in needed)
            self.served[own] = total
            served = (0, 0, total, SOURCES.index(source), NO_METER)
        for score in one.scores:
            niche = self.niche(score)
            yield "fitness", (own, niche, score.value, at, 1)
            yield "standing", (niche, score.value, own, *served, 0, 0)
        key = uuid.uuid4() if per == "total" else None
        yield "power", (own, phase, per, joules, source, key.bytes if key else None, at, 1)
        if not self.events:
            return
        told = body(one, key)
        event = chain.canonical(own, at, self.who, "registered", told.encode())
        self.head = chain.link(self.head, event)
        yield "event", (own, "registered", at, self.actor, told, self.head)

    def know(self, own: int, rank: Rank) -> None:
        if isinstance(self.ranks, Ranks):
            self.ranks.append(rank)
        else:
            self.ranks[own] = rank


def body(one: Entry, key: uuid.UUID | None) -> str:
    """What the event of a registration tells, as lineage writes it."""
    phase, per, joules, source = one.power
    told: dict[str, Any] = {"name": one.name, "digest": one.digest.hex()}
    if one.parents:
        told["parents"] = [
            {"ref": name, "relation": one.relation, "evidence": "declared"}
            for _, name in one.parents
        ]
    told["fitness"] = [
        {"task": s.task, "metric": s.metric, "value": s.value, "direction": s.direction}
        for s in one.scores
    ]
    power = {"phase": phase, "per": per, "joules": joules, "source": source}
    told["power"] = [power | ({"uuid": str(key)} if key else {})]
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def contents(connection: Any, leave_out: Sequence[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the tables that a registration writes, in order, for comparison."""
    kept = {table: [one for one in all if one not in leave_out] for table, all in TABLES.items()}
    return {
        table: connection.execute(
            f"SELECT {', '.join(names)} FROM {table} ORDER BY 1, 2"
        ).fetchall()
        for table, names in kept.items()
    }
