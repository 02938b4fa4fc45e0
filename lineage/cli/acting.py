"""Questions with an answer to act on: who is best in a niche and for what it costs, which link
changed a score, what it would mean if an organism went, and where its files are."""

from __future__ import annotations

import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from lineage.cli.common import (
    block,
    emit,
    hashing,
    json_option,
    note,
    open_registry,
    plain,
    registry_options,
    styled,
    table,
    wrapped,
)
from lineage.cli.words import energy_text, number, score_text
from lineage.errors import InvalidValue, LineageError
from lineage.organism import Niche, Organism, Score
from lineage.shown import count, counted, shown, size
from lineage.shown import per as joules_per

if TYPE_CHECKING:
    from lineage.best import Ranking, Standing
    from lineage.impact import Impact
    from lineage.registry import Registry
    from lineage.regression import Bisection

PERS = ("joule", "dollar", "byte", "parameter")
BEST = 10
"""How many `best` lists, unless --limit says otherwise."""

FAILURES = 3
"""How many evaluations in a row may fail before `bisect --run` gives up: it is the command then."""


def say(*sentences: str) -> None:
    """Print sentences as one paragraph, safe and no wider than the terminal."""
    told = shown(" ".join(sentence for sentence in sentences if sentence))
    click.echo("\n".join(wrapped(told, shutil.get_terminal_size().columns)))


# ---- Best


@click.command()
@click.argument("niche", metavar="TASK/METRIC")
@click.option("--split", default="", help="Like test.")
@click.option("--per", type=click.Choice(PERS), help="Weigh fitness against this cost.")
@click.option("--clade", metavar="REF", help="Only this organism and its descendants.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=BEST, help=f"At most so many, 0 for all [{BEST}]"
)
@json_option
@registry_options
def best(
    niche: str, split: str, per: str | None, clade: str | None, limit: int, as_json: bool
) -> None:
    """Say who is best in a niche, or best for what it costs.

    With --per, the front: from the cheapest to the fittest, who is beaten by nobody that is at
    least as fit and costs at most as much. joule: energy of serving, given or estimated; dollar:
    the price of serving, each currency by itself; byte: of the weights; parameter. An adapter costs
    what its base costs, too.

    Into a pipe, a line each, tab-separated: reference, score, standard error, `tied` with the
    fittest, cost, unit, how the cost is known.
    """
    found = open_registry().best(
        Niche.parse(niche, split), per=per, clade=clade, limit=limit or None
    )
    if as_json:
        emit(found)
    elif not sys.stdout.isatty():
        table((), _best_rows(found))
    else:
        _show_best(found)


def _best_rows(found: Ranking) -> Iterator[tuple[Any, ...]]:
    for one in found.standings:
        tied = "tied" if one.tied else ""
        score = one.score
        yield one.organism.ref, score.value, score.stderr, tied, one.cost, one.unit, one.source


def _show_best(found: Ranking) -> None:
    if not found.standings:
        say(f"Nobody alive {'with a known cost ' * bool(found.per)}was scored in {found.niche}.")
    for _, group in groupby(found.standings, key=lambda one: one.unit):
        standings = list(group)
        say(*(_front_told(found, standings) if found.per else _fittest_told(found, standings)))
        click.echo()
        columns = ["organism", f">{found.niche}"]
        rows: list[list[str]] = [[str(x.organism), score_text(x.score)] for x in standings]
        if found.per:
            columns.append(">cost")
            for row, one in zip(rows, standings, strict=True):
                row.append(cost_text(one))
        columns.append("")
        top = _fittest(found, standings)
        for row, one in zip(rows, standings, strict=True):
            row.append("" if one is top or not one.tied else "as good, as far as is known")
        table(columns, rows)
        click.echo()
    say(*_best_remarks(found))


def _fittest(found: Ranking, standings: Sequence[Standing]) -> Standing:
    return standings[-1] if found.per else standings[0]


def _fittest_told(found: Ranking, standings: Sequence[Standing]) -> Iterator[str]:
    top, tied = standings[0], sum(one.tied for one in standings) - 1
    yield f"{top.organism} is best in {found.niche}: {score_text(top.score)}."
    if tied:
        more = "at least " if tied + 1 == len(standings) < found.scored else ""
        yield f"{more}{tied} more cannot be told from it.".capitalize()


