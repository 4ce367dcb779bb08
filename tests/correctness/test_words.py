"""What a word is, and that its value is that of its own tokens (issue's section B).

Truth is Unicode's rules by another library, words written down by hand, and plain token numbers.
"""

import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import tokenizer
from custom_net import IMAGE, VOCABULARY, AttendsToGrid
from hypothesis import given, settings
from hypothesis import strategies as st
from more_checkpoints import made
from transformers import PreTrainedTokenizerFast
from uniseg.wordbreak import words as words_by_unicode

import vqa_explain as vx
from vqa_explain.features.words import split_words
from vqa_explain.models.encoded import Encoded

BY_HAND = {
    "Is it 3.5 cm, 1,000 km or −2?": [
        "Is",
        "it",
        "3.5",
        "cm",
        ",",
        "1,000",
        "km",
        "or",
        "−",
        "2",
        "?",
    ],
    "What's the T-shirt's top-left color?": [
        "What's",
        "the",
        "T-shirt's",
        "top-left",
        "color",
        "?",
    ],
    "क्या यह लाल है?": ["क्या", "यह", "लाल", "है", "?"],
    "இது என்ன நிறம்?": ["இது", "என்ன", "நிறம்", "?"],
    "এটা কি রঙ?": ["এটা", "কি", "রঙ", "?"],
    "مَا لَوْنُ الدَّائِرَةِ؟": ["مَا", "لَوْنُ", "الدَّائِرَةِ", "؟"],
    "cafe\u0301 nai\u0308ve": ["cafe\u0301", "nai\u0308ve"],
    "👩‍👩‍👧 🇩🇪🇫🇷 👍🏽 ❤️ 1️⃣ ok": ["👩‍👩‍👧", "🇩🇪", "🇫🇷", "👍🏽", "❤️", "1️⃣", "ok"],
    "ที่นี่มีแมวกี่ตัว": ["ที่", "นี่", "มี", "แมว", "กี่", "ตัว"],
    "这是什么颜色的圆？": ["这", "是", "什么", "颜色", "的", "圆", "？"],
    "この丸は何色ですか？": ["この", "丸は", "何色ですか", "？"],
    "か\u3099は何": ["か\u3099は", "何"],
    "이 원은 무슨 색입니까?": ["이", "원은", "무슨", "색입니까", "?"],
    "日本のTシャツ red?": ["日本の", "T", "シャツ", "red", "?"],
    "l’homme aujourd'hui": ["l’homme", "aujourd'hui"],
    "می‌خواهم": ["می‌خواهم"],
    "foo_bar a.b@c.de": ["foo_bar", "a.b", "@", "c.de"],
    "x²+y": ["x", "²", "+", "y"],
    "T\u2011shirt, top\u2010left?": ["T\u2011shirt", ",", "top\u2010left", "?"],
    "Red?-yes, no-?": ["Red", "?", "-", "yes", ",", "no", "-", "?"],
    "a \u20dd b": ["a", "b"],  # an enclosing mark that encloses nothing
    "この人は, 日本人?": ["この", "人は", ",", "日本人", "?"],  # kana elsewhere: Japanese, too
}


@pytest.mark.parametrize("question", BY_HAND)
def test_words_are_as_people_write_them(question: str) -> None:
    assert [word.text for word in split_words(question)] == BY_HAND[question]


