"""A checkpoint's tensors under the names that a network has, by rules that are written down.

Whatever no rule speaks of stays in, so that the loader lists it as unexpected: nothing unknown is passed over. The
rules for every file (`module.`, one level of nesting) are in state.py; these are for some networks.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def without_heads(state: Mapping[str, Tensor], heads: tuple[str, ...]) -> dict[str, Tensor]:
    """Without the parameters of the modules in `heads`: what the network was trained for, and no embedding needs."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(tuple(f"{h}." for h in heads))}


def with_counters(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """With the batch counters of batch norms, 0 where a file has none: only training reads them.

    Files made before torch 0.4.1, and those converted from Caffe, hold no `num_batches_tracked`.
    """
    counters = {n: t.new_zeros(()) for n, t in network.state_dict().items() if n.endswith(".num_batches_tracked")}
    return {**counters, **state}
