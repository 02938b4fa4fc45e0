"""Other people's tables: CSV, TSV and Parquet, read row by row and brought in as organisms through
a map that says which column means what (see `maps`). Rows of one name are one organism."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import PurePath
from typing import Any, BinaryIO

from lineage.errors import InvalidValue, LineageError
from lineage.formats.importing import BATCH, Import, Line, Rejected, Report
from lineage.formats.line import registration_of
from lineage.formats.maps import Cells, Map
from lineage.registering import Registered
from lineage.store import Store

ENDINGS = (".csv", ".tsv", ".parquet")
SEPARATORS = ",;\t|"

Row = tuple[int, list[str] | str]
"""The number of the line that a row begins in, and its cells, or why it cannot be read. Of Parquet,
which has no lines, the number of the row."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the names of its columns, and its rows as they come."""

    columns: list[str]
    rows: Iterable[Row]


def is_table(name: str) -> bool:
    """Whether the ending of a file name is that of a table."""
    return PurePath(name).suffix.lower() in ENDINGS


def open_table(file: BinaryIO, name: str, mapping: Map | None = None) -> Table:
    """The table in a file, by the ending of its name; without one that is known, CSV. The separator
    is the map's, else a tabulator in .tsv, else the one of `,;|` and tabulator that parts the
    header into most. Raises InvalidValue where there is no header, LineageError where pyarrow is
    needed and not there."""
    ending = PurePath(name).suffix.lower()
    if ending == ".parquet":
        return _parquet(file, name)
    text = io.TextIOWrapper(
        file,
        encoding=mapping.encoding if mapping else "utf-8-sig",
        errors="surrogateescape",
        newline="",
    )
    return _separated(text, name, (mapping and mapping.separator) or ("\t" * (ending == ".tsv")))


def import_table(
    store: Store,
    rows: Iterable[Row],
    read: Callable[[Cells], dict[str, Any]],
    rejects: Callable[[Rejected], object] | None = None,
    batch: int = BATCH,
) -> Report:
    """Bring the rows of a table in, `batch` of them in one transaction; `read` is the reader of a
    map. The same rows again change nothing. A row that cannot be read is set aside with the line it
    begins in; so is a link that would close a cycle. An organism of several rows counts once.

    Raises RegistryUnavailable; the batches before that are in, and the import can be run again."""
    lines: Iterable[Any] = rows  # what an import of JSON Lines has lines for
    return _TableImport(store, rejects, read).run(lines, batch)


# ---- reading


def _separated(text: io.TextIOWrapper, name: str, separator: str) -> Table:
    lines = iter(text)
    try:
        first = next((line for line in lines if line.strip()), "")
    except UnicodeError as error:
        raise _not_decoded(name, text.encoding, error) from None
    separator = separator or max(SEPARATORS, key=lambda one: len(_cells(first, one)))

    def all_lines() -> Iterator[str]:
        yield first
        yield from lines

    reader = csv.reader(all_lines(), delimiter=separator, strict=True)
    try:
        columns = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise InvalidValue(f"the header of {name} is no CSV: {error}.") from None
    if not any(columns):
        raise InvalidValue(f"{name} is empty: a table begins with the names of its columns.")
    if any(map(broken, columns)):
        raise _not_decoded(name, text.encoding)
    return Table(columns, _csv_rows(reader, len(columns), name, text.encoding))


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:
        return []


def broken(cell: str) -> bool:
    """Whether a cell holds bytes that are none of its encoding."""
    return any("\udc80" <= character <= "\udcff" for character in cell)


def _not_decoded(name: str, encoding: str, error: object = None) -> InvalidValue:
    told = "UTF-8" if encoding.startswith("utf-8") else encoding
    return InvalidValue(
        f"{name} is not in {told}{f' ({error})' if error else ''}. Say in the map what it is: "
        '[table] encoding = "cp1252" (or "utf-16", which Excel calls Unicode text).'
    )


def _csv_rows(reader: Any, width: int, name: str, encoding: str) -> Iterator[Row]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            upto = f" Up to line {reader.line_num:,} nothing was read." * (reader.line_num > line)
            yield line, f"it is no CSV: {error}. Is a quote not closed?{upto}"
            continue
        except UnicodeError as error:
            raise _not_decoded(name, encoding, error) from None
        if len(cells) == width:
            yield line, cells
        elif any(map(str.strip, cells)):
            count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            yield line, (
                f"it has {count}, and the header {width}. A separator, a comma in a number or a "
                "line break belongs in quotes."
            )


