"""`python -m bench`: every figure, in one table on standard output. Progress goes to standard
error."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import (
    asking,
    attack,
    crowd,
    drawing,
    exploring,
    generate,
    hub,
    importing,
    keeping,
    peers,
    questions,
    scale,
    scanning,
    selecting,
    space,
    starting,
    team,
    training,
    writing,
)
from bench.timing import Figure, table


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is: organisms, lengths of chains, and rounds of what takes long."""

    small: int
    large: int
    chains: tuple[int, ...]
    singles: int
    questions: int
    rounds: int
    bulk: int
    table: int
    mlflow: int
    crowd: tuple[int, int, int]
    team: tuple[int, int, int]
    starts: int
    niches: int
    trees: int
    drawn: tuple[int, int, int]
    layouts: tuple[int, int, int]
    hub: tuple[int, int]
    family: int
    growth: tuple[int, int]


NORMAL = Size(10_000, 200_000, (1_000, 10_000, 100_000), 1_000, 2_000, 7, 20_000, 20_000, 10,
              (32, 50, 10), (32, 25, 3), 15, 1_000, 500, (5_000, 20_000, 100_000),
              (20_000, 60_000, 200_000), (10_000, 100_000), 300, (20_000, 200_000))  # fmt: skip
SCALE = Size(10_000, 2_000_000, (1_000, 10_000, 100_000), 1_000, 2_000, 4, 20_000, 1_000_000, 10,
             (32, 50, 10), (32, 25, 3), 15, 1_000, 10_000, (5_000, 20_000, 100_000),
             (200_000, 600_000, 2_000_000), (100_000, 2_200_000), 1_000,
             (220_000, 2_200_000))  # fmt: skip


Groups = dict[str, Callable[[], Iterator[Figure]]]


def groups(size: Size, folder: Path, with_mlflow: bool) -> Groups:
    """The figures by what they are about, in the order of the table."""
    sizes = (size.small, size.large)

    def small() -> Path:
        return _registry(folder / "small.db", size.small)

    def large() -> Path:
        return _registry(folder / "large.db", size.large)

    def writes() -> Iterator[Figure]:
        yield writing.one(folder, size.singles)
        yield writing.chained(folder, size.singles)
        if with_mlflow:
            yield peers.mlflow(folder, size.mlflow)
        yield writing.growth(small(), large(), sizes, size.singles)
        yield writing.bulk(folder, size.bulk, 5)
        yield crowd.crowd(folder, *size.crowd)
        yield importing.table(folder, size.table, 3)

    def asks() -> Iterator[Figure]:
        yield from space.bytes_each(large(), size.large, folder)
        yield from asking.ancestors(small(), large(), sizes, size.questions)
        yield from asking.chains(folder, size.chains, 15)
        yield asking.clade(large(), size.large, size.rounds)
        yield from keeping.questions(large(), size.large, size.rounds)
        yield keeping.impact(large(), size.large, size.rounds)
        yield keeping.bisection(folder, 1_000, 10)
        yield from questions.questions(folder, size.family, with_mlflow)
        yield starting.start(size.starts)

    def selects() -> Iterator[Figure]:
        yield from selecting.selection(large(), size.large, size.rounds)
        yield from selecting.new_scores(large(), size.large, size.rounds)
        yield from selecting.noise(size.niches)
        yield selecting.three_objectives(folder, 200_000, size.rounds, with_mlflow)

    def hubs() -> Iterator[Figure]:
        yield hub.pull(folder, size.hub[0], 3)
        yield from hub.dump(folder, size.hub[1])

    def draws() -> Iterator[Figure]:
        with drawing.browser() as browser:
            yield from drawing.drawing(browser, folder, size.drawn, size.layouts)

    def explores() -> Iterator[Figure]:
        with drawing.browser() as browser:
            if browser is None:
                yield Figure("the explorer", "", "skipped: there is no Chromium", None)
            else:
                yield from exploring.exploring(browser, large(), size.large, 5)

    return {
        "writing": writes,
        "asking": asks,
        "selecting": selects,
        "team": lambda: iter([team.team(*size.team)]),
        "doctor": lambda: iter([keeping.health(large(), size.large)]),
        "culling": lambda: iter([attack.under_attack(folder, size.trees)]),
        "training": lambda: iter([training.hooks(folder, 90.0, 64)]),
        "scanning": lambda: scanning.scans(folder, size.small, 3),
        "hub": hubs,
        "growth": lambda: iter(scale.growth(folder, size.growth, size.questions)),
        "drawing": draws,
        "exploring": explores,
    }


def _registry(path: Path, count: int) -> Path:
    """A generated registry, written when it is first asked for."""
    if not path.exists():
        _clocked(f"writing {count:,} organisms", generate.write, path, generate.organisms(count))
    return path


def _clocked(what: str, act: Callable[..., object], *args: object) -> None:
    begin = time.perf_counter()
    act(*args)
    print(f"{what}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)


def machine() -> str:
    """Where this ran."""
    return (
        f"{os.cpu_count()} cores, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--scale", action="store_true", help="two million organisms")
    parser.add_argument("--no-mlflow", action="store_true", help="leave MLflow out")
    parser.add_argument(
        "--only", nargs="+", metavar="GROUP", help="writing, asking, selecting, team, doctor, "
        "culling, training, scanning, hub, growth, drawing or exploring, and not all of them",
    )
    parser.add_argument(
        "--grow", nargs=2, type=int, metavar=("SMALL", "LARGE"),
        help="sizes of the group growth; 2200000 22000000 takes 11 GB and as much while it is "
        "written, and an hour or more",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all medians there too")
    asked = parser.parse_args()
    found: list[Figure] = []
    begin = time.perf_counter()
    size = SCALE if asked.scale else NORMAL
    if asked.grow:
        size = replace(size, growth=tuple(asked.grow))
    with generate.folder() as folder:
        there = groups(size, folder, not asked.no_mlflow)
        if unknown := set(asked.only or ()) - there.keys():
            parser.error(f"there is no group {min(unknown)!r}; there are: {', '.join(there)}")
        for name in asked.only or there:
            for one in there[name]():
                found.append(one)
                took = time.perf_counter() - begin
                print(f"{took:4.0f} s  {one.what}: {one.measured}", file=sys.stderr)
    print(table(found))
    print(f"\n{machine()}; {time.perf_counter() - begin:.0f} s in all.")
    if asked.json:
        told = {"machine": machine(), "figures": [asdict(one) for one in found]}
        asked.json.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
