"""What enters a feature's key and what does not, and the settings that are refused."""

from __future__ import annotations

import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from puppets import DEMO
from pydantic import ValidationError

from cache.key import differences, digest_of
from extract.backbones.identity import identify
from extract.backbones.registry import BACKBONES, spec_of
from extract.extraction import plan_features
from extract.faces.settings import FaceSettings
from extract.import_settings import ImportSettings, ImportTimeSettings
from extract.recipe import CropSettings, FeatureSettings, Identity
from extract.settings import CorpusSettings, ExecutionSettings
from pipeline.settings import load_recipe

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


# ------------------------------------------------------------------------------------------------ faces

# Each method with every field that it heeds, and another value of it. What it does not heed, it refuses.
DETECT: dict[str, Any] = {"method": "detect", "weights": "yunet"}
OTHER_FACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "detect": (DETECT, {"weights": "x.onnx", "longest_px": 641, "score": 0.61, "overlap": 0.31, "hold_seconds": 0.21}),
    "box": ({"method": "box"}, {"hold_seconds": 0.21, "margin": 0.21}),
    "crops": ({"method": "crops"}, {}),
}


def faces_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """The faces' recipe; a detector is known by its digest, here one of its name."""
    faces = FaceSettings(**settings)
    return faces.recipe({"sha256": digest_of(faces.weights)} if faces.weights is not None else None)


def test_every_field_of_the_faces_is_tried_below() -> None:
    tried = {name for _, others in OTHER_FACES.values() for name in others} | {"method"}
    assert FaceSettings.model_fields.keys() == tried
    assert OTHER_FACES.keys() == set(typing.get_args(FaceSettings.model_fields["method"].annotation))


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [(settings, name, value) for settings, others in OTHER_FACES.values() for name, value in others.items()],
)
def test_a_change_of_the_faces_is_another_key_of_what_sees_them(
    settings: dict[str, Any], name: str, value: Any
) -> None:
    before, after = faces_recipe(settings), faces_recipe(settings | {name: value})
    (line,) = differences(before, after)
    assert line.startswith(f"{'detector.sha256' if name == 'weights' else name}: ")
    feature = FeatureSettings(**FACE | {"crop": {"region": "face"}})
    identity = identify(feature)
    assert digest_of(feature.recipe(identity, before)) != digest_of(feature.recipe(identity, after))


def test_another_way_to_the_face_and_another_revision_of_it_are_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {method: faces_recipe(settings) for method, (settings, _) in OTHER_FACES.items()}
    assert len(set(map(digest_of, before.values()))) == len(before)
    monkeypatch.setattr("extract.faces.settings.FACES_REVISION", 99)
    assert all(differences(before[method], faces_recipe(OTHER_FACES[method][0])) for method in ("detect", "box"))
    assert faces_recipe({"method": "crops"}) == before["crops"], "the corpus's crops are no work of ours"


# ------------------------------------------------------------------------------------------------ imports

TIMED: dict[str, Any] = {
    "path": "{clip}.csv",
    "time": {"column": "t", "end": "e", "unit": "s", "plus_seconds": "0.01"},
    "where": {"face": 0},
    "valid_at_least": {"sure": 0.5},
}
RATED: dict[str, Any] = {"path": "{clip}.h5", "dataset": "{clip}/x", "rate_hz": 25, "start_seconds": "0.1"}
ARRAY: dict[str, Any] = {"path": "{clip}.npy", "time": {"path": "{clip}.t.npy", "unit": "s", "tick_us": 10}}
OTHER_IMPORTS: list[tuple[dict[str, Any], str, Any]] = [
    (TIMED, "where", {"face": 1}),
    (TIMED, "valid_at_least", {"sure": 0.6}),
    (TIMED, "dtype", "float16"),
    (TIMED, "time.column", "t2"),
    (TIMED, "time.end", None),
    (TIMED, "time.unit", "ms"),
    (TIMED, "time.plus_seconds", "0.02"),
    (RATED, "rate_hz", "30000/1001"),
    (RATED, "start_seconds", "0.2"),
    (ARRAY, "time.unit", "ms"),
    (ARRAY, "time.tick_us", 20),
]
# Where the numbers are; and of a table, which columns: their names as found enter the key, however they were asked for.
IMPORT_PLACES: list[tuple[dict[str, Any], str, Any]] = [
    (TIMED, "path", "deep/{media}.csv"),
    (TIMED, "columns", ["AU*"]),
    (TIMED, "ignore", ["frame"]),
    (TIMED, "delimiter", ";"),
    (RATED, "dataset", "other/{clip}"),
    (ARRAY, "time.path", "{clip}/times.npy"),
]


