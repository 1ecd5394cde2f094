"""Cross-modal attention fusion (MulT, Tsai et al. 2019), as Karas et al. 2022 use it.

Per modality a convolution over time to half the width and positions; each modality then looks at every other
one through a stack of cross-modal layers, each fed by the one before; all are joined for self-attention. With
one modality there is nothing to cross and the convolution feeds the self-attention.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fuse.models.parts import AffectHead, AttentionLayer, Inputs, sinusoidal_positions


class CrossAttention(nn.Module):
    """widths of M modalities: M * (M - 1) cross-modal stacks of `cross_layers`, then `layers` of self-attention."""

    def __init__(
        self,
        widths: Mapping[str, int],
        *,
        width: int,
        cross_layers: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        stream = width // 2
        self.inputs = Inputs(widths)
        self.dropout = nn.Dropout(dropout)
        self.embed = nn.ModuleDict({name: nn.Conv1d(size, stream, 3, padding=1) for name, size in widths.items()})
        self.cross = nn.ModuleDict(
            {
                f"{source}_to_{target}": nn.ModuleList(
                    AttentionLayer(stream, heads, feedforward, dropout, cross=True) for _ in range(cross_layers)
                )
                for target in widths
                for source in widths
                if source != target
            }
        )
        streams = max(len(self.cross), 1)
        self.join = nn.Linear(streams * stream, width)
        self.layers = nn.ModuleList(AttentionLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = AffectHead(width, dropout)

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        mask = inside.unsqueeze(-1)
        embedded = {}
        for name, values in self.inputs(features, valid).items():
            rows = self.dropout(values) * mask  # rows outside must not reach the convolution's neighbours
            hidden = self.embed[name](rows.transpose(1, 2)).transpose(1, 2)  # [B, L, H / 2]
            embedded[name] = hidden + sinusoidal_positions(hidden.shape[1], hidden.shape[2], hidden)
        streams = []
        for target in embedded:
            for source in embedded:
                if source != target:
                    hidden = embedded[target]
                    stack = self.cross[f"{source}_to_{target}"]
                    assert isinstance(stack, nn.ModuleList)
                    for layer in stack:
                        hidden = layer(hidden, inside, embedded[source])
                    streams.append(hidden)
        hidden = self.join(torch.cat(streams or list(embedded.values()), -1))
        for layer in self.layers:
            hidden = layer(hidden, inside)
        out: Tensor = self.head(self.norm(hidden))
        return out
