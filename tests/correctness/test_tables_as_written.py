"""What tables and the shell take, and how it is said where they do not. The truth is what was
written.
"""

import contextlib
import html
import io
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import matplotlib.text
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import vqa_explain as vx
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.plan import Plan
from vqa_explain.models.vilt import ViltModel
from vqa_explain.shell import app as cli
from vqa_explain.shell.evaluation_tables import metrics_tables
from vqa_explain.shell.tables import PlainTable, methods_tables

QUESTION = "Is the circle left of the small circle or square?"
NUMBERS = ["1e3", "1E+3", "0.0000001", "-0", "-0.0", "1.50", "12345678901234567890", "7", "1e400"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.png")
    return tmp_path


def one_row(folder: Path, kind: str, **columns: Any) -> Any:
    """The only example of a table with these columns; JSON texts are put in as they are."""
    given = {"image": '"a.png"', "question": json.dumps(QUESTION), **columns}
    path = folder / f"rows.{kind}"
    if kind == "csv":
        cells = [json.loads(v) if v.startswith('"') else v for v in given.values()]
        quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
        path.write_text(",".join(given) + "\n" + ",".join(quoted) + "\n")
    else:
        row = "{" + ", ".join(f'"{k}": {v}' for k, v in given.items()) + "}"
        path.write_text(row if kind == "jsonl" else f"[{row}]")
    (example,) = vx.load_dataset(path)
    return example


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_numbers_are_the_text_that_stands_there(folder: Path, kind: str, text: str) -> None:
    found = one_row(folder, kind, answer=text, answers=f"[{text}, {text}]", id=text, family=text)
    assert (found.answer, found.answers, found.id, found.family) == (text, (text, text), text, text)


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_who_gave_no_answer_is_not_counted(folder: Path, kind: str) -> None:
    found = one_row(folder, kind, answers='[null, "a", "", NaN, "b"]')
    assert found.answers == ("a", "b")


@pytest.mark.parametrize("values", [[True, False], [1.0, 2.5]])
@pytest.mark.parametrize("nested", [False, True])
def test_typed_lists_of_answers_are_refused(
    folder: Path, values: list[bool] | list[float], nested: bool
) -> None:
    held = [{"answer": value} for value in values] if nested else values
    path = folder / "rows.parquet"
    datasets.Dataset.from_list([{"image": "a.png", "answers": held}]).to_parquet(path)
    fields = {"answers": "answers.*.answer"} if nested else None
    with pytest.raises(vx.InvalidInput, match="so how each answers was written is not known"):
        list(vx.load_dataset(path, fields=fields))


SPANS = {
    "[[7, 13]]": ["circle"],
    "[[7, 13], [43, 49]]": ["circle", "square?"[:5] + "e"],
    '["square"]': ["square"],
    '["SMALL circle", "left"]': ["small circle", "left"],
    '"square"': ["square"],
    '"of the small"': ["of the small"],
    "[]": [],
    "null": [],
}


@pytest.mark.parametrize("written", SPANS)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_decisive_words_by_spans_or_by_name(folder: Path, kind: str, written: str) -> None:
    found = one_row(folder, kind, decisive="" if (kind, written) == ("csv", "null") else written)
    places = [QUESTION[start:end] for start, end in found.decisive]
    if written.startswith("[[7"):
        assert found.decisive == tuple(map(tuple, json.loads(written)))
    else:
        assert places == SPANS[written]


WRONG = {
    '["circle"]': "names the word 'circle', which stands 2 times",
    '"circle"': "names the word 'circle', which stands 2 times",
    '"triangle"': "stands 0 times",
    '"quar"': "stands 0 times",
    "[5, 10]": "write spans of characters",
    "[[5]]": "write spans of characters",
    "[[10, 5]]": "write spans of characters",
    "[[0, 500]]": "write spans of characters",
    "[[0, 1, 2]]": "write spans of characters",
    "7": "write spans of characters",
    "true": "write spans of characters",
    '{"a": 1}': "write spans of characters",
}


@pytest.mark.parametrize("written", WRONG)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_other_forms_are_refused_with_row_and_column(
    folder: Path, scenes_model: ViltModel, kind: str, written: str
) -> None:
    example = one_row(folder, kind, decisive=written)
    (row,) = Judge(scenes_model, Plan("m", "", "d", "", None, (), ("accuracy",)))(0, example)
    assert row["note"].startswith("row 0 of data set 'rows' cannot be read: column 'decisive'")
    # What is no list in a cell of a CSV file is a word.
    word = kind == "csv" and not written.startswith(("[", '"'))
    assert ("stands 0 times" if word else WRONG[written]) in row["note"]
    assert "[[5, 10]]" in row["note"]
    with pytest.raises(vx.InvalidInput, match="row 0 of data set 'rows'"):
        vx.explain(scenes_model, example, method="saliency")


@pytest.mark.parametrize("written", ["[1, 2, 3]", "[[1, 2, 3]]", '"left"', "[[1, 2, 3, NaN]]", "5"])
def test_boxes_of_another_form_are_refused(
    folder: Path, scenes_model: ViltModel, written: str
) -> None:
    example = one_row(folder, "jsonl", boxes=written)
    (row,) = Judge(scenes_model, Plan("m", "", "d", "", None, (), ("accuracy",)))(0, example)
    assert "column 'boxes'" in row["note"]
    assert "[[left, top, right, bottom], …]" in row["note"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_table_is_indexed_as_a_list_is(folder: Path, kind: str) -> None:
    rows = [{"image": "a.png", "question": f"What {i}?"} for i in range(5)]
    path = folder / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        getattr(datasets.Dataset.from_list(rows), f"to_{kind}")(path)
    table, questions = vx.load_dataset(path), [row["question"] for row in rows]
    for index in (0, 3, 4, -1, -5):
        assert table[index].question == questions[index]
    for part in (slice(2), slice(1, 4), slice(None), slice(-2, None), slice(3, 99), slice(0, 5, 2)):
        assert [one.question for one in table[part]] == questions[part]
    for index in (5, -6):
        with pytest.raises(IndexError):
            table[index]


def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: Any
) -> tuple[str | int | None, str, str]:
    """What the command prints to both streams, and its exit code."""
    monkeypatch.setattr(sys, "argv", ["vqa-explain", *map(str, arguments)])
    code: str | int | None = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr()
    return code, told.out, told.err


def scenes_table(folder: Path, **more: Any) -> Any:
    path = folder / "rows.jsonl"
    row = {"img": "a.png", "text": "What color is the circle?", "answer": "red", **more}
    path.write_text(json.dumps(row))
    return path


def evaluated(folder: Path, *more: Any) -> list[Any]:
    return ["evaluate", "--model", "scenes", "--data", folder / "rows.jsonl", "--out", folder / "run",
            "--metrics", "accuracy", "--methods", "saliency", "--workers", "1", *more]  # fmt: skip


def test_the_shell_takes_several_columns_after_one_flag(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes_table(folder)
    code, _, error = shell(
        monkeypatch, capsys, *evaluated(folder, "--columns", "image=img", "question=text")
    )
    assert code == 0, error


@pytest.mark.parametrize("given", [[], ["--columns", "image=picture"]])
def test_the_shell_names_its_own_remedy(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[object] | list[str],
) -> None:
    scenes_table(folder)
    code, _, error = shell(monkeypatch, capsys, *evaluated(folder, *given))
    assert code == 2
    assert "--columns image=COLUMN" in error
    assert "fields={" not in error
    with pytest.raises(vx.InvalidInput, match=r"fields=\{'image': …\}"):
        list(vx.load_dataset(folder / "rows.jsonl"))


def test_a_run_of_which_every_example_failed_ends_with_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes_table(folder, decisive=["triangle"])
    code, _, error = shell(
        monkeypatch, capsys, *evaluated(folder, "--columns", "image=img", "question=text")
    )
    assert code == 1
    assert "every example failed" in error
    assert "1 with an error" in error


@pytest.mark.slow
def test_the_shell_takes_a_budget_for_each_player(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {}
    for budget in ("4n", "40"):
        given = ["explain", folder / "a.png", "What color is it?", "--regions", "2", "--json"]
        code, out, error = shell(monkeypatch, capsys, *given, "--budget", budget)
        assert code == 0, error
        told[budget] = json.loads(out)["parameters"]["budget"]
    assert told["40"] == 40
    code, _, error = shell(monkeypatch, capsys, *given, "--budget", "many")
    assert (code, "budget" in error) == (2, True)


def test_view_writes_a_page_without_being_told_where(
    folder: Path,
    scenes_model: ViltModel,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    vx.explain(scenes_model, folder / "a.png", "What color is it?", method="saliency").save(
        folder / "o.vqax"
    )
    code, out, error = shell(monkeypatch, capsys, "view", "o.vqax")
    assert code == 0, error
    assert out.strip() == "Written: explanations.html"
    assert (folder / "explanations.html").exists()


def printed(tables: list[Any]) -> str:
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink):
        console = Console(file=sink, width=220)
        for table in tables:
            console.print(table)
    return sink.getvalue()


def test_brackets_are_shown_as_they_are() -> None:
    assert "E[f(x ⊙ M) · M] / E[M]" in printed(methods_tables("rise"))
    assert "E[f(x ⊙ M) · M] / E[M]" in printed(methods_tables(None))
    name = "deletion:fills=[blur]"
    table = PlainTable("[red]head", title="[a title]", caption="[b]")
    table.add_row(name)
    for text in ("[red]head", "[a title]", "[b]", name):
        assert text in printed([table])
    row = {"name": "[bold]", "about": "[x]", "better": "", "range": "[0, 1]", "judges": "", "source": "[1]",
           "definition": "[y]", "needs": [], "parameters": []}  # fmt: skip
    for text in ("[bold]", "[x]", "[0, 1]", "[1]"):
        assert text in printed(metrics_tables([row], None))


@pytest.mark.parametrize(
    ("question", "word", "places"),
    [
        ("What is 5 + 3?", "5", [(8, 9)]),  # a word, though JSON would read a number
        ("Is it null?", "null", [(6, 10)]),
        ("这个圆是什么颜色的?", "圆", [(2, 3)]),
        ("ドアは赤いですか?", "赤い", [(3, 5)]),
        ("บ้านสีอะไร", "สี", [(4, 6)]),
        ("Is this his?", "his", [(8, 11)]),
        ("क्या यह लाल है?", "लाल", [(8, 11)]),
        ("लाला का रंग लाल है?", "लाल", [(12, 15)]),  # no part of "लाला"
        ("is the cafe\u0301 or the cafe open?", "cafe", [(20, 24)]),
    ],
)
def test_a_decisive_word_is_found_in_any_script(
    folder: Path, question: str, word: str, places: list[tuple[int, int]]
) -> None:
    found = one_row(folder, "csv", question=question, decisive=word)
    assert [tuple(place) for place in found.decisive] == places


def test_edges_of_spans_are_whole(folder: Path) -> None:
    found = one_row(folder, "jsonl", decisive=[[1.9, 4]])
    assert "write spans of characters" in str(found.image)


@pytest.mark.parametrize(
    "written",
    [
        "[[2, 2, 10, 2, 10, 10, 2, 10]]",  # a quadrilateral
        "[[1, 2], [3, 4]]",
        '["1234", "5678"]',
        '[["1", "2", "3", "4"]]',
        "[[8, 8, 3, 4]]",
        "[[3, 8, 8, 4]]",
        "[1, 2, 3, 4]",
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_boxes_of_other_forms_are_refused(folder: Path, kind: str, written: str) -> None:
    assert "[[left, top, right, bottom], …]" in str(one_row(folder, kind, boxes=written).image)


@pytest.mark.parametrize(
    ("box", "columns", "rows"),
    [
        ([-6, 0, -1, 16], [], []),
        ([0, -6, 16, -1], [], []),
        ([-2, -3, 4, 5], range(4), range(5)),
        ([2.4, 1, 7.6, 3], range(2, 8), range(1, 3)),
    ],
)
def test_a_box_beyond_the_picture_is_cut_at_its_edge(
    folder: Path, box: list[int] | list[float], columns: Any, rows: Any
) -> None:
    (mask,) = one_row(folder, "jsonl", boxes=json.dumps([box])).masks
    assert np.array_equal(np.flatnonzero(mask.any(axis=0)), list(columns))
    assert np.array_equal(np.flatnonzero(mask.any(axis=1)), list(rows))


EVALUATE = ["evaluate", "--model", "scenes", "--data", "scenes", "--out", "run"]
EXPLAIN = ["explain", "a.png", "What color is it?", "--model", "scenes"]
MISTYPED = {
    "method": ([*EVALUATE, "--methods", "salience"], "did you mean 'saliency'"),
    "methods twice": ([*EVALUATE, "--methods", "saliency", "saliency"], "asked for twice"),
    "parameter": ([*EVALUATE, "--methods", "shapley:budgets=5"], "did you mean 'budget'"),
    "metric": ([*EVALUATE, "--metrics", "deletions"], "did you mean 'deletion'"),
    "engine": ([*EVALUATE, "--engine", "locally"], "did you mean 'local'"),
    "keep": ([*EVALUATE, "--keep", "explanation"], "did you mean 'explanations'"),
    "limit": ([*EVALUATE, "--limit", "0"], "limit must be a whole number from 1"),
    "workers": ([*EVALUATE, "--workers", "0"], "workers must be a whole number from 1"),
    "out": ([*EVALUATE[:-1], "a.png/run"], "'a.png' is not a folder"),
    "data": ([*EVALUATE[:3], "--data", "rows", "--out", "run"], "no file or folder of that name"),
    "source": ([*EVALUATE, "--source", "there"], "leave source= out"),
    "folder of data": (
        ["evaluate", "--model", "scenes", "--data", "clevr", "--source", "there", "--out", "run"],
        "the folder 'there' of data set 'clevr' does not exist",
    ),
    "columns": ([*EVALUATE, "--columns", "image"], "must be field=column"),
    "field": ([*EVALUATE[:3], "--data", "rows.jsonl", "--out", "run", "--columns", "imag=img"],
              "did you mean 'image'"),
    "column": ([*EVALUATE[:3], "--data", "rows.jsonl", "--out", "run", "--columns", "image=im"],
               "no column 'im' for the image; there are: img, text, answer"),
    "method of explain": ([*EXPLAIN, "--method", "shaply"], "did you mean 'shapley'"),
    "budget of explain": ([*EXPLAIN, "--method", "shapley", "--budget", "many"], "budget"),
    "target of explain": ([*EXPLAIN, "--target", "gren"], "did you mean 'green'"),
    "contrast of explain": ([*EXPLAIN, "--contrast", "9999"], "no answer number 9999"),
    "folder of a report": (["report", "nowhere"], "the folder 'nowhere' does not exist"),
    "folders of compare": (["compare", "nowhere", "there"], "'nowhere' does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTYPED)
def test_what_is_mistyped_is_refused_before_a_model_is_loaded(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr("vqa_explain.models.loading.load", load)
    monkeypatch.chdir(folder)
    scenes_table(folder)
    arguments, said = MISTYPED[what]
    code, _, error = shell(monkeypatch, capsys, *arguments)
    assert code == 2
    assert said in error
    assert not (folder / "run").exists()


MARKUP = ["[/INST]", "[bold]x[/bold]", "$5 or $6", "[link=x]", "a\\", "{x} %s <b>&amp;"]


@pytest.mark.parametrize("text", MARKUP)
def test_any_text_is_shown_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """In the tables of a run, on its page, and in an explanation's figure and page."""
    monkeypatch.setenv("COLUMNS", "300")
    question = f"What color is the circle {text}?"
    path = scenes_table(folder, text=question, answer=text, kind=text)
    other = {"img": "a.png", "text": "What?", "answer": "red", "kind": "other"}
    path.write_text(f"{path.read_text()}\n{json.dumps(other)}")
    columns = ("--columns", "image=img", "question=text", "family=kind")
    code, out, error = shell(monkeypatch, capsys, *evaluated(folder, *columns))
    assert (code, "Traceback" in error) == (0, False), error
    assert text in out
    code, out, error = shell(monkeypatch, capsys, "report", folder / "run")
    assert code == 0, error
    assert text in out
    model = vx.load("scenes", device="cpu")
    why = vx.explain(model, folder / "a.png", question, method="saliency", regions=2)
    drawn = [one.get_text() for one in why.plot().findobj(match=matplotlib.text.Text)]
    assert text in " ".join(" ".join(drawn).replace("\\$", "$").split())
    page = why.to_html(folder / "why.html").read_text()
    held = json.loads(page.split('id="explanations">')[1].split("</script>")[0])
    assert json.dumps(text)[1:-1] in json.dumps(held)
    run_page = (folder / "run" / "report.html").read_text()
    assert text in html.unescape(run_page)
