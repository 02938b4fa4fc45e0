"""Maps: which column of somebody else's table means what. A map is TOML, checked whole against the
header before the first row is read; then it turns each row into an organism of the JSON Lines form.

What a key is taken from: a column, by its name; or `{ column = "size", unit = "MiB" }`; or
`{ column = "kind", values = { ft = "finetune" }, else = "..." }`, which translates cells (`else` is
for all that are not listed, empty ones too; without it they stay as they are); or the same in every
row, `{ value = "finetune" }`."""

from __future__ import annotations

import codecs
import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

from lineage.energy import A100, DEVICES, DeviceProfile, serving_estimate
from lineage.errors import InvalidValue
from lineage.organism import (
    DIRECTIONS,
    EVIDENCE,
    PERS,
    PHASES,
    RELATIONS,
    SOURCES,
    Niche,
    finite,
    known_direction,
)
from lineage.references import HEX

Cells = Sequence[str]
Get = Callable[[Cells], Any]
"""What a row says of something; None where it is unknown."""

BYTES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
         "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
COUNTS = {"1": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
JOULES = {"J": 1, "mJ": 1e-3, "kJ": 1e3, "MJ": 1e6, "GJ": 1e9,
          "Wh": 3600, "kWh": 3.6e6, "MWh": 3.6e9}  # fmt: skip
WATTS = {"W": 1, "mW": 1e-3, "kW": 1e3, "MW": 1e6}
SECONDS = {"s": 1, "ms": 1e-3, "min": 60, "h": 3600, "d": 86400}
GRAMS = {"g": 1, "kg": 1e3, "t": 1e6}
OPERATIONS = {"FLOP": 1, "MFLOP": 1e6, "GFLOP": 1e9, "TFLOP": 1e12,
              "MAC": 2, "MMAC": 2e6, "GMAC": 2e9, "TMAC": 2e12}  # fmt: skip
"""A MAC is one multiplication with its addition: two operations. Many tables call them FLOPs."""
CURRENCY = re.compile("[A-Z]{3}")

UNKNOWN_DIRECTION = "unknown"


@dataclass(frozen=True, slots=True)
class Field:
    """What a key of a map holds: text, one of `words`, a number, or a whole number, with `units`
    (factors to the unit that is recorded) and the `unit` where none is given; None: it must be."""

    kind: str = "text"
    words: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict)
    unit: str | None = "1"


def _number_in(units: Mapping[str, float], unit: str | None, kind: str = "number") -> Field:
    return Field(kind, units=units, unit=unit)


TEXT, NUMBER, WHOLE = Field(), Field("number"), Field("whole")
FIELDS: dict[str, dict[str, Field]] = {
    "organism": {
        "name": TEXT,
        "digest": TEXT,
        "digest_prefix": TEXT,
        "place": TEXT,
        "parameters": _number_in(COUNTS, "1", "whole"),
        "bytes": _number_in(BYTES, "B", "whole"),
        "architecture": TEXT,
        "precision": TEXT,
        "licence": TEXT,
        "created": TEXT,
        "run": TEXT,
        "step": WHOLE,
    },
    "parent": {
        "ref": TEXT,
        "relation": Field("word", RELATIONS),
        "evidence": Field("word", EVIDENCE),
        "weight": NUMBER,
        "confidence": NUMBER,
    },
    "score": {
        "niche": TEXT,
        "task": TEXT,
        "metric": TEXT,
        "split": TEXT,
        "value": NUMBER,
        "direction": Field("word", (*DIRECTIONS, UNKNOWN_DIRECTION)),
        "stderr": NUMBER,
        "n": WHOLE,
        "at": TEXT,
    },
    "cost": {
        "phase": Field("word", PHASES),
        "per": Field("word", PERS),
        "joules": _number_in(JOULES, "J"),
        "watts": _number_in(WATTS, "W"),
        "seconds": _number_in(SECONDS, "s"),
        "cost": Field("number", unit=None),
        "gco2e": _number_in(GRAMS, "g"),
        "operations": _number_in(OPERATIONS, None),
        "precision": TEXT,
        "source": Field("word", SOURCES),
        "meter": TEXT,
        "uuid": TEXT,
        "at": TEXT,
    },
}
AMOUNTS = ("joules", "watts", "seconds", "cost", "gco2e")
TABLES = ("table", "organism", "parent", "score", "cost", "device")
SETTINGS = ("separator", "encoding", "unknown")
DEVICE = ("name", "watts", "peak", "source")
SOURCE = ("column", "value", "values", "else", "unit")


