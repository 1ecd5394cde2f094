"""One picture of what a clip's face pass found: frames with their marks, squares beside them, all rows as a strip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from extract.faces.face import Face
from extract.picture import Pixels

State = Literal["found", "held", "none"]
SQUARE_PX = 112

_WORDS: dict[State, str] = {"found": "face found", "held": "last place held", "none": "no face"}
_COLOURS: dict[State, str] = {"found": "#1b8a5a", "held": "#d98200", "none": "#c2333d"}
_PAPER, _INK, _FAINT, _LINE, _EMPTY = "#ffffff", "#1f2430", "#6b7280", "#d5d9e0", "#f1f2f5"
_THUMB_WIDTH_PX, _THUMB_HEIGHT_PX = 240, 180
_COLUMNS, _GAP_PX, _EDGE_PX, _CAPTION_PX, _STRIP_PX = 4, 22, 28, 22, 30
_MOST_LABELS = 12


@dataclass(frozen=True, eq=False)
class Cell:
    """One frame on the sheet.

    frame: the picture, small, None where there is only the square. scale: its pixels in one of the upright picture.
    square: what was cut out, None = nothing.
    """

    row: int
    seconds: float
    frame: Image.Image | None
    scale: float
    face: Face | None
    square: Pixels | None


def thumb_size(width: int, height: int) -> tuple[int, int, float]:
    """The size of a frame on the sheet, and its pixels in one of the picture's."""
    scale = min(_THUMB_WIDTH_PX / width, _THUMB_HEIGHT_PX / height)
    return max(1, round(width * scale)), max(1, round(height * scale)), scale


def draw_sheet(
    title: str, about: str, cells: Sequence[Cell], states: Sequence[State], seconds: Sequence[float]
) -> Image.Image:
    """The sheet. states, seconds: of every row of the clip, T of each; cells: of some of the rows, in order."""
    if len(states) != len(seconds) or not cells or any(cell.row >= len(states) for cell in cells):
        raise ValueError(
            f"{len(states)} states, {len(seconds)} times, {len(cells)} cells; wanted one a row, and a cell"
        )
    frames = [cell.frame.size for cell in cells if cell.frame is not None]
    thumb = (max(width for width, _ in frames), max(height for _, height in frames)) if frames else (0, 0)
    beside = 8 if frames else 0
    cell_width, cell_height = max(thumb[0] + beside + SQUARE_PX, 200), max(thumb[1], SQUARE_PX) + _CAPTION_PX
    columns = min(_COLUMNS, len(cells)) if frames else min(2 * _COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    width = max(columns * (cell_width + _GAP_PX) - _GAP_PX, 720) + 2 * _EDGE_PX
    top = _EDGE_PX + 68
    strip_top = top + rows * (cell_height + _GAP_PX) + 34
    sheet = Image.new("RGB", (width, strip_top + _STRIP_PX + 30 + _EDGE_PX), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_EDGE_PX, _EDGE_PX - 6), title, _INK, _font(25))
    pen.text((_EDGE_PX, _EDGE_PX + 31), about, _FAINT, _font(15))
    for i, cell in enumerate(cells):
        left = _EDGE_PX + i % columns * (cell_width + _GAP_PX)
        _draw_cell(
            sheet, pen, cell, states[cell.row], (left, top + i // columns * (cell_height + _GAP_PX)), thumb, beside
        )
    _draw_strip(pen, (_EDGE_PX, strip_top, width - _EDGE_PX), cells, states, seconds)
    return sheet


def _draw_cell(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    cell: Cell,
    state: State,
    place: tuple[int, int],
    thumb: tuple[int, int],
    beside: int,
) -> None:
    (left, top), colour = place, _COLOURS[state]
    height = max(thumb[1], SQUARE_PX)
    if cell.frame is not None:
        sheet.paste(_marked(cell, state), (left, top))
        pen.rectangle((left - 1, top - 1, left + cell.frame.width, top + cell.frame.height), outline=_LINE)
    elif thumb[0]:
        _draw_nothing(pen, "no picture", (left, top, thumb[0], thumb[1]), _FAINT)
    square_left = left + thumb[0] + beside
    if state == "none" or cell.square is None:
        _draw_nothing(pen, _WORDS["none"], (square_left, top, SQUARE_PX, SQUARE_PX), _COLOURS["none"])
    else:
        sheet.paste(Image.fromarray(cell.square), (square_left, top))
        pen.rectangle(
            (square_left - 2, top - 2, square_left + SQUARE_PX + 1, top + SQUARE_PX + 1), outline=colour, width=2
        )
    caption = top + height + 5
    pen.ellipse((left, caption + 4, left + 8, caption + 12), fill=colour)
    score = f"   score {cell.face.score:.2f}" if state == "found" and cell.face is not None else ""
    said = score if state == "found" else f"   {_WORDS[state]}"
    pen.text((left + 14, caption), f"{_said_time(cell.seconds, 2)}   row {cell.row}{said}", _INK, _font(14))


def _draw_nothing(pen: ImageDraw.ImageDraw, words: str, place: tuple[int, int, int, int], colour: str) -> None:
    left, top, width, height = place
    pen.rectangle((left, top, left + width - 1, top + height - 1), fill=_EMPTY, outline=_LINE)
    pen.text((left + width / 2, top + height / 2), words, colour, _font(15), anchor="mm")


def _marked(cell: Cell, state: State) -> Image.Image:
    """The frame with its box and points, drawn twice as large and halved, which makes lines smooth."""
    assert cell.frame is not None
    if state == "none" or cell.face is None:
        return cell.frame
    large = cell.frame.resize((cell.frame.width * 2, cell.frame.height * 2), Image.Resampling.BILINEAR)
    pen, scale, colour = ImageDraw.Draw(large), 2 * cell.scale, _COLOURS[state]
    left, top, width, height = (float(edge) * scale for edge in cell.face.box)
    pen.rounded_rectangle((left, top, left + width, top + height), radius=8, outline=_PAPER, width=7)
    pen.rounded_rectangle((left + 1, top + 1, left + width - 1, top + height - 1), radius=7, outline=colour, width=5)
    for x, y in (cell.face.points + 0.5) * scale if cell.face.points is not None else ():
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour, outline=_PAPER, width=2)
    return large.reduce(2)


