"""Writers to be killed: a process that is started once, and at each line of its input forks a writer or waits for one.

    write <number> <host>           a writer that goes on until it is killed
    finish <number> <host> <clips>  one that writes what is not there yet of the first clips, and ends
    wait <process>                  until a writer has ended; answers with its exit status

Each writer says in a file of its own what the store has told it was committed, before it goes on: one line a commit.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import traceback
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import TrackKey, digest_of
from cache.store import Store, open_store
from cache.track import Track

RECIPE = {"backbone": "crash", "hop_samples": 160}
CATALOGUED = 7  # clips whose labels are corrected all the time
ROWS, WIDTH = 211, 37


def key_of(clip: str) -> TrackKey:
    return TrackKey(digest_of(RECIPE), digest_of(clip), clip)


def track_of(clip: str, writer: int) -> Track:
    """What is the same whoever computes it, and in the last column who did: a mixture of two could be seen."""
    rng = np.random.default_rng(int(digest_of(clip)[:8], 16))
    values = rng.normal(size=(ROWS, WIDTH)).astype("float32")
    values[:, -1] = writer
    valid = rng.random(ROWS) > 0.25
    ticks = np.cumsum(rng.integers(1, 5, ROWS))
    clock = Clock.explicit(ticks, Fraction(1, 90000)) if ticks[-1] % 2 else Clock.regular(Fraction(1, 25), ROWS)
    return Track.of(values, clock, valid, dtype="float32")


def labels_of(correction: int) -> Track:
    return Track.of(np.full((13, 2), correction / 4096), Clock.regular(Fraction(1, 10), 13), dtype="float32")


def record_of(clip: str, correction: int) -> Record:
    return Record(
        clip=clip, media=f"{clip}.mp4", source=digest_of(clip), split="train", subject=None, duration_seconds=1.3,
        labels=labels_of(correction), tracks={"crash": digest_of(RECIPE)},
    )  # fmt: skip


def put(store: Store, clip: str, writer: int) -> bool:
    return store.write(key_of(clip), track_of(clip, writer), recipe=RECIPE, provenance={"writer": writer})


def clips_of(number: int, writer: int) -> tuple[str, str]:
    """The clips of one round: one that all writers write, one that only this writer does."""
    return f"shared-{number}", f"own-{writer}-{number}"


def write(location: str, log: int, writer: int, clips: int | None, parent: int) -> None:
    """Write tracks and correct labels; as long as the parent lives, or the first clips only."""
    store = open_store(location, writable=True)
    chance = random.Random(os.getpid())
    for number in range(CATALOGUED):
        if put(store, f"shared-{number}", writer):
            say(log, "track", f"shared-{number}", writer)
    catalogue = Catalogue(store)
    for number in count() if clips is None else range(clips):
        if os.getppid() != parent:
            return  # the test is over, or was stopped
        for clip in clips_of(number, writer):
            if not store.has(key_of(clip)) and put(store, clip, writer):
                say(log, "track", clip, writer)
        clip, correction = f"shared-{number % CATALOGUED}", chance.randrange(4096)
        if catalogue.update(record_of(clip, correction)):
            say(log, "labels", clip, catalogue[clip].generation, correction)


def say(log: int, *words: object) -> None:
    os.write(log, (" ".join(map(str, words)) + "\n").encode())


def main() -> None:
    location, logs = sys.argv[1], Path(sys.argv[2])
    print("ready", flush=True)
    for line in sys.stdin:
        command, *words = line.split()
        if command == "wait":
            print(os.waitpid(int(words[0]), 0)[1], flush=True)
            continue
        parent, process = os.getpid(), os.fork()
        if not process:
            status = 1
            try:
                socket.gethostname = words[1].__str__
                log = os.open(logs / f"{words[0]}.{os.getpid()}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                write(location, log, int(words[0]), int(words[2]) if command == "finish" else None, parent)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(process, flush=True)


if __name__ == "__main__":
    main()