def _front_told(found: Ranking, standings: Sequence[Standing]) -> Iterator[str]:
    top = standings[-1]
    score = f"{score_text(top.score)} for {cost_text(top)}"
    if len(standings) == 1:
        yield f"{top.organism} is the fittest in {found.niche} and the cheapest: {score}."
        return
    yield f"{top.organism} is the fittest in {found.niche}: {score}."
    like = next(one for one in standings if one.tied)
    if like is not top and like.cost is not None and top.cost:
        share = f", {number(float(f'{100 * like.cost / top.cost:.2g}'))} % of that"
        yield f"{like.organism} cannot be told from it and costs {cost_text(like)}{share}."
    rated = [one for one in standings if one.ratio is not None]
    if rated:
        most = max(rated, key=lambda one: one.ratio or 0.0)
        yield f"Most fitness per {found.per}: {most.organism}."


def cost_text(one: Standing) -> str:
    """What it costs, `~` where that is estimated: `~6.4 J/Mtok`, `0.6 USD/Mtok`, `14.5 GB`."""
    assert one.cost is not None
    assert one.unit is not None
    about = "~" if one.source == "estimated" else ""
    if one.unit == "byte":
        return size(one.cost)
    if one.unit == "parameter":
        return count(one.cost)
    currency, slash, unit = one.unit.rpartition("/")
    if not slash:
        return about + joules_per(one.cost, unit)
    many, short = {"token": (1e6, "Mtok"), "character": (1e6, "Mchar")}.get(unit, (1.0, unit))
    return f"{about}{number(float(f'{one.cost * many:.4g}'))} {currency}/{short}"


def _best_remarks(found: Ranking) -> Iterator[str]:
    yield f"{found.direction.capitalize()} is better."
    if any(one.source == "estimated" for one in found.standings):
        yield "~ estimated."
    yield f"{counted(found.scored, 'organism was', 'organisms were')} scored."
    if found.beaten:
        yield f"{found.beaten:,} beaten by one at least as fit and as cheap."
    if found.uncosted:
        verb = "has" if found.uncosted == 1 else "have"
        yield f"{found.uncosted:,} {verb} no known cost, and may be better."
    if found.better_gone:
        verb = "is" if found.better_gone == 1 else "are"
        if found.standings:
            verb = f"score{'s' * (found.better_gone == 1)} better and {verb}"
        yield f"{found.better_gone:,} {verb} selected against or culled."


# ---- Bisect


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--niche", required=True, metavar="TASK/METRIC", help="The score that changed.")
@click.option("--split", default="", help="Like test.")
@click.option(
    "--run",
    metavar="'CMD {path}'",
    help="Evaluate with this command, whose last number is the score, and record the scores.",
)
@json_option
@registry_options
def bisect(a: str, b: str, niche: str, split: str, run: str | None, as_json: bool) -> None:
    """Find the link where a score changed most, from A down to its descendant B.

    Without --run: the answer, or else the organism to evaluate next so that it comes soonest. With
    --run: evaluates by itself until the answer is there. The command (no shell) gets the place of
    an organism for {path}; the last number that it prints is the score, or its last line is `VALUE
    STDERR` or ends in `VALUE ± STDERR`. Whom it fails for is passed over. Interrupted, the same
    command goes on later.

    Into a pipe, tab-separated: `found`, the organisms before and after, change, standard error,
    probability; or `evaluate` and the organism; or `nothing`.
    """
    registry = open_registry()
    asked = Niche.parse(niche, split)
    if run is None:
        found = registry.bisect(a, b, asked)
    else:
        found = registry.bisect(a, b, asked, evaluate=_Evaluator(registry, run))
    if as_json:
        emit(_bisection_object(found))
    elif not sys.stdout.isatty():
        table((), [_bisection_row(found)])
    else:
        say(*_bisected(registry, found))


def _bisection_row(found: Bisection) -> tuple[Any, ...]:
    if found.evaluate is not None:
        return "evaluate", found.chain[found.evaluate].ref
    if found.before is None or found.after is None:
        return ("nothing",)
    ends = found.chain[found.before].ref, found.chain[found.after].ref
    return "found", *ends, found.change, found.stderr, found.probability


