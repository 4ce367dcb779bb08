"""Questions about pages: spans as answers, against plain calls of transformers."""

from functools import cache
from typing import Any

import numpy as np
import page_checkpoints
import pytest
import torch
import transformers
from page_checkpoints import BOXES, PAGE, PAGE_MAKERS, QUESTION, WORDS, example_of

import vqa_explain as vx
from vqa_explain.evaluation.stamps import row_stamp
from vqa_explain.features.base import Division, Present

tf: Any = transformers
ANSWERS = ("red", "circle is", "blue")
NAMES = tuple(PAGE_MAKERS)
Made = tuple[Any, Any]


@cache
def network(name: str) -> Made:
    return page_checkpoints.made(name)


@cache
def loaded(name: str) -> Any:
    """The model, which has passed its self-check."""
    module, processor = network(name)
    return vx.load(module, processor=processor, device="cpu")


def plain_inputs(name: str, picture: np.ndarray) -> Any:
    """What the processor gives, called as its documentation says."""
    processor = network(name)[1]
    if name == "layoutlmv3":
        return processor(picture, QUESTION, list(WORDS), boxes=BOXES, return_tensors="pt")
    found = processor(
        QUESTION.split(),
        list(WORDS),
        is_split_into_words=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    boxes = []
    for number, text, word in zip(
        found.input_ids[0], found.sequence_ids(0), found.word_ids(0), strict=True
    ):
        outside = [1000] * 4 if number == processor.sep_token_id else [0] * 4
        boxes.append(BOXES[word] if text == 1 else outside)
    found["bbox"] = torch.tensor([boxes])
    return found


def plain_spans(name: str, inputs: Any, sequence: list[int | None], **changes: Any) -> torch.Tensor:
    """(N, N) the log-probability of every span, −inf where it is none of the page."""
    with torch.no_grad():
        found = network(name)[0](**{**inputs, **changes})
    # LayoutLMv3 gives logits of its patches too, behind those of the tokens.
    whole = [*sequence, *[None] * (found.start_logits.shape[1] - len(sequence))]
    beside = torch.tensor([number != 1 for number in whole])
    ends = [
        one[0].masked_fill(beside, -torch.inf).log_softmax(-1)
        for one in (found.start_logits, found.end_logits)
    ]
    together = ends[0][:, None] + ends[1][None, :]
    spans = torch.ones_like(together, dtype=torch.bool).triu()
    scores: torch.Tensor = together.masked_fill(~spans, -torch.inf)
    return scores


def words_of(inputs: Any, first: int, last: int) -> tuple[int, int]:
    """The first token of a word of the page, and the last of another."""
    pairs = list(zip(inputs.sequence_ids(0), inputs.word_ids(0), strict=True))
    own = [place for place, pair in enumerate(pairs) if pair == (1, first)]
    other = [place for place, pair in enumerate(pairs) if pair == (1, last)]
    return own[0], other[-1]


def letters_of(name: str, inputs: Any, first: int, last: int) -> float:
    """The score of a span of words: LayoutLMv3 may begin it at the mark of its blank or behind,
    and end it at the mark of the next word's.
    """
    scores = plain_spans(name, inputs, inputs.sequence_ids(0))
    start, end = words_of(inputs, first, last)
    marks = network(name)[1]
    tokenizer: Any = getattr(marks, "tokenizer", marks)
    pieces = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    begins, ends = pieces[start] == "Ġ", pieces[end + 1] == "Ġ"
    return float(scores[start : start + 1 + begins, end : end + 1 + ends].max())


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_those_of_the_plain_call(name: str, noise_picture: np.ndarray) -> None:
    model = loaded(name)
    encoded = model.with_answers(model.encode(example_of(model, noise_picture)), ANSWERS)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))[0]
    inputs = plain_inputs(name, noise_picture)
    red = max(letters_of(name, inputs, place, place) for place in (3, 9))
    wanted = [red, letters_of(name, inputs, 1, 2), letters_of(name, inputs, 7, 7)]
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_the_likeliest_span_of_the_page(name: str, noise_picture: np.ndarray) -> None:
    model = loaded(name)
    inputs = plain_inputs(name, noise_picture)
    scores = plain_spans(name, inputs, inputs.sequence_ids(0))
    start, end = divmod(int(scores.argmax()), len(scores))
    why = vx.explain(model, example_of(model, noise_picture), method="saliency")
    assert why.answers[0].probability == pytest.approx(float(scores.max().exp()), rel=1e-4)
    spelled = network(name)[1].decode(inputs["input_ids"][0, start : end + 1])
    assert "".join(why.target.lower().split()) == "".join(spelled.lower().split())
    assert why.target in " ".join(WORDS)


@pytest.mark.parametrize("question", ["red?", QUESTION, "yes and"])
@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_the_same_span_whether_the_model_gave_it_or_a_user(
    name: str, question: str, noise_picture: np.ndarray
) -> None:
    """Marks of blanks are tokens of LayoutLMv3's, and an answer may end with one."""
    model = loaded(name)
    example = example_of(model, noise_picture, question=question)
    written, fresh = model.encode(example), model.encode(example)
    texts = model.generate(written)
    theirs = model.with_answers(written, texts).candidates
    assert model.with_answers(fresh, texts).candidates.ids == theirs.ids


