"""Set up the virtual environment of a checkout, once. The system's python3 runs this before anything is installed.

Standard library and the syntax of Python 3.6 only, so that an old Python gets one line and no traceback.

    python3 pipeline/bootstrap.py --venv .venv [--torch-index URL]

A finished set-up leaves a stamp, a digest of all that went in; while that matches, the next call does nothing.
Exit codes: 0 ready, 1 the installer failed, 2 something that this computer lacks, 130 interrupted.
"""

import argparse
import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)  # requires-python in pyproject.toml; a test compares them
GB = 10**9

STAMP = "duet-ready"  # written last: the digest of what was installed
BEGUN = "duet-begun.json"  # written first: the folder is ours to delete, and what it was begun with
LOG = "duet-setup.log"


class Refusal(Exception):
    """One line that says what is wrong and what to do, and the exit code."""

    def __init__(self, line: str, code: int = 2, before: str = "") -> None:
        super().__init__(line)
        self.code = code
        self.before = before  # the installer's own last words


def say(line: str) -> None:
    print(line, flush=True)


def check_python(version: "tuple[int, ...]") -> None:
    if version[:2] < OLDEST_PYTHON:
        got = ".".join(str(number) for number in version[:3])
        raise Refusal(f"Python {got} is too old, Duet needs 3.11 or later; try: make setup PY=python3.12")


def check_modules() -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        own = "python{}.{}-venv".format(*sys.version_info)
        raise Refusal(
            f"this Python has no module {' and no '.join(missing)}; "
            f"on Debian or Ubuntu: apt install python3-venv (or {own}), then run the same command again"
        )


# Disk


def is_cpu_only(torch_index: str) -> bool:
    """The CPU-only indexes of torch end in /cpu; macOS has no other build."""
    return torch_index.rstrip("/").endswith("/cpu") or sys.platform == "darwin"


