"""Chance with an address: every random number of the corpus, and random functions of time that are smooth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

COMPONENTS = 48  # cosines in a smooth process: enough that their sum is close to Gaussian


def generator(seed: int, *address: int | str) -> np.random.Generator:
    """The generator of one purpose, such as `generator(7, "latent", 12, 0)`.

    What is drawn for one purpose never depends on what was drawn for another, nor on how many workers
    there are, nor on the order of the clips.
    """
    words = [crc32(part.encode()) if isinstance(part, str) else part for part in address]
    return np.random.default_rng([seed, *words])


@dataclass(frozen=True)
class Smooth:
    """A stationary process of mean 0 and deviation 1, close to Gaussian, as a sum of cosines.

    Its correlation over a distance d is exp(-d^2 / (2 scale^2)). A sum of cosines has a value at every
    time, so pictures, sound and labels read one function, each on its own clock, and nothing is interpolated.
    """

    radians_per_second: Float  # [COMPONENTS]
    phases: Float  # [COMPONENTS]

    @classmethod
    def draw(cls, rng: np.random.Generator, scale_seconds: float) -> Self:
        return cls(rng.normal(0, 1 / scale_seconds, COMPONENTS), rng.uniform(0, 2 * np.pi, COMPONENTS))

    def at(self, seconds: ArrayLike) -> Float:
        """Values [T] at times [T]."""
        angles = np.multiply.outer(np.asarray(seconds, np.float64), self.radians_per_second) + self.phases
        return np.asarray(np.cos(angles).sum(-1) * np.sqrt(2 / COMPONENTS), np.float64)
