"""The family as JSON for programs: what is known of each organism, the links, and where each lies
in the pictures. The keys are a promise; new ones may be added."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import Any

from lineage.trees.family import Family, Member
from lineage.trees.layout import arrange


def render(family: Family) -> str:
    """The document of `document`, indented, ASCII only, ending in a line end."""
    return json.dumps(document(family), indent=1, default=_plain) + "\n"


def document(family: Family) -> dict[str, Any]:
    """Plain types and datetimes:

    - `root` (an id or null), `niche` (`task/metric` or null), `hidden` (organisms not drawn;
      at least so many where `counted` is false)
    - `members`: everything of `Member` and `Organism`, by the names of their fields; a score has
      `task`, `metric` and `split`
    - `links`: `child`, `parent` (ids), `relation`, `weight`, `shared` (the part of the child's
      tensors, by bytes, that a scan found to be the parent's), `main` (whether the tree follows it)
    - `rows`, from top to bottom: `id`, `parent`, `generation`, `depth`, `size`, `more` (0, or
      that many organisms below `id` are not drawn)"""
    layout = arrange(family)
    niche = family.shown_niche()
    return {
        "root": family.root,
        "niche": None if niche is None else str(niche),
        "hidden": family.hidden,
        "counted": family.counted,
        "members": [_member(member) for member in family.members.values()],
        "links": [
            {**dataclasses.asdict(link), "main": layout.main[link.child] is link}
            for link in family.branches
        ],
        "rows": [dataclasses.asdict(row) for row in layout.rows],
    }


def _member(member: Member) -> dict[str, Any]:
    known = dataclasses.asdict(member)
    scores = [{**score.pop("niche"), **score} for score in known.pop("scores")]
    return {**known.pop("organism"), "scores": scores, **known}


def _plain(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
