"""A run as a folder: what was asked, what went in, what came out. Finished once its scores are there.

    <runs>/<model>-<modalities>-<digest>/seed-<k>/
        run.json                settings, inputs' keys, versions
        metrics.jsonl           a line an epoch
        checkpoint.safetensors  the model at its best epoch
        predictions.npz         every row of the reported split, with its labels
        scores.json             written last: the mark of a finished run
The digest is of the settings and of the keys of everything that goes in, so changed features or labels make
another folder and nothing finished is ever overwritten.
"""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cache.catalogue import Catalogue
from cache.key import digest_of
from cache.store import open_store
from fuse.settings import FuseSettings

if TYPE_CHECKING:
    from fuse.bank import Bank

RUN_FORMAT = 1


@dataclass(frozen=True)
class Run:
    """One experiment with one seed, on one store. population and index: where it trained among others."""

    folder: Path
    settings: FuseSettings
    seed: int
    store: str
    inputs: dict[str, Any]

    @property
    def finished(self) -> bool:
        return (self.folder / "scores.json").is_file()

    @property
    def label(self) -> str:
        """`lstm audio+video seed 0`."""
        return f"{self.settings.model} {'+'.join(sorted(self.settings.features))} seed {self.seed}"


def plan_runs(settings: FuseSettings, catalogue: Catalogue, store: str, runs: Path) -> list[Run]:
    """One run a seed, finished or not.

    Raises StoreError if a feature isn't in the store, ValueError if a group is in both splits.
    """
    groups = [
        {record.group for record in catalogue if record.split == split}
        for split in (settings.train_split, settings.report_split)
    ]
    if shared := sorted(groups[0] & groups[1]):
        raise ValueError(
            f"{len(shared)} groups are in both {settings.train_split} and {settings.report_split}, e.g. {shared[0]}; "
            "a score wants subjects that training never saw, so correct the corpus's splits and extract again"
        )
    inputs = {
        "catalogue": seen_by(settings, catalogue),
        "recipes": {name: catalogue.recipe_of(feature) for name, feature in settings.features.items()},
    }
    meant = {"format": RUN_FORMAT, "experiment": settings.experiment(), "inputs": inputs}
    name = f"{settings.model}-{'+'.join(sorted(settings.features))}-{digest_of(meant)[:8]}"
    return [Run(runs / name / f"seed-{seed}", settings, seed, store, inputs) for seed in range(settings.seeds)]


def seen_by(settings: FuseSettings, catalogue: Catalogue) -> str:
    """The digest of all that an experiment can see of a catalogue."""
    return catalogue.digest((settings.train_split, settings.report_split), settings.features.values())


def execute(run: Run, device: str = "cpu") -> dict[str, Any]:
    """Train, predict and score one run, and leave its folder. A finished run is not touched; returns its scores."""
    if run.finished:
        return read_scores(run.folder)
    import safetensors.torch
    import torch

    from fuse.evaluate import predictions_of, scores
    from fuse.threads import one_thread
    from fuse.train import train

    settings = run.settings
    bank = _bank(run, settings.train_split, device)
    recipes = open_store(run.store).recipes()
    run.folder.mkdir(parents=True, exist_ok=True)
    _write_json(
        run.folder / "run.json",
        {
            "format": RUN_FORMAT,
            "settings": settings.experiment(),
            "seed": run.seed,
            "population": {"members": 1, "index": 0},
            "inputs": run.inputs,
            "features": {name: recipes[digest] for name, digest in run.inputs["recipes"].items()},
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
            "device": device,
        },
    )
    began = time.perf_counter()
    with (run.folder / "metrics.jsonl").open("w", encoding="utf-8") as metrics:

        def write_epoch(epoch: Any) -> None:
            metrics.write(json.dumps(epoch.as_json()) + "\n")
            metrics.flush()

        trained = train(bank, settings, run.seed, write_epoch)
    state = {name: value.contiguous().cpu() for name, value in trained.model.state_dict().items()}
    safetensors.torch.save_file(state, run.folder / "checkpoint.safetensors")
    # Only here is the reported split asked for: training was given the other bank alone.
    held_out = _bank(run, settings.report_split, device)
    with one_thread():
        predictions = predictions_of(trained.model, held_out, settings.windows.length)
    np.savez(run.folder / "predictions.npz", **vars(predictions))
    result = {
        "split": settings.report_split,
        **scores(predictions),
        "best_epoch": trained.best.epoch,
        "epochs": len(trained.history),
        "inner_ccc_mean": trained.best.inner_ccc_mean,
        "inner_groups": trained.inner_groups,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "seconds": round(time.perf_counter() - began, 3),
    }
    _write_json(run.folder / "scores.json", result)
    return result


_banks: dict[str, Bank] = {}  # the last few, by all that decides their content
_BANKS_KEPT = 4


def _bank(run: Run, split: str, device: str) -> Bank:
    """A split's bank; seeds and models that see the same inputs share one. Raises ValueError if the store changed."""
    from fuse.bank import load_bank

    settings = run.settings
    alignment = settings.alignment.model_dump(mode="json")
    key = digest_of([str(run.store), run.inputs, split, dict(settings.features), alignment, device])
    if key not in _banks:
        store = open_store(run.store)
        catalogue = Catalogue(store)
        if seen_by(settings, catalogue) != run.inputs["catalogue"]:
            raise ValueError(f"the catalogue of {run.store} changed since {run.label} was planned; start again")
        while len(_banks) >= _BANKS_KEPT:
            _banks.pop(next(iter(_banks)))
        _banks[key] = load_bank(store, catalogue, split, settings.features, settings.alignment, device)
    return _banks[key]


def read_scores(folder: Path) -> dict[str, Any]:
    """The scores of a finished run."""
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return found


def _write_json(path: Path, value: dict[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, path)
