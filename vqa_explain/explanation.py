"""Explanation: what each part of the inputs added to an answer, with its error,
its cost and where it came from.
"""

import dataclasses
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from vqa_explain import _explanation_file as explanation_file
from vqa_explain import colors
from vqa_explain._explanation_file import (
    JOINT,
    MOST_UNPACKED,
    PART,
    array_name,
)
from vqa_explain._fields import check
from vqa_explain._numbers import checked_whole
from vqa_explain._shown import percent_text
from vqa_explain._words_file import shortened
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.features.parts import (
    ColumnValue,
    JointValues,
    Part,
    PicturePart,
    PlayerValue,
    RegionValue,
    TablePart,
    TextPart,
    TokenValue,
    WordValue,
    band_of,
)
from vqa_explain.features.text import TextFeature
from vqa_explain.files import path_of, write_atomically
from vqa_explain.findings import ENOUGH, Pair, expected_by_chance, needed_budget, ranked, sure_ratio
from vqa_explain.games.intervals import LEVEL, half_width, settled
from vqa_explain.matrix import AnswerMatrix
from vqa_explain.methods.base import unit_of_values
from vqa_explain.showing import drawing
from vqa_explain.target import Answer
from vqa_explain.units import Unit, unit_named
from vqa_explain.wording import counted, everything_but, player_text, value_text

P = TypeVar("P", bound=Part)
QUESTION = TextFeature.name  # of the text that is asked, where there are several
EARLIER, ALONE = "earlier words", "alone"  # in `Explanation.sources`
MOST_QUOTED = 48  # characters of a sentence behind one of its words
LEAST_MORE_LIKELY = 0.1  # that a word from the pictures is with them
ROUNDING = 1e-6  # of shares and probabilities
MOST_SETTLED = 5  # parts that are looked at
LAMBDA = "<lambda>"  # what Python calls a function without a name


