"""Files of explanations and runs whose checksums are right and whose contents are not."""

import dataclasses
import hashlib
import json
import shutil
import tracemalloc
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from forging import MISSING, STRANGE, forged, places
from guard import answered_or_refused, refused, unchanged
from PIL import Image
from safetensors.numpy import save

import vqa_explain as vx
from vqa_explain import _explanation_file as explanation_file
from vqa_explain.evaluation.shards import (
    COLUMN,
    CREDITS,
    DAMAGED,
    GRID,
    GRID_SCHEMA,
    LACKING,
    OWN,
    ROW,
    STAMPS,
    read_shard,
)
from vqa_explain.evaluation.store import PLACE, Store
from vqa_explain.features.parts import PicturePart
from vqa_explain.models.vilt import ViltModel

Held = tuple[dict[str, Any], dict[str, np.ndarray]]
ANY_TEXT = {"text", "source", "name", "target", "contrast", "method", "unit", "error_kind"}
ANY_TEXT |= {"answer_without_inputs", "column", "content", "notes"}


@pytest.fixture(scope="module")
def held(
    scenes_model: ViltModel, scene: vx.Example, tmp_path_factory: pytest.TempPathFactory
) -> Held:
    """What a file holds: words, regions, their pairs and errors."""
    path = tmp_path_factory.mktemp("held") / "why.vqax"
    vx.explain(scenes_model, scene, method="interactions", regions=2, budget=400).save(path)
    data, arrays = explanation_file.read(path)
    written = {"tokens": {"red": [3, 4]}, "pieces": {"red": ["r", "ed"]}}
    data |= {"written": {**written, "token": None, "lengths": "sum"}, "notes": ["a note"]}
    return data, arrays


def loaded(data: Any, arrays: Mapping[str, np.ndarray], folder: Path) -> Any:
    """What a file of this is read as, with a right checksum; `None` where it is refused."""
    path = folder / "forged.vqax"
    path.write_bytes(explanation_file.to_bytes(data, dict(arrays)))
    return answered_or_refused(
        lambda: vx.load_explanation(path), "is damaged or is no explanation|not known here"
    )


def test_what_is_not_forged_loads(held: Held, tmp_path: Path) -> None:
    assert loaded(*held, tmp_path).words


@pytest.mark.slow
def test_every_field_is_what_it_must_be_or_the_file_is_refused(held: Held, tmp_path: Path) -> None:
    """What still loads can be shown: it is a text, or one of the free values."""
    data, arrays = held
    free, tried = 0, 0
    for at in places(data):
        for strange in (*STRANGE, MISSING):
            why = loaded(forged(data, at, strange), arrays, tmp_path)
            tried += 1
            if why is None:
                continue
            free += 1
            named = {name for name in at if isinstance(name, str)}
            is_free = bool(named & {"parameters", "provenance", *ANY_TEXT})
            was = data
            for name in at:
                was = was[name]
            is_likewise = type(strange) is type(was) or strange is None or strange is MISSING
            is_number = isinstance(strange, int | float) and isinstance(was, int | float | None)
            assert is_free or is_likewise or is_number, (at, strange)
            assert strange != "\ud800"
            assert isinstance(repr(why), str)
    assert tried > 1000
    assert free < 0.35 * tried


@pytest.mark.parametrize("strange", [float("nan"), float("inf"), "text", [], {}, True], ids=repr)
def test_no_number_is_something_else(held: Held, tmp_path: Path, strange: Any) -> None:
    data, arrays = held
    for at in places(data):
        was = data
        for name in at:
            was = was[name]
        of_shape = at[0] not in ("parameters", "provenance")
        is_number = isinstance(was, int | float) and not isinstance(was, bool)
        if is_number and of_shape:
            assert loaded(forged(data, at, strange), arrays, tmp_path) is None, at


