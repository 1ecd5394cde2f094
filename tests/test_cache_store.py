"""The contract of a store, closed and reopened before reading; and what plain readers of its format see."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.store import VERSION, Store, StoreError, open_store
from cache.track import Track

ROOT = Path(__file__).parent.parent
RECIPE: dict[str, Any] = {"backbone": "logmel", "hop_samples": 160, "weights": None, "mean": [0.5, 0.25]}
PROVENANCE = {"device": "cpu", "torch": "2.15"}
T, D = 1033, 7  # more rows than one chunk, and no whole number of chunks

CLOCKS = {
    "regular": Clock.regular(Fraction(1, 100), T, Fraction(-3, 16000)),
    "variable": Clock.explicit(np.cumsum(1 + np.arange(T) % 5) - 11, Fraction(1, 90000)),
}


def key_of(clip: str = "clip", recipe: dict[str, Any] = RECIPE) -> TrackKey:
    return TrackKey(digest_of(recipe), digest_of({"media": clip}), clip)


def some_track(clock: Clock = CLOCKS["regular"], dtype: str = "float16", width: int = D, seed: int = 5) -> Track:
    rng = np.random.default_rng(seed)
    return Track.of(rng.normal(size=(len(clock), width)), clock, rng.random(len(clock)) > 0.3, dtype=dtype)


def put(store: Store, key: TrackKey, track: Track) -> bool:
    return store.write(key, track, recipe=RECIPE, provenance=PROVENANCE)


def same(a: Track, b: Track) -> None:
    """Equal to the bit, in type, marks and times."""
    assert a.values.dtype == b.values.dtype
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(a.valid, b.valid)
    assert a.clock == b.clock


def folder_of(path: Path, key: TrackKey) -> Path:
    return path / "tracks" / key.recipe[:SHORT] / f"{folder_name(key.clip)}.{key.source[:SHORT]}"


def everything(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "x.zarr"


# ------------------------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_track_comes_back_whole_and_in_parts(path: Path, dtype: str, clock: Clock) -> None:
    key, track = key_of(), some_track(clock, dtype)
    store = open_store(path, writable=True)
    assert not store.has(key)
    assert put(store, key, track)
    again = open_store(path)
    assert again.has(key)
    same(again.read(key), track)
    for start, stop in ((0, 1), (2, 1031), (519, 521), (T, T), (5, 5), (0, T)):
        same(again.read(key, slice(start, stop)), track.rows(start, stop))
    same(again.read(key, slice(-3, None)), track.rows(T - 3, T))
    same(again.read(key, slice(7, 3)), track.rows(7, 7))
    assert again.provenance(key) == PROVENANCE
    assert again.recipes() == {key.recipe: RECIPE}
    assert list(again.recipe_keys(key.recipe)) == [key]


@pytest.mark.parametrize("rows", [0, 1, 1023, 1024, 1025, 2049])
@pytest.mark.parametrize("explicit", [True, False])
def test_every_length_comes_back(path: Path, rows: int, explicit: bool) -> None:
    clock = Clock.explicit(3 * np.arange(rows), Fraction(1, 75)) if explicit else Clock.regular(Fraction(1, 25), rows)
    track = some_track(clock, width=1)
    put(open_store(path, writable=True), key_of(), track)
    same(open_store(path).read(key_of()), track)


def test_rows_are_a_range_without_steps(path: Path) -> None:
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    with pytest.raises(ValueError, match=r"rows have the step 2; wanted a range of rows \[start, stop\)"):
        store.read(key_of(), slice(0, 10, 2))


def test_a_second_write_of_the_same_key_changes_nothing(path: Path) -> None:
    first, second = some_track(seed=5), some_track(seed=6)
    assert put(open_store(path, writable=True), key_of(), first)
    before = everything(path)
    assert not put(open_store(path, writable=True), key_of(), second)
    assert everything(path) == before
    same(open_store(path).read(key_of()), first)


def test_tracks_of_other_clips_sources_and_recipes_do_not_meet(path: Path) -> None:
    store = open_store(path, writable=True)
    other_recipe = RECIPE | {"hop_samples": 320}
    keys = [key_of(clip) for clip in ("clip", "Clip", "CLIP", "a/b", "a b", "..", "a" * 200)]
    keys.append(TrackKey(keys[0].recipe, digest_of("edited"), "clip"))
    tracks = {key: some_track(seed=seed) for seed, key in enumerate(keys)}
    for key, track in tracks.items():
        assert put(store, key, track)
    foreign = key_of("clip", other_recipe)
    assert not store.has(foreign)
    assert store.write(foreign, some_track(seed=99), recipe=other_recipe, provenance={})
    again = open_store(path)
    for key, track in tracks.items():
        same(again.read(key), track)
    same(again.read(foreign), some_track(seed=99))
    assert sorted(again.recipe_keys(key_of().recipe)) == sorted(keys)
    assert again.recipes() == {key_of().recipe: RECIPE, foreign.recipe: other_recipe}


def test_a_recipe_that_is_not_the_key_s_is_refused(path: Path) -> None:
    store = open_store(path, writable=True)
    with pytest.raises(StoreError, match="recipe given for clip clip has another digest than its key says"):
        store.write(key_of(), some_track(), recipe=RECIPE | {"hop_samples": 161}, provenance={})
    assert not store.has(key_of())


def test_records_come_back_with_and_without_labels(path: Path) -> None:
    store = open_store(path, writable=True)
    labels = some_track(CLOCKS["variable"], "float32", width=2)
    assert store.write_record("Clip/1", 1, {"split": "train"}, labels)
    assert store.write_record("Clip/1", 2, {"split": "test"}, None)
    assert not store.write_record("Clip/1", 2, {"split": "late"}, labels)
    assert store.write_record("another", 1, {}, None)
    again = open_store(path)
    assert again.clips() == ["Clip/1", "another"]
    assert again.generations("Clip/1") == [1, 2]
    assert again.generations("nobody") == []
    attributes, back = again.read_record("Clip/1", 1)
    assert attributes["split"] == "train"
    assert back is not None
    same(back, labels)
    attributes, back = again.read_record("Clip/1", 2)
    assert (attributes["split"], back) == ("test", None)


# ------------------------------------------------------------------------------------------------ the format


def test_plain_zarr_opens_it(path: Path) -> None:
    track = some_track(CLOCKS["variable"])
    put(open_store(path, writable=True), key_of(), track)
    group = zarr.open_group(path, mode="r", zarr_format=3)
    assert dict(group.attrs) == {"format": "duet-store", "version": VERSION}
    (recipe,) = (inner for _, inner in group["tracks"].groups())
    assert recipe.attrs["recipe"] == RECIPE
    assert digest_of(recipe.attrs["recipe"]) == recipe.attrs["recipe_digest"] == key_of().recipe
    (clip,) = (inner for _, inner in recipe.groups())
    assert (clip.attrs["clip"], clip.attrs["source_digest"]) == ("clip", key_of().source)
    assert clip.attrs["provenance"] == PROVENANCE
    np.testing.assert_array_equal(clip["values"][:], track.values)
    np.testing.assert_array_equal(clip["valid"][:], track.valid)
    np.testing.assert_array_equal(clip["tick"][:], track.clock.ticks)
    assert clip["values"].metadata.dimension_names == ("time", "feature")
    assert clip["valid"].metadata.dimension_names == clip["tick"].metadata.dimension_names == ("time",)
    seconds = clip["tick"][:] * float(Fraction(clip.attrs["clock"]["tick_seconds"]))
    np.testing.assert_allclose(seconds, track.clock.seconds(), rtol=1e-15)  # one rounding more than ours


def test_xarray_opens_it(path: Path) -> None:
    import xarray  # here, because the processes below import this file

    track = some_track(CLOCKS["variable"])
    put(open_store(path, writable=True), key_of(), track)
    with xarray.open_zarr(folder_of(path, key_of()), zarr_format=3, consolidated=False) as data:
        assert dict(data.sizes) == {"time": T, "feature": D}
        np.testing.assert_array_equal(data["values"].to_numpy(), track.values)
        np.testing.assert_array_equal(data["valid"].to_numpy(), track.valid)
        assert data.attrs["invalid_rows_hold"] == "NaN"


def test_a_track_is_few_files_and_its_numbers_lie_bare_in_one(path: Path) -> None:
    track = some_track()
    put(open_store(path, writable=True), key_of(), track)
    files = [file for file in folder_of(path, key_of()).rglob("*") if file.is_file()]
    assert len(files) == 5  # the group's text, and a text and one piece for values and valid each
    piece = (folder_of(path, key_of()) / "values" / "c" / "0" / "0").read_bytes()
    half = -(-T // 2)  # two chunks of equal length, each followed by its checksum
    assert piece.startswith(track.values[:half].tobytes())
    assert track.values[half:].tobytes() in piece


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("array", ["values", "valid", "tick"])
@pytest.mark.parametrize("harm", ["first", "middle", "last", "cut", "empty", "gone", "metadata"])
def test_damage_is_noticed_and_the_remedy_works(path: Path, array: str, harm: str) -> None:
    key, track = key_of(), some_track(CLOCKS["variable"])
    put(open_store(path, writable=True), key, track)
    folder = folder_of(path, key)
    (piece,) = (file for file in (folder / array / "c").rglob("*") if file.is_file())
    content = bytearray(piece.read_bytes())
    place = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}.get(harm)
    if place is not None:
        content[place] ^= 1
        piece.write_bytes(content)
    elif harm == "gone":
        piece.unlink()
    elif harm == "metadata":
        (folder / array / "zarr.json").write_text("{", encoding="utf-8")
    else:
        piece.write_bytes(content[: len(content) // 3 if harm == "cut" else 0])
    with pytest.raises(StoreError, match=r"clip\..* is damaged \(.*delete this folder and extract again") as caught:
        open_store(path).read(key)
    assert str(caught.value).startswith(str(folder))
    shutil.rmtree(folder)
    assert put(open_store(path, writable=True), key, track)
    same(open_store(path).read(key), track)


def test_a_track_whose_every_number_is_gone_is_not_taken_for_one_without_a_valid_row(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    for array in ("values", "valid"):
        shutil.rmtree(folder_of(path, key_of()) / array / "c")
    with pytest.raises(StoreError, match=r"is damaged .*delete this folder and extract again"):
        open_store(path).read(key_of())


def test_damaged_attributes_are_noticed(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    (folder_of(path, key_of()) / "zarr.json").write_text('{"node_type": "group"', encoding="utf-8")
    with pytest.raises(StoreError, match=r"zarr\.json is damaged .*delete this folder and extract again"):
        open_store(path).read(key_of())


def test_a_track_that_is_not_there_is_said_so(path: Path) -> None:
    with pytest.raises(StoreError, match=f"no track of clip clip for recipe {key_of().recipe[:SHORT]}"):
        open_store(path, writable=True).read(key_of())


# ------------------------------------------------------------------------------------------------ killed


class Killed(Exception):
    """What stops a write at a chosen step."""


def fill(path: Path) -> None:
    """All that a writer does: a store, a track, a record with labels, a second generation."""
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    for feature in ("voice", "again"):
        Catalogue(store).update(record(tracks={feature: key_of().recipe}))


def record(**changes: Any) -> Record:
    labels = Track.of(np.full((11, 2), 0.25), Clock.regular(Fraction(1, 10), 11), dtype="float32")
    known: dict[str, Any] = {
        "clip": "clip", "media": "clip.mp4", "source": key_of().source, "split": "train", "subject": "s1",
        "duration_seconds": 1.5, "labels": labels, "tracks": {"voice": key_of().recipe},
    }  # fmt: skip
    return Record(**{**known, **changes})


VISIBLE_STEPS = 8  # five groups and three commits: each is one rename out of the folder of what is unfinished


@pytest.mark.parametrize("stop_at", range(1, VISIBLE_STEPS + 2))
def test_stopped_at_any_step_the_store_is_readable_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    path, whole = tmp_path / "x.zarr", tmp_path / "whole.zarr"
    fill(whole)
    steps = 0

    def counted(function: Any) -> Any:
        def step(source: Any, target: Any, **options: Any) -> None:
            nonlocal steps
            if path in Path(target).parents:
                steps += 1
                if steps == stop_at:
                    raise Killed
            function(source, target, **options)

        return step

    with monkeypatch.context() as patch:
        for name in ("rename", "replace"):
            patch.setattr(os, name, counted(getattr(os, name)))
        with pytest.raises(Killed, match=r"^$") if stop_at <= VISIBLE_STEPS else nullcontext():
            fill(path)
    assert steps == min(stop_at, VISIBLE_STEPS)
    if stop_at > 1:
        store = open_store(path)
        for found in Catalogue(store):
            same(store.read(found.key("voice")), some_track())
        for recipe in store.recipes():
            assert all(store.has(key) for key in store.recipe_keys(recipe))
    fill(path)
    assert everything(path) == everything(whole)


_KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = ["tests"]
from test_cache_store import key_of, put, some_track
from cache.store import open_store
store = open_store(Path(sys.argv[1]), writable=True)
put(store, key_of("first"), some_track())
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
put(store, key_of("second"), some_track())
"""


