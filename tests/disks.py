"""Disks as they are in the world: small ones that fill up, files that belong to somebody else."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, mounted at a folder; the test is skipped where that is not
    allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "lineage-test", str(folder)]
    try:
        refused = subprocess.run(mount, capture_output=True).returncode
    except OSError:
        refused = 1
    if refused:
        pytest.skip("A small file system can only be mounted by root, on Linux.")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(folder: Path, leave: int = 0) -> Path:
    """Fill a disk, but for some bytes; the file that does it."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave))
    return ballast


@contextmanager
def without_privileges() -> Iterator[Path]:
    """As a user whom permissions bind (root is bound by none), with a folder of its own."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        if os.geteuid() != 0:
            yield home
            return
        os.chown(home, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield home
        finally:
            os.seteuid(0)
