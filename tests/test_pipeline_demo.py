"""The demo corpus: its layout, its peculiar files, its truth, and that it can't be had cheaply."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.demo.acting import Pose
from pipeline.demo.chance import Smooth, generator
from pipeline.demo.clip import make_clip
from pipeline.demo.corpus import LABELS, CorpusTruth, read_truth, write_corpus
from pipeline.demo.face import Look, draw_face, draw_room
from pipeline.demo.latent import LAG_SECONDS, Latent
from pipeline.demo.plan import plan_corpus
from pipeline.demo.settings import PuppetSettings
from pipeline.demo.speech import Speech
from pipeline.demo.voice import Throat, draw_voice

Float = NDArray[np.float64]

# Different sizes for different things, and as few short clips as hold every peculiarity.
SMALL = PuppetSettings(clips=8, subjects=6, seconds_shortest=3, seconds_longest=3.5, width=82, height=74)


@dataclass(frozen=True)
class Decoded:
    """A file as PyAV reads it."""

    ticks: list[int]
    seconds: list[Fraction]
    size: tuple[int, int]  # width, height as stored
    rotations: set[int]
    sound_seconds: float | None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "puppets"
    write_corpus(root, SMALL)
    return root


@pytest.fixture(scope="module")
def truth(root: Path) -> CorpusTruth:
    return read_truth(root)


@pytest.fixture(scope="module")
def decoded(root: Path) -> dict[str, Decoded]:
    return {path.stem: decode(path) for path in sorted((root / "batch1").iterdir())}


def decode(path: Path) -> Decoded:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        silent = not container.streams.audio
    sound_seconds = None
    if not silent:
        with av.open(str(path)) as container:
            sound = list(container.decode(audio=0))
        sound_seconds = sum(part.samples for part in sound) / sound[0].sample_rate
    ticks = [frame.pts for frame in frames if frame.pts is not None]
    assert len(ticks) == len(frames), f"{path.name} has a frame without a time"
    assert frames[0].time_base is not None
    seconds = [tick * frames[0].time_base for tick in ticks]
    rotations = {frame.rotation for frame in frames}
    return Decoded(ticks, seconds, (frames[0].width, frames[0].height), rotations, sound_seconds)


def labels_of(root: Path, split: str, name: str) -> Float:
    header, *rows = (root / LABELS[split] / f"{name}.txt").read_text().splitlines()
    assert header == "valence,arousal"
    return np.array([[float(x) for x in row.split(",")] for row in rows])


def the_one(truth: CorpusTruth, trait: str) -> str:
    (video,) = {clip.video for clip in truth.clips if trait in clip.traits}
    return video


def test_layout_is_that_of_aff_wild2(root: Path, truth: CorpusTruth) -> None:
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    double = the_one(truth, "two_person")
    names = {plan.video: plan.split for plan in plan_corpus(SMALL)}
    wanted = {f"batch1/{video}.mp4" for video in names} | {"subjects.csv", "truth.json"}
    for video, split in names.items():
        for name in [f"{video}_left", f"{video}_right"] if video == double else [video]:
            folder = "Train_Set" if split == "train" else "Validation_Set"
            wanted.add(f"VA_Estimation_Challenge/{folder}/{name}.txt")
    assert files == wanted
    rows = (root / "subjects.csv").read_text().splitlines()
    assert rows == ["clip,subject", *(f"{clip.name},{clip.subject}" for clip in truth.clips)]


def test_default_corpus_is_large_enough() -> None:
    settings = PuppetSettings()
    plans = plan_corpus(settings)
    subjects = {split: {s for p in plans if p.split == split for s in p.subjects} for split in LABELS}
    assert len(plans) >= 40
    assert all(8 <= plan.seconds <= 20 for plan in plans)
    assert len(subjects["train"] | subjects["validation"]) >= 24
    assert len(subjects["validation"]) >= 8
    assert sum("variable_frame_rate" in plan.traits for plan in plans) == len(plans) // 6
    for split in LABELS:
        mine = [plan for plan in plans if plan.split == split]
        assert {plan.rate_index for plan in mine} == {0, 1, 2}
        assert any("variable_frame_rate" in plan.traits for plan in mine)


@pytest.mark.parametrize(("clips", "subjects"), [(8, 6), (11, 7), (48, 24), (50, 26)])
def test_splits_share_no_subject_and_every_subject_appears(clips: int, subjects: int) -> None:
    plans = plan_corpus(PuppetSettings(clips=clips, subjects=subjects))
    train, validation = ({s for p in plans if p.split == split for s in p.subjects} for split in LABELS)
    assert not train & validation
    assert train | validation == set(range(subjects))
    for trait in ("rotated", "short_sound", "silent", "two_person", "labels_off_by_one"):
        (plan,) = (p for p in plans if trait in p.traits)
        assert plan.split == "train"
        assert len(set(plan.subjects)) == (2 if trait == "two_person" else 1)


def test_truth_repeats_what_was_asked(truth: CorpusTruth) -> None:
    assert truth.settings == SMALL
    assert truth.seed == SMALL.seed
    assert truth.lag_seconds == LAG_SECONDS
    assert set(truth.ceiling) == {"train", "validation"}
    for ceiling in truth.ceiling.values():
        assert ceiling.mean == pytest.approx((ceiling.valence + ceiling.arousal) / 2, abs=1e-12)


def test_rotated_video_is_stored_sideways_and_says_so(truth: CorpusTruth, decoded: dict[str, Decoded]) -> None:
    rotated = the_one(truth, "rotated")
    for video, file in decoded.items():
        wide = 2 if video == the_one(truth, "two_person") else 1
        upright = (SMALL.width * wide, SMALL.height)
        assert file.rotations == ({-90} if video == rotated else {0})  # PyAV counts anticlockwise
        assert file.size == (upright[::-1] if video == rotated else upright)


def test_a_player_turns_the_rotated_video_upright(root: Path, truth: CorpusTruth) -> None:
    """Turned as it says, the first picture is closer to the puppet as drawn than turned the other way."""
    video = the_one(truth, "rotated")
    plan = plan_corpus(SMALL)[0]
    with av.open(str(root / "batch1" / f"{video}.mp4")) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    room = draw_room(generator(SMALL.seed, "room", plan.index), SMALL.width, SMALL.height)
    look = Look.draw(generator(SMALL.seed, "look", plan.subjects[0]))
    wanted = draw_face(look, room, Pose.still(0, 0)).astype(float)
    errors = {k: np.abs(np.rot90(stored, k) - wanted).mean() for k in (-1, 1)}
    assert errors[-1] < 0.75 * errors[1]  # the head sways and the mouth moves, so not 0


def test_constant_and_variable_frame_rates(truth: CorpusTruth, decoded: dict[str, Decoded]) -> None:
    rates = set()
    for clip in truth.clips:
        steps = np.diff(np.array([float(t) for t in decoded[clip.video].seconds]))
        if "variable_frame_rate" in clip.traits:
            assert len(set(np.diff(decoded[clip.video].ticks).tolist())) > len(steps) / 2
            assert steps.min() > 0
            assert steps.max() > 1.6 / float(Fraction(clip.rate_hz))  # at least one frame was dropped
        else:
            exact = [i / Fraction(clip.rate_hz) for i in range(clip.frames)]
            assert decoded[clip.video].seconds == exact
            rates.add(clip.rate_hz)
    assert rates == {"25", "30", "30000/1001"}


def test_sound_is_missing_short_or_as_long_as_the_picture(truth: CorpusTruth, decoded: dict[str, Decoded]) -> None:
    silent, short = the_one(truth, "silent"), the_one(truth, "short_sound")
    for video, file in decoded.items():
        picture = float(file.seconds[-1])
        if video == silent:
            assert file.sound_seconds is None
        elif video == short:
            assert file.sound_seconds is not None
            assert 0.5 < file.sound_seconds < picture - 1.5
        else:
            # One AAC block of padding at either end, one nominal frame, one of the widest gaps of frames.
            assert file.sound_seconds is not None
            assert file.sound_seconds == pytest.approx(picture, abs=0.1)


def test_labels_have_a_row_for_each_frame_but_in_one_clip(
    root: Path, truth: CorpusTruth, decoded: dict[str, Decoded]
) -> None:
    for clip in truth.clips:
        rows = len(labels_of(root, clip.split, clip.name))
        assert clip.frames == len(decoded[clip.video].ticks)
        assert clip.labels == rows
        assert abs(rows - clip.frames) == ("labels_off_by_one" in clip.traits)


def test_some_rows_are_invalid_and_the_others_in_range(root: Path, truth: CorpusTruth) -> None:
    rows = np.concatenate([labels_of(root, clip.split, clip.name) for clip in truth.clips])
    invalid = (rows == -5).any(1)
    assert 0 < invalid.mean() < 0.1
    assert (rows[invalid] == -5).all()
    assert np.abs(rows[~invalid]).max() <= 1


def test_ceiling_by_another_road(root: Path, truth: CorpusTruth, decoded: dict[str, Decoded]) -> None:
    """From the files as decoded, the latent drawn anew and the textbook's formula."""
    for split, ceiling in truth.ceiling.items():
        pairs = []
        for clip in (c for c in truth.clips if c.split == split):
            labels = labels_of(root, split, clip.name)
            seconds = [float(t) for t in decoded[clip.video].seconds]
            seconds.append(seconds[-1] + 1 / float(Fraction(clip.rate_hz)))  # for a row too many
            latent = Latent.draw(truth.seed, clip.index, clip.person)
            pairs.append((latent.at(np.array(seconds[: len(labels)]) - truth.lag_seconds), labels))
        p, t = (np.concatenate(side) for side in zip(*pairs, strict=True))
        for d, stored in enumerate((ceiling.valence, ceiling.arousal)):
            keep = (t != -5).all(1)
            c = np.cov(p[keep, d], t[keep, d], bias=True)
            ccc = 2 * c[0, 1] / (c[0, 0] + c[1, 1] + (p[keep, d].mean() - t[keep, d].mean()) ** 2)
            assert stored == pytest.approx(ccc, abs=1e-9)  # the last digits of the times


