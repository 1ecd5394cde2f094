"""RECOLA as AVEC 2016 and 2018 shipped it: a gold standard in ARFF, every 40 ms.

    <root>/ratings_gold_standard/{arousal,valence}/train_1.arff     2016; dev_.., test_..
    <root>/labels/<gold standard>/{arousal,valence}/train_1.arff    2018; `labels` names one where there are several
    <root>/recordings_audio/train_1.wav, recordings_video/train_1.mp4;  or recordings/audio/, recordings/video/
A file's data are `Instance_name, frameTime, GoldStandard`: seconds, [-1, 1]. The split is the first word of the name;
of test there are recordings without labels. Files that hold several recordings (train_all.arff) are left out.

Source: github.com/AudioVisualEmotionChallenge/AVEC2018 (scripts_GES/Config/GlobalsVars.py for the folders,
GoldStandardCreation/templateGS.arff for the file).
"""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from extract.clips import Clip
from extract.corpora.findings import Findings, some_of
from extract.corpora.media import visible
from extract.corpora.recordings import Recordings
from extract.corpora.series import Series, joined
from extract.corpora.text import number, read_lines, read_rows, ticks_of
from extract.settings import CorpusSettings

_SPLITS = {"train": "train", "dev": "validation", "devel": "validation", "test": "test"}
_STEP_SECONDS = Fraction(1, 25)
_COLUMNS = ["instance_name", "frametime", "goldstandard"]


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every labelled recording, and those of the test split; what is wrong goes to the findings."""
    root = settings.root
    folder = _gold_standard(settings)
    recordings = Recordings.within(root)
    findings.expect_split("train", f"{folder}/*/train_*.arff")
    findings.expect_split("validation", f"{folder}/*/dev_*.arff")
    valence, arousal = (
        {file.stem: file for file in visible(folder / name) if file.suffix.lower() == ".arff" and _split(file.stem)}
        for name in ("valence", "arousal")
    )
    for name in sorted(valence.keys() ^ arousal.keys()):
        findings.refuse(f"clip {name} has only one of {folder}/{{valence,arousal}}/{name}.arff; wanted both", name)
    clips: list[Clip] = []
    several: list[str] = []
    test = {name for name in recordings.names if _split(name) == "test"} - (valence.keys() ^ arousal.keys())
    for name in sorted((valence.keys() & arousal.keys()) | test):
        with findings.refusing(name):
            labels = None
            if name in valence:
                both = _series(valence[name]), _series(arousal[name])
                if both[0] is None or both[1] is None:
                    several.append(name)
                    continue
                labels, note = joined(both[0], both[1], _STEP_SECONDS)
                if note:
                    findings.note(note, name)
            clips.append(recordings.clip(name, _split(name) or "train", labels, findings))
    if several:
        findings.note(f"files with several recordings in them, left out: {some_of(several)}")
    return clips


def _gold_standard(settings: CorpusSettings) -> Path:
    """The folder with arousal/ and valence/ in it. Raises ValueError where none or several could be meant."""
    known = [settings.root / "ratings_gold_standard", *visible(settings.root / "labels"), settings.root / "labels"]
    found = [path for path in known if (path / "arousal").is_dir() and (path / "valence").is_dir()]
    named = [path for path in found if path.name == settings.labels]
    standards = [path for path in found if path.name != "individual"]  # the raters' own files, as CSV
    if settings.labels is not None and not named:
        there = ", ".join(path.name for path in found) or "(none)"
        raise ValueError(f"`corpus.labels` is {settings.labels}; {settings.root} has the gold standards {there}")
    chosen = named or standards
    if not chosen:
        raise ValueError(
            f"{settings.root} has no gold standard: no ratings_gold_standard/ or labels/*/ with arousal/ and valence/"
        )
    if len(chosen) > 1:
        names = ", ".join(path.name for path in chosen)
        raise ValueError(f"{settings.root} has several gold standards: {names}; name one in `corpus.labels`")
    return chosen[0]


def _split(name: str) -> str | None:
    return _SPLITS.get(name.partition("_")[0].lower())


def _series(file: Path) -> Series | None:
    """The gold standard of one recording; None for a file of several."""
    lines = [line.strip().lower() for line in read_lines(file)]
    if "@data" not in lines:
        raise ValueError(f"{file} has no line @data; wanted an ARFF file")
    data = lines.index("@data") + 1
    columns = [found[1] for line in lines[:data] if (found := re.match(r"@attribute\s+'?\"?(\w+)", line))]
    if columns[:3] != _COLUMNS:
        raise ValueError(
            f"{file} has the attributes {', '.join(columns)}; wanted Instance_name, frameTime, GoldStandard"
        )
    rows = [row for row in read_rows(file, ",", skip=data) if row[1] != [""] and not row[1][0].startswith("%")]
    for line, cells in rows:
        if len(cells) != len(columns):
            raise ValueError(f"{file}:{line} has {len(cells)} cells; wanted {len(columns)}, as attributes")
    if len({cells[0] for _, cells in rows}) > 1:
        return None
    ticks = ticks_of(((line, cells[1]) for line, cells in rows), _STEP_SECONDS, Fraction(1), file)
    values = [number(cells[2], file, line, "GoldStandard") for line, cells in rows]
    return Series(file, ticks, values, [line for line, _ in rows])
