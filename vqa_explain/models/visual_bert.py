"""VisualBERT for question answering: one stream of words and of a detector's boxes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.image import BLANKS
from vqa_explain.features.text import TextFeature
from vqa_explain.models.attending import Attention, Positions
from vqa_explain.models.base import Leaves
from vqa_explain.models.boxes import BoxModel
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.wording import stand_in, words_replaced


@holds_network
class VisualBertModel(BoxModel):
    """Adapter of `transformers.VisualBertForQuestionAnswering`; see `models.base.Model`.

    The network finds the token that it answers from, the last before the end token, by counting
    the tokens that are attended to. So absent words become the mask token and stay attended to;
    with fill "drop", absent boxes are not attended to.

    Its arguments are those of `BoxModel`.
    """

    family = "visual bert"
    capabilities: frozenset[str] = frozenset({"gradients", "drop", "attention", "flow"})

    count_setting, width_setting = "num_labels", "visual_embedding_dim"

    @staticmethod
    def text_feature(tokenizer: Any) -> Feature:
        return TextFeature(fills=("mask",), default_fill="mask")

    @property
    def embedding(self) -> Any:
        return self.module.visual_bert.embeddings.word_embeddings

    def __init__(self, module: Any, *given: Any, **more: Any) -> None:
        super().__init__(module, *given, **more)
        if module.config.bypass_transformer:  # then boxes pass its layers by, up to the last
            self.capabilities = self.capabilities - {"attention", "flow"}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        seen = leaves["image"].new_ones(1, encoded.grid[0])
        with parameters_frozen(self.module):
            result: Tensor = self._call(encoded, leaves["image"], leaves["question"], seen).logits
            return result

    def _call(
        self, encoded: Encoded, image: Tensor, words: Tensor, seen: Tensor, **settings: Any
    ) -> Any:
        """The output for features (B, F, R, 1) and embeddings (B, T, D), and which boxes are
        attended to (B, R).
        """
        batch = max(len(words), len(image))
        ids = encoded.ids.expand(batch, -1)
        boxes = image[..., 0].transpose(1, 2).expand(batch, -1, -1)
        with words_replaced(self.embedding, words.expand(batch, -1, -1)):
            return self.module(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                visual_embeds=boxes,
                visual_attention_mask=seen.expand(batch, -1),
                **settings,
            )

    def attention(self, encoded: Encoded) -> Attention:
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            leaves = {
                name: leaf.requires_grad_(True) for name, leaf in self.leaves(encoded).items()
            }
            seen = leaves["image"].new_ones(1, encoded.grid[0])
            found = self._call(
                encoded, leaves["image"], leaves["question"], seen, output_attentions=True
            )
        return Attention(found.logits, tuple(found.attentions), (len(encoded.tokens) - 2,))

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        words, boxes = len(encoded.tokens), encoded.grid[0]
        if length != words + boxes:
            raise InvalidInput(
                f"a layer of {length} states does not hold one per token and box; choose another"
            )
        return Positions({"question": np.arange(words), "image": words + np.arange(boxes)})

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        boxes, said = present["image"].elements[..., 0], present["question"].elements
        image, seen = encoded.pixels.expand(len(boxes), -1, -1, -1), torch.ones_like(boxes)
        if fills["image"] == "drop":
            seen = boxes
        else:
            blank = BLANKS[fills["image"]](encoded.pixels, seed)
            image = torch.where(boxes[:, None, :, None], encoded.pixels, blank)
        ids = torch.where(said, encoded.ids, stand_in(self.tokenizer, fills["question"]))
        result: Tensor = self._call(encoded, image, self.words(ids), seen.to(image)).logits
        return result
