"""What no table thought of: `hypothesis` draws values of every kind for every door of the tool,
200 for each.
"""

import json
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from guard import answered_or_refused, refused, unchanged
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

import vqa_explain as vx
from vqa_explain import registry
from vqa_explain.examples import read_image
from vqa_explain.game import make_players
from vqa_explain.methods.base import METHODS
from vqa_explain.methods.base import create as create_method
from vqa_explain.metrics.base import METRICS
from vqa_explain.models.vilt import ViltModel

# 800 give over 10,000 cases; they are others each time.
DRAWS = int(os.environ.get("VQA_EXPLAIN_DRAWS", "200"))
drawn = settings(
    max_examples=DRAWS,
    deadline=None,
    # The same draws each time, so that a failure on one machine is a failure on every other.
    derandomize=DRAWS <= 200,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
QUESTION = "What color is the large circle?"
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "TGA", "ICO")

single = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=12),
    st.binary(max_size=8),
    st.sampled_from(
        [
            object(),
            int,
            ...,
            1j,
            np.float32(2),
            np.int64(3),
            np.array(4),
            np.zeros(3),
            np.zeros((2, 4)),
        ]
    ),
)
anything = st.recursive(
    single,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=6), inner, max_size=3),
        st.sets(st.integers(), max_size=3),
    ),
    max_leaves=8,
)


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with pieces overwritten, cut out or put in."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        size = draw(st.sampled_from([0, 1, 1, 2, 4, 100]))
        content[start : start + size] = draw(st.binary(max_size=6))
    return bytes(content)


def pictured(kind: str) -> bytes:
    sink = BytesIO()
    Image.fromarray(PICTURE[:16, :24]).save(sink, kind)
    return sink.getvalue()


def is_picture(found: np.ndarray) -> Any:
    return (
        found.ndim == 3
        and found.shape[2] == 3
        and found.dtype == np.uint8
        and found.flags.writeable
    )


@drawn
@given(content=st.sampled_from(FORMATS).flatmap(lambda kind: spoiled(pictured(kind))))
@pytest.mark.slow
def test_spoiled_pictures(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with unchanged(folder=tmp_path):
        found = answered_or_refused(lambda: read_image(path), "a.png|image")
    assert found is None or is_picture(found)


KINDS = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(),
    arrays.unsigned_integer_dtypes(),
    arrays.floating_dtypes(),
    arrays.complex_number_dtypes(),
    arrays.datetime64_dtypes(),
    arrays.byte_string_dtypes(max_len=3),
)


@drawn
@given(
    values=arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)
@pytest.mark.slow
def test_arrays_as_pictures(values: Any) -> None:
    before = values.copy()
    with unchanged():
        found = answered_or_refused(lambda: read_image(values), "image")
    if found is not None:
        assert is_picture(found)
        assert found.shape[:2] == values.shape[:2]
        if values.dtype == np.uint8 and values.shape[2:] == (3,):
            np.testing.assert_array_equal(found, values)
    assert values.tobytes() == before.tobytes()


@drawn
@given(thing=anything)
@pytest.mark.slow
def test_anything_as_a_picture(thing: Any) -> None:
    found = answered_or_refused(lambda: read_image(thing), "image|picture|URL")
    assert found is None or is_picture(found)


@drawn
@given(question=st.text(max_size=60))
@example(question="\ud800 red?")
@pytest.mark.slow
def test_any_text_as_a_question(scenes_model: ViltModel, tmp_path: Path, question: Any) -> None:
    with unchanged(scenes_model.module, tmp_path, may_add=("why.vqax", "why.html")):
        why = answered_or_refused(
            lambda: vx.explain(scenes_model, PICTURE, question, method="saliency"), "question"
        )
        if why is None:
            return
        assert why.question == question
        assert all(question[w.start : w.end] == w.text for w in why.words)
        assert np.isfinite([w.value for w in why.words]).all()
        assert vx.load_explanation(why.save(tmp_path / "why.vqax")).words == why.words
        why.to_html(tmp_path / "why.html")


