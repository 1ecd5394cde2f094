"""Which media a folder holds, by name. Hidden files (`.DS_Store`, macOS's `._x.mp4`) are no media."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

VIDEO = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
SOUND = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".aac")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp")


class Media(dict[str, list[Path]]):
    """Stem -> the files of that name, sorted."""

    def one(self, name: str) -> Path | None:
        """The file of that name, None if there is none. Raises ValueError if there are two: nothing is chosen."""
        found = self.get(name, [])
        if len(found) > 1:
            raise ValueError(f"{' and '.join(map(str, found))} have one name; keep the one that the labels belong to")
        return found[0] if found else None


def visible(folder: Path) -> list[Path]:
    """The entries of a folder, sorted, without hidden ones; none if it isn't there."""
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def find_media(folders: Iterable[Path], suffixes: tuple[str, ...]) -> Media:
    """The files of these folders with one of the suffixes, in any case."""
    found = Media()
    for folder in folders:
        for path in visible(folder):
            if path.suffix.lower() in suffixes:
                found.setdefault(path.stem, []).append(path)
    return found


def folders_called(root: Path, word: str) -> list[Path]:
    """Folders with the word in their name, in root and in its folders `raw..` and `recording..`."""
    around = [root, *(child for child in _folders(root) if re.match(r"raw|recording", child.name.lower()))]
    return [child for parent in around for child in _folders(parent) if word in child.name.lower()]


def picture_numbers(folder: Path) -> list[int]:
    """The numbers of the pictures `00001.jpg` in a folder, sorted; other names and hidden files are left out."""
    with os.scandir(folder) as entries:
        stems = [os.path.splitext(entry.name) for entry in entries if not entry.name.startswith(".")]
    return sorted(int(stem) for stem, suffix in stems if suffix.lower() in PICTURES and re.fullmatch(r"[0-9]+", stem))


def relative(path: Path, root: Path) -> str:
    """The path within the corpus, with forward slashes."""
    return path.relative_to(root).as_posix()


def _folders(parent: Path) -> list[Path]:
    return [path for path in visible(parent) if path.is_dir()]
