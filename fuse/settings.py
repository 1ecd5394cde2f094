"""What stage two does: alignment, windows, model, loss, training. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fuse.models.registry import resolve_options


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class AlignmentSettings(_Frozen):
    """How tracks come onto the label clock.

    rate_hz: rows a second that the model sees; None = the label clock's own. Predictions come back on the label
    clock either way. label_delay_seconds: annotators react late; the features of time t are paired with the label
    of t + delay. relative: modalities whose columns come a second time, less their mean over the clip's valid rows
    (as speech is often normalised by speaker: what is high for this voice, and what is high).
    """

    method: Literal["nearest", "linear", "mean"] = "mean"
    largest_gap_seconds: float = Field(default=0.5, ge=0)
    rate_hz: float | None = Field(default=None, gt=0, le=1000)
    label_delay_seconds: float = Field(default=0.0, ge=0, le=10)
    relative: tuple[str, ...] = ()

    @field_validator("relative")
    @classmethod
    def _each_once(cls, relative: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(relative)))  # the order decides nothing, so it makes no other experiment


class WindowSettings(_Frozen):
    """length and hop in rows of the label clock, for training; predicting uses the same length and half of it."""

    length: int = Field(default=128, ge=1)
    hop: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _no_gaps(self) -> WindowSettings:
        if self.hop > self.length:
            raise ValueError(f"hop is {self.hop}, longer than the window of {self.length}: rows between would be lost")
        return self


class LossSettings(_Frozen):
    """Weights of 1 - CCC and of the mean squared error, and of the two dimensions in both."""

    ccc: float = Field(default=1.0, ge=0)
    mse: float = Field(default=0.2, ge=0)
    valence: float = Field(default=1.0, ge=0)
    arousal: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _something_to_learn(self) -> LossSettings:
        if self.ccc + self.mse == 0 or self.valence + self.arousal == 0:
            raise ValueError("the loss is 0 whatever the model says; give ccc or mse, and valence or arousal, a weight")
        return self


class TrainingSettings(_Frozen):
    """AdamW under a cosine schedule with warm-up, stopped early on an inner split of the training groups.

    shift: modality -> deviations of a random constant that each training window gets on each of its columns, so that
    what differs from subject to subject counts for less. inner_fraction: the share of training groups (subjects) kept
    aside to choose the epoch; inner_seed: which.
    """

    epochs: int = Field(default=30, ge=1)
    batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    patience: int = Field(default=10, ge=1)
    shift: dict[str, Annotated[float, Field(ge=0)]] = {}
    inner_fraction: float = Field(default=0.25, gt=0, lt=1)
    inner_seed: int = 0


class FuseSettings(_Frozen):
    """One experiment.

    features: modality -> the feature's name in the store. components: modality -> how many principal components of
    it the model sees, fitted on training rows; the others are seen whole. model: a name of `fuse.models`. models:
    changes to the options of models, by name; those of the chosen one are used. seeds: how many runs, from 0 on.
    """

    features: dict[str, str] = Field(min_length=1)
    train_split: str = "train"
    report_split: str = "validation"
    model: str = "lstm"
    models: dict[str, dict[str, Any]] = {}
    components: dict[str, Annotated[int, Field(ge=1)]] = {}
    alignment: AlignmentSettings = AlignmentSettings()
    windows: WindowSettings = WindowSettings()
    loss: LossSettings = LossSettings()
    training: TrainingSettings = TrainingSettings()
    seeds: int = Field(default=1, ge=1)

    @field_validator("features")
    @classmethod
    def _named_modalities(cls, features: dict[str, str]) -> dict[str, str]:
        for name in features:
            if not name.isidentifier():
                raise ValueError(f"modality {name!r} is not a plain name; wanted letters, digits and _")
        return features

    @field_validator("model")
    @classmethod
    def _known_model(cls, model: str) -> str:
        resolve_options(model, {})
        return model

    @field_validator("models")
    @classmethod
    def _known_options(cls, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in models.items():
            resolve_options(name, options)
        return models

    @model_validator(mode="after")
    def _unseen_clips(self) -> FuseSettings:
        if self.train_split == self.report_split:
            raise ValueError(f"train_split and report_split are both {self.train_split!r}; a score needs unseen clips")
        return self

    @model_validator(mode="after")
    def _modalities_are_there(self) -> FuseSettings:
        named: dict[str, Iterable[str]] = {
            "components": self.components,
            "training.shift": self.training.shift,
            "alignment.relative": self.alignment.relative,
        }
        for setting, modalities in named.items():
            for name in modalities:
                if name not in self.features:
                    raise ValueError(f"{setting} names the modality {name!r}; features has {', '.join(self.features)}")
        return self

    def only(self, modalities: Iterable[str]) -> FuseSettings:
        """The same experiment on some of its modalities; what is said of the others goes."""
        kept = list(modalities)
        return self.model_copy(
            update={
                "features": {name: self.features[name] for name in kept},
                "components": {name: n for name, n in self.components.items() if name in kept},
                "training": self.training.model_copy(
                    update={"shift": {name: by for name, by in self.training.shift.items() if name in kept}}
                ),
                "alignment": self.alignment.model_copy(
                    update={"relative": tuple(name for name in self.alignment.relative if name in kept)}
                ),
            }
        )

    def options(self) -> dict[str, Any]:
        """Every option of the chosen model, defaults filled in."""
        return resolve_options(self.model, self.models.get(self.model, {}))

    def experiment(self) -> dict[str, Any]:
        """All that decides the numbers of a run but its seed and its inputs, as JSON."""
        meant = self.model_dump(mode="json", exclude={"models", "seeds"})
        return meant | {"options": self.options()}
