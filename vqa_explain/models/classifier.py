"""Image classifiers: any module that gives logits (B, K) for pixels (B, 3, H, W)."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature
from vqa_explain.features.image import ImageFeature, baseline, fill_in
from vqa_explain.features.regions import Regions
from vqa_explain.models.base import Attention, Encoded, Leaves, Positions, own_labels, parameters_frozen
from vqa_explain.models.labels import read_labels
from vqa_explain.models.maps import cells_of, last_map
from vqa_explain.models.outputs import check_count, check_raw, in_graph, kind_of_outputs
from vqa_explain.models.quick import Quick
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.transforms import apply_transform, timm_labels, trace_geometry

GRID = (7, 7)  # the regions of a classifier that has no division of its own


@holds_network
class ClassifierModel:
    """Adapter of an image classifier with one feature; see `models.base.Model`.

    Args:
        module: gives logits (B, K), or an object with `.logits`.
        transform: a torchvision transform (Compose, or a weights' preset) or a transformers image processor.
        labels: the K class names: see `models.labels`.
        outputs: what the K outputs are, "softmax", "sigmoid" or "real": see `models.outputs`.

    Raises:
        InvalidInput: labels cannot be used, or there is one output and nobody says what it is.
    """

    family = "classifier"
    features: tuple[Feature, ...] = (ImageFeature(),)
    capabilities = frozenset({"gradients", "pixels"})

    def __init__(
        self,
        module: nn.Module,
        transform: Any,
        labels: Any,
        name: str,
        device: torch.device,
        outputs: str | None = None,
    ) -> None:
        self.name = name
        self.device = device
        self.module = module.to(device)
        if hasattr(transform, "meta") and callable(getattr(transform, "transforms", None)):  # torchvision's weights
            labels = transform.meta.get("categories") if labels is None else labels
            transform = transform.transforms()
        self._prepare = transform
        self._checked = False
        self._quick = Quick(self.module, self._logits)
        self.labels: tuple[str, ...] = (
            read_labels(labels) if labels is not None else own_labels(module) or timm_labels(module)
        )
        self.kind = kind_of_outputs(outputs, getattr(module, "config", None), len(self.labels) or None, name)
        # Their attention runs from the first token, which the answer is read from, to every patch.
        if getattr(getattr(module, "config", None), "model_type", "") in ("vit", "deit"):
            self.capabilities = self.capabilities | {"attention", "flow"}

    def encode(self, example: Example) -> Encoded:
        picture = read_image(example.image)
        image = Image.fromarray(picture)
        pixels = apply_transform(self._prepare, image, self.name).to(self.device, _floats(self.module))
        frame = (pixels.shape[2], pixels.shape[3])
        geometry = trace_geometry(self._prepare, picture.shape[:2], frame)
        grid = (min(GRID[0], frame[0]), min(GRID[1], frame[1]))
        encoded = Encoded(example, picture, pixels, geometry, grid)
        self._check_output(encoded)
        return replace(encoded, labels=self.labels)

    def _check_output(self, encoded: Encoded) -> None:
        if self._checked:
            return
        logits = in_graph(lambda pixels: self.scores(encoded, {"image": pixels}), encoded.pixels)
        if logits.ndim != 2 or len(logits) != 1:
            raise InvalidInput(f"model {self.name!r} gives scores of shape {tuple(logits.shape)}, not (B, K)")
        if not self.labels:
            self.labels = tuple(f"class {i}" for i in range(logits.shape[1]))
        if len(self.labels) != logits.shape[1]:
            raise InvalidInput(
                f"model {self.name!r} has {logits.shape[1]} classes and {len(self.labels)} labels were given"
            )
        check_count(logits.shape[1], self.kind, self.name)
        check_raw(logits, self.kind, self.name)
        self._checked = True

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone()}

    def baselines(self, encoded: Encoded, fills: dict[str, str], seed: int) -> Leaves:
        return {"image": baseline(encoded.pixels, fills["image"], seed)}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        if len(leaves["image"]) > 1 and not torch.is_grad_enabled():
            return self._quick(encoded, leaves["image"])
        with parameters_frozen(self.module):
            return self._logits(leaves["image"])

    def _logits(self, pixels: Tensor) -> Tensor:
        output = self.module(pixels)
        return output if isinstance(output, Tensor) else output.logits

    @torch.no_grad()
    def coalition_scores(
        self, encoded: Encoded, regions: Regions, shown: Tensor, said: Tensor, fills: dict[str, str], seed: int
    ) -> Tensor:
        pixels = fill_in(encoded.pixels, regions.pixels(shown), fills["image"], seed)
        return self._quick(encoded, pixels)

    def positions(self, encoded: Encoded, length: int) -> Positions:
        first, side = cells_of(length)
        if side < 2:
            raise InvalidInput(f"a layer of {length} states does not hold a square of patches; choose another")
        return Positions(np.arange(0), np.arange(first, length), (side, side))

    def attention(self, encoded: Encoded) -> Attention:
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            found = self.module(encoded.pixels.clone().requires_grad_(True), output_attentions=True)
        return Attention(found.logits, tuple(found.attentions), 0)

    def default_layer(self, encoded: Encoded) -> str:
        return last_map(self, encoded)


def _floats(module: nn.Module) -> torch.dtype:
    """The number type that the network computes in."""
    return next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), torch.float32)
