"""README.md: its snippets run, and what it names is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from puppets import DEMO, ROOT, TINY, extracted

from pipeline.cli import cli
from pipeline.settings import load_recipe

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SNIPPETS = [text for language, text in BLOCKS if language == "python"]
# What stands in code: fenced as shell, line by line, or inline; prose may say "make sense".
CODE = [line for language, text in BLOCKS if language in ("sh", "bash", "console") for line in text.splitlines()]
CODE += re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))
COMMANDS = [part for line in CODE for part in re.split(r"&&|\|", line.partition("#")[0].removeprefix("$ "))]
MAKES = [part.split()[1:] for part in COMMANDS if part.split()[:1] == ["make"]]
DUETS = [part.split()[1:] for part in COMMANDS if part.split()[:1] == ["duet"]]


def test_the_snippets_run_in_order_on_a_store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert SNIPPETS, "README.md shows no Python"
    text = "\n".join(SNIPPETS)
    assert re.search(r"^import zarr$", text, re.MULTILINE)
    assert re.search(r"^import xarray$", text, re.MULTILINE)
    assert "work/demo/store.zarr" in text
    source, _ = extracted(tmp_path_factory.getbasetemp())
    shutil.copytree(source / "work/demo/store.zarr", tmp_path / "work/demo/store.zarr")  # a store alone is enough
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) >= len(SNIPPETS), "each shows something"
    recipe = load_recipe(DEMO, TINY)
    for feature in recipe.features.values():
        assert feature.backbone in done.stdout


def test_every_target_of_make_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {"demo", "test", "extract", "fuse"} <= {words[0] for words in MAKES if words}
    for words in MAKES:
        for word in words:
            name, equals, _ = word.partition("=")
            if equals:
                assert re.search(rf"^{name} :=", MAKEFILE, re.MULTILINE), f"make {' '.join(words)}: no variable {name}"
            else:
                assert name in targets, f"make {' '.join(words)}: no target {name}"
        given = {word.partition("=")[0] for word in words if "=" in word} - {"PY", "VENV", "TORCH_INDEX"}
        for target in (word for word in words if "=" not in word):
            takes = re.search(rf"^TAKES_{target} := (.*)$", MAKEFILE, re.MULTILINE)
            assert given <= set(takes[1].split() if takes else ()), f"make {' '.join(words)} is refused"


def test_every_command_that_is_named_is_there() -> None:
    assert DUETS
    for words in DUETS:
        name = words[0] if words else "-h"
        if name in ("-h", "--help", "--version"):
            continue
        assert name in cli.commands, f"duet {' '.join(words)}"
        options = {flag for parameter in cli.commands[name].params for flag in parameter.opts} | {"-h", "--help"}
        assert {word for word in words if word.startswith("-")} <= options, f"duet {' '.join(words)}"
        load_recipe(DEMO, [word for word in words[1:] if re.fullmatch(r"[a-z_.]+=\S+", word)])


def test_every_file_that_is_linked_is_there() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
