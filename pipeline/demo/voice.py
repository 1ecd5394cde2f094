"""A puppet's voice: harmonics of a moving pitch, shaped by vowels, loud and high when it is aroused.

Arousal moves pitch, loudness, effort (the balance of high and low partials) and, through `speech.py`, rate
and pauses. Valence moves the formants, as smiling shortens the vocal tract, and a little the balance. Pitch
and formants differ by subject and the recording's gain by clip, so no absolute number says much alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from pipeline.demo.chance import Float, Smooth
from pipeline.demo.latent import Latent
from pipeline.demo.speech import Speech

CONTROL_HZ = 200  # pitch, loudness and timbre are worked out this often, and joined by straight lines
HIGHEST_HARMONIC_HZ, MOST_HARMONICS = 5500.0, 40

PITCH_OCTAVES = 0.5  # by which the pitch rises with a unit of arousal
PITCH_NOISE_OCTAVES, PITCH_SCALE_SECONDS = 0.06, 0.5
LOUDNESS_DB = -25.0  # rms of a voiced stretch at arousal 0, of full scale
LOUDNESS_AROUSAL_DB = 8.0
LOUDNESS_NOISE_DB, LOUDNESS_SCALE_SECONDS = 2.5, 1.0
GAIN_DB = 4.5  # deviation of the recording gain from clip to clip
TILT_DB_PER_OCTAVE = -8.0
TILT_AROUSAL_DB, TILT_VALENCE_DB = 2.5, 1.5
TILT_NOISE_DB, TILT_SCALE_SECONDS = 0.8, 0.8
FORMANT_VALENCE, FORMANT_NOISE, FORMANT_SCALE_SECONDS = 0.1, 0.03, 0.8  # in shares of a formant's frequency
FLOOR_DB = (-62.0, -50.0)  # of the room, before the recording gain

# First three formants of the vowels of "father", "bed", "see", "law", "soon", roughly.
VOWEL_FORMANTS_HZ = np.array(
    [[750, 1200, 2500], [560, 1800, 2500], [310, 2250, 2950], [540, 900, 2450], [350, 950, 2300]]
)
FORMANT_WIDTHS_HZ = np.array([90.0, 120.0, 180.0])
FORMANT_GAINS = np.array([1.0, 0.7, 0.45])


@dataclass(frozen=True)
class Throat:
    """What a subject sounds like, and never changes."""

    pitch_hz: float
    formant_scale: float
    breath: float  # rms of breath beside the tone

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        return cls(
            pitch_hz=float(80 * (260 / 80) ** rng.random()),
            formant_scale=float(rng.uniform(0.88, 1.16)),
            breath=float(rng.uniform(0.03, 0.12)),
        )


def draw_voice(
    throat: Throat, latent: Latent, speech: Speech, seconds: float, sample_rate: int, rng: np.random.Generator
) -> Float:
    """Sound [samples] of one puppet, from time 0, without the room; clipping is left to `record`."""
    hop = sample_rate // CONTROL_HZ
    samples = round(seconds * sample_rate)
    control = np.arange(samples // hop + 2) * hop / sample_rate  # [C]

    def noise(scale_seconds: float) -> Float:
        return Smooth.draw(rng, scale_seconds).at(control)

    valence, arousal = latent.at(control).T
    through = control - speech.start_seconds[speech.syllable(control)]
    octaves = (
        PITCH_OCTAVES * arousal + PITCH_NOISE_OCTAVES * noise(PITCH_SCALE_SECONDS) - 0.25 * np.minimum(through, 0.3)
    )
    pitch_hz = throat.pitch_hz * 2**octaves
    level_db = LOUDNESS_DB + LOUDNESS_AROUSAL_DB * arousal + LOUDNESS_NOISE_DB * noise(LOUDNESS_SCALE_SECONDS)
    tilt_db = TILT_DB_PER_OCTAVE + TILT_AROUSAL_DB * arousal + TILT_VALENCE_DB * valence
    tilt_db += TILT_NOISE_DB * noise(TILT_SCALE_SECONDS)
    stretch = throat.formant_scale * (1 + FORMANT_VALENCE * valence + FORMANT_NOISE * noise(FORMANT_SCALE_SECONDS))
    formants_hz = _glide(VOWEL_FORMANTS_HZ[speech.vowel[speech.syllable(control)]]) * stretch[:, None]  # [C, 3]

    count = int(np.clip(HIGHEST_HARMONIC_HZ / pitch_hz.min(), 8, MOST_HARMONICS))
    partials_hz = pitch_hz[:, None] * np.arange(1, count + 1)  # [C, K]
    shape = _timbre(partials_hz, formants_hz, tilt_db)
    loudness = speech.opening(control) * 10 ** (level_db / 20)  # [C]
    # With this scale the rms of the sum of the partials is the loudness, whatever the timbre.
    shape *= (loudness * np.sqrt(2) / np.linalg.norm(shape, axis=1))[:, None]

    phase = 2 * np.pi * np.cumsum(_joined(pitch_hz, hop)) / sample_rate
    sound = _sum_of_partials(phase, shape, hop)
    breath = np.diff(rng.standard_normal(len(sound) + 1)) / np.sqrt(2)  # brighter than white
    sound += throat.breath * breath * _joined(loudness, hop)
    return sound[:samples]


def record(voices: Float, room: np.random.Generator) -> Float:
    """The sound [samples] of a file from the sum of its voices: room noise, a gain, a soft limit at full scale."""
    floor = 10 ** (room.uniform(*FLOOR_DB) / 20)
    gain = 10 ** (GAIN_DB * np.clip(room.standard_normal(), -2, 2) / 20)
    return np.asarray(np.tanh(gain * (voices + floor * room.standard_normal(len(voices)))), np.float64)


def _timbre(partials_hz: Float, formants_hz: Float, tilt_db: Float) -> Float:
    """Amplitudes [C, K] of partials [C, K] under formants [C, 3] and a tilt in dB an octave [C]."""
    away = (partials_hz[:, :, None] - formants_hz[:, None, :]) / FORMANT_WIDTHS_HZ  # [C, K, 3]
    resonance = (FORMANT_GAINS / (1 + away**2)).sum(-1) + 0.03
    slope = (partials_hz / 300) ** (tilt_db[:, None] / (20 * np.log10(2)))
    return np.asarray(resonance * slope, np.float64)


def _glide(targets: Float) -> Float:
    """Formants [C, 3] that move from vowel to vowel within about 60 ms instead of jumping."""
    width = round(0.06 * CONTROL_HZ)
    kernel = np.hanning(width + 2)[1:-1]
    kernel /= kernel.sum()
    padded = np.pad(targets, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel, "valid") for column in padded.T], -1)


def _joined(values: Float, hop: int) -> Float:
    """Control values [C] as samples [(C - 1) * hop], joined by straight lines."""
    ramp = np.arange(hop) / hop
    return (values[:-1, None] + np.diff(values)[:, None] * ramp).ravel()


def _sum_of_partials(phase: Float, amplitudes: Float, hop: int) -> Float:
    """Sum over k of amplitude_k * sin(k * phase), where amplitudes are [C, K].

    sin(k x) = 2 cos(x) sin((k - 1) x) - sin((k - 2) x): one cosine for all the partials, ten times faster.
    """
    before, now, twice_cosine = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    total = _joined(amplitudes[:, 0], hop) * now
    for k in range(1, amplitudes.shape[1]):
        before, now = now, twice_cosine * now - before
        total += _joined(amplitudes[:, k], hop) * now
    return total
