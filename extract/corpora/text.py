"""Text files as corpora ship them, most without a header: line ends, blank lines at the end, exact times."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from extract.table import read_table

Row = tuple[int, list[str]]  # line number in the file, cells without the blanks around them


def read_lines(file: Path) -> list[str]:
    """The lines without their ends (LF, CRLF or CR) and without a byte order mark; blank ones at the end are dropped.

    Line i of the file is item i - 1. Raises ValueError for a file that is no text in UTF-8, OSError.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no text in UTF-8 ({error.reason} at byte {error.start})") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_rows(file: Path, separator: str, skip: int = 0) -> list[Row]:
    """The lines after the first `skip` as cells, quotes taken off. A blank line in between is a row of one empty cell.

    Raises ValueError and OSError as `read_lines`.
    """
    lines = enumerate(read_lines(file)[skip:], skip + 1)
    # A reader a line: a stray quote spoils its own line, not those after it.
    cells = ((number, next(csv.reader([line], delimiter=separator)) or [""]) for number, line in lines)
    return [(number, [cell.strip().strip("'") for cell in row]) for number, row in cells]


def read_pairs(file: Path, key: str, value: str) -> dict[str, str]:
    """A CSV that says one thing of each clip; empty values are left out.

    Raises ValueError where a column is missing, or one clip stands there with two values; OSError.
    """
    table = read_table(file)
    pairs: dict[str, str] = {}
    for row, (name, said) in enumerate(zip(table.texts(key), table.texts(value), strict=True)):
        if said and pairs.setdefault(name, said) != said:
            raise ValueError(f"{table.at(row)} gives {name} the {value} {said}, a line above it {pairs[name]}")
    return pairs


def number(text: str, file: Path, line: int, what: str) -> float:
    """A finite number; an empty cell, `?` and NaN are NaN: not rated. Raises ValueError."""
    if text == "" or text == "?" or text.lower() == "nan":
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(f"{file}:{line}: {what} is {text!r}; wanted a number")
    return value


def ticks_of(times: Iterable[tuple[int, str]], tick_seconds: Fraction, unit_seconds: Fraction, file: Path) -> list[int]:
    """(line, time in units of unit_seconds, as written) as integer ticks; exact, nothing is rounded.

    Raises ValueError for what is no number, not on a tick, or not later than the line before.
    """
    ticks: list[int] = []
    for line, text in times:
        try:
            tick = Fraction(text) * unit_seconds / tick_seconds
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{file}:{line}: the time is {text!r}; wanted a number") from None
        if tick.denominator != 1:
            raise ValueError(f"{file}:{line}: the time {text} is not a whole number of steps of {tick_seconds} s")
        if ticks and tick <= ticks[-1]:
            raise ValueError(f"{file}:{line}: the time {text} is not later than that of the line before")
        ticks.append(int(tick))
    return ticks
