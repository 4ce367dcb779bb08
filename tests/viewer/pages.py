"""Explanations of known values, and pages of them in a browser."""

import re
from pathlib import Path

import numpy as np
from building import explanation
from playwright.sync_api import FloatRect, Locator, Page

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.target import Answer
from vqa_explain.viewer.export import page as page_of

MAP = ".vx-map .vx-canvas"


def made(
    question: str = "What color is the circle?",
    side: int = 60,
    grid: int = 6,
    words: list[tuple[int, int]] | None = None,
    interactions: bool = True,
    seed: int = 0,
    size: tuple[int, int] | None = None,
) -> vx.Explanation:
    """An explanation of known values."""
    rng = np.random.default_rng(seed)
    height, width = size or (side, side)
    rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
    labels = (rows[:, None] * grid + columns).astype(np.int32)
    spans = words or [(m.start(), m.end()) for m in re.finditer(r"\w+", question)][:60]
    values = rng.normal(size=grid * grid)
    said = tuple(
        WordValue(question[a:b], a, b, float(v), 0.01)
        for (a, b), v in zip(spans, rng.normal(size=len(spans)), strict=True)
    )
    boxes = [
        (
            i % grid * width // grid,
            i // grid * height // grid,
            (i % grid + 1) * width // grid,
            (i // grid + 1) * height // grid,
        )
        for i in range(grid * grid)
    ]
    area = np.bincount(labels.ravel())
    return explanation(
        question=question,
        answers=(Answer("red", 0.75, 0), Answer("blue", 0.25, 1)),
        target="red",
        contrast=None,
        score="logit",
        words=said,
        tokens=(),
        image=(values / area)[labels],
        regions=tuple(RegionValue(box, float(v), 0.02) for box, v in zip(boxes, values, strict=True)),
        labels=labels,
        share={"image": 0.6, "question": 0.4},
        error=0.02,
        error_kind="largest standard error",
        cost=Cost(10, 0, 0.5),
        method="interactions",
        parameters={"budget": 10},
        provenance={"model": "made", "seed": 0},
        # one for all seeds
        picture=np.random.default_rng(99).integers(0, 256, (height, width, 3), dtype=np.uint8),
        interactions=rng.normal(size=(len(said), grid * grid)) if interactions else None,
        interaction_errors=np.full((len(said), grid * grid), 0.01) if interactions else None,
    )  # fmt: skip


def opened(page: Page, path: Path, explained: list[vx.Explanation]) -> None:
    path.write_text(page_of(explained))
    page.goto(path.as_uri())
    page.wait_for_selector("#viewer[data-ready]")
    page.mouse.move(0, 0)


def said(page: Page) -> str:
    return page.locator(".vx-said").inner_text()


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("+", ""))


def box_of(node: Locator) -> FloatRect:
    """Where a visible node lies on the page."""
    box = node.bounding_box()
    assert box is not None
    return box


def matched(pattern: str, text: str) -> re.Match[str]:
    """What a pattern finds first in a text."""
    found = re.search(pattern, text)
    assert found is not None, text
    return found


def pairs_of(why: vx.Explanation) -> np.ndarray:
    """(words, regions) interactions."""
    assert why.interactions is not None
    return why.interactions


def at_region(page: Page, canvas: Locator, explanation: vx.Explanation, region: int) -> None:
    """The pointer over the middle of a region on a canvas."""
    box = box_of(canvas)
    left, top, right, bottom = explanation.regions[region].box
    height, width = explanation.picture.shape[:2]
    page.mouse.move(
        box["x"] + (left + right) / 2 / width * box["width"],
        box["y"] + (top + bottom) / 2 / height * box["height"],
    )
