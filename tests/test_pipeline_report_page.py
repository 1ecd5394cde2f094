"""The page of a report: whole, escaped, self-contained, and honest about what is missing.

`python tests/test_pipeline_report_page.py FOLDER` writes pages of made-up reports there, to be looked at.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.report.charts import Axis, LinePlot
from pipeline.report.look import Look, Looks
from pipeline.report.numbers import score, short, signed, span
from pipeline.report.page import render

MODELS = ("mlp", "lstm", "selfattn", "crossattn")
MODALITIES = (("audio", "video"), ("video",), ("audio",))
VOID = {"meta", "br", "link", "img", "input", "hr"}


def fake_report(
    models: tuple[str, ...] = MODELS, groups: int = 11, seeds: int = 5, clips: int = 4, points: int = 60
) -> dict[str, Any]:
    """A report as `assemble` would write it, with plausible numbers out of nothing."""
    rng = np.random.default_rng(7)
    kinds = [(model, kind) for model in models for kind in MODALITIES if model != "crossattn" or len(kind) > 1]
    runs = [_run(rng, model, kind, groups, seeds) for model, kind in kinds]
    labels = [run["label"] for run in runs]
    return {
        "format": 1,
        "title": "The puppet corpus",
        "created": "2026-11-23T20:00:00+00:00",
        "duet": "0.1.0",
        "corpus": {
            "clips": 49,
            "splits": {
                "train": {"clips": 33, "groups": 18, "minutes": 7.4, "rows": 12345},
                "validation": {"clips": 16, "groups": groups, "minutes": 3.1, "rows": 5003},
            },
            "group_kind": "subject",
        },
        "report_split": "validation",
        "ceiling": {"valence": 0.951, "arousal": 0.938, "mean": 0.9445},
        "features": [
            {
                "name": name,
                "modality": modality,
                "key": f"{rng.integers(16**8):08x}" * 8,
                "recipe": {"backbone": name, "rate_hz": [25, 1], "weights": {"kind": "random", "seed": 0}},
                "weights": weights,
            }
            for name, modality, weights in (("face", "video", "random, seed 0"), ("mel", "audio", "none"))
        ],
        "catalogue": "c0ffee11" * 8,
        "runs": runs,
        "comparisons": _comparisons(rng, labels, groups, seeds),
        "traces": [_trace(rng, n, [label for label in labels if "+" in label][:4], points) for n in range(clips)],
        "curves": [_curve(rng, label, seed) for label in labels for seed in range(seeds)],
        "notes": [
            "The weights of feature face are random, seed 0: nothing was learned before the fusion model.",
            "Clip puppet_017: the sound ends 0.4 s before the picture.",
        ],
    }


def _run(rng: np.random.Generator, model: str, kind: tuple[str, ...], groups: int, seeds: int) -> dict[str, Any]:
    middle = {"mlp": 0.41, "lstm": 0.58, "selfattn": 0.52}.get(model, 0.55) + 0.09 * (len(kind) - 1)
    middle -= 0.14 * (kind == ("audio",))
    valence, arousal = (middle + rng.normal(0, 0.03, 2)).round(6).tolist()

    def named(shift: float) -> dict[str, float]:
        v, a = valence + shift, arousal + shift * 1.1
        return {"valence": round(v, 6), "arousal": round(a, 6), "mean": round((v + a) / 2, 6)}

    around = named(0)
    key = f"{rng.integers(16**8):08x}"
    label = f"{model} {'+'.join(kind)}"
    return {
        "label": label,
        "model": model,
        "modalities": list(kind),
        "seeds": seeds,
        "ccc_concat": around,
        "ccc_concat_interval": {n: [round(v - 0.09, 6), round(min(v + 0.07, 1), 6)] for n, v in around.items()},
        "ccc_concat_seeds": (around["mean"] + rng.normal(0, 0.015, seeds)).round(6).tolist(),
        "ccc_per_clip_mean": named(-0.11),
        "pearson": named(0.04),
        "rmse": {"valence": 0.21, "arousal": 0.233, "mean": round(0.4 - 0.3 * middle, 6)},
        "sign_agreement": named(0.2),
        "n_rows": 5003,
        "n_clips": 16,
        "n_groups": groups,
        "enough_groups": groups >= 8,
        "parameters": {"mlp": 9281, "lstm": 51234, "selfattn": 88321}.get(model, 140002) + 4096 * len(kind),
        "seconds": round(3 + 6 * rng.random(), 2),
        "best_epochs": rng.integers(5, 40, seeds).tolist(),
        "key": key,
        "folder": f"runs/{label.replace(' ', '-')}-{key}",
        "settings": {"model": model, "features": {m: m for m in kind}, "train": {"epochs": 60, "rate": 0.001}},
        "constant_predictions": ["valence"] if model == "mlp" and kind == ("audio",) else [],
    }


def _comparisons(rng: np.random.Generator, labels: list[str], groups: int, seeds: int) -> list[dict[str, Any]]:
    pairs = [(a, b, "does audio help?") for a in labels for b in labels if a.replace("audio+", "") == b != a]
    pairs += [(a, "mlp audio+video", "does time help?") for a in labels if "+" in a and a[:3] != "mlp"]
    found = []
    for a, b, question in pairs:
        value = float(rng.normal(0.06, 0.07))
        low, high = value - 0.07, value + 0.06
        found.append(
            {
                "a": a,
                "b": b,
                "question": question,
                "value": value,
                "low": low,
                "high": high,
                "groups": groups,
                "seeds": seeds,
                "sentence": f"{a} is {abs(value):.3f} {'above' if value > 0 else 'below'} {b}, 95 % {low:.3f} to "
                f"{high:.3f}, {seeds} seeds, {groups} groups",
            }
        )
    return found


def _trace(rng: np.random.Generator, n: int, labels: list[str], points: int) -> dict[str, Any]:
    seconds = np.linspace(0.02, 9.3 + n, points)

    def wave() -> np.ndarray[Any, np.dtype[np.float64]]:
        return 0.55 * np.sin(seconds * rng.uniform(0.5, 1.4) + rng.uniform(0, 6)) + 0.2 * np.sin(seconds * 2.3)

    truth = {name: wave() for name in ("valence", "arousal")}
    predictions = {
        label: {k: (0.7 * v + 0.15 * wave() + rng.normal(0, 0.02, points)).round(3).tolist() for k, v in truth.items()}
        for label in labels
    }
    missing = slice(points // 3, points // 3 + points // 12)
    shown = {name: values.round(3).tolist() for name, values in truth.items()}
    for values in shown.values():
        values[missing] = [None] * len(values[missing])
    clip, group = f"puppet_{31 + n:03d}", f"p{18 + n}"
    times = seconds.round(3).tolist()
    return {"clip": clip, "group": group, "seconds": times, "labels": shown, "predictions": predictions}


def _curve(rng: np.random.Generator, label: str, seed: int) -> dict[str, Any]:
    epochs = list(range(1, int(rng.integers(25, 46))))
    steps = np.array(epochs)
    ccc = 0.62 * (1 - np.exp(-steps / 7)) - 0.002 * steps + rng.normal(0, 0.015, len(steps))
    return {
        "label": label,
        "seed": seed,
        "epochs": epochs,
        "loss": (0.3 + 0.7 * np.exp(-steps / 9)).round(6).tolist(),
        "inner_ccc_mean": ccc.round(6).tolist(),
        "best_epoch": epochs[int(ccc.argmax())],
    }


def emptied() -> dict[str, Any]:
    """As little as a report can hold: one run without a score."""
    report = fake_report(models=("lstm",), groups=3)
    run = report["runs"][0]
    for name in ("ccc_concat", "pearson"):
        run[name] = dict.fromkeys(run[name])
    run |= {"rmse": None, "ccc_per_clip_mean": None, "seconds": None, "parameters": None}
    run["ccc_concat_interval"] = {name: [None, None] for name in run["ccc_concat_interval"]}
    run["ccc_concat_seeds"] = [None] * 5
    report |= {
        "runs": [run],
        "ceiling": None,
        "features": [],
        "comparisons": [],
        "traces": [],
        "curves": [],
        "notes": [],
    }
    return report


class Balanced(HTMLParser):
    """Fails on the first tag that does not close, collects the texts, the ids and what the page would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.loads: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert not self.open, f"still open at the end: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in {"src", "href", "xlink:href", "data", "action", "srcset", "poster"}:
                self.loads.append((name, value or ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return fake_report()


@pytest.fixture(scope="module")
def page(report: dict[str, Any]) -> str:
    return render(report)


def test_every_label_and_number_is_on_the_page(report: dict[str, Any], page: str) -> None:
    text = Balanced(page).text
    for run in report["runs"]:
        assert run["label"] in text
        for name in ("ccc_concat", "ccc_per_clip_mean", "pearson", "sign_agreement"):
            for value in run[name].values():
                assert score(value) in text
        for low, high in run["ccc_concat_interval"].values():
            assert span((low, high)) in text
        for said in (
            f"{run['parameters']:,}",
            score(run["rmse"]["mean"]),
            short(run["seconds"]),
            run["key"],
            run["folder"],
        ):
            assert said in text
    for one in report["comparisons"]:
        assert one["sentence"] in text
    for feature in report["features"]:
        assert feature["key"] in text
        assert f"weights: {feature['weights']}" in text
    ceiling = f"ceiling {score(report['ceiling']['mean'])}"
    for said in (report["catalogue"], *report["notes"], "12,345", "23 November 2026, 20:00 UTC", ceiling):
        assert said in text
    for trace in report["traces"]:
        assert trace["clip"] in text
        assert trace["group"] in text


def test_headline_names_the_best_run_and_its_share_of_the_ceiling(report: dict[str, Any], page: str) -> None:
    best = max(report["runs"], key=lambda run: run["ccc_concat"]["mean"])
    share = f"{100 * best['ccc_concat']['mean'] / report['ceiling']['mean']:.0f} % of the ceiling"
    assert f"{best['label']} scores highest of 10 runs on the validation split, {share}." in Balanced(page).text


def test_page_is_small_and_loads_nothing() -> None:
    page = render(fake_report(points=400))
    assert len(page.encode()) < 500_000
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "url(" not in page
    parsed = Balanced(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {name for name, _ in parsed.loads} == {"href"}
    assert all(value[0] == "#" and value[1:] in parsed.ids for _, value in parsed.loads)


def test_sixty_runs_are_small_enough_too() -> None:
    page = render(fake_report(models=tuple(f"model{n}" for n in range(20))))
    assert "Settings of 60 runs" in page
    assert "48 more" in page
    assert len(page.encode()) < 1_000_000
    Balanced(page)


def test_same_report_same_page(report: dict[str, Any], page: str) -> None:
    before = json.dumps(report)
    assert render(json.loads(before)) == page
    assert json.dumps(report) == before


def test_whatever_is_missing_is_said_or_left_out() -> None:
    parsed = Balanced(render(emptied()))
    assert "No run has a CCC on the validation split" in parsed.text
    assert "There are no two runs to compare" in parsed.text
    assert not {"traces", "learning", "notes"} & set(parsed.ids)
    assert not re.search(r"\bnan\b|\bNone\b", parsed.text)


def test_no_run_at_all() -> None:
    parsed = Balanced(render(emptied() | {"runs": []}))
    assert "No run has finished yet" in parsed.text
    assert "runs" not in parsed.ids


@pytest.mark.parametrize("where", ["ccc_concat", "ccc_concat_interval", "ccc_per_clip_mean", "pearson", "rmse"])
def test_any_metric_may_be_null(report: dict[str, Any], where: str) -> None:
    changed = copy.deepcopy(report)
    changed["runs"][0][where] = None
    changed["runs"][1][where]["mean"] = None
    changed["comparisons"][0] |= {"value": None, "low": None, "high": None}
    changed["curves"][0]["inner_ccc_mean"][3] = changed["curves"][0]["loss"][3] = None
    assert "no interval: decides nothing" in Balanced(render(changed)).text


def test_best_of_each_column_is_bold() -> None:
    report = fake_report(models=("lstm", "mlp"))
    for run in report["runs"]:
        run["rmse"]["mean"], run["pearson"]["mean"] = 0.5, 0.25
    report["runs"][2]["rmse"]["mean"], report["runs"][3]["pearson"]["mean"] = 0.125, 0.75
    cells = re.findall(r"<td[^>]*><b>(.*?)</b>", render(report))
    assert {".125", ".750"} <= set(cells)
    assert not {".500", ".250"} & set(cells)
    lone = render(report | {"runs": report["runs"][:1], "comparisons": []})
    assert not re.findall(r"<td[^>]*><b>", lone)
    assert "is the only run" in lone


def test_too_few_groups_are_said_beside_the_intervals() -> None:
    few, enough = render(fake_report(groups=5)), render(fake_report(groups=8))
    said = "5 subjects, fewer than 8: too few for"
    assert Balanced(few).text.count(said) == 3  # headline, dot plot, comparisons
    assert 'class="interval unsure"' in few
    assert "too few for" not in Balanced(enough).text
    assert 'class="interval unsure"' not in enough


def test_interval_that_crosses_zero_decides_nothing(report: dict[str, Any]) -> None:
    pair = report["comparisons"][0]
    for low, high, said in (
        (-0.01, 0.2, "crosses 0: decides nothing"),
        (0.01, 0.2, "stays above 0"),
        (-0.2, -0.01, "stays below 0"),
    ):
        one = pair | {"value": (low + high) / 2, "low": low, "high": high}
        text = Balanced(render(report | {"comparisons": [one]})).text
        assert f"the interval {said}" in text


def test_runs_scored_on_different_rows_are_called_out(report: dict[str, Any]) -> None:
    changed = copy.deepcopy(report)
    changed["runs"][0]["n_rows"] = 4001
    assert "not scored on the same rows: from 4,001 to 5,003" in Balanced(render(changed)).text


def test_everything_is_escaped() -> None:
    evil = "<script>alert('\"&x')</script>"
    report = fake_report(models=("lstm",), groups=5)
    label = report["runs"][0]["label"]
    report = json.loads(json.dumps(report).replace(json.dumps(label)[1:-1], json.dumps(evil + label)[1:-1]))
    report |= {"title": evil, "report_split": evil, "catalogue": evil, "duet": evil, "created": evil}
    report["corpus"] |= {"group_kind": evil, "splits": {evil: report["corpus"]["splits"]["train"]}}
    report["traces"][0] |= {"clip": evil, "group": evil}
    report["features"][0] |= {"name": evil, "key": evil, "weights": evil, "recipe": {evil: [evil]}, "modality": evil}
    report["runs"][1] |= {"model": evil, "modalities": [evil], "key": evil, "folder": evil, "settings": {evil: evil}}
    report["runs"][1]["constant_predictions"] = [evil]
    report["comparisons"][0] |= {"question": evil, "sentence": evil}
    report["notes"] = [evil]
    page = render(report)
    assert page.count("<script>") == page.count("</script>") == 1
    assert escape(evil) in page
    Balanced(page)


def test_another_format_is_refused(report: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"format 2, the page draws 1; make it anew: duet report"):
        render(report | {"format": 2})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.62, ".620"),
        (-0.0314, "\N{MINUS SIGN}.031"),
        (1.0, "1.000"),
        (-0.0001, ".000"),
        (0.9996, "1.000"),
        (None, "\N{EN DASH}"),
    ],
)
def test_score_text(value: float | None, text: str) -> None:
    assert score(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.05, "+.050"), (0.0001, ".000"), (-0.05, "\N{MINUS SIGN}.050")])