@dataclass(frozen=True, slots=True)
class Map:
    """A map as it was written: the `name` of its file, its `text`, and what TOML makes of it."""

    name: str
    text: str
    parsed: Mapping[str, Any]

    @property
    def separator(self) -> str | None:
        separator: str | None = self._settings().get("separator")
        return separator

    @property
    def encoding(self) -> str:
        return self._settings().get("encoding") or "utf-8-sig"

    @property
    def unknown(self) -> frozenset[str]:
        """The cells that say that something is unknown: the empty one, and those of the map."""
        return frozenset(["", *self._settings().get("unknown", ())])

    def _settings(self) -> Any:
        return self.parsed.get("table", {})

    def reader(self, columns: Sequence[str]) -> Callable[[Cells], dict[str, Any]]:
        """What turns a row into an organism of the JSON Lines form, and raises InvalidValue for one
        that cannot be. The whole map is checked first, against the names of the columns: raises one
        InvalidValue with all its mistakes, each with its line."""
        return _Checker(self, columns).reader()


def load_map(path: str | os.PathLike[str]) -> Map:
    """The map in a file, its settings under [table] checked. Raises InvalidValue with the lines of
    what is wrong, OSError where the file cannot be read."""
    with open(path, "rb") as file:
        raw = file.read()
    try:
        return parse_map(raw.decode("utf-8-sig"), os.fspath(path))
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{os.fspath(path)} is not UTF-8, as TOML must be: {error}.") from None


def parse_map(text: str, name: str = "the map") -> Map:
    """A map from its text; see `load_map`."""
    try:
        made = Map(name, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"{name} is not TOML: {error}.") from None
    checker = _Checker(made, ())
    checker.settings()
    checker.done()
    return made


# ---- cells


def number(cell: str) -> float:
    """The number in a cell, an int where it is written as one. Raises InvalidValue for whatever
    could be read in two ways: commas, percent signs, NaN."""
    if _NUMBER(cell):
        return int(cell) if len(cell) < 19 and cell.isdigit() else float(cell)
    raise InvalidValue(f"{_short(cell)} {_why_not(cell)}")


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?").fullmatch
_SEPARATED = re.compile(
    r"[+-]?[0-9]{1,3}([ ,._'’\u00a0\u202f][0-9]{3})+([.,][0-9]+)?"
).fullmatch
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE).fullmatch


def _why_not(cell: str) -> str:
    if cell.endswith("%") and _NUMBER(cell[:-1].rstrip()):
        bare = cell[:-1].rstrip()
        return f"has a percent sign. Write {bare}, or a share of 1, the same in every row."
    if _SEPARATED(cell):
        return "has separators of thousands, or a decimal comma. Write digits and a point only."
    if _NUMBER(cell.replace(",", ".", 1)):
        return f"has a decimal comma. Write {cell.replace(',', '.', 1)}."
    if _NOT_FINITE(cell):
        return "cannot be compared. Leave the cell empty where it is unknown."
    return (
        "is not a number. Where it says that something is unknown, list it in the map: "
        f'[table] unknown = ["{cell[:20]}"].'
    )


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 60 else f"{cell[:59]}…")


# ---- the check


