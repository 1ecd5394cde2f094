"""Worker processes: jobs out, outcomes back, and what the death of one costs.

A native decoder can crash or hang on a bad file, and takes its process with it. So the command that plans and records
is not the process that decodes: when a worker dies, what it had finished is in the store, another one is started, and
only the clips that were under way are done again, one at a time, so that the guilty one is known. A clip whose worker
has died twice is given up with that reason; so is one of which nothing came for `stall_seconds`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from cache.store import Store, open_store
from extract.jobs import Bench, Job, Outcome, Stopped, Task

_DEATHS_AT_MOST = 2
_BEAT_SECONDS = 0.5
_GRACE_SECONDS = 1.5  # for clips to stop at their next piece

OnFrames = Callable[[int], None]


def outcomes(task: Task, jobs: Sequence[Job], store: Store, on_frames: OnFrames) -> Iterator[tuple[int, Outcome]]:
    """Do the jobs, in worker processes or, with `execution.workers: 0`, here; yields (index, outcome) as they end.

    on_frames: told, now and then, how many frames were decoded so far. Raises ValueError for settings that no clip
    could be extracted with, OSError if workers die before they begin, or find a disk full.
    """
    if not jobs:
        return iter(())
    if task.execution.workers == 0:
        return _here(task, jobs, store, on_frames)
    return _Crew(task, jobs, store.location, on_frames).run()


class _Frames:
    """How many frames were decoded, over all clips under way and done."""

    def __init__(self, on_frames: OnFrames) -> None:
        self._of: dict[int, int] = {}
        self._told, self._on_frames = 0.0, on_frames

    def __call__(self, job: int, frames: int) -> None:
        self._of[job] = frames
        if time.monotonic() - self._told > _BEAT_SECONDS:
            self._told = time.monotonic()
            self._on_frames(sum(self._of.values()))


def _here(task: Task, jobs: Sequence[Job], store: Store, on_frames: OnFrames) -> Iterator[tuple[int, Outcome]]:
    bench, frames = Bench(task, store), _Frames(on_frames)
    with ThreadPoolExecutor(bench.worker.clips_at_once, "clip") as pool:
        futures = {
            pool.submit(bench.do, job, lambda seen, n=n: frames(n, seen)): n  # type: ignore[misc]
            for n, job in enumerate(jobs)
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            bench.worker.stop()  # an interrupt is answered within a batch, not at the end of a long clip
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@dataclass(eq=False)
class _Hand:
    """One worker process, as its owner sees it. busy: job -> when something was last heard of it."""

    process: SpawnProcess
    line: Connection
    at_once: int = 0  # until it says that it is ready
    busy: dict[int, float] = field(default_factory=dict)
    alone: bool = False
    doomed: int | None = None  # the job for which it was killed


class _Crew:
    """The workers of one run, from the owner's side."""

    def __init__(
        self,
        task: Task,
        jobs: Sequence[Job],
        store: str,
        on_frames: OnFrames,
        serve: Callable[[Connection, Task, str], None] | None = None,
    ) -> None:
        self._task, self._jobs, self._store, self._serve = task, jobs, store, serve or _serve
        self._frames = _Frames(on_frames)
        self._waiting = deque(range(len(jobs)))
        self._suspects: deque[int] = deque()  # had a worker die around them: done at the end, one at a time
        self._deaths: Counter[int] = Counter()
        self._stillborn = 0
        self._hands: list[_Hand] = []

    def run(self) -> Iterator[tuple[int, Outcome]]:
        left = len(self._jobs)
        try:
            self._hands = [self._start() for _ in range(min(self._task.execution.workers, len(self._jobs)))]
            while left:
                for hand in self._hands:
                    self._feed(hand)
                for number, outcome in self._listen():
                    left -= 1
                    yield number, outcome
            self._dismiss()
        finally:
            self._end()

    def _start(self) -> _Hand:
        context = multiprocessing.get_context("spawn")
        line, other = context.Pipe()
        process = context.Process(
            target=self._serve, args=(other, self._task, self._store), name="extract", daemon=True
        )
        process.start()
        other.close()
        return _Hand(process, line)

    def _feed(self, hand: _Hand) -> None:
        """As many jobs as it can do at once, and no more: of what it never got, nothing is lost with it."""
        while self._waiting and not hand.alone and len(hand.busy) < hand.at_once:
            self._send(hand, self._waiting.popleft())
        if self._suspects and not self._waiting and not hand.busy and hand.at_once:
            hand.alone = True
            self._send(hand, self._suspects.popleft())

    def _send(self, hand: _Hand, number: int) -> None:
        hand.busy[number] = time.monotonic()
        with suppress(OSError):  # it has died; its silence is heard next
            hand.line.send((number, self._jobs[number]))

    def _listen(self) -> Iterator[tuple[int, Outcome]]:
        ready = wait([hand.line for hand in self._hands], timeout=1.0)
        for hand in list(self._hands):
            if hand.line in ready:
                try:
                    kind, number, what = hand.line.recv()
                except (EOFError, OSError):
                    yield from self._bury(hand)
                    continue
                if kind == "ready":
                    hand.at_once = what
                elif kind == "unusable":
                    raise ValueError(what)
                elif kind == "broken":
                    raise what
                elif kind == "frames":
                    self._frames(number, what)
                    if number in hand.busy:
                        hand.busy[number] = time.monotonic()
                elif number in hand.busy:
                    del hand.busy[number]
                    hand.alone = False
                    yield number, what
            elif hand.busy and hand.doomed is None:
                slowest = min(hand.busy, key=lambda number: hand.busy[number])
                if time.monotonic() - hand.busy[slowest] > self._task.execution.stall_seconds:
                    hand.doomed = slowest
                    hand.process.kill()

    def _bury(self, hand: _Hand) -> Iterator[tuple[int, Outcome]]:
        """A worker is dead: settle what it had under way, and start another one if there is anything left to do."""
        hand.process.join()
        hand.line.close()
        self._hands.remove(hand)
        died = _cause(hand.process.exitcode)
        if not hand.at_once:
            self._stillborn += 1
            if self._stillborn >= _DEATHS_AT_MOST:
                raise ChildProcessError(f"a worker process {died} before it had a clip; nothing could be extracted")
        for number in hand.busy:
            if hand.doomed is not None and number != hand.doomed:
                self._waiting.append(number)  # innocent
                continue
            self._deaths[number] += 1
            if hand.doomed is not None:
                wait_seconds = self._task.execution.stall_seconds
                yield number, Outcome(f"nothing came of it for {wait_seconds:g} s, so it was given up")
            elif self._deaths[number] >= _DEATHS_AT_MOST:
                yield number, Outcome(f"the process that decoded it {died}, {self._deaths[number]} times")
            else:
                self._suspects.append(number)
        if self._waiting or self._suspects:
            self._hands.append(self._start())

    def _dismiss(self) -> None:
        """Nothing is left to do: let them go on their own feet."""
        for hand in self._hands:
            with suppress(OSError):
                hand.line.send(None)

    def _end(self) -> None:
        """Whatever happened, no process stays: clips under way stop at their next piece, or are killed."""
        self._dismiss()
        until = time.monotonic() + _GRACE_SECONDS
        for hand in self._hands:
            hand.process.join(max(0.0, until - time.monotonic()))
            if hand.process.exitcode is None:
                hand.process.kill()
                hand.process.join()
            hand.line.close()


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "an unknown signal"
        memory = "; was memory short?" if -code == signal.SIGKILL else ""
        return f"was ended by signal {-code} ({name}{memory})"
    return f"ended with exit code {code}"


