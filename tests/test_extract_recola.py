"""The reader of RECOLA on a small tree as it ships: six raters, sound and video apart."""

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

PLACE = "RECOLA-Annotation/emotional_behaviour"
HEADER = "time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3\n"
STEP = Fraction(1, 25)


def ratings(count: int, scale: float, first: int = 0) -> str:
    """Rater k says scale * k / 8 at every time; mean over 1..6: 3.5 * scale / 8."""
    return HEADER + "".join(
        f"{i * 0.04:.2f};" + ";".join(str(scale * k / 8) for k in range(1, 7)) + "\n"
        for i in range(first, first + count)
    )


def settings_of(root: Path, **options: Any) -> CorpusSettings:
    return CorpusSettings(format="recola", root=root, **options)


def grown(root: Path, name: str = "P16", valence: str = ratings(7, 1), arousal: str = ratings(7, -1)) -> CorpusSettings:
    trees.grow(
        root,
        {f"{PLACE}/valence/{name}.csv": valence, f"{PLACE}/arousal/{name}.csv": arousal},
        [f"RECOLA-Video-recordings/{name}.mp4", f"RECOLA-Audio-recordings/{name}.wav"],
    )
    return settings_of(root)


def test_the_mean_of_the_raters_with_sound_and_video_apart(tmp_path: Path) -> None:
    grown(tmp_path)
    settings = grown(tmp_path, "P17", "\ufeff" + ratings(3, 1).replace("\n", "\r\n") + "\r\n", ratings(3, -1))
    trees.grow(
        tmp_path,
        {f"{PLACE}/valence/._P16.csv": "\0", "RECOLA-Audio_timings/P16.csv": "start;stop\n"},
        ["RECOLA-Video-recordings/P18.mp4", "RECOLA-Video-recordings/.DS_Store"],
    )
    clips, findings = trees.read(settings)
    clip = clips["P16"]
    assert (clip.media_name, clip.split, clip.subject) == ("RECOLA-Video-recordings/P16.mp4", "train", "P16")
    assert clip.sound == tmp_path / "RECOLA-Audio-recordings/P16.wav"
    assert clip.labels is not None
    assert clip.labels.clock == Clock.regular(STEP, 7)
    np.testing.assert_array_equal(clip.labels.values, [(3.5 / 8, -3.5 / 8)] * 7)
    assert trees.said(findings, "note") == ["recordings without labels, left out: P18"]
    assert trees.said(findings, "refusal") == trees.said(findings, "fault") == []


def test_one_rater_or_the_gold_standard_can_be_chosen(tmp_path: Path) -> None:
    grown(tmp_path)
    gold = "time,gold standard\n" + "".join(f"{i / 25},{i / 16}\n" for i in range(5))
    trees.grow(tmp_path, {f"{PLACE}/gold_standard/{name}/P16.csv": gold for name in ("valence", "arousal")})
    chosen = {
        name: trees.read(settings_of(tmp_path, labels=name))[0]["P16"].labels
        for name in ("raters", "FM2", "FF3", "gold")
    }
    means = {name: labels.values[:, 0].tolist() for name, labels in chosen.items() if labels is not None}
    assert means == {"raters": [3.5 / 8] * 7, "FM2": [0.25] * 7, "FF3": [0.75] * 7, "gold": [i / 16 for i in range(5)]}
    with pytest.raises(
        CorpusError, match=r"P16\.csv:1 has the raters FM1, FM2, FM3, FF1, FF2, FF3; `corpus.labels` is F"
    ):
        read_corpus(settings_of(tmp_path, labels="FM4"))


def test_a_gold_standard_that_nobody_put_there(tmp_path: Path) -> None:
    grown(tmp_path)
    with pytest.raises(CorpusError, match=r"gold_standard/.* hold no CSV; `corpus\.labels` is gold"):
        read_corpus(settings_of(tmp_path, labels="gold"))


def test_rows_that_only_one_dimension_has_are_invalid(tmp_path: Path) -> None:
    clips, findings = trees.read(grown(tmp_path, valence=ratings(11, 1, first=2), arousal=ratings(11, 1)))
    labels = clips["P16"].labels
    assert labels is not None
    assert labels.clock == Clock.regular(STEP, 13)
    assert labels.valid.tolist() == [False] * 2 + [True] * 9 + [False] * 2
    assert trees.said(findings, "note")[0].endswith("arousal/P16.csv 11: 4 are in one only")


@pytest.mark.parametrize(
    ("valence", "message"),
    [
        (HEADER + "0.00;0;0;0;0;0;0\n0.05;0;0;0;0;0;0\n", r"P16\.csv:3: the time 0\.05 is not a whole number of st"),
        (HEADER + "0.00;0;0;0;0;0\n", r"P16\.csv:2 has 6 cells; line 1 has 7"),
        (HEADER + "0.00;0;2;0;0;0;-2\n", r"P16\.csv: 1 values lie outside \[-1, 1\], the first is line 2: 2"),
        ("FM1;FM2\n0;0\n", r"P16\.csv:1 has the columns FM1, FM2; wanted time, then a column a rater"),
        (ratings(13, 1) + "0.56;0;0;0;0;0;x\n", r"P16\.csv:15: FF3 is 'x'; wanted a number"),
    ],
)  # fmt: skip
def test_ratings_that_can_not_be_used(tmp_path: Path, valence: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_corpus(grown(tmp_path, valence=valence, arousal=valence))


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    settings = grown(tmp_path)
    trees.grow(tmp_path, empty=["RECOLA-Audio-recordings-norm/P16.wav"])
    with pytest.raises(CorpusError, match=r"recordings/P16\.wav and .*norm/P16\.wav have one name; keep the one"):
        read_corpus(settings)


def test_splits_from_a_list(tmp_path: Path) -> None:
    for name in ("P16", "P17", "P19"):
        grown(tmp_path, name)
    trees.grow(tmp_path, {"s.csv": "clip;split\nP16;train\nP17;validation\nP19;train\n"})
    clips = read_corpus(settings_of(tmp_path, splits=tmp_path / "s.csv"))
    assert [(clip.name, clip.split) for clip in clips] == [("P16", "train"), ("P17", "validation"), ("P19", "train")]
