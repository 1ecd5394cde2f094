"""The whole corpus into the store: what is missing, one clip after another, failures collected.

A clip is planned by keys alone: its media's digest and the recipes' digests say which tracks must exist. Those
that do are never computed again, so a run that was killed goes on where it was, and a run on a finished store
decodes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import SourceDigests, TrackKey, digest_of
from cache.store import Store, local_folder
from extract.backbones.identity import identify
from extract.clips import Clip, Part
from extract.crew import outcomes
from extract.faces.settings import FaceSettings
from extract.failures import Failures
from extract.import_settings import ImportSettings
from extract.imports import import_path, import_recipe, import_source, read_import
from extract.jobs import Job, Outcome, Task
from extract.recipe import FACES, FeatureSettings, Identity
from extract.settings import ExecutionSettings

AnyFeature = FeatureSettings | ImportSettings


@dataclass(frozen=True)
class Progress:
    """How far it is, in clips and in label rows (the measure of long and short clips alike). frames: decoded so far."""

    clips_done: int
    clips: int
    rows_done: int
    rows: int
    failures: int
    clip: str
    frames: int = 0


@dataclass(frozen=True)
class Summary:
    """What a run did. failed: clip -> reason. put_off: those of them that were not tried again. frames: decoded."""

    clips: int
    extracted: list[str]
    up_to_date: int
    relabelled: list[str]
    failed: dict[str, str]
    frames: int
    seconds: float
    put_off: list[str] = field(default_factory=list)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What is wanted of every clip: the features, their recipes and their weights. Made by `plan_features`."""

    backbones: Mapping[str, FeatureSettings]
    imports: Mapping[str, ImportSettings]
    faces: FaceSettings | None
    identities: Mapping[str, Identity]
    recipes: Mapping[str, Mapping[str, Any]]
    root: Path

    def part(self, name: str) -> Part:
        """What of a clip a backbone's feature is made from."""
        if name == FACES:
            return "picture"
        feature = self.backbones[name]
        if feature.spec.modality == "audio":
            return "sound"
        if feature.resolved_crop.region == "face" and self.faces is not None and self.faces.method != "detect":
            return self.faces.method
        return "picture"

    def source(self, name: str, clip: Clip, digest: Callable[[Path], str]) -> str:
        """The digest of what the feature of this clip is made from. Raises OSError, ValueError if it isn't there."""
        if name in self.imports:
            return import_source(self.imports[name], clip, self.root, digest)
        return clip.source(self.part(name), digest)


def plan_features(
    features: Mapping[str, AnyFeature], faces: FaceSettings | None, clips: list[Clip], root: Path
) -> Plan:
    """The recipe behind each feature's name, weights identified. root: what imported files' paths start from.

    Raises ValueError for weights that aren't there.
    """
    backbones = {name: one for name, one in features.items() if isinstance(one, FeatureSettings)}
    imports = {name: one for name, one in features.items() if isinstance(one, ImportSettings)}
    identities = {name: identify(feature) for name, feature in backbones.items()}
    face = _face_recipe(faces)
    recipes: dict[str, Mapping[str, Any]] = {
        name: feature.recipe(identities[name], face) for name, feature in backbones.items()
    }
    looks = any(one.resolved_crop.region == "face" for one in backbones.values() if one.spec.modality == "visual")
    if looks and faces is None:
        raise ValueError("a feature has crop.region: face, but nothing says which; add `faces: {method: ...}`")
    if looks and faces is not None and faces.method == "detect":
        recipes[FACES] = {"format": 1, "kind": "faces", "dtype": "float32", **(face or {})}
    recipes |= {name: import_recipe(name, one, clips, root) for name, one in imports.items()}
    return Plan(backbones, imports, faces, identities, recipes, root)


@dataclass(frozen=True)
class _Work:
    clip: Clip
    source: str
    keys: dict[str, TrackKey]
    missing: list[str]

    @property
    def unmade(self) -> list[TrackKey]:
        return [self.keys[name] for name in self.missing]