@drawn
@given(question=anything.filter(lambda one: not isinstance(one, str)))
@pytest.mark.slow
def test_anything_as_a_question(scenes_model: ViltModel, question: Any) -> None:
    refused(lambda: vx.explain(scenes_model, PICTURE, question, method="saliency"), "question")


@drawn
@given(target=anything, contrast=anything)
@pytest.mark.slow
def test_anything_as_target_and_contrast(
    scenes_model: ViltModel, target: Any, contrast: Any
) -> None:
    def call() -> Any:
        return vx.explain(
            scenes_model, PICTURE, QUESTION, method="saliency", target=target, contrast=contrast
        )

    with unchanged(scenes_model.module):
        found = answered_or_refused(call, "answer|target|contrast")
    for why in found if isinstance(found, list) else [found] if found else []:
        assert why.target in scenes_model.labels
        assert why.contrast is None or why.contrast in scenes_model.labels


boxes = st.lists(
    st.lists(st.one_of(st.integers(-9, 80), st.floats()), min_size=3, max_size=5), max_size=4
)
divisions = st.one_of(
    anything,
    st.tuples(st.integers(-1, 70), st.integers(-1, 70)),
    st.text("0123456789x²,-. ", max_size=5),
    st.text("0123456789²٣-: ", max_size=4).map("slic:".__add__),
    st.builds(
        vx.Boxes,
        boxes,
        st.sampled_from(["refuse", "one", "grid", "?"]),
        st.sampled_from(["refuse", "smaller"]),
    ),
    st.builds(vx.Boxes, anything, st.just("one"), st.just("smaller")),
    st.builds(vx.Masks, anything, st.just("one"), st.just("smaller")),
    st.builds(
        vx.Masks,
        arrays.arrays(
            st.sampled_from([bool, np.uint8, float]), (2, 64, 64), fill=st.sampled_from([0, 1])
        ),
        st.just("one"),
        st.just("smaller"),
    ),
    arrays.arrays(
        st.sampled_from([np.int64, np.uint8, np.int32]), (64, 64), fill=st.integers(0, 5)
    ),
    arrays.arrays(float, (64, 64), fill=st.just(1.0)),
)


@drawn
@given(asked=divisions)
@pytest.mark.slow
def test_anything_as_regions(scenes_model: ViltModel, asked: Any) -> None:
    encoded = scenes_model.encode(vx.Example(PICTURE, QUESTION))
    with unchanged(scenes_model.module):
        players = answered_or_refused(
            lambda: make_players(encoded, {"image": asked}), "region|box|mask|grid|superpixel"
        )
    if players is not None:
        assert players.of["image"].division.owner.shape == encoded.pixels.shape[2:]
        np.testing.assert_array_equal(
            np.unique(players.of["image"].division.owner),
            np.arange(players.of["image"].division.count),
        )


@drawn
@given(
    asked=st.one_of(
        anything,
        st.text("0123456789²٣- ", max_size=3).map("ngrams:".__add__),
        st.lists(
            st.sampled_from([*QUESTION.split(), "the large", "circle?", "olor", "", " "]),
            max_size=4,
        ),
        st.lists(st.tuples(st.integers(-3, 40), st.integers(-3, 40)), max_size=3),
    )
)
@example(asked=np.zeros(3))
@pytest.mark.slow
def test_anything_as_words(scenes_model: ViltModel, asked: Any) -> None:
    encoded = scenes_model.encode(vx.Example(PICTURE, QUESTION))
    units = answered_or_refused(
        lambda: make_players(encoded, {"question": asked}).of["question"].division, "words|phrase"
    )
    if units is not None:
        assert "".join(word.text for word in units.words).replace(" ", "") == QUESTION.replace(
            " ", ""
        )
        assert sorted(set(units.owner.tolist()) - {-1}) == list(range(len(units.words)))


@drawn
@given(data=st.data(), name=st.sampled_from(sorted(METHODS)))
def test_anything_as_a_parameter(data: Any, name: Any) -> None:
    names = list(METHODS[name].__dataclass_fields__)
    key = data.draw(st.sampled_from(names) if names else st.text(max_size=8))
    value = data.draw(anything)
    method = answered_or_refused(lambda: create_method(name, {key: value}), f"{name}|parameter")
    if method is not None:
        hash(method)
        assert registry.text_of(method).startswith(name)


