"""Files that were damaged, edited or made to do harm."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from building import replaced
from conftest import Linear
from guard import answered_or_refused, called, refused, unchanged
from safetensors import safe_open
from safetensors.numpy import save_file

import vqa_explain as vx
from vqa_explain.evaluation.store import Store
from vqa_explain.models.vilt import ViltModel


@pytest.fixture(scope="module")
def file(
    scenes_model: ViltModel, scene: vx.Example, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("file") / "why.vqax"
    vx.explain(scenes_model, scene, method="saliency").save(path)
    return path


@pytest.mark.parametrize("percent", range(0, 100, 2))
def test_an_explanation_file_cut_short(file: Path, tmp_path: Path, percent: int) -> None:
    content = file.read_bytes()
    path = tmp_path / "cut.vqax"
    path.write_bytes(content[: len(content) * percent // 100])
    with unchanged(folder=tmp_path):
        refused(lambda: vx.load_explanation(path), "is damaged")


@pytest.mark.parametrize("number", range(200))
def test_an_explanation_file_with_one_bit_changed(file: Path, tmp_path: Path, number: int) -> None:
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(number)
    # Half of the places are in the header, where a bit says what the rest means.
    header = int.from_bytes(content[:8], "little") + 8
    place = int(rng.integers(header) if number % 2 else rng.integers(len(content)))
    content[place] ^= 1 << int(rng.integers(8))
    path = tmp_path / "flipped.vqax"
    path.write_bytes(content)
    with unchanged(folder=tmp_path):
        refused(lambda: vx.load_explanation(path), "is damaged|newer version")


@pytest.mark.parametrize("tail", [b"\0", b"more", b"\0" * 1000])
def test_an_explanation_file_with_something_behind(file: Path, tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "long.vqax"
    path.write_bytes(file.read_bytes() + tail)
    refused(lambda: vx.load_explanation(path), "is damaged")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"PK\x03\x04", b"\x80\x04\x95pickle", b"\xff" * 8, b"\0" * 64, b"<html>"],
)
def test_no_explanation_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thing.vqax"
    path.write_bytes(content)
    refused(lambda: vx.load_explanation(path), "is damaged or is no explanation")


@pytest.mark.parametrize("format_", ["5", "99", "1000000", "x", "", "-1e9", "None"])
def test_another_version(file: Path, tmp_path: Path, format_: str) -> None:
    with safe_open(file, framework="numpy") as opened:
        header = dict(opened.metadata())
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    path = tmp_path / "new.vqax"
    save_file(tensors, path, {**header, "format": format_})
    said = "newer version" if format_.isdigit() else "damaged"
    refused(lambda: vx.load_explanation(path), said)


HOSTILE = [
    "../../../etc/passwd",
    "/etc/passwd",
    "<script>alert(1)</script>",
    "a\0b",
    "x" * 100_000,
    "$(reboot)",
    "`id`",
    "\u202egnp",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: repr(t)[:20])
def test_hostile_names_inside_a_file_stay_text(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path, text: str
) -> None:
    import dataclasses

    why = vx.explain(scenes_model, scene, method="saliency")
    answer = dataclasses.replace(why.answers[0], text=text)
    words = (dataclasses.replace(why.words[0], text=text), *why.words[1:])
    marked = replaced(
        why,
        method=text,
        target=text,
        question=text,
        words=words,
        answers=(answer, *why.answers[1:]),
    )
    with unchanged(folder=tmp_path, may_add=("a.vqax", "a.html", "a.png")):
        found = vx.load_explanation(marked.save(tmp_path / "a.vqax"))
        page = found.to_html(tmp_path / "a.html").read_text()
        assert (found.method, found.target, found.question) == (text, text, text)
        assert "<script>alert(1)" not in page
        if len(text) < 1000:
            found.plot().savefig(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["a b.vqax", "ä.vqax", "a\nb.vqax", "-o.vqax", "<img>.vqax", "🟥.vqax", "a" * 200]
)
def test_any_name_of_a_file(file: Path, tmp_path: Path, name: str) -> None:
    with unchanged(folder=tmp_path, may_add=(name,)):
        vx.load_explanation(file).save(tmp_path / name)
        assert vx.load_explanation(tmp_path / name).target


@pytest.mark.parametrize(
    "target", ["missing/why", "file/why", "", "why\0", "a" * 300, "/proc/why", "/dev/full/why"]
)
@pytest.mark.parametrize("what", ["save", "to_html"])
def test_a_place_that_cannot_be_written(file: Path, tmp_path: Path, what: str, target: str) -> None:
    (tmp_path / "file").write_text("no folder")
    with unchanged(folder=tmp_path):
        refused(
            lambda: getattr(vx.load_explanation(file), what)(tmp_path / target),
            "cannot be written|is a folder",
        )


def copied(finished: Any, tmp_path: Path) -> Path:
    shutil.copytree(finished[0].folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("number", range(60))
def test_a_shard_with_one_byte_changed_is_made_again_or_named(
    finished: tuple[vx.Report, Callable[[Path], vx.Report]], tmp_path: Path, number: int
) -> None:
    """Never does a report take a damaged value for a true one."""
    folder = copied(finished, tmp_path)
    path = Store(folder).shard_path("examples", 1)
    content, rng = bytearray(path.read_bytes()), np.random.default_rng(number)
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    found = answered_or_refused(lambda: vx.Report(folder).frame())
    if found is not None:
        whole = finished[0].frame()
        kept = whole[whole["index"].isin(found["index"])].reset_index(drop=True)
        assert found.reset_index(drop=True).equals(kept)


@pytest.mark.parametrize("percent", range(0, 100, 10))
def test_a_shard_cut_short_is_made_again(
    finished: tuple[vx.Report, Callable[[Path], vx.Report]], tmp_path: Path, percent: int
) -> None:
    folder = copied(finished, tmp_path)
    path = Store(folder).shard_path("examples", 1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * percent // 100])
    assert finished[1](folder).frame().equals(finished[0].frame())


@pytest.mark.parametrize(
    "name",
    [
        "examples-000001.parquet.bak",
        "examples-x.parquet",
        "../evil.parquet",
        "examples-999999.parquet",
        ".examples-000000.parquet.abc",
    ],
)
def test_strange_files_among_shards_are_left_alone(
    finished: tuple[vx.Report, Callable[[Path], vx.Report]], tmp_path: Path, name: str
) -> None:
    folder = copied(finished, tmp_path)
    (folder / "shards" / name).write_bytes(b"nothing")
    assert finished[1](folder).frame().equals(finished[0].frame())


def test_a_shard_of_another_plan_is_made_again(
    finished: tuple[vx.Report, Callable[[Path], vx.Report]], tmp_path: Path
) -> None:
    folder = copied(finished, tmp_path)
    path = Store(folder).shard_path("examples", 1)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"plan": b"another"}), path)
    assert finished[1](folder).frame().equals(finished[0].frame())


EDITS: dict[str, Callable[..., Any]] = {
    "not JSON": lambda p: "{",
    "empty": lambda p: "",
    "a list": lambda p: "[]",
    "null": lambda p: "null",
    "no metrics": lambda p: json.dumps({k: v for k, v in p.items() if k != "metrics"}),
    "more than is known": lambda p: json.dumps({**p, "surprise": 1}),
    "newer": lambda p: json.dumps({**p, "format": 99}),
    "a format of words": lambda p: json.dumps({**p, "format": "one"}),
    "methods a number": lambda p: json.dumps({**p, "methods": 7}),
    "an unknown metric": lambda p: json.dumps({**p, "metrics": ["nothing"]}),
    "a path for a method": lambda p: json.dumps({**p, "methods": ["../../x"]}),
    "another seed": lambda p: json.dumps({**p, "seed": 5}),
    "binary": lambda p: "\x00\x01\x02",
    "deep": lambda p: "[" * 100_000,
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_plan(
    finished: tuple[vx.Report, Callable[[Path], vx.Report]], tmp_path: Path, edit: str
) -> None:
    folder = copied(finished, tmp_path)
    path = folder / "plan.json"
    path.write_text(EDITS[edit](json.loads(path.read_text())))
    refused(lambda: finished[1](folder), "plan")
    refused(lambda: vx.Report(folder).frame(), "plan|no finished shard|unknown")


def pickled(folder: Any) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")


def wrong_shapes(folder: Any) -> None:
    with safe_open(folder / "model.safetensors", framework="numpy") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    save_file(
        {name: values[..., :-1].copy() for name, values in tensors.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


def cut(folder: Any) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def a_file_for_a_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


DAMAGE: dict[str, Callable[..., Any]] = {
    "a pickle for weights": pickled,
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "weights cut short": cut,
    "weights of wrong shapes": wrong_shapes,
    "no configuration": lambda f: (f / "config.json").unlink(),
    "a configuration that is no JSON": lambda f: (f / "config.json").write_text("{"),
    "an empty configuration": lambda f: (f / "config.json").write_text("{}"),
    "an unknown architecture": lambda f: (f / "config.json").write_text(
        '{"model_type": "vilt", "architectures": ["Evil"]}'
    ),
    "no tokenizer": lambda f: [p.unlink() for p in f.glob("tokenizer*")],
    "a tokenizer that is no JSON": lambda f: (f / "tokenizer.json").write_text("{"),
    "a file for a folder": a_file_for_a_folder,
    "nothing": lambda f: [p.unlink() for p in f.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint(folders: Callable[[str], Path], tmp_path: Path, damage: str) -> None:
    shutil.copytree(folders("vilt"), tmp_path / "model")
    DAMAGE[damage](tmp_path / "model")
    with unchanged(folder=tmp_path):
        said = refused(lambda: vx.load(str(tmp_path / "model"), device="cpu"), "model")
    assert len(said) < 800
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "nothing",
        "../scenes",
        "/nothing/at/all",
        "scenes/../scenes",
        "a" * 500,
        "org/model/more",
        "http://localhost/model",
        "\0",
        "~",
        "scenes\n",
    ],
    ids=lambda n: repr(n)[:20],
)
def test_names_of_no_model(name: str) -> None:
    refused(lambda: vx.load(name, device="cpu"), "model|cannot be loaded")


@pytest.mark.parametrize(
    "thing", [None, 7, 3.5, b"scenes", ["scenes"], object(), print, Linear], ids=called
)
def test_what_is_no_model(thing: Any) -> None:
    refused(lambda: vx.load(thing, device="cpu"), "a model is a name, a folder or an nn.Module")
