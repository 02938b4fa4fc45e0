"""What the doctor promises: a sound registry is said to be sound, every damage is found and named
with what mends it, and a repair brings back what is derived and touches nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import sound
from click.testing import CliRunner, Result
from disks import without_privileges
from hypothesis import given, settings
from hypothesis import strategies as st

import lineage
import lineage.doctor.examine  # read before privileges go: nobody may not read this Python
from lineage import chain, schema, snapshots
from lineage.cli import COMMANDS, checking, main
from lineage.database import locate
from lineage.doctor.findings import REPAIR, WORDS, Checkup
from lineage.doctor.ranks import wrong_ranks
from lineage.doctor.repair import MENDS
from lineage.doctor.structure import parts_there
from lineage.organism import PowerCost, Score
from lineage.registry import Registry

STEPS = 12


def grow(registry: Registry) -> None:
    """A family with a bit of everything: a chain, a merge, a ghost, one that was absorbed."""
    registry.register(name="base", digest="ab" * 32, place="/elsewhere/base", aliases="best")
    for step in range(1, STEPS + 1):
        registry.register(
            name=f"c{step}", parents="base" if step == 1 else f"c{step - 1}", relation="continue"
        )
    for day, value in ((1, 0.3), (2, 0.5)):
        score = Score("gsm8k/acc", value, at=f"2026-01-0{day}T00:00:00")  # type: ignore[arg-type]
        registry.register(name="c3", fitness=[score])
        rate = PowerCost(value, "serving", "token", at=f"2026-01-0{day}")  # type: ignore[arg-type]
        registry.meter("c3", rate)
        registry.meter("c3", PowerCost(100 * value))
    registry.register(name="mix", parents={"c2": 0.3, "c5": 0.7})
    registry.register(name="tuned", parents=["mix"])
    registry.link("tuned", "mix", "adapter", weight=0.9, evidence="configured")
    registry.register(name="orphan", parents=lineage.Parent("somebody", "distill"))
    registry.register(name="twin", place="hf:org/twin@v1")
    registry.register(place="hf:org/other@v1")
    registry.register(name="twin2", digest="cd" * 32, place=["hf:org/other@v1", "hf:org/twin@v1"])


def by_hand(url: str, *statements: str) -> None:
    """Edit the database behind the registry's back, without keys, checks or triggers."""
    address = locate(url)
    if address.file is None:
        import psycopg

        plain = address.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain) as server:
            server.execute("SET session_replication_role = replica")
            for statement in statements:
                server.execute(statement)  # type: ignore[call-overload]
        return
    connection = sqlite3.connect(address.file, isolation_level=None)
    for trigger in ("edge_acyclic", "event_no_update", "event_no_delete"):
        connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    for statement in statements:
        connection.execute(statement)
    for statement in schema.TRIGGERS["sqlite"]:
        connection.execute(statement)
    connection.close()


def who(name: str) -> str:
    return f"(SELECT organism FROM name WHERE name = '{name}' AND version = 1)"


def contents(registry: Registry) -> dict[str, list[Any]]:
    """Every row of every table, but for events and snapshots."""
    left_out = {"event", "actor", "setting", *snapshots.COLUMNS}
    with registry.database.read() as connection:
        return {
            name: sorted(connection.rows(f"SELECT * FROM {name}"), key=repr)
            for name in schema.metadata.tables
            if name not in left_out
        }


def checks(found: Checkup) -> list[str]:
    return [one.check for one in found.findings]


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        grow(opened)
        yield opened


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Registry]:
    with lineage.open(tmp_path / "registry.db") as opened:
        yield opened


# ---- Soundness


def test_a_sound_registry_is_said_to_be_sound(registry: Registry, registry_url: str) -> None:
    sound.check(registry)
    found = registry.doctor()
    assert found.sound, found.findings
    assert found.counts["organisms"] == STEPS + 5
    assert found.counts["ghosts"] == 1
    assert found.snapshot == "none"
    said = run("doctor", "--db", registry_url)
    assert said.exit_code == 0, said.output
    assert len(said.output.splitlines()) == 1
    assert f"is sound: {STEPS + 5} organisms, 1 ghost, " in said.output
    assert re.search(r"; \d+\.\d s\.$", said.output.strip())


