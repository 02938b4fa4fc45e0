"""Scanning: the checkpoints that lie in folders, with what their files tell of each other. It says
what it would register, and registers with --apply."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lineage.cli.common import (
    emit,
    json_option,
    open_registry,
    registry_options,
    status_line,
    table,
    wrapped,
)
from lineage.cli.recording import open_or_make
from lineage.shown import counted, shown, size

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from lineage.scan import Scan

LISTED = 20
"""Rows of each table that a terminal shows."""


class Folder(click.Path):
    """A folder that is there, or a URI, which the scan itself looks for."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        return value if "://" in value else super().convert(value, param, ctx)


@click.command()
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=Folder())
@click.option("--apply", is_flag=True, help="Register what was found.")
@click.option("--scheduler", metavar="ADDRESS",
              help="Let the workers of a dask scheduler read the files.")  # fmt: skip
@json_option
@registry_options
def scan(folders: Sequence[str], apply: bool, scheduler: str | None, as_json: bool) -> None:
    """Find the checkpoints in folders and what their files tell of their parents: Trainer states,
    adapters, merges, GGUF, ONNX, Lightning, diffusers, model cards, the Hugging Face cache, and
    tensors that several of them share.

    Nothing is registered without --apply. What is registered and unchanged is not opened again, so
    an interrupted scan goes on where it was. No link to a folder is followed, and none out of DIR.
    DIR may be a URI that fsspec can read, such as s3://bucket/runs.
    """
    registry = open_or_make() if apply else open_registry()
    with _executor(scheduler) as executor, _progress() as tell:
        found = registry.scan(folders, apply=apply, progress=tell, executor=executor)
    if as_json:
        emit(found)
    elif sys.stdout.isatty():
        _for_people(found)
    else:
        _for_a_pipe(found)


def _executor(scheduler: str | None) -> contextlib.AbstractContextManager[Executor | None]:
    """Who reads: this process, or the workers of a scheduler."""
    if scheduler is None:
        return contextlib.nullcontext()
    from lineage import workers

    return workers.of_scheduler(scheduler)


def _rows(found: Scan) -> list[tuple[str, Sequence[str], list[tuple[Any, ...]]]]:
    """The tables: heading, columns, rows."""
    seen = [
        (one.name, ", ".join(one.kinds), one.step, one.scores or None, size(one.bytes),
         "known" if one.known else "new")
        for one in found.seen
    ]  # fmt: skip
    links = [
        (one.child, _short(one.parent), one.relation, one.evidence, _share(one.confidence),
         one.source)
        for one in found.links
    ]  # fmt: skip
    related = [(one.a, one.b, _share(one.of_a), _share(one.of_b)) for one in found.related]
    return [
        ("checkpoint", ("checkpoint", "kind", ">step", ">scores", ">size", ""), seen),
        ("link", ("child", "parent", "relation", "evidence", ">share", "from"), links),
        ("related", ("checkpoint", "and", ">its share", ">the other's"), related),
        ("aside", ("set aside", "why"), list(found.set_aside)),
    ]


def _short(parent: str) -> str:
    """A digest as people can bear it."""
    return parent[:12] if len(parent) == 64 else parent


def _share(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"


def _for_a_pipe(found: Scan) -> None:
    for kind, columns, rows in _rows(found):
        table(("", *columns), [(kind, *row) for row in rows])


def _for_people(found: Scan) -> None:
    notes = {
        "related": "They share tensors; nothing tells which descends from which:",
        "aside": "Set aside:",
    }
    for kind, columns, rows in _rows(found):
        if not rows:
            continue
        if kind in notes:
            click.echo(notes[kind])
        if kind == "aside":
            for path, reason in rows[:LISTED]:
                click.echo(f"  {shown(path)}: {shown(reason)}")
        else:
            table(columns, rows[:LISTED])
        if len(rows) > LISTED:
            click.echo(f"… and {len(rows) - LISTED:,} more; --json tells all.")
        click.echo()
    click.echo("\n".join(wrapped(_summary(found), shutil.get_terminal_size().columns)))


def _summary(found: Scan) -> str:
    if not found.seen and not found.unchanged:
        return "No other checkpoint was found." if found.set_aside else "No checkpoint was found."
    read = counted(len(found.seen), "checkpoint")
    new = sum(not one.known for one in found.seen)
    links = counted(len(found.links), "link")
    by: dict[str, int] = {}
    for link in found.links:
        by[link.evidence] = by.get(link.evidence, 0) + 1
    evidence = ", ".join(f"{count:,} {name}" for name, count in sorted(by.items()))
    told = f"{read} read, {new:,} new; {links}{f' ({evidence})' if by else ''}; "
    told += f"{found.unchanged:,} unchanged, not opened"
    if found.registered is not None:
        return f"{told}. {counted(found.registered, 'organism')} registered."
    return f"{told}. Nothing was registered: --apply does it." if found.seen else f"{told}."


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], object]]:
    """Counts the checkpoints that were read."""
    with status_line() as tell:
        yield lambda done, total: tell(lambda _: f"{done:,} of {total:,} checkpoints read")
