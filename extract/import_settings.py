"""Features that people already have, as settings: where their files are, and what in them enters the key.

Imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import PurePath
from string import Formatter
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from extract.exact import Exact, Rate, Unit

IMPORT_FORMAT = 1
PLACES = ("clip", "media", "subject", "split")  # of a path: {clip} is the clip's name, {media} the file's, bare

Kind = Literal["csv", "npy", "hdf5"]
KINDS: dict[str, Kind] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), "csv"),
    ".npy": "npy",
    **dict.fromkeys((".h5", ".hdf5"), "hdf5"),
}
_TABLE_ONLY = ("columns", "ignore", "where", "valid_at_least", "delimiter")


class ImportTimeSettings(BaseModel):
    """Where the times of the rows are.

    column: of the CSV; with end, another one, a row happens in the middle of the two. dataset: of the HDF5 file.
    path: of an NPY file beside that of the values. Arrays of times are [T], or [T, 2] of starts and ends. unit: s, ms,
    us, or hms for text like 0 days 00:00:00.020000. plus_seconds: is added to every time, e.g. half a window where a
    program writes its start. tick_us: microseconds on whose multiples the binary times of an array are put (the decimal
    times of a CSV are exact); None = 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str | None = None
    end: str | None = None
    dataset: str | None = None
    path: str | None = None
    unit: Unit
    plus_seconds: Exact = Fraction(0)
    tick_us: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _refuse_what_would_have_no_effect(self) -> ImportTimeSettings:
        named = [name for name in ("column", "dataset", "path") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"the times are in {' and '.join(named) or 'nothing'}; wanted one of column, dataset, path"
            )
        if self.column is None:
            if self.end is not None:
                raise ValueError("end would have no effect: it is a second column, and no `column` is named")
            if self.unit == "hms":
                raise ValueError("unit hms is for text; the times of arrays are numbers of s, ms or us")
        elif self.tick_us is not None:
            raise ValueError("tick_us would have no effect: the decimal times of a column are taken exactly")
        return self


class ImportSettings(BaseModel):
    """One feature that comes from files instead of a backbone.

    path: of a clip's file, .csv (.tsv, .txt), .npy or .h5 (.hdf5), relative to corpus.root, with the places {clip},
    {media} (the medium's name without folder and ending), {subject} and {split}. dataset: within an HDF5 file, [T, D],
    with the same places. time: where the rows' times are; or else rate_hz: rows a second, 25 or 30000/1001, the first
    at start_seconds.

    Of a CSV: columns: names or patterns (`AU*_r`) of those to take, None = all others that aren't named elsewhere;
    ignore: those not to take; where: column -> the value that a row must have to be taken (one of several faces);
    valid_at_least: column -> the least value of a valid row; delimiter: None = as line 1 has it. Rows that aren't
    finite are not valid either. dtype: how rows are stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    dataset: str | None = None
    time: ImportTimeSettings | None = None
    rate_hz: Rate | None = None
    start_seconds: Exact = Fraction(0)
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    ignore: tuple[str, ...] = ()
    where: dict[str, int | float | str] = {}
    valid_at_least: dict[str, float] = {}
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    dtype: Literal["float16", "float32"] = "float32"

    @model_validator(mode="after")
    def _a_file_a_clip_with_times(self) -> ImportSettings:
        used = {place for name, text in self.templates().items() for place in _places_of(name, text)}
        if not used:
            raise ValueError(f"path {self.path!r} is one for all clips; wanted a place such as {{clip}} in it")
        if (self.time is None) == (self.rate_hz is None):
            raise ValueError("wanted `time`, where the rows' times are, or `rate_hz`, and not both")
        if self.time is not None and self.start_seconds:
            raise ValueError(
                "start_seconds would have no effect: the rows have times; to move these, time.plus_seconds"
            )
        return self

    @model_validator(mode="after")
    def _only_what_the_kind_of_file_has(self) -> ImportSettings:
        kind = self.kind
        foreign = [name for name in _TABLE_ONLY if kind != "csv" and getattr(self, name) not in (None, (), {})]
        foreign += ["dataset"] * (kind != "hdf5" and self.dataset is not None)
        if foreign:
            raise ValueError(f"{', '.join(foreign)} would have no effect: {self.path} is a file of the kind {kind}")
        if kind == "hdf5" and self.dataset is None:
            raise ValueError(f"{self.path} needs `dataset`: the name within it, e.g. {{clip}}/feature")
        if self.time is not None:
            wanted = {"csv": "column", "npy": "path", "hdf5": "dataset"}[kind]
            if getattr(self.time, wanted) is None:
                raise ValueError(f"the times of {self.path} are in its `time.{wanted}`; that isn't given")
            if self.time.path is not None and PurePath(self.time.path).suffix.lower() != ".npy":
                raise ValueError(f"time.path is {self.time.path!r}; wanted an .npy file")
        return self

    @property
    def kind(self) -> Kind:
        """What kind of file it is, by its ending. Raises ValueError for others."""
        suffix = PurePath(self.path).suffix.lower()
        if suffix not in KINDS:
            raise ValueError(f"path {self.path!r} ends in {suffix or 'nothing'}; wanted one of {', '.join(KINDS)}")
        return KINDS[suffix]

    def templates(self) -> dict[str, str]:
        """The settings in which places such as {clip} are filled in."""
        time = self.time or None
        found = {
            "path": self.path,
            "dataset": self.dataset,
            "time.dataset": time.dataset if time is not None else None,
            "time.path": time.path if time is not None else None,
        }
        return {name: text for name, text in found.items() if text is not None}

    def recipe(self, name: str, columns: Sequence[str] | int) -> dict[str, Any]:
        """The feature as the JSON whose digest is its key.

        name: the feature's; nothing else says what imported numbers are. columns: their names as found in the files,
        or how many there are where arrays have no names. Where the files are is no part of it.
        """
        meant: dict[str, Any] = {
            "format": IMPORT_FORMAT,
            "kind": "import",
            "name": name,
            "columns": columns if isinstance(columns, int) else list(columns),
            "dtype": self.dtype,
            "time": self._time_recipe(),
        }
        if self.kind == "csv":
            meant |= {"where": dict(self.where), "valid_at_least": dict(self.valid_at_least)}
        return meant

    def _time_recipe(self) -> Mapping[str, Any]:
        time = self.time
        if time is None:
            return {"rate_hz": str(self.rate_hz), "start_seconds": str(self.start_seconds)}
        where = {"column": time.column, "end": time.end} if time.column is not None else {"tick_us": time.tick_us or 1}
        return {**where, "unit": time.unit, "plus_seconds": str(time.plus_seconds)}


def _places_of(name: str, text: str) -> list[str]:
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}: {error}") from None
    found = []
    for _, place, form, conversion in parts:
        if place is None:
            continue
        if place not in PLACES or form or conversion:
            wanted = ", ".join(f"{{{known}}}" for known in PLACES)
            raise ValueError(f"{name} is {text!r}, with the place {{{place}}}; there are {wanted}")
        found.append(place)
    return found
