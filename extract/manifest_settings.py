"""A corpus that a CSV lists, as settings: the list, and how its label files are read. Imports no numpy."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from extract.exact import Exact, Rate, Unit

Delimiter = Literal[",", ";", "\t", "|"]


class LabelTimeSettings(BaseModel):
    """When a label row happens. column: of the label file. unit: s, ms, us, or hms for text like 0:01:02.5."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    unit: Unit


class LabelSettings(BaseModel):
    """A clip's label file: a CSV with a header, one row a time.

    valence, arousal: their columns. time: where the rows' times are; or else rate_hz: rows a second, the first at
    start_seconds; with neither, a row belongs to a frame of the video. range: lowest and highest value, mapped to -1
    and 1. invalid: values that mark a row as not rated, as do empty cells and nan. ignore: further columns, as names
    or patterns; a column that is neither read nor ignored is refused. delimiter: None = as line 1 has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    valence: str = "valence"
    arousal: str = "arousal"
    time: LabelTimeSettings | None = None
    rate_hz: Rate | None = None
    start_seconds: Exact = Fraction(0)
    range: tuple[float, float] = (-1.0, 1.0)
    invalid: tuple[float, ...] = ()
    ignore: tuple[str, ...] = ()
    delimiter: Delimiter | None = None

    @model_validator(mode="after")
    def _one_clock(self) -> LabelSettings:
        if self.time is not None and self.rate_hz is not None:
            raise ValueError("labels have `time` and `rate_hz`; wanted one of them, or neither for a row a frame")
        if self.start_seconds and self.rate_hz is None:
            raise ValueError("start_seconds would have no effect without rate_hz")
        if self.range[0] >= self.range[1]:
            raise ValueError(f"range is {list(self.range)}; wanted the lowest value, then the highest")
        return self


class ManifestSettings(BaseModel):
    """The list of clips: a CSV with a header, one clip a row.

    file: None = manifest.csv in corpus.root; paths in it are relative to corpus.root wherever it lies. ignore: columns
    of it that are for people, as names or patterns. delimiter: None = as line 1 has it. labels: how label files are
    read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = None
    ignore: tuple[str, ...] = ()
    delimiter: Delimiter | None = None
    labels: LabelSettings = LabelSettings()
