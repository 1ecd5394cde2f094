"""One video file and its label rows, made from its plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.acting import Performance, perform
from pipeline.demo.chance import Float, generator
from pipeline.demo.face import Look, draw_face, draw_room
from pipeline.demo.latent import INVALID, LAG_SECONDS, Latent, annotate
from pipeline.demo.media import write_media
from pipeline.demo.plan import ClipPlan
from pipeline.demo.settings import PuppetSettings
from pipeline.demo.speech import Speech
from pipeline.demo.timeline import Timeline
from pipeline.demo.voice import Throat, draw_voice, record

SAMPLE_RATES = (44_100, 48_000)
SHORT_BY_SECONDS = 2.0  # how much too early the sound of the short one ends
UNSEEN_SHARE = 0.15  # of hidings that the annotators left out
LATE_START_SHARE, LATE_START_SECONDS = 0.2, (0.2, 0.6)  # clips whose annotation begins late, and how late


@dataclass(frozen=True)
class Person:
    """What one puppet of a clip leaves behind."""

    labels: Float  # [L, 2] as published
    latents: Float  # [L, 2] noise-free, LAG_SECONDS before each label's frame


@dataclass(frozen=True)
class Clip:
    """What is known of a video once it is written."""

    plan: ClipPlan
    frames: int
    sample_rate: int
    people: tuple[Person, ...]


def make_clip(folder: Path, settings: PuppetSettings, plan: ClipPlan) -> Clip:
    """Write `folder/<video>.mp4`; the label files are the corpus's business."""
    seed, index = settings.seed, plan.index
    timeline = plan.timeline(seed)
    lasting = timeline.end_seconds
    sample_rate = SAMPLE_RATES[index % len(SAMPLE_RATES)]
    persons = range(len(plan.subjects))
    latents = [Latent.draw(seed, index, person) for person in persons]
    speeches = [Speech.draw(generator(seed, "speech", index, p), latents[p], lasting) for p in persons]
    shows = [perform(latents[p], speeches[p], timeline.seconds, generator(seed, "acting", index, p)) for p in persons]
    sound: Float | None = None
    if "silent" not in plan.traits:
        audible = lasting - (SHORT_BY_SECONDS if "short_sound" in plan.traits else 0)
        voices = [
            draw_voice(
                Throat.draw(generator(seed, "throat", subject)),
                latents[p],
                speeches[p],
                audible,
                sample_rate,
                generator(seed, "voice", index, p),
            )
            for p, subject in enumerate(plan.subjects)
        ]
        sound = record(np.sum(voices, axis=0), generator(seed, "recording", index))
    write_media(
        folder / f"{plan.video}.mp4",
        timeline,
        _pictures(settings, plan, shows),
        sound,
        sample_rate,
        sideways="rotated" in plan.traits,
    )
    times = label_seconds(plan, timeline, seed)
    people = []
    for p in persons:
        rng = generator(seed, "labels", index, p)
        labels = annotate(latents[p], times, rng)
        labels[_left_out(times, shows[p].hidden, index, rng)] = INVALID
        people.append(Person(labels, latents[p].at(times - LAG_SECONDS)))
    return Clip(plan, len(timeline.ticks), sample_rate, tuple(people))


def label_seconds(plan: ClipPlan, timeline: Timeline, seed: int) -> Float:
    """Times [L] of the label rows: those of the frames, but for the one clip with a row too many or too few."""
    times = timeline.seconds
    if "labels_off_by_one" not in plan.traits:
        return times
    if generator(seed, "off by one", plan.index).random() < 0.5:
        return times[:-1]
    return np.append(times, timeline.end_seconds)


def _pictures(settings: PuppetSettings, plan: ClipPlan, shows: list[Performance]) -> Iterator[NDArray[np.uint8]]:
    """Upright pictures [height, width, 3]; two puppets sit side by side, each in a picture's width of the same room."""
    count = len(plan.subjects)
    room = draw_room(generator(settings.seed, "room", plan.index), settings.width * count, settings.height)
    share = room.width // count
    stages = [
        (Look.draw(generator(settings.seed, "look", s)), room.crop((p * share, 0, (p + 1) * share, room.height)))
        for p, s in enumerate(plan.subjects)
    ]
    for poses in zip(*(show.poses for show in shows), strict=True):
        panels = [draw_face(look, stage, pose) for (look, stage), pose in zip(stages, poses, strict=True)]
        yield panels[0] if count == 1 else np.concatenate(panels, axis=1)


def _left_out(times: Float, hidden: NDArray[np.bool_], index: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """True [L] for rows that nobody annotated: late starts, and some stretches in which the face is hidden."""
    out = np.zeros(len(times), bool)
    begins, seconds = rng.random() < LATE_START_SHARE, rng.uniform(*LATE_START_SECONDS)
    if begins or index == 0:  # at least one clip, however small the corpus
        out |= times < seconds
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hidden, [False]])))
    for start, end in edges.reshape(-1, 2):
        if rng.random() < UNSEEN_SHARE:
            out[start:end] = True
    return out
