"""A corpus that a CSV lists: for everything that has no reader of its own.

    id,media,labels,split,subject
    monday,video/monday.mp4,labels/monday.csv,train,ann
    tuesday,video/tuesday.mp4,labels/tuesday.csv,validation,bob

Wanted: id (the clip's name) and split. If there is something to say: media, labels, subject; sound (a file of its
own instead of the media's); side (left or right, of two people); images (a folder of numbered pictures, whole ones)
or crops (pictures of one aligned face), with first (the number of row 0) and, without media, rate_hz;
labels_from_seconds and labels_to_seconds (only label rows in [from, to) count). An empty cell says nothing. Paths
are relative to corpus.root. A clip without any of them has features that are imported.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from cache.clock import Clock
from extract.clips import Clip, ClipLabels, Images, Side
from extract.corpora.findings import Findings
from extract.corpora.media import picture_numbers
from extract.label_table import read_labels
from extract.manifest_settings import LabelSettings, ManifestSettings
from extract.settings import CorpusSettings
from extract.table import Table, named, near, read_table

_WANTED = ("id", "split")
_COLUMNS = (
    *_WANTED, "media", "labels", "subject", "sound", "side", "images", "crops", "first", "rate_hz",
    "labels_from_seconds", "labels_to_seconds",
)  # fmt: skip
_SIDES: dict[str, Side] = {"left": "left", "right": "right"}

Value = TypeVar("Value")


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every clip of the list; what is wrong with any, file and line, goes to the findings."""
    manifest = settings.manifest or ManifestSettings()
    file = manifest.file or settings.root / "manifest.csv"
    clips: list[Clip] = []
    with findings.refusing():
        table = read_table(file, manifest.delimiter, blank_lines=True)
        _check_columns(table, manifest)
        for row in range(len(table)):
            cells = dict(zip(table.names, table.cells(row), strict=True))
            if not any(cells.values()):
                continue  # what spreadsheets leave below a table
            with findings.refusing(cells["id"] or None):
                reader = _Row(table.at(row), cells, settings.root, manifest.labels)
                clip = reader.clip()
                for problem in reader.problems:
                    findings.refuse(problem, clip.name)
                if not reader.problems:
                    clips.append(clip)
    return clips


def _check_columns(table: Table, manifest: ManifestSettings) -> None:
    lacks = [name for name in _WANTED if name not in table.names]
    if lacks:
        raise ValueError(f"{table.path}:1 has no column {', '.join(lacks)}; it has {named(table.names)}")
    unknown = [
        name
        for name in table.names
        if name not in _COLUMNS and not any(fnmatchcase(name, pattern) for pattern in manifest.ignore)
    ]
    if unknown:
        raise ValueError(
            f"{table.path}:1 has the unknown columns {named(unknown)}{near(unknown[0], _COLUMNS)}; there are "
            f"{', '.join(_COLUMNS)}; name those that are for people in manifest.ignore"
        )
    twice = sorted({name for name in table.names if table.names.count(name) > 1})
    if twice:
        raise ValueError(f"{table.path}:1 has several columns {', '.join(twice)}; wanted one of a name")


class _Row:
    """One line of the list. `problems` has all that is wrong with it."""

    def __init__(self, where: str, cells: Mapping[str, str], root: Path, labels: LabelSettings) -> None:
        self._where, self._cells, self._root, self._labels = where, cells, root, labels
        self.problems: list[str] = []

    def clip(self) -> Clip:
        """The clip, right only if there are no problems."""
        name = self._said("id") or ""
        for wanted in _WANTED:
            if self._said(wanted) is None:
                self._wrong(f"{wanted} is empty")
        media, sound = self._place("media"), self._place("sound")  # one that is missing fails its clip, later
        images = self._images(media)
        shown = self._said("media") or self._said("images") or self._said("crops") or self._said("sound") or name
        return Clip(
            name=name,
            media=media,
            media_name=posixpath.normpath(Path(shown).as_posix()),
            split=self._said("split") or "",
            subject=self._said("subject"),
            side=self._side(),
            labels=self._clip_labels(media is not None or images is not None),
            sound=sound,
            images=images,
        )

    def _images(self, media: Path | None) -> Images | None:
        both = [column for column in ("images", "crops") if self._said(column) is not None]
        first, rate = self._number("first", int), self._number("rate_hz", Fraction)
        if len(both) == 2:
            self._wrong("images and crops are given; wanted one of them")
        if not both:
            for column in ("first", "rate_hz"):
                if self._said(column) is not None:
                    self._wrong(f"{column} would have no effect without images or crops")
            return None
        folder = self._there(both[0], Path.is_dir, "folder")
        if self._said("first") is None:
            self._wrong(f"{both[0]} wants first, the number of the picture that belongs to row 0: 0 or 1, say")
        if media is None and self._said("rate_hz") is None:
            self._wrong(f"{both[0]} without media wants rate_hz, pictures a second: 25, or 30000/1001")
        if media is not None and self._said("rate_hz") is not None:
            self._wrong("rate_hz would have no effect: the times are those of the media's frames")
        if rate is not None and rate <= 0:
            self._wrong(f"rate_hz is {rate}; wanted more than 0")
        if folder is None or first is None or self.problems:
            return None
        clock = None
        if rate is not None:
            numbers = picture_numbers(folder)
            if not numbers or numbers[0] < first:
                self._wrong(
                    f"{folder} has {f'picture {numbers[0]}' if numbers else 'no numbered picture'}, first is {first}"
                )
                return None
            clock = Clock.regular(1 / rate, numbers[-1] - first + 1)
        return Images(folder, first, cropped=both[0] == "crops", clock=clock)

    def _clip_labels(self, has_frames: bool) -> ClipLabels | None:
        start, stop = (self._number(f"labels_{end}_seconds", Fraction) for end in ("from", "to"))
        path = self._there("labels", Path.is_file, "file")
        if self._said("labels") is None:
            for end in ("from", "to"):
                if self._said(f"labels_{end}_seconds") is not None:
                    self._wrong(f"labels_{end}_seconds would have no effect without labels")
        if path is None:
            return None
        try:
            labels = read_labels(self._labels, path, start, stop)
        except OSError as error:
            self._wrong(f"{path} can't be read: {error.strerror}")
            return None
        except ValueError as error:
            self.problems.append(str(error))  # says its own file and line
            return None
        if labels.clock is None and not has_frames:
            self._wrong(
                "its labels are a row a frame, and it has neither media nor images; say labels.time or labels.rate_hz "
                "in the settings"
            )
        return labels

    def _side(self) -> Side | None:
        text = self._said("side")
        if text is not None and text not in _SIDES:
            self._wrong(f"side is {text!r}; wanted left, right or nothing")
        return _SIDES.get(text or "")

    def _place(self, column: str) -> Path | None:
        text = self._said(column)
        return None if text is None else self._root / text

    def _there(self, column: str, is_one: Callable[[Path], bool], kind: str) -> Path | None:
        path = self._place(column)
        if path is None or is_one(path):
            return path
        self._wrong(f"{column} is {path}, {f'no {kind}' if path.exists() else 'which is missing'}")
        return None

    def _number(self, column: str, kind: Callable[[str], Value]) -> Value | None:
        text = self._said(column)
        try:
            return None if text is None else kind(text)
        except (ValueError, ZeroDivisionError):
            self._wrong(f"{column} is {text!r}; wanted a number")
            return None

    def _said(self, column: str) -> str | None:
        return self._cells.get(column) or None

    def _wrong(self, problem: str) -> None:
        self.problems.append(f"{self._where}: {problem}")
