"""Real clips, good and odd, in one go through the command: each is done or is one line, and the rest is not touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from puppets import duet

from cache.catalogue import Catalogue
from cache.store import open_store
from extract.decode import frame_clock

_RECIPE = """
title: everything there is
corpus: {{format: manifest, root: {data}, manifest: {{file: {folder}/manifest.csv}}}}
store: {folder}/x.zarr
runs: {folder}/runs
report: {folder}/report
faces: {{method: detect, weights: {data}/weights/yunet/yunet_n_320_320.onnx}}
features:
  face: {{backbone: "torchvision:resnet18", weights: "random:0", crop: {{region: face}}}}
  voice: {{backbone: zhao19, weights: "random:0"}}
execution: {{device: cpu}}
fuse: {{features: {{video: face, audio: voice}}}}
"""
# What can't be read at all; everything else that fails is sound without a picture.
_BROKEN = {
    "odd_androidx_1024_incrementing_bytes.mp3": "Invalid data found when processing input",
    "odd_androidx_sample_malformed_free_box.mp4": "Invalid data found when processing input",
    "odd_androidx_invalid-bitstream.webm": "the video stream has no frame that can be decoded",
}


@pytest.mark.slow  # 85 files, 4,500 frames, one of them 8K: two minutes
@pytest.mark.samples
def test_everything_in_one_go(samples: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="the extra face is not installed")
    data = samples("grid").parent
    media = {
        "_".join(path.relative_to(data).parts): path
        for pattern in ("grid/*.mpg", "faces/*.m*", "odd/*/*")
        for path in sorted(data.glob(pattern))
        if path.suffix != ".json"
    }
    rows = [f"{name},{path.relative_to(data).as_posix()},train" for name, path in media.items()]
    (tmp_path / "manifest.csv").write_text("\n".join(["id,media,split", *rows]) + "\n", encoding="utf-8")
    (tmp_path / "all.yaml").write_text(_RECIPE.format(data=data, folder=tmp_path), encoding="utf-8")
    done = duet(tmp_path, "extract", "all.yaml")
    assert done.code == 1, "some failed"
    failed = dict(re.findall(r"^FAILED (\S+): [^:]+: (.*)$", done.err, re.MULTILINE))
    without_picture = {name for name, reason in failed.items() if reason == "the file has no video stream"}
    assert {name: failed[name] for name in failed.keys() - without_picture} == {
        name: failed[name] for name in _BROKEN if failed[name].startswith(_BROKEN[name])
    }
    assert without_picture
    store = open_store(tmp_path / "x.zarr")
    catalogue = Catalogue(store)
    assert {record.clip for record in catalogue} == media.keys() - failed.keys()
    for record in catalogue:
        face, places, voice = (store.read(record.key(name)) for name in ("face", "faces", "voice"))
        assert face.clock == places.clock == frame_clock(media[record.clip]), record.clip
        assert face.valid.sum() >= places.valid.sum()
        assert voice.valid.all()
        if record.clip.startswith("grid_"):
            assert places.valid.all(), "every frame has its face"
            assert (len(face), abs(len(voice) - 74) <= 1) == (75, True)
    seen = store.read(catalogue["faces_face_noface.mov"].key("face"))
    np.testing.assert_array_equal(seen.valid, np.arange(169) < 72)  # seen by eye: then black, then a cartoon
    assert not store.read(catalogue["faces_no_face.mp4"].key("face")).valid.any()

    again = duet(tmp_path, "extract", "all.yaml", "--retry-failed")
    assert again.code == 1
    assert dict(re.findall(r"^FAILED (\S+): [^:]+: (.*)$", again.err, re.MULTILINE)) == failed
    assert "extracted" not in again.err
    assert "not tried again" not in again.err