def _serve(line: Connection, task: Task, store: str) -> None:
    """What a worker process does: jobs from the line, one a thread, until the line says None or closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to answer
    speaking = threading.Lock()

    def say(kind: str, number: int, what: Any) -> None:
        with speaking:
            line.send((kind, number, what))

    try:
        with closing(line):
            _work(line, say, task, store)
    except (EOFError, OSError):
        os._exit(1)  # the owner is gone


def _work(line: Connection, say: Callable[[str, int, Any], None], task: Task, store: str) -> None:
    try:
        bench = Bench(task, open_store(store, writable=True))
    except ValueError as error:
        say("unusable", 0, str(error))
        return

    def one(number: int, job: Job) -> None:
        told = 0.0

        def on_frames(frames: int) -> None:
            nonlocal told
            if time.monotonic() - told > _BEAT_SECONDS:
                told = time.monotonic()
                say("frames", number, frames)

        try:
            say("done", number, bench.do(job, on_frames))
        except Stopped:
            pass
        except OSError as error:  # a disk that is full, say
            say("broken", number, error)
        except Exception as error:
            text = f"{job.clip.name}: {type(error).__name__}: {error}"
            say("broken", number, error if isinstance(error, ValueError) else ChildProcessError(text))

    with ThreadPoolExecutor(bench.worker.clips_at_once, "clip") as pool:
        say("ready", 0, bench.worker.clips_at_once)
        try:
            while (message := line.recv()) is not None:
                pool.submit(one, *message)
        finally:
            bench.worker.stop()
