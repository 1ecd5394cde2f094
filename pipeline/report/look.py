"""What a run looks like wherever it is drawn: a colour for its model, a marker and a dash for its modalities.

Colour is never alone: models are also told apart by headings and labels, modalities by shape and dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TONES = 7  # --tone-0 .. in style.css, told apart with any of the three colour vision deficiencies
CIRCLE, TRIANGLE, SQUARE = 0, 1, 2

# Paths around (0, 0), about 11 wide. One dash each, so that shape and dash go together.
MARKERS = (
    "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0-11 0z",
    "M0-6L6 5H-6z",
    "M-5-5H5V5H-5z",
    "M0-7L6 0L0 7L-6 0z",
    "M0 6L6-5H-6z",
    "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2z",
)
DASHES = ("none", "1.5 4", "8 4", "8 3 1.5 3", "14 5", "4 3")


@dataclass(frozen=True)
class Look:
    """tone: which colour. shape: which marker and which dash."""

    tone: int
    shape: int

    def __post_init__(self) -> None:
        if not (0 <= self.tone < TONES and 0 <= self.shape < len(MARKERS)):
            raise ValueError(f"tone {self.tone} must be under {TONES}, shape {self.shape} under {len(MARKERS)}")


@dataclass(frozen=True)
class Looks:
    """Models and sets of modalities in their order of appearance; colours and shapes repeat only when used up."""

    models: tuple[str, ...]
    shapes: Mapping[str, int]  # "audio+video" -> marker

    @classmethod
    def of(cls, runs: Iterable[Mapping[str, Any]]) -> Looks:
        runs = list(runs)
        shapes: dict[str, int] = {}
        for run in runs:
            name = modality_set(run)
            if name not in shapes:
                wanted = {"audio": TRIANGLE, "video": SQUARE}.get(name, CIRCLE if "+" in name else None)
                free = [s for s in range(CIRCLE, len(MARKERS)) if s not in shapes.values()]
                unclaimed = [s for s in free if s > SQUARE] or free
                shapes[name] = wanted if wanted in free else (unclaimed or [len(shapes) % len(MARKERS)])[0]
        return cls(tuple(dict.fromkeys(run["model"] for run in runs)), shapes)

    def look(self, run: Mapping[str, Any]) -> Look:
        return Look(self.models.index(run["model"]) % TONES, self.shapes[modality_set(run)])

    def distinct(self, runs: Iterable[Mapping[str, Any]]) -> list[Look]:
        """As `look`, but two lines of one plot never look the same: the later one takes the next free dash."""
        taken: list[Look] = []
        for run in runs:
            look = self.look(run)
            others = [Look(look.tone, (look.shape + step) % len(MARKERS)) for step in range(len(MARKERS))]
            taken.append(next((other for other in others if other not in taken), look))
        return taken


def modality_set(run: Mapping[str, Any]) -> str:
    return "+".join(sorted(run["modalities"]))
