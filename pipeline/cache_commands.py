"""The commands `duet cache ...`: look into a store, check it, thin it out, bring things in and out.

Imports nothing heavy; each command imports what it needs. Exit codes: 0 done; 1 damage, or something was left out;
2 usage, or a store that can't be used.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cache.removal import Removal
    from cache.store import Store
    from cache.transfer import Side
    from pipeline.settings import Recipe

_STORE = click.argument("store", metavar="STORE|CONFIG")
_JSON = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
_YES = click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal to ask on.")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would go, and drop nothing.")


def _several(name: str, metavar: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--{name}", f"{name}s", multiple=True, metavar=metavar, help=f"{text} May be given again.")


@click.group("cache")
def cache_group() -> None:
    """Look into a store of embeddings, check it, thin it out, bring things in and out.

    Every command takes the path or address of a store, or a recipe (.yaml) whose store it then uses.
    """


@cache_group.command("ls")
@_STORE
@click.option("--clips", is_flag=True, help="One line a clip instead of one a feature.")
@_JSON
def list_store(store: str, clips: bool, as_json: bool) -> None:
    """List features: names, key, backbone, tracks, clips, rows, size."""
    opened = _open(store)
    from cache.inventory import clip_lines, feature_lines
    from pipeline import show_cache

    if clips:
        show_cache.clips(opened.location, clip_lines(opened), as_json)
    else:
        show_cache.features(opened.location, feature_lines(opened), as_json)


@cache_group.command()
@_STORE
@click.argument("name", metavar="FEATURE|KEY|CLIP")
@_JSON
def info(store: str, name: str, as_json: bool) -> None:
    """Say all that is known of a feature or a clip."""
    opened = _open(store)
    from cache.about import about
    from pipeline import show_cache

    show_cache.info(about(opened, name), as_json)


@cache_group.command()
@_STORE
@click.option("--repair", is_flag=True, help="Drop what is damaged, so that the next extract makes it again.")
@_YES
@_JSON
def verify(store: str, repair: bool, yes: bool, as_json: bool) -> None:
    """Read everything again and say what is damaged; exit code 1 if anything is.

    Checksums, row counts, non-finite values, labels, records and tracks that don't meet, and stray things.
    """
    if yes and not repair:
        raise click.UsageError("--yes would have no effect without --repair; leave it out")
    opened = _open(store)
    from cache import audit
    from pipeline import show, show_cache

    with show.counting(f"verifying {opened.location}", "tracks and records") as count:
        found = audit.verify(opened, count)
    if repair and not found.sound:
        for fault in found.faults:
            show.said(f"{fault.kind} {fault.name}: {fault.said}")
        _agree("Drop what is damaged?", yes)
        show_cache.repaired(audit.repair(_open(store, writable=True), found))
        found = audit.verify(_open(store))
    show_cache.audit(opened.location, found, as_json)
    sys.exit(0 if found.sound else 1)


@cache_group.command()
@_STORE
@_several("feature", "NAME", "What goes by this name.")
@_several("key", "KEY", "What has a key that begins so.")
@_several("clip", "CLIP", "What is of this clip; alone, all of it and its record.")
@_DRY_RUN
@_YES
def drop(
    store: str, features: tuple[str, ...], keys: tuple[str, ...], clips: tuple[str, ...], dry_run: bool, yes: bool
) -> None:
    """Drop a feature, a key or a clip. Of two kinds given, what is of both: a feature of one clip."""
    if not (features or keys or clips):
        raise click.UsageError("nothing says what to drop; name it by --feature, --key or --clip")
    opened = _open(store)
    from cache.inventory import recipe_named
    from cache.removal import plan_drop
    from pipeline import show_cache

    recipes = []
    for prefix in keys:
        if (digest := recipe_named(opened, prefix)) is None:
            raise click.UsageError(f"store {opened.location} has no key that begins with {prefix}; see duet cache ls")
        recipes.append(digest)
    plan = plan_drop(opened, features, recipes, clips)
    show_cache.removal(plan, "would drop" if dry_run else "to drop")
    if not dry_run:
        _remove(store, plan, yes)


@cache_group.command()
@_STORE
@click.option(
    "--keep-generations", type=click.IntRange(min=1), default=1, show_default=True, help="Records kept of a clip."
)
@click.option(
    "--unused-hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="A track goes when it has been unused for so long, as gc saw it. 0 = at once: extract nothing meanwhile.",
)
@_DRY_RUN
@_YES
def gc(store: str, keep_generations: int, unused_hours: float, dry_run: bool, yes: bool) -> None:
    """Drop what nothing uses: tracks that no newest record names, and older generations of records."""
    opened = _open(store)
    from cache.removal import plan_gc
    from pipeline import show_cache

    plan = plan_gc(opened, keep_generations=keep_generations, unused_hours=unused_hours)
    show_cache.removal(plan, "would drop" if dry_run else "to drop")
    show_cache.waiting(plan, unused_hours)
    if not dry_run and plan:
        _remove(store, plan, yes)


@cache_group.command()
@_STORE
@_JSON
def du(store: str, as_json: bool) -> None:
    """Say what takes up room: features, clips, old generations, what is unused or unfinished."""
    opened = _open(store)
    from cache.inventory import usage
    from pipeline import show_cache

    show_cache.shares(opened.location, usage(opened), as_json)


@cache_group.command()
@_STORE
@click.argument("out", type=click.Path(path_type=Path))
@_several("feature", "NAME", "This feature alone.")
@_several("split", "SPLIT", "Clips of this split alone.")
@_several("clip", "CLIP", "This clip alone.")
@click.option("--labels", is_flag=True, help="To CSV: the clip's labels instead of a feature.")
def export(
    store: str,
    out: Path,
    features: tuple[str, ...],
    splits: tuple[str, ...],
    clips: tuple[str, ...],
    labels: bool,
) -> None:
    """Write a part of a store, or all of it, to one new file.

    OUT says how: .h5 or .hdf5 is one self-contained file, which `duet cache import` reads; .npz is one clip; .csv is
    one feature of one clip: seconds, valid, columns. A whole Zarr store needs no export: its folder is the exchange
    format.
    """
    opened = _open(store)
    from pipeline import cache_exports

    place = cache_exports.export(opened, out, features, splits, clips, labels)
    from pipeline import show

    show.where("export", place)


@cache_group.command("import")
@_STORE
@click.argument("source", metavar="FROM")
@_several("feature", "NAME", "This feature alone.")
@_several("split", "SPLIT", "Clips of this split alone.")
@_several("clip", "CLIP", "This clip alone.")
@click.option(
    "--labels", type=click.Choice(["ours", "theirs"]), help="Whose labels count where both have some that differ."
)
@_JSON
def import_store(
    store: str,
    source: str,
    features: tuple[str, ...],
    splits: tuple[str, ...],
    clips: tuple[str, ...],
    labels: Side | None,
    as_json: bool,
) -> None:
    """Bring in what another store, or an exported file, has: nothing that is here is overwritten.

    STORE is made if it isn't there. Exit code 1 if something was left out, because ours differs or theirs is damaged.
    """
    from pipeline import cache_exports, show, show_cache

    with show.counting(f"importing {source}", "clips") as count:
        done = cache_exports.bring_in(_location(store), _location(source), features, splits, clips, labels, count)
    show_cache.transferred(done, _location(store), as_json)
    sys.exit(1 if done.conflicts else 0)


@cache_group.command()
@click.argument("a")
@click.argument("b")
@click.option("--store", help="Where features and keys that stand alone are looked up.")
@_JSON
def explain(a: str, b: str, store: str | None, as_json: bool) -> None:
    """Say in words why two keys differ, or why a feature would be extracted anew.

    A and B are STORE#FEATURE, STORE#KEY, CONFIG#FEATURE, whole stores or recipes, or, with --store, features or keys
    alone. FEATURE CONFIG compares what the recipe asks for with what its store has.
    """
    from pipeline import show_cache
    from pipeline.cache_explained import explained

    show_cache.explained(explained(a, b, _location(store) if store is not None else None, _load), as_json)


def _open(store: str, *, writable: bool = False) -> Store:
    """The store that is named, or a recipe's. Never makes one."""
    location = _location(store)
    from cache.store import open_store

    opened = open_store(location)
    return open_store(location, writable=True) if writable else opened


def _location(store: str) -> str:
    return _load(Path(store)).store if store.endswith((".yaml", ".yml")) else store


def _load(config: Path) -> Recipe:
    from pipeline.settings import SettingsError, load_recipe

    try:
        return load_recipe(config)
    except SettingsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(2)


def _remove(store: str, plan: Removal, yes: bool) -> None:
    if not plan:
        return
    _agree("Drop this?", yes)
    from cache.removal import remove
    from pipeline import show, show_cache

    with show.counting("dropping", "tracks") as count:
        freed = remove(_open(store, writable=True), plan, count)
    show.said(f"freed {show_cache.size(freed)}")


def _agree(question: str, yes: bool) -> None:
    """Go on only if a person says so."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nothing was dropped: there is no terminal to ask on; add --yes if it is meant")
    if not click.confirm(question, err=True):
        click.echo("nothing was dropped", err=True)
        sys.exit(1)
