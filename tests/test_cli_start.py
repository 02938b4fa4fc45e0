"""The command starts at once, answers mistakes in sentences, and its exit codes can be relied on.
Text from outside steers no terminal."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from lineage import errors, shown
from lineage.cli import COMMANDS, common, main, recording
from lineage.organism import Score

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("alembic", "huggingface_hub", "networkx", "numpy", "pyvis", "rich", "sqlalchemy")
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}


def fresh(code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`code` in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=ENV, **options
    )


def lineage(*args: str) -> Result:
    return CliRunner().invoke(main, args)


# ---- Start


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("lss",), ()])
def test_nothing_heavy_is_imported_to_say_hello(args: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom lineage.cli import main\n"
        "try: main()\nfinally: print('LOADED', *sys.modules, file=sys.stderr)"
    )
    loaded = fresh(code, *args).stderr.partition("LOADED")[2].split()
    assert "lineage.cli" in loaded
    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)


def test_help_lists_every_command_by_purpose_in_80_columns() -> None:
    said = lineage("--help").output
    assert lineage().output == said
    assert lineage().exit_code == 0
    for purpose in ("Record", "Ask", "Draw", "Select", "Exchange", "Keep"):
        assert f"\n{purpose}:\n" in said
    for name in COMMANDS:
        assert re.search(rf"^  {name}  +\w", said, re.M)
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_is_listed_exists_and_explains_itself(name: str) -> None:
    result = lineage(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: lineage {name} ")
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("group", ["db", "hub", "niche"])
def test_every_command_of_a_group_explains_itself_too(group: str) -> None:
    listed = lineage(group, "--help").output.partition("Commands:\n")[2].splitlines()
    assert listed
    for line in listed:
        assert not line.endswith("...")  # its one line of help was not cut
        said = lineage(group, line.split()[0], "--help").output
        assert max(map(len, said.splitlines())) <= 80
        assert shown.UNSAFE.sub("", said.replace("\n", "")) == said.replace("\n", "")


def test_a_misspelt_command_proposes_the_nearest() -> None:
    result = lineage("ancestor", "base")
    assert result.exit_code == 2
    assert "no command 'ancestor'" in result.stderr
    assert "Nearest: ancestors" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    assert "_LINEAGE_COMPLETE" in lineage("completion", shell).output


def test_completion_proposes_commands() -> None:
    asked = {"_LINEAGE_COMPLETE": "bash_complete", "COMP_WORDS": "lineage anc", "COMP_CWORD": "1"}
    said = subprocess.run(
        [sys.executable, ROOT / "cli.py"], env=ENV | asked, capture_output=True, text=True
    )
    assert said.stdout == "plain,ancestors\n"


# ---- Exit codes


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`failing(error)`: what the command answers when one of its commands raises `error`."""

    def answer(error: BaseException) -> Result:
        @click.command()
        def fails() -> None:
            raise error

        monkeypatch.setattr(type(main), "get_command", lambda *_: fails)
        return lineage("show")

    return answer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("no organism is called 'x'."), 1),
        (errors.Ambiguous("'x' fits 2 organisms."), 1),
        (errors.CycleError("a link from a to b would close a cycle."), 1),
        (errors.GenomeError("x.bin is no weight file."), 1),
        (FileNotFoundError(2, "no such file", "x.jsonl"), 1),
        (errors.InvalidValue("fitness is nan."), 2),
        (click.UsageError("give one of --a and --b."), 2),
        (errors.RegistryUnavailable("the registry is locked."), 3),
        (errors.SchemaMismatch("the registry is newer."), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(failing: Any, error: BaseException, code: int) -> None:
    result = failing(error)
    assert result.exit_code == code
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    if code < 100:
        assert result.stderr.startswith("lineage: ")
        assert str(error.args[-1]) in result.stderr


def test_a_bug_shows_where_and_asks_for_a_report(failing: Any) -> None:
    result = failing(RuntimeError("\x1b[31mboom"))
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert "\\x1b[31mboom" in result.stderr
    assert "Please report it" in result.stderr


def test_an_error_cannot_steer_the_terminal(failing: Any) -> None:
    result = failing(errors.NotFound("no organism is called '\x1b]0;pwned\x07\n\u202eevil'."))
    assert result.stderr == (
        "lineage: no organism is called '\\x1b]0;pwned\\x07\\n\\u202eevil'.\n"
    )


def test_ctrl_c_ends_a_process_with_130() -> None:
    code = (
        "import os, signal, click\nfrom lineage.cli import main\n"
        "hit = click.Command('hit', callback=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "type(main).get_command = lambda *_: hit\nmain(['ls'])"
    )
    done = fresh(code)
    assert done.returncode == 128 + signal.SIGINT
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import click\nfrom lineage.cli import main\nfrom lineage.cli.common import table\n"
        "many = lambda: table(['n'], ((n,) for n in range(99999)))\n"
        "type(main).get_command = lambda *_: click.Command('many', callback=many)\nmain(['ls'])"
    )
    piped = f"{sys.executable} -c \"$CODE\" | head -n 1"
    done = subprocess.run(
        piped, shell=True, env={**ENV, "CODE": code}, capture_output=True, text=True
    )
    assert done.stdout == "0\n"
    assert done.stderr == ""


