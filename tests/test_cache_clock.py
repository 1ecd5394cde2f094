"""Clocks against brute force in fractions: every rounding of time in Duet is one of these."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.clock import Clock, interval_rows, nearest_rows, nearest_ticks, sample_at, surrounding_rows

NTSC = Fraction(1001, 30000)
# Time bases that media really have, whose common ticks are large and odd.
TICKS = [
    Fraction(1, 90000),
    Fraction(1, 48000),
    Fraction(1, 44100),
    Fraction(1, 1000),
    NTSC,
    Fraction(1, 25),
    Fraction(1, 7),
]


def exact(clock: Clock) -> list[Fraction]:
    """Row times, by another road than the clock's own arrays."""
    if clock.ticks is not None:
        return [int(tick) * clock.tick_seconds for tick in clock.ticks]
    return [(clock.start + i * clock.step) * clock.tick_seconds for i in range(clock.count)]


@st.composite
def clocks(draw: st.DrawFn, least: int = 0) -> Clock:
    tick_seconds = draw(st.sampled_from(TICKS))
    start = draw(st.integers(-50, 50))
    if draw(st.booleans()):
        return Clock(tick_seconds, draw(st.integers(least, 13)), start=start, step=draw(st.integers(1, 30)))
    steps = draw(st.lists(st.integers(1, 30), min_size=least, max_size=13))
    return Clock.explicit(start + np.cumsum(steps, dtype=np.int64), tick_seconds)


@given(clocks(least=1), clocks())
def test_nearest_rows(source: Clock, target: Clock) -> None:
    times = exact(source)
    wanted = [min(range(len(times)), key=lambda row: (abs(times[row] - time), row)) for time in exact(target)]
    rows, gaps = nearest_rows(source, target)
    assert rows.tolist() == wanted
    away = [float(abs(times[row] - time)) for row, time in zip(wanted, exact(target), strict=True)]
    # Gaps are for comparing with a limit of seconds: two roundings of float64 away from the exact distance.
    np.testing.assert_allclose(gaps, away, rtol=4e-16 * 2, atol=0)


@given(clocks(least=1), clocks())
def test_surrounding_rows(source: Clock, target: Clock) -> None:
    times = exact(source)
    lefts, rights, weights, gaps = surrounding_rows(source, target)
    assert len(lefts) == len(rights) == len(weights) == len(gaps) == len(target)
    for time, left, right, weight, gap in zip(exact(target), lefts, rights, weights, gaps, strict=True):
        before = [row for row, other in enumerate(times) if other <= time]
        after = [row for row, other in enumerate(times) if other >= time]
        if before and after:
            assert (left, right) == (before[-1], after[0])
            span = times[right] - times[left]
        else:
            assert left == right == (0 if not before else len(times) - 1)
            span = abs(times[left] - time)
        share = (time - times[left]) / span if left != right else Fraction(0)
        # A quotient of exact integers and one product: two roundings of float64.
        assert weight == pytest.approx(float(share), rel=1e-15)
        assert gap == pytest.approx(float(span), rel=1e-15)


@pytest.mark.parametrize(
    ("gap", "ticks"), [(Fraction(3, 10), (240, 168)), (Fraction(7, 10), (30, 90000)), (Fraction(9, 10), (7, 1001))]
)
def test_a_gap_of_exactly_the_limit_is_the_same_number_in_any_unit(gap: Fraction, ticks: tuple[int, int]) -> None:
    """A limit of 0.3 s lets a row 0.3 s away through, or not, whatever the media's time base."""
    for denominator in ticks:
        tick = Fraction(1, denominator * gap.denominator)
        source, target = Clock(tick, 1), Clock(tick, 1, start=int(gap / tick))
        other = Clock(Fraction(1, 24), 1), Clock.regular(Fraction(1, 5), 1, start_seconds=gap)
        for a, b in ((source, target), other):
            _, gaps = nearest_rows(a, b)
            assert gaps.tolist() == [float(gap)]
            assert surrounding_rows(a, b)[3].tolist() == [float(gap)]


def test_equal_clocks_in_ticks_of_24ths_and_168ths_have_equal_gaps() -> None:
    # Multiplied by the tick and not divided once, 0.3 s was 0.3 in one unit and 0.30000000000000004 in the other.
    source = Clock.explicit([0, 12], Fraction(1, 24))
    finer = Clock.explicit([0, 84], Fraction(1, 168))
    assert source == finer
    target = Clock.regular(Fraction(1, 10), 3, start_seconds=Fraction(8, 10))  # 0.3, 0.4 and 0.5 s after the last
    wanted = [0.3, 0.4, 0.5]
    for clock in (source, finer):
        _, gaps = nearest_rows(clock, target)
        assert gaps.tolist() == wanted


@given(clocks(), clocks())
def test_interval_rows(source: Clock, target: Clock) -> None:
    times, starts = exact(source), exact(target)
    first, last = interval_rows(source, target)
    assert len(first) == len(last) == len(target)
    typical = target.typical_step() * target.tick_seconds
    for i, start in enumerate(starts):
        if i + 1 < len(starts):
            end = starts[i + 1]
        elif typical:
            end = start + typical
        else:
            continue  # one explicit row has no length; what it holds is tested below
        inside = [row for row, time in enumerate(times) if start <= time < end]
        assert list(range(first[i], last[i])) == inside


