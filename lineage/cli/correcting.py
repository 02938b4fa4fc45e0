"""Correcting what was recorded: striking out what is wrong, other names, places that moved, and
taking an event back. Nothing is erased; each leaves an event that says who, when and why."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lineage.cli.checking import progress
from lineage.cli.common import emit, json_option, open_registry, registry_options, table
from lineage.cli.events import event_text
from lineage.cli.recording import say
from lineage.organism import PERS, PHASES, Niche
from lineage.shown import counted, shown

if TYPE_CHECKING:
    from lineage.organism import Event
    from lineage.registry import Registry
    from lineage.relocation import Relocation

NO = 1
LISTED = 10
"""How many places that do not match are told; --json has up to a hundred."""


def _done(registry: Registry, event: Event) -> None:
    """What an event did, in a line, and how it is taken back."""
    whom = "" if event.organism is None else f"{registry.organisms([event.organism])[0]}: "
    kind = event.kind.replace("_", " ")
    say(f"{whom}{kind} {event_text(event)} (event {event.id})".replace("  ", " "))


@click.command()
@click.argument("ref")
@click.option("--reason", required=True, help="Why; kept with what is struck out.")
@click.option("--niche", metavar="TASK/METRIC", help="The score that counts there.")
@click.option("--split", default="", help="Of that niche.")
@click.option("--cost", type=click.Choice(PHASES), help="A cost of this phase.")
@click.option("--per", type=click.Choice(PERS), default="total", show_default=True)
@click.option("--uuid", help="Of that interval, where there are several.")
@click.option("--parent", metavar="REF", help="The link to this parent.")
@json_option
@registry_options
def retract(
    ref: str, reason: str, niche: str | None, split: str, cost: str | None, per: str,
    uuid: str | None, parent: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Strike out what is wrong: a score, a cost, a link, or else the registration of REF.

    It stays, with the reason, and nothing counts it any more. An organism whose registration is
    retracted is a ghost, so that its children keep their parent; registered again, it is real.

    \b
    lineage retract sft --niche gsm8k/acc --reason "the test set had leaked"
    lineage retract sft --cost training --reason "the meter ran twice"
    lineage retract sft --parent base --reason "it was trained from scratch"
    lineage retract sft --reason "another checkpoint under this name"
    """
    if sum(one is not None for one in (niche, cost, parent)) > 1:
        raise click.UsageError("one at a time: --niche, --cost or --parent.")
    if (per != "total" or uuid) and cost is None:
        raise click.UsageError("--per and --uuid belong to --cost.")
    registry = open_registry()
    event = registry.retract(
        ref,
        reason,
        niche=None if niche is None else Niche.parse(niche, split),
        cost=cost,
        per=per,
        uuid=uuid,
        parent=parent,
    )
    if as_json:
        emit(event)
        return
    _done(registry, event)
    say(f"`lineage undo {event.id}` reinstates it.")


@click.command()
@click.argument("ref")
@click.argument("name")
@registry_options
def rename(ref: str, name: str) -> None:
    """Give an organism another name: it becomes the next version of NAME.

    Its aliases come along. Other versions of its old name keep that.
    """
    event = open_registry().rename(ref, name)
    say(f"{event_text(event)} (event {event.id})")


@click.command()
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@click.option("--apply", is_flag=True, help="Rewrite the places.")
@json_option
@registry_options
def relocate(old: str, new: str, apply: bool, as_json: bool) -> int:
    """A folder or a disk moved from OLD to NEW: rewrite the places of all that is recorded there.

    The files are looked for at NEW first: all sizes, and the bytes of a sample. A place that does
    not match stays as it is, is named, and the exit code is 1. Without --apply nothing is changed.

    \b
    lineage relocate /mnt/old/runs /data/runs
    lineage relocate /mnt/old/runs /data/runs --apply
    """
    registry = open_registry()
    with progress() as tell:
        found = registry.relocate(old, new, apply=apply, progress=tell)
    if as_json:
        emit(found)
    elif not sys.stdout.isatty():
        table((), ((one.place, one.why) for one in found.examples))
        click.echo(shown(_summary(found)), err=True)
    else:
        _say(found)
    return NO if found.unmatched else 0


def _summary(found: Relocation) -> str:
    places, files = counted(found.places, "place"), counted(found.files, "file")
    did = "rewritten" if found.event else "to be rewritten"
    from_to = f"from {found.old} to {found.new}"
    checked = f"{files} of the right size, {found.hashed} read and right"
    return f"{places} {did} {from_to}: {checked}."


def _say(found: Relocation) -> None:
    if found.unmatched:
        say(f"{counted(found.unmatched, 'place')} not found at the other end, left alone:")
        for one in found.examples[:LISTED]:
            say(f"  {one.place}: {one.why}")
        if found.unmatched > LISTED:
            say(f"  … and {found.unmatched - LISTED:,} more")
    say(_summary(found))
    if found.elsewhere:
        say(f"{counted(found.elsewhere, 'place')} of that path on other hosts left alone.")
    if found.event:
        say(f"`lineage undo {found.event}` takes it back.")
    elif found.places:
        say("Nothing is changed; --apply does it.")


@click.command()
@click.argument("event", type=click.IntRange(min=1))
@json_option
@registry_options
def undo(event: int, as_json: bool) -> None:
    """Take back what an event did, by the opposite act, which leaves an event of its own.

    `lineage log REF` and `lineage log --all` show the numbers. What cannot be taken back says why,
    and what to do instead.
    """
    registry = open_registry()
    done = registry.undo(event)
    if as_json:
        emit(done)
    else:
        _done(registry, done)