@pytest.mark.parametrize("at", [(), ("parts", 0), ("answers", 0), ("cost",), ("joint", 0)], ids=str)
def test_a_field_that_is_not_known_is_refused(held: Held, tmp_path: Path, at: Any) -> None:
    data, arrays = held
    assert loaded(forged(data, (*at, "surprise"), 1), arrays, tmp_path) is None


RANGES: dict[str, tuple[tuple[Any, ...], Any]] = {
    "a probability above 1": (("answers", 0, "probability"), 1.5),
    "a probability below 0": (("answers", 0, "probability"), -0.1),
    "no answers": (("answers",), []),
    "no inputs": (("parts",), []),
    "no such score": (("score",), "happiness"),
    "a share of no input": (("share",), {"nothing": 1.0}),
    "a share above 1": (("share",), {"image": 3.0}),
    "a negative cost": (("cost", "forwards"), -1),
    "a label number below 0": (("answers", 0, "index"), -1),
    "two inputs of one name": (("parts", 1, "name"), "image"),
    "a kind that nothing knows": (("parts", 0, "kind"), "smell"),
    "padding above 1": (("parts", 0, "padding"), 2.0),
    "a box outside the picture": (("parts", 0, "regions", 0, "box"), [0, 0, 10**6, 5]),
    "a box backwards": (("parts", 0, "regions", 0, "box"), [5, 5, 0, 0]),
    "a box of three": (("parts", 0, "regions", 0, "box"), [0, 0, 5]),
    "a negative error": (("parts", 0, "regions", 0, "error"), -1.0),
    "no regions for labels": (("parts", 0, "regions"), []),
    "a word that ends first": (("parts", 1, "words", 0, "end"), -5),
    "a token of no word": (("parts", 1, "tokens", 0, "word"), 10**6),
    "pairs of no input": (("joint", 0, "first"), "nothing"),
    "a token of no answer": (("written", "token"), 9),
    "other pieces": (("written", "pieces"), {"red": ["r"]}),
    "pieces of another answer": (("written", "pieces"), {"blue": ["b", "l"]}),
    "no such length": (("written", "lengths"), "median"),
    "no model": (("provenance", "model"), 7),
    "no seed": (("provenance", "seed"), MISSING),
}


@pytest.mark.parametrize("kind", RANGES)
def test_what_no_explanation_says_is_refused(held: Held, tmp_path: Path, kind: str) -> None:
    data, arrays = held
    at, value = RANGES[kind]
    if data["parts"][0]["kind"] != "image":  # the table is written for the other order
        at = tuple(
            1 - one if name == "parts" else one for name, one in zip(("", *at), at, strict=False)
        )
    assert loaded(forged(data, at, value), arrays, tmp_path) is None


ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "missing": lambda values: None,
    "of whole numbers": lambda values: values.astype(np.int16),
    "of bytes": lambda values: values.astype(np.uint8) if values.dtype != np.uint8 else None,
    "of truths": lambda values: values.astype(bool),
    "cut": lambda values: values[:-1],
    "one column less": lambda values: values[:, :-1],
    "flat": lambda values: values.reshape(-1),
    "deeper": lambda values: values[None],
    "empty": lambda values: values[:0],
    "one number": lambda values: values.reshape(-1)[0],
    "large": lambda values: np.full_like(values, 10**6) if values.dtype.kind == "i" else None,
    "below": lambda values: np.full_like(values, -2) if values.dtype.kind == "i" else None,
    "not a number": lambda values: values * np.nan if values.dtype.kind == "f" else None,
    "infinite": lambda values: values + np.inf if values.dtype.kind == "f" else None,
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_array_is_what_it_must_be(held: Held, tmp_path: Path, kind: str) -> None:
    data, arrays = held
    for name, values in arrays.items():
        other = ARRAYS[kind](values)
        changed = {**arrays, name: values if other is None else np.ascontiguousarray(other)}
        if other is None and kind == "missing":
            del changed[name]
        elif other is None:
            continue
        if name.endswith(".labels") and kind == "of whole numbers":
            continue
        if name.endswith(".errors") and kind == "missing":  # methods may state none
            continue
        assert loaded(data, changed, tmp_path) is None, name


