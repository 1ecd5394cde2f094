"""Tracks onto the label clock: against slow loops in exact fractions, and that nothing invalid gets through."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.catalogue import Record
from cache.clock import Clock
from cache.key import TrackKey
from cache.track import Track
from fuse.align import Sequence, align, sequence
from fuse.settings import AlignmentSettings

METHODS = ("nearest", "linear", "mean")
SOURCE_TICK, TARGET_TICK = Fraction(1, 30), Fraction(1, 24)  # common tick: 1 / 120 s


def exact_times(clock: Clock) -> list[Fraction]:
    return [int(tick) * clock.tick_seconds for tick in clock.all_ticks()]


def slow_align(
    track: Track, clock: Clock, method: str, largest_gap: Fraction
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The definition, one row at a time."""
    known = [
        (time, row.astype(np.float64))
        for time, row, valid in zip(exact_times(track.clock), track.values, track.valid, strict=True)
        if valid
    ]
    out, valid_out = np.zeros((len(clock), track.width), np.float32), np.zeros(len(clock), bool)
    targets = exact_times(clock)
    steps = sorted(b - a for a, b in pairwise(targets))
    last_step = clock.step * clock.tick_seconds if clock.ticks is None else steps[len(steps) // 2] if steps else 0
    for i, target in enumerate(targets):
        end = targets[i + 1] if i + 1 < len(targets) else target + last_step
        within = [row for time, row in known if target <= time < end or time == target]
        before = [(time, row) for time, row in known if time <= target]
        after = [(time, row) for time, row in known if time >= target]
        if method == "mean" and within:
            out[i], valid_out[i] = np.mean(within, 0), True
        elif method == "linear" and before and after:
            (t0, low), (t1, high) = before[-1], after[0]
            weight = float((target - t0) / (t1 - t0)) if t1 > t0 else 0.0
            if t1 - t0 <= largest_gap:
                out[i], valid_out[i] = (1 - weight) * low + weight * high, True
        elif known:
            time, row = min(known, key=lambda one: (abs(one[0] - target), one[0]))
            if abs(time - target) <= largest_gap:
                out[i], valid_out[i] = row, True
    return out, valid_out


@st.composite
def clocks(draw: st.DrawFn, tick: Fraction, most: int = 13) -> Clock:
    start = draw(st.integers(-20, 20))
    if draw(st.booleans()):
        return Clock(tick, draw(st.integers(0, most)), start=start, step=draw(st.integers(1, 7)))
    steps = draw(st.lists(st.integers(1, 9), max_size=most))
    return Clock.explicit(np.cumsum([start, *steps]), tick)


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    clock = draw(clocks(SOURCE_TICK))
    shape = (len(clock), 3)
    seed = draw(st.integers(0, 2**20))
    valid = np.array(draw(st.lists(st.booleans(), min_size=len(clock), max_size=len(clock))), bool)
    return Track.of(np.random.default_rng(seed).normal(size=shape), clock, valid)


# Halfway between two multiples of the common tick, so that no row lies exactly on the limit.
GAPS = st.integers(0, 60).map(lambda i: Fraction(2 * i + 1, 240))
BETWEEN = 73 / 240


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=70)
@given(track=tracks(), clock=clocks(TARGET_TICK), gap=GAPS)
def test_alignment_equals_a_slow_loop(method: str, track: Track, clock: Clock, gap: Fraction) -> None:
    values, valid = align(track, clock, AlignmentSettings(method=method, largest_gap_seconds=float(gap)))
    wanted, wanted_valid = slow_align(track, clock, method, gap)
    assert values.dtype == np.float32
    assert values.shape == (len(clock), 3)
    np.testing.assert_array_equal(valid, wanted_valid)
    # float16 numbers of size 1, combined in float32 here and float64 there: 2^-24 relative, some of them added.
    np.testing.assert_allclose(values, wanted, rtol=1e-6, atol=1e-6)
    assert (values[~valid] == 0).all()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30)
@given(track=tracks(), clock=clocks(TARGET_TICK))
def test_invalid_rows_are_as_if_they_were_not_there(method: str, track: Track, clock: Clock) -> None:
    assert np.isnan(track.values[~track.valid]).all()  # the poison
    kept = Track.of(
        track.values[track.valid], Clock.explicit(track.clock.all_ticks()[track.valid], track.clock.tick_seconds)
    )
    chosen = AlignmentSettings(method=method, largest_gap_seconds=BETWEEN)
    (values, valid), (wanted, wanted_valid) = align(track, clock, chosen), align(kept, clock, chosen)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values, wanted)
    np.testing.assert_array_equal(valid, wanted_valid)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30)
