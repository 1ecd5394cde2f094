"""Every registered backbone measured against what it declares, and where weights may come from."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import hub_models
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from extract.backbones.identity import identify
from extract.backbones.logmel import LogMel
from extract.backbones.registry import BACKBONES, Chunks, Windows, spec_of
from extract.backbones.weights import build_backbone, digest_of_state
from extract.recipe import FeatureSettings
from extract.worker import choose_device

# A model of each family that wants one; `family` alone is tried too where it may. Of a hub family it is a folder.
MODELS = {"torchvision": ["resnet18", "mobilenet_v3_small"], **{family: ["tiny"] for family in hub_models.FAMILIES}}
NAMES = [
    name
    for family, spec in BACKBONES.items()
    for name in ([family] if spec.model != "required" else [])
    + [f"{family}:{model}" for model in MODELS.get(family, ())]
]
SIZES_PX = {"facenet": 79, "minifasnet": 80, "mobilefacenet": 112}  # those that don't take any size
N = 3


def settings_of(backbone: str, **changes: Any) -> FeatureSettings:
    spec = spec_of(backbone)
    if spec.extra is not None:
        pytest.importorskip(spec.extra, reason=f"the extra {spec.extra} is not installed")
    needed: dict[str, Any] = {"weights": "random:3"} if spec.has_weights else {}
    needed |= {} if spec.commercial else {"accept_non_commercial": True}
    return FeatureSettings(**{"backbone": backbone, **needed, **changes})


def some_input(backbone: str, rows: int = N) -> Tensor:
    """Pictures [N, 3, S, S] as the worker gives them, or sound [N, W]: a window or a chunk."""
    spec, identity = spec_of(backbone), identify(settings_of(backbone))
    generator = torch.Generator().manual_seed(17)
    if spec.modality == "visual":
        size_px = identity.size_px if spec.hub else SIZES_PX.get(backbone, 67)
        assert size_px is not None
        pixels = torch.rand(rows, 3, size_px, size_px, generator=generator)
        mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (identity.mean, identity.std))
        return (pixels - mean) / std
    if isinstance(spec.sound, Windows):
        samples = spec.sound.window_samples
    else:
        assert isinstance(spec.sound, Chunks)
        samples = spec.sound.body_samples + 2 * spec.sound.context_samples
    return torch.rand(rows, samples, generator=generator) * 2 - 1


@pytest.fixture
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A name of NAMES, the folder of a hub model written. Skips an optional dependency that is not here."""
    backbone: str = request.param
    spec, family = spec_of(backbone), backbone.partition(":")[0]
    if spec.extra is not None and importlib.util.find_spec(spec.extra) is None:
        pytest.skip(f"the extra {spec.extra} is not installed")
    return f"{family}:{hub_models.write_description(family, tmp_path / 'tiny')}" if spec.hub else backbone


def test_every_family_of_the_registry_is_measured_below() -> None:
    assert {name.partition(":")[0] for name in NAMES} == set(BACKBONES), "name a model of the new family in MODELS"


@pytest.mark.parametrize("name", NAMES, indirect=True)
@torch.inference_mode()
def test_a_backbone_is_what_it_declares(name: str) -> None:
    spec, module, given = spec_of(name), build_backbone(settings_of(name)), some_input(name)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert spec.has_weights == bool(list(module.parameters()))
    assert (spec.parameters is None) == (spec.model == "required" or not spec.has_weights), "fixed nets say how many"
    assert spec.parameters in (None, sum(parameter.numel() for parameter in module.parameters()))
    assert spec.licence
    assert spec.source
    out = module(given)
    assert out.dtype == torch.float32
    if isinstance(spec.sound, Chunks):
        end_half_samples = 2 * (spec.sound.body_samples + spec.sound.context_samples)
        rows = (end_half_samples - spec.sound.first_centre_half_samples) / (2 * spec.sound.hop_samples)
        assert out.ndim == 3
        assert out.shape[0] == N
        assert out.shape[1] >= rows, "a row every hop, up to the end of the body"
    else:
        assert out.ndim == 2
        assert out.shape[0] == N
    width = out.shape[-1]
    assert width > 0
    assert spec.width in (None, width)
    assert out.isfinite().all()
    assert out.std(0).max() > 0, "other inputs, other embeddings"
    silence = torch.zeros_like(given)
    assert module(silence).isfinite().all(), "black and silence too"
    # Which rows share a batch only changes the order in which float32 sums are taken.
    tolerance = {"rtol": 1e-4, "atol": 1e-5 * float(out.abs().max())}
    torch.testing.assert_close(torch.cat([module(row[None]) for row in given]), out, **tolerance)
    torch.testing.assert_close(module(given.flip(0)).flip(0), out, **tolerance)
    if not isinstance(spec.sound, Chunks):
        assert module(given[:0]).shape == (0, width), "a batch of no rows has the width too"


