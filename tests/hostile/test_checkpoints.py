"""Folders of checkpoints that a stranger made: no pickle is read, nothing outside the folder, and
no memory is taken for a network that the weights do not fill.
"""

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from guard import answered_or_refused, refused, unchanged
from safetensors import safe_open
from safetensors.numpy import save_file
from torch.overrides import TorchFunctionMode

import vqa_explain as vx
from vqa_explain.models.weight_files import INDEX, SAFE


class Opens:
    """Unpickled, it makes a file, as code of a stranger would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


@pytest.fixture
def folder(folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a small classifier's checkpoint."""
    return Path(shutil.copytree(folders("vit"), tmp_path / "model"))


def load(folder: Path, **settings: Any) -> Any:
    return vx.load(str(folder), device="cpu", check=False, **settings)


def tensors_in(folder: Path) -> dict[str, np.ndarray]:
    with safe_open(folder / SAFE, framework="numpy") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sharded(folder: Path, *files: Any, metadata: Any = None) -> None:
    """In place of one file of weights, an index that names these."""
    names = list(tensors_in(folder))
    weights = {name: files[place % len(files)] for place, name in enumerate(names)}
    told = {"metadata": {"total_size": 1} if metadata is None else metadata, "weight_map": weights}
    (folder / INDEX).write_text(json.dumps(told))
    (folder / SAFE).rename(folder / "part.safetensors")


def trap(path: Path) -> None:
    """A file that makes another one when it is unpickled, raw or as torch writes it."""
    made = path.parent / "pwned"
    content = pickle.dumps(Opens(made))
    if path.suffix == ".pkl":
        path.write_bytes(content)
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3")


PICKLES = ["pytorch_model.bin", "model.pt", "model.pth", "weights.ckpt", "weights.pkl", "weights"]
ELSEWHERE = [
    "../other.safetensors",
    "../model2/model.safetensors",
    "/etc/passwd",
    "/tmp/x.safetensors",
    "..\\other.safetensors",
    "part/../../other.safetensors",
    "sub/part.safetensors",
    ".",
    "..",
    "",
    "part.safetensors\0.bin",
    "~/part.safetensors",
    "part.safetensors.bin",
]


@pytest.mark.parametrize("name", [*PICKLES, *ELSEWHERE, 7, None, ["part.safetensors"], {}])
def test_an_index_names_safetensors_beside_it_alone(
    folder: Path, name: Any, tmp_path: Path
) -> None:
    shutil.copy(folder / SAFE, tmp_path / "other.safetensors")
    if name in PICKLES:
        trap(folder / name)
    sharded(folder, "part.safetensors", name)
    with unchanged(folder=tmp_path):
        refused(lambda: load(folder), "names .* for weights|no index of weights")


@pytest.mark.parametrize("name", [*PICKLES, "adapter_model.bin", *ELSEWHERE, 7, [], {}, True])
def test_a_configuration_names_safetensors_beside_it_alone(
    folder: Path, name: Any, tmp_path: Path
) -> None:
    shutil.copy(folder / SAFE, tmp_path / "other.safetensors")
    if name in (*PICKLES, "adapter_model.bin"):
        trap(folder / name)
    edit(folder, transformers_weights=name)
    with unchanged(folder=tmp_path):
        refused(lambda: load(folder), "names .* for weights")


INDICES = [
    "",
    "{",
    "[]",
    "null",
    "7",
    "{}",
    '{"weight_map": {}}',
    '{"weight_map": {}, "metadata": {}}',
    '{"weight_map": [], "metadata": {}}',
    '{"weight_map": {"a": "part.safetensors"}}',
    '{"weight_map": {"a": "part.safetensors"}, "metadata": []}',
    "[" * 100_000,
    "\xff\xfe",
]


@pytest.mark.parametrize(
    "content",
    INDICES,
    ids=lambda content: content[:40],
)
def test_an_index_that_is_none(folder: Path, content: str) -> None:
    sharded(folder, "part.safetensors")
    (folder / INDEX).write_text(content, encoding="latin-1")
    refused(lambda: load(folder), "no index of weights")


def test_an_index_that_names_what_is_not_there(folder: Path) -> None:
    sharded(folder, "part.safetensors", "missing.safetensors")
    refused(lambda: load(folder), "'missing.safetensors', which is not there")