def extract_corpus(
    clips: list[Clip],
    plan: Plan,
    store: Store,
    execution: ExecutionSettings,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    *,
    retry_failed: bool = False,
) -> Summary:
    """Bring store and catalogue up to date with the clips and the features.

    A clip that can't be decoded is reported with its reason and the run goes on; the next run reports it again without
    trying, unless its file or the recipe has changed. retry_failed: do just those, and nothing else. Raises ValueError
    for settings that no clip could be extracted with.
    """
    began = time.perf_counter()
    digests = {name: digest_of(recipe) for name, recipe in plan.recipes.items()}
    catalogue = Catalogue(store)
    failures = Failures(local_folder(store.location) / "failures.jsonl")
    failed: dict[str, str] = {}
    put_off: list[str] = []
    work: list[_Work] = []
    for item in _planned(clips, plan, digests, store, failed):
        known = failures.reason(item.clip.name, item.unmade) if item.missing else None
        if known is not None and not retry_failed:
            failed[item.clip.name] = known
            put_off.append(item.clip.name)
        elif known is not None or not retry_failed:
            work.append(item)
    if retry_failed:
        failed = {}
    todo = [item for item in work if item.missing]
    extracted: list[str] = []
    relabelled: list[str] = []
    notes: dict[str, tuple[str, ...]] = {}
    up_to_date = frames = 0
    for item, outcome in _extractions(todo, plan, store, execution, on_progress):
        if outcome.reason is not None:
            failed[item.clip.name] = outcome.reason
            failures.add(item.clip.name, item.unmade, outcome.reason)
            continue
        failures.forget(item.clip.name)
        frames += outcome.seen
        recorded = _record(item, digests, outcome, store, catalogue)
        if isinstance(recorded, str):
            failed[item.clip.name] = recorded
            continue
        extracted.append(item.clip.name)
        if outcome.notes:
            notes[item.clip.name] = outcome.notes
    for item in work:
        if item.missing:
            continue
        recorded = _record(item, digests, Outcome(), store, catalogue)
        if isinstance(recorded, str):
            failed[item.clip.name] = recorded
            continue
        up_to_date += 1
        if recorded:
            relabelled.append(item.clip.name)
    seconds = round(time.perf_counter() - began, 3)
    return Summary(len(clips), extracted, up_to_date, relabelled, failed, frames, seconds, put_off, notes)


def _planned(
    clips: list[Clip], plan: Plan, digests: Mapping[str, str], store: Store, failed: dict[str, str]
) -> Iterator[_Work]:
    """What is missing of each clip; clips whose files are not there go into `failed`."""
    digest = SourceDigests(local_folder(store.location) / "sources.jsonl")
    for clip in clips:
        absent = [path for path in clip.files() if not path.exists()]
        if absent:
            failed[clip.name] = f"{', '.join(path.name for path in absent)} is missing"
            continue
        try:
            source = clip.source(clip.main_part, digest)
            keys = {
                name: TrackKey(recipe, plan.source(name, clip, digest), clip.name) for name, recipe in digests.items()
            }
        except OSError as error:
            failed[clip.name] = f"{Path(error.filename or clip.media_name).name} can't be read: {error.strerror}"
        except ValueError as error:
            failed[clip.name] = str(error)
        else:
            yield _Work(clip, source, keys, [name for name, key in keys.items() if not store.has(key)])


def _extractions(
    todo: list[_Work],
    plan: Plan,
    store: Store,
    execution: ExecutionSettings,
    on_progress: Callable[[Progress], None],
) -> Iterator[tuple[_Work, Outcome]]:
    """Extract, import and store clip by clip; yields what came of each."""
    backbones = {name: feature for name, feature in plan.backbones.items() if any(name in w.missing for w in todo)}
    recipes = {name: recipe for name, recipe in plan.recipes.items() if name in backbones or name == FACES}
    task = Task(backbones, plan.faces, {name: plan.identities[name] for name in backbones}, recipes, execution)
    progress = _Progress(todo, on_progress)
    decoding: list[_Work] = []
    for item in todo:
        outcome = _import(item, plan, store)
        if outcome.reason is None and any(name in recipes for name in item.missing):
            decoding.append(item)
        else:
            progress.done(item, outcome)
            yield item, outcome
    jobs = [_job(item, recipes, store) for item in decoding]
    for number, outcome in outcomes(task, jobs, store, progress.frames):
        progress.done(decoding[number], outcome)
        yield decoding[number], outcome


class _Progress:
    """Counts what is done of a run and tells it on."""

    def __init__(self, todo: list[_Work], on_progress: Callable[[Progress], None]) -> None:
        self._on_progress = on_progress
        self._now = Progress(0, len(todo), 0, sum(_rows(item.clip) for item in todo), 0, "")

    def done(self, item: _Work, outcome: Outcome) -> None:
        now = self._now
        self._now = replace(
            now,
            clips_done=now.clips_done + 1,
            rows_done=now.rows_done + _rows(item.clip),
            failures=now.failures + (outcome.reason is not None),
            clip=item.clip.name,
        )
        self._on_progress(self._now)

    def frames(self, frames: int) -> None:
        self._now = replace(self._now, frames=frames)
        self._on_progress(self._now)


