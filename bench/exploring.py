"""The explorer over a registry of any size, in a headless Chromium: the first picture, each step of
a zoom from everybody to a leaf, and the most memory that the server held."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import lineage
from bench import ROOT
from bench.timing import Figure, seconds

PIECE = 100
"""Organisms that are drawn in one piece: windows are what is timed, of small registries too."""

READY = """() => new Promise((done) => {
  const plate = document.getElementById("plate");
  const look = () => plate.dataset.ready && plate.dataset.window ? done(performance.now())
    : requestAnimationFrame(look);
  look();
})"""

STEP = """([factor, y]) => new Promise((done) => {
  const plate = document.getElementById("plate"), canvas = document.getElementById("canvas");
  const box = canvas.getBoundingClientRect(), before = plate.dataset.window;
  const begin = performance.now();
  canvas.dispatchEvent(new WheelEvent("wheel", {
    deltaY: -Math.log(factor) / 0.0035, ctrlKey: true, cancelable: true,
    clientX: box.left + 50, clientY: box.top + y * box.height,
  }));
  const look = () => {
    const took = performance.now() - begin;
    if (plate.dataset.window !== before) done([took, plate.dataset.window]);
    else if (took > 10000) done([null, before]);
    else requestAnimationFrame(look);
  };
  look();
})"""


def exploring(browser, path: Path, count: int, rounds: int) -> Iterator[Figure]:
    """All rows, for a registry of `count` that is there; a snapshot is built where it has none."""
    with lineage.open(path, create=False) as registry:
        if registry.extent() is None:
            registry.refresh_snapshot()
    firsts: list[float] = []
    steps: list[float] = []
    each: list[int] = []
    with _served(path) as (url, process):
        for number in range(rounds):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.goto(f"{url}?limit={PIECE}")
            firsts.append(page.evaluate(READY) / 1000)
            page.wait_for_timeout(500)
            each = []
            while not each or each[-1] > 1:
                took, window = page.evaluate(STEP, [4, (number + 1) / (rounds + 1)])
                each.append(int(window.split()[-1]))
                if took is None:  # it came nearer by itself since the last step, or cannot
                    break
                steps.append(took / 1000)
                page.wait_for_timeout(300)
            page.close()
        held = _most(process.pid)
    yield Figure(
        f"explorer over {count:,}: first picture", "≤ 1 s", seconds(median(firsts)),
        median(firsts) <= 1, {"s": firsts},
    )  # fmt: skip
    yield Figure(
        "zoom to a leaf, the slowest step", "≤ 200 ms",
        f"{seconds(max(steps))} (median {seconds(median(steps))}, {len(each)} steps)",
        max(steps) <= 0.2 and each[-1] == 1, {"s": steps, "rows stand for": each},
        "From the wheel to the picture, four times nearer each. " + ("" if each[-1] == 1 else
        "No leaf was reached."),
    )  # fmt: skip
    yield Figure("memory of the server", "≤ 500 MB", f"{held / 1e6:.0f} MB", held <= 500e6)


@contextmanager
def _served(path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "cli.py"), "view", "--no-browser", "--db", str(path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.terminate()
        process.wait()


def _most(pid: int) -> int:
    """The most memory that a process held, in bytes (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
