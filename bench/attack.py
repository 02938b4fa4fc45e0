"""Cull under attack: random checkpoint folders in which links, changes and races are planted, and
how many files a cull moved that it must not move. The tests run it too; a seed gives one tree."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import lineage
from bench.timing import Figure
from lineage.culling import quarantine
from lineage.registry import Registry
from lineage.store import mark

NAMES = ("optimizer.pt", "config.json", "scheduler.pt", "vae/config.json", "vae/deep/extra.json")


def _weights(path: Path, seed: int) -> None:
    """A safetensors file of one tensor, whose bytes come from the seed."""
    data = hashlib.sha256(str(seed).encode()).digest()
    header = {"w": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}
    written = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(written)) + written + data)


def _regular(top: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


class Attack:
    """One tree, what is done to it, and what became of it. `forbidden` are the inodes that must
    never be in quarantine, with the reason."""

    def __init__(self, registry: Registry, top: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.registry, self.top, self.name = registry, top, f"victim-{seed}"
        self.forbidden: dict[int, str] = {}
        self.judged = ""
        self.place = top / "runs" / "checkpoint-5"
        self.outside = top / "outside"
        self._grow(seed)

    def _grow(self, seed: int) -> None:
        single = self.random.random() < 0.15
        _weights(self.place / "model.safetensors", seed)
        if self.random.random() < 0.5:
            _weights(self.place / "vae" / "model.safetensors", -seed)
        for name in NAMES:
            if self.random.random() < 0.8:
                path = self.place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{name} {seed}".encode())
        target = self.place / "model.safetensors" if single else self.place
        self.registry.register(target, name=self.name)
        self.files = {
            self.place / file.path: file.sha256 for file in self.registry.record(self.name).files
        }
        for path in self.files:  # the same names and bytes, and none of ours
            copy = self.outside / path.relative_to(self.place)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            self._forbid(copy, "it is outside the registered folder")
        with self.registry.store.act() as act:
            own = self.registry.get(self.name).id
            mark(act, "selected_against", "selected_against", [(own, {"reasons": []})])

    def _forbid(self, path: Path, why: str) -> None:
        with suppress(OSError):
            self.forbidden.setdefault(path.lstat().st_ino, why)

    # what can be done to a tree, before or while it is culled

    def change(self, path: Path) -> None:
        with path.open("r+b") as file:
            byte = file.read(1) or b"x"
            file.seek(0)
            file.write(bytes([(byte[0] + 1) % 256]))  # twice is no way back to what was registered
        self._forbid(path, "it has changed")

    def link_out(self, path: Path) -> None:
        path.unlink()
        path.symlink_to(self.outside / path.relative_to(self.place))
        self._forbid(path, "it is a link")

    def hard_link(self, path: Path) -> None:
        os.link(path, self.outside / f"hard-{self.random.getrandbits(40)}")
        self._forbid(path, "it has another name")

    def replace_by_other(self, path: Path) -> None:
        other = path.with_name(f"new-{self.random.getrandbits(40)}")
        other.write_bytes(b"x" * path.stat().st_size)
        self._forbid(other, "it is a new file of the same size")
        os.replace(other, path)

    def replace_by_folder(self, path: Path) -> None:
        path.unlink()
        path.mkdir()
        (path / "inside").write_bytes(b"mine")
        self._forbid(path / "inside", "it was never listed")

    def replace_by_pipe(self, path: Path) -> None:
        path.unlink()
        os.mkfifo(path)
        self._forbid(path, "it is a pipe")

    def delete(self, path: Path) -> None:
        path.unlink()

    def add(self, path: Path) -> None:
        extra = path.with_name(f"extra-{self.random.getrandbits(40)}")
        extra.write_bytes(b"mine")
        self._forbid(extra, "it was never listed")

    def swap_folder(self, path: Path) -> None:
        """The folder of a file becomes a link to one outside that holds the same."""
        inner = path.parent
        away = self.top / f"away-{self.random.getrandbits(40)}"
        for held in _regular(inner):
            self._forbid(held, "its folder is elsewhere now")
        inner.rename(away)
        inner.symlink_to(self.outside / inner.relative_to(self.place))

    def replace_folder(self, path: Path) -> None:
        """Another folder takes the place, with a file of its own."""
        away = self.top / f"away-{self.random.getrandbits(40)}"
        for held in _regular(self.place):
            self._forbid(held, "its folder is elsewhere now")
        self.place.rename(away)
        self.place.mkdir()
        (self.place / "config.json").write_bytes(b"mine")
        self._forbid(self.place / "config.json", "it is another file")

    def quarantine_link(self, path: Path) -> None:
        (self.place.parent / quarantine.FOLDER).symlink_to(self.outside)

    def share(self, path: Path) -> None:
        """A living organism lists the file, through a link."""
        living = self.top / f"living-{self.random.getrandbits(40)}"
        _weights(living / "model.safetensors", self.random.getrandbits(60))
        (living / "shared.json").symlink_to(path)
        self.registry.register(living, name=living.name)
        self._forbid(path, "a living organism lists it")

    def judge(self, path: Path) -> None:
        """Somebody takes the mark back, or protects it; too late where the move is recorded."""
        late = any(place.quarantine for place in self.registry.record(self.name).places)
        if self.random.random() < 0.5:
            self.registry.revive(self.name)
        else:
            self.registry.protect(self.name)
        self.judged = self.judged or ("" if late else "it was revived or protected")

    def strike(self) -> None:
        """Do something, where the tree still allows it."""
        act: Callable[[Path], None] = self.random.choice([
            self.change, self.link_out, self.hard_link, self.replace_by_other,
            self.replace_by_folder, self.replace_by_pipe, self.delete, self.add, self.swap_folder,
            self.replace_folder, self.quarantine_link, self.share, self.judge,
        ])  # fmt: skip
        path = self.random.choice(sorted(self.files))
        with suppress(OSError, ValueError, lineage.LineageError):
            if path.is_file() and not path.is_symlink() and path.resolve() == path:
                act(path)

    @contextmanager
    def racing(self, chance: float) -> Iterator[None]:
        """Strike at random, just before and just after the cull moves or opens something."""
        real = {"rename": os.rename, "open": os.open}
        busy = False

        def strike() -> None:
            nonlocal busy
            if not busy and self.random.random() < chance:
                busy = True
                try:
                    self.strike()
                finally:
                    busy = False

        def rename(*args: Any, **options: Any) -> None:
            if "src_dir_fd" in options:
                strike()
            real["rename"](*args, **options)
            if "src_dir_fd" in options:
                strike()

        def opening(*args: Any, **options: Any) -> int:
            if "dir_fd" in options:
                strike()
            return real["open"](*args, **options)

        os.rename, os.open = rename, opening  # type: ignore[assignment]
        try:
            yield
        finally:
            os.rename, os.open = real["rename"], real["open"]

    # what became of it

    def run(self) -> list[str]:
        """Attack, cull, restore; each file that was moved and must not be, or is not there."""
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 4))):
            self.strike()
        before = {path.lstat().st_ino for path in _regular(self.top)}
        with self.racing(self.random.choice((0.0, 0.05, 0.2))):
            plan = self.registry.cull(apply=True)
        wrong = list(self._wrongly_moved())
        if self.judged and plan.files:
            wrong.append(f"{plan.files} files moved, though {self.judged}")
        self.registry.restore()
        after = {path.lstat().st_ino for path in _regular(self.top)}
        for own, why in self.forbidden.items():  # what no attack deletes
            if why in KEPT and own in before - after:
                wrong.append(f"a file is lost: {why}")
        return [*wrong, *self._left_behind()]

    def _wrongly_moved(self) -> Iterator[str]:
        boxes = self.place.parent / quarantine.FOLDER
        if boxes.is_symlink():
            return
        for path in boxes.glob("*/files/**/*"):
            status = path.lstat()
            if path.is_dir() and not path.is_symlink():
                continue
            if why := self.forbidden.get(status.st_ino):
                yield f"{path} moved, though {why}"
                continue
            within = path.relative_to(boxes).parts[2:]
            sha256 = self.files.get(self.place.joinpath(*within))
            if path.is_symlink() or not path.is_file():
                yield f"{path} is no file"
            elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                yield f"{path} is not what was registered"

    def _left_behind(self) -> Iterator[str]:
        """Files in quarantine after a restore, where nothing stands in their way."""
        boxes = self.place.parent / quarantine.FOLDER
        if boxes.is_symlink():
            return
        for path in boxes.glob("*/files/**/*"):
            target = self.place.joinpath(*path.relative_to(boxes).parts[2:])
            free = not os.path.lexists(target) and target.parent.resolve() == target.parent
            if path.is_file() and target.parent.is_dir() and free:
                yield f"{path} was not restored"


KEPT = ("it is outside the registered folder", "it was never listed", "it has another name")


def attack(registry: Registry, folder: Path, seed: int) -> list[str]:
    """Grow a tree from the seed, attack it, cull; what went wrong. The tree is gone afterwards."""
    top = folder / f"tree-{seed}"
    try:
        return Attack(registry, top, seed).run()
    finally:
        with registry.store.act() as act:  # the next cull is of the next tree alone
            act.connection.execute(
                "UPDATE organism SET status = 'alive' WHERE status <> 'alive'", ()
            )
            act.connection.execute("UPDATE place SET gone_at = 0 WHERE gone_at IS NULL", ())
            act.connection.execute("DELETE FROM quarantine", ())
        shutil.rmtree(top, ignore_errors=True)


def under_attack(folder: Path, trees: int) -> Figure:
    """The row of the benchmark: files moved that must not be, of all trees."""
    begin = time.perf_counter()
    with lineage.open(folder / "attack.db", durable=False) as registry:
        wrong = sum(len(attack(registry, folder, seed)) for seed in range(trees))
    return Figure(
        f"cull under attack: {trees:,} random folder trees with links, races and changes",
        "0 wrong files moved",
        f"{wrong} wrong files moved",
        not wrong,
        {"trees": trees, "wrong": wrong, "seconds": time.perf_counter() - begin},
    )
