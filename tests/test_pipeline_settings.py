"""Recipes: every mistake at once and where it is, overrides, and that the shipped ones say what is so."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from extract.backbones.registry import BACKBONES
from extract.faces.settings import FaceSettings
from extract.recipe import CropSettings, FeatureSettings, Identity
from extract.settings import CorpusSettings
from fuse.models.registry import MODELS
from pipeline.settings import Feature, Recipe, SettingsError, load_recipe

RECIPES = Path(__file__).parent.parent / "pipeline" / "recipes"
GOOD = """\
title: a small one
corpus:
  format: affwild2
  root: data
store: s.zarr
runs: runs
report: report
features:
  face: {backbone: "hog:12"}
  voice: {backbone: prosody}
fuse:
  features: {video: face, audio: voice}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """x.yaml of the folder that the test runs in, so that messages name it as short as that."""
    monkeypatch.chdir(tmp_path)
    path = Path("x.yaml")
    path.write_text(GOOD, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(SettingsError, match=r".") as caught:
        load_recipe(path, overrides)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return str(caught.value).splitlines()


def edited(path: Path, *changes: tuple[str, str]) -> Path:
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------ mistakes


def test_a_good_one_loads(file: Path) -> None:
    recipe = load_recipe(file)
    assert recipe.title == "a small one"
    assert recipe.store == "s.zarr"
    assert dict(recipe.fuse.features) == {"video": "face", "audio": "voice"}


def fields(kind: type[BaseModel]) -> str:
    return ", ".join(kind.model_fields)


*_SOME, _LAST = (repr(name) for name in get_args(CorpusSettings.model_fields["format"].annotation))
FORMATS = f"{', '.join(_SOME)} or {_LAST}"  # as pydantic says it


def test_every_mistake_is_told_at_once_with_its_place_and_the_nearest_key(file: Path) -> None:
    file.write_text(
        """\
title: 3
corpus:
  format: affwild3
  rot: data
store: s.zarr
runs: runs
features:
  face: {backbone: hogg}
  voice:
    backbone: prosody
    hop_second: 0.04
fuse:
  features: {video: fase, audio: voice}
  model: lsmt
  training: {epochs: 0, learning_rate: fast, epoch: 3}
  windows:
    length: 7
    hop: 11
study:
  models: [lstm, mpl]
  modalities: [[audio], [audio, vidio]]
stroe: x.zarr
store: y.zarr
""",
        encoding="utf-8",
    )
    assert sorted(problems(file)) == sorted(
        [
            "x.yaml:23:1: store: is given twice; keep one",
            "x.yaml:1:1: title: input should be a valid string; got 3",
            f"x.yaml:3:3: corpus.format: input should be {FORMATS}; got 'affwild3'",
            "x.yaml:2:1: corpus.root: is missing",
            f"x.yaml:4:3: corpus.rot: is not a setting; there are {fields(CorpusSettings)}; did you mean root?",
            "x.yaml: report: is missing",
            f"x.yaml:8:3: features.face: backbone 'hogg' is not known; there are {', '.join(BACKBONES)}; "
            "did you mean hog?",
            f"x.yaml:11:5: features.voice.hop_second: is not a setting; there are {fields(FeatureSettings)}; "
            "did you mean hop_seconds?",
            "x.yaml:13:14: fuse.features.video: fuse.features.video names the feature 'fase'; `features` has "
            "face, voice; did you mean face?",
            "x.yaml:14:3: fuse.model: model 'lsmt' is not known; there are mlp, lstm, selfattn, crossattn; "
            "did you mean lstm?",
            "x.yaml:15:14: fuse.training.epochs: input should be greater than or equal to 1; got 0",
            "x.yaml:15:25: fuse.training.learning_rate: input should be a valid number, unable to parse string as a "
            "number; got 'fast'",
            "x.yaml:15:46: fuse.training.epoch: is not a setting; there are epochs, batch, learning_rate, "
            "weight_decay, warmup_fraction, clip_norm, patience, shift, inner_fraction, inner_seed; "
            "did you mean epochs?",
            "x.yaml:16:3: fuse.windows: hop is 11, longer than the window of 7: rows between would be lost",
            "x.yaml:19:1: study: model 'mpl' is not known; there are mlp, lstm, selfattn, crossattn; did you mean mlp?",
            "x.yaml:21:33: study.modalities.1.1: study.modalities names 'vidio'; `fuse.features` has video, audio; "
            "did you mean video?",
            f"x.yaml:22:1: stroe: is not a setting; there are {fields(Recipe)}; did you mean store?",
        ]
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("title: [a\nstore: x\n", "x.yaml:2:6: is no YAML: expected ',' or ']', but got ':'"),
        ("title: a\n\tstore: x\n", "x.yaml:2:1: is no YAML: found character '\\t' that cannot start any token"),
        ("title: a\n---\ntitle: b\n", "x.yaml:2:1: is no YAML: but found another document"),
        ("title: !!python/name:os.system x\n", "x.yaml:1:8: is no YAML: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/name:os.system'"),
        ("a: 1\ntitle: 2024-13-01\n", "x.yaml:2:8: is no YAML: month must be in 1..12"),
        ("a: 1\ntitle: \x07\n", "x.yaml:2: is no YAML: special characters are not allowed"),
        ("a: &a [*a]\n", "x.yaml: is nested too deeply, or holds itself"),
        ("", "x.yaml: holds no settings; wanted keys such as corpus, features"),
        ("# nothing but words\n", "x.yaml: holds no settings; wanted keys such as corpus, features"),
        ("- title\n- store\n", "x.yaml: holds no settings; wanted keys such as corpus, features"),
        ("lstm\n", "x.yaml: holds no settings; wanted keys such as corpus, features"),
    ],
)  # fmt: skip
def test_what_is_no_recipe_at_all(file: Path, text: str, problem: str) -> None:
    file.write_text(text, encoding="utf-8")
    (found,) = problems(file)
    assert re.sub(r"month must be in 1\.\.12.*", "month must be in 1..12", found) == problem


