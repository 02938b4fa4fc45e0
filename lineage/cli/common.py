"""What the commands share: where the registry is, `--json`, tables for people and for pipes.
Tables are aligned and fit the terminal; into a pipe they go plain, a line a row, tab-separated."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lineage.shown import UNSAFE, fit, pad, shown, size, width

if TYPE_CHECKING:
    from lineage.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

_ASKED = "lineage.asked"  # the key in click's meta, which all contexts of a call share


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value:  # given after the command, it wins over what was given before
        ctx.meta.setdefault(_ASKED, {})[option.name] = value


def registry_options(command: F) -> F:
    """Adds `--db` and `--allow-network-fs`, which `open_registry` reads. On the group and on every
    command that opens a registry: `lineage --db X ls` and `lineage ls --db X` are the same."""
    for option in (
        click.option(
            "--allow-network-fs",
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Write to SQLite on a network file system all the same.",
        ),
        click.option(
            "--db",
            metavar="PATH|URL",
            expose_value=False,
            callback=_remember,
            help="The registry. By default LINEAGE_DB, else .lineage/ here or above, else the "
            "user's own.",
        ),
    ):
        command = option(command)
    return command


def json_option(command: F) -> F:
    """Adds `--json`, passed to the command as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def asked() -> dict[str, Any]:
    """What `registry_options` were given: `db` and `allow_network_fs`."""
    known: dict[str, Any] = click.get_current_context().meta.get(_ASKED, {})
    return {"db": known.get("db"), "allow_network_fs": known.get("allow_network_fs", False)}


def open_registry(*, create: bool = False, db: str | None = None) -> Registry:
    """The registry that was asked for, else `db`, else the default; closed when the command ends.
    Commands that read leave `create` off, so that a misspelt `--db` is an error and not an empty
    answer."""
    import lineage

    ctx = click.get_current_context()
    options = asked()
    registry = lineage.open(
        options["db"] or db,
        create=create,
        allow_network_fs=options["allow_network_fs"],
        command=ctx.command_path,
    )
    for file in registry.database.address.ignored:
        note(f"{file} was passed over: it belongs to somebody else.")
    return ctx.with_resource(registry)


def note(sentence: str) -> None:
    """Say something on stderr that is not part of the answer."""
    click.echo(f"lineage: {shown(sentence)}", err=True)


def for_terminal(piece: str) -> str:
    """Text of a format on a terminal: lines stay, what could steer it is written out."""
    return "\n".join(map(shown, piece.split("\n")))


# ---- JSON


def plain(value: Any) -> Any:
    """`value` as JSON knows it: dataclasses as objects with the names of their fields, times as
    ISO 8601 in UTC (`2026-11-24T12:00:00Z`), bytes as hex, what is not finite as null.

    An Organism has its `ref` besides; a Score has `task`, `metric` and `split` for its niche."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(held) for key, held in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value))
    if isinstance(value, Iterable):
        return [plain(held) for held in value]
    return str(value)


def _fields(value: Any) -> dict[str, Any]:
    from lineage.organism import Niche, Organism

    found = {"ref": value.ref} if isinstance(value, Organism) else {}
    for field in fields(value):
        held = getattr(value, field.name)
        if isinstance(held, Niche) and field.name == "niche":
            found.update(plain(held))
        else:
            found[field.name] = plain(held)
    return found


def emit(value: Any) -> None:
    """Print `value` as one JSON document: indented for a terminal, on one line for a pipe. Text
    stays readable, but what could steer a terminal is written `\\uXXXX`. What an iterator gives is
    an array, written as it comes."""
    if isinstance(value, Iterator):
        _emit_each(value)
    else:
        click.echo(_json(value))


def _json(value: Any) -> str:
    indent = 2 if sys.stdout.isatty() else None
    document = json.dumps(plain(value), ensure_ascii=False, indent=indent, allow_nan=False)
    return UNSAFE.sub(_json_escape, document)


def _emit_each(values: Iterator[Any]) -> None:
    """Print an array as `json.dumps` writes it, without holding it."""
    left, between, right = ("[\n", ",\n", "\n]") if sys.stdout.isatty() else ("[", ", ", "]")
    before = left
    for value in values:
        array = _json([value])
        sys.stdout.write(before + array[len(left) : len(array) - len(right)])
        before = between
    sys.stdout.write("[]\n" if before == left else f"{right}\n")


def _json_escape(match: re.Match[str]) -> str:
    # inside a string json has escaped newlines already: one that is left is the layout's
    return "\n" if match[0] == "\n" else json.dumps(match[0])[1:-1]


# ---- Tables and text

Row = tuple[str, ...]


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under the names of their columns. A name that starts with `>` is of figures,
    aligned to the right and never cut. Cells may come from outside; None is blank.

    On a terminal: aligned, the widest texts cut where a line would not fit. Into a pipe: no
    header, one line a row, tab-separated, whole, and written as the rows come."""
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(map(_cell, row)) + "\n")
        return
    cells = [[_cell(held) for held in row] for row in rows]
    if not cells:
        return
    right = [name.startswith(">") for name in columns]
    header = [name.removeprefix(">") for name in columns]
    widths = _widths(header, cells, right, shutil.get_terminal_size().columns)
    click.echo(styled(_line(header, widths, right), dim=True))
    for row in cells:
        click.echo(_line(row, widths, right))