LETTERS = st.sampled_from(
    [
        *"ab Z'.,:;!?_09",
        *"\u0301\u0308\u200d\ufe0f",  # combining marks, a joiner and a mark of emoji
        *"éß",
        *"कखगािी्ं।",
        *"அஆக்ா",
        *"ابتَُّ",
        *"אב״",
        *"한국어",
        *"👍🏽👩🇩🇪",
    ]
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(LETTERS, max_size=25).map("".join))
def test_boundaries_are_those_of_unicode_annex_29(question: Any) -> None:
    bodiless = {" ", "\u0301", "\u0308", "\u200d", "\ufe0f", "ि", "ी", "्", "ं", "ா", "்", "َ", "ُ", "ّ"}
    stray = {c for c in bodiless if unicodedata.category(c) != "Mc"}  # a spacing mark has a body
    wanted = [piece for piece in words_by_unicode(question) if set(piece) - stray]
    assert [word.text for word in split_words(question)] == wanted


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_words_lie_in_the_question_and_nothing_visible_is_left_out(question: Any) -> None:
    at = 0
    for word in split_words(question):
        assert question[word.start : word.end] == word.text
        assert word.start >= at
        at = word.end
    covered = {i for word in split_words(question) for i in range(word.start, word.end)}
    assert all(i in covered for i, c in enumerate(question) if c.isalnum())


# ---- networks of one's own
HINDI = {"<pad>": 0, "<unk>": 1, "क्या": 2, "यह": 3, "लाल": 4, "है": 5, "cafe\u0301": 6, "naïve": 7}


def own(**settings: Any) -> vx.CustomModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = AttendsToGrid()
        for part in net.parameters():
            torch.nn.init.normal_(part, std=0.3)
    named = {
        "image": IMAGE,
        "text": VOCABULARY,
        "labels": ["yes", "no", "red", "blue"],
        "device": "cpu",
    }
    return vx.CustomModel(net, **{**named, **settings})


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ("क्या यह लाल है?", [2, 3, 4, 5]),
        ("Is café naïve?", [1, 6, 7]),
        ("IS NAI\u0308VE cafe\u0301", [1, 7, 6]),
    ],
)
def test_a_vocabulary_in_any_script_knows_its_words(
    question: str, numbers: list[int], noise_picture: np.ndarray
) -> None:
    model = own(text=HINDI)
    encoded = model.encode(vx.Example(noise_picture, question))
    assert encoded.ids[0].tolist() == numbers
    why = vx.explain(model, noise_picture, question, method="leave_one_out", target="red")
    net = model.module
    with torch.no_grad():
        full = float(net(encoded.pixels, encoded.ids)[0, 2])
        for place, word in enumerate(why.words):
            without = encoded.ids.clone()
            without[0, place] = 0
            drop = full - float(net(encoded.pixels, without)[0, 2])
            assert word.value == pytest.approx(drop, abs=1e-5)


def test_a_vocabulary_gives_a_word_as_written_before_its_lower_case(
    noise_picture: np.ndarray,
) -> None:
    model = own(text={"<pad>": 0, "<unk>": 1, "us": 2, "US": 3, "it": 4})
    encoded = model.encode(vx.Example(noise_picture, "US us Us It"))
    assert encoded.ids[0].tolist() == [3, 2, 2, 4]


def split_on_blanks(question: str) -> list[str]:
    return question.replace("?", " ?").split()


def numbers_of(question: str) -> list[int]:
    return [VOCABULARY.get(piece.lower(), 1) for piece in split_on_blanks(question)]


def pairs_of(question: str) -> list[tuple[str, int]]:
    return list(zip(split_on_blanks(question), numbers_of(question), strict=True))


@pytest.mark.slow
def test_a_function_must_say_which_words_its_numbers_are_of(noise_picture: np.ndarray) -> None:
    question = "Is it 3.5 cm?"
    with pytest.raises(vx.InvalidInput, match="does not say which words"):
        vx.explain(own(text=numbers_of), noise_picture, question)
    for model in (own(text=pairs_of), own(text=numbers_of, words=split_on_blanks)):
        why = vx.explain(model, noise_picture, question, method="leave_one_out")
        assert [word.text for word in why.words] == ["Is", "it", "3.5", "cm", "?"]
    with pytest.raises(vx.InvalidInput, match="4 numbers and words= 5 pieces"):
        vx.explain(
            own(text=lambda q: numbers_of(q)[1:], words=split_on_blanks), noise_picture, question
        )
    with pytest.raises(vx.InvalidInput, match="is not in the question"):
        vx.explain(own(text=lambda q: [("whatever", 1)]), noise_picture, question)


