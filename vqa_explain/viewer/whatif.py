"""What a model answers when words or regions are taken away, or the question is another.

A what-if is asked about one explanation: its example, its fills, its target and its seed. Anything
else would measure another game than the one whose values are shown next to the measurement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example
from vqa_explain.explaining import at_token
from vqa_explain.explanation import Explanation
from vqa_explain.features.base import (
    Division,
    Input,
    Present,
    by_input,
    inputs_called,
    undivided,
)
from vqa_explain.features.parts import Part, PicturePart, TextPart
from vqa_explain.features.regions import numbered
from vqa_explain.game import make_players, with_players
from vqa_explain.methods.base import alternatives, fills_in
from vqa_explain.methods.starts import ANY
from vqa_explain.models.base import Model, OpenModel, answers, best_answers, check_fills
from vqa_explain.models.encoded import Encoded, behind
from vqa_explain.models.filling import coalition_scores
from vqa_explain.target import Answer, Target, find_answer

TOP = 5


@dataclass(frozen=True, eq=False)
class _Absence:
    """Which players are away: everything, then without them; and what stands in their place."""

    present: dict[str, Present]
    fills: dict[str, str]


def changed(
    model: Model,
    example: Example,
    explanation: Explanation,
    away: Mapping[str, Sequence[int]],
    divided: Mapping[str, Any] | None = None,
    fills: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Answers without some players, and how the explained score moved.

    Args:
        model, example: what was explained.
        explanation: whose target, contrast, score, fills and seed are used; of several baselines,
            the mean is given.
        away: input name → numbers of the players that are taken away.
        divided: input name or kind → how it was divided, as `make_players` takes it.
        fills: input name or kind → what its absent parts become, in place of the explanation's.

    Returns:
        "answers"; "change" of the explained score, named by "score"; "predicted", what the values
        predict, or `None` where they are no points, or are of other fills; "fills", what stood for
        absent parts, in words; "used", input name → its fills; "otherFills", whether any is not
        the explanation's.

    Raises:
        InvalidInput: the example, or a region, is not the explanation's.
    """
    encoded = _encoded(model, example, explanation)
    target = _target(model, encoded, explanation)
    scored = _scored(model, encoded, explanation, target)
    seed = int(explanation.provenance.get("seed", 0))
    # A viewer says how every kind is divided; the example may lack some.
    divided = {k: v for k, v in (divided or {}).items() if inputs_called(encoded.inputs, k)}
    away = _in_every_input(encoded, away, divided)
    changes, after_all, used = [], [], []
    own = explained_fills(model, encoded, explanation)
    swapped = by_input(fills or {}, encoded.inputs, "fills")
    asked_fills = [check_fills(model, one | swapped, encoded.features) for one in own]

    def scores(of: Encoded, absence: _Absence) -> Tensor:
        """(2, K) with everything, and without what is away."""
        return in_float64(coalition_scores(model, of, absence.present, absence.fills, seed))

    for some in asked_fills:
        absence = _absence(model, encoded, explanation, away, some, divided)
        with torch.no_grad():
            whole = scores(encoded, absence)
            explained = whole if scored is encoded else scores(scored, absence)
        before, after = target(explained).tolist()
        changes.append(after - before)
        after_all.append(whole[1])
        used.append(absence.fills)
    # Several fills or baselines are one game of their mean.
    best = best_answers(model.kind, encoded, torch.stack(after_all).mean(dim=0)[None], TOP)
    return {
        "answers": [asdict(answer) for answer in best],
        "change": float(np.mean(changes)),
        "predicted": _predicted(explanation, away) if asked_fills == own else None,
        "fills": _fills_text(explanation, used),
        "used": {name: sorted({one[name] for one in used}) for name in used[0]},
        "otherFills": asked_fills != own,
        "score": explanation.explained,
    }


def _in_every_input(
    encoded: Encoded, away: Mapping[str, Sequence[int]], divided: Mapping[str, Any]
) -> dict[str, list[int]]:
    """The same players in all frames that they span, as blocks span frames of a video."""
    found = {name: list(some) for name, some in away.items()}
    frames = [one.name for one in encoded.inputs if one.group]
    if not any(found.get(name) for name in frames):
        return found
    of = make_players(encoded, divided).of
    gone = {int(of[name].numbers[number]) for name in frames for number in found.get(name, ())}
    for name in frames:
        found[name] = np.flatnonzero(np.isin(of[name].numbers, sorted(gone))).tolist()
    return found