def python(code: str, *arguments: object, wait: bool = True) -> subprocess.Popen[str]:
    """A process of its own in the repository."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    if wait:
        process.wait()
    return process


def test_what_a_killed_process_leaves_is_invisible_and_swept_by_the_next_writer(path: Path) -> None:
    with python(_KILLED_WRITER, path) as process:
        assert process.returncode == -signal.SIGKILL, process.stderr.read() if process.stderr else ""
    unfinished = path.with_name("x.zarr.local") / "unfinished"
    (left,) = unfinished.iterdir()
    reader = open_store(path)
    assert list(reader.recipe_keys(key_of().recipe)) == [key_of("first")]
    assert not reader.has(key_of("second"))
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
import sys
from pathlib import Path
sys.path[:0] = ["tests"]
from test_cache_store import key_of, put, record, some_track
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
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path), str(me)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for me in range(3)
    ]  # fmt: skip
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
    assert not list((path.with_name("x.zarr.local") / "unfinished").iterdir())


# ------------------------------------------------------------------------------------------------ refusals


def test_a_store_is_not_made_by_reading(path: Path) -> None:
    with pytest.raises(StoreError, match=r"no store at .*x\.zarr; make one with `duet extract`"):
        open_store(path)
    assert not path.parent.exists()


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    open_store(path, writable=True)
    text = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    text["attributes"]["version"] = VERSION + 1
    (path / "zarr.json").write_text(json.dumps(text), encoding="utf-8")
    for writable in (False, True):
        with pytest.raises(StoreError, match=f"store of version {VERSION + 1}, this Duet reads up to {VERSION}; upd"):
            open_store(path, writable=writable)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.zarr"
    zarr.open_group(theirs, mode="w", zarr_format=3)
    full = tmp_path / "full.zarr"
    full.mkdir()
    (full / "thesis.txt").write_text("years of work", encoding="utf-8")
    file = tmp_path / "file.zarr"
    file.write_text("years of work", encoding="utf-8")
    before = everything(tmp_path)
    with pytest.raises(StoreError, match="a Zarr group but no Duet store"):
        open_store(theirs, writable=True)
    for path in (full, file):
        with pytest.raises(StoreError, match=r"other things in it|is a file; name a new folder"):
            open_store(path, writable=True)
        with pytest.raises(StoreError, match="no store at"):
            open_store(path)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
def test_hdf5_is_refused_with_a_name_that_works(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(StoreError, match=r"asks for HDF5, which this version can't write yet; name it x\.zarr"):
        open_store(tmp_path / f"x{suffix}", writable=True)
    assert open_store(tmp_path / "x.zarr", writable=True).clips() == []


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"has the suffix '\.npz'; wanted a path that ends in \.zarr"):
        open_store(tmp_path / "x.npz", writable=True)
