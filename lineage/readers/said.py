"""What a file says of the checkpoint it belongs to, before anybody has checked whom it means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lineage.errors import InvalidValue
from lineage.organism import PowerCost, Score, text

MOST_BYTES = 50_000_000
"""Longest file beside the weights that is looked into."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A parent as a file names it: `ref` as it is written there, `source` the name of the file."""

    ref: str
    source: str
    relation: str | None = None
    evidence: str = "configured"
    weight: float | None = None
    revision: str | None = None


@dataclass(slots=True)
class Said:
    """All that one checkpoint's files say. `history` is the digest of its log, `earlier` those of
    the beginnings of that log, the longest last; `notes` are sentences on what was not read."""

    claims: list[Claim] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    power: list[PowerCost] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    history: str | None = None
    earlier: list[str] = field(default_factory=list)

    def add(self, other: Said) -> None:
        """Take in what another file says; what is known already stays."""
        self.claims += other.claims
        self.scores += other.scores
        self.power += other.power
        self.notes += other.notes
        self.kinds += other.kinds
        self.facts = {**other.facts, **self.facts}
        self.tags = {**other.tags, **self.tags}
        if other.history is not None:
            self.history, self.earlier = other.history, other.earlier

    def fact(self, key: str, value: Any) -> None:
        """Keep a fact that is text; anything else is passed over."""
        if isinstance(value, str) and len(value) <= 200:
            try:
                self.facts.setdefault(key, text(value, key))
            except InvalidValue:
                return

    def tag(self, key: str, value: Any) -> None:
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            try:
                self.tags.setdefault(key, text(str(value)[:1000], key))
            except InvalidValue:
                return

    def claim(self, ref: Any, source: str, **how: Any) -> None:
        """A parent, where `ref` is text that can name one."""
        if not isinstance(ref, str) or not ref.strip() or len(ref) > 4096:
            return
        try:
            self.claims.append(Claim(text(ref, "a reference").strip(), source, **how))
        except InvalidValue:
            self.notes.append(f"{source} names a parent that cannot be kept: {ref[:80]!r}.")


def json_object(content: bytes | bytearray) -> Mapping[str, Any]:
    """A JSON object. Raises ValueError that says what is wrong."""
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found
