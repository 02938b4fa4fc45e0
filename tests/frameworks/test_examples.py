"""The training scripts of examples/ do what they say: run, and leave a family behind."""

from __future__ import annotations

import subprocess
import sys

import pytest
import sound
from conftest import HERE, environment

from lineage.registry import Registry

EXAMPLES = HERE.parent.parent / "examples"


@pytest.mark.parametrize(
    ("script", "parent", "child", "relation"),
    [
        ("train_plain", "base/checkpoint-200", "tuned/checkpoint-50", "finetune"),
        ("train_transformers", "runs/base/final", "sft/checkpoint-10", "finetune"),
        ("train_transformers", "runs/base/final", "lora/checkpoint-20", "adapter"),
        ("train_lightning", "runs/first/last.ckpt", "runs/further/best.ckpt", "continue"),
    ],
)
def test_an_example(
    registry: Registry, script: str, parent: str, child: str, relation: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{script}.py"), "runs"],
        env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "lineage: " not in done.stderr
    found = registry.sync()
    assert (found.arrived, found.waiting, found.set_aside) == (0, (), ())
    assert registry.is_ancestor(parent, child)
    assert relation in [link.relation for link in registry.parents(child)]
    sound.check(registry)
