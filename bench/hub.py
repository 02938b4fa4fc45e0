"""The Hub: a list of models pulled from a server on this machine, a dump of all of them read, and
what an organism takes then. Shapes and shares are those of tests/hub_server.py."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import lineage
from bench import ROOT, raw, space
from bench.timing import Figure, against, figure, in_a_process, in_turn, seconds
from bench.timing import raw as raw_of

SERVER = ROOT / "tests" / "hub_server.py"
TABLES = ("organism", "name", "place", "niche", "edge", "evidence", "fitness", "power", "tag",
          "actor", "event")  # fmt: skip
BATCH = 5000


@contextmanager
def serving(models: int) -> Iterator[str]:
    """A Hub of so many models in a process of its own; its URL."""
    server = subprocess.Popen(
        [sys.executable, str(SERVER), str(models)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin
    assert server.stdout
    try:
        yield server.stdout.readline().strip()
    finally:
        server.stdin.close()
        server.wait()


def pull(folder: Path, models: int, rounds: int) -> Figure:
    """A pull of a whole list against list_models of the same client, and register_many of what a
    short program makes of its models."""
    numbers = count()

    def ours(_: int) -> None:
        with lineage.open(folder / f"pulled-{next(numbers)}.db", command="bench") as registry:
            done = registry.hub_pull_list(endpoint=url)
        assert done.created == models, done

    def theirs(_: int) -> None:
        with lineage.open(folder / f"bare-{next(numbers)}.db", command="bench") as registry:
            done = registry.register_many(_bare(url))
        assert done.created + done.updated == models, done  # some were ghosts before

    with serving(models) as url:
        sides = in_turn(rounds, ours, theirs)
    return Figure(
        f"pull of {models:,} models from a server on this machine, against a bare paging loop with "
        "the same client and register_many of the rows",
        "≤ 1.3x its time",
        f"{figure(sides.ratio)}x ({against(sides)})",
        sides.ratio <= 1.3,
        raw_of(sides),
        f"{figure(models / (sum(sides.ours) / len(sides.ours)))} models a second; ratio in fifths "
        f"{sides.spread}. The bare loop takes name, place, parents and relation from tags, "
        "licence, parameters, created and downloads, and checks nothing. The server's time is in "
        "both; lineage does not make the client's ModelInfo objects.",
    )


def _bare(url: str) -> Iterator[dict[str, Any]]:
    from huggingface_hub import HfApi

    from lineage.hub.pull import EXPAND

    for info in HfApi(endpoint=url).list_models(expand=list(EXPAND)):  # type: ignore[arg-type]
        parents, relation = {}, None
        for tag in info.tags or ():
            if tag.startswith("base_model:"):
                parts = tag.split(":")
                parents[parts[-1]] = None
                relation = parts[1] if len(parts) == 3 else relation
        yield {
            "name": info.id, "place": f"hf:{info.id}@{info.sha}", "parents": list(parents),
            "relation": relation, "licence": (info.card_data or {}).get("license"),
            "created": info.created_at, "tags": {"downloads": info.downloads},
            "parameters": info.safetensors.total if info.safetensors else None,
        }  # fmt: skip


def dump(folder: Path, models: int) -> list[Figure]:
    """A dump of so many models read into a new registry, in a process of its own, against reading
    the same table with pyarrow and writing the very rows that came of it with sqlite3; and what an
    organism takes afterwards."""
    file, registry = folder / "hub.parquet", folder / "hub.db"
    write_dump(file, models)
    code = (
        "import sys, time, lineage\nfrom bench.timing import peak\n"
        "begin = time.perf_counter()\n"
        "with lineage.open(sys.argv[2], command='bench') as r: done = r.hub_dump(sys.argv[1])\n"
        "print(done.created, time.perf_counter() - begin, peak())"
    )
    created, ours, held_most = in_a_process(code, file, registry).split()
    assert int(created) == models
    theirs = _by_hand(file, registry, folder / "by-hand.db")
    ratio = float(ours) / theirs
    memory = int(held_most)
    apart, whole = space.bytes_each(registry, models, folder)
    largest = sorted(apart.raw.items(), key=lambda part: -float(str(part[1])))[:14]
    time_ = Figure(
        f"a dump of {models:,} models into SQLite, against reading the table with pyarrow and "
        "writing the same rows with sqlite3",
        "≤ 3x its time",
        f"{figure(ratio)}x (lineage {seconds(float(ours))}, bare {seconds(theirs)})",
        ratio <= 3,
        {"ours_s": float(ours), "theirs_s": theirs, "ratio": ratio},
        f"{figure(models / float(ours))} models a second, one round. By hand: the rows are "
        "ready-made, with ids and ranks; the same tables, indices, triggers and pragmas.",
    )
    held = Figure(
        "memory of that dump", "≤ 1 GB", f"{figure(memory / 1e6)} MB", memory <= 1e9,
        {"peak_bytes": memory},
    )  # fmt: skip
    each = Figure(
        f"bytes an organism, events apart ({models:,} models of the Hub)",
        apart.goal,
        apart.measured,
        apart.met,
        apart.raw,
        "Name, place with commit, licence, created, downloads and last change, parameters of a "
        "quarter, parents of 28 %. " + ", ".join(f"{name} {figure(float(str(size)))}"
                                                 for name, size in largest),
    )
    return [time_, held, each, Figure("the same, with events", "-", whole.measured, None, {})]


def write_dump(file: Path, models: int) -> None:
    """A Parquet table of the API's columns, a row a model."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(SERVER.parent))
    try:
        from hub_server import rows
    finally:
        sys.path.remove(str(SERVER.parent))
    schema = pa.schema(
        [(name, pa.string()) for name in ("id", "sha", "cardData", "safetensors", "createdAt",
                                          "lastModified", "library_name")]
        + [("downloads", pa.int64()), ("tags", pa.list_(pa.string()))]
    )  # fmt: skip
    listed = rows(models, random.Random(11))
    with pq.ParquetWriter(file, schema) as writer:
        while chunk := list(islice(listed, 50_000)):
            for row in chunk:
                for key in ("cardData", "safetensors"):
                    row[key] = json.dumps(row[key]) if row.get(key) else None
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))


def _by_hand(file: Path, like: Path, target: Path) -> float:
    """Seconds that it takes to read a table and to write the rows of the registry `like`."""
    import pyarrow.parquet as pq

    connection = raw.create(target)
    source = raw.connect(like)
    taken = 0.0
    begin = time.perf_counter()
    for batch in pq.ParquetFile(file).iter_batches(batch_size=BATCH, use_threads=False):
        for row in batch.to_pylist():
            json.loads(row["cardData"] or "{}")
    taken += time.perf_counter() - begin
    for table in TABLES:
        cursor = source.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        width = len(cursor.description)
        insert = f"INSERT INTO {table} VALUES ({', '.join('?' * width)})"
        while rows := cursor.fetchmany(BATCH):
            begin = time.perf_counter()  # to read what is to be written is no part of it
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
            taken += time.perf_counter() - begin
    connection.close()
    source.close()
    return taken
