"""The same questions to the same family: lineage, networkx with the family loaded, MLflow by a walk
over tags, ml-metadata by get_lineage_subgraph. Answers are compared where they are given."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import networkx as nx

import lineage
from bench import ROOT, peers
from bench.timing import Figure, seconds

Answers = tuple[list[float], list[list[int]]]
FIRST = [0, 0, 0]
"""Whose descendants are asked for: the first's, three times, for a median."""

APART = ROOT / ".venv-bench-ml-metadata"
"""ml-metadata 1.17 takes protobuf below 5 and attrs below 24: beside it MLflow would get older ones
than it comes with."""


def family(size: int) -> list[tuple[int, list[int]]]:
    """(child, parents): a tree wide at the top, a merge in thirty, and a chain of a tenth."""
    random_ = random.Random(5)
    found: list[tuple[int, list[int]]] = [(0, [])]
    for own in range(1, size):
        if own % 10 == 0:
            found.append((own, [max(0, own - 10)]))
        else:
            count = 2 if own > 2 and random_.random() < 1 / 30 else 1
            above = {int(own * random_.random() ** 2) for _ in range(count)}
            found.append((own, sorted(above)))
    return found


def questions(folder: Path, size: int, with_peers: bool = True) -> list[Figure]:
    """The table of medians. Nothing is promised of it."""
    known = family(size)
    asked = random.Random(6).sample(range(size // 2, size), min(20, size // 4))
    told: dict[str, tuple[Answers, Answers] | str] = {}
    told["lineage"] = _lineage(folder, known, asked)
    told["networkx, loaded"] = _networkx(known, asked)
    if with_peers:
        told |= _peers(folder, known, asked)
    right = told["networkx, loaded"]
    lines, raw = [], {}
    for name, answers in told.items():
        if isinstance(answers, str):
            lines.append(f"{name}: {answers}")
            continue
        wrong = sum(a != b for one in (0, 1)
                    for a, b in zip(answers[one][1], right[one][1], strict=True))  # type: ignore[index]
        up, down = median(answers[0][0]), median(answers[1][0])
        raw[name] = {"ancestors_s": up, "descendants_s": down, "wrong": wrong}
        less = f", {wrong} of {len(asked) + len(FIRST)} answers incomplete" if wrong else ""
        lines.append(f"{name} {seconds(up)} and {seconds(down)}{less}")
    return [
        Figure(
            f"ancestors of one, and descendants of the first, of {size:,} organisms",
            "-",
            "; ".join(lines),
            None,
            raw,
            "Medians. MLflow: a tag with the parents, walked by get_run and search_runs. "
            "ml-metadata: get_lineage_subgraph, at most 100 hops, each link two. networkx holds "
            "all in memory; the others answer from a file.",
        )
    ]


def _timed(ask: Callable[[int], list[int]], owns: Iterable[int]) -> Answers:
    taken, answers = [], []
    for own in owns:
        begin = time.perf_counter()
        answers.append(ask(own))
        taken.append(time.perf_counter() - begin)
    return taken, answers


def _lineage(folder: Path, known: list[tuple[int, list[int]]], asked: list[int]) -> Any:
    with lineage.open(folder / "questions.db", command="bench") as registry:
        registry.register_many(
            {"name": f"o{own}", "parents": [f"o{one}" for one in above]} for own, above in known
        )
        number = lambda found: sorted(int((one.name or "")[1:]) for one in found)  # noqa: E731
        return (
            _timed(lambda own: number(registry.ancestors(f"o{own}")), asked),
            _timed(lambda own: number(registry.descendants(f"o{own}")), FIRST),
        )


def _networkx(known: list[tuple[int, list[int]]], asked: list[int]) -> Any:
    graph = nx.DiGraph()
    graph.add_nodes_from(own for own, _ in known)
    graph.add_edges_from((one, own) for own, above in known for one in above)
    return (
        _timed(lambda own: sorted(nx.ancestors(graph, own)), asked),
        _timed(lambda own: sorted(nx.descendants(graph, own)), FIRST),
    )


def _peers(folder: Path, known: list[tuple[int, list[int]]], asked: list[int]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, python in (
        ("MLflow", peers.environment()),
        ("ml-metadata", peers.environment("ml-metadata", ("ml-metadata",), APART)),
    ):
        installed = not isinstance(python, str)
        told[name] = _peer(python, name, folder, known, asked) if installed else python
    return told


def _peer(python: Path, name: str, folder: Path, *asked: object) -> Any:
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("questions_worker.py")), name, str(folder)],
        input=json.dumps([*asked, FIRST]),
        capture_output=True,
        text=True,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    )
    if done.returncode:
        return f"failed: {(done.stderr.strip() or 'no reason given').splitlines()[-1][:200]}"
    return json.loads(done.stdout.splitlines()[-1])
