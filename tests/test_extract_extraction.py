"""A corpus into a store: what is done again, what isn't, and what one bad clip costs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import even_ticks, tone, write_affwild2, write_media

from cache.catalogue import Catalogue
from cache.store import open_store
from extract import decode as decoding
from extract.clips import Clip
from extract.corpora import read_corpus
from extract.extraction import Progress, Summary, extract_corpus, plan_features
from extract.recipe import FeatureSettings
from extract.settings import CorpusSettings, ExecutionSettings
from extract.worker import Worker

ROOT = Path(__file__).parent.parent
FACE = FeatureSettings(backbone="torchvision:squeezenet1_1", weights="random:3", crop={"size_px": 31})
MEL = FeatureSettings(backbone="logmel", hop_seconds=0.04)
BOTH = {"face": FACE, "mel": MEL}
# clip: frames, label rows
CLIPS = {"a": (5, 5), "b": (7, 6), "c": (11, 11), "pair_left": (13, 13), "pair_right": (13, 13)}
ALL = sorted(CLIPS)


def rows(count: int, first: float = 0.5) -> list[tuple[float, float]]:
    return [(first, -0.25), (-5.0, -5.0), *[(0.125, i % 16 / 16) for i in range(count - 2)]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for n, (name, (frames, labelled)) in enumerate(CLIPS.items()):
        video = name.partition("_")[0]
        split = "Validation_Set" if name == "c" else "Train_Set"
        write_affwild2(root, [(name, split, rows(labelled))])
        sound = tone(200 + 70 * n, frames / 25) if name != "b" else None
        write_media(root / "batch1" / f"{video}.mp4", even_ticks(frames, 25), sound=sound)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A corpus of this test's own, to be edited."""
    return shutil.copytree(original, tmp_path / "corpus")


def run(
    root: Path,
    features: dict[str, FeatureSettings] = BOTH,
    store: str = "x.zarr",
    seen: list[Progress] | None = None,
    retry_failed: bool = False,
    **execution: Any,
) -> Summary:
    clips = read_corpus(CorpusSettings(format="affwild2", root=root))
    opened = open_store(root.parent / store, writable=True)
    settings = ExecutionSettings(**{"device": "cpu", "workers": 0, **execution})
    plan = plan_features(features, None, clips, root)
    return extract_corpus(
        clips, plan, opened, settings, seen.append if seen is not None else lambda _: None, retry_failed=retry_failed
    )


