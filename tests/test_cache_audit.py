"""What verify finds and repair mends, what drop and gc take and leave, and what a store says of itself."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from stores import PROVENANCE, everything, same, some_track

from cache import about, inventory
from cache.audit import Audit, repair, verify
from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.inventory import clip_lines, feature_lines, recipe_named, usage
from cache.key import SHORT, TrackKey, digest_of
from cache.removal import plan_drop, plan_gc, remove
from cache.store import Store, StoreError, local_folder, open_store
from cache.track import Track

RECIPES: dict[str, dict[str, Any]] = {
    "face": {"backbone": "hog", "crop": {"size_px": 96}},
    "voice": {"kind": "import", "columns": ["f0"]},
    "old": {"backbone": "hog", "crop": {"size_px": 64}},
}
DIGESTS = {name: digest_of(recipe) for name, recipe in RECIPES.items()}
ROWS = {"a": 11, "b": 13, "c": 17}
WIDTHS = {"face": 5, "voice": 1, "old": 3}


def media(clip: str, edition: int = 1) -> str:
    return digest_of({"clip": clip, "edition": edition})


def key(clip: str, name: str, edition: int = 1) -> TrackKey:
    return TrackKey(DIGESTS[name], media(clip, edition), clip)


def put(store: Store, at: TrackKey) -> Track:
    """The one track that belongs at a key."""
    name = next(name for name, digest in DIGESTS.items() if digest == at.recipe)
    seed = int(digest_of([at.recipe, at.source, at.clip])[:8], 16)
    track = some_track(Clock.regular(Fraction(1, 25), ROWS[at.clip]), width=WIDTHS[name], seed=seed)
    store.write(at, track, recipe=RECIPES[name], provenance=PROVENANCE | {"for": name})
    return track


def a_record(clip: str, **changes: Any) -> Record:
    labels = Track.of(np.full((7, 2), 0.25), Clock.regular(Fraction(1, 10), 7), np.arange(7) != 3, dtype="float32")
    known: dict[str, Any] = {
        "clip": clip, "media": f"{clip}.mp4", "source": media(clip), "split": "test" if clip == "c" else "train",
        "subject": f"s-{clip}", "duration_seconds": 0.5, "labels": None if clip == "c" else labels,
        "tracks": {"face": DIGESTS["face"], "voice": DIGESTS["voice"]},
    }  # fmt: skip
    return Record(**{**known, **changes})


_MASTERS = TemporaryDirectory()  # removed when Python ends


@functools.cache  # written once a process and copied: a write is synced, a copy is not
def _master(name: str) -> Path:
    folder = Path(_MASTERS.name, name)
    store = open_store(folder / name, writable=True)
    for clip in ROWS:
        for feature in ("face", "voice"):
            put(store, key(clip, feature))
        Catalogue(store).update(a_record(clip))
    shutil.rmtree(local_folder(store.location), ignore_errors=True)
    return folder


def filled(location: Path) -> Store:
    """Three clips with two features each."""
    shutil.copytree(_master(location.name), location.parent, dirs_exist_ok=True)
    return open_store(location, writable=True)


@pytest.fixture(params=["x.zarr", "x.h5"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return filled(tmp_path / request.param)


def kinds(found: Audit) -> list[tuple[str, str]]:
    return [(fault.kind, fault.name) for fault in found.faults]


def flipped(store: Store, wanted: Callable[[Path], bool]) -> Path:
    """One bit of the only file of a store that is wanted, turned over in its middle."""
    place = Path(store.location)
    (file,) = (file for folder in (place, Path(f"{place}.parts")) for file in folder.rglob("*") if wanted(file))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file


def numbers_of(at: TrackKey) -> Callable[[Path], bool]:
    """The file of a Zarr store that holds a track's values."""
    return numbers_in(f"{at.recipe[:SHORT]}/{at.clip}.{at.source[:SHORT]}")


def numbers_in(group: str) -> Callable[[Path], bool]:
    """The file that holds the values of a group of a Zarr store."""
    return lambda file: file.is_file() and f"{group}/values/" in str(file) and file.name != "zarr.json"


# ------------------------------------------------------------------------------------------------ verify


def test_a_sound_store_is_sound(store: Store) -> None:
    told: list[tuple[int, int]] = []
    found = verify(open_store(store.location), lambda done, total: told.append((done, total)))
    assert found == Audit(6, 3, (), ())
    assert found.sound
    assert told[-1] == (9, 9)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_an_empty_store_is_sound(tmp_path: Path) -> None:
    assert verify(open_store(tmp_path / "x.zarr", writable=True)) == Audit(0, 0, (), ())


