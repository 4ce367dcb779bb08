"""A model behind an interface: a function that is asked for the scores of answers."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain._numbers import checked_whole
from vqa_explain.cost import Requests
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature, Input, Present
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.features.image import FILLS, ImageFeature, Picture, baseline, fill_in
from vqa_explain.features.text import Text, TextFeature, group_tokens
from vqa_explain.features.words import split_words
from vqa_explain.models.api.frequencies import covariance, never_given
from vqa_explain.models.api.questions import (
    DELETED,
    MASKED,
    PRESENT,
    Conversation,
    Question,
    read_conversation,
    text_without,
)
from vqa_explain.models.api.rehearsal import Priced, Rehearsed
from vqa_explain.models.attending import Positions
from vqa_explain.models.base import Leaves, described
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.labels import read_labels

# (pictures, messages, answers) → a log-probability for each answer, `None` where it is unknown.
Ask = Callable[[list[Any], list[dict[str, Any]], list[str]], Sequence[float | None]]

SIDE = 4  # rows and columns of a picture that is not divided otherwise: every region costs requests
# Absent words leave the text, or become a mark.
DELETE, MASK = "delete", "mask"
STATES = {DELETE: DELETED, MASK: MASKED}
ABOVE_ONE = 1e-3  # how far above 0 a log-probability may be for rounding


@dataclass(frozen=True, eq=False)
class Reading:
    """What the adapter needs of an example.

    Attributes:
        conversation: what it says and shows.
        known: key of a question → the scores of the answers, so that nothing is asked twice.
    """

    conversation: Conversation
    known: dict[str, tuple[float, ...]] = field(default_factory=dict)


class ApiModel:
    """A model that you can only ask, such as one behind a network; see `models.base.Model`.

    Methods over coalitions of words and regions explain it, as do those that hide windows. It has
    no gradients, attention or layers. Every coalition is one question: its pictures are drawn at
    the size of the originals in 8 bits per channel, absent words are taken out of the text, and
    coalitions that look the same are asked once.

    Args:
        ask: a function of (pictures, messages, answers) that returns the log-probability of each
            answer, or `None` where it is not known. `pictures` are PIL images. `messages` are a
            chat in the format of `transformers`, in whose content {"type": "image", "image": …}
            are these pictures.
        answers: the texts to choose among.
        samples: if the log-probabilities are frequencies among so many sampled answers, that
            number: standard errors then count the sampling errors. See `models.api.frequencies`
            for the estimator that this assumes.
        concurrency: how many questions may be asked at once; above 1, `ask` is called by several
            threads.
        name: for lists.

    Raises:
        InvalidInput: answers cannot be used, or a number is not a whole one of at least 1.
    """

    family = "api"
    kind = "log_probabilities"
    # Leaves hold pixels, so that windows over pictures can be replaced.
    capabilities: frozenset[str] = frozenset({"pixels"})
    open_inputs = True
    device = torch.device("cpu")

    __repr__ = described

    def __init__(
        self,
        ask: Ask,
        answers: Any,
        *,
        samples: int | None = None,
        concurrency: int = 1,
        name: str = "api",
    ) -> None:
        if not callable(ask):
            raise InvalidInput(
                "ask= must be a function of (pictures, messages, answers), not "
                f"{type(ask).__name__}"
            )
        self.name = name
        self.ask = ask
        self.labels: tuple[str, ...] = read_labels(answers)
        self.samples = None if samples is None else checked_whole("samples", samples, 1)
        self.concurrency = checked_whole("concurrency", concurrency, 1)
        texts = TextFeature(fills=(DELETE, MASK), default_fill=DELETE)
        self.features: tuple[Feature, ...] = (ImageFeature(fills=FILLS), texts)
        self.module = nn.Module()  # the network is elsewhere
        # What results depend on: a resumed run compares it.
        self.given = {"ask": getattr(ask, "given", ask), "samples": samples}

    def encode(self, example: Example) -> Encoded:
        conversation = read_conversation(example, self.name)
        inputs = []
        for one in conversation.given:
            if one.name in conversation.pictures:
                content: Any = _picture(conversation.pictures[one.name])
                feature: Feature = ImageFeature(one.name, FILLS)
            else:
                content = _text(conversation.texts[one.name])
                feature = TextFeature(one.name, (DELETE, MASK), DELETE)
            inputs.append(Input(feature, content, one.fixed))
        return Encoded(example, tuple(inputs), self.labels, Reading(conversation))

    def read_again(self, encoded: Encoded, example: Example) -> Encoded:
        """The changed example, which shares the answers that are known."""
        fresh = self.encode(example)
        return replace(fresh, state=replace(fresh.state, known=encoded.state.known))

    def leaves(self, encoded: Encoded) -> Leaves:
        """Pixels (1, 3, H, W) from −1 to 1, and of texts (1, T, 1) which words are there."""
        return {
            one.name: one.content.pixels.clone()
            if isinstance(one.content, Picture)
            else torch.full((1, len(one.content.words), 1), float(PRESENT))
            for one in encoded.inputs
        }

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        found = {}
        for one in encoded.inputs:
            fill = fills[one.name]
            if isinstance(one.content, Picture):
                found[one.name] = baseline(one.content.pixels, one.content.geometry, fill, seed)
            else:
                found[one.name] = torch.full((1, len(one.content.words), 1), float(STATES[fill]))
        return found

    @torch.no_grad()
    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        rows = max(len(leaf) for leaf in leaves.values())
        whole = {name: leaf.expand(rows, *leaf.shape[1:]) for name, leaf in leaves.items()}
        questions = []
        for row in range(rows):
            pictures, texts = {}, {}
            for one in encoded.inputs:
                leaf = whole[one.name][row]
                if isinstance(one.content, Picture):
                    pictures[one.name] = _in_8_bits(leaf)
                else:
                    texts[one.name] = _said(one.content, leaf[:, 0].round().int().tolist())
            questions.append(encoded.state.conversation.question(pictures, texts))
        found = self._answered(encoded.state, questions)
        self._check_ever_given(encoded, questions, found)
        return found

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        return self._answered(encoded.state, list(self._questions(encoded, present, fills, seed)))

    @torch.no_grad()
    def contents(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> list[str]:
        """What each of N coalitions is asked as: those with the same text are one question."""
        return [one.key for one in self._questions(encoded, present, fills, seed)]

    def score_covariance(self, scores: Tensor) -> Tensor:
        """(N, K, K) the covariance of the sampling errors of scores (N, K)."""
        assert self.samples is not None, "its scores are not sampled"
        return covariance(scores, self.samples)

    def always_alike(self, encoded: Encoded) -> bool:
        """Whether each question had but one answer in all samples: that of a greedy endpoint."""
        assert self.samples is not None, "its scores are not sampled"
        ends = (never_given(self.samples), 0.0)
        known = encoded.state.known.values()
        return all(min(abs(one - end) for end in ends) < 1e-9 for row in known for one in row)

    def _questions(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Iterator[Question]:
        """The question of each of N coalitions, one after another for memory's sake."""
        count = len(next(iter(present.values())))
        for row in range(count):
            pictures, texts = {}, {}
            for one in encoded.inputs:
                players = present[one.name]
                there = Present(players.division, players.players[row : row + 1]).elements
                fill = fills[one.name]
                if isinstance(one.content, Picture):
                    frame = fill_in(one.content.pixels, there, fill, seed)
                    pictures[one.name] = _in_8_bits(frame[0])
                else:
                    states = [PRESENT if word else STATES[fill] for word in there[0].tolist()]
                    texts[one.name] = _said(one.content, states)
            yield encoded.state.conversation.question(pictures, texts)

    def _answered(self, reading: Reading, questions: Sequence[Question]) -> Tensor:
        """(N, K) float64 scores of N questions, each asked at most once."""
        fresh = {one.key: one for one in questions if one.key not in reading.known}
        self._ask_all(list(fresh.values()), reading.known)
        return torch.tensor([reading.known[one.key] for one in questions], dtype=torch.float64)

    def _ask_all(self, questions: Sequence[Question], known: dict[str, tuple[float, ...]]) -> None:
        """Asks some questions, at most `concurrency` at once, and keeps what comes in `known`.

        Whoever stops it need not wait for what was sent: an endpoint's answers still go into its
        cache.
        """
        if self.concurrency == 1 or len(questions) < 2:
            for one in questions:
                known[one.key] = self._ask_one(one)
            return
        workers = ThreadPoolExecutor(min(self.concurrency, len(questions)))
        must_wait = True
        try:
            waiting = {workers.submit(self._ask_one, one): one for one in questions}
            for done in as_completed(waiting):
                known[waiting[done].key] = done.result()
        except KeyboardInterrupt:
            must_wait = False
            raise
        finally:
            workers.shutdown(wait=must_wait, cancel_futures=True)

    def _ask_one(self, question: Question) -> tuple[float, ...]:
        """The scores of the answers.

        Raises:
            InvalidInput: `ask` gave something else.
            Unsupported: the score of an answer is not known.
        """
        if isinstance(self.ask, Priced):
            given: Any = self.ask.answered(question, self.labels)
        else:
            images, messages = question.with_images()
            given = self.ask(images, messages, list(self.labels))
        return self._checked(given)

    def _checked(self, given: Any) -> tuple[float, ...]:
        values = given.tolist() if isinstance(given, np.ndarray | Tensor) else given
        if not isinstance(values, list | tuple) or len(values) != len(self.labels):
            got = f"{len(values)} values" if isinstance(values, list | tuple) else repr(values)[:60]
            raise InvalidInput(
                f"ask of model {self.name!r} must return one log-probability for each of its "
                f"{len(self.labels)} answers, and returned {got}"
            )
        for text, value in zip(self.labels, values, strict=True):
            self._check_score(text, value)
        return tuple(float(value) for value in values)

    def _check_score(self, text: str, value: Any) -> None:
        if value is None:
            raise Unsupported(
                f"model {self.name!r} does not say the log-probability of {text!r} for every "
                "coalition, and nothing stands for a score that is unknown; leave that answer out, "
                "or sample answers (sample=)"
            )
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise InvalidInput(
                f"ask of model {self.name!r} gave {value!r} for {text!r}; return a log-probability"
            )
        if float(value) > ABOVE_ONE:
            raise InvalidInput(
                f"ask of model {self.name!r} gave {float(value):.4g} for {text!r}, and a "
                "log-probability is at most 0; return the logarithm of a probability"
            )

    def _check_ever_given(
        self, encoded: Encoded, questions: Sequence[Question], scores: Tensor
    ) -> None:
        """Of sampled answers, some to the whole example must be one of those to choose among."""
        if self.samples is None:
            return
        conversation = encoded.state.conversation
        whole = conversation.question(conversation.pictures, conversation.texts).key
        highest = never_given(self.samples) + 1e-9
        for question, row in zip(questions, scores, strict=True):
            if question.key == whole and bool((row <= highest).all()):
                raise InvalidInput(
                    f"none of the {self.samples} answers of model {self.name!r} to the whole "
                    f"example is one of {', '.join(map(repr, self.labels[:6]))}; ask it to answer "
                    "with one of these, or give answers= as it writes them"
                )

    def widest(self, encoded: Encoded) -> int:
        """Bytes of the widest layer, which decides how many coalitions go together: none is
        here.
        """
        return 1

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        raise Unsupported(
            f"model {self.name!r} is behind an interface, so it has no layers here; use a method "
            "over coalitions, such as shapley"
        )

    def default_layer(self, encoded: Encoded) -> str:
        raise Unsupported(
            f"model {self.name!r} is behind an interface, so it has no layers here; use a method "
            "over coalitions, such as shapley"
        )

    @property
    def announces(self) -> bool:
        """Whether it is to say what a piece of work costs before it is asked."""
        return isinstance(self.ask, Priced) and not self.ask.is_announced

    def rehearsal(self) -> "ApiModel":
        """A model that takes the same inputs, and whose questions are counted and never asked."""
        twin = copy.copy(self)
        twin.ask = Rehearsed(self.ask if isinstance(self.ask, Priced) else None, self.samples)
        twin.concurrency = 1
        return twin

    def spent(self) -> Requests:
        """What was asked since the model was loaded: of a rehearsal, what would be asked.

        Raises:
            Unsupported: it asks a function of the user's, which may count itself.
        """
        if not isinstance(self.ask, Priced):
            raise Unsupported(
                f"model {self.name!r} asks a function, which does not count; count in the function"
            )
        return self.ask.requests

    @contextmanager
    def announced(self, requests: Requests, work: str) -> Iterator[None]:
        """Says what a piece of work costs; inside, it is said no more."""
        assert isinstance(self.ask, Priced), "a function has no price"
        with self.ask.announced(requests, work):
            yield


def _picture(original: np.ndarray) -> Picture:
    """A picture that the model sees as it is."""
    size = (original.shape[0], original.shape[1])
    # From −1 to 1, so that the constant fill is middle gray.
    pixels = torch.from_numpy(original.astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    grid = (min(SIDE, size[0]), min(SIDE, size[1]))
    return Picture(original, pixels.contiguous(), AlignedGeometry.resized(size, size), grid)


def _in_8_bits(pixels: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of pixels (3, H, W) from −1 to 1; what is beyond is clipped."""
    found: np.ndarray = ((pixels.double() + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    return np.ascontiguousarray(found.transpose(1, 2, 0))


def _text(source: str) -> Text:
    """A text each of whose words is a token."""
    words = split_words(source)
    numbers = list(range(len(words)))
    texts, spans = [word.text for word in words], [(word.start, word.end) for word in words]
    tokens, grouped = group_tokens(words, source, texts, numbers, spans, [False] * len(words))
    return Text(source, torch.tensor([numbers]), tokens, grouped)


def _said(text: Text, states: Sequence[int]) -> str:
    """A text of whose tokens some are absent."""
    return text_without(text.source, text.words, states)
