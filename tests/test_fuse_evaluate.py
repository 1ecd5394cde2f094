"""Every row of every clip predicted once, overlaps averaged as in a slow loop, and scores under their names."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sequences import make_bank, make_sequence, small_options
from torch import Tensor, nn

from fuse.bank import Bank
from fuse.evaluate import Predictions, predict, predictions_of, scores
from fuse.metrics import Moments
from fuse.models.registry import MODELS, build_model


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
