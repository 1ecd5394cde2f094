"""`duet faces`: the sheet, the crops, what is looked at in each kind of corpus, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from detectors import CENTRE, POINTS, SIZE, write_detector
from media import HEIGHT, WIDTH, even_ticks, write_media
from PIL import Image

from cache.clock import Clock
from extract.clips import Clip, GivenFaces, Images
from extract.decode import pictures
from extract.faces.align import cut
from extract.faces.face import Face
from pipeline import contact_sheet
from pipeline import faces as story
from pipeline.cli import cli
from pipeline.contact_sheet import Cell, State, draw_sheet, thumb_size
from pipeline.crop_folder import CropFolder
from pipeline.faces import clip_named

pytest.importorskip("cv2")

RED = (255, 0, 0)
CELL = (4, 2)  # column and row of the red cell of 8 x 8 pixels that the test's detector takes for a face
SEEN = "xx.x......xx."  # at 25 Hz; the gap of one row is held, that of six is longer than 0.2 s
RECIPE = """\
title: small
corpus: {{format: affwild2, root: .}}
store: x.zarr
runs: runs
report: report
faces: {{{faces}}}
features: {{r: {{backbone: "torchvision:resnet18", weights: "random:0", crop: {{region: face}}}}}}
fuse: {{features: {{video: r}}}}
"""

Faces = Callable[..., Result]


def picture(i: int) -> np.ndarray:
    pixels = np.full((HEIGHT, WIDTH, 3), (20, 40, 60), np.uint8)
    if SEEN[i] == "x":
        left, top = 8 * CELL[0], 8 * CELL[1]
        pixels[top : top + 8, left : left + 8] = RED
    return pixels


def the_face() -> Face:
    corner = 8 * np.array(CELL)
    box = np.concatenate([corner + np.array(CENTRE) - np.array(SIZE) / 2, SIZE])
    return Face(1.0, box.astype(np.float32), (corner + np.array(POINTS)).astype(np.float32))


@pytest.fixture
def film(tmp_path: Path) -> Clip:
    media = write_media(tmp_path / "a.mp4", even_ticks(len(SEEN), 25), picture=picture)
    return Clip(name="a", media=media, media_name="a.mp4", split="train")


@pytest.fixture
def duet_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faces:
    """Run the command on clips that were read already; faces: the recipe's setting."""
    monkeypatch.chdir(tmp_path)
    detector = write_detector(tmp_path / "red.onnx")

    def run(clips: list[Clip], *arguments: str, faces: str = f"method: detect, weights: {detector}") -> Result:
        monkeypatch.setattr(story, "read_corpus", lambda settings: clips)
        (tmp_path / "x.yaml").write_text(RECIPE.format(faces=faces), encoding="utf-8")
        return CliRunner().invoke(cli, ["faces", "x.yaml", *arguments])

    return run


def message(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, ValueError)  # `main` turns it into one line and exit code 2
    return str(result.exception)


# ------------------------------------------------------------------------------------------------ the command


