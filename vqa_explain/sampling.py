"""Answers that are drawn at random: how often each class of them comes, and what one class owes to
the inputs.

An answer that is drawn is a sequence of tokens with the one that ends it, and the network gives
such a sequence an exact probability at any temperature. What is explained of a class is the sum of
these over its sequences that were drawn, so that no coalition is sampled anew. What was never drawn
is missing there; the class's frequency among the samples says how much that is.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, cast

import numpy as np
from torch import Tensor

from vqa_explain._numbers import checked_whole
from vqa_explain._shown import percent_with_error
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.explanation import Explanation
from vqa_explain.finishing import explained
from vqa_explain.game import Players
from vqa_explain.methods.base import Method, Task
from vqa_explain.models.base import Model, answer_scores
from vqa_explain.models.encoded import Encoded, candidates_of, with_few
from vqa_explain.models.sentences import Wording
from vqa_explain.models.writing import Draws, Writing
from vqa_explain.target import Answer, Target, folded

Same = Callable[[str, str], bool]
SEES_MAPS = ("attention", "flow")  # methods that need these read other passes than scores do


@dataclass(frozen=True)
class Sampling(Draws):
    """How answers are drawn and counted.

    Attributes:
        same: whether two answers are one; `None` for equal texts.
    """

    same: Same | None = None


@dataclass(frozen=True)
class AnswerClass:
    """Answers among the samples that are one.

    Attributes:
        text: the one that was drawn most often.
        texts: answer → how often it was drawn, the most frequent first.
        count: how often any of them was drawn.
        share: `count` as a share of all samples, from 0 to 1.
        error: the standard error of `share`; never 0, since samples that agree may still be few.
        probability: the exact probability of those that were drawn, at this temperature.
    """

    text: str
    texts: dict[str, int]
    count: int
    share: float
    error: float
    probability: float


@dataclass(frozen=True, eq=False)
class Drawn:
    """Samples of one example.

    Attributes:
        encoded: the example, whose candidates are the distinct sequences that were drawn.
        classes: the classes, the most frequent first.
        members: of each class, the numbers of its sequences among the candidates.
        sampling: how they were drawn.
    """

    encoded: Encoded
    classes: tuple[AnswerClass, ...]
    members: tuple[tuple[int, ...], ...]
    sampling: Sampling


def asked_sampling(
    model: Model, samples: Any, temperature: Any, same: Any, seed: int
) -> Sampling | None:
    """How answers are drawn, checked; `None` where none are.

    Raises:
        InvalidInput: an argument cannot be used, or one is missing beside the others.
        Unsupported: the model does not write its answers.
    """
    if samples is None:
        given = {"temperature": temperature, "same": same}
        alone = next((name for name, value in given.items() if value is not None), None)
        if alone is not None:
            raise InvalidInput(f"{alone}= is of sampled answers; give samples= too, such as 20")
        return None
    samples = checked_whole("samples", samples, 2)
    if not isinstance(model, Wording):
        raise Unsupported(
            f"model {model.name!r} does not write its answers token by token, so none are sampled; "
            "leave samples= out"
        )
    temperature = model.writing.temperature if temperature is None else temperature
    if temperature is None:
        raise InvalidInput(
            "samples= draws answers at random, which needs a temperature; give temperature=, such "
            "as 0.7"
        )
    if same is not None and not callable(same):
        raise InvalidInput(
            f"same must be a function of two answers that says whether they are one, not {same!r}"
        )
    checked = Writing.asked(temperature=temperature).temperature
    return Sampling(samples, cast(float, checked), seed, same)


def check_alone(given: dict[str, Any]) -> None:
    """Refuses what has no meaning for the probability of a class of sampled answers.

    Args:
        given: argument name → its value.

    Raises:
        InvalidInput: one was given.
    """
    for name, value in given.items():
        if value is not None:
            raise InvalidInput(
                "samples= explains the probability of one class of sampled answers; leave "
                f"{name}= out"
            )


def check_sampled(sampling: Sampling, method: Method, target: Any, score: str | None) -> None:
    """Checks how the probability of a class of sampled answers is to be explained.

    Raises:
        InvalidInput: the target is no text, or the score no probability.
        Unsupported: the method reads maps of attention, which know no temperature.
    """
    if target is not None and not isinstance(target, str):
        raise InvalidInput(
            "of sampled answers, target= is the text of one; it names the class that is explained"
        )
    if score not in (None, "probability"):
        raise InvalidInput(
            f"samples={sampling.samples} explains a probability; leave score={score!r} out"
        )
    if any(one in method.needs for one in SEES_MAPS):
        raise Unsupported(
            f"method {method.name!r} reads maps of attention, which know no temperature; use a "
            "method over coalitions, such as shapley, for samples="
        )


def drawn(model: Model, encoded: Encoded, asked: Writing | None, sampling: Sampling) -> Drawn:
    """Samples of an example, in classes.

    Raises:
        InvalidInput: `same` gives what is no truth value.
        Unsupported: the model thinks before it answers.
    """
    writes = cast(Wording, model)
    rows = writes.sample(encoded, asked, sampling)
    if any(writes.parted(encoded, row)[0].history for row in rows):
        raise Unsupported(
            f"model {model.name!r} thinks before it answers, so each sample stands behind other "
            "thoughts and has no probability of its own; leave samples= out"
        )
    counts = Counter(rows)
    encoded = writes.as_sequences(encoded, list(counts), sampling.temperature)
    exact = answer_scores(model, encoded)[0].exp().tolist()
    by_text: Counter[str] = Counter()
    for text, count in zip(encoded.labels, counts.values(), strict=True):
        by_text[text] += count
    classes, members = [], []
    for texts in _classes([text for text, _ in by_text.most_common()], sampling.same):
        numbers = tuple(n for n, text in enumerate(encoded.labels) if text in texts)
        count = sum(by_text[text] for text in texts)
        own = {text: by_text[text] for text in texts}
        likely = sum(exact[number] for number in numbers)
        share, error = _share(count, sampling.samples)
        classes.append(AnswerClass(texts[0], own, count, share, error, likely))
        members.append(numbers)
    order = sorted(range(len(classes)), key=lambda n: -classes[n].count)
    return Drawn(
        encoded,
        tuple(classes[n] for n in order),
        tuple(members[n] for n in order),
        sampling,
    )


def _share(count: int, samples: int) -> tuple[float, float]:
    """The share of samples and its standard error, by Agresti and Coull's two more of each side."""
    smoothed = (count + 2) / (samples + 4)
    return count / samples, sqrt(smoothed * (1 - smoothed) / (samples + 4))


