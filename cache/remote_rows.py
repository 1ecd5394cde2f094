"""Rows of an array behind an address: which bytes hold them, and whether these bytes are sound.

The file of an array is that of cache/zarr_array.py: bare rows, a running checksum kept for the end of each block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.zarr_array import Rows


@dataclass(frozen=True)
class Span:
    """Rows [start, stop) of an array. Whole blocks are fetched, since a checksum is of a whole block."""

    name: str
    rows: Rows
    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop <= self.rows.shape[0]:
            raise ValueError(f"rows [{self.start}, {self.stop}) are not within the {self.rows.shape[0]} of {self.name}")

    @property
    def blocks(self) -> tuple[int, int]:
        """The blocks [first, last) that hold the rows; none for no rows."""
        if self.start == self.stop:
            return 0, 0
        return self.start // self.rows.block_rows, -(-self.stop // self.rows.block_rows)

    def byte_range(self) -> tuple[int, int]:
        """The bytes [begin, end) of the array's file that hold these blocks, with the checksum behind the last one."""
        first, last = self.blocks
        total = self.rows.shape[0] * self.rows.row_bytes
        block_bytes = self.rows.block_rows * self.rows.row_bytes
        end = last * block_bytes
        return first * block_bytes, total + 4 if last and end >= total else end

    def take(self, content: bytes) -> NDArray[Any]:
        """The rows, read-only, from the bytes of `byte_range`. Raises ValueError if these are too few or unsound."""
        dtype = np.dtype(self.rows.dtype).newbyteorder("<")
        if self.start == self.stop:
            return np.empty((0, *self.rows.shape[1:]), dtype)
        begin, end = self.byte_range()
        if len(content) != end - begin:
            raise ValueError(f"bytes [{begin}, {end}) of {self.name} came as {len(content)} bytes; the object is short")
        (first, last), view = self.blocks, memoryview(content)
        total = self.rows.shape[0] * self.rows.row_bytes
        block_bytes = self.rows.block_rows * self.rows.row_bytes
        checksum = self.rows.checksums[first - 1] if first else 0
        for block in range(first, last):
            piece = view[block * block_bytes - begin : min((block + 1) * block_bytes, total) - begin]
            checksum = google_crc32c.extend(checksum, np.frombuffer(piece, np.uint8))
            if checksum != self.rows.checksums[block]:
                raise ValueError(f"the checksum of block {block} of {self.name} is wrong")
        held = min(end, total) - begin
        if end > total and int.from_bytes(view[held:], "little") != checksum:
            raise ValueError(f"the checksum at the end of {self.name} is wrong")
        array: NDArray[Any] = np.frombuffer(view[:held], dtype).reshape(-1, *self.rows.shape[1:])
        offset = first * self.rows.block_rows
        return array[self.start - offset : self.stop - offset]
