"""A CSV as people and programs write it: names in its first line, one row a line, the delimiter found or given."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.clock import Clock
from extract.exact import NoTime, Unit, exact_ticks

DELIMITERS = (",", ";", "\t", "|")
_FEW_ROWS = 16  # fewer than that are read as fast cell by cell
# How programs write that there is no number; nan, inf and their signs are numbers to float() already.
_NOTHING = frozenset({"", "na", "n/a", "null", "none", "-nan(ind)", "nan(ind)", "-1.#ind", "1.#qnan", "-1.#qnan"})


@dataclass(frozen=True)
class Table:
    """The cells of one file, as text without the spaces around them.

    names: of the columns, from line 1. lines: the others, as they are. numbers: of each, its line in the file.
    """

    path: Path
    delimiter: str
    names: tuple[str, ...]
    lines: Sequence[str] = field(repr=False)
    numbers: Sequence[int] = field(repr=False)

    def __post_init__(self) -> None:
        wanted = len(self.names) - 1
        for row, line in enumerate(self.lines):
            found = line.count(self.delimiter) if '"' not in line else len(self.cells(row)) - 1
            if found != wanted:
                raise ValueError(
                    f"{self.at(row)} has {found + 1} cells; line 1 has {wanted + 1}, by {self.delimiter!r}"
                )

    def __len__(self) -> int:
        return len(self.lines)

    def at(self, row: int) -> str:
        """Where a row is: file:line."""
        return f"{self.path}:{self.numbers[row]}"

    def cells(self, row: int) -> list[str]:
        """All cells of a row."""
        return _cells(self.lines[row], self.delimiter)

    def index(self, name: str) -> int:
        """The column of this name, upper and lower case alike if only one is. Raises ValueError if there is no one."""
        found = [i for i, known in enumerate(self.names) if known == name]
        found = found or [i for i, known in enumerate(self.names) if known.casefold() == name.casefold()]
        if len(found) > 1:
            raise ValueError(f"{self.path}:1 has {len(found)} columns {name!r}; wanted one of a name")
        if not found:
            raise ValueError(
                f"{self.path}:1 has no column {name!r}; it has {named(self.names)}{near(name, self.names)}"
            )
        return found[0]

    def texts(self, name: str) -> list[str]:
        """[T] the cells of a column."""
        k = self.index(name)
        return [
            line.split(self.delimiter, k + 1)[k].strip() if '"' not in line else self.cells(row)[k]
            for row, line in enumerate(self.lines)
        ]

    def values(self, names: Sequence[str]) -> NDArray[np.float64]:
        """[T, D] the numbers of columns; NaN where a cell says that there is none.

        Raises ValueError for a cell that is anything else, naming its line and column.
        """
        columns = [self.index(name) for name in names]
        if not self.lines or not columns:
            return np.empty((len(self.lines), len(columns)))
        return np.concatenate(list(self._blocks(columns, 0, len(self.lines))))

    def _blocks(self, columns: Sequence[int], first: int, last: int) -> Iterator[NDArray[np.float64]]:
        """Rows [first, last), fast where all cells are plain numbers, and cell by cell around those that aren't."""
        try:
            yield np.loadtxt(
                self.lines[first:last],
                delimiter=self.delimiter,
                usecols=columns,
                ndmin=2,
                comments=None,
                quotechar='"',
            )
            return
        except ValueError:
            pass  # an empty cell, or one that is no number
        if last - first <= _FEW_ROWS:
            yield np.array([self._numbers(row, columns) for row in range(first, last)])
            return
        middle = (first + last) // 2
        yield from self._blocks(columns, first, middle)
        yield from self._blocks(columns, middle, last)

    def _numbers(self, row: int, columns: Sequence[int]) -> list[float]:
        cells, found = self.cells(row), []
        for k in columns:
            try:
                found.append(float("nan") if cells[k].lower() in _NOTHING else float(cells[k]))
            except ValueError:
                hint = "; write decimals with a point" if "," in cells[k] else ""
                raise ValueError(
                    f"{self.at(row)}: {self.names[k]} is {cells[k]!r}; wanted a number, or nothing{hint}"
                ) from None
        return found

    def clock(self, name: str, unit: Unit, end: str | None = None, rows: NDArray[np.intp] | None = None) -> Clock:
        """When the rows happen, exactly as the decimal text says: in the middle where an end is given too.

        rows: only these. Raises ValueError for a text that is no time, and for times that don't rise.
        """
        chosen = range(len(self.lines)) if rows is None else rows.tolist()
        begins, tick = self._ticks(name, unit, chosen)
        if end is not None:
            ends, other = self._ticks(end, unit, chosen)
            finer = min(tick, other) / 2
            to, fro = int(tick / finer) // 2, int(other / finer) // 2
            begins = [to * a + fro * b for a, b in zip(begins, ends, strict=True)]
            tick = finer
        for i, (now, then) in enumerate(pairwise(begins)):
            if then <= now:
                raise ValueError(
                    f"{self.at(chosen[i + 1])}: {name} is {float(then * tick):.9g} s, in line "
                    f"{self.numbers[chosen[i]]} {float(now * tick):.9g} s; times must rise"
                )
        if begins and max(abs(begins[0]), abs(begins[-1])) >= 2**62:
            raise ValueError(f"{self.path}: {name} has times too long or too fine for one clock of 62 bits")
        return Clock.of_ticks(np.array(begins, np.int64), tick)

    def _ticks(self, name: str, unit: Unit, chosen: Sequence[int]) -> tuple[list[int], Fraction]:
        texts = self.texts(name)
        try:
            return exact_ticks([texts[row] for row in chosen], unit)
        except NoTime as error:
            raise ValueError(f"{self.at(chosen[error.row])}: {name} {error}") from None