def test_files_that_can_not_be_read(file: Path, tmp_path: Path) -> None:
    assert problems(Path("none.yaml")) == ["none.yaml: can't be read: No such file or directory"]
    assert problems(tmp_path) == [f"{tmp_path}: can't be read: Is a directory"]
    file.write_bytes("title: B\xfccher\n".encode("latin-1"))
    assert problems(file) == ["x.yaml: is no text in UTF-8 (invalid start byte at byte 8)"]


def test_a_key_given_twice_anywhere_is_told_with_its_second_place(file: Path) -> None:
    edited(file, ("  root: data\n", "  root: data\n  root: data\n"), ("audio: voice}", "audio: voice, video: face}"))
    assert problems(file) == [
        "x.yaml:5:3: corpus.root: is given twice; keep one",
        "x.yaml:13:41: fuse.features.video: is given twice; keep one",
    ]


@pytest.mark.parametrize(
    ("written", "number"),
    [("1e-4", 1e-4), ("1E-4", 1e-4), ("+2e-3", 2e-3), ("5.e-1", 0.5), (".5", 0.5), ("0.25", 0.25), ("1", 1.0)],
)
def test_numbers_are_written_as_people_write_them(file: Path, written: str, number: float) -> None:
    edited(file, ("fuse:\n", f"fuse:\n  training: {{learning_rate: {written}}}\n"))
    assert load_recipe(file).fuse.training.learning_rate == number
    recipe = load_recipe(file, [f"fuse.training.weight_decay={written}"])
    assert recipe.fuse.training.weight_decay == number


