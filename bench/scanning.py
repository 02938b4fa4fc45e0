"""What a scan of many checkpoint folders costs, against a bare loop over the same files; and when
nothing has changed, against `find -newer`."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save

import lineage
from bench.timing import Figure, against, figure, in_turn
from bench.timing import raw as raw_of

STEPS = 10
"""Checkpoints of a run."""

CARD = """---
license: apache-2.0
base_model: org/base-{base}
tags: [trl, sft]
---
# Fine-tune {run}
"""
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
          "num_hidden_layers": 2, "vocab_size": 256, "torch_dtype": "float32"}  # fmt: skip


def folders(root: Path, count: int) -> int:
    """Checkpoint folders as the Trainer writes them, with weights of 20 kB; how many files."""
    chance = np.random.default_rng(1)
    for number in range(count):
        run, step = number // STEPS, (number % STEPS + 1) * 100
        folder = root / f"runs/run-{run:05}/checkpoint-{step}"
        folder.mkdir(parents=True)
        tensors = {
            f"model.layers.{layer}.{part}.weight": chance.normal(size=(32, 32)).astype(np.float32)
            for layer in range(2)
            for part in ("q_proj", "o_proj")
        }
        (folder / "model.safetensors").write_bytes(save(tensors))
        config = CONFIG | {"_name_or_path": f"org/base-{run % 100}", "seed": run}
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        (folder / "trainer_state.json").write_text(json.dumps(_state(run, step), indent=2))
        (folder / "README.md").write_text(CARD.format(base=run % 100, run=run))
    return 4 * count


def _state(run: int, step: int) -> dict[str, Any]:
    log: list[dict[str, Any]] = []
    for at in range(50, step + 1, 50):
        log.append({"step": at, "epoch": at / 500, "loss": 5 - at / 1000 + run / 10**6,
                    "grad_norm": 1.5, "learning_rate": 1e-4})  # fmt: skip
    log.append({"step": step, "epoch": step / 500, "eval_loss": 4 - step / 1000})
    return {"global_step": step, "epoch": step / 500, "save_steps": 100, "log_history": log}


def _bare(root: Path) -> int:
    """Open, parse and hash every file once."""
    known = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                content = file.read()
            hashlib.sha256(content).hexdigest()
            if name.endswith(".json"):
                json.loads(content)
            elif name.endswith(".safetensors"):
                json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
            else:
                front = content.decode().split("---\n")[1]
                yaml.load(front, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            known += 1
    return known


def scans(folder: Path, count: int, rounds: int) -> Iterator[Figure]:
    """The first scan, a dry run, and the second, when all is registered and nothing has changed."""
    root = folder / "zoo"
    files = folders(root, count)
    with lineage.open(folder / "scan.db", command="bench") as registry:
        first = in_turn(rounds, lambda _: registry.scan(root), lambda _: _bare(root))
        applied = registry.scan(root, apply=True)
        again = registry.scan(root)
        assert (applied.registered, again.unchanged) == (count, count)
        reference = folder / "reference"
        reference.touch()
        second = in_turn(
            max(rounds, 5),
            lambda _: registry.scan(root),
            lambda _: subprocess.run(
                ["find", root, "-newer", reference], check=True, stdout=subprocess.DEVNULL
            ),
        )
    yield Figure(
        f"scan of {count:,} checkpoint folders, against a bare Python loop that opens, parses and "
        "hashes the same files",
        "≤ 2x",
        f"{figure(first.ratio)}x ({against(first)})",
        first.ratio <= 2,
        raw_of(first) | {"folders": count, "files": files},
        f"{files:,} files; {rounds} rounds in turn, in fifths {first.spread}x. The scan hashes "
        "every tensor besides, and relates them.",
    )
    yield Figure(
        f"a second scan of {count:,} checkpoint folders, against `find -newer` over them",
        "≤ 3x",
        f"{figure(second.ratio)}x ({against(second, theirs='find')})",
        second.ratio <= 3,
        raw_of(second),
        f"No file is opened. In fifths {second.spread}x.",
    )
