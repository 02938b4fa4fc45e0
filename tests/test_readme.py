"""The README's examples do what it says: its Python runs, and its commands succeed, in the order
they stand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import save_file

README = (ROOT / "README.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def commands(block: str) -> list[str]:
    return [line.removeprefix("$ ").removeprefix("lineage ") for line in block.splitlines()]


def lineage(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("lineage")), *shlex.split(command, comments=True)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The checkpoints that the README registers, as small ones."""
    for number, place in enumerate(("runs/base", "runs/sft/checkpoint-500")):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        save_file({"w": np.full((4, 4), float(number), "float32")}, folder / "model.safetensors")
    return tmp_path


def test_the_training_script_runs(runs: Path) -> None:
    (script,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=runs,
        env={**os.environ, "LINEAGE_DB": str(runs / "r.db")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "base@v1" in done.stdout


def test_the_commands_on_checkpoints_of_ones_own_succeed(runs: Path) -> None:
    (block,) = (one for one in blocks("console") if "lineage init" in one)
    for command in commands(block):
        done = lineage(command, runs)
        assert done.returncode == 0, (command, done.stderr)
    assert (runs / "family.jsonl").read_text("utf-8").count("\n") == 2


def test_the_commands_on_the_demo_family_succeed(tmp_path: Path) -> None:
    done = lineage("demo", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "power bill" in done.stdout
    (block,) = (one for one in blocks("console") if "LINEAGE_DB" in one)
    export, *questions = commands(block)
    name, _, value = export.removeprefix("export ").partition("=")
    for command in questions:
        done = lineage(command, tmp_path, **{name: value})
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout, command
    page = (tmp_path / "family.html").read_text("utf-8")
    assert "<title>fern · lineage</title>" in page
