"""What the two sides of `duet cache explain` mean: features of stores, keys, or what a recipe file would extract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.catalogue import Catalogue
from cache.explain import Explained, Recipe, explain, explain_all, recipes_in
from cache.key import SourceDigests, TrackKey, digest_of
from cache.store import Store, is_remote, local_folder, open_store
from extract.clips import Clip
from extract.corpora import read_corpus
from extract.extraction import Plan, plan_features
from extract.import_settings import ImportSettings
from extract.recipe import FACES
from pipeline import settings

LoadRecipe = Callable[[Path], settings.Recipe]

_STORES, _RECIPES = (".zarr", ".h5", ".hdf5"), (".yaml", ".yml")


@dataclass(frozen=True)
class Side:
    """One side as it was given: STORE, CONFIG, either with #FEATURE or #KEY, or FEATURE or KEY alone."""

    place: str | None
    name: str | None

    @classmethod
    def read(cls, text: str) -> Side:
        """Take a word of the command line apart."""
        place, _, name = text.partition("#")
        if is_remote(place) or place.endswith((*_STORES, *_RECIPES)):
            return cls(place, name or None)
        return cls(None, text)

    @property
    def is_recipe(self) -> bool:
        return self.place is not None and self.place.endswith(_RECIPES)


def explained(a: str, b: str, store: str | None, load: LoadRecipe) -> list[Explained]:
    """Why the features of `a` and `b` have other keys; of a feature and a recipe, which clips would be extracted anew.

    store: where features and keys without a place of their own are looked up. Raises ValueError for sides that don't
    go together.
    """
    left, right = Side.read(a), Side.read(b)
    left, right = _placed(left, right, store, load), _placed(right, left, store, load)
    one, other = _recipes(left, load), _recipes(right, load)
    if left.name is not None and right.name is not None and len(one) == len(other) == 1:
        ((name, recipe),), ((other_name, other_recipe),) = one.items(), other.items()
        found = [explain(f"{left.place}#{name}", recipe, f"{right.place}#{other_name}", other_recipe)]
        same_feature = left.name == right.name and left.is_recipe != right.is_recipe
        if same_feature and found[0].same:
            config, kept = (left, right) if left.is_recipe else (right, left)
            lines = _clips_anew(config, kept, load)
            found = [Explained(found[0].a, found[0].b, not lines, tuple(lines))]
        return found
    return explain_all(str(left.place), one, str(right.place), other)


def _placed(side: Side, other: Side, store: str | None, load: LoadRecipe) -> Side:
    """The side with its place: --store, or that of the other side's recipe; and the other's name if it has none."""
    if side.place is None:
        place = store
        if place is None and other.is_recipe:
            place = load(Path(str(other.place))).store
        elif place is None and other.place is not None and other.name is not None:
            place = other.place
        if place is None:
            raise ValueError(
                f"nothing says in which store {side.name!r} is; say STORE#{side.name}, or add --store STORE"
            )
        return Side(place, side.name)
    if side.name is None and other.place is None:
        if not side.is_recipe:
            raise ValueError(f"{side.place} has many features; name two, e.g. {side.place}#FEATURE and {other.name}")
        return Side(side.place, other.name)
    return side


def _recipes(side: Side, load: LoadRecipe) -> Mapping[str, Recipe]:
    if not side.is_recipe:
        return recipes_in(open_store(str(side.place)), side.name)
    plan, _ = _planned(side, load)
    if side.name is not None and side.name not in plan.recipes:
        there = ", ".join(sorted(load(Path(str(side.place))).features))
        raise ValueError(f"{side.place} has no feature {side.name!r}; it has {there}")
    return {name: recipe for name, recipe in plan.recipes.items() if side.name in (None, name)}


def _planned(side: Side, load: LoadRecipe) -> tuple[Plan, list[Clip]]:
    recipe = load(Path(str(side.place)))
    features = {name: one for name, one in recipe.features.items() if side.name in (None, name, FACES)}
    # Only an import asks the corpus's files what its columns are.
    clips = read_corpus(recipe.corpus) if any(isinstance(one, ImportSettings) for one in features.values()) else []
    return plan_features(features, recipe.faces, clips, recipe.corpus.root), clips


def _clips_anew(config: Side, kept: Side, load: LoadRecipe) -> list[str]:
    """Which clips of the recipe's corpus lack the feature in the store though its key is the same, and why."""
    name = str(config.name)
    recipe, store = load(Path(str(config.place))), open_store(str(kept.place))
    plan, _ = _planned(config, load)
    catalogue, wanted = Catalogue(store), digest_of(plan.recipes[name])
    digest = SourceDigests(local_folder(store.location) / "sources.jsonl")
    why: dict[str, list[str]] = {}
    for clip in read_corpus(recipe.corpus):
        reason = _why_anew(name, clip, plan, wanted, store, catalogue, digest)
        if reason is not None:
            why.setdefault(reason, []).append(clip.name)
    return [f"{reason}: {len(clips)}, e.g. {clips[0]}" for reason, clips in sorted(why.items())]


def _why_anew(
    name: str, clip: Clip, plan: Plan, wanted: str, store: Store, catalogue: Catalogue, digest: SourceDigests
) -> str | None:
    try:
        key = TrackKey(wanted, plan.source(name, clip, digest), clip.name)
    except (OSError, ValueError):
        return "clips whose file can't be read now"
    if store.has(key):
        return None
    record: Any = catalogue.get(clip.name)
    if record is None:
        return "clips that the store does not have"
    if record.tracks.get(name) == wanted and record.key(name) != key:
        return "clips whose file has changed"
    return "clips that were not extracted with it"
