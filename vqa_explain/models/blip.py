"""BLIP for question answering: an encoder of the question that looks at the picture,
and a decoder of the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present, distinct
from vqa_explain.features.image import ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.text import Text
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.candidates import (
    Candidates,
    first_tokens,
    written,
)
from vqa_explain.models.encoded import Encoded, candidates_of, read_inputs
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.sentences import Thoughtless
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transforms import picture_reader, read_patches
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import (
    all_absent,
    read_question,
    stand_in,
    text_feature,
    words_replaced,
)
from vqa_explain.models.writing import Draws, Writing, best_of, sampled


@dataclass
class _State:
    written: dict[str, tuple[int, ...]] = field(default_factory=dict)


@holds_network
class BlipModel(Thoughtless):
    """Adapter of `transformers.BlipForQuestionAnswering`; see `models.base.OpenModel`.

    Args:
        beams, lengths, writing: as for `models.generative.GenerativeModel`.
    """

    family = "blip"
    kind = "log_probabilities"
    labels = None
    capabilities = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(
        self,
        module: Any,
        processor: Any,
        name: str,
        device: torch.device,
        *,
        beams: int = 1,
        lengths: str = "sum",
        writing: Writing = Writing(),  # noqa: B008  # frozen
    ) -> None:
        self.name, self.device, self.writing = name, device, writing
        self.module = placed(module, device, name)
        self.processor, self.beams, self.lengths = processor, beams, lengths
        self.answer_tokenizer = processor.tokenizer
        self._pictures = picture_reader(processor.image_processor, name)
        self.features: tuple[Feature, ...] = (ImageFeature(), text_feature(processor.tokenizer))

    def encode(self, example: Example) -> Encoded:
        limit = self.module.config.text_config.max_position_embeddings
        ids, tokens, words = read_question(
            self.processor.tokenizer, example.question, limit, self.name
        )
        picture = read_image(example.image)
        patch = self.module.config.vision_config.patch_size
        pixels, geometry, grid = read_patches(self._pictures, picture, patch)
        pixels = pixels.to(self.device, self.module.dtype)
        image = Picture(picture, pixels, geometry, grid)
        text = Text(str(example.question), ids.to(self.device), tokens, words)
        return Encoded(example, read_inputs(self.features, image, text), state=_State())

    def generate(
        self, encoded: Encoded, asked: Writing | None = None, streamer: Any = None
    ) -> tuple[str, ...]:
        found = self._wrote(encoded, asked, best_of(self.beams), streamer)
        now = written(self.processor.tokenizer, found.tolist(), self.name)
        encoded.state.written.update(now)
        return tuple(now)

    def _wrote(
        self, encoded: Encoded, asked: Writing | None, how: dict[str, Any], streamer: Any = None
    ) -> Tensor:
        """(N, A) the tokens that the network writes."""
        writing = self.writing if asked is None else asked.over(self.writing)
        room = self.module.config.text_config.max_position_embeddings - 1
        settings = writing.settings(self.module, self.processor.tokenizer, self.name, 1, room)
        found: Tensor = self.module.generate(
            encoded.ids, encoded.pixels, **settings, **how, streamer=streamer
        )
        return found[:, 1:]  # the first token starts every answer

    def sample(
        self, encoded: Encoded, asked: Writing | None, draws: Draws
    ) -> list[tuple[int, ...]]:
        write = partial(self._wrote, encoded, asked)
        return sampled(write, self.module, self.processor.tokenizer, draws)

    def with_answers(
        self,
        encoded: Encoded,
        texts: Sequence[str],
        token: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Encoded:
        known = {**encoded.state.written, **(known or {})}
        candidates = Candidates.of(texts, self.processor.tokenizer, token, self.lengths, known)
        candidates.check_room(1, self.module.config.text_config.max_position_embeddings, self.name)
        return replace(encoded, labels=candidates.texts, candidates=candidates)

    def plain_scores(self, encoded: Encoded) -> Tensor:
        found = self.module.generate(encoded.ids, encoded.pixels, **first_tokens())
        return candidates_of(encoded).firsts(found.logits[0])

    def _embed(self, ids: Tensor) -> Tensor:
        result: Tensor = self.module.text_encoder.embeddings.word_embeddings(ids)
        return result

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone(), "question": self._embed(encoded.ids).detach()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        ids = all_absent(
            encoded.ids, encoded.tokens, stand_in(self.processor.tokenizer, fills["question"])
        )
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed)
        return {"image": image, "question": self._embed(ids).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        heard = torch.ones(leaves["question"].shape[:2], dtype=torch.long, device=self.device)
        with parameters_frozen(self.module):
            return self._answer(encoded, self._see(leaves["image"]), leaves["question"], heard)

    def _see(self, pixels: Tensor) -> Tensor:
        result: Tensor = self.module.vision_model(pixel_values=pixels).last_hidden_state
        return result

    def _answer(self, encoded: Encoded, seen: Tensor, words: Tensor, heard: Tensor) -> Tensor:
        """Scores (B, K) from image states (B, N, D), word embeddings (B, T,
        D) and what is heard (B, T).
        """
        candidates = candidates_of(encoded)
        ids = candidates.padded(self.device)
        batch, many = len(words), len(ids)
        with words_replaced(self.module.text_encoder.embeddings.word_embeddings, words):
            asked = self.module.text_encoder(
                input_ids=encoded.ids.expand(batch, -1),
                attention_mask=heard,
                encoder_hidden_states=seen.expand(batch, -1, -1),
                encoder_attention_mask=torch.ones(
                    batch, seen.shape[1], dtype=torch.long, device=self.device
                ),
            )[0]
        start = torch.full_like(ids[:, :1], self.module.config.text_config.bos_token_id)
        logits = self.module.text_decoder(
            input_ids=torch.cat([start, ids[:, :-1]], dim=1).repeat(batch, 1),
            encoder_hidden_states=asked.repeat_interleave(many, dim=0),
            encoder_attention_mask=heard.repeat_interleave(many, dim=0),
            use_cache=False,
        ).logits
        return candidates.columns(
            candidates.log_probabilities(logits, ids.repeat(batch, 1)).unflatten(0, (batch, many))
        )

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        where = torch.arange(
            1, 1 + encoded.grid[0] * encoded.grid[1]
        ).numpy()  # behind the image's own first token
        if length != len(where) + 1:
            raise InvalidInput(
                f"a layer of {length} states does not hold one per patch; choose one of the vision "
                "model"
            )
        return Positions({"image": where})

    def default_layer(self, encoded: Encoded) -> str:
        # The question looks at all states of the last layer.
        return f"vision_model.encoder.layers.{len(self.module.vision_model.encoder.layers) - 1}"

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        # Each through the vision model once.
        pictures, which = distinct(present["image"])
        frames = fill_in(encoded.pixels, pictures.elements, fills["image"], seed)
        seen, said = self._see(frames)[which], present["question"].elements
        ids, heard = encoded.ids.expand(len(said), -1), torch.ones_like(said, dtype=torch.long)
        if fills["question"] == "mask":
            ids = torch.where(said, ids, stand_in(self.processor.tokenizer, "mask"))
        else:
            heard = said.long()
        return self._answer(encoded, seen, self._embed(ids), heard)
