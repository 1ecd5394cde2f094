"""How many cores this process may use: those that the scheduler or container grants, not those of the machine."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """1 or more. macOS and Windows don't say what is granted; there it is the machine's number."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
