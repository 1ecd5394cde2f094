"""A corpus of text files and empty media on disk, written as a mapping of paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from extract.clips import Clip
from extract.corpora import survey
from extract.corpora.findings import Findings
from extract.settings import CorpusSettings


def grow(root: Path, texts: Mapping[str, str] = {}, empty: Iterable[str] = ()) -> Path:
    """Write the texts, and empty files, under root. A text starting with \\ufeff has a byte order mark."""
    for name, text in [*texts.items(), *((name, "") for name in empty)]:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
    return root


def read(settings: CorpusSettings) -> tuple[dict[str, Clip], Findings]:
    """The clips by name and the findings of a corpus; clips are sorted by name."""
    clips, findings = survey(settings)
    assert [clip.name for clip in clips] == sorted(clip.name for clip in clips)
    return {clip.name: clip for clip in clips}, findings


def said(findings: Findings, weight: str) -> list[str]:
    """The texts of the problems of one weight."""
    return [problem.text for problem in findings.problems if problem.weight == weight]
