"""The reader of AFEW-VA on a small tree as it ships: JSON and numbered pictures a folder."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees

from cache.clock import Clock
from extract.corpora import CorpusError, read_corpus
from extract.settings import CorpusSettings


def landmarks(seed: int) -> list[list[float]]:
    """68 places in whole pixels, so that float32 holds them."""
    return np.random.default_rng(seed).integers(10, 97, (68, 2)).astype(float).tolist()


def frame(valence: float, arousal: float, places: Any) -> dict[str, Any]:
    return {"valence": valence, "arousal": arousal, "landmarks": places}


def described(frames: dict[str, Any], actor: str | None = "Tom Hanks") -> str:
    return json.dumps({"actor": actor, "frames": frames, "video_id": "001"})


FRAMES = {f"{i:05d}": frame(value, -value, landmarks(i)) for i, value in enumerate([3, -10, 0, 10, 7])}


def settings_of(root: Path, **options: Any) -> CorpusSettings:
    return CorpusSettings(format="afewva", root=root, **{"rate_hz": 25, **options})


def pictures(folder: str, numbers: range | list[int]) -> list[str]:
    return [f"{folder}/{i:05d}.png" for i in numbers]


def test_a_clip_is_read_exactly(tmp_path: Path) -> None:
    trees.grow(
        tmp_path,
        {"001/001.json": "\ufeff" + described(FRAMES), "001/._001.json": "\0", "readme.txt": "hello"},
        [*pictures("001", range(5)), "001/.DS_Store", "001/._00000.png", "001/thumb.png"],
    )
    clips, findings = trees.read(settings_of(tmp_path, rate_hz="24000/1001"))
    assert trees.said(findings, "refusal") == trees.said(findings, "fault") == []
    clip = clips["001"]
    assert (clip.media, clip.media_name, clip.split, clip.subject) == (None, "001", "train", "Tom Hanks")
    assert clip.labels is not None
    assert clip.labels.native_range == (-10, 10)
    np.testing.assert_array_equal(
        clip.labels.values, np.array([(0.3, -0.3), (-1, 1), (0, 0), (1, -1), (0.7, -0.7)], np.float32)
    )
    assert clip.images is not None
    assert clip.images.clock == Clock.regular(Fraction(1001, 24000), 5)
    assert (clip.images.folder, clip.images.first, clip.images.cropped) == (tmp_path / "001", 0, False)


def test_landmarks_become_a_box_and_five_points(tmp_path: Path) -> None:
    places = landmarks(11)
    nowhere = [[0.0, 0.0]] * 68
    frames = {"00000": frame(1, 1, places), "00001": frame(1, 1, []), "00002": frame(1, 1, nowhere)}
    trees.grow(tmp_path, {"7/7.json": described(frames)}, pictures("7", range(3)))
    faces = trees.read(settings_of(tmp_path))[0]["7"].faces
    assert faces is not None
    assert faces.points is not None
    assert faces.valid.tolist() == [True, False, False]
    xs, ys = [x for x, _ in places], [y for _, y in places]
    assert faces.boxes[0].tolist() == [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    eyes = [[sum(one[i] for one in places[first : first + 6]) / 6 for i in (0, 1)] for first in (36, 42)]
    np.testing.assert_allclose(faces.points[0], [*eyes, places[30], places[48], places[54]], rtol=1e-6)  # float32


def test_frames_without_labels_and_labels_without_pictures(tmp_path: Path) -> None:
    frames = {"00001": frame(5, 0, landmarks(1)), "00003": {"valence": 5, "arousal": None}}
    trees.grow(tmp_path, {"01/012/012.json": described(frames, actor=None)}, pictures("01/012", [0, 1, 4, 6]))
    clips, findings = trees.read(settings_of(tmp_path))
    labels = clips["012"].labels
    assert labels is not None
    assert labels.valid.tolist() == [False, True, False, False, False, False, False], "row i is picture i, up to 6"
    assert clips["012"].media_name == "01/012"
    assert clips["012"].subject is None
    assert trees.said(findings, "fault") == ["clip 012: 1 labelled frames have no picture, the first is 3"]


def test_without_a_rate_there_is_no_clock(tmp_path: Path) -> None:
    trees.grow(tmp_path, {"001/001.json": described(FRAMES)}, pictures("001", range(5)))
    with pytest.raises(CorpusError, match=r"pictures without a clock: set `corpus\.rate_hz`"):
        read_corpus(settings_of(tmp_path, rate_hz=None))


def test_splits_come_from_a_list_and_actors_keep_to_one(tmp_path: Path) -> None:
    texts = {f"00{i}/00{i}.json": described(FRAMES, actor) for i, actor in ((1, "ann"), (2, "bob"), (3, "ann"))}
    media = [name for i in (1, 2, 3) for name in pictures(f"00{i}", range(5))]
    trees.grow(tmp_path, {**texts, "splits.csv": "split,clip\ntrain,001\nvalidation,002\n"}, media)
    settings = settings_of(tmp_path, splits=tmp_path / "splits.csv")
    with pytest.raises(CorpusError, match=r"splits\.csv gives no split to 003; list every clip"):
        read_corpus(settings)
    (tmp_path / "splits.csv").write_text("clip,split\n001,train\n002,validation\n003,validation\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="subject ann is in 2 splits: train, validation"):
        read_corpus(settings)
    (tmp_path / "subjects.csv").write_text("clip,subject\n003,anna\n", encoding="utf-8")
    clips = read_corpus(settings_of(tmp_path, splits=tmp_path / "splits.csv", subjects=tmp_path / "subjects.csv"))
    assert [(clip.split, clip.subject) for clip in clips] == [
        ("train", "ann"), ("validation", "bob"), ("validation", "anna"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"001\.json is no JSON: "),
        ("[]", r'001\.json has no "frames"'),
        ('{"frames": {"00000": 3}}', r'001\.json has no "frames"'),
        ('{"frames": {"one": {}}}', r"001\.json: frame 'one' is no number"),
        (described({"00000": frame(11, 0, [])}), r"valence of frame 0 is 11; wanted a number from -10 to 10"),
        (described({"00002": frame(0, float("nan"), [])}), r"arousal of frame 2 is nan; wanted a number from -10"),
        ('{"frames": {"00000": {"valence": "3", "arousal": 0}}}', r"valence of frame 0 is '3'; wanted a number"),
        (described({"00000": frame(0, 0, [[1, 2]] * 67)}), r"the landmarks of frame 0 are not 68 pairs"),
        (described({"00000": frame(0, 0, [[1, 2], [3]])}), r"the landmarks of frame 0 are not 68 pairs"),
    ],
)  # fmt: skip
def test_a_file_that_can_not_be_read_is_named_and_the_others_are_read(tmp_path: Path, text: str, message: str) -> None:
    trees.grow(
        tmp_path,
        {"001/001.json": text, "002/002.json": described(FRAMES)},
        [*pictures("001", range(3)), *pictures("002", range(5))],
    )
    with pytest.raises(CorpusError, match=message):
        read_corpus(settings_of(tmp_path))
    assert list(trees.read(settings_of(tmp_path))[0]) == ["002"]
