"""Explanation: what each word and region added to an answer, with its error, its cost and where it came from."""

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput, unwritable
from vqa_explain.game import Cost
from vqa_explain.models.base import Answer

FORMAT = 1


@dataclass(frozen=True)
class WordValue:
    """A word, its character span in the question, its value in points of the score, and its standard error."""

    text: str
    start: int
    end: int
    value: float
    error: float | None


@dataclass(frozen=True)
class TokenValue:
    """A token, its value, and the number of the word (or phrase) that it belongs to: -1 for special tokens."""

    text: str
    word: int
    special: bool
    value: float


@dataclass(frozen=True)
class RegionValue:
    """A region: its bounding box (left, top, right, bottom) in pixels of the picture, its value and standard error."""

    box: tuple[int, int, int, int]
    value: float
    error: float | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explained answer.

    Attributes:
        question: the question, `None` for a classifier.
        answers: the most probable answers, best first.
        target, contrast: the explained answer, and the one it is compared with or `None`.
        score: what the points are: "logit", "log_probability", "probability" or "value" of the target (minus the
            contrast's).
        words, tokens: values of the question's words (or of the phrases or tokens asked for) and of all tokens.
        image: (H, W) float64, value per pixel of the original picture.
        regions: values of the regions; `labels` (H, W) int32 holds each pixel's region, -1 where the model saw nothing.
        share: feature → its share of the absolute total over players; the shares sum to 1.
        error: completeness gap or largest standard error, as `error_kind` says; `None` where there is none.
        cost: examples through the model forward and backward, and seconds.
        method, parameters: how it was computed.
        provenance: model, versions, seed, example id.
        picture: (H, W, 3) uint8, the original picture.
        interactions, interaction_errors: (words, regions) float64, what each word and region bring only together, and
            its standard error; `None` from methods that have none.
        padding: the share of the absolute values of the frame that lies on padding, which shows nothing of the
            picture; it is in no region and in no pixel of `image`.
        notes: what else a reader must know, one sentence each.
        answer_without_inputs: what the model answers with every region and word absent, under the method's fill or
            baseline; `None` from methods that have none.
    """

    question: str | None
    answers: tuple[Answer, ...]
    target: str
    contrast: str | None
    score: str
    words: tuple[WordValue, ...]
    tokens: tuple[TokenValue, ...]
    image: np.ndarray
    regions: tuple[RegionValue, ...]
    labels: np.ndarray
    share: dict[str, float]
    error: float | None
    error_kind: str
    cost: Cost
    method: str
    parameters: dict[str, Any]
    provenance: dict[str, Any]
    picture: np.ndarray
    by_region: bool = True  # whether the method valued regions (else pixels, summed over regions)
    interactions: np.ndarray | None = None
    interaction_errors: np.ndarray | None = None
    padding: float = 0.0
    notes: tuple[str, ...] = ()
    answer_without_inputs: str | None = None

    @property
    def survives_without_inputs(self) -> bool | None:
        """Whether the predicted answer stays with everything absent: then the fill leaks, or no input is needed."""
        if self.answer_without_inputs is None:
            return None
        return self.answer_without_inputs == self.answers[0].text

    def region_mask(self, number: int) -> np.ndarray:
        """(H, W) bool, the pixels of region `number`."""
        return self.labels == number

    @property
    def unit(self) -> str:
        """What one point is, in words."""
        name = self.score.replace("_", " ")
        return f"{name} of “{self.target}”" + (f" minus “{self.contrast}”" if self.contrast else "")

    @cached_property
    def scale(self) -> float:
        """The largest absolute value of a word or region: the one scale that words and regions share."""
        return max([*(abs(w.value) for w in self.words), *(abs(r.value) for r in self.regions)], default=0.0)

    @cached_property
    def heat(self) -> tuple[np.ndarray, float]:
        """(H, W) values to draw and the value of full colour: regions on the words' scale, or single pixels."""
        if self.by_region:
            values = np.array([r.value for r in self.regions] + [0.0])  # the last stands for label -1
            return values[self.labels], self.scale
        return self.image, float(np.quantile(np.abs(self.image), 0.995))

    def __repr__(self) -> str:
        parts = [f"Explanation of {self.unit} by {self.method}"]
        if self.question is not None:
            parts.append(f"  question  {self.question}")
        parts.append("  answers   " + ", ".join(f"{a.text} {a.shown}" for a in self.answers))
        if self.words:
            parts.append("  words     " + ", ".join(f"{w.text} {w.value:+.3g}" for w in self.words))
        top = sorted(self.regions, key=lambda r: -abs(r.value))[:3]
        parts.append("  regions   " + ", ".join(f"{r.box} {r.value:+.3g}" for r in top) + ", …")
        parts.append("  share     " + ", ".join(f"{name} {part:.0%}" for name, part in self.share.items()))
        parts.append(f"  error     {self.error_text}")
        parts += [f"  note      {note}" for note in self.notes]
        spent = f"{self.cost.forwards} forwards, {self.cost.backwards} backwards, {self.cost.seconds:.2f} s"
        return "\n".join([*parts, f"  cost      {spent}"])

    @property
    def error_text(self) -> str:
        """The error with its kind, for people."""
        return self.error_kind if self.error is None else f"{self.error:.3g} ({self.error_kind})"

    def _repr_html_(self) -> str:
        from vqa_explain.viewer.export import fragment

        return fragment(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The viewer for front ends that show widgets, and a picture of it in HTML and words for others."""
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if "ipykernel" in sys.modules:  # else there is nobody for a widget to speak to
            from vqa_explain.viewer.widget import shown_alone

            found: Any = shown_alone(self)._repr_mimebundle_() or {}
            view = found[0] if isinstance(found, tuple) else found
            bundle |= {k: v for k, v in view.items() if k.startswith("application/")}
        return bundle

    def plot(self, views: Sequence[str] = ("picture", "overlay"), cmap: Any = None) -> Any:
        """A matplotlib figure: the picture in several views, coloured words, modality bar: see `plotting.plot`."""
        from vqa_explain.plotting import plot

        return plot(self, views, cmap)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes one HTML file that needs no network."""
        from vqa_explain.viewer.export import page

        return write_atomically(Path(path), page([self]).encode())

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON types."""
        arrays = ("image", "labels", "picture", "interactions", "interaction_errors")
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in arrays}
        return json.loads(json.dumps(data, default=_as_json))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes one file (safetensors, the rest as JSON in its header), atomically; `load_explanation` reads it."""
        return write_atomically(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        from safetensors.numpy import save

        tensors: dict[str, np.ndarray] = {
            "image": np.ascontiguousarray(self.image, dtype=np.float64),
            "labels": np.ascontiguousarray(self.labels, dtype=np.int32),
            "picture": np.ascontiguousarray(self.picture, dtype=np.uint8),
        }
        for name in ("interactions", "interaction_errors"):
            if (values := getattr(self, name)) is not None:
                tensors[name] = np.ascontiguousarray(values, dtype=np.float64)
        text = json.dumps(self.summary())
        return save(tensors, {"format": str(FORMAT), "explanation": text, "checksum": _checksum(text, tensors)})


def _checksum(text: str, tensors: dict[str, np.ndarray]) -> str:
    """Of all that a file says, so that a changed bit is not taken for a value."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        values = tensors[name]
        found.update(f"{name} {values.dtype.str} {values.shape}".encode())
        found.update(values.tobytes())
    return found.hexdigest()


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written")


def write_atomically(path: Path, content: bytes) -> Path:
    """Writes a file whole or not at all.

    Raises:
        InvalidInput: the folder is missing or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    return path


def load_explanation(path: str | os.PathLike[str]) -> Explanation:
    """Reads what `Explanation.save` wrote.

    Raises:
        InvalidInput: the file is missing, damaged, no explanation, or from a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InvalidInput(f"explanation {str(path)!r} does not exist; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        if int(header["format"]) > FORMAT:
            raise InvalidInput(f"explanation {str(path)!r} is from a newer version of vqa_explain; upgrade to read it")
        if header["checksum"] != _checksum(header["explanation"], tensors):
            raise InvalidInput(f"explanation {str(path)!r} is damaged: its checksum is wrong; compute it again")
        data = json.loads(header["explanation"])
        return Explanation(
            **{
                **data,
                "answers": tuple(Answer(**a) for a in data["answers"]),
                "words": tuple(WordValue(**w) for w in data["words"]),
                "tokens": tuple(TokenValue(**t) for t in data["tokens"]),
                "regions": tuple(RegionValue(**{**r, "box": tuple(r["box"])}) for r in data["regions"]),
                "cost": Cost(**data["cost"]),
                "notes": tuple(data.get("notes", ())),
            },
            **tensors,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{str(path)!r} is damaged or is no explanation ({error}); compute it again") from error


def region_boxes(labels: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """Bounding boxes (left, top, right, bottom) of labels 0 … count-1; (0, 0, 0, 0) for one without pixels."""
    from scipy.ndimage import find_objects

    found = find_objects(np.asarray(labels, dtype=np.int64) + 1, max_label=count)  # one pass for all of them
    return [(0, 0, 0, 0) if at is None else (at[1].start, at[0].start, at[1].stop, at[0].stop) for at in found]
