"""Vision-language models that write their answer: LLaVA, Qwen-VL, Idefics and SmolVLM, PaliGemma and their like.

Every one of them puts picture tokens among the word embeddings and hands the sequence to a decoder. The adapter reads
that sequence where the decoder receives it, so that no family needs code of its own: words are changed there, hidden
from vqa_explain.features.base import distinct
from vqa_explain.features.base import Present
from vqa_explain.models.encoded import read_inputs
from vqa_explain.features.base import distinct
from vqa_explain.features.text import Text
from vqa_explain.features.base import Present
from vqa_explain.features.image import Picture
from vqa_explain.models.encoded import read_inputs
from vqa_explain.features.base import distinct
from vqa_explain.features.text import Text
from vqa_explain.features.base import Present
from vqa_explain.features.image import Picture
from attention there, and absent picture tokens leave it there; the vision encoder runs once for each picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported, VQAExplainError
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present, distinct, present_elements
from vqa_explain.features.geometry import Geometry
from vqa_explain.features.image import FILLS, ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.regions import grid_regions
from vqa_explain.features.text import Text, TextFeature
from vqa_explain.models.attending import Attention, Positions
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.candidates import NEW_TOKENS, Candidates, one_token, written
from vqa_explain.models.encoded import Encoded, candidates_of, read_inputs
from vqa_explain.models.generative.decoding import Decoding, Prompted
from vqa_explain.models.generative.pixels import Layout, Shown, lay_out, showing
from vqa_explain.models.generative.prompts import Prompt, read_prompt
from vqa_explain.models.measuring import PictureReader
from vqa_explain.models.network import parameters_frozen
from vqa_explain.models.places import shows_cells
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import all_absent, stand_in, text_feature

PLAIN = "what is it?"  # asked where only the picture matters


@dataclass
class _State:
    inputs: dict[str, Any]
    layout: Layout
    places: tuple[Geometry, ...]
    prompt: Prompt
    written: dict[str, tuple[int, ...]] = field(default_factory=dict)


@holds_network
class GenerativeModel:
    """Adapter of `AutoModelForImageTextToText` with its processor; see `models.base.OpenModel`.

    Args:
        beams: how many answers the model writes when none are given, by beam search; 1 is greedy.
        lengths: how an answer's tokens make its score, "sum" or "mean": see `models.candidates`.
    """

    family = "generative"
    kind = "log_probabilities"
    labels = None
    capabilities = frozenset({"gradients", "pixels", "drop", "attention", "flow"})

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
    ) -> None:
        self.name = name
        self.module = placed(module, device, name)
        self.device = self.module.device
        self.processor, self.beams, self.lengths = processor, beams, lengths
        self._language = Decoding(self.module)
        self._pictures = PictureReader(self._frames, name)
        self._showing: dict[tuple[int, int], Shown] = {}  # by size: see `pixels.showing`
        self._places: dict[
            tuple[int, ...], bool
        ] = {}  # by size: whether tokens are the grid's cells
        text = text_feature(processor.tokenizer)
        # A mask token means nothing to most decoders.
        text = TextFeature(fills=text.fills, default_fill="pad")
        self.features: tuple[Feature, ...] = (ImageFeature(fills=(*FILLS, "drop")), text)

    def encode(self, example: Example) -> Encoded:
        picture = read_image(example.image)
        prompt, inputs = self._read(picture, example.question)
        limit = getattr(self.module.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and prompt.length > limit:
            raise InvalidInput(
                f"the question and picture have {prompt.length} tokens and model {self.name!r} takes {limit}; shorten "
                "the question or give a smaller picture"
            )
        exact = self._layout(picture, inputs, prompt)
        places = self._pictures.locate(picture, (exact.frame, *exact.others))
        inputs = {k: self._moved(v) for k, v in inputs.items() if isinstance(v, Tensor)}
        layout = self._layout(picture, inputs, prompt)
        ids = inputs["input_ids"][:, torch.from_numpy(prompt.text).to(self.device)]
        state = _State(inputs, layout, places, prompt)
        image = Picture(picture, layout.frame, places[0], layout.grid)
        text = Text(str(example.question), ids, prompt.tokens, prompt.words)
        return Encoded(example, read_inputs(self.features, image, text), state=state)

    def _moved(self, value: Tensor) -> Tensor:
        """A tensor of the processor on the model's device, in its number type if it is of real numbers."""
        value = value.to(self.device)
        return value.to(self.module.dtype) if value.is_floating_point() else value

    def _read(self, picture: np.ndarray, question: object) -> tuple[Prompt, dict[str, Any]]:
        """The prompt and the processor's tensors."""
        shown = Image.fromarray(picture)
        try:
            return read_prompt(self.processor, question, shown, self.module.config)
        except VQAExplainError:
            raise
        except (ValueError, ZeroDivisionError, RuntimeError) as error:
            raise InvalidInput(
                f"the processor of model {self.name!r} fails on this example: {error}"
            ) from error

    def _layout(self, picture: np.ndarray, inputs: dict[str, Any], prompt: Prompt) -> Layout:
        size = (picture.shape[0], picture.shape[1])
        if size not in self._showing:
            self._showing[size] = showing(lambda other: self._read(other, PLAIN)[1], size)
        shown = Image.fromarray(picture)
        return lay_out(inputs, self.processor, shown, len(prompt.image), self._showing[size])

    def _frames(self, picture: np.ndarray) -> tuple[Tensor, ...]:
        """What shows a picture: its frame, and what follows it."""
        prompt, inputs = self._read(picture, PLAIN)
        layout = self._layout(picture, inputs, prompt)
        return layout.frame, *layout.others

    def generate(self, encoded: Encoded) -> tuple[str, ...]:
        state: _State = encoded.state
        with torch.no_grad():
            found = self.module.generate(
                **state.inputs,
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                num_beams=self.beams,
                num_return_sequences=self.beams,
            )[:, state.prompt.length :]
        state.written.update(written(self.processor.tokenizer, found, self.name))
        return tuple(state.written)

    def plain_scores(self, encoded: Encoded) -> Tensor:
        state: _State = encoded.state
        found = self.module.generate(**state.inputs, generation_config=one_token())
        return candidates_of(encoded).firsts(found.logits[0])

    def with_answers(
        self,
        encoded: Encoded,
        texts: Sequence[str],
        token: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Encoded:
        state: _State = encoded.state
        known = {**state.written, **(known or {})}
        candidates = Candidates.of(texts, self.processor.tokenizer, token, self.lengths, known)
        return replace(encoded, labels=candidates.texts, candidates=candidates)

    def leaves(self, encoded: Encoded) -> Leaves:
        return {
            "image": encoded.pixels.clone(),
            "question": self._language.embed(encoded.ids).detach(),
        }

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        ids = all_absent(
            encoded.ids, encoded.tokens, stand_in(self.processor.tokenizer, fills["question"])
        )
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed)
        return {"image": image, "question": self._language.embed(ids).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        with parameters_frozen(self.module):
            given = self._received(encoded, leaves["image"])
            return self._language.answer(
                self._worded(encoded, given, leaves["question"]), candidates_of(encoded)
            )

    def _received(self, encoded: Encoded, frames: Tensor) -> Prompted:
        """What the decoder receives for frames (B, 3, H', W'), the question as it is."""
        state: _State = encoded.state
        inputs = {k: v.repeat(len(frames), *[1] * (v.ndim - 1)) for k, v in state.inputs.items()}
        return self._language.received({**inputs, **state.layout.values(frames, state.places)})

    def missed_change(self, encoded: Encoded, other: Encoded) -> float:
        """The share of the change between two pictures of a size that one's frame, given to the other, misses.

        Of the tensor that misses most. The network gets what the frame becomes, and should get its processor's own.
        """
        state: _State = encoded.state
        given = state.layout.values(other.pixels, state.places)
        missed = [0.0]
        for name, values in given.items():
            before, own = state.inputs[name], other.state.inputs[name]
            change = float((own - before).float().norm())
            if change:
                missed.append(float((own - values).float().norm()) / change)
        return max(missed)

    def _worded(self, encoded: Encoded, given: Prompted, words: Tensor) -> Prompted:
        where = torch.from_numpy(encoded.state.prompt.text).to(self.device)
        words = words.to(given.states.dtype).expand(len(given.states), -1, -1)
        return replace(given, states=given.states.index_copy(1, where, words))

    def answer_steps(self, encoded: Encoded, columns: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        return candidates_of(encoded).steps(columns)

    def prompt_length(self, encoded: Encoded) -> int:
        state: _State = encoded.state
        return state.prompt.length

    def attention(self, encoded: Encoded, before: tuple[int, ...] = ()) -> Attention:
        candidates = candidates_of(encoded)
        with eager_attention(self.module), parameters_frozen(self.module), torch.enable_grad():
            leaves = {
                name: leaf.requires_grad_(True) for name, leaf in self.leaves(encoded).items()
            }
            given = self._worded(
                encoded, self._received(encoded, leaves["image"]), leaves["question"]
            )
            prompt, behind = self._language.written(given, before)
            last = prompt if behind is None else behind
            tokens = torch.tensor(
                [[token] for token in candidates.nexts(len(before))], device=self.device
            )
            found = self._language.first(last.last_hidden_state, tokens)[..., 0]
            scores = candidates.added(before, found)
        maps, layers = self._language.attending(prompt.attentions)
        written = () if behind is None else self._language.attending(behind.attentions)[0]
        readout = (given.states.shape[1] + len(before) - 1,)
        depth, length = len(self._language.decoder.layers), given.states.shape[1]
        return Attention(scores, maps, readout, written, layers, depth, length)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        state: _State = encoded.state
        if not self._has_places(encoded):
            raise Unsupported(
                f"the picture's tokens in model {self.name!r} have no place of their own, as those of overlapping "
                "tiles or of a resampler; use a method over pixels or coalitions, such as integrated_gradients"
            )
        if length != state.prompt.length:
            raise InvalidInput(
                f"a layer of {length} states does not hold one per token and patch; choose another"
            )
        return Positions({"question": state.prompt.text, "image": state.prompt.image})

    def _has_places(self, encoded: Encoded) -> bool:
        """Whether each picture token shows one cell of the grid, measured once for each size of frame."""
        state: _State = encoded.state
        if not state.layout.counted or len(state.prompt.image) != encoded.grid[0] * encoded.grid[1]:
            return False
        key = (*encoded.pixels.shape, *encoded.grid)
        if key not in self._places:
            where = torch.from_numpy(state.prompt.image).to(self.device)

            def tokens(frames: Tensor) -> Tensor:
                return self._received(encoded, frames).states[:, where]

            self._places[key] = shows_cells(tokens, encoded.pixels, encoded.grid)
        return self._places[key]

    def default_layer(self, encoded: Encoded) -> str:
        # The answer is read from the last token of the last layer, so pictures matter only up to the one before.
        path = next(
            name for name, part in self.module.named_modules() if part is self._language.decoder
        )
        return f"{path}.layers.{max(0, len(self._language.decoder.layers) - 2)}"

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        state: _State = encoded.state
        shown, said = present["image"], present["question"].elements
        if fills["image"] == "drop":
            where = self.positions(encoded, state.prompt.length)
            given = self._received(encoded, encoded.pixels).times(
                torch.zeros(len(shown), dtype=torch.long)
            )
        else:
            # Each through the vision encoder once.
            pictures, which = distinct(shown)
            frames = fill_in(encoded.pixels, pictures.elements, fills["image"], seed)
            given = self._received(encoded, frames).times(which)
        heard = torch.ones_like(given.heard)
        text = torch.from_numpy(state.prompt.text).to(self.device)
        if fills["question"] == "pad":
            heard[:, text] = said
        else:
            ids = torch.where(
                said, encoded.ids, stand_in(self.processor.tokenizer, fills["question"])
            )
            given = self._worded(encoded, given, self._language.embed(ids))
        given = given.hidden(heard)
        if fills["image"] == "drop":
            cells = grid_regions(shown.division.owner.shape, encoded.grid).owner
            first = np.unique(cells, return_index=True)[1]  # every cell is whole in one region
            owner = shown.division.owner.ravel()[first]
            kept = torch.ones_like(heard)
            picture = torch.from_numpy(where.of["image"]).to(self.device)
            kept[:, picture] = present_elements(shown.players, owner)
            given = given.kept(kept)
        return self._language.answer(given, candidates_of(encoded))