def test_infinite_numbers_are_refused(file: Path) -> None:
    edited(file, ("fuse:\n", "fuse:\n  loss: {mse: .nan}\n  training: {clip_norm: .inf}\n"))
    assert problems(file) == [
        "x.yaml:12:10: fuse.loss.mse: input should be a finite number; got nan",
        "x.yaml:13:14: fuse.training.clip_norm: input should be a finite number; got inf",
    ]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (["fuse.features.audio=vioce"],
         ["command line 'fuse.features.audio=vioce': fuse.features.audio: fuse.features.audio names the feature "
          "'vioce'; `features` has face, voice; did you mean voice?"]),
        (["study={models: [lstm], modalities: [[text]]}"],
         ["command line 'study={models: [lstm], modalities: [[text]]}': study.modalities.0.0: study.modalities names "
          "'text'; `fuse.features` has video, audio"]),
        (["features.face.hop_seconds=0.04"],
         ["x.yaml:9:3: features.face: hop_seconds would have no effect: the visual backbone "
          "hog:12 heeds crop"]),
        (["features.voice.hop_seconds=0.0333"],
         ["x.yaml:10:3: features.voice: hop_seconds is 0.0333, not a whole number of samples at 16000 Hz; "
          "try 0.0333125"]),
        (["features.voice.weights=random:0"],
         ["x.yaml:10:3: features.voice: prosody has no weights; leave `weights` out"]),
        (["features.face.backbone=torchvision:resnet18"],
         ["x.yaml:9:3: features.face: torchvision:resnet18 needs `weights`: default, random:SEED (say so by name), "
          "a path"]),
        (["features.a/b={backbone: hog}"],
         ["command line 'features.a/b={backbone: hog}': features.a/b: feature 'a/b' is not a plain name; wanted "
          "letters, digits, _ . -"]),
        (["fuse.report_split=train"],
         ["x.yaml:11:1: fuse: train_split and report_split are both 'train'; a score needs unseen clips"]),
        (["fuse.components.text=3"],
         ["x.yaml:11:1: fuse: components names the modality 'text'; features has video, audio"]),
        (["puppets.width=64"],
         ["command line 'puppets.width=64': puppets: width is 64, wanted at least height, which is 240: the face is "
          "cut out as a centred square, so choose a wider picture"]),
        (["fuse.models={crossattn: {heads: 5}}"],
         ["command line 'fuse.models={crossattn: {heads: 5}}': fuse.models: model crossattn has 5 heads for a width "
          "of 64; wanted a width that divides by 4 and whose half divides by the heads"]),
        (["features={}"],
         ["command line 'features={}': features: dictionary should have at least 1 item after validation, not 0"]),
        (["fuse=lstm"],
         ["command line 'fuse=lstm': fuse: input should be a valid dictionary or instance of FuseSettings; "
          "got 'lstm'"]),
    ],
)  # fmt: skip
def test_names_that_do_not_meet_and_impossible_combinations(file: Path, changes: list[str], found: list[str]) -> None:
    assert problems(file, *changes) == found


def test_a_recipe_made_in_code_is_checked_too() -> None:
    data = yaml.safe_load(GOOD)
    data["fuse"]["features"] = {"video": "fase", "audio": "vice"}
    with pytest.raises(ValidationError, match=r"'fase'; `features` has face, voice; did you mean face\?; .*'vice'"):
        Recipe.model_validate(data)


# ------------------------------------------------------------------------------------------------ overrides


def test_overrides_are_laid_over_the_file(file: Path) -> None:
    recipe = load_recipe(
        file,
        [
            "title=another one",
            "fuse.training.epochs=3",
            "fuse.training.epochs=5",
            "fuse.models.lstm={width: 32}",
            "fuse.models.lstm.layers=2",
            "fuse.alignment.relative=[audio]",
            "study={models: [mlp], modalities: [[audio], [audio, video]]}",
            "study.models=[lstm, crossattn]",
            "features.mel={backbone: logmel, hop_seconds: 2e-2}",
            "corpus.subjects=a=b.csv",
            "store=x.zarr",
        ],
    )
    assert recipe.title == "another one"
    assert recipe.fuse.training.epochs == 5
    assert recipe.fuse.models == {"lstm": {"width": 32, "layers": 2}}
    assert recipe.fuse.alignment.relative == ("audio",)
    assert recipe.study is not None
    assert recipe.study.models == ("lstm", "crossattn")
    assert recipe.study.modalities == (("audio",), ("audio", "video"))
    assert list(recipe.features) == ["face", "voice", "mel"]
    assert recipe.features["mel"].hop_seconds == 0.02
    assert recipe.corpus.subjects == Path("a=b.csv")
    assert recipe.store == "x.zarr"
    assert load_recipe(file, ["corpus.subjects=a.csv", "corpus.subjects="]).corpus.subjects is None


def test_an_override_reaches_into_a_section_that_is_empty_in_the_file(file: Path) -> None:
    edited(file, ("store: s.zarr\n", "store: s.zarr\nexecution:\npuppets: null\n"))
    recipe = load_recipe(file, ["execution.device=cpu", "puppets.seed=11"])
    assert recipe.execution.device == "cpu"
    assert recipe.puppets is not None
    assert recipe.puppets.seed == 11