@pytest.mark.parametrize(
    "name", ["surprise", "part.0.surprise", "part.9.image", "joint.1.values", "part.x.image", "..."]
)
def test_an_array_that_belongs_to_nothing(held: Held, tmp_path: Path, name: str) -> None:
    data, arrays = held
    assert loaded(data, {**arrays, name: np.zeros(3)}, tmp_path) is None


def test_a_picture_twice(held: Held, tmp_path: Path) -> None:
    data, arrays = held
    name = next(name for name in arrays if name.endswith(".picture"))
    number = int(name.split(".")[1])
    data = forged(data, ("parts", number, "picture"), [[1]])
    assert loaded(data, arrays, tmp_path) is None


def test_words_of_a_sentence_are_explanations_of_the_same_players(
    held: Held, tmp_path: Path
) -> None:
    data, arrays = held
    sentence = {**data, "outputs": [{**data, "outputs": []}]}
    assert loaded(sentence, arrays, tmp_path).outputs
    for strange in STRANGE:
        assert loaded(forged(sentence, ("outputs", 0), strange), arrays, tmp_path) is None
        if strange not in ([], None):
            assert loaded({**data, "outputs": strange}, arrays, tmp_path) is None
    within = {**data, "outputs": [sentence]}
    fewer = forged(sentence, ("outputs", 0, "parts"), data["parts"][:1])
    assert loaded(within, arrays, tmp_path) is None
    assert loaded(fewer, arrays, tmp_path) is None
    for name in ("output.0.surprise", "output.3.part.0.image", "output.0.part.9.image", "output."):
        assert loaded(sentence, {**arrays, name: np.zeros(3)}, tmp_path) is None, name


@pytest.fixture(scope="module")
def words_held(
    scenes_model: ViltModel, scene: vx.Example, tmp_path_factory: pytest.TempPathFactory
) -> Held:
    """What a file holds of two words: one of the same values, one of others, whose maps are kept
    by region and by frame.
    """
    why = vx.explain(scenes_model, scene, method="leave_one_out", regions=2)
    picture, question = why.parts
    assert isinstance(picture, PicturePart)
    assert picture.frame is not None
    half = dataclasses.replace(
        picture,
        image=picture.image / 2,
        frame=None,
        regions=tuple(dataclasses.replace(one, value=one.value / 2) for one in picture.regions),
    )
    frame = dataclasses.replace(picture.frame, values=picture.frame.values / 4)
    third = dataclasses.replace(picture, image=picture.image / 4, frame=frame)
    rows = [dataclasses.replace(why, parts=(one, question)) for one in (picture, half, third)]
    path = tmp_path_factory.mktemp("held") / "words.vqax"
    dataclasses.replace(why, outputs=tuple(rows)).save(path)
    data, arrays = explanation_file.read(path)
    kept = {name.rpartition(".")[2] for name in arrays if name.startswith("output.")}
    assert kept >= {"of_regions", "frame_values", "values_of_regions", "values_of_words"}
    return data, arrays


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_array_of_a_word_is_what_it_must_be(
    words_held: Held, tmp_path: Path, kind: str
) -> None:
    data, arrays = words_held
    assert len(loaded(data, arrays, tmp_path).outputs) == 3
    for name in (name for name in arrays if name.startswith("output.")):
        values = arrays[name]
        is_row = values.ndim == 1 and kind in ("flat", "one column less")
        other = None if is_row else ARRAYS[kind](values)
        if other is None and kind != "missing":
            continue
        changed = {**arrays, name: values if other is None else np.ascontiguousarray(other)}
        if other is None:
            del changed[name]
        if kind == "missing" and name.rpartition(".")[2] in ("of_regions", "frame_values"):
            continue  # then the map is the sentence's
        if name.endswith("values_of_words") and kind == "not a number":
            changed[name] = np.where([[True, False]], np.nan, values)  # errors may be missing
        assert loaded(data, changed, tmp_path) is None, name


