"""A clip's features from a CSV, as OpenFace, openSMILE and MuSe write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from cache.track import Track
from extract.import_settings import ImportSettings
from extract.table import Table, chosen_names, read_names, read_table

# Columns that programs write beside features. A frame's number, taken for a feature, tells a model the time of day of
# the label; nobody means that, so whoever does says it.
_BESIDE = frozenset(
    {"", "unnamed: 0", "index", "frame", "face_id", "timestamp", "time", "frametime", "start", "end", "name", "file"}
    | {"filename", "segment_id", "success", "confidence"}
)


def table_columns(settings: ImportSettings, path: Path) -> tuple[str, ...]:
    """The columns that are the feature, from line 1 of the file. Raises ValueError, OSError."""
    return _columns(settings, path, read_names(path, settings.delimiter))


def read_table_track(settings: ImportSettings, path: Path) -> Track:
    """[T, D] the clip's rows. Raises ValueError, naming file and line, and OSError."""
    table = read_table(path, settings.delimiter)
    columns = _columns(settings, path, table.names)
    rows = _rows(settings, table)
    clock = _clock(settings, table, rows)
    numbers = table.values([*columns, *settings.valid_at_least])[rows]  # at once: most of the time goes into the lines
    values, marks = numbers[:, : len(columns)], numbers[:, len(columns) :]
    valid = np.ones(len(rows), bool)
    for k, least in enumerate(settings.valid_at_least.values()):
        valid &= marks[:, k] >= least  # NaN is not
    finite = np.isfinite(values)
    if valid.any() and not (valid & finite.all(1)).any():
        never = [name for k, name in enumerate(columns) if not finite[valid, k].any()]
        raise ValueError(
            f"{path} has no row whose columns are all finite"
            + (f"; {', '.join(never[:12])} never are: name them in `ignore`" if never else "")
        )
    return Track.of(values, clock, valid & finite.all(1), dtype=settings.dtype, name=str(path))


def _columns(settings: ImportSettings, path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    time = settings.time
    named = [time.column, time.end] if time is not None else []
    elsewhere = {name for name in (*named, *settings.where, *settings.valid_at_least) if name is not None}
    columns = chosen_names(path, names, settings.columns, settings.ignore)
    if settings.columns is None:
        columns = tuple(name for name in columns if name not in elsewhere)
        beside = [name or "(no name)" for name in columns if name.casefold() in _BESIDE]
        if beside:
            raise ValueError(
                f"{path}:1: {', '.join(beside)} look like no features; name them in `ignore`, or all features in "
                "`columns`"
            )
        if not columns:
            raise ValueError(f"{path}:1 has no column beside {', '.join(sorted(elsewhere))}; wanted one or more")
    twice = sorted({name for name in columns if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path}:1 has several columns {', '.join(twice)}; wanted one of a name")
    return columns


def _rows(settings: ImportSettings, table: Table) -> NDArray[np.intp]:
    """The rows that are the clip's, in order."""
    kept = np.ones(len(table), bool)
    for name, value in settings.where.items():
        texts = table.texts(name)
        here = np.array([_same(text, value) for text in texts], bool)
        if len(here) and not here.any():
            there = sorted(set(texts))
            shown = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
            raise ValueError(f"{table.path} has no row where {name} is {value}; there are {shown}")
        kept &= here
    return np.flatnonzero(kept)


def _same(text: str, value: float | str) -> bool:
    if isinstance(value, str):
        return text == value
    try:
        return float(text) == value
    except ValueError:
        return False


def _clock(settings: ImportSettings, table: Table, rows: NDArray[np.intp]) -> Clock:
    time = settings.time
    if time is None or time.column is None:
        assert settings.rate_hz is not None
        return Clock.regular(1 / settings.rate_hz, len(rows), settings.start_seconds)
    try:
        clock = table.clock(time.column, time.unit, time.end, rows)
    except ValueError as error:
        hint = "; of several people in one file, choose one by `where`" if "must rise" in str(error) else ""
        raise ValueError(f"{error}{hint}") from None
    return clock.shifted(time.plus_seconds)
