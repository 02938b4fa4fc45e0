"""YAML from outside as plain values: mappings, lists and text. Nothing is constructed from it, no
alias is followed, and it may be neither deep nor endless."""

from __future__ import annotations

from typing import Any

MOST_EVENTS = 100_000
MOST_DEPTH = 50
_NOTHING = {"", "~", "null", "Null", "NULL"}


def plain_yaml(written: str) -> Any:
    """The value of a document: every scalar is text (an unquoted `null` is None), since what reads
    like a number or a date to YAML may be a name. Raises ValueError that says what is wrong."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    open_: list[_Collection] = []
    root = _Collection(mapping=False)
    try:
        for count, event in enumerate(yaml.parse(written, Loader=loader)):
            if count > MOST_EVENTS:
                raise ValueError(f"it holds more than {MOST_EVENTS:,} values")
            into = open_[-1] if open_ else root
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it holds an alias, which is not followed")
            if isinstance(event, yaml.ScalarEvent):
                empty = event.implicit[0] and event.value in _NOTHING
                into.add(None if empty else event.value)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                inner = _Collection(isinstance(event, yaml.MappingStartEvent))
                into.add(inner.value)
                open_.append(inner)
                if len(open_) > MOST_DEPTH:
                    raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                open_.pop()
            elif isinstance(event, yaml.DocumentEndEvent):
                break
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ValueError(f"it is not YAML: {problem}") from None
    return root.value[0] if root.value else None


class _Collection:
    """A mapping or a list that is being filled."""

    def __init__(self, mapping: bool) -> None:
        self.value: Any = {} if mapping else []
        self._mapping = mapping
        self._key: Any = None
        self._has_key = False

    def add(self, one: Any) -> None:
        if not self._mapping:
            self.value.append(one)
        elif not self._has_key:
            self._key, self._has_key = one, True
        else:
            if isinstance(self._key, str):  # a mapping as a key means nothing to us
                self.value[self._key] = one
            self._has_key = False
