"""Lists of organisms: as a table that fits the terminal, as plain rows into a pipe, as JSON."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lineage.cli.common import emit, plain, styled, table
from lineage.cli.words import age, relation_text, status_text
from lineage.organism import Link, Niche, Organism, PowerCost, Score
from lineage.shown import counted, fit, shown, width

if TYPE_CHECKING:
    from lineage.registry import Registry, Summary

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

SHOWN = 50
"""How many organisms a terminal lists, unless --limit says otherwise."""

CHUNK = 5000
"""How many organisms are looked up at once on their way into a pipe."""


def parents_object(links: Iterable[Link]) -> list[dict[str, Any]]:
    """Every evidence of every link: `ref`, `relation`, `weight`, `evidence`, `confidence`,
    `needed`."""
    return [plain(one) for link in links for one in link.evidence]


def summary_object(summary: Summary) -> dict[str, Any]:
    """An organism in a list: its own keys (`ref`, `name`, `version`, `digest`, `status`, ...);
    `parents` as in JSON Lines; `fitness`, the score that counts in each niche; `serving`, what
    serving it costs with what it needs to run."""
    known: dict[str, Any] = plain(summary.organism)
    known["parents"] = parents_object(summary.parents)
    known["fitness"] = plain(summary.scores)
    known["serving"] = plain(summary.serving)
    return known


def limit_option(command: F) -> F:
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        help=f"At most so many, 0 for all. By default {SHOWN} on a terminal, all into a pipe.",
    )(command)


def limit_of(limit: int | None, as_json: bool) -> int | None:
    """How many to list, None for all."""
    if limit is None and sys.stdout.isatty() and not as_json:
        return SHOWN
    return limit or None


def stream_list(
    registry: Registry, organisms: Iterable[Organism], niche: Niche | None, as_json: bool
) -> None:
    """Print organisms for a program, as they come."""
    if as_json:
        emit(summary_object(one) for one in _summaries(registry, organisms))
    else:
        table((), _plain_rows(registry, organisms, niche))


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Items as they come, so many that they are looked up at once."""
    items = iter(items)
    while chunk := list(islice(items, CHUNK)):
        yield chunk


def _summaries(registry: Registry, organisms: Iterable[Organism]) -> Iterator[Summary]:
    for chunk in chunks(organisms):
        yield from registry.summaries(chunk)


def listing(
    registry: Registry,
    organisms: Sequence[Organism],
    *,
    total: int,
    niche: Niche | None = None,
    as_json: bool = False,
    nothing: str = "",
    generations: bool = False,
) -> None:
    """Print organisms, of `total` that there are, with the score in `niche`, or in the one most of
    them were scored in. `generations` shows these in place of the age."""
    if as_json or not sys.stdout.isatty():
        stream_list(registry, organisms, niche, as_json)
    elif not organisms:
        click.echo(nothing)
    else:
        summaries = registry.summaries(organisms)
        niche = niche or _most_scored(summaries)
        _show_list(summaries, niche, generations)
        click.echo(styled(_footer(summaries, niche, total), dim=True))


def _plain_rows(
    registry: Registry, organisms: Iterable[Organism], niche: Niche | None
) -> Iterator[tuple[Any, ...]]:
    for chunk in chunks(organisms):
        summaries = registry.summaries(chunk)
        niche = niche or _most_scored(summaries)
        for one in summaries:
            score, cost = score_in(one, niche), serving_cost(one.serving)
            organism = one.organism
            yield (
                organism.ref,
                relation_text(organism, one.parents),
                organism.generation,
                niche if score else None,
                score and score.value,
                score and score.stderr,
                cost and cost.joules,
                cost and cost.per,
                cost and cost.source,
                "ghost" if organism.ghost else organism.status,
                plain(organism.registered),
                organism.digest,
            )


def _most_scored(summaries: Iterable[Summary]) -> Niche | None:
    counts = Counter(score.niche for one in summaries for score in one.scores)
    ranked = sorted(counts, key=lambda niche: (-counts[niche], str(niche)))
    return next((niche for niche in ranked if isinstance(niche, Niche)), None)


