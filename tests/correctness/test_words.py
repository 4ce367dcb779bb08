"""Words are cut as people cut them, and every value stands on the word whose tokens the model read."""

import unicodedata

import numpy as np
import pytest
from custom_net import VOCABULARY, custom
from hypothesis import given, settings
from hypothesis import strategies as st

import vqa_explain as vx
from vqa_explain.features.words import in_characters, in_one_run, own_split, split_words

# Question → its words, as Unicode Standard Annex 29 or a reader of the language divides them.
DIVIDED = {
    "Hindi": ("यह क्या है?", ["यह", "क्या", "है", "?"]),
    "Tamil": ("இது என்ன நிறம்?", ["இது", "என்ன", "நிறம்", "?"]),
    "Bengali": ("এটা কী?", ["এটা", "কী", "?"]),
    "vowelled Arabic": ("مَا هٰذَا؟", ["مَا", "هٰذَا", "؟"]),
    "pointed Hebrew": ("מַה זֶּה?", ["מַה", "זֶּה", "?"]),
    "decomposed accents": ("un cafe\u0301 noir", ["un", "cafe\u0301", "noir"]),
    "Vietnamese, decomposed": (unicodedata.normalize("NFD", "màu gì"), [*map(
        lambda word: unicodedata.normalize("NFD", word), ["màu", "gì"])]),
    "Thai": ("แมวสีอะไร", ["แมว", "สี", "อะไร"]),
    "Chinese": ("这是什么颜色？", ["这", "是", "什么", "颜色", "？"]),
    "Japanese phrases": ("これは何色ですか", ["これは", "何色ですか"]),
    "Korean": ("무슨 색이에요?", ["무슨", "색이에요", "?"]),
    "joined emoji": ("is 👩‍🚀 or 👨‍👩‍👧 here", ["is", "👩‍🚀", "or", "👨‍👩‍👧", "here"]),
    "flag and skin": ("🇫🇷 👍🏽?", ["🇫🇷", "👍🏽", "?"]),
    "numbers": ("3.5 or 1,000 m?", ["3.5", "or", "1,000", "m", "?"]),
    "apostrophes": ("what's O\u2019Neil's?", ["what's", "O\u2019Neil's", "?"]),
    "hyphens": ("a T-shirt - red?", ["a", "T-shirt", "-", "red", "?"]),
    "German": ("Größe des Straßenbahnhäuschens?", ["Größe", "des", "Straßenbahnhäuschens", "?"]),
    "Greek and Cyrillic": ("τι χρώμα? какого цвета?", ["τι", "χρώμα", "?", "какого", "цвета", "?"]),
    "scripts side by side": ("is 猫 a cat?", ["is", "猫", "a", "cat", "?"]),
}  # fmt: skip


@pytest.mark.parametrize("name", DIVIDED)
def test_questions_divide_as_readers_divide_them(name):
    question, words = DIVIDED[name]
    found = split_words(question)
    assert [word.text for word in found] == words
    assert all(question[word.start : word.end] == word.text for word in found)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40))
def test_words_hold_every_letter_once_and_cut_no_mark_off(question):
    found = split_words(question)
    places = [place for word in found for place in range(word.start, word.end)]
    assert places == sorted(set(places))
    letters = {i for i, c in enumerate(question) if c.isalnum()}
    assert letters <= set(places)
    for word in found:
        before = question[word.start - 1] if word.start else " "
        if unicodedata.combining(word.text[0]):
            assert not before.isalnum()  # a mark stays with the letter before it


# Scripts without blanks that nothing here divides → a question, and the user's own words.
LAO, KHMER, MYANMAR = "ສີຫຍັງ", "ពណ៌អ្វី", "ဘာအရောင်"
CHARACTERS = {
    "Lao": (LAO, ["ສີ", "ຫຍັງ"]),
    "Khmer": (KHMER, ["ពណ៌", "អ្វី"]),
    "Myanmar": (MYANMAR, ["ဘာ", "အရောင်"]),
    "Tai_Viet": ("ꪎꪲ ꪹꪀꪉ", ["ꪎꪲ", "ꪹꪀꪉ"]),
    "Ahom": ("𑜀𑜁𑜂", ["𑜀𑜁𑜂"]),
}


