"""Where stage one reads from, and how fast. None of it enters a key. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from extract.exact import Rate
from extract.manifest_settings import ManifestSettings

# Which options each format takes beside format, root and subjects; what it would ignore is refused.
_OPTIONS: dict[str, tuple[str, ...]] = {
    "affwild2": ("rate_hz", "test_list"),
    "affwild": ("splits",),
    "afewva": ("rate_hz", "splits"),
    "sewa": (),
    "recola": ("labels", "splits"),
    "avec": ("labels",),
    "muse": ("labels",),
    "manifest": ("manifest",),
}


class CorpusSettings(BaseModel):
    """The corpus on disk.

    format: how it is laid out. root: its top folder. subjects: a CSV with the columns clip, subject, for
    corpora whose files carry no subject ids; without it, groups are media files. splits: a CSV with the columns clip,
    split, for corpora that ship without splits; without it, every clip is in `train`. labels: which of several the
    corpus has: recola `raters` (their mean, the default), `gold` or a rater's name; avec the folder of the gold
    standard; muse the folder to take as arousal. rate_hz: frames a second of image folders that no video gives times,
    a number or an exact fraction as 30000/1001. test_list: a text file with the name of a test clip a line.
    manifest: of the format manifest, where the list of clips is and how its label files are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["affwild2", "affwild", "afewva", "sewa", "recola", "avec", "muse", "manifest"]
    root: Path
    subjects: Path | None = None
    splits: Path | None = None
    labels: str | None = None
    rate_hz: Rate | None = None
    test_list: Path | None = None
    manifest: ManifestSettings | None = None

    @model_validator(mode="after")
    def _refuse_what_would_have_no_effect(self) -> CorpusSettings:
        options = {name for names in _OPTIONS.values() for name in names}
        foreign = [name for name in sorted(options - {*_OPTIONS[self.format]}) if getattr(self, name) is not None]
        if foreign:
            takes = ", ".join(("root", "subjects", *_OPTIONS[self.format]))
            raise ValueError(
                f"{', '.join(foreign)} would have no effect: format {self.format} takes {takes}; leave out"
            )
        return self


class ExecutionSettings(BaseModel):
    """How stage one runs: never part of a key.

    batch_rows: frames or windows in one forward. decode_threads: FFmpeg threads for a clip (0: FFmpeg's choice).
    clips_at_once: how many clips a worker decodes and computes side by side (0: one a core, or two on a GPU).
    workers: processes that extract; 0 = in the process of the command, which a crash of a decoder then ends.
    stall_seconds: a clip of which nothing comes for so long is given up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "auto"
    batch_rows: int = Field(default=64, ge=1)
    decode_threads: int = Field(default=1, ge=0)
    clips_at_once: int = Field(default=0, ge=0)
    workers: int = Field(default=1, ge=0)
    stall_seconds: float = Field(default=600, gt=0)
