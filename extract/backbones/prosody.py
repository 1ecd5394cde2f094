"""Prosody: how high, how loud, how fast and how bright a voice was over the last second, without weights.

Each 50 ms of sound gives a pitch with its voicing, an energy and a spectrum; a row sums up one second of them,
as the functionals of eGeMAPS do (Eyben et al. 2016):
    0, 1    pitch in octaves from 150 Hz: mean and deviation, weighted by voicing
    2       share of voiced frames
    3, 4    log energy of voiced frames: mean and deviation
    5       log energy of all frames
    6..9    share of the energy contour's movement at 1-2, 2-4, 4-6, 6-10 Hz: the rate of syllables
    10      log2 of the spectral centroid, voiced frames
    11..34  log share of the energy in 24 mel bands from 60 to 7600 Hz, voiced frames: the average spectrum
Pitch and voicing come from the normalised autocorrelation between 60 and 400 Hz, divided by that of the window so
that long lags aren't discounted (Boersma 1993), at quarters of a sample: at whole ones a high voice with a period
of 40.5 samples looks more alike after two periods than after one, and is heard an octave too low.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from extract.backbones.logmel import mel_triangles
from extract.backbones.registry import Request

_RATE_HZ = 16000
_FRAME, _HOP, _FFT = 800, 320, 2048  # 50 ms every 20 ms
_LOWEST_HZ, _HIGHEST_HZ, _REFERENCE_HZ = 60, 400, 150.0
_BANDS = 24
_RATE_EDGES_HZ = (1.0, 2.0, 4.0, 6.0, 10.0)
_LAGS_A_SAMPLE = 4
_FLOOR = 1e-7
_OCTAVE_COST = 0.02  # a lag twice as long must fit better by this much (Boersma 1993, eq. 26)
_VOICED = 0.45  # Boersma's threshold


def build(request: Request) -> nn.Module:
    """Windows of sound [N, 16000] in [-1, 1] to [N, 35]."""
    del request  # one network, one size
    return Prosody()


class Prosody(nn.Module):
    """[N, W] -> [N, 35]; W of at least 800 samples, here one second."""

    bands: Tensor
    lags: Tensor
    turns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bands", torch.from_numpy(mel_triangles(_BANDS, _FFT)), persistent=False)  # [1025, 24]
        shortest, longest = (_RATE_HZ * _LAGS_A_SAMPLE // hertz for hertz in (_HIGHEST_HZ, _LOWEST_HZ))
        lags = torch.arange(shortest, longest + 1, dtype=torch.float64) / _LAGS_A_SAMPLE  # samples
        bins = torch.arange(_FFT // 2 + 1, dtype=torch.float64)
        turns = torch.cos(2 * math.pi / _FFT * torch.outer(bins, lags)) * 2
        turns[[0, -1]] /= 2  # the spectrum's other half mirrors all but its ends
        self.register_buffer("lags", lags.float(), persistent=False)
        self.register_buffer("turns", turns.float(), persistent=False)  # [1025, lags]

    def forward(self, sound: Tensor) -> Tensor:
        frames = sound.unfold(1, _FRAME, _HOP)  # [N, T, 800]
        frames = frames - frames.mean(2, keepdim=True)
        window = torch.hann_window(_FRAME, periodic=True, device=sound.device, dtype=sound.dtype)
        power = torch.fft.rfft(frames * window, n=_FFT).abs().square() / window.square().sum()  # [N, T, 1025]
        octaves, voicing = self._pitch(power, window)
        weight = torch.where(voicing > _VOICED, voicing, 0)
        energy = torch.log(power.mean(2) + _FLOOR)
        hertz = torch.arange(power.shape[2], device=sound.device, dtype=sound.dtype) * (_RATE_HZ / _FFT)
        centroid = torch.log2(((power @ hertz) + 1000 * _FLOOR) / (power.sum(2) + _FLOOR) + 1)
        shares = torch.log(power @ self.bands + _FLOOR) - torch.log(power.sum(2, True) + _FLOOR)
        pitch_mean, pitch_deviation = _weighted(octaves, weight)
        energy_mean, energy_deviation = _weighted(energy, weight)
        columns = [
            pitch_mean,
            pitch_deviation,
            (weight > 0).float().mean(1),
            energy_mean,
            energy_deviation,
            energy.mean(1),
            *_movement(energy),
            _weighted(centroid, weight)[0],
            *(_weighted(share, weight)[0] for share in shares.unbind(2)),
        ]
        return torch.stack(columns, 1)

    def _pitch(self, power: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
        """Octaves from 150 Hz and voicing in [0, 1] of each frame, both [N, T]."""
        of_window = torch.fft.rfft(window, n=_FFT).abs().square()
        alike = self._autocorrelation(power) / self._autocorrelation(of_window)  # [N, T, lags]
        octaves = torch.log2(_RATE_HZ / self.lags / _REFERENCE_HZ)
        best = (alike + _OCTAVE_COST * octaves).argmax(-1)
        return octaves[best], alike.gather(-1, best.unsqueeze(-1)).squeeze(-1).clamp(0, 1)

    def _autocorrelation(self, power: Tensor) -> Tensor:
        """[..., lags], 1 at lag 0."""
        whole = 2 * power.sum(-1, keepdim=True) - power[..., :1] - power[..., -1:]
        out: Tensor = power @ self.turns / (whole + _FFT * _FLOOR)
        return out


def _weighted(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation [N] over frames; without a voiced frame, those of all frames."""
    weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, 1)
    total = weight.sum(1)
    mean = (values * weight).sum(1) / total
    return mean, ((values - mean.unsqueeze(1)).square() * weight).sum(1).div(total).sqrt()


def _movement(energy: Tensor) -> list[Tensor]:
    """How much of the contour's movement has which rate: shares [N] of its spectrum by band."""
    contour = (energy - energy.mean(1, keepdim=True)) * torch.hann_window(energy.shape[1], device=energy.device)
    spectrum = torch.fft.rfft(contour, n=256).abs().square()
    hertz = torch.arange(spectrum.shape[1], device=energy.device, dtype=energy.dtype) * (_RATE_HZ / _HOP / 256)
    return list((spectrum @ _bands(hertz, _RATE_EDGES_HZ) / (spectrum.sum(1, keepdim=True) + _FLOOR)).unbind(1))


def _bands(hertz: Tensor, edges_hz: tuple[float, ...]) -> Tensor:
    """[F, bands]: 1 where a frequency lies in the half-open band."""
    edges = torch.tensor(edges_hz, device=hertz.device, dtype=hertz.dtype)
    return ((hertz.unsqueeze(1) >= edges[:-1]) & (hertz.unsqueeze(1) < edges[1:])).to(hertz.dtype)
