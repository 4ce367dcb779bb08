"""A network of videos whose values are known."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

import vqa_explain as vx
from vqa_explain.examples import Example
from vqa_explain.features.base import Input, Present, named
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.features.image import ImageFeature, Picture, fill_in
from vqa_explain.models.attending import Positions
from vqa_explain.models.encoded import Encoded

SIDE, FRAMES = 4, 4


class LinearVideo:
    """A sum over all pixels of all frames, each with a weight of its own,
    plus a product of two frames' means.
    """

    name, family, kind = "linear video", "videos", "real"
    capabilities = frozenset({"gradients", "pixels"})
    labels: tuple[str, ...] = ("brightness",)
    open_inputs = True

    def __init__(self, product: float = 0.0) -> None:
        self.module = nn.Identity()
        self.device = torch.device("cpu")
        self.features = (ImageFeature(),)
        self.weights = torch.from_numpy(
            np.random.default_rng(5).normal(size=(FRAMES, 3, SIDE, SIDE))
        ).float()
        self.product = product

    def encode(self, example: Example) -> Encoded:
        inputs = []
        for number, frame in enumerate(example.given[0].value):
            picture = np.asarray(frame)
            pixels = torch.from_numpy(picture / 255).float().permute(2, 0, 1)[None]
            geometry = AlignedGeometry.resized((SIDE, SIDE), (SIDE, SIDE))
            feature = named(ImageFeature(default_fill="constant"), f"clip frame {number + 1}")
            content = Picture(picture, pixels, geometry, (2, 2))
            inputs.append(Input(feature, content, group="clip"))
        return Encoded(example, tuple(inputs), self.labels)

    def leaves(self, encoded: Encoded) -> dict[str, Tensor]:
        return {one.name: one.content.pixels.clone() for one in encoded.inputs}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> dict[str, Tensor]:
        return {one.name: torch.zeros_like(one.content.pixels) for one in encoded.inputs}

    def scores(self, encoded: Encoded, leaves: Mapping[str, Tensor]) -> Tensor:
        frames = torch.stack(list(leaves.values()), dim=1)
        linear = (frames * self.weights).flatten(1).sum(1)
        joint = self.product * frames[:, 0].mean((1, 2, 3)) * frames[:, 1].mean((1, 2, 3))
        return (linear + joint)[:, None]

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        frames = {
            one.name: fill_in(one.content.pixels, present[one.name].elements, "constant", seed)
            for one in encoded.inputs
        }
        return self.scores(encoded, frames)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        raise vx.Unsupported("it has no layers")

    def default_layer(self, encoded: Encoded) -> str:
        raise vx.Unsupported("it has no layers")
