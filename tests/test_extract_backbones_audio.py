"""Networks of sound: the numbers of their libraries, rows at the right time, checkpoints as they are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cache.track import Track
from extract.backbones import spectrogram_transformer, speech_encoders, whisper
from extract.backbones.hidden_states import HiddenStates
from extract.backbones.registry import BACKBONES, Chunks, Request, Windows
from extract.backbones.weights import build_backbone
from extract.decode import Hearing, Samples
from extract.forward import Forward
from extract.recipe import FeatureSettings
from extract.sound import ChunkRows, WindowRows

RATE = 16000
SPEECH = ("wav2vec2", "hubert", "wavlm")
HUB = (*SPEECH, "whisper", "ast")
LAYERS, WIDTH = 3, 32
# Sums of float32 in another order.
SAME = {"rtol": 1e-4, "atol": 1e-5}

Folder = Callable[..., Path]


def configuration(family: str, **changes: Any) -> Any:
    import transformers

    size = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": 37}
    if family in SPEECH:
        kind = {"wav2vec2": "Wav2Vec2Config", "hubert": "HubertConfig", "wavlm": "WavLMConfig"}[family]
        small = {"conv_dim": (11,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
        return getattr(transformers, kind)(**size, **small, **changes)
    if family == "ast":
        return transformers.ASTConfig(**size, **changes)
    small = {"d_model": WIDTH, "encoder_layers": LAYERS, "encoder_attention_heads": 4, "encoder_ffn_dim": 37}
    words = {"vocab_size": 53, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 4}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 4, "decoder_ffn_dim": 31}
    return transformers.WhisperConfig(**small, **words, **decoder, **changes)


PREPROCESSORS: dict[str, dict[str, Any]] = {
    **{family: {"sampling_rate": RATE, "do_normalize": True} for family in SPEECH},
    "whisper": {"sampling_rate": RATE, "feature_size": 80, "n_fft": 400, "hop_length": 160, "chunk_length": 30},
    "ast": {
        "sampling_rate": RATE,
        "num_mel_bins": 128,
        "max_length": 1024,
        "do_normalize": True,
        "mean": -4.5,
        "std": 4.1,
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """`folder(family, network)` writes what a hub repository holds: the network's files and the preprocessor's."""

    def write(family: str, network: Any = None, preprocessor: dict[str, Any] | None = None, **changes: Any) -> Path:
        path = tmp_path / f"{family}-{len(list(tmp_path.iterdir()))}"
        if network is None:
            path.mkdir()
            (path / "config.json").write_text(json.dumps(configuration(family, **changes).to_dict()))
        else:
            with quiet():
                network.save_pretrained(path)
        said = PREPROCESSORS[family] | (preprocessor or {})
        (path / "preprocessor_config.json").write_text(json.dumps(said))
        return path

    return write


class quiet:  # noqa: N801
    """No progress bars of transformers."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.enable_progress_bar()


def built(family: str, folder: Path, **changes: Any) -> nn.Module:
    """The network with the folder's weights."""
    return build_backbone(FeatureSettings(backbone=f"{family}:any/name", weights=str(folder), **changes))


def random_net(family: str, folder: Path, **changes: Any) -> nn.Module:
    return build_backbone(FeatureSettings(backbone=f"{family}:{folder}", weights="random:3", **changes))


def noise(seconds: float, seed: int = 5) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def rows_through(module: nn.Module, sound_kind: Windows | Chunks, sound: NDArray[np.float32], start: int = 0) -> Track:
    forward = Forward(module, torch.device("cpu"), 64, None)
    rows = (
        ChunkRows("x", sound_kind, RATE, "float32", forward)
        if isinstance(sound_kind, Chunks)
        else WindowRows("x", sound_kind, RATE, "float32", forward)
    )
    rows.add(Samples(sound, start, Hearing(RATE)))
    return rows.finish()


# ------------------------------------------------------------------------------------------------ every one of them


