"""Percents are written by one rule wherever a person reads them."""

import re
from pathlib import Path

import numpy as np
import pytest

import vqa_explain
from vqa_explain._shown import percent_text, percent_with_error

# As in tests/viewer/js/numbers.test.mjs, and what is no probability.
WRITTEN = [
    (1, "100%"),
    (0.9996, "100%"),
    (0.985, "98.5%"),
    (0.9, "90%"),
    (0.5049, "50%"),
    (0.1, "10%"),
    (0.0994, "9.9%"),
    (0.0004, "<0.1%"),
    (1e-9, "<0.1%"),
    (0, "0%"),
    (np.float32(0.25), "25%"),
    (1.204, "120%"),
    (-0.03, "−3.0%"),
]


@pytest.mark.parametrize(("share", "text"), WRITTEN)
def test_a_share_in_percent(share: float, text: str) -> None:
    assert percent_text(share) == text


@pytest.mark.parametrize("error", [3e-5, 0.00096, 0.004, 0.0096, 0.031, 0.4])
def test_a_share_has_the_places_of_its_error(error: float) -> None:
    share, spread = percent_with_error(0.42173, error).replace("%", "").split(" ± ")
    assert len(spread.replace(".", "").strip("0")) == 1
    assert len(share.partition(".")[2]) == len(spread.partition(".")[2])
    assert float(spread) == pytest.approx(100 * error, rel=0.35)
    assert float(share) == pytest.approx(42.173, abs=max(0.5, 100 * error))


def test_a_share_without_an_error_is_written_alone() -> None:
    assert [percent_with_error(0.42173, error) for error in (0.0, float("nan"))] == ["42%"] * 2


def test_no_other_place_writes_percents() -> None:
    """But for the level of intervals, which is a whole number of percents."""
    package = Path(vqa_explain.__file__).parent
    own = re.compile(r"\{(?!LEVEL)[^{}]*:\.\d%\}")
    found = [
        (path.name, line)
        for path in package.rglob("*.py")
        if path.name != "_shown.py"
        for line in path.read_text().splitlines()
        if own.search(line)
    ]
    assert found == []
