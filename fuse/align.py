"""Tracks of different clocks onto one: the label clock of a clip, or a fixed rate.

Alignment is a choice of stage two, so no cached feature depends on a label rate. Only valid rows of a track
take part; a target row with none near enough is not valid and holds zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cache.catalogue import Record
from cache.clock import Clock, interval_rows, middle_of_intervals, nearest_rows, surrounding_rows
from cache.store import Store
from cache.track import Track
from fuse.settings import AlignmentSettings


@dataclass(frozen=True, eq=False)
class Sequence:
    """One clip on one clock: features {modality: float32 [T, D]}, valid {modality: [T]}, labels [T, 2] and theirs.

    published: the labels on their own clock, where `clock` is another; None where `labels` are just these.
    reaches_seconds: how far after its tick lies the middle of the labels that a row sums up.
    """

    clip: str
    group: str
    clock: Clock
    features: dict[str, NDArray[np.float32]]
    valid: dict[str, NDArray[np.bool_]]
    labels: NDArray[np.float32]
    labels_valid: NDArray[np.bool_]
    published: Track | None = None
    reaches_seconds: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        rows = len(self.clock)
        lengths = {name: len(array) for name, array in self.features.items()}
        lengths |= {f"valid {name}": len(array) for name, array in self.valid.items()}
        lengths |= {"labels": len(self.labels), "labels_valid": len(self.labels_valid)}
        wrong = {name: length for name, length in lengths.items() if length != rows}
        if wrong or self.features.keys() != self.valid.keys():
            raise ValueError(f"sequence {self.clip} wants {rows} rows of everything; got {lengths}")


def align(track: Track, clock: Clock, settings: AlignmentSettings) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A track's rows at the times of `clock`: values float32 [T, D] (0 where not valid) and valid [T].

    method `nearest`: the nearest valid row. `linear`: between the valid rows around it. `mean`: over the valid
    rows within the target row's interval, or the nearest one where the interval has none. In each case a row
    farther away than largest_gap_seconds does not count.
    """
    source_clock = Clock.explicit(track.clock.all_ticks()[track.valid], track.clock.tick_seconds)
    values = track.values[track.valid].astype(np.float32)
    if not len(values) or not len(clock):
        return np.zeros((len(clock), track.width), np.float32), np.zeros(len(clock), bool)
    if settings.method == "linear":
        left, right, weight, gaps = surrounding_rows(source_clock, clock)
        share = weight.astype(np.float32)[:, None]
        out = values[left] * (1 - share) + values[right] * share
    else:
        rows, gaps = nearest_rows(source_clock, clock)
        out = values[rows]
    valid = gaps <= settings.largest_gap_seconds
    if settings.method == "mean":
        first, last = interval_rows(source_clock, clock)
        counts = last - first
        sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0, dtype=np.float64)])
        means = (sums[last] - sums[first]) / np.maximum(counts, 1)[:, None]
        out = np.where(counts[:, None] > 0, means.astype(np.float32), out)
        valid |= counts > 0
    out[~valid] = 0
    return out, valid


def sequence(store: Store, record: Record, features: dict[str, str], settings: AlignmentSettings) -> Sequence:
    """One clip's features and labels on one clock. features: modality -> feature name in the store.

    With a label delay, row i of the features is what happened that long before label i.
    """
    labels = record.labels
    if labels is None:
        raise ValueError(f"clip {record.clip} has no labels, so there is no label clock to align to")
    clock = labels.clock if settings.rate_hz is None else labels.clock.at_rate(Fraction(str(settings.rate_hz)))
    when = clock.shifted(-Fraction(str(settings.label_delay_seconds)))
    aligned = {name: align(store.read(record.key(feature)), when, settings) for name, feature in features.items()}
    for name in settings.relative:
        if name in aligned:
            values, valid = aligned[name]
            aligned[name] = np.concatenate([values, _relative(values, valid)], 1), valid
    own_clock = settings.rate_hz is None
    label_values, label_valid = (labels.values, labels.valid) if own_clock else align(labels, clock, settings)
    return Sequence(
        clip=record.clip,
        group=record.group,
        clock=clock,
        features={name: values for name, (values, _) in aligned.items()},
        valid={name: valid for name, (_, valid) in aligned.items()},
        labels=np.where(label_valid[:, None], label_values, 0).astype(np.float32),
        labels_valid=label_valid,
        published=None if own_clock else labels,
        reaches_seconds=Fraction(0)
        if own_clock or settings.method != "mean"
        else middle_of_intervals(labels.clock, clock),
    )


def _relative(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Each column less its mean over the valid rows; 0 where not valid."""
    if not valid.any():
        return np.zeros_like(values)
    return np.where(valid[:, None], values - values[valid].mean(0, dtype=np.float64), 0).astype(np.float32)
