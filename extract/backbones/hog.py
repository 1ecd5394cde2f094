"""Histograms of oriented gradients (Dalal and Triggs 2005): the shape of a face, without weights.

The strongest gradient over the colours votes, by its size, for its orientation (12 unsigned bins) and its place
(square cells), linearly between neighbouring bins and cells, so that a face which moves a little changes its
histograms a little. Each cell is divided by the energy of its 3 x 3 neighbourhood, and the root of it is taken
(Arandjelovic and Zisserman 2012). What is left says where edges lie and how they slant, whatever the colours and
the light: the classical front end of facial expression analysis (Baltrusaitis et al. 2015 use one for action units).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from extract.backbones.registry import Request

_CELL_PX = 8  # unless the name says otherwise: hog:12
_BINS = 12
_PARTS = 4  # a cell is summed from 4 x 4 blocks, those of its neighbours with falling weight
_WEIGHTS = (1, 3, 5, 7, 7, 5, 3, 1)  # of 8 blocks in a row, in 32nds: linear interpolation between cell centres
_FLOOR = 0.02  # energy of a flat cell: below it, noise is not blown up


def build(request: Request) -> nn.Module:
    """request.model: pixels of a cell's edge, or nothing for 8. Raises ValueError for anything else."""
    name = request.model
    if name and not (name.isdecimal() and 4 <= int(name) <= 64 and int(name) % _PARTS == 0):
        raise ValueError(f"backbone hog:{name} names no cell; wanted hog, or hog:N with N = 4, 8, 12 .. 64 pixels")
    return Hog(int(name or _CELL_PX))


class Hog(nn.Module):
    """[N, 3, S, S] -> [N, 12 * (S // cell_px)^2], orientation by orientation, each from top left to bottom right."""

    weights: Tensor

    def __init__(self, cell_px: int) -> None:
        super().__init__()
        self.cell_px = cell_px
        row = torch.tensor(_WEIGHTS) / 32
        self.register_buffer("weights", torch.outer(row, row).expand(_BINS, 1, -1, -1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        if min(pixels.shape[2:]) < self.cell_px:
            raise ValueError(
                f"hog wants pictures of a cell's {self.cell_px} pixels or more, got {list(pixels.shape)}; "
                "make `crop.size_px` larger or the N of hog:N smaller"
            )
        across = F.pad(pixels, (1, 1, 0, 0), mode="replicate")
        down = F.pad(pixels, (0, 0, 1, 1), mode="replicate")
        gradient_x = across[..., 2:] - across[..., :-2]
        gradient_y = down[..., 2:, :] - down[..., :-2, :]
        strongest = (gradient_x.square() + gradient_y.square()).argmax(1, keepdim=True)  # [N, 1, S, S]
        x, y = gradient_x.gather(1, strongest), gradient_y.gather(1, strongest)
        size = torch.hypot(x, y)
        orientation = torch.remainder(torch.atan2(y, x), math.pi) * (_BINS / math.pi)
        lower = orientation.floor()
        share = orientation - lower
        first = lower.long() % _BINS
        votes = size.new_zeros(len(size), _BINS, *size.shape[2:])
        votes.scatter_add_(1, first, size * (1 - share))
        votes.scatter_add_(1, (first + 1) % _BINS, size * share)
        blocks = F.avg_pool2d(votes, self.cell_px // _PARTS)  # [N, 12, 4 S / cell, 4 S / cell]
        edge = _PARTS // 2
        blocks = F.pad(blocks, (edge, edge, edge, edge))
        cells = F.conv2d(blocks, self.weights, stride=_PARTS, groups=_BINS)  # [N, 12, S / cell, S / cell]
        energy = F.pad(cells.square().sum(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
        return (cells / (F.avg_pool2d(energy, 3, 1).sqrt() + _FLOOR)).sqrt().flatten(1)
