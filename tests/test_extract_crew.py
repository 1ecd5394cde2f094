"""Worker processes that die, hang and refuse: real processes, real signals, whose clips do what their names say."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crashing
import pytest

from cache.store import open_store
from extract.clips import Clip
from extract.crew import _Crew
from extract.jobs import Job, Outcome, Task
from extract.settings import ExecutionSettings


def crew(
    folder: Path, names: list[str], serve: Callable[..., None] = crashing.serve, **execution: Any
) -> tuple[_Crew, list[int]]:
    store = open_store(folder / "x.zarr", writable=True)
    task = Task({}, None, {}, {}, ExecutionSettings(**execution))
    jobs = [Job(Clip(name=name, media=None, media_name=name, split="train"), {}, None) for name in names]
    frames: list[int] = []
    return _Crew(task, jobs, store.path, frames.append, serve), frames


def outcomes(folder: Path, names: list[str], **execution: Any) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    for number, outcome in crew(folder, names, **execution)[0].run():
        assert names[number] not in found, "each job has one outcome"
        found[names[number]] = outcome
    assert found.keys() == set(names)
    return found


def attempts(folder: Path, name: str) -> int:
    return (folder / "attempts.txt").read_text().split().count(name)


@pytest.fixture(autouse=True)
def _no_process_stays() -> Any:
    yield
    assert multiprocessing.active_children() == []


def test_every_job_is_done_once_by_however_many_workers(tmp_path: Path) -> None:
    names = [f"good{n}" for n in range(7)] + ["bad0"]
    found = outcomes(tmp_path, names, workers=2)
    assert {name: (one.reason, one.seen) for name, one in found.items()} == {
        **{f"good{n}": (None, 5) for n in range(7)},
        "bad0": ("it is bad", 0),
    }
    assert sorted((tmp_path / "attempts.txt").read_text().split()) == sorted(names)


def test_a_crash_costs_the_guilty_clip_alone_and_is_named(tmp_path: Path) -> None:
    names = ["good0", "crash0", "slow0", "good1", "good2", "crash1", "good3", "slow1"]
    found = outcomes(tmp_path, names)
    assert {name for name, one in found.items() if one.reason is None} == {n for n in names if "crash" not in n}
    for name in ("crash0", "crash1"):
        assert found[name].reason == "the process that decoded it was ended by signal 11 (SIGSEGV), 2 times"
        assert attempts(tmp_path, name) == 2
    assert max(attempts(tmp_path, name) for name in names) <= 3


def test_a_worker_that_dies_once_costs_nothing_but_time(tmp_path: Path) -> None:
    found = outcomes(tmp_path, ["once0", "good0", "good1", "good2", "good3"])
    assert {one.reason for one in found.values()} == {None}
    assert attempts(tmp_path, "once0") == 2


def test_a_clip_of_which_nothing_comes_is_given_up_and_the_others_are_not(tmp_path: Path) -> None:
    found = outcomes(tmp_path, ["good0", "hang0", "good1", "slow0"], stall_seconds=1.7)
    assert found["hang0"].reason == "nothing came of it for 1.7 s, so it was given up"
    assert {found[name].reason for name in ("good0", "good1", "slow0")} == {None}
    assert attempts(tmp_path, "hang0") == 1


def test_what_concerns_all_clips_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        outcomes(tmp_path, ["good0", "full0"])


def test_settings_that_can_not_be_used_come_back_as_such(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^device 'gpu' can't be used$"):
        list(crew(tmp_path, ["good0"], crashing.unusable)[0].run())


def test_workers_that_die_before_they_begin_are_not_started_for_ever(tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match="a worker process ended with exit code 3 before it had a clip"):
        list(crew(tmp_path, ["good0"], crashing.stillborn)[0].run())


def test_frames_are_counted_while_clips_are_under_way(tmp_path: Path) -> None:
    made, frames = crew(tmp_path, ["slow0"])
    list(made.run())
    assert frames == [7]


def test_an_interrupt_ends_the_workers_within_two_seconds(tmp_path: Path) -> None:
    running = crew(tmp_path, ["good0", "hang0", "hang1"])[0].run()
    next(running)
    began = time.monotonic()
    running.close()  # what an exception in the middle does
    assert multiprocessing.active_children() == []
    assert time.monotonic() - began < 10  # the grace is 1.5 s; hanging clips would take 60
