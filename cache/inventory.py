"""What is in a store, and what it takes up: features, clips, and what no newest record names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cache.catalogue import Catalogue, Record, record_of
from cache.key import SHORT, TrackKey
from cache.store import Store, StoreError, is_remote, local_folder


@dataclass(frozen=True)
class FeatureLine:
    """One recipe of a store. names: what newest records call it, none if none does. rows, size_bytes: of all tracks."""

    names: tuple[str, ...]
    recipe: str
    made_by: str
    tracks: int
    clips: int
    rows: int
    columns: int
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "names": list(self.names)}


@dataclass(frozen=True)
class ClipLine:
    """One clip of a store. size_bytes: of the tracks that its newest record names."""

    clip: str
    split: str
    subject: str | None
    duration_seconds: float
    label_rows: int
    features: tuple[str, ...]
    size_bytes: int
    generations: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "features": list(self.features)}


@dataclass(frozen=True)
class Share:
    """Some tracks and their bytes.

    kind: feature, clip, `old generations` (tracks that only older records name), `unused` (that no record names) or
    `unfinished` (writes of this machine that have not come to their end).
    """

    kind: str
    name: str
    tracks: int
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def all_keys(store: Store) -> list[TrackKey]:
    """The keys of every track of every recipe, in order."""
    return sorted(key for recipe in store.recipes() for key in store.recipe_keys(recipe))


def named_keys(records: Iterable[Record]) -> dict[TrackKey, list[str]]:
    """The tracks that records name, and what they call them."""
    found: dict[TrackKey, list[str]] = {}
    for record in records:
        for name in sorted(record.tracks):
            found.setdefault(record.key(name), []).append(name)
    return found


def newest_records(store: Store, clip: str, count: int) -> Iterator[Record]:
    """The `count` newest generations of a clip's record, newest first."""
    for generation in reversed(store.generations(clip)[-count:]):
        yield record_of(store, clip, generation)


def names_of_recipes(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """What the recipes are called in these records: digest -> names, sorted."""
    found: dict[str, set[str]] = {}
    for record in records:
        for name, recipe in record.tracks.items():
            found.setdefault(recipe, set()).add(name)
    return {recipe: tuple(sorted(names)) for recipe, names in found.items()}


def made_by(recipe: Mapping[str, Any]) -> str:
    """The backbone of a recipe, or its kind where it has none: an import, the places of faces."""
    return str(recipe.get("backbone") or recipe.get("kind") or "-")


def feature_lines(store: Store) -> list[FeatureLine]:
    """Every recipe that the store holds tracks of, by name; those without a name come last."""
    names = names_of_recipes(Catalogue(store))
    lines = []
    for digest, recipe in store.recipes().items():
        keys = list(store.recipe_keys(digest))
        if not keys:  # all of them were dropped; what states the recipe is left
            continue
        shapes = [store.shape(key) for key in keys]
        lines.append(
            FeatureLine(
                names=names.get(digest, ()),
                recipe=digest,
                made_by=made_by(recipe),
                tracks=len(keys),
                clips=len({key.clip for key in keys}),
                rows=sum(rows for rows, _ in shapes),
                columns=max((columns for _, columns in shapes), default=0),
                size_bytes=sum(store.size_bytes(key) for key in keys),
            )
        )
    return sorted(lines, key=lambda line: (not line.names, line.names, line.recipe))


def clip_lines(store: Store) -> list[ClipLine]:
    """Every clip that has a record, by name."""
    return [
        ClipLine(
            clip=record.clip,
            split=record.split,
            subject=record.subject,
            duration_seconds=record.duration_seconds,
            label_rows=0 if record.labels is None else len(record.labels),
            features=tuple(sorted(record.tracks)),
            size_bytes=_bytes_of(store, named_keys([record])),
            generations=len(store.generations(record.clip)),
        )
        for record in Catalogue(store)
    ]


def usage(store: Store) -> list[Share]:
    """Bytes by feature, by clip, and of what nothing uses. A track that two features share counts with each."""
    records = list(Catalogue(store))
    named = named_keys(records)
    older = set(named_keys(record for clip in store.clips() for record in newest_records(store, clip, _ALL))) - set(
        named
    )
    features: dict[str, list[TrackKey]] = {}
    clips: dict[str, list[TrackKey]] = {}
    old: list[TrackKey] = []
    unused: list[TrackKey] = []
    for key in all_keys(store):
        if key in named:
            clips.setdefault(key.clip, []).append(key)
            for name in set(named[key]):
                features.setdefault(name, []).append(key)
        else:
            (old if key in older else unused).append(key)
    return [
        *(_share(store, "feature", name, features[name]) for name in sorted(features)),
        *(_share(store, "clip", clip, clips[clip]) for clip in sorted(clips)),
        _share(store, "old generations", "-", old),
        _share(store, "unused", "-", unused),
        Share("unfinished", "-", 0, _unfinished_bytes(store)),
    ]


def recipe_named(store: Store, prefix: str) -> str | None:
    """The digest of the one recipe that begins with a prefix, None if none does. Raises StoreError if several do."""
    found = [digest for digest in store.recipes() if digest.startswith(prefix)] if prefix else []
    if len(found) > 1:
        raise StoreError(
            f"{len(found)} recipes of {store.location} begin with {prefix}; give more digits: {_short(found)}"
        )
    return found[0] if found else None


_ALL = 10**9


def _share(store: Store, kind: str, name: str, keys: list[TrackKey]) -> Share:
    return Share(kind, name, len(keys), _bytes_of(store, keys))


def _bytes_of(store: Store, keys: Iterable[TrackKey]) -> int:
    return sum(store.size_bytes(key) for key in keys if store.has(key))


def _unfinished_bytes(store: Store) -> int:
    if is_remote(store.location):
        return 0  # what a dead writer left there is stray, and `verify` names it
    total = 0
    for folder, _, files in os.walk(local_folder(store.location) / "unfinished"):
        for file in files:
            try:
                total += os.stat(os.path.join(folder, file)).st_size
            except FileNotFoundError:  # finished, just now
                continue
    return total


def _short(digests: Iterable[str]) -> str:
    return ", ".join(sorted(digest[:SHORT] for digest in digests))