def test_a_sheet_is_written_beside_the_report(duet_faces: Faces, film: Clip, tmp_path: Path) -> None:
    done = duet_faces([film], "a")
    assert done.exit_code == 0, done.output
    assert done.stdout == "sheet: report/faces/a.png\n"
    assert "13 rows: a face found in 5, the last place held in 1, no face in 7" in done.stderr
    with Image.open(tmp_path / "report/faces/a.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 4 * thumb_size(WIDTH, HEIGHT)[0]
    assert [path.name for path in (tmp_path / "report/faces").iterdir()] == ["a.png"]


def test_crops_are_numbered_as_aff_wild2_numbers_them(duet_faces: Faces, film: Clip, tmp_path: Path) -> None:
    done = duet_faces([film], "a", "--crops", "crops", "--out", "here/sheet.png", "faces.hold_seconds=0.2")
    assert done.exit_code == 0, done.output
    assert done.stdout == "crops: crops/a\nsheet: here/sheet.png\n"
    assert [path.name for path in (tmp_path / "crops").iterdir()] == ["a"]
    names = sorted(path.name for path in (tmp_path / "crops/a").iterdir())
    assert names == [f"{number:05d}.jpg" for number in (1, 2, 3, 4, 11, 12)]
    assert film.media is not None
    for number, (shown, _) in enumerate(pictures(film.media), 1):
        if f"{number:05d}.jpg" in names:
            with Image.open(tmp_path / f"crops/a/{number:05d}.jpg") as crop:
                assert crop.size == (112, 112)
                off = np.asarray(crop).astype(int) - cut(shown, the_face(), 112, 0.0)
            assert np.abs(off).mean() < 3, "the square, as JPEG keeps it"


def test_crops_that_are_there_are_not_touched(duet_faces: Faces, film: Clip, tmp_path: Path) -> None:
    (tmp_path / "crops/a").mkdir(parents=True)
    assert "crops/a is there already, and nothing finished is overwritten" in message(
        duet_faces([film], "a", "--crops", "crops")
    )


def test_a_film_that_breaks_leaves_no_crops(duet_faces: Faces, tmp_path: Path) -> None:
    (tmp_path / "junk.mp4").write_bytes(b"no film")
    junk = Clip(name="junk", media=tmp_path / "junk.mp4", media_name="junk.mp4", split="train")
    assert re.match(r"junk\.mp4: \w+", message(duet_faces([junk], "junk", "--crops", "crops")))
    assert list((tmp_path / "crops").iterdir()) == []


def test_every_so_many_frames(duet_faces: Faces, film: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[int] = []

    def draw(title: str, about: str, cells: list[Cell], states: list[State], seconds: list[float]) -> Image.Image:
        shown.extend(cell.row for cell in cells)
        return Image.new("RGB", (7, 5))

    monkeypatch.setattr(story, "draw_sheet", draw)
    assert duet_faces([film], "a", "--every", "5").exit_code == 0
    assert shown == [0, 5, 10]
    monkeypatch.setattr(story, "_MOST_CELLS", 2)
    assert message(duet_faces([film], "a", "--every", "5")) == (
        "--every 5 makes more than 2 frames on one sheet; take a larger number"
    )


def test_a_sheet_is_filled_whatever_the_length() -> None:
    for rows in (1, 31, 32, 33, 101, 1021):
        chosen = story._Chosen(None)
        for row in range(rows):
            if chosen.wants(row):
                chosen.add(Cell(row, 0.0, None, 1.0, None, None))
        shown = [cell.row for cell in chosen.cells]
        assert min(rows, 16) <= len(shown) <= 32
        assert shown == list(range(0, rows, shown[1] - shown[0] if len(shown) > 1 else 1))


# ------------------------------------------------------------------------------------------------ refusals


def test_an_unknown_clip_names_the_nearest(film: Clip) -> None:
    clips = [Clip(name, film.media, "a.mp4", "train") for name in ("interview_01", "interview_02", "street")]
    assert clip_named(clips, "street") is clips[2]
    with pytest.raises(ValueError, match=r"no clip 'interview_1'; did you mean interview_01 or interview_02"):
        clip_named(clips, "interview_1")
    with pytest.raises(ValueError, match=r"no clip '99'; there are interview_01, interview_02, street"):
        clip_named(clips, "99")


@pytest.mark.parametrize(
    ("faces", "arguments", "problem"),
    [
        ("method: detect, weights: gone.onnx", (), r"faces\.weights is gone\.onnx, which is no file"),
        ("method: box", (), r"the corpus gives no boxes for a; use faces\.method: detect"),
        ("method: crops", (), r"the corpus gives no crops for a; use faces\.method: detect"),
        ("method: crops", ("--crops", "x"), r"--crops would have no effect: with faces\.method crops, a has its crops"),
        ("method: box", ("--out", "sheet.jpg"), r"--out is sheet\.jpg; wanted a name that ends in \.png"),
    ],
)
def test_what_is_refused(duet_faces: Faces, film: Clip, faces: str, arguments: tuple[str, ...], problem: str) -> None:
    assert re.search(problem, message(duet_faces([film], "a", *arguments, faces=faces)))


def test_a_recipe_without_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = RECIPE.format(faces="").replace("faces: {}\n", "").replace(", crop: {region: face}", "")
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(cli, ["faces", "x.yaml", "a"])
    assert "the recipe has no `faces`; add one, e.g. faces: {method: detect, weights: yunet}" in message(done)


def test_sound_alone_has_no_face(duet_faces: Faces) -> None:
    heard = Clip(name="s", media=None, media_name="s.wav", split="train")
    assert message(duet_faces([heard], "s")) == "s has no video in which a face could be looked for"


# ------------------------------------------------------------------------------------------------ other corpora


def test_given_boxes(duet_faces: Faces, film: Clip, tmp_path: Path) -> None:
    boxes = np.tile(np.array([8, 4, 20, 30], np.float32), (11, 1))
    given = GivenFaces(boxes, None, np.array([letter == "x" for letter in SEEN[:11]]))
    clip = Clip("b", film.media, "a.mp4", "train", faces=given)
    done = duet_faces([clip], "b", "--crops", "crops", faces="method: box, margin: 0.1, hold_seconds: 0")
    assert "13 rows: a face found in 4, the last place held in 0, no face in 9" in done.stderr
    assert sorted(path.stem for path in (tmp_path / "crops/b").iterdir()) == ["00001", "00002", "00004", "00011"]


@pytest.mark.parametrize("with_film", [True, False])
def test_the_corpus_own_crops(duet_faces: Faces, film: Clip, tmp_path: Path, with_film: bool) -> None:
    folder = tmp_path / "cropped_aligned/c"
    folder.mkdir(parents=True)
    for number in (2, 3, 7):
        Image.new("RGB", (112, 112), (0, 7 * number, 0)).save(folder / f"{number:05d}.jpg")
    (folder / "00009.jpg").write_bytes(b"no picture")
    clock = None if with_film else Clock.regular(Fraction(1, 25), 11)
    images = Images(folder, first=1, cropped=True, clock=clock)
    clip = Clip("c", film.media if with_film else None, "a.mp4", "train", images=images)
    done = duet_faces([clip], "c", faces="method: crops")
    assert done.exit_code == 0, done.output
    rows = 13 if with_film else 11
    assert f"{rows} rows: a face found in 3, the last place held in 0, no face in {rows - 3}" in done.stderr


def test_frames_in_a_folder(duet_faces: Faces, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for row in (0, 1, 3, 4):
        Image.fromarray(picture(0)).save(folder / f"{row + 7:03d}.png")
    images = Images(folder, first=7, cropped=False, clock=Clock.regular(Fraction(1, 25), 5))
    done = duet_faces([Clip("d", None, "frames", "train", images=images)], "d", "--crops", "crops")
    assert "5 rows: a face found in 4, the last place held in 0, no face in 1" in done.stderr
    assert sorted(path.stem for path in (tmp_path / "crops/d").iterdir()) == ["00001", "00002", "00004", "00005"]


# ------------------------------------------------------------------------------------------------ the drawing


def colour(name: State) -> tuple[int, ...]:
    text = contact_sheet._COLOURS[name]
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def sheet_of(states: list[State], seconds: list[float], frame: bool = True) -> np.ndarray:
    face = the_face()
    square = np.full((112, 112, 3), 90, np.uint8)
    width, height, scale = thumb_size(WIDTH, HEIGHT)
    thumb = Image.new("RGB", (width, height), (250, 240, 230)) if frame else None
    cells = [
        Cell(row, seconds[row], thumb, scale, face if state != "none" else None, square if state != "none" else None)
        for row, state in enumerate(states)
    ]
    return np.asarray(draw_sheet("clip", "about", cells, states, seconds))


def share_of(pixels: np.ndarray, name: State) -> float:
    return float((pixels == colour(name)).all(-1).mean())


@pytest.mark.parametrize("frame", [True, False])
def test_the_strip_shows_every_state_for_as_long_as_it_lasts(frame: bool) -> None:
    states: list[State] = ["found", "found", "held", "none", "found"]
    sheet = sheet_of(states, [0.0, 1.0, 2.0, 2.5, 6.0], frame)  # the last row lasts as long as most: 1 s
    strip = sheet[-28 - 30 - 15]  # the middle of the strip: an edge, the labels' space and half the strip above the end
    inside = strip[28:-28]
    at = [round(second / 7.0 * len(inside)) for second in (0.0, 2.0, 2.5, 6.0, 7.0)]
    for start, end, state in zip(at, at[1:], ("found", "held", "none", "found"), strict=False):
        assert (inside[start + 3 : end - 3] == colour(state)).all()


def test_a_single_bad_row_of_many_can_be_seen() -> None:
    states: list[State] = ["found"] * 9973
    states[4999] = "none"
    cells = [Cell(0, 0.0, None, 1.0, None, np.zeros((112, 112, 3), np.uint8))]
    sheet = np.asarray(draw_sheet("clip", "about", cells, states, [row / 25 for row in range(9973)]))
    assert (sheet[-28 - 30 - 15] == colour("none")).all(-1).any()


def test_frames_without_a_face_are_marked() -> None:
    with_face, without = sheet_of(["found"] * 3, [0.0, 1.0, 2.0]), sheet_of(["none"] * 3, [0.0, 1.0, 2.0])
    cells = slice(100, 28 + 68 + 190)
    assert share_of(with_face[cells], "found") > 0.01
    assert share_of(with_face[cells], "none") == 0
    assert share_of(without[cells], "found") == 0
    assert share_of(without[cells], "none") > 0.001


def test_the_box_is_drawn_where_the_face_is() -> None:
    width, height, scale = thumb_size(WIDTH, HEIGHT)
    frame = Image.new("RGB", (width, height), (250, 240, 230))
    marked = np.asarray(contact_sheet._marked(Cell(0, 0.0, frame, scale, the_face(), None), "found")).astype(int)
    changed = np.abs(marked - (250, 240, 230)).sum(-1) > 60
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    left, top, box_width, box_height = the_face().box * scale
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(edges, [left, max(top, 0), left + box_width, min(top + box_height, height)], atol=3)


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 7, "0 %"), (7, 7, "100 %"), (1, 99991, "0.1 %"), (99990, 99991, "99.9 %"), (3, 7, "42.9 %")],
)
def test_a_few_of_many_are_not_rounded_away(part: int, whole: int, said: str) -> None:
    assert contact_sheet._share(part, whole) == said


@pytest.mark.parametrize(
    ("seconds", "places", "said"),
    [(0.04, 2, "0.04 s"), (59.5, 1, "59.5 s"), (60, 0, "1:00"), (61.25, 2, "1:01.25"), (3723, 0, "62:03")],
)
def test_times_are_said_in_minutes_from_a_minute_on(seconds: float, places: int, said: str) -> None:
    assert contact_sheet._said_time(seconds, places) == said


@pytest.mark.parametrize("length", [0.04, 0.5, 3.0, 61.0, 1800.0, 40000.0])
def test_a_strip_has_a_few_labels(length: float) -> None:
    assert length / contact_sheet._label_step(length) <= 12


def test_a_sheet_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 states, 0 times, 0 cells; wanted"):
        draw_sheet("clip", "about", [], [], [])


# ------------------------------------------------------------------------------------------------ crop folders


def test_a_crop_folder_appears_whole(tmp_path: Path) -> None:
    folder = CropFolder(tmp_path, "P1/x")
    for row in (0, 1, 5):
        folder.add(row, np.full((112, 112, 3), row, np.uint8))
    assert not (tmp_path / "P1/x").exists()
    folder.finish([True, False, True, True, True, True])
    folder.drop()
    assert sorted(path.name for path in (tmp_path / "P1/x").iterdir()) == ["00001.jpg", "00006.jpg"]
    assert [path.name for path in (tmp_path / "P1").iterdir()] == ["x"]
    with pytest.raises(ValueError, match="P1/x is there already"):
        CropFolder(tmp_path, "P1/x")
