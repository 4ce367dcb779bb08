"""Document question answering: an encoder of a question and a page, whose answer is a span of it.

The words of the page and their boxes come from the user, since a program that reads print stands
before the network. Inputs are the question, the words of the page, and the picture of the page
where the network sees it.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, Page, read_image
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.image import ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.text import PageFeature, Text
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.candidates import Candidates
from vqa_explain.models.checking import ANSWERS
from vqa_explain.models.encoded import Encoded, candidates_of, read_inputs
from vqa_explain.models.matching import matched
from vqa_explain.models.network import parameters_frozen, token_limit
from vqa_explain.models.pages import Span, read_page, span_text, spans_of
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transforms import picture_reader, read_patches
from vqa_explain.models.unwrapping import placed
from vqa_explain.models.wording import all_absent, stand_in, text_feature, words_replaced

# What networks call the picture of a page.
PICTURES = ("pixel_values", "image")
PAGE = "page"
# Along each side, of the regions of a network that does not say how large its patches are.
CELLS = 7
BEST = 5  # answers that a model gives by itself
TRIED = Page(ANSWERS, [(0, 50 * n, 100, 50 * n + 40) for n in range(len(ANSWERS))], (1000, 1000))


@dataclass
class PageState:
    """What an adapter of questions about pages keeps of an example.

    Attributes:
        inputs: the network's tensors of the question and the page, N tokens.
        places: input name → where its tokens are among them.
        chosen: texts that the model answered by itself → their spans, or their tokens.
    """

    inputs: dict[str, Tensor]
    places: dict[str, Tensor]
    chosen: dict[str, tuple[int, ...]] = field(default_factory=dict)


@holds_network
class DocumentModel:
    """Adapter of networks for document question answering; see `models.base.OpenModel`.

    An answer is a span of the page's tokens. Its score is log p(first token) + log p(last token),
    each a softmax over the tokens of the page of the network's start or end logits. This is start
    logit plus end logit, less what all spans of the page have in common, so that contrasts of two
    spans are those of logits. By itself the model answers the spans of the highest scores that end
    no earlier than they begin. `target_token=0` explains where the answer begins, 1 where it ends.

    A named answer that stands on the page several times is the likeliest of these spans; so it is
    of those that a mark of a blank ends or does not.

    An absent word of the page is the mask token in the word's box: its place remains. It cannot be
    hidden from attention, since the answer is read from the states of the words themselves.

    Args:
        processor: its processor, or its tokenizer where it sees no picture. One that reads pages
            itself is refused.

    Raises:
        InvalidInput: the network takes no boxes, or the processor does not suit it.
    """

    family = "document"
    kind = "log_probabilities"
    labels = None
    capabilities: frozenset[str] = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(self, module: Any, processor: Any, name: str, device: torch.device) -> None:
        known = inspect.signature(module.forward).parameters
        if "bbox" not in known:
            raise InvalidInput(
                f"model {name!r} takes no boxes of words, so it answers no questions about pages; "
                "wrap the network in vqa_explain.CustomModel"
            )
        self.name, self.device = name, device
        self.module = placed(module, device, name)
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self._limit = token_limit(module, self.tokenizer)
        self._embedding = module.get_input_embeddings()
        texts: tuple[Feature, ...] = (text_feature(self.tokenizer), PageFeature(PAGE))
        self.known_inputs = {PAGE: TRIED}
        self._picture = next((one for one in PICTURES if one in known), None)
        if self._picture is None:
            self.features = texts
            self.capabilities = self.capabilities - {"pixels"}
            return
        reader = _picture_processor(processor, name)
        self._pictures = picture_reader(reader, name)
        self._patch = getattr(module.config, "patch_size", None)
        self.features = (ImageFeature(), *texts)

    def encode(self, example: Example) -> Encoded:
        given = matched(example, self.features, self.name)
        page = given[PAGE]
        if not isinstance(page, Page):
            raise InvalidInput(
                f"input {PAGE!r} of model {self.name!r} takes the words of a page with their "
                "boxes, not a text; give vqa_explain.Page(words, boxes, size)"
            )
        question = self.features[-2].name
        read = read_page(self.tokenizer, given[question], page, self._limit, self.name)
        texts = [replace(text, ids=text.ids.to(self.device)) for text in read.texts]
        inputs = {name: value.to(self.device) for name, value in read.inputs.items()}
        names = (question, PAGE)
        places = {
            name: torch.from_numpy(where).to(self.device)
            for name, where in zip(names, read.places, strict=True)
        }
        contents = [] if self._picture is None else [self._read_picture(given)]
        found = read_inputs(self.features, *contents, *texts)
        return Encoded(example, found, state=PageState(inputs, places))

    def _read_picture(self, given: Mapping[str, Any]) -> Picture:
        picture = read_image(given[self.features[0].name])
        if self._patch is None:
            pixels, geometry = self._pictures.read(picture)
            grid = (CELLS, CELLS)
        else:
            pixels, geometry, grid = read_patches(self._pictures, picture, self._patch)
        return Picture(picture, pixels.to(self.device, self.module.dtype), geometry, grid)

    def generate(self, encoded: Encoded) -> tuple[str, ...]:
        state: PageState = encoded.state
        page: Text = encoded[PAGE].content
        with torch.no_grad():
            starts, ends = self._plain(encoded)
        scores = starts[0][:, None] + ends[0][None, :]
        allowed = torch.ones_like(scores, dtype=torch.bool).triu()
        order = scores.masked_fill(~allowed, -torch.inf).flatten().argsort(descending=True)
        for number in order[: int(allowed.sum())].tolist():
            span = divmod(number, len(page.tokens))
            # A mark of a blank is a token of no text.
            if text := span_text(page, span).strip():
                state.chosen.setdefault(text, span)
            if len(state.chosen) == BEST:
                break
        return tuple(state.chosen)

    def with_answers(
        self,
        encoded: Encoded,
        texts: Sequence[str],
        token: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
    ) -> Encoded:
        state: PageState = encoded.state
        page: Text = encoded[PAGE].content
        spans: list[Span] = []
        for text in texts:
            where = {**state.chosen, **(known or {})}.get(text)
            spans.append(self._likeliest(encoded, text) if where is None else _span(where))
        pieces = tuple(tuple(span_text(page, (at, at)) for at in span) for span in spans)
        candidates = Candidates(tuple(texts), tuple(spans), pieces, token)
        return replace(encoded, labels=candidates.texts, candidates=candidates)

    def _likeliest(self, encoded: Encoded, text: str) -> Span:
        """Of the spans with this text, that of the highest score.

        Raises:
            InvalidInput: it is not on the page.
        """
        page: Text = encoded[PAGE].content
        spans = spans_of(page, text)
        if not spans:
            raise InvalidInput(
                f"the answer {text!r} is not on the page in whole tokens; an answer is a text that "
                f"stands there, such as {page.words[0].text!r}"
            )
        if len(spans) == 1:
            return spans[0]
        with torch.no_grad():
            starts, ends = self._plain(encoded)
        return max(spans, key=lambda span: float(starts[0, span[0]] + ends[0, span[1]]))

    def plain_scores(self, encoded: Encoded) -> Tensor:
        return _columns(encoded, *self._plain(encoded))

    def _plain(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """(1, T), (1, T) the log-probabilities of each token of the page, of the whole example."""
        return self._on_page(encoded, self.module(**self._as_read(encoded)))

    def _as_read(self, encoded: Encoded) -> dict[str, Tensor]:
        """The network's tensors of the whole example."""
        state: PageState = encoded.state
        more = {} if self._picture is None else {self._picture: encoded.pixels.clone()}
        return {**state.inputs, **more}

    def _on_page(self, encoded: Encoded, found: Any) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T), (B, T) that the answer begins, and ends, with each token."""
        where = encoded.state.places[PAGE]
        starts, ends = found.start_logits[:, where], found.end_logits[:, where]
        return starts.float().log_softmax(-1), ends.float().log_softmax(-1)

    def _embed(self, ids: Tensor) -> Tensor:
        result: Tensor = self._embedding(ids).detach()
        return result

    def leaves(self, encoded: Encoded) -> Leaves:
        return {
            one.name: self._embed(one.content.ids)
            if isinstance(one.content, Text)
            else one.content.pixels.clone()
            for one in encoded.inputs
        }

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        found = {}
        for one in encoded.inputs:
            content, fill = one.content, fills[one.name]
            if isinstance(content, Text):
                absent = stand_in(self.tokenizer, fill)
                found[one.name] = self._embed(all_absent(content.ids, content.tokens, absent))
            else:
                found[one.name] = baseline(content.pixels, content.geometry, fill, seed)
        return found

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        return self._answer(encoded, leaves, None)

    def _answer(
        self, encoded: Encoded, leaves: Mapping[str, Tensor], attended: Tensor | None
    ) -> Tensor:
        """Scores (B, K) of leaves, and of which of the N tokens are attended to (B, N)."""
        inputs, words = self._given(encoded, leaves, attended)
        with parameters_frozen(self.module), words_replaced(self._embedding, words):
            found = self.module(**inputs)
        return _columns(encoded, *self._on_page(encoded, found))

    def _given(
        self, encoded: Encoded, leaves: Mapping[str, Tensor], attended: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The network's tensors of B examples, and the embeddings (B, N, D) of their tokens."""
        state: PageState = encoded.state
        batch = max(len(leaf) for leaf in leaves.values())
        inputs = {
            name: value.expand(batch, *value.shape[1:]) for name, value in state.inputs.items()
        }
        if attended is not None:
            inputs["attention_mask"] = attended.to(inputs["attention_mask"])
        words = self._embed(state.inputs["input_ids"]).expand(batch, -1, -1)
        for name, where in state.places.items():
            words = words.index_copy(1, where, leaves[name].expand(batch, -1, -1))
        if self._picture is not None:
            inputs[self._picture] = leaves[encoded.image_name].expand(batch, -1, -1, -1)
        return inputs, words

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        raise Unsupported(
            f"which states of model {self.name!r} stand for which word or patch is not known; use "
            "a method over words and pixels, such as integrated_gradients"
        )

    def default_layer(self, encoded: Encoded) -> str:
        raise Unsupported(
            f"model {self.name!r} has no layer that is known to hold a map of the page; use a "
            "method over words and pixels, such as integrated_gradients"
        )

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        state: PageState = encoded.state
        leaves: Leaves = {}
        attended: Tensor | None = None
        for one in encoded.inputs:
            elements, fill = present[one.name].elements, fills[one.name]
            if not isinstance(one.content, Text):
                leaves[one.name] = fill_in(one.content.pixels, elements, fill, seed)
            elif fill == "mask":
                absent = stand_in(self.tokenizer, fill)
                leaves[one.name] = self._embed(torch.where(elements, one.content.ids, absent))
            else:
                leaves[one.name] = self._embed(one.content.ids)
                every = state.inputs["attention_mask"].expand(len(elements), -1)
                where = state.places[one.name]
                attended = every.index_copy(1, where, elements.to(every))
        return self._answer(encoded, leaves, attended)


def _picture_processor(processor: Any, name: str) -> Any:
    """The part of a processor that reads pictures.

    Raises:
        InvalidInput: it has none, or would read the words of the page itself.
    """
    found = getattr(processor, "image_processor", None)
    if found is None:
        raise InvalidInput(
            f"model {name!r} sees the picture of the page, and its processor reads none; give the "
            "processor, not the tokenizer alone"
        )
    if getattr(found, "apply_ocr", False):
        raise InvalidInput(
            f"the processor of model {name!r} reads the words of pages itself (apply_ocr=True), "
            "and then nobody says which they are; give processor= one with apply_ocr=False, and "
            "the words as a vqa_explain.Page"
        )
    return found


def _span(tokens: Sequence[int]) -> Span:
    first, last = tokens
    return first, last


def _columns(encoded: Encoded, starts: Tensor, ends: Tensor) -> Tensor:
    """Scores (B, K) of log-probabilities (B, T), (B, T) of each token of the page."""
    candidates = candidates_of(encoded)
    spans = torch.tensor(candidates.ids, device=starts.device)
    steps = torch.stack([starts[:, spans[:, 0]], ends[:, spans[:, 1]]], dim=2)
    return candidates.counted(steps)