def _draw_strip(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int, int],
    cells: Sequence[Cell],
    states: Sequence[State],
    seconds: Sequence[float],
) -> None:
    left, top, right = place
    x = left
    for state, words in _WORDS.items():
        rows = sum(one == state for one in states)
        pen.rectangle((x, top - 25, x + 12, top - 13), fill=_COLOURS[state])
        label = f"{words}: {rows:,} of {len(states):,} rows ({_share(rows, len(states))})"
        pen.text((x + 18, top - 28), label, _INK, _font(14))
        x += 18 + round(pen.textlength(label, _font(14))) + 26
    first, last = seconds[0], seconds[-1] + _typical_step(seconds)
    per_second = (right - left) / max(last - first, 1e-9)

    def at(time: float) -> float:
        return left + (time - first) * per_second

    bottom = top + _STRIP_PX
    runs = _runs(states)
    for state in _WORDS:  # the bad ones last and at least a pixel wide, so that none hides
        for start, end, one in runs:
            if one == state:
                ends = at(seconds[end]) if end < len(seconds) else float(right)
                begins = at(seconds[start])
                pen.rectangle((begins, top, max(begins + 1, ends - 1), bottom), fill=_COLOURS[state])
    for cell in cells:
        middle = at(cell.seconds)
        pen.line((middle, top - 5, middle, top - 2), fill=_FAINT)
    step = _label_step(last - first)
    tick = -(-first // step) * step
    while tick <= last:
        pen.line((at(tick), bottom + 1, at(tick), bottom + 6), fill=_FAINT)
        pen.text((at(tick), bottom + 9), _said_time(tick, 0 if step >= 1 else 1), _FAINT, _font(13), anchor="ma")
        tick += step


def _runs(states: Sequence[State]) -> list[tuple[int, int, State]]:
    """Rows [start, end) of one state."""
    starts = [row for row in range(len(states)) if row == 0 or states[row] != states[row - 1]]
    return [(start, end, states[start]) for start, end in zip(starts, [*starts[1:], len(states)], strict=True)]


def _typical_step(seconds: Sequence[float]) -> float:
    return float(np.median(np.diff(seconds))) if len(seconds) > 1 else 1.0


def _label_step(length_seconds: float) -> float:
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800)
    return next((step for step in steps if length_seconds / step <= _MOST_LABELS), 3600.0)


def _said_time(seconds: float, places: int) -> str:
    if seconds < 60:
        return f"{seconds:.{places}f} s"
    whole = round(seconds, places)
    minutes, rest = divmod(whole, 60)
    width = 2 if places == 0 else 3 + places
    return f"{minutes:.0f}:{rest:0{width}.{places}f}"


def _share(part: int, whole: int) -> str:
    """In per cent; a few of many are never rounded to none or all."""
    if part in (0, whole):
        return f"{100 * part // whole} %"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)