@pytest.mark.parametrize("family", HUB)
@torch.inference_mode()
def test_a_hub_network_gives_the_rows_that_its_chunks_declare(family: str, folder: Folder) -> None:
    chunks = BACKBONES[family].sound
    assert isinstance(chunks, Chunks)
    module = random_net(family, folder(family))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    longest = chunks.body_samples + 2 * chunks.context_samples
    sound = torch.from_numpy(noise(2 * longest / RATE)).reshape(2, longest)
    out = module(sound)
    assert out.dtype == torch.float32
    assert out.shape[::2] == (2, WIDTH)
    assert out.isfinite().all()
    assert out.std((0, 1)).min() > 0
    # Rows up to the body's end are there, and a row more would look beyond the chunk.
    needed = -(-(2 * (chunks.body_samples + chunks.context_samples) - chunks.first_centre_half_samples) // 2)
    assert out.shape[1] >= -(-needed // chunks.hop_samples)
    torch.testing.assert_close(torch.cat([module(row[None]) for row in sound]), out, **SAME)
    assert module(torch.zeros(1, longest)).isfinite().all(), "silence too"
    if not chunks.fixed:
        shortest = module(sound[:1, : chunks.shortest_samples])
        assert shortest.shape[1] >= 1
        assert shortest.isfinite().all()


# Found where the sound with clicks differs from the sound without, through random weights. They stand at all places
# between two rows, and on both sides of borders between chunks: of speech at 18.1 s, of `ast` at 9.4 and 17.7 s.
CLICKS_SECONDS = tuple(1.31 + 1.7137 * i for i in range(12))


def with_clicks(sound: NDArray[np.float32], at_seconds: tuple[float, ...], start: int) -> NDArray[np.float32]:
    clicked, burst = sound.copy(), np.resize([0.9, -0.9], 21).astype(np.float32)
    for seconds in at_seconds:
        first = round(seconds * RATE) - 10 - start
        clicked[first : first + 21] += burst
    return clicked


def differences(module: nn.Module, kind: Windows | Chunks, seconds: float, clicks: tuple[float, ...]) -> Any:
    """Energy of the difference a row, and the rows' times on a time line where the sound starts after 0.1 s."""
    start, sound = RATE // 10, noise(seconds)
    before = rows_through(module, kind, sound, start)
    after = rows_through(module, kind, with_clicks(sound, clicks, start), start)
    assert before.clock == after.clock
    return ((after.values - before.values) ** 2).sum(1), before.clock.seconds()


@pytest.mark.parametrize("family", HUB)
def test_a_click_is_in_the_row_of_its_time(family: str, folder: Folder) -> None:
    chunks = BACKBONES[family].sound
    assert isinstance(chunks, Chunks)
    energy, times = differences(random_net(family, folder(family)), chunks, 23, CLICKS_SECONDS)
    near = [np.abs(times - click) < 0.8 for click in CLICKS_SECONDS]
    found = np.array([times[rows][energy[rows].argmax()] for rows in near])
    hops_off = (found - CLICKS_SECONDS) * RATE / chunks.hop_samples
    assert np.abs(hops_off).max() <= 1
    assert abs(hops_off.mean()) < 0.3, "to either side alike: half a hop of centre amiss would show"


WINDOWED = [f for f, spec in BACKBONES.items() if isinstance(spec.sound, Windows) and spec.extra is None]


def windows_of(family: str, hop_samples: int | None = None) -> Windows:
    sound = BACKBONES[family].sound
    assert isinstance(sound, Windows)
    return Windows(sound.window_samples, hop_samples or sound.hop_samples)


@pytest.mark.parametrize("family", WINDOWED)
def test_a_click_is_in_the_middle_of_the_rows_that_hear_it(family: str) -> None:
    # A long hop for the long windows: the fewer rows, the faster, and none of this depends on it.
    windows = windows_of(family, 1601 if BACKBONES[family].sound.window_samples > 4000 else None)
    weights = {"weights": "random:3"} if BACKBONES[family].has_weights else {}
    module = build_backbone(FeatureSettings(backbone=family, **weights))
    click = windows.window_samples / RATE / 2 + 0.4183
    energy, times = differences(module, windows, 2 * click, (click,))
    heard = times[energy > 1e-3 * energy.max()]
    assert abs((heard[0] + heard[-1]) / 2 - click) <= windows.hop_samples / RATE
    assert heard[-1] - heard[0] <= windows.window_samples / RATE


def test_every_audio_family_of_the_registry_is_measured_here() -> None:
    audio = {family for family, spec in BACKBONES.items() if spec.modality == "audio"}
    assert audio == {*HUB, *WINDOWED, "egemaps"}


# ------------------------------------------------------------------------------------------------ chunks or one pass


# With statistics over time in the network, and with none but in the chunk's own mean and deviation.
@pytest.mark.parametrize(
    ("family", "norm"), [("wav2vec2", "group"), ("wav2vec2", "layer"), ("hubert", "group"), ("wavlm", "group")]
)
def test_chunks_are_as_near_to_one_pass_as_stated(family: str, norm: str, folder: Folder) -> None:
    stable = norm == "layer"
    path = folder(family, feat_extract_norm=norm, do_stable_layer_norm=stable, conv_bias=stable)
    module = random_net(family, path, layer="mean")
    sound = noise(31.0071)
    chunks = BACKBONES[family].sound
    assert isinstance(chunks, Chunks)
    stitched = rows_through(module, chunks, sound)
    with torch.inference_mode():
        whole = module(torch.from_numpy(sound)[None])[0].numpy()
    assert stitched.values.shape == whole.shape == ((len(sound) - 400) // 320 + 1, WIDTH)
    off = np.sqrt(((stitched.values - whole) ** 2).mean()) / whole.std(0).mean()
    assert 0 < off < speech_encoders.TOLERANCE


@torch.inference_mode()
def test_without_statistics_over_time_the_convolutions_of_a_chunk_are_those_of_one_pass(folder: Folder) -> None:
    path = folder("wav2vec2", None, {"do_normalize": False}, feat_extract_norm="layer", conv_bias=True)
    network = random_net("wav2vec2", path).network
    sound = torch.from_numpy(noise(3))[None]
    whole = network.feature_extractor(sound)
    part = network.feature_extractor(sound[:, 320 * 17 : 320 * 17 + 16000])
    torch.testing.assert_close(part, whole[:, :, 17 : 17 + part.shape[2]], **SAME)


@torch.inference_mode()
def test_a_chunk_is_normalised_as_the_library_normalises_one_recording(folder: Folder) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    sound = noise(1.0009) * 3 + 0.2
    wanted = Wav2Vec2FeatureExtractor()(sound, sampling_rate=RATE, return_tensors="pt").input_values
    module = random_net("wav2vec2", folder("wav2vec2", feat_extract_norm="layer", conv_bias=True))
    torch.testing.assert_close(module(torch.from_numpy(sound)[None]), module.network(wanted).last_hidden_state, **SAME)
    plain = folder("wav2vec2", None, {"do_normalize": False}, feat_extract_norm="layer", conv_bias=True)
    loud, quiet_one = (random_net("wav2vec2", plain)(torch.from_numpy(s)[None]) for s in (sound, sound / 9))
    assert (loud - quiet_one).abs().max() > 1e-3


# ------------------------------------------------------------------------------------------------ what they are given


@pytest.mark.parametrize("bands", [80, 128])
def test_log_mel_is_that_of_the_whisper_extractor(bands: int) -> None:
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=bands)
    sounds = [noise(30), np.pad(noise(3, 7) * np.linspace(0, 3, 48000, dtype=np.float32), (0, 432_000))]
    wanted = extractor(sounds, sampling_rate=RATE, return_tensors="pt").input_features
    found = whisper.log_mel(torch.from_numpy(np.stack(sounds)), whisper.slaney_bands(bands))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)  # the tolerance that the extractor states


@torch.inference_mode()
def test_whisper_gives_the_encoder_s_own_rows(folder: Folder) -> None:
    from transformers import WhisperForConditionalGeneration

    torch.manual_seed(7)
    network = WhisperForConditionalGeneration(configuration("whisper")).eval()
    module = built("whisper", folder("whisper", network))
    sound = torch.from_numpy(noise(30))[None]
    features = whisper.log_mel(sound, whisper.slaney_bands(80))
    torch.testing.assert_close(module(sound), network.model.encoder(features).last_hidden_state, **SAME)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")  # Kaldi's lowest bands, as published
@pytest.mark.parametrize("seconds", [1.0009, 10.24, 10.3])
@torch.inference_mode()
def test_ast_gives_the_library_s_own_rows(seconds: float, folder: Folder) -> None:
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(7)
    network = ASTForAudioClassification(configuration("ast")).eval()
    for parameter in network.parameters():
        parameter.copy_(0.1 * torch.randn(parameter.shape))  # positions of 0 would hide where a patch stands
    module = built("ast", folder("ast", network))
    sound = noise(seconds)
    extractor = ASTFeatureExtractor(mean=-4.5, std=4.1)
    extractor_input = extractor(sound, sampling_rate=RATE, return_tensors="pt").input_values
    tokens = network.audio_spectrogram_transformer(extractor_input).last_hidden_state
    rows = torch.stack([tokens[:, 2 + moment :: 101].mean(1) for moment in range(101)], 1)  # 12 patches a moment
    assert tokens[:, 2::101].shape[1] == 12
    torch.testing.assert_close(module(torch.from_numpy(sound)[None]), rows, rtol=1e-3, atol=1e-3)  # its float64 spectra


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
def test_fbank_is_that_of_the_ast_extractor() -> None:
    from transformers import ASTFeatureExtractor

    sound = noise(10.255) * np.linspace(0, 5, 164_080, dtype=np.float32)
    wanted = ASTFeatureExtractor(do_normalize=False)(sound, sampling_rate=RATE, return_tensors="pt").input_values
    found = spectrogram_transformer.fbank(torch.from_numpy(sound)[None], spectrogram_transformer.kaldi_bands())
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)  # logs of small sums of float32, theirs in float64


