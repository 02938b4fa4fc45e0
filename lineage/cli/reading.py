"""Reading: lists of organisms, everything known of one, and what happened to it. What is said of a
score, a cost or a link is worded here, for the other commands too."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
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
)
from lineage.errors import InvalidValue
from lineage.organism import (
    KINDS,
    RELATIONS,
    STATUSES,
    Link,
    Niche,
    Organism,
    PowerCost,
    Score,
    utc,
)
from lineage.shown import count, fit, joules, pad, per, shown, si, size, width

if TYPE_CHECKING:
    from lineage.organism import Event, Place, Record
    from lineage.registry import Registry, Summary

F = TypeVar("F", bound=Callable[..., Any])

SHOWN = 50
"""How many organisms a terminal lists, unless --limit says otherwise."""

CHUNK = 5000
"""How many organisms are looked up at once on their way into a pipe."""

SORTS = ("registered", "created", "name", "fitness", "power", "generation", "bytes")


# ---- Words


def number(value: float) -> str:
    """A figure to four digits, whole where it is larger: `0.61`, `2.31`, `12346`."""
    from lineage.trees.words import figures

    written = figures([value]).write(value)
    return written.rstrip("0").rstrip(".") if "." in written and "e" not in written else written


def score_text(score: Score) -> str:
    """`2.310 ± 0.016`, as `words.scored` has it; `2.31` where no error is known."""
    from lineage.trees.words import scored

    return scored(score.value, score.stderr) if score.stderr else number(score.value)


def power_text(cost: PowerCost) -> str:
    """What a cost is in figures: joules, with kWh where they are many, watts, time, money, CO2e."""
    parts = []
    if cost.joules is not None:
        rate = cost.per != "total"
        parts.append(per(cost.joules, cost.per) if rate else energy_text(cost.joules))
    elif cost.watts is not None:
        parts.append(f"{number(cost.watts)} W")
    if cost.seconds is not None:
        parts.append(duration(cost.seconds))
    if cost.cost is not None:
        parts.append(f"{number(cost.cost)} {cost.currency}")
    if cost.gco2e is not None:
        parts.append(f"{number(cost.gco2e)} gCO2e")
    return ", ".join(parts)


def energy_text(energy: float) -> str:
    """`3.1 MJ (0.861 kWh)`."""
    kwh = energy / 3.6e6
    return joules(energy) + (f" ({number(kwh)} kWh)" if kwh >= 0.01 else "")


def duration(seconds: float) -> str:
    """`1.5 h`, `20 min`, `3.2 s`, `390 µs`."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{number(float(f'{seconds / unit:.3g}'))} {name}"
    return si(seconds, "s")


