"""Does the explanation depend on the model at all?"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.overrides import TorchFunctionMode

from vqa_explain.errors import VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.features.parts import Part, PicturePart
from vqa_explain.features.text import TextFeature
from vqa_explain.game import with_players
from vqa_explain.metrics.base import LOWER, Case, Noted, NotMeasured, register_metric
from vqa_explain.models.base import Model, OpenModel
from vqa_explain.models.encoded import behind, candidates_of
from vqa_explain.registry import parameter

STAGES = (1 / 3, 2 / 3, 1.0)  # shares of the layers that are randomized, from the answer downwards


def randomized(model: Model, share: float, seed: int, example: Example | None = None) -> Model:
    """A copy of the model whose last layers, this share of its tensors of weights, are drawn anew.

    The last are those that a forward pass uses last, as measured, whatever order the network lists
    them in. Each tensor becomes normal with its own mean and deviation, so that activations keep
    their size. Batch normalization among them forgets the statistics of training, which are no
    parameters but learned all the same. Nothing of the model itself changes, and no global random
    state moves.

    Args:
        model: the model.
        share: of its tensors, from 0 to 1.
        seed: of the new weights.
        example: what is put through the network to see the order; by default a gray picture.
    """
    twin = copy.deepcopy(model)
    uses = order_of_use(
        twin, example or Example(np.full((64, 64, 3), 127, np.uint8), _question(model))
    )
    named = dict(twin.module.named_parameters())
    # What is never used comes first, as it is listed.
    order = sorted(named, key=lambda name: uses.get(name, -1))
    chosen = order[len(order) - round(share * len(order)) :]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (named[name] for name in chosen):
            drawn = torch.randn(tensor.shape, generator=generator).to(tensor)
            spread = tensor.std() if tensor.numel() > 1 else tensor.abs().mean()
            tensor.copy_(tensor.mean() + spread * drawn)
    first = min((uses.get(name, -1) for name in chosen), default=len(uses))
    for path, module in twin.module.named_modules():
        statistics = uses.get(f"{path}.running_mean".removeprefix("."), -1)
        if (
            isinstance(module, _BatchNorm | _InstanceNorm)
            and module.track_running_stats
            and statistics >= first
        ):
            module.reset_running_stats()
    return twin


def _question(model: Model) -> str | None:
    return (
        "What is this?"
        if any(feature.kind == TextFeature.kind for feature in model.features)
        else None
    )


def order_of_use(model: Model, example: Example) -> dict[str, int]:
    """Name of each tensor of the network → the number of the last call in a forward pass that
    takes it in.
    """
    names = {
        id(tensor): name
        for name, tensor in (*model.module.named_parameters(), *model.module.named_buffers())
    }
    watched = _Watch(names)
    with torch.no_grad():
        encoded = model.encode(example)
        if model.labels is None:
            encoded = cast(OpenModel, model).with_answers(encoded, ["yes"])
        with watched:
            model.scores(encoded, model.leaves(encoded))
    return watched.uses


class _Watch(TorchFunctionMode):
    """Notes the calls that take in the tensors of a network, as modules and as functions alike."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()
        self.names, self.uses, self.calls = names, dict[str, int](), 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name == "__get__":  # of an attribute
            name = getattr(getattr(func, "__self__", None), "__name__", "")
        if name in _LOOKING:
            return found
        self.calls += 1
        for tensor in _tensors([*args, *(kwargs or {}).values()]):
            if id(tensor) in self.names:
                self.uses[self.names[id(tensor)]] = self.calls
        return found


# What looks at a tensor without computing with it.
_LOOKING = (
    "shape",
    "dtype",
    "device",
    "requires_grad",
    "is_leaf",
    "ndim",
    "grad_fn",
    "layout",
    "size",
    "dim",
    "numel",
)


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@register_metric(
    "parameter_randomization",
    source="Adebayo et al. 2018, section 3.1",
    better=LOWER,
    range="−1 … 1",
    needs={"weights"},
)
@dataclass(frozen=True)
class ParameterRandomization:
    """How alike |a| stays, over pixels and words, when the model's layers are drawn anew from the
    answer downwards.

    Adebayo et al. 2018, section 3.1 (cascading), the mean over a third, two thirds and all of the
    tensors of weights, in the order in which a forward pass uses them, batch normalization's
    statistics with them: Spearman's correlation of players, or SSIM of pixels. Near 1, the
    explanation does not depend on the model. A stage at which the network overflows, or at which
    all values are alike, is left out of the mean, with a note.
    """

    measure: str = parameter("spearman", "of players, or of pixels", choices=("spearman", "ssim"))

    def __call__(self, case: Case) -> float | Noted:
        assert case.twin is not None
        found = []
        for share in STAGES:
            twin = case.twin(share)
            try:
                inputs = case.task.encoded.inputs
                free = [one.name for one in inputs if not one.fixed]
                encoded = with_players(twin.encode(case.example), free)
                if twin.labels is None:  # the candidates are the example's own
                    encoded = cast(OpenModel, twin).with_answers(
                        encoded,
                        case.task.encoded.labels,
                        known=candidates_of(case.task.encoded).known,
                    )
                    encoded = behind(encoded, candidates_of(case.task.encoded))
                there = case.of(case.method, case.again(encoded, twin), case.task.cost)  # type: ignore[arg-type]
            except VQAExplainError:
                continue  # a randomized network may overflow; the other stages still speak
            alike = self._alike(case, there)
            found += [] if np.isnan(alike) else [alike]
        if not found:
            raise NotMeasured("at no stage do both explanations have values that differ")
        mean = float(np.mean(found))
        if len(found) == len(STAGES):
            return mean
        return Noted(mean, f"only {len(found)} of {len(STAGES)} stages could be compared")

    def _alike(self, one: Case, other: Case) -> float:
        if self.measure == "ssim":
            names = [picture.name for picture in one.pictures]
            found = [_similarity(one.explanation[n], other.explanation[n]) for n in names]
            return float(np.mean(found))
        from scipy.stats import rankdata

        ranks = [rankdata(np.abs(c.values)) for c in (one, other)]
        if min(r.std() for r in ranks) == 0:
            return float("nan")
        return float(np.corrcoef(*ranks)[0, 1])


def _similarity(one: Part, other: Part) -> float:
    """SSIM of two maps of the sizes of values of one picture, each with its largest as 1."""
    from skimage.metrics import structural_similarity

    assert isinstance(one, PicturePart)
    assert isinstance(other, PicturePart)
    maps = [np.abs(part.image) for part in (one, other)]
    maps = [m / m.max() if m.max() > 0 else m for m in maps]
    side = min(7, *maps[0].shape)
    found = structural_similarity(*maps, data_range=1.0, win_size=side - (side + 1) % 2)
    return float(found)