@given(track=tracks(), clock=clocks(TARGET_TICK))
def test_how_a_clock_is_written_changes_nothing(method: str, track: Track, clock: Clock) -> None:
    assume(len(clock) != 1)  # one explicit tick has no step, so the mean's interval is another question
    chosen = AlignmentSettings(method=method, largest_gap_seconds=BETWEEN)
    # In ticks 7 times finer, listed one by one.
    finer = Track(track.values, track.valid, Clock.explicit(track.clock.all_ticks() * 7, track.clock.tick_seconds / 7))
    listed = Clock.explicit(clock.all_ticks() * 7, clock.tick_seconds / 7)
    for a, b in zip(align(track, clock, chosen), align(finer, listed, chosen), strict=True):
        np.testing.assert_array_equal(a, b)


def ramp(clock: Clock) -> Track:
    """A track whose one value is its time in seconds."""
    return Track.of(clock.seconds()[:, None], clock, dtype="float64")


def test_a_case_worked_by_hand() -> None:
    # source  0.0 0.2 0.4 [0.6 not valid] 0.8       target  0.0 0.3 0.6 0.9
    clock = Clock.regular(Fraction(1, 5), 5)
    track = Track.of([[10.0], [20.0], [30.0], [99.0], [50.0]], clock, [True, True, True, False, True])
    target = Clock.regular(Fraction(3, 10), 4)
    wanted = {"nearest": [10, 20, 30, 50], "linear": [10, 25, 40, 50], "mean": [15, 30, 50, 50]}
    for method, numbers in wanted.items():
        values, valid = align(track, target, AlignmentSettings(method=method))
        assert values[:, 0].tolist() == pytest.approx(numbers), method
        assert valid.all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("width", [1, 7])
def test_a_track_without_rows_or_without_valid_ones_is_invalid_zeros(method: str, width: int) -> None:
    clock, settings = Clock.regular(Fraction(1, 10), 11), AlignmentSettings(method=method, largest_gap_seconds=100)
    silent = Track.of(np.zeros((0, width)), Clock.regular(Fraction(1, 50), 0))
    faceless = Track.of(np.ones((5, width)), Clock.regular(Fraction(1, 5), 5), np.zeros(5, bool))
    for track in (silent, faceless):
        values, valid = align(track, clock, settings)
        assert values.shape == (11, width)
        assert not valid.any()
        assert not values.any()
    values, valid = align(ramp(Clock.regular(Fraction(1, 5), 5)), Clock.regular(Fraction(1), 0), settings)
    assert (values.shape, valid.shape) == ((0, 1), (0,))


def test_rows_beyond_the_largest_gap_are_not_valid() -> None:
    track = ramp(Clock.explicit([0, 10, 50], Fraction(1, 10)))  # 0, 1 and 5 s
    target = Clock.regular(Fraction(1), 9)
    for method, gap, wanted in (
        ("nearest", 1.2, [0, 1, 2, 4, 5, 6]),
        ("nearest", 0, [0, 1, 5]),
        ("linear", 1.2, [0, 1, 5, 6]),  # the two rows around 2, 3 and 4 s are 4 s apart
        ("linear", 4.2, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("mean", 1.2, [0, 1, 2, 4, 5, 6]),
        ("mean", 0, [0, 1, 5]),
    ):
        _, valid = align(track, target, AlignmentSettings(method=method, largest_gap_seconds=gap))
        assert np.flatnonzero(valid).tolist() == wanted, (method, gap)


@dataclass
class OneTrack:
    """A store of one track."""

    track: Track
    path: Path = Path("one.zarr")

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        return self.track


def a_record(labels: Track | None, subject: str | None = "s") -> Record:
    return Record("clip", "media.mp4", "a" * 64, "train", subject, 1.0, labels, {"face": "b" * 64})


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 1.25, 2.0])
def test_a_label_delay_pairs_a_label_with_what_happened_that_much_earlier(delay: float) -> None:
    # One row each 50 ms whose value is its number: label i is at 0.5 i s, so it meets row 10 i - delay / 0.05.
    source = Clock.regular(Fraction(1, 20), 83)
    track = Track.of(np.arange(83.0)[:, None], source)
    labels = Track.of(np.zeros((8, 2)), Clock.regular(Fraction(1, 2), 8), dtype="float32")
    settings = AlignmentSettings(method="nearest", largest_gap_seconds=0.01, label_delay_seconds=delay)
    found = sequence(OneTrack(track), a_record(labels), {"video": "face"}, settings)
    rows = 10 * np.arange(8) - round(delay * 20)
    assert found.clock == labels.clock  # predictions come back on the label clock, not on the shifted one
    np.testing.assert_array_equal(found.valid["video"], rows >= 0)
    np.testing.assert_array_equal(found.features["video"][:, 0], np.maximum(rows, 0))


