"""What people see: results on stdout, messages on stderr, plain lines where it is no terminal."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from extract.extraction import Progress, Summary
from pipeline import show

RUN = {
    "model": "lstm",
    "modalities": ["audio", "video"],
    "seeds": 5,
    "ccc_concat": {"valence": 0.5, "arousal": 0.25, "mean": 0.375},
    "ccc_concat_interval": {"mean": [0.2961, 0.4]},
    "n_rows": 1234,
    "n_groups": 11,
}


def report(*means: float | None, **changes: Any) -> dict[str, Any]:
    runs = []
    for i, mean in enumerate(means):
        run = copy.deepcopy(RUN) | {"model": f"m{i}"}
        run["ccc_concat"]["mean"] = mean
        runs.append(run)
    return {
        "title": "T",
        "report_split": "validation",
        "corpus": {"group_kind": "subject"},
        "runs": runs,
        "ceiling": None,
        "comparisons": [],
    } | changes


def test_a_message_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    show.said("[bold]as it is[/bold] 12 :smile: " + "long " * 50)
    show.where("store", Path("work") / "x.zarr")
    out, err = capsys.readouterr()
    assert out == "store: work/x.zarr\n"
    assert err == "[bold]as it is[/bold] 12 :smile: " + "long " * 50 + "\n", "no markup, no wrapping"


def test_the_table_can_be_read_by_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    ceiling = {"valence": 0.9, "arousal": 0.8, "mean": 0.85}
    comparisons = [{"question": "does time help?", "sentence": "a is .1 above b"}]
    show.table(report(0.375, ceiling=ceiling, comparisons=comparisons))
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split("\t") for line in out.splitlines()] == [
        ["model", "modalities", "seeds", "CCC valence", "CCC arousal", "CCC mean", "95 %", "n"],
        ["m0", "audio+video", "5", "0.500", "0.250", "0.375", "0.296 to 0.400", "1,234 rows, 11 subjects"],
        ["ceiling", "", "", "0.900", "0.800", "0.850", "", ""],
        ["does time help? a is .1 above b"],
    ]


def test_the_best_run_is_first_and_one_without_a_score_last(capsys: pytest.CaptureFixture[str]) -> None:
    show.table(report(-0.25, None, 0.0, 0.125, -1.0))
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split("\t")[5] for line in lines] == ["0.125", "0.000", "-0.250", "-1.000", "-"]


def test_one_group_and_media_files_are_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    made = report(0.5, corpus={"group_kind": "media file"})
    made["runs"][0] |= {"n_rows": 1, "n_groups": 1}
    show.table(made)
    assert capsys.readouterr().out.splitlines()[1].endswith("\t1 row, 1 media file")


def test_on_a_terminal_the_table_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(show, "Console", lambda **options: Console(force_terminal=True, width=120, **options))
    show.table(report(0.375, title="T[v]"))
    out = capsys.readouterr().out
    assert "T[v]: CCC over all rows of the validation split" in out
    assert "0.375" in out
    assert "\t" not in out


def summary(**changes: Any) -> Summary:
    given = {"clips": 5, "extracted": [], "up_to_date": 0, "relabelled": [], "failed": {}, "frames": 0, "seconds": 0.0}
    return Summary(**(given | changes))


def test_the_end_of_an_extraction(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"b": "b.mp4: the file ends early"}
    show.extracted(
        summary(extracted=["a", "c"], up_to_date=2, relabelled=["d"], failed=failed, frames=1234, seconds=2.0),
        Path("x.zarr"),
    )
    out, err = capsys.readouterr()
    assert out == "store: x.zarr\n"
    assert err.splitlines() == [
        "extracted 2 clips (1,234 frames) in 2.0 s, 617 frames/s",
        "2 of 5 clips were in the store already; nothing of them was decoded",
        "1 new record of clips (labels, split or subject changed)",
        "FAILED b: b.mp4: the file ends early",
        "1 clip failed; a file that is mended or put where it belongs is done by the next run, and --retry-failed "
        "tries all of these again, and nothing else",
    ]
    show.extracted(summary(extracted=["a"], seconds=3.0), Path("x.zarr"))
    assert capsys.readouterr().err == "extracted 1 clip in 3.0 s\n", "of sound alone there are no frames to count"
    show.extracted(summary(up_to_date=5), Path("x.zarr"))
    assert capsys.readouterr().err == "5 of 5 clips were in the store already; nothing of them was decoded\n"


def test_progress_is_a_line_now_and_then_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(show, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with show.extraction() as progress:
        for done, at in ((1, 110.0), (2, 120.0), (3, 139.9), (4, 140.0)):
            now[0] = at
            progress(Progress(done, 5, 100 * done, 500, done // 3, f"clip{done}"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "extracting: 100/500 rows, about 40 s left 1/5 clips clip1",
        "extracting: 400/500 rows, about 10 s left 4/5 clips, 1 failed clip4",
    ]


def test_on_a_terminal_progress_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "_errors", Console(stderr=True, force_terminal=True, width=100))
    with show.counting("writing", "videos") as count:
        count(0, 7)
        count(7, 7)
    out, err = capsys.readouterr()
    assert out == ""
    assert "writing" in err
    assert "7/7" in err
    assert err.count("\n") <= err.count("\x1b[2K"), "each line drawn is erased"


def test_where_nothing_is_to_do_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with show.counting("writing", "videos"):
        pass
    with show.extraction():
        pass
    with show.training([]):
        pass
    assert capsys.readouterr() == ("", "")


def test_training_says_what_is_finished_and_each_score(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "_PLAIN_EVERY_SECONDS", 0.0)
    runs: Any = [SimpleNamespace(finished=i == 0, label=f"lstm audio seed {i}") for i in range(3)]
    with show.training(runs) as done:
        for run, mean in zip(runs, (0.12345, None, -0.5), strict=True):
            done(run, {"ccc_concat": {"mean": mean}})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 of 3 runs are finished already"
    assert [line.partition(" s left ")[2] for line in lines[1:]] == [
        "lstm audio seed 0: CCC 0.123", "lstm audio seed 1: CCC undefined", "lstm audio seed 2: CCC -0.500",
    ]  # fmt: skip
    assert lines[1].startswith("training: 1/3 runs, about ")
