"""The demo: a small family of real models is trained, registered, asked, selected and drawn."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lineage.cli.common import asked
from lineage.shown import joules, shown

if TYPE_CHECKING:
    from lineage.organism import Organism
    from lineage.registry import Registry


@click.command()
@click.argument("folder", default="demo-family", type=click.Path(file_okay=False))
def demo(folder: str) -> None:
    """Grow a small family of language models in FOLDER, and ask about it.

    Takes some twenty seconds of numpy, no network. FOLDER holds the checkpoints, the registry
    (registry.db) and the tree (family.html). A second run finds the same weights again.
    """
    if given := asked()["db"]:
        raise click.UsageError(
            f"the demo keeps its registry in its folder, not in {given}: `lineage demo FOLDER`."
        )
    import lineage
    from lineage.examples.grow_family import grow  # sets numpy's threads: before numpy is imported

    home = Path(folder).absolute()
    home.mkdir(parents=True, exist_ok=True)
    db = home / "registry.db"
    with lineage.open(db, command="lineage demo") as registry:
        click.echo(f"Training a family of next-character models in {shown(str(home))}\n")
        grow(home, registry, progress=_progress())
        _family(registry)
        _questions(registry)
        _selection(registry)
        page = _page(registry, home / "family.html")
    click.echo(f"\nThe family tree, to open in a browser:\n  {shown(page)}")
    click.echo(f"\nGo on with it:\n  export LINEAGE_DB={shown(str(db))}\n  lineage --help")


def _progress() -> Callable[[str], None]:
    """One line that is written over on a terminal; lines into a pipe."""
    terminal = sys.stderr.isatty()

    def tell(line: str) -> None:
        if terminal:
            room = shutil.get_terminal_size().columns - 1
            click.echo(f"\r\x1b[K{line[:room]}", nl=False, err=True)
        else:
            click.echo(line, err=True)

    return tell


def _heading(text: str) -> None:
    click.echo("\n" + click.style(text, bold=True) if sys.stdout.isatty() else f"\n{text}")


def _family(registry: Registry) -> None:
    from lineage.cli.drawing import render

    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    _heading("The family (lineage tree)")
    click.echo(render(registry.family(), "text"), nl=False)


def _questions(registry: Registry) -> None:
    _heading("Some questions")
    best, code = (
        registry.find(niche=niche, sort="fitness", limit=1)[0]
        for niche in ("prose/bpc", "code/bpc")
    )
    _answer("ls --niche prose/bpc --sort fitness --limit 1", f"the fittest in prose is {best}")
    common = ", ".join(map(str, registry.mrca(best, code))) or "none"
    _answer(f"mrca {best} {code}", f"where the fittest in prose and in code parted: {common}")
    chain = [best, *registry.ancestors(best)]
    _answer(f"ancestors {best}", " ← ".join(map(str, chain)))
    youngest = registry.find(sort="generation", limit=1)[0]
    _answer(f"show {youngest}", _embodied(registry, youngest))


def _embodied(registry: Registry, organism: Organism) -> str:
    """What went into an organism: the training of all that it descends from, and its own."""
    costs = [
        cost
        for one in (organism, *registry.ancestors(organism))
        for cost in registry.record(one).power
        if cost.phase == "training"
    ]
    known = " and ".join(sorted({cost.source for cost in costs}))
    spent = joules(sum(cost.joules or 0.0 for cost in costs))
    return f"generation {organism.generation}; {spent} of training went into it, {known}"


def _answer(command: str, text: str) -> None:
    click.echo(f"  $ lineage {shown(command)}\n    {shown(text)}")


def _selection(registry: Registry) -> None:
    from lineage.cli.selecting import say

    _heading("Selection (lineage select --apply)")
    say(registry.select(apply=True, details=8))


def _page(registry: Registry, path: Path) -> str:
    from lineage.cli.drawing import render, write

    return write(str(path), render(registry.family(details=True), "html"))
