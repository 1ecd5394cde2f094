"""Small functions that draw SVG. Positions across are percentages, so that text keeps its size at any width.

A plot is an <svg> without a viewBox, as wide as its box; what can't be given in percent (a line of many points) is a
nested <svg> that stretches, with strokes that do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from pipeline.report.look import DASHES, MARKERS, Look
from pipeline.report.numbers import MINUS, Range

GRID = 1000  # points of a line are whole numbers, 0 to GRID both ways: finer than a pixel, and short to write
_PAD = 5  # pixels above and below the area of a plot of lines


@dataclass(frozen=True)
class Axis:
    """A range of values and its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"an axis from {self.low} to {self.high}; wanted low < high")

    @classmethod
    def around(cls, values: Iterable[float | None], ticks: int = 5) -> Axis:
        """From a tick at or under every value to one at or over, in steps of 1, 2 or 5 times a power of ten."""
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        if high - low < 1e-9:
            low, high = low - 0.1, high + 0.1
        step = _step((high - low) / ticks)
        first, last = math.floor(low / step + 1e-6), math.ceil(high / step - 1e-6)
        marks = tuple(round(n * step, 9) for n in range(first, last + 1))
        return cls(marks[0], marks[-1], marks)

    @classmethod
    def within(cls, low: float, high: float, ticks: int = 5) -> Axis:
        """From low to high exactly, with ticks at round values between."""
        if not high > low:
            high = low + 1
        step = _step((high - low) / ticks)
        marks = range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)
        return cls(low, high, tuple(round(n * step, 9) for n in marks))

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def at(self, value: float) -> str:
        """The place of a value, in percent."""
        return f"{_plain(100 * min(1.0, max(0.0, self.share(value))), 2)}%"

    def name(self, tick: float) -> str:
        """A tick's text: as many decimals as the step needs."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        text = f"{abs(tick):.{max(0, math.ceil(-math.log10(step) - 1e-6))}f}"
        text = text[1:] if text.startswith("0.") and float(text) else ("0" if not float(text) else text)
        return MINUS + text if tick < 0 else text


def plot(content: str, height: int, says: str, kind: str = "") -> str:
    """A plot as wide as its box. says: what a reader who can't see it is told."""
    name = f"plot {kind}".strip()
    return f'<svg class="{name}" height="{height}" role="img" aria-label="{escape(says)}">{content}</svg>'


def ruled(axis: Axis, height: int, reference: float | None = None) -> str:
    """Lines at the ticks, the one at 0 darker, and a dashed one at the reference."""
    lines = [
        f'<line class="{"zero" if tick == 0 else "rule"}" x1="{axis.at(tick)}" x2="{axis.at(tick)}" y2="{height}"/>'
        for tick in axis.ticks
    ]
    if reference is not None:
        lines.append(f'<line class="reference" x1="{axis.at(reference)}" x2="{axis.at(reference)}" y2="{height}"/>')
    return "".join(lines)


def scale(axis: Axis, y: int, unit: str = "") -> str:
    """The ticks' texts on the baseline y; the unit follows the last."""
    texts = []
    for tick in axis.ticks:
        share, text = axis.share(tick), axis.name(tick) + (f" {unit}" if unit and tick == axis.ticks[-1] else "")
        side = ' text-anchor="end"' if share > 0.97 and unit else ""
        texts.append(f'<text x="{axis.at(tick)}" y="{y}"{side}>{text}</text>')
    return f'<g class="ticks">{"".join(texts)}</g>'


def marker(x: str, y: float, shape: int, kind: str = "mark") -> str:
    return f'<svg x="{x}" y="{_plain(y)}" overflow="visible"><path class="{kind}" d="{MARKERS[shape]}"/></svg>'