# ------------------------------------------------------------------------------------------------ layers


@pytest.mark.parametrize(
    ("family", "layer", "numbers"),
    [(family, layer, numbers) for family in HUB for layer, numbers in (("3", [3]), ("mean:0-2", [0, 1, 2]))]
    + [("wav2vec2", layer, numbers) for layer, numbers in (("0", [0]), ("mean", [1, 2, 3]), ("mean:2-2", [2]))],
)
@torch.inference_mode()
def test_a_layer_is_what_leaves_it(family: str, layer: str, numbers: list[int], folder: Folder) -> None:
    stable = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"} if family in SPEECH else {}
    path = folder(family, **stable)
    sound = torch.from_numpy(noise(30 if family == "whisper" else 1.01))[None]
    whole = random_net(family, path)
    states: list[Tensor] = []
    layers = whole.network.encoder.layers if family in SPEECH else whole.network.layers
    layers[0].register_forward_pre_hook(lambda _, given: states.append(given[0]))
    for part in layers:
        part.register_forward_hook(lambda *said: states.append(said[2][0] if isinstance(said[2], tuple) else said[2]))
    last = whole(sound)
    module = random_net(family, path, layer=layer)
    wanted = torch.stack([states[number] for number in numbers]).mean(0)
    if family == "ast":
        wanted = wanted[:, 2:].unflatten(1, (12, 101)).mean(1)
    torch.testing.assert_close(module(sound), wanted, **SAME)
    assert not torch.allclose(last, module(sound)), "`last` has the final norm"
    kept = module.network.encoder.layers if family in SPEECH else module.network.layers
    assert len(kept) == numbers[-1], "what is not asked for is not computed"
    torch.testing.assert_close(random_net(family, path, layer="last")(sound), last, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("first", r"layer is 'first'; wanted last, mean, the number of a layer, or mean:A-B, e\.g\. mean:7-9"),
        ("-1", r"layer is '-1'; wanted last"),
        ("mean:3", r"layer is 'mean:3'; wanted last"),
        ("mean:9-7", r"layer is 'mean:9-7', from a later layer to an earlier one; try mean:7-9"),
    ],
)
def test_a_layer_that_means_nothing_is_refused(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HiddenStates.named(layer)


def test_a_layer_that_the_network_lacks_is_refused(folder: Folder) -> None:
    path = folder("hubert")
    with pytest.raises(ValueError, match="layer 4 is asked for; the network has 3: wanted 0 to 3"):
        random_net("hubert", path, layer="mean:1-4")


# ------------------------------------------------------------------------------------------------ checkpoints


def networks_for_tasks() -> list[tuple[str, str, str]]:
    """Family, class of transformers, where in it the encoder is."""
    return [
        ("wav2vec2", "Wav2Vec2Model", ""),
        ("wav2vec2", "Wav2Vec2ForPreTraining", "wav2vec2"),
        ("wav2vec2", "Wav2Vec2ForCTC", "wav2vec2"),
        ("hubert", "HubertForSequenceClassification", "hubert"),
        ("wavlm", "WavLMForXVector", "wavlm"),
        ("wavlm", "WavLMModel", ""),
        ("whisper", "WhisperModel", "encoder"),
        ("whisper", "WhisperForAudioClassification", "encoder"),
        ("ast", "ASTModel", ""),
    ]


@pytest.mark.parametrize(("family", "kind", "place"), networks_for_tasks())
@torch.inference_mode()
def test_a_checkpoint_of_any_task_loads_whole_and_its_heads_are_left_out(
    family: str, kind: str, place: str, folder: Folder
) -> None:
    import transformers

    torch.manual_seed(7)
    network = getattr(transformers, kind)(configuration(family, use_weighted_layer_sum=True))
    encoder = network.get_submodule(place)
    module = built(family, folder(family, network))
    own = module.network.state_dict()
    assert own.keys() == encoder.state_dict().keys() - {"masked_spec_embed"}
    for name, tensor in own.items():
        assert torch.equal(tensor, encoder.state_dict()[name]), name


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v")),
        (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")),
    ],
    ids=["old", "new"],
)
def test_weight_norm_goes_by_its_old_and_its_new_names(
    new: tuple[str, ...], old: tuple[str, ...], folder: Folder
) -> None:
    from transformers import Wav2Vec2ForCTC

    torch.manual_seed(7)
    network = Wav2Vec2ForCTC(configuration("wav2vec2"))
    path = folder("wav2vec2", network)
    state = load_file(path / "model.safetensors")
    for there, wanted in zip(new, old, strict=True):
        state = {name.replace(f"conv.{there}", f"conv.{wanted}"): tensor for name, tensor in state.items()}
    assert sum(name.endswith(old) for name in state) == 2
    save_file(state, path / "model.safetensors")
    convolution = built("wav2vec2", path).network.encoder.pos_conv_embed.conv
    assert torch.equal(convolution.weight, network.wav2vec2.encoder.pos_conv_embed.conv.weight)