def import_digest(settings: dict[str, Any], name: str = "", value: Any = None) -> str:
    """The key of an import with one field changed, `time.unit` say, whatever columns its files have."""
    changed = dict(settings)
    outer, dot, inner = name.partition(".")
    if name:
        changed[outer] = settings[outer] | {inner: value} if dot else value
    return digest_of(ImportSettings(**changed).recipe("it", ["x", "y"]))


def test_every_field_of_an_import_is_tried_below() -> None:
    tried = {name for _, name, _ in (*OTHER_IMPORTS, *IMPORT_PLACES)}
    fields = ImportSettings.model_fields.keys() - {"time"}
    fields |= {f"time.{name}" for name in ImportTimeSettings.model_fields}
    assert fields - {"time.dataset"} == tried  # instead of a rate: the next test but one


@pytest.mark.parametrize(("settings", "name", "value"), OTHER_IMPORTS)
def test_a_change_of_what_an_import_is_is_another_key(settings: dict[str, Any], name: str, value: Any) -> None:
    assert import_digest(settings, name, value) != import_digest(settings)


@pytest.mark.parametrize(("settings", "name", "value"), IMPORT_PLACES)
def test_a_change_of_where_an_import_is_is_the_same_key(settings: dict[str, Any], name: str, value: Any) -> None:
    assert import_digest(settings, name, value) == import_digest(settings)


def test_an_import_s_name_columns_and_datasets_of_times() -> None:
    settings = ImportSettings(**TIMED)
    recipes = [settings.recipe("it", ["x"]), settings.recipe("it", ["y"]), settings.recipe("its", ["x"])]
    recipes += [ImportSettings(**RATED).recipe("it", 3), ImportSettings(**RATED).recipe("it", 5)]
    assert len(set(map(digest_of, recipes))) == 5
    timed = {"path": "{clip}.h5", "dataset": "x", "time": {"dataset": "t", "unit": "s"}}
    assert import_digest(timed, "time.dataset", "u") == import_digest(timed)


# ------------------------------------------------------------------------------------------------ execution

OTHER_EXECUTION: dict[str, Any] = {
    "device": "cuda:1", "batch_rows": 3, "decode_threads": 2, "clips_at_once": 5, "workers": 7, "stall_seconds": 11.0,
}  # fmt: skip


def test_every_field_of_the_execution_is_tried_below() -> None:
    assert ExecutionSettings.model_fields.keys() == OTHER_EXECUTION.keys()
    kinds = (FeatureSettings, FaceSettings, ImportSettings, CropSettings)
    for settings in kinds:
        assert not settings.model_fields.keys() & ExecutionSettings.model_fields.keys()


@pytest.mark.parametrize(("name", "value"), OTHER_EXECUTION.items())
def test_where_and_how_fast_can_not_reach_a_key(name: str, value: Any) -> None:
    """By the road of a whole recipe file; that a run with others finds its tracks is in test_extract_extraction."""
    keys = []
    for overrides in ((), (f"execution.{name}={value}",)):
        recipe = load_recipe(DEMO, overrides)
        assert (getattr(recipe.execution, name) == value) == bool(overrides)
        plan = plan_features(recipe.features, recipe.faces, [], recipe.corpus.root)
        keys.append({feature: digest_of(meant) for feature, meant in plan.recipes.items()})
    assert keys[0] == keys[1]
    assert keys[0].keys() == {"face", "voice"}


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
