"""One array of a group as plain Zarr v3 on a disk: a text, and one file of bare rows with running checksums.

    <name>/zarr.json    shape, type, dimension names, codecs `bytes` (little-endian) and `crc32c`, one chunk
    <name>/c.0.0        | block 0 | block 1 | ... | last block | crc32c |        rows as they lie in memory

One chunk is the whole array, so its rows lie in one piece and can be mapped instead of copied; shards of checked chunks
have gaps of 4 bytes. The price: plain readers read and check an array whole, also for a part of it. We read and check
parts in blocks of rows: a checksum is kept for the end of each block, taken of all bytes up to there, so block k is
sound if its bytes lead from checksum k - 1 to checksum k, one pass makes them all, and the last is the chunk's own.

Format: Zarr core 3.0 with its codecs `bytes` and `crc32c` (RFC 3720).
"""

from __future__ import annotations

import errno
import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

import google_crc32c
import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 256  # about 256 KB of a 512-wide feature: small enough to read a window, large enough to be few
_STEP_BYTES = 2**18  # read at once while checking: fits the processor's cache
_MAPPED_BYTES = 2**18  # from here on new pages cost more than a mapping
_FILLS: Mapping[str, Any] = {"float16": "NaN", "float32": "NaN", "float64": "NaN", "bool": False, "int64": 0}


@dataclass(frozen=True)
class Rows:
    """How an array's rows lie in its file, kept in the attributes of its group: `checksums` after each block."""

    dtype: str
    shape: tuple[int, ...]
    block_rows: int
    checksums: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in _FILLS:
            raise ValueError(f"dtype is {self.dtype!r}; wanted one of {', '.join(_FILLS)}")
        if not self.shape or min(self.shape) < 0 or self.block_rows < 1:
            raise ValueError(
                f"shape is {self.shape}, block_rows {self.block_rows}; wanted rows, and blocks of 1 or more"
            )
        blocks = -(-self.shape[0] // self.block_rows)
        if len(self.checksums) != blocks:
            raise ValueError(f"{len(self.checksums)} checksums for {blocks} blocks of {self.block_rows} rows")

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> Self:
        """Read back what `attributes` wrote. Raises ValueError or KeyError for anything else."""
        shape, checksums = tuple(map(int, attributes["shape"])), tuple(map(int, attributes["running_crc32c"]))
        return cls(str(attributes["dtype"]), shape, int(attributes["block_rows"]), checksums)

    def attributes(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "dtype": self.dtype,
            "shape": list(self.shape),
            "block_rows": self.block_rows,
            "running_crc32c": list(self.checksums),
        }

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return row_bytes(np.dtype(self.dtype), self.shape)

    @property
    def file(self) -> str:
        """The name of the file of rows in the array's folder; an array without rows has none."""
        return "c" + ".0" * len(self.shape)


def row_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Bytes of one row of an array."""
    return prod(shape[1:]) * dtype.itemsize


def metadata(dtype: str, shape: tuple[int, ...], dimension_names: tuple[str, ...]) -> dict[str, Any]:
    """The array's zarr.json."""
    endian = {} if dtype == "bool" else {"configuration": {"endian": "little"}}
    chunk = [max(1, length) for length in shape]
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": _FILLS[dtype],
        "codecs": [{"name": "bytes", **endian}, {"name": "crc32c"}],
        "attributes": {},
        "dimension_names": list(dimension_names),
    }


def write_array(folder: Path, array: NDArray[Any], dimension_names: tuple[str, ...]) -> Rows:
    """Make the array's folder. Nothing is synced: whoever commits the group does that."""
    folder.mkdir()
    dtype, shape = array.dtype.name, array.shape
    (folder / "zarr.json").write_text(json.dumps(metadata(dtype, shape, dimension_names)), encoding="utf-8")
    # Bytes in the order of the file, a copy only where the array is not so already.
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
    block_bytes = _BLOCK_ROWS * row_bytes(array.dtype, shape)
    checksum, checksums = 0, []
    if shape[0]:
        with (folder / Rows(dtype, (0, *shape[1:]), 1, ()).file).open("xb", buffering=0) as file:
            for start in range(0, len(data), block_bytes):
                block = data[start : start + block_bytes]
                checksum = google_crc32c.extend(checksum, block)
                checksums.append(checksum)
                _write_all(file.fileno(), block)
            _write_all(file.fileno(), np.frombuffer(checksum.to_bytes(4, "little"), np.uint8))
    return Rows(dtype, shape, _BLOCK_ROWS, tuple(checksums))


