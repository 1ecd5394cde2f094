"""How a feeling shows: from valence, arousal and speech to the movements of a face.

Every cue carries a noise of its own, so one picture leaves doubt, several cues leave less, and a second of
pictures leaves little. The noises are the corpus's difficulty; they are not fitted to any model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.chance import Float, Smooth
from pipeline.demo.latent import Latent
from pipeline.demo.speech import Speech

# cue = latent + noise; deviation of the noise, and how slowly it changes
MOUTH_NOISE, MOUTH_SCALE_SECONDS = 0.22, 0.4
BROW_NOISE, BROW_SCALE_SECONDS = 0.28, 0.5
CHEEK_NOISE, CHEEK_SCALE_SECONDS = 0.28, 0.6
EYE_NOISE, EYE_SCALE_SECONDS = 0.35, 0.5
LIFT_NOISE, LIFT_SCALE_SECONDS = 0.45, 0.5
MOTION_NOISE, MOTION_SCALE_SECONDS = 0.35, 1.0

SWAY_SCALE_SECONDS = 0.45  # of the head's movement itself
BLINKS_PER_SECOND, BLINK_SECONDS = 0.3, 0.18
HIDINGS_PER_SECOND, HIDING_SECONDS = 0.06, (0.3, 1.0)
SLIDE_SECONDS = 0.12  # in which a board or the hands come up
COVERS = ("board", "hands", "turned away")


@dataclass(frozen=True)
class Pose:
    """One moment of a face. Lengths are in half-heights of the face."""

    smile: float  # -1 corners down .. 1 corners up
    brow: float  # -1 drawn down in the middle .. 1 arched
    cheek: float  # -1 flat and pale .. 1 raised and red
    eyes: float  # 0 closed .. 1 wide open
    lift: float  # of both brows: -1 low .. 1 high
    mouth: float  # 0 closed .. 1 open
    sway: tuple[float, float]  # of the head, right and down
    turn: float  # of the head, 1 = far to the right
    tilt_radians: float
    hidden: float  # 0 = in the open .. 1 = fully covered
    cover: str  # one of COVERS

    @classmethod
    def still(cls, valence: float, arousal: float, mouth: float = 0.2) -> Self:
        """The face of a feeling without any noise or motion, to look at."""
        return cls(valence, valence, valence, float(_opening(arousal)), arousal, mouth, (0, 0), 0, 0, 0, COVERS[0])


@dataclass(frozen=True)
class Performance:
    """A whole clip's poses, and where the face could not be seen."""

    poses: tuple[Pose, ...]  # T
    hidden: NDArray[np.bool_]  # [T] True = covered by more than half


def perform(latent: Latent, speech: Speech, seconds: Float, rng: np.random.Generator) -> Performance:
    """Poses at the presentation times [T]."""

    def noise(scale_seconds: float) -> Float:
        return Smooth.draw(rng, scale_seconds).at(seconds)

    valence, arousal = latent.at(seconds).T
    smile = np.clip(valence + MOUTH_NOISE * noise(MOUTH_SCALE_SECONDS), -1.2, 1.2)
    brow = np.clip(valence + BROW_NOISE * noise(BROW_SCALE_SECONDS), -1.2, 1.2)
    cheek = np.clip(valence + CHEEK_NOISE * noise(CHEEK_SCALE_SECONDS), -1.2, 1.2)
    lift = np.clip(arousal + LIFT_NOISE * noise(LIFT_SCALE_SECONDS), -1.2, 1.2)
    eyes = _opening(arousal + EYE_NOISE * noise(EYE_SCALE_SECONDS)) * (1 - _blinks(seconds, rng))
    amplitude = 0.9 * 2 ** (1.3 * np.clip(arousal + MOTION_NOISE * noise(MOTION_SCALE_SECONDS), -1, 1))
    across, down, turn, tilt = (amplitude * noise(SWAY_SCALE_SECONDS) for _ in range(4))
    mouth = speech.opening(seconds) * (0.85 + 0.15 * arousal)
    hidden, cover = _hidings(seconds, rng)

    rows = zip(smile, brow, cheek, eyes, lift, mouth, across, down, turn, tilt, hidden, cover, strict=True)
    poses = tuple(
        Pose(
            smile=float(s),
            brow=float(b),
            cheek=float(c),
            eyes=float(e),
            lift=float(li),
            mouth=float(m),
            sway=(float(np.clip(0.045 * x, -0.2, 0.2)), float(np.clip(0.025 * y, -0.1, 0.1))),
            turn=float(np.clip(0.3 * tu, -1, 1)),
            tilt_radians=float(np.clip(0.05 * ti, -0.25, 0.25)),
            hidden=float(h),
            cover=COVERS[k],
        )
        for s, b, c, e, li, m, x, y, tu, ti, h, k in rows
    )
    return Performance(poses, hidden > 0.5)


def _opening(arousal: Float | float) -> Float:
    """How open the eyes are: heavy-lidded at -1, wide at 1, never quite closed."""
    return np.clip(0.55 + 0.42 * np.asarray(arousal), 0.12, 1.05)


def _intervals(seconds: Float, rate_hz: float, rng: np.random.Generator) -> Float:
    """Starts [N] of events that come at random between the first and the last frame."""
    lasting = float(seconds[-1])
    return np.sort(rng.uniform(0, lasting, rng.poisson(rate_hz * lasting)))


def _blinks(seconds: Float, rng: np.random.Generator) -> Float:
    """How far the lids are down [T], 0..1."""
    lids = np.zeros_like(seconds)
    for start in _intervals(seconds, BLINKS_PER_SECOND, rng):
        through = (seconds - start) / BLINK_SECONDS
        lids = np.maximum(lids, np.where((through > 0) & (through < 1), np.sin(np.pi * through), 0))
    return lids


def _hidings(seconds: Float, rng: np.random.Generator) -> tuple[Float, NDArray[np.int64]]:
    """How far the face is covered [T], 0..1, and by which of COVERS [T]."""
    hidden, cover = np.zeros_like(seconds), np.zeros(len(seconds), np.int64)
    for start in _intervals(seconds, HIDINGS_PER_SECOND, rng):
        end, kind = start + rng.uniform(*HIDING_SECONDS), int(rng.integers(len(COVERS)))
        edge = np.minimum(seconds - start, end - seconds)  # how far inside the hiding, negative outside
        here = edge > 0
        hidden[here] = np.maximum(hidden[here], np.clip(edge[here] / SLIDE_SECONDS, 0, 1))
        cover[here] = kind
    return hidden, cover
