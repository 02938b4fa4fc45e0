"""Run by `make test-frameworks`, in an environment with torch. Each test gets a registry."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lineage
from lineage.registry import Registry

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """What LINEAGE_DB names."""
    monkeypatch.setenv("LINEAGE_DB", str(tmp_path / "r.db"))
    with lineage.open() as found:
        yield found


@pytest.fixture(autouse=True)
def in_line(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Where a test does not want the process beside the run, `sync` does its work."""
    if "beside" not in request.keywords:
        from lineage.integrations.recorder import Recorder

        monkeypatch.setattr(Recorder, "_start_background", lambda self: None)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{HERE.parent.parent}:{HERE}"}
