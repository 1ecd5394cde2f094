"""The hand-over between the stages: for each clip its media, split, subject, labels and named tracks.

One immutable record a clip and generation. The newest generation counts; corrected labels or a new feature
make a new one, and a run records which it used. Stage two needs the store and this, and no video.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cache.key import TrackKey, digest_of
from cache.store import Store, StoreError
from cache.track import Track


@dataclass(frozen=True, eq=False)
class Record:
    """What is known of one clip.

    media: the file's name within its corpus. source: the digest of its bytes. labels: [N, 2] valence and
    arousal in [-1, 1] on their own clock, or None (a test split); native_range: what -1 and 1 were in the corpus.
    tracks: feature name -> recipe digest. sources: feature name -> digest of what it was made from, where that is
    not `source`: crops, a sound file of its own, an imported file.
    """

    clip: str
    media: str
    source: str
    split: str
    subject: str | None
    duration_seconds: float
    labels: Track | None
    tracks: Mapping[str, str]
    sources: Mapping[str, str] = field(default_factory=dict)
    native_range: tuple[float, float] = (-1.0, 1.0)
    notes: tuple[str, ...] = ()
    generation: int = field(default=0)

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.width != 2:
            raise ValueError(f"labels of clip {self.clip} have {self.labels.width} columns; wanted valence, arousal")

    @property
    def group(self) -> str:
        """What must stay together in splits and resampling: the subject, or the media file where none is known."""
        return self.subject if self.subject is not None else f"media:{self.media}"

    def key(self, feature: str) -> TrackKey:
        """The address of this clip's track of a named feature. Raises StoreError if it has none."""
        if feature not in self.tracks:
            raise StoreError(
                f"clip {self.clip} has no feature {feature!r}, only {', '.join(sorted(self.tracks)) or 'none'}; "
                "run `duet extract`"
            )
        return TrackKey(self.tracks[feature], self.sources.get(feature, self.source), self.clip)

    def content(self) -> dict[str, Any]:
        """The record as JSON; its generation is not part of it."""
        return {
            "media": self.media,
            "source_digest": self.source,
            "split": self.split,
            "subject": self.subject,
            "duration_seconds": self.duration_seconds,
            "tracks": dict(self.tracks),
            "sources": dict(self.sources),
            "native_range": list(self.native_range),
            "notes": list(self.notes),
            "labels_digest": None if self.labels is None else _digest_of_labels(self.labels),
        }

    def seen(self, features: Collection[str] | None = None) -> dict[str, Any]:
        """What of the record decides the numbers of stage two with these features (None: all), as JSON."""
        keys = {name: self.key(name) for name in self.tracks if features is None or name in features}
        return {
            "group": self.group,
            "split": self.split,
            "tracks": {name: [key.recipe, key.source] for name, key in keys.items()},
            "labels_digest": None if self.labels is None else _digest_of_labels(self.labels),
        }


class Catalogue:
    """The newest record of every clip of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records = {clip: record for clip in store.clips() if (record := _newest(store, clip)) is not None}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def __contains__(self, clip: str) -> bool:
        return clip in self._records

    def __getitem__(self, clip: str) -> Record:
        return self._records[clip]

    def get(self, clip: str) -> Record | None:
        """The clip's record, or None if it has none."""
        return self._records.get(clip)

    def digest(self, splits: Collection[str] | None = None, features: Collection[str] | None = None) -> str:
        """One digest of what the records say: what a run states to say which catalogue it saw.

        splits, features: only what a run can see, so that a new feature or test clip leaves its digest alone.
        """
        return digest_of(
            {record.clip: record.seen(features) for record in self if splits is None or record.split in splits}
        )

    def update(self, record: Record) -> bool:
        """Make `record` the newest of its clip; False if the newest one says the same already.

        Features that the clip has from the same media stay; those of other media go. Of two writers at once
        the later one builds on the earlier one.
        """
        while True:
            current = _newest(self._store, record.clip)
            merged = record
            if current is not None and current.source == record.source:
                others = {name: made for name, made in current.sources.items() if name not in record.tracks}
                merged = replace(
                    record, tracks={**current.tracks, **record.tracks}, sources={**others, **record.sources}
                )
            if current is not None and current.content() == merged.content():
                self._records[record.clip] = current
                return False
            generation = current.generation + 1 if current is not None else 1
            if self._commit(merged, generation):
                return True

    def forget(self, clip: str, features: Collection[str]) -> bool:
        """Make a generation that doesn't name these features the clip's newest; False if the newest names none of them.

        To be done before their tracks are dropped, so that no newest record names what isn't there.
        """
        while True:
            current = _newest(self._store, clip)
            if current is None or current.tracks.keys().isdisjoint(features):
                return False
            left = replace(
                current,
                tracks={name: recipe for name, recipe in current.tracks.items() if name not in features},
                sources={name: source for name, source in current.sources.items() if name not in features},
            )
            if self._commit(left, current.generation + 1):
                return True

    def recipe_of(self, feature: str) -> str:
        """The one recipe digest behind a feature's name.

        Raises StoreError if no clip has the feature, or if clips disagree: some would be fed features that
        belong to other settings.
        """
        digests: dict[str, list[str]] = {}
        for record in self:
            if feature in record.tracks:
                digests.setdefault(record.tracks[feature], []).append(record.clip)
        if not digests:
            known = sorted({name for record in self for name in record.tracks})
            raise StoreError(
                f"store {self._store.location} has no feature {feature!r}; it has {', '.join(known) or 'none'}. "
                "Name one of these, or run `duet extract` with a recipe that has it"
            )
        if len(digests) > 1:
            counts = "; ".join(
                f"{digest[:16]}: {len(clips)} clips, e.g. {clips[0]}" for digest, clips in digests.items()
            )
            raise StoreError(
                f"feature {feature!r} belongs to {len(digests)} recipes in {self._store.location} ({counts}); "
                "run `duet extract` again so that every clip has it by the same settings"
            )
        return next(iter(digests))

    def _commit(self, record: Record, generation: int) -> bool:
        attributes = {**record.content(), "dimensions": ["valence", "arousal"]}
        if not self._store.write_record(record.clip, generation, attributes, record.labels):
            return False
        self._records[record.clip] = replace(record, generation=generation)
        return True


def record_of(store: Store, clip: str, generation: int) -> Record:
    """One generation of a clip's record. Raises StoreError if it isn't there or is damaged."""
    return as_record(clip, generation, *store.read_record(clip, generation))


def as_record(clip: str, generation: int, attributes: Mapping[str, Any], labels: Track | None) -> Record:
    """The record that `content` and its labels were written from. Raises KeyError if a part is missing."""
    return Record(
        clip=clip,
        media=attributes["media"],
        source=attributes["source_digest"],
        split=attributes["split"],
        subject=attributes["subject"],
        duration_seconds=attributes["duration_seconds"],
        labels=labels,
        tracks=attributes["tracks"],
        sources=attributes.get("sources", {}),
        native_range=tuple(attributes.get("native_range", (-1.0, 1.0))),
        notes=tuple(attributes["notes"]),
        generation=generation,
    )


def _newest(store: Store, clip: str) -> Record | None:
    generations = store.generations(clip)
    return record_of(store, clip, generations[-1]) if generations else None


def _digest_of_labels(labels: Track) -> str:
    return digest_of(
        {
            "values": np.ascontiguousarray(labels.values, "<f4").tobytes().hex(),
            "valid": labels.valid.tobytes().hex(),
            "tick_seconds": str(labels.clock.tick_seconds),
            "ticks": labels.clock.all_ticks().astype("<i8").tobytes().hex(),
        }
    )
