"""Aff-Wild of 2017, the challenge before Aff-Wild2: valence and arousal in separate files.

    <root>/annotations/train/{arousal,valence}/<video>.txt      no header, a value a line and video frame, in [-1, 1]
    <root>/videos/{train,test}/<video>.mp4                      or .avi; those in test/ have no labels
It ships with one labelled split. `splits` makes a validation split of it; without it, all of it is `train`. The boxes
and landmarks that come with it (`bboxes/`, `landmarks/`) are not read.

Source: https://ibug.doc.ic.ac.uk/resources/first-affect-wild-challenge/ and the archive that it links,
aff_wild_annotations_bboxes_landmarks_new.
"""

from __future__ import annotations

from pathlib import Path

from extract.clips import Clip
from extract.corpora.findings import Findings, some_of
from extract.corpora.media import VIDEO, find_media, relative, visible
from extract.corpora.series import Series, joined
from extract.corpora.text import number, read_lines
from extract.settings import CorpusSettings


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every labelled clip, and the test videos; what is wrong goes to the findings."""
    root = settings.root
    labels = root / "annotations" / "train"
    media = find_media([root / "videos" / "train"], VIDEO)
    valence, arousal = (
        {file.stem: file for file in visible(labels / name) if file.suffix.lower() == ".txt"}
        for name in ("valence", "arousal")
    )
    for name in sorted(valence.keys() ^ arousal.keys()):
        findings.refuse(f"clip {name} has only one of {labels}/{{valence,arousal}}/{name}.txt; wanted both", name)
    clips: list[Clip] = []
    for name in sorted(valence.keys() & arousal.keys()):
        with findings.refusing(name):
            path = media.one(name) or root / "videos" / "train" / f"{name}.mp4"
            made, note = joined(_series(valence[name]), _series(arousal[name]), None)
            if note:
                findings.note(note, name)
            clips.append(Clip(name=name, media=path, media_name=relative(path, root), split="train", labels=made))
    if idle := sorted(media.keys() - valence.keys() - arousal.keys()):
        findings.note(f"videos without labels, left out: {some_of(idle)}")
    test = find_media([root / "videos" / "test"], VIDEO)
    for name in sorted(test):
        with findings.refusing(name):
            video = test.one(name)
            assert video is not None
            clips.append(Clip(name=name, media=video, media_name=relative(video, root), split="test"))
    return clips


def _series(file: Path) -> Series:
    values = [number(line.strip(), file, i, "the value") for i, line in enumerate(read_lines(file), 1)]
    return Series(file, list(range(len(values))), values, list(range(1, len(values) + 1)))
