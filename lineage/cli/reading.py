"""Reading: lists of organisms, everything known of one, and what happened to it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lineage.cli.arguments import key_value, since_when
from lineage.cli.common import (
    Row,
    block,
    emit,
    json_option,
    open_registry,
    plain,
    registry_options,
    styled,
    table,
    wrapped,
)
from lineage.cli.events import event_parts, event_text
from lineage.cli.listing import (
    COUNTED,
    chunks,
    limit_of,
    limit_option,
    listing,
    parents_object,
    stream_list,
)
from lineage.cli.words import descent, number, power_text, score_text, status_text, when
from lineage.organism import KINDS, RELATIONS, STATUSES, Link, Niche, PowerCost, Score
from lineage.shown import count, counted, fit, shown, size

if TYPE_CHECKING:
    from lineage.organism import Event, Place, Record
    from lineage.registry import Registry, Summary

# ---- Lists

SORTS = ("registered", "created", "name", "fitness", "power", "generation", "bytes")


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
    for chunk in chunks(events):
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
