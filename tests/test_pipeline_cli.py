"""The command line: what it refuses and how, exit codes, which stream, and what it must not load."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from media import even_ticks, tone, write_affwild2, write_media
from puppets import DEMO, DUET, duet

from pipeline import cli as command_line
from pipeline import stages
from pipeline.cli import cli

COMMANDS = ("cache", "check", "demo", "extract", "faces", "fuse", "models", "report")
HEAVY = {"torch", "torchvision", "transformers", "numpy", "av", "zarr", "rich", "dask", "h5py", "scipy"}
RECIPE = """\
title: small
corpus: {format: affwild2, root: corpus}
store: x.zarr
runs: runs
report: report
features: {mel: {backbone: logmel, hop_seconds: 0.04}}
execution: {device: cpu, clips_at_once: 1}
fuse: {features: {audio: mel}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe, and no corpus yet."""
    (tmp_path / "x.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def corpus(folder: Path) -> Path:
    """Four clips in corpus/ of the folder."""
    for i, name in enumerate("abcd"):
        frames = 11 + 2 * i
        write_media(folder / "corpus/batch1" / f"{name}.mp4", even_ticks(frames, 25), sound=tone(200 + i, frames / 25))
        rows = [(i / 8, k % 7 / 7) for k in range(frames)]
        write_affwild2(folder / "corpus", [(name, "Validation_Set" if i > 2 else "Train_Set", rows)])
    return folder


# ------------------------------------------------------------------------------------------------ help


@pytest.mark.parametrize(
    "arguments", [["-h"], ["--help"], *[[name, flag] for name in COMMANDS for flag in ("-h", "--help")]]
)
def test_help_is_everywhere(arguments: list[str]) -> None:  # fmt: skip
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0
    assert done.output.startswith("Usage: ")
    assert "-h, --help" in done.output
    assert done.stderr == ""


def test_every_command_is_listed_and_says_what_it_does() -> None:
    assert tuple(sorted(cli.commands)) == COMMANDS
    listed = CliRunner().invoke(cli, ["-h"]).output
    for name, command in cli.commands.items():
        assert re.search(rf"^  {name}  ", listed, re.MULTILINE)
        assert command.help
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts} says nothing"


def test_the_version(tmp_path: Path) -> None:
    done = duet(tmp_path, "--version")
    assert (done.code, done.out, done.err) == (0, f"duet, version {version('duet-affect')}\n", "")


def test_nothing_asked_shows_the_help_as_a_mistake(tmp_path: Path) -> None:
    done = duet(tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: ")


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["chek", "x.yaml"], "No such command 'chek'"),
        (["check"], "Missing argument 'CONFIG'"),
        (["fuse", "x.yaml", "--modls", "lstm"], "No such option '--modls'"),
        (["fuse", "x.yaml", "--seeds", "three"], "'three' is not a valid integer"),
        (["demo", "--seed", "x"], "'x' is not a valid integer"),
        (["fuse", "x.yaml", "--modalities", "vidio"], "Error: no modality vidio; the recipe has audio"),
        (["fuse", "x.yaml", "--modalities", "audio, x,y"], "Error: no modality x, y; the recipe has audio"),
        (["fuse", "x.yaml", "--modalities", ""], "Error: no modality ; the recipe has audio"),
        (["fuse", "x.yaml", "--model", "lsmt"], "command line 'fuse.model=lsmt': fuse.model: model 'lsmt' is not "
         "known; there are mlp, lstm, selfattn, crossattn; did you mean lstm?"),
        (["fuse", "x.yaml", "--seeds", "0"], "command line 'fuse.seeds=0': fuse.seeds: input should be greater than "
         "or equal to 1; got 0"),
        (["check", "none.yaml"], "none.yaml: can't be read: No such file or directory"),
        (["extract", "x.yaml", "features.mel.hop=1"], "'features.mel.hop=1': features.mel.hop: is not a setting"),
        (["demo", "puppets.clip=9"], "command line 'puppets.clip=9': puppets.clip: is not a setting"),
        (["demo", "--seed", "-1"], "command line 'puppets.seed=-1': puppets.seed: input should be greater than or"),
        (["extract", "x.yaml"], "duet: corpus root corpus is not a folder; correct `corpus.root`"),
        (["demo", "corpus.root=x.yaml", "puppets={}"], "duet: x.yaml is there but is no demo corpus"),
        (["fuse", "x.yaml"], "duet: there is no store at x.zarr; make one with `duet extract`, or correct `store`"),
        (["report", "x.yaml"], "duet: there is no store at x.zarr; make one with `duet extract`, or correct `store`"),
    ],
)  # fmt: skip
def test_mistakes_are_code_2_and_a_clear_line_on_stderr(folder: Path, arguments: list[str], said: str) -> None:
    done = duet(folder, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert said in done.err
    assert "Traceback" not in done.err
    assert sorted(path.name for path in folder.iterdir()) == ["x.yaml"], "nothing is made before the mistake is told"


def test_every_mistake_of_a_recipe_is_a_line(folder: Path) -> None:
    (folder / "x.yaml").write_text(RECIPE.replace("title:", "titel:").replace("logmel", "logmell"), encoding="utf-8")
    for command in ("check", "extract", "fuse", "report"):
        done = duet(folder, command, "x.yaml", "fuse.seeds=0")
        assert (done.code, done.out) == (2, "")
        assert [line.partition(": ")[0] for line in sorted(done.err.splitlines())] == [
            "command line 'fuse.seeds=0'", "x.yaml", "x.yaml:1:1", "x.yaml:6:12",
        ]  # fmt: skip


def test_a_sound_recipe_is_said_to_be_sound(folder: Path) -> None:
    done = duet(folder, "check", "x.yaml", "fuse.model=mlp")
    assert done.out == "x.yaml is sound: 1 features, model mlp, store x.zarr\n"
    assert (done.code, done.err) == (0, "")


# ------------------------------------------------------------------------------------------------ exit codes


def test_a_corrupt_clip_is_code_1_and_mended_code_0(corpus: Path) -> None:
    video = corpus / "corpus" / "batch1" / "b.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) // 2])
    done = duet(corpus, "extract", "x.yaml")
    assert (done.code, done.out) == (1, "store: x.zarr\n")
    assert "FAILED b: b.mp4: " in done.err
    assert done.err.endswith("--retry-failed tries all of these again, and nothing else\n")
    video.write_bytes(whole)
    done = duet(corpus, "extract", "x.yaml")
    assert done.code == 0
    assert "extracted 1 clip in " in done.err
    assert "3 of 4 clips were in the store already; nothing of them was decoded" in done.err


def test_an_extraction_without_any_run_has_no_report(corpus: Path) -> None:
    assert duet(corpus, "extract", "x.yaml").code == 0
    done = duet(corpus, "report", "x.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err == "duet: runs has no finished run on x.zarr; train one with `duet fuse`\n"
    done = duet(corpus, "fuse", "x.yaml", "--device", "gpu")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("duet: device 'gpu' can't be used")


def test_a_failed_clip_of_the_demo_is_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for failed, code in ((0, 0), (3, 1)):
        monkeypatch.setattr(stages, "demo", lambda recipe, device, failed=failed: failed)
        assert duet(tmp_path, "demo").code == code


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The recipe and device that a stage was called with; the stage does nothing."""
    found: dict[str, Any] = {}

    def note(recipe: Any, device: str | None = None, **more: Any) -> Any:
        found.update(recipe=recipe, device=device, **more)
        raise ValueError("asked")

    for stage in ("extract", "fuse", "demo"):
        monkeypatch.setattr(stages, stage, note)
    return found


def test_options_reach_the_stages(folder: Path, asked: dict[str, Any]) -> None:
    duet(folder, "extract", "x.yaml", "--device", "cuda:1", "execution.batch_rows=3")
    assert (asked["recipe"].execution.device, asked["recipe"].execution.batch_rows) == ("cuda:1", 3)
    assert asked["retry_failed"] is False
    duet(folder, "extract", "--device", "auto", "x.yaml", "--retry-failed")
    assert asked["retry_failed"] is True
    assert asked["recipe"].execution.device == "cpu", "auto leaves it to the recipe"
    both = ["fuse.features.voice=mel", "fuse.components.voice=3", "fuse.training.shift={voice: 1, audio: 2}"]
    duet(folder, "fuse", "x.yaml", "--device", "mps", "--model", "mlp", "--seeds", "7", "--modalities", " voice", *both)
    fuse = asked["recipe"].fuse
    assert (asked["device"], fuse.model, fuse.seeds, dict(fuse.features)) == ("mps", "mlp", 7, {"voice": "mel"})
    assert (fuse.components, fuse.training.shift) == ({"voice": 3}, {"voice": 1})
    duet(folder, "fuse", "x.yaml", "--model", "mlp", "fuse.model=crossattn")
    assert asked["recipe"].fuse.model == "crossattn", "what is said by its whole name counts"


def test_the_demo_s_options(tmp_path: Path, asked: dict[str, Any]) -> None:
    duet(tmp_path, "demo")
    shipped = asked["recipe"]
    assert (asked["device"], shipped.corpus.root, Path(shipped.store)) == (
        "auto", Path("work/demo/corpus"), Path("work/demo/store.zarr"),
    )  # fmt: skip
    duet(tmp_path, "demo", "--quick", "--seed", "101", "--device", "cuda", "fuse.seeds=3")
    quick = asked["recipe"]
    assert (asked["device"], quick.execution.device) == ("cuda", "cuda"), "both stages"
    assert (quick.puppets.seed, quick.puppets.clips, quick.fuse.seeds) == (101, 12, 3)
    assert quick.fuse.training.epochs < shipped.fuse.training.epochs
    places = [quick.corpus.root, quick.corpus.subjects, Path(quick.store), quick.runs, quick.report]
    assert {path.parts[1] for path in places} == {"demo-quick-seed101"}, "nothing of another demo is touched"
    duet(tmp_path, "demo", "--seed", "0")
    assert asked["recipe"].puppets.seed == 0
    assert asked["recipe"].store == "work/demo-seed0/store.zarr"
    assert asked["recipe"].fuse == shipped.fuse


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError(28, "No space left on device")])
def test_known_errors_become_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(stages, "extract", fail)
    done = duet(folder, "extract", "x.yaml")
    assert (done.code, done.out, done.err) == (2, "", f"duet: {error}\n")


