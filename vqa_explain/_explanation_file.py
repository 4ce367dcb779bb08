"""The file of an explanation: safetensors,
with everything that is no array as JSON in its header.
"""

import hashlib
import json
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.features.parts import PicturePart, TextPart

Arrays = dict[str, np.ndarray]
FORMAT = 2
DEFLATED_FORMAT = 3  # the same with large arrays deflated, which earlier versions cannot read
SENTENCE_FORMAT = 4  # either, with the words of a sentence
LARGE = 2_000_000  # bytes of an array from which on it is deflated
PART, JOINT, OUTPUT = "part", "joint", "output"  # first in the names of arrays


def array_name(what: str, number: int, name: str) -> str:
    """What an array of one part, or of one pair of inputs, is called in the file."""
    return f"{what}.{number}.{name}"


def arrays_of(tensors: Arrays, what: str, number: int) -> Arrays:
    """Name → the arrays of one part, or of one pair of inputs."""
    start = array_name(what, number, "")
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def to_bytes(data: dict[str, Any], arrays: Arrays) -> bytes:
    """The file of JSON values and arrays."""
    from safetensors.numpy import save

    text = json.dumps(data)
    header = {"format": str(FORMAT), "explanation": text, "checksum": _checksum(text, arrays)}
    large = {name: values for name, values in arrays.items() if values.nbytes >= LARGE}
    if large:
        told = {name: [values.dtype.str, values.shape] for name, values in large.items()}
        header |= {"format": str(DEFLATED_FORMAT), "deflated": json.dumps(told)}
    if data.get("outputs"):
        header["format"] = str(SENTENCE_FORMAT)
    return save({**arrays, **{name: _deflated(values) for name, values in large.items()}}, header)


def _deflated(values: np.ndarray) -> np.ndarray:
    """(N,) uint8. Labels of a picture are alike over long runs, and take a hundredth."""
    return np.frombuffer(zlib.compress(values.tobytes(), 1), dtype=np.uint8)


def _inflated(values: np.ndarray, dtype: str, shape: list[int]) -> np.ndarray:
    """The array again. No more is unpacked than it has, whatever a damaged file holds."""
    size = np.dtype(dtype).itemsize * math.prod(shape)
    try:
        # Writable, as all arrays of a file are.
        unpacked = bytearray(zlib.decompressobj().decompress(values.tobytes(), size))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return np.frombuffer(unpacked, dtype=dtype).reshape(shape)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays]:
    """The JSON values and arrays of a file; those of format 1 as format 2 has them.

    Raises:
        InvalidInput: the file is missing, damaged or from a newer version.
        KeyError, TypeError, ValueError, SafetensorError: it is no explanation.
    """
    from safetensors import safe_open

    if not Path(path).is_file():
        raise InvalidInput(f"explanation {str(path)!r} does not exist; check the path")
    with safe_open(path, framework="numpy") as file:
        header = file.metadata() or {}
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    if int(header["format"]) > SENTENCE_FORMAT:
        raise InvalidInput(
            f"explanation {str(path)!r} is from a newer version of vqa_explain; upgrade to read it"
        )
    for name, (dtype, shape) in json.loads(header.get("deflated", "{}")).items():
        arrays[name] = _inflated(arrays[name], dtype, shape)
    if header["checksum"] != _checksum(header["explanation"], arrays):
        raise InvalidInput(
            f"explanation {str(path)!r} is damaged: its checksum is wrong; compute it again"
        )
    data = json.loads(header["explanation"])
    return _from_format_1(data, arrays) if int(header["format"]) == 1 else (data, arrays)


def _checksum(text: str, tensors: Arrays) -> str:
    """Of all that a file says, so that a changed bit is not taken for a value."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name]
        found.update(f"{name} {values.dtype.str} {values.shape}".encode())
        found.update(values.tobytes())
    return found.hexdigest()


# Arrays of format 1 that belong to no input → what they are now called.
INTERACTIONS = {"interactions": "values", "interaction_errors": "errors"}


def _from_format_1(data: dict[str, Any], tensors: Arrays) -> tuple[dict[str, Any], Arrays]:
    """A file of format 1, which held one picture and perhaps one question, as one of format 2."""
    data = dict(data)
    question, words, tokens = (data.pop(key) for key in ("question", "words", "tokens"))
    picture = {"kind": PicturePart.kind, "name": PicturePart.kind, "regions": data.pop("regions")}
    parts = [{**picture, "padding": data.pop("padding", 0.0)}]
    arrays = {array_name(PART, 0, key): tensors[key] for key in tensors if key not in INTERACTIONS}
    if question is not None:
        parts.append(
            {
                "kind": TextPart.kind,
                "name": "question",
                "source": question,
                "words": words,
                "tokens": tokens,
            }
        )
    joint = []
    if "interactions" in tensors:
        joint.append({"first": "question", "second": PicturePart.kind})
    for key, name in INTERACTIONS.items():
        if key in tensors:
            arrays[array_name(JOINT, 0, name)] = tensors[key]
    called = {TextPart.kind: "question"}
    share = {called.get(name, name): value for name, value in data["share"].items()}
    data |= {"parts": parts, "joint": joint, "share": share}
    data["by_player"] = data.pop("by_region", True)
    return data, arrays