def _bisection_object(found: Bisection) -> dict[str, Any]:
    """The fields of Bisection, with references for indices; `chain` has for each organism its `ref`
    and its `score` or null."""
    known: dict[str, Any] = plain(found)
    for key in ("before", "after", "steepest", "evaluate"):
        index = known[key]
        known[key] = None if index is None else found.chain[index].ref
    scores = known.pop("scores")
    known["chain"] = [
        {"ref": one.ref, "score": score} for one, score in zip(found.chain, scores, strict=True)
    ]
    return known


def _bisected(registry: Registry, found: Bisection) -> Iterator[str]:
    a, b = found.chain[0], found.chain[-1]
    known = [score for score in found.scores if score is not None]
    if found.evaluate is not None:
        one = found.chain[found.evaluate]
        yield f"Evaluate {one} next: `lineage score {one.ref} {_niche_text(found)} VALUE`."
        yield f"About {counted(found.left, 'evaluation')} to go;"
        yield f"{len(known)} of {len(found.chain)} on the way are scored."
    elif found.before is None or found.after is None:
        if len(known) > 1:
            yield f"All that are scored from {a} to {b} score alike in {found.niche}."
        else:
            yield f"Nobody more can be evaluated from {a} to {b}, and {len(known)} is scored."
        return
    else:
        yield from _changed(registry, found, found.before, found.after)
    if found.scores[0] and found.scores[-1]:
        yield _in_all(found.scores[0], found.scores[-1], found)
    if not found.one_step:
        yield "One step does not explain all scores within their errors: they change elsewhere too."


def _niche_text(found: Bisection) -> str:
    split = f" --split {found.niche.split}" if found.niche.split else ""
    return f"{found.niche.task}/{found.niche.metric}{split}"


def _changed(registry: Registry, found: Bisection, before: int, after: int) -> Iterator[str]:
    old, new = found.chain[before], found.chain[after]
    scores = found.scores[before], found.scores[after]
    assert scores[0] is not None
    assert scores[1] is not None
    assert found.change is not None
    links = [link for link in registry.parents(new) if link.parent.id == old.id]
    how = f" ({links[0].relation})" if links else ""
    sure = "" if found.probability is None else f", {100 * found.probability:.0f} % sure"
    sure = sure.replace("100 %", "more than 99 %")
    moved = "rose" if found.change > 0 else "fell" if found.change < 0 else "did not change"
    yield (
        f"{found.niche} {moved} from {old} to {new}{how}: {score_text(scores[0])} to "
        f"{score_text(scores[1])}{sure}."
    )
    if after - before > 1:
        yield f"It is one of {after - before} links, which cannot be told apart."
    elif found.probability is not None and found.probability < 0.5:
        yield "It may well be another link: the scores err too much to tell."
    if found.steepest is not None and found.steepest != after:
        steep = found.chain[found.steepest - 1], found.chain[found.steepest]
        yield f"The largest single change is from {steep[0]} to {steep[1]}."
    yield f"`lineage diff {old.ref} {new.ref}` tells what is different."


def _in_all(first: Score, last: Score, found: Bisection) -> str:
    """What changed from end to end, and whether there is anything to look for."""
    change = last.value - first.value
    errors = math.hypot(first.stderr or 0.0, last.stderr or 0.0)
    told = f"From end to end it {'rose' if change > 0 else 'fell'} by {number(abs(change))}"
    if not change:
        told = "From end to end it is the same"
    if errors and abs(change) < 2 * errors:
        return f"{told}, {abs(change) / errors:.1f} standard errors: there may be nothing to find."
    if found.change is not None and abs(found.change) < abs(change) / 2:
        return f"{told}, more than twice as much: it changed bit by bit."
    return f"{told}."


NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?)"
LAST = re.compile(rf"(?<![\w.])(?:{NUMBER})(?!\w|\.\d)", re.IGNORECASE)
PAIR = re.compile(
    rf"(?:\s*({NUMBER})\s+|.*?(?<![\w.])({NUMBER})\s*(?:±|\+/-)\s*)({NUMBER})\s*", re.IGNORECASE
)


