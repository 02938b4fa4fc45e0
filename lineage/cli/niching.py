"""Niches: who competes in which, who is on the front, and where nobody is cheap enough."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lineage.cli.common import (
    emit,
    json_option,
    open_registry,
    paragraph,
    registry_options,
    styled,
    table,
)
from lineage.errors import InvalidValue
from lineage.shown import pad, rate, shown, width

if TYPE_CHECKING:
    from lineage.selection.niches import Competition, Population

SHOWN = 40
"""How many organisms or niches a terminal shows, unless --limit says otherwise."""


@click.group()
def niche() -> None:
    """Look at niches: what was scored, who is on the front, at what cost."""


@niche.command(short_help="List niches: how many compete, and who is the fittest.")
@click.option(
    "--below",
    metavar="COST",
    help="Champions that cost no more, and niches without one: 50 mJ/image, 6 J/Mtok.",
)
@click.option("--limit", type=click.IntRange(min=0), help=f"List so many; by default {SHOWN}.")
@json_option
@registry_options
def ls(below: str | None, limit: int | None, as_json: bool) -> None:
    """List niches: how many compete, how many are on the front, who is the fittest."""
    from lineage.selection.niches import limit_of

    wanted = None if below is None else limit_of(below)
    found = open_registry().niches(below=wanted)
    if as_json:
        emit(found[:limit])
        return
    terminal = sys.stdout.isatty()
    most = limit if limit is not None else SHOWN if terminal else None
    rows = [_row(one) for one in found[:most]]
    if not terminal:
        table((), rows)
        return
    if not found:
        click.echo("Nobody competes: there is no niche with a known direction, score and cost.")
        return
    _list(rows)
    if most is not None and len(found) > most:
        click.echo(f"… and {len(found) - most:,} more: --limit shows them.")
    empty = sum(one.champion is None for one in found)
    if below is not None:
        verb = "has" if empty == 1 else "have"
        of = f"{empty:,} of {len(found):,} {verb} no" if empty else "Each niche has a"
        click.echo(f"{of} living champion below {shown(below)}.")


HEADS = ("niche", "living", "front", "marked", "champion", "value", "power")


def _list(rows: Sequence[Sequence[object]]) -> None:
    """A line a niche, or two where one is too narrow: neither a niche nor a name is cut."""
    cells = [HEADS, *([shown(str(cell)) for cell in row] for row in rows)]
    widths = [max(width(row[at]) for row in cells) for at in range(len(HEADS))]
    whole = sum(widths) + len("  ") * (len(HEADS) - 1) <= shutil.get_terminal_size().columns
    for number, row in enumerate(cells):
        parts = [
            pad(cell, wide, right=head not in ("niche", "champion"))
            for cell, wide, head in zip(row, widths, HEADS, strict=True)
        ]
        if whole:
            line = "  ".join(parts).rstrip()
        else:
            line = "  ".join(parts[:4])
            champion, value, power = row[4:]
            if number and value:
                line += f"\n    {champion}, {value} at {power}"
        click.echo(styled(line, dim=True) if not number else line)


def _row(one: Population) -> tuple[object, ...]:
    from lineage.trees.words import scored

    if one.champion is None or one.joules is None:
        champion: tuple[str, ...] = ("none", "", "")
    else:
        written = scored(one.value, one.stderr, one.n)
        champion = (str(one.champion), written, rate(one.joules, one.per, one.source))
    return (str(one.niche), one.living, one.front, one.marked, *champion)


@niche.command(short_help="Show who competes in a niche: the front.")
@click.argument("niche")
@click.option("--split", default="", help="The split of the niche.")
@click.option(
    "--output", "-o", metavar="FILE", type=click.Path(dir_okay=False),
    help="A picture: FILE.svg or FILE.html.",
)
@click.option("--limit", type=click.IntRange(min=0), help=f"List so many; by default {SHOWN}.")
@json_option
@registry_options
def show(niche: str, split: str, output: str | None, limit: int | None, as_json: bool) -> None:
    """Show who competes in a niche: the front from the cheapest on, and how many stand behind it.

    The picture has fitness against cost, the front drawn, the selected against in grey.
    """
    from lineage.organism import Niche
    from lineage.trees import niche as picture

    ending = Path(output).suffix.lower() if output else ""
    if output and ending not in (".svg", ".html"):
        raise InvalidValue(f"{output!r} is no kind of picture. Write FILE.svg or FILE.html.")
    found = open_registry().niche(Niche.parse(niche, split))
    if output:
        drawn = picture.svg(found) if ending == ".svg" else picture.page(found)
        Path(output).write_text(drawn + "\n", "utf-8")
    if as_json:
        emit(found)
    elif output:
        click.echo(f"drew {shown(str(found.niche))}: {shown(output)}")
    else:
        _say(found, limit)


def _say(found: Competition, limit: int | None) -> None:
    from lineage.trees.niche import STATES
    from lineage.trees.words import scored

    terminal = sys.stdout.isatty()
    people = [one for one in found.members if one.state == "front" or not terminal]
    most = limit if limit is not None else SHOWN if terminal else None
    rows = [
        (str(one.organism), scored(one.value, one.stderr, one.n),
         rate(one.joules, one.per, one.source), STATES[one.state])
        for one in people[:most]
    ]  # fmt: skip
    if not terminal:
        table((), rows)
        return
    counts = ", ".join(f"{many:,} {STATES[state]}" for state, many in found.counts.items() if many)
    click.echo(styled(shown(f"{found.niche}, {found.direction} is better"), bold=True))
    click.echo(paragraph(f"{counts or 'Nobody competes: no cost is known'}."))
    table(("the front", ">value", ">power"), [row[:3] for row in rows])
    if most is not None and len(people) > most:
        click.echo(f"… and {len(people) - most:,} more: --limit shows them.")