def test_a_sequence_carries_labels_marks_and_group() -> None:
    clock = Clock.explicit([0, 3, 4, 9, 11], Fraction(1, 7))
    labels = Track.of(np.full((5, 2), 0.5), clock, [True, False, True, True, False], dtype="float32")
    store, settings = OneTrack(ramp(Clock.regular(Fraction(1, 25), 53))), AlignmentSettings()
    found = sequence(store, a_record(labels), {"video": "face"}, settings)
    assert (found.clip, found.group) == ("clip", "s")
    np.testing.assert_array_equal(found.labels_valid, labels.valid)
    np.testing.assert_array_equal(
        found.labels, np.repeat(np.where(labels.valid, 0.5, 0)[:, None], 2, 1)
    )  # no NaN goes on
    assert sequence(store, a_record(labels, None), {"video": "face"}, settings).group == "media:media.mp4"


def test_a_clip_without_labels_has_no_clock_to_align_to() -> None:
    store = OneTrack(ramp(Clock.regular(Fraction(1, 25), 3)))
    with pytest.raises(ValueError, match="clip clip has no labels"):
        sequence(store, a_record(None), {"video": "face"}, AlignmentSettings())


def test_a_sequence_of_unequal_lengths_is_refused() -> None:
    good = {
        "clip": "c",
        "group": "g",
        "clock": Clock.regular(Fraction(1), 3),
        "features": {"video": np.zeros((3, 5), np.float32)},
        "valid": {"video": np.ones(3, bool)},
        "labels": np.zeros((3, 2), np.float32),
        "labels_valid": np.ones(3, bool),
    }
    Sequence(**good)
    for name, wrong in (
        ("features", {"video": np.zeros((2, 5), np.float32)}),
        ("valid", {"video": np.ones(4, bool)}),
        ("valid", {"audio": np.ones(3, bool)}),
        ("labels", np.zeros((5, 2), np.float32)),
        ("labels_valid", np.ones(2, bool)),
    ):
        with pytest.raises(ValueError, match="sequence c wants 3 rows of everything; got"):
            Sequence(**{**good, name: wrong})


# A rate of its own


def labels_at(clock: Clock, valid: NDArray[np.bool_] | None = None) -> Track:
    """Labels that are a ramp: valence rises with the seconds, arousal falls half as fast."""
    seconds = clock.seconds()[:, None]
    return Track.of(seconds * [0.07, -0.035] - [0.5, -0.5], clock, valid, dtype="float32")


