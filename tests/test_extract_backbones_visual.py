"""The paper's visual nets: names as in public checkpoints, numbers as from the same sums written otherwise."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import Tensor, nn

from extract.backbones.registry import Request, spec_of
from extract.backbones.weights import build_backbone
from extract.recipe import FeatureSettings

NAMES = Path(__file__).parent.parent / "extract/backbones/names"
LISTS = {
    "facenet": "facenet.json",
    "mobilefacenet": "mobilefacenet.json",
    "vggface2-resnet50": "vggface2_resnet50.json",
    "vggface2-senet50": "vggface2_senet50.json",
    "minifasnet": "minifasnet.json",
}
HEADS = {
    "facenet": {"logits.weight", "logits.bias"},
    "mobilefacenet": {
        "output_layer.linear.weight",
        *(f"output_layer.bn.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    },
    "vggface2-resnet50": {"fc.weight", "fc.bias"},
    "vggface2-senet50": {"fc.weight", "fc.bias"},
    "minifasnet": {"prob.weight"},
}


def net(backbone: str, weights: str = "random:3") -> Any:
    return build_backbone(FeatureSettings(backbone=backbone, weights=weights))


def listed(backbone: str) -> dict[str, list[int]]:
    parameters: dict[str, list[int]] = json.loads((NAMES / LISTS[backbone]).read_text())["parameters"]
    return parameters


def made_up(shapes: Mapping[str, list[int]], seed: int = 23) -> dict[str, Tensor]:
    """A checkpoint with these names and shapes: small weights, and variances above 0."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=generator) + 0.5
        else:
            fan_in = max(1, int(np.prod(shape[1:])))
            state[name] = torch.randn(shape, generator=generator) / fan_in**0.5
    return state


def some_pictures(backbone: str, rows: int = 2, size_px: int | None = None) -> Tensor:
    """Smooth pictures [N, 3, S, S], no two alike, as the network gets them."""
    spec = spec_of(backbone)
    assert spec.mean is not None
    assert spec.std is not None
    coarse = torch.rand(rows, 3, 5, 5, generator=torch.Generator().manual_seed(17))
    size = size_px or spec.size_px
    pixels = (F.interpolate(coarse, size=(size, size), mode="bilinear") * 255).round() / 255
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (spec.mean, spec.std))
    return (pixels - mean) / std


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("backbone", LISTS)
def test_a_file_with_the_public_names_loads_whole(tmp_path: Path, backbone: str) -> None:
    path = tmp_path / "public.safetensors"
    state = made_up(listed(backbone))
    save_file(state, path)
    loaded = net(backbone, str(path)).state_dict()
    bare = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    assert bare.keys() - loaded.keys() == HEADS[backbone], "left out are the heads, and nothing else"
    counters = {name for name in loaded if name.endswith("num_batches_tracked")}
    assert loaded.keys() - bare.keys() in (set(), counters), "Caffe counted no batches"
    assert all(torch.equal(loaded[name], bare[name]) for name in loaded.keys() & bare.keys())


@pytest.mark.parametrize("backbone", LISTS)
def test_a_list_of_names_says_where_it_is_from(backbone: str) -> None:
    said = json.loads((NAMES / LISTS[backbone]).read_text())
    assert said["source"].startswith("https://github.com/")
    assert any(len(part) == 40 and set(part) <= set("0123456789abcdef") for part in said["source"].split("/"))
    assert said["checkpoint"]
    assert said["read"]
    for published in spec_of(backbone).published.values():
        assert published.names == LISTS[backbone]
        assert said["checkpoint"] in published.url


def empty_net(backbone: str) -> Any:
    """The network without numbers, which costs nothing to make."""
    module_name, _, function = spec_of(backbone).builder.partition(":")
    with torch.device("meta"):
        return getattr(import_module(module_name), function)(Request(""))


@pytest.mark.parametrize("backbone", LISTS)
def test_a_rule_leaves_out_the_heads_of_any_size_and_nothing_else(backbone: str) -> None:
    module = empty_net(backbone)
    state = {name.removeprefix("module."): torch.empty(0) for name in listed(backbone)}
    wanted = module.state_dict().keys()
    assert module.own_names(state).keys() == wanted
    assert module.own_names({n: t for n, t in state.items() if n not in HEADS[backbone]}).keys() == wanted
    gone = next(name for name in state if name.startswith("conv"))
    del state[gone]
    others = ("headless.weight", "fcx.weight", "logitsx.bias", "probx.weight", "output_layer.lineary.weight")
    own = module.own_names({**state, **{name: torch.empty(0) for name in others}}).keys()
    assert own - wanted == set(others), "what no rule speaks of stays in, for the loader to refuse"
    assert wanted - own == {gone}


