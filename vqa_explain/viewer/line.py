"""The line in words over an explanation: which parts speak most for the answer, and what the model
answers with them alone and without them. Every answer in it is measured.
"""

from collections.abc import Mapping
from typing import Any

from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import Part, PicturePart
from vqa_explain.findings import ENOUGH
from vqa_explain.models.base import Model
from vqa_explain.viewer.whatif import changed

NAMED = 3  # parts that a line can name and still be read

# Input name → numbers of its players.
Members = dict[str, list[int]]


def measured_line(
    model: Model,
    example: Example,
    explanation: Explanation,
    divided: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """What a line in words may say of an answer; `None` where no part can be told from zero.

    It takes at most five calls of the model: with up to three parts alone, without the strongest
    part, and without any picture.

    Args:
        model, example: what was explained.
        explanation: whose values say which parts are named, and whose fills, target and seed are
            used; over several fills, answers are those of their mean.
        divided: input name or kind → how it was divided, as `make_players` takes it.

    Returns:
        "members": the fewest of the strongest parts, at most three, which alone give the explained
        answer, or three that do not; "alone": the answer with them alone; "missing": the strongest
        part; "without": the answer without it; "blind": the answer without any picture, with the
        "name" of what is away, or `None` where the picture is all there is.
    """
    strongest = _strongest(explanation)
    if not strongest:
        return None

    def answer_without(away: Members) -> dict[str, Any]:
        best = changed(model, example, explanation, away, divided)["answers"][0]
        return {"answer": best["text"], "probability": best["probability"]}

    members: Members = {}
    alone: dict[str, Any] = {}
    for name, number in strongest:
        members.setdefault(name, []).append(number)
        alone = answer_without(_all_but(explanation, members))
        if alone["answer"] == explanation.target:
            break
    name, number = strongest[0]
    missing = {name: [number]}
    return {
        "members": members,
        "alone": alone,
        "missing": missing,
        "without": answer_without(missing),
        "blind": _blind(explanation, answer_without),
    }


def _strongest(explanation: Explanation) -> list[tuple[str, int]]:
    """The inputs' names and numbers of the players that speak most for the answer, at most three,
    each told from zero.
    """
    told = [
        (player.value, part.name, number)
        for part in explanation.parts
        for number, player in enumerate(part.players)
        if player.value > ENOUGH * (player.error or 0)
    ]
    told.sort(key=lambda one: -one[0])
    return [(name, number) for _, name, number in told[:NAMED]]


def _players_of(part: Part) -> range:
    return range(0 if part.fixed else len(part.players))


def _all_but(explanation: Explanation, members: Members) -> Members:
    """Every player that is none of these."""
    return {
        part.name: [n for n in _players_of(part) if n not in members.get(part.name, ())]
        for part in explanation.parts
    }


def _blind(explanation: Explanation, answer_without: Any) -> dict[str, Any] | None:
    """The answer without any picture; `None` if the example has no picture, or only pictures."""
    live = [part for part in explanation.parts if len(_players_of(part))]
    pictures = [part for part in live if isinstance(part, PicturePart)]
    if not pictures or len(pictures) == len(live):
        return None
    away = {part.name: list(_players_of(part)) for part in pictures}
    name = "picture" if len(pictures) == 1 else "pictures"
    return {"name": name, **answer_without(away)}
