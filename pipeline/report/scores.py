"""The sections about scores: all runs on one scale, the table, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from fuse.compare import FEWEST_GROUPS
from pipeline.report.charts import Axis, badge, dots, estimate, plot, ruled, scale
from pipeline.report.look import CIRCLE, TONES, Looks
from pipeline.report.numbers import Range, both, count, finite, interval, metric, score, short, signed, some, span

Run = Mapping[str, Any]

_ROW = 36  # pixels of a row of the dot plot
_LONG = 14  # runs, from which on the scale stands above and below
_MARKED = '<abbr class="few" title="too few groups for an interval to mean what it says">†</abbr>'


def best_first(runs: Sequence[Run]) -> list[Run]:
    """By mean concatenated CCC, runs without one last, ties by label."""

    def place(run: Run) -> tuple[float, str]:
        value = metric(run, "ccc_concat")
        return (-value if value is not None else float("inf"), run["label"])

    return sorted(runs, key=place)


def mark(run: Run) -> str:
    """The dagger that follows an interval over too few groups."""
    return "" if run["enough_groups"] else _MARKED


def too_few(groups: int, noun: str) -> str:
    return (
        f'<p class="warning">† {some(groups, escape(noun))}, fewer than {FEWEST_GROUPS}: too few for a 95&nbsp;% '
        "interval to mean what it says. It is drawn dashed; the true doubt is larger.</p>"
    )


def forest(runs: Sequence[Run], looks: Looks, ceiling: float | None, noun: str) -> str:
    """Mean CCC of every run with its interval and its seeds, below one scale, model by model."""
    ordered = best_first(runs)
    models = list(dict.fromkeys(run["model"] for run in ordered))
    ordered = sorted(ordered, key=lambda run: models.index(run["model"]))  # stable: best first within a model
    values: list[float | None] = [0.0, 1.0, ceiling]
    for run in ordered:
        values += [metric(run, "ccc_concat"), *(interval(run) or ())]
        values += [finite(value) for value in run["ccc_concat_seeds"]]
    axis = Axis.around(values)
    rows = [_top(axis, ceiling, len(runs) > _LONG)]
    for model, group in groupby(ordered, key=lambda run: str(run["model"])):
        tone = looks.models.index(model) % TONES
        rows.append(
            f'<div class="row model"><h3 class="tone-{tone}">{escape(model)}</h3>'
            f"{plot(ruled(axis, 30, ceiling), 30, model, 'hidden')}</div>"
        )
        rows += [_forest_row(run, looks, axis, ceiling) for run in group]
    bottom = plot(scale(axis, 16), 22, f"scale from {axis.name(axis.low)} to {axis.name(axis.high)}")
    rows.append(f'<div class="row axis"><span></span>{bottom}</div>')
    legend = [
        f"<li>{badge(looks.look(run))}{escape(name.replace('+', ' + '))}</li>"
        for name, run in _one_each(ordered, looks)
    ]
    sample = '<line class="{}" x1="1" x2="29" y1="6" y2="6"/>'
    legend += [
        f'<li><svg class="badge" width="30" height="12" aria-hidden="true">{content}</svg>{text}</li>'
        for content, text in (
            (sample.format("interval"), "95&nbsp;% interval"),
            ('<circle class="dot" cx="7" cy="6" r="2.6"/><circle class="dot" cx="18" cy="6" r="2.6"/>', "single seeds"),
            (sample.format("reference") if ceiling is not None else "", "ceiling"),
        )
        if content
    ]
    few = min((run["n_groups"] for run in runs if not run["enough_groups"]), default=None)
    return (
        f'<ul class="legend">{"".join(legend)}</ul><div class="forest">{"".join(rows)}</div>'
        f"{too_few(few, noun) if few is not None else ''}"
    )


def _top(axis: Axis, ceiling: float | None, with_scale: bool) -> str:
    """The name of the ceiling, and the scale again where the one at the bottom is far."""
    text, height = "", 0
    if ceiling is not None:
        share, height = axis.share(ceiling), 18
        side = "end" if share > 0.75 else "start" if share < 0.2 else "middle"
        text = f'<text class="said" x="{axis.at(ceiling)}" y="12" text-anchor="{side}">ceiling {score(ceiling)}</text>'
    if with_scale:
        text, height = text + scale(axis, height + 14), height + 20
    return f'<div class="row axis"><span></span>{plot(text, height, "scale and ceiling")}</div>' if text else ""


def _forest_row(run: Run, looks: Looks, axis: Axis, ceiling: float | None) -> str:
    look, value, ends = looks.look(run), metric(run, "ccc_concat"), interval(run)
    seeds = [finite(seed) for seed in run["ccc_concat_seeds"]]
    kind = "" if run["enough_groups"] else "unsure"
    content = ruled(axis, _ROW, ceiling) + dots(axis, 28, seeds) + estimate(axis, 14, value, ends, look.shape, kind)
    says = f"{run['label']}: {score(value)}, 95 % {span(ends)}; seeds {', '.join(map(score, seeds))}"
    drawn = plot(f"<title>{escape(says)}</title>{content}", _ROW, says, f"tone-{look.tone}")
    name = str(run["label"]).removeprefix(f"{run['model']} ") or str(run["label"])
    return (
        f'<div class="row"><span class="label">{badge(look)}<span class="away">{escape(run["model"])} </span>'
        f"{escape(name)}</span>{drawn}"
        f'<span class="value"><b>{score(value)}</b> <small>{span(ends)}{mark(run) if ends else ""}</small></span></div>'
    )


def _one_each(runs: Sequence[Run], looks: Looks) -> list[tuple[str, Run]]:
    """One run for each set of modalities, drawn in grey in the legend."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault("+".join(sorted(run["modalities"])), run)
    return [(name, found[name]) for name in looks.shapes if name in found]


