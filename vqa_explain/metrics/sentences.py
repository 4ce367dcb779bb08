"""Answers that are sentences: does the log-probability follow the explanation, of the whole and of
each word, and do words that name an object point at it?
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from vqa_explain.cost import Cost
from vqa_explain.finishing import first_pass
from vqa_explain.game import Game
from vqa_explain.methods.base import Method
from vqa_explain.methods.shared import SharedPasses
from vqa_explain.metrics.base import HIGHER, LOWER, Case, Curve, NotMeasured, register_metric
from vqa_explain.metrics.faithfulness import Even, absent, ranking
from vqa_explain.metrics.localization import mass
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.sentences import Wording
from vqa_explain.registry import parameter
from vqa_explain.sentence import each_word, word_found
from vqa_explain.target import Target, folded

WHOLE, WORDS = "whole", "words"
_OF = "of the whole answer, or the mean over its words, each by its own explanation"
_POINTS = "points of the curve after the first"


def word_cases(case: Case, answer: int, words: Sequence[int] | None = None) -> list[Case]:
    """The same example with words of an answer explained, each given those before it.

    The method is run once: words take the coalitions, or the forward pass, of the whole answer, as
    `explain` with `target="sentence"` does. All metrics share what it gives.

    Args:
        case: an example of a `Wording`, with an explanation.
        answer: the number of the answer.
        words: their numbers in it; `None` for all.
    """
    model = cast(Wording, case.task.model)
    encoded = model.as_words(case.task.encoded, answer)
    asked = range(len(encoded.labels) - 1) if words is None else words
    key = (answer, *asked)
    if key not in case.words:
        case.words[key] = _explained(case, encoded, asked)
    found: list[Case] = case.words[key]
    return found


def _explained(case: Case, encoded: Encoded, words: Sequence[int]) -> list[Case]:
    """What `word_cases` gives, of an example whose candidates are words and, last, their answer."""
    model, method = case.task.model, cast(Method, case.method)
    goals = tuple(
        Target(number, None, "log_probability", kind=model.kind)
        for number in (*words, len(encoded.labels) - 1)
    )
    task = replace(
        case.task,
        encoded=encoded,
        target=goals[-1],
        targets=goals,
        games={},
        first=first_pass(method, model, encoded),
        plain=None,
        cost=Cost(),
        shared=SharedPasses(),
    )
    method(task)
    shared: list[Game] = []
    return [
        replace(case, task=one, games=shared).of(method, word_found(one, method), one.cost)
        for one in each_word(task)
    ]


def _tokens(case: Case) -> int:
    """How many tokens the explained answer, or the explained word of it, has.

    Raises:
        NotMeasured: the model does not write its answers token by token.
    """
    found = case.task.encoded.candidates
    if found is None or not isinstance(case.task.model, Wording) or found.lengths != "sum":
        raise NotMeasured("the model does not score its answers by the sum over their tokens")
    number = cast(int, case.task.target.index)
    if found.spans is None:
        return len(found.ids[number])
    first, behind = found.spans[number]
    return behind - first


def _curve(case: Case, of: str, counts: Callable[[Case], np.ndarray]) -> np.ndarray:
    """The log-probability per token at each point: of the answer, or the mean over its words."""
    whole = _tokens(case)
    if of == WHOLE:
        found: np.ndarray = case.points(counts(case)) / whole
        return found
    words = word_cases(case, cast(int, case.task.target.index))
    each = [one.points(counts(one)) / _tokens(one) for one in words]
    mean: np.ndarray = np.mean(each, axis=0)
    return mean


def _left(case: Case, steps: int, reverse: bool) -> np.ndarray:
    """Coalitions (steps + 1, P) from which the most relevant players leave, or to which they come."""
    order = ranking(case.values, "signed")
    gone = np.rint(np.linspace(0, len(order), steps + 1)).astype(int)
    return absent(case, order[::-1], gone[::-1]) if reverse else absent(case, order, gone)


@register_metric(
    "sentence_deletion",
    source="Petsiuk et al. 2018, on log-probabilities per token",
    better=LOWER,
    range="-∞ … 0",
)
@dataclass(frozen=True)
class SentenceDeletion(Even):
    """Area under the answer's log-probability per token as players leave, the most relevant first.

    Petsiuk et al. 2018 (RISE), section 4.1, over players; divided by the number of tokens, so that
    long and short answers compare.
    """

    of: str = parameter(WHOLE, _OF, choices=(WHOLE, WORDS))
    steps: int = parameter(20, _POINTS, low=1, high=1000)

    def __call__(self, case: Case) -> Curve:
        scores = _curve(case, self.of, lambda one: _left(one, self.steps, reverse=False))
        return Curve(self.at, scores)


@register_metric(
    "sentence_insertion",
    source="Petsiuk et al. 2018, on log-probabilities per token",
    better=HIGHER,
    range="-∞ … 0",
)
@dataclass(frozen=True)
class SentenceInsertion(Even):
    """Area under the answer's log-probability per token as players come, the most relevant first."""

    of: str = parameter(WHOLE, _OF, choices=(WHOLE, WORDS))
    steps: int = parameter(20, _POINTS, low=1, high=1000)

    def __call__(self, case: Case) -> Curve:
        scores = _curve(case, self.of, lambda one: _left(one, self.steps, reverse=True))
        return Curve(self.at, scores)


