"""A corpus that a CSV lists. Media are empty files: nothing is decoded here."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import even_ticks
from pydantic import ValidationError

from cache.clock import Clock
from extract.clips import Clip
from extract.corpora import CorpusError, read_corpus, survey
from extract.settings import CorpusSettings

LABELS = "time,valence,arousal\n0.00,0.5,-0.25\n0.04,-1,1\n0.08,,0\n0.12,nan,0.5\n0.16,0.125,0\n"
TIMED: dict[str, Any] = {"time": {"column": "time", "unit": "s"}}


def corpus(root: Path, rows: str, labels: dict[str, Any] | None = None, **manifest: Any) -> CorpusSettings:
    """A list of clips, and the files a.mp4, b.mp4, a.csv, b.csv."""
    (root / "manifest.csv").write_text(rows, encoding="utf-8")
    for name in "ab":
        (root / f"{name}.mp4").touch()
        (root / f"{name}.csv").write_text(LABELS, encoding="utf-8")
    manifest["labels"] = TIMED if labels is None else labels
    return CorpusSettings(format="manifest", root=root, manifest=manifest)


def read(settings: CorpusSettings) -> dict[str, Clip]:
    return {clip.name: clip for clip in read_corpus(settings)}


def problems(settings: CorpusSettings) -> list[str]:
    """What makes the corpus wrong, without the folder."""
    _, findings = survey(settings)
    return [problem.text.replace(f"{settings.root}/", "") for problem in findings.refusals]


def labels_of(root: Path, text: str, **settings: Any) -> Any:
    """The labels of one clip whose file has this text."""
    chosen = corpus(root, "id,media,labels,split\na,a.mp4,a.csv,train\n", settings)
    (root / "a.csv").write_text(text, encoding="utf-8")
    return read(chosen)["a"].labels


def test_a_small_list_is_read_exactly(tmp_path: Path) -> None:
    rows = (
        "\ufeffsplit; id; media; labels; subject; sound; side; notes\n"
        "train; monday; ./a.mp4; a.csv; ann; ; left;\n"
        "\n"
        "validation; tuesday; b.mp4; b.csv; ; b.mp4; ; noisy\n"
        "test;wednesday;;;bob;;;\n"
        ";;;;;;;\n"
    )
    clips = read(corpus(tmp_path, rows, ignore=["no*"]))
    assert list(clips) == ["monday", "tuesday", "wednesday"]
    seen = [(c.media, c.media_name, c.split, c.subject, c.side, c.sound) for c in clips.values()]
    assert seen == [
        (tmp_path / "a.mp4", "a.mp4", "train", "ann", "left", None),
        (tmp_path / "b.mp4", "b.mp4", "validation", None, None, tmp_path / "b.mp4"),
        (None, "wednesday", "test", "bob", None, None),
    ]
    assert clips["wednesday"].labels is None
    labels = clips["monday"].labels
    assert labels is not None
    assert labels.clock == Clock.regular(Fraction(1, 25), 5)
    assert labels.valid.tolist() == [True, True, False, False, True]
    np.testing.assert_array_equal(labels.values[labels.valid], np.float32([(0.5, -0.25), (-1, 1), (0.125, 0)]))
    assert labels.native_range == (-1, 1)


def test_the_list_may_lie_elsewhere_and_paths_start_at_the_root_all_the_same(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    root.mkdir()
    settings = corpus(root, "id,media,labels,split\na,a.mp4,a.csv,train\n")
    (root / "manifest.csv").rename(tmp_path / "mine.csv")
    moved = CorpusSettings(format="manifest", root=root, manifest={"file": tmp_path / "mine.csv", "labels": TIMED})
    assert read(moved)["a"].media == root / "a.mp4"
    assert problems(settings) == ["manifest.csv can't be read: No such file or directory"]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("valence,arousal\n3,7\n-5,1\n9,9\n", {"invalid": [-5]}),
        ("frame;Arousal;Valence\n0;7;3\n1;1;-5\n2;9;9\n", {"invalid": [-5], "ignore": ["frame"]}),
        ("t\tV\tA\n1.5\t3\t7\n2\t\t1\n2.5\t9\t9\n",
         {"valence": "V", "arousal": "A", "time": {"column": "t", "unit": "ms"}}),
        ("valence,arousal\n3,7\nnan,1\n9,9\n", {"rate_hz": 2000, "start_seconds": 0.0015}),
    ],
)  # fmt: skip
def test_label_files_in_the_forms_that_people_have(tmp_path: Path, text: str, settings: dict[str, Any]) -> None:
    labels = labels_of(tmp_path, text, range=[1, 9], **settings)
    assert labels.valid.tolist() == [True, False, True]
    np.testing.assert_array_equal(labels.values[labels.valid], [(-0.5, 0.5), (1, 1)])
    assert labels.native_range == (1, 9)
    wanted = (
        Clock.regular(Fraction(1, 2000), 3, Fraction(3, 2000))
        if "start" in str(settings) or "time" in settings
        else None
    )
    assert labels.clock == wanted


def test_uneven_times_are_kept_as_they_are(tmp_path: Path) -> None:
    labels = labels_of(tmp_path, "time,valence,arousal\n0.1,0,0\n0.25,0,0\n0.3,0,0\n", **TIMED)
    assert labels.clock == Clock.explicit([2, 5, 6], Fraction(1, 20))


def test_labels_without_times_belong_to_the_frames(tmp_path: Path) -> None:
    labels = labels_of(tmp_path, "valence,arousal\n0.5,0\n,\n-0.5,1\n")
    track, note = labels.on(Clock.explicit(even_ticks(3, Fraction(25)), Fraction(1, 90000)))
    assert (note, track.valid.tolist()) == (None, [True, False, True])


def test_only_labels_within_given_seconds_count(tmp_path: Path) -> None:
    rows = "id,labels,split,labels_from_seconds,labels_to_seconds\na,a.csv,train,0.05,0.16\nb,b.csv,train,,0.041\n"
    clips = read(corpus(tmp_path, rows))
    found = {
        name: (clip.labels.clock, clip.labels.values[:, 1].tolist()) for name, clip in clips.items() if clip.labels
    }
    assert found["a"][0] == Clock.regular(Fraction(1, 25), 2, Fraction(2, 25))
    assert found["b"][0] == Clock.regular(Fraction(1, 25), 2)
    assert found["b"][1] == [-0.25, 1]


def test_folders_of_pictures(tmp_path: Path) -> None:
    for folder, numbers in (("whole", (0, 1, 6)), ("faces", (1, 3, 4))):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / f"{number:05d}.jpg").touch()
    rows = (
        "id,media,images,crops,first,rate_hz,split\n"
        "a,,whole,,0,30000/1001,train\n"
        "b,b.mp4,,faces,1,,train\n"
        "c,,,faces,1,12.5,train\n"
    )
    clips = read(corpus(tmp_path, rows))
    assert [clip.media_name for clip in clips.values()] == ["whole", "b.mp4", "faces"]
    images = [clip.images for clip in clips.values()]
    assert [(one.folder.name, one.first, one.cropped) for one in images if one] == [
        ("whole", 0, False),
        ("faces", 1, True),
        ("faces", 1, True),
    ]
    assert [one.clock for one in images if one] == [
        Clock.regular(Fraction(1001, 30000), 7),
        None,
        Clock.regular(Fraction(2, 25), 4),
    ]


def test_every_problem_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    rows = (
        "id,media,labels,split,side,images,crops,first,rate_hz,labels_from_seconds\n"
        ",a.mp4,a.csv,,middle,,,,,\n"
        "b,b.mp4,gone.csv,train,,nofolder,,1,,\n"
        "c,,,train,,.,,,,\n"
        "d,d.mp4,,train,,,,1,25,3\n"
        "e,,,train,,.,.,x,1/0,\n"
        "f,f.mp4,,train,,.,,1,25,\n"
        "g,,,train,,.,,1,25,\n"
        "h,,bad.csv,train,,,,,,99\n"
        "i,,a.csv,train,,,,,,99\n"
        "j,missing.mp4,,train,,,,,,\n"
    )
    settings = corpus(tmp_path, rows)
    (tmp_path / "bad.csv").write_text("time,valence,arousal\n0,0,0\n1,0,1.5\n2,2,0\n", encoding="utf-8")
    assert problems(settings) == [
        "manifest.csv:2: id is empty",
        "manifest.csv:2: split is empty",
        "manifest.csv:2: side is 'middle'; wanted left, right or nothing",
        "manifest.csv:3: images is nofolder, which is missing",
        "manifest.csv:3: labels is gone.csv, which is missing",
        "manifest.csv:4: images wants first, the number of the picture that belongs to row 0: 0 or 1, say",
        "manifest.csv:4: images without media wants rate_hz, pictures a second: 25, or 30000/1001",
        "manifest.csv:5: first would have no effect without images or crops",
        "manifest.csv:5: rate_hz would have no effect without images or crops",
        "manifest.csv:5: labels_from_seconds would have no effect without labels",
        "manifest.csv:6: first is 'x'; wanted a number",
        "manifest.csv:6: rate_hz is '1/0'; wanted a number",
        "manifest.csv:6: images and crops are given; wanted one of them",
        "manifest.csv:7: rate_hz would have no effect: the times are those of the media's frames",
        f"manifest.csv:8: {tmp_path} has no numbered picture, first is 1",
        "bad.csv:3: valence 0, arousal 1.5 in 2 such rows; wanted values in [-1, 1] (labels.range), or marks of rows "
        "that aren't rated in labels.invalid",
        "a.csv has no row between 99 s and its end",
    ]
    _, findings = survey(settings)
    faults = [problem.text for problem in findings.problems if problem.weight == "fault"]
    assert faults[0] == f"clip j: {tmp_path}/missing.mp4 is missing", "a video that is gone fails its own clip, later"
    with pytest.raises(CorpusError, match="has 17 problems"):
        read_corpus(settings)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("name,split\na,train\n", "manifest.csv:1 has no column id; it has name, split"),
        (
            "id,split,meda\na,train,a.mp4\n",
            "manifest.csv:1 has the unknown columns meda; did you mean media?; there are id,",
        ),
        ("id,split,split\na,train,test\n", "manifest.csv:1 has several columns split; wanted one of a name"),
        ("id,split\na\n", "manifest.csv:2 has 1 cells; line 1 has 2, by ','"),
        ("id,split\na,train\na,test\n", "two clips are named a"),
        ("id,split,subject\na,train,ann\nb,test,ann\n", "subject ann is in 2 splits: test, train"),
        ("id,split,media\na,train,a.mp4\nb,test,./a.mp4\n", "video a.mp4 is in 2 splits: test, train"),
        ("id,split\n", "no clips found: is `corpus.format` right, and is `corpus.root` its top folder?"),
    ],
)
def test_a_list_that_can_not_be_used(tmp_path: Path, rows: str, message: str) -> None:
    assert problems(corpus(tmp_path, rows))[0].startswith(message)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (
            LABELS,
            {},
            "a.csv:1: nothing is said of the columns time; name times in labels.time, others in labels.ignore",
        ),
        (LABELS, {"valence": "val", **TIMED}, "a.csv:1 has no column 'val'; it has time, valence, arousal"),
        ("valence,arousal\n0,low\n", {}, "a.csv:2: arousal is 'low'; wanted a number, or nothing"),
        ("valence,arousal\n0,inf\n", {"invalid": [-5]}, "a.csv:2: valence 0, arousal inf in 1 such rows"),
        ("valence,arousal\n0,0\n\n0,0\n", {}, "a.csv:3 is blank; wanted 2 cells"),
        ("time,valence,arousal\n0,0,0\n0,0,0\n", TIMED, "a.csv:3: time is 0 s, in line 2 0 s; times must rise"),
        (
            "valence,arousal\n0,-5\n",
            {"invalid": [-1]},
            "a.csv:2: valence 0, arousal -5 in 1 such rows; wanted values in",
        ),
    ],
)
def test_a_label_file_that_can_not_be_read(tmp_path: Path, text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(message)):
        labels_of(tmp_path, text, **settings)


def test_labels_need_a_clock_from_somewhere(tmp_path: Path) -> None:
    settings = corpus(tmp_path, "id,labels,split\na,a.csv,train\n", {"ignore": ["time"]})
    assert problems(settings) == [
        "manifest.csv:2: its labels are a row a frame, and it has neither media nor images; say labels.time or "
        "labels.rate_hz in the settings"
    ]
    settings = corpus(
        tmp_path, "id,media,labels,split,labels_to_seconds\na,a.mp4,a.csv,train,3\n", {"ignore": ["time"]}
    )
    assert problems(settings) == ["a.csv: its rows are frames without times, so none can be left out by seconds"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (TIMED | {"rate_hz": 25}, "labels have `time` and `rate_hz`; wanted one of them"),
        ({"start_seconds": 1}, "start_seconds would have no effect without rate_hz"),
        ({"range": [1, 1]}, "range is [1.0, 1.0]; wanted the lowest value, then the highest"),
        ({"invalid": [float("nan")]}, "finite number"),
        ({"time": {"column": "t", "unit": "frames"}}, "'s', 'ms', 'us' or 'hms'"),
    ],
)
def test_settings_that_can_not_be_meant(tmp_path: Path, labels: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        CorpusSettings(format="manifest", root=tmp_path, manifest={"labels": labels})


def test_other_formats_take_no_list(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="manifest would have no effect: format muse takes root"):
        CorpusSettings(format="muse", root=tmp_path, manifest={})
