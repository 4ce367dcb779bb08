"""A report as one HTML page that needs no network and runs no script."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vqa_explain.evaluation.charts import curves_chart, intervals_chart, unvalued_metrics
from vqa_explain.evaluation.gallery import BEST, SUSPICIOUS, WORST, Shown
from vqa_explain.evaluation.reference import NAME as RANDOM
from vqa_explain.evaluation.results import Results, better_text
from vqa_explain.evaluation.viewing import PAGE, addresses_in
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.viewer.export import ARTICLE_STYLE, article

_HEADINGS = {
    SUSPICIOUS: (
        "Right for the wrong reason? Answered right, with the least relevance in the true region"
    ),
    BEST: "Best explained",
    WORST: "Worst explained",
}


Explained = list[tuple[Shown, Explanation]]


def write_page(report: Results, notes: list[str], explained: Explained, path: Path) -> Path:
    """Writes the page of a report: its tables, what a reader must know, and its gallery, each
    example with its address in the viewer's page beside it or with the command that writes one.
    """
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    content = {**_tables(report), "notes": notes, "gallery": _gallery(explained)}
    content |= {"addresses": _addresses(report, explained, path), "command": _command(report)}
    return write_atomically(path, environment.from_string(template).render(**content).encode())


def _tables(report: Results) -> dict[str, Any]:
    explained = {
        text: metric for text, metric in report.metrics.items() if metric.judges == "explanation"
    }
    methods = [m for m in report.methods if m != RANDOM]
    return {
        "report": report,
        "plan": report.plan,
        "arrow": better_text,
        "random": RANDOM,
        "methods": methods,
        "explained": explained,
        "best": {text: _best(report, text, methods) for text in explained},
        "differences": {text: report.differences(text) for text in explained} if methods else {},
        "families": report.families().to_dict("records"),
        "answer_metrics": [t for t, m in report.metrics.items() if m.judges == "answer"],
        "emap": report.emap(),
        "costs": report.costs().to_dict("records"),
        "curves": Markup(curves_chart(report)),  # our own drawing
        "intervals": Markup(intervals_chart(report)),
        "unvalued": unvalued_metrics(report),
        "style": Markup(ARTICLE_STYLE),
    }


def _addresses(report: Results, explained: Explained, path: Path) -> dict[int, str]:
    """Example → where the viewer's page beside this one shows it."""
    return addresses_in(path.parent / PAGE, report, {one.index: why for one, why in explained})


def _command(report: Results) -> Callable[[int], str]:
    """The shell's command that shows an example in the viewer."""
    folder = shlex.quote(str(report.folder))
    return lambda index: f"vqa-explain view {folder} --example {index}"


def _best(report: Results, text: str, methods: list[str]) -> str:
    """The method whose mean is best, or "" where the metric has no direction."""
    sign = {"higher": 1.0, "lower": -1.0}.get(report.metrics[text].better)
    means = {m: report.interval(text, m).mean for m in methods}
    means = {m: v for m, v in means.items() if v == v}
    return max(means, key=lambda m: sign * means[m]) if sign is not None and means else ""


def _gallery(explained: Explained) -> list[tuple[str, list[tuple[Shown, Markup]]]]:
    groups = []
    for kind, heading in _HEADINGS.items():
        # The article escapes what it is given.
        part = [(one, Markup(article(why))) for one, why in explained if one.kind == kind]
        if part:
            groups.append((heading, part))
    return groups
