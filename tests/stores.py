"""Stores for tests: keys, tracks, records, and processes of their own that write them."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cache.catalogue import Record
from cache.clock import Clock
from cache.key import TrackKey, digest_of
from cache.store import Store
from cache.track import Track

ROOT = Path(__file__).parent.parent
RECIPE: dict[str, Any] = {"backbone": "logmel", "hop_samples": 160, "weights": None, "mean": [0.5, 0.25]}
PROVENANCE = {"device": "cpu", "torch": "2.15"}
T, D = 1033, 7  # more rows than one chunk, and no whole number of chunks

CLOCKS = {
    "regular": Clock.regular(Fraction(1, 100), T, Fraction(-3, 16000)),
    "variable": Clock.explicit(np.cumsum(1 + np.arange(T) % 5) - 11, Fraction(1, 90000)),
}


def key_of(clip: str = "clip", recipe: dict[str, Any] = RECIPE) -> TrackKey:
    return TrackKey(digest_of(recipe), digest_of({"media": clip}), clip)


def some_track(clock: Clock = CLOCKS["regular"], dtype: str = "float16", width: int = D, seed: int = 5) -> Track:
    rng = np.random.default_rng(seed)
    return Track.of(rng.normal(size=(len(clock), width)), clock, rng.random(len(clock)) > 0.3, dtype=dtype)


def record(**changes: Any) -> Record:
    labels = Track.of(np.full((11, 2), 0.25), Clock.regular(Fraction(1, 10), 11), dtype="float32")
    known: dict[str, Any] = {
        "clip": "clip", "media": "clip.mp4", "source": key_of().source, "split": "train", "subject": "s1",
        "duration_seconds": 1.5, "labels": labels, "tracks": {"voice": key_of().recipe},
    }  # fmt: skip
    return Record(**{**known, **changes})


def put(store: Store, key: TrackKey, track: Track) -> bool:
    return store.write(key, track, recipe=RECIPE, provenance=PROVENANCE)


def same(a: Track | None, b: Track) -> None:
    """Equal to the bit, in type, marks and times."""
    assert a is not None
    assert a.values.dtype == b.values.dtype
    assert a.values.shape == b.values.shape
    assert a.values.tobytes() == b.values.tobytes()
    np.testing.assert_array_equal(a.valid, b.valid)
    assert a.clock == b.clock


def everything(path: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own in the repository, that can import what the tests import."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = ['tests']\n{code}", *map(str, arguments)],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
