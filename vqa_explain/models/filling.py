"""Scores of coalitions whose absent parts become what a function of the user's own gives.

The changed pictures and texts make another example, which the model reads as any other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example
from vqa_explain.features.base import Present, distinct_together, undivided
from vqa_explain.models.base import Model, Rereading, Sampled
from vqa_explain.models.encoded import Encoded
from vqa_explain.own_fills import Fill


@dataclass(frozen=True, eq=False)
class _Filled:
    """Coalitions that share what the user's fills gave.

    Attributes:
        rows: (M,) their numbers among all coalitions.
        encoded: the changed example as the model reads it.
        present: input name → the players of its other inputs in each of the M coalitions.
    """

    rows: Tensor
    encoded: Encoded
    present: dict[str, Present]


def coalition_scores(
    model: Model,
    encoded: Encoded,
    present: Mapping[str, Present],
    fills: Mapping[str, str],
    seed: int,
) -> Tensor:
    """What `Model.coalition_scores` gives, where fills may be the user's own too.

    Raises:
        InvalidInput: such a fill gave something that cannot be used.
        Unsupported: an input cannot be filled so.
    """
    if not _own(encoded, fills):
        return model.coalition_scores(encoded, present, fills, seed)
    usual = _usual(encoded, fills)
    groups = list(_filled(model, encoded, present, fills, seed))
    scores = [model.coalition_scores(one.encoded, one.present, usual, seed) for one in groups]
    rows = torch.cat([one.rows for one in groups])
    return torch.cat(scores)[rows.argsort().to(scores[0].device)]


def contents(
    model: Sampled,
    encoded: Encoded,
    present: Mapping[str, Present],
    fills: Mapping[str, str],
    seed: int,
) -> list[str]:
    """What `Sampled.contents` gives, likewise."""
    if not _own(encoded, fills):
        return model.contents(encoded, present, fills, seed)
    usual, found = _usual(encoded, fills), dict[int, str]()
    for one in _filled(model, encoded, present, fills, seed):
        told = model.contents(one.encoded, one.present, usual, seed)
        found |= dict(zip(one.rows.tolist(), told, strict=True))
    return [found[row] for row in sorted(found)]


def _own(encoded: Encoded, fills: Mapping[str, str]) -> dict[str, Fill]:
    """Input name → the user's fill, of inputs that have players."""
    return {
        one.name: fill
        for one in encoded.inputs
        if isinstance(fill := fills[one.name], Fill) and not one.fixed
    }


def _usual(encoded: Encoded, fills: Mapping[str, str]) -> dict[str, str]:
    """The fills, with a default for inputs that are filled already."""
    usual = {one.name: one.feature.default_fill for one in encoded.inputs}
    return {name: usual[name] if isinstance(fill, Fill) else fill for name, fill in fills.items()}


def _filled(
    model: Any,  # a model, also one that is known as `Sampled` only
    encoded: Encoded,
    present: Mapping[str, Present],
    fills: Mapping[str, str],
    seed: int,
) -> Iterator[_Filled]:
    own = _own(encoded, fills)
    several, which = distinct_together([present[name] for name in own])
    for number in range(len(several[0])):
        rows = torch.nonzero(which == number)[:, 0]
        changed, mine = encoded, {}
        values = {}
        for (name, fill), one in zip(own.items(), several, strict=True):
            absent = ~one.players[number].cpu().numpy()
            if absent.any():
                values[name] = encoded[name].feature.refilled(
                    encoded[name].content, one.division, absent, fill, seed
                )
        if values:
            changed = _read_again(model, encoded, values)
        for name, players in present.items():
            mine[name] = Present(players.division, players.players[rows])
        for name in own:
            nobody = torch.zeros(len(rows), 0, dtype=torch.bool, device=which.device)
            mine[name] = Present(undivided(changed[name].shape), nobody)
        yield _Filled(rows.cpu(), changed, mine)


def _read_again(model: Any, encoded: Encoded, values: Mapping[str, Any]) -> Encoded:
    """The example with other values of some inputs, with the answers of the first.

    Raises:
        InvalidInput: the model cannot read what a fill gave.
        Unsupported: other inputs are no longer divided as they were.
    """
    example = changed_example(encoded, values)
    try:
        fresh: Encoded = (
            model.read_again(encoded, example)
            if isinstance(model, Rereading)
            else model.encode(example)
        )
    except InvalidInput as error:
        filled = " and ".join(values)
        raise InvalidInput(f"the {filled} that a fill gave cannot be read: {error}") from error
    names = [one.name for one in encoded.inputs]
    if [one.name for one in fresh.inputs] != names:
        raise Unsupported(
            f"the model reads the inputs {names} as others once a fill of your own has changed "
            "them; use a fill of the model's"
        )
    for one in encoded.inputs:
        if one.name not in values and fresh[one.name].shape != one.shape:
            raise Unsupported(
                f"the model divides {one.name!r} in another way once a fill of your own has "
                "changed another input; use a fill of the model's"
            )
    inputs = [
        replace(new, fixed=one.fixed) for one, new in zip(encoded.inputs, fresh.inputs, strict=True)
    ]
    return replace(
        fresh, inputs=tuple(inputs), labels=encoded.labels, candidates=encoded.candidates
    )


def changed_example(encoded: Encoded, values: Mapping[str, Any]) -> Example:
    """The example with these values by input; frames are put into their video.

    Raises:
        Unsupported: an input is not one that was given.
    """
    example, given = encoded.example, {one.name: one for one in encoded.example.given}
    found: dict[str, Any] = {}
    for name, value in values.items():
        one = encoded[name]
        if not one.group:
            found[_given_name(encoded, name)] = value
            continue
        frames = [other.name for other in encoded.inputs if other.group == one.group]
        video = found.get(one.group, given[one.group].value)
        if len(video) != len(frames):
            raise Unsupported(
                f"the model reads {len(frames)} of the {len(video)} frames of {one.group!r}, so "
                "that a fill of your own has no frame to change; give it as many as it reads"
            )
        place = frames.index(name)
        found[one.group] = [value if n == place else frame for n, frame in enumerate(video)]
    return example.changed(found)


def _given_name(encoded: Encoded, name: str) -> str:
    """What an input is called in the example."""
    given = encoded.example.given
    if any(one.name == name for one in given):
        return name
    alike = [one.name for one in given if one.kind == encoded[name].kind]
    if len(alike) != 1:
        raise Unsupported(
            f"input {name!r} is not one that the example gives by that name, so that a fill of "
            "your own cannot change it; use a fill of the model's"
        )
    return alike[0]
