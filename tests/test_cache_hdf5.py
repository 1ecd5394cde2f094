"""The HDF5 store: what plain h5py sees, damage of every byte, the tree of links, and a writer stopped at any step.

What every store does is in test_cache_store.py.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
import pytest
from stores import CLOCKS, PROVENANCE, RECIPE, D, T, everything, key_of, put, python, record, same, some_track

from cache import hdf5_tree
from cache.catalogue import Catalogue
from cache.clock import Clock
from cache.hdf5_part import VERSION
from cache.hdf5_store import HDF5Store
from cache.key import SHORT, digest_of, folder_name
from cache.store import StoreError, open_store

SMALL = Clock.regular(Fraction(1, 25), 13)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "x.h5"


def part_of(path: Path, clip: str = "clip") -> Path:
    """The file of one track."""
    key = key_of(clip)
    name = f"{folder_name(key.clip)}.{key.source[:SHORT]}"
    return path.with_name(path.name + ".parts") / "tracks" / key.recipe[:SHORT] / name / "track.h5"


def in_tree(path: Path) -> set[str]:
    """The tracks and records that plain h5py finds."""
    with h5py.File(path) as file:
        return {f"{top}/{group}/{name}" for top in file for group in file[top] for name in file[top][group]}


# ------------------------------------------------------------------------------------------------ the format


@pytest.mark.parametrize("name", ["x.h5", "x.hdf5", "two words.h5", "bücher 名前.h5"])
def test_plain_h5py_opens_it(tmp_path: Path, name: str) -> None:
    path, track, labels = tmp_path / name, some_track(CLOCKS["variable"]), some_track(SMALL, "float32", width=2)
    store = open_store(path, writable=True)
    put(store, key_of(), track)
    store.write_record("Clip 1", 3, {"split": "train"}, labels)
    del store
    with h5py.File(path) as file:
        assert (file.attrs["format"], file.attrs["version"]) == (b"duet-store", VERSION)
        assert f"{name}.parts" in file.attrs["about"].decode()
        (recipe,) = file["tracks"].values()
        assert json.loads(recipe.attrs["recipe"]) == RECIPE
        assert recipe.attrs["recipe_digest"] == key_of().recipe.encode()
        (clip,) = recipe.values()
        assert sorted(clip) == ["tick", "valid", "values"]
        about = json.loads(clip.attrs["attributes"])
        assert (about["clip"], about["source_digest"]) == ("clip", key_of().source)
        assert (about["recipe"], about["provenance"]) == (RECIPE, PROVENANCE)
        np.testing.assert_array_equal(clip["values"][:], track.values)
        np.testing.assert_array_equal(clip["valid"][:], track.valid)
        np.testing.assert_array_equal(clip["tick"][:], track.clock.ticks)
        assert clip["values"].attrs["dimensions"] == b"time feature"
        assert clip["tick"].attrs["dimensions"] == b"time"
        (made,) = file["catalogue"].values()
        assert list(made) == ["000003"]
        assert json.loads(made["000003"].attrs["attributes"])["split"] == "train"
        np.testing.assert_array_equal(made["000003/values"][:], labels.values)
        assert made["000003/values"].attrs["dimensions"] == b"time dimension"


def test_a_track_is_one_file_and_its_numbers_lie_bare_in_it(path: Path) -> None:
    track = some_track()
    put(open_store(path, writable=True), key_of(), track)
    assert [file.name for file in part_of(path).parent.iterdir()] == ["track.h5"]
    with h5py.File(part_of(path)) as file:
        assert file["values"].chunks is None
        place = file["values"].id.get_offset()
    assert part_of(path).read_bytes()[place : place + track.values.nbytes] == track.values.tobytes()
    assert part_of(path).stat().st_size < track.values.nbytes + T + 7000


def test_a_part_explains_itself_alone(path: Path, tmp_path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    shutil.copy(part_of(path), tmp_path / "sent.h5")
    with h5py.File(tmp_path / "sent.h5") as file:
        assert json.loads(file.attrs["attributes"])["recipe"] == RECIPE
        assert file["values"].shape == (T, D)


def test_a_plain_reader_and_the_store_read_at_once(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    store = open_store(path, writable=True)
    with h5py.File(path) as file:
        (group,) = file["tracks"][key_of().recipe[:SHORT]].values()
        values = group["values"]
        same(open_store(path).read(key_of()), some_track())
        assert put(store, key_of("late"), some_track())
        same(open_store(path).read(key_of("late")), some_track())
        np.testing.assert_array_equal(values[:], some_track().values)  # its own is still open


def test_threads_read_and_write_at_once(path: Path) -> None:
    store = open_store(path, writable=True)

    def work(number: int) -> bool:
        track = some_track(seed=number % 11)
        won = put(store, key_of(f"c{number % 11}"), track)
        same(store.read(key_of(f"c{number % 11}")), track)
        return won

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(work, range(33))) == 11
    open_store(path, writable=True)
    assert len(in_tree(path)) == 11


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("first", range(4))
def test_no_flipped_bit_anywhere_gives_other_numbers(path: Path, first: int) -> None:
    """Every eleventh byte, in four parts: what is read is what was written, or the damage is said."""
    track = some_track(Clock.explicit(3 * np.arange(13), Fraction(1, 75)), width=3)
    put(open_store(path, writable=True), key_of(), track)
    file = part_of(path)
    content = file.read_bytes()
    store = open_store(path)
    found = 0
    for place in range(first, len(content), 4 * 11):
        harmed = bytearray(content)
        harmed[place] ^= 1 << (place // 11 % 8)
        file.unlink()  # a new file: HDF5 knows files by their inode
        file.write_bytes(harmed)
        faults = store.faults(key_of())
        if not faults:  # a byte that means nothing
            same(store.read(key_of()), track)
            assert store.provenance(key_of()) == PROVENANCE
            continue
        found += 1
        assert "is damaged" in faults[0] or "update Duet" in faults[0]
        with pytest.raises(StoreError, match=r"is damaged|update Duet"):
            store.read(key_of())
    assert found > 5


@pytest.mark.parametrize("harm", ["first", "text", "empty", "gone"])
def test_the_tree_is_made_again_from_its_parts(path: Path, harm: str) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    before = path.read_bytes()
    path.unlink()
    if harm != "gone":
        path.write_bytes({"text": b"years of work", "empty": b"", "first": b"x" + before[1:]}[harm])
        for writable in (False, True):
            with pytest.raises(
                StoreError, match=r"x\.h5 is no HDF5 file, or damaged .*delete this one file \(it is ma"
            ):
                open_store(path, writable=writable)
        path.unlink()
    with pytest.raises(StoreError, match=r"no store at .*`duet extract`, which makes it again from its parts"):
        open_store(path)
    open_store(path, writable=True)
    assert path.read_bytes() == before
    same(open_store(path).read(key_of()), some_track())


def test_a_tree_without_its_parts_is_not_taken_for_an_empty_store(path: Path, tmp_path: Path) -> None:
    open_store(path, writable=True)
    empty = tmp_path / "empty.h5"
    shutil.copy(path, empty)
    assert open_store(empty).clips() == []
    put(open_store(path, writable=True), key_of(), some_track())
    alone = tmp_path / "alone.h5"
    shutil.copy(path, alone)
    for writable in (False, True):
        with pytest.raises(StoreError, match=r"links to alone\.h5\.parts, which is not beside it; move the two togeth"):
            open_store(alone, writable=writable)
    assert not alone.with_name("alone.h5.parts").exists()


def test_a_store_that_was_renamed_is_renewed_by_the_next_writer(path: Path, tmp_path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    path.rename(tmp_path / "y.h5")
    path.with_name("x.h5.parts").rename(tmp_path / "y.h5.parts")
    same(open_store(tmp_path / "y.h5").read(key_of()), some_track())
    open_store(tmp_path / "y.h5", writable=True)
    with h5py.File(tmp_path / "y.h5") as file:
        (group,) = file["tracks"][key_of().recipe[:SHORT]].values()
        assert group["values"].shape == (T, D)


# ------------------------------------------------------------------------------------------------ the tree


def test_the_tree_is_up_to_date_when_a_writer_ends(path: Path) -> None:
    store = open_store(path, writable=True)
    for number in range(7):
        put(store, key_of(f"c{number}"), some_track(SMALL))
    store.write_record("c1", 1, {}, None)
    store.drop(key_of("c3"))
    del store
    gc.collect()
    recipe = key_of().recipe[:SHORT]
    kept = {f"tracks/{recipe}/c{n}.{key_of(f'c{n}').source[:SHORT]}" for n in (0, 1, 2, 4, 5, 6)}
    assert in_tree(path) == kept | {"catalogue/c1/000001"}


def test_the_tree_is_renewed_seldom_while_tracks_are_written(path: Path) -> None:
    now = 1000.0
    open_store(path, writable=True)
    store = HDF5Store(path, writable=True)  # finds a tree that is up to date
    with (
        mock.patch.object(hdf5_tree.time, "monotonic", side_effect=lambda: now),
        mock.patch.object(store._aside, "replace_file", wraps=store._aside.replace_file) as renewed,
    ):
        for number in range(29):
            put(store, key_of(f"c{number}"), some_track(SMALL))
        assert renewed.call_count == 1
        now += 2
        for number in range(29, 37):
            put(store, key_of(f"c{number}"), some_track(SMALL))
        assert renewed.call_count == 2
    assert len(in_tree(path)) == 30
    del store
    assert len(in_tree(path)) == 37


_KILLED = """
import os, signal
from pathlib import Path
from stores import key_of, put, some_track
from cache.store import open_store
store = open_store(Path(sys.argv[1]), writable=True)
for number in range(3):
    put(store, key_of(f"c{number}"), some_track())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_the_next_writer_renews_the_tree(path: Path) -> None:
    with python(_KILLED, path) as process:
        _, said = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    before = path.read_bytes()
    store = open_store(path)
    assert sorted(key.clip for key in store.recipe_keys(key_of().recipe)) == ["c0", "c1", "c2"]
    assert path.read_bytes() == before, "a reader changes nothing"
    assert len(in_tree(path)) < 3
    open_store(path, writable=True)
    assert len(in_tree(path)) == 3


