"""Features that people already have: files in the exact form of the programs that write them, read by another road."""

from __future__ import annotations

import hashlib
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from cache.clock import Clock
from cache.key import digest_of, digest_of_file
from cache.track import Track
from extract.clips import Clip
from extract.import_settings import ImportSettings
from extract.imports import import_path, import_recipe, import_source, read_import

SECONDS = {"column": "time", "unit": "s"}
OPENFACE: dict[str, Any] = {
    "path": "openface/{clip}.csv",
    "time": {"column": "timestamp", "unit": "s"},
    "columns": ["AU*_r", "pose_*"],
    "where": {"face_id": 0},
    "valid_at_least": {"success": 1, "confidence": 0.8},
}
# FaceLandmarkVidMulti: a line a face and frame, spaces after the commas.
OPENFACE_TEXT = """\
frame, face_id, timestamp, confidence, success, pose_Tx, pose_Rz, AU01_r, AU12_r, AU12_c
1, 0, 0.000, 0.98, 1, -1.2, 0.017, 0.00, 1.10, 1.00
1, 1, 0.000, 0.98, 1, 77.1, 7.017, 7.00, 7.10, 7.00
2, 0, 0.033, 0.78, 1, -1.3, 0.018, 0.10, 1.20, 1.00
2, 1, 0.033, 0.98, 1, 77.2, 7.018, 7.10, 7.20, 7.00
3, 1, 0.067, 0.98, 1, 77.3, 7.019, 7.20, 7.30, 7.00
4, 0, 0.100, 0.93, 0, 0, 0, 0, 0, 0
5, 0, 0.133, 0.93, 1, -1.5, 0.025, 0.30, 1.50, 1.00
6, 0, 0.167, 0.93, 1, -1.6, -nan(ind), 0.40, 1.60, 1.00
"""


def a_clip(name: str = "a", **changes: Any) -> Clip:
    return Clip(**{"name": name, "media": None, "media_name": f"video/{name}.mp4", "split": "train"} | changes)


def put(root: Path, path: str, text: str) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")
    return root / path


def read(root: Path, settings: dict[str, Any], clip: Clip | None = None) -> Track:
    """One clip's track, as extraction reads it."""
    one, clip = ImportSettings(**settings), clip or a_clip()
    return read_import(one, clip, root, import_recipe("it", one, [clip], root)["columns"])


# ------------------------------------------------------------------------------------------------ programs


def test_openface_with_two_faces(tmp_path: Path) -> None:
    put(tmp_path, "openface/a.csv", OPENFACE_TEXT)
    track = read(tmp_path, OPENFACE)
    assert track.values.dtype == np.float32
    assert track.clock == Clock.explicit([0, 33, 100, 133, 167], Fraction(1, 1000)), "face 0 alone; frame 3 has none"
    assert track.valid.tolist() == [True, False, False, True, False], "unsure; failed; no number"
    wanted = np.float32([(-1.2, 0.017, 0.0, 1.1), (-1.5, 0.025, 0.3, 1.5)])
    np.testing.assert_array_equal(track.values[track.valid], wanted)
    other = read(tmp_path, OPENFACE | {"where": {"face_id": 1}, "dtype": "float16"})
    assert (len(other), other.values.dtype, other.valid.all()) == (3, np.float16, True)


def test_openface_s_bookkeeping_is_no_feature_unless_somebody_says_so(tmp_path: Path) -> None:
    put(tmp_path, "openface/a.csv", OPENFACE_TEXT)
    settings = OPENFACE | {"columns": None}
    with pytest.raises(ValueError, match=r"a\.csv:1: frame look like no features; name them in `ignore`, or all"):
        read(tmp_path, settings)
    with pytest.raises(ValueError, match="frame, confidence, success look like"):
        read(tmp_path, settings | {"valid_at_least": {}})
    assert read(tmp_path, settings | {"ignore": ["frame"]}).width == 5
    assert read(tmp_path, settings | {"columns": ["frame", "AU01_r"]}).width == 2


def test_openface_without_a_chosen_face_is_refused_with_the_remedy(tmp_path: Path) -> None:
    put(tmp_path, "openface/a.csv", OPENFACE_TEXT)
    with pytest.raises(ValueError, match=r"a\.csv:3: timestamp is 0 s, in line 2 0 s; times must rise; .* by `where`"):
        read(tmp_path, OPENFACE | {"where": {}})
    with pytest.raises(ValueError, match=r"has no row where face_id is 2; there are 0, 1$"):
        read(tmp_path, OPENFACE | {"where": {"face_id": 2}})


