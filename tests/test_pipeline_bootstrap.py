"""The set-up of a checkout: each foreseeable failure names its remedy; the stamp says when there is nothing to do."""

import ast
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import namedtuple
from pathlib import Path

import pytest

from pipeline import bootstrap

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "pipeline" / "bootstrap.py"
CPU_INDEX = "https://torch.example/whl/cpu"
Usage = namedtuple("Usage", "total used free")


class FakeTools:
    """Stands in for `python -m venv` and pip: makes the few files that they would, and notes what was asked of them."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.pip_fails_saying = ""
        self.probe_answer = "{}.{}".format(*sys.version_info)

    def run(self, command, **options):
        if "-c" in command and "import sys, pip" in command[-1]:
            return subprocess.CompletedProcess(command, 0 if self.probe_answer else 1, self.probe_answer.encode())
        self.asked.append(command)
        if "venv" in command:
            place = Path(command[-1])
            (place / "bin").mkdir()
            (place / "bin" / "python").symlink_to(sys.executable)
            (place / "pyvenv.cfg").write_text("home = /usr/bin\n")
        elif self.pip_fails_saying:
            os.write(options["stdout"].fileno(), self.pip_fails_saying.encode())
            return subprocess.CompletedProcess(command, 1)
        return subprocess.CompletedProcess(command, 0)

    def steps(self) -> list[str]:
        """The commands of the last set-up, without what all have in common."""
        return [
            " ".join(command[3:]).replace("install --progress-bar off -c constraints.txt --only-binary=:all: ", "")
            for command in self.asked
        ]


@pytest.fixture
def tools(monkeypatch):
    fake = FakeTools()
    monkeypatch.setattr(bootstrap.subprocess, "run", fake.run)
    return fake


@pytest.fixture
def disk(monkeypatch):
    """Free bytes as the script sees them."""
    free = {"bytes": 100 * 10**9}
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: Usage(10**12, 0, free["bytes"]))
    return free


@pytest.fixture
def root(tmp_path, monkeypatch, disk):
    """A checkout with the two files that the set-up reads."""
    (tmp_path / "project").mkdir()
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / "project")
    monkeypatch.setattr(bootstrap.sys, "platform", "linux")
    monkeypatch.setattr(bootstrap.tempfile, "tempdir", str(tmp_path))
    (tmp_path / "project" / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "project" / "constraints.txt").write_text("torch==2.15.0\n")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def set_up(*more: str, venv: object = ".venv") -> int:
    return bootstrap.main(["--venv", str(venv), *more])


def refused(capsys, *more: str, venv: object = ".venv", code: int = 2) -> str:
    """The one line of a refusal."""
    assert set_up(*more, venv=venv) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("set-up: ")
    return lines[0]


# Python and its modules


def test_parses_as_python_3_6():
    ast.parse(SCRIPT.read_text(), feature_version=(3, 6))


def test_imports_only_the_standard_library():
    tree = ast.parse(SCRIPT.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 15), (3, 10, 14)])
def test_old_python(version, capsys):
    assert bootstrap.main(["--venv", ".venv"], version=version) == 2
    dotted = ".".join(map(str, version))
    assert capsys.readouterr().err == (
        f"set-up: Python {dotted} is too old, Duet needs 3.11 or later; try: make setup PY=python3.12\n"
    )


def test_oldest_python_is_that_of_the_project():
    bootstrap.check_python((*bootstrap.OLDEST_PYTHON, 0))
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    assert wanted == ">={}.{}".format(*bootstrap.OLDEST_PYTHON)


@pytest.mark.parametrize("module", ["venv", "ensurepip"])
def test_missing_module(root, tools, monkeypatch, capsys, module):
    found = bootstrap.importlib.util.find_spec
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None if name == module else found(name))
    line = refused(capsys)
    assert re.search(f"no module {module}; on Debian or Ubuntu: apt install python3-venv", line)
    assert not tools.asked
    assert not (root / ".venv").exists()


# Disk


@pytest.mark.parametrize(
    ("index", "free", "wanted"),
    [("", 9.4e9, 9.5), (CPU_INDEX, 2.9e9, 3.0), ("https://torch.example/whl/cu130", 9.4e9, 9.5)],
)
def test_too_little_disk(root, tools, disk, capsys, index, free, wanted):
    disk["bytes"] = int(free)
    line = refused(capsys, *(["--torch-index", index] if index else []))
    assert f"{free / 1e9:.1f} GB free for {root}/.venv, {wanted} GB wanted; free some" in line
    assert "make setup VENV=" in line
    assert ("make setup TORCH_INDEX=" in line) == (index != CPU_INDEX)  # no use to who has it already
    assert not tools.asked
    assert not (root / ".venv").exists()


@pytest.mark.parametrize(("free", "cached"), [(3e9, False), (3.9e9, False), (4e9, True)])
def test_downloads_are_kept_only_where_there_is_room(root, tools, disk, free, cached):
    disk["bytes"] = int(free)
    assert set_up("--torch-index", CPU_INDEX) == 0
    assert ["--no-cache-dir" not in command for command in tools.asked[1:]] == [cached] * 3


def test_downloads_on_another_disk(root, tools, disk, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "same_disk", lambda one, other: False)
    disk["bytes"] = int(6.4e9)
    assert "6.4 GB free for" in refused(capsys)
    sizes = {str(root): 7e9, str(root.parent): 2e9}
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda path: Usage(10**12, 0, sizes[path]))
    line = refused(capsys)
    assert f"2.0 GB free in {root.parent} for downloads, 3.0 GB wanted; free some, or name another folder" in line
    assert line.endswith("TMPDIR=/another/disk make setup")
    sizes[str(root.parent)] = 3e9
    sizes[str(root / ".venv")] = 7e9
    assert set_up() == 0


def test_what_is_installed_needs_no_room_again(root, tools, disk):
    assert set_up() == 0
    with open(root / ".venv" / "torch.so", "wb") as big:
        big.truncate(65 * 10**8 * 9 // 10)  # a hole: takes no disk
    (root / "constraints.txt").write_text("torch==2.15.1\n")
    disk["bytes"] = 10**9
    assert set_up() == 0


def test_disk_is_asked_of_the_nearest_folder_that_exists(tmp_path):
    assert bootstrap.nearest_existing(tmp_path / "not" / "yet" / "there") == tmp_path
    assert bootstrap.same_disk(tmp_path, tmp_path.parent)


@pytest.mark.parametrize("words", ["OSError: [Errno 28] No space left on device", "[Errno 122] Disk quota exceeded"])
def test_disk_fills_up(root, tools, capsys, words):
    tools.pip_fails_saying = f"Collecting torch\nERROR: Could not install packages: {words}\n"
    assert set_up() == 2
    first, *_, last = capsys.readouterr().err.splitlines()[-2:]
    assert words in first
    assert re.match("set-up: the disk is full: free some, .*make setup TORCH_INDEX=.*else set TMPDIR", last)
    assert not (root / ".venv" / bootstrap.STAMP).exists()


def test_disk_fills_up_outside_pip(root, tools, monkeypatch, capsys):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bootstrap, "write_whole", full)
    assert "the disk is full: free some" in refused(capsys)


def test_folder_that_cannot_be_written(root, tools, monkeypatch, capsys):
    def refuse(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert re.search("cannot write .*Permission denied.*; name another folder: make setup VENV=", refused(capsys))


# What is installed, and the stamp


def test_installs_the_build_tools_first_and_then_everything_pinned(root, tools, capsys):
    assert set_up() == 0
    assert tools.steps() == [
        f"venv {root / '.venv'}",
        "pip hatchling editables",
        "pip --no-build-isolation -e .[dev,face,s3,timm]",
    ]
    assert "setting up .venv: about 3 minutes and 6 GB, once (log: .venv/duet-setup.log)" in capsys.readouterr().out


def test_torch_index(root, tools, capsys):
    assert set_up("--torch-index", CPU_INDEX) == 0
    assert tools.steps()[2] == f"pip --no-deps --index-url {CPU_INDEX} torch torchvision"
    assert tools.steps()[3] == "pip --no-build-isolation -e .[dev,face,s3,timm]"
    assert "2 GB" in capsys.readouterr().out


def test_torch_index_is_kept(root, tools, capsys):
    set_up("--torch-index", CPU_INDEX)
    tools.asked.clear()
    assert set_up() == 0
    assert not tools.asked
    (root / "constraints.txt").write_text("torch==2.15.1\n")
    assert set_up() == 0
    assert CPU_INDEX in tools.steps()[1]


def test_another_torch_index_starts_over(root, tools, capsys):
    set_up()
    (root / ".venv" / "old").touch()
    assert set_up("--torch-index", CPU_INDEX) == 0
    assert "rebuilding .venv: torch is to come from another index" in capsys.readouterr().out
    assert not (root / ".venv" / "old").exists()


def test_unchanged_does_nothing_and_says_nothing(root, tools, disk, capsys):
    set_up()
    tools.asked.clear()
    capsys.readouterr()
    disk["bytes"] = 0
    assert set_up() == 0
    assert not tools.asked
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_input_installs_again_in_place(root, tools, name):
    set_up()
    tools.asked.clear()
    (root / name).write_text("# changed\n")
    assert set_up() == 0
    assert tools.steps() == ["pip hatchling editables", "pip --no-build-isolation -e .[dev,face,s3,timm]"]
    tools.asked.clear()
    assert set_up() == 0
    assert not tools.asked


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_missing_input(root, tools, capsys, name):
    (root / name).unlink()
    assert refused(capsys).endswith(f"{name} is missing; bring it back: git checkout {name}")


def test_steering_variables_do_not_reach_pip(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/opt/other")
    monkeypatch.setenv("PIP_TARGET", "/opt/other")
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_CERT", "/etc/cert")
    environment = bootstrap.clean_environment()
    assert "PYTHONPATH" not in environment
    assert "PIP_TARGET" not in environment
    assert (environment["PIP_USER"], environment["PIP_CERT"]) == ("0", "/etc/cert")


# Failures of pip


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (
            "WARNING: Retrying after NewConnectionError\nERROR: No matching distribution found for av",
            "pip failed: no network",
        ),
        ("ERROR: Cannot install av\nERROR: ResolutionImpossible: for help", "no build for this Python or system"),
        (
            "ERROR: No matching distribution found for av==18.0",
            "no build for this Python or system; try: make setup PY=",
        ),
        ("error: something else", "pip failed: see the log, then run the same command again"),
    ],
)
def test_pip_fails(root, tools, capsys, words, remedy):
    tools.pip_fails_saying = "\n".join(f"line {number}" for number in range(20)) + f"\n{words}\n"
    assert set_up() == 1
    *kept, last = capsys.readouterr().err.splitlines()
    assert remedy in last
    assert last.endswith(f"(log: {root / '.venv' / bootstrap.LOG})")
    told = [line for line in words.splitlines() if line.startswith("ERROR")]  # else the last lines, whatever they are
    assert kept == (told or [*(f"line {number}" for number in range(15, 20)), words])
    assert "line 0" in (root / ".venv" / bootstrap.LOG).read_text()

    assert not (root / ".venv" / bootstrap.STAMP).exists()
    tools.pip_fails_saying = ""
    tools.asked.clear()
    assert set_up() == 0
    assert tools.steps()[0] == "pip hatchling editables"  # carries on: the environment itself is kept


def test_failure_after_a_good_set_up_leaves_no_stamp(root, tools):
    set_up()
    (root / "constraints.txt").write_text("# changed\n")
    tools.pip_fails_saying = "ERROR"
    assert set_up() == 1
    assert not (root / ".venv" / bootstrap.STAMP).exists()


def test_interrupted(root, tools, monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "run_logged", interrupt)
    assert set_up() == 130
    assert capsys.readouterr().err == "set-up: interrupted; the next one carries on\n"
    assert not (root / ".venv" / bootstrap.STAMP).exists()


def test_what_a_killed_pip_left_is_dropped(root, tools):
    set_up()
    packages = root / ".venv" / "lib" / "python3.11" / "site-packages"
    for name in ("whole-1.dist-info", "half-1.dist-info", "~orch"):
        (packages / name).mkdir(parents=True)
    (packages / "whole-1.dist-info" / "RECORD").touch()
    (root / ".venv" / bootstrap.STAMP).unlink()
    assert set_up() == 0
    assert [path.name for path in packages.iterdir()] == ["whole-1.dist-info"]


# A broken environment is rebuilt; anything else is left alone


def lose_interpreter(venv, tools):
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to("/nowhere/python3")


def lose_configuration(venv, tools):
    (venv / bootstrap.STAMP).unlink()
    (venv / "pyvenv.cfg").unlink()


def lose_bin(venv, tools):
    shutil.rmtree(venv / "bin")


def lose_pip(venv, tools):
    (venv / bootstrap.STAMP).unlink()
    tools.probe_answer = ""


def be_older(venv, tools):
    (venv / bootstrap.STAMP).write_text("that of Python 3.10")
    tools.probe_answer = "3.10"


def be_moved(venv, tools):
    (venv / bootstrap.BEGUN).write_text(json.dumps({"place": "/elsewhere", "torch_index": ""}))
    (venv / bootstrap.STAMP).write_text("that of elsewhere")


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (lose_interpreter, "its interpreter is gone"),
        (lose_configuration, "it is half made"),
        (lose_bin, "it is half made"),
        (lose_pip, "its interpreter or its pip does not run"),
        (be_older, "it was made by Python 3.10, this is {}.{}".format(*sys.version_info)),
        (be_moved, "it was moved or copied here"),
    ],
)
def test_broken_environment_is_rebuilt(root, tools, capsys, breaks, reason):
    set_up()
    (root / ".venv" / "old").mkdir()
    (root / ".venv" / "old" / "file").touch()
    breaks(root / ".venv", tools)
    tools.asked.clear()
    assert set_up() == 0
    assert f"rebuilding .venv: {reason}\n" in capsys.readouterr().out
    assert tools.steps()[0].startswith("venv ")
    assert not (root / ".venv" / "old").exists()
    assert (root / ".venv" / bootstrap.STAMP).exists()


def test_rebuild_cut_short_is_taken_up_again(root, tools, monkeypatch, capsys):
    set_up()
    lose_interpreter(root / ".venv", tools)
    (root / ".venv" / "old").mkdir()

    def cut_short(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap.shutil, "rmtree", cut_short)
        assert set_up() == 130
    assert set_up() == 0
    assert not (root / ".venv" / "old").exists()


def test_environment_made_by_hand_is_taken_over(root, tools, capsys):
    (root / ".venv").mkdir()
    tools.run(["python3", "-I", "-m", "venv", str(root / ".venv")])
    tools.asked.clear()
    assert set_up() == 0
    assert tools.steps()[0] == "pip hatchling editables"
    assert "rebuilding" not in capsys.readouterr().out


@pytest.mark.parametrize("place", [".", "..", "cache", "../other", "notes.txt"])
def test_never_empties_what_is_not_an_environment(root, tools, capsys, place):
    precious = [root / "cache" / "key.py", root.parent / "other" / "pyvenv.cfg", root / "notes.txt"]
    for path in precious:
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
    line = refused(capsys, venv=place)
    assert re.search("make setup VENV=.venv", line)
    assert not tools.asked
    assert all(path.read_text() == "precious" for path in precious)


def test_never_empties_home(root, tools, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent / "home" / "me"))
    (root.parent / "home" / "me").mkdir(parents=True)
    assert "a folder around it" in refused(capsys, venv=root.parent / "home")


def test_empty_name(root, tools, capsys):
    assert "VENV is empty; name a folder" in refused(capsys, venv="")


def test_second_set_up_waits_for_the_first(root, tools, monkeypatch, capsys):
    (root / ".venv").mkdir()
    (first,) = bootstrap.hold_lock(root / ".venv")
    waited = []
    lock = fcntl.flock

    def release_then_lock(descriptor, how):
        if not how & fcntl.LOCK_NB:
            waited.append(descriptor)
            os.close(first)
        return lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", release_then_lock)
    assert set_up() == 0
    assert len(waited) == 1
    assert "another set-up of" in capsys.readouterr().out


# The script itself, with a real interpreter and no network


NO_PIN = "pip failed: a pinned version has no build for this Python or system"


@pytest.fixture
def checkout(tmp_path):
    """A checkout that only has the script and its inputs; its package index is an empty folder."""
    (tmp_path / "pipeline").mkdir()
    shutil.copy(SCRIPT, tmp_path / "pipeline")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("hatchling==1.27.0\n")
    return tmp_path


def script(checkout: Path) -> tuple[list[str], dict[str, str]]:
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout / "empty"), "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, "pipeline/bootstrap.py", "--venv", ".venv", "--torch-index", CPU_INDEX]
    return command, {**os.environ, **index}


@pytest.mark.slow
def test_real_failure_of_pip(checkout):
    command, environment = script(checkout)
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(NO_PIN, done.stderr)
    assert "Traceback" not in done.stderr
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert not (checkout / ".venv" / bootstrap.STAMP).exists()


@pytest.mark.slow
def test_killed_set_up_leaves_no_stamp_and_the_next_goes_on(checkout):
    command, environment = script(checkout)
    killed = subprocess.Popen(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert "setting up .venv" in killed.stdout.readline()
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "pyvenv.cfg").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (checkout / ".venv" / bootstrap.STAMP).exists()
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(NO_PIN, done.stderr)


# The Makefile

TARGETS = ["help", "setup", "demo", "extract", "fuse", "report", "test", "test-all", "check", "format", "clean"]
VARIABLES = ["CONFIG", "MODEL", "SEEDS", "STORE", "DEVICE", "ARGS", "PY", "VENV", "TORCH_INDEX"]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=outside, capture_output=True, text=True, timeout=60)


def last_line(*arguments: str) -> str:
    done = make("-n", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


RECIPE = "pipeline/recipes/demo.yaml"


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        ("extract", f"duet extract {RECIPE} --device auto"),
        ("extract CONFIG=a.yaml DEVICE=cpu STORE=a.zarr", "duet extract a.yaml --device cpu store=a.zarr"),
        ("fuse", f"duet fuse {RECIPE} --device auto"),
        ("fuse MODEL=lstm STORE=a.zarr", f"duet fuse {RECIPE} --model lstm --device auto store=a.zarr"),
        ("fuse SEEDS=3 ARGS=train.epochs=2", f"duet fuse {RECIPE} --seeds 3 --device auto train.epochs=2"),
        ("report STORE=a.zarr", f"duet report {RECIPE} store=a.zarr"),
        ("test ARGS=-x", 'python -m pytest -q -n 2 -m "not slow" -x'),
        ("test-all", "python -m pytest -q -n 2"),
        ("check", "mypy cache extract fuse pipeline"),
    ],
)
def test_command_lines(asked, command):
    assert last_line(*asked.split()) == f".venv/bin/{command}"
    assert last_line("VENV=/tmp/other", *asked.split()) == f"/tmp/other/bin/{command}"


def test_arguments_are_passed_as_they_are():
    assert last_line("fuse", "ARGS=a.b='x  y'").endswith(" a.b='x  y'")


def test_demo_runs_the_demo():
    assert ".venv/bin/duet demo --device cpu --quick && " in make("-n", "demo", "DEVICE=cpu", "ARGS=--quick").stdout


@pytest.mark.parametrize("target", sorted(set(TARGETS) - {"help", "clean"}))
def test_every_target_sets_up(target):
    printed = make("-n", target, "TORCH_INDEX=" + CPU_INDEX).stdout
    assert f"pipeline/bootstrap.py --venv '.venv' --torch-index '{CPU_INDEX}'" in printed


def test_clean_keeps_sources_runs_stores_and_environment():
    done = make("-n", "clean")
    assert re.fullmatch(r"rm -rf( \.[a-z]+_cache| \.hypothesis)+\n", done.stdout)
    assert not re.search(r"\b(work|venv|runs)\b|[ /]cache", done.stdout)


def test_help_lists_every_target_and_variable():
    printed = make().stdout
    assert printed == make("help").stdout
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split()
    assert sorted(targets) == sorted([*TARGETS, "ready"])  # ready is the set-up that the others call
    for name in [*TARGETS, *VARIABLES]:
        assert re.search(f"^{name} +[a-zA-Z]", printed, re.MULTILINE), name
    for target, taken in re.findall(r"^TAKES_(\S+) := (.*)$", makefile, re.MULTILINE):
        assert re.search(rf"^{target} .*\({taken}\)$", printed, re.MULTILINE), target


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("demo MODEL=lstm", "make demo takes no MODEL; see make help"),
        ("fuse MODLE=lstm", "make fuse takes no MODLE; see make help"),
        ("check ARGS=-x", "make check takes no ARGS; see make help"),
        ("setup VENV=", "VENV must be one folder without spaces"),
    ],
)
def test_variables_without_effect_are_refused(asked, message):
    done = make("-n", *asked.split())
    assert done.returncode == 2
    assert message in done.stderr


def test_two_targets_share_their_variables():
    assert make("-n", "extract", "fuse", "MODEL=lstm").returncode == 0


def test_folder_with_spaces_is_refused_untouched(tmp_path):
    (tmp_path / "my env").mkdir()
    (tmp_path / "my env" / "precious").touch()
    done = make("setup", f"VENV={tmp_path}/my env")
    assert done.returncode == 2
    assert "VENV must be one folder without spaces" in done.stderr
    assert (tmp_path / "my env" / "precious").exists()


def test_variables_of_the_shell_change_nothing(monkeypatch):
    monkeypatch.setenv("MODEL", "lstm")
    monkeypatch.setenv("DEVICE", "cuda")
    assert last_line("fuse") == f".venv/bin/duet fuse {RECIPE} --device auto"


def test_python_that_is_not_there(tmp_path):
    done = make("setup", "PY=python9.9", f"VENV={tmp_path}/venv")
    assert done.returncode == 2
    assert (
        "set-up: no python9.9 here; install Python 3.11 or later, or name the one you have: make setup PY="
        in done.stderr
    )
    assert not (tmp_path / "venv").exists()


def test_environment_is_kept_on_its_own_python(tmp_path):
    """make setup PY=python3.12 once; the next call, without PY, must not go back to python3."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text('#!/bin/sh\necho "own python $*"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    assert f"own python -I pipeline/bootstrap.py --venv {tmp_path}\n" in make("setup", f"VENV={tmp_path}").stdout
    (tmp_path / "other").write_text('#!/bin/sh\necho "named python $*"\n')
    (tmp_path / "other").chmod(0o755)
    assert "named python -I" in make("setup", f"VENV={tmp_path}", f"PY={tmp_path}/other").stdout


def test_offline_where_it_must_be():
    makefile = (REPOSITORY / "Makefile").read_text()
    for variable, value in {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}.items():
        assert f"test test-all demo: export {variable} := {value}\n" in makefile


def test_ci_calls_targets_of_make_only():
    text = (REPOSITORY / ".ci" / "run").read_text()
    assert os.access(REPOSITORY / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in text
    assert re.findall(r"^stage (\S+)", text, re.MULTILINE) == ["check", "test-all", "demo"]
    assert re.findall(r"^ *(?:stage|make|\.venv\S*|python\S*|pip) (\S+)", text, re.MULTILINE) == [
        "--no-print-directory",
        "check",
        "test-all",
        "demo",
    ]
