"""What `check_corpus` finds by reading labels and counting frames: everything at once, nothing decoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import trees
from media import even_ticks, tone, write_media

import extract.decode as decoding
from extract.corpora import CorpusError
from extract.corpora.check import CorpusReport, check_corpus
from extract.corpora.findings import is_large, some_of
from extract.corpora.frames import FrameCounts
from extract.settings import CorpusSettings

TRAIN = "VA_Estimation_Challenge/Train_Set"
VALIDATION = "VA_Estimation_Challenge/Validation_Set"


def labels(rows: int) -> str:
    return "valence,arousal\n" + "0.5,-0.25\n" * (rows - 1) + "-5,-5\n"


def check(root: Path, **options: Any) -> CorpusReport:
    return check_corpus(CorpusSettings(format="affwild2", root=root, **options), root.parent / "memory.jsonl")


def texts(report: CorpusReport, weight: str) -> list[str]:
    return [problem.text for problem in report.problems if problem.weight == weight]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two clips of 29 and 23 frames at 25 and 30 Hz, with as many labels."""
    root = tmp_path / "corpus"
    write_media(root / "batch1/a.mp4", even_ticks(29, 25))
    write_media(root / "batch2/b.mp4", even_ticks(23, 30))
    return trees.grow(root, {f"{TRAIN}/a.txt": labels(29), f"{VALIDATION}/b.txt": labels(23)})


def test_a_sound_corpus_in_numbers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(decoding, "decode", explode)
    (root / "s.csv").write_text("clip,subject\na,ann\n", encoding="utf-8")
    report = check(root, subjects=root / "s.csv")
    assert (report.exit_code, report.problems, report.failing) == (0, (), ())
    train, validation = report.splits
    assert (train.split, train.clips, train.subjects, train.media) == ("train", 1, 1, 1)
    assert (train.label_rows, train.valid_rows) == (29, 28)
    assert train.seconds == pytest.approx(29 / 25)  # sums of floats
    assert (validation.split, validation.subjects, validation.label_rows) == ("validation", 0, 23)
    assert validation.seconds == pytest.approx(23 / 30)
    said = json.loads(json.dumps(report.as_json()))
    assert said["splits"]["train"]["valid_rows"] == 28
    assert (said["exit_code"], said["problems"]) == (0, [])


def test_a_few_rows_more_or_fewer_are_one_note_and_many_a_fault(root: Path) -> None:
    trees.grow(root, {f"{TRAIN}/a.txt": labels(31), f"{VALIDATION}/b.txt": labels(22), f"{TRAIN}/c.txt": labels(41)})
    write_media(root / "batch1/c.mp4", even_ticks(29, 25))
    report = check(root)
    assert texts(report, "note") == ["label rows and frames differ by up to 2 in 2 clips: a, b"]
    assert texts(report, "fault") == [
        "clip c: 41 label rows for 29 frames of batch1/c.mp4, 12 more: are they of this video?"
    ]
    assert (report.exit_code, report.failing) == (1, ("c",))


def test_large_is_more_than_ten_and_more_than_a_percent() -> None:
    assert [is_large(difference, 1000) for difference in (10, 11)] == [False, True]
    assert [is_large(difference, 5000) for difference in (50, 51)] == [False, True]
    assert some_of(list("abcdefg")) == "a, b, c, d, e and 2 more"


def test_crops_are_held_against_the_frames(root: Path) -> None:
    folder = "cropped_aligned"
    trees.grow(
        root,
        {f"{TRAIN}/{name}.txt": labels(29) for name in ("c", "d", "e")},
        [
            *(f"{folder}/a/{i:05d}.jpg" for i in range(1, 31)),
            *(f"{folder}/b/{i:05d}.jpg" for i in (1, 23)),
            *(f"{folder}/c/{i:05d}.jpg" for i in (0, 1)),
            *(f"{folder}/d/{i:05d}.jpg" for i in (1, 43)),
            f"{folder}/e/.DS_Store",
        ],
    )
    for name in ("c", "d", "e"):
        write_media(root / f"batch1/{name}.mp4", even_ticks(29, 25))
    report = check(root)
    where = root / folder
    assert texts(report, "fault") == [
        f"clip c: {where}/c begins with number 0; wanted 1 or more",
        f"clip d: {where}/d goes up to number 43, 14 beyond the 29 frames of batch1/d.mp4: are they of this video?",
        f"clip e: {where}/e holds no numbered picture",
    ]
    missing = (23 - 2) + (29 - 1) + (29 - 1)
    assert texts(report, "note") == [
        "crops and frames differ by up to 1 in 1 clips: a",
        f"{missing} of {29 + 23 + 29 + 29} frames (70.0 %) have no picture among those given",
    ]


