"""What an explanation costs."""

from dataclasses import dataclass


@dataclass
class Cost:
    """What a method spent: examples through the model forward and backward, and seconds.

    Several targets share what serves all of them: the first pays for it. Not counted are the answer
    to the whole example, where no pass of the method gives it, the answer with everything absent,
    and what is found once per model, such as its default layer.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Requests:
    """What a model behind an interface is asked.

    Attributes:
        count: requests that go out.
        kept: questions whose answers are kept from before, and cost nothing.
        tokens_in, tokens_out: tokens of these requests and of their answers: an estimate before
            they are asked, and what the endpoint counted afterwards.
    """

    count: int = 0
    kept: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(
            self.count + other.count,
            self.kept + other.kept,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )

    def __mul__(self, times: int) -> "Requests":
        return Requests(
            self.count * times, self.kept * times, self.tokens_in * times, self.tokens_out * times
        )

    def __str__(self) -> str:
        told = f"{self.count:,} requests"
        if self.tokens_in:
            told += f", about {self.tokens_in:,} tokens in and {self.tokens_out:,} out"
        if self.kept:
            told += f"; {self.kept:,} more answers are kept from before"
        return told
