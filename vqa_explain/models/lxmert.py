"""LXMERT for question answering: it sees features of a detector's boxes, which are the regions.

The frame is the list of boxes, R × 1: the image leaf is (1, F, R, 1), so that sums over its
channels are one value per box, and `BoxGeometry` carries them to the picture.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from vqa_explain.errors import Unsupported
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.geometry import BoxGeometry
from vqa_explain.features.image import BLANKS
from vqa_explain.models.attending import CrossLayer, Positions, SelfLayer, Streams
from vqa_explain.models.base import Leaves
from vqa_explain.models.boxes import BoxModel
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.network import method_replaced, parameters_frozen
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.wording import (
    stand_in,
    text_feature,
    words_replaced,
)


@holds_network
class LxmertModel(BoxModel):
    """Adapter of `transformers.LxmertForQuestionAnswering`; see `models.base.Model`.

    Its arguments are those of `BoxModel`.
    """

    family = "lxmert"
    capabilities = frozenset({"gradients", "drop", "flow"})

    count_setting, width_setting = "num_qa_labels", "visual_feat_dim"

    @staticmethod
    def text_feature(tokenizer: Any) -> Feature:
        return text_feature(tokenizer)

    @property
    def embedding(self) -> Any:
        return self.module.lxmert.embeddings.word_embeddings

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
        with words_replaced(self.embedding, words):
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
        return self._answer(encoded, image, self.words(ids), seen, heard)