def _nothing(_: Run) -> str:
    return ""


@dataclass(frozen=True)
class Column:
    """A column of the table. value: what it is sorted by; text and small: what stands in the cell."""

    title: str
    under: str
    value: Callable[[Run], float | None]
    text: Callable[[float | None], str] = score
    small: Callable[[Run], str] = _nothing
    low_is_good: bool = False


def _concatenated(which: str) -> Column:
    def small(run: Run) -> str:
        ends = interval(run, which)
        return f"{span(ends)}{mark(run)}" if ends else ""

    return Column(which, "CCC, 95&nbsp;%", lambda run: metric(run, "ccc_concat", which), small=small)


def _mean_of_two(title: str, name: str, under: str = "v · a", low_is_good: bool = False) -> Column:
    def small(run: Run) -> str:
        valence, arousal = metric(run, name, "valence"), metric(run, name, "arousal")
        return "" if valence is None and arousal is None else f"{score(valence)} · {score(arousal)}"

    return Column(title, under, lambda run: metric(run, name), small=small, low_is_good=low_is_good)


COLUMNS = (
    _concatenated("mean"),
    _concatenated("valence"),
    _concatenated("arousal"),
    _mean_of_two("per clip", "ccc_per_clip_mean"),
    _mean_of_two("Pearson", "pearson"),
    _mean_of_two("RMSE", "rmse", low_is_good=True),
    _mean_of_two("SAGR", "sign_agreement"),
    Column("parameters", "", lambda run: finite(run["parameters"]), count, low_is_good=True),
    Column("seconds", "a seed", lambda run: finite(run["seconds"]), short, low_is_good=True),
)


