"""What a run left in its spool comes in once, whatever the order and however often; what never can
is set aside and blocks nothing; what is not known is not made up."""

from __future__ import annotations

import json
import random
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import sound
from click.testing import CliRunner
from training import OneJoule, save

import lineage
from lineage import spool
from lineage.cli import main
from lineage.errors import InvalidValue
from lineage.integrations import recorder as recording
from lineage.registry import Registry

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs leave everything in the spool: nothing beside them brings it in."""
    monkeypatch.setattr(recording.Recorder, "_start_background", lambda self: None)


def weights(*seed: object) -> bytes:
    return random.Random(repr(seed)).randbytes(16)


def train(
    db: str, name: str = "sft", steps: int = 4, keep: int = 99, seed: int = 0, **more: Any
) -> None:
    """A run with `steps` checkpoints, of which rotation keeps the last `keep`: a record for each,
    and one of what was used after the last."""
    folder = Path("runs", name)
    with lineage.track(folder, db=db, task="toy", meter=OneJoule(), **more) as run:
        for step in range(1, steps + 1):
            place = save(folder / f"checkpoint-{step}", weights(name, seed, step))
            if step > keep:
                shutil.rmtree(folder / f"checkpoint-{step - keep}")
            run.checkpoint(place, step=step, fitness={"acc": step / 10}, best=step % 2 == 0)


def spool_of(db: str) -> Path:
    with lineage.open(db) as registry:
        return spool.folder_of(registry.database.address)


def told(registry: Registry) -> list[tuple[Any, ...]]:
    """What a registry says of every organism, in words that do not depend on the order."""
    found = []
    for one in registry.find(ghosts=True):
        record = registry.record(one)
        found.append(
            (
                one.digest, one.status, one.step, one.ghost,
                sorted(name.partition("@")[0] for name, _ in record.names),
                sorted((link.parent.digest or "", link.relation) for link in record.parents),
                sorted((str(score.niche), score.value) for score in record.scores),
                sorted(cost.joules or 0 for cost in record.power),
                sorted((place.uri, place.gone_at is None) for place in record.places),
            )
        )  # fmt: skip
    return sorted(found, key=repr)


def joules(registry: Registry) -> float:
    with registry.database.read() as connection:
        return float(connection.value("SELECT coalesce(sum(joules), 0) FROM power"))


def test_a_run_comes_in_with_all_that_it_told(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(save(Path("runs/base"), weights("base")), name="base")
    train(registry_url, parents="base", configuration={"lr": 0.1})
    with lineage.open(registry_url) as registry:
        done = registry.sync()
        assert (done.arrived, done.known, done.waiting, done.set_aside) == (5, 0, (), ())
        last = registry.get("sft/checkpoint-4")
        assert [str(one) for one in registry.ancestors(last)] == [
            "sft/checkpoint-3", "sft/checkpoint-2", "sft/checkpoint-1", "base",
        ]  # fmt: skip
        relations = [registry.parents(f"sft/checkpoint-{n}")[0].relation for n in (1, 2)]
        assert relations == ["finetune", "continue"]
        assert registry.get("sft@best") == last == registry.get("sft")
        record = registry.record(last)
        assert [(str(s.niche), s.value, s.direction) for s in record.scores] == [
            ("toy/acc", 0.4, "higher")
        ]
        assert last.step == 4
        assert last.run
        event = registry.history(last)[0]
        assert (event.kind, event.host) == ("registered", socket.gethostname())
        assert spool.waiting(spool.folder_of(registry.database.address)) == []
        sound.check(registry)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_and_any_number_of_times_are_the_same(registry_url: str, seed: int) -> None:
    """The records of one run in a hat, each put in twice, drawn in any order, in two syncs."""
    train("in-order.db", keep=2)
    kept = spool_of("in-order.db")
    hat = [*spool.waiting(kept)] * 2
    random.Random(seed).shuffle(hat)
    parts = (Path("first"), Path("second"))
    for number, file in enumerate(hat):
        part = parts[number * 2 // len(hat)]
        part.mkdir(exist_ok=True)
        shutil.copy(file, part / f"{number:020d}-{file.name.partition('-')[2]}")
    with lineage.open("in-order.db") as expected, lineage.open(registry_url) as registry:
        expected.sync()
        arrived = sum(registry.sync(part).arrived for part in (*parts, *parts))
        assert arrived == 5
        assert joules(registry) == joules(expected) == 5
        assert told(registry) == told(expected)
        assert registry.get("sft@best").step == expected.get("sft@best").step == 4
        sound.check(registry)


def test_what_rotation_took_before_it_was_hashed_has_no_digest(registry_url: str) -> None:
    train(registry_url, keep=1)
    with lineage.open(registry_url) as registry:
        registry.sync()
        first = registry.get("sft/checkpoint-1")
        assert (first.digest, first.status, first.here) == (None, "culled", False)
        assert registry.record(first).scores[0].value == 0.1
        assert "selected" not in {event.kind for event in registry.history(first)}
        assert [e.body for e in registry.history(first) if e.kind == "culled"] == [
            {"by": "rotation"}
        ]
        assert registry.is_ancestor(first, "sft/checkpoint-4")
        sound.check(registry)


def test_other_weights_of_the_same_name_are_another_organism(registry_url: str) -> None:
    """A script runs twice in the same folder: what the first run lost is not what the second has.
    """
    train(registry_url, keep=1, seed=1)
    train(registry_url, keep=1, seed=2)
    with lineage.open(registry_url) as registry:
        registry.sync()
        assert registry.count() == 8
        assert joules(registry) == 10
        assert registry.get("sft/checkpoint-4@v1").digest is None  # overwritten unhashed
        assert registry.get("sft/checkpoint-4@v2").digest is not None
        train(registry_url, keep=1, seed=3)
        registry.sync()
        assert registry.count() == 12
        sound.check(registry)


def test_rotation_culls_only_with_the_last_place(registry_url: str) -> None:
    train(registry_url, steps=2)
    with lineage.open(registry_url) as registry:
        registry.sync()
        shutil.copytree("runs/sft/checkpoint-1", "backup")
        registry.register("backup")
        with lineage.track("runs/sft", db=registry_url) as run:
            run.recorder.found("runs/sft/checkpoint-1")
            run.recorder.found("runs/sft/checkpoint-2")
            shutil.rmtree("runs/sft/checkpoint-1")
            shutil.rmtree("runs/sft/checkpoint-2")
            run.checkpoint(save(Path("runs/sft/checkpoint-3"), weights(3)), step=3)
        registry.sync()
        assert registry.get("sft/checkpoint-1").status == "alive"
        assert registry.get("sft/checkpoint-2").status == "culled"
        with lineage.track("runs/sft", db=registry_url) as run:
            run.checkpoint(save(Path("runs/sft/checkpoint-2"), weights("sft", 0, 2)), step=2)
        registry.sync()
        assert registry.get("sft/checkpoint-2").status == "alive"
        (back,) = [e for e in registry.history("sft/checkpoint-2") if e.kind == "revived"]
        with pytest.raises(InvalidValue, match="its files are back"):
            registry.undo(back.id)  # nobody had selected against it
        sound.check(registry)


def test_a_checkpoint_before_the_first_step_is_of_step_0() -> None:
    with lineage.track("runs/sft", db="r.db") as run:
        run.checkpoint(save(Path("runs/sft/checkpoint-0"), weights(0)), step=0)
    with lineage.open("r.db", create=True) as registry:
        registry.sync()
        assert registry.get("sft").step == 0


def test_what_was_used_after_the_last_checkpoint_can_be_taken_back(registry_url: str) -> None:
    train(registry_url)
    with lineage.open(registry_url) as registry:
        registry.sync()
        (event,) = [e for e in registry.history("sft/checkpoint-4") if e.kind == "metered"]
        assert event.body["phase"] == "training"
        registry.undo(event.id)
        assert [cost.retracted is None for cost in registry.record("sft/checkpoint-4").power] == [
            True, False,
        ]  # fmt: skip


def test_weights_that_are_saved_again_live_again(registry_url: str) -> None:
    train(registry_url, steps=2, keep=1)
    with lineage.open(registry_url) as registry:
        registry.sync()
        lost = registry.get("sft/checkpoint-2")
        with lineage.track("runs/sft", db=registry_url) as run:
            run.recorder.found("runs/sft/checkpoint-2")
            shutil.rmtree("runs/sft")
            run.checkpoint(save(Path("runs/sft/checkpoint-3"), weights(3)), step=3)
        registry.sync()
        assert registry.get(lost.digest).status == "culled"
        train(registry_url, steps=2, keep=2)
        registry.sync()
        assert registry.get(lost.digest).status == "alive"
        sound.check(registry)


def test_spools_of_several_machines(registry_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two machines with the same paths. What one of them hashed comes in anywhere; what it did not
    waits for it, and says so."""
    for host in ("gpu-1", "gpu-2"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        monkeypatch.setenv("LINEAGE_SPOOL", f"spool-of-{host}")
        with monkeypatch.context() as there:
            there.setattr("lineage.arrivals.this_host", lambda host=host: host)
            train(registry_url, steps=2, seed=host == "gpu-1")
            folder = spool_of(registry_url)
            if host == "gpu-1":
                from lineage import arrivals

                arrivals.bring_in(None, folder)  # hashed, and the registry not reached
            shutil.move(folder, host)
            shutil.rmtree("runs")
    monkeypatch.delenv("LINEAGE_SPOOL")
    with lineage.open(registry_url) as registry:
        first, second = registry.sync("gpu-1"), registry.sync("gpu-2")
        assert (first.arrived, first.waiting) == (3, ())
        assert (second.arrived, len(second.waiting)) == (0, 3)
        assert "gpu-2" in second.waiting[0][1]
        place = registry.record("sft/checkpoint-2").places[0]
        assert (place.host, place.gone_at) == ("gpu-1", None)
        sound.check(registry)


def break_a_record(file: Path, **changes: Any) -> None:
    record = json.loads(file.read_text())
    record["checkpoint"].update(changes)
    file.write_text(json.dumps(record))


BROKEN: dict[str, Any] = {
    "no JSON": lambda file: file.write_text("{"),
    "no record": lambda file: file.write_text("[1]"),
    "not whole": lambda file: file.write_text(json.dumps({"lineage": 1, "uuid": "x"})),
    "cut": lambda file: file.write_text(
        json.dumps({"lineage": 1, "uuid": "x", "checkpoint": {"path": "runs/sft"}})
    ),
    "another relation": lambda file: break_a_record(
        file, parents=[{"ref": "a", "relation": "cousin"}]
    ),
    "no number": lambda file: break_a_record(
        file, fitness=[{"task": "a", "metric": "b", "value": "NaN", "at": 1}]
    ),
    "no text": lambda file: break_a_record(file, path="a\x00b"),
    "another type": lambda file: break_a_record(file, stamp=None, tags=[1], step="<b>"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_never_can_come_in_is_set_aside_and_blocks_nothing(
    registry_url: str, how: str
) -> None:
    train(registry_url)
    folder = spool_of(registry_url)
    BROKEN[how](spool.waiting(folder)[1])
    with lineage.open(registry_url) as registry:
        done = registry.sync()
        assert done.arrived == 4
        ((file, reason),) = done.set_aside
        assert reason
        assert Path(file).parent.name == "set-aside"
        assert spool.set_aside(folder) == [(Path(file), reason)]
        assert registry.sync().set_aside == ()
        assert registry.count() == 3
        sound.check(registry)


def test_what_was_set_aside_is_tried_again_from_there() -> None:
    with lineage.open("r.db") as registry:
        base = registry.register(save(Path("base"), weights("base")), name="base")
        train("r.db", steps=1, parents="base@production")
        folder = spool_of("r.db")
        reasons = [why for _, why in registry.sync().set_aside]
        assert "production" in reasons[0]
        assert "set aside" in reasons[1]  # what was used after it
        assert registry.count() == 1
        registry.alias(base, "production")
        done = registry.sync(folder / "set-aside")
        assert (done.arrived, done.set_aside) == (2, ())
        assert spool.set_aside(folder) == []
        assert registry.is_ancestor(base, "sft/checkpoint-1")


def test_a_record_of_a_later_lineage_waits(registry_url: str) -> None:
    train(registry_url, steps=2)
    first = spool.waiting(spool_of(registry_url))[0]
    first.write_text(json.dumps(json.loads(first.read_text()) | {"lineage": 2}))
    with lineage.open(registry_url) as registry:
        done = registry.sync()
        assert (done.arrived, done.set_aside) == (2, ())
        assert "newer lineage" in done.waiting[0][1]


def test_nothing_is_hashed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was hashed while the registry could not be reached is not read again when it can."""
    from lineage import arrivals, genome

    train("r.db")
    arrivals.bring_in(None, spool_of("r.db"))
    monkeypatch.setattr(genome, "read", lambda *_, **__: pytest.fail("hashed again"))
    with lineage.open("r.db") as registry:
        assert registry.sync().arrived == 5


def test_a_direction_that_contradicts_the_registry_loses_no_checkpoint(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        base = registry.register(name="base")
        registry.score(base, "toy/acc", 0.5, direction="lower")
        train(registry_url, steps=1)
        assert registry.sync().arrived == 2
        (score,) = registry.record("sft/checkpoint-1").scores
        assert (score.value, score.direction) == (0.1, "lower")


def test_scores_without_a_task_stay_apart(registry_url: str) -> None:
    for name in ("a", "b"):
        with lineage.track(name, db=registry_url) as run:
            run.checkpoint(save(Path(name), weights(name)), fitness={"loss": 1.0, "runtime": 3.0})
    with lineage.open(registry_url) as registry:
        registry.sync()
        niches = {str(s.niche) for n in "ab" for s in registry.record(n).scores}
        assert len(niches) == 2
        assert all(niche.endswith("/loss") for niche in niches)


def command(*arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments])


def test_sync_and_doctor_say_what_waits() -> None:
    with lineage.open("r.db"):
        pass
    train("r.db")
    spool.waiting(spool_of("r.db"))[0].write_text("{")
    assert "5 records wait" in command("doctor", "--db", "r.db").output
    done = command("sync", "--db", "r.db")
    assert done.exit_code == 1
    assert "4 records came in" in done.output
    assert "1 record was set aside" in done.output
    again = command("sync", "--json", "--db", "r.db")
    assert json.loads(again.output) == {"arrived": 0, "known": 0, "waiting": [], "set_aside": []}
    sick = command("doctor", "--db", "r.db")
    assert sick.exit_code == 1
    assert "set_aside (1)" in sick.output
    assert command("sync", "--db", "nowhere.db").exit_code == 3


def test_one_spool_a_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lineage.database import locate

    (tmp_path / "link").symlink_to(tmp_path)
    here = spool.folder_of(locate(tmp_path / "r.db"))
    assert spool.folder_of(locate(tmp_path / "link" / "r.db")) == here
    assert spool.folder_of(locate(f"sqlite:///{tmp_path}/r.db")) == here
    assert spool.folder_of(locate(tmp_path / "other.db")) != here
    one = spool.folder_of(locate("postgresql://ann:secret@host/db"))
    assert spool.folder_of(locate("postgresql://bob@host/db")) == one
    assert spool.folder_of(locate("postgresql://host/other")) != one
    monkeypatch.setenv("LINEAGE_SPOOL", "elsewhere")
    assert spool.folder_of(locate(tmp_path / "r.db")).parent == tmp_path / "elsewhere"
