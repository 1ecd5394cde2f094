"""Why two keys differ, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_cache_audit import DIGESTS, RECIPES, a_record, filled, key, put

from cache.catalogue import Catalogue
from cache.explain import explain, explain_all, in_words, recipes_in
from cache.store import Store, StoreError

A: dict[str, Any] = {"crop": {"size_px": 112}, "weights": {"revision": "a1b2" * 10, "sha256": "0a" * 32}, "faces": None}
B: dict[str, Any] = {"crop": {"size_px": 160}, "weights": {"revision": "c3d4" * 10, "sha256": "1b" * 32}, "layer": "x"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return filled(tmp_path / "x.zarr")


def test_every_field_that_differs_is_a_line_with_short_digests() -> None:
    found = explain("a", A, "b", B)
    assert not found.same
    assert found.lines == (
        "crop.size_px: 112 -> 160",
        "faces: null -> (absent)",
        "layer: (absent) -> x",
        "weights.revision: a1b2a1b2.. -> c3d4c3d4..",
        "weights.sha256: 0a0a0a0a.. -> 1b1b1b1b..",
    )
    assert found.as_json()["lines"] == list(found.lines)
    same = explain("a", A, "b", dict(reversed(A.items())))
    assert (same.same, same.lines) == (True, ())


def test_names_that_are_hexadecimal_words_stay_whole() -> None:
    assert in_words('layer: "face" -> "deadbeef"') == "layer: face -> deadbeef"
    assert in_words('x: "' + "f" * 39 + '" -> 1') == f"x: {'f' * 39} -> 1"


def test_stores_are_compared_feature_by_feature() -> None:
    found = explain_all("x", {"face": A, "voice": A}, "y", {"face": B, "voice": A, "more": B})
    assert [(one.a, one.b, one.same) for one in found] == [
        ("x#face", "y#face", False), ("x#more", "y#more", False), ("x#voice", "y#voice", True),
    ]  # fmt: skip
    assert found[1].lines == ("more is in y alone; x has none",)


def test_recipes_are_found_by_feature_and_by_key(store: Store) -> None:
    assert recipes_in(store) == {"face": RECIPES["face"], "voice": RECIPES["voice"]}
    assert recipes_in(store, "face") == {"face": RECIPES["face"]}
    assert recipes_in(store, DIGESTS["voice"][:7]) == {DIGESTS["voice"][:7]: RECIPES["voice"]}
    with pytest.raises(StoreError, match=r"has no feature or key 'abcdef'; it has the features face, voice$"):
        recipes_in(store, "abcdef")


def test_a_name_of_two_recipes_is_two(store: Store) -> None:
    put(store, key("a", "old"))
    Catalogue(store).update(a_record("a", tracks={"face": DIGESTS["old"]}))
    found = recipes_in(store, "face")
    assert found == {f"face@{DIGESTS[name][:8]}": RECIPES[name] for name in ("face", "old")}
