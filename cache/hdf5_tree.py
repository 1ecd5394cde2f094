"""The tree of an HDF5 store: one small HDF5 file of links to the parts, for plain h5py and every other HDF5 reader.

It says nothing that the parts don't say, so it is made again from them at any time and put in its place whole. Duet's
own readers go to the parts. Many writers renew the tree without a lock: whoever is last to put one in its place looks
at the parts once more, and goes on until what is in place is what he saw.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py

from cache.aside import Aside
from cache.hdf5_part import DAMAGE, VERSION, first_line, new_image, newer, put_text, read_attributes
from cache.key import digest_of
from cache.store import FORMAT, StoreError

TRACK, RECORD = "track.h5", "record.h5"
_FILES = {"tracks": TRACK, "catalogue": RECORD}
_SHARE = 20  # while tracks are written, at most one part in so many of the time goes into renewing the tree
_PAUSE_SECONDS = 1.0


class Tree:
    """The file of links at `path` to what lies in the folder `parts`."""

    def __init__(self, path: Path, parts: Path, aside: Aside) -> None:
        self._path = path
        self._parts = parts
        self._aside = aside
        self._behind = False
        self._not_before = 0.0  # on the monotonic clock

    def check(self) -> None:
        """Raises StoreError for a file that is no tree of links, one of a newer version, or one without its parts."""
        try:
            with h5py.File(self._path, "r") as file:
                form, version = file.attrs.get("format"), file.attrs.get("version")
                listing = file.attrs.get("listing")
        except DAMAGE as error:
            made = " (it is made again from its parts)" if self._parts.is_dir() else ""
            raise StoreError(
                f"{self._path} is no HDF5 file, or damaged ({first_line(error)}); "
                f"if it was a store, delete this one file{made} and run `duet extract`, else name another file"
            ) from error
        if form != FORMAT.encode() or listing is None:
            raise StoreError(f"{self._path} is an HDF5 file but no Duet store (format: {form!r}); name another file")
        if version > VERSION:
            raise StoreError(newer(self._path, version))
        if not self._parts.is_dir() and listing != digest_of([]).encode():
            raise StoreError(
                f"{self._path} holds links to {self._parts.name}, which is not beside it; move the two together, or "
                "send one whole file made with `duet cache export`"
            )

    def changed(self) -> None:
        """Something was committed or dropped: renew the tree now, or soon."""
        self._behind = True
        if time.monotonic() >= self._not_before:
            with suppress(OSError):  # a full disk: what was committed is there, and the tree is renewed another time
                self._renew_once()

    def finish(self) -> None:
        """Bring the tree up to date if this writer changed anything. What fails here is made up by the next writer."""
        if self._behind and self._path.exists() and self._parts.is_dir():
            try:
                self.renew()
            except DAMAGE:
                return

    def renew(self) -> None:
        """Bring the tree up to date, if it is not."""
        while self._listing_in_place() != digest_of(list(self._links())):
            self._renew_once()
        self._behind = False

    def _listing_in_place(self) -> str | None:
        if not self._path.exists():
            return None
        with h5py.File(self._path, "r") as file:
            listing: bytes = file.attrs["listing"]
        return listing.decode()

    def _links(self) -> Iterator[tuple[str, str]]:
        """The name of every part in the tree and its file, sorted."""
        for top, file in _FILES.items():
            for folder in _folders(self._parts / top):
                for part in _folders(folder):
                    if (part / file).is_file():
                        name = f"{top}/{folder.name}/{part.name}"
                        yield name, f"{self._parts.name}/{name}/{file}"

    def _renew_once(self) -> None:
        began = time.monotonic()
        links = list(self._links())
        with new_image() as tree:
            put_text(tree, "format", FORMAT)
            tree.attrs["version"] = VERSION
            put_text(tree, "listing", digest_of(links))
            put_text(
                tree,
                "about",
                f"Links to HDF5 files in {self._parts.name}, which must lie beside this file. "
                "`duet cache export` makes one whole file.",
            )
            for top in _FILES:
                tree.create_group(top)
            for name, file in links:
                # Made by name: a group that a link makes on the way holds the time, and trees would differ.
                tree.require_group(name.rpartition("/")[0])[name.rpartition("/")[2]] = h5py.ExternalLink(file, "/")
            for folder in tree["tracks"]:
                self._tell_recipe(tree["tracks"][folder], self._parts / "tracks" / folder)
            tree.flush()
            image = tree.id.get_file_image()
        self._aside.replace_file(self._path, image)
        ended = time.monotonic()
        self._not_before = ended + max(_PAUSE_SECONDS, _SHARE * (ended - began))

    @staticmethod
    def _tell_recipe(group: h5py.Group, folder: Path) -> None:
        for part in _folders(folder):
            try:
                attributes = read_attributes(part / TRACK)
                put_text(group, "recipe_digest", attributes["recipe_digest"])
                put_text(group, "recipe", json.dumps(attributes["recipe"]))
            except (StoreError, KeyError):
                continue
            return


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
