"""A puppet's face: its looks, and one picture of it in one pose.

Lengths are in half-heights of the face, with the origin between the cheeks and y pointing down. Pictures
are drawn at twice their size and halved, which makes smooth edges.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.demo.acting import Pose
from pipeline.demo.chance import Float

OVERSAMPLING = 2
Colour = tuple[int, int, int]
HAIR_STYLES = ("cap", "tuft", "long", "bun", "bald")
MAROON, TONGUE, WHITE, INK = (86, 18, 30), (222, 92, 104), (250, 248, 244), (24, 20, 26)

_ROUND = np.stack([f(np.linspace(0, 2 * np.pi, 36, endpoint=False)) for f in (np.cos, np.sin)], -1)
_ACROSS = np.linspace(-1, 1, 15)


@dataclass(frozen=True)
class Look:
    """What a subject looks like, and never changes."""

    skin: Colour
    hair: Colour
    shirt: Colour
    iris: Colour
    hair_style: str
    size: float  # 1 = the face is 0.74 of the picture's height
    place: tuple[float, float]  # of the face's centre, in shares of the picture's height
    slimness: float  # half-width over half-height
    eye_size: float
    eye_distance: float
    eye_slant: float
    brow_thickness: float
    mouth_width: float
    nose_size: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        return cls(
            skin=_hsv(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.97)),
            hair=_hsv(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.12, 0.8)),
            shirt=_hsv(rng.random(), rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.9)),
            iris=_hsv(rng.random(), rng.uniform(0.4, 0.8), rng.uniform(0.3, 0.6)),
            hair_style=HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))],
            size=float(rng.uniform(0.9, 1.1)),
            place=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.03, 0.03))),
            slimness=float(rng.uniform(0.8, 0.95)),
            eye_size=float(rng.uniform(0.9, 1.12)),
            eye_distance=float(rng.uniform(0.33, 0.39)),
            eye_slant=float(rng.uniform(-0.12, 0.12)),
            brow_thickness=float(rng.uniform(0.075, 0.11)),
            mouth_width=float(rng.uniform(0.41, 0.5)),
            nose_size=float(rng.uniform(0.07, 0.13)),
        )

    @cached_property
    def brow_colour(self) -> Colour:
        return _mix(self.hair, INK, 0.7)  # dark enough to be seen on any skin

    @cached_property
    def lip_colour(self) -> Colour:
        return _mix(self.skin, (150, 10, 40), 0.75)

    @cached_property
    def shade(self) -> Colour:
        return _mix(self.skin, INK, 0.22)


def draw_room(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """What is behind the puppet in one clip, at twice the size: a wall, a floor and some things on it."""
    w, h = width * OVERSAMPLING, height * OVERSAMPLING
    wall = _hsv(rng.random(), rng.uniform(0.05, 0.6), rng.uniform(0.15, 0.97))
    room = Image.new("RGB", (w, h), wall)
    draw = ImageDraw.Draw(room)
    for _ in range(int(rng.integers(3, 7))):
        colour = _mix(wall, _hsv(rng.random(), rng.random(), rng.random()), 0.45)
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.06, 0.22) * h
        if rng.random() < 0.5:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        else:
            draw.rectangle((x - r, y - 0.7 * r, x + r, y + 0.7 * r), fill=colour)
    draw.rectangle((0, int(h * rng.uniform(0.82, 0.92)), w, h), fill=_mix(wall, INK, 0.35))
    return room


def draw_face(look: Look, room: Image.Image, pose: Pose) -> NDArray[np.uint8]:
    """One picture [height, width, 3], RGB."""
    canvas = room.copy()
    width, height = canvas.size
    unit = 0.37 * look.size * height
    middle = (width / 2 + look.place[0] * height, height * (0.5 + look.place[1]))
    body = _Pen(ImageDraw.Draw(canvas), middle, unit, 0.0)
    body.ellipse((0, 2.0), (1.35, 0.95), look.shirt)
    body.polygon([(-0.27, 0.6), (0.27, 0.6), (0.32, 1.2), (-0.32, 1.2)], look.shade)
    centre = (middle[0] + pose.sway[0] * unit, middle[1] + pose.sway[1] * unit)
    pen = _Pen(body.draw, centre, unit, pose.tilt_radians)
    away = pose.hidden > 0.5 and pose.cover == "turned away"
    _head(pen, look, away)
    if not away:
        _features(pen, look, pose)
        _fringe(pen, look)
    if pose.hidden > 0 and pose.cover != "turned away":
        _cover(body, look, pose)
    return np.asarray(canvas.reduce(OVERSAMPLING))


@dataclass(frozen=True)
class _Pen:
    """Draws in face lengths on a canvas of pixels, tilted about the face's centre."""

    draw: ImageDraw.ImageDraw
    centre: tuple[float, float]
    unit: float
    tilt_radians: float

    @cached_property
    def _turn(self) -> Float:
        c, s = np.cos(self.tilt_radians), np.sin(self.tilt_radians)
        return np.array([[c, s], [-s, c]]) * self.unit

    def pixels(self, points: Float | Iterable[tuple[float, float]]) -> list[float]:
        array = points if isinstance(points, np.ndarray) else np.array(list(points), np.float64)
        flat: list[float] = (array @ self._turn + self.centre).ravel().tolist()
        return flat

    def polygon(self, points: Float | Iterable[tuple[float, float]], fill: Colour) -> None:
        self.draw.polygon(self.pixels(points), fill=fill)

    def ellipse(self, at: tuple[float, float], radii: tuple[float, float], fill: Colour) -> None:
        self.polygon(_ROUND * radii + at, fill)

    def stroke(self, points: Float | Iterable[tuple[float, float]], thickness: float, fill: Colour) -> None:
        flat, pixels = self.pixels(points), max(1, round(thickness * self.unit))
        # Round joints are slow, and a curve of many points bends too little at each to need them.
        self.draw.line(flat, fill=fill, width=pixels, joint="curve" if len(flat) < 12 else None)
        for x, y in (flat[:2], flat[-2:]):  # round ends
            self.draw.ellipse((x - pixels / 2, y - pixels / 2, x + pixels / 2, y + pixels / 2), fill=fill)