def test_sharded_weights_load(folder: Path) -> None:
    sharded(folder, "part.safetensors")
    assert load(folder).labels


@pytest.mark.parametrize("name", PICKLES[:-1])
@pytest.mark.parametrize(
    "decoy", ["decoy.safetensors", "model.safetensors.bak", "model.SAFETENSORS"]
)
def test_a_pickle_beside_a_decoy(folder: Path, name: str, decoy: str, tmp_path: Path) -> None:
    (folder / SAFE).rename(folder / decoy)
    trap(folder / name)
    with unchanged(folder=tmp_path):
        refused(lambda: load(folder), "a pickle, which may run any code")


@pytest.mark.parametrize("kind", ["pickle", "archive", "folder"])
def test_weights_that_only_have_the_name(folder: Path, kind: str, tmp_path: Path) -> None:
    (folder / SAFE).unlink()
    if kind == "folder":
        (folder / SAFE).mkdir()
    else:
        trap(folder / ("x.pkl" if kind == "pickle" else "x.bin"))
        next(folder.glob("x.*")).rename(folder / SAFE)
    with unchanged(folder=tmp_path):
        refused(lambda: load(folder), "cannot be loaded")


def test_a_part_of_a_distributed_checkpoint_is_not_read_for_the_weights(folder: Path) -> None:
    shutil.copy(folder / SAFE, folder / "shard-00001-model-00001-of-00001.safetensors")
    refused(lambda: load(folder), "a part of a distributed checkpoint")


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt", None])
def test_an_adapter_beside_the_network_is_no_pickle(
    folder: Path, name: str | None, tmp_path: Path
) -> None:
    told = {"peft_type": "LORA", "base_model_name_or_path": "../other", "target_modules": ["query"]}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    if name is not None:
        trap(folder / name)
    with unchanged(folder=tmp_path):
        refused(lambda: load(folder), "no 'adapter_model.safetensors'")


