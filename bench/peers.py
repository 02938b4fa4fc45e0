"""The same registration in MLflow, and where peers live: in environments of their own,
`.venv-bench` and `.venv-bench-…`, each made once, by the first run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import lineage
from bench import ROOT
from bench.timing import Figure, Sides, figure, seconds
from bench.timing import raw as raw_of
from bench.writing import step

ENVIRONMENT = ROOT / ".venv-bench"
WHAT = "the same against MLflow (SQLite backend: run, LoggedModel, metrics)"
GOAL = "≥ 50x faster"


def environment(
    what: str = "MLflow", packages: tuple[str, ...] = ("mlflow",), folder: Path = ENVIRONMENT
) -> Path | str:
    """The Python that has MLflow, or other packages; or a sentence that says why there is none."""
    python = folder / "bin" / "python"
    ready = folder / "-".join((".ready", *(one for one in packages if one != "mlflow")))
    if ready.exists() and python.exists():
        return python
    print(f"Installing {what} in {folder.name}: minutes, once.", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            return f"skipped: {what} could not be installed ({error})"
        if done.returncode:
            said = (done.stderr.strip() or "no reason given").splitlines()[-1]
            return f"skipped: {what} could not be installed ({said[:200]})"
    ready.touch()
    return python


def mlflow(folder: Path, rounds: int) -> Figure:
    """Rounds of ten registrations in turn, each side in its own process and file."""
    python = environment()
    if isinstance(python, str):
        return Figure(WHAT, GOAL, python, None)
    sides, open_ended, version = against_mlflow(folder, python, rounds)
    ratio = 1 / sides.ratio
    less = median(open_ended)
    return Figure(
        WHAT,
        GOAL,
        f"{figure(ratio)}x (MLflow {version} {seconds(median(sides.theirs))}, lineage "
        f"{seconds(median(sides.ours))})",
        ratio >= 50,
        raw_of(sides) | {"version": version, "left_open_median_s": less},
        f"{len(sides.ours)} registrations in turns of ten; in fifths {sides.turned().spread}x. "
        "MLflow: create_run with a parent tag, create_logged_model, log_batch of three metrics, "
        "finalize_logged_model, set_terminated. Without the last two, which leaves the run RUNNING "
        f"and the model PENDING: {seconds(less)}, {figure(less / median(sides.ours))}x.",
    )


def against_mlflow(folder: Path, python: Path, rounds: int) -> tuple[Sides, list[float], str]:
    sides, open_ended = Sides([], []), []
    worker = subprocess.Popen(
        [str(python), str(Path(__file__).with_name("mlflow_worker.py")), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    )

    def ask(end: bool, count: int) -> list[float]:
        worker.stdin.write(json.dumps([end, count]) + "\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    try:
        version = json.loads(worker.stdout.readline())["version"]
        with lineage.open(folder / "beside-mlflow.db", command="bench") as registry:
            base = registry.register(**step(1, (), "mlflow").arguments())
            for number in range(rounds):
                sides.theirs.extend(ask(True, 10))
                open_ended.extend(ask(False, 10))
                for own in range(10 * number, 10 * number + 10):
                    arguments = step(own + 2, (), "mlflow").arguments() | {"parents": base}
                    begin = time.perf_counter()
                    registry.register(**arguments)
                    sides.ours.append(time.perf_counter() - begin)
    finally:
        worker.stdin.close()
        worker.wait()
    return sides, open_ended, version