def test_our_own_mistakes_are_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(stages, "extract", fail)
    with pytest.raises(KeyError, match="ours"):
        duet(folder, "extract", "x.yaml")


def test_stopped_by_the_keyboard_is_code_130_and_a_clear_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "extract", stop)
    done = duet(folder, "extract", "x.yaml")
    assert (done.code, done.out) == (130, "")
    assert done.err.strip() == "duet: stopped; what is finished is kept, run the same command to go on"


# ------------------------------------------------------------------------------------------------ real commands


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["fuse", "-h"], ["--version"], ["check", str(DEMO)], ["check", "no.yaml"]],
    ids=lambda arguments: " ".join(Path(argument).name for argument in arguments),
)
def test_what_needs_nothing_heavy_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, atexit, json\n"
        "atexit.register(lambda: print('\\n' + json.dumps(sorted({m.partition('.')[0] for m in sys.modules}))))\n"
        f"sys.argv = ['duet', *{arguments!r}]\n"
        "from pipeline.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if arguments[-1] == "no.yaml" else 0), done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_the_installed_command(folder: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([DUET, *arguments], cwd=folder, capture_output=True, text=True, check=False)

    done = run("check", "x.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("x.yaml is sound")
    done = run("check", "x.yaml", "store.x=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "command line 'store.x=1': store.x: store is a value, so nothing can be set in it\n"
    done = run("chek")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'chek'" in done.stderr


def test_the_demo_s_recipe_is_found_from_everywhere() -> None:
    assert command_line._DEMO_RECIPE.samefile(DEMO)
