"""MuSe, the challenges of 2020 to 2022 on MuSe-CaR and Ulm-TSST: a CSV of each dimension a recording.

    <root>/label_segments/{arousal,valence}/<id>.csv    timestamp (ms), value, segment_id; [-1, 1]
    <root>/[metadata/]partition.csv                     first column the id, last one train, devel or test
    <root>/[raw_data/]audio*/<id>.wav, video*/<id>.mp4  where there are recordings; features alone are enough
Times are those of the recording, with holes between segments. Values of the test partition may be empty: such rows are
not valid. Where arousal is kept under another name (physio-arousal, in MuSe-Stress of 2022), `labels` names its folder.

Source: the baselines github.com/lstappen/MuSe2021 and github.com/EIHW/MuSe2022 (config.py, data_parser.py).
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from extract.clips import Clip
from extract.corpora.findings import Findings, some_of
from extract.corpora.media import visible
from extract.corpora.recordings import Recordings
from extract.corpora.series import Series, joined
from extract.corpora.text import read_rows, ticks_of
from extract.settings import CorpusSettings
from extract.table import read_table

_SPLITS = {"train": "train", "devel": "validation", "test": "test"}
_TICK_SECONDS = Fraction(1, 1000)


def read(settings: CorpusSettings, findings: Findings) -> list[Clip]:
    """Every recording of the partition file; what is wrong goes to the findings."""
    root = settings.root
    folder, named = root / "label_segments", settings.labels or "arousal"
    if not folder.is_dir():
        return []
    if not (folder / named).is_dir():
        there = ", ".join(path.name for path in visible(folder) if path.is_dir()) or "(nothing)"
        findings.refuse(f"{folder} holds {there}; wanted {named}: name arousal's folder in `corpus.labels`")
        return []
    partition = next((p for p in (root / "metadata/partition.csv", root / "partition.csv") if p.is_file()), None)
    if partition is None:
        findings.refuse(f"{root} has no partition.csv, nor metadata/partition.csv")
        return []
    splits = _read_partition(partition, findings)
    recordings = Recordings.within(root)
    valence, arousal = (
        {file.stem: file for file in visible(folder / name) if file.suffix.lower() == ".csv"}
        for name in ("valence", named)
    )
    for name in sorted((valence.keys() | arousal.keys()) - splits.keys()):
        findings.refuse(f"clip {name} has labels, but {partition} doesn't list it", name)
    clips: list[Clip] = []
    for name, split in sorted(splits.items()):
        with findings.refusing(name):
            labels = None
            if name in valence and name in arousal:
                labels, note = joined(_series(valence[name]), _series(arousal[name]), _TICK_SECONDS)
                if note:
                    findings.note(note, name)
            elif name in valence or name in arousal:
                findings.refuse(f"clip {name} has only one of {folder}/{{valence,{named}}}/{name}.csv", name)
                continue
            elif split != "test":
                findings.fault(f"clip {name} of {partition} has no labels in {folder}", name)
                continue
            clips.append(recordings.clip(name, split, labels, findings))
    if idle := sorted(recordings.names - splits.keys()):
        findings.note(f"recordings that {partition.name} doesn't list, left out: {some_of(idle)}")
    return clips


def _read_partition(file: Path, findings: Findings) -> dict[str, str]:
    splits: dict[str, str] = {}
    for line, cells in read_rows(file, ",", skip=1):
        name, split = cells[0], _SPLITS.get(cells[-1].lower())
        if not name or split is None:
            findings.refuse(f"{file}:{line} is {','.join(cells)!r}; wanted an id and train, devel or test")
        elif splits.setdefault(name, split) != split:
            findings.refuse(f"{file}:{line} puts {name} in a second split", name)
        else:
            findings.expect_split(split, str(file))
    return splits


def _series(file: Path) -> Series:
    table = read_table(file, ",")
    times = zip(table.numbers, table.texts("timestamp"), strict=True)
    ticks = ticks_of(times, _TICK_SECONDS, Fraction(1, 1000), file)
    return Series(file, ticks, table.values(["value"])[:, 0].tolist(), list(table.numbers))
