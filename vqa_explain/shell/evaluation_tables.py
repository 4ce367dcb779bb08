"""Tables of evaluations for the terminal."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from vqa_explain.shell.tables import PlainTable, parameters_table

if TYPE_CHECKING:  # the list of metrics needs none of these, and they bring torch
    from vqa_explain.evaluation.comparison import Comparison
    from vqa_explain.evaluation.report import Report
    from vqa_explain.games.intervals import Interval


def _cell(one: "Interval", sign: str = "", failed: int = 0) -> str:
    lines = [f"{one.mean:{sign}.3g}", one.span(f"{sign}.3g")] if one.count else ["–"]
    return "\n".join([*lines, *([f"{failed:,} failed"] if failed else [])])


def report_tables(report: "Report") -> list[Table]:
    """Accuracy by family, methods × metrics, costs."""
    from vqa_explain.evaluation.results import better_text

    tables: list[Table] = []
    answers = [text for text, metric in report.metrics.items() if metric.judges == "answer"]
    if answers:
        table = PlainTable(
            "questions", "number", *answers, title=f"{report.plan.model} on {report.plan.data}"
        )
        for row in report.families().to_dict("records"):
            number = (
                f"{row['count']:,}"
                if row["judged"] == row["count"]
                else f"{row['judged']:,} of {row['count']:,}"
            )
            table.add_row(row["family"] or "all", number, *(_cell(row[text]) for text in answers))
        tables.append(table)
    if (emap := report.emap()) is not None:
        table = PlainTable(
            "questions", "accuracy", "additive (EMAP)", "gap", title="Words and picture together"
        )
        table.add_row(
            str(emap.count), f"{emap.accuracy:.3f}", f"{emap.emap:.3f}", f"{emap.gap:+.3f}"
        )
        tables.append(table)
    if report.methods:
        title = (
            "Methods × metrics, means with 95% intervals over the examples that all methods have"
        )
        table = PlainTable("metric", "examples", *report.methods, title=title)
        for text, metric in report.metrics.items():
            if metric.judges == "explanation":
                cells = [
                    _cell(report.interval(text, m), failed=report.failed(text, m))
                    for m in report.methods
                ]
                table.add_row(
                    f"{text} {better_text(metric)}",
                    f"{len(report.common(text)):,}",
                    *map(Text, cells),
                )
        tables.append(table)
        costs = PlainTable(
            "method",
            "examples",
            "forwards",
            "backwards",
            "seconds",
            title="Cost of an explanation, one thread",
        )
        for row in report.costs().to_dict("records"):
            spent = (f"{row[k]:.3g}" for k in ("forwards", "backwards", "seconds"))
            costs.add_row(row["method"], f"{row['count']:,}", *spent)
        tables.append(costs)
    return tables


def comparison_table(found: "Comparison") -> Table:
    """Both means and the paired difference; one that an interval tells from 0 is marked."""
    title = f"A: {found.names[0]}\nB: {found.names[1]}"
    table = PlainTable("metric", "method", "A", "B", "B − A, paired", "examples", title=Text(title))
    for row in found.rows:
        d = row.difference
        cell = Text(_cell(d, "+"), style="bold" if d.tells_from_zero else "")
        table.add_row(
            row.metric,
            Text(row.method),
            Text(_cell(row.a)),
            Text(_cell(row.b)),
            cell,
            f"{d.count:,}",
        )
    return table


def metrics_tables(rows: list[dict[str, Any]], name: str | None) -> list[Table]:
    """All metrics, or one with all that is known of it."""
    if name is None:
        table = PlainTable(
            "metric",
            "what it is",
            "better",
            "range",
            "judges",
            "source",
            title="Metrics",
            show_lines=True,
        )
        table.columns[0].no_wrap = True  # one needs the whole name to ask for it
        for row in rows:
            about = " ".join(row["about"].split())
            table.add_row(
                row["name"], Text(about), row["better"], row["range"], row["judges"], row["source"]
            )
        return [table]
    row = rows[0]
    card = PlainTable(show_header=False, title=name)
    card.add_row("definition", Text(row["definition"]))
    for what in ("source", "better", "range", "judges"):
        card.add_row(what, Text(row[what]))
    card.add_row("an example must have", ", ".join(row["needs"]) or "nothing more")
    return [card, parameters_table(name, row["parameters"])] if row["parameters"] else [card]
