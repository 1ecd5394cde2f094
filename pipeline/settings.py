"""A YAML recipe into frozen settings: every mistake at once, with file, line, column and the nearest key.

`key.path=value` overrides are laid over the file before it is checked, and are checked like it.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from extract.faces.settings import FaceSettings
from extract.import_settings import ImportSettings
from extract.recipe import FACES, FeatureSettings
from extract.settings import CorpusSettings, ExecutionSettings
from fuse.models.registry import resolve_options
from fuse.settings import FuseSettings
from pipeline.demo.settings import PuppetSettings

Location = tuple[int | str, ...]

# A feature is computed by a backbone or comes from files; pydantic puts these words into the places of its errors.
_FEATURES: dict[str, type[BaseModel]] = {"by-backbone": FeatureSettings, "by-import": ImportSettings}


def _kind_of_feature(value: Any) -> str:
    """An entry of `features` with a path is an import; so is one without a backbone that has an import's keys."""
    if isinstance(value, Mapping):
        keys = {str(key) for key in value}
        own = ImportSettings.model_fields.keys() - FeatureSettings.model_fields.keys()
        return "by-import" if "path" in keys or ("backbone" not in keys and keys & own) else "by-backbone"
    return "by-import" if isinstance(value, ImportSettings) else "by-backbone"


Feature = Annotated[
    Annotated[FeatureSettings, Tag("by-backbone")] | Annotated[ImportSettings, Tag("by-import")],
    Discriminator(_kind_of_feature),
]


class StudySettings(BaseModel):
    """Several experiments in one go: every model on every set of modalities, with the seeds of `fuse`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(min_length=1)
    modalities: tuple[tuple[str, ...], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_models(self) -> StudySettings:
        for model in self.models:
            resolve_options(model, {})
        return self


class Recipe(BaseModel):
    """One file: where the corpus is, what is extracted, where it is kept, what is trained on it.

    Paths are relative to the folder that the command is run in. puppets: write the demo corpus at corpus.root
    first, if it isn't there. faces: how features with `crop.region: face` find it. features: your name for it ->
    backbone and settings, or the files that have it already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    corpus: CorpusSettings
    puppets: PuppetSettings | None = None
    store: str
    runs: Path
    report: Path
    faces: FaceSettings | None = None
    features: dict[str, Feature] = Field(min_length=1)
    execution: ExecutionSettings = ExecutionSettings()
    fuse: FuseSettings
    study: StudySettings | None = None

    @model_validator(mode="after")
    def _names_meet(self) -> Recipe:
        if misfits := _misfits(self.model_dump()):
            raise _Misfits(misfits)
        return self


class _Misfits(ValueError):
    """Names in one part of a recipe that another part doesn't have: where each stands, and what is wrong."""

    def __init__(self, found: list[tuple[Location, str]]) -> None:
        super().__init__("; ".join(message for _, message in found))
        self.found = found


def _misfits(data: Mapping[str, Any]) -> list[tuple[Location, str]]:
    """Names that don't meet, in a recipe as plain data of which any part may be missing or of the wrong type."""
    features, fuse, study = (_mapping(data.get(name)) for name in ("features", "fuse", "study"))
    fused = _mapping(fuse.get("features"))
    faces = _mapping(data.get("faces"))
    found: list[tuple[Location, str]] = [
        (("features", name), f"feature {name!r} is not a plain name; wanted letters, digits, _ . -")
        for name in features
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", name)
    ]
    seeing = [n for n, one in features.items() if _mapping(_mapping(one).get("crop")).get("region") == "face"]
    found += [
        (("features", name, "crop", "region"), "is face, but nothing says which; add `faces`, e.g. {method: crops}")
        for name in seeing
        if data.get("faces") is None
    ]
    if faces and features and not seeing:
        found.append((("faces",), "would have no effect: no feature has crop.region: face"))
    if FACES in features:
        found.append((("features", FACES), f"{FACES} is what the places of faces are called; choose another name"))
    kept = {*features, *[FACES] * (faces.get("method") == "detect")}
    for modality, feature in fused.items():
        if features and isinstance(feature, str) and feature not in kept:
            there = f"`features` has {', '.join(features)}{_near(feature, features)}"
            found.append(
                (("fuse", "features", modality), f"fuse.features.{modality} names the feature {feature!r}; {there}")
            )
    for i, modalities in enumerate(_sequence(study.get("modalities"))):
        for k, modality in enumerate(_sequence(modalities)):
            if fused and isinstance(modality, str) and modality not in fused:
                there = f"`fuse.features` has {', '.join(fused)}{_near(modality, fused)}"
                found.append((("study", "modalities", i, k), f"study.modalities names {modality!r}; {there}"))
    return found


def _mapping(value: Any) -> dict[str, Any]:
    return {str(name): item for name, item in value.items()} if isinstance(value, dict) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


@dataclass(frozen=True)
class Problem:
    """One mistake in a recipe: where, and what."""

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.message}" if self.path else f"{self.where}: {self.message}"