def test_an_answer_does_not_end_before_it_begins() -> None:
    """Of pages of other words, some have their best start behind their best end."""
    model, module = loaded("layoutlm"), network("layoutlm")[0]
    crossed = 0
    for turn in range(10):
        page = vx.Page([*WORDS[turn:], *WORDS[:turn]], BOXES, size=(1000, 1000))
        encoded = model.encode(vx.Example.of({"question": QUESTION, "page": page}))
        with torch.no_grad():
            found = module(**encoded.state.inputs)
        own = encoded.state.places["page"]
        starts, ends = (one[0, own] for one in (found.start_logits, found.end_logits))
        crossed += int(starts.argmax() > ends.argmax())
        scores = (starts[:, None] + ends[None, :]).masked_fill(
            ~torch.ones(len(own), len(own), dtype=torch.bool).triu(), -torch.inf
        )
        text = model.generate(encoded)[0]
        first, last = encoded.state.chosen[text]
        assert (first, last) == divmod(int(scores.argmax()), len(own))
    assert crossed


def coalitions(encoded: Any, absent: dict[str, list[int]]) -> dict[str, Present]:
    """One coalition in which these words of each input are absent."""
    found = {}
    for one in encoded.inputs:
        division: Division = one.divide(None)
        players = torch.ones(1, division.count, dtype=torch.bool)
        players[0, absent.get(one.name, [])] = False
        found[one.name] = Present(division, players)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", ["mask", "pad"])
def test_absent_words_are_masked_or_not_attended_to(
    name: str, fill: str, noise_picture: np.ndarray
) -> None:
    """The word of the page is masked in both; that of the question is masked or hidden."""
    model = loaded(name)
    encoded = model.with_answers(model.encode(example_of(model, noise_picture)), ["blue"])
    fills = {"image": "blur", "question": fill, "page": "mask"}
    absent = {"question": [1], "page": [4]}
    ours = model.coalition_scores(encoded, coalitions(encoded, absent), fills, 0)
    inputs = plain_inputs(name, noise_picture)
    sequence, words = inputs.sequence_ids(0), inputs.word_ids(0)
    ids, heard = inputs["input_ids"].clone(), inputs["attention_mask"].clone()
    mask = model.tokenizer.mask_token_id
    for place, (text, word) in enumerate(zip(sequence, words, strict=True)):
        if (text, word) == (0, 1) and fill == "pad":
            heard[0, place] = 0
        elif (text, word) in ((1, 4), (0, 1)):
            ids[0, place] = mask
    scores = plain_spans(name, inputs, sequence, input_ids=ids, attention_mask=heard)
    start, end = words_of(inputs, 7, 7)
    first, last = (number + sequence.index(1) for number in encoded.candidates.ids[0])
    assert start <= first <= end <= last <= end + 1
    assert float(ours[0, 0]) == pytest.approx(float(scores[first, last]), abs=1e-5)