def asked(model: Model, example: Example, question: str) -> dict[str, Any]:
    """Answers to another question about the same other inputs.

    Raises:
        InvalidInput: there is no one text that could be another.
    """
    found = best_answers_of(model, with_question(example, question))
    return {"answers": [asdict(answer) for answer in found], "change": None}


def best_answers_of(model: Model, example: Example) -> list[Answer]:
    """What a model answers, best first; of a model that writes, what it writes by itself."""
    return answers(model, _encoded(model, example, None), TOP)


def with_question(example: Example, question: str) -> Example:
    """The example with another text, where it has one. Nothing is known of its true answer."""
    unknown_answer: dict[str, Any] = {"answer": None, "answers": (), "id": "", "family": ""}
    example = replace(example, **unknown_answer, about=(), decisive=(), mentions=())
    if example.inputs is None and example.messages is None:
        return replace(example, question=question)
    texts = [one.name for one in example.given if one.kind == TextPart.kind]
    if example.inputs is None or len(texts) != 1:
        raise InvalidInput(
            "this example has several texts; another question is asked only where there is one text"
        )
    return replace(example, inputs={**example.inputs, texts[0]: question})


def explained_fills(
    model: Model, encoded: Encoded, explanation: Explanation
) -> list[dict[str, str]]:
    """Input name → fill, for each fill or baseline that the explanation stands on."""
    # The method's parameters may be those of a method of the user's that is not registered here.
    asked = fills_in(explanation.parameters, encoded.inputs)
    paths = any(name.endswith("_baseline") for name in explanation.parameters)
    for one in encoded.inputs:
        can = one.feature.leaf_fills()
        if asked.get(one.name) == ANY:
            asked[one.name] = can
        elif paths and asked.get(one.name, one.feature.default_fill) not in can and can:
            # A path cannot start at patches that are not there: adapters take their first fill that
            # is a picture.
            asked.setdefault(one.name, can[0])
    return [check_fills(model, some, encoded.features) for some in alternatives(asked)]


def _absence(
    model: Model,
    encoded: Encoded,
    explanation: Explanation,
    away: Mapping[str, Sequence[int]],
    fills: dict[str, str],
    divided: Mapping[str, Any],
) -> _Absence:
    """The explanation's players as those of the model's inputs.

    Raises:
        InvalidInput: an input or its division is not the explanation's.
    """
    check_players(explanation, away)
    players = make_players(encoded, divided)
    present, fills = {}, dict(fills)
    for one in encoded.inputs:
        own = players.of[one.name].division
        gone = set(away.get(one.name, ()))
        division, numbers = _division(one, own, explanation[one.name], fills[one.name])
        lost = sorted(gone - set(numbers.tolist()))
        if lost:
            raise InvalidInput(
                f"region {lost[0]} is smaller than a pixel of the model's frame; choose larger "
                "regions"
            )
        if one.feature.shortens(fills[one.name]):
            whole_parts = _in_whole_parts(one, division, fills[one.name])
            # What is smaller than patches cannot leave the sequence; the answer says the fill.
            if whole_parts is None:
                fills[one.name] = one.feature.leaf_fills()[0]
            division = whole_parts or division
        there = torch.ones(2, division.count, dtype=torch.bool, device=model.device)
        there[1] = torch.from_numpy(~np.isin(numbers, sorted(gone))).to(model.device)
        present[one.name] = Present(division, there)
    return _Absence(present, fills)


def check_players(explanation: Explanation, away: Mapping[str, Sequence[int]]) -> None:
    """Raises an `InvalidInput` where what is taken away is no player of the explanation."""
    for name, numbers in away.items():
        if not numbers:
            continue
        part = explanation[name]
        count = len(part.players)
        wrong = next((number for number in numbers if not 0 <= number < count), None)
        if wrong is not None:
            raise InvalidInput(
                f"input {name!r} has no {part.player} number {wrong}; its {count} {part.player}s "
                "are counted from 0"
            )


def _division(one: Input, own: Division, part: Part, fill: str) -> tuple[Division, np.ndarray]:
    """The division of an input that was explained, and the explanation's number of each of its
    players.

    Raises:
        InvalidInput: the input is another than the explanation's.
    """
    if part.fixed:
        return undivided(one.shape), np.arange(0)
    if isinstance(part, TextPart):
        if len(part.tokens) != len(own.owner):
            raise InvalidInput(
                "the explanation is of another question than this example; choose the example again"
            )
        words = np.array([token.word for token in part.tokens], dtype=int)
        if np.array_equal(words, own.owner):
            return own, np.arange(own.count)
        return Division(words, len(part.words)), np.arange(len(part.words))
    if isinstance(part, PicturePart):
        return _of_picture(one, own, part, fill)
    if own.count != len(part.players):
        raise InvalidInput(
            f"the explanation divides {one.name!r} in another way than this example; explain it "
            "again"
        )
    return own, np.arange(own.count)