def test_of_writers_that_renew_the_tree_at_once_the_last_sees_all(path: Path) -> None:
    """Another writer commits, and puts his older tree in place, between this one's look and its rename."""
    mine, other = HDF5Store(path, writable=True), HDF5Store(path, writable=True)
    put(mine, key_of("a"), some_track(SMALL))
    older = path.read_bytes()
    real = mine._aside.replace_file
    disturbed = 0

    def disturb(target: Path, content: bytes) -> None:
        nonlocal disturbed
        disturbed += 1
        real(target, content)
        if disturbed < 3:
            put(other, key_of(f"b{disturbed}"), some_track(SMALL))
            target.write_bytes(older)

    put(mine, key_of("c"), some_track(SMALL))
    with mock.patch.object(mine._aside, "replace_file", disturb):
        mine._tree.renew()
    assert disturbed == 3
    assert len(in_tree(path)) == 4


def test_a_store_that_is_taken_away_is_not_made_again_by_a_writer_that_ends(path: Path) -> None:
    store = open_store(path, writable=True)
    put(store, key_of("a"), some_track(SMALL))
    put(store, key_of("b"), some_track(SMALL))
    shutil.rmtree(path.parent)
    del store
    assert not path.parent.exists()


# ------------------------------------------------------------------------------------------------ stopped


