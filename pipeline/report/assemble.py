"""Finished runs into one report: gathered by experiment, with intervals and paired differences, as plain JSON."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.catalogue import Catalogue
from cache.store import Store
from fuse.compare import FEWEST_GROUPS, Interval, difference, mean_ccc
from fuse.evaluate import Predictions
from fuse.metrics import DIMENSIONS, Moments
from pipeline.report.numbers import some

REPORT_FORMAT = 1
_TRACE_POINTS = 300
_TRACE_CLIPS = 4
_TRACE_RUNS = 4


@dataclass(frozen=True, eq=False)
class Experiment:
    """The finished seeds of one experiment, in order."""

    folder: Path
    run: dict[str, Any]
    scores: list[dict[str, Any]]
    predictions: list[Predictions]
    seeds: list[int]

    @property
    def model(self) -> str:
        return str(self.run["settings"]["model"])

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(sorted(self.run["settings"]["features"]))

    @property
    def label(self) -> str:
        return f"{self.model} {'+'.join(self.modalities)}"

    def moments(self) -> list[Moments]:
        """For each seed the moments by group, [G, 2]."""
        return [predictions.moments_by_group()[1] for predictions in self.predictions]


def read_experiments(runs: Path) -> list[Experiment]:
    """Every experiment with a finished seed below the folder of runs, in the order of their names."""
    experiments = []
    for folder in sorted(path for path in runs.glob("*") if path.is_dir()):
        seeds = sorted(int(path.name.removeprefix("seed-")) for path in folder.glob("seed-*") if _finished(path))
        if seeds:
            paths = [folder / f"seed-{seed}" for seed in seeds]
            experiments.append(
                Experiment(
                    folder,
                    json.loads((paths[0] / "run.json").read_text(encoding="utf-8")),
                    [json.loads((path / "scores.json").read_text(encoding="utf-8")) for path in paths],
                    [_read_predictions(path / "predictions.npz") for path in paths],
                    seeds,
                )
            )
    return experiments


def assemble(
    title: str,
    store: Store,
    catalogue: Catalogue,
    experiments: Sequence[Experiment],
    ceiling: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The report as JSON. experiments must be of one catalogue and split; see `current` for choosing them."""
    report_split = experiments[0].scores[0]["split"]
    runs = [_run(experiment) for experiment in experiments]
    labels = Counter(run["label"] for run in runs)
    for run in runs:  # two experiments of one label differ in settings: their key tells them apart
        if labels[run["label"]] > 1:
            run["label"] += f" {run['key']}"
    named = {run["label"]: experiment for run, experiment in zip(runs, experiments, strict=True)}
    corpus = _corpus(catalogue)
    notes = [f"Clip {record.clip}: {note}." for record in catalogue for note in record.notes]
    for label, experiment in named.items():
        scores = experiment.scores
        constants = sum(bool(score["constant_predictions"]) for score in scores)
        if constants:
            notes.append(f"{label}: {constants} of {some(len(scores), 'seed')} predict a constant, which scores 0.")
    return {
        "format": REPORT_FORMAT,
        "title": title,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "duet": version("duet-affect"),
        "corpus": corpus,
        "report_split": report_split,
        "ceiling": dict(ceiling) if ceiling is not None else None,
        "features": _features(store, experiments),
        "catalogue": catalogue.digest(),
        "runs": runs,
        "comparisons": _comparisons(named, corpus["group_kind"]),
        "traces": _traces(named),
        "curves": _curves(named),
        "notes": _weights_notes(store, experiments) + notes,
    }


def current(experiments: Sequence[Experiment], catalogue: Catalogue, report_split: str) -> list[Experiment]:
    """Those that saw today's catalogue and were scored on the split: only these can stand in one table."""
    found = []
    for experiment in experiments:
        settings = experiment.run["settings"]
        splits = (settings["train_split"], settings["report_split"])
        today = catalogue.digest(splits, settings["features"].values())
        if experiment.run["inputs"]["catalogue"] == today and settings["report_split"] == report_split:
            found.append(experiment)
    return found


