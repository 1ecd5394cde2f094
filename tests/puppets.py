"""The shipped demo made tiny: eight clips of three to four seconds by six puppets, and the command run on them."""

from __future__ import annotations

import functools
import io
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from pipeline.cli import main

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "pipeline" / "recipes" / "demo.yaml"
DUET = Path(sys.executable).with_name("duet")
EPOCHS = 2
TINY = (
    "execution.device=cpu",
    "features.face.crop.size_px=32",
    "puppets={seed: 5, clips: 8, subjects: 6, seconds_shortest: 3, seconds_longest: 4, width: 64, height: 64}",
    "fuse.components={video: 7}",
    "fuse.windows={length: 16, hop: 8}",
    f"fuse.training.epochs={EPOCHS}",
    "fuse.seeds=1",
)
CLIPS = ("000", "001", "002", "003", "004_left", "004_right", "005", "006", "007")  # puppet_..., as label files


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, and what it wrote to stdout and stderr."""

    code: int
    out: str
    err: str


def duet(folder: Path, *arguments: str) -> Done:
    """The command `duet` run in a folder, within this process."""
    out, err = io.StringIO(), io.StringIO()
    code: object = "did not exit"
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", ["duet", *arguments]),
    ):
        try:
            main()
        except SystemExit as left:
            code = left.code or 0
    assert isinstance(code, int), code
    return Done(code, out.getvalue(), err.getvalue())


@functools.cache  # once a process, however many modules want it
def extracted(parent: Path) -> tuple[Path, Done]:
    """A folder with the corpus and its store where the demo's recipe has them; and what `duet extract` said.

    Not to be written to: copy it first.
    """
    from pipeline.demo.corpus import write_corpus
    from pipeline.settings import load_recipe

    folder = parent / "puppets"
    recipe = load_recipe(DEMO, TINY)
    assert recipe.puppets is not None
    write_corpus(folder / recipe.corpus.root, recipe.puppets)  # in this process: starting others costs more
    return folder, duet(folder, "extract", str(DEMO), *TINY)
