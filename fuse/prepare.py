"""What a model sees of the features: standardised, perhaps reduced to principal components, perhaps shifted.

Everything here is fitted on training rows and travels in the checkpoint, so a run's predictions need nothing
but the run and the features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fuse.bank import Bank

_SMALLEST_DEVIATION = 1e-6  # a column that varies less than this is a constant, and is left at 0


class Preparation(nn.Module):
    """{modality: [B, L, D]} to {modality: [B, L, K]}: K = D, or the number of components kept.

    Principal components keep their relative sizes (they are divided by one number, not each by its own), so
    that what varies little stays little: with few subjects that is what keeps a model from learning who it is.
    shift: in training, each window gets one random constant per column, of that many standard deviations; a
    linear model shifted so is ridge regression on what differs between windows (Bishop 1995).
    """

    def __init__(self, widths: Mapping[str, int], components: Mapping[str, int], shift: Mapping[str, float]) -> None:
        super().__init__()
        self.widths = {name: min(components.get(name, width), width) for name, width in widths.items()}
        self._shift = dict(shift)
        self._reduced = [name for name in widths if name in components]
        for name, width in widths.items():
            self.register_buffer(f"mean_{name}", torch.zeros(width))
            self.register_buffer(f"scale_{name}", torch.ones(width))
            if name in components:
                self.register_buffer(f"components_{name}", torch.zeros(width, self.widths[name]))

    def fit(self, bank: Bank, clips: list[int]) -> None:
        """Fit on the valid rows of the given clips, in float64. Raises ValueError if a modality has none there."""
        chosen = bank.rows_of(clips)
        for name, values in bank.values.items():
            rows = values[chosen & bank.valid[name]].double()  # [N, D]
            if not len(rows):
                raise ValueError(f"modality {name} has no valid row in the training clips; check its feature")
            mean, deviation = rows.mean(0), rows.std(0, correction=0)
            scale = torch.where(deviation > _SMALLEST_DEVIATION, 1 / deviation.clamp_min(_SMALLEST_DEVIATION), 0)
            self.get_buffer(f"mean_{name}").copy_(mean)
            self.get_buffer(f"scale_{name}").copy_(scale)
            if name in self._reduced:
                self.get_buffer(f"components_{name}").copy_(_components((rows - mean) * scale, self.widths[name]))

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows that are not valid come out as zeros, whatever they hold."""
        prepared = {}
        for name in self.widths:
            rows = (features[name] - self.get_buffer(f"mean_{name}")) * self.get_buffer(f"scale_{name}")
            if name in self._reduced:
                rows = rows @ self.get_buffer(f"components_{name}")
            if self.training and self._shift.get(name):
                rows = rows + self._shift[name] * torch.randn_like(rows[:, :1])
            prepared[name] = torch.where(valid[name].unsqueeze(-1), rows, 0)
        return prepared


class Fusion(nn.Module):
    """A preparation and a model behind it, with the model's signature: what is trained, kept and used."""

    def __init__(self, preparation: Preparation, model: nn.Module) -> None:
        super().__init__()
        self.preparation, self.model = preparation, model

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        out: Tensor = self.model(self.preparation(features, valid), valid, inside)
        return out


def _components(rows: Tensor, count: int) -> Tensor:
    """[D, count]: the directions of most variance, divided by the root of their mean variance, each sign fixed."""
    variance, directions = torch.linalg.eigh(rows.T @ rows / len(rows))  # ascending
    kept = directions[:, -count:].flip(1)
    largest = kept.gather(0, kept.abs().argmax(0, keepdim=True))
    mean_variance = variance[-count:].mean().clamp_min(_SMALLEST_DEVIATION**2)
    scaled: Tensor = kept * torch.sign(largest) / mean_variance.sqrt()
    return scaled