@pytest.mark.parametrize("seed", [7, 11, 13])
def test_ceiling_and_feelings_of_a_whole_corpus_are_worth_predicting(seed: int) -> None:
    """On the latents alone, without media: deviation, correlation and the best shift are as they should be."""
    times = np.arange(0, 14, 0.04)
    feelings = np.concatenate([Latent.draw(seed, clip, 0).at(times) for clip in range(48)])
    assert np.all(np.abs(feelings) < 1)
    assert np.all((feelings.std(0) > 0.3) & (feelings.std(0) < 0.5))
    assert abs(np.corrcoef(feelings.T)[0, 1]) < 0.5


def test_same_seed_same_bytes_whatever_the_workers(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    calls: list[tuple[int, int]] = []
    write_corpus(again, SMALL, progress=lambda done, total: calls.append((done, total)), workers=2)
    assert calls == [(done, SMALL.clips) for done in range(SMALL.clips + 1)]
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for file in files:
        assert (root / file).read_bytes() == (again / file).read_bytes(), file
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_another_seed_is_another_corpus(root: Path, tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"seed": SMALL.seed + 1})
    clip = make_clip(tmp_path, other, plan_corpus(other)[2])
    labels = labels_of(root, "validation", "puppet_002")
    rows = min(len(labels), len(clip.people[0].labels))
    assert np.abs(clip.people[0].labels[:rows] - labels[:rows]).max() > 0.1
    assert (tmp_path / "puppet_002.mp4").read_bytes() != (root / "batch1/puppet_002.mp4").read_bytes()


