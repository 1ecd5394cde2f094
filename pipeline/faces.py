"""The story of `duet faces`: what the recipe's face settings see in one clip, as a contact sheet and as crops."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import Protocol

from PIL import Image

from cache.clock import Clock
from extract.clips import Clip
from extract.corpora import read_corpus
from extract.decode import MediaError, frame_clock, pictures
from extract.faces.align import cut
from extract.faces.detect import Detector
from extract.faces.face import Face
from extract.faces.passing import FacePass
from extract.faces.settings import FaceSettings
from extract.faces.weights import detector_file
from extract.images import ImagePicture, numbered
from extract.picture import Picture, Pixels
from pipeline import show
from pipeline.contact_sheet import SQUARE_PX, Cell, State, draw_sheet, thumb_size
from pipeline.crop_folder import CropFolder
from pipeline.settings import Recipe

_CELLS = 32  # where nobody says how many: at most these, at least half of them
_MOST_CELLS = 400  # a sheet of more is no sheet, and they are all in memory


def faces(recipe: Recipe, name: str, out: Path | None, every: int | None, crops: Path | None) -> None:
    """Look for the faces of one clip as an extraction would; write the sheet, and crops where a folder is named.

    out: a .png, None = beside the report. every: one frame in so many is on the sheet, None = 16 to 32 over the clip.
    Raises ValueError for a clip that isn't there or can't be looked at.
    """
    settings = recipe.faces
    if settings is None:
        raise ValueError("the recipe has no `faces`; add one, e.g. faces: {method: detect, weights: yunet}")
    if crops is not None and settings.method == "crops":
        raise ValueError(f"--crops would have no effect: with faces.method crops, {name} has its crops already")
    file = out if out is not None else recipe.report / "faces" / f"{name}.png"
    if file.suffix.lower() != ".png":
        raise ValueError(f"--out is {file}; wanted a name that ends in .png")
    clip = clip_named(read_corpus(recipe.corpus), name)
    folder = CropFolder(crops, clip.name) if crops is not None else None
    try:
        seen = _see(clip, settings, every, folder)
        if folder is not None:
            show.where("crops", folder.finish([state != "none" for state in seen.states]))
    except MediaError as error:
        raise ValueError(str(error)) from error
    finally:
        if folder is not None:
            folder.drop()
    _save(draw_sheet(clip.name, _about(clip, settings, seen), seen.cells, seen.states, seen.seconds), file)
    show.faces(seen.states)
    show.where("sheet", file)


def clip_named(clips: Sequence[Clip], name: str) -> Clip:
    """The clip of that name. Raises ValueError that names the nearest."""
    known = {clip.name: clip for clip in clips}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(list(known)[:3])} ..."
    raise ValueError(f"the corpus has no clip {name!r}; {hint}")


@dataclass(frozen=True, eq=False)
class _Seen:
    """What became of each row, when it was, and the cells of some. size: of the last picture, in pixels."""

    states: list[State]
    seconds: list[float]
    cells: list[Cell]
    size: tuple[int, int] | None


@dataclass(frozen=True, eq=False)
class _Row:
    """One frame: its picture (None where only crops are there), the place of its face, the square cut out."""

    seconds: Fraction
    picture: Picture | None
    face: Face | None
    square: Pixels | None


class _Sight(Protocol):
    """One clip's frames in order, and then what became of them."""

    def rows(self) -> Iterator[_Row]: ...

    def states(self, times: Sequence[Fraction]) -> list[State]: ...


def _see(clip: Clip, settings: FaceSettings, every: int | None, folder: CropFolder | None) -> _Seen:
    sight: _Sight = _Crops(clip) if settings.method == "crops" else _Film(clip, settings)
    chosen = _Chosen(every)
    times: list[Fraction] = []
    size = None
    expected = len(_stated_clock(clip))
    with show.counting(f"looking at {clip.name}", "frames") as count:
        for row, one in enumerate(sight.rows()):
            times.append(one.seconds)
            if one.picture is not None:
                size = (one.picture.width, one.picture.height)
            if folder is not None and one.square is not None:
                folder.add(row, one.square)
            if chosen.wants(row):
                chosen.add(_cell(row, one))
            count(row + 1, max(expected, row + 1))
    if not times:
        raise ValueError(f"{clip.name} has no frame that can be decoded")
    return _Seen(sight.states(times), [float(time) for time in times], chosen.cells, size)


