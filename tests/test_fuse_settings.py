"""Settings of stage two: what is refused and how it is said, and that an experiment holds every option."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from cache.key import digest_of
from fuse.models.registry import MODELS
from fuse.settings import AlignmentSettings, FuseSettings, LossSettings, TrainingSettings, WindowSettings

FEATURES = {"video": "face", "audio": "voice"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"windows": {"length": 7, "hop": 11}}, "hop is 11, longer than the window of 7: rows between would be lost"),
        ({"windows": {"length": 0}}, "greater than or equal to 1"),
        ({"loss": {"ccc": 0, "mse": 0}}, "the loss is 0 whatever the model says"),
        ({"loss": {"valence": 0, "arousal": 0}}, "give ccc or mse, and valence or arousal, a weight"),
        ({"loss": {"mse": -0.1}}, "greater than or equal to 0"),
        ({"loss": {"mse": float("nan")}}, "finite number"),
        ({"training": {"learning_rate": 0}}, "greater than 0"),
        ({"training": {"learning_rate": float("inf")}}, "finite number"),
        ({"training": {"learning_rate": "fast"}}, "valid number"),
        ({"training": {"epochs": 0}}, "greater than or equal to 1"),
        ({"training": {"epochs": 2.5}}, "valid integer"),
        ({"training": {"inner_fraction": 1}}, "less than 1"),
        ({"training": {"inner_fraction": 0}}, "greater than 0"),
        ({"training": {"warmup_fraction": 1}}, "less than 1"),
        ({"training": {"patiense": 3}}, "Extra inputs are not permitted"),
        ({"alignment": {"method": "cubic"}}, "'nearest', 'linear' or 'mean'"),
        ({"alignment": {"largest_gap_seconds": -1}}, "greater than or equal to 0"),
        ({"alignment": {"label_delay_seconds": 11}}, "less than or equal to 10"),
        ({"alignment": {"label_delay_seconds": -0.2}}, "greater than or equal to 0"),
        ({"alignment": {"rate_hz": 0}}, "greater than 0"),
        ({"alignment": {"rate_hz": 1001}}, "less than or equal to 1000"),
        (
            {"alignment": {"relative": ["gaze"]}},
            r"alignment\.relative names the modality 'gaze'; features has video, a",
        ),
        ({"components": {"gaze": 3}}, "components names the modality 'gaze'; features has video, audio"),
        ({"components": {"audio": 0}}, "greater than or equal to 1"),
        (
            {"training": {"shift": {"gaze": 0.5}}},
            r"training\.shift names the modality 'gaze'; features has video, audio",
        ),
        ({"training": {"shift": {"audio": -0.5}}}, "greater than or equal to 0"),
        ({"model": "selfatn"}, r"model 'selfatn' is not known; .* did you mean selfattn\?"),
        ({"models": {"lsmt": {}}}, r"model 'lsmt' is not known; .* did you mean lstm\?"),
        ({"models": {"mlp": {"bidirectional": True}}}, "model mlp has no option 'bidirectional'; it has width, layers"),
        ({"models": {"lstm": {"layers": 0}}}, "option layers of model lstm is 0; wanted 1 or more"),
        ({"models": {"selfattn": {"heads": 5}}}, "model selfattn has 5 heads for a width of 64"),
        ({"features": {}}, "at least 1 item"),
        ({"features": {"left ear": "voice"}}, "modality 'left ear' is not a plain name"),
        ({"report_split": "train"}, "train_split and report_split are both 'train'; a score needs unseen clips"),
        ({"seeds": 0}, "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FuseSettings.model_validate({"features": FEATURES} | given)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValidationError, match="4 validation errors"):
        FuseSettings.model_validate(
            {"features": FEATURES, "model": "x", "seeds": 0, "windows": {"hop": 0}, "training": {"epoch": 3}}
        )


def test_settings_can_not_be_changed_afterwards() -> None:
    settings = FuseSettings(features=FEATURES)
    with pytest.raises(ValidationError, match="frozen"):
        settings.seeds = 3
    with pytest.raises(ValidationError, match="frozen"):
        settings.training.epochs = 3


def leaves(kind: type[BaseModel], prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every setting of a model, as its path."""
    found: set[tuple[str, ...]] = set()
    for name, field in kind.model_fields.items():
        inner = field.annotation
        nested = isinstance(inner, type) and issubclass(inner, BaseModel)
        found |= leaves(inner, (*prefix, name)) if nested else {(*prefix, name)}
    return found


