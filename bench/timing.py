"""How things are timed and told: side by side, one after the other over and over, so that what
slows the machine slows both; medians, and the spread of the ratio."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import ROOT


@dataclass(frozen=True, slots=True)
class Sides:
    """Seconds of the rounds of two things that were timed in turn: ours and theirs."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> float:
        """Median over median: above 1, ours takes longer."""
        return median(self.ours) / median(self.theirs)

    @property
    def spread(self) -> str:
        """The ratio in each fifth of the rounds: the lowest and the highest."""
        size = max(1, len(self.ours) // 5)
        ratios = [
            median(self.ours[at : at + size]) / median(self.theirs[at : at + size])
            for at in range(0, size * (len(self.ours) // size), size)
        ]
        return f"{figure(min(ratios))} to {figure(max(ratios))}"

    def turned(self) -> Sides:
        return Sides(self.theirs, self.ours)


def peak() -> int:
    """The most memory that this process held, in bytes. Linux's ru_maxrss would count that of the
    process that started it too (it is kept over exec); VmHWM does not."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except OSError:  # macOS counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def in_a_process(code: str, *arguments: object) -> str:
    """What `code` prints in a process of its own: what it held is not what this one holds."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    return done.stdout


def in_turn(rounds: int, ours: Callable[[int], object], theirs: Callable[[int], object]) -> Sides:
    """Time both in turn, `rounds` times, each given the number of the round; whoever is first
    changes. One round before goes uncounted: it warms both."""
    sides = Sides([], [])
    turns = [(ours, sides.ours), (theirs, sides.theirs)]
    gc.collect()
    for number in range(rounds + 1):
        for act, seconds in turns if number % 2 else reversed(turns):
            begin = time.perf_counter()
            act(number)
            seconds.append(time.perf_counter() - begin)
    del sides.ours[0], sides.theirs[0]
    return sides


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `met` is None where nothing was measured, or nothing was promised."""

    what: str
    goal: str
    measured: str
    met: bool | None
    raw: dict[str, object] = field(default_factory=dict)
    note: str = ""


def figure(number: float) -> str:
    """Three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def seconds(value: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{figure(value / size)} {unit}"
    return f"{figure(value * 1e6)} µs"


def against(sides: Sides, ours: str = "lineage", theirs: str = "bare") -> str:
    """Both medians in words."""
    return f"{ours} {seconds(median(sides.ours))}, {theirs} {seconds(median(sides.theirs))}"


def raw(sides: Sides) -> dict[str, object]:
    """What the JSON keeps of a comparison; seconds."""
    return {
        "ours_median_s": median(sides.ours),
        "theirs_median_s": median(sides.theirs),
        "ratio": sides.ratio,
        "rounds": len(sides.ours),
        "ratio_in_fifths": sides.spread,
    }


def table(figures: list[Figure]) -> str:
    """A Markdown table: figure, goal, measured, met or not; then the notes."""
    lines = ["| figure | goal | measured | |", "|---|---|---|---|"]
    words = {True: "met", False: "**not met**", None: "-"}
    lines += [f"| {one.what} | {one.goal} | {one.measured} | {words[one.met]} |" for one in figures]
    notes = [f"- {one.what}: {one.note}" for one in figures if one.note]
    return "\n".join([*lines, "", *notes])
