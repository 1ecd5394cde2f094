"""Where fetched weights are kept on this machine, and how a file of weights is known by its bytes. No torch here.

$DUET_WEIGHTS or ~/.cache/duet/weights
    <sha256>/<file name>      one fetched file, known to be right when it was put there
    digests.jsonl             digests of big files, remembered by path, size, time and inode
"""

from __future__ import annotations

import os
from pathlib import Path

from cache.key import SourceDigests, digest_of_file
from extract.backbones.pinned import Pinned

WEIGHTS = "DUET_WEIGHTS"
_REMEMBERED_BYTES = 1 << 24  # below 16 MiB a file is read again in milliseconds, and nothing is written


def weights_folder() -> Path:
    """The folder of fetched weights, which may not exist yet."""
    named = os.environ.get(WEIGHTS)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duet" / "weights"


def kept_path(pinned: Pinned) -> Path:
    """Where the file is kept once it is fetched; a file put there by hand is as good."""
    return weights_folder() / pinned.sha256 / pinned.file_name


def kept_file(pinned: Pinned, name: str, remedy: str) -> Path:
    """The fetched file. name: what it is called in the message, remedy: the command that fetches it.

    Raises ValueError if it isn't here, or isn't what was published.
    """
    path = kept_path(pinned)
    if not path.is_file():
        raise ValueError(
            f"weights {name} are not on this machine: get them once with `{remedy}`, or put the file of "
            f"{pinned.url} at {path}"
        )
    digest = digest_of_weights(path)
    if digest != pinned.sha256:
        raise ValueError(
            f"weights {name} at {path} are not what was published: sha256 is {digest}, wanted {pinned.sha256}; "
            f"delete the file and run `{remedy}`"
        )
    return path


def digest_of_weights(path: Path) -> str:
    """sha256 of a file's bytes; of a big one taken once for each change of it. Raises OSError."""
    if path.stat().st_size < _REMEMBERED_BYTES:
        return digest_of_file(path)
    memory = weights_folder() / "digests.jsonl"
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.open("ab").close()
    except OSError:  # a home that can't be written to costs time, nothing else
        return digest_of_file(path)
    return SourceDigests(memory)(path)