def test_an_empty_registry_is_sound(local: Registry) -> None:
    assert local.doctor(deep=True).sound


def test_looking_changes_nothing(registry: Registry) -> None:
    before = contents(registry), len(registry.history("base"))
    registry.doctor(files=True, deep=True)
    assert (contents(registry), len(registry.history("base"))) == before


def test_it_works_on_a_registry_that_it_cannot_write() -> None:
    with without_privileges() as home:
        with lineage.open(home / "registry.db") as opened:
            grow(opened)
        (home / "registry.db").chmod(0o400)
        with lineage.open(home / "registry.db", create=False) as opened:
            assert opened.doctor().sound


# ---- Damage that a repair mends

GENERATION = f"UPDATE organism SET generation = 77 WHERE id = {who('c5')}"
DERIVED: dict[str, tuple[str, str, int, str]] = {
    "a generation": ("ranks", GENERATION, 1, "c5@v1"),
    "a jump": ("ranks", f"UPDATE organism SET jump = {who('c6')} WHERE id = {who('c7')}", 1, "c7"),
    "a jump to nobody": (
        "ranks",
        f"UPDATE organism SET jump = 999 WHERE id = {who('c7')}",
        1,
        "c7@v1",
    ),
    "no jump": ("ranks", f"UPDATE organism SET jump = NULL WHERE id = {who('c4')}", 1, "c4@v1"),
    "a jump over a merge": (
        "ranks",
        f"UPDATE organism SET jump = id WHERE id = {who('tuned')}",
        1,
        "tuned@v1",
    ),
    "all ranks": ("ranks", "UPDATE organism SET generation = 0, jump = NULL", STEPS + 7, "base"),
    "the earlier score counts": (
        "current",
        "UPDATE fitness SET current = 1 - current",
        2,
        "c3@v1",
    ),
    "both scores count": ("current", "UPDATE fitness SET current = 1", 1, "c3@v1"),
    "no rate counts": ("current", "UPDATE power SET current = 0 WHERE per <> 'total'", 1, "c3@v1"),
    "an interval does not count": (
        "current",
        "UPDATE power SET current = 0 WHERE per = 'total'",
        2,
        "c3@v1",
    ),
    "a standing with another cost": ("standings", "UPDATE standing SET joules = 7", 1, "c3@v1"),
    "a standing that is lost": ("standings", "DELETE FROM standing", 1, "c3@v1"),
    "a standing of nobody": (
        "standings",
        "INSERT INTO standing SELECT niche, value + 1, organism, per, also, joules, source, meter, "
        "stderr, n, state, here FROM standing",
        1,
        "c3@v1",
    ),
    "said to be here": ("here", f"UPDATE organism SET here = 1 WHERE id = {who('c1')}", 1, "c1@v1"),
    "a place under another hash": ("hashes", "UPDATE place SET hash = 7", 3, "/elsewhere/base"),
    "said to be nowhere": ("here", "UPDATE organism SET here = 0", 1, "base@v1"),
    "another relation": (
        "relations",
        f"UPDATE edge SET relation = 'prune' WHERE child = {who('tuned')}",
        1,
        "tuned@v1 from mix@v1",
    ),
    "another weight": (
        "relations",
        f"UPDATE edge SET weight = NULL WHERE child = {who('mix')}",
        2,
        "mix@v1 from c2@v1",
    ),
}


def test_all_that_is_rebuilt_has_a_name() -> None:
    assert set(checking.REBUILT) == {*MENDS, "snapshot"}


@pytest.mark.parametrize("damage", DERIVED)
def test_what_is_derived_is_found_named_and_mended(
    registry: Registry, registry_url: str, damage: str
) -> None:
    check, statement, count, example = DERIVED[damage]
    before = contents(registry)
    by_hand(registry_url, statement)
    found = registry.doctor()
    # standings follow from what counts: they are right again once that is
    more = {"standings": 0} if check == "current" and "interval" not in damage else {}
    assert checks(found) == [check, *more]
    one = found.findings[0]
    assert one.count == count
    assert any(example in known for known in one.examples), one.examples
    assert one.derived
    assert "doctor --repair --apply" in one.mend
    assert registry.repair(found) == {check: count, **more}
    assert contents(registry) == before
    assert registry.doctor().sound
    sound.check(registry)


