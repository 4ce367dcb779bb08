"""`answer`: what a model answers, in words, as it is written."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from vqa_explain._memory import must_fit
from vqa_explain._numbers import checked_seed
from vqa_explain.asking import asked_example, check_loaded
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.models.base import Model, OpenModel
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.sentences import Wording
from vqa_explain.models.sharing import network_held
from vqa_explain.models.writing import Writing
from vqa_explain.sampling import AnswerClass, Same, Sampling, asked_sampling, drawn


class Reply(str):
    """What a model answers.

    Attributes:
        thinking: what it thought before; "" for nothing.
        classes: of sampled answers, those that are one together, the most frequent first; else ().
    """

    thinking: str
    classes: tuple[AnswerClass, ...]
    __slots__ = ("classes", "thinking")

    def __new__(
        cls, text: str, thinking: str = "", classes: tuple[AnswerClass, ...] = ()
    ) -> "Reply":
        found = super().__new__(cls, text)
        found.thinking, found.classes = thinking, classes
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return Reply, (str(self), self.thinking, self.classes)


def answer(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    max_new_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    stream: Callable[[str], None] | None = None,
    stream_thinking: Callable[[str], None] | None = None,
    samples: int | None = None,
    temperature: float | None = None,
    same: Same | None = None,
    seed: int = 0,
) -> Reply:
    """The model's most probable answer, and what it thought before.

    Args:
        model, image, question: as `explain` takes them.
        max_new_tokens: how many tokens a model that writes its answers may write; by default what
            it was loaded with.
        stop: a text, or several, that ends the answer, which keeps it; [] for none; by default what
            the model was loaded with.
        stream: called with each new piece of text as it is written; together the pieces are the
            answer, but for blanks around it. A model that does not write word by word gives its
            answer in one piece, as does one that thinks at times and writes no thought here: what
            it writes may be a thought until the end.
        stream_thinking: the same of what a model thinks before its answer, where its tokenizer or
            chat template declares marks around it.

        samples: how many answers are drawn at random instead, all words by their probabilities at
            the temperature. Truncation, penalties and forbidden words of the checkpoint's generation
            configuration do not count there. The reply is then the most frequent one.
        temperature: what logits are divided by there, above 0; by default what the model was loaded
            with.
        same: whether two sampled answers are one, a function of both; by default equal texts are.
        seed: of the draws.

    Returns:
        A text, whose `thinking` is what the model thought before; "" for nothing. Of sampled
        answers, `classes` has those that are one together, the most frequent first.

    Raises:
        InvalidInput: an input cannot be used, or `stream` is asked of a beam search.
        StillThinking: a model that thinks has written no answer at its end, or where a text of
            `stop` came in its thought.
        NothingWritten: a model that writes its answers writes none.
        Unsupported: `max_new_tokens` or `stop` is asked of a model that does not write its answers.
    """
    check_loaded(model, "answer")
    seed = checked_seed(seed)
    asked = asked_writing(model, max_new_tokens, stop)
    sampling = asked_sampling(model, samples, temperature, same, seed)
    streams = stream is not None or stream_thinking is not None
    if streams:
        _check_streams(model, sampling)
    example = asked_example(model, image, question)
    with network_held(model.module), must_fit(model):
        encoded = model.encode(example)
        if sampling is not None:
            classes = drawn(model, encoded, asked, sampling).classes
            return Reply(classes[0].text, classes=classes)
        if isinstance(model, Wording):
            calls = (stream, stream_thinking)
            streamer = _Streamer(model, encoded, *calls) if streams else None
            text = model.generate(encoded, asked, streamer)[0]
            return Reply(text, model.thought(encoded).text)
        if model.labels is None:
            found = cast(OpenModel, model).generate(encoded)[0]
        else:
            found = model_answers(model, encoded)[0].text
    if stream is not None:
        stream(found)
    return Reply(found)


def writing(model: Model) -> Wording:
    """The model as one that writes its answers.

    Raises:
        Unsupported: it does not.
    """
    if not isinstance(model, Wording):
        raise Unsupported(
            f"model {model.name!r} does not write its answers token by token; leave "
            "max_new_tokens= and stop= out"
        )
    return model


def asked_writing(model: Model, max_new_tokens: Any, stop: Any) -> Writing | None:
    """What is asked of what a model writes; `None` for nothing.

    Raises:
        InvalidInput: `max_new_tokens` is no whole number from 1 on, or `stop` no texts.
        Unsupported: something is asked, and the model does not write its answers.
    """
    asked = Writing.asked(max_new_tokens, stop)
    if asked.says_nothing:
        return None
    writing(model)
    return asked


def _check_streams(model: Model, sampling: Sampling | None) -> None:
    """Checks that a model's answer is known while it is written.

    Raises:
        InvalidInput: it searches by beams, of which none is the answer before the end, or answers
            are sampled.
    """
    if sampling is not None:
        raise InvalidInput("sampled answers are drawn together and not streamed; leave stream= out")
    if getattr(model, "beams", 1) > 1:
        raise InvalidInput(
            "an answer found by beam search is known only at its end; load the model with beams=1 "
            "to stream it"
        )


class _Streamer:
    """What transformers gives the tokens to, each when it is written.

    A text is told where it is sure: a character or a mark that may not be complete waits.

    Args:
        model: what writes.
        encoded: the example.
        stream: called with each new piece of the answer; `None` for nothing.
        stream_thinking: called with each new piece of what is thought before, likewise.
    """

    def __init__(
        self,
        model: Wording,
        encoded: Encoded,
        stream: Callable[[str], None] | None,
        stream_thinking: Callable[[str], None] | None,
    ) -> None:
        self._model, self._encoded = model, encoded
        self._ids: list[int] = []
        self._tokenizer = cast(Any, model).processor.tokenizer
        self._calls = {"thought": stream_thinking, "answer": stream}
        self._told = dict.fromkeys(self._calls, "")
        self._prompted = False

    def put(self, value: Any) -> None:
        """Takes tokens: those of the prompt first, which are not told."""
        if self._prompted:
            self._ids += value.flatten().tolist()
            self._tell_both(ended=False)
        self._prompted = True

    def end(self) -> None:
        """Takes that nothing follows."""
        self._tell_both(ended=True)

    def _tell_both(self, ended: bool) -> None:
        thought, answer = self._model.parted(self._encoded, self._ids)
        marks = self._model.marks
        closing = marks.closing if marks is not None and not thought.closed else ""
        self._tell("thought", thought.ids, ended, closing)
        # A thought may have its closing mark alone, so what comes before may be one until the end.
        if ended or marks is None or thought.history:
            self._tell("answer", answer, ended)

    def _tell(self, what: str, ids: Sequence[int], ended: bool, mark: str = "") -> None:
        """Tells what is new of a text, but for what may become a mark."""
        special = self._tokenizer.all_special_ids
        text = str(self._tokenizer.decode([one for one in ids if one not in special]))
        if not ended:
            text = _without_beginning(text, mark).rstrip("\ufffd")
        told, call = self._told[what], self._calls[what]
        if call is not None and len(text) > len(told) and text.startswith(told):
            call(text[len(told) :])
            self._told[what] = text


def _without_beginning(text: str, mark: str) -> str:
    """A text without what may be the beginning of a mark at its end."""
    many = range(min(len(text), len(mark)), 0, -1)
    length = next((one for one in many if text.endswith(mark[:one])), 0)
    return text[: len(text) - length]