def test_wrong_overrides_are_all_told_and_are_the_command_line_s(file: Path) -> None:
    assert problems(
        file, "title", "=3", "fuse..seeds=1", "store.path=x", "title=[", "corpus.root.x.y=3", "fuse.seeds=0",
        "fuse.trainin.epochs=3",
    ) == [
        "command line 'title': wanted key.path=value, e.g. fuse.training.epochs=10",
        "command line '=3': wanted key.path=value, e.g. fuse.training.epochs=10",
        "command line 'fuse..seeds=1': wanted key.path=value, e.g. fuse.training.epochs=10",
        "command line 'store.path=x': store.path: store is a value, so nothing can be set in it",
        "command line 'title=[': title: the value '[' is no YAML",
        "command line 'corpus.root.x.y=3': corpus.root.x.y: corpus.root is a value, so nothing can be set in it",
        "command line 'fuse.seeds=0': fuse.seeds: input should be greater than or equal to 1; got 0",
        "command line 'fuse.trainin.epochs=3': fuse.trainin: is not a setting; there are features, train_split, "
        "report_split, model, models, components, alignment, windows, loss, training, seeds; did you mean training?",
    ]  # fmt: skip


def test_what_an_override_replaced_is_no_longer_blamed_on_the_file(file: Path) -> None:
    changed = "fuse.features={video: fase, audio: voice}"
    (found,) = problems(file, changed)
    assert found.startswith(f"command line {changed!r}: fuse.features.video: ")
    (found,) = problems(file, "corpus={format: affwild2, root: 3}")
    assert found.startswith("command line 'corpus={format: affwild2, root: 3}': corpus.root: ")
    (found,) = problems(file, "fuse.seeds=0", "fuse.seeds=-1")
    assert found.startswith("command line 'fuse.seeds=-1': fuse.seeds: ")


def test_the_example_that_a_wrong_override_is_answered_with_works(file: Path) -> None:
    (said,) = problems(file, "x")
    example = said.rpartition("e.g. ")[2]
    assert load_recipe(file, [example]).fuse.training.epochs == 10


def test_recipes_are_frozen(file: Path) -> None:
    recipe = load_recipe(file, ["study={models: [mlp], modalities: [[audio]]}", "puppets={}"])
    for part, name, value in (
        (recipe, "title", "x"),
        (recipe.corpus, "root", Path("x")),
        (recipe.execution, "device", "cpu"),
        (recipe.features["face"], "backbone", "hog"),
        (recipe.fuse, "seeds", 3),
        (recipe.study, "models", ("mlp",)),
        (recipe.puppets, "seed", 3),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, value)


# ------------------------------------------------------------------------------------------------ shipped ones


@pytest.mark.parametrize("name", ["affwild2.yaml", "demo.yaml", "forrest.yaml", "videos.yaml"])
def test_a_shipped_recipe_is_sound(name: str) -> None:
    recipe = load_recipe(RECIPES / name)
    for model in MODELS:
        load_recipe(RECIPES / name, [f"fuse.model={model}"])
    assert recipe.store.endswith(".zarr")
    assert recipe.store.startswith("work/"), "what is written lies where git doesn't look"


def test_there_are_no_other_recipes_that_nobody_loads() -> None:
    assert sorted(path.name for path in RECIPES.iterdir()) == [
        "affwild2.yaml", "demo.yaml", "forrest.yaml", "videos.yaml"
    ]  # fmt: skip


Path_ = tuple[str, ...]


