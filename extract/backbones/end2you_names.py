"""The encoder's parameters in checkpoints of end2you and of the paper's code, which is built on it.

Both keep it as `model.network`, blocks and pools by turns: `model.network.0.0.weight` is the first convolution, `.0.1`
its batch norm, `model.network.2.0` the next. Around it stand `audio_model.`, and `rnn.` and `linear.` beside it in
networks trained as a whole (github.com/end2you/end2you, commit 94240ca, end2you/models/audio/).

end2you has a zhao19 trained on RECOLA (docs/pretrained_models/README.md, commit a34b01b; names/zhao19_recola.json),
without a digest, so it is given by path. It holds a score as a numpy number beside its tensors, which a safe reader
refuses; convert it once, where you trust it:

    held = torch.load("zhao19.pth.tar", map_location="cpu", weights_only=False)["state_dict"]
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in held.items()}, "zhao19.safetensors")

Its emo16 is another network than the paper's (no batch norm, other activations) and is refused by its names. The names
were read from the code; the files were never seen here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_ENCODER = re.compile(r"(?:audio_model\.)?model\.network\.(?=[0-9]+\.[01]\.)")
_BESIDE = ("rnn.", "linear.")


def encoder_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`0.0.weight`, `0.1.weight`, .. of such a checkpoint; any other names as they are."""
    if not any(_ENCODER.match(name) for name in state):
        return dict(state)
    return {_ENCODER.sub("", name, count=1): part for name, part in state.items() if not name.startswith(_BESIDE)}
