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

from vqa_explain import colors
from vqa_explain.errors import InvalidInput, unwritable
from vqa_explain.findings import ENOUGH, Pair, expected_by_chance, needed_budget, ranked, sure_ratio
from vqa_explain.game import Cost
from vqa_explain.methods.base import unit_of_values
from vqa_explain.models.base import Answer
from vqa_explain.units import Unit, unit_named

FORMAT = 1
LAMBDA = "<lambda>"  # what Python calls a function without a name


@dataclass(frozen=True)
class WordValue:
    """A word, its character span in the question, its value in the explanation's unit, and its standard error."""

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


@dataclass(frozen=True)
class Written:
    """How the answers of a model that writes are scored.

    Attributes:
        tokens: answer → its token numbers, of every answer, the target and the contrast.
        pieces: answer → the text of each of those tokens.
        token: the one token of each that is scored, from 0, given those before it; `None` for all.
        lengths: "sum" of the tokens' log-probabilities, or their "mean".
    """

    tokens: dict[str, tuple[int, ...]]
    pieces: dict[str, tuple[str, ...]]
    token: int | None = None
    lengths: str = "sum"

    def name(self, score: str) -> str:
        """A score by how it counts the tokens, such as "mean log probability of the tokens"."""
        if self.token is None and self.lengths == "mean":
            mean = "geometric mean probability" if score == "probability" else f"mean {score}"
            return f"{mean} of the tokens"
        return score

    def text(self, answer: str) -> str:
        """An answer in quotes, after the token of it that is scored if it is one."""
        if self.token is None:
            return f"“{answer}”"
        return f"token {self.token}, “{self.pieces[answer][self.token].strip()}”, of “{answer}”"


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explained answer.

    Attributes:
        question: the question, `None` for a classifier.
        answers: the most probable answers, best first.
        target, contrast: the explained answer, and the one it is compared with or `None`.
        score: what is explained: "logit", "log_probability", "probability" or "value" of the target (minus the
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
            baseline; `None` from methods that have none, and where the user stopped the estimate.
        unit: what the values are, a name of `vqa_explain.units`; where it is left out, that of the method of this
            name.
        target_index, contrast_index, without_inputs_index: the label numbers of target, contrast and
            `answer_without_inputs`, which tell two labels of one text apart; `None` where there is no
            label, and in files of older versions.
        target_function: whether the target is a function of the scores, whose name `target` then is.
        written: the tokens of the answers, and which of them are scored; `None` of models that choose
            among answers of their own, and in files of older versions.
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
    unit: str = ""
    target_index: int | None = None
    contrast_index: int | None = None
    without_inputs_index: int | None = None
    target_function: bool = False
    written: Written | None = None

    def __post_init__(self) -> None:
        if not self.unit:
            object.__setattr__(self, "unit", unit_of_values(self.method, self.parameters))

    @property
    def survives_without_inputs(self) -> bool | None:
        """Whether the predicted answer stays with everything absent: then the fill leaks, or no input is needed."""
        if self.answer_without_inputs is None:
            return None
        if self.without_inputs_index is not None:
            return self.without_inputs_index == self.answers[0].index
        return self.answer_without_inputs == self.answers[0].text

    @property
    def without_inputs_text(self) -> str:
        """What the model answers with everything absent, as a clause; "" where it is not known, or a note says it."""
        text = self.answer_without_inputs
        if text is None or self.survives_without_inputs:
            return ""
        return f"with everything absent, the model answers {self._answer_text(text, self.without_inputs_index)}"

    @property
    def padding_text(self) -> str:
        """The share of the values that fell on padding, as a clause; "" where none did."""
        return (
            f"on padding around the picture: {self.padding:.1%} of its values"
            if self.padding
            else ""
        )

    def region_mask(self, number: int) -> np.ndarray:
        """(H, W) bool, the pixels of region `number`."""
        result: np.ndarray = self.labels == number
        return result

    @property
    def explained(self) -> str:
        """The score that is explained, in words."""
        name = self.score.replace("_", " ")
        if self.target_function:
            several = {"probability": "probabilities", "log probability": "log probabilities"}
            of_scores = f"a function of the {several.get(name, name + 's')}"
            return of_scores if self.target == LAMBDA else f"“{self.target}”, {of_scores}"
        if self.written is not None:
            name = self.written.name(name)
        target = self._answer_text(self.target, self.target_index)
        if not self.contrast:
            return f"{name} of {target}"
        return f"{name} of {target} minus {self._answer_text(self.contrast, self.contrast_index)}"

    def _answer_text(self, text: str, index: int | None) -> str:
        """An answer in quotes; with its label number where another of the answers has the same text."""
        if self.written is not None and text in self.written.pieces:
            return self.written.text(text)
        others = [a for a in self.answers if a.text == text and a.index != index]
        return f"“{text}” (label {index})" if others and index is not None else f"“{text}”"

    @property
    def values_unit(self) -> Unit:
        """What may be said of the values: whether they add up, have signs, and are comparable across features."""
        return unit_named(self.unit)

    @property
    def unit_text(self) -> str:
        """What one value is, in words, such as “points of logit of “red””."""
        return self.values_unit.text.replace("{score}", self.explained)

    @property
    def palette(self) -> colors.Palette:
        """The colors of the values: two hues from zero, or one where they have one side."""
        return colors.SIGNED if self.values_unit.two_sided else colors.SIZES

    @cached_property
    def word_colors(self) -> colors.Scale:
        """What the words' colors stand for; those of regions too where the two can be compared."""
        words = [w.value for w in self.words]
        return self._scale_of(words + (self._of_regions if self.values_unit.shared else []))

    @cached_property
    def region_colors(self) -> colors.Scale:
        """What the regions' colors stand for; those of words too where the two can be compared."""
        return self.word_colors if self.values_unit.shared else self._scale_of(self._of_regions)

    @cached_property
    def map_colors(self) -> colors.Scale:
        """What the map's colors stand for: those of regions, or of single pixels, which have a scale of their own.

        Few pixels may be far above all others, so full color is at the 99.5th percentile of their sizes.
        """
        if self.by_region:
            return self.region_colors
        seen = self.image[self.labels >= 0]
        if not self.values_unit.from_zero:
            return self._scale_of(seen)
        sizes = np.abs(self.image)
        # Zero where fewer than one pixel in 200 has a value: then the largest is full color.
        full = float(np.quantile(sizes, 0.995)) or float(sizes.max(initial=0.0))
        return colors.Scale(0.0, full, self.palette)

    def _scale_of(self, values: Sequence[float] | np.ndarray) -> colors.Scale:
        """From zero to the largest size, or from the smallest value to the largest where zero means nothing."""
        found = np.asarray(values, dtype=np.float64)
        if self.values_unit.from_zero or not found.size:
            return colors.Scale(0.0, float(np.abs(found).max(initial=0.0)), self.palette)
        return colors.Scale(float(found.min()), float(found.max()), self.palette)

    @property
    def _of_regions(self) -> list[float]:
        return [r.value for r in self.regions]

    @property
    def one_scale(self) -> bool:
        """Whether one legend holds for words and for the map: there are words, and a region's value is comparable."""
        return bool(self.words) and self.by_region and self.values_unit.shared

    @property
    def word_legend(self) -> str:
        """What a word's color stands for: the unit, and what has one such value."""
        return self._legend("per word")

    @property
    def map_legend(self) -> str:
        """What a color of the map stands for, and of a word where the two have one scale."""
        if not self.by_region:
            return self._legend("per pixel")
        return self._legend("per region or word" if self.one_scale else "per region")

    def _legend(self, each: str) -> str:
        ends = (
            "" if self.values_unit.from_zero else "; colors from the smallest value to the largest"
        )
        return f"{self.unit_text}, {each}{ends}"

    @property
    def word_scale(self) -> float:
        """The value of full color for words."""
        return self.word_colors.full

    @property
    def region_scale(self) -> float:
        """The value of full color for regions."""
        return self.region_colors.full

    @cached_property
    def heat(self) -> tuple[np.ndarray, float]:
        """(H, W) values to draw and the value of full color: regions on their scale, or single pixels.

        Where the model saw nothing is the value without color.
        """
        scale = self.map_colors
        if self.by_region:
            # The last stands for label -1.
            values = np.array([*self._of_regions, scale.bare])
            return values[self.labels], scale.full
        if self.values_unit.from_zero:
            return self.image, scale.full
        return np.where(self.labels < 0, scale.bare, self.image), scale.full

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair of a word and a region, by size over standard error; () from methods without interactions."""
        return (
            () if self.interactions is None else ranked(self.interactions, self.interaction_errors)
        )

    @property
    def evaluations(self) -> int:
        """What the estimate spent of its budget."""
        budget = self.parameters.get("budget")
        early = self.parameters.get("tolerance") is not None or "stopped" in self.error_kind
        return (
            self.cost.forwards if budget is None or (early and self.cost.forwards) else int(budget)
        )

    def pair_text(self, pair: Pair) -> str:
        """A pair with its value and standard error, for people."""
        word, box = self.words[pair.word].text, self.regions[pair.region].box
        return f"“{word}” × {box} {value_text(pair.value, pair.error)}"

    def findings(self, most: int = 3) -> tuple[list[Pair], str]:
        """The pairs that stand out most from their errors, at most so many, and what is to be known of them all.

        A pair is named only beyond two standard errors. Chance alone puts one pair in twenty there, so none is named
        where no more are there than chance would put, and the text says which budget would tell more.
        """
        found = [pair for pair in self.pairs if pair.found]
        count = len(self.pairs)
        if not count:
            return [], ""
        if self.interaction_errors is None:
            return [], f"the method states no error of its {count} pairs, so none is named"
        said = f"{len(found) or 'none'} of {count} pairs beyond {ENOUGH:.0f} standard errors"
        chance = expected_by_chance(self.pairs)
        if found and chance >= 0.5:
            said += f", where chance alone would put about {chance:.0f}"
        sure = sure_ratio(count)
        if self.pairs[0].ratio < sure and (budget := self._budget_to_tell(sure)):
            said += f"; to be sure of the strongest, raise the budget to about {budget:,}"
        return (found[:most] if len(found) > chance else []), said

    def _budget_to_tell(self, ratio: float) -> int | None:
        """Evaluations that would put the largest pair this many errors from zero."""
        largest = max(self.pairs, key=lambda pair: abs(pair.value))
        return needed_budget(largest, self.evaluations, ratio)

    def __repr__(self) -> str:
        signed = self.values_unit.two_sided
        parts = [f"Explanation of {self.explained} by {self.method}"]
        if self.question is not None:
            parts.append(f"  question  {self.question}")
        parts.append("  answers   " + ", ".join(f"{a.text} {a.shown}" for a in self.answers))
        parts.append(f"  unit      {self.unit_text}")
        if self.words:
            words = (f"{w.text} {value_text(w.value, w.error, signed)}" for w in self.words)
            parts.append("  words     " + ", ".join(words))
        top = sorted(self.regions, key=lambda r: -abs(r.value))[:3]
        regions = (f"{r.box} {value_text(r.value, r.error, signed)}" for r in top)
        parts.append("  regions   " + ", ".join(regions) + ", …")
        if self.pairs:
            found, said = self.findings()
            parts.append("  pairs     " + "; ".join([*map(self.pair_text, found), said]))
        parts.append(f"  share     {self.share_text}")
        parts.append(f"  error     {self.error_text}")
        if self.without_inputs_text:
            parts.append(f"  absent    {self.without_inputs_text}")
        parts += [f"  note      {note}" for note in self.notes]
        return "\n".join([*parts, f"  cost      {self.cost_text}"])

    @property
    def share_text(self) -> str:
        """The features' shares, for people; where words and regions have no common unit, that they have none."""
        if len(self.share) > 1 and self.values_unit.why_no_shares:
            return f"none: {self.values_unit.why_no_shares}"
        return ", ".join(f"{name} {part:.0%}" for name, part in self.share.items())

    @property
    def cost_text(self) -> str:
        """Passes through the model and seconds, for people, such as “2 forward passes, 1 backward pass, 0.10 s”."""
        forwards = _counted(self.cost.forwards, "forward pass", "forward passes")
        backwards = _counted(self.cost.backwards, "backward pass", "backward passes")
        return f"{forwards}, {backwards}, {self.cost.seconds:.2f} s"

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
        """A matplotlib figure: the picture in several views, colored words, modality bar: see `plotting.plot`."""
        from vqa_explain.plotting import plot

        return plot(self, views, cmap)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes one HTML file that needs no network."""
        from vqa_explain.viewer.export import page

        return write_atomically(Path(path), page([self]).encode())

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON types."""
        arrays = ("image", "labels", "picture", "interactions", "interaction_errors")
        data = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in arrays
        }
        result: dict[str, Any] = json.loads(json.dumps(data, default=_as_json))
        return result

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
        return save(
            tensors,
            {"format": str(FORMAT), "explanation": text, "checksum": _checksum(text, tensors)},
        )


