"""The reader of Aff-Wild (2017) on a small tree as it ships: valence and arousal in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees

from extract.corpora import CorpusError, read_corpus
from extract.settings import CorpusSettings

PLACE = "annotations/train"


def values(rows: int, sign: float) -> str:
    return "".join(f"{sign * i / 1000:g}\n" for i in range(rows))


def settings_of(root: Path, **options: Any) -> CorpusSettings:
    return CorpusSettings(format="affwild", root=root, **options)


def grown(root: Path, valence: str, arousal: str, name: str = "105") -> CorpusSettings:
    trees.grow(
        root,
        {f"{PLACE}/valence/{name}.txt": valence, f"{PLACE}/arousal/{name}.txt": arousal},
        [f"videos/train/{name}.AVI"],
    )
    return settings_of(root)


def test_a_small_tree_is_read_exactly(tmp_path: Path) -> None:
    settings = grown(tmp_path, "\ufeff0.5\r\n-1\r\n0\r\n\r\n", "-0.25\n1\n0.125\n")
    trees.grow(
        tmp_path,
        {f"{PLACE}/valence/.DS_Store": "\0", f"{PLACE}/arousal/._105.txt": "\0\0"},
        ["videos/test/9.mp4", "videos/train/11.mp4", "bboxes/train/105/0.pts"],
    )
    clips, findings = trees.read(settings)
    assert {name: (clip.media_name, clip.split) for name, clip in clips.items()} == {
        "105": ("videos/train/105.AVI", "train"),
        "9": ("videos/test/9.mp4", "test"),
    }
    labels = clips["105"].labels
    assert labels is not None
    assert labels.clock is None
    np.testing.assert_array_equal(labels.values, [(0.5, -0.25), (-1, 1), (0, 0.125)])
    assert clips["9"].labels is None
    assert trees.said(findings, "note") == ["videos without labels, left out: 11"]


def test_counts_of_the_two_that_differ_by_a_few_leave_rows_invalid(tmp_path: Path) -> None:
    clips, findings = trees.read(grown(tmp_path, values(101, 1), values(97, -1)))
    labels = clips["105"].labels
    assert labels is not None
    assert labels.valid.tolist() == [True] * 97 + [False] * 4
    folder = tmp_path / PLACE
    assert trees.said(findings, "note") == [
        f"{folder}/valence/105.txt has 101 rows, {folder}/arousal/105.txt 97: 4 are in one only"
    ]


@pytest.mark.parametrize(
    ("valence", "arousal", "message"),
    [
        (values(113, 1), values(101, 1), r"valence/105\.txt has 113 rows, .*arousal/105\.txt 101: 12 are in one only"),
        ("0\n0.5x\n", "0\n0\n", r"valence/105\.txt:2: the value is '0\.5x'; wanted a number"),
        ("0\n0\n", "0\n-1.5\n", r"arousal/105\.txt: 1 values lie outside \[-1, 1\], the first is line 2: -1\.5"),
        ("0\n0\n", "0\ninf\n", r"arousal/105\.txt:2: the value is 'inf'; wanted a number"),
        ("valence\n0\n", "0\n0\n", r"valence/105\.txt:1: the value is 'valence'; wanted a number"),
    ],
)  # fmt: skip
def test_labels_that_can_not_be_used(tmp_path: Path, valence: str, arousal: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_corpus(grown(tmp_path, valence, arousal))


def test_half_of_the_labels_is_refused(tmp_path: Path) -> None:
    trees.grow(tmp_path, {f"{PLACE}/valence/3.txt": "0\n", f"{PLACE}/arousal/5.txt": "0\n"})
    _, findings = trees.read(settings_of(tmp_path))
    assert [text.partition(" of ")[0] for text in trees.said(findings, "refusal")] == [
        "clip 3 has only one", "clip 5 has only one",
    ]  # fmt: skip


def test_a_validation_split_is_made_by_a_list(tmp_path: Path) -> None:
    grown(tmp_path, "0\n", "0\n", "1")
    grown(tmp_path, "0\n", "0\n", "2")
    trees.grow(tmp_path, {"splits.csv": "clip,split\n1,train\n2,validation\n"}, ["videos/test/3.mp4"])
    clips = read_corpus(settings_of(tmp_path, splits=tmp_path / "splits.csv"))
    assert [clip.split for clip in clips] == ["train", "validation", "test"], "test clips needn't be listed"
