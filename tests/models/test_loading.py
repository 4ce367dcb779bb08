"""What cannot be loaded is said in one sentence that names the thing and the remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from families import QUESTION

import vqa_explain as vx


def copied(source: Path, folder: Path, *left_out: Any) -> Path:
    target = folder / "model"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left_out))
    return target


def refused(words: str, *args: Any, **settings: Any) -> str:
    with pytest.raises(vx.InvalidInput, match=words) as caught:
        vx.load(*args, **{"device": "cpu", **settings})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_a_processor(folders: Callable[[str], Path], tmp_path: Path) -> None:
    refused(
        "no processor beside",
        copied(folders("llava"), tmp_path, "processor*", "token*", "preproc*", "chat*"),
    )


def test_a_folder_with_pickled_weights_only(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("vit"), tmp_path, "*.safetensors")
    torch.save({}, folder / "pytorch_model.bin")
    refused("a pickle, which may run any code", folder)


def test_a_folder_without_weights(folders: Callable[[str], Path], tmp_path: Path) -> None:
    refused("cannot be loaded", copied(folders("vit"), tmp_path, "*.safetensors"))


def test_a_folder_without_a_configuration(folders: Callable[[str], Path], tmp_path: Path) -> None:
    refused("cannot be loaded", copied(folders("vit"), tmp_path, "config.json"))


def test_weights_of_another_shape(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("vit"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    refused("cannot be loaded", folder)


def test_truncated_weights(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("vit"), tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    refused("cannot be loaded", folder)


def test_a_checkpoint_with_code_of_its_own(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied(folders("vit"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    own = {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Config"},
        "architectures": ["Mine"],
    }
    (folder / "config.json").write_text(json.dumps({**config, **own}))
    (folder / "mine.py").write_text("raise SystemExit('this must not run')")
    refused("trust_remote_code=True", folder)


def test_an_unknown_architecture_lists_what_is_known(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = copied(folders("vit"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "architectures": ["ViTForMaskedImageModeling"]})
    )
    said = refused("ViTForMaskedImageModeling, which no adapter knows", folder)
    assert all(name in said for name in ("vilt", "lxmert", "generative", "CustomModel"))


def test_a_hub_id_without_a_network() -> None:
    refused("hub cannot be reached", "dandelin/vilt-b32-finetuned-vqa")


@pytest.mark.parametrize("settings", [{"lengths": "median"}, {"beams": 0}, {"beams": "two"}])
def test_settings_out_of_range(
    folders: Callable[[str], Path], settings: dict[str, str] | dict[str, int]
) -> None:
    refused("lengths|beams", folders("llava"), **settings)


def test_a_module_needs_its_processor(models: Callable[[str], Any]) -> None:
    refused("needs its processor", models("llava").module)


def test_a_module_with_its_processor_is_as_its_folder(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    folder = models("llava")
    model = vx.load(folder.module, processor=folder.processor, device="cpu")
    parts: dict[str, Any] = {"method": "saliency", "answers": ["yes"]}
    ours = vx.explain(model, noise_picture, QUESTION, **parts)
    np.testing.assert_array_equal(
        ours.image, vx.explain(folder, noise_picture, QUESTION, **parts).image
    )


@pytest.mark.parametrize("family", ["llava", "vilt", "vit"])
@pytest.mark.slow
def test_the_number_type_passes_through(
    folders: Callable[[str], Path],
    models: Callable[[str], Any],
    noise_picture: np.ndarray,
    family: str,
) -> None:
    model = vx.load(folders(family), device="cpu", dtype="bfloat16")
    assert model.module.dtype == torch.bfloat16
    asked: dict[str, Any] = {"method": "shapley", "regions": 2, "budget": 160}
    if family != "vit":
        asked["question"] = QUESTION
    if family == "llava":
        asked["answers"] = ["yes", "no"]
    rough = vx.explain(model, noise_picture, **asked)
    exact = vx.explain(models(family), noise_picture, target=rough.target, **asked)
    values = [np.array([r.value for r in why.regions]) for why in (rough, exact)]
    np.testing.assert_allclose(values[0], values[1], atol=0.25 * np.abs(values[1]).max() + 0.05)


def test_a_device_map_passes_through(
    folders: Callable[[str], Path], models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = vx.load(folders("llava"), device_map={"": "cpu"})
    assert model.device == torch.device("cpu")
    parts: dict[str, Any] = {"method": "saliency", "answers": ["yes"]}
    ours = vx.explain(model, noise_picture, QUESTION, **parts)
    np.testing.assert_array_equal(
        ours.image, vx.explain(models("llava"), noise_picture, QUESTION, **parts).image
    )


@pytest.mark.slow
def test_a_timm_model_brings_its_transform(noise_picture: np.ndarray) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    model = vx.load(module, device="cpu")
    why = vx.explain(model, noise_picture, method="grad_cam")
    assert model.labels is not None
    assert len(model.labels) == 1000
    assert "tench" in model.labels[0]
    assert model.default_layer(model.encode(vx.Example(noise_picture))).startswith("blocks.")
    assert np.isfinite(why.image).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_32", "efficientnet_b0"])
def test_torchvision_weights_bring_transform_and_labels(
    noise_picture: np.ndarray, name: str
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = getattr(torchvision.models, name)()
        for p in module.parameters():  # some start with a head of zeros, which reads nothing
            if p.ndim == 2:
                torch.nn.init.normal_(p, std=0.05)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    model = vx.load(module, transform=weights, device="cpu")
    why = vx.explain(model, noise_picture, method="hires_cam")
    assert model.labels is not None
    assert model.labels[0] == "tench"
    assert why.image.shape == noise_picture.shape[:2]
    layer = model.default_layer(model.encode(vx.Example(noise_picture)))
    assert layer.startswith(("layer4", "features", "permute", "encoder.layers"))


def test_a_picture_too_small_for_one_patch(models: Callable[[str], Any]) -> None:
    with pytest.raises(vx.InvalidInput, match="too long and thin"):
        vx.explain(models("vilt"), np.zeros((1, 400, 3), np.uint8), QUESTION)
    with pytest.raises(vx.InvalidInput, match="fails on this example"):
        vx.explain(models("qwen2_vl"), np.zeros((1, 4000, 3), np.uint8), QUESTION, answers=["a"])
