"""Networks that run as a whole, and pictures in any form, against transformers called plainly."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from checkpoints import llava, randomized, token_id, tokenizer
from more_checkpoints import SQUARE, blip_caption, internvl
from PIL import Image
from transformers.models.llava.modeling_llava import LlavaModel, LlavaModelOutputWithPast

import vqa_explain as vx

QUESTION = "What color is the circle?"
Maker = Callable[[], tuple[Any, Any]]


def blip2_t5() -> tuple[Any, Any]:
    """An encoder and a decoder: the answer begins with a token of the decoder's own."""
    words = tokenizer(
        ["<pad>", "<s>", "</s>"], pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    small["num_attention_heads"] = 4
    processor = tf.Blip2Processor(tf.BlipImageProcessor(**SQUARE), words, num_query_tokens=4)
    marks: dict[str, Any] = {"decoder_start_token_id": 0, "pad_token_id": 0}
    text = tf.T5Config(
        vocab_size=len(words), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, **marks
    )
    config = tf.Blip2Config(
        vision_config={**small, "image_size": 32, "patch_size": 8},
        qformer_config={**small, "encoder_hidden_size": 32, "vocab_size": len(words)},
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=token_id(words, "<image>"),
    )
    return tf.Blip2ForConditionalGeneration(config), processor


def made(make: Maker) -> tuple[Any, Any]:
    """A network with weights that matter, and its processor."""
    module, processor = randomized(make)
    return module.eval(), processor


def loaded(module: Any, processor: Any) -> Any:
    return vx.load(module, processor=processor, device="cpu", check=False)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def scores(model: Any, encoded: Any, answers: list[str], token: int | None = None) -> torch.Tensor:
    encoded = model.with_answers(encoded, answers, token)
    with torch.no_grad():
        found: torch.Tensor = model.scores(encoded, model.leaves(encoded))[0]
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pictures_in_tiles_are_followed_in_every_number_type(
    picture: np.ndarray, dtype: torch.dtype
) -> None:
    module, processor = made(internvl)
    model = loaded(module.to(dtype), processor)
    encoded = model.encode(vx.Example(picture, QUESTION))
    found = scores(model, encoded, ["red"], 0)
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}],
        add_generation_prompt=True,
    )
    inputs = processor(text=text, images=Image.fromarray(picture), return_tensors="pt").to(dtype)
    red = processor.tokenizer("red", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        plain = module(**inputs).logits[0, -1].log_softmax(-1)[red]
    torch.testing.assert_close(found[0], plain, rtol=1e-2, atol=1e-4, check_dtype=False)


@pytest.mark.parametrize(
    ("make", "question"), [(blip2_t5, QUESTION), (blip_caption, QUESTION), (blip_caption, None)]
)
def test_its_own_answer_is_all_that_it_writes_and_no_more(
    picture: np.ndarray, make: Maker, question: str | None
) -> None:
    module, processor = made(make)
    model = loaded(module, processor)
    encoded = model.encode(vx.Example(picture, question) if question else vx.Example(picture))
    model.generate(encoded)
    (ours,) = encoded.state.written.values()
    words = {"text": question} if question else {}
    inputs = processor(images=Image.fromarray(picture), return_tensors="pt", **words)
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        alone = module.generate(
            **inputs,
            max_new_tokens=12,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    # What is written has as many logits as tokens.
    new = alone.sequences[0, -len(alone.logits) :].tolist()
    assert list(ours) == [
        token for token in new if token not in processor.tokenizer.all_special_ids
    ]


def test_an_answer_goes_behind_the_token_that_the_network_is_made_to_begin_with(
    picture: np.ndarray,
) -> None:
    module, processor = made(blip2_t5)
    module.language_model.generation_config.forced_bos_token_id = 5
    model = loaded(module, processor)
    encoded = model.encode(vx.Example(picture, QUESTION))
    found = scores(model, encoded, ["red circle"])
    ids = processor.tokenizer("red circle", add_special_tokens=False)["input_ids"]
    inputs = processor(text=QUESTION, images=Image.fromarray(picture), return_tensors="pt")
    inputs.pop("token_type_ids", None)
    begun = torch.tensor([[0, 5, *ids[:-1]]])
    with torch.no_grad():
        logits = module(**inputs, decoder_input_ids=begun).logits[0, 1:]
    plain = logits.log_softmax(-1)[range(len(ids)), ids].sum()
    torch.testing.assert_close(found[0], plain)
    one = model.with_answers(encoded, ["red circle"], 0)
    with torch.no_grad():
        first = model.scores(one, model.leaves(one))
    torch.testing.assert_close(model.plain_scores(one), first)


BEAMS: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2, "return_dict_in_generate": True}


@pytest.mark.parametrize("make", [llava, blip2_t5, blip_caption])
def test_how_a_checkpoint_writes_by_itself_changes_no_score(
    picture: np.ndarray, make: Maker
) -> None:
    """Checkpoints such as Florence-2's ask for beams, each of which has logits of its own."""
    module, processor = made(make)
    example = vx.Example(picture, QUESTION)
    found = []
    for settings in ({}, BEAMS):
        parts = [one for one in module.modules() if getattr(one, "generation_config", None)]
        for part, (name, value) in product(parts, settings.items()):
            setattr(part.generation_config, name, value)
        model = loaded(module, processor)
        encoded = model.with_answers(model.encode(example), ["yes", "red circle"])
        with torch.no_grad():
            ours, theirs = model.scores(encoded, model.leaves(encoded)), model.plain_scores(encoded)
        assert theirs.shape == (1, 2)
        torch.testing.assert_close(ours[:, 0], theirs[:, 0])
        found.append((ours, model.generate(encoded)))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


class ScaledLlava(LlavaModel):
    """Scales what its words are looked up as before its decoder gets them, as MiniCPM-V does."""

    def forward(
        self,
        input_ids: Any = None,
        inputs_embeds: Any = None,
        pixel_values: Any = None,
        mm_encoder_outputs: Any = None,
        **given: Any,
    ) -> Any:
        states = inputs_embeds
        if states is None:
            states = 3 * self.get_input_embeddings()(input_ids)
        shown = (mm_encoder_outputs or {}).get("image")
        if shown is None and pixel_values is not None:
            shown = self.get_image_features(pixel_values=pixel_values, return_dict=True)
        if shown is not None:
            where = (input_ids == self.config.image_token_id)[..., None]
            states = states.masked_scatter(where, torch.cat(list(shown.pooler_output)))
        return LlavaModelOutputWithPast(**self.language_model(inputs_embeds=states, **given))


def test_words_that_a_network_changes_before_its_decoder_matter_as_much_as_to_it(
    picture: np.ndarray,
) -> None:
    module, processor = made(llava)
    module.model.__class__ = ScaledLlava
    model = loaded(module, processor)
    encoded = model.with_answers(model.encode(vx.Example(picture, QUESTION)), ["red circle"])
    other = model.with_answers(
        model.encode(vx.Example(picture, "What circle is the color?")), ["red circle"]
    )
    inputs = model.encode(vx.Example(picture, QUESTION)).state.inputs
    ids = torch.tensor([processor.tokenizer("red circle", add_special_tokens=False)["input_ids"]])
    whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], ids], dim=1)}
    whole["attention_mask"] = torch.ones_like(whole["input_ids"])
    with torch.no_grad():
        said = module(**whole).logits[0, -ids.shape[1] - 1 : -1].log_softmax(-1)
        ours = model.scores(encoded, model.leaves(encoded))
        words = {**model.leaves(encoded), "question": model.leaves(other)["question"]}
        reworded = model.scores(encoded, words)
        theirs = model.scores(other, model.leaves(other))
    torch.testing.assert_close(ours[0, 0], said.gather(1, ids[0][:, None]).sum())
    torch.testing.assert_close(reworded, theirs)
    assert float((ours - theirs).abs()) > 1e-3


