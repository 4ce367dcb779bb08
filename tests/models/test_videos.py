"""Videos, by architectures whose processors read some, against transformers' plain call."""

import re
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import architectures.every  # noqa: F401 – fills the table
import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES, QUESTION, plain_steps
from architectures.trying import ANSWERS, NEAR, loaded

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
# Those that take videos and no pictures.
ALONE = ("instructblipvideo_vicuna", "instructblipvideo_t5")
# Whose processor chooses frames, and so would leave out some of nine.
CHOOSING = (
    *("qwen3_vl", "qwen3_5", "qwen4_exp", "cohere_compass", "cosmos3_omni", "dots3_note"),
    "lfm3_vl",
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


@cache
def held(name: str) -> tuple[Any, Any, Any]:
    module, processor = ARCHITECTURES[name].made()
    processor = processor if name in ALONE else with_videos(processor)
    return vx.load(module, processor=processor, device="cpu"), module, processor


def plain_inputs(
    name: str, processor: Any, frames: np.ndarray, timed: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a processor is called plainly, and what else it is told."""
    if name in ALONE:
        return {"text": QUESTION, "images": frames}, {}
    content = [{"type": "video"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    more: dict[str, Any] = {}
    if timed:
        count = len(frames)
        times = {"fps": 24.0, "duration": count / 24, "frames_indices": list(range(count))}
        more = {
            "do_sample_frames": False,
            "video_metadata": [{"total_num_frames": count, **times}],
        }
    return {"text": text, "videos": [frames]}, more


def plain_scores(
    name: str, module: Any, processor: Any, frames: np.ndarray, timed: bool | None = None
) -> np.ndarray:
    """The scores of a plain call; `timed`: of one that reads every frame, with its time."""
    timed = name in TIMED if timed is None else timed
    given, more = plain_inputs(name, processor, frames, timed)
    inputs = dict(processor(**given, return_tensors="pt", **more))
    with torch.no_grad():
        steps = [
            plain_steps(ARCHITECTURES[name], module, processor, inputs, text) for text in ANSWERS
        ]
    return np.array([float(each.double().sum()) for each in steps])


def of_video(frames: Any) -> vx.Example:
    return vx.Example.of({"video": frames, "question": QUESTION})


def check_scores(name: str, frames: np.ndarray, number: int, timed: bool | None = None) -> None:
    """A video scores as a plain call, as it is and with another picture in a frame, from 1."""
    model, module, processor = held(name)
    other = frames.copy()
    other[number - 1] = 255 - frames[number - 1]
    encoded = model.with_answers(model.encode(of_video(frames)), ANSWERS)
    names = [f"video frame {n}" for n in range(1, len(frames) + 1)]
    assert [one.name for one in encoded.pictures] == names
    leaves = model.leaves(encoded)
    changed = model.leaves(model.encode(of_video(other)))[names[number - 1]]
    given = ((frames, leaves), (other, leaves | {names[number - 1]: changed}))
    for shown, values in given:
        wanted = plain_scores(name, module, processor, shown, timed)
        with torch.no_grad():
            ours = model.scores(encoded, values)[0].double().numpy()
        np.testing.assert_allclose(ours, wanted, atol=NEAR * np.abs(wanted).max())


@pytest.mark.parametrize("name", [*READ, *TIMED, *ALONE])
def test_a_video_scores_as_a_plain_call(name: str) -> None:
    check_scores(name, FRAMES, 3)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "qwen3_vl" else []) for n in CHOOSING]
)
def test_every_frame_is_read_that_is_given(name: str) -> None:
    frames = np.concatenate([FRAMES, 255 - FRAMES, FRAMES[:1] // 2])
    check_scores(name, frames, 5, timed=True)


def test_a_video_that_is_too_short_asks_for_more_frames() -> None:
    model, *_ = held("qwen3_vl")
    with pytest.raises(vx.InvalidInput, match="give a video of more or larger frames"):
        model.encode(of_video(FRAMES[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_a_video_that_cannot_be_followed_is_refused(name: str) -> None:
    model, *_ = held(name)
    with pytest.raises(vx.VQAExplainError, match=re.escape(REFUSED[name])):
        model.encode(of_video(FRAMES))


@pytest.mark.parametrize("name", ALONE)
def test_a_model_that_takes_no_pictures_says_what_it_takes(name: str) -> None:
    """Also of frames behind those that the network reads: changing them changes no score."""
    model, module, processor = held(name)
    longer = np.concatenate([FRAMES, 255 - FRAMES[:2]])
    np.testing.assert_array_equal(
        plain_scores(name, module, processor, longer), plain_scores(name, module, processor, FRAMES)
    )
    others = {
        "'image' is a picture": vx.Example(FRAMES[0], QUESTION),
        "'video' has 3": of_video(FRAMES[:3]),
        "'video' has 1;": of_video(FRAMES[:1]),
        "'video' has 6": of_video(longer),
        "there are 2 videos": vx.Example.of({"a": FRAMES, "b": FRAMES, "question": QUESTION}),
    }
    for what, example in others.items():
        with pytest.raises(
            vx.InvalidInput, match="reads one video of 4 frames and no pictures"
        ) as e:
            vx.explain(model, example, method="leave_one_out", answers=ANSWERS)
        assert what in str(e.value)


@pytest.mark.slow
def test_a_model_that_takes_no_pictures_is_loaded_from_a_folder(tmp_path: Path) -> None:
    model, module, processor = held(ALONE[0])
    module.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    read = vx.load(str(tmp_path), device="cpu")
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 4, "answers": ANSWERS}
    ours, theirs = (vx.explain(one, of_video(FRAMES), **asked) for one in (read, model))
    assert [part.values for part in ours.parts] == [part.values for part in theirs.parts]
    assert all(np.abs(part.values).max() > 0 for part in ours.parts)


class ByFrame(torch.nn.Module):
    """A query transformer that reads all examples' first frames, then their second, and so on."""

    def __init__(self, inside: Any) -> None:
        super().__init__()
        self.inside, self.dtype = inside, inside.dtype

    def forward(self, **given: torch.Tensor) -> Any:
        count = len(given["input_ids"])
        order = torch.arange(count).unflatten(0, (-1, len(FRAMES))).T.flatten()
        said = self.inside(**{name: value[order] for name, value in given.items()})
        return (said[0][order.argsort()],)


def test_words_that_are_looked_up_in_another_order_are_not_followed() -> None:
    module, processor = ARCHITECTURES[ALONE[0]].made()
    module.qformer = ByFrame(module.qformer)
    with pytest.raises(vx.VQAExplainError, match="in more ways than their embeddings"):
        vx.load(module, processor=processor, device="cpu")


@pytest.mark.parametrize("frames", [FRAMES, list(FRAMES)])
def test_a_video_given_as_the_image_is_told_its_place(frames: Any) -> None:
    model = loaded("llava")
    with pytest.raises(vx.InvalidInput, match="a video of 4 frames; give it by another name"):
        vx.explain(model, frames, QUESTION, answers=ANSWERS)


def paths(folder: Path) -> list[Any]:
    there = folder / "some clip.MP4"
    there.write_bytes(b"not read")
    return [there, str(there), "clip.mov", Path("gone.mkv")]


def test_a_film_is_no_text_and_no_picture(tmp_path: Path) -> None:
    """Else the name of the file would be explained as a text."""
    model = loaded("llava_onevision")
    for path in paths(tmp_path):
        content = [{"type": "video", "video": path}, {"type": "text", "text": QUESTION}]
        for example in (
            of_video(path),
            vx.Example(path, QUESTION),
            vx.Example(messages=[{"role": "user", "content": content}]),
        ):
            with pytest.raises(vx.InvalidInput, match=r"path of a film, .*; read its frames"):
                vx.explain(model, example, answers=ANSWERS)


@pytest.mark.parametrize("hold", [iter, deque, lambda frames: (one for one in frames), set])
def test_frames_that_come_one_by_one_are_asked_for_as_a_list(hold: Any) -> None:
    model = loaded("llava_onevision")
    frames = [tuple(frame.ravel()[:3]) for frame in FRAMES] if hold is set else FRAMES
    with pytest.raises(
        vx.InvalidInput, match=r"'video' is of type .*; give list\(…\) of its frames"
    ):
        vx.explain(model, of_video(hold(frames)), answers=ANSWERS)


def test_a_video_with_more_frames_than_fit_is_refused_before_any_is_measured() -> None:
    model, *_ = held("llava_onevision")
    frames = np.repeat(FRAMES, 250, axis=0)
    with pytest.raises(vx.InvalidInput, match="give fewer or smaller pictures or frames"):
        model.encode(of_video(frames[:, :16, :16]))
