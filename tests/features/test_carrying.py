"""Values and labels carried to the picture: by runs of pixels and by index, as by definition."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa_explain.features.geometry import AlignedGeometry, Axis
from vqa_explain.features.image import _boxes
from vqa_explain.features.regions import Regions


@st.composite
def axes(draw: Any) -> Axis:
    """A side that was resized up or down, cut or padded, and perhaps mirrored."""
    size, scaled = draw(st.integers(1, 400)), draw(st.integers(1, 90))
    length, offset = draw(st.integers(1, 60)), draw(st.integers(-20, 40))
    axis = Axis.resized(size, scaled, length, offset)
    if draw(st.booleans()):
        axis = Axis(size, size - axis.centers, axis.extent, axis.inside)
    return axis


@given(axes(), axes(), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_values_are_carried_by_the_shares_of_every_element(
    rows: Axis, columns: Axis, seed: int
) -> None:
    geometry = AlignedGeometry(rows, columns)
    values = np.random.default_rng(seed).normal(size=geometry.frame)
    found = geometry.to_original(values)
    np.testing.assert_allclose(found, rows.shares @ values @ columns.shares.T, atol=1e-12)
    assert found.flags.c_contiguous
    assert found.sum() == pytest.approx(values[geometry.inside].sum(), abs=1e-9)


@given(axes(), axes(), st.integers(1, 9), st.sampled_from([np.int32, np.int64]))
@settings(max_examples=150, deadline=None)
def test_labels_and_boxes_are_those_pixel_by_pixel(
    rows: Axis, columns: Axis, count: int, number: Any
) -> None:
    geometry = AlignedGeometry(rows, columns)
    labels = np.random.default_rng(count).integers(-1, count, geometry.frame).astype(number)
    found = geometry.labels_to_original(labels)
    assert found.dtype == number
    (row, row_near), (column, column_near) = rows.seen, columns.seen
    for y in range(0, rows.size, 7):
        for x in range(0, columns.size, 5):
            near = row_near[y] and column_near[x]
            assert found[y, x] == (labels[row[y], column[x]] if near else -1)
    division = Regions(labels, count)
    for region, box in enumerate(_boxes(geometry, found, division)):
        at = np.argwhere(found == region)
        if len(at):
            (top, left), (bottom, right) = at.min(axis=0), at.max(axis=0) + 1
            assert box == (left, top, right, bottom)
        else:
            assert box == geometry.box(labels == region)