# ---- Options that all share


def test_db_may_stand_before_and_after_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @common.registry_options
    def where() -> None:
        click.echo(str(common.asked()["db"]))

    monkeypatch.setattr(type(main), "get_command", lambda *_: where)
    assert lineage("ls").output == "None\n"
    assert lineage("--db", "a.db", "ls").output == "a.db\n"
    assert lineage("ls", "--db", "b.db").output == "b.db\n"
    assert lineage("--db", "a.db", "ls", "--db", "b.db").output == "b.db\n"


# ---- What is printed


@dataclass(frozen=True)
class Thing:
    name: str
    at: datetime
    score: Score


def test_json_has_stable_keys_and_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    common.emit([Thing("a\x1b[2J\u202e\n", noon, Score("a/b/acc", 0.5))])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.strip().isprintable()
    assert json.loads(said) == [
        {
            "name": "a\x1b[2J\u202e\n",
            "at": "2026-11-24T12:00:00Z",
            "score": {
                "task": "a/b",
                "metric": "acc",
                "split": "",
                "value": 0.5,
                "stderr": None,
                "n": None,
                "direction": "higher",
                "at": None,
                "retracted": None,
            },
        }
    ]


ROWS = [("base", 7, "alive"), ("a" * 200, None, "日本語\tx\n"), ("é", 1234, "")]


def test_a_table_in_a_pipe_is_whole_and_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    common.table(["name", ">size", "status"], ROWS)
    assert capsys.readouterr().out.split("\n") == [
        "base\t7\talive",
        "a" * 200 + "\t\t日本語\\tx\\n",
        "é\t1234\t",
        "",
    ]


def on_terminal(code: str, columns: int, **env: str) -> str:
    """What `code` prints on a terminal that is `columns` wide."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=slave, env={**ENV, "TERM": "xterm", **env}
        )
        os.close(slave)
        said = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                chunk = b""
            if not chunk:
                break
            said += chunk
        assert child.wait() == 0
    finally:
        os.close(master)
    return said.decode().replace("\r\n", "\n")


def test_a_table_on_a_terminal_is_aligned_and_fits() -> None:
    code = (
        "from lineage.cli.common import table\n"
        f"table(['name', '>size', 'status'], {ROWS!r})"
    )
    said = on_terminal(code, 40, NO_COLOR="1")
    assert said.split("\n") == [
        "name                   size  status",
        "base                      7  alive",
        f"{'a' * 20}…        日本語\\tx\\n",
        "é                      1234",
        "",
    ]
    assert "\x1b[2m" in on_terminal(code, 40)


TEXT = st.text(st.characters(), max_size=40)  # lone surrogates too


@given(TEXT)
def test_shown_text_is_one_safe_line(text: str) -> None:
    safe = shown.shown(text)
    assert not shown.UNSAFE.search(safe)
    assert len(safe.splitlines()) <= 1
    safe.encode()
    assert shown.shown(safe) == safe


@given(TEXT, st.integers(0, 30))
def test_fit_and_pad_keep_to_their_cells(text: str, cells: int) -> None:
    safe = shown.shown(text)
    cut = shown.fit(safe, cells)
    assert shown.width(cut) <= cells
    assert shown.width(shown.pad(cut, cells)) == cells
    if shown.width(safe) <= cells:
        assert cut == safe


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 J"), (3.1e6, "3.1 MJ"), (999_960, "1 MJ"), (6.4e-6, "6.4 µJ"), (6.4e-7, "640 nJ"),
     (123.4, "123 J"), (-2500, "-2.5 kJ"), (1e-14, "0.01 pJ"), (float("inf"), "inf J")],
)  # fmt: skip
def test_joules(value: float, said: str) -> None:
    assert shown.joules(value) == said


def test_bytes_and_counts() -> None:
    assert [shown.size(n) for n in (0, 876_000, 1_240_000_000)] == ["0 B", "876 kB", "1.24 GB"]
    assert [shown.count(n) for n in (950, 125e6, 7.24e9)] == ["950", "125M", "7.24B"]


@pytest.mark.parametrize(("terminal", "seen"), [(True, "\r2 of 3\x1b[K\r\x1b[K"), (False, "")])
def test_how_far_it_is_is_told_after_a_second_and_on_a_terminal_only(
    terminal: bool, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    said.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", said)
    hours = iter([0.0, 0.5, 1.5, 1.55])
    monkeypatch.setattr(common.time, "monotonic", lambda: next(hours))
    with common.status_line() as tell:
        for done in (1, 2, 3):
            tell(lambda _: f"{done} of 3")  # noqa: B023
    assert said.getvalue() == seen


def test_a_registration_leaves_no_trace_of_how_far_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of the guide shows the same, however long the files took."""
    for number in range(3):
        (tmp_path / f"model-{number}.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    said = io.StringIO()
    said.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", said)
    hours = itertools.count(0, 2)
    monkeypatch.setattr(common.time, "monotonic", lambda: float(next(hours)))
    recording._read(str(tmp_path))
    assert said.getvalue().startswith("\rhashed: 10 B of 30 B\x1b[K\rhashed: 20 B")
    assert said.getvalue().endswith("\r\x1b[K")
    assert "\n" not in said.getvalue()