def _of_picture(
    one: Input, own: Division, part: PicturePart, fill: str
) -> tuple[Division, np.ndarray]:
    """The division that was asked for, where it shows the explanation's labels.

    Else these carried to the frame, which may move a border by a pixel.
    """
    geometry = one.content.geometry
    whole_parts = _in_whole_parts(one, own, fill) if one.feature.shortens(fill) else None
    for division in (own,) if whole_parts is None else (whole_parts, own):
        same = division.count == len(part.regions)
        if same and np.array_equal(geometry.labels_to_original(division.owner), part.labels):
            return division, np.arange(division.count)
    labels = geometry.labels_to_frame(part.labels)
    seen = labels >= 0
    return numbered(labels, seen), np.unique(labels[seen])


def _in_whole_parts(one: Input, division: Division, fill: str) -> Division | None:
    """The division in whole patches, or `None` where a region would have none."""
    try:
        return one.feature.whole_parts(one.content, division, fill)
    except InvalidInput:
        return None


def _target(model: Model, encoded: Encoded, explanation: Explanation) -> Target:
    """The explained score. Label numbers tell two labels of one text apart;
    candidates are known by their text.
    """

    def number(text: str, index: int | None) -> int:
        if model.labels is None:
            return encoded.labels.index(text)
        return find_answer(encoded.labels, text) if index is None else index

    contrast = None
    if explanation.contrast is not None:
        contrast = number(explanation.contrast, explanation.contrast_index)
    index = number(explanation.target, explanation.target_index)
    return Target(index, contrast, explanation.score, kind=model.kind)


def _scored(model: Model, encoded: Encoded, explanation: Explanation, target: Target) -> Encoded:
    """The example as the explanation scores it: answers at one token, where that was explained."""
    written = explanation.written
    if written is None or written.token is None:
        return encoded
    return at_token(cast(OpenModel, model), encoded, [target], written.token)


def _predicted(explanation: Explanation, away: Mapping[str, Sequence[int]]) -> float | None:
    """What the values foretell for the score; `None` where they do not add up to it."""
    # A polynomial's linear part alone foretells nothing: its pairs change the score too, and not
    # all are kept.
    partial = explanation.parameters.get("index") == "fsii"
    if not explanation.values_unit.adds_up or partial:
        return None
    return -float(sum(explanation[name].values[i] for name, some in away.items() for i in some))


def _fills_text(explanation: Explanation, used: list[dict[str, str]]) -> str:
    """Such as "regions: blur; words: mask"; of several fills, that the mean over them is given."""
    parts = []
    for part in explanation.parts:
        names = list(dict.fromkeys(fills[part.name] for fills in used))
        mean = f"mean over {', '.join(names)}" if len(names) > 1 else names[0]
        alone = sum(other.kind == part.kind for other in explanation.parts) == 1
        if not part.fixed:
            parts.append(f"{part.player}s: {mean}" if alone else f"{part.name}: {mean}")
    return "; ".join(parts)


def _encoded(model: Model, example: Example, explanation: Explanation | None) -> Encoded:
    """The example, with candidates where the model has no answers of its own:
    the explained ones are among them.
    """
    encoded = model.encode(example)
    if explanation is not None:
        if explanation.provenance.get("inside"):
            raise Unsupported(
                f"{explanation.target!r} is inside the network, and this scores answers; explain "
                "an answer"
            )
        free = [part.name for part in explanation.parts if not part.fixed]
        encoded = with_players(encoded, free)
    if model.labels is not None:
        return encoded
    model = cast(OpenModel, model)
    if explanation is None:
        return model.with_answers(encoded, list(model.generate(encoded)))
    named = [text for text in (explanation.target, explanation.contrast) if text is not None]
    texts = list(dict.fromkeys([*(a.text for a in explanation.answers), *named]))
    known = {} if explanation.written is None else explanation.written.tokens
    encoded = model.with_answers(encoded, texts, known=known)
    return encoded if explanation.written is None else behind(encoded, explanation.written)