def test_a_split_of_ones_own_makes_the_pieces_of_a_vocabulary(noise_picture: np.ndarray) -> None:
    vocabulary = {"<pad>": 0, "<unk>": 1, "圆形": 2, "是": 3, "什么": 4, "颜色": 5}

    def words(question: str) -> list[str]:  # as jieba.lcut gives them
        return ["圆形", "是", "什么", "颜色", "？"] if "圆" in question else question.split()

    model = own(text=vocabulary, words=words)
    encoded = model.encode(vx.Example(noise_picture, "圆形是什么颜色？"))
    assert encoded.ids[0].tolist() == [2, 3, 4, 5]
    assert [word.text for word in encoded.words] == ["圆形", "是", "什么", "颜色"]


# ---- prompts
TRIMMED = [
    "What color is the circle?\n",
    "  What color is the circle?",
    "\tWhat color?  \n\n",
    "red?",
]


def spelled(encoded: Encoded, processor: Any) -> list[Any]:
    """Each word by the numbers that stand at its tokens' places in the prompt."""
    prompt = encoded.state.inputs["input_ids"][0]
    found = []
    for number, _ in enumerate(encoded.words):
        places = [
            encoded.state.prompt.places["question"][i]
            for i, t in enumerate(encoded.tokens)
            if t.word == number
        ]
        found.append(processor.tokenizer.decode(prompt[places]).strip())
    return found


@pytest.fixture(scope="module")
def trimming() -> tuple[vx.Model, Any]:
    module, processor = made("gemma3")
    return vx.load(module, processor=processor, device="cpu"), processor


@pytest.mark.parametrize("question", TRIMMED)
def test_a_question_that_the_template_trims_keeps_its_words(
    trimming: tuple[vx.Model, Any], question: str, noise_picture: np.ndarray
) -> None:
    model, processor = trimming
    encoded = model.encode(vx.Example(noise_picture, question))
    assert [word.text for word in encoded.words] == spelled(encoded, processor)
    assert [word.text for word in encoded.words] == [w.text for w in split_words(question.strip())]
    assert all(question[w.start : w.end] == w.text for w in encoded.words)


@pytest.mark.parametrize(
    "question", ["USER: what?", "ASSISTANT", "the USER: the ASSISTANT: the", "a a a a"]
)
def test_a_question_of_the_templates_own_words_is_found_where_it_stands(
    trimming: tuple[vx.Model, Any], question: str, noise_picture: np.ndarray
) -> None:
    model, processor = trimming
    encoded = model.encode(vx.Example(noise_picture, question))
    assert [word.text for word in encoded.words] == spelled(encoded, processor)
    places = [
        encoded.state.prompt.places["question"][i]
        for i, t in enumerate(encoded.tokens)
        if not t.special
    ]
    assert len(places) == len(processor.tokenizer(question, add_special_tokens=False)["input_ids"])
    # Nothing but the template's end stands behind the question.
    behind = processor.tokenizer.decode(encoded.state.inputs["input_ids"][0][max(places) + 1 :])
    assert behind.split() == ["ASSISTANT:"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (" | upper }}", "changes the question"),
        (" | replace('circle', 'disc') }}", "changes the question"),
        (" }} Again: {{ c['text'] }}", "2 times instead of once"),
    ],
)
def test_a_template_that_changes_the_question_is_refused(
    change: str, message: str, noise_picture: np.ndarray
) -> None:
    module, processor = made("gemma3")
    processor.chat_template = processor.chat_template.replace(" | trim }}", change)
    model = vx.load(module, processor=processor, device="cpu", check=False)
    with pytest.raises(vx.Unsupported, match=message):
        model.encode(vx.Example(noise_picture, "What color is the circle?"))


