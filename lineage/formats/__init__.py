"""Formats that organisms come in and go out by. What they share: a file is written whole, or not
at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from lineage.database import Connection


EXPORTS = {
    "jsonl": ("jsonl:export", "everything; `lineage import` reads it"),
    "graphml": ("graphs:graphml", "networkx, yEd; `lineage import` reads it"),
    "gexf": ("graphs:gexf", "Gephi"),
    "alife": ("alife:export", "the ALife standard of phylogenies, CSV; `lineage import` reads it"),
    "prov": ("prov:export", "W3C PROV-JSON"),
    "openlineage": ("openlineage:export", "OpenLineage events, one a line"),
    "cyclonedx": ("cyclonedx:export", "CycloneDX 1.6 ML-BOM with pedigree, JSON"),
}
"""What a registry is written as: format -> (module of lineage.formats and the function in it, that
yields text; what reads it)."""


def export(connection: Connection, kind: str) -> Iterator[str]:
    """A registry in one of EXPORTS, in pieces of text, inside the transaction of `connection`."""
    module, _, function = EXPORTS[kind][0].partition(":")
    pieces: Iterator[str] = getattr(import_module(f"lineage.formats.{module}"), function)(
        connection
    )
    return (f"{line}\n" for line in pieces) if kind == "jsonl" else pieces


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which is there under its name only once all of it is written: until then
    it is a hidden file beside it, and what was there before stays. Links are followed; a device or
    a pipe is written to as it is."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        with open(target, "wb") as file:
            yield file
        return
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name[:100]}.{os.getpid()}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException as error:
        if os.path.exists(part):
            os.unlink(part)
        if isinstance(error, OSError) and error.filename == part:  # nobody asked for that name
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
