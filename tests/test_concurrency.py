"""Many who write at once, some of them killed: what was acknowledged is there, nothing is torn, no
family has a cycle, and nobody hears of a lock."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sound

import lineage
from lineage.errors import CycleError

SLOW = bool(os.environ.get("LINEAGE_SLOW"))
WRITERS, EACH = (32, 50) if SLOW else (8, 15)

WRITER = """
import sys, lineage
url, own, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with lineage.open(url) as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(count):
        made = registry.register(
            name=f"w{own}.{number}",
            digest=f"{int(own):032x}{number:032x}",
            parents=[f"w{own}.{number - 1}", "shared"] if number else "shared",
            fitness={"gsm8k/acc": number / 100, "mmlu/acc": 0.5},
            power=lineage.PowerCost(joules=1.0 + number),
            tags={"writer": own},
            place=f"/w/{own}/{number}",
        )
        print(made.name, flush=True)
"""


def start(url: str, own: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(own), str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def go(running: list[subprocess.Popen[str]]) -> None:
    """Let all begin at once, when all are there."""
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()


def crowd(url: str, writers: int, each: int, killed: int) -> None:
    """So many writers at once, some of them killed while they write."""
    rng = random.Random(5)
    condemned = rng.sample(range(writers), killed)  # these would never end by themselves
    counts = [10**9 if own in condemned else each for own in range(writers)]
    running = [start(url, own, count) for own, count in enumerate(counts)]
    said: list[list[str]] = [[] for _ in running]
    go(running)

    def kill(own: int, after: int, pause: float) -> None:
        stream = running[own].stdout
        assert stream is not None
        said[own] = [stream.readline() for _ in range(after)]
        time.sleep(pause)
        running[own].kill()

    executioners = [
        threading.Thread(target=kill, args=(own, rng.randrange(1, each // 2), rng.random() / 50))
        for own in condemned
    ]
    for one in executioners:
        one.start()
    for one in executioners:
        one.join()
    acknowledged, died = set(), 0
    for lines, one in zip(said, running, strict=True):
        assert one.stdout is not None
        assert one.stderr is not None
        # `communicate` would pass over lines that came together with one that was read above
        out, err = one.stdout.read(), one.stderr.read()
        one.wait(timeout=300)
        assert one.returncode in (0, -signal.SIGKILL), err
        died += one.returncode != 0
        assert "locked" not in err
        acknowledged |= {line.strip() for line in (*lines, *out.splitlines())}
    assert died == killed
    assert len(acknowledged) >= (writers - died) * each
    with lineage.open(url, create=False) as registry:
        there = {organism.name for organism in registry.find()}
        assert acknowledged <= there
        # a registration may be there whose writer was killed before it could say so: one each
        assert len(there - acknowledged) <= died
        for name in there:
            complete(registry, name)
        graph = sound.check(registry)
        assert len(graph) == len(there) + 1
        assert len(registry.descendants("shared")) == len(there)


def complete(registry: lineage.Registry, name: str) -> None:
    known = registry.record(name)
    own, number = name.removeprefix("w").split(".")
    assert len(known.parents) == (2 if int(number) else 1)
    assert [score.value for score in known.scores] == [int(number) / 100, 0.5]
    assert [cost.joules for cost in known.power] == [1.0 + int(number)]
    assert known.tags == {"writer": own}
    assert [place.uri for place in known.places] == [f"/w/{own}/{number}"]
    assert [event.kind for event in known.events] == ["registered"]


def test_a_crowd_of_writers_some_of_them_killed(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    with lineage.open(file):
        pass
    crowd(str(file), WRITERS, EACH, killed=WRITERS // 3)


def test_the_same_on_postgresql(postgres: str) -> None:
    with lineage.open(postgres):
        pass
    crowd(postgres, 4, 10, killed=1)


OPENER = """
import sys, lineage
lineage.open  # what it needs is loaded before the start
print("ready", flush=True)
sys.stdin.readline()
with lineage.open(sys.argv[1]) as registry:
    registry.register(name=sys.argv[2])
