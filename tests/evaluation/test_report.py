"""What a report says of results that are known; the shell; the page in a browser."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import command

import vqa_explain as vx
from vqa_explain.evaluation.comparison import compare
from vqa_explain.games.intervals import mean_interval
from vqa_explain.models.vilt import ViltModel

METRICS = [
    "accuracy",
    "accuracy_without_image",
    "emap:count=6",
    "deletion",
    "relevance_mass",
    "sparseness",
]


@pytest.fixture(scope="module")
def report(scenes_model: ViltModel, tmp_path_factory: pytest.TempPathFactory) -> vx.Report:
    folder = tmp_path_factory.mktemp("run")
    data = vx.load_dataset("scenes:test")
    return vx.evaluate(
        scenes_model, data, ["saliency", "leave_one_out"], METRICS, folder, limit=12, workers=1
    )


def test_intervals_hold_the_mean_and_cover_it() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = mean_interval(rng.exponential(size=60))
        assert found.low <= found.mean <= found.high
        held += found.low <= 1.0 <= found.high
    # Percentile intervals of skewed values cover a little less than they say.
    assert 0.88 <= held / 200 <= 0.99
    assert mean_interval(np.array([np.nan, 2.0])).count == 1
    assert str(mean_interval(np.array([]))) == "–"
    assert mean_interval(np.array([3.0, 3.0])) == mean_interval(np.array([3.0, 3.0]))


@pytest.mark.slow
def test_the_frame_has_a_row_for_every_value(report: vx.Report) -> None:
    frame = report.frame()
    assert len(frame) == 12 * (2 + 3 * 3)
    assert set(frame["method"]) == {"", "saliency", "leave_one_out", "random"}
    assert frame["value"].notna().all()
    assert frame["index"].is_monotonic_increasing


@pytest.mark.slow
def test_the_summary_is_the_mean_of_the_frame(report: vx.Report) -> None:
    frame, summary = report.frame(), report.summary().set_index(["metric", "method"])
    for (metric, method), part in frame.groupby(["metric", "method"]):
        assert summary.loc[(metric, method), "mean"] == pytest.approx(part["value"].mean())
        assert summary.loc[(metric, method), "count"] == 12
    additive = report.emap()
    assert additive is not None
    assert summary.loc[("emap:count=6", ""), "mean"] == additive.emap


@pytest.mark.slow
def test_differences_are_paired(report: vx.Report) -> None:
    wide = (
        report.frame()
        .query("metric == 'deletion'")
        .pivot(index="index", columns="method", values="value")
    )
    found = report.differences("deletion")
    assert set(found) == {"saliency", "leave_one_out"}
    expected = mean_interval((wide["saliency"] - wide["random"]).to_numpy())
    assert found["saliency"] == expected
    assert found["saliency"].high < 0


def test_families_add_up(report: vx.Report) -> None:
    table = report.families()
    assert table["count"][0] == 12 == table["count"][1:].sum()
    total = sum(
        row["accuracy_without_image"].mean * row["count"] for _, row in table[1:].iterrows()
    )
    assert table["accuracy_without_image"][0].mean == pytest.approx(total / 12)


def test_curves_are_means(report: vx.Report) -> None:
    at, scores = report.curves()["deletion"]["saliency"]
    assert at.tolist() == np.linspace(0, 1, 21).tolist()
    assert np.trapezoid(scores, at) == pytest.approx(report.interval("deletion", "saliency").mean)


def test_emap_is_the_projection_of_the_whole_grid(
    report: vx.Report, scenes_model: ViltModel
) -> None:
    data = vx.load_dataset("scenes:test")
    examples = [data[i] for i in range(6)]
    grid = np.zeros((6, 6, len(scenes_model.labels)))
    for i, question in enumerate(examples):
        for j, picture in enumerate(examples):
            encoded = scenes_model.encode(vx.Example(picture.image, question.question))
            grid[i, j] = scenes_model.scores(encoded, scenes_model.leaves(encoded)).detach().numpy()
    additive = grid.mean(1)[:, None] + grid.mean(0)[None] - grid.mean((0, 1))
    answers = np.array([scenes_model.labels.index(e.answer) for e in examples])
    expected = (additive[np.arange(6), np.arange(6)].argmax(1) == answers).mean()
    found = report.emap()
    assert found is not None
    assert found.emap == pytest.approx(expected)
    assert found.accuracy == pytest.approx(
        (grid[np.arange(6), np.arange(6)].argmax(1) == answers).mean()
    )


def test_the_gallery_has_the_extremes(report: vx.Report) -> None:
    values = report.values("relevance_mass", "saliency")
    shown = report.gallery()
    assert {s.kind for s in shown} == {"suspicious", "best", "worst"}
    assert next(s for s in shown if s.kind == "best").index == values.idxmax()
    assert next(s for s in shown if s.kind == "worst").index == values.idxmin()
    assert len(report.shown()) == len(shown)


def test_a_run_compared_with_itself_differs_by_nothing(report: vx.Report) -> None:
    found = compare(report, vx.Report(report.folder))
    assert {row.difference.mean for row in found.rows} == {0.0}
    assert len(found.rows) == 2 + 3 * 3


@pytest.mark.slow
def test_runs_with_nothing_in_common_are_refused(
    report: vx.Report, scenes_model: ViltModel, tmp_path: Path
) -> None:
    data = vx.load_dataset("scenes:validation")
    other = vx.evaluate(
        scenes_model, data, ["saliency"], ["deletion"], tmp_path, limit=2, workers=1
    )
    with pytest.raises(vx.InvalidInput, match="no metric of the same examples"):
        compare(report, other)


@pytest.mark.slow
def test_the_shell_evaluates_reports_and_compares(tmp_path: Path, report: vx.Report) -> None:
    out = tmp_path / "run"
    line = ["evaluate", "--model", "scenes", "--data", "scenes:test", "--methods", "saliency", "leave_one_out",
               "--metrics", "accuracy", "deletion", "--limit", 3, "--out", out, "--workers", 1]  # fmt: skip
    done = command(*line, "--json")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 examples, no errors" in done.stderr
    found = json.loads(done.stdout)
    assert found["examples"] == 3
    assert found["summary"][0]["mean"] == 1.0
    again = command(*line)
    assert again.returncode == 0
    assert "examples" not in again.stderr  # nothing was left to do
    assert "deletion" in again.stdout
    told = command("report", out, "--html", tmp_path / "r.html")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    both = command("compare", out, report.folder, "--json")
    assert both.returncode == 0, both.stderr
    assert all(abs(row["difference"]["mean"]) < 1e-6 for row in json.loads(both.stdout)["rows"])
    wrong = command(*line, "--seed", 3)
    assert wrong.returncode == 2
    assert "seed: 0 there, 3 now" in wrong.stderr


@pytest.mark.slow
def test_an_interrupted_shell_says_how_to_go_on(tmp_path: Path) -> None:
    import signal
    import time

    command = [sys.executable, "-m", "vqa_explain.shell.app", "evaluate", "--model", "scenes", "--data", "scenes:test",
               "--methods", "saliency", "--metrics", "deletion", "--out", str(tmp_path / "run"), "--workers", "1"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "run").glob("shards/*.parquet")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=1200)
    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    report = vx.Report(tmp_path / "run")
    assert report.count >= 20
    assert "the run has not ended" in report.notes()[-1]


@pytest.mark.slow
def test_metrics_are_listed() -> None:
    found = json.loads(command("metrics", "--json").stdout)
    assert len(found) == 31
    assert all(
        row["source"] and row["range"] and row["better"] in ("higher", "lower", "neither")
        for row in found
    )
    one = command("metrics", "deletion").stdout
    assert "players" in one
    assert "lower" in one


@pytest.mark.slow
def test_the_page_says_what_the_report_says(report: vx.Report, tmp_path: Path) -> None:
    sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[1] / "viewer"))
    from browser import axe_problems, opened_browser, watched_page

    path = report.to_html(tmp_path / "report.html")
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        text = page.locator("main").inner_text()
        for metric in ("deletion", "relevance_mass", "sparseness"):
            for method in ("saliency", "leave_one_out", "random"):
                assert f"{report.interval(metric, method).mean:.3g}" in text
        assert page.locator(".vqax").count() == len(report.shown())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []
    assert not re.search(r"(src|href)=[\"']https?:", path.read_text())
    with opened_browser() as browser, watched_page(browser, bypass_csp=True) as (page, _):
        page.goto(path.as_uri())
        assert axe_problems(page, tmp_path) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_the_page_is_read_on_a_phone_and_in_the_dark(
    report: vx.Report, tmp_path: Path, scheme: str
) -> None:
    sys.path.insert(0, str(__import__("pathlib").Path(__file__).parents[1] / "viewer"))
    from browser import axe_problems, opened_browser, watched_page

    path = report.to_html(tmp_path / "report.html")
    sizes = {"viewport": {"width": 400, "height": 900}, "color_scheme": scheme}
    # Text that stands in one line is as high as one line: no header is broken within a word.
    broken = """() => [...document.querySelectorAll("th")].filter((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell.firstChild ?? cell);
      const words = cell.firstChild.textContent.trim().split(/\\s+/).length;
      return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > words;
    }).map((cell) => cell.textContent)"""
    cut = """() => [...document.querySelectorAll("table, .chart svg")].filter((one) => {
      const box = one.closest(".card, .vqax");
      const scrolls = box.classList.contains("card") && getComputedStyle(box).overflowX === "auto";
      return one.getBoundingClientRect().right > box.getBoundingClientRect().right && !scrolls;
    }).length"""
    with opened_browser() as browser, watched_page(browser, bypass_csp=True, **sizes) as (page, _):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate(broken) == []
        assert page.evaluate(cut) == 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        channels = [int(part) for part in re.findall(r"\d+", ground)[:3]]
        assert (max(channels) < 80) == (scheme == "dark")
        ink = page.locator(".chart svg text").first.evaluate("n => getComputedStyle(n).fill")
        assert (int(re.findall(r"\d+", ink)[0]) > 150) == (scheme == "dark")
        assert axe_problems(page, tmp_path) == []


@pytest.mark.slow
def test_a_metric_without_values_has_no_empty_chart(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    """Examples without a true region have no relevance mass."""
    first = vx.load_dataset("scenes:test")[0]
    plain = vx.Example(first.image, first.question, answer=first.answer)
    report = vx.evaluate(
        scenes_model,
        [plain],
        ["saliency"],
        ["deletion", "relevance_mass"],
        tmp_path / "a",
        workers=1,
    )
    assert report.interval("relevance_mass", "saliency").count == 0
    text = report.to_html(tmp_path / "r.html").read_text()
    chart = text.split('aria-label="chart of the means"')[1].split("</svg>")[0]
    assert "deletion" in chart
    assert "relevance_mass" not in chart
    assert "No chart for relevance_mass: no method has a value of it." in text


def test_hostile_names_are_text(scenes_model: ViltModel, tmp_path: Path) -> None:
    first = vx.load_dataset("scenes:test")[0]
    evil = "<script>document.title='owned'</script>"
    example = vx.Example(first.image, evil, answer=evil, id=evil, family=evil)
    report = vx.evaluate(
        scenes_model, [example], ["saliency"], ["deletion"], tmp_path / "a", name=evil, workers=1
    )
    text = report.to_html(tmp_path / "r.html").read_text()
    assert "<script" not in text
    assert isinstance(report.frame(), pd.DataFrame)
