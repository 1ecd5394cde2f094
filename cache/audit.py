"""Whether a store is sound: every track and record read again, each held against the other; and what mends it.

Damage is what can't be read or trusted: a track or record with faults, a record that names a track which isn't there,
a recipe that nothing states, a stray thing. A track that no record names is none: a run under way writes tracks before
records, and `gc` takes away what is left of edited media and old settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cache.catalogue import Catalogue, Record, record_of
from cache.inventory import all_keys, named_keys
from cache.key import SHORT, TrackKey, digest_of
from cache.store import Store, StoreError

Kind = Literal["track", "record", "recipe", "missing", "stray", "catalogue"]
OnDone = Callable[[int, int], None]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. name: of what, for people. key, clip, generation, recipe: which one it is."""

    kind: Kind
    name: str
    said: str
    key: TrackKey | None = None
    clip: str | None = None
    generation: int | None = None
    recipe: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name, "said": self.said, "clip": self.clip}


@dataclass(frozen=True)
class Audit:
    """What was read, what is wrong with it, and the tracks that no newest record names."""

    tracks: int
    records: int
    faults: tuple[Fault, ...]
    orphans: tuple[TrackKey, ...]

    @property
    def sound(self) -> bool:
        """Whether there is no damage. Tracks without a record are none."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        return {
            "sound": self.sound,
            "tracks": self.tracks,
            "records": self.records,
            "faults": [fault.as_json() for fault in self.faults],
            "orphans": [{"clip": key.clip, "recipe": key.recipe, "source": key.source} for key in self.orphans],
        }


@dataclass(frozen=True)
class Repair:
    """What was taken away. forgotten: clips whose newest record no longer names a track that is not there."""

    strays: int
    records: int
    tracks: int
    forgotten: tuple[str, ...]


def verify(store: Store, on_done: OnDone = lambda done, total: None) -> Audit:
    """Read everything again: checksums, row counts, non-finite values, labels, and whether records and tracks meet.

    Others may write meanwhile: tracks are listed before records are read, so what they finish is no damage. on_done:
    told how many tracks and records were read, and how many there are.
    """
    faults = [Fault("stray", name, "is no track or record that can be read") for name in store.stray()]
    keys = all_keys(store)
    records = _listed_records(store, faults)
    total = len(keys) + len(records)
    for n, key in enumerate(keys):
        on_done(n, total)
        # What somebody dropped meanwhile is not damaged; if a record still names it, it is missing.
        if (found := store.faults(key)) and store.has(key):
            faults.append(Fault("track", _called(key), "; ".join(found), key=key))
    newest: dict[str, Record] = {}
    for n, (clip, generation) in enumerate(records):
        on_done(len(keys) + n, total)
        record, said = _read_again(store, clip, generation)
        if record is not None:
            newest[clip] = record
        elif generation in store.generations(clip):
            faults.append(Fault("record", _generation(clip, generation), said, clip=clip, generation=generation))
    named = named_keys(newest.values())
    faults += _unstated(store, named)
    faults += _missing(store, newest.values())
    on_done(total, total)
    unsure = {fault.clip for fault in faults if fault.kind == "record"}  # a damaged record may name them
    orphans = [key for key in keys if key not in named and key.clip not in unsure and store.has(key)]
    if any(fault.kind == "catalogue" for fault in faults):
        orphans = []
    return Audit(len(keys), len(records), tuple(faults), tuple(orphans))


def repair(store: Store, audit: Audit) -> Repair:
    """Take away what is damaged, so that the next extraction makes it again; verify once more to see what is left.

    Of a clip whose newest record is damaged the one before it counts until then. Records come first: no reader finds
    one that names a track which was taken away.
    """
    strays = sum(_without_stray(store, fault.name) for fault in audit.faults if fault.kind == "stray")
    records = sum(
        store.drop_record(fault.clip, fault.generation)
        for fault in audit.faults
        if fault.kind == "record" and fault.clip is not None and fault.generation is not None
    )
    damaged = {fault.key for fault in audit.faults if fault.kind == "track" and fault.key is not None}
    for fault in audit.faults:
        if fault.kind == "recipe" and fault.recipe is not None:
            damaged |= set(store.recipe_keys(fault.recipe))
    catalogue, forgotten = Catalogue(store), []
    for record in list(catalogue):
        lost = [name for name in record.tracks if (key := record.key(name)) in damaged or not store.has(key)]
        if lost and catalogue.forget(record.clip, lost):
            forgotten.append(record.clip)
    tracks = sum(store.drop(key) for key in sorted(damaged))
    return Repair(strays, records, tracks, tuple(forgotten))


def _listed_records(store: Store, faults: list[Fault]) -> list[tuple[str, int]]:
    try:
        return [(clip, generation) for clip in store.clips() for generation in store.generations(clip)]
    except StoreError as error:
        faults.append(Fault("catalogue", "catalogue", str(error)))
        return []


def _read_again(store: Store, clip: str, generation: int) -> tuple[Record | None, str]:
    """A record that is sound, or None and what is wrong with it."""
    found = store.record_faults(clip, generation)
    if found:
        return None, "; ".join(found)
    try:
        attributes, _ = store.read_record(clip, generation)
        record = record_of(store, clip, generation)
        named_keys([record])
        if record.content()["labels_digest"] != attributes["labels_digest"]:
            return None, "its labels are not those that were written: their digest differs"
    except (KeyError, TypeError, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"
    return record, ""


def _unstated(store: Store, named: dict[TrackKey, list[str]]) -> Iterator[Fault]:
    """Recipes that are not what their digest says, or that no text states though records name them."""
    recipes = store.recipes()
    for digest in sorted(recipes.keys() | {key.recipe for key in named}):
        if digest not in recipes:
            if any(store.recipe_keys(digest)):
                yield Fault("recipe", digest[:SHORT], "has tracks, but nothing states the recipe", recipe=digest)
        elif digest_of(recipes[digest]) != digest:
            yield Fault("recipe", digest[:SHORT], "the recipe that is stated has another digest", recipe=digest)


def _missing(store: Store, records: Iterable[Record]) -> Iterator[Fault]:
    for record in records:
        for name in sorted(record.tracks):
            if not store.has(record.key(name)):
                said = f"generation {record.generation} names the feature {name}, but its track is not there"
                yield Fault("missing", record.clip, said, key=record.key(name), clip=record.clip)


def _without_stray(store: Store, name: str) -> bool:
    try:
        store.drop_stray(name)
    except StoreError:  # it is gone, or what it belonged to is
        return False
    return True


def _called(key: TrackKey) -> str:
    return f"{key.clip} {key.recipe[:SHORT]}"


def _generation(clip: str, generation: int) -> str:
    return f"{clip} generation {generation}"
