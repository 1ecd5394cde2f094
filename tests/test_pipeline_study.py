"""The whole path on a tiny puppet corpus: once, again, changed, stopped and killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from puppets import CLIPS, DEMO, EPOCHS, TINY, Done, duet, extracted

from cache.catalogue import Catalogue
from cache.store import open_store
from fuse.runs import Run
from pipeline.settings import load_recipe
from pipeline.study import execute_all, plan_study

STUDY = ("study.models=[mlp, lstm]", "study.modalities=[[audio], [audio, video]]")
BOTH = "audio+video"


@dataclass(frozen=True)
class Story:
    """What was done in a folder, command by command."""

    folder: Path
    extracted: Done
    again: Done
    fused: Done
    fused_again: Done
    demo: Done

    @property
    def runs(self) -> Path:
        return self.folder / "work/demo/runs"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    base = tmp_path_factory.getbasetemp()
    source, first = extracted(base)
    folder = shutil.copytree(source, tmp_path_factory.mktemp("story") / "run")
    again = duet(folder, "extract", str(DEMO), *TINY)
    fused = duet(folder, "fuse", str(DEMO), "--model", "mlp", *TINY)
    before = stamps(folder / "work/demo/runs")
    fused_again = duet(folder, "fuse", str(DEMO), "--model", "mlp", *TINY)
    assert stamps(folder / "work/demo/runs") == before, "a finished run is not touched"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.study.usable_cores", lambda: 1)  # no processes of their own, each importing torch
        demo = duet(folder, "demo", "--device", "cpu", *TINY, *STUDY)
    return Story(folder, first, again, fused, fused_again, demo)


@pytest.fixture
def folder(story: Story, tmp_path: Path) -> Path:
    """A copy of the folder as the story left it, to be changed."""
    return shutil.copytree(story.folder, tmp_path / "run")


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "work/demo/report/report.json").read_text(encoding="utf-8"))
    return found


def labels(folder: Path) -> list[str]:
    return sorted(run["label"] for run in read_report(folder)["runs"])


def names(runs: Path) -> set[str]:
    return {str(path.parent.relative_to(runs)) for path in runs.glob("*/*/scores.json")}


def results(run: Path) -> dict[str, Any]:
    """All that a run says but how long it took."""
    scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for part in (scores, *lines):
        del part["seconds"]
    with np.load(run / "predictions.npz", allow_pickle=False) as file:
        predictions = {name: file[name].tolist() for name in file.files}
    return {
        "scores": scores,
        "metrics": lines,
        "predictions": predictions,
        "weights": (run / "checkpoint.safetensors").read_bytes(),
        "run": json.loads((run / "run.json").read_text(encoding="utf-8")),
    }


# ------------------------------------------------------------------------------------------------ once


def test_extracting_says_what_was_done_and_where(story: Story) -> None:
    assert (story.extracted.code, story.extracted.out) == (0, "store: work/demo/store.zarr\n")
    assert re.search(rf"^extracted {len(CLIPS)} clips \([0-9,]+ frames\) in ", story.extracted.err, re.MULTILINE)
    assert "FAILED" not in story.extracted.err
    catalogue = Catalogue(open_store(story.folder / "work/demo/store.zarr"))
    assert sorted(record.clip for record in catalogue) == [f"puppet_{name}" for name in CLIPS]
    assert {record.split for record in catalogue} == {"train", "validation"}
    assert len({record.subject for record in catalogue}) == 6
    for record in catalogue:
        assert set(record.tracks) == {"face", "voice"}


def test_extracting_again_decodes_nothing_and_says_so(story: Story) -> None:
    assert (story.again.code, story.again.out) == (0, "store: work/demo/store.zarr\n")
    assert story.again.err == "9 of 9 clips were in the store already; nothing of them was decoded\n"


def test_fusing_trains_the_model_asked_for_and_prints_the_table(story: Story) -> None:
    assert story.fused.code == 0
    head, run, ceiling, place = (line.split("\t") for line in story.fused.out.splitlines())
    assert head[:3] == ["model", "modalities", "seeds"]
    assert run[:3] == ["mlp", BOTH, "1"]
    assert run[-1].endswith("rows, 2 subjects")
    assert ceiling[0] == "ceiling"
    assert place == ["report: work/demo/report/index.html"]
    assert "training: 1/1 runs" in story.fused.err
    assert "finished already" not in story.fused.err


def test_fusing_again_trains_nothing(story: Story) -> None:
    assert (story.fused_again.code, story.fused_again.out) == (0, story.fused.out)
    assert "1 of 1 runs are finished already" in story.fused_again.err


def test_the_demo_does_the_rest_of_the_study(story: Story) -> None:
    assert story.demo.code == 0
    assert "9 of 9 clips were in the store already" in story.demo.err
    assert "1 of 4 runs are finished already" in story.demo.err
    table = [line.split("\t")[:3] for line in story.demo.out.splitlines() if "\t" in line]
    assert table[0] == ["model", "modalities", "seeds"]
    assert table[-1][0] == "ceiling"
    assert sorted(table[1:-1]) == [[m, x, "1"] for m in ("lstm", "mlp") for x in ("audio", BOTH)]
    assert story.demo.out.splitlines()[0] == "store: work/demo/store.zarr"
    assert story.demo.out.splitlines()[-1] == "report: work/demo/report/index.html"
    for question in ("does video help?", "does time help?"):
        assert f"\n{question} lstm {BOTH} is " in story.demo.out
    assert "too few for an interval" in story.demo.out


def test_the_report_is_there_as_json(story: Story) -> None:
    made = read_report(story.folder)
    truth = json.loads((story.folder / "work/demo/corpus/truth.json").read_text(encoding="utf-8"))
    for name in ("valence", "arousal"):
        assert made["ceiling"][name] == truth["ceiling"]["validation"][name]
    assert made["ceiling"]["mean"] == pytest.approx((made["ceiling"]["valence"] + made["ceiling"]["arousal"]) / 2)
    assert {(run["model"], "+".join(run["modalities"]), run["seeds"]) for run in made["runs"]} == {
        (model, modalities, 1) for model in ("mlp", "lstm") for modalities in ("audio", BOTH)
    }
    for run in made["runs"]:
        assert set(run["ccc_concat"]) == {"valence", "arousal", "mean"}
        assert all(isinstance(value, float) and -1 <= value <= 1 for value in run["ccc_concat"].values())
        scores = json.loads((story.runs / Path(run["folder"]).name / "seed-0" / "scores.json").read_text())
        assert run["ccc_concat"]["mean"] == pytest.approx(scores["ccc_concat"]["mean"], abs=1e-6)
        assert run["n_rows"] == scores["n_rows"]
    assert (made["corpus"]["group_kind"], made["report_split"]) == ("subject", "validation")
    assert {feature["name"]: feature["weights"] for feature in made["features"]} == {"face": "none", "voice": "none"}
    assert any("label rows for" in note for note in made["notes"]), "the puppet whose label counts are off by one"


class Outside(HTMLParser):
    """Whatever a page would fetch, and whether it closes what it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "srcset", "data", "poster") or (name == "href" and not str(value).startswith("#")):
                self.found.append(f"<{tag} {name}={value}>")
        if tag in ("iframe", "object", "embed", "link", "base"):
            self.found.append(f"<{tag}>")


