"""What people see: messages and progress on stderr, results on stdout. Plain lines where it is no terminal."""

from __future__ import annotations

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

from extract.extraction import Progress as Extracting
from extract.extraction import Summary
from fuse.runs import Run
from pipeline.report.numbers import some

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
_PLAIN_EVERY_SECONDS = 30.0


def said(text: str) -> None:
    """A message."""
    _errors.print(text, markup=False, emoji=False)


def where(what: str, path: Path) -> None:
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
            update(p.rows_done, p.rows, f"{p.clips_done}/{p.clips} clips{failures} {p.clip}")

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


def extracted(summary: Summary, store: Path) -> None:
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
    for clip, reason in summary.failed.items():
        said(f"FAILED {clip}: {reason}")
    if summary.failed:
        failed = some(len(summary.failed), "clip")
        said(f"{failed} failed; mend what is wrong and run the same command again: only these are done")
    where("store", store)


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
    output = Console(highlight=False)
    if output.is_terminal:
        drawn = Table(title=f"{escape(report['title'])}: CCC over all rows of the {report['report_split']} split")
        for i, column in enumerate(columns):
            drawn.add_column(column, justify="right" if 2 <= i <= 5 else "left")
        for row in rows:
            drawn.add_row(*row)
        output.print(drawn)
    else:
        for row in (columns, *rows):
            print("\t".join(row))
    for comparison in report["comparisons"]:
        print(f"{comparison['question']} {comparison['sentence']}")


def _worst_last(run: Mapping[str, Any]) -> tuple[bool, float]:
    mean = run["ccc_concat"]["mean"]
    return mean is None, -(mean or 0.0)


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
