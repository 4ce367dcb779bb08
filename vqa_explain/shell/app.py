"""The command `vqa-explain`."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from vqa_explain import registry
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.files import without_link
from vqa_explain.shell import evaluation as cli_evaluation
from vqa_explain.shell import terminal
from vqa_explain.shell.evaluation import Json, load_settings
from vqa_explain.shell.evidence import evidence
from vqa_explain.shell.layers import layers
from vqa_explain.shell.one_example import Inputs, Repeated, Settings, check_folder, say_written
from vqa_explain.shell.opening import open_

if TYPE_CHECKING:
    from vqa_explain.explanation import Explanation
    from vqa_explain.games.progress import Progress

app = cyclopts.App(
    name="vqa-explain",
    help="Explain the answers of visual question answering models: words and image regions "
    "together.",
    version_flags=["--version"],
    version=lambda: __import__("importlib.metadata").metadata.version("vqa_explain"),
)

for _command in (evidence, layers, *cli_evaluation.COMMANDS):
    app.command(_command)
app.command(open_, name="open")


@app.meta.default
def _with_plugins(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    use: Repeated = None,
) -> None:
    """Explain the answers of visual question answering models: words and image regions together.

    Args:
        use: a Python file or module that registers methods, metrics or models of your own; may be
            repeated.
    """
    if use:
        from vqa_explain import plugins

        for source in use:
            plugins.use(source)
    app(tokens, exit_on_error=False, print_error=False)


@contextmanager
def _progress(what: str) -> Iterator["Progress | None"]:
    """A progress bar on the error stream, when a person is watching."""
    from rich.progress import Progress

    console = terminal.console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    with Progress(console=console, transient=True) as bar:
        job = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(job, completed=done, total=total)


@app.command
def demo(*, out: Path = Path("vqa-explain-demo"), json_: Json = False) -> None:
    """Explain answers of the shipped models and write a page and the explanation files.

    Args:
        out: the folder for `index.html` and the explanation files.
    """
    from vqa_explain.shell.demo import run_demo

    with _progress("explaining") as progress:
        shown = run_demo(out, progress)
    if json_:
        print(json.dumps([e.summary() for e in shown.explained]))
        return
    from vqa_explain.shell.tables import explanations_table

    console = terminal.console()
    console.print(explanations_table(shown.explained))
    for fact in shown.facts:
        console.print(fact, highlight=False, markup=False)
    console.print(
        "Orange speaks for the answer, purple against it; share is each modality's part of the "
        "absolute total."
    )
    console.print(f"Open {out / 'index.html'} to see the regions.", highlight=False, markup=False)


@app.command
def explain(
    image: Path | None = None,
    question: str | None = None,
    *,
    input_: Inputs = None,
    messages: Path | None = None,
    model: str = "scenes",
    method: str | None = None,
    target: str | None = None,
    contrast: str | None = None,
    score: str | None = None,
    answer: Repeated = None,
    target_token: int | None = None,
    max_new_tokens: int | None = None,
    stop: Repeated = None,
    samples: int | None = None,
    temperature: float | None = None,
    history: bool = False,
    regions: str | None = None,
    words: str | None = None,
    columns: str | None = None,
    players: Repeated = None,
    budget: str | None = None,
    quality: str | None = None,
    seed: int = 0,
    set_: Settings = None,
    load: Repeated = None,
    out: Path | None = None,
    json_: Json = False,
) -> None:
    """Explain one answer about one image, or about inputs of any number and kind.

    Args:
        image: a picture; leave it out with --input or --messages.
        question: the question; leave it out for a classifier.
        input_: an input as name=value; may be repeated. The value is the path of a picture, a row
            of a table as JSON ('{"age": 63}') or as the path of a .json file, the frames of a video
            as a JSON list of paths, or a text.
        messages: a chat as a .json file, in the format of transformers; see the guide to inputs.
        model: a shipped model, a hub id or a folder.
        method: see `vqa-explain methods`.
        target: the answer to explain, by its text or, where no answer is spelled so, its label
            number; by default the predicted one. "sentence" explains every word of what a model
            writes, "thinking" every word of what it thinks before.
        contrast: explain why the target rather than this answer, likewise.
        score: logit, log_probability or probability; by default the logit, and without a method the
            probability where the model chooses among answers of its own.
        answer: a candidate of a model that writes its answers; may be repeated. By default what it
            writes.
        target_token: explain only this token of such an answer, from 0.
        max_new_tokens: how many tokens such a model writes at most.
        stop: a text that ends what such a model writes; may be repeated.
        samples: how many answers such a model draws at random; explained is the probability of the
            target, or of the most frequent.
        temperature: of the samples.
        history: tell each word of a sentence what it owes to each word before it.
        regions: how the picture is divided: 7, 6x8, segments or slic:50; by default the model's own
            grid, and without a method segments.
        words: how texts are divided: words, tokens or ngrams:2.
        columns: which columns of a table are one player, such as height+weight; others are players
            by themselves.
        players: an input, or kind of input, whose parts are players; may be repeated. The others
            are fixed.
        budget: most evaluations, for methods that have one: a number, or 4n for four evaluations
            per player.
        quality: of the default method: quick or thorough.
        seed: for methods that draw.
        set_: a parameter of the method as name=value; may be repeated.
        load: how the model is loaded, as name=value, such as dtype=bfloat16 or labels='["a cat", "a
            dog"]'.
        out: write an explanation file (.vqax), a page (.html) or a figure (.png).
    """
    parameters = registry.values(set_ or [], "--set")
    if budget is not None:
        parameters |= registry.values([f"budget={budget}"], "--budget")
    if out is not None and out.suffix not in (".vqax", ".html", ".png"):
        raise InvalidInput(f"--out {str(out)!r} must end in .vqax, .html or .png")
    check_folder(out)

    from vqa_explain.explaining import explain as explain_answer
    from vqa_explain.explaining import text_or_number
    from vqa_explain.models.loading import load as load_model
    from vqa_explain.shell.inputs import check_answers, check_method, column_groups, example_of

    settings = load_settings(load)
    example = example_of(image, question, input_ or [], messages)
    check_method(method, parameters)
    check_answers(model, target, contrast)
    loaded = load_model(model, **settings)
    with _progress("explaining") as progress:
        explanation = explain_answer(
            loaded,
            example,
            method=method,
            target=text_or_number(loaded, target),
            contrast=text_or_number(loaded, contrast),
            score=score,
            answers=answer,
            target_token=target_token,
            max_new_tokens=max_new_tokens,
            stop=stop,
            temperature=temperature,
            history=history,
            regions=regions,
            words=words,
            columns=column_groups(columns),
            players=players,
            seed=seed,
            progress=progress,
            quality=quality,
            **{"samples": samples, **parameters},
        )
    if out is not None:
        _write(explanation, out)
    if json_:
        print(json.dumps(explanation.summary()))
        return
    from vqa_explain.shell.tables import explanation_tables

    console = terminal.console()
    for table in explanation_tables(explanation):
        console.print(table)
    say_written(out)


@app.command
def view(
    files: list[Path],
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    example: int | None = None,
) -> None:
    """Put explanation files, or a finished run, into one page with the viewer, which opens without
    a network.

    Args:
        files: explanation files (.vqax), or the folder of one run: its examples come as a table
            with their metrics.
        out: the page (.html); by default explanations.html, or viewer.html in the run's folder.
        example: print the address at which the page shows this example: its number in the data
            set, as the report names it, or of explanation files its place, from 0.
    """
    if out is not None and out.suffix != ".html":
        raise InvalidInput(f"--out {str(out)!r} must end in .html")
    if len(files) == 1 and files[0].is_dir():
        from vqa_explain.evaluation.report import Report
        from vqa_explain.evaluation.viewing import PAGE, places_of

        report = Report(files[0])
        place = _place_of(example, places_of(report))
        _say_page(report.to_viewer(out or without_link(files[0] / PAGE)), place)
        return
    place = _place_of(example, {number: number for number in range(len(files))})
    out = out or Path("explanations.html")
    from vqa_explain.files import write_atomically
    from vqa_explain.reading import load_explanation
    from vqa_explain.viewer.export import page

    write_atomically(out, page([load_explanation(path) for path in files]).encode())
    _say_page(out, place)


def _place_of(example: int | None, places: Mapping[int, int]) -> int | None:
    """Where an example stands in the page's list.

    Raises:
        InvalidInput: it is not there.
    """
    if example is not None and example not in places:
        numbers = f"they go from {min(places)} to {max(places)}" if places else "it has none"
        raise InvalidInput(f"there is no example {example} to view; {numbers}")
    return None if example is None else places[example]


def _say_page(written: Path, place: int | None) -> None:
    print(f"Written: {terminal.visible(str(written))}")
    if place is not None:
        from vqa_explain.evaluation.viewing import address_of

        print(f"Open: {address_of(written.resolve().as_uri(), place)}")


def _write(explanation: "Explanation", out: Path) -> None:
    if out.suffix == ".vqax":
        explanation.save(out)
    elif out.suffix == ".html":
        explanation.to_html(out)
    else:
        from vqa_explain.figures.evidence import written_figure

        written_figure(explanation.plot(), out, dpi=150)


@app.command
def methods(name: str | None = None, *, json_: Json = False) -> None:
    """List the explanation methods, or the parameters of one.

    Args:
        name: a method.
    """
    from vqa_explain.shell.facts import listed_methods
    from vqa_explain.shell.tables import methods_tables

    if json_:
        print(json.dumps(listed_methods(name)))
        return
    console = terminal.console()
    for table in methods_tables(name):
        console.print(table)


@app.command
def models(*, json_: Json = False) -> None:
    """List the shipped models and the families that can be loaded."""
    from vqa_explain.shell.facts import describe_models
    from vqa_explain.shell.tables import models_tables

    if json_:
        print(json.dumps(describe_models()))
        return
    console = terminal.console()
    for table in models_tables():
        console.print(table)


def main() -> None:
    """Runs the command; a user's mistake ends with one line and exit code 2."""
    with terminal.written_whole():
        try:
            app.meta(sys.argv[1:], exit_on_error=False, print_error=False)
        except (VQAExplainError, cyclopts.CycloptsError) as error:
            terminal.complain(error)
            sys.exit(2)
        except KeyboardInterrupt:
            terminal.stop()


if __name__ == "__main__":
    main()
