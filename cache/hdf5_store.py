"""The store as HDF5 on a local disk: readable by h5py, MATLAB, R and every other HDF5 reader without Duet.

The format, version 1:
    x.h5                                                  attributes: format, version; a small file of external links,
        /tracks/<recipe>/<clip>.<source>                  the tree: cache/hdf5_tree.py
        /catalogue/<clip>/<generation>                    <recipe> has the attributes recipe, recipe_digest
    x.h5.parts/tracks/<recipe>/<clip>.<source>/track.h5   one HDF5 file a track: cache/hdf5_part.py says what is in it
    x.h5.parts/catalogue/<clip>/<generation>/record.h5    one HDF5 file a record, with the labels where it has any
<recipe> and <source> are the first 16 digits of a sha256, <clip> is `folder_name` of the clip's name.
The two must lie side by side: x.h5 alone holds no number. One whole file, to send, is an export.
The parts are the truth. x.h5 is made anew from them: seconds behind while somebody writes, up to date when a writer
ends, and after a `kill -9` as soon as the next one opens the store. Duet itself reads the parts.

Why not one file: HDF5 lets one process write to it, and a process killed in the middle leaves a file that nobody can
open. A part is made in memory, written aside, synced, and its folder renamed into place: the rename is the commit.
Beside the store, `x.h5.local/` holds unfinished writes; it may be deleted whenever nobody writes.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from cache.aside import Aside
from cache.hdf5_part import image_of, read_attributes, read_part, read_shape
from cache.hdf5_tree import RECORD, TRACK, Tree
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.store import StoreError, local_folder
from cache.track import Track


class HDF5Store:
    """A store in a file that ends in `.h5` or `.hdf5`, and the folder beside it. See the top of this file."""

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self.parts = path.with_name(path.name + ".parts")
        self.location = str(path)
        self._aside = Aside(local_folder(path) / "unfinished")
        self._tree = Tree(path, self.parts, self._aside)
        if not path.exists() and not writable:
            again = ", which makes it again from its parts" if self.parts.is_dir() else ""
            raise StoreError(f"there is no store at {path}; make one with `duet extract`{again}, or correct `store`")
        if path.exists():
            self._tree.check()
        if writable:
            self._refuse_foreign_parts()
            self.parts.mkdir(parents=True, exist_ok=True)
            self._aside.sweep()
            self._tree.renew()
            weakref.finalize(self, self._tree.finish)  # also at the end of the process

    def has(self, key: TrackKey) -> bool:
        return self._track(key).is_dir()

    def write(self, key: TrackKey, track: Track, *, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
        if digest_of(recipe) != key.recipe:
            raise StoreError(
                f"the recipe given for clip {key.clip} has another digest than its key says; pass the same"
            )
        if self.has(key):
            return False
        attributes = {
            **_said_by(key),
            "clock": track.clock.attributes(),
            "invalid_rows_hold": "NaN",
            "recipe": dict(recipe),
            "provenance": dict(provenance),
        }
        return self._commit(self._track(key), TRACK, image_of(attributes, track, "feature"))

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        if rows is not None and rows.step not in (None, 1):
            raise ValueError(f"rows have the step {rows.step}; wanted a range of rows [start, stop)")
        folder = self._found(key)
        attributes, track = read_part(folder / TRACK, rows)
        wrong = _wrong(attributes, _said_by(key))
        if wrong or track is None:
            raise StoreError(f"{folder} is damaged ({'; '.join(wrong) or 'no clock'}); delete it and extract again")
        return track

    def shape(self, key: TrackKey) -> tuple[int, int]:
        return read_shape(self._found(key) / TRACK)

    def size_bytes(self, key: TrackKey) -> int:
        return sum(file.stat().st_size for file in self._found(key).iterdir())

    def drop(self, key: TrackKey) -> bool:
        return self._remove(self._track(key))

    def faults(self, key: TrackKey) -> list[str]:
        return _faults(self._track(key) / TRACK, _said_by(key))

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        provenance: dict[str, Any] = read_attributes(self._found(key) / TRACK)["provenance"]
        return provenance

    def recipes(self) -> dict[str, dict[str, Any]]:
        found = {}
        for folder in _entries(self.parts / "tracks"):
            # Any one track says it; one of which nothing can be read is `stray`.
            for part in _entries(folder):
                attributes = _readable(part / TRACK)
                if attributes is not None and self._key_in(attributes, part) is not None:
                    found[attributes["recipe_digest"]] = attributes["recipe"]
                    break
        return found

    def recipe_keys(self, recipe: str) -> Iterator[TrackKey]:
        for part in _entries(self.parts / "tracks" / recipe[:SHORT]):
            key = self._key_in(_readable(part / TRACK), part)
            if key is not None and key.recipe == recipe:
                yield key

    def stray(self) -> list[str]:
        found = [path for path in _entries(self.parts) if path.name not in ("tracks", "catalogue") or not path.is_dir()]
        for folder in _entries(self.parts / "tracks"):
            found += self._stray_in(folder, TRACK)
        for folder in _entries(self.parts / "catalogue"):
            found += self._stray_in(folder, RECORD)
        return sorted(path.relative_to(self.parts).as_posix() for path in found)

    def drop_stray(self, name: str) -> None:
        if name not in self.stray():
            raise StoreError(f"{name!r} is nothing stray in {self.path}; only what `stray` names may be dropped so")
        self._remove(self.parts / name)

    def clips(self) -> list[str]:
        return sorted(clip for folder in _entries(self.parts / "catalogue") if (clip := self._clip_of(folder)))

    def generations(self, clip: str) -> list[int]:
        # Also one that is damaged: an older one in its place would be stale, without a word.
        return sorted(int(path.name) for path in _entries(self._records(clip)) if _is_generation(path))

    def write_record(self, clip: str, generation: int, attributes: Mapping[str, Any], labels: Track | None) -> bool:
        clock = {"clock": labels.clock.attributes()} if labels is not None else {}
        image = image_of({**attributes, **clock, "clip": clip}, labels, "dimension")
        return self._commit(self._record(clip, generation), RECORD, image)

    def read_record(self, clip: str, generation: int) -> tuple[dict[str, Any], Track | None]:
        return read_part(self._record(clip, generation) / RECORD)

    def drop_record(self, clip: str, generation: int) -> bool:
        return self._remove(self._record(clip, generation))

    def record_faults(self, clip: str, generation: int) -> list[str]:
        return _faults(self._record(clip, generation) / RECORD, {"clip": clip})

    def _commit(self, target: Path, file: str, content: bytes) -> bool:
        if not self._aside.commit_folder(target, file, content):
            return False
        self._tree.changed()
        return True

    def _remove(self, path: Path) -> bool:
        if not self._aside.remove(path):
            return False
        if path.parent.parent.parent == self.parts:
            with suppress(OSError):  # it has others
                path.parent.rmdir()  # a recipe without tracks, a clip without records
        self._tree.changed()
        return True

    def _found(self, key: TrackKey) -> Path:
        folder = self._track(key)
        if not folder.is_dir():
            raise StoreError(f"{self.path} has no track of clip {key.clip} for recipe {key.recipe[:SHORT]}")
        return folder

    def _key_in(self, attributes: Mapping[str, Any] | None, part: Path) -> TrackKey | None:
        """The key of the track in a folder by its attributes; None if they say none, or one that belongs elsewhere."""
        try:
            if attributes is None or not isinstance(attributes["recipe"], dict):
                return None
            key = TrackKey(attributes["recipe_digest"], attributes["source_digest"], attributes["clip"])
        except (KeyError, TypeError, ValueError):
            return None
        return key if self._track(key) == part else None

    def _clip_of(self, folder: Path) -> str | None:
        """Whose records lie in a folder, as any of them says; None for an empty one.

        Raises StoreError if there are records, but none can be read: a clip must not vanish from a run without a word.
        """
        records = [path for path in _entries(folder) if _is_generation(path)]
        for record in reversed(records):
            clip = (_readable(record / RECORD) or {}).get("clip")
            if isinstance(clip, str) and folder_name(clip) == folder.name:
                return clip
        if records and folder.is_dir():
            raise StoreError(f"nothing in {folder} can be read, so a clip is lost; run `duet cache verify --repair`")
        return None

    def _stray_in(self, folder: Path, file: str) -> list[Path]:
        """Foreign and unreadable things in the folder of a recipe or a clip."""
        if not folder.is_dir():
            return [folder]
        parts = _entries(folder)  # listed once: what somebody finishes meanwhile is in neither list
        if file == TRACK:
            known = [part for part in parts if self._key_in(_readable(part / TRACK), part) is not None]
        else:
            try:
                clip = self._clip_of(folder)
            except StoreError:
                return [folder]
            known = [part for part in parts if clip is not None and _is_generation(part)]
        found = [part for part in parts if part not in known]
        return found + [inner for part in known for inner in _entries(part) if inner.name != file]

    def _refuse_foreign_parts(self) -> None:
        """Before the first file is written: what lies where the parts go must be parts."""
        inside = {path.name for path in _entries(self.parts)}
        if (inside and not inside & {"tracks", "catalogue"}) or (self.parts.exists() and not self.parts.is_dir()):
            raise StoreError(f"{self.parts} holds other things than a store's parts; name another file for the store")

    def _track(self, key: TrackKey) -> Path:
        return self.parts / "tracks" / key.recipe[:SHORT] / f"{folder_name(key.clip)}.{key.source[:SHORT]}"

    def _records(self, clip: str) -> Path:
        return self.parts / "catalogue" / folder_name(clip)

    def _record(self, clip: str, generation: int) -> Path:
        return self._records(clip) / f"{generation:06d}"


def _said_by(key: TrackKey) -> dict[str, str]:
    return {"clip": key.clip, "recipe_digest": key.recipe, "source_digest": key.source}


def _wrong(attributes: Mapping[str, Any], wanted: Mapping[str, str]) -> list[str]:
    """What the attributes say otherwise than they should."""
    return [
        f"{name} is {attributes.get(name)!r}, wanted {value!r}"
        for name, value in wanted.items()
        if attributes.get(name) != value
    ]


def _faults(file: Path, wanted: Mapping[str, str]) -> list[str]:
    if not file.parent.is_dir():
        return ["it is not there"]
    try:
        attributes, _ = read_part(file)
    except StoreError as error:
        return [str(error)]
    return _wrong(attributes, wanted)


def _readable(file: Path) -> dict[str, Any] | None:
    """The attributes of a part, or None where they can't be read."""
    try:
        return read_attributes(file)
    except StoreError:
        return None


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, hidden files that systems leave behind apart; nothing if it is no folder."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_generation(path: Path) -> bool:
    return path.name.isdecimal() and path.is_dir()
