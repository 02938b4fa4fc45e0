"""How answers show themselves outside a terminal: as HTML in a notebook, as rows for a data frame.
Both are made of the fields of their dataclasses, so that nothing is shown that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from html import escape
from typing import Any, ClassVar

from lineage.errors import InvalidValue
from lineage.shown import count, joules, shown, size

LISTED = 50
"""Rows of a table in a notebook; the rest is counted."""

STYLE = (
    ".lineage-answer{font:13px/1.55 system-ui,sans-serif;font-variant-numeric:tabular-nums}"
    ".lineage-answer p{margin:0 0 4px}"
    ".lineage-answer .quiet,.lineage-answer caption,.lineage-answer th{opacity:.65}"
    ".lineage-answer .fact{margin-right:1.2em;display:inline-block}"
    ".lineage-answer table{border-collapse:collapse;border:0;margin:2px 0 10px}"
    ".lineage-answer caption{caption-side:top;text-align:left;padding:4px 0}"
    ".lineage-answer tr{background:none}"
    ".lineage-answer th{font-weight:400;border:0;border-bottom:1px solid}"
    ".lineage-answer td{border:0}"
    ".lineage-answer th,.lineage-answer td{text-align:left;vertical-align:top;"
    "padding:2px 16px 2px 0;max-width:40em;overflow-wrap:break-word}"
    ".lineage-answer .figure{text-align:right}"
)
"""No colours: those of the notebook, light or dark."""

_UNITS = {"joules": joules, "bytes": size, "parameters": count}
_NUMBERS = ("id", "pid", "step", "version")
"""Integers that count nothing: no separators in them."""


class Answer:
    """What a question gives: a dataclass that shows itself in a notebook. `_rows` names the field
    that holds its rows, where it has some; `_brief` the fields that tell it among many."""

    __slots__ = ()
    _rows: ClassVar[str] = ""
    _brief: ClassVar[tuple[str, ...]] = ()

    def _column(self) -> tuple[str, Any] | None:
        """What it is called, and its value, where several of its kind make a column each."""
        return None

    def _repr_html_(self) -> str:
        return html(self)


def rows(answer: Any) -> list[dict[str, Any]]:
    """An answer, or several organisms, links, scores or events, as rows of plain values: those of
    its table, or itself as the only one.

    An organism is spread over columns where it is what the row is about, else told by its
    reference. Scores make a column for each niche, costs one for each phase and unit. What is
    unknown is None. Raises InvalidValue for what is no answer."""
    return [row for one in _several(answer) for row in _spread(one)]


def _several(answer: Any) -> Iterable[Any]:
    if isinstance(answer, Answer) and answer._rows:
        found = getattr(answer, answer._rows)
        return found.values() if isinstance(found, Mapping) else found
    if isinstance(answer, Iterable) and not isinstance(answer, (str, Mapping)):
        return answer
    return (answer,)


def _spread(one: Any, brief: bool = False) -> Iterator[dict[str, Any]]:
    """A row, or one for each of its own rows."""
    if not is_dataclass(one) or isinstance(one, type):
        raise InvalidValue(f"{one!r} is no answer of a registry: it has no fields.")
    inner = one._rows if isinstance(one, Answer) else ""
    own = _flat(one, brief, inner)
    if not inner or not getattr(one, inner):
        yield own
        return
    for each in _several(one):
        yield from (own | row for row in _spread(each, brief))


def _flat(one: Any, brief: bool = False, leave_out: str = "") -> dict[str, Any]:
    if brief and isinstance(one, Answer) and one._brief:
        return {name: getattr(one, name) for name in one._brief}
    found = {"ref": one.ref} if _worded(one) and hasattr(one, "ref") else {}
    for field in fields(one):
        if field.name != leave_out:
            found |= _columns(field.name, getattr(one, field.name), brief)
    return found


def _columns(name: str, value: Any, brief: bool) -> dict[str, Any]:
    """The columns that a field makes."""
    own = name == type(value).__name__.lower()  # what the row is about
    if _worded(value) and (brief or not own or not hasattr(value, "ref")):
        return {name: str(value) if brief else getattr(value, "ref", str(value))}
    if is_dataclass(value) and not isinstance(value, type):
        inner = _flat(value, brief)
        return inner if own else {f"{name}_{key}": held for key, held in inner.items()}
    if isinstance(value, (tuple, list)) and value and is_dataclass(value[0]):
        columns = [one._column() if isinstance(one, Answer) else None for one in value]
        if None not in columns:
            return dict(column for column in columns if column is not None)
        # of links the parents; of what tells how a link is known, just that
        told = [getattr(one, name, getattr(one, "parent", one)) for one in value]
        return {name: [getattr(one, "ref", str(one)) for one in told]}
    return {name: list(value) if isinstance(value, tuple) else value}


def _worded(value: Any) -> bool:
    """Whether it is a dataclass that has words of its own: an organism, a niche."""
    return is_dataclass(value) and type(value).__str__ is not object.__str__


# ---- HTML


def html(answer: Any) -> str:
    """An answer as HTML: what it is, its figures, its tables. All that is shown is text, and
    nothing is loaded."""
    title = str(answer) if _worded(answer) else type(answer).__name__
    facts, tables = [], []
    named = [field.name for field in fields(answer)]
    if answer._rows and answer._rows not in named:  # they stand for the tuples they are made of
        tables.append(_table(answer._rows, getattr(answer, answer._rows)))
    for name in named:
        value = getattr(answer, name)
        many = isinstance(value, (tuple, list, Mapping))
        held = list(value.values() if isinstance(value, Mapping) else value) if many else []
        if held and any(map(is_dataclass, held)):
            if answer._rows in ("", *named):
                tables.append(_table(name, [one for one in held if one is not None]))
        elif value not in (None, "") and (not many or any(one is not None for one in held)):
            facts.append((name, value))
    told = "".join(
        f'<span class="fact"><span class="quiet">{_words(name)}</span> {_cell(name, value)}</span>'
        for name, value in facts
    )
    return (
        f'<div class="lineage-answer"><style>{STYLE}</style><p><b>{_text(title)}</b></p>'
        f"<p>{told}</p>{''.join(tables)}</div>"
    )


def _table(name: str, held: Sequence[Any]) -> str:
    brief = [row for one in held[:LISTED] for row in _spread(one, brief=True)]
    columns = [
        key
        for key in dict.fromkeys(key for row in brief for key in row)
        if any(row.get(key) not in (None, "", []) for row in brief)  # else it needs no column
    ]
    figures = {key for key in columns if all(_is_figure(row.get(key)) for row in brief)}

    def line(tag: str, cells: Iterable[tuple[str, str]]) -> str:
        kind = {True: ' class="figure"', False: ""}
        return "<tr>" + "".join(
            f"<{tag}{kind[key in figures]}>{cell}</{tag}>" for key, cell in cells
        ) + "</tr>"  # fmt: skip

    head = line("th", ((key, _words(key)) for key in columns))
    body = "".join(line("td", ((key, _cell(key, row.get(key))) for key in columns))
                   for row in brief)  # fmt: skip
    more = len(held) - LISTED
    rest = f'<p class="quiet">… and {more:,} more</p>' if more > 0 else ""
    return (
        f"<table><caption>{_words(name)}</caption><thead>{head}</thead><tbody>{body}</tbody>"
        f"</table>{rest}"
    )


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cell(name: str, value: Any) -> str:
    """A value as HTML."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_figure(value):
        unit = _UNITS.get(name.rpartition("_")[2])
        if unit is not None:
            return _text(unit(value))
        return f"{value:.6g}" if isinstance(value, float) else (
            str(value) if name in _NUMBERS else f"{value:,}")  # fmt: skip
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if is_dataclass(value) and not _worded(value):
        brief = _flat(value, True, value._rows if isinstance(value, Answer) else "")
        value = {key: held for key, held in brief.items() if held not in (None, "", [])}
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(key))} {_cell(str(key), held)}"
                         for key, held in value.items())  # fmt: skip
    if isinstance(value, (tuple, list)):
        return ", ".join(_cell(name, one) for one in value)
    return _text(str(value))


def _words(name: str) -> str:
    return _text(name.replace("_", " "))


def _text(text: str) -> str:
    return escape(shown(text))