def age(at: datetime | None, now: datetime) -> str:
    """How long ago, in the largest whole unit: `3d`, `12m`."""
    if at is None:
        return ""
    seconds = max(0.0, (now - at).total_seconds())
    for unit, name in ((31557600, "y"), (86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit:
            return f"{int(seconds // unit)}{name}"
    return f"{int(seconds)}s"


def when(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")


def status_text(organism: Organism) -> str:
    """`alive`, `◆ protected`, `✕ selected against`, `✕ culled`, `ghost`."""
    if organism.ghost:
        return "ghost"
    if organism.status != "alive":
        return f"✕ {organism.status.replace('_', ' ')}"
    return "◆ protected" if organism.protected else "alive"


def relation_text(organism: Organism, links: Sequence[Link]) -> str:
    """How an organism came to be, in a word or two: `finetune`, `merge`, `founder`, `ghost`."""
    if links:
        return " + ".join(dict.fromkeys(link.relation for link in links))
    return "ghost" if organism.ghost else "founder"


PHRASES = {
    "quantized": "quantized from",
    "continue": "continues",
    "distill": "distilled from",
    "prune": "pruned from",
    "convert": "converted from",
}


def phrase(relation: str) -> str:
    """A relation before the name of the parent: `finetune of`, `pruned from`."""
    return PHRASES.get(relation, f"{relation} of")


def descent(organism: Organism, links: Sequence[Link]) -> str:
    """How an organism came to be, in a phrase: `merge of a 70 %, b 30 %`, `a founder`."""
    from lineage.trees.family import Branch
    from lineage.trees.words import shares

    if not links:
        if organism.retracted is not None:
            return "a ghost: its registration was retracted"
        return "a ghost: named as a parent, not registered yet" if organism.ghost else "a founder"
    phrases = []
    for relation in dict.fromkeys(link.relation for link in links):
        alike = [link for link in links if link.relation == relation]
        parts = shares([Branch(x.child.id, x.parent.id, relation, x.weight) for x in alike])
        named = [f"{x.parent} {part}".rstrip() for x, part in zip(alike, parts, strict=True)]
        phrases.append(f"{phrase(relation)} {', '.join(named)}")
    return "; ".join(phrases)


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 child`, `1,200 children`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# ---- JSON


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


def record_object(record: Record, serving: Sequence[PowerCost]) -> dict[str, Any]:
    """Everything known of an organism: the keys of a list, and `names`, `places`, `files`,
    `children` (how many), `power`, `tags`, `aliases`, `load_bearing`, `events`. `fitness` holds all
    scores ever, in each niche the latest last."""
    known: dict[str, Any] = plain(record.organism)
    known["names"] = [{"name": name, "version": version} for name, version in record.names]
    known["parents"] = parents_object(record.parents)
    known["fitness"] = plain(record.scores)
    known["serving"] = plain(serving)
    for key in ("power", "places", "files", "children", "tags", "aliases", "load_bearing"):
        known[key] = plain(getattr(record, key))
    known["events"] = plain(record.events)
    return known


# ---- Lists


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


def _summaries(registry: Registry, organisms: Iterable[Organism]) -> Iterator[Summary]:
    organisms = iter(organisms)
    while chunk := list(islice(organisms, CHUNK)):
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
    organisms = iter(organisms)
    while chunk := list(islice(organisms, CHUNK)):
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


SPAN = re.compile(r"^(\d{1,6}) ?(min|h|d|w)$")


def since_when(value: str, what: str = "since") -> datetime:
    """`30d` (or `12h`, `45min`, `2w`) as the time that long ago; else a date."""
    match = SPAN.match(value)
    try:
        if not match:
            return utc(value, what)
        unit = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
        return datetime.now(UTC) - timedelta(**{unit: int(match[1])})
    except (InvalidValue, OverflowError):
        raise InvalidValue(
            f"--{what} {value!r} is no time. Write 45min, 12h, 30d or 2w, or a date like "
            "2026-11-24."
        ) from None


def key_value(pair: str) -> tuple[str, str]:
    """`key=value`, both with something in them."""
    key, equals, value = pair.partition("=")
    if not (key.strip() and equals and value):
        raise InvalidValue(f"{pair!r} is not a tag. Write key=value, like team=vision.")
    return key, value


COUNTED = 10_000
"""So many organisms are counted for the last line of a list; of more, that is said."""


@click.command()
@click.argument("pattern", required=False)
@click.option("--niche", help="Only what was scored in it, task/metric; its scores are shown.")
@click.option("--min", type=float, help="With --niche: only scores of at least so much.")
@click.option("--max", type=float, help="With --niche: only scores of at most so much.")
@click.option("--max-joules", type=float, help="Serving takes at most so much (a token, say).")
@click.option("--parent", metavar="REF", help="Only its children.")
@click.option("--relation", type=click.Choice(RELATIONS), help="Only with such a parent link.")
@click.option("--status", type=click.Choice(STATUSES), help="Only of this vital status.")
@click.option("--kind", type=click.Choice(KINDS), help="Weights, or settings on top of some.")
@click.option("--tag", "tags", metavar="KEY[=VALUE]", multiple=True, help="May be repeated.")
@click.option("--alias", help="Like production.")
@click.option("--licence", help="Like apache-2.0.")
@click.option("--architecture", help="Like LlamaForCausalLM.")
@click.option("--precision", help="Like BF16.")
@click.option("--run", help="Of this training run.")
@click.option("--protected", is_flag=True, default=None, help="Only what is protected.")
@click.option("--here", is_flag=True, default=None, help="Only with files on a disk.")
@click.option("--since", metavar="30d|DATE", help="Only registered since; also 12h, 2w.")
@click.option("--until", metavar="30d|DATE", help="Only registered before.")
@click.option("--ghosts", is_flag=True, default=None, help="Ghosts too: named, not registered.")
@click.option(
    "--sort", type=click.Choice(SORTS), default="registered", help="By default the newest first."
)
@limit_option
@json_option
@registry_options
def ls(
    pattern: str | None,
    niche: str | None,
    tags: Sequence[str],
    since: str | None,
    until: str | None,
    sort: str,
    limit: int | None,
    as_json: bool,
    **conditions: Any,
) -> None:
    """List organisms, those whose name fits PATTERN (* and ? fit anything). Options combine.

    \b
    lineage ls --niche gsm8k/acc --min 0.6 --max-joules 2 --sort power
    lineage ls --parent base --relation adapter --since 30d --tag team=vision

    Into a pipe, a line each, tab-separated: reference, relation, generation, niche, score,
    standard error, joules, per what, how these are known, status, time of registration, digest.
    """
    if niche is None and (conditions["min"] is not None or conditions["max"] is not None):
        raise click.UsageError("--min and --max are of a score: give --niche too.")
    registry = open_registry()
    wanted: dict[str, Any] = {
        **conditions,
        "niche": niche,
        "tags": [key_value(one) if "=" in one else one for one in tags],
        "since": None if since is None else since_when(since),
        "until": None if until is None else since_when(until, "until"),
    }
    at_most, shown_niche = limit_of(limit, as_json), None if niche is None else Niche.parse(niche)
    if as_json or not sys.stdout.isatty():
        each = registry.each(pattern, sort=sort, limit=at_most, **wanted)
        stream_list(registry, each, shown_niche, as_json)
        return
    found = registry.find(pattern, sort=sort, limit=at_most, **wanted)
    full = len(found) == at_most
    asked = pattern is not None or any(one not in (None, []) for one in wanted.values())
    listing(
        registry,
        found,
        total=registry.count(pattern, at_most=COUNTED, **wanted) if full else len(found),
        niche=shown_niche,
        nothing="No organism fits that."
        if asked
        else "The registry is empty. `lineage register PATH` adds a first organism.",
    )


# ---- One organism

Row = tuple[str, ...]
LEVELS = 5
"""How many generations up the line of descent of `show` goes."""


@click.command()
@click.argument("ref")
@json_option
@registry_options
def show(ref: str, as_json: bool) -> None:
    """Show everything known of an organism."""
    registry = open_registry()
    record = registry.record(ref)
    organism = record.organism
    near = registry.ancestors(organism, depth=LEVELS)
    (summary, *above) = registry.summaries([organism, *near])
    if as_json:
        emit(record_object(record, summary.serving))
        return
    terminal = sys.stdout.isatty()
    if terminal:
        _head(record, [summary, *above])
    for title, rows in _sections(record, summary):
        if not terminal:
            table((), [(title.lower(), *row) for row in rows])
        elif rows:
            click.echo(f"\n{styled(title, bold=True)}")
            block(rows, whole=title in ("Places", "Files"))
    if terminal:
        _lately(record)


def block(rows: Sequence[Row], whole: bool = False) -> None:
    """Print aligned rows: what is long is cut, and in the last column goes on below itself; or all
    is left `whole`, for paths are there to be copied."""
    columns = max(map(len, rows))
    cells = [[shown(cell) for cell in row] + [""] * (columns - len(row)) for row in rows]
    widths = [max(width(row[i]) for row in cells) for i in range(columns - 1)]
    if not whole:
        widths = [min(40, one) for one in widths]
    hang = 2 + sum(2 + one for one in widths)
    room = max(30, shutil.get_terminal_size().columns - hang)
    for row in cells:
        parts = [pad(fit(cell, w), w) for cell, w in zip(row, widths, strict=False)]
        first, *rest = [row[-1]] if whole else wrapped(row[-1], room)
        click.echo(f"  {'  '.join([*parts, first])}".rstrip())
        for line in rest:
            click.echo(" " * hang + line)


def wrapped(text: str, room: int) -> list[str]:
    """Lines no wider than `room`, broken at blanks only; at least one."""
    return textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]


def paragraph(line: str) -> str:
    """A sentence in lines that fit the terminal; into a pipe as it is."""
    if not sys.stdout.isatty():
        return line
    return "\n".join(wrapped(line, shutil.get_terminal_size().columns))


def _head(record: Record, near: Sequence[Summary]) -> None:
    """The name, how it came to be, and the line of its descent through the largest share:
    `… → base → sft → this`."""
    organism, room = record.organism, shutil.get_terminal_size().columns
    click.echo(f"{styled(shown(str(organism)), bold=True)}  {status_text(organism)}")
    said = f"{descent(organism, record.parents)}; {_place_in_family(record)}"
    click.echo("\n".join(wrapped(shown(said), room)))
    links = {one.organism.id: one.parents for one in near}
    chain = [organism]
    while parents := links.get(chain[-1].id):
        chain.append(max(parents, key=lambda link: (link.weight or 0.0, -link.parent.id)).parent)
    if len(chain) > 2:
        names = [shown(str(one)) for one in reversed(chain)]
        line = " → ".join([*(["…"] if chain[-1].generation else []), *names])
        click.echo(styled("\n".join(wrapped(line, room)), dim=True))


def _place_in_family(record: Record) -> str:
    below = counted(record.children, "child", "children") if record.children else "no children"
    return f"generation {record.organism.generation}, {below}"


def _lately(record: Record) -> None:
    """The last events, a line each."""
    if not record.events:
        return
    click.echo(f"\n{styled('Lately', bold=True)}")
    room = shutil.get_terminal_size().columns
    for event in record.events[-LEVELS:]:
        told = f"{event.kind.replace('_', ' ')} {event_text(event)}".rstrip()
        click.echo(fit(shown(f"  {when(event.at)}  {told}"), room))
    click.echo(styled(f"`lineage log {shown(str(record.organism))}` has them all.", dim=True))


def _sections(record: Record, summary: Summary) -> Iterator[tuple[str, list[Row]]]:
    yield "Organism", list(_facts(record))
    yield "Parents", list(_parents(record.parents))
    yield "Fitness", list(_fitness(record.scores))
    yield "Power", list(_power(record, summary.serving))
    yield "Places", [(place.uri, _gone(place)) for place in record.places]
    yield (
        "Files",
        [
            (file.path, size(file.bytes), "genome" if file.genome else "carried")
            for file in record.files
        ],
    )
    yield "Tags", list(record.tags.items())


def _facts(record: Record) -> Iterator[Row]:
    organism = record.organism
    if not sys.stdout.isatty():  # a terminal has these in the head of the page
        yield "name", organism.ref
        yield "status", "ghost" if organism.ghost else organism.status
        yield "family", _place_in_family(record)
    if organism.retracted is not None:
        yield "retracted", organism.retracted
    if record.load_bearing:
        yield "load-bearing", "others need it to run"
    if organism.kind == "epigenetic":
        yield "kind", "epigenetic: changes expression, not weights"
    yield "digest", organism.digest or "not known: no files were seen"
    known = [
        organism.architecture,
        organism.parameters is not None and f"{count(organism.parameters)} parameters",
        organism.precision,
        organism.bytes is not None and size(organism.bytes),
    ]
    if any(known):
        yield "weights", ", ".join(one for one in known if one)
    if organism.licence:
        yield "licence", organism.licence
    if organism.run or organism.step is not None:
        step = "" if organism.step is None else f"step {organism.step:,}"
        yield "run", ", ".join(one for one in (organism.run, step) if one)
    if organism.created:
        yield "created", f"{when(organism.created)} UTC"
    if organism.registered:
        yield "registered", f"{when(organism.registered)} UTC"
    names = [f"{name}@v{version}" for name, version in record.names]
    if names:
        yield "names", ", ".join(names)
    if record.aliases:
        yield "aliases", ", ".join(record.aliases)


def _parents(links: Sequence[Link]) -> Iterator[Row]:
    from lineage.trees.family import Branch
    from lineage.trees.words import shares

    branches = [Branch(x.child.id, x.parent.id, x.relation, x.weight) for x in links]
    for link, share in zip(links, shares(branches), strict=True):
        known = ", ".join(
            one.evidence + ("" if one.confidence is None else f" {one.confidence:.2g}")
            for one in link.evidence
        )
        notes = ("needed to run" if link.needed else "", "a ghost" if link.parent.ghost else "")
        told = "; ".join(one for one in (share, known, *notes) if one)
        yield str(link.parent), link.relation, told


def _fitness(scores: Sequence[Score]) -> Iterator[Row]:
    by_niche: dict[Any, list[Score]] = {}
    for score in scores:
        by_niche.setdefault(score.niche, []).append(score)
    for niche, all_ever in by_niche.items():
        for score in all_ever:
            if score.retracted is not None:
                yield str(niche), f"✕ {score_text(score)}", f"retracted: {score.retracted}"
        known = [score for score in all_ever if score.retracted is None]
        if not known:
            continue
        latest = known[-1]
        better = f"{latest.direction} is better" if latest.direction else "direction not known"
        sample = "" if latest.n is None else f"n = {latest.n:,}"
        before = f"{len(known)} scores, before {number(known[-2].value)}" if len(known) > 1 else ""
        told = ", ".join(one for one in (better, sample, before) if one)
        yield str(niche), score_text(latest), told


def _power(record: Record, serving: Sequence[PowerCost]) -> Iterator[Row]:
    """Totals of a phase added up, the latest of each rate, and what serving costs in all."""
    totals: dict[str, list[PowerCost]] = {}
    rates: dict[tuple[str, str], PowerCost] = {}
    for cost in record.power:
        if cost.retracted is not None:
            yield cost.phase, f"✕ {power_text(cost)}", f"retracted: {cost.retracted}"
        elif cost.per == "total":
            totals.setdefault(cost.phase, []).append(cost)
        else:
            rates[cost.phase, cost.per] = cost
    for phase, known in totals.items():
        parts = [power_text(one) for one in added(known)]
        yield phase, "; ".join(parts), _known_by(known)
    for (phase, _), cost in rates.items():
        yield phase, power_text(cost), _known_by([cost])
    with_base = ", with what it needs to run" if any(x.needed for x in record.parents) else ""
    for cost in serving:
        given = rates.get(("serving", cost.per))
        if given is None:
            yield "serving", power_text(cost), f"estimated from parameters{with_base}"
        elif given.joules != cost.joules:
            yield "serving", power_text(cost), f"{cost.source}{with_base}"


def added(costs: Sequence[PowerCost]) -> Iterator[PowerCost]:
    """Totals of one phase, added up: one cost for each currency among them."""
    for currency in dict.fromkeys(cost.currency for cost in costs):
        alike = [cost for cost in costs if cost.currency == currency]
        sums: dict[str, Any] = {}
        for unit in ("joules", "seconds", "cost", "gco2e"):
            known = [value for cost in alike if (value := getattr(cost, unit)) is not None]
            sums[unit] = sum(known) if known else None
        if any(value is not None for value in sums.values()):
            yield PowerCost(**sums, currency=currency, phase=alike[0].phase)


def _known_by(costs: Sequence[PowerCost]) -> str:
    sources = ", ".join(dict.fromkeys(cost.source for cost in costs))
    meters = ", ".join(dict.fromkeys(cost.meter for cost in costs if cost.meter))
    times = f", {len(costs)} intervals" if len(costs) > 1 else ""
    return f"{sources}{f' by {meters}' if meters else ''}{times}"


def _why_gone(by: str | None) -> str:
    return "rotation deleted it" if by == "rotation" else "other weights are there now"


def _gone(place: Place) -> str:
    if place.gone_at is None:
        return ""
    if place.quarantine is not None:
        return f"✕ in quarantine since {when(place.gone_at)}: `lineage restore` puts it back"
    return f"✕ gone since {when(place.gone_at)}"


# ---- A life


EVENTS = 50
"""How many events of the whole registry a terminal lists, unless --limit says otherwise."""


@click.command()
@click.argument("ref", required=False)
@click.option("--all", "everything", is_flag=True, help="Of the whole registry, the latest last.")
@click.option("--since", metavar="TIME", help="With --all: since then, like 7d or 2026-11-01.")
@click.option("--before", type=int, metavar="EVENT", help="With --all: the page before this event.")
@click.option("--limit", type=click.IntRange(min=0), help="With --all: at most so many, 0 for all.")
@click.option("--head", is_flag=True, help="The head of the history, to be kept elsewhere.")
@json_option
@registry_options
def log(
    ref: str | None,
    everything: bool,
    since: str | None,
    before: int | None,
    limit: int | None,
    head: bool,
    as_json: bool,
) -> None:
    """Tell what happened to an organism: when, what with its numbers, and who did it. Each event
    has a number: `lineage undo NUMBER` takes back what can be taken back.

    \b
    lineage log sft
    lineage log --all --since 7d

    With --head: the last event, and the SHA-256 that all events so far lead to. Kept elsewhere, it
    lets `lineage doctor --head HEX` tell whether the history was changed since.
    """
    if (ref is not None) + everything + head != 1:
        raise click.UsageError("whose history? Give REF, --all, or --head.")
    if not everything and (since or before is not None or limit is not None):
        raise click.UsageError("--since, --before and --limit belong to --all.")
    registry = open_registry()
    if everything:
        _log_of_all(registry, since, before, limit, as_json)
        return
    if ref is None:
        event, chained = registry.head()
        if as_json:
            emit({"event": event, "head": chained})
        elif sys.stdout.isatty():
            click.echo(f"{chained}  after event {event:,}")
        else:
            table((), [(chained, event)])
        return
    events = registry.history(ref)
    if as_json:
        emit(events)
    elif not sys.stdout.isatty():
        table((), ((plain(event.at), event.kind, event_text(event), f"{event.user}@{event.host}",
                    event.command, event.id) for event in events))  # fmt: skip
    else:
        for line in _life(events):
            click.echo(line)


def _log_of_all(
    registry: Registry, since: str | None, before: int | None, limit: int | None, as_json: bool
) -> None:
    """The events of the whole registry; the page that is shown is in the order of a life."""
    most = EVENTS if limit is None and sys.stdout.isatty() and not as_json else limit or None
    start = None if since is None else since_when(since)
    events: Iterable[Event]
    if most is None:
        events = registry.each_event(since=start, before=before)
    else:
        events = registry.events(since=start, before=before, limit=most)[::-1]
    told = _with_names(registry, events)
    if as_json:
        emit({**plain(event), "ref": whom} for event, whom in told)
        return
    if not sys.stdout.isatty():
        table((), ((plain(event.at), whom, event.kind, event_text(event),
                    f"{event.user}@{event.host}", event.command, event.id)
                   for event, whom in told))  # fmt: skip
        return
    known = list(told)
    if not known:
        click.echo("Nothing happened.")
        return
    whose = {event.organism: whom for event, whom in known if event.organism and whom}
    for line in _life((event for event, _ in known), whose):
        click.echo(line)
    if len(known) == most:
        said = f"`lineage log --all --before {known[0][0].id}` tells what was before."
        click.echo(styled(said, dim=True))


def _with_names(
    registry: Registry, events: Iterable[Event]
) -> Iterator[tuple[Event, str | None]]:
    """Events, each with the name of the organism that it is of."""
    events = iter(events)
    while chunk := list(islice(events, CHUNK)):
        ids = sorted({event.organism for event in chunk if event.organism is not None})
        names = {one.id: str(one) for one in registry.organisms(ids)}
        for event in chunk:
            yield event, names.get(event.organism or 0)


def _life(events: Iterable[Event], whom: Mapping[int, str] | None = None) -> Iterator[str]:
    """Oldest first, with the number of each; who did it is said once for what they did in a row.
    `whom` it happened to, by id, where that is not clear."""
    room = max(40, shutil.get_terminal_size().columns)
    who = day = ""
    for event in events:
        now = f"{event.user}@{event.host}, {event.command}"
        date = event.at.strftime("%Y-%m-%d")
        if (now, date) != (who, day):
            who, day = now, date
            yield styled(f"{date} UTC  {shown(now)}", dim=True)
        kind = shown(event.kind.replace("_", " "))
        if whom is not None and event.organism is not None:
            kind = f"{shown(whom[event.organism])} {kind}"
        parts = [shown(part) for part in event_parts(event)]
        head = f"  {event.at:%H:%M:%S}  {event.id:>5}  "
        margin = " " * len(head)
        first, *rest = wrapped(" ".join([kind, *parts[:1]]), room - len(head))
        yield head + first.replace(kind, styled(kind, bold=True), 1)
        yield from (margin + line for line in rest)
        more = (line for part in parts[1:] for line in wrapped(part, room - len(head)))
        yield from (margin + line for line in more)


def event_text(event: Event) -> str:
    """What an event says with its numbers, after the word for its kind."""
    return "; ".join(event_parts(event))


def event_parts(event: Event) -> list[str]:
    worded = WORDINGS.get(event.kind, _any_body)
    undone = [f"undoes event {event.body['undoes']}"] if "undoes" in event.body else []
    try:
        said = worded({key: value for key, value in event.body.items() if key != "undoes"})
    except (AttributeError, KeyError, TypeError, ValueError):
        said = _any_body(event.body)  # of another lineage, or from an import
    return ([said] if isinstance(said, str) else said) + undone


def _any_body(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in body.items())


def _score_body(body: Mapping[str, Any]) -> str:
    score = Score(
        Niche(body["task"], body["metric"], body.get("split") or ""),
        body["value"],
        body.get("stderr"),
        body.get("n"),
        body.get("direction"),
    )
    sample = "" if score.n is None else f" (n = {score.n:,})"
    return f"{score.niche} {score_text(score)}{sample}"


def _power_body(body: Mapping[str, Any]) -> str:
    known = PowerCost(**{key: value for key, value in body.items() if key != "at"})
    meter = f" by {known.meter}" if known.meter else ""
    return f"{known.phase} {power_text(known)}, {known.source}{meter}"


def _link_body(body: Mapping[str, Any]) -> str:
    known = body["evidence"] if body.get("evidence", "declared") != "declared" else ""
    share = "" if body.get("weight") is None else f"share {number(body['weight'])}"
    notes = ", ".join(one for one in (share, known) if one)
    return f"{phrase(body['relation'])} {body['ref']}{f' ({notes})' if notes else ''}"


def _registered_body(body: Mapping[str, Any]) -> list[str]:
    parts = [
        f"as {body['name']}" if "name" in body else "",
        "which was a ghost" if body.get("was") == "ghost" else "",
        f"digest {body['digest'][:12]}" if "digest" in body else "",
        *map(_link_body, body.get("parents", ())),
        *map(_score_body, body.get("fitness", ())),
        *map(_power_body, body.get("power", ())),
        *(f"at {place}" for place in body.get("places", ())),
    ]
    return [part for part in parts if part]


def _tags_body(body: Mapping[str, Any]) -> str:
    return ", ".join(
        f"no {key} any more" if value is None else f"{key}={value}"
        for key, value in body["tags"].items()
    )


def _selected_body(body: Mapping[str, Any]) -> list[str]:
    rule = body.get("rule", "dominated")
    if rule != "dominated":
        why = {"budget": "for the budget", "unkept": "kept by nothing"}.get(rule, rule)
        return [f"{why} of policy {body.get('policy')}"]
    return [
        f"{one['niche']} {number(one['value'])}, beaten by {one['by']} {number(one['by_value'])}"
        for one in body.get("reasons", ())
        if "by" in one
    ]


def _retracted_body(body: Mapping[str, Any]) -> list[str]:
    """What was struck out or reinstated, and why it was struck out."""
    bare = {key: value for key, value in body.items() if key not in ("what", "reason", "needed")}
    if body["what"] == "score":
        said = f"the score {_score_body(bare)}"
    elif body["what"] == "cost":
        said = f"the cost {_power_body(bare)}"
    elif body["what"] == "link":
        said = "the link to " + body["ref"] + ", was " + ", ".join(
            f"{one['relation']} ({one['evidence']})" for one in body["was"])  # fmt: skip
    else:
        scores, costs = counted(body["scores"], "score"), counted(body["costs"], "cost")
        said = f"the registration, with {scores} and {costs}"
    return [said, f"because: {body['reason']}"]


def _moved_body(body: Mapping[str, Any]) -> str:
    return f"{counted(body['files'], 'file')}, {size(body['bytes'])}"


WORDINGS: dict[str, Callable[[Mapping[str, Any]], str | list[str]]] = {
    "registered": _registered_body,
    "ghost": lambda body: f"named as a parent: {body['ref']}",
    "scored": _score_body,
    "metered": _power_body,
    "linked": _link_body,
    "unlinked": lambda body: "from " + body["ref"] + ", was " + ", ".join(
        f"{one['relation']} ({one['evidence']})" for one in body["was"]
    ),
    "aliased": lambda body: f"{body['name']}@{body['alias']}"
    + (f", which was {body['from']}" if "from" in body else ""),
    "tagged": _tags_body,
    "protected": lambda body: body.get("reason", ""),
    "unprotected": lambda body: body.get("reason", ""),
    "selected_against": _selected_body,
    "selected": lambda body: f"by {body['policy']}: {body['marked']:,} marked"
    + (f", {body['revived']:,} revived" if body["revived"] else "") + f", run {body['run']}",
    "leased": lambda body: f"to {body['holder']} until {body['until'][:16].replace('T', ' ')} UTC",
    "released": lambda body: f"by {body['holder']}",
    "revived": lambda body: body.get("reason", ""),
    "placed": lambda body: f"at {body['place']}",
    "named": lambda body: f"{body['name']}@v{body['version']}",
    "identified": lambda body: f"digest {body['digest'][:12]}",
    "retracted": _retracted_body,
    "reinstated": _retracted_body,
    "renamed": lambda body: f"{body['name']}@v{body['version']}"
    + (f", was {body['from']}@v{body['from_version']}" if "from" in body else ""),
    "moved": lambda body: [f"from {body['from']}", f"to {body['to']}"],
    "relocated": lambda body: [
        f"{counted(body['places'], 'place')} from {body['old']}", f"to {body['new']}",
    ],
    "unaliased": lambda body: f"{body['name']}@{body['alias']}"
    + (f", which is {body['to']} again" if "to" in body else ""),
    "quarantined": lambda body: f"{_moved_body(body)}, to {body['folder']}",
    "restored": lambda body: f"{_moved_body(body)}, to {body['place']}",
    "emptied": lambda body: f"{_moved_body(body)}, deleted from {body['folder']}",
    "culled": lambda body: (
        "its last files are gone: " + _why_gone(body["by"])
        if "by" in body
        else f"{_moved_body(body)}, deleted from {body['folder']}"
    ),
    "gone": lambda body: f"from {body['place']}: {_why_gone(body.get('by'))}",
    "link_set_aside": lambda body: "it would close " + " → ".join(body["would_close"]),
}  # fmt: skip
