"""The reader of AVEC's gold standards on small trees as 2016 and 2018 shipped them."""

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

HEAD = """@relation GOLDSTANDARD

@attribute Instance_name string
@attribute frameTime numeric
@attribute GoldStandard numeric


@data

"""


def arff(name: str, count: int = 5, scale: float = 1) -> str:
    return HEAD + "".join(f"{name},{i * 4 / 100:g},{scale * i / 16:g}\n" for i in range(count))


def settings_of(root: Path, **options: Any) -> CorpusSettings:
    return CorpusSettings(format="avec", root=root, **options)


def gold(place: str, *names: str) -> dict[str, str]:
    return {
        f"{place}/{dimension}/{name}.arff": arff(name, scale=scale)
        for name in names
        for dimension, scale in (("valence", 1), ("arousal", -1))
    }


def test_the_tree_of_2016(tmp_path: Path) -> None:
    place = "ratings_gold_standard"
    texts = gold(place, "train_1", "dev_1") | {f"{place}/arousal/._train_1.arff": "\0"}
    texts[f"{place}/valence/train_1.arff"] = texts[f"{place}/valence/train_1.arff"].replace("\n", "\r\n") + "\r\n"
    for dimension in ("valence", "arousal"):
        texts[f"{place}/{dimension}/train_all.arff"] = arff("train_1") + "train_2,0,0\n"
    trees.grow(
        tmp_path,
        texts,
        [
            *(f"recordings_audio/{name}.wav" for name in ("train_1", "dev_1", "test_1")),
            *(f"recordings_video/{name}.mp4" for name in ("train_1", "dev_1", "test_1")),
        ],
    )
    clips, findings = trees.read(settings_of(tmp_path))
    assert {name: (clip.media_name, clip.split) for name, clip in clips.items()} == {
        "dev_1": ("recordings_video/dev_1.mp4", "validation"),
        "test_1": ("recordings_video/test_1.mp4", "test"),
        "train_1": ("recordings_video/train_1.mp4", "train"),
    }
    clip = clips["train_1"]
    assert clip.sound == tmp_path / "recordings_audio/train_1.wav"
    assert clip.labels is not None
    assert clip.labels.clock == Clock.regular(Fraction(1, 25), 5)
    np.testing.assert_array_equal(clip.labels.values, [(i / 16, -i / 16) for i in range(5)])
    assert clips["test_1"].labels is None
    assert [str(problem) for problem in findings.problems] == [
        "files with several recordings in them, left out: train_all"
    ]


def test_the_tree_of_2018_with_several_gold_standards(tmp_path: Path) -> None:
    trees.grow(
        tmp_path,
        gold("labels/gs_1", "train_1", "dev_1")
        | gold("labels/gs_2", "train_1", "dev_1", "dev_2")
        | {f"labels/individual/{name}/train_1.csv": "time;FM1\n0;0\n" for name in ("valence", "arousal")},
        ["recordings/audio/train_1.wav", "recordings/audio/dev_1.wav"],
    )
    with pytest.raises(CorpusError, match=r"has several gold standards: gs_1, gs_2; name one in `corpus\.labels`"):
        read_corpus(settings_of(tmp_path))
    clips = read_corpus(settings_of(tmp_path, labels="gs_1"))
    assert [(clip.name, clip.media_name, clip.sound) for clip in clips] == [
        ("dev_1", "recordings/audio/dev_1.wav", None), ("train_1", "recordings/audio/train_1.wav", None),
    ]  # fmt: skip
    assert len(read_corpus(settings_of(tmp_path, labels="gs_2"))) == 3
    with pytest.raises(
        CorpusError, match=r"`corpus\.labels` is gs_3; .* has the gold standards gs_1, gs_2, individual"
    ):
        read_corpus(settings_of(tmp_path, labels="gs_3"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,value\n0,0\n", r"train_1\.arff has no line @data; wanted an ARFF file"),
        (HEAD.replace("frameTime", "frame"), r"has the attributes instance_name, frame, goldstandard; wanted Inst"),
        (HEAD + "a,0\n", r"train_1\.arff:10 has 2 cells; wanted 3, as attributes"),
        (HEAD + "a,0.03,0\n", r"train_1\.arff:10: the time 0\.03 is not a whole number of steps of 1/25 s"),
        (HEAD + "a,0,0\na,0.04,-2\n", r"train_1\.arff: 1 values lie outside \[-1, 1\], the first is line 11: -2"),
        (HEAD + "a,0,low\n", r"train_1\.arff:10: GoldStandard is 'low'; wanted a number"),
    ],
)  # fmt: skip
def test_files_that_can_not_be_used(tmp_path: Path, text: str, message: str) -> None:
    trees.grow(tmp_path, {f"ratings_gold_standard/{name}/train_1.arff": text for name in ("valence", "arousal")})
    with pytest.raises(CorpusError, match=message):
        read_corpus(settings_of(tmp_path))


def test_a_value_that_is_not_known_is_not_valid(tmp_path: Path) -> None:
    texts = gold("ratings_gold_standard", "train_1")
    texts["ratings_gold_standard/arousal/train_1.arff"] = HEAD + "% a remark\na,0,0.5\na,0.04,?\na,0.08,0.5\n"
    texts["ratings_gold_standard/valence/train_1.arff"] = arff("a", 3)
    labels = trees.read(settings_of(trees.grow(tmp_path, texts)))[0]["train_1"].labels
    assert labels is not None
    assert labels.valid.tolist() == [True, False, True]


def test_a_folder_without_a_gold_standard(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no gold standard: no ratings_gold_standard/ or labels/"):
        read_corpus(settings_of(tmp_path))
