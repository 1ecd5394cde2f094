"""Numbers in settings and files that must be exact: rates and times, as fractions of their decimal text."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, DecimalException
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

Unit = Literal["s", "ms", "us", "hms"]  # hms: 1:02:03.5, or 0 days 00:00:00.020000 as pandas writes it
UNIT_SECONDS: dict[Unit, Fraction] = {
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 10**6),
    "hms": Fraction(1),
}

_DIGITS = 18  # of a time, all in all: more ticks than 64 bits count are no time of a recording
_EXACT = Context(prec=4 * _DIGITS)


def _as_written(value: Any) -> Any:
    """29.97 in a YAML file is meant as 2997/100, not as the binary number nearest to it; '30000/1001' as such."""
    if isinstance(value, bool):
        raise ValueError("wanted a number, such as 25, 29.97 or 30000/1001")
    return Fraction(repr(value)) if isinstance(value, float) and abs(value) < float("inf") else value


Exact = Annotated[Fraction, BeforeValidator(_as_written), PlainSerializer(str, when_used="json")]
Rate = Annotated[Exact, Field(gt=0, le=10**6)]


class NoTime(ValueError):
    """A text that is no time; `row` says which of those given."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


def exact_ticks(texts: Sequence[str], unit: Unit) -> tuple[list[int], Fraction]:
    """Decimal texts as whole ticks, and the tick in seconds: exact, nothing is rounded. Raises NoTime."""
    numbers = [_decimal(row, text, unit) for row, text in enumerate(texts)]
    places = max((-int(number.as_tuple().exponent) for number in numbers), default=0)
    places = max(places, 0)
    scale = Decimal(10) ** places
    return [int(_EXACT.multiply(number, scale)) for number in numbers], UNIT_SECONDS[unit] / 10**places


def _decimal(row: int, text: str, unit: Unit) -> Decimal:
    try:
        number = _clock_time(text) if unit == "hms" else _EXACT.create_decimal(text)
        if number.is_finite() and abs(number.adjusted()) <= _DIGITS and -int(number.as_tuple().exponent) <= _DIGITS:
            return number
    except (DecimalException, ValueError):
        pass
    form = "hours:minutes:seconds" if unit == "hms" else f"a number of {unit}"
    hint = "; write decimals with a point" if "," in text else ""
    hint = "; such times have the unit hms" if ":" in text and unit != "hms" else hint
    raise NoTime(row, f"is {text!r}; wanted {form} of at most {_DIGITS} digits{hint}")


def _clock_time(text: str) -> Decimal:
    days, _, rest = text.rpartition("days")
    hours, minutes, seconds = rest.strip().split(":")
    if text.lstrip().startswith("-"):
        raise ValueError("a negative one")
    whole = (int(days or 0) * 24 + int(hours)) * 60 + int(minutes)
    return _EXACT.add(Decimal(60 * whole), _EXACT.create_decimal(seconds))
