"""`duet models`: what is listed, what is fetched by which name, and what neither of them imports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from puppets import DUET, ROOT, duet

from extract.backbones.kept import kept_path
from extract.backbones.pinned import Pinned
from extract.backbones.registry import BACKBONES, Published
from extract.faces.weights import DETECTORS
from pipeline import models
from pipeline.cli import cli
from pipeline.models import Wanted, fetch_all, listing, wanted_by_names, wanted_by_recipe
from pipeline.settings import Recipe, load_recipe

REVISION = "0123456789abcdef0123456789abcdef01234567"
DIGEST = "3" * 64
RECIPE = f"""\
title: small
corpus: {{format: affwild2, root: corpus}}
store: x.zarr
runs: runs
report: report
faces: {{method: detect, weights: yunet}}
features:
  net: {{backbone: facenet, weights: vggface2, crop: {{region: face}}}}
  again: {{backbone: facenet, weights: vggface2, crop: {{region: face, size_px: 96}}}}
  own: {{backbone: zhao19, weights: "https://example.org/zhao.pth#sha256={DIGEST}"}}
  speech: {{backbone: wav2vec2:lab/net, weights: hub, revision: {REVISION}}}
  library: {{backbone: torchvision:resnet18, weights: default}}
  path: {{backbone: emo18, weights: some.pth}}
  chance: {{backbone: emo16, weights: random:3}}
  mel: {{backbone: logmel}}