class SettingsError(Exception):
    """A recipe that can't be used; `problems` has every mistake found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe. Raises SettingsError with every problem at once."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError([Problem(str(path), "", f"can't be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        problem = f"is no text in UTF-8 ({error.reason} at byte {error.start})"
        raise SettingsError([Problem(str(path), "", problem)]) from None
    document = _Document(path)
    data = document.parse(text)
    for override in overrides:
        document.override(data, override)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        for found in error.errors():
            if not isinstance(found.get("ctx", {}).get("error"), _Misfits):
                document.add(_place(found["loc"]), _said(found))
        # pydantic looks at the whole only once every part is right; a person wants to hear of both at once.
        for location, message in _misfits(data):
            document.add(location, message)
    if document.problems or recipe is None:
        raise SettingsError(document.problems)
    return recipe


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with numbers as people write them: 1e-4 is one."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*([eE][-+]?\d+)|\d+\.\d*|\.\d+([eE][-+]?\d+)?|\.inf|\.nan)$"),
    list("-+0123456789."),
)


class _Document:
    """A YAML text as data, remembering where each key stands, and the problems found on the way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._marks: dict[Location, str] = {(): str(path)}
        self.problems: list[Problem] = []

    def parse(self, text: str) -> dict[str, Any]:
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            data = self._build(loader, node, ()) if node is not None else None
        except yaml.MarkedYAMLError as error:
            where = self._at(error.problem_mark) if error.problem_mark is not None else str(self._path)
            raise SettingsError([Problem(where, "", f"is no YAML: {error.problem}")]) from None
        except yaml.reader.ReaderError as error:
            where = f"{self._path}:{text.count(chr(10), 0, error.position) + 1}"
            raise SettingsError([Problem(where, "", f"is no YAML: {error.reason}")]) from None
        except RecursionError:
            raise SettingsError([Problem(str(self._path), "", "is nested too deeply, or holds itself")]) from None
        if not isinstance(data, dict):
            raise SettingsError(
                [Problem(str(self._path), "", "holds no settings; wanted keys such as corpus, features")]
            )
        return data

    def override(self, data: dict[str, Any], text: str) -> None:
        """Lay one `key.path=value` over the data; the value is read as YAML."""
        name, equals, value = text.partition("=")
        where = f"command line {text!r}"
        location: Location = tuple(name.split("."))
        if not equals or not all(location):
            self.problems.append(Problem(where, "", "wanted key.path=value, e.g. fuse.training.epochs=10"))
            return
        place = data
        for i, part in enumerate(location[:-1]):
            if place.get(str(part)) is None:
                place[str(part)] = {}
                self._marks[location[: i + 1]] = where
            inner = place[str(part)]
            if not isinstance(inner, dict):
                self.problems.append(
                    Problem(
                        where, name, f"{'.'.join(map(str, location[: i + 1]))} is a value, so nothing can be set in it"
                    )
                )
                return
            place = inner
        try:
            place[str(location[-1])] = yaml.load(value, _Loader)  # a SafeLoader
        except (yaml.YAMLError, ValueError):
            self.problems.append(Problem(where, name, f"the value {value!r} is no YAML"))
            return
        # What the file had inside this place is gone, so nothing there stands in the file any more.
        self._marks = {at: mark for at, mark in self._marks.items() if at[: len(location)] != location}
        self._marks[location] = where

    def add(self, location: Location, message: str) -> None:
        """A problem at a place in the data; where the place itself isn't in the file, the nearest one around it."""
        at = location
        while at and at not in self._marks:
            at = at[:-1]
        self.problems.append(Problem(self._marks[at], ".".join(map(str, location)), message))

    def _build(self, loader: _Loader, node: yaml.Node, location: Location) -> Any:
        if isinstance(node, yaml.MappingNode):
            data: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = loader.construct_object(key_node)
                if not isinstance(key, str):
                    key = str(key_node.value)
                inner: Location = (*location, key)
                where = self._at(key_node.start_mark)
                self._marks.setdefault(inner, where)
                if key in data:
                    self.problems.append(Problem(where, ".".join(map(str, inner)), "is given twice; keep one"))
                data[key] = self._build(loader, value_node, inner)
            return data
        if isinstance(node, yaml.SequenceNode):
            items = []
            for i, item in enumerate(node.value):
                self._marks[(*location, i)] = self._at(item.start_mark)
                items.append(self._build(loader, item, (*location, i)))
            return items
        try:
            return loader.construct_object(node)
        except ValueError as error:  # a date of month 13, say
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None

    def _at(self, mark: yaml.Mark) -> str:
        return f"{self._path}:{mark.line + 1}:{mark.column + 1}"


def _said(error: Any) -> str:
    location: Location = error["loc"]
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        return f"is not a setting; there are {', '.join(known)}{_near(str(location[-1]), known)}"
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    got = error["input"]
    shown = f"; got {got!r}" if not isinstance(got, dict | list) else ""
    return f"{error['msg'][0].lower()}{error['msg'][1:]}{shown}"


def _place(location: Location) -> Location:
    """Where an error stands in the file: the kind of a feature is no part of that."""
    if len(location) > 2 and location[0] == "features" and location[2] in _FEATURES:
        return (*location[:2], *location[3:])
    return location


def _keys_at(location: Location) -> list[str]:
    """The keys that settings know at a place of pydantic's: those of the model found by walking the types."""
    kind: Any = Recipe
    for part in location:
        if kind == Feature:
            kind = _FEATURES[str(part)]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field is not None else None
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next((one for one in typing.get_args(kind) if one is not type(None)), None)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _near(name: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
