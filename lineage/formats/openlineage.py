"""OpenLineage events, one a line: each organism with parents is the output of a completed run, its
parents are the inputs. OpenLineage has no facet for models, so there is one of ours."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from lineage.database import Connection
from lineage.formats.entries import Entry, compact, entries
from lineage.organism import Organism
from lineage.store import POWER_NAMESPACE

PRODUCER = "urn:lineage:checkpoint-lineage"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
NAMESPACE = "lineage"


def export(connection: Connection) -> Iterator[str]:
    """A COMPLETE event for each organism, founders too (a run without inputs). The run has a UUID
    made from what identifies the organism: the same registry gives the same runs. The facet
    `lineage_organism` holds digest, status, scores; relations stand with the output.

    Source: https://openlineage.io/spec/2-0-2/OpenLineage.json"""
    for entry in entries(connection):
        if not entry.organism.ghost:
            yield f"{compact(_event(entry))}\n"


def _event(entry: Entry) -> dict[str, Any]:
    one = entry.organism
    at = one.created or one.registered or datetime(1970, 1, 1, tzinfo=UTC)
    run = uuid.uuid5(POWER_NAMESPACE, f"openlineage:{one.digest or one.ref}")
    return {
        "eventType": "COMPLETE",
        "eventTime": at.isoformat().replace("+00:00", "Z"),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": str(run)},
        "job": {"namespace": NAMESPACE, "name": f"make {one.run or one}"},
        "inputs": [_dataset(link.parent) for link in entry.parents],
        "outputs": [_dataset(one) | {"facets": {"lineage_organism": _facet(entry)}}],
    }


def _dataset(one: Organism) -> dict[str, Any]:
    """An organism as a dataset: its name with its version, else its digest."""
    return {"namespace": NAMESPACE, "name": one.ref}


def _facet(entry: Entry) -> dict[str, Any]:
    one = entry.organism
    known: dict[str, Any] = {
        "_producer": PRODUCER,
        "_schemaURL": "urn:lineage:facet:organism:1",
        "digest": f"sha256:{one.digest}" if one.digest else None,
        "status": entry.status,
        "licence": one.licence,
        "parents": [
            {"name": link.parent.ref, "relation": link.relation}
            | ({} if link.weight is None else {"weight": link.weight})
            for link in entry.parents
        ],
        "fitness": {str(score.niche): score.value for score in entry.scores},
        "places": list(entry.places),
    }
    return {key: value for key, value in known.items() if value not in (None, [], {})}