def estimate(axis: Axis, y: int, value: float | None, ends: Range | None, shape: int, kind: str = "") -> str:
    """A value with its interval: a line with a marker on it."""
    parts = []
    if ends:
        low, high = axis.at(ends[0]), axis.at(ends[1])
        parts.append(f'<line class="interval {kind}" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
    if value is not None:
        parts.append(marker(axis.at(value), y, shape, f"mark {kind}".strip()))
    return "".join(parts)


def dots(axis: Axis, y: int, values: Iterable[float | None]) -> str:
    return "".join(f'<circle class="dot" cx="{axis.at(v)}" cy="{y}" r="2.6"/>' for v in values if v is not None)


def sample(look: Look) -> str:
    """A short piece of a line for a legend."""
    dash = DASHES[look.shape]
    return (
        f'<svg class="sample tone-{look.tone}" width="34" height="10" aria-hidden="true">'
        f'<line class="line" x1="2" x2="32" y1="5" y2="5" stroke-dasharray="{dash}"/></svg>'
    )


def badge(look: Look) -> str:
    """A marker alone, for a legend or a label."""
    return (
        f'<svg class="badge tone-{look.tone}" width="14" height="14" aria-hidden="true">'
        f"{marker('7', 7, look.shape)}</svg>"
    )


@dataclass(frozen=True)
class LinePlot:
    """A plot of lines: `area` pixels high between the ends of axis y, the time or epoch across."""

    x: Axis
    y: Axis
    area: int

    @property
    def height(self) -> int:
        return self.area + 2 * _PAD

    def down(self, value: float) -> float:
        """Pixels from the top of the plot to a value."""
        return _PAD + self.area * (1 - self.y.share(value))

    def frame(self) -> str:
        """Lines and texts at the ticks of y."""
        parts = []
        for tick in self.y.ticks:
            y = _plain(self.down(tick), 1)
            kind = "zero" if tick == 0 else "rule"
            parts.append(f'<line class="{kind}" x2="100%" y1="{y}" y2="{y}"/>')
            parts.append(f'<text class="side" x="-8" y="{y}" dy=".32em">{self.y.name(tick)}</text>')
        return "".join(parts)

    def area_of(self, content: str) -> str:
        """What is drawn with paths, cut off at the ends of the axes."""
        return (
            f'<svg y="{_PAD}" width="100%" height="{self.area}" viewBox="0 0 {GRID} {GRID}" '
            f'preserveAspectRatio="none">{content}</svg>'
        )

    def points(self, x: Sequence[float], y: Sequence[float | None]) -> list[list[tuple[int, int]]]:
        """The stretches without a gap, as whole numbers of the grid."""
        at_x = (np.asarray(x, np.float64) - self.x.low) / (self.x.high - self.x.low)
        at_y = 1 - (np.asarray(y, np.float64) - self.y.low) / (self.y.high - self.y.low)  # None becomes NaN
        stretches: list[list[tuple[int, int]]] = [[]]
        for across, down in zip((GRID * at_x).tolist(), (GRID * at_y).tolist(), strict=True):
            if math.isfinite(down):
                stretches[-1].append((round(across), round(down)))
            elif stretches[-1]:
                stretches.append([])
        return [stretch for stretch in stretches if stretch]

    def line(self, x: Sequence[float], y: Sequence[float | None], kind: str, dash: str = "none", says: str = "") -> str:
        path = "".join(_path(stretch) for stretch in self.points(x, y))
        title = f"<title>{escape(says)}</title>" if says else ""
        dashed = "" if dash == "none" else f' stroke-dasharray="{dash}"'
        return f'<path class="{kind}"{dashed} d="{path}">{title}</path>' if path else ""

    def fill(self, x: Sequence[float], y: Sequence[float | None], kind: str) -> str:
        """The area between a line and 0."""
        zero = round(GRID * (1 - self.y.share(0)))
        closed = [[(s[0][0], zero), *s, (s[-1][0], zero)] for s in self.points(x, y)]
        path = "".join(_path(stretch) + "z" for stretch in closed)
        return f'<path class="{kind}" d="{path}"/>' if path else ""


def _path(points: list[tuple[int, int]]) -> str:
    """M, then steps: relative whole numbers, a minus stands for the space before it."""
    (x, y), *rest = points
    parts = [f"M{x} {y}l"]
    for across, down in rest or [(x, y)]:
        step = f"{across - x} {down - y}".replace(" -", "-")
        parts.append(step if len(parts) == 1 or step[0] == "-" else f" {step}")
        x, y = across, down
    return "".join(parts)


def _step(wanted: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten, as ratios go."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return power * min((1, 2, 5, 10), key=lambda factor: abs(math.log(factor * power / wanted)))


def _plain(value: float, decimals: int = 2) -> str:
    return f"{value:.{decimals}f}".rstrip("0").rstrip(".") if "." in f"{value:.{decimals}f}" else f"{value:.0f}"