@dataclass(frozen=True)
class Written:
    """How the answers of a model that writes are scored.

    Attributes:
        tokens: answer → its token numbers, of every answer, the target and the contrast.
        pieces: answer → the text of each of those tokens.
        token: the one token of each that is scored, from 0, given those before it; `None` for all.
        lengths: "sum" of the tokens' log-probabilities, or their "mean".
        word: the one word that is scored of the one answer, from 0, given those before it; `None`
            for all.
        history: tokens that stand before every answer and are not scored: what the model thought.
        thinking: their text; "" for none.
    """

    tokens: dict[str, tuple[int, ...]]
    pieces: dict[str, tuple[str, ...]]
    token: int | None = None
    lengths: str = "sum"
    word: int | None = None
    history: tuple[int, ...] = ()
    thinking: str = ""

    def check(self) -> None:
        """Refuses what no model writes: it may be read from anybody's file.

        Raises:
            WrongField: texts and tokens of an answer do not match, or it has no such token.
        """
        check(self.tokens.keys() == self.pieces.keys(), "tokens and pieces are of other answers")
        check(self.lengths in ("sum", "mean"), f"there is no length {self.lengths!r}")
        for answer, pieces in self.pieces.items():
            check(len(pieces) == len(self.tokens[answer]), f"{answer!r} has other pieces")
        # Shorter answers may be among them.
        longest = max(map(len, self.pieces.values()), default=0)
        is_there = self.token is None or 0 <= self.token < longest
        check(is_there, f"no answer has a token {self.token}")
        is_word = self.word is None or (self.word >= 0 and len(self.pieces) > 0)
        check(is_word, f"there is no word {self.word}")

    def name(self, score: str) -> str:
        """A score by how it counts the tokens, such as "mean log probability of the tokens"."""
        if self.token is None and self.lengths == "mean":
            mean = "geometric mean probability" if score == "probability" else f"mean {score}"
            return f"{mean} of the tokens"
        return score

    def text(self, answer: str) -> str:
        """An answer in quotes, after the word or token of it that is scored if it is one."""
        if self.word is not None:
            whole = next(iter(self.pieces))
            shown = whole if len(whole) <= MOST_QUOTED else f"{whole[: MOST_QUOTED - 1]}…"
            return f"word {self.word}, “{answer}”, of “{shown}”"
        pieces = self.pieces[answer]
        if self.token is None or self.token >= len(pieces):
            return f"“{answer}”"
        return f"token {self.token}, “{pieces[self.token].strip()}”, of “{answer}”"


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explained answer.

    Attributes:
        answers: the most probable answers, best first.
        target, contrast: the explained answer, and the one it is compared with or `None`.
        score: what is explained: "logit", "log_probability", "probability" or "value" of the target
            (minus the contrast's).
        parts: what is said of each input, in their order.
        share: input name → its share of the absolute total over players; the shares sum to 1.
            Inputs that are fixed have none.
        error: completeness gap or largest standard error, as `error_kind` says; `None` where there
            is none.
        cost: examples through the model forward and backward, and seconds.
        method, parameters: how it was computed.
        provenance: model, versions, seed, example id.
        by_player: whether the method valued players; else it valued elements, such as pixels, which
            are summed.
        joint: what the players of two inputs bring only together; () from methods without
            interactions.
        notes: what else a reader must know, one sentence each.
        answer_without_inputs: what the model answers with every player absent, under the method's
            fill or baseline; `None` from methods that have none, and where the user stopped the
            estimate.
        unit: what the values are, a name of `vqa_explain.units`; where it is left out, that of the
            method of this name.
        target_index, contrast_index, without_inputs_index: the label numbers of target, contrast
            and `answer_without_inputs`, which tell two labels of one text apart; `None` where there
            is no label, and in files of older versions.
        target_function: whether the target is a function of the scores, whose name `target` then
            is.
        written: the tokens of the answers, and which of them are scored; `None` of models that
            choose among answers of their own, and in files of older versions.
        outputs: of a sentence (`explain(…, target="sentence")`), the explanation of each of its
            words, given those before it: what each part added to its log-probability. () else.
        sources: of a word of a sentence, where its log-probability comes from: the exact Shapley
            values of each whole input and of the "earlier words" of the answer, and "alone", what
            it is with all of them absent. They add up to it. {} else.
        with_pictures: of such a word, its log-probability less what it is with all pictures absent
            and all else present; `None` where there is no picture.
        earlier, earlier_errors: of such a word with `history=True`, what each word before it added,
            in order, and the standard errors; the values add up to the "earlier words" of
            `sources`. () else.
    """

    answers: tuple[Answer, ...]
    target: str
    contrast: str | None
    score: str
    parts: tuple[Part, ...]
    share: dict[str, float]
    error: float | None
    error_kind: str
    cost: Cost
    method: str
    parameters: dict[str, Any]
    provenance: dict[str, Any]
    by_player: bool = True
    joint: tuple[JointValues, ...] = ()
    notes: tuple[str, ...] = ()
    answer_without_inputs: str | None = None
    unit: str = ""
    target_index: int | None = None
    contrast_index: int | None = None
    without_inputs_index: int | None = None
    target_function: bool = False
    written: Written | None = None
    outputs: "tuple[Explanation, ...]" = ()
    sources: dict[str, float] = dataclasses.field(default_factory=dict)
    with_pictures: float | None = None
    earlier: tuple[float, ...] = ()
    earlier_errors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.unit:
            object.__setattr__(self, "unit", unit_of_values(self.method, self.parameters))

    def __getitem__(self, name: str) -> Part:
        """What is said of the input of that name.

        Raises:
            InvalidInput: there is none.
        """
        found = next((part for part in self.parts if part.name == name), None)
        if found is None:
            raise unknown("input of this explanation", name, [part.name for part in self.parts])
        return found

    def _only(self, kind: type[P]) -> P | None:
        """The one part of that kind; `None` where there is none.

        Raises:
            InvalidInput: there are several.
        """
        found = [part for part in self.parts if isinstance(part, kind)]
        # Texts that are fixed, such as a system prompt, leave one that is asked about.
        found = [part for part in found if not part.fixed] or found
        if len(found) > 1:
            names = ", ".join(repr(part.name) for part in found)
            raise InvalidInput(
                f"the explanation has several inputs of kind {kind.kind!r}; take one of them: "
                f"why[name], where name is one of {names}"
            )
        return found[0] if found else None

    @property
    def _picture(self) -> PicturePart:
        found = self._only(PicturePart)
        if found is None:
            names = ", ".join(repr(part.name) for part in self.parts)
            raise InvalidInput(f"the explanation has no picture; its inputs are {names}")
        return found

    @property
    def differing(self) -> tuple[int, ...]:
        """The numbers of the `outputs` in which a sentence differs from its contrast; () where there
        is none.
        """
        if "differing" in self.provenance:
            return tuple(self.provenance["differing"])
        rows = enumerate(self.outputs)  # of files that do not tell it
        return tuple(n for n, row in rows if row.contrast not in (None, row.target))

    @property
    def thinking(self) -> str:
        """What the model thought before the answer that is explained; "" for nothing."""
        return "" if self.written is None else self.written.thinking

    @property
    def is_not_from_pictures(self) -> bool:
        """Whether a word was measured to be less than a tenth more likely with the pictures than
        with everything else alone.
        """
        gain = self.with_pictures
        return gain is not None and gain < math.log(1 + LEAST_MORE_LIKELY)

    @property
    def picture_share(self) -> float | None:
        """The pictures' share of the absolute values, from 0 to 1; `None` where inputs cannot be
        compared, or there is one alone.
        """
        if self.values_unit.why_no_shares or len(self.share) < 2:
            return None
        return sum(self.share.get(name, 0.0) for name in self._valued_pictures)

    @property
    def _valued_pictures(self) -> list[str]:
        """The names of the pictures that are not fixed."""
        pictures = [part for part in self.parts if isinstance(part, PicturePart)]
        return [part.name for part in pictures if not part.fixed]

    @cached_property
    def matrix(self) -> AnswerMatrix:
        """The words of a sentence against all parts that have values.

        Raises:
            InvalidInput: the explanation is not of a sentence.
        """
        if not self.outputs:
            raise InvalidInput(
                "the explanation is not of a sentence; ask for one by explain(…, target='sentence')"
            )
        parts = [part for part in self.parts if not part.fixed]
        names = tuple((part.name, player.text) for part in parts for player in part.players)
        values, errors = [], []
        for row in self.outputs:
            players = [player for part in row.parts if not part.fixed for player in part.players]
            values.append([player.value for player in players])
            errors.append([player.error for player in players])
        without = any(error is None for row in errors for error in row)
        with np.errstate(divide="ignore"):
            logs = np.array([_told(row) for row in self.outputs])
        return AnswerMatrix(
            tuple(row.target for row in self.outputs),
            logs,
            names,
            np.array(values, dtype=float),
            None if without else np.array(errors, dtype=float),
        )

    # Short forms for the common case of one picture and one question. Each raises InvalidInput
    # where there are several of its kind, and those of the picture where there is none.

    @property
    def question(self) -> str | None:
        """What was asked: the one text, or of several that of this name; `None` where there is
        none.
        """
        asked = [part for part in self.parts if isinstance(part, TextPart)]
        named = [part for part in asked if part.name == QUESTION]
        found = named[0] if named else self._only(TextPart)
        return None if found is None else found.source

    @property
    def words(self) -> tuple[WordValue, ...]:
        """The values of the one text's words; () where there is none."""
        found = self._only(TextPart)
        return () if found is None else found.words

    @property
    def tokens(self) -> tuple[TokenValue, ...]:
        """The values of the one text's tokens; () where there is none."""
        found = self._only(TextPart)
        return () if found is None else found.tokens

    @property
    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8, the one picture."""
        return self._picture.picture

    @property
    def image(self) -> np.ndarray:
        """(H, W) float64, value per pixel of the one picture."""
        return self._picture.image

    @property
    def padding(self) -> float:
        """The share of the absolute values of the one picture's frame that lies on padding."""
        return self._picture.padding

    @property
    def regions(self) -> tuple[RegionValue, ...]:
        """The values of the one picture's regions; () where there is no picture."""
        found = self._only(PicturePart)
        return () if found is None else found.regions

    @property
    def labels(self) -> np.ndarray:
        """(H, W) int32, the region of each pixel of the one picture,
        -1 where the model saw nothing.
        """
        return self._picture.labels

    @property
    def columns(self) -> tuple[ColumnValue, ...]:
        """The values of the one table's columns; () where there is none."""
        found = self._only(TablePart)
        return () if found is None else found.columns

    @property
    def heading(self) -> str:
        """What was asked, in one line: the question where it is fixed and others are not; the texts
        that have players, else the last text, else the inputs' names.
        """
        for part in self.parts:
            if isinstance(part, TextPart) and part.fixed and part.name == QUESTION:
                return part.title
        asked = [part for part in self.parts if not part.fixed] or list(self.parts)
        texts = [part.title for part in asked if isinstance(part, TextPart)]
        fixed = [part.title for part in self.parts if isinstance(part, TextPart) and part.fixed]
        texts = texts or fixed[-1:]
        if any(texts):
            return " · ".join(texts)
        if all(isinstance(part, PicturePart) for part in asked) and len(asked) == 1:
            return "image classification" if self.written is None else "image description"
        return f"classification of {', '.join(part.name for part in asked)}"

    def is_alone(self, part: Part) -> bool:
        """Whether a part is the only one of its kind,
        so that its players need no name of the input.
        """
        return sum(other.kind == part.kind for other in self.parts) == 1

    @property
    def interactions(self) -> np.ndarray | None:
        """(A, B) float64, what the players of two inputs bring only together, such as (words,
        regions).
        """
        return None if self._joint is None else self._joint.values

    @property
    def interaction_errors(self) -> np.ndarray | None:
        """(A, B) the standard errors of `interactions`."""
        return None if self._joint is None else self._joint.errors

    @property
    def _joint(self) -> JointValues | None:
        if len(self.joint) > 1:
            names = ", ".join(f"{one.first} × {one.second}" for one in self.joint)
            raise InvalidInput(
                f"the explanation has interactions of several inputs ({names}); see why.joint"
            )
        return self.joint[0] if self.joint else None

    @property
    def survives_without_inputs(self) -> bool | None:
        """Whether the predicted answer stays with everything absent: then the fill leaks,
        or no input is needed.
        """
        if self.answer_without_inputs is None:
            return None
        if self.without_inputs_index is not None:
            return self.without_inputs_index == self.answers[0].index
        return self.answer_without_inputs == self.answers[0].text

    @property
    def without_inputs_text(self) -> str:
        """What the model answers with everything absent, as a clause; "" where it is not known,
        or a note says it.
        """
        text = self.answer_without_inputs
        if text is None or self.survives_without_inputs:
            return ""
        answer = self.answer_text(text, self.without_inputs_index)
        fixed = [part.name for part in self.parts if part.fixed]
        return f"with {everything_but(fixed)} absent, the model answers {answer}"

    @property
    def padding_text(self) -> str:
        """The share of the values that fell on padding, as a clause; "" where none did."""
        found = {part.name: part.padding for part in self.parts if isinstance(part, PicturePart)}
        told = {name: padding for name, padding in found.items() if padding}
        if not told:
            return ""
        if len(found) == 1:
            share = percent_text(next(iter(told.values())))
            return f"on padding around the picture: {share} of its values"
        listed = ", ".join(
            f"{percent_text(padding)} of the values of {name}" for name, padding in told.items()
        )
        return f"on padding around the pictures: {listed}"

    def region_mask(self, number: int) -> np.ndarray:
        """(H, W) bool, the pixels of region `number` of the one picture."""
        found: np.ndarray = self.labels == number
        return found

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
        target = self.answer_text(self.target, self.target_index)
        if not self.contrast:
            return f"{name} of {target}"
        return f"{name} of {target} minus {self.answer_text(self.contrast, self.contrast_index)}"

    @property
    def why_text(self) -> str:
        """What is explained, and what the model answers, in one line."""
        best = self.answers[0]
        answers = f"the model answers {self.answer_text(best.text, best.index)}, {best.shown}"
        if best.probability is None:
            answers = f"the model gives {self.answer_text(best.text, best.index)} {best.shown}"
        if self.target_function:
            return f"why {self.explained}; {answers}"
        target = self.answer_text(self.target, self.target_index)
        if self.contrast:
            contrast = self.answer_text(self.contrast, self.contrast_index)
            return f"why {target} rather than {contrast}; {answers}"
        if self.written is not None and self.written.word is not None:
            return f"why {target}; {best.shown} given the words before it"
        is_best = (self.target, self.target_index or best.index) == (best.text, best.index)
        if is_best and best.probability is not None:
            return f"why {target}, the model's answer, {best.shown}"
        return f"why {target}; {answers}"

    def answer_text(self, text: str, index: int | None) -> str:
        """An answer in quotes; with its label number where another of the answers has the same
        text.
        """
        written = self.written
        if written is not None and (written.word is not None or text in written.pieces):
            return written.text(text)
        others = [a for a in self.answers if a.text == text and a.index != index]
        return f"“{text}” (label {index})" if others and index is not None else f"“{text}”"

    @property
    def values_unit(self) -> Unit:
        """What may be said of the values: whether they add up, have signs,
        and can be compared across inputs.
        """
        return unit_named(self.unit)

    @property
    def unit_text(self) -> str:
        """What one value is, in words, such as “points of logit of “red””."""
        return self.values_unit.text.replace("{score}", self.explained)

    @property
    def palette(self) -> colors.Palette:
        """The colors of the values: two hues from zero, or one where they have one side."""
        return colors.SIGNED if self.values_unit.two_sided else colors.SIZES

    def colors_of(self, kind: str) -> colors.Scale:
        """What the colors of players of a kind of input stand for;
        those of all kinds where they can be compared.
        """
        shared = self.values_unit.shared
        parts = [part for part in self.parts if shared or part.kind == kind]
        return self._scale_of([value for part in parts for value in part.values])

    def full_ends(self, full: float, values: Sequence[float]) -> list[float]:
        """The values of full color on the sides of zero that have values,
        for bars beside colors.
        """
        if not self.values_unit.from_zero:
            return [full]
        above, below = max(values, default=0.0) > 0, min(values, default=0.0) < 0
        return [full] * above + [-full] * below

    @cached_property
    def word_colors(self) -> colors.Scale:
        """What the words' colors stand for; those of regions too where the two can be compared."""
        return self.colors_of(TextPart.kind)

    @cached_property
    def region_colors(self) -> colors.Scale:
        """What the regions' colors stand for; those of words too where the two can be compared."""
        return self.colors_of(PicturePart.kind)

    @cached_property
    def map_colors(self) -> colors.Scale:
        """What a map's colors stand for: those of regions, or of single pixels, which have a scale
        of their own.

        Few pixels may be far above all others, so full color is at the 99.5th percentile of their
        sizes.
        """
        pictures = [p for p in self.parts if isinstance(p, PicturePart) and not p.fixed]
        if self.by_player or not pictures:
            return self.region_colors
        if not self.values_unit.from_zero:
            return self._scale_of(np.concatenate([p.image[p.labels >= 0] for p in pictures]))
        sizes = np.concatenate([np.abs(part.image).ravel() for part in pictures])
        # Zero where fewer than one pixel in 200 has a value: then the largest is full color.
        full = float(np.quantile(sizes, 0.995)) or float(sizes.max(initial=0.0))
        return colors.Scale(0.0, full, self.palette)

    def _scale_of(self, values: Sequence[float] | np.ndarray) -> colors.Scale:
        """From zero to the largest size, or from the smallest value to the largest where zero
        means nothing.
        """
        found = np.asarray(values, dtype=np.float64)
        if self.values_unit.from_zero or not found.size:
            return colors.Scale(0.0, float(np.abs(found).max(initial=0.0)), self.palette)
        return colors.Scale(float(found.min()), float(found.max()), self.palette)

    @property
    def _player_names(self) -> list[str]:
        """What the players of each kind of input are called, once each."""
        return list(dict.fromkeys(part.player for part in self.parts if part.players))

    @property
    def one_scale(self) -> bool:
        """Whether one legend holds for players of all kinds: there are several,
        and their values can be compared.
        """
        return len(self._player_names) > 1 and self.by_player and self.values_unit.shared

    @property
    def word_legend(self) -> str:
        """What a word's color stands for: the unit, and what has one such value."""
        return self.legend(TextPart.player)

    @property
    def map_legend(self) -> str:
        """What a color of the map stands for, and of a word where the two have one scale."""
        if not self.by_player:
            return self.legend("pixel")
        return self.legend(self.all_players if self.one_scale else PicturePart.player)

    def legend(self, player: str) -> str:
        """What a color stands for: the unit, and what has one such value, such as "word"."""
        ends = (
            "" if self.values_unit.from_zero else "; colors from the smallest value to the largest"
        )
        return f"{self.unit_text}, per {player}{ends}"

    def legend_of(self, part: Part) -> str:
        """What a color of a part's players stands for; of a picture, see `map_legend`."""
        return self.legend(self.all_players if self.one_scale else part.player)

    @property
    def all_players(self) -> str:
        """The players of all kinds, such as "region, word or column"."""
        *others, last = self._player_names
        return f"{', '.join(others)} or {last}" if others else last

    @property
    def word_scale(self) -> float:
        """The value of full color for words."""
        return self.word_colors.full

    @property
    def region_scale(self) -> float:
        """The value of full color for regions."""
        return self.region_colors.full

    @property
    def heat(self) -> tuple[np.ndarray, float]:
        """(H, W) values to draw of the one picture, and the value of full color: see `heat_of`."""
        return self.heat_of(self._picture)

    def heat_of(self, part: PicturePart) -> tuple[np.ndarray, float]:
        """(H, W) values to draw and the value of full color: regions on their scale, or single
        pixels.

        Where the model saw nothing is the value without color.
        """
        scale = self.map_colors
        if self.by_player:
            # The last stands for label -1.
            values = np.array([*part.values, scale.bare])
            return values[part.labels], scale.full
        if self.values_unit.from_zero:
            return part.image, scale.full
        return np.where(part.labels < 0, scale.bare, part.image), scale.full

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair of players of two inputs, by size over standard error;
        () from methods without interactions.
        """
        whole = float(sum(np.abs(part.values).sum() for part in self.parts))
        return ranked([(one.values, one.errors) for one in self.joint], whole)

    def pair_players(self, pair: Pair) -> tuple[PlayerValue, PlayerValue]:
        """The two players of a pair."""
        names = self.joint[pair.inputs]
        return self[names.first].players[pair.first], self[names.second].players[pair.second]

    @property
    def evaluations(self) -> int:
        """What the estimate spent of its budget."""
        budget = self.parameters.get("budget")
        stops = any(self.parameters.get(name) is not None for name in ("tolerance", "settle"))
        early = stops or "stopped" in self.error_kind
        return (
            self.cost.forwards if budget is None or (early and self.cost.forwards) else int(budget)
        )

    def interval(self, level: float = LEVEL) -> dict[str, np.ndarray]:
        """Where the values of players lie, at this level for each: input name → (P, 2) lower and
        upper bound, in the unit of the values; without width where they are exact.

        It counts the error of the estimate alone: how far it may be from the value that all
        coalitions would give. How often such intervals hold is measured by `benchmarks/games.py`.

        Raises:
            InvalidInput: the level is not between 0 and 1.
            Unsupported: the method states no standard errors of its values.
        """
        _check_level(level)
        wide = half_width(level)
        bounds = {}
        for part in self.parts:
            errors = self._errors(part)
            if len(errors):
                bounds[part.name] = np.asarray(part.values)[:, None] + np.outer(
                    wide * errors, (-1, 1)
                )
        return bounds

    @property
    def bands(self) -> dict[str, np.ndarray]:
        """Where values lie under every one of several fills: input name → (P, 2), the lowest lower
        and the highest upper end of the 95% intervals of each value, or of the values themselves
        where no errors are stated. A value whose band does not hold 0 has the same sign whichever
        of the fills stands for what is absent.

        Raises:
            InvalidInput: the explanation is of one fill.
        """
        found = {part.name: [band_of(player) for player in part.players] for part in self.parts}
        told = {name: some for name, some in found.items() if some}
        if not any(band is not None for some in told.values() for band in some):
            raise InvalidInput(
                "the explanation is of one fill; ask for several by "
                "explain(…, fills=['blur', 'mean'])"
            )
        return {
            name: np.array([band or (-np.inf, np.inf) for band in some], dtype=float)
            for name, some in told.items()
        }

    @property
    def steady(self) -> dict[str, np.ndarray]:
        """Which values keep their sign under every one of several fills: input name → (P,) bool.

        Raises:
            InvalidInput: the explanation is of one fill.
        """
        return {name: (bands[:, 0] > 0) | (bands[:, 1] < 0) for name, bands in self.bands.items()}

    def settled(self, count: int = 3, level: float = LEVEL) -> bool:
        """Whether the `count` most important parts are certainly these: the sizes of their values
        are above those of all others, at this level for all of them together.

        Raises:
            InvalidInput: `count` is below 1, or the level is not between 0 and 1.
            Unsupported: the method states no standard errors of its values.
        """
        count = checked_whole("count", count, 1)
        _check_level(level)
        errors = np.concatenate([self._errors(part) for part in self.parts])
        values = np.concatenate([np.asarray(part.values) for part in self.parts if not part.fixed])
        return settled(values, errors, count, level)

    @cached_property
    def settled_parts(self) -> dict[str, tuple[int, ...]] | None:
        """Input name → the numbers of its parts among the most important ones that are settled at
        95 %: as many as are certain, at most five; {} where none is. `None` where there is nothing
        to settle: values are exact, no errors are stated, or zero does not say that a part does
        nothing.
        """
        players = [
            (part.name, number, player.value, player.error)
            for part in self.parts
            for number, player in enumerate(part.players)
        ]
        errors = [error for _, _, _, error in players]
        is_told = None not in errors and any(errors) and self.values_unit.from_zero
        if not is_told or len(players) < 2:
            return None
        most = min(MOST_SETTLED, len(players) - 1)
        count = next((n for n in range(most, 0, -1) if self.settled(n)), 0)
        found: dict[str, tuple[int, ...]] = {}
        for name, number, _, _ in sorted(players, key=lambda one: -abs(one[2]))[:count]:
            found[name] = (*found.get(name, ()), number)
        return found

    @property
    def settled_text(self) -> str:
        """How many of the most important parts are settled, as a clause; "" where there is nothing
        to settle.
        """
        found = self.settled_parts
        if found is None:
            return ""
        count = sum(map(len, found.values()))
        if not count:
            return f"no part is settled as the most important at {LEVEL:.0%}"
        parts = "most important part" if count == 1 else f"{count} most important parts"
        return f"the {parts}, settled at {LEVEL:.0%}"

    def _errors(self, part: Part) -> np.ndarray:
        """(P,) the standard errors of a part's players."""
        told = [player.error for player in part.players]
        if any(error is None for error in told):
            raise Unsupported(
                f"{self.method} states no standard errors of its values, so no interval is known; "
                "estimates of Shapley, Owen and Banzhaf values do"
            )
        return np.array(told, dtype=float)

    def pair_text(self, pair: Pair) -> str:
        """A pair with its value and standard error, for people."""
        first, second = self.pair_names(pair)
        return f"{first} × {second} {value_text(pair.value, pair.error)}"

    def pair_names(self, pair: Pair) -> tuple[str, str]:
        """What the two players of a pair are called: words in quotes,
        with their input where it has no kind alone.
        """
        names = self.joint[pair.inputs]
        first, second = self.pair_players(pair)
        return self._player_name(names.first, first), self._player_name(names.second, second)

    def _player_name(self, name: str, player: PlayerValue) -> str:
        part = self[name]
        text = f"“{player.text}”" if isinstance(part, TextPart) else player.text
        return text if self.is_alone(part) else f"{text} of {name}"

    @property
    def pairs_title(self) -> str:
        """What is paired, such as "words × regions", or "image 1 × image 2"."""
        if len(self.joint) != 1:
            return "pairs of players of two inputs"
        parts = [self[self.joint[0].first], self[self.joint[0].second]]
        if all(self.is_alone(part) for part in parts):
            return " × ".join(f"{part.player}s" for part in parts)
        return " × ".join(part.name for part in parts)

    def findings(self, most: int = 3) -> tuple[list[Pair], str]:
        """The pairs that stand out most from their errors, at most so many, and what is to be known
        of them all.

        A pair is named only beyond two standard errors. Chance alone puts one pair in twenty there,
        so none is named where no more are there than chance would put, and the text says which
        budget would tell more.
        """
        found = [pair for pair in self.pairs if pair.found]
        count = len(self.pairs)
        if not count:
            return [], ""
        if any(one.errors is None for one in self.joint):
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
        lines = [f"Explanation of {self.explained} by {self.method}"]
        for part in self.parts:
            if part.title:
                lines.append(_line(part.name, part.title + (" (fixed)" if part.fixed else "")))
        lines.append(_line("answers", ", ".join(f"{a.text} {a.shown}" for a in self.answers)))
        lines.append(_line("unit", self.unit_text))
        lines += [line for part in self.parts for line in self._part_lines(part)]
        if self.outputs:
            lines.append(_line("outputs", ", ".join(map(_output_text, self.outputs))))
        if self.pairs:
            found, said = self.findings()
            lines.append(_line("pairs", "; ".join([*map(self.pair_text, found), said])))
        lines.append(_line("share", self.share_text))
        if self.sources:
            told = [f"{name} {value_text(value, None)}" for name, value in self.sources.items()]
            lines.append(_line("sources", ", ".join(told)))
        lines.append(_line("error", self.error_text))
        if self.without_inputs_text:
            lines.append(_line("absent", self.without_inputs_text))
        lines += [_line("note", note) for note in self.notes]
        return "\n".join([*lines, _line("cost", self.cost_text)])

    def _part_lines(self, part: Part) -> list[str]:
        """One line of the values of a part; none where it has no players."""
        told = part.telling(3)
        if not told:
            return []
        signed = self.values_unit.two_sided
        texts = [f"{one.text} {player_text(one, signed)}" for one in told]
        texts += ["…"] if len(told) < len(part.players) else []
        return [_line(f"{part.player}s" if self.is_alone(part) else part.name, ", ".join(texts))]

    @property
    def share_text(self) -> str:
        """The inputs' shares, for people; where their values cannot be compared,
        why there are none.
        """
        if len(self.share) > 1 and self.values_unit.why_no_shares:
            return f"none: {self.values_unit.why_no_shares}"
        return ", ".join(f"{name} {percent_text(part)}" for name, part in self.share.items())

    @property
    def cost_text(self) -> str:
        """Passes through the model and seconds, for people, such as “2 forward passes,
        1 backward pass, 0.10 s”.
        """
        forwards = counted(self.cost.forwards, "forward pass", "forward passes")
        backwards = counted(self.cost.backwards, "backward pass", "backward passes")
        return f"{forwards}, {backwards}, {self.cost.seconds:.2f} s"

    @property
    def error_text(self) -> str:
        """The error with its kind, for people."""
        return self.error_kind if self.error is None else f"{self.error:.3g} ({self.error_kind})"

    def _repr_html_(self) -> str:
        return str(drawing("fragment")(self))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The viewer for front ends that show widgets,
        and a picture of it in HTML and words for others.
        """
        bundle: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if "ipykernel" in sys.modules:  # else there is nobody for a widget to speak to
            found: Any = drawing("widget")(self)._repr_mimebundle_() or {}
            view = found[0] if isinstance(found, tuple) else found
            bundle |= {k: v for k, v in view.items() if k.startswith("application/")}
        return bundle

    def plot(
        self,
        views: str | Sequence[str] = ("picture", "overlay"),
        cmap: Any = None,
        *,
        title: str | None = None,
        figsize: tuple[float, float] | None = None,
        ax: Any = None,
        scale: Literal["own", "shared"] = "own",
        percentile: float | None = None,
        outputs: Sequence[str | int] | None = None,
    ) -> Any:
        """A matplotlib figure of every input and of their shares.

        Args:
            views: of "picture", "overlay", "signed", "positive", "negative", "absolute", "masked"
                and "matrix" (of interactions, or of the words of a sentence).
            cmap: a matplotlib color map in place of our own.
            title: in place of the question and of what is explained.
            figsize: width and height in inches; pictures take the height that is left.
            ax: axes of a figure of yours, which get one view of the one picture.
            scale: "own" gives each kind of input the colors of its own largest value, "shared" all
                kinds those of the largest of all.
            percentile: full color at this percentile of the sizes, in place of the largest.
            outputs: of a sentence, the words whose pictures are drawn, or their numbers from 0; by
                default the six that the picture matters most for.

        Raises:
            InvalidInput: there is no such view or color map, or nothing to show of it; or a size,
                scale or percentile cannot be.
        """
        return drawing("figure")(
            self,
            views,
            cmap,
            title=title,
            figsize=figsize,
            ax=ax,
            scale=scale,
            percentile=percentile,
            outputs=outputs,
        )

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes one HTML file that needs no network."""
        return write_atomically(path_of(path), drawing("page")([self]).encode())

    def summary(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON types."""
        data = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        data["parts"] = [part.to_json() for part in self.parts]
        data["joint"] = [{"first": one.first, "second": one.second} for one in self.joint]
        data["outputs"] = [row.summary() for row in self.outputs]
        found: dict[str, Any] = json.loads(json.dumps(data, default=_as_json))
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes one file (safetensors, the rest as JSON in its header), atomically;
        `load_explanation` reads it.

        All values are kept to the last bit. A picture above 2 megapixels that would take more than
        3 MB is kept with a small loss.
        """
        return write_atomically(path_of(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        if not self.outputs:
            return explanation_file.to_bytes(self.summary(), self._arrays())
        # A reader unpacks no more than so much, so what is larger is kept as it is.
        unpacks = sum(bytes_of_maps(row) for row in self.outputs) <= MOST_UNPACKED
        rows = [row._arrays(self, by_frame=unpacks) for row in self.outputs]
        own = self._arrays(by_frame=unpacks or None)
        return explanation_file.to_bytes(*shortened(self.summary(), own, rows, unpacks))

    def _arrays(
        self, like: "Explanation | None" = None, by_frame: bool | None = None
    ) -> dict[str, np.ndarray]:
        """The arrays of parts and pairs, by their names in the file; see `Part.to_arrays`."""
        arrays: dict[str, np.ndarray] = {}
        for number, part in enumerate(self.parts):
            known = None if like is None else like.parts[number]
            for name, values in part.to_arrays(known, by_frame).items():
                arrays[array_name(PART, number, name)] = np.ascontiguousarray(values)
        for number, one in enumerate(self.joint):
            for name, pairs in (("values", one.values), ("errors", one.errors)):
                if pairs is not None:
                    key = array_name(JOINT, number, name)
                    arrays[key] = np.ascontiguousarray(pairs, np.float64)
        return arrays


def _line(label: str, text: str) -> str:
    return f"  {label:<9} {text}"


def _output_text(row: Explanation) -> str:
    """A word of a sentence with its probability and, where inputs can be compared, their shares."""
    told = f"{row.target} {row.answers[0].shown}"
    if row.is_not_from_pictures:
        return f"{told} (not from the picture)"
    return told if row.values_unit.why_no_shares else f"{told} ({row.share_text})"


def _told(row: Explanation) -> float:
    """The log-probability of a word, less that of its contrast where it has one."""
    logs = np.log([answer.probability or 0.0 for answer in row.answers])
    return float(logs[0] if row.contrast is None else logs[0] - logs[1])


def _as_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written")


def bytes_of_maps(why: Explanation) -> int:
    """How much memory its maps of pictures take."""
    return sum(part.image.nbytes for part in why.parts if isinstance(part, PicturePart))


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InvalidInput(f"level must be between 0 and 1, such as 0.95, not {level!r}")
