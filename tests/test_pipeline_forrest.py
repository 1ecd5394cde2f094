"""Features by backbone and by import in one recipe; and forrest.yaml, from its files to a report."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from puppets import ROOT, duet
from pydantic import BaseModel

from cache.catalogue import Catalogue
from cache.clock import Clock
from cache.store import open_store
from extract.corpora import read_corpus
from extract.import_settings import ImportSettings, ImportTimeSettings
from extract.imports import import_recipe, read_import
from extract.manifest_settings import LabelSettings, ManifestSettings
from extract.recipe import FeatureSettings
from fuse.bank import load_bank
from pipeline.settings import Recipe, SettingsError, load_recipe

FORREST = ROOT / "pipeline" / "recipes" / "forrest.yaml"
LOUDNESS, BRIGHTNESS = ["rms", "lrdiff"], ["brmean", "brlr", "brud", "norm_diff"]
RUNS = ("run-1", "run-2", "run-3", "run-4", "run-5")

MIXED = """\
title: both
corpus: {format: manifest, root: data}
store: s.zarr
runs: runs
report: report
features:
  face: {backbone: hog, crop: {size_px: 48}}
  smile:
    path: "{clip}.csv"
    time: {column: time, unit: s}
    columns: ["F0*"]
fuse:
  features: {video: face, audio: smile}