def test_names_that_fit_no_rule_are_listed(folder: Folder) -> None:
    from transformers import HubertForCTC

    path = folder("hubert", HubertForCTC(configuration("hubert")))
    state = load_file(path / "model.safetensors")
    del state["hubert.encoder.layers.1.final_layer_norm.bias"]
    state["hubert.encoder.layers.7.extra"], state["surprise.weight"] = torch.zeros(3), torch.zeros(5)
    state["hubert.encoder.layer_norm.weight"] = torch.zeros(31)
    save_file(state, path / "model.safetensors")
    message = (
        r"are not those of hubert:any/name: names 1 missing, 2 unexpected, 1 of another shape\n"
        r"  missing: encoder\.layers\.1\.final_layer_norm\.bias\n"
        r"  unexpected: encoder\.layers\.7\.extra\n  unexpected: surprise\.weight\n"
        r"  of another shape: encoder\.layer_norm\.weight: \[31\], wanted \[32\]"
    )
    with pytest.raises(ValueError, match=message):
        built("hubert", path)


def test_a_folder_with_a_pickle_alone_is_refused(folder: Folder) -> None:
    path = folder("wavlm")
    torch.save({"a": torch.zeros(3)}, path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds no model\.safetensors; wanted safetensors"):
        built("wavlm", path)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (
            "wav2vec2",
            {"conv_stride": (5, 2, 2, 2, 2, 2, 1)},
            r"config\.json is not .*conv_stride is \[5, 2.* 1\], wanted",
        ),
        ("wav2vec2", {"add_adapter": True}, r"add_adapter is True, wanted False"),
        ("whisper", {"max_source_positions": 751}, r"max_source_positions is 751, wanted 1500"),
        ("ast", {"max_length": 128}, r"config\.json is not that of ast:.*: max_length is 128, wanted 1024"),
    ],
)
def test_a_network_whose_rows_would_stand_elsewhere_is_refused(
    family: str, changes: dict[str, Any], message: str, folder: Folder
) -> None:
    path = folder(family, **changes)
    with pytest.raises(ValueError, match=message):
        random_net(family, path)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("hubert", {"sampling_rate": 8000}, r"preprocessor_config\.json is not .* sampling_rate is 8000, wanted 16000"),
        ("hubert", {"do_normalize": None}, r"says do_normalize: None; wanted true or false"),
        ("whisper", {"feature_size": 128}, r"feature_size is 128, wanted 80"),
        ("ast", {"num_mel_bins": 64}, r"num_mel_bins is 64, wanted 128"),
    ],
)
def test_input_of_another_kind_is_refused(family: str, changes: dict[str, Any], message: str, folder: Folder) -> None:
    path = folder(family, None, changes)
    with pytest.raises(ValueError, match=message):
        random_net(family, path)


