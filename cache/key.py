"""What makes two embeddings the same: digests of recipes and of media.

A recipe's digest is taken of its canonical JSON (sorted names, no spaces, exact numbers), and a recipe holds
only what is meant: backbone, weights, layer, crop, window, hop, precision. Where and how fast it was computed
is provenance and never gets here. A medium's digest is of its bytes, so a renamed or touched file is the
same source and an edited one is another.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.memory import FileMemory, Stamp, stamp_of

SHORT = 16  # hexadecimal digits of a digest in folder names: 64 bits, no accident in any laboratory's lifetime


@dataclass(frozen=True, order=True)
class TrackKey:
    """The address of one track: recipe digest, source digest, clip name. All that decides its numbers."""

    recipe: str
    source: str
    clip: str

    def __post_init__(self) -> None:
        for name in ("recipe", "source"):
            digest = getattr(self, name)
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError(f"{name} is {digest!r}; wanted a sha256 digest of 64 hexadecimal digits")
        if not self.clip:
            raise ValueError("clip is empty; a clip has a name")


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value. Raises ValueError for what JSON can't say exactly (NaN, sets, objects)."""
    _refuse_inexact(value, "")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """sha256 of the canonical JSON: 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SourceDigests:
    """Digests of media files, remembered so that an unchanged corpus is not read again: see cache/memory.py.

    A file whose time alone has changed is read again and found to be the same source.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = FileMemory(memory, "sha256")
        self.files_read = 0

    def __call__(self, path: Path) -> str:
        """The digest of the file at `path`, or of a folder's files and their names. Raises OSError if it can't be read.

        What lies in folders of that folder does not count.
        """
        name = os.path.abspath(path)
        files = _files_of(name) if os.path.isdir(name) else None
        stamp: Stamp = stamp_of(os.stat(name)) if files is None else [len(files), digest_of(files)]
        known = self._memory.recall(name, stamp)
        if known is not None:
            return str(known)
        if files is None:
            digest = digest_of_file(Path(name))
        else:
            digest = digest_of({file: digest_of_file(Path(name, file)) for file in files})
        self.files_read += 1 if files is None else len(files)
        self._memory.keep(name, stamp, digest)
        return digest


def _files_of(folder: str) -> dict[str, Stamp]:
    """Every file of a folder by name, with its stamp; hidden ones, which systems leave behind, apart."""
    with os.scandir(folder) as entries:
        return {
            entry.name: stamp_of(entry.stat())
            for entry in sorted(entries, key=lambda entry: entry.name)
            if entry.is_file() and not entry.name.startswith(".")
        }


def folder_name(name: str) -> str:
    """A clip's name as one safe, unique folder name on any file system.

    Plain lower-case names stay as they are; every other one loses its odd characters and gains a digest, so
    that `A` and `a`, `x/y` and `x y`, or two very long names never meet and none can leave the folder.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:60].strip("-") or "clip"
    return f"{plain}~{hashlib.sha256(name.encode()).hexdigest()[:SHORT]}"


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Why two recipes have two keys, in words: one line a field, `crop.size_px: 112 -> 160`."""
    lines: list[str] = []
    for name in sorted(a.keys() | b.keys()):
        left, right, path = a.get(name), b.get(name), f"{prefix}{name}"
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            lines += differences(left, right, f"{path}.")
        elif name not in a or name not in b or canonical_json(left) != canonical_json(right):
            lines.append(f"{path}: {_said(left, name in a)} -> {_said(right, name in b)}")
    return lines


def _said(value: Any, present: bool) -> str:
    return canonical_json(value) if present else "(absent)"


def _refuse_inexact(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{where or 'the value'} has the key {name!r}; keys of a recipe are strings")
            _refuse_inexact(inner, f"{where}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            _refuse_inexact(inner, f"{where}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where or 'the value'} is {value}; a recipe holds finite numbers")
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise ValueError(f"{where or 'the value'} is a {type(value).__name__}; a recipe holds JSON values only")
