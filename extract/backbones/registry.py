"""Which backbones there are. A light file: settings read it, and it imports no torch.

To add a backbone: write a function `build(request) -> torch.nn.Module` in a file of this folder and add a line
below. A visual module takes pixels [N, 3, S, S], float in [0, 1] then normalised by the spec's mean and std, and
returns embeddings [N, D]. An audio module takes sound in [-1, 1] at rate_hz: `Windows` [N, W], one row each,
returning [N, D]; `Chunks` [N, S], returning [N, T, D], a row every hop.

A module may also have: `network`, the part whose parameters a checkpoint names (else it is the module itself);
`own_names(state)`, which gives a checkpoint's tensors under the network's own names, by rule: a prefix taken off, the
heads of another task left out (what it returns must fit exactly); `loaded`, True where the builder has put the weights
of request.folder in place itself; `prepare()`, called once the weights are in place.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SOUND_RATE_HZ = 16000


@dataclass(frozen=True)
class Windows:
    """Row i looks at one window of sound centred on sample first + i * hop."""

    window_samples: int
    hop_samples: int


@dataclass(frozen=True)
class Chunks:
    """A network that reads long sound, here in overlapping chunks, and gives a row every hop_samples.

        |-context-|------- body -------|-context-|
                                 |-context-|------- body -------|-context-|
    Only rows whose centre lies in a body are kept. Row i of what the network is given is centred on sample
    (first_centre_half_samples + 2 * i * hop_samples) / 2. shortest_samples: what the network needs to give one row.
    fixed: the network takes chunks of exactly body + 2 * context samples; shorter sound is followed by silence.
    """

    hop_samples: int
    first_centre_half_samples: int
    shortest_samples: int
    body_samples: int
    context_samples: int
    fixed: bool = False

    def __post_init__(self) -> None:
        if self.body_samples % self.hop_samples or self.context_samples % self.hop_samples:
            raise ValueError(
                f"chunks have a body of {self.body_samples} and a context of {self.context_samples} samples; "
                f"both want whole hops of {self.hop_samples}"
            )


@dataclass(frozen=True)
class Published:
    """A checkpoint that somebody published: one file at an address, known by its digest.

    commercial: False where its licence forbids commercial use, which must then be accepted in the settings.
    names: the file in `names/` that lists its parameters. remedy: how to convert it where the file holds more than
    tensors, which are refused. tried: whether the published file itself went through this loader; where it did not,
    its names were checked at most, and the listing says so.
    """

    url: str
    sha256: str
    licence: str
    commercial: bool
    names: str | None = None
    remedy: str | None = None
    tried: bool = False


@dataclass(frozen=True)
class Request:
    """What a builder is asked for: model is what stands after the colon; folder holds a hub model's files.

    folder is None for random weights, and where there is no hub model. Otherwise the builder loads the weights itself
    and says `loaded`, or makes the network alone and leaves them to the loader, which reads the folder's safetensors.
    interpolate_positions: positions that were learned for another size of picture are stretched to this one.
    """

    model: str
    layer: str | None = None
    pool: str = "mean"
    folder: Path | None = None
    interpolate_positions: bool = False


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone before it is built.

    builder: "module:function", imported when needed. model: whether `family:model` names one. has_weights: False for a
    fixed transform. takes: the options of a feature that it heeds. pools: the ways of `pool` it knows. last_has_places:
    its last layer has places to pool, so that `pool` needs no `layer`. published: its public checkpoints by name.
    names: the file in `names/` that lists the parameters of one that is given by path. library_weights: `weights:
    default` means those that the library names. hub: `weights: hub` fetches a repository at a `revision`. extra: the
    optional dependency it needs. commercial: False where the licence of the code itself forbids commercial use, which
    must then be accepted in the settings. revision: raise it whenever the code gives other numbers; it enters the key.
    width, parameters: D and how many are learned, None where only the built network can say. size_px, mean, std: of its
    pictures (None: a hub model's own files say). sound: how it reads sound.
    """

    modality: Literal["visual", "audio"]
    builder: str
    licence: str
    source: str
    has_weights: bool = True
    model: Literal["required", "optional", "none"] = "none"
    takes: frozenset[str] = frozenset()
    pools: frozenset[str] = frozenset({"mean", "grid"})
    last_has_places: bool = False
    published: Mapping[str, Published] = field(default_factory=dict)
    names: str | None = None
    library_weights: bool = False
    hub: bool = False
    extra: str | None = None
    commercial: bool = True
    revision: int = 1
    width: int | None = None
    parameters: int | None = None
    size_px: int | None = 112
    mean: tuple[float, float, float] | None = IMAGENET_MEAN
    std: tuple[float, float, float] | None = IMAGENET_STD
    rate_hz: int = SOUND_RATE_HZ
    sound: Windows | Chunks | None = None


