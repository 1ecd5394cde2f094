"""The catalogue: generations, merging, and a digest that changes exactly when its content does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import TrackKey, digest_of
from cache.store import Store, StoreError, open_store
from cache.track import Track

VOICE, FACE, OTHER = (digest_of(name) for name in ("voice", "face", "other"))


def labels(value: float = 0.25, rows: int = 11, step: Fraction = Fraction(1, 10)) -> Track:
    return Track.of(np.full((rows, 2), value), Clock.regular(step, rows), np.arange(rows) != 3, dtype="float32")


def record(**changes: Any) -> Record:
    known: dict[str, Any] = {
        "clip": "clip", "media": "batch1/clip.mp4", "source": digest_of("bytes"), "split": "train", "subject": "s1",
        "duration_seconds": 1.5, "labels": labels(), "tracks": {"voice": VOICE}, "notes": ("one row more",),
    }  # fmt: skip
    return Record(**{**known, **changes})


# One change of each kind of content. Of these stage two sees nothing: the clip's group is its subject.
UNSEEN: dict[str, dict[str, Any]] = {
    "media": {"media": "batch2/clip.mp4"},
    "duration": {"duration_seconds": 1.25},
    "notes": {"notes": ()},
    "native range": {"native_range": (-10.0, 10.0)},
}
CHANGES: dict[str, dict[str, Any]] = {
    "source": {"source": digest_of("other bytes")},
    "split": {"split": "validation"},
    "subject": {"subject": None},
    "sources": {"sources": {"voice": digest_of("other sound")}},
    "no labels": {"labels": None},
    "a label": {"labels": labels(0.5)},
    "a mark": {"labels": Track.of(np.full((11, 2), 0.25), Clock.regular(Fraction(1, 10), 11), dtype="float32")},
    "label times": {"labels": labels(step=Fraction(1, 5))},
    "label rows": {"labels": labels(rows=13)},
    "recipe": {"tracks": {"voice": OTHER}},
    "feature": {"tracks": {"face": FACE}},
}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[], Catalogue]:
    """The catalogue as another process would open it."""
    return lambda: Catalogue(open_store(tmp_path / "x.zarr", writable=True))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "x.zarr", writable=True)


def test_a_record_comes_back(opened: Callable[[], Catalogue]) -> None:
    assert opened().update(record())
    catalogue = opened()
    assert (len(catalogue), "clip" in catalogue, "nobody" in catalogue) == (1, True, False)
    assert catalogue.get("nobody") is None
    (back,) = catalogue
    assert back.content() == record().content()
    assert (back.generation, back.notes, back.group) == (1, ("one row more",), "s1")
    assert back.labels is not None
    np.testing.assert_array_equal(back.labels.values, labels().values)
    np.testing.assert_array_equal(back.labels.valid, labels().valid)
    assert back.labels.clock == labels().clock
    assert back.key("voice") == TrackKey(VOICE, record().source, "clip")


def test_saying_the_same_again_makes_no_generation(opened: Callable[[], Catalogue], store: Store) -> None:
    catalogue = opened()
    assert catalogue.update(record())
    assert not catalogue.update(record())
    assert not opened().update(record())
    assert store.generations("clip") == [1]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_a_generation_and_another_digest(
    opened: Callable[[], Catalogue], store: Store, change: dict[str, Any]
) -> None:
    catalogue = opened()
    catalogue.update(record())
    before = catalogue.digest()
    assert catalogue.update(record(**change))
    assert (store.generations("clip"), catalogue["clip"].generation) == ([1, 2], 2)
    assert catalogue.digest() == opened().digest() != before
    old, _ = store.read_record("clip", 1)
    assert (old["split"], old["media"]) == ("train", "batch1/clip.mp4"), "what a run saw is still there"


@pytest.mark.parametrize("change", UNSEEN.values(), ids=UNSEEN)
def test_what_decides_no_number_is_a_generation_and_the_same_digest(
    opened: Callable[[], Catalogue], store: Store, change: dict[str, Any]
) -> None:
    opened().update(record())
    before = opened().digest()
    assert opened().update(record(**change))
    assert store.generations("clip") == [1, 2]
    assert opened()["clip"].content() == record(**change).content()
    assert opened().digest() == before


def test_without_a_subject_the_media_is_the_group_and_counts(opened: Callable[[], Catalogue]) -> None:
    opened().update(record(subject=None))
    before = opened().digest()
    opened().update(record(subject=None, media="batch2/clip.mp4"))
    assert opened().digest() != before


def test_the_digest_is_of_the_content_and_of_nothing_else(tmp_path: Path) -> None:
    by_another_road = Catalogue(open_store(tmp_path / "a.zarr", writable=True))
    for step in (record(clip="b"), record(split="validation"), record()):
        by_another_road.update(step)
    straight = Catalogue(open_store(tmp_path / "b.zarr", writable=True))
    for step in (record(), record(clip="b")):
        straight.update(step)
    assert by_another_road["clip"].generation != straight["clip"].generation
    assert by_another_road.digest() == straight.digest()
    straight.update(record(clip="c"))
    assert by_another_road.digest() != straight.digest()


def test_a_narrowed_digest_changes_exactly_with_what_it_is_narrowed_to(opened: Callable[[], Catalogue]) -> None:
    def digest() -> str:
        return opened().digest(("train", "validation"), ("voice",))

    catalogue = opened()
    catalogue.update(record())
    catalogue.update(record(clip="b", split="validation"))
    before, whole = digest(), catalogue.digest()
    # Not seen: clips of other splits, and features of other names.
    catalogue.update(record(clip="c", split="test"))
    catalogue.update(record(tracks={"face": FACE}))
    assert digest() == before
    assert catalogue.digest() != whole
    # Seen: every other change of a clip of a chosen split. A clip that leaves the splits is seen to be gone.
    for name, change in CHANGES.items():
        catalogue.update(record(**change))
        assert (digest() == before) == (name == "feature"), name
        catalogue.update(record())
        assert digest() == before
    catalogue.update(record(clip="d", split="validation"))
    assert digest() != before
    assert catalogue.digest(("train", "validation", "test"), ("voice", "face")) == catalogue.digest()


def test_features_of_the_same_source_are_merged_and_those_of_another_go(opened: Callable[[], Catalogue]) -> None:
    opened().update(record())
    opened().update(record(tracks={"face": FACE}))
    assert opened()["clip"].tracks == {"voice": VOICE, "face": FACE}
    opened().update(record(tracks={"voice": OTHER}))
    assert opened()["clip"].tracks == {"voice": OTHER, "face": FACE}
    opened().update(record(source=digest_of("edited"), tracks={"face": FACE}))
    assert opened()["clip"].tracks == {"face": FACE}


def test_two_writers_at_once_lose_nothing(opened: Callable[[], Catalogue], store: Store) -> None:
    first, second = opened(), opened()  # neither sees what the other writes later
    first.update(record())
    second.update(record(tracks={"face": FACE}))
    assert second["clip"].tracks == {"voice": VOICE, "face": FACE}
    assert opened()["clip"].tracks == {"voice": VOICE, "face": FACE}
    assert store.generations("clip") == [1, 2]


def test_who_loses_the_race_for_a_generation_builds_on_the_winner(
    opened: Callable[[], Catalogue], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = opened()
    write = type(store).write_record
    raced = []

    def write_second(self: Store, clip: str, generation: int, *rest: Any) -> bool:
        if not raced:  # just before ours, somebody else writes this very generation
            raced.append(generation)
            write(self, clip, generation, record(tracks={"face": FACE}).content(), None)
        return write(self, clip, generation, *rest)

    monkeypatch.setattr(type(store), "write_record", write_second)
    assert catalogue.update(record())
    assert raced == [1]
    assert (catalogue["clip"].generation, catalogue["clip"].tracks) == (2, {"voice": VOICE, "face": FACE})


def test_the_recipe_behind_a_feature_s_name(opened: Callable[[], Catalogue]) -> None:
    catalogue = opened()
    with pytest.raises(StoreError, match=r"no feature 'voice'; it has none\. Name one of these, or run `duet extr"):
        catalogue.recipe_of("voice")
    catalogue.update(record())
    catalogue.update(record(clip="b", tracks={"voice": VOICE, "face": FACE}))
    assert (catalogue.recipe_of("voice"), catalogue.recipe_of("face")) == (VOICE, FACE)
    with pytest.raises(StoreError, match="no feature 'mel'; it has face, voice"):
        catalogue.recipe_of("mel")
    catalogue.update(record(clip="c", tracks={"voice": OTHER}))
    with pytest.raises(StoreError, match=rf"2 recipes .*{VOICE[:16]}: 2 clips, .*{OTHER[:16]}: 1 clips, e\.g\. c"):
        catalogue.recipe_of("voice")
    with pytest.raises(StoreError, match="clip b has no feature 'mel', only face, voice; run `duet extract`"):
        catalogue["b"].key("mel")


def test_who_has_no_subject_is_grouped_by_media_with_the_other_person_in_it() -> None:
    left, right = record(clip="x_left", subject=None), record(clip="x_right", subject=None)
    assert left.group == right.group == "media:batch1/clip.mp4"
    assert left.group != replace(left, subject="batch1/clip.mp4").group


def test_labels_of_another_width_are_refused() -> None:
    wide = Track.of(np.zeros((11, 3)), Clock.regular(Fraction(1, 10), 11))
    with pytest.raises(ValueError, match="labels of clip clip have 3 columns; wanted valence, arousal"):
        record(labels=wide)
