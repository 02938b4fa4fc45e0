"""What importing somebody else's table costs: through a map, against a loop over csv.reader that
writes the same rows by hand."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import lineage
from bench import raw, writing
from bench.raw import Entry, Scored
from bench.timing import Figure, Sides, against, figure
from bench.timing import raw as raw_of
from lineage.formats import maps, tables
from lineage.formats.importing import BATCH

MAP = maps.parse_map("""
[organism]
name = "name"
digest = "sha256"
parameters = "parameters"
precision = "dtype"

[[parent]]
ref = "parent"
relation = { value = "finetune" }

[[score]]
niche = { value = "gsm8k/acc" }
value = "gsm8k_acc"

[[score]]
niche = { value = "mmlu/acc" }
value = "mmlu_acc"

[[cost]]
phase = { value = "serving" }
per = { value = "token" }
source = { value = "measured" }
joules = { column = "mj_per_token", unit = "mJ" }
""")
HEADER = ("name", "sha256", "parameters", "dtype", "parent", "gsm8k_acc", "mmlu_acc",
          "mj_per_token")  # fmt: skip


def table(folder: Path, count: int, rounds: int) -> Figure:
    """An import of a CSV of `count` rows into a new registry, against the loop by hand."""
    source = folder / "table.csv"
    write(source, count)
    sides = Sides([], [])
    for number in range(rounds):
        turns = [(sides.theirs, by_hand), (sides.ours, through_map)]
        for seconds, act in turns if number % 2 else turns[::-1]:
            into = folder / f"table-{act.__name__}-{number}.db"
            begin = time.perf_counter()
            act(source, into)
            seconds.append(time.perf_counter() - begin)
            for file in folder.glob(f"{into.name}*"):
                file.unlink()
    source.unlink()
    return Figure(
        f"import of a CSV of {count:,} rows through a map, against csv.reader and the raw driver "
        "writing the same rows",
        "≤ 3x its time",
        f"{figure(sides.ratio)}x ({against(sides, theirs='by hand')})",
        sides.ratio <= 3,
        raw_of(sides) | {"rows": count},
        f"{rounds} rounds in turn into a new registry, {BATCH:,} rows a transaction; each "
        f"row an organism with a digest, a parent, two scores and a cost; {sides.spread}x. By hand "
        f"checks nothing and keeps all names in memory; {figure(count / median(sides.ours))} "
        "organisms a second through the map.",
    )


def write(path: Path, count: int) -> None:
    """A table of `count` checkpoints, all children of the first."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEADER)
        first = writing.step(1, ())
        for own in range(1, count + 1):
            one = writing.step(own, ())
            gsm8k, mmlu = (score.value for score in one.scores)
            parent = first.name if own > 1 else ""
            out.writerow([one.name, one.digest.hex(), 7_000_000 + own, "BF16", parent, gsm8k, mmlu,
                          own / 1000])  # fmt: skip


def through_map(source: Path, into: Path) -> None:
    with source.open("rb") as file, lineage.open(into, command="bench") as registry:
        found = tables.open_table(file, source.name, MAP)
        report = tables.import_table(registry.store, found.rows, MAP.reader(found.columns))
        assert not report.set_aside


def by_hand(source: Path, into: Path) -> None:
    connection = raw.create(into)
    writer = raw.Writer(connection, {})
    batch: list[Entry] = []
    with source.open(newline="") as file:
        for entry in entries(csv.reader(file)):
            batch.append(entry)
            if len(batch) == BATCH:
                writer.register_many(batch)
                batch = []
    writer.register_many(batch)
    connection.close()


def entries(rows: Iterator[list[str]]) -> Iterator[Entry]:
    next(rows)
    known: dict[str, int] = {}
    for own, (name, sha256, parameters, dtype, parent, gsm8k, mmlu, mj) in enumerate(rows, 1):
        known[name] = own
        yield Entry(
            id=own,
            name=name,
            digest=bytes.fromhex(sha256),
            parents=((known[parent], parent),) if parent else (),
            relation="finetune",
            scores=(
                Scored("gsm8k", "acc", float(gsm8k), "higher"),
                Scored("mmlu", "acc", float(mmlu), "higher"),
            ),
            power=("serving", "token", float(mj) * 1e-3, "measured"),
            parameters=int(parameters),
            precision=dtype,
        )
