"""What everyday questions and health checks cost on a large registry, and how many evaluations a
bisection takes. Seconds are of the question alone, in a process that has started."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import lineage
from bench import asking, generate, raw
from bench.timing import Figure, figure, in_a_process, peak, seconds
from lineage.doctor.examine import examine
from lineage.organism import Organism, Score

NICHE = "/".join(generate.NICHES[1][:2])


def questions(path: Path, size: int, rounds: int) -> list[Figure]:
    """`best`, a filtered `ls` and `where`, each as its command asks it."""
    with lineage.open(path, create=False) as registry:
        chance = random.Random(11)
        names = [registry.get(f"#{chance.randint(1, size)}").ref for _ in range(rounds + 1)]
        asked: dict[str, Callable[[int], object]] = {
            "best": lambda n: registry.best(NICHE),
            "best per joule": lambda n: registry.best(NICHE, per="joule"),
            "ls --niche --min --max-joules": lambda n: _listed(
                registry, niche=NICHE, min=0.6, max_joules=1.0, sort="fitness"
            ),
            "ls --relation adapter --since 30d": lambda n: _listed(
                registry, relation="adapter", since=time.time() - 30 * 86400
            ),
            "where": lambda n: registry.whereabouts(names[n]),
        }
        return [_question(what, act, size, rounds) for what, act in asked.items()]


def _listed(registry: lineage.Registry, **wanted: object) -> object:
    sort = str(wanted.pop("sort", "registered"))
    found = registry.find(sort=sort, limit=50, **wanted)  # type: ignore[arg-type]
    return registry.summaries(found), registry.count(at_most=10_000, **wanted)  # type: ignore[arg-type]


def _question(what: str, act: Callable[[int], object], size: int, rounds: int) -> Figure:
    taken = []
    for number in range(rounds + 1):
        begin = time.perf_counter()
        act(number)
        taken.append(time.perf_counter() - begin)
    middle = median(taken[1:])
    return Figure(
        f"`{what}` among {size:,} organisms, beyond start-up",
        "≤ 50 ms",
        seconds(middle),
        middle <= 0.05,
        {"median_s": middle, "first_s": taken[0], "rounds": rounds},
        f"{rounds} rounds; the first, with a cold cache of its own, {seconds(taken[0])}.",
    )


def impact(path: Path, size: int, rounds: int) -> Figure:
    """What would break and be freed if the founder of the largest clade went."""
    bare = raw.connect(path)
    own, held = asking.largest(bare)
    bare.close()
    with lineage.open(path, create=False) as registry:
        registry.refresh_snapshot()
        taken = []
        for _ in range(rounds + 1):
            begin = time.perf_counter()
            found = registry.impact(f"#{own}")
            taken.append(time.perf_counter() - begin)
        assert found.descendants == held - 1
    middle = median(taken[1:])
    return Figure(
        f"impact of a founder with a clade of {held:,} of {size:,}",
        "≤ 1 s",
        seconds(middle),
        middle <= 1,
        {"median_s": middle, "clade": held},
        f"{rounds} rounds; {found.broken:,} need it to run, {found.descendants:,} descend from it.",
    )


def health(path: Path, size: int) -> Figure:
    """`doctor` without files, in a process of its own: seconds, and the most memory it held."""
    code = "import sys; from bench.keeping import examined; examined(sys.argv[1])"
    begin = time.perf_counter()
    held = int(in_a_process(code, path))
    taken = time.perf_counter() - begin
    met = taken <= 60 and held <= 1e9
    return Figure(
        f"doctor on {size:,} organisms (no files)",
        "≤ 60 s, ≤ 1 GB",
        f"{seconds(taken)}, {figure(held / 1e6)} MB",
        met,
        {"s": taken, "bytes": held},
        "All checks, the event chain among them, start of the process included.",
    )


def examined(path: str) -> None:
    """Examine a registry, and print the most memory that this process held."""
    with lineage.open(path, create=False) as registry:
        found = examine(registry.database)
    assert found.sound, found.findings
    print(peak())


def bisection(folder: Path, length: int, tries: int) -> Figure:
    """Evaluations until `bisect` names the bad link of a chain whose two ends are scored: a step of
    0.1 somewhere, exact, and with a standard error of 0.02 that every evaluation tells."""
    counts: dict[float, list[int]] = {}
    right: dict[float, int] = {}
    for noise in (0.0, 0.02):
        counts[noise], right[noise] = [], 0
        for attempt in range(tries):
            path = folder / f"bisect-{length}-{noise}-{attempt}.db"
            asked, found = _bisected(path, length, noise, random.Random(attempt))
            counts[noise].append(asked)
            right[noise] += found
            path.unlink()
    exact = max(counts[0.0])
    noisy = counts[0.02]
    return Figure(
        f"bisect on a chain of {length:,} with one bad link",
        "≤ 11 evaluations without noise",
        f"{exact} at most; with noise {figure(mean(noisy))} on average",
        exact <= 11 and right[0.0] == tries,
        {"exact": counts[0.0], "noisy": noisy, "right": {str(k): v for k, v in right.items()}},
        f"{tries} chains each, the two ends scored before. With a standard error of a fifth of the "
        f"step: {min(noisy)} to {max(noisy)} evaluations, and {right[0.02]} of {tries} named the "
        f"very link.",
    )


def _bisected(path: Path, length: int, noise: float, chance: random.Random) -> tuple[int, bool]:
    """How many evaluations it took, and whether the link that was named is the bad one."""
    generate.write(path, generate.chain(length, length))
    bad = chance.randint(2, length)
    asked = 0

    def value(own: int) -> tuple[float, float | None]:
        true = 0.6 if own < bad else 0.5
        return (chance.gauss(true, noise), noise) if noise else (true, None)

    def evaluate(organism: Organism, left: int) -> tuple[float, float | None]:
        nonlocal asked
        asked += 1
        return value(organism.id)

    with lineage.open(path, command="bench") as registry:
        for end in (1, length):
            got, stderr = value(end)
            score = Score("made/acc", got, stderr)
            registry.score(f"#{end}", score.niche, got, stderr=stderr)
        found = registry.bisect("#1", f"#{length}", "made/acc", evaluate=evaluate)
        named = None if found.after is None else found.chain[found.after].id
    return asked, named == bad