def test_opensmile_of_the_command_line(tmp_path: Path) -> None:
    put(
        tmp_path,
        "smile/a.csv",
        "name;frameTime;F0;Loudness\n" + "".join(f"'unknown';{i / 100:f};{i};-201\n" for i in range(31)),
    )
    settings = {"path": "smile/{clip}.csv", "ignore": ["name"],
                "time": {"column": "frameTime", "unit": "s", "plus_seconds": 0.03}}  # fmt: skip
    track = read(tmp_path, settings)
    assert track.clock == Clock.regular(Fraction(1, 100), 31, Fraction(3, 100))
    np.testing.assert_array_equal(track.values, [(i, -201) for i in range(31)])
    with pytest.raises(ValueError, match=r"a\.csv:1: name look like no features"):
        read(tmp_path, settings | {"ignore": []})


def test_opensmile_of_python(tmp_path: Path) -> None:
    rows = "".join(f"a.wav,0 days 00:00:0{i}.010000,0 days 00:00:0{i}.030000,{i}.5\n" for i in range(7))
    put(tmp_path, "smile/a.csv", "file,start,end,F0\n" + rows)
    settings = {"path": "smile/{media}.csv", "ignore": ["file"],
                "time": {"column": "start", "end": "end", "unit": "hms"}}  # fmt: skip
    track = read(tmp_path, settings, a_clip("other", media_name="deep/a.wav"))
    assert track.clock == Clock.regular(Fraction(1), 7, Fraction(2, 100))
    np.testing.assert_array_equal(track.values[:, 0], np.arange(7) + 0.5)


def test_muse_segments_with_a_gap_between(tmp_path: Path) -> None:
    text = "timestamp (ms), segment_id, 0, 1\n0,1,0.5,1\n250,1,0.25,2\n2000,2,0.75,\n2250,2,1.5,4\n"
    put(tmp_path, "muse/a.csv", text)
    settings = {"path": "muse/{clip}.csv", "time": {"column": "timestamp (ms)", "unit": "ms"}, "ignore": ["segment_id"]}
    track = read(tmp_path, settings)
    assert track.clock == Clock.explicit([0, 1, 8, 9], Fraction(1, 4))
    assert track.valid.tolist() == [True, True, False, True]
    np.testing.assert_array_equal(track.values[track.valid], [(0.5, 1), (0.25, 2), (1.5, 4)])


def test_a_table_without_times_has_a_rate(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "x,y\n1,2\n3,4\n5,6\n")
    track = read(tmp_path, {"path": "{clip}.csv", "rate_hz": "30000/1001", "start_seconds": 0.04})
    assert track.clock == Clock.regular(Fraction(1001, 30000), 3, Fraction(1, 25))
    assert read(tmp_path, {"path": "{clip}.csv", "rate_hz": 29.97}).clock == Clock.regular(Fraction(100, 2997), 3)


# ------------------------------------------------------------------------------------------------ arrays


def arrays(rows: int = 53, width: int = 3) -> tuple[Any, Any]:
    """values [T, D] with one row that isn't finite, times [T] of 29.97 frames a second, as a program computes them."""
    values = np.random.default_rng(7).normal(size=(rows, width)).astype(np.float32)
    values[11, 1] = np.inf
    return values, np.arange(rows) * 1001 / 30000 + 600


def test_an_npy_array_at_a_rate_or_with_times_beside_it(tmp_path: Path) -> None:
    values, times = arrays()
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "a_times.npy", times)
    track = read(tmp_path, {"path": "{clip}.npy", "rate_hz": 25, "start_seconds": 2})
    assert track.clock == Clock.regular(Fraction(1, 25), 53, Fraction(2))
    assert np.flatnonzero(~track.valid).tolist() == [11]
    np.testing.assert_array_equal(track.values[track.valid], np.delete(values, 11, 0))
    timed = {"path": "{clip}.npy", "time": {"path": "{clip}_times.npy", "unit": "s"}}
    exact = [Fraction(1001 * i, 30000) + 600 for i in range(53)]
    wanted = [round(time * 10**6) for time in exact]
    assert read(tmp_path, timed).clock == Clock.explicit(wanted, Fraction(1, 10**6))
    timed["time"]["tick_us"] = 1000  # type: ignore[index]
    assert read(tmp_path, timed).clock == Clock.explicit([round(time * 1000) for time in exact], Fraction(1, 1000))


