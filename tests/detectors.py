"""A face detector for tests, as an ONNX file with the inputs and outputs of YuNet: a red square is a face.

A cell of 8 x 8 pixels that is all red is one; its box and points lie at a known place relative to that cell. Cells of
16 and 32 pixels find nothing. The file is written field by field, as onnx/onnx.proto numbers them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from math import log, prod
from pathlib import Path

CELL_PX = 8
# In pixels of the picture that the detector sees, from the left top of the cell.
CENTRE, SIZE = (5.0, 3.0), (24.0, 40.0)
POINTS = ((-3.0, -7.0), (9.0, -6.0), (4.0, 1.0), (-2.0, 11.0), (10.0, 13.0))


def write_detector(
    path: Path, input_sizes: Sequence[int | str] = (1, 3, 64, 64), outputs: str = "cls obj bbox kps"
) -> Path:
    """Write one; a text among the sizes is a dimension left open. outputs: which of YuNet's kinds it has."""
    nodes, constants, results = [], [], []
    for stride in (8, 16, 32):
        red = 1 / 255 / stride**2 if stride == CELL_PX else 0.0
        box = [CENTRE[0] / stride, CENTRE[1] / stride, log(SIZE[0] / stride), log(SIZE[1] / stride)]
        points = [value / stride for point in POINTS for value in point]
        for kind, bias in (("cls", [0.0]), ("obj", [0.0]), ("bbox", box), ("kps", points)):
            if kind not in outputs.split():
                continue
            name, width = f"{kind}_{stride}", len(bias)
            seen = red if kind in ("cls", "obj") else 0.0
            plane = [value for value in (0.0, 0.0, seen) for _ in range(stride**2)]  # blue, green, red
            constants += [
                _tensor(f"{name}_w", (width, 3, stride, stride), plane * width),
                _tensor(f"{name}_b", (width,), bias),
                _tensor(f"{name}_s", (3,), [1, -1, width]),
            ]
            nodes += [
                _node("Conv", [_INPUT, f"{name}_w", f"{name}_b"], f"{name}_c", strides=(stride, stride)),
                _node("Transpose", [f"{name}_c"], f"{name}_t", perm=(0, 2, 3, 1)),
                _node("Reshape", [f"{name}_t", f"{name}_s"], name),
            ]
            results.append(_value(name, (1, "cells", width)))
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"red squares"),
            *(_field(5, constant) for constant in constants),
            _field(11, _value(_INPUT, input_sizes)),
            *(_field(12, result) for result in results),
        ]
    )
    path.write_bytes(_number(1, 6) + _field(7, graph) + _field(8, _field(1, b"") + _number(2, 11)))
    return path


_INPUT = "input"


def _node(kind: str, inputs: Iterable[str], output: str, **lists: Sequence[int]) -> bytes:
    attributes = [
        _field(1, name.encode()) + b"".join(_number(8, value) for value in values) + _number(20, 7)  # 7: a list
        for name, values in lists.items()
    ]
    named = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    return named + _field(3, output.encode()) + _field(4, kind.encode()) + b"".join(_field(5, a) for a in attributes)


def _tensor(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    assert len(values) == prod(shape)
    whole = all(isinstance(value, int) for value in values)
    raw = struct.pack(f"<{len(values)}{'q' if whole else 'f'}", *values)
    return (
        b"".join(_number(1, n) for n in shape)
        + _number(2, 7 if whole else 1)
        + _field(8, name.encode())
        + _field(9, raw)
    )


def _value(name: str, sizes: Sequence[int | str]) -> bytes:
    dims = [_number(1, size) if isinstance(size, int) else _field(2, size.encode()) for size in sizes]
    shape = b"".join(_field(1, dim) for dim in dims)
    return _field(1, name.encode()) + _field(2, _field(1, _number(1, 1) + _field(2, shape)))


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number * 8 + 2) + _varint(len(payload)) + payload


def _number(number: int, value: int) -> bytes:
    return _varint(number * 8) + _varint(value)


def _varint(value: int) -> bytes:
    low, rest = value % 128, value // 128
    return bytes([low]) if not rest else bytes([low + 128]) + _varint(rest)
