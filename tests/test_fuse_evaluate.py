"""Every row of every clip predicted once, overlaps averaged as in a slow loop, and scores under their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sequences import make_bank, make_sequence, small_options
from torch import Tensor, nn

from cache.catalogue import Record
from cache.clock import Clock
from cache.key import TrackKey
from cache.track import Track
from fuse.align import sequence
from fuse.bank import Bank
from fuse.evaluate import Predictions, predict, predictions_of, scores
from fuse.metrics import Moments
from fuse.models.registry import MODELS, build_model
from fuse.settings import AlignmentSettings


class Placed(nn.Module):
    """Predicts the first feature, and where in the window the row stands: overlaps differ, so averaging shows."""

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[int] = []
        self.modes: list[bool] = []

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        self.windows.append(len(inside))
        self.modes.append(self.training)
        place = torch.arange(inside.shape[1]).expand(inside.shape).float()
        out = torch.stack([features["video"][..., 0], place], -1)
        return out.masked_fill(~inside.unsqueeze(-1), 1e9)  # what is said outside of a clip must go nowhere


def slow_places(rows: int, length: int) -> NDArray[np.float64]:
    """For each row the mean of its places in the windows that hold it."""
    hop = max(1, length // 2)
    firsts, first = [], 0
    while first + length < rows:
        firsts.append(first)
        first += hop
    firsts.append(max(rows - length, 0))
    return np.array([np.mean([i - f for f in firsts if f <= i < f + length]) for i in range(rows)])


@pytest.mark.parametrize("length", [1, 2, 7, 12, 41, 97])
def test_every_row_is_predicted_once_and_overlaps_are_averaged(length: int) -> None:
    bank, model = make_bank(), Placed()
    found = predict(model, bank, length)
    assert found.shape == (bank.rows, 2)
    np.testing.assert_array_equal(found[:, 0], bank.values["video"][:, 0].double())
    for a, b in zip(bank.offsets[:-1], bank.offsets[1:], strict=True):
        # Whole numbers, summed exactly.
        np.testing.assert_allclose(found[a:b, 1], slow_places(b - a, length), rtol=1e-12)


def test_many_windows_go_in_several_batches() -> None:
    bank, model = make_bank(), Placed()
    predict(model, bank, 2)
    assert len(model.windows) > 2
    assert sum(model.windows) == sum(b - a - 1 for a, b in zip(bank.offsets[:-1], bank.offsets[1:], strict=True))


@pytest.mark.parametrize("clips", [[1], [6, 0, 3], list(range(9))])
def test_only_the_given_clips_are_predicted(clips: list[int]) -> None:
    bank = make_bank()
    found, whole = predict(Placed(), bank, 11, iter(clips)), predict(Placed(), bank, 11)
    chosen = bank.rows_of(clips).numpy()
    np.testing.assert_array_equal(found[chosen], whole[chosen])
    assert np.isnan(found[~chosen]).all()


@pytest.mark.parametrize("training", [True, False])
def test_predicting_is_without_dropout_and_leaves_the_model_as_it_was(training: bool) -> None:
    model = Placed().train(training)
    predict(model, make_bank(), 13)
    assert not any(model.modes)
    assert model.training == training


@pytest.mark.parametrize("name", list(MODELS))
def test_predictions_are_those_of_a_slow_loop_over_windows(name: str) -> None:
    bank, length = make_bank(), 12
    torch.manual_seed(3)
    model = build_model(name, bank.widths, small_options(name)).eval()
    found = predict(model, bank, length)
    for a, b in zip(bank.offsets[:-1].tolist(), bank.offsets[1:].tolist(), strict=True):
        sums, counts = np.zeros((b - a, 2)), np.zeros(b - a)
        last = max(b - a - length, 0)
        for first in [*range(0, last, length // 2), last]:
            rows = slice(a + first, min(a + first + length, b))
            with torch.inference_mode():
                out = model(
                    {n: v[rows].unsqueeze(0) for n, v in bank.values.items()},
                    {n: v[rows].unsqueeze(0) for n, v in bank.valid.items()},
                    torch.ones(1, rows.stop - rows.start, dtype=torch.bool),
                )[0]
            sums[first : first + len(out)] += out.double().numpy()
            counts[first : first + len(out)] += 1
        assert counts.min() >= 1
        # float32 with batches and paddings of another size: sums of some dozens in another order.
        np.testing.assert_allclose(found[a:b], sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_predictions_carry_what_scoring_needs() -> None:
    bank = make_bank()
    found = predictions_of(Placed(), bank, 11)
    assert found.clips == bank.clips
    assert found.groups == bank.groups
    assert found.seconds.tolist() == [row / 23 for clock in bank.clocks for row in range(len(clock))]
    np.testing.assert_array_equal(found.labels, bank.labels)
    np.testing.assert_array_equal(found.labels_valid, bank.labels_valid)
    np.testing.assert_array_equal(found.offsets, bank.offsets)


class Said(nn.Module):
    """Predicts what the features say: valence and arousal are their first two columns."""

    def forward(self, features: Mapping[str, Tensor], valid: Mapping[str, Tensor], inside: Tensor) -> Tensor:
        return features["video"][..., :2]


@dataclass
class OneTrack:
    """A store of one track."""

    track: Track
    path: Path = Path("one.zarr")

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        return self.track


def on_rate(labels: list[Track], settings: AlignmentSettings) -> Bank:
    """A bank of clips whose features are the very labels that the model is taught."""
    sequences = []
    for i, track in enumerate(labels):
        record = Record(f"c{i}", "m.mp4", "a" * 64, "train", f"s{i}", 1.0, track, {"face": "b" * 64})
        made = sequence(OneTrack(track), record, {"video": "face"}, settings)
        sequences.append(replace(made, features={"video": made.labels}))
    return Bank(sequences)


def ramp(clock: Clock, valid: NDArray[np.bool_] | None = None) -> Track:
    """Valence rises by 0.07 a second, arousal falls by half of that."""
    values = clock.seconds()[:, None] * [0.07, -0.035] - [0.5, -0.5]
    return Track.of(values, clock, valid, dtype="float32")


THIRTY, FILM = Clock.regular(Fraction(1, 30), 301), Clock.regular(Fraction(1001, 30000), 301, Fraction(7, 90))
TEN = Clock.regular(Fraction(1, 10), 101, Fraction(-1, 5))
UNEVEN = Clock.explicit(np.cumsum([3, *([4, 5, 6, 5] * 71)]), Fraction(1, 150))


@pytest.mark.parametrize(
    ("clock", "method", "rate_hz", "seconds"),
    [
        # `mean`: rows of whole numbers of labels, so a prediction stands for their middle exactly.
        (THIRTY, "mean", 5, 0), (THIRTY, "mean", 2.5, 0), (THIRTY, "mean", 30, 0), (TEN, "mean", 0.5, 0),
        (TEN, "mean", 2.5, 0), (TEN, "mean", 10, 0),
        # Rows with one label more or less: off by half a label's step at most.
        (FILM, "mean", 5, 1 / 60), (THIRTY, "mean", 7, 1 / 60), (UNEVEN, "mean", 5, 1 / 60),
        # Faster rows than labels: each has the nearest label, half a step away at most.
        (TEN, "mean", 25, 1 / 20), (THIRTY, "mean", 60, 1 / 60), (TEN, "nearest", 25, 1 / 20),
        (THIRTY, "nearest", 7, 1 / 60),
        # `linear`: what is said of a row is said of its very time, at any rate.
        (THIRTY, "linear", 5, 0), (FILM, "linear", 7, 0), (TEN, "linear", 25, 0), (UNEVEN, "linear", 60, 0),
    ],
)  # fmt: skip
def test_a_ramp_comes_back_as_the_same_ramp_at_any_rate(
    clock: Clock, method: str, rate_hz: float, seconds: float
) -> None:
    labels = ramp(clock)
    bank = on_rate([labels], AlignmentSettings(method=method, rate_hz=rate_hz))
    found = predictions_of(Said(), bank, 11)
    assert len(found.predictions) == len(clock)
    np.testing.assert_array_equal(found.seconds, clock.seconds())
    # Before the first row's middle the nearest prediction stands; the last row's interval may hold fewer labels.
    middles = bank.middles(0).seconds()
    inner = (clock.seconds() >= middles[0]) & (clock.seconds() <= middles[-2])
    shown = clock.seconds()[inner]
    assert shown[-1] - shown[0] > clock.seconds()[-1] - clock.seconds()[0] - 2.6 / rate_hz - 0.1
    away = (found.predictions - labels.values)[inner] / [0.07, -0.035]  # in seconds of the ramp
    assert np.abs(away).max() <= seconds * 1.0001 + 2e-5  # float32: 2^-24 of 0.5, in seconds of 0.035; a microsecond
    if seconds:  # and early as often as late: no lag that a score could feel
        assert np.abs(away.mean(0)).max() < 0.3 * seconds
    outer = (found.predictions - labels.values)[~inner] / [0.07, -0.035]
    assert np.abs(outer).max(initial=0) <= 1 / rate_hz


@pytest.mark.parametrize("method", ["nearest", "linear", "mean"])
@pytest.mark.parametrize("rate_hz", [None, 0.5, 7, 30, 60])
def test_every_label_row_is_predicted_once_with_its_own_label(method: str, rate_hz: float | None) -> None:
    rng = np.random.default_rng(3)
    labels = [
        ramp(clock, rng.random(len(clock)) > 0.2) for clock in (FILM, UNEVEN, TEN.rows(0, 1), TEN, FILM.rows(0, 2))
    ]
    found = predictions_of(Said(), on_rate(labels, AlignmentSettings(method=method, rate_hz=rate_hz)), 11)
    assert found.offsets.tolist() == np.cumsum([0, *(len(track) for track in labels)]).tolist()
    assert found.predictions.shape == (found.offsets[-1], 2)
    assert np.isfinite(found.predictions).all()
    np.testing.assert_array_equal(found.seconds, np.concatenate([track.clock.seconds() for track in labels]))
    valid = np.concatenate([track.valid for track in labels])
    np.testing.assert_array_equal(found.labels_valid, valid)
    np.testing.assert_array_equal(found.labels[valid], np.concatenate([track.values for track in labels])[valid])
    assert not found.labels[~valid].any()
    # Whatever the rows, predictions are between those of the rows.
    assert found.predictions.min() >= -0.53
    assert found.predictions.max() <= 0.53
    assert scores(found)["n_rows"] == valid.sum()


def test_predictions_between_rows_are_those_of_a_slow_interpolation() -> None:
    rng = np.random.default_rng(5)
    bank = on_rate([ramp(FILM), ramp(UNEVEN)], AlignmentSettings(method="mean", rate_hz=4))
    bank.values["video"][:] = torch.from_numpy(rng.normal(size=(bank.rows, 2)))
    found, said = predictions_of(Said(), bank, 11), predict(Said(), bank, 11)
    for clip in range(2):
        rows = slice(bank.offsets[clip], bank.offsets[clip + 1])
        labels = slice(found.offsets[clip], found.offsets[clip + 1])
        times = bank.middles(clip).seconds()
        assert 0.1 < times[0] - bank.clocks[clip].seconds()[0] < 0.125  # half of 0.25 s less up to half a label's step
        for column in range(2):
            wanted = np.interp(found.seconds[labels], times, said[rows, column])
            np.testing.assert_allclose(found.predictions[labels, column], wanted, rtol=1e-9, atol=1e-12)


def made(parts: list[tuple[str, NDArray[np.float64], NDArray[np.float64]]], valid: float = 1.0) -> Predictions:
    """Predictions of clips: (group, predictions [T, 2], labels [T, 2])."""
    lengths = [len(p) for _, p, _ in parts]
    rows = sum(lengths)
    return Predictions(
        clips=[f"c{i}" for i in range(len(parts))],
        groups=[group for group, _, _ in parts],
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        seconds=np.arange(rows) / 23,
        predictions=np.concatenate([p for _, p, _ in parts]),
        labels=np.concatenate([t for _, _, t in parts]).astype(np.float32),
        labels_valid=np.random.default_rng(1).random(rows) < valid,
    )


def some(valid: float = 0.8) -> Predictions:
    rng = np.random.default_rng(5)
    parts = []
    for i, rows in enumerate((29, 5, 41, 17, 23)):
        labels = rng.uniform(-1, 1, (rows, 2)).round(3)
        parts.append((f"g{i % 3}", labels * 0.5 + rng.normal(size=(rows, 2)) * 0.3 + 0.2 * i, labels))
    return made(parts, valid)


def test_scores_are_those_of_the_rows_that_count() -> None:
    found = some()
    kept = found.labels_valid
    whole = Moments.of(found.predictions[kept], found.labels[kept])
    result = scores(found)
    for name, values in (
        ("ccc_concat", whole.ccc()),
        ("pearson", whole.pearson()),
        ("rmse", whole.rmse()),
        ("sign_agreement", whole.sign_agreement()),
    ):
        wanted = [*values, values.mean()]
        assert list(result[name]) == ["valence", "arousal", "mean"]
        assert list(result[name].values()) == pytest.approx(wanted, rel=1e-12), name
    each = [
        Moments.of(found.predictions[a:b][kept[a:b]], found.labels[a:b][kept[a:b]]).ccc()
        for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)
    ]
    assert result["ccc_per_clip_mean"]["arousal"] == pytest.approx(np.mean(each, 0)[1], rel=1e-12)
    assert result["ccc_per_clip_mean"]["valence"] != pytest.approx(result["ccc_concat"]["valence"], abs=0.01)
    assert (result["n_rows"], result["n_clips"], result["n_groups"]) == (int(kept.sum()), 5, 3)
    assert result["constant_predictions"] == []


def test_rows_without_a_label_change_no_score() -> None:
    found = some()
    spoilt = found.labels.copy()
    spoilt[~found.labels_valid] = np.nan
    assert scores(Predictions(**{**vars(found), "labels": spoilt})) == scores(found)


def test_moments_of_groups_merge_to_those_of_the_whole() -> None:
    found = some()
    names, groups = found.moments_by_group()
    assert names == ["g0", "g1", "g2"]
    np.testing.assert_allclose(groups.merged().ccc(), found.moments_by_clip().merged().ccc(), rtol=1e-12)
    clip_groups = np.repeat(found.groups, np.diff(found.offsets))
    for i, name in enumerate(names):
        rows = (clip_groups == name) & found.labels_valid
        wanted = Moments.of(found.predictions[rows], found.labels[rows])
        np.testing.assert_allclose(groups.ccc()[i], wanted.ccc(), rtol=1e-11)
        assert groups.n[i].tolist() == [rows.sum()] * 2


def test_what_has_no_score_is_none_and_the_result_is_plain_json() -> None:
    constant = np.full((7, 2), 0.25)
    varied = np.stack([np.linspace(-1, 1, 7), np.full(7, 0.25)], 1)
    result = scores(made([("a", constant, varied)]))
    # valence: a constant prediction of a varying label scores 0; arousal: both constant and equal, nothing to say.
    assert result["ccc_concat"] == {"valence": 0, "arousal": None, "mean": None}
    assert result["ccc_per_clip_mean"] == {"valence": 0, "arousal": None, "mean": None}
    assert result["pearson"] == {"valence": None, "arousal": None, "mean": None}
    assert result["rmse"]["arousal"] == 0
    assert result["constant_predictions"] == ["valence"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    nothing = scores(made([("a", constant, varied), ("b", constant, varied)], valid=0))
    assert nothing["n_rows"] == 0
    assert nothing["rmse"] == {"valence": None, "arousal": None, "mean": None}
    json.dumps(nothing, allow_nan=False)


def test_a_clip_without_a_score_of_its_own_is_left_out_of_the_mean_over_clips() -> None:
    rng = np.random.default_rng(2)
    p, t = rng.normal(size=(11, 2)), rng.normal(size=(11, 2)).astype(np.float32)
    found = scores(made([("a", p, t), ("b", p[:1], t[:1])]))
    assert found["ccc_per_clip_mean"]["valence"] == pytest.approx(float(Moments.of(p, t).ccc()[0]), rel=1e-12)
    assert found["n_rows"] == 12


def test_a_bank_of_one_row_is_predicted() -> None:
    rng = np.random.default_rng(2)
    found = predict(Placed(), Bank([make_sequence(rng, "c", "g", 1)]), 7)
    assert found.shape == (1, 2)
    assert np.isfinite(found).all()