def test_a_tokenizer_whose_tokens_spell_other_words_is_refused(noise_picture: np.ndarray) -> None:
    """Offsets that are off by one put every value on the next word."""
    words = tokenizer(["<pad>", "<unk>"], pad_token="<pad>", unk_token="<unk>")

    class Shifted(PreTrainedTokenizerFast):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            found = super().__call__(*args, **kwargs)
            if "offset_mapping" in found:
                spans = found["offset_mapping"]
                found["offset_mapping"] = [*spans[1:], spans[-1]]
            return found

    words.__class__ = Shifted
    net = AttendsToGrid(words=len(words))
    model = vx.CustomModel(
        net, image=IMAGE, text=words, labels=["a", "b", "c", "d"], device="cpu", check=False
    )
    with pytest.raises(vx.InvalidInput, match="spell"):
        model.encode(vx.Example(noise_picture, "What color is the circle?"))


SCRIPTS = [
    "What color is the circle, 3.5 or naïve?",
    "क्या यह लाल है?",
    "这是什么颜色的圆？",
    "مَا لَوْنُ الدَّائِرَةِ؟",
    "👩‍👩‍👧 or 👍🏽?",
    "ที่นี่มีแมวกี่ตัว",
]


def too_long(model: Any, question: str) -> Any:
    """Whether a question has more tokens than the model has positions."""
    config = model.module.config
    limit = getattr(config, "text_config", config).max_position_embeddings
    return len(model.processor.tokenizer(question)["input_ids"]) > limit


@pytest.mark.parametrize(
    "family", ["llava", "qwen2_vl", "paligemma", "vilt", "clip", "siglip", "blip"]
)
@pytest.mark.parametrize("question", SCRIPTS)
def test_the_tokens_of_every_word_spell_it_or_it_is_refused(
    models: Callable[[str], Any], family: str, question: str, noise_picture: np.ndarray
) -> None:
    model = models(family)
    words = model.processor.tokenizer
    if too_long(model, question):
        with pytest.raises(vx.InvalidInput, match="shorten the question"):
            model.encode(vx.Example(noise_picture, question))
        return
    encoded = model.encode(vx.Example(noise_picture, question))
    for number, word in enumerate(encoded.words):
        ids = [token.id for token in encoded.tokens if token.word == number]
        if words.unk_token_id in ids and words.unk_token_id is not None:
            continue
        plain = words.decode(ids).replace("##", "").replace(" ", "").lower()
        letters = "".join(c for c in word.text.replace(" ", "").lower())
        assert plain == letters or not plain.isascii() or not letters.isascii()
        assert words.decode(ids).strip() == word.text or family in (
            "vilt",
            "blip",
            "clip",
            "siglip",
        )


# ---- words=
def pieces_of(model: Any, picture: np.ndarray, question: str, asked: list[Any]) -> list[str]:
    why = vx.explain(model, picture, question, method="leave_one_out", words=asked)
    return [word.text for word in why.words]


