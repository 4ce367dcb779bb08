"""How a file keeps the words of a sentence: what each shares with the whole is there once."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vqa_explain._explanation_file import OUTPUT, PART, Arrays, array_name
from vqa_explain._fields import WrongField, check
from vqa_explain.features.large import ENCODED, FRAME

MAP, LABELS = "image", "labels"  # of a picture: its map of values, and each pixel's region
OF_REGIONS = "of_regions"  # in place of a map that has one value in each region
OF_LIST = "values_of_"  # first in the name of (N, 2) values and errors, in place of a list

Json = dict[str, Any]


def shortened(
    data: Json, arrays: Arrays, rows: list[Arrays], by_region: bool
) -> tuple[Json, Arrays]:
    """The JSON values and arrays of a sentence, and of its words what they alone have.

    Args:
        data: JSON values of the sentence, with those of its words as "outputs".
        arrays: its own arrays.
        rows: those of each word.
        by_region: whether a map with one value in each region is kept as these values.
    """
    outputs, found = [], dict(arrays)
    for number, (row, own) in enumerate(zip(data["outputs"], rows, strict=True)):
        kept = {
            name: values
            for name, values in own.items()
            if name not in arrays or not np.array_equal(values, arrays[name])
        }
        parts = []
        for place, (part, whole) in enumerate(zip(row["parts"], data["parts"], strict=True)):
            name, labels = array_name(PART, place, MAP), array_name(PART, place, LABELS)
            if by_region and name in kept and labels in arrays and labels not in kept:
                regions = _of_regions(kept[name], arrays[labels])
                if regions is not None:
                    del kept[name]
                    kept[array_name(PART, place, OF_REGIONS)] = regions
            short, lists = _without_lists(part, whole)
            parts.append(short)
            kept |= {array_name(PART, place, name): one for name, one in lists.items()}
        outputs.append({**row, "parts": parts})
        found |= {array_name(OUTPUT, number, name): values for name, values in kept.items()}
    return {**data, "outputs": outputs}, found


def lengthened(row: Any, own: Arrays, data: Json, arrays: Arrays) -> tuple[Any, Arrays]:
    """A word's JSON values and arrays with all that `shortened` left out.

    Args:
        row: the word's JSON values, as a file has them.
        own: its own arrays.
        data: JSON values of the sentence.
        arrays: its arrays, with pictures and labels as they are.

    Raises:
        WrongField: what is there in place of a map or a list fits none of the sentence.
    """
    given = row.get("parts") if isinstance(row, dict) else None
    whole = data.get("parts")
    check(isinstance(given, list) and isinstance(whole, list), "parts of a word are no list")
    assert isinstance(given, list)
    assert isinstance(whole, list)
    check(len(given) == len(whole), "a word has other inputs than its sentence")
    found, parts = _shared(arrays, own) | own, []
    for place, (part, of_whole) in enumerate(zip(given, whole, strict=True)):
        regions = found.pop(array_name(PART, place, OF_REGIONS), None)
        if regions is not None:
            name, labels = array_name(PART, place, MAP), array_name(PART, place, LABELS)
            check(name not in own and labels in found, "a word's map is given twice")
            found[name] = _map_of(regions, found[labels])
        start = array_name(PART, place, OF_LIST)
        lists = {
            name.removeprefix(start): found.pop(name)
            for name in own
            if name in found and name.startswith(start)
        }
        parts.append(_with_lists(part, of_whole, lists))
    return {**row, "parts": parts}, found


def _shared(arrays: Arrays, own: Arrays) -> Arrays:
    """The sentence's arrays but for maps in a form other than the word's own."""
    found = {}
    for name, values in arrays.items():
        start, _, short = name.rpartition(".")
        has_map = any(f"{start}.{one}" in own for one in (MAP, OF_REGIONS))
        has_frame = any(one.startswith(f"{start}.{FRAME}") for one in own)
        is_frame = short.startswith(FRAME)
        if short == ENCODED or (has_map and is_frame) or (has_frame and short == MAP):
            continue
        if short == MAP and f"{start}.{OF_REGIONS}" in own:
            continue
        found[name] = values
    return found


def _of_regions(values: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
    """(R + 1,) the value of each region, and last that of pixels of none; `None` where a region
    has several.
    """
    found = np.zeros(int(labels.max()) + 2)
    found[labels] = values
    return found if np.array_equal(found[labels], values) else None


def _map_of(regions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(H, W) the map of which `_of_regions` gave the values.

    Raises:
        WrongField: the labels are of other regions.
    """
    check(labels.ndim == 2 and labels.dtype.kind == "i", "labels are of no region")
    check(regions.dtype == np.float64 and regions.ndim == 1, "values of regions are no row")
    fits = labels.size > 0 and labels.min() >= -1 and labels.max() + 2 == len(regions)
    check(fits, "values of regions do not fit the labels")
    found: np.ndarray = regions[labels]
    return found


def _without_lists(part: Json, whole: Json) -> tuple[Json, Arrays]:
    """A part without its lists that are the whole's but for values and errors, which are given as
    arrays.
    """
    short, found = {}, {}
    for name, entries in part.items():
        like = whole.get(name)
        if (
            isinstance(entries, list)
            and entries
            and isinstance(like, list)
            and _alike(entries, like)
        ):
            pairs = [(one["value"], one.get("error")) for one in entries]
            found[OF_LIST + name] = np.array(pairs, dtype=np.float64)
        else:
            short[name] = entries
    return short, found


def _alike(entries: list[Any], like: list[Any]) -> bool:
    """Whether entries with a value are those of another list, but for values and errors."""
    if len(entries) != len(like) or not all("value" in one for one in entries):
        return False
    return all(
        one.keys() == other.keys() and {**one, **_values_of(other)} == other
        for one, other in zip(entries, like, strict=True)
    )


def _values_of(entry: Mapping[str, Any]) -> Json:
    return {name: entry[name] for name in ("value", "error") if name in entry}


def _with_lists(part: Any, whole: Any, lists: Arrays) -> Json:
    """A part with the lists that `_without_lists` left out.

    Raises:
        WrongField: the whole has no such list.
    """
    check(isinstance(part, dict) and isinstance(whole, dict), "a part is no mapping")
    found = dict(part)
    for name, pairs in lists.items():
        like = whole.get(name)
        check(name not in part, f"{name} of a word are given twice")
        if not isinstance(like, list) or not all(isinstance(one, dict) for one in like):
            raise WrongField(f"the sentence has no {name}")
        check(
            pairs.dtype == np.float64 and pairs.shape == (len(like), 2),
            f"values of {name} are not those of as many",
        )
        numbers = pairs.tolist()
        found[name] = [
            {
                **entry,
                "value": value,
                **({"error": None if error != error else error} if "error" in entry else {}),
            }
            for entry, (value, error) in zip(like, numbers, strict=True)
        ]
    check(found.keys() >= whole.keys(), "a part of a word lacks what the sentence has")
    return found
