"""Weights from the network, once: each file checked against its digest before anything can find it."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cache.key import digest_of_file
from extract.backbones.hub import CONFIG, INDEX, PREPROCESSOR, TENSORS, blob_digest, hub_cache, shards
from extract.backbones.kept import digest_of_weights, kept_path
from extract.backbones.pinned import Pinned

_PIECE_BYTES = 1 << 20
_SILENCE_SECONDS = 60.0  # after which a server that sends nothing is given up

OnBytes = Callable[[int, int], None]  # bytes got, bytes in all (0: the server doesn't say)


def fetch(pinned: Pinned, on_bytes: OnBytes = lambda got, total: None) -> Path:
    """The file, from its place on this machine if it is there and right, else from its address.

    It is written aside and renamed once its digest is right, so an interrupted or wrong download leaves nothing.
    Raises ValueError if it can't be had, or is another file.
    """
    path = kept_path(pinned)
    if path.is_file() and digest_of_weights(path) == pinned.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        digest = _download(pinned.url, aside, on_bytes)
        if digest != pinned.sha256:
            raise ValueError(
                f"{pinned.url} gave another file: sha256 is {digest}, wanted {pinned.sha256}; nothing of it was kept. "
                "Either what is published has changed, or something on the way answers in its place"
            )
        os.replace(aside, path)
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(
            f"{pinned.url} can't be fetched ({_reason(error)}); connect and try again, or put the file at {path}"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
    return path


def fetch_hub(repository: str, revision: str) -> Path:
    """A hub model's folder in the Hugging Face cache, fetched where it isn't there. revision: a commit, 40 digits.

    Only configuration and safetensors are taken. Raises ValueError if they can't be had, or are damaged.
    """
    config = _from_hub(repository, revision, CONFIG)
    if config is None:
        raise ValueError(f"{repository} at revision {revision} has no {CONFIG}; wanted a model of transformers or timm")
    _from_hub(repository, revision, PREPROCESSOR)
    names = [TENSORS]
    if _from_hub(repository, revision, TENSORS) is None:
        index = _from_hub(repository, revision, INDEX)
        if index is None:
            raise ValueError(
                f"{repository} at revision {revision} has no {TENSORS}; other formats can run code when read. Look for "
                "a revision that has it, often a pull request of the conversion bot on the repository's page"
            )
        names = sorted(set(shards(index)))
    for name in names:
        path = _from_hub(repository, revision, name)
        if path is None:
            raise ValueError(f"{repository} at revision {revision} has no {name}, which its {INDEX} names")
        wanted = blob_digest(path)
        if wanted is not None and digest_of_file(path) != wanted:
            raise ValueError(f"{path} is damaged: its sha256 is not {wanted}; delete {path.resolve()} and fetch again")
    return config.parent


def _download(url: str, path: Path, on_bytes: OnBytes) -> str:
    """The file's bytes to a path; returns their sha256."""
    digest, got = hashlib.sha256(), 0
    request = urllib.request.Request(url, headers={"User-Agent": "duet-affect"})
    with urllib.request.urlopen(request, timeout=_SILENCE_SECONDS) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        while piece := answer.read(_PIECE_BYTES):
            file.write(piece)
            digest.update(piece)
            got += len(piece)
            on_bytes(got, total)
    if total and got != total:
        raise http.client.IncompleteRead(b"", total - got)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server says {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    if isinstance(error, http.client.IncompleteRead):
        return f"{error.expected} bytes are missing at its end"
    return str(error) or type(error).__name__


def _from_hub(repository: str, revision: str, name: str) -> Path | None:
    """One file of a repository in the hub's cache; None if the repository has no such file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, name, revision=revision, cache_dir=hub_cache()))
    except LocalEntryNotFoundError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f"{name} of {repository} can't be fetched ({reason}); connect and try again, or give `weights` the path of "
            "a folder with its files"
        ) from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{name} of {repository} at revision {revision} can't be fetched ({reason})") from error
