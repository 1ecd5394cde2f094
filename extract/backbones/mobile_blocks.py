"""The blocks of MobileFaceNet and its relatives: depthwise convolutions between 1 x 1 ones, with PReLU.

Chen et al. 2018 (arXiv:1804.07573), after MobileNetV2's inverted residuals. Modules bear the names of the public
PyTorch versions (`conv_dw`, `project`, `model`), so that their checkpoints load.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Widths:
    """Channels of a block: coming in, between, going out."""

    before: int
    inner: int
    after: int


class Linear(nn.Module):
    """Convolution without bias, batch norm."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1, pad: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2 if pad else 0, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(after)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(maps))
        return out


class Activated(Linear):
    """Convolution without bias, batch norm, PReLU of each channel."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__(before, after, kernel, stride, groups)
        self.prelu = nn.PReLU(after)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.prelu(super().forward(maps))
        return out


class Bottleneck(nn.Module):
    """1 x 1, depthwise 3 x 3, linear 1 x 1; with stride 2 at half the places, else, if residual, added to its input."""

    def __init__(self, widths: Widths, stride: int = 1, residual: bool = False) -> None:
        super().__init__()
        self.conv = Activated(widths.before, widths.inner)
        self.conv_dw = Activated(widths.inner, widths.inner, 3, stride, groups=widths.inner)
        self.project = Linear(widths.inner, widths.after)
        self._residual = residual

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.project(self.conv_dw(self.conv(maps)))
        return maps + out if self._residual else out


class Residuals(nn.Module):
    """Residual bottlenecks, one after the other."""

    def __init__(self, blocks: list[Widths]) -> None:
        super().__init__()
        self.model = nn.Sequential(*(Bottleneck(widths, residual=True) for widths in blocks))

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.model(maps)
        return out


def initialise(network: nn.Module) -> None:
    """Random weights with which activations neither die nor grow through some twenty layers (He et al. 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, Residuals):
            for block in module.model.modules():
                if isinstance(block, Bottleneck):
                    nn.init.constant_(block.project.bn.weight, 0.3)  # a dozen of them add up
