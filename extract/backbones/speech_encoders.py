"""wav2vec 2.0, HuBERT and WavLM through transformers: a row every 20 ms of raw sound.

Seven convolutions (kernels 10, 3, 3, 3, 3, 2, 2, strides 5, 2, 2, 2, 2, 2, 2) see 400 samples every 320, so row i of a
chunk is centred on its sample 320 i + 199.5; a transformer follows, which sees the whole chunk.

Long sound goes through in chunks of 20 s, of which the 16 s in the middle are kept (see Chunks). How far that is from
one pass: where the encoder normalises over channels, the convolutions give the same numbers (to float32), and rows
differ as their attention sees other neighbours. Where it normalises each channel over time (feat_extract_norm: group,
the base models), and where the chunk is brought to mean 0 and deviation 1 (do_normalize in preprocessor_config.json,
over the whole chunk, as for a recording of its length), statistics of 20 s stand for those of the recording too. On
sound of steady level the root mean square of the difference is below 2 % of the rows' deviation (TOLERANCE): measured
on small networks with random weights, whose attention spreads over all it sees; no real weights were at hand. Where
loudness changes within minutes the difference is larger, and one pass is not the better one: these networks were
trained on crops of 15.6 s (base) and 20 s (large; Baevski et al. 2020, section 4.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from extract.backbones.hub import CONFIG, PREPROCESSOR
from extract.backbones.registry import Request
from extract.backbones.transformers_audio import HubFiles, Layers, Names, normalised

TOLERANCE = 0.02
_KERNELS, _STRIDES = [10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]
# Heads of transformers' networks for pre-training, CTC, classification and speakers; the mask is for training alone.
_HEADS = ("lm_head", "quantizer", "project_hid", "project_q", "projector", "classifier", "layer_weights", "tdnn")
_LEFT_OUT = (*_HEADS, "objective", "feature_extractor.weight", "feature_extractor.bias", "masked_spec_embed")
# torch changed the names of weight normalisation; checkpoints hold either.
_WEIGHT_NORM = (
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
)


def build_wav2vec2(request: Request) -> nn.Module:
    """Chunks of sound [N, S] to [N, T, D], wav2vec 2.0. Raises ValueError."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    files = HubFiles.read(request, "wav2vec2", "wav2vec2")
    return _built(Wav2Vec2Model(_config(Wav2Vec2Config, files)), files, request.layer, "wav2vec2.")


def build_hubert(request: Request) -> nn.Module:
    """Chunks of sound [N, S] to [N, T, D], HuBERT. Raises ValueError."""
    from transformers import HubertConfig, HubertModel

    files = HubFiles.read(request, "hubert", "hubert")
    return _built(HubertModel(_config(HubertConfig, files)), files, request.layer, "hubert.")


def build_wavlm(request: Request) -> nn.Module:
    """Chunks of sound [N, S] to [N, T, D], WavLM. Raises ValueError."""
    from transformers import WavLMConfig, WavLMModel

    files = HubFiles.read(request, "wavlm", "wavlm")
    return _built(WavLMModel(_config(WavLMConfig, files)), files, request.layer, "wavlm.")


def _config(kind: Any, files: HubFiles) -> Any:
    """The network's configuration, without the vector that stands for masked sound in training."""
    config = kind.from_dict({**files.config, "mask_time_prob": 0.0, "mask_feature_prob": 0.0})
    wanted = {"conv_kernel": _KERNELS, "conv_stride": _STRIDES, "add_adapter": False}
    said = {"conv_kernel": list(config.conv_kernel), "conv_stride": list(config.conv_stride)}
    files.demand(CONFIG, wanted, said | {"add_adapter": getattr(config, "add_adapter", False)})
    return config


def _built(network: Any, files: HubFiles, layer: str | None, prefix: str) -> SpeechEncoder:
    normalise = files.preprocessor.get("do_normalize")
    if not isinstance(normalise, bool):
        raise ValueError(f"{files.folder / PREPROCESSOR} says do_normalize: {normalise!r}; wanted true or false")
    return SpeechEncoder(network, layer, normalise, Names((prefix,), _LEFT_OUT, _WEIGHT_NORM))


class SpeechEncoder(nn.Module):
    """[N, S] -> [N, (S - 400) // 320 + 1, D]. normalise: bring each chunk to mean 0 and deviation 1 first."""

    def __init__(self, network: Any, layer: str | None, normalise: bool, names: Names) -> None:
        super().__init__()
        self.network = network
        self._layers = Layers(layer, network.config.num_hidden_layers)
        self._normalise, self._names = normalise, names

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A checkpoint's tensors under the network's names."""
        return self._names.own(state, self.network)

    def prepare(self) -> None:
        """Drop the layers that nothing is made from; call once the weights are in place."""
        encoder = self.network.encoder
        encoder.layers = self._layers.needed(encoder.layers)
        if self._layers.by_number and self.network.config.do_stable_layer_norm:  # else this norm stands at the entrance
            encoder.layer_norm = nn.Identity()

    def forward(self, sound: Tensor) -> Tensor:
        given = normalised(sound) if self._normalise else sound
        return self._layers.of(self.network(given, output_hidden_states=self._layers.several))
