"""One clip for other tools: all of it in an NPZ file, or one feature or its labels as a CSV table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cache.catalogue import Record
from cache.store import StoreError
from cache.track import Track
from cache.transfer import Readable

LABELS = ("valence", "arousal")


def write_npz(path: Path, record: Record, source: Readable) -> None:
    """Every feature of the record: NAME.values [T, D], NAME.valid [T], NAME.seconds [T]; labels.* likewise.

    `about` holds the record and the recipes as JSON text. Raises StoreError if the file is there already.
    """
    arrays: dict[str, Any] = {}
    tracks = {name: source.read(record.key(name)) for name in sorted(record.tracks)}
    if record.labels is not None:
        tracks["labels"] = record.labels
    for name, track in tracks.items():
        arrays |= {
            f"{name}.values": track.values,
            f"{name}.valid": track.valid,
            f"{name}.seconds": track.clock.seconds(),
        }
    recipes = source.recipes()
    about = {
        "clip": record.clip,
        **record.content(),
        "recipes": {name: recipes[digest] for name, digest in sorted(record.tracks.items())},
    }
    with _new_file(path) as aside, aside.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about, ensure_ascii=False)), **arrays)


def write_csv(path: Path, track: Track, columns: Sequence[str]) -> None:
    """seconds, valid (1 or 0) and the columns, a line a row; the columns of a row that is not valid are empty.

    Every number is the shortest text that reads back as the same one in the track's type. Raises StoreError if the file
    is there already.
    """
    assert len(columns) == track.width
    empty = [""] * track.width
    with _new_file(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(["seconds", "valid", *map(_quoted, columns)]) + "\n")
        for seconds, valid, row in zip(track.clock.seconds(), track.valid, track.values, strict=True):
            cells = [str(value) for value in row] if valid else empty
            file.write(",".join([str(seconds), "1" if valid else "0", *cells]) + "\n")


def column_names(recipe: Any, width: int) -> list[str]:
    """The names of a feature's columns: those of an imported table, else c0, c1 ..."""
    columns = recipe.get("columns")
    return list(columns) if isinstance(columns, list) else [f"c{i}" for i in range(width)]


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to, which becomes `path` if all goes well."""
    if path.exists():
        raise StoreError(f"{path} is there already, and nothing is overwritten; name a new file")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield aside
        os.rename(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\n') else name
