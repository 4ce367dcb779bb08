"""The viewer in real JupyterLab and Notebook 7, driven by pointer and keyboard,
against the Python side.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import (
    axe_problems,
    keep_screenshot,
    notebook_server,
    opened_browser,
    run_all,
    watched_page,
    write_notebook,
)
from scipy.stats import spearmanr

pytestmark = pytest.mark.slow  # each starts a notebook server

SETUP = """
import json, vqa_explain as vx
model = vx.load("scenes", device="cpu")
data = [vx.load_dataset("scenes:test")[i] for i in range(6)]
data[4] = vx.Example("missing.png", "Where is it?")
model_2 = vx.load("easy-vqa", device="cpu")
viewer = vx.Viewer(model, data, count=6, method="interactions", budget=700, others=[model_2])
viewer
"""
# Their own.
CALM = (
    "Failed to load resource",
    "favicon",
    "jupyterlab.announcements",
    "news",
    "reading 'schema'",
)


@pytest.fixture(scope="module", params=["lab", "notebook"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(page, what went wrong, run Python and get JSON) with the viewer in a notebook."""
    folder = tmp_path_factory.mktemp(request.param)
    write_notebook(folder / "v.ipynb", SETUP, "viewer")
    with (
        opened_browser() as browser,
        notebook_server(request.param, folder) as address,
        watched_page(browser, viewport={"width": 1400, "height": 1600}) as (page, wrong),
    ):
        run_all(page, address, request.param, "v.ipynb")
        page.wait_for_selector("[data-ready]", timeout=600_000)

        def python(expression: str) -> Any:
            path = folder / "value.json"
            path.unlink(missing_ok=True)
            code = f"json.dump({expression}, open({str(path)!r}, 'w'))"
            page.evaluate(
                """async (code) => { const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
                await kernel.requestExecute({ code, store_history: false }).done; }""",
                code,
            )
            return json.loads(path.read_text())

        yield page, wrong, python, folder


@pytest.fixture(autouse=True)
def screenshot(live: Any) -> Iterator[None]:
    """One of every test, kept where VQA_EXPLAIN_SCREENSHOTS says."""
    yield
    keep_screenshot(live[0])


def settled(page: Any, python: Any) -> None:
    """Waits until the kernel has nothing left to do and all views show what it has."""
    # The kernel may hear a message of the page later than a call that the page makes after it.
    page.wait_for_function("!document.querySelector('[data-waits=true]')", timeout=600_000)
    shows = False
    while not shows:  # pytest's timeout ends a hang
        assert python("viewer.wait(600)")
        state = python(
            "[' '.join(one.get('id', '') for one in (viewer.shown, *viewer.compared)),"
            " [entry['state'] for entry in viewer.entries], viewer.selected]"
        )
        shows = page.evaluate(SHOWS, state)


SHOWS = """([shown, states, selected]) => {
  const rows = (root) => [...root.querySelectorAll(".vx-entry")];
  const same = (root) =>
    root.dataset.shown === shown &&
    rows(root).map((row) => row.className).join() === states.map((one) => `vx-entry vx-${one}`).join() &&
    rows(root).findIndex((row) => row.getAttribute("aria-current") === "true") === selected;
  return [...document.querySelectorAll(".vx-root")].every(same);
}"""


def first(page: Any, selector: str) -> Any:
    return page.locator(".vx-root").first.locator(selector)


def test_examples_stream_in_and_a_bad_one_does_not_stop_the_rest(live: Any) -> None:
    page, _, python, _ = live
    settled(page, python)
    states = python("[e['state'] for e in viewer.entries]")
    assert states == ["done"] * 4 + ["error", "done"]
    assert first(page, ".vx-entry").count() == 6
    assert "does not exist" in first(page, ".vx-entry").nth(4).text_content()


def test_what_is_shown_is_what_python_has(live: Any) -> None:
    page, _, python, _ = live
    words = python("[(w.text, w.value) for w in viewer.explanation.words]")
    for index, (text, value) in enumerate(words):
        button = first(page, f'[data-word="{index}"]')
        button.hover()
        said = first(page, ".vx-said").inner_text()
        found = re.match(r"“(.+?)”: ([+−]?[\d.e-]+)", said)
        assert found is not None, said
        assert found[1] == text
        places = len(found[2].partition(".")[2])
        expected = pytest.approx(value, rel=6e-3, abs=0.51 * 10**-places)
        assert float(found[2].replace("−", "-")) == expected
    rows = first(page, ".vx-row").all_inner_texts()
    best = python("[viewer.explanation.answers[0].text, viewer.explanation.answers[0].probability]")
    assert rows[0].split("\n")[0].startswith(best[0])
    share = re.search(r"([\d.]+)%", rows[0])
    assert share is not None
    assert float(share[1]) == pytest.approx(100 * best[1], abs=0.51)