@pytest.mark.parametrize("name", [name for name in NAMES if spec_of(name).modality == "audio"])
def test_a_sound_backbone_says_its_times(name: str) -> None:
    spec = spec_of(name)
    assert spec.sound is not None
    assert spec.rate_hz > 0
    assert spec.sound.hop_samples > 0
    assert settings_of(name).hop_samples == spec.sound.hop_samples


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"'zao19' is not known; there are torchvision, .*; did you mean zhao19\?"):
        spec_of("zao19")
    with pytest.raises(ValueError, match=r"torchvision has no classifier 'resnet19'; it has .*resnet18"):
        build_backbone(settings_of("torchvision:resnet19"))


# ------------------------------------------------------------------------------------------------ the nets


def test_zhao19_has_the_paper_s_number_of_parameters_and_shape() -> None:
    module = build_backbone(settings_of("zhao19"))
    # By hand: convolutions 1-64-64-128-128 of kernel 3 with biases, and two numbers a channel of batch norm.
    by_hand = sum(3 * a * b + b + 2 * b for a, b in ((1, 64), (64, 64), (64, 128), (128, 128)))
    assert sum(parameter.numel() for parameter in module.parameters()) == by_hand == 87_360


@torch.inference_mode()
def test_zhao19_against_the_same_sums_written_out() -> None:
    module = build_backbone(settings_of("zhao19")).double()
    sound = some_input("zhao19", 2)[:, :1031].double()
    maps = sound.numpy()[:, None]
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    for block in range(4):
        weight, bias = state[f"blocks.{4 * block}.weight"], state[f"blocks.{4 * block}.bias"]
        norm = {
            what: state[f"blocks.{4 * block + 1}.{what}"] for what in ("weight", "bias", "running_mean", "running_var")
        }
        padded = np.pad(maps, ((0, 0), (0, 0), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)  # [N, C, W, 3]
        maps = np.einsum("ncwk,dck->ndw", windows, weight) + bias[:, None]
        maps = (maps - norm["running_mean"][:, None]) / np.sqrt(norm["running_var"][:, None] + 1e-5)
        maps = maps * norm["weight"][:, None] + norm["bias"][:, None]
        maps = np.where(maps > 0, maps, np.expm1(np.minimum(maps, 0)))
        length = maps.shape[2] // 4
        maps = maps[:, :, : 4 * length].reshape(*maps.shape[:2], length, 4).max(3)
    np.testing.assert_allclose(module(sound), maps.mean(2), rtol=1e-9, atol=1e-12)  # float64 sums in another order


def slow_logmel(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """[W] to [64], straight from the definition: every frequency and every band in a loop."""
    length = len(sound)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / length) for n in range(length)]
    tapered = sound * window
    power = []
    for k in range(513):
        turns = np.exp(-2j * math.pi * k * np.arange(length) / 1024)
        power.append(abs(complex((tapered * turns).sum())) ** 2 / sum(w * w for w in window))

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = [700 * (10 ** ((mel(60) + i * (mel(7600) - mel(60)) / 65) / 2595) - 1) for i in range(66)]
    bands = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        weights = []
        for k in range(513):
            hertz = k * 16000 / 1024
            inside = (hertz - left) / (centre - left) if hertz <= centre else (right - hertz) / (right - centre)
            weights.append(max(0.0, inside))
        bands.append(math.log(sum(w * p for w, p in zip(weights, power, strict=True)) / sum(weights) + 1e-6))
    return np.array(bands)


@torch.inference_mode()
def test_logmel_against_its_definition() -> None:
    sound = np.random.default_rng(19).uniform(-0.7, 0.7, 400)
    fast = LogMel()(torch.from_numpy(sound[None]).float())[0].numpy()
    np.testing.assert_allclose(fast, slow_logmel(sound), atol=2e-5)  # float32 spectra