def test_a_finished_corpus_is_returned_untouched(root: Path, truth: CorpusTruth) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_corpus(root, SMALL) == truth
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_settings_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"other settings \(seed: got 7, wanted 8\): choose another folder"):
        write_corpus(root, SMALL.model_copy(update={"seed": 8}))


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"is no demo corpus \(it has no truth.json\), wanted a new or an empty"):
        write_corpus(tmp_path, SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_no_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="workers is 0, wanted at least 1"):
        write_corpus(tmp_path / "puppets", SMALL, workers=0)


def test_reading_no_corpus_or_one_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no demo corpus: it has no truth.json, .* `duet demo` writes it"):
        read_truth(tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps({"format": "duet-puppets/0"}))
    with pytest.raises(ValueError, match="has the format 'duet-puppets/0', wanted 'duet-puppets/"):
        read_truth(tmp_path)


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == SMALL.clips
        if done == 1:
            raise KeyboardInterrupt("enough")

    with pytest.raises(KeyboardInterrupt, match="enough"):
        write_corpus(tmp_path / "puppets", SMALL, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_looks_like_nothing_and_is_swept_up(tmp_path: Path) -> None:
    root = tmp_path / "puppets"
    script = f"""
import os, signal
from pathlib import Path
from pipeline.demo.corpus import write_corpus
from pipeline.demo.settings import PuppetSettings
def die(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
write_corpus(Path({str(root)!r}), PuppetSettings(**{SMALL.model_dump()!r}), progress=die)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False)
    assert run.returncode == -signal.SIGKILL
    (partial,) = tmp_path.iterdir()
    assert partial.name.endswith(".partial")
    assert len(list(partial.rglob("*.mp4"))) == 2
    assert not root.exists()
    with pytest.raises(ValueError, match="is no demo corpus"):
        read_truth(partial)

    living = tmp_path / f".puppets.{os.getppid()}.partial"  # some other run that is still at it
    living.mkdir()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt(f"{done} of {total}")

    with pytest.raises(KeyboardInterrupt, match="0 of 8"):
        write_corpus(root, SMALL, progress=stop)
    assert not partial.exists()
    assert living.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": 7}, "clips"),
        ({"colour": "red"}, "colour"),
        ({"seconds_longest": 5}, "seconds_longest is 5, wanted at least seconds_shortest, which is 8"),
        ({"width": 160}, "width is 160, wanted at least height, which is 240"),
        ({"width": 321}, "multiple of 2"),
        ({"clips": 8, "subjects": 24}, "8 clips have only 2 places for the 8 validation subjects"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PuppetSettings.model_validate(change)


def test_settings_are_light() -> None:
    """The command line reads them to say `--help`."""
    script = "import sys, pipeline.demo.settings; print(sorted({'numpy', 'torch', 'av', 'PIL'} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_a_smooth_process_is_standard_and_as_slow_as_it_says() -> None:
    rng = np.random.default_rng(3)
    times = np.array([0.0, 1.3])
    values = np.stack([Smooth.draw(rng, 1.3).at(times) for _ in range(4000)])
    assert values.mean() == pytest.approx(0, abs=0.05)  # three standard errors of 4000 draws
    assert values.std() == pytest.approx(1, abs=0.04)
    assert np.mean(values[:, 0] * values[:, 1]) == pytest.approx(np.exp(-0.5), abs=0.04)  # one scale apart


def test_the_mouth_shows_valence_and_the_mean_pixel_does_not() -> None:
    means, shifts = [], []
    for subject in range(12):
        look = Look.draw(generator(7, "look", subject))
        room = draw_room(generator(7, "room", subject), 160, 120)
        glad, sad = (draw_face(look, room, Pose.still(v, 0)).astype(float) for v in (0.8, -0.8))
        assert np.abs(glad - sad).max() > 60  # some pixels change wholly
        means.append(glad.mean((0, 1)))
        shifts.append(np.abs(means[-1] - sad.mean((0, 1))).max())
    # A blush costs a few levels; the next subject is ten times as far away.
    assert max(shifts) < np.std(means, axis=0).min() / 5


def test_arousal_is_heard_in_pitch_loudness_and_rate() -> None:
    measures = np.array([_voice_measures(arousal) for arousal in (-0.8, 0.0, 0.8)])
    pitch, loudness, rate, pause = measures.T
    assert pitch[2] > 1.4 * pitch[0]
    assert loudness[2] > loudness[0] + 6
    assert rate[2] > 1.4 * rate[0]
    assert pause[2] < 0.7 * pause[0]
    for rising in (pitch, loudness, rate, -pause):
        assert np.all(np.diff(rising) > 0)


def _voice_measures(arousal: float) -> tuple[float, float, float, float]:
    """Pitch in Hz, loudness in dB, syllables a second and share of pauses in 20 s of an unmoved puppet."""
    nothing = Smooth(np.zeros(48), np.full(48, np.pi / 2))  # cos(pi / 2) = 0
    latent = Latent(np.array([0.0, np.arctanh(arousal) / np.sqrt(1 - 0.2**2)]), (nothing, nothing))
    assert latent.at([5.0]).ravel() == pytest.approx([0, arousal], abs=1e-9)
    rate_hz, seconds = 16_000, 20.0
    speech = Speech.draw(generator(5, "speech"), latent, seconds)
    sound = draw_voice(Throat(120.0, 1.0, 0.05), latent, speech, seconds, rate_hz, generator(5, "voice"))
    pitches, powers = [], []
    for start, length in zip(speech.start_seconds, speech.length_seconds, strict=True):
        if start < 0 or start + length > seconds:
            continue
        middle = int((start + length / 2) * rate_hz)
        part = sound[middle - 800 : middle + 800]
        if len(part) < 1600:
            continue
        spectrum = np.abs(np.fft.rfft(part * np.hanning(1600), 16_384)) ** 2
        correlation = np.fft.irfft(spectrum)
        lags = np.arange(rate_hz // 320, rate_hz // 60)
        pitches.append(rate_hz / lags[np.argmax(correlation[lags])])
        powers.append(np.mean(part**2))
    silence = float((speech.opening(np.arange(0, seconds, 0.01)) == 0).mean())
    return (
        float(np.median(pitches)),
        float(10 * np.log10(np.mean(powers))),
        float(1 / np.median(speech.length_seconds)),
        silence,
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 8])
def test_mean_pixel_and_energy_score_under_half_of_the_ceiling(seed: int, tmp_path: Path) -> None:
    """Otherwise a colour or a volume gives the answer away, and the demo shows nothing."""
    settings = PuppetSettings(seed=seed, clips=24, subjects=12, seconds_longest=9, width=96, height=80)
    truth = write_corpus(tmp_path / "puppets", settings, workers=2)
    assert ridge_ccc(tmp_path / "puppets", truth) < truth.ceiling["validation"].mean / 2


def ridge_ccc(root: Path, truth: CorpusTruth) -> float:
    """Mean CCC on validation of a ridge from mean pixel and sound energy, fitted on training."""
    rows: dict[str, list[tuple[Float, Float]]] = {split: [] for split in LABELS}
    for clip in truth.clips:
        if "two_person" not in clip.traits:
            features = np.array(list(_cheap_features(root / "batch1" / f"{clip.video}.mp4")))
            labels = labels_of(root, clip.split, clip.name)
            length = min(len(features), len(labels))
            keep = (labels[:length] != -5).all(1)
            rows[clip.split].append((features[:length][keep], labels[:length][keep]))
    (x, y), (x_new, y_new) = (map(np.concatenate, zip(*rows[split], strict=True)) for split in LABELS)
    mean, deviation = x.mean(0), x.std(0)
    x, x_new = (x - mean) / deviation, (x_new - mean) / deviation
    weights = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(x.shape[1]), x.T @ (y - y.mean(0)))
    p = x_new @ weights + y.mean(0)
    covariance = ((p - p.mean(0)) * (y_new - y_new.mean(0))).mean(0)
    ccc = 2 * covariance / (p.var(0) + y_new.var(0) + (p.mean(0) - y_new.mean(0)) ** 2)
    return float(ccc.mean())


def _cheap_features(path: Path) -> Iterator[list[float]]:
    """Mean red, green and blue of each frame, and the log rms of the quarter second around it."""
    sound, rate_hz = np.zeros(0), 1
    with av.open(str(path)) as container:
        if container.streams.audio:
            parts = list(container.decode(audio=0))
            sound, rate_hz = np.concatenate([part.to_ndarray()[0] for part in parts]), parts[0].sample_rate
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            middle = round(frame.time * rate_hz)
            near = sound[max(0, middle - rate_hz // 8) : middle + rate_hz // 8]
            energy = float(np.log(np.sqrt(np.mean(near**2)) + 1e-4)) if len(near) else float(np.log(1e-4))
            yield [*frame.to_ndarray(format="rgb24").mean((0, 1)).tolist(), energy]