def test_difference_text(value: float, text: str) -> None:
    assert signed(value) == text


def test_one_epoch_one_point_and_one_seed_are_enough(report: dict[str, Any]) -> None:
    curve = {"label": "gone", "seed": 0, "epochs": [1], "loss": [None], "inner_ccc_mean": [0.5], "best_epoch": 1}
    one = {"valence": [0.25], "arousal": [None]}
    trace = {"clip": "c", "group": "g", "seconds": [0.5], "labels": one, "predictions": {"gone": one}}
    few = fake_report(models=("crossattn",), seeds=1)["runs"]
    parsed = Balanced(render(report | {"runs": few, "curves": [curve], "traces": [trace]}))
    assert "best at 1" in parsed.text
    assert "1 seed" in parsed.text


def test_axis_ticks_are_round_and_hold_every_value() -> None:
    axis = Axis.around([-0.031, 0.42, None])
    assert axis.ticks == (-0.1, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert [axis.name(tick) for tick in axis.ticks[:3]] == ["\N{MINUS SIGN}.1", "0", ".1"]
    assert axis.at(0.2) == "50%"
    assert Axis.within(0.02, 9.3, 6).ticks == (2.0, 4.0, 6.0, 8.0)
    assert Axis.around([None]).low < Axis.around([None]).high
    with pytest.raises(ValueError, match=r"an axis from 1.0 to 1.0; wanted low < high"):
        Axis(1.0, 1.0, ())


def test_lines_have_gaps_where_values_are_missing() -> None:
    drawn = LinePlot(Axis(0, 10, (0, 10)), Axis(-1, 1, (-1, 1)), 100)
    assert drawn.points([0, 2, 5, 10], [1, -1, None, 0]) == [[(0, 0), (200, 1000)], [(1000, 500)]]
    assert 'd="M0 0l200 1000M1000 500l0 0"' in drawn.line([0, 2, 5, 10], [1, -1, None, 0], "line")
    assert drawn.line([0, 2], [None, None], "line") == ""


def test_models_have_colours_and_modalities_have_shapes() -> None:
    runs = [
        {"model": model, "modalities": kind} for model in "ab" for kind in (["video", "audio"], ["text"], ["audio"])
    ]
    looks = Looks.of(runs)
    assert len({looks.look(run) for run in runs}) == len(runs)
    assert looks.look(runs[0]) == looks.look({"model": "a", "modalities": ["audio", "video"]}) == Look(0, 0)
    assert len(set(looks.distinct([runs[0]] * 4))) == 4
    with pytest.raises(ValueError, match=r"tone 9 must be under 7"):
        Look(9, 0)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, made in (
        ("full", fake_report(points=300)),
        ("few", fake_report(models=("lstm", "mlp"), groups=5)),
        ("many", fake_report(models=tuple(f"model{n}" for n in range(20)))),
        ("empty", emptied()),
    ):
        (folder / f"{name}.html").write_text(render(made), encoding="utf-8")
