"""What a method says that it cost, against counters on the model; and passes that are shared."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from families import OF_BOXES, encoded_for, example_for, on_all
from torch import Tensor, nn

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.game import make_players
from vqa_explain.methods import METHODS, create
from vqa_explain.methods.base import Method, Task, check_support, for_players
from vqa_explain.methods.passes import OnePass
from vqa_explain.target import REAL, Target

FEW: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 3},
    "layer_conductance": {"steps": 3},
    "layer_integrated_gradients": {"steps": 3},
    "internal_influence": {"steps": 3},
    "gradient_shap": {"samples": 3},
    "smoothgrad": {"samples": 2},
    "vargrad": {"samples": 2},
    "occlusion": {"window": 32, "stride": 32},
    **{
        name: {"budget": 160}
        for name in ("rise", "lime", "shapley", "owen", "banzhaf", "interactions", "evidence")
    },
}
# One of each way to reach a network: whole, in two streams, in towers, step by step, in parts.
KINDS = ("vilt", "vit", "lxmert", "blip", "clip", "llava", "resnet", "custom")
IN_ONE_PASS = [name for name, cls in METHODS.items() if isinstance(cls(), OnePass)]


@dataclass
class Passes:
    """Examples that went through a model, forward and backward."""

    forwards: int = 0
    backwards: int = 0


@contextmanager
def counted(model: Any) -> Iterator[Passes]:
    """Counts what goes through the adapter: whatever a method asks of a network, it asks there."""
    found = Passes()

    def counting(run: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            given = run(*args, **kwargs)
            scores = given if isinstance(given, Tensor) else given.scores
            found.forwards += len(scores)
            if scores.requires_grad:
                scores.register_hook(back)
            return given

        return call

    def back(slope: Tensor) -> None:
        found.backwards += len(slope)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("scores", "coalition_scores", "attention", "streams"):
            if hasattr(model, name):
                patch.setattr(model, name, counting(getattr(model, name)), raising=False)
        yield found


@contextmanager
def hooked(network: nn.Module) -> Iterator[Passes]:
    """Counts by hooks on the network itself, which is called as a whole."""
    found = Passes()

    def back(slope: Tensor) -> None:
        found.backwards += len(slope)

    def forth(_module: nn.Module, _inputs: Any, output: Any) -> None:
        scores = output if isinstance(output, Tensor) else output.logits
        found.forwards += len(scores)
        if scores.requires_grad:
            scores.register_hook(back)

    handle = network.register_forward_hook(forth)
    try:
        yield found
    finally:
        handle.remove()


def task_for(model: Any, picture: Any) -> Task:
    """What a method is asked, of an answer of one or several tokens."""
    encoded = encoded_for(model, picture)
    division = {} if model.family in OF_BOXES else {"image": 2}
    score = "value" if model.kind == REAL else "logit"
    target = Target(len(encoded.labels) - 1, None, score, kind=model.kind)
    return Task(model, encoded, target, make_players(encoded, division))


def method_for(name: str, task: Task) -> Method:
    return for_players(create(name, FEW.get(name, {})), len(task.players))


def spent(method: Method, task: Task) -> Cost:
    cost = Cost()
    method(dataclasses.replace(task, cost=cost, games={}))
    return cost


@pytest.mark.slow
@on_all(KINDS)
def test_the_cost_is_what_went_through_the_model(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    task = task_for(model, noise_picture)
    tried = 0
    for name in METHODS:
        method = method_for(name, task)
        try:
            check_support(method, model, task.encoded)
            spent(method, task)  # what is found once per model is found here
        except vx.VQAExplainError:  # it does not work on this family
            continue
        with counted(model) as passes:
            cost = spent(method, task)
        assert (cost.forwards, cost.backwards) == (passes.forwards, passes.backwards), name
        tried += 1
    assert tried >= 8


@pytest.mark.parametrize("name", METHODS)
def test_the_cost_is_what_hooks_on_the_network_count(
    models: Callable[[str], Any], noise_picture: np.ndarray, name: str
) -> None:
    model = models("vit")
    task = task_for(model, noise_picture)
    method = method_for(name, task)
    try:
        check_support(method, model, task.encoded)
        spent(method, task)
    except vx.VQAExplainError:
        pytest.skip("it does not work on this network")
    with hooked(model.module) as passes:
        cost = spent(method, task)
    backwards = passes.backwards
    if name in ("attention", "attention_rollout", "relevance"):
        backwards -= 1  # the adapter asks which tokens the last layer is read at
    assert (cost.forwards, cost.backwards) == (passes.forwards, backwards)


class Stages(nn.Module):
    """Convolutions, and a mean over their map."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()
            )
            self.head = nn.Linear(8, 25)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(x).mean(dim=(2, 3)))
        return scores