def test_the_interval_of_a_lone_explicit_row_holds_what_happens_at_its_very_time() -> None:
    source = Clock.regular(Fraction(1, 25), 5)
    first, last = interval_rows(source, Clock.explicit([3], Fraction(1, 25)))
    assert (first.tolist(), last.tolist()) == ([3], [4])


@given(clocks(), st.integers(0, 29))
def test_resized_keeps_its_rows_and_continues_with_the_typical_step(clock: Clock, count: int) -> None:
    if clock.ticks is not None and len(clock) < 2 and count > len(clock):
        with pytest.raises(ValueError, match=rf"a clock of {len(clock)} explicit rows has no step .* to {count} rows"):
            clock.resized(count)
        return
    resized = clock.resized(count)
    known = min(count, len(clock))
    assert len(resized) == count
    assert exact(resized)[:known] == exact(clock)[:known]
    steps = {after - before for before, after in zip(exact(resized)[known - 1 :], exact(resized)[known:], strict=False)}
    if known:
        assert steps <= {clock.typical_step() * clock.tick_seconds}


@given(clocks(), st.fractions(-5, 5, max_denominator=1001))
def test_shifted_is_exact_and_undone_by_its_opposite(clock: Clock, seconds: Fraction) -> None:
    shifted = clock.shifted(seconds)
    assert exact(shifted) == [time + seconds for time in exact(clock)]
    assert shifted.shifted(-seconds) == clock


@given(clocks(), clocks(), st.integers(1, 1001))
def test_clocks_are_equal_if_all_rows_happen_at_the_same_times(a: Clock, b: Clock, finer: int) -> None:
    assert (a == b) == (exact(a) == exact(b))
    finer_ticks = [int(time / (a.tick_seconds / finer)) for time in exact(a)]
    assert Clock.explicit(finer_ticks, a.tick_seconds / finer) == a
    if len(a):
        assert a.shifted(Fraction(1, 90000)) != a
        assert a.rows(0, len(a) - 1) != a
    assert a != "a clock"


@given(clocks())
def test_attributes_come_back_as_the_same_clock(clock: Clock) -> None:
    back = Clock.from_attributes(clock.attributes(), clock.ticks)
    assert back == clock
    assert (back.tick_seconds, back.attributes()) == (clock.tick_seconds, clock.attributes())


@given(clocks(), st.data())
def test_rows_are_the_clock_of_a_part(clock: Clock, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(clock)))
    stop = data.draw(st.integers(start, len(clock)))
    assert exact(clock.rows(start, stop)) == exact(clock)[start:stop]


@given(clocks())
def test_seconds_and_duration(clock: Clock) -> None:
    assert clock.seconds().tolist() == [float(time) for time in exact(clock)]  # one rounding, so equal to the bit
    times = exact(clock)
    typical = clock.typical_step() * clock.tick_seconds
    assert clock.duration_seconds() == (times[-1] - times[0] + typical if times else 0)


def test_the_typical_step_is_the_median_of_irregular_ones() -> None:
    assert Clock.explicit([0, 3, 6, 9, 100], Fraction(1, 25)).typical_step() == 3
    assert Clock.explicit([7], Fraction(1, 25)).typical_step() == 0


