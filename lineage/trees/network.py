"""The small interactive graph: up to a thousand lines of a family as one HTML page that needs
nothing but itself. pyvis holds nodes and edges, our layout places them, our template draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from markupsafe import Markup
from pyvis.network import Network

from lineage.organism import Niche, Score
from lineage.shown import joules, shown
from lineage.trees import colours, words
from lineage.trees.family import Family, Member
from lineage.trees.folding import Line, apart, fold, generations, links, made
from lineage.trees.layout import Layout, arrange
from lineage.trees.pages import digest, fill
from lineage.trees.strokes import SHAPES


def render(family: Family, *, title: str, all: bool = False, most: int | None = None) -> str:
    """One self-contained page, as text to be written in UTF-8. Nothing in it asks another host,
    and a Content-Security-Policy forbids it to; every name in it is text. `all` folds nothing;
    `most` is how many lines there may be, beside those that count what is left out."""
    layout = arrange(family)
    lines = fold(family, layout, everything=all, most=most)
    parts = files("lineage.viz")
    library = _without_map(parts.joinpath("vendor/vis-network.min.js").read_text("utf-8"))
    script = parts.joinpath("network.js").read_text("utf-8")
    style = f"{colours.palette()}\n{parts.joinpath('network.css').read_text('utf-8')}"
    counts = words.census(family, layout)
    return fill(
        "network.html",
        title=shown(title),
        counts=counts,
        notice=" · ".join(apart(family, lines)),
        policy=_policy(library, script),
        style=style,
        library=Markup(library),
        script=Markup(script),
        family=_embedded(_page(family, layout, lines, shown(title), counts)),
    )


def _without_map(script: str) -> str:
    """Without its last line, the address of a source map that developer tools would ask for."""
    return script.rpartition("//# sourceMappingURL=")[0] or script


def _policy(*scripts: str) -> str:
    """Only these scripts run. Styles may be inline, for vis-network sets its own."""
    return (
        f"default-src 'none'; script-src {' '.join(map(digest, scripts))}; "
        "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _embedded(data: Any) -> Markup:
    """JSON that no HTML parser and no older JavaScript reads as anything else."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _page(
    family: Family, layout: Layout, lines: Sequence[Line], title: str, counts: list[str]
) -> dict[str, Any]:
    """All that the page knows. A line is told by its number; `rows` has what each speaks for."""
    niches = family.niches()
    born = generations(family, layout, lines)
    network = _network(family, layout, lines, born)
    units = words.joules_per(member.serving for member in family.members.values())
    shown_niche = family.shown_niche()
    return {
        "title": title,
        "counts": counts,
        "generations": 1 + max(born, default=-1),
        "axis": _axis(family, lines, born),
        "niches": [_niche(family, niche) for niche in niches],
        "niche": niches.index(shown_niche) if shown_niche in niches else -1,
        "units": [
            {"unit": unit.unit, "words": unit.words, "digits": unit.figures.digits}
            for unit in units.values()
        ],
        "rows": [
            {**_row(family, layout, line, niches, units), "generation": generation}
            for line, generation in zip(lines, born, strict=True)
        ],
        "nodes": network.nodes,
        "edges": network.edges,
    }


def _axis(family: Family, lines: Sequence[Line], born: Sequence[int]) -> str:
    """What x is: the generation where the founders are drawn, else a distance in the picture."""
    if any(line.folds and line.step for line in lines):
        return "Generation, folded steps as one"
    own = all(
        family.members[id_].organism.generation == generation
        for line, generation in zip(lines, born, strict=True)
        for id_ in (() if line.more else line.ids)
    )
    return "Generation" if own else "Generations drawn"


def _network(
    family: Family, layout: Layout, lines: Sequence[Line], born: Sequence[int]
) -> Network:
    """The graph as pyvis holds it, placed: x in generations, y in rows. The page stretches both to
    its window and writes all text itself, so that vis-network is given none to interpret."""
    network = Network(directed=True)
    for at, line in enumerate(lines):
        main = None if line.more else layout.main.get(line.ids[0])
        shape = "dot" if main is None else SHAPES.get(main.relation, "dot")
        network.add_node(at, label=" ", shape=shape, x=born[at], y=at, physics=False)
        if line.more and line.above is not None:
            network.add_edge(line.above, at, main=True, share="", width=1)
    shares = words.shares_of(family.branches)
    for parent, child, link in links(family, lines):
        line = lines[child]
        hangs = line.above == parent
        told = layout.main[line.ids[0]] if hangs else link
        network.add_edge(
            parent,
            child,
            main=hangs,
            relation=told.relation,
            share="" if line.folds else shares[told.child, told.parent],
            width=abs(told.weight) if told.weight is not None else 1,
        )
    return network


