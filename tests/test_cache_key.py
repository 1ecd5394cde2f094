"""Digests say exactly when two embeddings are the same, and folder names never meet."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache.key import (
    SHORT,
    SourceDigests,
    TrackKey,
    canonical_json,
    differences,
    digest_of,
    digest_of_file,
    folder_name,
)

# ------------------------------------------------------------------------------------------------ recipes

scalars = st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=7,
)
recipes = st.dictionaries(st.sampled_from(["backbone", "crop", "dtype", "layer"]), values, max_size=4)


def shuffled(value: Any) -> Any:
    """The same JSON with every mapping the other way round, and tuples for lists."""
    if isinstance(value, dict):
        return {name: shuffled(inner) for name, inner in reversed(value.items())}
    return tuple(map(shuffled, value)) if isinstance(value, list) else value


@given(recipes)
def test_the_spelling_depends_on_the_value_alone(recipe: dict[str, Any]) -> None:
    text = canonical_json(recipe)
    assert canonical_json(shuffled(recipe)) == text
    assert canonical_json(json.loads(text)) == text, "what comes back from attributes has the same digest"
    assert digest_of(recipe) == hashlib.sha256(text.encode()).hexdigest()


@given(recipes, recipes)
def test_two_recipes_have_one_digest_exactly_if_no_difference_can_be_told(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert (digest_of(a) == digest_of(b)) == (differences(a, b) == [])
    assert differences(a, shuffled(a)) == []


def test_one_spelling_by_hand() -> None:
    assert canonical_json({"b": [1, 2.5, None], "a": {"é": True}}) == '{"a":{"é":true},"b":[1,2.5,null]}'


def test_numbers_that_python_calls_equal_have_other_digests_and_the_difference_is_told() -> None:
    assert len({digest_of({"rate": rate}) for rate in (1, 1.0, True, "1")}) == 4
    assert differences({"rate": 1}, {"rate": 1.0}) == ["rate: 1 -> 1.0"]


def test_differences_in_words() -> None:
    old = {"crop": {"size_px": 112, "region": "square"}, "layer": "layer2", "std": [1, 2]}
    new = {"crop": {"size_px": 160, "region": "square"}, "std": [1, 3], "pool": None}
    assert differences(old, new) == [
        "crop.size_px: 112 -> 160",
        'layer: "layer2" -> (absent)',
        "pool: (absent) -> null",
        "std: [1,2] -> [1,3]",
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"crop": {"size": float("nan")}}, r"crop\.size is nan; a recipe holds finite numbers"),
        ({"mean": [0.1, float("inf")]}, r"mean\[1\] is inf"),
        ({"layers": {"a", "b"}}, "layers is a set; a recipe holds JSON values only"),
        ({"weights": Path("a.pth")}, "weights is a PosixPath"),
        ({"crop": {112: "px"}}, "crop has the key 112; keys of a recipe are strings"),
        (float("nan"), "the value is nan"),
    ],
)
def test_what_json_can_not_say_exactly_is_refused_with_its_place(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digest_of(value)


def test_a_key_is_made_of_whole_digests_and_a_name() -> None:
    good = digest_of({})
    assert TrackKey(good, good, "clip") < TrackKey(good, good, "clip2")
    with pytest.raises(ValueError, match=r"recipe is 'abc'; wanted a sha256 digest of 64 hexadecimal digits"):
        TrackKey("abc", good, "clip")
    with pytest.raises(ValueError, match=r"source is .*; wanted a sha256 digest"):
        TrackKey(good, good.upper().replace("0", "A"), "clip")
    with pytest.raises(ValueError, match="clip is empty"):
        TrackKey(good, good, "")


# ------------------------------------------------------------------------------------------------ media


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"first" * 1009)
    return path


@pytest.fixture
def remembering(tmp_path: Path) -> Callable[[], SourceDigests]:
    """Opens the memory anew each time, as another process would."""
    return lambda: SourceDigests(tmp_path / "x.zarr.local" / "sources.jsonl")


def test_an_unchanged_file_is_read_once(video: Path, remembering: Callable[[], SourceDigests]) -> None:
    first = remembering()
    digest = first(video)
    assert digest == hashlib.sha256(video.read_bytes()).hexdigest() == digest_of_file(video)
    assert (first(video), first.files_read) == (digest, 1)
    second = remembering()
    assert (second(video), second.files_read) == (digest, 0)


def test_a_touched_file_is_read_again_and_found_the_same(video: Path, remembering: Callable[[], SourceDigests]) -> None:
    digest = remembering()(video)
    os.utime(video, ns=(10**18, 10**18 + 7))
    touched = remembering()
    assert (touched(video), touched.files_read) == (digest, 1)
    after = remembering()
    assert (after(video), after.files_read) == (digest, 0), "the newest line about a file counts"


def test_an_edited_file_is_another_source(video: Path, remembering: Callable[[], SourceDigests]) -> None:
    digest = remembering()(video)
    status = video.stat()
    video.write_bytes(b"other" * 1009)  # of the same length
    os.utime(video, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert remembering()(video) != digest


def test_a_file_put_in_another_s_place_is_noticed_even_with_its_time_and_size(
    video: Path, remembering: Callable[[], SourceDigests]
) -> None:
    digest, status = remembering()(video), video.stat()
    other = video.with_name("other.mp4")
    other.write_bytes(b"other" * 1009)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(video)
    assert remembering()(video) != digest


def test_torn_lines_cost_one_reading_and_nothing_else(
    video: Path, tmp_path: Path, remembering: Callable[[], SourceDigests]
) -> None:
    other = video.with_name("other.mp4")
    other.write_bytes(b"another")
    digests = [remembering()(path) for path in (video, other)]
    memory = tmp_path / "x.zarr.local" / "sources.jsonl"
    whole = memory.read_bytes()
    memory.write_bytes(whole[:-20])  # killed while appending the second line
    torn = remembering()
    assert [torn(path) for path in (video, other)] == digests
    assert torn.files_read == 1
    mended = remembering()
    assert [mended(path) for path in (video, other)] == digests
    assert mended.files_read == 0, "the line after a torn one is not lost with it"
    memory.write_bytes(b'[1]\n{"path": 3}\n\xff\xfe\n"x"\n' + memory.read_bytes())
    assert [remembering()(path) for path in (video, other)] == digests


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path, remembering: Callable[[], SourceDigests]) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        remembering()(tmp_path / "nowhere.mp4")


# ------------------------------------------------------------------------------------------------ folders

ODD = [
    "a", "A", "x/y", "x y", "x-y", "..", ".", "/etc/passwd", "../../up", "clip", "Clip", "CLIP", "é", "e\u0301", "ß",
    "ss",     "a" * 80, "a" * 81, "a" * 300, "-a", "_a", "a~b", "a\n", "a\x00", "c:\\windows", "", " ", "名前", "名 前",
]  # fmt: skip
names = st.text(max_size=12) | st.text("aAbB/. ~-_", max_size=5) | st.sampled_from(ODD)


def safe(folder: str) -> bool:
    return (
        0 < len(folder) <= 80
        and folder.isascii()
        and folder not in (".", "..")
        and not set(folder) & set('/\\:\n\0* ."')
    )


@given(names, names)
def test_two_names_never_meet_on_any_file_system(a: str, b: str) -> None:
    assert (folder_name(a).casefold() == folder_name(b).casefold()) == (a == b)
    assert safe(folder_name(a))


def test_odd_names_by_hand() -> None:
    folders = [folder_name(name) for name in ODD]
    assert len({folder.casefold() for folder in folders}) == len(ODD)
    assert all(map(safe, folders))
    assert folder_name("133-30-1280x720_left") == "133-30-1280x720_left"
    assert folder_name("../../up").startswith("up~")


@given(names)
def test_no_name_can_take_the_folder_of_another_by_looking_like_it(name: str) -> None:
    assert folder_name(folder_name(name)) == folder_name(name) or "~" in folder_name(name)
    assert folder_name(name) == name or len(folder_name(name).rsplit("~")[-1]) == SHORT
