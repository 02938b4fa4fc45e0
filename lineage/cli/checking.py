"""Checking a registry: what is wrong with it, what that means, and what mends it. Looking changes
nothing, and what is derived is rebuilt when a person says so."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from lineage.cli.common import (
    emit,
    json_option,
    open_registry,
    paragraph,
    plain,
    registry_options,
    status_line,
    styled,
)
from lineage.shown import counted, shown, size

if TYPE_CHECKING:
    from lineage.doctor.findings import Checkup, Finding
    from lineage.registry import Registry

NO = 1
LISTED = 5
"""How many examples of a finding are told; --json has more."""

REBUILT = {
    "indexes": "indexes",
    "triggers": "guards",
    "ranks": "generations and jumps",
    "relations": "relations of links",
    "current": "which scores and rates count",
    "here": "who has files on a disk",
    "hashes": "what places are found by",
    "standings": "standings",
    "snapshot": "the interval snapshot",
}
COUNTED = {
    "organisms": "organism",
    "ghosts": "ghost",
    "links": "link",
    "scores": "score",
    "costs": "cost",
    "events": "event",
}


@click.command()
@click.option("--files", is_flag=True, help="Look at the files on this host too.")
@click.option("--deep", is_flag=True, help="Read every byte of these files, and every index.")
@click.option("--repair", is_flag=True, help="Show what would be rebuilt from what is recorded.")
@click.option("--apply", is_flag=True, help="With --repair: rebuild it.")
@click.option("--head", metavar="HEX", help="A head that `log --head` printed: is it still there?")
@json_option
@registry_options
def doctor(
    files: bool, deep: bool, repair: bool, apply: bool, head: str | None, as_json: bool
) -> int:
    """Look whether the registry is sound: its file, its schema, and all that it says against each
    other. What is found is told with what it means and what mends it, and the exit code is 1.

    Nothing is changed, but by --repair --apply, which rebuilds what is derived (generations, jumps,
    which scores count, relations from their evidence, indexes, guards, the snapshot) and touches
    nothing that was recorded.

    \b
    lineage doctor                 every night, from cron
    lineage doctor --files         are the files where they were registered?
    lineage doctor --deep          are they what was registered? Reads all of them
    lineage doctor --head HEX      is the history what it was when HEX was kept?
    """
    if apply and not repair:
        raise click.UsageError("--apply belongs to --repair.")
    registry = open_registry()
    with progress() as tell:
        found = registry.doctor(files=files, deep=deep, head=head, progress=tell)
        mended: Mapping[str, int] = {}
        if apply:
            mended, found = _mend(registry, found, head, tell)
    if as_json:
        emit({"sound": found.sound, **plain(found), "mended": mended if apply else None})
    else:
        _say(found)
        if repair:
            _say_repair(found, mended, apply)
    return 0 if found.sound else NO


def _mend(
    registry: Registry,
    found: Checkup,
    head: str | None,
    tell: Callable[[str, int, int], object],
) -> tuple[Mapping[str, int], Checkup]:
    """What was rebuilt, and what is still wrong. Twice, since without its indexes most of a
    registry is not looked at."""
    from lineage.doctor.files import ON_DISK

    on_disk = tuple(one for one in found.findings if one.check in ON_DISK)
    looked_at = found.counts
    mended: Counter[str] = Counter()
    for _ in range(2):
        if any(one.derived for one in found.findings) or found.snapshot == "stale":
            mended.update(registry.repair(found))
            found = registry.doctor(head=head, progress=tell)
    counts = {**looked_at, **found.counts}
    return +mended, replace(
        found,
        findings=(*(one for one in found.findings if one.check not in ON_DISK), *on_disk),
        counts=counts,
    )


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Tells how much of how much is done."""
    with status_line() as tell:
        yield lambda what, done, of: tell(lambda _: f"{what}: {done / of if of else 1:.0%}")


def _say(found: Checkup) -> None:
    if found.sound:
        click.echo(f"{shown(found.registry)} is sound: {_looked_at(found)}.")
        return
    for one in found.findings:
        _say_finding(one)
    what = counted(len(found.findings), "thing is", "things are")
    click.echo(paragraph(f"{what} wrong with {shown(found.registry)}: {_looked_at(found)}."))
    if found.skipped:
        checks = counted(len(found.skipped), "check waits", "checks wait")
        click.echo(paragraph(f"{checks} until this is mended: {', '.join(found.skipped)}."))


def _say_finding(one: Finding) -> None:
    click.echo(styled(paragraph(f"{one.check} ({one.count:,}): {one.meaning}"), bold=True))
    for example in one.examples[:LISTED]:
        click.echo(f"  {shown(example)}")
    if one.count > LISTED:
        click.echo(f"  … and {one.count - LISTED:,} more")
    click.echo(f"  → {shown(one.mend)}")
    click.echo()


def _looked_at(found: Checkup) -> str:
    """What was looked at, how long it took."""
    counts = found.counts
    parts = [counted(counts[key], one) for key, one in COUNTED.items() if counts.get(key)]
    if "places" in counts:
        bytes_read = f", {size(counts['hashed'])} read" if "hashed" in counts else ""
        files, places = counted(counts["files"], "file"), counted(counts["places"], "place")
        parts.append(f"{files} in {places} on this host{bytes_read}")
        if counts["elsewhere"]:
            parts.append(f"{counted(counts['elsewhere'], 'place')} on other hosts not looked at")
    if counts.get("waiting"):
        parts.append(
            f"{counted(counts['waiting'], 'record waits', 'records wait')} in the spool for "
            "`lineage sync`"
        )
    if found.snapshot == "stale":
        parts.append("a stale snapshot, which --repair --apply renews")
    return f"{', '.join(parts) or 'nothing recorded'}; {found.seconds:.1f} s"


def _say_repair(found: Checkup, mended: Mapping[str, int], apply: bool) -> None:
    if apply:
        parts = [f"{REBUILT[check]} ({count:,})" for check, count in mended.items()]
        click.echo(paragraph(f"Rebuilt: {', '.join(parts)}." if parts else "Nothing to rebuild."))
        return
    wanted = {one.check: one.count for one in found.findings if one.derived}
    parts = [f"{REBUILT[check]} ({count:,})" for check, count in wanted.items()]
    if found.snapshot == "stale":
        parts.append(REBUILT["snapshot"])
    if not parts:
        click.echo("Nothing to rebuild.")
        return
    told = f"To be rebuilt: {', '.join(parts)}. Nothing is changed; --apply does it."
    click.echo(paragraph(told))
