"""The commands `vqa-explain evaluate`, `report`, `compare` and `metrics`."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vqa_explain import registry
from vqa_explain.errors import InvalidInput, MissingColumn, unknown
from vqa_explain.files import without_link
from vqa_explain.shell import terminal

if TYPE_CHECKING:
    from vqa_explain.evaluation.report import Report

Json = Annotated[
    bool, Parameter(name="--json", negative=(), help="Print JSON for machines instead of tables.")
]
Several = Parameter(consume_multiple=True, negative=())
NOT_SETTINGS = ("model", "endpoint")  # of `load`: the model, and what is told apart by name


def load_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Settings of `vqa_explain.load` from texts name=value."""
    import inspect

    from vqa_explain.models.api.endpoint import EndpointSettings
    from vqa_explain.models.loading import load

    settings = registry.values(pairs or [], "--load")
    known = [name for name in inspect.signature(load).parameters if name not in NOT_SETTINGS]
    known += EndpointSettings.__annotations__
    strange = next((name for name in settings if name not in known), None)
    if strange is not None:
        raise unknown("setting of --load:", strange, known)
    return settings


def _columns_of_fields(pairs: list[str]) -> dict[str, str]:
    """Field of an example → its column; a column may have any name, a number too."""
    found: dict[str, str] = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field.strip() and equals and column):
            raise InvalidInput(f"--columns {pair!r} must be field=column, such as image=photo")
        found[field.strip()] = column
    return found


def _columns_of_inputs(pairs: list[str]) -> dict[str, Any]:
    """Input name → its column, or its columns where there are commas."""
    found = {name: str(value) for name, value in registry.values(pairs, "--input").items()}
    return {
        name: columns.split(",") if "," in columns else columns for name, columns in found.items()
    }


def evaluate(
    *,
    model: str,
    data: str,
    out: Path,
    methods: Annotated[list[str] | None, Several] = None,
    metrics: Annotated[list[str] | None, Several] = None,
    limit: int | None = None,
    source: Path | None = None,
    columns: Annotated[list[str] | None, Several] = None,
    input_: Annotated[list[str] | None, Parameter("--input", consume_multiple=True)] = None,
    regions: str | None = None,
    words: str | None = None,
    players: Annotated[list[str] | None, Several] = None,
    image_fill: str | None = None,
    text_fill: str | None = None,
    fills: Annotated[list[str] | None, Several] = None,
    seed: int = 0,
    keep: Annotated[list[str] | None, Several] = None,
    max_errors: int | None = None,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    example_timeout: float | None = None,
    load: Annotated[list[str] | None, Several] = None,
    json_: Json = False,
) -> None:
    """Judge a model and explanation methods over a data set; the same command again goes on where
    it stopped.

    Args:
        model: a shipped model, a hub id or a folder.
        data: scenes, easy-vqa, vqav2, ok-vqa, vizwiz, gqa, clevr, with a split as in scenes:test;
            or the path of a table (CSV, JSON, Parquet).
        out: the folder of the run.
        methods: such as saliency shapley:budget=500; see `vqa-explain methods`.
        metrics: such as deletion deletion:players=image; see `vqa-explain metrics`.
        limit: how many examples, from the first.
        source: a folder with a public data set's files, in place of the hub.
        columns: which column of a table of one's own holds what, where they are called otherwise:
            image=photo question=q answer=a, or messages=chat.
        input_: likewise, inputs of any number and kind: name=column, or name=column,column for a
            table's row, such as scan=file patient=age,sex.
        regions: how pictures are divided: 7, 6x8 or slic:50; by default the model's own grid.
        words: how questions are divided: words, tokens or ngrams:2.
        players: the inputs whose parts are players, such as system question; by default all, but
            for a chat the last user's turn.
        image_fill: what absent regions become in the metrics' game.
        text_fill: what absent words become in the metrics' game.
        fills: the same by input, as name=fill, such as patient=background.
        seed: for what draws at random.
        keep: "explanations" keeps each as a file.
        max_errors: more failed examples than these end the run.
        engine: local or ray.
        workers: processes; by default one for each core, once what is left is worth their start.
        address: of a Ray cluster.
        example_timeout: seconds that one example may take; one that takes longer is an error.
        load: how the model is loaded, as name=value.
    """
    from vqa_explain.datasets.loading import load_dataset
    from vqa_explain.evaluation.run import check_request
    from vqa_explain.evaluation.run import evaluate as run
    from vqa_explain.models.loading import load as load_model
    from vqa_explain.shell.progress import progress

    fields = _columns_of_fields(columns) if columns else None
    settings = load_settings(load)
    own_fills = registry.values(fills, "--fills") if fills else None
    check_request(
        methods, metrics, out, limit=limit, keep=keep or (), engine=engine, workers=workers,
        seed=seed, max_errors=max_errors, example_timeout=example_timeout,
    )  # fmt: skip
    # A batch system's way of stopping is as clean as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _shell_remedies():
        inputs = _columns_of_inputs(input_) if input_ else None
        dataset = load_dataset(data, source=source, fields=fields, inputs=inputs)
    loaded = load_model(model, **settings)
    try:
        with progress() as told, _shell_remedies():
            report = run(
                loaded,
                dataset,
                methods,
                metrics,
                out,
                limit=limit,
                regions=regions,
                words=words,
                players=players,
                image_fill=image_fill,
                text_fill=text_fill,
                fills=own_fills,
                seed=seed,
                keep=keep or (),
                max_errors=max_errors,
                engine=engine,
                workers=workers,
                address=address,
                example_timeout=example_timeout,
                name=data,
                progress=told,
            )
    except KeyboardInterrupt:
        print(
            f"vqa-explain: stopped; finished shards are in {str(out)!r}, and the same command goes "
            "on",
            file=sys.stderr,
        )
        sys.exit(130)
    _show(report, None, json_)
    if not len(report.frame()) and len(report.errors()):
        print("vqa-explain: every example failed", file=sys.stderr)
        sys.exit(1)


