"""`duet check`: settings alone, lightly, or the corpus too: what is printed where, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trees
from media import even_ticks, write_media
from puppets import duet
from rich.console import Console

from pipeline import show

RECIPE = """\
title: small
corpus: {format: affwild2, root: corpus}
store: x.zarr
runs: runs
report: report
features: {mel: {backbone: logmel, hop_seconds: 0.04}}
fuse: {features: {audio: mel}}
"""
LABELS = "valence,arousal\n" + "0.5,-0.25\n" * 10 + "-5,-5\n"  # 11 rows, 10 of them valid


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe, and a corpus of two clips of 11 frames."""
    for name, split in (("a", "Train_Set"), ("b", "Validation_Set")):
        write_media(tmp_path / f"corpus/batch1/{name}.mp4", even_ticks(11, 25))
        trees.grow(tmp_path, {f"corpus/VA_Estimation_Challenge/{split}/{name}.txt": LABELS})
    return trees.grow(tmp_path, {"x.yaml": RECIPE})


def test_a_sound_corpus_is_a_table_and_code_0(folder: Path) -> None:
    done = duet(folder, "check", "x.yaml", "--corpus")
    assert [line.split("\t") for line in done.out.splitlines()] == [
        ["split", "clips", "subjects", "media", "hours", "label rows", "valid"],
        ["train", "1", "-", "1", "0.00", "11", "90.9 %"],
        ["validation", "1", "-", "1", "0.00", "11", "90.9 %"],
    ]
    assert done.err.splitlines()[-1] == "corpus is sound"
    assert done.code == 0
    assert not (folder / "x.zarr").exists(), "looking writes nothing into the store"
    assert len((folder / "x.zarr.local/frames.jsonl").read_text(encoding="utf-8").split()) > 2


def test_what_concerns_some_clips_is_code_1_and_each_problem_a_line(folder: Path) -> None:
    (folder / "corpus/batch1/b.mp4").unlink()
    write_media(folder / "corpus/batch1/idle.mp4", even_ticks(11, 25))
    done = duet(folder, "check", "x.yaml", "--corpus")
    assert done.code == 1
    assert done.out.splitlines()[3:] == [
        "FAULT: clip b: corpus/batch1/b.mp4 is missing",
        "note: videos without labels, left out unless `corpus.test_list` names them: idle",
    ]
    assert done.err.splitlines()[-1] == "1 clip would fail or lack something; 1 problem"


def test_what_extract_would_refuse_is_code_2(folder: Path) -> None:
    file = folder / "corpus/VA_Estimation_Challenge/Train_Set/a.txt"
    file.write_text("valence,arousal\n0,low\n", encoding="utf-8")
    done = duet(folder, "check", "x.yaml", "--corpus")
    assert done.code == 2
    assert "WRONG: corpus/VA_Estimation_Challenge/Train_Set/a.txt:2 is '0,low'; wanted two numbers" in done.out
    assert done.err.splitlines()[-1].startswith("nothing would be extracted; ")
    done = duet(folder, "check", "x.yaml", "--corpus", "corpus.root=nowhere")
    assert (done.code, done.out) == (2, "")
    assert done.err == "duet: corpus root nowhere is not a folder; correct `corpus.root`\n"


def test_json_for_scripts(folder: Path) -> None:
    (folder / "corpus/batch1/b.mp4").unlink()
    done = duet(folder, "check", "x.yaml", "--corpus", "--json")
    found = json.loads(done.out)
    assert done.code == found["exit_code"] == 1
    assert found["failing"] == ["b"]
    assert found["problems"] == [
        {"weight": "fault", "clip": "b", "text": "clip b: corpus/batch1/b.mp4 is missing"},
    ]
    assert found["splits"]["train"] == {
        "clips": 1, "subjects": 0, "media": 1, "seconds": 0.44, "label_rows": 11, "valid_rows": 10,
    }  # fmt: skip


def test_json_alone_would_have_no_effect(folder: Path) -> None:
    done = duet(folder, "check", "x.yaml", "--json")
    assert (done.code, done.out) == (2, "")
    assert "--json says what --corpus found; give both" in done.err


def test_without_corpus_the_corpus_is_not_looked_at(folder: Path) -> None:
    done = duet(folder, "check", "x.yaml", "corpus.root=nowhere")
    assert (done.code, done.err) == (0, "")


def test_on_a_terminal_the_table_is_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from extract.corpora.check import check_corpus
    from extract.settings import CorpusSettings

    report = check_corpus(CorpusSettings(format="affwild2", root=folder / "corpus"), folder / "memory.jsonl")
    monkeypatch.setattr(show, "Console", lambda **options: Console(force_terminal=True, width=120, **options))
    show.checked(report, Path("my [corpus]"), as_json=False)
    out = capsys.readouterr().out
    assert "my [corpus]" in out
    assert "validation" in out
    assert "\t" not in out
