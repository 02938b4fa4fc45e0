"""Cull under attack: whatever happens to a tree before and while it is culled, no file moves that
must not, and none is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import lineage
from bench import attack
from lineage import Registry

TREES = 10_000 if os.environ.get("LINEAGE_SLOW") else 300
PARTS = 10


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    path = tmp_path_factory.mktemp("attack") / "registry.db"
    with lineage.open(path, durable=False) as opened:
        yield opened


@pytest.mark.parametrize("part", range(PARTS))
def test_no_wrong_file_moves(registry: Registry, tmp_path: Path, part: int) -> None:
    for seed in range(part, TREES, PARTS):
        assert not attack.attack(registry, tmp_path, seed), f"seed {seed}"


def test_an_attack_would_be_noticed(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look after the move, wrong files are found."""
    from lineage.culling import quarantine

    def blind(box: quarantine.Box, file: object, tell: object) -> tuple[str, list[int]]:
        return "", []

    monkeypatch.setattr(quarantine, "_differs", blind)
    assert any(attack.attack(registry, tmp_path, seed) for seed in range(20_000, 20_060))