fuse: {{features: {{audio: mel}}}}
"""


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUET_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    """zhao19 with weights that forbid commercial use."""
    published = {"theirs": Published("https://example.org/theirs.pth", DIGEST, "CC BY-NC 4.0", False)}
    monkeypatch.setitem(BACKBONES, "zhao19", replace(BACKBONES["zhao19"], published=published))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "x.yaml").write_text(RECIPE, encoding="utf-8")
    return load_recipe(tmp_path / "x.yaml")


def by_name() -> dict[str, dict[str, Any]]:
    return {entry["name"].partition(":")[0].partition("[")[0]: entry for entry in listing()}


# ------------------------------------------------------------------------------------------------ the listing


def test_everything_that_is_registered_is_listed_with_what_it_declares() -> None:
    listed = by_name()
    assert list(listed) == [*BACKBONES, *DETECTORS]
    assert json.loads(json.dumps(listing())) == listing()
    for name, spec in BACKBONES.items():
        entry = listed[name]
        for field in ("modality", "width", "licence", "source", "extra"):
            assert entry[field] == getattr(spec, field)
        assert entry["parameters"] == (spec.parameters if spec.has_weights else 0)
        assert [one["name"] for one in entry["weights"]][: len(spec.published)] == list(spec.published)
        assert all(one["note"] for one in entry["weights"])


def test_inputs_and_rates_are_said_in_units() -> None:
    listed = by_name()
    wanted = {
        "facenet": ("160 px", "a frame"),
        "transformers-vision": ("px by model", "a frame"),
        "zhao19": ("0.66 s at 16,000 Hz", "25 Hz"),
        "logmel": ("0.025 s at 16,000 Hz", "100 Hz"),
        "wav2vec2": ("20 s at 16,000 Hz", "50 Hz"),
        "yunet": ("whole picture", "a frame"),
    }
    assert {name: (listed[name]["input"], listed[name]["rate"]) for name in wanted} == wanted


def test_weights_are_here_once_their_file_is() -> None:
    (entry,) = by_name()["facenet"]["weights"]
    published = BACKBONES["facenet"].published["vggface2"]
    path = kept_path(Pinned(published.url, published.sha256))
    assert (entry["present"], entry["file"], entry["fetch"]) == (False, str(path), "facenet/vggface2")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"here")
    assert by_name()["facenet"]["weights"][0]["present"] is True


def test_what_was_never_loaded_here_is_said() -> None:
    listed = by_name()
    notes = {name: [one["note"] for one in listed[name]["weights"]] for name in listed}
    assert notes["facenet"] == ["names checked, real weights never loaded here"]
    assert notes["minifasnet"] == ["real weights loaded here"]
    assert notes["yunet"] == ["real weights never loaded here"]
    assert notes["vggface2-senet50"] == ["names checked, real weights never loaded here"]
    assert notes["wav2vec2"][0].endswith("at a revision; real weights never loaded here")
    folder = ROOT / "extract/backbones/names"
    named = {spec.names for spec in BACKBONES.values()}
    named |= {published.names for spec in BACKBONES.values() for published in spec.published.values()}
    assert named - {None} == {path.name for path in folder.iterdir()}, "every list of names belongs to a backbone"


def test_the_table_and_the_json(tmp_path: Path) -> None:
    done = duet(tmp_path, "models")
    assert (done.code, done.err) == (0, "")
    header, *rows = [line.split("\t") for line in done.out.splitlines()]
    assert header == ["name", "modality", "width", "parameters", "input", "a row", "weights", "licence"]
    assert [row[0] for row in rows] == [
        entry["name"] + (f" [{entry['extra']}]" if entry["extra"] else "") for entry in listing()
    ]
    cells = {row[0]: row[1:] for row in rows}
    assert cells["zhao19"][:5] == ["audio", "128", "87,360", "0.66 s at 16,000 Hz", "25 Hz"]
    assert cells["logmel"][5] == "none"
    assert cells["emo18"][5] == "random or a path"
    assert cells["torchvision:MODEL"][1:3] == ["by model", "by model"]
    assert cells["yunet [face]"] == [
        "visual", "-", "-", "whole picture", "a frame", "yunet (not here; real weights never loaded here)", "MIT",
    ]  # fmt: skip
    done = duet(tmp_path, "models", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == listing()


@pytest.mark.usefixtures("restricted")
def test_a_licence_that_forbids_something_is_in_the_table(tmp_path: Path) -> None:
    done = duet(tmp_path, "models")
    assert "theirs (not here, non-commercial; real weights never loaded here)" in done.out


def test_the_listing_loads_no_network_library() -> None:
    code = "import sys, json; from pipeline import models, show; show.models(models.listing(), False)"
    code += "; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert not loaded & {"torch", "torchvision", "transformers", "av", "cv2", "huggingface_hub"}


# ------------------------------------------------------------------------------------------------ what is fetched


def test_names_of_the_listing_are_names_to_fetch() -> None:
    for entry in listing():
        for one in entry["weights"]:
            if "fetch" in one:
                assert [wanted.name for wanted in wanted_by_names((one["fetch"],), False)] == [one["fetch"]]
    assert [one.name for one in wanted_by_names(("yunet", "facenet", "facenet/vggface2"), False)] == [
        "yunet", "facenet/vggface2",
    ]  # fmt: skip


def test_an_unknown_name_lists_the_known_and_the_nearest() -> None:
    message = (
        r"'facenet/vgface2' is no recipe and no published weights; there are yunet, .*; did you mean facenet/vggface2"
    )
    with pytest.raises(ValueError, match=message):
        wanted_by_names(("yunet", "facenet/vgface2"), False)
    with pytest.raises(ValueError, match="'emo18' is no recipe and no published weights"):
        wanted_by_names(("emo18",), False)


@pytest.mark.usefixtures("restricted")
def test_a_licence_that_forbids_something_must_be_accepted() -> None:
    with pytest.raises(
        ValueError, match=r"zhao19/theirs \(CC BY-NC 4\.0\): commercial use is forbidden; .*--accept-non"
    ):
        wanted_by_names(("yunet", "zhao19"), False)
    (one,) = wanted_by_names(("zhao19",), True)
    assert (one.name, one.commercial) == ("zhao19/theirs", False)
    with pytest.raises(ValueError, match="--accept-non-commercial would have no effect"):
        wanted_by_names(("yunet",), True)


def test_a_recipe_names_all_that_it_needs_once(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(models, "fetch", lambda pinned, on_bytes: asked.append(pinned) or Path("a"))
    monkeypatch.setattr(models, "fetch_hub", lambda *where: asked.append(where) or Path("b"))
    monkeypatch.setattr(models, "_default", lambda feature: asked.append(feature.backbone) or "c")
    wanted = wanted_by_recipe(recipe)
    names = ["facenet/vggface2", "zhao.pth", "lab/net@01234567", "torchvision:resnet18/default", "yunet"]
    assert [one.name for one in wanted] == names
    places = [one.fetch(lambda got, total: None) for one in wanted]
    assert places == ["a", "a", "b", "c", "a"]
    facenet, yunet = BACKBONES["facenet"].published["vggface2"], DETECTORS["yunet"]
    assert asked == [
        Pinned(facenet.url, facenet.sha256),
        Pinned("https://example.org/zhao.pth", DIGEST),
        ("lab/net", REVISION),
        "torchvision:resnet18",
        Pinned(yunet.url, yunet.sha256),
    ]


def test_what_is_fetched_is_counted_and_placed(capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline import show

    def get(on_bytes: Any) -> str:
        on_bytes(1_000_000, 2_500_000)
        on_bytes(2_500_000, 2_500_000)
        return "there"

    assert fetch_all([Wanted("net", "MIT", True, get)], show.fetching) == {"net": "there"}
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fetching net: 1/2 MB")


# ------------------------------------------------------------------------------------------------ the command


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fetching does nothing but say what was wanted."""
    names: list[str] = []

    def fetch_none(wanted: list[Wanted], showing: Any) -> dict[str, str]:
        names.extend(one.name for one in wanted)
        return {one.name: f"/kept/{one.name}" for one in wanted}

    monkeypatch.setattr(models, "fetch_all", fetch_none)
    return names


