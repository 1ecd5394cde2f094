"""AFEW-VA: clips of films as numbered pictures, with labels and 68 landmarks a frame in one JSON file each.

    <root>/[<part>/]<clip>/<clip>.json      {"actor": "..", "frames": {"00000": {"valence": 3, "arousal": -2,
    <root>/[<part>/]<clip>/00000.png          "landmarks": [[x, y], .. 68 of them]}, ..}}
Valence and arousal are integers from -10 to 10. A clip's subject is its actor. There is no sound, no clock and no
split: `rate_hz` is needed (the films' own rate), and `splits`, without which every clip is in `train`.

The landmarks give a box around the face and five points: the centres of both eyes, the nose's tip, the corners of the
mouth (landmarks 36-41, 42-47, 30, 48 and 54 of the 68, counted from 0, the picture's left side first).

Source: Kossaifi et al., AFEW-VA database for valence and arousal estimation in-the-wild, Image and Vision Computing 65
(2017), https://ibug.doc.ic.ac.uk/resources/afew-va-database/; the numbering of the 68 landmarks: Sagonas et al.,
300 faces in-the-wild challenge (2013).
"""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cache.clock import Clock
from extract.clips import Clip, ClipLabels, GivenFaces, Images
from extract.corpora.findings import Findings
from extract.corpora.media import picture_numbers, relative, visible
from extract.corpora.series import Series, joined
from extract.settings import CorpusSettings

_LIMIT = 10.0
_LANDMARKS = 68


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every clip with a JSON file; what is wrong goes to the findings."""
    root = settings.root
    folders = [path for path in visible(root) if path.is_dir()]
    folders += [inner for path in folders if not _described(path) for inner in visible(path) if inner.is_dir()]
    files = [file for folder in folders if (file := _described(folder)) is not None]
    if not files:
        return []
    if settings.rate_hz is None:
        findings.refuse("AFEW-VA is pictures without a clock: set `corpus.rate_hz` to the films' frames a second")
        return []
    return [clip for file in files if (clip := _read_clip(file, root, settings.rate_hz, findings)) is not None]


def _described(folder: Path) -> Path | None:
    file = folder / f"{folder.name}.json"
    return file if file.is_file() else None


def _read_clip(file: Path, root: Path, rate_hz: Fraction, findings: Findings) -> Clip | None:
    folder, name = file.parent, file.stem
    with findings.refusing(name):
        actor, frames = _parse(file)
        pictures = picture_numbers(folder)
        rows = max([-1, *frames, *pictures]) + 1
        idle = sorted(set(frames) - set(pictures))
        if idle:
            findings.fault(f"clip {name}: {len(idle)} labelled frames have no picture, the first is {idle[0]}", name)
        clock = Clock.regular(1 / rate_hz, rows)
        valence, arousal = (
            Series(file, list(frames), [_value(frames[i], key, file, i) for i in frames], list(frames))
            for key in ("valence", "arousal")
        )
        labels = _spread(valence, arousal, rows)
        return Clip(
            name=name,
            media=None,
            media_name=relative(folder, root),
            split="train",
            subject=actor,
            labels=labels,
            images=Images(folder, first=0, cropped=False, clock=clock),
            faces=_faces(frames, rows, file),
        )
    return None


def _parse(file: Path) -> tuple[str | None, dict[int, dict[str, Any]]]:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, dict) or not all(isinstance(frame, dict) for frame in frames.values()):
        raise ValueError(f'{file} has no "frames": {{"00000": {{"valence": .., "arousal": ..}}, ..}}')
    wrong = [number for number in frames if not (number.isascii() and number.isdigit())]
    if wrong:
        raise ValueError(f"{file}: frame {wrong[0]!r} is no number")
    actor = str(data["actor"]).strip() if data.get("actor") is not None else ""
    return actor or None, dict(sorted((int(number), frame) for number, frame in frames.items()))


def _value(frame: dict[str, Any], key: str, file: Path, number: int) -> float:
    value = frame.get(key)
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{file}: {key} of frame {number} is {value!r}; wanted a number from -10 to 10")
    if not abs(value) <= _LIMIT:
        raise ValueError(f"{file}: {key} of frame {number} is {value}; wanted a number from -10 to 10")
    return float(value)


def _spread(valence: Series, arousal: Series, rows: int) -> ClipLabels:
    """A label row a picture, from number 0 on; those that the file doesn't name are not valid."""
    named, _ = joined(valence, arousal, None, _LIMIT)
    values = np.full((rows, 2), np.nan, np.float32)
    valid = np.zeros(rows, bool)
    values[valence.ticks], valid[valence.ticks] = named.values, named.valid
    return ClipLabels(values, valid, None, named.native_range)


def _faces(frames: dict[int, dict[str, Any]], rows: int, file: Path) -> GivenFaces:
    boxes, points = np.zeros((rows, 4), np.float32), np.zeros((rows, 5, 2), np.float32)
    valid = np.zeros(rows, bool)
    for number, frame in frames.items():
        given = frame.get("landmarks")
        if not given:
            continue
        try:
            landmarks = np.array(given, np.float64)  # [68, 2]
        except (TypeError, ValueError):
            landmarks = np.zeros(0)
        if landmarks.shape != (_LANDMARKS, 2):
            raise ValueError(f"{file}: the landmarks of frame {number} are not {_LANDMARKS} pairs of x and y")
        low, high = landmarks.min(0), landmarks.max(0)
        if not np.isfinite(landmarks).all() or not (high > low).all():
            continue  # all in one place, as trackers write where they found no face
        boxes[number] = *low, *(high - low)
        points[number] = (
            landmarks[36:42].mean(0), landmarks[42:48].mean(0), landmarks[30], landmarks[48], landmarks[54],
        )  # fmt: skip
        valid[number] = True
    return GivenFaces(boxes, points, valid)
