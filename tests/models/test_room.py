"""Answers that are longer than what the network takes."""

from collections.abc import Callable
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import pytest
import torch
from architectures.trying import example_of, loaded

import vqa_explain as vx
from vqa_explain.errors import InvalidInput

# Networks with positions that are learned, which fail behind them, and with rotary ones.
ROOM: dict[str, int | None] = {
    "blip2_opt": 256,
    "florence2": 256,
    "llava": 60,
    "qwen2_vl": 50,
    "blip_caption": None,
}
ROOM["blip"] = None


def window_of(
    name: str, models: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, int]:
    model = models("blip") if name == "blip" else loaded(name)
    room = ROOM[name]
    config = (
        model.module.config.text_config if name == "blip" else model.module.config.get_text_config()
    )
    if room is None:
        room = config.max_position_embeddings
    monkeypatch.setattr(config, "max_position_embeddings", room)
    return model, room


@pytest.mark.slow
@pytest.mark.parametrize("name", ROOM)
def test_an_answer_that_does_not_fit_is_refused(
    name: str, models: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, room = window_of(name, models, monkeypatch)

    def refuse(*_args: Any, **_more: Any) -> Any:
        raise AssertionError("nothing is computed")

    encoded = model.encode(example_of(model))
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "scores", refuse)
        cases: list[dict[str, Any]] = [
            {"target": "yes " * room, "answers": ["no", "yes " * room]},
            {"target": "sentence", "answers": ["yes " * room]},
            {"target": "sentence", "answers": ["no"], "contrast": "yes " * room},
        ]
        for asked in cases:
            with pytest.raises(InvalidInput, match=rf"takes {room} together; give a shorter"):
                vx.explain(model, example_of(model), **asked)
    # The longest one that fits has a score.
    word = model.processor.tokenizer("yes", add_special_tokens=False)["input_ids"][0]
    with pytest.raises(InvalidInput) as told:
        model.with_answers(encoded, ["it"], None, {"it": [word] * 999})
    before = int(str(told.value).split(" stand before")[0].split()[-1])
    ids = [word] * (room - before)
    fits = model.with_answers(encoded, ["it"], None, {"it": ids})
    with torch.no_grad():
        assert torch.isfinite(model.scores(fits, model.leaves(fits))).all()
    with pytest.raises(InvalidInput, match="give a shorter answer"):
        model.with_answers(encoded, ["it"], None, {"it": [*ids, word]})
