"""Write sizes into an ONNX file whose input leaves them open, because OpenCV 4 refuses to read such a file.

A file with sizes takes pictures of every size all the same: OpenCV computes the network's shapes anew for each.
An ONNX file is a protocol buffer, and no package for it is needed to change one field:
field numbers from onnx/onnx.proto, the encoding from protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# ModelProto.graph, GraphProto.input, ValueInfoProto.type, TypeProto.tensor_type, TypeProto.Tensor.shape
_TO_SHAPE = (7, 11, 2, 1, 2)
_DIM, _DIM_VALUE = 1, 1  # TensorShapeProto.dim, TensorShapeProto.Dimension.dim_value
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


def with_sizes(model: bytes, sizes: Sequence[int]) -> bytes:
    """The same model; inputs with as many dimensions as `sizes` have those that were open set to them.

    Raises ValueError for bytes that are no protocol buffer.
    """
    return _changed(model, _TO_SHAPE, sizes)


def _changed(message: bytes, path: Sequence[int], sizes: Sequence[int]) -> bytes:
    if not path:
        return _closed(message, sizes)
    parts = []
    for number, kind, start, value, stop in _fields(message):
        if number == path[0] and kind == _BYTES:
            inner = _changed(message[value:stop], path[1:], sizes)
            parts.append(_field(number, inner))
        else:
            parts.append(message[start:stop])
    return b"".join(parts)


def _closed(shape: bytes, sizes: Sequence[int]) -> bytes:
    """A TensorShapeProto with its open dimensions set."""
    dims = [shape[value:stop] for number, kind, _, value, stop in _fields(shape) if (number, kind) == (_DIM, _BYTES)]
    if len(dims) != len(sizes):
        return shape
    return b"".join(
        _field(_DIM, dim if _is_set(dim) else _varint(_DIM_VALUE << 3 | _VARINT) + _varint(size))
        for dim, size in zip(dims, sizes, strict=True)
    )


def _is_set(dim: bytes) -> bool:
    return any(
        number == _DIM_VALUE and kind == _VARINT and _read_varint(dim, value)[0] > 0
        for number, kind, _, value, _ in _fields(dim)
    )


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Each field's number and kind, and where in the message it starts, its value starts, and it ends."""
    at = 0
    while at < len(message):
        start = at
        key, at = _read_varint(message, at)
        number, kind = key >> 3, key & 7
        value = at
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES:
            length, value = _read_varint(message, at)
            at = value + length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of kind {kind} at byte {start}; protocol buffers have none")
        if at > len(message):
            raise ValueError(f"the field at byte {start} ends {at - len(message)} bytes beyond the end")
        yield number, kind, start, value, at


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a byte, and the byte after it."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends within a number")
        byte = message[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
    raise ValueError(f"a number at byte {at - 10} is longer than 64 bits")
