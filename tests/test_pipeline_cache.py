"""`duet cache`: what each command prints and where, its exit codes, and that nothing goes without being asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from media import even_ticks, tone, write_affwild2, write_media
from puppets import duet
from rich.console import Console
from stores import everything
from test_cache_audit import DIGESTS, a_record, filled, flipped, key, numbers_of, put

from cache.catalogue import Catalogue
from cache.key import SHORT
from cache.removal import Removal
from cache.store import open_store
from pipeline import show, show_cache
from pipeline.cache_explained import Side
from pipeline.cli import cli

COMMANDS = ("drop", "du", "explain", "export", "gc", "import", "info", "ls", "verify")
RECIPE = """\
title: small
corpus: {format: affwild2, root: corpus}
store: made.zarr
runs: runs
report: report
features: {mel: {backbone: logmel, hop_seconds: 0.04}}
execution: {device: cpu, clips_at_once: 1, workers: 0}
fuse: {features: {audio: mel}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a store x.zarr of three clips and two features."""
    filled(tmp_path / "x.zarr")
    return tmp_path


def table(out: str) -> list[list[str]]:
    return [line.split("\t") for line in out.splitlines()]


# ------------------------------------------------------------------------------------------------ help, mistakes


def test_every_command_says_what_it_does() -> None:
    group = cli.commands["cache"]
    assert isinstance(group, click.Group)
    assert tuple(sorted(group.commands)) == COMMANDS
    for name, command in group.commands.items():
        assert command.help
        assert CliRunner().invoke(cli, ["cache", name, "--help"]).exit_code == 0
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{name} {parameter.opts} says nothing"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ls", "none.zarr"], "duet: there is no store at none.zarr; make one with `duet extract`, or correct `store`"),
        (["drop", "none.zarr", "--clip", "a", "--yes"], "duet: there is no store at none.zarr"),
        (["verify", "none.zarr", "--repair", "--yes"], "duet: there is no store at none.zarr"),
        (["ls", "none.yaml"], "none.yaml: can't be read: No such file or directory"),
        (["verify", "x.zarr", "--yes"], "Error: --yes would have no effect without --repair; leave it out"),
        (["drop", "x.zarr"], "Error: nothing says what to drop; name it by --feature, --key or --clip"),
        (["drop", "x.zarr", "--key", "ffffff"], "Error: store x.zarr has no key that begins with ffffff; see duet"),
        (["drop", "x.zarr", "--feature", "fase"], "duet: store x.zarr has no feature fase; it has face, voice"),
        (["info", "x.zarr", "d"], "duet: store x.zarr has no feature, key or clip 'd'; it has the features"),
        (["gc", "x.zarr", "--keep-generations", "0"], "0 is not in the range x>=1"),
        (["export", "x.zarr", "y.xls"], "duet: y.xls ends in .xls; wanted .h5 for a store, .npz or .csv for a clip"),
        (["export", "x.zarr", "y.npz"], "duet: y.npz holds one clip, and 3 are chosen; name one with --clip"),
        (["export", "x.zarr", "y.csv", "--clip", "a"], "y.csv holds one feature, and a has face, voice; name one with"),
        (["export", "x.zarr", "y.h5", "--labels"], "duet: --labels would have no effect: y.h5 has the labels anyway"),
        (["export", "x.zarr", "y.csv", "--clip", "a", "--labels", "--feature", "face"], "--feature would have no"),
        (["export", "x.zarr", "y.csv", "--clip", "c", "--labels"], "duet: clip c has no labels"),
        (["export", "x.zarr", "y.h5", "--split", "val"], "duet: there is no split val; there are test, train"),
        (["import", "y.zarr", "none.zarr"], "duet: there is no store at none.zarr"),
        (["import", "y.zarr", "x.zarr", "--labels", "mine"], "'mine' is not one of 'ours', 'theirs'"),
        (["explain", "face", "voice"], "duet: nothing says in which store 'face' is; say STORE#face, or add --store"),
        (["explain", "x.zarr#fase", "x.zarr#face"], "duet: store x.zarr has no feature or key 'fase'; it has the"),
        (["explain", "x.zarr", "face", "--store", "x.zarr"], "duet: x.zarr has many features; name two, e.g. x.zarr#"),
    ],
)  # fmt: skip
def test_mistakes_are_code_2_and_change_nothing(folder: Path, arguments: list[str], said: str) -> None:
    before = everything(folder)
    done = duet(folder, "cache", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert everything(folder) == before


# ------------------------------------------------------------------------------------------------ looking


def test_features_and_clips_are_listed(folder: Path) -> None:
    done = duet(folder, "cache", "ls", "x.zarr")
    head, face, voice = table(done.out)
    assert (done.code, done.err) == (0, "")
    assert head == ["feature", "key", "made by", "tracks", "clips", "rows", "columns", "size"]
    assert face[:-1] == ["face", DIGESTS["face"][:SHORT], "hog", "3", "3", "41", "5"]
    assert voice[2] == "import"
    rows = table(duet(folder, "cache", "ls", "x.zarr", "--clips").out)
    assert rows[1][:7] == ["a", "train", "s-a", "face, voice", "0.50", "7", "1"]
    listed = json.loads(duet(folder, "cache", "ls", "x.zarr", "--json").out)
    assert [(one["names"], one["recipe"], one["rows"]) for one in listed] == [
        (["face"], DIGESTS["face"], 41), (["voice"], DIGESTS["voice"], 41),
    ]  # fmt: skip
    assert [one["clip"] for one in json.loads(duet(folder, "cache", "ls", "x.zarr", "--clips", "--json").out)] == [
        *"abc"
    ]


def test_a_feature_and_a_clip_are_told_of(folder: Path) -> None:
    lines = dict(table(duet(folder, "cache", "info", "x.zarr", "face").out))
    assert (lines["feature"], lines["recipe.crop.size_px"], lines["provenance.0.device"]) == ("face", "96", "cpu")
    assert dict(table(duet(folder, "cache", "info", "x.zarr", DIGESTS["face"][:8]).out)) == lines
    (clip,) = json.loads(duet(folder, "cache", "info", "x.zarr", "a", "--json").out)
    assert (clip["kind"], clip["tracks"]["voice"]["rows"], clip["labels"]["rows"]) == ("clip", 11, 7)


def test_room_is_told_by_what_takes_it(folder: Path) -> None:
    rows = table(duet(folder, "cache", "du", "x.zarr").out)
    assert [row[:2] for row in rows[1:]] == [
        ["feature", "face"], ["feature", "voice"], ["clip", "a"], ["clip", "b"], ["clip", "c"],
        ["old generations", "-"], ["unused", "-"], ["unfinished", "-"],
    ]  # fmt: skip
    found = json.loads(duet(folder, "cache", "du", "x.zarr", "--json").out)
    assert sum(one["size_bytes"] for one in found if one["kind"] == "feature") == sum(
        one["size_bytes"] for one in found if one["kind"] == "clip"
    )


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_949, "999.9 kB"), (999_950, "1.0 MB"),
     (3_600_000_000, "3.6 GB"), (10**16, "10000.0 TB")],
)  # fmt: skip
def test_sizes_as_people_read_them(count: int, said: str) -> None:
    assert show_cache.size(count) == said


def test_on_a_terminal_tables_are_drawn(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "Console", lambda **options: Console(force_terminal=True, width=120, **options))
    from cache.inventory import feature_lines

    show_cache.features("x[b].zarr", feature_lines(open_store(folder / "x.zarr")), False)
    out = capsys.readouterr().out
    assert "x[b].zarr" in out
    assert "hog" in out
    assert "\t" not in out


# ------------------------------------------------------------------------------------------------ verify


def test_verify_is_code_1_on_damage_and_repair_makes_it_0(folder: Path) -> None:
    done = duet(folder, "cache", "verify", "x.zarr")
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith("x.zarr is sound: 6 tracks and 3 records read\n")
    flipped(open_store(folder / "x.zarr"), numbers_of(key("b", "face")))
    done = duet(folder, "cache", "verify", "x.zarr")
    assert done.code == 1
    assert table(done.out)[1][:2] == ["track", f"b {DIGESTS['face'][:SHORT]}"]
    assert done.err.endswith("x.zarr is DAMAGED: 6 tracks and 3 records read; 1 fault\n")
    found = json.loads(duet(folder, "cache", "verify", "x.zarr", "--json").out)
    assert (found["sound"], found["faults"][0]["kind"]) == (False, "track")
    before = everything(folder / "x.zarr")
    done = duet(folder, "cache", "verify", "x.zarr", "--repair")
    assert (done.code, done.out) == (2, "")
    assert "nothing was dropped: there is no terminal to ask on; add --yes if it is meant" in done.err
    assert everything(folder / "x.zarr") == before
    done = duet(folder, "cache", "verify", "x.zarr", "--repair", "--yes")
    assert (done.code, done.out) == (0, "")
    assert "dropped 1 track, 0 records, 0 stray things; run `duet extract` to make them again" in done.err
    assert done.err.endswith("x.zarr is sound: 5 tracks and 4 records read\n")


def test_tracks_without_a_record_are_said_and_are_no_damage(folder: Path) -> None:
    put(open_store(folder / "x.zarr", writable=True), key("a", "old"))
    done = duet(folder, "cache", "verify", "x.zarr")
    assert (done.code, done.out) == (0, "")
    assert "1 track that no newest record names, of a: " in done.err


# ------------------------------------------------------------------------------------------------ drop, gc


def answering(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr(click.termui, "visible_prompt_func", lambda prompt: answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)


def test_drop_says_what_it_would_free_and_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(folder / "x.zarr")
    before = everything(folder / "x.zarr")
    freed = show_cache.size(sum(store.size_bytes(key(clip, "face")) for clip in "abc"))
    done = duet(folder, "cache", "drop", "x.zarr", "--feature", "face", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert done.err == f"would drop: 3 tracks, {freed}\n3 clips would no longer have it\n"
    done = duet(folder, "cache", "drop", "x.zarr", "--feature", "face")
    assert (done.code, "there is no terminal to ask on; add --yes" in done.err) == (2, True)
    with monkeypatch.context() as patch:
        answering(patch, "n")
        done = duet(folder, "cache", "drop", "x.zarr", "--feature", "face")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("nothing was dropped\n")
    assert everything(folder / "x.zarr") == before
    with monkeypatch.context() as patch:
        answering(patch, "y")
        done = duet(folder, "cache", "drop", "x.zarr", "--feature", "face")
    assert done.code == 0
    assert done.err.endswith(f"freed {freed}\n")
    assert [row[0] for row in table(duet(folder, "cache", "ls", "x.zarr").out)] == ["feature", "voice"]
    assert duet(folder, "cache", "verify", "x.zarr").code == 0


def test_drop_by_key_and_by_clip(folder: Path) -> None:
    assert duet(folder, "cache", "drop", "x.zarr", "--key", DIGESTS["face"][:6], "--clip", "a", "--yes").code == 0
    assert duet(folder, "cache", "drop", "x.zarr", "--clip", "b", "--yes").code == 0
    catalogue = Catalogue(open_store(folder / "x.zarr"))
    assert {record.clip: sorted(record.tracks) for record in catalogue} == {"a": ["voice"], "c": ["face", "voice"]}
    assert duet(folder, "cache", "verify", "x.zarr").code == 0


def test_gc_waits_and_says_so(folder: Path) -> None:
    store = open_store(folder / "x.zarr", writable=True)
    put(store, key("a", "old"))
    Catalogue(store).update(a_record("b", split="validation"))
    done = duet(folder, "cache", "gc", "x.zarr", "--yes", "--keep-generations", "2")
    assert done.code == 0
    assert (
        "to drop: 0 tracks, 0 B\n1 unused track may be of a run under way and stay; what is still unused 24" in done.err
    )
    assert store.has(key("a", "old"))
    done = duet(folder, "cache", "gc", "x.zarr", "--unused-hours", "0", "--dry-run")
    assert done.err.startswith("would drop: 1 track and 1 record, ")
    assert store.has(key("a", "old"))
    done = duet(folder, "cache", "gc", "x.zarr", "--unused-hours", "0")
    assert (done.code, "add --yes" in done.err) == (2, True)
    assert duet(folder, "cache", "gc", "x.zarr", "--unused-hours", "0", "--yes").code == 0
    assert not store.has(key("a", "old"))
    assert store.generations("b") == [2]
    assert duet(folder, "cache", "gc", "x.zarr", "--unused-hours", "0").code == 0, "nothing to do asks nothing"


def test_an_empty_plan_says_nothing_of_records(capsys: pytest.CaptureFixture[str]) -> None:
    show_cache.removal(Removal((), (), {}, 0), "to drop")
    assert capsys.readouterr().err == "to drop: 0 tracks, 0 B\n"


# ------------------------------------------------------------------------------------------------ export, import


def test_out_and_in_again(folder: Path) -> None:
    done = duet(folder, "cache", "export", "x.zarr", "out/x.h5")
    assert (done.code, done.out) == (0, "export: out/x.h5\n")
    assert duet(folder, "cache", "export", "x.zarr", "out/x.h5").code == 2
    done = duet(folder, "cache", "import", "y.zarr", "out/x.h5", "--split", "train")
    assert (done.code, done.out) == (0, "")
    assert done.err.endswith("4 tracks brought into y.zarr, 0 were there; 2 new records, 2 new clips of 2\n")
    found = json.loads(duet(folder, "cache", "import", "y.zarr", "x.zarr", "--json").out)
    assert found == {"clips": 3, "new_clips": 1, "tracks": 2, "there": 4, "new_records": 1, "conflicts": []}
    same = duet(folder, "cache", "explain", "x.zarr", "y.zarr")
    assert [row[2] for row in table(same.out)] == ["difference", "the same", "the same"]
    assert Catalogue(open_store(folder / "x.zarr")).digest() == Catalogue(open_store(folder / "y.zarr")).digest()


def test_what_was_left_out_is_code_1_and_a_line(folder: Path) -> None:
    store = open_store(folder / "y.zarr", writable=True)
    Catalogue(store).update(a_record("a", split="validation", tracks={}, labels=None))
    done = duet(folder, "cache", "import", "y.zarr", "x.zarr")
    assert done.code == 1
    assert done.out == "LEFT\ta\tsplit\ttrain there, validation here; ours stays\n"
    assert done.err.endswith("1 thing left out, because ours differs or theirs is damaged\n")


def test_one_clip_goes_into_a_table(folder: Path) -> None:
    assert duet(folder, "cache", "export", "x.zarr", "a.csv", "--clip", "a", "--feature", "voice").code == 0
    lines = (folder / "a.csv").read_text(encoding="utf-8").splitlines()
    assert (lines[0], len(lines)) == ("seconds,valid,f0", 12)
    assert duet(folder, "cache", "export", "x.zarr", "l.csv", "--clip", "a", "--labels").code == 0
    lines = (folder / "l.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["seconds,valid,valence,arousal", "0.0,1,0.25,0.25"]
    assert lines[4] == "0.3,0,,"
    assert duet(folder, "cache", "export", "x.zarr", "a.npz", "--clip", "a").out == "export: a.npz\n"


# ------------------------------------------------------------------------------------------------ explain


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("x.zarr", Side("x.zarr", None)), ("x.h5#face", Side("x.h5", "face")),
        ("s3://b/x.zarr", Side("s3://b/x.zarr", None)),
        ("x.yaml#f.1", Side("x.yaml", "f.1")), ("face", Side(None, "face")), ("a.b", Side(None, "a.b")),
    ],
)  # fmt: skip
def test_a_side_is_a_place_a_name_or_both(text: str, side: Side) -> None:
    assert Side.read(text) == side


def test_two_features_two_keys_and_their_places(folder: Path) -> None:
    put(open_store(folder / "x.zarr", writable=True), key("a", "old"))
    line = ["crop.size_px: 96 -> 64"]
    old = DIGESTS["old"][:8]
    for a, b in (("x.zarr#face", f"x.zarr#{old}"), ("x.zarr#face", old)):
        done = duet(folder, "cache", "explain", a, b)
        assert table(done.out)[1:] == [["x.zarr#face", f"x.zarr#{old}", *line]]
    (found,) = json.loads(duet(folder, "cache", "explain", "face", old, "--store", "x.zarr", "--json").out)
    assert (found["same"], found["lines"]) == (False, line)


@pytest.fixture
def extracted(tmp_path: Path) -> Path:
    """A corpus of two clips, its recipe, and the store that was extracted from them."""
    for name in "ab":
        write_media(tmp_path / "corpus/batch1" / f"{name}.mp4", even_ticks(7, 25), sound=tone(200, 7 / 25))
        rows = [(0.5, 0.25)] * 7
        write_affwild2(tmp_path / "corpus", [(name, "Train_Set", rows)])
    (tmp_path / "x.yaml").write_text(RECIPE, encoding="utf-8")
    done = duet(tmp_path, "extract", "x.yaml")
    assert done.code == 0, done.err
    return tmp_path


def test_why_a_feature_would_be_extracted_anew(extracted: Path) -> None:
    def why(*arguments: str) -> Any:
        done = duet(extracted, "cache", "explain", *arguments)
        assert done.code == 0, done.err
        return [row[2] for row in table(done.out)[1:]]

    assert duet(extracted, "cache", "ls", "x.yaml").code == 0, "a recipe stands for its store"
    assert why("mel", "x.yaml") == ["the same"]
    assert why("made.zarr", "x.yaml") == ["the same"]
    write_media(extracted / "corpus/batch1/b.mp4", even_ticks(7, 25), sound=tone(300, 7 / 25))
    assert why("mel", "x.yaml") == ["clips whose file has changed: 1, e.g. b"]
    write_media(extracted / "corpus/batch1/c.mp4", even_ticks(7, 25), sound=tone(300, 7 / 25))
    write_affwild2(extracted / "corpus", [("c", "Train_Set", [(0.5, 0.25)] * 7)])
    assert "clips that the store does not have: 1, e.g. c" in why("mel", "x.yaml")
    (extracted / "x.yaml").write_text(RECIPE.replace("0.04", "0.02"), encoding="utf-8")
    assert why("mel", "x.yaml") == ["sound.hop_samples: 640 -> 320"]
    assert why("x.yaml#mel", "made.zarr#mel") == ["sound.hop_samples: 320 -> 640"]
    (extracted / "x.yaml").write_text(RECIPE.replace("mel", "tone").replace("logtone", "logmel"), encoding="utf-8")
    assert why("made.zarr", "x.yaml") == [
        "mel is in made.zarr alone; x.yaml has none", "tone is in x.yaml alone; made.zarr has none",
    ]  # fmt: skip
    done = duet(extracted, "cache", "explain", "mel", "x.yaml")
    assert (done.code, done.err) == (2, "duet: x.yaml has no feature 'mel'; it has tone\n")