def header_of(tensors: dict[str, Any], content: bytes) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(start: int, end: int, shape: list[int], kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


HEADERS: dict[str, bytes] = {
    "overlapping": header_of({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
    "the same twice": header_of({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, bytes(8)),
    "a hole": header_of({"a": entry(0, 8, [2]), "b": entry(12, 20, [2])}, bytes(20)),
    "beyond the file": header_of({"a": entry(0, 80, [20])}, bytes(8)),
    "more than it has": header_of({"a": entry(0, 8, [2**40])}, bytes(8)),
    "negative": header_of({"a": entry(0, 8, [-2])}, bytes(8)),
    "backwards": header_of({"a": entry(8, 0, [2])}, bytes(8)),
    "an overflow": header_of({"a": entry(0, 0, [2**32, 2**32])}, b""),
    "no such type": header_of({"a": entry(0, 8, [2], "PICKLE")}, bytes(8)),
    "a long header": struct.pack("<Q", 2**40) + b"{}",
    "no header": struct.pack("<Q", 0),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_weights_whose_header_lies(folder: Path, kind: str) -> None:
    (folder / SAFE).write_bytes(HEADERS[kind])
    refused(lambda: load(folder), "cannot be loaded|lacks weights")


class Largest(TorchFunctionMode):
    """Notes the most numbers that a new tensor in memory has."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not made.is_meta:
            self.numbers = max(self.numbers, made.untyped_storage().nbytes())
        return made


HUGE: dict[str, dict[str, Any]] = {
    "layers": {"num_hidden_layers": 10**6},
    "more layers": {"num_hidden_layers": 10**12},
    "layers below the bound": {"num_hidden_layers": 9_999},
    "width": {"hidden_size": 2**20, "num_attention_heads": 1},
    "inner width": {"intermediate_size": 2**30},
    "picture": {"image_size": 2**20},
    "channels": {"num_channels": 2**30},
    "labels": {"num_labels": 10**8},
    "labels below the bound": {"num_labels": 90_000},
    "beyond 64 bits": {"hidden_size": 2**80},
}


@pytest.mark.parametrize("allow", [(), True])
@pytest.mark.parametrize("kind", HUGE)
def test_a_configuration_of_more_than_the_weights_hold(folder: Path, kind: str, allow: Any) -> None:
    edit(folder, **HUGE[kind])
    if "num_labels" in HUGE[kind]:
        edit(folder, id2label=None, label2id=None)
    largest = Largest()
    with unchanged(folder=folder), largest:
        refused(lambda: load(folder, allow_missing=allow), "config.json|cannot be loaded")
    assert largest.numbers < 2**26


KEYS = """
    architectures model_type hidden_size num_hidden_layers num_attention_heads hidden_act layer_norm_eps
    patch_size image_size num_labels id2label dtype quantization_config problem_type
    attn_implementation auto_map initializer_range transformers_version tie_word_embeddings
    _name_or_path
"""
STRANGE = [None, True, -1, 0, 1, 2.5, 1e308, 10**30, "", "many", "é", [], [3], {}, {"a": 1}]


@pytest.mark.slow
@pytest.mark.parametrize(
    "key",
    KEYS.split(),
)
def test_a_strange_configuration_loads_or_is_one_sentence(folder: Path, key: str) -> None:
    original = (folder / "config.json").read_text()
    for value in STRANGE:
        (folder / "config.json").write_text(original)
        edit(folder, **{key: value})
        answered_or_refused(lambda: load(folder), "model|config")


@pytest.mark.parametrize(
    "content", ["[]", "7", "null", '"vit"', "[" * 100_000, '{"model_type": "vit"}'],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_a_configuration_of_another_form(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    refused(lambda: load(folder), "model|config")


@pytest.mark.parametrize("architecture", ["os.systemForImageClassification", "*", "", "__class__"])
def test_an_architecture_that_is_none(folder: Path, architecture: str) -> None:
    edit(folder, architectures=[architecture])
    if architecture.endswith("Classification"):  # read by what its model_type says
        answered_or_refused(lambda: load(folder))
    else:
        refused(lambda: load(folder), "which no adapter knows|which transformers does not have")


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("value", ["stranger/kernel", {"": "stranger/kernel@main"}])
def test_code_of_a_repository_is_not_fetched(folder: Path, key: str, value: Any) -> None:
    edit(folder, **{key: value})
    refused(lambda: load(folder), "asks for code of a repository")


def test_a_head_that_is_still_to_be_trained_may_be_larger(folder: Path) -> None:
    held = {name: values for name, values in tensors_in(folder).items() if "classifier" not in name}
    save_file(held, folder / SAFE, {"format": "pt"})
    edit(folder, num_labels=1000, id2label=None, label2id=None)
    assert len(load(folder, allow_missing=["classifier"]).labels) == 1000


SIDES_OF_PICTURES: list[dict[str, Any]] = [
    {"size": {"height": 10**6, "width": 10**6}},
    {"size": {"height": 10**5, "width": 600}},
    {"size": {"shortest_edge": 10**5}},
    {"size": {"longest_edge": 10**9}},
    {"size": 10**5},
    {"do_center_crop": True, "crop_size": {"height": 10**5, "width": 10**5}},
]


@pytest.mark.parametrize("sizes", SIDES_OF_PICTURES, ids=str)
@pytest.mark.parametrize("family", ["vit", "llava"])
def test_a_processor_of_larger_pictures_than_are_read(
    folders: Callable[[str], Path], tmp_path: Path, family: str, sizes: dict[str, Any]
) -> None:
    """It is refused before memory is taken for one."""
    folder = Path(shutil.copytree(folders(family), tmp_path / "model"))
    path = next(p for p in (folder / "preprocessor_config.json", folder / "processor_config.json")
                if p.exists())  # fmt: skip
    told = json.loads(path.read_text())
    told.get("image_processor", told).update(sizes)
    path.write_text(json.dumps(told))
    largest = Largest()
    with unchanged(folder=folder), largest:
        refused(
            lambda: vx.load(str(folder), device="cpu"), "pixels by its (crop_)?size, and at most"
        )
    assert largest.numbers < 2**26


PATCHES = [0, -1, 10**6, 1.5, "many", None]


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_a_processor_of_patches_that_are_none(
    folders: Callable[[str], Path], tmp_path: Path, patch: Any
) -> None:
    folder = Path(shutil.copytree(folders("qwen2_vl"), tmp_path / "model"))
    path = folder / "processor_config.json"
    original = json.loads(path.read_text())
    for key in ("patch_size", "merge_size", "temporal_patch_size"):
        told = json.loads(json.dumps(original))
        told["image_processor"][key] = patch
        path.write_text(json.dumps(told))
        with unchanged(folder=folder):
            answered_or_refused(lambda: vx.load(str(folder), device="cpu"), "model|processor")
