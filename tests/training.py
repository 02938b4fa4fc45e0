"""A plain training loop, as a user writes one, to be run in a process of its own:
`python training.py STEPS [SECONDS_A_STEP]`. After each checkpoint it prints its step; after those
in HOLD it waits for a line on its standard input, or for its end."""

from __future__ import annotations

import json
import os
import random
import struct
import sys
import time
from pathlib import Path

import lineage

RANKS = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")


def save(folder: Path, weights: bytes) -> Path:
    """A small safetensors checkpoint with these weights, 16 bytes of them."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    half = folder.with_name(f"{folder.name}.half")
    half.write_bytes(struct.pack("<Q", len(header)) + header + weights)
    half.rename(folder / "model.safetensors")
    return folder


class OneJoule:
    """A meter by which each interval is one joule: duplicates would show in the sum."""

    def start(self) -> None: ...

    def stop(self) -> lineage.PowerCost:
        return lineage.PowerCost(joules=1.0, source="declared")


def main() -> None:
    steps, seconds = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    name = os.environ.get("RUN", "sft")
    weights = random.Random(f"{name} {os.environ.get('SEED', '')}")
    holds = [int(step) for step in os.environ.get("HOLD", "").split()]
    main_process = all(os.environ.get(rank, "0") == "0" for rank in RANKS)
    with lineage.track(f"runs/{name}", task="toy", meter=OneJoule()) as run:
        background = run.recorder._background
        print("background", background.process.pid if background else 0, flush=True)
        for step in range(1, steps + 1):
            folder = Path(f"runs/{name}/checkpoint-{step}")
            if main_process:
                save(folder, weights.randbytes(16))
            run.checkpoint(folder, step=step, fitness={"acc": step / steps})
            print(step, flush=True)
            if step in holds:
                sys.stdin.readline()
            time.sleep(seconds)
    print("done", run.recorder.lost, flush=True)


if __name__ == "__main__":
    main()
