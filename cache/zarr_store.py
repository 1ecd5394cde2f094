"""The store as plain Zarr v3 on a local disk: readable by zarr, dask and xarray without Duet.

The format, version 2:
    x.zarr/zarr.json                                    attributes: format, version, compression (none or zstd)
    x.zarr/tracks/<recipe>/zarr.json                    attributes: the whole recipe and its digest
    x.zarr/tracks/<recipe>/<clip>.<source>/             one group a track; attributes: clip, digests, clock, recipe, ...
        values [time, feature]   float16 by default, NaN where not valid: bare rows and a crc32c (cache/zarr_array.py)
        valid  [time]            bool, True = observed
        tick   [time]            int64, only where the clock is explicit (variable frame rate)
    x.zarr/catalogue/<clip>/<generation>/               one group a record; attributes: media, split, subject, tracks
        values [time, dimension], valid, tick           the labels, float32, where the clip has any
<recipe> and <source> are the first 16 digits of a sha256, <clip> is `folder_name` of the clip's name. Groups of tracks
and records keep a checksum of their attributes. Version 1 had shards of several chunks and is read as it is.

A group is written aside, synced, and renamed into place: the rename is the commit. Beside the store,
`x.zarr.local/` holds unfinished writes; it may be deleted whenever nobody writes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cache.aside import Aside, sync
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.store import FORMAT, VERSION, StoreError, local_folder
from cache.track import Track
from cache.zarr_group import attributes_of, faults_of_group, group_text, read_group, shape_of_group, write_group

_COMPRESSIONS = (None, "zstd")
_SYNCING = ThreadPoolExecutor(8, "sync")  # they wait for the disk, and start with the first write


def create_store(path: Path, compression: str | None) -> ZarrStore:
    """Make a store whose tracks are compressed (`zstd`), for an archive: smaller, and many times slower to load.

    `open_store` opens it like any other. Raises StoreError if there is something at `path`, or for another compression.
    """
    if compression not in _COMPRESSIONS:
        raise StoreError(f"compression is {compression!r}; wanted None or zstd")
    if path.suffix != ".zarr":
        raise StoreError(f"store {path} ends in {path.suffix!r}; wanted a path that ends in .zarr")
    if path.exists():
        raise StoreError(f"there is something at {path}; name a new folder for the store")
    _make(path, compression)
    return ZarrStore(path, writable=True)


class ZarrStore:
    """A store in a folder that ends in `.zarr`. See the top of this file for the format."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self.location = str(path)
        self._aside = Aside(local_folder(path) / "unfinished")
        if not (path / "zarr.json").exists():
            if not writable:
                raise StoreError(f"there is no store at {path}; make one with `duet extract`, or correct `store`")
            _make(path, None)
        attributes = attributes_of(path)
        if attributes.get("format") != FORMAT:
            raise StoreError(f"{path} is a Zarr group but no Duet store (format: {attributes.get('format')!r})")
        if attributes["version"] > VERSION:
            raise StoreError(
                f"{path} is a store of version {attributes['version']}, this Duet reads up to {VERSION}; update Duet"
            )
        self._compression = attributes.get("compression")
        if self._compression not in _COMPRESSIONS:
            raise StoreError(
                f"{path} is compressed by {self._compression!r}, which this Duet does not know; update Duet"
            )
        if writable:
            self._aside.sweep()
            if attributes["version"] < VERSION:  # what is written from now on, an older Duet could not read
                text = group_text({**attributes, "version": VERSION})
                self._aside.replace_file(path / "zarr.json", text.encode())

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
            "invalid_rows_hold": "NaN",
            "provenance": dict(provenance),
            "recipe": dict(recipe),
        }
        return self._commit(self._track(key), attributes, track, "feature")

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        if rows is not None and rows.step not in (None, 1):
            raise ValueError(f"rows have the step {rows.step}; wanted a range of rows [start, stop)")
        folder = self._track(key)
        try:
            _, track = _read(folder, rows)
        except FileNotFoundError:
            raise self._no_track(key) from None
        if track is None:
            raise StoreError(
                f"{folder} is damaged (it holds no clock); run `duet cache verify --repair`, and extract again"
            )
        return track

    def shape(self, key: TrackKey) -> tuple[int, int]:
        folder = self._track(key)
        if not folder.is_dir():
            raise self._no_track(key)
        return shape_of_group(folder, attributes_of(folder))

    def size_bytes(self, key: TrackKey) -> int:
        folder = self._track(key)
        if not folder.is_dir():
            raise self._no_track(key)
        return sum(Path(inside, file).stat().st_size for inside, _, files in os.walk(folder) for file in files)

    def drop(self, key: TrackKey) -> bool:
        return self._aside.remove(self._track(key))

    def faults(self, key: TrackKey) -> list[str]:
        wanted = {"clip": key.clip, "recipe_digest": key.recipe, "source_digest": key.source}
        return faults_of_group(self._track(key), wanted, "feature", numbers=True)

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        provenance: dict[str, Any] = attributes_of(self._track(key))["provenance"]
        return provenance

    def recipes(self) -> dict[str, dict[str, Any]]:
        stated = filter(None, (self._recipe_of(folder) for folder in _entries(self.path / "tracks")))
        return {digest_of(recipe): recipe for recipe in stated}

    def recipe_keys(self, recipe: str) -> Iterator[TrackKey]:
        for folder in _entries(self.path / "tracks" / recipe[:SHORT]):
            key = self._key_of(folder)
            if key is not None and key.recipe == recipe:
                yield key

    def stray(self) -> list[str]:
        found = [path for path in _entries(self.path) if path.name not in ("zarr.json", "tracks", "catalogue")]
        for folder in _entries(self.path / "tracks"):
            found += self._stray_of_recipe(folder)
        for folder in _entries(self.path / "catalogue"):
            found += self._stray_of_clip(folder)
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def drop_stray(self, name: str) -> None:
        if name not in self.stray():
            raise StoreError(f"{name!r} is nothing stray in {self.path}; only what `stray` names may be dropped so")
        self._aside.remove(self.path / name)

    def clips(self) -> list[str]:
        return sorted(clip for folder in _entries(self.path / "catalogue") if (clip := self._clip_of(folder)))

    def generations(self, clip: str) -> list[int]:
        # Also one that has lost its text: an older one in its place would be stale, without a word.
        return sorted(int(path.name) for path in _entries(self._records(clip)) if _is_generation(path))

    def write_record(self, clip: str, generation: int, attributes: Mapping[str, Any], labels: Track | None) -> bool:
        self._ensure_group(self.path / "catalogue", {})
        self._ensure_group(self._records(clip), {"clip": clip})
        return self._commit(self._record(clip, generation), {**attributes, "clip": clip}, labels, "dimension")

    def read_record(self, clip: str, generation: int) -> tuple[dict[str, Any], Track | None]:
        folder = self._record(clip, generation)
        try:
            return _read(folder, None)
        except FileNotFoundError:
            raise StoreError(f"{folder} is not there; the store was changed meanwhile, or never had it") from None

    def drop_record(self, clip: str, generation: int) -> bool:
        return self._aside.remove(self._record(clip, generation))

    def record_faults(self, clip: str, generation: int) -> list[str]:
        return faults_of_group(self._record(clip, generation), {"clip": clip}, "dimension", numbers=False)

    def _track(self, key: TrackKey) -> Path:
        return self.path / "tracks" / key.recipe[:SHORT] / f"{folder_name(key.clip)}.{key.source[:SHORT]}"

    def _records(self, clip: str) -> Path:
        return self.path / "catalogue" / folder_name(clip)

    def _record(self, clip: str, generation: int) -> Path:
        return self._records(clip) / f"{generation:06d}"

    def _no_track(self, key: TrackKey) -> StoreError:
        return StoreError(f"{self.path} has no track of clip {key.clip} for recipe {key.recipe[:SHORT]}")

    def _key_of(self, folder: Path) -> TrackKey | None:
        """The key of the track in a folder; None if it says none, or one that belongs elsewhere."""
        text = _readable(folder)
        try:
            key = None if text is None else TrackKey(text["recipe_digest"], text["source_digest"], text["clip"])
        except (KeyError, TypeError, ValueError):
            return None
        return key if key is not None and self._track(key) == folder else None

    def _recipe_of(self, folder: Path) -> dict[str, Any] | None:
        """The recipe of a folder of tracks: so says its own text, or any of its tracks if its own is damaged."""
        for path in (folder, *_entries(folder)):
            recipe = (_readable(path) or {}).get("recipe") if path.is_dir() else None
            if isinstance(recipe, dict) and digest_of(recipe)[:SHORT] == folder.name:
                return recipe
        return None

    def _clip_of(self, folder: Path) -> str | None:
        """Whose records lie in a folder: so says its own text, or that of any record if its own is damaged.

        None for an empty folder of a writer that has only begun. Raises StoreError if there are records, but
        nobody says whose: a clip must not vanish from a run without a word.
        """
        records = [path for path in _entries(folder) if _is_generation(path)]
        if not records or folder_name(folder.name) == folder.name:
            return folder.name if records else None
        for text in map(_readable, [folder, *reversed(records)]):
            clip = None if text is None else text.get("clip")
            if isinstance(clip, str) and folder_name(clip) == folder.name:
                return clip
        raise StoreError(f"nothing in {folder} can be read, so a clip is lost; run `duet cache verify --repair`")

    def _stray_of_recipe(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            return [folder] if folder.name != "zarr.json" else []
        found = []
        if (folder / "zarr.json").exists():
            text = _readable(folder) or {}
            if (
                digest_of(text.get("recipe"))[:SHORT] != folder.name
                or text.get("recipe_digest", "")[:SHORT] != folder.name
            ):
                found.append(folder / "zarr.json")
        for path in _entries(folder):
            if path.name != "zarr.json":
                found += [path] if self._key_of(path) is None else _foreign(path)
        return found

    def _stray_of_clip(self, folder: Path) -> list[Path]:
        if not folder.is_dir():
            return [folder] if folder.name != "zarr.json" else []
        try:
            self._clip_of(folder)
        except StoreError:
            return [folder]
        found = []
        for path in _entries(folder):
            if path.name == "zarr.json":
                said = (_readable(folder) or {}).get("clip")
                found += [] if isinstance(said, str) and folder_name(said) == folder.name else [path]
            else:
                found += _foreign(path) if _is_generation(path) else [path]
        return found

    def _ensure_group(self, folder: Path, attributes: Mapping[str, Any]) -> None:
        """The group at `folder`. Its text depends on its name alone, so writers at once write the same bytes."""
        if (folder / "zarr.json").exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._aside.replace_file(folder / "zarr.json", group_text(attributes).encode())
        sync(folder.parent)

    def _commit(self, target: Path, attributes: Mapping[str, Any], track: Track | None, columns: str) -> bool:
        """Write a group aside, then rename it to `target`; False if target was there first."""
        if target.is_dir():
            return False
        aside = self._aside.name()
        try:
            write_group(aside, attributes, track, columns, compressed=self._compression is not None)
            _sync_all(aside)
            try:
                os.rename(aside, target)
            except OSError:
                if target.is_dir():
                    return False
                raise
            sync(target.parent)
            return True
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _read(folder: Path, rows: slice | None) -> tuple[dict[str, Any], Track | None]:
    while True:
        try:
            return read_group(folder, rows)
        except FileNotFoundError:
            if not folder.is_dir():  # else it was dropped and made again meanwhile: read the new one
                raise


def _make(path: Path, compression: str | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file; name a new folder for the store")
    # Asked in this order: another writer may make the store meanwhile, and its first file is zarr.json.
    if path.exists() and any(path.iterdir()) and not (path / "zarr.json").exists():
        raise StoreError(f"{path} is a folder with other things in it; name a new folder for the store")
    path.mkdir(exist_ok=True)
    stated = {"format": FORMAT, "version": VERSION, "compression": compression}
    Aside(local_folder(path) / "unfinished").replace_file(path / "zarr.json", group_text(stated).encode())
    sync(path.parent)


def _sync_all(folder: Path) -> None:
    """Wait until everything in a folder is on the disk. At once, because a journal commits them together."""
    paths = [Path(inside, name) for inside, _, files in os.walk(folder) for name in ("", *files)]
    list(_SYNCING.map(sync, paths))


def _readable(folder: Path) -> dict[str, Any] | None:
    """The attributes of a group, or None where there is no text or it is damaged. A disk that fails is no damage."""
    try:
        return attributes_of(folder)
    except StoreError:
        return None


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, hidden files that systems leave behind apart; nothing if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))


def _foreign(group: Path) -> list[Path]:
    """What lies in a track's or record's folder and is no part of it."""
    return [path for path in _entries(group) if path.name not in ("zarr.json", "values", "valid", "tick")]


def _is_generation(path: Path) -> bool:
    return path.name.isdecimal() and path.is_dir()
