"""A picture as the features of a detector's boxes, for networks that see no pixels.

The frame is the list of boxes, R × 1: the image leaf is (1, F, R, 1), so that sums over its
channels are one value per box, and `BoxGeometry` carries them to the picture.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature
from vqa_explain.features.geometry import BoxGeometry
from vqa_explain.features.image import ImageFeature, Picture, baseline
from vqa_explain.features.text import Text
from vqa_explain.models.base import Leaves, described, own_labels
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.outputs import kind_of_outputs
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import all_absent, read_question, stand_in

Detector = Callable[[np.ndarray], tuple[Any, Any]]


def read_boxes(
    example: Example,
    picture: np.ndarray,
    detector: Detector | None,
    width: int,
    module: Any,
    name: str,
) -> Picture:
    """The boxes that an example brings, or that a detector finds in its picture.

    Args:
        example: perhaps with `features` (R, F) and `boxes` (R, 4).
        picture: (H, W, 3) uint8.
        detector: gives these of a picture.
        width: F, how many features of a box the network takes.
        module: the network, on whose device and in whose number type they are to be.
        name: the model's, for errors.

    Raises:
        InvalidInput: there are none, or they do not fit each other or the network.
    """
    if example.features is not None and example.boxes is not None:
        found: tuple[Any, Any] = (example.features, example.boxes)
    elif detector is not None:
        found = detector(picture)
    else:
        raise InvalidInput(
            f"model {name!r} sees boxes, not pixels: load it with boxes= a detector, or give an "
            "Example with features (R, F) and boxes (R, 4)"
        )
    features, boxes = torch.as_tensor(np.asarray(found[0])), np.asarray(found[1], dtype=float)
    if features.ndim != 2 or features.shape[1] != width or not len(features):
        raise InvalidInput(f"features of boxes must be (R, {width}), not {tuple(features.shape)}")
    if boxes.shape != (len(features), 4) or not np.isfinite(boxes).all():
        raise InvalidInput(
            f"boxes must be ({len(features)}, 4), as there are features; got {boxes.shape}"
        )
    pixels = features.T[None, :, :, None].to(module.device, module.dtype)
    geometry = BoxGeometry(picture.shape[:2], boxes)
    return Picture(picture, pixels, geometry, (len(boxes), 1))


def answers_of(module: nn.Module, labels: Any, count: int, name: str) -> tuple[str, ...]:
    """The answers of a network with `count` scores: those given, its own, or numbered ones.

    Raises:
        InvalidInput: another number of labels was given.
    """
    named = read_labels(labels) if labels is not None else own_labels(module)
    if labels is not None and len(named) != count:
        raise InvalidInput(f"model {name!r} has {count} answers and {len(named)} labels were given")
    return named if len(named) == count else tuple(f"answer {i}" for i in range(count))


class BoxModel:
    """What adapters of networks that see a detector's boxes and a question share.

    Args:
        tokenizer: the network's.
        detector: gives features (R, F) and boxes (R, 4) (left, top, right, bottom in pixels) of a
            picture (H, W, 3) uint8; without one, each `Example` brings its `features` and `boxes`.
        labels: the answers, in the order of its scores, if its configuration does not name them.
        outputs: what its scores are, if its configuration does not say so.
    """

    count_setting: ClassVar[str]  # what its configuration calls the number of answers
    width_setting: ClassVar[str]  # and the number of features of a box

    __repr__ = described

    @staticmethod
    def text_feature(tokenizer: Any) -> Feature:
        """How a question is read, and what its absent words become."""
        raise NotImplementedError

    @property
    def embedding(self) -> nn.Module:
        """The network's layer of word embeddings."""
        raise NotImplementedError

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        detector: Detector | None,
        labels: Any,
        name: str,
        device: torch.device,
        outputs: str | None = None,
    ) -> None:
        self.name, self.device = name, device
        self.module = placed(module, device, name)
        self.tokenizer, self._detector = tokenizer, detector
        count = getattr(module.config, self.count_setting)
        self.labels: tuple[str, ...] = answers_of(module, labels, count, name)
        self.kind = kind_of_outputs(outputs, module.config, count, name)
        image = ImageFeature(fills=("drop", "mean", "constant"), default_fill="drop")
        self.features: tuple[Feature, ...] = (image, self.text_feature(tokenizer))

    def encode(self, example: Example) -> Encoded:
        limit = self.module.config.max_position_embeddings
        ids, tokens, words = read_question(self.tokenizer, example.question, limit, self.name)
        picture = read_image(example.image)
        width = getattr(self.module.config, self.width_setting)
        image = read_boxes(example, picture, self._detector, width, self.module, self.name)
        text = Text(str(example.question), ids.to(self.device), tokens, words)
        return Encoded(example, read_inputs(self.features, image, text), self.labels)

    def words(self, ids: Tensor) -> Tensor:
        """(B, T, D) embeddings of tokens (B, T)."""
        result: Tensor = self.embedding(ids)
        return result

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone(), "question": self.words(encoded.ids).detach()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        # An absent box has no value that a leaf could take: the nearest is the mean of all boxes.
        ids = all_absent(encoded.ids, encoded.tokens, stand_in(self.tokenizer, fills["question"]))
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed, "mean")
        return {"image": image, "question": self.words(ids).detach()}

    def default_layer(self, encoded: Encoded) -> str:
        raise Unsupported(
            f"model {self.name!r} sees features of boxes, so none of its layers has a map"
        )
