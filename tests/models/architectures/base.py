"""What a tiny checkpoint of an architecture is, and how it is called plainly."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from checkpoints import randomized, text_settings
from more_checkpoints import number
from PIL import Image

# Its configurations have types that are too narrow for the dictionaries of tiny ones.
tf: Any = transformers
QUESTION = "What color is the circle?"
# Sizes of tiles that a picture may be cut into.
POINTS = [[32, 32], [32, 64], [64, 32], [64, 64]]
SHALLOW: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}

Made = tuple[Any, Any]  # a module and its processor
Call = Callable[[Any, Any, str], dict[str, Any]]  # of a processor, a picture and a question


@dataclass(frozen=True)
class Architecture:
    """One architecture with random weights.

    Attributes:
        make: gives the module and its processor.
        name: the name of the architecture in transformers.
        encoder_decoder: whether the answer is given to a decoder of its own.
        start: the first token of that decoder.
        answer_type: the token type of an answer's tokens, where tokens have types.
        call: how the processor is called, where its documentation says so.
        begin: what `generate` makes of the prompt before the network gets it.
        spread: the standard deviation of its weights, less where rounding would grow beyond them.
    """

    make: Callable[[], Made]
    name: str
    encoder_decoder: bool = False
    start: int = 0
    answer_type: int = 1
    call: Call | None = None
    begin: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    spread: float = 0.2

    def made(self) -> Made:
        """The module and its processor: the same random weights every time."""
        module, processor = randomized(self.make, self.spread)
        return module.eval().requires_grad_(False), processor

    def inputs(self, processor: Any, picture: Any, question: str = QUESTION) -> dict[str, Any]:
        """What the processor gives for a picture, an array or a tensor, and a question."""
        call = self.call or from_chat
        shown = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        found = dict(call(processor, shown, question))
        found.pop("labels", None)
        return found


ARCHITECTURES: dict[str, Architecture] = {}


def architecture(name: str, **facts: Any) -> Callable[[Callable[[], Made]], Callable[[], Made]]:
    """Puts a maker into the table, under its own name; `name` is the one in transformers."""

    def keep(make: Callable[[], Made]) -> Callable[[], Made]:
        ARCHITECTURES[make.__name__] = Architecture(make, name, **facts)
        return make

    return keep


def from_chat(processor: Any, picture: Any, question: str, **more: Any) -> dict[str, Any]:
    """The processor's output for its chat template, or for its picture token and the question."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
    else:
        mark = getattr(processor, "image_token", None) or "<image>"
        text = f"{getattr(mark, 'content', mark)}{question}"
    return dict(processor(text=text, images=picture, return_tensors="pt", **more))


def from_question(processor: Any, picture: Any, question: str) -> dict[str, Any]:
    """The processor's output for the bare question: it adds the picture's tokens by itself."""
    return dict(processor(text=question, images=picture, return_tensors="pt"))


def from_picture(processor: Any, picture: Any, _question: str) -> dict[str, Any]:
    """The processor's output for a picture alone."""
    return dict(processor(images=picture, return_tensors="pt"))


FRAMES = 4  # of the videos that are tried, where an architecture reads nothing else
IN_VIDEO = 1  # which of them is the picture


def film(picture: np.ndarray) -> np.ndarray:
    """(F, H, W, 3) a video of a picture among others of its size."""
    rng = np.random.default_rng(11)
    frames = rng.integers(0, 256, (FRAMES, *picture.shape), dtype=np.uint8)
    frames[IN_VIDEO] = picture
    return frames


def from_film(processor: Any, picture: Any, question: str) -> dict[str, Any]:
    """The processor's output for a video that it takes as pictures, and the bare question."""
    return from_question(processor, film(np.asarray(picture)), question)


def numbers(words: Any, tokens: list[str]) -> list[int]:
    """The numbers of several tokens."""
    return [number(words, token) for token in tokens]


def mixed_attention(size: int) -> dict[str, Any]:
    """The text settings of Qwen3.5: layers of linear attention between those of full attention."""
    rope = {
        "rope_type": "default",
        "mrope_section": [1, 1, 0],
        "mrope_interleaved": True,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
    }
    return {
        **text_settings(size, rope_parameters=rope, head_dim=8),
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }


# Behind the prompt's last entry: what an answer's tokens have in each tensor.
BEHIND = {
    "attention_mask": 1,
    "mm_token_type_ids": 0,
    "moe_mm_token_type_ids": 0,
    "image_embeds_position_mask": 0,
    "image_patches_indices": -1,
    "image_patches_indices_per_batch": -1,
}


def with_answer(one: Architecture, inputs: dict[str, Any], ids: torch.Tensor) -> dict[str, Any]:
    """The inputs with an answer's tokens (1, A) behind the prompt's."""
    tails = {name: torch.full_like(ids, value) for name, value in BEHIND.items()}
    tails["token_type_ids"] = torch.full_like(ids, one.answer_type)
    tails["input_ids"] = ids
    whole = dict(one.begin(inputs) if one.begin else inputs)
    for name, tail in tails.items():
        if isinstance(whole.get(name), torch.Tensor):
            whole[name] = torch.cat([whole[name], tail.to(whole[name].dtype)], dim=1)
    for name in ("cross_attention_mask", "image_attention_mask"):
        if name in whole:  # an answer's tokens see what the prompt's last one sees
            last = whole[name][:, -1:]
            whole[name] = torch.cat([whole[name], *[last] * ids.shape[1]], dim=1)
    return whole


def plain_steps(
    one: Architecture, module: Any, processor: Any, inputs: dict[str, Any], answer: str, **more: Any
) -> torch.Tensor:
    """(A,) the log-probability of each token of an answer, by one call of the network."""
    words = getattr(processor, "tokenizer", processor)
    ids = torch.tensor([words(answer, add_special_tokens=False)["input_ids"]])
    if one.encoder_decoder:
        before = torch.cat([torch.tensor([[one.start]]), ids[:, :-1]], dim=1)
        logits = module(**inputs, decoder_input_ids=before, **more).logits[0]
    else:
        length = ids.shape[1]
        # From behind: some networks put picture tokens before the text by themselves.
        logits = module(**with_answer(one, inputs, ids), **more).logits[0, -length - 1 : -1]
    found: torch.Tensor = logits.float().log_softmax(-1).gather(1, ids[0][:, None])[:, 0]
    return found
