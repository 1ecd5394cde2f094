"""Dropping on purpose: what a feature, recipe or clip takes with it, and what nothing uses any more.

First a plan, so that a person can be told what it frees, then the deed: newest records stop naming a track before
it goes, so that no reader finds a record that misses its track.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.catalogue import Catalogue
from cache.inventory import all_keys, named_keys, newest_records
from cache.key import TrackKey
from cache.store import Store, StoreError, local_folder

UNUSED_HOURS = 24.0


@dataclass(frozen=True)
class Removal:
    """What would go. forgotten: clip -> features that its record no longer names. records: (clip, generation).

    waiting: tracks that nothing uses, but not for long enough. freed_bytes: of the tracks.
    """

    tracks: tuple[TrackKey, ...]
    records: tuple[tuple[str, int], ...]
    forgotten: Mapping[str, tuple[str, ...]]
    freed_bytes: int
    waiting: tuple[TrackKey, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tracks or self.records or self.forgotten)

    def as_json(self) -> dict[str, Any]:
        return {
            "tracks": len(self.tracks),
            "records": len(self.records),
            "clips": len(self.forgotten),
            "freed_bytes": self.freed_bytes,
            "waiting": len(self.waiting),
        }


def plan_drop(
    store: Store,
    features: Collection[str] = (),
    recipes: Collection[str] = (),
    clips: Collection[str] = (),
) -> Removal:
    """What goes with these features, recipes (whole digests) and clips; given two of them, what is of both.

    Clips alone go whole, with their records. A track that goes takes every name with it that records have for it; a
    feature takes its tracks of older media along, unless another feature has them. Raises StoreError for a feature or
    clip that isn't there, ValueError if nothing is named.
    """
    if not (features or recipes or clips):
        raise ValueError("nothing says what to drop; name a feature, a recipe or a clip")
    catalogue = Catalogue(store)
    keys = all_keys(store)
    _refuse_unknown("feature", features, {name for record in catalogue for name in record.tracks}, store)
    _refuse_unknown("clip", clips, {key.clip for key in keys} | set(store.clips()), store)
    if not features and not recipes:
        gone = [key for key in keys if key.clip in clips]
        records = tuple((clip, n) for clip in sorted(set(clips)) for n in store.generations(clip))
        return Removal(tuple(gone), records, {}, _size(store, gone))
    forgotten: dict[str, tuple[str, ...]] = {}
    kept: set[TrackKey] = set()
    of_features: set[str] = set()
    for record in catalogue:
        chosen = [
            name
            for name, recipe in sorted(record.tracks.items())
            if (not features or name in features)
            and (not recipes or recipe in recipes)
            and (not clips or record.clip in clips)
        ]
        of_features |= {record.tracks[name] for name in chosen}
        kept |= {record.key(name) for name in record.tracks if name not in chosen}
        if chosen:
            forgotten[record.clip] = tuple(chosen)
    wanted = of_features | ({*recipes} if not features else set())
    gone = [k for k in keys if k.recipe in wanted and k not in kept and (not clips or k.clip in clips)]
    return Removal(tuple(gone), (), forgotten, _size(store, gone))


def plan_gc(
    store: Store,
    *,
    keep_generations: int = 1,
    unused_hours: float = UNUSED_HOURS,
    now_seconds: Callable[[], float] = time.time,
) -> Removal:
    """Tracks that none of the kept generations names, and the generations that are not kept.

    A run under way writes a clip's tracks before its record, and a store does not say when a track was written. So
    what nothing uses is noted beside the store when it is first seen, and goes with a call that comes `unused_hours`
    after that. 0 = at once, for when nothing is being extracted.
    """
    if keep_generations < 1:
        raise ValueError(f"keep_generations is {keep_generations}; the newest counts, so keep 1 or more")
    if unused_hours < 0:
        raise ValueError(f"unused_hours is {unused_hours}; wanted 0 or more")
    keys = all_keys(store)  # before the records, so that what is finished meanwhile is named by one of them
    clips = store.clips()
    named = named_keys(record for clip in clips for record in newest_records(store, clip, keep_generations))
    unused = [key for key in keys if key not in named]
    now = now_seconds()
    seen = _first_seen(store, unused, now)
    gone = [key for key in unused if now - seen[key] >= unused_hours * 3600]
    waiting = [key for key in unused if now - seen[key] < unused_hours * 3600]
    old = tuple((clip, n) for clip in clips for n in store.generations(clip)[:-keep_generations])
    return Removal(tuple(gone), old, {}, _size(store, gone), tuple(waiting))


def remove(store: Store, removal: Removal, on_done: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Do it. Returns the bytes that were freed; a track that a record came to name since the plan stays."""
    catalogue = Catalogue(store)
    for clip, names in removal.forgotten.items():
        catalogue.forget(clip, names)
    for clip, generation in removal.records:  # oldest first: an older one must never come to count
        store.drop_record(clip, generation)
    freed = 0
    named = named_keys(Catalogue(store))
    for n, key in enumerate(removal.tracks):
        on_done(n, len(removal.tracks))
        if key in named or not store.has(key):
            continue
        size = store.size_bytes(key)
        freed += size if store.drop(key) else 0
    on_done(len(removal.tracks), len(removal.tracks))
    return freed


def _size(store: Store, keys: Collection[TrackKey]) -> int:
    return sum(store.size_bytes(key) for key in keys)


def _refuse_unknown(what: str, given: Collection[str], known: Collection[str], store: Store) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        there = sorted(known)
        listed = ", ".join(there[:10]) + (" ..." if len(there) > 10 else "")
        raise StoreError(f"store {store.location} has no {what} {', '.join(unknown)}; it has {listed or 'none'}")


def _first_seen(store: Store, unused: Collection[TrackKey], now: float) -> dict[TrackKey, float]:
    """When each was first seen unused, in seconds of Unix time; what is used again is forgotten."""
    memory = local_folder(store.location) / "unused.json"
    try:
        before = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = {}
    if not isinstance(before, dict):
        before = {}
    seen = {key: min(float(before.get(_noted(key), now)), now) for key in unused}
    _write(memory, json.dumps({_noted(key): at for key, at in seen.items()}, indent=0, ensure_ascii=False))
    return seen


def _noted(key: TrackKey) -> str:
    return f"{key.recipe} {key.source} {key.clip}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
