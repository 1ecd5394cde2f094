"""Visual networks of transformers and timm, from folders as a hub repository holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from extract.backbones.identity import identify
from extract.backbones.registry import Request
from extract.backbones.timm_vision import build as build_timm
from extract.backbones.transformers_vision import build
from extract.backbones.weights import build_backbone, digest_of_state
from extract.recipe import FeatureSettings
from tests.hub_folders import BLOCKS, MEAN, PATCH_PX, SIZE_PX, STD, WIDTH, save_model, save_timm, tiny

N = 2
EDGE = SIZE_PX // PATCH_PX


def pictures(size_px: int = SIZE_PX, rows: int = N) -> Tensor:
    return torch.rand(rows, 3, size_px, size_px, generator=torch.Generator().manual_seed(17)) * 2 - 1


def from_folder(folder: Path, **changes: Any) -> Any:
    return build(Request("some/name", folder=folder, **changes)).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    kinds = ["ViTModel", "ViTForImageClassification", "Dinov2WithRegistersModel", "CLIPModel", "SiglipModel"]
    kinds += ["ConvNextModel", "SwinModel"]
    return {kind: tiny(kind) for kind in kinds}


@pytest.fixture(scope="module")
def folders(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("hub")
    return {kind: save_model(model, top / kind) for kind, model in models.items()}


def tower(models: dict[str, Any], kind: str) -> Any:
    """The visual part of a whole model, as the library itself would use it."""
    model = models[kind]
    return getattr(model, "vision_model", getattr(model, "vit", model))


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize(
    "kind",
    [
        "ViTModel",
        "ViTForImageClassification",
        "Dinov2WithRegistersModel",
        "CLIPModel",
        "SiglipModel",
        "ConvNextModel",
        "SwinModel",
    ],
)
@torch.inference_mode()
def test_what_is_loaded_gives_the_states_of_the_whole_model(
    models: dict[str, Any], folders: dict[str, Path], kind: str
) -> None:
    given = pictures()
    whole = tower(models, kind)(pixel_values=given)
    state = whole.last_hidden_state
    out = from_folder(folders[kind])(given)
    if state.ndim == 4:
        by_hand = state.mean((2, 3))
    else:
        places = {"SwinModel": 2, "SiglipModel": EDGE}.get(kind, EDGE) ** 2
        by_hand = state[:, state.shape[1] - places :].mean(1)  # class and registers stand first
    assert out.shape == (N, WIDTH)
    torch.testing.assert_close(out, by_hand, rtol=1e-4, atol=1e-5)  # means by another kernel
    if kind != "ViTForImageClassification":
        pooled = from_folder(folders[kind], pool="pooler")(given)
        torch.testing.assert_close(pooled, whole.pooler_output.flatten(1), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_through_settings_a_folder_is_a_backbone(models: dict[str, Any], folders: dict[str, Path]) -> None:
    folder = folders["CLIPModel"]
    feature = FeatureSettings(backbone="transformers-vision:some/clip", weights=str(folder))
    identity = identify(feature)
    assert (identity.size_px, identity.mean, identity.std) == (SIZE_PX, tuple(MEAN), tuple(STD))
    module = build_backbone(feature, identity)
    torch.testing.assert_close(module(pictures()), from_folder(folder)(pictures()), rtol=0, atol=0)
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert not any("text" in name or "projection" in name for name, _ in module.named_parameters())


def test_random_weights_are_those_of_the_folder_s_architecture(folders: dict[str, Path]) -> None:
    digests = []
    for seed in (3, 3, 5):
        feature = FeatureSettings(
            backbone=f"transformers-vision:{folders['ViTModel']}", weights=f"random:{seed}", crop={"size_px": SIZE_PX}
        )
        module = build_backbone(feature)
        digests.append(digest_of_state(module))
        assert module(pictures()).shape == (N, WIDTH)
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(
        ValueError, match=r"transformers-vision:some/name needs its files: .*transformers-vision:FOLDER"
    ):
        build(Request("some/name"))


def changed(folder: Path, to: Path, **tensors: Tensor | None) -> Path:
    """A copy of a folder whose file holds other tensors; None takes one out."""
    to.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    state = {**load_file(folder / "model.safetensors"), **tensors}
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    save_file(kept, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_every_difference_that_no_rule_allows_is_listed(folders: dict[str, Path], tmp_path: Path) -> None:
    bias = "vision_model.encoder.layers.1.mlp.fc1.bias"
    shaped = "vision_model.embeddings.position_embedding.weight"
    odd = changed(
        folders["CLIPModel"],
        tmp_path / "odd",
        **{bias: None, shaped: torch.zeros(5, WIDTH), "vision_model.extra.weight": torch.zeros(3)},
    )
    message = r"1 missing, 1 unexpected, 1 of another shape(?s:.)*layers\.1\.mlp\.fc1\.bias\n(?s:.)*extra\.weight\n"
    with pytest.raises(ValueError, match=message + r".*position_embedding\.weight: \[5, 26\], wanted \[17, 26\]"):
        from_folder(odd)


def test_a_pooler_that_the_file_lacks_matters_only_if_asked_for(folders: dict[str, Path]) -> None:
    assert from_folder(folders["ViTForImageClassification"]).network.pooler is None
    with pytest.raises(ValueError, match=r"2 missing(?s:.)*pooler\.dense\.bias\n.*pooler\.dense\.weight"):
        from_folder(folders["ViTForImageClassification"], pool="pooler")


def test_only_safetensors_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(folders["ViTModel"], tmp_path / "pickled")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pickled holds no model\.safetensors"):
        from_folder(folder)


def test_folders_that_mean_no_visual_network_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(folders["ViTModel"], tmp_path / "other")
    for said, message in (
        ({"model_type": "no-such-model"}, "means no model that transformers knows: "),
        ({"model_type": "bert"}, "bert is no visual model, it reads input_ids"),
    ):
        (folder / "config.json").write_text(json.dumps(said))
        with pytest.raises(ValueError, match=message):
            from_folder(folder)


# ------------------------------------------------------------------------------------------------ layer and pool


@torch.inference_mode()
def test_a_layer_is_a_hidden_state_and_a_pool_a_part_of_it(models: dict[str, Any], folders: dict[str, Path]) -> None:
    given, folder = pictures(), folders["Dinov2WithRegistersModel"]
    states = models["Dinov2WithRegistersModel"](pixel_values=given, output_hidden_states=True).hidden_states
    assert len(states) == BLOCKS + 1
    for number in (0, 2, BLOCKS):
        state = states[number]
        patches = state[:, 5:]  # one class token, four registers
        out = {pool: from_folder(folder, layer=str(number), pool=pool)(given) for pool in ("mean", "cls", "grid:2")}
        torch.testing.assert_close(out["cls"], state[:, 0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(out["mean"], patches.mean(1), rtol=1e-4, atol=1e-5)
        # The second of four places: columns 2 and 3 of rows 0 and 1.
        second = patches.reshape(N, EDGE, EDGE, WIDTH)[:, 0:2, 2:4].mean((1, 2))
        torch.testing.assert_close(out["grid:2"].reshape(N, WIDTH, 4)[:, :, 1], second, rtol=1e-4, atol=1e-5)
    last = from_folder(folder, layer="last")(given)
    torch.testing.assert_close(last, from_folder(folder)(given), rtol=0, atol=0)
    assert not torch.allclose(last, from_folder(folder, layer=str(BLOCKS))(given)), "a norm lies between"


@torch.inference_mode()
def test_layers_and_pools_that_are_not_there_are_refused(folders: dict[str, Path]) -> None:
    for layer in ("4", "-1", "blocks.2", "1.5"):
        with pytest.raises(ValueError, match=r"layer '.*' of vit is not known; wanted last, or a number from 0 to 3"):
            from_folder(folders["ViTModel"], layer=layer)
    with pytest.raises(ValueError, match=r"layer 2 would have no effect: the pooler sees the last one"):
        from_folder(folders["ViTModel"], layer="2", pool="pooler")
    with pytest.raises(ValueError, match=r"interpolate_positions would have no effect: ConvNextModel learned none"):
        from_folder(folders["ConvNextModel"], interpolate_positions=True)
    for kind in ("SiglipModel", "ConvNextModel", "SwinModel"):
        with pytest.raises(ValueError, match=r"has no class token; set pool to mean or grid:N"):
            from_folder(folders[kind], pool="cls")(pictures())


@pytest.mark.parametrize("kind", ["ViTModel", "SiglipModel", "ConvNextModel"])
@torch.inference_mode()
def test_rows_do_not_depend_on_their_batch_and_none_have_the_width(folders: dict[str, Path], kind: str) -> None:
    module, given = from_folder(folders[kind]), pictures(rows=5)
    out = module(given)
    torch.testing.assert_close(torch.cat([module(row[None]) for row in given]), out, rtol=1e-4, atol=1e-5)
    assert module(given[:0]).shape == (0, WIDTH)


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("kind", ["ViTModel", "CLIPModel", "SiglipModel", "Dinov2WithRegistersModel"])
@torch.inference_mode()
def test_positions_are_interpolated_only_if_asked_for(folders: dict[str, Path], kind: str) -> None:
    folder, larger = folders[kind], pictures(SIZE_PX + PATCH_PX)
    with pytest.raises(
        ValueError, match=r"pictures of 35 px, but .* knows its positions for 28 px; .*interpolate_posit"
    ):
        from_folder(folder)(larger)
    assert from_folder(folder, interpolate_positions=True)(larger).shape == (N, WIDTH)
    same = from_folder(folder, interpolate_positions=True)(pictures())
    torch.testing.assert_close(same, from_folder(folder)(pictures()), rtol=0, atol=0)


@torch.inference_mode()
def test_the_preprocessor_s_own_size_needs_no_asking(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(folders["ViTModel"], tmp_path / "at_21_px")
    said = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, "size": 21}))
    assert from_folder(folder)(pictures(21)).shape == (N, WIDTH)
    with pytest.raises(ValueError, match=r"pictures of 28 px, but ViTModel knows its positions for 21 px"):
        from_folder(folder)(pictures())


@torch.inference_mode()
def test_pictures_of_half_patches_are_refused(folders: dict[str, Path]) -> None:
    module = from_folder(folders["ViTModel"], interpolate_positions=True)
    with pytest.raises(ValueError, match=r"31 px are no whole number of patches of 7 px; set crop.size_px to 28"):
        module(pictures(31))


# ------------------------------------------------------------------------------------------------ timm


@torch.inference_mode()
def test_a_network_of_timm_is_cut_before_its_classes_or_after_a_stage(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    model = save_timm("resnet18", tmp_path / "net")
    feature = FeatureSettings(backbone="timm:some/name", weights=str(tmp_path / "net"))
    identity = identify(feature)
    assert (identity.size_px, identity.mean, identity.std) == (67, tuple(MEAN), tuple(STD))
    given = pictures(67)
    module = build_backbone(feature, identity)
    torch.testing.assert_close(
        F.linear(module(given), model.fc.weight, model.fc.bias), model(given), rtol=1e-4, atol=1e-4
    )
    assert module(given[:0]).shape == (0, 512)
    maps: list[Tensor] = []
    model.layer2.register_forward_hook(lambda layer, inputs, output: maps.append(output))
    model(given)
    for pool, places in (("mean", 1), ("grid:3", 3)):
        stage = build_backbone(FeatureSettings(**{**feature.model_dump(), "layer": "2", "pool": pool}))
        by_hand = F.adaptive_avg_pool2d(maps[0], places).flatten(1)
        torch.testing.assert_close(stage(given), by_hand, rtol=1e-5, atol=1e-6)


def test_timm_says_what_it_can_t_do(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    folder = tmp_path / "net"
    save_timm("resnet18", folder)
    with pytest.raises(ValueError, match=r"layer 'layer2' of timm's ResNet is not known; wanted last, or .* 0 to 4"):
        build_timm(Request("n", layer="layer2", folder=folder))
    with pytest.raises(ValueError, match=r"pool grid:2 would have no effect: the last layer has no places"):
        build_timm(Request("n", pool="grid:2", folder=folder))
    with pytest.raises(ValueError, match=r"timm:some/name needs its files: .*timm:FOLDER with config\.json"):
        build_timm(Request("some/name"))
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet19"}))
    with pytest.raises(ValueError, match=r"timm has no 'resnet19'"):
        build_timm(Request("n", folder=folder))
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(ValueError, match=r"names no architecture; wanted a config\.json that timm wrote"):
        build_timm(Request("n", folder=folder))


def test_a_file_of_another_network_of_timm_is_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    folder = tmp_path / "net"
    state = save_timm("resnet18", folder).state_dict()
    save_file(
        {**{n: t for n, t in state.items() if n != "bn1.bias"}, "other": torch.zeros(2)}, folder / "model.safetensors"
    )
    with pytest.raises(
        ValueError, match=r"not those of timm:some/name: (?s:.)*missing: bn1\.bias\n.*unexpected: other"
    ):
        build_backbone(FeatureSettings(backbone="timm:some/name", weights=str(folder)))
