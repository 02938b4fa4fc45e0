"""An ONNX model: its tensors, wherever in the graph, and what its properties say
(github.com/onnx/onnx, onnx/onnx.proto3)."""

from __future__ import annotations

import math
from typing import BinaryIO

from lineage.errors import GenomeError
from lineage.genome import Tensor, onnx_tensors, protobuf
from lineage.readers.said import Said

_PRODUCER, _PROPERTIES = 2, 14
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9
_TYPES = {1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16",
          11: "F64", 12: "U32", 13: "U64", 16: "BF16"}  # fmt: skip
MOST_PROPERTIES = 1_000


def onnx(file: BinaryIO, size: int, name: str) -> tuple[Said, list[Tensor]]:
    """What a model says, and its tensors whose data lies in the file, in the order of their data.
    Raises ValueError that says what is wrong with it."""
    try:
        tensors = [
            tensor
            for begin, end in onnx_tensors(file, size, name)
            if (tensor := _tensor(file, begin, end, name)) is not None
        ]
        return _said(file, size, name), sorted(tensors, key=lambda one: (one.begin, one.end))
    except GenomeError as error:
        raise ValueError(str(error)) from None


def _tensor(file: BinaryIO, begin: int, end: int, full: str) -> Tensor | None:
    shape: list[int] = []
    kind, data, name = 0, None, ""
    for number, start, stop, value in protobuf(file, begin, end, full):
        if number == _DIMS and value is not None:
            shape.append(value)
        elif number == _DIMS:
            shape += _packed(file, start, stop)
        elif number == _TYPE and value is not None:
            kind = value
        elif number == _NAME:
            name = _text(file, start, stop)
        elif number == _RAW or (number == _FLOATS and kind == 1 and stop - start > 4):
            data = (start, stop)
    if data is None or kind not in _TYPES or len(shape) > 64:
        return None
    return Tensor(name, _TYPES[kind], tuple(shape), *data) if math.prod(shape) else None


def _packed(file: BinaryIO, start: int, stop: int) -> list[int]:
    """Numbers written one after the other, as varints."""
    file.seek(start)
    found, value, shift = [], 0, 0
    for byte in file.read(min(stop - start, 640)):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            found.append(value)
            value = shift = 0
    return found


def _text(file: BinaryIO, start: int, stop: int) -> str:
    file.seek(start)
    return file.read(min(stop - start, 4096)).decode("utf-8", "replace")


def _said(file: BinaryIO, size: int, name: str) -> Said:
    said, properties = Said(kinds=["onnx"]), 0
    for number, start, stop, _ in protobuf(file, 0, size, name):
        if number == _PRODUCER:
            said.tag("producer", _text(file, start, stop))
        elif number == _PROPERTIES and properties < MOST_PROPERTIES:
            properties += 1
            pair = {n: (a, b) for n, a, b, _ in protobuf(file, start, stop, name)}
            if 1 in pair and 2 in pair and _text(file, *pair[1]) == "base_model":
                said.claim(_text(file, *pair[2]), name, relation="convert")
    return said
