"""Digests of tensors while their file is hashed, and which of them prove nothing: two checkpoints
may share a mask or a Fourier basis without being related."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Sequence
from typing import BinaryIO

from lineage.genome import Tensor

LEAST_VALUES = 1_000
"""A tensor of fewer values proves nothing: two trainings may come to the same small one."""
SAMPLE = 64
_FORMATS = {
    dtype: struct.Struct(f"<{form}")
    for dtype, form in (("F64", "d"), ("F32", "f"), ("F16", "e"), ("I32", "i"), ("I16", "h"),
                        ("I8", "b"), ("U8", "B"), ("U16", "H"), ("U32", "I"), ("U64", "Q"))
}  # fmt: skip
_NO_WEIGHTS = ("BOOL", "I64")
"""Masks and positions: weights come in neither."""


class TensorDigests:
    """Sees the bytes of a file, and keeps the first 16 bytes of the SHA-256 of each tensor that can
    prove something, with its size in bytes, in `found`."""

    def __init__(self, file: BinaryIO, tensors: Sequence[Tensor]) -> None:
        self.found: dict[bytes, int] = {}
        self._spans: list[tuple[int, int]] = []
        last = 0
        for tensor in tensors:
            # spans that overlap would let a small file cost endless work
            if tensor.begin >= last and proves_something(file, tensor):
                self._spans.append((tensor.begin, tensor.end))
                last = tensor.end
        self._spans.reverse()
        self._at = 0
        self._digest = hashlib.sha256()

    def feed(self, block: memoryview) -> None:
        start, end = self._at, self._at + len(block)
        self._at = end
        spans = self._spans
        while spans and spans[-1][0] < end:
            begin, stop = spans[-1]
            if begin >= start:
                self._digest = hashlib.sha256(block[begin - start : stop - start])
            else:
                self._digest.update(block[: stop - start])
            if stop > end:
                return
            self.found[self._digest.digest()[:16]] = stop - begin
            spans.pop()


def proves_something(file: BinaryIO, tensor: Tensor) -> bool:
    """Whether a second file with this tensor must have it from the same training: it is large
    enough, holds more than two values, and is no table that everybody computes alike."""
    values = math.prod(tensor.shape)
    if values < LEAST_VALUES or tensor.dtype in _NO_WEIGHTS:
        return False
    item = (tensor.end - tensor.begin) // values
    if not item:  # packed in blocks: quantized
        return len(set(_read(file, tensor.begin, SAMPLE))) > 2
    head = _read(file, tensor.begin, SAMPLE * item)
    if _few(head[: tensor.shape[-1] * item], item):  # of the first row
        middle = tensor.begin + values // 2 * item
        rest = _items(file, middle, item) + _items(file, tensor.end - SAMPLE * item, item)
        if len(set(rest)) <= 3 or _is_positions(file, tensor, item):
            return False
    if tensor.dtype[0] in "IU":
        return not _counts_up(_cut(head, item), tensor.dtype)
    return not _is_fourier(file, tensor, item)


def _few(data: bytes, item: int) -> bool:
    """Whether there are at most two different items; most tensors tell by their first ones."""
    one, two, three = data[:item], data[item : 2 * item], data[2 * item : 3 * item]
    if one != two != three != one and len(three) == item:
        return False
    return len(set(_cut(data, item))) <= 2


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _items(file: BinaryIO, at: int, item: int) -> list[bytes]:
    return _cut(_read(file, at, SAMPLE * item), item)


def _cut(data: bytes, item: int) -> list[bytes]:
    return [data[i : i + item] for i in range(0, len(data), item)]


def _value(file: BinaryIO, tensor: Tensor, item: int, index: int) -> float:
    data = _read(file, tensor.begin + index * item, item)
    if tensor.dtype == "BF16":
        return float(struct.unpack("<f", b"\0\0" + data)[0])
    return float(_FORMATS[tensor.dtype].unpack(data)[0])


def _counts_up(head: Sequence[bytes], dtype: str) -> bool:
    """0, 1, 2, ...: positions."""
    form = _FORMATS.get(dtype)
    if form is None or form.size != len(head[0]):
        return False
    return [form.unpack(one)[0] for one in head] == list(range(len(head)))


def _is_positions(file: BinaryIO, tensor: Tensor, item: int) -> bool:
    """A table of sines and cosines of positions (Vaswani et al. 2017, section 3.5; rotary caches):
    the row of position 0 is 0s and 1s, that of position 1 begins with the sine or cosine of 1."""
    if tensor.dtype not in ("F64", "F32", "F16", "BF16") or tensor.shape[-1] < 8:
        return False
    if _value(file, tensor, item, 0) not in (0, 1):
        return False
    first = _value(file, tensor, item, tensor.shape[-1])
    return any(math.isclose(first, known, abs_tol=0.01) for known in (math.sin(1), math.cos(1)))


def _is_fourier(file: BinaryIO, tensor: Tensor, item: int) -> bool:
    """A basis of the short-time Fourier transform: the second row is the first, the window, times a
    cosine of one turn."""
    if tensor.dtype not in ("F64", "F32", "F16"):
        return False
    shape = tensor.shape if len(tensor.shape) == 2 else [n for n in tensor.shape if n != 1]
    if len(shape) != 2:
        return False
    rows, length = shape
    if rows not in (length + 2, length // 2 + 1, length) or length < 16:
        return False
    # The middle first, where a window is high: what is no basis fails at once.
    largest = abs(_value(file, tensor, item, length // 2))
    for k in (8, *range(1, 16)):
        n = length * k // 16
        expected = _value(file, tensor, item, n) * math.cos(2 * math.pi * n / length)
        if not abs(expected - _value(file, tensor, item, length + n)) <= 0.01 * largest:
            return False
    return largest > 0
