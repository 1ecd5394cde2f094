"""The Zarr store: what plain readers of its format see, its damage, and a writer stopped at any step.

What every store does is in test_cache_store.py.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from stores import CLOCKS, PROVENANCE, RECIPE, D, T, everything, key_of, put, record, same, some_track
from zarr.codecs import Crc32cCodec

from cache.catalogue import Catalogue
from cache.clock import Clock
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.store import VERSION, StoreError, open_store
from cache.track import Track
from cache.zarr_group import attributes_of, write_group
from cache.zarr_store import create_store


def folder_of(path: Path, key: TrackKey) -> Path:
    return path / "tracks" / key.recipe[:SHORT] / f"{folder_name(key.clip)}.{key.source[:SHORT]}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "x.zarr"


# ------------------------------------------------------------------------------------------------ the format


def test_plain_zarr_opens_it(path: Path) -> None:
    track = some_track(CLOCKS["variable"])
    put(open_store(path, writable=True), key_of(), track)
    group = zarr.open_group(path, mode="r", zarr_format=3)
    assert dict(group.attrs) == {"format": "duet-store", "version": VERSION, "compression": None}
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
    piece = (folder_of(path, key_of()) / "values" / "c.0.0").read_bytes()
    assert piece[:-4] == track.values.tobytes()


# ------------------------------------------------------------------------------------------------ damage


@pytest.mark.parametrize("array", ["values", "valid", "tick"])
@pytest.mark.parametrize("harm", ["first", "middle", "last", "cut", "empty", "gone"])
def test_damage_is_noticed_and_the_remedy_works(path: Path, array: str, harm: str) -> None:
    key, track = key_of(), some_track(CLOCKS["variable"])
    put(open_store(path, writable=True), key, track)
    folder = folder_of(path, key)
    (piece,) = (folder / array).glob("c.*")
    content = bytearray(piece.read_bytes())
    place = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}.get(harm)
    if place is not None:
        content[place] ^= 1
        piece.write_bytes(content)
    elif harm == "gone":
        piece.unlink()
    else:
        piece.write_bytes(content[: len(content) // 3 if harm == "cut" else 0])
    with pytest.raises(StoreError, match=r"clip\..* is damaged \(.*delete this folder and extract again") as caught:
        open_store(path).read(key)
    assert str(caught.value).startswith(str(folder))
    (fault,) = open_store(path).faults(key)
    assert fault.startswith(f"{array} is damaged")
    shutil.rmtree(folder)
    assert put(open_store(path, writable=True), key, track)
    same(open_store(path).read(key), track)
    assert open_store(path).faults(key) == []


def test_damaged_attributes_are_noticed(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    text = folder_of(path, key_of()) / "zarr.json"
    sound = text.read_text(encoding="utf-8")
    assert '"start": -' in sound
    for content, said in (
        (sound[:30], "damaged"),
        (sound.replace('"start": -', '"start": -1'), "checksum of its attributes is wrong"),
        ('{"zarr_format": 3}', "attributes"),
        ("[]", "damaged"),
    ):
        text.write_text(content, encoding="utf-8")
        with pytest.raises(StoreError, match=rf"is damaged .*{said}.*delete this folder and extract again|{said}"):
            open_store(path).read(key_of())
        (fault,) = open_store(path).faults(key_of())
        assert said in fault
    text.write_text(json.dumps(json.loads(sound), indent=7), encoding="utf-8")  # other spelling, same attributes
    assert open_store(path).faults(key_of()) == []


def test_every_fault_of_a_track_is_named(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    folder = folder_of(path, key_of())
    (folder / "valid" / "zarr.json").write_text("{", encoding="utf-8")
    (folder / "values" / "notes").write_text("mine", encoding="utf-8")
    (folder / "valid" / "c.0").unlink()
    said = open_store(path).faults(key_of())
    assert len(said) == 3
    for fault, part in zip(
        said, ("values/notes does not", "valid/zarr.json can't be read", "valid is dam"), strict=True
    ):
        assert fault.startswith(part)


def forge(folder: Path, values: Any, valid: Any, **changes: Any) -> None:
    """Other numbers in a track's place, with checksums that are right: what no writer of ours would make."""
    attributes = {**attributes_of(folder), **changes}
    shutil.rmtree(folder)
    track = Track.checked(values, valid, Clock.regular(Fraction(1, 25), len(values)))
    write_group(folder, attributes, track, "feature", compressed=False)


