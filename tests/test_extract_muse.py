"""The reader of MuSe on small trees as the challenges shipped it: a CSV a dimension, holes between segments."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trees

from cache.clock import Clock
from extract.corpora import CorpusError, read_corpus
from extract.settings import CorpusSettings

MILLISECOND = Fraction(1, 1000)


def labels_of(times: list[int], scale: float = 1) -> str:
    return "timestamp,value,segment_id\n" + "".join(
        f"{time},{scale * i / 16:g},{1 + i // 3}\n" for i, time in enumerate(times)
    )


def settings_of(root: Path, **options: Any) -> CorpusSettings:
    return CorpusSettings(format="muse", root=root, **options)


def texts_of(*names: str, arousal: str = "arousal", times: list[int] | None = None) -> dict[str, str]:
    times = times or [0, 500, 1000, 1500, 2000]
    return {
        f"label_segments/{dimension}/{name}.csv": labels_of(times, scale)
        for name in names
        for dimension, scale in (("valence", 1), (arousal, -1))
    }


def test_a_small_tree_is_read_exactly(tmp_path: Path) -> None:
    trees.grow(
        tmp_path,
        {
            **texts_of("1", "12"),
            **texts_of("3", times=[15000, 15500, 31000, 31500]),
            "label_segments/valence/.DS_Store": "\0",
            "metadata/partition.csv": "\ufeffId,Proposal\r\n1,train\r\n12,devel\r\n3,train\r\n4,test\r\n\r\n",
        },
        ["raw_data/audio/1.wav", "raw_data/audio/3.wav", "raw_data/audio/4.wav", "raw_data/audio/12.wav"],
    )
    clips, findings = trees.read(settings_of(tmp_path))
    assert {name: (clip.media_name, clip.split) for name, clip in clips.items()} == {
        "1": ("raw_data/audio/1.wav", "train"),
        "12": ("raw_data/audio/12.wav", "validation"),
        "3": ("raw_data/audio/3.wav", "train"),
        "4": ("raw_data/audio/4.wav", "test"),
    }
    first, holed = clips["1"].labels, clips["3"].labels
    assert first is not None
    assert holed is not None
    assert first.clock == Clock.regular(Fraction(1, 2), 5)
    np.testing.assert_array_equal(first.values, [(i / 16, -i / 16) for i in range(5)])
    assert holed.clock == Clock.explicit([15000, 15500, 31000, 31500], MILLISECOND)
    assert clips["4"].labels is None
    assert findings.problems == []


def test_values_that_the_challenge_kept_are_not_valid(tmp_path: Path) -> None:
    kept = "timestamp,segment_id,value\n0,1,\n500,1,nan\n"
    trees.grow(
        tmp_path,
        {
            **{f"label_segments/{name}/2.csv": kept for name in ("valence", "arousal")},
            **texts_of("1"),
            "partition.csv": "id,partition\n1,train\n2,test\n",
        },
    )
    labels = trees.read(settings_of(tmp_path))[0]["2"].labels
    assert labels is not None
    assert labels.valid.tolist() == [False, False]


def test_arousal_under_another_name(tmp_path: Path) -> None:
    trees.grow(tmp_path, {**texts_of("1", arousal="physio-arousal"), "partition.csv": "id,partition\n1,train\n"})
    with pytest.raises(CorpusError, match=r"label_segments holds physio-arousal, valence; wanted arousal: name"):
        read_corpus(settings_of(tmp_path))
    assert [clip.name for clip in read_corpus(settings_of(tmp_path, labels="physio-arousal"))] == ["1"]


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ("id,partition\n1,train\n1,devel\n", r"partition\.csv:3 puts 1 in a second split"),
        ("id,partition\n1,training\n", r"partition\.csv:2 is '1,training'; wanted an id and train, devel or test"),
        ("id,partition\n2,test\n", r"clip 1 has labels, but .*partition\.csv doesn't list it"),
        (None, r"has no partition\.csv, nor metadata/partition\.csv"),
    ],
)  # fmt: skip
def test_partitions_that_can_not_be_used(tmp_path: Path, partition: str | None, message: str) -> None:
    trees.grow(tmp_path, {**texts_of("1"), **({"partition.csv": partition} if partition else {})})
    with pytest.raises(CorpusError, match=message):
        read_corpus(settings_of(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timestamp,label\n0,0\n", r"1\.csv:1 has no column 'value'"),
        ("timestamp,value\n0.5,0\n", r"1\.csv:2: the time 0\.5 is not a whole number of steps of 1/1000 s"),
        ("timestamp,value\n500,0\n0,0\n", r"1\.csv:3: the time 0 is not later than that of the line before"),
        ("timestamp,value\n0,1.5\n", r"1\.csv: 1 values lie outside \[-1, 1\], the first is line 2: 1\.5"),
    ],
)  # fmt: skip
def test_labels_that_can_not_be_used(tmp_path: Path, text: str, message: str) -> None:
    trees.grow(tmp_path, {**texts_of("1"), "partition.csv": "id,partition\n1,train\n"})
    (tmp_path / "label_segments/valence/1.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        read_corpus(settings_of(tmp_path))


def test_labels_that_are_missing(tmp_path: Path) -> None:
    trees.grow(tmp_path, {**texts_of("1", "2"), "partition.csv": "id,partition\n1,train\n2,devel\n3,train\n"})
    (tmp_path / "label_segments/arousal/2.csv").unlink()
    _, findings = trees.read(settings_of(tmp_path))
    assert [text.partition(" of ")[0] for text in trees.said(findings, "refusal")] == ["clip 2 has only one"]
    assert any(text.startswith("clip 3 of ") for text in trees.said(findings, "fault"))