def test_choosing_goes_both_ways_and_both_views_follow(live: Any) -> None:
    page, _, python, _ = live
    first(page, ".vx-entry").nth(2).click()
    settled(page, python)
    assert python("viewer.selected") == 2
    for view in (0, 1):
        assert page.locator(".vx-root").nth(view).get_attribute("data-ready") == "2"
    python("setattr(viewer, 'selected', 1)")
    settled(page, python)
    assert first(page, ".vx-entry").nth(1).get_attribute("aria-current") == "true"
    assert first(page, ".vx-edit").input_value() == python("viewer.examples[1].question")


def test_a_second_answer_becomes_the_contrast(live: Any) -> None:
    page, _, python, _ = live
    other = python("viewer.explanation.answers[1].text")
    first(page, ".vx-row").nth(1).hover()
    first(page, ".vx-why:visible").first.click()
    settled(page, python)
    assert python("viewer.explanation.contrast") == other
    assert f"minus “{other}”" in first(page, ".vx-details").text_content()
    first(page, ".vx-answer").nth(1).click()
    settled(page, python)
    assert python("viewer.explanation.target") == other
    first(page, ".vx-answer").nth(0).click()
    settled(page, python)


def take_word(page: Any, index: int) -> None:
    """Of an explanation with pairs: a click pins a word, and a button takes it away."""
    first(page, f'[data-word="{index}"]').click()
    first(page, "button.vx-tool:has-text('Take away')").click()


def test_taking_words_and_regions_away_asks_the_model(live: Any) -> None:
    page, _, python, _ = live
    take_word(page, 1)
    page.wait_for_selector(".vx-change", timeout=600_000)
    found = python("viewer.whatif")
    assert found["predicted"] == pytest.approx(-python("viewer.explanation.words[1].value"))
    assert found["answers"][0]["text"] in first(page, ".vx-big").inner_text()
    measured = re.search(r"measured ([+−][\d.]+)", first(page, ".vx-change").inner_text())
    assert measured is not None
    assert float(measured[1].replace("−", "-")) == pytest.approx(found["change"], abs=5.1e-3)
    expected = python(
        "(lambda e, g, t: float((lambda s: s[1] - s[0])(model.coalition_scores(e, (p := "
        "g.make_players(e, {'image': 1})).present(t.new_ones(2, len(p)) & (t.new_ones(2, len(p)) "
        "if False else __import__('torch').stack([t.new_ones(len(p)), "
        "__import__('torch').arange(len(p)) != 2]))), {'image': 'drop', 'question': 'mask'}, 0)[:, "
        "model.labels.index(viewer.explanation.target)])))(model.encode(viewer.examples[1]), "
        "__import__('vqa_explain.game', fromlist=['x']), __import__('torch').tensor([True]))"
    )
    assert found["change"] == pytest.approx(expected, abs=1e-4)
    first(page, '[data-word="0"]').focus()
    page.keyboard.press("Enter")
    take = first(page, "button.vx-tool:has-text('Take away')")
    take.focus()
    page.keyboard.press("Enter")
    assert first(page, '[data-word="0"]').get_attribute("aria-pressed") == "true"
    first(page, ".vx-map .vx-canvas").click()
    page.wait_for_selector(".vx-change", timeout=600_000)
    first(page, "button:has-text('Undo')").click()
    first(page, "button:has-text('Undo')").click()
    assert first(page, '[data-word="0"]').get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.activeElement.textContent") == "Undo"
    first(page, "button:has-text('Reset')").click()
    assert first(page, ".vx-dropped").count() == 0


def test_editing_the_question_asks_again(live: Any) -> None:
    page, _, python, _ = live
    first(page, ".vx-editor summary").click()
    first(page, ".vx-edit").fill("Is there a circle?")
    page.wait_for_selector(".vx-now", timeout=600_000)
    found = python("viewer.whatif['answers'][0]['text']")
    assert found in ("yes", "no")
    assert f"now: {found}" in first(page, ".vx-whatif").inner_text()


