"""The store's contract, its errors, and the door to its back ends.

A store keeps two things: tracks, each under its TrackKey and never changed, and the records of the catalogue,
each under a clip and a generation and never changed either. A write is either not there or there whole:
whoever is killed in the middle leaves a store that everybody can read. Many processes may write at once; of
two that write the same thing one wins and both go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from cache.key import TrackKey
from cache.track import Track

FORMAT = "duet-store"
VERSION = 1


class StoreError(ValueError):
    """A store that can't be opened, read or written; the message says what to do."""


class Store(Protocol):
    """What every back end does."""

    path: Path

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

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        """Where and with what a track was computed."""
        ...

    def recipes(self) -> dict[str, dict[str, Any]]:
        """Every recipe that the store holds tracks of, by digest."""
        ...

    def recipe_keys(self, recipe: str) -> Iterator[TrackKey]:
        """The keys of all tracks of one recipe."""
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


def local_folder(path: Path) -> Path:
    """Beside a store: what belongs to this machine and not to the data (unfinished writes, digests, failures)."""
    return path.with_name(path.name + ".local")


def open_store(path: Path, *, writable: bool = False) -> Store:
    """Open the store at `path`; its suffix chooses the back end. Creates it if it is writable and not there.

    Raises StoreError for a path that is no store, a store of a newer version, or an unknown suffix.
    """
    if path.suffix == ".zarr":
        from cache.zarr_store import ZarrStore

        return ZarrStore(path, writable=writable)
    if path.suffix in (".h5", ".hdf5"):
        raise StoreError(f"store {path} asks for HDF5, which this version can't write yet; name it {path.stem}.zarr")
    raise StoreError(f"store {path} has the suffix {path.suffix!r}; wanted a path that ends in .zarr")
