"""The ALife standard for phylogenies: a CSV with an id and a list of ancestors for each organism,
which programs of artificial life and digital evolution exchange."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from lineage.database import Connection
from lineage.errors import InvalidValue
from lineage.formats.entries import entries, version_of
from lineage.organism import RELATIONS

COLUMNS = (
    "id", "ancestor_list", "origin_time", "taxon_label", "relation_list", "name", "version",
    "digest", "status", "fitness",
)  # fmt: skip
"""Of the standard: id, ancestor_list, origin_time (seconds since 1970), taxon_label. The others are
ours. `fitness` is JSON: {"task/metric": value}."""

# A spreadsheet would take these for a formula: an apostrophe before them makes them text.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def export(connection: Connection) -> Iterator[str]:
    """The registry as ALife CSV, a line at a time; parents before their children.

    Source: Lalejini et al. 2019, "Data Standards for Artificial Life Software",
    https://alife-data-standards.github.io/alife-data-standards/phylogeny.html"""
    yield _line(COLUMNS)
    for entry in entries(connection):
        one = entry.organism
        ancestors = ",".join(str(link.parent.id) for link in entry.parents) or "none"
        relations = ",".join(link.relation for link in entry.parents) or "none"
        scores = {str(score.niche): score.value for score in entry.scores}
        created = one.created.timestamp() if one.created else ""
        yield _line(
            (one.id, f"[{ancestors}]", created, str(one), f"[{relations}]", one.name, one.version,
             one.digest, entry.status, json.dumps(scores, ensure_ascii=False) if scores else "")
        )  # fmt: skip


def _line(cells: Iterable[Any]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="\n").writerow(
        f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell for cell in cells
    )
    return held.getvalue()


def reader(columns: Sequence[str], name: str) -> Callable[[Sequence[str]], dict[str, Any]]:
    """What reads the rows of an ALife CSV as objects of JSON Lines. One that has no `name` or
    `digest` is called `STEM/ID`, after the file; its label and its origin are tags. Holds the ids
    in memory. Raises InvalidValue where a column of the standard is missing."""
    missing = {"id", "ancestor_list"} - set(columns)
    if missing:
        raise InvalidValue(
            f"{name} has no column {' and '.join(sorted(missing))}: it is no phylogeny of the "
            "ALife standard."
        )
    stem = PurePath(name).stem or "phylogeny"
    called: dict[str, dict[str, Any]] = {}

    def read(cells: Sequence[str]) -> dict[str, Any]:
        known = {key: _plain(cell) for key, cell in zip(columns, cells, strict=True)}
        if not known["id"]:
            raise InvalidValue("it has no id.")
        called[known["id"]] = _called(stem, known)
        return _object(stem, known, called)

    return read


def _plain(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell[1:]) else cell


def _called(stem: str, known: Mapping[str, str]) -> dict[str, Any]:
    if digest := known.get("digest"):
        return {"ref": digest}
    name = known.get("name")
    if name and (version := version_of(known)):
        return {"ref": f"{name}@v{version}", "name": name, "version": version}
    return {"ref": name or f"{stem}/{known['id']}"}


def _object(
    stem: str, known: Mapping[str, str], called: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if known.get("name") or not known.get("digest"):
        found["name"] = known.get("name") or f"{stem}/{known['id']}"
    if known.get("name") and (version := version_of(known)):
        found["version"] = version
    if known.get("digest"):
        found["digest"] = known["digest"]
    if known.get("status") == "ghost":
        found["ghost"] = True
    elif known.get("status"):
        found["status"] = known["status"]
    if not known.get("name"):
        tags = {key: known[key] for key in ("taxon_label", "origin_time") if known.get(key)}
        if tags:
            found["tags"] = tags
    elif created := known.get("origin_time"):
        try:
            found["created"] = float(created)
        except ValueError:
            found["tags"] = {"origin_time": created}
    if known.get("fitness"):
        found["fitness"] = _fitness(known["fitness"])
    relations = _list(known.get("relation_list", ""))
    parents = []
    for at, above in enumerate(_list(known.get("ancestor_list", ""))):
        parent = dict(called.get(above) or {"ref": f"{stem}/{above}"})
        if at < len(relations) and relations[at] in RELATIONS:
            parent["relation"] = relations[at]
        parents.append(parent)
    if parents:
        found["parents"] = parents
    return found


def _list(cell: str) -> list[str]:
    """`[1, 2]`; `[none]` and `[]` are founders."""
    inner = cell.strip().removeprefix("[").removesuffix("]")
    parts = [part.strip().strip("\"'") for part in inner.split(",")]
    return [part for part in parts if part and part.lower() != "none"]


def _fitness(cell: str) -> Any:
    """Scores; what is no object of JSON stays text, which the import sets aside with a reason."""
    try:
        known = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    if not isinstance(known, dict):
        return cell
    found = []
    for niche, value in known.items():
        stem, bracket, split = niche.removesuffix(")").rpartition(" (")
        task, _, metric = (stem if bracket else niche).rpartition("/")
        one = {"task": task, "metric": metric, "value": value}
        found.append(one | ({"split": split} if bracket else {}))
    return found