class _Film:
    """Frames in which the face is looked for, or where the corpus says where it is."""

    def __init__(self, clip: Clip, settings: FaceSettings) -> None:
        self._clip, self._settings = clip, settings
        if settings.method == "box":
            if clip.faces is None:
                raise ValueError(f"the corpus gives no boxes for {clip.name}; use faces.method: detect")
            self._pass = FacePass(settings, clip.side, clip.faces)
        else:
            assert settings.weights is not None
            detector = Detector(detector_file(settings.weights), settings)
            self._pass = FacePass(settings, clip.side, detector)

    def rows(self) -> Iterator[_Row]:
        for picture, seconds in self._pictures():
            face = self._pass.look(picture, seconds)
            square = None
            if picture is not None and face is not None:
                square = cut(picture, face, SQUARE_PX, self._settings.margin)
            yield _Row(seconds, picture, face, square)

    def states(self, times: Sequence[Fraction]) -> list[State]:
        tick = Fraction(1, lcm(*(time.denominator for time in times)))
        _, found, valid = self._pass.finish(Clock.of_ticks([int(time / tick) for time in times], tick))
        return ["found" if here else "held" if kept else "none" for here, kept in zip(found, valid, strict=True)]

    def _pictures(self) -> Iterator[tuple[Picture | None, Fraction]]:
        clip = self._clip
        if clip.images is not None and not clip.images.cropped:
            paths = numbered(clip.images.folder)
            for row, seconds in enumerate(_times(_stated_clock(clip))):
                yield _read(paths.get(clip.images.first + row)), seconds
        elif clip.media is not None:
            yield from pictures(clip.media)
        else:
            raise ValueError(f"{clip.name} has no video in which a face could be looked for")


class _Crops:
    """The corpus's own squares, beside the frames of the video where there is one."""

    def __init__(self, clip: Clip) -> None:
        if clip.images is None or not clip.images.cropped:
            raise ValueError(f"the corpus gives no crops for {clip.name}; use faces.method: detect")
        self._clip, self._first = clip, clip.images.first
        self._paths = numbered(clip.images.folder)
        self._there: list[bool] = []

    def rows(self) -> Iterator[_Row]:
        for row, (picture, seconds) in enumerate(self._frames()):
            crop = _read(self._paths.get(self._first + row))
            self._there.append(crop is not None)
            yield _Row(seconds, picture, None, crop.rgb(SQUARE_PX, SQUARE_PX) if crop is not None else None)

    def states(self, times: Sequence[Fraction]) -> list[State]:
        return ["found" if there else "none" for there in self._there]

    def _frames(self) -> Iterator[tuple[Picture | None, Fraction]]:
        if self._clip.media is not None:
            yield from pictures(self._clip.media)
        else:
            yield from ((None, seconds) for seconds in _times(_stated_clock(self._clip)))


class _Chosen:
    """The cells of one row in `every`; where that is None, of 16 to 32 rows over the clip, however many come."""

    def __init__(self, every: int | None) -> None:
        self._every, self._fixed = every or 1, every is not None
        self.cells: list[Cell] = []

    def wants(self, row: int) -> bool:
        return row % self._every == 0

    def add(self, cell: Cell) -> None:
        self.cells.append(cell)
        if self._fixed and len(self.cells) > _MOST_CELLS:
            raise ValueError(
                f"--every {self._every} makes more than {_MOST_CELLS} frames on one sheet; take a larger number"
            )
        if not self._fixed and len(self.cells) > _CELLS:
            self._every *= 2
            self.cells = self.cells[::2]


def _cell(row: int, one: _Row) -> Cell:
    frame, scale = None, 1.0
    if one.picture is not None:
        width, height, scale = thumb_size(one.picture.width, one.picture.height)
        frame = Image.fromarray(one.picture.rgb(width, height))
    return Cell(row, float(one.seconds), frame, scale, one.face, one.square)


def _read(path: Path | None) -> ImagePicture | None:
    """An image file; None where it is missing or can't be read, which are the same to an extraction."""
    if path is None:
        return None
    try:
        return ImagePicture(path)
    except (OSError, ValueError):
        return None


def _stated_clock(clip: Clip) -> Clock:
    """When the frames are, as far as can be known without decoding."""
    if clip.images is not None and clip.images.clock is not None:
        return clip.images.clock
    return frame_clock(clip.media) if clip.media is not None else Clock.regular(Fraction(1), 0)


def _times(clock: Clock) -> Iterator[Fraction]:
    return (int(tick) * clock.tick_seconds for tick in clock.all_ticks())


def _about(clip: Clip, settings: FaceSettings, seen: _Seen) -> str:
    how = {
        "crops": "the corpus's crops",
        "box": "the corpus's boxes",
        "detect": f"found by {Path(settings.weights or '').name}, score {settings.score:g} or more",
    }[settings.method]
    held = "" if settings.method == "crops" else f", held up to {settings.hold_seconds:g} s"
    side = f", the person on the {clip.side}" if clip.side is not None else ""
    size = f"{seen.size[0]} x {seen.size[1]} px, " if seen.size is not None else ""
    return f"{size}{len(seen.states):,} rows; {how}{held}{side}"


def _save(sheet: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        sheet.save(aside, format="PNG")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
