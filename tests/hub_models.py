"""Hub models made tiny: config.json and preprocessor_config.json of every family that has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZE_PX = 32
_SPEECH: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 23,
    "conv_dim": [11] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_CONFIGS: dict[str, dict[str, Any]] = {
    "transformers-vision": {
        "model_type": "vit", "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 19, "image_size": SIZE_PX, "patch_size": 8,
    },
    "timm": {
        "architecture": "resnet18", "num_classes": 7,
        "pretrained_cfg": {"input_size": [3, SIZE_PX, SIZE_PX], "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    },
    **{family: {"model_type": family, **_SPEECH} for family in ("wav2vec2", "hubert", "wavlm")},
    "whisper": {
        "model_type": "whisper", "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2,
        "encoder_ffn_dim": 23, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 19,
        "vocab_size": 53, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 4,
    },
    "ast": {
        "model_type": "audio-spectrogram-transformer", "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 23,
    },
}  # fmt: skip
_PREPROCESSORS: dict[str, dict[str, Any]] = {
    "transformers-vision": {
        "size": {"height": SIZE_PX, "width": SIZE_PX}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
    },
    **{family: {"sampling_rate": 16000, "do_normalize": True} for family in ("wav2vec2", "hubert", "wavlm")},
    "whisper": {"sampling_rate": 16000, "feature_size": 80, "n_fft": 400, "hop_length": 160, "chunk_length": 30},
    "ast": {
        "sampling_rate": 16000, "num_mel_bins": 128, "max_length": 1024, "do_normalize": True, "mean": -4.5, "std": 4.1,
    },
}  # fmt: skip
FAMILIES = tuple(_CONFIGS)


def write_description(family: str, folder: Path) -> Path:
    """What a network of the family is built from, without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_CONFIGS[family]), encoding="utf-8")
    if family in _PREPROCESSORS:
        (folder / "preprocessor_config.json").write_text(json.dumps(_PREPROCESSORS[family]), encoding="utf-8")
    return folder