def test_a_file_of_another_net_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    state = made_up(listed("mobilefacenet"))
    del state["conv1.conv.weight"]
    save_file({**state, "headless.weight": torch.zeros(3)}, path)
    message = r"not those of mobilefacenet: (?s:.)*missing: conv1\.conv\.weight\n.*unexpected: headless\.weight"
    with pytest.raises(ValueError, match=message):
        net("mobilefacenet", str(path))


# ------------------------------------------------------------------------------------------------ what is declared


@pytest.mark.parametrize("backbone", LISTS)
@torch.inference_mode()
def test_random_weights_tell_pictures_apart_at_a_sensible_size(backbone: str) -> None:
    spec, module = spec_of(backbone), net(backbone)
    assert sum(parameter.numel() for parameter in module.parameters()) == spec.parameters
    out = module(some_pictures(backbone))
    assert out.shape == (2, spec.width)
    size = out.square().mean().sqrt()
    assert 1e-3 < float(size) < 1e3, "far from what float16 can't hold"
    assert (out[0] - out[1]).square().mean().sqrt() > 0.01 * size


@pytest.mark.parametrize(
    ("backbone", "formula"),
    [
        ("facenet", lambda value, colour: (value - 127.5) / 128),
        ("mobilefacenet", lambda value, colour: value / 127.5 - 1),
        ("vggface2-resnet50", lambda value, colour: value - {"r": 131.0912, "g": 103.8827, "b": 91.4953}[colour]),
        ("vggface2-senet50", lambda value, colour: value - {"r": 131.0912, "g": 103.8827, "b": 91.4953}[colour]),
        ("minifasnet", lambda value, colour: value),
    ],
)
def test_values_of_0_to_255_become_what_the_checkpoint_was_trained_on(
    backbone: str, formula: Callable[[int, str], float]
) -> None:
    spec = spec_of(backbone)
    assert spec.mean is not None
    assert spec.std is not None
    for value in (0, 31, 127, 255):
        for colour, mean, std in zip("rgb", spec.mean, spec.std, strict=True):
            assert (value / 255 - mean) / std == pytest.approx(formula(value, colour), abs=1e-9)


@pytest.mark.parametrize(
    ("backbone", "size_px", "wanted"),
    [
        ("facenet", 71, "75 px or more"),
        ("mobilefacenet", 96, "112 px"),
        ("minifasnet", 97, "80 px"),
        ("vggface2-senet50", 31, "32 px or more"),
    ],
)
def test_pictures_of_a_size_that_a_net_can_t_see_are_refused(backbone: str, size_px: int, wanted: str) -> None:
    with pytest.raises(ValueError, match=rf"wants pictures of {wanted}.*got \[2, 3, {size_px}, {size_px}\]"):
        filled(backbone, some_state(backbone))(some_pictures(backbone, size_px=size_px))


# ------------------------------------------------------------------------------------------------ the same otherwise


def _norm(state: Mapping[str, Tensor], name: str, maps: Tensor, eps: float) -> Tensor:
    return F.batch_norm(
        maps,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state[f"{name}.weight"],
        state[f"{name}.bias"],
        eps=eps,
    )


@functools.cache
def some_state(backbone: str) -> Mapping[str, Tensor]:
    """A checkpoint without heads, which are most of its bytes."""
    return made_up({n.removeprefix("module."): s for n, s in listed(backbone).items() if n not in HEADS[backbone]})


def filled(backbone: str, state: Mapping[str, Tensor]) -> Any:
    module = empty_net(backbone)
    module.load_state_dict(module.own_names(state), strict=True, assign=True)
    return module.eval()


@torch.inference_mode()
def test_resnet50_is_torchvision_s_with_its_strides_moved() -> None:
    state = some_state("vggface2-resnet50")
    module = filled("vggface2-resnet50", state)
    with torch.device("meta"):
        other = torchvision.models.resnet50().eval()
    del other.fc
    other.load_state_dict(module.state_dict(), strict=True, assign=True)
    for stage in (other.layer2, other.layer3, other.layer4):
        stage[0].conv1.stride, stage[0].conv2.stride = stage[0].conv2.stride, stage[0].conv1.stride
    other.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    other.fc = nn.Identity()
    given = some_pictures("vggface2-resnet50", size_px=101)
    torch.testing.assert_close(module(given), other(given[:, [2, 1, 0]]), rtol=1e-4, atol=1e-4)  # float32 sums
    assert not torch.allclose(module(given), other(given), rtol=1e-2), "red is not blue"


