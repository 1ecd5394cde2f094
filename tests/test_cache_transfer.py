"""What goes from one store to another and through files: nothing overwritten, nothing changed, differences told."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from stores import everything, same
from test_cache_audit import DIGESTS, RECIPES, ROWS, a_record, filled, key, media, put

from cache.audit import verify
from cache.catalogue import Catalogue
from cache.clip_files import LABELS, column_names, write_csv, write_npz
from cache.clock import Clock
from cache.export_file import VERSION, ExportFile, is_export, write_export
from cache.key import SHORT
from cache.store import Store, StoreError, open_store
from cache.track import Track
from cache.transfer import Conflict, Transfer, chosen, merge


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return filled(tmp_path / "theirs.zarr")


@pytest.fixture(params=["ours.zarr", "ours.h5"])
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path / request.param, writable=True)


def other_labels(value: float = -0.5) -> Track:
    return Track.of(np.full((7, 2), value), Clock.regular(Fraction(1, 10), 7), dtype="float32")


def equal(a: Store, b: Store) -> None:
    """The same records and tracks, to the bit."""
    assert Catalogue(a).digest() == Catalogue(b).digest()
    for record in Catalogue(a):
        assert Catalogue(b)[record.clip].content() == record.content()
        for name in record.tracks:
            at = record.key(name)
            same(b.read(at), a.read(at))
            assert b.provenance(at) == a.provenance(at)
    assert a.recipes() == b.recipes()


# ------------------------------------------------------------------------------------------------ merge


def test_a_whole_store_comes_over_and_a_second_time_changes_nothing(theirs: Store, ours: Store) -> None:
    assert merge(Catalogue(theirs), theirs, ours) == Transfer(3, 3, 6, 0, 3, ())
    equal(theirs, open_store(ours.location))
    assert verify(ours).sound
    before = everything(Path(ours.location).parent)
    assert merge(Catalogue(theirs), theirs, ours) == Transfer(3, 0, 0, 6, 0, ())
    assert everything(Path(ours.location).parent) == before


def test_what_is_missing_is_added_and_what_is_there_stays(theirs: Store, ours: Store) -> None:
    put(ours, key("a", "face"))
    put(ours, key("a", "old"))
    Catalogue(ours).update(
        a_record("a", subject=None, labels=None, tracks={"face": DIGESTS["face"], "old": DIGESTS["old"]})
    )
    done = merge(chosen(Catalogue(theirs), clips=["a"]), theirs, ours)
    assert done == Transfer(1, 0, 1, 1, 1, ())
    record = Catalogue(ours)["a"]
    assert (record.subject, set(record.tracks), record.generation) == ("s-a", {"face", "old", "voice"}, 2)
    same(record.labels, theirs.read_record("a", 1)[1] or other_labels())
    assert ours.generations("a") == [1, 2]
    assert verify(ours).sound


def test_labels_that_differ_want_a_word_before_anything_is_written(theirs: Store, ours: Store) -> None:
    Catalogue(ours).update(a_record("a", labels=other_labels(), tracks={}, native_range=(0.0, 9.0)))
    before = everything(Path(ours.location).parent / Path(ours.location).name)
    with pytest.raises(
        ValueError, match=r"1 clips have other labels in .*theirs\.zarr than in .*, e\.g\. a; say whose"
    ):
        merge(Catalogue(theirs), theirs, ours)
    assert everything(Path(ours.location).parent / Path(ours.location).name) == before
    done = merge(Catalogue(theirs), theirs, ours, "ours")
    assert done.conflicts == (Conflict("a", "labels", "differ; ours stay"),)
    same(Catalogue(ours)["a"].labels, other_labels())
    assert set(Catalogue(ours)["a"].tracks) == {"face", "voice"}, "the rest comes all the same"
    assert merge(Catalogue(theirs), theirs, ours, "theirs").conflicts == ()
    record = Catalogue(ours)["a"]
    assert record.native_range == (-1.0, 1.0)
    assert record.content()["labels_digest"] == Catalogue(theirs)["a"].content()["labels_digest"]
    assert merge(Catalogue(theirs), theirs, ours).new_records == 0, "they are the same now"


def test_other_media_other_files_and_other_recipes_are_left_out_and_told(theirs: Store, ours: Store) -> None:
    edited = {"face": media("b", 2), "voice": media("b")}
    put(ours, key("a", "face", edition=2))
    Catalogue(ours).update(a_record("a", source=media("a", 2), tracks={"face": DIGESTS["face"]}))
    put(ours, key("b", "face", edition=2))
    Catalogue(ours).update(a_record("b", split="validation", tracks={"face": DIGESTS["face"]}, sources=edited))
    put(ours, key("c", "old"))
    Catalogue(ours).update(a_record("c", tracks={"voice": DIGESTS["old"]}))
    before = {clip: Catalogue(ours)[clip] for clip in ROWS}
    done = merge(Catalogue(theirs), theirs, ours)
    old, voice = DIGESTS["old"][:SHORT], DIGESTS["voice"][:SHORT]
    assert list(map(str, done.conflicts)) == [
        f"a: media: {media('a')[:SHORT]} there, {media('a', 2)[:SHORT]} here; ours stays",
        "b: feature: face was made from another file there; ours stays",
        f"b: feature: voice is the recipe {voice} there and {old} here; ours stays",
        "b: split: train there, validation here; ours stays",
        f"c: feature: voice is the recipe {voice} there and {old} here; ours stays",
    ]
    after = {clip: Catalogue(ours)[clip] for clip in ROWS}
    assert after["a"].content() == before["a"].content()
    assert after["b"].content() == before["b"].content()
    assert after["c"].tracks == {"voice": DIGESTS["old"], "face": DIGESTS["face"]}
    assert verify(ours).sound


def test_a_damaged_track_of_theirs_costs_that_track_alone(theirs: Store, ours: Store) -> None:
    theirs.drop(key("b", "voice"))
    done = merge(Catalogue(theirs), theirs, ours)
    assert [(conflict.clip, conflict.about) for conflict in done.conflicts] == [("b", "damage")]
    assert (done.tracks, Catalogue(ours)["b"].tracks) == (5, {"face": DIGESTS["face"]})
    assert verify(ours).sound


def test_the_choice_of_features_splits_and_clips(theirs: Store) -> None:
    every = Catalogue(theirs)
    assert [record.clip for record in chosen(every, splits=["test"])] == ["c"]
    assert [dict(record.tracks) for record in chosen(every, ["voice"], clips=["a"])] == [{"voice": DIGESTS["voice"]}]
    for given, message in (
        ({"features": ["fase"]}, "there is no feature fase; there are face, voice"),
        ({"splits": ["val"]}, "there is no split val; there are test, train"),
        ({"clips": ["x", "a"]}, "there is no clip x; there are a, b, c"),
    ):
        with pytest.raises(ValueError, match=message):
            chosen(every, **given)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ one file


def test_a_store_through_one_file_is_the_same_store(theirs: Store, ours: Store, tmp_path: Path) -> None:
    theirs.write(
        key("a", "old"),
        Track.of(np.zeros((11, 3)), Clock.explicit(np.arange(11) ** 2, Fraction(1, 90000)), np.arange(11) < 3),
        recipe=RECIPES["old"], provenance={},
    )  # fmt: skip
    empty = Track.of(np.zeros((0, 3)), Clock.regular(Fraction(1, 3), 0), dtype="float64")
    theirs.write(key("b", "old"), empty, recipe=RECIPES["old"], provenance={})
    for clip in "ab":
        Catalogue(theirs).update(a_record(clip, tracks={"old": DIGESTS["old"]}, notes=("ä note",)))
    assert write_export(tmp_path / "deep" / "x.h5", Catalogue(theirs), theirs) == 8
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.h5"]
    with ExportFile(tmp_path / "deep" / "x.h5") as file:
        merge(file.records(), file, ours)
    equal(theirs, open_store(ours.location))


def test_plain_h5py_reads_it(theirs: Store, tmp_path: Path) -> None:
    write_export(tmp_path / "x.hdf5", chosen(Catalogue(theirs), ["face"], splits=["train"]), theirs)
    with h5py.File(tmp_path / "x.hdf5", "r") as file:
        assert (file.attrs["format"], file.attrs["version"]) == ("duet-export", VERSION)
        (recipe,) = file["tracks"].values()
        assert json.loads(recipe.attrs["recipe"]) == RECIPES["face"]
        assert sorted(track.attrs["clip"] for track in recipe.values()) == ["a", "b"]
        wanted = theirs.read(key("a", "face"))
        track = recipe[f"a.{media('a')[:SHORT]}"]
        np.testing.assert_array_equal(track["values"][:], wanted.values)
        np.testing.assert_array_equal(track["valid"][:], wanted.valid)
        assert json.loads(file["catalogue/a"].attrs["record"])["tracks"] == {"face": DIGESTS["face"]}


def test_an_export_is_whole_or_not_there_and_overwrites_nothing(theirs: Store, tmp_path: Path) -> None:
    theirs.drop(key("c", "voice"))
    with pytest.raises(StoreError, match="no track of clip c"):
        write_export(tmp_path / "out" / "x.h5", Catalogue(theirs), theirs)
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "x.h5").write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"x\.h5 is there already, and nothing is overwritten; name a new file"):
        write_export(tmp_path / "x.h5", [], theirs)
    assert (tmp_path / "x.h5").read_bytes() == b"mine"


def test_a_damaged_export_says_which_part(theirs: Store, ours: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    write_export(path, Catalogue(theirs), theirs)
    with h5py.File(path, "r+") as file:
        file[f"tracks/{DIGESTS['face'][:SHORT]}/b.{media('b')[:SHORT]}/values"][:, 2] = 7
        del file[f"tracks/{DIGESTS['voice'][:SHORT]}/c.{media('c')[:SHORT]}"]
    with ExportFile(path) as file:
        done = merge(file.records(), file, ours)
    assert [(conflict.clip, conflict.about) for conflict in done.conflicts] == [("b", "damage"), ("c", "damage")]
    assert "the checksum of values is wrong); get the file again" in done.conflicts[0].said
    assert (done.tracks, verify(ours).sound) == (4, True)
    with h5py.File(path, "r+") as file:
        file["catalogue/a/values"][0, 0] += 0.5
    with ExportFile(path) as file, pytest.raises(StoreError, match=r"is damaged .*the checksum of values is wrong"):
        list(file.records())


def test_what_is_no_export_or_a_newer_one_is_refused(theirs: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    assert not is_export(path)
    assert not is_export(tmp_path)
    path.write_bytes(b"something")
    with pytest.raises(StoreError, match="is no file that `duet cache export` wrote; name one, or a store"):
        ExportFile(path)
    path.unlink()
    write_export(path, Catalogue(theirs), theirs)
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = VERSION + 1
    with pytest.raises(StoreError, match=f"of version {VERSION + 1}, this Duet reads up to {VERSION}; update Duet"):
        ExportFile(path)


# ------------------------------------------------------------------------------------------------ one clip


def test_a_clip_as_npz(theirs: Store, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", Catalogue(theirs)["a"], theirs)
    with np.load(tmp_path / "a.npz") as file:
        for name in ("face", "voice"):
            track = theirs.read(key("a", name))
            np.testing.assert_array_equal(file[f"{name}.values"], track.values)
            np.testing.assert_array_equal(file[f"{name}.valid"], track.valid)
            np.testing.assert_array_equal(file[f"{name}.seconds"], np.arange(11) / 25)
        assert file["labels.values"].shape == (7, 2)
        about = json.loads(str(file["about"]))
    assert (about["clip"], about["split"], about["recipes"]) == (
        "a",
        "train",
        {n: RECIPES[n] for n in ("face", "voice")},
    )
    with pytest.raises(StoreError, match=r"a\.npz is there already"):
        write_npz(tmp_path / "a.npz", Catalogue(theirs)["a"], theirs)
    write_npz(tmp_path / "c.npz", Catalogue(theirs)["c"], theirs)
    with np.load(tmp_path / "c.npz") as file:
        assert not [name for name in file.files if name.startswith("labels")]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_table_reads_back_to_the_bit(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    clock = Clock.explicit([0, 7, 20, 21, 5003], Fraction(1, 3000))
    track = Track.of(rng.normal(size=(5, 3)) * [1, 1e-3, 1e3], clock, np.arange(5) != 2, dtype=dtype)
    write_csv(tmp_path / "x.csv", track, ["a", 'b,"c"', "d"])
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["seconds", "valid", "a", 'b,"c"', "d"]
    assert [float(row[0]) for row in rows] == clock.seconds().tolist()
    assert [row[1] for row in rows] == ["1", "1", "0", "1", "1"]
    assert rows[2][2:] == ["", "", ""]
    back = np.array([[float(cell or "nan") for cell in row[2:]] for row in rows]).astype(dtype)
    assert back[track.valid].tobytes() == track.values[track.valid].tobytes()


def test_columns_have_the_names_of_an_imported_table_or_numbers() -> None:
    named: dict[str, Any] = {"columns": ["AU01", "AU02"]}
    assert column_names(named, 2) == ["AU01", "AU02"]
    assert column_names({"columns": 3}, 3) == column_names({}, 3) == ["c0", "c1", "c2"]
    assert LABELS == ("valence", "arousal")