class _Checker:
    """Checks a map and compiles it, noting every mistake with its line."""

    def __init__(self, mapping: Map, columns: Sequence[str]) -> None:
        self.map = mapping
        self.columns = list(columns)
        self.lines = dict(_lines(mapping.text))
        self.problems: list[tuple[int, str]] = []
        self.table, self.index = "", 0

    def done(self) -> None:
        """Raise what was found."""
        if not self.problems:
            return
        found = sorted(dict.fromkeys(self.problems))
        told = " ".join(f"Line {line}: {said}" for line, said in found)
        count = "a mistake" if len(found) == 1 else f"{len(found)} mistakes"
        raise InvalidValue(f"{self.map.name} has {count}. {told}")

    def wrong(self, key: str, said: str) -> None:
        where = (self.table, self.index, key), (self.table, self.index, ""), (self.table, 0, key)
        line = next((self.lines[one] for one in where if one in self.lines), 1)
        self.problems.append((line, said))

    def enter(self, table: str, index: int = 0) -> None:
        self.table, self.index = table, index

    def unknown_keys(self, given: Iterable[str], known: Iterable[str], of: str) -> None:
        known = tuple(known)
        for key in given:
            if key not in known:
                self.wrong(key, f"{of} has no key {key!r}. {_nearest(key, known)}")

    def settings(self) -> None:
        """What concerns the file, and not its columns."""
        for key in self.map.parsed:
            self.enter(key)
            if key not in TABLES:
                self.wrong(key, f"a map has no table [{key}]. {_nearest(key, TABLES)}")
        self.enter("table")
        settings = self._table("table")
        self.unknown_keys(settings, SETTINGS, "[table]")
        separator = settings.get("separator", ",")
        if not isinstance(separator, str) or len(separator) != 1 or separator in '"\r\n':
            self.wrong("separator", f"separator must be one character, not {separator!r}.")
        encoding = settings.get("encoding", "utf-8")
        try:
            codecs.lookup(encoding).incrementaldecoder("strict").decode(b"", True).encode()
        except (LookupError, TypeError, AttributeError, UnicodeError):
            self.wrong("encoding", f'no encoding is called {encoding!r}. "cp1252" is one.')
        unknown = settings.get("unknown", [])
        if not isinstance(unknown, list) or not all(isinstance(one, str) for one in unknown):
            self.wrong("unknown", 'unknown must be a list of texts, like ["NA", "-"].')

    def _table(self, key: str) -> dict[str, Any]:
        found = self.map.parsed.get(key, {})
        if isinstance(found, dict):
            return found
        self.wrong("", f"[{key}] must be one table.")
        return {}

    def _tables(self, key: str) -> Iterator[dict[str, Any]]:
        """The tables of a name, one after the other, entered."""
        found = self.map.parsed.get(key, [])
        for index, one in enumerate(found if isinstance(found, list) else [found]):
            self.enter(key, index)
            if isinstance(one, dict):
                yield one
            else:
                self.wrong(key, f"write [[{key}]], and its keys below.")

    def reader(self) -> Callable[[Cells], dict[str, Any]]:
        organism = self._organism()
        parents = [made for one in self._tables("parent") if (made := self._parent(one))]
        scores = [made for one in self._tables("score") if (made := self._score(one))]
        device = self._device()
        costs = [made for one in self._tables("cost") if (made := self._cost(one, device))]
        self.done()

        def read(row: Cells) -> dict[str, Any]:
            found: dict[str, Any] = organism(row)
            for key, gets in (("parents", parents), ("fitness", scores), ("power", costs)):
                if gets:
                    held = [one for get in gets if (one := get(row)) is not None]
                    if held:
                        found[key] = held
            return found

        return read

    # what a key is taken from

    def gets(self, given: Mapping[str, Any], of: str) -> dict[str, Get]:
        """What reads each key of a table that is given and right."""
        fields = FIELDS[self.table]
        self.unknown_keys(given, fields, of)
        found = {}
        for key, spec in given.items():
            if key in fields and (get := self.get(key, spec, fields[key])) is not None:
                found[key] = get
        return found

    def get(self, key: str, spec: Any, of: Field) -> Get | None:
        if isinstance(spec, str):
            spec = {"column": spec}
        if not isinstance(spec, dict):
            self.wrong(key, f"{key} must name a column. The same in every row is written "
                       f"{key} = {{ value = {_toml(spec)} }}.")  # fmt: skip
            return None
        self.unknown_keys(spec, SOURCE, key)
        factor = self._factor(key, spec, of)
        if "value" in spec:
            if len(spec) > 1 + ("unit" in spec):
                self.wrong(key, f"{key} has a value for every row: it needs nothing else.")
            return self._constant(key, spec["value"], of, factor)
        column = spec.get("column")
        if not isinstance(column, str):
            self.wrong(key, f"{key} needs a column, or a value.")
            return None
        index = self._column(key, column, of)
        translate = self._values(key, spec, of)
        if index is None:
            return None
        text = _cell(index, self.map.unknown) if translate is None else _translated(
            index, self.map.unknown, *translate)  # fmt: skip
        return _converted(text, of, factor, f"column {column!r}")

    def _column(self, key: str, column: str, of: Field) -> int | None:
        count = self.columns.count(column)
        if count == 1:
            return self.columns.index(column)
        if count:
            first = self.columns.index(column)
            second = self.columns.index(column, first + 1)
            self.wrong(key, f"two columns are called {column!r}, the {_nth(first + 1)} and the "
                       f"{_nth(second + 1)}. Which is meant? Rename one in the table.")  # fmt: skip
        elif column in of.words:
            self.wrong(key, f"no column is called {column!r}. For the same in every row write "
                       f"{key} = {{ value = {_toml(column)} }}.")  # fmt: skip
        else:
            near = _nearest(column, self.columns, "The columns are")
            self.wrong(key, f"no column is called {column!r}. {near}")
        return None

    def _factor(self, key: str, spec: Mapping[str, Any], of: Field) -> float:
        unit = spec.get("unit", of.unit)
        if key == "cost":
            if not isinstance(unit, str) or not CURRENCY.fullmatch(unit):
                self.wrong(key, f"cost needs a currency in three letters as its unit, like "
                           f'unit = "USD", not {_toml(unit) if unit else "none"}.')  # fmt: skip
            return 1
        if not of.units:
            if "unit" in spec:
                self.wrong(key, f"{key} has no unit.")
            return 1
        if unit is None:
            self.wrong(key, f"{key} needs a unit: {', '.join(of.units)}.")
        elif unit not in of.units:
            self.wrong(key, f"{key} knows no unit {_toml(unit)}. "
                       f"{_nearest(str(unit), of.units)}")  # fmt: skip
        return of.units.get(unit, 1) if isinstance(unit, str) else 1

    def _constant(self, key: str, value: Any, of: Field, factor: float) -> Get | None:
        written = self._word(key, value, of)
        if written is None:
            return None
        try:
            held = _converted(lambda row: written, of, factor, key)(())
        except InvalidValue as error:
            self.wrong(key, str(error))
            return None
        return lambda row: held

    def _values(
        self, key: str, spec: Mapping[str, Any], of: Field
    ) -> tuple[dict[str, str | None], str | None] | None:
        """The translation of cells, and what all others become, None for what they are."""
        if "values" not in spec and "else" not in spec:
            return None
        values = spec.get("values", {})
        if not isinstance(values, dict):
            self.wrong(key, f'values must be a table, like {{ ft = "finetune" }}, not {values!r}.')
            values = {}
        known = {cell: self._word(key, value, of) for cell, value in values.items()}
        return known, self._word(key, spec["else"], of) if "else" in spec else None

    def _word(self, key: str, value: Any, of: Field) -> str | None:
        """What a map says by itself, as a cell would say it."""
        if isinstance(value, (datetime, date, time)):
            value = value.isoformat()
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.wrong(key, f"{key} cannot be {_toml(value)}.")
            return None
        if of.words and value not in of.words:
            self.wrong(key, f"{key} cannot be {_toml(value)}. {_nearest(str(value), of.words)}")
        return str(value)

    # the tables

    def _organism(self) -> Get:
        self.enter("organism")
        given = dict(self._table("organism"))
        tags = given.pop("tags", {})
        gets = self.gets(given, "[organism]")
        if not given.keys() & {"name", "digest", "place"}:
            self.wrong("", "[organism] needs a name, a digest or a place to be known by.")
        if not isinstance(tags, dict):
            self.wrong("tags", 'tags must be a table, like { family = "column" }.')
            tags = {}
        told = {}
        for key, spec in tags.items():
            get = self.get("tags", spec, TEXT)
            if get is not None:
                told[key] = get
        digest, prefix = gets.pop("digest", None), gets.pop("digest_prefix", None)
        place = gets.pop("place", None)

        def organism(row: Cells) -> dict[str, Any]:
            found = {key: held for key, get in gets.items() if (held := get(row)) is not None}
            if digest is not None and (held := digest(row)) is not None:
                found["digest"] = _whole_digest(held)
            tags = {key: held for key, get in told.items() if (held := get(row)) is not None}
            if prefix is not None and (held := prefix(row)) is not None:
                tags["digest_prefix"] = _prefix(held, found.get("digest"))
            if tags:
                found["tags"] = tags
            if place is not None and (held := place(row)) is not None:
                found["places"] = [held]
            return found

        return organism

    def _parent(self, given: Mapping[str, Any]) -> Get | None:
        gets = self.gets(given, "[[parent]]")
        if "ref" not in given:
            self.wrong("", "[[parent]] needs a ref: the column with the name of the parent.")
        if "ref" not in gets:
            return None
        ref = gets.pop("ref")

        def parent(row: Cells) -> dict[str, Any] | None:
            known = ref(row)
            if known is None:
                return None
            return {"ref": known} | {k: held for k, get in gets.items()
                                     if (held := get(row)) is not None}  # fmt: skip

        return parent

    def _score(self, given: Mapping[str, Any]) -> Get | None:
        gets = self.gets(given, "[[score]]")
        if "value" not in given:
            self.wrong("", "[[score]] needs a value: the column with the score.")
        by_niche = "niche" in given
        if by_niche == bool(given.keys() & {"task", "metric"}) or (
            not by_niche and not {"task", "metric"} <= given.keys()
        ):
            self.wrong("", "[[score]] needs either a niche (task/metric), or a task and a metric.")
            return None
        self._direction_known(given)
        value, niche = gets.pop("value", None), _niche(gets)
        if value is None or niche is None:
            return None

        def score(row: Cells) -> dict[str, Any] | None:
            known = value(row)
            if known is None:
                return None
            task, metric = niche(row)
            found = {"task": task, "metric": metric, "value": known}
            for key, get in gets.items():
                if (held := get(row)) is not None:
                    found[key] = held
            return _directed(found)

        return score

    def _direction_known(self, given: Mapping[str, Any]) -> None:
        """Where every row has the same metric, its direction must be known now."""
        metric = _same(given.get("metric"))
        if niche := _same(given.get("niche")):
            try:
                metric = Niche.parse(niche).metric
            except InvalidValue as error:
                self.wrong("niche", str(error))
                return
        if metric and "direction" not in given and known_direction(metric) is None:
            self.wrong("", _no_direction(metric))

    def _device(self) -> DeviceProfile:
        """The device whose joules an operation costs: the map's own, or one that is known by its
        name; else the A100."""
        self.enter("device")
        given = self._table("device")
        if not given:
            return A100
        self.unknown_keys(given, DEVICE, "[device]")
        if list(given) == ["name"]:
            return self._known_device(given["name"])
        missing = [key for key in DEVICE if key not in given]
        peak = given.get("peak")
        if missing:
            self.wrong("", f"[device] needs {', '.join(missing)}.")
            return A100
        try:
            if not isinstance(peak, dict) or not peak:
                raise InvalidValue("peak must be operations a second by precision, like "
                                   "{ F32 = 8.1e12, I8 = 130e12 }.")  # fmt: skip
            rates = {key: finite(rate, f"the peak rate of {key}") for key, rate in peak.items()}
            if min(rates.values()) <= 0:
                raise InvalidValue("a peak rate must be above zero.")
            watts = finite(given["watts"], "watts", least=0)
        except InvalidValue as error:
            self.wrong("peak", str(error))
            return A100
        return DeviceProfile(str(given["name"]), watts, rates, str(given["source"]))

    def _known_device(self, name: Any) -> DeviceProfile:
        known = DEVICES.get(str(name))
        if known is None:
            self.wrong("name", f"no device {_toml(name)} is known. {_nearest(str(name), DEVICES)} "
                       f"Of another one tell {', '.join(DEVICE[1:])} too.")  # fmt: skip
        return known or A100

    def _cost(self, given: Mapping[str, Any], device: DeviceProfile) -> Get | None:
        given = dict(given)
        count = given.pop("count", 1)
        gets = self.gets(given, "[[cost]]")
        if isinstance(count, bool) or not isinstance(count, (int, float)) or not 0 < count < 1e300:
            self.wrong("count", f"count must be a number above zero, not {_toml(count)}.")
            count = 1
        if "operations" in given:
            return self._estimate(given, gets, device, count)
        if not given.keys() & set(AMOUNTS):
            self.wrong("", f"[[cost]] needs one of {', '.join((*AMOUNTS, 'operations'))}.")
        if "precision" in given:
            self.wrong("precision", "precision is that of operations, and there are none here.")
        spec = given.get("cost")
        currency = spec.get("unit") if isinstance(spec, dict) else None
        amounts = {key: get for key, get in gets.items() if key in AMOUNTS}
        rest = {key: get for key, get in gets.items() if key not in AMOUNTS}

        def cost(row: Cells) -> dict[str, Any] | None:
            found = {key: held for key, get in amounts.items() if (held := get(row)) is not None}
            if not found:
                return None
            found |= {key: held for key, get in rest.items() if (held := get(row)) is not None}
            return _priced(found, currency, count)

        return cost

    def _estimate(
        self, given: Mapping[str, Any], gets: dict[str, Get], device: DeviceProfile, count: float
    ) -> Get | None:
        """What makes a serving cost of operations."""
        for key in (*AMOUNTS, "source", "meter", "uuid"):
            if key in given:
                self.wrong(key, f"{key} is told by the estimate from operations: leave one out.")
        if "phase" in given and _same(given["phase"]) != "serving":
            self.wrong("phase", "operations are those of serving: leave phase out.")
        if "per" not in given:
            self.wrong("", f"operations per what? per = {{ value = ... }}: {', '.join(PERS[1:])}.")
        told = [_same(given.get("precision")), *_listed(given.get("precision"))]
        for one in filter(None, told):
            if one not in device.peak:
                self.wrong("precision", f"{device.name} has no rate for {one!r}. "
                           f"{_nearest(one, device.peak)}")  # fmt: skip
        if "operations" not in gets or "per" not in gets:
            return None
        operations, per = gets["operations"], gets["per"]
        precision, at = gets.get("precision"), gets.get("at")

        def estimate(row: Cells) -> dict[str, Any] | None:
            known = operations(row)
            if known is None:
                return None
            found = estimated(
                known / count, precision and precision(row), per(row) or "token", device
            )
            if at is not None and (held := at(row)) is not None:
                found["at"] = held
            return found

        return estimate


