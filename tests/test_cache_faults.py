"""Writers killed at any moment, a full disk, other machines: nothing is lost, and nothing is half there."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cache.audit import verify
from cache.key import digest_of
from cache.store import Store, open_store

ROOT = Path(__file__).parent.parent
FAULTS = ROOT / "tests" / "faults"
sys.path.insert(0, str(FAULTS))

from writers import RECIPE, key_of, labels_of, put, track_of  # noqa: E402 - after the path to it

BACK_ENDS = {"zarr": "x.zarr", "hdf5": "x.h5"}
HOSTS = ("east", "west")


def start(driver: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, FAULTS / driver, *map(str, arguments)], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


class Writers:
    """The writers of one store, each forked by one process that has imported everything already."""

    def __init__(self, location: str, logs: Path) -> None:
        logs.mkdir()
        self.logs = logs
        self._parent = start("writers.py", location, logs)
        assert self._answer("") == "ready"

    def _answer(self, line: str) -> str:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(line)
        self._parent.stdin.flush()
        return self._parent.stdout.readline().strip()

    def write(self, number: int, host: str) -> int:
        return int(self._answer(f"write {number} {host}\n"))

    def finish(self, number: int, host: str, clips: int) -> int:
        return int(self._answer(f"wait {self._answer(f'finish {number} {host} {clips}' + chr(10))}\n"))

    def kill(self, process: int) -> bool:
        """Whether it was still at work."""
        os.kill(process, signal.SIGKILL)
        return int(self._answer(f"wait {process}\n")) == signal.SIGKILL

    def said(self) -> Iterator[list[str]]:
        """What the store has told the writers was committed. The last line of a killed one may be torn."""
        for log in self.logs.iterdir():
            for line in log.read_text(encoding="ascii").splitlines(keepends=True):
                if line.endswith("\n"):
                    yield line.split()

    def end(self) -> str:
        return self._parent.communicate()[1]


@contextmanager
def writers_of(location: str, logs: Path) -> Iterator[Writers]:
    writers = Writers(location, logs)
    try:
        yield writers
    finally:
        said = writers.end()
    assert said == "", "a writer failed by itself"


def wrong_with(store: Store, clip: str) -> str:
    """What differs from what any one writer would have written; nothing if nothing does."""
    key = key_of(clip)
    track = store.read(key)
    wanted = track_of(clip, store.provenance(key)["writer"])
    if track.values.tobytes() != wanted.values.tobytes():
        return "the numbers are of no one writer, or not of the one who says so"
    return "" if track.clock == wanted.clock and (track.valid == wanted.valid).all() else "clock or marks are wrong"


def counted(store: Store, writers: Writers) -> Counter[str]:
    """Every track and record read again, against what writers were told: what is lost, what is wrong."""
    found: Counter[str] = Counter(lost=0, wrong=0)
    clips = [key.clip for key in store.recipe_keys(digest_of(RECIPE))]
    found["tracks written"] = len(clips)
    found["wrong"] += sum(bool(wrong_with(store, clip)) for clip in clips)
    present = set(clips)
    for kind, clip, *numbers in writers.said():
        if kind == "track":
            found["tracks told"] += 1
            found["lost"] += clip not in present
            found["wrong"] += clip in present and store.provenance(key_of(clip))["writer"] != int(numbers[0])
        else:
            found["corrections told"] += 1
            generation, correction = map(int, numbers)
            if generation not in store.generations(clip):
                found["lost"] += 1
            else:
                labels = store.read_record(clip, generation)[1]
                found["wrong"] += labels is None or not np.array_equal(labels.values, labels_of(correction).values)
    return found


def killed_often(location: str, tmp_path: Path, kills: int, wait_seconds: float, at_once: int = 3) -> Counter[str]:
    """Writers killed at random moments and started anew, while a reader looks; then one that finishes."""
    chance = random.Random(kills)
    store = open_store(location, writable=True)
    with writers_of(location, tmp_path / "logs") as writers:
        running = [writers.write(number, chance.choice(HOSTS)) for number in range(at_once)]
        hit = 0
        for done in range(1, kills + 1):
            time.sleep(chance.uniform(0, 2 * wait_seconds))
            hit += writers.kill(running.pop(chance.randrange(at_once)))
            if done % (kills // 2) == 0:  # the others write on
                assert verify(open_store(location)).faults == ()
            running.append(writers.write(at_once + done, chance.choice(HOSTS)))
        for process in running:
            writers.kill(process)
        assert hit == kills, "writers go on until they are killed"
        assert verify(open_store(location)).faults == ()
        found = counted(open_store(location), writers)
        for number, host in enumerate(HOSTS, start=10_000):
            assert writers.finish(number, host, 11) == 0
        again = counted(open_store(location), writers)
        assert verify(open_store(location)).faults == ()
    assert all(
        store.has(key_of(f"{name}-{number}")) for name in ("shared", "own-10000", "own-10001") for number in range(11)
    )
    assert again["lost"] == again["wrong"] == 0
    return found + Counter(kills=kills)


def report(found: Counter[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{name}: " + ", ".join(f"{what} {found[what]}" for what in (
            "kills", "tracks written", "tracks told", "corrections told", "lost", "wrong")))  # fmt: skip


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_half_there(
    tmp_path: Path, back_end: str, kills: int, capsys: pytest.CaptureFixture[str]
) -> None:
    location = tmp_path / BACK_ENDS[back_end]
    found = killed_often(str(location), tmp_path, kills, wait_seconds=0.03 if kills < 100 else 0.05)
    report(found, back_end, capsys)
    assert (found["lost"], found["wrong"]) == (0, 0)
    assert found["tracks written"] >= found["tracks told"] > 0
    assert found["corrections told"] > 0
    unfinished = location.with_name(location.name + ".local") / "unfinished"
    assert list(unfinished.iterdir()) == [], "each machine has swept what its own killed writers left"


# ------------------------------------------------------------------------------------------------ a full disk


def on_a_small_disk(folder: Path, *command: object) -> list[str]:
    """The command with a disk of 4 MB of its own at `folder`, in a namespace that ends with it."""
    script = 'mount -t tmpfs -o size=4m duet "$0" && exec "$@"'
    return ["unshare", "-U", "-r", "-m", "sh", "-c", script, str(folder), *map(str, command)]


@pytest.mark.parametrize("way", ["tmpfs", "limit"])
@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_a_full_disk_costs_only_what_did_not_fit(tmp_path: Path, back_end: str, way: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [sys.executable, str(FAULTS / "full_disk.py"), str(disk), BACK_ENDS[back_end], way]
    if way == "tmpfs":
        if not shutil.which("unshare") or subprocess.run(on_a_small_disk(disk, "true"), check=False).returncode:
            pytest.skip("a small disk can't be mounted here: unshare gives no namespace of its own")
        command = on_a_small_disk(disk, *command)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["error"] == {"tmpfs": "ENOSPC", "limit": "EFBIG"}[way]
    assert said["faults"] == []
    assert said["left"] == said["tracks"] < 41
    assert (said["second"], said["at_the_end"], said["faults_at_the_end"]) == ("", 41, [])
    assert said["unfinished"] == 0


# ------------------------------------------------------------------------------------------------ other machines


@pytest.mark.parametrize("back_end", BACK_ENDS)
@pytest.mark.parametrize("host", HOSTS)
def test_an_unfinished_write_of_a_living_process_or_of_another_machine_is_left_alone(
    tmp_path: Path, back_end: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tmp_path / BACK_ENDS[back_end]
    monkeypatch.setattr("socket.gethostname", lambda: "west")
    store = open_store(location, writable=True)
    unfinished = location.with_name(location.name + ".local") / "unfinished"
    with start("paused.py", location, host, "clip") as writer:
        try:
            _, status = os.waitpid(writer.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            (held,) = unfinished.iterdir()
            assert held.name.startswith(f"{host}.{writer.pid}.")
            open_store(location, writable=True)
            assert held.exists()
            assert not store.has(key_of("clip"))
            assert verify(store).faults == ()
        finally:
            os.kill(writer.pid, signal.SIGCONT)
        out, said = writer.communicate()
    assert out == "True\n", said
    assert wrong_with(open_store(location), "clip") == ""


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_what_another_machine_left_behind_stays_until_it_comes_back(
    tmp_path: Path, back_end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = tmp_path / BACK_ENDS[back_end]
    unfinished = location.with_name(location.name + ".local") / "unfinished"
    with start("paused.py", location, "east", "clip") as writer:
        os.waitpid(writer.pid, os.WUNTRACED)
        os.kill(writer.pid, signal.SIGKILL)
    monkeypatch.setattr("socket.gethostname", lambda: "west")
    store = open_store(location, writable=True)
    assert len(list(unfinished.iterdir())) == 1, "nobody here can tell whether it is dead"
    assert put(store, "clip", 2), "and it is in nobody's way"
    monkeypatch.setattr("socket.gethostname", lambda: "east")
    open_store(location, writable=True)
    assert list(unfinished.iterdir()) == []
    assert wrong_with(store, "clip") == ""