def _run(experiment: Experiment) -> dict[str, Any]:
    scores = experiment.scores
    intervals = mean_ccc(experiment.moments())
    first = scores[0]
    return {
        "label": experiment.label,
        "model": experiment.model,
        "modalities": list(experiment.modalities),
        "seeds": len(scores),
        "ccc_concat": {name: _number(interval.value) for name, interval in intervals.items()},
        "ccc_concat_interval": {name: [_number(i.low), _number(i.high)] for name, i in intervals.items()},
        "ccc_concat_seeds": [score["ccc_concat"]["mean"] for score in scores],
        **{
            name: {key: _mean([score[name][key] for score in scores]) for key in (*DIMENSIONS, "mean")}
            for name in ("ccc_per_clip_mean", "pearson", "rmse", "sign_agreement")
        },
        **{name: first[name] for name in ("n_rows", "n_clips", "n_groups", "parameters")},
        "enough_groups": intervals["mean"].enough_groups,
        "seconds": round(float(np.mean([score["seconds"] for score in scores])), 2),
        "best_epochs": [score["best_epoch"] for score in scores],
        "constant_predictions": sorted({name for score in scores for name in score["constant_predictions"]}),
        "key": experiment.folder.name.rpartition("-")[2],
        "folder": f"{experiment.folder.parent.name}/{experiment.folder.name}",
        "settings": experiment.run["settings"],
    }


def _corpus(catalogue: Catalogue) -> dict[str, Any]:
    splits: dict[str, dict[str, Any]] = {}
    for name in sorted({record.split for record in catalogue}):
        records = [record for record in catalogue if record.split == name]
        splits[name] = {
            "clips": len(records),
            "groups": len({record.group for record in records}),
            "minutes": round(sum(record.duration_seconds for record in records) / 60, 1),
            "rows": sum(len(record.labels) for record in records if record.labels is not None),
        }
    known = all(record.subject is not None for record in catalogue)
    return {"clips": len(catalogue), "splits": splits, "group_kind": "subject" if known else "media file"}


def _features(store: Store, experiments: Sequence[Experiment]) -> list[dict[str, Any]]:
    recipes = store.recipes()
    found = {}
    for experiment in experiments:
        for modality, feature in experiment.run["settings"]["features"].items():
            key = experiment.run["inputs"]["recipes"][modality]
            recipe = recipes[key]
            found[key] = {
                "name": feature,
                "modality": modality,
                "key": key,
                "recipe": recipe,
                "weights": "imported" if recipe.get("kind") == "import" else _said_of_weights(recipe["weights"]),
            }
    return list(found.values())


def _said_of_weights(weights: Mapping[str, Any] | None) -> str:
    if weights is None:
        return "none"
    if weights["kind"] == "random":
        return f"random, seed {weights['seed']}"
    if weights["kind"] == "hub":
        return f"hub, sha256 {weights['tensors'][0][:16]}"
    return f"default, {weights['name']}" if weights["kind"] == "default" else f"file, sha256 {weights['sha256'][:16]}"


def _weights_notes(store: Store, experiments: Sequence[Experiment]) -> list[str]:
    return [
        f"The weights of feature {feature['name']} are {feature['weights']}: only the fusion model has learned."
        for feature in _features(store, experiments)
        if feature["weights"].startswith("random")
    ]


def _comparisons(experiments: Mapping[str, Experiment], noun: str) -> list[dict[str, Any]]:
    """What the table is read for: both modalities against one, time against none, model against model."""
    full = max((len(experiment.modalities) for experiment in experiments.values()), default=0)
    pairs: list[tuple[str, str, str]] = []
    whole = {label: e for label, e in experiments.items() if len(e.modalities) == full}
    for a, left in whole.items():
        for b, right in experiments.items():
            if left.model == right.model and 0 < len(set(left.modalities) - set(right.modalities)) < full:
                added = "+".join(sorted(set(left.modalities) - set(right.modalities)))
                pairs.append((a, b, f"does {added} help?"))
    for a, left in whole.items():
        for b, right in whole.items():
            if left.model != "mlp" and right.model == "mlp" and left.modalities == right.modalities:
                pairs.append((a, b, "does time help?"))
    temporal = [label for label, e in whole.items() if e.model != "mlp"]
    pairs += [
        (a, b, "which fusion?" if whole[a].model != whole[b].model else "which settings?")
        for a, b in combinations(temporal, 2)
        if whole[a].modalities == whole[b].modalities
    ]
    groups = {label: e.predictions[0].moments_by_group()[0] for label, e in experiments.items()}
    moments = {label: e.moments() for label, e in experiments.items()}
    found = []
    for a, b, question in pairs:
        left, right = experiments[a], experiments[b]
        if groups[a] != groups[b] or not np.array_equal(moments[a][0].n, moments[b][0].n):
            continue  # scored on other rows: a difference of the models can't be told from one of the rows
        interval = difference(moments[a], moments[b])["mean"]
        if not np.isfinite(interval.value):
            continue
        seeds = min(len(left.seeds), len(right.seeds))
        found.append(
            {
                "a": a,
                "b": b,
                "question": question,
                "value": _number(interval.value),
                "low": _number(interval.low),
                "high": _number(interval.high),
                "groups": interval.groups,
                "seeds": seeds,
                "sentence": sentence(a, b, interval, seeds, noun),
            }
        )
    return found


