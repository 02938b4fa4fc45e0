"""Reading weights past one machine: by the workers of a real dask cluster on the loopback, over a
real FTP server, and by whatever else is a concurrent.futures.Executor. Answers are those of one
process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT, missing
from fsspec.implementations.local import LocalFileSystem
from safetensors.numpy import save_file

import lineage
from lineage import genome, remote, workers
from lineage.cli import main
from lineage.errors import GenomeError, LineageError
from lineage.registry import Registry

# what the FTP server is made of, before Python 3.12
pytestmark = pytest.mark.filterwarnings("ignore:The asyn(core|chat) module is deprecated")

SETTINGS = {
    "PYTHONPATH": str(ROOT),
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
    "DASK_DISTRIBUTED__WORKER__DAEMON": "False",
}


def checkpoint(folder: Path, seed: int, size: int = 2_000, **files: str) -> Path:
    folder.mkdir(parents=True)
    values = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    save_file({"layer": values.reshape(40, -1)}, str(folder / "model.safetensors"))
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["Llama"]}')
    for name, content in files.items():
        (folder / name.replace("_json", ".json")).write_text(content)
    return folder


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """base ← an adapter by a relative path; copies of base's weights; a file that lies; a large
    checkpoint; 80 small ones."""
    runs = tmp_path / "runs"
    base = checkpoint(runs / "base", 1)
    checkpoint(runs / "lora", 2, adapter_config_json='{"base_model_name_or_path": "base"}')
    checkpoint(runs / "large", 3, size=2_400_000)
    checkpoint(runs / "copy", 1)
    (runs / "liar").mkdir()
    (runs / "liar" / "model.safetensors").write_bytes(b"\xff" * 100)
    for at in range(80):
        folder = runs / "sweep" / f"checkpoint-{at}"
        folder.mkdir(parents=True)
        os.link(base / "config.json", folder / "config.json")
        save_file({"w": np.full((2, 2), at, np.float32)}, str(folder / "model.safetensors"))
    return runs


def plain(found: Any, root: str) -> Any:
    """A scan without what it was called by."""
    return (
        {(one.name, one.digest, one.place.removeprefix(root)) for one in found.seen},
        {(one.child, one.parent, one.relation, one.evidence) for one in found.links},
        {path.removeprefix(root) for path, _ in found.set_aside},
    )


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with lineage.open(tmp_path / "r.db") as opened:
        yield opened


# ---- a cluster


class Cluster:
    """A scheduler and two workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scheduler = self.start("scheduler", "--port", "0", "--no-jupyter")
        self.processes = [scheduler]
        self.address = said(scheduler, "Scheduler at:")
        self.processes += [self.worker(), self.worker()]
        for one in self.processes[1:]:
            said(one, "Registered to:")

    def worker(self) -> subprocess.Popen[str]:
        return self.start("worker", self.address, "--nthreads", "1", "--no-nanny",
                          "--local-directory", str(self.folder))  # fmt: skip

    def start(self, what: str, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1",
             "--no-dashboard", *args],
            stderr=subprocess.PIPE, text=True, cwd=self.folder, env=os.environ | SETTINGS,
        )  # fmt: skip

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


def said(process: subprocess.Popen[str], wanted: str) -> str:
    """The address that a process tells once it is ready; what it tells later is thrown away."""
    assert process.stderr
    for line in process.stderr:
        if wanted in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return line.split()[-1]
    raise AssertionError(f"{process.args} did not start")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        missing(f"no cluster: {error}. Install the extra `test`.")
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    yield running
    running.stop()


def test_two_workers_find_what_one_process_finds(
    registry: Registry, family: Path, cluster: Cluster
) -> None:
    alone = registry.scan(family)
    assert len(alone.seen) == 84
    assert ("lora", "base", "adapter", "configured") in plain(alone, "")[1]
    told: list[tuple[int, int]] = []
    with workers.of_scheduler(cluster.address) as executor:
        found = registry.scan(
            family, apply=True, executor=executor, progress=lambda *now: told.append(now)
        )
    assert plain(found, "") == plain(alone, "")
    assert told[-1] == (84, 85)
    assert registry.count() == 83  # the copy is the same organism
    assert registry.scan(family).unchanged == 84