def settings_of(kind: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Every setting there is, by its path; * stands for a name of the user's. Imports are explained in forrest.yaml."""
    if kind == dict[str, Feature]:
        kind = dict[str, FeatureSettings]
    kinds = [one for one in get_args(kind) if isinstance(one, type) and issubclass(one, BaseModel)]
    if isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            yield from settings_of(field.annotation, (*at, name))
    elif kinds:
        yield from settings_of(kinds[-1], (*at, "*") if get_origin(kind) is dict else at)
    else:
        yield at


def leaves(data: Any, at: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """The values of nested maps by their paths; an empty map is a value."""
    if isinstance(data, dict) and data:
        for name, value in data.items():
            yield from leaves(value, (*at, str(name)))
    else:
        yield at, data


def meaning(data: dict[str, Any]) -> str:
    """All that a recipe's data says, each default filled in by the code that uses it."""
    recipe = Recipe.model_validate(data)
    said = recipe.model_dump(mode="json", exclude={"features": True, "fuse": {"models"}})
    said["features"] = {}
    for name, feature in recipe.features.items():
        assert isinstance(feature, FeatureSettings)
        spec = feature.spec
        identity = Identity({"as": feature.weights, "at": feature.revision}, spec.size_px, spec.mean, spec.std)
        said["features"][name] = feature.recipe(identity)
    said["options"] = {name: recipe.fuse.model_copy(update={"model": name}).options() for name in MODELS}
    return json.dumps(said, sort_keys=True)


AFFWILD2 = yaml.load((RECIPES / "affwild2.yaml").read_text(encoding="utf-8"), yaml.SafeLoader)
# Those that the head of the file says must be given, and of a feature what it is.
NEEDED = {
    *[("title",), ("corpus", "format"), ("corpus", "root"), ("store",), ("runs",), ("report",)],
    *[("faces", "method"), ("features", "face", "crop", "region")],
    *[("features", name, "backbone") for name in AFFWILD2["features"]],
    *[("features", name, "weights") for name in ("face", "voice")],
    *[("fuse", "features", name) for name in AFFWILD2["fuse"]["features"]],
}


@pytest.mark.parametrize("path", [path for path, _ in leaves(AFFWILD2) if path not in NEEDED], ids=".".join)
def test_a_line_left_out_of_affwild2_has_the_value_shown(path: Path_) -> None:
    without = copy.deepcopy(AFFWILD2)
    place = without
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    assert meaning(without) == meaning(AFFWILD2)
    # And the other way round: the line is read, so another value is refused or means another thing.
    place[path[-1]] = 1e9
    try:
        other = meaning(without)
    except ValidationError:
        return
    assert other != meaning(AFFWILD2)


@pytest.mark.parametrize("path", sorted(NEEDED), ids=".".join)
def test_what_affwild2_calls_needed_is_needed(path: Path_) -> None:
    without = copy.deepcopy(AFFWILD2)
    place = without
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    if path[:2] == ("fuse", "features"):  # one modality is enough, but that is another experiment
        assert meaning(without) != meaning(AFFWILD2)
        return
    with pytest.raises(ValidationError, match=r"Field required|needs `weights`|no feature has crop.region: face"):
        Recipe.model_validate(without)


def test_affwild2_shows_every_setting_there_is() -> None:
    shown = {path for path, _ in leaves(AFFWILD2)}
    shown |= {("features", "*", *path[2:]) for path in shown if path[0] == "features"}
    shown |= {path[:i] for path in shown for i in range(1, len(path))}
    # The demo's own, explained in demo.yaml, a manifest's, in forrest.yaml, faces, in videos.yaml: only named here.
    elsewhere = {"puppets": 1, "study": 1, "manifest": 2, "faces": 1}
    wanted = {path[: min(elsewhere.get(name, len(path)) for name in path[:2])] for path in settings_of(Recipe)}
    assert len(wanted) > 40
    assert ("features", "*", "crop", "size_px") in wanted
    assert ("fuse", "training", "shift") in wanted
    assert sorted(".".join(path) for path in wanted - shown) == []
    for model, spec in MODELS.items():
        assert AFFWILD2["fuse"]["models"][model] == spec.options
    assert set(AFFWILD2["features"]["face"]["crop"]) == set(CropSettings.model_fields)
    assert {name for feature in AFFWILD2["features"].values() for name in feature} == set(FeatureSettings.model_fields)


def test_videos_shows_every_setting_of_faces_and_its_default() -> None:
    shown = yaml.load((RECIPES / "videos.yaml").read_text(encoding="utf-8"), yaml.SafeLoader)["faces"]
    others = {name: value for name, value in shown.items() if name not in ("method", "weights")}
    assert set(shown) | {"margin"} == set(FaceSettings.model_fields)  # it would have no effect there; a comment has it
    assert FaceSettings(**shown) == FaceSettings(method="detect", weights=shown["weights"])
    assert others == {name: FaceSettings.model_fields[name].default for name in others}
