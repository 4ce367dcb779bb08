"""Every tiny checkpoint there is, by its maker's name."""

from typing import Any

import checkpoints
import more_checkpoints

from architectures import (
    codes,
    documents,
    encoders,
    gemma,
    glm,
    grids,
    llava,
    patches,
    prefixes,
    qwen,
    tiles,
)
from architectures.base import architecture, from_question

# Each file puts its makers into the table.
FILES = (codes, documents, encoders, gemma, glm, grids, llava, patches, prefixes, qwen, tiles)

# Makers that other tests use as well.
for make in checkpoints.GENERATIVE.values():
    architecture(make.__name__)(make)
for make in (more_checkpoints.deepseek_vl, more_checkpoints.deepseek_vl_hybrid):
    architecture(make.__name__)(make)
architecture("janus")(more_checkpoints.janus)
architecture("idefics2")(more_checkpoints.idefics2)
architecture("gemma3", answer_type=0)(more_checkpoints.gemma3)
architecture("idefics2")(more_checkpoints.idefics2_split)
architecture("internvl")(more_checkpoints.internvl)
architecture("video_llava")(more_checkpoints.video_llava)


def begin_blip(inputs: dict[str, Any]) -> dict[str, Any]:
    """A prompt as BLIP's `generate` gives it on: a mark of its own first, none at the end."""
    ids = inputs["input_ids"][:, :-1].clone()
    ids[:, 0] = 5
    return {**inputs, "input_ids": ids, "attention_mask": inputs["attention_mask"][:, :-1]}


architecture("blip", call=from_question, begin=begin_blip)(more_checkpoints.blip_caption)
