"""A clip's features from an array in an NPY or HDF5 file, with an array of times or a rate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock, nearest_ticks
from cache.track import Track
from extract.exact import UNIT_SECONDS
from extract.import_settings import ImportSettings

Array = NDArray[Any]


def npy_columns(path: Path) -> int:
    """The width of an array, without reading it. Raises ValueError, OSError."""
    return _width(str(path), _npy(path))


def read_npy_track(settings: ImportSettings, path: Path, times: Path | None) -> Track:
    """[T, D] the clip's rows. Raises ValueError, OSError."""
    return _track(settings, str(path), np.asarray(_npy(path)), str(times), None if times is None else _npy(times))


def hdf5_columns(path: Path, dataset: str) -> int:
    """The width of a dataset, without reading it. Raises ValueError, OSError."""
    with _opened(path, dataset) as (found,):
        return _width(f"{path}:{dataset}", found)


def read_hdf5_track(settings: ImportSettings, path: Path, dataset: str, times: str | None) -> Track:
    """[T, D] the clip's rows. Raises ValueError, OSError."""
    with _opened(path, dataset, *([times] if times is not None else [])) as (values, *clock):
        return _track(
            settings,
            f"{path}:{dataset}",
            np.asarray(values),
            f"{path}:{times}",
            np.asarray(clock[0]) if clock else None,
        )


def hdf5_source(path: Path, dataset: str, times: str | None) -> str:
    """sha256 of a clip's datasets alone: another clip in the same file changes nothing here. Raises ValueError."""
    digest = hashlib.sha256()
    with _opened(path, dataset, *([times] if times is not None else [])) as found:
        for part in found:
            array = np.ascontiguousarray(part)
            array = array.astype(array.dtype.newbyteorder("<"))
            digest.update(f"{array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


@contextmanager
def _opened(path: Path, *names: str) -> Iterator[list[Any]]:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} can't be read as HDF5: {error}") from None
    with file:
        found = []
        for name in names:
            one = file.get(name)
            if not isinstance(one, h5py.Dataset):
                what = "is a group, no dataset" if one is not None else "is missing"
                there = ", ".join(list(file)[:12])
                raise ValueError(f"{path}: {name} {what}; the file begins with {there or 'nothing'}")
            found.append(one)
        yield found


def _npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} can't be read as an NPY array: {error}") from None
    return array


def _width(name: str, array: Any) -> int:
    if len(array.shape) != 2 or not array.shape[1] or array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has shape {tuple(array.shape)} of {array.dtype}; wanted numbers [T, D], a row a time")
    return int(array.shape[1])


def _track(settings: ImportSettings, name: str, values: Array, times_name: str, times: Array | None) -> Track:
    _width(name, values)
    valid = np.isfinite(values).all(1)
    return Track.of(values, _clock(settings, len(values), times_name, times), valid, dtype=settings.dtype, name=name)


def _clock(settings: ImportSettings, rows: int, name: str, times: Array | None) -> Clock:
    time = settings.time
    if time is None or times is None:
        assert settings.rate_hz is not None
        return Clock.regular(1 / settings.rate_hz, rows, settings.start_seconds)
    if times.shape not in ((rows,), (rows, 1), (rows, 2)) or times.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} has shape {times.shape} of {times.dtype}; wanted [{rows}], a time for each row, or [{rows}, 2], "
            "its start and end"
        )
    tick = Fraction(time.tick_us or 1, 10**6)
    try:
        parts = [nearest_ticks(part, UNIT_SECONDS[time.unit], tick) for part in times.reshape(rows, -1).T]
        clock = Clock.of_ticks(parts[0], tick) if len(parts) == 1 else Clock.of_ticks(parts[0] + parts[1], tick / 2)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; `time.tick_us` sets the ticks") from None
    return clock.shifted(time.plus_seconds)
