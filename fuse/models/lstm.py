"""Recurrent fusion: joined modalities, a projection, an LSTM over time (Hochreiter and Schmidhuber 1997)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fuse.models.parts import AffectHead, JoinedInputs


class Lstm(nn.Module):
    """`layers` layers, each in one or both directions; rows beyond the end of a clip change nothing."""

    def __init__(
        self, widths: Mapping[str, int], *, width: int, layers: int, dropout: float, bidirectional: bool
    ) -> None:
        super().__init__()
        self.inputs = JoinedInputs(widths, width, dropout)
        directions = 2 if bidirectional else 1
        sizes = [width] + [width * directions] * (layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(nn.LSTM(size, width, batch_first=True) for size in sizes if bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.head = AffectHead(width * directions, dropout)

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        hidden = self.inputs(features, valid)
        for i, forwards in enumerate(self.forwards):
            hidden = self.dropout(hidden) if i else hidden
            ahead = forwards(hidden)[0]
            if self.backwards:
                back = reversed_rows(self.backwards[i](reversed_rows(hidden, inside))[0], inside)
                hidden = torch.cat([ahead, back], -1)
            else:
                hidden = ahead
        out: Tensor = self.head(hidden)
        return out


def reversed_rows(hidden: Tensor, inside: Tensor) -> Tensor:
    """Each sequence back to front within its own length; rows outside stay last. Its own inverse.

    hidden [B, L, H], inside [B, L] with the rows inside first.
    """
    lengths = inside.sum(1, keepdim=True)
    row = torch.arange(inside.shape[1], device=inside.device)
    source = torch.where(inside, lengths - 1 - row, row)  # [B, L]
    return hidden.gather(1, source.unsqueeze(-1).expand_as(hidden))