def test_lists_and_maps_of_a_word_are_given_once(words_held: Held, tmp_path: Path) -> None:
    data, arrays = words_held
    name = next(name for name in arrays if name.endswith("of_regions") and "values" not in name)
    twice = {**arrays, name.replace("of_regions", "image"): arrays["part.0.picture"][..., 0] / 2.0}
    assert loaded(data, twice, tmp_path) is None
    listed = forged(data, ("outputs", 0, "parts", 0, "regions"), data["parts"][0]["regions"])
    assert loaded(listed, arrays, tmp_path) is None
    strange: Any
    for strange in (None, [], [1], {}):
        for at in (("parts", 0, "regions"), ("parts", 1, "words"), ("outputs", 1, "parts")):
            assert loaded(forged(data, at, strange), arrays, tmp_path) is None, (at, strange)


def test_maps_of_words_take_no_more_than_a_large_picture(
    words_held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a small file would fill the memory; what is written is kept as it is then."""
    why = loaded(*words_held, tmp_path)
    most = 2 * why.image.nbytes
    for module in ("reading", "explanation"):
        monkeypatch.setattr(f"vqa_explain.{module}.MOST_UNPACKED", most)
    assert loaded(*words_held, tmp_path) is None
    again = vx.load_explanation(why.save(tmp_path / "kept.vqax"))
    for one, other in zip(again.outputs, why.outputs, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def signed(header: dict[str, str], arrays: Mapping[str, np.ndarray], whole: Any) -> bytes:
    """A file with a header of one's own, and the checksum of what its arrays are unpacked."""
    digest = hashlib.sha256(header["explanation"].encode())
    for name in sorted(whole):
        digest.update(f"{name} {whole[name].dtype.str} {whole[name].shape}".encode())
        digest.update(whole[name].tobytes())
    return save(dict(arrays), {**header, "checksum": digest.hexdigest()})


DEFLATED: dict[str, Any] = {
    "no mapping": [],
    "a text": "all",
    "no such array": {"nothing": ["<f8", [3]]},
    "no type": {"part.0.labels": [None, [3]]},
    "an object": {"part.0.labels": ["|O", [3]]},
    "a date": {"part.0.labels": ["<M8[ns]", [3]]},
    "no shape": {"part.0.labels": ["<f8", "3"]},
    "a negative shape": {"part.0.labels": ["<f8", [-3]]},
    "a shape of fractions": {"part.0.labels": ["<f8", [1.5]]},
    "a terabyte": {"part.0.labels": ["<f8", [2**37]]},
    "an overflow": {"part.0.labels": ["<f8", [2**40, 2**40]]},
    "three things": {"part.0.labels": ["<f8", [3], 1]},
    "more than is there": {"part.0.labels": ["<f8", [10**6]]},
    "not deflated": {"part.0.image": ["<f8", [3]]},
}


@pytest.mark.parametrize("kind", DEFLATED)
def test_what_is_deflated_is_an_array_of_ours(held: Held, tmp_path: Path, kind: str) -> None:
    data, arrays = held
    squeezed = np.frombuffer(zlib.compress(bytes(10**6)), np.uint8)
    header = {"format": "3", "explanation": json.dumps(data)}
    changed = {**arrays, "part.0.labels": squeezed, "part.0.image": np.zeros(8, np.uint8)}
    content = signed({**header, "deflated": json.dumps(DEFLATED[kind])}, changed, changed)
    path = tmp_path / "forged.vqax"
    path.write_bytes(content)
    refused(lambda: vx.load_explanation(path), "is damaged")


def encoded(width: int, height: int, kind: str = "PNG") -> np.ndarray:
    sink = BytesIO()
    Image.new("L", (width, height)).save(sink, kind)
    return np.frombuffer(sink.getvalue(), np.uint8)


PICTURES: dict[str, Callable[[], np.ndarray]] = {
    "no picture": lambda: np.zeros(50, np.uint8),
    "empty": lambda: np.zeros(0, np.uint8),
    "cut short": lambda: encoded(400, 300)[:60],
    "of another size": lambda: encoded(3, 3),
    "too large": lambda: encoded(9_000, 9_000),
    "far too large": lambda: encoded(60_000, 4_000),
    "of another kind": lambda: encoded(96, 96, "BMP"),
    "text": lambda: encoded(96, 96).astype(np.int32),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_an_encoded_picture_is_one_of_ours(held: Held, tmp_path: Path, kind: str) -> None:
    data, arrays = held
    name = next(name for name in arrays if name.endswith(".picture"))
    changed = {key: values for key, values in arrays.items() if key != name}
    changed[name.replace(".picture", ".encoded_picture")] = PICTURES[kind]()
    assert loaded(data, changed, tmp_path) is None


FRAMES: dict[str, dict[str, Any]] = {
    "as it was": {},
    "incomplete": {"rows_inside": None},
    "surprising": {"surprise": np.zeros(3)},
    "of another picture": {"rows_side": np.array([7.0, 1.0])},
    "of no size": {"rows_side": np.array([np.nan, 1.0])},
    "endless": {"columns_side": np.array([96.0, np.inf])},
    "not finite": {"rows_centers": np.full(12, np.nan)},
    "of another length": {"columns_inside": np.ones(5, bool)},
    "of other values": {"values": np.zeros((5, 5))},
    "empty": {"values": np.zeros((0, 0))},
    "too fine": {
        "rows_centers": np.zeros(10**5),
        "rows_inside": np.ones(10**5, bool),
        "values": np.zeros((10**5, 12)),
    },
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_is_one_of_its_picture(held: Held, tmp_path: Path, kind: str) -> None:
    data, arrays = held
    name = next(name for name in arrays if name.endswith(".image"))
    side, start = arrays[name].shape[0], name.removesuffix("image")
    frame: dict[str, Any] = {"values": np.ones((12, 12))}
    for axis in ("rows", "columns"):
        frame[f"{axis}_side"] = np.array([side, side / 12])
        frame[f"{axis}_centers"] = (np.arange(12) + 0.5) * side / 12
        frame[f"{axis}_inside"] = np.ones(12, bool)
    frame = {key: value for key, value in {**frame, **FRAMES[kind]}.items() if value is not None}
    changed = {key: values for key, values in arrays.items() if key != name}
    changed |= {f"{start}frame_{key}": value for key, value in frame.items()}
    assert (loaded(data, changed, tmp_path) is not None) == (kind == "as it was")


@pytest.mark.parametrize("item", ["[]", "{}", "0", '""', "[[]]"])
def test_no_header_takes_more_memory_than_four_times_its_file(tmp_path: Path, item: str) -> None:
    text = f'{{"parts": [{",".join([item] * 2_500_000)}]}}'
    path = tmp_path / "long.vqax"
    path.write_bytes(signed({"format": "2", "explanation": text}, {}, {}))
    del text
    room = 4 * path.stat().st_size + explanation_file.SPARE
    tracemalloc.start()
    try:
        refused(lambda: vx.load_explanation(path), "is damaged")
        assert tracemalloc.get_traced_memory()[1] < room
    finally:
        tracemalloc.stop()


Finished = tuple[vx.Report, Callable[[Path], vx.Report]]


def copied(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[0].folder, tmp_path / "run"))


@pytest.mark.slow
def test_every_field_of_a_plan_is_what_it_must_be(finished: Finished, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path)
    plan = json.loads((folder / "plan.json").read_text())
    for at in places(plan):
        for strange in (*STRANGE, MISSING):
            (folder / "plan.json").write_text(json.dumps(forged(plan, at, strange)))
            with unchanged(folder=folder):
                answered_or_refused(lambda: vx.Report(folder).summary(), "plan|finished|unknown")


NUMBERS: dict[str, Any] = {
    "no examples": ("limit", 0),
    "a negative shard": ("shard", -1),
    "no shard": ("shard", 0),
    "a shard of all": ("shard", 10**12),
    "a seed of words": ("seed", "one"),
    "half a seed": ("seed", 0.5),
    "what to keep": ("keep", ["everything"]),
    "how pictures are known": ("pictures", "smell"),
    "regions of a mapping": ("regions", {"a": 1}),
    "versions of numbers": ("versions", {"torch": 2}),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_plan_of_what_no_run_does_is_refused(
    finished: Finished, tmp_path: Path, kind: str
) -> None:
    folder = copied(finished, tmp_path)
    name, value = NUMBERS[kind]
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, name: value}))
    refused(lambda: vx.Report(folder), "plan .* is damaged")


