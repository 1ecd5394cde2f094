"""A store, or a part of it, as one self-contained HDF5 file: for sending, and for tools that want one file.

The format, version 1; every group and dataset can be read with h5py, MATLAB or R alone:
    /                                          attributes: format = duet-export, version
    /tracks/<recipe>/                          attributes: recipe (JSON), recipe_digest
    /tracks/<recipe>/<clip>.<source>/          attributes: clip, recipe_digest, source_digest, clock, provenance (JSON)
        values [time, feature], valid [time]   float16 by default, NaN where not valid; uint8, 1 = observed
        tick [time]                            int64, only where the clock is explicit
    /catalogue/<clip>/                         attributes: clip, record (JSON), clock (JSON, if the clip has labels)
        values [time, dimension], valid, tick  the labels: valence and arousal, float32
<recipe> and <source> are the first 16 digits of a sha256, <clip> is `folder_name` of the clip's name. Datasets are
contiguous, each with the sha256 of its little-endian bytes in an attribute. Of a record the newest generation is here.
It is not written to again: it is made aside and renamed, and `import` brings it into a store.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from cache.catalogue import Record, as_record
from cache.clock import Clock
from cache.key import SHORT, TrackKey, folder_name
from cache.store import StoreError
from cache.track import Track
from cache.transfer import Readable

FORMAT = "duet-export"
VERSION = 1


def is_export(path: Path) -> bool:
    """Whether the file at `path` is an HDF5 file that says it is an export."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return bool(file.attrs.get("format") == FORMAT)


def write_export(
    path: Path,
    records: Iterable[Record],
    source: Readable,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the records, and the tracks that they name, to a new file. Returns how many tracks.

    Raises StoreError if the file is there already, or if a track is damaged or missing; nothing is left then.
    """
    if path.exists():
        raise StoreError(f"{path} is there already, and nothing is overwritten; name a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    chosen, recipes = list(records), source.recipes()
    try:
        with h5py.File(aside, "w") as file:
            file.attrs.update({"format": FORMAT, "version": VERSION})
            tracks = 0
            for n, record in enumerate(chosen):
                on_done(n, len(chosen))
                for key in sorted({record.key(name) for name in record.tracks}):
                    _write_track(file, key, source, recipes)
                    tracks += 1
                _write_record(file, record)
        with aside.open("rb") as written:
            os.fsync(written.fileno())
        os.rename(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    on_done(len(chosen), len(chosen))
    return tracks


class ExportFile:
    """An exported file, for reading. Raises StoreError if it is none, or is of a newer version."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        if not is_export(path):
            raise StoreError(f"{path} is no file that `duet cache export` wrote; name one, or a store")
        self._file = h5py.File(path, "r")
        version = int(self._file.attrs["version"])
        if version > VERSION:
            self._file.close()
            raise StoreError(f"{path} is an export of version {version}, this Duet reads up to {VERSION}; update Duet")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def records(self) -> Iterator[Record]:
        """Every record, by clip's name. Raises StoreError if one is damaged."""
        catalogue = self._file.get("catalogue", {})
        for group in sorted((catalogue[name] for name in catalogue), key=lambda group: str(group.attrs["clip"])):
            clip = str(group.attrs["clip"])
            clock = group.attrs.get("clock")
            labels = None if clock is None else self._track(group, json.loads(clock))
            record = as_record(clip, 0, json.loads(group.attrs["record"]), labels)
            if record.content()["labels_digest"] != json.loads(group.attrs["record"])["labels_digest"]:
                raise StoreError(f"the labels of clip {clip} in {self.location} are damaged; get the file again")
            yield record

    def has(self, key: TrackKey) -> bool:
        return _place(key) in self._file

    def read(self, key: TrackKey) -> Track:
        """A track, its checksums looked at. Raises StoreError if it isn't there or is damaged."""
        if not self.has(key):
            raise StoreError(f"{self.location} has no track of clip {key.clip} for recipe {key.recipe[:SHORT]}")
        group = self._file[_place(key)]
        return self._track(group, json.loads(group.attrs["clock"]))

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file[_place(key)].attrs["provenance"])
        return found

    def recipes(self) -> dict[str, dict[str, Any]]:
        groups = self._file.get("tracks", {})
        return {
            str(group.attrs["recipe_digest"]): json.loads(group.attrs["recipe"])
            for group in (groups[name] for name in groups)
        }

    def _track(self, group: Any, clock: Mapping[str, Any]) -> Track:
        try:
            ticks = self._checked(group, "tick") if clock["kind"] == "explicit" else None
            values, valid = self._checked(group, "values"), self._checked(group, "valid")
            return Track(values, valid.astype(bool), Clock.from_attributes(clock, ticks))
        except (KeyError, ValueError, OSError) as error:
            raise StoreError(
                f"{group.name} in {self.location} is damaged ({type(error).__name__}: {error}); get the file again"
            ) from error

    def _checked(self, group: Any, name: str) -> NDArray[Any]:
        array: NDArray[Any] = group[name][...]
        if _digest(array) != group[name].attrs["sha256"]:
            raise ValueError(f"the checksum of {name} is wrong")
        return array


def _write_track(file: Any, key: TrackKey, source: Readable, recipes: Mapping[str, Mapping[str, Any]]) -> None:
    if key.recipe not in recipes:
        raise StoreError(f"{source.location} does not state the recipe {key.recipe[:SHORT]}; see `duet cache verify`")
    track = source.read(key)
    parent = file.require_group(f"tracks/{key.recipe[:SHORT]}")
    parent.attrs["recipe_digest"] = key.recipe
    parent.attrs["recipe"] = _json(recipes[key.recipe])
    group = file.create_group(_place(key))
    group.attrs["clip"] = key.clip
    group.attrs["recipe_digest"] = key.recipe
    group.attrs["source_digest"] = key.source
    group.attrs["invalid_rows_hold"] = "NaN"
    group.attrs["provenance"] = _json(source.provenance(key))
    _write_arrays(group, track)


def _write_record(file: Any, record: Record) -> None:
    group = file.create_group(f"catalogue/{folder_name(record.clip)}")
    group.attrs["clip"] = record.clip
    group.attrs["record"] = _json(record.content())
    if record.labels is not None:
        group.attrs["dimensions"] = ["valence", "arousal"]
        _write_arrays(group, record.labels)


def _write_arrays(group: Any, track: Track) -> None:
    group.attrs["clock"] = _json(track.clock.attributes())
    arrays = {"values": track.values, "valid": track.valid.astype(np.uint8), "tick": track.clock.ticks}
    for name, array in arrays.items():
        if array is not None:
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            group.create_dataset(name, data=little).attrs["sha256"] = _digest(little)


def _place(key: TrackKey) -> str:
    return f"tracks/{key.recipe[:SHORT]}/{folder_name(key.clip)}.{key.source[:SHORT]}"


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
