"""The file of an explanation: safetensors,
with everything that is no array as JSON in its header.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqa_explain._fields import WrongField, check
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import MAX_PIXELS
from vqa_explain.features.parts import PicturePart, TextPart
from vqa_explain.files import path_of

Arrays = dict[str, np.ndarray]
FORMAT = 2
DEFLATED_FORMAT = 3  # the same with large arrays deflated, which earlier versions cannot read
SENTENCE_FORMAT = 4  # either, with the words of a sentence
LARGE = 2_000_000  # bytes of an array from which on it is deflated
OF_MANY = 100_000  # the same of a sentence, which has a map for each of its words
MOST_UNPACKED = 16 * MAX_PIXELS  # bytes that deflated arrays and maps of words may become, together
TYPES = ("<f8", "<f4", "<i8", "<i4", "|i1", "|u1", "|b1")  # of deflated arrays
TIMES_THE_FILE, SPARE = 4, 2**26  # bytes of memory that reading may take: this many files, and this
BYTES_OF_A_VALUE = 100  # of JSON in memory, on the average: an entry of a mapping and its number
PART, JOINT, OUTPUT = "part", "joint", "output"  # first in the names of arrays


def array_name(what: str, number: int, name: str) -> str:
    """What an array of one part, or of one pair of inputs, is called in the file."""
    return f"{what}.{number}.{name}"


def by_owner(tensors: Arrays) -> dict[str, Arrays]:
    """The beginning of names, such as "part.0.", → the arrays of that part or pair of inputs."""
    found: dict[str, Arrays] = {}
    for name, values in tensors.items():
        owner, dot, short = name.rpartition(".")
        found.setdefault(owner + dot, {})[short] = values
    return found


def to_bytes(data: dict[str, Any], arrays: Arrays) -> bytes:
    """The file of JSON values and arrays."""
    from safetensors.numpy import save

    text = json.dumps(data)
    header = {"format": str(FORMAT), "explanation": text, "checksum": _checksum(text, arrays)}
    large = _large(arrays, OF_MANY if data.get("outputs") else LARGE)
    if large:
        told = {name: [values.dtype.str, values.shape] for name, values in large.items()}
        header |= {"format": str(DEFLATED_FORMAT), "deflated": json.dumps(told)}
    if data.get("outputs"):
        header["format"] = str(SENTENCE_FORMAT)
    return save({**arrays, **{name: _deflated(values) for name, values in large.items()}}, header)


def _large(arrays: Arrays, least: int) -> Arrays:
    """Those to be deflated, of so many bytes at least: no more of them than is unpacked again."""
    found, unpacked = {}, 0
    for name, values in arrays.items():
        if values.nbytes >= least and unpacked + values.nbytes <= MOST_UNPACKED:
            found[name] = values
            unpacked += values.nbytes
    return found


def _deflated(values: np.ndarray) -> np.ndarray:
    """(N,) uint8. Labels of a picture are alike over long runs, and take a hundredth."""
    return np.frombuffer(zlib.compress(values.tobytes(), 1), dtype=np.uint8)


def _inflated(values: np.ndarray, dtype: str, shape: list[int]) -> np.ndarray:
    """The array again. No more is unpacked than it has, whatever a damaged file holds.

    Raises:
        WrongField: it is none.
    """
    size = np.dtype(dtype).itemsize * math.prod(shape)
    try:
        # Writable, as all arrays of a file are.
        unpacked = bytearray(zlib.decompressobj().decompress(values.tobytes(), size))
    except zlib.error as error:
        raise WrongField(str(error)) from error
    check(len(unpacked) == size, "a large array is cut short")
    return np.frombuffer(unpacked, dtype=dtype).reshape(shape)


def _deflated_arrays(header: Mapping[str, str], arrays: Arrays) -> dict[str, Any]:
    """Name → (type, shape) of the arrays that were deflated.

    Raises:
        WrongField: one is not there, of no type of ours, or larger than a picture's may be.
    """
    told: dict[str, Any] = json.loads(header.get("deflated", "{}"))
    check(isinstance(told, dict), "what is deflated is no mapping")
    unpacked = 0
    for name, one in told.items():
        check(name in arrays, "a deflated array is missing")
        check(isinstance(one, list) and len(one) == 2, "a deflated array has no type and shape")
        dtype, shape = one
        check(dtype in TYPES, "a deflated array is of no known type")
        is_shape = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        check(is_shape, "a deflated array has no shape")
        most = max(8 * MAX_PIXELS, TIMES_THE_FILE * arrays[name].nbytes)
        size = np.dtype(dtype).itemsize * math.prod(shape)
        check(size <= most, "a deflated array is larger than any picture's")
        unpacked += size
    check(unpacked <= MOST_UNPACKED, "deflated arrays are larger than any pictures'")
    return told


def _check_room(text: str, size: int) -> None:
    """Refuses JSON that would take far more memory than its file: a list of empty lists takes
    twenty times its characters.

    Raises:
        WrongField: it would.
    """
    values = sum(text.count(mark) for mark in "[{,")
    room = TIMES_THE_FILE * size + SPARE
    check(len(text) + BYTES_OF_A_VALUE * values <= room, "its header would not fit into memory")


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays]:
    """The JSON values and arrays of a file; those of format 1 as format 2 has them.

    Reading takes no more memory than four times the file and `SPARE`, and for what is unpacked
    `MOST_UNPACKED`: 16 bytes for each pixel of the largest picture.

    Raises:
        InvalidInput: the file is missing, damaged or from a newer version.
        KeyError, TypeError, ValueError, SafetensorError: it is no explanation.
    """
    from safetensors import safe_open

    if not os.path.isfile(path_of(path)):  # false, too, for names that are too long
        raise InvalidInput(f"explanation {str(path)!r} does not exist; check the path")
    with safe_open(path, framework="numpy") as file:
        header = file.metadata() or {}
        version = int(header["format"])
        if version > SENTENCE_FORMAT:
            raise InvalidInput(
                f"explanation {str(path)!r} is from a newer version of vqa_explain; upgrade to "
                "read it"
            )
        check(version >= 1, f"there is no format {version}")
        text, size = header["explanation"], Path(path).stat().st_size
        _check_room(text, size)
        _check_room(header.get("deflated", ""), size)
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    for name, (dtype, shape) in _deflated_arrays(header, arrays).items():
        arrays[name] = _inflated(arrays[name], dtype, shape)
    if header["checksum"] != _checksum(text, arrays):
        raise InvalidInput(
            f"explanation {str(path)!r} is damaged: its checksum is wrong; compute it again"
        )
    data = json.loads(text)
    check(isinstance(data, dict), "it holds no mapping")
    return _from_format_1(data, arrays) if version == 1 else (data, arrays)


def _checksum(text: str, tensors: Arrays) -> str:
    """Of all that a file says, so that a changed bit is not taken for a value."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name]
        found.update(f"{name} {values.dtype.str} {values.shape}".encode())
        # Without a copy, which would be as large as the file.
        found.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
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
