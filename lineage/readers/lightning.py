"""A checkpoint of Lightning: a zip whose pickle is read as a list of operations and never run. Only
plain values are followed; whatever would call something is an unknown."""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from typing import Any, BinaryIO

from lineage.errors import InvalidValue
from lineage.organism import whole
from lineage.readers.said import Said

MOST_BYTES = 64_000_000
"""Longest pickle that is read."""
MOST_OPERATIONS = 2_000_000
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
VERSION = "pytorch-lightning_version"


class _Unknown:
    """Whatever is not a plain value."""


_UNKNOWN, _MARK = _Unknown(), _Unknown()


def lightning(file: BinaryIO, size: int, name: str) -> Said:
    """What a `.ckpt` says of itself: epoch, step, version. Raises ValueError where it lies; what is
    no checkpoint of Lightning says nothing."""
    said = Said()
    try:
        with zipfile.ZipFile(file) as archive:
            inside = [one for one in archive.infolist() if one.filename.endswith("/data.pkl")]
            if len(inside) != 1 or inside[0].compress_type not in KINDS:
                return said
            if inside[0].file_size > MOST_BYTES or inside[0].compress_size > MOST_BYTES:
                raise ValueError(f"its pickle is longer than {MOST_BYTES:,} bytes")
            with archive.open(inside[0]) as held:
                content = held.read(MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError):
        return said  # not a zip, or an old kind of file: hashed all the same
    known = plain_pickle(content)
    if not isinstance(known, dict) or VERSION not in known:
        return said
    said.kinds.append("lightning")
    said.tag("lightning", known[VERSION])
    said.tag("epoch", known.get("epoch"))
    try:
        said.facts["step"] = whole(known.get("global_step"), "global_step")
    except InvalidValue as error:
        said.notes.append(f"{name}: {error}")
    return said


def plain_pickle(content: bytes) -> Any:
    """The value that a pickle describes, as far as it is made of mappings with text as keys, lists,
    tuples, text and numbers; anything else in it is an unknown. Nothing is imported or called: the
    operations are only listed (pickletools). Raises ValueError where it is no pickle."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPERATIONS:
                raise ValueError(f"its pickle holds more than {MOST_OPERATIONS:,} operations")
            if operation.name == "STOP":
                return stack.pop()
            _step(operation.name, argument, stack, memo)
    except (IndexError, KeyError, TypeError, AttributeError, UnicodeError):
        raise ValueError("its pickle is broken") from None
    raise ValueError("its pickle has no end")


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:
    """One operation on the stack: values are pushed, collections filled, all else is an unknown."""
    if name in ("PROTO", "FRAME"):
        return
    if name == "MARK":
        stack.append(_MARK)
    elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE"):
        stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
    elif name in ("NONE", "NEWTRUE", "NEWFALSE"):
        stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
    elif name in _PLAIN:
        stack.append(argument)
    elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("BINGET", "LONG_BINGET", "GET"):
        stack.append(memo[argument])
    elif name in ("SETITEM", "SETITEMS"):
        given = [stack.pop(), stack.pop()][::-1] if name == "SETITEM" else _to_mark(stack)
        if isinstance(stack[-1], dict):
            pairs = zip(given[::2], given[1::2], strict=False)
            stack[-1].update((key, value) for key, value in pairs if isinstance(key, str))
    elif name in ("APPEND", "APPENDS"):
        given = [stack.pop()] if name == "APPEND" else _to_mark(stack)
        if isinstance(stack[-1], list):
            stack[-1].extend(given)
    elif name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
        count = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}.get(name)
        given = _to_mark(stack) if count is None else [stack.pop() for _ in range(count)][::-1]
        stack.append(tuple(given))
    elif name == "POP":
        stack.pop()
    else:
        _unknown(name, stack)


_PLAIN = frozenset({
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
})  # fmt: skip
_TAKES = {
    "BINPERSID": 1, "REDUCE": 2, "NEWOBJ": 2, "NEWOBJ_EX": 3, "BUILD": 2, "STACK_GLOBAL": 2,
    "GLOBAL": 0, "PERSID": 0, "EMPTY_SET": 0, "BINBYTES": 0, "SHORT_BINBYTES": 0, "BINBYTES8": 0,
    "BYTEARRAY8": 0, "EXT1": 0, "EXT2": 0, "EXT4": 0,
}  # fmt: skip
"""How many values each operation takes from the stack, to leave one that we do not know."""
_TAKES_TO_MARK = ("FROZENSET", "LIST", "DICT", "INST", "OBJ")


def _unknown(name: str, stack: list[Any]) -> None:
    if name in _TAKES:
        for _ in range(_TAKES[name]):
            stack.pop()
        stack.append(_UNKNOWN)
    elif name in _TAKES_TO_MARK:
        _to_mark(stack)
        stack.append(_UNKNOWN)
    elif name in ("ADDITEMS", "POP_MARK"):
        _to_mark(stack)
    else:
        raise ValueError(f"its pickle has the operation {name}, which is not followed")


def _to_mark(stack: list[Any]) -> list[Any]:
    """What lies above the last mark, which goes too."""
    given = []
    while (one := stack.pop()) is not _MARK:
        given.append(one)
    return given[::-1]
