"""The demo corpus on disk, in the layout of Aff-Wild2, and what is true of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.demo.clip import Clip, Person, make_clip
from pipeline.demo.latent import DECIMALS, INVALID, LAG_SECONDS, Ceiling
from pipeline.demo.plan import ClipPlan, plan_corpus
from pipeline.demo.settings import PuppetSettings
from pipeline.workers import end_with_parent

# Raise the number whenever the files of the same settings change.
FORMAT = "duet-puppets/1"
TRUTH = "truth.json"
VIDEOS = "batch1"
LABELS = {
    "train": "VA_Estimation_Challenge/Train_Set",
    "validation": "VA_Estimation_Challenge/Validation_Set",
}


@dataclass(frozen=True)
class ClipTruth:
    """What is true of one label file."""

    name: str  # stem of the label file
    video: str  # stem of the media file
    index: int  # `Latent.draw(seed, index, person)` is what the puppet felt
    person: int
    subject: str
    split: str
    rate_hz: str  # nominal, an exact fraction: "25", "30", "30000/1001"
    traits: tuple[str, ...]
    frames: int
    labels: int


@dataclass(frozen=True)
class CorpusTruth:
    """What is true of the corpus, whatever a model says. ceiling: by split, `train` and `validation`."""

    format: str
    seed: int
    settings: PuppetSettings
    lag_seconds: float
    ceiling: Mapping[str, Ceiling]
    clips: tuple[ClipTruth, ...]


def write_corpus(
    root: Path, settings: PuppetSettings, progress: Callable[[int, int], None] | None = None, workers: int = 1
) -> CorpusTruth:
    """Write the corpus at `root`, or return at once if it is there already.

    Everything is made in a folder beside `root` that gets its name at the end, so a run that was killed
    leaves nothing that looks like a corpus. progress: called with (videos done, videos in all). workers:
    processes; they change how long it takes and nothing else. Raises ValueError if `root` holds a corpus
    of other settings, or anything else.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, wanted at least 1: leave it out for one process")
    if (found := _finished(root, settings)) is not None:
        return found
    root.parent.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    partial = root.parent / f".{root.name}.{os.getpid()}.partial"
    partial.mkdir()
    try:
        truth = _write(partial, settings, progress, workers)
        try:
            partial.rename(root)  # also over an empty folder, never over a full one
        except OSError:
            if (found := _finished(root, settings)) is not None:  # another run was faster
                return found
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return truth


def read_truth(root: Path) -> CorpusTruth:
    """What `write_corpus` found true of the corpus at `root`. Raises ValueError if there is no finished one."""
    path = root / TRUTH
    if not path.is_file():
        raise ValueError(f"{root} is no demo corpus: it has no {TRUTH}, wanted a finished one; `duet demo` writes it")
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {content.get('format')!r}, wanted {FORMAT!r}: "
            f"delete {root} and write it again with `duet demo`"
        )
    return CorpusTruth(
        format=content["format"],
        seed=content["seed"],
        settings=PuppetSettings(**content["settings"]),
        lag_seconds=content["lag_seconds"],
        ceiling={split: Ceiling(**scores) for split, scores in content["ceiling"].items()},
        clips=tuple(ClipTruth(**{**clip, "traits": tuple(clip["traits"])}) for clip in content["clips"]),
    )


def _finished(root: Path, settings: PuppetSettings) -> CorpusTruth | None:
    """The corpus that is there already, None if the place is free; anything else is an error."""
    if not root.exists():
        return None
    if root.is_dir() and not any(root.iterdir()):
        return None
    if not (root / TRUTH).is_file():
        raise ValueError(
            f"{root} is there but is no demo corpus (it has no {TRUTH}), wanted a new or an empty folder: "
            "choose another place, or delete it if nothing in it is needed"
        )
    truth = read_truth(root)
    got, wanted = truth.settings.model_dump(), settings.model_dump()
    if got != wanted:
        differing = "; ".join(f"{k}: got {got[k]}, wanted {wanted[k]}" for k in wanted if got[k] != wanted[k])
        raise ValueError(
            f"{root} holds a demo corpus with other settings ({differing}): choose another folder, or delete this one"
        )
    return truth


def _sweep(root: Path) -> None:
    """Remove what runs that were killed left beside `root`; a run that is alive keeps its own."""
    for stale in root.parent.glob(f".{root.name}.*.partial"):
        owner = stale.name.removeprefix(f".{root.name}.").removesuffix(".partial")
        if owner.isdigit() and (int(owner) == os.getpid() or not _alive(int(owner))):
            shutil.rmtree(stale, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:  # alive, but another user's
        return True
    return True


def _write(
    folder: Path, settings: PuppetSettings, progress: Callable[[int, int], None] | None, workers: int
) -> CorpusTruth:
    plans = plan_corpus(settings)
    for part in (VIDEOS, *LABELS.values()):
        (folder / part).mkdir(parents=True)
    made: dict[int, Clip] = {}
    if progress is not None:
        progress(0, len(plans))
    for clip in _made(folder / VIDEOS, settings, plans, workers):
        made[clip.plan.index] = clip
        if progress is not None:
            progress(len(made), len(plans))
    clips = [made[plan.index] for plan in plans]

    people = [(clip, number, person) for clip in clips for number, person in enumerate(clip.people)]
    truths = [_truth_of(clip, number, person, settings.seed) for clip, number, person in people]
    for truth, (_, _, person) in zip(truths, people, strict=True):
        rows = "".join(f"{_written(v)},{_written(a)}\n" for v, a in person.labels.tolist())
        (folder / LABELS[truth.split] / f"{truth.name}.txt").write_text("valence,arousal\n" + rows, encoding="utf-8")
    subjects = "".join(f"{t.name},{t.subject}\n" for t in truths)
    (folder / "subjects.csv").write_text("clip,subject\n" + subjects, encoding="utf-8")
    ceiling = {}
    for split in LABELS:
        mine = [person for clip, _, person in people if clip.plan.split == split]
        ceiling[split] = Ceiling.of([p.latents for p in mine], [p.labels for p in mine])
    corpus = CorpusTruth(FORMAT, settings.seed, settings, LAG_SECONDS, ceiling, tuple(truths))
    content = asdict(corpus) | {"settings": settings.model_dump()}
    (folder / TRUTH).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return corpus


def _written(value: float) -> str:
    """A label as Aff-Wild2 writes it: invalid is -5, not -5.0000."""
    return f"{value:.0f}" if value == INVALID else f"{value:.{DECIMALS}f}"


def _truth_of(clip: Clip, number: int, person: Person, seed: int) -> ClipTruth:
    plan = clip.plan
    return ClipTruth(
        name=plan.names[number],
        video=plan.video,
        index=plan.index,
        person=number,
        subject=f"subject_{plan.subjects[number]:02d}",
        split=plan.split,
        rate_hz=str(plan.timeline(seed).nominal_rate_hz),
        traits=plan.traits,
        frames=clip.frames,
        labels=len(person.labels),
    )


def _made(folder: Path, settings: PuppetSettings, plans: Sequence[ClipPlan], workers: int) -> Iterator[Clip]:
    """The clips as they get ready, in any order."""
    if workers == 1:
        yield from (make_clip(folder, settings, plan) for plan in plans)
        return
    # Spawned, not forked: the caller may have threads. Threads would not do: drawing holds the interpreter.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(make_clip, folder, settings, plan) for plan in plans]):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"one of {workers} workers ended before its clip was written: too little memory, or a calling script "
                "that has no file or no `if __name__ == '__main__':`; workers=1 needs neither"
            ) from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
