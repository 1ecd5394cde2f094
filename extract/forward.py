"""Rows of input through one network, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class Forward:
    """One network on one device. normalise: mean and std of pictures, None for sound."""

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        batch_rows: int,
        normalise: tuple[tuple[float, ...], tuple[float, ...]] | None,
    ) -> None:
        self.batch_rows = batch_rows
        self._module, self._device = module, device
        self._normalise = [torch.tensor(part, device=device).view(1, 3, 1, 1) for part in normalise or ()]

    @torch.inference_mode()
    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 pixels [N, S, S, 3] or windows of sound [N, W] to float32 [N, D]; chunks [N, S] to [N, T, D]."""
        tensor = torch.from_numpy(np.require(rows, requirements=["C", "W"])).to(self._device)
        if self._normalise:
            mean, std = self._normalise
            # [N, 3, S, S], which in memory stays [N, S, S, 3]: the layout that convolutions like best.
            tensor = (tensor.permute(0, 3, 1, 2).float() / 255 - mean) / std
        out: NDArray[np.float32] = self._module(tensor).float().cpu().numpy()
        return out
