"""The store behind an address of fsspec (s3://, gs://, memory://): objects are put whole, nothing can be renamed.

The format, version 2:
    x.zarr/zarr.json                            attributes: format (another than on a disk), version
    x.zarr/tracks/<recipe>/zarr.json            attributes: the whole recipe and its digest
    x.zarr/tracks/<recipe>/<clip>.<source>/
        zarr.json                               the completion record, put last: all that a group of a local store says,
                                                the name of its attempt, and size and sha256 of each of its objects
        <attempt>/                              the group that a local store would hold (cache/zarr_store.py)
    x.zarr/catalogue/<clip>/<generation>/       the same: zarr.json, and an attempt where there are labels

Every writer puts its objects under an attempt of its own, a random name, so two never mix, whatever they computed.
Then it puts the completion record, on the condition that there is none (If-None-Match: *). One wins; the others are
told and take their objects away. Until then there is no zarr.json, so neither Duet nor plain Zarr finds a group. Where
a file system has no conditional put, we look before and read back after: still no mixture, but of two writers
within the same moment the later one counts though both were told that they won, so opening for writing warns.
Attempts of killed writers are stray once they are a day old: before that, nobody can tell them from those at work.
"""

from __future__ import annotations

import errno
import hashlib
import json
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from cache.clock import Clock
from cache.key import SHORT, TrackKey, digest_of, folder_name
from cache.remote_rows import Span
from cache.store import VERSION, StoreError
from cache.track import Track
from cache.zarr_array import Rows
from cache.zarr_group import attributes_of, group_text, write_group

FORMAT_OF_OBJECTS = "duet-store-of-objects"
QUIET_SECONDS = 24 * 3600.0  # an attempt whose last object is older is nobody's any more
_CONDITIONAL = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}  # whose `mode="create"` is one step
_EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs"}
_CREATING = threading.Lock()  # memory:// looks and puts in two steps, but all within this process
_REMEDY = "run `duet cache verify --repair`, and extract again"


class _DamagedError(ValueError):
    """A completion record that can't be read."""


