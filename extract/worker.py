r"""One worker: a clip's media in, one track a feature out, decoded once whatever the number of features.

    decode ---- Frames ----> face features, in batches of rows ----> Track
       \------- Samples ---> window, hop ---> voice features -------> Track

Decoding runs ahead in a thread of its own, by a bounded number of pieces. What is held of a clip is one
batch of pictures, one window of sound, and the finished rows.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache.clock import Clock
from cache.track import Track
from extract.backbones.weights import build_backbone, digest_of_state
from extract.clips import Clip
from extract.cores import usable_cores
from extract.decode import Frames, Samples, View, decode
from extract.recipe import FeatureSettings
from extract.settings import ExecutionSettings

_PIECES_AHEAD = 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


@dataclass(frozen=True, eq=False)
class Extraction:
    """What came of one clip: tracks by feature name, the picture's clock (None if it wasn't decoded), frames seen."""

    tracks: dict[str, Track]
    frames: Clock | None


class Stopped(Exception):
    """The worker was told to stop while a clip was under way; the clip is not done."""


class Worker:
    """The built backbones of some features on one device; several clips may be extracted at once, in threads.

    Raises ValueError if a backbone can't be built.
    """

    def __init__(self, features: Mapping[str, FeatureSettings], execution: ExecutionSettings) -> None:
        self._features = dict(features)
        self._execution = execution
        self._stopping = threading.Event()
        self._device = choose_device(execution.device)
        if self._device.type == "cpu":
            torch.set_num_threads(1)  # clips share the cores; two threads in one forward would fight with decoding
            _keep_freed_memory()
        self._modules = {
            name: build_backbone(feature).to(self._device).to(memory_format=_layout(feature))
            for name, feature in features.items()
        }

    @property
    def clips_at_once(self) -> int:
        """How many clips to extract at the same time: one a core on a CPU, where a forward has one thread."""
        return self._execution.clips_at_once or (usable_cores() if self._device.type == "cpu" else 2)

    def stop(self) -> None:
        """Let clips under way end at their next piece, with Stopped."""
        self._stopping.set()

    def provenance(self, feature: str) -> dict[str, Any]:
        """With what a feature is computed: said beside the numbers, never part of their key."""
        import av
        import torchvision

        return {
            "device": str(self._device),
            "weights_digest": digest_of_state(self._modules[feature]),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "av": av.__version__,
            "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"])),
            "decoder": "software",
        }

    def extract(self, clip: Clip, names: list[str]) -> Extraction:
        """Decode a clip once and compute the named features of it. Raises Stopped after `stop`.

        A clip without sound gets audio tracks of 0 rows: looked for, not there. Raises MediaError.
        """
        visual = {n: _VisualRows(clip, n, self._features[n], self._forward(n)) for n in names if self._is_visual(n)}
        audio = {n: _AudioRows(n, self._features[n], self._forward(n)) for n in names if not self._is_visual(n)}
        rates = {self._features[n].spec.rate_hz for n in audio}
        assert len(rates) <= 1, "settings allow one rate of sound"
        pieces = decode(
            clip.media,
            views=[rows.view for rows in visual.values()],
            rate_hz=next(iter(rates), None),
            threads=self._execution.decode_threads,
        )
        clocks: list[Clock] = []
        with _read_ahead(pieces) as ahead:
            for piece in ahead:
                if self._stopping.is_set():
                    raise Stopped
                if isinstance(piece, Frames):
                    clocks.append(piece.clock)
                    for seen in visual.values():
                        seen.add(piece)
                else:
                    for heard in audio.values():
                        heard.add(piece)
        frames = _joined(clocks) if clocks else None
        tracks = {name: rows.finish(frames) for name, rows in visual.items() if frames is not None}
        tracks |= {name: rows.finish() for name, rows in audio.items()}
        return Extraction(tracks, frames)

    def _is_visual(self, name: str) -> bool:
        return self._features[name].spec.modality == "visual"

    def _forward(self, name: str) -> _Forward:
        feature = self._features[name]
        normalise = (feature.spec.mean, feature.spec.std) if self._is_visual(name) else None
        return _Forward(self._modules[name], self._device, self._execution.batch_rows, normalise)


class _Forward:
    """Rows of input through one network, a batch at a time."""

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        batch_rows: int,
        normalise: tuple[tuple[float, ...], tuple[float, ...]] | None,
    ) -> None:
        self.batch_rows = batch_rows
        self._module, self._device = module, device
        self._normalise = [torch.tensor(part, device=device).view(1, 3, 1, 1) for part in normalise or ()]

    @torch.inference_mode()
    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 pixels [N, S, S, 3] or float32 windows [N, W] to float32 [N, D]."""
        tensor = torch.from_numpy(np.require(rows, requirements=["C", "W"])).to(self._device)
        if self._normalise:
            mean, std = self._normalise
            # [N, 3, S, S], which in memory stays [N, S, S, 3]: the layout that convolutions like best.
            tensor = (tensor.permute(0, 3, 1, 2).float() / 255 - mean) / std
        out: NDArray[np.float32] = self._module(tensor).float().cpu().numpy()
        return out