@drawn
@given(text=st.one_of(st.text(max_size=30), st.sampled_from(sorted(METRICS)).flatmap(
    lambda name: st.text('=,:"[]{}0123456789stepsorder ', max_size=15).map(lambda rest: f"{name}:{rest}")
)))  # fmt: skip
def test_any_text_as_a_metric(text: Any) -> None:
    found = answered_or_refused(lambda: registry.read("metric", METRICS, text), "metric|name=value")
    assert found is None or type(found) in METRICS.values()


@pytest.fixture(scope="module")
def saved(
    scenes_model: ViltModel, scene: vx.Example, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "why.vqax"
    vx.explain(scenes_model, scene, method="saliency").save(path)
    return path.read_bytes()


@drawn
@given(data=st.data())
@pytest.mark.slow
def test_spoiled_explanation_files(saved: bytes, tmp_path: Path, data: Any) -> None:
    content = data.draw(spoiled(saved))
    path = tmp_path / "spoiled.vqax"
    path.write_bytes(content)
    with unchanged(folder=tmp_path):
        if content == saved:
            vx.load_explanation(path)
        else:
            refused(lambda: vx.load_explanation(path), "is damaged|newer version")


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.text(), max_size=2),
)
rows = st.fixed_dictionaries(
    {"image": st.sampled_from(["picture.png", "nothing.png", ""]) | cells},
    optional={
        "question": cells,
        "answer": cells,
        "answers": cells | st.lists(st.text(max_size=4)),
        "id": cells,
        "mask": st.sampled_from(["picture.png", "nothing.png"]) | cells,
        "boxes": cells
        | st.lists(st.lists(st.integers(-5, 90), max_size=5))
        | st.sampled_from(["[[0, 0, 4, 4]]", "[[", "7"]),
        "decisive": cells
        | st.lists(st.lists(st.integers(), max_size=3))
        | st.sampled_from(["[[0, 4]]", "[0]", "{}"]),
    },
)


@pytest.fixture(scope="module")
def folder_of_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    Image.fromarray(PICTURE).save(folder / "picture.png")
    (folder / "first.json").write_text('[{"image": "picture.png"}]')
    # Starts a thread of `datasets`, for good.
    assert len(list(vx.load_dataset(folder / "first.json"))) == 1
    return folder


@drawn
@given(rows=st.lists(rows, min_size=1, max_size=3))
@pytest.mark.slow
def test_tables_of_anything(folder_of_tables: Path, rows: Any) -> None:
    """A row that cannot be read is its own trouble; a table that cannot be, is refused."""
    path = folder_of_tables / "table.json"
    path.write_text(json.dumps(rows))
    with unchanged(folder=folder_of_tables):
        found = answered_or_refused(lambda: list(vx.load_dataset(path)), "table.json|'table'")
        assert found is None or len(found) == len(rows)
        for number, one in enumerate(found or []):
            picture = answered_or_refused(
                lambda one=one: read_image(one.image), f"row {number}|image|picture|URL"
            )
            if picture is not None and one.masks is not None:
                assert one.masks.shape[1:] == picture.shape[:2] or "mask" in rows[number]


@drawn
@given(field=st.sampled_from(["methods", "metrics", "seed", "shard", "limit", "regions", "words", "keep", "image_fill",
    "format", "model", "data", "hash"]), value=st.recursive(cells, lambda i: st.dictionaries(st.text(max_size=5), i, max_size=2)))  # fmt: skip
@pytest.mark.slow
def test_a_plan_of_anything(
    finished: tuple[vx.Report, Callable[[Path], vx.Report]], tmp_path: Path, field: Any, value: Any
) -> None:
    """An edited plan is refused, by the run and by the report, or says what it said before."""
    folder = tmp_path / "run"
    if not folder.exists():
        shutil.copytree(finished[0].folder, folder)
    plan = json.loads((finished[0].folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, field: value}))
    found = answered_or_refused(lambda: vx.Report(folder).frame(), "plan|shard|unknown")
    assert found is None or found.equals(finished[0].frame())