def test_a_folder_of_another_family_and_files_that_are_not_there_are_said_so(folder: Folder) -> None:
    path = folder("hubert")
    with pytest.raises(ValueError, match=r"model_type is 'hubert', wanted 'wavlm'"):
        random_net("wavlm", path)
    (path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"preprocessor_config\.json is missing; wanted the folder of a hub model"):
        random_net("hubert", path)
    (path / "config.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"config\.json can't be read as JSON"):
        random_net("hubert", path)
    with pytest.raises(
        ValueError, match=r"hubert:facebook/x is known by its files alone; .* hubert:FOLDER with config"
    ):
        speech_encoders.build_hubert(Request("facebook/x"))


# ------------------------------------------------------------------------------------------------ the paper's


@pytest.mark.parametrize(
    ("family", "blocks"),
    [
        ("emo18", [(16, 8, 3, 10, 0), (32, 6, 2, 8, 0), (64, 6, 2, 8, 0)]),
        ("emo16", [(40, 20, 9, 2, 1), (40, 40, 19, 10, 4)]),
    ],
)
@torch.inference_mode()
def test_the_paper_s_other_networks_against_the_same_sums_written_out(
    family: str, blocks: list[tuple[int, int, int, int, int]]
) -> None:
    module = build_backbone(FeatureSettings(backbone=family, weights="random:3"))
    generator = torch.Generator().manual_seed(5)
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm1d)):
        norm.running_mean.copy_(torch.randn(len(norm.running_mean), generator=generator))
        norm.running_var.copy_(torch.rand(len(norm.running_var), generator=generator) + 0.5)
    module = module.double()
    state = {name: tensor.numpy() for name, tensor in module.network.state_dict().items()}
    sound = noise(0.17).reshape(2, -1).astype(np.float64)
    maps = sound[:, None]
    for number, (channels, kernel, padding, pool, pool_padding) in enumerate(blocks):
        weight, bias = state[f"{2 * number}.0.weight"], state[f"{2 * number}.0.bias"]
        assert weight.shape[::2] == (channels, kernel)
        norm = {n: state[f"{2 * number}.1.{n}"][:, None] for n in ("weight", "bias", "running_mean", "running_var")}
        seen = np.lib.stride_tricks.sliding_window_view(np.pad(maps, ((0, 0), (0, 0), (padding, padding))), kernel, 2)
        maps = np.einsum("nctk,dck->ndt", seen, weight) + bias[:, None]
        maps = (maps - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
        maps = np.where(maps > 0, maps, np.expm1(np.minimum(maps, 0)))
        ends = ((0, 0), (0, 0), (pool_padding, pool_padding))
        maps = np.lib.stride_tricks.sliding_window_view(np.pad(maps, ends, constant_values=-np.inf), pool, 2)
        maps = maps[:, :, ::pool].max(3)
    np.testing.assert_allclose(module(torch.from_numpy(sound)), maps.mean(2), rtol=1e-9, atol=1e-12)
    assert module(torch.zeros(3, 10560).double()).shape == (3, BACKBONES[family].width)
    assert sum(part.numel() for part in module.parameters()) == BACKBONES[family].parameters


def in_the_paper_s_names(family: str) -> tuple[dict[str, Tensor], nn.Module]:
    """A network's tensors as github.com/VincentKaras/abaw3_rnn_attn names them: `model.network.BLOCK.PART.name`."""
    module = build_backbone(FeatureSettings(backbone=family, weights="random:7"))
    named = {}
    number = -2
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.BatchNorm1d):
            number += 2 if isinstance(part, nn.Conv1d) else 0
            place = f"model.network.{number}.{int(isinstance(part, nn.BatchNorm1d))}"
            named |= {f"{place}.{name}": tensor.clone() for name, tensor in part.state_dict().items()}
    return named, module


