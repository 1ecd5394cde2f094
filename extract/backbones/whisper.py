"""The encoder of Whisper through transformers: a row every 20 ms of 30 s of log-mel.

80 or 128 Slaney bands over Hann windows of 25 ms every 10 ms, log10, held to the loudest 8 decades of the 30 s, as
WhisperFeatureExtractor computes them. Windows are centred on their time and the second convolution has a stride of 2,
so row i of a chunk is centred on its sample 320 i. The network takes 30 s and nothing else: of each chunk the 26 s in
the middle are kept (see Chunks), shorter sound is followed by silence, as in training. There is no one pass over longer
sound to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from extract.backbones.hub import CONFIG, PREPROCESSOR
from extract.backbones.registry import SOUND_RATE_HZ, Request
from extract.backbones.transformers_audio import HubFiles, Layers, Names

_FFT, _HOP, _ROWS = 400, 160, 1500
_NAMES = Names(
    ("model.encoder.", "encoder."), ("model.decoder", "decoder", "proj_out", "projector", "classifier", "layer_weights")
)


def build(request: Request) -> nn.Module:
    """Chunks of sound [N, 480000] to [N, 1500, D]. Raises ValueError."""
    from transformers import WhisperConfig

    files = HubFiles.read(request, "whisper", "whisper")
    config = WhisperConfig.from_dict(dict(files.config))
    files.demand(CONFIG, {"max_source_positions": _ROWS}, {"max_source_positions": config.max_source_positions})
    wanted = {"feature_size": config.num_mel_bins, "n_fft": _FFT, "hop_length": _HOP, "chunk_length": 30}
    files.demand(PREPROCESSOR, wanted, files.preprocessor)
    return WhisperListener(config, request.layer)


class WhisperListener(nn.Module):
    """[N, 480000] -> [N, 1500, D]."""

    filters: Tensor

    def __init__(self, config: Any, layer: str | None) -> None:
        super().__init__()
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        self.network: Any = WhisperEncoder(config)
        self._layers = Layers(layer, self.network.config.encoder_layers)
        self.register_buffer("filters", slaney_bands(self.network.config.num_mel_bins), persistent=False)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's tensors under the network's names."""
        return _NAMES.own(state, self.network)

    def prepare(self) -> None:
        """Drop the layers that nothing is made from; call once the weights are in place."""
        self.network.layers = self._layers.needed(self.network.layers)
        if self._layers.by_number:
            self.network.layer_norm = nn.Identity()

    def forward(self, sound: Tensor) -> Tensor:
        return self._layers.of(self.network(log_mel(sound, self.filters), output_hidden_states=self._layers.several))


def log_mel(sound: Tensor, filters: Tensor) -> Tensor:
    """[N, S] to [N, bands, S / 160]."""
    window = torch.hann_window(_FFT, device=sound.device, dtype=sound.dtype)
    spectrum = torch.stft(sound, _FFT, _HOP, window=window, return_complex=True)[..., :-1]  # [N, 201, S / 160]
    decades = torch.log10((filters @ spectrum.abs().square()).clamp(min=1e-10))
    return (torch.maximum(decades, decades.amax((1, 2), keepdim=True) - 8) + 4) / 4


def slaney_bands(bands: int) -> Tensor:
    """[bands, 201] triangles of equal area on the mel scale of Slaney's Auditory Toolbox."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(1 + _FFT // 2, bands, 0.0, 8000.0, SOUND_RATE_HZ, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(filters.T).float().contiguous()