# wav2vec 2.0 and its kin: 20 s, of which 16 count; rows see 400 samples every 320.
SPEECH_CHUNKS = Chunks(
    hop_samples=320,
    first_centre_half_samples=399,
    shortest_samples=400,
    body_samples=256_000,
    context_samples=32_000,
)

BACKBONES: dict[str, BackboneSpec] = {
    "torchvision": BackboneSpec(
        "visual",
        "extract.backbones.vision:build",
        licence="BSD-3-Clause (code); each set of weights has its own terms",
        source="torchvision.models, any classifier by name: torchvision:resnet18",
        model="required",
        takes=frozenset({"layer", "pool"}),
        library_weights=True,
    ),
    "transformers-vision": BackboneSpec(
        "visual",
        "extract.backbones.transformers_vision:build",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="ViT, DINOv2, CLIP, SigLIP and others, through transformers: transformers-vision:facebook/dinov2-base",
        model="required",
        takes=frozenset({"layer", "pool", "interpolate_positions"}),
        pools=frozenset({"mean", "grid", "cls", "pooler"}),
        last_has_places=True,
        hub=True,
        size_px=None,
        mean=None,
        std=None,
    ),
    "timm": BackboneSpec(
        "visual",
        "extract.backbones.timm_vision:build",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="any network of timm, from its hub repository: timm:timm/resnet18.a1_in1k",
        model="required",
        takes=frozenset({"layer", "pool"}),
        hub=True,
        extra="timm",
        size_px=None,
        mean=None,
        std=None,
    ),
    "facenet": BackboneSpec(
        "visual",
        "extract.backbones.inception_resnet_v1:build",
        licence="MIT (facenet-pytorch); trained on VGGFace2, whose own terms are for you to check",
        source="InceptionResnetV1, Szegedy et al. 2016, as ported by github.com/timesler/facenet-pytorch",
        published={
            "vggface2": Published(
                # The address is in facenet-pytorch's README, the digest that of the same file as
                # huggingface.co/py-feat/facenet keeps it (commit 8dd79278b755ee24ee9922619122df8a2b80b787, LFS).
                "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt",
                "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
                licence="MIT",
                commercial=True,
                names="facenet.json",
            )
        },
        width=512,
        parameters=23_482_624,
        size_px=160,
        mean=(0.5, 0.5, 0.5),
        std=(128 / 255, 128 / 255, 128 / 255),
    ),
    "mobilefacenet": BackboneSpec(
        "visual",
        "extract.backbones.mobilefacenet:build",
        licence="no weights supplied; those of face alignment came without terms",
        source="Chen et al. 2018, as in Karas et al. 2022; weights: github.com/cunjian/pytorch_face_landmark, by path",
        names="mobilefacenet.json",
        width=512,
        parameters=937_344,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    "vggface2-resnet50": BackboneSpec(
        "visual",
        "extract.backbones.vggface2:build_resnet50",
        licence="no weights supplied; Oxford's VGGFace2 models have their own terms",
        source="Cao et al. 2018; weights: github.com/cydonia999/VGGFace2-pytorch, converted, by path",
        names="vggface2_resnet50.json",
        width=2048,
        parameters=23_508_032,
        size_px=224,
        mean=(131.0912 / 255, 103.8827 / 255, 91.4953 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
    ),
    "vggface2-senet50": BackboneSpec(
        "visual",
        "extract.backbones.vggface2:build_senet50",
        licence="no weights supplied; Oxford's VGGFace2 models have their own terms",
        source="Cao et al. 2018; weights: github.com/cydonia999/VGGFace2-pytorch, converted, by path",
        names="vggface2_senet50.json",
        width=2048,
        parameters=26_039_024,
        size_px=224,
        mean=(131.0912 / 255, 103.8827 / 255, 91.4953 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
    ),
    "minifasnet": BackboneSpec(
        "visual",
        "extract.backbones.minifasnet:build",
        licence="Apache-2.0",
        source="MiniFASNetV2 of github.com/minivision-ai/Silent-Face-Anti-Spoofing",
        published={
            "anti-spoofing": Published(
                "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing/raw/"
                "b6d5f04ad78778917853b25c778acef6d5626d15/resources/anti_spoof_models/2.7_80x80_MiniFASNetV2.pth",
                "a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0",
                licence="Apache-2.0",
                commercial=True,
                names="minifasnet.json",
                tried=True,
            )
        },
        width=128,
        parameters=434_176,
        size_px=80,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
    ),
    "hog": BackboneSpec(
        "visual",
        "extract.backbones.hog:build",
        licence="none needed",
        source="histograms of oriented gradients, Dalal and Triggs 2005; 12 orientations, cells of 8 pixels or hog:N",
        model="optional",
        has_weights=False,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    ),
    "zhao19": BackboneSpec(
        "audio",
        "extract.backbones.zhao19:build",
        licence="no weights supplied",
        source="Zhao, Mao, Chen 2019, 1-D CNN branch, as used by Karas et al. 2022",
        names="zhao19_recola.json",
        width=128,
        parameters=87_360,
        sound=Windows(window_samples=10560, hop_samples=640),
    ),
    "emo18": BackboneSpec(
        "audio",
        "extract.backbones.emo:build_emo18",
        licence="no weights supplied",
        source="Tzirakis, Zhang, Schuller 2018, as narrowed by Karas et al. 2022",
        width=64,
        parameters=15_824,
        sound=Windows(window_samples=10560, hop_samples=640),
    ),
    "emo16": BackboneSpec(
        "audio",
        "extract.backbones.emo:build_emo16",
        licence="no weights supplied",
        source="Trigeorgis et al. 2016, as changed by Karas et al. 2022",
        width=40,
        parameters=65_040,
        sound=Windows(window_samples=10560, hop_samples=640),
    ),
    "wav2vec2": BackboneSpec(
        "audio",
        "extract.backbones.speech_encoders:build_wav2vec2",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="wav2vec 2.0, Baevski et al. 2020, through transformers: wav2vec2:facebook/wav2vec2-base-960h",
        model="required",
        takes=frozenset({"layer"}),
        hub=True,
        sound=SPEECH_CHUNKS,
    ),
    "hubert": BackboneSpec(
        "audio",
        "extract.backbones.speech_encoders:build_hubert",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="HuBERT, Hsu et al. 2021, through transformers: hubert:facebook/hubert-large-ls960-ft",
        model="required",
        takes=frozenset({"layer"}),
        hub=True,
        sound=SPEECH_CHUNKS,
    ),
    "wavlm": BackboneSpec(
        "audio",
        "extract.backbones.speech_encoders:build_wavlm",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="WavLM, Chen et al. 2022, through transformers: wavlm:microsoft/wavlm-base-plus",
        model="required",
        takes=frozenset({"layer"}),
        hub=True,
        sound=SPEECH_CHUNKS,
    ),
    "whisper": BackboneSpec(
        "audio",
        "extract.backbones.whisper:build",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="the encoder of Whisper, Radford et al. 2023, through transformers: whisper:openai/whisper-base",
        model="required",
        takes=frozenset({"layer"}),
        hub=True,
        sound=Chunks(  # 30 s, of which 26 count
            hop_samples=320,
            first_centre_half_samples=0,
            shortest_samples=480_000,
            body_samples=416_000,
            context_samples=32_000,
            fixed=True,
        ),
    ),
    "ast": BackboneSpec(
        "audio",
        "extract.backbones.spectrogram_transformer:build",
        licence="Apache-2.0 (code); each repository has its own terms",
        source="AST, Gong et al. 2021, through transformers: ast:MIT/ast-finetuned-audioset-10-10-0.4593",
        model="required",
        takes=frozenset({"layer"}),
        hub=True,
        sound=Chunks(  # 10.3 s, of which 8.3 count; spectra in groups of 16 every 10, each of 400 samples every 160
            hop_samples=1600,
            first_centre_half_samples=2799,
            shortest_samples=400,
            body_samples=132_800,
            context_samples=16_000,
        ),
    ),
    "egemaps": BackboneSpec(
        "audio",
        "extract.backbones.egemaps:build",
        licence="audEERING research licence of openSMILE: private, research and educational use only",
        source="eGeMAPS v02 functionals of 4 s, Eyben et al. 2016, through openSMILE",
        has_weights=False,
        extra="opensmile",
        commercial=False,
        width=88,
        sound=Windows(window_samples=64_000, hop_samples=1600),
    ),
    "logmel": BackboneSpec(
        "audio",
        "extract.backbones.logmel:build",
        licence="none needed",
        source="log-mel filter bank, 64 bands, 25 ms Hann windows",
        has_weights=False,
        width=64,
        sound=Windows(window_samples=400, hop_samples=160),
    ),
    "prosody": BackboneSpec(
        "audio",
        "extract.backbones.prosody:build",
        licence="none needed",
        source="pitch, loudness, rate and brightness of one second: functionals after eGeMAPS, Eyben et al. 2016",
        has_weights=False,
        revision=2,
        width=35,
        sound=Windows(window_samples=16000, hop_samples=640),
    ),
}


def spec_of(backbone: str) -> BackboneSpec:
    """The spec behind `family` or `family:model`. Raises ValueError that lists what is known and what is nearest."""
    family, _, model = backbone.partition(":")
    if family not in BACKBONES:
        near = difflib.get_close_matches(family, BACKBONES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"backbone {backbone!r} is not known; there are {', '.join(BACKBONES)}{hint}")
    spec = BACKBONES[family]
    if (spec.model == "required" and not model) or (spec.model == "none" and model):
        wanted = f"{family}:MODEL ({spec.source})" if spec.model == "required" else family
        raise ValueError(f"backbone {backbone!r} is incomplete or too long; wanted {wanted}")
    return spec
