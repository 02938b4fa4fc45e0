"""Graphs for other programs: GraphML out and in, GEXF out. A node an organism, an edge a parent
link, from parent to child."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, BinaryIO

from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.formats.entries import Entry, compact, entries, training_joules, version_of
from lineage.organism import RELATIONS
from lineage.trees.markup import xml

NODE = {
    "name": "string", "version": "int", "digest": "string", "status": "string",
    "kind": "string", "parameters": "long", "bytes": "long", "architecture": "string",
    "precision": "string", "licence": "string", "training_joules": "double", "fitness": "string",
    "tags": "string",
}  # fmt: skip
"""The attributes of a node and their types. `fitness` and `tags` are JSON."""
EDGE = {"relation": "string", "weight": "double", "evidence": "string"}
_GEXF = {"int": "integer", "long": "long", "double": "double", "string": "string"}
_GRAPHML = "http://graphml.graphdrawing.org/xmlns"


def _node(entry: Entry) -> dict[str, Any]:
    one = entry.organism
    scores = [
        {"task": s.niche.task, "metric": s.niche.metric, "split": s.niche.split or None,  # type: ignore[union-attr]
         "value": s.value, "direction": s.direction}
        for s in entry.scores
    ]  # fmt: skip
    known = {
        "name": one.name, "version": one.version, "digest": one.digest, "status": entry.status,
        "kind": one.kind, "parameters": one.parameters, "bytes": one.bytes,
        "architecture": one.architecture, "precision": one.precision, "licence": one.licence,
        "training_joules": training_joules(entry),
        "fitness": compact([{k: v for k, v in s.items() if v is not None} for s in scores])
        if scores else None,
        "tags": compact(entry.tags) if entry.tags else None,
    }  # fmt: skip
    return {key: value for key, value in known.items() if value is not None}


def _edges(entry: Entry) -> Iterator[tuple[int, dict[str, Any]]]:
    for link in entry.parents:
        evidence = ", ".join(dict.fromkeys(how.evidence for how in link.evidence))
        known = {"relation": link.relation, "weight": link.weight, "evidence": evidence or None}
        yield link.parent.id, {key: value for key, value in known.items() if value is not None}


def graphml(connection: Connection) -> Iterator[str]:
    """The registry in GraphML. Each edge stands after its child, whose parents came before it.

    Source: http://graphml.graphdrawing.org/specification.html"""
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="{_GRAPHML}">\n'
    for of, attributes in (("node", NODE), ("edge", EDGE)):
        for name, kind in attributes.items():
            yield (
                f'<key id="{of[0]}_{name}" for="{of}" attr.name="{name}" attr.type="{kind}"/>\n'
            )
    yield '<graph id="lineage" edgedefault="directed">\n'
    for entry in entries(connection):
        own = entry.organism.id
        yield f'<node id="o{own}">{_data("n", _node(entry))}</node>\n'
        for parent, known in _edges(entry):
            yield f'<edge source="o{parent}" target="o{own}">{_data("e", known)}</edge>\n'
    yield "</graph>\n</graphml>\n"


def _data(of: str, known: dict[str, Any]) -> str:
    return "".join(
        f'<data key="{of}_{name}">{xml(str(value))}</data>' for name, value in known.items()
    )


def gexf(connection: Connection) -> Iterator[str]:
    """The registry in GEXF 1.2, which Gephi reads. All nodes, then all edges: two passes.

    Source: https://gexf.net/1.2/"""
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<gexf xmlns="http://www.gexf.net/1.2draft" version="1.2">\n'
        '<graph mode="static" defaultedgetype="directed">\n'
    )
    for of, attributes in (("node", NODE), ("edge", EDGE)):
        yield f'<attributes class="{of}">'
        for name, kind in attributes.items():
            yield f'<attribute id="{of[0]}_{name}" title="{name}" type="{_GEXF[kind]}"/>'
        yield "</attributes>\n"
    yield "<nodes>\n"
    for entry in entries(connection):
        own = entry.organism
        label = xml(str(own))
        yield f'<node id="o{own.id}" label="{label}">{_values("n", _node(entry))}</node>\n'
    yield "</nodes>\n<edges>\n"
    count = 0
    for entry in entries(connection):
        for parent, known in _edges(entry):
            yield (
                f'<edge id="{count}" source="o{parent}" target="o{entry.organism.id}">'
                f"{_values('e', known)}</edge>\n"
            )
            count += 1
    yield "</edges>\n</graph>\n</gexf>\n"


def _values(of: str, known: dict[str, Any]) -> str:
    values = "".join(
        f'<attvalue for="{of}_{name}" value="{xml(str(value))}"/>' for name, value in known.items()
    )
    return f"<attvalues>{values}</attvalues>"


# ---- in


