"""Which examples of a data set pass a filter: the model answers each."""

from collections.abc import Iterator
from itertools import islice

from vqa_explain.examples import Example
from vqa_explain.models.base import Model
from vqa_explain.viewer.jobs import Cancelled, IsCancelled
from vqa_explain.viewer.reading import Reading, reason_of
from vqa_explain.viewer.whatif import best_answers_of

SEARCH_LIMIT = 5000  # examples that a filter looks at before it gives up


def matching(
    model: Model, filter_: str, reading: Reading, is_over: IsCancelled
) -> Iterator[Example]:
    """The examples that pass the filter; the reading notes those that the model fails for.

    Raises:
        Cancelled: nobody waits for them any more.
    """
    for example in islice(reading, SEARCH_LIMIT):
        if is_over():
            raise Cancelled
        try:
            answer = best_answers_of(model, example)[0].text
            passes = filter_ in (_outcome(example, answer), f"answer: {answer}")
        except Cancelled:
            raise
        except BaseException as error:  # one broken example must not end the search
            reading.failures.append(reason_of(error))
            continue
        if passes:
            yield example


def _outcome(example: Example, answer: str) -> str | None:
    """The filter that the answer passes: correct or incorrect; `None` without a label."""
    if example.answer is None:
        return None
    return "correct" if answer == example.answer else "incorrect"