LABEL_CLOCKS = {
    "30 Hz": Clock.regular(Fraction(1, 30), 211),
    "film": Clock.regular(Fraction(1001, 30000), 211, start_seconds=Fraction(7, 90)),
    "10 Hz": Clock.regular(Fraction(1, 10), 71, start_seconds=Fraction(-1, 5)),
    "uneven": Clock.explicit(np.cumsum([3, *([4, 5, 6, 5] * 29)]), Fraction(1, 150)),
    "one": Clock.explicit([5], Fraction(1, 25)),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rate_hz", [0.5, 2.5, 5, 10, 29.97, 60])
@pytest.mark.parametrize("clock", LABEL_CLOCKS.values(), ids=LABEL_CLOCKS)
def test_features_and_labels_come_onto_rows_of_the_rate(clock: Clock, rate_hz: float, method: str) -> None:
    rng = np.random.default_rng(17)
    labels = labels_at(clock, rng.random(len(clock)) > 0.2)
    face = Track.of(rng.normal(size=(173, 3)), Clock.regular(Fraction(1, 24), 173), rng.random(173) > 0.2)
    chosen = AlignmentSettings(method=method, rate_hz=rate_hz, label_delay_seconds=0.3, largest_gap_seconds=73 / 240)
    found = sequence(OneTrack(face), a_record(labels), {"video": "face"}, chosen)
    times, step = exact_times(clock), 1 / Fraction(str(rate_hz))
    rows, end = exact_times(found.clock), times[0] + clock.duration_seconds()
    assert rows == [times[0] + i * step for i in range(len(rows))]
    assert len(rows) == 1 or rows[-1] < end <= rows[-1] + step
    wanted, wanted_valid = slow_align(labels, found.clock, method, Fraction(73, 240))
    np.testing.assert_array_equal(found.labels_valid, wanted_valid)
    np.testing.assert_allclose(found.labels, wanted, atol=1e-6)  # float32 numbers of size 1
    earlier = found.clock.shifted(Fraction(-3, 10))
    wanted, wanted_valid = slow_align(face, earlier, method, Fraction(73, 240))
    np.testing.assert_array_equal(found.valid["video"], wanted_valid)
    np.testing.assert_allclose(found.features["video"], wanted, rtol=1e-6, atol=1e-6)
    assert found.published is labels


def test_the_rate_of_the_labels_is_the_clock_of_the_labels() -> None:
    labels = labels_at(LABEL_CLOCKS["10 Hz"], np.arange(71) % 7 != 3)
    store = OneTrack(ramp(Clock.regular(Fraction(1, 25), 173)))
    for method in METHODS:
        own, rate = (
            sequence(
                store,
                a_record(labels),
                {"video": "face"},
                AlignmentSettings(method=method, rate_hz=rate_hz, largest_gap_seconds=0),
            )
            for rate_hz in (None, 10)
        )
        assert own.published is None
        assert own.clock == rate.clock
        assert rate.reaches_seconds == 0
        for a, b in ((own.labels, rate.labels), (own.labels_valid, rate.labels_valid)):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(own.features["video"], rate.features["video"])


def test_a_silent_modality_has_rows_of_the_rate_too() -> None:
    silent = OneTrack(Track.of(np.zeros((0, 3)), Clock.regular(Fraction(1, 50), 0)))
    chosen = AlignmentSettings(rate_hz=5, relative=("audio",))
    found = sequence(silent, a_record(labels_at(LABEL_CLOCKS["30 Hz"])), {"audio": "face"}, chosen)
    assert found.features["audio"].shape == (36, 6)  # 211 / 30 s, and each column twice
    assert not found.features["audio"].any()
    assert not found.valid["audio"].any()


def test_labels_without_a_single_row_give_no_row_at_any_rate() -> None:
    empty = Track.of(np.zeros((0, 2)), Clock.regular(Fraction(1, 30), 0), dtype="float32")
    store = OneTrack(ramp(Clock.regular(Fraction(1, 25), 3)))
    found = sequence(store, a_record(empty), {"video": "face"}, AlignmentSettings(rate_hz=5))
    assert (len(found.clock), found.features["video"].shape) == (0, (0, 1))


# Relative columns


@pytest.mark.parametrize("rate_hz", [None, 5])
def test_relative_columns_are_the_others_less_their_mean_over_the_clip(rate_hz: float | None) -> None:
    rng = np.random.default_rng(19)
    seen = (rng.random(173) > 0.3) & (np.arange(173) // 31 != 2)
    face = Track.of(rng.normal(size=(173, 3)) + np.array([0, 50, -7]), Clock.regular(Fraction(1, 24), 173), seen)
    labels = labels_at(LABEL_CLOCKS["30 Hz"])
    features = {"video": "face", "audio": "face"}
    chosen = AlignmentSettings(relative=("audio",), rate_hz=rate_hz, largest_gap_seconds=0.01)
    found = sequence(OneTrack(face), a_record(labels), features, chosen)
    values, valid = found.features["audio"], found.valid["audio"]
    assert 0 < valid.sum() < len(valid)
    np.testing.assert_array_equal(found.valid["video"], valid)
    np.testing.assert_array_equal(values[:, :3], found.features["video"])  # the columns as they are come first
    relative = values[:, 3:]
    # Rounded to float32 one by one: 2^-24 of numbers of size 3, over some 100 rows.
    np.testing.assert_allclose(relative[valid].sum(0, dtype=np.float64), 0, atol=1e-4)
    np.testing.assert_allclose(relative[valid], values[valid, :3] - values[valid, :3].mean(0), atol=1e-4)
    assert not relative[~valid].any()
    # What is the same all through the clip (who it is) is not in them.
    lifted = Track.of(face.values.astype(np.float64) + np.array([8, 16, -4]), face.clock, face.valid, dtype="float64")
    moved = sequence(OneTrack(lifted), a_record(labels), features, chosen).features["audio"]
    np.testing.assert_allclose(moved[:, 3:], relative, atol=1e-4)
    assert (np.abs(moved[valid, :3] - values[valid, :3]) > 3).all()
