"""Where a registry is and whose; that a password is never told, and a file is private; and that a
refusal, a full disk or a kill leaves a registry whole, with a sentence for the user."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import stat
import string
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sound
from disks import fill_up, small_disk, without_privileges

import lineage
from lineage import database
from lineage.database import file_system, locate
from lineage.errors import InvalidValue, RegistryUnavailable
from lineage.formats.jsonl import import_lines

# ---- Where it is


def test_what_is_asked_for_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAGE_DB", str(tmp_path / "env.db"))
    (tmp_path / ".lineage").mkdir()
    (tmp_path / ".lineage" / "registry.db").touch()
    assert locate(tmp_path / "asked.db").file == tmp_path / "asked.db"
    assert locate().file == tmp_path / "env.db"
    monkeypatch.setenv("LINEAGE_DB", "")  # empty is as if it were not set
    assert locate().file == tmp_path / ".lineage" / "registry.db"


def test_it_is_found_upwards_and_the_nearest_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a"):
        (folder / ".lineage").mkdir()
        (folder / ".lineage" / "registry.db").touch()
    monkeypatch.chdir(below)
    assert locate().file == tmp_path / "a" / ".lineage" / "registry.db"


def test_without_any_it_is_in_the_data_directory_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    found = locate().file
    assert found is not None
    assert found.parts[-2:] == ("lineage", "registry.db")
    assert not found.exists()
    with lineage.open() as registry:
        assert str(registry.database.address) == str(found)


def test_one_of_somebody_else_is_named_and_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / ".lineage" / "registry.db"
    theirs.parent.mkdir()
    theirs.touch()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    address = locate()
    assert address.ignored == (theirs,)
    assert address.file != theirs
    assert locate(theirs).file == theirs  # named outright, it is what is meant


def test_a_path_is_made_absolute_and_a_folder_holds_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["HOME"])
    assert locate("x.db").file == tmp_path / "x.db"
    assert locate("~/x.db").file == home / "x.db"
    assert locate(tmp_path).file == tmp_path / "registry.db"
    assert locate("sqlite:///x.db").file == tmp_path / "x.db"
    assert locate(f"sqlite:///{tmp_path}/x.db").file == tmp_path / "x.db"
    assert locate("postgresql://me@host/db").url.drivername == "postgresql+psycopg"
    for name in ("with blank.db", "ünï🧬.db", "percent%20?.db", "#hash.db"):
        with lineage.open(tmp_path / name) as registry:
            registry.register(name="base")
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "nonsense://u:hunter2@h/d", "sqlite://", "://", "a b://c"]
)
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(RegistryUnavailable, match=r"sqlite:///FILE or postgresql://") as refused:
        lineage.open(url)
    assert "hunter2" not in str(refused.value)


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match=r"no registry at .*`lineage init`"):
        lineage.open(tmp_path / "none" / "x.db", create=False)
    assert list(tmp_path.iterdir()) == []


def test_without_create_an_empty_database_is_no_registry(postgres: str) -> None:
    with pytest.raises(RegistryUnavailable, match="holds no registry"):
        lineage.open(postgres, create=False)


# ---- A password is never told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/db",
        "postgresql+psycopg://me:hunter2@127.0.0.1:1/db?connect_timeout=1",
        "postgresql://127.0.0.1:1/db?user=me&password=hunter2",
        "postgresql://me:hunter2@127.0.0.1:port/db",
        "postgresql://me:half/hunter2@127.0.0.1:port/db",
        "postgresql://me:half@hunter2@127.0.0.1:port/db",
        "postgresql+nonsense://me:hunter2@127.0.0.1:1/db",
        "mysql://me:hunter2@127.0.0.1/db",
        "mysql://127.0.0.1/db?password=hunter2",
        "oops://me:hunter2@127.0.0.1/db?password=hunter2",
    ],
)
def test_a_password_never_appears(url: str) -> None:
    with pytest.raises(RegistryUnavailable) as refused:
        lineage.open(url)
    told = "".join(traceback.format_exception(refused.value, chain=True))
    shown = [line for line in told.splitlines() if "hunter2" in line]
    assert shown == []


def test_a_driver_that_is_missing_is_named() -> None:
    """In a process of its own, where nothing has imported psycopg and nothing can."""
    script = """if True:
        import sys
        sys.modules["psycopg"] = None
        from lineage.cli import main
        main(["ls", "--db", "postgresql://me:hunter2@127.0.0.1:1/db"])
    """
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert said.returncode == 3, said.stderr
    assert "pip install 'checkpoint-lineage[postgres]'" in said.stderr
    assert "hunter2" not in said.stderr


def test_a_password_never_appears_where_all_is_well(postgres: str) -> None:
    with lineage.open(f"{postgres}&password=hunter2") as registry:
        registry.register(name="base")
        assert "hunter2" not in f"{registry!r} {registry.database.address}"
        with pytest.raises(Exception, match="no_such_table") as failed:
            with registry.database.read() as connection:
                connection.execute("SELECT 1 FROM no_such_table")
        assert "hunter2" not in str(failed.value)


# ---- Private to the user


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_and_folders_that_we_make_are_private(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        tmp_path.chmod(0o755)
        file = tmp_path / "new" / "deep" / "registry.db"
        with lineage.open(file) as registry:
            registry.register(name="base")
            made = {path.name: mode(path) for path in file.parent.iterdir()}
    finally:
        os.umask(umask)
    assert made["registry.db"] == 0o600
    assert set(made.values()) == {0o600}, made  # the log beside it too
    assert [mode(file.parent), mode(file.parent.parent)] == [0o700, 0o700]
    assert mode(tmp_path) == 0o755  # a folder that was there is left as it is


# ---- Network file systems

MOUNTS = [
    ("/", "ext4"),
    ("/home", "nfs4"),
    ("/home/local", "xfs"),
    ("/scratch", "lustre"),
    ("/mnt/my share", "cifs"),
    ("/data", "fuse.sshfs"),
    ("/data2", "btrfs"),
]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/etc/x.db", "ext4"),
        ("/home/me/x.db", "nfs4"),
        ("/home/local/x.db", "xfs"),
        ("/homestead/x.db", "ext4"),
        ("/scratch/a/b/c.db", "lustre"),
        ("/mnt/my share/x.db", "cifs"),
        ("/data/x.db", "fuse.sshfs"),
        ("/data2/x.db", "btrfs"),
    ],
)
def test_the_longest_mount_point_tells_the_file_system(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind
    assert file_system(Path(path), reversed(MOUNTS)) == kind
    assert file_system(Path(path), []) == ""


def test_a_mount_over_a_mount_is_the_later_one() -> None:
    assert file_system(Path("/a/x"), [("/a", "ext4"), ("/a", "nfs")]) == "nfs"


def test_the_mount_table_of_this_machine_is_read() -> None:
    mounts = database._mounts()
    assert any(point == "/" for point, _ in mounts)
    assert database._unescape(r"/mnt/my\040share\134x") == r"/mnt/my share\x"


def test_a_link_into_a_network_file_system_is_seen_through(tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "remote")
    mounts = [("/", "ext4"), (os.path.realpath(tmp_path / "remote"), "nfs4")]
    assert file_system(tmp_path / "near" / "x.db", mounts) == "nfs4"


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of which this machine says that it is on NFS."""
    folder = tmp_path / "remote"
    folder.mkdir()
    mounts = [("/", "ext4"), (os.path.realpath(folder), "nfs4")]
    monkeypatch.setattr(database, "_mounts", lambda: mounts)
    return folder


