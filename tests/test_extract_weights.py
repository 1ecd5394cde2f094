"""Where weights come from, what they are known by, and that what isn't exactly a network's own is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from cache.key import digest_of
from extract.backbones.identity import identify, weights_file
from extract.backbones.kept import kept_path
from extract.backbones.pictures import PictureSettings, picture_settings
from extract.backbones.pinned import Pinned
from extract.backbones.registry import BACKBONES, BackboneSpec, Published, Request, Windows
from extract.backbones.state import load_strictly, read_state, refuse_differences
from extract.backbones.weights import build_backbone, digest_of_state
from extract.faces.weights import DETECTORS, detector_file, detector_identity
from extract.recipe import FeatureSettings

REVISION = "0123456789abcdef0123456789abcdef01234567"
STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([5.0, 7.0])}


class Toy(nn.Module):
    """Three samples to two numbers; a checkpoint calls its parts `old.weight`, `old.bias`, beside a `head`."""

    def __init__(self, *, loaded: bool) -> None:
        super().__init__()
        self.network = nn.Linear(3, 2)
        self.loaded = loaded

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name.removeprefix("old."): part for name, part in state.items() if not name.startswith("head.")}


def build_toy(request: Request) -> nn.Module:
    if request.folder is not None:
        assert (request.folder / "config.json").is_file()
    return Toy(loaded=False)


def build_toy_that_loads(request: Request) -> nn.Module:
    toy = Toy(loaded=request.folder is not None)
    if request.folder is not None:
        toy.network.load_state_dict({name: part + 1 for name, part in STATE.items()})
    return toy


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DUET_WEIGHTS", str(tmp_path / "kept"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    toy = BackboneSpec("audio", f"{__name__}:build_toy", "MIT", "here", sound=Windows(3, 1))
    published = {
        "ours": Published("https://example.org/ours.pth", "0" * 64, "MIT", True),
        "theirs": Published(
            "https://example.org/theirs.pth", "1" * 64, "CC BY-NC 4.0", False, remedy="run `convert theirs` once"
        ),
    }
    hub = replace(toy, model="required", hub=True)
    loads = replace(hub, builder=f"{__name__}:build_toy_that_loads")
    seen = replace(hub, modality="visual", sound=None, size_px=None, mean=None, std=None)
    added = {"toy": replace(toy, published=published), "toyhub": hub, "toyloads": loads, "toyseen": seen}
    for name, spec in added.items():
        monkeypatch.setitem(BACKBONES, name, spec)


def toy(weights: str, **changes: Any) -> FeatureSettings:
    return FeatureSettings(backbone="toy", weights=weights, **changes)


def saved(path: Path, content: Any = STATE) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return str(path)


def keep(monkeypatch: pytest.MonkeyPatch, name: str, content: Any = STATE) -> Path:
    """The published checkpoint `name` of the toy as a file that is here, and its digest in the registry."""
    spec = BACKBONES["toy"]
    path = Path(saved(kept_path(Pinned(spec.published[name].url, spec.published[name].sha256)), content))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    published = {**spec.published, name: replace(spec.published[name], sha256=sha256)}
    monkeypatch.setitem(BACKBONES, "toy", replace(spec, published=published))
    wanted = kept_path(Pinned(published[name].url, sha256))
    wanted.parent.mkdir()
    return path.rename(wanted)


def is_state(module: nn.Module, wanted: dict[str, Tensor] = STATE) -> bool:
    held = module.network.state_dict()
    return held.keys() == wanted.keys() and all(torch.equal(held[name], wanted[name]) for name in wanted)


# ------------------------------------------------------------------------------------------------ state dicts


def test_what_a_file_holds_is_read_by_two_rules(tmp_path: Path) -> None:
    nested = [{"epoch": 7, nest: STATE} for nest in ("state_dict", "model_state_dict", "model")]
    parallel = {f"module.{name}": part for name, part in STATE.items()}
    for i, content in enumerate([STATE, *nested, parallel, {"state_dict": parallel, "optimizer": {"lr": 0.1}}]):
        state = read_state(Path(saved(tmp_path / f"{i}.pth", content)))
        assert state.keys() == STATE.keys()
        assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert read_state(Path(saved(tmp_path / "x.safetensors", parallel))).keys() == STATE.keys()
    part = read_state(Path(saved(tmp_path / "part.pth", {**STATE, "module.weight": STATE["weight"]})))
    assert part.keys() == {*STATE, "module.weight"}, "a prefix that only some have is part of a name"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "junk.pth",
            b"no weights at all",
            r"hold more than tensors, or are no state dict \(\w+: .*convert them outside",
        ),
        ("junk.safetensors", b"no weights at all", "hold more than tensors, or are no state dict"),
        ("empty.pth", b"", "hold more than tensors, or are no state dict"),
        ("empty.safetensors", b"", "hold more than tensors, or are no state dict"),
        (
            "tensor.pth",
            torch.zeros(3),
            "hold a Tensor; wanted tensors by name, at the top or under one of state_dict, ",
        ),
        ("list.pth", [torch.zeros(3)], "hold a list; wanted tensors by name"),
        ("nothing.pth", {}, "hold nothing; wanted tensors by name"),
        ("numbers.pth", {"weight": 3}, "hold weight, not tensors alone; wanted"),
        ("numbered.pth", {3: torch.zeros(3)}, "hold 3, not tensors alone"),
        ("deep.pth", {"model": {"state_dict": STATE}}, "hold model, not tensors alone"),
        ("other.pth", {"net": STATE, "epoch": 7}, "hold epoch, net, not tensors alone"),
        (
            "two.pth",
            {"state_dict": STATE, "model": STATE},
            "hold model, state_dict, not tensors alone, and parameters under each of",
        ),
    ],
)
def test_what_is_no_state_dict_is_said_so(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=rf"{re.escape(name)} {message}"):
        build_backbone(toy(str(path)))


def test_the_remedy_of_the_message_works(tmp_path: Path) -> None:
    torch.save({"net": STATE}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"safetensors\.torch\.save_file\(state_dict, 'weights\.safetensors'\)"):
        build_backbone(toy(str(tmp_path / "weights.pth")))
    save_file(torch.load(tmp_path / "weights.pth", weights_only=True)["net"], tmp_path / "weights.safetensors")
    assert is_state(build_backbone(toy(str(tmp_path / "weights.safetensors"))))


class _Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("saved_by", ["torch", "pickle"])
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path, saved_by: str) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "ran"
    evil = {**STATE, "evil": _Malicious(mark)}
    torch.save(evil, path) if saved_by == "torch" else path.write_bytes(pickle.dumps({"evil": _Malicious(mark)}))
    with pytest.raises(ValueError, match=r"evil\.pth hold more than tensors, .*safetensors\.torch\.save_file"):
        build_backbone(toy(str(path)))
    assert not mark.exists()
    pickle.loads(path.read_bytes()) if saved_by == "pickle" else torch.load(path, weights_only=False)
    assert mark.exists(), "it would have run"


def test_a_published_file_of_more_than_tensors_says_its_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, "theirs", {"net": STATE})
    with pytest.raises(ValueError, match=r"hold net, not tensors alone.*: run `convert theirs` once"):
        build_backbone(toy("theirs", accept_non_commercial=True))


def test_every_difference_is_counted_and_listed(tmp_path: Path) -> None:
    state = {f"extra.{i:02}": torch.zeros(2) for i in range(23)} | {"weight": torch.zeros(2, 5)}
    with pytest.raises(ValueError, match=r"weights w\.pth are not those of toy") as caught:
        load_strictly(nn.Linear(3, 2), state, "w.pth", "toy")
    assert str(caught.value).splitlines() == [
        "weights w.pth are not those of toy: names 1 missing, 23 unexpected, 1 of another shape",
        "  missing: bias",
        *[f"  unexpected: extra.{i:02}" for i in range(23)],
        "  of another shape: weight: [2, 5], wanted [2, 3]",
    ]
    with pytest.raises(ValueError, match=r"weights w are not those of b: names 2 missing, 0 unexpected, 0 of"):
        refuse_differences("w", "b", missing=("y", "x"))
    refuse_differences("w", "b")


def test_a_checkpoint_goes_under_the_network_s_own_names(tmp_path: Path) -> None:
    named = {f"old.{name}": part for name, part in STATE.items()}
    assert is_state(build_backbone(toy(saved(tmp_path / "a.pth", {**named, "head.weight": torch.zeros(4)}))))
    with pytest.raises(ValueError, match=r"1 unexpected, 0 of another shape\n  unexpected: foot\.weight"):
        build_backbone(toy(saved(tmp_path / "b.pth", {**named, "foot.weight": torch.zeros(4)})))


# ------------------------------------------------------------------------------------------------ one file, many ways


def test_a_file_is_the_same_by_name_by_address_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = keep(monkeypatch, "ours")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "copy.pth").write_bytes(path.read_bytes())
    address = f"https://example.org/ours.pth#sha256={sha256}"
    identities = [identify(toy(weights)) for weights in ("ours", address, str(tmp_path / "copy.pth"))]
    assert [dict(identity.weights or {}) for identity in identities] == [{"kind": "file", "sha256": sha256}] * 3
    for weights in ("ours", address):
        assert weights_file(toy(weights)) == path
        assert is_state(build_backbone(toy(weights)))
    recipes = [toy(weights).recipe(identify(toy(weights))) for weights in ("ours", str(tmp_path / "copy.pth"))]
    assert digest_of(recipes[0]) == digest_of(recipes[1])
    assert str(tmp_path) not in json.dumps(recipes)


def test_what_is_not_here_is_known_all_the_same_but_not_built() -> None:
    assert identify(toy("ours")).weights == {"kind": "file", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=r"weights toy/ours are not on this machine: .*`duet models fetch toy/ours`"):
        build_backbone(toy("ours"))
    with pytest.raises(ValueError, match=r"weights x\.pth are not on this machine: .*`duet models fetch CONFIG`"):
        build_backbone(toy(f"https://example.org/x.pth#sha256={'2' * 64}"))
    wanted = (
        r"'no\.pth' of toy are no file; wanted ours, theirs, random:SEED, https://\.\.\.#sha256=DIGEST, or the path"
    )
    with pytest.raises(ValueError, match=wanted):
        identify(toy("no.pth"))


def test_a_file_that_is_not_what_was_published_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, "ours").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"toy/ours at .* are not what was published: sha256 is"):
        build_backbone(toy("ours"))


def test_licences_and_addresses_are_settled_by_the_settings() -> None:
    with pytest.raises(
        ValidationError, match=r"toy is under a licence that forbids commercial use \(CC BY-NC 4\.0\); if"
    ):
        toy("theirs")
    assert toy("theirs", accept_non_commercial=True).weights == "theirs"
    for weights in ("ours", "random:3", "some.pth"):
        with pytest.raises(ValidationError, match="accept_non_commercial would have no effect: no licence"):
            toy(weights, accept_non_commercial=True)
    with pytest.raises(ValidationError, match=r"has no digest; wanted https://HOST/FILE#sha256="):
        toy("https://example.org/x.pth")
    with pytest.raises(
        ValidationError, match=r"toy needs `weights`: ours, theirs, random:SEED \(say so by name\), a path"
    ):
        FeatureSettings(backbone="toy")
    with pytest.raises(ValidationError, match="toy has no weights 'hub'; give a path or random:SEED"):
        toy("hub")


def test_random_weights_are_those_of_their_seed() -> None:
    digests = [digest_of_state(build_backbone(toy(f"random:{seed}"))) for seed in (3, 3, 5)]
    assert digests[0] == digests[1] != digests[2]
    assert identify(toy("random:3")).weights == {"kind": "random", "seed": 3}


# ------------------------------------------------------------------------------------------------ hub models


def hub_model(folder: Path, **files: bytes) -> Path:
    """A folder as save_pretrained writes it; files replace or add."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_bytes(b'{"model_type": "toy"}')
    (folder / "preprocessor_config.json").write_bytes(b'{"sampling_rate": 16000}')
    saved(folder / "model.safetensors")
    for name, content in files.items():
        (folder / f"{name}.json").write_bytes(content)
    return folder


