"""Drawing: the first picture and a frame of the page in a headless Chromium without a GPU, next to
pyvis and sigma.js, which lives in `.venv-bench`; bytes in the page; layouts; the tree as text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from statistics import median

import lineage
from bench import generate
from bench.peers import ENVIRONMENT
from bench.timing import Figure, figure, seconds
from lineage.trees import backbone, columns, html, text
from lineage.trees.family import Family

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PATIENCE = 130
"""Seconds after which a peer has no first picture."""

PANNED = """async ([frames, key]) => {
  const took = [], canvas = document.getElementById("canvas");
  const asked = window.requestAnimationFrame;
  let wanted = null;
  window.requestAnimationFrame = (act) => { wanted = [...(wanted ?? []), act]; return 1; };
  document.dispatchEvent(new KeyboardEvent("keydown", { key }));
  const run = () => { const now = wanted ?? []; wanted = null; now.forEach((act) => act()); };
  run();
  for (let i = 0; i < frames; i += 1) {
    const begin = performance.now();
    canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: i % 2 ? 400 : 700, cancelable: true }));
    run();
    canvas.getContext("2d").getImageData(0, 0, 1, 1);  // until all of it is on the canvas
    took.push(performance.now() - begin);
  }
  window.requestAnimationFrame = asked;
  return took;
}"""


def drawing(
    browser, folder: Path, sizes: tuple[int, int, int], layouts: tuple[int, ...]
) -> Iterator[Figure]:
    """All rows. `sizes`: the first picture, and the two at which a frame is timed."""
    yield from layout(layouts)
    yield text_tree(folder, 1000)
    families = {}
    for count in sizes:
        path = folder / f"drawing-{count}.db"
        generate.write(path, generate.organisms(count))
        with lineage.open(path, create=False) as registry:
            families[count] = registry.family(limit=None, details=True)
    yield from bytes_each(families[sizes[1]], sizes[1])
    if browser is None:
        yield Figure("the tree page", "", "skipped: there is no Chromium", None)
        return
    yield from first_picture(browser, folder, families[sizes[0]], sizes[0])
    for count, goal in zip(sizes[1:], (16, 33), strict=True):
        yield frame(browser, folder, families[count], count, goal)


@contextmanager
def browser() -> Iterator[object]:
    """A headless Chromium; None where there is none."""
    chromium = os.environ.get("LINEAGE_TEST_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


def layout(sizes: tuple[int, ...]) -> Iterator[Figure]:
    """The layout of forests of the shape of the Hub at several sizes, and an organism alone."""
    took = {}
    for count in sizes:
        links = [
            (one.id - 1, parent[0] - 1)
            for one in generate.organisms(count)
            for parent in one.parents
        ]
        begin = time.perf_counter()
        backbone.lay(count, links, [None] * len(links))
        took[count] = time.perf_counter() - begin
    each = [took[count] / count * 1e6 for count in sizes]
    told = ", ".join(f"{count:,}: {seconds(took[count])}" for count in sizes)
    largest = sizes[-1]
    yield Figure(
        f"layout of {largest:,}",
        "≤ 10 s at 2,000,000, O(n)",
        f"{told} ({', '.join(figure(one) for one in each)} µs an organism)",
        took[largest] * 2e6 / largest <= 10,
        {"seconds": {str(count): took[count] for count in sizes}},
    )


def text_tree(folder: Path, count: int) -> Figure:
    """The forest from the registry as text for a terminal."""
    path = folder / "text.db"
    generate.write(path, generate.organisms(count))
    rounds = []
    with lineage.open(path, create=False) as registry:
        registry.family(limit=1)
        for _ in range(5):
            begin = time.perf_counter()
            text.render(registry.family(limit=count), width=80, color=False)
            rounds.append(time.perf_counter() - begin)
    took = median(rounds)
    return Figure(f"text tree of {count:,}", "≤ 0.3 s", seconds(took), took <= 0.3, {"s": rounds})


def bytes_each(family: Family, count: int) -> Iterator[Figure]:
    drawn, details = (4 / 3 * len(block) / count for block in columns.pack(family, "bench"))
    yield Figure("bytes in the page to draw an organism", "≤ 60", figure(drawn), drawn <= 60)
    whole = drawn + details
    yield Figure("with all its details", "≤ 400", figure(whole), whole <= 400)


def first_picture(browser, folder: Path, family: Family, count: int) -> Iterator[Figure]:
    """Ours and what is quick in turn, so that what slows the machine slows both; pyvis once."""
    own = folder / "own.html"
    own.write_text(html.render(family, title="bench"), encoding="utf-8")
    sigma = _sigma(folder, family)
    firsts: dict[Path | str, list[float | None]] = {own: [], sigma: []}
    for number in range(5):
        for page in (own, sigma) if number % 2 else (sigma, own):
            firsts[page].append(None if isinstance(page, str) else _first(browser, page))
    ours = [one for one in firsts[own] if one is not None]
    took = median(ours)
    yield Figure(
        f"first picture of {count:,}", "≤ 0.5 s", seconds(took), took <= 0.5, {"s": ours}
    )
    vis = _vis(folder, family)
    for name, goal, page, rounds in (
        ("pyvis, its hierarchical layout", 50, vis, [_first(browser, vis)]),
        ("sigma.js 3", 3, sigma, firsts[sigma]),
    ):
        what = f"the same against {name}"
        if isinstance(page, str):
            yield Figure(what, f"≥ {goal}x", page, None)
            continue
        there = [one for one in rounds if one is not None]
        theirs = median(there) if there else None
        ratio = (PATIENCE if theirs is None else theirs) / took
        measured = f"none after {PATIENCE} s: more than " if theirs is None else ""
        yield Figure(
            what, f"≥ {goal}x", f"{measured}{figure(ratio)}x" + (
                "" if theirs is None else f" ({seconds(theirs)})"),
            ratio >= goal, {"theirs_s": there, "ours_s": took},
        )  # fmt: skip


def _first(browser, path: Path) -> float | None:
    """Seconds from the request to the first picture, by the clock of the page; ours answers to keys
    and mouse by then. None for none."""
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.set_default_timeout(PATIENCE * 1000)
    try:
        tab.goto(path.as_uri(), wait_until="commit")
        told = tab.evaluate(
            """() => new Promise((done) => {
                const look = () => (window.drawnAt || document.querySelector("[data-ready]")
                  ? requestAnimationFrame(() => setTimeout(() => done(performance.now())))
                  : setTimeout(look, 4));
                look();
            })"""
        )
        return float(told) / 1000
    except Exception as error:
        if "Timeout" not in type(error).__name__:
            raise
        return None
    finally:
        tab.close()


def _graph(family: Family) -> tuple[list[int], list[tuple[int, int]]]:
    return list(family.members), [(link.parent, link.child) for link in family.branches]


def _vis(folder: Path, family: Family) -> Path:
    """vis-network, which pyvis puts on its pages, with pyvis's options for layout=True."""
    ids, links = _graph(family)
    library = files("lineage.viz").joinpath("vendor/vis-network.min.js").read_text("utf-8")
    nodes = json.dumps([{"id": one, "label": str(one)} for one in ids])
    edges = json.dumps([{"from": a, "to": b} for a, b in links])
    options = json.dumps({"layout": {"hierarchical": {"enabled": True, "sortMethod": "directed"}},
                          "physics": {"enabled": True}})  # fmt: skip
    page = folder / "vis.html"
    page.write_text(
        f"<!doctype html><div id=n style='height:850px'></div><script>{library}</script><script>"
        f"const network = new vis.Network(document.getElementById('n'), {{nodes: {nodes}, "
        f"edges: {edges}}}, {options}); network.once('afterDrawing', () => {{ "
        "window.drawnAt = 1; });</script>",
        encoding="utf-8",
    )
    return page