@contextmanager
def _shell_remedies() -> Iterator[None]:
    """Inside, a missing column's remedy is told as the shell has it."""
    try:
        yield
    except MissingColumn as error:
        raise InvalidInput(
            f"{error.problem}; say which holds it: --columns {error.field}=COLUMN"
        ) from error


def report(run: Path, /, *, html: Path | None = None, json_: Json = False) -> None:
    """Print the tables of a run, and write its page.

    Args:
        run: the folder of `vqa-explain evaluate --out`.
        html: the page; by default report.html in the run's folder.
    """
    from vqa_explain.evaluation.report import Report

    if html is not None and html.suffix != ".html":
        raise InvalidInput(f"--html {str(html)!r} must end in .html")
    _show(Report(run), html or without_link(run / "report.html"), json_)


def _show(report: "Report", html: Path | None, as_json: bool) -> None:
    if html is not None:
        report.to_html(html)
    if as_json:
        print(json.dumps(report.to_json()))
        return
    from vqa_explain.shell.evaluation_tables import report_tables

    console = terminal.console()
    for table in report_tables(report):
        console.print(table)
    for note in report.notes():
        console.print(f"• {note}", highlight=False, markup=False)
    where = (
        f"Page: {html}"
        if html
        else f"vqa-explain report {report.folder} prints this again and writes a page."
    )
    console.print(where, highlight=False, markup=False, soft_wrap=True)


def compare(run_a: Path, run_b: Path, /, *, json_: Json = False) -> None:
    """Put two runs side by side: the paired differences B − A over the examples that both have.

    Args:
        run_a: the folder of one run.
        run_b: the folder of the other.
    """
    from vqa_explain.evaluation.comparison import compare as compared
    from vqa_explain.evaluation.report import Report
    from vqa_explain.shell.evaluation_tables import comparison_table

    one, other = Report(run_a), Report(run_b)
    found = compared(one, other)
    if json_:
        print(json.dumps(found.to_json()))
        return
    terminal.console().print(comparison_table(found))


def metrics(name: str | None = None, *, json_: Json = False) -> None:
    """List the metrics, or the parameters of one.

    Args:
        name: a metric.
    """
    from vqa_explain.shell.facts import listed_metrics

    rows = listed_metrics(name)
    if json_:
        print(json.dumps(rows))
        return
    from vqa_explain.shell.evaluation_tables import metrics_tables

    console = terminal.console()
    for table in metrics_tables(rows, name):
        console.print(table)


COMMANDS = (evaluate, report, compare, metrics)