def test_times_of_integers_and_of_starts_and_ends(tmp_path: Path) -> None:
    values = np.arange(10.0).reshape(5, 2)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "t.npy", np.array([500, 1000, 1500, 2000, 2500], np.int32))
    settings: dict[str, Any] = {"path": "{clip}.npy", "time": {"path": "t.npy", "unit": "ms"}}
    assert read(tmp_path, settings).clock == Clock.regular(Fraction(1, 2), 5, Fraction(1, 2))
    np.save(tmp_path / "t.npy", np.stack([np.arange(5), np.arange(5) + 0.5], 1))
    settings["time"]["unit"] = "s"
    assert read(tmp_path, settings).clock == Clock.regular(Fraction(1), 5, Fraction(1, 4))


def test_float32_times_are_known_too_badly_for_a_microsecond(tmp_path: Path) -> None:
    values, times = arrays()
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "t.npy", times.astype(np.float32))
    settings: dict[str, Any] = {"path": "{clip}.npy", "time": {"path": "t.npy", "unit": "s"}}
    with pytest.raises(
        ValueError, match=r"t\.npy: times up to 601\.7\d* as float32 .* 6\.1e-05 s .*`time\.tick_us` sets"
    ):
        read(tmp_path, settings)
    settings["time"]["tick_us"] = 1000
    exact = [round((Fraction(1001 * i, 30000) + 600) * 1000) for i in range(53)]
    assert read(tmp_path, settings).clock == Clock.explicit(exact, Fraction(1, 1000))


HDF5: dict[str, Any] = {
    "path": "all.h5",
    "dataset": "{clip}/feature",
    "time": {"dataset": "{clip}/times", "unit": "s"},
}


def test_one_hdf5_file_for_all_clips(tmp_path: Path) -> None:
    values, times = arrays()
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, length in (("a", 53), ("b", 31)):
            file[f"{name}/feature"], file[f"{name}/times"] = values[:length], times[:length]
    settings = ImportSettings(**HDF5)
    clips = [a_clip("a"), a_clip("b")]
    assert import_recipe("it", settings, clips, tmp_path)["columns"] == 3
    assert [len(read_import(settings, clip, tmp_path, 3)) for clip in clips] == [53, 31]
    before = [import_source(settings, clip, tmp_path, digest_of_file) for clip in clips]
    with h5py.File(tmp_path / "all.h5", "r+") as file:
        file["a/feature"][5, 1] = 0.125
    after = [import_source(settings, clip, tmp_path, digest_of_file) for clip in clips]
    assert after[0] != before[0]
    assert after[1] == before[1], "what became of another clip is no reason to read this one again"
    with h5py.File(tmp_path / "all.h5", "r+") as file:
        file["b/times"][30] += 0.5
    assert import_source(settings, clips[1], tmp_path, digest_of_file) != before[1]
    with pytest.raises(ValueError, match=r"all\.h5: c/feature is missing; the file begins with a, b"):
        read(tmp_path, HDF5, a_clip("c"))
    with pytest.raises(ValueError, match=r"all\.h5: a is a group, no dataset"):
        read(tmp_path, HDF5 | {"dataset": "{clip}"})


