"""Clips that failed, remembered beside the store, so that a bad file is not tried again every night.

One line of JSON a failure, appended; the last line of a clip counts. A clip is remembered with what it was made
from and what was wanted of it: another file, or another recipe, and it is tried again by itself.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from cache.key import TrackKey, digest_of


class Failures:
    """What failed, by clip. memory: the file of lines; torn ones are skipped."""

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._known: dict[str, tuple[str, str]] = {}
        if memory.exists():
            for line in memory.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["reason"] is None:
                        self._known.pop(entry["clip"], None)
                    else:
                        self._known[entry["clip"]] = (entry["wanted"], entry["reason"])
                except (ValueError, KeyError, TypeError):
                    continue

    def reason(self, clip: str, missing: Collection[TrackKey]) -> str | None:
        """Why these tracks of the clip could not be made last time; None if nobody tried, or something has changed."""
        wanted, reason = self._known.get(clip, ("", ""))
        return reason if wanted == _wanted(missing) else None

    def add(self, clip: str, missing: Collection[TrackKey], reason: str) -> None:
        """Remember that these tracks could not be made."""
        self._known[clip] = (_wanted(missing), reason)
        self._append(clip, _wanted(missing), reason)

    def forget(self, clip: str) -> None:
        """It went well after all."""
        if self._known.pop(clip, None) is not None:
            self._append(clip, "", None)

    def _append(self, clip: str, wanted: str, reason: str | None) -> None:
        # The break comes first: a line that a killed process left torn doesn't spoil the next one.
        line = "\n" + json.dumps({"clip": clip, "wanted": wanted, "reason": reason}, ensure_ascii=False)
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        with self._memory.open("ab", buffering=0) as file:
            file.write(line.encode())


def _wanted(missing: Collection[TrackKey]) -> str:
    return digest_of(sorted([key.recipe, key.source] for key in missing))