def read_table(path: Path, delimiter: str | None = None, *, blank_lines: bool = False) -> Table:
    """Read a file. delimiter: None = the one that line 1 has most of. blank_lines: they are for the eye, skip them.

    Raises ValueError, naming file and line, for text that isn't UTF-8, a first line without names, a row with more or
    fewer cells, a blank line that should be a row. Raises OSError if the file can't be read.
    """
    try:
        header, *lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as such"
        ) from None
    delimiter, names = _header(path, header, delimiter)
    while lines and not lines[-1].strip():
        lines.pop()
    numbered = [(number, line) for number, line in enumerate(lines, 2) if line.strip() or not blank_lines]
    for number, line in numbered:
        if not line.strip():
            raise ValueError(f"{path}:{number} is blank; wanted {len(names)} cells")
    return Table(path, delimiter, names, [line for _, line in numbered], [number for number, _ in numbered])


def read_names(path: Path, delimiter: str | None = None) -> tuple[str, ...]:
    """The columns of a file, without reading the rest. Raises as read_table."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return _header(path, file.readline().rstrip("\n"), delimiter)[1]
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}); save it as such"
        ) from None


def chosen_names(
    path: Path, names: Sequence[str], wanted: Sequence[str] | None, ignored: Sequence[str], setting: str = "columns"
) -> tuple[str, ...]:
    """The columns that patterns such as `AU*_r` choose (None: all), less those that `ignored` ones do; in file's order.

    Raises ValueError for a pattern that chooses nothing, and if nothing is left.
    """
    for what, patterns in ((setting, wanted or ()), ("ignore", ignored)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(
                    f"{path}:1 has no column {pattern!r}, which `{what}` names; it has {named(names)}"
                    f"{near(pattern, names)}"
                )
    kept = [
        name
        for name in names
        if (wanted is None or any(fnmatchcase(name, pattern) for pattern in wanted))
        and not any(fnmatchcase(name, pattern) for pattern in ignored)
    ]
    if not kept:
        raise ValueError(f"{path}:1 has no column left of {named(names)}; wanted one or more in `{setting}`")
    return tuple(kept)


def _header(path: Path, line: str, delimiter: str | None) -> tuple[str, tuple[str, ...]]:
    if delimiter is None:
        bare = "".join(line.split('"')[::2])  # what stands between quotes is a name
        delimiter = max(DELIMITERS, key=bare.count)
    names = tuple(_cells(line, delimiter))
    if not any(names):
        raise ValueError(f"{path}:1 is {line!r}; wanted the names of the columns")
    if all(_is_number(name) for name in names):
        raise ValueError(f"{path}:1 holds numbers, {named(names)}; wanted a first line with the names of the columns")
    return delimiter, names


def _cells(line: str, delimiter: str) -> list[str]:
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def named(names: Sequence[str]) -> str:
    """`a, b, c and 7 more`."""
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(name or "(no name)" for name in names[:12]) + more


def near(name: str, known: Sequence[str]) -> str:
    """A question after the known name that looks most like this one, if any does."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
