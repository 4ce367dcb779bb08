"""A report as one HTML page that needs no network and runs no script."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vqa_explain.evaluation.charts import curves_chart, intervals_chart, unvalued_metrics
from vqa_explain.evaluation.reference import NAME as RANDOM
from vqa_explain.evaluation.report import BEST, SUSPICIOUS, WORST, Report, Shown, better_text
from vqa_explain.files import write_atomically
from vqa_explain.viewer.export import ARTICLE_STYLE, article

_HEADINGS = {
    SUSPICIOUS: "Right for the wrong reason? Answered right, with the least relevance in the true region",
    BEST: "Best explained",
    WORST: "Worst explained",
}


def write_page(report: Report, path: Path) -> Path:
    """Writes the report's page."""
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return write_atomically(
        path, environment.from_string(template).render(**_content(report)).encode()
    )


def _content(report: Report) -> dict[str, Any]:
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
        "notes": report.notes(),
        "curves": Markup(curves_chart(report)),  # our own drawing
        "intervals": Markup(intervals_chart(report)),
        "unvalued": unvalued_metrics(report),
        "gallery": _gallery(report),
        "style": Markup(ARTICLE_STYLE),
    }


def _best(report: Report, text: str, methods: list[str]) -> str:
    """The method whose mean is best, or "" where the metric has no direction."""
    sign = {"higher": 1.0, "lower": -1.0}.get(report.metrics[text].better)
    means = {m: report.interval(text, m).mean for m in methods}
    means = {m: v for m, v in means.items() if v == v}
    return max(means, key=lambda m: sign * means[m]) if sign is not None and means else ""


def _gallery(report: Report) -> list[tuple[str, list[tuple[Shown, Markup]]]]:
    shown = report.shown()
    groups = []
    for kind, heading in _HEADINGS.items():
        # The article escapes what it is given.
        part = [(one, Markup(article(why))) for one, why in shown if one.kind == kind]
        if part:
            groups.append((heading, part))
    return groups