class LateLlava(tf.LlavaForConditionalGeneration):
    """A network that puts what it writes further behind its prompt than one place."""

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().prepare_inputs_for_generation(*args, **kwargs)
        if found["input_ids"].shape[1] == 1:  # what it has written; the rest is in its memory
            found["position_ids"] = found["position_ids"] + 20
        return found


def test_what_a_network_writes_after_its_first_token_is_compared_too(picture: np.ndarray) -> None:
    module, processor = made(llava)
    module.__class__ = LateLlava
    with pytest.raises(vx.Unsupported, match="logits differ"):
        loaded(module, processor).encode(vx.Example(picture, QUESTION))


def no_template() -> tuple[Any, Any]:
    """A network that goes on writing behind the question."""
    module, processor = llava()
    processor.chat_template = None
    return module, processor


@pytest.mark.parametrize("make", [no_template, blip_caption, blip2_t5])
def test_what_an_absent_last_word_was_makes_no_difference(picture: np.ndarray, make: Maker) -> None:
    model = loaded(*made(make))
    found = []
    for last in ("circle", "red"):
        question = f"what color is the {last}"
        why = vx.explain(
            model,
            vx.Example(picture, question),
            method="leave_one_out",
            answers=["yes", "no"],
            target="yes",
        )
        encoded = model.encode(vx.Example(picture, question))
        whole = scores(model, encoded, ["yes"])
        found.append(float(whole[0]) - why.words[-1].value)
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def twice() -> tuple[Any, Any]:
    """A network that words reach by a table besides their embeddings."""
    module, processor = made(blip_caption)
    generator = torch.Generator().manual_seed(0)
    text = module.config.text_config
    table = torch.randn(text.vocab_size, text.hidden_size, generator=generator)

    def add(_layer: Any, _args: Any, given: dict[str, Any], output: torch.Tensor) -> torch.Tensor:
        return output + table[given["input_ids"]].to(output)

    module.text_decoder.bert.embeddings.register_forward_hook(add, with_kwargs=True)
    return module, processor


@pytest.mark.parametrize("question", [QUESTION, "red", "red red red"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_words_that_reach_a_network_twice_are_refused_on_any_first_question(
    picture: np.ndarray, question: str, dtype: torch.dtype
) -> None:
    module, processor = twice()
    model = loaded(module.to(dtype), processor)
    with pytest.raises(vx.Unsupported, match="in more ways than their embeddings"):
        model.encode(vx.Example(picture, question))
