"""What enters a feature's key and what does not, and the settings that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cache.key import differences, digest_of
from extract.backbones.identity import identify
from extract.backbones.registry import BACKBONES, spec_of
from extract.recipe import CropSettings, FeatureSettings, Identity
from extract.settings import CorpusSettings, ExecutionSettings

FACE: dict[str, Any] = {
    "backbone": "torchvision:resnet18", "weights": "random:3", "layer": "layer2", "pool": "grid:2",
    "crop": {"region": "square", "size_px": 96}, "dtype": "float16",
}  # fmt: skip
VOICE: dict[str, Any] = {"backbone": "zhao19", "weights": "random:3", "hop_seconds": 0.02, "dtype": "float16"}
HUB: dict[str, Any] = {"backbone": "transformers-vision:lab/net", "weights": "hub", "revision": "0" * 40}


def digest(settings: dict[str, Any]) -> str:
    return digest_of(recipe(settings))


def recipe(settings: dict[str, Any]) -> dict[str, Any]:
    feature = FeatureSettings(**settings)
    return feature.recipe(identify(feature))


# Every field, each with another value: a field that is added to the settings and not here fails the next test.
OTHER_FACE: dict[str, list[Any]] = {
    "backbone": ["torchvision:resnet34"],
    "weights": ["random:4"],
    "layer": ["layer3"],
    "pool": ["grid:3", "mean", None],
    "crop": [{"size_px": 97}, {"region": "whole", "size_px": 96}, {"region": "face", "size_px": 96}, None],
    "dtype": ["float32"],
}
OTHER_VOICE: dict[str, list[Any]] = {
    "backbone": ["logmel"],
    "weights": ["random:5"],
    "hop_seconds": [0.03, None],
    "channels": ["first", "second"],
    "dtype": ["float32"],
}
# Where bytes come from and on what terms: the bytes themselves count (test_extract_weights.py).
NO_PART_OF_THE_KEY = {"revision", "accept_non_commercial"}


def test_every_field_is_tried_below() -> None:
    tried = OTHER_FACE.keys() | OTHER_VOICE.keys() | {"interpolate_positions"}
    assert FeatureSettings.model_fields.keys() - NO_PART_OF_THE_KEY == tried
    assert not NO_PART_OF_THE_KEY & (recipe(FACE).keys() | recipe(VOICE).keys())


def test_stretched_positions_are_another_key() -> None:
    found = Identity({"kind": "hub"}, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    a, b = (FeatureSettings(**HUB, interpolate_positions=asked).recipe(found) for asked in (False, True))
    assert differences(a, b) == ["interpolate_positions: false -> true"]


def test_the_faces_count_for_features_that_see_one() -> None:
    faces = [{"method": "detect", "score": 0.6}, {"method": "detect", "score": 0.7}]
    for crop, differ in (({"region": "face"}, True), ({"region": "square"}, False)):
        feature = FeatureSettings(**FACE | {"crop": crop})
        a, b = (feature.recipe(identify(feature), face) for face in faces)
        assert (a != b) == differ
        assert differences(a, b) == (["faces.score: 0.6 -> 0.7"] if differ else [])


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (settings, name, value)
        for settings, others in ((FACE, OTHER_FACE), (VOICE, OTHER_VOICE))
        for name, values in others.items()
        for value in values
    ],
)
def test_a_change_of_any_field_is_another_key(settings: dict[str, Any], name: str, value: Any) -> None:
    changed = settings | {name: value}
    if not spec_of(changed["backbone"]).has_weights:
        changed.pop("weights")
    assert digest(changed) != digest(settings)
    assert differences(recipe(settings), recipe(changed))


@pytest.mark.parametrize("settings", [FACE, VOICE], ids=["face", "voice"])
def test_a_default_that_is_written_out_is_the_same_key(settings: dict[str, Any]) -> None:
    bare = {name: settings[name] for name in ("backbone", "weights")}
    spelled = dict(bare, dtype="float16")
    if settings is FACE:
        spelled |= {"pool": "mean", "crop": {"region": "square", "size_px": 112}}
    else:
        spelled |= {"hop_seconds": FeatureSettings(**bare).hop_samples / 16000, "channels": "averaged"}
    assert digest(spelled) == digest(bare)


@pytest.mark.parametrize("settings", [FACE, VOICE, {"backbone": "hog"}, {"backbone": "prosody"}], ids=repr)
def test_another_revision_of_a_backbone_s_code_is_another_key(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    family, before, untouched = settings["backbone"].partition(":")[0], recipe(settings), digest({"backbone": "logmel"})
    spec = BACKBONES[family]
    assert before["backbone_revision"] == spec.revision
    monkeypatch.setitem(BACKBONES, family, replace(spec, revision=spec.revision + 1))
    assert digest(settings) != digest_of(before)
    (line,) = differences(before, recipe(settings))
    assert line == f"backbone_revision: {spec.revision} -> {spec.revision + 1}"
    assert digest({"backbone": "logmel"}) == untouched


def test_where_and_how_fast_can_not_reach_a_recipe() -> None:
    """They are settings of their own; that a run with others finds its tracks is in test_extract_extraction."""
    assert ExecutionSettings.model_fields.keys() == {
        "device", "batch_rows", "decode_threads", "clips_at_once", "workers", "stall_seconds",
    }  # fmt: skip
    assert not FeatureSettings.model_fields.keys() & ExecutionSettings.model_fields.keys()


def test_weights_from_a_file_are_known_by_their_bytes_not_their_path(tmp_path: Path) -> None:
    for name, content in (("a.pth", b"one"), ("b.pth", b"one"), ("c.pth", b"two")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (digest(VOICE | {"weights": str(tmp_path / name)}) for name in ("a.pth", "b.pth", "c.pth"))
    assert a == b != c
    assert "a.pth" not in repr(recipe(VOICE | {"weights": str(tmp_path / "a.pth")}))
    with pytest.raises(ValueError, match=r"d\.pth' of zhao19 are no file; wanted random:SEED, https://.*, or the path"):
        digest(VOICE | {"weights": str(tmp_path / "d.pth")})


def test_default_weights_are_known_by_their_name_and_address() -> None:
    found = recipe(FACE | {"weights": "default"})["weights"]
    assert found["kind"] == "default"
    assert found["name"] == "ResNet18_Weights.IMAGENET1K_V1"
    assert found["url"].startswith("https://download.pytorch.org/")
    with pytest.raises(ValueError, match="resnet17"):
        recipe(FACE | {"weights": "default", "backbone": "torchvision:resnet17"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            FACE | {"hop_seconds": 0.02},
            "hop_seconds would have no effect: the visual backbone torchvision:resnet18 heeds crop",
        ),
        (
            VOICE | {"layer": "a", "pool": "mean"},
            "layer, pool would have no effect: the audio backbone zhao19 heeds channels, hop",
        ),
        (VOICE | {"crop": {"size_px": 96}}, "crop would have no effect"),
        (FACE | {"layer": None}, "pool grid:2 would have no effect: the last layer has no places; name a `layer`"),
        (FACE | {"channels": "first"}, "channels would have no effect: the visual backbone"),
        ({"backbone": "hog", "pool": "mean"}, "pool would have no effect: the visual backbone hog heeds crop"),
        (FACE | {"weights": None}, "needs `weights`: default, random:SEED .*, a path"),
        (FACE | {"weights": "hub"}, "torchvision:resnet18 has no weights 'hub'; give a path or random:SEED"),
        (FACE | {"revision": "0" * 40}, "revision would have no effect: weights are 'random:3', not hub"),
        (
            HUB | {"revision": None},
            "hub needs a `revision`, the 40 digits of a commit, so that they can't change under",
        ),
        (HUB | {"revision": "main"}, "revision\n.*should match pattern"),
        (FACE | {"weights": "https://example.org/x.pth"}, "has no digest; wanted https://HOST/FILE#sha256="),
        (FACE | {"accept_non_commercial": True}, "accept_non_commercial would have no effect: no licence"),
        ({"backbone": "hog", "accept_non_commercial": True}, "accept_non_commercial would have no effect: no licence"),
        ({"backbone": "logmel", "weights": "random:0"}, "logmel has no weights; leave `weights` out"),
        (VOICE | {"weights": "default"}, "zhao19 has no weights 'default'; give a path or random:SEED"),
        (VOICE | {"weights": "random"}, "weights are 'random'; wanted random:SEED with a whole number, e.g. random:0"),
        (VOICE | {"weights": "random:-1"}, "wanted random:SEED"),
        (VOICE | {"weights": "random:" + "9" * 19}, "wanted random:SEED"),
        (VOICE | {"hop_seconds": 0.01001}, r"0\.01001, not a whole number of samples at 16000 Hz; try 0\.01\b"),
        (VOICE | {"hop_seconds": 1e-12}, r"not a whole number of samples at 16000 Hz; try 6\.25e-05"),
        (VOICE | {"hop_seconds": 0}, "greater than 0"),
        (FACE | {"pool": "grid:0"}, "should match pattern"),
        (FACE | {"crop": {"size_px": 15}}, "greater than or equal to 16"),
        (FACE | {"crop": {"region": "mouth"}}, "'square', 'whole' or 'face'"),
        (FACE | {"dtype": "bfloat16"}, "'float16' or 'float32'"),
        (FACE | {"batch_rows": 3}, "Extra inputs are not permitted"),
        (FACE | {"backbone": "torchvison:resnet18"}, "not known; there are torchvision, .*; did you mean torchvision?"),
        (FACE | {"backbone": "torchvision"}, "incomplete or too long; wanted torchvision:MODEL"),
        (VOICE | {"backbone": "zhao19:big"}, "'zhao19:big' is incomplete or too long; wanted zhao19"),
    ],
)
def test_what_would_have_no_effect_or_no_meaning_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FeatureSettings(**settings)


def test_remedies_that_messages_name_work() -> None:
    assert FeatureSettings(**VOICE | {"hop_seconds": 0.01}).hop_samples == 160
    assert FeatureSettings(**VOICE | {"hop_seconds": 6.25e-05}).hop_samples == 1
    assert FeatureSettings(**VOICE | {"weights": "random:0"}).random_seed == 0


@given(st.integers(1, 10**6))
def test_every_whole_number_of_samples_is_a_hop(samples: int) -> None:
    settings = FeatureSettings(backbone="logmel", hop_seconds=samples / 16000)
    assert settings.hop_samples == samples


@given(st.integers(1, 10**5), st.floats(0.01, 0.99))
def test_no_part_of_a_sample_is_a_hop(samples: int, more: float) -> None:
    with pytest.raises(ValidationError, match="not a whole number of samples"):
        FeatureSettings(backbone="logmel", hop_seconds=(samples + more) / 16000)


def test_settings_can_not_be_changed_and_have_no_unknown_keys(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        FeatureSettings(**FACE).dtype = "float32"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        CropSettings().size_px = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ExecutionSettings(batch_row=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        ExecutionSettings(batch_rows=0)
    with pytest.raises(ValidationError, match="'affwild2'"):
        CorpusSettings(format="affwild3", root=tmp_path)  # type: ignore[arg-type]
