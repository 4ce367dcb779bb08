"""Image classifiers: any module that gives logits (B, K) for pixels (B, 3, H, W)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.image import ImageFeature, Picture, baseline, fill_in
from vqa_explain.models.attending import Attention, Positions
from vqa_explain.models.base import Leaves, described, own_labels
from vqa_explain.models.calling import (
    Call,
    NetworkCall,
    check_arguments,
    has_gradients,
    quantized_layer,
    without_gradients,
)
from vqa_explain.models.checking import check_first
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.fast.quick import Quick
from vqa_explain.models.labels import read_labels
from vqa_explain.models.maps import last_map, positions_by, sequence_positions
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.outputs import check_count, check_raw, in_graph, kind_of_outputs
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.sources import GRID
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.transforms import picture_reader, timm_labels
from vqa_explain.models.unwrapping import placed


@holds_network
class ClassifierModel:
    """Adapter of an image classifier with one feature; see `models.base.Model`.

    Args:
        module: gives logits (B, K), or holds them in an object, tuple or dict: see
            `models.calling`.
        transform: a torchvision transform (Compose, or a weights' preset) or a transformers image
            processor.
        labels: the K class names: see `models.labels`.
        outputs: what the K outputs are, "softmax", "sigmoid" or "real": see `models.outputs`.
        call: calls the module with pixels (B, C, H, W) where `module(pixels)` will not do, and
            returns the logits.

    Raises:
        InvalidInput: labels cannot be used, there is one output and nobody says what it is, or the
            module needs more than a picture and there is no `call`.
    """

    family = "classifier"
    features: tuple[Feature, ...] = (ImageFeature(),)
    capabilities: frozenset[str] = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(
        self,
        module: nn.Module,
        transform: Any,
        labels: Any,
        name: str,
        device: torch.device,
        outputs: str | None = None,
        call: Call | None = None,
    ) -> None:
        check_arguments(module, ("a picture",), name, call)
        self.name = name
        self.device = device
        self.module = placed(module, device, name)
        # Torchvision's weights.
        if hasattr(transform, "meta") and callable(getattr(transform, "transforms", None)):
            labels = transform.meta.get("categories") if labels is None else labels
            transform = transform.transforms()
        # What results depend on besides the network: a resumed run compares it.
        self.given = {"transform": transform, "call": call}
        self._pictures = picture_reader(transform, name)
        self._checked = False
        self.unchecked = False  # whether the self-check waits for the first example
        self._call = call
        self._network = NetworkCall(self.module, self._raw, name)
        self._quick = Quick(self.module, self._network.once)
        self.labels: tuple[str, ...] = (
            read_labels(labels) if labels is not None else own_labels(module) or timm_labels(module)
        )
        self.kind = kind_of_outputs(
            outputs, getattr(module, "config", None), len(self.labels) or None, name
        )
        # Their attention runs from the first token, which the answer is read from, to every patch.
        if getattr(getattr(module, "config", None), "model_type", "") in ("vit", "deit"):
            self.capabilities = self.capabilities | {"attention", "flow"}
        if quantized_layer(self.module) is not None:
            self.capabilities = without_gradients(self.capabilities)

    @property
    def at_once(self) -> int | None:
        """How many pictures the network takes in one call, exactly; `None` for any number."""
        return self._network.at_once

    def encode(self, example: Example) -> Encoded:
        picture = read_image(example.image)
        pixels, geometry = self._pictures.read(picture)
        if not self._checked:
            self._network.measure(len(self.labels) or None, pixels.to(self.device))
        pixels = pixels.to(self.device, self._network.number_type)
        frame = geometry.frame
        grid = (min(GRID[0], frame[0]), min(GRID[1], frame[1]))
        image = Picture(picture, pixels, geometry, grid)
        encoded = Encoded(example, read_inputs(self.features, image))
        self._check_output(encoded)
        if self.unchecked:
            check_first(self, Example(example.image))  # it may bring a question
        return replace(encoded, labels=self.labels)

    def _check_output(self, encoded: Encoded) -> None:
        if self._checked:
            return
        logits = in_graph(lambda pixels: self.scores(encoded, {"image": pixels}), encoded.pixels)
        if logits.ndim != 2 or len(logits) != 1:
            raise InvalidInput(
                f"model {self.name!r} gives scores of shape {tuple(logits.shape)} for one picture, "
                "not (1, K); reshape them with call=, such as call=lambda module, pixels: "
                "module(pixels).reshape(len(pixels), -1)"
            )
        if not self.labels:
            self.labels = tuple(f"class {i}" for i in range(logits.shape[1]))
        if len(self.labels) != logits.shape[1]:
            raise InvalidInput(
                f"model {self.name!r} has {logits.shape[1]} classes and {len(self.labels)} labels "
                "were given"
            )
        check_count(logits.shape[1], self.kind, self.name)
        check_raw(logits, self.kind, self.name)
        if not has_gradients(self.module, self._differentiable, [encoded.pixels]):
            self.capabilities = without_gradients(self.capabilities)
        self._checked = True

    def plain_scores(self, encoded: Encoded) -> Tensor:
        return self._network(encoded.pixels.clone())  # some networks work on it in place

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        return {"image": baseline(encoded.pixels, encoded.geometry, fills["image"], seed)}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        if len(leaves["image"]) > 1 and not torch.is_grad_enabled():
            return self._many(encoded, leaves["image"])
        return self._differentiable(leaves["image"])

    def _differentiable(self, pixels: Tensor) -> Tensor:
        with parameters_frozen(self.module):
            return self._network(pixels)

    def _many(self, encoded: Encoded, pixels: Tensor) -> Tensor:
        """Logits (B, K) without gradients."""
        return self._quick(encoded, pixels) if self.at_once is None else self._network(pixels)

    def _raw(self, pixels: Tensor) -> Any:
        return self.module(pixels) if self._call is None else self._call(self.module, pixels)

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        pixels = fill_in(encoded.pixels, present["image"].elements, fills["image"], seed)
        return self._many(encoded, pixels)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        if layer is not None:
            return sequence_positions(self, encoded, length, layer)
        return positions_by(self, encoded, length, self._first_states, "the attention")

    def _first_states(self, pixels: Tensor) -> Tensor:
        """(B, N, D) the states behind the first layer, where a patch has looked about the least."""
        found: Tensor = self.module(pixels, output_hidden_states=True).hidden_states[1]
        return found

    def attention(self, encoded: Encoded) -> Attention:
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            pixels = encoded.pixels.clone().requires_grad_(True)
            asked = {"output_attentions": True, "output_hidden_states": True}
            found = self.module(pixels, **asked)
        return Attention(found.logits, tuple(found.attentions), self._readout(encoded, found))

    def _readout(self, encoded: Encoded, found: Any) -> tuple[int, ...]:
        """The tokens whose last states the logits depend on: a distilled DeiT has two.

        Raises:
            Unsupported: they depend on the patches too.
        """
        last = found.hidden_states[-1]
        slope = torch.autograd.grad(found.logits.sum(), last, retain_graph=True, allow_unused=True)[
            0
        ]
        if slope is None:
            raise Unsupported(f"the scores of model {self.name!r} do not depend on its last states")
        used = np.flatnonzero(slope[0].abs().sum(dim=1).cpu().numpy())
        patches = self.positions(encoded, last.shape[1]).of["image"]
        if np.isin(used, patches).any():
            raise Unsupported(
                f"model {self.name!r} reads its answer from the patches themselves, so no token's "
                "attention says what it looked at; use another method, such as integrated_gradients"
            )
        return tuple(used.tolist())

    def default_layer(self, encoded: Encoded) -> str:
        return last_map(self, encoded)
