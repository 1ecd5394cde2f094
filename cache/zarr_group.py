"""One track or record as a Zarr group in a folder of its own: its attributes, and the arrays that hold the numbers.

Where the attributes list `arrays`, their rows lie bare (see cache/zarr_array.py) and are read from here. Else they are
compressed, or of a store of version 1, and zarr-python reads them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.store import StoreError
from cache.track import Track
from cache.zarr_array import Rows, faults_of_array, read_array, write_array

if TYPE_CHECKING:
    import zarr

_ROWS_A_CHUNK = 1024  # of a compressed array
_CHECKSUM = "attributes_crc32c"
_REMEDY = "run `duet cache verify --repair`, or delete this folder and extract again"


def group_text(attributes: Mapping[str, Any]) -> str:
    """The zarr.json of a group."""
    text = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return json.dumps(text, allow_nan=False, ensure_ascii=False)


def write_group(
    folder: Path, attributes: Mapping[str, Any], track: Track | None, columns: str, *, compressed: bool
) -> None:
    """Make the group's folder with attributes and, if there is a track, its numbers. Nothing is synced.

    columns: what the second dimension is called. Raises ValueError for attributes that JSON can't say exactly.
    """
    folder.mkdir()
    said = dict(attributes)
    if track is not None:
        said["clock"] = track.clock.attributes()
        arrays = _arrays(track, columns)
        if compressed:
            _write_compressed(folder, arrays)
        else:
            said["arrays"] = {
                name: write_array(folder / name, array, dims).attributes() for name, (array, dims) in arrays.items()
            }
    (folder / "zarr.json").write_text(group_text({**said, _CHECKSUM: _checksum(said)}), encoding="utf-8")


def attributes_of(folder: Path) -> dict[str, Any]:
    """The attributes of a group. Raises StoreError if they are not there, can't be read, or their checksum is wrong."""
    try:
        content = (folder / "zarr.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise StoreError(f"{folder} is not there; the store was changed meanwhile, or never had it") from None
    try:
        return _attributes(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{folder / 'zarr.json'} is damaged ({error}); {_REMEDY}") from None


def read_group(folder: Path, rows: slice | None = None) -> tuple[dict[str, Any], Track | None]:
    """The attributes of a group, and its track or the rows [start, stop) of it; None if it holds no numbers.

    Raises FileNotFoundError if the folder is not there, or was taken away meanwhile; StoreError if it is damaged.
    """
    group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    # All files are opened by this handle: they belong to one track, even if the folder is dropped and made again.
    try:
        try:
            attributes = _attributes(_content(group))
            return attributes, _track(folder, group, attributes, rows) if "clock" in attributes else None
        except (ValueError, KeyError, TypeError, AttributeError, OSError, RuntimeError) as error:  # zstd's is the last
            if not _is_still(folder, group):
                raise FileNotFoundError(folder) from None
            raise StoreError(f"{folder} is damaged ({type(error).__name__}: {error}); {_REMEDY}") from error
    finally:
        os.close(group)


def shape_of_group(folder: Path, attributes: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of a track, from texts alone. Raises StoreError if they don't say so."""
    try:
        values = attributes.get("arrays", {}).get("values") or json.loads((folder / "values/zarr.json").read_bytes())
        rows, columns = values["shape"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} is damaged ({type(error).__name__}: {error}); {_REMEDY}") from None
    return int(rows), int(columns)


def faults_of_group(folder: Path, wanted: Mapping[str, Any], columns: str, *, numbers: bool) -> list[str]:
    """Read all of a group again: what is wrong with it, in words.

    wanted: what its attributes should say. columns: what its second dimension is called. numbers: whether it must
    hold any.
    """
    if not folder.is_dir():
        return ["it is not there"]
    try:
        attributes = attributes_of(folder)
    except (StoreError, OSError) as error:
        return [str(error)]
    found = [
        f"its {name} is {attributes.get(name)!r}, wanted {value!r}"
        for name, value in wanted.items()
        if attributes.get(name) != value
    ]
    if "clock" not in attributes:
        return [*found, "it holds no clock"] if numbers else found
    if "arrays" in attributes:
        broken = _faults_of_rows(folder, attributes, columns)
        if broken:
            return found + broken
    try:
        _, track = read_group(folder)
        if track is not None:
            Track(track.values, track.valid, track.clock)  # finite where valid, NaN elsewhere: the whole check
    except (StoreError, ValueError, FileNotFoundError) as error:
        found.append(str(error))
    return found


def _faults_of_rows(folder: Path, attributes: Mapping[str, Any], columns: str) -> list[str]:
    found = []
    explicit = attributes["clock"].get("kind") == "explicit"
    wanted = {"values": ("time", columns), "valid": ("time",), **({"tick": ("time",)} if explicit else {})}
    if sorted(attributes["arrays"]) != sorted(wanted):
        found.append(f"its arrays are {', '.join(attributes['arrays'])}, wanted {', '.join(wanted)}")
    for name, dims in wanted.items():
        if name not in attributes["arrays"]:
            continue
        try:
            rows = Rows.from_attributes(attributes["arrays"][name])
            found += faults_of_array(folder, name, rows, dims)
            if rows.shape[0] != attributes["clock"].get("count"):
                found.append(f"{name} has {rows.shape[0]} rows, its clock {attributes['clock'].get('count')}")
            group = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                read_array(group, name, rows, 0, rows.shape[0])
            finally:
                os.close(group)
        except (ValueError, KeyError, TypeError, OSError) as error:
            found.append(f"{name} is damaged ({type(error).__name__}: {error})")
    return found


def _track(folder: Path, group: int, attributes: Mapping[str, Any], rows: slice | None) -> Track:
    if "arrays" not in attributes:
        return _track_through_zarr(folder, attributes, rows)
    arrays = {name: Rows.from_attributes(said) for name, said in attributes["arrays"].items()}
    explicit = attributes["clock"]["kind"] == "explicit"
    ticks = read_array(group, "tick", arrays["tick"], 0, arrays["tick"].shape[0]) if explicit else None
    clock = Clock.from_attributes(attributes["clock"], ticks)
    if {len(clock)} != {said.shape[0] for said in arrays.values()}:
        raise ValueError(f"rows of {', '.join(arrays)} and of the clock are not of one number")
    start, stop = _range(rows, len(clock))
    return Track.checked(
        read_array(group, "values", arrays["values"], start, stop),
        read_array(group, "valid", arrays["valid"], start, stop),
        clock if rows is None else clock.rows(start, stop),
    )


def _track_through_zarr(folder: Path, attributes: Mapping[str, Any], rows: slice | None) -> Track:
    import zarr  # here, because bare rows need it not, and it takes a while

    group = zarr.open_group(folder, mode="r", zarr_format=3)
    explicit = attributes["clock"]["kind"] == "explicit"
    clock = Clock.from_attributes(attributes["clock"], _zarr_array(group, "tick")[:] if explicit else None)
    start, stop = _range(rows, len(clock))
    if len(clock) and not (folder / "values" / "c").is_dir():  # zarr would fill in for it, without a word
        raise FileNotFoundError("the numbers of values are gone")
    values = np.asarray(_zarr_array(group, "values")[start:stop])
    valid = np.asarray(_zarr_array(group, "valid")[start:stop])
    return Track(values, valid, clock if rows is None else clock.rows(start, stop))


def _write_compressed(folder: Path, arrays: Mapping[str, tuple[NDArray[Any], tuple[str, ...]]]) -> None:
    import zarr
    from zarr.codecs import ZstdCodec

    for name, (array, dims) in arrays.items():
        # Chunks of equal length, along time only, in one shard that is written whole.
        chunks = max(1, -(-len(array) // _ROWS_A_CHUNK))
        chunk_rows = max(1, -(-len(array) // chunks))
        made = zarr.create_array(
            folder / name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=(chunk_rows, *array.shape[1:]),
            shards=(chunk_rows * chunks, *array.shape[1:]),
            compressors=ZstdCodec(level=1, checksum=True),
            fill_value=np.nan if array.dtype.kind == "f" else array.dtype.type(0),
            dimension_names=list(dims),
            config={"write_empty_chunks": True},
        )
        made[:] = array


def _arrays(track: Track, columns: str) -> dict[str, tuple[NDArray[Any], tuple[str, ...]]]:
    """The arrays of a track by name, with the names of their dimensions."""
    ticks = track.clock.ticks
    return {
        "values": (track.values, ("time", columns)),
        "valid": (track.valid, ("time",)),
        **({"tick": (ticks, ("time",))} if ticks is not None else {}),
    }


def _zarr_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    import zarr

    array = group[name]
    if not isinstance(array, zarr.Array):
        raise KeyError(f"{name} is not an array")
    return array


def _range(rows: slice | None, count: int) -> tuple[int, int]:
    start, stop, _ = (rows or slice(None)).indices(count)
    return start, max(start, stop)


def _content(group: int) -> bytes:
    handle = os.open("zarr.json", os.O_RDONLY, dir_fd=group)
    with os.fdopen(handle, "rb", buffering=0) as file:
        return file.read()


def _attributes(content: bytes) -> dict[str, Any]:
    attributes: dict[str, Any] = json.loads(content)["attributes"]
    stated = attributes.pop(_CHECKSUM, None)  # absent in texts that a folder's name decides, and in version 1
    if stated is not None and stated != _checksum(attributes):
        raise ValueError("the checksum of its attributes is wrong")
    return attributes


def _checksum(attributes: Mapping[str, Any]) -> str:
    """crc32c of the canonical JSON, in 8 hexadecimal digits: whoever writes the same text anew keeps it true."""
    text = json.dumps(attributes, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"{google_crc32c.value(text.encode()):08x}"


def _is_still(folder: Path, group: int) -> bool:
    try:
        now = os.stat(folder)
    except OSError:
        return False
    return os.path.samestat(now, os.fstat(group))
