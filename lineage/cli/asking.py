"""Asking: what an organism descends from, what descends from it, how two are related, and how they
differ since they parted."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lineage.cli.common import (
    emit,
    json_option,
    open_registry,
    plain,
    registry_options,
    styled,
    table,
    wrapped,
)
from lineage.cli.listing import limit_of, limit_option, listing, stream_list
from lineage.cli.words import energy_text, number, score_text
from lineage.organism import RELATIONS, STATUSES, Link, Organism, PowerCost, Score
from lineage.shown import count, counted, fit, pad, rate, shown, size, width

if TYPE_CHECKING:
    from lineage.registry import Difference, FileDifference, NicheDifference

F = TypeVar("F", bound=Callable[..., Any])


# ---- Above and below


def walk_options(command: F) -> F:
    """What both directions take: along which links, how far, and who of those found."""
    for option in (
        click.option("--status", type=click.Choice(STATUSES), help="Only of this vital status."),
        click.option("--depth", type=click.IntRange(min=1), help="At most so many links away."),
        click.option("--relation", type=click.Choice(RELATIONS), help="Follow such links only."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("ref")
@walk_options
@limit_option
@json_option
@registry_options
def ancestors(ref: str, limit: int | None, as_json: bool, **walk: Any) -> None:
    """List what an organism descends from, each once, the latest generation first."""
    registry = open_registry()
    organism = registry.get(ref)
    found = registry.ancestors(organism, **walk)
    listing(
        registry,
        found[: limit_of(limit, as_json)],
        total=len(found),
        as_json=as_json,
        nothing=_none(f"{organism} is a founder: it has no ancestor.", "ancestor", organism, walk),
        generations=True,
    )


@click.command()
@click.argument("ref")
@walk_options
@limit_option
@json_option
@registry_options
def descendants(ref: str, limit: int | None, as_json: bool, **walk: Any) -> None:
    """List what descends from an organism, each once, the earliest generation first."""
    registry = open_registry()
    organism = registry.get(ref)
    found = registry.each_descendant(organism, **walk)
    if as_json or not sys.stdout.isatty():
        stream_list(registry, islice(found, limit or None), None, as_json)
        return
    listing(
        registry,
        found[: limit_of(limit, as_json)],
        total=len(found),
        nothing=_none(f"Nothing descends from {organism}.", "descendant", organism, walk),
        generations=True,
    )


def _none(everywhere: str, what: str, organism: Organism, walk: dict[str, Any]) -> str:
    """The sentence for an empty list: that there is nobody, or nobody who fits the options."""
    narrowed = any(value is not None for value in walk.values())
    return shown(f"No {what} of {organism} fits that." if narrowed else everywhere)


# ---- Two organisms


@click.command()
@click.argument("a")
@click.argument("b")
@json_option
@registry_options
def mrca(a: str, b: str, as_json: bool) -> None:
    """Find the most recent common ancestors of two organisms.

    Each counts as its own ancestor. After a merge there may be several: none of them is an ancestor
    of another.
    """
    registry = open_registry()
    one, other = registry.get(a), registry.get(b)
    found = registry.mrca(one, other)
    if not found and not as_json:
        if sys.stdout.isatty():
            click.echo(shown(f"{one} and {other} have no common ancestor."))
        return
    listing(registry, found, total=len(found), as_json=as_json, generations=True)


@click.command()
@click.argument("a")
@click.argument("b")
@json_option
@registry_options
def path(a: str, b: str, as_json: bool) -> None:
    """Walk the shortest chain of links from A to B, through a common ancestor if need be.

    Into a pipe, a link each, tab-separated: child, relation, parent.
    """
    registry = open_registry()
    one, other = registry.get(a), registry.get(b)
    links = registry.path(one, other)
    if as_json:
        emit(
            {
                "a": one,
                "b": other,
                "related": bool(links) or one.id == other.id,
                "links": links,
            }
        )
    elif not sys.stdout.isatty():
        table((), ((link.child.ref, link.relation, link.parent.ref) for link in links))
    elif links:
        _walk(one, links)
    elif one.id == other.id:
        click.echo(shown(f"{a} and {b} are one organism: {one}."))
    else:
        click.echo(shown(f"{one} and {other} are not related: they have no common ancestor."))


def _walk(start: Organism, links: Sequence[Link]) -> None:
    """One organism a line, each with the link that leads to it: ↑ to a parent, ↓ to a child."""
    click.echo(styled(shown(str(start)), bold=True))
    at = start.id
    steps = []
    for link in links:
        up = link.child.id == at
        to = link.parent if up else link.child
        steps.append((up, link.relation, to))
        at = to.id
    longest = max(len(relation) for _, relation, _ in steps)
    for index, (up, relation, to) in enumerate(steps):
        turn = up and index + 1 < len(steps) and not steps[index + 1][0]
        note = styled("   the common ancestor", dim=True) if turn else ""
        click.echo(f"{'↑' if up else '↓'} {relation:<{longest}}  {shown(str(to))}{note}")
    click.echo(styled(f"{counted(len(links), 'link')}: ↑ to a parent, ↓ to a child.", dim=True))


# ---- What became different


@click.command()
@click.argument("a")
@click.argument("b")
@json_option
@registry_options
def diff(a: str, b: str, as_json: bool) -> None:
    """Compare two organisms: since they parted, what happened to each, score by score.

    Into a pipe, tab-separated: what, of A, of B, B less A.
    """
    found = open_registry().diff(a, b)
    if as_json:
        niches = [
            {**plain(one), "delta": one.delta, "delta_stderr": one.stderr} for one in found.niches
        ]
        emit({**plain(found), "niches": niches, "related": bool(found.common)})
    elif not sys.stdout.isatty():
        table((), [(row[0], *row[1:4]) for row in _plain_differences(found)])
    elif found.a.id == found.b.id:
        click.echo(shown(f"{a} and {b} are one organism: {found.a}."))
    else:
        _compare(found)


def _plain_differences(found: Difference) -> Iterator[tuple[Any, ...]]:
    yield "organism", found.a.ref, found.b.ref, None
    yield "since", *(found.since.ref if found.since else None,) * 2, None
    for one in found.niches:
        values = [None if score is None else score.value for score in (one.a, one.b)]
        yield str(one.niche), *values, one.delta
    for what, *figures, _ in _figures(found):
        known = [value for value in figures if value is not None]
        yield what, *figures, known[1] - known[0] if len(known) == 2 else None
    for name, *words in _words(found):
        yield name, *words, None
    for file in found.files:
        yield f"file {file.path}", *(one and one.sha256 for one in (file.a, file.b)), None
    for key in found.configuration:
        yield f"{key.kind} {key.key}", key.a, key.b, None


def _compare(found: Difference) -> None:
    room = shutil.get_terminal_size().columns
    click.echo("\n".join(wrapped(shown(_parting(found)), room)))
    for branch in filter(None, (found.branch_a, found.branch_b)):
        steps = ", ".join(f"{link.relation} {link.child}" for link in branch)
        for line in wrapped(shown(steps), room - 2):
            click.echo(styled(f"  {line}", dim=True))
    rows = [_niche_row(one) for one in found.niches]
    for what, left, right, told in _figures(found):
        if any(told):
            rows.append((what.partition(",")[0], *told, _times(left, right)))
    rows += [(what, left or "", right or "", "") for what, left, right in _words(found)]
    rows += [(one.path, *_held(one), _what(one)) for one in found.files[:LISTED]]
    rows += [(one.key, one.a or "", one.b or "", one.kind) for one in found.configuration[:LISTED]]
    click.echo()
    _two_columns(("", str(found.a), str(found.b), "difference"), rows)
    signs = {"▸": "▸ better", "se)": "se: standard errors", "~": "~ estimated"}
    used = [told for sign, told in signs.items() if any(sign in cell for r in rows for cell in r)]
    if used:
        click.echo(styled(f"{'; '.join(used)}.", dim=True))
    more = max(0, len(found.files) - LISTED) + max(0, len(found.configuration) - LISTED)
    if more:
        click.echo(styled(f"{more:,} more files and keys differ: --json has them.", dim=True))


LISTED = 20
"""How many files, and keys of a configuration, a comparison spells out."""


def _held(one: FileDifference) -> tuple[str, str]:
    return tuple("" if file is None else size(file.bytes) for file in (one.a, one.b))  # type: ignore[return-value]


def _what(one: FileDifference) -> str:
    return "added" if one.a is None else "removed" if one.b is None else "changed"


def _parting(found: Difference) -> str:
    """Where two organisms parted, in a sentence."""
    a, b = found.a, found.b
    if not found.common:
        return f"{a} and {b} are not related: they have no common ancestor."
    if found.since and found.since.id in (a.id, b.id):
        old, new = (a, b) if found.since.id == a.id else (b, a)
        links = found.branch_a or found.branch_b
        return f"{new} descends from {old}, {counted(len(links), 'link')} below it."
    others = [str(one) for one in found.common if found.since and one.id != found.since.id]
    also = f" (they also share {', '.join(others)})" if others else ""
    return (
        f"{a} and {b} parted at {found.since}{also}: {counted(len(found.branch_a), 'link')} "
        f"to the one, {counted(len(found.branch_b), 'link')} to the other."
    )


def _niche_row(one: NicheDifference) -> tuple[str, ...]:
    told = ["" if score is None else score_text(score) for score in (one.a, one.b)]
    if one.a is None or one.b is None or one.delta is None:
        return str(one.niche), *told, ""
    direction = one.a.direction or one.b.direction
    if direction and one.delta:
        better = int((one.delta > 0) == (direction == "higher"))
        told[better] = f"▸ {told[better]}"
    return str(one.niche), *told, delta_text(one.a, one.b)


def delta_text(a: Score, b: Score) -> str:
    """`+0.046 ± 0.020 (2.3 se)`: errors of two independent scores add in squares."""
    delta = b.value - a.value
    if not delta:
        return "the same"
    if not a.stderr or not b.stderr:
        return f"{'+' if delta > 0 else ''}{number(delta)}"
    error = math.hypot(a.stderr, b.stderr)
    written = score_text(Score(a.niche, delta, error))
    return f"{'+' if delta > 0 else ''}{written} ({abs(delta) / error:.1f} se)"


Pair = tuple[str, str]


def _figures(found: Difference) -> Iterator[tuple[str, float | None, float | None, Pair]]:
    """What both are in figures: (what, of a, of b, both as they are written)."""
    serving = [{cost.per: cost for cost in costs} for costs in found.serving]
    for unit in dict.fromkeys([*serving[0], *serving[1]]):
        costs = [known.get(unit) for known in serving]
        joules = [None if cost is None else cost.joules for cost in costs]
        yield f"serving, J/{unit}", joules[0], joules[1], (_rate(costs[0]), _rate(costs[1]))
    one, other = (None if cost is None else cost.joules for cost in found.training)
    yield "training, J", one, other, (_spent(found.training[0]), _spent(found.training[1]))
    for what, left, right, written in (
        ("parameters", found.a.parameters, found.b.parameters, count),
        ("bytes", found.a.bytes, found.b.bytes, size),
    ):
        told = ["" if value is None else written(value) for value in (left, right)]
        yield what, left, right, (told[0], told[1])


def _spent(cost: PowerCost | None) -> str:
    if cost is None or cost.joules is None:
        return ""
    return ("~" if cost.source == "estimated" else "") + energy_text(cost.joules)


def _rate(cost: PowerCost | None) -> str:
    if cost is None or cost.joules is None:
        return ""
    return rate(cost.joules, cost.per, cost.source)


def _words(found: Difference) -> Iterator[tuple[str, str | None, str | None]]:
    """What both are in words, where they differ."""
    for what in ("architecture", "precision", "licence", "status"):
        left, right = getattr(found.a, what), getattr(found.b, what)
        if left != right:
            yield what, left and left.replace("_", " "), right and right.replace("_", " ")
    one, other = found.data_sets
    if one != other:
        yield "data sets", ", ".join(one) or None, ", ".join(other) or None


def _times(left: float | None, right: float | None) -> str:
    """How many times b is of a: `× 0.25`."""
    if not left or right is None:
        return ""
    return "the same" if left == right else f"× {number(float(f'{right / left:.3g}'))}"


def _two_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows below the names of both; a column that would not fit is cut."""
    cells = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(width(row[i]) for row in cells) for i in range(4)]
    over = sum(widths) + 6 - shutil.get_terminal_size().columns
    while over > 0 and max(widths[1:3]) > 16:
        widths[1 + (widths[2] > widths[1])] -= 1
        over -= 1
    for index, row in enumerate(cells):
        parts = [pad(fit(cell, w), w) for cell, w in zip(row, widths, strict=True)]
        line = "  ".join(parts).rstrip()
        click.echo(line if index else styled(line, dim=True))
