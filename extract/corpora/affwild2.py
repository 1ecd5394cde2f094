"""Aff-Wild2 as the ABAW challenges ship it: a text file of labels a clip, and its video, its face crops, or both.

    <root>/[videos/]{batch1,batch2,new_vids}/<video>.mp4                        or .avi; also all of them in videos/
    <root>/cropped_aligned[_new_50_vids]/<clip>/00001.jpg                       112 x 112; a missing number: no face
    <root>/[annotations/]VA_Estimation_Challenge/{Train_Set,Validation_Set}/<clip>.txt
    <root>/annotations/VA_Set/{Training_Set,Train_Set,Validation_Set}/<clip>.txt    the older layout
A clip is a video, or `<video>_left`, `<video>_right`: two people of one video. A label file's first line is
`valence,arousal`; then one `v,a` line a video frame, in [-1, 1], where -5 in either column marks a row without
annotation. Crop number n is frame n - 1. With video and crops, the crops are the face, the video gives times and
sound; crops alone get their times from `rate_hz`. Test clips have no labels: `test_list` is the organisers' text file
of their names, one a line.

Source: https://ibug.doc.ic.ac.uk/resources/aff-wild2/ (header, one line a frame, range); the folders are those that
published entries read (batch1, batch2: github.com/kuhnkeF/ABAW2020TNT issue 5).
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import numpy as np

from cache.clock import Clock
from extract.clips import Clip, ClipLabels, Images, Side
from extract.corpora.findings import Findings, some_of
from extract.corpora.media import VIDEO, Media, find_media, picture_numbers, relative, visible
from extract.corpora.text import read_lines
from extract.settings import CorpusSettings

_SPLITS = {"train_set": "train", "training_set": "train", "validation_set": "validation"}
_LABELS = ("va_estimation_challenge", "va_set")
_UNANNOTATED = -5.0


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every labelled clip, and those of the test list; what is wrong goes to the findings."""
    root = settings.root
    media = find_media(_video_folders(root), VIDEO)
    crops = _crops(root, findings)
    findings.expect_split("train", "Train_Set")
    findings.expect_split("validation", "Validation_Set")
    clips: list[Clip] = []
    timeless: list[str] = []
    for name, split, file in [*_label_files(root), *_test_clips(settings, findings)]:
        with findings.refusing(name):
            labels = _labels(file) if file is not None else None
            video, side = _video_and_side(name, media)
            path = media.one(video)
            folder = crops.get(name)
            if crops and folder is None:
                findings.fault(f"clip {name} has no folder of crops", name)
            images = None
            if folder is not None and path is None and settings.rate_hz is not None:
                images = _timed(folder, labels, settings.rate_hz)
            elif folder is not None and path is None and not media:
                timeless.append(name)
                continue
            elif folder is not None:
                images = Images(folder, first=1, cropped=True)
            if path is None and (images is None or images.clock is None):
                path = root / "batch1" / f"{video}.mp4"  # where it should be: only this clip fails
            clips.append(
                Clip(
                    name=name,
                    media=path,
                    # Two people of one video are one group, whether the video is there or not.
                    media_name=relative(path, root) if path is not None else f"cropped_aligned/{video}",
                    split=split,
                    side=side,
                    labels=labels,
                    images=images,
                )
            )
    if timeless:
        findings.refuse(
            f"clips with crops and no video, so that nothing says when their frames are: {some_of(timeless)}; set "
            "`corpus.rate_hz`, or add the videos as batch1/, batch2/"
        )
    _say_what_is_left_out(clips, media, crops, findings)
    return clips


def _video_folders(root: Path) -> list[Path]:
    tops = [root, *(path for path in visible(root) if path.name.lower() in ("video", "videos"))]
    inner = [path for top in tops for path in visible(top) if path.name.lower() in ("batch1", "batch2", "new_vids")]
    return [*tops[1:], *inner]


def _crops(root: Path, findings: Findings) -> dict[str, Path]:
    tops = [path for path in visible(root) if path.name.startswith("cropped_aligned")]
    tops += [inner for top in tops for inner in visible(top) if inner.name.startswith("cropped_aligned")]
    found: dict[str, Path] = {}
    for top in tops:
        for folder in visible(top):
            if folder not in tops and folder.is_dir() and found.setdefault(folder.name, folder) != folder:
                findings.refuse(f"{found[folder.name]} and {folder} are crops of one clip; keep one", folder.name)
    return found


def _label_files(root: Path) -> list[tuple[str, str, Path | None]]:
    tops = [root, *(path for path in visible(root) if "annotations" in path.name.lower())]
    challenges = [path for top in tops for path in visible(top) if path.name.lower() in _LABELS]
    return [
        (file.stem, _SPLITS[folder.name.lower()], file)
        for challenge in challenges
        for folder in visible(challenge)
        if folder.name.lower() in _SPLITS
        for file in visible(folder)
        if file.suffix.lower() == ".txt"
    ]


def _test_clips(settings: CorpusSettings, findings: Findings) -> list[tuple[str, str, Path | None]]:
    if settings.test_list is None:
        return []
    findings.expect_split("test", str(settings.test_list))
    with findings.refusing():
        return [(line.strip(), "test", None) for line in read_lines(settings.test_list) if line.strip()]
    return []


def _video_and_side(stem: str, media: Collection[str]) -> tuple[str, Side | None]:
    """`x_left` is the left person of video `x`, unless there is a video named `x_left` itself."""
    if stem in media:
        return stem, None
    if stem.endswith("_left"):
        return stem.removesuffix("_left"), "left"
    if stem.endswith("_right"):
        return stem.removesuffix("_right"), "right"
    return stem, None


def _timed(folder: Path, labels: ClipLabels | None, rate_hz: Fraction) -> Images:
    """Crops that no video gives times: a row a label, or up to the last number where there are no labels."""
    rows = len(labels.values) if labels is not None else max(picture_numbers(folder), default=0)
    return Images(folder, first=1, cropped=True, clock=Clock.regular(1 / rate_hz, rows))


def _labels(file: Path) -> ClipLabels:
    header, *lines = read_lines(file) or [""]
    if header.strip().lower().replace(" ", "") != "valence,arousal":
        raise ValueError(f"{file}:1 is {header!r}; wanted the header valence,arousal")
    rows = []
    for number, line in enumerate(lines, 2):
        try:
            valence, arousal = (float(part) for part in line.split(","))
        except ValueError:
            raise ValueError(f"{file}:{number} is {line!r}; wanted two numbers, valence,arousal") from None
        rows.append((valence, arousal))
    values = np.array(rows, np.float32).reshape(-1, 2)
    valid = (values != _UNANNOTATED).all(1)
    try:
        return ClipLabels(values, valid)
    except ValueError as error:
        raise ValueError(f"{file}: {error} (row 0 is line 2; -5 marks rows without annotation)") from None


def _say_what_is_left_out(clips: list[Clip], media: Media, crops: dict[str, Path], findings: Findings) -> None:
    used = {clip.media for clip in clips}
    idle = sorted(name for name, paths in media.items() if used.isdisjoint(paths))
    if idle:
        findings.note(f"videos without labels, left out unless `corpus.test_list` names them: {some_of(idle)}")
    idle = sorted(crops.keys() - {clip.name for clip in clips})
    if idle:
        findings.note(f"folders of crops without labels, left out: {some_of(idle)}")
