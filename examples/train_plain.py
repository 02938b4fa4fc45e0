"""A plain training loop that registers its checkpoints: `python train_plain.py [FOLDER]`.

A logistic regression in numpy, twice: from scratch, and tuned further from the best of that. It
keeps its last two checkpoints. Some two seconds, without a GPU or a download."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

import lineage
from lineage.integrations.plain import Run

STEPS, EVERY, KEEP = 200, 50, 2


def data(seed: int) -> tuple[np.ndarray, np.ndarray]:
    made = np.random.default_rng(seed)
    x = made.normal(size=(512, 8)).astype("float32")
    return x, (x @ np.arange(1, 9) + made.normal(size=512) > 0).astype("float32")


def accuracy(w: np.ndarray, seed: int) -> float:
    x, y = data(seed)
    return float((((x @ w) > 0) == y).mean())


def train(run: Run, folder: Path, w: np.ndarray, rate: float) -> Path:
    x, y = data(1)
    place = folder
    for step in range(1, STEPS + 1):
        w = w - rate * x.T @ (1 / (1 + np.exp(-(x @ w))) - y) / len(y)
        if step % EVERY == 0:
            place = folder / f"checkpoint-{step}"
            place.mkdir(parents=True, exist_ok=True)
            save_file({"w": w.astype("float32")}, place / "model.safetensors")
            shutil.rmtree(folder / f"checkpoint-{step - KEEP * EVERY}", ignore_errors=True)
            # the one line: it returns once the record is on the disk, and never raises
            run.checkpoint(place, step=step, fitness={"acc": accuracy(w, 2)})
    return place


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "plain-runs")
    with lineage.track(root / "base", task="half-plane") as run:
        last = train(run, root / "base", np.zeros(8, "float32"), 0.01)
    weights = load_file(last / "model.safetensors")["w"]
    with lineage.track(root / "tuned", parents=last, task="half-plane") as run:
        train(run, root / "tuned", weights, 0.5)
    print("lineage tree base/checkpoint-50   # once this has ended")


if __name__ == "__main__":
    main()
