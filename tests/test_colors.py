"""Figures have the colors of the viewer, and every kind of color vision tells their ends apart."""

import re

import numpy as np
import pytest
from building import explanation

from vqa_explain import colors
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.figures.scales import Scales
from vqa_explain.target import Answer
from vqa_explain.viewer.bundle import STATIC

# Machado, Oliveira & Fernandes 2009, table 1: severity 1.0, in linear light.
MISSING = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(color: tuple[int, int, int], matrix: object) -> np.ndarray:
    """CIELAB (D65) of a color as it is seen."""
    share = np.asarray(color) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(matrix) @ linear, 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = (
        np.cbrt(t) if t > 0.008856 else 7.787 * t + 16 / 116
        for t in to_xyz @ seen / [0.9505, 1.0, 1.089]
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", MISSING)
def test_for_against_and_sizes_are_told_apart(vision: str) -> None:
    ends = [lab(one, MISSING[vision]) for one in (colors.FOR, colors.AGAINST, colors.SIZE)]
    assert np.linalg.norm(ends[0] - ends[1]) > 60
    assert np.linalg.norm(ends[0] - ends[2]) > 40
    assert np.linalg.norm(ends[1] - ends[2]) > 12  # never in one figure


def test_they_are_those_of_the_viewer() -> None:
    light = (STATIC / "color.js").read_text().split("light: {")[1].split("dark: {")[0]
    plus, minus = re.findall(r'"([^"]+)"', light.split('"orange-purple":')[1])[:2]
    (size,) = re.findall(r'size: "([^"]+)"', light)
    for ramp, color in ((plus, colors.FOR), (minus, colors.AGAINST), (size, colors.SIZE)):
        assert ramp.split()[-1] == "#" + bytes(color).hex()


@pytest.mark.parametrize(("size", "full"), [(1e-8, 0.4), (0.004, 0.004)])
def test_values_that_are_rounding_beside_others_fill_no_scale_of_their_own(
    size: float, full: float
) -> None:
    labels = np.repeat([0, 1], 4)[None].repeat(8, axis=0).astype(np.int32)
    boxes = [(0, 0, 4, 8), (4, 0, 8, 8)]
    why = explanation(
        question="is it",
        image=np.zeros((8, 8)),
        picture=np.zeros((8, 8, 3), dtype=np.uint8),
        labels=labels,
        regions=tuple(
            RegionValue(box, value, 0.0) for box, value in zip(boxes, (size, -size), strict=True)
        ),
        words=(WordValue("is", 0, 2, 0.4, 0.0), WordValue("it", 3, 5, -0.1, 0.0)),
        answers=(Answer("yes", 0.9, 0),),
        target="yes",
        contrast=None,
        score="logit",
        share={},
        error=0.0,
        error_kind="exact",
        cost=Cost(1, 0, 0.1),
        method="shapley",
        parameters={},
        provenance={"model": "made", "seed": 0},
    )
    scales = Scales(why, "own", None)
    assert scales.of("image").full == full
    assert scales.of("text").full == 0.4
