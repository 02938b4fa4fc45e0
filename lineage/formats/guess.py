"""A first map of a table, from its header and its first rows: what is obvious is mapped, what could
be meant in two ways is written as a comment, for a person to decide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import PurePath

from lineage.errors import InvalidValue
from lineage.formats.maps import (
    BYTES,
    JOULES,
    OPERATIONS,
    SECONDS,
    UNKNOWN_DIRECTION,
    WATTS,
    number,
)
from lineage.formats.tables import Table, broken
from lineage.organism import EVIDENCE, PERS, RELATIONS, known_direction
from lineage.references import HEX
from lineage.shown import UNSAFE

SAMPLE = 1000
LISTED = 50
"""Metrics that are listed with their direction, at most."""

CALLED: dict[str, tuple[str, ...]] = {
    "name": ("name", "model_name", "model", "model_id", "modelid", "checkpoint", "full_name", "id"),
    "digest": ("digest", "sha256", "sha", "hash", "checksum", "digest_prefix", "sha256_prefix"),
    "parent": ("parent", "parent_name", "parents", "base_model", "base", "parent_model",
               "finetuned_from"),
    "relation": ("relation", "relation_type", "parent_relation", "base_model_relation"),
    "evidence": ("evidence", "parent_evidence"),
    "task": ("task", "dataset", "benchmark", "eval", "task_name", "dataset_name"),
    "metric": ("metric", "metric_name"),
    "split": ("split",),
    "value": ("value", "score", "metric_value", "result"),
    "stderr": ("stderr", "standard_error", "std_err"),
    "n": ("n", "samples", "num_samples", "n_samples"),
    "architecture": ("architecture", "arch", "model_type"),
    "precision": ("precision", "dtype", "torch_dtype"),
    "licence": ("licence", "license"),
    "created": ("created", "created_at", "date", "release_date", "upload_date"),
    "run": ("run", "run_id", "run_name"),
    "step": ("step", "global_step", "steps"),
}  # fmt: skip
"""What columns are called, in the order in which they are taken for it."""

Pattern = tuple[re.Pattern[str], dict[str, str]]
PARAMETERS: Pattern = (
    re.compile(
        r"(?:num_|n_|number_of_)?param(?:eter)?s?(?:_count)?(?:_(k|m|b|bn|millions|billions))?"
    ),
    {"": "1", "k": "K", "m": "M", "b": "B", "bn": "B", "millions": "M", "billions": "B"},
)
SIZE: Pattern = (
    re.compile(r"(?:file_?|model_|disk_)?(?:size|bytes)(?:_(?:in_)?(b|bytes|[kmgt]i?b))?"),
    {"": "B", "bytes": "B"} | {unit.lower(): unit for unit in BYTES},
)
WORK: Pattern = (re.compile(r"(?:num_)?[mgt]?(?:flops?|ops|macs?|madds?)"), {})
AMOUNTS: dict[str, Pattern] = {
    "joules": (
        re.compile(r"(?:energy|consumed)_?(m?j|kj|gj|[km]?wh|joules?)|(joules?|[km]?wh)"),
        {"joule": "J", "joules": "J"} | {unit.lower(): unit for unit in JOULES if unit != "mJ"},
    ),
    "watts": (
        re.compile(r"(?:avg_|mean_|average_)?(?:power_?(w|kw|watts?)|(watts?))"),
        {"watt": "W", "watts": "W"} | {unit.lower(): unit for unit in WATTS if unit != "mW"},
    ),
    "seconds": (
        re.compile(r"(?:train\w*_)?(?:runtime|duration|time)_?(s|seconds|min|h|hours)|(seconds)"),
        {"seconds": "s", "hours": "h"} | {unit: unit for unit in SECONDS},
    ),
    "cost": (re.compile(r"(?:cost|price)_?(usd|eur|gbp|chf|jpy)|(usd|eur)"), {}),
    "gco2e": (
        re.compile(r"(?:co2e?|emissions?|carbon)(?:_eq)?_?(g|kg|t)|(gco2e?|kgco2e?)"),
        {"g": "g", "kg": "kg", "t": "t", "gco2": "g", "gco2e": "g", "kgco2": "kg", "kgco2e": "kg"},
    ),
}  # fmt: skip


def guess(table: Table, name: str) -> str:
    """A map of a table, as TOML that `maps.parse_map` reads and that fits its header. `name` is its
    file's, and the task of scores whose column names none. Reads a thousand rows. Raises
    InvalidValue where no column can tell organisms apart."""
    sample = (cells for _, cells in islice(table.rows, SAMPLE) if not isinstance(cells, str))
    rows = [cells for cells in sample if not any(map(broken, cells))]
    return "\n".join(_Guess(table.columns, rows, PurePath(name).stem or "table").lines()) + "\n"


class _Guess:
    """What the columns of a table may mean; `left` are those that nothing was found for yet."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], stem: str) -> None:
        self.rows, self.stem = rows, stem
        self.at = {column: index for index, column in enumerate(columns)}
        self.twice = [column for column in self.at if columns.count(column) > 1]
        self.left = [c for c in self.at if c and c not in self.twice]
        self.found: dict[str, str] = {}
        for key, names in CALLED.items():
            by_name = {_plain(column): column for column in reversed(self.left)}
            column = next((by_name[one] for one in names if one in by_name), None)
            if column is not None and self._fits(key, column):
                self.found[key] = column
                self.left.remove(column)
        if not {"task", "metric", "value"} <= self.found.keys():
            for key in ("task", "metric", "split", "value", "stderr", "n"):
                if key in self.found:
                    self.left.append(self.found.pop(key))
            self.left.sort(key=self.at.__getitem__)

    def _fits(self, key: str, column: str) -> bool:
        cells = self.cells(column)
        if key == "digest":
            return bool(cells) and all(map(re.compile("(?i)[0-9a-f]{6,64}").fullmatch, cells))
        words = {"relation": RELATIONS, "evidence": EVIDENCE}.get(key)
        if words:
            return set(cells) <= set(words)
        if key in ("value", "stderr", "n", "step"):
            return self.numeric(column)
        return key != "created" or all(re.match(r"\d{4}-\d\d-\d\d", cell) for cell in cells)

    def cells(self, column: str) -> list[str]:
        """What the sample has in a column, unknown cells left out."""
        index = self.at[column]
        return [cell for row in self.rows if (cell := row[index].strip())]

    def numeric(self, column: str) -> bool:
        cells = self.cells(column)
        return bool(cells) and all(map(_is_number, cells))

    def take(self, pattern: Pattern) -> tuple[str, str] | None:
        """The first column left whose name fits a pattern and that holds numbers, with its unit."""
        how, known = pattern
        for column in self.left:
            match = how.fullmatch(_plain(column))
            if match and self.numeric(column):
                self.left.remove(column)
                word = next(filter(None, match.groups()), "")
                return column, known.get(word, word)
        return None

    # the text

    def lines(self) -> Iterator[str]:
        yield "# A first map, guessed from the header and the first rows. Read it before use."
        yield "# A key names a column; { value = ... } says the same for every row."
        yield ""
        yield from self._organism()
        if "parent" in self.found:
            yield from ("", "[[parent]]", f"ref = {_quoted(self.found['parent'])}")
            for key in ("relation", "evidence"):
                if key in self.found:
                    yield f"{key} = {_quoted(self.found[key])}"
        costs = list(self._costs())
        yield from self._scores()
        yield from costs
        yield from self._rest()

    def _organism(self) -> Iterator[str]:
        name, digest = self.found.get("name"), self.found.get("digest")
        whole = digest and all(_is_digest(cell) for cell in self.cells(digest))
        if name is None and not whole:
            name = self._first_of_text()
        yield "[organism]"
        if name is not None:
            yield f"name = {_quoted(name)}"
        if digest is not None:
            yield f"{'digest' if whole else 'digest_prefix'} = {_quoted(digest)}"
        if found := self.take(PARAMETERS):
            yield f"parameters = {_column(found)}"
        if found := self.take(SIZE):
            hint = "  # or MiB, of 1024 * 1024?" if found[1] == "MB" else ""
            yield f"bytes = {_column(found)}{hint}"
        for key in ("architecture", "precision", "licence", "created", "run", "step"):
            if key in self.found:
                yield f"{key} = {_quoted(self.found[key])}"
        yield from self._tags()

    def _first_of_text(self) -> str:
        text = [column for column in self.left if not self.numeric(column)]
        first = next(iter(text or self.left), None)
        if first is None:
            raise InvalidValue(
                "no column can tell organisms apart: none has a name that is its alone."
            )
        self.left.remove(first)
        return first

    def _tags(self) -> Iterator[str]:
        for column in [c for c in self.left if self.cells(c) and not self.numeric(c)]:
            self.left.remove(column)
            yield f"tags.{_quoted(column)} = {_quoted(column)}"

    def _scores(self) -> Iterator[str]:
        if "value" in self.found:
            yield from ("", "[[score]]")
            for key in ("task", "metric", "split", "value", "stderr", "n"):
                if key in self.found:
                    yield f"{key} = {_quoted(self.found[key])}"
            yield from self._directions()
            return
        errors = {_plain(c): c for c in self.left if self.numeric(c)}
        for column in list(self.left):
            niche = _niche(column, self.stem)
            if niche is None or not self.numeric(column):
                continue
            self.left.remove(column)
            yield from ("", "[[score]]", f"niche = {{ value = {_quoted(niche)} }}")
            yield f"value = {_quoted(column)}"
            for end in ("stderr", "se"):
                error = errors.get(f"{_plain(column)}_{end}")
                if error in self.left:
                    self.left.remove(error)
                    yield f"stderr = {_quoted(error)}"

    def _directions(self) -> Iterator[str]:
        metrics = sorted(set(self.cells(self.found["metric"])))
        known = {metric: known_direction(metric) for metric in metrics}
        if all(known.values()):
            return
        yield "# Say higher or lower for each: selection passes over what is unknown."
        listed = sorted(known.items(), key=lambda pair: pair[1] is not None)[:LISTED]
        values = ", ".join(f'{_quoted(m)} = "{way or UNKNOWN_DIRECTION}"' for m, way in listed)
        column = _quoted(self.found["metric"])
        other = f'else = "{UNKNOWN_DIRECTION}"'
        yield f"direction = {{ column = {column}, values = {{ {values} }}, {other} }}"

    def _costs(self) -> Iterator[str]:
        if found := self.take(WORK):
            column, unit = _work(found[0])
            yield from ("", "[[cost]]")
            yield "# Is a multiplication with its addition counted as one (MAC), or as two (FLOP)?"
            yield f"operations = {{ column = {_quoted(column)}, unit = {_quoted(unit)} }}"
            pers = ", ".join(per for per in PERS if per not in ("total", "request"))
            yield f'per = {{ value = "request" }}  # or {pers}'
            yield '# precision = { value = "F32" }  # as the device runs it; 16 bit where unknown'
        amounts = {key: found for key, how in AMOUNTS.items() if (found := self.take(how))}
        if amounts:
            yield from ("", "[[cost]]")
            yield 'phase = { value = "training" }  # or serving, evaluation, storage'
            yield 'per = { value = "total" }  # or token, request, image, hour, ...'
            for key, (column, unit) in amounts.items():
                unit = unit.upper() if key == "cost" else unit
                yield f"{key} = {_column((column, unit))}"

    def _rest(self) -> Iterator[str]:
        """What is not used, as comments."""
        for column in self.left:
            if self.numeric(column):
                yield from ("", f"# Is {_quoted(column)} a score? Of what, and which is better?")
                yield "# [[score]]"
                yield f'# niche = {{ value = "{_bare(self.stem)}/{_bare(column)}" }}'
                yield f"# value = {_quoted(column)}"
                yield '# direction = { value = "higher" }'
        for column in self.twice:
            yield from ("", f"# {_quoted(column)} is the name of several columns, and not used.")


