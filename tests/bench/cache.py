"""How fast the cache loads and writes, against one raw file of the same bytes; its files and bytes.

    python tests/bench/cache.py [--clips 600] [--rounds 7] [--folder DIR]

600 clips of 1,000 rows of 512 float16: features of a residual network on moving pictures. Each side returns all rows
in memory, its checksums verified.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # before this folder, whose cache.py would hide the package

import numpy as np
from alternate import Comparison, alternate, as_json, machine
from numpy.typing import NDArray

from cache.catalogue import Catalogue, Record
from cache.clock import Clock
from cache.key import TrackKey, digest_of
from cache.store import Store, open_store
from cache.track import Track
from cache.zarr_store import create_store

ROWS, WIDTH = 1000, 512
RECIPE: dict[str, Any] = {"backbone": "resnet18", "weights": {"random": 0}, "dtype": "float16", "size_px": 64}
CLOCK = Clock.regular(Fraction(1, 25), ROWS)


def features(rows: int) -> NDArray[np.float16]:
    """[rows, 512] what resnet18 with random weights says of a drifting gradient under noise."""
    import torch
    import torchvision

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None).eval()
    net.fc = torch.nn.Identity()
    x, y = torch.meshgrid(torch.linspace(0, 6, 64), torch.linspace(0, 6, 64), indexing="ij")
    made = []
    with torch.inference_mode():
        for start in range(0, rows, 50):
            t = torch.arange(start, min(start + 50, rows))[:, None, None] / 25
            pictures = torch.stack(
                [torch.sin(x + a * t) * torch.cos(y - b * t) for a, b in ((1, 2), (2, 1), (3, 5))], 1
            )
            made.append(net(pictures + 0.1 * torch.randn(pictures.shape)))
    return torch.cat(made).numpy().astype(np.float16)


def tracks(clips: int) -> list[Track]:
    """Stretches of the features, each with gains of its own so that no two clips hold the same bytes."""
    rng = np.random.default_rng(1)
    seen = features(3 * ROWS).astype(np.float32)
    made = []
    for _ in range(clips):
        start = int(rng.integers(len(seen) - ROWS))
        valid = np.ones(ROWS, bool)
        valid[(lost := int(rng.integers(ROWS))) : lost + 20] = False
        made.append(Track.of(seen[start : start + ROWS] * rng.uniform(0.8, 1.25, WIDTH), CLOCK, valid))
    return made


def key_of(clip: int) -> TrackKey:
    return TrackKey(digest_of(RECIPE), digest_of({"clip": clip}), f"clip-{clip:04d}")


def fill(store: Store, made: list[Track]) -> float:
    begun = time.perf_counter()
    for clip, track in enumerate(made):
        store.write(key_of(clip), track, recipe=RECIPE, provenance={"device": "cpu"})
    return time.perf_counter() - begun


def write_raw(folder: Path, made: list[Track]) -> float:
    """A file a clip by the rule of the store: written aside, synced, renamed, the folder synced."""
    folder.mkdir()
    aside = folder / "aside"
    begun = time.perf_counter()
    for clip, track in enumerate(made):
        with aside.open("xb", buffering=0) as file:
            file.write(track.values.data)
            os.fsync(file.fileno())
        os.rename(aside, folder / str(clip))
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return time.perf_counter() - begun


def forget(folder: Path) -> None:
    """Take a folder's files, or one file, out of the page cache."""
    os.sync()
    for path in [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]:
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def loading(path: Path, clips: int, *, cold: bool, used: bool) -> Callable[[], float]:
    """Load everything. used: and go through it once, as alignment does, clip after clip as float32."""

    def raw() -> list[Any]:
        whole = np.fromfile(path, np.float16).reshape(clips, ROWS, WIDTH)
        return list(whole)

    def store() -> list[Any]:
        opened = open_store(path)
        return [opened.read(key_of(clip)).values for clip in range(clips)]

    load = raw if path.suffix == ".raw" else store

    def side() -> float:
        gc.collect()
        if cold:
            forget(path)
            forget(path.with_name(path.name + ".parts"))
        begun = time.perf_counter()
        held = load()
        if used:
            for values in held:
                values.astype(np.float32)
        took = time.perf_counter() - begun
        assert len(held) == clips
        return took

    return side