def score_in(summary: Summary, niche: Niche | None) -> Score | None:
    return next((score for score in summary.scores if score.niche == niche), None)


def serving_cost(serving: Iterable[PowerCost]) -> PowerCost | None:
    """The serving cost that a list shows: of the first unit in the order of costs.RATES."""
    from lineage.costs import RATES

    by_unit = {cost.per: cost for cost in serving}
    return next((by_unit[unit] for unit in RATES if unit in by_unit), None)


def _show_list(summaries: Sequence[Summary], niche: Niche | None, generations: bool) -> None:
    now = datetime.now(UTC)
    scores = [score_in(one, niche) for one in summaries]
    unit, power = _power_column([serving_cost(one.serving) for one in summaries])

    def columns(errors: bool) -> dict[str, list[Any]]:
        return {
            "organism": [str(one.organism) for one in summaries],
            "relation": [relation_text(one.organism, one.parents) for one in summaries],
            ">gen": [one.organism.generation for one in summaries] if generations else [],
            f">{fit(shown(str(niche)), 20)}": _score_column(scores, errors),
            f">{unit}": power,
            ">age": [] if generations else [age(x.organism.registered, now) for x in summaries],
            "status": [status_text(one.organism) for one in summaries],
        }

    chosen = columns(errors=True)
    if _breadth(chosen) > shutil.get_terminal_size().columns:
        chosen = columns(errors=False)  # these go before names are cut
    chosen = {name: cells for name, cells in chosen.items() if any(map(str, cells))}
    table(list(chosen), zip(*chosen.values(), strict=True))


def _breadth(columns: Mapping[str, Sequence[Any]]) -> int:
    """How many cells a table takes when nothing is cut."""
    return -2 + sum(
        2 + max(width(shown(str(cell))) for cell in (name.removeprefix(">"), *cells))
        for name, cells in columns.items()
        if any(map(str, cells))
    )


def _score_column(scores: Sequence[Score | None], errors: bool) -> list[str]:
    """Scores with as many digits each, standard errors below each other."""
    from lineage.trees.words import figures

    written = figures([score.value for score in scores if score is not None])
    cells = []
    for score in scores:
        value = "" if score is None else written.write(score.value)
        error = score.stderr if score is not None and errors else None
        cells.append((value, f" ± {written.write(error)}" if error else ""))
    longest = max((len(error) for _, error in cells), default=0)
    return [value + error.ljust(longest) if value else "" for value, error in cells]


def _power_column(costs: Sequence[PowerCost | None]) -> tuple[str, list[str]]:
    """The unit that heads the column, and the figures; where units differ, each says its own."""
    from lineage.trees.words import joules_per

    scales = joules_per(costs)
    one_unit = len(scales) == 1
    cells = []
    for cost in costs:
        if cost is None or cost.joules is None:
            cells.append("")
            continue
        scale = scales[cost.per]
        about = "~" if cost.source == "estimated" else ""
        figure = f"{about}{scale.figures.write(cost.joules * scale.factor)}"
        cells.append(figure if one_unit else f"{figure} {scale.unit}")
    return next(iter(scales.values())).unit if one_unit else "power", cells


def _footer(summaries: Sequence[Summary], niche: Niche | None, total: int) -> str:
    """What the columns mean, and how many organisms there are."""
    scores = [score for one in summaries if (score := score_in(one, niche))]
    signs = []
    if scores and niche is not None:
        direction = scores[0].direction
        better = f"{direction} is better" if direction else "which way is better is not known"
        signs.append(f"{shown(str(niche))}, {better}")
    if any((cost := serving_cost(one.serving)) and cost.source == "estimated" for one in summaries):
        signs.append("~ estimated")
    there = counted(total, "organism")
    if total == COUNTED:
        there = f"{COUNTED:,} or more organisms"
    if total > len(summaries):
        there = f"{len(summaries):,} of {there}; --limit 0 shows all"
    said = f"{'; '.join(signs)}. {there}." if signs else f"{there}."
    return textwrap.fill(said, shutil.get_terminal_size().columns, break_on_hyphens=False)


COUNTED = 10_000
"""So many organisms are counted for the last line of a list; of more, that is said."""
