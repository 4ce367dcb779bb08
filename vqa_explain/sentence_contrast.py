"""Why one sentence rather than another: their difference, and what each differing word adds to it.

The words of both are aligned by their longest common subsequence. A word of both is a row, scored
by its log-probability in the one sentence less that in the other; so is what stands between two
such words, of which either side may be empty. The rows add up to the difference of the sentences.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput
from vqa_explain.explanation import Explanation, Written
from vqa_explain.finishing import attributed, finished, first_pass
from vqa_explain.game import Players
from vqa_explain.methods.base import Method, Task
from vqa_explain.methods.shared import SharedPasses
from vqa_explain.models.base import OpenModel, answer_scores, best_answers
from vqa_explain.models.candidates import Candidates
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.sentences import Wording
from vqa_explain.sentence import each_word, shared, summed, word_found
from vqa_explain.target import Target, find_answer
from vqa_explain.units import unit_named, unit_of

NOTHING = "nothing"  # what a sentence has where the other alone has words

Run = tuple[int, int]  # words (first, behind the last) of a sentence


def aligned(one: Sequence[str], other: Sequence[str]) -> list[tuple[Run, Run]]:
    """The rows of two lists of words: each word of their longest common subsequence, and what stands
    between. Every word is in one row.

    >>> aligned("a red dog".split(), "a big red cat".split())
    [((0, 1), (0, 1)), ((1, 1), (1, 2)), ((1, 2), (2, 3)), ((2, 3), (3, 4))]
    """
    rows: list[tuple[Run, Run]] = []
    own, its = 0, 0
    for first, second in [*_common(one, other), (len(one), len(other))]:
        if first > own or second > its:
            rows.append(((own, first), (its, second)))
        if first < len(one) and second < len(other):
            rows.append(((first, first + 1), (second, second + 1)))
        own, its = first + 1, second + 1
    return rows


def _common(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """The places of the words of the longest common subsequence, in both lists."""
    longest = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    for own in reversed(range(len(one))):
        for its in reversed(range(len(other))):
            longest[own, its] = (
                longest[own + 1, its + 1] + 1
                if one[own] == other[its]
                else max(longest[own + 1, its], longest[own, its + 1])
            )
    found, own, its = [], 0, 0
    while own < len(one) and its < len(other):
        if one[own] == other[its]:
            found.append((own, its))
            own, its = own + 1, its + 1
        elif longest[own + 1, its] >= longest[own, its + 1]:
            own += 1
        else:
            its += 1
    return found


def explain_difference(
    model: OpenModel,
    encoded: Encoded,
    contrast: str,
    players: Players,
    method: Method,
    how: dict[str, Any],
) -> Explanation:
    """The explanation of one sentence less another, with one of each row in `outputs`.

    Args:
        model: a `Wording`.
        encoded: the example with its candidates, of which one is the contrast.
        contrast: the other sentence.
        players: the parts that get values.
        method: how.
        how: the other fields of `Task`.

    Raises:
        InvalidInput: there is no other candidate than the contrast.
    """
    other = find_answer(encoded.labels, contrast)
    scores = answer_scores(model, encoded)
    best = best_answers(model.kind, encoded, scores, top=len(encoded.labels))
    own = next((one.index for one in best if one.index != other), None)
    if own is None:
        raise InvalidInput(
            f"target and contrast are both {contrast!r}; give another sentence as contrast="
        )
    encoded, wholes, differing = _rows_of(cast(Wording, model), encoded, own, other)
    count = len(encoded.labels) // 2
    goals = [
        Target(2 * row, 2 * row + 1, "log_probability", kind=model.kind) for row in range(count)
    ]
    first = first_pass(method, model, encoded)
    found = answer_scores(model, encoded) if first is None else in_float64(first.scores)
    plain = found if first is None else None
    task = Task(model, encoded, goals[-1], players, tuple(goals), first=first, plain=plain, **how)
    task.shared = SharedPasses()
    method, whole = attributed(task, method)
    rows = [(one, word_found(one, method)) for one in each_word(task)]
    if unit_named(unit_of(method)).adds_up:
        whole = summed(whole, [mine for _, mine in rows])
    scored = {
        one.index: one for one in best_answers(model.kind, encoded, found.detach(), 2 * count)
    }
    explanation = finished(task, method, whole, best[:5])
    outputs = []
    for number, (one, mine) in enumerate(rows):
        both = [scored[2 * number], scored[2 * number + 1]]
        row = dataclasses.replace(finished(one, method, mine, both), written=None)
        outputs.append(shared(row, explanation))
    return dataclasses.replace(
        explanation,
        outputs=tuple(outputs),
        target_index=own,
        contrast_index=other,
        written=wholes,
        provenance={
            **explanation.provenance,
            "target_index": own,
            "contrast_index": other,
            "differing": differing,
        },
    )


def _shown(candidates: Candidates) -> list[str]:
    """Each word of a sentence with the blank behind it, if there is one, in the sentence."""
    *words, whole = candidates.texts
    found, at = [], 0
    for word in words:
        start = whole.find(word, at)
        at = start + len(word) if start >= 0 else at
        # A word that the sentence spells in another way stands between blanks.
        apart = start < 0 or whole[at : at + 1].isspace()
        found.append(f"{word} " if apart else word)
    return found


def _rows_of(
    model: Wording, encoded: Encoded, own: int, other: int
) -> tuple[Encoded, Written, list[int]]:
    """The example whose candidates are both sides of each row, and after them both sentences; and
    the numbers of the rows whose sides differ in their words.
    """
    one = candidates_of(model.as_words(encoded, own))
    its = candidates_of(model.as_words(encoded, other))
    texts: list[str] = []
    spans: list[tuple[int, int]] = []
    differing: list[int] = []
    sides = [(one, _shown(one)), (its, _shown(its))]
    for number, runs in enumerate(aligned(one.texts[:-1], its.texts[:-1])):
        words = [part.texts[slice(*run)] for (part, _), run in zip(sides, runs, strict=True)]
        if words[0] != words[1]:
            differing.append(number)
        for (candidates, shown), (first, behind) in zip(sides, runs, strict=True):
            places = (candidates.spans or ())[first:behind]
            texts.append("".join(shown[first:behind]).rstrip() or NOTHING)
            spans.append((places[0][0], places[-1][1]) if places else (0, 0))
    texts += [one.texts[-1], its.texts[-1]]
    spans += [(0, len(one.ids[-1])), (0, len(its.ids[-1]))]
    many = len(texts) // 2
    found = Candidates(
        tuple(texts),
        (one.ids[-1], its.ids[-1]) * many,
        (one.pieces[-1], its.pieces[-1]) * many,
        spans=tuple(spans),
        history=one.history,
        thinking=one.thinking,
    )
    wholes = Written(
        {one.texts[-1]: one.ids[-1], its.texts[-1]: its.ids[-1]},
        {one.texts[-1]: one.pieces[-1], its.texts[-1]: its.pieces[-1]},
        history=one.history,
        thinking=one.thinking,
    )
    return dataclasses.replace(encoded, labels=found.texts, candidates=found), wholes, differing