def parquet_file(file: BinaryIO | str, name: str) -> Any:
    """A Parquet file as pyarrow opens it. Raises LineageError where pyarrow cannot be used, or the
    file is not there; InvalidValue for a file of another kind."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise LineageError(
            f"Parquet needs pyarrow ({error}): pip install 'checkpoint-lineage[tables]'."
        ) from None
    try:
        return parquet.ParquetFile(file)
    except FileNotFoundError:
        raise LineageError(f"there is no file {name!r}.") from None
    except Exception as error:  # ArrowInvalid, OSError, whatever the file makes pyarrow raise
        raise InvalidValue(f"{name} is not Parquet: {' '.join(str(error).split())}") from None


def parquet_batches(opened: Any, name: str, size: int, **how: Any) -> Iterator[Any]:
    """The batches of rows of a Parquet file. Raises InvalidValue where one cannot be read."""
    batches = opened.iter_batches(batch_size=size, **how)
    count = 0
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:  # ArrowInvalid, OSError, whatever the file makes pyarrow raise
            said = " ".join(str(error).split()).rstrip(".")
            raise InvalidValue(
                f"{name} is damaged after row {count:,}: {said}. What came before is in; get the "
                "file anew and run it again."
            ) from None
        if batch is None:
            return
        yield batch
        count += batch.num_rows


def _parquet(file: BinaryIO, name: str) -> Table:
    opened = parquet_file(file, name)

    def rows() -> Iterator[Row]:
        number = 0
        for batch in parquet_batches(opened, name, BATCH):
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield number, [_as_cell(value) for value in values]

    return Table([str(one) for one in opened.schema_arrow.names], rows())


def _as_cell(value: Any) -> str:
    """What a CSV would say of a typed value."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


# ---- import


SEEN, COUNTED = 1, 2


class _TableImport(Import):
    """The import of JSON Lines, of rows: several may tell of one organism."""

    def __init__(
        self,
        store: Store,
        rejects: Callable[[Rejected], object] | None,
        read: Callable[[Cells], dict[str, Any]],
    ) -> None:
        super().__init__(store, rejects)
        self.read = read
        self.seen = bytearray()  # by id: an organism may come again, any number of rows later

    def _chunks(self, rows: Iterable[Any], batch: int) -> Iterator[list[Line]]:
        rows = iter(rows)
        groups: dict[Any, list[Line]] = {}
        for count, (number, cells) in enumerate(rows, 1):
            line = self._row(number, cells)
            if line is not None:
                # a digest tells organisms of one name apart; without one the name is all there is
                key = line.new.name, line.new.digest, line.new.name is None and line.new.places
                groups.setdefault(key, []).append(line)
            if count % batch == 0 and groups:
                yield [_united(group) for group in groups.values()]
                groups = {}
        if groups:
            yield [_united(group) for group in groups.values()]

    def _row(self, number: int, cells: list[str] | str) -> Line | None:
        if isinstance(cells, str):
            self._set_aside(Rejected(number, cells, {}))
            return None
        try:
            written = self.read(cells)
            new, later = registration_of(written)
        except LineageError as error:
            reason = str(error)
            if any(map(broken, cells)):
                reason = "it holds bytes that are not of its encoding: UTF-8, or what a map says."
            self._set_aside(Rejected(number, reason, {"text": _as_csv(cells)}))
            return None
        return Line(number, written, new, later)

    def _count(self, line: Line, done: Registered) -> None:
        """Count an organism once, however many batches tell of it."""
        report = self.report
        before = report.created, report.updated, report.unchanged
        super()._count(line, done)
        if done.id >= len(self.seen):
            self.seen.extend(bytes(done.id + BATCH - len(self.seen)))
        known = self.seen[done.id]
        self.seen[done.id] = COUNTED if done.changed else known or SEEN
        if known:
            report.created, report.updated, report.unchanged = before
            if known == SEEN and done.changed:
                report.updated += 1
                report.unchanged -= 1


def _as_csv(cells: Sequence[str]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="").writerow(
        one.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for one in cells
    )
    return held.getvalue()


UNITED = ("parents", "fitness", "power", "places")


def _united(group: list[Line]) -> Line:
    """Several rows of one organism as one. Of what is one of a kind the first row that tells it
    counts, as everywhere: nothing is overwritten."""
    first, *rest = group
    if not rest:
        return first
    whole = dict(first.object)
    for line in rest:
        for key, value in line.object.items():
            if key in UNITED:
                held = whole.get(key, [])
                whole[key] = held + [one for one in value if one not in held]
            elif key == "tags":
                whole[key] = value | whole.get(key, {})
            else:
                whole.setdefault(key, value)
    new, later = registration_of(whole)
    return Line(first.number, whole, new, later)
