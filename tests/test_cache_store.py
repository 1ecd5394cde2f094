"""The contract of a store, the same for every back end; always closed and reopened before reading."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stores import CLOCKS, PROVENANCE, RECIPE, D, T, everything, key_of, put, python, record, same, some_track

from cache.catalogue import Catalogue
from cache.clock import Clock
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.store import StoreError, local_folder, open_store
from cache.track import DTYPES, Track

BACK_ENDS = {"zarr": "x.zarr", "hdf5": "x.h5"}
NAMES = (
    "clip", "Clip", "CLIP", "a/b", "a b", "..", ".", "../../x", "/etc/x", "a.b", "a\\b", "a\nb", "COM1", "~", "名前",
    "é", "e\u0301", "a" * 79, "a" * 300, "é" * 300,
)  # fmt: skip


@pytest.fixture(params=BACK_ENDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a store is to be made, one for each back end."""
    return tmp_path / "deep" / BACK_ENDS[request.param]


def numbers_of(path: Path, key: TrackKey, values: Track) -> tuple[Path, int]:
    """The file in which the values of a track lie bare, and where in it: any file of the track that holds them."""
    row = values.values[int(np.flatnonzero(values.valid)[0])].tobytes()
    for file in path.parent.rglob("*"):
        if f"{folder_name(key.clip)}.{key.source[:SHORT]}" in file.as_posix() and file.is_file():
            place = file.read_bytes().find(row)
            if place >= 0:
                return file, place
    raise AssertionError(f"no file below {path.parent} holds the numbers of {key.clip}")


# ------------------------------------------------------------------------------------------------ tracks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_track_comes_back_whole_and_in_parts(path: Path, dtype: str, clock: Clock) -> None:
    key, track = key_of(), some_track(clock, dtype)
    store = open_store(path, writable=True)
    assert not store.has(key)
    assert put(store, key, track)
    again = open_store(path)
    assert again.has(key)
    same(again.read(key), track)
    for start, stop in ((0, 1), (2, 1031), (519, 521), (1023, 1025), (T, T), (5, 5), (0, T)):
        same(again.read(key, slice(start, stop)), track.rows(start, stop))
    same(again.read(key, slice(-3, None)), track.rows(T - 3, T))
    same(again.read(key, slice(7, 3)), track.rows(7, 7))
    same(again.read(key, slice(T + 5, T + 9)), track.rows(T, T))
    assert again.shape(key) == (T, D)
    assert again.provenance(key) == PROVENANCE
    assert again.recipes() == {key.recipe: RECIPE}
    assert list(again.recipe_keys(key.recipe)) == [key]
    assert again.faults(key) == again.stray() == []
    assert track.values.nbytes < again.size_bytes(key) < track.values.nbytes + 9 * T + 10_000


@pytest.mark.parametrize("rows", [0, 1, 2, 1024, 1025, 2049])
@pytest.mark.parametrize("explicit", [True, False])
def test_every_length_comes_back(path: Path, rows: int, explicit: bool) -> None:
    clock = Clock.explicit(3 * np.arange(rows), Fraction(1, 75)) if explicit else Clock.regular(Fraction(1, 25), rows)
    track = some_track(clock, width=1)
    put(open_store(path, writable=True), key_of(), track)
    store = open_store(path)
    same(store.read(key_of()), track)
    assert store.shape(key_of()) == (rows, 1)
    assert store.faults(key_of()) == []


CLOCKS_TO_KEEP = {
    "negative start": Clock.regular(Fraction(1, 25), 11, Fraction(-7, 90000)),
    "negative ticks": Clock.explicit([-90000, -1, 0, 7], Fraction(1, 90000)),
    "one row, far away": Clock.explicit([2**53 + 1], Fraction(1, 10**9)),
    "one regular row": Clock.regular(Fraction(1001, 30000), 1, Fraction(1, 3)),
    "steps of many ticks": Clock(Fraction(1, 48000), 13, start=-160, step=480),
    "silent, with a start": Clock.regular(Fraction(1, 100), 0, Fraction(-3, 16000)),
    "regular though written out": Clock.explicit([0, 2, 4, 6], Fraction(1, 50)),
}


