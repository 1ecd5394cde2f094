"""What people see: messages and progress on stderr, results on stdout. Plain lines where it is no terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from extract.corpora.check import CorpusReport
from extract.extraction import Progress as Extracting
from extract.extraction import Summary
from fuse.runs import Run
from pipeline.report.numbers import some

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
_PLAIN_EVERY_SECONDS = 30.0
_WEIGHTS = {"refusal": "WRONG", "fault": "FAULT", "note": "note"}


def said(text: str) -> None:
    """A message."""
    _errors.print(text, markup=False, emoji=False)


def where(what: str, path: Path | str) -> None:
    """Where a result lies: on stdout, for people and scripts."""
    print(f"{what}: {path}")


@contextmanager
def counting(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of (done, in all); nothing is shown if nothing was to do."""
    with _bar(what, unit) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def extraction() -> Iterator[Callable[[Extracting], None]]:
    """Progress of stage one, measured in label rows so that the time left is true for long and short clips."""
    with _bar("extracting", "rows") as update:

        def show(p: Extracting) -> None:
            failures = f", {p.failures} failed" if p.failures else ""
            frames = f", {p.frames:,} frames decoded" if p.frames else ""
            update(p.rows_done, p.rows, f"{p.clips_done}/{p.clips} clips{failures}{frames} {p.clip}")

        yield show


@contextmanager
def training(runs: Sequence[Run]) -> Iterator[Callable[[Run, dict[str, Any]], None]]:
    """Progress of stage two, a run at a time."""
    finished = sum(run.finished for run in runs)
    if finished:
        said(f"{finished} of {len(runs)} runs are finished already")
    with _bar("training", "runs") as update:
        done = 0

        def show(run: Run, scores: dict[str, Any]) -> None:
            nonlocal done
            done += 1
            mean = scores["ccc_concat"]["mean"]
            update(done, len(runs), f"{run.label}: CCC {'undefined' if mean is None else f'{mean:.3f}'}")

        yield show


def extracted(summary: Summary, store: str) -> None:
    """The end of stage one: what was done, what was there, what failed and how to go on."""
    if summary.extracted:
        pictures, pace = "", ""
        if summary.frames:  # none, where sound alone was wanted
            pictures = f" ({some(summary.frames, 'frame')})"
            pace = f", {summary.frames / max(summary.seconds, 1e-9):,.0f} frames/s"
        said(f"extracted {some(len(summary.extracted), 'clip')}{pictures} in {summary.seconds:.1f} s{pace}")
    if summary.up_to_date:
        said(f"{summary.up_to_date} of {summary.clips} clips were in the store already; nothing of them was decoded")
    if summary.relabelled:
        said(f"{some(len(summary.relabelled), 'new record')} of clips (labels, split or subject changed)")
    for clip, notes in summary.notes.items():
        said(f"note {clip}: {'; '.join(notes)}")
    for clip, reason in summary.failed.items():
        again = " (not tried again)" if clip in summary.put_off else ""
        said(f"FAILED {clip}: {reason}{again}")
    if summary.failed:
        said(
            f"{some(len(summary.failed), 'clip')} failed; a file that is mended or put where it belongs is done by the "
            "next run, and --retry-failed tries all of these again, and nothing else"
        )
    where("store", store)


def faces(states: Sequence[str]) -> None:
    """How many rows of a clip had a face."""
    found, held, none = (states.count(state) for state in ("found", "held", "none"))
    said(f"{some(len(states), 'row')}: a face found in {found}, the last place held in {held}, no face in {none}")


def checked(report: CorpusReport, root: Path, as_json: bool) -> None:
    """What a corpus holds by split, then each problem; and in a message what it comes to."""
    if as_json:
        print(json.dumps(report.as_json(), indent=1))
    else:
        columns = ("split", "clips", "subjects", "media", "hours", "label rows", "valid")
        rows = [
            (
                count.split,
                str(count.clips),
                str(count.subjects) if count.subjects else "-",
                str(count.media),
                f"{count.seconds / 3600:.2f}",
                str(count.label_rows),
                f"{100 * count.valid_rows / count.label_rows:.1f} %" if count.label_rows else "-",
            )
            for count in report.splits
        ]
        tabulated(str(root), columns, rows, right=range(1, 7))
        for problem in report.problems:
            print(f"{_WEIGHTS[problem.weight]}: {problem}")
    failing = some(len(report.failing), "clip")
    partly = f"{failing} would fail or lack something" if report.failing else "no clip would fail, but a split is wrong"
    wrong = sum(problem.weight != "note" for problem in report.problems)
    verdict = (f"{root} is sound", partly, "nothing would be extracted")[report.exit_code]
    said(f"{verdict}; {some(wrong, 'problem')}" if wrong else verdict)