def value_text(value: float, error: float | None, signed: bool = True) -> str:
    """A value and its standard error; the sign is written where there are two.

    >>> value_text(1.2345, 0.0171), value_text(0.5, None, signed=False)
    ('+1.23 ± 0.017', '0.5')
    """
    text = f"{value:+.3g}" if signed else f"{value:.3g}"
    return f"{text} ± {error:.2g}" if error else text


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


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
            raise InvalidInput(
                f"explanation {str(path)!r} is from a newer version of vqa_explain; upgrade to read it"
            )
        if header["checksum"] != _checksum(header["explanation"], tensors):
            raise InvalidInput(
                f"explanation {str(path)!r} is damaged: its checksum is wrong; compute it again"
            )
        data = json.loads(header["explanation"])
        return Explanation(
            **{
                **data,
                "answers": tuple(Answer(**a) for a in data["answers"]),
                "words": tuple(WordValue(**w) for w in data["words"]),
                "tokens": tuple(TokenValue(**t) for t in data["tokens"]),
                "regions": tuple(
                    RegionValue(**{**r, "box": tuple(r["box"])}) for r in data["regions"]
                ),
                "cost": Cost(**data["cost"]),
                "written": _read_written(data.get("written")),
                "notes": tuple(data.get("notes", ())),
            },
            **tensors,
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{str(path)!r} is damaged or is no explanation ({error}); compute it again"
        ) from error


def _read_written(data: dict[str, Any] | None) -> Written | None:
    """The same from a file, where tuples are lists."""
    if data is None:
        return None
    tokens = {text: tuple(ids) for text, ids in data["tokens"].items()}
    pieces = {text: tuple(found) for text, found in data["pieces"].items()}
    return Written(tokens, pieces, data["token"], data["lengths"])


def region_boxes(labels: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """Bounding boxes (left, top, right, bottom) of labels 0 … count-1; (0, 0, 0, 0) for one without pixels."""
    from scipy.ndimage import find_objects

    # One pass for all of them.
    found = find_objects(np.asarray(labels, dtype=np.int64) + 1, max_label=count)
    return [
        (0, 0, 0, 0) if at is None else (at[1].start, at[0].start, at[1].stop, at[0].stop)
        for at in found
    ]