def test_the_page_needs_nothing_else(story: Story) -> None:
    page = (story.folder / "work/demo/report/index.html").read_text(encoding="utf-8")
    outside = Outside()
    outside.feed(page)
    assert outside.found == []
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest", page)
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "The puppet corpus" in page
    for label in labels(story.folder):
        assert label in page
    assert sorted(path.name for path in (story.folder / "work/demo/report").iterdir()) == ["index.html", "report.json"]


def test_a_run_is_a_folder_that_says_what_went_in(story: Story) -> None:
    (folder,) = story.runs.glob(f"lstm-{BOTH}-*")
    (seed,) = folder.iterdir()
    assert sorted(path.name for path in seed.iterdir()) == [
        "checkpoint.safetensors", "metrics.jsonl", "predictions.npz", "run.json", "scores.json",
    ]  # fmt: skip
    run = json.loads((seed / "run.json").read_text(encoding="utf-8"))
    catalogue = Catalogue(open_store(story.folder / "work/demo/store.zarr"))
    assert run["inputs"]["recipes"] == {"video": catalogue.recipe_of("face"), "audio": catalogue.recipe_of("voice")}
    assert run["settings"]["training"]["epochs"] == EPOCHS
    assert len((seed / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == EPOCHS


# ------------------------------------------------------------------------------------------------ again and changed


@pytest.mark.parametrize(
    "changed",
    [
        ["title=Another name"],
        ["report=elsewhere"],
        ["execution.batch_rows=3", "execution.clips_at_once=2"],
        ["study.models=[crossattn]"],
        ["fuse.models={crossattn: {width: 32}}"],
        ["fuse.features={audio: voice, video: face}"],
        ["features.mel={backbone: logmel}"],
    ],
    ids=lambda changed: changed[0].partition("=")[0],
)
def test_what_decides_no_number_trains_nothing_again(folder: Path, changed: list[str]) -> None:
    before = stamps(folder / "work/demo/runs")
    done = duet(folder, "fuse", str(DEMO), "--model", "lstm", *TINY, *changed)
    assert done.code == 0, done.err
    assert "1 of 1 runs are finished already" in done.err
    assert stamps(folder / "work/demo/runs") == before


def test_a_store_that_moved_and_lost_its_corpus_is_the_same(folder: Path) -> None:
    before = stamps(folder / "work/demo/runs")
    (folder / "work/demo/store.zarr").rename(folder / "moved.zarr")
    shutil.rmtree(folder / "work/demo/corpus")
    done = duet(folder, "fuse", str(DEMO), "--model", "lstm", *TINY, "store=moved.zarr")
    assert done.code == 0, done.err
    assert stamps(folder / "work/demo/runs") == before
    assert "no ceiling in this report: work/demo/corpus holds no finished puppet corpus" in done.err
    assert read_report(folder)["ceiling"] is None
    assert len(read_report(folder)["runs"]) == 4


def test_more_seeds_train_the_others_only(folder: Path) -> None:
    before = stamps(folder / "work/demo/runs")
    done = duet(folder, "fuse", str(DEMO), "--model", "mlp", *TINY, "fuse.seeds=2", "--modalities", "audio")
    assert done.code == 0, done.err
    assert "training: 1/2 runs" in done.err
    after = stamps(folder / "work/demo/runs")
    assert {name: after[name] for name in before} == before
    (run,) = [run for run in read_report(folder)["runs"] if run["label"] == "mlp audio"]
    assert run["seeds"] == len(run["ccc_concat_seeds"]) == 2
    assert run["ccc_concat"]["mean"] == pytest.approx(np.mean(run["ccc_concat_seeds"]), abs=1e-6)


def test_other_settings_are_another_run_with_a_label_of_its_own(folder: Path) -> None:
    done = duet(folder, "fuse", str(DEMO), "--model", "mlp", *TINY, "fuse.training.weight_decay=0.5")
    assert done.code == 0, done.err
    assert len(names(folder / "work/demo/runs")) == 5
    found = labels(folder)
    assert len(set(found)) == 5
    twins = [label for label in found if label.startswith(f"mlp {BOTH} ")]
    keys = {run["key"] for run in read_report(folder)["runs"] if run["label"] in twins}
    assert sorted(twins) == sorted(f"mlp {BOTH} {key}" for key in keys)
    assert len(twins) == 2
    for label in twins:
        assert f"{label} is " in done.out or f" {label}, " in done.out


def test_corrected_labels_make_old_runs_leave_the_table(folder: Path) -> None:
    file = folder / "work/demo/corpus/VA_Estimation_Challenge/Validation_Set/puppet_002.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    corrected = next(i for i, line in enumerate(lines) if i > 5 and not line.startswith("-5"))
    lines[corrected] = "0.5,-0.5"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = duet(folder, "extract", str(DEMO), *TINY)
    assert (done.code, done.out) == (0, "store: work/demo/store.zarr\n")
    assert "1 new record of clips (labels, split or subject changed)" in done.err
    assert "nothing of them was decoded" in done.err

    done = duet(folder, "report", str(DEMO), *TINY)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "duet: work/demo/runs has no finished run on work/demo/store.zarr (4 experiments there saw another catalogue "
        "or split); train one with `duet fuse`\n"
    )
    before = stamps(folder / "work/demo/runs")
    done = duet(folder, "fuse", str(DEMO), "--model", "mlp", *TINY)
    assert done.code == 0, done.err
    assert labels(folder) == [f"mlp {BOTH}"]
    after = stamps(folder / "work/demo/runs")
    assert {name: after[name] for name in before} == before, "what was finished stays as it was"

    lines[corrected] = "0.25,-0.25"  # and back, to yet another: only the corpus as it is counts
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert duet(folder, "extract", str(DEMO), *TINY).code == 0
    assert duet(folder, "report", str(DEMO), *TINY).code == 2


# ------------------------------------------------------------------------------------------------ study


def study(folder: Path, *changed: str) -> list[Run]:
    recipe = load_recipe(DEMO, [*TINY, *STUDY, *changed])
    assert recipe.study is not None
    return plan_study(recipe.fuse, recipe.study, Catalogue(open_store(recipe.store)), recipe.store, recipe.runs)


def test_a_study_is_every_model_on_every_set_of_modalities(story: Story) -> None:
    with chdir(story.folder):
        runs = study(story.folder, "fuse.seeds=3")
    assert [run.label for run in runs] == [
        f"{model} {modalities} seed {seed}"
        for model in ("mlp", "lstm") for modalities in ("audio", BOTH) for seed in range(3)
    ]  # fmt: skip
    assert len({run.folder for run in runs}) == 12
    for run in runs:
        said = run.settings.experiment()
        assert set(said["components"]) <= set(said["features"])
        assert set(said["training"]["shift"]) <= set(said["features"])
        assert set(said["alignment"]["relative"]) <= set(said["features"])


def test_a_study_goes_on_run_by_run_and_comes_to_the_same(folder: Path) -> None:
    """Killed in the middle of one run: its folder is there, half written, without scores."""
    runs_folder = folder / "work/demo/runs"
    (broken,) = runs_folder.glob(f"lstm-{BOTH}-*/seed-0")
    whole, before = results(broken), stamps(runs_folder)
    for name in ("scores.json", "predictions.npz"):
        (broken / name).unlink()
    (broken / "checkpoint.safetensors").write_bytes(whole["weights"][:100])
    with (broken / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"epoch": 3, "lo')
    seen: list[tuple[str, float]] = []
    with chdir(folder):
        runs = study(folder)
        assert [run.label for run in runs if not run.finished] == [f"lstm {BOTH} seed 0"]
        execute_all(
            runs, "cpu", lambda run, scores: seen.append((run.label, scores["ccc_concat"]["mean"])), processes=1
        )
    assert [label for label, _ in seen] == [
        "mlp audio seed 0", f"mlp {BOTH} seed 0", "lstm audio seed 0", f"lstm {BOTH} seed 0",
    ]  # fmt: skip
    after, own = stamps(runs_folder), str(broken.relative_to(runs_folder))
    assert {name for name in before if after[name] != before[name]} <= {name for name in before if name.startswith(own)}
    assert results(broken) == whole
    assert seen[-1][1] == whole["scores"]["ccc_concat"]["mean"]


def test_a_recipe_without_a_study_has_none(folder: Path) -> None:
    done = duet(folder, "demo", *TINY, "study=null")
    assert (done.code, done.out) == (2, "store: work/demo/store.zarr\n")
    assert done.err.endswith("duet: the recipe has no `study`; add one, or train one model with `duet fuse`\n")


# ------------------------------------------------------------------------------------------------ stopped

LONG = ("fuse.seeds=5", "fuse.training.epochs=30", "fuse.training.patience=30")
# On two cores at most, whatever the machine: so that two runs are under way and others wait.
_COMMAND = """
import os, sys
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
from pipeline.cli import main
if __name__ == "__main__":
    main()
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A real `duet` in a process group of its own; what it says goes to files, which wait for nobody."""
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments], cwd=folder, stdout=out, stderr=err, start_new_session=True
        )


