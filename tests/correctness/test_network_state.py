"""The user's network keeps its modes and buffers,
and is explained in evaluation mode whatever they are.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Curved, ToTensor
from custom_net import VOCABULARY, AttendsToGrid, network
from families import example_for, on_all
from torch import nn

import vqa_explain as vx
from vqa_explain.models.base import answers
from vqa_explain.models.loading import initialize_missing

LABELS = ["a", "b", "c"]


class Restless(nn.Module):
    """A network whose answer, in training mode, is drawn,
    and whose statistics move with every call.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.body = nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1),
                nn.BatchNorm2d(4),
                nn.ReLU(),
                nn.Dropout(0.5),
                nn.Flatten(),
            )
            self.head = nn.Linear(4 * 64, 3)
            self.body.get_buffer("1.running_mean").normal_()
            self.body.get_buffer("1.running_var").uniform_(0.5, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.body(x))
        return result


class KeepsItsOwnMode(Restless):
    """`train` and `eval` are the user's own, and count how often they are called."""

    calls = 0

    def train(self, mode: bool = True) -> Any:
        type(self).calls += 1
        return super().train(mode)


def everything_trains(module: torch.nn.Module) -> None:
    module.train()


def everything_is_evaluated(module: torch.nn.Module) -> None:
    module.eval()


def normalization_is_frozen(module: torch.nn.Module) -> None:
    module.train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.LayerNorm):
            part.eval()


def only_the_last_trains(module: torch.nn.Module) -> None:
    module.eval()
    list(module.modules())[-1].train()


MODES = (everything_trains, everything_is_evaluated, normalization_is_frozen, only_the_last_trains)


def state(module: torch.nn.Module) -> tuple[dict[Any, Any], dict[str, Any]]:
    modes = {name: part.training for name, part in module.named_modules()}
    tensors = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return modes, tensors


def unchanged(module: torch.nn.Module, before: tuple[dict[Any, Any], dict[str, Any]]) -> None:
    modes, tensors = before
    assert {name: part.training for name, part in module.named_modules()} == modes
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(parameter.requires_grad for parameter in module.parameters())


def loaded(module: torch.nn.Module) -> vx.Model:
    return vx.load(module, transform=ToTensor(), labels=LABELS, device="cpu")


@pytest.mark.parametrize("set_modes", MODES)
def test_load_leaves_the_modes_alone(set_modes: Any) -> None:
    module = Restless()
    set_modes(module)
    before = state(module)
    loaded(module)
    unchanged(module, before)


@pytest.mark.parametrize("set_modes", MODES)
@pytest.mark.parametrize(
    "method",
    ["saliency", "integrated_gradients", "shapley", "occlusion", "rise", "lime", "grad_cam", "guided_backprop",
     "deep_lift", "smoothgrad", "attn_lrp"],
)  # fmt: skip
def test_an_explanation_is_of_the_evaluated_network_and_changes_nothing(
    set_modes: Any, method: str, picture: np.ndarray
) -> None:
    evaluated = vx.explain(loaded(Restless().eval()), picture, method=method)
    module = Restless()
    model = loaded(module)
    set_modes(module)
    before = state(module)
    drawn = torch.random.get_rng_state()
    why = vx.explain(model, picture, method=method)
    unchanged(module, before)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    np.testing.assert_array_equal(why.image, evaluated.image)
    assert why.answers == evaluated.answers


@pytest.mark.parametrize("set_modes", MODES)
def test_every_call_of_a_model_is_of_the_evaluated_network(
    set_modes: Any, picture: np.ndarray
) -> None:
    module = Restless()
    plain = Restless().eval()(ToTensor()(picture)[None])
    model = loaded(module)
    set_modes(module)
    before = state(module)
    encoded = model.encode(vx.Example(picture))
    leaves = model.leaves(encoded)
    torch.testing.assert_close(model.scores(encoded, leaves), plain)
    several = {name: leaf.repeat(3, 1, 1, 1) for name, leaf in leaves.items()}
    with torch.no_grad():
        torch.testing.assert_close(
            model.scores(encoded, several), plain.repeat(3, 1), rtol=1e-4, atol=1e-5
        )
    assert answers(model, encoded)[0].probability == pytest.approx(
        float(plain.detach().softmax(-1).max())
    )
    model.default_layer(encoded)
    unchanged(module, before)


