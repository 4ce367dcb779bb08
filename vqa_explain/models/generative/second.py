"""A second sequence of tokens by which words reach a network, as those of a query transformer.

Some processors turn the prompt into tokens twice, by two tokenizers. Which of the second's tokens
are of which word follows from the characters that it says they are of. They are changed and hidden
together with those of the prompt.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqa_explain.errors import Unsupported
from vqa_explain.features.text import called
from vqa_explain.features.words import Word
from vqa_explain.models.generative.prompts import (
    Characters,
    Inputs,
    Prompt,
    TextTokens,
    bare_settings,
)

FIRST = {"input_ids", "attention_mask"}  # the prompt's own tensors


@dataclass(frozen=True, eq=False)
class SecondTokens:
    """A text's share of the second sequence, by its T tokens in the prompt.

    Each of these has up to k tokens of the second sequence, which say the same word.

    Attributes:
        places: (T, k) their positions in the second sequence; -1 where there are fewer.
        ids: (T, k) their numbers; 0 where there are fewer.
    """

    places: Tensor
    ids: Tensor

    @property
    def there(self) -> Tensor:
        """(T, k) bool, which of them there are."""
        return self.places >= 0

    @property
    def where(self) -> Tensor:
        """(n,) the positions of those that there are."""
        return self.places[self.there]

    def present(self, elements: Tensor) -> Tensor:
        """(B, n) bool, which of them are there where the prompt's tokens are, (B, T) bool."""
        return elements[..., None].expand(-1, -1, self.places.shape[1])[:, self.there]

    def to(self, device: torch.device) -> "SecondTokens":
        return SecondTokens(self.places.to(device), self.ids.to(device))


@dataclass(frozen=True, eq=False)
class SecondSequence:
    """Another sequence of tokens made of the prompt.

    Attributes:
        name: the tensor (1, M) of its token numbers.
        mask: the tensor (1, M) of which of them may be attended to; `None` where there is none.
        tokenizer: what makes it.
        texts: input name → that text's share of it.
    """

    name: str
    mask: str | None
    tokenizer: Any
    texts: Mapping[str, SecondTokens]

    @property
    def where(self) -> Tensor:
        """(n,) the positions of all words' tokens."""
        return torch.cat([tokens.where for tokens in self.texts.values()])

    def to(self, device: torch.device) -> "SecondSequence":
        texts = {name: tokens.to(device) for name, tokens in self.texts.items()}
        return SecondSequence(self.name, self.mask, self.tokenizer, texts)


def find_second(processor: Any, prompt: Prompt, inputs: Inputs) -> SecondSequence | None:
    """The second sequence that a processor makes of a prompt; `None` where it makes none.

    It is known by its tokenizer: one of the processor's besides the prompt's, that gives the same
    token numbers.

    Raises:
        Unsupported: the tokenizer does not say which characters its tokens are of, or one of its
            tokens is of two words.
    """
    settings = bare_settings(processor.tokenizer, prompt.written)
    for tokenizer in _other_tokenizers(processor):
        ids = tokenizer(prompt.written, **settings)["input_ids"]
        name = next((name for name in _numbers(inputs) if inputs[name][0].tolist() == ids), None)
        if name is None:
            continue
        if not getattr(tokenizer, "is_fast", False):
            raise Unsupported(
                f"{type(tokenizer).__name__} cannot say which characters its tokens in {name} are "
                "of; give a processor with its fast form"
            )
        plain = tokenizer(prompt.written, return_offsets_mapping=True, **settings)
        spans: list[Characters] = plain["offset_mapping"]
        shares = {text: _share(text, prompt, ids, spans) for text in prompt.texts}
        found = {text: share for text, share in shares.items() if len(share.where)}
        return SecondSequence(name, _mask_of(inputs, name), tokenizer, found) if found else None
    return None


def _other_tokenizers(processor: Any) -> Iterator[Any]:
    for part in vars(processor).values():
        if hasattr(part, "convert_ids_to_tokens") and part is not processor.tokenizer:
            yield part


def _numbers(inputs: Inputs) -> Iterator[str]:
    """The tensors of whole numbers (1, M) besides the prompt's."""
    for name, value in inputs.items():
        is_row = isinstance(value, Tensor) and value.ndim == 2 and len(value) == 1
        if is_row and not value.is_floating_point() and name not in FIRST:
            yield name


def _mask_of(inputs: Inputs, name: str) -> str | None:
    """The tensor that has a 1 for each token of the sequence; that it hides them is tried later."""
    return next(
        (
            other
            for other in _numbers(inputs)
            if inputs[other].shape == inputs[name].shape and bool((inputs[other] == 1).all())
        ),
        None,
    )


def _share(name: str, prompt: Prompt, ids: list[int], spans: list[Characters]) -> SecondTokens:
    """The share of one text.

    Raises:
        Unsupported: a token is of two of its words.
    """
    text, place = prompt.texts[name], prompt.found[name]
    length = place.skipped + place.end - place.start
    shares: list[list[int]] = [[] for _ in text.tokens]
    for number, span in enumerate(spans):
        local = place.local(span, length) if span[0] < span[1] else None
        words = _words_in(local, text.words) if local else []
        if len(words) > 1:
            both = " and ".join(repr(text.words[word].text) for word in words[:2])
            raise Unsupported(
                f"one token of the second sequence that the processor makes of {called(name)} is "
                f"of {both}; write them with more between them"
            )
        if local and words:
            shares[_token_at(text, words[0], local[0])].append(number)
    most = max(len(share) for share in shares)
    padded = [share + [-1] * (most - len(share)) for share in shares]
    places = torch.tensor(padded, dtype=torch.long)
    numbers = torch.tensor(ids)[places.clamp_min(0)]
    return SecondTokens(places, torch.where(places >= 0, numbers, 0))


def _words_in(span: Characters, words: tuple[Word, ...]) -> list[int]:
    return [n for n, word in enumerate(words) if span[0] < word.end and span[1] > word.start]


def _token_at(text: TextTokens, word: int, start: int) -> int:
    """The last of a word's tokens in the prompt that begins no later; else its first."""
    own = [n for n, token in enumerate(text.tokens) if token.word == word]
    before = [n for n in own if text.tokens[n].start <= start]
    return before[-1] if before else own[0]
