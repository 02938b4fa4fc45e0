"""The small interactive graph: a family of up to a thousand as one HTML page that needs nothing but
itself. pyvis holds nodes and edges, our layout places them, and our own template draws the page."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup
from pyvis.network import Network

from lineage.organism import Niche, Score
from lineage.shown import joules, shown
from lineage.trees import words
from lineage.trees.family import Branch, Family, Member
from lineage.trees.layout import Layout, Row, arrange

SHAPES = {
    "quantized": "square",
    "prune": "square",
    "convert": "square",
    "merge": "diamond",
    "adapter": "triangle",
}
"""The shape that says how an organism was made; all others were trained, and are dots."""


def render(family: Family, *, title: str) -> str:
    """One self-contained page, as text to be written in UTF-8. Nothing in it asks another host,
    and a Content-Security-Policy forbids it to; every name in it is text."""
    layout = arrange(family)
    parts = files("lineage.viz")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    library = _without_map(parts.joinpath("vendor/vis-network.min.js").read_text("utf-8"))
    script = parts.joinpath("network.js").read_text("utf-8")
    style = parts.joinpath("network.css").read_text("utf-8")
    counts = words.census(family, layout)
    return environment.from_string(parts.joinpath("network.html").read_text("utf-8")).render(
        title=shown(title),
        counts=counts,
        notice=_notice(family),
        policy=_policy(library, script),
        style=Markup(style),
        library=Markup(library),
        script=Markup(script),
        family=_embedded(_page(family, layout, shown(title), counts)),
    )


def _without_map(script: str) -> str:
    """Without its last line, the address of a source map that developer tools would ask for."""
    return script.rpartition("//# sourceMappingURL=")[0] or script


def _policy(*scripts: str) -> str:
    """Only these scripts run. Styles may be inline, for vis-network sets its own."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _embedded(data: Any) -> Markup:
    """JSON that no HTML parser and no older JavaScript reads as anything else."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _notice(family: Family) -> str:
    """What is not drawn, in words; '' where all is."""
    if not family.hidden:
        return ""
    drawn = words.counted(len(family.members), "organism")
    bundles = words.counted(len(family.folded), "bundle")
    said = f"{drawn} of {len(family.members) + family.hidden:,} drawn"
    return said + (f"; the others are folded into {bundles}" if family.folded else "")


def _page(family: Family, layout: Layout, title: str, counts: list[str]) -> dict[str, Any]:
    """All that the page knows. Organisms are told apart by the number of their row."""
    niches = family.niches()
    number = {row.id: i for i, row in enumerate(layout.rows) if not row.more}
    network = _network(family, layout, number)
    units = words.joules_per(member.serving for member in family.members.values())
    shown_niche = family.shown_niche()
    return {
        "title": title,
        "counts": counts,
        "generations": layout.generations,
        "axis": _axis(family, layout),
        "niches": [_niche(family, niche) for niche in niches],
        "niche": niches.index(shown_niche) if shown_niche in niches else -1,
        "units": [
            {"unit": unit.unit, "words": unit.words, "digits": unit.figures.digits}
            for unit in units.values()
        ],
        "rows": [_row(family, layout, row, niches, units) for row in layout.rows],
        "nodes": network.nodes,
        "edges": network.edges,
    }


def _axis(family: Family, layout: Layout) -> str:
    """What x is: the generation where the founders are drawn, else a distance in the picture."""
    own = all(
        family.members[row.id].organism.generation == row.generation
        for row in layout.rows
        if not row.more
    )
    return "Generation" if own else "Generations drawn"


def _network(family: Family, layout: Layout, number: dict[int, int]) -> Network:
    """The graph as pyvis holds it, placed: x in generations, y in rows. The page stretches both to
    its window and writes all text itself, so that vis-network is given none to interpret."""
    network = Network(directed=True)
    for i, row in enumerate(layout.rows):
        main = layout.main.get(row.id)
        shape = "dot" if row.more or main is None else SHAPES.get(main.relation, "dot")
        network.add_node(i, label=" ", shape=shape, x=row.generation, y=i, physics=False)
        if row.more:
            network.add_edge(number[row.id], i, main=True, share="", width=1)
    shares = _shares(family)
    for link in family.branches:
        network.add_edge(
            number[link.parent],
            number[link.child],
            main=layout.main[link.child] is link,
            relation=link.relation,
            share=shares[link.child, link.parent],
            width=abs(link.weight) if link.weight is not None else 1,
        )
    return network


def _shares(family: Family) -> dict[tuple[int, int], str]:
    links: dict[int, list[Branch]] = {}
    for link in family.branches:
        links.setdefault(link.child, []).append(link)
    return {
        (link.child, link.parent): share
        for all_links in links.values()
        for link, share in zip(all_links, words.shares(all_links), strict=True)
    }


def _niche(family: Family, niche: Niche) -> dict[str, Any]:
    scores = [s for m in family.members.values() if (s := m.score_in(niche)) is not None]
    ways = {score.direction for score in scores}
    digits = words.figures([score.value for score in scores]).digits
    direction = ways.pop() if len(ways) == 1 else None
    return {"name": shown(str(niche)), "task": shown(niche.task), "metric": shown(niche.metric),
            "direction": direction, "digits": digits}  # fmt: skip


def _row(
    family: Family, layout: Layout, row: Row, niches: list[Niche], units: dict[str, words.Joules]
) -> dict[str, Any]:
    if row.more:
        return {"more": row.more, "generation": row.generation}
    member = family.members[row.id]
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
        "origin": words.origin(organism, layout.main.get(row.id)),
        "generation": row.generation,
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
