"""Culling: the files of organisms selected against, into quarantine, back, or away for good.
Without `--apply` nothing moves, and nothing is deleted unless a person says so."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from lineage.cli.arguments import since_when
from lineage.cli.common import (
    emit,
    hashing,
    json_option,
    open_registry,
    plain,
    registry_options,
    styled,
    table,
    wrapped,
)
from lineage.errors import InvalidValue
from lineage.shown import counted, shown, size

if TYPE_CHECKING:
    from lineage.culling.act import Moves, Stored
    from lineage.culling.plan import CullPlan, Proposal
    from lineage.culling.quarantine import Left

NO = 1
LISTED = 3
"""How many files or reasons a line names; --json has them all."""
SHOWN = 40
"""How many organisms a terminal shows."""

WORDS = {"optimizer": "to resume", "weights": "weights", "other": "other"}
"""What files are for, as people read it."""


@click.command()
@click.argument("refs", metavar="[REF]...", nargs=-1)
@click.option(
    "--only",
    type=click.Choice(["optimizer"]),
    help="Only what resuming needs: the model stays, and runs.",
)
@click.option("--apply", is_flag=True, help="Move them. Without it nothing is changed.")
@click.option("--empty-quarantine", is_flag=True, help="Delete what lies in quarantine, for good.")
@click.option(
    "--older-than",
    default=None,
    metavar="14d",
    help="With --empty-quarantine: what has lain there for so long; also 12h, 2w. [14d]",
)
@click.option("--yes", is_flag=True, help="With --empty-quarantine: do not ask.")
@json_option
@registry_options
def cull(
    refs: tuple[str, ...],
    only: str | None,
    apply: bool,
    empty_quarantine: bool,
    older_than: str | None,
    yes: bool,
    as_json: bool,
) -> int:
    """List the files of organisms selected against (REF: of these), and with --apply move them into
    a quarantine folder beside them, from where `lineage restore` puts them back.

    Never moved: files of one that is protected, in use, or needed by something to run; that are not
    what was registered (each is read); that registration did not list; that another organism lists
    too; links; and all, where those that beat it are not here and whole.

    --empty-quarantine is the only thing that ever deletes. It asks on a terminal, and elsewhere
    needs --yes.

    \b
    lineage cull                                   what would go, and how much
    lineage cull --only optimizer --apply          drop what only resuming needs
    lineage cull --empty-quarantine                delete what went two weeks ago

    Into a pipe, a line a file, tab-separated: reference, what it is for, bytes, path.
    """
    if empty_quarantine:
        if refs or only or apply:
            raise click.UsageError("--empty-quarantine goes by age: only --older-than and --yes.")
        return _empty(_moment(older_than or "14d"), yes, as_json)
    if older_than or yes:
        raise click.UsageError("--older-than and --yes belong to --empty-quarantine.")
    registry = open_registry()
    with hashing() as tell:
        plan = registry.cull(*refs, only=only, apply=apply, progress=tell)
    if as_json:
        emit(_plan_object(plan))
    elif sys.stdout.isatty():
        _show_plan(plan, refs)
    else:
        table((), _file_rows(plan))
        _say_kept(plan, err=True)
    return NO if refs and apply and not plan.files else 0


def _moment(older_than: str) -> datetime:
    """`14d` as the moment that long ago."""
    try:
        return datetime.now(UTC) if older_than.strip("0") in ("d", "h") else since_when(older_than)
    except InvalidValue:
        raise InvalidValue(
            f"--older-than {older_than!r} is no time. Write 12h, 14d or 2w, or 0d for all."
        ) from None


@click.command()
@click.argument("refs", metavar="[REF]...", nargs=-1)
@json_option
@registry_options
def restore(refs: tuple[str, ...], as_json: bool) -> int:
    """Put files back from quarantine: of all organisms, or of those named.

    Nothing is overwritten: a file whose place is taken stays in quarantine. What an interrupted
    cull left half done is put back too.

    Into a pipe, a line a file, tab-separated: reference, what it is for, bytes, path.
    """
    moves = open_registry().restore(*refs)
    if as_json:
        emit(_moves_object(moves))
    elif sys.stdout.isatty():
        _show_moves(moves, "put back", "" if refs else "Nothing is in quarantine.")
    else:
        table((), _stored_rows(moves))
        _say_left(moves.stored, err=True)
    stayed = any(one.reason or one.left for one in moves.stored)
    nothing = refs and not moves.stored and not moves.recovered
    if nothing and not as_json:
        click.echo(shown(f"lineage: no file of {', '.join(refs)} is in quarantine."), err=True)
    return NO if stayed or nothing else 0


def _empty(before: datetime, yes: bool, as_json: bool) -> int:
    registry = open_registry()
    plan = registry.empty_quarantine(before)
    if not yes:
        if not sys.stdin.isatty() or not sys.stdout.isatty():
            raise click.UsageError(
                f"{counted(plan.files, 'file')}, {size(plan.bytes)}, would be deleted for good. "
                "Off a terminal that needs --yes."
            )
        _show_moves(plan, "to delete for good", "Nothing has lain in quarantine for so long.")
        if not plan.files:
            return 0
        question = f"Delete {counted(plan.files, 'file')}, {size(plan.bytes)}, for good?"
        if not click.confirm(question, default=False):
            click.echo("Nothing is deleted.")
            return NO
    with hashing() as tell:
        moves = registry.empty_quarantine(before, apply=True, progress=tell)
    if as_json:
        emit(_moves_object(moves))
    elif sys.stdout.isatty():
        nothing = "Nothing has lain in quarantine for so long."
        _show_moves(moves, "deleted for good", nothing, brief=not yes)
    else:
        table((), _stored_rows(moves))
        _say_left(moves.stored, err=True)
    return NO if any(one.reason or one.left for one in moves.stored) else 0


# ---- JSON


def _plan_object(plan: CullPlan) -> Mapping[str, Any]:
    known = plain(plan)
    kinds = {kind: {"files": count, "bytes": sums} for kind, (count, sums) in plan.kinds.items()}
    return {**known, "files": plan.files, "bytes": plan.bytes, "kinds": kinds}


def _moves_object(moves: Moves) -> Mapping[str, Any]:
    return {**plain(moves), "files": moves.files, "bytes": moves.bytes}


# ---- Lines for pipes


def _file_rows(plan: CullPlan) -> Iterator[tuple[Any, ...]]:
    for one in plan.proposals:
        for spot, file in one.files:
            yield one.organism.ref, file.kind, file.bytes, _full(spot.place, file.path)


def _stored_rows(moves: Moves) -> Iterator[tuple[Any, ...]]:
    for one in moves.stored:
        for file in one.files:
            yield one.organism.ref, file.kind, file.bytes, _full(one.place, file.path)


def _full(place: str, path: str) -> str:
    """The path of a file; where the place is that file, the place."""
    return place if os.path.basename(place) == path else os.path.join(place, path)


# ---- Tables for people


def _say(line: str, err: bool = False, bold: bool = False) -> None:
    for each in wrapped(shown(line), shutil.get_terminal_size().columns):
        click.echo(styled(each, bold=bold) if bold else each, err=err)


def _show_plan(plan: CullPlan, refs: Sequence[str]) -> None:
    """Tell a plan to people. `refs` are those that it was asked for."""
    if not plan.proposals:
        _say("Nobody is selected against. `lineage select` judges.")
        return
    _say(_headline(plan), bold=True)
    for folder in plan.recovered:
        _say(f"An interrupted cull had left files in {folder}: they went back first.")
    rows = list(_plan_rows(plan.proposals[:SHOWN]))
    if rows:
        click.echo()
        table(("organism", "", ">files", ">size", "which"), rows)
        if len(plan.proposals) > SHOWN:
            click.echo(f"… and {len(plan.proposals) - SHOWN:,} organisms more: --json has all.")
        click.echo()
    _say_kept(plan)
    if plan.applied and plan.files:
        _say(
            "They take as much room as before: `lineage cull --empty-quarantine` deletes them "
            "once you are sure, and `lineage restore` puts them back."
        )
    elif plan.files:
        only = ["--only", plan.only] if plan.only else []
        asked = shlex.join(["lineage", "cull", *refs, *only, "--apply"])
        _say(f"Nothing is changed. `{asked}` moves them into quarantine.")


def _headline(plan: CullPlan) -> str:
    parts = [
        f"{size(sums)} {WORDS[kind]}" if kind != "optimizer" else f"{size(sums)} only to resume"
        for kind, (_, sums) in plan.kinds.items()
    ]
    which = sum(1 for one in plan.proposals if any(one.files))
    if not plan.files:
        held = counted(len(plan.proposals), "organism is", "organisms are")
        which_kind = " that only resuming needs" if plan.only else ""
        done = "went" if plan.applied else "can go"
        return f"{held} selected against, and no file{which_kind} {done}."
    done = "went into quarantine" if plan.applied else "can go"
    return (
        f"{counted(plan.files, 'file')} of {counted(which, 'organism')} {done}: "
        f"{size(plan.bytes)} ({', '.join(parts)})."
    )


def _plan_rows(proposals: Iterable[Proposal]) -> Iterator[tuple[str, ...]]:
    for one in proposals:
        by_kind: dict[str, list[tuple[str, int]]] = {}
        for _, file in one.files:
            by_kind.setdefault(file.kind, []).append((file.path, file.bytes))
        for index, (kind, files) in enumerate(by_kind.items()):
            yield (
                "" if index else str(one.organism),
                WORDS[kind],
                f"{len(files):,}",
                size(sum(count for _, count in files)),
                _some([path for path, _ in files]),
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _say_kept(plan: CullPlan, err: bool = False) -> None:
    """What stays, and why."""
    reasons: dict[str, list[str]] = {}
    for one in plan.proposals:
        name = str(one.organism)
        if one.reason:
            reasons.setdefault(one.reason, []).append(name)
            continue
        if not one.spots and not one.elsewhere:
            told = "no file is where it was; `lineage where` tells whether it is in quarantine"
            reasons.setdefault(told, []).append(name)
        for spot in one.spots:
            if spot.reason:
                reasons.setdefault(spot.reason, []).append(f"{name} in {spot.place}")
            for left in spot.left:
                reasons.setdefault(left.reason, []).append(_full(spot.place, left.path))
            if spot.unlisted and (spot.files or spot.reason):
                told = "it was not listed when this was registered"
                reasons.setdefault(told, []).extend(
                    _full(spot.place, path) for path in spot.unlisted
                )
        for other in one.elsewhere:
            free = f"; to free it: `{other.command}`" if other.command else ""
            reasons.setdefault(f"{other.reason}{free}", []).append(f"{name} in {other.place}")
    for reason, whose in reasons.items():
        _say(f"Stays: {_some(whose)}: {reason}.", err=err)


def _show_moves(moves: Moves, done: str, nothing: str, brief: bool = False) -> None:
    """What went where; `brief`: the sums, and what stayed."""
    for folder in moves.recovered:
        _say(f"An interrupted cull had left files in {folder}: they are back.")
    if not moves.stored:
        if nothing and not moves.recovered:
            _say(nothing)
        return
    if moves.files:
        _say(f"{counted(moves.files, 'file')}, {size(moves.bytes)}, {done}.", bold=True)
    if moves.files and not brief:
        rows = [
            (str(one.organism), f"{len(one.files):,}", size(one.bytes), f"{one.at:%Y-%m-%d}",
             one.place)
            for one in moves.stored if one.files
        ]  # fmt: skip
        table(("organism", ">files", ">size", "since", "of"), rows)
    _say_left(moves.stored)


def _say_left(stored: Iterable[Stored], err: bool = False) -> None:
    for one in stored:
        if one.reason:
            _say(f"{one.organism} stays in quarantine: {one.reason}.", err=err)
        else:
            for reason, paths in _by_reason(one.left).items():
                _say(f"{_some(paths)} of {one.organism} stays in quarantine: {reason}.", err=err)


def _by_reason(left: Iterable[Left]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in left:
        found.setdefault(one.reason, []).append(one.path)
    return found
