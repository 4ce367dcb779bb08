"""LXMERT for question answering: it sees features of a detector's boxes, which are the regions.

The frame is the list of boxes, R × 1: the image leaf is (1, F, R, 1), so that sums over its
channels are one value per box, and `BoxGeometry` carries them to the picture.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.geometry import BoxGeometry
from vqa_explain.features.image import BLANKS, ImageFeature, Picture, baseline
from vqa_explain.features.text import Text
from vqa_explain.models.attending import CrossLayer, Positions, SelfLayer, Streams
from vqa_explain.models.base import Leaves, described, own_labels
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.network import method_replaced, parameters_frozen
from vqa_explain.models.outputs import kind_of_outputs
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import (
    all_absent,
    read_question,
    stand_in,
    text_feature,
    words_replaced,
)

Detector = Callable[[np.ndarray], tuple[Any, Any]]


@holds_network
class LxmertModel:
    """Adapter of `transformers.LxmertForQuestionAnswering`; see `models.base.Model`.

    Args:
        tokenizer: its tokenizer.
        detector: gives features (R, F) and boxes (R, 4) (left, top, right, bottom in pixels) of a
            picture (H, W, 3) uint8; without one, each `Example` brings its `features` and `boxes`.
        labels: the answers, in the order of its scores, if its configuration does not name them.
    """

    family = "lxmert"
    capabilities = frozenset({"gradients", "drop", "flow"})

    __repr__ = described

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
        count = module.config.num_qa_labels
        named = read_labels(labels) if labels is not None else own_labels(module)
        if labels is not None and len(named) != count:
            raise InvalidInput(
                f"model {name!r} has {count} answers and {len(named)} labels were given"
            )
        self.labels: tuple[str, ...] = (
            named if len(named) == count else tuple(f"answer {i}" for i in range(count))
        )
        self.kind = kind_of_outputs(outputs, module.config, count, name)
        image = ImageFeature(fills=("drop", "mean", "constant"), default_fill="drop")
        self.features: tuple[Feature, ...] = (image, text_feature(tokenizer))

    def encode(self, example: Example) -> Encoded:
        limit = self.module.config.max_position_embeddings
        ids, tokens, words = read_question(self.tokenizer, example.question, limit, self.name)
        picture = read_image(example.image)
        features, boxes = self._detected(example, picture)
        pixels = features.T[None, :, :, None].to(self.device, self.module.dtype)
        geometry = BoxGeometry(picture.shape[:2], boxes)
        grid = (len(boxes), 1)
        image = Picture(picture, pixels, geometry, grid)
        text = Text(str(example.question), ids.to(self.device), tokens, words)
        return Encoded(example, read_inputs(self.features, image, text), self.labels)

    def _detected(self, example: Example, picture: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Features (R, F) and boxes (R, 4) of the picture."""
        if example.features is not None and example.boxes is not None:
            found: tuple[Any, Any] = (example.features, example.boxes)
        elif self._detector is not None:
            found = self._detector(picture)
        else:
            raise InvalidInput(
                f"model {self.name!r} sees boxes, not pixels: load it with boxes= a detector, or "
                "give an Example with features (R, F) and boxes (R, 4)"
            )
        features, boxes = torch.as_tensor(np.asarray(found[0])), np.asarray(found[1], dtype=float)
        wide = self.module.config.visual_feat_dim
        if features.ndim != 2 or features.shape[1] != wide or not len(features):
            raise InvalidInput(
                f"features of boxes must be (R, {wide}), not {tuple(features.shape)}"
            )
        if boxes.shape != (len(features), 4) or not np.isfinite(boxes).all():
            raise InvalidInput(
                f"boxes must be ({len(features)}, 4), as there are features; got {boxes.shape}"
            )
        return features, boxes

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone(), "question": self._words(encoded.ids).detach()}

    def _words(self, ids: Tensor) -> Tensor:
        result: Tensor = self.module.lxmert.embeddings.word_embeddings(ids)
        return result

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        # An absent box has no value that a leaf could take: the nearest is the mean of all boxes.
        ids = all_absent(encoded.ids, encoded.tokens, stand_in(self.tokenizer, fills["question"]))
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed, "mean")
        return {"image": image, "question": self._words(ids).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        with parameters_frozen(self.module):
            return self._answer(encoded, leaves["image"], leaves["question"], None, None)

    def _answer(
        self,
        encoded: Encoded,
        image: Tensor,
        words: Tensor,
        seen: Tensor | None,
        heard: Tensor | None,
    ) -> Tensor:
        """Logits (B, K) of features (B, F, R, 1), embeddings (B, T, D),
        and which of them there are (B, R), (B, T).
        """
        batch = len(words)
        assert isinstance(encoded.geometry, BoxGeometry)
        places = torch.from_numpy(encoded.geometry.shares).to(image).expand(batch, -1, -1)
        if seen is not None:
            places = places * seen[:, :, None]
        with words_replaced(self.module.lxmert.embeddings.word_embeddings, words):
            result: Tensor = self.module(
                input_ids=encoded.ids.expand(batch, -1),
                visual_feats=image[..., 0].transpose(1, 2).expand(batch, -1, -1),
                visual_pos=places,
                attention_mask=heard,
                visual_attention_mask=seen,
            ).question_answering_score
            return result

    def streams(self, encoded: Encoded) -> Streams:
        """One forward pass whose attention can be differentiated, layer by layer."""
        with self._watched() as caught, parameters_frozen(self.module), torch.enable_grad():
            leaves = {
                name: leaf.requires_grad_(True) for name, leaf in self.leaves(encoded).items()
            }
            scores = self._answer(encoded, leaves["image"], leaves["question"], None, None)
        encoder = self.module.lxmert.encoder
        layers: list[SelfLayer | CrossLayer] = []
        layers += [
            SelfLayer("question", caught[block.attention.self][0]) for block in encoder.layer
        ]
        layers += [
            SelfLayer("image", caught[block.attention.self][0]) for block in encoder.r_layers
        ]
        for block in encoder.x_layers:
            # One module for both directions: words look first.
            both = caught[block.visual_attention.att]
            layers.append(
                CrossLayer({("question", "image"): both[0], ("image", "question"): both[1]})
            )
            layers.append(SelfLayer("question", caught[block.lang_self_att.self][0]))
            layers.append(SelfLayer("image", caught[block.visn_self_att.self][0]))
        sizes = {"question": len(encoded.tokens), "image": encoded.grid[0]}
        return Streams(scores, sizes, tuple(layers), ("question", 0))

    @contextmanager
    def _watched(self) -> Iterator[dict[Any, list[Tensor]]]:
        """Attention probabilities (1, heads, N, M) of every attention module,
        in the order of its calls.
        """
        caught: dict[Any, list[Tensor]] = {}

        def watch(module: Any) -> Callable[..., Any]:
            plain = module.forward

            def forward(*args: Any, output_attentions: bool = False, **kwargs: Any) -> Any:
                states, probabilities = plain(*args[:3], output_attentions=True, **kwargs)
                caught.setdefault(module, []).append(probabilities)
                return (states, probabilities) if output_attentions else (states,)

            return forward

        with ExitStack() as undo:
            for module in self.module.modules():
                if type(module).__name__ == "LxmertAttention":
                    undo.enter_context(method_replaced(module, "forward", watch(module)))
            yield caught

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        raise Unsupported(
            f"model {self.name!r} has no layer that holds words and boxes in one sequence"
        )

    def default_layer(self, encoded: Encoded) -> str:
        raise Unsupported(
            f"model {self.name!r} sees features of boxes, so none of its layers has a map"
        )

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        boxes, said = present["image"].elements[..., 0], present["question"].elements
        image, seen = encoded.pixels.expand(len(boxes), -1, -1, -1), None
        if fills["image"] == "drop":
            seen = boxes.float()
            # With no box left, attention has nowhere to go and falls on all of them evenly: they
            # must show nothing.
            image = image * seen[:, None, :, None]
        else:
            blank = BLANKS[fills["image"]](encoded.pixels, seed)
            image = torch.where(boxes[:, None, :, None], encoded.pixels, blank)
        ids, heard = encoded.ids.expand(len(said), -1), None
        if fills["question"] == "mask":
            ids = torch.where(said, ids, stand_in(self.tokenizer, "mask"))
        else:
            heard = said.float()
        return self._answer(encoded, image, self._words(ids), seen, heard)
