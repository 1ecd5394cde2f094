"""Long clips: what is held of them, and where the sound is after ten minutes. Slow: they are written, then decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import hub_models
import numpy as np
import pytest
from media import click, tone, write_media
from numpy.typing import NDArray

from cache.track import Track
from extract.backbones.registry import BACKBONES, Windows
from extract.clips import Clip
from extract.decode import frame_clock
from extract.recipe import FeatureSettings
from extract.settings import ExecutionSettings
from extract.worker import Worker

NTSC = Fraction(30000, 1001)
WANTED = {
    "hog": FeatureSettings(backbone="hog:16", crop={"size_px": 32}),
    "net": FeatureSettings(backbone="torchvision:squeezenet1_1", weights="random:3", crop={"size_px": 31}),
    "mel": FeatureSettings(backbone="logmel"),
    "voice": FeatureSettings(backbone="zhao19", weights="random:3", hop_seconds=1.0),
}


def ntsc_ticks(seconds: int) -> list[int]:
    return [1001 * i for i in range(int(seconds * NTSC))]


# ------------------------------------------------------------------------------------------------ memory


_PEAK = """
import json, sys
from pathlib import Path
from extract.clips import Clip
from extract.recipe import FeatureSettings
from extract.settings import ExecutionSettings
from extract.worker import Worker

features = {name: FeatureSettings(**one) for name, one in json.loads(sys.argv[1]).items()}
worker = Worker(features, ExecutionSettings(device="cpu"))
path = Path(sys.argv[2])
tracks = worker.extract(Clip("a", path, "a", "train"), list(features)).tracks
status = Path("/proc/self/status").read_text()
peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
kept = sum(track.values.nbytes + track.valid.nbytes for track in tracks.values())
print(json.dumps({"peak": 1024 * peak_kb, "kept": kept, "rows": len(tracks["hog"])}))
"""


def peak_of(path: Path) -> dict[str, int]:
    """Of a process that extracts this file with several visual and audio backbones."""
    features = json.dumps({name: one.model_dump() for name, one in WANTED.items()})
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, features, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow  # 36,000 frames are encoded and decoded
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_twenty_minutes_take_the_memory_of_five_and_their_rows(tmp_path: Path) -> None:
    """The ceiling: three times the finished rows (held, put together, cast) and 64 MB beyond what five take."""
    short, long = (
        write_media(
            tmp_path / f"{minutes}.mp4",
            ntsc_ticks(60 * minutes),
            tick_seconds=Fraction(1, 30000),
            sound=tone(300, 60 * minutes, rate_hz=16000),
            sound_rate_hz=16000,
        )
        for minutes in (5, 20)
    )
    five, twenty = peak_of(short), peak_of(long)
    assert (five["rows"], twenty["rows"]) == (8991, 35964)
    assert twenty["peak"] <= five["peak"] + 3 * (twenty["kept"] - five["kept"]) + (64 << 20), (five, twenty)


# ------------------------------------------------------------------------------------------------ time


def tracks_of(path: Path, features: dict[str, FeatureSettings]) -> dict[str, Track]:
    worker = Worker(features, ExecutionSettings(device="cpu"))
    return worker.extract(Clip("a", path, "a", "train"), list(features)).tracks


def changed(quiet: Track, loud: Track) -> NDArray[np.float64]:
    assert quiet.clock == loud.clock
    return np.abs(loud.values.astype(np.float64) - quiet.values.astype(np.float64)).sum(1)


def sound_features(folder: Path) -> dict[str, FeatureSettings]:
    """One feature of every audio family."""
    features = {}
    for family, spec in BACKBONES.items():
        if spec.modality != "audio" or family == "egemaps":  # its rows of 4 s are measured without media
            continue
        backbone = f"{family}:{hub_models.write_description(family, folder / family)}" if spec.hub else family
        weights = {"weights": "random:3"} if spec.has_weights else {}
        features[family] = FeatureSettings(backbone=backbone, dtype="float32", **weights)
    return features


def burst(at_seconds: float, length_seconds: float) -> NDArray[np.float32]:
    """[1, N] at 48 kHz: silence with 1.3 ms of 8 kHz, the middle of it at at_seconds."""
    sound = np.zeros((1, round(length_seconds * 48000)), np.float32)
    first = round(at_seconds * 48000) - 31
    sound[0, first : first + 63] = np.resize([0.9] * 3 + [-0.9] * 3, 63)
    return sound


@pytest.mark.slow
def test_a_click_after_ten_minutes_at_29_97_is_in_its_row_for_every_audio_backbone(tmp_path: Path) -> None:
    """Ten minutes of pictures, and sound from 590 s on, with and without a click at 605.4321 s."""
    features = sound_features(tmp_path)
    at, begin = 605.4321, Fraction(590)
    noise = np.random.default_rng(23).normal(0, 0.05, (1, 31 * 48000)).astype(np.float32)
    found = []
    for name, sound in (("quiet", noise), ("loud", noise + burst(at - float(begin), 31))):
        path = write_media(
            tmp_path / f"{name}.mov", ntsc_ticks(621), tick_seconds=Fraction(1, 30000),
            sound=sound, sound_start_seconds=begin,
        )  # fmt: skip
        found.append(tracks_of(path, features))
    assert float(frame_clock(path).duration_seconds()) == pytest.approx(621, abs=0.04)
    for name, quiet in found[0].items():
        difference, seconds = changed(quiet, found[1][name]), quiet.clock.seconds()
        sound = BACKBONES[name].sound
        assert sound is not None
        hop_seconds = features[name].hop_samples / 16000
        if isinstance(sound, Windows):  # all windows that hear it change; it is in the middle of them
            heard = np.flatnonzero(difference > 1e-3 * difference.max())
            middle = (seconds[heard[0]] + seconds[heard[-1]]) / 2
        else:
            near = np.abs(seconds - at) < 0.8  # a random network's rows elsewhere in the chunk change as well
            middle = seconds[near][difference[near].argmax()]
        assert middle == pytest.approx(at, abs=hop_seconds + 0.001), name  # and the millisecond of the edit lists


@pytest.mark.slow
def test_ten_minutes_of_sound_do_not_drift_against_the_picture(tmp_path: Path) -> None:
    """Clicks every 100 s of a whole sound track, seen in 10 ms rows."""
    times = [0.5, 100.25, 200.125, 300.75, 400.5, 500.25, 599.5]
    sound = np.zeros((1, 601 * 44100), np.float32)
    for at in times:
        sound += click(at, 601, rate_hz=44100)
    path = write_media(
        tmp_path / "a.mp4", ntsc_ticks(601), tick_seconds=Fraction(1, 30000), sound=sound, sound_rate_hz=44100
    )
    mel = tracks_of(path, {"mel": FeatureSettings(backbone="logmel", dtype="float32")})["mel"]
    loudness, seconds = mel.values.mean(1), mel.clock.seconds()
    for at in times:
        near = np.abs(seconds - at) < 5
        assert seconds[near][loudness[near].argmax()] == pytest.approx(at, abs=0.005 + 0.001)
