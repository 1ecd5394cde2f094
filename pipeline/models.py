"""The story of `duet models`: what networks there are and whose weights are here, and fetching them once.

The listing reads registries alone: nothing is built, nothing heavy imported, no network asked.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extract.backbones.fetch import OnBytes, fetch, fetch_hub
from extract.backbones.kept import kept_path
from extract.backbones.pinned import Pinned
from extract.backbones.registry import BACKBONES, BackboneSpec, Chunks, Published
from extract.faces.weights import DETECTORS

if TYPE_CHECKING:
    from extract.recipe import FeatureSettings
    from pipeline.settings import Recipe

Showing = Callable[[str], AbstractContextManager[OnBytes]]  # what is fetched -> where its bytes are counted

_BY_MODEL = "by model"
_NEVER = "real weights never loaded here"


@dataclass(frozen=True)
class Wanted:
    """Something to fetch: what it is called, its licence, and how it is had. fetch gives where it lies now."""

    name: str
    licence: str
    commercial: bool
    fetch: Callable[[OnBytes], str]


def listing() -> list[dict[str, Any]]:
    """Every backbone and face detector as JSON, in the order of the registries."""
    return [_said_of(name, spec) for name, spec in BACKBONES.items()] + [
        {
            "name": name,
            "kind": "face detector",
            "modality": "visual",
            "width": None,
            "input": "whole picture",
            "rate": "a frame",
            "parameters": None,
            "licence": published.licence,
            "source": published.url,
            "extra": "face",
            "weights": [_said_of_published(name, name, published)],
        }
        for name, published in DETECTORS.items()
    ]


def wanted_by_names(names: tuple[str, ...], accept_non_commercial: bool) -> list[Wanted]:
    """What names of the listing stand for: `facenet/vggface2`, `yunet`, or a backbone for all that it has published.

    Raises ValueError for a name that is not known, or a licence that was not accepted.
    """
    known = dict(_published())
    found: list[Wanted] = []
    for name in names:
        several = [whole for whole in known if whole == name or whole.partition("/")[0] == name]
        if not several:
            near = difflib.get_close_matches(name, known, n=1)
            raise ValueError(
                f"{name!r} is no recipe and no published weights; there are {', '.join(known) or 'none'}"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        found += [_wanted(whole, known[whole]) for whole in several if whole not in {one.name for one in found}]
    refused = [one for one in found if not one.commercial and not accept_non_commercial]
    if refused:
        terms = ", ".join(f"{one.name} ({one.licence})" for one in refused)
        raise ValueError(f"{terms}: commercial use is forbidden; if that suits you, add --accept-non-commercial")
    if accept_non_commercial and all(one.commercial for one in found):
        raise ValueError("--accept-non-commercial would have no effect: these weights don't forbid commercial use")
    return found


def wanted_by_recipe(recipe: Recipe) -> list[Wanted]:
    """All that a recipe's features and faces need of the network, each once. Its settings accept what they must."""
    from extract.recipe import FeatureSettings

    found: dict[str, Wanted] = {}
    for feature in recipe.features.values():
        if isinstance(feature, FeatureSettings):
            found |= {one.name: one for one in _wanted_by(feature)}
    if recipe.faces is not None and recipe.faces.weights in DETECTORS:
        found[recipe.faces.weights] = _wanted(recipe.faces.weights, DETECTORS[recipe.faces.weights])
    return list(found.values())


def fetch_all(wanted: list[Wanted], showing: Showing) -> dict[str, str]:
    """Fetch what isn't here; name -> where it lies. Raises ValueError at the first that can't be had."""
    places = {}
    for one in wanted:
        with showing(one.name) as on_bytes:
            places[one.name] = one.fetch(on_bytes)
    return places


def _said_of(name: str, spec: BackboneSpec) -> dict[str, Any]:
    sound = spec.sound
    if sound is None:
        size = f"{spec.size_px} px" if spec.size_px is not None else f"px {_BY_MODEL}"
        rate = "a frame"
    else:
        samples = sound.body_samples + 2 * sound.context_samples if isinstance(sound, Chunks) else sound.window_samples
        size = f"{samples / spec.rate_hz:g} s at {spec.rate_hz:,} Hz"
        rate = f"{spec.rate_hz / sound.hop_samples:g} Hz"
    weights = [_said_of_published(f"{name}/{key}", key, published) for key, published in spec.published.items()]
    others = ["default"] * spec.library_weights + ["hub"] * spec.hub + ["path"] * (spec.names is not None)
    weights += [{"name": other, "present": None, "note": _OTHERS[other]} for other in others]
    return {
        "name": name if spec.model == "none" else f"{name}:MODEL" if spec.model == "required" else f"{name}[:MODEL]",
        "kind": "backbone",
        "modality": spec.modality,
        "width": spec.width,
        "input": size,
        "rate": rate,
        "parameters": spec.parameters if spec.has_weights else 0,
        "licence": spec.licence,
        "source": spec.source,
        "extra": spec.extra,
        "weights": weights,
    }


_OTHERS = {
    "default": f"the library's, fetched when first used; {_NEVER}",
    "hub": f"MODEL is a repository, taken at a revision; {_NEVER}",
    "path": f"names checked, {_NEVER}",
}


def _said_of_published(whole: str, name: str, published: Published) -> dict[str, Any]:
    if published.tried:
        note = "real weights loaded here"
    else:
        note = f"{'names checked, ' if published.names is not None else ''}{_NEVER}"
    path = kept_path(Pinned(published.url, published.sha256))
    return {
        "name": name,
        "fetch": whole,
        "present": path.is_file(),
        "file": str(path),
        "url": published.url,
        "sha256": published.sha256,
        "licence": published.licence,
        "commercial": published.commercial,
        "note": note,
    }


def _published() -> Iterator[tuple[str, Published]]:
    yield from DETECTORS.items()
    for backbone, spec in BACKBONES.items():
        for name, published in spec.published.items():
            yield f"{backbone}/{name}", published


def _wanted(name: str, published: Published) -> Wanted:
    pinned = Pinned(published.url, published.sha256)
    return Wanted(name, published.licence, published.commercial, lambda on_bytes: str(fetch(pinned, on_bytes)))


def _wanted_by(feature: FeatureSettings) -> Iterator[Wanted]:
    from extract.backbones.identity import pinned_of

    spec, terms = feature.spec, "the terms of its publisher"
    pinned = pinned_of(feature)
    if feature.weights is not None and feature.weights in spec.published:
        yield _wanted(f"{feature.backbone.partition(':')[0]}/{feature.weights}", spec.published[feature.weights])
    elif pinned is not None:
        yield Wanted(pinned.file_name, terms, True, lambda on_bytes: str(fetch(pinned, on_bytes)))
    elif feature.weights == "hub":
        revision = feature.revision
        assert revision is not None
        name = f"{feature.model}@{revision[:8]}"
        yield Wanted(name, terms, True, lambda on_bytes: str(fetch_hub(feature.model, revision)))
    elif feature.weights == "default":
        yield Wanted(f"{feature.backbone}/default", terms, True, lambda on_bytes: _default(feature))


def _default(feature: FeatureSettings) -> str:
    from extract.backbones.weights import build_backbone

    build_backbone(feature)  # the library fetches them into a folder of its own
    return "the library's own cache"
