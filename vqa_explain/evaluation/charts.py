"""Charts of a report, as SVG."""

import io
import re
from typing import Any

import numpy as np

from vqa_explain.evaluation.reference import NAME as RANDOM
from vqa_explain.evaluation.results import Results, better_text
from vqa_explain.metrics.base import HIGHER, LOWER

# Okabe & Ito 2008: told apart by color-blind people; the reference is gray.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000")
_GRAY = "#7a828a"
_STYLES = ("-", "--", "-.", ":")


def color_of(report: Results, method: str) -> str:
    """One color for each method in every chart."""
    if method == RANDOM:
        return _GRAY
    return _COLORS[report.plan.methods.index(method) % len(_COLORS)]


def curves_chart(report: Results) -> str:
    """Mean score against the share of players, a panel for each metric that has a curve;
    "" where none has.
    """
    curves = report.curves()
    if not curves:
        return ""
    figure, axes = _panels(len(curves), 3.1)
    for axis, (metric, of_methods) in zip(axes, curves.items(), strict=False):
        for number, (method, (at, scores)) in enumerate(of_methods.items()):
            style = _STYLES[number // len(_COLORS) % len(_STYLES)]
            axis.plot(
                at, scores, style, color=color_of(report, method), linewidth=1.8, label=method
            )
        axis.set_title(f"{metric} {better_text(report.metrics[metric])}", fontsize=9.5)
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.03, 1.03)
        axis.set_xlabel("share of the players", fontsize=8.5)
    axes[0].set_ylabel("mean score", fontsize=8.5)
    axes[0].legend(fontsize=7.5, frameon=False)
    return _svg(figure)


def intervals_chart(report: Results) -> str:
    """Each method's mean with its interval, a panel for each metric with a direction and values;
    "" where none has.
    """
    texts = [text for text in _with_direction(report) if _has_values(report, text)]
    if not texts:
        return ""
    figure, axes = _panels(len(texts), 0.55 + 0.24 * len(report.methods))
    for axis, text in zip(axes, texts, strict=False):
        for row, method in enumerate(report.methods):
            one = report.interval(text, method)
            if one.count:
                color = color_of(report, method)
                if one.is_known:
                    axis.plot(
                        [one.low, one.high],
                        [row, row],
                        color=color,
                        linewidth=2.2,
                        solid_capstyle="butt",
                    )
                axis.plot(one.mean, row, "o", color=color, markersize=5)
        axis.set_title(f"{text} {better_text(report.metrics[text])}", fontsize=9.5)
        axis.set_yticks(range(len(report.methods)), report.methods, fontsize=7.5)
        axis.set_ylim(len(report.methods) - 0.5, -0.5)
        if report.metrics[text].range == "0 …":
            values = [report.interval(text, m).mean for m in report.methods]
            usable = [v for v in values if np.isfinite(v)]
            if usable and min(usable) > 0 and max(usable) / min(usable) > 100:
                axis.set_xscale("log")
    return _svg(figure)


def unvalued_metrics(report: Results) -> list[str]:
    """The metrics that `intervals_chart` leaves out since no method has a value of them."""
    return [text for text in _with_direction(report) if not _has_values(report, text)]


def _with_direction(report: Results) -> list[str]:
    return [
        text
        for text, metric in report.metrics.items()
        if metric.judges == "explanation" and metric.better in (HIGHER, LOWER)
    ]


def _has_values(report: Results, text: str) -> bool:
    return any(report.interval(text, method).count for method in report.methods)


def _panels(count: int, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.6 * columns, height * rows + 0.2), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(rows, columns)).ravel())
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25, linewidth=0.6)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes


def _svg(figure: Any) -> str:
    import matplotlib

    sink = io.StringIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "vqa_explain", "font.family": "sans-serif"}
    ):
        figure.savefig(sink, format="svg", metadata={"Date": None}, transparent=True)
    text = sink.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return text.replace("#000000", "currentColor")  # axes and ticks follow the page, light or dark