def _mentions(case: Case) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each object that the true answer names, the sum (H, W) of the values of the words that
    name it, and where it is (H, W) bool.

    Raises:
        NotMeasured: the example does not say which words of its answer name what, or the model does
            not write such an answer token by token.
    """
    example = case.example
    if not example.mentions or example.masks is None or example.question is not None:
        raise NotMeasured("the example does not say which words of its answer name which objects")
    _tokens(case)
    if len(case.pictures) != 1:
        raise NotMeasured("the example has several pictures, and masks of one")
    text = str(example.answer)
    labels = case.task.encoded.labels
    answer = next((n for n, one in enumerate(labels) if folded(one) == folded(text)), None)
    if answer is None:
        raise NotMeasured("the true answer is none of the candidates")
    encoded = cast(Wording, case.task.model).as_words(case.task.encoded, answer)
    places = _places(text, candidates_of(encoded).texts[:-1])
    named = []
    for start, end, objects in example.mentions:
        own = [n for n, (first, behind) in enumerate(places) if first < end and start < behind]
        truth = np.asarray(example.masks[list(objects)].any(axis=0))
        if own and truth.any():
            named.append((own, truth))
    if not named:
        raise NotMeasured("no word of the answer names an object that can be seen")
    words = sorted({number for own, _ in named for number in own})
    cases = word_cases(case, answer, words)
    maps = {n: one.explanation.image for n, one in zip(words, cases, strict=True)}
    for own, truth in named:
        yield np.sum([maps[number] for number in own], axis=0), truth


def _places(text: str, words: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where each word is in its sentence, in characters."""
    found, at = [], 0
    letters = _in_lower_case(text)
    for word in words:
        start = letters.find(_in_lower_case(word), at)
        start = at if start < 0 else start
        at = start + len(word)
        found.append((start, at))
    return found


def _in_lower_case(text: str) -> str:
    """A text in lower case with as many characters: "İ" has two there, and stays as it is."""
    lower = ((letter, letter.lower()) for letter in text)
    return "".join(small if len(small) == 1 else letter for letter, small in lower)


@register_metric(
    "mention_pointing",
    source="Zhang et al. 2016, section 4.1, for each word that names an object",
    better=HIGHER,
    range="0 … 1",
    needs={"picture"},
)
@dataclass(frozen=True)
class MentionPointing:
    """The share of the objects named in the true answer on which the pixel of most relevance for
    their words lies; of several such pixels, the share that does.
    """

    def __call__(self, case: Case) -> float:
        return float(
            np.mean([truth[values == values.max()].mean() for values, truth in _mentions(case)])
        )


@register_metric(
    "mention_mass",
    source="Arras et al. 2022, for each word that names an object",
    better=HIGHER,
    range="0 … 1",
    needs={"picture"},
)
@dataclass(frozen=True)
class MentionMass:
    """The share of the positive relevance for the words that name an object that lies on it, as the
    mean over the objects named in the true answer.
    """

    def __call__(self, case: Case) -> float:
        return float(np.mean([mass(values, truth) for values, truth in _mentions(case)]))