def _classes(texts: Sequence[str], same: Same | None) -> list[list[str]]:
    """Texts in classes: each in the first that has one that it is the same as.

    Raises:
        InvalidInput: `same` gives what is no truth value.
    """
    found: list[list[str]] = []
    for text in texts:
        own = None if same is None else _class_of(text, found, same)
        if own is None:
            found.append([text])
        else:
            own.append(text)
    return found


def _class_of(text: str, classes: Sequence[list[str]], same: Same) -> list[str] | None:
    for one in classes:
        for other in one:
            answer = same(other, text)
            if not isinstance(answer, bool | np.bool_):
                raise InvalidInput(
                    f"same({other!r}, {text!r}) gave {answer!r}; return True or False"
                )
            if answer:
                return one
    return None


def chosen_class(found: Drawn, target: str | None) -> int:
    """The number of the class that is explained: the most frequent, or that of a text.

    Raises:
        InvalidInput: no sample has that text.
    """
    if target is None:
        return 0
    for alike in (str, folded):
        for number, one in enumerate(found.classes):
            if alike(target) in map(alike, one.texts):
                return number
    known = [text for one in found.classes for text in one.texts]
    raise unknown("answer among the samples:", target, known)


def explain_class(
    model: Model,
    found: Drawn,
    players: Players,
    method: Method,
    target: str | None,
    how: dict[str, Any],
) -> Explanation:
    """The explanation of the probability of one class of sampled answers.

    Args:
        model: a `Wording`.
        found: the samples.
        players: the parts that get values.
        method: how.
        target: a text of the class; `None` for the most frequent class.
        how: the other fields of `Task`.
    """
    number = chosen_class(found, target)
    own = found.classes[number]

    def of_class(scores: Tensor) -> Tensor:
        return scores.sum(dim=1)

    few = with_few(found.encoded, found.members[number])
    goal = Target(None, None, "probability", of_class, model.kind)
    best = [Answer(one.text, one.probability, n) for n, one in enumerate(found.classes)]
    best.sort(key=lambda answer: -cast(float, answer.probability))
    why = explained(Task(model, few, goal, players, (goal,), **how), method, best[:5])
    sampling = found.sampling
    told = {
        "samples": sampling.samples,
        "temperature": sampling.temperature,
        "count": own.count,
        "share": own.share,
        "standard_error": own.error,
        "forms": len(candidates_of(few).ids),
    }
    return dataclasses.replace(
        why,
        target=own.text,
        target_function=False,
        notes=(*why.notes, _note(own, len(few.labels), sampling)),
        provenance={**why.provenance, "sampling": told},
    )


def _note(own: AnswerClass, forms: int, sampling: Sampling) -> str:
    """What was drawn of a class, and what of it is explained."""
    many = f"its {forms} forms that were drawn have" if forms > 1 else "the form that was drawn has"
    return (
        f"“{own.text}” came {own.count} times in {sampling.samples} sampled answers, "
        f"{percent_with_error(own.share, own.error)} (standard error); {many} probability "
        f"{own.probability:.3g} at temperature {sampling.temperature:g}, which is explained, and "
        "answers that were never drawn count as nothing"
    )