class _VisualRows:
    """The rows of one visual feature of one clip, one a frame."""

    def __init__(self, clip: Clip, name: str, feature: FeatureSettings, forward: _Forward) -> None:
        crop = feature.resolved_crop
        self.view = View(crop.region, crop.size_px, clip.side)
        self._name, self._dtype, self._forward = name, feature.dtype, forward
        self._waiting: list[NDArray[np.uint8]] = []
        self._done: list[NDArray[np.float32]] = []

    def add(self, frames: Frames) -> None:
        self._waiting.append(frames.pixels[self.view])
        if sum(map(len, self._waiting)) >= self._forward.batch_rows:
            self._flush()

    def finish(self, clock: Clock) -> Track:
        if self._waiting:
            self._flush()
        return Track.of(np.concatenate(self._done), clock, dtype=self._dtype, name=self._name)

    def _flush(self) -> None:
        rows, step = np.concatenate(self._waiting), self._forward.batch_rows
        self._done += [self._forward(rows[i : i + step]) for i in range(0, len(rows), step)]
        self._waiting = []


class _AudioRows:
    """The rows of one audio feature of one clip: row i looks at the window centred on sample first + i * hop.

    first sample                                              end of sound
        |---------|---------|---------|---- hop ----|---------|
        row 0     1         2    [....window....]             no row here
    Where a window reaches beyond the sound it holds silence there.
    """

    def __init__(self, name: str, feature: FeatureSettings, forward: _Forward) -> None:
        self._name, self._dtype, self._forward = name, feature.dtype, forward
        self._rate_hz, self._window, self._hop = feature.spec.rate_hz, feature.spec.window_samples, feature.hop_samples
        self._first: int | None = None
        self._buffer = np.zeros(0, np.float32)  # starts where the next row's window starts
        self._sound_samples = 0
        self._done: list[NDArray[np.float32]] = []

    def add(self, samples: Samples) -> None:
        if self._first is None:
            self._first = samples.start
            self._buffer = np.zeros(self._window // 2, np.float32)
        self._sound_samples += len(samples.values)
        self._buffer = np.concatenate([self._buffer, samples.values])
        if len(self._buffer) >= self._window + self._hop * self._forward.batch_rows:
            self._flush()

    def finish(self) -> Track:
        rows_wanted = -(-self._sound_samples // self._hop)
        if self._first is not None:
            self._buffer = np.concatenate([self._buffer, np.zeros(self._window + self._hop, np.float32)])
            self._flush()
        width_known = self._done or [self._forward(np.zeros((1, self._window), np.float32))[:0]]
        values = np.concatenate(width_known)[:rows_wanted]
        clock = Clock.regular(
            Fraction(self._hop, self._rate_hz), len(values), Fraction(self._first or 0, self._rate_hz)
        )
        return Track.of(values, clock, dtype=self._dtype, name=self._name)

    def _flush(self) -> None:
        if len(self._buffer) < self._window:
            return
        # No more windows than whole hops are here: with a hop longer than the window, the next row may start beyond.
        hops = len(self._buffer) // self._hop
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, self._window)[:: self._hop][:hops]
        step = self._forward.batch_rows
        self._done += [self._forward(windows[i : i + step]) for i in range(0, len(windows), step)]
        self._buffer = self._buffer[len(windows) * self._hop :]


def _keep_freed_memory() -> None:
    """Tell glibc to keep the memory of activations for the next batch.

    By default each large block goes back to the kernel and is faulted in again, page by page: measured on
    zhao19, 3 to 8 ms of system time a row beside 4 ms of arithmetic. Other C libraries are left alone.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_ARENA_MAX, 1)  # the arenas of other threads are of 64 MB pieces and can't keep a large block
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _layout(feature: FeatureSettings) -> torch.memory_format:
    return torch.channels_last if feature.spec.modality == "visual" else torch.contiguous_format


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU or the CPU; anything else is taken at its word. Raises ValueError if it isn't there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} can't be used ({str(error).splitlines()[0]}); try auto or cpu") from None
    return device


@contextmanager
def _read_ahead(pieces: Generator[Frames | Samples]) -> Iterator[Iterator[Frames | Samples]]:
    """Run a generator in a thread, a few pieces ahead; its errors come out where its pieces do. Closes it."""
    line: queue.Queue[Frames | Samples | BaseException | None] = queue.Queue(_PIECES_AHEAD)
    stop = threading.Event()

    def put(item: Frames | Samples | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                line.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            with closing(pieces):
                for piece in pieces:
                    if not put(piece):
                        return
            put(None)
        except BaseException as error:
            put(error)

    def consume() -> Iterator[Frames | Samples]:
        while (item := line.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()


def _joined(clocks: list[Clock]) -> Clock:
    ticks = np.concatenate([clock.all_ticks() for clock in clocks])
    return Clock.explicit(ticks, clocks[0].tick_seconds)
