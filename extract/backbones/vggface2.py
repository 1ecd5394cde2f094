"""ResNet-50 and SE-ResNet-50 in their VGGFace2 form: 224-px faces to 2048 numbers.

Cao et al. 2018 (arXiv:1710.08092), trained in Caffe, so unlike torchvision's ResNet-50 in three things: the first
1 x 1 convolution of a stage has the stride, not the 3 x 3 one; the first pooling pads nothing and rounds up; pictures
are BGR of 0 to 255 minus the mean (91.4953, 103.8827, 131.0912), which the spec says in RGB and forward turns. Squeeze
and excitation (Hu et al. 2018, arXiv:1709.01507) is `conv4` and `conv5` of each block.

Modules bear the names of github.com/cydonia999/VGGFace2-pytorch, whose checkpoints (resnet50_ft, resnet50_scratch,
senet50_ft, senet50_scratch, as .pkl, from its Google Drive) are pickles of numpy arrays. Where you trust them:

    arrays = pickle.load(open("senet50_ft_weight.pkl", "rb"), encoding="latin1")
    state = {name: torch.from_numpy(array).contiguous() for name, array in arrays.items()}
    safetensors.torch.save_file(state, "senet50_ft.safetensors")

Their 8631 classes (`fc`) are left out. Names checked, real weights never loaded here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from extract.backbones.own_names import with_counters, without_heads
from extract.backbones.registry import Request

_BLOCKS = (3, 4, 6, 3)
_EXPANSION = 4
_SQUEEZE = 16


def build_resnet50(request: Request) -> nn.Module:
    """ResNet-50 with random weights: pixels [N, 3, S, S] to embeddings [N, 2048]."""
    del request  # one network, one output
    return ResNet50(excited=False)


def build_senet50(request: Request) -> nn.Module:
    """SE-ResNet-50 with random weights: pixels [N, 3, S, S] to embeddings [N, 2048]."""
    del request  # one network, one output
    return ResNet50(excited=True)


class ResNet50(nn.Module):
    """[N, 3, S, S], RGB -> [N, 2048], the mean over the last maps. S is 224 in training, 32 or more here."""

    def __init__(self, excited: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        width = 64
        for stage, blocks in enumerate(_BLOCKS):
            inner = 64 << stage
            first = _Bottleneck(width, inner, 1 if stage == 0 else 2, excited)
            width = inner * _EXPANSION
            rest = (_Bottleneck(width, inner, 1, excited) for _ in range(blocks - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
        self._initialise()

    def _initialise(self) -> None:
        """Random weights with which activations neither die nor grow (He et al. 2015); trained ones replace them."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, _Bottleneck):
                nn.init.constant_(module.bn3.weight, 1 / math.sqrt(sum(_BLOCKS)))
        nn.init.constant_(self.bn1.weight, 1 / 128)  # brings the range of 0 to 255 down

    def own_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Without the classes of training, whatever their number; Caffe counted no batches."""
        return with_counters(without_heads(state, ("fc",)), self)

    def forward(self, pixels: Tensor) -> Tensor:
        if min(pixels.shape[2:]) < 32:
            raise ValueError(f"vggface2 wants pictures of 32 px or more, got {list(pixels.shape)}; 224 px are usual")
        maps = self.maxpool(F.relu(self.bn1(self.conv1(pixels.flip(1)))))
        for stage in range(len(_BLOCKS)):
            maps = self.get_submodule(f"layer{stage + 1}")(maps)
        out: Tensor = maps.mean((2, 3))
        return out


class _Bottleneck(nn.Module):
    """1 x 1 with the stride, 3 x 3, 1 x 1; excited: its maps weighed by what they hold on the whole."""

    def __init__(self, before: int, inner: int, stride: int, excited: bool) -> None:
        super().__init__()
        after = inner * _EXPANSION
        self.conv1 = nn.Conv2d(before, inner, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.excited = excited
        if excited:
            self.conv4 = nn.Conv2d(after, after // _SQUEEZE, 1)
            self.conv5 = nn.Conv2d(after // _SQUEEZE, after, 1)
        self.downsample: nn.Module | None = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, maps: Tensor) -> Tensor:
        out = F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(maps))))))
        out = self.bn3(self.conv3(out))
        if self.excited:
            squeezed = F.relu(self.conv4(out.mean((2, 3), keepdim=True)))  # [N, C / 16, 1, 1]
            out = out * self.conv5(squeezed).sigmoid()
        return F.relu(out + (maps if self.downsample is None else self.downsample(maps)))
