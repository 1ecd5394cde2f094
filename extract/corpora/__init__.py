"""One reader a corpus: from a folder on disk to clips. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from extract.clips import Clip
from extract.corpora import afewva, affwild, affwild2, avec, manifest, muse, recola, sewa
from extract.corpora.findings import Findings, some_of
from extract.corpora.text import read_pairs
from extract.settings import CorpusSettings

Reader = Callable[[CorpusSettings, Findings], list[Clip]]

READERS: dict[str, Reader] = {
    "affwild2": affwild2.read,
    "affwild": affwild.read,
    "afewva": afewva.read,
    "sewa": sewa.read,
    "recola": recola.read,
    "avec": avec.read,
    "muse": muse.read,
    "manifest": manifest.read,
}


class CorpusError(ValueError):
    """A corpus that can't be used as it is; lists every problem found."""


def read_corpus(settings: CorpusSettings) -> list[Clip]:
    """All clips of the corpus, sorted by name.

    Raises CorpusError with all problems at once that make the corpus wrong: labels that can't be read or lie out of
    range, two clips of one name, a subject or a video in two splits. A file that is missing fails its own clip, later.
    """
    clips, findings = survey(settings)
    problems = findings.refusals
    if problems:
        shown = "\n".join(f"  - {problem}" for problem in problems[:50])
        more = f"\n  ... and {len(problems) - 50} more" if len(problems) > 50 else ""
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise CorpusError(f"corpus {settings.root} has {count}:\n{shown}{more}")
    return clips


def survey(settings: CorpusSettings) -> tuple[list[Clip], Findings]:
    """The clips that could be read, sorted by name, and everything that is wrong with the corpus.

    Raises CorpusError if there is no such folder.
    """
    if not settings.root.is_dir():
        raise CorpusError(f"corpus root {settings.root} is not a folder; correct `corpus.root`")
    findings = Findings()
    clips: list[Clip] = []
    with findings.refusing():
        clips = READERS[settings.format](settings, findings)
    clips = _with_subjects(_with_splits(clips, settings, findings), settings, findings)
    if not clips and not findings.refusals:
        findings.refuse("no clips found: is `corpus.format` right, and is `corpus.root` its top folder?")
    _find_what_is_missing(clips, findings)
    _find_contradictions(clips, findings)
    _find_empty_splits(clips, findings)
    return sorted(clips, key=lambda clip: clip.name), findings


def _with_splits(clips: list[Clip], settings: CorpusSettings, findings: Findings) -> list[Clip]:
    if settings.splits is None:
        return clips
    splits: dict[str, str] = {}
    with findings.refusing():
        splits = read_pairs(settings.splits, "clip", "split")
        _say_unknown(splits, clips, f"{settings.splits} gives splits to", findings)
        for split in sorted(set(splits.values())):
            findings.expect_split(split, str(settings.splits))
        # A clip without labels is of the test split, whether it is listed or not.
        without = [clip.name for clip in clips if clip.name not in splits and clip.labels is not None]
        if without:
            findings.refuse(f"{settings.splits} gives no split to {some_of(without)}; list every clip")
    return [replace(clip, split=splits.get(clip.name, clip.split)) for clip in clips]


def _with_subjects(clips: list[Clip], settings: CorpusSettings, findings: Findings) -> list[Clip]:
    if settings.subjects is None:
        return clips
    subjects: dict[str, str] = {}
    with findings.refusing():
        subjects = read_pairs(settings.subjects, "clip", "subject")
        _say_unknown(subjects, clips, f"{settings.subjects} gives subjects to", findings)
    return [replace(clip, subject=subjects.get(clip.name, clip.subject)) for clip in clips]


def _say_unknown(given: dict[str, str], clips: list[Clip], what: str, findings: Findings) -> None:
    unknown = sorted(given.keys() - {clip.name for clip in clips})
    if unknown:
        findings.note(f"{what} clips that are not in the corpus: {some_of(unknown)}")


def _find_what_is_missing(clips: list[Clip], findings: Findings) -> None:
    for clip in clips:
        for path in clip.files():
            if not path.exists():
                findings.fault(f"clip {clip.name}: {path} is missing", clip.name)
    unrated = [
        clip.name for clip in clips if clip.labels is not None and clip.split != "test" and not clip.labels.valid.any()
    ]
    if unrated:
        findings.note(f"clips without a single valid label: {some_of(unrated)}")
    bare = [clip.name for clip in clips if not clip.files()]
    if bare:
        findings.note(f"clips without media, whose features must be imported: {some_of(bare)}")


def _find_contradictions(clips: list[Clip], findings: Findings) -> None:
    seen: set[str] = set()
    splits_of: dict[tuple[str, str], set[str]] = {}
    for clip in clips:
        if clip.name in seen:
            findings.refuse(f"two clips are named {clip.name}", clip.name)
        seen.add(clip.name)
        splits_of.setdefault(("video", clip.media_name), set()).add(clip.split)
        if clip.subject is not None:
            splits_of.setdefault(("subject", clip.subject), set()).add(clip.split)
    for (what, name), splits in sorted(splits_of.items()):
        if len(splits) > 1:
            findings.refuse(f"{what} {name} is in {len(splits)} splits: {', '.join(sorted(splits))}")


def _find_empty_splits(clips: list[Clip], findings: Findings) -> None:
    if not clips:
        return
    for split, where in findings.splits.items():
        members = [clip for clip in clips if clip.split == split]
        if not members:
            findings.fault(f"split {split} is empty: no clip is in it ({where})")
    for split in sorted({clip.split for clip in clips} - {"test"}):
        labels = [clip.labels for clip in clips if clip.split == split and clip.labels is not None]
        if not any(one.valid.any() for one in labels):
            findings.fault(f"split {split} has no valid label: nothing can be trained or scored on it")