def _sigma(folder: Path, family: Family) -> Path | str:
    """sigma.js draws what has a place already: it is given one."""
    home = ENVIRONMENT / "sigma"
    scripts = [home / "node_modules" / one for one in
               ("graphology/dist/graphology.umd.min.js", "sigma/dist/sigma.min.js")]  # fmt: skip
    if not all(one.exists() for one in scripts):
        print("Installing sigma.js in .venv-bench, once.", file=sys.stderr)
        home.mkdir(parents=True, exist_ok=True)
        try:
            command = ["npm", "install", "--silent", "--prefix", str(home), "sigma@3", "graphology"]
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            return f"skipped: sigma.js could not be installed ({error})"
        if done.returncode or not all(one.exists() for one in scripts):
            return "skipped: sigma.js could not be installed"
    ids, links = _graph(family)
    data = json.dumps([ids, links])
    libraries = "".join(f"<script>{one.read_text('utf-8')}</script>" for one in scripts)
    page = folder / "sigma.html"
    page.write_text(
        f"<!doctype html><div id=n style='height:850px;width:1300px'></div>{libraries}<script>"
        f"const [ids, links] = {data}; const graph = new graphology.Graph();"
        "ids.forEach((id, i) => graph.addNode(id, {x: i % 97, y: i, size: 2, label: String(id)}));"
        "links.forEach(([a, b]) => graph.mergeEdge(a, b));"
        "const drawn = new Sigma(graph, document.getElementById('n'));"
        "drawn.once('afterRender', () => { window.drawnAt = 1; });"
        "if (!window.drawnAt) drawn.refresh();</script>",
        encoding="utf-8",
    )
    return page


def frame(browser, folder: Path, family: Family, count: int, goal: int) -> Figure:
    """What a frame takes while rows are panned, near and from afar: events, drawing, pixels."""
    page = folder / f"frame-{count}.html"
    page.write_text(html.render(family, title="bench"), encoding="utf-8")
    tab = browser.new_page(viewport={"width": 1400, "height": 900})
    tab.set_default_timeout(PATIENCE * 1000)
    tab.goto(page.as_uri())
    tab.wait_for_selector("[data-ready]", state="attached")
    tab.wait_for_timeout(500)
    near, far = (median(tab.evaluate(PANNED, [60, key])) for key in ("1", "0"))
    tab.close()
    worst = max(near, far)
    return Figure(
        f"a frame while panning {count:,}",
        f"≤ {goal} ms",
        f"{figure(near)} ms near, {figure(far)} ms from afar",
        worst <= goal,
        {"near_ms": near, "far_ms": far},
        "the median of 60: the event, all drawing, and reading a pixel back",
    )
