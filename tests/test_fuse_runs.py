"""Runs as folders: what is in them, what makes another one, and that the reported split stays unseen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from sequences import small_options, write_store

from cache.catalogue import Catalogue
from cache.store import StoreError, open_store
from cache.track import Track
from fuse import runs
from fuse.bank import load_bank
from fuse.evaluate import Predictions, predict, predictions_of, scores
from fuse.models.registry import build_model
from fuse.runs import Run, execute, plan_runs, read_scores, seen_by
from fuse.settings import FuseSettings
from fuse.train import new_model, train

FILES = ["checkpoint.safetensors", "metrics.jsonl", "predictions.npz", "run.json", "scores.json"]


def plan(model: str = "mlp", **changes: Any) -> FuseSettings:
    return FuseSettings.model_validate(
        {
            "features": {"video": "face", "audio": "voice"},
            "model": model,
            "models": {model: small_options(model)},
            "windows": {"length": 13, "hop": 7},
            "training": {"epochs": 3, "batch": 5, "learning_rate": 3e-3},
            "seeds": 2,
        }
        | changes
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    path = tmp_path_factory.mktemp("runs") / "s.zarr"
    write_store(path)
    return path


@pytest.fixture(scope="module")
def done(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run that no test changes."""
    run = planned(store, tmp_path_factory.mktemp("done"), plan("lstm"))[1]
    execute(run)
    return run


def copied(store: Path, path: Path) -> Catalogue:
    """The catalogue of a copy that a test may change."""
    shutil.copytree(store, path)
    return Catalogue(open_store(path, writable=True))


def planned(store: Path, runs: Path, settings: FuseSettings) -> list[Run]:
    return plan_runs(settings, Catalogue(open_store(store)), store, runs)


def predictions_in(folder: Path) -> Predictions:
    with np.load(folder / "predictions.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return Predictions(**arrays | {name: arrays[name].tolist() for name in ("clips", "groups")})


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in sorted(folder.iterdir())}


def test_one_run_a_seed_is_planned_and_nothing_written(store: Path, tmp_path: Path) -> None:
    runs = planned(store, tmp_path / "runs", plan("lstm", seeds=3))
    assert [run.seed for run in runs] == [0, 1, 2]
    assert [run.folder.name for run in runs] == ["seed-0", "seed-1", "seed-2"]
    assert {run.folder.parent.name.rpartition("-")[0] for run in runs} == {"lstm-audio+video"}
    assert [run.label for run in runs][1] == "lstm audio+video seed 1"
    assert not any(run.finished for run in runs)
    assert not (tmp_path / "runs").exists()