@torch.inference_mode()
def test_excitation_that_says_a_half_everywhere_is_half_of_each_block() -> None:
    state = some_state("vggface2-senet50")
    silent = {name: torch.zeros_like(t) if "conv5." in name else t for name, t in state.items()}  # sigmoid(0) = 1 / 2
    plain = {name: t for name, t in state.items() if "conv4." not in name and "conv5." not in name}
    halved = {n: t / 2 if n.endswith(("bn3.weight", "bn3.bias")) else t for n, t in plain.items()}
    given = some_pictures("vggface2-senet50", size_px=67)
    squeezed = filled("vggface2-senet50", silent)(given)
    unsqueezed = filled("vggface2-resnet50", halved)(given)
    torch.testing.assert_close(squeezed, unsqueezed, rtol=1e-4, atol=1e-5)  # float32 sums


@torch.inference_mode()
def test_a_squeezed_block_against_the_same_sums_written_out() -> None:
    state = some_state("vggface2-senet50")
    module = filled("vggface2-senet50", state)
    maps = torch.rand(2, 256, 11, 7, generator=torch.Generator().manual_seed(5))
    part = {n.removeprefix("layer2.0."): t for n, t in state.items() if n.startswith("layer2.0.")}
    out = F.relu(_norm(part, "bn1", F.conv2d(maps, part["conv1.weight"], stride=2), 1e-5))
    out = F.relu(_norm(part, "bn2", F.conv2d(out, part["conv2.weight"], padding=1), 1e-5))
    out = _norm(part, "bn3", F.conv2d(out, part["conv3.weight"]), 1e-5)
    inner = F.relu(out.mean((2, 3)) @ part["conv4.weight"][:, :, 0, 0].T + part["conv4.bias"])
    share = 1 / (1 + torch.exp(-(inner @ part["conv5.weight"][:, :, 0, 0].T + part["conv5.bias"])))
    beside = _norm(part, "downsample.1", F.conv2d(maps, part["downsample.0.weight"], stride=2), 1e-5)
    by_hand = F.relu(out * share[:, :, None, None] + beside)
    torch.testing.assert_close(module.get_submodule("layer2")[0](maps), by_hand, rtol=1e-4, atol=1e-5)