@pytest.mark.parametrize("clock", CLOCKS_TO_KEEP.values(), ids=CLOCKS_TO_KEEP)
def test_every_clock_comes_back_to_the_tick(path: Path, clock: Clock) -> None:
    track = some_track(clock, width=3)
    put(open_store(path, writable=True), key_of(), track)
    back = open_store(path).read(key_of()).clock
    assert back == clock
    assert back.attributes() == clock.attributes(), "and is written the same way"
    np.testing.assert_array_equal(back.all_ticks(), clock.all_ticks())


def test_a_track_without_a_valid_row_comes_back(path: Path) -> None:
    track = Track.of(np.zeros((T, D)), CLOCKS["regular"], np.zeros(T, bool))
    put(open_store(path, writable=True), key_of(), track)
    same(open_store(path).read(key_of()), track)
    assert open_store(path).faults(key_of()) == []


def test_numbers_come_back_to_the_bit(path: Path) -> None:
    extremes = np.array([[0.0, -0.0, 65504.0, 2.0**-24, -(2.0**-14)], [1 / 3, -65504.0, 1.0, -1.0, 6e-8]])
    track = Track.of(extremes, Clock.regular(Fraction(1, 5), 2))
    put(open_store(path, writable=True), key_of(), track)
    same(open_store(path).read(key_of()), track)


def test_values_of_any_memory_layout_are_stored_as_they_read(path: Path) -> None:
    wide = np.random.default_rng(3).normal(size=(2 * D, 2 * T)).astype("float32")
    track = Track(wide[::2, 1::2].T, np.ones(2 * T, bool)[::2], CLOCKS["variable"])
    put(open_store(path, writable=True), key_of(), track)
    same(open_store(path).read(key_of()), track)


def test_rows_are_a_range_without_steps(path: Path) -> None:
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    with pytest.raises(ValueError, match=r"rows have the step 2; wanted a range of rows \[start, stop\)"):
        store.read(key_of(), slice(0, 10, 2))