def test_a_folder_holds_the_whole_run(done: Run, store: Path) -> None:
    assert sorted(file.name for file in done.folder.iterdir()) == FILES
    assert done.finished
    told = json.loads((done.folder / "run.json").read_text())
    assert told["settings"] == done.settings.experiment()
    assert (told["format"], told["seed"], told["population"]) == (1, 1, {"members": 1, "index": 0})
    assert told["inputs"] == done.inputs
    assert told["inputs"]["catalogue"] == seen_by(done.settings, Catalogue(open_store(store)))
    assert told["features"] == {"video": {"backbone": "f", "width": 5}, "audio": {"backbone": "v", "width": 3}}
    lines = [json.loads(line) for line in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    found = read_scores(done.folder)
    assert found["epochs"] == 3
    assert found["split"] == "validation"
    best = max(lines, key=lambda line: line["inner_ccc_mean"])
    assert (found["best_epoch"], found["inner_ccc_mean"]) == (best["epoch"], best["inner_ccc_mean"])
    assert all(group.startswith("train-") for group in found["inner_groups"])


def test_every_row_of_the_reported_split_is_predicted_and_scored_once(done: Run, store: Path) -> None:
    found = predictions_in(done.folder)
    records = [record for record in Catalogue(open_store(store)) if record.split == "validation"]
    assert found.clips == [record.clip for record in records]
    assert np.diff(found.offsets).tolist() == [len(record.labels) for record in records]
    assert found.predictions.shape == found.labels.shape == (found.offsets[-1], 2)
    assert np.isfinite(found.predictions).all()
    kept = np.concatenate([record.labels.valid for record in records])
    labels = np.concatenate([record.labels.values for record in records])
    np.testing.assert_array_equal(found.labels_valid, kept)
    np.testing.assert_array_equal(found.labels[kept], labels[kept])
    np.testing.assert_array_equal(found.seconds, np.concatenate([record.labels.clock.seconds() for record in records]))
    told = read_scores(done.folder)
    assert told["n_rows"] == kept.sum()
    assert {name: told[name] for name in scores(found)} == scores(found)


def test_the_checkpoint_gives_the_stored_predictions_again(done: Run, store: Path) -> None:
    settings, opened = done.settings, open_store(store)
    bank = load_bank(opened, Catalogue(opened), "validation", settings.features, settings.alignment)
    model = new_model(bank.widths, settings)
    state = safetensors.torch.load_file(done.folder / "checkpoint.safetensors")
    model.load_state_dict(state)
    np.testing.assert_array_equal(
        predict(model, bank, settings.windows.length), predictions_in(done.folder).predictions
    )
    train_bank = load_bank(opened, Catalogue(opened), "train", settings.features, settings.alignment)
    assert read_scores(done.folder)["parameters"] == sum(p.numel() for p in model.parameters())
    # The standardisation in the checkpoint is that of the training clips that were fitted on, and of no other.
    inner = read_scores(done.folder)["inner_groups"]
    fitted = [i for i, group in enumerate(train_bank.groups) if group not in inner]
    for name in settings.features:
        rows = train_bank.values[name][train_bank.rows_of(fitted) & train_bank.valid[name]].double()
        # Fitted in float64, kept in float32: 2^-24 relative.
        np.testing.assert_allclose(state[f"preparation.mean_{name}"], rows.mean(0), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(1 / state[f"preparation.scale_{name}"], rows.std(0, correction=0), rtol=1e-6)


def test_the_same_run_again_is_the_same_to_the_byte(done: Run, tmp_path: Path) -> None:
    again = replace(done, folder=tmp_path / "again")
    execute(again)
    for name in ("run.json", "checkpoint.safetensors"):
        assert (again.folder / name).read_bytes() == (done.folder / name).read_bytes(), name
    for name, array in vars(predictions_in(done.folder)).items():
        np.testing.assert_array_equal(getattr(predictions_in(again.folder), name), array)
    first, second = read_scores(done.folder), read_scores(again.folder)
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_the_seed_of_a_run_is_the_seed_of_its_training(done: Run, store: Path) -> None:
    settings, opened = done.settings, open_store(store)
    bank = load_bank(opened, Catalogue(opened), "train", settings.features, settings.alignment)
    state = safetensors.torch.load_file(done.folder / "checkpoint.safetensors")
    for seed in (0, 1):
        wanted = train(bank, settings, seed).model.state_dict()
        assert all(torch.equal(state[name], wanted[name]) for name in wanted) == (seed == done.seed)


def test_a_finished_run_is_not_touched(done: Run) -> None:
    before = contents(done.folder)
    assert execute(done) == read_scores(done.folder)
    assert contents(done.folder) == before


def test_an_unfinished_run_is_done_again_whole(done: Run, tmp_path: Path) -> None:
    half = replace(done, folder=tmp_path / "half")
    shutil.copytree(done.folder, half.folder)
    (half.folder / "scores.json").unlink()
    (half.folder / "checkpoint.safetensors").write_bytes(b"cut short")
    with (half.folder / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"epoch": 4, "lo')
    assert not half.finished
    execute(half)
    assert half.finished
    assert sorted(file.name for file in half.folder.iterdir()) == FILES
    name = "checkpoint.safetensors"
    assert (half.folder / name).read_bytes() == (done.folder / name).read_bytes()
    assert len((half.folder / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_run_that_fails_is_not_finished(store: Path, tmp_path: Path) -> None:
    settings = plan(training={"epochs": 2, "learning_rate": 1e30})
    run = planned(store, tmp_path, settings)[0]
    with pytest.raises(ValueError, match="training diverged"):
        execute(run)
    assert not run.finished


@pytest.mark.parametrize(
    "change",
    [
        {"model": "lstm"},
        {"models": {"mlp": small_options("mlp", width=16)}},
        {"features": {"video": "face"}},
        {"features": {"video": "voice", "audio": "face"}},
        {"windows": {"length": 13, "hop": 5}},
        {"alignment": {"label_delay_seconds": 0.3}},
        {"training": {"epochs": 3, "batch": 5, "learning_rate": 3e-3, "inner_seed": 1}},
        {"alignment": {"rate_hz": 7}},
        {"alignment": {"relative": ["audio"]}},
        {"components": {"video": 2}},
        {"training": {"epochs": 3, "batch": 5, "learning_rate": 3e-3, "shift": {"video": 0.5}}},
        {"report_split": "train", "train_split": "validation"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_are_another_folder(store: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = planned(store, tmp_path, plan())[0].folder
    assert planned(store, tmp_path, plan())[0].folder == folder
    assert planned(store, tmp_path, plan(**change))[0].folder.parent.name != folder.parent.name


def test_what_decides_nothing_is_the_same_folder(store: Path, tmp_path: Path) -> None:
    folders = [run.folder for run in planned(store, tmp_path, plan())]
    assert [run.folder for run in planned(store, tmp_path, plan(seeds=5))][:2] == folders
    for change in (
        {"models": {"mlp": small_options("mlp"), "lstm": {"width": 16}}},  # an option of a model that doesn't run
        {"models": {"mlp": small_options("mlp", dropout=0)}},  # 0 for 0.0
        {"features": {"audio": "voice", "video": "face"}},  # named in another order
        {"loss": {"mse": 0.2}},  # a default, said aloud
    ):
        assert [run.folder for run in planned(store, tmp_path, plan(**change))] == folders, change


def test_the_order_of_the_features_changes_no_number(store: Path, tmp_path: Path) -> None:
    files = []
    for i, features in enumerate(({"audio": "voice", "video": "face"}, {"video": "face", "audio": "voice"})):
        run = planned(store, tmp_path / str(i), plan("crossattn", features=features))[0]
        execute(run)
        files.append((run.folder.parent.name, (run.folder / "checkpoint.safetensors").read_bytes()))
    assert files[0] == files[1]


def test_changed_labels_are_another_folder_and_a_stale_plan_is_refused(store: Path, tmp_path: Path) -> None:
    catalogue = copied(store, tmp_path / "s.zarr")
    before = planned(tmp_path / "s.zarr", tmp_path / "runs", plan())[0]
    record = catalogue["clip02"]
    labels = Track.of(np.full((len(record.labels), 2), 0.125), record.labels.clock, dtype="float32")
    assert catalogue.update(replace(record, labels=labels))
    with pytest.raises(ValueError, match=r"the catalogue of .* changed since mlp audio\+video seed 0 was planned"):
        execute(before)
    assert not before.folder.exists()
    assert planned(tmp_path / "s.zarr", tmp_path / "runs", plan())[0].folder != before.folder


def test_a_feature_that_is_not_in_the_store_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no feature 'gaze'; it has face, voice"):
        planned(store, tmp_path, plan(features={"video": "gaze"}))


@pytest.mark.parametrize("model", ["mlp", "crossattn"])
def test_poisoned_labels_of_the_reported_split_leave_the_checkpoint_the_same(tmp_path: Path, model: str) -> None:
    checkpoints, metrics, reported = [], [], []
    for name, poisoned in (("clean", None), ("poisoned", "validation")):
        write_store(tmp_path / f"{name}.zarr", poisoned_split=poisoned)
        run = planned(tmp_path / f"{name}.zarr", tmp_path / name, plan(model, seeds=1))[0]
        reported.append(execute(run)["ccc_concat"]["mean"])
        checkpoints.append((run.folder / "checkpoint.safetensors").read_bytes())
        lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        metrics.append([{**line, "seconds": 0} for line in lines])
    assert reported[0] != reported[1]  # the poison was there
    assert checkpoints[0] == checkpoints[1]
    assert metrics[0] == metrics[1]


def test_poisoned_labels_of_the_training_split_do_not(tmp_path: Path) -> None:
    checkpoints = []
    for name, poisoned in (("clean", None), ("poisoned", "train")):
        write_store(tmp_path / f"{name}.zarr", poisoned_split=poisoned)
        run = planned(tmp_path / f"{name}.zarr", tmp_path / name, plan(seeds=1))[0]
        execute(run)
        checkpoints.append((run.folder / "checkpoint.safetensors").read_bytes())
    assert checkpoints[0] != checkpoints[1]


def test_the_checkpoint_names_its_tensors_and_runs_no_code(done: Run) -> None:
    with safetensors.safe_open(done.folder / "checkpoint.safetensors", "pt") as file:
        names = set(file.keys())
    model = build_model("lstm", {"video": 5, "audio": 3}, done.settings.options())
    fitted = {f"preparation.{what}_{name}" for what in ("mean", "scale") for name in ("video", "audio")}
    assert names == fitted | {f"model.{name}" for name in model.state_dict()}


# What a run can see


def test_a_run_s_catalogue_changes_exactly_with_what_it_can_see(store: Path, tmp_path: Path) -> None:
    catalogue = copied(store, tmp_path / "s.zarr")
    settings = plan(features={"video": "face"})
    before, folder = seen_by(settings, catalogue), planned(tmp_path / "s.zarr", tmp_path, settings)[0].folder

    def now() -> str:
        found = seen_by(settings, Catalogue(open_store(tmp_path / "s.zarr")))
        same_folder = planned(tmp_path / "s.zarr", tmp_path, settings)[0].folder == folder
        assert same_folder == (found == before)
        return found

    first = catalogue["clip00"]
    # Not seen: clips of another split, whatever changes in them, and other features.
    catalogue.update(replace(first, clip="new", split="test", subject="nobody"))
    assert now() == before
    catalogue.update(replace(first, clip="new", split="test", subject="nobody", labels=None))
    assert now() == before
    catalogue.update(replace(first, tracks={"gaze": "a" * 64}))
    assert now() == before
    assert seen_by(plan(), catalogue) != before, "a run on voices too sees more"
    # Seen: the labels, the subject, the split and the feature of a clip of either split, and that there is one more.
    for clip in ("clip00", "clip12"):
        record = catalogue[clip]
        labels = Track.of(np.full((len(record.labels), 2), 0.125), record.labels.clock, dtype="float32")
        for change in (
            {"labels": labels},
            {"subject": f"{record.split}-another"},
            {"split": "test"},
            {"tracks": {"face": "b" * 64}},
        ):
            catalogue.update(replace(record, **change))
            if "tracks" in change:  # two recipes under one name, which no run may use
                assert seen_by(settings, catalogue) != before
            else:
                assert now() != before, change
            catalogue.update(record)
            assert now() == before
    catalogue.update(replace(first, clip="one more"))
    assert now() != before


def test_a_clip_of_another_split_leaves_a_plan_as_good_as_it_was(store: Path, tmp_path: Path) -> None:
    catalogue = copied(store, tmp_path / "s.zarr")
    run = planned(tmp_path / "s.zarr", tmp_path / "runs", plan(seeds=1))[0]
    catalogue.update(replace(catalogue["clip00"], clip="new", split="test", subject="nobody"))
    execute(run)
    assert run.finished
    assert planned(tmp_path / "s.zarr", tmp_path / "runs", plan(seeds=1))[0].finished


def test_a_group_in_both_splits_is_refused(store: Path, tmp_path: Path) -> None:
    catalogue = copied(store, tmp_path / "s.zarr")
    for clip in ("clip09", "clip11"):
        catalogue.update(replace(catalogue[clip], subject="train-2"))
    message = (
        r"1 groups are in both train and validation, e\.g\. train-2; a score wants subjects that training never saw"
    )
    with pytest.raises(ValueError, match=message):
        planned(tmp_path / "s.zarr", tmp_path, plan())
    # Where subjects are not known, two clips of one file are one group.
    catalogue = copied(store, tmp_path / "t.zarr")
    for clip in ("clip00", "clip12"):
        catalogue.update(replace(catalogue[clip], subject=None, media="pair.mp4"))
    with pytest.raises(ValueError, match=r"1 groups are in both train and validation, e\.g\. media:pair\.mp4"):
        planned(tmp_path / "t.zarr", tmp_path, plan())
    # Elsewhere it is no matter.
    catalogue.update(replace(catalogue["clip12"], split="test"))
    assert planned(tmp_path / "t.zarr", tmp_path, plan())


# Banks that are shared


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The splits that were read from a store, in order, none being there yet."""
    told: list[str] = []

    def noted(store: Any, catalogue: Any, split: str, *rest: Any) -> Any:
        told.append(split)
        return load_bank(store, catalogue, split, *rest)

    monkeypatch.setattr("fuse.bank.load_bank", noted)
    monkeypatch.setattr("fuse.runs._banks", {})
    return told


def numbers(run: Run) -> dict[str, bytes]:
    found = predictions_in(run.folder)
    return {name: np.asarray(array).tobytes() for name, array in vars(found).items()} | {
        "checkpoint": (run.folder / "checkpoint.safetensors").read_bytes()
    }


def test_seeds_and_models_share_their_banks_and_get_the_numbers_of_fresh_ones(
    store: Path, tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [plan(model, training={"epochs": 2, "batch": 5, "shift": {"video": 0.5}}) for model in ("mlp", "lstm")]
    shared = [run for chosen in settings for run in planned(store, tmp_path / "shared", chosen)]
    for run in shared:
        execute(run)
    assert loaded == ["train", "validation"]
    fresh = [run for chosen in settings for run in planned(store, tmp_path / "fresh", chosen)]
    for run, other in zip(fresh, shared, strict=True):
        monkeypatch.setattr("fuse.runs._banks", {})
        execute(run)
        assert numbers(run) == numbers(other)
    assert loaded == ["train", "validation"] * 5


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ({"windows": {"length": 11, "hop": 5}}, []),
        ({"components": {"video": 2}}, []),
        ({"alignment": {"rate_hz": 5}}, ["train", "validation"]),
        ({"alignment": {"relative": ["audio"]}}, ["train", "validation"]),
        ({"features": {"video": "face"}}, ["train", "validation"]),
        ({"features": {"video": "voice", "audio": "face"}}, ["train", "validation"]),
    ],
    ids=lambda value: next(iter(value), None) if isinstance(value, dict) else None,
)
def test_a_bank_is_shared_exactly_where_it_would_hold_the_same(
    store: Path, tmp_path: Path, loaded: list[str], change: dict[str, Any], read: list[str]
) -> None:
    quick = {"training": {"epochs": 1, "batch": 5}, "seeds": 1}
    execute(planned(store, tmp_path, plan(**quick))[0])
    loaded.clear()
    run = planned(store, tmp_path, plan(**{**quick, **change}))[0]
    execute(run)
    assert loaded == read


def test_stores_of_other_content_or_elsewhere_share_nothing(store: Path, tmp_path: Path, loaded: list[str]) -> None:
    quick = plan(training={"epochs": 1, "batch": 5}, seeds=1)
    record = copied(store, tmp_path / "b.zarr")["clip00"]
    labels = Track.of(np.full((len(record.labels), 2), 0.125), record.labels.clock, dtype="float32")
    copied(store, tmp_path / "c.zarr").update(replace(record, labels=labels))
    for path in (store, tmp_path / "b.zarr", tmp_path / "c.zarr"):
        execute(planned(path, tmp_path / path.stem, quick)[0])
    assert loaded == ["train", "validation"] * 3


def test_few_banks_are_kept(store: Path, tmp_path: Path, loaded: list[str]) -> None:
    for delay in (0.0, 0.1, 0.2):
        chosen = plan(training={"epochs": 1, "batch": 5}, seeds=1, alignment={"label_delay_seconds": delay})
        execute(planned(store, tmp_path, chosen)[0])
    assert loaded == ["train", "validation"] * 3
    assert len(runs._banks) == 4


def test_a_run_at_a_rate_of_its_own_is_scored_on_every_label(store: Path, tmp_path: Path) -> None:
    given = {
        "alignment": {"rate_hz": 7, "relative": ["audio"]}, "components": {"video": 2},
        "training": {"epochs": 2, "batch": 5, "shift": {"audio": 0.5}}, "seeds": 1,
    }  # fmt: skip
    run = planned(store, tmp_path, plan("lstm", **given))[0]
    told = execute(run)
    found = predictions_in(run.folder)
    records = [record for record in Catalogue(open_store(store)) if record.split == "validation"]
    assert np.diff(found.offsets).tolist() == [len(record.labels) for record in records]
    np.testing.assert_array_equal(found.seconds, np.concatenate([record.labels.clock.seconds() for record in records]))
    assert told["n_rows"] == sum(int(record.labels.valid.sum()) for record in records)
    assert np.isfinite(found.predictions).all()
    state = safetensors.torch.load_file(run.folder / "checkpoint.safetensors")
    assert state["preparation.components_video"].shape == (5, 2)
    assert state["preparation.mean_audio"].shape == (6,)
    # The checkpoint and the settings are enough to predict again.
    opened = open_store(store)
    bank = load_bank(opened, Catalogue(opened), "validation", run.settings.features, run.settings.alignment)
    model = new_model(bank.widths, run.settings)
    model.load_state_dict(state)
    again = predictions_of(model, bank, run.settings.windows.length)
    np.testing.assert_array_equal(again.predictions, found.predictions)
