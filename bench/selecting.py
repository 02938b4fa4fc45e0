"""What selection costs over all scored organisms, against the bare exact window query; and how
often it is wrong where scores are noisy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist, median

from bench import raw
from bench.peers import environment
from bench.timing import Figure, against, figure, in_turn, peak, seconds
from bench.timing import raw as raw_of
from lineage import database
from lineage.selection import front

# The query of DESIGN.md, section 6. Bare: no vital status, no ghosts, no estimates, no adapter that
# costs what its base costs too, no files here or elsewhere, no errors, no dominators, no guards.
DOMINATED = """
SELECT organism FROM (
  SELECT organism, CASE WHEN max(fit) OVER cheaper >= fit OR max(fit) OVER equal > fit
    THEN 1 ELSE 0 END AS beaten
  FROM candidate
  WINDOW niches AS (PARTITION BY niche, per ORDER BY joules),
    cheaper AS (niches GROUPS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    equal AS (niches GROUPS BETWEEN CURRENT ROW AND CURRENT ROW)
) GROUP BY organism HAVING min(beaten) = 1"""

CANDIDATE = """
SELECT f.organism, f.niche, p.per, p.joules,
  CASE n.direction WHEN 'lower' THEN -f.value ELSE f.value END AS fit
FROM fitness f JOIN niche n ON n.id = f.niche JOIN power p ON p.organism = f.organism
WHERE f.current = 1 AND n.direction IS NOT NULL
  AND p.phase = 'serving' AND p.current = 1 AND p.joules IS NOT NULL"""

BARE = f"WITH candidate AS ({CANDIDATE}) {DOMINATED}"


def selection(path: Path, size: int, rounds: int) -> list[Figure]:
    """The sweep (verdicts on all standings, and who dominates each that is obsolete) against the
    bare query over the same tables."""
    ours, bare = database.connect(path, create=False), raw.connect(path)

    def sweep(_: int) -> int:
        return _swept(ours)

    beaten, plain = sweep(0), len(bare.execute(BARE).fetchall())
    sides = in_turn(rounds, sweep, lambda n: bare.execute(BARE).fetchall())
    bare.close()
    ours.close()
    memory = _memory(path) / 1e9
    return [
        Figure(
            f"selection over {size:,} scored organisms in 200 niches, with dominators, against the "
            "bare exact window query over the same tables",
            "≤ 2x, ≤ 1 GB",
            f"{figure(sides.ratio)}x ({against(sides)}), {memory:.2f} GB",
            sides.ratio <= 2 and memory <= 1,
            raw_of(sides) | {"beaten": beaten, "peak_gb": memory},
            f"{rounds} rounds in turn; in fifths {sides.spread}x. Obsolete everywhere: {beaten:,}; "
            f"by the bare query, which lets adapters off what their bases cost, {plain:,}. Memory: "
            "the peak of a process that does this once and nothing else.",
        ),
    ]


def _swept(registry: database.Database) -> int:
    """How many are obsolete everywhere, each with a dominator."""
    import numpy as np

    with registry.read() as connection:
        found = front.sweep(connection)
        assert (found.dominators(np.flatnonzero(found.verdict == 2)) >= 0).all()
        return len(found.obsolete()[0])


def _memory(path: Path) -> int:
    """The most memory that the sweep holds, in bytes, in a process of its own."""
    code = f"from bench.selecting import swept; swept({str(path)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    return int(done.stdout)


def swept(path: str) -> None:
    """Sweep a registry, and print the most memory that this process held."""
    registry = database.connect(path, create=False)
    _swept(registry)
    registry.close()
    print(peak())


EXAMPLES = (200, 1_000, 10_000)
LEVELS = (0.0, 0.9, 0.95, 0.99, 0.999, 0.9999)
ORGANISMS = 300


def noise(seeds: int) -> list[Figure]:
    """How often the rule is wrong, on niches where the truth is known.

    A niche: 300 organisms; costs log-uniform over a factor of 100; true accuracy 0.2 + 0.6 x the
    position of the log cost in that range, plus a normal deviate of 0.08, kept within 0.02 and
    0.98; the score is binomial, of 200, 1,000 or 10,000 examples. Truly on the front is whom nobody
    that costs no more equals; the rest is truly obsolete. A point comparison is confidence 0: every
    value is taken as exact."""
    rates = {
        (examples, level): _rates(examples, level, seeds)
        for examples in EXAMPLES
        for level in LEVELS
    }
    wrong = [rates[examples, 0.999][0] for examples in EXAMPLES]
    found = rates[1_000, 0.999][1]
    curve = "; ".join(
        f"{'point' if not level else f'{100 * level:g} %'}: "
        + ", ".join(f"{100 * rates[examples, level][0]:.2g} % wrong, "
                    f"{100 * rates[examples, level][1]:.0f} % found" for examples in EXAMPLES)
        for level in LEVELS
    )  # fmt: skip
    return [
        Figure(
            f"true front members wrongly retired under noise, {seeds:,} niches of {ORGANISMS}, "
            "accuracy from 200 / 1,000 / 10,000 examples; truly obsolete found at 1,000",
            "≤ 0.1 %; ≥ 80 %",
            " / ".join(f"{100 * one:.2g}" for one in wrong) + f" %; {100 * found:.0f} %",
            max(wrong) <= 0.001 and found >= 0.8,
            {f"{examples}@{level}": rates[examples, level] for examples, level in rates},
            f"The curve over confidence, each at 200, 1,000, 10,000 examples: {curve}.",
        )
    ]


def _rates(examples: int, level: float, seeds: int) -> tuple[float, float]:
    """The share of true front members that is retired, and of the truly obsolete that is."""
    import numpy as np

    from lineage.selection import dominance

    z = NormalDist().inv_cdf(level) if level else 0.0
    wrong = members = found = obsolete = 0
    for seed in range(seeds):
        chance = np.random.default_rng(seed)
        place = chance.random(ORGANISMS)
        truth = 0.2 + 0.6 * place + chance.normal(0, 0.08, ORGANISMS)
        truth = np.clip(truth, 0.02, 0.98)
        cost = 100.0**place
        best = np.maximum.accumulate(truth[np.argsort(cost)])
        on_front = np.empty(ORGANISMS, bool)
        on_front[np.argsort(cost)] = np.r_[True, best[1:] > best[:-1]]
        score = chance.binomial(examples, truth) / examples
        blank = np.full(ORGANISMS, np.nan)
        n = np.full(ORGANISMS, float(examples)) if level else blank
        down, up = dominance.reach(
            score, blank, n, np.full(ORGANISMS, z), np.ones(ORGANISMS), np.zeros(ORGANISMS, bool)
        )
        group = dominance.Standings(
            np.arange(ORGANISMS), score, down, up, cost, np.zeros(ORGANISMS, bool)
        )
        retired = dominance.Verdicts(group, dominance.Rule()).verdict == dominance.OBSOLETE
        wrong += int((retired & on_front).sum())
        members += int(on_front.sum())
        found += int((retired & ~on_front).sum())
        obsolete += int((~on_front).sum())
    return wrong / members, found / obsolete


def three_objectives(folder: Path, size: int, rounds: int, with_peers: bool = True) -> Figure:
    """The undominated in fitness, joules and bytes, beside moocore and paretoset, which live in the
    environment of the benchmarks. All must keep as many."""
    import numpy as np

    from lineage.selection import dominance

    chance = np.random.default_rng(1)
    bytes_ = 10 ** chance.uniform(8, 11, size)
    joules = bytes_ * 10 ** chance.normal(-12, 0.3, size)
    fit = np.log10(bytes_) / 11 + chance.normal(0, 0.05, size)
    group = dominance.Standings(
        np.arange(size), fit, bytes_, np.zeros(size), joules, np.zeros(size, bool)
    )
    file, rows = folder / "points.npy", np.arange(size)
    np.save(file, np.column_stack([joules, bytes_, -fit]))
    found = dominance.strongest(group, rows)
    wanted = ("moocore", "paretoset")
    python = environment(" and ".join(wanted), wanted) if with_peers else "peers left out"
    note = python if isinstance(python, str) else ""
    ours: list[float] = []
    theirs: dict[str, list[float]] = {}
    with _peers("" if note else str(python), file) as (versions, ask):
        for _ in range(rounds):
            begin = time.perf_counter()
            kept = len(dominance.strongest(group, rows))
            ours.append(time.perf_counter() - begin)
            for name, (took, many) in ask().items():
                assert many == kept, (name, many, kept)
                theirs.setdefault(name, []).append(took)
    told = [
        f"{name} {versions[name]} {seconds(median(took))} "
        f"({figure(median(took) / median(ours))}x)"
        for name, took in theirs.items()
    ]
    return Figure(
        f"the undominated of {size:,} in three objectives (fitness, joules, bytes)",
        "beside moocore and paretoset",
        "; ".join([f"lineage {seconds(median(ours))}", *told]),
        None,
        {"ours_s": ours} | {f"{name}_s": took for name, took in theirs.items()},
        note or f"{len(found):,} of them, as many for all; {rounds} rounds in turn.",
    )


@contextmanager
def _peers(
    python: str, file: Path
) -> Iterator[tuple[dict[str, str], Callable[[], dict[str, tuple[float, int]]]]]:
    """The versions of the peers, and what asks them for a round; nothing without a Python."""
    if not python:
        yield {}, dict
        return
    worker = subprocess.Popen(
        [python, str(Path(__file__).with_name("pareto_worker.py")), str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask() -> dict[str, tuple[float, int]]:
        worker.stdin.write("\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    try:
        yield json.loads(worker.stdout.readline()), ask
    finally:
        worker.stdin.close()
        worker.wait()