def _cell(value: Any) -> str:
    return "" if value is None else shown(str(value))


def _widths(
    header: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], room: int
) -> list[int]:
    """The width of each column; the widest columns of text give way, down to eight cells."""
    widths = [max(map(width, column)) for column in zip(header, *cells, strict=True)]
    least = [
        whole if is_right else min(whole, max(8, width(name)))
        for whole, is_right, name in zip(widths, right, header, strict=True)
    ]
    excess = sum(widths) + 2 * (len(widths) - 1) - room
    while excess > 0:
        loose = [i for i, whole in enumerate(widths) if whole > least[i]]
        if not loose:
            break
        widest = max(loose, key=lambda i: widths[i])
        others = max((widths[i] for i in loose if i != widest), default=0)
        give = min(excess, widths[widest] - max(least[widest], min(others, widths[widest] - 1)))
        widths[widest] -= give
        excess -= give
    return widths


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        pad(fit(text, cells), cells, right=is_right)
        for text, cells, is_right in zip(row, widths, right, strict=True)
    ]
    return "  ".join(padded).rstrip()


def block(rows: Sequence[Row], whole: bool = False) -> None:
    """Print aligned rows: what is long is cut, and in the last column goes on below itself; or all
    is left `whole`, for paths are there to be copied."""
    columns = max(map(len, rows))
    cells = [[shown(cell) for cell in row] + [""] * (columns - len(row)) for row in rows]
    widths = [max(width(row[i]) for row in cells) for i in range(columns - 1)]
    if not whole:
        widths = [min(40, one) for one in widths]
    hang = 2 + sum(2 + one for one in widths)
    room = max(30, shutil.get_terminal_size().columns - hang)
    for row in cells:
        parts = [pad(fit(cell, w), w) for cell, w in zip(row, widths, strict=False)]
        first, *rest = [row[-1]] if whole else wrapped(row[-1], room)
        click.echo(f"  {'  '.join([*parts, first])}".rstrip())
        for line in rest:
            click.echo(" " * hang + line)


def wrapped(text: str, room: int) -> list[str]:
    """Lines no wider than `room`, broken at blanks only; at least one."""
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]


def paragraph(line: str) -> str:
    """A sentence in lines that fit the terminal; into a pipe as it is."""
    if not sys.stdout.isatty():
        return line
    return "\n".join(wrapped(line, shutil.get_terminal_size().columns))


def styled(text: str, **style: Any) -> str:
    """`text` in a style of click.style, plain where colour is not wanted: into a pipe, with
    NO_COLOR (https://no-color.org), on a dumb terminal."""
    wanted = (
        sys.stdout.isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )
    return click.style(text, **style) if wanted else text


# ---- How far it is


@contextlib.contextmanager
def status_line() -> Iterator[Callable[[Callable[[float], str]], None]]:
    """A line on stderr that says how far something is, as made from the seconds so far: on a
    terminal only, after a second, five times a second at most, and gone in the end."""
    terminal = sys.stderr.isatty()
    start = told = time.monotonic()

    def tell(words: Callable[[float], str]) -> None:
        nonlocal told
        now = time.monotonic()
        if terminal and now - start > 1 and now - told > 0.2:
            told = now
            click.echo(f"\r{words(now - start)}\033[K", err=True, nl=False)

    try:
        yield tell
    finally:
        if told != start:
            click.echo("\r\033[K", err=True, nl=False)


@contextlib.contextmanager
def hashing(total: int = 0) -> Iterator[Callable[[int], None]]:
    """A `status_line` of the bytes that were read, of `total` where that is known."""
    done = 0
    of = f" of {size(total)}" if total else ""
    with status_line() as tell:

        def read(count: int) -> None:
            nonlocal done
            done += count
            tell(lambda _: f"hashed: {size(done)}{of}")

        yield read


def so_far(count: int, what: str) -> Callable[[float], str]:
    """The words of a `status_line`: how many, and how many a second."""
    return lambda seconds: f"{count:,} {what}, {count / seconds:,.0f} a second"