def open_form(page: Any) -> Any:
    """The form of the method and the examples, which a click on the method's name opens."""
    menu = first(page, ".vx-setup .vx-menu")
    if menu.get_attribute("open") is None:
        menu.locator("summary").click()
    return menu.locator(".vx-form").first


def test_the_form_sets_the_method_and_its_parameters(live: Any) -> None:
    page, _, python, folder = live
    form = open_form(page)
    form.get_by_label("method", exact=True).select_option("integrated_gradients")
    form.get_by_label("parameter steps").fill("8")
    form.get_by_role("button", name="Explain").click()
    settled(page, python)
    assert python("[viewer.explanation.method, viewer.explanation.parameters['steps']]") == [
        "integrated_gradients",
        8,
    ]
    assert first(page, ".vx-pairs").inner_text() == ""
    form = open_form(page)
    form.get_by_label("parameter steps").fill("-5")
    form.get_by_role("button", name="Explain").click()
    page.wait_for_function(
        "() => document.querySelector('.vx-problem').textContent.includes('from 2 to 4096')"
    )
    page.screenshot(path=str(folder / "viewer.png"))


def compare_with(page: Any, python: Any, text: str) -> None:
    choice = first(page, "select[aria-label='compare with']")
    choice.select_option(choice.locator("option", has_text=text).first.get_attribute("value"))
    settled(page, python)


def take_columns_away(page: Any, python: Any) -> None:
    """One after another."""
    while python("len(viewer.columns)"):
        first(page, "[data-column=compared] .vx-col-tools > button").click()
        settled(page, python)


def agreement(page: Any) -> Any:
    return first(page, ".vx-agreement").inner_text()


def expected_rank(python: Any) -> Any:
    """Spearman of the two explanations' players by the Python values, without ties."""
    code = "[[one['value'] for part in e['parts'] for one in part['players']] for e in (viewer.shown, *viewer.compared)]"
    one, other = python(code)
    return spearmanr(one, other).statistic


def test_two_methods_targets_models_or_examples_side_by_side(live: Any) -> None:
    page, _, python, _ = live
    settled(page, python)
    answer = python("viewer.explanation.answers[1].text")
    for text, refused in (
        ("Leave one out", None),
        (answer, "different answers"),
        ("easy-vqa", "different answers"),
        ("3. ", "different pictures"),
    ):
        take_columns_away(page, python)
        compare_with(page, python, text)
        keep_screenshot(page, text)
        if text == "easy-vqa" and python("viewer.shown['target'] == viewer.compared[0]['target']"):
            refused = None
        assert first(page, ".vx-col").count() == (2 if refused else 3)
        if refused:
            assert refused in agreement(page)
            continue
        assert text in agreement(page)
        rank = float(agreement(page).rsplit(": ", 1)[1].replace("−", "-"))
        assert rank == pytest.approx(expected_rank(python), abs=0.006)
    assert python("viewer.compared[0]['heading']") == python("viewer.examples[2].question")
    first(page, "[data-column=compared] .vx-canvas").hover()
    said = first(page, ".vx-said").inner_text()
    assert re.search(r"\(\d+\): .*; compared: [+−]", said)
    compare_with(page, python, "Occlusion")
    assert first(page, ".vx-col").count() == 3
    assert first(page, ".vx-ranks td").count() == 10
    take_columns_away(page, python)
    assert first(page, ".vx-col").count() == 0


CELLS = """JSON.stringify(window.jupyterapp.shell.currentWidget.model.sharedModel.toJSON().cells.map(
  (cell) => [cell.cell_type, cell.source]))"""


def test_keys_reach_the_viewer_and_not_the_notebook(live: Any) -> None:
    """After a click on the picture, letters that edit cells do nothing to them, and arrows move
    over regions.
    """
    page, _, python, _ = live
    before = page.evaluate(CELLS)
    for place in (".vx-map .vx-canvas", ".vx-said"):  # what takes the focus, and what does not
        first(page, place).click()
        for key in ("b", "a", "d", "d", "x", "m", "y", "Delete"):
            page.keyboard.press(key)
    first(page, ".vx-map .vx-canvas").click()
    first(page, ".vx-map .vx-canvas").click()  # back again
    said = set()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        said.add(first(page, ".vx-said").inner_text())
    assert page.evaluate(CELLS) == before
    assert len(said) > 1
    assert all(re.search(r"\(\d+\): ", one) for one in said)
    selected = python("viewer.selected")
    page.keyboard.press("j")
    settled(page, python)
    assert python("viewer.selected") == selected + 1
    page.keyboard.press("k")
    settled(page, python)
    assert python("viewer.selected") == selected


