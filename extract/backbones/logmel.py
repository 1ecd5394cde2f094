"""Log-mel filter bank: a picture of sound that needs no weights.

64 triangular bands on the HTK mel scale, 60 to 7600 Hz, over 25 ms Hann windows of 16 kHz sound; the log of
the band's mean power over a floor that is silence. Mel(f) = 2595 log10(1 + f / 700) (O'Shaughnessy 1987).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from extract.backbones.registry import Request

_RATE_HZ = 16000
_BANDS = 64
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7600.0
_FFT = 1024
_FLOOR = 1e-6


def build(request: Request) -> nn.Module:
    """Windows of sound [N, 400] in [-1, 1] to log band energies [N, 64]."""
    del request  # one network, one size
    return LogMel()


class LogMel(nn.Module):
    """[N, W] -> [N, 64]; W up to 1024 samples."""

    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bands", torch.from_numpy(mel_triangles(_BANDS, _FFT)), persistent=False)  # [513, 64]

    def forward(self, sound: Tensor) -> Tensor:
        window = torch.hann_window(sound.shape[1], periodic=True, device=sound.device)
        power = torch.fft.rfft(sound * window, n=_FFT).abs().square() / window.square().sum()  # [N, 513]
        return torch.log(power @ self.bands + _FLOOR)


def mel_triangles(bands: int, fft: int) -> NDArray[np.float32]:
    """[fft / 2 + 1, bands]: each band's weights, summing to 1, so that narrow and wide bands read alike."""
    low, high = (2595 * np.log10(1 + hz / 700) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    edges = 700 * (10 ** (np.linspace(low, high, bands + 2) / 2595) - 1)
    hertz = np.arange(fft // 2 + 1) * _RATE_HZ / fft
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (hertz[:, None] - left) / (centre - left)
    fall = (right - hertz[:, None]) / (right - centre)
    weights = np.maximum(np.minimum(rise, fall), 0)
    return np.asarray(weights / weights.sum(0), np.float32)
