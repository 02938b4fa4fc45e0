"""lineage: the family tree of model checkpoints.

`lineage.open()` gives a Registry; nothing heavy is imported before it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lineage.errors import LineageError as LineageError
    from lineage.frames import to_networkx as to_networkx
    from lineage.frames import to_pandas as to_pandas
    from lineage.integrations.plain import track as track
    from lineage.organism import Niche as Niche
    from lineage.organism import Organism as Organism
    from lineage.organism import Parent as Parent
    from lineage.organism import PowerCost as PowerCost
    from lineage.organism import Score as Score
    from lineage.registry import Registry as Registry
    from lineage.registry import open as open

__version__ = "0.1.0"

_HOME = {
    "open": "lineage.registry",
    "Registry": "lineage.registry",
    "Organism": "lineage.organism",
    "Parent": "lineage.organism",
    "Score": "lineage.organism",
    "PowerCost": "lineage.organism",
    "Niche": "lineage.organism",
    "LineageError": "lineage.errors",
    "to_networkx": "lineage.frames",
    "to_pandas": "lineage.frames",
    "track": "lineage.integrations.plain",
}
__all__ = [
    "LineageError",
    "Niche",
    "Organism",
    "Parent",
    "PowerCost",
    "Registry",
    "Score",
    "open",
    "to_networkx",
    "to_pandas",
    "track",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        found = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
        return found
    raise AttributeError(f"module 'lineage' has no attribute {name!r}")
