"""The direction of imports: pipeline -> extract, fuse, cache; extract -> cache; fuse -> cache; cache -> none."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "cache": {"cache"},
    "extract": {"extract", "cache"},
    "fuse": {"fuse", "cache"},
    "pipeline": {"pipeline", "extract", "fuse", "cache"},
}
FILES = [file for package in MAY_IMPORT for file in sorted((ROOT / package).rglob("*.py"))]
HEAVY = ("torch", "torchvision", "transformers")


def imported(file: Path) -> list[tuple[int, str]]:
    """Line and full name of everything that a file imports, at its top or in a function."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports by a relative name; say the whole one"
            found.append((node.lineno, node.module or ""))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # "module:function", imported when needed, as registries write it
            module, colon, function = node.value.partition(":")
            if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
                found.append((node.lineno, module))
    return found


def test_there_are_files_in_every_package() -> None:
    assert {file.relative_to(ROOT).parts[0] for file in FILES} == set(MAY_IMPORT)
    assert len(FILES) > 30
    assert ("extract.backbones.zhao19") in [name for _, name in imported(ROOT / "extract/backbones/registry.py")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_its_package_may(file: Path) -> None:
    package = file.relative_to(ROOT).parts[0]
    foreign = MAY_IMPORT.keys() - MAY_IMPORT[package]
    wrong = [f"{file}:{line} imports {name}" for line, name in imported(file) if name.partition(".")[0] in foreign]
    assert not wrong, f"{package} may import {', '.join(sorted(MAY_IMPORT[package]))}"
    tests = [f"{file}:{line} imports {name}" for line, name in imported(file) if name.partition(".")[0] == "tests"]
    assert not tests


@pytest.mark.parametrize("file", sorted((ROOT / "cache").rglob("*.py")), ids=lambda file: file.name)
def test_the_cache_knows_no_torch(file: Path) -> None:
    assert not [name for _, name in imported(file) if name.partition(".")[0] in HEAVY]


def loaded_by(*modules: str) -> set[str]:
    """The top-level modules that a fresh Python has after importing these."""
    code = (
        f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_the_store_loads_without_torch() -> None:
    loaded = loaded_by("cache.zarr_store", "cache.catalogue")
    assert "numpy" in loaded
    assert not loaded & {*HEAVY, "zarr", "extract", "fuse", "pipeline", "av"}


def test_the_command_line_and_the_settings_load_nothing_heavy() -> None:
    loaded = loaded_by("pipeline.cli", "pipeline.settings")
    assert {"click", "pydantic", "yaml"} <= loaded
    assert not loaded & {*HEAVY, "numpy", "av", "zarr", "rich", "dask", "h5py", "scipy"}


def test_what_draws_intervals_loads_scipy_when_it_draws() -> None:
    assert "scipy" not in loaded_by("fuse.compare", "pipeline.cli")


def test_planning_an_extraction_needs_no_torch() -> None:
    assert not loaded_by("extract.corpora", "extract.extraction") & {*HEAVY, "av"}
