"""Finished runs into the report's JSON: intervals, differences and words, against the functions they come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequences import WIDTHS, smooth, write_store

from cache.catalogue import Catalogue
from cache.store import Store, open_store
from fuse.compare import FEWEST_GROUPS, Interval, difference, mean_ccc
from fuse.evaluate import Predictions, scores
from fuse.runs import plan_runs
from fuse.settings import FuseSettings
from pipeline.report.assemble import Experiment, assemble, current, read_experiments, sentence
from pipeline.report.page import render

FEATURES = {"audio": "voice", "video": "face"}
GROUPS = 11
NAMES = ("valence", "arousal", "mean")


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("assemble") / "x.zarr"
    write_store(path)
    return path


def predicted(noise: float, seed: int, groups: int = GROUPS, shortened: int = 0, constant: bool = False) -> Predictions:
    """Two clips a group; labels the same whatever the noise and seed. shortened: rows that the last clip has less."""
    rng = np.random.default_rng(3)
    lengths = [int(n) for n in rng.integers(17, 43, 2 * groups)]
    lengths[4] = 701  # more than a trace has points
    labels = np.concatenate([smooth(rng, n, 2) + rng.normal(size=2) * 0.1 for n in lengths])
    valid = rng.random(len(labels)) > 0.2
    lengths[-1] -= shortened
    labels, valid = labels[: sum(lengths)], valid[: sum(lengths)]
    values = labels + noise * np.random.default_rng(seed).normal(size=(sum(lengths) + shortened, 2))[: sum(lengths)]
    return Predictions(
        clips=[f"clip{i}" for i in range(2 * groups)],
        groups=[f"subject{i // 2}" for i in range(2 * groups)],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        seconds=np.concatenate([np.arange(n) / 23 for n in lengths]),
        predictions=np.full_like(values, 0.25) if constant else values,
        labels=np.where(valid[:, None], labels, 0).astype(np.float32),
        labels_valid=valid,
    )


def write_runs(
    folder: Path,
    store_path: Path,
    model: str,
    features: Sequence[str],
    noise: float,
    seeds: int = 2,
    settings: dict[str, Any] | None = None,
    **predictions: Any,
) -> list[Path]:
    """Finished run folders without training: what `execute` leaves, with predictions of our own."""
    fuse = FuseSettings.model_validate(
        {"features": {name: FEATURES[name] for name in features}, "model": model, "seeds": seeds} | (settings or {})
    )
    runs = plan_runs(fuse, Catalogue(open_store(store_path)), store_path, folder)
    for run in runs:
        run.folder.mkdir(parents=True)
        (run.folder / "run.json").write_text(json.dumps({"settings": fuse.experiment(), "inputs": run.inputs}))
        made = predicted(noise, run.seed, **predictions)
        np.savez(run.folder / "predictions.npz", **vars(made))
        lines = [{"epoch": n, "loss": 1 / n, "inner_ccc_mean": 0.1 * n} for n in (1, 2, 3)]
        (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        result = {"split": "validation", **scores(made), "best_epoch": 2 + run.seed, "parameters": 71, "seconds": 1.5}
        (run.folder / "scores.json").write_text(json.dumps(result))
    return [run.folder for run in runs]


@pytest.fixture
def runs(tmp_path: Path, store_path: Path) -> Path:
    """The study that reports are about: three models on both modalities, one of them on each alone."""
    folder = tmp_path / "runs"
    for n, (model, features, noise) in enumerate(
        [
            ("lstm", ("audio", "video"), 0.2),
            ("lstm", ("audio",), 0.4),
            ("lstm", ("video",), 0.5),
            ("selfattn", ("audio", "video"), 0.3),
            ("mlp", ("audio", "video"), 0.6),
        ]
    ):
        write_runs(folder, store_path, model, features, noise, seeds=1 + n % 2)
    return folder


def opened(path: Path, weights: dict[str, Any] | None = None) -> Store:
    """The store, its recipes with weights as those of `duet extract` have them; the given ones are the face's."""
    store = open_store(path)
    recipes = {
        digest: recipe | {"weights": weights if recipe["backbone"] == "f" else None}
        for digest, recipe in store.recipes().items()
    }
    store.recipes = lambda: recipes
    return store


