"""Unfinished writes: made aside, synced, then renamed into place, which is the commit.

A folder is renamed, never a file: a rename onto a folder with something in it fails on every file system, so of two
writers of one thing one wins, and nothing finished is overwritten. That needs no lock and no hard link.
"""

from __future__ import annotations

import os
import shutil
import socket
import uuid
from contextlib import suppress
from pathlib import Path


class Aside:
    """A folder of unfinished writes beside a store, on the same disk as the store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self) -> Path:
        """A new name in the folder, that says whose it is."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}"

    def commit_folder(self, target: Path, file: str, content: bytes) -> bool:
        """Make the folder `target` with one file in it, at once. False if target was there first."""
        if target.is_dir():
            return False
        aside = self.name()
        try:
            aside.mkdir()
            _write(aside / file, content)
            sync(aside)
            while True:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.rename(aside, target)
                except FileNotFoundError:
                    if aside.is_dir():  # who dropped the last thing in the parent took the parent away
                        continue
                    raise
                except OSError:
                    if target.is_dir():
                        return False
                    raise
                break
            for folder in (target.parent, target.parent.parent):  # the parent may be new
                with suppress(FileNotFoundError):  # dropped again meanwhile
                    sync(folder)
            return True
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def replace_file(self, target: Path, content: bytes) -> None:
        """Put a file in the place of `target`, at once. For what can be made again only."""
        aside = self.name()
        try:
            _write(aside, content)
            os.replace(aside, target)
            sync(target.parent)
        finally:
            aside.unlink(missing_ok=True)

    def remove(self, path: Path) -> bool:
        """Take a file or folder out of sight in one step, then away. False if it wasn't there."""
        aside = self.name()
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return False
        with suppress(FileNotFoundError):  # the parent was empty then, and somebody took it away
            sync(path.parent)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside)
        else:
            aside.unlink()
        return True

    def sweep(self) -> None:
        """Drop what killed processes of this machine left."""
        mine = socket.gethostname()
        for left in self._folder.glob("*"):
            host, _, process = left.name.removesuffix(left.suffix).rpartition(".")
            if host == mine and process.isdecimal() and not _alive(int(process)):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
