"""Rows of sound: which samples a row is made from, and when it happens, whatever the pieces, batches and lengths."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cache.clock import Clock
from cache.track import Track
from extract.backbones.registry import BACKBONES, Chunks, Windows
from extract.decode import Hearing, Samples
from extract.recipe import FeatureSettings
from extract.sound import ChunkRows, SoundRows, WindowRows, rows_of

RATE = 101
HEARING = Hearing(RATE)


class Teller:
    """A network whose rows tell the half sample on which they are centred: of sound that tells its own numbers."""

    def __init__(self, chunks: Chunks, batch_rows: int = 64) -> None:
        self.batch_rows = batch_rows
        self.shapes: list[tuple[int, ...]] = []
        self._chunks = chunks

    def __call__(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
        self.shapes.append(sound.shape)
        chunks = self._chunks
        rows = max(0, (sound.shape[1] - chunks.shortest_samples) // chunks.hop_samples + 1)
        # A row is fed from the sample where its view begins, which is never silence: that would say 0.
        first = sound[:, : rows * chunks.hop_samples : chunks.hop_samples][:, :rows]
        centre = 2 * first + chunks.first_centre_half_samples
        return np.stack([centre, np.full_like(centre, sound.shape[1])], 2)  # [N, T, 2]


def sound_rows(rows: SoundRows, sound: NDArray[np.float32], sizes: list[int], start: int = 0) -> Track:
    """The track of a sound that comes in pieces of the given sizes, again and again."""
    at = piece = 0
    while at < len(sound):
        size = sizes[piece % len(sizes)]
        rows.add(Samples(sound[at : at + size], start + at, HEARING))
        at, piece = at + size, piece + 1
    return rows.finish()


def numbers(length: int, first: int = 1) -> NDArray[np.float32]:
    """Samples that say which they are, counted from 1: 0 is silence."""
    return np.arange(first, first + length, dtype=np.float32)


@st.composite
def chunk_shapes(draw: st.DrawFn) -> Chunks:
    hop = draw(st.integers(1, 7))
    shortest = draw(st.integers(1, 3 * hop))
    context = hop * -(-shortest // hop) + hop * draw(st.integers(0, 3))
    body = hop * draw(st.integers(1, 11))
    return Chunks(hop, draw(st.integers(0, 2 * shortest - 1)), shortest, body, context)


# ------------------------------------------------------------------------------------------------ chunks


@given(chunk_shapes(), st.integers(0, 300), st.lists(st.integers(1, 67), min_size=1, max_size=5), st.integers(-40, 40))
def test_no_row_is_missing_and_none_is_there_twice_at_any_length(
    chunks: Chunks, length: int, sizes: list[int], start: int
) -> None:
    batch_rows = 64 * (1 + length % 3)
    track = sound_rows(
        ChunkRows("x", chunks, RATE, "float32", Teller(chunks, batch_rows)), numbers(length), sizes, start
    )
    half_hop = 2 * chunks.hop_samples
    one_pass = range(chunks.first_centre_half_samples, 2 * length, half_hop)
    whole = max(0, (length - chunks.shortest_samples) // chunks.hop_samples + 1)
    wanted = [*one_pass][:whole] if length >= chunks.shortest_samples else [chunks.first_centre_half_samples][:length]
    assert [int(half) - 2 for half in track.values[:, 0]] == wanted  # samples are counted from 1
    assert track.valid.all()
    first = Fraction(2 * start * bool(length) + chunks.first_centre_half_samples, 2 * RATE)
    assert track.clock == Clock.regular(Fraction(chunks.hop_samples, RATE), len(wanted), first)
    assert track.width == 2


@given(st.integers(0, 200), st.lists(st.integers(1, 67), min_size=1, max_size=5))
def test_a_network_of_one_length_gives_the_rows_that_lie_within_the_sound(length: int, sizes: list[int]) -> None:
    chunks = Chunks(5, 3, 1, 35, 10, fixed=True)
    teller = Teller(chunks)
    track = sound_rows(ChunkRows("x", chunks, RATE, "float32", teller), numbers(length), sizes)
    wanted = list(range(3, 2 * length, 10)) or [3][:length]
    assert [int(half) - 2 for half in track.values[:, 0]] == wanted
    assert {shape[1] for shape in teller.shapes} == {55}


# Bodies of 35 with 10 before and after: the rows of chunks at 0, 35, 70 .. of which the first keeps its beginning.
CHUNKS = Chunks(hop_samples=5, first_centre_half_samples=3, shortest_samples=4, body_samples=35, context_samples=10)


def test_a_row_comes_from_the_chunk_that_has_context_on_both_sides_of_it() -> None:
    seen: list[tuple[float, int]] = []

    class Chunk(Teller):
        def __call__(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
            told = super().__call__(sound)
            told[..., 1] = sound[:, :1]  # which chunk
            seen.extend((float(chunk[0]), len(chunk)) for chunk in sound)
            return told

    track = sound_rows(ChunkRows("x", CHUNKS, RATE, "float32", Chunk(CHUNKS)), numbers(137), [137])
    assert seen == [(1, 55), (36, 55), (71, 55), (106, 32)]
    # By hand: row i is centred on sample 5 i + 1.5; bodies are [0, 45), [45, 80), [80, 115), [115, end).
    by_hand = [1 if s < 45 else 36 if s < 80 else 71 if s < 115 else 106 for s in np.arange(len(track)) * 5 + 1.5]
    assert track.values[:, 1].tolist() == by_hand
    assert len(track) == (137 - 4) // 5 + 1


@pytest.mark.parametrize("length", [1, 4, 54, 55])
def test_sound_that_fits_into_one_chunk_goes_through_in_one_pass(length: int) -> None:
    teller = Teller(CHUNKS)
    sound_rows(ChunkRows("x", CHUNKS, RATE, "float32", teller), numbers(length), [7])
    assert teller.shapes == [(1, max(4, length))]


@pytest.mark.parametrize(("batch_rows", "batches"), [(1, [1] * 6), (63, [1] * 6), (128, [2, 2, 2]), (320, [5, 1])])
def test_chunks_of_equal_length_share_a_batch_and_the_last_one_goes_alone(batch_rows: int, batches: list[int]) -> None:
    teller = Teller(CHUNKS, batch_rows)
    track = sound_rows(ChunkRows("x", CHUNKS, RATE, "float32", teller), numbers(35 * 6 + 41), [11])
    assert teller.shapes == [*((rows, 55) for rows in batches), (1, 41)]
    assert len(track) == (35 * 6 + 41 - 4) // 5 + 1


def test_what_is_held_of_long_sound_is_less_than_two_chunks() -> None:
    rows = ChunkRows("x", CHUNKS, RATE, "float32", Teller(CHUNKS))
    most = 0
    for at in range(0, 35 * 997, 7):
        rows.add(Samples(numbers(7, 1 + at), at, HEARING))
        most = max(most, sum(map(len, rows._pieces)), rows._held_samples, sum(map(len, rows._full)))
        assert rows._pieces[0].base is None, "a view would keep the sound that it was cut from"
    assert most <= 55


def test_no_samples_give_a_track_of_no_rows_that_is_as_wide_as_any() -> None:
    for rows in (
        ChunkRows("x", CHUNKS, RATE, "float16", Teller(CHUNKS)),
        WindowRows("x", Windows(7, 3), RATE, "float16", Last(5)),
    ):
        track = rows.finish()
        assert (len(track), track.width, track.values.dtype) == (0, 2, np.float16)


def test_a_value_that_the_type_can_not_hold_is_an_error_that_names_the_feature() -> None:
    rows = ChunkRows("loud", CHUNKS, RATE, "float16", Teller(CHUNKS))
    rows.add(Samples(numbers(5, 40_000), 0, HEARING))
    with pytest.raises(ValueError, match=r"loud has values up to 8e\+04, more than float16 holds .* `dtype: float32`"):
        rows.finish()


def test_a_network_with_fewer_rows_than_its_spec_says_is_found_out() -> None:
    class Short(Teller):
        def __call__(self, sound: NDArray[np.float32]) -> NDArray[np.float32]:
            return super().__call__(sound)[:, :8]

    rows = ChunkRows("x", CHUNKS, RATE, "float32", Short(CHUNKS))
    with pytest.raises(AssertionError, match="x gave 8 rows of a chunk; its spec says 9 or more"):
        rows.add(Samples(numbers(56), 0, HEARING))


# ------------------------------------------------------------------------------------------------ windows


class Last:
    """A network that says the first and the last sample of its window."""

    def __init__(self, batch_rows: int) -> None:
        self.batch_rows = batch_rows

    def __call__(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        assert len(windows) <= self.batch_rows
        return windows[:, [0, -1]].copy()


@given(
    st.integers(1, 200), st.integers(1, 23), st.integers(1, 31), st.integers(1, 17),
    st.lists(st.integers(1, 67), min_size=1, max_size=5),
)  # fmt: skip
def test_a_window_is_centred_on_its_row_s_sample_with_silence_beyond_the_ends(
    length: int, window: int, hop: int, batch_rows: int, sizes: list[int]
) -> None:
    rows = WindowRows("x", Windows(window, hop), RATE, "float32", Last(batch_rows))
    track = sound_rows(rows, numbers(length), sizes, start=-13)
    assert len(track) == -(-length // hop)
    for row, (first, last) in enumerate(track.values.tolist()):
        begin = row * hop - window // 2
        ends = [at + 1 if 0 <= at < length else 0 for at in (begin, begin + window - 1)]
        assert [first, last] == ends
    assert track.clock == Clock.regular(Fraction(hop, RATE), len(track), Fraction(-13, RATE))


# ------------------------------------------------------------------------------------------------ which


@pytest.mark.parametrize(
    ("feature", "kind"),
    [
        (FeatureSettings(backbone="logmel", hop_seconds=0.02), WindowRows),
        (FeatureSettings(backbone="wav2vec2:a/b", weights="random:3"), ChunkRows),
    ],
    ids=["windows", "chunks"],
)
def test_the_backbone_says_how_its_sound_is_read(feature: FeatureSettings, kind: type[Any]) -> None:
    assert isinstance(rows_of("x", feature, Teller(CHUNKS)), kind)


def test_a_hop_of_the_settings_moves_the_rows() -> None:
    feature = FeatureSettings(backbone="logmel", hop_seconds=0.02, dtype="float32")
    track = sound_rows(rows_of("x", feature, Last(5)), numbers(16000), [1001])
    assert track.clock == Clock.regular(Fraction(1, 50), 50)


@pytest.mark.parametrize("family", [f for f, spec in BACKBONES.items() if isinstance(spec.sound, Chunks)])
def test_the_registered_chunks_leave_no_row_out(family: str) -> None:
    chunks = BACKBONES[family].sound
    assert isinstance(chunks, Chunks)
    length = chunks.body_samples + 2 * chunks.context_samples
    # The last row of a body is centred before its end; what it sees must lie within the chunk.
    assert chunks.context_samples >= (1 if chunks.fixed else chunks.shortest_samples)
    assert length == {"whisper": 480_000, "ast": 164_800}.get(family, 320_000)