def bytes_read() -> int:
    """What this process has asked the system to read since it began."""
    return int(Path("/proc/self/io").read_text(encoding="ascii").split("rchar: ")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this system does not count what a process reads")
def test_a_part_costs_the_reading_of_that_part(path: Path) -> None:
    blocks, width = 13, 64
    track = some_track(Clock.regular(Fraction(1, 25), blocks * 1024), width=width)
    put(open_store(path, writable=True), key_of(), track)
    store = open_store(path)
    store.read(key_of(), slice(0, 1))  # whatever is imported on the first reading
    costs = {}
    for name, rows in {"one row": slice(5000, 5001), "across a border": slice(2047, 2049)}.items():
        before = bytes_read()
        same(store.read(key_of(), rows), track.rows(rows.start, rows.stop))
        costs[name] = bytes_read() - before
    block = 1024 * (2 * width + 1)
    rest = 30_000 + blocks * 1024  # texts, and the marks of all rows
    assert costs["one row"] <= block + rest
    assert costs["across a border"] <= 2 * block + rest


def test_a_second_write_of_the_same_key_changes_nothing(path: Path) -> None:
    first, second = some_track(seed=5), some_track(seed=6)
    assert put(open_store(path, writable=True), key_of(), first)
    before = everything(path.parent)
    assert not put(open_store(path, writable=True), key_of(), second)
    assert everything(path.parent) == before
    same(open_store(path).read(key_of()), first)


def test_tracks_of_other_clips_sources_and_recipes_do_not_meet(path: Path) -> None:
    store = open_store(path, writable=True)
    clock = Clock.regular(Fraction(1, 25), 3)
    other_recipe = RECIPE | {"hop_samples": 320}
    keys = [key_of(clip) for clip in NAMES]
    keys.append(TrackKey(keys[0].recipe, digest_of("edited"), "clip"))
    tracks = {key: some_track(clock, seed=seed) for seed, key in enumerate(keys)}
    for key, track in tracks.items():
        assert put(store, key, track)
    foreign = key_of("clip", other_recipe)
    assert not store.has(foreign)
    assert store.write(foreign, some_track(clock, seed=99), recipe=other_recipe, provenance={})
    again = open_store(path)
    for key, track in tracks.items():
        same(again.read(key), track)
        assert again.faults(key) == []
    same(again.read(foreign), some_track(clock, seed=99))
    assert sorted(again.recipe_keys(key_of().recipe)) == sorted(keys)
    assert list(again.recipe_keys(foreign.recipe)) == [foreign]
    assert list(again.recipe_keys(digest_of("nobody's"))) == []
    assert again.recipes() == {key_of().recipe: RECIPE, foreign.recipe: other_recipe}
    assert again.stray() == []
    stem = path.name
    assert all(entry.name.startswith(stem) for entry in path.parent.iterdir()), "nothing lies beside the store's own"
    assert [entry.name for entry in path.parent.parent.iterdir()] == ["deep"]


def test_a_recipe_that_is_not_the_key_s_is_refused(path: Path) -> None:
    store = open_store(path, writable=True)
    with pytest.raises(StoreError, match="recipe given for clip clip has another digest than its key says"):
        store.write(key_of(), some_track(), recipe=RECIPE | {"hop_samples": 161}, provenance={})
    assert not store.has(key_of())


def test_a_track_that_is_not_there_is_said_so(path: Path) -> None:
    store = open_store(path, writable=True)
    for asked in (store.read, store.shape, store.size_bytes):
        with pytest.raises(StoreError, match=f"no track of clip clip for recipe {key_of().recipe[:SHORT]}"):
            asked(key_of())
    assert store.faults(key_of()) == ["it is not there"]
    assert not store.drop(key_of())


def test_texts_of_any_length_and_script_come_back(path: Path) -> None:
    recipe = {"über": "名前 \"'\\ \n", "long": "x" * 70_000, "deep": {"a": [1, 2.5, None, True]}}
    provenance = {"command": "é" * 70_000}
    key = key_of("clip", recipe)
    store = open_store(path, writable=True)
    store.write(key, some_track(), recipe=recipe, provenance=provenance)
    again = open_store(path)
    assert again.recipes() == {key.recipe: recipe}
    assert again.provenance(key) == provenance


# ------------------------------------------------------------------------------------------------ dropping


def test_a_dropped_track_is_gone_at_once_and_can_be_written_again(path: Path) -> None:
    store, reader = open_store(path, writable=True), open_store(path)
    put(store, key_of("a"), some_track(seed=1))
    put(store, key_of("b"), some_track(seed=2))
    assert store.drop(key_of("a"))
    assert not store.drop(key_of("a"))
    for held in (store, reader, open_store(path)):
        assert not held.has(key_of("a"))
        assert list(held.recipe_keys(key_of().recipe)) == [key_of("b")]
        assert held.stray() == []
    same(reader.read(key_of("b")), some_track(seed=2))
    assert put(store, key_of("a"), some_track(seed=3))
    same(open_store(path).read(key_of("a")), some_track(seed=3))
    assert store.drop(key_of("a"))
    assert store.drop(key_of("b"))
    assert list(open_store(path).recipe_keys(key_of().recipe)) == []
    assert put(store, key_of("b"), some_track(seed=4))
    same(open_store(path).read(key_of("b")), some_track(seed=4))


# ------------------------------------------------------------------------------------------------ records


def test_records_come_back_with_and_without_labels(path: Path) -> None:
    store = open_store(path, writable=True)
    labels = some_track(CLOCKS["variable"], "float32", width=2)
    assert store.write_record("Clip/1", 1, {"split": "train", "notes": ["é", "x" * 70_000]}, labels)
    assert store.write_record("Clip/1", 2, {"split": "test"}, None)
    assert not store.write_record("Clip/1", 2, {"split": "late"}, labels)
    assert store.write_record("another", 1, {}, None)
    again = open_store(path)
    assert again.clips() == ["Clip/1", "another"]
    assert again.generations("Clip/1") == [1, 2]
    assert again.generations("nobody") == []
    attributes, back = again.read_record("Clip/1", 1)
    assert attributes["split"] == "train"
    assert attributes["notes"] == ["é", "x" * 70_000]
    same(back, labels)
    attributes, back = again.read_record("Clip/1", 2)
    assert (attributes["split"], back) == ("test", None)
    for generation in (1, 2):
        assert again.record_faults("Clip/1", generation) == []
    assert again.record_faults("Clip/1", 3) == ["it is not there"]
    assert again.stray() == []
    with pytest.raises(StoreError, match="is not there; the store was changed meanwhile, or never had it"):
        again.read_record("Clip/1", 3)


def test_clips_of_any_name_have_records_of_their_own(path: Path) -> None:
    store = open_store(path, writable=True)
    for number, clip in enumerate(NAMES):
        assert store.write_record(clip, 1, {"number": number}, None)
    again = open_store(path)
    assert again.clips() == sorted(NAMES)
    assert [again.read_record(clip, 1)[0]["number"] for clip in NAMES] == list(range(len(NAMES)))


def test_generations_count_on_and_are_dropped_one_by_one(path: Path) -> None:
    store = open_store(path, writable=True)
    for generation in range(1, 13):
        assert store.write_record("clip", generation, {"generation": generation}, None)
    assert open_store(path).generations("clip") == list(range(1, 13))
    assert store.drop_record("clip", 5)
    assert not store.drop_record("clip", 5)
    again = open_store(path)
    assert again.generations("clip") == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert again.read_record("clip", 12)[0]["generation"] == 12
    for generation in again.generations("clip"):
        assert store.drop_record("clip", generation)
    assert open_store(path).generations("clip") == []
    assert open_store(path).clips() == []
    assert open_store(path).stray() == []


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_is_found_and_what_is_dropped_can_be_written_again(path: Path, bit: int) -> None:
    key, track = key_of("voice"), some_track(dtype="float32")
    store = open_store(path, writable=True)
    put(store, key, track)
    put(store, key_of("sound"), some_track(seed=2))
    file, place = numbers_of(path, key, track)
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)
    again = open_store(path)
    with pytest.raises(StoreError, match=r"is damaged .*extract again"):
        again.read(key)
    (fault,) = again.faults(key)
    assert "damaged" in fault
    assert again.has(key), "it is there, until somebody drops it"
    same(again.read(key_of("sound")), some_track(seed=2))
    assert open_store(path, writable=True).drop(key)
    assert put(open_store(path, writable=True), key, track)
    same(open_store(path).read(key), track)


