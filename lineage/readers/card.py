"""The model card, README.md: what its author declares of parents, scores, carbon and licence
(huggingface.co/docs/hub/model-cards)."""

from __future__ import annotations

from typing import Any

from lineage.errors import InvalidValue
from lineage.hub.rows import RELATIONS, SUPERSEDED, is_repo, licence_of, of_index
from lineage.organism import PowerCost
from lineage.readers.plain_yaml import plain_yaml
from lineage.readers.said import Said

NAME = "README.md"
MOST_BYTES = 1_000_000
"""Longest front matter that is read."""
MOST_SCORES = 1_000


def card(content: bytes | bytearray, folder: str) -> Said:
    """What a card declares. A README without front matter says nothing. Raises ValueError."""
    said = Said()
    front = front_matter(content)
    if front is None:
        return said
    known = plain_yaml(front)
    if not isinstance(known, dict):
        raise ValueError("its front matter is no mapping")
    said.kinds.append("card")
    relation = known.get("base_model_relation")
    for ref in _several(known.get("base_model")):
        said.claim(
            ref, NAME, relation=relation if relation in RELATIONS else None, evidence="declared"
        )
    said.fact("licence", licence_of(known))
    if is_repo(later := known.get("new_version")):
        said.tag(SUPERSEDED, later)
    aside: list[str] = []
    if index := known.get("model-index"):
        said.scores = of_index(index, aside)[:MOST_SCORES]
    said.notes += (f"{NAME}: {reason}" for reason in aside)
    _carbon(known.get("co2_eq_emissions"), said)
    return said


def front_matter(content: bytes | bytearray) -> str | None:
    """The YAML between two lines `---` at the beginning, None where there is none."""
    if not content.removeprefix(b"\xef\xbb\xbf").startswith(b"---"):
        return None
    lines = content.decode("utf-8-sig", "replace").splitlines(keepends=True)
    if lines[0].strip() != "---":
        return None
    length = 0
    for end, line in enumerate(lines[1:], 1):
        if line.rstrip() == "---":
            return "".join(lines[1:end])
        length += len(line)
        if length > MOST_BYTES:
            raise ValueError(f"its front matter is longer than {MOST_BYTES:,} bytes")
    return None


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _carbon(written: Any, said: Said) -> None:
    """`co2_eq_emissions`: grams of CO2 equivalent of training, a number or a mapping."""
    known = _mapping(written) or {"emissions": written}
    if known.get("emissions") is None:
        return
    source = known.get("source")
    by = f"model card, by {source[:100]}" if isinstance(source, str) else "model card"
    try:
        said.power.append(
            PowerCost(gco2e=known["emissions"], phase="training", source="declared", meter=by)
        )
    except InvalidValue as error:
        said.notes.append(f"{NAME}: co2_eq_emissions was left out: {error}")


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
