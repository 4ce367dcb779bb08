"""A network of one's own over a picture and a question."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, read_image
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.image import ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.text import Text, TextFeature, Token
from vqa_explain.features.words import Word
from vqa_explain.memory import lacks_memory
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, check_finite, described
from vqa_explain.models.calling import (
    FAILURES,
    NetworkCall,
    check_arguments,
    has_gradients,
    quantized_layer,
    without_gradients,
)
from vqa_explain.models.checking import check_first, checked, warn_unchecked
from vqa_explain.models.classifier import GRID
from vqa_explain.models.encoded import Encoded, read_inputs
from vqa_explain.models.labels import read_labels
from vqa_explain.models.maps import last_map, sequence_positions
from vqa_explain.models.network import choose_device, parameters_frozen
from vqa_explain.models.outputs import check_raw, in_graph, kind_of_outputs
from vqa_explain.models.own_text import Split, read_own
from vqa_explain.models.sharing import holds_network
from vqa_explain.models.transforms import picture_reader
from vqa_explain.models.unwrapping import home_of, placed, unwrapped
from vqa_explain.models.wording import all_absent, read_question, stand_in, words_replaced

Call = Callable[[nn.Module, Tensor, Tensor], Any]
# Why methods that differentiate refuse an example whose words reach the answer by another way too.
READS_NUMBERS = (
    "for this example, its network uses the token numbers besides the one word embedding, as a mask "
    "or a count of words does, so the gradients of the embeddings miss a part of what a word does; "
    "methods that take words away see all of it"
)
# How far scores by embeddings may be from those by token numbers, in rounding steps (eps) of the
# largest score. Both run the same operations on the same numbers: transformers, recurrent and
# convolutional networks differed by 0 steps on a CPU, in float32, bfloat16 and float16. The rest is
# room for GPU kernels that add in any order. More would hide much: 100 steps of bfloat16 are 78% of
# a score.
SAME_STEPS = 8


@holds_network
class CustomModel:
    """Any network that gives answer scores (B, K) for pixels (B, C, H, W) and token numbers (B, T).

    Its scores may be in a tuple or dict, and it may take one picture at a time: see `models.calling`.

    The word embeddings become a leaf by a hook on the network's embedding layer, so that gradients reach words and
    pixels in one backward pass and the network's own code need not change. Whether the network uses the token numbers
    in another way too, such as a mask of padding or a second embedding, is measured with every example. Gradients would
    miss that part, so methods that need them refuse such an example. Other examples are not affected.

    Args:
        module: the network.
        image: how a picture becomes its input: a torchvision transform, weights' preset, or transformers processor.
        text: how a question becomes numbers: a vocabulary {word: number} for lower-case words, "<unk>" for others and
            "<pad>" for absent ones; a transformers tokenizer; or a function of the question that gives
            (piece, number) pairs, or numbers alone if `words` says the pieces.
        labels: the K answers, in the order of the network's scores: see `models.labels`.
        outputs: what the scores are: "softmax", logits of answers that exclude each other (the default of several);
            "sigmoid", of each answer by itself; or "real", numbers without probabilities.
        embedding: path of the word embedding in the network (default: its one `nn.Embedding`).
        call: calls the network where `module(pixels, tokens)` will not do, for example
            `lambda module, pixels, tokens: module(pixels, tokens, lengths)`.
        absent: the number that stands for an absent word (default: "<pad>", the tokenizer's mask or pad, or 0).
        name: for lists.
        device: by default the fastest there is.
        words: a function that splits a question into its pieces, such as `str.split` or `jieba.lcut`;
            by default Unicode's rules: see `features.words`.
        check: whether to try at once what explanations rely on: see `models.checking`.

    Raises:
        InvalidInput: there is not just one embedding and no path, labels cannot be used, or there is one and `outputs`
            does not say what it is.
    """

    family = "custom"
    capabilities: frozenset[str] = frozenset({"gradients", "pixels"})

    __repr__ = described

    def __init__(
        self,
        module: nn.Module,
        *,
        image: Any,
        text: Mapping[str, int] | Callable[[str], Sequence[int]] | Any,
        labels: Any,
        embedding: str | None = None,
        call: Call | None = None,
        absent: int | None = None,
        name: str | None = None,
        device: str | torch.device | None = None,
        outputs: str | None = None,
        words: Split | None = None,
        check: bool = True,
    ) -> None:
        self.labels: tuple[str, ...] = read_labels(labels)
        module = unwrapped(module)
        self.name = name or type(module).__name__
        self.device = home_of(module, choose_device(device))
        check_arguments(module, ("a picture", "a question"), self.name, call)
        self.module = placed(module, self.device, self.name)
        self.features: tuple[Feature, ...] = (
            ImageFeature(),
            TextFeature(fills=("mask",), default_fill="mask"),
        )
        # What results depend on besides the network: a resumed run compares it.
        self.given = {"image": image, "text": text, "call": call, "absent": absent, "words": words}
        self._pictures = picture_reader(image, self.name)
        self._text, self._split = _numbered_vocabulary(text), words
        self._call = call or (lambda network, pixels, tokens: network(pixels, tokens))
        self._embedding = self._find(embedding)
        self.kind = kind_of_outputs(
            outputs, getattr(module, "config", None), len(self.labels), self.name
        )
        self._absent = self._stand_in() if absent is None else absent
        self._checked = False
        self._network = NetworkCall(self.module, self._raw, self.name)
        if quantized_layer(self.module) is not None:
            self.capabilities = without_gradients(self.capabilities)
        self.unchecked = False  # whether the self-check waits for the first example
        if check:
            checked(self, image)
        else:
            warn_unchecked(self.name)

    @property
    def at_once(self) -> int | None:
        """How many pictures the network takes in one call, exactly; `None` for any number."""
        return self._network.at_once

    def _find(self, path: str | None) -> nn.Module:
        found = [
            name for name, part in self.module.named_modules() if isinstance(part, nn.Embedding)
        ]
        if path is None and len(found) != 1:
            raise InvalidInput(
                f"model {self.name!r} has {len(found)} embedding layers ({', '.join(found) or 'none'}); name that of "
                "its words with embedding="
            )
        try:
            result: nn.Module = self.module.get_submodule(path if path is not None else found[0])
            return result
        except AttributeError as error:
            raise InvalidInput(
                f"model {self.name!r} has no layer {path!r}; its embeddings: {found}"
            ) from error

    def _stand_in(self) -> int:
        if isinstance(self._text, Mapping):
            result: int = self._text.get("<pad>", 0)
            return result
        return stand_in(self._text, "mask") if hasattr(self._text, "mask_token_id") else 0

    def encode(self, example: Example) -> Encoded:
        ids, tokens, words = self._read(example.question)
        picture = read_image(example.image)
        pixels, geometry = self._pictures.read(picture)
        pixels, frame = pixels.to(self.device, self._network.number_type), geometry.frame
        ids = ids.to(self.device)
        if not self._checked:
            pixels = self._network.measure(len(self.labels), pixels, ids)
        grid = (min(GRID[0], frame[0]), min(GRID[1], frame[1]))
        image = Picture(picture, pixels, geometry, grid)
        text = Text(str(example.question), ids, tokens, words)
        encoded = Encoded(example, read_inputs(self.features, image, text), self.labels)
        if not self._checked:
            self._check(encoded)
            self._checked = True
        # Nothing of this is kept: what one example is told must not depend on those before it.
        if not self._embedding_says_all(encoded):
            # Its scores depend on these numbers, so it is never put in a batch with another question.
            encoded = replace(encoded, state=ids, refusals={"gradients": READS_NUMBERS})
        if self.unchecked:
            check_first(self, picture)
        return encoded

    @torch.no_grad()
    def _embedding_says_all(self, encoded: Encoded) -> bool:
        """Whether changed words give the same scores by their embeddings alone as by their token numbers.

        Tried with all words absent, with every second one absent, and with the words moved by one place. Special tokens
        stay, since a network may find the end of the question by them.
        """
        nobody = all_absent(encoded.ids, encoded.tokens, self._absent)
        even = torch.arange(encoded.ids.shape[1], device=self.device) % 2 == 0
        own = [place for place, token in enumerate(encoded.tokens) if token.word >= 0]
        moved = encoded.ids.clone()
        moved[:, own] = moved[:, own].roll(1, dims=1)
        rows = (nobody, torch.where(even, nobody, encoded.ids), moved)
        return all(self._same_by_embedding(encoded, row) for row in rows)

    def _same_by_embedding(self, encoded: Encoded, ids: Tensor) -> bool:
        """Whether token numbers (1, T) give the same scores as their embeddings beside the question's own numbers.

        They are tried one row at a time, since more may not fit into the memory.

        Raises:
            NonFiniteScore: by the embeddings alone the network answers NaN or infinity.
        """
        try:
            plain = self._network(encoded.pixels.clone(), ids)
        except FAILURES as error:  # such as a length of 0, which embeddings do not have
            if lacks_memory(error):
                raise
            return False
        found = self._network(encoded.pixels.clone(), encoded.ids, self._embedding(ids))
        if bool(torch.isfinite(plain).all()):
            check_finite(found, "the model's answer to other words")
        largest = float(plain.abs().nan_to_num(0, 0, 0).max())
        near = SAME_STEPS * torch.finfo(plain.dtype).eps * largest
        return torch.allclose(found, plain, rtol=0, atol=near, equal_nan=True)

    def _read(self, question: object) -> tuple[Tensor, tuple[Token, ...], tuple[Word, ...]]:
        if hasattr(self._text, "convert_ids_to_tokens"):
            return read_question(self._text, question, None, self.name)
        return read_own(self._text, self._split, question)

    def _check(self, encoded: Encoded) -> None:
        """The network's answer has one score per label, and its words pass through the embedding."""
        calls: list[tuple[int, ...]] = []
        handle = self._embedding.register_forward_hook(
            lambda _m, _i, output: calls.append(tuple(output.shape))
        )

        def once(pixels: Tensor) -> Tensor:
            calls.clear()
            return self._network(pixels, encoded.ids)

        try:
            with parameters_frozen(self.module):
                scores = in_graph(once, encoded.pixels)
        finally:
            handle.remove()
        if scores.ndim != 2 or len(scores) != 1:
            raise InvalidInput(
                f"model {self.name!r} gives {tuple(scores.shape)}, not scores (B, K); give call= that returns them"
            )
        if scores.shape[1] != len(self.labels):
            raise InvalidInput(
                f"model {self.name!r} has {scores.shape[1]} scores and {len(self.labels)} labels were given"
            )
        check_raw(scores, self.kind, self.name)
        rows = self.at_once or 1
        if len(calls) != 1 or len(calls[0]) != 3 or calls[0][:2] != (rows, encoded.ids.shape[1]):
            raise Unsupported(
                f"the embedding of model {self.name!r} gave {calls}, not one (B, T, D) for the question; name the "
                "right one with embedding="
            )
        leaves = self.leaves(encoded)

        def differentiable(*values: Tensor) -> Tensor:
            return self.scores(encoded, dict(zip(leaves, values, strict=True)))

        if not has_gradients(self.module, differentiable, list(leaves.values())):
            self.capabilities = without_gradients(self.capabilities)

    def _raw(self, pixels: Tensor, ids: Tensor, *words: Tensor) -> Any:
        """What the network gives, with word embeddings (B, T, D) in place of its own if they are given."""
        with words_replaced(self._embedding, words[0]) if words else nullcontext():
            return self._call(self.module, pixels, ids)

    def plain_scores(self, encoded: Encoded) -> Tensor:
        return self._network(encoded.pixels.clone(), encoded.ids)

    @property
    def says_pieces(self) -> bool:
        """Whether a function of the user's says the question's pieces."""
        reads = hasattr(self._text, "convert_ids_to_tokens")
        return not isinstance(self._text, Mapping) and not reads

    @property
    def known_question(self) -> str | None:
        """A question of words that the vocabulary knows; `None` where the usual one will do."""
        if not isinstance(self._text, Mapping) or "<unk>" in self._text:
            return None
        known = [w for w in self._text if isinstance(w, str) and w.isalpha() and w == w.lower()]
        return " ".join(known[:5]) or None

    def leaves(self, encoded: Encoded) -> Leaves:
        return {"image": encoded.pixels.clone(), "question": self._embedding(encoded.ids).detach()}

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        ids = all_absent(encoded.ids, encoded.tokens, self._absent)
        image = baseline(encoded.pixels, encoded.geometry, fills["image"], seed)
        return {"image": image, "question": self._embedding(ids).detach()}

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        words = leaves["question"]
        # cuDNN's recurrent layers have no backward pass in evaluation.
        plain = any(isinstance(part, nn.RNNBase) for part in self.module.modules())
        fast = torch.backends.cudnn.flags(enabled=False) if plain else nullcontext()
        with parameters_frozen(self.module), fast:
            return self._network(leaves["image"], self._numbers(encoded, words), words)

    def _numbers(self, encoded: Encoded, words: Tensor) -> Tensor:
        """Token numbers (B, T) of word embeddings (B, T, D): the question's own, or absent where they say so."""
        ids = encoded.ids.expand(len(words), -1)
        if encoded.state is None:  # the numbers do not matter
            return ids
        nobody = all_absent(encoded.ids, encoded.tokens, self._absent)
        own, blank = self._embedding(encoded.ids), self._embedding(nobody)
        gone = (words == blank).all(dim=-1) & ~(words == own).all(dim=-1)
        return torch.where(gone, nobody, ids)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        if layer is None:
            raise Unsupported(
                f"model {self.name!r} does not say which of {length} states are words and which are patches"
            )
        return sequence_positions(self, encoded, length, layer)

    def default_layer(self, encoded: Encoded) -> str:
        return last_map(self, encoded)

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        pixels = fill_in(encoded.pixels, present["image"].elements, fills["image"], seed)
        said = present["question"].elements
        return self._network(pixels, torch.where(said, encoded.ids, self._absent))


def _numbered_vocabulary(text: Any) -> Any:
    """A vocabulary that is a list of words as {word: place}; anything else as it is.

    Raises:
        InvalidInput: it is neither a vocabulary, nor a tokenizer, nor a function.
    """
    if isinstance(text, list | tuple) and text and all(isinstance(word, str) for word in text):
        return {word: place for place, word in enumerate(text)}
    if not isinstance(text, Mapping) and not callable(text):
        raise InvalidInput(
            f"text= must be a vocabulary {{word: number}}, a transformers tokenizer or a function, not "
            f"{type(text).__name__}"
        )
    return text