@pytest.mark.parametrize("hertz", [220, 997, 3989])
@torch.inference_mode()
def test_a_pure_tone_is_in_its_band_and_silence_in_none(hertz: int) -> None:
    time = torch.arange(400) / 16000
    bands = LogMel()((0.5 * torch.sin(2 * math.pi * hertz * time))[None])[0]
    edges = np.linspace(*(2595 * np.log10(1 + np.array([60, 7600]) / 700)), 66)
    nearest = int(np.abs(edges[1:-1] - 2595 * np.log10(1 + hertz / 700)).argmin())
    assert abs(int(bands.argmax()) - nearest) <= 1  # the tone may lie between two bands
    assert (LogMel()(torch.zeros(1, 400)) - math.log(1e-6)).abs().max() < 1e-5


def test_each_band_weighs_the_spectrum_to_one() -> None:
    bands = LogMel().bands
    assert bands.shape == (513, 64)
    assert (bands.sum(0) - 1).abs().max() < 1e-6
    assert bands.min() >= 0


# ------------------------------------------------------------------------------------------------ layers


RESNET = "torchvision:resnet18"


@torch.inference_mode()
def test_a_layer_is_the_network_s_own_activation_pooled() -> None:
    given = some_input(RESNET, 2)
    network = build_backbone(settings_of(RESNET, layer="layer2")).network
    seen: list[Tensor] = []
    hook = network.layer2.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(given)
    hook.remove()
    (maps,) = seen
    assert maps.shape[1:3] == (128, 9)
    mean = build_backbone(settings_of(RESNET, layer="layer2"))(given)
    torch.testing.assert_close(mean, maps.mean((2, 3)), rtol=1e-5, atol=1e-6)  # sums in another order
    grid = build_backbone(settings_of(RESNET, layer="layer2", pool="grid:3"))(given)
    by_hand = maps.reshape(2, 128, 3, 3, 3, 3).mean((3, 5))
    torch.testing.assert_close(grid, by_hand.flatten(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grid.reshape(2, 128, 9).mean(2), mean, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_without_a_layer_it_is_what_the_classes_are_made_of() -> None:
    given = some_input(RESNET, 2)
    last = build_backbone(settings_of(RESNET))(given)
    whole = build_backbone(settings_of(RESNET, layer="fc"))
    torch.testing.assert_close(whole.network.fc(last), whole(given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "vit_b_32", "swin_t", "convnext_tiny"])
@pytest.mark.slow
@torch.inference_mode()
def test_other_classifiers_of_torchvision_can_be_cut_too(name: str) -> None:
    module = build_backbone(settings_of(f"torchvision:{name}"))
    out = module(torch.rand(2, 3, 224, 224))
    assert out.shape[0] == 2
    assert out.ndim == 2
    assert out.shape[1] not in (1000, 0)
    assert out.isfinite().all()


def test_an_unknown_layer_and_a_grid_without_places_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'layer9' is not in the network; it has .*layer1, .*and what is in them"):
        build_backbone(settings_of(RESNET, layer="layer9"))
    flat = build_backbone(settings_of(RESNET, layer="flatten", pool="grid:2"))
    with pytest.raises(ValueError, match=r"layer 'flatten' has no places to pool to grid:2; it gives \[3, 512\]"):
        flat(some_input(RESNET))


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("backbone", ["zhao19", RESNET])
def test_random_weights_are_those_of_their_seed(backbone: str) -> None:
    before = torch.get_rng_state()
    digests = []
    for seed in (3, 3, 5):
        torch.rand(7)  # the state of the process has no say
        digests.append(digest_of_state(build_backbone(settings_of(backbone, weights=f"random:{seed}"))))
    assert digests[0] == digests[1] != digests[2]
    torch.set_rng_state(before)
    build_backbone(settings_of(backbone))
    assert torch.equal(torch.get_rng_state(), before), "and building leaves it alone"


@torch.inference_mode()
def test_a_file_for_torchvision_has_torchvision_s_own_names(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(29)
    network = torchvision.models.resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    module = build_backbone(settings_of(RESNET, weights=str(tmp_path / "resnet18.pth")))
    network.fc = nn.Identity()
    torch.testing.assert_close(module(some_input(RESNET)), network(some_input(RESNET)), rtol=0, atol=0)


def test_default_weights_that_can_not_be_had_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def unreachable(*arguments: Any, **options: Any) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(ValueError, match=r"are not on this machine .*resnet18-f37072fd\.pth into .*random:SEED"):
        build_backbone(settings_of(RESNET, weights="default"))


# ------------------------------------------------------------------------------------------------ devices


def test_a_device_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device 'gpu' can't be used \(.*\); try auto or cpu"):
        choose_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
