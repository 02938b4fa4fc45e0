"""The header of a GGUF file: whose quantization it is, and where its tensors lie
(github.com/ggml-org/ggml, docs/gguf.md). Every length in it is checked against the file."""

from __future__ import annotations

import math
import struct
from typing import Any, BinaryIO

from lineage.genome import Tensor
from lineage.readers.said import Said

MOST_ENTRIES = 100_000
MOST_TENSORS = 100_000
MOST_TEXT = 65_536
"""Longest text that is kept; a longer one (a chat template) is stepped over."""
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_STRING, _ARRAY = 8, 9
_KEPT = ("general.", "split.")

# Values in a block and bytes of it, by type (ggml.h, ggml-quants).
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
_NAMES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K",
          11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 24: "I8", 25: "I16", 26: "I32",
          27: "I64", 28: "F64", 30: "BF16"}  # fmt: skip
_UNQUANTIZED = ("F32", "F16", "BF16", "F64")


def gguf(file: BinaryIO, size: int, name: str) -> tuple[Said, list[Tensor]]:
    """What a GGUF file says, and its tensors in the order of their data. Raises ValueError that
    says what is wrong with it."""
    try:
        return _read(_Cursor(file, size), name)
    except (struct.error, UnicodeError, OverflowError):
        raise ValueError("its header is broken") from None


class _Cursor:
    """Reads forward, and never past the end of the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at = file, size, 0
        file.seek(0)

    def take(self, count: int) -> bytes:
        self.skip(count, move=False)
        return self.file.read(count)

    def skip(self, count: int, move: bool = True) -> None:
        self.at += count
        if self.at > self.size:
            raise ValueError(f"its header would end at byte {self.at:,}, of {self.size:,}")
        if move:
            self.file.seek(self.at)

    def number(self, kind: str) -> Any:
        return struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))[0]

    def text(self) -> str:
        length = self.number("Q")
        if length > MOST_TEXT:
            self.skip(length)
            return ""
        return self.take(length).decode("utf-8", "replace")


def _read(cursor: _Cursor, name: str) -> tuple[Said, list[Tensor]]:
    if cursor.take(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in (2, 3):
        return Said(notes=[f"{name} has the version {version}, and 2 and 3 are known."]), []
    tensors, entries = cursor.number("Q"), cursor.number("Q")
    if tensors > MOST_TENSORS or entries > MOST_ENTRIES:
        raise ValueError(f"it would have {tensors:,} tensors and {entries:,} entries")
    known: dict[str, Any] = {}
    for _ in range(entries):
        key = cursor.text()
        value = _value(cursor, cursor.number("I"))
        if key.startswith(_KEPT):
            known[key] = value
    listed = [_tensor(cursor) for _ in range(tensors)]
    alignment = known.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise ValueError(f"its alignment is {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    placed = _placed(listed, start, cursor.size)
    return _said(known, placed, name), placed


def _value(cursor: _Cursor, kind: int, depth: int = 0) -> Any:
    if kind == _STRING:
        return cursor.text()
    if kind in _NUMBERS:
        return cursor.number(_NUMBERS[kind])
    if kind != _ARRAY or depth > 3:
        raise ValueError(f"it has a value of the unknown type {kind}")
    inner, count = cursor.number("I"), cursor.number("Q")
    if inner in _NUMBERS:
        cursor.skip(count * struct.calcsize(f"<{_NUMBERS[inner]}"))
        return None
    if count > cursor.size:
        raise ValueError(f"it has a list of {count:,} values")
    for _ in range(count):  # each takes eight bytes at least, so the file's end ends it
        _value(cursor, inner, depth + 1)
    return None


def _tensor(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name, axes = cursor.text(), cursor.number("I")
    if axes > 8:
        raise ValueError(f"a tensor has {axes} axes")
    shape = tuple(cursor.number("Q") for _ in range(axes))
    return name, shape, cursor.number("I"), cursor.number("Q")


def _placed(
    listed: list[tuple[str, tuple[int, ...], int, int]], start: int, size: int
) -> list[Tensor]:
    """The tensors whose type is known and whose data lies in the file."""
    found = []
    for name, shape, kind, offset in listed:
        if kind not in _BLOCKS:
            continue
        values, block = _BLOCKS[kind]
        begin = start + offset
        end = begin + math.prod(shape) // values * block
        if end > size:
            raise ValueError(f"the tensor {name[:80]!r} would end at byte {end:,}, of {size:,}")
        found.append(Tensor(name, _NAMES.get(kind, f"type {kind}"), shape, begin, end))
    return sorted(found, key=lambda tensor: (tensor.begin, tensor.end))


def _said(known: dict[str, Any], tensors: list[Tensor], name: str) -> Said:
    said = Said(kinds=["gguf"])
    said.fact("architecture", known.get("general.architecture"))
    said.fact("licence", known.get("general.license"))
    said.tag("quantized_by", known.get("general.quantized_by"))
    elements: dict[str, int] = {}
    for tensor in tensors:
        elements[tensor.dtype] = elements.get(tensor.dtype, 0) + math.prod(tensor.shape)
    most = max(elements, key=lambda dtype: (elements[dtype], dtype), default=None)
    if most is not None:
        said.facts |= {"precision": most, "parameters": sum(elements.values())}
    relation = "convert" if most in _UNQUANTIZED else "quantized"
    count = known.get("general.base_model.count")
    count = min(count, 100) if isinstance(count, int) else 0
    for index in range(count):
        base = f"general.base_model.{index}."
        ref = known.get(f"{base}repo_url") or known.get(f"{base}url")
        if not ref:
            words = (known.get(f"{base}organization"), known.get(f"{base}name"))
            ref = "/".join(
                word.replace(" ", "-") for word in words if isinstance(word, str) and word
            )
        said.claim(ref, name, relation="merge" if count > 1 else relation)
    return said