def test_the_command_takes_a_scheduler(family: Path, cluster: Cluster, tmp_path: Path) -> None:
    db = str(tmp_path / "c.db")
    assert CliRunner().invoke(main, ["init", "--db", db]).exit_code == 0
    done = CliRunner().invoke(
        main, ["scan", str(family), "--scheduler", cluster.address, "--apply", "--db", db]
    )
    assert done.exit_code == 0, done.output
    with lineage.open(db) as registry:
        assert registry.count() == 83
        (parent,) = registry.ancestors("lora")
        assert parent.digest == genome.read(family / "base").digest


def test_shards_are_read_by_the_workers(cluster: Cluster, tmp_path: Path) -> None:
    for at in range(1, 5):
        folder = tmp_path / str(at)
        checkpoint(folder, at, size=400_000)
        os.rename(folder / "model.safetensors", tmp_path / f"model-0000{at}-of-00004.safetensors")
    told: list[int] = []
    with workers.of_scheduler(cluster.address) as executor:
        found = genome.read(tmp_path, executor=executor, progress=told.append)
    assert found == genome.read(tmp_path)
    assert sum(told) == genome.total_bytes(tmp_path)


def test_a_worker_that_is_killed_costs_nothing(
    registry: Registry, family: Path, cluster: Cluster
) -> None:
    """Its jobs are done by others."""
    alone = registry.scan(family)
    third = cluster.worker()
    cluster.processes.append(third)
    said(third, "Registered to:")
    with workers.of_scheduler(cluster.address) as executor:
        found = registry.scan(family, executor=executor, progress=lambda *_: third.kill())
    assert plain(found, "") == plain(alone, "")


def test_who_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(workers, "WAIT", 1)
    assert CliRunner().invoke(main, ["init", "--db", "x.db"]).exit_code == 0
    done = CliRunner().invoke(
        main, ["scan", str(tmp_path), "--scheduler", "tcp://127.0.0.1:9", "--db", "x.db"]
    )
    assert done.exit_code == 1
    assert "no dask scheduler answers at 'tcp://127.0.0.1:9'" in done.stderr
    with pytest.raises(LineageError, match="no dask scheduler answers"):
        with workers.of_scheduler("tcp://127.0.0.1:9"):
            pass
    with pytest.raises(LineageError, match="no dask scheduler answers"):
        with workers.of_scheduler("nonsense://x"):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(LineageError, match=r"pip install 'checkpoint-lineage\[dask\]'"):
        with workers.of_scheduler("tcp://127.0.0.1:9"):
            pass


def test_workers_of_another_version_are_refused(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "__version__", "99.0")
    with pytest.raises(LineageError, match=r"and this is 99\.0"):
        with workers.of_scheduler(cluster.address):
            pass


def test_any_executor_will_do(registry: Registry, family: Path) -> None:
    with ProcessPoolExecutor(2) as executor:
        found = registry.scan(family, executor=executor)
        assert genome.read(family / "large", executor=executor) == genome.read(family / "large")
        with pytest.raises(GenomeError, match="liar"):
            genome.read(family / "liar", executor=executor)
    assert plain(found, "") == plain(registry.scan(family), "")


# ---- URIs


@contextlib.contextmanager
def serving_ftp(folder: Path) -> Iterator[str]:
    """A folder behind an FTP server that anybody may read; its URI."""
    try:
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import ThreadedFTPServer
    except ImportError as error:
        missing(f"no FTP server: {error}. Install the extra `test`.")
    handler = type("Handler", (FTPHandler,), {"authorizer": DummyAuthorizer()})
    handler.authorizer.add_anonymous(str(folder))
    server = ThreadedFTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"ftp://127.0.0.1:{server.address[1]}"
    finally:
        server.close_all()
        thread.join()