def with_column(table: pa.Table, name: str, values: Any, kind: Any = None) -> pa.Table:
    place = table.schema.get_field_index(name)
    field = pa.field(name, table.schema.field(name).type if kind is None else kind)
    return table.set_column(place, field, pa.array(values, field.type))


def first_is(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """The first row that has a value there has this one."""

    def edit(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        place = next((i for i, one in enumerate(values) if one is not None), 0)
        return with_column(table, name, [*values[:place], value, *values[place + 1 :]])

    return edit


def longer_curve(table: pa.Table) -> pa.Table:
    curves = table["curve"].to_pylist()
    return with_column(table, "curve", [one and [*one, 1.0] for one in curves])


def curve_of_all(table: pa.Table) -> pa.Table:
    return with_column(table, "curve", [[0.5] * 5] * len(table))


def many_equal_rows(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1)] * 20_000).combine_chunks()


def long_texts(table: pa.Table) -> pa.Table:
    return with_column(table, "question", ["x" * 10_000_000] * len(table))


SHARDS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "without a column": lambda table: table.drop_columns(["value"]),
    "with a column more": lambda table: table.append_column("surprise", table["value"]),
    "in another order": lambda table: table.select(table.column_names[::-1]),
    "values of text": lambda t: with_column(t, "value", ["1"] * len(t), pa.string()),
    "texts of numbers": lambda t: with_column(t, "note", [1] * len(t), pa.int64()),
    "rough values": lambda t: with_column(t, "value", t["value"].to_pylist(), pa.float32()),
    "curves of text": lambda t: with_column(t, "curve", [["a"]] * len(t), pa.list_(pa.string())),
    "an index of nothing": first_is("index", None),
    "an index below 0": first_is("index", -1),
    "an index of another shard": first_is("index", 0),
    "a huge index": first_is("index", 2**62),
    "a method of nothing": first_is("method", None),
    "a metric of nothing": first_is("metric", None),
    "a method of no plan": first_is("method", "shapley"),
    "a metric of no plan": first_is("metric", "insertion"),
    "a value that is no number": first_is("value", float("nan")),
    "an infinite value": first_is("value", float("-inf")),
    "no rows": lambda table: table.slice(0, 0),
    "one of its examples": lambda table: table.filter(pc.equal(table["index"], 3)),
    "a probability that is no number": first_is("probability", float("nan")),
    "a probability above 1": first_is("probability", 1.5),
    "a probability below 0": first_is("probability", -0.5),
    "an infinite probability": first_is("probability", float("inf")),
    "a negative cost": first_is("forwards", -1),
    "negative time": first_is("seconds", -1.0),
    "endless time": first_is("seconds", float("inf")),
    "a curve of other places": longer_curve,
    "an empty curve": first_is("curve", []),
    "a curve with a hole": first_is("curve", [1.0, None, 1.0, 1.0, 1.0]),
    "a curve of no numbers": first_is("curve", [float("nan")] * 5),
    "a curve where there is none": curve_of_all,
    "rows twice": lambda table: pa.concat_tables([table, table]),
    "many rows": many_equal_rows,
    "long texts": long_texts,
}


