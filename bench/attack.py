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
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lineage
from bench.timing import Figure
from lineage.culling import act as acts
from lineage.culling import check, quarantine
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
    """The files below, those in quarantine left out."""
    for folder, _, names in os.walk(top):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and quarantine.FOLDER not in path.parts:
                yield path


class Attack:
    """One tree, what is done to it, and what became of it. `forbidden` are the inodes that must
    never be in quarantine, with the reason."""

    def __init__(self, registry: Registry, top: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.registry, self.top, self.name = registry, top, f"victim-{seed}"
        self.forbidden: dict[int, str] = {}
        self.judged, self.writing = "", False
        self.gone: set[int] = set()
        self.looked_at: set[int] = set()
        self.held: list[int] = []
        self.wrong: list[str] = []
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
        self.boxes = target.parent / quarantine.FOLDER
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
            own = path.lstat().st_ino
            self.forbidden.setdefault(own, why)
            self.gone.discard(own)  # a disk gives the number of a deleted file to a new one

    def _unlink(self, path: Path) -> None:
        own = path.lstat().st_ino
        path.unlink()
        if all(other.lstat().st_ino != own for other in _regular(self.top)):
            self.gone.add(own)  # a second name in quarantine is of a file on its way back

    # what can be done to a tree, before or while it is culled

    def change(self, path: Path) -> None:
        with path.open("r+b") as file:
            byte = file.read(1) or b"x"
            file.seek(0)
            file.write(bytes([(byte[0] + 1) % 256]))  # twice is no way back to what was registered
        self._forbid(path, "it has changed")

    def link_out(self, path: Path) -> None:
        self._unlink(path)
        path.symlink_to(self.outside / path.relative_to(self.place))
        self._forbid(path, "it is a link")

    def hard_link(self, path: Path) -> None:
        os.link(path, self.outside / f"hard-{self.random.getrandbits(40)}")
        self._forbid(path, "it has another name")

    def replace_by_other(self, path: Path) -> None:
        other = path.with_name(f"new-{self.random.getrandbits(40)}")
        other.write_bytes(b"x" * path.stat().st_size)
        self._forbid(other, "it is a new file of the same size")
        self._unlink(path)
        other.rename(path)

    def replace_by_folder(self, path: Path) -> None:
        self._unlink(path)
        path.mkdir()
        (path / "inside").write_bytes(b"mine")
        self._forbid(path / "inside", "it was never listed")

    def replace_by_pipe(self, path: Path) -> None:
        self._unlink(path)
        os.mkfifo(path)
        self._forbid(path, "it is a pipe")

    def delete(self, path: Path) -> None:
        self._unlink(path)

    def add(self, path: Path) -> None:
        extra = path.with_name(f"extra-{self.random.getrandbits(40)}")
        extra.write_bytes(b"mine")
        self._forbid(extra, "it was never listed")

    def occupy(self, path: Path) -> None:
        """A new file where one was taken away."""
        with path.open("xb") as file:
            file.write(b"mine")
        self._forbid(path, "it was never listed")

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
        self.boxes.symlink_to(self.outside)

    def share(self, path: Path) -> None:
        """A living organism lists the file, through a link."""
        living = self.top / f"living-{self.random.getrandbits(40)}"
        _weights(living / "model.safetensors", self.random.getrandbits(60))
        (living / "shared.json").symlink_to(path)
        self.registry.register(living, name=living.name)
        self._forbid(path, "a living organism lists it")

    def hold_open(self, path: Path) -> None:
        """Somebody has the file open, to write into it when it may be in quarantine already. After
        the last look at it nothing can tell; before it is deleted, it is looked at again."""
        self.held.append(os.open(path, os.O_RDWR))

    def write_through(self, path: Path) -> None:
        if self.held:
            held = self.random.choice(self.held)
            byte = os.pread(held, 1, 0) or b"x"
            os.pwrite(held, bytes([(byte[0] + 1) % 256]), 0)
            if (own := os.fstat(held).st_ino) not in self.looked_at:
                self.forbidden.setdefault(own, "it has changed")

    def judge(self, path: Path) -> None:
        """Somebody takes the mark back, or protects it."""
        if self.random.random() < 0.5:
            self.registry.revive(self.name)
        else:
            self.registry.protect(self.name)
        self.judged = "it was revived or protected"

    def cull_too(self, path: Path) -> None:
        self.registry.cull(apply=True)

    def restore_too(self, path: Path) -> None:
        self.registry.restore()

    def empty_too(self, path: Path) -> None:
        self.registry.empty_quarantine(datetime.now(UTC), apply=True)

    def strike(self, racing: bool = False) -> None:
        """Do something, where the tree still allows it."""
        todo: list[Callable[[Path], None]] = [
            self.change, self.link_out, self.hard_link, self.replace_by_other,
            self.replace_by_folder, self.replace_by_pipe, self.delete, self.add, self.swap_folder,
            self.replace_folder, self.quarantine_link, self.share, self.judge, self.hold_open,
        ]  # fmt: skip
        others: list[Callable[[Path], None]] = [
            self.write_through, self.cull_too, self.restore_too, self.empty_too, self.occupy,
        ]  # fmt: skip
        act = self.random.choice([*todo, *others] if racing else todo)
        if self.writing and act in (self.judge, self.share, *others[1:4]):
            return  # whoever writes to the registry waits for its turn
        path = self.random.choice(sorted(self.files))
        with suppress(OSError, ValueError, lineage.LineageError):
            there = path.is_file() and not path.is_symlink() and path.resolve() == path
            if there or act in others:
                act(path)

    @contextmanager
    def racing(self, chance: float) -> Iterator[Callable[[int], None]]:
        """Strike at random just before and just after whatever is done in an open folder, and after
        each block that is read; and look at what is recorded in the moment that it is."""
        busy = False

        def strike(_read: int = 0) -> None:
            nonlocal busy
            if not busy and self.random.random() < chance:
                busy = True
                try:
                    self.strike(racing=True)
                finally:
                    busy = False

        def between(real: Callable[..., Any]) -> Callable[..., Any]:
            def struck(*args: Any, **options: Any) -> Any:
                if "dir_fd" not in options and "src_dir_fd" not in options and real not in WHOLE:
                    return real(*args, **options)
                strike()
                try:
                    return real(*args, **options)
                finally:
                    strike()

            return struck

        @contextmanager
        def writing() -> Iterator[Any]:
            with acting() as act:
                self.writing = True
                try:
                    yield act
                finally:
                    self.writing = False

        def record(act: Any, one: Any, spot: Any, moved: Any, folder: str) -> None:
            if self.judged:
                self.wrong.append(f"{len(moved)} files moved, though {self.judged}")
            for file in moved:
                status = Path(folder, quarantine.FILES, file.path).lstat()
                if why := self.forbidden.get(status.st_ino):
                    self.wrong.append(f"{file.path} moved, though {why}")
            recording(act, one, spot, moved, folder)

        real = {name: getattr(os, name) for name in STEPS}
        def touched(box: quarantine.Box, path: str) -> bool:
            if (status := box.status(path)) is not None:
                self.looked_at.add(status.st_ino)
            return touching(box, path)

        recording, store, touching = acts._record, self.registry.store, quarantine.touched
        acting = store.act
        for name, function in real.items():
            setattr(os, name, between(function))
        acts._record, store.act = record, writing  # type: ignore[method-assign]
        quarantine.touched = touched
        try:
            yield strike
        finally:
            store.act = acting  # type: ignore[method-assign]
            quarantine.touched = touching
            acts._record = recording
            for name, function in real.items():
                setattr(os, name, function)

    # what became of it

    def run(self) -> list[str]:
        """Attack, cull, restore; each file that was moved and must not be, or is not there."""
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 4))):
            self.strike()
        chance = self.random.choice((0.0, 0.01, 0.03, 0.1))
        try:
            with self.racing(chance) as strike:
                self.registry.cull(apply=True, progress=strike)
                self.wrong += self._wrongly_moved()
                self.registry.restore()
        finally:
            for held in self.held:
                os.close(held)
        self.registry.restore()
        after = {path.lstat().st_ino for path in self.top.rglob("*")}
        for own in self.forbidden.keys() - after - self.gone:
            self.wrong.append(f"a file is lost: {self.forbidden[own]}")
        return [*self.wrong, *self._left_behind(), *self._not_as_recorded()]

    def _not_as_recorded(self) -> Iterator[str]:
        """What `lineage doctor` says of quarantines, but for what an attack alone did to them."""
        for said in check.wrong(self.registry.database, False):
            box, _, file = said.partition(f"/{quarantine.FILES}/")
            lost = file.endswith(": it is not there") and Path(box).is_dir()
            if lost or "interrupted" in said:
                yield said

    def _wrongly_moved(self) -> Iterator[str]:
        """What lies in quarantine and was never registered."""
        found = [Path(at) for at, _, _ in os.walk(self.top) if at.endswith(quarantine.FOLDER)]
        for boxes, path in ((one, path) for one in found for path in one.glob("*/files/**/*")):
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                yield f"{path} is no file"
            elif path.is_file():
                within = path.relative_to(boxes).parts[2:]
                sha256 = self.files.get(self.place.joinpath(*within))
                own = path.lstat().st_ino
                late = own in self.looked_at or self.forbidden.get(own) == "it has changed"
                if not late and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                    yield f"{path} is not what was registered"

    def _left_behind(self) -> Iterator[str]:
        """Files in quarantine after a restore, where nothing stands in their way."""
        if self.boxes.resolve() != self.boxes:
            return
        for path in self.boxes.glob("*/files/**/*"):
            target = self.place.joinpath(*path.relative_to(self.boxes).parts[2:])
            free = not os.path.lexists(target) and target.parent.resolve() == target.parent
            if path.is_file() and target.parent.is_dir() and free:
                yield f"{path} was not restored"


STEPS = ("stat", "open", "mkdir", "chmod", "rename", "link", "unlink", "rmdir", "listdir", "fsync")
WHOLE = (os.listdir, os.fsync)
"""Steps that are told an open folder, or file, without a keyword."""


def attack(registry: Registry, folder: Path, seed: int) -> list[str]:
    """Grow a tree from the seed, attack it, cull; what went wrong. The tree is gone afterwards."""
    top = folder / f"tree-{seed}"
    try:
        return Attack(registry, top, seed).run()
    finally:
        with registry.store.act() as act:  # the next cull is of the next tree alone
            marked = act.connection.rows("SELECT id FROM organism WHERE status <> 'alive'")
            act.touch(row[0] for row in marked)
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
