"""A clip's valence and arousal from a CSV, on their own clock and mapped to [-1, 1]."""

from __future__ import annotations

from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np

from cache.clock import Clock
from extract.clips import ClipLabels
from extract.manifest_settings import LabelSettings
from extract.table import Table, read_table


def read_labels(
    settings: LabelSettings, path: Path, start_seconds: Fraction | None = None, stop_seconds: Fraction | None = None
) -> ClipLabels:
    """Labels [N, 2], of the rows whose time lies in [start_seconds, stop_seconds).

    Raises ValueError, naming file and line, for what can't be read, and OSError.
    """
    table = read_table(path, settings.delimiter)
    _refuse_other_columns(settings, table)
    raw = table.values([settings.valence, settings.arousal])
    rated = ~np.isnan(raw) & ~np.isin(raw, settings.invalid)
    valid = np.logical_and(rated[:, 0], rated[:, 1])
    low, high = settings.range
    outside = np.flatnonzero(valid & ((raw < low) | (raw > high)).any(1))
    if len(outside):
        row = int(outside[0])
        raise ValueError(
            f"{table.at(row)}: valence {raw[row, 0]:g}, arousal {raw[row, 1]:g} in {len(outside)} such rows; wanted "
            f"values in [{low:g}, {high:g}] (labels.range), or marks of rows that aren't rated in labels.invalid"
        )
    mapped = raw if settings.range == (-1.0, 1.0) else ((raw - low) * (2 / (high - low)) - 1).clip(-1, 1)
    values = np.where(valid[:, None], mapped, np.nan).astype(np.float32)
    clock = _clock(settings, table)
    if clock is None:
        if (start_seconds, stop_seconds) != (None, None):
            raise ValueError(f"{path}: its rows are frames without times, so none can be left out by seconds")
        return ClipLabels(values, valid, None, settings.range)
    first, last = _row_at(clock, start_seconds, 0), _row_at(clock, stop_seconds, len(clock))
    if first >= last:
        raise ValueError(f"{path} has no row between {start_seconds or 0} s and {stop_seconds or 'its end'}")
    return ClipLabels(values[first:last], valid[first:last], clock.rows(first, last), settings.range)


def _refuse_other_columns(settings: LabelSettings, table: Table) -> None:
    read = {settings.valence, settings.arousal} | ({settings.time.column} if settings.time is not None else set())
    known = {table.index(name) for name in read}
    others = [
        name or "(no name)"
        for i, name in enumerate(table.names)
        if i not in known and not any(fnmatchcase(name, pattern) for pattern in settings.ignore)
    ]
    if others:
        raise ValueError(
            f"{table.path}:1: nothing is said of the columns {', '.join(others[:12])}; name times in labels.time, "
            "others in labels.ignore"
        )


def _clock(settings: LabelSettings, table: Table) -> Clock | None:
    if settings.time is not None:
        return table.clock(settings.time.column, settings.time.unit)
    if settings.rate_hz is not None:
        return Clock.regular(1 / settings.rate_hz, len(table), settings.start_seconds)
    return None


def _row_at(clock: Clock, seconds: Fraction | None, otherwise: int) -> int:
    """The first row at this time or later."""
    if seconds is None:
        return otherwise
    return int(np.searchsorted(clock.all_ticks(), ceil(seconds / clock.tick_seconds)))
