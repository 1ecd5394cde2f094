"""Both stages on a store in HDF5: the same catalogue and the same predictions as on Zarr."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from puppets import CLIPS, DEMO, TINY, duet, extracted

from cache.catalogue import Catalogue
from cache.store import open_store

FUSE = ("--model", "mlp", "--device", "cpu", *TINY)


@pytest.mark.slow  # the corpus twice through both stages
def test_extract_and_fuse_give_the_same_on_hdf5_as_on_zarr(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    shared, _ = extracted(tmp_path_factory.getbasetemp())
    folder = Path(shutil.copytree(shared, tmp_path / "run"))
    name = "work/demo/store.h5"
    hdf5 = (f"store={name}", "runs=work/demo/other")
    done = duet(folder, "extract", str(DEMO), *TINY, *hdf5)
    assert (done.code, done.out) == (0, f"store: {name}\n"), done.err
    again = duet(folder, "extract", str(DEMO), *TINY, *hdf5)
    assert again.err == f"{len(CLIPS)} of {len(CLIPS)} clips were in the store already; nothing of them was decoded\n"

    stores = [open_store(folder / name), open_store(folder / "work/demo/store.zarr")]
    catalogues = [Catalogue(store) for store in stores]
    assert catalogues[0].digest() == catalogues[1].digest()
    for record in catalogues[0]:
        for feature in record.tracks:
            a, b = (store.read(record.key(feature)) for store in stores)
            assert (a.values.tobytes(), a.valid.tobytes()) == (b.values.tobytes(), b.valid.tobytes())
            assert a.clock == b.clock
    with h5py.File(folder / name) as file:
        assert len(file["catalogue"]) == len(CLIPS), "the tree is up to date when the command has ended"
        assert sum(len(tracks) for tracks in file["tracks"].values()) == 2 * len(CLIPS)

    found = []
    for options in ((), hdf5):
        fused = duet(folder, "fuse", str(DEMO), *FUSE, *options)
        assert fused.code == 0, fused.err
        (file,) = (folder / "work/demo" / ("other" if options else "runs")).glob("*/*/predictions.npz")
        with np.load(file, allow_pickle=False) as predictions:
            found.append({key: predictions[key].tolist() for key in predictions.files})
    assert found[0] == found[1]
    assert found[0]