def test_a_flipped_bit_is_found_and_repair_makes_room_for_the_next_extract(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.zarr")
    whole = everything(tmp_path / "x.zarr")
    flipped(store, numbers_of(key("b", "face")))
    found = verify(store)
    assert kinds(found) == [("track", f"b {DIGESTS['face'][:SHORT]}")]
    assert not found.sound
    done = repair(open_store(store.location, writable=True), found)
    assert (done.tracks, done.records, done.strays, done.forgotten) == (1, 0, 0, ("b",))
    assert not store.has(key("b", "face"))
    again = verify(open_store(store.location))
    assert again.sound, again.faults
    assert Catalogue(store)["b"].tracks == {"voice": DIGESTS["voice"]}
    put(store, key("b", "face"))
    assert Catalogue(store).update(a_record("b"))
    assert remove(store, plan_gc(store, unused_hours=0)) == 0, "old generations alone"
    after = everything(tmp_path / "x.zarr")
    tracks = {name for name in after.keys() | whole.keys() if name.startswith("tracks/")}
    assert tracks
    assert all(after[name] == whole[name] for name in tracks), "what is made again is what was there"


def test_a_record_whose_track_is_gone_is_damage(store: Store) -> None:
    store.drop(key("a", "voice"))
    found = verify(store)
    assert kinds(found) == [("missing", "a")]
    assert found.faults[0].said == "generation 1 names the feature voice, but its track is not there"
    done = repair(store, found)
    assert (done.tracks, done.forgotten) == (0, ("a",))
    assert verify(store).sound


def test_older_generations_may_name_what_is_gone(store: Store) -> None:
    assert Catalogue(store).forget("a", ["voice"])
    store.drop(key("a", "voice"))
    assert verify(store) == Audit(5, 4, (), ())


def test_a_track_without_a_record_is_told_and_is_no_damage(store: Store) -> None:
    put(store, key("a", "old"))
    put(store, key("a", "face", edition=2))
    found = verify(store)
    assert found.sound
    assert found.orphans == tuple(sorted([key("a", "old"), key("a", "face", edition=2)]))


def test_damaged_labels_are_found_and_the_generation_before_counts(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.zarr")
    corrected = Track.of(np.full((7, 2), 0.5), Clock.regular(Fraction(1, 10), 7), dtype="float32")
    Catalogue(store).update(a_record("a", labels=corrected))
    flipped(store, numbers_in("catalogue/a/000002"))
    found = verify(store)
    assert kinds(found) == [("record", "a generation 2")]
    done = repair(store, found)
    assert (done.records, done.forgotten) == (1, ())
    assert Catalogue(store)["a"].generation == 1
    assert verify(store).sound


def test_labels_that_are_not_those_of_the_record_are_found(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.zarr")
    attributes, labels = store.read_record("a", 1)
    store.write_record("a", 2, attributes | {"labels_digest": digest_of("others")}, labels)
    (fault,) = verify(store).faults
    assert (fault.kind, fault.generation) == ("record", 2)
    assert fault.said == "its labels are not those that were written: their digest differs"


def test_a_record_that_says_too_little_is_found(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.zarr")
    store.write_record("a", 2, {"media": "a.mp4"}, None)
    (fault,) = verify(store).faults
    assert (fault.kind, fault.name, fault.said) == ("record", "a generation 2", "KeyError: 'source_digest'")
    repair(store, verify(store))
    assert verify(store).sound


def test_stray_things_are_found_and_taken_away(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.zarr")
    whole = everything(tmp_path / "x.zarr")
    (tmp_path / "x.zarr" / "tracks" / "notes.txt").write_text("mine", encoding="utf-8")
    os.makedirs(tmp_path / "x.zarr" / "tracks" / DIGESTS["face"][:SHORT] / "thing")
    (tmp_path / "x.zarr" / "tracks" / DIGESTS["face"][:SHORT] / "thing" / "x").write_bytes(b"1")
    found = verify(store)
    assert {kind for kind, _ in kinds(found)} == {"stray"}
    assert repair(store, found).strays == len(found.faults)
    assert verify(store).sound
    assert everything(tmp_path / "x.zarr") == whole


def test_a_clip_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    store = filled(tmp_path / "x.zarr")
    for text in (tmp_path / "x.zarr" / "catalogue" / "a").rglob("zarr.json"):
        text.write_text("{", encoding="utf-8")
    found = verify(store)
    assert not found.sound
    assert found.orphans == (), "its record, that nobody can read, may name them"
    repair(store, found)
    again = verify(store)
    assert again.sound, again.faults
    assert {orphan.clip for orphan in again.orphans} == {"a"}


class Shifting:
    """A store of which somebody else drops a track while it is being verified."""

    def __init__(self, store: Store, dropped: TrackKey) -> None:
        self._store, self._dropped = store, dropped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def faults(self, at: TrackKey) -> list[str]:
        if at == self._dropped:
            self._store.drop(at)
        return self._store.faults(at)


def test_what_somebody_drops_meanwhile_is_not_damaged(store: Store) -> None:
    put(store, key("a", "old"))
    found = verify(Shifting(store, key("a", "old")))  # type: ignore[arg-type]
    assert (found.faults, found.orphans) == ((), ())
    found = verify(Shifting(store, key("a", "face")))  # type: ignore[arg-type]
    assert kinds(found) == [("missing", "a")], "but a record that misses it is"


class Unstated:
    """A store in which nothing, or something else, states the recipe of a feature."""

    def __init__(self, store: Store, stated: dict[str, dict[str, Any]]) -> None:
        self._store, self._stated = store, stated

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def recipes(self) -> dict[str, dict[str, Any]]:
        return {digest: recipe for digest, recipe in self._stated.items() if any(self._store.recipe_keys(digest))}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({}, "has tracks, but nothing states the recipe"),
        ({DIGESTS["face"]: RECIPES["old"]}, "the recipe that is stated has another digest"),
    ],
)
def test_a_recipe_that_nobody_states_costs_its_tracks(store: Store, stated: dict[str, Any], said: str) -> None:
    voice = {DIGESTS["voice"]: RECIPES["voice"]}
    spoilt: Any = Unstated(store, voice | stated)
    found = verify(spoilt)
    assert [(fault.kind, fault.name, fault.said) for fault in found.faults] == [
        ("recipe", DIGESTS["face"][:SHORT], said)
    ]
    assert (repair(spoilt, found).tracks, verify(spoilt).sound) == (3, True)
    assert {name for record in Catalogue(store) for name in record.tracks} == {"voice"}


# ------------------------------------------------------------------------------------------------ drop


def test_a_feature_goes_with_its_tracks_and_leaves_the_catalogue(store: Store) -> None:
    put(store, key("a", "face", edition=2))
    plan = plan_drop(store, features=["face"])
    faces = {*(key(clip, "face") for clip in ROWS), key("a", "face", edition=2)}
    assert set(plan.tracks) == faces
    assert plan.forgotten == dict.fromkeys(ROWS, ("face",))
    assert plan.freed_bytes == sum(store.size_bytes(at) for at in faces)
    assert remove(store, plan) == plan.freed_bytes
    assert verify(store) == Audit(3, 6, (), ())
    assert {name for record in Catalogue(store) for name in record.tracks} == {"voice"}


def test_a_track_that_another_feature_has_stays(store: Store) -> None:
    for clip in ROWS:
        Catalogue(store).update(a_record(clip, tracks={"twin": DIGESTS["face"]}))
    plan = plan_drop(store, features=["face"])
    assert (plan.tracks, sorted(plan.forgotten)) == ((), ["a", "b", "c"])
    remove(store, plan)
    assert verify(store) == Audit(6, 9, (), ())
    assert set(Catalogue(store)["a"].tracks) == {"twin", "voice"}
    plan = plan_drop(store, recipes=[DIGESTS["face"]])
    assert (len(plan.tracks), plan.forgotten["b"]) == (3, ("twin",))


def test_a_clip_goes_whole(store: Store) -> None:
    Catalogue(store).update(a_record("b", split="validation"))
    put(store, key("b", "old"))
    plan = plan_drop(store, clips=["b"])
    assert (len(plan.tracks), plan.records) == (3, (("b", 1), ("b", 2)))
    remove(store, plan)
    assert verify(store) == Audit(4, 2, (), ())
    assert [record.clip for record in Catalogue(store)] == ["a", "c"]


def test_two_kinds_mean_what_is_of_both(store: Store) -> None:
    plan = plan_drop(store, features=["voice"], clips=["b", "c"])
    assert set(plan.tracks) == {key("b", "voice"), key("c", "voice")}
    remove(store, plan)
    assert set(Catalogue(store)["a"].tracks) == {"face", "voice"}
    assert set(Catalogue(store)["b"].tracks) == {"face"}
    assert verify(store).sound


def test_what_is_not_there_or_not_said_can_not_be_dropped(store: Store) -> None:
    with pytest.raises(StoreError, match=r"has no feature fase; it has face, voice$"):
        plan_drop(store, features=["fase", "face"])
    with pytest.raises(StoreError, match=r"has no clip d; it has a, b, c$"):
        plan_drop(store, clips=["d"])
    with pytest.raises(ValueError, match="nothing says what to drop; name a feature, a recipe or a clip"):
        plan_drop(store)


def test_what_came_to_be_named_since_the_plan_stays(store: Store) -> None:
    put(store, key("a", "old"))
    plan = plan_gc(store, unused_hours=0)
    assert plan.tracks == (key("a", "old"),)
    Catalogue(store).update(a_record("a", tracks={"old": DIGESTS["old"]}))
    assert remove(store, plan) == 0
    assert store.has(key("a", "old"))
    assert verify(store).sound


# ------------------------------------------------------------------------------------------------ gc


def test_gc_takes_what_stays_unused_and_never_what_a_run_may_be_writing(store: Store) -> None:
    put(store, key("a", "old"))
    now = 1_000_000.0

    def gc(hours: float) -> Any:
        return plan_gc(store, unused_hours=24, now_seconds=lambda: now + hours * 3600)

    assert (gc(0).tracks, gc(0).waiting) == ((), (key("a", "old"),))
    assert not gc(23.9)
    put(store, key("b", "old"))  # of a run that is under way
    plan = gc(24)
    assert (plan.tracks, plan.waiting) == ((key("a", "old"),), (key("b", "old"),))
    assert remove(store, plan) == plan.freed_bytes > 0
    assert not gc(47)
    assert gc(48).tracks == (key("b", "old"),)
    Catalogue(store).update(a_record("b", tracks={"old": DIGESTS["old"]}))
    assert (gc(49).tracks, gc(49).waiting) == ((), ())
    Catalogue(store).forget("b", ["old"])
    assert gc(50).waiting == (key("b", "old"),), "used in between: its time begins anew"


def test_gc_keeps_the_generations_that_are_asked_for_and_their_tracks(store: Store) -> None:
    put(store, key("a", "face", edition=2))
    put(store, key("a", "voice", edition=2))
    Catalogue(store).update(a_record("a", source=media("a", 2)))
    Catalogue(store).update(a_record("a", source=media("a", 2), split="validation"))
    assert not plan_gc(store, keep_generations=3, unused_hours=0)
    two = plan_gc(store, keep_generations=2, unused_hours=0)
    assert (set(two.tracks), two.records) == ({key("a", "face"), key("a", "voice")}, (("a", 1),))
    one = plan_gc(store, unused_hours=0)
    assert (set(one.tracks), one.records) == (set(two.tracks), (("a", 1), ("a", 2)))
    remove(store, one)
    assert verify(store) == Audit(6, 3, (), ())
    assert store.generations("a") == [3]


def test_gc_s_memory_may_be_lost_or_spoilt(store: Store) -> None:
    put(store, key("a", "old"))
    memory = local_folder(store.location) / "unused.json"
    for spoilt in (b"", b"[1]", b"{", b"\xff"):
        plan_gc(store)
        memory.write_bytes(spoilt)
        assert plan_gc(store).waiting == (key("a", "old"),)
    with pytest.raises(ValueError, match="keep_generations is 0; the newest counts, so keep 1 or more"):
        plan_gc(store, keep_generations=0)
    with pytest.raises(ValueError, match="unused_hours is -1; wanted 0 or more"):
        plan_gc(store, unused_hours=-1)


# ------------------------------------------------------------------------------------------------ inventory


def test_features_and_clips_are_listed_with_what_they_take(store: Store) -> None:
    put(store, key("a", "old"))
    face, voice, unused = feature_lines(open_store(store.location))
    assert (face.names, face.made_by, face.tracks, face.clips) == (("face",), "hog", 3, 3)
    assert (face.rows, face.columns) == (11 + 13 + 17, 5)
    assert face.size_bytes == sum(store.size_bytes(key(clip, "face")) for clip in ROWS)
    assert (voice.names, voice.made_by, voice.columns) == (("voice",), "import", 1)
    assert (unused.names, unused.recipe, unused.rows) == ((), DIGESTS["old"], 11)
    a, _, c = clip_lines(store)
    assert (a.clip, a.split, a.subject, a.label_rows, a.features, a.generations) == (
        "a", "train", "s-a", 7, ("face", "voice"), 1,
    )  # fmt: skip
    assert a.size_bytes == store.size_bytes(key("a", "face")) + store.size_bytes(key("a", "voice"))
    assert (c.label_rows, c.as_json()["features"]) == (0, ["face", "voice"])


def test_every_byte_of_tracks_is_counted_once_by_kind(store: Store) -> None:
    put(store, key("b", "old"))
    put(store, key("a", "face", edition=2))
    Catalogue(store).update(a_record("a", source=media("a", 2), tracks={"face": DIGESTS["face"]}))
    found = {(share.kind, share.name): share for share in usage(store)}
    of = store.size_bytes
    assert found[("old generations", "-")].size_bytes == of(key("a", "face")) + of(key("a", "voice"))
    assert (found[("unused", "-")].tracks, found[("unused", "-")].size_bytes) == (1, of(key("b", "old")))
    assert found[("clip", "a")].size_bytes == of(key("a", "face", 2))
    total = sum(of(at) for at in inventory.all_keys(store))
    for kind in ("feature", "clip"):
        parts = [share for share in found.values() if share.kind in (kind, "old generations", "unused")]
        assert sum(share.size_bytes for share in parts) == total
    assert found[("unfinished", "-")].size_bytes == 0
    left = local_folder(store.location) / "unfinished" / "other-host.1.x"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(bytes(37))
    assert usage(store)[-1].size_bytes == 37


def test_the_first_digits_of_a_key_are_enough(store: Store) -> None:
    assert recipe_named(store, DIGESTS["face"][:6]) == DIGESTS["face"]
    assert recipe_named(store, "") is None
    assert recipe_named(store, "f" * 64) is None

    class Two:
        location = "x"

        def recipes(self) -> dict[str, dict[str, Any]]:
            return {"ab" + "0" * 62: {}, "ab" + "1" * 62: {}}

    with pytest.raises(StoreError, match="2 recipes of x begin with ab; give more digits: ab00000000000000, ab11"):
        recipe_named(Two(), "ab")  # type: ignore[arg-type]


def test_all_about_a_feature_a_key_and_a_clip(store: Store) -> None:
    put(store, key("a", "face", edition=2))
    (face,) = about.about(store, "face")
    assert (face["kind"], face["name"], face["key"], face["tracks"], face["unused_tracks"]) == (
        "feature", "face", DIGESTS["face"], 4, 1,
    )  # fmt: skip
    assert face["recipe"] == RECIPES["face"]
    assert face["clips_by_split"] == {"test": 1, "train": 2}
    assert face["provenance"] == [{"tracks": 4, **PROVENANCE, "for": "face"}]
    assert about.about(store, DIGESTS["face"][:9]) == [face]
    (clip,) = about.about(store, "a")
    assert (clip["media"], clip["generations"], clip["labels"]["valid_rows"]) == ("a.mp4", [1], 6)
    assert clip["labels"]["valence_mean"] == 0.25
    assert (clip["tracks"]["face"]["rows"], clip["tracks"]["face"]["step_seconds"]) == (11, "1/25")
    assert about.about(store, "c")[0]["labels"] is None
    with pytest.raises(StoreError, match=r"has no feature, key or clip 'd'; it has the features face, voice, and"):
        about.about(store, "d")


def test_a_name_of_two_things_is_both(store: Store) -> None:
    Catalogue(store).update(a_record("a", tracks={"b": DIGESTS["face"]}))
    assert [one["kind"] for one in about.about(store, "b")] == ["feature", "clip"]


# ------------------------------------------------------------------------------------------------ forget


def test_a_feature_is_forgotten_by_a_new_generation(store: Store) -> None:
    other = digest_of("a sound file of its own")
    Catalogue(store).update(replace(a_record("a"), sources={"voice": other}))
    catalogue = Catalogue(store)
    before = catalogue["a"]
    assert not catalogue.forget("a", ["nothing"])
    assert not catalogue.forget("nobody", ["voice"])
    assert catalogue.forget("a", ["voice", "nothing"])
    after = Catalogue(store)["a"]
    assert catalogue["a"].content() == after.content()
    assert (after.generation, after.tracks, after.sources) == (before.generation + 1, {"face": DIGESTS["face"]}, {})
    assert before.labels is not None
    same(after.labels, before.labels)