def test_several_at_once(registry: Registry, registry_url: str) -> None:
    before = contents(registry)
    by_hand(registry_url, *(statement for _, statement, *_ in DERIVED.values()))
    found = registry.doctor()
    every = ["ranks", "relations", "current", "here", "hashes", "standings"]
    assert checks(found) == every
    registry.repair(found)
    assert contents(registry) == before
    (event,) = _events(registry, "repaired")
    assert json.loads(event).keys() == set(every)


def _events(registry: Registry, kind: str) -> list[str]:
    with registry.database.read() as connection:
        return [row[0] for row in connection.rows("SELECT body FROM event WHERE kind = ?", (kind,))]


def test_a_repair_mends_only_what_was_found_and_is_still_wrong(
    registry: Registry, registry_url: str
) -> None:
    by_hand(registry_url, GENERATION, "UPDATE organism SET here = 0")
    found = registry.doctor()
    registry.repair(found)
    assert registry.repair(found) == {"ranks": 0, "here": 0}
    assert registry.repair(registry.doctor()) == {}
    assert len(_events(registry, "repaired")) == 1, "what changed nothing leaves no event"


@st.composite
def damaged_families(draw: st.DrawFn) -> tuple[list[list[int]], list[tuple[int, int, int | None]]]:
    """The parents of each organism, all of whom are before it; and (organism, generation, jump) to
    write over what is right."""
    count = draw(st.integers(1, 25))
    family = [
        draw(st.lists(st.integers(0, own - 1), max_size=2, unique=True)) if own else []
        for own in range(count)
    ]
    own = st.integers(0, count - 1)
    wrong = st.tuples(own, st.integers(0, count), st.one_of(st.none(), own))
    return family, draw(st.lists(wrong, max_size=6))


def test_ranks_are_mended_whatever_was_written_over_them(local: Registry) -> None:
    """By the definitions in tests/sound.py; and what is counted is what differs."""

    @settings(max_examples=60)
    @given(damaged_families())
    def holds(drawn: tuple[list[list[int]], list[tuple[int, int, int | None]]]) -> None:
        family, wrong = drawn
        graph = nx.DiGraph()
        graph.add_nodes_from(range(len(family)))
        graph.add_edges_from((p, own) for own, parents in enumerate(family) for p in parents)
        right = sound.ranks_of(graph)
        stored = right | {own: (generation, jump) for own, generation, jump in wrong}
        with local.database.write() as connection:
            for table in ("evidence", "edge", "organism"):
                connection.execute(f"DELETE FROM {table}")
            insert = "INSERT INTO organism (id, generation, jump) VALUES (?, ?, ?)"
            connection.many(insert, [(own, *rank) for own, rank in right.items()])
            insert = "INSERT INTO edge (child, parent, relation) VALUES (?, ?, 'merge')"
            connection.many(insert, [(child, parent) for parent, child in graph.edges])
            update = "UPDATE organism SET generation = ?, jump = ? WHERE id = ?"
            connection.many(update, [(*rank, own) for own, rank in stored.items()])
        with local.database.read() as connection:
            found = wrong_ranks(connection)
        assert not found.circles
        assert {own: (generation, jump) for generation, jump, own in found.wrong} == {
            own: rank for own, rank in right.items() if stored[own] != rank
        }

    holds()


def test_missing_indexes_and_guards_come_back(registry: Registry, registry_url: str) -> None:
    before = _described(registry)
    if registry.database.postgresql:
        guards = ["DROP FUNCTION lineage_append_only CASCADE",
                  "ALTER TABLE edge DISABLE TRIGGER edge_acyclic"]  # fmt: skip
    else:
        guards = ["DROP TRIGGER event_no_update", "DROP TRIGGER edge_acyclic"]
    with registry.database.transaction("BEGIN") as connection:
        for statement in ("DROP INDEX fitness_organism", "DROP INDEX power_uuid", *guards):
            connection.execute(statement)
    found = registry.doctor()
    assert checks(found) == ["indexes"]
    assert set(found.findings[0].examples) == {"index fitness_organism", "index power_uuid"}
    assert "ranks" in found.skipped, "without indexes it would take forever"
    assert registry.repair(found) == {"indexes": 2}
    found = registry.doctor()
    assert checks(found) == ["triggers"]
    assert "trigger edge_acyclic" in found.findings[0].examples
    registry.repair(found)
    assert registry.doctor().sound
    assert _described(registry) == before


