"""Which hidden states of a transformer make a row: what `layer` may say. Imports no torch: settings may ask.

    0        what the first of L layers is given
    1 .. L   what leaves each layer, before a final norm
`last` is the network's own output: L, after the final norm of networks that have one. `mean` is the mean of 1 to L,
`mean:A-B` that of A to B, both included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class HiddenStates:
    """The mean of hidden states first to last, both included. last: None = L, the number of layers."""

    first: int
    last: int | None

    @classmethod
    def named(cls, layer: str | None) -> HiddenStates | None:
        """What a feature's `layer` means; None, as `last`, is the network's output. Raises ValueError for nonsense."""
        if layer in (None, "last"):
            return None
        if layer == "mean":
            return cls(1, None)
        found = re.fullmatch(r"([0-9]{1,3})|mean:([0-9]{1,3})-([0-9]{1,3})", layer or "")
        if not found:
            raise ValueError(
                f"layer is {layer!r}; wanted last, mean, the number of a layer, or mean:A-B, e.g. mean:7-9"
            )
        first, last = (int(found[1]),) * 2 if found[1] else (int(found[2]), int(found[3]))
        if first > last:
            raise ValueError(f"layer is {layer!r}, from a later layer to an earlier one; try mean:{last}-{first}")
        return cls(first, last)

    def among(self, layers: int) -> range:
        """Their numbers in a network of so many layers. Raises ValueError if it has fewer."""
        last = layers if self.last is None else self.last
        if last > layers:
            raise ValueError(f"layer {last} is asked for; the network has {layers}: wanted 0 to {layers}")
        return range(self.first, last + 1)
