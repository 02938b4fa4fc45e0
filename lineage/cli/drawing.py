"""Drawing: the tree of a family, in the terminal or into a file."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lineage.cli.common import (
    emit,
    for_terminal,
    json_option,
    note,
    open_registry,
    registry_options,
)
from lineage.errors import LineageError
from lineage.shown import shown

if TYPE_CHECKING:
    from lineage.trees.family import Family

FORMATS = (
    "text", "html", "svg", "png", "pyvis", "newick", "nexus", "phyloxml", "mermaid", "dot",
    "json",
)  # fmt: skip
ENDINGS = {
    ".svg": "svg", ".png": "png",
    ".html": "html", ".htm": "html", ".nwk": "newick", ".newick": "newick", ".nex": "nexus",
    ".nexus": "nexus", ".xml": "phyloxml", ".phyloxml": "phyloxml", ".mmd": "mermaid",
    ".dot": "dot", ".gv": "dot", ".json": "json", ".txt": "text", "": "text",
}  # fmt: skip
TREES = ("newick", "nexus", "phyloxml")
"""Formats that hold one parent of each organism as a branch, and others beside it."""
PAGES = ("html", "pyvis")
PAPER = ("svg", "png")
FOLDING = ("text", *PAPER, "mermaid", "dot", "pyvis")
ORDERS = ("size", "time", "fitness")
DRAWN = {"text": 10_000, "html": 100_000, "pyvis": 10_000, "svg": 10_000, "png": 10_000}
"""How many organisms a picture is drawn from; the others hold all. Those that fold draw the nearest
`folding.MOST` lines of them, and the small graph NETWORK."""
NETWORK = 1000
LAYOUTS = ("rows", "spread")
AXES = ("generation", "time", "step", "joules", "weights")
COLOURS = ("fitness", "power", "relation", "status", "licence", "age")


@click.command()
@click.argument("ref", required=False)
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Default: by the file, or text.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="The file to write.")
@click.option("--niche", help="The niche to show, task/metric; by default the one scored most.")
@click.option("--axis", type=click.Choice(AXES), help="svg and png: what runs from left to right.")
@click.option(
    "--colour",
    callback=lambda context, option, value: _colour(value),
    help=f"svg and png: {', '.join(COLOURS)} or tag:KEY.",
)
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    help="svg and png: one organism a row, or leaves evenly spread and parents in their middle.",
)
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="size",
    show_default=True,
    help="Siblings: small clades, old or fit ones first.",
)
@click.option("--all", "everything", is_flag=True, help="Fold nothing, draw all.")
@json_option
@registry_options
def tree(
    ref: str | None,
    kind: str | None,
    output: str | None,
    niche: str | None,
    axis: str | None,
    colour: str | None,
    layout: str | None,
    order: str,
    everything: bool,
    as_json: bool,
) -> None:
    """Draw REF with all that descends from it; without REF, the whole forest.

    A page (html, or pyvis: a small one of up to 1,000 lines) goes to a file, whose path is printed,
    and so does png; the others go to standard output.
    """
    kind = "json" if as_json and kind is None else kind or _by_ending(output)
    for option, value in (("axis", axis), ("colour", colour), ("layout", layout)):
        if value is not None and kind not in PAPER:
            raise click.UsageError(
                f"--{option} is for {' and '.join(PAPER)}; the format here is {kind}."
            )
    limit = None if everything and kind in FOLDING and kind != "pyvis" else DRAWN.get(kind)
    family = open_registry().family(
        ref, niche=niche, limit=limit, details=_detailed(kind, colour), order=order
    )
    if kind == "json" and output is None:
        from lineage.trees import as_json as json_tree

        emit(json_tree.document(family))
        return
    how = {"along": axis or "generation", "by": colour or "fitness", "layout": layout or "rows"}
    drawn = render(family, kind, everything, **how)
    if kind in TREES and (further := _further(family)):
        count = "1 link" if further == 1 else f"{further:,} links"
        note(f"{count} to further parents beside the tree: in {kind} a child has one parent.")
    if output is None and (kind in PAGES or isinstance(drawn, bytes)):
        output = "lineage-tree.png" if kind == "png" else "lineage-tree.html"
    if output is None:
        if kind != "text" and sys.stdout.isatty():
            drawn = for_terminal(str(drawn))
        click.echo(drawn, nl=False)
        return
    path = write(output, drawn)
    files = (*PAGES, "png")
    click.echo(path if kind in files else f"wrote {shown(path)}", err=kind not in files)
    if family.hidden and kind not in FOLDING:
        click.echo(
            f"Drawn are the nearest {len(family.members):,} organisms; {family.hidden:,} more are "
            "counted where they branch off.",
            err=True,
        )


def _detailed(kind: str, colour: str | None) -> bool:
    return kind == "html" or (colour or "").startswith("tag:")


def _colour(value: str | None) -> str | None:
    if value is None or value in COLOURS or value.startswith("tag:"):
        return value
    raise click.BadParameter(f"{value!r} is not of {', '.join(COLOURS)} and tag:KEY.")


def _further(family: Family) -> int:
    """How many links lead to other parents than the first of a child."""
    return len(family.branches) - len({link.child for link in family.branches})


def _by_ending(output: str | None) -> str:
    ending = Path(output or "").suffix.lower()
    if ending not in ENDINGS:
        known = ", ".join(one for one in ENDINGS if one)
        raise click.UsageError(f"{output!r} has an ending of no format. Known are {known}; "
                               "or give --format.")  # fmt: skip
    return ENDINGS[ending]


def render(family: Family, kind: str, everything: bool = False, **how: str) -> str | bytes:
    """The family in one of FORMATS: bytes of a PNG, else text. On paper, `how` is what `svg.render`
    takes."""
    if kind in PAPER:
        module = importlib.import_module(f"lineage.trees.{kind}")
        folding = importlib.import_module("lineage.trees.folding")
        drawn: str | bytes = module.render(
            family, title=title(family), all=everything,
            most=None if everything else folding.MOST, **how,
        )  # fmt: skip
        return drawn
    if kind == "html":
        from lineage.trees import html

        return html.render(family, title=title(family))
    if kind == "pyvis":
        from lineage.trees import network

        return network.render(family, title=title(family), all=everything, most=NETWORK)
    if kind in (*TREES, "mermaid", "dot"):
        module = importlib.import_module(f"lineage.trees.{kind}")
        folding_all = {} if kind in TREES else {"all": everything}
        return str(module.render(family, **folding_all))
    if kind == "json":
        from lineage.trees import as_json as json_tree

        return json_tree.render(family)
    from lineage.trees import text
    from lineage.trees.folding import MOST

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else 120
    color = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    most = None if everything else MOST
    return text.render(family, width=width, color=color, all=everything, most=most)


def title(family: Family) -> str:
    return "the forest" if family.root is None else str(family.members[family.root].organism)


def write(output: str, drawn: str | bytes) -> str:
    """Write a file whole or not at all; its absolute path."""
    path = os.path.abspath(os.path.expanduser(output))
    beside = f"{path}.{os.getpid()}.part"
    try:
        with open(beside, "wb") as file:
            file.write(drawn if isinstance(drawn, bytes) else drawn.encode())
        os.replace(beside, path)
    except OSError as error:
        Path(beside).unlink(missing_ok=True)
        raise LineageError(
            f"{output!r} could not be written: {error.strerror}. Choose another --output."
        ) from error
    return path