def _described(registry: Registry) -> set[Any]:
    with registry.database.read() as connection:
        return parts_there(connection)


def test_an_index_that_cannot_come_back_stays_named(local: Registry, tmp_path: Path) -> None:
    grow(local)
    by_hand(
        str(tmp_path / "registry.db"),
        "DROP INDEX niche_name",
        "DROP INDEX tag_key",
        "INSERT INTO niche (task, metric, split) VALUES ('gsm8k', 'acc', '')",
    )
    assert local.repair(local.doctor()) == {"indexes": 1}
    (one,) = local.doctor().findings
    assert (one.check, one.examples) == ("indexes", ("index niche_name",))


def test_a_snapshot_that_is_stale_is_no_fault_and_is_renewed(registry: Registry) -> None:
    registry.refresh_snapshot()
    assert registry.doctor().snapshot == "fresh"
    registry.unlink("c3", "c2")
    found = registry.doctor()
    assert found.sound
    assert found.snapshot == "stale"
    assert registry.repair(found) == {"snapshot": 1}
    assert registry.doctor().snapshot == "fresh"


def test_a_snapshot_that_lost_rows_is_made_again(registry: Registry, registry_url: str) -> None:
    registry.refresh_snapshot()
    by_hand(registry_url, "DELETE FROM label WHERE pre < 3")
    found = registry.doctor()
    assert checks(found) == ["snapshot"]
    assert registry.repair(found) == {"snapshot": 1}
    assert registry.doctor().sound


# ---- Damage that a person has to mend

RECORDED: dict[str, tuple[str, str, int, str]] = {
    "a link without evidence": (
        "evidence",
        f"DELETE FROM evidence WHERE child = {who('c4')}",
        1,
        "c4@v1 from c3@v1",
    ),
    "no first name": ("names", f"UPDATE name SET rank = 4 WHERE organism = {who('c4')}", 1, "#"),
    "an alias astray": (
        "aliases",
        f"UPDATE alias SET organism = {who('c4')} WHERE alias = 'best'",
        1,
        "base@best is c4@v1",
    ),
    "one absorbed with a tag": (
        "absorbed",
        "INSERT INTO tag (organism, key, value) "
        "SELECT max(id), 'k', 'v' FROM organism WHERE same_as IS NOT NULL",
        1,
        "#",
    ),
    "one absorbed twice": (
        "absorbed",
        f"UPDATE organism SET same_as = (SELECT max(id) FROM organism WHERE same_as IS NOT NULL) "
        f"WHERE id = {who('orphan')}",
        1,
        "orphan@v1",
    ),
    "nothing known": ("unknown", f"DELETE FROM name WHERE organism = {who('c12')}", 1, "#"),
    "an event that is no JSON": (
        "events",
        "UPDATE event SET body = '{' WHERE id = (SELECT max(id) FROM event)",
        1,
        "event ",
    ),
    "an event that is no object": (
        "events",
        "UPDATE event SET body = '[1]' WHERE id = (SELECT max(id) FROM event)",
        1,
        "event ",
    ),
    "a parent that is gone": (
        "references",
        "DELETE FROM organism WHERE ghost = 1",
        3,
        "edge.parent #",
    ),
    "a niche that is gone": ("references", "DELETE FROM niche", 2, "fitness.niche #1"),
}


@pytest.mark.parametrize("damage", RECORDED)
def test_what_was_recorded_is_found_named_and_left_alone(
    registry: Registry, registry_url: str, damage: str
) -> None:
    check, statement, count, example = RECORDED[damage]
    by_hand(registry_url, statement)
    before = contents(registry)
    found = registry.doctor()
    assert check in checks(found)
    one = next(one for one in found.findings if one.check == check)
    assert one.count == count
    assert any(example in known for known in one.examples), one.examples
    assert not one.derived
    assert registry.repair(found).keys() <= {"ranks"}  # one whose parent is gone is a founder
    if check != "references":
        assert contents(registry) == before
    assert check in checks(registry.doctor())


