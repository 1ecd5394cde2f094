"""Why two features have two keys, in words: of two recipes, two stores, or a store and what a recipe file wants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cache.catalogue import Catalogue
from cache.inventory import names_of_recipes, recipe_named
from cache.key import differences, digest_of
from cache.store import Store, StoreError

Recipe = Mapping[str, Any]

_SHOWN = 8  # digits of a digest: to recognise it; whole ones fill lines


@dataclass(frozen=True)
class Explained:
    """Two features and why they differ. lines: `crop.size_px: 112 -> 160`; none if they are the same."""

    a: str
    b: str
    same: bool
    lines: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b, "same": self.same, "lines": list(self.lines)}


def explain(a: str, recipe_a: Recipe, b: str, recipe_b: Recipe) -> Explained:
    """Why the recipes called `a` and `b` have two keys."""
    same = digest_of(recipe_a) == digest_of(recipe_b)
    return Explained(a, b, same, tuple(map(in_words, differences(recipe_a, recipe_b))))


def explain_all(a: str, recipes_a: Mapping[str, Recipe], b: str, recipes_b: Mapping[str, Recipe]) -> list[Explained]:
    """Feature by feature of the same name; what one side alone has is said to be there."""
    found = []
    for name in sorted(recipes_a.keys() | recipes_b.keys()):
        left, right = f"{a}#{name}", f"{b}#{name}"
        if name in recipes_a and name in recipes_b:
            found.append(explain(left, recipes_a[name], right, recipes_b[name]))
        else:
            there, missing = (a, b) if name in recipes_a else (b, a)
            found.append(Explained(left, right, False, (f"{name} is in {there} alone; {missing} has none",)))
    return found


def in_words(line: str) -> str:
    """A line of `differences` without quotes, and with digests as their first digits."""
    return re.sub(r"\b([0-9a-f]{40,64})\b", lambda found: found[1][:_SHOWN] + "..", line).replace('"', "")


def recipes_in(store: Store, named: str | None = None) -> dict[str, Recipe]:
    """Recipes of a store by name: a feature's name, or the first digits of a key; None = every feature.

    A name that clips have from several recipes appears as often, with the digits of each. Raises StoreError for what
    isn't there.
    """
    recipes = store.recipes()
    if named is not None and re.fullmatch(r"[0-9a-f]{4,64}", named) and (digest := recipe_named(store, named)):
        return {named: recipes[digest]}
    digests: dict[str, list[str]] = {}
    for digest, names in names_of_recipes(Catalogue(store)).items():
        for name in names:
            if digest in recipes:
                digests.setdefault(name, []).append(digest)
    if named is not None and named not in digests:
        known = ", ".join(sorted(digests)) or "none"
        raise StoreError(f"store {store.location} has no feature or key {named!r}; it has the features {known}")
    chosen = [named] if named is not None else sorted(digests)
    return {
        name if len(digests[name]) == 1 else f"{name}@{digest[:_SHOWN]}": recipes[digest]
        for name in chosen
        for digest in digests[name]
    }
