"""Where stage one reads from, and how fast. None of it enters a key. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CorpusSettings(BaseModel):
    """The corpus on disk.

    format: how it is laid out. root: its top folder. subjects: a CSV with the columns clip, subject, for
    corpora whose files carry no subject ids; without it, groups are media files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["affwild2"]
    root: Path
    subjects: Path | None = None


class ExecutionSettings(BaseModel):
    """How stage one runs: never part of a key.

    batch_rows: frames or windows in one forward. decode_threads: FFmpeg threads for a clip (0: FFmpeg's choice).
    clips_at_once: how many clips are decoded and computed side by side (0: one a core, or two on a GPU).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "auto"
    batch_rows: int = Field(default=64, ge=1)
    decode_threads: int = Field(default=1, ge=0)
    clips_at_once: int = Field(default=0, ge=0)
