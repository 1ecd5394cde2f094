"""All that a store knows of one feature, recipe or clip, as JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from cache.catalogue import Catalogue, Record
from cache.inventory import named_keys, names_of_recipes, recipe_named
from cache.key import canonical_json
from cache.store import Store, StoreError
from cache.track import Track


def about(store: Store, name: str) -> list[dict[str, Any]]:
    """What the store knows by this name: a feature, a clip, the first digits of a key; all that are called so.

    Raises StoreError if nothing is.
    """
    catalogue = Catalogue(store)
    names = names_of_recipes(catalogue)
    digests = [digest for digest, called in names.items() if name in called]
    if not digests and re.fullmatch(r"[0-9a-f]{4,64}", name):
        found = recipe_named(store, name)
        digests = [found] if found is not None else []
    said = [_feature(store, catalogue, digest, names.get(digest, ())) for digest in sorted(digests)]
    if (record := catalogue.get(name)) is not None:
        said.append(_clip(store, record))
    if not said:
        known = ", ".join(sorted({one for called in names.values() for one in called})) or "none"
        raise StoreError(
            f"store {store.location} has no feature, key or clip {name!r}; it has the features {known}, and "
            "`duet cache ls --clips` lists clips"
        )
    return said


def _feature(store: Store, catalogue: Catalogue, digest: str, names: tuple[str, ...]) -> dict[str, Any]:
    keys = sorted(store.recipe_keys(digest))
    shapes = [store.shape(key) for key in keys]
    named = named_keys(catalogue)
    ways = Counter(canonical_json(store.provenance(key)) for key in keys)
    return {
        "kind": "feature",
        "name": ", ".join(names) or digest,
        "key": digest,
        "tracks": len(keys),
        "unused_tracks": sum(key not in named for key in keys),
        "rows": sum(rows for rows, _ in shapes),
        "columns": max((columns for _, columns in shapes), default=0),
        "size_bytes": sum(store.size_bytes(key) for key in keys),
        "clips_by_split": dict(
            sorted(Counter(record.split for record in catalogue if digest in record.tracks.values()).items())
        ),
        "recipe": store.recipes().get(digest, {}),
        "provenance": [{"tracks": count, **json.loads(way)} for way, count in ways.most_common()],
    }


def _clip(store: Store, record: Record) -> dict[str, Any]:
    return {
        "kind": "clip",
        "name": record.clip,
        "media": record.media,
        "source_digest": record.source,
        "split": record.split,
        "subject": record.subject,
        "duration_seconds": record.duration_seconds,
        "generations": store.generations(record.clip),
        "notes": list(record.notes),
        "labels": dict(_labels(record)) if record.labels is not None else None,
        "tracks": {
            name: {
                "key": record.tracks[name],
                "source_digest": record.key(name).source,
                "size_bytes": store.size_bytes(record.key(name)),
                **_numbers(store.read(record.key(name))),
            }
            for name in sorted(record.tracks)
        },
    }


def _labels(record: Record) -> Iterator[tuple[str, Any]]:
    assert record.labels is not None
    yield from _numbers(record.labels).items()
    yield "native_range", list(record.native_range)
    seen = record.labels.values[record.labels.valid]
    if len(seen):
        for i, name in enumerate(("valence", "arousal")):
            yield f"{name}_mean", round(float(np.mean(seen[:, i], dtype=np.float64)), 6)


def _numbers(track: Track) -> dict[str, Any]:
    step = track.clock.typical_step() * track.clock.tick_seconds
    return {
        "rows": len(track),
        "columns": track.width,
        "dtype": track.values.dtype.name,
        "valid_rows": int(track.valid.sum()),
        "clock": track.clock.attributes()["kind"],
        "step_seconds": str(step),
        "duration_seconds": float(track.clock.duration_seconds()),
    }