def test_the_same_bytes_in_another_order_are_the_same_source(tmp_path: Path) -> None:
    values, times = arrays()
    sources = set()
    for dtype in ("<f4", ">f4"):
        with h5py.File(tmp_path / "all.h5", "w") as file:
            file["a/feature"], file["a/times"] = values.astype(dtype), times
        sources.add(import_source(ImportSettings(**HDF5), a_clip(), tmp_path, digest_of_file))
    assert len(sources) == 1
    wanted = hashlib.sha256(b"<f4 (53, 3)\n" + values.tobytes() + b"<f8 (53,)\n" + times.tobytes())
    assert sources == {wanted.hexdigest()}


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(7), r"a\.npy has shape \(7,\) of float64; wanted numbers \[T, D\], a row a time"),
        (np.zeros((7, 0)), r"has shape \(7, 0\) of float64"),
        (np.zeros((7, 2), np.complex64), r"of complex64; wanted numbers"),
        (np.zeros((7, 2), object), r"a\.npy can't be read as an NPY array: .*Python objects"),
        (b"\x93NUM", r"a\.npy can't be read as an NPY array"),
        (b"", r"a\.npy can't be read as an NPY array"),
    ],
)
def test_what_is_no_array_of_features(tmp_path: Path, array: Any, message: str) -> None:
    if isinstance(array, bytes):
        (tmp_path / "a.npy").write_bytes(array)
    else:
        np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        read(tmp_path, {"path": "{clip}.npy", "rate_hz": 25})


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (np.arange(4.0), r"t\.npy has shape \(4,\) of float64; wanted \[3\], a time for each row, or \[3, 2\]"),
        (np.array([0, 1, np.nan]), r"t\.npy: the time of row 2 is nan; wanted a finite number"),
        (np.array([0, 2, 1.0]), r"t\.npy: ticks must strictly increase; row 1 is at 2000000, row 2 at 1000000"),
        (np.array(["0", "1", "2"]), r"t\.npy has shape \(3,\) of <U1"),
    ],
)
def test_what_are_no_times_of_an_array(tmp_path: Path, times: Any, message: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    np.save(tmp_path / "t.npy", times)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, {"path": "{clip}.npy", "time": {"path": "t.npy", "unit": "s"}})


def test_what_is_no_hdf5_file(tmp_path: Path) -> None:
    put(tmp_path, "all.h5", "no")
    with pytest.raises(ValueError, match=r"all\.h5 can't be read as HDF5"):
        read(tmp_path, HDF5)


# ------------------------------------------------------------------------------------------------ clips and keys


def test_places_of_a_path_are_the_clip_s_own(tmp_path: Path) -> None:
    clip = a_clip("x_left", media_name="batch1/x.v2.mp4", subject="ann", split="validation")
    settings = ImportSettings(path="{split}/{subject}/{media}/{clip}.csv", rate_hz=25)
    assert import_path(settings, clip, tmp_path) == tmp_path / "validation/ann/x.v2/x_left.csv"
    with pytest.raises(ValueError, match=r"clip b has no subject, and '\{split\}/\{subject\}.*' wants one"):
        import_path(settings, a_clip("b"), tmp_path)


def test_a_file_that_is_missing_is_said_for_its_clip(tmp_path: Path) -> None:
    put(tmp_path, "b.csv", "time,x\n0,1\n1,2\n")
    settings = ImportSettings(path="{clip}.csv", time=SECONDS)
    clips = [a_clip("a"), a_clip("b")]
    assert import_recipe("it", settings, clips, tmp_path)["columns"] == ["x"], "another clip says what it is"
    message = r"a\.csv is missing; clip a has its rows there, by the path '\{clip\}\.csv'"
    with pytest.raises(ValueError, match=message):
        import_source(settings, clips[0], tmp_path, digest_of_file)
    with pytest.raises(ValueError, match=message):
        read_import(settings, clips[0], tmp_path, ["x"])
    with pytest.raises(ValueError, match=f"no clip has the feature it: .*{message}"):
        import_recipe("it", settings, clips[:1], tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("time,x", r"b\.csv has no column y; a feature has the same columns in every clip"),
        ("time,x,y,z", r"b\.csv has the column z, which others haven't"),
        ("time,x,Y", r"b\.csv has no column y and the column Y, which others haven't"),
        ("time,y,x", r"b\.csv has its columns in another order than others: y, x"),
    ],
)
def test_columns_that_differ_between_clips_are_an_error(tmp_path: Path, header: str, message: str) -> None:
    put(tmp_path, "a.csv", "time,x,y\n0,1,2\n")
    put(tmp_path, "b.csv", f"{header}\n0{',1' * header.count(',')}\n")
    settings = ImportSettings(path="{clip}.csv", time=SECONDS)
    clips = [a_clip("b"), a_clip("a")]
    columns = import_recipe("it", settings, clips, tmp_path)["columns"]
    assert columns == ["x", "y"], "those of the first clip by name"
    assert len(read_import(settings, clips[1], tmp_path, columns)) == 1
    with pytest.raises(ValueError, match=message):
        read_import(settings, clips[0], tmp_path, columns)