def test_a_circle_is_found_and_the_command_that_is_told_opens_it(
    registry: Registry, registry_url: str
) -> None:
    values = f"VALUES ({who('c2')}, {who('c6')}, 'continue'"
    by_hand(
        registry_url,
        f"INSERT INTO edge (child, parent, relation, needed) {values}, 0)",
        f"INSERT INTO evidence (child, parent, relation, evidence) {values}, 'declared')",
    )
    found = registry.doctor()
    assert checks(found) == ["circles"]
    (one,) = found.findings
    circle = one.examples[0].split(" from ")
    assert circle[0] == circle[-1]
    assert set(circle) == {f"c{n}@v1" for n in range(2, 7)}
    assert registry.repair(found) == {}
    (command,) = re.findall(r"`lineage (unlink [^`]+)`", one.mend)
    said = run(*command.split(), "--db", registry_url)
    assert said.exit_code == 0, said.output
    assert registry.doctor().sound
    sound.check(registry)


def test_a_missing_link_of_evidence_is_declared_by_the_command_that_is_told(
    registry: Registry, registry_url: str
) -> None:
    by_hand(registry_url, f"DELETE FROM evidence WHERE child = {who('c4')}")
    (one,) = registry.doctor().findings
    (command,) = re.findall(r"`lineage (link [^`]+)` declares", one.mend)
    run(*command.split(), "--db", registry_url)
    found = registry.doctor()
    assert "evidence" not in checks(found)


def test_every_check_says_what_mends_it_by_a_command_that_exists() -> None:
    told = {
        command.split()[0]
        for _, mend in WORDS.values()
        for command in re.findall(r"`lineage ([^`]+)`", mend)
    }
    assert told - COMING <= COMMANDS.keys()
    assert MENDS.keys() | {"snapshot"} == {
        check for check, (_, mend) in WORDS.items() if mend == REPAIR
    }


COMING = {"relocate", "rename"}
"""Commands of this release that others write."""


def test_names_from_outside_steer_no_terminal_and_no_shell(local: Registry, tmp_path: Path) -> None:
    evil = "a'; rm -rf ~ \x1b[31m\n\u202e{0}"
    local.register(name=evil)
    local.register(name="child", parents=lineage.Parent(local.get(evil)))
    by_hand(str(tmp_path / "registry.db"), "DELETE FROM evidence")
    said = run("doctor", "--db", str(tmp_path / "registry.db"))
    assert said.exit_code == 1
    assert "\x1b" not in said.output
    assert "\u202e" not in said.output
    assert "link child@v1 'a'\"'\"'; rm -rf ~" in said.output


# ---- A damaged file


def test_a_damaged_page_is_found_and_the_rest_waits(local: Registry, tmp_path: Path) -> None:
    grow(local)
    file = tmp_path / "registry.db"
    local.close()
    root = flip_page(file, "event")
    said = run("doctor", "--db", str(file))
    assert said.exit_code == 1, said.output
    assert said.output.startswith("damaged (")
    # newer versions of SQLite name the page, older ones give up: then the table is named
    assert f"page {root}" in said.output or "table event: " in said.output
    assert "lineage db restore FILE" in said.output
    assert "wait until this is mended" in said.output


def flip_page(file: Path, table: str) -> int:
    """Spoil the page where a table begins; its number."""
    connection = sqlite3.connect(file)
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (root,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
    ).fetchone()
    connection.close()
    with file.open("r+b") as raw:
        raw.seek((root - 1) * size)
        raw.write(bytes([0xFF] * 16))
    return int(root)


