"""One reader a corpus: from a folder on disk to clips. Nothing is decoded here."""

from __future__ import annotations

from collections.abc import Callable

from extract.clips import Clip
from extract.corpora import affwild2
from extract.settings import CorpusSettings

READERS: dict[str, Callable[[CorpusSettings], list[Clip]]] = {
    "affwild2": affwild2.read,
}


class CorpusError(ValueError):
    """A corpus that can't be used as it is; lists every problem found."""


def read_corpus(settings: CorpusSettings) -> list[Clip]:
    """All clips of the corpus, sorted by name. Raises CorpusError with all problems at once."""
    if not settings.root.is_dir():
        raise CorpusError(f"corpus root {settings.root} is not a folder; correct `corpus.root`")
    clips = READERS[settings.format](settings)
    problems = _problems(clips)
    if problems:
        shown = "\n".join(f"  - {problem}" for problem in problems[:50])
        more = f"\n  ... and {len(problems) - 50} more" if len(problems) > 50 else ""
        raise CorpusError(f"corpus {settings.root} has {len(problems)} problems:\n{shown}{more}")
    return sorted(clips, key=lambda clip: clip.name)


def _problems(clips: list[Clip]) -> list[str]:
    problems = [] if clips else ["no clips found: is `corpus.format` right, and is `corpus.root` its top folder?"]
    splits_of: dict[tuple[str, str], set[str]] = {}
    seen: set[str] = set()
    for clip in clips:
        if clip.name in seen:
            problems.append(f"two clips are named {clip.name}")
        seen.add(clip.name)
        if not clip.media.is_file():
            problems.append(f"clip {clip.name}: media {clip.media_name} is missing")
        splits_of.setdefault(("video", clip.media_name), set()).add(clip.split)
        if clip.subject is not None:
            splits_of.setdefault(("subject", clip.subject), set()).add(clip.split)
    for (what, name), splits in sorted(splits_of.items()):
        if len(splits) > 1:
            problems.append(f"{what} {name} is in {len(splits)} splits: {', '.join(sorted(splits))}")
    return problems
