"""InceptionResnetV1 (FaceNet): 160-px faces to 512 numbers of length 1.

Szegedy et al. 2016 (arXiv:1602.07261, section 3.2) with the layers of David Sandberg's facenet, as Karas et al. 2022
use it. Modules bear the names of github.com/timesler/facenet-pytorch, so that its checkpoints load: for VGGFace2
20180402-114759-vggface2.pt, whose 8631 `logits` are left out. Pictures are (value * 255 - 127.5) / 128 in the spec.
Names checked, real weights never loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from extract.backbones.own_names import with_counters, without_heads
from extract.backbones.registry import Request

_NORM_EPS = 0.001  # of the TensorFlow original
_SMALLEST_PX = 75  # below it, the last maps have no places


def build(request: Request) -> nn.Module:
    """The network with random weights: pixels [N, 3, S, S] to embeddings [N, 512]."""
    del request  # one network, one output
    return InceptionResnetV1()


class InceptionResnetV1(nn.Module):
    """[N, 3, S, S] -> [N, 512], each row of Euclidean length 1. S is 160 in training, 75 or more here."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = _Conv(3, 32, 3, stride=2)
        self.conv2d_2a = _Conv(32, 32, 3)
        self.conv2d_2b = _Conv(32, 64, 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = _Conv(64, 80, 1)
        self.conv2d_4a = _Conv(80, 192, 3)
        self.conv2d_4b = _Conv(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = _Reduction(
            branch0=_Conv(256, 384, 3, stride=2),
            branch1=nn.Sequential(_Conv(256, 192, 1), _Conv(192, 192, 3, padding=1), _Conv(192, 256, 3, stride=2)),
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = _Reduction(
            branch0=nn.Sequential(_Conv(896, 256, 1), _Conv(256, 384, 3, stride=2)),
            branch1=nn.Sequential(_Conv(896, 256, 1), _Conv(256, 256, 3, stride=2)),
            branch2=nn.Sequential(_Conv(896, 256, 1), _Conv(256, 256, 3, padding=1), _Conv(256, 256, 3, stride=2)),
        )
        self.repeat_3 = nn.Sequential(*(_block8() for _ in range(5)))
        self.block8 = _block8(last=True)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=_NORM_EPS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Without the classes of training, whatever their number."""
        return with_counters(without_heads(state, ("logits",)), self)

    def forward(self, pixels: Tensor) -> Tensor:
        if min(pixels.shape[2:]) < _SMALLEST_PX:
            raise ValueError(
                f"facenet wants pictures of {_SMALLEST_PX} px or more, got {list(pixels.shape)}; leave crop.size_px out"
            )
        maps = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(pixels)))
        maps = self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(maps))))  # [N, 256, s, s]
        maps = self.mixed_6a(self.repeat_1(maps))  # [N, 896, s / 2, s / 2]
        maps = self.mixed_7a(self.repeat_2(maps))  # [N, 1792, s / 4, s / 4]
        maps = self.block8(self.repeat_3(maps))
        return F.normalize(self.last_bn(self.last_linear(maps.mean((2, 3)))))


class _Conv(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self,
        before: int,
        after: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(after, eps=_NORM_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(maps)))


class _Branches(nn.Module):
    """branch0, branch1 .. side by side, their maps one after the other."""

    def __init__(self, branches: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)
        self._names = tuple(branches)

    def side_by_side(self, maps: Tensor) -> list[Tensor]:
        return [self.get_submodule(name)(maps) for name in self._names]


class _Residual(_Branches):
    """The branches, mixed by a 1 x 1 convolution and scaled, are added to what came in."""

    def __init__(self, scale: float, width: int, mixed: int, last: bool = False, **branches: nn.Module) -> None:
        super().__init__(branches)
        self.conv2d = nn.Conv2d(mixed, width, 1)
        self._scale, self._last = scale, last

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.conv2d(torch.cat(self.side_by_side(maps), 1)) * self._scale + maps
        return out if self._last else F.relu(out)


class _Reduction(_Branches):
    """The branches beside the maximum of every 3 x 3, all of them at half the places."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([*self.side_by_side(maps), F.max_pool2d(maps, 3, 2)], 1)


def _block35() -> _Residual:
    return _Residual(
        0.17,
        256,
        96,
        branch0=_Conv(256, 32, 1),
        branch1=nn.Sequential(_Conv(256, 32, 1), _Conv(32, 32, 3, padding=1)),
        branch2=nn.Sequential(_Conv(256, 32, 1), _Conv(32, 32, 3, padding=1), _Conv(32, 32, 3, padding=1)),
    )


def _block17() -> _Residual:
    across, down = _Conv(128, 128, (1, 7), padding=(0, 3)), _Conv(128, 128, (7, 1), padding=(3, 0))
    long = nn.Sequential(_Conv(896, 128, 1), across, down)
    return _Residual(0.10, 896, 256, branch0=_Conv(896, 128, 1), branch1=long)


def _block8(last: bool = False) -> _Residual:
    """The very last one is neither scaled nor followed by a ReLU."""
    across, down = _Conv(192, 192, (1, 3), padding=(0, 1)), _Conv(192, 192, (3, 1), padding=(1, 0))
    long = nn.Sequential(_Conv(1792, 192, 1), across, down)
    return _Residual(1.0 if last else 0.20, 1792, 384, last, branch0=_Conv(1792, 192, 1), branch1=long)