def read_graphml(file: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """The nodes of a GraphML file as objects of JSON Lines, each with its parents: edges run from
    parent to child. A node without a `name` is called `STEM/ID`, after the file. Holds the nodes
    and links in memory. Raises InvalidValue for what is no GraphML, and for a document type:
    entities could make a small file a huge one."""
    stem = PurePath(name).stem or "graph"
    graph = _Graph(name)
    parser = ElementTree.XMLParser(target=graph)
    try:
        while chunk := file.read(1 << 16):
            parser.feed(chunk)
        parser.close()
    except ElementTree.ParseError as error:
        raise InvalidValue(f"{name} is no GraphML: {error}.") from None
    refs = {own: _called(stem, own, known) for own, known in graph.nodes.items()}
    for own, known in graph.nodes.items():
        yield _object(refs[own], known) | {
            "parents": [_parent(refs.get(above, {"ref": f"{stem}/{above}"}), how)
                        for above, how in graph.parents.get(own, ())]
        }  # fmt: skip


class _Graph:
    """What the elements of a GraphML file say, told by the parser as it meets them: the data of
    each node, and of each link to a parent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, dict[str, str]] = {}
        self.parents: dict[str, list[tuple[str, dict[str, str]]]] = {}
        self.keys: dict[str, str] = {}
        self.within: list[dict[str, str]] = []  # the data of the elements that are open
        self.key = ""  # whose text is read

    def doctype(self, *_: Any) -> None:
        raise InvalidValue(f"{self.name} has a document type, which is not read. Take it out.")

    def start(self, element: str, told: Mapping[str, str]) -> None:
        tag = element.rpartition("}")[2]
        if not self.within and tag != "graphml":
            raise InvalidValue(f"{self.name} is no GraphML: it begins with <{tag}>.")
        data: dict[str, str] = {}
        if told.get("edgedefault") == "undirected" or told.get("directed") == "false":
            raise InvalidValue(
                f"{self.name} has edges without a direction: who descends from whom?"
            )
        if tag == "key":
            self.keys[told.get("id", "")] = told.get("attr.name", "")
        elif tag == "node":
            self.nodes.setdefault(told.get("id", ""), data)
        elif tag == "edge":
            self.parents.setdefault(told.get("target", ""), []).append(
                (told.get("source", ""), data)
            )
        elif tag == "data":
            self.key = self.keys.get(told.get("key", ""), "")
        self.within.append(data)

    def data(self, text: str) -> None:
        if self.key:
            known = self.within[-2]  # of the element that the data is in
            known[self.key] = known.get(self.key, "") + text

    def end(self, element: str) -> None:
        self.within.pop()
        self.key = ""


def _called(stem: str, own: str, known: dict[str, str]) -> dict[str, Any]:
    """How a node is referred to."""
    if digest := known.get("digest"):
        return {"ref": digest}
    name = known.get("name") or f"{stem}/{own}"
    if version := version_of(known):
        return {"ref": f"{name}@v{version}", "name": name, "version": version}
    return {"ref": name}


def _object(called: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    name = known.get("name") or (called["ref"] if "digest" not in known else None)
    if name:
        found["name"] = name
    if "name" in known and (version := version_of(known)):
        found["version"] = version
    for key in ("digest", "kind", "architecture", "precision", "licence"):
        if key in known and not (key == "kind" and known[key] == "genomic"):
            found[key] = known[key]
    if known.get("status") == "ghost":
        found["ghost"] = True
    elif "status" in known:
        found["status"] = known["status"]
    for key in ("parameters", "bytes"):
        if (number := _number(known.get(key))) is not None:
            found[key] = number
    if (joules := _number(known.get("training_joules"))) is not None:
        found["power"] = [{"phase": "training", "per": "total", "joules": joules,
                           "source": "declared", "meter": "GraphML"}]  # fmt: skip
    tags: dict[str, Any] = {}
    for key, kind in (("fitness", list), ("tags", dict)):
        if key in known:
            try:
                told = json.loads(known[key])
            except (ValueError, RecursionError):
                told = None
            if not isinstance(told, kind):
                tags[key] = known[key]
            elif key == "fitness":
                found[key] = told
            else:
                tags |= told
    if tags:
        found["tags"] = tags
    return found


def _number(written: str | None) -> Any:
    """A number as JSON has it; None for nan, which says that it is unknown. What is no number stays
    text, which the import sets aside with a reason."""
    if written is None:
        return None
    try:
        number = float(written)
    except ValueError:
        return written
    if math.isnan(number):
        return None
    if not number.is_integer():
        return number if math.isfinite(number) else written
    return int(written if written.isdecimal() else number)


def _parent(called: dict[str, Any], how: dict[str, str]) -> dict[str, Any]:
    found = dict(called)
    if (relation := how.get("relation")) in RELATIONS:
        found["relation"] = relation
    if (weight := _number(how.get("weight"))) is not None:
        found["weight"] = weight
    return found
