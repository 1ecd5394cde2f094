"""An address together with the digest of the one file that it may give. Light: settings read it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

_WRITTEN = re.compile(r"(?P<url>[^#\s]+)#sha256=(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True)
class Pinned:
    """url: of http or https, ending in a file's name. sha256: of the file's bytes, 64 hexadecimal digits."""

    url: str
    sha256: str

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not self.file_name:
            raise ValueError(f"address {self.url!r} is no file on the web; wanted https://HOST/.../FILE")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 of {self.url} is {self.sha256!r}; wanted 64 hexadecimal digits")

    @property
    def file_name(self) -> str:
        """The last part of the address, in characters that every file system takes."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", PurePosixPath(unquote(urlsplit(self.url).path)).name).lstrip(".")


def is_address(text: str) -> bool:
    """Whether a setting is meant as an address, not as a path or a name."""
    return "://" in text


def read_pinned(text: str) -> Pinned:
    """`https://HOST/FILE#sha256=DIGEST` as settings say it. Raises ValueError if the digest is missing."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} has no digest; wanted https://HOST/FILE#sha256=64 hexadecimal digits, so that what the address "
            "gives can't change under you"
        )
    return Pinned(found["url"], found["sha256"])
