"""MobileFaceNet: 112-px faces to 512 numbers, from 0.94 million parameters.

Chen et al. 2018 (arXiv:1804.07573), in the form of Karas et al. 2022 (github.com/VincentKaras/abaw3_rnn_attn): trained
on face alignment, of whose layers the last two (to 136 coordinates, `output_layer.linear` and `output_layer.bn`) are
cut off. The embedding is what goes into them: a depthwise 7 x 7 convolution over all 512 maps.

The checkpoint is mobilefacenet_model_best.pth.tar of github.com/cunjian/pytorch_face_landmark, from its Google Drive.
Its parameters lie under `state_dict`, from where they are taken. If it is refused for what lies beside them, then,
where you trust it:

    state = torch.load("mobilefacenet_model_best.pth.tar", map_location="cpu", weights_only=False)["state_dict"]
    safetensors.torch.save_file(state, "mobilefacenet.safetensors")

Pictures are (value - 0.5) / 0.5, RGB, as the paper's code gives them; the alignment demo fed BGR in [0, 1].
Names checked, real weights never loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from extract.backbones.mobile_blocks import Activated, Bottleneck, Linear, Residuals, Widths, initialise
from extract.backbones.own_names import with_counters, without_heads
from extract.backbones.registry import Request

_PLACES = 7  # the last convolution sees the whole face


def build(request: Request) -> nn.Module:
    """The network with random weights: pixels [N, 3, 112, 112] to embeddings [N, 512]."""
    del request  # one network, one output
    return MobileFaceNet()


class MobileFaceNet(nn.Module):
    """[N, 3, 112, 112] -> [N, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Activated(3, 64, 3, stride=2)
        self.conv2_dw = Activated(64, 64, 3, groups=64)
        self.conv_23 = Bottleneck(Widths(64, 128, 64), stride=2)
        self.conv_3 = Residuals([Widths(64, 128, 64)] * 4)
        self.conv_34 = Bottleneck(Widths(64, 256, 128), stride=2)
        self.conv_4 = Residuals([Widths(128, 256, 128)] * 6)
        self.conv_45 = Bottleneck(Widths(128, 512, 128), stride=2)
        self.conv_5 = Residuals([Widths(128, 256, 128)] * 2)
        self.conv_6_sep = Activated(128, 512)
        self.output_layer = nn.ModuleDict({"conv_6_dw": Linear(512, 512, _PLACES, groups=512, pad=False)})
        initialise(self)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Without the layers to the coordinates of landmarks."""
        trunk = without_heads(state, ("output_layer.linear", "output_layer.bn"))
        return with_counters(trunk, self)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(pixels))))  # [N, 64, 28, 28]
        maps = self.conv_6_sep(self.conv_5(self.conv_45(self.conv_4(self.conv_34(maps)))))  # [N, 512, 7, 7]
        if maps.shape[2:] != (_PLACES, _PLACES):
            raise ValueError(
                f"mobilefacenet wants pictures of 112 px, got {list(pixels.shape)}; leave crop.size_px out"
            )
        out: Tensor = self.output_layer["conv_6_dw"](maps)
        return out.flatten(1)