def _head(pen: _Pen, look: Look, away: bool) -> None:
    """Hair behind, ears and skull; from behind there is hair all over."""
    s = look.slimness
    if look.hair_style == "long":
        pen.ellipse((0, 0.1), (s + 0.24, 1.18), look.hair)
    elif look.hair_style == "cap":
        pen.ellipse((0, -0.15), (s + 0.08, 1.0), look.hair)
    elif look.hair_style == "bun":
        pen.ellipse((0, -1.08), (0.3, 0.28), look.hair)
    elif look.hair_style == "tuft":
        for lean in (-0.3, 0.0, 0.3):
            pen.polygon([(lean - 0.2, -0.85), (lean * 1.6, -1.32), (lean + 0.2, -0.85)], look.hair)
    for side in (-1, 1):
        pen.ellipse((side * s, 0.02), (0.14, 0.2), look.shade)
    if away:
        pen.ellipse((0, 0), (s, 1), look.shade if look.hair_style == "bald" else look.hair)
    else:
        pen.ellipse((0, 0), (s, 1), look.skin)


def _fringe(pen: _Pen, look: Look) -> None:
    """Hair in front of the forehead, above where a brow can get, with a wavy rim."""
    if look.hair_style in ("bald", "tuft"):
        return
    angles = np.linspace(-np.pi + 0.75, -0.75, 24)
    rim = np.stack([(look.slimness + 0.01) * np.cos(angles), 1.01 * np.sin(angles)], -1)
    waves = 0.045 * np.cos(np.linspace(0, (6 if look.hair_style == "cap" else 3) * np.pi, 24))
    low = np.stack([rim[::-1, 0], -0.76 - waves], -1)
    pen.polygon(np.concatenate([rim, low]), look.hair)