def test_numbers_that_no_track_may_hold_are_faults_though_their_checksums_are_right(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    folder = folder_of(path, key_of())
    for values, valid, said in (
        (np.array([[1], [np.inf]], "f2"), np.array([True, True]), "1 valid rows hold values that are not finite"),
        (np.array([[1], [2]], "f2"), np.array([True, False]), "rows that are not valid must hold NaN"),
    ):
        forge(folder, values, valid)
        (fault,) = open_store(path).faults(key_of())
        assert said in fault


def test_a_track_whose_attributes_belong_to_another_key_is_a_fault_and_stray(path: Path) -> None:
    put(open_store(path, writable=True), key_of(), some_track())
    folder = folder_of(path, key_of())
    forge(folder, np.ones((3, 1), "f2"), np.ones(3, bool), clip="another", source_digest="0" * 64)
    store = open_store(path, writable=True)
    assert [fault[:14] for fault in store.faults(key_of())] == ["its clip is 'a", "its source_dig"]
    assert list(store.recipe_keys(key_of().recipe)) == []
    (name,) = store.stray()
    assert name == folder.relative_to(path).as_posix()
    store.drop_stray(name)
    assert not store.has(key_of())
    assert store.stray() == []


def test_a_recipe_whose_text_is_damaged_is_told_by_its_tracks(path: Path) -> None:
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    text = folder_of(path, key_of()).parent / "zarr.json"
    sound = text.read_bytes()
    text.write_bytes(sound[:-3])
    assert open_store(path).recipes() == {key_of().recipe: RECIPE}
    assert open_store(path).stray() == [text.relative_to(path).as_posix()]
    store.drop_stray(text.relative_to(path).as_posix())
    assert (store.recipes(), store.stray()) == ({key_of().recipe: RECIPE}, [])
    put(store, key_of("next"), some_track())
    assert text.read_bytes() == sound


def test_a_clip_does_not_vanish_from_the_catalogue_without_a_word(path: Path) -> None:
    store = open_store(path, writable=True)
    for generation in (1, 2):
        store.write_record("Clip", generation, {"split": "train"}, None)
    folder = path / "catalogue" / folder_name("Clip")
    (folder / "000002" / "zarr.json").unlink()  # the newest one: the one before it must not take its place
    assert open_store(path).generations("Clip") == [1, 2]
    with pytest.raises(StoreError, match=r"is damaged|is not there"):
        open_store(path).read_record("Clip", 2)
    assert open_store(path).record_faults("Clip", 2) != []
    (folder / "zarr.json").write_text("", encoding="utf-8")
    assert open_store(path).clips() == ["Clip"], "so says its first record"
    assert open_store(path).stray() == [f"catalogue/{folder.name}/zarr.json"]
    (folder / "000001" / "zarr.json").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="so a clip is lost; run `duet cache verify --repair`"):
        open_store(path).clips()
    assert store.stray() == [f"catalogue/{folder.name}"]
    store.drop_stray(f"catalogue/{folder.name}")
    assert (store.clips(), store.stray()) == ([], [])


def test_a_track_that_is_replaced_while_it_is_read_is_read_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(path, writable=True)
    old, new = some_track(seed=5), some_track(seed=6)
    put(store, key_of(), old)
    opened = os.open

    def replacing(name: Any, *arguments: Any, **options: Any) -> int:
        if name == "values/c.0.0":  # the attributes of the old one have been read
            monkeypatch.setattr(os, "open", opened)
            store.drop(key_of())
            put(store, key_of(), new)
        return opened(name, *arguments, **options)

    monkeypatch.setattr(os, "open", replacing)
    same(open_store(path).read(key_of()), new)


def test_a_track_that_is_dropped_while_it_is_read_is_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    opened = os.open

    def dropping(name: Any, *arguments: Any, **options: Any) -> int:
        if name == "values/c.0.0":
            monkeypatch.setattr(os, "open", opened)
            store.drop(key_of())
        return opened(name, *arguments, **options)

    monkeypatch.setattr(os, "open", dropping)
    with pytest.raises(StoreError, match="has no track of clip clip"):
        open_store(path).read(key_of())


# ------------------------------------------------------------------------------------------------ other forms


