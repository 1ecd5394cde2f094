"""When a puppet speaks: its syllables and pauses, which move the mouth and sound in the voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.chance import Float, Smooth
from pipeline.demo.latent import Latent

SYLLABLES_PER_SECOND = 4.3  # at arousal 0
RATE_OCTAVES = 0.6  # by which the rate grows with a unit of arousal
RATE_NOISE_OCTAVES, RATE_NOISE_SCALE_SECONDS = 0.12, 1.5
PAUSE_SECONDS, PAUSE_OCTAVES = 0.45, 1.2  # a pause at arousal 0, and by how much it shrinks with a unit of it
SYLLABLES_PER_PHRASE = (4, 10)  # half-open
VOWELS = 5


@dataclass(frozen=True)
class Speech:
    """The syllables of one clip, in order, never overlapping."""

    start_seconds: Float  # [S]
    length_seconds: Float  # [S]
    strength: Float  # [S] in about (0.6, 1.1)
    vowel: NDArray[np.int64]  # [S] in 0..VOWELS-1

    @classmethod
    def draw(cls, rng: np.random.Generator, latent: Latent, seconds: float) -> Self:
        noise = Smooth.draw(rng, RATE_NOISE_SCALE_SECONDS)
        now, left = -rng.uniform(0, 0.5), int(rng.integers(*SYLLABLES_PER_PHRASE))
        rows: list[tuple[float, float, float, int]] = []
        while now < seconds:
            arousal = float(latent.at(now)[1])
            if left == 0:
                now += PAUSE_SECONDS * 2 ** (-PAUSE_OCTAVES * arousal) * rng.uniform(0.6, 1.4)
                left = int(rng.integers(*SYLLABLES_PER_PHRASE))
                continue
            rate_hz = SYLLABLES_PER_SECOND * 2 ** (RATE_OCTAVES * arousal + RATE_NOISE_OCTAVES * float(noise.at(now)))
            length = rng.uniform(0.85, 1.15) / rate_hz
            rows.append((now, length, rng.uniform(0.6, 1.1), int(rng.integers(VOWELS))))
            now += length
            left -= 1
        starts, lengths, strengths, vowels = zip(*rows, strict=True)
        return cls(np.array(starts), np.array(lengths), np.array(strengths), np.array(vowels, np.int64))

    def syllable(self, seconds: Float) -> NDArray[np.int64]:
        """The number [T] of the syllable that has begun last at times [T]; 0 before the first."""
        return np.maximum(np.searchsorted(self.start_seconds, seconds, "right") - 1, 0)

    def opening(self, seconds: Float) -> Float:
        """How open the mouth is, [T] in 0..about 1: one smooth hump a syllable, 0 in a pause."""
        which = self.syllable(seconds)
        through = (seconds - self.start_seconds[which]) / self.length_seconds[which]
        hump = np.where((through > 0) & (through < 1), np.sin(np.pi * np.clip(through, 0, 1)) ** 1.5, 0)
        return hump * self.strength[which]