# ---- words


def _plain(column: str) -> str:
    """`File size (MB)` as `file_size_mb`."""
    return re.sub(r"[^a-z0-9@]+", "_", column.lower()).strip("_")


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except InvalidValue:
        return False
    return True


def _is_digest(cell: str) -> bool:
    match = HEX.match(cell)
    return bool(match and len(match[1]) == 64)


def _work(column: str) -> tuple[str, str]:
    """The unit of a column of operations, by its name."""
    plain = _plain(column).removeprefix("num_")
    scale = plain[0].upper() if plain[0] in "mgt" and not plain.startswith(("mac", "madd")) else ""
    unit = f"{scale}{'MAC' if 'mac' in plain or 'madd' in plain else 'FLOP'}"
    return column, unit if unit in OPERATIONS else "FLOP"


def _niche(column: str, stem: str) -> str | None:
    """The niche that the name of a column tells: `gsm8k_acc` is gsm8k/acc, `loss` is STEM/loss.
    None where it ends in no metric that is known."""
    bare = column.strip()
    if "/" in bare:
        task, _, metric = bare.rpartition("/")
        return bare if task.strip() and known_direction(metric.strip()) else None
    words = [word for word in re.split(r"[\s_.:()\[\]-]+", bare) if word]
    for start in range(len(words)):
        metric = "_".join(words[start:])
        if known_direction(metric):
            return f"{'_'.join(words[:start]) or stem}/{metric}"
    return None


def _column(found: tuple[str, str]) -> str:
    column, unit = found
    if unit == "1":
        return _quoted(column)
    return f"{{ column = {_quoted(column)}, unit = {_quoted(unit)} }}"


def _quoted(text: str) -> str:
    """A text as TOML writes it, with nothing in it that could steer a terminal."""
    return UNSAFE.sub(lambda match: f"\\U{ord(match[0]):08x}", json.dumps(text, ensure_ascii=False))


def _bare(text: str) -> str:
    return _quoted(text)[1:-1]

