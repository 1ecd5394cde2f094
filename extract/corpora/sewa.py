"""SEWA as the AVEC challenges of 2017 to 2019 shipped it: labels every 100 ms, media or features beside them.

    <root>/labels/Train_DE_01.csv       name;timestamp;arousal;valence;liking, seconds, [-1, 1]; Devel_.., Test_..
    <root>/audio*/Train_DE_01.wav       where there are recordings; features alone are enough
    <root>/video*/Train_DE_01.avi
The files of 2017 and 2018 have no header, those of 2019 have one. The split is the first word of the name; of Test
there are recordings without labels. Liking is not read.

Source: the baselines github.com/AudioVisualEmotionChallenge/AVEC2018 (scripts_CES/CES_data.py: no header) and AVEC2019
(Baseline_systems/CES/CES_data.py: columns by name; Baseline_features_extraction: audio/, video/).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from extract.clips import Clip, ClipLabels
from extract.corpora.findings import Findings
from extract.corpora.media import visible
from extract.corpora.recordings import Recordings
from extract.corpora.series import Series, joined
from extract.corpora.text import number, read_rows, ticks_of
from extract.settings import CorpusSettings

_SPLITS = {"train": "train", "devel": "validation", "test": "test"}
_STEP_SECONDS = Fraction(1, 10)
_COLUMNS = ("name", "timestamp", "arousal", "valence")


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every labelled clip, and the recordings of the test split; what is wrong goes to the findings."""
    root = settings.root
    recordings = Recordings.within(root)
    findings.expect_split("train", "labels/Train_*.csv")
    findings.expect_split("validation", "labels/Devel_*.csv")
    files = {file.stem: file for file in visible(root / "labels") if file.suffix.lower() == ".csv"}
    for name in sorted(files):
        if _split(name) is None:
            findings.refuse(f"{files[name]}: the name begins with no split; wanted Train_, Devel_ or Test_", name)
    test = {name for name in recordings.names if _split(name) == "test"}
    clips: list[Clip] = []
    for name in sorted({*files, *test}):
        split = _split(name)
        if split is None:
            continue
        with findings.refusing(name):
            labels = _labels(files[name]) if name in files else None
            clips.append(recordings.clip(name, split, labels, findings))
    return clips


def _split(name: str) -> str | None:
    return _SPLITS.get(name.partition("_")[0].lower())


def _labels(file: Path) -> ClipLabels:
    rows = read_rows(file, ";")
    columns = list(_COLUMNS)
    if rows and rows[0][1][0].lower() == "name":
        columns = [name.lower() for name in rows.pop(0)[1]]
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"{file}:1 has no column {', '.join(missing)}; wanted name;timestamp;arousal;valence;liking")
    for line, cells in rows:
        if len(cells) < len(_COLUMNS):
            raise ValueError(f"{file}:{line} is {';'.join(cells)!r}; wanted name;timestamp;arousal;valence;liking")
    lines = [line for line, _ in rows]
    time, arousal, valence = (columns.index(name) for name in ("timestamp", "arousal", "valence"))
    ticks = ticks_of(((line, cells[time]) for line, cells in rows), _STEP_SECONDS, Fraction(1), file)
    valence_series, arousal_series = (
        Series(file, ticks, [number(cells[i], file, line, what) for line, cells in rows], lines)
        for i, what in ((valence, "valence"), (arousal, "arousal"))
    )
    return joined(valence_series, arousal_series, _STEP_SECONDS)[0]
