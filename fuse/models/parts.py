"""Small parts that models share: input projections, positions, attention layers, the affect head.

Alphabet: B batch, L window length, D feature width, H hidden width. Marks are True = observed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Inputs(nn.Module):
    """Each modality's rows, with a learned vector where one is not valid: a missing face is information."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        super().__init__()
        self.missing = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name, width in widths.items()})

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: torch.where(valid[name].unsqueeze(-1), features[name], missing)
            for name, missing in self.missing.items()
        }


class JoinedInputs(nn.Module):
    """All modalities side by side, projected to one width: [B, L, sum of D] -> [B, L, H]."""

    def __init__(self, widths: Mapping[str, int], width: int, dropout: float) -> None:
        super().__init__()
        self.inputs = Inputs(widths)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(sum(widths.values()), width)

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> Tensor:
        joined = torch.cat(list(self.inputs(features, valid).values()), -1)
        out: Tensor = self.project(self.dropout(joined))
        return out


class AffectHead(nn.Module):
    """[B, L, H] -> [B, L, 2]: valence and arousal, linear as in the paper."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, 2)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.linear(self.dropout(hidden))
        return out


def sinusoidal_positions(length: int, width: int, like: Tensor) -> Tensor:
    """[L, H] sines and cosines (Vaswani et al. 2017, section 3.5). width is even."""
    position = torch.arange(length, device=like.device, dtype=like.dtype).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=like.dtype) * (-math.log(10000.0) / width))
    out = like.new_zeros(length, width)
    out[:, 0::2], out[:, 1::2] = torch.sin(position * rate), torch.cos(position * rate)
    return out


class Attention(nn.Module):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017, eq. 1): queries look at a source's rows."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, target: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """target [B, L, H], source [B, S, H], inside [B, S]: which source rows may be looked at."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, L, H / heads]
            for linear, x in ((self.query, target), (self.key, source), (self.value, source))
        )
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=inside[:, None, None, :], dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class AttentionLayer(nn.Module):
    """Pre-norm attention and feed-forward, each added to its target.

    Looking at itself it is a Transformer encoder layer; looking at another modality it is MulT's cross-modal
    layer (Tsai et al. 2019, eq. 3 and 4), whose residual carries the target through.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, *, cross: bool = False) -> None:
        super().__init__()
        self.norm_target, self.norm_hidden = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_source = nn.LayerNorm(width) if cross else None
        self.attention = Attention(width, heads, dropout)
        self.hidden = nn.Sequential(
            nn.Linear(width, feedforward), nn.GELU(), nn.Dropout(dropout), nn.Linear(feedforward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, inside: Tensor, source: Tensor | None = None) -> Tensor:
        """target [B, L, H]; source [B, L, H] for a cross layer, on the same rows; inside [B, L]."""
        normed = self.norm_target(target)
        looked_at = normed if self.norm_source is None else self.norm_source(source)
        target = target + self.dropout(self.attention(normed, looked_at, inside))
        out: Tensor = target + self.dropout(self.hidden(self.norm_hidden(target)))
        return out
