"""Features that people already have: a clip's file as a track beside extracted ones.

What enters the key is what the numbers are: the feature's name, its columns, the unit of its times. The source of
a track is the bytes of the clip's own part, so that a file that was computed anew is read anew. Every function raises
ValueError with a whole message where a clip's features can't be used; the other clips are not touched by that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from cache.key import digest_of
from cache.track import Track
from extract.clips import Clip
from extract.import_arrays import hdf5_columns, hdf5_source, npy_columns, read_hdf5_track, read_npy_track
from extract.import_settings import ImportSettings
from extract.import_table import read_table_track, table_columns

Columns = tuple[str, ...] | int


def import_path(settings: ImportSettings, clip: Clip, root: Path) -> Path:
    """The file that holds the clip's rows, be it there or not. root: the corpus's top folder.

    Raises ValueError if the path wants a subject and the clip has none.
    """
    return root / _filled(settings.path, clip)


def import_recipe(name: str, settings: ImportSettings, clips: Iterable[Clip], root: Path) -> dict[str, Any]:
    """The recipe of the feature `name`, with the columns of the first clip that has it; others must have the same.

    Raises ValueError if no clip has it.
    """
    first: str | None = None
    for clip in sorted(clips, key=lambda clip: clip.name):
        try:
            return settings.recipe(name, _columns_of(settings, clip, root))
        except ValueError as error:
            first = first or str(error)
    raise ValueError(f"no clip has the feature {name}: {first or 'there are no clips'}")


def import_source(settings: ImportSettings, clip: Clip, root: Path, digest: Callable[[Path], str]) -> str:
    """The digest of the bytes that the clip's rows are read from. digest: of a file.

    A file a clip is known by its digest, an HDF5 file of many clips by the bytes of the clip's datasets.
    """
    path = _there(settings, clip, root)
    dataset, times, times_path = _parts(settings, clip, root)
    try:
        if settings.kind == "hdf5":
            assert dataset is not None
            return hdf5_source(path, dataset, times)
        if times_path is not None:
            return digest_of({"values": digest(path), "times": digest(times_path)})
        return digest(path)
    except OSError as error:
        raise _unreadable(error, path) from None


def read_import(settings: ImportSettings, clip: Clip, root: Path, columns: Columns | Sequence[str]) -> Track:
    """[T, D] the clip's rows on their own clock. columns: those of the recipe, which the file's must equal."""
    path = _there(settings, clip, root)
    wanted = columns if isinstance(columns, int) else tuple(columns)
    found = _columns_of(settings, clip, root)
    if found != wanted:
        raise ValueError(f"{path} has {_difference(found, wanted)}; a feature has the same columns in every clip")
    dataset, times, times_path = _parts(settings, clip, root)
    try:
        if settings.kind == "csv":
            return read_table_track(settings, path)
        if settings.kind == "npy":
            return read_npy_track(settings, path, times_path)
        assert dataset is not None
        return read_hdf5_track(settings, path, dataset, times)
    except OSError as error:
        raise _unreadable(error, path) from None


def _columns_of(settings: ImportSettings, clip: Clip, root: Path) -> Columns:
    path = _there(settings, clip, root)
    try:
        if settings.kind == "csv":
            return table_columns(settings, path)
        if settings.kind == "npy":
            return npy_columns(path)
        dataset, _, _ = _parts(settings, clip, root)
        assert dataset is not None
        return hdf5_columns(path, dataset)
    except OSError as error:
        raise _unreadable(error, path) from None


def _there(settings: ImportSettings, clip: Clip, root: Path) -> Path:
    path = import_path(settings, clip, root)
    if not path.is_file():
        raise ValueError(f"{path} is missing; clip {clip.name} has its rows there, by the path {settings.path!r}")
    return path


def _parts(settings: ImportSettings, clip: Clip, root: Path) -> tuple[str | None, str | None, Path | None]:
    """The dataset of the values, that of the times, the file of the times; each None where there is none."""
    time = settings.time
    dataset = None if settings.dataset is None else _filled(settings.dataset, clip)
    times = None if time is None or time.dataset is None else _filled(time.dataset, clip)
    times_path = None if time is None or time.path is None else root / _filled(time.path, clip)
    return dataset, times, times_path


def _filled(template: str, clip: Clip) -> str:
    if clip.subject is None and "{subject}" in template:
        raise ValueError(f"clip {clip.name} has no subject, and {template!r} wants one")
    media = PurePath(clip.media_name).stem
    return template.format(clip=clip.name, media=media, subject=clip.subject, split=clip.split)


def _difference(found: Columns, wanted: Columns) -> str:
    if isinstance(found, int) or isinstance(wanted, int):
        return f"the columns {found}, wanted {wanted}"
    lacks = [name for name in wanted if name not in found]
    more = [name for name in found if name not in wanted]
    parts = [f"no column {', '.join(lacks[:12])}"] * bool(lacks)
    parts += [f"the column {', '.join(more[:12])}, which others haven't"] * bool(more)
    return " and ".join(parts) or f"its columns in another order than others: {', '.join(found[:12])}"


def _unreadable(error: OSError, path: Path) -> ValueError:
    return ValueError(f"{error.filename or path} can't be read: {error.strerror or error}")
