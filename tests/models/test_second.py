"""Words that reach a network by a second sequence of tokens, against transformers called plainly."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES, plain_steps
from architectures.trying import (
    ANSWERS,
    PICTURE,
    encoded_with_answers,
    loaded,
    network,
)
from building import present

import vqa_explain as vx
from vqa_explain.features.regions import grid_regions
from vqa_explain.features.words import split_words
from vqa_explain.models.generative.prompts import Prompt, TextPlace, TextTokens
from vqa_explain.models.generative.second import find_second

NAME = "instructblip_vicuna"


def test_absent_words_are_replaced_in_both_sequences() -> None:
    model, one, (module, processor) = loaded(NAME), ARCHITECTURES[NAME], network(NAME)
    encoded = encoded_with_answers(model)
    said = torch.tensor([[token.word not in (1, 4) for token in encoded.tokens]])
    regions = grid_regions(encoded.geometry.frame, (1, 1))
    coalitions = present(encoded, regions, torch.ones(1, 1).bool(), said)
    ours = model.coalition_scores(encoded, coalitions, {"image": "blur", "question": "mask"}, 0)
    inputs = one.inputs(processor, PICTURE)
    # What color is the circle?, behind 4 tokens of the picture
    inputs["input_ids"][0, [5, 8]] = processor.tokenizer.pad_token_id
    # [CLS] what col ##or is the cir ##cle ? [SEP]
    inputs["qformer_input_ids"][0, [2, 3, 6, 7]] = processor.qformer_tokenizer.mask_token_id
    with torch.no_grad():
        theirs = [plain_steps(one, module, processor, inputs, text).sum() for text in ANSWERS]
    torch.testing.assert_close(ours[0], torch.stack(theirs), atol=1e-4, rtol=1e-5)


def test_methods_over_a_layer_are_refused_for_its_words() -> None:
    model = loaded(NAME)
    encoded = encoded_with_answers(model)
    with pytest.raises(vx.Unsupported, match="by two sequences of tokens"):
        model.positions(encoded, model.prompt_length(encoded))


class Pairs:
    """A tokenizer whose tokens are of two characters each."""

    is_fast = True
    bos_token = None
    convert_ids_to_tokens = None

    def __call__(self, text: str, **_settings: Any) -> dict[str, Any]:
        starts = range(0, len(text), 2)
        return {
            "input_ids": [ord(text[start]) for start in starts],
            "offset_mapping": [(start, min(start + 2, len(text))) for start in starts],
        }


def prompt_of(text: str) -> Prompt:
    """A prompt that is one text, with a token for each of its words."""
    words = tuple(split_words(text))
    tokens: Any = tuple(
        SimpleNamespace(word=number, start=word.start) for number, word in enumerate(words)
    )
    texts = {"question": TextTokens((0,) * len(words), tokens, words)}
    places = {"question": np.arange(len(words))}
    return Prompt(len(words), places, texts, text, {"question": TextPlace(0, len(text), 0)})


def test_tokens_of_the_second_sequence_are_of_the_word_whose_characters_they_are_of() -> None:
    processor = SimpleNamespace(tokenizer=SimpleNamespace(bos_token=None), other=Pairs())
    inputs = {"more": torch.tensor([[ord("r"), ord("d"), ord("b"), ord("u")]])}
    found = find_second(processor, prompt_of("red blue"), inputs)
    assert found is not None
    assert (found.name, found.mask) == ("more", None)
    assert found.texts["question"].places.tolist() == [[0, 1], [2, 3]]


def test_a_token_of_two_words_is_refused() -> None:
    processor = SimpleNamespace(tokenizer=SimpleNamespace(bos_token=None), other=Pairs())
    inputs = {"more": torch.tensor([[ord("r"), ord("d")]])}
    with pytest.raises(vx.Unsupported, match=r"of 'red' and '\?'"):
        find_second(processor, prompt_of("red?"), inputs)


def test_a_tokenizer_that_says_nothing_of_characters_is_refused() -> None:
    slow = Pairs()
    slow.is_fast = False
    processor = SimpleNamespace(tokenizer=SimpleNamespace(bos_token=None), other=slow)
    inputs = {"more": torch.tensor([[ord("r"), ord("d")]])}
    with pytest.raises(vx.Unsupported, match="cannot say which characters"):
        find_second(processor, prompt_of("red"), inputs)