def score_in(output: str) -> tuple[float, float | None] | None:
    """The score in what a command printed: the last number; or `VALUE STDERR`, where the last line
    is just that or ends in `VALUE ± STDERR`. None where there is none, or it is not finite."""
    lines = output.strip().splitlines()
    pair = PAIR.fullmatch(lines[-1]) if lines else None
    if pair:
        value, stderr = float(pair[1] or pair[2]), float(pair[3])
        good = math.isfinite(value) and math.isfinite(stderr) and stderr >= 0
        return (value, stderr) if good else None
    numbers = LAST.findall(output)
    value = float(numbers[-1]) if numbers else math.nan
    return (value, None) if math.isfinite(value) else None


class _Evaluator:
    """Evaluates organisms with a command, and tells how it goes on stderr."""

    def __init__(self, registry: Registry, command: str) -> None:
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise InvalidValue(f"--run {command!r} cannot be read: {error}.") from None
        if not any("{path}" in word for word in self.words):
            raise InvalidValue(
                f"--run {command!r} does not say where the organism goes. Write {{path}} for it, "
                "like --run 'python evaluate.py {path}'."
            )
        self.registry = registry
        self.number = 0
        self.failures = 0

    def __call__(self, organism: Organism, left: int) -> tuple[float, float | None] | None:
        places = self.registry.whereabouts(organism)
        if places.path is None:
            note(f"{organism} is passed over: {places.wrong}")
            return None
        self.number += 1
        told = f"{self.number}. {organism}, about {left} to go"
        click.echo(shown(told), err=True)
        try:
            result = self._run(places.path)
        except KeyboardInterrupt:
            done = counted(self.number - 1, "score is", "scores are")
            note(f"stopped: {done} recorded. The same command goes on from there.")
            raise
        if isinstance(result, str):
            self._failed(organism, result)
            return None
        self.failures = 0
        value, stderr = result
        error = "" if stderr is None else f" ± {stderr:g}"
        click.echo(shown(f"{' ' * len(str(self.number))}  {value:g}{error}"), err=True)
        return result

    def _run(self, path: str) -> tuple[float, float | None] | str:
        """The score, or why there is none."""
        words = [word.replace("{path}", path) for word in self.words]
        try:
            # its stderr goes where ours goes, so that its progress is seen
            ended = subprocess.run(
                words, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
            )
        except OSError as error:
            raise InvalidValue(
                f"{words[0]!r} cannot be run: {error.strerror}. Check the spelling in --run."
            ) from None
        if ended.returncode:
            return f"the command ended with {ended.returncode}"
        score = score_in(ended.stdout)
        return score or "the last number that the command printed is no score, or there is none"

    def _failed(self, organism: Organism, why: str) -> None:
        note(f"{organism} is passed over: {why}.")
        self.failures += 1
        if self.failures == FAILURES:
            raise LineageError(
                f"the command failed {FAILURES} times in a row, so it is not the organisms. "
                "Scores before that are recorded: mend the command and give it again."
            )


# ---- Impact


@click.command()
@click.argument("ref")
@click.option(
    "--limit", type=click.IntRange(min=0), default=20, help="Name so many dependents, 0 for all."
)
@json_option
@registry_options
def impact(ref: str, limit: int, as_json: bool) -> None:
    """Say what it would mean if an organism went. Nothing is changed.

    What breaks: whatever needs it to run, through any chain. What is affected: its descendants,
    which stay as they are, aliases, a protection. What would be freed: its files on this machine.

    Into a pipe, tab-separated: what, how much.
    """
    found = open_registry().impact(ref, limit=limit or None)
    if as_json:
        emit(_impact_object(found))
    elif not sys.stdout.isatty():
        table((), _impact_figures(found))
    else:
        click.echo(styled("\n".join(wrapped(shown(verdict(found)), _room())), bold=True))
        block(list(_impact_rows(found)))


def _room() -> int:
    return shutil.get_terminal_size().columns


def _impact_object(found: Impact) -> dict[str, Any]:
    """The fields of Impact, without the best of the clade; `places` is a list."""
    known: dict[str, Any] = plain(found)
    known["places"] = known["places"]["seen"]
    known["descendants"] = found.descendants
    known["verdict"] = verdict(found)
    known["clade"] = {
        key: known["clade"][key] for key in ("count", "ghosts", "living", "joules", "metered")
    }
    return known


