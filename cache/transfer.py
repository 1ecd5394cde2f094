"""Bringing tracks and records from one store, or an exported file, into another without overwriting anything.

What is there stays: a track under its key is the same track, and a clip's record gains what it had not. Where two
records say different things, ours counts and the difference is told; labels alone can be taken from either side, and
somebody must say from which.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from cache.catalogue import Catalogue, Record
from cache.key import SHORT, TrackKey
from cache.store import Store, StoreError
from cache.track import Track

Side = Literal["ours", "theirs"]


class Readable(Protocol):
    """What tracks are taken from: any store, or an exported file."""

    location: str

    def has(self, key: TrackKey) -> bool: ...

    def read(self, key: TrackKey) -> Track: ...

    def provenance(self, key: TrackKey) -> dict[str, Any]: ...

    def recipes(self) -> dict[str, dict[str, Any]]: ...


@dataclass(frozen=True)
class Conflict:
    """Where both sides say different things of a clip, or theirs can't be read. about: media, labels, split, subject,
    feature or damage."""

    clip: str
    about: str
    said: str

    def __str__(self) -> str:
        return f"{self.clip}: {self.about}: {self.said}"


@dataclass(frozen=True)
class Transfer:
    """What was brought in. there: tracks that were there already. conflicts: what was left as it is."""

    clips: int
    new_clips: int
    tracks: int
    there: int
    new_records: int
    conflicts: tuple[Conflict, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "clips": self.clips,
            "new_clips": self.new_clips,
            "tracks": self.tracks,
            "there": self.there,
            "new_records": self.new_records,
            "conflicts": [vars(conflict) for conflict in self.conflicts],
        }


def chosen(
    records: Iterable[Record],
    features: Collection[str] = (),
    splits: Collection[str] = (),
    clips: Collection[str] = (),
) -> list[Record]:
    """The records of these splits and clips, with these features alone; nothing given = all.

    Raises ValueError for a feature, split or clip that no record has.
    """
    every = list(records)
    for what, given, known in (
        ("feature", features, {name for record in every for name in record.tracks}),
        ("split", splits, {record.split for record in every}),
        ("clip", clips, {record.clip for record in every}),
    ):
        if unknown := sorted(set(given) - known):
            there = sorted(known)
            listed = ", ".join(there[:10]) + (" ..." if len(there) > 10 else "")
            raise ValueError(f"there is no {what} {', '.join(unknown)}; there are {listed or 'none'}")
    return [
        _with_only(record, [name for name in record.tracks if not features or name in features])
        for record in every
        if (not splits or record.split in splits) and (not clips or record.clip in clips)
    ]


def merge(
    records: Iterable[Record],
    source: Readable,
    store: Store,
    labels: Side | None = None,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> Transfer:
    """Bring the tracks that `records` name, and the records, into `store`.

    labels: whose labels count where both sides have some and they differ. Raises ValueError, before anything is
    written, if there are such and nobody says. A clip that theirs made from other media is left alone, and so is a
    feature whose name means another recipe here.
    """
    theirs = list(records)
    catalogue = Catalogue(store)
    differing = [one.clip for one in theirs if _labels_differ(catalogue.get(one.clip), one)]
    if differing and labels is None:
        raise ValueError(
            f"{len(differing)} clips have other labels in {source.location} than in {store.location}, e.g. "
            f"{', '.join(differing[:3])}; say whose count: --labels ours or --labels theirs"
        )
    conflicts: list[Conflict] = []
    recipes = source.recipes()
    meant = _recipes_by_name(catalogue)
    new_clips = tracks = there = new_records = 0
    for n, record in enumerate(theirs):
        on_done(n, len(theirs))
        ours = catalogue.get(record.clip)
        if ours is not None and ours.source != record.source:
            conflicts.append(_conflict(record.clip, "media", ours.source[:SHORT], record.source[:SHORT]))
            continue
        names = []
        for name in sorted(record.tracks):
            if said := _another_feature(name, record, ours, meant):
                conflicts.append(Conflict(record.clip, "feature", said))
                continue
            try:
                new = _bring(record.key(name), recipes, source, store)
            except StoreError as error:
                conflicts.append(Conflict(record.clip, "damage", str(error)))
                continue
            tracks += new
            there += not new
            names.append(name)
        merged = _with_only(record, names)
        if ours is not None:
            merged, said_differently = _merged(ours, merged, labels)
            conflicts += said_differently
        new_clips += ours is None
        new_records += catalogue.update(merged)
    on_done(len(theirs), len(theirs))
    return Transfer(len(theirs), new_clips, tracks, there, new_records, tuple(conflicts))


def _bring(key: TrackKey, recipes: Mapping[str, Mapping[str, Any]], source: Readable, store: Store) -> bool:
    """Copy one track; False if it was there."""
    if store.has(key):
        return False
    if key.recipe not in recipes:
        raise StoreError(
            f"{source.location} does not state the recipe {key.recipe[:SHORT]}, so its tracks mean nothing"
        )
    return store.write(key, source.read(key), recipe=recipes[key.recipe], provenance=source.provenance(key))


def _merged(ours: Record, theirs: Record, labels: Side | None) -> tuple[Record, list[Conflict]]:
    """Our record with what it had not of theirs, and where the two differ."""
    conflicts = [
        _conflict(ours.clip, name, str(mine), str(other))
        for name in ("split", "subject")
        if (mine := getattr(ours, name)) != (other := getattr(theirs, name)) and mine is not None and other is not None
    ]
    merged = replace(
        ours,
        subject=ours.subject if ours.subject is not None else theirs.subject,
        tracks={**theirs.tracks, **ours.tracks},
        sources={**theirs.sources, **ours.sources},
    )
    take = ours.labels is None and theirs.labels is not None
    if _labels_differ(ours, theirs):
        take = labels == "theirs"
        if not take:
            conflicts.append(Conflict(ours.clip, "labels", "differ; ours stay"))
    if take:
        merged = replace(merged, labels=theirs.labels, native_range=theirs.native_range, notes=theirs.notes)
    return merged, conflicts


def _labels_differ(ours: Record | None, theirs: Record) -> bool:
    """Whether both have labels, of the same media, and they differ."""
    if ours is None or ours.source != theirs.source or ours.labels is None or theirs.labels is None:
        return False
    return bool(ours.content()["labels_digest"] != theirs.content()["labels_digest"])


def _another_feature(name: str, theirs: Record, ours: Record | None, meant: Mapping[str, Collection[str]]) -> str:
    """Why a feature of theirs can't go by its name here; nothing if it can."""
    recipe = theirs.tracks[name]
    if name in meant and recipe not in meant[name]:
        here = ", ".join(sorted(digest[:SHORT] for digest in meant[name]))
        return f"{name} is the recipe {recipe[:SHORT]} there and {here} here; ours stays"
    if ours is not None and name in ours.tracks and ours.key(name) != theirs.key(name):
        return f"{name} was made from another file there; ours stays"
    return ""


def _recipes_by_name(catalogue: Catalogue) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for record in catalogue:
        for name, recipe in record.tracks.items():
            found.setdefault(name, set()).add(recipe)
    return found


def _with_only(record: Record, names: Collection[str]) -> Record:
    return replace(
        record,
        tracks={name: recipe for name, recipe in record.tracks.items() if name in names},
        sources={name: source for name, source in record.sources.items() if name in names},
    )


def _conflict(clip: str, about: str, ours: str, theirs: str) -> Conflict:
    return Conflict(clip, about, f"{theirs} there, {ours} here; ours stays")
