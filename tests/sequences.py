"""Small synthetic sequences, banks and stores for the tests of stage two. Sizes are primes, each its own."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import TrackKey, digest_of
from cache.store import open_store
from cache.track import Track
from fuse.align import Sequence
from fuse.bank import Bank
from fuse.models.registry import MODELS

WIDTHS = {"video": 5, "audio": 3, "pose": 2}
LABEL_STEP = Fraction(1, 23)

# What a model of the registry is shrunk to, where it has the option: small, two layers deep, and deterministic.
SMALL: dict[str, Any] = {
    "width": 8,
    "heads": 2,
    "feedforward": 11,
    "layers": 2,
    "cross_layers": 2,
    "dropout": 0.0,
}


def small_options(model: str, **changes: Any) -> dict[str, Any]:
    """The small options that the model has, with changes."""
    return {name: value for name, value in (SMALL | changes).items() if name in MODELS[model].options}


def make_sequence(
    rng: np.random.Generator,
    clip: str,
    group: str,
    rows: int,
    widths: dict[str, int] | None = None,
    missing: float = 0.2,
    unlabelled: float = 0.1,
) -> Sequence:
    """Smooth labels and features that know something of them; a share of rows missing in each modality."""
    labels = smooth(rng, rows, 2)
    features, valid = {}, {}
    for name, width in (widths or {"video": 5, "audio": 3}).items():
        seen = rng.random(rows) >= missing
        values = labels @ shown_in(name, width) + 0.3 * rng.normal(size=(rows, width))
        features[name] = np.where(seen[:, None], values, 0).astype(np.float32)
        valid[name] = seen
    labels_valid = rng.random(rows) >= unlabelled
    return Sequence(
        clip=clip,
        group=group,
        clock=Clock.regular(LABEL_STEP, rows),
        features=features,
        valid=valid,
        labels=np.where(labels_valid[:, None], labels, 0).astype(np.float32),
        labels_valid=labels_valid,
    )


def make_bank(seed: int = 7, widths: dict[str, int] | None = None, groups: int = 5) -> Bank:
    """Two clips a group, the last group one: lengths are primes, the shortest shorter than any window used here."""
    rng = np.random.default_rng(seed)
    lengths = [29, 5, 41, 23, 37, 19, 31, 43, 17, 47, 53, 59]
    return Bank(
        [
            make_sequence(rng, f"clip{i}", f"subject{i // 2}", lengths[i], widths)
            for i in range(min(2 * groups - 1, len(lengths)))
        ]
    )


def shown_in(name: str, width: int) -> NDArray[np.float64]:
    """[2, D]: how a modality shows valence and arousal, the same in every clip."""
    return np.random.default_rng(list(name.encode())).normal(size=(2, width))


def smooth(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """[T, columns] within [-1, 1], a few slow sines."""
    t = np.arange(rows)[:, None]
    return 0.8 * np.sin(2 * np.pi * (rng.random(columns) + t / rng.uniform(13, 31, columns)))


def write_store(path: Path, *, seed: int = 7, poisoned_split: str | None = None) -> Catalogue:
    """A store of 6 subjects to train on, 3 to report, with features `face` and `voice` on clocks of their own.

    poisoned_split: the labels of this split are other numbers; all else stays the same to the byte.
    """
    rng = np.random.default_rng(seed)
    store = open_store(path, writable=True)
    catalogue = Catalogue(store)
    recipes = {"face": {"backbone": "f", "width": 5}, "voice": {"backbone": "v", "width": 3}}
    rates = {"face": Fraction(1, 29), "voice": Fraction(1, 11)}
    for i in range(13):
        split = "train" if i < 9 else "validation"
        seconds = float(rng.uniform(1.2, 2.6))
        rows = int(seconds / LABEL_STEP)
        source = hashlib.sha256(f"media {i}".encode()).hexdigest()
        labels = smooth(rng, rows, 2)
        tracks = {}
        for name, recipe in recipes.items():
            clock = Clock.regular(rates[name], int(seconds / rates[name]), start_seconds=Fraction(1, 97))
            times = np.interp(clock.seconds(), np.arange(rows) * float(LABEL_STEP), np.arange(rows))
            values = labels[times.round().astype(int)] @ shown_in(name, recipe["width"])
            track = Track.of(values + 0.3 * rng.normal(size=values.shape), clock, rng.random(len(clock)) > 0.1)
            key = TrackKey(digest_of(recipe), source, f"clip{i:02d}")
            store.write(key, track, recipe=recipe, provenance={})
            tracks[name] = key.recipe
        if poisoned_split == split:
            labels = np.where(labels > 0, -0.97, 0.89)
        catalogue.update(
            Record(
                clip=f"clip{i:02d}",
                media=f"clip{i:02d}.mp4",
                source=source,
                split=split,
                subject=f"{split}-{i // 2}",
                duration_seconds=seconds,
                labels=Track.of(labels, Clock.regular(LABEL_STEP, rows), rng.random(rows) > 0.1, dtype="float32"),
                tracks=tracks,
            )
        )
    return catalogue
