"""What a model sees: fitted on the chosen clips alone, against numpy's own, and shifted in training alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sequences import WIDTHS, make_bank, make_sequence, small_options
from torch import Tensor

from fuse.bank import Bank
from fuse.models.registry import MODELS
from fuse.prepare import Fusion, Preparation
from fuse.settings import FuseSettings
from fuse.train import new_model

FITTED = [0, 3, 4]


def four() -> tuple[list[Any], Bank]:
    rng = np.random.default_rng(3)
    parts = [make_sequence(rng, f"c{i}", f"g{i}", rows, WIDTHS) for i, rows in enumerate((29, 5, 41, 11, 17))]
    for part in parts:  # columns of other sizes and places, one of them a copy with noise, one a constant
        part.features["video"][:, 1] *= 300
        part.features["video"][:, 2] = part.features["video"][:, 0] + 0.1 * part.features["video"][:, 3] - 40
        part.features["audio"][:, 1] = 7.25
        for name, values in part.features.items():
            values[~part.valid[name]] = 0
    return parts, Bank(parts)


def valid_rows(parts: list[Any], name: str, clips: list[int]) -> NDArray[np.float64]:
    return np.concatenate([parts[i].features[name][parts[i].valid[name]] for i in clips]).astype(np.float64)


def fitted(bank: Bank, components: dict[str, int] | None = None, shift: dict[str, float] | None = None) -> Preparation:
    preparation = Preparation(bank.widths, components or {}, shift or {})
    preparation.fit(bank, FITTED)
    return preparation.eval()


def rows_of(preparation: Preparation, name: str, rows: NDArray[np.float64], bank: Bank) -> NDArray[np.float64]:
    """Rows [N, D] of one modality as they are prepared, [N, K]."""
    features = {n: torch.zeros(1, len(rows), d) for n, d in bank.widths.items()}
    features[name] = torch.from_numpy(rows[None]).float()
    valid = {n: torch.ones(1, len(rows), dtype=torch.bool) for n in bank.widths}
    return preparation(features, valid)[name][0].double().numpy()


@pytest.mark.parametrize("name", list(WIDTHS))
def test_features_are_standardised_by_the_valid_rows_of_the_fitted_clips(name: str) -> None:
    parts, bank = four()
    rows = valid_rows(parts, name, FITTED)
    deviation = rows.std(0)
    wanted = np.where(deviation > 0, (rows - rows.mean(0)) / np.where(deviation > 0, deviation, 1), 0)
    # float32 throughout: 2^-24 relative of numbers around 300 whose deviation is as large.
    np.testing.assert_allclose(rows_of(fitted(bank), name, rows, bank), wanted, atol=2e-5)


def test_a_column_that_never_varied_is_left_at_zero_whatever_comes_later() -> None:
    parts, bank = four()
    rows = valid_rows(parts, "audio", [1, 2])
    rows[:, 1] = np.linspace(-1e4, 1e4, len(rows))
    assert not rows_of(fitted(bank), "audio", rows, bank)[:, 1].any()
    moved = rows_of(fitted(bank, {"audio": 3}), "audio", rows, bank)
    rows[:, 1] = 0
    np.testing.assert_array_equal(rows_of(fitted(bank, {"audio": 3}), "audio", rows, bank), moved)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_components_are_those_of_numpy_s_svd_in_one_common_size(count: int) -> None:
    parts, bank = four()
    rows = valid_rows(parts, "video", FITTED)
    standard = (rows - rows.mean(0)) / rows.std(0)
    left, sizes, _ = np.linalg.svd(standard, full_matrices=False)
    wanted = (left * sizes)[:, :count]
    wanted /= np.sqrt((wanted**2).mean())  # one number for all of them
    found = rows_of(fitted(bank, {"video": count}), "video", rows, bank)
    assert found.shape == (len(rows), count)
    signs = np.sign((found * wanted).sum(0))
    # float32; the last component is small, and is given on the common size.
    np.testing.assert_allclose(found * signs, wanted, atol=1e-4)
    assert (found**2).mean() == pytest.approx(1, rel=1e-4)
    spread = found.std(0)
    assert (np.diff(spread) < 0).all(), "the most telling first, each in its own size"
    # The same map on rows that it was not fitted on.
    other = valid_rows(parts, "video", [1, 2])
    by_numpy = ((other - rows.mean(0)) / rows.std(0)) @ np.linalg.lstsq(standard, wanted, rcond=None)[0]
    np.testing.assert_allclose(
        rows_of(fitted(bank, {"video": count}), "video", other, bank) * signs, by_numpy, atol=1e-4
    )


def test_the_sign_of_a_component_is_that_which_makes_its_largest_weight_positive() -> None:
    parts, bank = four()
    weights = fitted(bank, {"video": 4}).get_buffer("components_video")
    assert (weights.gather(0, weights.abs().argmax(0, keepdim=True)) > 0).all()
    # So rows told in another order, or twice, don't turn a component over.
    again = Bank([*parts[::-1], *parts])
    other = Preparation(again.widths, {"video": 4}, {})
    other.fit(again, [4 - i for i in FITTED] + [5 + i for i in FITTED])
    torch.testing.assert_close(other.get_buffer("components_video"), weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("asked", [5, 6, 1009])
def test_more_components_than_columns_are_as_many_as_columns(asked: int) -> None:
    _, bank = four()
    found = Preparation(bank.widths, {"video": asked}, {})
    assert found.widths == WIDTHS
    found.fit(bank, FITTED)
    assert torch.equal(found.get_buffer("components_video"), fitted(bank, {"video": 5}).get_buffer("components_video"))


def test_more_components_than_rows_are_finite() -> None:
    rng = np.random.default_rng(5)
    bank = Bank([make_sequence(rng, "c", "g", 3, {"video": 11}, missing=0.0)])
    preparation = Preparation(bank.widths, {"video": 7}, {})
    preparation.fit(bank, [0])
    out = preparation.eval()({"video": bank.values["video"][None]}, {"video": bank.valid["video"][None]})["video"]
    assert out.shape == (1, 3, 7)
    assert out.isfinite().all()
    assert (out[..., 2:].abs() < 1e-3).all(), "three rows have two directions"


def test_only_the_named_modalities_are_reduced() -> None:
    _, bank = four()
    preparation = Preparation(bank.widths, {"video": 2}, {})
    assert preparation.widths == {"video": 2, "audio": 3, "pose": 2}
    assert {name for name, _ in preparation.named_buffers() if name.startswith("comp")} == {"components_video"}


def state(preparation: Preparation) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in preparation.state_dict().items()}


def test_it_sees_neither_other_clips_nor_rows_that_are_not_valid() -> None:
    parts, bank = four()
    before = state(fitted(bank, {"video": 3}))
    for i, part in enumerate(parts):
        for name in WIDTHS:
            if i not in FITTED:
                part.features[name][:] = 1e30
            part.features[name][~part.valid[name]] = np.nan
        if i not in FITTED:
            part.labels[:] = np.nan
    assert state(fitted(Bank(parts), {"video": 3})) == before
    assert before != state(Preparation(bank.widths, {"video": 3}, {}))


def test_a_modality_that_is_never_there_is_refused() -> None:
    parts, _ = four()
    for i in FITTED:
        parts[i].valid["audio"][:] = False
    with pytest.raises(ValueError, match="modality audio has no valid row in the training clips"):
        fitted(Bank(parts))


# The shift

B, L, SHIFTS = 401, 7, {"video": 0.5, "audio": 2.0}


def some_batch(poison: float = 0.0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    random = torch.Generator().manual_seed(2)
    features = {n: torch.randn(B, L, d, generator=random) for n, d in WIDTHS.items()}
    valid = {n: torch.rand(B, L, generator=random) > 0.3 for n in WIDTHS}
    return {n: x.masked_fill(~valid[n].unsqueeze(-1), poison) for n, x in features.items()}, valid


@pytest.mark.parametrize("components", [{}, {"video": 3}], ids=["whole", "reduced"])
def test_a_shift_is_one_constant_a_column_of_a_window_and_in_training_alone(components: dict[str, int]) -> None:
    _, bank = four()
    plain, preparation = fitted(bank, components), fitted(bank, components, SHIFTS)
    features, valid = some_batch()
    unmoved = plain(features, valid)
    for name, rows in preparation(features, valid).items():
        assert torch.equal(rows, unmoved[name]), "not when predicting"
    torch.manual_seed(11)
    moved = preparation.train()(features, valid)
    assert torch.equal(moved["pose"], unmoved["pose"]), "not of a modality that isn't named"
    for name, deviations in SHIFTS.items():
        by = (moved[name] - unmoved[name]).double()  # [B, L, K]
        assert not moved[name][~valid[name]].any(), "rows that are not valid stay zeros"
        shown = torch.where(valid[name].unsqueeze(-1), by, torch.nan)
        constants = shown.nanmedian(1, keepdim=True).values
        assert ((shown - constants).abs().nan_to_num() < 1e-4).all()  # float32 near 300: the scale of video's column 1
        drawn = constants[valid[name].any(1)][:, 0]  # [about B, K], one number a window and column
        assert drawn.std(0, correction=0).numpy() == pytest.approx(deviations, rel=0.15)  # 401 draws: 3.5 % a deviation
        assert (drawn.mean(0).abs() < 4 * deviations / np.sqrt(B)).all(), "zero on average: four standard errors"
        between = np.corrcoef(drawn.T.numpy())[np.triu_indices(drawn.shape[1], 1)]
        assert (np.abs(between) < 0.2).all(), "each column its own: four standard errors of 401 draws"
    again = preparation(features, valid)
    assert not torch.equal(again["video"], moved["video"]), "another constant each time"


def test_a_shift_of_nothing_draws_nothing() -> None:
    _, bank = four()
    features, valid = some_batch()
    before = torch.get_rng_state()
    still = fitted(bank, {}, {"video": 0.0}).train()(features, valid)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(still["video"], fitted(bank)(features, valid)["video"])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("poison", [float("nan"), 1e30, float("-inf")])
def test_what_a_row_that_is_not_valid_holds_changes_nothing(training: bool, poison: float) -> None:
    _, bank = four()
    preparation = fitted(bank, {"video": 3}, SHIFTS).train(training)
    outs = []
    for content in (0.0, poison):
        torch.manual_seed(7)
        outs.append(preparation(*some_batch(content)))
    for name in WIDTHS:
        assert torch.equal(outs[0][name], outs[1][name])
        assert not outs[0][name][~some_batch()[1][name]].any()


# With a model behind it


@pytest.mark.parametrize("model", list(MODELS))
def test_the_units_of_a_feature_change_nothing(model: str) -> None:
    parts, bank = four()
    settings = FuseSettings(
        features={name: name for name in WIDTHS}, model=model, models={model: small_options(model)},
        components={"video": 3},
    )  # fmt: skip
    for part in parts:
        for name in WIDTHS:
            part.features[name][:] = 4 * part.features[name] - 32
    outs = []
    for some in (bank, Bank(parts)):
        torch.manual_seed(3)
        fusion = new_model(some.widths, settings).double()
        fusion.preparation.fit(some, FITTED)
        batch = some.batch(some.windows([1, 2], 13, 7), torch.arange(4))
        double = {name: values.double() for name, values in batch.features.items()}
        outs.append(fusion.eval()(double, batch.valid, batch.inside))
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-4, atol=1e-5)  # the features are rounded to float32


def test_a_new_model_is_its_preparation_and_the_model_of_the_widths_that_are_left() -> None:
    widths = {"video": 5, "audio": 3}
    settings = FuseSettings(
        features={"video": "f", "audio": "v"}, components={"video": 2}, model="mlp",
        models={"mlp": small_options("mlp")}, training={"shift": {"audio": 0.5}},
    )  # fmt: skip
    states = []
    for given in (widths, dict(reversed(widths.items()))):
        torch.manual_seed(13)
        fusion = new_model(given, settings)
        assert isinstance(fusion, Fusion)
        assert fusion.preparation.widths == {"audio": 3, "video": 2}
        assert fusion.model.inputs.project.in_features == 5
        states.append(fusion.state_dict())
    assert {name.partition(".")[0] for name in states[0]} == {"preparation", "model"}
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_fitted_state_loads_into_a_fresh_one() -> None:
    bank = make_bank()
    settings = FuseSettings(features={"video": "f", "audio": "v"}, components={"audio": 2}, model="mlp")
    first, second = new_model(bank.widths, settings), new_model(bank.widths, settings)
    first.preparation.fit(bank, [0, 1])
    second.load_state_dict(first.state_dict())
    batch = bank.batch(bank.windows([2], 13, 7), torch.arange(3))
    outs = [fusion.eval()(batch.features, batch.valid, batch.inside) for fusion in (first, second)]
    assert torch.equal(*outs)
