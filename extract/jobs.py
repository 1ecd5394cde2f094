"""One clip's work as it is handed out: what is missing, done where the worker is, with a small answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cache.clock import Clock
from cache.key import TrackKey
from cache.store import Store
from extract.clips import Clip
from extract.faces.settings import FaceSettings
from extract.recipe import FACES, FeatureSettings, Identity
from extract.settings import ExecutionSettings


@dataclass(frozen=True)
class Task:
    """What is the same for all clips of a run. recipes: of the features, and of `faces` where they are looked for."""

    features: Mapping[str, FeatureSettings]
    faces: FaceSettings | None
    identities: Mapping[str, Identity]
    recipes: Mapping[str, Mapping[str, Any]]
    execution: ExecutionSettings


@dataclass(frozen=True)
class Job:
    """One clip. keys: the missing tracks by name. places: where its faces are already known, if they are."""

    clip: Clip
    keys: Mapping[str, TrackKey]
    places: TrackKey | None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a job. reason: why it failed, None if it didn't. frames: the clock of the clip's frames, if seen."""

    reason: str | None = None
    frames: Clock | None = None
    seen: int = 0
    notes: tuple[str, ...] = ()


class Stopped(Exception):
    """The worker was told to stop while a clip was under way; the clip is not done."""


class Bench:
    """A worker and the store it writes to. Raises ValueError for settings that no clip could be extracted with."""

    def __init__(self, task: Task, store: Store) -> None:
        from extract.worker import Worker

        self._task, self._store = task, store
        self.worker = Worker(task.features, task.execution, task.faces, task.identities)
        self._provenance = {name: self.worker.provenance(name) for name in task.recipes}

    def do(self, job: Job, on_frames: Callable[[int], None]) -> Outcome:
        """Extract one clip and commit its tracks. What is wrong with the clip is a reason; a full disk is raised."""
        from extract.decode import MediaError

        try:
            places = self._store.read(job.places) if job.places is not None else None
            done = self.worker.extract(job.clip, list(job.keys), places, on_frames)
        except Stopped:
            raise
        except (MediaError, ValueError) as error:
            return Outcome(str(error))
        except Exception as error:  # whatever it is, it is this clip's
            text = str(error).splitlines()[0] if str(error) else ""
            return Outcome(f"{type(error).__name__}: {text}".rstrip(": "))
        for name, track in done.tracks.items():
            if name in job.keys:
                self._store.write(
                    job.keys[name], track, recipe=self._task.recipes[name], provenance=self._provenance[name]
                )
        return Outcome(None, done.frames, done.seen, done.notes)


def names_wanted(task: Task) -> list[str]:
    """Every track that a clip should have."""
    return [*task.features, *([FACES] if FACES in task.recipes else [])]