def _impact_figures(found: Impact) -> Iterator[tuple[str, Any]]:
    yield "broken", found.broken
    yield "descendants", found.descendants
    yield "living in clade", found.clade.living
    for relation, many in found.children.items():
        yield f"children by {relation}", many
    yield "aliases", len(found.aliases)
    yield "protected", int(found.organism.protected)
    yield "files", found.files
    yield "bytes", found.bytes
    yield "training joules", found.joules
    yield "training joules of clade", found.clade.joules


def verdict(found: Impact) -> str:
    """What it would mean, in a sentence or two."""
    one = found.organism
    if found.broken:
        many = f"{found.broken:,} organisms" if found.broken > 1 else str(found.dependents[0])
        said = f"{many} cannot run without {one}."
    else:
        said = f"Nothing breaks when {one} goes: nobody needs it to run."
    holds = ["it is protected"] if one.protected else []
    if found.aliases:
        holds.append(f"it is {', '.join(found.aliases)}")
    if holds:
        said += f" But {' and '.join(holds)}." if not found.broken else (
            f" Also {' and '.join(holds)}."
        )  # fmt: skip
    return said


def _impact_rows(found: Impact) -> Iterator[tuple[str, ...]]:
    if found.broken:
        named = ", ".join(map(str, found.dependents))
        more = found.broken - len(found.dependents)
        yield "breaks", shown(named + (f" and {more:,} more" if more else ""))
    if found.children:
        parts = [f"{many:,} {relation}" for relation, many in found.children.items()]
        yield "children", f"{sum(found.children.values()):,}: {', '.join(parts)}"
    living = found.clade.living - (found.organism.status == "alive" and not found.organism.ghost)
    ghosts = found.clade.ghosts - found.organism.ghost
    if found.descendants or ghosts:
        also = f", and {counted(ghosts, 'ghost')}" if ghosts else ""
        yield "descendants", f"{found.descendants:,}, {living:,} of them living{also}: they stay"
    freed = f"{counted(found.files, 'file')}, {size(found.bytes)}" if found.files else "nothing"
    yield "frees", f"{freed} on this machine"
    for one in found.places.seen:
        if one.place.gone_at is None:
            yield "place", shown(one.place.uri + (f": {one.wrong}" if one.wrong else ""))
    below = "" if found.clade.joules is None or not found.descendants else (
        f"; {energy_text(found.clade.joules)} with its descendants"
    )  # fmt: skip
    spent = "not known" if found.joules is None else energy_text(found.joules)
    yield "training", f"{spent}{below}"


# ---- Where


@click.command()
@click.argument("ref")
@click.option("--hash", is_flag=True, help="Read the weights again, and compare the digest.")
@json_option
@registry_options
def where(ref: str, hash: bool, as_json: bool) -> None:
    """Print a path that exists now and holds the files of an organism, as they were registered.

    Each listed file must be there with its recorded size. Where there is no such path: exit 1, and
    on stderr what is wrong with each place. For scripts: vllm serve "$(lineage where sft@best)".
    """
    registry = open_registry()
    found = _hashed(registry, ref) if hash else registry.whereabouts(ref)
    if as_json:
        places = [plain(one.place) | {"wrong": one.wrong} for one in found.seen]
        emit({"organism": found.organism, "path": found.path, "places": places})
        click.get_current_context().exit(0 if found.path is not None else 1)
    path = found.found
    if not any(one.listed for one in found.seen if one.place.uri == path) and not hash:
        note(f"no files are recorded of {path}: it exists, and may hold anything.")
    click.echo(shown(path) if sys.stdout.isatty() else path)


def _hashed(registry: Registry, ref: str) -> Any:
    """With how far it is, on a terminal."""
    from lineage import genome

    known = registry.whereabouts(ref)
    if known.path is None:
        return registry.whereabouts(known.organism, hash=True)
    with hashing(genome.total_bytes(known.path)) as tell:
        return registry.whereabouts(known.organism, hash=True, progress=tell)