def _job(item: _Work, recipes: Mapping[str, Any], store: Store) -> Job:
    """The clip's work without its labels, which no worker needs. Faces that are known already are not looked for."""
    keys = {name: item.keys[name] for name in item.missing if name in recipes}
    places = item.keys[FACES] if FACES in recipes and FACES not in keys and store.has(item.keys[FACES]) else None
    return Job(replace(item.clip, labels=None), keys, places)


def _import(item: _Work, plan: Plan, store: Store) -> Outcome:
    """Bring in what of the clip is imported."""
    try:
        for name in item.missing:
            if name in plan.imports:
                recipe = plan.recipes[name]
                path = import_path(plan.imports[name], item.clip, plan.root)
                track = read_import(plan.imports[name], item.clip, plan.root, recipe["columns"])
                store.write(item.keys[name], track, recipe=recipe, provenance={"file": str(path)})
    except ValueError as error:
        return Outcome(str(error))
    return Outcome()


def _record(
    item: _Work, digests: Mapping[str, str], outcome: Outcome, store: Store, catalogue: Catalogue
) -> bool | str:
    """Bring the clip's record up to date; False if it was, a text if it can't be: labels that fit no frames, say."""
    clip = item.clip
    current = catalogue.get(clip.name)
    if current is not None and _says_the_same(current, item, digests):
        return False
    from extract.decode import MediaError

    notes = outcome.notes
    if not notes and current is not None and current.source == item.source:
        notes = tuple(note for note in current.notes if " label rows for " not in note)  # said anew below
    try:
        frames = outcome.frames
        if frames is None:
            frames = _clock_of_frames(item, store)
        labels, note = clip.labels.on(frames) if clip.labels is not None else (None, None)
    except (MediaError, ValueError) as error:
        return str(error)
    return catalogue.update(
        Record(
            clip=clip.name,
            media=clip.media_name,
            source=item.source,
            split=clip.split,
            subject=clip.subject,
            duration_seconds=float(frames.duration_seconds()),
            labels=labels,
            tracks=dict(digests),
            sources=_sources(item),
            native_range=clip.labels.native_range if clip.labels is not None else (-1.0, 1.0),
            notes=(*notes, note) if note else notes,
        )
    )


def _sources(item: _Work) -> dict[str, str]:
    return {name: key.source for name, key in item.keys.items() if key.source != item.source}


def _says_the_same(record: Record, item: _Work, digests: Mapping[str, str]) -> bool:
    clip = item.clip
    same_labels = (record.labels is None) == (clip.labels is None)
    if same_labels and record.labels is not None and clip.labels is not None:
        same_labels = (
            np.array_equal(record.labels.valid, clip.labels.valid)
            and np.array_equal(record.labels.values[record.labels.valid], clip.labels.values[clip.labels.valid])
            and (clip.labels.clock is None or clip.labels.clock == record.labels.clock)
            and clip.labels.native_range == record.native_range
        )
    return (
        same_labels
        and (record.source, record.split, record.subject, record.media)
        == (item.source, clip.split, clip.subject, clip.media_name)
        and all(record.tracks.get(name) == digest for name, digest in digests.items())
        and all(record.key(name) == key for name, key in item.keys.items())
    )


def _clock_of_frames(item: _Work, store: Store) -> Clock:
    """When the clip's label rows without times of their own happen: as its frames do, read without decoding.

    A clip without pictures lends the clock of its labels, or of its longest feature.
    """
    clip = item.clip
    if clip.images is not None and clip.images.clock is not None:
        return clip.images.clock
    clocks = [store.read(key).clock for key in item.keys.values() if store.has(key)]
    of_frames = next((clock for clock in clocks if clock.ticks is not None), None)
    if of_frames is not None:
        return of_frames
    timed = clip.labels is None or clip.labels.clock is not None
    if clip.media is not None and not timed:
        from extract.decode import frame_clock

        return frame_clock(clip.media)
    if clip.labels is not None and clip.labels.clock is not None:
        return clip.labels.clock
    if not timed:
        raise ValueError(f"{clip.name} has labels a frame, but no frames; give it a video, or its labels times")
    return max(clocks, key=lambda clock: clock.duration_seconds(), default=Clock.regular(Fraction(1), 0))


def _face_recipe(faces: FaceSettings | None) -> dict[str, Any] | None:
    if faces is None:
        return None
    if faces.weights is None:
        return faces.recipe(None)
    from extract.faces.weights import detector_identity

    return faces.recipe(detector_identity(faces.weights))


def _rows(clip: Clip) -> int:
    return len(clip.labels.values) if clip.labels is not None else 1