@pytest.mark.parametrize("kind", SHARDS)
def test_a_shard_holds_what_its_plan_says(finished: Finished, tmp_path: Path, kind: str) -> None:
    folder = copied(finished, tmp_path)
    path = Store(folder).shard_path("examples", 1)
    table = pq.read_table(path)
    edited = SHARDS[kind](table).replace_schema_metadata(table.schema.metadata)
    pq.write_table(edited, path, compression="zstd", write_page_checksum=True)
    with unchanged(folder=folder):
        refused(lambda: vx.Report(folder).to_json(), "shard .* is damaged .*; delete it")


def test_a_shard_under_another_number_is_named(
    finished: Finished, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(finished, tmp_path)
    store = Store(folder)
    shutil.copy(store.shard_path("examples", 0), store.shard_path("examples", 1))
    vx.Report(folder).frame()
    assert "is a copy of shard examples-0, so it is left out" in caplog.text
    table = pq.read_table(store.shard_path("examples", 0))
    about = {**(table.schema.metadata or {}), PLACE: b"examples-1"}  # a copy that hides it
    pq.write_table(table.replace_schema_metadata(about), store.shard_path("examples", 1))
    refused(lambda: vx.Report(folder).frame(), "it has rows of another shard")


@pytest.mark.slow
def test_stamps_that_cannot_be_are_computed_again(finished: Finished, tmp_path: Path) -> None:
    whole = finished[0].frame()
    folder = copied(finished, tmp_path)
    path = Store(folder).shard_path("examples", 1)
    table = pq.read_table(path)
    about = table.schema.metadata
    stamps = json.loads(about[STAMPS])
    some = {("rows",): None, ("rows", "2", "question"): MISSING, ("code",): 7}
    edits = [forged(stamps, at, one) for at, one in some.items()]
    texts = ["{", "[]", *map(json.dumps, edits)]
    for text in texts:
        pq.write_table(table.replace_schema_metadata({**about, STAMPS: text.encode()}), path)
        assert vx.Report(folder).to_json()
        assert finished[1](folder).frame().equals(whole)


def grid(**changes: Any) -> pa.Table:
    """A piece of a grid of two questions, changed."""
    rows = [
        {"part": part, "index": index, "values": [0.1, 0.9]}
        for index in (10, 11)
        for part in (ROW, OWN, CREDITS, COLUMN)
    ]
    rows.append({"part": LACKING, "index": 12, "note": "no text"})
    rows[changes.pop("at", 0)] |= changes
    return pa.Table.from_pylist(rows, schema=GRID_SCHEMA)


GRIDS: dict[str, dict[str, Any]] = {
    "a part of no grid": {"part": "x"},
    "a part of nothing": {"part": None},
    "an index of another piece": {"index": 3},
    "an index of nothing": {"index": None},
    "an index below 0": {"at": 3, "index": -1},
    "no values": {"values": None},
    "fewer values": {"values": [0.1]},
    "a value of nothing": {"values": [0.1, None]},
    "a value that is no number": {"values": [0.1, float("nan")]},
    "an infinite value": {"values": [0.1, float("inf")]},
    "a row twice": {"index": 11},
    "a row without its pair": {"at": 1, "part": COLUMN, "index": 15},
    "values of what is left out": {"at": 8, "values": [0.1, 0.9]},
    "many equal values": {"values": [0.5] * 9_000_000},
}


@pytest.mark.parametrize("kind", [None, *GRIDS])
def test_a_piece_of_a_grid_holds_what_it_must(finished: Finished, kind: str | None) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(grid(**(GRIDS[kind] if kind else {})), sink, compression="zstd")
    content = sink.getvalue()
    plan = finished[0].plan

    def read() -> pa.Table:
        return read_shard(pa.BufferReader(content), content.size, GRID, 1, plan)

    if kind is None:
        assert pc.sum(read()["index"]).as_py() == 4 * 21 + 12
    else:
        with pytest.raises(DAMAGED):
            read()
