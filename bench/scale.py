"""Where one machine ends: what ten times as many organisms of the Hub's proportions cost, in time,
memory and bytes, at whatever sizes are asked for."""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bench import asking, generate, raw
from bench.timing import Figure, figure, in_a_process, peak, seconds
from lineage import clades, database, pedigree, snapshots
from lineage.selection import front

BYTES_EACH = 500
"""Of an organism of `generate.hub` without history, its part of the snapshot included, for what is
told before it is written."""
SECONDS_EACH = 60e-6
"""To write one, on the machine of docs/bench.md with nothing else running."""


def told(size: int, folder: Path) -> str:
    """What a registry of this size takes to write. Raises SystemExit where the disk has too little:
    indices are sorted in temporary files, so twice as much is asked for."""
    needed, free = size * BYTES_EACH, shutil.disk_usage(folder).free
    if free < 2 * needed:
        raise SystemExit(
            f"{size:,} organisms need {2 * needed / 1e9:.1f} GB of {folder}, which has "
            f"{free / 1e9:.1f} GB. Set TMPDIR to a larger disk."
        )
    return (
        f"{size:,} organisms: {needed / 1e9:.1f} GB, and as much while they are written; some "
        f"{size * SECONDS_EACH / 60:.0f} minutes or more"
    )


def growth(folder: Path, sizes: tuple[int, int], rounds: int) -> list[Figure]:
    """The same questions to a small and a large registry, each in a process of its own."""
    known = []
    for size in sizes:
        path = folder / f"hub-{size}.db"
        print(told(size, folder), file=sys.stderr)
        begin = time.perf_counter()
        if not path.exists():
            generate.write(path, generate.hub(size), events=False)
        taken = time.perf_counter() - begin
        measured = json.loads(in_a_process(ASK, path, rounds))
        known.append(measured | {"written_s": taken, "bytes": path.stat().st_size / size})
    return figures(sizes, *known)


ASK = "import sys; from bench.scale import ask; ask(sys.argv[1], int(sys.argv[2]))"


def ask(path: str, rounds: int) -> None:
    """Ask a registry all questions, and print medians in seconds, and peaks in bytes, as JSON."""
    held = database.connect(path, create=False)
    bare = raw.connect(Path(path))
    own, members = asking.largest(bare)
    found: dict[str, Any] = {"clade": members}
    chance = random.Random(9)
    with held.read() as connection:
        last = connection.value("SELECT max(child) FROM edge")
    children = [_drawn(bare, last, chance)[0] for _ in range(rounds)]
    pairs = [_relatives(bare, last, chance) for _ in range(rounds)]
    found["generation"] = fmean(
        bare.execute("SELECT generation FROM organism WHERE id = ?", (one,)).fetchone()[0]
        for pair in pairs for one in pair
    )  # fmt: skip
    with held.read() as connection:
        found["ancestors_s"] = _median(lambda one: pedigree.ancestors(connection, one), children)
        found["mrca_s"] = _median(lambda pair: pedigree.mrca(connection, *pair), pairs)
    begin = time.perf_counter()
    snapshots.build(held)
    found |= {"snapshot_s": time.perf_counter() - begin, "snapshot_peak": peak()}
    with held.read() as connection:
        told = clades.aggregate(connection, own)
        assert told.count == members
        found["aggregate_s"] = _median(lambda one: clades.aggregate(connection, one), [own] * 5)
        found["sweep_s"] = _median(lambda _: front.sweep(connection), range(3))
        found["sweep_peak"] = peak()
    print(json.dumps(found))


def _median(ask: Any, what: Any) -> float:
    taken = []
    for one in what:
        begin = time.perf_counter()
        ask(one)
        taken.append(time.perf_counter() - begin)
    return median(taken)


def _drawn(bare: Any, last: int, chance: random.Random) -> tuple[int, int]:
    """An organism that has a parent, and that."""
    found: tuple[int, int] = bare.execute(
        "SELECT child, parent FROM edge WHERE child >= ? LIMIT 1", (chance.randint(1, last),)
    ).fetchone()
    return found


def _relatives(bare: Any, last: int, chance: random.Random) -> tuple[int, int]:
    """An organism, and another: a parent of it, or what descends from that, up to ten links down.
    """
    while True:
        one, other = _drawn(bare, last, chance)
        for _ in range(chance.randint(0, 10)):
            below = bare.execute("SELECT child FROM edge WHERE parent = ? LIMIT 20", (other,))
            children = [child for (child,) in below]
            if not children:
                break
            other = chance.choice(children)
        if other != one:  # who is asked for itself is answered at once
            return one, other


def figures(
    sizes: tuple[int, int], small: dict[str, Any], large: dict[str, Any]
) -> list[Figure]:
    few, many = (f"{size:,}" for size in sizes)
    between = f"{few} to {many} organisms"

    def row(what: str, key: str, goal: float | None, note: str = "") -> Figure:
        grown = large[key] / small[key]
        return Figure(
            f"{what}: growth from {between}",
            "-" if goal is None else f"≤ {goal:g}x",
            f"{figure(grown)}x ({seconds(small[key])}, {seconds(large[key])})",
            None if goal is None else grown <= goal,
            {"small": small, "large": large},
            note,
        )

    found = [
        row("ancestors, p50", "ancestors_s", 2),
        row("mrca of two of a family, p50", "mrca_s", 2,
            f"their mean generation: {figure(small['generation'])} and "
            f"{figure(large['generation'])}"),
        row("aggregate of the largest clade, by the snapshot", "aggregate_s", None,
            f"clades of {small['clade']:,} and {large['clade']:,}"),
        row("building the snapshot", "snapshot_s", None,
            f"peak memory {figure(large['snapshot_peak'] / 1e6)} MB at {many}"),
        row("selection, all niches", "sweep_s", None,
            f"peak memory of both {figure(large['sweep_peak'] / 1e6)} MB at {many}"),
    ]  # fmt: skip
    each = [one["bytes"] for one in (small, large)]
    found.append(
        Figure(f"bytes an organism, without history, {between}", "-",
               f"{figure(each[0])}, {figure(each[1])}", None, {},
               f"Written in {seconds(small['written_s'])} and {seconds(large['written_s'])}.")
    )  # fmt: skip
    return found
