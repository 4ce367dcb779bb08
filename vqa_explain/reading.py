"""Reads the file of an explanation, which may be anybody's."""

import dataclasses
import os
from typing import Any

import numpy as np

from vqa_explain import _explanation_file as explanation_file
from vqa_explain._explanation_file import (
    JOINT,
    MOST_UNPACKED,
    OUTPUT,
    PART,
    array_name,
    by_owner,
)
from vqa_explain._fields import check, read_dataclass
from vqa_explain._words_file import MAP, lengthened
from vqa_explain.errors import InvalidInput
from vqa_explain.explanation import ROUNDING, Explanation, bytes_of_maps
from vqa_explain.features.parts import JointValues, PicturePart, read_part
from vqa_explain.target import PLAIN, SCORES


def load_explanation(path: str | os.PathLike[str]) -> Explanation:
    """Reads what `Explanation.save` wrote.

    Raises:
        InvalidInput: the file is missing, damaged, no explanation, or from a newer version.
    """
    from safetensors import SafetensorError

    try:
        return _read(*explanation_file.read(path))
    except InvalidInput:
        raise
    except KeyError as error:
        raise InvalidInput(
            f"{str(path)!r} is damaged or is no explanation ({error} is missing); compute it again"
        ) from error
    except (SafetensorError, OSError, RecursionError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{str(path)!r} is damaged or is no explanation ({error}); compute it again"
        ) from error


def _read(data: dict[str, Any], tensors: dict[str, np.ndarray]) -> Explanation:
    """The explanation of what `summary` gave, read from a file, and of its arrays."""
    whole = {name: array for name, array in tensors.items() if not name.startswith(f"{OUTPUT}.")}
    of_rows: dict[str, dict[str, np.ndarray]] = {}
    for name in tensors.keys() - whole.keys():
        row_number, _, inner = name.removeprefix(f"{OUTPUT}.").partition(".")
        of_rows.setdefault(row_number, {})[inner] = tensors[name]
    rows = []
    told = data.get("outputs", [])
    check(isinstance(told, list), "outputs are no list")
    owned = by_owner(whole)
    found = _read_one(data, owned)
    check(not owned, "it has arrays that belong to nothing")
    shared = {**whole, **_pictures_of(found)}
    unpacked = 0
    for number, row in enumerate(told):
        own = of_rows.pop(str(number), {})
        full, every = lengthened(row, own, data, shared)
        check(not full.get("outputs"), "a word has words of its own")
        owned = by_owner(every)
        rows.append(_read_one(full, owned))
        check(not owned.keys() & by_owner(own).keys(), f"an array of outputs[{number}] is too many")
        unpacked += 0 if any(name.endswith(f".{MAP}") for name in own) else bytes_of_maps(rows[-1])
        check(unpacked <= MOST_UNPACKED, "the maps of its words are larger than any picture's")
    check(not of_rows, "it has arrays that belong to nothing")
    found = dataclasses.replace(found, outputs=tuple(rows))
    _check_consistent(found)
    return found


def _pictures_of(why: Explanation) -> dict[str, np.ndarray]:
    """The pictures and labels of an explanation, by their names in the file."""
    return {
        array_name(PART, number, name): values
        for number, part in enumerate(why.parts)
        for name, values in part.arrays().items()
        if isinstance(part, PicturePart) and name != MAP
    }


def _read_one(data: Any, owned: dict[str, dict[str, np.ndarray]]) -> Explanation:
    """An explanation without the words of its sentence; its arrays are taken out of those by
    owner.
    """
    given = [data.get(name) for name in ("parts", "joint")] if isinstance(data, dict) else [None]
    check(all(isinstance(one, list) for one in given), "parts or joint are no list")
    parts = [
        read_part(part, owned.pop(array_name(PART, number, ""), {}))
        for number, part in enumerate(data["parts"])
    ]
    joint = []
    for number, one in enumerate(data["joint"]):
        check(isinstance(one, dict), f"joint[{number}] is no mapping")
        of_pair = {**one, **owned.pop(array_name(JOINT, number, ""), {})}
        joint.append(read_dataclass(JointValues, of_pair, f"joint[{number}]"))
    fields = {**data, "parts": parts, "joint": joint, "outputs": ()}
    found = read_dataclass(Explanation, fields)
    _check_consistent(found)
    return found


def _check_consistent(why: Explanation) -> None:
    """Refuses what no explanation says: what it was read from may be anybody's.

    Raises:
        WrongField: two fields contradict each other, or a number is outside its range.
    """
    check(why.answers and why.parts, "it has no answers or no inputs")
    names = [part.name for part in why.parts]
    check(len(set(names)) == len(names), "two inputs have one name")
    check(why.score in (*SCORES, *PLAIN), f"there is no score {why.score!r}")
    for answer in why.answers:
        told = answer.value if answer.probability is None else answer.probability
        check(told is not None and answer.index >= 0, f"the answer {answer.text!r} has no score")
        is_share = answer.probability is None or is_between_0_and_1(answer.probability)
        check(is_share, f"the answer {answer.text!r} has no probability")
    for name, share in why.share.items():
        check(name in names and is_between_0_and_1(share), f"the share of {name!r} cannot be")
    spent = why.cost
    check(min(spent.forwards, spent.backwards, spent.seconds) >= 0, "the cost is below 0")
    for index in (why.target_index, why.contrast_index, why.without_inputs_index):
        check(index is None or index >= 0, "a label number is below 0")
    for key, kind in (("model", str), ("seed", int)):
        check(isinstance(why.provenance.get(key), kind), f"provenance says no {key}")
    players = sum(len(part.players) for part in why.parts if not part.fixed)
    for row in why.outputs:
        of_row = sum(len(part.players) for part in row.parts if not part.fixed)
        check(of_row == players > 0, "a word of the sentence has other players")
    for one in why.joint:
        _check_joint(why, one)
    if why.written is not None:
        why.written.check()


def is_between_0_and_1(share: float) -> bool:
    """Whether it is a share or a probability; sums of rounded numbers may be a bit above."""
    return 0 <= share <= 1 + ROUNDING


def _check_joint(why: Explanation, one: JointValues) -> None:
    parts = {part.name: part for part in why.parts}
    check(one.first in parts and one.second in parts, "a pair is of inputs that are not there")
    shape = len(parts[one.first].players), len(parts[one.second].players)
    for values in (one.values, one.errors):
        if values is not None:
            is_matrix = values.shape == shape and values.dtype.kind == "f"
            check(is_matrix and np.isfinite(values).all(), "values of pairs do not fit the players")
    check(one.errors is None or (one.errors >= 0).all(), "an error of a pair is below 0")