def table(runs: Sequence[Run], looks: Looks) -> str:
    """Every run with every score; the best of each column is bold where there is more than one run."""
    head = "".join(
        f'<th scope="col"{" data-low" if column.low_is_good else ""}><span class="name">{column.title}</span>'
        f"<small>{column.under}</small></th>"
        for column in COLUMNS
    )
    best = [_best(column, runs) for column in COLUMNS]
    body = "".join(_table_row(run, looks, best) for run in best_first(runs))
    return (
        '<div class="scroll" role="region" aria-label="Table of all runs" tabindex="0"><table class="scores sortable">'
        f'<thead><tr><th scope="col"><span class="name">run</span><small>seeds</small></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _best(column: Column, runs: Sequence[Run]) -> str | None:
    """The best value as it is printed, so that what looks the same is bold together."""
    known = [value for value in map(column.value, runs) if value is not None]
    if len(runs) < 2 or not known:
        return None
    return column.text(min(known) if column.low_is_good else max(known))


def _table_row(run: Run, looks: Looks, best: Sequence[str | None]) -> str:
    cells = []
    for column, top in zip(COLUMNS, best, strict=True):
        value, small = column.value(run), column.small(run)
        text = column.text(value)
        key = "" if value is None else f"{value:.6g}"
        cells.append(
            f'<td data-value="{key}">{f"<b>{text}</b>" if value is not None and text == top else text}'
            f"{f'<small>{small}</small>' if small else ''}</td>"
        )
    constant = run["constant_predictions"]
    flaw = f'<small class="flaw">constant {escape(" and ".join(constant))}</small>' if constant else ""
    return (
        f'<tr><th scope="row" data-value="{escape(run["label"])}">{badge(looks.look(run))}'
        f"{escape(run['label'])}<small>{some(run['seeds'], 'seed')}</small>{flaw}</th>{''.join(cells)}</tr>"
    )


def comparisons(found: Sequence[Mapping[str, Any]], noun: str) -> str:
    """Each difference in words, and beside it on one scale around 0."""
    ends = [both(one["low"], one["high"]) for one in found]
    values = [finite(one["value"]) for one in found]
    furthest = max(
        (abs(v) for v in (*values, *(e for pair in ends if pair for e in pair)) if v is not None), default=0.1
    )
    axis = Axis.around([-furthest, furthest], ticks=4)
    rows = [
        '<div class="row axis"><span></span>'
        + plot(
            '<text class="said" x="0" y="12" text-anchor="start">← second better</text>'
            '<text class="said" x="100%" y="12" text-anchor="end">first better →</text>',
            18,
            "left of 0 the second named is better, right of it the first",
        )
        + "</div>"
    ]
    rows += [_comparison(one, value, pair, axis) for one, value, pair in zip(found, values, ends, strict=True)]
    bottom = plot(scale(axis, 16), 22, f"scale from {axis.name(axis.low)} to {axis.name(axis.high)}")
    rows.append(f'<div class="row axis"><span></span>{bottom}</div>')
    few = min((one["groups"] for one in found if one["groups"] < FEWEST_GROUPS), default=None)
    return f'<div class="forest pairs">{"".join(rows)}</div>{too_few(few, noun) if few is not None else ""}'


def _comparison(one: Mapping[str, Any], value: float | None, ends: Range | None, axis: Axis) -> str:
    enough = one["groups"] >= FEWEST_GROUPS
    open_ = ends is None or ends[0] <= 0 <= ends[1]
    kind = f"{'' if enough else 'unsure '}{'open' if open_ else ''}".strip()
    drawn = ruled(axis, 56) + estimate(axis, 28, value, ends, CIRCLE, kind)
    if ends is None:
        verdict = "no interval: decides nothing"
    elif open_:
        verdict = "the interval crosses 0: decides nothing"
    else:
        verdict = f"the interval stays {'above' if ends[0] > 0 else 'below'} 0" + (
            "" if enough else ", but over too few groups"
        )
    question = str(one["question"])
    heading = f"<h3>{escape(question[:1].upper() + question[1:])}</h3>" if question else ""
    sentence = str(one["sentence"])
    says, words = f"{sentence}; {verdict}", escape(sentence).replace(" %", "&nbsp;%")
    return (
        f'<div class="row pair"><div class="label">{heading}<p>{words}{"" if enough else _MARKED}</p>'
        f'<p class="verdict{"" if enough and not open_ else " open"}">{verdict}</p></div>'
        f"{plot(f'<title>{escape(says)}</title>{drawn}', 56, says)}"
        f'<span class="value"><b>{signed(value)}</b> <small>{span(ends)}</small></span></div>'
    )
