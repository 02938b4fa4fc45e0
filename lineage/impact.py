"""What it would mean if an organism went: who could not run any more, who descends from it, what
holds on to it, and what would be freed. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from lineage import clades, ledger
from lineage.answers import Answer
from lineage.clades import Clade
from lineage.database import Connection
from lineage.organism import Organism
from lineage.references import is_local
from lineage.whereabouts import Recorded, Whereabouts, folder_of, look, recorded

# `needed` is carried along, so that the step holds no condition on a link alone: see pedigree.
DEPENDENTS = """
WITH RECURSIVE below(id, needed) AS (
  SELECT e.child, e.needed FROM edge e WHERE e.parent = ? AND e.needed = 1
  UNION
  SELECT e.child, e.needed FROM below CROSS JOIN edge e
  WHERE e.parent = below.id AND e.needed = below.needed
)
SELECT o.id FROM below JOIN organism o ON o.id = below.id
WHERE o.status <> 'culled' AND o.ghost = 0 ORDER BY o.generation, o.id"""


@dataclass(frozen=True, slots=True)
class Impact(Answer):
    """What it would mean if an organism went.

    `broken` counts those not culled that need it to run, through any chain; `dependents` holds the
    first of them. `children` counts its children by the relation they came by. `clade` has the
    numbers of the organism with all its descendants. `aliases` are references, `name@alias`.
    `places` says of each place whether the files are there; `files` and `bytes` are what is there
    on this machine and would be freed, each file once. `joules` were spent on its own training,
    None where that is unknown."""

    _rows: ClassVar[str] = "dependents"

    organism: Organism
    broken: int
    dependents: tuple[Organism, ...]
    children: Mapping[str, int]
    clade: Clade
    aliases: tuple[str, ...]
    places: Whereabouts
    files: int
    bytes: int
    joules: float | None

    @property
    def descendants(self) -> int:
        """Registered ones, itself not."""
        return self.clade.count - (not self.organism.ghost)


def impact(connection: Connection, own: int, limit: int | None = 20) -> Impact:
    """What it would mean if organism `own` went; at most `limit` dependents are spelled out.
    Linear in the clade, or what the snapshot of lineage.clades makes of it."""
    dependents = [row[0] for row in connection.execute(DEPENDENTS, (own,))]
    children = connection.rows(
        """SELECT e.relation, count(*) FROM edge e WHERE e.parent = ?
           GROUP BY e.relation ORDER BY 2 DESC, 1""",
        (own,),
    )
    aliases = connection.rows(
        "SELECT a.name, a.alias FROM alias a WHERE a.organism = ? ORDER BY a.name, a.alias", (own,)
    )
    known = recorded(connection, own)
    files, size = _held(known)
    return Impact(
        organism=known.organism,
        broken=len(dependents),
        dependents=tuple(ledger.organisms(connection, dependents[:limit])),
        children=dict(children),
        clade=clades.aggregate(connection, own),
        aliases=tuple(f"{name}@{alias}" for name, alias in aliases),
        places=look(known),
        files=files,
        bytes=size,
        joules=spent.joules if (spent := ledger.training(connection, [own]).get(own)) else None,
    )


def _held(known: Recorded) -> tuple[int, int]:
    """How many of the files listed at the places of an organism are on this machine now, and their
    bytes on disk: each once, whatever paths and links lead to it."""
    found: dict[tuple[int, int], int] = {}
    for place, listed in known.places:
        if place.gone_at is not None or not is_local(place.uri):
            continue
        folder = folder_of(place.uri)
        for path, _ in listed:
            try:
                status = os.stat(os.path.join(folder, path))
            except OSError:
                continue
            found[status.st_dev, status.st_ino] = status.st_size
    return len(found), sum(found.values())