def test_widths_of_arrays_that_differ_are_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"a\.npy has the columns 3, wanted 2"):
        read_import(ImportSettings(path="{clip}.npy", rate_hz=25), a_clip(), tmp_path, 2)


def test_the_key_is_what_the_numbers_are_and_never_where(tmp_path: Path) -> None:
    put(tmp_path, "openface/a.csv", OPENFACE_TEXT)
    put(tmp_path, "elsewhere/deep/a.csv", OPENFACE_TEXT)
    clips = [a_clip()]

    def key(name: str = "face", **changes: Any) -> str:
        return digest_of(import_recipe(name, ImportSettings(**OPENFACE | changes), clips, tmp_path))

    assert key(path="elsewhere/deep/{clip}.csv") == key()
    assert key(columns=["pose_Tx", "AU01_r", "AU12_r", "pose_Rz"]) == key(), "the same columns, otherwise said"
    assert key(columns=None, ignore=["frame", "AU12_c"]) == key()
    assert key(delimiter=",") == key()
    others = [
        key("other"),
        key(columns=["AU*_r"]),
        key(where={"face_id": 1}),
        key(valid_at_least={"success": 1}),
        key(dtype="float16"),
        key(time=OPENFACE["time"] | {"unit": "ms"}),
        key(time=OPENFACE["time"] | {"plus_seconds": 0.02}),
        key(time=None, rate_hz=25, where={}),
        key(time=None, rate_hz=25, where={}, start_seconds=1),
        key(time=None, rate_hz=30, where={}),
    ]
    assert len({key(), *others}) == 1 + len(others)


def test_a_source_is_the_bytes_of_the_file(tmp_path: Path) -> None:
    file = put(tmp_path, "openface/a.csv", OPENFACE_TEXT)
    settings = ImportSettings(**OPENFACE)
    assert import_source(settings, a_clip(), tmp_path, digest_of_file) == hashlib.sha256(file.read_bytes()).hexdigest()
    values, times = arrays()
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "t.npy", times)
    timed = ImportSettings(path="{clip}.npy", time={"path": "t.npy", "unit": "s"})
    before = import_source(timed, a_clip(), tmp_path, digest_of_file)
    np.save(tmp_path / "t.npy", times + 1)
    assert import_source(timed, a_clip(), tmp_path, digest_of_file) != before
    (tmp_path / "t.npy").unlink()
    with pytest.raises(ValueError, match=r"t\.npy can't be read: No such file or directory"):
        import_source(timed, a_clip(), tmp_path, digest_of_file)
    with pytest.raises(ValueError, match=r"t\.npy can't be read: No such file or directory"):
        read(tmp_path, {"path": "{clip}.npy", "time": {"path": "t.npy", "unit": "s"}})


# ------------------------------------------------------------------------------------------------ bad rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,x,who\n0,1,ann\n", r"a\.csv:2: who is 'ann'; wanted a number, or nothing$"),
        ("time,x\n0,1\n1\n", r"a\.csv:3 has 1 cells; line 1 has 2"),
        ("time,x\n0,1\n,2\n", r"a\.csv:3: time is ''; wanted a number of s"),
        ("stamp,x\n0,1\n", r"a\.csv:1 has no column 'time'; it has stamp, x"),
        ("time\n0\n", r"a\.csv:1 has no column beside time; wanted one or more"),
        ("time,x,x\n0,1,2\n", r"a\.csv:1 has several columns x; wanted one of a name"),
        (
            "time,x,y\n0,1,\n1,2,nan\n",
            r"a\.csv has no row whose columns are all finite; y never are: name them in `ignore`",
        ),
        ("time,x,y\n0,1,\n1,,2\n", r"a\.csv has no row whose columns are all finite$"),
        ("time,x\n0,1e39\n", r"a\.csv has values up to 1e\+39, more than float32 holds"),
    ],
)
def test_a_table_that_can_not_be_imported_is_named(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "a.csv", text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path, {"path": "{clip}.csv", "time": SECONDS})


def test_a_clip_without_a_face_is_a_track_without_a_valid_row(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "time,success,x\n0,0,nan\n1,0,nan\n2,0,0\n")
    track = read(tmp_path, {"path": "{clip}.csv", "time": SECONDS, "valid_at_least": {"success": 1}})
    assert (len(track), track.valid.any()) == (3, False)