@pytest.mark.parametrize("script", CHARACTERS)
def test_scripts_that_nothing_divides_are_named(script):
    question, own = CHARACTERS[script]
    assert in_characters(question, split_words(question)) == (script,)
    assert in_characters(question, own_split(question, own)) == ()
    assert in_characters("What color is it? क्या แมว 猫", split_words("What color is it? क्या แมว 猫")) == ()


@pytest.mark.parametrize(("script", "question", "own"), [
    ("Javanese", "ꦲꦏ꧀ꦱꦫꦗꦮ", ["ꦲꦏ꧀ꦱꦫ", "ꦗꦮ"]),
    ("Balinese", "ᬅᬓ᭄ᬱᬭᬩᬮᬶ", ["ᬅᬓ᭄ᬱᬭ", "ᬩᬮᬶ"]),
])  # fmt: skip
def test_runs_that_are_one_word_are_named(script, question, own):
    assert in_one_run(question, split_words(question)) == (script,)
    assert in_one_run(question, own_split(question, own)) == ()


def explained(question, model, **settings):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return vx.explain(model, picture, question, method="leave_one_out", regions=2, **settings)


@pytest.mark.parametrize("script", ["Lao", "Khmer", "Myanmar"])
def test_a_division_of_ones_own_is_not_said_to_be_characters(script):
    question, own = CHARACTERS[script]
    pieces = {word.text: 2 for word in split_words(question)}
    said = f"script {script} are divided into characters"
    model = custom(text={**VOCABULARY, **pieces})
    assert said in repr(explained(question, model))
    assert said in repr(explained(question, model, words="ngrams:2"))
    assert said not in repr(explained(question, model, words=own))
    numbered = {**VOCABULARY, **{piece: 2 for piece in own}}
    assert said not in repr(explained(question, custom(text=numbered, words=lambda _: own)))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_vocabulary_gets_the_numbers_of_its_words(form):
    """Truth: the numbers are written down by hand."""
    vocabulary = {"<pad>": 0, "<unk>": 1, "यह": 2, "क्या": 3, "है": 4, "café": 5}
    question = unicodedata.normalize(form, "यह क्या है café?")
    model = custom(text=vocabulary)
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    assert model.encode(vx.Example(picture, question)).ids.tolist() == [[2, 3, 4, 5]]


def halves(question):
    """As many numbers as words, each of another piece: "3.5" as two, "cm" and "?" as one."""
    return [2, 3, 4, 5, 6]


OWN = {
    "a count that happens to match": ({"text": halves}, "does not say which words"),
    "pieces that are not in the question": ({"text": lambda q: [("IS", 2), ("it", 3)]}, "piece 'IS' is not in"),
    "pieces out of order": ({"text": lambda q: [("it", 2), ("Is", 3)]}, "in the order"),
    "another count than words=": ({"text": lambda q: [2, 3], "words": str.split}, "gave 2 numbers and words= 4"),
}


@pytest.mark.parametrize("name", OWN)
def test_numbers_of_unknown_pieces_are_refused(name):
    settings, message = OWN[name]
    with pytest.raises(vx.InvalidInput, match=message):
        explained("Is it 3.5 cm?", custom(**settings))


