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
from lineage.culling import act, plan, quarantine
from lineage.organism import File

TREES = 10_000 if os.environ.get("LINEAGE_SLOW") else 200
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


def _looks_at_nothing(box: quarantine.Box, file: File, tell: object) -> tuple[str, list[int]]:
    status = box.status(file.path)
    assert status is not None
    return "", [status.st_ino, status.st_size, status.st_mtime_ns]


def _lays_over(inner: int, name: str, above: int, wanted: str) -> bool:
    os.rename(name, wanted, src_dir_fd=inner, dst_dir_fd=above)
    return True


@pytest.mark.parametrize(
    ("module", "name", "without"),
    [
        (quarantine, "_differs", _looks_at_nothing),
        (quarantine, "_lay", _lays_over),
        (quarantine.Site, "strayed", lambda site: ""),
        (act, "_judge", lambda *args: None),
        (plan.Shared, "by", lambda shared, own, full: ""),
    ],
    ids=["look after the move", "overwrite nothing", "folders stay", "judge again", "shared"],
)
def test_an_attack_would_be_noticed(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    without: object,
) -> None:
    """Without any one of these rules, wrong files move or are lost."""
    monkeypatch.setattr(module, name, without)
    assert any(attack.attack(registry, tmp_path, seed) for seed in range(500_000, 500_200))
