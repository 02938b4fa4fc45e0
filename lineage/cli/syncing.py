"""Bringing in what training runs left: the spool of the registry, or one that was copied here from
another machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lineage.cli.common import emit, json_option, note, open_registry, registry_options
from lineage.shown import counted, shown

if TYPE_CHECKING:
    from lineage.arrivals import Brought

NO = 1
LISTED = 5
"""How many reasons are told one by one; --json has all."""


@click.command()
@click.argument("folder", nargs=-1, type=click.Path(exists=True, file_okay=False))
@json_option
@registry_options
def sync(folder: tuple[str, ...], as_json: bool) -> int:
    """Bring in the checkpoints that training runs recorded while the registry could not be reached.
    Each comes in once, however often and in whatever order.

    Without FOLDER it is the spool of this registry; with it, a spool that was copied from another
    machine, or the `set-aside` folder of one, to try those again. What can never be accepted is
    set aside with its reason, and the exit code is 1; the rest goes in.
    """
    from lineage.arrivals import Brought
    from lineage.cli.checking import progress

    registry = open_registry()
    with progress() as tell:
        parts = [registry.sync(one, progress=tell) for one in folder or (None,)]
    done = Brought(
        sum(one.arrived for one in parts),
        sum(one.known for one in parts),
        tuple(pair for one in parts for pair in one.waiting),
        tuple(pair for one in parts for pair in one.set_aside),
    )
    if as_json:
        emit(
            {
                "arrived": done.arrived,
                "known": done.known,
                "waiting": [{"file": file, "reason": why} for file, why in done.waiting],
                "set_aside": [{"file": file, "reason": why} for file, why in done.set_aside],
            }
        )
    else:
        _say(done)
    return NO if done.set_aside else 0


def _say(done: Brought) -> None:
    known = f" {counted(done.known, 'record')} had come in before." if done.known else ""
    if done.arrived or not done.known:
        click.echo(f"{counted(done.arrived, 'record')} came in.{known}")
    else:
        click.echo(f"Nothing new:{known}")
    if done.waiting:
        note(f"{counted(len(done.waiting), 'record waits', 'records wait')}:")
        _say_why(done.waiting)
    if done.set_aside:
        many = counted(len(done.set_aside), "record was", "records were")
        kept = Path(done.set_aside[0][0]).parent
        note(f"{many} set aside, kept in {shown(str(kept))}:")
        _say_why(done.set_aside)


def _say_why(pairs: Sequence[tuple[str, str]]) -> None:
    reasons = Counter(why for _, why in pairs)
    for why, count in reasons.most_common(LISTED):
        click.echo(f"  {shown(why)}" + (f" ({count:,} times)" if count > 1 else ""), err=True)
    if len(reasons) > LISTED:
        click.echo("  … and other reasons: --json tells them all", err=True)