def test_two_workers_read_what_is_behind_a_uri(
    registry: Registry, family: Path, cluster: Cluster
) -> None:
    """The same checkpoints, digests and links as on a disk; the URI is the place."""
    alone = registry.scan(family)
    with serving_ftp(family.parent) as host, workers.of_scheduler(cluster.address) as executor:
        uri = f"{host}/runs"
        found = registry.scan(uri, apply=True, executor=executor)
        assert plain(found, uri) == plain(alone, str(family))
        place = registry.record("lora").places[0]
        assert (place.uri, place.host) == (f"{uri}/lora", None)
        assert registry.get("lora").digest == genome.read(family / "lora").digest
        again = registry.scan(f"{uri}/", executor=executor)
        assert (len(again.seen), again.unchanged) == (0, 84)


def test_what_changes_behind_a_uri_is_another_organism(registry: Registry, tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "served" / "base", 1)
    with serving_ftp(tmp_path / "served") as uri:
        first = registry.scan(uri, apply=True)
        checkpoint(tmp_path / "other", 2)
        os.replace(tmp_path / "other" / "model.safetensors", base / "model.safetensors")
        os.utime(base / "model.safetensors", (1e9, 1e9))
        second = registry.scan(uri, apply=True)
    assert first.seen[0].digest != second.seen[0].digest
    assert [one.gone_at is None for one in registry.record("base@v1").places] == [False]
    assert [one.gone_at is None for one in registry.record("base@v2").places] == [True]


def test_a_checkpoint_behind_a_uri_is_registered(registry: Registry, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "served" / "base" / "checkpoint-7", 1, size=400_000)
    with serving_ftp(tmp_path / "served") as uri:
        for at in ("base/checkpoint-7", "base/checkpoint-7/model.safetensors"):
            one = registry.register(f"{uri}/{at}")
            digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
            assert (one.digest, one.name, one.parameters) == (digest, "base/checkpoint-7", 400_000)
            assert one.architecture == "Llama"
        with pytest.raises(GenomeError, match="Inside are checkpoints"):
            genome.read(f"{uri}/base")
        with pytest.raises(GenomeError, match="no folder with files"):
            genome.read(f"{uri}/none")


class Bucket(LocalFileSystem):
    """As S3 is behind s3fs: what a listing tells of a file is remembered, and says more than what
    is told of the file alone; and an object without a name marks a folder."""

    protocol = "bucket"
    listed = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix("bucket://").rstrip("/")

    def find(self, path: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().find(path, **more)
        Bucket.listed = True
        return {f"{path}/": {"name": f"{path}/", "size": 0, "type": "directory"}, **found}

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        known: dict[str, Any] = super().info(path, **more)
        return {**known, "StorageClass": "STANDARD"} if self.listed else known

    def invalidate_cache(self, path: str | None = None) -> None:
        Bucket.listed = False


def test_a_bucket_is_read_as_a_folder_is(registry: Registry, family: Path) -> None:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    alone = registry.scan(family)
    uri = f"bucket://{family}"
    assert plain(registry.scan(uri), uri) == plain(alone, str(family))
    assert registry.register(f"{uri}/large").digest == genome.read(family / "large").digest


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("nosuch://bucket/runs", "nosuch"),
        ("hf://org/name", "hub pull"),
        ("ftp://me:secret@host/runs", "password"),
        ("zip://a::file:///tmp/b.zip", "chain"),
        ("ftp://127.0.0.1:9/runs", "cannot be read"),
    ],
)
def test_a_uri_that_cannot_be_read_is_told(uri: str, why: str, registry: Registry) -> None:
    with pytest.raises(LineageError, match=why) as told:
        registry.scan(uri)
    assert "secret" not in str(told.value)
    with pytest.raises(LineageError, match=why):
        genome.read(uri)


def test_times_in_all_spellings() -> None:
    at = 1_700_000_000_000_000_000
    for known in (
        {"mtime": 1_700_000_000.0}, {"modify": "20231114221320"}, {"modify": "20231114221320.5"},
        {"LastModified": "2023-11-14T22:13:20Z"}, {"updated": "2023-11-14T22:13:20+00:00"},
    ):  # fmt: skip
        assert remote.modified(known) == at
    for nothing in ({}, {"mtime": None}, {"modify": "soon"}):
        assert remote.modified(nothing) is None