def estimated(
    operations: float, precision: str | None, per: str, device: DeviceProfile
) -> dict[str, Any]:
    """The cost of serving so many operations on a device at its peak rate, as JSON Lines has it:
    joules = operations * watts / (operations a second). Raises InvalidValue for a precision that
    the device has no rate for; where it is unknown, on the A100 16 bit are assumed."""
    if device is A100:
        if precision is not None and precision not in device.peak:
            raise _no_rate(precision, device)
        cost = serving_estimate(operations=operations, precision=precision, per=per)
        joules, meter = cost.joules, cost.meter
    else:
        if precision is None or precision not in device.peak:
            raise _no_rate(precision or "an unknown precision", device)
        joules = operations * device.joules_per_operation()[precision]
        meter = (
            f"operations counted per {per}; {device.name} at peak ({precision}, {device.source}), "
            "a lower bound"
        )
    return {"phase": "serving", "per": per, "joules": joules, "source": "estimated", "meter": meter}


def _no_rate(precision: str, device: DeviceProfile) -> InvalidValue:
    return InvalidValue(f"{device.name} has no rate for {precision!r}: {', '.join(device.peak)}.")


# ---- one row


def _cell(index: int, unknown: frozenset[str]) -> Get:
    def get(row: Cells) -> str | None:
        cell = row[index].strip()
        return None if cell in unknown else cell

    return get


