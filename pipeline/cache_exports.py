"""The stories of `duet cache export` and `import`: which file is written or read, by its ending, and from what."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from cache.catalogue import Catalogue, Record
from cache.export_file import ExportFile, is_export, write_export
from cache.store import Store, is_remote, open_store
from cache.transfer import Side, Transfer, chosen, merge
from pipeline import show


def export(
    store: Store, out: Path, features: Collection[str], splits: Collection[str], clips: Collection[str], labels: bool
) -> Path:
    """Write the chosen part of a store to `out`, a new .h5, .npz or .csv. Raises ValueError for what doesn't fit it."""
    kind = {".h5": "hdf5", ".hdf5": "hdf5", ".npz": "npz", ".csv": "csv"}.get(out.suffix.lower())
    if kind is None:
        raise ValueError(f"{out} ends in {out.suffix or 'nothing'}; wanted .h5 for a store, .npz or .csv for a clip")
    if labels and kind != "csv":
        raise ValueError(f"--labels would have no effect: {out.name} has the labels anyway")
    records = chosen(Catalogue(store), features, splits, clips)
    if kind == "hdf5":
        with show.counting(f"exporting {store.location}", "clips") as count:
            write_export(out, records, store, count)
        return out
    if len(records) != 1:
        raise ValueError(f"{out.name} holds one clip, and {len(records)} are chosen; name one with --clip")
    from cache.clip_files import LABELS, column_names, write_csv, write_npz

    (record,) = records
    if kind == "npz":
        write_npz(out, record, store)
    elif labels:
        if features:
            raise ValueError("--feature would have no effect with --labels; leave one out")
        if record.labels is None:
            raise ValueError(f"clip {record.clip} has no labels")
        write_csv(out, record.labels, LABELS)
    else:
        name = _one_feature(out, record)
        track = store.read(record.key(name))
        write_csv(out, track, column_names(store.recipes()[record.tracks[name]], track.width))
    return out


def bring_in(
    store: str,
    source: str,
    features: Collection[str],
    splits: Collection[str],
    clips: Collection[str],
    labels: Side | None,
    on_done: Callable[[int, int], None],
) -> Transfer:
    """Merge a store, or a file that `export` wrote, into the store at `store`, which is made if it isn't there."""
    if not is_remote(source) and is_export(Path(source)):
        with ExportFile(Path(source)) as file:
            records = chosen(file.records(), features, splits, clips)
            return merge(records, file, open_store(store, writable=True), labels, on_done)
    theirs = open_store(source)
    records = chosen(Catalogue(theirs), features, splits, clips)
    return merge(records, theirs, open_store(store, writable=True), labels, on_done)


def _one_feature(out: Path, record: Record) -> str:
    if len(record.tracks) != 1:
        there = ", ".join(sorted(record.tracks)) or "none"
        raise ValueError(f"{out.name} holds one feature, and {record.clip} has {there}; name one with --feature")
    return next(iter(record.tracks))
