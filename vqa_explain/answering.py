"""`answer`: what a model answers, in words, as it is written."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from vqa_explain._memory import must_fit
from vqa_explain.asking import asked_example, check_loaded
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.models.base import Model, OpenModel
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.sentences import Wording
from vqa_explain.models.sharing import network_held
from vqa_explain.models.writing import Writing


def answer(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    max_new_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    stream: Callable[[str], None] | None = None,
) -> str:
    """The model's most probable answer.

    Args:
        model, image, question: as `explain` takes them.
        max_new_tokens: how many tokens a model that writes its answers may write; by default what
            it was loaded with.
        stop: a text, or several, that ends the answer, which keeps it; [] for none; by default what
            the model was loaded with.
        stream: called with each new piece of text as it is written; together the pieces are the
            answer, but for blanks around it. A model that does not write word by word gives its
            answer in one piece.

    Raises:
        InvalidInput: an input cannot be used, or `stream` is asked of a beam search.
        NothingWritten: a model that writes its answers writes none.
        Unsupported: `max_new_tokens` or `stop` is asked of a model that does not write its answers.
    """
    check_loaded(model, "answer")
    asked = asked_writing(model, max_new_tokens, stop)
    streams = stream is not None and isinstance(model, Wording)
    streamer = _streamer(model, cast(Any, stream)) if streams else None
    example = asked_example(model, image, question)
    with network_held(model.module), must_fit(model):
        encoded = model.encode(example)
        if isinstance(model, Wording):
            return model.generate(encoded, asked, streamer)[0]
        if model.labels is None:
            found = cast(OpenModel, model).generate(encoded)[0]
        else:
            found = model_answers(model, encoded)[0].text
    if stream is not None:
        stream(found)
    return found


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


def _streamer(model: Any, stream: Callable[[str], None]) -> Any:
    """A streamer of transformers that calls `stream` with text.

    Raises:
        InvalidInput: the model searches by beams, of which none is the answer before the end.
    """
    from transformers import TextStreamer

    if model.beams > 1:
        raise InvalidInput(
            "an answer found by beam search is known only at its end; load the model with beams=1 "
            "to stream it"
        )

    class Calling(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            if text:
                stream(text)

    return Calling(model.processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
