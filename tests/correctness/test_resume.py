"""A run that is resumed after something changed has the numbers of a run made anew,
and computes only what changed.
"""

import json
import logging
import os
import textwrap
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Linear, ToTensor
from PIL import Image, ImageCms
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.evaluation import stamps
from vqa_explain.evaluation.behavior import PROBE, behavior_stamps, same_behavior
from vqa_explain.evaluation.stamps import code_of, row_stamp
from vqa_explain.methods import METHODS
from vqa_explain.metrics import METRICS
from vqa_explain.models.vilt import ViltModel

SETTINGS = {"shard": 3, "workers": 1, "regions": 2, "image_fill": "constant"}
METHODS_ASKED, METRICS_ASKED = (
    ["saliency", "leave_one_out"],
    ["accuracy", "relevance_mass", "sparseness"],
)

PLUGIN = textwrap.dedent(
    '''
    from dataclasses import dataclass

    import numpy as np

    import vqa_explain as vx

    FACTOR = 1.0


    def scaled(value):
        return FACTOR * value


    @vx.register_metric("told", source="-", better="neither", range="any")
    @dataclass(frozen=True)
    class Told:
        """A metric of one's own."""

        def __call__(self, case):
            return scaled(float(case.values[0]))


    @vx.register_method("flat", source="-", error="-", cost="-")
    @dataclass(frozen=True)
    class Flat:
        """A method of one's own."""

        def __call__(self, task):
            image = np.full(task.encoded.pixels.shape[2:], 1.0 / 64)
            return vx.Attribution({"image": image}, None, "none")
    '''
)
EDITS = {
    "the metric's call": ("float(case.values[0])", "float(case.values[1]) + 1", "metric told"),
    "a function that the metric names": (
        "return FACTOR * value",
        "return FACTOR * value + 3",
        "metric told",
    ),
    "a value that the function names": ("FACTOR = 1.0", "FACTOR = 2.0", "metric told"),
    "the method's call": ("1.0 / 64", "2.0 / 64", "method flat"),
}


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    """Writes the plugin's file with an edit and uses it, as a new session would."""
    path = tmp_path / "own.py"

    def use(old: str = "", new: str = "") -> None:
        for known, name in ((METRICS, "told"), (METHODS, "flat")):
            known.pop(name, None)
        path.write_text(PLUGIN.replace(old, new))
        vx.use(path)

    yield use
    METRICS.pop("told", None)
    METHODS.pop("flat", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven pictures in files."""
    rng = np.random.default_rng(0)
    for i in range(7):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def rows(folder: Path, count: int = 7) -> list[vx.Example]:
    mask = np.zeros((1, 8, 8), bool)
    mask[0, :4, :4] = True
    return [
        vx.Example(folder / f"{i % 7}.png", answer="a", id=str(i), masks=mask, about=(0,))
        for i in range(count)
    ]


class Network(Linear):
    """Counts the pictures that it sees one by one: each example's first look."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.looks += len(x)
        return super().forward(x)


@pytest.fixture
def model() -> vx.Model:
    return vx.load(Network(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


def run(
    model: Any,
    data: "list[vx.Example] | Rereadable | list[Any]",
    out: Path,
    methods: list[str] = METHODS_ASKED,
    metrics: list[str] = METRICS_ASKED,
    **more: Any,
) -> vx.Report:
    return vx.evaluate(model, data, methods, metrics, out, **{**SETTINGS, **more})


def assert_as_made_anew(found: vx.Report, fresh: vx.Report) -> None:
    pd.testing.assert_frame_equal(found.frame(), fresh.frame(), check_exact=True)
    left, right = found.to_json(), fresh.to_json()
    for one in (left, right):
        for row in one["costs"]:
            del row["seconds"]
    assert left["summary"] == right["summary"]
    assert left["costs"] == right["costs"]
    assert [(s, w.image.tolist()) for s, w in found.shown()] == [
        (s, w.image.tolist()) for s, w in fresh.shown()
    ]


def encoded_of(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The ids of the examples that are judged from now on,
    without those that the model is tried on.
    """
    ids, real = [], model.encode

    def encode(example: vx.Example) -> Any:
        ids.extend([example.id] if example.id != PROBE else [])
        return real(example)

    monkeypatch.setattr(model, "encode", encode)
    return ids


class Rereadable:
    """An iterable without a length."""

    def __init__(self, examples: Any) -> None:
        self.examples = examples

    def __iter__(self) -> Any:
        return iter(self.examples)


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("workers", [1, 2])
def test_code_that_changed_is_named_and_computed_again_alone(
    plugin: Any,
    folder: Path,
    model: vx.Model,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    edit: str,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if workers == 2 and edit != "the metric's call":
        pytest.skip("once is enough")
    old, new, what = EDITS[edit]
    methods, metrics = ["saliency", "flat"], ["accuracy", "told", "sparseness"]
    plugin()
    run(model, rows(folder), tmp_path / "run", methods, metrics)
    plugin(old, new)
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        found = run(model, rows(folder), tmp_path / "run", methods, metrics, workers=workers)
    assert [f"the code of {what} changed" in record.message for record in caplog.records] == [True]
    fresh = run(model, rows(folder), tmp_path / "fresh", methods, metrics)
    assert_as_made_anew(found, fresh)
    ids = encoded_of(model, monkeypatch)
    run(model, rows(folder), tmp_path / "run", methods, metrics)
    assert ids == []  # nothing is left to do


def test_a_changed_method_does_not_run_the_others_again(
    plugin: Any, folder: Path, model: vx.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin()
    run(model, rows(folder), tmp_path / "run", ["leave_one_out", "flat"], ["sparseness"])
    plugin("1.0 / 64", "2.0 / 64")

    network: Any = model.module

    def looks() -> int:
        network.looks = 0
        run(model, rows(folder), tmp_path / "run", ["leave_one_out", "flat"], ["sparseness"])
        counted: int = network.looks
        return counted

    found = looks()
    trying = looks()  # nothing is left to do then
    assert found - trying == 7  # each example's answer, and no coalition of leave one out


@pytest.mark.slow
def test_a_picture_that_was_replaced_is_read_again_alone(
    folder: Path,
    model: vx.Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(model, rows(folder), tmp_path / "run")
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
        folder / "4.png"
    )
    ids = encoded_of(model, monkeypatch)
    found = run(model, rows(folder), tmp_path / "run")
    assert set(ids[:1]) == {"4"}
    judged = [i for i in ids if i != "4"]
    assert len(judged) <= len(found.gallery())  # only figures of the gallery are drawn anew
    assert "the picture of 1 rows changed (the first: example 4)" in caplog.text
    assert_as_made_anew(found, run(model, rows(folder), tmp_path / "fresh"))


def test_content_of_pictures_on_request(
    folder: Path, model: vx.Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def replaced_within_a_moment() -> None:
        path = folder / "2.png"
        about = path.stat()
        changed = bytearray(path.read_bytes())
        Image.fromarray(np.asarray(Image.open(path))[::-1]).save(path)
        padded = path.read_bytes()[: about.st_size].ljust(about.st_size, b"\0")
        path.write_bytes(padded)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        assert path.read_bytes() != bytes(changed)

    run(model, rows(folder), tmp_path / "run", pictures="content")
    replaced_within_a_moment()
    run(model, rows(folder), tmp_path / "run", pictures="content")
    assert "the picture of 1 rows changed (the first: example 2)" in caplog.text
    with pytest.raises(vx.InvalidInput, match="choose one of: time, content"):
        run(model, rows(folder), tmp_path / "other", pictures="size")


CHANGES: dict[str, Callable[..., Any]] = {
    "answer": lambda e: {"answer": "b"},
    "question": lambda e: {"family": "other"},
    "truth": lambda e: {"masks": ~e.masks},
    "picture": lambda e: {"image": np.asarray(Image.open(e.image))[::-1].copy()},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("at", [0, 6, 70])
@pytest.mark.slow
def test_any_changed_row_is_computed_again_wherever_it_is(
    folder: Path, model: vx.Model, tmp_path: Path, change: str, as_list: bool, at: int
) -> None:
    kind = list if as_list else Rereadable
    examples = rows(folder, 72)
    settings: dict[str, Any] = {
        "methods": ["saliency"],
        "metrics": ["accuracy", "relevance_mass"],
        "shard": 20,
    }
    run(model, kind(examples), tmp_path / "run", **settings)
    examples[at] = vx.Example(**{**vars(examples[at]), **CHANGES[change](examples[at])})
    found = run(model, kind(examples), tmp_path / "run", **settings)
    assert_as_made_anew(found, run(model, kind(examples), tmp_path / "fresh", **settings))


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize(("before", "after"), [(4, 7), (7, 4), (6, 7), (7, 3), (3, 7)])
@pytest.mark.slow
def test_data_that_grew_or_shrank(
    folder: Path, model: vx.Model, tmp_path: Path, before: int, after: int, as_list: bool
) -> None:
    kind = list if as_list else Rereadable
    run(model, kind(rows(folder, before)), tmp_path / "run", keep=["explanations"])
    found = run(model, kind(rows(folder, after)), tmp_path / "run", keep=["explanations"])
    assert found.count == after
    assert_as_made_anew(
        found, run(model, kind(rows(folder, after)), tmp_path / "fresh", keep=["explanations"])
    )
    kept = {p.name for p in (tmp_path / "run" / "explanations").iterdir()}
    assert kept == {p.name for p in (tmp_path / "fresh" / "explanations").iterdir()}


@pytest.mark.slow
def test_versions_that_changed_are_named_and_everything_is_computed_again(
    folder: Path,
    model: vx.Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(model, rows(folder), tmp_path / "run")
    monkeypatch.setattr(
        "vqa_explain.evaluation.run.versions", lambda: {**stamps.versions(), "torch": "99.0"}
    )
    ids = encoded_of(model, monkeypatch)
    run(model, rows(folder), tmp_path / "run")
    assert set(ids) == {str(i) for i in range(7)}
    assert "became 99.0" in caplog.text
    assert vx.Report(tmp_path / "run").plan.versions["torch"] == "99.0"


@pytest.mark.slow
def test_a_network_whose_code_changed_with_the_same_weights(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def network(double: bool | torch.Tensor) -> vx.Model:
        class Net(Linear):
            if double:

                def forward(self, x: torch.Tensor) -> torch.Tensor:
                    return super().forward(x) * 2 - x.sum((1, 2, 3))[:, None]

        return vx.load(Net(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")

    run(network(False), rows(folder), tmp_path / "run")
    found = run(network(True), rows(folder), tmp_path / "run")
    assert "the code of the model changed" in caplog.text
    assert_as_made_anew(found, run(network(True), rows(folder), tmp_path / "fresh"))


@pytest.mark.slow
def test_a_report_reads_no_row_that_no_longer_holds(
    plugin: Any, folder: Path, model: vx.Model, tmp_path: Path
) -> None:
    plugin()
    data = rows(folder)
    run(model, data, tmp_path / "run", ["flat"], ["told"])
    plugin("FACTOR = 1.0", "FACTOR = 2.0")

    def stop(done: int, total: Any, failed: Any) -> None:
        if done > 3:  # the second shard has begun
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, data, tmp_path / "run", ["flat"], ["told"], progress=stop)
    report = vx.Report(tmp_path / "run")
    assert report.count == 3  # one shard of three was mended
    assert report.values("told", "flat").unique().tolist() == [2 * 0.25]
    found = run(model, data, tmp_path / "run", ["flat"], ["told"])
    assert_as_made_anew(found, run(model, data, tmp_path / "fresh", ["flat"], ["told"]))


def test_other_data_is_refused_and_the_results_stay(
    folder: Path, model: vx.Model, tmp_path: Path
) -> None:
    run(model, rows(folder), tmp_path / "run")
    other = [vx.Example(e.image, answer="b", id=f"other {e.id}") for e in rows(folder)]
    with pytest.raises(vx.InvalidInput, match="none of the 7 rows evaluated there"):
        run(model, other, tmp_path / "run")
    assert vx.Report(tmp_path / "run").count == 7


@pytest.mark.slow
def test_emap_is_over_the_rows_of_now(scenes_model: ViltModel, tmp_path: Path) -> None:
    examples = list(vx.load_dataset("scenes:test")[:6])
    settings: dict[str, Any] = {"workers": 1, "shard": 3}
    vx.evaluate(
        scenes_model, examples, [], ["emap:count=6", "accuracy"], tmp_path / "run", **settings
    )
    examples[5] = vx.Example(**{**vars(examples[5]), "image": examples[0].image})
    found = vx.evaluate(
        scenes_model, examples, [], ["emap:count=6", "accuracy"], tmp_path / "run", **settings
    )
    fresh = vx.evaluate(
        scenes_model, examples, [], ["emap:count=6", "accuracy"], tmp_path / "fresh", **settings
    )
    assert found.emap() == fresh.emap()


def test_a_gallery_file_of_other_results_is_not_shown(
    folder: Path, model: vx.Model, tmp_path: Path
) -> None:
    found = run(model, rows(folder), tmp_path / "run")
    shown = found.shown()
    assert shown
    path = tmp_path / "run" / "gallery" / shown[0][0].file
    stranger = vx.explain(model, rows(folder)[0], method="leave_one_out")
    stranger.save(path)
    assert len(vx.Report(tmp_path / "run").shown()) == len(shown) - 1
    again = run(model, rows(folder), tmp_path / "run")
    assert [w.method for _, w in again.shown()] == ["saliency"] * len(shown)


def test_the_code_of_this_package_is_known_by_what_a_method_imports() -> None:
    lime, saliency = (set(stamps_modules(METHODS[name])) for name in ("lime", "saliency"))
    assert "vqa_explain.methods.surrogates" in lime - saliency
    assert "vqa_explain.game" in lime & saliency
    assert not any("viewer" in one or "figures" in one or "shell" in one for one in lime)
    assert code_of(METHODS["lime"]) != code_of(METHODS["saliency"])
    assert code_of(METHODS["saliency"]) == code_of(METHODS["input_x_gradient"])  # one module


def stamps_modules(cls: type[Any]) -> set[Any]:
    found, waiting = set(), [cls.__module__]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += stamps._imports(name)
    return found


@pytest.mark.slow
def test_the_hash_of_code_is_the_same_in_every_process(plugin: Any, tmp_path: Path) -> None:
    import subprocess
    import sys

    plugin()
    (tmp_path / "sets.py").write_text("def f(x):\n    return x in {'a', 'b', 'c', 'd', 'e'}\n")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import sets, vqa_explain as vx; from "
        "vqa_explain.evaluation.stamps import code_of; from vqa_explain.metrics import METRICS; "
        f"vx.use({str(tmp_path / 'own.py')!r}); print(code_of(sets.f), code_of(METRICS['told']))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(told) == 1
    assert code_of(METRICS["told"]).encode() in told.pop()


WITHIN = 1.0


def closing_over(factor: Any) -> Callable[..., Any]:
    return lambda x: factor * x


def with_keyword(value: Any) -> Callable[..., Any]:
    def scaled(x: torch.Tensor, *, factor: Any = value) -> Any:
        return factor * x

    return scaled


def with_a_function_within(x: torch.Tensor) -> torch.Tensor:
    def scaled(y: torch.Tensor) -> torch.Tensor:
        return WITHIN * y

    return scaled(x)


@pytest.mark.parametrize("make", [closing_over, with_keyword])
def test_the_hash_of_code_tells_values_that_a_function_holds(make: Any) -> None:
    assert code_of(make(1.0)) == code_of(make(1.0))
    assert code_of(make(1.0)) != code_of(make(2.0))


def test_the_hash_of_code_follows_functions_within_a_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = code_of(with_a_function_within)
    monkeypatch.setitem(globals(), "WITHIN", 2.0)
    assert code_of(with_a_function_within) != before


def test_a_hash_tells_where_one_part_ends() -> None:
    assert stamps.digest("ab", "c") != stamps.digest("a", "bc")


def test_every_part_of_a_row_changes_the_stamp_that_it_belongs_to() -> None:
    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    boxes, features = np.array([[0, 0, 4, 4], [2, 2, 8, 8]]), np.ones((2, 5), np.float32)
    base: dict[str, Any] = {
        "image": picture,
        "question": "What?",
        "answer": "a",
        "masks": np.ones((2, 8, 8), bool),
        "about": (0,),
        "boxes": boxes,
        "features": features,
    }
    known = row_stamp(vx.Example(**base))
    for change, concerned in (
        ({"boxes": boxes - boxes % 2 + 1}, "picture"),
        ({"features": 2 * features}, "picture"),
        ({"about": (1,)}, "truth"),
        ({"id": "other"}, "question"),
    ):
        other = row_stamp(vx.Example(**{**base, **change}))
        assert {key for key in known if other[key] != known[key]} == {concerned}


def paletted(change: str = "") -> Any:
    """Four colors by number, of which the first may be another color, or transparent."""
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 4, mode="P")
    first = [0, 0, 255] if change == "palette" else [255, 0, 0]
    picture.putpalette([*first, 0, 255, 0, 9, 9, 9, 200, 200, 200])
    if change == "transparency":
        picture.info["transparency"] = 0
    if change == "half transparent":
        picture.info["transparency"] = bytes([128, 255, 255, 255])
    return picture


def keyed(mode: str, change: str = "") -> Any:
    """A picture of one color, which may be the transparent one, or is turned."""
    colors: dict[str, Any] = {"L": 7, "RGB": (7, 7, 7), "I;16": 700}
    color = colors[mode]
    picture = Image.new(mode, (8, 8), 9 if mode == "L" else color)
    picture.putpixel((1, 2), color)
    if change == "transparency":
        picture.info["transparency"] = color
    if change == "turn":
        picture.getexif()[0x0112] = 6
    if change == "pixel":
        picture.putpixel((5, 5), 65_000 if mode == "I;16" else color)
    return picture


def profiled() -> Any:
    """A picture whose color profile calls its red green."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.new("RGB", (8, 8), (200, 40, 7))
    swapped = profile.replace(b"rXYZ", b"....").replace(b"gXYZ", b"rXYZ").replace(b"....", b"gXYZ")
    picture.info["icc_profile"] = swapped
    return picture


def layered(mode: str, alpha: int = 255) -> Any:
    """A picture with an alpha channel."""
    base = paletted() if mode == "PA" else Image.new("L", (8, 8), 100)
    picture = base.convert(mode)
    picture.putalpha(alpha)
    assert picture.mode == mode
    return picture


def frame(tmp_path: Path, number: int) -> Any:
    """A frame of a film that is opened from a file and not read yet."""
    path = tmp_path / "film.gif"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    film = Image.open(path)
    film.seek(number)
    return film


PILLOW: dict[str, Callable[..., Any]] = {
    "a palette": lambda _: (paletted(), paletted("palette")),
    "a transparent color of a palette": lambda _: (paletted(), paletted("transparency")),
    "transparencies of a palette": lambda _: (
        paletted("transparency"),
        paletted("half transparent"),
    ),
    "a transparent gray": lambda _: (keyed("L"), keyed("L", "transparency")),
    "a transparent color": lambda _: (keyed("RGB"), keyed("RGB", "transparency")),
    "a color profile": lambda _: (Image.new("RGB", (8, 8), (200, 40, 7)), profiled()),
    "a turn": lambda _: (keyed("L"), keyed("L", "turn")),
    "a deep pixel": lambda _: (keyed("I;16"), keyed("I;16", "pixel")),
    "alpha, LA": lambda _: (layered("LA"), layered("LA", 90)),
    "alpha, PA": lambda _: (layered("PA"), layered("PA", 90)),
    "alpha, RGBA": lambda _: (layered("RGBA"), layered("RGBA", 90)),
    "a frame": lambda folder: (frame(folder, 0), frame(folder, 1)),
}


@pytest.mark.parametrize("what", PILLOW)
def test_whatever_changes_how_a_picture_in_memory_looks_changes_its_stamp(
    tmp_path: Path, what: str
) -> None:
    before, after = PILLOW[what](tmp_path)
    assert not np.array_equal(vx.examples.read_image(before), vx.examples.read_image(after))

    def stamp(image: Any) -> str:
        return row_stamp(vx.Example(image, "What?"))["picture"]

    assert stamp(before) != stamp(after)
    same = PILLOW[what](tmp_path)
    assert [stamp(image) for image in same] == [stamp(before), stamp(after)]


def test_a_picture_that_cannot_be_read_has_a_stamp_too(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    known = {row_stamp(vx.Example(Image.open(path), "What?"))["picture"] for _ in range(2)}
    assert len(known) == 1


def test_what_a_row_is_known_by(tmp_path: Path) -> None:
    picture = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    base = row_stamp(vx.Example(picture, "What?", answer="a"))
    assert row_stamp(vx.Example(picture.copy(), "What?", answer="a")) == base
    assert row_stamp(vx.Example(torch.from_numpy(picture), "What?", answer="a")) == base
    assert (
        row_stamp(vx.Example(Image.fromarray(picture), "What?", answer="a"))["question"]
        == base["question"]
    )
    fields: dict[str, Any] = {"image": picture, "question": "What?", "answer": "a"}
    for other in (
        {"question": "Who?"},
        {"answer": "b"},
        {"answers": ("a",)},
        {"decisive": ((0, 4),)},
    ):
        assert row_stamp(vx.Example(**{**fields, **other})) != base
    assert (
        row_stamp(vx.Example(picture.reshape(4, 16, 3), "What?", answer="a"))["picture"]
        != base["picture"]
    )
    assert (
        row_stamp(vx.Example(Path("missing.png"), "What?", answer="a"))["picture"]
        != base["picture"]
    )


class Normalized:
    """A transform of one's own, as an object."""

    def __init__(self, mean: Any) -> None:
        self.mean = mean

    def __call__(self, image: Any) -> torch.Tensor:
        result: torch.Tensor = shifted(image, self.mean)
        return result


def shifted(image: Any, mean: Any) -> Any:
    return ToTensor()(image) - mean


def closure(mean: Any) -> Callable[..., Any]:
    return lambda image: ToTensor()(image) - mean


class Steep(Linear):
    """A network with a layer's setting, and a number of its own that is no weight."""

    def __init__(self, slope: float = 0.1, scale: float = 1.0) -> None:
        super().__init__()
        self.act, self.scale = torch.nn.LeakyReLU(slope), scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(super().forward(x)) * self.scale
        return result


class Seen:
    """A `call=` as an object."""

    def __init__(self, factor: Any) -> None:
        self.factor = factor

    def __call__(self, network: torch.nn.Module, pixels: torch.Tensor) -> Any:
        return network(pixels) * self.factor + pixels.mean((1, 2, 3))[:, None] * self.factor**2


def seen(network: torch.nn.Module, pixels: torch.Tensor, factor: Any) -> Any:
    return Seen(factor)(network, pixels)


def classifier(
    transform: Callable[..., Any] | Normalized | Callable[..., torch.Tensor] | None = None,
    network: "Steep | Remembering | None" = None,
    call: Callable[..., Any] | None = None,
) -> vx.Model:
    return vx.load(
        network or Steep(),
        transform=transform or ToTensor(),
        labels=["a", "b", "c"],
        device="cpu",
        call=call,
    )


def normalize(mean: Any) -> Any:
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize([mean] * 3, [0.5] * 3)])


# What a model does changes, and its code, weights and name do not.
PICTURES, ANSWERS = "what the model makes of a picture", "what the model answers changed"
SETTINGS_OF = "the settings of the network's layers changed"
CHANGED: dict[str, tuple[Any, ...]] = {
    "a closure": (lambda x: classifier(closure(x)), PICTURES),
    "T.Lambda": (lambda x: classifier(transforms.Lambda(closure(x))), PICTURES),
    "T.Normalize": (lambda x: classifier(normalize(x)), PICTURES),
    "an object": (lambda x: classifier(Normalized(x)), PICTURES),
    "a bound method": (lambda x: classifier(Normalized(x).__call__), PICTURES),
    "a partial": (lambda x: classifier(partial(shifted, mean=x)), PICTURES),
    "call=, a partial": (lambda x: classifier(call=partial(seen, factor=1 + x)), ANSWERS),
    "call=, an object": (lambda x: classifier(call=Seen(1 + x)), ANSWERS),
    "the slope of a layer": (lambda x: classifier(network=Steep(slope=x)), SETTINGS_OF),
    "an attribute": (lambda x: classifier(network=Steep(scale=1 + x)), SETTINGS_OF),
}


@pytest.mark.parametrize("what", CHANGED)
@pytest.mark.slow
def test_what_the_model_does_is_compared_whatever_holds_it(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: Any
) -> None:
    build, said = CHANGED[what]
    metrics = ["accuracy", "sparseness", "deletion:steps=2"]
    first = run(build(0.1), rows(folder), tmp_path / "run", metrics=metrics)
    caplog.clear()
    run(build(0.1), rows(folder), tmp_path / "run", metrics=metrics)
    assert "computed again" not in caplog.text
    found = run(build(0.6), rows(folder), tmp_path / "run", metrics=metrics)
    assert said in caplog.text
    fresh = run(build(0.6), rows(folder), tmp_path / "fresh", metrics=metrics)
    assert not first.frame().equals(fresh.frame())
    assert_as_made_anew(found, fresh)


class Reading(torch.nn.Module):
    """The picture's mean and the words' sum."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(6, 3)
        with torch.no_grad():
            self.words.weight.copy_(torch.arange(18.0).reshape(6, 3).sin())

    def forward(self, pixels: torch.Tensor, ids: Any) -> torch.Tensor:
        result: torch.Tensor = self.words(ids).sum(1) + pixels.mean((1, 2, 3))[:, None]
        return result


VOCABULARY = {"<pad>": 0, "<unk>": 1, "is": 2, "zebra": 3, "gnu": 4}
SWAPPED = {**VOCABULARY, "zebra": 4, "gnu": 3}


def numbers_by(vocabulary: Any) -> Callable[..., list[Any]]:
    return lambda question: [vocabulary.get(word.lower(), 1) for word in question.split()]


TEXTS: dict[str, Callable[..., Any]] = {
    "two words of the vocabulary": (lambda v: {"text": v}),
    "of one held by a function": (lambda v: {"text": numbers_by(v), "words": str.split}),
    "of one held by a partial": (
        lambda v: {"text": partial(look_up, vocabulary=v), "words": str.split}
    ),
    "the stand-in of an absent word": (
        lambda v: {"text": VOCABULARY, "absent": 0 if v is VOCABULARY else 5}
    ),
}


def look_up(question: str, vocabulary: Any) -> list[Any]:
    return numbers_by(vocabulary)(question)


@pytest.mark.slow
@pytest.mark.parametrize("what", TEXTS)
def test_how_words_are_read_is_compared(folder: Path, tmp_path: Path, what: Any) -> None:
    def build(vocabulary: float | dict[str, int]) -> vx.CustomModel:
        more = {"words": str.split, **TEXTS[what](vocabulary)}
        image, labels = transforms.ToTensor(), ["a", "b", "c"]
        return vx.CustomModel(Reading(), image=image, labels=labels, device="cpu", **more)

    data = [vx.Example(**{**vars(e), "question": "is zebra gnu zebra"}) for e in rows(folder)]
    metrics = ["sparseness", "deletion:players=question,steps=3"]
    for model in (build(VOCABULARY), build(SWAPPED)):
        found = run(model, data, tmp_path / "run", metrics=metrics)
    fresh = run(build(SWAPPED), data, tmp_path / "fresh", metrics=metrics)
    assert_as_made_anew(found, fresh)


def test_behavior_of_another_machine_is_compared_up_to_rounding(folder: Path) -> None:
    told = behavior_stamps(classifier(), rows(folder))["answers"]
    elsewhere = {**json.loads(told), "where": "another", "hash": "other"}

    def times(factor: float) -> list[list[Any]]:
        return [[x * factor for x in array] for array in elsewhere["numbers"]]

    near = {**elsewhere, "numbers": times(1 + 1e-6)}
    far = {**elsewhere, "numbers": times(1.1)}
    assert same_behavior(told, json.dumps(near))
    assert not same_behavior(told, json.dumps(far))
    assert not same_behavior(told, json.dumps({**json.loads(told), "hash": "other"}))
    assert not same_behavior(None, told)


def test_questions_read_on_another_machine_are_compared_exactly(folder: Path) -> None:
    """The places of words are small numbers beside those of tokens, and neither is ever rounded."""

    def told(words: Callable[..., list[str]]) -> Any:
        image, labels = transforms.ToTensor(), ["a", "b", "c"]
        text: dict[str, Any] = {"text": VOCABULARY, "words": words}
        model = vx.CustomModel(Reading(), image=image, labels=labels, device="cpu", **text)
        return json.loads(behavior_stamps(model, rows(folder))["questions"])

    def glued(question: str) -> list[str]:
        first, *others = question.split(maxsplit=2)
        return [" ".join([first, *others[:1]]), *others[1:]]

    here = told(str.split)
    elsewhere = {"where": "another", "hash": "other"}
    assert same_behavior(json.dumps(here), json.dumps({**here, **elsewhere}))
    assert not same_behavior(json.dumps(here), json.dumps({**told(glued), **elsewhere}))


@pytest.mark.slow
def test_a_checkpoint_in_another_folder_has_the_same_settings(
    folder: Path, scenes_model: ViltModel, tmp_path: Path
) -> None:
    copied = tmp_path / "elsewhere"
    scenes_model.module.save_pretrained(copied)
    scenes_model.processor.save_pretrained(copied)
    data = list(vx.load_dataset("scenes:test"))[:1]
    model = vx.load(copied, device="cpu")
    assert behavior_stamps(model, data) == behavior_stamps(scenes_model, data)


class Held:
    """A value in an object of one's own, which knows its layer,
    and holds what cannot be pickled.
    """

    def __init__(self, value: Any, layer: Any) -> None:
        self.value, self.layer, self.lock = value, layer, threading.Lock()


class Keeping(Reading):
    """Holds a value that matters for one word alone."""

    held: torch.Tensor

    def __init__(self, hold: Any, value: Any) -> None:
        super().__init__()
        hold(self, value)

    def factor(self) -> torch.Tensor | float:
        return self.held

    def forward(self, pixels: torch.Tensor, ids: Any) -> torch.Tensor:
        found = super().forward(pixels, ids)
        matters = (ids == VOCABULARY["gnu"]).any(1, keepdim=True)
        return torch.where(matters, found * self.factor(), found)


def holding(make: Any, read: Callable[..., Any], name: str = "held") -> Callable[..., Any]:
    """A maker of networks that hold `make(value, network)`, of which `read` gives the number."""

    class Keeper(Keeping):
        def factor(self) -> float:
            return float(read(getattr(self, name)))

    return lambda value: Keeper(lambda net, x: setattr(net, name, make(x, net)), value)


def first_of(values: Any) -> Any:
    return next(iter(values))


def doubled(factor: Any, x: torch.Tensor) -> Any:
    return factor * x


def masked_sum(values: Any) -> Any:
    return values.to_dense().float().sum()


HOLDERS = {
    "a dictionary": holding(lambda x, _: {"gnu": x}, lambda held: held["gnu"]),
    "a dictionary of lists": holding(lambda x, _: {"gnu": [1, x]}, lambda held: held["gnu"][1]),
    "a set": holding(lambda x, _: {x}, first_of),
    "a frozen set": holding(lambda x, _: frozenset([x]), first_of),
    "a queue": holding(lambda x, _: deque([x]), first_of),
    "a list of dictionaries": holding(lambda x, _: [{4: x}], lambda held: held[0][4]),
    "an array": holding(lambda x, _: np.array([1.0, x]), lambda held: held[1]),
    "an array of objects": holding(
        lambda x, _: np.array([("gnu", x), None], dtype=object), lambda held: held[0][1]
    ),
    "a number of NumPy": holding(lambda x, _: np.float32(x), lambda held: held),
    "a tensor": holding(lambda x, _: torch.tensor([1.0, x]), lambda held: held[1]),
    "a tensor of bfloat16": holding(
        lambda x, _: torch.tensor([1.0, x], dtype=torch.bfloat16), lambda held: held[1]
    ),
    "a sparse tensor": holding(lambda x, _: torch.tensor([0.0, x]).to_sparse(), masked_sum),
    "weights in a list": holding(
        lambda x, _: [torch.nn.Parameter(torch.tensor(x))], lambda held: held[0].detach()
    ),
    "an object": holding(lambda x, net: Held(x, net), lambda held: held.value),
    "a namespace": holding(lambda x, _: SimpleNamespace(gnu=x), lambda held: held.gnu),
    "a function": holding(lambda x, _: lambda y: x * y, lambda held: held(1.0)),
    "a partial": holding(lambda x, _: partial(doubled, x), lambda held: held(1.0)),
    "a private name": holding(lambda x, _: x, lambda held: held, name="_held"),
}


def reader(network: torch.nn.Module) -> vx.CustomModel:
    return vx.CustomModel(
        network,
        image=transforms.ToTensor(),
        labels=["a", "b", "c"],
        device="cpu",
        text=VOCABULARY,
        words=str.split,
    )


def asking(folder: Path, *questions: Any) -> list[vx.Example]:
    """The rows with their questions; the last one is asked of all the others too."""
    asked = [*questions, *[questions[-1]] * 7][:7]
    pairs = zip(rows(folder), asked, strict=True)
    return [vx.Example(**{**vars(row), "question": text}) for row, text in pairs]


def stamps_now(model: Any, data: list[vx.Example] | Rereadable | list[Any]) -> Any:
    """The stamps, as a shard of a run keeps them."""
    return json.loads(json.dumps(behavior_stamps(model, data)))


def changed(before: Any, after: Any) -> set[Any]:
    return {key for key in after if not same_behavior(before[key], after[key])}


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.slow
def test_a_table_that_the_first_call_makes_is_compared(folder: Path, there: bool) -> None:
    """As one read from a file; the name is there with `None`, or is not there yet."""

    class Late(Keeping):
        table: dict[str, float]
        read: "ReadFrom"

        def factor(self) -> Any:
            if getattr(self, "table", None) is None:
                self.table = {"gnu": self.read()}
            return self.table["gnu"]

    def build(value: float | dict[str, int]) -> Any:
        network = Late(lambda net, _: setattr(net, "table", None) if there else None, None)
        with open(folder / "table", "w") as file:
            file.write(str(value))
        network.read = ReadFrom(folder / "table")
        return network

    data = asking(folder, "is zebra")
    before, same, after = (stamps_now(reader(build(x)), data) for x in (1.5, 1.5, 2.5))
    assert changed(before, same) == set()
    assert changed(before, after) == {"settings"}


class ReadFrom:
    """Reads the number in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self) -> float:
        return float(self.path.read_text())


@pytest.mark.parametrize("what", HOLDERS)
@pytest.mark.slow
def test_a_value_that_a_layer_holds_for_other_words_is_compared(folder: Path, what: Any) -> None:
    build, data = HOLDERS[what], asking(folder, "is zebra")
    pixels, ids = torch.ones(1, 3, 8, 8), torch.tensor([[2, VOCABULARY["gnu"]]])
    assert not torch.equal(build(1.5)(pixels, ids), build(2.5)(pixels, ids))
    before, same, after = (stamps_now(reader(build(x)), data) for x in (1.5, 1.5, 2.5))
    assert changed(before, same) == set()
    assert changed(before, after) == {"settings"}


@pytest.mark.slow
def test_a_network_that_changed_for_words_of_the_data_is_computed_again(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Held where no stamp of values can look: in what cannot be pickled."""

    class Locked:
        def __init__(self, value: Any) -> None:
            self.value = value

        def __reduce_ex__(self, protocol: Any) -> NoReturn:
            raise TypeError("a lock")

    build = holding(lambda x, _: Locked(x), lambda held: held.value)
    data = asking(folder, "is zebra", "is gnu")
    run(reader(build(1.5)), data, tmp_path / "run")
    found = run(reader(build(2.5)), data, tmp_path / "run")
    assert "what the model answers changed" in caplog.text
    assert_as_made_anew(found, run(reader(build(2.5)), data, tmp_path / "fresh"))


@pytest.mark.parametrize("kind", [list, Rereadable])
def test_questions_of_the_data_may_change_while_the_model_stays(
    folder: Path, kind: type[list[Any]] | type[Rereadable]
) -> None:
    model = reader(Reading())
    before = stamps_now(model, kind(asking(folder, "is zebra", "is gnu")))
    for questions in (["is gnu"], ["gnu zebra", "is zebra"], ["zebra is", "zebra gnu"]):
        assert changed(before, stamps_now(model, kind(asking(folder, *questions)))) == set()
    assert changed(before, stamps_now(model, kind(asking(folder, "is zebra")[:1]))) == set()


class Remembering(Network):
    """Keeps what `remember` makes of each batch; a number that it does not keep is its slope."""

    def __init__(self, remember: Any, first: Any, slope: float = 0.1) -> None:
        super().__init__()
        self.remember, self.kept, self.act = remember, first, torch.nn.LeakyReLU(slope)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = self.remember(self.kept, x)
        result: torch.Tensor = self.act(super().forward(x))
        return result


def largest(kept: Any, x: torch.Tensor) -> int:
    result: int = max(kept, len(x))
    return result


MEMORIES: dict[str, tuple[Any, ...]] = {
    "the largest batch": (largest, 0),
    "the largest batch, from two on": (largest, 2),
    "the largest batch, above most": (largest, 150),
    "the largest number": (lambda kept, x: max(kept, x.detach().max().item()), 0.0),
    "the number of calls": (lambda kept, x: kept + 1, 0),
    "the last batch": (lambda kept, x: x.detach().clone(), None),
    "whether it was called": (lambda kept, x: True, False),
}


@pytest.mark.parametrize("what", MEMORIES)
@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.slow
def test_what_a_layer_remembers_of_its_use_is_no_setting(
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    anew: bool,
) -> None:
    def build(slope: float = 0.1) -> vx.Model:
        remember, first = MEMORIES[what]
        return classifier(network=Remembering(remember, first, slope))

    model = build()
    run(model, rows(folder), tmp_path / "run")
    again = build() if anew else model
    with torch.no_grad():
        again.module(3 * torch.ones(200, 3, 8, 8))  # more than in the run before
    ids = encoded_of(again, monkeypatch)
    run(again, rows(folder), tmp_path / "run")
    assert [i for i in ids if i] == []  # but for the model's check of itself
    assert "computed again" not in caplog.text
    run(build(slope=0.6), rows(folder), tmp_path / "run")
    assert "the settings of the network's layers changed" in caplog.text
