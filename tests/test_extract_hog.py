"""Histograms of gradients: an edge is in its bin and cell, light and colours matter little, small moves too."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from extract.backbones.hog import Hog, build
from extract.backbones.registry import Request
from extract.recipe import FeatureSettings

SIZE_PX, CELL_PX, CELLS, BINS = 72, 12, 6, 12


@torch.inference_mode()
def hog(pixels: Tensor, cell_px: int = CELL_PX) -> Tensor:
    """[N, 12, S // cell, S // cell]: how much each orientation has in each cell."""
    cells = pixels.shape[-1] // cell_px
    return Hog(cell_px)(pixels).unflatten(1, (BINS, cells, cells))


def edge(turned: float, distance_px: float = 0.0, size_px: int = SIZE_PX) -> Tensor:
    """[1, 3, S, S] dark to light across a soft edge whose gradient is turned by so many degrees from rightwards."""
    y, x = (grid - (size_px - 1) / 2 for grid in torch.meshgrid(*[torch.arange(float(size_px))] * 2, indexing="ij"))
    along = x * math.cos(math.radians(turned)) + y * math.sin(math.radians(turned)) - distance_px
    return (0.1 + 0.8 * torch.sigmoid(along / 1.5)).expand(1, 3, -1, -1)


def picture(seed: int = 5, size_px: int = SIZE_PX, grain_px: int = 6) -> Tensor:
    """[1, 3, S, S] smooth blobs of colour, as a face has, in [0, 1]."""
    small = torch.rand(1, 3, size_px // grain_px, size_px // grain_px, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, size=(size_px, size_px), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("turned", [15 * i for i in range(24)])
def test_an_edge_is_in_the_bin_of_its_orientation_and_in_the_cells_that_it_crosses(turned: int) -> None:
    (found,) = hog(edge(turned))
    energy = found.square()  # the root undone
    by_bin = energy.sum((1, 2))
    assert int(by_bin.argmax()) == turned // 15 % BINS  # dark to light or light to dark is the same
    assert by_bin.max() > 0.9 * by_bin.sum()
    centres = torch.arange(CELLS) * CELL_PX + (CELL_PX - SIZE_PX) / 2
    away = centres * math.cos(math.radians(turned)) + centres[:, None] * math.sin(math.radians(turned))
    by_cell = energy.sum(0)
    # A pixel votes into cells whose centres are less than a cell away in both directions.
    far, near = away.abs() > math.sqrt(2) * CELL_PX + 6, away.abs() <= CELL_PX / 2
    assert near.any()
    assert far.any()
    assert by_cell[near].min() > 10 * by_cell[far].max()


@pytest.mark.parametrize("turned", [7.5, 37.5, 172.5])
def test_an_edge_between_two_bins_is_in_both(turned: float) -> None:
    by_bin = hog(edge(turned))[0].square().sum((1, 2))
    first = int(turned // 15)
    both = by_bin[[first, (first + 1) % BINS]]  # the last one's neighbour is the first
    assert both.sum() > 0.9 * by_bin.sum()
    assert both.min() > 0.8 * both.max()


def test_the_cells_are_told_from_top_left_to_bottom_right() -> None:
    pixels = torch.full((1, 3, SIZE_PX, SIZE_PX), 0.5)
    pixels[..., CELL_PX + 5 : CELL_PX + 7, 4 * CELL_PX + 5 : 4 * CELL_PX + 7] = 1  # a dot in row 1, column 4
    by_cell = hog(pixels)[0].square().sum(0)
    assert divmod(int(by_cell.argmax()), CELLS) == (1, 4)
    assert by_cell[:, :3].max() == by_cell[3:].max() == 0
    upright, lying = hog(edge(0))[0], hog(edge(90))[0]
    torch.testing.assert_close(upright[0], lying[6].T, rtol=1e-4, atol=1e-4)


def slow_hog(pixels: NDArray[np.float64], cell_px: int, soft: bool = True) -> NDArray[np.float64]:
    """[3, S, S] to [12, C, C], a pixel at a time. Not soft: each votes for one bin in its own cell alone."""
    size, cells = pixels.shape[1], pixels.shape[1] // cell_px
    votes = np.zeros((BINS, cells, cells))
    block = cell_px // 4
    for y in range(cells * cell_px):
        for x in range(cells * cell_px):
            right, left = pixels[:, y, min(x + 1, size - 1)], pixels[:, y, max(x - 1, 0)]
            below, above = pixels[:, min(y + 1, size - 1), x], pixels[:, max(y - 1, 0), x]
            strongest = int(((right - left) ** 2 + (below - above) ** 2).argmax())
            dx, dy = (right - left)[strongest], (below - above)[strongest]
            length, turned = math.hypot(dx, dy), math.atan2(dy, dx) % math.pi / math.pi * BINS
            if not soft:
                votes[round(turned) % BINS, y // cell_px, x // cell_px] += length
                continue
            # Where its block of a quarter cell stands, in cells from the centre of the first one.
            row, column = ((at // block + 0.5) / 4 - 0.5 for at in (y, x))
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < cells and 0 <= c < cells:
                        weight = (1 - abs(row - r)) * (1 - abs(column - c)) * length
                        votes[int(turned) % BINS, r, c] += weight * (1 - turned % 1)
                        votes[(int(turned) + 1) % BINS, r, c] += weight * (turned % 1)
    votes /= cell_px**2
    energy = np.pad((votes**2).sum(0), 1, mode="edge")
    around = sum(energy[r : r + cells, c : c + cells] for r in range(3) for c in range(3)) / 9
    return np.sqrt(votes / (np.sqrt(around) + 0.02))


@pytest.mark.parametrize(("size_px", "cell_px"), [(36, 12), (37, 8), (23, 4)])
def test_the_histograms_are_those_of_a_slow_loop(size_px: int, cell_px: int) -> None:
    pixels = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(7))
    kept = size_px // cell_px * cell_px
    wanted = slow_hog(pixels[0].double().numpy(), cell_px)
    found = hog(pixels, cell_px)[0]
    if kept < size_px:  # pixels beyond the last whole cell still vote into it, so its row and column differ
        found, wanted = found[:, :-1, :-1], wanted[:, :-1, :-1]
        if found.shape[1] > 1:  # and the energy around the one before it
            found, wanted = found[:, :-1, :-1], wanted[:, :-1, :-1]
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)  # float32, under a root


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.4])
def test_light_matters_little(scale: float) -> None:
    pixels = 0.7 * picture()
    before, after = hog(pixels), hog(pixels * scale)
    # A histogram of size e is divided by e + 0.02, and the root is taken; sizes here are near 0.06, so half the light
    # is sqrt(0.03 / 0.05 * 0.08 / 0.06) = 0.89 of it. Without the floor it would be the very same.
    assert 1e-3 * before.norm() < (after - before).norm() < 0.12 * before.norm()
    bright = hog(100 * pixels)  # far above the floor
    torch.testing.assert_close(hog(100 * scale * pixels), bright, rtol=2e-2, atol=1e-3)
    assert (hog(pixels + 0.2) - before).abs().max() < 1e-3, "and light that is added everywhere matters not at all"


def test_which_colour_is_which_matters_not_at_all() -> None:
    pixels = picture()
    for order in ([2, 1, 0], [1, 2, 0], [0, 2, 1]):
        torch.testing.assert_close(hog(pixels[:, order]), hog(pixels), rtol=0, atol=1e-6)  # the strongest is the same
    torch.testing.assert_close(hog(1 - pixels), hog(pixels), rtol=0, atol=1e-3)  # nor does light for dark


def test_a_move_of_one_pixel_changes_it_less_than_hard_bins_and_cells() -> None:
    ratios = []
    for seed in (3, 5, 7):
        large = picture(seed, 48)
        pictures = [large[..., 4:40, first : first + 36] for first in (4, 5)]
        soft = [hog(pixels)[0].numpy() for pixels in pictures]
        hard = [slow_hog(pixels[0].double().numpy(), CELL_PX, soft=False) for pixels in pictures]
        moved = [np.linalg.norm(b - a) / np.linalg.norm(a) for a, b in (soft, hard)]
        assert moved[0] < 0.12
        ratios.append(moved[0] / moved[1])
    assert max(ratios) < 0.75
    # Moved on and on, it goes on changing: what is left is not a histogram of the whole picture.
    away = [float((hog(edge(0, px)) - hog(edge(0))).norm()) for px in (0, 1, 3, 6, 12)]
    assert all(a < b for a, b in pairwise(away))


@pytest.mark.parametrize(("name", "cell_px"), [("", 8), ("4", 4), ("8", 8), ("12", 12), ("64", 64)])
@pytest.mark.parametrize("size_px", [64, 67, 112])
def test_a_name_says_its_cells(name: str, cell_px: int, size_px: int) -> None:
    out = build(Request(name))(torch.rand(2, 3, size_px, size_px))
    assert out.shape == (2, BINS * (size_px // cell_px) ** 2)
    assert out.isfinite().all()
    assert (out >= 0).all()


def test_a_flat_picture_has_no_edges() -> None:
    assert not hog(torch.full((1, 3, SIZE_PX, SIZE_PX), 0.7)).any()


@pytest.mark.parametrize("name", ["2", "3", "7", "10", "68", "-8", "8.0", "big", "²", "8 "])
def test_a_name_that_is_no_cell_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"hog:{name} names no cell; wanted hog, or hog:N with N = 4, 8, 12 \.\. 64"):
        build(Request(name))


@pytest.mark.parametrize("given", [{"layer": "cells"}, {"pool": "grid:2"}])
def test_a_layer_or_a_pool_would_have_no_effect_and_is_refused(given: dict[str, str]) -> None:
    (name,) = given
    with pytest.raises(ValidationError, match=f"{name} would have no effect: the visual backbone hog:8 heeds crop"):
        FeatureSettings(backbone="hog:8", **given)


def test_a_picture_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a cell's 64 pixels or more, got \[2, 3, 48, 48\]; make `crop.size_px` larg"):
        Hog(64)(torch.zeros(2, 3, 48, 48))
