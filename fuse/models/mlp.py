"""Per-frame multilayer perceptron on the joined modalities: what can be said of a row without its neighbours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fuse.models.parts import AffectHead, JoinedInputs


class Mlp(nn.Module):
    """Joined inputs, `layers` hidden layers of GELU, head."""

    def __init__(self, widths: Mapping[str, int], *, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.inputs = JoinedInputs(widths, width, dropout)
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)]
        self.hidden = nn.Sequential(*blocks, nn.GELU())
        self.head = AffectHead(width, dropout)

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        out: Tensor = self.head(self.hidden(self.inputs(features, valid)))
        return out
