"""One explanation over several fills: the mean of the values, and where each lies under every
fill.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.explanation import Explanation
from vqa_explain.features.base import Input, by_input
from vqa_explain.features.large import FrameValues
from vqa_explain.features.parts import Part, PicturePart
from vqa_explain.features.text import TextFeature
from vqa_explain.finishing import shares
from vqa_explain.games.intervals import LEVEL, half_width
from vqa_explain.own_fills import Draws, Fill
from vqa_explain.registry import AUTO
from vqa_explain.wording import DEPENDS

FillsOf = dict[str, str]  # input name → fill


def asked_alternatives(
    given: Sequence[Any], inputs: Sequence[Input], usual: Mapping[str, Any]
) -> list[FillsOf]:
    """Of each fill of a list, input name → fill; inputs that it does not suit keep their own.

    Args:
        given: names of fills, the user's own, or mappings of them by input.
        inputs: of the example.
        usual: input name → the fill that was asked for beside the list, of inputs that have one.

    Raises:
        InvalidInput: there are fewer than two, two are alike, one suits no input, or a fill beside
            the list would be of no use.
    """
    found = [_of_inputs(one, inputs) for one in given]
    own = {each.name: each.feature.default_fill for each in inputs}
    meant = [
        {name: str(one.get(name, usual.get(name) or default)) for name, default in own.items()}
        for one in found
    ]
    alike = any(one in meant[:number] for number, one in enumerate(meant))
    if len(found) < 2 or alike:
        raise InvalidInput(
            "fills as a list compares at least two that differ, such as ['blur', 'mean']; for one, "
            "give it by input: fills={'image': 'blur'}"
        )
    useless = next((name for name in usual if all(name in one for one in found)), None)
    if useless is not None:
        raise InvalidInput(
            f"every fill of the list is one of input {useless!r}, so that fill "
            f"{str(usual[useless])!r} beside the list would never be used; leave it out"
        )
    return found


def _of_inputs(one: Any, inputs: Sequence[Input]) -> FillsOf:
    free = [each for each in inputs if not each.fixed]
    if isinstance(one, Mapping):
        return by_input(one, inputs, "fills")
    if one == AUTO or not isinstance(one, str):
        raise InvalidInput(
            f"a list of fills holds names of fills, and {one!r} is none; name the fills to compare"
        )
    if isinstance(one, Fill):
        words = isinstance(one.function, Draws)
        taking = [each for each in free if each.feature.takes_functions]
        texts = [each for each in taking if each.kind == TextFeature.kind]
        pictures = [each for each in taking if each.kind != TextFeature.kind]
        suited = texts if words else pictures or texts
    else:
        suited = [each for each in free if one in each.feature.fills]
    if not suited:
        raise unknown(
            "fill", str(one), dict.fromkeys(f for each in free for f in each.feature.fills)
        )
    return {each.name: one for each in suited}


def label(fills: FillsOf) -> str:
    """What one of several fills is called: its name where it is one."""
    names = list(dict.fromkeys(map(str, fills.values())))
    if len(names) == 1:
        return names[0]
    return ", ".join(f"{name}: {fill}" for name, fill in fills.items())


def merged(found: Sequence[Explanation], asked: Sequence[FillsOf]) -> Explanation:
    """The mean of explanations that differ in their fills, with a band for each value.

    Standard errors are the means of the single ones: no less than that of the mean value, whatever
    they share.

    Raises:
        InvalidInput: they explain a sentence word by word.
        Unsupported: fills divide an input into other parts.
    """
    first, names = found[0], [label(one) for one in asked]
    if any(one.outputs for one in found):
        raise InvalidInput(
            "several fills are compared for one answer, not for every word of a sentence; give "
            "the answer's text as target=, or one fill"
        )
    parts = tuple(
        _merged_part(several) for several in zip(*(one.parts for one in found), strict=True)
    )
    errors = [one.error for one in found]
    joint = []
    for several in zip(*(one.joint for one in found), strict=True):
        without = any(one.errors is None for one in several)
        spread = None if without else np.mean([one.errors for one in several], axis=0)
        values = np.mean([one.values for one in several], axis=0)
        joint.append(dataclasses.replace(several[0], values=values, errors=spread))
    answers = {one.answer_without_inputs for one in found}
    stays = len(answers) == 1
    return dataclasses.replace(
        first,
        parts=parts,
        share=shares(parts),
        error=None if None in errors else float(np.mean([one.error or 0.0 for one in found])),
        cost=Cost(
            sum(one.cost.forwards for one in found),
            sum(one.cost.backwards for one in found),
            sum(one.cost.seconds for one in found),
        ),
        parameters=_parameters(first, asked),
        joint=tuple(joint),
        notes=(_headline(parts, names), *_notes(found, names)),
        answer_without_inputs=first.answer_without_inputs if stays else None,
        without_inputs_index=first.without_inputs_index if stays else None,
    )


def _parameters(first: Explanation, asked: Sequence[FillsOf]) -> dict[str, Any]:
    """Those of the method, with the list of fills of each input that has one."""
    inputs = list(dict.fromkeys(name for one in asked for name in one))
    lists: dict[str, list[str | None]] = {
        name: [None if one.get(name) is None else str(one[name]) for one in asked]
        for name in inputs
    }
    return {**first.parameters, "fills": lists}


def _headline(parts: Sequence[Part], names: Sequence[str]) -> str:
    bands = [player.band for part in parts for player in part.players if hasattr(player, "band")]
    steady = sum(not band[0] <= 0 <= band[1] for band in bands)
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return (
        f"values are means over the fills {listed}; {steady} of {len(bands)} keep their sign under "
        f"each of them at {LEVEL:.0%}, and {DEPENDS} marks the others"
    )


def _notes(found: Sequence[Explanation], names: Sequence[str]) -> list[str]:
    """The notes of all, each with the fills that it is of where it is not of all."""
    under: dict[str, list[str]] = {}
    for one, name in zip(found, names, strict=True):
        told = [*one.notes, one.without_inputs_text]
        for note in filter(None, told):
            under.setdefault(note, []).append(name)
    common = {one.answer_without_inputs for one in found}
    said = []
    for note, some in under.items():
        is_absent = any(note == one.without_inputs_text for one in found)
        if len(some) < len(found):
            said.append(f"with {' and '.join(some)}: {note}")
        elif not (is_absent and len(common) == 1):  # then it is a line of its own
            said.append(note)
    return said


def _merged_part(several: Sequence[Part]) -> Part:
    """The mean of what is said of one input under every fill."""
    first = several[0]
    if any(len(one.players) != len(first.players) for one in several):
        raise Unsupported(
            f"the fills divide {first.name!r} into different {first.player}s; give regions= that "
            "suit all, such as regions=4"
        )
    changes: dict[str, Any] = {}
    for entry in dataclasses.fields(first):
        values = [getattr(one, entry.name) for one in several]
        own = values[0]
        if isinstance(own, np.ndarray) and own.dtype.kind == "f":
            changes[entry.name] = np.mean(values, axis=0)
        elif isinstance(own, float):
            changes[entry.name] = float(np.mean(values))
        elif isinstance(own, tuple) and own and hasattr(own[0], "value"):
            changes[entry.name] = tuple(map(_merged_value, zip(*values, strict=True)))
        elif isinstance(own, FrameValues):
            frame = np.mean([one.values for one in values], axis=0)
            changes[entry.name] = FrameValues(frame, own.geometry)
    part = dataclasses.replace(first, **changes)
    if isinstance(part, PicturePart) and part.frame is not None:
        return dataclasses.replace(part, image=part.frame.carried())
    return part


def _merged_value(several: Sequence[Any]) -> Any:
    """The mean of one value under every fill, with its band where its kind has one."""
    first = several[0]
    changes: dict[str, Any] = {"value": float(np.mean([one.value for one in several]))}
    if hasattr(first, "error"):
        errors = [one.error for one in several]
        known = [error for error in errors if error is not None]
        changes["error"] = float(np.mean(known)) if len(known) == len(errors) else None
        if hasattr(first, "band"):
            wide = half_width(LEVEL)
            ends = [(one.value, wide * (one.error or 0.0)) for one in several]
            low, high = min(v - w for v, w in ends), max(v + w for v, w in ends)
            changes["band"] = (float(low), float(high))
    return dataclasses.replace(first, **changes)