def in_cache(folder: Path, cache: Path, repository: str = "lab/net") -> Path:
    """The model as the hub's cache has it: links to blobs, large ones named by their sha256, small ones otherwise."""
    top = cache / f"models--{repository.replace('/', '--')}"
    snapshot = top / "snapshots" / REVISION
    (top / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in folder.iterdir():
        large = path.suffix == ".safetensors"
        blob = (hashlib.sha256 if large else hashlib.sha1)(path.read_bytes()).hexdigest()
        path.rename(top / "blobs" / blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob)
    return snapshot


def from_hub(backbone: str = "toyhub:lab/net", weights: str = "hub", **changes: Any) -> FeatureSettings:
    revision = {"revision": REVISION} if weights == "hub" else {}
    return FeatureSettings(**{"backbone": backbone, "weights": weights, **revision, **changes})


def test_a_hub_model_is_the_same_from_the_cache_and_from_a_folder(tmp_path: Path) -> None:
    snapshot = in_cache(hub_model(tmp_path / "made"), tmp_path / "hub")
    folder = hub_model(tmp_path / "copy")
    cached, copied = identify(from_hub()), identify(from_hub(weights=str(folder)))
    assert (cached.folder, copied.folder) == (str(snapshot), str(folder))
    assert cached.weights == copied.weights == {
        "kind": "hub",
        "config": hashlib.sha256(b'{"model_type": "toy"}').hexdigest(),
        "preprocessor": hashlib.sha256(b'{"sampling_rate": 16000}').hexdigest(),
        "tensors": [hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()],
    }  # fmt: skip
    for feature, identity in ((from_hub(), cached), (from_hub(weights=str(folder)), copied)):
        assert is_state(build_backbone(feature))
        assert is_state(build_backbone(feature, identity))
        assert digest_of(feature.recipe(identity)) == digest_of(from_hub().recipe(cached))
    assert str(tmp_path) not in json.dumps(from_hub(weights=str(folder)).recipe(copied))


def test_a_large_blob_is_known_by_its_name_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = in_cache(hub_model(tmp_path / "made"), tmp_path / "hub")
    name = (snapshot / "model.safetensors").resolve().name
    monkeypatch.setattr("extract.backbones.hub.digest_of_weights", lambda path: pytest.fail(f"{path} was read"))
    assert (identify(from_hub()).weights or {})["tensors"] == [name]


def test_any_file_that_changes_numbers_changes_the_identity(tmp_path: Path) -> None:
    folder = hub_model(tmp_path / "a")
    before = identify(from_hub(weights=str(folder))).weights
    for name in ("config", "preprocessor_config"):
        changed = hub_model(tmp_path / name, **{name: b'{"model_type": "toy", "x": 1}'})
        assert identify(from_hub(weights=str(changed))).weights != before
    saved(folder / "model.safetensors", {name: part + 1 for name, part in STATE.items()})
    assert identify(from_hub(weights=str(folder))).weights != before


def test_shards_are_one_model(tmp_path: Path) -> None:
    folder = hub_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    saved(folder / "m-2.safetensors", {"bias": STATE["bias"]})
    index = {"weight_map": {"weight": "m-1.safetensors", "bias": "m-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"lacks m-1\.safetensors, which model\.safetensors\.index\.json names"):
        identify(from_hub(weights=str(folder)))
    saved(folder / "m-1.safetensors", {"weight": STATE["weight"]})
    assert is_state(build_backbone(from_hub(weights=str(folder))))
    digests = [hashlib.sha256((folder / f"m-{i}.safetensors").read_bytes()).hexdigest() for i in (1, 2)]
    assert (identify(from_hub(weights=str(folder))).weights or {})["tensors"] == digests


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"[]", r"is no index of shards \(TypeError"),
        (b'{"weight_map": {"a": "../../x.safetensors"}}', r"names \.\./\.\./x\.safetensors; wanted safetensors files"),
        (
            b'{"weight_map": {"a": "pytorch_model.bin"}}',
            r"names pytorch_model\.bin; wanted safetensors files beside it",
        ),
    ],
)
def test_an_index_of_anything_else_is_refused(tmp_path: Path, index: bytes, message: str) -> None:
    folder = hub_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_bytes(index)
    with pytest.raises(ValueError, match=message):
        identify(from_hub(weights=str(folder)))


