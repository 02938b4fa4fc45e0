"""What selection costs over all scored organisms, against the bare exact window query; and how
often it is wrong where scores are noisy."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist, median

import numpy as np

import lineage
from bench import raw
from bench.peers import environment
from bench.timing import Figure, against, figure, in_a_process, in_turn, peak, seconds
from bench.timing import raw as raw_of
from lineage import Score, database, store
from lineage.registry import Registry
from lineage.selection import front as fronts
from lineage.selection import news
from lineage.selection.policy import FRONTIER

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
    with registry.read() as connection:
        found = fronts.sweep(connection)
        assert (found.dominators(np.flatnonzero(found.verdict == 2)) >= 0).all()
        return len(found.obsolete()[0])


def _memory(path: Path) -> int:
    """The most memory that the sweep holds, in bytes, in a process of its own."""
    code = "import sys; from bench.selecting import swept; swept(sys.argv[1])"
    return int(in_a_process(code, path))


def swept(path: str) -> None:
    """Sweep a registry, and print the most memory that this process held."""
    registry = database.connect(path, create=False)
    _swept(registry)
    registry.close()
    print(peak())


SCORES = 1_000


def new_scores(path: Path, size: int, rounds: int) -> list[Figure]:
    """What a policy has to say after new scores: the niches where they are, judged again. A round
    scores 1,000 organisms of another niche anew; the last, 1,000 of all niches."""
    with lineage.open(path, command="bench") as registry:
        with registry.database.read() as connection:
            usual = connection.rows(
                """SELECT niche, count(*) FROM standing GROUP BY niche
                   ORDER BY abs(count(*) - (SELECT count(*) FROM standing) / 200) LIMIT ?""",
                (2 * rounds,),
            )
        judged, whole, marked = [], [], []
        for niche, _ in usual[:rounds]:
            _score(registry, niche, rounds)
            judged.append(timed(lambda: _news(registry)))
            whole.append(timed(lambda: registry.select(new=True, details=40)))
        for niche, _ in usual[rounds:]:
            _mark(registry, niche)
            _score(registry, niche, rounds)
            marked.append(timed(lambda: _news(registry)))
        _score(registry, None, rounds)
        spread = timed(lambda: _news(registry))
        rows = _news(registry)
    return [
        Figure(
            f"verdicts after {SCORES:,} new scores, of {size:,} scored organisms in 200 niches",
            "≤ 50 ms",
            f"{seconds(median(judged))}",
            median(judged) <= 0.050,
            {"judged_s": judged, "whole_s": whole, "marked_s": marked, "spread_s": spread},
            f"{rounds} rounds, each of another niche with {usual[0][1]:,} standings or so. The "
            f"whole plan, with guards and the first 40: {seconds(median(whole))}. Where all that "
            f"is beaten in the niche is marked: {seconds(median(marked))}. Of scores in all "
            f"niches: {seconds(spread)}, as {rows:,} standings are judged.",
        )
    ]


def timed(ask: Callable[[], object]) -> float:
    begin = time.perf_counter()
    ask()
    return time.perf_counter() - begin


def _score(registry: Registry, niche: int | None, seed: int) -> None:
    """Apply the policy, so that what comes now is new, and score so many of a niche, or of all."""
    of = "" if niche is None else f"WHERE niche = {niche}"
    chance = random.Random(seed)
    with registry.store.act() as act:
        news.applied(act, FRONTIER, "bench", 1, 0)
        own, last = act.connection.row("SELECT min(organism), max(organism) FROM standing")
        rows = act.connection.rows(f"SELECT organism, niche, value FROM standing {of}") if of else [
            row for at in (chance.randint(own, last) for _ in range(2 * SCORES))
            for row in act.connection.rows(
                """SELECT f.organism, f.niche, f.value FROM fitness f
                   WHERE f.organism = ? AND f.current = 1 LIMIT 1""", (at,))
        ]  # fmt: skip
        known = fronts.niches(act.connection)
        wanted = [(one, Score(known[where][0], value * chance.uniform(0.9, 1.1)))
                  for one, where, value in chance.sample(rows, SCORES)]  # fmt: skip
        act.events((one, "scored", {}) for one, _ in act.add_scores(wanted))


def _mark(registry: Registry, niche: int) -> None:
    """Mark all that is beaten in a niche."""
    with registry.store.act() as act:
        beaten = fronts.within(act.connection, niche).obsolete()[0].tolist()
        body = {"rule": "dominated", "policy": FRONTIER.name, "run": "bench"}
        store.mark(act, "selected_against", "selected_against", [(own, body) for own in beaten])


def _news(registry: Registry) -> int:
    """Judge what is new, each with its dominator; how many standings that are."""
    with registry.database.read() as connection:
        told = news.since_applied(connection, FRONTIER)
        assert told is not None
        found = fronts.sweep(connection, FRONTIER, told.niches)
        found.dominators(np.flatnonzero(found.verdict == 2))
        return len(found)


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