class RemoteStore:
    """A store at an address that ends in `.zarr`. See the top of this file for the format.

    Credentials and endpoints are those of fsspec's own configuration, such as FSSPEC_S3_ENDPOINT_URL.
    """

    def __init__(self, address: str, *, writable: bool = False) -> None:
        self.location = address
        protocol = address.partition("://")[0]
        try:
            # Listings are never remembered: others write.
            self._fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except ImportError as error:
            package = _EXTRAS.get(protocol, "what fsspec asks for")
            raise StoreError(f"store {address} needs {package} ({error}); pip install {package}") from None
        except ValueError as error:
            raise StoreError(f"store {address} has an address that can't be used: {error}") from None
        self._root = root.rstrip("/")
        self._alone = protocol not in _CONDITIONAL
        self._ensured: set[str] = set()
        self._listed: dict[str, list[int]] = {}  # folder of a clip -> generations, for one look each: see `clips`
        self._ahead: dict[str, dict[str, Any]] = {}  # newest records that `clips` saw -> their attributes
        self._labels: dict[str, Track | None] = {}  # and what was fetched with the first of them
        text = self._text_of_root()
        if text is None:
            if not writable:
                raise StoreError(f"there is no store at {address}; make one with `duet extract`, or correct `store`")
            self._make()
            text = self._text_of_root() or {}
        if text.get("format") != FORMAT_OF_OBJECTS:
            raise StoreError(
                f"{address} is a Zarr group but no Duet store of objects (format: {text.get('format')!r}); "
                "bring a store from a disk here with `duet cache import`"
            )
        if text["version"] > VERSION:
            raise StoreError(
                f"{address} is a store of version {text['version']}, this Duet reads up to {VERSION}; update Duet"
            )
        if writable and self._alone:
            warnings.warn(
                f"{protocol}:// has no conditional put: write to {address} from one process at a time, or a corrected "
                "label may be lost",
                stacklevel=3,
            )

    # ------------------------------------------------------------------------------------------------ tracks

    def has(self, key: TrackKey) -> bool:
        return self._exists(self._track(key))

    def write(self, key: TrackKey, track: Track, *, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> bool:
        if digest_of(recipe) != key.recipe:
            raise StoreError(
                f"the recipe given for clip {key.clip} has another digest than its key says; pass the same"
            )
        self._ensure_group("tracks", {})
        self._ensure_group(f"tracks/{key.recipe[:SHORT]}", {"recipe": dict(recipe), "recipe_digest": key.recipe})
        attributes = {
            "clip": key.clip,
            "recipe_digest": key.recipe,
            "source_digest": key.source,
            "invalid_rows_hold": "NaN",
            "provenance": dict(provenance),
            "recipe": dict(recipe),
        }
        return self._commit(self._track(key), attributes, track, "feature")

    def read(self, key: TrackKey, rows: slice | None = None) -> Track:
        if rows is not None and rows.step not in (None, 1):
            raise ValueError(f"rows have the step {rows.step}; wanted a range of rows [start, stop)")
        name = self._track(key)
        while True:
            said = self._of_track(key)
            try:
                return self._numbers({name: said}, rows)[name]
            except FileNotFoundError as error:
                if self._of_track(key)["attempt"] == said["attempt"]:  # else dropped and made again meanwhile
                    raise self._damaged(name, error) from error

    def shape(self, key: TrackKey) -> tuple[int, int]:
        rows, columns = self._of_track(key)["arrays"]["values"]["shape"]
        return int(rows), int(columns)

    def size_bytes(self, key: TrackKey) -> int:
        return self._size(self._of_track(key))

    def drop(self, key: TrackKey) -> bool:
        return self._drop(self._track(key))

    def faults(self, key: TrackKey) -> list[str]:
        wanted = {"clip": key.clip, "recipe_digest": key.recipe, "source_digest": key.source}
        return self._faults(self._track(key), wanted, numbers=True)

    def provenance(self, key: TrackKey) -> dict[str, Any]:
        provenance: dict[str, Any] = self._of_track(key)["provenance"]
        return provenance

    def recipes(self) -> dict[str, dict[str, Any]]:
        found = {}
        for folder, text in self._texts(self._folders("tracks")).items():
            recipe = text.get("recipe") if text is not None else None
            if recipe is None or digest_of(recipe)[:SHORT] != folder.rpartition("/")[2]:
                tracks = self._texts(self._folders(folder)).values()  # its own text is damaged: any track says it too
                recipe = next((track["recipe"] for track in tracks if track is not None and "recipe" in track), None)
            if recipe is not None:
                found[digest_of(recipe)] = recipe
        return found

    def recipe_keys(self, recipe: str) -> Iterator[TrackKey]:
        for folder, text in self._texts(self._folders(f"tracks/{recipe[:SHORT]}")).items():
            key = self._key_of(folder, text)
            if key is not None and key.recipe == recipe:
                yield key

    # ------------------------------------------------------------------------------------------------ records

    def clips(self) -> list[str]:
        """The names of all clips with a record, sorted.

        The newest record of each is kept ahead, all fetched at once: a catalogue is a few round trips, not a few a
        clip. What is kept is used once, so a second look is a fresh one.
        """
        found: dict[str, list[int]] = {}
        for name in self._find("catalogue"):
            parts = name.split("/")
            if len(parts) == 4 and parts[3] == "zarr.json" and _is_generation(parts[2]):
                found.setdefault(parts[1], []).append(int(parts[2]))
        newest = {folder: f"catalogue/{folder}/{max(numbers):06d}" for folder, numbers in found.items()}
        texts = self._texts(newest.values())
        self._labels = {}
        self._ahead = {name: text for name, text in texts.items() if text is not None}
        self._listed = {folder: sorted(numbers) for folder, numbers in found.items()}
        return sorted(self._clip_of(folder, found[folder], texts[name]) for folder, name in newest.items())

    def generations(self, clip: str) -> list[int]:
        listed = self._listed.pop(folder_name(clip), None)
        if listed is not None:
            return listed
        names = (name.split("/") for name in self._find(f"catalogue/{folder_name(clip)}"))
        return sorted(
            int(parts[2]) for parts in names if len(parts) == 4 and parts[3] == "zarr.json" and _is_generation(parts[2])
        )

    def write_record(self, clip: str, generation: int, attributes: Mapping[str, Any], labels: Track | None) -> bool:
        self._ensure_group("catalogue", {})
        self._ensure_group(f"catalogue/{folder_name(clip)}", {"clip": clip})
        return self._commit(self._record(clip, generation), {**attributes, "clip": clip}, labels, "dimension")

    def read_record(self, clip: str, generation: int) -> tuple[dict[str, Any], Track | None]:
        name = self._record(clip, generation)
        if name in self._ahead and name not in self._labels:
            with suppress(StoreError, FileNotFoundError):  # then each is read by itself, and the bad one says so
                self._labels = self._numbers_or_none(self._ahead)
        if name in self._labels:
            return self._ahead.pop(name), self._labels.pop(name)
        self._ahead.pop(name, None)
        try:
            said = self._said(name)
        except FileNotFoundError:
            raise StoreError(
                f"{self._address(name)} is not there; the store was changed meanwhile, or never had it"
            ) from None
        except _DamagedError as error:
            raise self._damaged(name, error) from None
        try:
            return said, self._numbers_or_none({name: said})[name]
        except FileNotFoundError as error:
            raise self._damaged(name, error) from error

    def drop_record(self, clip: str, generation: int) -> bool:
        return self._drop(self._record(clip, generation))

    def record_faults(self, clip: str, generation: int) -> list[str]:
        return self._faults(self._record(clip, generation), {"clip": clip}, numbers=False)

    # ------------------------------------------------------------------------------------------------ stray

    def stray(self) -> list[str]:
        found = set()
        inside: dict[str, dict[str, list[Mapping[str, Any]]]] = {}  # track or record -> attempt -> its objects
        for name, info in self._find("").items():
            parts = name.split("/")
            if parts[0] not in ("tracks", "catalogue"):
                found |= {parts[0]} - {"zarr.json"}
            elif parts[-1] == "zarr.json" and len(parts) in (2, 3):
                continue
            elif len(parts) < 4 or (parts[0] == "catalogue" and not _is_generation(parts[2])):
                found.add("/".join(parts[:3]))
            else:
                inside.setdefault("/".join(parts[:3]), {}).setdefault(parts[3], []).append(info)
        complete = [folder for folder, attempts in inside.items() if "zarr.json" in attempts]
        texts = self._texts(complete)
        for folder, attempts in inside.items():
            text = texts.get(folder)
            if folder in texts and folder.startswith("tracks/") and self._key_of(folder, text) is None:
                found.add(folder)
            elif folder not in texts or text is not None:
                known = {"zarr.json", text["attempt"] if text is not None else None}
                found |= {f"{folder}/{name}" for name, infos in attempts.items() if name not in known and _old(infos)}
        return sorted(found)

    def drop_stray(self, name: str) -> None:
        if name not in self.stray():
            raise StoreError(f"{name!r} is nothing stray in {self.location}; only what `stray` names may be dropped so")
        self._remove([name] if name in self._find(name) else self._find(name))

    # ------------------------------------------------------------------------------------------------ names

    def _track(self, key: TrackKey) -> str:
        return f"tracks/{key.recipe[:SHORT]}/{folder_name(key.clip)}.{key.source[:SHORT]}"

    def _record(self, clip: str, generation: int) -> str:
        return f"catalogue/{folder_name(clip)}/{generation:06d}"

    def _key_of(self, folder: str, text: Mapping[str, Any] | None) -> TrackKey | None:
        """The key of the track in a folder; None if its record says none, or one that belongs elsewhere."""
        try:
            key = None if text is None else TrackKey(text["recipe_digest"], text["source_digest"], text["clip"])
        except (KeyError, TypeError, ValueError):
            return None
        return key if key is not None and self._track(key) == folder else None

    def _clip_of(self, folder: str, generations: list[int], newest: Mapping[str, Any] | None) -> str:
        if folder_name(folder) == folder:
            return folder
        texts = [newest]
        if newest is None:
            names = [f"catalogue/{folder}", *(f"catalogue/{folder}/{number:06d}" for number in generations)]
            texts = list(self._texts(names).values())
        for text in texts:
            clip = None if text is None else text.get("clip")
            if isinstance(clip, str) and folder_name(clip) == folder:
                return clip
        raise StoreError(
            f"nothing in {self._address(f'catalogue/{folder}')} can be read, so a clip is lost; "
            "run `duet cache verify --repair`"
        )

    def _address(self, name: str) -> str:
        return f"{self.location.rstrip('/')}/{name}"

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _damaged(self, name: str, error: Exception) -> StoreError:
        return StoreError(f"{self._address(name)} is damaged ({type(error).__name__}: {error}); {_REMEDY}")

    # ------------------------------------------------------------------------------------------------ reading

    def _exists(self, name: str) -> bool:
        return bool(self._fs.exists(self._path(f"{name}/zarr.json")))

    def _said(self, name: str) -> dict[str, Any]:
        """The attributes of a completion record. Raises FileNotFoundError or _DamagedError."""
        (content,) = self._whole([f"{name}/zarr.json"])
        if isinstance(content, Exception):
            raise content
        return _attributes(content)

    def _texts(self, names: Iterable[str]) -> dict[str, dict[str, Any] | None]:
        """The attributes of many groups, fetched at once; None for one that can't be read. Without those not there."""
        names = list(names)
        texts: dict[str, dict[str, Any] | None] = {}
        for name, content in zip(names, self._whole([f"{name}/zarr.json" for name in names]), strict=True):
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, Exception):
                raise content
            try:
                texts[name] = _attributes(content)
            except _DamagedError:
                texts[name] = None
        return texts

    def _fetch(self, parts: list[tuple[str, int | None, int | None]]) -> list[bytes | Exception]:
        """Objects or byte ranges [begin, end) of them, all at once where the file system can."""
        if not parts:
            return []
        names, begins, ends = zip(*parts, strict=True)
        paths = [self._path(name) for name in names]
        fetched: list[bytes | Exception] = self._fs.cat_ranges(paths, list(begins), list(ends), on_error="return")
        return fetched

    def _whole(self, names: list[str]) -> list[bytes | Exception]:
        """Small objects, all at once."""
        # Asked as a range from 0 on: s3fs asks for the length of what is wanted whole, which doubles the requests.
        contents = self._fetch([(name, 0, None) for name in names])
        for place, content in enumerate(contents):
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                (contents[place],) = self._fetch([(names[place], None, None)])  # an empty object has no range
        return contents

    def _of_track(self, key: TrackKey) -> dict[str, Any]:
        name = self._track(key)
        try:
            return self._said(name)
        except FileNotFoundError:
            raise StoreError(
                f"{self.location} has no track of clip {key.clip} for recipe {key.recipe[:SHORT]}"
            ) from None
        except _DamagedError as error:
            raise self._damaged(name, error) from None

    def _numbers_or_none(self, said: Mapping[str, dict[str, Any]]) -> dict[str, Track | None]:
        with_numbers = {name: text for name, text in said.items() if "clock" in text}
        return {**dict.fromkeys(said), **self._numbers(with_numbers, None)}

    def _numbers(self, said: Mapping[str, dict[str, Any]], rows: slice | None) -> dict[str, Track]:
        """The tracks, or rows [start, stop) of them, that completion records describe, all fetched at once.

        Raises FileNotFoundError if an object is not there, StoreError if one is damaged.
        """
        spans: list[tuple[str, Span]] = []
        for name, text in said.items():
            try:
                spans += [(name, span) for span in _spans(text, rows)]
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(name, error) from error
        wanted = [(name, span) for name, span in spans if span.start < span.stop]
        contents = self._fetch(
            [
                (f"{name}/{said[name]['attempt']}/{span.name}/{span.rows.file}", *span.byte_range())
                for name, span in wanted
            ]
        )
        taken: dict[str, dict[str, Any]] = {name: {} for name in said}
        for (name, span), content in zip(wanted, contents, strict=True):
            if isinstance(content, Exception):
                raise content
            taken[name][span.name] = (span, content)
        tracks = {}
        for name, text in said.items():
            try:
                arrays = {
                    span.name: span.take(taken[name].get(span.name, (span, b""))[1]) for of, span in spans if of == name
                }
                tracks[name] = _track(text, arrays, rows)
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged(name, error) from error
        return tracks

    def _faults(self, name: str, wanted: Mapping[str, Any], *, numbers: bool) -> list[str]:
        try:
            said = self._said(name)
        except FileNotFoundError:
            return ["it is not there"]
        except _DamagedError as error:
            return [str(self._damaged(name, error))]
        found = [
            f"its {field} is {said.get(field)!r}, wanted {value!r}"
            for field, value in wanted.items()
            if said.get(field) != value
        ]
        if numbers and "clock" not in said:
            return [*found, "it holds no clock"]
        objects = list(said["objects"])
        contents = self._fetch([(f"{name}/{said['attempt']}/{each}", None, None) for each in objects])
        for each, content in zip(objects, contents, strict=True):
            stated = said["objects"][each]
            if isinstance(content, FileNotFoundError):
                found.append(f"its object {each} is gone; {_REMEDY}")
            elif isinstance(content, Exception):
                raise content
            elif len(content) != stated["size_bytes"] or hashlib.sha256(content).hexdigest() != stated["sha256"]:
                found.append(f"its object {each} is damaged: {len(content)} bytes, or their digest, are not as written")
        if not found and "clock" in said:
            try:
                track = self._numbers({name: said}, None)[name]
                Track(track.values, track.valid, track.clock)  # finite where valid, NaN elsewhere: the whole check
            except (StoreError, ValueError, FileNotFoundError) as error:
                found.append(str(error))
        return found

    def _size(self, said: Mapping[str, Any]) -> int:
        return len(group_text(said)) + sum(int(stated["size_bytes"]) for stated in said["objects"].values())

    def _folders(self, name: str) -> list[str]:
        """What lies one level below a folder and has something in it."""
        try:
            entries = self._fs.ls(self._path(name), detail=True)
        except FileNotFoundError:
            return []
        return sorted(
            f"{name}/{entry['name'].rstrip('/').rpartition('/')[2]}"
            for entry in entries
            if entry["type"] == "directory"
        )

    def _find(self, name: str) -> dict[str, Mapping[str, Any]]:
        """Every object below a folder, or the object itself, by its name within the store."""
        try:
            found = self._fs.find(self._path(name), detail=True)
        except FileNotFoundError:
            return {}
        return {path[len(self._root) + 1 :]: info for path, info in found.items()}

    # ------------------------------------------------------------------------------------------------ writing

    def _text_of_root(self) -> dict[str, Any] | None:
        try:
            return _attributes(self._fs.cat_file(self._path("zarr.json")))
        except FileNotFoundError:
            return None
        except _DamagedError as error:
            raise StoreError(f"{self._address('zarr.json')} is damaged ({error}); restore it from a copy") from None
        except Exception as error:  # of as many kinds as there are file systems: keys, names, networks
            raise StoreError(
                f"{self.location} can't be read ({type(error).__name__}: {error}); check the address, and the "
                "credentials in fsspec's own configuration"
            ) from error

    def _make(self) -> None:
        if self._find(""):
            if self._text_of_root() is None:  # else another writer has made it meanwhile
                raise StoreError(f"{self.location} has other things in it; name a new address for the store")
            return
        try:
            self._ensure_group("", {"format": FORMAT_OF_OBJECTS, "version": VERSION})
        except Exception as error:
            raise StoreError(
                f"{self.location} can't be written ({type(error).__name__}: {error}); make the bucket first, and check "
                "the credentials in fsspec's own configuration"
            ) from error

    def _ensure_group(self, name: str, attributes: Mapping[str, Any]) -> None:
        """The group of this name. Its text depends on its name alone, so writers at once put the same bytes."""
        if name in self._ensured:
            return
        path = self._path(f"{name}/zarr.json" if name else "zarr.json")
        if not self._fs.exists(path):
            self._fs.pipe_file(path, group_text(attributes).encode())
        self._ensured.add(name)

    def _commit(self, name: str, attributes: Mapping[str, Any], track: Track | None, columns: str) -> bool:
        """Put a group under an attempt of its own, then its completion record; False if there is one already."""
        if self._exists(name):
            return False
        attempt = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(prefix="duet-") as scratch:
            folder = Path(scratch) / attempt
            write_group(folder, attributes, track, columns, compressed=False)
            said = attributes_of(folder)
            files = [file for file in folder.rglob("*") if file.is_file() and track is not None]
            contents = {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
        objects = {
            each: {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for each, content in contents.items()
        }
        said = {**said, "attempt": attempt, "objects": objects}
        text = group_text({**said, "attributes_sha256": digest_of(said)}).encode()
        if contents:
            self._fs.pipe({self._path(f"{name}/{attempt}/{each}"): content for each, content in contents.items()})
        if self._create(name, text, attempt):
            return True
        self._remove(f"{name}/{attempt}/{each}" for each in contents)
        return False

    def _create(self, name: str, text: bytes, attempt: str) -> bool:
        """Put a completion record where there is none. Whether it is ours that is there."""
        for _ in range(5):
            try:
                with _CREATING:
                    self._fs.pipe_file(self._path(f"{name}/zarr.json"), text, mode="create")
                if not self._alone:
                    return True
            except Exception as error:
                # Of many kinds, and no proof: an answer that was lost and asked for again says that ours is in the way.
                if (winner := self._texts([name])) or getattr(error, "errno", None) != errno.EBUSY:
                    if not winner:
                        raise
                    return (winner[name] or {}).get("attempt") == attempt
                continue  # S3 answers so where two puts meet, and asks to try again
            return (self._texts([name]).get(name) or {}).get("attempt") == attempt
        raise StoreError(f"{self._address(name)} is being written by too many at once; try again")

    def _drop(self, name: str) -> bool:
        """Remove the completion record, then what it named. An attempt that it didn't name is somebody else's."""
        texts = self._texts([name])
        if not texts:
            return False
        self._ahead.pop(name, None)
        self._listed.clear()
        self._remove([f"{name}/zarr.json"])
        text = texts[name]
        if text is not None:
            self._remove(f"{name}/{text['attempt']}/{each}" for each in text["objects"])
        return True

    def _remove(self, names: Iterable[str]) -> None:
        paths = [self._path(name) for name in names]
        for path in paths:
            with suppress(FileNotFoundError):
                self._fs.rm_file(path)


def _attributes(content: bytes) -> dict[str, Any]:
    """The attributes of a group. Raises _DamagedError if they can't be read or are not what was written."""
    try:
        attributes: dict[str, Any] = json.loads(content)["attributes"]
        stated = attributes.pop("attributes_sha256", None)  # absent where the name decides the text
        if stated is not None and stated != digest_of(attributes):
            raise ValueError("the digest of its attributes is wrong")
        if stated is None and "attempt" in attributes:
            raise ValueError("the digest of its attributes is gone")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"zarr.json can't be read: {error}") from None
    return attributes


def _spans(said: Mapping[str, Any], rows: slice | None) -> list[Span]:
    arrays = {name: Rows.from_attributes(stated) for name, stated in said["arrays"].items()}
    count = int(said["clock"]["count"])
    if {count} != {stated.shape[0] for stated in arrays.values()}:
        raise ValueError(f"rows of {', '.join(arrays)} and of the clock are not of one number")
    start, stop, _ = (rows or slice(None)).indices(count)
    return [
        Span(name, stated, *((0, count) if name == "tick" else (start, max(start, stop))))
        for name, stated in arrays.items()
    ]


def _track(said: Mapping[str, Any], arrays: Mapping[str, Any], rows: slice | None) -> Track:
    clock = Clock.from_attributes(said["clock"], arrays.get("tick"))
    start, stop, _ = (rows or slice(None)).indices(len(clock))
    held = clock if rows is None else clock.rows(start, max(start, stop))
    return Track.checked(arrays["values"], arrays["valid"], held)


def _is_generation(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) >= 6


def _old(infos: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all objects of an attempt are old; False where the file system doesn't say."""
    times = []
    for info in infos:
        at = next(
            (
                info[field]
                for field in ("LastModified", "last_modified", "updated", "created", "mtime")
                if info.get(field)
            ),
            None,
        )
        if isinstance(at, str):
            at = datetime.fromisoformat(at)
        if isinstance(at, datetime):
            at = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
        if not isinstance(at, int | float):
            return False
        times.append(float(at))
    return max(times) <= time.time() - QUIET_SECONDS
