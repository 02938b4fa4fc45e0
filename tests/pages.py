"""Runs the examples of a page as a reader would: commands in a shell at 80 columns, Python as
scripts and sessions, in the order they stand, and compares what a page shows with what comes.

`<!-- here: KIND -->` in a page says where the examples below it run, in a folder of their own:

    demo         beside demo-family, the family of `lineage demo`, with LINEAGE_DB set to it
    checkpoints  beside runs/, with small checkpoints, and no registry yet
    zoo          beside torchvision_zoo.csv and its map, and no registry yet
    training     as `checkpoints`; Python finds `registry`, `child` and `train`
    nowhere      they are not run: the page says why

In what a page shows, `…` stands for anything, alone on a line for any lines. A command whose
comment says `exit code 1` is one that fails. LINEAGE_REWRITE=1 writes what comes into the page."""

from __future__ import annotations

import doctest
import os
import pty
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from lineage.references import place_hash

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = re.compile(
    r"^<!-- here: (\w+)[^\n]*-->$|^```(console|python|pycon)\n(.*?)^```$", re.M | re.S
)
EXIT_CODE = re.compile(r"#.*exit code (\d+)")
PRELUDE = """import lineage
registry = lineage.open()
child = registry.register(name="child")
def train(*_): pass
"""
DONE = "\x1e"


@dataclass(frozen=True, slots=True)
class Example:
    """A block of a page: where it runs, what language it is, its text, and its line."""

    here: str
    kind: str
    text: str
    line: int


def examples(page: Path) -> Iterator[Example]:
    """All examples of a page. One that does not say where it runs is an error."""
    written, here = page.read_text("utf-8"), ""
    for match in EXAMPLE.finditer(written):
        line = written.count("\n", 0, match.start()) + 1
        if match[1]:
            here = f"{match[1]} {line}"  # a folder of its own each time
            continue
        assert here, f"{page.name}, line {line}: say where it runs, as tests/pages.py tells"
        yield Example(here, match[2], match[3], line)


def run_page(page: Path, folder: Path, furnish: Callable[[str, Path], None]) -> None:
    """Run the examples of a page in folders below `folder`, which `furnish` fills by their kind."""
    for one in examples(page):
        kind, _, _ = one.here.partition(" ")
        if kind == "nowhere":
            continue
        place = folder / one.here.replace(" ", "-")
        if not place.exists():
            place.mkdir(parents=True)
            furnish(kind, place)
        where = f"{page.name}, line {one.line}"
        shown = {"console": _console, "python": _python, "pycon": _pycon}[one.kind](
            one.text, place, kind, where
        )
        if shown != one.text and os.environ.get("LINEAGE_REWRITE"):
            page.write_text(page.read_text("utf-8").replace(one.text, shown, 1), "utf-8")
        else:
            assert shown == one.text, f"{where} shows something else:\n{shown}"


def environment(place: Path, kind: str) -> dict[str, str]:
    mine = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(place / ".home"),  # no registry of a user's, and none of another page
        "COLUMNS": "80", "NO_COLOR": "1", "TERM": "xterm", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    if kind == "demo":
        mine["LINEAGE_DB"] = "demo-family/registry.db"
    kept = {key: held for key, held in os.environ.items()
            if key not in ("LINEAGE_DB", "XDG_DATA_HOME", "FORCE_COLOR")}  # fmt: skip
    return kept | mine


# ---- commands


def _console(block: str, place: Path, kind: str, where: str) -> str:
    """The block, with what the commands really said wherever that is not what it shows."""
    told = []
    state = place / ".state"  # what a shell keeps from one block to the next: variables, the folder
    for command, shown in _commands(block):
        script = (
            f"[ -f {state} ] && . {state}\n{command}\ncode=$?\n"
            f'{{ export -p; echo "cd \'$PWD\'"; }} > {state}\nprintf "{DONE}%d" $code\n'
        )
        said, code = _in_terminal(script, place, environment(place, kind))
        expected = int(match[1]) if (match := EXIT_CODE.search(command)) else 0
        assert code == expected, f"{where}: {command}: exit code {code}\n{said}"
        same = not shown or fits(shown, said)
        told.append(_written(command) + (shown if same else said))
    return "".join(told)


def _commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a block, each with what the page shows of its output."""
    for part in re.split(r"^(?=\$ )", block, flags=re.M):
        if not part:
            continue
        lines = part.splitlines(keepends=True)
        assert lines[0].startswith("$ "), f"an output without a command: {lines[0]!r}"
        more = 1
        while more < len(lines) and lines[more].startswith("> "):
            more += 1
        yield "".join(line[2:] for line in lines[:more]).rstrip("\n"), "".join(lines[more:])


def _written(command: str) -> str:
    first, *more = command.splitlines()
    return "".join([f"$ {first}\n", *(f"> {line}\n" for line in more)])


def _in_terminal(script: str, place: Path, env: dict[str, str]) -> tuple[str, int]:
    """What a script shows on a terminal of 80 columns, and its exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", script], cwd=place, env=env, stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:  # Linux, when the other end is closed
        pass
    finally:
        os.close(ours)
    process.wait(timeout=300)
    shown, _, code = said.decode().replace("\r\n", "\n").rpartition(DONE)
    # what was overwritten is not seen: progress
    shown = re.sub(r"[^\n]*\r(?:\x1b\[K)?", "", shown)
    lines = [line.rstrip() for line in shown.splitlines()]
    return "".join(f"{line}\n" for line in lines), int(code or process.returncode)


def fits(shown: str, said: str) -> bool:
    """Whether what a page shows is what was said; `…` stands for anything."""
    pattern = ""
    for line in shown.splitlines():
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.rstrip().split("…"))) + "\n"
    return re.fullmatch(pattern, said) is not None


# ---- Python


def _python(block: str, place: Path, kind: str, where: str) -> str:
    prelude = PRELUDE if kind == "training" else ""
    done = subprocess.run(
        [sys.executable, "-c", prelude + block], cwd=place, env=environment(place, kind),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{where}: {done.stderr}"
    return block


SESSION = """import doctest, sys
example = doctest.DocTestParser().get_doctest(sys.stdin.read(), {}, "page", None, 0)
runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
sys.exit(runner.run(example).failed)
"""


def _pycon(block: str, place: Path, kind: str, where: str) -> str:
    """A session, by doctest; `…` is its `...`."""
    assert doctest.DocTestParser().get_examples(block), f"{where}: no >>> in it"
    done = subprocess.run(
        [sys.executable, "-c", SESSION], input=block.replace("…", "..."), cwd=place,
        env=environment(place, kind), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
    return block


# ---- where they run


def checkpoints(folder: Path) -> None:
    """Small checkpoints, as the pages register them."""
    for number, place in enumerate(("runs/base", "runs/sft/checkpoint-500", "runs/sft/final")):
        save = folder / place
        save.mkdir(parents=True)
        save_file({"w": np.full((4, 4), float(number), "float32")}, save / "model.safetensors")


def demo(grown: Path, folder: Path) -> None:
    """A copy of the demo family, that knows its files where they are now."""
    here = shutil.copytree(grown, folder / "demo-family")
    with sqlite3.connect(here / "registry.db") as connection:
        connection.create_function("place_hash", 1, place_hash)
        connection.execute("UPDATE place SET uri = replace(uri, ?, ?)", (str(grown), str(here)))
        connection.execute("UPDATE place SET hash = place_hash(uri)")
    connection.close()


def zoo(folder: Path) -> None:
    for name in ("torchvision_zoo.csv", "torchvision_zoo.toml"):
        shutil.copy(ROOT / "examples" / name, folder)
