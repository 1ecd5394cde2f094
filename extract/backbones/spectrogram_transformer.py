"""The Audio Spectrogram Transformer (AST; Gong, Chung, Glass 2021) through transformers: a row every 100 ms.

128 Kaldi mel bands over Hann windows of 25 ms every 10 ms, as ASTFeatureExtractor computes them without torchaudio;
1024 of them, 10.255 s, make one picture, cut into patches of 16 x 16 every 10. A row is the mean of the patches of one
moment, over frequency. Spectrum j covers samples 160 j to 160 j + 399 and row i spectra 10 i to 10 i + 15, so row i is
centred on sample 1600 i + 1399.5. Of each chunk of 10.3 s the 8.3 s in the middle are kept (see Chunks). Where sound
ends early the picture goes on with zeros before it is normalised, as in training; there is no one pass over longer
sound to compare with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from extract.backbones.hub import CONFIG, PREPROCESSOR
from extract.backbones.registry import SOUND_RATE_HZ, Request
from extract.backbones.transformers_audio import HubFiles, Layers, Names

_FRAME, _HOP, _FFT = 400, 160, 512
_SPECTRA, _BANDS = 1024, 128
_LOWEST_HZ, _PREEMPHASIS, _FLOOR = 20.0, 0.97, 1.192092955078125e-07  # Kaldi's fbank; float32's epsilon
_SHAPE = {"max_length": _SPECTRA, "num_mel_bins": _BANDS, "patch_size": 16, "time_stride": 10, "frequency_stride": 10}
# transformers gave the layers of its ViT relatives new names in version 5; public checkpoints hold the old ones.
_RENAMED = (
    ("encoder.layer.", "layers."),
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)
_NAMES = Names(("audio_spectrogram_transformer.",), ("classifier",), _RENAMED)


def build(request: Request) -> nn.Module:
    """Chunks of sound [N, S], S from 400 to 164800, to [N, 101, D]. Raises ValueError."""
    from transformers import ASTConfig

    files = HubFiles.read(request, "ast", "audio-spectrogram-transformer")
    config = ASTConfig.from_dict(dict(files.config))
    files.demand(CONFIG, _SHAPE, {name: getattr(config, name) for name in _SHAPE})
    wanted = {"num_mel_bins": _BANDS, "max_length": _SPECTRA}
    files.demand(PREPROCESSOR, wanted, files.preprocessor)
    return SpectrogramTransformer(config, files, request.layer)


class SpectrogramTransformer(nn.Module):
    """[N, S] -> [N, 101, D]; rows centred beyond the sound are of the zeros after it, and for nobody."""

    bands: Tensor

    def __init__(self, config: Any, files: HubFiles, layer: str | None) -> None:
        super().__init__()
        from transformers import ASTModel

        self.network: Any = ASTModel(config)
        self._layers = Layers(layer, config.num_hidden_layers)
        said = files.preprocessor
        # The extractor's own defaults are AudioSet's mean and deviation; (x - mean) / (2 std) is its formula.
        self._mean, self._std = float(said.get("mean", -4.2677393)), float(said.get("std", 4.5689974))
        self._normalise = bool(said.get("do_normalize", True))
        self.register_buffer("bands", kaldi_bands(), persistent=False)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's tensors under the network's names."""
        return _NAMES.own(state, self.network)

    def prepare(self) -> None:
        """Drop the layers that nothing is made from; call once the weights are in place."""
        self.network.layers = self._layers.needed(self.network.layers)
        if self._layers.by_number:
            self.network.layernorm = nn.Identity()

    def forward(self, sound: Tensor) -> Tensor:
        spectra = fbank(sound, self.bands)[:, :_SPECTRA]
        picture = nn.functional.pad(spectra, (0, 0, 0, _SPECTRA - spectra.shape[1]))  # [N, 1024, 128]
        if self._normalise:
            picture = (picture - self._mean) / (2 * self._std)
        tokens = self._layers.of(self.network(picture, output_hidden_states=self._layers.several))
        patches = tokens[:, 2:]  # after the class and the distillation token: frequency by frequency, [N, 12 * 101, D]
        moments = (_SPECTRA - _SHAPE["patch_size"]) // _SHAPE["time_stride"] + 1
        rows: Tensor = patches.unflatten(1, (-1, moments)).mean(1)
        return rows


def fbank(sound: Tensor, bands: Tensor) -> Tensor:
    """Kaldi's log filter bank energies without dither: [N, S] to [N, (S - 400) // 160 + 1, 128]."""
    frames = sound.unfold(1, _FRAME, _HOP)  # [N, T, 400]
    frames = frames - frames.mean(2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
    window = torch.hann_window(_FRAME, periodic=False, device=sound.device, dtype=sound.dtype)
    power = torch.fft.rfft((frames - _PREEMPHASIS * before) * window, n=_FFT).abs().square()  # [N, T, 257]
    return torch.log((power @ bands).clamp(min=_FLOOR))


def kaldi_bands() -> Tensor:
    """[257, 128] triangles on Kaldi's mel scale, 1127 ln(1 + f / 700), from 20 to 8000 Hz, drawn on that scale."""

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    edges = torch.linspace(mel(_LOWEST_HZ), mel(SOUND_RATE_HZ / 2), _BANDS + 2, dtype=torch.float64)
    bins = torch.tensor([mel(k * SOUND_RATE_HZ / _FFT) for k in range(_FFT // 2 + 1)], dtype=torch.float64)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0).float()