def wait_for_a_first_run(command: subprocess.Popen[bytes], runs: Path) -> None:
    while command.poll() is None and not list(runs.glob("*/*/scores.json")):
        time.sleep(0.005)


def wait_for_the_group_to_end(group: int) -> None:
    """Until no process of it is left. A minute is for the slowest machine; those that stay are a failure."""
    for _ in range(6000):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlived the command that started them")


@pytest.mark.slow  # three commands that import torch in three processes each
def test_kill_9_of_a_fuse_then_again_equals_one_that_was_not_killed(folder: Path) -> None:
    arguments = ("fuse", str(DEMO), "--device", "cpu", "--model", "lstm", *TINY, *LONG)
    killed, whole = folder / "killed", folder / "whole"
    with start(folder, *arguments, "runs=killed") as command:
        wait_for_a_first_run(command, killed)
        command.kill()
    assert command.returncode == -signal.SIGKILL, (folder / "err.txt").read_text()
    wait_for_the_group_to_end(command.pid)
    finished = names(killed)
    assert 1 <= len(finished) < 5, "it was killed in the middle"
    before = {name: stamp for name, stamp in stamps(killed).items() if str(Path(name).parent) in finished}

    done = subprocess.run(
        [sys.executable, "-c", _COMMAND, *arguments, "runs=killed"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{len(finished)} of 5 runs are finished already" in done.stderr
    after = stamps(killed)
    assert {name: after[name] for name in before} == before
    (folder / "work/demo/report/report.json").rename(folder / "report.json")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.study.usable_cores", lambda: 1)  # and it is the same on one core, in one process
        assert duet(folder, *arguments, "runs=whole").code == 0
    assert names(whole) == names(killed)
    assert len(names(whole)) == 5
    for name in names(whole):
        assert results(killed / name) == results(whole / name)
    # A run that was under way leaves nothing beside what a finished one has.
    assert set(stamps(killed)) == set(stamps(whole))


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["everyone", "the command alone"])
def test_stopped_by_the_keyboard_it_ends_at_once_and_clearly(folder: Path, whom: str) -> None:
    """Ctrl-C in a terminal goes to every process of the group; `kill -INT` to the command alone."""
    runs = folder / "stopped"
    with start(
        folder, "fuse", str(DEMO), "--device", "cpu", "--model", "mlp", *TINY, *LONG, "runs=stopped",
        "fuse.training.epochs=100000", "fuse.training.patience=100000",
    ) as command:  # fmt: skip
        while command.poll() is None and len(list(runs.glob("*/*/metrics.jsonl"))) < min(2, os.cpu_count() or 1):
            time.sleep(0.005)
        if whom == "everyone":
            os.killpg(command.pid, signal.SIGINT)
        else:
            command.send_signal(signal.SIGINT)
        try:
            command.wait(timeout=120)  # the runs under way would take hours
        except subprocess.TimeoutExpired:
            os.killpg(command.pid, signal.SIGKILL)
    err = (folder / "err.txt").read_text()
    assert command.returncode == 130, err
    assert (folder / "out.txt").read_text() == ""
    assert err.strip() == "duet: stopped; what is finished is kept, run the same command to go on"
    wait_for_the_group_to_end(command.pid)
    assert names(runs) == set()
