"""What `duet cache` shows: tables on a terminal, tab-separated lines or JSON elsewhere; messages on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cache.audit import Audit, Repair
from cache.explain import Explained
from cache.inventory import ClipLine, FeatureLine, Share
from cache.key import SHORT
from cache.removal import Removal
from cache.transfer import Transfer
from pipeline.report.numbers import some
from pipeline.show import said, tabulated

_SHOWN_ORPHANS = 5


def features(location: str, lines: Sequence[FeatureLine], as_json: bool) -> None:
    """One line a recipe that the store holds tracks of."""
    if as_json:
        return _json([line.as_json() for line in lines])
    columns = ("feature", "key", "made by", "tracks", "clips", "rows", "columns", "size")
    rows = [
        (
            ", ".join(line.names) or "(unused)",
            line.recipe[:SHORT],
            line.made_by,
            str(line.tracks),
            str(line.clips),
            str(line.rows),
            str(line.columns),
            size(line.size_bytes),
        )
        for line in lines
    ]
    return tabulated(location, columns, rows, right=range(3, 8))


def clips(location: str, lines: Sequence[ClipLine], as_json: bool) -> None:
    """One line a clip."""
    if as_json:
        return _json([line.as_json() for line in lines])
    columns = ("clip", "split", "subject", "features", "seconds", "label rows", "generations", "size")
    rows = [
        (
            line.clip,
            line.split,
            line.subject if line.subject is not None else "-",
            ", ".join(line.features) or "-",
            f"{line.duration_seconds:.2f}",
            str(line.label_rows),
            str(line.generations),
            size(line.size_bytes),
        )
        for line in lines
    ]
    return tabulated(location, columns, rows, right=range(4, 8))


def info(found: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """All that is known of a feature or a clip: a line a field, its place in the whole before it."""
    if as_json:
        return _json(list(found))
    for one in found:
        title = f"{one['kind']} {one['name']}"
        rows = [(place, text) for place, text in _flat(one) if place not in ("kind", "name")]
        tabulated(title, (str(one["kind"]), str(one["name"])), rows, right=range(0))
    return None


def audit(location: str, found: Audit, as_json: bool) -> None:
    """Every fault, and in a message what it comes to."""
    if as_json:
        _json(found.as_json())
    elif found.faults:
        rows = [(fault.kind, fault.name, fault.said) for fault in found.faults]
        tabulated(location, ("what", "of", "is wrong"), rows, right=range(0))
    if found.orphans:
        clips = sorted({key.clip for key in found.orphans})
        shown = ", ".join(clips[:_SHOWN_ORPHANS]) + (" ..." if len(clips) > _SHOWN_ORPHANS else "")
        said(
            f"{some(len(found.orphans), 'track')} that no newest record names, of {shown}: of edited media, of old "
            "settings, or of a run under way; `duet cache gc` drops what stays so"
        )
    read = f"{some(found.tracks, 'track')} and {some(found.records, 'record')} read"
    damage = "" if found.sound else f"; {some(len(found.faults), 'fault')}"
    said(f"{location} is {'sound' if found.sound else 'DAMAGED'}: {read}{damage}")


def repaired(done: Repair) -> None:
    """What a repair took away, and how to go on."""
    taken = f"{some(done.tracks, 'track')}, {some(done.records, 'record')}, {some(done.strays, 'stray thing')}"
    said(f"dropped {taken}; run `duet extract` to make them again")
    if done.records:
        said("of clips that lost their newest record the one before it counts until then")


def removal(plan: Removal, what: str) -> None:
    """What would go, before anybody is asked."""
    records = f" and {some(len(plan.records), 'record')}" if plan.records else ""
    said(f"{what}: {some(len(plan.tracks), 'track')}{records}, {size(plan.freed_bytes)}")
    if plan.forgotten:
        said(f"{some(len(plan.forgotten), 'clip')} would no longer have it")


def waiting(plan: Removal, unused_hours: float) -> None:
    """What gc leaves for now, and why."""
    if plan.waiting:
        said(
            f"{some(len(plan.waiting), 'unused track')} may be of a run under way and stay; what is still unused "
            f"{unused_hours:g} hours after gc first saw it goes then, or now with --unused-hours 0, if nothing runs"
        )


def shares(location: str, found: Sequence[Share], as_json: bool) -> None:
    """Bytes by what takes them up."""
    if as_json:
        return _json([share.as_json() for share in found])
    rows = [(share.kind, share.name, str(share.tracks), size(share.size_bytes)) for share in found]
    return tabulated(location, ("kind", "name", "tracks", "size"), rows, right=range(2, 4))


def transferred(done: Transfer, location: str, as_json: bool) -> None:
    """What came in, and what was left as it is."""
    if as_json:
        _json(done.as_json())
    else:
        for conflict in done.conflicts:
            print(f"LEFT\t{conflict.clip}\t{conflict.about}\t{conflict.said}")
    said(
        f"{some(done.tracks, 'track')} brought into {location}, {done.there:,} were there; "
        f"{some(done.new_records, 'new record')}, {some(done.new_clips, 'new clip')} of {done.clips:,}"
    )
    if done.conflicts:
        said(f"{some(len(done.conflicts), 'thing')} left out, because ours differs or theirs is damaged")


def explained(found: Sequence[Explained], as_json: bool) -> None:
    """Why keys differ: a line a difference."""
    if as_json:
        return _json([one.as_json() for one in found])
    rows = [(one.a, one.b, line) for one in found for line in (one.lines or ("the same",))]
    return tabulated("", ("a", "b", "difference"), rows, right=range(0))


def size(count: int) -> str:
    """Bytes as people read them, in powers of 1000: 999 B, 1.2 kB, 34.5 GB."""
    if count < 1000:
        return f"{count} B"
    power = 1
    while power < 4 and round(count / 1000**power, 1) >= 1000:
        power += 1
    return f"{count / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def _json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    for name, inner in value.items():
        if isinstance(inner, list) and any(isinstance(item, Mapping) for item in inner):
            inner = {str(i): item for i, item in enumerate(inner)}
        if isinstance(inner, Mapping) and inner:
            lines += _flat(inner, f"{prefix}{name}.")
        else:
            lines.append(
                (f"{prefix}{name}", inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False))
            )
    return lines
