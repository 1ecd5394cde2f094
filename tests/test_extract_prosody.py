"""Prosody measures what it says: tones of known pitch, known loudness, known rates of syllables, known spectra."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from extract.backbones.prosody import Prosody

PITCH, PITCH_DEVIATION, VOICED, LOUDNESS, LOUDNESS_DEVIATION, ENERGY = range(6)
RATES, CENTROID, BANDS = slice(6, 10), 10, slice(11, 35)
TIME = torch.arange(16000, dtype=torch.float64) / 16000


def voice(hertz: float, *, fall: float = 1.0, loudness: float = 0.1, phase: float = 0.37) -> Tensor:
    """[16000] a harmonic tone: the k-th harmonic has 1 / k ** fall of the first one's size, up to 7 kHz."""
    harmonics = range(1, int(7000 / hertz) + 1)
    sound = sum(torch.cos(2 * math.pi * hertz * k * TIME + phase * k * k) * k**-fall for k in harmonics)
    return loudness * sound / sound.square().mean().sqrt()


@torch.inference_mode()
def measured(*sounds: Tensor) -> Tensor:
    return Prosody()(torch.stack(sounds).float())


# Pitches that no whole number of samples fits, low and high, up to where the search ends.
PITCHES = [62, 71.3, 98, 123.4, 153.1, 187.3, 199, 221.5, 244.2, 261.3, 295.5, 312.6, 323, 361, 388, 395, 398]


@pytest.mark.parametrize("fall", [0.0, 0.5, 1.0, 2.0], ids=["pulses", "bright", "sawtooth", "dull"])
def test_a_tone_of_known_pitch_gives_its_octave(fall: float) -> None:
    rows = measured(*(voice(hertz, fall=fall) for hertz in PITCHES))
    # Quarters of a sample are at most 0.3 % of a period of 40 samples, to either side.
    np.testing.assert_allclose(150 * 2 ** rows[:, PITCH].double(), PITCHES, rtol=0.01)
    assert (rows[:, PITCH_DEVIATION] < 0.01).all()
    assert (rows[:, VOICED] == 1).all()


@pytest.mark.parametrize("hertz", [110.0, 210.0])
def test_a_pitch_that_moves_has_its_mean_and_its_deviation(hertz: float) -> None:
    octaves = 0.2 * torch.sin(2 * math.pi * 2 * TIME)  # two whole turns a second
    phase = torch.cumsum(2 * math.pi * hertz * 2**octaves / 16000, 0)
    (row,) = measured(sum(0.1 / k * torch.cos(k * phase) for k in range(1, 20)))
    assert row[PITCH] == pytest.approx(math.log2(hertz / 150), abs=0.03)
    assert row[PITCH_DEVIATION] == pytest.approx(0.2 / math.sqrt(2), rel=0.1)  # 50 ms frames smooth it a little


def test_noise_has_no_pitch_and_half_a_voice_is_half_voiced() -> None:
    noise = 0.05 * torch.randn(16000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    # The first half a voice, the second nothing: 24 of 48 frames, one more or less where they meet.
    half = torch.where(TIME < 0.5, voice(130), 0)
    rows = measured(noise, half, voice(130))
    assert rows[0, VOICED] < 0.05
    assert rows[1, VOICED] == pytest.approx(0.5, abs=0.04)
    assert rows[1, PITCH] == pytest.approx(float(rows[2, PITCH]), abs=0.02)  # silence has no say in a voice's pitch
    assert rows[1, LOUDNESS] == pytest.approx(float(rows[2, LOUDNESS]), abs=0.2)
    assert rows[1, ENERGY] < rows[2, ENERGY] - 3


@pytest.mark.parametrize("hertz", [97.0, 233.0])
def test_twice_as_loud_is_ln_4_more_energy_and_nothing_else(hertz: float) -> None:
    octave = measured(voice(hertz, loudness=0.05), voice(hertz, loudness=0.1))
    by = octave[1] - octave[0]
    # The floor of 1e-7 is 4e-5 of the softer one's power of 0.0025; float32 logarithms.
    assert by[LOUDNESS] == pytest.approx(math.log(4), abs=1e-3)
    assert by[ENERGY] == pytest.approx(math.log(4), abs=1e-3)
    for column in (PITCH, PITCH_DEVIATION, VOICED, LOUDNESS_DEVIATION):
        assert by[column] == pytest.approx(0, abs=1e-3)
    assert by[CENTROID] == pytest.approx(0, abs=0.01)
    loud = octave[1, BANDS] > -12  # bands that hold something, not the floor
    assert loud.sum() > 12
    assert by[BANDS][loud].abs().max() < 0.05


@pytest.mark.parametrize(("hertz", "band"), [(1.2, 0), (3.0, 1), (5.0, 2), (7.0, 3), (8.5, 3)])
@pytest.mark.parametrize("phase", [0.0, 1.5, 3.0])
def test_syllables_are_in_the_band_of_their_rate(hertz: float, band: int, phase: float) -> None:
    # The contour is 0.96 s under a Hann window, so a rate is known to about 1 Hz: each is well within its band,
    # but for that of 1 to 2 Hz, which shares with its neighbour.
    (row,) = measured(voice(140) * (1 + 0.7 * torch.sin(2 * math.pi * hertz * TIME + phase)))
    shares = row[RATES]
    assert int(shares.argmax()) == band
    assert shares[band] > (0.7 if band else 0.3)
    assert (shares >= 0).all()
    assert shares.sum() <= 1 + 1e-5


def test_a_steady_voice_has_less_movement_than_one_of_syllables() -> None:
    rows = measured(voice(140), voice(140) * (1 + 0.7 * torch.sin(2 * math.pi * 4.9 * TIME)))
    assert rows[0, LOUDNESS_DEVIATION] < 0.05 < 0.5 < rows[1, LOUDNESS_DEVIATION]


def test_the_spectrum_is_where_the_sound_is() -> None:
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + np.array([60, 7600]) / 700)), 26) / 2595) - 1)
    centres = edges[1:-1]
    rows = measured(*(0.1 * torch.sin(2 * math.pi * hertz * TIME) for hertz in centres[[3, 9, 15, 20]]))
    assert rows[:, BANDS].argmax(1).tolist() == [3, 9, 15, 20]
    np.testing.assert_allclose(2 ** rows[:, CENTROID] - 1, centres[[3, 9, 15, 20]], rtol=0.02)
    bright, dull = measured(voice(140, fall=0.5), voice(140, fall=2))
    assert bright[CENTROID] > dull[CENTROID] + 0.5


@pytest.mark.parametrize("sound", [0.0, 1.0, -0.3], ids=["silence", "a constant", "another"])
def test_what_does_not_move_is_silence_and_finite(sound: float) -> None:
    rows = measured(torch.full((16000,), sound, dtype=torch.float64), torch.zeros(16000, dtype=torch.float64))
    assert rows.isfinite().all()
    torch.testing.assert_close(rows[0], rows[1], rtol=0, atol=1e-3)
    assert rows[0, VOICED] == 0
    assert rows[0, ENERGY] == pytest.approx(math.log(1e-7), abs=1e-3)


@pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0])
def test_the_softest_and_the_loudest_are_finite(size: float) -> None:
    click = torch.zeros(16000, dtype=torch.float64)
    click[7919] = size
    square = size * torch.sign(torch.sin(2 * math.pi * 100 * TIME))
    assert measured(click, square, voice(120, loudness=size)).isfinite().all()
