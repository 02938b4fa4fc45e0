"""Recording: checkpoints with their parents, scores, costs, aliases and tags. Each command does
what it is asked at once, and says in one line what became of it."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lineage.cli.arguments import key_value, score_of
from lineage.cli.common import asked, hashing, note, open_registry, registry_options
from lineage.cli.words import descent, energy_text, power_text, score_text
from lineage.energy import Site, codecarbon_costs
from lineage.errors import LineageError
from lineage.organism import (
    DIRECTIONS,
    PERS,
    PHASES,
    RELATIONS,
    SOURCES,
    Niche,
    Organism,
    Parent,
    PowerCost,
    Score,
)
from lineage.shown import counted, shown

if TYPE_CHECKING:
    from lineage.genome import Genome
    from lineage.organism import Link, Record
    from lineage.registry import Registry

NEGATIVE = {"ignore_unknown_options": True}
"""For commands that take a number as an argument: -0.5 is no option."""


def say(sentence: str) -> None:
    click.echo(shown(sentence))


# ---- A registry


@click.command()
@registry_options
def init() -> None:
    """Make a registry: .lineage/registry.db in this folder, or what --db or LINEAGE_DB names."""
    from lineage.database import FILE, FOLDER

    db = os.environ.get("LINEAGE_DB") or str(Path.cwd() / FOLDER / FILE)
    registry = open_registry(db=db, create=True)
    if registry.database.made:
        say(f"made a registry: {registry.database.address}")
    else:
        there = counted(registry.count(), "organism")
        say(f"there is a registry already: {registry.database.address} ({there})")


# ---- A checkpoint


@click.command()
@click.argument("path", required=False)
@click.option("--name", help="By default the name of the folder; other weights get @v2, @v3, ...")
@click.option("--parent", "parents", metavar="REF", multiple=True, help="May be repeated.")
@click.option("--relation", type=click.Choice(RELATIONS), help="By default finetune, or merge.")
@click.option(
    "--weight", "weights", type=float, multiple=True, help="Share of each parent, in their order."
)
@click.option(
    "--fitness", metavar="TASK/METRIC=0.61[±0.004]", multiple=True, help="May be repeated."
)
@click.option("--joules", type=float, help="Energy that it took.")
@click.option("--phase", type=click.Choice(PHASES), default="training", help="What took it.")
@click.option(
    "--source", type=click.Choice(SOURCES), default="declared", help="How the energy is known."
)
@click.option("--tag", "tags", metavar="KEY=VALUE", multiple=True, help="May be repeated.")
@click.option("--alias", "aliases", multiple=True, help="Like production. May be repeated.")
@click.option("--run", help="The run it was trained in.")
@click.option("--step", type=int, help="The step of that run.")
@click.option("--digest", help="SHA-256 of the weights, for what is not on this machine.")
@click.option("--place", "places", multiple=True, help="Also at hf:org/name@revision, a URI.")
@click.option("--parameters", type=int, help="How many; read from safetensors files.")
@click.option("--architecture", help="Read from config.json.")
@click.option("--precision", help="Like BF16; read from safetensors files.")
@click.option("--licence", help="Like apache-2.0.")
@click.option("--created", metavar="TIME", help="When it was made, in ISO 8601.")
@click.option("--epigenetic", is_flag=True, help="A setting on top of its parent, not weights.")
@registry_options
def register(
    path: str | None,
    parents: Sequence[str],
    relation: str | None,
    weights: Sequence[float],
    fitness: Sequence[str],
    joules: float | None,
    phase: str,
    source: str,
    tags: Sequence[str],
    places: Sequence[str],
    epigenetic: bool,
    **known: Any,
) -> None:
    """Register the checkpoint at PATH: a file, or a folder with weights.

    It is hashed, never loaded. Without PATH, it is known by --digest, --place or --name. The same
    weights are the same organism: what is new is added. A parent that nobody has registered yet is
    kept as a ghost.

    \b
    lineage register runs/sft --parent base --fitness gsm8k/acc=0.61±0.004
    lineage register mix --parent a --weight 0.7 --parent b --weight 0.3
    """
    if weights and len(weights) != len(parents):
        raise click.UsageError(
            f"{counted(len(weights), 'weight')} for {counted(len(parents), 'parent')}: give one "
            "for each, in their order, or none."
        )
    if path is None and not (known["digest"] or places or known["name"]):
        raise click.UsageError("what to register? Give a PATH, or --digest, --place or --name.")
    shares: Sequence[float | None] = weights or [None] * len(parents)
    values = {
        "parents": [Parent(ref, weight=w) for ref, w in zip(parents, shares, strict=True)],
        "relation": relation,
        "fitness": [score_of(one) for one in fitness],
        "power": [] if joules is None else [PowerCost(joules, phase, source=source)],
        "tags": dict(map(key_value, tags)),
        "place": list(places) or None,
        "kind": "epigenetic" if epigenetic else "genomic",
        **{key: value for key, value in known.items() if value not in (None, ())},
    }
    registry = open_or_make()
    found = None if path is None else _read(path)
    before = _known_as(registry, found, values)
    organism = registry.register(found, **values)
    after = registry.record(organism)
    had = next((one for one in before if one.organism.id == organism.id), None)
    _told(had, after)
    if had is None and path is not None:
        _several(path, organism)
    _ghosts(registry, _new_links(had.parents if had else (), after.parents), parents)


def open_or_make(*, named: bool = False) -> Registry:
    """The registry to write to, made where there is none: the user's own, and one that was named
    only with `named`, for it may be misspelt."""
    name = asked()["db"] or os.environ.get("LINEAGE_DB")
    if name and not named:
        return open_registry()
    registry = open_registry(create=True)
    if registry.database.made:
        hint = "" if name else " `lineage init` makes one for this folder alone."
        note(f"made a registry: {registry.database.address}.{hint}")
    return registry


def _read(path: str) -> Genome:
    """The checkpoint at a path, hashed; a terminal sees how far it is after a second."""
    from lineage import genome

    with hashing(genome.total_bytes(path)) as tell:
        return genome.read(path, progress=tell)


def _known_as(registry: Registry, found: Genome | None, values: Mapping[str, Any]) -> list[Record]:
    """What the registry knows already that a registration may mean."""
    from lineage.genome import default_name

    refs = [*(values["place"] or ()), values.get("name"), values.get("digest")]
    if found is not None:
        refs += [found.digest, Path(found.path), values.get("name") or default_name(found.path)]
    known = []
    for ref in filter(None, refs):
        with contextlib.suppress(LookupError):  # nobody, or several: then it is none of them
            known.append(registry.record(ref))
    return known


def _several(path: str, organism: Organism) -> None:
    """Say so where a folder of checkpoints was registered as one: `scan` tells them apart."""
    if not os.path.isdir(path):
        return
    from lineage.scan.walk import walk

    found = walk([path]).candidates
    if len(found) > 1 and all(one.place != one.root for one in found):
        note(
            f"{path} holds {len(found):,} checkpoints, and they are one organism now. "
            f"`lineage scan` registers each; `lineage retract {organism} --reason TEXT` "
            "strikes this one out."
        )


def _told(had: Record | None, after: Record) -> None:
    """What became of a registration, in one line."""
    organism = after.organism
    digest = f" (digest {organism.digest[:12]})" if organism.digest else ""
    how = descent(organism, after.parents)
    if had is None:
        say(f"registered {organism}, {how}{digest}")
    elif had.organism.ghost and not organism.ghost:
        waited = counted(after.children, "child", "children")
        say(f"registered {organism}, {how}{digest}: a ghost until now, with {waited}")
    else:
        new = _gained(had, after)
        became = f"added {', '.join(new)}" if new else "nothing new"
        say(f"known already: {organism}{digest}; {became}")


def _new_links(had: Sequence[Link], now: Sequence[Link]) -> list[Link]:
    """The links that are new, or have a new evidence."""
    known = {(link.parent.id, one.relation, one.evidence) for link in had for one in link.evidence}
    return [
        link
        for link in now
        if any((link.parent.id, one.relation, one.evidence) not in known for one in link.evidence)
    ]


def _ghosts(registry: Registry, links: Sequence[Link], given: Sequence[str]) -> None:
    """Say which parents are not registered yet, as they were given."""
    ghosts = {link.parent.id for link in links if link.parent.ghost}
    for ref in given if ghosts else ():
        if registry.get(ref).id in ghosts:
            say(f"{ref} is not registered yet: kept as a ghost")


def _gained(had: Record, after: Record) -> list[str]:
    """What a record holds that it did not hold before, in words."""
    new: list[str] = []
    if after.organism.digest and not had.organism.digest:
        new.append("its digest")
    names = [name for name in after.names if name not in had.names]
    new += [f"the name {name}@v{version}" for name, version in names]
    for link in _new_links(had.parents, after.parents):
        new.append(f"the parent {link.parent} ({link.relation})")
    for key, what in (("scores", "score"), ("power", "power cost"), ("places", "place")):
        more = len(getattr(after, key)) - len(getattr(had, key))
        if more:
            new.append(counted(more, what))
    new += [f"{k}={v}" for k, v in after.tags.items() if k not in had.tags]
    new += [f"the alias {one}" for one in after.aliases if one not in had.aliases]
    facts = ("parameters", "bytes", "architecture", "precision", "licence", "run", "step")
    for fact in (*facts, "created"):
        if getattr(after.organism, fact) is not None and getattr(had.organism, fact) is None:
            new.append(fact)
    return new


# ---- Links


@click.command()
@click.argument("child")
@click.argument("parent")
@click.option("--relation", type=click.Choice(RELATIONS), help="By default finetune.")
@click.option("--weight", type=float, help="The parent's share.")
@registry_options
def link(child: str, parent: str, relation: str | None, weight: float | None) -> None:
    """Say that CHILD descends from PARENT.

    A parent that nobody has registered yet is kept as a ghost.
    """
    registry = open_registry()
    had = registry.parents(child)
    relation = relation or _relation_to(had, parent, registry)
    organism = registry.link(child, parent, relation, weight=weight)
    new = _new_links(had, registry.parents(organism))
    for one in new:
        say(f"linked {organism} to {one.parent}: {one.relation}")
    if not new:
        say(f"known already: {parent} is a parent of {organism}")
    _ghosts(registry, new, [parent])


def _relation_to(had: Sequence[Link], parent: str, registry: Registry) -> str | None:
    """How a parent is linked already: without --relation, that is not said anew."""
    with contextlib.suppress(LookupError):
        own = registry.get(parent).id
        return next((link.relation for link in had if link.parent.id == own), None)
    return None


@click.command()
@click.argument("child")
@click.argument("parent")
@registry_options
def unlink(child: str, parent: str) -> None:
    """Take a parent link back; the history keeps what was known of it."""
    registry = open_registry()
    other = registry.get(parent)
    had = [one for one in registry.parents(child) if one.parent.id == other.id]
    organism = registry.unlink(child, other)
    was = ", ".join(f"{one.relation}, {one.evidence[0].evidence}" for one in had)
    say(f"unlinked {organism} from {other} (was: {was})")


# ---- Scores and costs


@click.command(context_settings=NEGATIVE)
@click.argument("ref")
@click.argument("niche", metavar="TASK/METRIC")
@click.argument("value")
@click.option("--stderr", type=float, help="One standard error, in units of the value.")
@click.option("--n", type=int, help="How many examples.")
@click.option("--direction", type=click.Choice(DIRECTIONS), help="Which way is better.")
@click.option("--split", default="", help="Like test.")
@registry_options
def score(
    ref: str, niche: str, value: str, split: str, direction: str | None, **known: Any
) -> None:
    """Record what an organism scored in a niche; the latest counts, all are kept."""
    new = Score(Niche.parse(niche, split), value, direction=direction, **known)  # type: ignore[arg-type]
    registry = open_registry()
    organism = registry.get(ref)
    had = _scores(registry, organism).get(new.niche)
    registry.score(organism, new.niche, new.value, direction=direction, **known)
    now = _scores(registry, organism)[new.niche]
    before = "" if had is None else f", was {score_text(had)}"
    better = f"{now.direction} is better" if now.direction else (
        "which way is better is not known, so it is no fitness yet: say --direction"
    )  # fmt: skip
    if had is not None and (had.value, had.stderr, had.n) == (new.value, new.stderr, new.n):
        say(f"known already: {organism} scored {score_text(had)} in {now.niche}")
    else:
        say(f"{organism} scored {score_text(new)} in {now.niche}{before} ({better})")


def _scores(registry: Registry, organism: Organism) -> dict[Any, Score]:
    (summary,) = registry.summaries([organism])
    return {score.niche: score for score in summary.scores}


@click.command()
@click.argument("ref")
@click.option("--joules", type=float, help="Energy.")
@click.option("--kwh", type=float, help="Energy, in place of --joules.")
@click.option("--watts", type=float, help="Mean power, with --seconds or --hours.")
@click.option("--seconds", type=float, help="How long.")
@click.option("--hours", type=float, help="How long, in place of --seconds.")
@click.option("--phase", type=click.Choice(PHASES), default="training", show_default=True)
@click.option(
    "--per", type=click.Choice(PERS), default="total", show_default=True,
    help="total: an interval, which adds up; else a rate, of which the latest counts.",
)  # fmt: skip
@click.option("--source", type=click.Choice(SOURCES), default="declared", show_default=True)
@click.option("--meter", metavar="NAME", help="What measured it, or how it was worked out.")
@click.option("--cost", type=float, help="Money, with --currency.")
@click.option("--currency", help="Like EUR.")
@click.option("--gco2e", type=float, help="Grams of CO2 equivalent.")
@click.option(
    "--from", "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
    help="The runs in an emissions.csv that codecarbon wrote, or the co2_eq_emissions of a model "
    "card (.md), each counted once.",
)  # fmt: skip
@registry_options
def meter(
    ref: str, kwh: float | None, hours: float | None, joules: float | None,
    seconds: float | None, file: str | None, **known: Any,
) -> None:  # fmt: skip
    """Record a power cost of an organism.

    \b
    lineage meter sft --kwh 12.5 --source measured --meter wall
    lineage meter sft --watts 700 --hours 8
    lineage meter sft --phase serving --per token --joules 0.4
    lineage meter sft --from emissions.csv
    lineage meter sft --from README.md
    """
    if file is not None:
        _meter_from(ref, file, known["phase"])
        return
    if joules is not None and kwh is not None:
        raise click.UsageError("energy is given twice: --joules or --kwh, one of them.")
    if seconds is not None and hours is not None:
        raise click.UsageError("time is given twice: --seconds or --hours, one of them.")
    timed = seconds is not None or hours is not None or known["per"] != "total"
    energy = joules is not None or kwh is not None
    if known["watts"] is not None and not timed and not energy:
        raise click.UsageError("watts for how long? --hours or --seconds says it; or --per hour.")
    new = PowerCost(
        joules=joules if kwh is None else kwh * 3.6e6,
        seconds=seconds if hours is None else hours * 3600,
        **known,
    )
    registry = open_registry()
    new = Site.from_environment().priced(new)
    organism = registry.meter(ref, new)
    known_now = [one for one in registry.record(organism).power if one.retracted is None]
    by = f" by {new.meter}" if new.meter else ""
    told = f"{new.phase} of {organism}: {power_text(new)}, {new.source}{by}"
    alike = [cost for cost in known_now if (cost.phase, cost.per) == (new.phase, new.per)]
    if new.per != "total":
        before = f", was {power_text(alike[-2])}" if len(alike) > 1 else ""
        say(f"{told}{before}")
        return
    joules_now = [cost.joules for cost in alike if cost.joules is not None]
    total = f"; {energy_text(math.fsum(joules_now))} in all" if len(joules_now) > 1 else ""
    say(f"{told}{total}")


def _meter_from(ref: str, file: str, phase: str) -> None:
    """Record the runs that codecarbon wrote to a file, or what a model card says."""
    given = {
        option.opts[0]
        for option in click.get_current_context().command.params
        if option.name not in ("ref", "phase", "file")
        and click.get_current_context().get_parameter_source(option.name or "")
        is ParameterSource.COMMANDLINE
        and option.expose_value
    }
    if given:
        raise click.UsageError(
            f"{', '.join(sorted(given))}: --from takes the figures from the file. Give one or "
            "the other."
        )
    from lineage.store import with_uuid

    card = file.lower().endswith(".md")
    costs = _card_costs(file, phase) if card else codecarbon_costs(file, phase)
    registry = open_registry()
    before = registry.record(ref)
    own = before.organism.digest or before.organism.ref
    organism = registry.meter(ref, *(with_uuid(cost, f"{own}/") for cost in costs))
    new = len(registry.record(organism).power) - len(before.power)
    told = ", ".join(map(power_text, costs[:1])) if card else (
        f"{energy_text(math.fsum(cost.joules or 0 for cost in costs))} in all"
    )  # fmt: skip
    say(
        f"{phase} of {organism}: {counted(len(costs), 'run')} in {file}, {told}; "
        f"{new or 'none'} of them new"
    )


def _card_costs(file: str, phase: str) -> list[PowerCost]:
    """What a model card says of its carbon."""
    from lineage.readers.card import card

    try:
        said = card(Path(file).read_bytes(), "")
    except ValueError as error:
        raise LineageError(f"{file} was not read: {error}.") from None
    if not said.power:
        raise LineageError(f"{file} says no co2_eq_emissions in its front matter.")
    return [replace(cost, phase=phase) for cost in said.power]


# ---- Names, tags, protection


@click.command()
@click.argument("ref")
@click.argument("name")
@registry_options
def alias(ref: str, name: str) -> None:
    """Let `name@NAME` mean this organism; the alias moves from who had it."""
    registry = open_registry()
    organism = registry.get(ref)
    had = None
    if organism.name is not None:
        with contextlib.suppress(LookupError):
            had = registry.get(f"{organism.name}@{name}")
    registry.alias(organism, name)
    written = f"{organism.name}@{name}"
    if had is not None and had.id == organism.id:
        say(f"known already: {written} is {organism.ref}")
    else:
        say(f"{written} is {organism.ref} now{'' if had is None else f' (was {had.ref})'}")


@click.command()
@click.argument("ref")
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--remove", metavar="KEY", multiple=True, help="Take a tag away. May be repeated.")
@registry_options
def tag(ref: str, pairs: Sequence[str], remove: Sequence[str]) -> None:
    """Tag an organism with keys and values."""
    wanted: dict[str, str | None] = {**dict(map(key_value, pairs)), **dict.fromkeys(remove)}
    if not wanted:
        raise click.UsageError("which tag? Give key=value, or --remove key.")
    registry = open_registry()
    had = registry.record(ref)
    organism = registry.tag(had.organism, wanted)
    told = []
    for key, value in wanted.items():
        was = had.tags.get(key)
        if was == value:
            told.append(f"{key} was so already" if value else f"{key} was not there")
        elif value is None:
            told.append(f"{key} taken away (was {was})")
        else:
            told.append(f"{key}={value}" + ("" if was is None else f" (was {was})"))
    say(f"tagged {organism}: {', '.join(told)}")


@click.command()
@click.argument("ref")
@click.option("--reason", default="", help="Why; kept in the history.")
@registry_options
def protect(ref: str, reason: str) -> None:
    """Keep an organism from being selected against."""
    _protect(ref, True, reason)


@click.command()
@click.argument("ref")
@click.option("--reason", default="", help="Why; kept in the history.")
@registry_options
def unprotect(ref: str, reason: str) -> None:
    """Take the protection of an organism back."""
    _protect(ref, False, reason)


def _protect(ref: str, on: bool, reason: str) -> None:
    registry = open_registry()
    before = registry.get(ref)
    organism = (registry.protect if on else registry.unprotect)(before, reason)
    if before.protected == on:
        say(f"{organism} is protected already" if on else f"{organism} was not protected")
    else:
        say(f"{organism} is {'protected now' if on else 'not protected any more'}")
