"""What is explained: an answer, the kinds of scores that models give,
and the target that is made of them.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from vqa_explain._shown import percent_text, shown
from vqa_explain.errors import InvalidInput, Unsupported, unknown


@dataclass(frozen=True)
class Answer:
    """One answer and what the model gives it.

    Attributes:
        text: its label.
        probability: the model's probability for it; `None` where the outputs are real numbers and
            no probabilities.
        index: its label number, which tells answers of the same text apart.
        value: the output itself, where there is no probability.
    """

    text: str
    probability: float | None
    index: int
    value: float | None = None

    @property
    def shown(self) -> str:
        """The probability in percent, or the value, for people."""
        if self.probability is None:
            return f"{self.value:.4g}"
        # Of texts that a model writes, none is likely; 0.0% would say that it is impossible.
        return percent_text(self.probability)


SCORES = ("logit", "log_probability", "probability")


PLAIN = ("logit", "value")  # scores that are the network's outputs as they are


CHOICE = "logits"


REAL = "real"


FIT = "fit"


LOGS = "log_probabilities"


def _no_probabilities(_scores: Tensor) -> Tensor:
    raise Unsupported(
        "this model's outputs are real numbers, which have no probabilities; leave score= out"
    )


# What a model's scores (B, K) are, and the log-probabilities (B, K) that they stand for.
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    CHOICE: lambda scores: scores.log_softmax(-1),  # of answers that exclude each other
    LOGS: lambda scores: scores,  # of answers among all texts
    FIT: F.logsigmoid,  # of each answer by itself
    REAL: _no_probabilities,  # of a regression
}


@dataclass(frozen=True)
class Target:
    """The scalar that is explained: one answer's score, that less another's, or any function of the
    scores.

    Attributes:
        index: the answer's label number; `None` with a function.
        contrast: the label number of the answer it is compared with, or `None`.
        score: "logit", "log_probability" or "probability"; "value" where the outputs are real
            numbers.
        function: scores (B, K) → (B,), differentiable for gradient methods.
        kind: what the model's scores are, one of `KINDS`.
    """

    index: int | None
    contrast: int | None = None
    score: str = "logit"
    function: Callable[[Tensor], Tensor] | None = None
    kind: str = "logits"

    def __call__(self, logits: Tensor) -> Tensor:
        """Scores (B,) of what the model gives (B, K)."""
        if self.score not in PLAIN:
            logits = KINDS[self.kind](logits)
            logits = logits.exp() if self.score == "probability" else logits
        if self.function is not None:
            return self._called(logits)
        value = logits[:, self.index]
        return value if self.contrast is None else value - logits[:, self.contrast]

    @property
    def reads(self) -> tuple[int, ...] | None:
        """The label numbers whose scores its value is made of; `None` where it may read all."""
        if self.index is None or (self.score not in PLAIN and self.kind not in (LOGS, FIT)):
            return None
        return (self.index,) if self.contrast is None else (self.index, self.contrast)

    def among(self, labels: Sequence[int]) -> "Target":
        """The same target where only these labels, by their numbers, are scored."""
        assert self.index is not None
        contrast = None if self.contrast is None else labels.index(self.contrast)
        return replace(self, index=labels.index(self.index), contrast=contrast)

    def _called(self, scores: Tensor) -> Tensor:
        assert self.function is not None
        value = self.function(scores)
        if not isinstance(value, Tensor) or value.shape != scores.shape[:1]:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidInput(
                "the target function must turn scores (B, K) into a tensor (B,): "
                f"{tuple(scores.shape)} became {got}"
            )
        return value

    def text(self, labels: tuple[str, ...]) -> str:
        """The answer, or the function's name."""
        if self.function is not None:
            return getattr(self.function, "__name__", type(self.function).__name__)
        assert self.index is not None
        return labels[self.index]


def quoted(target: str, contrast: str | None) -> str:
    """An answer in quotes, less the one it is compared with.

    >>> quoted("red", None), quoted("red", "blue")
    ('“red”', '“red” minus “blue”')
    """
    return f"“{target}”" if contrast is None else f"“{target}” minus “{contrast}”"


def find_answer(labels: Sequence[str], answer: str | int) -> int:
    """The label number of an answer.

    Args:
        labels: the K answers.
        answer: its text or its label number, from 0. The exact text comes first; if no label has
            it, case and blanks do not matter.

    Raises:
        InvalidInput: there is no such answer, or several have this text.
    """
    if not isinstance(answer, str):
        return _numbered(labels, answer)
    found = matching_answers(labels, answer)
    if not found:
        raise unknown("answer", answer, labels)
    if len(found) > 1:
        listed = ", ".join(f"{labels[i]!r} is number {i}" for i in found[:12])
        raise InvalidInput(
            f"the answer {answer!r} could be several: {listed}; give the number, such as {found[0]}"
        )
    return found[0]


def _numbered(labels: Sequence[str], answer: Any) -> int:
    if isinstance(answer, bool | np.bool_) or not hasattr(answer, "__index__"):
        raise InvalidInput(
            f"an answer is its text or its label number, not {type(answer).__name__}"
        )
    try:
        number = operator.index(answer)
    except TypeError as error:  # arrays have the method too
        raise InvalidInput(
            f"an answer is its text or its label number, not {type(answer).__name__}"
        ) from error
    if not 0 <= number < len(labels):
        raise InvalidInput(
            f"there is no answer number {shown(number)}; the answers are numbered 0 to {len(labels) - 1}"
        )
    return number


def matching_answers(labels: Sequence[str], text: str) -> tuple[int, ...]:
    """The label numbers of a text: where it is exactly a label, of those;
    else without regard to case and blanks.
    """
    exact = tuple(index for index, label in enumerate(labels) if label == text)
    if exact:
        return exact
    wanted = folded(text)
    return tuple(index for index, label in enumerate(labels) if folded(label) == wanted)


def folded(text: str) -> str:
    """A text as answers are compared: without regard to case and to how many blanks there are."""
    return " ".join(text.split()).casefold()
