"""What the event chain promises: whoever edits, cuts, reorders or rewrites the history behind the
registry's back is found out, and told where; whoever writes through it leaves the chain whole."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator

import pytest
import sound
from click.testing import CliRunner, Result
from test_doctor import by_hand

import lineage
from lineage import chain
from lineage.cli import main
from lineage.errors import InvalidValue
from lineage.registry import Registry

EVENTS = 9


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    with lineage.open(registry_url) as opened:
        for step in range(EVENTS):
            opened.register(name=f"c{step}", run='ä "quoted"\n', fitness={"gsm8k/acc": step / 10})
        yield opened


def events(registry: Registry) -> list[tuple[int, bytes]]:
    with registry.database.read() as connection:
        return [
            (own, bytes(chained))
            for own, chained in connection.rows("SELECT id, chain FROM event ORDER BY id")
        ]


def broken(registry: Registry) -> list[str]:
    found = [one for one in registry.doctor().findings if one.check == "chain"]
    return [*found[0].examples] if found else []


def run(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_every_event_follows_from_the_one_before(registry: Registry) -> None:
    sound.check(registry)
    registry.alias("c1", "best")
    registry.tag("c2", note="<b>ö\u2028")
    assert registry.head() == (EVENTS + 2, events(registry)[-1][1].hex())
    sound.check(registry)
    assert broken(registry) == []


def test_an_empty_history_has_a_head_too(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        assert registry.head() == (0, "00" * 32)
        assert registry.doctor(head="00" * 32).sound


EDITS = {
    "body": "UPDATE event SET body = '{\"name\":\"other\"}' WHERE id = 4",
    "time": "UPDATE event SET at = at - 1 WHERE id = 4",
    "kind": "UPDATE event SET kind = 'ghost' WHERE id = 4",
    "organism": "UPDATE event SET organism = 1 WHERE id = 4",
    "nobody": "UPDATE event SET organism = NULL WHERE id = 4",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_event_that_was_edited_is_named(
    registry: Registry, registry_url: str, edit: str
) -> None:
    by_hand(registry_url, EDITS[edit])
    (said,) = broken(registry)
    assert said == "event 4 is not what was written, or what came before it is gone"


def test_who_did_it_cannot_be_changed_either(registry: Registry, registry_url: str) -> None:
    by_hand(registry_url, """UPDATE actor SET "user" = 'somebody'""")
    (finding,) = registry.doctor().findings
    assert (finding.check, finding.count) == ("chain", EVENTS)


def test_events_that_are_gone_are_numbered(registry: Registry, registry_url: str) -> None:
    by_hand(registry_url, "DELETE FROM event WHERE id IN (1, 4, 5)")
    assert broken(registry) == ["event 1 is gone", "events 4 to 5 are gone"]


def test_events_in_another_order_are_told_from_edited_ones(
    registry: Registry, registry_url: str
) -> None:
    by_hand(
        registry_url,
        "UPDATE event SET id = 100 WHERE id = 3",
        "UPDATE event SET id = 3 WHERE id = 7",
        "UPDATE event SET id = 7 WHERE id = 100",
    )
    said = broken(registry)
    assert len(said) == 4
    assert said[0] == "event 3 once came after another one than event 2"
    assert said[2] == "event 7 once came after another one than event 6"


def test_a_cut_end_or_a_rewritten_history_is_found_by_a_kept_head(
    registry: Registry, registry_url: str
) -> None:
    kept = registry.head()[1]
    registry.tag("c1", later="yes")
    assert registry.doctor(head=kept).sound
    assert registry.doctor(head=f" {kept.upper()}\n").sound
    by_hand(registry_url, f"DELETE FROM event WHERE id >= {EVENTS}")
    assert registry.doctor().sound
    (finding,) = registry.doctor(head=kept).findings
    assert (finding.check, finding.examples) == ("head", (kept,))
    registry.tag("c1", other="no")  # the chain goes on, and is whole
    assert registry.doctor().sound
    assert not registry.doctor(head=kept).sound


def test_repair_leaves_a_broken_history_as_it_is(registry: Registry, registry_url: str) -> None:
    by_hand(registry_url, EDITS["body"])
    before = events(registry)
    registry.repair(registry.doctor())
    assert events(registry) == before
    assert len(broken(registry)) == 1


def test_writers_at_once_leave_one_chain(registry: Registry, registry_url: str) -> None:
    def write(which: int) -> None:
        with lineage.open(registry_url) as own:
            for step in range(8):
                own.register(name=f"w{which}/{step}", parents="c0")

    threads = [threading.Thread(target=write, args=(which,)) for which in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(events(registry)) == EVENTS + 48
    sound.check(registry)
    assert registry.doctor().sound


def test_what_an_import_tells_of_the_past_joins_the_chain(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    there = str(registry.database.address)
    if not there.endswith(".db"):
        there = registry.database.address.url.render_as_string(hide_password=False)
    assert run("export", "--db", there, "--output", str(folder / "all.jsonl")).exit_code == 0
    with lineage.open(folder / "copy.db") as copy:
        lines = (folder / "all.jsonl").read_text().splitlines()
        from lineage.formats import jsonl

        jsonl.import_lines(copy.store, lines)
        assert len(events(copy)) == EVENTS + 1
        sound.check(copy)


@pytest.mark.parametrize("bad", ["", "xyz", "ab" * 31, "ab" * 33])
def test_what_is_no_head_is_said_in_a_sentence(registry: Registry, bad: str) -> None:
    with pytest.raises(InvalidValue, match="log --head"):
        registry.doctor(head=bad)


def test_the_head_is_printed_and_checked_in_the_terminal(registry_url: str) -> None:
    with lineage.open(registry_url) as registry:
        registry.register(name="a")
        head = registry.head()[1]
    assert run("log", "--head", "--db", registry_url).output == f"{head}\t1\n"
    told = json.loads(run("log", "--head", "--json", "--db", registry_url).output)
    assert told == {"event": 1, "head": head}
    assert run("doctor", "--head", head, "--db", registry_url).exit_code == 0
    gone = run("doctor", "--head", "ab" * 32, "--db", registry_url)
    assert gone.exit_code == 1
    assert re.match(r"head \(1\): The history does not lead", gone.output)
    assert run("log", "--db", registry_url).exit_code == 2
    assert run("log", "a", "--head", "--db", registry_url).exit_code == 2


@pytest.mark.parametrize(
    "other",
    [
        lambda: chain.canonical(1, 12, ("u", "h", 1, "c"), "k", b"{}"),
        lambda: chain.canonical(11, 2, ("u", "h", 1, "c"), "k", b"{}"),
        lambda: chain.canonical(1, 1, ("u", "h", 12, "c"), "k", b"{}"),
        lambda: chain.canonical(1, 1, ('u","h', "h", 1, "c"), "k", b"{}"),
        lambda: chain.canonical(1, 1, ("u", "h", 1, "c"), 'k",{},"', b"{}"),
    ],
)
def test_no_two_events_have_the_same_form(other: Callable[[], bytes]) -> None:
    assert other() != chain.canonical(1, 1, ("u", "h", 1, "c"), "k", b"{}")
    whole = json.loads(other())
    assert len(whole) == 5
