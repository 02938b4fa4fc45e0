"""A CycloneDX bill of materials of models (ML-BOM): each organism a component with its pedigree,
its scores in a model card, and what it needs to run as its dependencies."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from lineage import __version__
from lineage.database import Connection
from lineage.formats.entries import Entry, compact, entries, listed
from lineage.organism import Link, Niche, Organism


def export(connection: Connection) -> Iterator[str]:
    """The registry as one document of CycloneDX 1.6 (JSON): components, then dependencies, in two
    passes. The direct ancestors of each stand in its pedigree, with the relation as a property;
    theirs in their own. Ghosts are ancestors only.

    Source: https://cyclonedx.org/docs/1.6/json/"""
    head = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "tools": {"components": [{"type": "application", "name": "checkpoint-lineage",
                                      "version": __version__}]},
        },
    }  # fmt: skip
    yield f'{compact(head)[:-1]},\n"components":[\n'
    yield from listed(
        compact(_component(entry)) for entry in entries(connection) if not entry.organism.ghost
    )
    yield '\n],\n"dependencies":[\n'
    yield from listed(_dependencies(connection))
    yield "\n]}\n"


def _dependencies(connection: Connection) -> Iterator[str]:
    """What organisms need to run: the base of an adapter, for one."""
    for entry in entries(connection):
        needed = [link.parent for link in entry.parents if link.needed and not link.parent.ghost]
        if needed and not entry.organism.ghost:
            depends = list(map(_bom_ref, needed))
            yield compact({"ref": _bom_ref(entry.organism), "dependsOn": depends})


def _bom_ref(one: Organism) -> str:
    return f"o{one.id}"


def _identity(one: Organism) -> dict[str, Any]:
    known: dict[str, Any] = {
        "type": "machine-learning-model",
        "name": one.name or one.digest or str(one),
        "version": None if one.version is None else f"v{one.version}",
        "hashes": [{"alg": "SHA-256", "content": one.digest}] if one.digest else None,
        "licenses": [{"license": {"name": one.licence}}] if one.licence else None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _component(entry: Entry) -> dict[str, Any]:
    one = entry.organism
    properties = {
        "lineage:status": entry.status, "lineage:parameters": one.parameters,
        "lineage:precision": one.precision, "lineage:run": one.run,
    }  # fmt: skip
    found = {"bom-ref": _bom_ref(one)} | _identity(one)
    if entry.parents:
        found["pedigree"] = {"ancestors": [_ancestor(link) for link in entry.parents]}
    if card := _card(entry):
        found["modelCard"] = card
    found["properties"] = [
        *({"name": key, "value": str(value)} for key, value in properties.items() if value),
        *({"name": "lineage:place", "value": place} for place in entry.places),
    ]
    return found


def _ancestor(link: Link) -> dict[str, Any]:
    properties = [{"name": "lineage:relation", "value": link.relation}]
    if link.weight is not None:
        properties.append({"name": "lineage:weight", "value": repr(link.weight)})
    if link.parent.ghost:
        properties.append({"name": "lineage:status", "value": "ghost"})
    return _identity(link.parent) | {"properties": properties}


def _card(entry: Entry) -> dict[str, Any]:
    card: dict[str, Any] = {}
    if entry.organism.architecture:
        card["modelParameters"] = {"modelArchitecture": entry.organism.architecture}
    metrics = []
    for score in entry.scores:
        niche = score.niche
        assert isinstance(niche, Niche)  # Score sees to it
        metric = {"type": f"{niche.task}/{niche.metric}", "value": repr(score.value)}
        metrics.append(metric | ({"slice": niche.split} if niche.split else {}))
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card
