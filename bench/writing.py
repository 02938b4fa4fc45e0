"""What a registration costs, one at a time and many at once, against sqlite3 calls by hand."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import lineage
from bench import raw
from bench.raw import Entry, Scored
from bench.timing import Figure, Sides, against, figure, in_turn, seconds
from bench.timing import raw as raw_of
from lineage import chain
from lineage.database import Connection


def step(own: int, parents: tuple[tuple[int, str], ...], seed: str = "step") -> Entry:
    """A checkpoint as a training script registers it: a parent, two scores, a power cost."""
    return Entry(
        id=own,
        name=f"runs/sft/{seed}/checkpoint-{own:06}",
        digest=hashlib.sha256(f"{seed}/{own}".encode()).digest(),
        parents=parents,
        relation="finetune",
        scores=(
            Scored("gsm8k", "acc", 0.5 + own % 100 / 1000, "higher"),
            Scored("mmlu", "acc", 0.4 + own % 100 / 1000, "higher"),
        ),
        power=("training", "total", 3.1e6 + own, "measured"),
    )


def one(folder: Path, rounds: int) -> Figure:
    """A durable registration of a child of one base, through an Organism in hand."""
    connection = raw.create(folder / "by-hand.db")
    writer = raw.Writer(connection, {})
    entries = [step(1, ())]
    entries += [step(own, ((1, entries[0].name),)) for own in range(2, rounds + 3)]
    with lineage.open(folder / "lineage.db", command="bench") as registry:
        base = registry.register(**entries[0].arguments())
        writer.register(entries[0])
        given = [entry.arguments() | {"parents": base} for entry in entries]
        statements = count_statements(registry, given[-1])
        sides = in_turn(
            rounds,
            lambda n: registry.register(**given[n + 1]),
            lambda n: writer.register(entries[n + 1]),
        )
    connection.close()
    return Figure(
        "one durable registration with a parent, two scores and a power cost, against hand-written "
        "sqlite3 that writes the same rows (WAL, synchronous=FULL)",
        "≤ 1.5x its time",
        f"{figure(sides.ratio)}x ({against(sides, theirs='by hand')})",
        sides.ratio <= 1.5,
        raw_of(sides) | {"statements": statements},
        f"{rounds} rounds in turn; in fifths of the rounds {sides.spread}x. {statements} SQL "
        "statements, 11 by hand (ids and ranks known, nothing looked up).",
    )


def count_statements(registry: lineage.Registry, arguments: dict[str, object]) -> int:
    """The SQL statements of one registration; those of triggers, which SQLite reports as comments,
    aside."""
    seen: list[str] = []
    connection = registry.database.connection.raw
    connection.set_trace_callback(seen.append)
    registry.register(**arguments)
    connection.set_trace_callback(None)
    return sum(not sql.startswith("--") for sql in dict.fromkeys(seen))


def chained(folder: Path, rounds: int) -> Figure:
    """The same durable registration with the event chain, and with events that hold none."""
    with (
        lineage.open(folder / "chained.db", command="bench") as ours,
        lineage.open(folder / "unchained.db", command="bench") as bare,
    ):
        entries = [step(own, ()) for own in range(1, rounds + 3)]
        bases = {registry: registry.register(**entries[0].arguments()) for registry in (ours, bare)}

        def registered(registry: lineage.Registry, number: int) -> None:
            given = entries[number + 1].arguments() | {"parents": bases[registry]}
            registry.register(**given)

        def unchained(number: int) -> None:
            appended = chain.append
            chain.append = _append_unchained  # mock.patch would take longer than the chain
            try:
                registered(bare, number)
            finally:
                chain.append = appended

        sides = in_turn(rounds, lambda n: registered(ours, n), unchained)
    return Figure(
        "event chain: cost of one registration",
        "≤ 1.1x of without",
        f"{figure(sides.ratio)}x ({against(sides, 'with', 'without')})",
        sides.ratio <= 1.1,
        raw_of(sides),
        f"{rounds} rounds in turn, WAL, synchronous=FULL; in fifths of the rounds {sides.spread}x. "
        "The chain reads the last event and hashes the new one.",
    )


def _append_unchained(connection: Connection, events: Iterable[tuple[Any, ...]]) -> None:
    connection.many(
        chain.INSERT,
        [(organism, kind, at, actor, body, b"") for organism, kind, at, actor, _, body in events],
    )


def growth(small: Path, large: Path, sizes: tuple[int, int], rounds: int) -> Figure:
    """The same registration in a small and a large registry, below parents all over it."""
    chance = random.Random(3)
    with lineage.open(large, command="bench") as ours, lineage.open(small, command="bench") as less:
        registries = (ours, less)
        acts = []
        for registry, size in zip(registries, sizes[::-1], strict=True):
            given = []
            for number in range(rounds + 1):
                parent = registry.get(f"#{chance.randint(1, size)}")
                arguments = step(number, (), f"growth-{size}").arguments()
                given.append(arguments | {"parents": parent})
            acts.append(lambda n, r=registry, g=given: r.register(**g[n]))
        sides = in_turn(rounds, *acts)
    few, many = (f"{size:,}" for size in sizes)
    return Figure(
        f"the same registration among {many} organisms, against among {few}",
        "≤ 1.5x",
        f"{figure(sides.ratio)}x ({against(sides, many, few)})",
        sides.ratio <= 1.5,
        raw_of(sides),
        f"{rounds} rounds in turn, parents drawn from the whole registry; in fifths "
        f"{sides.spread}x.",
    )


def bulk(folder: Path, count: int, rounds: int, batch: int = 5000) -> Figure:
    """register_many against executemany, from the same entries, in batches of the same size."""
    sides, ready_made = Sides([], []), []
    for number in range(rounds):
        entries = list(_batch_of(count, number))
        mappings = [entry.arguments() for entry in entries]
        turns = [
            lambda e=entries, n=number: _by_hand(folder / f"hand-{n}.db", e, batch, ready_made),
            lambda m=mappings, n=number: _register_many(folder / f"many-{n}.db", m, batch),
        ]
        taken = dict.fromkeys((0, 1), 0.0)
        for which in (0, 1) if number % 2 else (1, 0):
            taken[which] = turns[which]()
        sides.theirs.append(taken[0])
        sides.ours.append(taken[1])
    ratio = median(sides.theirs) / median(sides.ours)
    ready = median(ready_made)
    return Figure(
        "register_many against the raw driver writing the same rows (executemany)",
        "≥ 0.5x its rows a second",
        f"{figure(ratio)}x ({figure(count / median(sides.ours))} organisms/s, by hand "
        f"{figure(count / median(sides.theirs))})",
        ratio >= 0.5,
        raw_of(sides) | {"organisms": count, "batch": batch, "ready_made_median_s": ready},
        f"{rounds} rounds in turn of {count:,} organisms into a new registry, {batch:,} a "
        f"transaction; in fifths {sides.turned().spread}x. By hand is from the same plain values; "
        f"with every row ready-made it takes {seconds(ready)}, to {seconds(median(sides.ours))} "
        "of register_many.",
    )


def _batch_of(count: int, seed: int) -> Iterator[Entry]:
    first = step(1, (), f"bulk-{seed}")
    yield first
    for own in range(2, count + 1):
        yield step(own, ((1, first.name),), f"bulk-{seed}")


def _by_hand(path: Path, entries: list[Entry], batch: int, ready_made: list[float]) -> float:
    """Seconds to write the entries, and the part of it that SQLite takes."""
    connection = raw.create(path)
    writer = raw.Writer(connection, {})
    begin = time.perf_counter()
    inside = 0.0
    for start in range(0, len(entries), batch):
        rows = writer.sorted_rows(entries[start : start + batch])
        ready = time.perf_counter()
        writer.write(rows)
        inside += time.perf_counter() - ready
    taken = time.perf_counter() - begin
    ready_made.append(inside)
    connection.close()
    path.unlink()
    return taken


def _register_many(path: Path, mappings: list[dict[str, object]], batch: int) -> float:
    with lineage.open(path, command="bench") as registry:
        begin = time.perf_counter()
        done = registry.register_many(mappings, batch)
        taken = time.perf_counter() - begin
        assert done.created == len(mappings)
    path.unlink()
    return taken