def test_two_hundred_thousand_frames_at_29_97_fps_are_exact() -> None:
    count = 200_000
    film = Clock.regular(NTSC, count)
    assert film == Clock.explicit(3003 * np.arange(count), Fraction(1, 90000))
    # Which 100 ms interval holds each frame: integers, where float64 misplaces thousands of frames.
    labels = Clock.regular(Fraction(1, 10), floor(count * NTSC * 10) + 1)
    first, last = interval_rows(film, labels)
    assert first[0] == 0
    assert last[-1] == count
    np.testing.assert_array_equal(first[1:], last[:-1])  # every frame in exactly one interval
    frames = np.arange(count)
    of_frame = np.repeat(np.arange(len(labels)), last - first)
    np.testing.assert_array_equal(of_frame, frames * 1001 * 10 // 30000)
    # The nearest frame of each frame's own time is itself, without a gap, whatever the units.
    rows, gaps = nearest_rows(film, Clock.explicit(1001 * frames, Fraction(1, 30000)))
    np.testing.assert_array_equal(rows, frames)
    assert not gaps.any()


@given(
    st.fractions(-100_000, 100_000, max_denominator=90_000),
    st.sampled_from([8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 192000]),
)
def test_sample_at_is_the_nearest_sample_the_later_of_two(seconds: Fraction, rate_hz: int) -> None:
    sample = sample_at(seconds, rate_hz)
    away = sample - seconds * rate_hz
    assert Fraction(-1, 2) < away <= Fraction(1, 2)


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_every_sample_is_at_its_own_time(rate_hz: int) -> None:
    samples = [0, 1, rate_hz - 1, 26 * 3600 * rate_hz + 7, -3]
    assert [sample_at(Fraction(sample, rate_hz), rate_hz) for sample in samples] == samples


def test_refusals_say_what_they_got() -> None:
    with pytest.raises(ValueError, match="tick_seconds is 0; a tick must last longer than 0 seconds"):
        Clock(Fraction(0), 3)
    with pytest.raises(ValueError, match="count is -1; a clock has 0 rows or more"):
        Clock(Fraction(1, 25), -1)
    with pytest.raises(ValueError, match="step is 0; rows must move forward"):
        Clock(Fraction(1, 25), 3, step=0)
    with pytest.raises(ValueError, match=r"ticks has shape \(2,\), wanted \(3,\)"):
        Clock(Fraction(1, 25), 3, ticks=np.array([0, 1]))
    with pytest.raises(ValueError, match="strictly increase; row 1 is at 5, row 2 at 5"):
        Clock.explicit([2, 5, 5, 7], Fraction(1, 25))
    with pytest.raises(ValueError, match="ticks are float64; a clock counts in integers"):
        Clock.explicit([0.0, 0.04], Fraction(1))
    with pytest.raises(ValueError, match=r"rows \[2, 5\) are not within the 3 rows"):
        Clock.regular(Fraction(1, 25), 3).rows(2, 5)
    with pytest.raises(ValueError, match="explicit, but no array of ticks came with it"):
        Clock.from_attributes({"kind": "explicit", "tick_seconds": "1/25", "count": 3}, None)
    with pytest.raises(ValueError, match="source clock has no rows"):
        nearest_rows(Clock.regular(Fraction(1, 25), 0), Clock.regular(Fraction(1, 25), 3))
    with pytest.raises(ValueError, match="source clock has no rows"):
        surrounding_rows(Clock.explicit([], Fraction(1, 25)), Clock.regular(Fraction(1, 25), 3))
    with pytest.raises(ValueError, match="no common tick that fits 64 bits"):
        nearest_rows(Clock(Fraction(1, 2**61 - 1), 2), Clock(Fraction(1, 3), 5))


def test_the_ticks_of_a_clock_can_not_be_changed() -> None:
    mine = np.array([0, 3, 7])
    clock = Clock.explicit(mine, Fraction(1, 25))
    mine[0] = 1
    assert clock.all_ticks().tolist() == [0, 3, 7]
    with pytest.raises(ValueError, match="read-only"):
        clock.all_ticks()[0] = 1


# ------------------------------------------------------------------------------------------------ times of files


@given(st.lists(st.integers(-(10**9), 10**9), max_size=13, unique=True).map(sorted), st.sampled_from(TICKS))
def test_a_clock_of_ticks_is_regular_where_steps_are_equal(ticks: list[int], tick_seconds: Fraction) -> None:
    clock = Clock.of_ticks(np.array(ticks, np.int64), tick_seconds)
    assert clock == Clock.explicit(np.array(ticks, np.int64), tick_seconds)
    steps = {later - earlier for earlier, later in pairwise(ticks)}
    assert (clock.ticks is None) == (len(steps) == 1)


@given(
    st.lists(st.floats(-(10**5), 10**5), max_size=13),
    st.sampled_from([Fraction(1), Fraction(1, 1000)]),
    st.sampled_from([Fraction(1, 10**6), Fraction(1, 90000), Fraction(1, 7)]),
)
def test_binary_times_go_to_the_nearest_tick(times: list[float], unit: Fraction, tick: Fraction) -> None:
    found = nearest_ticks(np.array(times, np.float64), unit, tick)
    assert found.dtype == np.int64
    for at, time in zip(found.tolist(), times, strict=True):
        # A time may lie as near to the middle of two ticks as float64 tells: then either is nearest.
        assert abs(at * tick - Fraction(time) * unit) <= tick / 2 * (1 + Fraction(1, 10**4))


def test_whole_times_stay_exact() -> None:
    milliseconds = np.array([0, 40, 3_600_000_040], np.int64)
    assert nearest_ticks(milliseconds, Fraction(1, 1000), Fraction(1, 10**6)).tolist() == [0, 40_000, 3_600_000_040_000]


def test_binary_times_that_are_not_known_to_a_tick_are_refused() -> None:
    times = np.array([0, 907.04], np.float32)
    with pytest.raises(ValueError, match=r"times up to 907\.04 as float32 are known to 6\.1e-05 s only, coarser than"):
        nearest_ticks(times, Fraction(1), Fraction(1, 10**6))
    assert nearest_ticks(times, Fraction(1), Fraction(1, 10**4)).tolist() == [0, 9_070_400]
    with pytest.raises(ValueError, match=r"the time of row 1 is nan; wanted a finite number"):
        nearest_ticks(np.array([0, np.nan]), Fraction(1), Fraction(1))
    with pytest.raises(ValueError, match="wanted coarser ticks, or times of a wider type"):
        nearest_ticks(np.array([1e19]), Fraction(1), Fraction(1))
