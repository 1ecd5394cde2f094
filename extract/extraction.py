"""The whole corpus into the store: what is missing, one clip after another, failures collected.

A clip is planned by keys alone: its media's digest and the recipes' digests say which tracks must exist. Those
that do are never computed again, so a run that was killed goes on where it was, and a run on a finished store
decodes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import SourceDigests, TrackKey, digest_of
from cache.store import Store, local_folder
from extract.backbones.identity import identify_weights
from extract.clips import Clip
from extract.recipe import FeatureSettings
from extract.settings import ExecutionSettings


@dataclass(frozen=True)
class Progress:
    """How far it is, in clips and in label rows (the measure of long and short clips alike)."""

    clips_done: int
    clips: int
    rows_done: int
    rows: int
    failures: int
    clip: str


@dataclass(frozen=True)
class Summary:
    """What a run did. failed: clip -> reason. frames: decoded, over all clips."""

    clips: int
    extracted: list[str]
    up_to_date: int
    relabelled: list[str]
    failed: dict[str, str]
    frames: int
    seconds: float


@dataclass(frozen=True)
class _Work:
    clip: Clip
    source: str
    keys: dict[str, TrackKey]
    missing: list[str] = field(default_factory=list)


def recipes_of(features: Mapping[str, FeatureSettings]) -> dict[str, dict[str, Any]]:
    """The recipe behind each feature's name, weights identified. Raises ValueError for weights that aren't there."""
    return {name: feature.recipe(identify_weights(feature)) for name, feature in features.items()}


def extract_corpus(
    clips: list[Clip],
    features: Mapping[str, FeatureSettings],
    store: Store,
    execution: ExecutionSettings,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Bring store and catalogue up to date with the clips and the features.

    A clip that can't be decoded is reported with its reason and the run goes on. Raises ValueError for
    settings that no clip could be extracted with.
    """
    began = time.perf_counter()
    recipes = recipes_of(features)
    digests = {name: digest_of(recipe) for name, recipe in recipes.items()}
    catalogue = Catalogue(store)
    source_digests = SourceDigests(local_folder(store.path) / "sources.jsonl")
    failed: dict[str, str] = {}
    work: list[_Work] = []
    for clip in clips:
        try:
            source = clip.source(source_digests(clip.media))
        except OSError as error:
            failed[clip.name] = f"{clip.media_name} can't be read: {error.strerror}"
            continue
        keys = {name: TrackKey(digest, source, clip.name) for name, digest in digests.items()}
        work.append(_Work(clip, source, keys, [name for name, key in keys.items() if not store.has(key)]))
    todo = [item for item in work if item.missing]
    extracted: list[str] = []
    relabelled: list[str] = []
    up_to_date = frames = 0
    for item, outcome in _extractions(todo, features, recipes, store, execution, on_progress):
        if isinstance(outcome, str):
            failed[item.clip.name] = outcome
            continue
        frames += len(outcome) if outcome is not None else 0
        recorded = _record(item, digests, outcome, store, catalogue)
        if isinstance(recorded, str):
            failed[item.clip.name] = recorded
        else:
            extracted.append(item.clip.name)
    for item in work:
        if item.missing:
            continue
        recorded = _record(item, digests, None, store, catalogue)
        if isinstance(recorded, str):
            failed[item.clip.name] = recorded
            continue
        up_to_date += 1
        if recorded:
            relabelled.append(item.clip.name)
    return Summary(len(clips), extracted, up_to_date, relabelled, failed, frames, round(time.perf_counter() - began, 3))


def _extractions(
    todo: list[_Work],
    features: Mapping[str, FeatureSettings],
    recipes: Mapping[str, dict[str, Any]],
    store: Store,
    execution: ExecutionSettings,
    on_progress: Callable[[Progress], None],
) -> Iterator[tuple[_Work, Clock | str | None]]:
    """Extract and store clip by clip, several at once; yields the frames' clock, or why the clip failed."""
    if not todo:
        return
    from extract.decode import MediaError
    from extract.worker import Worker

    worker = Worker(features, execution)
    provenance = {name: worker.provenance(name) for name in features}

    def one(item: _Work) -> Clock | str | None:
        try:
            extraction = worker.extract(item.clip, item.missing)
            for name, track in extraction.tracks.items():
                store.write(item.keys[name], track, recipe=recipes[name], provenance=provenance[name])
            return extraction.frames
        except (MediaError, ValueError) as error:
            return str(error)

    rows, rows_done, failures = sum(_rows(item.clip) for item in todo), 0, 0
    with ThreadPoolExecutor(worker.clips_at_once, "clip") as pool:
        futures = {pool.submit(one, item): item for item in todo}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                item, outcome = futures[future], future.result()
                rows_done += _rows(item.clip)
                failures += isinstance(outcome, str)
                on_progress(Progress(done, len(todo), rows_done, rows, failures, item.clip.name))
                yield item, outcome
        except BaseException:
            worker.stop()  # an interrupt is answered within a batch, not at the end of a long clip
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _record(
    item: _Work, digests: Mapping[str, str], frames: Clock | None, store: Store, catalogue: Catalogue
) -> bool | str:
    """Bring the clip's record up to date; False if it was, a text if it can't be: labels that fit no frames, say."""
    clip = item.clip
    current = catalogue.get(clip.name)
    if current is not None and _says_the_same(current, item, digests):
        return False
    from extract.decode import MediaError

    try:
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
            notes=(note,) if note else (),
        )
    )


def _says_the_same(record: Record, item: _Work, digests: Mapping[str, str]) -> bool:
    clip = item.clip
    same_labels = (record.labels is None) == (clip.labels is None)
    if same_labels and record.labels is not None and clip.labels is not None:
        same_labels = (
            np.array_equal(record.labels.valid, clip.labels.valid)
            and np.array_equal(record.labels.values[record.labels.valid], clip.labels.values[clip.labels.valid])
            and (clip.labels.clock is None or clip.labels.clock == record.labels.clock)
        )
    return (
        same_labels
        and (record.source, record.split, record.subject, record.media)
        == (item.source, clip.split, clip.subject, clip.media_name)
        and all(record.tracks.get(name) == digest for name, digest in digests.items())
    )


def _clock_of_frames(item: _Work, store: Store) -> Clock:
    """The clip's frame times, without decoding: those of a stored visual track, else from the container."""
    for key in item.keys.values():
        if store.has(key):
            clock = store.read(key).clock
            if clock.ticks is not None:
                return clock
    from extract.decode import frame_clock

    return frame_clock(item.clip.media)


def _rows(clip: Clip) -> int:
    return len(clip.labels.values) if clip.labels is not None else 1