"""


def recipe_of(folder: Path, *changes: tuple[str, str]) -> Recipe:
    text = MIXED
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "x.yaml").write_text(text, encoding="utf-8")
    return load_recipe(folder / "x.yaml")


def problems(folder: Path, *changes: tuple[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        recipe_of(folder, *changes)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------------ both kinds


def test_a_feature_is_known_by_its_keys(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    assert isinstance(recipe.features["face"], FeatureSettings)
    assert isinstance(recipe.features["smile"], ImportSettings)
    assert recipe.features["smile"].columns == ("F0*",)
    made = Recipe.model_validate(recipe.model_dump() | {"features": dict(recipe.features)})
    assert made == recipe, "settings made in code are taken as they are"


def test_every_mistake_in_both_kinds_is_told_with_its_place_and_the_nearest_key(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        ("size_px: 48", "size: 48"),
        ("unit: s", "unit: minutes"),
        ("    columns:", "    colums:"),
        ("  smile:\n", "  empty: {}\n  seven: 7\n  smile:\n"),
        ("audio: smile", "audio: smiel"),
    )
    assert found == [
        "x.yaml:7:32: features.face.crop.size: is not a setting; there are region, size_px; did you mean size_px?",
        "x.yaml:8:3: features.empty.backbone: is missing",
        "x.yaml:9:3: features.seven: input should be a valid dictionary or instance of FeatureSettings; got 7",
        "x.yaml:12:26: features.smile.time.unit: input should be 's', 'ms', 'us' or 'hms'; got 'minutes'",
        "x.yaml:13:5: features.smile.colums: is not a setting; there are path, dataset, time, rate_hz, start_seconds, "
        "columns, ignore, where, valid_at_least, delimiter, dtype; did you mean columns?",
        "x.yaml:15:27: fuse.features.audio: fuse.features.audio names the feature 'smiel'; `features` has face, empty, "
        "seven, smile; did you mean smile?",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([('    path: "{clip}.csv"\n', "")], "x.yaml:8:3: features.smile.path: is missing"),
        ([('path: "{clip}.csv"', 'pth: "{clip}.csv"')],
         "x.yaml:9:5: features.smile.pth: is not a setting; there are path, dataset, time"),
        ([('path: "{clip}.csv"', "path: all.csv")],
         "x.yaml:8:3: features.smile: path 'all.csv' is one for all clips; wanted a place such as {clip} in it"),
        ([("time: {column: time, unit: s}", "time: {column: time, unit: s, tick_us: 5}")],
         "x.yaml:10:5: features.smile.time: tick_us would have no effect: the decimal times of a column are "
         "taken exactly"),
        ([('path: "{clip}.csv"', 'path: "{clip}.csv"\n    backbone: hog')],
         "x.yaml:10:5: features.smile.backbone: is not a setting; there are path, dataset"),
        ([("{backbone: hog,", "{backbone: hog, where: {a: 1},")],
         "x.yaml:7:25: features.face.where: is not a setting; there are backbone, weights"),
        ([("root: data}", "root: data, manifest: {labels: {tmie: 3}}}")],
         "x.yaml:2:60: corpus.manifest.labels.tmie: is not a setting; there are valence, arousal, time, rate_hz"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_problem(tmp_path: Path, changes: list[tuple[str, str]], message: str) -> None:
    found = problems(tmp_path, *changes)
    assert any(problem.startswith(message) for problem in found), found
    assert len(found) == (2 if "pth" in message else 1), found  # pth is unknown, and path is missing


# ------------------------------------------------------------------------------------------------ into the store


def test_a_clip_without_its_file_fails_alone_and_a_new_file_is_read_anew(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    clips = ("ann", "bob", "eve")
    lines = ["id,labels,split", *(f"{clip},labels.csv,{split}" for clip, split in zip(clips, "tvt", strict=True))]
    (tmp_path / "data/manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "data/labels.csv").write_text("valence,arousal\n0.5,0\n-0.5,0.25\n1,1\n", encoding="utf-8")
    for clip in clips[:2]:
        (tmp_path / "data" / f"{clip}.csv").write_text("time,F0 mean\n0,1\n1,2\n2,3\n3,4\n", encoding="utf-8")
    recipe_of(
        tmp_path,
        ("root: data}", "root: data, manifest: {labels: {rate_hz: 2}}}"),
        ("  face: {backbone: hog, crop: {size_px: 48}}\n", ""),
        ("{video: face, audio: smile}", "{audio: smile}"),
    )
    done = duet(tmp_path, "extract", "x.yaml")
    assert done.code == 1
    assert "eve.csv is missing; clip eve has its rows there, by the path '{clip}.csv'" in " ".join(done.err.split())
    store = open_store(tmp_path / "s.zarr")
    assert [record.clip for record in Catalogue(store)] == ["ann", "bob"]
    before = Catalogue(store)["bob"]
    assert before.labels is not None
    assert before.labels.clock == Clock.regular(Fraction(1, 2), 3)
    np.testing.assert_array_equal(store.read(before.key("smile")).values, [(1,), (2,), (3,), (4,)])

    (tmp_path / "data/bob.csv").write_text("time,F0 mean\n0,7\n1,5\n", encoding="utf-8")
    (tmp_path / "data/eve.csv").write_text("time,F0 max\n0,7\n", encoding="utf-8")
    done = duet(tmp_path, "extract", "x.yaml")
    assert done.code == 1
    assert "eve.csv has no column F0 mean and the column F0 max, which others haven't" in " ".join(done.err.split())
    catalogue = Catalogue(store)
    np.testing.assert_array_equal(store.read(catalogue["bob"].key("smile")).values, [(7,), (5,)])
    assert catalogue["ann"].key("smile").recipe == before.key("smile").recipe


# ------------------------------------------------------------------------------------------------ forrest.yaml


def shown(data: Any, model: type[BaseModel], at: str) -> Iterator[tuple[str, Any, Any]]:
    """Each setting of a model: where it is, the value that the file shows, its default."""
    assert set(data) == set(model.model_fields), at
    for name, field in model.model_fields.items():
        yield f"{at}.{name}", data[name], field.get_default(call_default_factory=True)


def test_every_setting_of_imports_and_manifests_is_shown() -> None:
    data = yaml.safe_load(FORREST.read_text(encoding="utf-8"))
    manifest, loudness = data["corpus"]["manifest"], data["features"]["loudness"]
    pairs = [
        *shown(manifest, ManifestSettings, "manifest"),
        *shown(manifest["labels"], LabelSettings, "labels"),
        *shown(loudness, ImportSettings, "import"),
        *shown(loudness["time"], ImportTimeSettings, "time"),
    ]
    chosen = {
        "manifest.file",
        "manifest.labels",
        "labels.time",
        "import.path",
        "import.time",
        "time.column",
        "time.unit",
    }
    for where, value, default in pairs:
        if where not in chosen:
            assert (tuple(value) if isinstance(value, list) else value) == default, where


@pytest.fixture
def work(samples: Callable[[str], Path], tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """A folder with the list of clips that the recipe's head tells to write; and what to say where the data are."""
    comment = [line.removeprefix("# ") for line in FORREST.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    first = comment.index("id,labels,split,labels_from_seconds")
    lines = comment[first : first + 6]
    (tmp_path / "work/forrest").mkdir(parents=True)
    (tmp_path / "work/forrest/manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path, (f"corpus.root={os.path.abspath(samples('forrest'))}", "execution.device=cpu")


def by_hand(file: Path, columns: list[str]) -> tuple[list[Fraction], np.ndarray]:
    """Times and numbers of a CSV, through Python's own reader."""
    with file.open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return [Fraction(row["time"]) for row in rows], np.array([[float(row[name]) for name in columns] for row in rows])


def times(clock: Clock) -> list[Fraction]:
    return [tick * clock.tick_seconds for tick in clock.all_ticks().tolist()]


@pytest.mark.samples
def test_what_is_read_is_what_the_files_say(
    work: tuple[Path, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, overrides = work
    monkeypatch.chdir(folder)
    recipe = load_recipe(FORREST, overrides)
    clips = read_corpus(recipe.corpus)
    assert [(clip.name, clip.split) for clip in clips] == [*((run, "train") for run in RUNS[:3]),
                                                           *((run, "validation") for run in RUNS[3:])]  # fmt: skip
    wanted = {
        "loudness": ("audio", ["rms", "lrdiff"]),
        "brightness": ("visual", ["brmean", "brlr", "brud", "norm_diff"]),
    }
    for clip in clips:
        at, ratings = by_hand(recipe.corpus.root / clip.name / "labels.csv", ["valence", "arousal"])
        kept = [i for i, time in enumerate(at) if clip.name == "run-1" or time >= Fraction("20.2")]
        assert clip.labels is not None
        assert clip.labels.clock is not None
        assert times(clip.labels.clock) == [at[i] for i in kept]
        assert clip.labels.valid.all()
        np.testing.assert_array_equal(clip.labels.values, ratings[kept].astype(np.float32))
        assert len(at) - len(kept) == (0 if clip.name == "run-1" else 20 if clip.name != "run-2" else 21)
    for clip in (clips[0], clips[4]):
        for name, (file, columns) in wanted.items():
            feature = recipe.features[name]
            assert isinstance(feature, ImportSettings)
            assert import_recipe(name, feature, clips, recipe.corpus.root)["columns"] == columns
            track = read_import(feature, clip, recipe.corpus.root, columns)
            at, numbers = by_hand(recipe.corpus.root / clip.name / f"{file}.csv", columns)
            assert track.clock.ticks is None
            assert track.clock.step * track.clock.tick_seconds == Fraction(1, 25)
            assert times(track.clock) == at
            np.testing.assert_array_equal(track.values, numbers.astype(np.float32))


@pytest.mark.samples
def test_from_files_to_a_report(work: tuple[Path, tuple[str, ...]]) -> None:
    folder, overrides = work
    done = duet(folder, "extract", str(FORREST), *overrides)
    assert done.code == 0, done.err
    recipe, store = load_recipe(FORREST, overrides), open_store(folder / "work/forrest/store.zarr")
    catalogue = Catalogue(store)
    assert {record.clip: record.group for record in catalogue} == {run: f"media:{run}" for run in RUNS}

    # What stage two sees of a label's second are the 25 rows of features that begin within it.
    bank = load_bank(store, catalogue, "validation", recipe.fuse.features, recipe.fuse.alignment)
    for run, first in (("run-4", 0), ("run-5", 960)):
        begins, _ = by_hand(recipe.corpus.root / run / "labels.csv", ["valence"])
        begins = [time for time in begins if time >= Fraction("20.2")]
        for modality, file, columns in (("audio", "audio", LOUDNESS), ("video", "visual", BRIGHTNESS)):
            at, numbers = by_hand(recipe.corpus.root / run / f"{file}.csv", columns)
            for row in (0, 7, 311):
                here = [i for i, time in enumerate(at) if begins[row] <= time < begins[row] + 1]
                assert len(here) == 25
                np.testing.assert_allclose(
                    bank.values[modality][first + row], numbers[here].mean(0), rtol=1e-5, atol=1e-6
                )

    done = duet(folder, "fuse", str(FORREST), *overrides, "fuse.training.epochs=2", "fuse.seeds=1")
    assert done.code == 0, done.err
    report = json.loads((folder / "work/forrest/report/report.json").read_text(encoding="utf-8"))
    (run,) = report["runs"]
    assert (run["n_clips"], run["n_rows"], run["enough_groups"]) == (2, 960 + 908, False)
    assert {feature["name"]: feature["weights"] for feature in report["features"]} == {
        "loudness": "imported",
        "brightness": "imported",
    }
    assert (folder / "work/forrest/report/index.html").stat().st_size > 0
