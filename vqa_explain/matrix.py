"""The words of a sentence against all parts of the inputs, as one table."""

import csv
import io
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.files import write_atomically


@dataclass(frozen=True, eq=False)
class AnswerMatrix:
    """What each part of the inputs added to each word of an answer.

    Attributes:
        words: the answer's T words, in order.
        log_probabilities: (T,) of each word, given the words before it; less that of the other
            sentence's, where two are compared.
        parts: the P parts, each as (input, what the part is called).
        values: (T, P) in the unit of the explanation.
        errors: (T, P) their standard errors; `None` from methods that state none.
    """

    words: tuple[str, ...]
    log_probabilities: Float[np.ndarray, " T"]
    parts: tuple[tuple[str, str], ...]
    values: Float[np.ndarray, "T P"]
    errors: Float[np.ndarray, "T P"] | None

    def of(self, words: Sequence[str | int]) -> Float[np.ndarray, " P"]:
        """(P,) what each part added to some of the words together: log-probabilities add up.

        Args:
            words: their numbers from 0, or their texts, which stand for every such word.

        Raises:
            InvalidInput: there is no such word, or none is named.
        """
        if isinstance(words, str) or not len(words):
            raise InvalidInput("words must be a list of at least one word, such as ['red', 3]")
        numbers = sorted({number for word in words for number in self.numbers(word)})
        found: np.ndarray = self.values[numbers].sum(axis=0)
        return found

    def numbers(self, word: str | int) -> list[int]:
        """The numbers of a word, given by its number, or by its text, which may stand in the answer
        several times.

        Raises:
            InvalidInput: there is no such word.
        """
        if isinstance(word, str):
            found = [number for number, text in enumerate(self.words) if text == word]
            if not found:
                raise unknown("word of the answer", word, list(self.words))
            return found
        try:
            number = operator.index(word)
        except TypeError as error:
            raise InvalidInput(
                f"a word is named by its text or its number from 0, not {type(word).__name__}"
            ) from error
        if isinstance(word, bool) or not 0 <= number < len(self.words):
            raise InvalidInput(
                f"the answer has words 0 to {len(self.words) - 1} and no word {word!r}"
            )
        return [number]

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes one row for each word and part: word number from 0, word, log-probability, input,
        part, value and standard error, which is empty where there is none.
        """
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(
            ("number", "word", "log_probability", "input", "part", "value", "standard_error")
        )
        for number, word in enumerate(self.words):
            for column, part in enumerate(self.parts):
                error = "" if self.errors is None else repr(float(self.errors[number, column]))
                value = repr(float(self.values[number, column]))
                told = float(self.log_probabilities[number])
                rows.writerow((number, word, repr(told), *part, value, error))
        return write_atomically(path, text.getvalue().encode())