def catalogue(root: Path, store: str = "x.zarr") -> Catalogue:
    return Catalogue(open_store(root.parent / store))


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Until the end of the test, nothing may be decoded."""

    def explode(*arguments: Any, **options: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("extract.worker.decode", explode)
    monkeypatch.setattr(decoding, "frame_clock", explode)
    monkeypatch.setattr(Worker, "__init__", explode)
    return


def tracks_of(root: Path, store: str = "x.zarr") -> dict[tuple[str, str], np.ndarray]:
    opened, found = open_store(root.parent / store), {}
    for record in Catalogue(opened):
        for feature in record.tracks:
            found[record.clip, feature] = opened.read(record.key(feature)).values
    return found


# ------------------------------------------------------------------------------------------------ once


def test_a_first_run_does_everything(root: Path) -> None:
    seen: list[Progress] = []
    summary = run(root, seen=seen)
    assert (summary.clips, sorted(summary.extracted)) == (5, ALL)
    assert (summary.up_to_date, summary.relabelled, summary.failed) == (0, [], {})
    assert summary.frames == sum(frames for frames, _ in CLIPS.values())
    assert sorted({progress.clips_done for progress in seen} - {0}) == [1, 2, 3, 4, 5]
    assert seen[-1].rows_done == seen[-1].rows == sum(labelled for _, labelled in CLIPS.values())
    store = open_store(root.parent / "x.zarr")
    found = Catalogue(store)
    assert sorted(record.clip for record in found) == ALL
    for record in found:
        frames, labelled = CLIPS[record.clip]
        face, mel = store.read(record.key("face")), store.read(record.key("mel"))
        assert (len(face), face.values.dtype, face.valid.all()) == (frames, np.float16, True)
        assert (len(mel) > 0) == (record.clip != "b"), "a silent clip has a track of no rows"
        assert record.duration_seconds == frames / 25
        assert record.labels is not None
        assert record.labels.clock == face.clock.resized(labelled)
        np.testing.assert_array_equal(record.labels.valid, np.arange(labelled) != 1)
        assert record.notes == (("6 label rows for 7 frames",) if record.clip == "b" else ())
        assert store.provenance(record.key("face"))["device"] == "cpu"
    assert (found["c"].split, found["a"].split) == ("validation", "train")
    assert found["pair_left"].media == found["pair_right"].media == "batch1/pair.mp4"
    assert found["pair_left"].source != found["pair_right"].source
    assert found["pair_left"].group == found["pair_right"].group


def test_a_second_run_decodes_nothing_however_it_is_run(root: Path, request: pytest.FixtureRequest) -> None:
    run(root)
    digest = catalogue(root).digest()
    request.getfixturevalue("no_decoding")
    for execution in ({}, {"batch_rows": 3, "decode_threads": 2, "clips_at_once": 5, "device": "auto"}):
        summary = run(root, **execution)
        assert (summary.extracted, summary.up_to_date, summary.relabelled) == ([], 5, [])
        assert (summary.failed, summary.frames) == ({}, 0)
    assert catalogue(root).digest() == digest


def test_a_touched_file_is_the_same_and_an_edited_one_is_done_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(root)
    before, kept = catalogue(root), tracks_of(root)
    video = root / "batch1" / "a.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(Worker, "__init__", lambda *_: pytest.fail("decoded"))
        os.utime(video, ns=(10**18, 10**18))
        assert run(root).up_to_date == 5
    write_media(video, even_ticks(17, 25), sound=tone(150, 0.7))
    summary = run(root)
    assert (summary.extracted, summary.up_to_date) == (["a"], 4)
    after, now = catalogue(root), tracks_of(root)
    assert after["a"].source != before["a"].source
    assert (after["a"].generation, len(now["a", "face"])) == (2, 17)
    assert after["a"].notes == ("5 label rows for 17 frames",)
    for key in kept.keys() - {("a", "face"), ("a", "mel")}:
        np.testing.assert_array_equal(now[key], kept[key])
    edited_pair = root / "batch1" / "pair.mp4"
    write_media(edited_pair, even_ticks(13, 25))
    assert sorted(run(root).extracted) == ["pair_left", "pair_right"]


def test_another_recipe_is_another_key_beside_the_old_one(root: Path, request: pytest.FixtureRequest) -> None:
    run(root)
    old = catalogue(root)
    changed = {"face": FACE, "mel": MEL.model_copy(update={"dtype": "float32"})}
    asked: list[tuple[str, list[str]]] = []
    extract = Worker.extract
    patch = pytest.MonkeyPatch()
    patch.setattr(
        Worker,
        "extract",
        lambda self, clip, names, *more: asked.append((clip.name, names)) or extract(self, clip, names, *more),
    )
    summary = run(root, changed)
    patch.undo()
    assert sorted(asked) == [(clip, ["mel"]) for clip in ALL], "what did not change is not computed again"
    assert (sorted(summary.extracted), summary.up_to_date) == (ALL, 0)
    new, store = catalogue(root), open_store(root.parent / "x.zarr")
    assert len(store.recipes()) == 3
    assert new.recipe_of("mel") != old.recipe_of("mel")
    assert new.recipe_of("face") == old.recipe_of("face")
    for clip in ALL:
        assert store.read(new[clip].key("mel")).values.dtype == np.float32
        assert store.read(old[clip].key("mel")).values.dtype == np.float16, "the old numbers are still there"
    request.getfixturevalue("no_decoding")
    assert sorted(run(root).relabelled) == ALL, "back to the first recipe: its tracks are found, not made again"
    assert catalogue(root).digest() == old.digest()


def test_a_feature_that_is_added_is_computed_alone_and_joins_the_others(root: Path) -> None:
    run(root, {"mel": MEL})
    assert set(catalogue(root)["a"].tracks) == {"mel"}
    run(root, {"face": FACE})
    assert set(catalogue(root)["a"].tracks) == {"face", "mel"}


def test_corrected_labels_make_a_generation_without_decoding(root: Path, request: pytest.FixtureRequest) -> None:
    run(root)
    before = catalogue(root)
    request.getfixturevalue("no_decoding")
    write_affwild2(root, [("c", "Validation_Set", rows(11, first=-0.75))])
    summary = run(root)
    assert (summary.relabelled, summary.extracted, summary.failed) == (["c"], [], {})
    after = catalogue(root)
    assert (after["c"].generation, after["a"].generation) == (2, 1)
    assert after["c"].labels is not None
    assert after["c"].labels.values[0].tolist() == [-0.75, -0.25]
    assert after.digest() != before.digest()
    assert run(root).relabelled == []


@pytest.mark.parametrize("features", [{"mel": MEL}, BOTH], ids=["sound alone", "both"])
def test_labels_are_on_the_frames_whether_or_not_pictures_are_decoded(
    root: Path, features: dict[str, FeatureSettings]
) -> None:
    run(root, features)
    for record in catalogue(root):
        frames, labelled = CLIPS[record.clip]
        assert record.labels is not None
        assert record.labels.clock.seconds().tolist() == [i / 25 for i in range(labelled)]
        assert record.duration_seconds == frames / 25


def test_how_it_is_run_changes_no_number(root: Path) -> None:
    run(root)
    run(root, store="y.zarr", batch_rows=3, decode_threads=2, clips_at_once=1)
    one, other = tracks_of(root), tracks_of(root, "y.zarr")
    assert one.keys() == other.keys()
    for key, values in one.items():
        # float16 keeps 11 bits: a sum taken in another order may round to the neighbour.
        np.testing.assert_allclose(other[key], values, rtol=2e-3, atol=1e-3)
    assert catalogue(root).digest() == catalogue(root, "y.zarr").digest()


# ------------------------------------------------------------------------------------------------ bad clips


def test_a_corrupt_clip_is_reported_and_the_rest_done_then_mended_it_alone_is_done(root: Path) -> None:
    video = root / "batch1" / "b.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    seen: list[Progress] = []
    summary = run(root, seen=seen)
    assert sorted(summary.extracted) == ["a", "c", "pair_left", "pair_right"]
    assert list(summary.failed) == ["b"]
    assert summary.failed["b"].startswith("b.mp4: ")
    assert "\n" not in summary.failed["b"]
    assert seen[-1].failures == 1
    assert "b" not in catalogue(root)
    again = run(root)
    assert (again.extracted, again.up_to_date, again.failed, again.put_off) == ([], 4, summary.failed, ["b"])
    video.write_bytes(whole)
    mended = run(root)
    assert (mended.extracted, mended.up_to_date, mended.failed) == (["b"], 4, {})
    assert sorted(record.clip for record in catalogue(root)) == ALL


def test_a_failed_clip_is_tried_again_when_asked_or_when_something_has_changed(root: Path) -> None:
    video = root / "batch1" / "b.mp4"
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (root / "batch1" / "c.mp4").rename(root / "elsewhere.mp4")
    first = run(root)
    assert (sorted(first.failed), first.put_off) == (["b", "c"], [])
    asked: list[str] = []
    extract = Worker.extract
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Worker, "extract", lambda self, clip, *rest: asked.append(clip.name) or extract(self, clip, *rest)
        )
        assert run(root).put_off == ["b"]
        assert asked == [], "not every night again"
        retried = run(root, retry_failed=True)
        assert (asked, list(retried.failed), retried.up_to_date) == (["b"], ["b"], 0), "just those"
        run(root, {**BOTH, "mel": MEL.model_copy(update={"hop_seconds": 0.1})})
        assert asked.count("b") == 2, "another recipe is another attempt"
        (root / "elsewhere.mp4").rename(root / "batch1" / "c.mp4")
        assert run(root).extracted == ["c"], "a file that was missing is looked for every time"


def test_a_clip_whose_record_can_not_be_made_is_reported_and_the_rest_done(root: Path) -> None:
    video = root / "batch1" / "a.mp4"
    whole = video.read_bytes()
    write_media(video, sound=tone(300, 0.5))  # sound decodes, but there are no frames for the labels to be on
    for attempt in range(2):
        summary = run(root, {"mel": MEL})
        assert summary.failed == {"a": "a.mp4: the file has no video stream"}
        assert sorted(summary.extracted) == (["b", "c", "pair_left", "pair_right"] if attempt == 0 else [])
        assert summary.up_to_date == (0 if attempt == 0 else 4)
    video.write_bytes(whole)
    assert run(root, {"mel": MEL}).failed == {}


def test_a_single_frame_under_many_labels_is_one_clip_s_problem(root: Path) -> None:
    write_media(root / "batch1" / "a.mp4", [0], sound=tone(300, 0.5))
    summary = run(root)
    assert list(summary.failed) == ["a"]
    assert "no step to continue with to 5 rows" in summary.failed["a"]
    assert len(summary.extracted) == 4


def test_a_file_that_can_not_be_read_is_one_clip_s_problem(root: Path) -> None:
    clips = read_corpus(CorpusSettings(format="affwild2", root=root))
    (root / "batch1" / "a.mp4").unlink()  # between reading the corpus and extracting
    store, here = open_store(root.parent / "x.zarr", writable=True), ExecutionSettings(device="cpu", workers=0)
    summary = extract_corpus(clips, plan_features({"mel": MEL}, None, clips, root), store, here)
    assert summary.failed == {"a": "a.mp4 is missing"}
    assert len(summary.extracted) == 4


def test_settings_that_no_clip_could_be_extracted_with_stop_the_run_before_it(root: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pth' of zhao19 are no file"):
        run(root, {"voice": FeatureSettings(backbone="zhao19", weights="nowhere.pth")})
    with pytest.raises(ValueError, match="device 'gpu' can't be used"):
        run(root, device="gpu")
    assert len(catalogue(root)) == 0


# ------------------------------------------------------------------------------------------------ stopped


class Stopped(BaseException):
    """What ends a run in the middle."""


@pytest.mark.parametrize("after", range(len(ALL)))
def test_stopped_after_any_clip_the_next_run_does_the_rest(
    root: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, done = Worker.extract, []

    def some(self: Worker, clip: Clip, names: Sequence[str], *more: Any) -> Any:
        if len(done) == after:
            raise Stopped
        done.append(clip.name)
        return extract(self, clip, list(names), *more)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "extract", some)
        with pytest.raises(Stopped, match=r"^$"):
            run(root, {"mel": MEL}, clips_at_once=1)
    found = {clip for clip, _ in tracks_of(root)}
    assert found <= set(done)
    summary = run(root, {"mel": MEL})
    assert sorted(summary.extracted) == sorted(set(ALL) - set(done)), "what was stored is not made again"
    assert sorted(record.clip for record in catalogue(root)) == ALL
    assert summary.failed == {}


_RECIPE = """
title: killed in the middle
corpus: {{format: affwild2, root: {root}}}
store: {store}
runs: {root}/runs
report: {root}/report
features:
  voice: {{backbone: zhao19, weights: "random:3", hop_seconds: 0.01}}
  mel: {{backbone: logmel}}
execution: {{device: cpu, clips_at_once: 1}}
fuse: {{features: {{audio: voice}}}}
"""


@pytest.mark.slow  # starts the command, which imports torch: about 10 s of CPU
def test_kill_9_of_the_command_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    from pipeline.settings import load_recipe

    root = tmp_path / "corpus"
    lengths = {"a": 0.2, "b": 0.24, "c": 0.28, "z_long": 2.0}
    for n, (name, seconds) in enumerate(lengths.items()):
        frames = round(25 * seconds)
        write_media(root / "batch1" / f"{name}.mp4", even_ticks(frames, 25), sound=tone(170 + 60 * n, seconds))
        write_affwild2(root, [(name, "Train_Set" if n % 2 else "Validation_Set", rows(frames))])
    for store in ("killed", "whole"):
        (tmp_path / f"{store}.yaml").write_text(
            _RECIPE.format(root=root, store=tmp_path / f"{store}.zarr"), encoding="utf-8"
        )
    store_path = tmp_path / "killed.zarr"
    command = subprocess.Popen(
        [sys.executable, "-c", "from pipeline.cli import main; main()", "extract", str(tmp_path / "killed.yaml")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with command:
        # Three clips are done and recorded; the fourth takes seconds, and the command is in the middle of it.
        while command.poll() is None and not (store_path / "catalogue" / "c" / "000001").is_dir():
            time.sleep(0.01)
        command.send_signal(signal.SIGKILL)
        said = command.communicate()[0]
    assert command.returncode == -signal.SIGKILL, said

    store = open_store(store_path)
    assert sorted(record.clip for record in Catalogue(store)) == ["a", "b", "c"]
    inodes = {folder: folder.stat().st_ino for folder in (store_path / "tracks").glob("*/*.*/")}
    assert len(inodes) >= 6

    def finish(name: str) -> Summary:
        recipe = load_recipe(tmp_path / f"{name}.yaml", ["execution.workers=0"])
        clips = read_corpus(recipe.corpus)
        plan = plan_features(recipe.features, None, clips, recipe.corpus.root)
        return extract_corpus(clips, plan, open_store(recipe.store, writable=True), recipe.execution)

    summary = finish("killed")
    assert (summary.extracted, summary.up_to_date, summary.failed) == (["z_long"], 3, {})
    assert {folder: folder.stat().st_ino for folder in inodes} == inodes, "what was there is there untouched"
    whole = finish("whole")
    assert sorted(whole.extracted) == sorted(lengths)
    mended, uninterrupted = tracks_of(root, "killed.zarr"), tracks_of(root, "whole.zarr")
    assert mended.keys() == uninterrupted.keys() == {(clip, name) for clip in lengths for name in ("voice", "mel")}
    for key, values in uninterrupted.items():
        np.testing.assert_array_equal(mended[key], values)  # the same sums in the same order
    assert catalogue(root, "killed.zarr").digest() == catalogue(root, "whole.zarr").digest()