def read_array(group: int, name: str, rows: Rows, start: int, stop: int) -> NDArray[Any]:
    """Rows [start, stop) of an array, read-only. group: the handle of its group's folder.

    Reads and checks the blocks that hold these rows, and no other. Where they are large they are mapped once they are
    checked, and cost no copy. Raises ValueError if a checksum or the file's length is wrong, OSError if the
    file can't be read.
    """
    dtype = np.dtype(rows.dtype).newbyteorder("<")
    if start >= stop:
        return np.empty((0, *rows.shape[1:]), dtype)
    handle = os.open(f"{name}/{rows.file}", os.O_RDONLY, dir_fd=group)
    try:
        length, wanted = os.fstat(handle).st_size, rows.shape[0] * rows.row_bytes + 4
        if length != wanted:
            raise ValueError(f"the rows of {name} take {length} bytes, wanted {wanted}")
        first, last = start // rows.block_rows, -(-stop // rows.block_rows)
        begin, end = first * rows.block_rows, min(last * rows.block_rows, rows.shape[0])
        start_byte, stop_byte = begin * rows.row_bytes, end * rows.row_bytes
        mapped = stop_byte - start_byte >= _MAPPED_BYTES
        if mapped:
            _fetch(handle, start_byte, stop_byte)
            held = _mapped(handle, start_byte, stop_byte)
        else:
            held = np.empty(stop_byte - start_byte, np.uint8)
        _check(handle, name, rows, first, last, held, filled=mapped)
        held.setflags(write=False)
    finally:
        os.close(handle)
    array: NDArray[Any] = np.frombuffer(held, dtype).reshape(end - begin, *rows.shape[1:])
    return array[start - begin : stop - begin]


def faults_of_array(folder: Path, name: str, rows: Rows, dimension_names: tuple[str, ...]) -> list[str]:
    """What is wrong with an array beside its rows: its text, and files that don't belong to it."""
    found = []
    try:
        text = json.loads((folder / name / "zarr.json").read_bytes())
        if text != json.loads(json.dumps(metadata(rows.dtype, rows.shape, dimension_names))):
            found.append(f"{name}/zarr.json describes another array than the attributes do")
    except (OSError, ValueError) as error:
        found.append(f"{name}/zarr.json can't be read ({type(error).__name__}: {error})")
    known = {"zarr.json", rows.file} if rows.shape[0] else {"zarr.json"}
    if (folder / name).is_dir():  # hidden files are what systems leave behind
        others = sorted({other for other in os.listdir(folder / name) if not other.startswith(".")} - known)
        found += [f"{name}/{other} does not belong there" for other in others]
    return found


def _check(handle: int, name: str, rows: Rows, first: int, last: int, held: NDArray[np.uint8], *, filled: bool) -> None:
    """Compare the checksums of blocks [first, last), which `held` holds, or takes up from the file on the way."""
    row, total = rows.row_bytes, rows.shape[0] * rows.row_bytes
    begin = offset = first * rows.block_rows * row
    checksum = rows.checksums[first - 1] if first else 0
    for block in range(first, last):
        end = min((block + 1) * rows.block_rows * row, total)
        while offset < end:
            piece = held[offset - begin : min(offset + _STEP_BYTES, end) - begin]
            if not filled:
                _read_all(handle, piece, offset)
            checksum = google_crc32c.extend(checksum, piece)
            offset += len(piece)
        if checksum != rows.checksums[block]:
            start, stop = block * rows.block_rows, min((block + 1) * rows.block_rows, rows.shape[0])
            raise ValueError(f"the checksum of rows [{start}, {stop}) of {name} is wrong")
    if offset == total:
        own = np.empty(4, np.uint8)
        _read_all(handle, own, total)
        if int.from_bytes(own.tobytes(), "little") != rows.checksums[-1]:
            raise ValueError(f"the checksum at the end of {name} is wrong")


def _fetch(handle: int, start: int, stop: int) -> None:
    """Have bytes [start, stop) brought into memory before they are mapped.

    A disk that fails is an error here; in a mapping it would be a signal that ends the process. Sent nowhere by the
    system where it can do that, because reading would copy them.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        while start < stop:
            count = os.sendfile(nowhere, handle, start, stop - start)
            if not count:
                raise ValueError(f"the file ends at byte {start}")
            start += count
    except OSError as error:
        if error.errno not in _CANNOT_SEND:
            raise
        step = np.empty(_STEP_BYTES, np.uint8)
        for offset in range(start, stop, _STEP_BYTES):
            _read_all(handle, step[: stop - offset], offset)
    finally:
        os.close(nowhere)


_CANNOT_SEND = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTSOCK)


def _mapped(handle: int, start: int, stop: int) -> NDArray[np.uint8]:
    """Bytes [start, stop) of a file, mapped where that can be had."""
    before = start % mmap.ALLOCATIONGRANULARITY
    try:
        pages = mmap.mmap(
            handle,
            stop - start + before,
            flags=mmap.MAP_PRIVATE | _POPULATE,
            prot=mmap.PROT_READ,
            offset=start - before,
        )
    except OSError:  # a process may have only so many mappings (65,530 on Linux), and some disks have none
        held = np.empty(stop - start, np.uint8)
        _read_all(handle, held, start)
        return held
    return np.frombuffer(pages, np.uint8)[before:]


_POPULATE = getattr(mmap, "MAP_POPULATE", 0)  # Linux: all pages in one step


def _read_all(handle: int, piece: NDArray[np.uint8], offset: int) -> None:
    done = 0
    while done < len(piece):
        count = os.preadv(handle, [piece[done:].data], offset + done)
        if not count:
            raise ValueError(f"the file ends at byte {offset + done}")
        done += count


def _write_all(handle: int, piece: NDArray[np.uint8]) -> None:
    done = 0
    while done < len(piece):
        done += os.write(handle, piece[done:].data)
