"""A corpus looked at before a night is spent on it: what is there by split, and everything that is wrong, at once.

Nothing is decoded: labels are read, frames counted by demuxing, pictures by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from extract.clips import Clip
from extract.corpora import survey
from extract.corpora.findings import Findings, Problem, is_large, some_of
from extract.corpora.frames import FrameCount, FrameCounts
from extract.corpora.media import SOUND, picture_numbers
from extract.settings import CorpusSettings


@dataclass(frozen=True)
class SplitCount:
    """What one split holds. subjects: known ones. media: different videos, sounds or folders. seconds: of its clips."""

    split: str
    clips: int
    subjects: int
    media: int
    seconds: float
    label_rows: int
    valid_rows: int


@dataclass(frozen=True)
class CorpusReport:
    """splits: those with clips, sorted. failing: clips that can't be extracted whole. problems: the worst first."""

    splits: tuple[SplitCount, ...]
    failing: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def exit_code(self) -> int:
        """0 sound; 1 something is wrong with some clips or splits; 2 nothing would be extracted."""
        clips = sum(count.clips for count in self.splits)
        if clips == len(self.failing) or any(problem.weight == "refusal" for problem in self.problems):
            return 2
        return 1 if any(problem.weight == "fault" for problem in self.problems) else 0

    def as_json(self) -> dict[str, Any]:
        """Everything, for scripts."""
        return {
            "exit_code": self.exit_code,
            "splits": {count.split: {k: v for k, v in vars(count).items() if k != "split"} for count in self.splits},
            "failing": list(self.failing),
            "problems": [{"weight": one.weight, "clip": one.clip, "text": one.text} for one in self.problems],
        }


def check_corpus(
    settings: CorpusSettings, memory: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> CorpusReport:
    """Read corpus and labels and count frames. memory: of frame counts, a file beside the store.

    on_progress: called with (clips looked at, clips in all). Raises CorpusError if there is no such folder.
    """
    clips, findings = survey(settings)
    counts = FrameCounts(memory)
    few = _Few()
    seconds: dict[str, Fraction] = {}
    for done, clip in enumerate(clips, 1):
        seconds[clip.name] = _look_at(clip, counts, few, findings)
        on_progress(done, len(clips))
    few.say(findings)
    splits = [
        _count(split, [clip for clip in clips if clip.split == split], seconds)
        for split in sorted({clip.split for clip in clips})
    ]
    failing = {one.clip for one in findings.problems if one.weight == "fault"}
    problems = sorted(findings.problems, key=lambda one: ("refusal", "fault", "note").index(one.weight))
    return CorpusReport(tuple(splits), tuple(clip.name for clip in clips if clip.name in failing), tuple(problems))


class _Few:
    """Differences so small that they are the rule: one line for all of them."""

    def __init__(self) -> None:
        self.labels: dict[str, int] = {}
        self.pictures: dict[str, int] = {}
        self.rows = 0
        self.missing = 0

    def say(self, findings: Findings) -> None:
        for what, differences in (("label rows and frames", self.labels), ("crops and frames", self.pictures)):
            if differences:
                most = max(differences.values())
                names = some_of(list(differences))
                findings.note(f"{what} differ by up to {most} in {len(differences)} clips: {names}")
        if self.missing:
            share = 100 * self.missing / self.rows
            findings.note(f"{self.missing} of {self.rows} frames ({share:.1f} %) have no picture among those given")


def _look_at(clip: Clip, counts: FrameCounts, few: _Few, findings: Findings) -> Fraction:
    """Compare what the clip's files hold; returns how long it lasts, 0 where nothing says so."""
    count = _frames(clip, counts, findings)
    labels, images = clip.labels, clip.images
    rows: int | None = count.frames if count is not None else None
    if images is not None and images.clock is not None:
        rows = len(images.clock)
    if labels is not None and labels.clock is None and rows is not None:
        difference = len(labels.values) - rows
        if is_large(abs(difference), rows):
            what = "more" if difference > 0 else "fewer"
            findings.fault(
                f"clip {clip.name}: {len(labels.values)} label rows for {rows} frames of {clip.media_name}, "
                f"{abs(difference)} {what}: are they of this video?",
                clip.name,
            )
        elif difference:
            few.labels[clip.name] = abs(difference)
    if labels is not None and labels.clock is not None and count is not None and len(labels.clock):
        last = int(labels.clock.all_ticks()[-1]) * labels.clock.tick_seconds
        beyond = last - count.end_seconds
        if beyond > max(Fraction(1), count.end_seconds / 100):
            findings.fault(
                f"clip {clip.name}: labels go on for {float(beyond):.1f} s after the end of {clip.media_name} "
                f"({float(count.end_seconds):.1f} s): are they of this video?",
                clip.name,
            )
    if images is not None and images.folder.is_dir():
        _look_at_pictures(clip, rows, few, findings)
    for clock in (images.clock if images is not None else None, labels.clock if labels is not None else None):
        if count is None and clock is not None:
            return clock.duration_seconds()
    return count.end_seconds if count is not None else Fraction(0)


def _frames(clip: Clip, counts: FrameCounts, findings: Findings) -> FrameCount | None:
    if clip.media is None or clip.media.suffix.lower() in SOUND or not clip.media.exists():
        return None
    from extract.decode import MediaError

    try:
        return counts(clip.media)
    except (MediaError, OSError) as error:
        findings.fault(f"clip {clip.name}: {clip.media_name} can't be read: {error}", clip.name)
        return None


def _look_at_pictures(clip: Clip, rows: int | None, few: _Few, findings: Findings) -> None:
    assert clip.images is not None
    folder, first = clip.images.folder, clip.images.first
    numbers = picture_numbers(folder)
    if not numbers:
        findings.fault(f"clip {clip.name}: {folder} holds no numbered picture", clip.name)
        return
    if numbers[0] < first:
        findings.fault(f"clip {clip.name}: {folder} begins with number {numbers[0]}; wanted {first} or more", clip.name)
    if rows is None:
        return
    beyond = numbers[-1] - first + 1 - rows
    if beyond > 0 and is_large(beyond, rows):
        findings.fault(
            f"clip {clip.name}: {folder} goes up to number {numbers[-1]}, {beyond} beyond the {rows} frames of "
            f"{clip.media_name}: are they of this video?",
            clip.name,
        )
    elif beyond > 0:
        few.pictures[clip.name] = beyond
    few.rows += rows
    few.missing += max(0, rows - sum(first <= number < first + rows for number in numbers))


def _count(split: str, clips: Sequence[Clip], seconds: dict[str, Fraction]) -> SplitCount:
    labels = [clip.labels for clip in clips if clip.labels is not None]
    return SplitCount(
        split=split,
        clips=len(clips),
        subjects=len({clip.subject for clip in clips} - {None}),
        media=len({clip.media_name for clip in clips}),
        seconds=float(sum(seconds[clip.name] for clip in clips)),
        label_rows=sum(len(one.values) for one in labels),
        valid_rows=sum(int(one.valid.sum()) for one in labels),
    )
