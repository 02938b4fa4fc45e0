"""Exchanging: a registry out as JSON Lines, and organisms in, from another registry, any program
that can write a line of JSON, or a table."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lineage.cli.common import (
    for_terminal,
    note,
    open_registry,
    registry_options,
    so_far,
    status_line,
)
from lineage.cli.recording import open_or_make
from lineage.formats import EXPORTS
from lineage.shown import counted, shown

if TYPE_CHECKING:
    from lineage.formats.importing import Rejected, Report
    from lineage.formats.tables import Row

T = TypeVar("T")

READABLE = click.Path(exists=True, dir_okay=False, allow_dash=True)
NO = 1
LISTED = 10
"""How many of the lines that were set aside are told, one by one."""


@click.command()
@click.option("--format", "kind", type=click.Choice(list(EXPORTS)),
              help="Default: by the ending of the file, or jsonl.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="The file to write.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a line of jsonl instead.")
@registry_options
def export(kind: str | None, output: str | None, schema: bool) -> None:
    """Write the whole registry as JSON Lines: one organism a line, with everything recorded of it,
    its parents before it. `lineage import` reads it.

    Other formats hold less, each what it has words for: graphml and gexf (graphs), alife
    (phylogenies), prov, openlineage, cyclonedx (provenance, bill of materials).

    With --output the file is there once it is whole; else it goes to standard output.
    """
    from lineage import formats
    from lineage.formats import jsonl, whole_file

    if schema:
        if output is not None:
            raise click.UsageError("--schema is printed: leave --output out.")
        click.echo(jsonl.schema(), nl=False)
        return
    kind = kind or _by_ending(output)
    registry = open_registry()
    count = 0
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(registry.database.read())
        if output is None:
            file: Any = sys.stdout.buffer  # UTF-8, whatever the terminal speaks
        else:
            file = stack.enter_context(whole_file(output))
        for piece in _progress(formats.export(connection, kind), "pieces written"):
            if output is None and sys.stdout.isatty():
                piece = for_terminal(piece)
            file.write(piece.encode("utf-8", "backslashreplace"))
            count += 1
    if output is not None:
        written = counted(count, "organism") if kind == "jsonl" else "The registry is"
        click.echo(f"{written} written to {shown(output)}.")


def _by_ending(output: str | None) -> str:
    """The format that a file is called after."""
    ending = PurePath(output or "").suffix[1:].lower()
    if ending in EXPORTS:
        return ending
    if ending in ("", "json", "ndjson", "txt"):
        return "jsonl"
    raise click.UsageError(
        f"{output!r} has an ending of no format. Give --format: {', '.join(EXPORTS)}."
    )


@click.command("import")
@click.argument("file", metavar="FILE|mlflow")
@click.argument("uri", required=False)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "graphml", "alife"]),
    help="By default a .graphml is a graph, a table needs --map, all else is jsonl.",
)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False),
    help="A file for what was set aside, to be mended and imported again.",
)
@click.option(
    "--map", "map_file", type=click.Path(dir_okay=False), help="Of a table: which column is what."
)
@click.option("--guess", is_flag=True, help="Write a first map of a table; import nothing.")
@registry_options
def import_(
    file: str,
    uri: str | None,
    kind: str | None,
    rejects: str | None,
    map_file: str | None,
    guess: bool,
) -> int:
    """Read organisms from FILE, or from standard input where it is `-`: JSON Lines, one organism a
    line, as `lineage export` writes them. Only "name" or "digest" is required.

    A table (.csv, .tsv, .parquet) needs --map MAP.toml, which says what its columns mean; --guess
    writes a first one, to standard output or to the file that --map names. A graph (.graphml) has
    edges from parent to child; --format alife reads a phylogeny (CSV) of the ALife standard.

    `lineage import mlflow URI` reads the models, runs and metrics of an MLflow tracking server.

    The same file again changes nothing. What cannot be read, and a link that would close a cycle,
    is set aside and told by its line; the rest goes in, and the exit code is 1.
    """
    from lineage.formats import jsonl, tables, whole_file

    if uri is not None and file != "mlflow":
        raise click.UsageError(f"only mlflow takes a URI: {uri!r} is too much.")
    if file == "mlflow" and uri is None and not os.path.exists(file):
        raise click.UsageError("which MLflow? Give its URI, like `mlflow http://host:5000`.")
    if uri is None:
        ctx = click.get_current_context()
        file = str(READABLE.convert(file, ctx.command.params[0], ctx))
    if guess:
        return _guess(file, map_file)
    if kind is None and uri is None and file.lower().endswith(".graphml"):
        kind = "graphml"
    if map_file is not None and kind is not None:
        raise click.UsageError(f"--map is of a table: it does not go with {kind}.")
    if map_file is None and kind is None and uri is None and tables.is_table(file):
        raise click.UsageError(
            f"a table needs a map of its columns: --map MAP.toml. `lineage import {file} --guess` "
            "writes a first one."
        )
    with contextlib.ExitStack() as stack:
        source: Any = None
        if uri is None:
            source = stack.enter_context(click.open_file(file, "rb"))
        table = _table(source, file, map_file, kind)
        registry = open_or_make(named=True)
        kept = None if rejects is None else stack.enter_context(whole_file(rejects))

        def keep(rejected: Rejected) -> None:
            if kept is not None:
                kept.write(f"{rejected}\n".encode())

        if table is not None:
            read, rows = table
            report = tables.import_table(
                registry.store, _progress(rows, "rows read"), read, keep
            )
        else:
            lines = _progress(_lines(source, file, uri, kind), "lines read")
            report = jsonl.import_lines(registry.store, lines, keep)
    click.echo(_done(report))
    if not report.set_aside:
        return 0
    _tell(report, rejects, _unit(file, uri, kind))
    if not report.organisms and table is None and kind is None and uri is None:
        note(f"is {file} JSON Lines? `lineage import --help` names what else is read.")
    return NO


def _unit(file: str, uri: str | None, kind: str | None) -> str:
    """What an import counts, as `_tell` calls it."""
    if uri is not None:
        return "model"
    return "node" if kind == "graphml" else "row" if file.lower().endswith(".parquet") else "line"


def _lines(source: Any, file: str, uri: str | None, kind: str | None) -> Iterable[bytes | str]:
    """Lines of JSON, out of whatever was asked for."""
    from lineage.formats import graphs, jsonl, mlflow

    if uri is not None:
        return map(json.dumps, mlflow.read(uri))
    if kind == "graphml":
        return map(json.dumps, graphs.read_graphml(source, file))
    return jsonl.read_lines(source)


def _table(
    source: Any, file: str, map_file: str | None, kind: str | None
) -> tuple[Callable[[Sequence[str]], dict[str, Any]], Iterable[Row]] | None:
    """What reads the rows of a table, and the rows, once its columns are found to fit; None of what
    is no table."""
    from lineage.formats import alife, maps, tables

    if kind == "alife":
        table = tables.open_table(source, file)
        return alife.reader(table.columns, file), table.rows
    if map_file is None:
        return None
    mapping = maps.load_map(map_file)
    table = tables.open_table(source, file, mapping)
    return mapping.reader(table.columns), table.rows


def _guess(file: str, map_file: str | None) -> int:
    """Write a first map of a table, to a file that is not there yet or to standard output."""
    from lineage.formats import guess, tables, whole_file

    if map_file is not None and os.path.lexists(map_file):
        raise click.UsageError(f"{map_file} is there already. Give --map another name.")
    source: Any
    with click.open_file(file, "rb") as source:
        made = guess.guess(tables.open_table(source, file), file)
    if map_file is None:
        click.echo(made, nl=False)
        return 0
    with whole_file(map_file) as target:
        target.write(made.encode())
    click.echo(
        f"A first map is written to {shown(map_file)}: read it, then "
        f"`lineage import {shown(file)} --map {shown(map_file)}`."
    )
    return 0


def _done(report: Report) -> str:
    if not report.organisms:
        return "No organism was imported."
    return (
        f"{counted(report.organisms, 'organism')} imported: {report.created:,} new, "
        f"{report.updated:,} gained something, {report.unchanged:,} were known in full."
    )


def _tell(report: Report, rejects: str | None, unit: str) -> None:
    """Say what was set aside, on stderr; `unit` is what is counted."""
    where = f", kept in {shown(rejects)}" if rejects else ""
    what = counted(report.set_aside, f"{unit} or link was", f"{unit}s or links were")
    click.echo(f"lineage: {what} set aside{where}:", err=True)
    for one in report.first[:LISTED]:
        click.echo(f"  {unit} {one.line:,}: {shown(one.reason)}", err=True)
    more = report.set_aside - LISTED
    if more > 0:
        hint = "" if rejects else " --rejects FILE keeps them all."
        click.echo(f"  … and {more:,} more.{hint}", err=True)


def _progress(items: Iterable[T], what: str) -> Iterator[T]:
    """`items`, counted on stderr: on a terminal only, and only after a second."""
    with status_line() as tell:
        for count, one in enumerate(items, 1):
            yield one
            if count % 100 == 0:
                tell(so_far(count, what))
