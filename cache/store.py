"""The store's contract, its errors, and the door to its back ends.

A store keeps two things: tracks, each under its TrackKey and never changed, and the records of the catalogue,
each under a clip and a generation and never changed either. A write is either not there or there whole:
whoever is killed in the middle leaves a store that everybody can read. Many processes may write at once; of
two that write the same thing one wins and both go on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from cache.key import TrackKey, folder_name
from cache.track import Track

FORMAT = "duet-store"
VERSION = 2


class StoreError(ValueError):
    """A store that can't be opened, read or written; the message says what to do."""


class Store(Protocol):
    """What every back end does."""

    location: str  # its path or address, as it was opened

    def has(self, key: TrackKey) -> bool:
        """Whether the track is there, whole."""
        ...

    def write(self, key: TrackKey, track: Track, *, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
        """Commit a track. False if it was there already (which is no error, and changes nothing).

        recipe: what is meant, whose digest is key.recipe. provenance: where and with what it was computed.
        """
        ...

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        """A track, or the rows [start, stop) of it. Raises StoreError if it isn't there or is damaged."""
        ...

    def shape(self, key: TrackKey) -> tuple[int, int]:
        """Rows and columns of a track, found without reading its numbers. Raises StoreError if it isn't there."""
        ...

    def size_bytes(self, key: TrackKey) -> int:
        """What the track takes up. Raises StoreError if it isn't there."""
        ...

    def drop(self, key: TrackKey) -> bool:
        """Remove a track, at once for every reader that opens it from now on. False if it wasn't there."""
        ...

    def faults(self, key: TrackKey) -> list[str]:
        """Read all of a track again: what is wrong with it, in words; nothing if it is sound."""
        ...

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        """Where and with what a track was computed."""
        ...

    def recipes(self) -> dict[str, dict[str, Any]]:
        """Every recipe that the store holds tracks of, by digest."""
        ...

    def recipe_keys(self, recipe: str) -> Iterator[TrackKey]:
        """The keys of all tracks of one recipe."""
        ...

    def stray(self) -> list[str]:
        """What lies in the store and is neither a track nor a record that can be read: damaged or foreign things."""
        ...

    def drop_stray(self, name: str) -> None:
        """Remove what `stray` named."""
        ...

    def clips(self) -> list[str]:
        """The names of all clips with a record, sorted."""
        ...

    def generations(self, clip: str) -> list[int]:
        """The generations of a clip's record, oldest first."""
        ...

    def write_record(self, clip: str, generation: int, attributes: Mapping[str, Any], labels: Track | None) -> bool:
        """Commit one generation of a clip's record. False if somebody else wrote this generation first."""
        ...

    def read_record(self, clip: str, generation: int) -> tuple[dict[str, Any], Track | None]:
        """The attributes and labels of one generation."""
        ...

    def drop_record(self, clip: str, generation: int) -> bool:
        """Remove one generation of a clip's record. False if it wasn't there."""
        ...

    def record_faults(self, clip: str, generation: int) -> list[str]:
        """Read one generation again: what is wrong with it, in words; nothing if it is sound."""
        ...


def is_remote(location: str | Path) -> bool:
    """Whether a store lies behind an address of fsspec, such as s3://bucket/x.zarr."""
    return "://" in str(location)


def local_folder(location: str | Path) -> Path:
    """What belongs to this machine and not to the data: unfinished writes, digests of media, failures.

    Beside a store on a disk; of a store elsewhere in the user's cache folder, by its address.
    """
    if not is_remote(location):
        path = Path(location)
        return path.with_name(path.name + ".local")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "duet" / "stores" / folder_name(str(location))


def open_store(location: str | Path, *, writable: bool = False) -> Store:
    """Open the store at a path or address; its suffix chooses the back end. Makes it if it is writable and not there.

    Raises StoreError for a place that is no store, a store of a newer version, or an unknown suffix.
    """
    name = str(location)
    if is_remote(name):
        return _open_remote(name, writable)
    if name.endswith(".zarr"):
        from cache.zarr_store import ZarrStore

        return ZarrStore(Path(name), writable=writable)
    if name.endswith((".h5", ".hdf5")):
        from cache.hdf5_store import HDF5Store

        return HDF5Store(Path(name), writable=writable)
    raise StoreError(f"store {name} ends in {Path(name).suffix!r}; wanted .zarr (a path or an address), .h5 or .hdf5")


def _open_remote(address: str, writable: bool) -> Store:
    if not address.endswith(".zarr"):
        raise StoreError(f"store {address} is an address; wanted one that ends in .zarr (HDF5 is for disks)")
    if address.startswith(("file://", "local://")):  # a disk can rename: the store of disks is the safer one
        from fsspec.implementations.local import LocalFileSystem

        return open_store(str(LocalFileSystem._strip_protocol(address)), writable=writable)
    from cache.remote_store import RemoteStore

    return RemoteStore(address, writable=writable)
