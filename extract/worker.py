r"""One worker: a clip's media in, one track a feature out, decoded once whatever the number of features.

    media --- frames ---> faces, squares ---> visual features, in batches of rows ---> Track
         \--- sound ----> windows or chunks -> audio features -----------------------> Track
    crops --- pictures -> squares ----------> visual features -----------------------> Track

Decoding and finding faces run ahead in a thread of their own, by a bounded number of pieces. What is held of a clip
is a few batches of squares, one window of sound, and the finished rows.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cache.clock import Clock
from cache.track import Track
from extract.backbones.identity import identify
from extract.backbones.weights import build_backbone, digest_of_state
from extract.clips import Clip
from extract.cores import usable_cores
from extract.decode import Damage, Frames, Hearing, Look, Samples, decode, frame_clock
from extract.faces.align import cut
from extract.faces.face import Face
from extract.faces.passing import FacePass
from extract.faces.settings import FaceSettings
from extract.forward import Forward
from extract.images import look_through, numbered
from extract.jobs import Stopped
from extract.picture import Picture, Pixels, View
from extract.recipe import FACES, FeatureSettings, Identity
from extract.settings import ExecutionSettings
from extract.sight import VisualRows
from extract.sound import rows_of
from extract.views import cut_fixed

Piece = Frames | Samples | Damage

_PIECES_AHEAD = 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


@dataclass(frozen=True, eq=False)
class Extraction:
    """What came of one clip.

    tracks: by feature name; `faces` among them where faces were looked for. frames: when the clip's frames are, which
    is where labels that are one a frame belong; None if no picture was looked at. seen: pictures decoded. notes: what
    a reader of the catalogue should know.
    """

    tracks: dict[str, Track]
    frames: Clock | None
    seen: int
    notes: tuple[str, ...] = ()


class Worker:
    """The built backbones of some features on one device; several clips may be extracted at once, in threads.

    faces: how features with `crop.region: face` find it. Raises ValueError if a backbone can't be built.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureSettings],
        execution: ExecutionSettings,
        faces: FaceSettings | None = None,
        identities: Mapping[str, Identity] | None = None,
    ) -> None:
        device = choose_device(execution.device)
        if device.type == "cpu":
            torch.set_num_threads(1)  # clips share the cores; two threads in one forward would fight with decoding
            _keep_freed_memory()
        known = dict(identities or {name: identify(feature) for name, feature in features.items()})
        modules = {
            name: build_backbone(feature, known[name]).to(device).to(memory_format=_layout(feature))
            for name, feature in features.items()
        }
        detector_file = None
        if faces is not None and faces.weights is not None:
            from extract.faces.weights import detector_file as find

            detector_file = find(faces.weights)
        self._kit = _Kit(dict(features), faces, known, modules, device, execution, detector_file)
        if detector_file is not None:
            self._kit.detector()  # what can't be loaded is known before the first clip

    @property
    def clips_at_once(self) -> int:
        """How many clips to extract at the same time: one a core on a CPU, where a forward has one thread."""
        return self._kit.execution.clips_at_once or (usable_cores() if self._kit.device.type == "cpu" else 2)

    def stop(self) -> None:
        """Let clips under way end at their next piece, with Stopped."""
        self._kit.stopping.set()

    def provenance(self, feature: str) -> dict[str, Any]:
        """With what a feature is computed: said beside the numbers, never part of their key."""
        import av

        said = {"av": av.__version__, "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"]))}
        if feature == FACES:
            return said | {"device": "cpu", "opencv": version("opencv-python-headless"), "decoder": "software"}
        import torchvision

        return said | {
            "device": str(self._kit.device),
            "weights_digest": digest_of_state(self._kit.modules[feature]),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "decoder": "software",
        }

    def extract(
        self,
        clip: Clip,
        names: list[str],
        places: Track | None = None,
        on_piece: Callable[[int], None] = lambda frames: None,
    ) -> Extraction:
        """Decode a clip once and compute the named features of it. Raises Stopped after `stop`.

        places: the `faces` track of an earlier run, instead of looking for faces again. on_piece: told how many
        frames were decoded so far. A clip without sound gets audio tracks of 0 rows: looked for, not there. Raises
        MediaError.
        """
        return _ClipRun(self._kit, clip, names, places).run(on_piece)


@dataclass(frozen=True, eq=False)
class _Kit:
    """What every clip is worked on with."""

    features: Mapping[str, FeatureSettings]
    faces: FaceSettings | None
    identities: Mapping[str, Identity]
    modules: Mapping[str, nn.Module]
    device: torch.device
    execution: ExecutionSettings
    detector_file: Path | None
    stopping: threading.Event = field(default_factory=threading.Event)

    def detector(self) -> Callable[[Picture], list[Face]]:
        """A new detector: they can't be shared between threads, and cost little."""
        from extract.faces.detect import Detector

        assert self.faces is not None
        assert self.detector_file is not None
        return Detector(self.detector_file, self.faces)