@pytest.mark.parametrize("model", list(MODELS))
def test_an_experiment_holds_every_setting_and_every_option(model: str) -> None:
    settings = FuseSettings(features=FEATURES, model=model, models={"mlp": {"layers": 3}} | {model: {"width": 32}})
    experiment = settings.experiment()
    assert json.loads(json.dumps(experiment, allow_nan=False)) == experiment
    for path in leaves(FuseSettings) - {("models",), ("seeds",)}:
        place: Any = experiment
        for name in path:
            place = place[name]
    assert experiment["options"] == {**MODELS[model].options, "width": 32} == settings.options()
    assert "models" not in experiment  # options of models that did not run decide nothing
    assert "seeds" not in experiment


OTHER: dict[tuple[str, ...], Any] = {
    ("features",): {"video": "face2", "audio": "voice"},
    ("train_split",): "fit",
    ("report_split",): "test",
    ("model",): "mlp",
    ("alignment", "method"): "nearest",
    ("alignment", "largest_gap_seconds"): 0.7,
    ("alignment", "label_delay_seconds"): 0.7,
    ("alignment", "rate_hz"): 7,
    ("alignment", "relative"): ["audio"],
    ("components",): {"audio": 7},
    ("windows", "length"): 127,
    ("windows", "hop"): 61,
    ("loss", "ccc"): 0.7,
    ("loss", "mse"): 0.7,
    ("loss", "valence"): 0.7,
    ("loss", "arousal"): 0.7,
    ("training", "epochs"): 7,
    ("training", "batch"): 7,
    ("training", "learning_rate"): 0.7,
    ("training", "weight_decay"): 0.7,
    ("training", "warmup_fraction"): 0.7,
    ("training", "clip_norm"): 0.7,
    ("training", "patience"): 7,
    ("training", "inner_fraction"): 0.7,
    ("training", "inner_seed"): 7,
    ("training", "shift"): {"audio": 0.7},
}


@pytest.mark.parametrize("path", sorted(leaves(FuseSettings) - {("models",), ("seeds",)}), ids=".".join)
def test_every_setting_changes_the_experiment(path: tuple[str, ...]) -> None:
    given: dict[str, Any] = {"features": FEATURES}
    place = given
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = OTHER[path]
    assert FuseSettings.model_validate(given).experiment() != FuseSettings(features=FEATURES).experiment()


def test_one_experiment_has_one_digest_however_it_is_written() -> None:
    written = [
        {"alignment": {"relative": relative}, "components": components, "training": {"shift": shift}}
        for relative, components, shift in (
            (["audio", "video"], {"audio": 3, "video": 2}, {"audio": 0.5, "video": 1}),
            (["video", "audio", "video"], {"video": 2, "audio": 3}, {"video": 1.0, "audio": 0.5}),
        )
    ]
    first, second = (FuseSettings.model_validate({"features": FEATURES} | given).experiment() for given in written)
    assert digest_of(first) == digest_of(second)


EVERYTHING: dict[str, Any] = {
    "features": FEATURES | {"pose": "skeleton"},
    "components": {"video": 7, "pose": 2},
    "training": {"epochs": 3, "shift": {"audio": 0.5, "pose": 0.25}},
    "alignment": {"rate_hz": 5, "relative": ["audio", "pose"]},
    "windows": {"length": 13, "hop": 7},
    "model": "mlp",
}


@pytest.mark.parametrize(
    "kept", [["video"], ["audio"], ["pose"], ["audio", "video"], ["pose", "audio"], ["video", "audio", "pose"]]
)
def test_some_modalities_of_an_experiment_are_what_would_have_been_written_for_them(kept: list[str]) -> None:
    whole = FuseSettings.model_validate(EVERYTHING)
    written = json.loads(json.dumps(EVERYTHING))
    for gone in whole.features.keys() - set(kept):
        for named in (written["features"], written["components"], written["training"]["shift"]):
            named.pop(gone, None)
        if gone in written["alignment"]["relative"]:
            written["alignment"]["relative"].remove(gone)
    part = whole.only(kept)
    assert part == FuseSettings.model_validate(written)
    assert digest_of(part.experiment()) == digest_of(FuseSettings.model_validate(written).experiment())
    assert list(part.features) == kept
    assert whole == FuseSettings.model_validate(EVERYTHING), "and the whole is as it was"
    assert FuseSettings.model_validate(part.model_dump()) == part


def test_the_defaults_are_right_by_themselves() -> None:
    for kind in (AlignmentSettings, WindowSettings, LossSettings, TrainingSettings):
        assert kind.model_validate(kind().model_dump()) == kind()
    for model in MODELS:
        assert FuseSettings(features=FEATURES, model=model).options() == MODELS[model].options


def test_settings_import_no_torch_and_no_numpy() -> None:
    code = "import sys, fuse.settings; print([name for name in ('torch', 'numpy', 'zarr') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