def _niche(family: Family, niche: Niche) -> dict[str, Any]:
    scores = [s for m in family.members.values() if (s := m.score_in(niche)) is not None]
    ways = {score.direction for score in scores}
    digits = words.figures([score.value for score in scores]).digits
    direction = ways.pop() if len(ways) == 1 else None
    return {"name": shown(str(niche)), "task": shown(niche.task), "metric": shown(niche.metric),
            "direction": direction, "digits": digits}  # fmt: skip


def _row(
    family: Family,
    layout: Layout,
    line: Line,
    niches: list[Niche],
    units: dict[str, words.Joules],
) -> dict[str, Any]:
    """What a line says: all that is known of an organism, and of several what they have in common
    beside what is known of each."""
    if line.more:
        return {"more": line.more, "name": words.more(line.more, line.within)}
    told = [_organism(family, layout, own, niches, units) for own in line.ids]
    if not line.folds:
        return told[0]
    members = [family.members[own] for own in line.ids]
    statuses = {one["status"] for one in told}
    scores = [[s.value for m in members if (s := m.score_in(one)) is not None] for one in niches]
    return {
        "name": words.named([one["name"] for one in told]),
        "origin": made(family, layout, line),
        "status": statuses.pop() if len(statuses) == 1 else "alive",
        "held": words.held(line.within),
        "steps": line.step,
        "ranges": {at: words.score_range(found) for at, found in enumerate(scores) if found},
        "cost": words.joules_said(units, members),
        "members": told,
    }


def _organism(
    family: Family, layout: Layout, own: int, niches: list[Niche], units: dict[str, words.Joules]
) -> dict[str, Any]:
    member = family.members[own]
    organism = member.organism
    facts = {
        "version": organism.version if organism.name is not None else None,
        "digest": organism.digest,
        "protected": organism.protected,
        "bearing": member.load_bearing,
        "aliases": [shown(alias) for alias in member.aliases],
        "kind": None if organism.kind == "genomic" else organism.kind,
        "parameters": organism.parameters,
        "bytes": organism.bytes,
        "architecture": organism.architecture,
        "precision": organism.precision,
        "licence": organism.licence,
        "run": organism.run,
        "step": organism.step,
        "created": organism.created and organism.created.date().isoformat(),
        "registered": organism.registered and organism.registered.date().isoformat(),
        "serving": _serving(member, units),
        "training": _training(member),
        "reason": member.reason and shown(member.reason),
        "front": [i for i, niche in enumerate(niches) if str(niche) in member.front],
    }
    known = {
        key: shown(value) if isinstance(value, str) else value
        for key, value in facts.items()
        if value not in (None, False, [])
    }
    scores = [_score(score, niches) for score in member.scores]
    return {
        "name": shown(str(organism)),
        "status": words.status(organism),
        "origin": words.origin(organism, layout.main.get(own)),
        "born": organism.generation,
        "scores": scores,
        **known,
    }


def _score(score: Score, niches: list[Niche]) -> list[Any]:
    assert isinstance(score.niche, Niche)  # Score sees to it
    return [niches.index(score.niche), score.value, score.stderr, score.n]


def _training(member: Member) -> dict[str, str] | None:
    cost = member.training
    if cost is None or cost.joules is None:
        return None
    return {"value": joules(cost.joules), "source": cost.source}


def _serving(member: Member, units: dict[str, words.Joules]) -> dict[str, Any] | None:
    """The cost in the unit of its column, and how it is known."""
    cost = member.serving
    if cost is None or cost.joules is None:
        return None
    return {
        "value": cost.joules * units[cost.per].factor,
        "unit": list(units).index(cost.per),
        "source": cost.source,
        "meter": shown(cost.meter) if cost.meter else None,
    }