def test_a_folder_that_is_no_hub_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(
        ValueError, match=r"a holds no config\.json; wanted the folder of a hub model, as save_pretrained"
    ):
        identify(from_hub(weights=str(tmp_path / "a")))
    (tmp_path / "a" / "config.json").write_text("{}")
    (tmp_path / "a" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(
        ValueError, match=r"a holds no model\.safetensors; wanted safetensors, since other formats can run"
    ):
        identify(from_hub(weights=str(tmp_path / "a")))
    with pytest.raises(ValueError, match=r"are no folder; wanted hub with a `revision`, or the path of a folder"):
        identify(from_hub(weights=str(tmp_path / "b")))
    with pytest.raises(ValueError, match=rf"lab/net at revision {REVISION} is not on this machine: get it once with"):
        identify(from_hub())


def test_random_weights_of_a_hub_model_are_of_a_folder_s_configuration(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'lab/net' is no folder; wanted toyhub:FOLDER with the config\.json"):
        identify(from_hub(weights="random:3"))
    folder = hub_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    feature = from_hub(f"toyhub:{folder}", "random:3")
    identity = identify(feature)
    assert (identity.weights or {}).keys() == {"kind", "seed", "config", "preprocessor"}
    assert digest_of_state(build_backbone(feature)) == digest_of_state(build_backbone(toy("random:3")))
    moved = folder.rename(tmp_path / "b")
    again = from_hub(f"toyhub:{moved}", "random:3")
    assert again.recipe(identify(again)) == feature.recipe(identity), "a folder is known by what is in it"
    assert str(tmp_path) not in json.dumps(feature.recipe(identity))


def test_a_builder_that_loads_by_itself_is_left_alone(tmp_path: Path) -> None:
    folder = hub_model(tmp_path / "a")
    module = build_backbone(from_hub("toyloads:lab/net", str(folder)))
    assert is_state(module, {name: part + 1 for name, part in STATE.items()})
    at_random = build_backbone(from_hub(f"toyloads:{folder}", "random:3"))
    assert digest_of_state(at_random) == digest_of_state(build_backbone(toy("random:3")))


def test_a_visual_hub_model_says_its_pictures(tmp_path: Path) -> None:
    said = {"size": {"height": 97, "width": 97}, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    folder = hub_model(tmp_path / "a", preprocessor_config=json.dumps(said).encode())
    feature = from_hub("toyseen:lab/net", str(folder))
    identity = identify(feature)
    assert (identity.size_px, identity.mean, identity.std) == (97, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert "preprocessor" not in (identity.weights or {}), "what of it counts stands in the recipe"
    assert feature.recipe(identity)["crop"]["size_px"] == 97
    assert feature.recipe(identity)["preprocessing"] == {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    at_random = identify(from_hub(f"toyseen:{folder}", "random:3"))
    assert (at_random.size_px, at_random.mean, at_random.std) == (97, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


# ------------------------------------------------------------------------------------------------ pictures

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NORMAL = {"image_mean": MEAN, "image_std": STD}


@pytest.mark.parametrize(
    ("said", "size_px"),
    [
        ({"size": 224}, 224),
        ({"size": {"height": 97, "width": 97}}, 97),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}}, 224),
        ({"size": 256, "do_center_crop": True, "crop_size": 224}, 224),
        ({"size": {"shortest_edge": 384}, "do_center_crop": False, "crop_size": {"height": 9, "width": 9}}, 384),
        ({"size": 224, "do_rescale": True, "rescale_factor": 0.00392156862745098}, 224),
    ],
)
def test_every_spelling_of_a_size(tmp_path: Path, said: dict[str, Any], size_px: int) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said | NORMAL))
    assert picture_settings(tmp_path) == PictureSettings(size_px, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said | {"do_normalize": False}))
    assert picture_settings(tmp_path) == PictureSettings(size_px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_timm_says_it_in_its_configuration(tmp_path: Path) -> None:
    said = {"pretrained_cfg": {"input_size": [3, 160, 160], "mean": MEAN, "std": STD, "crop_pct": 0.95}}
    (tmp_path / "config.json").write_text(json.dumps(said))
    assert picture_settings(tmp_path) == PictureSettings(160, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"size": {"height": 224, "width": 192}} | NORMAL, r"has the size \{.*; wanted the edge of a square in pixels"),
        ({"size": {"longest_edge": 224}} | NORMAL, "wanted the edge of a square"),
        (NORMAL, "has the size None"),
        ({"size": 0} | NORMAL, "has the size 0"),
        ({"size": 224, "image_mean": 0.5, "image_std": STD}, "has the image_mean 0.5; wanted three numbers"),
        ({"size": 224, "image_mean": MEAN}, "has the image_std None; wanted three numbers"),
        ({"size": 224, "do_rescale": False} | NORMAL, r"wanted 1 / 255, the only scale"),
        ({"size": 224, "rescale_factor": 1 / 127.5} | NORMAL, r"wants pixels times 0\.0078.*; wanted 1 / 255"),
        ({"size": 224, "do_flip_channel_order": True} | NORMAL, "wants blue, green, red"),
        ([], "holds a list; wanted an object"),
    ],
)
def test_pictures_that_can_not_be_made_are_refused(tmp_path: Path, said: Any, message: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    with pytest.raises(ValueError, match=message):
        picture_settings(tmp_path)


def test_pictures_that_nothing_is_said_of_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"says nothing of its pictures; wanted preprocessor_config\.json, or pretrained"
    ):
        picture_settings(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json is no JSON"):
        picture_settings(tmp_path)


# ------------------------------------------------------------------------------------------------ the detector's file


def test_the_detector_is_known_by_its_bytes_too(tmp_path: Path) -> None:
    (tmp_path / "d.onnx").write_bytes(b"detector")
    assert detector_file(str(tmp_path / "d.onnx")) == tmp_path / "d.onnx"
    digest = hashlib.sha256(b"detector").hexdigest()
    assert detector_identity(str(tmp_path / "d.onnx")) == {"kind": "file", "sha256": digest}
    assert detector_identity("yunet") == {"kind": "file", "sha256": DETECTORS["yunet"].sha256}
    with pytest.raises(ValueError, match=r"weights yunet are not on this machine: .*`duet models fetch yunet`, or put"):
        detector_file("yunet")
    with pytest.raises(
        ValueError, match=r"faces\.weights is yunett, which is no file; wanted the path of YuNet's ONNX"
    ):
        detector_file("yunett")


# ------------------------------------------------------------------------------------------------ real files


@pytest.mark.samples
def test_the_real_minifasnet_goes_through_the_loader(samples: Callable[[str], Path]) -> None:
    path = samples("weights/minifasnet/2.7_80x80_MiniFASNetV2.pth")
    feature = FeatureSettings(backbone="minifasnet", weights="anti-spoofing")
    published = BACKBONES["minifasnet"].published["anti-spoofing"]
    assert published.tried
    by_path = FeatureSettings(backbone="minifasnet", weights=str(path))
    assert identify(feature).weights == identify(by_path).weights == {"kind": "file", "sha256": published.sha256}
    kept = kept_path(Pinned(published.url, published.sha256))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(path.read_bytes())
    by_name, by_its_path = build_backbone(feature), build_backbone(by_path)
    assert digest_of_state(by_name) == digest_of_state(by_its_path)
    real = {name.removeprefix("module."): part for name, part in torch.load(path, map_location="cpu").items()}
    held = by_name.state_dict()
    shared = held.keys() & real.keys()
    assert len(shared) > 300
    assert all(torch.equal(held[name], real[name]) for name in shared)
    assert {name.partition(".")[0] for name in real.keys() - held.keys()} == {"prob"}
    with torch.inference_mode():
        out = by_name(torch.rand(3, 3, 80, 80, generator=torch.Generator().manual_seed(5)) * 255)
    assert out.shape == (3, 128)
    assert out.isfinite().all()


@pytest.mark.samples
def test_a_real_checkpoint_of_another_network_is_told_apart(samples: Callable[[str], Path]) -> None:
    path = samples("weights/minifasnet/2.7_80x80_MiniFASNetV2.pth")
    message = (
        r"are not those of zhao19: names \d+ missing, \d+ unexpected, 0 of another shape\n  missing: blocks\.0\.bias"
    )
    with pytest.raises(ValueError, match=message):
        build_backbone(FeatureSettings(backbone="zhao19", weights=str(path)))


@pytest.mark.samples
def test_a_real_detector_is_found_by_its_path(samples: Callable[[str], Path]) -> None:
    from extract.faces.detect import Detector
    from extract.faces.settings import FaceSettings

    path = samples("weights/yunet/yunet_n_320_320.onnx")
    assert detector_identity(str(path)) == {
        "kind": "file", "sha256": "81dbde155e982455488235acb8ec2dec5d647edf7cf7080d33e4abb69b93a0d2",
    }  # fmt: skip
    Detector(detector_file(str(path)), FaceSettings(method="detect", weights=str(path)))