def test_damage_costs_only_the_rows_that_it_hit(path: Path) -> None:
    track = some_track(Clock.regular(Fraction(1, 25), 4096), "float32")
    put(open_store(path, writable=True), key_of(), track)
    file, place = numbers_of(path, key_of(), track)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    same(open_store(path).read(key_of(), slice(2048, 3000)), track.rows(2048, 3000))
    with pytest.raises(StoreError, match=r"is damaged"):
        open_store(path).read(key_of(), slice(0, 100))


def test_a_file_that_is_cut_short_is_found(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    file, _ = numbers_of(path, key_of(), some_track())
    content = file.read_bytes()
    for kept in (0, 1, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:kept])
        store = open_store(path)
        assert store.has(key_of())
        with pytest.raises(StoreError, match=r"is damaged"):
            store.read(key_of())
        assert len(store.faults(key_of())) + len(store.stray()) >= 1
    file.unlink()
    with pytest.raises(StoreError, match=r"is damaged|is not there"):
        open_store(path).read(key_of())


def test_a_track_in_the_place_of_another_is_found(path: Path) -> None:
    store = open_store(path, writable=True)
    put(store, key_of("a"), some_track(seed=1))
    put(store, key_of("b"), some_track(seed=2))
    (mine,) = path.parent.rglob(f"a.{key_of('a').source[:SHORT]}")
    (other,) = path.parent.rglob(f"b.{key_of('b').source[:SHORT]}")
    shutil.rmtree(mine)
    shutil.copytree(other, mine)
    assert open_store(path).faults(key_of("a"))
    assert list(open_store(path).recipe_keys(key_of().recipe)) == [key_of("b")]
    (stray,) = open_store(path).stray()
    open_store(path, writable=True).drop_stray(stray)
    assert not open_store(path).has(key_of("a"))
    same(open_store(path).read(key_of("b")), some_track(seed=2))