def table(report: dict[str, Any]) -> None:
    """The report's table: on a terminal drawn, elsewhere tab-separated."""
    noun = report["corpus"]["group_kind"]
    columns = ("model", "modalities", "seeds", "CCC valence", "CCC arousal", "CCC mean", "95 %", "n")
    rows = [
        (
            run["model"],
            "+".join(run["modalities"]),
            str(run["seeds"]),
            *(_score(run["ccc_concat"][name]) for name in ("valence", "arousal", "mean")),
            " to ".join(_score(end) for end in run["ccc_concat_interval"]["mean"]),
            f"{some(run['n_rows'], 'row')}, {some(run['n_groups'], noun)}",
        )
        for run in sorted(report["runs"], key=_worst_last)
    ]
    if report["ceiling"]:
        rows.append(
            ("ceiling", "", "", *(_score(report["ceiling"][n]) for n in ("valence", "arousal", "mean")), "", "")
        )
    title = f"{report['title']}: CCC over all rows of the {report['report_split']} split"
    tabulated(title, columns, rows, right=range(2, 6))
    for comparison in report["comparisons"]:
        print(f"{comparison['question']} {comparison['sentence']}")


@contextmanager
def fetching(name: str) -> Iterator[Callable[[int, int], None]]:
    """Progress of one download; nothing is shown of a file that is here."""
    with _bar(f"fetching {name}", "MB") as update:
        yield lambda got, total: update(got // 1_000_000, max(total, got) // 1_000_000, "")


def models(listed: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """What `duet models` lists: on a terminal drawn, elsewhere tab-separated, or as JSON."""
    if as_json:
        print(json.dumps(listed, indent=1))
        return
    columns = ("name", "modality", "width", "parameters", "input", "a row", "weights", "licence")
    rows = [
        (
            entry["name"] + (f" [{entry['extra']}]" if entry["extra"] else ""),
            entry["modality"],
            _counted(entry["width"], entry["name"]),
            _counted(entry["parameters"], entry["name"]),
            entry["input"],
            entry["rate"],
            ", ".join(map(_weights, entry["weights"])) or ("random or a path" if entry["parameters"] != 0 else "none"),
            entry["licence"],
        )
        for entry in listed
    ]
    tabulated("backbones and face detectors", columns, rows, right=range(2, 4))


def _weights(weights: Mapping[str, Any]) -> str:
    if weights["present"] is None:
        return f"{weights['name']} ({weights['note']})"
    terms = "" if weights["commercial"] else ", non-commercial"
    return f"{weights['name']} ({'here' if weights['present'] else 'not here'}{terms}; {weights['note']})"


def _counted(count: int | None, name: str) -> str:
    if count is None:
        return "by model" if "MODEL" in name else "-"
    return f"{count:,}"


def _worst_last(run: Mapping[str, Any]) -> tuple[bool, float]:
    mean = run["ccc_concat"]["mean"]
    return mean is None, -(mean or 0.0)


def tabulated(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: range) -> None:
    """A table on stdout: drawn on a terminal, elsewhere tab-separated. right: the columns of numbers."""
    output = Console(highlight=False)
    if output.is_terminal:
        drawn = Table(title=escape(title))
        for i, column in enumerate(columns):
            drawn.add_column(column, justify="right" if i in right else "left")
        for row in rows:
            drawn.add_row(*(escape(cell) for cell in row))
        output.print(drawn)
    else:
        for row in (columns, *rows):
            print("\t".join(row))


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on a terminal; elsewhere a line now and then, with the time left."""
    if _errors.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", markup=False),
        )
        with Progress(*columns, console=_errors, transient=True) as progress:
            task = progress.add_task(what, total=None, now="", visible=False)

            def draw(done: int, total: int, now: str) -> None:
                progress.update(task, completed=done, total=total, now=now, visible=True)

            yield draw
        return
    began = shown = time.monotonic()

    def line(done: int, total: int, now: str) -> None:
        nonlocal shown
        passed = time.monotonic() - began
        if time.monotonic() - shown < _PLAIN_EVERY_SECONDS and shown != began:
            return
        shown = time.monotonic()
        left = f", about {passed / done * (total - done):.0f} s left" if done else ""
        said(f"{what}: {done}/{total} {unit}{left} {now}".rstrip())
        sys.stderr.flush()

    yield line