def test_writing_on_a_network_file_system_is_refused(on_nfs: Path) -> None:
    said = r"network file system \(nfs4\).*local disk, PostgreSQL, or --allow-network-fs"
    with pytest.raises(RegistryUnavailable, match=said):
        lineage.open(on_nfs / "registry.db")
    assert list(on_nfs.iterdir()) == []


def test_it_can_be_allowed_and_then_keeps_no_shared_log(on_nfs: Path) -> None:
    file = on_nfs / "registry.db"
    with lineage.open(file, allow_network_fs=True) as registry:
        registry.register(name="base")
        with registry.database.read() as connection:
            assert connection.value("PRAGMA journal_mode") == "delete"
            assert connection.value("PRAGMA mmap_size") == 0
    assert [path.name for path in on_nfs.iterdir()] == ["registry.db"]
    with lineage.open(file) as registry:  # it may be read
        assert registry.get("base").name == "base"
        with pytest.raises(RegistryUnavailable, match="allow-network-fs"):
            registry.register(name="more")


def test_one_with_a_log_that_came_to_a_network_file_system_loses_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made on a local disk, then found on NFS: before it is written there, the log is given up."""
    file = tmp_path / "registry.db"
    with lineage.open(file) as registry:
        registry.register(name="base")
    mounts = [("/", "ext4"), (os.path.realpath(tmp_path), "nfs4")]
    monkeypatch.setattr(database, "_mounts", lambda: mounts)
    with lineage.open(file, allow_network_fs=True) as registry:
        registry.register(name="more")
        with registry.database.read() as connection:
            assert connection.value("PRAGMA journal_mode") == "delete"


# ---- SQLite, as it is set up


def test_a_local_registry_is_durable_and_guarded(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "registry.db") as registry:
        with registry.database.read() as connection:
            settings = {
                name: connection.value(f"PRAGMA {name}")
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }
    with lineage.open(tmp_path / "registry.db", durable=False) as registry:
        with registry.database.read() as connection:
            assert connection.value("PRAGMA synchronous") == 1


# ---- Refusals in words


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be looked at " * 50)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as raw:
        raw.execute("CREATE TABLE mine (x)")
    raw.close()
    before = [text.read_bytes(), other.read_bytes()]
    with pytest.raises(RegistryUnavailable, match="is not a lineage registry"):
        lineage.open(text)
    with pytest.raises(RegistryUnavailable, match=r"tables of something else \(mine"):
        lineage.open(other)
    with pytest.raises(RegistryUnavailable, match="holds no registry"):
        lineage.open(other, create=False)
    assert [text.read_bytes(), other.read_bytes()] == before


def test_an_empty_file_becomes_a_registry(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    with lineage.open(tmp_path / "x.db") as registry:
        registry.register(name="base")


def test_a_database_with_other_tables_is_left_alone(postgres: str) -> None:
    """In PostgreSQL a registry may live beside other tables, but not among tables of its names."""
    with lineage.open(postgres) as registry:
        registry.register(name="base")
    import psycopg

    with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as raw:
        raw.execute("DROP TABLE alembic_version")
    with pytest.raises(RegistryUnavailable, match=r"something else \(actor"):
        lineage.open(postgres)


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    with lineage.open(file) as registry:
        registry.register_many({"name": f"n{i}"} for i in range(2000))
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    whole = file.read_bytes()
    file.write_bytes(whole[:8192] + bytes(len(whole) - 8192))
    with pytest.raises(RegistryUnavailable, match=r"is damaged; restore a backup"):
        with lineage.open(file) as registry:
            registry.find()


def test_a_folder_that_cannot_be_written_says_so() -> None:
    with without_privileges() as home:
        (home / "locked").mkdir(mode=0o500)
        with pytest.raises(RegistryUnavailable, match=r"cannot be created.*Permission denied"):
            lineage.open(home / "locked" / "registry.db")
        with pytest.raises(RegistryUnavailable, match="cannot be created"):
            lineage.open(home / "locked" / "new" / "registry.db")


def test_a_file_that_cannot_be_written_can_be_read() -> None:
    with without_privileges() as home:
        file = home / "registry.db"
        with lineage.open(file) as registry:
            registry.register(name="base")
        file.chmod(0o400)
        with lineage.open(file) as registry:
            assert registry.get("base").name == "base"
            with pytest.raises(RegistryUnavailable, match="is read-only: check the permissions"):
                registry.register(name="more")
        file.chmod(0o000)
        with pytest.raises(RegistryUnavailable, match="cannot be opened"):
            lineage.open(file)
        home.chmod(0o000)
        try:
            with pytest.raises(RegistryUnavailable, match=r"cannot be reached: Permission denied"):
                lineage.open(file)
        finally:
            home.chmod(0o700)
        file.chmod(0o600)
        with lineage.open(file) as registry:
            assert [one.name for one in registry.find()] == ["base"]


def test_a_folder_that_went_read_only_says_so() -> None:
    with without_privileges() as home:
        folder = home / "folder"
        with lineage.open(folder / "registry.db") as registry:
            registry.register(name="base")
        folder.chmod(0o500)
        try:
            with pytest.raises(RegistryUnavailable, match=r"read-only|cannot be opened"):
                with lineage.open(folder / "registry.db") as registry:
                    registry.register(name="more")
        finally:
            folder.chmod(0o700)


def test_a_writer_that_waits_too_long_says_who_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    file = tmp_path / "registry.db"
    with lineage.open(file) as registry:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(RegistryUnavailable, match="is held by another writer"):
            registry.register(name="base")
        assert registry.find() == []  # reading waits for nobody
        holder.execute("ROLLBACK")
        holder.close()
        assert registry.register(name="base").name == "base"


# ---- Full disks, kills, lost connections


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "2m") as disk, lineage.open(disk / "r.db") as registry:
        registry.register(name="first")
        ballast = fill_up(disk, leave=200_000)
        kept = ["first"]
        with pytest.raises(RegistryUnavailable, match=r"disk is full|disk error") as full:
            for number in range(5000):
                registry.register(name=f"n{number}", parents="first", tags={"x": "y" * 200})
                kept.append(f"n{number}")
        assert "Nothing of this write was kept" in str(full.value)
        assert len(kept) > 1
        assert [one.name for one in registry.find(sort="registered")] == kept[::-1]
        ballast.unlink()
        registry.register(name="after")
        assert len(sound.check(registry)) == len(kept) + 1


@contextmanager
def killed_at(registry: lineage.Registry, statement: int) -> Iterator[None]:
    """This process is killed as it begins that statement."""
    count = 0

    def trace(_sql: str) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    registry.database.connection.raw.set_trace_callback(trace)
    yield
    registry.database.connection.raw.set_trace_callback(None)


def test_a_kill_between_any_two_statements_leaves_nothing_half(tmp_path: Path) -> None:
    file = tmp_path / "registry.db"
    with lineage.open(file) as registry:
        registry.register(name="base")
        registry.register(name="late", parents="base")
    survived = False
    statement = 0
    while not survived:
        statement += 1
        child = os.fork()
        if not child:
            try:
                with lineage.open(file) as registry, killed_at(registry, statement):
                    a_large_act(registry, statement)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        survived = os.waitstatus_to_exitcode(status) == 0
        assert survived or os.WTERMSIG(status) == signal.SIGKILL
        with lineage.open(file) as registry:
            there = registry.find(f"new{statement}")
            # the kill may come after the commit, in the reading of what was written
            if there:
                complete(registry, statement)
            graph = sound.check(registry)
            assert len(graph) == 2 + 3 * len(registry.find("new*"))
    assert statement > 10


def a_large_act(registry: lineage.Registry, number: int) -> None:
    registry.register(
        name=f"new{number}", digest=f"{number:064x}", place=f"/w/{number}",
        parents=["late", f"ghost{number}", f"/ghost/{number}"], fitness={"gsm8k/acc": 0.5},
        power=lineage.PowerCost(joules=1.0), tags={"a": "b"}, aliases="best",
    )  # fmt: skip


def complete(registry: lineage.Registry, number: int) -> None:
    known = registry.record(f"new{number}@best")
    assert len(known.parents) == 3
    assert (len(known.scores), len(known.power), len(known.places)) == (1, 1, 1)
    assert known.tags == {"a": "b"}
    assert "registered" in [event.kind for event in known.events]


def test_a_failure_inside_an_act_takes_all_of_it_back(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="base")
        with pytest.raises(ZeroDivisionError), registry.store.act() as act:
            act.connection.execute("UPDATE organism SET licence = 'mit'")
            with registry.database.write():  # an inner one ends nothing
                act.event(None, "noted", {})
            raise ZeroDivisionError
        assert registry.get("base").licence is None
        registry.register(name="more")  # who wrote is written down again
        assert registry.history("more")[0].command
        sound.check(registry)


def test_a_lost_connection_is_said_and_the_next_one_works(postgres: str) -> None:
    import psycopg

    with lineage.open(postgres) as registry:
        registry.register(name="base")
        with psycopg.connect(postgres.replace("+psycopg", ""), autocommit=True) as raw:
            raw.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(RegistryUnavailable, match="could not be reached"):
            registry.register(name="more")
        registry.register(name="more")
        assert len(registry.find()) == 2


def test_what_postgresql_cannot_keep_is_told_and_stops_nothing_else(postgres: str) -> None:
    """An index of PostgreSQL takes no text of any length; SQLite does."""
    drawn = random.Random(1)
    long = "".join(drawn.choices(string.ascii_letters, k=20_000))  # it packs texts that repeat
    lines = [
        {"name": "before"}, {"name": long}, {"name": "tagged", "tags": {"prompt": long}},
        {"name": "scored", "fitness": [{"task": long, "metric": "acc", "value": 1}]},
        {"name": "after"},
    ]  # fmt: skip
    with lineage.open(postgres) as registry:
        with pytest.raises(InvalidValue, match=r"too long for PostgreSQL \(.*\): shorten"):
            registry.register(name=long)
        done = import_lines(registry.store, map(json.dumps, lines))
        assert [one.line for one in done.first] == [2, 3, 4]
        assert {one.name for one in registry.find()} == {"before", "after"}


def test_what_failed_on_its_way_to_the_server_spoils_nothing_after_it(postgres: str) -> None:
    """Of a pipeline that was broken off, psycopg takes statements for prepared that are not."""
    drawn = random.Random(1)
    long = "".join(drawn.choices(string.ascii_letters, k=20_000))
    lines: list[dict[str, Any]] = []
    for number in range(12):
        lines += [
            {"name": f"tagged{number}", "tags": {"prompt": long}},
            {"name": f"scored{number}", "fitness": [{"task": long, "metric": "acc", "value": 1}]},
            {"name": f"fine{number}", "places": [f"/{number}"], "tags": {"a": "b"},
             "parents": [{"ref": "base"}], "power": [{"joules": 1, "meter": "m"}],
             "fitness": [{"task": "t", "metric": "acc", "value": number}]},
        ]  # fmt: skip
    with lineage.open(postgres) as registry:
        done = import_lines(registry.store, map(json.dumps, lines))
        assert (done.created, done.set_aside) == (12, 24)
        sound.check(registry)


def test_what_is_asked_while_much_is_sent_is_answered(postgres: str) -> None:
    """The server tells what came of statements once 8 kB of it are there: some 320 of them. With a
    row more each time, that falls between the last statement and the question."""
    with lineage.open(postgres) as registry:
        database = registry.store.database
        for rows in range(300, 345):
            with database.write() as connection, connection.sending(1):
                connection.many(
                    "INSERT INTO setting (key, value) VALUES (?, ?)",
                    [(f"{rows}/{number}", 0) for number in range(rows)],
                )
                time.sleep(0.01)
                assert connection.rows("SELECT 17") == [(17,)]


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(RegistryUnavailable, match="could not be reached"):
        lineage.open("postgresql://me@127.0.0.1:1/db")


def test_no_connection_is_left_open_by_a_thread(tmp_path: Path) -> None:
    """Ten threads that come and go keep no files open for ever."""

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("Open files can be counted on Linux only.")
    with lineage.open(tmp_path / "registry.db") as registry:
        registry.register(name="base")
        before = open_files()
        for _ in range(10):
            thread = threading.Thread(target=registry.get, args=("base",))
            thread.start()
            thread.join()
        assert open_files() <= before + 6
    after: Any = [path for path in os.listdir(tmp_path) if path.endswith("-wal")]
    assert after == []
