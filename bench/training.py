"""What registering costs a training run: time in our hooks, and the processor time that the process
beside it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench import ROOT
from bench.timing import Figure, seconds

GOAL = 0.01
"""Of the time of a run may be spent in our hooks."""

RUN = """
import json, os, resource, sys, time
import numpy as np
from safetensors.numpy import save_file
folder, wanted, megabytes = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
begin = time.perf_counter()
import lineage
import lineage.integrations.plain
imports = time.perf_counter() - begin
x = np.random.default_rng(0).normal(size=(256, 256)).astype("float32")
weights = np.random.default_rng(0).normal(size=megabytes << 18).astype("float32")
begin = time.perf_counter()
step = saved = 0
with lineage.track(folder, task="bench") as run:
    beside = run.recorder._background
    while time.perf_counter() - begin < wanted or not saved:
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:
            x = np.tanh(x @ x / 256)
        step += 1
        if step % 50 == 0:
            place = os.path.join(folder, f"checkpoint-{step}")
            os.makedirs(place)
            weights[0] = step
            save_file({"w": weights}, os.path.join(place, "model.safetensors"))
            run.checkpoint(place, step=step, fitness={"loss": 1 / step})
            saved += 1
took = time.perf_counter() - begin
beside.finish()
cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"imports": imports, "hooks": run.recorder.seconds, "took": took, "saved": saved,
                  "beside": cpu.ru_utime + cpu.ru_stime, "lost": run.recorder.lost}))
"""


def hooks(folder: Path, wanted: float, megabytes: int) -> Figure:
    """A loop of steps of 50 ms on one thread that saves every 50, for `wanted` seconds."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder / "training"), str(wanted), str(megabytes)],
        env={**os.environ, "LINEAGE_DB": str(folder / "training.db"),
             "LINEAGE_SPOOL": str(folder / "spool"), "PYTHONPATH": str(ROOT),
             "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    share = told["hooks"] / told["took"]
    return Figure(
        "time in the hooks of a training run",
        "at most 1 %",
        f"{share:.2%} ({seconds(told['hooks'])} of {told['took']:.0f} s, {told['saved']} "
        f"checkpoints)",
        share <= GOAL and told["lost"] == 0,
        told | {"share": share, "megabytes": megabytes},
        f"Checkpoints of {megabytes} MB, one in 50 steps of 50 ms. Imports, once: "
        f"{seconds(told['imports'])}. The process beside it took {told['beside']:.1f} s of "
        f"processor time, {told['beside'] / told['took']:.1%} of one core.",
    )
