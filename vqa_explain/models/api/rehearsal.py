"""What questions cost, and how they are counted before any is asked."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vqa_explain.cost import Requests
from vqa_explain.models.api.questions import Question


@runtime_checkable
class Priced(Protocol):
    """An interface that knows what a question costs.

    Attributes:
        is_announced: whether the work at hand was announced.
        requests: what was asked so far.
    """

    @property
    def is_announced(self) -> bool: ...
    @property
    def requests(self) -> Requests: ...

    def answered(self, question: Question, answers: Sequence[str]) -> list[float | None]:
        """The log-probability of each answer; `None` where it is unknown."""
        ...

    def price(self, question: Question) -> Requests:
        """What the question costs; nothing where the answer is kept."""
        ...

    def announced(self, requests: Requests, work: str) -> AbstractContextManager[None]:
        """Says what a piece of work costs; inside, it is said no more."""
        ...


class Rehearsed:
    """Stands for an interface: it counts what would be asked, and answers at random.

    Answers drawn from a hash of the question differ from coalition to coalition, so that no method
    ends early because its error is small: the count is the most that the work can cost.

    Args:
        price: what knows the price of a question; `None` for one request each.
        samples: how many answers stand behind each score, as in `ApiModel`.
    """

    is_announced = True

    def __init__(self, price: Priced | None, samples: int | None) -> None:
        self._price, self._samples = price, samples
        self._seen: set[str] = set()
        self.requests = Requests()

    def __call__(self, *_: Any) -> list[float]:
        raise AssertionError("a rehearsal is asked by questions")

    def answered(self, question: Question, answers: Sequence[str]) -> list[float | None]:
        if question.key not in self._seen:
            self._seen.add(question.key)
            self.requests += self.price(question)
        seed = int(hashlib.sha256(question.key.encode()).hexdigest()[:8], 16)
        shares = np.random.default_rng(seed).dirichlet(np.ones(len(answers) + 1))
        # Above what an answer that is never given has, which is refused.
        least = 1e-3 if self._samples is None else 1 / (self._samples + 1)
        return [float(np.log(max(share, least))) for share in shares[:-1]]

    def price(self, question: Question) -> Requests:
        return Requests(1) if self._price is None else self._price.price(question)

    def announced(self, requests: Requests, work: str) -> AbstractContextManager[None]:
        return nullcontext()