def _features(pen: _Pen, look: Look, pose: Pose) -> None:
    """Eyes, cheeks, brows, nose and mouth. A head that turns takes them to one side."""
    shift = 0.16 * pose.turn
    opening = 0.2 * look.eye_size * pose.eyes
    raised = 0.5 * (pose.cheek + 1)  # 0..1
    for side in (-1, 1):
        x, y = shift + side * look.eye_distance, -0.2
        wide = 0.19 * look.eye_size
        if opening < 0.035:
            pen.stroke([(x - wide, y), (x, y + 0.04), (x + wide, y)], 0.035, INK)
        else:
            slant = np.array([[1, side * look.eye_slant], [0, 1]])
            pen.polygon((_ROUND * (wide + 0.025, opening + 0.025)) @ slant + (x, y), look.shade)
            pen.polygon((_ROUND * (wide, opening)) @ slant + (x, y), WHITE)
            gaze = x + 0.05 * pose.turn
            for radius, colour in ((0.12, look.iris), (0.065, INK)):
                pen.ellipse((gaze, y), (radius, min(radius, opening)), colour)
            pen.ellipse((gaze + 0.035, y - 0.4 * opening), (0.025, min(0.025, opening / 2)), WHITE)
        # A raised cheek covers the lower lid, and blushes.
        blush = _mix(look.skin, (240, 60, 80), 0.08 + 0.5 * min(max(raised, 0), 1))
        pen.ellipse((shift + side * 0.5, 0.27 - 0.13 * raised), (0.21, 0.1 + 0.09 * max(raised, 0)), blush)
        # Inner end down in a frown; the whole brow arched in joy.
        y_brow = -0.53 - 0.06 * pose.lift
        inner, outer = shift + side * 0.13, shift + side * (look.eye_distance + 0.24)
        pen.stroke(
            [
                (inner, y_brow - 0.15 * pose.brow + 0.02),
                ((inner + outer) / 2, y_brow - 0.06 - 0.05 * pose.brow),
                (outer, y_brow + 0.03 + 0.08 * pose.brow),
            ],
            look.brow_thickness,
            look.brow_colour,
        )
    pen.ellipse((shift * 1.4, 0.13), (look.nose_size, look.nose_size * 1.15), look.shade)
    _mouth(pen, look, pose, shift)


def _mouth(pen: _Pen, look: Look, pose: Pose, shift: float) -> None:
    half = look.mouth_width * (1 + 0.12 * pose.smile)
    open_by = 0.03 + 0.24 * pose.mouth
    x = shift + half * _ACROSS
    middle = 0.55 + 0.35 * pose.smile * (0.5 - _ACROSS**2)
    bulge = np.sqrt(1 - _ACROSS**2)
    upper, lower = middle - 0.35 * open_by * bulge, middle + 0.65 * open_by * bulge

    def band(top: Float, bottom: Float) -> Float:
        return np.concatenate([np.stack([x, top], -1), np.stack([x[::-1], bottom[::-1]], -1)])

    pen.polygon(band(upper, lower), MAROON)
    if open_by > 0.09:
        pen.polygon(band(upper, upper + 0.28 * open_by * bulge), WHITE)
        pen.polygon(band(lower - 0.3 * open_by * bulge, lower), TONGUE)
    for lip in (upper, lower):
        pen.stroke(np.stack([x, lip], -1), 0.07, look.lip_colour)


def _cover(pen: _Pen, look: Look, pose: Pose) -> None:
    """A board with a spiral, or two hands, coming up from below until the face is gone."""
    drop = 2.4 * (1 - pose.hidden)
    if pose.cover == "board":
        pen.polygon(
            [(-1.1, drop - 1), (1.1, drop - 1), (1.1, drop + 1), (-1.1, drop + 1)], _mix(look.shirt, WHITE, 0.3)
        )
        angles = np.linspace(0, 6 * np.pi, 60)
        radii = 0.03 * angles
        pen.stroke(np.stack([radii * np.cos(angles), radii * np.sin(angles) + drop], -1), 0.05, look.shirt)
        return
    for side in (-1, 1):
        palm = (side * 0.44, drop + 0.3)
        pen.polygon(
            [(side * 0.1, drop + 0.5), (side * 0.8, drop + 0.5), (side * 1.05, drop + 2.6), (side * 0.5, drop + 2.6)],
            look.shirt,
        )
        for finger in range(4):
            foot = (palm[0] + side * (0.22 * finger - 0.33), palm[1])
            tip = (foot[0] + side * 0.04 * (finger - 1.5), drop - 0.85 + 0.09 * abs(finger - 1.5))
            pen.stroke([foot, tip], 0.265, look.shade)
            pen.stroke([foot, tip], 0.23, look.skin)
        pen.ellipse(palm, (0.5, 0.62), look.skin)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour a share of the way from a to b."""
    r, g, bl = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return r, g, bl
