"""RECOLA: ratings of six people every 40 ms, sound and video as separate recordings.

    <root>/[RECOLA-Annotation/]emotional_behaviour/{arousal,valence}/P16.csv    time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3
    <root>/[RECOLA-Annotation/]emotional_behaviour/gold_standard/{arousal,valence}/P16.csv      time and one column
    <root>/RECOLA-Video-recordings/P16.mp4      <root>/RECOLA-Audio-recordings/P16.wav
Times in seconds, values in [-1, 1]. `labels: raters` (the default) is the mean over the raters; a rater's name takes
that one; `gold` reads the gold standard, which RECOLA itself does not ship: people put theirs there. A subject is a
participant. It ships without splits: `splits`, or all of it is `train`.

Source: https://diuf.unifr.ch/main/diva/recola/ ; the separator, the blanks in the header and 7501 rows of 0.04 s are
those of the authors' own scripts (AVEC 2016's gold standard, frametime = 0:0.04:300).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from extract.clips import Clip
from extract.corpora.findings import Findings, some_of
from extract.corpora.media import visible
from extract.corpora.recordings import Recordings
from extract.corpora.series import Series, joined
from extract.corpora.text import ticks_of
from extract.settings import CorpusSettings
from extract.table import read_table

_STEP_SECONDS = Fraction(1, 25)


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every participant with ratings; what is wrong goes to the findings."""
    root = settings.root
    places = [root, *(path for path in visible(root) if "annotation" in path.name.lower())]
    folder = next((place / "emotional_behaviour" for place in places if (place / "emotional_behaviour").is_dir()), None)
    if folder is None:
        return []
    chosen = settings.labels or "raters"
    if chosen == "gold":
        folder = folder / "gold_standard"
    recordings = Recordings.within(root)
    valence, arousal = (
        {file.stem: file for file in visible(folder / name) if file.suffix.lower() == ".csv"}
        for name in ("valence", "arousal")
    )
    for name in sorted(valence.keys() ^ arousal.keys()):
        findings.refuse(f"clip {name} has only one of {folder}/{{valence,arousal}}/{name}.csv; wanted both", name)
    if not valence and not arousal:
        findings.refuse(f"{folder}/{{valence,arousal}} hold no CSV; `corpus.labels` is {chosen}")
    clips: list[Clip] = []
    for name in sorted(valence.keys() & arousal.keys()):
        with findings.refusing(name):
            labels, note = joined(_series(valence[name], chosen), _series(arousal[name], chosen), _STEP_SECONDS)
            if note:
                findings.note(note, name)
            clips.append(recordings.clip(name, "train", labels, findings, subject=name))
    if idle := sorted(recordings.names - {clip.name for clip in clips} - (valence.keys() ^ arousal.keys())):
        findings.note(f"recordings without labels, left out: {some_of(idle)}")
    return clips


def _series(file: Path, chosen: str) -> Series:
    table = read_table(file)
    raters = list(table.names[1:])
    if table.names[0].lower() != "time" or not raters:
        raise ValueError(f"{file}:1 has the columns {', '.join(table.names)}; wanted time, then a column a rater")
    if chosen == "gold" and len(raters) > 1:
        raise ValueError(f"{file}:1 has the columns {', '.join(raters)}; a gold standard has one beside the time")
    if chosen not in ("gold", "raters", *raters):
        raise ValueError(f"{file}:1 has the raters {', '.join(raters)}; `corpus.labels` is {chosen}")
    times = zip(table.numbers, table.texts(table.names[0]), strict=True)
    ticks = ticks_of(times, _STEP_SECONDS, Fraction(1), file)
    ratings = table.values([chosen] if chosen in raters else raters)  # [N, raters]
    for one in ratings.T:  # a mean would hide a rater who left the range
        Series(file, ticks, one.tolist(), list(table.numbers)).within(1)
    return Series(file, ticks, ratings.mean(1).tolist(), list(table.numbers))
