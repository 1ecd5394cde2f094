"""Many runs on one cache: planned, shared out over processes of one thread each, resumed run by run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Any

from cache.catalogue import Catalogue
from extract.cores import usable_cores
from fuse.runs import Run, execute, plan_runs
from fuse.settings import FuseSettings
from pipeline.settings import StudySettings
from pipeline.workers import end_with_parent


def plan_study(settings: FuseSettings, study: StudySettings, catalogue: Catalogue, store: str, runs: Path) -> list[Run]:
    """Every model of the study on every set of modalities, with every seed."""
    planned: list[Run] = []
    for model, modalities in product(study.models, study.modalities):
        experiment = settings.only(modalities).model_copy(update={"model": model})
        planned += plan_runs(experiment, catalogue, store, runs)
    return planned


def execute_all(
    runs: Sequence[Run], device: str, on_done: Callable[[Run, dict[str, Any]], None], processes: int | None = None
) -> None:
    """Execute the runs that are not finished; finished ones are passed to on_done at once.

    On a CPU each run has a process of one thread: small models gain nothing from a second thread, and two
    processes use two cores. On a GPU the runs go one after another.
    """
    waiting = []
    for run in runs:
        if run.finished:
            on_done(run, execute(run, device))
        else:
            waiting.append(run)
    workers = min(processes or (usable_cores() if device == "cpu" else 1), len(waiting))
    if workers <= 1:
        for run in waiting:
            on_done(run, execute(run, device))
        return
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(execute, run, device): run for run in waiting}
        try:
            for future in as_completed(futures):
                on_done(futures[future], future.result())
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):  # stopped: what is under way is not waited for, it begins anew
                for worker in set(multiprocessing.active_children()) - others:
                    worker.terminate()
            raise


def _one_thread() -> None:
    end_with_parent()
    import torch

    torch.set_num_threads(1)