"""


def test_processes_that_open_a_new_registry_at_once_make_one(registry_url: str) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, registry_url, f"n{own}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for own in range(4)
    ]  # fmt: skip
    go(running)
    for one in running:
        _, err = one.communicate(timeout=240)
        assert one.returncode == 0, err
    with lineage.open(registry_url, create=False) as registry:
        assert len(registry.find()) == 4
        sound.check(registry)


# ---- Within one process


def at_once(acts: list[Callable[[], Any]]) -> list[Any]:
    """Run all in threads that begin together: what each returned or raised."""
    barrier = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(index: int) -> None:
        barrier.wait()
        try:
            results[index] = acts[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_share_a_registry(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:

        def work(own: int) -> int:
            for number in range(10):
                registry.register(
                    name=f"t{own}.{number}", parents=f"t{own}.{number - 1}" if number else "base",
                    fitness={f"task{number % 3}/acc": 0.1},
                )  # fmt: skip
                assert registry.get(f"t{own}.{number}").generation == number + 1
            return own

        assert at_once([lambda own=own: work(own) for own in range(6)]) == list(range(6))
        assert len(registry.descendants("base")) == 60
        assert len(registry.find(niche="task0/acc")) == 24
        sound.check(registry)


def test_the_same_genome_from_sixteen_at_once_is_one_organism(registry_url: str) -> None:
    digest = "ab" * 32
    with lineage.open(registry_url) as registry:
        found = at_once(
            [
                lambda own=own: registry.register(
                    name=f"name{own}", digest=digest, place=f"/w/{own}", parents=f"p{own}",
                    tags={f"k{own}": "v"}, fitness={f"task{own}/acc": 0.5},
                )
                for own in range(16)
            ]
        )  # fmt: skip
        assert {one.id for one in found} == {registry.get(digest).id}
        known = registry.record(digest)
        assert len(known.names) == len(known.places) == len(known.parents) == 16
        assert len(known.tags) == len(known.scores) == 16
        sound.check(registry)


def test_of_two_opposite_links_at_once_exactly_one_wins(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        for turn in range(10):
            a, b = registry.register(name=f"a{turn}"), registry.register(name=f"b{turn}")
            results = at_once([lambda a=a, b=b: registry.link(a, b),
                               lambda a=a, b=b: registry.link(b, a)])  # fmt: skip
            lost = [one for one in results if isinstance(one, CycleError)]
            assert len(lost) == 1, results
            assert set(lost[0].path) == {f"a{turn}@v1", f"b{turn}@v1"}
        sound.check(registry)


LINKER = """
import sys, lineage
from lineage.errors import CycleError
with lineage.open(sys.argv[1]) as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(10):
        pair = (f"a{turn}", f"b{turn}")
        try:
            registry.link(*(pair if sys.argv[2] == "down" else pair[::-1]))
            print(turn, flush=True)
        except CycleError:
            pass
"""


def test_the_same_from_two_processes(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register_many({"name": f"{side}{turn}"} for side in "ab" for turn in range(10))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", LINKER, registry_url, way],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for way in ("down", "up")
    ]  # fmt: skip
    go(running)
    won: list[int] = []
    for one in running:
        out, err = one.communicate(timeout=240)
        assert one.returncode == 0, err
        won += map(int, out.split())
    assert sorted(won) == list(range(10))
    with lineage.open(registry_url) as registry:
        assert sound.check(registry).number_of_edges() == 10


def test_readers_see_a_whole_registration_or_none(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="base")
        stop = threading.Event()
        torn: list[Any] = []

        def read() -> None:
            while not stop.is_set():
                for child in registry.descendants("base"):
                    known = registry.record(child)
                    if not (known.scores and known.power and known.tags and known.events):
                        torn.append(known)

        def write() -> None:
            for number in range(25):
                registry.register(
                    name=f"n{number}", parents="base", fitness={"gsm8k/acc": 0.5},
                    power=lineage.PowerCost(joules=1.0), tags={"a": "b"},
                )  # fmt: skip
            stop.set()

        at_once([read, read, write])
        assert torn == []
        assert len(registry.descendants("base")) == 25


# ---- Across a fork, as data loaders do it


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_writes_while_its_parent_does(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="base")
        child = os.fork()
        own = "parent" if child else "child"
        code = 1
        try:
            for number in range(20):
                registry.register(name=f"{own}{number}", parents="base")
            code = 0
        finally:
            if not child:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        registry.register(name="after", parents="base")
        assert len(registry.descendants("base")) == 41
        pids = {registry.history(f"{side}3")[0].pid for side in ("parent", "child")}
        assert pids == {os.getpid(), child}
        sound.check(registry)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_in_the_middle_of_an_act_does_not_write_it_twice(registry_url: str) -> None:
    """The child of a fork inside a transaction has no part in it."""
    with lineage.open(registry_url) as registry:
        registry.register(name="base")
        with registry.store.act() as act:
            act.event(None, "noted", {})
            child = os.fork()
            if not child:
                try:
                    there = registry.get("base").name
                    os._exit(0 if there == "base" else 1)
                except BaseException:
                    os._exit(2)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            act.event(None, "noted", {})
        with registry.database.read() as connection:
            noted = connection.value("SELECT count(*) FROM event WHERE kind = 'noted'")
        assert noted == 2
        sound.check(registry)
