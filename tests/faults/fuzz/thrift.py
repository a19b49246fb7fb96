"""Thrift's compact protocol as a tree: Parquet's footer and page headers can be changed and still be well formed.

A struct is ``{field id: (type, value)}``, a list ``(element type, [values])``; integers, bytes and booleans are
themselves.
"""

from __future__ import annotations

import struct
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
INTEGERS = (I16, I32, I64)

Struct = dict[int, tuple[int, Any]]


def parse(body: bytes, at: int = 0) -> tuple[Struct, int]:
    """The struct at ``at``, and where it ends."""
    reader = _Reader(body, at)
    return reader.struct(), reader.at


def dump(tree: Struct) -> bytes:
    """Inverse of `parse`."""
    out = bytearray()
    last = 0
    for number, (kind, value) in sorted(tree.items()):
        shown = (TRUE if value else FALSE) if kind in (TRUE, FALSE) else kind
        if 0 < number - last < 16:
            out.append((number - last) << 4 | shown)
        else:
            out.append(shown)
            out += _varint(_zigzag(number))
        last = number
        if kind not in (TRUE, FALSE):
            out += _value(kind, value)
    out.append(0)
    return bytes(out)


def _value(kind: int, value: Any) -> bytes:  # noqa: PLR0911
    if kind in INTEGERS:
        return _varint(_zigzag(value))
    if kind == BINARY:
        return _varint(len(value)) + value
    if kind == STRUCT:
        return dump(value)
    if kind in (LIST, SET):
        element, values = value
        size = len(values)
        head = bytes([size << 4 | element]) if size < 15 else bytes([0xF0 | element]) + _varint(size)
        return head + b"".join(_value(element, each) for each in values)
    if kind in (TRUE, FALSE):
        return bytes([TRUE if value else FALSE])
    if kind == DOUBLE:
        return struct.pack("<d", value)
    return struct.pack("b", value)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _zigzag(number: int) -> int:
    return number << 1 if number >= 0 else (-number << 1) - 1


class _Reader:
    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self.at = at

    def struct(self) -> Struct:
        tree: Struct = {}
        last = 0
        while head := self._byte():
            last = last + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            tree[last] = (kind, kind == TRUE if kind in (TRUE, FALSE) else self._value(kind))
        return tree

    def _value(self, kind: int) -> Any:  # noqa: PLR0911
        if kind in INTEGERS:
            return self._integer()
        if kind == BINARY:
            size = self._varint()
            self.at += size
            return self._body[self.at - size : self.at]
        if kind == STRUCT:
            return self.struct()
        if kind in (LIST, SET):
            head = self._byte()
            size = self._varint() if head >> 4 == 15 else head >> 4
            return head & 15, [self._value(head & 15) for _ in range(size)]
        if kind in (TRUE, FALSE):
            return self._byte() == TRUE
        if kind == DOUBLE:
            self.at += 8
            return struct.unpack("<d", self._body[self.at - 8 : self.at])[0]
        return struct.unpack("b", bytes([self._byte()]))[0]

    def _byte(self) -> int:
        self.at += 1
        return self._body[self.at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 0x80:
            number |= (byte & 0x7F) << shift
            shift += 7
        return number | byte << shift

    def _integer(self) -> int:
        number = self._varint()
        return number >> 1 if not number & 1 else -(number >> 1) - 1