def sentence(a: str, b: str, interval: Interval, seeds: int, noun: str) -> str:
    """`lstm audio+video is .031 above lstm video, 95 % .006 to .058, 5 seeds, 24 subjects`."""
    side = "above" if interval.value >= 0 else "below"
    sign = 1 if interval.value >= 0 else -1
    low, high = sorted((sign * interval.low, sign * interval.high))
    few = f" (under {FEWEST_GROUPS}: too few for an interval)" if not interval.enough_groups else ""
    return (
        f"{a} is {_short(abs(interval.value))} {side} {b}, 95 % {_short(low)} to {_short(high)}, "
        f"{some(seeds, 'seed')}, {some(interval.groups, noun)}{few}"
    )


def _traces(experiments: Mapping[str, Experiment]) -> list[dict[str, Any]]:
    """Labels and seed-mean predictions of a few clips of different groups: those nearest to the median clip length."""
    best: dict[str, str] = {}
    for label, experiment in sorted(experiments.items(), key=lambda item: -_score(item[1])):
        best.setdefault(experiment.model, label)
    shown = list(best.values())[:_TRACE_RUNS]
    by_split: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for label in shown:
        by_split[tuple(experiments[label].predictions[0].clips)].append(label)
    shown = max(by_split.values(), key=len)
    first = experiments[shown[0]].predictions[0]
    lengths = np.diff(first.offsets)
    chosen: dict[str, int] = {}
    for clip in np.argsort(np.abs(lengths - np.median(lengths)), kind="stable"):
        chosen.setdefault(first.groups[clip], int(clip))
    traces = []
    for clip in list(chosen.values())[:_TRACE_CLIPS]:
        start, stop = first.offsets[clip], first.offsets[clip + 1]
        rows = np.unique(np.linspace(start, stop - 1, min(_TRACE_POINTS, stop - start)).round().astype(int))
        labels = np.where(first.labels_valid[:, None], first.labels, np.nan)
        means = {name: np.mean([p.predictions for p in experiments[name].predictions], 0) for name in shown}
        traces.append(
            {
                "clip": first.clips[clip],
                "group": first.groups[clip],
                "seconds": [round(float(s), 3) for s in first.seconds[rows]],
                "labels": _columns(labels[rows]),
                "predictions": {name: _columns(values[rows]) for name, values in means.items()},
            }
        )
    return traces


def _curves(experiments: Mapping[str, Experiment]) -> list[dict[str, Any]]:
    curves = []
    for label, experiment in experiments.items():
        for seed, score in zip(experiment.seeds, experiment.scores, strict=True):
            text = (experiment.folder / f"seed-{seed}" / "metrics.jsonl").read_text(encoding="utf-8")
            lines = [json.loads(line) for line in text.splitlines()]
            curves.append(
                {
                    "label": label,
                    "seed": seed,
                    "epochs": [line["epoch"] for line in lines],
                    "loss": [_number(line["loss"]) for line in lines],
                    "inner_ccc_mean": [_number(line["inner_ccc_mean"]) for line in lines],
                    "best_epoch": score["best_epoch"],
                }
            )
    return curves


def _read_predictions(path: Path) -> Predictions:
    with np.load(path, allow_pickle=False) as file:
        return Predictions(
            clips=file["clips"].tolist(),
            groups=file["groups"].tolist(),
            **{name: file[name] for name in ("offsets", "seconds", "predictions", "labels", "labels_valid")},
        )


def _finished(path: Path) -> bool:
    return (path / "scores.json").is_file()


def _score(experiment: Experiment) -> float:
    return float(np.mean([score["ccc_concat"]["mean"] or 0 for score in experiment.scores]))


def _columns(values: NDArray[np.floating]) -> dict[str, list[float | None]]:
    return {name: [_number(v, 3) for v in values[:, i]] for i, name in enumerate(DIMENSIONS)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _number(float(np.mean(known))) if len(known) == len(values) else None


def _number(value: float | None, digits: int = 6) -> float | None:
    return round(float(value), digits) if value is not None and np.isfinite(value) else None


def _short(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}".replace("0.", ".", 1)  # + 0.0: not -.000
