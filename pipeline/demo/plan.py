"""Which puppet is in which clip, and what is peculiar about each file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.demo.chance import generator
from pipeline.demo.settings import PuppetSettings
from pipeline.demo.timeline import RATES, Timeline

Split = Literal["train", "validation"]

# Each befalls one training video: a reader must survive them, and the reported split must not hang on them.
ODD_TRAITS = ("rotated", "short_sound", "silent", "two_person", "labels_off_by_one")
VARIABLE = "variable_frame_rate"
SIDES = ("left", "right")


@dataclass(frozen=True)
class ClipPlan:
    """One video file before it is made."""

    index: int
    video: str
    split: Split
    seconds: float
    rate_index: int
    subjects: tuple[int, ...]  # one, or two side by side
    traits: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The stems of the label files: the video's own, or one for each side of it."""
        return tuple(f"{self.video}_{side}" for side in SIDES) if len(self.subjects) == 2 else (self.video,)

    def timeline(self, seed: int) -> Timeline:
        rate_hz = RATES[self.rate_index]
        if VARIABLE in self.traits:
            return Timeline.variable(rate_hz, self.seconds, generator(seed, "timeline", self.index))
        return Timeline.constant(rate_hz, self.seconds)


def plan_corpus(settings: PuppetSettings) -> tuple[ClipPlan, ...]:
    """Every video of the corpus, in order.

    Every third clip and every third subject are for validation. The frame rates turn at another pace than
    the splits, so each split has them all.
    """
    pools: dict[Split, list[int]] = {
        "train": [s for s in range(settings.subjects) if s % 3 != 2],
        "validation": [s for s in range(settings.subjects) if s % 3 == 2],
    }
    turn: dict[Split, int] = {"train": 0, "validation": 0}

    def next_subject(split: Split) -> int:
        subject = pools[split][turn[split] % len(pools[split])]
        turn[split] += 1
        return subject

    odd = iter(ODD_TRAITS)
    plans = []
    for index in range(settings.clips):
        split: Split = "validation" if index % 3 == 2 else "train"
        # One in six, once in either split within twelve clips.
        traits = [VARIABLE] if index % 12 in (5, 10) else []
        if split == "train" and not traits and (trait := next(odd, None)):
            traits.append(trait)
        rng = generator(settings.seed, "plan", index)
        plans.append(
            ClipPlan(
                index=index,
                video=f"puppet_{index:03d}",
                split=split,
                seconds=float(rng.uniform(settings.seconds_shortest, settings.seconds_longest)),
                rate_index=(index + index // 3) % len(RATES),
                subjects=tuple(next_subject(split) for _ in range(2 if "two_person" in traits else 1)),
                traits=tuple(traits),
            )
        )
    return tuple(plans)