def test_rows_may_be_chosen_by_text(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "time,who,x\n0,ann,1\n0,bob,2\n1,bob,3\n")
    track = read(tmp_path, {"path": "{clip}.csv", "time": SECONDS, "where": {"who": "bob"}})
    np.testing.assert_array_equal(track.values, [(2,), (3,)])
    with pytest.raises(ValueError, match="has no row where who is 3; there are ann, bob"):
        read(tmp_path, {"path": "{clip}.csv", "time": SECONDS, "where": {"who": 3}})


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "a.csv", "rate_hz": 25}, "path 'a.csv' is one for all clips; wanted a place such as {clip} in it"),
        ({"path": "{clips}.csv", "rate_hz": 25}, "path is '{clips}.csv', with the place {clips}; there are {clip}, "
         "{media}, {subject}, {split}"),
        ({"path": "{clip!r}.csv", "rate_hz": 25}, "with the place {clip}; there are"),
        ({"path": "{clip.csv", "rate_hz": 25}, "path is '{clip.csv': expected '}' before end of string"),
        ({"path": "{clip}.xlsx", "rate_hz": 25}, "path '{clip}.xlsx' ends in .xlsx; wanted one of .csv, .tsv"),
        ({"path": "{clip}", "rate_hz": 25}, "path '{clip}' ends in nothing; wanted one of"),
        ({"path": "{clip}.csv"}, "wanted `time`, where the rows' times are, or `rate_hz`, and not both"),
        ({"path": "{clip}.csv", "rate_hz": 25, "time": SECONDS}, "and not both"),
        ({"path": "{clip}.csv", "rate_hz": 0}, "greater than 0"),
        ({"path": "{clip}.csv", "rate_hz": True}, "wanted a number, such as 25, 29.97 or 30000/1001"),
        ({"path": "{clip}.csv", "rate_hz": float("nan")}, "rate_hz"),
        ({"path": "{clip}.csv", "time": SECONDS, "start_seconds": 1}, "start_seconds would have no effect: the rows "
         "have times; to move these, time.plus_seconds"),
        ({"path": "{clip}.csv", "time": {"unit": "s"}}, "the times are in nothing; wanted one of column, "
         "dataset, path"),
        ({"path": "{clip}.csv", "time": SECONDS | {"dataset": "t"}}, "the times are in column and dataset; wanted one"),
        ({"path": "{clip}.csv", "time": SECONDS | {"tick_us": 1}}, "tick_us would have no effect: the decimal times"),
        ({"path": "{clip}.csv", "time": {"dataset": "t", "unit": "s"}}, "the times of {clip}.csv are in its "
         "`time.column`"),
        ({"path": "{clip}.csv", "time": {"column": "t"}}, "Field required"),
        ({"path": "{clip}.csv", "rate_hz": 25, "dataset": "x"}, "dataset would have no effect: {clip}.csv is a file of "
         "the kind csv"),
        ({"path": "{clip}.npy", "rate_hz": 25, "columns": ["x"], "where": {"y": 1}}, "columns, where would have no "
         "effect: {clip}.npy is a file of the kind npy"),
        ({"path": "{clip}.npy", "time": {"path": "t.csv", "unit": "s"}}, "time.path is 't.csv'; wanted an .npy file"),
        ({"path": "{clip}.npy", "time": {"path": "t.npy", "unit": "hms"}}, "unit hms is for text"),
        ({"path": "{clip}.npy", "time": {"path": "t.npy", "end": "x", "unit": "s"}}, "end would have no effect"),
        ({"path": "{clip}.h5", "rate_hz": 25}, "{clip}.h5 needs `dataset`: the name within it, e.g. {clip}/feature"),
        ({"path": "{clip}.csv", "rate_hz": 25, "columns": []}, "at least 1 item"),
    ],
)  # fmt: skip
def test_settings_that_can_not_be_meant(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        ImportSettings(**settings)


def test_rates_are_exact_as_written() -> None:
    for written, exact in (
        (25, 25),
        (29.97, Fraction(2997, 100)),
        ("30000/1001", Fraction(30000, 1001)),
        ("12.5", 12.5),
    ):
        assert ImportSettings(path="{clip}.csv", rate_hz=written).rate_hz == exact
