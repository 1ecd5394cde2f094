"""What may be chosen about the demo corpus: every choice here changes its files, and nothing else does."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class PuppetSettings(BaseModel):
    """The demo corpus in a few numbers. Free of numpy and of torch: the command line reads it to say `--help`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=7, ge=0, description="where all chance comes from")
    clips: int = Field(default=48, ge=8, description="video files; one third of them are for validation")
    subjects: int = Field(default=24, ge=6, description="puppets; one third of them are for validation")
    seconds_shortest: float = Field(
        default=8.0, ge=3, description="the shortest clip; one sound ends two seconds early"
    )
    seconds_longest: float = Field(default=20.0, le=600, description="the longest clip")
    width: int = Field(
        default=320, ge=64, le=1920, multiple_of=2, description="pixels of an upright picture with one puppet"
    )
    height: int = Field(default=240, ge=64, le=1080, multiple_of=2, description="pixels of an upright picture")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.seconds_longest < self.seconds_shortest:
            raise ValueError(
                f"seconds_longest is {self.seconds_longest:g}, wanted at least seconds_shortest, which is "
                f"{self.seconds_shortest:g}: raise the one or lower the other"
            )
        if self.width < self.height:
            raise ValueError(
                f"width is {self.width}, wanted at least height, which is {self.height}: the face is cut out as a "
                "centred square, so choose a wider picture"
            )
        # Two puppets share one picture, so training has one more place than it has videos.
        validation_clips, validation_subjects = self.clips // 3, self.subjects // 3
        for split, places, puppets in (
            ("validation", validation_clips, validation_subjects),
            ("training", self.clips - validation_clips + 1, self.subjects - validation_subjects),
        ):
            if places < puppets:
                raise ValueError(
                    f"subjects is {self.subjects}, but {self.clips} clips have only {places} places for the {puppets} "
                    f"{split} subjects: lower subjects or raise clips"
                )
        return self
