"""A worker process whose clips do what their names say: run by the tests of the crew, in processes of their own."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from extract import crew
from extract.jobs import Job, Outcome, Task

AT_ONCE = 3


class _Worker:
    clips_at_once = AT_ONCE

    def stop(self) -> None:
        pass


class _Bench:
    """Each attempt at a clip leaves a line in attempts.txt beside the store."""

    def __init__(self, task: Task, store: Any) -> None:
        del task
        self.worker = _Worker()
        self._attempts = store.path.parent / "attempts.txt"

    def do(self, job: Job, on_frames: Callable[[int], None]) -> Outcome:
        name = job.clip.name
        with self._attempts.open("a") as file:
            file.write(name + "\n")
        if name.startswith("crash"):
            ctypes.string_at(0)  # a real one, in this very thread
        if name.startswith("once") and self._attempts.read_text().split().count(name) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("hang"):
            time.sleep(60)
        if name.startswith("full"):
            raise OSError(28, "No space left on device")
        if name.startswith("slow"):
            time.sleep(0.3)
            on_frames(7)
        return Outcome("it is bad") if name.startswith("bad") else Outcome(seen=5)


def serve(line: Connection, task: Task, store: Path) -> None:
    """As the real one, with other benches."""
    with mock.patch.object(crew, "Bench", _Bench):
        crew._serve(line, task, store)


def unusable(line: Connection, task: Task, store: Path) -> None:
    """Settings that no clip could be extracted with."""
    refuse = mock.Mock(side_effect=ValueError("device 'gpu' can't be used"))
    with mock.patch.object(crew, "Bench", refuse):
        crew._serve(line, task, store)


def stillborn(line: Connection, task: Task, store: Path) -> None:
    """Dies before it has a clip."""
    del line, task, store
    os._exit(3)
