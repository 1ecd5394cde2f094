"""What was found out about files, remembered by path, size, time and inode so that unchanged ones are not read again.

The memory is a file of JSON lines beside the store, appended to by any number of processes. It holds nothing that
can't be found out again: a torn or lost line costs one reading of one file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Stamp = list[int | str]  # changes whenever the file may have changed


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of one file: size, time of change, inode."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]


class FileMemory:
    """One answer a file, any JSON value. answer: what it is called in the lines of the memory."""

    def __init__(self, memory: Path, answer: str) -> None:
        self._memory = memory
        self._answer = answer
        self._known: dict[str, tuple[Stamp, Any]] = {}
        if memory.exists():
            for line in memory.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self._known[entry["path"]] = (entry["stat"], entry[answer])
                except (ValueError, KeyError, TypeError):
                    continue

    def recall(self, path: str, stamp: Stamp) -> Any | None:
        """What was kept of this absolute path under this stamp, or None."""
        known = self._known.get(path)
        return known[1] if known is not None and known[0] == stamp else None

    def keep(self, path: str, stamp: Stamp, answer: Any) -> None:
        """Remember an answer; a later one of the same path takes its place."""
        self._known[path] = (stamp, answer)
        # The break comes first: a line that a killed process left torn doesn't spoil the next one.
        line = "\n" + json.dumps({"path": path, "stat": stamp, self._answer: answer})
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with self._memory.open("ab", buffering=0) as file:
            file.write(line.encode())