def convolutions() -> Any:
    from torchvision.transforms import ToTensor

    return vx.load(Stages(), transform=ToTensor(), device="cpu")


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_plus_plus", "hires_cam"])
def test_the_default_layer_is_found_once(noise_picture: np.ndarray, name: str) -> None:
    model = convolutions()
    first = vx.explain(model, noise_picture, method=name)
    with hooked(model.module) as passes:
        again = vx.explain(model, noise_picture[::-1].copy(), method=name)
    assert (passes.forwards, passes.backwards) == (1, 1)
    assert (again.cost.forwards, again.cost.backwards) == (1, 1)
    assert first.error_kind == again.error_kind  # which names the layer


@pytest.mark.parametrize("name", IN_ONE_PASS)
def test_the_answer_is_taken_from_the_only_pass(noise_picture: np.ndarray, name: str) -> None:
    model = convolutions()
    try:
        vx.explain(model, noise_picture, method=name)
    except vx.Unsupported:
        pytest.skip("it does not work on this network")
    with counted(model) as passes:
        why = vx.explain(model, noise_picture, method=name)
    assert passes.forwards == why.cost.forwards
    assert passes.backwards == why.cost.backwards
    plain = model.scores(model.encode(vx.Example(noise_picture)), model.leaves(
        model.encode(vx.Example(noise_picture))
    ))[0].softmax(dim=0)  # fmt: skip
    assert why.answers[0].index == int(plain.argmax())
    assert why.answers[0].probability == pytest.approx(float(plain.max()), abs=1e-6)


@on_all([name for name in KINDS if name not in ("blip", "llava")])
def test_values_are_to_the_bit_those_of_a_pass_of_their_own(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    example = example_for(model, noise_picture)
    own: dict[str, Any] = {} if model.labels is not None else {"answers": ["yes", "red circle"]}
    for name in IN_ONE_PASS:
        try:
            shared = vx.explain(model, example, method=name, target=1, **own)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("vqa_explain.explaining.first_pass", lambda *_: None)
                alone = vx.explain(model, example, method=name, target=1, **own)
        except vx.VQAExplainError:  # it does not work on this family
            continue
        for one, other in zip(shared.parts, alone.parts, strict=True):
            assert one.values == other.values, name
        np.testing.assert_array_equal(shared.image, alone.image)
        for answer, same in zip(shared.answers, alone.answers, strict=True):
            assert answer.probability == pytest.approx(same.probability, abs=1e-5)


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float64])
def test_only_exact_number_types_share_the_pass(
    noise_picture: np.ndarray, short: torch.dtype
) -> None:
    from torchvision.transforms import ToTensor

    model = vx.load(Stages().to(short), transform=ToTensor(), device="cpu")
    vx.explain(model, noise_picture, method="saliency")
    with counted(model) as passes:
        vx.explain(model, noise_picture, method="saliency")
    assert passes.forwards == (2 if short is torch.bfloat16 else 1)


# Those that ask the network about each channel spend more.
@pytest.mark.parametrize("name", sorted({*IN_ONE_PASS} - {"ablation_cam", "score_cam"}))
def test_many_targets_share_one_forward_and_few_backward_passes(
    noise_picture: np.ndarray, name: str
) -> None:
    model, numbers = convolutions(), list(range(23))
    try:
        alone = [vx.explain(model, noise_picture, method=name, target=n) for n in numbers]
    except vx.Unsupported:
        pytest.skip("it does not work on this network")
    batched = 0
    differentiate = torch.autograd.grad

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal batched
        batched += bool(kwargs.get("is_grads_batched"))
        return differentiate(*args, **kwargs)

    with counted(model) as passes, pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.autograd, "grad", counting)
        many = vx.explain(model, noise_picture, method=name, target=numbers)
    # The score at zero, and the network without a method's rules.
    compared = ("attn_lrp", "guided_backprop", "deconvolution")
    whole = 2 if name in ("input_x_gradient", *compared) else 1
    whole = 3 if name == "guided_grad_cam" else whole  # and the pass with them
    assert many[0].cost.forwards == whole
    assert passes.forwards == sum(why.cost.forwards for why in many)
    assert batched == 3
    for one, other in zip(many, alone, strict=True):
        assert one.target == other.target
        np.testing.assert_allclose(one.image, other.image, rtol=1e-4, atol=1e-6)


class OneByOne(torch.autograd.Function):
    """An operation that cannot be differentiated for several targets at once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * float(gradients[0].abs().sum() > 0)


class Alone(Stages):
    """The same network with such an operation in front."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(OneByOne.apply(x))


def test_targets_are_differentiated_one_by_one_where_they_must(
    noise_picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    from torchvision.transforms import ToTensor

    model = vx.load(Alone(), transform=ToTensor(), device="cpu")
    with caplog.at_level("INFO", logger="vqa_explain"):
        many = vx.explain(model, noise_picture, method="saliency", target=[0, 1, 2])
    assert "one by one" in caplog.text
    for number, why in enumerate(many):
        alone = vx.explain(model, noise_picture, method="saliency", target=number)
        np.testing.assert_array_equal(why.image, alone.image)
