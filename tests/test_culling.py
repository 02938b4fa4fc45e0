"""Culling: only what was registered, is selected against, and is still the same, moves, into a
quarantine from where all comes back; and nothing is deleted unless a person says so."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import lineage
from lineage.cli import culling, main
from lineage.culling import act, quarantine
from lineage.errors import CullError, InvalidValue
from lineage.store import mark
from tests.disks import fill_up, small_disk, without_privileges


def weights(folder: Path, seed: int, size: int = 64) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    save_file({"w": rng.random(size, np.float32)}, folder / "model.safetensors")


def checkpoint(folder: Path, seed: int) -> Path:
    """A folder as a trainer leaves it."""
    weights(folder, seed)
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    (folder / "optimizer.pt").write_bytes(os.urandom(600))
    (folder / "rng_state.pth").write_bytes(os.urandom(30))
    (folder / "trainer_state.json").write_text('{"global_step": 500}')
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


class World:
    """A registry with `champion`, alive, and `loser`, selected against for it; both on disk."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.registry = lineage.open(url)
        self.champion = checkpoint(folder / "runs" / "champion", 1)
        self.loser = checkpoint(folder / "runs" / "loser", 2)
        self.registry.register(self.champion, name="champion")
        self.registry.register(self.loser, name="loser")
        self.mark("loser")

    def mark(self, ref: str, by: str | None = "champion@v1") -> None:
        with self.registry.store.act() as act:
            reason: dict[str, Any] = {"niche": "a/acc", "value": 0.1, "per": "token", "joules": 2.0}
            if by is not None:
                reason |= {"by": by, "by_value": 0.9, "by_joules": 1.0}
            own = self.registry.get(ref).id
            body = {"reasons": [reason if by is not None else {"rule": "budget"}]}
            mark(act, "selected_against", "selected_against", [(own, body)])

    def quarantined(self) -> set[str]:
        found = self.folder.rglob(f"{quarantine.FOLDER}/*/files/**/*")
        return {path.name for path in found if path.is_file()}


@pytest.fixture
def world(registry_url: str, tmp_path: Path) -> Iterator[World]:
    made = World(registry_url, tmp_path / "disk")
    yield made
    made.registry.close()


def later() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def run(world: World, *args: str, **options: Any) -> Any:
    return CliRunner().invoke(main, ["--db", world.url, *args], **options)


# ---- The round


def test_a_dry_run_lists_what_would_go_and_changes_nothing(world: World) -> None:
    before = contents(world.folder)
    plan = world.registry.cull()
    (one,) = plan.proposals
    assert str(one.organism) == "loser"
    assert [(file.path, file.kind) for _, file in one.files] == [
        ("optimizer.pt", "optimizer"),
        ("rng_state.pth", "optimizer"),
        ("model.safetensors", "weights"),
        ("config.json", "other"),
        ("trainer_state.json", "other"),
    ]
    assert plan.kinds["optimizer"] == (2, 630)
    assert plan.bytes == sum(len(data) for data in contents(world.loser).values())
    assert contents(world.folder) == before
    assert not list(world.folder.rglob(quarantine.FOLDER))


def test_files_go_into_quarantine_and_come_back_as_they_were(world: World) -> None:
    (world.loser / "optimizer.pt").chmod(0o640)
    before = contents(world.folder)
    stamps = {path: path.stat() for path in world.loser.iterdir()}
    event = world.registry.cull(apply=True)
    assert event.files == 5
    assert not world.loser.exists()
    assert world.quarantined() == {
        "model.safetensors", "config.json", "optimizer.pt", "rng_state.pth", "trainer_state.json",
    }  # fmt: skip
    gone = world.registry.get("loser")
    assert (gone.status, gone.here) == ("selected_against", False)
    assert "lineage restore" in world.registry.whereabouts("loser").wrong
    assert world.registry.history("loser")[-1].kind == "quarantined"
    moves = world.registry.restore("loser")
    assert moves.files == 5
    assert contents(world.folder) == before
    assert not list(world.folder.rglob(quarantine.FOLDER))
    for path, stamp in stamps.items():
        now = path.stat()
        assert (now.st_ino, now.st_mode, now.st_mtime_ns) == (
            stamp.st_ino, stamp.st_mode, stamp.st_mtime_ns,
        )  # fmt: skip
    back = world.registry.get("loser")
    assert (back.status, back.here) == ("selected_against", True)
    assert world.registry.where("loser") == str(world.loser)
    assert world.registry.doctor(files=True, deep=True).sound


def test_only_optimizer_keeps_the_model(world: World) -> None:
    plan = world.registry.cull(only="optimizer", apply=True)
    assert plan.files == 2
    assert world.quarantined() == {"optimizer.pt", "rng_state.pth"}
    assert world.registry.where("loser", hash=True) == str(world.loser)
    assert world.registry.get("loser").here
    assert world.registry.doctor(files=True).sound
    (again,) = world.registry.cull(only="optimizer").proposals
    assert {left.reason for left in again.spots[0].left} == {"it is in quarantine already"}
    world.registry.cull(apply=True)
    assert not world.loser.exists()
    assert world.registry.restore().files == 5
    assert len(contents(world.loser)) == 5


def test_the_command_that_a_dry_run_names_moves_what_it_listed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = world.registry.cull("loser", only="optimizer")
    culling._show_plan(plan, ["loser"])
    assert "`lineage cull loser --only optimizer --apply`" in capsys.readouterr().out


def test_a_single_file_is_culled_beside_itself(world: World) -> None:
    weights(world.folder / "loose", 7)
    file = world.folder / "loose" / "model.safetensors"
    other = world.folder / "loose" / "notes.txt"
    other.write_text("mine")
    world.registry.register(file, name="single")
    world.mark("single")
    world.registry.cull("single", apply=True)
    assert not file.exists()
    assert other.read_text() == "mine"
    assert world.registry.restore("single").files == 1
    assert world.registry.where("single", hash=True) == str(file)


def test_a_single_file_whose_folder_became_a_link_stays(world: World) -> None:
    """The same bytes in another folder, a backup perhaps, were never registered."""
    weights(world.folder / "loose", 7)
    world.registry.register(world.folder / "loose" / "model.safetensors", name="single")
    world.mark("single")
    weights(world.folder / "backup", 7)
    shutil.rmtree(world.folder / "loose")
    (world.folder / "loose").symlink_to(world.folder / "backup")
    stays(world, "is a link to", "single")
    assert (world.folder / "backup" / "model.safetensors").exists()


def test_folders_within_are_moved_and_come_back(world: World) -> None:
    deep = checkpoint(world.folder / "runs" / "deep", 5)
    weights(deep / "text_encoder" / "inner", 6)
    (deep / "text_encoder").chmod(0o750)
    world.registry.register(deep, name="deep")
    world.mark("deep")
    before = contents(deep)
    world.registry.cull("deep", apply=True)
    assert not deep.exists()
    world.registry.restore("deep")
    assert contents(deep) == before
    assert (deep / "text_encoder").stat().st_mode & 0o777 == 0o750


def test_emptying_deletes_for_good_and_the_record_stays(world: World) -> None:
    world.registry.cull(apply=True)
    young = world.registry.empty_quarantine(datetime.now(UTC) - timedelta(days=1), apply=True)
    assert young.files == 0
    assert world.quarantined()
    moves = world.registry.empty_quarantine(later(), apply=True)
    assert moves.files == 5
    assert not list(world.folder.rglob(quarantine.FOLDER))
    gone = world.registry.record("loser")
    assert gone.organism.status == "culled"
    assert len(gone.files) == 5
    assert [event.kind for event in gone.events][-2:] == ["quarantined", "culled"]
    assert world.registry.restore().files == 0
    with pytest.raises(InvalidValue, match="gone for good"):
        world.registry.revive("loser")
    assert world.registry.doctor(files=True).sound
    # whoever has a copy registers it again
    checkpoint(world.loser, 2)
    world.registry.register(world.loser, name="loser")
    assert world.registry.revive("loser").status == "alive"
    assert world.registry.where("loser", hash=True)


def test_culled_is_who_has_no_weights_left_on_a_disk(world: World) -> None:
    copy = world.folder / "copy"
    shutil.copytree(world.loser, copy)
    world.registry.register(copy, name="loser")
    (copy / "model.safetensors").touch()
    os.link(copy / "model.safetensors", world.folder / "second-name")  # so the copy stays
    world.registry.cull(apply=True)
    world.registry.empty_quarantine(later(), apply=True)
    assert world.registry.get("loser").status == "selected_against"
    assert world.registry.where("loser") == str(copy)
    assert world.registry.history("loser")[-1].kind == "emptied"


def test_an_export_tells_of_quarantines_and_an_import_knows_them(
    world: World, tmp_path: Path
) -> None:
    world.registry.cull(apply=True)
    exported = run(world, "export").stdout
    other = str(tmp_path / "other.db")
    done = CliRunner().invoke(main, ["--db", other, "import", "-"], input=exported)
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(main, ["--db", other, "export"]).stdout == exported
    with lineage.open(other) as registry:
        assert registry.restore("loser").files == 5
    assert len(contents(world.loser)) == 5


# ---- Never


def stays(world: World, reason: str, ref: str = "loser") -> None:
    """Nothing of it moves, and this is why."""
    before = contents(world.folder)
    plan = world.registry.cull(ref, apply=True)
    told = json.dumps([repr(one) for one in plan.proposals])
    assert plan.files == 0, told
    assert reason in told
    assert contents(world.folder) == before
    assert not world.quarantined()


def test_an_unmarked_organism_stays(world: World) -> None:
    with pytest.raises(CullError, match="alive, not selected against"):
        world.registry.cull("champion", apply=True)
    world.registry.cull(apply=True)
    assert len(contents(world.champion)) == 5


def test_a_protected_one_stays(world: World) -> None:
    world.registry.protect("loser")
    stays(world, "it is protected")


def test_production_stays(world: World) -> None:
    world.registry.alias("loser", "production")
    stays(world, "alias production")