def test_what_is_missing_or_broken_is_said_with_all_the_rest(root: Path) -> None:
    trees.grow(
        root,
        {f"{TRAIN}/gone.txt": labels(7), f"{TRAIN}/empty.txt": labels(7), f"{TRAIN}/far.txt": "valence,arousal\n0,7\n"},
        ["batch1/empty.mp4", "batch1/far.mp4", "batch1/idle.mp4"],
    )
    report = check(root)
    assert len(texts(report, "refusal")) == 1
    assert "far.txt: 1 valid label rows lie outside [-1, 1]" in texts(report, "refusal")[0]
    missing, broken = texts(report, "fault")
    assert missing == f"clip gone: {root}/batch1/gone.mp4 is missing"
    assert broken.startswith("clip empty: batch1/empty.mp4 can't be read: empty.mp4: ")
    assert (report.exit_code, report.failing) == (2, ("empty", "gone")), "extract would refuse it"
    assert texts(report, "note")[0].endswith(": far, idle")


def test_where_every_clip_fails_nothing_would_be_extracted(tmp_path: Path) -> None:
    report = check(trees.grow(tmp_path / "corpus", {f"{TRAIN}/a.txt": labels(7), f"{VALIDATION}/b.txt": labels(7)}))
    assert (report.exit_code, report.failing) == (2, ("a", "b"))
    with pytest.raises(CorpusError, match="nowhere is not a folder"):
        check(tmp_path / "nowhere")
    empty = check(trees.grow(tmp_path / "other", {"readme.txt": "x"}))
    assert (empty.exit_code, len(texts(empty, "refusal"))) == (2, 1)


def test_a_subject_or_video_in_two_splits_and_an_empty_split(root: Path) -> None:
    trees.grow(root, {f"{VALIDATION}/a_left.txt": labels(29), "s.csv": "clip,subject\na,ann\nb,ann\n"})
    report = check(root, subjects=root / "s.csv")
    assert texts(report, "refusal") == [
        "subject ann is in 2 splits: train, validation",
        "video batch1/a.mp4 is in 2 splits: train, validation",
    ]
    for file in (root / VALIDATION).iterdir():
        file.unlink()
    report = check(root)
    assert texts(report, "fault") == ["split validation is empty: no clip is in it (Validation_Set)"]
    assert report.exit_code == 1
    trees.grow(root, {f"{VALIDATION}/b.txt": "valence,arousal\n" + "-5,-5\n" * 23})
    report = check(root)
    assert texts(report, "note") == ["clips without a single valid label: b"]
    assert texts(report, "fault") == ["split validation has no valid label: nothing can be trained or scored on it"]


def test_labels_with_times_are_held_against_the_end_of_the_video(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    for name, seconds in (("Train_01", 2), ("Train_02", 4), ("Devel_01", 2)):
        write_media(root / f"video/{name}.mp4", even_ticks(75, 25))  # 3 s
        rows = "".join(f"x;{i / 10:.1f};0;0;0\n" for i in range(seconds * 10 + 2))
        trees.grow(root, {f"labels/{name}.csv": rows})
    report = check_corpus(CorpusSettings(format="sewa", root=root), tmp_path / "memory.jsonl")
    assert texts(report, "fault") == [
        "clip Train_02: labels go on for 1.1 s after the end of video/Train_02.mp4 (3.0 s): are they of this video?"
    ]


def test_sound_alone_has_no_frames_and_lasts_as_long_as_its_labels(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    write_media(root / "audio/Train_01.wav.mp4", None, sound=tone(200, 0.5))
    (root / "audio/Train_01.wav.mp4").rename(root / "audio/Train_01.wav")
    trees.grow(root, {"labels/Train_01.csv": "".join(f"x;{i / 10:.1f};0;0;0\n" for i in range(7))})
    report = check_corpus(CorpusSettings(format="sewa", root=root), tmp_path / "memory.jsonl")
    assert report.splits[0].seconds == pytest.approx(0.7)
    assert report.failing == ()


def test_progress_counts_clips(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = CorpusSettings(format="affwild2", root=root)
    check_corpus(settings, root.parent / "memory.jsonl", lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


# ------------------------------------------------------------------------------------------------ remembered


@pytest.fixture
def counting(root: Path) -> Callable[[], FrameCounts]:
    """The memory opened anew, as by the next command."""
    return lambda: FrameCounts(root.parent / "x.zarr.local" / "frames.jsonl")


def test_frames_are_counted_once(root: Path, counting: Callable[[], FrameCounts]) -> None:
    first, video = counting(), root / "batch1/a.mp4"
    assert (first(video).frames, first(video).end_seconds, first.files_read) == (29, Fraction(29, 25), 1)
    again = counting()
    assert (again(video), again.files_read) == (first(video), 0)
    write_media(video, even_ticks(31, 25))
    assert (again(video).frames, again.files_read) == (31, 1)


def test_a_file_without_pictures_is_not_remembered(root: Path, counting: Callable[[], FrameCounts]) -> None:
    counts, file = counting(), root / "batch1/sound.mp4"
    write_media(file, None, sound=tone(200, 0.5))
    for _ in range(2):
        with pytest.raises(decoding.MediaError, match=r"sound\.mp4: the file has no video stream"):
            counts(file)