def _translated(
    index: int, unknown: frozenset[str], values: Mapping[str, str | None], other: str | None
) -> Get:
    def get(row: Cells) -> str | None:
        cell = row[index].strip()
        if cell in values:
            return values[cell] or None
        if other is not None:
            return other or None
        return None if cell in unknown else cell

    return get


def _converted(text: Get, of: Field, factor: float, what: str) -> Get:
    """What reads a cell as what it is to be."""
    if of.kind == "text" or of.kind == "word":
        return text

    def get(row: Cells) -> float | None:
        cell = text(row)
        if cell is None:
            return None
        try:
            found = number(cell)
        except InvalidValue as error:
            raise InvalidValue(f"{what}: {error}") from None
        if factor == 1:
            return found
        found *= factor
        return round(found) if of.kind == "whole" and math.isfinite(found) else found

    return get


def _same(spec: Any) -> str | None:
    """What a map says for every row, if it does."""
    value = spec.get("value") if isinstance(spec, dict) else None
    return value if isinstance(value, str) else None


def _listed(spec: Any) -> list[str]:
    """All that a translation can give."""
    if not isinstance(spec, dict):
        return []
    values = spec.get("values", {})
    found = [*(values.values() if isinstance(values, dict) else ()), spec.get("else")]
    return [one for one in found if isinstance(one, str)]