def test_a_leased_one_stays_until_then(world: World) -> None:
    own = world.registry.get("loser").id
    sql = "INSERT INTO lease (organism, holder, until) VALUES (?, ?, ?)"
    soon = (datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1e6
    with world.registry.store.act() as act:
        act.connection.execute(sql, (own, "eval-7", int(soon)))
    stays(world, "eval-7 uses it")


@pytest.mark.parametrize("status", ["alive", "selected_against"])
def test_what_something_needs_to_run_stays(world: World, status: str) -> None:
    adapter = checkpoint(world.folder / "runs" / "adapter", 3)
    world.registry.register(adapter, name="adapter", parents="loser", relation="adapter")
    on_top = checkpoint(world.folder / "runs" / "on-top", 4)
    world.registry.register(on_top, name="on-top", parents="adapter", relation="adapter")
    if status != "alive":
        world.mark("adapter")
        world.mark("on-top")
    stays(world, "needs it to run")
    if status == "alive":
        return
    world.registry.cull("on-top", apply=True)
    assert "needs it to run" in world.registry.cull("adapter").proposals[0].reason  # in quarantine
    world.registry.empty_quarantine(later(), apply=True)
    assert world.registry.cull("adapter", apply=True).files == 5


def test_a_changed_file_stays_and_weights_take_all_back(world: World) -> None:
    (world.loser / "optimizer.pt").write_bytes(bytes(600))  # the same size
    plan = world.registry.cull(apply=True)
    assert plan.files == 4
    (spot,) = plan.proposals[0].spots
    assert [(left.path, "changed" in left.reason) for left in spot.left] == [("optimizer.pt", True)]
    assert contents(world.loser) == {"optimizer.pt": bytes(600)}
    world.registry.restore()
    size = (world.loser / "model.safetensors").stat().st_size
    (world.loser / "model.safetensors").write_bytes(bytes(size))
    stays(world, "model.safetensors stays")


def test_what_registration_did_not_list_stays_and_is_named(world: World) -> None:
    (world.loser / "notes.txt").write_text("mine")
    (world.loser / "checkpoint-7").mkdir()
    (world.loser / "checkpoint-7" / "more.bin").write_bytes(b"x")
    plan = world.registry.cull(apply=True)
    assert plan.proposals[0].spots[0].unlisted == ("checkpoint-7/", "notes.txt")
    assert contents(world.loser) == {"notes.txt": b"mine", "checkpoint-7/more.bin": b"x"}


def test_hard_links_stay(world: World) -> None:
    os.link(world.loser / "optimizer.pt", world.folder / "elsewhere")
    plan = world.registry.cull(apply=True)
    assert "hard links" in plan.proposals[0].spots[0].left[0].reason
    assert (world.loser / "optimizer.pt").exists()


def test_links_stay_and_so_does_what_they_lead_to(world: World) -> None:
    outside = world.folder / "outside.pt"
    (world.loser / "optimizer.pt").rename(outside)
    (world.loser / "optimizer.pt").symlink_to(outside)
    plan = world.registry.cull(apply=True)
    assert "it is a link" in plan.proposals[0].spots[0].left[0].reason
    assert outside.exists()
    assert (world.loser / "optimizer.pt").is_symlink()


def test_a_folder_that_became_a_link_stays(world: World) -> None:
    real = world.folder / "moved"
    world.loser.rename(real)
    world.loser.symlink_to(real)
    stays(world, "is a link to")


def test_a_folder_within_that_became_a_link_stays(world: World) -> None:
    inner = checkpoint(world.folder / "runs" / "inner", 8)
    weights(inner / "vae", 9)
    world.registry.register(inner, name="inner")
    world.mark("inner")
    (inner / "vae").rename(world.folder / "vae")
    (inner / "vae").symlink_to(world.folder / "vae")
    stays(world, "is a link, or no folder", "inner")


def test_a_path_that_leads_out_stays(world: World) -> None:
    """An import may say anything."""
    secret = world.folder / "runs" / "secret.pt"
    secret.write_bytes(b"secret")
    place = world.registry.record("loser").places[0].uri
    sql = """INSERT INTO file (place, path, bytes, sha256, genome)
             SELECT id, ?, 6, ?, 0 FROM place WHERE uri = ?"""
    with world.registry.store.act() as act:
        for path in ("../secret.pt", str(secret), "./../secret.pt", "a/../../secret.pt"):
            act.connection.execute(sql, (path, hashlib.sha256(b"secret").digest(), place))
    plan = world.registry.cull(apply=True)
    assert plan.files == 5
    assert secret.read_bytes() == b"secret"


def test_a_file_that_a_living_organism_lists_stays(world: World) -> None:
    merged = world.folder / "merged"
    weights(merged, 11)
    (merged / "tokenizer.bin").write_bytes(b"token" * 9)
    (world.loser / "tokenizer.bin").symlink_to(merged / "tokenizer.bin")
    other = checkpoint(world.folder / "runs" / "other", 12)
    (other / "tokenizer.bin").write_bytes(b"shared" * 9)
    (merged / "extra.bin").symlink_to(other / "tokenizer.bin")
    world.registry.register(other, name="other")
    world.registry.register(merged, name="merged")
    world.mark("other")
    plan = world.registry.cull("other", apply=True)
    assert [(left.path, left.reason) for left in plan.proposals[0].spots[0].left] == [
        ("tokenizer.bin", "merged@v1 lists the same file")
    ]
    assert world.registry.where("merged", hash=True)


def test_the_same_path_that_another_organism_lists_stays(world: World) -> None:
    whole = world.folder / "runs" / "pipeline"
    weights(whole / "unet", 13)
    weights(whole / "vae", 14)
    world.registry.register(whole, name="pipeline")
    world.registry.register(whole / "unet", name="unet")
    world.mark("unet")
    stays(world, "pipeline@v1 lists the same file", "unet")


def test_the_hub_cache_is_left_to_its_own_tool(world: World, tmp_path: Path) -> None:
    cache = tmp_path / "hub" / "models--org--tiny"
    blob = cache / "blobs" / "abc"
    snapshot = cache / "snapshots" / ("1" * 40)
    weights(cache / "blobs", 15)
    (cache / "blobs" / "model.safetensors").rename(blob)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    world.registry.register(snapshot, name="cached")
    world.mark("cached")
    plan = world.registry.cull("cached", apply=True)
    assert plan.files == 0
    assert plan.proposals[0].elsewhere[0].command == f"hf cache rm {'1' * 40}"
    assert blob.exists()


def test_other_hosts_and_uris_are_left_with_a_command(world: World) -> None:
    world.registry.register(digest=world.registry.get("loser").digest, place="s3://bucket/a b")
    with world.registry.store.act() as act:
        act.connection.execute(
            "UPDATE place SET host = 'node17' WHERE uri = ?", (str(world.loser),)
        )
    stays(world, "on another host, node17")
    commands = {one.command for one in world.registry.cull().proposals[0].elsewhere}
    assert "aws s3 rm --recursive 's3://bucket/a b'" in commands
    world.registry.register(world.loser, name="loser")  # seen from here: it is here
    assert world.registry.cull(apply=True).files == 5


# ---- Those it was beaten by


def test_a_dominator_must_be_here_and_whole(world: World) -> None:
    size = (world.champion / "model.safetensors").stat().st_size
    whole = (world.champion / "model.safetensors").read_bytes()
    (world.champion / "model.safetensors").write_bytes(bytes(size))
    stays(world, "its mark rests on champion@v1, and champion@v1 is not here as it was registered")
    (world.champion / "model.safetensors").write_bytes(whole)
    assert world.registry.cull(apply=True).files == 5
    (world.champion / "model.safetensors").unlink()
    kept = world.registry.empty_quarantine(later(), apply=True)
    assert kept.files == 0
    assert "is not here as it was registered" in kept.stored[0].reason
    assert world.quarantined()


def test_a_dominator_that_was_beaten_hands_on_to_who_beat_it(world: World) -> None:
    better = checkpoint(world.folder / "runs" / "better", 21)
    world.registry.register(better, name="better")
    world.mark("champion", by="better@v1")
    plan = world.registry.cull(apply=True)
    assert plan.files == 10
    assert {one.dominators for one in plan.proposals} == {("better@v1",)}
    shutil.rmtree(better)
    assert world.registry.empty_quarantine(later(), apply=True).files == 0


def test_a_mark_that_rests_on_the_dead_alone_frees_nothing(world: World) -> None:
    world.mark("champion", by="loser@v1")
    stays(world, "nobody that is alive")


def test_a_mark_without_dominators_needs_none(world: World) -> None:
    other = checkpoint(world.folder / "runs" / "budgeted", 22)
    world.registry.register(other, name="budgeted")
    world.mark("budgeted", by=None)
    assert world.registry.cull("budgeted", apply=True).files == 5


# ---- What happens meanwhile


def at_the_move(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something once, just before the first file moves."""
    real, done = os.rename, []

    def rename(*args: Any, **options: Any) -> None:
        if options.get("dst_dir_fd") is not None and str(args[0]).endswith(".pt") and not done:
            done.append(act())
        real(*args, **options)

    monkeypatch.setattr(os, "rename", rename)


@pytest.mark.parametrize("act", ["revive", "protect", "alias", "need"])
def test_what_is_judged_anew_while_files_move_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    acts: dict[str, Callable[[], object]] = {
        "revive": lambda: world.registry.revive("loser"),
        "protect": lambda: world.registry.protect("loser"),
        "alias": lambda: world.registry.alias("loser", "production"),
        "need": lambda: world.registry.register(
            name="late", parents="loser", relation="adapter", digest="ab" * 32
        ),
    }
    before = contents(world.folder)
    at_the_move(monkeypatch, acts[act])
    plan = world.registry.cull(apply=True)
    assert plan.files == 0
    assert "since a moment ago" in plan.proposals[0].spots[0].reason
    assert contents(world.folder) == before


def test_a_folder_that_is_replaced_while_files_move_gets_them_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(world.loser)

    def swap() -> None:
        world.loser.rename(world.folder / "away")
        world.loser.mkdir()
        (world.loser / "fresh.txt").write_text("fresh")

    at_the_move(monkeypatch, swap)
    plan = world.registry.cull(apply=True)
    assert "moved or replaced meanwhile" in plan.proposals[0].spots[0].reason
    assert contents(world.folder / "away") == before
    assert contents(world.loser) == {"fresh.txt": b"fresh"}


def test_a_file_that_took_the_place_is_never_overwritten(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = quarantine._differs

    def differs(box: Any, file: Any, tell: Any) -> Any:
        if file.path == "optimizer.pt":  # a writer puts a new one there, and the old one changed
            (world.loser / "optimizer.pt").write_bytes(b"new")
            return "it has changed", []
        return real(box, file, tell)

    old = (world.loser / "optimizer.pt").read_bytes()
    monkeypatch.setattr(quarantine, "_differs", differs)
    plan = world.registry.cull(apply=True)
    assert "optimizer.pt.put-back-1" in plan.proposals[0].spots[0].left[0].reason
    assert contents(world.loser) == {"optimizer.pt": b"new", "optimizer.pt.put-back-1": old}


def test_restore_overwrites_nothing(world: World) -> None:
    world.registry.cull(apply=True)
    world.loser.mkdir()
    (world.loser / "config.json").write_text("mine")
    moves = world.registry.restore()
    assert [left.path for left in moves.stored[0].left] == ["config.json"]
    assert (world.loser / "config.json").read_text() == "mine"
    assert world.registry.get("loser").here
    (world.loser / "config.json").unlink()
    assert world.registry.restore().files == 1
    assert world.registry.where("loser", hash=True)


def test_restore_waits_where_another_organism_took_the_place(world: World) -> None:
    world.registry.cull(apply=True)
    checkpoint(world.loser, 31)
    world.registry.register(world.loser, name="next")
    moves = world.registry.restore()
    assert "next@v1 is registered at its place now" in moves.stored[0].reason
    assert world.registry.where("next", hash=True)


def test_two_culls_at_once_move_each_file_once(world: World) -> None:
    for number in range(6):
        made = checkpoint(world.folder / "runs" / f"many-{number}", 40 + number)
        world.registry.register(made, name=f"many-{number}")
        world.mark(f"many-{number}")
    command = [sys.executable, "-m", "lineage.cli", "--db", world.url, "cull", "--apply", "--json"]
    command[1:3] = ["-c", "from lineage.cli import main; main()"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [json.loads(process.communicate()[0]) for process in started]
    assert sum(one["files"] for one in told) <= 35
    world.registry.cull(apply=True)
    assert world.registry.restore().files == 35
    assert len(contents(world.folder)) == 40
    assert world.registry.doctor(files=True, deep=True).sound


KILLED = """
import os, signal, sys
import lineage, lineage.store
from lineage.culling import act, quarantine
step, count = sys.argv[2], 0
def after(name, owner, attribute):
    real = getattr(owner, attribute)
    def act(*args, **options):
        global count
        done = real(*args, **options)
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(owner, attribute, act)
after("manifest", quarantine.Box, "write")
after("move", quarantine, "_move")
after("look", quarantine, "_differs")
real = lineage.store.Act.events
def events(self, *args):
    real(self, *args)
    if step == "record":
        os.kill(os.getpid(), signal.SIGKILL)
lineage.store.Act.events = events
with lineage.open(sys.argv[1]) as registry:
    registry.cull(apply=True)
"""


@pytest.mark.parametrize("step", ["manifest", "move", "look", "record"])
@pytest.mark.parametrize("then", ["cull", "restore"])
def test_a_kill_at_any_step_is_made_good(world: World, step: str, then: str) -> None:
    before = contents(world.folder)
    ended = subprocess.run([sys.executable, "-c", KILLED, world.url, step])
    assert ended.returncode == -signal.SIGKILL
    if then == "cull":
        assert world.registry.cull(apply=True).files == 5
    assert world.registry.restore("loser").recovered or then == "cull"
    assert contents(world.folder) == before
    assert not list(world.folder.rglob(quarantine.FOLDER))
    assert world.registry.get("loser").here


def test_a_kill_while_emptying_is_made_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.registry.cull(apply=True)

    class Killed(BaseException):
        pass

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "delete", killed)
        with pytest.raises(Killed):
            world.registry.empty_quarantine(later(), apply=True)
    assert world.quarantined()
    assert world.registry.restore().files == 0  # it was said to be gone
    world.registry.empty_quarantine(later(), apply=True)
    assert not world.quarantined()
    assert world.registry.get("loser").status == "culled"


def test_what_is_revived_or_changed_in_quarantine_is_not_deleted(world: World) -> None:
    world.registry.cull(apply=True)
    (optimizer,) = world.folder.rglob(f"{quarantine.FOLDER}/*/files/optimizer.pt")
    optimizer.write_bytes(b"other")
    assert world.registry.empty_quarantine(later(), apply=True).files == 4
    assert world.quarantined() == {"optimizer.pt"}
    again = checkpoint(world.folder / "runs" / "again", 50)
    world.registry.register(again, name="again")
    world.mark("again")
    world.registry.cull("again", apply=True)
    world.registry.revive("again")
    kept = world.registry.empty_quarantine(later(), apply=True)
    assert kept.files == 0
    assert any("it is alive" in one.reason for one in kept.stored)
    assert world.registry.restore("again").files == 5


def test_a_change_within_the_tick_of_a_clock_is_not_deleted(world: World) -> None:
    """Same size, same time: of what was fresh when it came, the bytes are read."""
    world.registry.cull(apply=True)
    (config,) = world.folder.rglob(f"{quarantine.FOLDER}/*/files/config.json")
    before = config.stat()
    config.write_bytes(b"x" * before.st_size)
    os.utime(config, ns=(before.st_atime_ns, before.st_mtime_ns))
    world.registry.empty_quarantine(later(), apply=True)
    assert world.quarantined() == {"config.json"}


def test_what_is_written_to_before_the_move_is_recorded_goes_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has the file open may write when it was read already."""
    judge = act._judge

    def late(*args: Any) -> None:
        judge(*args)
        (optimizer,) = world.folder.rglob(f"{quarantine.FOLDER}/*/files/optimizer.pt")
        optimizer.write_bytes(b"more")

    monkeypatch.setattr(act, "_judge", late)
    plan = world.registry.cull(apply=True)
    assert "was written to" in plan.proposals[0].spots[0].reason
    assert not world.quarantined()
    assert (world.loser / "optimizer.pt").read_bytes() == b"more"


# ---- Disks


def test_a_full_disk_moves_nothing_and_says_so(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", "1M") as disk:
        world = World(str(tmp_path / "registry.db"), disk)
        ballast = fill_up(disk)
        plan = world.registry.cull(apply=True)
        assert plan.files == 0
        assert "No space left" in plan.proposals[0].spots[0].reason
        assert len(contents(world.loser)) == 5
        ballast.unlink()
        assert world.registry.cull(apply=True).files == 5
        world.registry.close()


def test_a_read_only_folder_moves_nothing_and_says_so(tmp_path: Path) -> None:
    with without_privileges() as home:
        world = World(str(home / "registry.db"), home / "disk")
        (home / "disk" / "runs").chmod(0o500)
        plan = world.registry.cull(apply=True)
        assert plan.files == 0
        assert "Permission denied" in plan.proposals[0].spots[0].reason
        (home / "disk" / "runs").chmod(0o700)
        world.loser.chmod(0o500)
        plan = world.registry.cull(apply=True)
        assert plan.files == 0
        assert "Permission denied" in plan.proposals[0].spots[0].reason
        world.loser.chmod(0o700)
        assert world.registry.cull(apply=True).files == 5
        world.registry.close()


def test_a_disk_that_is_not_mounted_empties_nothing(world: World) -> None:
    world.registry.cull(apply=True)
    runs = world.folder / "runs"
    runs.rename(world.folder / "unmounted")
    shutil.copytree(world.folder / "unmounted" / "champion", world.champion)
    kept = world.registry.empty_quarantine(later(), apply=True)
    assert "is its disk mounted?" in kept.stored[0].reason
    assert "is its disk mounted?" in world.registry.restore().stored[0].reason
    assert world.registry.get("loser").status == "selected_against"


# ---- The command


def test_the_command_lists_files_for_a_pipe(world: World) -> None:
    told = run(world, "cull")
    assert told.exit_code == 0
    rows = [line.split("\t") for line in told.stdout.splitlines()]
    assert [row[:2] for row in rows][:3] == [
        ["loser@v1", "optimizer"], ["loser@v1", "optimizer"], ["loser@v1", "weights"],
    ]  # fmt: skip
    assert all(Path(row[3]).stat().st_size == int(row[2]) for row in rows)


def test_the_command_deletes_only_when_told(world: World) -> None:
    assert run(world, "cull", "--apply").exit_code == 0
    refused = run(world, "cull", "--empty-quarantine", "--older-than", "0d")
    assert refused.exit_code == 2
    assert "needs --yes" in refused.stderr
    assert world.quarantined()
    young = run(world, "cull", "--empty-quarantine", "--yes", "--json")
    assert json.loads(young.stdout)["files"] == 0
    done = run(world, "cull", "--empty-quarantine", "--older-than", "0d", "--yes", "--json")
    assert json.loads(done.stdout)["files"] == 5
    assert run(world, "restore", "loser").exit_code == 1


@pytest.mark.parametrize(
    "args",
    [
        ("cull", "--empty-quarantine", "--apply"),
        ("cull", "--yes"),
        ("cull", "--older-than", "3d"),
        ("cull", "--empty-quarantine", "--older-than", "soon", "--yes"),
    ],
)
def test_wrong_usage_is_said(world: World, args: tuple[str, ...]) -> None:
    assert run(world, *args).exit_code == 2


def test_the_words_of_one_in_quarantine(world: World) -> None:
    world.registry.cull(apply=True)
    assert "in quarantine since" in run(world, "show", "loser").stdout
    where = run(world, "where", "loser")
    assert where.exit_code == 1
    assert "lineage restore" in where.stderr
    assert "loser" in run(world, "tree", "champion").stdout + run(world, "tree", "loser").stdout


def test_who_is_revived_in_quarantine_hears_of_it(world: World) -> None:
    world.registry.cull(apply=True)
    told = run(world, "revive", "loser")
    assert told.exit_code == 0
    assert "lineage restore loser" in told.stderr
    assert run(world, "restore", "loser").exit_code == 0
    assert world.registry.get("loser").status == "alive"


def test_marks_of_select_name_whom_they_rest_on(world: World) -> None:
    """What `select` writes is what `cull` reads."""
    for ref, score, cost in (("champion", 0.9, 1.0), ("loser", 0.5, 2.0)):
        world.registry.score(ref, "a/acc", score, stderr=0.001, n=10_000)
        power = lineage.PowerCost(cost, phase="serving", per="token", source="measured")
        world.registry.meter(ref, power)
    world.registry.revive("loser")
    assert world.registry.select(apply=True).marked == 1
    (one,) = world.registry.cull().proposals
    assert one.dominators == ("champion@v1",)
