"""The store as plain Zarr v3 on a local disk: readable by zarr, dask and xarray without Duet.

The format, version 1:
    x.zarr/zarr.json                                    attributes: format, version
    x.zarr/tracks/<recipe>/zarr.json                    attributes: the whole recipe and its digest
    x.zarr/tracks/<recipe>/<clip>.<source>/             one group a track; attributes: clip, digests, clock, provenance
        values [time, feature]   float16 by default, NaN where not valid, one shard of uncompressed chunks with crc32c
        valid  [time]            bool, True = observed
        tick   [time]            int64, only where the clock is explicit (variable frame rate)
    x.zarr/catalogue/<clip>/<generation>/               one group a record; attributes: media, split, subject, tracks
        values [time, dimension], valid, tick           the labels, float32, where the clip has any
<recipe> and <source> are the first 16 digits of a sha256, <clip> is `folder_name` of the clip's name.

A group is written aside, synced, and renamed into place: the rename is the commit. Beside the store,
`x.zarr.local/` holds unfinished writes; it may be deleted whenever nobody writes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec

from cache.clock import Clock
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.store import FORMAT, VERSION, StoreError, local_folder
from cache.track import Track

_CHUNK_ROWS = 1024  # about 1 MB of a 512-wide feature: small enough to read a window, large enough to be few


class ZarrStore:
    """A store in a folder that ends in `.zarr`. See the top of this file for the format."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self._local = local_folder(path)
        if not (path / "zarr.json").exists():
            if not writable:
                raise StoreError(f"there is no store at {path}; make one with `duet extract`, or correct `store`")
            self._create()
        attributes = _attributes(path)
        if attributes.get("format") != FORMAT:
            raise StoreError(f"{path} is a Zarr group but no Duet store (format: {attributes.get('format')!r})")
        if attributes["version"] > VERSION:
            raise StoreError(
                f"{path} is a store of version {attributes['version']}, this Duet reads up to {VERSION}; update Duet"
            )
        if writable:
            self._sweep()

    def has(self, key: TrackKey) -> bool:
        return self._track(key).is_dir()

    def write(self, key: TrackKey, track: Track, *, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
        if digest_of(recipe) != key.recipe:
            raise StoreError(
                f"the recipe given for clip {key.clip} has another digest than its key says; pass the same"
            )
        self._ensure_group(self.path / "tracks", {})
        self._ensure_group(self._track(key).parent, {"recipe": dict(recipe), "recipe_digest": key.recipe})
        attributes = {
            "clip": key.clip,
            "recipe_digest": key.recipe,
            "source_digest": key.source,
            "clock": track.clock.attributes(),
            "invalid_rows_hold": "NaN",
            "provenance": dict(provenance),
        }
        return self._commit(self._track(key), attributes, track, "feature")

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        if rows is not None and rows.step not in (None, 1):
            raise ValueError(f"rows have the step {rows.step}; wanted a range of rows [start, stop)")
        folder = self._track(key)
        if not folder.is_dir():
            raise StoreError(f"{self.path} has no track of clip {key.clip} for recipe {key.recipe[:SHORT]}")
        return _read_track(folder, _attributes(folder), rows)

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        provenance: dict[str, Any] = _attributes(self._track(key))["provenance"]
        return provenance

    def recipes(self) -> dict[str, dict[str, Any]]:
        found = {}
        for folder in _folders(self.path / "tracks"):
            attributes = _attributes(folder)
            found[attributes["recipe_digest"]] = attributes["recipe"]
        return found

    def recipe_keys(self, recipe: str) -> Iterator[TrackKey]:
        for folder in _folders(self.path / "tracks" / recipe[:SHORT]):
            attributes = _attributes(folder)
            yield TrackKey(attributes["recipe_digest"], attributes["source_digest"], attributes["clip"])

    def clips(self) -> list[str]:
        return sorted(_attributes(folder)["clip"] for folder in _folders(self.path / "catalogue"))

    def generations(self, clip: str) -> list[int]:
        return sorted(int(folder.name) for folder in _folders(self._records(clip)))

    def write_record(self, clip: str, generation: int, attributes: Mapping[str, Any], labels: Track | None) -> bool:
        self._ensure_group(self.path / "catalogue", {})
        self._ensure_group(self._records(clip), {"clip": clip})
        clock = {"clock": labels.clock.attributes()} if labels is not None else {}
        return self._commit(
            self._records(clip) / f"{generation:06d}", {**attributes, **clock, "clip": clip}, labels, "dimension"
        )

    def read_record(self, clip: str, generation: int) -> tuple[dict[str, Any], Track | None]:
        folder = self._records(clip) / f"{generation:06d}"
        attributes = _attributes(folder)
        return attributes, _read_track(folder, attributes, None) if "clock" in attributes else None

    def _track(self, key: TrackKey) -> Path:
        return self.path / "tracks" / key.recipe[:SHORT] / f"{folder_name(key.clip)}.{key.source[:SHORT]}"

    def _records(self, clip: str) -> Path:
        return self.path / "catalogue" / folder_name(clip)

    def _create(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file; name a new folder for the store")
        # Asked in this order: another writer may make the store meanwhile, and its first file is zarr.json.
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "zarr.json").exists():
            raise StoreError(f"{self.path} is a folder with other things in it; name a new folder for the store")
        self._ensure_group(self.path, {"format": FORMAT, "version": VERSION})

    def _ensure_group(self, folder: Path, attributes: Mapping[str, Any]) -> None:
        """The group at `folder`. Its text depends on its name alone, so writers at once write the same bytes."""
        target = folder / "zarr.json"
        if target.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}, indent=2)
        aside = self._aside()
        aside.write_text(text, encoding="utf-8")
        _sync(aside)
        os.replace(aside, target)

    def _commit(self, target: Path, attributes: Mapping[str, Any], track: Track | None, columns: str) -> bool:
        """Write a group aside, then rename it to `target`; False if target was there first."""
        if target.is_dir():
            return False
        aside = self._aside()
        try:
            group = zarr.open_group(aside, mode="w-", zarr_format=3, attributes=dict(attributes))
            if track is not None:
                _write_track(group, track, columns)
            for folder, _, files in os.walk(aside):
                for file in files:
                    _sync(Path(folder) / file)
                _sync(Path(folder))
            try:
                os.rename(aside, target)
            except OSError:
                if target.is_dir():
                    return False
                raise
            _sync(target.parent)
            return True
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _aside(self) -> Path:
        folder = self._local / "unfinished"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"

    def _sweep(self) -> None:
        """Drop what killed processes of this machine left unfinished."""
        for left in (self._local / "unfinished").glob(f"{socket.gethostname()}.*"):
            host, _, rest = left.name.removesuffix(left.suffix).rpartition(".")
            if host == socket.gethostname() and rest.isdecimal() and not _alive(int(rest)):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _write_track(group: zarr.Group, track: Track, columns: str) -> None:
    rows, width = track.values.shape
    # Chunks of equal length, along time only, in one shard that is written whole: valid Zarr and raw bytes at once.
    chunks = max(1, -(-rows // _CHUNK_ROWS))
    chunk_rows = max(1, -(-rows // chunks))
    group.create_array(
        "values",
        shape=(rows, width),
        dtype=track.values.dtype,
        chunks=(chunk_rows, width),
        shards=(chunk_rows * chunks, width),
        compressors=Crc32cCodec(),
        fill_value=float("nan"),
        dimension_names=["time", columns],
        config={"write_empty_chunks": True},
    )[:] = track.values
    for name, array in (("valid", track.valid), ("tick", track.clock.ticks)):
        if array is not None:
            group.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=(max(1, rows),),
                compressors=Crc32cCodec(),
                fill_value=array.dtype.type(0),
                dimension_names=["time"],
                config={"write_empty_chunks": True},
            )[:] = array


def _read_track(folder: Path, attributes: Mapping[str, Any], rows: slice | None) -> Track:
    try:
        group = zarr.open_group(folder, mode="r", zarr_format=3)
        explicit = attributes["clock"]["kind"] == "explicit"
        clock = Clock.from_attributes(attributes["clock"], _array(group, "tick")[:] if explicit else None)
        start, stop, _ = (rows or slice(None)).indices(len(clock))
        if len(clock) and not (folder / "values" / "c").is_dir():  # zarr would fill in for it, without a word
            raise FileNotFoundError("the numbers of values are gone")
        values = np.asarray(_array(group, "values")[start:stop])
        valid = np.asarray(_array(group, "valid")[start:stop])
        return Track(values, valid, clock if rows is None else clock.rows(start, max(start, stop)))
    except (ValueError, KeyError, OSError) as error:
        raise StoreError(
            f"{folder} is damaged ({type(error).__name__}: {error}); delete this folder and extract again"
        ) from error


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise KeyError(f"{name} is not an array")
    return array


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except FileNotFoundError:
        raise StoreError(f"{folder} is not there; the store was changed meanwhile, or never had it") from None
    except (ValueError, KeyError) as error:
        raise StoreError(f"{folder / 'zarr.json'} is damaged ({error}); delete this folder and extract again") from None
    return attributes


def _folders(parent: Path) -> list[Path]:
    """The groups in a folder. One without its text is of a writer that has only begun, or was killed then."""
    if not parent.is_dir():
        return []
    return sorted(Path(entry.path) for entry in os.scandir(parent) if os.path.isfile(Path(entry, "zarr.json")))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
