"""The report as one HTML page that needs nothing else: no network, no font, no library; script only sorts and hides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from fuse.compare import FEWEST_GROUPS
from pipeline.report.lines import curves, traces
from pipeline.report.look import Looks
from pipeline.report.numbers import MINUS, count, finite, interval, metric, score, short, some, span
from pipeline.report.scores import best_first, comparisons, forest, mark, table

FORMAT = 1
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_FEW_SETTINGS = 8  # with more runs than this, their settings are folded together


def render(report: Mapping[str, Any]) -> str:
    """The page of a report of format 1. The same report gives the same page, byte for byte."""
    if report["format"] != FORMAT:
        raise ValueError(
            f"the report has format {report['format']!r}, the page draws {FORMAT}; make it anew: duet report"
        )
    runs, noun = report["runs"], str(report["corpus"]["group_kind"])
    looks, ceiling = Looks.of(runs), finite((report["ceiling"] or {}).get("mean"))
    split = escape(report["report_split"])
    ranked = best_first(runs)
    sections = [("result", "", _headline(report, ceiling))]
    if runs:
        sections += [
            ("runs", "All runs", _about_forest(report) + forest(runs, looks, ceiling, noun)),
            ("comparisons", "Comparisons", _comparisons(report, noun)),
            ("table", "Scores", _about_table(report) + table(runs, looks)),
        ]
    if report["traces"]:
        about = (
            f"<p>Clips of the {split} split. The grey line is the label, with a gap where there is none; "
            "each coloured line is the mean of a run's seeds.</p>"
        )
        sections.append(("traces", "Predictions over time", about + traces(report["traces"], runs, looks, noun)))
    if report["curves"]:
        about = (
            "<p>CCC on the inner split of the training data, by epoch: one line a seed, dotted at the kept epoch. "
            f"The {split} split played no part in this.</p>"
        )
        sections.append(("learning", "Learning curves", about + curves(report["curves"], ranked, looks)))
    sections.append(("inputs", "What went in", _inputs(report)))
    if report["notes"]:
        notes = "".join(f"<li>{escape(note)}</li>" for note in report["notes"])
        sections.append(("notes", "Notes", f"<ul>{notes}</ul>"))
    sections.append(("reading", "How to read this", _reading(split, noun, ceiling is not None)))
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections if title)
    body = "".join(
        f'<section id="{name}">{f"<h2>{title}</h2>" if title else ""}{content}</section>'
        for name, title, content in sections
    )
    title = escape(report["title"])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The page asks for nothing from anywhere, and the browser is told to hold it to that.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{title} · Duet report</title>\n<style>\n{_beside('style.css')}</style>\n</head>\n<body>\n"
        f'<header><p class="kind">Duet report</p><h1>{title}</h1><p class="quiet">{_made(report)}</p>'
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>\n{body}\n</main>\n'
        f"<script>\n{_beside('script.js')}</script>\n</body>\n</html>\n"
    )


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _made(report: Mapping[str, Any]) -> str:
    """23 November 2026, 20:00 UTC · Duet 0.1.0."""
    try:
        at = datetime.fromisoformat(report["created"])
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        when = f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M} UTC"
    except ValueError:
        when = str(report["created"])
    return f"{escape(when)} · Duet {escape(report['duet'])} · {some(report['corpus']['clips'], 'clip')}"


def _headline(report: Mapping[str, Any], ceiling: float | None) -> str:
    runs, noun, split = report["runs"], report["corpus"]["group_kind"], escape(report["report_split"])
    ranked = best_first(runs)
    if not ranked:
        return '<p class="lead">No run has finished yet, so there is nothing to compare.</p>'
    best = ranked[0]
    value, ends, name = metric(best, "ccc_concat"), interval(best), escape(best["label"])
    if value is None:
        return f'<p class="lead">No run has a CCC on the {split} split.</p>'
    rank = "is the only run" if len(runs) == 1 else f"scores highest of {len(runs)} runs"
    lead = f"<b>{name}</b> {rank} on the {split} split"
    share = value / ceiling if ceiling is not None and ceiling > 0 else None
    if share is not None:
        lead += f", {MINUS if share < 0 else ''}{abs(100 * share):.0f}&nbsp;% of the ceiling"
    facts = [
        (which, score(metric(best, "ccc_concat", which)), _interval_of(best, which)) for which in ("valence", "arousal")
    ]
    if ceiling is not None:
        said = {which: finite(report["ceiling"].get(which)) for which in ("valence", "arousal")}
        facts.append(("ceiling", score(ceiling), f"{score(said['valence'])} · {score(said['arousal'])}"))
    scored = f"{some(best['n_clips'], 'clip')}, {some(best['n_groups'], noun)}"
    facts.append(("scored rows", count(best["n_rows"]), escape(scored)))
    within = f"<br>95&nbsp;% {span(ends)}{mark(best)}" if ends else ""
    shown = "".join(f"<div><dt>{term}</dt><dd>{text}<small>{small}</small></dd></div>" for term, text, small in facts)
    words = []
    if len(runs) > 1:
        words.append(
            f"The highest of {len(runs)} is partly luck, since the same split ranks them: "
            'for what differs and what does not, see <a href="#comparisons">the comparisons</a>.'
        )
    if not best["enough_groups"]:
        words.append(
            f"† {some(best['n_groups'], escape(noun))}, fewer than {FEWEST_GROUPS}: too few for an interval to mean "
            "what it says."
        )
    if report["notes"]:
        verb = "qualifies" if len(report["notes"]) == 1 else "qualify"
        words.append(f'<a href="#notes">{some(len(report["notes"]), "note")}</a> {verb} these numbers.')
    return (
        f'<div class="headline"><p class="number"><span>{score(value)}</span>'
        f"<small>CCC, mean of valence and arousal{within}</small></p>"
        f'<p class="lead">{lead}.</p><dl class="facts">{shown}</dl></div>'
        f'<p class="quiet">{" ".join(words)}</p>'
    )


def _interval_of(run: Mapping[str, Any], which: str) -> str:
    ends = interval(run, which)
    return f"{span(ends)}{mark(run)}" if ends else ""


def _about_forest(report: Mapping[str, Any]) -> str:
    return (
        "<p>Concatenated CCC, mean of valence and arousal, averaged over seeds. The interval speaks of other "
        f"{escape(report['corpus']['group_kind'])}s, the small dots of other seeds.</p>{_scored_alike(report)}"
    )


def _scored_alike(report: Mapping[str, Any]) -> str:
    rows = sorted({run["n_rows"] for run in report["runs"]})
    if len(rows) < 2:
        return ""
    return (
        f'<p class="warning">The runs are not scored on the same rows: from {rows[0]:,} to {rows[-1]:,}. '
        "A difference between two of them may be one of rows.</p>"
    )


def _about_table(report: Mapping[str, Any]) -> str:
    bold = "Bold is the best of its column (for RMSE, parameters and seconds the lowest), not proof of a difference. "
    return (
        f"<p>{bold if len(report['runs']) > 1 else ''}Columns <i>mean</i>, <i>valence</i> and <i>arousal</i> are "
        "concatenated CCC; <i>per clip</i> is the mean of the clips' own. Small numbers are 95&nbsp;% intervals, or "
        "valence · arousal.</p>"
    )


def _comparisons(report: Mapping[str, Any], noun: str) -> str:
    found = report["comparisons"]
    if not found:
        return "<p>There are no two runs to compare.</p>"
    several = f" These are {len(found)} intervals, not corrected for their number." if len(found) > 1 else ""
    return (
        "<p>Differences of mean concatenated CCC, first minus second, over paired draws of the same "
        f"{escape(noun)}s. <b>An interval that crosses 0 decides nothing</b>; its marker is hollow.{several}</p>"
        f"{comparisons(found, noun)}"
    )


def _inputs(report: Mapping[str, Any]) -> str:
    corpus = report["corpus"]
    splits = "".join(
        f'<tr><th scope="row">{escape(name)}{" <small>reported here</small>" if name == report["report_split"] else ""}'
        f"</th><td>{count(split['clips'])}</td><td>{count(split['groups'])}</td>"
        f"<td>{short(split['minutes'])}</td><td>{count(split['rows'])}</td></tr>"
        for name, split in corpus["splits"].items()
    )
    parts = [
        f'<h3>Corpus</h3><div class="scroll"><table><thead><tr><th scope="col">split</th><th scope="col">clips</th>'
        f'<th scope="col">{escape(corpus["group_kind"])}s</th><th scope="col">minutes</th>'
        f'<th scope="col">labelled rows</th></tr></thead><tbody>{splits}</tbody></table></div>'
        f'<p class="quiet">Catalogue <code>{escape(report["catalogue"])}</code></p>'
    ]
    if report["features"]:
        parts.append(f"<h3>Features</h3>{''.join(map(_feature, report['features']))}")
    if report["runs"]:
        settings = "".join(map(_settings, best_first(report["runs"])))
        if len(report["runs"]) > _FEW_SETTINGS:
            settings = f"<details><summary>Settings of {len(report['runs'])} runs</summary>{settings}</details>"
        parts.append(f"<h3>Runs</h3>{settings}")
    return "".join(parts)


def _feature(feature: Mapping[str, Any]) -> str:
    weights = str(feature["weights"])
    kind = ' class="flaw"' if weights.startswith("random") else ""
    return (
        f"<details><summary><b>{escape(feature['name'])}</b> {escape(feature['modality'])} · "
        f"<span{kind}>weights: {escape(weights)}</span> · <code>{escape(feature['key'][:12])}</code></summary>"
        f'<p class="quiet">Key <code>{escape(feature["key"])}</code></p>{_json(feature["recipe"])}</details>'
    )


def _settings(run: Mapping[str, Any]) -> str:
    epochs = ", ".join(str(epoch) for epoch in run["best_epochs"])
    return (
        f"<details><summary><b>{escape(run['label'])}</b> <code>{escape(run['key'])}</code></summary>"
        f'<p class="quiet">Folder <code>{escape(run["folder"])}</code> · {some(run["seeds"], "seed")}, '
        f"best epochs {escape(epochs)} · {some(run['n_rows'], 'row')}, {some(run['n_clips'], 'clip')} scored</p>"
        f"{_json(run['settings'])}</details>"
    )


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False), quote=False)}</pre>"


def _reading(split: str, noun: str, with_ceiling: bool) -> str:
    noun = escape(noun)
    entries = {
        "CCC": (
            "Lin's concordance correlation coefficient, 2 cov(p, t) / (var p + var t + (mean p &minus; mean t)²) of "
            "predictions p and labels t. 1 is agreement in shape, scale and level; a constant scores 0. Pearson's "
            "correlation forgives a wrong scale or level, CCC does not."
        ),
        "Concatenated and per clip": (
            "Concatenated CCC takes all labelled rows of the split at once; the per-clip mean averages the CCC of each "
            "clip. They can differ widely: the first also rewards telling clips apart, the second only following each. "
            "Compare with published numbers of the same kind only."
        ),
        "Intervals": (
            f"95&nbsp;% bootstrap intervals that draw whole {noun}s, as the rows of one {noun} are not independent. "
            f"Seeds are averaged within each draw. Under {FEWEST_GROUPS} {noun}s such an interval is too narrow to "
            "mean what it says, and is marked †."
        ),
        "Selection": (
            f"Early stopping and the kept epoch looked at an inner split of the training data only; the {split} split "
            "was scored once. Choosing a run from this page because it is highest is selection on that split."
        ),
        "RMSE and SAGR": (
            "RMSE is in units of the label, which goes from &minus;1 to 1. SAGR, sign agreement, is the share of rows "
            "whose prediction has the sign of the label."
        ),
    }
    if with_ceiling:
        entries["Ceiling"] = (
            "What a perfect reading of the true state would score against these labels, which carry the annotators' "
            "noise. It is known because the corpus was made, not recorded."
        )
    text = "".join(f"<dt>{term}</dt><dd>{said}</dd>" for term, said in entries.items())
    return f'<dl class="reading">{text}</dl>'