def report(store_path: Path, runs: Path, ceiling: dict[str, float] | None = None) -> dict[str, Any]:
    store = opened(store_path)
    catalogue = Catalogue(store)
    made = assemble("A title", store, catalogue, current(read_experiments(runs), catalogue, "validation"), ceiling)
    assert json.loads(json.dumps(made, allow_nan=False)) == made, "plain JSON, without NaN"
    assert "A title" in render(made), "the page takes it"
    return made


def by_label(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {run["label"]: run for run in made["runs"]}


def test_scores_and_intervals_are_those_of_compare(store_path: Path, runs: Path) -> None:
    made = report(store_path, runs, {"valence": 0.9, "arousal": 0.8, "mean": 0.85})
    assert made["ceiling"] == {"valence": 0.9, "arousal": 0.8, "mean": 0.85}
    assert made["report_split"] == "validation"
    found = by_label(made)
    assert sorted(found) == [
        "lstm audio", "lstm audio+video", "lstm video", "mlp audio+video", "selfattn audio+video",
    ]  # fmt: skip
    run = found["selfattn audio+video"]
    seeds = [predicted(0.3, seed) for seed in range(2)]
    wanted = mean_ccc([seed.moments_by_group()[1] for seed in seeds])
    for name in NAMES:
        assert run["ccc_concat"][name] == pytest.approx(wanted[name].value, abs=1e-6)  # six digits are kept
        assert run["ccc_concat_interval"][name] == pytest.approx([wanted[name].low, wanted[name].high], abs=1e-6)
    each = [scores(seed) for seed in seeds]
    assert run["ccc_concat_seeds"] == [score["ccc_concat"]["mean"] for score in each]
    for score in ("ccc_per_clip_mean", "pearson", "rmse", "sign_agreement"):
        for name in NAMES:
            assert run[score][name] == pytest.approx(np.mean([one[score][name] for one in each]), abs=1e-6)
    assert (run["model"], run["modalities"], run["seeds"]) == ("selfattn", ["audio", "video"], 2)
    assert (run["n_rows"], run["n_clips"], run["n_groups"]) == (each[0]["n_rows"], 2 * GROUPS, GROUPS)
    assert run["enough_groups"] is True
    assert (run["best_epochs"], run["parameters"], run["seconds"]) == ([2, 3], 71, 1.5)
    assert run["folder"] == f"runs/selfattn-audio+video-{run['key']}"
    assert run["settings"]["features"] == FEATURES


def test_differences_are_paired_and_asked_as_the_table_is_read(store_path: Path, runs: Path) -> None:
    made = report(store_path, runs)
    asked = {(one["a"], one["b"]): one["question"] for one in made["comparisons"]}
    both = "audio+video"
    assert asked == {
        (f"lstm {both}", "lstm audio"): "does video help?",
        (f"lstm {both}", "lstm video"): "does audio help?",
        (f"lstm {both}", f"mlp {both}"): "does time help?",
        (f"selfattn {both}", f"mlp {both}"): "does time help?",
        (f"lstm {both}", f"selfattn {both}"): "which fusion?",
    }
    assert len(made["comparisons"]) == len(asked)
    noises = {"lstm audio": 0.4, "mlp audio+video": 0.6, "lstm audio+video": 0.2}
    seeds = {run["label"]: run["seeds"] for run in made["runs"]}
    for one in made["comparisons"]:
        if one["a"] in noises and one["b"] in noises:
            moments = {
                label: [predicted(noises[label], seed).moments_by_group()[1] for seed in range(seeds[label])]
                for label in (one["a"], one["b"])
            }
            wanted = difference(moments[one["a"]], moments[one["b"]])["mean"]
            assert (one["value"], one["low"], one["high"]) == pytest.approx(
                (wanted.value, wanted.low, wanted.high), abs=1e-6
            )
            assert one["groups"] == GROUPS
            assert one["seeds"] == min(seeds[one["a"]], seeds[one["b"]])
            assert one["sentence"] == sentence(one["a"], one["b"], wanted, one["seeds"], "subject")
            assert one["sentence"].endswith("11 subjects")


@pytest.mark.parametrize(
    ("interval", "seeds", "noun", "said"),
    [
        ((0.0312, 0.0061, 0.0584, 24), 5, "subject", "a is .031 above b, 95 % .006 to .058, 5 seeds, 24 subjects"),
        ((-0.0312, -0.0584, 0.0061, 24), 1, "media file",
         "a is .031 below b, 95 % -.006 to .058, 1 seed, 24 media files"),
        ((0.0, -0.0001, 0.0001, 8), 2, "subject", "a is .000 above b, 95 % .000 to .000, 2 seeds, 8 subjects"),
        ((1.25, -0.5, 1.5, 9), 2, "subject", "a is 1.250 above b, 95 % -.500 to 1.500, 2 seeds, 9 subjects"),
        ((0.5, 0.25, 0.75, 7), 2, "subject",
         "a is .500 above b, 95 % .250 to .750, 2 seeds, 7 subjects (under 8: too few for an interval)"),
        ((0.5, 0.5, 0.5, 1), 1, "media file",
         "a is .500 above b, 95 % .500 to .500, 1 seed, 1 media file (under 8: too few for an interval)"),
    ],
)  # fmt: skip
def test_the_sentence(interval: tuple[float, float, float, int], seeds: int, noun: str, said: str) -> None:
    assert FEWEST_GROUPS == 8
    assert sentence("a", "b", Interval(*interval), seeds, noun) == said


def test_too_few_groups_are_said(store_path: Path, tmp_path: Path) -> None:
    for features in (("audio", "video"), ("audio",)):
        write_runs(tmp_path / "runs", store_path, "lstm", features, 0.3, groups=5)
    made = report(store_path, tmp_path / "runs")
    assert [run["enough_groups"] for run in made["runs"]] == [False, False]
    assert made["comparisons"][0]["sentence"].endswith("5 subjects (under 8: too few for an interval)")


def test_groups_are_called_what_they_are(tmp_path: Path) -> None:
    """Subjects, if each clip has one; else media files."""
    from dataclasses import replace

    catalogue = write_store(tmp_path / "x.zarr")
    first, second = list(catalogue)[:2]
    for record, subject in ((first, None), (second, first.subject)):
        catalogue.update(replace(record, subject=subject))
    for features in (("audio", "video"), ("audio",)):
        write_runs(tmp_path / "runs", tmp_path / "x.zarr", "lstm", features, 0.3)
    made = report(tmp_path / "x.zarr", tmp_path / "runs")
    assert made["corpus"]["group_kind"] == "media file"
    assert made["comparisons"][0]["sentence"].endswith(", 11 media files")
    assert made["corpus"]["splits"]["train"]["groups"] == 6


def test_the_corpus_and_what_went_in_are_stated(store_path: Path, runs: Path) -> None:
    made = report(store_path, runs)
    catalogue = Catalogue(open_store(store_path))
    corpus = made["corpus"]
    assert (corpus["clips"], corpus["group_kind"]) == (13, "subject")
    assert {name: split["clips"] for name, split in corpus["splits"].items()} == {"train": 9, "validation": 4}
    assert {name: split["groups"] for name, split in corpus["splits"].items()} == {"train": 5, "validation": 3}
    assert sum(split["rows"] for split in corpus["splits"].values()) == sum(len(r.labels or ()) for r in catalogue)
    assert made["catalogue"] == catalogue.digest()
    assert {feature["name"]: feature["modality"] for feature in made["features"]} == {"voice": "audio", "face": "video"}
    for feature in made["features"]:
        assert feature["recipe"]["width"] == WIDTHS[feature["modality"]]
        assert feature["key"] == catalogue.recipe_of(feature["name"])


@pytest.mark.parametrize(
    ("weights", "said", "noted"),
    [
        (None, "none", False),
        ({"kind": "random", "seed": 3}, "random, seed 3", True),
        ({"kind": "default", "name": "IMAGENET1K_V1"}, "default, IMAGENET1K_V1", False),
        ({"kind": "file", "sha256": "0123456789abcdef" * 4}, "file, sha256 0123456789abcdef", False),
        (
            {"kind": "hub", "config": "0" * 64, "tensors": ["fedcba9876543210" * 4]},
            "hub, sha256 fedcba9876543210",
            False,
        ),
        ({"kind": "random", "seed": 3, "config": "0" * 64}, "random, seed 3", True),
    ],
)
def test_weights_are_said_and_random_ones_noted(
    store_path: Path, runs: Path, weights: dict[str, Any] | None, said: str, noted: bool
) -> None:
    store = opened(store_path, weights)
    catalogue = Catalogue(store)
    made = assemble("t", store, catalogue, read_experiments(runs), None)
    assert {feature["name"]: feature["weights"] for feature in made["features"]} == {"face": said, "voice": "none"}
    note = f"The weights of feature face are {said}: only the fusion model has learned."
    assert made["notes"] == ([note] if noted else [])


def test_traces_are_of_clips_of_different_groups_with_gaps_where_there_is_no_label(
    store_path: Path, runs: Path
) -> None:
    made = report(store_path, runs)
    assert len(made["traces"]) == 4
    assert len({trace["group"] for trace in made["traces"]}) == 4
    source = predicted(0.2, 0)
    for trace in made["traces"]:
        clip = source.clips.index(trace["clip"])
        assert trace["group"] == source.groups[clip]
        start, stop = source.offsets[clip], source.offsets[clip + 1]
        valid = source.labels_valid[start:stop]
        assert 0 < valid.sum() < len(valid)
        assert trace["seconds"] == [round(float(s), 3) for s in source.seconds[start:stop]]
        for d, name in enumerate(NAMES[:2]):
            wanted = [
                round(float(v), 3) if ok else None for v, ok in zip(source.labels[start:stop, d], valid, strict=True)
            ]
            assert trace["labels"][name] == wanted
        # The best run of each model, the best model first; predictions are there for rows without a label too.
        assert list(trace["predictions"]) == ["lstm audio+video", "selfattn audio+video", "mlp audio+video"]
        mean = np.mean([predicted(0.3, seed).predictions[start:stop, 1] for seed in range(2)], 0)
        assert trace["predictions"]["selfattn audio+video"]["arousal"] == pytest.approx(mean.tolist(), abs=6e-4)


def test_a_long_trace_is_thinned_to_its_ends(store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_runs(tmp_path / "runs", store_path, "lstm", ("audio",), 0.3, seeds=1)
    monkeypatch.setattr("pipeline.report.assemble._TRACE_CLIPS", GROUPS)
    monkeypatch.setattr("pipeline.report.assemble._TRACE_POINTS", 13)
    made = report(store_path, tmp_path / "runs")
    source = predicted(0.3, 0)
    assert len(made["traces"]) == GROUPS
    for trace in made["traces"]:
        clip = source.clips.index(trace["clip"])
        seconds = source.seconds[source.offsets[clip] : source.offsets[clip + 1]]
        assert len(trace["seconds"]) == 13 == len(trace["labels"]["valence"])
        assert (trace["seconds"][0], trace["seconds"][-1]) == (round(seconds[0], 3), round(seconds[-1], 3))


def test_curves_are_a_line_a_seed(store_path: Path, runs: Path) -> None:
    made = report(store_path, runs)
    assert len(made["curves"]) == sum(run["seeds"] for run in made["runs"]) == 7
    for curve in made["curves"]:
        assert (curve["epochs"], curve["loss"]) == ([1, 2, 3], [1.0, 0.5, round(1 / 3, 6)])
        assert curve["best_epoch"] == 2 + curve["seed"]


def test_a_seed_without_scores_is_not_there(store_path: Path, tmp_path: Path) -> None:
    folders = write_runs(tmp_path / "runs", store_path, "lstm", ("audio",), 0.3, seeds=3)
    (folders[1] / "scores.json").unlink()
    (found,) = read_experiments(tmp_path / "runs")
    assert found.seeds == [0, 2]
    assert report(store_path, tmp_path / "runs")["runs"][0]["seeds"] == 2
    for folder in (folders[0], folders[2]):
        (folder / "scores.json").unlink()
    assert read_experiments(tmp_path / "runs") == []
    assert read_experiments(tmp_path / "nowhere") == []


def test_runs_that_saw_other_labels_or_another_split_are_left_out(tmp_path: Path) -> None:
    old, new = tmp_path / "old.zarr", tmp_path / "new.zarr"
    write_store(old)
    catalogue = write_store(new, poisoned_split="validation")
    write_runs(tmp_path / "runs", old, "lstm", ("audio",), 0.3)
    write_runs(tmp_path / "runs", new, "lstm", ("video",), 0.3)
    write_runs(tmp_path / "runs", new, "mlp", ("video",), 0.3, settings={"report_split": "test"})
    found = read_experiments(tmp_path / "runs")
    assert [e.label for e in found] == ["lstm audio", "lstm video", "mlp video"]
    assert [e.label for e in current(found, catalogue, "validation")] == ["lstm video"]
    assert [e.label for e in current(found, catalogue, "test")] == ["mlp video"]
    assert [e.label for e in current(found, Catalogue(open_store(old)), "validation")] == ["lstm audio"]


def test_experiments_of_one_label_are_told_apart_by_their_keys(store_path: Path, tmp_path: Path) -> None:
    for epochs, noise in ((5, 0.2), (7, 0.4)):
        write_runs(tmp_path / "runs", store_path, "lstm", ("audio",), noise, settings={"training": {"epochs": epochs}})
    write_runs(tmp_path / "runs", store_path, "selfattn", ("audio",), 0.3)
    made = report(store_path, tmp_path / "runs")
    labels = [run["label"] for run in made["runs"]]
    assert len(set(labels)) == 3
    assert labels == [f"lstm audio {made['runs'][0]['key']}", f"lstm audio {made['runs'][1]['key']}", "selfattn audio"]
    assert sorted(one["question"] for one in made["comparisons"]) == [
        "which fusion?", "which fusion?", "which settings?",
    ]  # fmt: skip
    assert {curve["label"] for curve in made["curves"]} == set(labels)
    best = min(made["runs"][:2], key=lambda run: -run["ccc_concat"]["mean"])["label"]
    assert list(made["traces"][0]["predictions"]) == [best, "selfattn audio"]


def test_runs_on_single_modalities_alone_are_not_compared_as_fusions(store_path: Path, tmp_path: Path) -> None:
    for model, features in (("lstm", ("audio",)), ("lstm", ("video",)), ("mlp", ("audio",)), ("selfattn", ("audio",))):
        write_runs(tmp_path / "runs", store_path, model, features, 0.3)
    asked = {(one["a"], one["b"], one["question"]) for one in report(store_path, tmp_path / "runs")["comparisons"]}
    assert asked == {
        ("lstm audio", "mlp audio", "does time help?"),
        ("selfattn audio", "mlp audio", "does time help?"),
        ("lstm audio", "selfattn audio", "which fusion?"),
    }


def test_runs_scored_on_other_rows_stand_in_the_table_and_are_not_compared(store_path: Path, tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", store_path, "lstm", ("audio",), 0.3)
    write_runs(tmp_path / "runs", store_path, "selfattn", ("audio",), 0.3, shortened=3)
    write_runs(tmp_path / "runs", store_path, "crossattn", ("audio",), 0.3, groups=5)
    made = report(store_path, tmp_path / "runs")
    assert len(made["runs"]) == 3
    assert made["comparisons"] == []


def test_constant_predictions_score_0_and_are_noted(store_path: Path, tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", store_path, "lstm", ("audio",), 0.3, constant=True)
    write_runs(tmp_path / "runs", store_path, "mlp", ("audio",), 0.3)
    made = report(store_path, tmp_path / "runs")
    run = by_label(made)["lstm audio"]
    assert run["ccc_concat"] == {"valence": 0.0, "arousal": 0.0, "mean": 0.0}
    assert run["constant_predictions"] == ["arousal", "valence"]
    assert run["pearson"] == {"valence": None, "arousal": None, "mean": None}
    assert made["notes"] == ["lstm audio: 2 of 2 seeds predict a constant, which scores 0."]


def test_notes_of_clips_are_passed_on(tmp_path: Path) -> None:
    from dataclasses import replace

    catalogue = write_store(tmp_path / "x.zarr")
    catalogue.update(replace(catalogue["clip03"], notes=("7 label rows for 6 frames",)))
    write_runs(tmp_path / "runs", tmp_path / "x.zarr", "lstm", ("audio",), 0.3)
    assert report(tmp_path / "x.zarr", tmp_path / "runs")["notes"] == ["Clip clip03: 7 label rows for 6 frames."]


def test_an_experiment_knows_its_own_name(store_path: Path, runs: Path) -> None:
    found = read_experiments(runs)
    assert all(isinstance(experiment, Experiment) for experiment in found)
    assert [experiment.folder.name for experiment in found] == sorted(path.name for path in runs.iterdir())
    assert {experiment.label for experiment in found if experiment.model == "lstm"} == {
        "lstm audio+video", "lstm audio", "lstm video",
    }  # fmt: skip
    assert found[-1].modalities == ("audio", "video")
    assert len(found[-1].moments()) == len(found[-1].seeds) == 2