class ByNames:
    """FaceNet and MobileFaceNet as functions of a checkpoint's names: no module, no class."""

    def __init__(self, state: Mapping[str, Tensor], eps: float) -> None:
        self.state, self.eps = state, eps

    def unit(self, name: str, maps: Tensor, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
        """Convolution and norm, then PReLU where the checkpoint has one."""
        weight = self.state[f"{name}.conv.weight"]
        groups = maps.shape[1] // weight.shape[1]
        out = F.conv2d(maps, weight, None, stride, padding, groups=groups)
        out = _norm(self.state, f"{name}.bn", out, self.eps)
        slope = self.state.get(f"{name}.prelu.weight")
        return out if slope is None else F.prelu(out, slope)

    def bottleneck(self, name: str, maps: Tensor, stride: int) -> Tensor:
        out = self.unit(f"{name}.conv", maps)
        return self.unit(f"{name}.project", self.unit(f"{name}.conv_dw", out, stride, 1))

    def residuals(self, name: str, maps: Tensor) -> Tensor:
        block = 0
        while f"{name}.model.{block}.conv.conv.weight" in self.state:
            maps = maps + self.bottleneck(f"{name}.model.{block}", maps, 1)
            block += 1
        return maps

    def mobile_trunk(self, pixels: Tensor) -> Tensor:
        maps = self.unit("conv2_dw", self.unit("conv1", pixels, 2, 1), 1, 1)
        for down, rest in (("conv_23", "conv_3"), ("conv_34", "conv_4"), ("conv_45", "conv_5")):
            maps = self.residuals(rest, self.bottleneck(down, maps, 2))
        return self.unit("conv_6_sep", maps)

    def branch(self, name: str, maps: Tensor, last_stride: int) -> Tensor:
        """One unit, or several in a row; what is wider than 1 is padded to keep its places, but for a last stride."""
        names = [name] if f"{name}.conv.weight" in self.state else []
        while not names or (f"{name}.{len(names)}.conv.weight" in self.state and names != [name]):
            names.append(f"{name}.{len(names)}")
        for unit in names:
            strides = last_stride if unit == names[-1] else 1
            high, wide = self.state[f"{unit}.conv.weight"].shape[2:]
            maps = F.relu(self.unit(unit, maps, strides, (0, 0) if strides > 1 else (high // 2, wide // 2)))
        return maps

    def branches(self, name: str, maps: Tensor, stride: int = 1) -> list[Tensor]:
        count = len({key.removeprefix(f"{name}.")[:7] for key in self.state if key.startswith(f"{name}.branch")})
        return [self.branch(f"{name}.branch{i}", maps, stride) for i in range(count)]

    def residual(self, name: str, maps: Tensor, scale: float) -> Tensor:
        weight, bias = self.state[f"{name}.conv2d.weight"], self.state[f"{name}.conv2d.bias"]
        return maps + scale * F.conv2d(torch.cat(self.branches(name, maps), 1), weight, bias)

    def facenet(self, pixels: Tensor) -> Tensor:
        maps = F.relu(self.unit("conv2d_1a", pixels, 2))
        maps = F.relu(self.unit("conv2d_2b", F.relu(self.unit("conv2d_2a", maps)), 1, 1))
        maps = F.relu(self.unit("conv2d_3b", F.max_pool2d(maps, 3, 2)))
        maps = F.relu(self.unit("conv2d_4b", F.relu(self.unit("conv2d_4a", maps)), 2))
        for repeat, blocks, scale, reduction in (
            ("repeat_1", 5, 0.17, "mixed_6a"),
            ("repeat_2", 10, 0.1, "mixed_7a"),
            ("repeat_3", 5, 0.2, None),
        ):
            for block in range(blocks):
                maps = F.relu(self.residual(f"{repeat}.{block}", maps, scale))
            if reduction is not None:
                maps = torch.cat([*self.branches(reduction, maps, 2), F.max_pool2d(maps, 3, 2)], 1)
        maps = self.residual("block8", maps, 1.0)
        out = _norm(self.state, "last_bn", maps.mean((2, 3)) @ self.state["last_linear.weight"].T, self.eps)
        return out / out.square().sum(1, keepdim=True).sqrt()


@torch.inference_mode()
def test_facenet_against_the_same_sums_by_name() -> None:
    state = some_state("facenet")
    module = filled("facenet", state)
    given = some_pictures("facenet", size_px=107)
    out = module(given)
    torch.testing.assert_close(out, ByNames(state, 0.001).facenet(given), rtol=1e-3, atol=1e-5)  # float32 sums
    torch.testing.assert_close(out.square().sum(1), torch.ones(2))


@torch.inference_mode()
def test_mobilefacenet_against_the_same_sums_by_name() -> None:
    state = some_state("mobilefacenet")
    module = filled("mobilefacenet", state)
    given, by_names = some_pictures("mobilefacenet"), ByNames(state, 1e-5)
    by_hand = by_names.unit("output_layer.conv_6_dw", by_names.mobile_trunk(given)).flatten(1)
    torch.testing.assert_close(module(given), by_hand, rtol=1e-4, atol=1e-5)  # float32 sums


def minifasnet_by_names(state: Mapping[str, Tensor], pixels: Tensor) -> Tensor:
    by_names = ByNames(state, 1e-5)
    maps = by_names.unit("conv_6_dw", by_names.mobile_trunk(pixels[:, [2, 1, 0]])).flatten(1)
    return _norm(state, "bn", maps @ state["linear.weight"].T, 1e-5)


@torch.inference_mode()
def test_minifasnet_against_the_same_sums_by_name() -> None:
    state = some_state("minifasnet")
    module = filled("minifasnet", state)
    given = some_pictures("minifasnet") / 100  # as large as trained weights would make them
    torch.testing.assert_close(module(given), minifasnet_by_names(state, given), rtol=1e-3, atol=1e-4)  # float32 sums


# ------------------------------------------------------------------------------------------------ the real file


def with_surroundings(path: Path, box: tuple[int, int, int, int]) -> Tensor:
    """[1, 3, 80, 80]: a box (left, top, width, height, px of the upright picture) 2.7 times as large, or as fits."""
    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    left, top, width, height = box
    scale = min(2.7, (picture.width - 1) / width, (picture.height - 1) / height)
    x = min(max(left + width / 2 - scale * width / 2, 0), picture.width - scale * width)
    y = min(max(top + height / 2 - scale * height / 2, 0), picture.height - scale * height)
    square = picture.crop((int(x), int(y), int(x + scale * width), int(y + scale * height))).resize((80, 80))
    return torch.from_numpy(np.array(square, np.float32)).permute(2, 0, 1)[None]


@pytest.mark.samples
@torch.inference_mode()
def test_the_real_minifasnet_tells_a_face_from_its_picture(samples: Callable[[str], Path]) -> None:
    path = samples("weights/minifasnet/2.7_80x80_MiniFASNetV2.pth")
    module = net("minifasnet", str(path))
    held = torch.load(path, map_location="cpu", weights_only=True)
    assert {name: list(tensor.shape) for name, tensor in held.items()} == listed("minifasnet")
    classes = held["module.prob.weight"]  # the second one is a real face
    real = with_surroundings(samples("faces/image_T1.jpg"), (119, 109, 177, 248))
    spoof = with_surroundings(samples("faces/image_F1.jpg"), (188, 110, 190, 246))
    assert float((module(real) @ classes.T).softmax(1)[0, 1]) > 0.9
    assert float((module(spoof) @ classes.T).softmax(1)[0, 1]) < 0.1
    bare = {name.removeprefix("module."): tensor for name, tensor in held.items()}
    torch.testing.assert_close(module(real), minifasnet_by_names(bare, real), rtol=1e-3, atol=1e-4)  # float32 sums
