"""Numbers of the report: read from a dict in which any may be missing, and written one way everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NO_NUMBER = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

Range = tuple[float, float]


def finite(value: Any) -> float | None:
    """The number, or None for None, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def metric(run: Mapping[str, Any], name: str, which: str = "mean") -> float | None:
    """run[name][which], where the metric or its value may be null."""
    return finite((run.get(name) or {}).get(which))


def interval(run: Mapping[str, Any], which: str = "mean") -> Range | None:
    """The interval of the concatenated CCC as (low, high), None unless both ends are numbers."""
    ends = (run.get("ccc_concat_interval") or {}).get(which)
    return both(*ends) if ends else None


def both(low: Any, high: Any) -> Range | None:
    low, high = finite(low), finite(high)
    return None if low is None or high is None else (low, high)


def score(value: float | None) -> str:
    """Like .620 and 1.000: three decimals, a true minus sign, no zero before the point."""
    if value is None:
        return NO_NUMBER
    text = f"{abs(value):.3f}"
    sign = MINUS if value < 0 and float(text) else ""
    return sign + text.removeprefix("0")


def signed(value: float | None) -> str:
    """A score with its plus, as a difference is written."""
    text = score(value)
    return f"+{text}" if value is not None and value > 0 and text != score(0.0) else text


def span(ends: Range | None) -> str:
    """.552 to .684, or nothing."""
    return f"{score(ends[0])} to {score(ends[1])}" if ends else ""


def count(value: float | None) -> str:
    return NO_NUMBER if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """12,345, 102, 7.7: one decimal where it says something."""
    if value is None:
        return NO_NUMBER
    return f"{value:,.1f}" if abs(value) < 99.95 else count(value)


def some(number: int, noun: str) -> str:
    """1 clip, 12 clips."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