def test_the_command_fetches_names_or_a_recipe(tmp_path: Path, recipe: Recipe, got: list[str]) -> None:
    done = duet(tmp_path, "models", "fetch", "yunet", "facenet")
    assert (done.code, done.err) == (0, "")
    assert done.out == "yunet: /kept/yunet\nfacenet/vggface2: /kept/facenet/vggface2\n"
    assert got == ["yunet", "facenet/vggface2"]
    got.clear()
    assert duet(tmp_path, "models", "fetch", "x.yaml").code == 0
    assert len(got) == 5


def test_a_recipe_that_needs_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "y.yaml").write_text(
        "title: y\ncorpus: {format: affwild2, root: c}\nstore: x.zarr\nruns: r\nreport: p\n"
        "features: {mel: {backbone: logmel}}\nfuse: {features: {audio: mel}}\n"
    )
    done = duet(tmp_path, "models", "fetch", "y.yaml")
    assert (done.code, done.out, done.err) == (0, "", "y.yaml needs no weights from the network\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch"], "Missing argument 'NAME...|CONFIG'"),
        (["fetch", "yunett"], "'yunett' is no recipe and no published weights; there are yunet, "),
        (["fetch", "x.yaml", "yunet"], "a recipe is fetched alone, and accepts licences itself"),
        (["fetch", "x.yaml", "--accept-non-commercial"], "a recipe is fetched alone, and accepts licences itself"),
        (["--json", "fetch", "yunet"], "--json would have no effect on fetch"),
        (["fetch", "none.yaml"], "none.yaml: can't be read: No such file or directory"),
        (["ftch"], "No such command 'ftch'"),
    ],
)
def test_mistakes_are_code_2(tmp_path: Path, recipe: Recipe, got: list[str], arguments: list[str], said: str) -> None:
    done = duet(tmp_path, "models", *arguments)
    assert (done.code, done.out, got) == (2, "", [])
    assert said in done.err


def test_every_option_says_what_it_does() -> None:
    group = cli.commands["models"]
    assert isinstance(group, click.Group)
    for command in (group, *group.commands.values()):
        assert command.help
        assert all(option.help for option in command.params if isinstance(option, click.Option))
    listed = CliRunner().invoke(cli, ["models", "-h"]).output
    assert "fetch" in listed


def test_a_fetch_that_can_not_be_done_is_one_line_and_code_2(tmp_path: Path) -> None:
    recipe = RECIPE.replace("https://example.org/zhao.pth", "http://127.0.0.1:9/zhao.pth")  # a port that nobody serves
    lines = [
        line for line in recipe.splitlines() if not line.startswith(("faces", "  net", "  again", "  speech", "  lib"))
    ]
    (tmp_path / "z.yaml").write_text("\n".join(lines), encoding="utf-8")
    done = subprocess.run(
        [DUET, "models", "fetch", "z.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("duet: http://127.0.0.1:9/zhao.pth can't be fetched (")
    assert len(done.stderr.splitlines()) == 1
