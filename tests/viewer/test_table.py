"""The table of examples, the scatter, columns beside each other and the page's link, in a real browser."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import several
from browser import add_column, axe_problems, opened_browser, watched_page
from building import replaced
from live_page import listed, live, messages, traits_of
from pages import MAP, box_of, made, opened
from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.viewer.export import page as page_of

pytestmark = pytest.mark.slow  # each opens a page

MANY = 10_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened_one:
        yield opened_one


def of_shares(seed: int, share: float) -> vx.Explanation:
    """An explanation whose first input has this share."""
    found = made(f"Which is {seed}?", grid=3, interactions=False, seed=seed)
    return replaced(found, share={"image": share, "question": 1 - share})


def titles(page: Page) -> list[str]:
    return page.locator(".vx-table .vx-asks:visible").all_inner_texts()


def open_table(page: Page) -> None:
    page.get_by_role("button", name="Table", exact=True).click()


def test_a_table_is_sorted_searched_filtered_and_opened(browser: Any, tmp_path: Path) -> None:
    shares = [0.5, 0.1, 0.9, 0.3]
    explained = [of_shares(i, share) for i, share in enumerate(shares)]
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", explained)
        open_table(page)
        assert titles(page) == [f"Which is {i}?" for i in range(4)]
        name = page.get_by_role("button", name="Image's share")
        name.click()
        assert titles(page) == [f"Which is {i}?" for i in (2, 0, 3, 1)]  # the largest first
        name.click()
        assert titles(page) == [f"Which is {i}?" for i in (1, 3, 0, 2)]
        page.locator(".vx-table .vx-ranges summary").click()
        page.locator(".vx-table").get_by_label("column").select_option("image's share")
        page.locator(".vx-table").get_by_label("from", exact=True).fill("20")
        page.locator(".vx-table").get_by_label("to", exact=True).fill("60")
        page.locator(".vx-table").get_by_role("button", name="Filter").click()
        assert titles(page) == ["Which is 3?", "Which is 0?"]
        assert page.locator(".vx-table-counts").inner_text() == "2 of 4 examples"
        page.locator(".vx-table .vx-search").fill("is 0")
        assert titles(page) == ["Which is 0?"]
        # The list beside the example shows the same.
        page.locator(".vx-table .vx-search").fill("")
        page.locator(".vx-table .vx-asks").first.click()
        page.wait_for_selector('#viewer[data-ready="3"]')
        assert page.locator(".vx-entry .vx-asked").all_inner_texts() == [
            "Which is 3?",
            "Which is 0?",
        ]
        assert page.locator(".vx-table").is_hidden()
        page.keyboard.press("j")
        page.wait_for_selector('#viewer[data-ready="0"]')
        assert wrong == []


def test_a_rectangle_in_the_scatter_selects_what_lies_in_it(browser: Any, tmp_path: Path) -> None:
    explained = [of_shares(i, share) for i, share in enumerate([0.1, 0.2, 0.8, 0.9])]
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", explained)
        open_table(page)
        page.get_by_label("x axis").select_option("image's share")
        page.get_by_label("y axis").select_option("confidence")
        box = box_of(page.locator(".vx-scatter"))
        left, right = box["x"] + 44, box["x"] + 42 + 0.5 * (box["width"] - 60)
        page.mouse.move(left, box["y"] + 4)
        page.mouse.down()
        page.mouse.move(right, box["y"] + box["height"] - 30, steps=5)
        page.mouse.up()
        assert page.locator(".vx-picked h2").inner_text().startswith("2 selected")
        checked = "[...document.querySelectorAll('.vx-table-rows input')].map((one) => one.checked)"
        assert page.evaluate(checked) == [True, True, False, False]
        assert page.evaluate("location.hash") == "#page=table&selection=0,1"
        page.get_by_role("button", name="Show only these").click()
        assert titles(page) == ["Which is 0?", "Which is 1?"]
        page.get_by_role("button", name="Star all").click()
        stars = page.locator(".vx-table-rows .vx-star")
        assert stars.all_inner_texts() == ["★", "★"]
        with page.expect_download() as told:
            page.get_by_role("button", name="CSV").click()
        rows = Path(told.value.path()).read_text().splitlines()
        assert [row.split(",")[0] for row in rows] == ["example", "0", "1"]
        assert all("true" in row for row in rows[1:])
        assert wrong == []


def test_the_link_of_a_page_carries_its_state(browser: Any, tmp_path: Path) -> None:
    explained = [of_shares(i, share) for i, share in enumerate([0.1, 0.2, 0.8])]
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", explained)
        page.locator(".vx-entry").nth(2).click()
        page.wait_for_selector('#viewer[data-ready="2"]')
        page.locator(".vx-view-menu").click()
        page.get_by_label("colors").select_option("brown-teal")
        page.keyboard.press("Escape")
        add_column(page, 0)
        page.wait_for_selector("[data-column=compared]")
        link = page.evaluate("location.href")
        page.goto("about:blank")
        page.goto(link)
        page.wait_for_selector('#viewer[data-ready="2"]')
        assert page.locator(".vx-col").count() >= 2
        assert page.get_by_label("colors").input_value() == "brown-teal"
        page.evaluate("location.hash = '#example=1&page=table'")  # a link within the page
        page.wait_for_selector('#viewer[data-ready="1"]')
        assert page.locator(".vx-table").is_visible()
        page.evaluate("location.hash = '#example=99&page=nothing&columns=7'")
        page.wait_for_selector('#viewer[data-ready="0"]')
        assert page.locator(".vx-table").is_hidden()
        assert wrong == []


def test_six_columns_have_one_cursor_and_a_matrix_of_ranks(browser: Any, tmp_path: Path) -> None:
    explained = [made(grid=3, interactions=False, seed=i) for i in range(7)]
    for width in (1400, 600):
        with watched_page(browser, viewport={"width": width, "height": 900}) as (page, wrong):
            opened(page, tmp_path / "a.html", explained)
            for other in range(1, 6):
                add_column(page, other)
                page.locator(".vx-col-tools").nth(other - 1).wait_for()
            assert page.locator(".vx-col").count() == 6
            assert page.locator(".vx-compare-with").is_hidden()  # there is room for no more
            assert page.locator(".vx-ranks tbody td").count() == 36
            page.locator(".vx-col .vx-compared-words button").first.hover()
            assert page.locator(".vx-said").inner_text().count("compared:") == 5
            assert page.locator(".vx-col .vx-column.vx-focused").count() == 6
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
            page.locator(".vx-col-tools > button").first.click()
            page.locator(".vx-col").nth(5).wait_for(state="detached")
            assert page.locator(".vx-compare-with").is_visible()
            assert page.locator(".vx-col").count() == 5
            assert wrong == []


def entries(count: int) -> list[dict[str, Any]]:
    return [listed(number) for number in range(count)]


LONGEST = """async ([selector, sideways]) => {
  const found = [];
  new PerformanceObserver((list) => found.push(...list.getEntries().map((one) => one.duration)))
    .observe({ type: "longtask" });
  const node = document.querySelector(selector);
  for (let step = 1; step <= 40; step++) {
    node.scrollTop = (node.scrollHeight * step) / 40;
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }
  return found;
}"""


def test_ten_thousand_rows_are_in_the_page_only_where_they_are_seen(browser: Any) -> None:
    """Time is not asserted here; how much is in the page does not grow with the list."""
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(interactions=False), entries=entries(MANY))
        assert 10 < page.locator(".vx-entry").count() < 100
        page.locator(".vx-entries").evaluate("(node) => { node.scrollTop = node.scrollHeight; }")
        page.get_by_text(f"What is {MANY - 1}?", exact=True).first.wait_for()
        assert page.locator(".vx-entry").count() < 100
        open_table(page)
        assert 10 < page.locator(".vx-table .vx-asks").count() < 100
        page.locator(".vx-table-box").evaluate("(node) => { node.scrollTop = node.scrollHeight; }")
        page.locator(".vx-table").get_by_text(f"What is {MANY - 1}?", exact=True).wait_for()
        assert page.locator(".vx-table .vx-asks").count() < 100
        page.locator(".vx-table").get_by_role("button", name="Wrong").click()
        assert page.locator(".vx-table-counts").inner_text().startswith("1,112 of 10,000")
        page.locator(".vx-table .vx-search").fill(f"What is {MANY - 10}?")
        assert titles(page) == [f"What is {MANY - 10}?"]
        page.locator(".vx-table").get_by_role("button", name="All", exact=True).click()
        page.locator(".vx-table .vx-search").fill("")
        page.locator(".vx-table .vx-asks").first.focus()
        for _ in range(40):
            page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.textContent") == "What is 40?"
        assert wrong == []


def test_a_view_tells_its_state_and_takes_that_of_python(browser: Any) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, made(interactions=False), entries=entries(3))
        kept = "(name) => window.model.get(name)"
        page.locator('[data-word="1"]').click()
        assert page.evaluate(kept, "hidden") == {"question": [1]}
        page.evaluate("(value) => window.model.set('hidden', value)", {"image": [4, 7]})
        page.wait_for_function("document.querySelectorAll('.vx-whatif .vx-chip').length >= 2")
        page.wait_for_function(
            "window.sent.filter((one) => one.action === 'whatif').at(-1)?.away.image"
        )
        page.keyboard.press("Escape")
        assert page.evaluate(kept, "hidden") == {"question": [1]}
        look = {"page": "table", "map": "red-blue"}
        page.evaluate("(value) => window.model.set('look', value)", look)
        page.locator(".vx-table").wait_for()
        page.evaluate("(value) => window.model.set('selection', value)", [0, 2])
        page.wait_for_function(
            "document.querySelector('.vx-picked h2').textContent.startsWith('2 ')"
        )
        page.locator(".vx-table-rows input").nth(1).click()
        assert page.evaluate(kept, "selection") == [0, 1, 2]
        assert "viewer.selection  # [0, 1, 2]" in (page.locator(".vx-code").text_content() or "")
        page.locator(".vx-table-rows .vx-star").nth(1).click()
        assert page.evaluate(kept, "notes") == {"e1": {"star": True, "note": ""}}
        page.locator(".vx-table").get_by_role("button", name="Right").click()
        assert page.evaluate(kept, "filter")["outcome"] == "right"
        put("selected", 2)
        assert wrong == []


def test_only_what_was_chosen_is_kept_and_a_box_takes_several(browser: Any) -> None:
    why = made(interactions=False, grid=3)
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, why, entries=entries(2))
        page.get_by_role("button", name="Keep only").click()
        page.locator('[data-word="1"]').click()
        page.wait_for_function("window.sent.at(-1).away?.question")
        away = messages(page, "whatif")[-1]["away"]
        assert away["image"] == list(range(9))
        assert away["question"] == [0, *range(2, len(why.words))]
        assert page.locator(".vx-whatif .vx-chips").first.inner_text().startswith("color")
        page.get_by_role("button", name="Take away").click()  # what was chosen stays chosen
        hidden = "(name) => window.model.get('hidden')"
        assert page.evaluate(hidden, "") == {"question": [1]}
        page.get_by_role("button", name="Reset").click()
        box = box_of(page.locator(".vx-map .vx-canvas"))
        page.keyboard.down("Alt")
        page.mouse.move(box["x"] + 2, box["y"] + 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.3, steps=4)
        page.mouse.up()
        page.keyboard.up("Alt")
        assert page.evaluate(hidden, "") == {"image": [0, 1]}
        page.keyboard.press("Escape")  # leaves the region under the pointer
        page.keyboard.press("Escape")
        assert page.evaluate(hidden, "") == {}
        assert wrong == []


def test_a_stroke_is_one_step_back_wherever_it_leads(browser: Any) -> None:
    """Out of the picture and back, with Shift let go before the button, and where it is kept."""
    why = made(interactions=False, grid=3)
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, why)
        box = box_of(page.locator(MAP))
        wide, high = box["width"] / 6, box["height"] / 6
        hidden = "() => window.model.get('hidden')"

        def stroke(*places: tuple[int, int]) -> None:
            """Through the middles of regions (row, column); -1 is beside the picture."""
            page.mouse.move(box["x"] + 2, box["y"] + 2)
            page.keyboard.down("Shift")
            page.mouse.down()
            for row, column in places:
                page.mouse.move(
                    box["x"] + wide * (1 + 2 * column), box["y"] + high * (1 + 2 * row), steps=3
                )
            page.keyboard.up("Shift")
            page.mouse.up()

        stroke((0, 0), (0, -1), (1, -1), (1, 0))
        assert page.evaluate(hidden) == {"image": [0, 3]}
        stroke((0, 0), (0, 1), (0, 2))
        assert page.evaluate(hidden) == {"image": [0, 1, 2, 3]}
        page.get_by_role("button", name="Undo").click()
        assert page.evaluate(hidden) == {"image": [0, 3]}
        page.get_by_role("button", name="Undo").click()
        assert page.evaluate(hidden) == {}
        page.get_by_role("button", name="Keep only").click()
        stroke((0, 0), (0, 1), (0, 2))
        assert page.evaluate(hidden)["image"] == [3, 4, 5, 6, 7, 8]
        page.get_by_role("button", name="Undo").click()
        assert page.evaluate(hidden) == {}
        assert wrong == []


FILLS = [
    {"name": "image", "kind": "image", "fills": ["mean", "blur"]},
    {"name": "question", "kind": "text", "fills": ["mask"]},
]


def test_a_question_that_another_views_took_the_place_of_is_asked_again(browser: Any) -> None:
    why = made(interactions=False, grid=3)
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, why)
        page.locator('[data-word="1"]').click()
        first = messages(page, "whatif")[-1]
        found = {"answers": [], "change": -1.0, "predicted": -1.2, "fills": "regions: mean"}
        put("whatif", {"serial": f"line {first['explanation']}", "line": None})
        assert messages(page, "whatif") == [first]  # an answer about the line took no place
        put("whatif", {**found, "serial": "another view's", "change": 5.0})
        assert messages(page, "whatif", 2)[-1]["serial"] == first["serial"]
        assert "Asking the model" in page.locator(".vx-whatif").inner_text()
        put("whatif", {**found, "serial": first["serial"]})
        assert "measured −1" in page.locator(".vx-change").inner_text()
        put("whatif", {**found, "serial": "another view's", "change": 5.0})
        assert len(messages(page, "whatif", 2)) == 2
        assert "measured −1" in page.locator(".vx-change").inner_text()
        assert wrong == []


def test_the_fill_of_a_what_if_is_named_and_switched(browser: Any) -> None:
    why = made(interactions=False, grid=3)
    options = {**traits_of(why)["options"], "fills": FILLS}
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, why, options=options)
        page.locator('[data-word="1"]').click()
        first = messages(page, "whatif")[-1]
        assert first["fills"] == {}
        found = {"answers": [], "change": -1.0, "predicted": -1.2, "fills": "regions: mean"}
        put("whatif", {"serial": first["serial"], **found, "used": {"image": ["mean"]}})
        menu = page.get_by_label("fill of image")
        assert menu.locator("option").all_inner_texts() == ["mean", "blur"]
        menu.select_option("blur")
        second = messages(page, "whatif", 2)[-1]
        assert second["fills"] == {"image": "blur"}
        found = {"answers": [], "change": -0.5, "predicted": None, "fills": "regions: blur"}
        put("whatif", {"serial": second["serial"], **found, "otherFills": True})
        text = page.locator(".vx-whatif").inner_text()
        assert "of another fill" in text
        assert "regions: blur" in text
        assert "predicted −" not in text
        assert page.get_by_label("fill of question").count() == 0  # there is one fill only
        assert wrong == []


def test_an_edited_question_becomes_an_example(browser: Any) -> None:
    why = made(interactions=False, grid=3)
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, why, entries=entries(2))
        page.locator(".vx-editor summary").click()
        page.get_by_label("the question, to edit").fill("How many?")
        page.get_by_role("button", name="Explain this question").click()
        (message,) = messages(page, "explain question")
        assert (message["question"], message["explanation"]) == ("How many?", "first")
        assert wrong == []


def test_frames_of_a_video_are_a_strip_with_a_slider(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [several.frames()])
        maps = page.locator(".vx-map .vx-picture:visible figcaption")
        assert maps.all_inner_texts() == ["video frame 1"]
        page.get_by_label("frame", exact=True).fill("2")
        assert maps.all_inner_texts() == ["video frame 3"]
        page.locator(".vx-film-frames button").nth(1).click()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        assert maps.all_inner_texts() == ["video frame 3"]
        assert page.locator(".vx-film-frames button canvas").count() == 4
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        opened(page, tmp_path / "b.html", [several.two_pictures()])
        assert page.locator(".vx-film").is_hidden()
        assert page.locator(".vx-map .vx-picture:visible").count() == 2
        assert wrong == []


THUMB_AND_NAME = (".vx-table-rows .vx-cell-pictures canvas:visible", ".vx-table-rows .vx-asks bdi")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_table_and_columns(browser: Any, tmp_path: Path, scheme: str) -> None:
    settings: Any = {"color_scheme": scheme, "viewport": {"width": 1280, "height": 900}}
    with watched_page(browser, **settings, bypass_csp=True) as (page, _):
        opened(page, tmp_path / "a.html", [of_shares(i, 0.1 + 0.2 * i) for i in range(4)])
        open_table(page)
        page.locator(".vx-table-rows input").first.click()
        assert axe_problems(page, tmp_path) == []
        page.set_viewport_size({"width": 420, "height": 900})
        assert axe_problems(page, tmp_path) == []
        thumb, name = (box_of(page.locator(one).first) for one in THUMB_AND_NAME)
        assert thumb["x"] + thumb["width"] <= name["x"]  # neither covers the other
        page.set_viewport_size(settings["viewport"])
        page.get_by_role("button", name="Example", exact=True).click()
        for other in (1, 2):
            add_column(page, other)
            page.locator(".vx-col-tools").nth(other - 1).wait_for()
        assert axe_problems(page, tmp_path) == []


def test_thumbnails_of_rows_in_view_are_asked_for_once(browser: Any) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(interactions=False), entries=entries(MANY))
        asked = "window.sent.filter((one) => one.action === 'thumbnails').map((one) => one.indices)"
        page.wait_for_function(f"{asked}.length > 0")
        page.locator(".vx-entries").evaluate("(node) => { node.scrollTop = node.scrollHeight; }")
        page.wait_for_function(f"{asked}.flat().includes({MANY - 1})")
        flat = [index for indices in page.evaluate(asked) for index in indices]
        assert len(set(flat)) == len(flat) < 200  # each once, and only what was seen
        assert page.evaluate(
            "window.sent.every((one) => one.action !== 'thumbnails' || !one.number)"
        )
        assert wrong == []


def test_notes_are_exported_and_hostile_ones_are_text(browser: Any, tmp_path: Path) -> None:
    text = "</script><img src=x onerror=\"document.title='owned'\">"
    notes = {"0": {"star": True, "note": text}}
    path = tmp_path / "a.html"
    path.write_text(page_of([made(), made(seed=1)], notes=notes))
    assert text not in path.read_text()
    with watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("#viewer[data-ready]")
        open_table(page)
        assert page.locator(".vx-table-rows .vx-star").all_inner_texts() == ["★", "☆"]
        assert page.title() == "Why this answer?"
        held = page.evaluate("document.getElementById('notes').textContent")
        assert json.loads(held) == notes
        assert wrong == []