@on_all()
def test_every_family_keeps_the_modes_of_its_network(
    family: Any, models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models(family)
    example = example_for(model, noise_picture)
    given: dict[str, Any] = {}
    if model.labels is None:
        given = {"answers": ["yes", "red circle"]}
    evaluated = vx.explain(model, example, method="saliency", **given)
    parts = list(model.module.modules())
    modes = [part.training for part in parts]
    try:
        for number, part in enumerate(parts):
            part.training = number % 3 != 0
        why = vx.explain(model, example, method="saliency", **given)
        assert [part.training for part in parts] == [
            number % 3 != 0 for number in range(len(parts))
        ]
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
    np.testing.assert_array_equal(why.image, evaluated.image)
    assert why.answers == evaluated.answers


def test_what_a_model_writes_is_of_the_evaluated_network(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    encoded = model.encode(example_for(model, noise_picture))
    parts, seen = list(model.module.modules()), []
    modes = [part.training for part in parts]
    layer = model.module.get_decoder().layers[0]
    handle = layer.register_forward_hook(lambda part, *_: seen.append(part.training))
    try:
        for part in parts:
            part.training = True
        model.generate(encoded)
        assert all(part.training for part in parts)
    finally:
        handle.remove()
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
    assert seen
    assert not any(seen)


def test_modes_come_back_after_an_error(picture: np.ndarray) -> None:
    module = Restless().train()
    model = loaded(module)

    def stop(_done: Any, _total: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vx.explain(model, picture, method="shapley", budget=3000, progress=stop)
    with pytest.raises(vx.VQAExplainError):
        vx.explain(model, picture, method="grad_cam", layer="no such layer")
    assert all(part.training for part in module.modules())


@pytest.mark.slow
def test_a_network_of_ones_own_in_training_mode(noise_picture: np.ndarray) -> None:
    class Drops(AttendsToGrid):
        def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = super().forward(
                nn.functional.dropout(pixels, 0.5, self.training), tokens
            )
            return result

    module = network()
    module.__class__ = Drops
    settings = {
        "image": vx_transform(),
        "text": VOCABULARY,
        "labels": ["yes", "no", "red", "blue"],
        "device": "cpu",
    }
    model = vx.CustomModel(module.train(), **settings)
    plain = vx.CustomModel(network().eval(), **settings)
    asked = (noise_picture, "what color is the circle")
    why, expected = (
        vx.explain(one, *asked, method="shapley", budget=300) for one in (model, plain)
    )
    np.testing.assert_array_equal(why.image, expected.image)
    assert module.training


def vx_transform() -> Any:
    from torchvision import transforms

    return transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])


def test_the_users_own_train_and_eval_are_not_called(picture: np.ndarray) -> None:
    module = KeepsItsOwnMode()
    model = loaded(module)
    KeepsItsOwnMode.calls = 0
    vx.explain(model, picture, method="shapley")
    assert KeepsItsOwnMode.calls == 0


def test_training_goes_on_between_explanations(picture: np.ndarray) -> None:
    """A network that is explained every few steps learns what it learns without."""

    def trained(explained: bool) -> dict[str, Any]:
        module = Restless().train()
        model = loaded(module)
        optimizer = torch.optim.SGD(module.parameters(), 0.01)
        torch.manual_seed(0)
        for _ in range(3):
            loss = module(torch.randn(4, 3, 8, 8)).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if explained:
                vx.explain(model, picture, method="saliency")
        return module.state_dict()

    with torch.random.fork_rng():
        plain, watched = trained(False), trained(True)
    for name, tensor in plain.items():
        assert torch.equal(tensor, watched[name]), name


def test_an_evaluation_leaves_the_modes_alone(tmp_path: Path, picture: np.ndarray) -> None:
    module = Restless().train()
    data = [vx.Example(picture, answer="a", id=str(i)) for i in range(2)]
    before = state(module)
    report = vx.evaluate(
        loaded(module),
        data,
        ["saliency"],
        ["accuracy", "deletion:steps=3"],
        tmp_path / "a",
        workers=1,
    )
    unchanged(module, before)
    plain = vx.evaluate(
        loaded(Restless().eval()),
        data,
        ["saliency"],
        ["accuracy", "deletion:steps=3"],
        tmp_path / "b",
        workers=1,
    )
    assert report.frame()["value"].tolist() == plain.frame()["value"].tolist()


def test_a_copy_of_a_model_is_a_network_of_its_own(picture: np.ndarray) -> None:
    module = Curved().train()
    model = loaded(module)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter.zero_()
    assert np.abs(vx.explain(model, picture, method="saliency").image).sum() > 0
    assert np.abs(vx.explain(twin, picture, method="saliency").image).sum() == 0


# Weights that a checkpoint lacks


def without(folder: Path, target: Path, lost: str) -> list[str]:
    """A copy of a checkpoint whose weights of these names (or beginnings) are gone;
    gives their names.
    """
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    gone = sorted(name for name in weights if name.startswith(lost))
    assert gone, sorted(weights)
    save_file(
        {k: v for k, v in weights.items() if k not in gone},
        target / "model.safetensors",
        {"format": "pt"},
    )
    return gone


@pytest.mark.parametrize(
    ("family", "lost"),
    [
        ("vit", "classifier"),
        ("vit", "vit.encoder.layer.1.attention"),
        ("resnet", "classifier"),
        ("resnet", "resnet.embedder.embedder.normalization.running_mean"),
        ("vilt", "classifier.3"),
        ("lxmert", "answer_head"),
        ("clip", "visual_projection"),
        ("clip", "logit_scale"),
        ("blip", "text_decoder.bert.encoder.layer.2.output"),
        ("llava", "multi_modal_projector"),
        ("llava", "language_model"),
        ("qwen2_vl", "visual.merger"),
    ],
)
def test_a_checkpoint_that_lacks_weights_is_refused_by_name(
    family: str, lost: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    without(folders(family), tmp_path / "lacks", lost)
    with pytest.raises(vx.InvalidInput, match="lacks weights, which would be random") as caught:
        vx.load(tmp_path / "lacks", device="cpu")
    named = str(caught.value).split("random: ")[1].split(";")[0].split(" and ")[0].split(", ")
    before = torch.random.get_rng_state()
    module: Any = vx.load(tmp_path / "lacks", device="cpu", allow_missing=True).module
    # As the network calls them, which is not always as the file does.
    weights = module.state_dict()
    assert set(named) <= set(weights)
    assert torch.equal(torch.random.get_rng_state(), before)
    # A scale that the network sets where it is made has that value, whatever lay in memory.
    if lost == "logit_scale":
        assert float(weights[lost]) == pytest.approx(module.config.logit_scale_init_value)
    torch.rand(7)
    again = vx.load(tmp_path / "lacks", device="cpu", allow_missing=True).module.state_dict()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


@pytest.mark.parametrize("number_type", [torch.float32, torch.bfloat16, torch.float16])
def test_missing_weights_are_made_in_the_number_type_of_the_network(
    number_type: torch.dtype,
    folders: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import transformers

    gone = without(folders("vit"), tmp_path / "lacks", "classifier")
    kind = transformers.ViTForImageClassification
    made, types = kind.__init__, []

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        types.append(torch.get_default_dtype())
        made(self, *args, **kwargs)

    monkeypatch.setattr(kind, "__init__", noted)
    model = vx.load(
        tmp_path / "lacks", device="cpu", allow_missing=True, check=False, dtype=number_type
    )
    assert len(types) == 2
    assert set(types) == {number_type}
    assert torch.get_default_dtype() == torch.float32
    weights = model.module.state_dict()
    assert {weights[name].dtype for name in gone} == {number_type}
    assert weights["classifier.weight"].std() > 0
    assert not weights["classifier.bias"].any()


def test_missing_names_that_are_no_weights_change_nothing(folders: Callable[[str], Path]) -> None:
    module: Any = vx.load(folders("vit"), device="cpu").module
    before = {name: one.clone() for name, one in module.state_dict().items()}
    configuration = module.config.to_dict()
    state = torch.random.get_rng_state()
    initialize_missing(module, ["embeddings.position_ids", "nothing.weight"])
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert module.config.to_dict() == configuration
    assert torch.equal(torch.random.get_rng_state(), state)


def test_missing_weights_leave_the_seeds_of_gpus_alone(
    folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = vx.load(folders("vit"), device="cpu").module
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    initialize_missing(module, ["classifier.bias"])
    assert not seeded


@pytest.mark.parametrize(
    ("family", "lost", "suggested", "head"),
    [
        ("vit", "classifier", ["classifier"], True),
        ("vit", "classifier.bias", ["classifier.bias"], False),
        ("vit", "vit.layernorm.bias", ["vit.layernorm.bias"], False),
        ("vit", "vit.layernorm", ["vit.layernorm"], False),
        ("resnet", "classifier", ["classifier"], True),
        ("vilt", "classifier.3", ["classifier.3"], True),
        ("vilt", "vilt.pooler.dense.bias", ["vilt.pooler.dense.bias"], False),
        ("clip", "logit_scale", ["logit_scale"], False),
        ("clip", "visual_projection", ["visual_projection"], True),
        ("clip", "vision_model.post_layernorm.bias", ["vision_model.post_layernorm.bias"], False),
        ("lxmert", "answer_head", ["answer_head"], True),
    ],
)
def test_the_remedy_names_no_weight_that_is_there(
    family: str,
    lost: str,
    suggested: list[str],
    head: bool,
    folders: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    gone = without(folders(family), tmp_path / "lacks", lost)
    with pytest.raises(vx.InvalidInput, match="lacks weights") as caught:
        vx.load(tmp_path / "lacks", device="cpu")
    text = str(caught.value)
    assert f"allow_missing={suggested!r}" in text
    assert ("head that is still to be trained" in text) == head
    model: Any = vx.load(tmp_path / "lacks", device="cpu", allow_missing=suggested, check=False)
    assert set(model.drawn_weights) == set(gone)


def test_what_was_allowed_already_is_kept_in_the_remedy(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    without(folders("vit"), tmp_path / "one", "classifier")
    without(tmp_path / "one", tmp_path / "both", "vit.layernorm.bias")
    with pytest.raises(
        vx.InvalidInput, match=r"allow_missing=\['classifier', 'vit\.layernorm\.bias'\]"
    ):
        vx.load(tmp_path / "both", device="cpu", allow_missing="classifier")


def test_a_head_to_be_trained_may_be_missing_and_nothing_else(
    folders: Callable[[str], Path], tmp_path: Path
) -> None:
    without(folders("vit"), tmp_path / "headless", "classifier")
    for allowed in (
        ["classifier"],
        "classifier",
        ("classifier.weight", "classifier.bias"),
        ["classifier."],
    ):
        assert vx.load(tmp_path / "headless", device="cpu", allow_missing=allowed).labels == (
            "cat",
            "dog",
            "cup",
        )
    for too_few in (False, [], ["class"], ["classifier.weight"]):
        with pytest.raises(vx.InvalidInput, match=r"classifier\.bias"):
            vx.load(tmp_path / "headless", device="cpu", allow_missing=too_few)
    for unreadable in ([3], [""], "."):
        with pytest.raises(vx.InvalidInput, match="allow_missing"):
            vx.load(
                tmp_path / "headless",
                device="cpu",
                allow_missing=unreadable,  # type: ignore[arg-type]
            )


def test_weights_that_are_tied_are_not_missing(tmp_path: Path) -> None:
    import checkpoints

    module, processor = checkpoints.MAKERS["llava"]()
    module.config.tie_word_embeddings = module.config.text_config.tie_word_embeddings = True
    module.tie_weights()
    module.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded: Any = vx.load(tmp_path, device="cpu").module
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight
