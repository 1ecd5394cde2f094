"""The bank: windows are equal slices of the sequences, padding is marked, a split is loaded whole."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import WIDTHS, make_bank, make_sequence, write_store

from cache.catalogue import Catalogue, Record
from cache.store import StoreError, open_store
from cache.track import Track
from fuse.align import sequence
from fuse.bank import Bank, load_bank
from fuse.settings import AlignmentSettings

LENGTHS = [29, 5, 41, 11]


def four() -> tuple[list, Bank]:
    rng = np.random.default_rng(3)
    parts = [make_sequence(rng, f"c{i}", f"g{i % 3}", rows, WIDTHS) for i, rows in enumerate(LENGTHS)]
    return parts, Bank(parts)


def test_a_bank_knows_its_clips_rows_and_widths() -> None:
    parts, bank = four()
    assert bank.clips == ["c0", "c1", "c2", "c3"]
    assert bank.groups == ["g0", "g1", "g2", "g0"]
    assert bank.rows == sum(LENGTHS)
    assert bank.offsets.tolist() == [0, 29, 34, 75, 86]
    assert bank.widths == WIDTHS
    assert [clock == part.clock for clock, part in zip(bank.clocks, parts, strict=True)] == [True] * 4
    assert bank.values["video"].shape == (86, 5)
    assert bank.values["video"].dtype == torch.float32
    assert bank.rows_of([1, 3]).nonzero().flatten().tolist() == [*range(29, 34), *range(75, 86)]


@settings(max_examples=40)
@given(
    length=st.integers(1, 19), clips=st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True), data=st.data()
)
def test_a_window_is_a_slice_of_its_clip(length: int, clips: list[int], data: st.DataObject) -> None:
    parts, bank = four()
    hop = data.draw(st.integers(1, length))
    offsets = np.array(data.draw(st.lists(st.integers(0, hop - 1), min_size=len(clips), max_size=len(clips))))
    windows = bank.windows(clips, length, hop, offsets)
    which = torch.tensor(data.draw(st.permutations(range(len(windows)))))
    batch = bank.batch(windows, which)
    covered = torch.zeros(bank.rows, dtype=torch.int64)
    for b, window in enumerate(which.tolist()):
        clip = int(windows.clips[window])
        part, first = parts[clip], int(windows.starts[window]) - int(bank.offsets[clip])
        count = min(length, len(part.clock) - first)
        assert batch.inside[b].tolist() == [True] * count + [False] * (length - count)
        cut = slice(first, first + count)
        for name in WIDTHS:
            np.testing.assert_array_equal(batch.features[name][b, :count], part.features[name][cut])
            np.testing.assert_array_equal(batch.valid[name][b, :count], part.valid[name][cut])
            assert not batch.valid[name][b, count:].any()
        np.testing.assert_array_equal(batch.labels[b, :count], part.labels[cut])
        np.testing.assert_array_equal(batch.labels_valid[b, :count], part.labels_valid[cut])
        assert not batch.labels_valid[b, count:].any()
        rows = batch.rows[b]
        assert rows[:count].tolist() == list(range(int(windows.starts[window]), int(windows.starts[window]) + count))
        covered[rows[batch.inside[b]]] += 1
    np.testing.assert_array_equal(covered > 0, bank.rows_of(clips))


def test_a_clip_shorter_than_the_window_is_padded_with_rows_of_its_own() -> None:
    _, bank = four()
    batch = bank.batch(bank.windows([1], 13, 7), torch.tensor([0]))
    assert batch.inside.tolist() == [[True] * 5 + [False] * 8]
    assert batch.rows.tolist() == [[29, 30, 31, 32, 33] + [33] * 8]  # never a row of the next clip
    assert batch.features["video"].shape == (1, 13, 5)


def test_an_empty_bank_and_an_empty_clip_are_refused() -> None:
    with pytest.raises(ValueError, match="a bank wants 1 sequence or more"):
        Bank([])
    rng = np.random.default_rng(1)
    parts = [make_sequence(rng, name, "g", rows) for name, rows in (("full", 7), ("hollow", 0), ("void", 0))]
    with pytest.raises(ValueError, match="without a single label row can't be in a bank: hollow, void"):
        Bank(parts)


def test_a_window_bigger_than_every_clip_gives_one_window_a_clip() -> None:
    bank = make_bank()
    windows = bank.windows(list(range(len(bank.clips))), 1009, 503)
    batch = bank.batch(windows, torch.arange(len(windows)))
    assert windows.clips.tolist() == list(range(9))
    assert int(batch.inside.sum()) == bank.rows
    assert torch.equal(batch.rows[batch.inside], torch.arange(bank.rows))


def test_a_split_is_loaded_from_the_store(tmp_path: Path) -> None:
    catalogue = write_store(tmp_path / "s.zarr")
    store = open_store(tmp_path / "s.zarr", writable=True)
    features = {"video": "face", "audio": "voice"}
    alignment = AlignmentSettings(method="linear", label_delay_seconds=0.2)
    record = catalogue["clip03"]
    catalogue.update(Record("unlabelled", "u.mp4", "c" * 64, "train", "train-0", 1.0, None, record.tracks))

    banks = {split: load_bank(store, Catalogue(store), split, features, alignment) for split in ("train", "validation")}
    assert banks["train"].clips == [f"clip{i:02d}" for i in range(9)]
    assert banks["validation"].clips == [f"clip{i:02d}" for i in range(9, 13)]
    assert banks["validation"].groups == ["validation-4", "validation-5", "validation-5", "validation-6"]
    bank, wanted = banks["train"], sequence(store, record, features, alignment)
    rows = slice(bank.offsets[3], bank.offsets[4])
    for name in features:
        np.testing.assert_array_equal(bank.values[name][rows], wanted.features[name])
        np.testing.assert_array_equal(bank.valid[name][rows], wanted.valid[name])
    np.testing.assert_array_equal(bank.labels[rows], wanted.labels)

    with pytest.raises(StoreError, match="no labelled clip in split 'test'; it has train, validation"):
        load_bank(store, catalogue, "test", features, alignment)
    with pytest.raises(StoreError, match="no feature 'faces'; it has face, voice"):
        load_bank(store, catalogue, "train", {"video": "faces"}, alignment)


def test_features_of_two_recipes_under_one_name_are_refused(tmp_path: Path) -> None:
    catalogue = write_store(tmp_path / "s.zarr")
    old = catalogue["clip03"]
    labels = Track.of(np.zeros((3, 2)), old.labels.clock.rows(0, 3), dtype="float32")
    catalogue.update(
        Record(old.clip, old.media, "d" * 64, old.split, old.subject, 1.0, labels, old.tracks | {"face": "e" * 64})
    )
    with pytest.raises(StoreError, match="feature 'face' belongs to 2 recipes"):
        load_bank(open_store(tmp_path / "s.zarr"), catalogue, "validation", {"video": "face"}, AlignmentSettings())


def test_label_rows_of_a_bank_are_exact_in_time() -> None:
    bank = make_bank()
    assert bank.clocks[0].all_ticks()[7] * bank.clocks[0].tick_seconds == Fraction(7, 23)