def _niche(gets: dict[str, Get]) -> Get | None:
    """What reads the task and the metric of a score; taken out of `gets`."""
    niche, task, metric = (gets.pop(key, None) for key in ("niche", "task", "metric"))
    if niche is not None:
        known: dict[str, tuple[str, str]] = {}

        def of_niche(row: Cells) -> tuple[str, str]:
            written = niche(row)
            if written is None:
                raise InvalidValue("it has a score, and no niche.")
            if written not in known:
                parsed = Niche.parse(written)
                known[written] = (parsed.task, parsed.metric)
            return known[written]

        return of_niche
    if task is None or metric is None:
        return None

    def of_two(row: Cells) -> tuple[str, str]:
        both = task(row), metric(row)
        if None in both:
            raise InvalidValue(f"it has a score, and no {'task' if both[0] is None else 'metric'}.")
        return both

    return of_two


def _directed(score: dict[str, Any]) -> dict[str, Any]:
    """A score whose direction is known, or said to be unknown."""
    direction = score.get("direction")
    if direction is None:
        if known_direction(score["metric"]) is None:
            raise InvalidValue(_no_direction(score["metric"]))
    elif direction == UNKNOWN_DIRECTION:
        del score["direction"]
    return score


def _no_direction(metric: str) -> str:
    return (
        f"is a higher {_short(metric)} better, or a lower one? Say direction = "
        '{ value = "higher" }, "lower" or "unknown"; or, by column, { column = "metric", '
        'values = { epe = "lower" }, else = "higher" }.'
    )