def test_an_absent_region_of_the_page_is_a_changed_picture(noise_picture: np.ndarray) -> None:
    model = loaded("layoutlmv3")
    encoded = model.with_answers(model.encode(example_of(model, noise_picture)), ["blue"])
    present = coalitions(encoded, {"image": [5]})
    fills = {"image": "constant", "question": "mask", "page": "mask"}
    ours = model.coalition_scores(encoded, present, fills, 0)
    inputs = plain_inputs("layoutlmv3", noise_picture)
    pixels = inputs["pixel_values"].clone()
    pixels[:, :, 8:16, 8:16] = 0  # the sixth of 4 × 4 patches, in the normalized range
    sequence = inputs.sequence_ids(0)
    scores = plain_spans("layoutlmv3", inputs, sequence, pixel_values=pixels)
    first, last = (place + sequence.index(1) for place in encoded.candidates.ids[0])
    assert float(ours[0, 0]) == pytest.approx(float(scores[first, last]), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_integrated_gradients_are_complete(name: str, noise_picture: np.ndarray) -> None:
    model = loaded(name)
    example = example_of(model, noise_picture)
    why = vx.explain(
        model, example, method="integrated_gradients", target="blue", steps=24, contrast="red"
    )
    encoded = model.with_answers(model.encode(example), ["blue", "red"])
    fills = {one.name: "mask" for one in encoded.inputs}
    fills["image"] = "mean"
    with torch.no_grad():
        full = model.scores(encoded, model.leaves(encoded))[0]
        empty = model.scores(encoded, model.baselines(encoded, fills, 0))[0]
    change = float((full - empty)[0] - (full - empty)[1])
    values = sum(sum(part.values) for part in why.parts)
    assert values == pytest.approx(change, abs=0.05 * abs(change) + 1e-3)


def test_the_tokens_of_an_answer_are_where_it_begins_and_ends(noise_picture: np.ndarray) -> None:
    model = loaded("layoutlm")
    example = example_of(model, noise_picture)
    parts = [
        vx.explain(model, example, method="input_x_gradient", target="circle is", target_token=at)
        for at in (0, 1)
    ]
    whole = vx.explain(model, example, method="input_x_gradient", target="circle is")
    added = np.add(parts[0]["page"].values, parts[1]["page"].values)
    np.testing.assert_allclose(added, whole["page"].values, atol=1e-6)
    assert "“circle”" in parts[0].explained


def test_boxes_in_pixels_are_those_in_parts_of_the_page(noise_picture: np.ndarray) -> None:
    model = loaded("layoutlm")
    wide = vx.Page(WORDS, np.array(BOXES) * [2, 0.5, 2, 0.5], size=(500, 2000))
    boxes = [
        model.encode(example_of(model, noise_picture, page)).state.inputs["bbox"]
        for page in (PAGE, wide)
    ]
    assert torch.equal(boxes[0], boxes[1])


def test_a_resumed_run_notices_moved_words() -> None:
    moved = vx.Page(WORDS, np.add(BOXES, [0, 5, 0, 5]), size=(1000, 1000))
    stamps = [
        row_stamp(vx.Example.of({"question": QUESTION, "page": page})) for page in (PAGE, moved)
    ]
    assert stamps[0]["picture"] != stamps[1]["picture"]


@pytest.mark.parametrize(
    ("words", "boxes", "size", "said"),
    [
        ([], [], (10, 10), "there is none"),
        (["a", " "], [[0, 0, 1, 1]] * 2, (10, 10), "word 1 is empty"),
        ("a b", [[0, 0, 1, 1]] * 3, (10, 10), "a list of texts"),
        (["a"], [[0, 0, 1]], (10, 10), r"must be \(1, 4\)"),
        (["a"], [[0, 0, 1, float("nan")]], (10, 10), r"must be \(1, 4\)"),
        (["a"], [[0, 0, 11, 1]], (10, 10), "no box on a page"),
        (["a"], [[5, 0, 4, 1]], (10, 10), "no box on a page"),
        (["a"], [[0, 0, 1, 1]], 10, "its size"),
    ],
)
def test_pages_that_cannot_be_are_refused(words: Any, boxes: Any, size: Any, said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.Page(words, boxes, size)


def test_what_is_no_page_is_refused(noise_picture: np.ndarray) -> None:
    model = loaded("layoutlm")
    with pytest.raises(vx.InvalidInput, match=r"give an Example.of with a vqa_explain\.Page named"):
        vx.explain(model, question=QUESTION)
    with pytest.raises(vx.InvalidInput, match=r"give vqa_explain.Page\(words, boxes, size\)"):
        vx.explain(model, vx.Example.of({"question": QUESTION, "page": "the red circle"}))
    example = example_of(model, noise_picture)
    with pytest.raises(vx.InvalidInput, match=r"the answer 'green' is not on the page"):
        vx.explain(model, example, target="green")
    many = vx.Page(WORDS * 8, BOXES * 8, size=(1000, 1000))
    with pytest.raises(vx.InvalidInput, match="takes 64; give the words of a part"):
        vx.explain(model, example_of(model, noise_picture, many))
    control = vx.Page(("[SEP]", *WORDS[1:]), BOXES, size=(1000, 1000))
    with pytest.raises(vx.InvalidInput, match="'\\[SEP\\]' is a special token"):
        vx.explain(model, example_of(model, noise_picture, control))
    with pytest.raises(vx.VQAExplainError, match="no layer that is known to hold a map"):
        vx.explain(
            loaded("layoutlmv3"),
            example_of(loaded("layoutlmv3"), noise_picture),
            method="grad_cam",
        )


def test_processors_that_do_not_suit_are_refused() -> None:
    module, processor = network("layoutlmv3")
    reading = tf.LayoutLMv3Processor(
        tf.LayoutLMv3ImageProcessor(apply_ocr=True), processor.tokenizer
    )
    with pytest.raises(vx.InvalidInput, match="apply_ocr=False"):
        vx.load(module, processor=reading, device="cpu")
    with pytest.raises(vx.InvalidInput, match="not the tokenizer alone"):
        vx.load(module, processor=processor.tokenizer, device="cpu")
    config = tf.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    plain = tf.BertForQuestionAnswering(config)
    with pytest.raises(vx.InvalidInput, match="takes no boxes of words"):
        vx.load(plain, processor=network("layoutlm")[1], device="cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_gives_the_same(name: str, tmp_path: Any, noise_picture: np.ndarray) -> None:
    module, processor = network(name)
    module.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    model = vx.load(tmp_path, device="cpu")
    parts: dict[str, Any] = {"method": "saliency", "target": "blue"}
    first, second = (
        vx.explain(one, example_of(one, noise_picture), **parts) for one in (model, loaded(name))
    )
    np.testing.assert_array_equal(first["page"].values, second["page"].values)
    first.save(tmp_path / "why.vqax")
    kept = vx.load_explanation(tmp_path / "why.vqax")
    assert kept["page"].players == first["page"].players
