"""What is said of scripts that nothing divides,
and prompts whose template holds the question's own words.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from custom_net import VOCABULARY, custom

import vqa_explain as vx
from vqa_explain.features.words import in_characters, in_one_run, own_split, split_words

# Scripts without blanks that nothing here divides → a question, and the user's own words.
CHARACTERS = {
    "Lao": ("ສີຫຍັງ", ["ສີ", "ຫຍັງ"]),
    "Khmer": ("ពណ៌អ្វី", ["ពណ៌", "អ្វី"]),
    "Myanmar": ("ဘာအရောင်", ["ဘာ", "အရောင်"]),
    "Tai_Viet": ("ꪎꪲ ꪹꪀꪉ", ["ꪎꪲ", "ꪹꪀꪉ"]),
    "Ahom": ("𑜀𑜁𑜂", ["𑜀𑜁𑜂"]),
    "Tai_Le": ("ᥐᥣᥛ", ["ᥐᥣᥛ"]),
    "New_Tai_Lue": ("ᦀᦃᦄ", ["ᦀᦃᦄ"]),
    "Tai_Tham": ("ᨠᩣᨡ", ["ᨠᩣᨡ"]),
}


@pytest.mark.parametrize("script", CHARACTERS)
def test_scripts_that_nothing_divides_are_named(script: str) -> None:
    question, own = CHARACTERS[script]
    assert in_characters(question, split_words(question)) == (script,)
    assert in_characters(question, own_split(question, own)) == ()
    assert (
        in_characters("What color is it? क्या แมว 猫", split_words("What color is it? क्या แมว 猫"))
        == ()
    )


def test_letters_between_blanks_are_words_and_not_characters_of_one() -> None:
    assert in_characters("ក ខ", split_words("ក ខ")) == ()


def test_a_piece_that_nothing_sets_apart_is_taken_within_a_word() -> None:
    found = own_split("unhappy people", ["happy", "people"])
    assert [(word.start, word.end) for word in found] == [(2, 7), (8, 14)]


def test_a_piece_is_the_word_and_not_the_beginning_of_another() -> None:
    (word,) = own_split("island is", ["is"])
    assert (word.start, word.end) == (7, 9)


@pytest.mark.parametrize(("script", "question", "own"), [
    ("Javanese", "ꦲꦏ꧀ꦱꦫꦗꦮ", ["ꦲꦏ꧀ꦱꦫ", "ꦗꦮ"]),
    ("Balinese", "ᬅᬓ᭄ᬱᬭᬩᬮᬶ", ["ᬅᬓ᭄ᬱᬭ", "ᬩᬮᬶ"]),
])  # fmt: skip
def test_runs_that_are_one_word_are_named(script: str, question: str, own: list[str]) -> None:
    assert in_one_run(question, split_words(question)) == (script,)
    assert in_one_run(question, own_split(question, own)) == ()


def explained(question: str, model: Any, **settings: Any) -> Any:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return vx.explain(model, picture, question, method="leave_one_out", regions=2, **settings)


@pytest.mark.parametrize("script", ["Lao", "Khmer", "Myanmar"])
def test_a_division_of_ones_own_is_not_said_to_be_characters(script: str) -> None:
    question, own = CHARACTERS[script]
    pieces = {word.text: 2 for word in split_words(question)}
    said = f"script {script} are divided into characters"
    model = custom(text={**VOCABULARY, **pieces})
    assert said in repr(explained(question, model))
    assert said in repr(explained(question, model, words="ngrams:2"))
    assert said not in repr(explained(question, model, words=own))
    numbered = {**VOCABULARY, **dict.fromkeys(own, 2)}
    assert said not in repr(explained(question, custom(text=numbered, words=lambda _: own)))


QUESTION = "What color is the circle?"
BODY = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
END = "{% endif %}{% endfor %}{% endfor %}"
# Template → what stands before the question in its prompt, and what of the question is there.
TEMPLATES: dict[str, tuple[Any, ...]] = {
    "as it is": ("Q: {{ c['text'] }} A:", "Q: ", str),
    "trimmed": ("Q: {{ c['text'] | trim }} A:", "Q: ", str.strip),
    "the same words before": (f" {QUESTION} Q: " + "{{ c['text'] }} A:", f" {QUESTION} Q: ", str),
    "the same words behind": ("Q: {{ c['text'] }} " + QUESTION, "Q: ", str),
    "the same words around, " "trimmed": (f" {QUESTION}\n" + "{{ c['text'] | trim }}\n" + QUESTION, f" {QUESTION}\n",
                                       str.strip),
}  # fmt: skip


@pytest.fixture
def llava(models: Callable[[str], Any]) -> Iterator[Any]:
    """A model that writes, whose template the test may change."""
    model = models("llava")
    kept = model.processor.chat_template
    yield model
    model.processor.chat_template = kept


@pytest.mark.parametrize(
    "question", [QUESTION, f"{QUESTION}\n", f"  {QUESTION}", f"\n{QUESTION}  \n"]
)
@pytest.mark.parametrize("name", TEMPLATES)
def test_words_have_the_tokens_that_stand_for_them_in_the_prompt(
    llava: Any, noise_picture: np.ndarray, name: str, question: str
) -> None:
    """Truth: the plain tokenizer's offsets in the prompt, whose beginning is written down here."""
    template, before, change = TEMPLATES[name]
    llava.processor.chat_template = BODY + template + END
    encoded = llava.encode(vx.Example(noise_picture, question))
    text = "<image>" + before + change(question)
    assert _prompt(llava.processor, question).startswith(text)
    tokenizer = llava.processor.tokenizer
    plain = tokenizer(_prompt(llava.processor, question), return_offsets_mapping=True)
    kept = [
        i
        for i, number in enumerate(plain["input_ids"])
        if number != tokenizer.convert_tokens_to_ids("<image>")
    ]
    start = len("<image>" + before) - (question.index(change(question)))
    assert [word.text for word in encoded.words] == ["What", "color", "is", "the", "circle", "?"]
    for number, word in enumerate(encoded.words):
        ours = [i for i, token in enumerate(encoded.tokens) if token.word == number]
        spans = [plain["offset_mapping"][i] for i in kept]
        theirs = [
            i for i, (a, b) in enumerate(spans) if a < start + word.end and b > start + word.start
        ]
        assert ours == theirs, word.text


def _prompt(processor: Any, question: str) -> Any:
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    return processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False)


@pytest.mark.parametrize(("template", "message"), [
    ("{{ c['text'] | upper }}", "changes the question or leaves it out"),
    ("{{ c['text'] }} again: {{ c['text'] }}", "uses the question 2 times"),
    ("What is it?", "changes the question or leaves it out"),
    ("{{ c['text'] | replace('color', 'colour') }}", "changes the question"),
    ("{{ c['text'][:9] }}", "uses the question 1 times|changes the question"),
])  # fmt: skip
def test_templates_that_change_the_words_are_refused(
    llava: Any, noise_picture: np.ndarray, template: str, message: str
) -> None:
    llava.processor.chat_template = BODY + template + END
    with pytest.raises(vx.Unsupported, match=message):
        vx.explain(llava, noise_picture, QUESTION, method="saliency", answers=["yes", "no"])
