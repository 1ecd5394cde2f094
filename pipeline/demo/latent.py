"""What the puppet feels, what the annotators write about it, and the score that nobody can beat by much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from fuse.metrics import Moments
from pipeline.demo.chance import Float, Smooth, generator

LAG_SECONDS = 0.7  # an annotator reacts late: the label at t speaks of the puppet at t - LAG_SECONDS
INVALID = -5.0  # Aff-Wild2's mark for a row without an annotation
DECIMALS = 4  # of a published label

BETWEEN_CLIPS = 0.26  # deviation of a clip's mean feeling, before the squashing below
WITHIN_CLIP = 0.38  # deviation of the feeling around that mean
SCALE_SECONDS = 2.2  # how slowly a feeling changes
SHARED = 0.2  # correlation of arousal with valence

ANNOTATOR_NOISE, ANNOTATOR_SCALE_SECONDS = 0.14, 1.0  # the annotators' slow disagreement
ANNOTATOR_JITTER = 0.02  # and the trembling of their hands


@dataclass(frozen=True)
class Latent:
    """Valence and arousal of one puppet in one clip as functions of time, in (-1, 1)."""

    means: Float  # [2]
    moving: tuple[Smooth, Smooth]

    @classmethod
    def draw(cls, seed: int, clip: int, person: int) -> Self:
        """clip: number of the video. person: 0, or 1 for the puppet on the right of a two-person video."""
        rng = generator(seed, "latent", clip, person)
        return cls(rng.normal(0, BETWEEN_CLIPS, 2), (Smooth.draw(rng, SCALE_SECONDS), Smooth.draw(rng, SCALE_SECONDS)))

    def at(self, seconds: ArrayLike) -> Float:
        """Valence and arousal [T, 2] at times [T]."""
        valence, own = (mean + WITHIN_CLIP * s.at(seconds) for mean, s in zip(self.means, self.moving, strict=True))
        arousal = SHARED * valence + np.sqrt(1 - SHARED**2) * own
        return np.asarray(np.tanh(np.stack([valence, arousal], -1)), np.float64)


def annotate(latent: Latent, seconds: Float, rng: np.random.Generator) -> Float:
    """Labels [T, 2] as they are published, for the frames shown at times [T]: late, noisy, rounded."""
    slow = np.stack([Smooth.draw(rng, ANNOTATOR_SCALE_SECONDS).at(seconds) for _ in range(2)], -1)
    jitter = rng.normal(0, ANNOTATOR_JITTER, slow.shape)
    labels = latent.at(seconds - LAG_SECONDS) + ANNOTATOR_NOISE * slow + jitter
    return np.asarray(np.round(np.clip(labels, -1, 1), DECIMALS), np.float64)


@dataclass(frozen=True)
class Ceiling:
    """CCC of the noise-free latent at the true lag against the published labels, rows concatenated.

    No model is involved. A model that reads the latent perfectly and knows the lag scores this; beating it
    takes luck, or labels at test time.
    """

    valence: float
    arousal: float
    mean: float

    @classmethod
    def of(cls, latents: Sequence[Float], labels: Sequence[Float]) -> Self:
        """latents, labels: one [T, 2] a clip; the latents are already those of T - LAG_SECONDS."""
        truth, published = np.concatenate(latents), np.concatenate(labels)
        valid = (published != INVALID).all(-1)
        valence, arousal = Moments.of(truth, published, valid).ccc()
        return cls(float(valence), float(arousal), float((valence + arousal) / 2))