def _priced(found: dict[str, Any], currency: str | None, count: float) -> dict[str, Any]:
    """A cost of one, where the table tells that of `count`; watts times seconds are joules."""
    if "cost" in found:
        found["currency"] = currency
    if found.get("per", "total") != "hour" and "joules" not in found:
        watts, seconds = found.get("watts"), found.get("seconds")
        if watts is not None and seconds is not None:
            found["joules"] = watts * seconds
    if count != 1:
        for key in ("joules", "seconds", "cost", "gco2e"):
            if key in found:
                found[key] /= count
    return found


def _whole_digest(cell: str) -> str:
    match = HEX.match(cell)
    if match and len(match[1]) < 64:
        raise InvalidValue(
            f"digest {cell!r} is only a part: an identity needs all 64 digits. "
            "Map its column as digest_prefix, which is kept as a tag."
        )
    return cell


_PREFIX = re.compile("[0-9a-f]{1,64}", re.IGNORECASE).fullmatch


def _prefix(cell: str, digest: str | None) -> str:
    if not _PREFIX(cell):
        raise InvalidValue(f"digest_prefix {_short(cell)} is not of hex digits.")
    if digest is not None and not digest.removeprefix("sha256:").lower().startswith(cell.lower()):
        raise InvalidValue(f"digest {digest!r} does not begin with {cell!r}, as the row says.")
    return cell.lower()


# ---- words


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*["']?([^\s"'=.]+)["']?\s*[=.]""")


def _lines(text: str) -> Iterator[tuple[tuple[str, int, str], int]]:
    """Where the tables and keys of a map are written: (table, which of that name, key), its line.
    TOML readers do not tell, so this looks for them."""
    counts: dict[str, int] = {}
    table, index = "", 0
    for number_, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            table, _, inner = header[2].partition(".")
            index = counts.get(table, 0)
            if header[1] == "[[" and not inner:
                counts[table] = index + 1
            elif inner and index:
                index -= 1
            yield (table, index, inner), number_
        elif key := _KEY.match(line):
            yield (table, index, key[1]), number_
            if not table:
                yield (key[1], 0, ""), number_


def _nearest(word: str, known: Iterable[str], listed: str = "There are") -> str:
    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.5)
    if not near:
        folded = {one.casefold(): one for one in known}
        near = [folded[word.casefold()]] if word.casefold() in folded else []
    if near:
        return f"Is {near[0]!r} meant?"
    return f"{listed}: {', '.join(known[:40])}{', …' if len(known) > 40 else ''}."


def _nth(number_: int) -> str:
    ends = {1: "st", 2: "nd", 3: "rd"}
    end = "th" if 10 < number_ % 100 < 20 else ends.get(number_ % 10, "th")
    return f"{number_}{end}"


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
