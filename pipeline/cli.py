"""The command line: parses, calls one function, exits. Nothing heavy is imported before a command needs it.

Exit codes: 0 done; 1 some clips failed; 2 usage, settings or data that can't be used.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cache_commands import cache_group

if TYPE_CHECKING:
    from pipeline.settings import Recipe

_RECIPE = click.argument("config", type=click.Path(path_type=Path))
_OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
_DEVICE = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps")
_DEMO_RECIPE = Path(__file__).parent / "recipes" / "demo.yaml"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="duet-affect", prog_name="duet")
def cli() -> None:
    """Extract once, fuse many: cached audiovisual embeddings and fusion models of valence and arousal."""


cli.add_command(cache_group)


@cli.command()
@_DEVICE
@click.option("--seed", type=int, help="Seed of the corpus; another seed, another corpus and folder.")
@click.option("--quick", is_flag=True, help="A small corpus, one seed and few epochs: minutes become seconds.")
@_OVERRIDES
def demo(device: str, seed: int | None, quick: bool, overrides: tuple[str, ...]) -> None:
    """Write a corpus of puppets, extract, train the models, report."""
    recipe = _load(_DEMO_RECIPE, (*_demo_changes(seed, quick), *overrides), _for_extraction(device))
    from pipeline import stages

    sys.exit(1 if stages.demo(recipe, device) else 0)


@cli.command()
@_RECIPE
@_OVERRIDES
@click.option("--corpus", is_flag=True, help="Check the corpus too: labels, splits, missing files, frame counts.")
@click.option("--json", "as_json", is_flag=True, help="With --corpus: what was found, as JSON on stdout.")
def check(config: Path, overrides: tuple[str, ...], corpus: bool, as_json: bool) -> None:
    """Check a recipe: every mistake at once, with file, line and the nearest key.

    With --corpus nothing is decoded either. Exit code 1: something is wrong with some clips; 2: nothing would be
    extracted.
    """
    recipe = _load(config, overrides)
    if as_json and not corpus:
        raise click.UsageError("--json says what --corpus found; give both")
    if corpus:
        from pipeline import stages

        sys.exit(stages.check_corpus(recipe, as_json).exit_code)
    click.echo(f"{config} is sound: {len(recipe.features)} features, model {recipe.fuse.model}, store {recipe.store}")


@cli.command()
@_RECIPE
@_OVERRIDES
@_DEVICE
@click.option("--retry-failed", is_flag=True, help="Do just the clips that failed before.")
def extract(config: Path, overrides: tuple[str, ...], device: str, retry_failed: bool) -> None:
    """Stage one: media files to cached embeddings. Goes on where it was stopped."""
    recipe = _load(config, overrides, _for_extraction(device))
    from pipeline import stages

    sys.exit(1 if stages.extract(recipe, retry_failed=retry_failed).failed else 0)


@cli.command()
@_RECIPE
@_OVERRIDES
@_DEVICE
@click.option("--model", help="Fusion model, instead of the recipe's.")
@click.option("--seeds", type=int, help="How many seeds, instead of the recipe's.")
@click.option("--modalities", help="Which of the recipe's modalities, e.g. audio or audio,video.")
def fuse(
    config: Path, overrides: tuple[str, ...], device: str, model: str | None, seeds: int | None, modalities: str | None
) -> None:
    """Stage two: train and score a fusion model on the cache, and renew the report."""
    recipe = _load(
        config,
        overrides,
        f"fuse.model={model}" if model else None,
        f"fuse.seeds={seeds}" if seeds is not None else None,
    )
    if modalities is not None:
        recipe = _only(recipe, [name.strip() for name in modalities.split(",")])
    from pipeline import stages

    stages.fuse(recipe, device)
    stages.report(recipe)


@cli.command()
@_RECIPE
@_OVERRIDES
def report(config: Path, overrides: tuple[str, ...]) -> None:
    """Put every finished run into one HTML page and JSON file."""
    recipe = _load(config, overrides)
    from pipeline import stages

    stages.report(recipe)


@cli.command()
@_RECIPE
@click.argument("clip")
@_OVERRIDES
@click.option("--out", type=click.Path(path_type=Path), help="The sheet's PNG file; by default beside the report.")
@click.option("--every", type=click.IntRange(min=1), help="Show one frame in so many; by default 16 to 32 in all.")
@click.option("--crops", type=click.Path(path_type=Path), help="Write the squares too: CROPS/CLIP/00001.jpg, 112 px.")
def faces(
    config: Path, clip: str, overrides: tuple[str, ...], out: Path | None, every: int | None, crops: Path | None
) -> None:
    """Look for the faces of one clip: a contact sheet of where they are, and crops if asked."""
    recipe = _load(config, overrides)
    from pipeline.faces import faces as look

    look(recipe, clip, out, every, crops)


@cli.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of a table.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List backbones and face detectors, and whose weights are here; `fetch` gets them."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json would have no effect on fetch; leave it out")
        return
    from pipeline import show
    from pipeline.models import listing

    show.models(listing(), as_json)


@models.command("fetch")
@click.argument("wanted", nargs=-1, required=True, metavar="NAME...|CONFIG")
@click.option("--accept-non-commercial", is_flag=True, help="Yes to licences that forbid commercial use.")
def fetch_models(wanted: tuple[str, ...], accept_non_commercial: bool) -> None:
    """Get published weights by NAME, or all that a recipe needs: once, checked against their digests."""
    from pipeline import models as story

    recipes = [name for name in wanted if name.endswith((".yaml", ".yml"))]
    if recipes and (len(wanted) > 1 or accept_non_commercial):
        raise click.UsageError("a recipe is fetched alone, and accepts licences itself; leave the rest out")
    if recipes:
        found = story.wanted_by_recipe(_load(Path(recipes[0]), ()))
    else:
        found = story.wanted_by_names(wanted, accept_non_commercial)
    from pipeline import show

    for name, place in story.fetch_all(found, show.fetching).items():
        show.where(name, place)
    if not found:
        show.said(f"{wanted[0]} needs no weights from the network")


def main() -> None:
    """The command `duet`: known errors become one clear message and exit code 2."""
    try:
        code = cli(prog_name="duet", standalone_mode=False)  # click's own main would take Ctrl-C for a failed command
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (ValueError, OSError) as error:
        click.echo(f"duet: {error}", err=True)
        code = 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("duet: stopped; what is finished is kept, run the same command to go on", err=True)
        code = 130
    sys.exit(code)


def _load(config: Path, overrides: tuple[str, ...], *more: str | None) -> Recipe:
    from pipeline.settings import SettingsError, load_recipe

    try:
        return load_recipe(config, [*(change for change in more if change is not None), *overrides])
    except SettingsError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(2)


def _for_extraction(device: str) -> str | None:
    return f"execution.device={device}" if device != "auto" else None


def _only(recipe: Recipe, modalities: list[str]) -> Recipe:
    unknown = [name for name in modalities if name not in recipe.fuse.features]
    if unknown:
        raise click.UsageError(f"no modality {', '.join(unknown)}; the recipe has {', '.join(recipe.fuse.features)}")
    return recipe.model_copy(update={"fuse": recipe.fuse.only(modalities)})


def _demo_changes(seed: int | None, quick: bool) -> tuple[str, ...]:
    changes: list[str] = []
    root = "work/demo"
    if quick:
        root = "work/demo-quick"
        changes += ["puppets.clips=12", "puppets.subjects=12", "fuse.seeds=1", "fuse.training.epochs=3"]
    if seed is not None:
        root += f"-seed{seed}"
        changes.append(f"puppets.seed={seed}")
    if root != "work/demo":
        changes += [
            f"corpus.root={root}/corpus",
            f"corpus.subjects={root}/corpus/subjects.csv",
            f"store={root}/store.zarr",
            f"runs={root}/runs",
            f"report={root}/report",
        ]
    return tuple(changes)
