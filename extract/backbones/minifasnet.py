"""MiniFASNetV2: 80-px faces to 128 numbers; MobileFaceNet's blocks, pruned, trained to tell a face from its picture.

github.com/minivision-ai/Silent-Face-Anti-Spoofing (Apache-2.0), checkpoint 2.7_80x80_MiniFASNetV2.pth: its names begin
with `module.`, and its three classes (`prob`) are left out. It saw faces with much around them: the detected box made
2.7 times as large. Pictures are BGR of 0 to 255: the spec's std of 1 / 255 makes the range, forward turns the colours.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from extract.backbones.mobile_blocks import Activated, Bottleneck, Linear, Residuals, Widths, initialise
from extract.backbones.own_names import with_counters, without_heads
from extract.backbones.registry import Request

_PLACES = 5  # the last convolution sees the whole picture
_CONV_3 = (13, 13, 13, 13)  # channels between, of each block, after pruning
_CONV_4 = (231, 52, 26, 77, 26, 26)
_CONV_5 = (26, 26)


def build(request: Request) -> nn.Module:
    """The network with random weights: pixels [N, 3, 80, 80] to embeddings [N, 128]."""
    del request  # one network, one output
    return MiniFASNet()


class MiniFASNet(nn.Module):
    """[N, 3, 80, 80], RGB -> [N, 128], what the classes are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Activated(3, 32, 3, stride=2)
        self.conv2_dw = Activated(32, 32, 3, groups=32)
        self.conv_23 = Bottleneck(Widths(32, 103, 64), stride=2)
        self.conv_3 = Residuals([Widths(64, inner, 64) for inner in _CONV_3])
        self.conv_34 = Bottleneck(Widths(64, 231, 128), stride=2)
        self.conv_4 = Residuals([Widths(128, inner, 128) for inner in _CONV_4])
        self.conv_45 = Bottleneck(Widths(128, 308, 128), stride=2)
        self.conv_5 = Residuals([Widths(128, inner, 128) for inner in _CONV_5])
        self.conv_6_sep = Activated(128, 512)
        self.conv_6_dw = Linear(512, 512, _PLACES, groups=512, pad=False)
        self.linear = nn.Linear(512, 128, bias=False)
        self.bn = nn.BatchNorm1d(128)
        initialise(self)
        # Random weights only: the range of 0 to 255 is brought down, which trained ones have learned.
        nn.init.constant_(self.conv1.bn.weight, 1 / 128)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Without the classes of training."""
        return with_counters(without_heads(state, ("prob",)), self)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(pixels.flip(1)))))  # [N, 64, 20, 20]
        maps = self.conv_6_sep(self.conv_5(self.conv_45(self.conv_4(self.conv_34(maps)))))  # [N, 512, 5, 5]
        if maps.shape[2:] != (_PLACES, _PLACES):
            raise ValueError(f"minifasnet wants pictures of 80 px, got {list(pixels.shape)}; leave crop.size_px out")
        out: Tensor = self.bn(self.linear(self.conv_6_dw(maps).flatten(1)))
        return out
