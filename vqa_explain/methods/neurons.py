"""What words and regions do to the score by way of one unit of a layer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput
from vqa_explain.games.quadrature import gauss
from vqa_explain.methods.base import Attribution, Task, of_leaves, register_method, total
from vqa_explain.methods.inside import InSteps, parts_of
from vqa_explain.methods.states import of_example, output_at, passed_through
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter

GAP = "completeness gap of the same steps over all units"


@register_method(
    "neuron_conductance",
    source="Dhamdhere et al. 2018, arXiv:1805.12233, equation 2, as Captum's NeuronConductance",
    unit=units.POINTS,
    needs={"gradients", "pixels"},
    error=GAP,
    cost="steps + 4 forwards, steps backwards, and as many from the layer on",
)
@dataclass(frozen=True)
class NeuronConductance(InSteps):
    """(x − x') · ∫ ∂f/∂A · ∂A/∂x dα: the part of integrated gradients that runs through one unit A
    of a layer.

    Of a unit with many positions it is the sum over them; `position` takes one. Over all units of a
    layer that everything passes through, it adds up to integrated gradients. The error is how far
    integrated gradients with these steps are from the score's change.

    Raises:
        InvalidInput: the layer has no such unit or position, or runs several times.
    """

    neuron: int = parameter(0, "number of the unit in the layer, from 0", low=0)
    position: int | None = parameter(
        None,
        "one of the unit's positions, from 0: a token's, or row × columns + column of a map "
        "(default: all)",
        low=0,
    )

    def __call__(self, task: Task) -> Attribution:
        layer, between = self.path(task), self.between(task)
        part = self._part(task, layer)
        nodes, weights = gauss(self.steps)
        known = dict(zip(nodes.tolist(), weights.tolist(), strict=True))
        away = {name: leaf - between.start[name] for name, leaf in task.leaves().items()}
        through: dict[str, np.ndarray] = {}
        whole = 0.0

        def run(leaves: Leaves) -> tuple[Leaves, Leaves]:
            return passed_through(task, layer, leaves, part)

        for places, (own, every) in between.batches(nodes, run):
            share = np.array([known[place] for place in places.tolist()])
            for name, values in _sums(task, away, own, share).items():
                through[name] = through.get(name, 0.0) + values
            whole += total(_sums(task, away, every, share))
        with torch.no_grad():
            ends = [float(task.score(leaves)) for leaves in (task.leaves(), between.start)]
        return Attribution(through, abs(whole - (ends[0] - ends[1])), GAP)

    def _part(self, task: Task, layer: str) -> Tensor:
        """(…) bool, the unit's elements in what the layer gives for the example."""
        with torch.no_grad():
            state = output_at(task, layer, task.leaves())
        shape = of_example(task, layer, [in_float64(state[0])])
        found = _numbered(parts_of(task, layer, shape, "unit"), self.neuron, layer, "unit")
        if self.position is None:
            return found
        places = parts_of(task, layer, shape, "position") if shape.ndim > 1 else found[None]
        return found & _numbered(places, self.position, layer, "position")


def _numbered(parts: Tensor, number: int, layer: str, what: str) -> Tensor:
    """One of a layer's units or positions (P, …).

    Raises:
        InvalidInput: it has none of this number.
    """
    if number >= len(parts):
        raise InvalidInput(
            f"layer {layer!r} has no {what} {number}; its {len(parts)} {what}s are numbered 0 to "
            f"{len(parts) - 1}"
        )
    return parts[number]


def _sums(task: Task, away: Leaves, slopes: Leaves, share: np.ndarray) -> dict[str, np.ndarray]:
    """Input name → values (…): the weighted sum over points of slopes (n, …) times the way."""
    products = {name: away[name] * slope for name, slope in slopes.items()}
    values = of_leaves(task.encoded, products)
    return {name: np.tensordot(share, one, axes=1) for name, one in values.items()}
