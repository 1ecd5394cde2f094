"""The sections with lines: predictions over time against the labels, and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from fuse.metrics import DIMENSIONS
from pipeline.report.charts import Axis, LinePlot, plot, sample, scale
from pipeline.report.look import DASHES, Look, Looks
from pipeline.report.numbers import finite, score

_PANEL = 116  # pixels of a panel of a trace
_SMALL = 96  # of a learning curve
_FIRST_CURVES = 12
_EMOTION = Axis(-1.0, 1.0, (-1.0, 0.0, 1.0))


def traces(found: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], looks: Looks, noun: str) -> str:
    """Two panels for each clip, one time axis; one legend for all, which script turns into switches."""
    labels = list(dict.fromkeys(label for trace in found for label in trace["predictions"]))
    by_label = {run["label"]: run for run in runs}
    known = [label for label in labels if label in by_label]
    look = dict(zip(known, looks.distinct(by_label[label] for label in known), strict=True))
    items = "".join(
        f'<li data-line="{n}">{sample(look[label])}{escape(label)}</li>'
        for n, label in enumerate(labels)
        if label in look
    )
    grey = (
        '<svg class="sample" width="34" height="10" aria-hidden="true">'
        '<line class="truth" x1="2" x2="32" y1="5" y2="5"/></svg>'
    )
    clips = "".join(_clip(trace, labels, look, noun) for trace in found)
    return f'<ul class="legend lines"><li>{grey}label</li>{items}</ul><div class="clips">{clips}</div>'


def _clip(trace: Mapping[str, Any], labels: Sequence[str], look: Mapping[str, Look], noun: str) -> str:
    seconds = [float(second) for second in trace["seconds"]]
    first, last = (seconds[0], seconds[-1]) if seconds else (0.0, 1.0)
    across = Axis.within(0.0 if 0 < first < last / 10 else first, last, 6)
    panels = []
    for dimension in DIMENSIONS:
        drawn = LinePlot(across, _EMOTION, _PANEL)
        truth = trace["labels"][dimension]
        content = drawn.fill(seconds, truth, "truth-area") + drawn.line(seconds, truth, "truth", says="label")
        for n, label in enumerate(labels):
            if label in look and label in trace["predictions"]:
                kind = f"line tone-{look[label].tone} line-{n}"
                predicted = trace["predictions"][label][dimension]
                content += drawn.line(seconds, predicted, kind, DASHES[look[label].shape], says=label)
        last = dimension == DIMENSIONS[-1]
        times = scale(across, drawn.height + 14, "s") if last else ""
        says = f"{dimension} of {trace['clip']} over time: the label and {len(trace['predictions'])} predictions"
        height = drawn.height + (20 if last else 0)
        panels.append(
            f"<h4>{dimension}</h4>{plot(drawn.frame() + drawn.area_of(content) + times, height, says, 'framed')}"
        )
    return (
        f'<figure class="clip"><figcaption><b>{escape(trace["clip"])}</b> <span class="quiet">{escape(noun)} '
        f"{escape(str(trace['group']))}</span></figcaption>{''.join(panels)}</figure>"
    )


def curves(found: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]], looks: Looks) -> str:
    """One small plot a run, all on the same scales, in the order of the runs given."""
    place = {run["label"]: n for n, run in enumerate(runs)}
    ordered = sorted(found, key=lambda curve: (place.get(curve["label"], len(place)), curve["label"], curve["seed"]))
    epochs = [epoch for curve in ordered for epoch in curve["epochs"]]
    across = Axis.within(min(epochs, default=0), max(epochs, default=1), 4)
    up = Axis.around([0.0, *(finite(v) for curve in ordered for v in curve["inner_ccc_mean"])], ticks=4)
    by_label = {run["label"]: run for run in runs}
    plots = []
    for label, group in groupby(ordered, key=lambda curve: str(curve["label"])):
        tone = looks.look(by_label[label]).tone if label in by_label else None
        plots.append(_curves_of(label, list(group), tone, LinePlot(across, up, _SMALL)))
    more = plots[_FIRST_CURVES:]
    rest = (
        f'<details><summary>{len(more)} more</summary><div class="curves">{"".join(more)}</div></details>'
        if more
        else ""
    )
    return f'<div class="curves">{"".join(plots[:_FIRST_CURVES])}</div>{rest}'


def _curves_of(label: str, curves: Sequence[Mapping[str, Any]], tone: int | None, drawn: LinePlot) -> str:
    lines, best = "", ""
    reached: dict[int, float] = {}  # epoch -> its highest value
    for curve in curves:
        values = dict(zip(curve["epochs"], map(finite, curve["inner_ccc_mean"]), strict=True))
        losses = dict(zip(curve["epochs"], map(finite, curve["loss"]), strict=True))
        at = curve["best_epoch"]
        value = values.get(at)
        says = f"seed {curve['seed']}: best epoch {at}, CCC {score(value)}, loss {score(losses.get(at))}"
        lines += drawn.line(list(values), list(values.values()), "line thin", says=says)
        if value is not None:
            reached[at] = max(value, reached.get(at, value))
            x, y = drawn.x.at(at), f"{drawn.down(value):.1f}"
            best += f'<circle class="mark" cx="{x}" cy="{y}" r="2.6"><title>{escape(says)}</title></circle>'
    span = f"best at {min(reached)}" + (f" to {max(reached)}" if max(reached) > min(reached) else "") if reached else ""
    dropped = "".join(
        f'<line class="best" x1="{drawn.x.at(at)}" x2="{drawn.x.at(at)}" y1="{drawn.down(value):.1f}" '
        f'y2="{drawn.down(drawn.y.low):.1f}"/>'
        for at, value in reached.items()
    )
    content = drawn.frame() + drawn.area_of(lines) + dropped + best + scale(drawn.x, drawn.height + 14)
    says = f"{label}: inner-split CCC by epoch, {len(curves)} seeds, {span}"
    kind = "framed" if tone is None else f"framed tone-{tone}"
    return (
        f'<figure class="curve"><figcaption><b>{escape(label)}</b> <span class="quiet">{span}</span></figcaption>'
        f"{plot(content, drawn.height + 20, says, kind)}</figure>"
    )
