"""Videos, by architectures whose processors read some, against transformers' plain call."""

import re
from typing import Any

import architectures.every  # noqa: F401 – fills the table
import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES, QUESTION, plain_steps
from architectures.trying import ANSWERS, NEAR

import vqa_explain as vx

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
# Whose processor asks for times, and the others.
TIMED = ("glm4v", "glm46v", "glm_ocr", "glm4v_moe")
READ = (
    *("llava_onevision", "qwen2_5_vl", "internvl", "smolvlm", "qwen3_vl", "qwen3_5"),
    *("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "exaone4_5", "perception_lm"),
    *("video_llava", "llava_next_video", "video_llama_3", "hyperclovax_vision_v2", "lfm3_vl"),
    *("cohere_compass", "cosmos3_omni", "minimax_m3_vl", "hy_v4_vl", "qwen4_exp", "dots3_note"),
)
REFUSED = {
    "gemma4": "in a form that no adapter can follow; give them as pictures",
    "kimi_k25": "in a form that no adapter can follow; give them as pictures",
    "minicpmv4_6": "'video frame 1' and 'video frame 2' are mixed",
    "muse_glimmer": "'video frame 1' and 'video frame 2' are mixed",
    "cosmos3_edge": "cannot be followed",
    "nemotron_h_omni": "fails on this example",
}
SHOWN = "{% if c['type'] == 'image' %}"


def with_videos(processor: Any) -> Any:
    """The processor with a chat template that puts a video as it puts a picture."""
    template = processor.chat_template
    start = template.index(SHOWN) + len(SHOWN)
    end = template.index("{% else %}", start)
    image, video = (
        getattr(mark, "content", mark) for mark in (processor.image_token, processor.video_token)
    )
    marks = template[start:end].replace(image, video).replace("_of_image", "_of_video")
    of_videos = "{% elif c['type'] == 'video' %}" + marks
    processor.chat_template = template[:end] + of_videos + template[end:]
    return processor


def held(name: str) -> tuple[Any, Any, Any]:
    module, processor = ARCHITECTURES[name].made()
    model = vx.load(module, processor=with_videos(processor), device="cpu")
    return model, module, processor


def plain_scores(name: str, module: Any, processor: Any, frames: np.ndarray) -> np.ndarray:
    content = [{"type": "video"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    more: dict[str, Any] = {}
    if name in TIMED:
        count = len(frames)
        times = {"fps": 24.0, "duration": count / 24, "frames_indices": list(range(count))}
        more = {
            "do_sample_frames": False,
            "video_metadata": [{"total_num_frames": count, **times}],
        }
    inputs = dict(processor(text=text, videos=[frames], return_tensors="pt", **more))
    with torch.no_grad():
        steps = [
            plain_steps(ARCHITECTURES[name], module, processor, inputs, text) for text in ANSWERS
        ]
    return np.array([float(each.double().sum()) for each in steps])


def of_video(frames: np.ndarray) -> vx.Example:
    return vx.Example.of({"video": frames, "question": QUESTION})


@pytest.mark.parametrize("name", [*READ, *TIMED])
def test_a_video_scores_as_a_plain_call(name: str) -> None:
    """As it is, and with one frame taken away, which is the video with that frame gray."""
    model, module, processor = held(name)
    encoded = model.with_answers(model.encode(of_video(FRAMES)), ANSWERS)
    assert [one.name for one in encoded.inputs[:-1]] == [f"video frame {n}" for n in range(1, 5)]
    wanted = plain_scores(name, module, processor, FRAMES)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))[0].double().numpy()
    near = NEAR * np.abs(wanted).max()
    np.testing.assert_allclose(ours, wanted, atol=near)
    other = FRAMES.copy()
    other[2] = 255 - FRAMES[2]
    changed = model.encode(of_video(other))
    leaves = model.leaves(encoded) | {"video frame 3": model.leaves(changed)["video frame 3"]}
    with torch.no_grad():
        ours = model.scores(encoded, leaves)[0].double().numpy()
    wanted = plain_scores(name, module, processor, other)
    np.testing.assert_allclose(ours, wanted, atol=near)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_video_that_cannot_be_followed_is_refused(name: str) -> None:
    model, *_ = held(name)
    with pytest.raises(vx.VQAExplainError, match=re.escape(REFUSED[name])):
        model.encode(of_video(FRAMES))