@pytest.mark.parametrize("family", ["zhao19", "emo18", "emo16"])
@torch.inference_mode()
def test_checkpoints_of_the_paper_s_code_and_of_end2you_load_by_name(family: str, tmp_path: Path) -> None:
    named, original = in_the_paper_s_names(family)
    whole = {f"audio_model.{name}": tensor for name, tensor in named.items()}
    whole |= {"rnn.rnn.bias_hh_l0": torch.zeros(7), "linear.weight": torch.zeros(2, 5)}
    sound = torch.from_numpy(noise(0.66))[None]
    for state in (named, whole, dict(original.state_dict()) if family == "zhao19" else named):
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w.safetensors")
        module = build_backbone(FeatureSettings(backbone=family, weights=str(tmp_path / "w.safetensors")))
        torch.testing.assert_close(module(sound), original(sound), rtol=0, atol=0)


def test_the_public_zhao19_s_names_load_strictly(tmp_path: Path) -> None:
    listed = json.loads((Path(speech_encoders.__file__).parent / "names" / "zhao19_recola.json").read_text())
    assert len(listed["source"].split("/blob/")[1].split("/")[0]) == 40
    generator = torch.Generator().manual_seed(11)
    state = {
        name: torch.rand(shape, generator=generator) if shape else torch.tensor(7)
        for name, shape in listed["parameters"].items()
    }
    save_file(state, tmp_path / "zhao19.safetensors")
    module = build_backbone(FeatureSettings(backbone="zhao19", weights=str(tmp_path / "zhao19.safetensors")))
    loaded = module.state_dict()
    assert len(loaded) == len(state)
    assert torch.equal(loaded["blocks.12.weight"], state["audio_model.model.network.6.0.weight"])
    assert torch.equal(loaded["blocks.5.running_var"], state["audio_model.model.network.2.1.running_var"])