def installed_and_downloads_bytes(torch_index: str) -> "tuple[int, int]":
    """Rounded up from torch 2.15 with CUDA 13 on Linux: 6.4 GB installed, of wheels of 2.7 GB that lie in TMPDIR until
    all are installed, and once more in pip's cache where that has room."""
    return (2 * GB, 1 * GB) if is_cpu_only(torch_index) else (13 * GB // 2, 3 * GB)


def held_bytes(folder: Path) -> int:
    """What a set-up that was cut short has installed already, and need not find room for again."""
    total = 0
    for parent, _, names in os.walk(str(folder)):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def same_disk(one: Path, other: Path) -> bool:
    return os.stat(str(one)).st_dev == os.stat(str(other)).st_dev


def disk_remedy(torch_index: str) -> str:
    if is_cpu_only(torch_index):
        return "free some, or put it elsewhere: make setup VENV=/another/disk/duet"
    return (
        "free some, put it elsewhere (make setup VENV=/another/disk/duet), "
        "or take a CPU-only torch that needs 3 GB (make setup TORCH_INDEX=<URL of the index that ends in /cpu>)"
    )


def check_disk(venv: Path, torch_index: str) -> bool:
    """Whether pip's cache may keep a copy of what is downloaded too."""
    installed, downloads = installed_and_downloads_bytes(torch_index)
    missing = max(0.0, 1 - held_bytes(venv) / installed)
    installed, downloads = int(missing * installed), int(missing * downloads)
    place, temporary = nearest_existing(venv), Path(tempfile.gettempdir())
    one_disk = same_disk(place, temporary)
    wanted, free = installed + (downloads if one_disk else 0), shutil.disk_usage(str(place)).free
    if free < wanted:
        raise Refusal(f"{free / GB:.1f} GB free for {venv}, {wanted / GB:.1f} GB wanted; {disk_remedy(torch_index)}")
    if not one_disk:
        free_there = shutil.disk_usage(str(temporary)).free
        if free_there < downloads:
            raise Refusal(
                f"{free_there / GB:.1f} GB free in {temporary} for downloads, {downloads / GB:.1f} GB wanted; "
                "free some, or name another folder for them: TMPDIR=/another/disk make setup"
            )
    return free >= wanted + downloads


# The stamp


def inputs_digest(venv: Path, torch_index: str) -> str:
    """Of everything that a finished set-up depends on; its place too, because scripts in it hold absolute paths."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        try:
            content = (ROOT / name).read_bytes()
        except FileNotFoundError:
            raise Refusal(f"{ROOT / name} is missing; bring it back: git checkout {name}") from None
        digest.update(hashlib.sha256(content).digest())
    rest = [sys.implementation.name, list(sys.version_info[:2]), torch_index, os.path.realpath(str(venv)), str(ROOT)]
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def venv_python(venv: Path) -> Path:
    return venv / "bin" / "python"


def is_ready(venv: Path, digest: str) -> bool:
    try:
        stamped = (venv / STAMP).read_text()
    except OSError:
        return False
    return stamped == digest and venv_python(venv).exists()


def begun_with(venv: Path) -> "dict[str, str]":
    """What the set-up in this folder was begun with; empty where none was, or where it was killed while saying so."""
    try:
        begun = json.loads((venv / BEGUN).read_text())
    except (OSError, ValueError):
        return {}
    return begun if isinstance(begun, dict) else {}


def write_whole(path: Path, text: str) -> None:
    half = path.with_name(path.name + ".half")
    half.write_text(text)
    os.replace(str(half), str(path))


# The folder


def holds_more_than_notes(venv: Path) -> bool:
    return any(not path.name.startswith("duet-") for path in venv.iterdir())


def check_place(venv: Path) -> None:
    """Refuse a folder that a rebuild must never empty: a rebuild deletes only what is plainly this project's."""
    real, root, home = (Path(os.path.realpath(str(path))) for path in (venv, ROOT, Path.home()))
    if real in (root, home) or real in root.parents or real in home.parents:
        raise Refusal(f"VENV={venv} is the project or a folder around it; name a new folder: make setup VENV=.venv")
    if not venv.exists():
        return
    if not venv.is_dir():
        raise Refusal(f"{venv} is not a folder; move it away, or name another: make setup VENV=.venv-duet")
    ours = (venv / BEGUN).exists() or (root in real.parents and (venv / "pyvenv.cfg").exists())
    if not ours and holds_more_than_notes(venv):
        raise Refusal(
            f"{venv} holds something that this project did not make; "
            "move it away, or name another: make setup VENV=.venv-duet"
        )


def why_rebuild(venv: Path, torch_index: str) -> str:
    """What is wrong with the environment in the folder; '' where nothing is, or where there is none yet."""
    if not holds_more_than_notes(venv):
        return ""
    python, begun = venv_python(venv), begun_with(venv)
    if python.is_symlink() and not python.exists():
        return "its interpreter is gone"
    if not (venv / "pyvenv.cfg").exists() or not python.exists():
        return "it is half made"
    if begun and begun.get("place") != os.path.realpath(str(venv)):
        return "it was moved or copied here"
    if begun.get("torch_index", "") != torch_index:
        return "torch is to come from another index"
    asked = "import sys, pip; print('%d.%d' % sys.version_info[:2])"
    try:
        answer = subprocess.run([str(python), "-I", "-c", asked], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        return "its interpreter does not run"
    if answer.returncode != 0:
        return "its interpreter or its pip does not run"
    found, wanted = answer.stdout.decode().strip(), "{}.{}".format(*sys.version_info)
    return "" if found == wanted else f"it was made by Python {found}, this is {wanted}"


def empty(venv: Path) -> None:
    """Cut short, this leaves what the next call sees as half made, and as ours."""
    if (venv / "pyvenv.cfg").exists():
        (venv / "pyvenv.cfg").unlink()
    for path in venv.iterdir():
        if path.name.startswith("duet-"):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(str(path))
        else:
            path.unlink()


def drop_half_installed(venv: Path) -> None:
    """pip writes a package's RECORD last, yet takes the package as installed without it; and a killed upgrade leaves
    the old version's files under names that begin with '~'."""
    for packages in venv.glob("lib/python*/site-packages"):
        for path in list(packages.glob("*.dist-info")) + list(packages.glob("~*")):
            if path.is_dir() and (path.name.startswith("~") or not (path / "RECORD").is_file()):
                shutil.rmtree(str(path))


def hold_lock(venv: Path) -> "tuple[int, ...]":
    """Lock the folder until the descriptor is closed. pip inherits it: a pip orphaned by kill -9 still holds it."""
    try:
        import fcntl
    except ImportError:
        return ()
    folder = os.open(str(venv), os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another set-up of {venv} is running: waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
    except OSError:  # some network file systems cannot lock a folder
        os.close(folder)
        return ()
    return (folder,)


# Installing


def clean_environment() -> "dict[str, str]":
    """Without what would send packages elsewhere, or show pip packages that are not in the environment."""
    steers = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIRE_VIRTUALENV")
    kept = {name: value for name, value in os.environ.items() if name not in steers}
    kept.update(PIP_USER="0", PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    return kept


def pip_commands(python: Path, torch_index: str, keep_downloads: bool) -> "list[list[str]]":
    # -I: the checkout's own packages, cache for one, must not shadow anything that pip imports.
    install = [str(python), "-I", "-m", "pip", "install", "--progress-bar", "off", "-c", "constraints.txt"]
    install.append("--only-binary=:all:")  # nothing is compiled here: that fails late, and in many words
    if not keep_downloads:
        install.append("--no-cache-dir")
    commands = [[*install, "hatchling", "editables"]]
    if torch_index:
        # Their dependencies come with the rest: an index of torch holds some, rarely in the pinned versions.
        commands.append([*install, "--no-deps", "--index-url", torch_index, "torch", "torchvision"])
    commands.append([*install, "--no-build-isolation", "-e", ".[dev,face,s3,timm]"])
    return commands


def log_says(text: str, *signs: str) -> bool:
    return any(sign.lower() in text.lower() for sign in signs)


def explain_failure(what: str, log: Path, torch_index: str) -> Refusal:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-30:]
    errors = [number for number, line in enumerate(lines) if line.startswith("ERROR")]
    last = "\n".join(lines[errors[0] :][:10] if errors else lines[-6:])
    text = "\n".join(lines)
    if log_says(text, "No space left on device", "Disk quota exceeded"):
        temporary = f"; downloads pass through {tempfile.gettempdir()}, else set TMPDIR"
        return Refusal(f"the disk is full: {disk_remedy(torch_index)}{temporary} (log: {log})", 2, last)
    if log_says(text, "ConnectionError", "connection broken", "timed out", "ProxyError", "SSLError", "name resolution"):
        remedy = "no network, or not to the package index: check it, then run the same command again, which carries on"
    elif log_says(text, "No matching distribution found", "ResolutionImpossible"):
        # pip before 24 calls a pin that it cannot find a conflict
        remedy = "a pinned version has no build for this Python or system; try: make setup PY=python3.12"
    else:
        remedy = "see the log, then run the same command again, which carries on"
    return Refusal(f"{what} failed: {remedy} (log: {log})", 1, last)


def run_logged(command: "list[str]", log: Path, descriptors: "tuple[int, ...]") -> bool:
    with open(str(log), "ab") as sink:
        sink.write(("$ " + " ".join(command) + "\n").encode())
        sink.flush()
        done = subprocess.run(
            command,
            cwd=str(ROOT),
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
        )
    return done.returncode == 0


def install(venv: Path, torch_index: str, digest: str, descriptors: "tuple[int, ...]") -> None:
    began_seconds = time.monotonic()
    shown, log, python = os.path.relpath(str(venv)), venv / LOG, venv_python(venv)
    reason = why_rebuild(venv, torch_index)
    keep_downloads = check_disk(venv, torch_index)
    if (venv / STAMP).exists():
        (venv / STAMP).unlink()
    begun = {"place": os.path.realpath(str(venv)), "torch_index": torch_index}
    if reason:
        say(f"rebuilding {shown}: {reason}")
        write_whole(venv / BEGUN, json.dumps(begun) + "\n")
        empty(venv)
    cost = "2 minutes and 2 GB" if is_cpu_only(torch_index) else "3 minutes and 6 GB"
    say(f"setting up {shown}: about {cost}, once (log: {os.path.join(shown, LOG)})")
    write_whole(venv / BEGUN, json.dumps(begun) + "\n")
    log.write_bytes(b"")
    if not python.exists():
        # Not sys.executable: where the environment is active, that is the one being rebuilt.
        base = getattr(sys, "_base_executable", None) or sys.executable
        if not run_logged([base, "-I", "-m", "venv", str(venv)], log, descriptors):
            raise explain_failure("python -m venv", log, torch_index)
    drop_half_installed(venv)
    for command in pip_commands(python, torch_index, keep_downloads):
        if not run_logged(command, log, descriptors):
            raise explain_failure("pip", log, torch_index)
    write_whole(venv / STAMP, digest)
    say(f"set up {shown} in {time.monotonic() - began_seconds:.0f} s")


def index_and_digest(venv: Path, torch_index: str) -> "tuple[str, str]":
    """Where no index is named, it is the one begun with: make setup TORCH_INDEX=... once, then plain make test."""
    torch_index = torch_index or begun_with(venv).get("torch_index", "")
    return torch_index, inputs_digest(venv, torch_index)


def set_up(venv: Path, asked_index: str) -> None:
    torch_index, digest = index_and_digest(venv, asked_index)
    if is_ready(venv, digest):
        return
    check_modules()
    check_place(venv)
    try:
        if not venv.exists():
            check_disk(venv, torch_index)
            venv.mkdir(parents=True)
        descriptors = hold_lock(venv)
        try:
            torch_index, digest = index_and_digest(venv, asked_index)  # another set-up may have ended meanwhile
            if not is_ready(venv, digest):
                install(venv, torch_index, digest, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refusal(f"the disk is full: {disk_remedy(torch_index)}") from None
        raise Refusal(f"cannot write {venv}: {error}; name another folder: make setup VENV=/another/folder") from None


def parse(arguments: "list[str]") -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Set up the virtual environment, once.", allow_abbrev=False)
    parser.add_argument("--venv", required=True, help="folder of the virtual environment")
    parser.add_argument("--torch-index", default="", metavar="URL", help="package index of torch and torchvision")
    return parser.parse_args(arguments)


def main(arguments: "list[str]", version: "tuple[int, ...]" = sys.version_info[:3]) -> int:
    try:
        check_python(version)
        asked = parse(arguments)
        if not asked.venv.strip():
            raise Refusal("VENV is empty; name a folder: make setup VENV=.venv")
        set_up(Path(os.path.abspath(asked.venv)), asked.torch_index)
    except Refusal as refusal:
        if refusal.before:
            print(refusal.before, file=sys.stderr)
        print(f"set-up: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        print("set-up: interrupted; the next one carries on", file=sys.stderr)
        return 130
    return 0


def stop(number: int, frame: object) -> None:
    """A polite kill ends pip too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main(sys.argv[1:]))
