"""The story of each command, in a few lines each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.catalogue import Catalogue
from cache.store import local_folder, open_store
from extract.cores import usable_cores
from extract.corpora import check, read_corpus
from extract.extraction import Summary, extract_corpus, plan_features
from fuse.runs import Run, plan_runs
from pipeline import show
from pipeline.settings import Recipe


def write_puppets(recipe: Recipe) -> None:
    """Write the demo corpus where the recipe wants it, if the recipe wants it and it isn't there."""
    if recipe.puppets is None:
        return
    from pipeline.demo.corpus import write_corpus

    with show.counting(f"writing the puppet corpus to {recipe.corpus.root}", "videos") as count:
        write_corpus(recipe.corpus.root, recipe.puppets, count, workers=usable_cores())


def check_corpus(recipe: Recipe, as_json: bool) -> check.CorpusReport:
    """Look at the corpus without decoding it, and print what it holds and all that is wrong with it."""
    with show.counting(f"checking {recipe.corpus.root}", "clips") as count:
        found = check.check_corpus(recipe.corpus, local_folder(recipe.store) / "frames.jsonl", count)
    show.checked(found, recipe.corpus.root, as_json)
    return found


def extract(recipe: Recipe, *, retry_failed: bool = False) -> Summary:
    """Stage one: bring the store up to date with the corpus and the features."""
    write_puppets(recipe)
    clips = read_corpus(recipe.corpus)
    plan = plan_features(recipe.features, recipe.faces, clips, recipe.corpus.root)
    store = open_store(recipe.store, writable=True)
    with show.extraction() as progress:
        summary = extract_corpus(clips, plan, store, recipe.execution, progress, retry_failed=retry_failed)
    show.extracted(summary, recipe.store)
    return summary


def fuse(recipe: Recipe, device: str) -> list[Run]:
    """Stage two: train and score one experiment over its seeds."""
    catalogue = Catalogue(open_store(recipe.store))
    runs = plan_runs(recipe.fuse, catalogue, recipe.store, recipe.runs)
    _train(runs, device)
    return runs


def study(recipe: Recipe, device: str) -> list[Run]:
    """Stage two for every model and set of modalities that the recipe's study names."""
    from pipeline.study import plan_study

    if recipe.study is None:
        raise ValueError("the recipe has no `study`; add one, or train one model with `duet fuse`")
    catalogue = Catalogue(open_store(recipe.store))
    runs = plan_study(recipe.fuse, recipe.study, catalogue, recipe.store, recipe.runs)
    _train(runs, device)
    return runs


def report(recipe: Recipe) -> dict[str, Any]:
    """Every finished run of today's catalogue in one page; returns it as JSON and prints its table."""
    from pipeline.report.assemble import assemble, current, read_experiments
    from pipeline.report.page import render

    store = open_store(recipe.store)
    catalogue = Catalogue(store)
    found = read_experiments(recipe.runs)
    experiments = current(found, catalogue, recipe.fuse.report_split)
    if not experiments:
        old = f" ({len(found)} experiments there saw another catalogue or split)" if found else ""
        raise ValueError(f"{recipe.runs} has no finished run on {recipe.store}{old}; train one with `duet fuse`")
    assembled = assemble(recipe.title, store, catalogue, experiments, _ceiling(recipe))
    recipe.report.mkdir(parents=True, exist_ok=True)
    _replace(recipe.report / "report.json", json.dumps(assembled, indent=1) + "\n")
    _replace(recipe.report / "index.html", render(assembled))
    show.table(assembled)
    show.where("report", recipe.report / "index.html")
    return assembled


def demo(recipe: Recipe, device: str) -> int:
    """Everything: corpus, extraction, study, report. Returns how many clips failed."""
    began = time.perf_counter()
    summary = extract(recipe)
    study(recipe, device)
    report(recipe)
    show.said(f"demo done in {time.perf_counter() - began:.0f} s")
    return len(summary.failed)


def _train(runs: list[Run], device: str) -> None:
    from extract.worker import choose_device
    from pipeline.study import execute_all

    chosen = str(choose_device(device))
    with show.training(runs) as done:
        execute_all(runs, chosen, done)


def _ceiling(recipe: Recipe) -> Mapping[str, float] | None:
    if recipe.puppets is None:
        return None
    from pipeline.demo.corpus import TRUTH, read_truth

    if not (recipe.corpus.root / TRUTH).is_file():  # a store does without its corpus, and so does a report
        show.said(f"no ceiling in this report: {recipe.corpus.root} holds no finished puppet corpus")
        return None
    ceiling = read_truth(recipe.corpus.root).ceiling.get(recipe.fuse.report_split)
    if ceiling is None:
        return None
    return {"valence": ceiling.valence, "arousal": ceiling.arousal, "mean": ceiling.mean}


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