def test_words_takes_a_split_of_ones_own(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    question = "the small small T-shirt's red"

    def divided(asked: list[Any]) -> list[str]:
        return pieces_of(model, noise_picture, question, asked)

    assert divided(["the", "small", "small", "T", "-", "shirt's", "red"]) == [
        "the", "small", "small", "T", "-", "shirt's", "red"]  # fmt: skip
    assert divided(["small small"]) == ["the", "small small", "T-shirt's", "red"]
    assert divided([(4, 9)]) == ["the", "small", "small", "T-shirt's", "red"]
    both_sides = ["the", "small", "small", "T-", "shirt", "'s", "red"]
    assert divided(["shirt"]) == both_sides
    with pytest.raises(vx.InvalidInput, match="overlaps another phrase"):
        divided(["the small", (0, 3)])
    with pytest.raises(vx.InvalidInput, match="is not in the question"):
        divided(["green"])


def test_a_piece_that_cuts_a_token_is_refused(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    with pytest.raises(vx.InvalidInput, match="cuts the token"):
        pieces_of(models("llava"), noise_picture, "What color is the circle?", ["circ", "le"])


def test_values_of_ones_own_pieces_are_those_of_their_tokens(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    """Against hiding the piece's positions from plain attention, in the same prompt."""
    model = models("llava")
    question = "What color is the circle?"
    asked = ["What color", "is", "the", "circle?"]
    why = vx.explain(
        model,
        noise_picture,
        question,
        method="leave_one_out",
        words=asked,
        answers=["yes", "no"],
        target="yes",
    )
    encoded = model.with_answers(model.encode(vx.Example(noise_picture, question)), ["yes"])
    inputs = encoded.state.inputs
    yes = model.processor.tokenizer("yes", add_special_tokens=False)["input_ids"]
    with torch.no_grad():

        def score(heard: torch.Tensor) -> float:
            ids = torch.cat([inputs["input_ids"], torch.tensor([yes])], dim=1)
            seen = torch.cat([heard, torch.ones(1, len(yes), dtype=heard.dtype)], dim=1)
            # Positions are said outright, since hidden tokens must not move the others.
            places = torch.arange(ids.shape[1])[None]
            logits = model.module(
                input_ids=ids,
                attention_mask=seen,
                pixel_values=inputs["pixel_values"],
                position_ids=places,
            ).logits
            chosen = logits[0, -len(yes) - 1 : -1].log_softmax(-1)
            return float(chosen.gather(1, torch.tensor(yes)[:, None]).sum())

        whole = torch.ones_like(inputs["input_ids"])
        full = score(whole)
        for word in why.words:
            heard = whole.clone()
            for place, token in zip(
                encoded.state.prompt.places["question"], encoded.tokens, strict=True
            ):
                if token.word >= 0 and word.start < token.end and token.start < word.end:
                    heard[0, place] = 0
            assert word.value == pytest.approx(full - score(heard), abs=2e-4)


def test_scripts_without_blanks_that_no_library_knows_are_said_to_be_characters(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    why = vx.explain(
        models("llava"), noise_picture, "តើនេះជាអ្វី red?", method="saliency", answers=["yes"]
    )
    assert any("Khmer" in note and "characters" in note for note in why.notes)
    assert not vx.explain(
        models("llava"), noise_picture, "ที่นี่มีแมวกี่ตัว", method="saliency", answers=["yes"]
    ).notes


def test_words_that_share_a_token_are_one(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    """The model cannot tell them apart, so neither can an explanation."""
    words = tokenizer(["<pad>", "<unk>", "色的"], pad_token="<pad>", unk_token="<unk>")
    words.add_tokens(["么颜色"])
    net = AttendsToGrid(words=len(words))
    model = vx.CustomModel(net, image=IMAGE, text=words, labels=["a", "b", "c", "d"], device="cpu")
    encoded = model.encode(vx.Example(noise_picture, "这是什么颜色的圆？"))
    assert "什么颜色" in [word.text for word in encoded.words]
    assert np.all([t.word >= 0 for t in encoded.tokens])


@pytest.mark.parametrize(
    ("question", "asked", "pieces"),
    [
        ("Is this his red hat?", ["his"], ["Is", "this", "his", "red", "hat", "?"]),
        (
            "Is the blurred red one left?",
            ["red one"],
            ["Is", "the", "blurred", "red one", "left", "?"],
        ),
        ("is this this?", ["this", "is"], ["is", "this", "this", "?"]),
    ],
)
def test_a_phrase_is_found_where_it_is_a_word(
    models: Callable[[str], Any],
    noise_picture: np.ndarray,
    question: str,
    asked: list[str],
    pieces: list[str],
) -> None:
    assert pieces_of(models("llava"), noise_picture, question, asked) == pieces


def test_pieces_of_a_function_stand_where_they_are_words(noise_picture: np.ndarray) -> None:
    def text(question: str) -> list[tuple[str, int]]:
        return [(word, 2) for word in ("his", "red", "hat")]

    model = own(text=text)
    encoded = model.encode(vx.Example(noise_picture, "Is this his red hat?"))
    assert [(w.start, w.end) for w in encoded.words] == [(8, 11), (12, 15), (16, 19)]
