"""One part of an HDF5 store: a small, self-contained HDF5 file of one track or one record, written once.

The format, version 1:
    /                      attributes: format "duet-store", version,
                               attributes   JSON text: clip, digests, clock, recipe, provenance, or the record
                               crc32c       JSON text: of that text, and of each `block_rows` rows of each dataset
    /values [time, column] float16 by default, NaN where not valid, contiguous; `dimensions` of each says time, column
    /valid  [time]         bool, True = observed
    /tick   [time]         int64, only where the clock is explicit (variable frame rate)

All texts are UTF-8 of fixed length. Numbers are contiguous, because that is what loads fast: HDF5's own checksum (the
fletcher32 filter) wants chunks, and each chunk costs a lookup and a copy. The headers are of HDF5 1.8, with checksums.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.store import FORMAT, StoreError
from cache.track import Track

VERSION = 1
_BLOCK_ROWS = 1024  # about 1 MB of a 512-wide feature: what is read at least, and checked at once
_LIBVER = ("v108", "v108")  # any HDF5 since 2008 reads it

# What h5py raises for a file that isn't as it was written; a damaged file must not look like a mistake in Duet.
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError)


def image_of(attributes: Mapping[str, Any], track: Track | None, column: str) -> bytes:
    """The bytes of a part. column: what a column of `values` is, "feature" or "dimension".

    Made in memory, so that a full disk is met by a plain write and never by HDF5 with a file open.
    """
    text = json.dumps(attributes)
    sums: dict[str, Any] = {"attributes": _sum(np.frombuffer(text.encode(), np.uint8)), "block_rows": _BLOCK_ROWS}
    with new_image() as file:
        put_text(file, "format", FORMAT)
        file.attrs["version"] = VERSION
        put_text(file, "attributes", text)
        for name, array in _arrays(track):
            dataset = file.create_dataset(name, data=array)
            put_text(dataset, "dimensions", " ".join(("time", column)[: array.ndim]))
            sums[name] = [_sum(array[row : row + _BLOCK_ROWS]) for row in range(0, len(array), _BLOCK_ROWS)]
        put_text(file, "crc32c", json.dumps(sums))
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


def put_text(place: h5py.HLObject, name: str, text: str) -> None:
    """A text attribute of fixed length, which h5py reads as bytes: it lies in the header, under its checksum.

    One of variable length would lie in HDF5's heap, which has none: a flipped bit there was seen to hang HDF5 2.0.
    """
    content = text.encode()
    place.attrs.create(name, content, dtype=h5py.string_dtype("utf-8", max(1, len(content))))


@contextmanager
def new_image() -> Iterator[h5py.File]:
    """An HDF5 file in memory; `file.id.get_file_image()` after a flush is what would lie on the disk."""
    name = uuid.uuid4().hex  # threads make images at once, and HDF5 knows even a file in memory by its name
    with h5py.File(name, "w", driver="core", backing_store=False, libver=_LIBVER) as file:
        yield file


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of the part at `path`. Raises StoreError if it isn't there or is damaged."""
    with _opened(path) as file:
        return _attributes(file, _sums(file))


def read_shape(path: Path) -> tuple[int, int]:
    """Rows and columns of the track in the part at `path`. Raises StoreError if it isn't there or is damaged."""
    with _opened(path) as file:
        rows, columns = file["values"].shape
        return int(rows), int(columns)


def read_part(path: Path, rows: slice | None = None) -> tuple[dict[str, Any], Track | None]:
    """The attributes of the part at `path`, and its track, or the rows [start, stop) of it: no other block is read.

    The track is None for a record without labels. Raises StoreError if the part isn't there or is damaged.
    """
    with _opened(path) as file:
        sums = _sums(file)
        attributes = _attributes(file, sums)
        if "clock" not in attributes:
            return attributes, None
        start, stop, _ = (rows or slice(None)).indices(attributes["clock"]["count"])
        stop = max(start, stop)
        explicit = attributes["clock"]["kind"] == "explicit"
        names = ("values", "valid", "tick") if explicit else ("values", "valid")
        held = {name: _rows(file[name], attributes["clock"]["count"], start, stop, sums, name) for name in names}
        if explicit:
            clock = Clock.explicit(held["tick"], Fraction(attributes["clock"]["tick_seconds"]))
        else:
            clock = Clock.from_attributes(attributes["clock"], None).rows(start, stop)
        return attributes, Track(held["values"], held["valid"], clock)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["format"] != FORMAT.encode():
                raise ValueError(f"its format is {file.attrs['format']!r}, wanted {FORMAT!r}")
            if file.attrs["version"] > VERSION:
                raise StoreError(newer(path, file.attrs["version"]))
            yield file
    except StoreError:
        raise
    except DAMAGE as error:
        if not path.exists():
            raise StoreError(f"{path.parent} is not there; the store was changed meanwhile, or never had it") from None
        raise StoreError(
            f"{path.parent} is damaged ({type(error).__name__}: {first_line(error)}); "
            "delete this folder and extract again"
        ) from error


def first_line(error: Exception) -> str:
    """What an error says, without HDF5's further lines of addresses and times."""
    return (str(error).splitlines() or [""])[0]


def newer(path: Path, version: int) -> str:
    """What to say of a store or part of a newer version."""
    return f"{path} is a store of version {version}, this Duet reads up to {VERSION}; update Duet"


def _arrays(track: Track | None) -> Iterator[tuple[str, NDArray[Any]]]:
    if track is None:
        return
    yield "values", np.ascontiguousarray(track.values, track.values.dtype.newbyteorder("<"))
    yield "valid", np.ascontiguousarray(track.valid)
    if track.clock.ticks is not None:
        yield "tick", np.ascontiguousarray(track.clock.ticks, "<i8")


def _sums(file: h5py.File) -> dict[str, Any]:
    sums: dict[str, Any] = json.loads(file.attrs["crc32c"])
    return sums


def _attributes(file: h5py.File, sums: Mapping[str, Any]) -> dict[str, Any]:
    text = bytes(file.attrs["attributes"])
    if _sum(np.frombuffer(text, np.uint8)) != sums["attributes"]:
        raise ValueError("the checksum of its attributes is another")
    attributes: dict[str, Any] = json.loads(text)
    return attributes


def _rows(dataset: h5py.Dataset, count: int, start: int, stop: int, sums: Mapping[str, Any], name: str) -> NDArray[Any]:
    """Rows [start, stop) of a dataset of `count` rows: the blocks that hold them are read and checked, no others."""
    if len(dataset) != count or len(sums[name]) != -(-count // sums["block_rows"]):
        raise ValueError(f"{name} has {len(dataset)} rows and {len(sums[name])} checksums, its clock {count} rows")
    size = sums["block_rows"]
    first, last = start // size * size, min(-(-stop // size) * size, count)
    if stop <= start:
        first = last = start
    array = np.empty((last - first, *dataset.shape[1:]), dataset.dtype)
    if array.size:
        dataset.read_direct(array, np.s_[first:last])
    for row in range(first, last, size):
        if _sum(array[row - first : row - first + size]) != sums[name][row // size]:
            raise ValueError(f"the checksum of {name}, rows {row} to {min(row + size, count) - 1}, is another")
    return array[start - first : stop - first]


def _sum(array: NDArray[Any]) -> int:
    return int(google_crc32c.value(array.reshape(-1).view(np.uint8)))  # reshape: a view, the array is contiguous
