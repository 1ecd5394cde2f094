"""Aff-Wild2 as the ABAW challenges ship it: one media file and one text file of labels a clip.

    <root>/batch1/<video>.mp4, batch2/...                                       .mp4 or .avi
    <root>/VA_Estimation_Challenge/{Train_Set,Validation_Set}/<video>[_left|_right].txt
A label file's first line is `valence,arousal`; then one `v,a` line a video frame, in [-1, 1], where -5 in
either column marks a row without annotation. `_left` and `_right` are two people of one video.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np

from extract.clips import Clip, ClipLabels, Side
from extract.settings import CorpusSettings

_SPLITS = {"Train_Set": "train", "Validation_Set": "validation"}
_SUFFIXES = (".mp4", ".avi")
_UNANNOTATED = -5.0


def read(settings: CorpusSettings) -> list[Clip]:
    """Every labelled clip.

    Raises ValueError for a label file that can't be read, naming file and line, or that two media might belong to.
    """
    media: dict[str, list[Path]] = {}
    for folder in ("batch1", "batch2"):
        for path in sorted((settings.root / folder).glob("*")):
            if path.suffix.lower() in _SUFFIXES:
                media.setdefault(path.stem, []).append(path)
    subjects = _subjects(settings.subjects) if settings.subjects is not None else {}
    clips = []
    for folder, split in _SPLITS.items():
        for file in sorted((settings.root / "VA_Estimation_Challenge" / folder).glob("*.txt")):
            video, side = _video_and_side(file.stem, media)
            path, *others = media.get(video, [settings.root / "batch1" / f"{video}.mp4"])
            if others:
                names = " and ".join(one.relative_to(settings.root).as_posix() for one in (path, *others))
                raise ValueError(f"{names} have one name; keep the one that {file} belongs to")
            clips.append(
                Clip(
                    name=file.stem,
                    media=path,
                    media_name=path.relative_to(settings.root).as_posix(),
                    split=split,
                    subject=subjects.get(file.stem) or None,
                    side=side,
                    labels=_labels(file),
                )
            )
    return clips


def _video_and_side(stem: str, media: Collection[str]) -> tuple[str, Side | None]:
    """`x_left` is the left person of video `x`, unless there is a video named `x_left` itself."""
    if stem in media:
        return stem, None
    if stem.endswith("_left"):
        return stem.removesuffix("_left"), "left"
    if stem.endswith("_right"):
        return stem.removesuffix("_right"), "right"
    return stem, None


def _labels(file: Path) -> ClipLabels:
    try:
        header, *lines = file.read_text(encoding="utf-8-sig").splitlines() or [""]
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8 ({error.reason} at byte {error.start})") from None
    if header.strip().lower().replace(" ", "") != "valence,arousal":
        raise ValueError(f"{file}:1 is {header!r}; wanted the header valence,arousal")
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            valence, arousal = (float(part) for part in line.split(","))
        except ValueError:
            raise ValueError(f"{file}:{number} is {line!r}; wanted two numbers, valence,arousal") from None
        rows.append((valence, arousal))
    values = np.array(rows, np.float32).reshape(-1, 2)
    valid = (values != _UNANNOTATED).all(1)
    try:
        return ClipLabels(values, valid)
    except ValueError as error:
        raise ValueError(f"{file}: {error} (row 0 is line 2; -5 marks rows without annotation)") from None


def _subjects(file: Path) -> dict[str, str]:
    with file.open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle)
        if not {"clip", "subject"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{file} has the columns {reader.fieldnames}; wanted clip, subject")
        return {row["clip"]: row["subject"] for row in reader}