class _ClipRun:
    """One clip on its way through the worker."""

    def __init__(self, kit: _Kit, clip: Clip, names: list[str], places: Track | None) -> None:
        self._kit, self._clip = kit, clip
        settings = kit.features
        visual = [name for name in names if name != FACES and settings[name].spec.modality == "visual"]
        in_crops = [name for name in visual if self._sees_face(name) and self._faces_method == "crops"]
        self._film = {name: self._visual(name) for name in visual if name not in in_crops}
        self._crops = {name: self._visual(name) for name in in_crops}
        self._voices = {
            name: rows_of(name, settings[name], self._forward(name))
            for name in names
            if name != FACES and settings[name].spec.modality == "audio"
        }
        self._hearings = {name: _hearing(settings[name]) for name in self._voices}
        self._wants_places = FACES in names
        self._faces = self._face_pass(places)
        self._film_clocks: list[Clock] = []
        self._crop_clocks: list[Clock] = []
        self._notes: list[str] = []
        self._damaged = 0
        self._seen = 0

    @property
    def _faces_method(self) -> str | None:
        return self._kit.faces.method if self._kit.faces is not None else None

    def run(self, on_piece: Callable[[int], None]) -> Extraction:
        tracks: dict[str, Track] = {}
        film: Clock | None = None
        for pieces in self._film_and_sound():
            self._consume(pieces, self._film, self._film_clocks, on_piece)
        if self._film_clocks:
            film = self._finish_film(tracks)
        frames = film
        if self._crops:
            frames = self._clock_of_crops(film)
            assert self._clip.images is not None
            pieces = look_through(self._clip.images, frames, _shrink(self._crops))
            self._consume(pieces, self._crops, self._crop_clocks, on_piece)
            tracks |= {name: rows.finish(frames) for name, rows in self._crops.items()}
        tracks |= {name: rows.finish() for name, rows in self._voices.items()}
        return Extraction(tracks, frames, self._seen, tuple(self._notes))

    # ---------------------------------------------------------------- what is asked for

    def _sees_face(self, name: str) -> bool:
        return self._kit.features[name].resolved_crop.region == "face"

    def _visual(self, name: str) -> VisualRows:
        kit = self._kit
        feature, identity = kit.features[name], kit.identities[name]
        view = View(feature.resolved_crop.region, feature.size_px(identity))
        return VisualRows(name, feature, view, self._forward(name))

    def _forward(self, name: str) -> Forward:
        kit = self._kit
        identity = kit.identities[name]
        normalise = None
        if kit.features[name].spec.modality == "visual":
            assert identity.mean is not None
            assert identity.std is not None
            normalise = (identity.mean, identity.std)
        return Forward(kit.modules[name], kit.device, kit.execution.batch_rows, normalise)

    def _face_pass(self, places: Track | None) -> FacePass | None:
        """How the face is found in the film, if a feature wants it there."""
        faces, clip = self._kit.faces, self._clip
        wanted = self._wants_places or any(rows.view.region == "face" for rows in self._film.values())
        if faces is None or faces.method == "crops" or not wanted:
            return None
        if faces.method == "box":
            if clip.faces is None:
                raise ValueError(f"the corpus gives no boxes for {clip.name}; use faces.method: detect")
            return FacePass(faces, clip.side, clip.faces)
        if places is not None:
            return FacePass(faces, clip.side, np.asarray(places.values, np.float32))
        return FacePass(faces, clip.side, self._kit.detector())

    # ---------------------------------------------------------------- decoding

    def _film_and_sound(self) -> Iterator[Generator[Piece]]:
        """What is to be decoded: the film with its sound in one pass, where they are one file."""
        clip = self._clip
        look = self._look if self._film or self._faces is not None else None
        hearings = list(dict.fromkeys(self._hearings.values()))
        heard = clip.sound or clip.media
        threads = self._kit.execution.decode_threads
        if look is not None and clip.images is not None and not clip.images.cropped:
            clock = clip.images.clock or self._media_clock()
            yield look_through(clip.images, clock, look)
            look = None
        if look is not None and clip.media is None:
            raise ValueError(
                f"{clip.name} has no video, only crops of the face" if clip.images else f"{clip.name} has no video"
            )
        if look is not None and clip.media is not None:
            together = hearings if heard == clip.media else []
            yield decode(clip.media, look=look, hearings=together, threads=threads)
            hearings = [] if together else hearings
        if hearings and heard is not None:
            yield decode(heard, hearings=hearings, threads=threads)

    def _look(self, picture: Picture | None, seconds: Fraction) -> dict[View, Pixels | None]:
        face = self._faces.look(picture, seconds) if self._faces is not None else None
        settings = self._kit.faces
        kept: dict[View, Pixels | None] = {}
        for view in _views(self._film):
            if picture is None:
                kept[view] = None
            elif view.region != "face":
                kept[view] = cut_fixed(picture, view, self._clip.side)
            else:
                assert settings is not None
                kept[view] = None if face is None else cut(picture, face, view.size_px, settings.margin)
        return kept

    def _consume(
        self,
        pieces: Generator[Piece],
        rows_of_frames: Mapping[str, VisualRows],
        clocks: list[Clock],
        on_piece: Callable[[int], None],
    ) -> None:
        with _read_ahead(pieces) as ahead:
            for piece in ahead:
                if self._kit.stopping.is_set():
                    raise Stopped
                if isinstance(piece, Frames):
                    clocks.append(piece.clock)
                    self._seen += len(piece.clock)
                    for rows in rows_of_frames.values():
                        rows.add(piece.cut[rows.view])
                elif isinstance(piece, Samples):
                    for name, voice in self._voices.items():
                        if self._hearings[name] == piece.hearing:
                            voice.add(piece)
                else:
                    self._damaged += piece.pictures
                    self._notes += [
                        f"{count} damaged {what} left out"
                        for count, what in ((piece.pictures, "pictures"), (piece.sounds, "packets of sound"))
                        if count
                    ]
                on_piece(self._seen)

    # ---------------------------------------------------------------- clocks

    def _finish_film(self, tracks: dict[str, Track]) -> Clock:
        """The film's tracks, on the clock of all its frames: those that could not be decoded are marked."""
        clock = _joined(self._film_clocks)
        valid = None
        if self._faces is not None:
            marks, found, valid = self._faces.finish(clock)
            if self._wants_places:
                tracks[FACES] = Track.of(marks, clock, found, dtype="float32", name=FACES)
        for name, rows in self._film.items():
            tracks[name] = rows.finish(clock, valid if rows.view.region == "face" else None)
        full = self._media_clock() if self._damaged and self._clip.media is not None else clock
        if len(full) <= len(clock) or not _holds(full, clock):
            return clock
        for name in self._film:  # not the places: the next run finds them by its own frames, which are these
            tracks[name] = _spread(tracks[name], full, name)
        return full

    def _media_clock(self) -> Clock:
        if self._clip.media is None:
            raise ValueError(f"nothing says when the pictures of {self._clip.name} happen; set corpus.rate_hz")
        return frame_clock(self._clip.media)

    def _clock_of_crops(self, film: Clock | None) -> Clock:
        """When crops happen: they are numbered by the frames of the media."""
        images = self._clip.images
        if images is None or not images.cropped:
            raise ValueError(f"the corpus has no crops of {self._clip.name}; use another faces.method")
        clock = images.clock or film or self._media_clock()
        last = max(numbered(images.folder), default=images.first) - images.first + 1
        if last > len(clock):
            self._notes.append(f"crops go to row {last}, the media has {len(clock)} frames")
            return clock.resized(last)
        return clock