def test_choosing_an_example_keeps_the_focus(live: Any) -> None:
    page, _, python, _ = live
    chosen = first(page, ".vx-entry").nth(2)
    chosen.click()
    settled(page, python)
    assert chosen.evaluate("node => node === document.activeElement")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    settled(page, python)
    assert python("viewer.selected") == 1


def test_dragging_with_shift_paints_regions_away(live: Any) -> None:
    page, _, python, _ = live
    box = first(page, ".vx-map .vx-canvas").bounding_box()
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] / 2, steps=30)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_selector(".vx-change", timeout=600_000)
    labels = "[viewer.explanation.labels[viewer.explanation.labels.shape[0] // 2].tolist()][0]"
    row = sorted(set(python(labels)) - {-1})
    gone = -sum(python(f"[viewer.explanation.regions[i].value for i in {row}]"))
    # The last of the questions that the drag asks may wait for others; pytest's timeout ends a hang.
    while python("viewer.whatif['predicted']") != pytest.approx(gone):
        pass
    first(page, "button:has-text('Reset')").click()


def test_the_live_viewer_is_accessible(live: Any) -> None:
    page, _, _, folder = live
    assert axe_problems(page, folder, ".vx-root") == []


def test_a_cell_run_again_shows_a_new_viewer_and_the_old_one_goes_on(live: Any) -> None:
    page, _, python, _ = live
    cell = {"code": SETUP.replace("viewer", "again"), "store_history": False}
    page.evaluate(
        """async (cell) => { const kernel = window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel;
        await kernel.requestExecute(cell).done; }""",
        cell,
    )
    assert python("again.wait(600)")
    first(page, ".vx-entry").nth(3).click()
    first(page, ".vx-entry").nth(0).click()  # two clicks in a row: the later wins
    settled(page, python)
    assert python("[viewer.selected, again.selected]") == [0, 0]
    assert first(page, ".vx-edit").input_value() == python("viewer.explanation.question")


def test_a_filter_fetches_other_examples(live: Any) -> None:
    page, _, python, _ = live
    python("setattr(viewer._desk, 'dataset', [e for e in data if e.answer])")
    form = open_form(page)
    form.get_by_label("examples").select_option("correct")
    form.get_by_label("number").fill("2")
    form.get_by_role("button", name="Fetch").click()
    settled(page, python)
    assert python("[e['correct'] for e in viewer.entries]") == [True, True]
    assert first(page, ".vx-entry").count() == 2


def test_long_work_can_be_cancelled(live: Any) -> None:
    page, _, python, _ = live
    python("viewer._desk.set_method('shapley', {'budget': 1000000})")
    first(page, ".vx-cancel:visible").first.click(timeout=600_000)
    page.wait_for_function(
        "() => document.querySelector('.vx-entry').textContent.includes('cancelled')",
        timeout=600_000,
    )
    python("viewer._desk.close()")


def test_an_explanation_shows_itself(live: Any) -> None:
    _, _, python, _ = live
    kinds = python("sorted(vx.explain(model, data[0], method='saliency')._repr_mimebundle_())")
    assert "application/vnd.jupyter.widget-view+json" in kinds
    assert {"text/html", "text/plain"} <= set(kinds)


def test_a_kernel_that_ended_or_began_again_is_said_and_the_rest_stays(live: Any) -> None:
    page, wrong, _, folder = live
    end = "restartKernel" if folder.name.startswith("lab") else "shutdown"
    page.evaluate(f"() => window.jupyterapp.shell.currentWidget.context.sessionContext.{end}()")
    open_form(page).get_by_role("button", name="Explain").click()
    page.wait_for_function(
        "() => document.querySelector('.vx-problem').textContent.includes('does not answer')"
    )
    first(page, '[data-word="0"]').hover()
    assert "“" in first(page, ".vx-said").inner_text()
    assert [w for w in wrong if not any(calm in w for calm in CALM)] == []
