"""A table of the whole Hub into the registry: Parquet, a row a model, with the columns that the API
has. Read in batches of rows, so that memory does not grow with the table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from lineage.errors import InvalidValue
from lineage.formats.tables import parquet_batches, parquet_file
from lineage.hub import pull
from lineage.hub.pull import Progress, Pulled
from lineage.registering import uncollected
from lineage.store import Store

COLUMNS = (
    "id", "modelId", "sha", "tags", "cardData", "createdAt", "lastModified", "downloads",
    "safetensors", "gguf", "gated", "library_name", "evalResults", "siblings", "config",
)  # fmt: skip
"""The columns that are read, where they are there. `id` must be."""
NESTED = ("cardData", "safetensors", "gguf", "evalResults", "siblings", "config")
"""What may be JSON in a column of text."""


def dump(
    store: Store, file: str | os.PathLike[str], progress: Progress | None = None
) -> Pulled:
    """Bring a dump of the Hub in: `id`, `tags`, `cardData`, `sha`, `createdAt`, `lastModified`,
    `downloads`, `safetensors`, ... as the API calls them; objects as structs or as JSON text. The
    same dump again changes nothing; a batch that is in stays in.

    Raises LineageError where pyarrow is not there, InvalidValue for what is no such table."""
    opened = parquet_file(os.fspath(file), os.fspath(file))
    names = set(opened.schema_arrow.names)
    if not names & {"id", "modelId"}:
        raise InvalidValue(
            f"{os.fspath(file)!r} has no column `id`: it is no dump of the Hub. It has: "
            f"{', '.join(sorted(names)[:12])}."
        )
    report = Pulled()
    columns = [one for one in COLUMNS if one in names]
    how = {"columns": columns, "use_threads": False}
    batches = parquet_batches(opened, os.fspath(file), pull.BATCH, **how)
    for batch in batches:
        with uncollected():
            reads = list(pull.read_all(_rows(batch), report))
            pull.write(store, report, reads)
        if progress is not None:
            progress(report.seen)
    pull.note(store, report, {"dump": os.path.abspath(file)})
    return report


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = [column.to_pylist() for column in batch.columns]
    nested = [at for at, name in enumerate(names) if name in NESTED]
    for at in nested:
        columns[at] = [_object(value) for value in columns[at]]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def _object(value: Any) -> Any:
    """What a column of JSON text says; None where it says nothing that is JSON."""
    if not isinstance(value, str):
        return value
    if value in ("", "{}", "null"):
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None