def test_damaged_labels_are_found(path: Path) -> None:
    labels = some_track(dtype="float32", width=2)
    store = open_store(path, writable=True)
    store.write_record("clip", 1, {}, labels)
    row = labels.values[int(np.flatnonzero(labels.valid)[0])].tobytes()
    (file,) = (file for file in path.parent.rglob("*") if file.is_file() and row in file.read_bytes())
    content = bytearray(file.read_bytes())
    content[content.find(row)] ^= 1
    file.write_bytes(content)
    again = open_store(path)
    (fault,) = again.record_faults("clip", 1)
    assert "damaged" in fault
    assert again.generations("clip") == [1], "an older one in its place would be stale, without a word"
    with pytest.raises(StoreError, match=r"is damaged"):
        again.read_record("clip", 1)


def test_foreign_things_are_named_and_only_they_can_be_dropped_so(path: Path) -> None:
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    store.write_record("clip", 1, {}, None)
    (track,) = path.parent.rglob(f"clip.{key_of().source[:SHORT]}")
    recipe = track.parent
    for place in (recipe, recipe.parent, recipe.parent.parent, recipe.parent.parent / "catalogue" / "clip"):
        (place / "thesis.txt").write_text("years of work", encoding="utf-8")
        (place / ".DS_Store").write_text("of the system", encoding="utf-8")
    (recipe / "half").mkdir()
    (recipe / "half" / "x").write_text("x", encoding="utf-8")
    again = open_store(path)
    names = again.stray()
    assert len(names) == 5
    assert {name.rpartition("/")[2] for name in names} == {"thesis.txt", "half"}
    assert list(again.recipe_keys(key_of().recipe)) == [key_of()]
    assert again.clips() == ["clip"]
    assert again.generations("clip") == [1]
    held = open_store(path, writable=True)
    for name in ("tracks", "", "..", "../x", "nothing", f"tracks/{recipe.name}/{track.name}"):
        with pytest.raises(StoreError, match=r"is nothing stray in .*only what `stray` names may be dropped so"):
            held.drop_stray(name)
    for name in names:
        held.drop_stray(name)
    assert open_store(path).stray() == []
    same(open_store(path).read(key_of()), some_track())


# ------------------------------------------------------------------------------------------------ many at once


_KILLED_WRITER = """
import os, signal
from pathlib import Path
from stores import key_of, put, some_track
from cache.store import open_store
store = open_store(Path(sys.argv[1]), writable=True)
put(store, key_of("first"), some_track())
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
put(store, key_of("second"), some_track())
"""


def test_what_a_killed_process_leaves_is_invisible_and_swept_by_the_next_writer(path: Path) -> None:
    with python(_KILLED_WRITER, path) as process:
        _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    unfinished = local_folder(path) / "unfinished"
    (left,) = unfinished.iterdir()
    reader = open_store(path)
    assert list(reader.recipe_keys(key_of().recipe)) == [key_of("first")]
    assert not reader.has(key_of("second"))
    assert reader.stray() == []
    assert left.exists(), "a reader changes nothing"
    host = socket.gethostname()
    kept = [
        unfinished / f"{host}.{os.getpid()}.aa",  # of a living process
        unfinished / f"elsewhere.{process.pid}.bb",  # of another machine, whose processes can't be seen from here
        unfinished / f"{host}.elsewhere.{process.pid}.cc",  # of another machine, whose name begins like this one's
        unfinished / f"{host}.notes",  # of somebody else
    ]
    for folder in kept:
        folder.mkdir()
    put(open_store(path, writable=True), key_of("second"), some_track())
    assert sorted(unfinished.iterdir()) == sorted(kept)
    same(open_store(path).read(key_of("second")), some_track())


