"""What is wrong with a corpus: collected while it is read, so that everything is said at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

Weight = Literal["refusal", "fault", "note"]


@dataclass(frozen=True)
class Problem:
    """One thing that was found.

    text: which file (and line), what is there, what was wanted. weight: `refusal` = nothing is extracted until it is
    mended; `fault` = one clip fails or lacks something, the others are right; `note` = worth knowing. clip: whose it
    is, None where it is the corpus's.
    """

    weight: Weight
    text: str
    clip: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass
class Findings:
    """The problems of one corpus, in the order found. splits: those that it should have, and where they were sought."""

    problems: list[Problem] = field(default_factory=list)
    splits: dict[str, str] = field(default_factory=dict)

    def refuse(self, text: str, clip: str | None = None) -> None:
        """The corpus can't be used as it is."""
        self.problems.append(Problem("refusal", text, clip))

    def fault(self, text: str, clip: str | None = None) -> None:
        """A clip will fail, or lacks something; the others are right."""
        self.problems.append(Problem("fault", text, clip))

    def note(self, text: str, clip: str | None = None) -> None:
        """Nothing is wrong, but people may want to know."""
        self.problems.append(Problem("note", text, clip))

    def expect_split(self, split: str, where: str) -> None:
        """The corpus should have clips in this split; `where` says what they are made from."""
        self.splits.setdefault(split, where)

    def refusing(self, clip: str | None = None) -> _Refusing:
        """`with findings.refusing():` a ValueError or OSError within is a refusal, and reading goes on after it."""
        return _Refusing(self, clip)

    @property
    def refusals(self) -> list[Problem]:
        """The problems for which nothing is extracted."""
        return [problem for problem in self.problems if problem.weight == "refusal"]


class _Refusing:
    """A class and no generator, so that type checkers know that what comes after it is reached."""

    def __init__(self, findings: Findings, clip: str | None) -> None:
        self._findings, self._clip = findings, clip

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, OSError):
            self._findings.refuse(f"{error.filename} can't be read: {error.strerror}", self._clip)
        elif isinstance(error, ValueError):
            self._findings.refuse(str(error), self._clip)
        return error is None or isinstance(error, OSError | ValueError)


def some_of(names: list[str], shown: int = 5) -> str:
    """`a, b, c, d, e and 7 more`."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def is_large(difference: int, rows: int) -> bool:
    """Whether two counts that should be one differ by more than decoders and annotators do."""
    return difference > 10 and difference * 100 > rows
