"""eGeMAPS v02: 88 functionals of a voice (Eyben et al. 2016) over 4 s of sound, computed by openSMILE.

A window of 4 s every 100 ms, as in the baselines of AVEC 2017 to 2019 (Ringeval et al.). openSMILE is an extra
(`pip install 'duet-affect[opensmile]'`) under audEERING's research licence: private, research and educational use;
commercial products need a licence of their own. It runs on the CPU, some 60 ms a window, so a hop of 100 ms takes
half of the sound's length on one core; `hop_seconds` says otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from extract.backbones.registry import SOUND_RATE_HZ, Request

_WIDTH = 88


def build(request: Request) -> nn.Module:
    """Windows of sound [N, 64000] in [-1, 1] to [N, 88]. Raises ValueError if openSMILE is not installed."""
    del request  # one network, one size
    return Egemaps()


class Egemaps(nn.Module):
    """[N, W] -> [N, 88], in openSMILE's order. Several threads may call it: each call has an openSMILE of its own."""

    def __init__(self) -> None:
        super().__init__()
        try:
            import opensmile
        except ImportError as error:
            raise ValueError(
                f"egemaps needs openSMILE ({error}), which is under a research licence; if that suits you: "
                "pip install 'duet-affect[opensmile]'"
            ) from None
        self._smile: Any = opensmile.Smile(
            feature_set=opensmile.FeatureSet.eGeMAPSv02, feature_level=opensmile.FeatureLevel.Functionals
        )

    def forward(self, sound: Tensor) -> Tensor:
        rows = [torch.from_numpy(self._smile(window, SOUND_RATE_HZ)).reshape(_WIDTH) for window in sound.cpu().numpy()]
        return torch.stack(rows).to(sound.device) if rows else sound.new_zeros(0, _WIDTH)