class Stopped(Exception):
    """What stops a write at a chosen step."""


def fill(path: Path) -> None:
    """All that a writer does: a store, a track, a record with labels, a second generation."""
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    for feature in ("voice", "again"):
        Catalogue(store).update(record(tracks={feature: key_of().recipe}))


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_stopped_at_any_step_the_store_is_readable_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """The steps are renames: the empty tree, then a track and two records, each followed by the tree."""
    path, whole = tmp_path / "a" / "x.h5", tmp_path / "b" / "x.h5"
    fill(whole)
    steps = 0

    def counted(function: Any) -> Any:
        def step(source: Any, target: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == stop_at:
                raise Stopped
            function(source, target)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(hdf5_tree, "_PAUSE_SECONDS", 0)
        patch.setattr(hdf5_tree, "_SHARE", 0)
        patch.setattr(hdf5_tree.Tree, "finish", lambda _: None)  # a killed writer does not end
        for name in ("rename", "replace"):
            patch.setattr(os, name, counted(getattr(os, name)))
        with pytest.raises(Stopped, match=r"^$") if stop_at <= 7 else nullcontext():
            fill(path)
    if stop_at > 1:
        store = open_store(path)
        for found in Catalogue(store):
            same(store.read(found.key("voice")), some_track())
        assert store.stray() == []
        assert all(store.has(key) for recipe in store.recipes() for key in store.recipe_keys(recipe))
        in_tree(path)
    fill(path)
    assert everything(path.parent) == everything(whole.parent)


@pytest.mark.parametrize("full_at", [1, 2, 3])
def test_a_full_disk_leaves_nothing_half_written(path: Path, full_at: int) -> None:
    store = open_store(path, writable=True)
    put(store, key_of("before"), some_track())
    before = everything(path.parent)
    calls = 0
    real = os.fsync

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with mock.patch.object(os, "fsync", full), pytest.raises(OSError, match="No space left on device"):
        put(store, key_of("after"), some_track())
    now = everything(path.parent)
    if full_at < 3:  # the file, its folder; then the rename is done, and only the parent's sync failed
        assert now == before
    assert not list((path.with_name("x.h5.local") / "unfinished").iterdir())
    put(store, key_of("after"), some_track())
    same(open_store(path).read(key_of("after")), some_track())


# ------------------------------------------------------------------------------------------------ refusals


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    with h5py.File(part_of(path), "r+") as file:
        file.attrs["version"] = VERSION + 1
    said = f"is a store of version {VERSION + 1}, this Duet reads up to {VERSION}; update Duet"
    with pytest.raises(StoreError, match=said):
        open_store(path).read(key_of())
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = VERSION + 1
    for writable in (False, True):
        with pytest.raises(StoreError, match=said):
            open_store(path, writable=writable)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file["data"] = np.arange(5)
    (tmp_path / "text.h5").write_text("years of work", encoding="utf-8")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "full.h5.parts").mkdir()
    (tmp_path / "full.h5.parts" / "thesis.txt").write_text("years of work", encoding="utf-8")
    (tmp_path / "file.h5.parts").write_text("years of work", encoding="utf-8")
    before = everything(tmp_path)
    for writable in (False, True):
        with pytest.raises(StoreError, match=r"theirs\.h5 is an HDF5 file but no Duet store .*name another file"):
            open_store(tmp_path / "theirs.h5", writable=writable)
        for name in ("text", "folder"):
            with pytest.raises(StoreError, match=rf"{name}\.h5 is no HDF5 file, or damaged .* else name another file"):
                open_store(tmp_path / f"{name}.h5", writable=writable)
    for name in ("full", "file"):
        with pytest.raises(StoreError, match=r"holds other things than a store's parts; name another file"):
            open_store(tmp_path / f"{name}.h5", writable=True)
    assert everything(tmp_path) == before
    assert digest_of(sorted(before)) == digest_of(sorted(everything(tmp_path)))