_WRITER = """
from pathlib import Path
from stores import key_of, put, record, some_track
from cache.catalogue import Catalogue
from cache.store import open_store
path, me = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
store = open_store(path, writable=True)
won = sum(put(store, key_of(f"shared-{n}"), some_track(seed=n)) for n in range(13))
for n in range(3):
    put(store, key_of(f"own-{me}-{n}"), some_track(seed=100 * me + n))
catalogue = Catalogue(store)
for n in range(5):
    catalogue.update(record(clip=f"shared-{n}", labels=None, tracks={f"feature{me}": key_of().recipe}))
print(won)
"""


def test_processes_that_write_the_same_and_other_tracks_at_once_lose_nothing(path: Path) -> None:
    writers = [python(_WRITER, path, me) for me in range(3)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:  # all have imported: now they run at once
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    assert sum(int(out) for out, _ in said) == 13, "each shared track was written by one of them"
    store = open_store(path)
    for n in range(13):
        same(store.read(key_of(f"shared-{n}")), some_track(seed=n))
    for me in range(3):
        for n in range(3):
            same(store.read(key_of(f"own-{me}-{n}")), some_track(seed=100 * me + n))
    for found in Catalogue(store):
        assert set(found.tracks) == {"feature0", "feature1", "feature2"}
        assert store.generations(found.clip) == [1, 2, 3]
    assert not list((local_folder(path) / "unfinished").iterdir())


# ------------------------------------------------------------------------------------------------ the whole


def fill(path: Path) -> None:
    """All that a study writes: tracks, records with labels, a second generation."""
    store = open_store(path, writable=True)
    for number, clip in enumerate(("a", "B", "c d")):
        put(store, key_of(clip), some_track(seed=number))
        known: dict[str, Any] = {"clip": clip, "media": f"{clip}.mp4", "source": key_of(clip).source}
        Catalogue(store).update(record(**known))
    Catalogue(store).update(record(clip="a", media="a.mp4", source=key_of("a").source, split="test"))


def test_back_ends_hold_the_same(tmp_path: Path) -> None:
    digests = set()
    for name in BACK_ENDS.values():
        fill(tmp_path / name)
        store = open_store(tmp_path / name)
        catalogue = Catalogue(store)
        assert store.generations("a") == [1, 2]
        digests.add((catalogue.digest(), catalogue.digest(splits={"train"}), tuple(store.recipes())))
        for number, clip in enumerate(("a", "B", "c d")):
            same(store.read(catalogue[clip].key("voice")), some_track(seed=number))
    assert len(digests) == 1


def test_opening_again_and_filling_again_changes_nothing(path: Path) -> None:
    fill(path)
    before = everything(path.parent)
    open_store(path)
    open_store(path, writable=True)
    assert everything(path.parent) == before


# ------------------------------------------------------------------------------------------------ refusals


def test_a_store_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(StoreError, match=rf"no store at .*{path.name}; make one with `duet extract`"):
        open_store(path)
    assert not path.parent.exists()


@pytest.mark.parametrize("name", ["x.npz", "x", "zarr", "x.h5.txt"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"ends in '.*'; wanted \.zarr \(a path or an address\), \.h5 or \.hdf5"):
        open_store(tmp_path / name, writable=True)
    assert not list(tmp_path.iterdir())


def test_a_path_may_be_a_text(path: Path) -> None:
    put(open_store(str(path), writable=True), key_of(), some_track())
    store = open_store(path)
    same(store.read(key_of()), some_track())
    assert store.location == str(path)