def test_a_checkpoint_of_end2you_s_trainer_is_refused_with_a_remedy(tmp_path: Path) -> None:
    held = {"epoch": 7, "state_dict": {"a": torch.zeros(3)}, "validation_score": np.float64(0.5)}
    torch.save(held, tmp_path / "zhao19.pth.tar")
    with pytest.raises(ValueError, match=r"hold more than tensors.*convert them outside, where you trust them"):
        build_backbone(FeatureSettings(backbone="zhao19", weights=str(tmp_path / "zhao19.pth.tar")))


# ------------------------------------------------------------------------------------------------ eGeMAPS


@cache
def egemaps() -> Any:
    pytest.importorskip("opensmile", reason="openSMILE is an extra")
    from extract.backbones.egemaps import build

    return build(Request("egemaps")).eval()


def test_egemaps_is_what_opensmile_says_of_each_window() -> None:
    module, opensmile = egemaps(), pytest.importorskip("opensmile")
    sounds = torch.from_numpy(noise(8).reshape(2, -1))
    out = module(sounds)
    assert out.shape == (2, BACKBONES["egemaps"].width)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    table = smile.process_signal(sounds[1].numpy(), RATE)
    assert table.columns[0] == "F0semitoneFrom27.5Hz_sma3nz_amean"
    np.testing.assert_array_equal(out[1], table.to_numpy()[0])
    assert module(torch.zeros(1, 64_000)).isfinite().all(), "silence too"
    assert module(sounds[:0]).shape == (0, 88)


@pytest.mark.slow
def test_a_click_is_in_the_middle_of_the_rows_of_egemaps_that_hear_it() -> None:
    windows = windows_of("egemaps", hop_samples=9001)
    energy, times = differences(egemaps(), windows, 5.3, (2.7183,))
    heard = times[energy > 1e-6 * energy.max()]
    assert abs((heard[0] + heard[-1]) / 2 - 2.7183) <= windows.hop_samples / RATE


def test_egemaps_without_opensmile_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from extract.backbones.egemaps import build

    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(ValueError, match=r"egemaps needs openSMILE .* research licence; .*duet-affect\[opensmile\]"):
        build(Request("egemaps"))


def test_nothing_of_these_files_is_imported_before_it_is_needed() -> None:
    names = {spec.builder.partition(":")[0] for spec in BACKBONES.values() if spec.modality == "audio"}
    assert "extract.backbones.speech_encoders" in names
    for name in names:
        source = (Path(speech_encoders.__file__).parent / f"{name.rpartition('.')[2]}.py").read_text()
        top = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
        assert not [line for line in top if line.split()[1].split(".")[0] in ("transformers", "opensmile")]