def writing(folder: Path, suffix: str, made: list[Track]) -> Callable[[], float]:
    def side() -> float:
        os.sync()  # what the side before left to write and to delete
        place = folder / f"written{suffix}"
        if suffix == ".raw":
            took = write_raw(place, made)
        else:
            store = create_store(place, "zstd") if suffix == ".zstd.zarr" else open_store(place, writable=True)
            took = fill(store, made)
        for left in folder.glob(f"written{suffix}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return took

    return side


def windows(path: Path, clips: int, rng: np.random.Generator) -> Callable[[], float]:
    """200 windows of 256 rows at random."""
    picks = [(int(rng.integers(clips)), int(rng.integers(ROWS - 256))) for _ in range(200)]

    def side() -> float:
        if path.suffix == ".raw":
            mapped = np.memmap(path, np.float16, "r", shape=(clips, ROWS, WIDTH))
            begun = time.perf_counter()
            for clip, start in picks:
                np.array(mapped[clip, start : start + 256])
            return time.perf_counter() - begun
        store = open_store(path)
        begun = time.perf_counter()
        for clip, start in picks:
            store.read(key_of(clip), slice(start, start + 256))
        return time.perf_counter() - begun

    return side


def catalogued(store: Store, clips: int) -> Callable[[], float]:
    labels = Track.of(np.zeros((ROWS, 2)), CLOCK, dtype="float32")
    catalogue = Catalogue(store)
    for clip in range(clips):
        key = key_of(clip)
        catalogue.update(
            Record(key.clip, f"{clip}.mp4", key.source, "train", f"s{clip % 60}", 40.0, labels, {"video": key.recipe})
        )

    def side() -> float:
        begun = time.perf_counter()
        assert len(Catalogue(store)) == clips
        return time.perf_counter() - begun

    return side


def sizes(folder: Path, name: str) -> tuple[int, int]:
    files = [path for top in folder.glob(f"{name}*") for path in (top.rglob("*") if top.is_dir() else [top])]
    stats = [path.stat() for path in files if path.is_file()]
    return len(stats), sum(stat.st_size for stat in stats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder, clips, rounds = Path(name), chosen.clips, chosen.rounds
        made = tracks(clips)
        raw = folder / "x.raw"
        with raw.open("wb") as file:
            for track in made:
                file.write(track.values.data)
        stores = {"zarr": folder / "x.zarr", "zarr with zstd": folder / "x.zstd.zarr", "hdf5": folder / "x.h5"}
        fill(create_store(stores["zarr"], None), made)
        fill(create_store(stores["zarr with zstd"], "zstd"), made)
        fill(open_store(stores["hdf5"], writable=True), made)
        raw_bytes = raw.stat().st_size
        for side, path in stores.items():
            files, held = sizes(folder, path.name)
            print(f"  {side:28s} {files} files, {held / raw_bytes:.4f} of the raw bytes")
        found: list[Comparison] = []
        for what, cold, used, aim in (
            ("load warm", False, False, 0.8),
            ("load warm and use", False, True, None),
            ("load cold", True, False, None),
        ):
            sides = {"raw": loading(raw, clips, cold=cold, used=used)}
            sides |= {side: loading(path, clips, cold=cold, used=used) for side, path in stores.items()}
            found += alternate(what, "raw", sides, {"zarr": aim}, rounds)
        parts = {"raw": raw, **stores}
        found += alternate(
            "200 windows of 256 rows", "raw",
            {side: windows(path, clips, np.random.default_rng(2)) for side, path in parts.items()}, None, rounds,
        )  # fmt: skip
        some = made[: max(1, clips // 6)]
        suffixes = {"raw": ".raw", "zarr": ".zarr", "zarr with zstd": ".zstd.zarr", "hdf5": ".h5"}
        found += alternate(
            f"write {len(some)} clips, synced", "raw",
            {side: writing(folder, suffix, some) for side, suffix in suffixes.items()}, {"zarr": 0.4}, rounds,
        )  # fmt: skip
        for comparison in found[-3:]:
            seconds = sorted(comparison.seconds)[rounds // 2]
            print(f"  {comparison.name:40s} {len(some) * ROWS / seconds:10,.0f} rows/s")
        made.clear()
        alternate(
            f"catalogue of {clips} clips", "zarr",
            {side: catalogued(open_store(stores[side], writable=True), clips) for side in ("zarr", "hdf5")},
            rounds=rounds,
        )  # fmt: skip
    print(as_json(found))


if __name__ == "__main__":
    main()
