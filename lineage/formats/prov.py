"""W3C PROV-JSON: each organism an entity, each parent link a derivation, each training that is
known an activity that generated one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lineage.database import Connection
from lineage.formats.entries import Entry, compact, entries, listed, training_joules
from lineage.organism import Link

PREFIX = {"lineage": "urn:lineage:", "xsd": "http://www.w3.org/2001/XMLSchema#"}


def export(connection: Connection) -> Iterator[str]:
    """The registry as one PROV-JSON document: entities, then derivations, each with its relation as
    `prov:type`. Two passes. What PROV has no words for (scores, digests) stands under `lineage:`.

    Source: https://www.w3.org/submissions/2013/SUBM-prov-json-20130424/"""
    yield f'{{"prefix":{compact(PREFIX)},\n"entity":{{\n'
    yield from listed(
        f"{compact(_key(entry.organism.id))}:{compact(_entity(entry))}"
        for entry in entries(connection)
    )
    yield '\n},\n"wasDerivedFrom":{\n'
    yield from listed(_derivations(entries(connection)))
    yield "\n}}\n"


def _key(own: int) -> str:
    return f"lineage:o{own}"


def _entity(entry: Entry) -> dict[str, Any]:
    one = entry.organism
    known: dict[str, Any] = {
        "prov:type": {"$": "lineage:Organism", "type": "xsd:QName"},
        "prov:label": str(one),
        "lineage:status": entry.status,
        "lineage:digest": f"sha256:{one.digest}" if one.digest else None,
        "lineage:licence": one.licence,
        "lineage:parameters": one.parameters,
        "lineage:trainingJoules": training_joules(entry),
        "lineage:created": None if one.created is None else
        {"$": one.created.isoformat(), "type": "xsd:dateTime"},
        "prov:location": list(entry.places) or None,
        "lineage:fitness": [f"{score.niche} = {score.value!r}" for score in entry.scores] or None,
    }  # fmt: skip
    return {key: value for key, value in known.items() if value is not None}


def _derivations(found: Iterable[Entry]) -> Iterator[str]:
    count = 0
    for entry in found:
        for link in entry.parents:
            count += 1
            yield f"{compact(f'_:d{count}')}:{compact(_derivation(entry, link))}"


def _derivation(entry: Entry, link: Link) -> dict[str, Any]:
    known: dict[str, Any] = {
        "prov:generatedEntity": _key(entry.organism.id),
        "prov:usedEntity": _key(link.parent.id),
        "prov:type": {"$": f"lineage:{link.relation}", "type": "xsd:QName"},
        "lineage:weight": link.weight,
        "lineage:evidence": list(dict.fromkeys(how.evidence for how in link.evidence)) or None,
    }
    return {key: value for key, value in known.items() if value is not None}