def test_a_file_that_is_cut_short_is_said_to_be_damaged(local: Registry, tmp_path: Path) -> None:
    grow(local)
    file = tmp_path / "registry.db"
    local.close()
    os.truncate(file, file.stat().st_size // 2)
    said = run("doctor", "--db", str(file))
    assert said.exit_code in (1, 3)
    assert "damaged" in said.output


def test_an_index_that_disagrees_with_its_table_is_found_deep(
    local: Registry, tmp_path: Path
) -> None:
    grow(local)
    file = tmp_path / "registry.db"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA writable_schema=ON")
    sql = "SELECT sql FROM sqlite_master WHERE name = 'event_organism'"
    (before,) = connection.execute(sql).fetchone()
    update = "UPDATE sqlite_master SET sql = ? WHERE name = 'event_organism'"
    connection.execute(update, (f"{before} WHERE id < 5",))
    connection.execute("PRAGMA writable_schema=RESET")
    head, *who = connection.execute(
        """SELECT e.chain, a."user", a.host, a.pid, a.command FROM event e, actor a WHERE a.id = 1
           ORDER BY e.id DESC LIMIT 1"""
    ).fetchone()
    after = chain.link(head, chain.canonical(None, 1, tuple(who), "odd", b"{}"))
    odd = "INSERT INTO event (kind, at, actor, chain) VALUES ('odd', 1, 1, ?)"
    connection.execute(odd, (after,))
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute(update, (before,))
    connection.close()
    assert local.doctor().sound
    local.close()
    assert checks(local.doctor(deep=True)) == ["damaged"]


def test_a_table_or_column_that_is_gone_is_named(local: Registry, tmp_path: Path) -> None:
    by_hand(str(tmp_path / "registry.db"), "DROP TABLE tag", "ALTER TABLE power DROP gco2e")
    found = local.doctor()
    assert checks(found) == ["schema"]
    assert set(found.findings[0].examples) == {"table tag", "column power.gco2e"}


# ---- Files


def save(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.bin").write_bytes(content)
    return folder


@pytest.fixture
def runs(local: Registry, tmp_path: Path) -> dict[str, Path]:
    """Registered folders, each with weights and an optimizer, and one single file."""
    found = {}
    for name in ("a", "b", "c"):
        weights = hashlib.sha256(name.encode()).digest() * 1000
        found[name] = save(tmp_path / "runs" / name, model=weights, optimizer=b"state")
        local.register(found[name], name=name)
    found["single"] = save(tmp_path / "runs" / "single", alone=b"single" * 99) / "alone.bin"
    local.register(found["single"], name="single")
    return found


def test_files_that_are_as_registered_are_sound(local: Registry, runs: dict[str, Path]) -> None:
    shallow, deep = local.doctor(files=True), local.doctor(deep=True)
    assert shallow.sound
    assert deep.sound
    assert (shallow.counts["places"], shallow.counts["files"]) == (4, 7)
    assert "hashed" not in shallow.counts
    assert deep.counts["hashed"] == sum(
        file.stat().st_size for file in (runs["a"].parent).rglob("*.bin")
    )


def _gone(run: Path) -> str:
    run.rename(run.with_name("moved"))
    return str(run)


def _missing(run: Path) -> str:
    (run / "model.bin").unlink()
    return str(run / "model.bin")


def _truncated(run: Path) -> str:
    os.truncate(run / "model.bin", 31_000)
    return f"{run / 'model.bin'}: 31,000 bytes instead of 32,000"


def _replaced(run: Path) -> str:
    (run / "optimizer.bin").unlink()
    (run / "optimizer.bin").mkdir()
    return f"{run / 'optimizer.bin'}: no file any more"


def _overwritten(run: Path) -> str:
    with (run / "model.bin").open("r+b") as file:
        file.seek(20_000)
        file.write(b"\x00")
    return f"{run / 'model.bin'}: other bytes of the same size"


def _endless(run: Path) -> str:
    (run / "model.bin").unlink()
    (run / "model.bin").symlink_to(run / "model.bin")
    return f"{run / 'model.bin'}: "


ON_DISK: list[tuple[str, Callable[[Path], str], bool]] = [
    ("places", _gone, False),
    ("missing", _missing, False),
    ("changed", _truncated, False),
    ("changed", _replaced, False),
    ("changed", _overwritten, True),
    ("unreadable", _endless, False),
]


@pytest.mark.parametrize(("check", "damage", "deep"), ON_DISK)
def test_what_happened_to_a_file_is_found(
    local: Registry, runs: dict[str, Path], check: str, damage: Callable[[Path], str], deep: bool
) -> None:
    example = damage(runs["b"])
    seen = checks(local.doctor(files=True))
    assert seen == (["touched"] if deep else [check]), "times tell that bytes may differ"
    found = local.doctor(deep=True)
    assert checks(found) == [check]
    (one,) = found.findings
    assert one.count == 1
    assert one.examples[0].startswith(example)
    assert not one.derived
    assert local.doctor().sound, "files are looked at when asked for"
    db = str(local.database.address)
    said = run("doctor", "--deep", "--db", db)
    assert said.exit_code == 1
    assert example in said.output
    assert run("doctor", "--deep", "--repair", "--apply", "--db", db).exit_code == 1


def test_a_copy_of_the_same_bytes_is_right_once_it_is_read(
    local: Registry, runs: dict[str, Path]
) -> None:
    os.utime(runs["a"] / "model.bin", ns=(1, 2))
    (one,) = local.doctor(files=True).findings
    assert (one.check, one.count) == ("touched", 1)
    assert local.doctor(deep=True).sound
    local.register(runs["a"], name="a")
    assert local.doctor(files=True).sound


def test_a_file_that_may_not_be_read_is_named() -> None:
    with without_privileges() as home:
        folder = save(home / "run", model=b"weights" * 9)
        with lineage.open(home / "registry.db") as opened:
            opened.register(folder, name="run")
            (folder / "model.bin").chmod(0)
            for deep in (False, True):
                assert checks(opened.doctor(files=True, deep=deep)) == ["unreadable"]
            (folder / "model.bin").chmod(0o600)
            folder.chmod(0)
            (one,) = opened.doctor(files=True).findings
            folder.chmod(0o700)
            assert one.check == "unreadable"


def test_places_on_other_hosts_and_those_that_are_gone_are_not_looked_at(
    local: Registry, runs: dict[str, Path], tmp_path: Path
) -> None:
    by_hand(
        str(tmp_path / "registry.db"),
        f"UPDATE place SET host = 'cluster-7' WHERE organism = {who('a')}",
        f"UPDATE place SET gone_at = 1 WHERE organism = {who('b')}",
        f"UPDATE organism SET here = 0 WHERE id = {who('b')}",
    )
    for name in ("a", "b"):
        (runs[name] / "model.bin").unlink()
    found = local.doctor(files=True)
    assert found.sound
    assert (found.counts["places"], found.counts["elsewhere"]) == (2, 1)


def test_hashing_tells_how_far_it_is(local: Registry, runs: dict[str, Path]) -> None:
    told: list[tuple[str, int, int]] = []
    local.doctor(deep=True, progress=lambda *far: told.append(far))
    hashed = [far[1:] for far in told if far[0] == "hashing"]
    done = [one for one, _ in hashed]
    assert done == sorted(done)
    assert hashed[-1][0] == hashed[-1][1] > 32_000
    assert {far[0] for far in told} >= {"ranks", "events", "files"}


# ---- The command


def test_the_plan_comes_first_and_apply_mends(registry: Registry, registry_url: str) -> None:
    by_hand(registry_url, GENERATION)
    before = contents(registry)
    planned = run("doctor", "--repair", "--db", registry_url)
    assert planned.exit_code == 1
    assert "To be rebuilt: generations and jumps (1). Nothing is changed" in planned.output
    assert contents(registry) == before
    done = run("doctor", "--repair", "--apply", "--db", registry_url)
    assert done.exit_code == 0, done.output
    assert "Rebuilt: generations and jumps (1)." in done.output
    assert run("doctor", "--db", registry_url).exit_code == 0
    assert run("doctor", "--apply", "--db", registry_url).exit_code == 2


def test_one_repair_mends_indexes_and_what_waited_for_them(
    registry: Registry, registry_url: str
) -> None:
    by_hand(registry_url, "DROP INDEX fitness_organism", GENERATION)
    done = run("doctor", "--repair", "--apply", "--db", registry_url)
    assert done.exit_code == 0, done.output
    assert "Rebuilt: indexes (1), generations and jumps (1)." in done.output


def test_json(registry: Registry, registry_url: str) -> None:
    by_hand(registry_url, GENERATION)
    said = run("doctor", "--json", "--db", registry_url)
    assert said.exit_code == 1
    told = json.loads(said.output)
    assert told["sound"] is False
    assert told["mended"] is None
    (one,) = told["findings"]
    assert one["check"] == "ranks"
    assert one["examples"] == ["c5@v1"]
    mended = run("doctor", "--json", "--repair", "--apply", "--db", registry_url)
    assert mended.exit_code == 0
    assert json.loads(mended.output)["mended"] == {"ranks": 1}
