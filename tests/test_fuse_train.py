"""The training loop: reproducible to the byte, chosen on groups it did not fit, and it leaves nothing behind."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import make_bank, small_options

from fuse.bank import Bank
from fuse.evaluate import predict
from fuse.metrics import Moments
from fuse.models.registry import MODELS
from fuse.settings import FuseSettings, TrainingSettings
from fuse.train import Epoch, Trained, inner_split, learning_rate_factor, train

FEATURES = {"video": "face", "audio": "voice"}


def plan(model: str = "mlp", dropout: float = 0.2, **training: object) -> FuseSettings:
    return FuseSettings.model_validate(
        {
            "features": FEATURES,
            "model": model,
            "models": {model: small_options(model, dropout=dropout)},
            "windows": {"length": 13, "hop": 7},
            "training": {"epochs": 3, "batch": 5, "learning_rate": 3e-3, **training},
        }
    )


def without_time(history: list[Epoch]) -> list[dict[str, object]]:
    return [{name: value for name, value in epoch.as_json().items() if name != "seconds"} for epoch in history]


def state(trained: Trained) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in trained.model.state_dict().items()}


@pytest.mark.parametrize("model", list(MODELS))
def test_the_same_seed_gives_the_same_numbers_to_the_byte(model: str) -> None:
    settings = plan(model)
    first = train(make_bank(), settings, 3)
    torch.manual_seed(99)  # what happened before must not matter
    torch.rand(7)
    second, other = train(make_bank(), settings, 3), train(make_bank(), settings, 4)
    assert without_time(first.history) == without_time(second.history)
    assert state(first) == state(second)
    assert without_time(first.history) != without_time(other.history)
    assert state(first) != state(other)
    assert first.inner_groups == other.inner_groups  # which groups are kept aside is no matter of the seed


def test_a_run_leaves_torch_as_it_was() -> None:
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        train(make_bank(), plan(epochs=1), 3)
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="diverged"):
            train(make_bank(), plan(learning_rate=1e30), 3)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_learns() -> None:
    trained = train(make_bank(), plan(epochs=17, dropout=0.0, learning_rate=1e-2), 3)
    assert trained.history[-1].loss < 0.5 * trained.history[0].loss
    assert trained.best.inner_ccc_mean > 0.5  # the features are the labels in noise, so other groups profit too


# The inner split

GROUPS = st.lists(st.sampled_from([f"subject{i}" for i in range(11)]), min_size=2, max_size=31).filter(
    lambda groups: len(set(groups)) > 1
)


@settings(max_examples=60)
@given(GROUPS, st.floats(0.01, 0.99), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_a_group_is_never_split_and_the_order_of_clips_changes_nothing(
    groups: list[str], fraction: float, seed: int, random: object
) -> None:
    fitted, aside = inner_split(groups, fraction, seed)
    assert sorted(fitted + aside) == list(range(len(groups)))
    kept = {groups[i] for i in aside}
    assert kept.isdisjoint(groups[i] for i in fitted)
    assert 1 <= len(kept) < len(set(groups))
    assert abs(len(kept) - fraction * len(set(groups))) <= 1
    shuffled = groups.copy()
    random.shuffle(shuffled)
    assert {shuffled[i] for i in inner_split(shuffled, fraction, seed)[1]} == kept


def test_the_inner_seed_chooses_other_groups() -> None:
    groups = [f"s{i}" for i in range(23)]
    assert len({tuple(inner_split(groups, 0.3, seed)[1]) for seed in range(7)}) == 7


def test_one_group_can_not_be_split() -> None:
    with pytest.raises(ValueError, match=r"1 training group\(s\) can't be split in two; training wants 2 subjects"):
        inner_split(["anna", "anna"], 0.25, 0)


def test_what_is_kept_aside_touches_neither_weights_nor_normalisation() -> None:
    settings = plan(epochs=2)
    bank, changed = make_bank(), make_bank()
    _, aside = inner_split(bank.groups, settings.training.inner_fraction, settings.training.inner_seed)
    rows = changed.rows_of(aside)
    for values in changed.values.values():
        values[rows] = 5 - 3 * values[rows]
    changed.labels[rows] *= -0.5
    # One epoch each, so that the choice of the epoch, which the aside groups are for, can't differ.
    one = plan(epochs=1)
    assert state(train(bank, one, 3)) == state(train(changed, one, 3))
    first, second = train(bank, settings, 3), train(changed, settings, 3)
    assert [epoch.loss for epoch in first.history] == [epoch.loss for epoch in second.history]
    assert [e.inner_ccc_mean for e in first.history] != [e.inner_ccc_mean for e in second.history]
    assert first.inner_groups == sorted({bank.groups[clip] for clip in aside})


@pytest.mark.parametrize("purpose", ["to fit on", "to choose the epoch on"])
def test_groups_without_a_valid_label_are_refused(purpose: str) -> None:
    bank = make_bank()
    parts = inner_split(bank.groups, 0.25, 0)
    clips = parts[purpose != "to fit on"]
    bank.labels_valid[bank.rows_of(clips)] = False
    with pytest.raises(
        ValueError,
        match=rf"no label is valid in the groups {purpose} \(subject\d.*; set another `fuse.training.inner_seed`",
    ):
        train(bank, plan(), 3)


# The choice of the epoch


def inner_ccc(trained: Trained, bank: Bank, length: int) -> float:
    """Of the model that came back, on the groups that were kept aside."""
    rows = np.repeat([group in trained.inner_groups for group in bank.groups], np.diff(bank.offsets))
    predictions = predict(trained.model, bank, length)
    return float(Moments.of(predictions[rows], bank.labels.numpy()[rows], bank.labels_valid.numpy()[rows]).ccc().mean())


@pytest.mark.parametrize("model", ["mlp", "lstm"])
def test_the_best_epoch_is_the_best_of_all_and_its_model_comes_back(model: str) -> None:
    bank = make_bank()
    # Far too fast, so that the inner score goes up and down and the last epoch isn't the best.
    trained = train(bank, plan(model, epochs=9, learning_rate=0.3, patience=9), 4)
    inner = [epoch.inner_ccc_mean for epoch in trained.history]
    assert trained.best == trained.history[int(np.argmax(inner))]  # argmax: the first of equals
    assert trained.best.epoch < len(trained.history)
    for epoch in trained.history:
        assert epoch.inner_ccc_mean == pytest.approx((epoch.inner_ccc_valence + epoch.inner_ccc_arousal) / 2)
    assert not trained.model.training
    # The same rows by the same model, in batches of other clips: float32 in another order.
    assert inner_ccc(trained, bank, 13) == pytest.approx(trained.best.inner_ccc_mean, rel=1e-4)


@pytest.mark.parametrize("patience", [1, 3])
def test_it_stops_once_the_inner_score_has_not_improved_for_long(patience: int) -> None:
    stopped = train(make_bank(), plan(epochs=61, learning_rate=0.3, patience=patience), 3)
    assert len(stopped.history) < 61
    assert len(stopped.history) - stopped.best.epoch == patience
    inner = [epoch.inner_ccc_mean for epoch in stopped.history]
    for end in range(1, len(inner)):  # and it did not stop late: no earlier epoch had waited that long
        assert end - (int(np.argmax(inner[:end])) + 1) < patience


def test_every_epoch_is_told_as_it_ends_and_is_plain_json() -> None:
    told: list[Epoch] = []
    trained = train(make_bank(), plan(), 3, told.append)
    assert told == trained.history
    assert [epoch.epoch for epoch in told] == [1, 2, 3]
    assert [epoch.seconds for epoch in told] == sorted(epoch.seconds for epoch in told)
    for epoch in told:
        assert json.loads(json.dumps(epoch.as_json(), allow_nan=False)) == epoch.as_json()


@pytest.mark.parametrize("model", list(MODELS))
def test_a_loss_that_is_not_finite_says_what_to_do(model: str) -> None:
    with pytest.raises(ValueError, match=r"training diverged in epoch \d: .*; lower `fuse.training.learning_rate`"):
        train(make_bank(), plan(model, learning_rate=1e30), 3)


# The schedule


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("steps", [5, 7, 101])
def test_the_learning_rate_rises_then_falls_to_nothing(warmup: float, steps: int) -> None:
    settings = TrainingSettings(warmup_fraction=warmup)
    factors = [learning_rate_factor(step, steps, settings) for step in range(steps + 3)]
    rising = math.ceil(warmup * steps)
    assert all(0 < factor <= 1 for factor in factors[:steps])
    assert factors[:rising] == sorted(factors[:rising])
    assert factors[rising:] == sorted(factors[rising:], reverse=True)
    assert max(factors) <= 1
    assert factors[steps:] == pytest.approx([0] * 3, abs=1e-12)  # cos pi, rounded


def test_the_learning_rate_by_hand() -> None:
    settings = TrainingSettings(warmup_fraction=0.2)
    factors = [learning_rate_factor(step, 10, settings) for step in range(11)]
    assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert factors[6] == pytest.approx(0.5)
    assert factors[4] == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))


@pytest.mark.parametrize(("length", "hop"), [(13, 7), (13, 13), (29, 11), (5, 1)])
def test_the_schedule_ends_with_the_training_and_not_before(
    monkeypatch: pytest.MonkeyPatch, length: int, hop: int
) -> None:
    # How many windows an epoch has depends on where its grids begin, so the schedule must have counted them.
    asked: list[tuple[int, int]] = []

    def noted(step: int, steps: int, settings: TrainingSettings) -> float:
        asked.append((step, steps))
        return learning_rate_factor(step, steps, settings)

    monkeypatch.setattr("fuse.train.learning_rate_factor", noted)
    chosen = plan(epochs=3, patience=3)
    windows = chosen.windows.model_copy(update={"length": length, "hop": hop})
    history = train(make_bank(), chosen.model_copy(update={"windows": windows}), 3).history
    steps = asked[0][1]
    assert asked == [(step, steps) for step in range(steps + 1)]
    assert history[-1].learning_rate == pytest.approx(0, abs=1e-15)
