"""All sequences of a split in memory: one ragged tensor a modality, and batches cut from it by index arithmetic.

    values["video"]   [R, D]      clip 0 rows | clip 1 rows | clip 2 rows ...        R rows over all clips
    offsets           [C + 1]     0           | T0          | T0 + T1     ...

No worker process, no file and no copy a window: a batch is one gather a modality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.catalogue import Catalogue
from cache.clock import Clock
from cache.store import Store, StoreError
from fuse.align import Sequence, sequence
from fuse.settings import AlignmentSettings
from fuse.windows import window_starts


@dataclass(frozen=True, eq=False)
class Batch:
    """B windows of L rows. features {modality: [B, L, D]}, valid {modality: [B, L]}, inside [B, L] = a row of the clip.

    labels [B, L, 2] and labels_valid [B, L]; rows [B, L] are positions in the bank (of outside rows, the last one's).
    """

    features: dict[str, Tensor]
    valid: dict[str, Tensor]
    inside: Tensor
    labels: Tensor
    labels_valid: Tensor
    rows: Tensor


@dataclass(frozen=True, eq=False)
class Windows:
    """Which windows there are: first row and clip of each, both int64 [W], and their length L."""

    starts: Tensor
    clips: Tensor
    length: int

    def __len__(self) -> int:
        return len(self.starts)


class Bank:
    """The aligned sequences of a split on one device."""

    def __init__(self, sequences: list[Sequence], device: torch.device | str = "cpu") -> None:
        if not sequences:
            raise ValueError("a bank wants 1 sequence or more")
        lengths = [len(sequence.clock) for sequence in sequences]
        empty = [sequence.clip for sequence, length in zip(sequences, lengths, strict=True) if not length]
        if empty:
            raise ValueError(f"clips without a single label row can't be in a bank: {', '.join(empty)}")
        self.device = torch.device(device)
        self.clips = [sequence.clip for sequence in sequences]
        self.groups = [sequence.group for sequence in sequences]
        self.clocks: list[Clock] = [sequence.clock for sequence in sequences]
        self.offsets: NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths)])
        self._ends = torch.from_numpy(self.offsets[1:]).to(self.device)
        names = sequences[0].features
        self.values = {name: self._joined([s.features[name] for s in sequences]) for name in names}
        self.valid = {name: self._joined([s.valid[name] for s in sequences]) for name in names}
        self.published = [sequence.published for sequence in sequences]
        self._reaches = [sequence.reaches_seconds for sequence in sequences]
        self.labels = self._joined([s.labels for s in sequences])
        self.labels_valid = self._joined([s.labels_valid for s in sequences])

    @property
    def rows(self) -> int:
        """R, over all clips."""
        return int(self.offsets[-1])

    @property
    def widths(self) -> dict[str, int]:
        """{modality: D}."""
        return {name: tensor.shape[1] for name, tensor in self.values.items()}

    def middles(self, clip: int) -> Clock:
        """When the middle of the labels that each row of a clip sums up happens."""
        return self.clocks[clip].shifted(self._reaches[clip])

    def rows_of(self, clips: list[int]) -> Tensor:
        """bool [R]: the rows of the given clips."""
        mask = torch.zeros(self.rows, dtype=torch.bool, device=self.device)
        for clip in clips:
            mask[self.offsets[clip] : self.offsets[clip + 1]] = True
        return mask

    def windows(self, clips: list[int], length: int, hop: int, offsets: NDArray[np.int64] | None = None) -> Windows:
        """The windows of the given clips. offsets [C of them]: where each clip's grid begins, 0 by default."""
        starts, owners = [], []
        for i, clip in enumerate(clips):
            rows = int(self.offsets[clip + 1] - self.offsets[clip])
            begun = window_starts(rows, length, hop, 0 if offsets is None else int(offsets[i]))
            starts.append(begun + self.offsets[clip])
            owners.append(np.full(len(begun), clip, np.int64))
        return Windows(
            torch.from_numpy(np.concatenate(starts)).to(self.device),
            torch.from_numpy(np.concatenate(owners)).to(self.device),
            length,
        )

    def batch(self, windows: Windows, which: Tensor) -> Batch:
        """Cut the windows numbered `which` [B]: one gather a modality."""
        rows = windows.starts[which].unsqueeze(1) + torch.arange(windows.length, device=self.device)  # [B, L]
        ends = self._ends[windows.clips[which]].unsqueeze(1)
        inside = rows < ends
        rows = torch.minimum(rows, ends - 1)
        flat, shape = rows.flatten(), rows.shape
        return Batch(
            features={n: v.index_select(0, flat).unflatten(0, shape) for n, v in self.values.items()},
            valid={n: v.index_select(0, flat).view(shape) & inside for n, v in self.valid.items()},
            inside=inside,
            labels=self.labels.index_select(0, flat).unflatten(0, shape),
            labels_valid=self.labels_valid.index_select(0, flat).view(shape) & inside,
            rows=rows,
        )

    def _joined(self, parts: list[NDArray[np.generic]]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts)).to(self.device)


def load_bank(
    store: Store,
    catalogue: Catalogue,
    split: str,
    features: dict[str, str],
    settings: AlignmentSettings,
    device: torch.device | str = "cpu",
) -> Bank:
    """The labelled clips of a split, aligned. Raises StoreError if there are none or their features disagree."""
    for feature in features.values():
        catalogue.recipe_of(feature)
    records = [record for record in catalogue if record.split == split and record.labels is not None]
    if not records:
        splits = sorted({record.split for record in catalogue if record.labels is not None})
        raise StoreError(
            f"store {store.location} has no labelled clip in split {split!r}; it has {', '.join(splits) or 'none'}"
        )
    return Bank([sequence(store, record, features, settings) for record in records], device)