def _hearing(feature: FeatureSettings) -> Hearing:
    return Hearing(feature.spec.rate_hz, feature.resolved_channels)


def _views(rows: Mapping[str, VisualRows]) -> list[View]:
    return list(dict.fromkeys(one.view for one in rows.values()))


def _shrink(rows: Mapping[str, VisualRows]) -> Look:
    """Of a crop everything is seen."""
    views = _views(rows)

    def look(picture: Picture | None, seconds: Fraction) -> dict[View, Pixels | None]:
        del seconds
        return {view: None if picture is None else picture.rgb(view.size_px, view.size_px) for view in views}

    return look


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
def _read_ahead(pieces: Generator[Piece]) -> Iterator[Iterator[Piece]]:
    """Run a generator in a thread, a few pieces ahead; its errors come out where its pieces do. Closes it."""
    line: queue.Queue[Piece | BaseException | None] = queue.Queue(_PIECES_AHEAD)
    stop = threading.Event()

    def put(item: Piece | BaseException | None) -> bool:
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

    def consume() -> Iterator[Piece]:
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


def _holds(full: Clock, part: Clock) -> bool:
    """Whether every row of `part` is a row of `full`, to the tick."""
    return full.tick_seconds == part.tick_seconds and bool(np.isin(part.all_ticks(), full.all_ticks()).all())


def _spread(track: Track, full: Clock, name: str) -> Track:
    """The track on a clock that has more rows than it; those are not valid."""
    at = np.searchsorted(full.all_ticks(), track.clock.all_ticks())
    values = np.full((len(full), track.width), np.nan, track.values.dtype)
    valid: NDArray[np.bool_] = np.zeros(len(full), bool)
    values[at], valid[at] = track.values, track.valid
    return Track.of(values, full, valid, dtype=track.values.dtype.name, name=name)