@pytest.mark.parametrize("settings", [
    {"text": lambda q: [(piece, 2 + i) for i, piece in enumerate(q.split())]},
    {"text": lambda q: [2, 3, 4, 5], "words": str.split},
])  # fmt: skip
def test_a_function_that_says_its_pieces_has_its_values_on_them(settings):
    """Truth: the score of the plain network with that piece's number replaced."""
    import torch

    model = custom(**settings)
    why = explained("Is it 3.5 cm?", model, target="red")
    assert [word.text for word in why.words] == ["Is", "it", "3.5", "cm?"]
    pixels = model.encode(vx.Example(why.picture, "Is it 3.5 cm?")).pixels
    with torch.no_grad():
        whole = model.module(pixels, torch.tensor([[2, 3, 4, 5]]))[0, 2]
        for place, word in enumerate(why.words):
            ids = torch.tensor([[2, 3, 4, 5]])
            ids[0, place] = 0
            assert word.value == pytest.approx(float(whole - model.module(pixels, ids)[0, 2]), abs=1e-5)


QUESTION = "What color is the circle?"
BODY = "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
END = "{% endif %}{% endfor %}{% endfor %}"
# Template → what stands before the question in its prompt, and what of the question is there.
TEMPLATES = {
    "as it is": ("Q: {{ c['text'] }} A:", "Q: ", str),
    "trimmed": ("Q: {{ c['text'] | trim }} A:", "Q: ", str.strip),
    "the same words before": (f" {QUESTION} Q: " + "{{ c['text'] }} A:", f" {QUESTION} Q: ", str),
    "the same words behind": ("Q: {{ c['text'] }} " + QUESTION, "Q: ", str),
    "the same words around, trimmed": (f" {QUESTION}\n" + "{{ c['text'] | trim }}\n" + QUESTION, f" {QUESTION}\n",
                                       str.strip),
}  # fmt: skip


@pytest.fixture
def llava(models):
    """A model that writes, whose template the test may change."""
    model = models("llava")
    kept = model.processor.chat_template
    yield model
    model.processor.chat_template = kept


@pytest.mark.parametrize("question", [QUESTION, f"{QUESTION}\n", f"  {QUESTION}", f"\n{QUESTION}  \n"])
@pytest.mark.parametrize("name", TEMPLATES)
def test_words_have_the_tokens_that_stand_for_them_in_the_prompt(llava, noise_picture, name, question):
    """Truth: the plain tokenizer's offsets in the prompt, whose beginning is written down here."""
    template, before, change = TEMPLATES[name]
    llava.processor.chat_template = BODY + template + END
    encoded = llava.encode(vx.Example(noise_picture, question))
    text = "<image>" + before + change(question)
    assert _prompt(llava.processor, question).startswith(text)
    tokenizer = llava.processor.tokenizer
    plain = tokenizer(_prompt(llava.processor, question), return_offsets_mapping=True)
    kept = [i for i, number in enumerate(plain["input_ids"]) if number != tokenizer.convert_tokens_to_ids("<image>")]
    start = len("<image>" + before) - (question.index(change(question)))
    assert [word.text for word in encoded.words] == ["What", "color", "is", "the", "circle", "?"]
    for number, word in enumerate(encoded.words):
        ours = [i for i, token in enumerate(encoded.tokens) if token.word == number]
        spans = [plain["offset_mapping"][i] for i in kept]
        theirs = [i for i, (a, b) in enumerate(spans) if a < start + word.end and b > start + word.start]
        assert ours == theirs, word.text


def _prompt(processor, question):
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    return processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False)


@pytest.mark.parametrize(("template", "message"), [
    ("{{ c['text'] | upper }}", "uses the question 0 times"),
    ("{{ c['text'] }} again: {{ c['text'] }}", "uses the question 2 times"),
    ("What is it?", "uses the question 0 times"),
    ("{{ c['text'] | replace('color', 'colour') }}", "changes the question"),
    ("{{ c['text'][:9] }}", "uses the question 1 times|changes the question"),
])  # fmt: skip
def test_templates_that_change_the_words_are_refused(llava, noise_picture, template, message):
    llava.processor.chat_template = BODY + template + END
    with pytest.raises(vx.Unsupported, match=message):
        vx.explain(llava, noise_picture, QUESTION, method="saliency", answers=["yes", "no"])
