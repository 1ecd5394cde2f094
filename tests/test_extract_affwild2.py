"""The reader of Aff-Wild2 on small trees whose every row is known. Media are empty files: nothing is decoded here."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees
from media import even_ticks, write_affwild2
from pydantic import ValidationError

from cache.clock import Clock
from cache.key import digest_of
from extract.clips import Clip, ClipLabels
from extract.corpora import CorpusError, read_corpus
from extract.settings import CorpusSettings

Rows = Sequence[tuple[float, float]]
ROWS: Rows = [(0.5, -0.25), (-5, -5), (-1, 1), (0.125, -5), (-5, 0.5), (0, 0)]


def tree(
    root: Path, clips: dict[str, str], media: Sequence[str], subjects: dict[str, str] | None = None
) -> CorpusSettings:
    """Label files {clip: split folder} of ROWS, and empty media."""
    write_affwild2(root, [(clip, folder, ROWS) for clip, folder in clips.items()], subjects)
    for name in media:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return CorpusSettings(
        format="affwild2", root=root, subjects=root / "subjects.csv" if subjects is not None else None
    )


def read(settings: CorpusSettings) -> dict[str, Clip]:
    clips = read_corpus(settings)
    assert [clip.name for clip in clips] == sorted(clip.name for clip in clips)
    return {clip.name: clip for clip in clips}


def test_a_small_tree_is_read_exactly(tmp_path: Path) -> None:
    clips = read(
        tree(
            tmp_path,
            {"7-30": "Train_Set", "pair_left": "Train_Set", "pair_right": "Train_Set", "old": "Validation_Set"},
            ["batch1/7-30.mp4", "batch2/pair.mp4", "batch2/old.AVI", "batch1/.DS_Store", "batch1/unlabelled.mp4"],
            {"7-30": "ann", "pair_left": "bob", "old": "eve"},
        )
    )
    seen = {name: (clip.media_name, clip.split, clip.subject, clip.side) for name, clip in clips.items()}
    assert seen == {
        "7-30": ("batch1/7-30.mp4", "train", "ann", None),
        "pair_left": ("batch2/pair.mp4", "train", "bob", "left"),
        "pair_right": ("batch2/pair.mp4", "train", None, "right"),
        "old": ("batch2/old.AVI", "validation", "eve", None),
    }
    assert clips["old"].media == tmp_path / "batch2" / "old.AVI"
    labels = clips["7-30"].labels
    assert labels is not None
    assert labels.clock is None, "one row a frame: the frames' times come with decoding"
    assert labels.valid.tolist() == [True, False, True, False, False, True]
    np.testing.assert_array_equal(labels.values[labels.valid], [(0.5, -0.25), (-1, 1), (0, 0)])


def test_a_video_that_is_really_named_left_is_no_half_of_one(tmp_path: Path) -> None:
    media = ["batch1/x_left.mp4", "batch1/y.mp4"]
    clips = read(tree(tmp_path, {"x_left": "Train_Set", "y_left": "Train_Set"}, media))
    assert (clips["x_left"].side, clips["x_left"].media_name) == (None, "batch1/x_left.mp4")
    assert (clips["y_left"].side, clips["y_left"].media_name) == ("left", "batch1/y.mp4")


def test_two_people_of_one_video_are_two_sources(tmp_path: Path) -> None:
    clips = read(tree(tmp_path, dict.fromkeys(("p", "p_left", "p_right"), "Train_Set"), ["batch1/p.mp4"]))
    sources = {name: clip.source("picture", lambda path: digest_of(path.name)) for name, clip in clips.items()}
    assert len(set(sources.values())) == 3
    assert sources["p"] == digest_of("p.mp4")


@pytest.mark.parametrize("text", ["Valence, Arousal\n0.5,0.25\n", "\ufeffvalence,arousal\r\n0.5, 0.25\r\n"])
def test_headers_as_people_save_them(tmp_path: Path, text: str) -> None:
    settings = tree(tmp_path, {"a": "Train_Set"}, ["batch1/a.mp4"])
    (tmp_path / "VA_Estimation_Challenge/Train_Set/a.txt").write_bytes(text.encode())
    labels = read(settings)["a"].labels
    assert labels is not None
    np.testing.assert_array_equal(labels.values, [(0.5, 0.25)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.txt:1 is ''; wanted the header valence,arousal"),
        ("arousal,valence\n0,0\n", r"a\.txt:1 is 'arousal,valence'; wanted the header"),
        ("valence,arousal\n0,0\n0.5\n", r"a\.txt:3 is '0\.5'; wanted two numbers, valence,arousal"),
        ("valence,arousal\n0,0,0\n", r"a\.txt:2 is '0,0,0'; wanted two numbers"),
        ("valence,arousal\n0,0\n0,low\n", r"a\.txt:3 is '0,low'; wanted two numbers"),
        ("valence,arousal\n0,0\n\n0,0\n", r"a\.txt:3 is ''; wanted two numbers"),
        ("valence,arousal\n0,0\n0.5,1.5\n", r"a\.txt: 1 valid label rows .* \[-1, 1\], .* row 1: \[0\.5, 1\.5\]"),
        ("valence,arousal\n-5,-5\n-2,0\nnan,0\n", r"2 valid label rows .* first is row 1.*\(row 0 is line 2"),
    ],
)  # fmt: skip
def test_a_label_file_that_can_not_be_read_is_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    settings = tree(tmp_path, {"a": "Train_Set"}, ["batch1/a.mp4"])
    (tmp_path / "VA_Estimation_Challenge/Train_Set/a.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_corpus(settings)


def test_a_label_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    settings = tree(tmp_path, {"a": "Train_Set"}, ["batch1/a.mp4"])
    (tmp_path / "VA_Estimation_Challenge/Train_Set/a.txt").write_bytes(b"valence,arousal\n\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.txt is no text in UTF-8"):
        read_corpus(settings)


def test_every_problem_of_a_corpus_is_said_at_once(tmp_path: Path) -> None:
    settings = tree(
        tmp_path,
        {
            "a": "Train_Set",
            "gone": "Train_Set",
            "b": "Validation_Set",
            "p_left": "Train_Set",
            "p_right": "Validation_Set",
        },
        ["batch1/a.mp4", "batch1/b.mp4", "batch1/p.mp4"],
        {"a": "ann", "b": "ann"},
    )
    with pytest.raises(CorpusError, match="has 2 problems") as caught:
        read_corpus(settings)
    for problem in (
        "subject ann is in 2 splits: train, validation",
        "video batch1/p.mp4 is in 2 splits: train, validation",
    ):
        assert problem in str(caught.value)


def test_one_name_in_two_splits_is_refused(tmp_path: Path) -> None:
    settings = tree(tmp_path, {"a": "Train_Set"}, ["batch1/a.mp4"])
    write_affwild2(tmp_path, [("a", "Validation_Set", ROWS)])
    with pytest.raises(CorpusError, match="two clips are named a"):
        read_corpus(settings)


def test_two_media_of_one_name_are_refused_not_chosen_from(tmp_path: Path) -> None:
    settings = tree(tmp_path, {"a": "Train_Set"}, ["batch1/a.mp4", "batch2/a.avi"])
    with pytest.raises(ValueError, match=r"batch1/a\.mp4 and .*batch2/a\.avi have one name; keep the one"):
        read_corpus(settings)


def test_a_clip_without_a_subject_in_the_list_has_none(tmp_path: Path) -> None:
    clips = read(
        tree(tmp_path, {"a": "Train_Set", "b": "Validation_Set"}, ["batch1/a.mp4", "batch1/b.mp4"], {"a": "", "b": ""})
    )
    assert [clip.subject for clip in clips.values()] == [None, None]


def test_a_folder_that_is_no_corpus_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"corpus root .*nowhere is not a folder; correct `corpus\.root`"):
        read_corpus(CorpusSettings(format="affwild2", root=tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match=r"no clips found: is `corpus\.format` right"):
        read_corpus(CorpusSettings(format="affwild2", root=tmp_path))
    settings = tree(tmp_path, {"a": "Train_Set"}, ["batch1/a.mp4"], {"a": "ann"})
    (tmp_path / "subjects.csv").write_text("video,person\na,ann\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"subjects\.csv:1 has no column 'clip'; it has video, person"):
        read_corpus(settings)


# ------------------------------------------------------------------------------------------------ as it lies on disk

LABELS = "valence,arousal\n0.5,-0.25\n-5,-5\n-1,1\n"  # 3 rows


def settings_of(root: Path, **options: Any) -> CorpusSettings:
    return CorpusSettings(format="affwild2", root=root, **options)


def test_the_older_layout_with_what_systems_leave_in_folders(tmp_path: Path) -> None:
    labels = "\ufeff" + LABELS.replace("\n", "\r\n") + "\r\n\r\n"
    trees.grow(
        tmp_path,
        {
            "annotations/VA_Set/Training_Set/my video.txt": labels,
            "annotations/VA_Set/Training_Set/._my video.txt": "\0\0",
            "annotations/VA_Set/Validation_Set/b.TXT": LABELS,
            "annotations/VA_Set/.DS_Store": "\0",
            "annotations/EXPR_Set/Training_Set/my video.txt": "Neutral\n0\n",
        },
        ["videos/batch1/my video.MP4", "videos/batch1/._my video.MP4", "videos/new_vids/b.avi", "videos/c.mp4"],
    )
    clips, findings = trees.read(settings_of(tmp_path))
    assert {name: (clip.media_name, clip.split) for name, clip in clips.items()} == {
        "my video": ("videos/batch1/my video.MP4", "train"),
        "b": ("videos/new_vids/b.avi", "validation"),
    }
    for clip in clips.values():
        assert clip.labels is not None
        assert clip.labels.valid.tolist() == [True, False, True]
        assert clip.labels.native_range == (-1, 1)
    assert [str(problem) for problem in findings.problems] == [
        "videos without labels, left out unless `corpus.test_list` names them: c"
    ]


@pytest.mark.parametrize("split", ["Train_Set", "Training_Set"])
def test_both_names_of_the_training_folder_are_one_split(tmp_path: Path, split: str) -> None:
    trees.grow(tmp_path, {f"annotations/VA_Set/{split}/a.txt": LABELS}, ["batch1/a.mp4"])
    clips, findings = trees.read(settings_of(tmp_path))
    assert clips["a"].split == "train"
    assert trees.said(findings, "fault") == ["split validation is empty: no clip is in it (Validation_Set)"]


def test_with_videos_and_crops_the_crops_are_the_face(tmp_path: Path) -> None:
    train = "VA_Estimation_Challenge/Train_Set"
    trees.grow(
        tmp_path,
        {f"{train}/{name}.txt": LABELS for name in ("a", "p", "p_right", "x_left", "bare")},
        [
            *("batch1/a.mp4", "batch2/p.mp4", "batch1/x_left.mp4", "batch1/bare.mp4"),
            *("cropped_aligned/a/00001.jpg", "cropped_aligned/a/00003.jpg", "cropped_aligned/p/00001.jpg"),
            *("cropped_aligned/p_right/00002.jpg", "cropped_aligned_new_50_vids/x_left/00001.jpg"),
            *("cropped_aligned/other/00001.jpg", "cropped_aligned/.DS_Store"),
        ],
    )
    clips, findings = trees.read(settings_of(tmp_path))
    seen = {
        name: (clip.media_name, clip.side, clip.images and clip.images.folder.relative_to(tmp_path).as_posix())
        for name, clip in clips.items()
    }
    assert seen == {
        "a": ("batch1/a.mp4", None, "cropped_aligned/a"),
        "p": ("batch2/p.mp4", None, "cropped_aligned/p"),
        "p_right": ("batch2/p.mp4", "right", "cropped_aligned/p_right"),
        "x_left": ("batch1/x_left.mp4", None, "cropped_aligned_new_50_vids/x_left"),
        "bare": ("batch1/bare.mp4", None, None),
    }
    images = clips["a"].images
    assert images is not None
    assert (images.first, images.cropped, images.clock) == (1, True, None), "the video's frames give the times"
    assert "clip bare has no folder of crops" in trees.said(findings, "fault")
    assert trees.said(findings, "note") == ["folders of crops without labels, left out: other"]


def test_crops_alone_want_a_rate_and_keep_two_people_in_one_group(tmp_path: Path) -> None:
    train = "VA_Estimation_Challenge/Train_Set"
    trees.grow(
        tmp_path,
        {f"{train}/p_left.txt": LABELS, f"{train}/p_right.txt": LABELS, "test.txt": "q_left\r\n\r\n"},
        ["cropped_aligned/p_left/00001.jpg", "cropped_aligned/p_right/00003.jpg", "cropped_aligned/q_left/00017.jpg"],
    )
    with pytest.raises(CorpusError, match=r"crops and no video, .*: p_left, p_right; set `corpus\.rate_hz`"):
        read_corpus(settings_of(tmp_path))
    clips = read(settings_of(tmp_path, rate_hz="30000/1001", test_list=tmp_path / "test.txt"))
    step = Fraction(1001, 30000)
    for name, rows in (("p_left", 3), ("p_right", 3), ("q_left", 17)):
        images = clips[name].images
        assert clips[name].media is None
        assert images is not None
        assert images.clock == Clock.regular(step, rows), name
    assert {clip.media_name for clip in clips.values()} == {"cropped_aligned/p", "cropped_aligned/q"}
    assert (clips["q_left"].split, clips["q_left"].labels) == ("test", None)


def test_test_clips_come_from_the_organisers_list(tmp_path: Path) -> None:
    trees.grow(
        tmp_path,
        {"VA_Estimation_Challenge/Train_Set/a.txt": LABELS, "names.txt": "b_left\nc\nc_right\n\n"},
        ["batch1/a.mp4", "batch1/b.mp4", "new_vids/c.mp4"],
    )
    clips, findings = trees.read(settings_of(tmp_path, test_list=tmp_path / "names.txt"))
    seen = {name: (clip.media_name, clip.side, clip.split) for name, clip in clips.items()}
    assert seen == {
        "a": ("batch1/a.mp4", None, "train"),
        "b_left": ("batch1/b.mp4", "left", "test"),
        "c": ("new_vids/c.mp4", None, "test"),
        "c_right": ("new_vids/c.mp4", "right", "test"),
    }
    assert trees.said(findings, "note") == []
    with pytest.raises(CorpusError, match=r"none\.txt can't be read: No such file"):
        read_corpus(settings_of(tmp_path, test_list=tmp_path / "none.txt"))


def test_a_missing_video_is_its_own_clip_s_fault(tmp_path: Path) -> None:
    settings = tree(tmp_path, {"a": "Train_Set", "gone": "Validation_Set"}, ["batch1/a.mp4"])
    clips, findings = trees.read(settings)
    assert clips["gone"].media == tmp_path / "batch1" / "gone.mp4"
    assert trees.said(findings, "fault") == [f"clip gone: {tmp_path}/batch1/gone.mp4 is missing"]
    assert [clip.name for clip in read_corpus(settings)] == ["a", "gone"]


def test_two_editions_side_by_side_are_not_read_as_one(tmp_path: Path) -> None:
    trees.grow(
        tmp_path,
        {f"{top} ABAW Annotations/VA_Estimation_Challenge/Train_Set/a.txt": LABELS for top in ("Third", "Fifth")},
        ["batch1/a.mp4"],
    )
    with pytest.raises(CorpusError, match="two clips are named a"):
        read_corpus(settings_of(tmp_path))


# ------------------------------------------------------------------------------------------------ options


def test_an_option_that_the_format_would_ignore_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="labels, splits would have no effect: format affwild2 takes root, sub"):
        settings_of(tmp_path, labels="gold", splits="x.csv")
    with pytest.raises(ValidationError, match="test_list would have no effect: format sewa takes root, subjects; leav"):
        CorpusSettings(format="sewa", root=tmp_path, test_list=tmp_path)


@pytest.mark.parametrize(("given", "rate"), [(25, "25"), (29.97, "2997/100"), ("30000/1001", "30000/1001")])
def test_a_rate_is_what_is_written(tmp_path: Path, given: object, rate: str) -> None:
    assert settings_of(tmp_path, rate_hz=given).rate_hz == Fraction(rate)


@pytest.mark.parametrize("given", [0, -25, "fast", True, float("nan"), float("inf")])
def test_what_is_no_rate_is_refused(tmp_path: Path, given: object) -> None:
    with pytest.raises(ValidationError, match="rate_hz"):
        settings_of(tmp_path, rate_hz=given)


def test_subjects_that_contradict_each_other_or_the_corpus(tmp_path: Path) -> None:
    settings = tree(tmp_path, {"a": "Train_Set", "b": "Validation_Set"}, ["batch1/a.mp4", "batch1/b.mp4"], {"a": "ann"})
    (tmp_path / "subjects.csv").write_text('subject,clip,age\n"ann, b.",a,30\neve,zoe,31\n', encoding="utf-8")
    clips, findings = trees.read(settings)
    assert clips["a"].subject == "ann, b."
    assert trees.said(findings, "note") == [
        f"{tmp_path}/subjects.csv gives subjects to clips that are not in the corpus: zoe"
    ]
    (tmp_path / "subjects.csv").write_text("clip,subject\na,ann\na,eve\n", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"subjects\.csv:3 gives a the subject eve, a line above it ann"):
        read_corpus(settings)


# ------------------------------------------------------------------------------------------------ labels of a clip


def test_labels_take_the_frames_times_and_a_difference_in_number_is_noted() -> None:
    rows, frames = 7, Clock.explicit(even_ticks(5, 25), tick_seconds=Clock.regular(1, 1).tick_seconds / 90000)
    valid = np.arange(rows) != 2
    labels = ClipLabels(np.linspace(-1, 1, 2 * rows, dtype=np.float32).reshape(rows, 2), valid)
    track, note = labels.on(frames)
    assert note == "7 label rows for 5 frames"
    assert track.clock.rows(0, 5) == frames
    assert track.clock == frames.resized(7)
    np.testing.assert_array_equal(track.valid, valid)
    np.testing.assert_array_equal(track.values[valid], labels.values[valid])
    assert labels.on(frames.resized(7))[1] is None
    own = ClipLabels(labels.values, valid, Clock.regular(1, rows))
    assert own.on(frames)[0].clock == Clock.regular(1, rows)
    assert own.on(frames)[1] is None


def test_labels_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values \[N, 2\] and valid \[N\]; got \(5, 3\), \(5,\)"):
        ClipLabels(np.zeros((5, 3), np.float32), np.ones(5, bool))
    with pytest.raises(ValueError, match=r"got \(5, 2\), \(7,\)"):
        ClipLabels(np.zeros((5, 2), np.float32), np.ones(7, bool))
