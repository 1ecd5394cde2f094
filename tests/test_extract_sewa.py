"""The reader of SEWA / AVEC CES on small trees as the challenges shipped it, with and without header and media."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import trees

from cache.clock import Clock
from extract.corpora import CorpusError, read_corpus
from extract.settings import CorpusSettings

HEADER = "name;timestamp;arousal;valence;liking\n"
TENTH = Fraction(1, 10)


def rows(name: str, count: int = 5) -> str:
    return "".join(f"'{name}';{i / 10:.1f};{i / 8};{-i / 16};0.3\n" for i in range(count))


def settings_of(root: Path) -> CorpusSettings:
    return CorpusSettings(format="sewa", root=root)


@pytest.mark.parametrize("header", ["", HEADER, "\ufeff" + HEADER])
def test_labels_alone_are_clips_without_media(tmp_path: Path, header: str) -> None:
    trees.grow(
        tmp_path,
        {
            "labels/Train_DE_01.csv": header + rows("Train_DE_01"),
            "labels/Devel_HU_02.csv": (header + rows("Devel_HU_02", 7)).replace("\n", "\r\n") + "\r\n",
            "labels/._Train_DE_01.csv": "\0",
            "audio_features_xbow/Train_DE_01.csv": "1;2\n",
        },
    )
    clips, findings = trees.read(settings_of(tmp_path))
    assert {name: (clip.media, clip.media_name, clip.split) for name, clip in clips.items()} == {
        "Devel_HU_02": (None, "Devel_HU_02", "validation"),
        "Train_DE_01": (None, "Train_DE_01", "train"),
    }
    labels = clips["Train_DE_01"].labels
    assert labels is not None
    assert labels.clock == Clock.regular(TENTH, 5)
    np.testing.assert_array_equal(labels.values, [(-i / 16, i / 8) for i in range(5)], "valence, then arousal")
    assert trees.said(findings, "note") == [
        "clips without media, whose features must be imported: Devel_HU_02, Train_DE_01"
    ]


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    text = "name;timestamp;valence;liking;arousal\nx;0.0;0.5;0;-1\nx;0.1;0.25;0;\n"
    trees.grow(tmp_path, {"labels/Train_01.csv": text})
    labels = trees.read(settings_of(tmp_path))[0]["Train_01"].labels
    assert labels is not None
    assert labels.valid.tolist() == [True, False], "an empty cell is not rated"
    assert labels.values[0].tolist() == [0.5, -1]


def test_recordings_are_found_by_name(tmp_path: Path) -> None:
    trees.grow(
        tmp_path,
        {"labels/Train_DE_01.csv": rows("x"), "labels/Train_DE_02.csv": rows("x"), "labels/Devel_DE_01.csv": rows("x")},
        [
            *("video/Train_DE_01.avi", "video/Devel_DE_01.AVI", "video/Test_DE_01.avi"),
            *("audio/Train_DE_01.wav", "audio/Devel_DE_01.wav", "audio/Train_DE_02.wav", "audio/._Train_DE_02.wav"),
        ],
    )
    clips, findings = trees.read(settings_of(tmp_path))

    def of(path: Path | None) -> str | None:
        return path.relative_to(tmp_path).as_posix() if path is not None else None

    assert {name: (of(clip.media), of(clip.sound), clip.split) for name, clip in clips.items()} == {
        "Devel_DE_01": ("video/Devel_DE_01.AVI", "audio/Devel_DE_01.wav", "validation"),
        "Test_DE_01": ("video/Test_DE_01.avi", None, "test"),
        "Train_DE_01": ("video/Train_DE_01.avi", "audio/Train_DE_01.wav", "train"),
        "Train_DE_02": ("audio/Train_DE_02.wav", None, "train"),
    }
    assert clips["Test_DE_01"].labels is None
    assert trees.said(findings, "fault") == [
        "clip Test_DE_01 has no sound file, as others have",
        "clip Train_DE_02 has no video, as others have",
    ]


def test_a_hole_makes_explicit_times(tmp_path: Path) -> None:
    text = "".join(f"x;{time};0;0;0\n" for time in ("0.3", "0.4", "0.7"))
    trees.grow(tmp_path, {"labels/Train_01.csv": text})
    labels = trees.read(settings_of(tmp_path))[0]["Train_01"].labels
    assert labels is not None
    assert labels.clock == Clock.explicit([3, 4, 7], TENTH)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x;0.0;0;0;0\nx;0.15;0;0;0\n", r"Train_01\.csv:2: the time 0\.15 is not a whole number of steps of 1/10 s"),
        ("x;0.1;0;0;0\nx;0.1;0;0;0\n", r"Train_01\.csv:2: the time 0\.1 is not later than that of the line before"),
        ("x;now;0;0;0\n", r"Train_01\.csv:1: the time is 'now'; wanted a number"),
        ("x;0.0;0;high;0\n", r"Train_01\.csv:1: valence is 'high'; wanted a number"),
        ("x;0.0;0;1.01;0\n", r"Train_01\.csv: 1 values lie outside \[-1, 1\], the first is line 1: 1\.01"),
        ("x;0.0;0\n", r"Train_01\.csv:1 is 'x;0\.0;0'; wanted name;timestamp;arousal"),
        (rows("x") + "\n" + "x;0.5;0;0;0\n", r"Train_01\.csv:6 is ''; wanted name;timestamp"),
        ("name;timestamp;valence\nx;0;0\n", r"Train_01\.csv:1 has no column arousal; wanted name"),
    ],
)  # fmt: skip
def test_labels_that_can_not_be_used(tmp_path: Path, text: str, message: str) -> None:
    trees.grow(tmp_path, {"labels/Train_01.csv": text})
    with pytest.raises(CorpusError, match=message):
        read_corpus(settings_of(tmp_path))


def test_a_name_without_a_split_is_refused(tmp_path: Path) -> None:
    trees.grow(tmp_path, {"labels/Train_01.csv": rows("x"), "labels/German_01.csv": rows("x")})
    with pytest.raises(CorpusError, match=r"German_01\.csv: the name begins with no split; wanted Train_, Devel_ or T"):
        read_corpus(settings_of(tmp_path))
