"""Many processes that register at the same time, some killed at random: what was acknowledged must
be there, whole. Run as a module it is one of the many."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import lineage
from bench import ROOT, raw
from bench.timing import Figure, figure
from bench.writing import step


def crowd(folder: Path, processes: int, each: int, killed: int) -> Figure:
    """Let `processes` register `each` organisms; kill `killed` of them with SIGKILL, each once it
    has acknowledged a number of its own, drawn at random."""
    path = folder / "crowd.db"
    with lineage.open(path, command="bench") as registry:
        registry.register(**step(0, (), "crowd").arguments())
    chance = random.Random(11)
    victims = {
        number: chance.randint(1, max(1, each - 2))
        for number in chance.sample(range(processes), killed)
    }
    members = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.crowd", str(path), str(number), str(each)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=(folder / f"said-{number}").open("wb"),
            stderr=(folder / f"erred-{number}").open("wb"),
        )
        for number in range(processes)
    ]
    _wait_for(folder, processes)
    ready = time.perf_counter()
    for member in members:
        member.stdin.write(b"go\n")
        member.stdin.flush()
    _kill(folder, members, victims)
    for member in members:
        member.wait()
        member.stdin.close()
    return _verdict(folder, path, members, victims, each, time.perf_counter() - ready)


def _wait_for(folder: Path, processes: int) -> None:
    """Until all have opened the registry, or gone."""
    for number in range(processes):
        for _ in range(6000):
            if (folder / f"said-{number}").stat().st_size:
                break
            time.sleep(0.01)


def _kill(folder: Path, members: list[subprocess.Popen], victims: dict[int, int]) -> None:
    waiting = dict(victims)
    while waiting:
        for number, at in list(waiting.items()):
            if len(_said(folder, number)) >= at or members[number].poll() is not None:
                members[number].kill()
                del waiting[number]
        time.sleep(0.001)


def _said(folder: Path, number: int) -> list[str]:
    """The names that a process acknowledged: whole lines after the first, `ready`."""
    return (folder / f"said-{number}").read_text().split("\n")[1:-1]


def _verdict(
    folder: Path,
    path: Path,
    members: list[subprocess.Popen],
    victims: dict[int, int],
    each: int,
    running: float,
) -> Figure:
    acknowledged = [name for number in range(len(members)) for name in _said(folder, number)]
    erred = [(folder / f"erred-{number}").read_text() for number in range(len(members))]
    locked = sum("held by another writer" in one or "is locked" in one for one in erred)
    killed = sum(member.returncode == -9 for member in members)
    failed = sum(member.returncode not in (0, -9) for member in members)
    connection = raw.connect(path)
    there = {row[0] for row in connection.execute("SELECT name FROM name")}
    lost = sum(name not in there for name in acknowledged)
    torn = connection.execute(TORN).fetchone()[0]
    sound = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    sound = sound and not connection.execute("PRAGMA foreign_key_check").fetchall()
    connection.close()
    good = not lost and not torn and not locked and not failed and sound
    return Figure(
        f"{len(members)} processes registering {each} each, some killed with SIGKILL at random",
        "nothing acknowledged is lost, nothing torn, no `database is locked`",
        f"{lost} lost of {len(acknowledged):,} acknowledged, {torn} torn, {locked} locked, "
        f"{killed} killed",
        good,
        {"acknowledged": len(acknowledged), "there": len(there) - 1, "lost": lost, "torn": torn,
         "locked": locked, "failed": failed, "killed": killed, "seconds": running},
        f"{len(victims)} were to be killed. {figure(len(acknowledged) / running)} acknowledged a "
        f"second over all; integrity and foreign keys {'sound' if sound else 'BROKEN'}; "
        f"{failed} failed otherwise.",
    )  # fmt: skip


TORN = """
SELECT count(*) FROM organism o WHERE o.id > 1 AND NOT (
  (SELECT count(*) FROM name n WHERE n.organism = o.id) = 1
  AND (SELECT count(*) FROM edge e JOIN evidence v ON v.child = e.child AND v.parent = e.parent
       WHERE e.child = o.id) = 1
  AND (SELECT count(*) FROM fitness f WHERE f.organism = o.id) = 2
  AND (SELECT count(*) FROM power p WHERE p.organism = o.id) = 1
  AND (SELECT count(*) FROM event e WHERE e.organism = o.id) = 1)"""
"""Organisms, but for the base, of which a part is missing."""


def member(path: str, number: int, each: int) -> None:
    """One of the many: says the name of each organism once it is registered."""
    with lineage.open(path, command="bench") as registry:
        base = registry.get("#1")
        print("ready", flush=True)
        sys.stdin.readline()
        for own in range(each):
            arguments = step(number * each + own + 2, (), f"crowd-{number}").arguments()
            print(registry.register(**arguments | {"parents": base}).name, flush=True)


if __name__ == "__main__":
    member(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