def write_as_version_1(path: Path, key: TrackKey, track: Track) -> None:
    """A store as the first Duet wrote it: shards of checked chunks, no checksum of the attributes."""
    attributes = {
        "clip": key.clip, "recipe_digest": key.recipe, "source_digest": key.source, "invalid_rows_hold": "NaN",
        "clock": track.clock.attributes(), "provenance": PROVENANCE,
    }  # fmt: skip
    zarr.open_group(path, mode="w", zarr_format=3, attributes={"format": "duet-store", "version": 1})
    zarr.open_group(path / "tracks", mode="w", zarr_format=3)
    stated = {"recipe": RECIPE, "recipe_digest": key.recipe}
    zarr.open_group(folder_of(path, key).parent, mode="w", zarr_format=3, attributes=stated)
    group = zarr.open_group(folder_of(path, key), mode="w", zarr_format=3, attributes=attributes)
    half = -(-len(track) // 2)
    group.create_array(
        "values", shape=track.values.shape, dtype=track.values.dtype, chunks=(half, track.width),
        shards=(2 * half, track.width), compressors=Crc32cCodec(), fill_value=float("nan"),
        dimension_names=["time", "feature"],
    )[:] = track.values  # fmt: skip
    for name, array in (("valid", track.valid), ("tick", track.clock.ticks)):
        if array is not None:
            group.create_array(
                name, shape=array.shape, dtype=array.dtype, chunks=array.shape, compressors=Crc32cCodec(),
                dimension_names=["time"], config={"write_empty_chunks": True},
            )[:] = array  # fmt: skip


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_store_of_version_1_is_read_and_goes_on_as_version_2(path: Path, clock: Clock) -> None:
    key, track = key_of(), some_track(clock)
    write_as_version_1(path, key, track)
    before = everything(path)
    reader = open_store(path)
    same(reader.read(key), track)
    same(reader.read(key, slice(500, 531)), track.rows(500, 531))
    assert reader.shape(key) == track.values.shape
    assert (reader.faults(key), reader.stray(), reader.provenance(key)) == ([], [], PROVENANCE)
    assert everything(path) == before, "a reader changes nothing"
    writer = open_store(path, writable=True)
    assert not put(writer, key, some_track(seed=9)), "what is there stays"
    put(writer, key_of("new"), some_track(seed=9))
    again = open_store(path)
    same(again.read(key), track)
    same(again.read(key_of("new")), some_track(seed=9))
    assert attributes_of(path)["version"] == VERSION == 2
    (piece,) = (file for file in (folder_of(path, key) / "values" / "c").rglob("*") if file.is_file())
    content = bytearray(piece.read_bytes())
    content[len(content) // 3] ^= 1
    piece.write_bytes(content)
    assert len(again.faults(key)) == 1
    piece.unlink()
    piece.parent.rmdir()
    piece.parent.parent.rmdir()
    with pytest.raises(StoreError, match="the numbers of values are gone"):
        again.read(key)


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_a_compressed_store_is_a_store_like_any_other_and_smaller(path: Path, clock: Clock) -> None:
    key, track = key_of(), Track.of(np.arange(T)[:, None] // 13 * np.ones(64), clock)
    store = create_store(path, "zstd")
    assert put(store, key, track)
    store.write_record("clip", 1, {"split": "train"}, some_track(clock, "float32", 2))
    again = open_store(path, writable=True)
    put(again, key_of("second"), track)
    for written in (key, key_of("second")):
        same(again.read(written), track)
        assert (again.shape(written), again.faults(written)) == ((T, 64), [])
        assert again.size_bytes(written) < track.values.nbytes / 2
    same(again.read(key, slice(1020, 1030)), track.rows(1020, 1030))
    same(again.read_record("clip", 1)[1], some_track(clock, "float32", 2))
    assert (again.record_faults("clip", 1), again.stray()) == ([], [])
    (piece,) = (file for file in (folder_of(path, key) / "values" / "c").rglob("*") if file.is_file())
    content = bytearray(piece.read_bytes())
    content[len(content) // 2] ^= 1
    piece.write_bytes(content)
    assert len(again.faults(key)) == 1


def test_a_compressed_store_is_made_where_nothing_is_and_of_a_kind_that_is_known(path: Path) -> None:
    with pytest.raises(StoreError, match="compression is 'lzma'; wanted None or zstd"):
        create_store(path, "lzma")
    with pytest.raises(StoreError, match=r"ends in '\.h5'; wanted a path that ends in \.zarr"):
        create_store(path.with_suffix(".h5"), "zstd")
    create_store(path, "zstd")
    with pytest.raises(StoreError, match=r"there is something at .*name a new folder"):
        create_store(path, "zstd")
    text = (path / "zarr.json").read_text(encoding="utf-8")
    (path / "zarr.json").write_text(text.replace("zstd", "blosc"), encoding="utf-8")
    with pytest.raises(StoreError, match="is compressed by 'blosc', which this Duet does not know; update Duet"):
        open_store(path)


# ------------------------------------------------------------------------------------------------ killed


class Killed(Exception):
    """What stops a write at a chosen step."""


def fill(path: Path) -> None:
    """All that a writer does: a store, a track, a record with labels, a second generation."""
    store = open_store(path, writable=True)
    put(store, key_of(), some_track())
    for feature in ("voice", "again"):
        Catalogue(store).update(record(tracks={feature: key_of().recipe}))


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


# ------------------------------------------------------------------------------------------------ refusals


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
