"""Self-attention fusion: joined modalities, a projection, positions, a Transformer encoder (Vaswani et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fuse.models.parts import AffectHead, AttentionLayer, JoinedInputs, sinusoidal_positions


class SelfAttention(nn.Module):
    """`layers` pre-norm encoder layers over the rows of a window; rows outside the clip are not looked at."""

    def __init__(
        self, widths: Mapping[str, int], *, width: int, layers: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.inputs = JoinedInputs(widths, width, dropout)
        self.layers = nn.ModuleList(AttentionLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = AffectHead(width, dropout)

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        hidden = self.inputs(features, valid)
        hidden = hidden + sinusoidal_positions(hidden.shape[1], hidden.shape[2], hidden)
        for layer in self.layers:
            hidden = layer(hidden, inside)
        out: Tensor = self.head(self.norm(hidden))
        return out
